//! PURE. The parts of a session description that negotiation needs, read into plain data (RFC 8866, RFC 8829, RFC 8843).
//!
//! Untrusted text: every number is checked, sizes are bounded, unknown lines are skipped. Knows nothing of engines.

mod rids;

pub(super) use rids::Rids;

use super::names;
use crate::vocab::{Codec, MediaKind, TrackFormat};

use super::negotiate::SdpError;

/// Largest description read, in bytes. Chromium's offers with all codecs have about 8 KiB.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// Most media sections read.
pub(super) const MAX_SECTIONS: usize = 64;
/// Most lines kept of one kind (payloads, candidates, SSRCs) in a section.
const MAX_LINES: usize = 128;

/// What travels in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// RTP of that kind.
    Media(MediaKind),
    /// A WebRTC data channel section (RFC 8841).
    Data,
    /// Anything else; always rejected.
    Other,
}

/// Who is the DTLS client, as the sender of the description sees it (RFC 8842).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Setup {
    /// Either.
    #[default]
    ActPass,
    /// The sender is the client.
    Active,
    /// The sender is the server.
    Passive,
}

/// ICE and DTLS parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transport {
    pub(super) ufrag: Option<String>,
    pub(super) pwd: Option<String>,
    /// `sha-256 AB:CD…`.
    pub(super) fingerprint: Option<String>,
    pub(super) setup: Option<Setup>,
}

/// One payload type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) pt: u8,
    /// Encoding name of `a=rtpmap`.
    pub(super) name: String,
    pub(super) clock_rate: u32,
    pub(super) channels: u16,
    pub(super) fmtp: String,
    /// `a=rtcp-fb` values, as in `nack pli`.
    pub(super) feedback: Vec<String>,
}

impl Payload {
    /// The format, for a codec Portico knows.
    pub(super) fn format(&self) -> Option<TrackFormat> {
        let codec = Codec::from_name(&self.name)?;
        (codec.clock_rate() == self.clock_rate).then(|| TrackFormat { codec, fmtp: self.fmtp.clone() })
    }

    /// The payload type this one retransmits (RFC 4588 §8.6).
    pub(super) fn apt(&self) -> Option<u8> {
        if !self.name.eq_ignore_ascii_case("rtx") {
            return None;
        }
        self.fmtp.split(';').find_map(|pair| pair.trim().strip_prefix("apt=")).and_then(|pt| pt.trim().parse().ok())
    }
}

/// One `m=` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) kind: SectionKind,
    /// The media word, protocol and formats of the `m=` line, for echoing a rejected section.
    pub(super) media: String,
    pub(super) proto: String,
    pub(super) formats: Vec<String>,
    pub(super) port: u16,
    pub(super) bundle_only: bool,
    pub(super) mid: Option<String>,
    pub(super) sends: bool,
    pub(super) receives: bool,
    pub(super) payloads: Vec<Payload>,
    /// `(id, uri)`.
    pub(super) extensions: Vec<(u8, String)>,
    /// Declared SSRCs in order, retransmission included.
    pub(super) ssrcs: Vec<u32>,
    /// `(primary, retransmission)` of `ssrc-group:FID`.
    pub(super) repairs: Vec<(u32, u32)>,
    /// SSRCs of `ssrc-group:SIM`: encodings of one picture, as senders tell them apart that know no RIDs.
    pub(super) simulcast_ssrcs: Vec<u32>,
    /// Encodings its sender would send.
    pub(super) rids: Rids,
    /// Candidate lines without `a=`.
    pub(super) candidates: Vec<String>,
    /// Candidates with a name in place of the address.
    pub(super) named: Vec<String>,
    pub(super) transport: Transport,
    /// SCTP port of a data section.
    pub(super) sctp_port: Option<u16>,
    /// Largest message the sender of a data section takes, in bytes; 0 for any (RFC 8841 §6).
    pub(super) max_message_size: Option<u64>,
}

impl Section {
    /// Rejected by its sender (RFC 8829 §5.2.2).
    pub(super) fn is_rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    pub(super) fn payload(&self, pt: u8) -> Option<&Payload> {
        self.payloads.iter().find(|payload| payload.pt == pt)
    }

    /// The retransmission payload of another.
    pub(super) fn rtx_of(&self, pt: u8) -> Option<u8> {
        self.payloads.iter().find(|payload| payload.apt() == Some(pt)).map(|payload| payload.pt)
    }
}

/// A whole description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) transport: Transport,
    /// Mids of the first BUNDLE group.
    pub(super) bundle: Option<Vec<String>>,
    pub(super) ice_lite: bool,
    pub(super) sections: Vec<Section>,
}

impl Description {
    /// ICE and DTLS parameters that hold for a section: its own, else the session's.
    pub(super) fn transport_of(&self, section: &Section) -> Transport {
        let (own, all) = (&section.transport, &self.transport);
        Transport {
            ufrag: own.ufrag.clone().or_else(|| all.ufrag.clone()),
            pwd: own.pwd.clone().or_else(|| all.pwd.clone()),
            fingerprint: own.fingerprint.clone().or_else(|| all.fingerprint.clone()),
            setup: own.setup.or(all.setup),
        }
    }

    /// Reads a description.
    pub(super) fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_BYTES {
            return Err(SdpError::TooLarge { len: text.len(), max: MAX_BYTES });
        }
        let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        if lines.next().map(str::trim_start) != Some("v=0") {
            return Err(SdpError::Malformed("it does not begin with v=0".into()));
        }
        let mut description = Self::default();
        for line in lines {
            let Some((key, value)) = line.split_once('=') else {
                return Err(SdpError::Malformed(format!("line without '=': {:.40}", line.escape_debug().to_string())));
            };
            match (key, description.sections.last_mut()) {
                ("m", _) => {
                    if description.sections.len() == MAX_SECTIONS {
                        return Err(SdpError::Malformed(format!("more than {MAX_SECTIONS} media sections")));
                    }
                    description.sections.push(Section::parse(value)?);
                }
                ("a", Some(section)) => section.attribute(value)?,
                ("a", None) => description.attribute(value)?,
                _ => {}
            }
        }
        for section in &mut description.sections {
            section.finish();
        }
        Ok(description)
    }

    fn attribute(&mut self, value: &str) -> Result<(), SdpError> {
        if self.transport.attribute(value)? {
            return Ok(());
        }
        let (name, rest) = value.split_once(':').unwrap_or((value, ""));
        match name {
            "group" if self.bundle.is_none() => {
                let mut words = rest.split_ascii_whitespace();
                if words.next() == Some("BUNDLE") {
                    self.bundle = Some(words.take(MAX_SECTIONS).map(str::to_owned).collect());
                }
            }
            "ice-lite" => self.ice_lite = true,
            _ => {}
        }
        Ok(())
    }
}

impl Transport {
    /// Takes an attribute that is one of its own; false when it is not.
    fn attribute(&mut self, value: &str) -> Result<bool, SdpError> {
        let (name, rest) = value.split_once(':').unwrap_or((value, ""));
        let ice_chars = |text: &str, min: usize, max: usize| {
            (min..=max).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_'))
        };
        match name {
            // RFC 8839 §5.4; '=' , '-' and '_' are not in its grammar but some stacks write them
            "ice-ufrag" if ice_chars(rest, 4, 256) => self.ufrag = Some(rest.into()),
            "ice-pwd" if ice_chars(rest, 22, 256) => self.pwd = Some(rest.into()),
            "ice-ufrag" | "ice-pwd" => return Err(SdpError::Malformed(format!("{name} has a wrong form"))),
            "fingerprint" => {
                let mut words = rest.split_ascii_whitespace();
                match (words.next(), words.next(), words.next()) {
                    (Some(hash), Some(value), None)
                        if token(hash) && value.len() <= 256 && value.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') =>
                    {
                        // several may be given; SHA-256 is what every stack checks
                        if self.fingerprint.is_none() || hash.eq_ignore_ascii_case("sha-256") {
                            self.fingerprint = Some(format!("{} {value}", hash.to_ascii_lowercase()));
                        }
                    }
                    _ => return Err(SdpError::Malformed("fingerprint has a wrong form".into())),
                }
            }
            "setup" => {
                self.setup = Some(match rest.trim() {
                    "actpass" => Setup::ActPass,
                    "active" => Setup::Active,
                    "passive" => Setup::Passive,
                    _ => return Err(SdpError::Malformed("setup has an unknown value".into())),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Section {
    fn parse(value: &str) -> Result<Self, SdpError> {
        let malformed = || SdpError::Malformed("an m= line has a wrong form".into());
        let mut words = value.split_ascii_whitespace();
        let (media, port, proto) =
            (words.next().ok_or_else(malformed)?, words.next().ok_or_else(malformed)?, words.next().ok_or_else(malformed)?);
        let port = port.split('/').next().and_then(|port| port.parse().ok()).ok_or_else(malformed)?;
        if !token(media) || proto.len() > 64 || !proto.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/' || b == b'-') {
            return Err(malformed());
        }
        let formats: Vec<String> = words.take(MAX_LINES).filter(|word| token(word)).map(str::to_owned).collect();
        let rtp = proto.ends_with("SAVPF") || proto.ends_with("SAVP") || proto.ends_with("AVPF");
        let kind = match media {
            "audio" if rtp => SectionKind::Media(MediaKind::Audio),
            "video" if rtp => SectionKind::Media(MediaKind::Video),
            // not `DTLS/SCTP 5000` of the drafts before RFC 8841
            "application" if proto.contains("SCTP") && formats.iter().any(|f| f == "webrtc-datachannel") => SectionKind::Data,
            _ => SectionKind::Other,
        };
        let payloads = match kind {
            SectionKind::Media(_) => {
                formats.iter().filter_map(|pt| pt.parse().ok()).filter(|pt| *pt < 128).map(static_payload).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self {
            kind,
            media: media.into(),
            proto: proto.into(),
            formats,
            port,
            bundle_only: false,
            mid: None,
            sends: true,
            receives: true,
            payloads,
            extensions: Vec::new(),
            ssrcs: Vec::new(),
            repairs: Vec::new(),
            simulcast_ssrcs: Vec::new(),
            rids: Rids::default(),
            candidates: Vec::new(),
            named: Vec::new(),
            transport: Transport::default(),
            sctp_port: None,
            max_message_size: None,
        })
    }

    fn attribute(&mut self, value: &str) -> Result<(), SdpError> {
        if self.transport.attribute(value)? {
            return Ok(());
        }
        let (name, rest) = value.split_once(':').unwrap_or((value, ""));
        match name {
            "mid" => {
                if rest.len() > 64 || !token(rest) {
                    return Err(SdpError::Malformed("a mid has a wrong form".into()));
                }
                self.mid = Some(rest.into());
            }
            "bundle-only" => self.bundle_only = true,
            "sendrecv" => (self.sends, self.receives) = (true, true),
            "sendonly" => (self.sends, self.receives) = (true, false),
            "recvonly" => (self.sends, self.receives) = (false, true),
            "inactive" => (self.sends, self.receives) = (false, false),
            "rtpmap" => self.rtpmap(rest),
            "fmtp" => {
                if let Some((payload, parameters)) = self.payload_of(rest) {
                    payload.fmtp = parameters.trim().chars().filter(|c| !c.is_control()).take(512).collect();
                }
            }
            "rtcp-fb" => self.feedback(rest),
            "extmap" => self.extmap(rest),
            "ssrc" => {
                if let Some(ssrc) = rest.split_ascii_whitespace().next().and_then(|ssrc| ssrc.parse().ok())
                    && !self.ssrcs.contains(&ssrc)
                    && self.ssrcs.len() < MAX_LINES
                {
                    self.ssrcs.push(ssrc);
                }
            }
            "ssrc-group" => {
                let mut words = rest.split_ascii_whitespace();
                match (words.next(), words.next().map(str::parse), words.next().map(str::parse)) {
                    (Some("FID"), Some(Ok(primary)), Some(Ok(repair))) if self.repairs.len() < MAX_LINES => {
                        self.repairs.push((primary, repair));
                    }
                    (Some("SIM"), Some(Ok(first)), Some(Ok(second))) if self.simulcast_ssrcs.is_empty() => {
                        let more = words.take(MAX_LINES).map_while(|word| word.parse().ok());
                        self.simulcast_ssrcs = [first, second].into_iter().chain(more).collect();
                    }
                    _ => {}
                }
            }
            "rid" => self.rids.rid(rest),
            "simulcast" => self.rids.simulcast(rest.trim_start()),
            "candidate" if self.candidates.len() < MAX_LINES && usable_candidate(value) => self.candidates.push(value.into()),
            "candidate" if self.named.len() < names::MOST && value.len() <= 512 && names::name(value).is_some() => {
                self.named.push(value.into());
            }
            "max-message-size" => self.max_message_size = rest.trim().parse().ok(),
            "sctp-port" => self.sctp_port = rest.trim().parse().ok(),
            _ => {}
        }
        Ok(())
    }

    /// The payload a line's first word names, and the rest of the line.
    fn payload_of<'a>(&mut self, rest: &'a str) -> Option<(&mut Payload, &'a str)> {
        let (pt, value) = rest.split_once(' ')?;
        let pt: u8 = pt.trim().parse().ok()?;
        self.payloads.iter_mut().find(|payload| payload.pt == pt).map(|payload| (payload, value))
    }

    fn rtpmap(&mut self, rest: &str) {
        if let Some((payload, value)) = self.payload_of(rest) {
            let mut parts = value.trim().split('/');
            let (name, clock, channels) = (parts.next().unwrap_or(""), parts.next(), parts.next());
            if token(name) && name.len() <= 64 {
                payload.name = name.into();
                payload.clock_rate = clock.and_then(|clock| clock.parse().ok()).unwrap_or(0);
                payload.channels = channels.and_then(|channels| channels.parse().ok()).unwrap_or(0);
            }
        }
    }

    fn feedback(&mut self, rest: &str) {
        let Some((pt, value)) = rest.split_once(' ') else { return };
        let value: String = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        if value.len() > 64 || value.chars().any(|c| c.is_control()) {
            return;
        }
        for payload in self.payloads.iter_mut().filter(|payload| pt == "*" || pt.parse() == Ok(payload.pt)) {
            if payload.feedback.len() < 16 && !payload.feedback.contains(&value) {
                payload.feedback.push(value.clone());
            }
        }
    }

    fn extmap(&mut self, rest: &str) {
        let mut words = rest.split_ascii_whitespace();
        if let (Some(id), Some(uri)) = (words.next(), words.next())
            && let Some(id) = id.split('/').next().and_then(|id| id.parse::<u8>().ok())
            // one-byte header extensions (RFC 8285 §4.2)
            && (1..=14).contains(&id)
            && uri.len() <= 256
            && self.extensions.len() < 32
        {
            self.extensions.push((id, uri.into()));
        }
    }

    fn finish(&mut self) {
        if self.kind == SectionKind::Media(MediaKind::Audio) || self.kind == SectionKind::Media(MediaKind::Video) {
            self.payloads.retain(|payload| !payload.name.is_empty());
        }
    }
}

/// The candidates an agent over UDP can use: no TCP, no name (see [`names`]).
pub(super) fn usable_candidate(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let (Some(_), Some(component), Some(transport), Some(_), Some(address), Some(port)) =
        (words.next(), words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    line.len() <= 512
        && component == "1"
        && transport.eq_ignore_ascii_case("udp")
        && address.parse::<std::net::IpAddr>().is_ok()
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn static_payload(pt: u8) -> Payload {
    Payload { pt, ..Payload::default() }
}

/// RFC 8866 §9 `token`.
fn token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| matches!(b, 0x21 | 0x23..=0x27 | 0x2a | 0x2b | 0x2d | 0x2e | 0x30..=0x39 | 0x41..=0x5a | 0x5e..=0x7e))
}
