//! Rooms, and the sessions of several clients, known by their names, which are their ids.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::room::{
    Body, Command, DialectName, Effect, Facts, Joining, MemberView, Notice, OpenPeer, PeerUpdate, Purpose, RoomConfig, Rooms,
    RoomsConfig, Signal, Topology, TrackView,
};
use crate::signalling::vamp::{Deps, Vamp, VampConfig};
use crate::signalling::{Dialect, Frame, Output};
use crate::vocab::{Codec, Grant, MediaKind, MemberId, PeerId, RequestId, RoomId, Sdp, SessionId, TrackFormat, TrackId};

struct Client {
    session: SessionId,
    vamp: Vamp,
    inbox: VecDeque<String>,
    closed: Option<u16>,
}

pub struct World {
    pub now: Instant,
    pub rooms: Rooms,
    pub config: VampConfig,
    /// Whether mesh rooms store clips.
    pub stores_clips: bool,
    pub grant: Grant,
    clients: BTreeMap<String, Client>,
    /// Members of other dialects.
    foreigners: Vec<(MemberId, SessionId)>,
    told: Vec<(MemberId, MemberView, Signal)>,
    opened: VecDeque<OpenPeer>,
    labels: Vec<(PeerId, String)>,
    answers: Vec<(PeerId, Sdp)>,
}

impl World {
    pub fn new() -> Self {
        Self::with(Vec::new())
    }

    /// One with a listed room of topology `sfu`.
    pub fn sfu(name: &str) -> Self {
        let name = RoomId::new(name).unwrap();
        Self::with(vec![RoomConfig {
            name,
            topology: Topology::Sfu,
            max_members: None,
            sources: Vec::new(),
            mix: Default::default(),
        }])
    }

    fn with(rooms: Vec<RoomConfig>) -> Self {
        Self {
            now: Instant::now(),
            rooms: Rooms::new(RoomsConfig::default(), rooms),
            config: VampConfig::default(),
            stores_clips: false,
            grant: Grant::all(""),
            clients: BTreeMap::new(),
            foreigners: Vec::new(),
            told: Vec::new(),
            opened: VecDeque::new(),
            labels: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// A member that speaks something else.
    pub fn foreigner(&mut self, dialect: DialectName, room: &str) -> MemberId {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        let joining = Joining {
            room: RoomId::new(room).unwrap(),
            user_id: String::new(),
            dialect,
            remote: None,
            grant: Grant::all(""),
            visible: true,
            facts: Facts::default(),
            opens: Topology::Mesh,
            dialect_limit: None,
            replaces_lost: false,
        };
        self.foreigners.push((MemberId([0; 16]), session));
        self.rooms.handle(self.now, session, RequestId::next(), Command::Join(Box::new(joining)));
        self.pump();
        self.foreigners.last().expect("just pushed").0
    }

    fn session_of(&self, foreigner: MemberId) -> SessionId {
        self.foreigners.iter().find(|(member, _)| *member == foreigner).expect("a foreigner").1
    }

    pub fn lose_foreigner(&mut self, foreigner: MemberId) {
        let session = self.session_of(foreigner);
        self.rooms.handle(self.now, session, RequestId::next(), Command::Leave);
        self.pump();
    }

    /// A foreigner's signal to a client.
    pub fn tell(&mut self, from: MemberId, to: &str, signal: Signal) {
        let rooms = self.rooms.rooms();
        let members = rooms.iter().flat_map(|room| &room.members);
        let to = members.map(|member| &member.view).find(|view| view.user_id == to).expect("a member").member;
        let (session, body) = (self.session_of(from), Body::Signal(Box::new(signal)));
        self.rooms.handle(self.now, session, RequestId::next(), Command::Tell { to, body });
        self.pump();
    }

    /// What a foreigner was told last, and by whom.
    pub fn told_foreigner(&mut self, who: MemberId) -> Option<(String, Signal)> {
        let at = self.told.iter().position(|(to, ..)| *to == who)?;
        let (_, from, signal) = self.told.remove(at);
        Some((from.user_id, signal))
    }

    /// The next connection that the room opened: whose, and the client's offer.
    pub fn opened(&mut self) -> Option<((String, Option<String>), PeerId)> {
        let open = self.opened.pop_front()?;
        let rooms = self.rooms.rooms();
        let owner = self.rooms.owner_of(open.peer).expect("an owner").1;
        let mut members = rooms.iter().flat_map(|room| &room.members).map(|member| &member.view);
        let name = members.find(|view| view.member == owner).expect("a member").user_id.clone();
        Some(((name, open.offer.map(|sdp| sdp.text)), open.peer))
    }

    /// The label of the channel that Portico opens on a connection.
    pub fn label(&self, peer: PeerId) -> Option<String> {
        self.labels.iter().find(|(of, _)| *of == peer).map(|(_, label)| label.clone())
    }

    /// The peer's description is ready.
    pub fn described(&mut self, peer: PeerId, sdp: Sdp) {
        self.rooms.handle_peer(self.now, PeerUpdate::Described { peer, sdp });
        self.pump();
    }

    /// The peer is connected and brings sound.
    pub fn up(&mut self, peer: PeerId) {
        let format = TrackFormat::plain(Codec::Opus);
        let track = TrackView { track: TrackId(peer.0), kind: MediaKind::Audio, format };
        self.rooms.handle_peer(self.now, PeerUpdate::Tracks { peer, tracks: vec![track] });
        self.rooms.handle_peer(self.now, PeerUpdate::Up { peer });
        self.pump();
    }

    /// Whether the room still has the peer.
    pub fn has(&self, peer: PeerId) -> bool {
        self.rooms.owner_of(peer).is_some()
    }

    /// The client's answer to Portico's offer.
    pub fn answered(&self, peer: PeerId) -> Option<String> {
        self.answers.iter().find(|(of, _)| *of == peer).map(|(_, sdp)| sdp.text.clone())
    }

    /// These, in this order in the vamp `v`, with nothing unheard.
    pub fn of(names: &[&str]) -> Self {
        let mut world = Self::new();
        for name in names {
            world.join(name, "v");
        }
        world
    }

    /// A new connection.
    pub fn client(&mut self, name: &str) {
        let session = SessionId::next();
        self.rooms.open_session(self.now, session);
        let vamp = Vamp::new(Deps {
            grant: self.grant.clone(),
            remote: None,
            socket_id: name.into(),
            config: self.config.clone(),
            stores_clips: self.stores_clips,
        });
        self.clients.insert(name.into(), Client { session, vamp, inbox: VecDeque::new(), closed: None });
    }

    /// A new connection that joins; its list is dropped.
    pub fn join(&mut self, name: &str, vamp: &str) {
        self.client(name);
        self.say(name, json!(["join vamp", vamp]));
        self.heard(name);
    }

    /// Hands an event over; what it causes is not carried out yet.
    pub fn write_text(&mut self, name: &str, text: &str) {
        let client = self.clients.get_mut(name).expect("a client");
        client.vamp.handle_frame(self.now, Frame::Text(text)).expect("vamp has no violations");
    }

    pub fn write(&mut self, name: &str, event: Value) {
        self.write_text(name, &event.to_string());
    }

    pub fn say(&mut self, name: &str, event: Value) {
        self.write(name, event);
        self.pump();
    }

    /// The goodbye of a client.
    pub fn leave(&mut self, name: &str) {
        self.end(name, Command::Leave);
    }

    /// The end of a connection without a goodbye.
    pub fn lose(&mut self, name: &str) {
        self.end(name, Command::Lost);
    }

    fn end(&mut self, name: &str, command: Command) {
        let client = self.clients.get_mut(name).expect("a client");
        let session = std::mem::replace(&mut client.session, SessionId::next());
        self.rooms.handle(self.now, session, RequestId::next(), command);
        self.pump();
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.rooms.handle_timeout(self.now);
        for client in self.clients.values_mut() {
            client.vamp.handle_timeout(self.now);
        }
        self.pump();
    }

    /// Carries out what sessions and rooms want until nothing is left.
    pub fn pump(&mut self) {
        loop {
            let mut quiet = true;
            for client in self.clients.values_mut() {
                while let Some(output) = client.vamp.poll_output() {
                    quiet = false;
                    match output {
                        Output::Send(text) => client.inbox.push_back(text),
                        Output::Command(req, command) => self.rooms.handle(self.now, client.session, req, command),
                        Output::Close { code, .. } => client.closed = Some(code),
                        other => panic!("{other:?}"),
                    }
                }
            }
            while let Some(effect) = self.rooms.poll_effect() {
                quiet = false;
                match effect {
                    Effect::Notify(session, notice) => self.notify(session, &notice),
                    Effect::OpenPeer(open) => {
                        if let Purpose::Meet(meet) = &open.purpose
                            && let Some(channel) = meet.channels.first()
                        {
                            self.labels.push((open.peer, channel.label.clone()));
                        }
                        self.opened.push_back(*open);
                    }
                    Effect::DescribePeer { peer, sdp } => self.answers.push((peer, sdp)),
                    _ => {}
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn notify(&mut self, session: SessionId, notice: &Notice) {
        if let Some(client) = self.clients.values_mut().find(|client| client.session == session) {
            client.vamp.handle_notice(self.now, notice);
        } else if let Some((member, _)) = self.foreigners.iter_mut().find(|(_, own)| *own == session) {
            match notice {
                Notice::Welcome(welcome) => *member = welcome.member,
                Notice::Told { from, body: Body::Signal(signal) } => {
                    self.told.push((*member, from.clone(), Signal::clone(signal)));
                }
                _ => {}
            }
        }
    }

    /// The next event that the client was sent.
    pub fn next_text(&mut self, name: &str) -> Option<String> {
        self.clients.get_mut(name).expect("a client").inbox.pop_front()
    }

    pub fn heard_texts(&mut self, name: &str) -> Vec<String> {
        self.clients.get_mut(name).expect("a client").inbox.drain(..).collect()
    }

    pub fn heard(&mut self, name: &str) -> Vec<Value> {
        self.heard_texts(name).iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }

    pub fn closed(&self, name: &str) -> Option<u16> {
        self.clients[name].closed
    }

    pub fn all_quiet(&self) -> bool {
        self.clients.values().all(|client| client.inbox.is_empty())
    }
}
