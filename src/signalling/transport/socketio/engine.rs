//! One Engine.IO session with the default Socket.IO namespace in it. Pure: packets, polls and time in, packets and answers out.
//!
//! ```text
//!            handle_poll ─►┐            ┌─► Answer (a poll)
//!  handle (polling lane) ─►│            ├─► Write  (the websocket)
//!     handle (websocket) ─►├─► Engine ──┤
//!         handle (probe) ─►│            ├─► Probe, TakeOver, DropProbe (the websocket that wants to take over)
//!                   send ─►┘            └─► Heard (what the dialect is told), as the result of `handle`
//! ```
//! One queue holds what waits for the client. It leaves by a poll or by the websocket, whichever is in charge at that moment:
//! so nothing is lost or doubled when the websocket takes over.
//!
//! After every call drain [`Engine::poll_act`] to `None`, and ask [`Engine::next_timeout`] again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::message::{self, Message};
use super::packet::{Kind, Packet, Version, payload};

/// A ping comes this often: from the server in version 4, from the client in version 3.
pub const PING_EVERY: Duration = Duration::from_secs(25);
/// A ping must be answered in this time.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Version 3: a session of which nothing was heard for so long is over. Version 4: a client must have connected by then.
pub const SILENCE: Duration = Duration::from_secs(45);
/// A websocket must have taken over in this time.
pub const UPGRADE_LIMIT: Duration = Duration::from_secs(10);
/// While a websocket takes over, a poll without packets is ended this often, so that the client can stop polling.
pub const NOOP_EVERY: Duration = Duration::from_millis(100);
/// Longest packet from a client, in bytes; told as `maxPayload`.
pub const MAX_PAYLOAD: usize = 1_000_000;
/// Most packets that wait for a client which does not poll; one more ends the session.
pub const MAX_QUEUE: usize = 1024;
/// Most bytes that wait for it: two of the longest signals.
pub const MAX_QUEUE_BYTES: usize = 2 * MAX_PAYLOAD;
/// A namespace's longest name that is repeated in the refusal, in bytes.
const MAX_NAMESPACE: usize = 128;

const CLOSE: &str = "1";
const PING: &str = "2";
const PROBE_ANSWER: &str = "3probe";
const NOOP: &str = "6";

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A POST.
    Polling,
    /// The websocket in charge.
    Websocket,
    /// The websocket that wants to take over.
    Probe,
}

/// What a packet means for the dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing; the client lives.
    Alive,
    /// What the client gave when it connected: a JSON object.
    Auth(String),
    /// An event: a JSON array.
    Event(String),
    /// The client says goodbye to the namespace; its transport closes next.
    Left,
    /// The client closed the session.
    Closed,
    /// The client broke the protocol.
    Violation(&'static str),
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Answer the waiting poll with this payload.
    Answer(String),
    /// Write a text frame to the websocket in charge.
    Write(String),
    /// Write a text frame to the websocket that wants to take over.
    Probe(&'static str),
    /// The websocket that wanted to take over is in charge from now on.
    TakeOver,
    /// It is not wanted any more.
    DropProbe,
}

/// How a timeout ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Nothing was heard.
    Silent,
    /// The client did not connect to the namespace.
    Unconnected,
}

/// More waits for the client than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client does not fetch what it is sent")]
pub struct Overflow;

/// A second poll while one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two polls at once")]
pub struct SecondPoll;

/// How packets reach the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Via {
    Polling,
    /// By polls still; a websocket wants to take over.
    Probing {
        until: Instant,
        /// Set by its `2probe`: when the next waiting poll is ended.
        noop_at: Option<Instant>,
    },
    Websocket,
}

/// The server's pings of version 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beat {
    PingAt(Instant),
    PongBy(Instant),
}

/// One session.
#[derive(Debug)]
pub struct Engine {
    version: Version,
    /// `socket.id` of version 4.
    socket_id: String,
    via: Via,
    /// What waits for the client, each a whole packet.
    queue: VecDeque<String>,
    queued_bytes: usize,
    acts: VecDeque<Act>,
    /// Since when a poll waits.
    poll: Option<Instant>,
    /// Longest wait of a poll; then it is ended empty.
    hold: Duration,
    opened: Instant,
    heard: Instant,
    beat: Beat,
    /// Whether the client is in the namespace.
    connected: bool,
}

/// The ids of a session.
#[derive(Clone, Debug)]
pub struct Ids {
    /// The Engine.IO session.
    pub sid: String,
    /// The client's `socket.id`: the same in version 3, another in version 4.
    pub socket_id: String,
}

impl Engine {
    /// A session at its start; its open packet waits for the client. `hold`: a poll without packets is ended after this time.
    pub fn new(now: Instant, version: Version, ids: &Ids, websocket: bool, hold: Duration) -> Self {
        let via = if websocket { Via::Websocket } else { Via::Polling };
        let mut engine = Self {
            version,
            socket_id: ids.socket_id.clone(),
            via,
            queue: VecDeque::new(),
            queued_bytes: 0,
            acts: VecDeque::new(),
            poll: None,
            hold,
            opened: now,
            heard: now,
            beat: Beat::PingAt(now + PING_EVERY),
            connected: version == Version::V3,
        };
        engine.push(open_packet(version, &ids.sid, websocket));
        if version == Version::V3 {
            engine.push(message::CONNECT.into());
        }
        engine
    }

    /// Whether packets go by the websocket.
    pub fn is_websocket(&self) -> bool {
        self.via == Via::Websocket
    }

    /// Whether polls and posts are still taken.
    pub fn is_polling(&self) -> bool {
        !self.is_websocket()
    }

    /// A poll came; it waits until there is something to answer. A second one breaks the protocol.
    pub fn handle_poll(&mut self, now: Instant) -> Result<(), SecondPoll> {
        if self.poll.is_some() {
            return Err(SecondPoll);
        }
        self.poll = Some(now);
        Ok(())
    }

    /// A websocket wants to take over. False when another does already, or did.
    pub fn handle_upgrade(&mut self, now: Instant) -> bool {
        let wanted = self.via == Via::Polling;
        if wanted {
            self.via = Via::Probing { until: now + UPGRADE_LIMIT, noop_at: None };
        }
        wanted
    }

    /// The websocket that wanted to take over is gone; polling goes on.
    pub fn handle_probe_gone(&mut self) {
        if matches!(self.via, Via::Probing { .. }) {
            self.via = Via::Polling;
        }
    }

    /// A packet.
    pub fn handle(&mut self, now: Instant, lane: Lane, packet: Packet<'_>) -> Heard {
        self.heard = now;
        if lane == Lane::Probe {
            self.handle_probe(now, packet);
            return Heard::Alive;
        }
        match (packet, self.version) {
            (Packet::Text(Kind::Message, text), _) => self.handle_message(text),
            (Packet::Text(Kind::Ping, data), Version::V3) => self.answer_ping(data),
            (Packet::Text(Kind::Pong, _), Version::V4) => {
                if matches!(self.beat, Beat::PongBy(_)) {
                    self.beat = Beat::PingAt(now + PING_EVERY);
                }
                Heard::Alive
            }
            (Packet::Text(Kind::Ping | Kind::Pong, _), _) => Heard::Violation("a ping or pong in the wrong direction"),
            (Packet::Text(Kind::Close, _), _) => Heard::Closed,
            // packets that only the other side sends, and bytes that belong to events nobody reads
            (Packet::Text(Kind::Open | Kind::Upgrade | Kind::Noop, _) | Packet::Binary(_), _) => Heard::Alive,
        }
    }

    fn answer_ping(&mut self, data: &str) -> Heard {
        match self.send_packet(format!("3{data}")) {
            Ok(()) => Heard::Alive,
            Err(Overflow) => Heard::Violation("pongs are not fetched"),
        }
    }

    fn handle_probe(&mut self, now: Instant, packet: Packet<'_>) {
        let Via::Probing { until, noop_at } = self.via else { return };
        match (packet, noop_at) {
            (Packet::Text(Kind::Ping, "probe"), None) => {
                self.acts.push_back(Act::Probe(PROBE_ANSWER));
                self.via = Via::Probing { until, noop_at: Some(now + NOOP_EVERY) };
                self.end_poll();
            }
            (Packet::Text(Kind::Upgrade, _), Some(_)) => {
                self.end_poll();
                self.acts.push_back(Act::TakeOver);
                self.via = Via::Websocket;
            }
            _ => {
                self.acts.push_back(Act::DropProbe);
                self.via = Via::Polling;
            }
        }
    }

    /// Ends the waiting poll: with what there is, else with nothing.
    fn end_poll(&mut self) {
        if self.poll.is_some() && self.queue.is_empty() {
            self.poll = None;
            self.acts.push_back(Act::Answer(payload(self.version, [NOOP])));
        } else {
            self.answer_poll();
        }
    }

    fn answer_poll(&mut self) {
        if self.poll.is_some() && !self.queue.is_empty() {
            self.poll = None;
            self.acts.push_back(Act::Answer(payload(self.version, self.queue.iter().map(String::as_str))));
            self.queue.clear();
            self.queued_bytes = 0;
        }
    }

    fn handle_message(&mut self, text: &str) -> Heard {
        match message::parse(text) {
            Err(_) => Heard::Violation("malformed packet"),
            Ok(Message::Connect { namespace: Some(name), .. }) => self.refuse(name),
            Ok(Message::Connect { namespace: None, auth }) if !self.connected => {
                self.connected = true;
                self.push(message::connected(&self.socket_id));
                if auth.is_empty() { Heard::Alive } else { Heard::Auth(auth.into()) }
            }
            Ok(_) if !self.connected => Heard::Violation("a packet before the namespace was joined"),
            Ok(Message::Event(array)) => Heard::Event(array.into()),
            Ok(Message::Disconnect { namespace: None }) => {
                self.connected = false;
                Heard::Left
            }
            Ok(Message::Connect { .. } | Message::Disconnect { .. } | Message::Other) => Heard::Alive,
        }
    }

    /// There is only the default namespace.
    fn refuse(&mut self, namespace: &str) -> Heard {
        let name = namespace.split('?').next().unwrap_or_default();
        if name.len() > MAX_NAMESPACE {
            return Heard::Violation("a namespace's name is too long");
        }
        let refusal = match self.version {
            Version::V3 => format!("44{name},\"Invalid namespace\""),
            Version::V4 => format!("44{name},{{\"message\":\"Invalid namespace\"}}"),
        };
        match self.send_packet(refusal) {
            Ok(()) => Heard::Alive,
            Err(Overflow) => Heard::Violation("refusals are not fetched"),
        }
    }

    /// Sends an event: a JSON array.
    pub fn send_event(&mut self, array: &str) -> Result<(), Overflow> {
        self.send_packet(message::event(array))
    }

    fn send_packet(&mut self, packet: String) -> Result<(), Overflow> {
        if self.queue.len() >= MAX_QUEUE || self.queued_bytes + packet.len() > MAX_QUEUE_BYTES {
            return Err(Overflow);
        }
        self.push(packet);
        Ok(())
    }

    /// For the few packets of the engine's own.
    fn push(&mut self, packet: String) {
        self.queued_bytes += packet.len();
        self.queue.push_back(packet);
    }

    /// Says goodbye, after what waits already. A websocket is closed by its own frame afterwards.
    pub fn say_goodbye(&mut self) {
        if std::mem::take(&mut self.connected) {
            self.push(message::DISCONNECT.into());
        }
        if self.is_polling() {
            self.push(CLOSE.into());
        }
    }

    /// Answers the goodbye of a polling client: its waiting poll ends.
    pub fn accept_goodbye(&mut self) {
        if self.is_polling() {
            self.end_poll();
        }
    }

    /// Whether everything that waited has left.
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.acts.is_empty()
    }

    /// Deals with every deadline up to `now`; says when one ends the session.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Late> {
        match (self.version, self.beat) {
            (Version::V3, _) if self.heard + SILENCE <= now => return Some(Late::Silent),
            (Version::V4, Beat::PongBy(by)) if by <= now => return Some(Late::Silent),
            (Version::V4, _) if !self.connected && self.opened + SILENCE <= now => return Some(Late::Unconnected),
            (Version::V4, Beat::PingAt(at)) if at <= now => {
                self.beat = Beat::PongBy(now + PING_TIMEOUT);
                self.push(PING.into());
            }
            _ => {}
        }
        match self.via {
            Via::Probing { until, .. } if until <= now => {
                self.via = Via::Polling;
                self.acts.push_back(Act::DropProbe);
            }
            Via::Probing { until, noop_at: Some(at) } if at <= now => {
                self.via = Via::Probing { until, noop_at: Some(now + NOOP_EVERY) };
                self.end_poll();
            }
            _ => {}
        }
        if self.poll.is_some_and(|since| since + self.hold <= now) {
            self.end_poll();
        }
        None
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Instant {
        let life = match (self.version, self.beat) {
            (Version::V3, _) => self.heard + SILENCE,
            (Version::V4, Beat::PingAt(at) | Beat::PongBy(at)) if self.connected => at,
            (Version::V4, Beat::PingAt(at) | Beat::PongBy(at)) => at.min(self.opened + SILENCE),
        };
        let probe = match self.via {
            Via::Probing { until, noop_at } => Some(noop_at.map_or(until, |at| at.min(until))),
            Via::Polling | Via::Websocket => None,
        };
        let poll = self.poll.map(|since| since + self.hold);
        [probe, poll].into_iter().flatten().fold(life, Instant::min)
    }

    /// Whose socket must be writable for the next act, if any.
    pub fn next_writes(&self) -> Option<Lane> {
        match self.acts.front() {
            Some(Act::Probe(_)) => Some(Lane::Probe),
            Some(_) => None,
            None => (self.is_websocket() && !self.queue.is_empty()).then_some(Lane::Websocket),
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_act(&mut self) -> Option<Act> {
        if self.acts.is_empty() && self.is_polling() {
            self.answer_poll();
        }
        if let Some(act) = self.acts.pop_front() {
            return Some(act);
        }
        let packet = self.is_websocket().then(|| self.queue.pop_front()).flatten()?;
        self.queued_bytes -= packet.len();
        Some(Act::Write(packet))
    }
}

/// The first packet.
fn open_packet(version: Version, sid: &str, websocket: bool) -> String {
    let upgrades = if websocket { "[]" } else { "[\"websocket\"]" };
    let (every, timeout) = (PING_EVERY.as_millis(), PING_TIMEOUT.as_millis());
    let limit = match version {
        Version::V3 => String::new(),
        Version::V4 => format!(",\"maxPayload\":{MAX_PAYLOAD}"),
    };
    format!("0{{\"sid\":\"{sid}\",\"upgrades\":{upgrades},\"pingInterval\":{every},\"pingTimeout\":{timeout}{limit}}}")
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
