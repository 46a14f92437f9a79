//! Building the engine of one connection, and building the same one again with another SRTP profile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::{self, SignatureScheme};
use rtc::data_channel::RTCDataChannelInit;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::interceptor::{Registry, Slot};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::certificate::{CertificateParams, RTCCertificate};
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::{SctpMaxMessageSize, SettingEngineBuilder};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{
    CandidateConfig, CandidateHostConfig, CandidateRelayConfig, RTCDtlsRole, RTCIceCandidate, RTCIceCandidateInit,
};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::shared::error::Error;

use crate::vocab::MediaKind;

use super::DataSpec;
use super::codecs;
use super::feedback::Watch;
use super::negotiate::{Agreed, EXTENSIONS, NUMBERS, Plan};
use super::protect::Suite;
use super::random::{Seed, Seeded};
use super::reach::Reach;
use super::srtp::Profile;

/// Connectivity checks of a pair, one every 200 ms, before it is given up: for longer than anybody waits for a connection. With the
/// engine's own 7 one way in 8000 that loses 15 % of all datagrams was given up for good.
pub(super) const CHECKS: u16 = 150;
/// Without an answer to connectivity checks for so long ICE counts as disconnected, which is only a state: silence is judged
/// by the connection itself, which also hears media.
const ICE_DISCONNECTED: Duration = Duration::from_secs(5);
/// Far beyond the connection's own limits, because an agent that failed cannot come back by an ICE restart.
const ICE_FAILED: Duration = Duration::from_secs(120);
/// Between checks of a pair in use.
const ICE_KEEPALIVE: Duration = Duration::from_secs(2);

/// SCTP stream of the channel that stands for the data section of Portico's offer: the last one browsers have.
const PLACEHOLDER_STREAM: u16 = 1022;

/// What all connections of a process share.
#[derive(Clone)]
pub(super) struct Identity {
    /// The DTLS certificate: ECDSA P-256, made at start.
    certificate: RTCCertificate,
    /// Where far ends find it.
    pub(super) reach: Reach,
    /// The SRTP profile taken where the far end knows both.
    pub(super) prefer: Suite,
}

impl Identity {
    pub(super) fn generate(reach: Reach, prefer: Suite) -> Result<Self, Error> {
        let provider = crypto::default_provider().map_err(|error| Error::Crypto(error.to_string()))?;
        let params = CertificateParams::new(vec!["portico".to_owned()]).map_err(|error| Error::Other(error.to_string()))?;
        let certificate = RTCCertificate::generate(provider.crypto(), SignatureScheme::EcdsaP256Sha256, params)?;
        Ok(Self { certificate, reach, prefer })
    }
}

/// A track that leaves.
#[derive(Clone, Debug)]
pub(super) struct OutTrack {
    /// Index into the peer's tracks to send.
    pub(super) index: usize,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
    pub(super) stream: String,
    /// Whether its section also receives.
    pub(super) both_ways: bool,
    pub(super) agreed: Agreed,
}

/// Everything an engine is built from.
#[derive(Clone)]
pub(super) struct Blueprint {
    pub(super) identity: Identity,
    /// What its first ICE credentials come of.
    pub(super) seed: Seed,
    /// Those the far end was told since, at an ICE restart.
    pub(super) renewed: Option<Credentials>,
    pub(super) profile: Profile,
    /// Portico is the DTLS client when it answers.
    pub(super) dtls_client: bool,
    pub(super) plan: Plan,
    pub(super) tracks: Vec<OutTrack>,
    /// The far end's offer, as [`engine_text`](super::negotiate::engine_text) wrote it; `None` when Portico offers.
    pub(super) offer: Option<String>,
    /// The far end's answer to Portico's offer, once there.
    pub(super) answer: Option<String>,
    /// Remote candidates that came later, without `candidate:`.
    pub(super) candidates: Vec<String>,
}

/// A built engine and what it says.
pub(super) struct Built {
    pub(super) engine: RTCPeerConnection,
    /// Its cryptography.
    pub(super) crypto: Arc<Seeded>,
    pub(super) watch: Watch,
    /// Its answer or offer.
    pub(super) local: String,
    /// What the far end addresses it by.
    pub(super) ice: Credentials,
}

/// ICE credentials of one side (RFC 8839 §5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) ufrag: String,
    pub(super) pwd: String,
}

impl Credentials {
    /// Those a description of the engine names.
    pub(super) fn of(description: &str) -> Result<Self, Error> {
        let value = |name: &str| {
            let line = description.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
            line.ok_or_else(|| Error::Other("the engine's description has no ICE credentials".into()))
        };
        Ok(Self { ufrag: value("a=ice-ufrag:")?, pwd: value("a=ice-pwd:")? })
    }
}

impl Blueprint {
    /// Builds the engine and brings it to where the blueprint stands.
    pub(super) fn build(&self, now: Instant) -> Result<Built, Error> {
        let (mut engine, watch, crypto) = self.bare(now)?;
        // the engine numbers the sections of its offer in this order
        for (_, kind, send, _, _) in self.plan.media() {
            match self.tracks.iter().find(|track| send == Some(track.index)) {
                Some(track) => add_track(&mut engine, track)?,
                // also one that the far end has refused since: it keeps its place
                None if self.offer.is_none() => {
                    let direction = RTCRtpTransceiverDirection::Recvonly;
                    let init = RTCRtpTransceiverInit { direction, streams: vec![], send_encodings: vec![] };
                    engine.add_transceiver_from_kind(codecs::engine_kind(kind), Some(init))?;
                }
                None => {}
            }
        }
        if self.offer.is_none() && self.plan.data().is_some() {
            // an engine offers a data section only where it has a channel: this one is never spoken of on the wire
            let placeholder = RTCDataChannelInit { negotiated: Some(PLACEHOLDER_STREAM), ..Default::default() };
            engine.create_data_channel("", Some(placeholder))?;
        }
        for address in self.identity.reach.hosts.iter() {
            engine.add_local_candidate(host_candidate(*address)?)?;
        }
        for address in self.identity.reach.relays.iter() {
            engine.add_local_candidate(relay_candidate(*address)?)?;
        }
        engine.add_local_candidate(RTCIceCandidateInit::default())?;
        let local = match &self.offer {
            Some(offer) => answer(&mut engine, now, offer)?,
            None => {
                let offer = engine.create_offer(None)?;
                let text = offer.sdp.clone();
                engine.set_local_description(now, offer)?;
                if let Some(answer) = &self.answer {
                    accept(&mut engine, now, answer)?;
                }
                text
            }
        };
        for candidate in &self.candidates {
            // one the engine cannot read was refused by it before
            let _ = add_candidate(&mut engine, candidate);
        }
        let ice = Credentials::of(&local)?;
        Ok(Built { engine, crypto, watch, local, ice })
    }

    fn bare(&self, now: Instant) -> Result<(RTCPeerConnection, Watch, Arc<Seeded>), Error> {
        let mut media = MediaEngine::default();
        let mut known: Vec<(MediaKind, u8)> = Vec::new();
        for (_, kind, _, receive, agreed) in self.plan.media() {
            for entry in codecs::engine_entries(&agreed.format, agreed.pt, agreed.rtx, &agreed.feedback) {
                if !known.contains(&(kind, entry.payload_type)) {
                    known.push((kind, entry.payload_type));
                    media.register_codec(entry, codecs::engine_kind(kind))?;
                }
            }
            let numbered = agreed.feedback.iter().any(|value| value == "transport-cc");
            for uri in EXTENSIONS {
                if receive || (numbered && uri == NUMBERS) {
                    let extension = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
                    media.register_header_extension(extension, codecs::engine_kind(kind), None)?;
                }
            }
        }
        let watch = Watch::default();
        // packets of media are the connection's: none pass here
        let registry = Registry::new().with(Slot::Custom(500), watch.interceptor());
        let engines = |suite: Suite| match suite {
            Suite::Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            Suite::Cm => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        };
        let profiles = match self.profile {
            Profile::Only(suite) => vec![engines(suite)],
            Profile::Either(first) => vec![engines(first), engines(first.other())],
        };
        let random = Seeded::new(self.seed).map_err(|error| Error::Crypto(error.to_string()))?;
        let mut settings = SettingEngineBuilder::new()
            .with_answering_dtls_role(if self.dtls_client { RTCDtlsRole::Client } else { RTCDtlsRole::Server })
            .with_srtp_protection_profiles(profiles)
            .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(DataSpec::MAX_MESSAGE as u32))
            .with_lite(self.identity.reach.lite)
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_ice_connection_attempts(None, Some(CHECKS))
            .with_ice_timeouts(Some(ICE_DISCONNECTED), Some(ICE_FAILED), Some(ICE_KEEPALIVE))
            .with_crypto_provider(random.clone());
        if let Some(ice) = &self.renewed {
            settings = settings.with_ice_credentials(ice.ufrag.clone(), ice.pwd.clone());
        }
        let configuration = RTCConfigurationBuilder::new().with_certificates(vec![self.identity.certificate.clone()]).build();
        let engine = RTCPeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_media_engine(media)
            .with_setting_engine(settings.build())
            .with_interceptor_registry(registry)
            .build(now)?;
        random.built();
        Ok((engine, watch, random))
    }
}

/// Adds a track to send, before the description that negotiates it.
pub(super) fn add_track(engine: &mut RTCPeerConnection, track: &OutTrack) -> Result<(), Error> {
    let kind = track.agreed.format.codec.kind();
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(track.ssrc),
            rtx: track.agreed.rtx.map(|_| RTCRtpRtxParameters { ssrc: track.rtx_ssrc }),
            ..Default::default()
        },
        codec: codecs::engine_codec(&track.agreed.format, &track.agreed.feedback),
        ..Default::default()
    };
    let id = format!("{}-{kind}", track.stream);
    let media = MediaStreamTrack::new(track.stream.clone(), id.clone(), id, codecs::engine_kind(kind), vec![encoding]);
    let direction = if track.both_ways { RTCRtpTransceiverDirection::Sendrecv } else { RTCRtpTransceiverDirection::Sendonly };
    engine
        .add_transceiver_from_track(media, Some(RTCRtpTransceiverInit { direction, streams: vec![], send_encodings: vec![] }))?;
    Ok(())
}

/// Answers an offer; after an error the offer is taken back.
pub(super) fn answer(engine: &mut RTCPeerConnection, now: Instant, offer: &str) -> Result<String, Error> {
    let attempt = |engine: &mut RTCPeerConnection| {
        engine.set_remote_description(now, RTCSessionDescription::offer(offer.to_owned())?)?;
        let answer = engine.create_answer(None)?;
        let text = answer.sdp.clone();
        engine.set_local_description(now, answer)?;
        // candidates are in the text of the description that was set
        Ok(engine.local_description().map(|description| description.sdp).unwrap_or(text))
    };
    attempt(engine)
}

/// Takes the answer to Portico's offer.
pub(super) fn accept(engine: &mut RTCPeerConnection, now: Instant, answer: &str) -> Result<(), Error> {
    engine.set_remote_description(now, RTCSessionDescription::answer(answer.to_owned())?)
}

/// Adds a remote candidate.
pub(super) fn add_candidate(engine: &mut RTCPeerConnection, candidate: &str) -> Result<(), Error> {
    engine.add_remote_candidate(RTCIceCandidateInit { candidate: candidate.to_owned(), ..Default::default() })
}

pub(super) fn host_candidate(address: SocketAddr) -> Result<RTCIceCandidateInit, Error> {
    let config = CandidateHostConfig { base_config: at(address), ..Default::default() };
    RTCIceCandidate::from(&config.new_candidate_host()?).to_json()
}

/// An address at a TURN server. What stands behind it is nobody's business (RFC 8839 §5.1), and the engine would take it for another name of it.
pub(super) fn relay_candidate(address: SocketAddr) -> Result<RTCIceCandidateInit, Error> {
    let nothing = if address.is_ipv4() { "0.0.0.0" } else { "::" };
    let config = CandidateRelayConfig { base_config: at(address), rel_addr: nothing.into(), rel_port: 0, url: None };
    RTCIceCandidate::from(&config.new_candidate_relay()?).to_json()
}

fn at(address: SocketAddr) -> CandidateConfig {
    let (ip, port) = (address.ip().to_string(), address.port());
    CandidateConfig { network: "udp".into(), address: ip, port, component: 1, ..Default::default() }
}
