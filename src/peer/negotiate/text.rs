//! The texts of a negotiation: what the engine is given of a far end's description, and what the far end is told of the engine's.

use super::*;

/// The text of a far end's description that the engine is given: the sections in use and nothing else.
pub(in crate::peer) fn engine_text(description: &Description, plan: &Plan) -> Result<String, SdpError> {
    let transport = used_transport(description, plan)?;
    let (ufrag, pwd, fingerprint) = (
        transport.ufrag.ok_or(SdpError::Missing("ice-ufrag"))?,
        transport.pwd.ok_or(SdpError::Missing("ice-pwd"))?,
        transport.fingerprint.ok_or(SdpError::Missing("fingerprint"))?,
    );
    let setup = match transport.setup.unwrap_or_default() {
        Setup::ActPass => "actpass",
        Setup::Active => "active",
        Setup::Passive => "passive",
    };
    let mids: Vec<&str> = plan.sections.iter().filter(|(_, used)| *used != Use::Refuse).map(|(mid, _)| mid.as_str()).collect();
    let mut text = Lines::default();
    text.line("v=0").line("o=- 1 1 IN IP4 0.0.0.0").line("s=-").line("t=0 0");
    text.line(format!("a=group:BUNDLE {}", mids.join(" "))).line("a=msid-semantic: WMS *");
    if description.ice_lite {
        text.line("a=ice-lite");
    }
    let mut candidates = 0;
    for ((mid, used), section) in plan.sections.iter().zip(&description.sections) {
        match used {
            Use::Refuse => continue,
            Use::Data { .. } => {
                text.line("m=application 9 UDP/DTLS/SCTP webrtc-datachannel");
            }
            Use::Media { kind, agreed, .. } => {
                let rtx = agreed.rtx.map(|rtx| format!(" {rtx}")).unwrap_or_default();
                text.line(format!("m={kind} 9 UDP/TLS/RTP/SAVPF {}{rtx}", agreed.pt));
            }
        }
        text.line("c=IN IP4 0.0.0.0")
            .line(format!("a=mid:{mid}"))
            .line(format!("a=ice-ufrag:{ufrag}"))
            .line(format!("a=ice-pwd:{pwd}"));
        text.line(format!("a=fingerprint:{fingerprint}")).line(format!("a=setup:{setup}")).line("a=ice-options:trickle");
        match used {
            Use::Media { kind, send, receive, agreed } => {
                media_lines(&mut text, section, mid, *kind, send.is_some(), *receive, agreed)
            }
            _ => {
                // the engine takes the smaller of both sides' limits for both directions; the far end's is kept by `Channels`
                text.line(format!("a=sctp-port:{}", section.sctp_port.unwrap_or(5000))).line("a=max-message-size:262144");
            }
        }
        // bundled sections repeat the same candidates, and every one makes pairs to check
        for candidate in section.candidates.iter().take(MAX_CANDIDATES - candidates) {
            text.line(format!("a={candidate}"));
            candidates += 1;
        }
    }
    Ok(text.0)
}

/// Lines of a media section in the far end's words, seen from the far end: what Portico sends, it receives.
fn media_lines(text: &mut Lines, section: &Section, mid: &str, kind: MediaKind, send: bool, receive: bool, agreed: &Agreed) {
    text.line("a=rtcp-mux").line("a=rtcp-rsize");
    text.line(match (receive, send) {
        (true, true) => "a=sendrecv",
        (true, false) => "a=sendonly",
        (false, true) => "a=recvonly",
        (false, false) => "a=inactive",
    });
    format_lines(text, agreed);
    let numbered = agreed.feedback.iter().any(|value| value == "transport-cc");
    for (id, uri) in &section.extensions {
        if (receive && EXTENSIONS.contains(&uri.as_str())) || (numbered && uri == NUMBERS) {
            text.line(format!("a=extmap:{id} {uri}"));
        }
    }
    if receive {
        // the engine makes a track only where stream and track are named
        text.line(format!("a=msid:far-{mid} far-{mid}-{kind}"));
        // streams are placed by the connection, which the engine need not know of; it insists on one SSRC
        let primary = incoming::primary_ssrc(section).unwrap_or(UNDECLARED_SSRC);
        text.line(format!("a=ssrc:{primary} cname:far"));
    }
}

/// The codec's own lines.
fn format_lines(text: &mut Lines, agreed: &Agreed) {
    let codec = agreed.format.codec;
    let channels = if codec == Codec::Opus { "/2" } else { "" };
    text.line(format!("a=rtpmap:{} {}/{}{channels}", agreed.pt, codec.name(), codec.clock_rate()));
    if !agreed.format.fmtp.is_empty() {
        text.line(format!("a=fmtp:{} {}", agreed.pt, agreed.format.fmtp));
    }
    for value in &agreed.feedback {
        text.line(format!("a=rtcp-fb:{} {value}", agreed.pt));
    }
    if let Some(rtx) = agreed.rtx {
        text.line(format!("a=rtpmap:{rtx} rtx/{}", codec.clock_rate())).line(format!("a=fmtp:{rtx} apt={}", agreed.pt));
    }
}

/// Header extensions of incoming media that are read.
pub(in crate::peer) const EXTENSIONS: [&str; 4] = [incoming::MID, incoming::RID, incoming::REPAIRED_RID, incoming::NUMBERS];

/// Candidates of a description given to the engine. A far end with many networks has about twenty.
const MAX_CANDIDATES: usize = 64;

/// Stands for an SSRC the far end did not declare.
const UNDECLARED_SSRC: u32 = 1;

/// Portico's answer as the far end gets it: the engine's, with every offered section in its place.
pub(in crate::peer) fn public_answer(engine_answer: &str, offer: &Description, plan: &Plan, origin: Origin) -> String {
    let own = Text::split(engine_answer);
    let mut text = own.session(origin, offer.bundle.as_ref().map(|_| plan));
    let mut first = true;
    for (((mid, used), section), index) in plan.sections.iter().zip(&offer.sections).zip(0..) {
        let answered = (*used != Use::Refuse).then(|| own.section(mid)).flatten();
        match answered {
            Some(lines) => {
                section_lines(&mut text, lines, first, mid_of(section, index) == *mid && section.mid.is_some());
                first = false;
                if let Use::Media { receive: true, agreed, .. } = used {
                    incoming::simulcast_lines(&mut text, section, agreed);
                }
            }
            None => {
                // payload type 0 needs no rtpmap: several stacks look formats up even where the section is refused
                let formats = match section.kind {
                    SectionKind::Media(_) => "0".to_owned(),
                    _ => section.formats.join(" "),
                };
                text.line(format!("m={} 0 {} {formats}", section.media, section.proto)).line("c=IN IP4 0.0.0.0");
                if let Some(mid) = &section.mid {
                    text.line(format!("a=mid:{mid}"));
                }
                text.line("a=inactive");
            }
        }
    }
    text.0
}

/// Portico's offer as the far end gets it.
pub(in crate::peer) fn public_offer(engine_offer: &str, plan: &Plan, origin: Origin) -> String {
    let own = Text::split(engine_offer);
    let mut text = own.session(origin, Some(plan));
    for (index, (mid, used)) in plan.sections.iter().enumerate() {
        let Some(lines) = own.section(mid) else { continue };
        match used {
            Use::Media { agreed: Agreed { instead, .. }, .. } if !instead.is_empty() => {
                let all = with_others(lines, instead);
                section_lines(&mut text, &all.iter().map(String::as_str).collect::<Vec<_>>(), index == 0, true);
            }
            _ => section_lines(&mut text, lines, index == 0, true),
        }
    }
    text.0
}

/// A section of one format with others behind it. The engine is built for one; it is built anew should the answer choose another.
fn with_others(lines: &[&str], others: &[Agreed]) -> Vec<String> {
    let (mut formats, mut numbers) = (Lines::default(), String::new());
    for other in others {
        let rtx = other.rtx.map(|rtx| format!(" {rtx}")).unwrap_or_default();
        numbers.push_str(&format!(" {}{rtx}", other.pt));
        format_lines(&mut formats, other);
    }
    let media = lines.first().map(|line| format!("{line}{numbers}"));
    let rest = lines.iter().skip(1).map(|line| (*line).to_owned());
    media.into_iter().chain(rest).chain(formats.0.lines().map(str::to_owned)).collect()
}

/// The `o=` line: one session id for the connection, one version per description (RFC 8829 §5.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::peer) struct Origin {
    pub(in crate::peer) session: u64,
    pub(in crate::peer) version: u64,
}

fn section_lines(text: &mut Lines, lines: &[&str], first: bool, with_mid: bool) {
    let gathered = |line: &str| line.starts_with("a=candidate:") || line == "a=end-of-candidates";
    for line in lines.iter().filter(|line| !gathered(line) && (with_mid || !line.starts_with("a=mid:"))) {
        text.line(line);
    }
    if first {
        // candidates of component 1 only: RTCP is multiplexed
        for line in lines.iter().filter(|line| line.starts_with("a=candidate:") && line.split(' ').nth(1) == Some("1")) {
            text.line(line);
        }
        text.line("a=end-of-candidates");
    }
}

/// An engine's text cut into its sections.
struct Text<'a> {
    session: Vec<&'a str>,
    sections: Vec<Vec<&'a str>>,
}

impl<'a> Text<'a> {
    fn split(text: &'a str) -> Self {
        let mut parts = Self { session: Vec::new(), sections: Vec::new() };
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if line.starts_with("m=") {
                parts.sections.push(Vec::new());
            }
            parts.sections.last_mut().unwrap_or(&mut parts.session).push(line);
        }
        parts
    }

    fn section(&self, mid: &str) -> Option<&[&'a str]> {
        let named = |lines: &&Vec<&str>| lines.iter().any(|line| line.strip_prefix("a=mid:") == Some(mid));
        self.sections.iter().find(named).map(Vec::as_slice)
    }

    /// The session part; with a plan also the group of what it uses.
    fn session(&self, origin: Origin, grouped: Option<&Plan>) -> Lines {
        let mut text = Lines::default();
        text.line("v=0").line(format!("o=- {} {} IN IP4 0.0.0.0", origin.session, origin.version)).line("s=-").line("t=0 0");
        if let Some(plan) = grouped {
            let mids: Vec<&str> =
                plan.sections.iter().filter(|(_, used)| *used != Use::Refuse).map(|(mid, _)| mid.as_str()).collect();
            text.line(format!("a=group:BUNDLE {}", mids.join(" ")));
        }
        text.line("a=msid-semantic: WMS *").line("a=ice-options:trickle");
        for line in self.session.iter().filter(|line| line.starts_with("a=fingerprint:")) {
            text.line(line);
        }
        text
    }
}

/// CRLF-terminated lines.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn line(&mut self, line: impl AsRef<str>) -> &mut Self {
        self.0.push_str(line.as_ref());
        self.0.push_str("\r\n");
        self
    }
}
