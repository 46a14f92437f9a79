//! Ready, reload, stop: what the service manager asks of the gateway.

#[path = "support/clients.rs"]
mod clients;
mod support;

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clients::*;
use serde_json::json;
use support::{Gateway, PATIENCE, TEST_SOURCE};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The gateway promises 2 s; the rest is for a machine that is busy with other tests.
const STOP_LIMIT: Duration = Duration::from_secs(6);

fn hang_up(gateway: &Gateway) {
    let sent = Command::new("kill").args(["-HUP", &gateway.pid().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn term_ends_everything_and_everyone_is_told() {
    let gateway = Gateway::start(TEST_SOURCE);
    let base = gateway.base.clone();
    let (viewer, relay) = Viewer::start_over_relay(&base, "/whep/main").await;
    assert_eq!(relay.alerts.load(Ordering::Relaxed), 0);
    let mut page = page_joined(&base, "main").await;
    let (mut tribe, _) = tribe_joined(&base, "main", "u1").await;
    let silent = Socket::open(&base, "/api").await;
    let half = std::net::TcpStream::connect(address(&base)).unwrap();
    let mut events = http().get(format!("{base}/api/v1/events")).send().await.unwrap();
    let (status, took) = tokio::task::spawn_blocking(move || gateway.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < STOP_LIMIT, "{took:?}");
    until("the goodbye to the viewer", async || match relay.alerts.load(Ordering::Relaxed) {
        0 => Err("no DTLS close_notify".into()),
        _ => Ok(()),
    })
    .await;
    viewer.end().await;
    let told = page.hear(|heard| heard["type"] == "ended").await;
    assert_eq!(told["reason"], "stopping");
    assert_eq!(page.closed().await, Some(CloseCode::Away));
    assert_eq!(tribe.closed().await, Some(CloseCode::Away));
    drop((silent, half));
    let end = async { while let Ok(Some(_)) = events.chunk().await {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the event stream ends");
    assert!(std::net::TcpStream::connect(address(&base)).is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_does_not_wait_for_those_that_do_not_answer() {
    let gateway = Gateway::start(TEST_SOURCE);
    let base = gateway.base.clone();
    // none of these is read again
    let (tribe, _) = tribe_joined(&base, "main", "u1").await;
    let page = page_joined(&base, "main").await;
    let _session = post_offer(&base, "/whep/main", &play_offer().await).await;
    let (status, took) = tokio::task::spawn_blocking(move || gateway.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < STOP_LIMIT, "{took:?}");
    drop((tribe, page));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_once_the_sources_were_looked_at() {
    let mut gateway = Gateway::start(TEST_SOURCE);
    gateway.wait_log("source found good");
    until("ready", async || match get(&gateway.base, "/readyz").await {
        answer if answer == json!({"ready": true, "waiting": []}) => Ok(()),
        answer => Err(answer.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hang_up_reloads_rooms_limits_and_log_filter() {
    let mut gateway = Gateway::start(TEST_SOURCE);
    let base = gateway.base.clone();
    let file = gateway.dir().join("portico.toml");
    let viewer = Viewer::start(&base, "/whep/main").await;
    let mut first = page_joined(&base, "yard").await;

    std::fs::write(&file, format!("[rooms]\nmax_members = 1\n[log]\nfilter = \"info,portico::http=debug\"\n{TEST_SOURCE}"))
        .unwrap();
    hang_up(&gateway);
    gateway.wait_log("configuration applied");
    let mut second = Socket::open(&base, "/page").await;
    let answer = second.page(json!({"type":"join","room":"yard"}), &["refused", "welcome"]).await;
    assert_eq!(answer["code"], "room_full");
    get(&base, "/api/v1/version").await;
    gateway.wait_log("request answered");
    // who is there stays there
    first.say(json!({"type":"mute","audio":true})).await;
    viewer.plays_on().await;

    // a configuration with an error changes nothing
    std::fs::write(&file, "[rooms]\nmax_membres = 5\n").unwrap();
    hang_up(&gateway);
    gateway.wait_log("the running one stays");
    assert!(gateway.log().contains("did you mean `max_members`?"));
    let answer = second.page(json!({"type":"join","room":"yard"}), &["refused", "welcome"]).await;
    assert_eq!(answer["code"], "room_full");

    // a source that changed goes on for who watches it
    let other = TEST_SOURCE.replace("framerate = 30", "framerate = 15");
    std::fs::write(&file, format!("[rooms]\nmax_members = 1\n{other}")).unwrap();
    hang_up(&gateway);
    gateway.wait_log("sources changed added=0 changed=1 removed=0");
    viewer.plays_on().await;

    // what needs a restart is said to need one; the rest is taken over
    let media = "[media]\nice_servers = [\"stun:192.0.2.1:3478\"]\n";
    std::fs::write(&file, format!("[rooms]\nmax_members = 2\n{media}{other}")).unwrap();
    hang_up(&gateway);
    gateway.wait_log("other changes need a restart");
    let answer = second.page(json!({"type":"join","room":"yard"}), &["refused", "welcome"]).await;
    assert_eq!(answer["type"], "welcome");
    viewer.plays_on().await;
}

#[test]
fn systemd_is_told_when_a_reload_begins_and_ends() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    // lines of how it is come in between
    let next = || loop {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).expect("systemd is told");
        let message = String::from_utf8_lossy(&message[..length]).trim_end().to_owned();
        if !message.starts_with("STATUS=") {
            return message;
        }
    };
    let gateway = Gateway::start_in(TEST_SOURCE, &[], &[("NOTIFY_SOCKET", path.display().to_string())]);
    assert_eq!(next(), "READY=1");
    let mut last = 0;
    // a refused one ends, too
    for text in [TEST_SOURCE, "[rooms]\nmax_membres = 5\n"] {
        std::fs::write(gateway.dir().join("portico.toml"), text).expect("it is written");
        hang_up(&gateway);
        let begun = next();
        let at = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|at| at.parse::<u64>().ok());
        assert!(at.is_some_and(|at| at > last), "{begun:?}");
        last = at.unwrap_or_default();
        assert_eq!(next(), "READY=1");
    }
    assert!(gateway.terminate().0.success());
    assert_eq!(next(), "STOPPING=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_is_printed_where_the_configuration_wants_one() {
    let secret = "[access]\ntoken_secret = \"sixteen characters and more\"\n";
    let mut gateway = Gateway::start(&format!("{secret}join_link = \"1h\"\n"));
    let link = gateway.wait_log("#token=");
    let token = link.strip_prefix(&format!("{}/#token=", gateway.base)).unwrap_or_else(|| panic!("{link}")).to_owned();
    let rooms = format!("{}/api/v1/rooms", gateway.base);
    assert_eq!(http().get(&rooms).send().await.unwrap().status(), 401);
    assert_eq!(http().get(&rooms).bearer_auth(&token).send().await.unwrap().status(), 200);
    // it invites, and gives no control
    let order = json!({"rooms": "*", "rights": ["publish"], "expires_in": 60});
    let tokens = http().post(format!("{}/api/v1/tokens", gateway.base)).bearer_auth(&token).json(&order).send().await.unwrap();
    assert_eq!(tokens.status(), 403);
    gateway.wait_log(" listening");
    let (status, log) = (tokio::task::spawn_blocking(move || gateway.terminate().0)).await.map(|status| (status, link)).unwrap();
    assert!(status.success(), "{log}");

    let mut quiet = Gateway::start(secret);
    quiet.wait_log(" listening");
    assert!(!quiet.log().contains("#token="));
}
