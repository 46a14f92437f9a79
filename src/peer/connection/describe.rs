//! How a connection follows descriptions: opening it, answers, later offers, candidates.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::codecs;
use super::super::credit::Budget;
use super::super::engine::{self, Blueprint, Built, Credentials, Identity, OutTrack};
use super::super::mailbox::Mailbox;
use super::super::names::Names;
use super::super::negotiate::{self, Agreed, Incoming, Origin, Plan, PlanError, Use};
use super::super::receiving::Receiving;
use super::super::repeats::Repeats;
use super::super::sdp::{self, Description};
use super::super::srtp::{HelloGate, Profile};
use super::super::stats;
use super::super::{DataSpec, PeerFigures, PeerSpec, Receive, ReceivedTrack, SendTrack};
use super::Connection;
use super::channels::Channels;
use super::sending::Sending;
use crate::forward::{Layer, Refresh};
use crate::room::EndReason;
use crate::vocab::{Candidate, Codec, LayerId, MediaKind, PeerId, Sdp, SdpKind, TrackFormat, TrackId};
use rtc::statistics::StatsSelector;

/// Late remote candidates kept.
const KEPT_CANDIDATES: usize = 64;
/// How long an offer of Portico's own waits for its answer.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// What came of a later description.
pub(in crate::peer) enum Described {
    /// An answer was taken; all incoming tracks, where there are any.
    Taken(Vec<ReceivedTrack>),
    /// Answer to an offer; `tracks` when the far end's tracks changed.
    Answer {
        /// The answer.
        sdp: Sdp,
        /// All incoming tracks.
        tracks: Option<Vec<ReceivedTrack>>,
    },
    /// Unusable; the connection goes on.
    Rejected(EndReason),
    /// The answer leaves nothing to do.
    Down(EndReason),
}

impl Connection {
    /// Opens a connection. Returns it with the description to send and the tracks it will receive.
    pub(in crate::peer) fn open(
        now: Instant,
        spec: PeerSpec,
        identity: &Identity,
        mailbox: &Mailbox,
    ) -> Result<(Self, Sdp, Vec<ReceivedTrack>), EndReason> {
        let formats: Vec<TrackFormat> = spec.send.iter().map(|track| track.layers.format().clone()).collect();
        let mut offer = None;
        let plan = match &spec.offer {
            Some(sdp) => {
                let description = Description::parse(&sdp.text).map_err(|error| unusable(spec.peer, &error))?;
                let plan = negotiate::plan_answer(&description, &formats, spec.receive.as_ref(), spec.data.is_some(), None)
                    .map_err(|error| refused(spec.peer, &error))?;
                offer = Some(description);
                plan
            }
            None => {
                let plan = own_offer(&formats, spec.receive.as_ref(), spec.data.is_some());
                if plan.sections.is_empty() {
                    return Err(EndReason::NoCommonCodec);
                }
                plan
            }
        };
        let mut blueprint = Blueprint {
            identity: identity.clone(),
            seed: rand::random(),
            renewed: None,
            profile: if plan.dtls_client { Profile::Either(identity.prefer) } else { Profile::Only(identity.prefer) },
            dtls_client: plan.dtls_client,
            tracks: Vec::new(),
            offer: match &offer {
                Some(offer) => Some(negotiate::engine_text(offer, &plan).map_err(|error| unusable(spec.peer, &error))?),
                None => None,
            },
            answer: None,
            candidates: Vec::new(),
            plan,
        };
        let sendings = spec.send.iter().map(Sending::new).collect::<Vec<_>>();
        blueprint.tracks = out_tracks(&blueprint.plan, &spec.send, &sendings);
        let Built { engine, crypto, watch, local, ice } = blueprint.build(now).map_err(|error| {
            tracing::debug!(peer = %spec.peer, %error, "engine refused the description");
            EndReason::BadDescription
        })?;
        let mut connection = Self {
            peer: spec.peer,
            engine,
            crypto,
            protector: None,
            unprotector: None,
            way: None,
            moved: None,
            nomination: None,
            names: Names::default(),
            search: None,
            ice,
            restarting: false,
            watch,
            receive: spec.receive,
            channels: spec.data.map(|data| Channels::new(spec.peer, data, Budget::new(mailbox.clone(), spec.peer))),
            closing: None,
            sendings,
            adaptive: None,
            relayered: false,
            savings: 0,
            report_at: None,
            reported: 0,
            receivings: Vec::new(),
            reception: None,
            spoke: false,
            gathers: false,
            trip: None,
            origin: Origin { session: rand::random::<u64>() >> 1, version: 1 },
            gate: HelloGate::default(),
            checks: VecDeque::new(),
            waiting: Vec::new(),
            figures: PeerFigures { peer: spec.peer.0, ..PeerFigures::default() },
            up: false,
            over: false,
            connect_by: now + if offer.is_some() { spec.connect_limit } else { ANSWER_LIMIT },
            connect_limit: spec.connect_limit,
            start_at: None,
            started: false,
            said: None,
            turn: Duration::ZERO,
            heard: now,
            events: VecDeque::new(),
            repeats: Repeats::default(),
            again: Vec::new(),
            timer: Some(now),
            timed: now,
            pumping: false,
            send: spec.send,
            blueprint,
        };
        connection.follow_plan();
        let sdp = match &offer {
            Some(offer) => {
                connection.note_names(offer);
                connection.follow_incoming(offer, mailbox);
                let text = negotiate::public_answer(&local, offer, &connection.blueprint.plan, connection.origin);
                Sdp::answer(connection.blueprint.identity.reach.complete(&text, true))
            }
            None => {
                // without TCP candidates: who offers chooses the pair, and the engine may choose one whose stream the far end, with a
                // better pair at hand, has closed
                let text = negotiate::public_offer(&local, &connection.blueprint.plan, connection.origin);
                Sdp::offer(connection.blueprint.identity.reach.complete(&text, false))
            }
        };
        let tracks = connection.tracks();
        Ok((connection, sdp, tracks))
    }

    /// Takes a later description. `Err` is not used: every outcome is told by [`Described`].
    pub(in crate::peer) fn describe(&mut self, now: Instant, sdp: &Sdp, mailbox: &Mailbox) -> Described {
        let description = match Description::parse(&sdp.text) {
            Ok(description) => description,
            Err(error) => return self.refuse(unusable(self.peer, &error)),
        };
        match (sdp.kind, &self.blueprint.offer, &self.blueprint.answer) {
            (SdpKind::Answer, None, None) => self.take_answer(now, &description, mailbox),
            (SdpKind::Answer, ..) => {
                tracing::debug!(peer = %self.peer, "answer without an offer");
                Described::Rejected(EndReason::BadDescription)
            }
            (SdpKind::Offer, None, None) => {
                tracing::debug!(peer = %self.peer, "offer while one of ours waits for its answer");
                Described::Rejected(EndReason::BadDescription)
            }
            (SdpKind::Offer, ..) => self.take_offer(now, &description, mailbox),
        }
    }

    fn refuse(&self, reason: EndReason) -> Described {
        // before the first answer there is nothing that could go on
        match (&self.blueprint.offer, &self.blueprint.answer) {
            (None, None) => Described::Down(reason),
            _ => Described::Rejected(reason),
        }
    }

    fn take_answer(&mut self, now: Instant, answer: &Description, mailbox: &Mailbox) -> Described {
        let plan = match negotiate::plan_from_answer(answer, &self.blueprint.plan) {
            Ok(plan) => plan,
            Err(error) => return Described::Down(refused(self.peer, &error)),
        };
        let text = match negotiate::engine_text(answer, &plan) {
            Ok(text) => text,
            Err(error) => return Described::Down(unusable(self.peer, &error)),
        };
        self.blueprint.answer = Some(text.clone());
        self.note_names(answer);
        let switched = self.switch_codecs(&plan);
        if plan.dtls_client {
            // Portico is the DTLS client: the far end chooses the profile
            let profile = Profile::Either(self.blueprint.identity.prefer);
            (self.blueprint.profile, self.blueprint.dtls_client) = (profile, true);
        }
        let taken = if plan.dtls_client || switched { self.rebuild(now) } else { engine::accept(&mut self.engine, now, &text) };
        if let Err(error) = taken {
            tracing::debug!(peer = %self.peer, %error, "engine refused the answer");
            return Described::Down(EndReason::BadDescription);
        }
        self.blueprint.plan = plan;
        self.connect_by = now + self.connect_limit;
        self.follow_plan();
        self.follow_incoming(answer, mailbox);
        Described::Taken(self.tracks())
    }

    /// The offer becomes what it would have been with the codecs that the answer has chosen; tells whether those are others. What was to
    /// be sent and is of another codec falls silent.
    fn switch_codecs(&mut self, answered: &Plan) -> bool {
        let mut switched = false;
        for ((_, offered), (_, chosen)) in self.blueprint.plan.sections.iter_mut().zip(&answered.sections) {
            let (Use::Media { agreed, send, .. }, Use::Media { agreed: chosen, .. }) = (offered, chosen) else { continue };
            if agreed.pt == chosen.pt {
                continue;
            }
            switched = true;
            *agreed = chosen.clone();
            let idle = Arc::new(Layer::idle(chosen.format.clone()));
            let track = send.and_then(|index| Some((self.send.get_mut(index)?, self.sendings.get_mut(index)?)));
            if let Some((track, sending)) =
                track.filter(|(track, _)| codecs::fit(track.layers.format(), &chosen.format).is_none())
            {
                track.layers = idle.into();
                sending.feed(track.layers.clone());
            }
        }
        if switched {
            self.blueprint.tracks = out_tracks(&self.blueprint.plan, &self.send, &self.sendings);
        }
        switched
    }

    fn take_offer(&mut self, now: Instant, offer: &Description, mailbox: &Mailbox) -> Described {
        let formats: Vec<TrackFormat> = self.send.iter().map(|track| track.layers.format().clone()).collect();
        let before = &self.blueprint.plan;
        let mut plan = match negotiate::plan_answer(offer, &formats, self.receive.as_ref(), self.channels.is_some(), Some(before))
        {
            Ok(plan) => plan,
            Err(error) => return Described::Rejected(refused(self.peer, &error)),
        };
        // RFC 8829 §5.2.2: sections stay where they were
        let moved =
            before.sections.iter().enumerate().any(|(index, (mid, used))| {
                *used != Use::Refuse && plan.sections.get(index).is_none_or(|(theirs, _)| theirs != mid)
            });
        if moved {
            tracing::debug!(peer = %self.peer, "offer moves or drops sections");
            return Described::Rejected(EndReason::BadDescription);
        }
        plan.dtls_client = self.blueprint.dtls_client;
        let text = match negotiate::engine_text(offer, &plan) {
            Ok(text) => text,
            Err(error) => return Described::Rejected(unusable(self.peer, &error)),
        };
        let tracks = out_tracks(&plan, &self.send, &self.sendings);
        let added = |track: &&OutTrack| !self.blueprint.tracks.iter().any(|known| known.index == track.index);
        for track in tracks.iter().filter(added) {
            if let Err(error) = engine::add_track(&mut self.engine, track) {
                tracing::debug!(peer = %self.peer, %error, "engine refused a track");
                return Described::Rejected(EndReason::BadDescription);
            }
        }
        let answered = engine::answer(&mut self.engine, now, &text).and_then(|local| Ok((Credentials::of(&local)?, local)));
        let (ice, local) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                tracing::debug!(peer = %self.peer, %error, "engine refused the offer");
                let _ = self.engine.set_remote_description(now, rollback());
                if stats::local_ufrag(&self.engine.get_stats(now, StatsSelector::None))
                    .is_some_and(|ufrag| ufrag != self.ice.ufrag)
                {
                    // a restart that cannot be told to the far end cannot be undone either
                    return Described::Down(EndReason::BadDescription);
                }
                return Described::Rejected(EndReason::BadDescription);
            }
        };
        if ice != self.ice {
            tracing::debug!(peer = %self.peer, "ICE restarts");
            self.blueprint.renewed = Some(ice.clone());
            self.ice = ice;
            self.restarting = true;
            self.forget_moves();
        }
        self.blueprint.tracks = tracks;
        self.blueprint.plan = plan;
        // what a rebuilt engine is told is the last offer alone; before DTLS it is all there is
        self.blueprint.offer = Some(text);
        self.blueprint.candidates.clear();
        self.note_names(offer);
        self.follow_plan();
        let before: Vec<TrackId> = self.tracks().iter().map(|track| track.track).collect();
        self.follow_incoming(offer, mailbox);
        let after = self.tracks();
        let changed = before.len() != after.len() || after.iter().any(|track| !before.contains(&track.track));
        self.origin.version += 1;
        let text = negotiate::public_answer(&local, offer, &self.blueprint.plan, self.origin);
        let sdp = Sdp::answer(self.blueprint.identity.reach.complete(&text, true));
        Described::Answer { sdp, tracks: changed.then_some(after) }
    }

    fn note_names(&mut self, description: &Description) {
        description.sections.iter().flat_map(|section| &section.named).for_each(|candidate| self.names.note(candidate));
    }

    /// Candidates that came since the last call with a name in place of the address.
    pub(in crate::peer) fn take_names(&mut self) -> Vec<String> {
        self.names.take()
    }

    /// Takes a remote candidate; what cannot be used is left out.
    pub(in crate::peer) fn add_candidate(&mut self, candidate: &Candidate) {
        let text = candidate.candidate.trim();
        let text = text.strip_prefix("a=").unwrap_or(text);
        let bare = text.strip_prefix("candidate:").unwrap_or(text);
        self.names.note(text);
        if bare.is_empty() || !sdp::usable_candidate(text) || self.blueprint.candidates.len() >= KEPT_CANDIDATES {
            return;
        }
        self.blueprint.candidates.push(bare.into());
        if let Err(error) = engine::add_candidate(&mut self.engine, bare) {
            tracing::debug!(peer = %self.peer, %error, "remote candidate not used");
        }
    }

    /// Incoming tracks.
    pub(in crate::peer) fn tracks(&self) -> Vec<ReceivedTrack> {
        self.receivings
            .iter()
            .filter(|receiving| receiving.lane.is_none())
            .map(|receiving| ReceivedTrack { track: receiving.track, layers: receiving.layers.clone() })
            .collect()
    }

    /// Sends other layers from now on, as far as their format fits what was agreed; a track without one falls silent.
    pub(in crate::peer) fn feed_tracks(&mut self, mut layers: Vec<SendTrack>) {
        for (index, track) in self.send.iter_mut().enumerate() {
            if self.sendings.get(index).is_some_and(|sending| sending.lane.is_some() || sending.free) {
                continue;
            }
            let agreed =
                self.blueprint.plan.media().find(|(_, _, send, ..)| *send == Some(index)).map(|(.., agreed)| &agreed.format);
            let format = agreed.unwrap_or(track.layers.format());
            let kind = format.codec.kind();
            let found = layers.iter().position(|new| new.layers.format().codec.kind() == kind);
            let layers = match found.map(|at| layers.swap_remove(at).layers) {
                Some(layers) if codecs::fit(layers.format(), format).is_some() => layers,
                unfit => {
                    if let Some(layers) = unfit {
                        tracing::info!(peer = %self.peer, codec = %layers.format().codec, agreed = %format.codec, "stream has another codec than was agreed; not sent");
                    }
                    Arc::new(Layer::idle(format.clone())).into()
                }
            };
            track.layers = layers;
            if let Some(sending) = self.sendings.get_mut(index) {
                sending.feed(track.layers.clone());
            }
        }
    }

    /// Payload types and activity of the tracks being sent follow the plan.
    fn follow_plan(&mut self) {
        for sending in self.sendings.iter_mut().filter(|sending| sending.lane.is_none()) {
            sending.active = false;
        }
        for (_, _, send, _, agreed) in self.blueprint.plan.media() {
            if let Some(sending) = send.and_then(|index| self.sendings.get_mut(index)) {
                sending.pt = agreed.pt;
                sending.rtx_pt = agreed.rtx;
                sending.nack = agreed.feedback.iter().any(|value| value == "nack");
                let numbered = agreed.feedback.iter().any(|value| value == "transport-cc");
                sending.number_id = agreed.number_id.filter(|_| numbered);
                sending.active = true;
            }
        }
        if let Some(channels) = &mut self.channels {
            channels.set_max_send(self.blueprint.plan.data().unwrap_or(0));
        }
    }

    /// Received tracks follow the plan and the offer; a section keeps its track as long as its encodings are the same.
    fn follow_incoming(&mut self, offer: &Description, mailbox: &Mailbox) {
        let mut kept: Vec<Receiving> = std::mem::take(&mut self.receivings);
        for ((mid, used), section) in self.blueprint.plan.sections.iter().zip(&offer.sections) {
            let Use::Media { kind, receive: true, agreed, .. } = used else { continue };
            let incoming = negotiate::incoming(section, agreed);
            let known = kept.iter().position(|receiving| receiving.mid == *mid && receiving.covers(&incoming));
            let receiving = match known.map(|at| kept.swap_remove(at)) {
                Some(mut receiving) => {
                    receiving.declare(agreed, incoming);
                    Some(receiving)
                }
                None => new_receiving(self.peer, mid, *kind, agreed, incoming, mailbox),
            };
            self.receivings.extend(receiving);
        }
        // no description speaks of lanes
        self.receivings.extend(kept.into_iter().filter(|receiving| receiving.lane.is_some()));
        self.follow_streams();
    }
}

fn new_receiving(
    peer: PeerId,
    mid: &str,
    kind: MediaKind,
    agreed: &Agreed,
    incoming: Incoming,
    mailbox: &Mailbox,
) -> Option<Receiving> {
    let track = TrackId::next();
    let layer = |index| new_layer(peer, track, index, &agreed.format, mailbox);
    Receiving::new(mid, kind, track, agreed, incoming, layer)
}

/// A layer that the far end of this peer sends.
pub(super) fn new_layer(peer: PeerId, track: TrackId, index: u8, format: &TrackFormat, mailbox: &Mailbox) -> Layer {
    let refresh = match format.codec.kind() {
        MediaKind::Video => Refresh::OnRequest,
        MediaKind::Audio => Refresh::Always,
    };
    let id = LayerId { track, index };
    Layer::new(id, format.clone(), refresh, Box::new(mailbox.keyframe_request(peer, id)))
}

/// The tracks that a plan sends, with the numbers they keep for the life of the peer.
fn out_tracks(plan: &Plan, send: &[SendTrack], sendings: &[Sending]) -> Vec<OutTrack> {
    let track = |(_, _, index, receive, agreed): (&str, MediaKind, Option<usize>, bool, &Agreed)| {
        let index = index?;
        let (track, sending) = (send.get(index)?, sendings.get(index)?);
        Some(OutTrack {
            index,
            ssrc: sending.ssrc,
            rtx_ssrc: sending.rtx_ssrc,
            stream: stream_id(&track.stream_label),
            both_ways: receive,
            agreed: agreed.clone(),
        })
    };
    plan.media().filter_map(track).collect()
}

/// A stream label as an `msid` token (RFC 8830 §2: at most 64 characters).
fn stream_id(label: &str) -> String {
    let token: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '-' }).take(64).collect();
    if token.is_empty() { "stream".into() } else { token }
}

/// Portico's own offer: one section per track to send, which also receives where that kind is wanted in the same codec; one
/// for each other kind that is wanted, in the codec liked best; and one for data channels.
fn own_offer(formats: &[TrackFormat], receive: Option<&Receive>, data: bool) -> Plan {
    let mut wanted: Vec<TrackFormat> = Vec::new();
    if let Some(receive) = receive {
        wanted.extend(receive.audio.then(TrackFormat::opus));
        wanted.extend(receive.video.first().map(|codec| match codec {
            Codec::H264 => TrackFormat::h264_baseline(),
            codec => TrackFormat::plain(*codec),
        }));
    }
    let agreed = |format: &TrackFormat, (pt, rtx): (u8, Option<u8>)| {
        let kind = format.codec.kind();
        let feedback = codecs::feedback(kind).iter().map(|value| (*value).to_owned()).collect();
        Agreed { pt, rtx, format: format.clone(), feedback, number_id: None, instead: Vec::new() }
    };
    // every stack has one of these at least (RFC 7742 §5), and libwebrtc refuses a whole offer that asks it to send none of its own
    let accepted = receive.map(|receive| receive.video.as_slice()).unwrap_or_default();
    let usual = |codec: Codec| {
        let both = [TrackFormat::plain(Codec::VP8), TrackFormat::h264_baseline()];
        both.into_iter().find(|other| other.codec != codec && accepted.contains(&other.codec)).into_iter().collect()
    };
    // a far end that only sends chooses what it has: everything that can be forwarded is proposed to it
    let all = |codec: Codec| {
        let others =
            accepted.iter().filter(|other| **other != codec && other.kind() == MediaKind::Video).map(|other| match other {
                Codec::H264 => TrackFormat::h264_baseline(),
                other => TrackFormat::plain(*other),
            });
        let high = accepted.contains(&Codec::H264).then(TrackFormat::h264_high);
        others.chain(high).collect::<Vec<TrackFormat>>()
    };
    let pulls = formats.is_empty() && !data;
    let others = |codec: Codec| if pulls { all(codec) } else { usual(codec) };
    let section = |format: &TrackFormat, send: Option<usize>, receive: bool| {
        let kind = format.codec.kind();
        let mut used = agreed(format, codecs::own_payload_types(kind));
        if receive && kind == MediaKind::Video {
            let others = others(format.codec).into_iter().zip(codecs::OTHER_PAYLOAD_TYPES);
            used.instead = others.map(|(other, types)| agreed(&other, types)).collect();
        }
        Use::Media { kind, send, receive, agreed: used }
    };
    let taken = |codec: Codec| {
        receive.is_some_and(|receive| match codec.kind() {
            MediaKind::Audio => receive.audio,
            MediaKind::Video => receive.video.contains(&codec),
        })
    };
    let mut uses: Vec<(MediaKind, Use)> = formats
        .iter()
        .enumerate()
        .map(|(index, format)| (format.codec.kind(), section(format, Some(index), taken(format.codec))))
        .collect();
    for format in wanted {
        let kind = format.codec.kind();
        if !formats.iter().any(|sent| sent.codec.kind() == kind && taken(sent.codec)) {
            uses.push((kind, section(&format, None, true)));
        }
    }
    // the first section has the candidates and the transport of all (RFC 9143 §7.2): sound is what no far end refuses
    uses.sort_by_key(|(kind, _)| *kind != MediaKind::Audio);
    let mut uses: Vec<Use> = uses.into_iter().map(|(_, used)| used).collect();
    uses.extend(data.then_some(Use::Data { max_message: DataSpec::MAX_MESSAGE }));
    let sections = uses.into_iter().enumerate().map(|(index, used)| (index.to_string(), used)).collect();
    Plan { sections, dtls_client: false }
}

fn rollback() -> rtc::peer_connection::sdp::RTCSessionDescription {
    let mut description = rtc::peer_connection::sdp::RTCSessionDescription::default();
    description.sdp_type = rtc::peer_connection::sdp::RTCSdpType::Rollback;
    description
}

fn unusable(peer: PeerId, error: &negotiate::SdpError) -> EndReason {
    tracing::debug!(%peer, %error, "description not usable");
    EndReason::BadDescription
}

fn refused(peer: PeerId, error: &PlanError) -> EndReason {
    match error {
        PlanError::Sdp(error) => unusable(peer, error),
        PlanError::NoCommonCodec => EndReason::NoCommonCodec,
    }
}
