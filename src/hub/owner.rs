//! The hub's task: one loop that owns the rooms and everything that is known of peers and sources.

mod channels;
mod peers;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use channels::{Dropped, store_event};
use peers::{Demanded, OpenState};

use super::{HubGone, HubSession, PeerOwner, Question, Reports, RoomView, Shown, ToHub, Told};
use crate::channel::call::Caller;
use crate::channel::{CallError, CallId, ClipsConfig, Desk, Reply, RpcConfig, StoreCommand, StoreEvent};
use crate::forward::Layers;
use crate::media::{MediaCommand, MediaEvent};
use crate::peer::{PeerCommand, PeerEvent};
use crate::room::{Command, Counts, Effect, Feed, Notice, Refusal, Report, Rooms, SourceUpdate};
use crate::signalling::{Realm, RealmId, RealmOutput};
use crate::vocab::{Backlog, Codec, MemberId, NumberMap, PeerId, RequestId, RoomId, SessionId, StreamName, TrackId};

/// Requests waiting for the hub. Senders wait when it is full: the hub only decides, so it is never full for long.
const INBOX: usize = 1024;
/// Requests taken in one turn, before everything else that waits gets its turn.
const BATCH: usize = 32;
/// Words waiting for one session; long ones are bounded in bytes as well ([`MOST_BYTES`]). A session that is this far behind
/// does not read any more and is ended.
const OUTBOX: usize = 1024;
/// Most bytes of long words that wait for one session.
const MOST_BYTES: usize = 1 << 20;
/// Words below this are bounded by their number alone.
const LONG: usize = 256;
/// Reports kept for a slow watcher; older ones are lost to it, and it is told.
const REPORTS: usize = 1024;
/// How often the ends of tokens are compared with the wall clock.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// Hears every report. See [`HubParts::witness`].
pub type Witness = Box<dyn Fn(&Report) + Send>;

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
    /// What the data channels carry.
    pub channels: ChannelParts,
    /// Hears every report, before anybody else can; `None` where nobody needs all of them. Must not wait: the rooms would.
    pub witness: Option<Witness>,
    /// What the mounts keep across their connections; a mount's sessions name theirs by its place here.
    pub realms: Vec<Box<dyn Realm>>,
}

/// What the desk of the data channels works with.
pub struct ChannelParts {
    /// What clips may cost.
    pub clips: ClipsConfig,
    /// Which services answer requests.
    pub rpc: RpcConfig,
    /// Where ended clips are kept; `None`: nowhere, they are lost.
    pub store: Option<StorePort>,
    /// Asks the services; `None`: none can be asked.
    pub caller: Option<Caller>,
}

/// The way to the store of clips ([`channel::store::run`](crate::channel::store::run)).
pub struct StorePort {
    /// Orders. Bounded: what does not fit is told to the desk as lost.
    pub orders: mpsc::Sender<StoreCommand>,
    /// Its answers. Bounded: the store waits.
    pub events: mpsc::Receiver<StoreEvent>,
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
            sessions: NumberMap::default(),
            witness: parts.witness,
            realms: parts.realms,
            open: NumberMap::default(),
            layers: HashMap::new(),
            demands: FuturesUnordered::new(),
            desk: Desk::new(parts.channels.clips, parts.channels.rpc),
            store: parts.channels.store,
            caller: parts.channels.caller,
            calls: JoinSet::new(),
            under_way: HashMap::new(),
            dropped: Dropped::default(),
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

    /// Where the media of a room's stream comes from now; with `of` that member's. Rooms and streams that there are not are refused.
    pub async fn shown(&self, room: RoomId, of: Option<MemberId>, stream: StreamName) -> Result<Result<Shown, Refusal>, HubGone> {
        self.ask(|reply| Question::Shown { room, of, stream, reply }).await
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

    /// News of sources: which there are, in which rooms. Returns when everything that follows for those who play them was ordered.
    pub async fn update_sources(&self, updates: Vec<SourceUpdate>) -> Result<(), HubGone> {
        self.ask(|reply| Question::Sources { updates, reply }).await
    }

    /// Takes over other settings of what the data channels carry; what is under way goes on as it began.
    /// `caller` asks the services.
    pub async fn configure_channels(&self, clips: ClipsConfig, rpc: RpcConfig, caller: Option<Caller>) -> Result<(), HubGone> {
        self.ask(|reply| Question::Channels { clips, rpc, caller, reply }).await
    }

    /// What the data channels carried.
    pub async fn channel_figures(&self) -> Result<crate::channel::Figures, HubGone> {
        self.ask(Question::ChannelFigures).await
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

struct Owner {
    rooms: Rooms,
    peers: Box<dyn Fn(PeerCommand) + Send>,
    media: Box<dyn Fn(MediaCommand) + Send>,
    publish_codecs: Vec<Codec>,
    reports: broadcast::Sender<Report>,
    witness: Option<Witness>,
    sessions: NumberMap<SessionId, Line>,
    realms: Vec<Box<dyn Realm>>,
    /// Peers that `rooms` has and that were not closed yet.
    open: NumberMap<PeerId, OpenState>,
    /// Published tracks.
    layers: HashMap<TrackId, Layers>,
    /// Demands that the sources have not answered yet.
    demands: FuturesUnordered<BoxFuture<'static, Demanded>>,
    /// What the data channels carry.
    desk: Desk,
    store: Option<StorePort>,
    caller: Option<Caller>,
    /// Requests to services under way. Bounded by the desk: 256. Ended with the hub.
    calls: JoinSet<(CallId, Result<Reply, CallError>)>,
    /// Their tasks.
    under_way: HashMap<CallId, AbortHandle>,
    dropped: Dropped,
}

/// The way to a session.
struct Line {
    outbox: mpsc::Sender<Told>,
    backlog: Backlog,
    /// Its mount's realm; checked when the session was opened.
    realm: Option<usize>,
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
        let mut asked = Vec::with_capacity(BATCH);
        // kept, and moved only when something is due earlier: a timer of its own for every message would cost as much as the message
        let mut alarm = pin!(sleep_until(self.next_timeout().into()));
        loop {
            let timeout = self.next_timeout();
            if timeout < alarm.deadline().into_std() {
                alarm.as_mut().reset(timeout.into());
            }
            // every branch is cancel-safe: receivers, a stream and a sleep
            tokio::select! {
                count = inbox.recv_many(&mut asked, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    let now = Instant::now();
                    for asked in asked.drain(..) {
                        if let ToHub::Ask(Question::Stop(reply)) = asked {
                            self.rooms.stop(now);
                            self.carry_out();
                            let _ = reply.send(());
                            return;
                        }
                        self.handle(now, asked);
                        self.carry_out();
                    }
                }
                Some(event) = peer_events.recv() => self.handle_peer(event),
                Some(event) = media_events.recv() => self.handle_media(event),
                Some(demanded) = self.demands.next(), if !self.demands.is_empty() => self.handle_demanded(demanded),
                Some(event) = store_event(&mut self.store) => self.desk.handle_store(Instant::now(), event),
                Some(answered) = self.calls.join_next(), if !self.calls.is_empty() => self.handle_answered(answered),
                _ = clock_check.tick() => self.rooms.set_wall_clock(Instant::now(), SystemTime::now()),
                () = alarm.as_mut() => {
                    self.handle_timeout();
                    alarm.as_mut().reset(self.next_timeout().into());
                }
            }
            self.carry_out();
        }
    }

    fn next_timeout(&self) -> Instant {
        let realms = self.realms.iter().filter_map(|realm| realm.next_timeout());
        realms
            .chain(self.rooms.next_timeout())
            .chain(self.desk.next_timeout())
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        self.rooms.handle_timeout(now);
        self.desk.handle_timeout(now);
        for realm in &mut self.realms {
            if realm.next_timeout().is_some_and(|at| at <= now) {
                realm.handle_timeout(now);
            }
        }
    }

    fn handle(&mut self, now: Instant, asked: ToHub) {
        match asked {
            ToHub::Open(session, outbox, realm) => {
                let realm = realm.map(|realm| realm.0).filter(|index| *index < self.realms.len());
                self.sessions.insert(session, Line { outbox, backlog: Backlog::default(), realm });
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
            Question::Shown { room, of, stream, reply } => {
                let shown = self.rooms.shown(&room, of, &stream).map(|feed| match feed {
                    Feed::Source(source) => Shown::Source(source),
                    Feed::Published(tracks) => Shown::Published(
                        tracks
                            .iter()
                            .filter_map(|track| self.layers.get(track).map(|layers| Arc::clone(layers.flowing(now))))
                            .collect(),
                    ),
                });
                let _ = reply.send(shown);
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
                self.seat_all();
                let _ = reply.send(());
            }
            Question::Sources { updates, reply } => {
                for update in updates {
                    self.rooms.handle_source(now, update);
                }
                self.carry_out();
                let _ = reply.send(());
            }
            Question::RealmNames(realm, reply) => {
                let _ = reply.send(self.realms.get(realm.0).map(|realm| realm.names()).unwrap_or_default());
            }
            Question::Channels { clips, rpc, caller, reply } => {
                self.desk.configure(clips, rpc);
                self.caller = caller;
                let _ = reply.send(());
            }
            Question::ChannelFigures(reply) => {
                let _ = reply.send(self.desk.figures());
            }
            Question::Stop(reply) => {
                let _ = reply.send(());
            }
        }
    }

    fn handle_media(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Failed { source, error } => warn!(%source, %error, "source failed; trying again"),
            MediaEvent::Recovered { source } => info!(%source, "source runs again"),
        }
    }

    /// Carries out everything the rooms and the realms have decided on.
    fn carry_out(&mut self) {
        self.carry_out_rooms();
        // words over a channel are told by the rooms; a word that finds its session's queue full ends that session, which the
        // rooms tell the others
        while self.carry_out_desk() | self.carry_out_realms() {
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
                Effect::Notify(session, notice) => self.notify(session, notice),
                Effect::EndSession(session, reason) => {
                    debug!(%session, %reason, "session ended");
                    self.hang_up(session);
                }
                Effect::OpenPeer(asked) => self.open_peer(asked),
                Effect::DescribePeer { peer, sdp } => (self.peers)(PeerCommand::Describe { peer, sdp }),
                Effect::AddCandidate { peer, candidate } => self.add_candidate(peer, candidate),
                Effect::FeedPeer { peer, plays } => self.feed_peer(peer, plays),
                Effect::Mix { mix, parts } => self.mix(mix, parts),
                Effect::Say { from, to, text, .. } => self.desk.say(Instant::now(), from, to, text),
                Effect::Transmit { peer, message } => {
                    if let Some(channel) = self.open.get(&peer).and_then(|state| state.own_channel?) {
                        (self.peers)(PeerCommand::SendMessage { peer, channel, message });
                    }
                }
                Effect::ClosePeer { peer, reason } => {
                    debug!(%peer, %reason, "peer closed");
                    self.close(peer);
                }
                Effect::Report(report) => {
                    log_report(&report);
                    self.seat(&report);
                    if let Some(witness) = &self.witness {
                        witness(&report);
                    }
                    // nobody watching is fine
                    let _ = self.reports.send(report);
                }
            }
        }
    }

    fn notify(&mut self, session: SessionId, notice: Notice) {
        let bytes = notice.bytes();
        if bytes < LONG {
            return self.pass(session, Told::Notice(Box::new(notice)));
        }
        let Some(line) = self.sessions.get(&session) else { return };
        match line.backlog.take(bytes, MOST_BYTES) {
            Some(share) => self.pass(session, Told::Long(Box::new((notice, share)))),
            None => self.give_up(session),
        }
    }

    fn pass(&mut self, session: SessionId, word: Told) {
        let Some(line) = self.sessions.get(&session) else { return };
        match line.outbox.try_send(word) {
            Ok(()) => {}
            // its driver is gone; `Dropped` is on its way
            Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.give_up(session),
        }
    }

    /// Ends a session for which too much waits.
    fn give_up(&mut self, session: SessionId) {
        warn!(%session, words = OUTBOX, bytes = MOST_BYTES, "session does not read; ended");
        self.hang_up(session);
        self.rooms.handle(Instant::now(), session, RequestId(0), Command::Leave);
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
