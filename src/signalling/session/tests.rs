use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::advance;

use bytes::Bytes;

use super::*;
use crate::hub::{ToHub, Told};
use crate::room::{Topology, Welcome};
use crate::signalling::{Frame, algorea, tribe};
use crate::vocab::{MemberId, RoomId, SessionId};

/// What the far end sees of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Bytes),
    Ping,
    Close(u16, &'static str),
}

/// A connection in memory. A write takes so long; `None`: for ever.
struct Pipe {
    inbound: mpsc::Receiver<Inbound>,
    seen: mpsc::UnboundedSender<(Instant, Seen)>,
    write: Option<Duration>,
}

impl Pipe {
    async fn put(&mut self, seen: Seen) -> Result<(), CarrierError> {
        match self.write {
            Some(Duration::ZERO) => {}
            Some(time) => tokio::time::sleep(time).await, // simulated
            None => std::future::pending::<()>().await,
        }
        let _ = self.seen.send((Instant::now(), seen));
        Ok(())
    }
}

impl FrameStream for Pipe {
    async fn recv(&mut self) -> Inbound {
        self.inbound.recv().await.unwrap_or(Inbound::Lost(CarrierError::Ended))
    }
    async fn send(&mut self, text: String) -> Result<(), CarrierError> {
        self.put(Seen::Text(text)).await
    }
    async fn send_binary(&mut self, bytes: Bytes) -> Result<(), CarrierError> {
        self.put(Seen::Binary(bytes)).await
    }
    async fn ping(&mut self) -> Result<(), CarrierError> {
        self.put(Seen::Ping).await
    }
    async fn close(&mut self, code: u16, reason: &'static str) {
        let _ = self.put(Seen::Close(code, reason)).await;
    }
}

/// Echoes what it hears, in words: `leave` leaves, `bad` is a violation, `timer` fires after 3 s.
#[derive(Default)]
struct Echo {
    outputs: VecDeque<Output>,
    timer: Option<std::time::Instant>,
}

impl Dialect for Echo {
    fn handle_frame(&mut self, now: std::time::Instant, frame: Frame<'_>) -> Result<(), WireError> {
        match frame {
            Frame::Text("leave") => self.outputs.push_back(Output::Command(RequestId::next(), Command::Leave)),
            Frame::Text("close") => self.outputs.push_back(Output::Close { code: 4000, reason: "asked" }),
            Frame::Text("bad") => return Err(WireError::Violation("bad")),
            Frame::Text("timer") => self.timer = Some(now + Duration::from_secs(3)),
            Frame::Text(text) => self.outputs.push_back(Output::Send(text.into())),
            Frame::Binary(bytes) => self.outputs.push_back(Output::SendBinary(Bytes::copy_from_slice(bytes))),
        }
        Ok(())
    }
    fn handle_notice(&mut self, _: std::time::Instant, _: &Notice) {}
    fn handle_timeout(&mut self, now: std::time::Instant) {
        if self.timer.is_some_and(|at| at <= now) {
            self.timer = None;
            self.outputs.push_back(Output::Send("fired".into()));
        }
    }
    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
    fn next_timeout(&self) -> Option<std::time::Instant> {
        self.timer
    }
}

/// A running driver and its three other ends.
struct Rig {
    start: Instant,
    inbound: mpsc::Sender<Inbound>,
    seen: mpsc::UnboundedReceiver<(Instant, Seen)>,
    notices: Option<mpsc::Sender<Told>>,
    hub: mpsc::Receiver<ToHub>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Some(Duration::ZERO))
    }

    fn with(write: Option<Duration>) -> Self {
        Self::running(write, Box::new(Echo::default()), tribe::ENTRY)
    }

    /// A client of algorea, which takes `write` to read a frame.
    fn algorea(write: Duration, config: algorea::AlgoreaConfig) -> Self {
        let entry = algorea::entry(&config);
        let deps = algorea::Deps {
            room: RoomId::new("r").unwrap(),
            grant: crate::vocab::Grant::all(""),
            remote: None,
            variant: None,
            config,
        };
        Self::running(Some(write), Box::new(algorea::Algorea::new(deps)), entry)
    }

    fn running(write: Option<Duration>, dialect: Box<dyn Dialect>, entry: Entry) -> Self {
        let (inbound_tx, inbound) = mpsc::channel(1024);
        let (seen_tx, seen) = mpsc::unbounded_channel();
        let (to_hub, hub) = mpsc::channel(1024);
        let (notices_tx, told) = mpsc::channel(1024);
        let stop = CancellationToken::new();
        let session = HubSession { id: SessionId::next(), to_hub, told };
        let (pipe, until) = (Pipe { inbound, seen: seen_tx, write }, stop.clone());
        let task = tokio::spawn(async move { run(pipe, dialect, session, &entry, None, until).await });
        Self { start: Instant::now(), inbound: inbound_tx, seen, notices: Some(notices_tx), hub, stop, task }
    }

    async fn say(&self, text: &str) {
        self.inbound.send(Inbound::Text(text.into())).await.unwrap();
    }

    async fn welcome(&self) {
        let welcome = Welcome {
            req: RequestId::next(),
            member: MemberId([1; 16]),
            room: RoomId::new("r").unwrap(),
            topology: Topology::Sfu,
            size: 1,
            others: Vec::new(),
        };
        self.tell(Notice::Welcome(Box::new(welcome))).await;
    }

    async fn tell(&self, notice: Notice) {
        self.notices.as_ref().unwrap().send(Told::Notice(Box::new(notice))).await.unwrap();
    }

    /// The next thing on the wire, and when it came.
    async fn next(&mut self) -> (Duration, Seen) {
        let (at, seen) = self.seen.recv().await.expect("the driver is running");
        (at - self.start, seen)
    }

    /// Waits for the end; what the hub was told, and what was on the wire besides pings.
    async fn end(mut self) -> (Vec<&'static str>, Vec<Seen>) {
        self.task.await.unwrap();
        let mut told = Vec::new();
        while let Some(message) = self.hub.recv().await {
            told.push(match message {
                ToHub::Command(_, _, Command::Leave) => "leave",
                ToHub::Command(_, _, Command::Lost) => "lost",
                ToHub::Command(..) => "other",
                ToHub::Dropped(_) => "dropped",
                _ => "api",
            });
        }
        let mut seen = Vec::new();
        while let Some((_, what)) = self.seen.recv().await {
            if what != Seen::Ping {
                seen.push(what);
            }
        }
        (told, seen)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn pings_leave_every_five_seconds() {
    let mut rig = Rig::new();
    for n in 1..=2 {
        let (at, seen) = rig.next().await;
        assert_eq!((at.as_secs(), seen), (n * 5, Seen::Ping));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_nothing_is_lost_15_s_after_its_last_frame() {
    let rig = Rig::new();
    rig.welcome().await;
    advance(4 * SECOND).await;
    rig.say("hello").await;
    let start = rig.start;
    let (told, seen) = rig.end().await;
    assert_eq!(start.elapsed().as_secs(), 19);
    assert_eq!(told, ["lost", "dropped"]);
    assert_eq!(seen, [Seen::Text("hello".into()), Seen::Close(1008, "nothing was heard for too long")]);
}

#[tokio::test(start_paused = true)]
async fn any_frame_pushes_the_silence_limit() {
    let rig = Rig::new();
    rig.welcome().await;
    for _ in 0..10 {
        advance(14 * SECOND).await;
        rig.inbound.send(Inbound::Alive).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(!rig.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_joins_is_told_so_and_closed() {
    let rig = Rig::new();
    let pongs = rig.inbound.clone();
    let beat = tokio::spawn(async move {
        while pongs.send(Inbound::Alive).await.is_ok() {
            tokio::time::sleep(5 * SECOND).await; // simulated
        }
    });
    let start = rig.start;
    let (told, seen) = rig.end().await;
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!((told, seen), (vec!["leave", "dropped"], vec![Seen::Close(1008, "no room was joined in time")]));
    beat.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_leaves_and_a_loss_only_loses() {
    for (inbound, expected) in [(Inbound::Closed, "leave"), (Inbound::Lost(CarrierError::Ended), "lost")] {
        let rig = Rig::new();
        rig.inbound.send(inbound).await.unwrap();
        let (told, _) = rig.end().await;
        assert_eq!(told, [expected, "dropped"]);
    }
}

#[tokio::test(start_paused = true)]
async fn bad_clients_are_closed_with_the_fitting_code() {
    for (inbound, code) in [
        (Inbound::TooLarge, 1009),
        (Inbound::NotUtf8, 1007),
        (Inbound::Text("bad".into()), 1002),
        (Inbound::Text("close".into()), 4000),
    ] {
        let rig = Rig::new();
        rig.inbound.send(inbound).await.unwrap();
        let (told, seen) = rig.end().await;
        assert_eq!(told, ["leave", "dropped"]);
        assert!(matches!(seen[..], [Seen::Close(closed, _)] if closed == code), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_closed_and_a_burst_is_not() {
    let rig = Rig::new();
    for _ in 0..1001 {
        rig.inbound.send(Inbound::Binary(bytes::Bytes::from_static(b"xyz"))).await.unwrap();
    }
    let (_, mut seen) = rig.end().await;
    assert_eq!(seen.pop(), Some(Seen::Close(1008, "too many messages")));
    assert_eq!(seen, vec![Seen::Binary(Bytes::from_static(b"xyz")); 1000]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_lost_after_the_write_limit() {
    let rig = Rig::with(None);
    rig.say("hello").await;
    let start = rig.start;
    let (told, _) = rig.end().await;
    assert_eq!((start.elapsed().as_secs(), told), (10, vec!["lost", "dropped"]));
}

#[tokio::test(start_paused = true)]
async fn a_dialect_that_left_is_not_left_again() {
    let rig = Rig::new();
    rig.say("leave").await;
    rig.inbound.send(Inbound::Closed).await.unwrap();
    let (told, _) = rig.end().await;
    assert_eq!(told, ["leave", "dropped"]);
}

#[tokio::test(start_paused = true)]
async fn an_ended_place_closes_the_connection() {
    let rig = Rig::new();
    rig.tell(Notice::Ended { reason: EndReason::Replaced }).await;
    let (told, seen) = rig.end().await;
    assert_eq!((told, seen), (vec!["dropped"], vec![Seen::Close(1000, "another connection took the place")]));
}

#[tokio::test(start_paused = true)]
async fn stopping_leaves_and_closes() {
    let rig = Rig::new();
    rig.stop.cancel();
    let (told, seen) = rig.end().await;
    assert_eq!((told, seen), (vec!["leave", "dropped"], vec![Seen::Close(1001, "the gateway is stopping")]));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_drops_the_session_closes_it() {
    let mut rig = Rig::new();
    rig.notices = None;
    let (_, seen) = rig.end().await;
    assert!(matches!(seen[..], [Seen::Close(1011, _)]), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dialects_timer_fires_on_time() {
    let mut rig = Rig::new();
    rig.say("timer").await;
    let (at, seen) = rig.next().await;
    assert_eq!((at.as_secs(), seen), (3, Seen::Text("fired".into())));
}

#[tokio::test(start_paused = true)]
async fn a_silent_algorea_client_is_closed_with_1001_after_ten_minutes() {
    let pings_off = algorea::AlgoreaConfig { ping_every: Duration::ZERO, ..Default::default() };
    let rig = Rig::algorea(Duration::ZERO, pings_off);
    rig.welcome().await;
    advance(500 * SECOND).await;
    rig.say(r#"{"action":"heartbeat"}"#).await;
    let start = rig.start;
    let (told, mut seen) = rig.end().await;
    assert_eq!(start.elapsed().as_secs(), 1100, "a heartbeat begins the ten minutes anew");
    assert_eq!(told, ["other", "lost", "dropped"], "it joined, and was lost");
    assert_eq!(seen.pop(), Some(Seen::Close(1001, "nothing was heard for too long")));
    assert_eq!(seen, [Seen::Text(r#"{"type":"connected-peers","peerIds":[]}"#.into())]);
}

#[tokio::test(start_paused = true)]
async fn an_algorea_client_that_answers_pings_stays() {
    let mut rig = Rig::algorea(Duration::ZERO, algorea::AlgoreaConfig::default());
    rig.welcome().await;
    let mut pings = 0;
    while rig.start.elapsed() < 3600 * SECOND {
        if let (at, Seen::Ping) = rig.next().await {
            pings += 1;
            assert_eq!(at.as_secs(), pings * 30);
            rig.inbound.send(Inbound::Alive).await.unwrap();
        }
    }
    assert!(!rig.task.is_finished());
}

/// An offer of so many bytes from another client.
fn offer(bytes: usize) -> Notice {
    let value = serde_json::value::RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap();
    let signal = crate::room::Signal {
        step: crate::room::Step::Offer,
        value,
        connection: "".into(),
        framing: crate::room::Framing::OwnChannels,
        original: None,
    };
    let from = crate::room::MemberView {
        member: MemberId([2; 16]),
        user_id: String::new(),
        dialect: crate::room::DialectName::Algorea,
        facts: crate::room::Facts::default(),
        streams: Vec::new(),
    };
    Notice::Told { from, body: crate::room::Body::Signal(Box::new(signal)) }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_does_not_read_is_closed_with_1013_and_holds_nobody_up() {
    for (bytes, passes, too_much) in [(10, MOST_FRAMES, MOST_FRAMES + 1), (64 * 1024, 15, 17)] {
        for (count, over) in [(passes, false), (too_much, true)] {
            let mut rig = Rig::algorea(8 * SECOND, algorea::AlgoreaConfig::default());
            rig.welcome().await;
            advance(SECOND).await; // the list is being written for 7 s more
            let before = rig.start.elapsed();
            for _ in 0..count {
                rig.tell(offer(bytes)).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(rig.start.elapsed(), before, "the hub never waits");
            // the room hears of it at once, not when the write ends
            assert!(matches!(rig.hub.recv().await, Some(ToHub::Command(_, _, Command::Join(_)))));
            assert_eq!(matches!(rig.hub.try_recv(), Ok(ToHub::Command(_, _, Command::Lost))), over, "{count} of {bytes}");
            if over {
                let (told, seen) = rig.end().await;
                assert_eq!(told, ["dropped"]);
                assert!(matches!(seen[..], [Seen::Text(_), Seen::Close(1013, _)]), "what was being written, then the end");
            } else {
                for _ in 0..=count {
                    rig.next().await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_while_writing_is_sent_in_order() {
    let mut rig = Rig::algorea(SECOND, algorea::AlgoreaConfig::default());
    rig.welcome().await;
    tokio::task::yield_now().await;
    for bytes in 1..=40 {
        rig.tell(offer(bytes)).await;
    }
    assert!(matches!(rig.next().await, (_, Seen::Text(list)) if list.contains("connected-peers")));
    for bytes in 1..=40 {
        let text = match rig.next().await.1 {
            Seen::Text(text) => text,
            Seen::Ping => match rig.next().await.1 {
                Seen::Text(text) => text,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert!(text.contains(&format!("\"{}\"", "x".repeat(bytes))), "{bytes}: {text}");
    }
}
