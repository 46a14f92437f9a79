//! PURE. What an SDP says, what Portico takes of it, and the texts that say so.
//!
//! The engine never sees a far end's description: it is read into plain data, a `Plan` picks what is used of it, and the
//! engine gets a plain text that holds just that (`engine_text`). What goes out is the engine's own text, completed with
//! the sections that are refused (`public_answer`, `public_offer`).

mod incoming;
mod text;

pub(super) use incoming::{Incoming, MID, NUMBERS, REPAIRED_RID, RID, Stream, incoming};
pub(super) use text::{EXTENSIONS, Origin, engine_text, public_answer, public_offer};

use crate::vocab::{Codec, MediaKind, TrackFormat};

use super::codecs;
use super::sdp::{Description, Section, SectionKind, Setup, Transport};
use super::{DataSpec, Receive};

/// What an offer proposes, as far as planning needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferSummary {
    /// The media sections in order.
    pub sections: Vec<SectionSummary>,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionSummary {
    /// Its mid.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// The offerer sends.
    pub sends: bool,
    /// The offerer receives.
    pub receives: bool,
    /// Known codecs in the offerer's order.
    pub formats: Vec<TrackFormat>,
}

/// Why an SDP cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It does not parse.
    #[error("not a session description: {0}")]
    Malformed(String),
    /// It lacks something WebRTC needs.
    #[error("the session description has no {0}")]
    Missing(&'static str),
    /// It is larger than allowed.
    #[error("the session description has {len} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The most allowed.
        max: usize,
    },
}

/// Reads an offer or answer. At most 64 KiB and 64 sections; never panics on any bytes. Sections that carry neither audio
/// nor video, or that their sender rejects, are left out.
pub fn summarise(sdp: &str) -> Result<OfferSummary, SdpError> {
    let description = Description::parse(sdp)?;
    checked_transport(&description)?;
    let sections =
        description.sections.iter().filter(|section| !section.is_rejected()).filter_map(|section| match section.kind {
            SectionKind::Media(kind) => Some(SectionSummary {
                mid: section.mid.clone().unwrap_or_default(),
                kind,
                sends: section.sends,
                receives: section.receives,
                formats: section
                    .payloads
                    .iter()
                    .filter_map(|payload| payload.format())
                    .filter(|f| f.codec.kind() == kind)
                    .collect(),
            }),
            _ => None,
        });
    Ok(OfferSummary { sections: sections.collect() })
}

/// Why a description leads to no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    /// It cannot be read or lacks something.
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// Nothing in it can be sent or received.
    #[error("no codec in common")]
    NoCommonCodec,
}

/// A payload type both sides know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) pt: u8,
    pub(super) rtx: Option<u8>,
    pub(super) format: TrackFormat,
    pub(super) feedback: Vec<String>,
    /// Under which id the far end knows the extension for transport-wide numbers.
    pub(super) number_id: Option<u8>,
    /// What Portico's own offer proposes as well; the answer chooses.
    pub(super) instead: Vec<Agreed>,
}

/// What Portico does with a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing: refused, with port 0.
    Refuse,
    /// Carries the data channels.
    Data {
        /// Largest message the far end takes; 0 where it refused the section.
        max_message: usize,
    },
    /// Carries a track, or two in opposite directions.
    Media {
        kind: MediaKind,
        /// Index into the peer's tracks to send.
        send: Option<usize>,
        receive: bool,
        agreed: Agreed,
    },
}

/// What is used of a description, section by section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// `(mid, use)`; a section without a mid gets one for the engine alone.
    pub(super) sections: Vec<(String, Use)>,
    /// Whether Portico is the DTLS client.
    pub(super) dtls_client: bool,
}

impl Plan {
    /// The media sections in use: `(mid, kind, send, receive, agreed)`.
    pub(super) fn media(&self) -> impl Iterator<Item = (&str, MediaKind, Option<usize>, bool, &Agreed)> {
        self.sections.iter().filter_map(|(mid, used)| match used {
            Use::Media { kind, send, receive, agreed } => Some((mid.as_str(), *kind, *send, *receive, agreed)),
            _ => None,
        })
    }

    fn use_of(&self, mid: &str) -> Option<&Use> {
        self.sections.iter().find(|(known, _)| known == mid).map(|(_, used)| used)
    }

    fn is_used(&self) -> bool {
        self.has_media() || self.data().is_some()
    }

    /// Whether a track is sent or received.
    pub(super) fn has_media(&self) -> bool {
        self.media().any(|(_, _, send, receive, _)| send.is_some() || receive)
    }

    /// The largest message the far end takes, where data channels are agreed on.
    pub(super) fn data(&self) -> Option<usize> {
        self.sections.iter().find_map(|(_, used)| match used {
            Use::Data { max_message } if *max_message > 0 => Some(*max_message),
            _ => None,
        })
    }
}

/// Says what of an offer is used. `sends` are the formats of the tracks to send, at most one per kind; `before` is the plan
/// of the last round, whose choices are kept where they still hold; `data` is whether data channels are taken.
pub(super) fn plan_answer(
    offer: &Description,
    sends: &[TrackFormat],
    receive: Option<&Receive>,
    data: bool,
    before: Option<&Plan>,
) -> Result<Plan, PlanError> {
    checked_transport(offer)?;
    let bundle = bundle_of(offer);
    let mut sent = vec![false; sends.len()];
    let mut received: Vec<MediaKind> = Vec::new();
    let mut plan = Plan { sections: Vec::with_capacity(offer.sections.len()), dtls_client: false };
    for (index, section) in offer.sections.iter().enumerate() {
        let mid = mid_of(section, index);
        let used = if section.is_rejected() || !bundle.contains(&index) {
            Use::Refuse
        } else {
            let old = before.and_then(|plan| plan.use_of(&mid));
            match section.kind {
                // one association serves all channels (RFC 8841 §5)
                SectionKind::Data if data && plan.data().is_none() => Use::Data { max_message: max_message(section) },
                SectionKind::Data => Use::Refuse,
                SectionKind::Media(kind) => plan_section(section, kind, sends, &mut sent, receive, &mut received, old),
                SectionKind::Other => Use::Refuse,
            }
        };
        plan.sections.push((mid, used));
    }
    if !plan.is_used() {
        return Err(PlanError::NoCommonCodec);
    }
    plan.dtls_client = used_transport(offer, &plan)?.setup == Some(Setup::Passive);
    Ok(plan)
}

fn plan_section(
    section: &Section,
    kind: MediaKind,
    sends: &[TrackFormat],
    sent: &mut [bool],
    receive: Option<&Receive>,
    received: &mut Vec<MediaKind>,
    old: Option<&Use>,
) -> Use {
    // an inactive section that was in use stays a section of the connection
    if let Some(Use::Media { agreed, .. }) = old
        && !section.sends
        && !section.receives
    {
        return Use::Media { kind, send: None, receive: false, agreed: agreed.clone() };
    }
    let mut send = None;
    let mut agreed: Option<Agreed> = None;
    if section.receives
        && let Some(index) = (0..sends.len()).find(|index| !sent[*index] && sends[*index].codec.kind() == kind)
        && let Some((_, pt)) = section
            .payloads
            .iter()
            .filter_map(|payload| Some((codecs::fit(&sends[index], &payload.format()?)?, payload.pt)))
            .min_by_key(|(fit, _)| *fit)
    {
        agreed = agree(section, kind, pt);
        send = agreed.as_ref().map(|_| index);
    }
    let wanted = |codec: Codec| match (receive, kind) {
        (Some(receive), MediaKind::Video) => receive.video.iter().position(|wanted| *wanted == codec),
        (Some(receive), MediaKind::Audio) => (receive.audio && codec == Codec::Opus).then_some(0),
        (None, _) => None,
    };
    let mut receives = false;
    if section.sends && !received.contains(&kind) {
        match &agreed {
            // one payload serves both directions
            Some(agreed) => receives = wanted(agreed.format.codec).is_some(),
            None => {
                let kept = match old {
                    Some(Use::Media { agreed: old, .. }) => {
                        section.payload(old.pt).and_then(|payload| payload.format()).filter(|f| *f == old.format).map(|_| old.pt)
                    }
                    _ => None,
                };
                let best = || {
                    section
                        .payloads
                        .iter()
                        .enumerate()
                        .filter_map(|(order, payload)| {
                            let format = payload.format().filter(|format| format.codec.kind() == kind)?;
                            Some(((wanted(format.codec)?, codecs::playability(&format), order), payload.pt))
                        })
                        .min()
                        .map(|(_, pt)| pt)
                };
                agreed = kept.or_else(best).and_then(|pt| agree(section, kind, pt));
                receives = agreed.is_some();
            }
        }
    }
    match agreed {
        Some(mut agreed) if send.is_some() || receives => {
            if !receives && agreed.number_id.is_none() {
                // there is nothing to tell of
                agreed.feedback.retain(|value| value != "transport-cc");
            }
            if let Some(index) = send {
                sent[index] = true;
            }
            if receives {
                received.push(kind);
            }
            Use::Media { kind, send, receive: receives, agreed }
        }
        _ => Use::Refuse,
    }
}

/// The largest message a section's sender takes: 65536 where it does not say (RFC 8841 §6.1), any where it says 0.
fn max_message(section: &Section) -> usize {
    match section.max_message_size.unwrap_or(65536) {
        0 => DataSpec::MAX_MESSAGE,
        size => usize::try_from(size).map_or(DataSpec::MAX_MESSAGE, |size| size.min(DataSpec::MAX_MESSAGE)),
    }
}

fn agree(section: &Section, kind: MediaKind, pt: u8) -> Option<Agreed> {
    let payload = section.payload(pt)?;
    let ours = codecs::feedback(kind);
    Some(Agreed {
        pt,
        rtx: section.rtx_of(pt).filter(|_| kind == MediaKind::Video),
        format: payload.format()?,
        feedback: payload.feedback.iter().filter(|value| ours.contains(&value.as_str())).cloned().collect(),
        number_id: number_id(section),
        instead: Vec::new(),
    })
}

/// The id of the extension for transport-wide numbers, of those with a header of one byte (RFC 8285 §4.2).
fn number_id(section: &Section) -> Option<u8> {
    let known = section.extensions.iter().find(|(id, uri)| uri == NUMBERS && (1..=14).contains(id));
    known.map(|(id, _)| *id)
}

/// Says what the far end took of Portico's offer, which is described by its plan.
pub(super) fn plan_from_answer(answer: &Description, offered: &Plan) -> Result<Plan, PlanError> {
    checked_transport(answer)?;
    if answer.sections.len() != offered.sections.len() {
        return Err(SdpError::Malformed("it does not answer section by section".into()).into());
    }
    let mut plan = offered.clone();
    for ((mid, used), section) in plan.sections.iter_mut().zip(&answer.sections) {
        if section.mid.as_ref().is_some_and(|theirs| theirs != mid) {
            return Err(SdpError::Malformed("it answers a section that was not offered".into()).into());
        }
        if let Use::Media { send, receive, agreed, .. } = used {
            let mut others = std::mem::take(&mut agreed.instead);
            let offered = |pt: &u8| *pt == agreed.pt || others.iter().any(|other| other.pt == *pt);
            let first = section.payloads.iter().map(|payload| payload.pt).find(offered);
            if let Some(at) = others.iter().position(|other| Some(other.pt) == first) {
                *agreed = others.swap_remove(at);
            }
            let known = !section.is_rejected()
                && section
                    .payload(agreed.pt)
                    .and_then(|payload| payload.format())
                    .is_some_and(|f| f.codec == agreed.format.codec);
            if !known || !section.receives {
                *send = None;
            }
            *receive &= known && section.sends;
            agreed.rtx = agreed.rtx.filter(|rtx| section.payload(*rtx).is_some());
            let theirs = section.payload(agreed.pt).map(|payload| payload.feedback.as_slice()).unwrap_or_default();
            agreed.feedback.retain(|value| theirs.contains(value));
            agreed.number_id = number_id(section);
        } else if let Use::Data { max_message: max } = used {
            *max = if section.is_rejected() { 0 } else { max_message(section) };
        }
    }
    if !plan.is_used() {
        return Err(PlanError::NoCommonCodec);
    }
    plan.dtls_client = used_transport(answer, &plan)?.setup == Some(Setup::Passive);
    Ok(plan)
}

/// Sections that share one transport with the first usable one: the BUNDLE group, or that section alone.
fn bundle_of(description: &Description) -> Vec<usize> {
    let usable = |section: &Section| !section.is_rejected() && section.kind != SectionKind::Other;
    match &description.bundle {
        Some(mids) => (0..description.sections.len())
            .filter(|index| description.sections[*index].mid.as_ref().is_some_and(|mid| mids.contains(mid)))
            .collect(),
        None => description.sections.iter().position(usable).into_iter().collect(),
    }
}

fn mid_of(section: &Section, index: usize) -> String {
    section.mid.clone().unwrap_or_else(|| format!("s{index}"))
}

/// ICE and DTLS parameters of the first section in use.
fn used_transport(description: &Description, plan: &Plan) -> Result<Transport, SdpError> {
    let used = plan
        .sections
        .iter()
        .zip(&description.sections)
        .find(|((_, used), section)| *used != Use::Refuse && !section.is_rejected());
    let (_, section) = used.ok_or(SdpError::Missing("usable section"))?;
    Ok(description.transport_of(section))
}

/// Checks that there is a section and that each live one has what ICE and DTLS need.
fn checked_transport(description: &Description) -> Result<(), SdpError> {
    if description.sections.is_empty() {
        return Err(SdpError::Missing("media section"));
    }
    let mut mids: Vec<&str> = description.sections.iter().filter_map(|section| section.mid.as_deref()).collect();
    mids.sort_unstable();
    if mids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(SdpError::Malformed("two sections have the same mid".into()));
    }
    let live = description.sections.iter().filter(|section| !section.is_rejected() && !section.bundle_only);
    for transport in live.map(|section| description.transport_of(section)) {
        if transport.ufrag.is_none() {
            return Err(SdpError::Missing("ice-ufrag"));
        }
        if transport.pwd.is_none() {
            return Err(SdpError::Missing("ice-pwd"));
        }
        if transport.fingerprint.is_none() {
            return Err(SdpError::Missing("fingerprint"));
        }
    }
    Ok(())
}

/// For `crate::fuzz`: an offer is planned, its streams are counted out, and what is answered can be read again.
#[doc(hidden)]
pub fn fuzz_description(text: &str) {
    let Ok(offer) = Description::parse(text) else { return };
    let receive = Receive { video: vec![Codec::VP8, Codec::H264], audio: true };
    let Ok(plan) = plan_answer(&offer, &[], Some(&receive), true, None) else { return };
    for (section, (_, used)) in offer.sections.iter().zip(&plan.sections) {
        if let Use::Media { receive: true, agreed, .. } = used {
            let streams = incoming(section, agreed).streams.len();
            assert!((1..=crate::forward::Layers::MAX).contains(&streams));
        }
    }
    let Ok(engine) = engine_text(&offer, &plan) else { return };
    let answer = public_answer(&engine, &offer, &plan, Origin { session: 1, version: 1 });
    assert!(Description::parse(&answer).is_ok());
}

#[cfg(test)]
#[path = "negotiate_tests.rs"]
mod tests;
