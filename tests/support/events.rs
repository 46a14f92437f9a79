//! A client of Socket.IO 4 over a websocket, packet by packet.
#![allow(dead_code)] // each test file uses a part of it

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::PATIENCE;

/// A connection that is in the namespace.
pub struct Events {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// `socket.id`.
    pub id: String,
    /// The names of all events so far, those passed over too.
    pub heard: Vec<String>,
}

impl Events {
    /// Connects below `/socket.io/`.
    pub async fn open(base: &str) -> Self {
        let url = format!("{}/socket.io/?EIO=4&transport=websocket", base.replace("http", "ws"));
        let (socket, _) = connect_async(url).await.expect("a websocket");
        let mut this = Self { socket, id: String::new(), heard: Vec::new() };
        this.packet("40").await;
        let connected = this.next(|packet| packet.strip_prefix("40").map(str::to_owned)).await;
        let connected: Value = serde_json::from_str(&connected).expect("JSON");
        this.id = connected["sid"].as_str().expect("an id").to_owned();
        this
    }

    /// Sends a packet as it is.
    pub async fn packet(&mut self, packet: &str) {
        self.send(Message::Text(packet.into())).await;
    }

    /// Sends any frame; that it was closed before is no failure.
    pub async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// Sends an event, `["name", …]`.
    pub async fn emit(&mut self, event: Value) {
        self.packet(&format!("42{event}")).await;
    }

    /// The next event of this name; others are passed over.
    pub async fn event(&mut self, name: &str) -> Value {
        self.next(|packet| {
            let event: Value = serde_json::from_str(packet.strip_prefix("42")?).ok()?;
            (event[0] == name).then_some(event)
        })
        .await
    }

    /// The close code, after whatever else comes; none where the connection was cut.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("an end in time") {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn next<T>(&mut self, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("something is heard") {
                Some(Ok(Message::Text(packet))) if packet.as_str() == "2" => self.packet("3").await,
                Some(Ok(Message::Text(packet))) => {
                    let event = packet.strip_prefix("42").and_then(|event| serde_json::from_str::<Value>(event).ok());
                    self.heard.extend(event.and_then(|event| event[0].as_str().map(str::to_owned)));
                    if let Some(found) = wanted(&packet) {
                        return found;
                    }
                }
                Some(Ok(_)) => {}
                end => panic!("closed: {end:?}"),
            }
        }
    }
}
