//! The hub with ports that only note what they are told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::channel::{ClipsConfig, RpcConfig};
use crate::forward::Layer;
use crate::media::{MediaCommand, MediaEvent, PlannedTrack, SourceError};
use crate::peer::{PeerCommand, PeerEvent, PeerSpec};
use crate::room::{
    DialectName, EndReason, Facts, Framing, Joining, Meeting, Refusal, RoomConfig, Rooms, RoomsConfig, SourceUpdate,
    StreamChoice, Topology,
};
use crate::vocab::{
    Candidate, ChannelId, Codec, DataMessage, Grant, MediaKind, Right, Rights, Sdp, SourceName, StreamName, TrackFormat, TrackId,
};

/// Browsers' offers, cut down to what matters here.
const PLAY_OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
a=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";

/// Why the test gives up waiting; far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    hub: Hub,
    orders: mpsc::UnboundedReceiver<PeerCommand>,
    demands: mpsc::UnboundedReceiver<MediaCommand>,
    peer_events: mpsc::UnboundedSender<PeerEvent>,
    _media_events: mpsc::UnboundedSender<MediaEvent>,
    asked: Arc<Mutex<u64>>,
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

fn camera() -> SourceName {
    SourceName::new("camera").unwrap()
}

/// A hub with the source `camera` in the room `main`.
fn world() -> World {
    watched(None)
}

/// The same with somebody who hears every report.
fn watched(witness: Option<Witness>) -> World {
    let (order, orders) = mpsc::unbounded_channel();
    let (demand, demands) = mpsc::unbounded_channel();
    let (peer_events, peer_news) = mpsc::unbounded_channel();
    let (media_events, media_news) = mpsc::unbounded_channel();
    let listed = RoomConfig {
        name: room("main"),
        topology: Topology::Sfu,
        max_members: None,
        sources: vec![camera()],
        mix: Default::default(),
    };
    let (hub, _task) = Hub::start(HubParts {
        rooms: Rooms::new(RoomsConfig::default(), vec![listed]),
        peers: Box::new(move |it| drop(order.send(it))),
        peer_events: peer_news,
        media: Box::new(move |it| drop(demand.send(it))),
        media_events: media_news,
        publish_codecs: vec![Codec::VP8],
        sources: vec![SourceUpdate::Present { source: camera(), rooms: vec![room("main")], kinds: vec![MediaKind::Video] }],
        channels: ChannelParts { clips: ClipsConfig::default(), rpc: RpcConfig::default(), store: None, caller: None },
        witness,
        realms: Vec::new(),
    });
    World { hub, orders, demands, peer_events, _media_events: media_events, asked: Arc::default() }
}

impl World {
    fn number(&self) -> RequestId {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        RequestId(*asked)
    }

    async fn ask(&self, session: &HubSession, command: Command) -> RequestId {
        let req = self.number();
        session.send(req, command).await.unwrap();
        req
    }

    /// A member of a room.
    async fn join(&self, name: &str, dialect: DialectName) -> HubSession {
        self.join_with(name, dialect, Grant::all("test")).await
    }

    async fn join_with(&self, name: &str, dialect: DialectName, grant: Grant) -> HubSession {
        let mut session = self.hub.open_session().await.unwrap();
        let joining = Joining {
            room: room(name),
            user_id: "anna".into(),
            dialect,
            remote: None,
            grant,
            visible: dialect != DialectName::Whep,
            facts: Facts::default(),
            opens: Topology::Sfu,
            dialect_limit: None,
            replaces_lost: false,
        };
        self.ask(&session, Command::Join(Box::new(joining))).await;
        assert!(matches!(next(&mut session).await, Notice::Welcome(_)));
        session
    }

    async fn play(&self, session: &HubSession, offer: &str) -> (PeerId, RequestId) {
        let peer = PeerId::next();
        let of = StreamChoice::Default;
        let req = self.ask(session, Command::Play { peer, of, offer: Some(Sdp::offer(offer)) }).await;
        (peer, req)
    }
}

trait Inbox<T> {
    fn take(&mut self) -> impl Future<Output = Option<T>>;
}
impl Inbox<Notice> for HubSession {
    async fn take(&mut self) -> Option<Notice> {
        self.notice().await
    }
}
impl<T> Inbox<T> for mpsc::UnboundedReceiver<T> {
    async fn take(&mut self) -> Option<T> {
        self.recv().await
    }
}

async fn next<T>(inbox: &mut impl Inbox<T>) -> T {
    tokio::time::timeout(PATIENCE, inbox.take()).await.expect("something within the patience").expect("an open channel")
}

#[tokio::test]
async fn a_viewers_codecs_reach_the_planner_and_its_layers_the_peer() {
    let mut world = world();
    let viewer = world.join("main", DialectName::Whep).await;
    let (peer, _) = world.play(&viewer, PLAY_OFFER).await;
    let MediaCommand::Demand { source, viewer: who, wants, reply, .. } = next(&mut world.demands).await else {
        panic!("no demand")
    };
    assert_eq!((source, who), (camera(), peer));
    assert_eq!((wants.video, wants.audio), (vec![Codec::VP8], vec![]));
    assert!(reply.send(Ok(Vec::<PlannedTrack>::new())).is_ok());
    let PeerCommand::Open(spec) = next(&mut world.orders).await else { panic!("no peer opened") };
    assert_eq!((spec.peer, spec.receive.is_none()), (peer, true));
}

#[tokio::test]
async fn a_source_that_cannot_be_opened_refuses_the_request() {
    let mut world = world();
    let mut viewer = world.join("main", DialectName::Whep).await;
    let (peer, asked) = world.play(&viewer, PLAY_OFFER).await;
    let MediaCommand::Demand { reply, .. } = next(&mut world.demands).await else { panic!("no demand") };
    assert!(reply.send(Err(SourceError::Busy { what: "/dev/video0".into() })).is_ok());
    let Notice::Refused { req, why } = next(&mut viewer).await else { panic!("no refusal") };
    assert_eq!((req, why), (asked, Refusal::SourceFailed));
    let MediaCommand::Release { viewer, .. } = next(&mut world.demands).await else { panic!("the demand stays") };
    assert_eq!(viewer, peer);
}

#[tokio::test]
async fn a_viewer_that_leaves_while_the_source_opens_is_forgotten() {
    let mut world = world();
    let viewer = world.join("main", DialectName::Whep).await;
    let (peer, _) = world.play(&viewer, PLAY_OFFER).await;
    let MediaCommand::Demand { reply, .. } = next(&mut world.demands).await else { panic!("no demand") };
    drop(viewer);
    let MediaCommand::Release { viewer, .. } = next(&mut world.demands).await else { panic!("the demand stays") };
    assert_eq!(viewer, peer);
    // the answer comes too late: no peer is opened for nobody
    assert!(reply.send(Ok(Vec::<PlannedTrack>::new())).is_ok());
    assert!(world.hub.peer_owners().await.unwrap().is_empty());
    while let Ok(order) = world.orders.try_recv() {
        assert!(!matches!(order, PeerCommand::Open(_)), "a peer was opened for a viewer that left");
    }
}

#[tokio::test]
async fn an_offer_that_is_no_sdp_is_refused_without_asking_anyone() {
    let mut world = world();
    let mut viewer = world.join("main", DialectName::Whep).await;
    let (_, asked) = world.play(&viewer, "hello").await;
    let Notice::Refused { req, why } = next(&mut viewer).await else { panic!("no refusal") };
    assert_eq!((req, why), (asked, Refusal::BadDescription));
    assert!(world.demands.try_recv().is_err() && world.orders.try_recv().is_err());
}

#[tokio::test]
async fn what_is_to_be_pulled_is_offered_to_be_received_without_channels() {
    let mut world = world();
    let session = world.join("yard", DialectName::Bridge).await;
    let peer = PeerId::next();
    world.ask(&session, Command::Publish { peer, stream: StreamName::new("main").unwrap(), offer: None }).await;
    let PeerCommand::Open(spec) = next(&mut world.orders).await else { panic!("not opened") };
    assert!(spec.offer.is_none() && spec.send.is_empty() && spec.data.is_none());
    assert!(spec.receive.is_some_and(|receive| receive.audio && !receive.video.is_empty()));
}

#[tokio::test]
async fn what_a_bridge_opens_has_a_port_of_its_own_whoever_offers() {
    let mut world = world();
    let mut sessions = Vec::new();
    for (dialect, own) in [(DialectName::Bridge, true), (DialectName::Page, false)] {
        sessions.push(world.join("yard", dialect).await);
        let Some(session) = sessions.last() else { panic!("none") };
        let (peer, stream) = (PeerId::next(), StreamName::new("main").unwrap());
        world.ask(session, Command::Publish { peer, stream, offer: Some(Sdp::offer(PLAY_OFFER)) }).await;
        let PeerCommand::Open(spec) = next(&mut world.orders).await else { panic!("not opened") };
        assert_eq!((spec.own_port, spec.offer.is_some()), (own, true), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_later_description_that_is_refused_answers_its_request() {
    let mut world = world();
    let mut session = world.join("yard", DialectName::Page).await;
    let peer = PeerId::next();
    let stream = StreamName::new("main").unwrap();
    world.ask(&session, Command::Publish { peer, stream, offer: Some(Sdp::offer(PLAY_OFFER)) }).await;
    assert!(matches!(next(&mut world.orders).await, PeerCommand::Open(_)));
    world.peer_events.send(PeerEvent::Description { peer, sdp: Sdp::answer("a") }).unwrap();
    assert!(matches!(next(&mut session).await, Notice::Description { .. }));
    let asked = world.ask(&session, Command::Describe { peer, sdp: Sdp::offer("worse") }).await;
    assert!(matches!(next(&mut world.orders).await, PeerCommand::Describe { .. }));
    world.peer_events.send(PeerEvent::Rejected { peer, reason: EndReason::BadDescription }).unwrap();
    let Notice::Refused { req, why } = next(&mut session).await else { panic!("no refusal") };
    assert_eq!((req, why), (asked, Refusal::BadDescription));
}

#[tokio::test]
async fn a_session_that_never_reads_is_ended_and_hurts_nobody() {
    let world = world();
    let deaf = world.join("yard", DialectName::Page).await;
    // each member that comes and goes is two notices to the deaf one
    for _ in 0..600 {
        drop(world.join("yard", DialectName::Page).await);
    }
    let mut ended = false;
    for _ in 0..1000 {
        let rooms = world.hub.rooms().await.unwrap();
        ended = !rooms.iter().any(|it| it.room == room("yard"));
        if ended {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(ended, "the deaf session keeps its place");
    drop(deaf);
    world.join("yard", DialectName::Page).await;
}

#[tokio::test]
async fn long_words_wait_up_to_a_mebibyte_for_a_session_that_does_not_read() {
    let world = world();
    let mut speaker = world.join("yard", DialectName::Page).await;
    let mut reader = world.join("yard", DialectName::Page).await;
    let mut deaf = world.join("yard", DialectName::Page).await;
    let text = "x".repeat(16 * 1024);
    let mut said = 0;
    let left = async |reader: &mut HubSession| {
        let heard = notice(reader, |told| match told {
            Notice::Said { .. } => Some(false),
            Notice::MemberLeft { .. } => Some(true),
            _ => None,
        });
        heard.await
    };
    loop {
        let req = world.ask(&speaker, Command::Say { to: None, text: text.clone() }).await;
        said += 1;
        notice(&mut speaker, |told| matches!(told, Notice::Done { req: done } if done == req).then_some(())).await;
        // who reads hears each, and of the one that does not
        if left(&mut reader).await {
            break;
        }
        assert!(said < 100, "the deaf session keeps its place");
    }
    let fit = (1 << 20) / text.len();
    assert_eq!(said, fit + 2, "the one too many ended it, which the reader hears of before the next");
    let mut waiting = 0;
    while let Some(told) = deaf.notice().await {
        waiting += usize::from(matches!(told, Notice::Said { .. }));
    }
    assert_eq!(waiting, fit, "no more are kept");
    assert!(!left(&mut reader).await, "the next came as well");
}

#[tokio::test]
async fn stopping_ends_every_place_and_peer() {
    let mut world = world();
    let mut session = world.join("yard", DialectName::Page).await;
    let peer = PeerId::next();
    let stream = StreamName::new("main").unwrap();
    world.ask(&session, Command::Publish { peer, stream, offer: Some(Sdp::offer(PLAY_OFFER)) }).await;
    assert!(matches!(next(&mut world.orders).await, PeerCommand::Open(_)));
    world.hub.stop().await.unwrap();
    assert!(matches!(next(&mut world.orders).await, PeerCommand::Close { peer: closed } if closed == peer));
    assert!(matches!(next(&mut session).await, Notice::Ended { reason: EndReason::Stopping }));
    assert!(world.hub.open_session().await.is_err(), "a hub that stopped takes no sessions");
}

#[tokio::test]
async fn the_witness_hears_every_report_and_those_of_a_stop_before_it_is_answered() {
    let (tell, heard) = std::sync::mpsc::channel();
    let world = watched(Some(Box::new(move |report| drop(tell.send(report.clone())))));
    let mut behind = world.hub.reports();
    // more than is kept for those who only watch
    let stays = world.join("yard", DialectName::Tribe).await;
    for _ in 0..600 {
        let session = world.join("yard", DialectName::Page).await;
        world.ask(&session, Command::Leave).await;
    }
    world.hub.stop().await.unwrap();
    assert!(matches!(behind.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
    let reports: Vec<Report> = heard.try_iter().collect();
    let count = |fits: fn(&Report) -> bool| reports.iter().filter(|report| fits(report)).count();
    assert_eq!(count(|report| matches!(report, Report::MemberJoined { .. })), 602, "with the camera");
    assert!(count(|report| matches!(report, Report::MemberLeft { .. })) >= 601);
    assert_eq!(count(|report| matches!(report, Report::MemberLeft { dialect: DialectName::Tribe, .. })), 1);
    drop(stays);
}

// ---- connections that stand for somebody ----

/// A browser's offer of one video section, sent both ways.
fn both_ways() -> String {
    PLAY_OFFER.replace("a=recvonly", "a=sendrecv")
}

fn meeting(with: Option<MemberId>) -> Meeting {
    Meeting {
        peer: PeerId::next(),
        with,
        offer: Some(Sdp::offer(both_ways())),
        publish: Some(StreamName::new("main").unwrap()),
        play: true,
        named: None,
        expects: Vec::new(),
        outlasts: false,
        framing: Framing::Plain,
        channels: Vec::new(),
        broker: None,
        pair: None,
    }
}

fn layer(track: u64) -> Arc<Layer> {
    struct Deaf;
    impl crate::forward::KeyframeRequest for Deaf {
        fn request(&self) {}
    }
    let id = crate::vocab::LayerId { track: TrackId(track), index: 0 };
    Arc::new(Layer::new(id, TrackFormat::plain(Codec::VP8), crate::forward::Refresh::OnRequest, Box::new(Deaf)))
}

impl World {
    async fn meet(&mut self, session: &HubSession, meeting: Meeting) -> Box<PeerSpec> {
        self.ask(session, Command::Meet(Box::new(meeting))).await;
        let PeerCommand::Open(spec) = next(&mut self.orders).await else { panic!("no peer opened") };
        spec
    }

    /// Publishes `main` with one video track, which is up then.
    async fn publish(&mut self, session: &HubSession, track: u64) -> PeerId {
        let peer = PeerId::next();
        let stream = StreamName::new("main").unwrap();
        self.ask(session, Command::Publish { peer, stream, offer: Some(Sdp::offer(PLAY_OFFER)) }).await;
        assert!(matches!(next(&mut self.orders).await, PeerCommand::Open(_)));
        let tracks = vec![crate::peer::ReceivedTrack { track: TrackId(track), layers: layer(track).into() }];
        for event in [PeerEvent::Tracks { peer, tracks }, PeerEvent::Up { peer }] {
            self.peer_events.send(event).unwrap();
        }
        peer
    }

    fn channel_opens(&self, peer: PeerId) -> ChannelId {
        let channel = ChannelId::next();
        let open = PeerEvent::ChannelOpen {
            peer,
            channel,
            label: "x".into(),
            protocol: String::new(),
            ordered: true,
            ours: false,
            max_message: 65_536,
            buffered: Default::default(),
        };
        self.peer_events.send(open).unwrap();
        channel
    }

    fn channel_says(&self, peer: PeerId, channel: ChannelId, message: DataMessage) {
        let credit = crate::peer::Credit::detached();
        self.peer_events.send(PeerEvent::ChannelMessage { peer, channel, message, credit }).unwrap();
    }
}

/// The next notice that is one of these.
async fn notice<T>(session: &mut HubSession, pick: impl Fn(Notice) -> Option<T>) -> T {
    loop {
        if let Some(found) = pick(next(session).await) {
            return found;
        }
    }
}

async fn member_of(hub: &Hub, room_name: &str, dialect: DialectName) -> MemberId {
    let rooms = hub.rooms().await.unwrap();
    let members = rooms.into_iter().filter(|it| it.room == room(room_name)).flat_map(|it| it.members);
    members.map(|it| it.view).find(|view| view.dialect == dialect).expect("it is in the room").member
}

#[tokio::test]
async fn a_meeting_is_one_connection_that_receives_sends_and_has_channels() {
    let mut world = world();
    let page = world.join("yard", DialectName::Page).await;
    world.publish(&page, 77).await;
    let vamp = world.join("yard", DialectName::Vamp).await;
    let visitor = member_of(&world.hub, "yard", DialectName::Page).await;
    let spec = world.meet(&vamp, meeting(Some(visitor))).await;
    assert_eq!(spec.send.len(), 1);
    assert_eq!(spec.send[0].layers.first().id().track, TrackId(77));
    assert!(spec.receive.is_some() && spec.data.is_some());
    // one that is not to publish only sends
    let spec = world.meet(&vamp, Meeting { publish: None, ..meeting(Some(visitor)) }).await;
    assert!(spec.receive.is_none() && spec.send.len() == 1);
}

#[tokio::test]
async fn what_comes_up_later_takes_the_place_held_for_it() {
    let mut world = world();
    let page = world.join("yard", DialectName::Page).await;
    let vamp = world.join("yard", DialectName::Vamp).await;
    let visitor = member_of(&world.hub, "yard", DialectName::Page).await;
    let spec = world.meet(&vamp, meeting(Some(visitor))).await;
    assert!(spec.send.len() == 1 && spec.send[0].layers.first().is_idle());
    let source = world.publish(&page, 78).await;
    let PeerCommand::Feed { peer, send } = next(&mut world.orders).await else { panic!("not fed") };
    assert_eq!((peer, send.len(), send[0].layers.first().id().track), (spec.peer, 1, TrackId(78)));
    world.ask(&page, Command::Stop { peer: source }).await;
    assert!(matches!(next(&mut world.orders).await, PeerCommand::Close { peer } if peer == source));
    assert!(matches!(next(&mut world.orders).await, PeerCommand::Feed { peer, send } if peer == spec.peer && send.is_empty()));
}

#[tokio::test]
async fn a_meeting_lives_without_the_source_it_would_play() {
    let mut world = world();
    let vamp = world.join("main", DialectName::Vamp).await;
    let camera = member_of(&world.hub, "main", DialectName::Source).await;
    let asked = meeting(Some(camera));
    let peer = asked.peer;
    world.ask(&vamp, Command::Meet(Box::new(asked))).await;
    let MediaCommand::Demand { viewer, reply, .. } = next(&mut world.demands).await else { panic!("no demand") };
    assert_eq!(viewer, peer);
    // meanwhile a candidate comes: it waits for the connection
    let candidate = Candidate { candidate: "candidate:1".into(), sdp_mid: None, sdp_mline_index: None, username_fragment: None };
    world.ask(&vamp, Command::Candidate { peer, candidate }).await;
    world.hub.counts().await.unwrap();
    assert!(reply.send(Err(SourceError::Busy { what: "/dev/video0".into() })).is_ok());
    let PeerCommand::Open(spec) = next(&mut world.orders).await else { panic!("no peer opened") };
    assert!(spec.receive.is_some() && spec.send.iter().all(|track| track.layers.first().is_idle()));
    assert!(matches!(next(&mut world.orders).await, PeerCommand::AddCandidate { .. }));
    assert!(matches!(next(&mut world.demands).await, MediaCommand::Release { viewer, .. } if viewer == peer));
}

#[tokio::test]
async fn words_cross_between_a_channel_and_signalling() {
    let mut world = world();
    let mut page = world.join("yard", DialectName::Page).await;
    let vamp = world.join("yard", DialectName::Vamp).await;
    let (visitor, musician) =
        (member_of(&world.hub, "yard", DialectName::Page).await, member_of(&world.hub, "yard", DialectName::Vamp).await);
    let spec = world.meet(&vamp, meeting(Some(visitor))).await;
    let channel = world.channel_opens(spec.peer);
    world.channel_says(spec.peer, channel, DataMessage::text("hello page"));
    let said = |told| if let Notice::Said { from, text } = told { Some((from.member, text)) } else { None };
    assert_eq!(notice(&mut page, said).await, (musician, "hello page".into()));
    world.ask(&page, Command::Say { to: None, text: "hello all".into() }).await;
    let PeerCommand::SendMessage { peer, channel: by, message } = next(&mut world.orders).await else { panic!("not sent") };
    assert_eq!((peer, by, message), (spec.peer, channel, DataMessage::text("hello all")));
}

#[tokio::test]
async fn words_of_who_may_not_speak_are_not_taken() {
    let mut world = world();
    let mut page = world.join("yard", DialectName::Page).await;
    let viewer = world
        .join_with("yard", DialectName::Vamp, Grant { rights: Rights::NONE.with(Right::Subscribe), ..Grant::all("test") })
        .await;
    let spec = world.meet(&viewer, meeting(None)).await;
    assert!(spec.receive.is_none());
    let channel = world.channel_opens(spec.peer);
    world.channel_says(spec.peer, channel, DataMessage::text("psst"));
    let figures = loop {
        let figures = world.hub.channel_figures().await.unwrap();
        if figures.forbidden > 0 {
            break figures;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((figures.forbidden, figures.relayed), (1, 0));
    world.ask(&viewer, Command::Leave).await;
    // the next the page hears of is the leaving
    let left = notice(&mut page, |told| match told {
        Notice::MemberLeft { .. } => Some(true),
        Notice::Said { .. } => Some(false),
        _ => None,
    });
    assert!(left.await);
}

#[tokio::test]
async fn a_far_end_that_says_it_closes_is_hung_up() {
    let mut world = world();
    let mut caller = world.join("yard", DialectName::Peerjs).await;
    let asked = Meeting { framing: Framing::Json, ..meeting(None) };
    let spec = world.meet(&caller, asked).await;
    world.peer_events.send(PeerEvent::Description { peer: spec.peer, sdp: Sdp::answer("a") }).unwrap();
    let channel = world.channel_opens(spec.peer);
    world.channel_says(spec.peer, channel, DataMessage::binary(&br#"{"__peerData":{"type":"close"}}"#[..]));
    assert!(matches!(next(&mut world.orders).await, PeerCommand::Close { peer } if peer == spec.peer));
    let down = |told| if let Notice::PeerDown { peer, reason } = told { Some((peer, reason)) } else { None };
    assert_eq!(notice(&mut caller, down).await, (spec.peer, EndReason::Left));
}
