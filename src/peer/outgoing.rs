//! Portico as the client: a player and a publisher on the async driver `webrtc`, with sockets of their own.
//!
//! Tests and benchmarks use them. They speak the same packets as the rest of Portico ([`MediaPacket`]), so a
//! publisher can send what a packetiser made and a player's packets can be written to a layer.
//!
//! ```text
//! player:    offer() ─► answer by signalling ─► accept() ─► next_packet()…        (or answer() to an offer)
//! publisher: offer() ─► answer by signalling ─► accept() ─► connected() ─► send()…
//! ```

mod wire;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::interceptor::{Registry, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
    RTCSessionDescription,
};

use super::codecs;
use super::feedback::Watch;
use super::negotiate::{MID, REPAIRED_RID, RID};
use super::sdp::Description;
use crate::forward::MediaPacket;
use crate::vocab::{MediaKind, Sdp, SdpKind, TrackFormat};
use wire::{Lossy, Names};

/// Packets a player keeps for its reader: 2 s of 2 Mbit/s. A reader that is further behind loses the newest, which is counted.
const PLAYER_PACKETS: usize = 512;
/// Longest wait for the local candidates, which are host candidates only.
const GATHER_LIMIT: Duration = Duration::from_secs(5);

/// What tells the SSRC of retransmissions from that of their stream.
const REPAIR: u32 = 0x5a5a_0000;

/// SRTP profiles offered in DTLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrtpChoice {
    /// AEAD_AES_128_GCM, else AES_CM_128_HMAC_SHA1_80.
    #[default]
    Any,
    /// As browsers do: both, AES_CM first.
    CmFirst,
    /// AES_CM_128_HMAC_SHA1_80 alone, as older stacks.
    CmOnly,
    /// AEAD_AES_128_GCM alone.
    GcmOnly,
}

/// How an outgoing connection is made.
#[derive(Clone, Debug)]
pub struct OutgoingConfig {
    /// Local addresses, port 0 for any. Default one of IPv4 loopback.
    pub bind: Vec<SocketAddr>,
    /// SRTP profiles.
    pub srtp: SrtpChoice,
    /// What may be received or is sent, best first. Default H.264 constrained baseline and Opus.
    pub formats: Vec<TrackFormat>,
    /// Answers offers as the DTLS server, as some stacks do. Default false.
    pub dtls_server: bool,
    /// Loses every nth RTP packet on its way in or out, retransmissions spared: for tests of repair. Default none.
    pub lose_every: Option<NonZeroU32>,
    /// Encodings of the picture that a publisher sends, by name (RFC 8851). Default none: one encoding without a name.
    pub rids: Vec<String>,
}

impl Default for OutgoingConfig {
    fn default() -> Self {
        Self {
            bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            srtp: SrtpChoice::default(),
            formats: vec![TrackFormat::h264_baseline(), TrackFormat::plain(crate::vocab::Codec::Opus)],
            dtls_server: false,
            lose_every: None,
            rids: Vec::new(),
        }
    }
}

/// Why an outgoing connection failed.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// The engine refused: a socket, a description, a track.
    #[error("outgoing connection: {0}")]
    Engine(#[from] webrtc::error::Error),
    /// Local candidates were not found in time.
    #[error("no local candidates within {GATHER_LIMIT:?}")]
    Gathering,
    /// It did not connect in time, or the connection failed.
    #[error("not connected")]
    NotConnected,
    /// There is no such track.
    #[error("no {0} track")]
    NoTrack(MediaKind),
}

/// A packet as a player got it.
#[derive(Clone, Debug)]
pub struct PlayedPacket {
    /// Audio or video.
    pub kind: MediaKind,
    /// Its stream.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
    /// The packet.
    pub packet: MediaPacket,
    /// When it arrived.
    pub arrived: Instant,
}

/// What a sender report says of a stream's clock (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SenderClock {
    /// Wall-clock time of the sender, in seconds since 1900.
    pub seconds: f64,
    /// The stream's RTP time at that moment.
    pub timestamp: u32,
}

/// Figures of an outgoing connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutgoingFigures {
    /// RTP packets received.
    pub packets_received: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Packets the reader did not take in time.
    pub packets_overrun: u64,
    /// From the start to the first video packet.
    pub first_video: Option<Duration>,
    /// Key frames the far end asked for.
    pub key_requests: u64,
}

/// What both have in common.
struct Peer {
    connection: Arc<dyn PeerConnection>,
    shared: Arc<Shared>,
    gathered: watch::Receiver<bool>,
    state: watch::Receiver<RTCPeerConnectionState>,
}

struct Shared {
    began: Instant,
    packets: mpsc::Sender<PlayedPacket>,
    remote: Mutex<Vec<(MediaKind, Arc<dyn TrackRemote>)>>,
    tasks: TaskTracker,
    figures: Mutex<OutgoingFigures>,
    watch: Watch,
    names: Names,
    key_requests: AtomicU64,
    gathered: watch::Sender<bool>,
    state: watch::Sender<RTCPeerConnectionState>,
}

impl Peer {
    async fn build(config: &OutgoingConfig) -> Result<(Self, mpsc::Receiver<PlayedPacket>), OutgoingError> {
        let mut media = MediaEngine::default();
        for (format, pt) in config.formats.iter().zip((96u8..126).step_by(2)) {
            let kind = format.codec.kind();
            let rtx = (kind == MediaKind::Video).then_some(pt + 1);
            let feedback: Vec<String> = codecs::feedback(kind).iter().map(|value| (*value).to_owned()).collect();
            for entry in codecs::engine_entries(format, pt, rtx, &feedback) {
                media.register_codec(entry, codecs::engine_kind(kind))?;
            }
        }
        let watch = Watch::default();
        let mut registry =
            register_default_interceptors(Registry::new(), &mut media)?.with(Slot::Custom(500), watch.interceptor());
        if let Some(every) = config.lose_every {
            registry = registry.with(Slot::Custom(400), Lossy::new(every));
        }
        let names = Names::default();
        registry = registry.with(Slot::Custom(300), names.interceptor());
        use SrtpProtectionProfile::{Srtp_Aead_Aes_128_Gcm as Gcm, Srtp_Aes128_Cm_Hmac_Sha1_80 as Cm};
        let profiles = match config.srtp {
            SrtpChoice::Any => vec![Gcm, Cm],
            SrtpChoice::CmFirst => vec![Cm, Gcm],
            SrtpChoice::CmOnly => vec![Cm],
            SrtpChoice::GcmOnly => vec![Gcm],
        };
        let settings = SettingEngineBuilder::new()
            .with_srtp_protection_profiles(profiles)
            .with_answering_dtls_role(if config.dtls_server { RTCDtlsRole::Server } else { RTCDtlsRole::Client })
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .build();
        let (packets, receiver) = mpsc::channel(PLAYER_PACKETS);
        let (gathered, gathered_seen) = watch::channel(false);
        let (state, state_seen) = watch::channel(RTCPeerConnectionState::New);
        let shared = Arc::new(Shared {
            began: Instant::now(),
            packets,
            remote: Mutex::default(),
            tasks: TaskTracker::new(),
            figures: Mutex::default(),
            watch,
            names,
            key_requests: AtomicU64::new(0),
            gathered,
            state,
        });
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_interceptor_registry(registry)
            .with_setting_engine(settings)
            .with_handler(Arc::new(Handler { shared: Arc::clone(&shared) }))
            .with_udp_addrs(config.bind.iter().map(SocketAddr::to_string).collect())
            .build()
            .await?;
        let peer = Self { connection: Arc::new(connection), shared, gathered: gathered_seen, state: state_seen };
        Ok((peer, receiver))
    }

    async fn offer(&self) -> Result<Sdp, OutgoingError> {
        self.shared.gathered.send_replace(false);
        let offer = self.connection.create_offer(None).await?;
        self.connection.set_local_description(offer).await?;
        Ok(Sdp::offer(self.local().await?))
    }

    async fn local(&self) -> Result<String, OutgoingError> {
        let mut gathered = self.gathered.clone();
        let wait = gathered.wait_for(|gathered| *gathered);
        tokio::time::timeout(GATHER_LIMIT, wait)
            .await
            .map_err(|_| OutgoingError::Gathering)?
            .map_err(|_| OutgoingError::Gathering)?;
        self.connection.local_description().await.map(|description| description.sdp).ok_or(OutgoingError::Gathering)
    }

    async fn accept(&self, answer: &Sdp) -> Result<(), OutgoingError> {
        Ok(self.connection.set_remote_description(RTCSessionDescription::answer(answer.text.clone())?).await?)
    }

    async fn answer(&self, offer: &Sdp) -> Result<Sdp, OutgoingError> {
        self.connection.set_remote_description(RTCSessionDescription::offer(offer.text.clone())?).await?;
        let answer = self.connection.create_answer(None).await?;
        self.connection.set_local_description(answer).await?;
        Ok(Sdp::answer(self.local().await?))
    }

    async fn restart(&self) -> Result<Sdp, OutgoingError> {
        self.connection.restart_ice().await?;
        self.offer().await
    }

    async fn connected(&self, limit: Duration) -> Result<(), OutgoingError> {
        let mut state = self.state.clone();
        let end = |state: &RTCPeerConnectionState| {
            use RTCPeerConnectionState::{Closed, Connected, Failed};
            matches!(state, Connected | Failed | Closed)
        };
        match tokio::time::timeout(limit, state.wait_for(end)).await {
            Ok(Ok(state)) if *state == RTCPeerConnectionState::Connected => Ok(()),
            _ => Err(OutgoingError::NotConnected),
        }
    }

    fn figures(&self) -> OutgoingFigures {
        let requests = std::mem::take(&mut self.shared.watch.lock().key_requests).len() as u64;
        let key_requests = self.shared.key_requests.fetch_add(requests, Ordering::Relaxed) + requests;
        OutgoingFigures { key_requests, ..self.shared.figures.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }

    async fn close(self) -> Result<(), OutgoingError> {
        self.connection.close().await?;
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        Ok(())
    }
}

struct Handler {
    shared: Arc<Shared>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.shared.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.shared.state.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move { shared.read(track).await });
    }
}

impl Shared {
    /// Reads a track until the connection ends.
    async fn read(&self, track: Arc<dyn TrackRemote>) {
        let kind = match track.kind().await {
            rtc::rtp_transceiver::rtp_sender::RtpCodecKind::Audio => MediaKind::Audio,
            _ => MediaKind::Video,
        };
        self.remote.lock().unwrap_or_else(PoisonError::into_inner).push((kind, Arc::clone(&track)));
        while let Some(event) = track.poll().await {
            let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
            let arrived = Instant::now();
            let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
            figures.packets_received += 1;
            figures.bytes_received += packet.payload.len() as u64;
            if kind == MediaKind::Video {
                figures.first_video.get_or_insert(arrived.duration_since(self.began));
            }
            let played = PlayedPacket {
                kind,
                ssrc: packet.header.ssrc,
                payload_type: packet.header.payload_type,
                packet: MediaPacket {
                    sequence: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    payload: packet.payload,
                },
                arrived,
            };
            if self.packets.try_send(played).is_err() {
                figures.packets_overrun += 1;
            }
        }
    }
}

/// Plays what a far end sends.
pub struct OutgoingPlayer {
    peer: Peer,
    packets: mpsc::Receiver<PlayedPacket>,
}

impl OutgoingPlayer {
    /// Offers to receive one track of each kind in the configured formats. The offer holds all candidates.
    pub async fn offer(config: &OutgoingConfig) -> Result<(Self, Sdp), OutgoingError> {
        let (peer, packets) = Peer::build(config).await?;
        let mut kinds: Vec<MediaKind> = config.formats.iter().map(|format| format.codec.kind()).collect();
        kinds.dedup();
        for kind in kinds {
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                streams: vec![],
                send_encodings: vec![],
            };
            peer.connection.add_transceiver_from_kind(codecs::engine_kind(kind), Some(init)).await?;
        }
        let offer = peer.offer().await?;
        Ok((Self { peer, packets }, offer))
    }

    /// Answers a far end that offers to send.
    pub async fn answer(config: &OutgoingConfig, offer: &Sdp) -> Result<(Self, Sdp), OutgoingError> {
        let (peer, packets) = Peer::build(config).await?;
        let answer = peer.answer(offer).await?;
        Ok((Self { peer, packets }, answer))
    }

    /// Takes the far end's answer.
    pub async fn accept(&self, answer: &Sdp) -> Result<(), OutgoingError> {
        self.peer.accept(answer).await
    }

    /// Begins an ICE restart: returns the offer, whose answer goes to [`Self::accept`].
    pub async fn restart_ice(&self) -> Result<Sdp, OutgoingError> {
        self.peer.restart().await
    }

    /// Waits until ICE and DTLS are up.
    pub async fn connected(&self, limit: Duration) -> Result<(), OutgoingError> {
        self.peer.connected(limit).await
    }

    /// The next packet. Waits for as long as none comes, also when the far end is gone: callers bound it. Cancel-safe.
    pub async fn next_packet(&mut self) -> Option<PlayedPacket> {
        self.packets.recv().await
    }

    /// The newest sender report of a stream.
    pub fn clock(&self, ssrc: u32) -> Option<SenderClock> {
        let seen = self.peer.shared.watch.lock();
        let (_, ntp, timestamp) = *seen.clocks.iter().find(|(of, ..)| *of == ssrc)?;
        Some(SenderClock { seconds: ntp as f64 / f64::powi(2.0, 32), timestamp })
    }

    /// Asks for a key frame by PLI. Fails before the first packet of the track.
    pub async fn request_keyframe(&self) -> Result<(), OutgoingError> {
        let track = {
            let tracks = self.peer.shared.remote.lock().unwrap_or_else(PoisonError::into_inner);
            tracks.iter().find(|(kind, _)| *kind == MediaKind::Video).map(|(_, track)| Arc::clone(track))
        };
        let track = track.ok_or(OutgoingError::NoTrack(MediaKind::Video))?;
        let media_ssrc = *track.ssrcs().await.first().ok_or(OutgoingError::NoTrack(MediaKind::Video))?;
        Ok(track.write_rtcp(vec![Box::new(PictureLossIndication { sender_ssrc: 0, media_ssrc })]).await?)
    }

    /// What happened so far.
    pub fn figures(&self) -> OutgoingFigures {
        self.peer.figures()
    }

    /// Says goodbye and waits for the readers to end.
    pub async fn close(self) -> Result<(), OutgoingError> {
        drop(self.packets);
        self.peer.close().await
    }
}

/// Sends tracks to a far end.
pub struct OutgoingPublisher {
    peer: Peer,
    tracks: Vec<OutgoingTrack>,
}

struct OutgoingTrack {
    kind: MediaKind,
    /// Of each encoding, with its name.
    ssrcs: Vec<(String, u32)>,
    track: Arc<TrackLocalStaticRTP>,
    /// Known from the answer.
    payload_type: Option<u8>,
    /// Header extensions that name section and encoding: number and mid, number for the name. Known from the answer.
    names: Option<(u8, String, u8)>,
}

impl OutgoingPublisher {
    /// Offers to send one track of each kind in one of the configured formats; the answer says which.
    pub async fn offer(config: &OutgoingConfig, stream: &str) -> Result<(Self, Sdp), OutgoingError> {
        let (peer, _packets) = Peer::build(config).await?;
        let mut tracks: Vec<OutgoingTrack> = Vec::new();
        for format in &config.formats {
            let kind = format.codec.kind();
            if tracks.iter().any(|track| track.kind == kind) {
                continue;
            }
            let rids = if kind == MediaKind::Video { config.rids.clone() } else { Vec::new() };
            let rids = if rids.is_empty() { vec![String::new()] } else { rids };
            let ssrcs: Vec<(String, u32)> = rids.into_iter().map(|rid| (rid, rand::random::<u32>() | 1)).collect();
            let feedback: Vec<String> = codecs::feedback(kind).iter().map(|value| (*value).to_owned()).collect();
            let encoding = |(rid, ssrc): &(String, u32)| RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters {
                    rid: rid.clone(),
                    ssrc: Some(*ssrc),
                    rtx: (kind == MediaKind::Video).then_some(RTCRtpRtxParameters { ssrc: ssrc ^ REPAIR }),
                    ..Default::default()
                },
                codec: codecs::engine_codec(format, &feedback),
                ..Default::default()
            };
            let encodings = ssrcs.iter().map(encoding).collect();
            let id = format!("{stream}-{kind}");
            let media = MediaStreamTrack::new(stream.into(), id.clone(), id, codecs::engine_kind(kind), encodings);
            let track = Arc::new(TrackLocalStaticRTP::new(media));
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Sendonly,
                streams: vec![],
                send_encodings: vec![],
            };
            peer.connection.add_transceiver_from_track(Arc::clone(&track) as Arc<dyn TrackLocal>, Some(init)).await?;
            tracks.push(OutgoingTrack { kind, ssrcs, track, payload_type: None, names: None });
        }
        let offer = peer.offer().await?;
        Ok((Self { peer, tracks }, offer))
    }

    /// Takes the far end's answer. Tracks it refuses are not sent.
    pub async fn accept(&mut self, answer: &Sdp) -> Result<(), OutgoingError> {
        debug_assert_eq!(answer.kind, SdpKind::Answer);
        self.peer.accept(answer).await?;
        let Ok(description) = Description::parse(&answer.text) else { return Ok(()) };
        for track in &mut self.tracks {
            let section = description.sections.iter().find(|section| {
                section.kind == super::sdp::SectionKind::Media(track.kind) && section.receives && !section.is_rejected()
            });
            track.payload_type = section.and_then(|section| section.payloads.first()).map(|payload| payload.pt);
            track.names = section.and_then(|section| {
                let number = |uri: &str| section.extensions.iter().find(|(_, known)| known == uri).map(|(number, _)| *number);
                let mid = (number(MID)?, section.mid.clone()?);
                let repaired = number(REPAIRED_RID)?;
                for (rid, ssrc) in track.ssrcs.iter().filter(|(rid, _)| !rid.is_empty()) {
                    self.peer.shared.names.insert(ssrc ^ REPAIR, [mid.clone(), (repaired, rid.clone())]);
                }
                Some((mid.0, mid.1, number(RID)?))
            });
        }
        Ok(())
    }

    /// Begins an ICE restart: returns the offer, whose answer goes to [`Self::accept`].
    pub async fn restart_ice(&self) -> Result<Sdp, OutgoingError> {
        self.peer.restart().await
    }

    /// Waits until ICE and DTLS are up.
    pub async fn connected(&self, limit: Duration) -> Result<(), OutgoingError> {
        self.peer.connected(limit).await
    }

    /// Sends a packet of the track of that kind, with the packet's own numbers. Waits while the driver's queue is full.
    pub async fn send(&self, kind: MediaKind, packet: &MediaPacket) -> Result<(), OutgoingError> {
        self.send_encoding(kind, 0, packet).await
    }

    /// Sends a packet of one of the encodings of [`OutgoingConfig::rids`], as [`Self::send`] does.
    pub async fn send_encoding(&self, kind: MediaKind, encoding: usize, packet: &MediaPacket) -> Result<(), OutgoingError> {
        let track = self.tracks.iter().find(|track| track.kind == kind).ok_or(OutgoingError::NoTrack(kind))?;
        let payload_type = track.payload_type.ok_or(OutgoingError::NoTrack(kind))?;
        let (rid, ssrc) = track.ssrcs.get(encoding).ok_or(OutgoingError::NoTrack(kind))?;
        let mut header = rtc::rtp::Header {
            version: 2,
            marker: packet.marker,
            payload_type,
            sequence_number: packet.sequence,
            timestamp: packet.timestamp,
            ssrc: *ssrc,
            ..Default::default()
        };
        if let Some((mid_number, mid, rid_number)) = track.names.as_ref().filter(|_| !rid.is_empty()) {
            header.set_extension(*mid_number, mid.clone().into())?;
            header.set_extension(*rid_number, rid.clone().into())?;
        }
        Ok(track.track.write_rtp(rtc::rtp::Packet { header, payload: packet.payload.clone() }).await?)
    }

    /// Sends the packets of a frame.
    pub async fn send_all(&self, kind: MediaKind, packets: &[MediaPacket]) -> Result<(), OutgoingError> {
        for packet in packets {
            self.send(kind, packet).await?;
        }
        Ok(())
    }

    /// What happened so far.
    pub fn figures(&self) -> OutgoingFigures {
        self.peer.figures()
    }

    /// Says goodbye.
    pub async fn close(self) -> Result<(), OutgoingError> {
        self.peer.close().await
    }
}
