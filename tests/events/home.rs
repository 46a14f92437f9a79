//! What Home Assistant finds at mosquitto: retained, up to date, gone when it is switched off.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::brokers::Mosquitto;
use crate::clients::{Viewer, tribe_joined, until};
use crate::support::{Gateway, TEST_SOURCE, jpeg};
use crate::{connected, reload, sink};

const STATUS: &str = "portico/portico_hall/status";
const YARD: &str = "portico/portico_hall/room/yard";
const YARD_CONFIG: &str = "homeassistant/binary_sensor/portico_hall_room_yard_occupancy/config";

/// What a subscriber sees the broker retain.
struct Watcher {
    child: Child,
    kept: Arc<Mutex<Kept>>,
}

/// What is retained, by topic.
#[derive(Default)]
struct Kept {
    states: BTreeMap<String, String>,
    /// JPEGs, and how many have come.
    pictures: BTreeMap<String, (Vec<u8>, usize)>,
}

impl Watcher {
    fn start(port: u16) -> Self {
        let mut child = Command::new("mosquitto_sub")
            .args(["-V", "mqttv5", "-p", &port.to_string(), "-u", "portico", "-P", "hush", "--retain-as-published"])
            .args(["-q", "1", "-t", "homeassistant/#", "-t", "portico/#", "-F", "%r|%t|%x"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub starts (run make test)");
        let out = child.stdout.take().expect("stdout is piped");
        let kept = Arc::<Mutex<Kept>>::default();
        let keep = Arc::clone(&kept);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let [retained, topic, payload] = line.splitn(3, '|').collect::<Vec<_>>()[..] else { panic!("{line}") };
                let mut kept = keep.lock().expect("no panic while it is held");
                match (bytes(payload), retained) {
                    (payload, _) if payload.is_empty() => {
                        kept.states.remove(topic);
                        kept.pictures.remove(topic);
                    }
                    (payload, "1") if topic.ends_with("/picture") => {
                        let before = kept.pictures.get(topic).map_or(0, |(_, count)| *count);
                        kept.pictures.insert(topic.into(), (payload, before + 1));
                    }
                    (payload, "1") => drop(kept.states.insert(topic.into(), String::from_utf8(payload).expect("text"))),
                    // events pass by under the same beginning
                    _ => {}
                }
            }
        });
        Self { child, kept }
    }

    fn kept(&self) -> BTreeMap<String, String> {
        self.kept.lock().expect("no panic while it is held").states.clone()
    }

    /// The picture retained there, once so many have come.
    async fn sees_picture(&self, topic: &str, count: usize) -> Vec<u8> {
        until(topic, async || match self.kept.lock().expect("no panic while it is held").pictures.get(topic) {
            Some((jpeg, seen)) if *seen >= count => Ok(jpeg.clone()),
            other => Err(format!("{:?}", other.map(|(_, seen)| seen))),
        })
        .await
    }

    async fn sees(&self, topic: &str, fits: impl Fn(&str) -> bool) -> String {
        until(topic, async || match self.kept().remove(topic) {
            Some(payload) if fits(&payload) => Ok(payload),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    async fn sees_nothing(&self) {
        until("that all is gone", async || {
            let kept = self.kept.lock().expect("no panic while it is held");
            match kept.states.is_empty() && kept.pictures.is_empty() {
                true => Ok(()),
                false => Err(format!("{:#?} {:#?}", kept.states.keys(), kept.pictures.keys())),
            }
        })
        .await;
    }
}

/// As `mosquitto_sub` writes a payload: two hexadecimal digits a byte.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(mosquitto: &Mosquitto, rooms: &str, keys: &str) -> String {
    let dir = mosquitto.dir().display();
    format!(
        "{rooms}{TEST_SOURCE}\n[events]\nstore_dir = \"{dir}/store\"\n[[events.sink]]\nname = \"home\"\ntype = \"mqtt\"\n\
         url = \"mqtt://127.0.0.1:{}\"\nuser = \"portico\"\npassword_file = \"{dir}/password\"\nclient_id = \"hall\"\n{keys}",
        mosquitto.port
    )
}

fn has(state: &str, wanted: &Value) -> bool {
    let state: Value = serde_json::from_str(state).expect("JSON");
    wanted.as_object().expect("an object").iter().all(|(key, value)| state[key] == *value)
}

#[tokio::test(flavor = "multi_thread")]
async fn home_assistant_finds_rooms_and_sources_and_nothing_is_left_when_it_is_switched_off() {
    let mosquitto = Mosquitto::start();
    std::fs::write(mosquitto.dir().join("password"), "hush\n").expect("it is written");
    let watcher = Watcher::start(mosquitto.port);
    let yard = "[[room]]\nname = \"yard\"\n";
    let on = config(&mosquitto, yard, "home_assistant = true\ndevice_name = \"Hall board\"\n");
    let gateway = Gateway::start(&on);
    watcher.sees(STATUS, |status| status == "online").await;

    // as the discovery of Home Assistant wants it
    let about = watcher.sees(YARD_CONFIG, |_| true).await;
    let wanted = json!({
        "name": "yard", "device_class": "occupancy", "unique_id": "portico_hall_room_yard_occupancy", "state_topic": YARD,
        "value_template": "{{ value_json.occupied }}", "json_attributes_topic": YARD, "availability_topic": STATUS,
    });
    assert!(has(&about, &wanted), "{about}");
    let about: Value = serde_json::from_str(&about).expect("JSON");
    assert_eq!((&about["device"]["name"], &about["device"]["identifiers"]), (&"Hall board".into(), &json!(["portico_hall"])));
    let configs = watcher.kept().keys().filter(|topic| topic.ends_with("/config")).count();
    assert_eq!(configs, 2 + 2 + 2, "two rooms and a source: {:#?}", watcher.kept());

    // who comes and goes
    let empty = json!({"occupied": "OFF", "members": 0, "viewers": 0, "sources": 0});
    watcher.sees(YARD, |state| has(state, &empty)).await;
    let (first, _) = tribe_joined(&gateway.base, "yard", "u1").await;
    watcher.sees(YARD, |state| has(state, &json!({"occupied": "ON", "members": 1}))).await;
    let (mut second, _) = tribe_joined(&gateway.base, "yard", "u2").await;
    watcher.sees(YARD, |state| has(state, &json!({"occupied": "ON", "members": 2}))).await;
    second.0.close(None).await.expect("closed");
    watcher.sees(YARD, |state| has(state, &json!({"occupied": "ON", "members": 1}))).await;

    // a camera does not make its room occupied, nor who watches; that it is open is seen
    let source = "portico/portico_hall/source/test";
    watcher.sees(source, |state| has(state, &json!({"open": "OFF", "problem": "OFF", "viewers": 0, "rooms": ["main"]}))).await;
    let viewer = Viewer::start(&gateway.base, "/whep/main").await;
    watcher.sees(source, |state| has(state, &json!({"open": "ON", "viewers": 1}))).await;
    let main = json!({"occupied": "OFF", "members": 0, "viewers": 1, "sources": 1});
    watcher.sees("portico/portico_hall/room/main", |state| has(state, &main)).await;
    drop(viewer);

    // SIGKILL: the broker says it; a start puts right what is not true any more
    drop(gateway);
    watcher.sees(STATUS, |status| status == "offline").await;
    drop(first);
    let gateway = Gateway::start(&on);
    watcher.sees(STATUS, |status| status == "online").await;
    watcher.sees(YARD, |state| has(state, &empty)).await;
    let kept = watcher.kept();
    assert!(gateway.terminate().0.success());
    watcher.sees(STATUS, |status| status == "offline").await;
    // who comes later finds the same
    let late = Watcher::start(mosquitto.port);
    until("the same", async || match late.kept() {
        seen if seen.keys().eq(kept.keys()) => Ok(()),
        seen => Err(format!("{seen:#?}")),
    })
    .await;

    // switched off and started: all is taken back
    let off = config(&mosquitto, yard, "");
    let mut gateway = Gateway::start(&off);
    watcher.sees_nothing().await;
    connected(&gateway.base, "home").await;

    // the same by reloads: on, a room less, off, on, the whole sink away
    reload(&mut gateway, &on).await;
    watcher.sees(YARD_CONFIG, |_| true).await;
    let less = config(&mosquitto, "", "home_assistant = true\n");
    reload(&mut gateway, &less).await;
    until("that the room is gone", async || match watcher.kept() {
        kept if !kept.keys().any(|topic| topic.contains("yard")) && kept.len() == 4 + 2 + 1 => Ok(()),
        kept => Err(format!("{:#?}", kept.keys())),
    })
    .await;
    reload(&mut gateway, &off).await;
    watcher.sees_nothing().await;
    reload(&mut gateway, &on).await;
    watcher.sees(STATUS, |status| status == "online").await;
    reload(&mut gateway, TEST_SOURCE).await;
    watcher.sees_nothing().await;
    assert!(!Path::new(&mosquitto.dir().join("store/retained.json")).exists() || remembered(&mosquitto) == json!({}));
    assert!(gateway.terminate().0.success());
    assert!(watcher.kept().is_empty(), "{:#?}", watcher.kept());
}

fn remembered(mosquitto: &Mosquitto) -> Value {
    let text = std::fs::read(mosquitto.dir().join("store/retained.json")).expect("it is there");
    serde_json::from_slice(&text).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn home_assistant_gets_pictures_of_its_cameras_until_they_are_switched_off() {
    const CAMERA: &str = "homeassistant/camera/portico_hall_source_test_camera/config";
    const PICTURE: &str = "portico/portico_hall/source/test/picture";
    let mosquitto = Mosquitto::start();
    std::fs::write(mosquitto.dir().join("password"), "hush\n").expect("it is written");
    let watcher = Watcher::start(mosquitto.port);
    let home = "home_assistant = true\n";
    let with = |width: u16| config(&mosquitto, "", &format!("{home}picture_every = \"1s\"\npicture_width = {width}\n"));
    let mut gateway = Gateway::start(&with(160));
    let about = watcher.sees(CAMERA, |_| true).await;
    assert!(has(&about, &json!({"name": "test", "topic": PICTURE, "unique_id": "portico_hall_source_test_camera"})), "{about}");
    let seen = jpeg::see(&watcher.sees_picture(PICTURE, 1).await);
    assert_eq!((seen.width, seen.height), (160, 90), "{seen:?}");
    assert!(seen.colours > 16, "{seen:?}");
    // the newest takes the place of the one before; who comes later finds it
    watcher.sees_picture(PICTURE, 3).await;
    let late = Watcher::start(mosquitto.port);
    late.sees_picture(PICTURE, 1).await;

    // a reload changes its size; another ends the cameras and takes the pictures back, and the rest stays
    reload(&mut gateway, &with(64)).await;
    until("the smaller picture", async || match jpeg::see(&watcher.sees_picture(PICTURE, 1).await) {
        seen if seen.width == 64 => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    reload(&mut gateway, &config(&mosquitto, "", home)).await;
    until("that the camera is gone", async || {
        let kept = watcher.kept.lock().expect("no panic while it is held");
        match kept.states.contains_key(CAMERA) || !kept.pictures.is_empty() || !kept.states.contains_key(STATUS) {
            true => Err(format!("{:#?} {:#?}", kept.states.keys(), kept.pictures.keys())),
            false => Ok(()),
        }
    })
    .await;

    // killed with a picture at the broker, and started without the sink's wish for it: it is known what to take back
    reload(&mut gateway, &with(64)).await;
    watcher.sees_picture(PICTURE, 1).await;
    drop(gateway);
    let gateway = Gateway::start(&config(&mosquitto, "", ""));
    watcher.sees_nothing().await;
    assert!(gateway.terminate().0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_its_topics_events_go_on() {
    let mosquitto = Mosquitto::start_with("acl_file {folder}/acl\n", |folder| {
        std::fs::write(folder.join("acl"), "user portico\ntopic readwrite portico/events/#\n").expect("it is written");
    });
    std::fs::write(mosquitto.dir().join("password"), "hush\n").expect("it is written");
    let mut gateway = Gateway::start(&config(&mosquitto, "", "home_assistant = true\n"));
    connected(&gateway.base, "home").await;
    gateway.wait_log("may want more rights");
    let (_socket, _) = tribe_joined(&gateway.base, "yard", "u1").await;
    until("its event", async || match sink(&gateway.base, "home").await {
        seen if seen["confirmed"].as_u64() >= Some(1) && seen["connected"] == true => Ok(()),
        seen => Err(seen.to_string()),
    })
    .await;
}
