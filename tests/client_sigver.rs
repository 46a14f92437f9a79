//! netflux 4.3.1 in Chromium forms groups through the gateway; and what only a real socket shows of the dialect sigver.

#[path = "support/clients.rs"]
mod clients;
mod support;

use futures_util::{SinkExt, StreamExt};
use portico::signalling::sigver::wire::{self, Content, GroupData, Kind};
use serde_json::{Value, json};
use support::{End, Gateway, PATIENCE, node, node_through_restart};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Pages of any origin, as the clients' own page is served from elsewhere.
const OPEN: &str = "[http]\nallowed_origins = [\"*\"]\n";

fn ws(gateway: &Gateway) -> String {
    gateway.base.replace("http://", "ws://")
}

/// Three members exchange messages, one leaves, a fourth joins; all of that is asserted by the script.
fn group_forms(url: &str) {
    let seen = node("netflux_group.mjs", &[url, "doc1"]);
    let members = seen["members"].as_array().expect("members");
    assert_eq!(members.len(), 4, "{seen:#}");
    for member in members {
        let states: Vec<&str> = member["group"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(states[..3], ["LEFT", "JOINING", "JOINED"], "{seen:#}");
        let signalling: Vec<&str> = member["signalling"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(signalling[..5], ["CLOSED", "CONNECTING", "OPEN", "CHECKING", "CHECKED"], "{seen:#}");
    }
    assert_eq!(members[1]["group"].as_array().unwrap().last(), Some(&json!("LEFT")), "{seen:#}");
    assert_eq!(members[1]["signalling"].as_array().unwrap().last(), Some(&json!("CLOSED")), "{seen:#}");
}

// checklist 23; all come at once
#[test]
fn five_netflux_clients_exchange_a_byte_and_a_mebibyte() {
    let gateway = Gateway::start(OPEN);
    let seen = node("netflux_five.mjs", &[&format!("{}/sigver", ws(&gateway))]);
    assert_eq!((&seen["members"], &seen["exchanged"]), (&json!(5), &json!(40)), "{seen:#}");
}

// checklist 22; the page's 10 s are generous here, since ten pages share the machine
#[test]
fn ten_netflux_clients_are_joined_again_after_a_restart_without_new_channels() {
    let gateway = Gateway::start(OPEN);
    let url = format!("{}/sigver", ws(&gateway));
    let seen = node_through_restart(gateway, OPEN, End::Stopped, "netflux_restart.mjs", &[&url]);
    assert_eq!((&seen["members"], &seen["left"]), (&json!(10), &json!([])), "{seen:#}");
    assert_eq!(seen["before"], seen["after"], "connections made: {seen:#}");
    assert!(seen["seconds"].as_f64() < Some(60.0), "{seen:#}");
}

#[test]
fn the_api_shows_the_states_that_netflux_clients_say_they_are_in() {
    let gateway = Gateway::start(OPEN);
    let url = format!("{}/sigver", ws(&gateway));
    let seen = node("netflux_states.mjs", &[&url, &format!("{}/api/v1/rooms/doc1", gateway.base)]);
    let (joined, joining) =
        (json!({"group": "joined", "signalling": "checked"}), json!({"group": "joining", "signalling": "checked"}));
    let states: Vec<&Value> = seen["steps"].as_array().expect("steps").iter().map(|step| &step["states"]).collect();
    let two = json!([joined, joined]);
    assert_eq!(states, [&json!([]), &json!([joined]), &two, &json!([joined, joined, joining]), &two, &json!([])], "{seen:#}");
}

// checklist 24
#[test]
fn a_netflux_group_forms_below_the_prefix() {
    let gateway = Gateway::start(OPEN);
    group_forms(&format!("{}/sigver", ws(&gateway)));
}

/// Every check of the original server's published tests, and more; the same script passes against sigver 20.1.0.
#[test]
fn the_checks_of_the_original_server_hold() {
    let gateway = Gateway::start("");
    let seen = node("suite_sigver.mjs", &[&format!("{}/sigver", ws(&gateway))]);
    assert_eq!(seen["failed"], json!([]), "{seen:#}");
    assert!(seen["passed"].as_array().map(Vec::len) >= Some(22), "{seen:#}");
}

/// Text crosses between genuine netflux clients and one of another dialect, both ways, as long as that one is there.
#[test]
fn text_crosses_between_a_netflux_group_and_a_tribe_client() {
    let gateway = Gateway::start(OPEN);
    let seen = node("netflux_room.mjs", &[&format!("{}/sigver", ws(&gateway)), "doc1", &format!("{}/api", ws(&gateway))]);
    let id = |at: usize| seen["ids"][at].as_u64().expect("an id");
    assert_eq!(seen["alone"], json!([[id(1)], [id(0)]]), "among themselves they need nobody: {seen:#}");
    assert!(seen["gateway"].as_u64() >= Some(1 << 31), "{seen:#}");
    let heard = seen["heard"].as_array().expect("what was heard");
    for (from, text) in [(id(0), "from netflux 1"), (id(1), "long"), (id(2), "from netflux 3")] {
        let times = heard.iter().filter(|it| **it == json!({"from": from.to_string(), "text": text})).count();
        assert_eq!(times, 1, "{text} once, as the one who said it: {seen:#}");
    }
    assert_eq!(heard.len(), 3, "{seen:#}");
    let mut left = [id(1), id(2)];
    left.sort_unstable();
    assert_eq!(seen["left"], json!(left), "{seen:#}");
    assert_eq!(seen["group"], "JOINED", "{seen:#}");
}

// checklist 24; the port that the original's clients expect could be taken
#[test]
fn a_netflux_group_forms_on_a_listener_of_its_own() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&format!("{OPEN}[[listener]]\ndialect = \"sigver\"\nlisten = \"{free}\"\n"));
    group_forms(&format!("ws://{free}"));
    drop(gateway);
}

#[tokio::test]
async fn on_a_listener_of_its_own_every_path_is_a_key_and_probes_are_answered() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&format!("[[listener]]\ndialect = \"sigver\"\nlisten = \"{free}\"\n"));
    let probe = clients::http().get(format!("http://{free}/")).send().await.unwrap();
    assert_eq!(probe.status(), 200);
    let plain = clients::http().get(format!("http://{free}/doc1")).send().await.unwrap();
    assert_eq!(plain.status(), 426);
    let mut empty = Client(connect_async(format!("ws://{free}/")).await.unwrap().0);
    assert_eq!(empty.closed().await, 4741);
    // the groups are those of the prefix
    let mut a = Client(connect_async(format!("ws://{free}/a/b")).await.unwrap().0);
    assert_eq!(a.connect(1, &[]).await, Kind::Connected(true));
    let mut b = Client::open(&gateway, "/sigver/a/b").await;
    assert_eq!(b.connect(2, &[]).await, Kind::Connected(false));
}

/// A client of the wire.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn open(gateway: &Gateway, path: &str) -> Self {
        Self(connect_async(format!("{}{path}", ws(gateway))).await.expect("the upgrade succeeds").0)
    }

    async fn send(&mut self, kind: Kind) {
        self.0.send(Message::Binary(wire::encode(kind))).await.expect("sent");
    }

    async fn connect(&mut self, id: u32, members: &[u32]) -> Kind {
        self.send(Kind::Connect(GroupData { id, members: members.to_vec() })).await;
        self.hear().await
    }

    /// The next message that is no heartbeat.
    async fn hear(&mut self) -> Kind {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("in time") {
                Some(Ok(Message::Binary(frame))) => match wire::decode(&frame).expect("a message") {
                    Kind::Heartbeat(_) => {}
                    kind => return kind,
                },
                other => panic!("no message: {other:?}"),
            }
        }
    }

    async fn closed(&mut self) -> u16 {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("in time") {
                Some(Ok(Message::Close(Some(close)))) => return close.code.into(),
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }
}

// checklist 15 and 16, and the table of section 1
#[tokio::test]
async fn every_path_below_the_mount_is_a_key() {
    let gateway = Gateway::start("");
    for path in ["/sigver", "/sigver/", "/sigver?favored", &format!("/sigver/{}", "k".repeat(513))] {
        assert_eq!(Client::open(&gateway, path).await.closed().await, 4741, "{path}");
    }
    let mut kept = Vec::new();
    for (id, path) in ["/sigver/a/b", "/sigver/a//b", "/sigver/a", "/sigver/%C3%A9", "/sigver/%2f", "/sigver//", "/sigver/{x}"]
        .iter()
        .enumerate()
    {
        let mut client = Client::open(&gateway, path).await;
        assert_eq!(client.connect(id as u32 + 1, &[]).await, Kind::Connected(true), "{path}");
        kept.push(client);
    }
    let mut client = Client::open(&gateway, "/sigver/a/b?favored=1").await;
    assert_eq!(client.connect(99, &[]).await, Kind::Connected(false));
    let mut long = Client::open(&gateway, &format!("/sigver/{}", "k".repeat(512))).await;
    assert_eq!(long.connect(1, &[]).await, Kind::Connected(true));
    let room = clients::get(&gateway.base, "/api/v1/rooms/%C3%A9").await;
    assert_eq!(room["members"][0]["user_id"], "4", "{room:#}");
}

#[tokio::test]
async fn a_plain_request_is_told_to_upgrade() {
    let gateway = Gateway::start("");
    for path in ["/sigver/doc1", "/sigver"] {
        let answer = clients::http().get(format!("{}{path}", gateway.base)).send().await.unwrap();
        assert_eq!(answer.status(), 426, "{path}");
        assert_eq!(answer.headers()["upgrade"], "websocket");
    }
}

#[tokio::test]
async fn the_states_of_members_are_in_the_api() {
    let gateway = Gateway::start("");
    let state = async || {
        let room = clients::get(&gateway.base, "/api/v1/rooms/doc1").await;
        let members = room["members"].as_array().cloned().unwrap_or_default();
        members.iter().map(|it| (it["user_id"].as_str().unwrap().to_owned(), it["state"].clone())).collect::<Vec<_>>()
    };
    let mut a = Client::open(&gateway, "/sigver/doc1").await;
    assert_eq!(state().await, []);
    assert_eq!(a.connect(1, &[]).await, Kind::Connected(true));
    let mut b = Client::open(&gateway, "/sigver/doc1").await;
    assert_eq!(b.connect(2, &[]).await, Kind::Connected(false));
    let of = |group: &str| json!({"group": group, "signalling": "checked"});
    let seen = async |expected: Vec<(String, Value)>| {
        clients::until(
            "the states",
            async || if state().await == expected { Ok(()) } else { Err(format!("{:?}", state().await)) },
        )
        .await
    };
    seen(vec![("1".into(), of("joined")), ("2".into(), of("joining"))]).await;
    assert_eq!(b.connect(2, &[1]).await, Kind::Connected(true));
    seen(vec![("1".into(), of("joined")), ("2".into(), of("joined"))]).await;
    drop(a);
    let Kind::Content(Content { data: None, .. }) = b.hear().await else { panic!("not told that the partner has gone") };
    seen(vec![("2".into(), of("joined"))]).await;
}

// checklist 14, and frames that are too large; others are undisturbed
#[tokio::test]
async fn a_bad_client_hurts_only_itself() {
    let gateway = Gateway::start("");
    let mut good = Client::open(&gateway, "/sigver/doc1").await;
    assert_eq!(good.connect(1, &[]).await, Kind::Connected(true));
    for (bad, code) in [
        (Message::Text("hello my friend".into()), 4743),
        (Message::Binary(vec![].into()), 4743),
        (Message::Binary(vec![0x12, 0x05, 0x08].into()), 4743),
        (Message::Binary(vec![0; 256 * 1024 + 1].into()), 1009),
    ] {
        let mut client = Client::open(&gateway, "/sigver/doc1").await;
        assert_eq!(client.connect(2, &[1]).await, Kind::Connected(true));
        // a frame that is too large may meet a socket that is closed already
        let _ = client.0.send(bad).await;
        assert_eq!(client.closed().await, code);
    }
    // a client that vanishes without a word
    let mut half = Client::open(&gateway, "/sigver/doc1").await;
    assert_eq!(half.connect(3, &[]).await, Kind::Connected(false));
    drop(half);
    let Kind::Content(Content { data: None, sender_id: Some(1..), .. }) = good.hear().await else { panic!("no word of its end") };
    assert_eq!(good.connect(1, &[]).await, Kind::Connected(true));
}
