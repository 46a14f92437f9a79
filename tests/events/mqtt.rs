//! mosquitto, with TLS, a client certificate and a password; stopped and started again. Read by mosquitto's own client.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use crate::brokers::Mosquitto;
use crate::clients::until;
use crate::support::{Gateway, PATIENCE};
use crate::{comings_of, connected, sink, visit, visits};

/// `mosquitto_sub`, whose place at the broker outlives the broker.
struct Subscriber {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Subscriber {
    fn start(port: u16) -> Self {
        let mut child = Command::new("mosquitto_sub")
            .args(["-V", "mqttv5", "-p", &port.to_string(), "-u", "portico", "-P", "hush", "-i", "reader", "-c", "-x", "3600"])
            .args(["-q", "1", "-t", "board/7/#", "-F", "%t|%C|%P|%p"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub starts (run make test)");
        let out = child.stdout.take().expect("stdout is piped");
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self { child, lines }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reach_mosquitto_in_order_though_it_is_away_for_a_while() {
    let mut mosquitto = Mosquitto::start();
    let subscriber = Subscriber::start(mosquitto.port);
    let dir = mosquitto.dir().display().to_string();
    std::fs::write(mosquitto.dir().join("password"), "hush\n").expect("it is written");
    let gateway = Gateway::start(&format!(
        "[events]\nstore_dir = \"{dir}/store\"\nlive_interval = \"1s\"\n[[events.sink]]\nname = \"home\"\ntype = \"mqtt\"\n\
         url = \"mqtts://localhost:{}\"\ntopic = \"board/7\"\nuser = \"portico\"\npassword_file = \"{dir}/password\"\n\
         ca = \"{dir}/ca.pem\"\ncert = \"{dir}/client.pem\"\nkey = \"{dir}/client.key\"\n",
        mosquitto.tls_port
    ));
    connected(&gateway.base, "home").await;
    for user in 0..10 {
        visit(&gateway.base, "hall", &format!("v{user}")).await;
    }
    mosquitto.stop();
    for user in 10..20 {
        visit(&gateway.base, "hall", &format!("v{user}")).await;
    }
    until("that the loss is seen", async || match sink(&gateway.base, "home").await {
        seen if seen["connected"] == false && seen["backlog"].as_u64() >= Some(20) => Ok(()),
        seen => Err(seen.to_string()),
    })
    .await;
    mosquitto.start_again();
    connected(&gateway.base, "home").await;
    visit(&gateway.base, "hall", "v20").await;

    let mut events: Vec<(String, Value)> = Vec::new();
    let mut ids = BTreeMap::new();
    let expected = visits(0..21);
    let comings = |events: &[(String, Value)]| comings_of(events.iter().map(|(name, body)| (name.as_str(), body)), "hall");
    let live = |events: &[(String, Value)]| events.iter().any(|(name, body)| name == "room.live" && body["roomId"] == "main");
    while comings(&events).len() < expected.len() || !live(&events) {
        let line = subscriber.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("not all came: {events:#?}"));
        let parts: Vec<&str> = line.splitn(4, '|').collect();
        let [topic, kind, properties, body] = parts[..] else { panic!("{line}") };
        assert_eq!(kind, "application/json", "{line}");
        let id =
            properties.split_whitespace().find_map(|word| word.strip_prefix("id:")).unwrap_or_else(|| panic!("no id: {line}"));
        if ids.insert(id.to_owned(), body.to_owned()).is_none() {
            let name = topic.strip_prefix("board/7/").expect("the topic");
            events.push((name.to_owned(), serde_json::from_str(body).expect("JSON")));
        }
    }
    assert_eq!(comings(&events), expected);
    let (status, _) = gateway.terminate();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_a_state_and_not_in_the_log() {
    let mosquitto = Mosquitto::start();
    let dir = mosquitto.dir().display().to_string();
    std::fs::write(mosquitto.dir().join("password"), "wrong-word\n").expect("it is written");
    let mut gateway = Gateway::start(&format!(
        "[events]\nstore_dir = \"{dir}/store\"\n[[events.sink]]\nname = \"home\"\ntype = \"mqtt\"\n\
         url = \"mqtt://127.0.0.1:{}\"\nuser = \"portico\"\npassword_file = \"{dir}/password\"\n[log]\nfilter = \"trace\"\n",
        mosquitto.port
    ));
    visit(&gateway.base, "hall", "v0").await;
    let refused = until("the refusal", async || match sink(&gateway.base, "home").await {
        seen if seen["error"].is_string() && seen["backlog"].as_u64() >= Some(2) => Ok(seen),
        seen => Err(seen.to_string()),
    })
    .await;
    assert!(refused["error"].as_str().unwrap().contains("cannot connect"), "{refused}");
    assert!(!gateway.log().contains("wrong-word"), "the password is logged");
}
