//! The hub's task: one loop that owns the rooms and everything that is known of peers and sources.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::{ChannelTold, HubGone, HubSession, PeerOwner, Question, Reports, RoomView, ToHub, Told};
use crate::forward::Layer;
use crate::media::{MediaCommand, MediaEvent, PlannedTrack, SourceError, Wants};
use crate::peer::{DataSpec, PeerCommand, PeerEvent, PeerSpec, Receive, SendTrack, negotiate};
use crate::room::{
    Command, Counts, Effect, EndReason, Feed, Framing, OpenPeer, PeerUpdate, Playing, Purpose, Report, Rooms, SourceUpdate,
    TrackView,
};
use crate::signalling::{ChannelNews, Realm, RealmId, RealmOutput};
use crate::vocab::{
    Candidate, ChannelId, Codec, MediaKind, MemberId, PeerId, RequestId, RoomId, SessionId, SourceName, TrackFormat, TrackId,
};

/// Requests waiting for the hub. Senders wait when it is full: the hub only decides, so it is never full for long.
const INBOX: usize = 1024;
/// Notices waiting for one session. A session that is this far behind does not read any more and is ended.
const OUTBOX: usize = 1024;
/// Reports kept for a slow watcher; older ones are lost to it, and it is told.
const REPORTS: usize = 1024;
/// A member's peer must be connected within this time of its description.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// Candidates kept of a peer whose source is being opened; more are left out.
const EARLY_CANDIDATES: usize = 64;

/// How often the ends of tokens are compared with the wall clock.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// What the hub drives. The two ports never block.
pub struct HubParts {
    /// The rooms, configured.
    pub rooms: Rooms,
    /// Orders to the media plane.
    pub peers: Box<dyn Fn(PeerCommand) + Send>,
    /// News of the media plane. Unbounded: a few events per peer, and peers are bounded.
    pub peer_events: mpsc::UnboundedReceiver<PeerEvent>,
    /// Orders to the sources.
    pub media: Box<dyn Fn(MediaCommand) + Send>,
    /// News of the sources. Unbounded: a few events per failure.
    pub media_events: mpsc::UnboundedReceiver<MediaEvent>,
    /// Video codecs accepted from publishers, best first.
    pub publish_codecs: Vec<Codec>,
    /// The sources, the rooms they are in, and what they give.
    pub sources: Vec<SourceUpdate>,
    /// What the mounts keep across their connections; a mount's sessions name theirs by its place here.
    pub realms: Vec<Box<dyn Realm>>,
}

/// A handle to the hub; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    to_hub: mpsc::Sender<ToHub>,
    reports: broadcast::Sender<Report>,
}

impl Hub {
    /// Starts the hub's task on the current runtime. It ends after [`Hub::stop`], or when every handle is gone.
    pub fn start(parts: HubParts) -> (Self, tokio::task::JoinHandle<()>) {
        let (to_hub, inbox) = mpsc::channel(INBOX);
        let (reports, _) = broadcast::channel(REPORTS);
        let owner = Owner {
            rooms: parts.rooms,
            peers: parts.peers,
            media: parts.media,
            publish_codecs: parts.publish_codecs,
            reports: reports.clone(),
            sessions: HashMap::new(),
            realms: parts.realms,
            open: HashMap::new(),
            layers: HashMap::new(),
            demands: FuturesUnordered::new(),
        };
        let task = tokio::spawn(owner.run(inbox, parts.peer_events, parts.media_events, parts.sources));
        (Self { to_hub, reports }, task)
    }

    /// A new session of a mount without a realm.
    pub async fn open_session(&self) -> Result<HubSession, HubGone> {
        self.open_session_in(None).await
    }

    /// A new session, with the realm of its mount.
    pub async fn open_session_in(&self, realm: Option<RealmId>) -> Result<HubSession, HubGone> {
        let id = SessionId::next();
        let (outbox, told) = mpsc::channel(OUTBOX);
        self.to_hub.send(ToHub::Open(id, outbox, realm)).await.map_err(|_| HubGone)?;
        Ok(HubSession { id, to_hub: self.to_hub.clone(), told })
    }

    /// Whether the hub has stopped.
    pub fn is_gone(&self) -> bool {
        self.to_hub.is_closed()
    }

    /// What happens from now on.
    pub fn reports(&self) -> Reports {
        self.reports.subscribe()
    }

    /// All rooms now.
    pub async fn rooms(&self) -> Result<Vec<RoomView>, HubGone> {
        self.ask(Question::Rooms).await
    }

    /// Whose the living peers are.
    pub async fn peer_owners(&self) -> Result<Vec<PeerOwner>, HubGone> {
        self.ask(Question::PeerOwners).await
    }

    /// How many of everything there are.
    pub async fn counts(&self) -> Result<Counts, HubGone> {
        self.ask(Question::Counts).await
    }

    /// The ids of who is in a realm; of one that does not exist none.
    pub async fn realm_names(&self, realm: RealmId) -> Result<Vec<String>, HubGone> {
        self.ask(|reply| Question::RealmNames(realm, reply)).await
    }

    /// Ends a member's place; false when there is none.
    pub async fn evict(&self, room: RoomId, member: MemberId) -> Result<bool, HubGone> {
        self.ask(|reply| Question::Evict { room, member, reply }).await
    }

    /// Takes over another configuration of rooms. Members stay.
    pub async fn configure(&self, config: crate::room::RoomsConfig, rooms: Vec<crate::room::RoomConfig>) -> Result<(), HubGone> {
        self.ask(|reply| Question::Configure { config, rooms, reply }).await
    }

    /// Ends every place and peer; returns when the orders are given.
    pub async fn stop(&self) -> Result<(), HubGone> {
        self.ask(Question::Stop).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, HubGone> {
        let (reply, answer) = oneshot::channel();
        self.to_hub.send(ToHub::Ask(question(reply))).await.map_err(|_| HubGone)?;
        answer.await.map_err(|_| HubGone)
    }
}

/// A source's answer to a demand.
struct Demanded {
    peer: PeerId,
    source: SourceName,
    demand: Demand,
    outcome: Result<Vec<PlannedTrack>, SourceError>,
}

/// What a source's layers are wanted for.
enum Demand {
    /// To open a peer with.
    Open(Box<Opening>),
    /// To be sent to a peer from now on, under this label, unless it was fed again since.
    Feed { label: String, fed: u64 },
}

/// A peer about to be opened.
struct Opening {
    asked: Box<OpenPeer>,
    receive: Option<Receive>,
    /// Sections to hold for what may be sent later.
    slots: Vec<TrackFormat>,
}

struct Owner {
    rooms: Rooms,
    peers: Box<dyn Fn(PeerCommand) + Send>,
    media: Box<dyn Fn(MediaCommand) + Send>,
    publish_codecs: Vec<Codec>,
    reports: broadcast::Sender<Report>,
    sessions: HashMap<SessionId, Line>,
    realms: Vec<Box<dyn Realm>>,
    /// Peers that `rooms` has and that were not closed yet.
    open: HashMap<PeerId, OpenState>,
    /// Published tracks.
    layers: HashMap<TrackId, Arc<Layer>>,
    /// Demands that the sources have not answered yet.
    demands: FuturesUnordered<BoxFuture<'static, Demanded>>,
}

/// The way to a session.
struct Line {
    outbox: mpsc::Sender<Told>,
    /// Its mount's realm; checked when the session was opened.
    realm: Option<usize>,
}

/// What a peer holds besides itself.
#[derive(Default)]
struct OpenState {
    /// The source it has a demand on.
    source: Option<SourceName>,
    /// The tracks it publishes.
    tracks: Vec<TrackId>,
    /// Whether the media plane knows it.
    at_shard: bool,
    /// What its far end can take, for what is sent later.
    wants: Wants,
    /// How often it was given something else to send; an answer of a source to an earlier time is of no use.
    fed: u64,
    /// What it was given to send since, before the media plane knew it.
    waiting: Option<Vec<SendTrack>>,
    /// Its far end's candidates since then; at most [`EARLY_CANDIDATES`].
    candidates: Vec<Candidate>,
    /// The channel that its member's session reads itself, once it is open; `None` where it reads none.
    own_channel: Option<Option<ChannelId>>,
}

impl Owner {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<ToHub>,
        mut peer_events: mpsc::UnboundedReceiver<PeerEvent>,
        mut media_events: mpsc::UnboundedReceiver<MediaEvent>,
        sources: Vec<SourceUpdate>,
    ) {
        self.rooms.set_wall_clock(Instant::now(), SystemTime::now());
        // a clock that was set (a board without a battery gets the time from the network) moves the ends of tokens
        let mut clock_check = tokio::time::interval(CLOCK_CHECK);
        for source in sources {
            self.rooms.handle_source(Instant::now(), source);
        }
        self.carry_out();
        loop {
            let timeout = self.next_timeout();
            // every branch is cancel-safe: receivers, a stream and a sleep
            tokio::select! {
                asked = inbox.recv() => match asked {
                    Some(ToHub::Ask(Question::Stop(reply))) => {
                        self.rooms.stop(Instant::now());
                        self.carry_out();
                        let _ = reply.send(());
                        return;
                    }
                    Some(asked) => self.handle(asked),
                    None => return,
                },
                Some(event) = peer_events.recv() => self.handle_peer(event),
                Some(event) = media_events.recv() => self.handle_media(event),
                Some(demanded) = self.demands.next(), if !self.demands.is_empty() => self.handle_demanded(demanded),
                _ = clock_check.tick() => self.rooms.set_wall_clock(Instant::now(), SystemTime::now()),
                () = sleep_until(timeout.into()) => self.handle_timeout(),
            }
            self.carry_out();
        }
    }

    fn next_timeout(&self) -> Instant {
        let realms = self.realms.iter().filter_map(|realm| realm.next_timeout());
        realms.chain(self.rooms.next_timeout()).min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        self.rooms.handle_timeout(now);
        for realm in &mut self.realms {
            if realm.next_timeout().is_some_and(|at| at <= now) {
                realm.handle_timeout(now);
            }
        }
    }

    fn handle(&mut self, asked: ToHub) {
        let now = Instant::now();
        match asked {
            ToHub::Open(session, outbox, realm) => {
                let realm = realm.map(|realm| realm.0).filter(|index| *index < self.realms.len());
                self.sessions.insert(session, Line { outbox, realm });
                self.rooms.open_session(now, session);
            }
            ToHub::Realm(session, message) => {
                if let Some(realm) = self.realm_of(session) {
                    realm.handle(now, session, message);
                }
            }
            ToHub::Command(session, req, command) => {
                // a session that was ended may still have a request under way: it is told nothing, and nothing happens
                if self.sessions.contains_key(&session) {
                    self.rooms.handle(now, session, req, command);
                }
            }
            ToHub::Dropped(session) => {
                if self.hang_up(session) {
                    self.rooms.handle(now, session, RequestId(0), Command::Lost);
                }
            }
            ToHub::Ask(question) => self.answer(now, question),
        }
    }

    fn answer(&mut self, now: Instant, question: Question) {
        // an asker that went away is no concern of the hub
        match question {
            Question::Rooms(reply) => {
                let _ = reply.send(self.rooms.rooms());
            }
            Question::Counts(reply) => {
                let _ = reply.send(self.rooms.count());
            }
            Question::PeerOwners(reply) => {
                let owner = |peer: &PeerId| {
                    let (room, member, _) = self.rooms.owner_of(*peer)?;
                    Some(PeerOwner { peer: *peer, room, member })
                };
                let _ = reply.send(self.open.keys().filter_map(owner).collect());
            }
            Question::Evict { room, member, reply } => {
                let _ = reply.send(self.rooms.evict(now, &room, member));
            }
            Question::Configure { config, rooms, reply } => {
                self.rooms.configure(now, config, rooms);
                let _ = reply.send(());
            }
            Question::RealmNames(realm, reply) => {
                let _ = reply.send(self.realms.get(realm.0).map(|realm| realm.names()).unwrap_or_default());
            }
            Question::Stop(reply) => {
                let _ = reply.send(());
            }
        }
    }

    fn handle_peer(&mut self, event: PeerEvent) {
        let now = Instant::now();
        let update = match event {
            PeerEvent::Description { peer, sdp } => PeerUpdate::Described { peer, sdp },
            PeerEvent::Tracks { peer, tracks } => {
                let Some(state) = self.open.get_mut(&peer) else { return };
                for gone in state.tracks.drain(..) {
                    self.layers.remove(&gone);
                }
                state.tracks = tracks.iter().map(|received| received.track).collect();
                self.layers.extend(tracks.iter().map(|received| (received.track, Arc::clone(&received.layer))));
                let view = |track: TrackId, layer: &Layer| TrackView {
                    track,
                    kind: layer.format().codec.kind(),
                    format: layer.format().clone(),
                };
                PeerUpdate::Tracks { peer, tracks: tracks.iter().map(|received| view(received.track, &received.layer)).collect() }
            }
            PeerEvent::Rejected { peer, reason } => {
                debug!(%peer, %reason, "later description refused");
                PeerUpdate::Rejected { peer, reason }
            }
            PeerEvent::Up { peer } => PeerUpdate::Up { peer },
            PeerEvent::Flowing { peer, kind } => PeerUpdate::Flowing { peer, kind },
            PeerEvent::ChannelOpen { peer, .. }
            | PeerEvent::ChannelMessage { peer, .. }
            | PeerEvent::ChannelClosed { peer, .. }
                if self.reads_itself(peer) =>
            {
                return self.own_channel(event);
            }
            // no other peer's channels are read yet
            PeerEvent::ChannelOpen { .. }
            | PeerEvent::ChannelMessage { .. }
            | PeerEvent::ChannelDrained { .. }
            | PeerEvent::MessageRefused { .. }
            | PeerEvent::ChannelClosed { .. } => return,
            PeerEvent::Down { peer, reason } => {
                let described = self.open.get(&peer).is_some_and(|state| state.at_shard);
                self.forget(peer);
                if !described {
                    return;
                }
                match reason {
                    // never came to be: the asker is told as an answer to its request
                    EndReason::BadDescription | EndReason::NoCommonCodec | EndReason::Internal => {
                        self.rooms.refuse_peer(now, peer, reason);
                        return;
                    }
                    _ => PeerUpdate::Down { peer, reason },
                }
            }
        };
        self.rooms.handle_peer(now, update);
    }

    /// Whether the channels of a peer are for its member's session to read.
    fn reads_itself(&self, peer: PeerId) -> bool {
        self.open.get(&peer).is_some_and(|state| state.own_channel.is_some())
    }

    /// Something about a channel that a session reads itself. There is one a peer: further ones are closed.
    fn own_channel(&mut self, event: PeerEvent) {
        let (peer, channel, news, credit) = match event {
            PeerEvent::ChannelOpen { peer, channel, label, .. } => (peer, channel, ChannelNews::Open { label }, None),
            PeerEvent::ChannelMessage { peer, channel, message, credit } => {
                (peer, channel, ChannelNews::Message(message), Some(credit))
            }
            PeerEvent::ChannelClosed { peer, channel, .. } => (peer, channel, ChannelNews::Closed, None),
            // a message that does not fit into a full channel is lost, as the session was told
            _ => return,
        };
        let Some(own) = self.open.get_mut(&peer).and_then(|state| state.own_channel.as_mut()) else { return };
        match (*own, &news) {
            (None, ChannelNews::Open { .. }) => *own = Some(channel),
            (Some(known), _) if known == channel => {}
            (_, ChannelNews::Open { .. }) => return (self.peers)(PeerCommand::CloseChannel { peer, channel }),
            _ => return,
        }
        if let Some((_, _, session)) = self.rooms.owner_of(peer) {
            // a flood of the far end's must not end the session: what it cannot take in time is left out
            let room = self.sessions.get(&session).map_or(0, |line| line.outbox.capacity());
            if matches!(news, ChannelNews::Message(_)) && room < OUTBOX / 4 {
                return;
            }
            self.pass(session, Told::Channel(Box::new(ChannelTold { peer, news, credit })));
        }
    }

    fn handle_media(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Failed { source, error } => warn!(%source, %error, "source failed; trying again"),
            MediaEvent::Recovered { source } => info!(%source, "source runs again"),
        }
    }

    fn handle_demanded(&mut self, demanded: Demanded) {
        let Demanded { peer, source, demand, outcome } = demanded;
        let Some(state) = self.open.get(&peer) else {
            // closed while the source was being opened; the demand was released then
            return;
        };
        let stale = matches!(demand, Demand::Feed { fed, .. } if fed != state.fed);
        let label = match &demand {
            Demand::Open(opening) => opening.asked.owner_label(),
            Demand::Feed { label, .. } => label.clone(),
        };
        let send = match outcome {
            Ok(tracks) => {
                for track in &tracks {
                    let choice = &track.choice;
                    debug!(%peer, %source, codec = %choice.codec, path = ?choice.path, reason = choice.reason, "planned");
                }
                Ok(tracks.into_iter().map(|track| SendTrack { layer: track.layer, stream_label: label.clone() }).collect())
            }
            Err(error) => {
                warn!(%source, %peer, %error, "source cannot be played");
                Err(match error {
                    SourceError::Refused(_) => EndReason::NoCommonCodec,
                    _ => EndReason::SourceFailed,
                })
            }
        };
        match (demand, send) {
            (Demand::Open(opening), Ok(send)) => self.open_at_shard(*opening, send),
            (Demand::Open(opening), Err(_)) if matches!(opening.asked.purpose, Purpose::Meet(_)) => {
                // it carries more than the source
                self.release(peer);
                self.open_at_shard(*opening, Vec::new());
            }
            (Demand::Open(_), Err(reason)) => self.refuse(peer, reason),
            (Demand::Feed { .. }, _) if stale => {}
            (Demand::Feed { .. }, Ok(send)) => self.feed_at_shard(peer, send),
            (Demand::Feed { .. }, Err(_)) => self.release(peer),
        }
    }

    /// Carries out everything the rooms and the realms have decided on.
    fn carry_out(&mut self) {
        self.carry_out_rooms();
        // a word that finds its session's queue full ends that session, which the rooms tell the others
        while self.carry_out_realms() {
            self.carry_out_rooms();
        }
    }

    /// Hands out what the realms say; false when they had nothing to say.
    fn carry_out_realms(&mut self) -> bool {
        let mut said = false;
        for index in 0..self.realms.len() {
            while let Some(RealmOutput { to, word }) = self.realms[index].poll_output() {
                said = true;
                self.pass(to, Told::Realm(word));
            }
        }
        said
    }

    fn realm_of(&mut self, session: SessionId) -> Option<&mut Box<dyn Realm>> {
        let index = self.sessions.get(&session)?.realm?;
        self.realms.get_mut(index)
    }

    /// Takes a session off the list; its realm hears of it. False when it was not there.
    fn hang_up(&mut self, session: SessionId) -> bool {
        let Some(line) = self.sessions.remove(&session) else { return false };
        if let Some(realm) = line.realm.and_then(|index| self.realms.get_mut(index)) {
            realm.handle_gone(Instant::now(), session);
        }
        true
    }

    fn carry_out_rooms(&mut self) {
        while let Some(effect) = self.rooms.poll_effect() {
            match effect {
                Effect::Notify(session, notice) => self.pass(session, Told::Notice(Box::new(notice))),
                Effect::EndSession(session, reason) => {
                    debug!(%session, %reason, "session ended");
                    self.hang_up(session);
                }
                Effect::OpenPeer(asked) => self.open_peer(asked),
                Effect::DescribePeer { peer, sdp } => (self.peers)(PeerCommand::Describe { peer, sdp }),
                Effect::AddCandidate { peer, candidate } => self.add_candidate(peer, candidate),
                Effect::FeedPeer { peer, plays } => self.feed_peer(peer, plays),
                // nobody hears by data channels yet
                Effect::Say { .. } => {}
                Effect::Transmit { peer, message } => {
                    if let Some(channel) = self.open.get(&peer).and_then(|state| state.own_channel?) {
                        (self.peers)(PeerCommand::SendMessage { peer, channel, message });
                    }
                }
                Effect::ClosePeer { peer, reason } => {
                    debug!(%peer, %reason, "peer closed");
                    self.forget(peer);
                    (self.peers)(PeerCommand::Close { peer });
                }
                Effect::Report(report) => {
                    log_report(&report);
                    // nobody watching is fine
                    let _ = self.reports.send(report);
                }
            }
        }
    }

    fn open_peer(&mut self, asked: Box<OpenPeer>) {
        self.open.insert(asked.peer, OpenState::default());
        let summary = match asked.offer.as_ref().map(|offer| negotiate::summarise(&offer.text)).transpose() {
            Ok(summary) => summary,
            Err(error) => {
                info!(peer = %asked.peer, room = %asked.room, dialect = asked.dialect.as_str(), %error, "offer refused");
                self.refuse(asked.peer, EndReason::BadDescription);
                return;
            }
        };
        if let Some(state) = self.open.get_mut(&asked.peer) {
            state.own_channel = matches!(&asked.purpose, Purpose::Meet(meet) if meet.framing == Framing::Own).then_some(None);
            state.wants = wants_of(summary.as_ref());
        }
        let receive = match &asked.purpose {
            Purpose::Ingest { .. } => true,
            Purpose::Play { .. } => false,
            Purpose::Meet(meet) => self.meets_to_receive(asked.peer, meet.publish.is_some(), summary.as_ref()),
        };
        let receive = receive.then(|| Receive { video: self.publish_codecs.clone(), audio: true });
        let slots = match &asked.purpose {
            Purpose::Meet(meet) if meet.sends => self.slots(summary.as_ref(), &meet.expects),
            _ => Vec::new(),
        };
        let opening = Opening { asked, receive, slots };
        match opening.asked.purpose.feed() {
            None => self.open_at_shard(opening, Vec::new()),
            Some(Feed::Published(tracks)) => {
                let send = self.published(tracks, &opening.asked.owner_label());
                self.open_at_shard(opening, send);
            }
            Some(Feed::Source(source)) => {
                let source = source.clone();
                let wants = wants_of(summary.as_ref());
                self.demand(opening.asked.peer, source, wants, Demand::Open(Box::new(opening)));
            }
        }
    }

    /// Asks a source for its layers; what comes of it is dealt with by [`Self::handle_demanded`].
    fn demand(&mut self, peer: PeerId, source: SourceName, wants: Wants, demand: Demand) {
        let (reply, answer) = oneshot::channel();
        if let Some(state) = self.open.get_mut(&peer) {
            state.source = Some(source.clone());
        }
        (self.media)(MediaCommand::Demand { source: source.clone(), viewer: peer, wants, reply });
        self.demands.push(Box::pin(async move {
            let outcome = answer.await.unwrap_or_else(|_| Err(SourceError::Failed("the sources are stopping".into())));
            Demanded { peer, source, demand, outcome }
        }));
    }

    fn published(&self, tracks: &[TrackId], label: &str) -> Vec<SendTrack> {
        let track = |id| Some(SendTrack { layer: Arc::clone(self.layers.get(id)?), stream_label: label.into() });
        tracks.iter().filter_map(track).collect()
    }

    /// Formats to hold sections for, for what may come later: where the far end offers to receive, else of the kinds expected.
    fn slots(&self, offer: Option<&negotiate::OfferSummary>, expects: &[MediaKind]) -> Vec<TrackFormat> {
        let formats: Vec<TrackFormat> = match offer {
            Some(offer) => {
                offer.sections.iter().filter(|section| section.receives).flat_map(|section| section.formats.clone()).collect()
            }
            None => {
                let own = |kind: &MediaKind| match kind {
                    MediaKind::Audio => vec![TrackFormat::plain(Codec::Opus)],
                    MediaKind::Video => self.publish_codecs.iter().map(|codec| plain_format(*codec)).collect(),
                };
                expects.iter().flat_map(own).collect()
            }
        };
        // what publishers send is what will most likely come
        let video = self.publish_codecs.iter().find(|codec| formats.iter().any(|format| format.codec == **codec));
        let audio = formats.iter().any(|format| format.codec == Codec::Opus).then_some(&Codec::Opus);
        audio.into_iter().chain(video).map(|codec| plain_format(*codec)).collect()
    }

    /// Sends a peer something else from now on, or nothing.
    fn feed_peer(&mut self, peer: PeerId, plays: Option<Playing>) {
        self.release(peer);
        let Some(state) = self.open.get_mut(&peer) else { return };
        state.fed += 1;
        let fed = state.fed;
        match plays.map(|plays| (plays.owner.to_string(), plays.feed)) {
            None => self.feed_at_shard(peer, Vec::new()),
            Some((label, Feed::Published(tracks))) => self.feed_at_shard(peer, self.published(&tracks, &label)),
            Some((label, Feed::Source(source))) => {
                let wants = self.open.get(&peer).map(|state| state.wants.clone()).unwrap_or_default();
                self.demand(peer, source, wants, Demand::Feed { label, fed });
            }
        }
    }

    /// Before the media plane knows the peer, it is opened with what is there by then.
    fn feed_at_shard(&mut self, peer: PeerId, send: Vec<SendTrack>) {
        let Some(state) = self.open.get_mut(&peer) else { return };
        if state.at_shard {
            (self.peers)(PeerCommand::Feed { peer, send });
        } else {
            state.waiting = Some(send);
        }
    }

    /// Whether a connection that stands for somebody is to receive. Where the far end's offer brings nothing, the room frees the
    /// stream's name at once.
    fn meets_to_receive(&mut self, peer: PeerId, publishes: bool, offer: Option<&negotiate::OfferSummary>) -> bool {
        let brings = offer.is_none_or(|offer| offer.sections.iter().any(|section| section.sends));
        if publishes && !brings {
            self.rooms.handle_peer(Instant::now(), PeerUpdate::Tracks { peer, tracks: Vec::new() });
        }
        publishes && brings
    }

    fn open_at_shard(&mut self, opening: Opening, send: Vec<SendTrack>) {
        let Opening { asked, receive, slots } = opening;
        let label = asked.owner_label();
        let Some(state) = self.open.get_mut(&asked.peer) else { return };
        state.at_shard = true;
        let mut send = state.waiting.take().unwrap_or(send);
        let held = |kind: MediaKind| move |track: &SendTrack| track.layer.format().codec.kind() == kind;
        for slot in slots {
            if !send.iter().any(held(slot.codec.kind())) {
                send.push(SendTrack { layer: Arc::new(Layer::idle(slot)), stream_label: label.clone() });
            }
        }
        // what is sent later must fit what is agreed now
        state.wants = Wants::default();
        for codec in send.iter().map(|track| track.layer.format().codec) {
            match codec.kind() {
                MediaKind::Video => state.wants.video.push(codec),
                MediaKind::Audio => state.wants.audio.push(codec),
            }
        }
        let data = match asked.purpose {
            Purpose::Meet(meet) => Some(DataSpec { open: meet.channels }),
            Purpose::Ingest { .. } | Purpose::Play { .. } => None,
        };
        let spec = PeerSpec { peer: asked.peer, offer: asked.offer, send, receive, data, connect_limit: CONNECT_LIMIT };
        let candidates = std::mem::take(&mut state.candidates);
        let peer = asked.peer;
        (self.peers)(PeerCommand::Open(Box::new(spec)));
        for candidate in candidates {
            (self.peers)(PeerCommand::AddCandidate { peer, candidate });
        }
    }

    /// Before the media plane knows the peer, because its source is still being opened, candidates wait here.
    fn add_candidate(&mut self, peer: PeerId, candidate: Candidate) {
        let Some(state) = self.open.get_mut(&peer) else { return };
        if state.at_shard {
            (self.peers)(PeerCommand::AddCandidate { peer, candidate });
        } else if state.candidates.len() < EARLY_CANDIDATES {
            state.candidates.push(candidate);
        }
    }

    fn refuse(&mut self, peer: PeerId, reason: EndReason) {
        self.forget(peer);
        self.rooms.refuse_peer(Instant::now(), peer, reason);
    }

    /// Lets go of everything a peer held.
    fn forget(&mut self, peer: PeerId) {
        let Some(state) = self.open.remove(&peer) else { return };
        for track in state.tracks {
            self.layers.remove(&track);
        }
        if let Some(source) = state.source {
            (self.media)(MediaCommand::Release { source, viewer: peer });
        }
    }

    /// Gives up a peer's demand on a source.
    fn release(&mut self, peer: PeerId) {
        if let Some(source) = self.open.get_mut(&peer).and_then(|state| state.source.take()) {
            (self.media)(MediaCommand::Release { source, viewer: peer });
        }
    }

    fn pass(&mut self, session: SessionId, word: Told) {
        let Some(line) = self.sessions.get(&session) else { return };
        match line.outbox.try_send(word) {
            Ok(()) => {}
            // its driver is gone; `Dropped` is on its way
            Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                warn!(%session, queue = OUTBOX, "session does not read; ended");
                self.hang_up(session);
                self.rooms.handle(Instant::now(), session, RequestId(0), Command::Leave);
            }
        }
    }
}

impl OpenPeer {
    /// The `msid` of what is played: tracks of one stream share it.
    fn owner_label(&self) -> String {
        match &self.purpose {
            Purpose::Play { owner, .. } => owner.to_string(),
            Purpose::Ingest { .. } => self.member.to_string(),
            Purpose::Meet(meet) => meet.with.map_or_else(|| self.room.to_string(), |with| with.to_string()),
        }
    }
}

/// What a viewer can take: the codecs of the sections it receives on. Without an offer Portico proposes what everyone plays.
fn wants_of(offer: Option<&negotiate::OfferSummary>) -> Wants {
    let Some(offer) = offer else {
        return Wants { video: vec![Codec::H264, Codec::VP8], audio: vec![Codec::Opus] };
    };
    let codecs = |kind: MediaKind| {
        let mut found = Vec::new();
        for format in offer.sections.iter().filter(|s| s.kind == kind && s.receives).flat_map(|s| &s.formats) {
            if !found.contains(&format.codec) {
                found.push(format.codec);
            }
        }
        found
    };
    Wants { video: codecs(MediaKind::Video), audio: codecs(MediaKind::Audio) }
}

/// A format of a codec that every far end with the codec takes.
fn plain_format(codec: Codec) -> TrackFormat {
    match codec {
        Codec::H264 => TrackFormat::h264_baseline(),
        codec => TrackFormat::plain(codec),
    }
}

fn log_report(report: &Report) {
    match report {
        Report::RoomOpened { room } => info!(%room, "room opened"),
        Report::RoomClosed { room } => info!(%room, "room closed"),
        Report::MemberJoined { room, member, dialect, size, .. } => {
            info!(%room, %member, dialect = dialect.as_str(), size, "member joined")
        }
        Report::MemberLost { room, member } => info!(%room, %member, "member lost; its place is kept"),
        Report::MemberResumed { room, member } => info!(%room, %member, "member resumed"),
        Report::MemberLeft { room, member, dialect, size, reason, .. } => {
            info!(%room, %member, dialect = dialect.as_str(), size, %reason, "member left");
        }
        Report::StreamUp { room, member, stream } => info!(%room, %member, %stream, "stream up"),
        Report::StreamDown { room, member, stream } => info!(%room, %member, %stream, "stream down"),
        Report::PeerUp { room, member, peer } => info!(%room, %member, %peer, "peer up"),
        Report::Remark { room, member, remark } => info!(%room, %member, ?remark, "member remarks"),
        Report::PeerDown { room, member, peer, reason } => info!(%room, %member, %peer, %reason, "peer down"),
    }
}
