//! Listeners of their own: a dialect on the port and paths that its clients expect, and rooms with a prefix.

mod support;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::{Gateway, PATIENCE, http};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn open(url: &str) -> Self {
        Self(connect_async(url).await.unwrap_or_else(|error| panic!("{url}: {error}")).0)
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::Text(message.to_string().into())).await.expect("written");
    }

    async fn hear(&mut self) -> Value {
        loop {
            let message =
                tokio::time::timeout(PATIENCE, self.0.next()).await.expect("in time").expect("open").expect("a message");
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }
}

/// A gateway with a listener for algorea on a free port, and that port's address.
fn gateway(more: &str) -> (Gateway, String) {
    let config = format!("[[listener]]\ndialect = \"algorea\"\nlisten = \"127.0.0.1:0\"\n{more}");
    let mut gateway = Gateway::start(&config);
    let line = gateway.wait_log("listening for one dialect");
    let at = line.find("127.0.0.1:").expect("the log names the address");
    let address: String = line[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    (gateway, address)
}

#[tokio::test]
async fn algorea_answers_at_any_path_of_its_own_port_and_shares_rooms_with_the_mount() {
    let (gateway, own) = gateway("");
    let mut first = Client::open(&format!("ws://{own}")).await;
    assert_eq!(first.hear().await, json!({"type":"connected-peers","peerIds":[]}));
    let main = gateway.base.replace("http://", "ws://");
    let mut second = Client::open(&format!("{main}/algorea?variant=branch")).await;
    let list = second.hear().await;
    assert_eq!((&list["type"], list["peerIds"].as_array().map(Vec::len)), (&json!("peers"), Some(1)));
    let mut third = Client::open(&format!("ws://{own}/dev/any?room=algorea")).await;
    assert_eq!(third.hear().await["peerIds"].as_array().map(Vec::len), Some(2));
    second.say(json!({"action":"forward-offer","toPeerId":list["peerIds"][0],"offer":{"type":"offer","sdp":"v=0"}})).await;
    assert_eq!(first.hear().await["offer"], json!({"type":"offer","sdp":"v=0"}));
    // the page and the API are elsewhere
    let answer = http().get(format!("http://{own}/api/v1/rooms")).send().await.unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn a_listeners_rooms_can_have_a_prefix_that_its_clients_do_not_see() {
    let (gateway, own) = gateway("room_prefix = \"forum-\"\n[room_prefix]\nalgorea = \"mount-\"\n");
    let mut here = Client::open(&format!("ws://{own}/?room=a")).await;
    here.hear().await;
    let main = gateway.base.replace("http://", "ws://");
    let mut there = Client::open(&format!("{main}/algorea?room=a")).await;
    assert_eq!(there.hear().await["peerIds"], json!([]), "the mount's rooms are others");
    let rooms: Value = http().get(format!("{}/api/v1/rooms", gateway.base)).send().await.unwrap().json().await.unwrap();
    for room in ["forum-a", "mount-a"] {
        assert!(rooms.to_string().contains(room), "{rooms}");
    }
}

#[tokio::test]
async fn what_a_client_may_not_is_said_before_the_upgrade() {
    let (_gateway, own) = gateway("[access]\ntoken_secret = \"sixteen characters\"\n");
    for (query, status) in [("", 401), ("?token=rubbish", 401), ("?variant=neither", 400), ("?room=%0A", 400)] {
        match connect_async(format!("ws://{own}/{query}")).await {
            Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status().as_u16(), status, "{query}"),
            other => panic!("{query}: {:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn check_and_its_summary_name_listeners() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("portico.toml");
    std::fs::write(&file, "[[listener]]\ndialect = \"algorea\"\n").unwrap();
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_portico")).arg("check").arg(&file).output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && text.contains("127.0.0.1:3001 for algorea"), "{text}");
}
