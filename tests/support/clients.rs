//! Clients of the gateway in Rust: HTTP, websocket, raw sockets, and a player whose frames are counted.
#![allow(dead_code)] // each test file uses a part of it

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use portico::peer::outgoing::{OutgoingConfig, OutgoingPlayer, OutgoingPublisher};
use portico::vocab::{MediaKind, Sdp};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::PATIENCE;

/// A pause between two looks at something that takes time.
pub const LOOK: Duration = Duration::from_millis(100);

/// An HTTP client without limits of its own.
pub fn http() -> reqwest::Client {
    // a second time does nothing
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// `127.0.0.1:PORT` of a base address.
pub fn address(base: &str) -> SocketAddr {
    base.trim_start_matches("http://").parse().expect("an address and port")
}

/// Looks until it is so; panics with what was seen last after a long wait.
pub async fn until<T: std::fmt::Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < end, "{what}: {seen}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// GET of a JSON document.
pub async fn get(base: &str, path: &str) -> Value {
    http().get(format!("{base}{path}")).send().await.expect("an answer").json().await.expect("JSON")
}

/// Ids of a room's members of one dialect; empty when there is no such room.
pub async fn members(base: &str, room: &str, dialect: &str) -> Vec<String> {
    let room = get(base, &format!("/api/v1/rooms/{room}")).await;
    let all = room["members"].as_array().cloned().unwrap_or_default();
    all.iter().filter(|member| member["dialect"] == dialect).map(|member| member["id"].as_str().unwrap().to_owned()).collect()
}

/// POST of an offer to `/whip/…` or `/whep/…`: the answer and the session's address.
pub async fn post_offer(base: &str, path: &str, offer: &Sdp) -> (Sdp, String) {
    let request = http().post(format!("{base}{path}")).header(CONTENT_TYPE, "application/sdp").body(offer.text.clone());
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(|path| format!("{base}{path}"));
    let body = response.text().await.expect("a body");
    assert_eq!(status, 201, "{body}");
    (Sdp::answer(body), location.expect("a Location"))
}

/// An offer to play picture and sound.
pub async fn play_offer() -> Sdp {
    let (player, offer) = OutgoingPlayer::offer(&OutgoingConfig::default()).await.expect("an offer");
    player.close().await.expect("closed");
    offer
}

/// An offer to publish picture and sound.
pub async fn publish_offer() -> Sdp {
    let (publisher, offer) = OutgoingPublisher::offer(&OutgoingConfig::default(), "s").await.expect("an offer");
    publisher.close().await.expect("closed");
    offer
}

/// The same with codecs that nobody knows.
pub fn of_unknown_codecs(offer: &Sdp) -> String {
    offer.text.replace("H264/90000", "THEORA/90000").replace("rtx/90000", "FLUTE/90000").replace("opus/48000/2", "TREMOR/48000/2")
}

/// A viewer that must not notice what others do.
pub struct Viewer {
    frames: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    pub session: String,
}

impl Viewer {
    /// Plays by WHEP and waits for the first picture.
    pub async fn start(base: &str, path: &str) -> Self {
        let (player, offer) = OutgoingPlayer::offer(&OutgoingConfig::default()).await.expect("an offer");
        let (answer, session) = post_offer(base, path, &offer).await;
        Self::play(player, &answer, session).await
    }

    /// The same over a relay.
    pub async fn start_over_relay(base: &str, path: &str) -> (Self, Relay) {
        let (player, offer) = OutgoingPlayer::offer(&OutgoingConfig::default()).await.expect("an offer");
        let (answer, session) = post_offer(base, path, &without_candidates(&offer)).await;
        let (relay, answer) = Relay::before(&answer, Pass::All).await;
        (Self::play(player, &answer, session).await, relay)
    }

    async fn play(mut player: OutgoingPlayer, answer: &Sdp, session: String) -> Self {
        player.accept(answer).await.expect("the answer is taken");
        player.connected(PATIENCE).await.expect("connected");
        let (frames, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&frames), Arc::clone(&ended));
        let reader = tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                tokio::select! {
                    played = player.next_packet() => match played {
                        Some(played) if played.kind == MediaKind::Video && played.packet.marker => {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Some(_) => {}
                        None => break,
                    },
                    _ = looks.tick() => if player.connected(Duration::from_millis(1)).await.is_err() {
                        break;
                    },
                }
            }
            end.store(true, Ordering::Relaxed);
        });
        let viewer = Self { frames, ended, reader, session };
        viewer.plays_on().await;
        viewer
    }

    /// Frames seen so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Ten more frames arrive.
    pub async fn plays_on(&self) {
        let wanted = self.frames() + 10;
        until("the healthy viewer's frames", async || match self.frames() {
            frames if frames >= wanted => Ok(()),
            frames => Err(format!("{frames} of {wanted}, ended: {}", self.ended.load(Ordering::Relaxed))),
        })
        .await;
    }

    /// Waits for the connection's end.
    pub async fn end(self) {
        timeout(PATIENCE, self.reader).await.expect("the viewer is told of the end").expect("no panic");
    }
}

/// What a websocket client heard.
#[derive(Debug)]
pub enum Heard {
    Text(Value),
    Closed(Option<CloseCode>),
}

/// A websocket client.
pub struct Socket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects to `/api`, `/page`.
    pub async fn open(base: &str, path: &str) -> Self {
        let url = format!("ws://{}{path}", address(base));
        Self(connect_async(url).await.expect("a websocket").0)
    }

    /// Sends a JSON message.
    pub async fn say(&mut self, message: Value) {
        self.send(Message::Text(message.to_string().into())).await;
    }

    /// Sends any text.
    pub async fn say_text(&mut self, text: &str) {
        self.send(Message::Text(text.into())).await;
    }

    /// Sends anything.
    pub async fn send(&mut self, message: Message) {
        self.0.send(message).await.expect("sent");
    }

    /// The next text, or the end.
    pub async fn next(&mut self) -> Heard {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("something is heard") {
                Some(Ok(Message::Text(text))) => return Heard::Text(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => return Heard::Closed(frame.map(|frame| frame.code)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(None),
            }
        }
    }

    /// The next message that fits; others are passed over.
    pub async fn hear(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let mut others = Vec::new();
        loop {
            match self.next().await {
                Heard::Text(message) if fits(&message) => return message,
                Heard::Text(message) => others.push(message.to_string()),
                Heard::Closed(code) => panic!("closed ({code:?}) after {}", others.join("\n")),
            }
        }
    }

    /// Waits for the close frame.
    pub async fn closed(&mut self) -> Option<CloseCode> {
        loop {
            if let Heard::Closed(code) = self.next().await {
                return code;
            }
        }
    }

    /// tribe: asks and hears the answer.
    pub async fn tribe(&mut self, message: Value) -> Value {
        let answer = format!("{}R", message["a"].as_str().expect("an action"));
        self.say(message).await;
        self.hear(|heard| heard["a"] == *answer).await
    }

    /// page: asks and hears the first message of one of these types.
    pub async fn page(&mut self, message: Value, types: &[&str]) -> Value {
        self.say(message).await;
        self.hear(|heard| types.iter().any(|kind| heard["type"] == **kind)).await
    }
}

/// An unsigned bearer of a tribe user, as an open gateway takes it.
pub fn bearer(user: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.eA", part(json!({"alg": "HS256", "typ": "JWT"})), part(json!({"userId": user})))
}

/// A tribe client in a room.
pub async fn tribe_joined(base: &str, room: &str, user: &str) -> (Socket, Value) {
    let mut socket = Socket::open(base, "/api").await;
    let answer = socket.tribe(json!({"a": "join", "d": {"roomId": room, "bearer": bearer(user)}})).await;
    assert_eq!(answer["s"], true, "{answer}");
    (socket, answer["d"].clone())
}

/// A page visitor in a room.
pub async fn page_joined(base: &str, room: &str) -> Socket {
    let mut socket = Socket::open(base, "/page").await;
    let answer = socket.page(json!({"type": "join", "room": room, "name": "v"}), &["welcome", "refused"]).await;
    assert_eq!(answer["type"], "welcome", "{answer}");
    socket
}

/// What a relay lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    All,
    /// Connectivity checks only: ICE comes up, DTLS never does.
    Stun,
    Nothing,
}

/// A wire that can be cut, between one client and the gateway's media port.
pub struct Relay {
    pass: tokio::sync::watch::Sender<Pass>,
    task: JoinHandle<()>,
    /// Datagrams carried.
    pub carried: Arc<AtomicU64>,
    /// DTLS alerts of the gateway: one closes a connection (RFC 5246 §7.2.1), and none comes otherwise.
    pub alerts: Arc<AtomicU64>,
}

/// DTLS content type of an alert.
const ALERT: u8 = 21;

impl Relay {
    /// A relay to the first candidate of an answer; also the answer with the relay in the gateway's place.
    pub async fn before(answer: &Sdp, pass: Pass) -> (Self, Sdp) {
        let is_udp = |line: &&str| line.starts_with("a=candidate:") && line.to_ascii_lowercase().contains(" udp ");
        let candidate = answer.text.lines().find(is_udp);
        let words: Vec<&str> = candidate.expect("a candidate").split(' ').collect();
        let gateway: SocketAddr = format!("{}:{}", words[4], words[5]).parse().expect("an address");
        let inner = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let outer = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = inner.local_addr().expect("an address");
        let (pass, passes) = tokio::sync::watch::channel(pass);
        let carried = Arc::new(AtomicU64::new(0));
        let alerts = Arc::new(AtomicU64::new(0));
        let (count, alarm) = (Arc::clone(&carried), Arc::clone(&alerts));
        let task = tokio::spawn(async move {
            let (mut here, mut there) = ([0u8; 2048], [0u8; 2048]);
            let mut client = None;
            let lets = |datagram: &[u8]| {
                let carries = match *passes.borrow() {
                    Pass::All => true,
                    Pass::Stun => datagram.first().is_some_and(|byte| *byte < 4),
                    Pass::Nothing => false,
                };
                count.fetch_add(u64::from(carries), Ordering::Relaxed);
                carries
            };
            loop {
                tokio::select! {
                    Ok((len, from)) = inner.recv_from(&mut here) => {
                        client = Some(from);
                        if lets(&here[..len]) {
                            let _ = outer.send_to(&here[..len], gateway).await;
                        }
                    }
                    Ok((len, _)) = outer.recv_from(&mut there) => {
                        alarm.fetch_add(u64::from(there[..len].first() == Some(&ALERT)), Ordering::Relaxed);
                        if let Some(client) = client && lets(&there[..len]) {
                            let _ = inner.send_to(&there[..len], client).await;
                        }
                    }
                }
            }
        });
        let text = answer.text.replace(&format!("{} {}", words[4], words[5]), &format!("{} {}", address.ip(), address.port()));
        (Self { pass, task, carried, alerts }, Sdp::answer(text))
    }

    /// Changes what is let through.
    pub fn let_through(&self, pass: Pass) {
        self.pass.send_replace(pass);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The offer without its own candidates, so that the gateway can reach the client by no other way than the relay.
pub fn without_candidates(offer: &Sdp) -> Sdp {
    let lines: Vec<&str> = offer.text.lines().filter(|line| !line.starts_with("a=candidate")).collect();
    Sdp::offer(lines.join("\r\n") + "\r\n")
}
