//! What only shows in real time: `make test-long`, about ten minutes, all tests at once. The same times are asserted in simulated
//! time beside the code; here nothing is shortened.

#[path = "support/clients.rs"]
mod clients;
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use clients::Socket;
use futures_util::StreamExt;
use serde_json::json;
use support::{Gateway, json_within, tests_dir};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// How much later than its time something may happen on a busy machine.
const LATE: Duration = Duration::from_secs(20);

/// Frames of bytes until the close frame, with the time each came at, and its code.
async fn frames_until_close(socket: &mut Socket, limit: Duration) -> (Vec<Duration>, u16, Duration) {
    let (start, mut frames) = (Instant::now(), Vec::new());
    loop {
        match timeout(limit, socket.0.next()).await.expect("the connection is closed in time") {
            Some(Ok(Message::Close(Some(close)))) => return (frames, close.code.into(), start.elapsed()),
            Some(Ok(Message::Binary(_))) => frames.push(start.elapsed()),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

// sigver, checklist 12
#[tokio::test]
#[ignore = "takes 15 s: make test-long"]
async fn a_silent_sigver_client_hears_two_heartbeats_and_is_closed() {
    let gateway = Gateway::start("");
    let mut client = Socket::open(&gateway.base, "/sigver/doc1").await;
    let (beats, code, after) = frames_until_close(&mut client, Duration::from_secs(15) + LATE).await;
    assert_eq!((beats.len(), code), (2, 4742), "{beats:?}");
    assert!(after > Duration::from_millis(14_500), "{after:?}");
}

// webrtc-star, checklist 3 and 4; both dialects of Socket.IO
#[tokio::test]
#[ignore = "takes 45 s: make test-long"]
async fn a_silent_client_of_engine_io_is_closed_after_45_seconds_and_pinged_before_in_version_4() {
    let gateway = Gateway::start("");
    let silent = async |version: u8| {
        let url = format!("{}/socket.io/?EIO={version}&transport=websocket", gateway.base.replace("http", "ws"));
        let mut socket = Socket(tokio_tungstenite::connect_async(url).await.expect("a websocket").0);
        socket.say_text("40").await;
        let (start, mut pings) = (Instant::now(), Vec::new());
        loop {
            match timeout(Duration::from_secs(45) + LATE, socket.0.next()).await.expect("the connection ends in time") {
                Some(Ok(Message::Text(packet))) if packet.as_str() == "2" => pings.push(start.elapsed()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return (pings, start.elapsed()),
                Some(Ok(_)) => {}
            }
        }
    };
    let ((old_pings, old_end), (pings, end)) = tokio::join!(silent(3), silent(4));
    assert!(old_pings.is_empty(), "its clients ping: {old_pings:?}");
    assert!(old_end > Duration::from_millis(44_500), "{old_end:?}");
    assert_eq!(pings.len(), 1);
    assert!(pings[0] > Duration::from_millis(24_500), "{pings:?}");
    assert!(end > Duration::from_millis(44_500), "{end:?}");
}

// algorea, checklist 12
#[tokio::test]
#[ignore = "takes 10 minutes: make test-long"]
async fn ten_minutes_of_silence_end_an_algorea_client_that_is_not_pinged() {
    let gateway = Gateway::start("[algorea]\nping_every = \"0s\"\n");
    let mut client = Socket::open(&gateway.base, "/algorea?room=r").await;
    client.hear(|heard| heard["type"] == "connected-peers").await;
    let (_, code, after) = frames_until_close(&mut client, Duration::from_secs(600) + LATE).await;
    assert_eq!(code, 1001);
    assert!(after > Duration::from_secs(595), "{after:?}");
}

#[tokio::test]
#[ignore = "takes 11 minutes: make test-long"]
async fn an_algorea_client_that_answers_pings_stays_for_more_than_ten_minutes() {
    let gateway = Gateway::start("");
    let mut silent = Socket::open(&gateway.base, "/algorea?room=r").await;
    silent.hear(|heard| heard["type"] == "connected-peers").await;
    // reading answers the pings
    let heard = timeout(Duration::from_secs(660), anything(&mut silent)).await;
    assert!(heard.is_err(), "{heard:?}");
    let mut newcomer = Socket::open(&gateway.base, "/algorea?room=r").await;
    let peers = newcomer.hear(|heard| heard["type"] == "connected-peers").await;
    let offer = json!({"action": "forward-offer", "toPeerId": peers["peerIds"][0], "offer": {"type": "offer", "sdp": "x"}});
    newcomer.say(offer).await;
    assert_eq!(silent.hear(|heard| heard["type"] == "offer").await["offer"]["sdp"], "x");
}

// peerjs: 90 s without HEARTBEAT
#[tokio::test]
#[ignore = "takes 90 s: make test-long"]
async fn a_peerjs_client_without_heartbeats_is_closed_after_90_seconds() {
    let gateway = Gateway::start("");
    let mut client = Socket::open(&gateway.base, "/peerjs/peerjs?key=peerjs&id=a&token=t").await;
    client.hear(|heard| heard["type"] == "OPEN").await;
    let start = Instant::now();
    assert!(timeout(Duration::from_secs(90) + LATE, ended(&mut client)).await.is_ok());
    assert!(start.elapsed() > Duration::from_secs(89), "{:?}", start.elapsed());
    let mut other = Socket::open(&gateway.base, "/peerjs/peerjs?key=peerjs&id=a&token=other").await;
    assert_eq!(
        other.hear(|heard| heard["type"] == "OPEN" || heard["type"] == "ID-TAKEN").await["type"],
        "OPEN",
        "the id is free"
    );
}

/// The first frame but pings, or the end.
async fn anything(socket: &mut Socket) -> Option<Message> {
    loop {
        match socket.0.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => return other.and_then(Result::ok),
        }
    }
}

/// Reads until the connection ends, however it does.
async fn ended(socket: &mut Socket) {
    while let Some(Ok(_)) = socket.0.next().await {}
}

// vamp, checklist 17
#[test]
#[ignore = "takes 10 minutes: make test-long"]
fn ten_minutes_of_a_clip_arrive_once_each_and_in_order() {
    let gateway = Gateway::start("");
    let mut command = Command::new("node");
    command.arg(tests_dir().join("clients/vamp_long.mjs")).args([&gateway.base, "600"]);
    let seen = json_within(command, "vamp_long.mjs", Duration::from_secs(1000));
    assert_eq!(seen["frames"], 33 * 600, "{seen:#}");
}
