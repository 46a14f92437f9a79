//! Facts about rooms, and a random walk over everything that can be asked of them.

mod meet;
mod mixes;
mod peers;
mod places;
mod random;
mod sources;

use std::time::{Duration, Instant};

use super::*;
use crate::vocab::*;

/// Rooms at a simulated time, with the effects since the last look.
struct World {
    rooms: Rooms,
    now: Instant,
    requests: u64,
    effects: Vec<Effect>,
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn listed(name: &str) -> RoomConfig {
    RoomConfig { name: room(name), topology: Topology::Sfu, max_members: None, sources: Vec::new(), mix: Default::default() }
}

/// A visible tribe member with all rights.
fn joining(room_name: &str, user_id: &str) -> Joining {
    Joining {
        room: room(room_name),
        user_id: user_id.into(),
        dialect: DialectName::Tribe,
        remote: None,
        grant: Grant::all("test"),
        visible: true,
        facts: Facts::default(),
        opens: Topology::Sfu,
        dialect_limit: None,
        replaces_lost: false,
    }
}

fn rights(of: &[Right]) -> Grant {
    Grant { rights: of.iter().copied().collect(), ..Grant::all("test") }
}

fn video(track: u64) -> TrackView {
    TrackView { track: TrackId(track), kind: MediaKind::Video, format: TrackFormat::h264_baseline() }
}

impl World {
    fn new() -> Self {
        Self::with(RoomsConfig::default(), Vec::new())
    }

    fn with(config: RoomsConfig, rooms: Vec<RoomConfig>) -> Self {
        let mut world = Self { rooms: Rooms::new(config, rooms), now: Instant::now(), requests: 0, effects: Vec::new() };
        world.drain();
        world.effects.clear();
        world
    }

    fn drain(&mut self) {
        while let Some(effect) = self.rooms.poll_effect() {
            self.effects.push(effect);
        }
        self.rooms.check_invariants();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.rooms.handle_timeout(self.now);
        self.drain();
    }

    fn session(&mut self) -> SessionId {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        self.drain();
        session
    }

    fn ask(&mut self, session: SessionId, cmd: Command) -> RequestId {
        self.requests += 1;
        let req = RequestId(self.requests);
        self.rooms.handle(self.now, session, req, cmd);
        self.drain();
        req
    }

    /// Asks and expects a refusal.
    fn refused(&mut self, session: SessionId, cmd: Command) -> Refusal {
        self.effects.clear();
        let asked = self.ask(session, cmd);
        match self.told(session).as_slice() {
            [Notice::Refused { req, why }] if *req == asked => why.clone(),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn join(&mut self, joining: Joining) -> (SessionId, MemberId) {
        let session = self.session();
        self.ask(session, Command::Join(Box::new(joining)));
        let welcome = self.welcome(session);
        (session, welcome.member)
    }

    /// The welcome of a session, and forgets all effects.
    fn welcome(&mut self, session: SessionId) -> Welcome {
        match self.told(session).into_iter().next() {
            Some(Notice::Welcome(welcome)) => *welcome,
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    /// What a session was told since the last look; forgets all effects.
    fn told(&mut self, session: SessionId) -> Vec<Notice> {
        std::mem::take(&mut self.effects)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Notify(to, notice) if to == session => Some(notice),
                _ => None,
            })
            .collect()
    }

    fn update(&mut self, update: PeerUpdate) {
        self.rooms.handle_peer(self.now, update);
        self.drain();
    }

    fn source(&mut self, update: SourceUpdate) {
        self.rooms.handle_source(self.now, update);
        self.drain();
    }

    /// A source that is present in one room.
    fn present(&mut self, source: &str, room_name: &str) {
        self.source(SourceUpdate::Present {
            source: SourceName::new(source).unwrap(),
            rooms: vec![room(room_name)],
            kinds: vec![MediaKind::Video],
        });
    }

    /// Asks to publish; nothing of it is up yet.
    fn publish(&mut self, session: SessionId, name: &str) -> PeerId {
        let peer = PeerId::next();
        self.ask(session, Command::Publish { peer, stream: stream(name), offer: Some(Sdp::offer("o")) });
        peer
    }

    /// Publishes and connects.
    fn publish_up(&mut self, session: SessionId, name: &str) -> PeerId {
        let peer = self.publish(session, name);
        self.update(PeerUpdate::Tracks { peer, tracks: vec![video(peer.0)] });
        self.update(PeerUpdate::Described { peer, sdp: Sdp::answer("a") });
        self.update(PeerUpdate::Up { peer });
        peer
    }

    /// Asks to play.
    fn play(&mut self, session: SessionId, of: StreamChoice) -> PeerId {
        let peer = PeerId::next();
        self.ask(session, Command::Play { peer, of, offer: Some(Sdp::offer("o")) });
        peer
    }

    /// What the default choice resolves to for a session; the peer is closed again.
    fn chosen(&mut self, session: SessionId, of: StreamChoice) -> Option<(MemberId, String)> {
        self.effects.clear();
        let peer = self.play(session, of);
        let found = self.effects.iter().find_map(|effect| match effect {
            Effect::OpenPeer(open) => match &open.purpose {
                Purpose::Play { owner, stream, .. } => Some((*owner, stream.as_str().to_owned())),
                Purpose::Ingest { .. } | Purpose::Meet(_) | Purpose::Trunk => None,
            },
            _ => None,
        });
        if found.is_some() {
            self.ask(session, Command::Stop { peer });
        }
        self.effects.clear();
        found
    }
}

/// The effects in short, in order, for comparing sequences.
fn outline(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Notify(_, notice) => {
                let text = format!("{notice:?}");
                text.split([' ', '(']).next().unwrap_or_default().to_owned()
            }
            Effect::EndSession(_, reason) => format!("end session: {reason:?}"),
            Effect::OpenPeer(_) => "open peer".into(),
            Effect::DescribePeer { .. } => "describe peer".into(),
            Effect::AddCandidate { .. } => "add candidate".into(),
            Effect::FeedPeer { plays, .. } => format!("feed peer: {}", plays.as_ref().map_or("-", |plays| plays.stream.as_str())),
            Effect::Mix { parts, .. } => format!("mix of {}", parts.len()),
            Effect::Say { .. } => "say".into(),
            Effect::Transmit { .. } => "transmit".into(),
            Effect::ClosePeer { reason, .. } => format!("close peer: {reason:?}"),
            Effect::Report(report) => {
                let text = format!("{report:?}");
                format!("report {}", text.split(' ').next().unwrap_or_default())
            }
        })
        .collect()
}
