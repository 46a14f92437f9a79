//! Clients of every websocket dialect, frame by frame: good ones that talk to each other, and bad ones that may write anything.
#![allow(dead_code)] // each test file uses a part of it

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use portico::signalling::sigver::wire::{self, Content, GroupData, Kind};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::clients::{bearer, get};
use crate::support::PATIENCE;

/// A dialect that is spoken over a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    Tribe,
    Page,
    Algorea,
    Peerjs,
    Vamp,
    Sigver,
    Star,
}

/// All of them.
pub const TONGUES: [Tongue; 7] =
    [Tongue::Tribe, Tongue::Page, Tongue::Algorea, Tongue::Peerjs, Tongue::Vamp, Tongue::Sigver, Tongue::Star];

/// The two rooms of a test: of most dialects by name; PeerJS has a mount for each, and webrtc-star a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Here,
    There,
}

/// The configuration with both places of all dialects. The times of those who vanish are short.
pub fn config(more: &str) -> String {
    format!(
        "[rooms]\nrejoin_grace = \"1s\"\n\n{more}\n[peerjs]\nalive_timeout = \"20s\"\n\n[[peerjs.mount]]\n\n[[peerjs.mount]]\npath = \"/other\"\nkey = \"other\"\n\n\
         [[listener]]\ndialect = \"webrtc-star\"\nlisten = \"127.0.0.1:0\"\n"
    )
}

/// Where the clients connect to.
#[derive(Clone, Debug)]
pub struct Address {
    /// `http://127.0.0.1:PORT`.
    pub base: String,
    /// webrtc-star's listener.
    pub star: std::net::SocketAddr,
}

impl Tongue {
    fn url(self, at: &Address, place: Place, who: &str) -> String {
        let ws = at.base.replace("http", "ws");
        let there = place == Place::There;
        match self {
            Self::Tribe => format!("{ws}/api"),
            Self::Page => format!("{ws}/page"),
            Self::Algorea => format!("{ws}/algorea?room=algorea-{place:?}"),
            Self::Peerjs if there => format!("{ws}/other/peerjs?key=other&id={who}&token=t"),
            Self::Peerjs => format!("{ws}/peerjs/peerjs?key=peerjs&id={who}&token=t"),
            Self::Sigver => format!("{ws}/sigver/sigver-{place:?}"),
            Self::Star if there => format!("ws://{}/socket.io/?EIO=4&transport=websocket", at.star),
            Self::Vamp | Self::Star => format!("{ws}/socket.io/?EIO=4&transport=websocket"),
        }
    }

    /// The path that its clients connect to.
    pub fn path(self) -> &'static str {
        match self {
            Self::Tribe => "/api",
            Self::Page => "/page",
            Self::Algorea => "/algorea",
            Self::Peerjs => "/peerjs/peerjs?key=peerjs&id=u&token=t",
            Self::Sigver => "/sigver/doc1",
            Self::Vamp | Self::Star => "/socket.io/?EIO=4&transport=websocket",
        }
    }

    /// The room as the API has it.
    pub fn room(self, place: Place) -> &'static str {
        match (self, place) {
            (Self::Tribe, Place::Here) => "tribe-Here",
            (Self::Tribe, Place::There) => "tribe-There",
            (Self::Page, Place::Here) => "page-Here",
            (Self::Page, Place::There) => "page-There",
            (Self::Algorea, Place::Here) => "algorea-Here",
            (Self::Algorea, Place::There) => "algorea-There",
            (Self::Peerjs, Place::Here) => "peerjs",
            (Self::Peerjs, Place::There) => "other",
            (Self::Vamp, Place::Here) => "vamp-Here",
            (Self::Vamp, Place::There) => "vamp-There",
            (Self::Sigver, Place::Here) => "sigver-Here",
            (Self::Sigver, Place::There) => "sigver-There",
            (Self::Star, _) => "webrtc-star",
        }
    }

    /// The largest message it takes.
    pub fn largest(self) -> usize {
        match self {
            Self::Tribe | Self::Page => 64 << 10,
            Self::Algorea => 128 << 10,
            Self::Peerjs | Self::Sigver => 256 << 10,
            Self::Vamp | Self::Star => 1_000_000,
        }
    }

    /// Whether its frames are texts of JSON.
    pub fn is_json(self) -> bool {
        self != Self::Sigver
    }

    /// A frame of its carrier with a text that is meant to be JSON.
    pub fn frame(self, text: &str) -> Message {
        match self {
            Self::Vamp | Self::Star => Message::Text(format!("42{text}").into()),
            _ => Message::Text(text.into()),
        }
    }

    /// What a client sends to join; nothing where connecting is joining.
    pub fn join(self, place: Place, who: &str) -> Option<Message> {
        Some(match self {
            Self::Tribe => {
                self.frame(&json!({"a": "join", "d": {"roomId": self.room(place), "bearer": bearer(who)}}).to_string())
            }
            Self::Page => self.frame(&json!({"type": "join", "room": self.room(place), "name": who}).to_string()),
            Self::Algorea | Self::Peerjs => return None,
            Self::Vamp => self.frame(&json!(["join vamp", self.room(place)]).to_string()),
            // it sees the member that came first, whose number is 1
            Self::Sigver => encode(Kind::Connect(GroupData { id: number(who), members: vec![1] })),
            Self::Star => self.frame(&json!(["ss-join", format!("/{who}")]).to_string()),
        })
    }

    /// How many members of this dialect the API shows.
    pub async fn members(self, at: &Address, place: Place) -> usize {
        let room = get(&at.base, &format!("/api/v1/rooms/{}", self.room(place))).await;
        room["members"].as_array().map_or(0, Vec::len)
    }
}

/// netflux ids are numbers.
fn number(who: &str) -> u32 {
    let digits: String = who.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(4_000_000_000)
}

fn encode(kind: Kind) -> Message {
    Message::Binary(wire::encode(kind))
}

/// Content of sigver.
pub fn content(sender: u32, recipient: u32, data: &str) -> Message {
    let data = Some(Bytes::copy_from_slice(data.as_bytes()));
    encode(Kind::Content(Content { sender_id: Some(sender), recipient_id: Some(recipient), last_data: None, data }))
}

/// A frame that need not be what it says: text that is no UTF-8.
pub fn text_of(bytes: &'static [u8]) -> Message {
    Message::Frame(Frame::message(Bytes::from_static(bytes), OpCode::Data(Data::Text), true))
}

/// One client.
pub struct Speaker {
    pub tongue: Tongue,
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What the others call it.
    pub id: String,
}

impl Speaker {
    /// Connects; where that is not joining, it has not joined.
    pub async fn connect(tongue: Tongue, at: &Address, place: Place, who: &str) -> Self {
        let (socket, _) = connect_async(tongue.url(at, place, who)).await.expect("a websocket");
        let mut this = Self { tongue, socket, id: who.to_owned() };
        if matches!(tongue, Tongue::Vamp | Tongue::Star) {
            this.send(Message::Text("40".into())).await;
            // the packet before it, which opens the transport, has an id of another kind
            let connected =
                |heard: &Value| if heard["pingTimeout"].is_null() { heard["sid"].as_str().map(str::to_owned) } else { None };
            this.id = this.hear(connected).await;
        }
        this
    }

    /// Connects and joins. The first of a sigver group is called `1`.
    pub async fn enter(tongue: Tongue, at: &Address, place: Place, who: &str) -> Self {
        let mut this = Self::connect(tongue, at, place, who).await;
        if let Some(join) = tongue.join(place, who) {
            this.send(join).await;
        }
        match tongue {
            Tongue::Tribe => this.id = this.hear(|heard| heard["d"]["socketId"].as_str().map(str::to_owned)).await,
            Tongue::Page => {
                let welcome = |heard: &Value| (heard["type"] == "welcome").then(|| heard["member"].as_str().map(str::to_owned));
                this.id = this.hear(|heard| welcome(heard).flatten()).await;
            }
            Tongue::Algorea => {
                this.hear(|heard| (heard["type"] == "connected-peers").then_some(())).await;
                // nobody is told its own id, but with an error
                this.send(tongue.frame("{}")).await;
                this.id = this.hear(|heard| heard["connectionId"].as_str().map(str::to_owned)).await;
            }
            Tongue::Peerjs => this.hear(|heard| (heard["type"] == "OPEN").then_some(())).await,
            Tongue::Vamp => this.hear(|heard| (heard[0] == "all users").then_some(())).await,
            Tongue::Sigver => this.hear(|heard| (heard["connected"] == true).then_some(())).await,
            Tongue::Star => {
                this.id = format!("/{who}");
                this.send(this.call_to("/nobody", "joined?")).await;
                this.hear(|heard| (heard[1]["err"] == "peer is not available").then_some(())).await;
            }
        }
        this
    }

    /// One that may call the first member of the place. Of sigver that is a joiner, which is bound to it.
    pub async fn caller(tongue: Tongue, at: &Address, place: Place, who: &str) -> Self {
        if tongue != Tongue::Sigver {
            return Self::enter(tongue, at, place, who).await;
        }
        let mut this = Self::connect(tongue, at, place, who).await;
        assert!(!this.ask(number(who), &[]).await, "it is no member yet");
        this
    }

    /// sigver: asks whether it is a member, and hears the answer.
    pub async fn ask(&mut self, id: u32, members: &[u32]) -> bool {
        self.send(encode(Kind::Connect(GroupData { id, members: members.to_vec() }))).await;
        self.hear(|heard| heard["connected"].as_bool()).await
    }

    /// A message to a member, as its own kind sends it.
    pub fn call_to(&self, to: &str, mark: &str) -> Message {
        let (tongue, own) = (self.tongue, &self.id);
        let message = match tongue {
            Tongue::Tribe => json!({"a": "sendMessage", "d": {"to": to, "message": mark}}),
            Tongue::Page => json!({"type": "mute", "audio": mark.ends_with('1')}),
            Tongue::Algorea => {
                json!({"action": "forward-offer", "toPeerId": to, "offer": {"type": "offer", "sdp": mark}})
            }
            Tongue::Peerjs => json!({"type": "OFFER", "dst": to, "payload": {"type": "data", "connectionId": mark, "sdp": {}}}),
            Tongue::Vamp => {
                let signal = json!({"type": "offer", "sdp": mark});
                json!(["sending signal", {"userToSignal": to, "callerID": own, "signal": signal}])
            }
            Tongue::Sigver => return content(0, to.parse().unwrap_or(0), mark),
            Tongue::Star => {
                let signal = json!({"type": "offer", "sdp": mark});
                json!(["ss-handshake", {"srcMultiaddr": own, "dstMultiaddr": to, "intentId": "i", "signal": signal}])
            }
        };
        tongue.frame(&message.to_string())
    }

    /// Whether this is what the addressee hears of a [`Self::call_to`] with this mark.
    pub fn is_call(tongue: Tongue, heard: &Value, mark: &str) -> bool {
        match tongue {
            Tongue::Tribe => heard["a"] == "eventMessage" && heard["d"]["message"] == mark,
            Tongue::Page => heard["type"] == "changed" && heard["member"]["audioMuted"] == mark.ends_with('1'),
            Tongue::Algorea => heard["type"] == "offer" && heard["offer"]["sdp"] == mark,
            Tongue::Peerjs => heard["type"] == "OFFER" && heard["payload"]["connectionId"] == mark,
            Tongue::Vamp => heard[0] == "user joined" && heard[1]["signal"]["sdp"] == mark,
            Tongue::Sigver => heard["content"] == mark,
            Tongue::Star => heard[0] == "ws-handshake" && heard[1]["signal"]["sdp"] == mark,
        }
    }

    /// Sends any frame; that the connection has ended is found out by listening.
    pub async fn send(&mut self, message: Message) {
        let _ = timeout(PATIENCE, self.socket.send(message)).await.expect("written or refused");
    }

    /// Writes to the connection below the websocket.
    pub async fn write(&mut self, bytes: &[u8]) {
        let MaybeTlsStream::Plain(stream) = self.socket.get_mut() else { unreachable!("no test here has TLS") };
        stream.write_all(bytes).await.expect("written");
    }

    /// What comes next: a message, or the end and its close code, none where the connection was cut. Pings are answered.
    pub async fn next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => self.send(Message::Text("3".into())).await,
                Some(Ok(Message::Text(text))) => {
                    let json = text.trim_start_matches(|c: char| c.is_ascii_digit());
                    return Ok(serde_json::from_str(json).unwrap_or(Value::String(text.to_string())));
                }
                Some(Ok(Message::Binary(frame))) => return Ok(plain(wire::decode(&frame).expect("a message of sigver"))),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Writes as fast as it can, then reads until the end; its close code. None where the reset of a connection that was still written to
    /// has overtaken the close frame.
    pub async fn flood(&mut self, messages: impl Iterator<Item = Message>) -> Option<u16> {
        for message in messages {
            if self.socket.feed(message).await.is_err() {
                break;
            }
        }
        let _ = self.socket.flush().await;
        timeout(PATIENCE, self.end(|_| ())).await.expect("it is closed")
    }

    /// Reads until the end; its close code, none where the connection was cut.
    pub async fn end(&mut self, mut seen: impl FnMut(&Value)) -> Option<u16> {
        loop {
            match self.next().await {
                Ok(heard) => seen(&heard),
                Err(code) => return code,
            }
        }
    }

    /// Whatever has come by now.
    pub fn drain(&mut self) -> Vec<Value> {
        let mut heard = Vec::new();
        while let Some(Ok(one)) = self.next().now_or_never() {
            heard.push(one);
        }
        heard
    }

    /// The next thing that is wanted; others are passed over.
    pub async fn hear<T>(&mut self, mut wanted: impl FnMut(&Value) -> Option<T>) -> T {
        let mut others = Vec::new();
        loop {
            let heard = match timeout(PATIENCE, self.next()).await {
                Ok(Ok(heard)) => heard,
                end => panic!("{:?}: {end:?} after {others:?}", self.tongue),
            };
            match wanted(&heard) {
                Some(found) => return found,
                None => others.push(heard.to_string().chars().take(200).collect::<String>()),
            }
        }
    }
}

/// A message of sigver as JSON.
fn plain(kind: Kind) -> Value {
    match kind {
        Kind::Connected(member) => json!({ "connected": member }),
        Kind::Content(it) => {
            let data = it.data.map(|data| String::from_utf8_lossy(&data).into_owned());
            json!({"content": data, "sender": it.sender_id, "recipient": it.recipient_id})
        }
        Kind::Heartbeat(_) => json!("heartbeat"),
        Kind::Connect(_) => json!("connect"),
    }
}

/// Two members that nobody else's doings may touch.
pub struct Pair {
    pub tongue: Tongue,
    pub first: Speaker,
    pub second: Speaker,
    talks: usize,
}

impl Pair {
    /// Both in the place. Of sigver the second was a joiner first and is bound to the first.
    pub async fn enter(tongue: Tongue, at: &Address) -> Self {
        let first = Speaker::enter(tongue, at, Place::Here, "1").await;
        let mut second = Speaker::caller(tongue, at, Place::Here, "2").await;
        if tongue == Tongue::Sigver {
            assert!(second.ask(2, &[1]).await);
        }
        let mut this = Self { tongue, first, second, talks: 0 };
        this.talk().await;
        this
    }

    /// A message of the second reaches the first; whatever came to the first before it is looked at by `seen`.
    pub async fn talk_and(&mut self, mut seen: impl FnMut(&Value)) {
        self.talks += 1;
        let mark = format!("good-{}-{}", self.talks, self.talks % 2);
        // who does not read answers no pings
        self.second.drain();
        // signs of life of their own
        let beat = match self.tongue {
            Tongue::Sigver => Some(encode(Kind::Heartbeat(true))),
            Tongue::Peerjs => Some(self.tongue.frame(r#"{"type":"HEARTBEAT"}"#)),
            _ => None,
        };
        if let Some(beat) = beat {
            self.first.send(beat.clone()).await;
            self.second.send(beat).await;
        }
        let call = self.second.call_to(&self.first.id, &mark);
        self.second.send(call).await;
        let tongue = self.tongue;
        self.first
            .hear(|heard| {
                let arrived = Speaker::is_call(tongue, heard, &mark);
                if !arrived {
                    seen(heard);
                }
                arrived.then_some(())
            })
            .await;
    }

    /// A message of the second reaches the first.
    pub async fn talk(&mut self) {
        self.talk_and(|_| {}).await;
    }
}
