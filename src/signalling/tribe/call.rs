//! A client in its room: what it knows of the others, and its media sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;

use super::code::ErrorCode;
use super::config::TribeConfig;
use super::desk::{Desk, Pending};
use super::downlink::{self, Answer, Downlink};
use super::picture::UserMedia;
use super::uplink::Uplink;
use super::wire::{
    self, About, CandidateBody, CandidateFrom, Joined, Left, MessageFrom, ModeFrom, OrientationFrom, PUBLISHER, Reconnected,
    SdpBody, SdpFrom, Who,
};
use super::words;
use crate::room::{
    Body, Command, DialectName, EndReason, Facts, Framing, MemberView, Refusal, Remark, Resumed, Signal, Step, StreamView,
    Topology, Welcome,
};
use crate::signalling::gateway::meet_directly;
use crate::signalling::sdp;
use crate::vocab::{Candidate, MediaKind, MemberId, PeerId, RequestId, RoomId, Sdp, SdpKind, StreamName};

/// The member's place as the client sees it.
#[derive(Debug)]
pub(super) struct Call {
    room: RoomId,
    network: String,
    /// Visible members, the client included.
    size: usize,
    /// The configuration the client was told last.
    picture: UserMedia,
    /// The other visible members. As many as the room allows; the same bounds the two below.
    others: BTreeMap<MemberId, MemberView>,
    uplink: Uplink,
    downlinks: BTreeMap<MemberId, Downlink>,
    topology: Topology,
    /// Members with whom descriptions are exchanged directly: here there is one connection a member, the latest that either side
    /// offered.
    relayed: HashMap<MemberId, Relayed>,
}

/// A connection that ends at another member's client.
#[derive(Debug, Default)]
struct Relayed {
    /// The other's own id of it, if it offered; else empty.
    connection: Arc<str>,
    channels: Channels,
}

/// Whether a client has data channels with another by its own doing. A browser accepts any that it is offered, whether its page
/// reads them or not; the document knows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Channels {
    #[default]
    None,
    /// It offered some.
    Offered,
    /// The other accepted.
    Agreed,
}

/// What `picture` is made of.
fn picture(config: &TribeConfig, size: usize, network: &str) -> UserMedia {
    UserMedia::for_members(size, config.halve_on_mobile && network == "mobile")
}

impl Call {
    /// The room let the client in.
    pub(super) fn joined(desk: &mut Desk, config: &TribeConfig, welcome: &Welcome, user_id: &str, network: String) -> Self {
        let mut call = Self {
            room: welcome.room.clone(),
            topology: welcome.topology,
            size: welcome.size,
            picture: picture(config, welcome.size, &network),
            network,
            others: welcome.others.iter().map(|view| (view.member, view.clone())).collect(),
            uplink: Uplink::default(),
            downlinks: BTreeMap::new(),
            relayed: HashMap::new(),
        };
        let answer = Joined {
            socket_id: wire::socket_id(welcome.member),
            user_id,
            room_size: welcome.size,
            user_media_configuration: &call.picture,
            sessions: welcome.others.iter().map(Who::member).collect(),
        };
        desk.success_with("join", answer);
        for view in &welcome.others {
            desk.event("eventOrientationChange", OrientationFrom::member(view));
        }
        for view in &welcome.others {
            call.watch(desk, view.member);
        }
        call
    }

    /// The client took its place over. What it missed is told next, as if it happened now.
    pub(super) fn resumed(desk: &mut Desk, config: &TribeConfig, resumed: &Resumed) -> Self {
        let mut call = Self {
            room: resumed.room.clone(),
            topology: resumed.topology,
            size: resumed.size,
            picture: picture(config, resumed.size, ""),
            network: String::new(),
            others: resumed.others.iter().map(|view| (view.member, view.clone())).collect(),
            uplink: Uplink::default(),
            downlinks: BTreeMap::new(),
            relayed: HashMap::new(),
        };
        for view in &resumed.peers {
            match &view.plays {
                None => call.uplink = Uplink::restored(view.peer),
                Some((member, stream)) => {
                    call.downlinks.insert(*member, Downlink::restored(stream.clone(), view.peer));
                }
            }
        }
        desk.success_with("reconnect", Reconnected { room_size: resumed.size });
        for view in &resumed.others {
            call.watch(desk, view.member);
        }
        call
    }

    // ---- asked by the client ----

    /// `exchangeSdp`.
    pub(super) fn exchange_sdp(&mut self, desk: &mut Desk, config: &TribeConfig, request: wire::ExchangeSdp) {
        let kind = match request.sdp.kind.0.as_str() {
            "offer" => SdpKind::Offer,
            "answer" => SdpKind::Answer,
            _ => return desk.fail("exchangeSdp", ErrorCode::SdpDecode),
        };
        let text = request.sdp.sdp.0;
        if request.to.0 == PUBLISHER {
            return match kind {
                SdpKind::Offer => self.uplink.offer(desk, config, text),
                SdpKind::Answer => desk.fail("exchangeSdp", ErrorCode::SdpDecode), // Portico offers nothing there
            };
        }
        let Some(to) = self.addressee(&request.to.0) else { return desk.fail("exchangeSdp", ErrorCode::NoAddressee) };
        if !sdp::plausible(&text) {
            return desk.fail("exchangeSdp", ErrorCode::SdpDecode);
        }
        if kind == SdpKind::Answer
            && let Some(link) = self.downlinks.get_mut(&to)
        {
            match link.answer() {
                Answer::Taken => {
                    link.answered(desk, text);
                    return desk.success("exchangeSdp");
                }
                Answer::Second if !self.relayed.contains_key(&to) => {
                    return desk.fail("exchangeSdp", ErrorCode::AlreadyNegotiated);
                }
                Answer::Second | Answer::None => {}
            }
        }
        let Some(dialect) = self.others.get(&to).map(|view| view.dialect).filter(|dialect| self.reaches(*dialect)) else {
            return desk.fail("exchangeSdp", ErrorCode::Network);
        };
        if kind == SdpKind::Offer && meet_directly((DialectName::Tribe, Framing::Free), dialect).is_err() {
            return desk.fail("exchangeSdp", ErrorCode::Network);
        }
        if kind == SdpKind::Offer {
            let channels = if sdp::has_channels(&text) { Channels::Offered } else { Channels::None };
            self.relayed.insert(to, Relayed { channels, ..Relayed::default() });
        }
        let connection = self.relayed.entry(to).or_default().connection.clone();
        let signal = Signal { connection, ..Signal::description(&Sdp { kind, text }, Framing::Free) };
        desk.ask(Pending::Relay, Command::Tell { to, body: Body::Signal(Box::new(signal)) });
    }

    /// Whether descriptions can be exchanged with clients of a dialect: those of this one do it in any room, others where
    /// their connections end at each other, not at Portico.
    fn reaches(&self, dialect: DialectName) -> bool {
        dialect == DialectName::Tribe || (self.topology == Topology::Mesh && dialect.meets_directly())
    }

    /// `exchangeCandidate`: always a success, as the original; a candidate for nobody is dropped.
    pub(super) fn exchange_candidate(&mut self, desk: &mut Desk, request: wire::ExchangeCandidate) {
        let candidate = candidate(request.candidate);
        if request.to.0 == PUBLISHER {
            self.uplink.candidate(desk, candidate);
        } else if let Some(to) = self.addressee(&request.to.0) {
            let taken = self.downlinks.get(&to).is_some_and(|link| link.candidate(desk, &candidate));
            // the end of candidates has no form between clients of this dialect; one that cannot trickle waits for it
            let tells =
                !candidate.candidate.is_empty() || self.others.get(&to).is_some_and(|view| view.dialect != DialectName::Tribe);
            if let Some(relayed) = self.relayed.get(&to).filter(|_| !taken && tells) {
                let signal = Signal { connection: relayed.connection.clone(), ..Signal::candidate(&candidate, Framing::Free) };
                desk.order(Command::Tell { to, body: Body::Signal(Box::new(signal)) });
            }
        }
        desk.success("exchangeCandidate");
    }

    /// `sendMessage`. Members of other dialects have no JSON messages: they are told the text of it.
    pub(super) fn send_message(&mut self, desk: &mut Desk, request: wire::SendMessage) {
        match self.addressee(&request.to.0) {
            Some(to) => {
                let message = request.message.unwrap_or_else(|| RawValue::NULL.to_owned());
                let foreign = self.others.get(&to).is_some_and(|member| member.dialect != DialectName::Tribe);
                let command = match (foreign, words::of(&message)) {
                    (false, _) => Command::Tell { to, body: Body::Json(message) },
                    (true, Some(text)) => Command::Say { to: Some(to), text },
                    (true, None) => return desk.success("sendMessage"),
                };
                desk.ask(Pending::Message, command);
            }
            None => desk.fail("sendMessage", ErrorCode::NoAddressee),
        }
    }

    /// `orientationChange`.
    pub(super) fn change_orientation(&mut self, desk: &mut Desk, request: wire::OrientationChange) {
        let facts = Facts {
            orientation: request.orientation.map(|degrees| degrees.0),
            camera: request.camera.map(|camera| camera.0),
            ..Facts::default()
        };
        desk.ask(Pending::Orientation, Command::Show { facts });
    }

    /// `eventNetworkChange`.
    pub(super) fn change_network(&mut self, desk: &mut Desk, config: &TribeConfig, network: String) {
        desk.order(Command::Show { facts: Facts { network: Some(network.clone()), ..Facts::default() } });
        desk.order(Command::Remark { remark: Remark::Network { network: network.clone() } });
        self.network = network;
        self.refresh_picture(desk, config);
    }

    /// Whether nothing is kept of any other member.
    #[cfg(test)]
    pub(super) fn is_alone(&self) -> bool {
        self.others.is_empty() && self.downlinks.is_empty() && self.relayed.is_empty()
    }

    /// The other member with that id.
    fn addressee(&self, text: &str) -> Option<MemberId> {
        let id = text.parse().ok()?;
        self.others.contains_key(&id).then_some(id)
    }

    // ---- told by the room ----

    pub(super) fn member_joined(&mut self, desk: &mut Desk, config: &TribeConfig, view: &MemberView, size: usize) {
        self.size = size;
        self.picture = picture(config, size, &self.network);
        desk.event("eventUserMediaConfiguration", &self.picture);
        desk.event("eventOrientationChange", OrientationFrom::member(view));
        self.others.insert(view.member, view.clone());
        self.watch(desk, view.member);
    }

    pub(super) fn member_left(&mut self, desk: &mut Desk, config: &TribeConfig, member: MemberId, user_id: &str, size: usize) {
        self.size = size;
        self.relayed.remove(&member);
        if let Some(link) = self.downlinks.remove(&member) {
            link.end(desk);
        }
        let shown = self.others.remove(&member).map(|view| Who::member(&view));
        let left = Left {
            room_id: self.room.as_str(),
            room_size: size,
            socket_id: wire::socket_id(member),
            user_id: shown.as_ref().map_or(user_id, Who::user_id),
        };
        desk.event("eventLeave", left);
        self.refresh_picture(desk, config);
    }

    /// A member shows something else. Orientation is told again even if it stays the same, because the member said it again;
    /// what is muted is told in the form that clients know as paused media.
    pub(super) fn member_changed(&mut self, desk: &mut Desk, view: &MemberView) {
        let Some(known) = self.others.get_mut(&view.member) else { return };
        let (old, new) = (&known.facts, &view.facts);
        let lens = |facts: &Facts| (facts.orientation, facts.camera.clone(), facts.platform.clone());
        if lens(old) != lens(new) || old == new {
            desk.event("eventOrientationChange", OrientationFrom::member(view));
        }
        let mute = |facts: &Facts| (facts.audio_muted.unwrap_or(false), facts.video_muted.unwrap_or(false));
        if mute(old) != mute(new) {
            let (audio, video) = mute(new);
            let mode = ModeFrom { from: Who::member(view), audio: !audio, video: !video };
            desk.event("eventSetRemoteAudioVideoMode", mode);
        }
        known.facts = view.facts.clone();
    }

    pub(super) fn stream_up(&mut self, desk: &mut Desk, member: MemberId, stream: &StreamView) {
        let Some(view) = self.others.get_mut(&member) else { return };
        match view.streams.iter_mut().find(|known| known.name == stream.name) {
            Some(known) => *known = stream.clone(),
            None => view.streams.push(stream.clone()),
        }
        if self.downlinks.get(&member).is_some_and(|link| link.is_dead() && *link.stream() == stream.name) {
            self.downlinks.remove(&member); // it came anew
        }
        self.watch(desk, member);
    }

    pub(super) fn stream_down(&mut self, desk: &mut Desk, member: MemberId, stream: &StreamName) {
        let Some(view) = self.others.get_mut(&member) else { return };
        view.streams.retain(|known| known.name != *stream);
        if self.downlinks.get(&member).is_some_and(|link| link.stream() == stream)
            && let Some(link) = self.downlinks.remove(&member)
        {
            link.end(desk);
            self.watch(desk, member);
        }
    }

    /// Plays the member's stream, if there is one and none of its is played yet.
    fn watch(&mut self, desk: &mut Desk, member: MemberId) {
        // a client has one connection per id: who connects to it directly is not offered by Portico as well
        if self.downlinks.contains_key(&member) || (self.topology == Topology::Mesh && self.relayed.contains_key(&member)) {
            return;
        }
        let Some(view) = self.others.get(&member) else { return };
        if let Some(stream) = downlink::choose(view) {
            let link = Downlink::open(desk, view, stream.name.clone());
            self.downlinks.insert(member, link);
        }
    }

    pub(super) fn described(&mut self, desk: &mut Desk, peer: PeerId, sdp: &Sdp) {
        if self.uplink.is(peer) {
            if sdp.kind == SdpKind::Answer {
                self.uplink.answered(desk, &sdp.text);
            }
        } else if let Some(member) = self.link_of(peer)
            && let Some(view) = self.others.get(&member)
            && let Some(link) = self.downlinks.get_mut(&member)
        {
            link.described(desk, view, sdp);
        }
    }

    pub(super) fn flowing(&mut self, desk: &mut Desk, now: Instant, peer: PeerId, kind: MediaKind) {
        if self.uplink.is(peer) {
            self.uplink.flowing(desk, now, kind);
        } else if let Some(member) = self.link_of(peer)
            && let Some(view) = self.others.get(&member)
            && self.downlinks.get_mut(&member).is_some_and(Downlink::flowing)
        {
            desk.event("eventWebrtcUp", About { from: Who::member(view) });
        }
    }

    pub(super) fn peer_down(&mut self, desk: &mut Desk, now: Instant, peer: PeerId, reason: EndReason) {
        if self.uplink.is(peer) {
            self.uplink.down(desk, reason);
        } else if let Some(member) = self.link_of(peer)
            && let Some(link) = self.downlinks.get_mut(&member)
        {
            link.down(now, reason);
        }
    }

    /// A request of this call was refused.
    pub(super) fn refused(&mut self, desk: &mut Desk, now: Instant, req: RequestId, pending: Pending, why: &Refusal) {
        match pending {
            Pending::Uplink(peer) => {
                let code = match why {
                    Refusal::Internal => ErrorCode::Network, // the session could not be made
                    why => why.into(),
                };
                self.uplink.refused(desk, peer, code);
            }
            Pending::Downlink(member) => {
                if let Some(link) = self.downlinks.get_mut(&member).filter(|link| link.waits_for(req)) {
                    link.refused(now, why);
                }
            }
            Pending::Join | Pending::Reconnect | Pending::Relay | Pending::Message | Pending::Orientation => {
                if let Some(action) = pending.action() {
                    desk.fail(action, why.into());
                }
            }
        }
    }

    pub(super) fn told(&mut self, desk: &mut Desk, from: &MemberView, body: &Body) {
        match body {
            Body::Json(message) => desk.event("eventMessage", MessageFrom { from: Who::member(from), message }),
            Body::Signal(signal) => self.signalled(desk, from, signal),
        }
    }

    /// Words of a client that has no JSON messages.
    pub(super) fn said(&mut self, desk: &mut Desk, from: &MemberView, text: &str) {
        let talks = |relayed: &Relayed| relayed.channels == Channels::Agreed;
        if self.topology == Topology::Mesh && self.relayed.get(&from.member).is_some_and(talks) {
            return; // it has that by the data channel that it opened itself
        }
        let message = words::message(text);
        desk.event("eventMessage", MessageFrom { from: Who::member(from), message: &message });
    }

    /// A step of a direct connection. What is no description and no candidate has no form here.
    fn signalled(&mut self, desk: &mut Desk, from: &MemberView, signal: &Signal) {
        match signal.step {
            Step::Offer | Step::Answer => {
                let Some(sdp) = signal.as_description() else { return };
                if !self.others.contains_key(&from.member) || !self.reaches(from.dialect) {
                    return;
                }
                if sdp.kind == SdpKind::Offer {
                    self.relayed.insert(from.member, Relayed { connection: signal.connection.clone(), ..Relayed::default() });
                } else if self.is_past(from.member, signal) {
                    return;
                } else if let Some(relayed) = self.relayed.get_mut(&from.member)
                    && relayed.channels == Channels::Offered
                    && sdp::has_channels(&sdp.text)
                {
                    relayed.channels = Channels::Agreed;
                }
                let sdp = SdpBody { kind: sdp.kind, sdp: &sdp.text };
                desk.event("eventExchangeSdp", SdpFrom { from: Who::member(from), sdp });
            }
            Step::Candidate => {
                // the end of candidates has no form between clients
                let Some(candidate) = signal.as_candidate().filter(|it| !it.candidate.is_empty()) else { return };
                if self.is_past(from.member, signal) {
                    return;
                }
                let candidate = CandidateBody {
                    candidate: &candidate.candidate,
                    mid: candidate.sdp_mid.as_deref(),
                    mline_index: candidate.sdp_mline_index,
                };
                desk.event("eventExchangeCandidate", CandidateFrom { from: Who::member(from), candidate });
            }
            Step::Other => {}
        }
    }

    /// Whether a signal is about another connection than the latest with its sender.
    fn is_past(&self, from: MemberId, signal: &Signal) -> bool {
        self.relayed.get(&from).is_some_and(|latest| latest.connection != signal.connection)
    }

    // ---- time ----

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.downlinks.values().filter_map(Downlink::next_timeout).chain(self.uplink.next_timeout()).min()
    }

    pub(super) fn handle_timeout(&mut self, desk: &mut Desk, now: Instant) {
        self.uplink.handle_timeout(desk, now);
        for (member, link) in &mut self.downlinks {
            if let Some(view) = self.others.get(member) {
                link.handle_timeout(desk, now, view);
            }
        }
    }

    // ---- inside ----

    /// The downlink with that peer.
    fn link_of(&self, peer: PeerId) -> Option<MemberId> {
        self.downlinks.iter().find(|(_, link)| link.peer() == Some(peer)).map(|(member, _)| *member)
    }

    /// Tells the client what to capture, if that changed.
    fn refresh_picture(&mut self, desk: &mut Desk, config: &TribeConfig) {
        let picture = picture(config, self.size, &self.network);
        if picture != self.picture {
            self.picture = picture;
            desk.event("eventUserMediaConfiguration", &self.picture);
        }
    }
}

/// A client's candidate in the room's shape; one that is `completed` or has no text ends them.
fn candidate(remote: wire::RemoteCandidate) -> Candidate {
    let ended = remote.completed.unwrap_or(false);
    Candidate {
        candidate: remote.candidate.filter(|_| !ended).map(|text| text.0).unwrap_or_default(),
        sdp_mid: remote.mid.map(|mid| mid.0),
        sdp_mline_index: remote.mline_index.and_then(|index| u16::try_from(index.0).ok()),
        username_fragment: None,
    }
}
