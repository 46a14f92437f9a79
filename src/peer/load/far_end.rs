//! One far end of the gateway: an engine, a socket, and either a feed to send or an eye for what comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::interceptor::{NackGeneratorBuilder, NackResponderBuilder, ReceiverReportBuilder, Registry, SenderReportBuilder, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use super::feed::{Frames, Stamp};
use super::socket::{Inbox, Socket};
use super::{Feed, Interval, LoadError, Sight, wall_clock};
use crate::peer::codecs;
use crate::peer::demux::{Wire, classify};
use crate::peer::engine::{CHECKS, host_candidate};
use crate::peer::feedback::Watch;
use crate::peer::repeats::{Heard, Repeats};
use crate::peer::sdp::{Description, SectionKind};
use crate::vocab::{MediaKind, Sdp};

/// Payload types offered.
pub(super) const PAYLOAD_TYPES: (u8, u8) = (96, 97);
/// Frames being received that are remembered; what is older and not complete never will be.
const OPEN_FRAMES: usize = 32;
/// A feed that is late by more goes on from now instead of catching up.
const CATCH_UP: Duration = Duration::from_millis(500);

/// A publisher or a viewer, to be given to a [`Rig`](super::Rig).
pub struct LoadPeer {
    engine: RTCPeerConnection,
    watch: Watch,
    pub(super) socket: Socket,
    role: Role,
    timer: Option<Instant>,
    connected: bool,
    /// As the gateway's connections have it: the engine stops repeating what the gateway has not got when that repeats something itself, and
    /// would wait for ever, as no browser does.
    repeats: Repeats,
    /// How far the engine's clock is set ahead: by a round of checks once the gateway answered the first, so that the time to
    /// the first frame is the gateway's and not that of the engine's patience.
    ahead: Duration,
}

enum Role {
    Play(Box<Viewer>),
    Publish(Box<Publisher>),
}

/// From one round of connectivity checks to the next in the engine. It nominates a pair only in the round after the one that
/// found it, where browsers nominate at once (RFC 8445 §8.1.1 leaves it to them).
const CHECK_ROUND: Duration = Duration::from_millis(200);

/// What a viewer saw.
#[derive(Default)]
struct Viewer {
    received: u64,
    /// First and highest sequence number, extended.
    span: Option<(u64, u64)>,
    /// Frames being received, by number: how many packets are missing.
    frames: VecDeque<(u32, u16)>,
    /// Whether there are key frames to wait for.
    has_keys: bool,
    /// The first complete key frame is here, and was told of.
    first_frame: bool,
    told: bool,
    /// When the newest complete frame came.
    moved: Option<Instant>,
    /// Longest time without a complete frame after the first.
    still: Duration,
}

struct Publisher {
    frames: Frames,
    ssrc: u32,
    payload_type: u8,
    spacing: Duration,
    due: Option<Instant>,
}

/// What happened to a far end.
#[derive(Debug)]
pub(super) enum Happened {
    Connected,
    /// The first complete key frame.
    FirstFrame,
    Ended,
}

impl LoadPeer {
    /// A viewer, and its offer with all candidates.
    pub fn player(feed: Feed) -> Result<(Self, Sdp), LoadError> {
        let (mut engine, watch) = engine(viewers_part(), feed)?;
        let kind = feed.codec.kind();
        let init =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, streams: vec![], send_encodings: vec![] };
        engine.add_transceiver_from_kind(codecs::engine_kind(kind), Some(init))?;
        Self::offer(engine, watch, Role::Play(Viewer::of(feed)))
    }

    /// A viewer that was made an offer, with all candidates; and its answer, which has them too.
    pub fn answering(feed: Feed, offer: &Sdp) -> Result<(Self, Sdp), LoadError> {
        let now = Instant::now();
        let (mut engine, watch) = engine(viewers_part(), feed)?;
        engine.set_remote_description(now, RTCSessionDescription::offer(offer.text.clone())?)?;
        // a server that offers no loopback address talks to none (libnice); its own address is one of this machine
        let host = offer.text.lines().find_map(|line| line.strip_prefix("a=candidate:")?.split(' ').nth(4)?.parse().ok());
        let socket = host.map_or_else(Socket::bind, Socket::bind_at)?;
        engine.add_local_candidate(host_candidate(socket.address)?)?;
        engine.add_local_candidate(RTCIceCandidateInit::default())?;
        let answer = engine.create_answer(None)?;
        let text = answer.sdp.clone();
        engine.set_local_description(now, answer)?;
        let text = engine.local_description().map_or(text, |description| description.sdp);
        let role = Role::Play(Viewer::of(feed));
        Ok((
            Self {
                engine,
                watch,
                socket,
                role,
                timer: Some(now),
                connected: false,
                repeats: Repeats::default(),
                ahead: Duration::ZERO,
            },
            Sdp::answer(text),
        ))
    }

    /// A publisher of a feed, and its offer with all candidates.
    pub fn publisher(feed: Feed) -> Result<(Self, Sdp), LoadError> {
        let registry = Registry::new()
            .with(Slot::NackResponder, NackResponderBuilder::new().build())
            .with(Slot::SenderReport, SenderReportBuilder::new().build());
        let (mut engine, watch) = engine(registry, feed)?;
        let media = feed.codec.kind();
        let ssrc = rand::random::<u32>() | 1;
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                rtx: (media == MediaKind::Video).then_some(RTCRtpRtxParameters { ssrc: ssrc ^ 0x5a5a_0000 }),
                ..Default::default()
            },
            codec: codecs::engine_codec(&feed.format(), &feedback(media)),
            ..Default::default()
        };
        let kind = codecs::engine_kind(media);
        let track = MediaStreamTrack::new("bench".into(), "bench-track".into(), "bench-track".into(), kind, vec![encoding]);
        let init =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, streams: vec![], send_encodings: vec![] };
        engine.add_transceiver_from_track(track, Some(init))?;
        let frames = Frames::new(feed).map_err(|error| rtc::shared::error::Error::Other(error.to_string()))?;
        let publisher = Publisher { frames, ssrc, payload_type: 0, spacing: feed.spacing(), due: None };
        Self::offer(engine, watch, Role::Publish(Box::new(publisher)))
    }

    fn offer(mut engine: RTCPeerConnection, watch: Watch, role: Role) -> Result<(Self, Sdp), LoadError> {
        let now = Instant::now();
        let socket = Socket::bind()?;
        engine.add_local_candidate(host_candidate(socket.address)?)?;
        engine.add_local_candidate(RTCIceCandidateInit::default())?;
        let offer = engine.create_offer(None)?;
        let text = offer.sdp.clone();
        engine.set_local_description(now, offer)?;
        let text = engine.local_description().map_or(text, |description| description.sdp);
        Ok((
            Self {
                engine,
                watch,
                socket,
                role,
                timer: Some(now),
                connected: false,
                repeats: Repeats::default(),
                ahead: Duration::ZERO,
            },
            Sdp::offer(text),
        ))
    }

    /// Loses this part (0 to 1) of all datagrams from here on, in both directions.
    #[must_use]
    pub fn losing(mut self, part: f64) -> Self {
        self.socket.lose(part);
        self
    }

    /// Takes the gateway's answer.
    pub fn accept(&mut self, answer: &Sdp) -> Result<(), LoadError> {
        self.engine.set_remote_description(Instant::now(), RTCSessionDescription::answer(answer.text.clone())?)?;
        let description = Description::parse(&answer.text).map_err(|_| LoadError::Refused)?;
        let media = |kind: SectionKind| matches!(kind, SectionKind::Media(_));
        let section = description.sections.iter().find(|section| media(section.kind) && !section.is_rejected());
        let payload = section.and_then(|section| section.payloads.first()).ok_or(LoadError::Refused)?;
        if let Role::Publish(publisher) = &mut self.role {
            publisher.payload_type = payload.pt;
        }
        Ok(())
    }

    /// Reads all datagrams there are; [`Self::drain`] follows.
    pub(super) fn read(&mut self, now: Instant, inbox: &mut Inbox, sums: &mut Interval) {
        let Self { engine, socket, role, ahead, repeats, .. } = self;
        let before = std::mem::replace(ahead, CHECK_ROUND);
        let now = now + before;
        inbox.read_all(socket, |from, arrived, datagram| {
            let transport = TransportContext {
                local_addr: socket.address,
                peer_addr: from,
                ecn: None,
                transport_protocol: TransportProtocol::UDP,
            };
            if classify(datagram) == Wire::Dtls
                && let Heard::Again(flight) = repeats.hears(datagram)
            {
                flight.iter().for_each(|said| socket.send(said.to, &said.datagram, None));
                return;
            }
            // what an engine refuses is its own loss, and counted as missing
            let _ = engine.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(datagram) });
            while let Some(message) = engine.poll_read() {
                if let (RTCMessage::RtpPacket(_, packet), Role::Play(viewer)) = (message.message, &mut *role) {
                    viewer.take(now, &packet, arrived, sums);
                }
            }
        });
    }

    /// Runs what is due; [`Self::drain`] follows.
    pub(super) fn timeout(&mut self, now: Instant) {
        if self.timer.is_some_and(|timer| timer <= now) {
            let _ = self.engine.handle_timeout(now + self.ahead);
        }
        self.publish(now);
    }

    fn publish(&mut self, now: Instant) {
        let Role::Publish(publisher) = &mut self.role else { return };
        let Some(due) = publisher.due.filter(|due| *due <= now) else { return };
        let next = due + publisher.spacing;
        publisher.due = Some(if next + CATCH_UP < now { now + publisher.spacing } else { next });
        let asked = !std::mem::take(&mut self.watch.lock().key_requests).is_empty();
        let Ok(frame) = publisher.frames.next(asked) else { return };
        let (ssrc, payload_type) = (publisher.ssrc, publisher.payload_type);
        for packet in frame.stamped(wall_clock) {
            let header = rtc::rtp::Header {
                version: 2,
                marker: packet.marker,
                payload_type,
                sequence_number: packet.sequence,
                timestamp: packet.timestamp,
                ssrc,
                ..Default::default()
            };
            let message = RTCMessage::RtpPacket(String::new(), rtc::rtp::Packet { header, payload: packet.payload });
            let _ = self.engine.handle_write(TaggedRTCMessage { now: now + self.ahead, message });
            // at once, since the stamp is of now
            self.send_out();
        }
    }

    fn send_out(&mut self) {
        while let Some(datagram) = self.engine.poll_write() {
            if classify(&datagram.message) == Wire::Dtls {
                self.repeats.says(self.socket.address, datagram.transport.peer_addr, &datagram.message);
            }
            self.socket.send(datagram.transport.peer_addr, &datagram.message, None);
        }
    }

    /// Takes everything out of the engine and says what happened.
    pub(super) fn drain(&mut self, now: Instant, mut tell: impl FnMut(Happened)) {
        self.send_out();
        while let Some(event) = self.engine.poll_event() {
            use RTCPeerConnectionState::{Closed, Connected, Failed};
            match event {
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(Connected) if !self.connected => {
                    self.connected = true;
                    if let Role::Publish(publisher) = &mut self.role {
                        publisher.due = Some(now);
                    }
                    tell(Happened::Connected);
                }
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(Failed | Closed) => tell(Happened::Ended),
                _ => {}
            }
        }
        if let Role::Play(viewer) = &mut self.role {
            // only publishers are asked for key frames
            self.watch.lock().key_requests.clear();
            if viewer.first_frame && !std::mem::replace(&mut viewer.told, true) {
                tell(Happened::FirstFrame);
            }
        }
        self.timer = self.engine.poll_timeout().map(|timer| (timer - self.ahead).max(now + Duration::from_millis(1)));
        self.send_out();
        self.repeats.drained();
    }

    /// When [`Self::timeout`] is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let picture = if let Role::Publish(publisher) = &self.role { publisher.due } else { None };
        [self.timer, picture].into_iter().flatten().min()
    }

    /// Packets received and packets expected since the beginning.
    pub(super) fn counts(&self) -> (u64, u64) {
        match &self.role {
            Role::Play(viewer) => (viewer.received, viewer.span.map_or(0, |(first, highest)| highest + 1 - first)),
            Role::Publish(_) => (0, 0),
        }
    }

    /// What became of it so far; `None` of a publisher.
    pub(super) fn sight(&self, now: Instant) -> Option<Sight> {
        let Role::Play(viewer) = &self.role else { return None };
        let since = viewer.moved.map_or(Duration::ZERO, |moved| (now + self.ahead).saturating_duration_since(moved));
        Some(Sight { connected: self.connected, picture: viewer.first_frame, still: viewer.still.max(since) })
    }

    /// Says goodbye.
    pub(super) fn close(&mut self) {
        let _ = self.engine.close();
        self.send_out();
    }
}

impl Viewer {
    fn of(feed: Feed) -> Box<Self> {
        Box::new(Self { has_keys: feed.codec.kind() == MediaKind::Video, ..Default::default() })
    }

    fn take(&mut self, now: Instant, packet: &rtc::rtp::Packet, arrived: Duration, sums: &mut Interval) {
        self.received += 1;
        sums.bytes += packet.payload.len() as u64;
        let sequence = packet.header.sequence_number;
        match &mut self.span {
            None => {
                let first = 0x1_0000 + u64::from(sequence);
                self.span = Some((first, first));
            }
            Some((_, highest)) => {
                let ahead = sequence.wrapping_sub(*highest as u16);
                if ahead < 0x8000 {
                    *highest += u64::from(ahead);
                }
            }
        }
        let Some(stamp) = Stamp::read(&packet.payload) else { return };
        // a cached key frame is old when it is sent: it is no measure of the way through
        if self.first_frame {
            let kind = if stamp.key { &mut sums.key } else { &mut sums.delta };
            kind.note(arrived.saturating_sub(stamp.left));
        }
        if self.completes(&stamp) && (self.first_frame || stamp.key || !self.has_keys) {
            self.first_frame = true;
            if let Some(before) = self.moved.replace(now) {
                self.still = self.still.max(now.saturating_duration_since(before));
            }
        }
    }

    /// Notes a packet of a frame; true when it was the last that was missing.
    fn completes(&mut self, stamp: &Stamp) -> bool {
        let known = self.frames.iter().rposition(|(number, _)| *number == stamp.frame);
        let at = known.unwrap_or_else(|| {
            if self.frames.len() == OPEN_FRAMES {
                self.frames.pop_front();
            }
            self.frames.push_back((stamp.frame, stamp.of));
            self.frames.len() - 1
        });
        let missing = &mut self.frames[at].1;
        let last = *missing == 1;
        *missing = missing.saturating_sub(1);
        last
    }
}

/// What a viewer's engine does of its own: ask for what is missing, and report.
fn viewers_part() -> Registry {
    Registry::new()
        .with(Slot::NackGenerator, NackGeneratorBuilder::new().build())
        .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build())
}

/// Feedback offered: what the gateway's own offers have.
fn feedback(kind: MediaKind) -> Vec<String> {
    codecs::feedback(kind).iter().filter(|value| **value != "transport-cc").map(|value| (*value).to_owned()).collect()
}

fn engine(registry: Registry, feed: Feed) -> Result<(RTCPeerConnection, Watch), LoadError> {
    let mut media = MediaEngine::default();
    let (pt, rtx) = PAYLOAD_TYPES;
    let kind = feed.codec.kind();
    let rtx = (kind == MediaKind::Video).then_some(rtx);
    for entry in codecs::engine_entries(&feed.format(), pt, rtx, &feedback(kind)) {
        media.register_codec(entry, codecs::engine_kind(kind))?;
    }
    let watch = Watch::default();
    let settings = SettingEngineBuilder::new()
        .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
        .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
        // browsers go on checking, too
        .with_ice_connection_attempts(None, Some(CHECKS))
        .build();
    let engine = RTCPeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry.with(Slot::Custom(500), watch.interceptor()))
        .build(Instant::now())?;
    Ok((engine, watch))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Janus' streaming plugin makes it.
    const OFFER: &str = "v=0\r\no=- 1795310572407038 1 IN IP4 127.0.0.1\r\ns=Mountpoint 1\r\nt=0 0\r\na=group:BUNDLE v\r\n\
a=ice-options:trickle\r\n\
a=fingerprint:sha-256 70:8A:A2:2C:E1:87:41:93:03:33:C8:8E:DD:27:3B:C7:EC:0B:84:E9:7D:CC:84:8E:FA:8C:41:70:CE:5C:C1:F7\r\n\
a=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 127.0.0.1\r\n\
a=sendonly\r\na=mid:v\r\na=rtcp-mux\r\n\
a=ice-ufrag:5FVk\r\na=ice-pwd:4dP0ozB5TCk+8UF/jQbizK\r\na=ice-options:trickle\r\na=setup:actpass\r\na=rtpmap:96 H264/90000\r\n\
a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc-group:FID 48579271 2455490731\r\na=msid:janus janusv\r\na=ssrc:48579271 cname:janus\r\n\
a=ssrc:2455490731 cname:janus\r\na=candidate:1 1 udp 2015363327 127.0.0.1 38468 typ host\r\na=end-of-candidates\r\n";

    #[test]
    fn an_offer_is_answered_with_candidates_and_checked_at_once() {
        let (mut peer, answer) = LoadPeer::answering(Feed::picture(1_000_000), &Sdp::offer(OFFER)).unwrap();
        let mut now = Instant::now();
        let mut sent = Vec::new();
        for _ in 0..20 {
            now += Duration::from_millis(50);
            peer.engine.handle_timeout(now).unwrap();
            sent.extend(std::iter::from_fn(|| peer.engine.poll_write()));
        }
        assert!(answer.text.contains("a=candidate:") && answer.text.contains("a=recvonly"), "{}", answer.text);
        assert!(sent.iter().any(|datagram| datagram.transport.peer_addr.port() == 38468), "{} datagrams", sent.len());
    }
}
