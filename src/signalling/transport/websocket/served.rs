//! Websocket, driver, dialect and rooms together: a real client on a real socket. Only the hub is a few lines of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as Wire;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;
use crate::hub::{HubSession, ToHub, Told};
use crate::room::{Command, Effect, Rooms, RoomsConfig};
use crate::signalling::tribe::{self, Tribe, TribeConfig};
use crate::vocab::{BearerCheck, BearerError, Grant, Identity, RequestId, SessionId};

/// Bearers are user ids.
struct UserIds;

impl BearerCheck for UserIds {
    fn check(&self, _: SystemTime, bearer: &str) -> Result<Identity, BearerError> {
        Ok(Identity { user_id: bearer.into(), grant: Grant::all(bearer) })
    }
}

async fn hub(mut from_sessions: mpsc::Receiver<ToHub>) {
    let mut rooms = Rooms::new(RoomsConfig::default(), Vec::new());
    let mut sessions: HashMap<SessionId, mpsc::Sender<Told>> = HashMap::new();
    while let Some(message) = from_sessions.recv().await {
        let now = Instant::now();
        match message {
            ToHub::Open(session, notices, _) => {
                sessions.insert(session, notices);
                rooms.open_session(now, session);
            }
            ToHub::Command(session, req, command) => rooms.handle(now, session, req, command),
            ToHub::Dropped(session) => rooms.handle(now, session, RequestId::next(), Command::Lost),
            _ => {}
        }
        while let Some(effect) = rooms.poll_effect() {
            match effect {
                Effect::Notify(session, notice) => {
                    if let Some(session) = sessions.get(&session) {
                        let _ = session.try_send(Told::Notice(Box::new(notice)));
                    }
                }
                Effect::EndSession(session, _) => {
                    sessions.remove(&session);
                }
                _ => {}
            }
        }
    }
}

struct Server {
    url: String,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Server {
    async fn start() -> Self {
        let (to_hub, from_sessions) = mpsc::channel(256);
        let stop = CancellationToken::new();
        let ends = stop.clone();
        let route = any(async move |ws: WebSocketUpgrade| {
            ws.max_message_size(tribe::ENTRY.carrier.max_message).on_upgrade(async move |socket| {
                let (tell, told) = mpsc::channel(1024);
                let session = HubSession { id: SessionId::next(), to_hub: to_hub.clone(), told };
                let _ = to_hub.send(ToHub::Open(session.id, tell, None)).await;
                let deps = tribe::Deps {
                    bearer: Arc::new(UserIds),
                    remote: None,
                    config: TribeConfig::default(),
                    wall: SystemTime::now(),
                };
                let dialect = Box::new(Tribe::new(Instant::now(), deps));
                session::run(Socket::new(socket), dialect, session, &tribe::ENTRY, None, ends).await;
            })
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/api", listener.local_addr().unwrap());
        let serve = async move { axum::serve(listener, Router::new().route("/api", route)).await.unwrap() };
        Self { url, stop, tasks: vec![tokio::spawn(hub(from_sessions)), tokio::spawn(serve)] }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn joined(server: &Server, user: &str) -> (Self, Value) {
        let mut client = Self(connect_async(&server.url).await.unwrap().0);
        client.say(json!({"a":"join","d":{"roomId":"r","bearer":user}})).await;
        let answer = client.hear().await;
        assert_eq!(answer["s"], true);
        (client, answer)
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Wire::Text(message.to_string().into())).await.unwrap();
    }

    async fn next(&mut self) -> Wire {
        timeout(Duration::from_secs(10), self.0.next()).await.expect("in time").expect("open").unwrap()
    }

    /// The next message, other than orientation and picture.
    async fn hear(&mut self) -> Value {
        loop {
            if let Wire::Text(text) = self.next().await {
                let message: Value = serde_json::from_str(&text).unwrap();
                if !matches!(message["a"].as_str(), Some("eventOrientationChange" | "eventUserMediaConfiguration")) {
                    return message;
                }
            }
        }
    }
}

#[tokio::test]
async fn two_clients_talk_lose_come_back_and_leave() {
    let server = Server::start().await;
    let (mut a, _) = Client::joined(&server, "u1").await;
    let (mut b, answer) = Client::joined(&server, "u2").await;
    let (id_a, id_b) = (answer["d"]["sessions"][0]["socketId"].clone(), answer["d"]["socketId"].clone());

    a.say(json!({"a":"sendMessage","d":{"to":id_b,"message":{"n":1}}})).await;
    assert_eq!(a.hear().await, json!({"a":"sendMessageR","s":true}));
    let told = b.hear().await;
    assert_eq!(told, json!({"a":"eventMessage","d":{"from":{"socketId":id_a,"userId":"u1"},"message":{"n":1}}}));

    drop(b); // no close frame
    let mut b = Client(connect_async(&server.url).await.unwrap().0);
    b.say(json!({"a":"reconnect","d":{"socketId":id_b}})).await;
    assert_eq!(b.hear().await, json!({"a":"reconnectR","s":true,"d":{"roomSize":2}}));

    b.0.close(None).await.unwrap();
    let left = a.hear().await;
    assert_eq!(left, json!({"a":"eventLeave","d":{"roomId":"r","roomSize":1,"socketId":id_b,"userId":"u2"}}));
}

#[tokio::test]
async fn bad_input_hurts_only_its_sender() {
    let server = Server::start().await;
    let (mut good, _) = Client::joined(&server, "u1").await;
    let (mut bad, _) = Client::joined(&server, "u2").await;
    bad.say(json!("garbage")).await;
    assert_eq!(bad.hear().await, json!({"a":"generalR","s":false,"e":1282}));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024));
    let (mut write, mut read) = bad.0.split();
    let writer = tokio::spawn(async move { write.send(Wire::Text(large.into())).await });
    loop {
        match timeout(Duration::from_secs(10), read.next()).await.expect("in time") {
            Some(Ok(Wire::Close(Some(close)))) => break assert_eq!(close.code, CloseCode::Size),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
    writer.abort();
    assert_eq!(good.hear().await["a"], "eventLeave");
    good.say(json!({"a":"eventFreeze"})).await;
    good.say(json!({"a":"dance"})).await;
    assert_eq!(good.hear().await, json!({"a":"danceR","s":false,"e":1296}));
}

#[tokio::test]
async fn stopping_says_goodbye() {
    let server = Server::start().await;
    let (mut a, _) = Client::joined(&server, "u1").await;
    server.stop.cancel();
    let Wire::Close(Some(close)) = a.next().await else { panic!("no close frame") };
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Away, "the gateway is stopping"));
}
