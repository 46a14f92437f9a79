//! The dialect of live-webrtcsignaling clients. `README.md` beside this file says who speaks it and where Portico differs.
//!
//! Pure: frames and notices in, frames and commands out. This file reads requests and keeps the connection's state
//! (connected, entering, joined); `call` is a client in its room; `uplink` and `downlink` are its media sessions.

mod call;
pub(crate) mod client;
pub(crate) mod code;
mod config;
mod desk;
mod downlink;
mod picture;
mod uplink;
pub(crate) mod wire;
pub(crate) mod words;

#[cfg(test)]
mod tests;

pub use config::TribeConfig;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tracing::info;

use self::call::Call;
use self::code::ErrorCode;
use self::desk::{Desk, Pending};
use self::wire::{Envelope, Text, Whole};
use super::{Carrier, Dialect, Entry, Frame, Manners, Offers, Output, PeerPer, WallClock, WireError, farewell};
use crate::room::{ClientFacts, Command, DialectName, Facts, Joining, Notice, Refusal, Remark, Topology};
use crate::vocab::{BearerCheck, RequestId, RoomId};

/// This dialect's row.
pub const ENTRY: Entry = Entry {
    name: DialectName::Tribe,
    manners: Manners { offers: Offers::ServerOffersDownlinks, trickle: true, renegotiate: true, peer_per: PeerPer::Stream },
    carrier: Carrier {
        path: "/api",
        max_message: 65_536,
        ping_every: Duration::from_secs(5),
        silence_limit: Duration::from_secs(15),
        write_limit: Duration::from_secs(10),
        join_limit: Duration::from_secs(30),
    },
};

/// What bridges say is their members' platform, so that none brings what another has brought: rooms may be joined in a ring.
pub(crate) const BRIDGED: &str = "Portico bridge";

/// Orientation of a client that does not say it, in degrees: held upright.
const UPRIGHT: i64 = 90;
/// Frames kept while the room decides on a join. Clients wait for the answer; some send their first event at once.
const MAX_HELD: usize = 16;
/// Their bytes: one offer of the largest size and what goes with it.
const MAX_HELD_BYTES: usize = 96 * 1024;

/// What a session of this dialect is given.
pub struct Deps {
    /// Checks the bearer of `join`.
    pub bearer: Arc<dyn BearerCheck>,
    /// Where the connection comes from.
    pub remote: Option<IpAddr>,
    /// The dialect's settings.
    pub config: TribeConfig,
    /// The calendar's reading when the session is made.
    pub wall: SystemTime,
}

/// One client's session on one connection.
pub struct Tribe {
    deps: Deps,
    clock: WallClock,
    state: State,
    desk: Desk,
}

/// How far the connection is.
enum State {
    /// In no room.
    Connected,
    /// A `join` or `reconnect` is with the room.
    Entering(Box<Entering>),
    /// In a room.
    Joined(Box<Call>),
    /// Closed, or about to be.
    Ended,
}

/// A join or reconnect that waits for the room.
struct Entering {
    req: RequestId,
    user_id: String,
    network: String,
    /// What the client sent meanwhile.
    held: VecDeque<String>,
    held_bytes: usize,
}

impl Entering {
    fn new(req: RequestId, user_id: String, network: String) -> Self {
        Self { req, user_id, network, held: VecDeque::new(), held_bytes: 0 }
    }

    /// Keeps a frame for later; false when there is no room for it.
    fn hold(&mut self, text: &str) -> bool {
        let fits = self.held.len() < MAX_HELD && self.held_bytes + text.len() <= MAX_HELD_BYTES;
        if fits {
            self.held_bytes += text.len();
            self.held.push_back(text.to_owned());
        }
        fits
    }
}

impl Tribe {
    /// A session at its start.
    pub fn new(now: Instant, deps: Deps) -> Self {
        let clock = WallClock::new(now, deps.wall);
        Self { deps, clock, state: State::Connected, desk: Desk::default() }
    }

    fn handle_text(&mut self, now: Instant, text: &str) {
        let envelope = object(text).and_then(|text| serde_json::from_str(text).ok());
        let Some(Envelope { a: action, d }) = envelope else { return self.desk.fail("general", ErrorCode::Json) };
        match (&mut self.state, action.as_str()) {
            (State::Ended, _) => {}
            (State::Connected, "join") => self.join(now, d),
            (State::Connected, "reconnect") => self.reconnect(d),
            (State::Connected, _) => self.desk.fail(&action, ErrorCode::NotAuthenticated),
            // read after the room's word, as if the client had waited for it
            (State::Entering(entering), _) => {
                if !entering.hold(text) {
                    self.desk.fail(&action, ErrorCode::NotAuthenticated);
                }
            }
            (State::Joined(_), "join" | "reconnect") => self.desk.fail(&action, ErrorCode::AlreadyJoined),
            (State::Joined(call), _) => {
                let outcome = request(&mut self.desk, &self.deps.config, call, &action, d);
                if let Err(code) = outcome {
                    self.desk.fail(&action, code);
                }
            }
        }
    }

    /// `join`. The order of the checks is the document's: bearer, types, room.
    fn join(&mut self, now: Instant, d: Option<&RawValue>) {
        match self.joining(now, d) {
            Ok((joining, network)) => {
                let user_id = joining.user_id.clone();
                if let Some(req) = self.desk.ask(Pending::Join, Command::Join(Box::new(joining))) {
                    self.state = State::Entering(Box::new(Entering::new(req, user_id, network)));
                }
            }
            Err(code) => self.desk.fail("join", code),
        }
    }

    fn joining(&self, now: Instant, d: Option<&RawValue>) -> Result<(Joining, String), ErrorCode> {
        let bearer = match argument::<wire::Bearer>(d) {
            Ok(wire::Bearer { bearer }) => bearer.map(|bearer| bearer.0).unwrap_or_default(),
            // an object whose bearer is no text has a bad bearer; anything else is no argument at all
            Err(_) if d.is_some_and(|d| object(d.get()).is_some()) => return Err(ErrorCode::AuthFailed),
            Err(code) => return Err(code),
        };
        let identity = self.deps.bearer.check(self.clock.at(now), &bearer).map_err(|error| {
            info!(reason = %error.reason, "bearer refused");
            ErrorCode::AuthFailed
        })?;
        let join: wire::Join = argument(d)?;
        let room = join.room_id.and_then(|room| RoomId::new(&room.0).ok()).ok_or(ErrorCode::FieldMissing)?;
        let text = |field: Option<Text>| field.map(|text| text.0).unwrap_or_default();
        let network = text(join.network_type.clone());
        let number = |field: Option<Whole>| field.map(|whole| whole.0);
        let config = &self.deps.config;
        let facts = Facts {
            platform: Some(text(join.platform)),
            orientation: Some(number(join.orientation).unwrap_or(UPRIGHT)),
            camera: join.camera.map(|camera| camera.0),
            unturned: config.rotate_by_orientation.then_some(true),
            network: join.network_type.map(|network| network.0),
            client: Some(Box::new(ClientFacts {
                device: text(join.device_name),
                version: text(join.version),
                app_version: text(join.app_version),
                video_cap: Some(config.video_cap(number(join.max_video_bitrate))),
                audio_cap: Some(config.audio_cap(number(join.max_audio_bitrate))),
            })),
            ..Facts::default()
        };
        let joining = Joining {
            room,
            user_id: identity.user_id,
            dialect: DialectName::Tribe,
            remote: self.deps.remote,
            grant: identity.grant,
            visible: true,
            facts,
            opens: Topology::Sfu,
            dialect_limit: Some(config.max_members),
            replaces_lost: true,
        };
        Ok((joining, network))
    }

    fn reconnect(&mut self, d: Option<&RawValue>) {
        let request: wire::Reconnect = match argument(d) {
            Ok(request) => request,
            Err(code) => return self.desk.fail("reconnect", code),
        };
        let Ok(key) = request.socket_id.0.parse() else { return self.desk.fail("reconnect", ErrorCode::NoPlace) };
        if let Some(req) = self.desk.ask(Pending::Reconnect, Command::Resume { key }) {
            self.state = State::Entering(Box::new(Entering::new(req, String::new(), String::new())));
        }
    }

    /// The room decided on a join or reconnect: what the client sent meanwhile is read now.
    fn entered(&mut self, now: Instant, entering: Entering, state: State) {
        self.state = state;
        for text in entering.held {
            self.handle_text(now, &text);
        }
    }

    /// The entering request with that number, if the session is waiting for it.
    fn take_entering(&mut self, req: RequestId) -> Option<Entering> {
        match std::mem::replace(&mut self.state, State::Connected) {
            State::Entering(entering) if entering.req == req => {
                self.desk.settle(req);
                Some(*entering)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    fn refused(&mut self, now: Instant, req: RequestId, why: &Refusal) {
        let Some(pending) = self.desk.settle(req) else { return };
        if let State::Joined(call) = &mut self.state {
            return call.refused(&mut self.desk, now, req, pending, why);
        }
        if let Some(action) = pending.action() {
            self.desk.fail(action, why.into());
        }
        if let Some(entering) = self.take_entering(req) {
            self.entered(now, entering, State::Connected);
        }
    }

    fn done(&mut self, req: RequestId) {
        if let Some(action) = self.desk.settle(req).and_then(Pending::action) {
            self.desk.success(action);
        }
    }
}

/// A request of a client that is in a room.
fn request(desk: &mut Desk, config: &TribeConfig, call: &mut Call, action: &str, d: Option<&RawValue>) -> Result<(), ErrorCode> {
    match action {
        "exchangeSdp" => call.exchange_sdp(desk, config, argument(d)?),
        "exchangeCandidate" => call.exchange_candidate(desk, argument(d)?),
        "sendMessage" => call.send_message(desk, argument(d)?),
        "orientationChange" => call.change_orientation(desk, argument(d)?),
        "eventFreeze" => desk.order(Command::Remark { remark: Remark::Froze }),
        "eventCpu" => {
            let wire::Cpu { cpu_used } = argument(d)?;
            desk.order(Command::Remark { remark: Remark::Cpu { percent: cpu_used.0 } });
        }
        "eventNetworkChange" => {
            let wire::NetworkChange { network_type } = argument(d)?;
            call.change_network(desk, config, network_type.0);
        }
        _ => return Err(ErrorCode::UnknownAction),
    }
    Ok(())
}

/// Reads the argument of a request.
fn argument<T: DeserializeOwned>(d: Option<&RawValue>) -> Result<T, ErrorCode> {
    d.and_then(|d| object(d.get())).and_then(|d| serde_json::from_str(d).ok()).ok_or(ErrorCode::Json)
}

/// The text, if it can be a JSON object: serde would take an array for a struct as well.
fn object(text: &str) -> Option<&str> {
    text.trim_ascii_start().starts_with('{').then_some(text)
}

impl Dialect for Tribe {
    fn handle_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), WireError> {
        match frame {
            Frame::Text(text) => self.handle_text(now, text),
            Frame::Binary(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => self.handle_text(now, text),
                Err(_) => self.desk.fail("general", ErrorCode::Json),
            },
        }
        Ok(())
    }

    fn handle_notice(&mut self, now: Instant, notice: &Notice) {
        let (desk, config) = (&mut self.desk, &self.deps.config);
        match (&mut self.state, notice) {
            (State::Ended, _) => {}
            (_, Notice::Ended { reason }) => {
                desk.push(farewell(*reason));
                self.state = State::Ended;
            }
            (State::Entering(_), Notice::Welcome(welcome)) => {
                if let Some(entering) = self.take_entering(welcome.req) {
                    let (user_id, network) = (&entering.user_id, entering.network.clone());
                    let call = Call::joined(&mut self.desk, &self.deps.config, welcome, user_id, network);
                    self.entered(now, entering, State::Joined(Box::new(call)));
                }
            }
            (State::Entering(_), Notice::Resumed(resumed)) => {
                if let Some(entering) = self.take_entering(resumed.req) {
                    let call = Call::resumed(&mut self.desk, &self.deps.config, resumed);
                    self.entered(now, entering, State::Joined(Box::new(call)));
                }
            }
            (_, Notice::Refused { req, why }) => self.refused(now, *req, why),
            (_, Notice::Done { req }) => self.done(*req),
            (State::Joined(call), notice) => match notice {
                Notice::MemberJoined { member, size } => call.member_joined(desk, config, member, *size),
                Notice::MemberLeft { member, user_id, size, .. } => call.member_left(desk, config, *member, user_id, *size),
                Notice::MemberChanged { member } => call.member_changed(desk, member),
                Notice::StreamUp { member, stream } => call.stream_up(desk, *member, stream),
                Notice::StreamDown { member, stream } => call.stream_down(desk, *member, stream),
                Notice::Description { peer, sdp } => call.described(desk, *peer, sdp),
                Notice::PeerFlowing { peer, kind } => call.flowing(desk, now, *peer, *kind),
                Notice::PeerDown { peer, reason } => call.peer_down(desk, now, *peer, *reason),
                Notice::Told { from, body } => call.told(desk, from, body),
                Notice::Said { from, text } => call.said(desk, from, text),
                // a connection without media is nothing a client is told of; the rest was dealt with above
                Notice::PeerUp { .. }
                | Notice::Lane { .. }
                | Notice::Welcome(_)
                | Notice::Resumed(_)
                | Notice::Done { .. }
                | Notice::Refused { .. }
                | Notice::Ended { .. } => {}
            },
            (State::Connected | State::Entering(_), _) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let State::Joined(call) = &mut self.state {
            call.handle_timeout(&mut self.desk, now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.desk.poll()
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Joined(call) => call.next_timeout(),
            State::Connected | State::Entering(_) | State::Ended => None,
        }
    }
}
