//! The peers: what rooms want opened, fed and closed, and what the media plane and the sources say of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::{Owner, channels};
use crate::forward::{Layer, Layers};
use crate::media::mix::{MixFrom, MixInput};
use crate::media::{MediaCommand, PlannedTrack, SourceError, Wants};
use crate::peer::{DataSpec, PeerCommand, PeerEvent, PeerSpec, Receive, SendTrack, negotiate};
use crate::room::{DialectName, EndReason, Feed, Framing, Meet, MixPart, OpenPeer, PeerUpdate, Playing, Purpose, TrackView, Via};
use crate::vocab::{Candidate, ChannelId, Codec, MediaKind, MemberId, PeerId, SourceName, TrackFormat, TrackId};

/// A member's peer must be connected within this time of its description.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// Candidates kept of a peer whose source is being opened; more are left out.
const EARLY_CANDIDATES: usize = 64;

/// A source's answer to a demand.
pub(super) struct Demanded {
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

/// What a peer holds besides itself.
#[derive(Default)]
pub(super) struct OpenState {
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
    /// It carries lanes.
    is_trunk: bool,
    /// The trunk that it is a lane of.
    trunk: Option<PeerId>,
    /// The channel that its member's session reads itself, once it is open; `None` where it reads none.
    pub(super) own_channel: Option<Option<ChannelId>>,
}

impl Owner {
    pub(super) fn handle_peer(&mut self, event: PeerEvent) {
        let now = Instant::now();
        let update = match event {
            PeerEvent::Description { peer, sdp } => PeerUpdate::Described { peer, sdp },
            PeerEvent::LaneSent { lane, tracks } => PeerUpdate::Lane { peer: lane, tracks },
            PeerEvent::LaneTaken { lane, tracks } => {
                self.handle_peer(PeerEvent::Tracks { peer: lane, tracks });
                PeerUpdate::Lane { peer: lane, tracks: Vec::new() }
            }
            PeerEvent::LaneRefused { lane, reason } => return self.refuse(lane, reason),
            // what a trunk's own section would bring: nothing ever comes by it
            PeerEvent::Tracks { peer, .. } if self.open.get(&peer).is_some_and(|state| state.is_trunk) => return,
            PeerEvent::Tracks { peer, tracks } => {
                let Some(state) = self.open.get_mut(&peer) else { return };
                for gone in state.tracks.drain(..) {
                    self.layers.remove(&gone);
                }
                state.tracks = tracks.iter().map(|received| received.track).collect();
                self.layers.extend(tracks.iter().map(|received| (received.track, received.layers.clone())));
                let sound = tracks.iter().filter(|received| received.layers.format().codec.kind() == MediaKind::Audio);
                let sound = sound.map(|received| (received.track, received.layers.clone())).collect();
                let room = self.rooms.owner_of(peer).map(|(room, ..)| room);
                (self.media)(MediaCommand::Heard { room, peer, tracks: sound });
                let view = |track: TrackId, layers: &Layers| TrackView {
                    track,
                    kind: layers.format().codec.kind(),
                    format: layers.format().clone(),
                };
                PeerUpdate::Tracks {
                    peer,
                    tracks: tracks.iter().map(|received| view(received.track, &received.layers)).collect(),
                }
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
            event @ (PeerEvent::ChannelOpen { .. }
            | PeerEvent::ChannelMessage { .. }
            | PeerEvent::ChannelDrained { .. }
            | PeerEvent::MessageRefused { .. }
            | PeerEvent::ChannelClosed { .. }) => return self.handle_channel(now, event),
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

    pub(super) fn handle_demanded(&mut self, demanded: Demanded) {
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
                Ok(tracks.into_iter().map(|track| SendTrack { layers: track.layers, stream_label: label.clone() }).collect())
            }
            Err(error) => {
                warn!(%source, %peer, %error, "source cannot be played");
                Err(match error {
                    SourceError::Refused(_) => EndReason::NoCommonCodec,
                    SourceError::Overloaded(_) => EndReason::Overloaded,
                    _ => EndReason::SourceFailed,
                })
            }
        };
        match (demand, send) {
            (Demand::Open(opening), Ok(send)) => self.open_at_shard(*opening, send),
            (Demand::Open(opening), Err(_)) if matches!(opening.asked.purpose, Purpose::Meet(_)) => {
                // it carries more than the source; unless it was given another since
                if self.open.get(&peer).is_some_and(|state| state.fed == 0) {
                    self.release(peer);
                }
                self.open_at_shard(*opening, Vec::new());
            }
            (Demand::Open(_), Err(reason)) => self.refuse(peer, reason),
            (Demand::Feed { .. }, _) if stale => {}
            (Demand::Feed { .. }, Ok(send)) => self.feed_at_shard(peer, send),
            (Demand::Feed { .. }, Err(_)) => self.release(peer),
        }
    }

    pub(super) fn open_peer(&mut self, asked: Box<OpenPeer>) {
        let (is_trunk, trunk) = (asked.purpose == Purpose::Trunk, asked.via.as_ref().map(|via| via.trunk));
        self.open.insert(asked.peer, OpenState { is_trunk, trunk, ..OpenState::default() });
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
            Purpose::Trunk => true,
            Purpose::Meet(meet) => meets_to_receive(meet, summary.as_ref()),
        };
        let receive = receive.then(|| match &asked.purpose {
            // no media passes but by lanes; the section is there so that keys for media are agreed on
            Purpose::Trunk => Receive { video: Vec::new(), audio: true },
            // Portico's own offer asks for what is expected, and for nothing else
            Purpose::Meet(meet) if summary.is_none() => {
                let video = if meet.expects.contains(&MediaKind::Video) { self.publish_codecs.clone() } else { Vec::new() };
                Receive { video, audio: meet.expects.contains(&MediaKind::Audio) }
            }
            _ => Receive { video: self.publish_codecs.clone(), audio: true },
        });
        let slots = match &asked.purpose {
            Purpose::Trunk => vec![TrackFormat::opus()],
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
                if wants.video.is_empty() && wants.audio.is_empty() && matches!(opening.asked.purpose, Purpose::Meet(_)) {
                    // a connection for words alone asks nothing of a camera
                    return self.open_at_shard(opening, Vec::new());
                }
                let (peer, member) = (opening.asked.peer, opening.asked.member);
                self.demand(peer, member, source, wants, Demand::Open(Box::new(opening)));
            }
        }
    }

    /// Asks a source for its layers; what comes of it is dealt with by [`Self::handle_demanded`].
    fn demand(&mut self, peer: PeerId, member: MemberId, source: SourceName, wants: Wants, demand: Demand) {
        let (reply, answer) = oneshot::channel();
        if let Some(state) = self.open.get_mut(&peer) {
            state.source = Some(source.clone());
        }
        let listener = Some(member);
        (self.media)(MediaCommand::Demand { source: source.clone(), viewer: peer, listener, wants, reply });
        self.demands.push(Box::pin(async move {
            let outcome = answer.await.unwrap_or_else(|_| Err(SourceError::Failed("the sources are stopping".into())));
            Demanded { peer, source, demand, outcome }
        }));
    }

    fn published(&self, tracks: &[TrackId], label: &str) -> Vec<SendTrack> {
        let track = |id| Some(SendTrack { layers: self.layers.get(id)?.clone(), stream_label: label.into() });
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
                    MediaKind::Audio => vec![TrackFormat::opus()],
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

    /// From now on these are mixed.
    pub(super) fn mix(&mut self, source: SourceName, parts: Vec<MixPart>) {
        let input = |part: MixPart| MixInput {
            member: part.member,
            stream: part.stream,
            label: part.label,
            from: match part.feed {
                Feed::Source(source) => MixFrom::Source(source),
                Feed::Published(tracks) => {
                    MixFrom::Published(tracks.iter().filter_map(|track| self.layers.get(track).cloned()).collect())
                }
            },
            turns: part.turns,
        };
        let inputs = parts.into_iter().map(input).collect();
        (self.media)(MediaCommand::Mix { source, inputs });
    }

    /// Sends a peer something else from now on, or nothing.
    pub(super) fn feed_peer(&mut self, peer: PeerId, plays: Option<Playing>) {
        self.release(peer);
        let Some(state) = self.open.get_mut(&peer) else { return };
        state.fed += 1;
        let fed = state.fed;
        match plays.map(|plays| (plays.owner.to_string(), plays.feed)) {
            None => self.feed_at_shard(peer, Vec::new()),
            Some((label, Feed::Published(tracks))) => self.feed_at_shard(peer, self.published(&tracks, &label)),
            Some((label, Feed::Source(source))) => {
                let wants = self.open.get(&peer).map(|state| state.wants.clone()).unwrap_or_default();
                // a peer that is fed has an owner
                let Some((_, member, _)) = self.rooms.owner_of(peer) else { return };
                self.demand(peer, member, source, wants, Demand::Feed { label, fed });
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

    fn open_at_shard(&mut self, opening: Opening, send: Vec<SendTrack>) {
        let Opening { asked, receive, slots } = opening;
        let label = asked.owner_label();
        let Some(state) = self.open.get_mut(&asked.peer) else { return };
        state.at_shard = true;
        if let Some(Via { trunk, tracks }) = asked.via {
            return (self.peers)(match asked.purpose {
                Purpose::Ingest { .. } => PeerCommand::TakeLane { peer: trunk, lane: asked.peer, tracks },
                _ => PeerCommand::SendLane { peer: trunk, lane: asked.peer, send },
            });
        }
        let mut send = state.waiting.take().unwrap_or(send);
        let held = |kind: MediaKind| move |track: &SendTrack| track.layers.format().codec.kind() == kind;
        for slot in slots {
            if !send.iter().any(held(slot.codec.kind())) {
                send.push(SendTrack { layers: Arc::new(Layer::idle(slot)).into(), stream_label: label.clone() });
            }
        }
        // what is sent later must fit what is agreed now
        state.wants = Wants::default();
        for codec in send.iter().map(|track| track.layers.format().codec) {
            match codec.kind() {
                MediaKind::Video => state.wants.video.push(codec),
                MediaKind::Audio => state.wants.audio.push(codec),
            }
        }
        let is_trunk = asked.purpose == Purpose::Trunk;
        let (data, connection) = match asked.purpose {
            Purpose::Meet(meet) => {
                // what a session reads itself is not the desk's
                let desks = (meet.framing != Framing::Own).then(|| channels::connection(asked.member, &meet));
                (Some(DataSpec { open: meet.channels }), desks)
            }
            Purpose::Ingest { .. } | Purpose::Play { .. } | Purpose::Trunk => (None, None),
        };
        // a bridge goes to a server, which may offer itself; and there may be several connections between the same two
        let answers = is_trunk && asked.offer.is_some();
        let own_port = asked.dialect == DialectName::Bridge && !answers;
        let spec = PeerSpec { peer: asked.peer, offer: asked.offer, send, receive, data, connect_limit: CONNECT_LIMIT, own_port };
        let candidates = std::mem::take(&mut state.candidates);
        let peer = asked.peer;
        (self.peers)(PeerCommand::Open(Box::new(spec)));
        for candidate in candidates {
            (self.peers)(PeerCommand::AddCandidate { peer, candidate });
        }
        if let Some(connection) = connection
            && let Err(error) = self.desk.open(peer, connection)
        {
            // its member is gone: so is the peer, in a moment
            debug!(%peer, %error, "no channels");
        }
    }

    /// Before the media plane knows the peer, because its source is still being opened, candidates wait here.
    pub(super) fn add_candidate(&mut self, peer: PeerId, candidate: Candidate) {
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

    /// Ends a peer by the room's word.
    pub(super) fn close(&mut self, peer: PeerId) {
        let trunk = self.open.get(&peer).and_then(|state| state.trunk);
        self.forget(peer);
        (self.peers)(match trunk {
            Some(trunk) => PeerCommand::EndLane { peer: trunk, lane: peer },
            None => PeerCommand::Close { peer },
        });
    }

    /// Lets go of everything a peer held.
    pub(super) fn forget(&mut self, peer: PeerId) {
        let Some(state) = self.open.remove(&peer) else { return };
        self.desk.close(Instant::now(), peer);
        if !state.tracks.is_empty() {
            (self.media)(MediaCommand::Heard { room: None, peer, tracks: Vec::new() });
        }
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
}

impl OpenPeer {
    /// The `msid` of what is played: tracks of one stream share it.
    fn owner_label(&self) -> String {
        match &self.purpose {
            Purpose::Play { owner, .. } => owner.to_string(),
            Purpose::Ingest { .. } | Purpose::Trunk => self.member.to_string(),
            Purpose::Meet(meet) => meet.with.map_or_else(|| self.room.to_string(), |with| with.to_string()),
        }
    }
}

/// Whether a connection that stands for somebody is to receive.
fn meets_to_receive(meet: &Meet, offer: Option<&negotiate::OfferSummary>) -> bool {
    let brings = match offer {
        Some(offer) => offer.sections.iter().any(|section| section.sends),
        None => !meet.expects.is_empty(),
    };
    meet.publish.is_some() && brings
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
