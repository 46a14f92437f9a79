//! How the streams of a section that is received are told apart: by SSRC where they are declared, else by what their packets say of
//! themselves.

use super::text::Lines;
use super::*;
use crate::forward::Layers;

/// RTP header extension that names a packet's section (RFC 9143 §16).
pub(in crate::peer) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// That names its encoding (RFC 8852 §4.1).
pub(in crate::peer) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
/// That names the encoding it is a retransmission of (RFC 8852 §4.2).
pub(in crate::peer) const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
/// That numbers it among all packets of the transport.
pub(in crate::peer) const NUMBERS: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// One encoding of the track that comes by a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::peer) struct Stream {
    /// Its name, where its packets say it.
    pub(in crate::peer) rid: Option<String>,
    /// Its SSRC, where the description says it.
    pub(in crate::peer) ssrc: Option<u32>,
    /// That of its retransmissions.
    pub(in crate::peer) repair: Option<u32>,
}

/// What comes by a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::peer) struct Incoming {
    /// One to [`Layers::MAX`].
    pub(in crate::peer) streams: Vec<Stream>,
    /// Where a stream is not declared: what it sends again comes by the second of a pair, if it is there.
    pub(in crate::peer) repairs: Vec<(u32, u32)>,
    /// Header extension numbers of [`MID`], [`RID`], [`REPAIRED_RID`] and [`NUMBERS`].
    pub(in crate::peer) mid: Option<u8>,
    pub(in crate::peer) rid: Option<u8>,
    pub(in crate::peer) repaired_rid: Option<u8>,
    pub(in crate::peer) transport_cc: Option<u8>,
}

/// Reads what a far end says of the streams of a section that is received in this format.
pub(in crate::peer) fn incoming(section: &Section, agreed: &Agreed) -> Incoming {
    let extension = |uri: &str| section.extensions.iter().find(|(_, known)| known == uri).map(|(id, _)| *id);
    let repair = |ssrc: u32| {
        let pair = section.repairs.iter().find(|(of, _)| *of == ssrc).filter(|_| agreed.rtx.is_some());
        pair.map(|(_, repair)| *repair)
    };
    let declared = |ssrc: u32| Stream { rid: None, ssrc: Some(ssrc), repair: repair(ssrc) };
    let named = section.rids.encodings(agreed.pt, Layers::MAX);
    let streams: Vec<Stream> = if !named.is_empty() {
        named.iter().map(|encoding| Stream { rid: Some(encoding.rid.name.clone()), ..Stream::default() }).collect()
    } else if section.simulcast_ssrcs.len() > 1 {
        section.simulcast_ssrcs.iter().take(Layers::MAX).map(|ssrc| declared(*ssrc)).collect()
    } else {
        vec![primary_ssrc(section).map(declared).unwrap_or_default()]
    };
    Incoming {
        repairs: if agreed.rtx.is_some() { section.repairs.clone() } else { Vec::new() },
        streams,
        mid: section.mid.as_ref().and(extension(MID)),
        rid: extension(RID),
        repaired_rid: extension(REPAIRED_RID),
        transport_cc: extension(NUMBERS).filter(|_| agreed.feedback.iter().any(|value| value == "transport-cc")),
    }
}

/// The SSRC of a section's media, retransmission left out.
pub(super) fn primary_ssrc(section: &Section) -> Option<u32> {
    section.ssrcs.iter().find(|ssrc| !section.repairs.iter().any(|(_, repair)| repair == *ssrc)).copied()
}

/// What an answer says of the encodings it takes (RFC 8853 §5.3.2): in the offer's order, what is paused stays so.
pub(super) fn simulcast_lines(text: &mut Lines, section: &Section, agreed: &Agreed) {
    let taken = section.rids.encodings(agreed.pt, Layers::MAX);
    for encoding in &taken {
        let restricted = if encoding.rid.payload_types.is_empty() { String::new() } else { format!(" pt={}", agreed.pt) };
        text.line(format!("a=rid:{} recv{restricted}", encoding.rid.name));
    }
    if !taken.is_empty() {
        let list: Vec<String> =
            taken.iter().map(|encoding| format!("{}{}", if encoding.paused { "~" } else { "" }, encoding.rid.name)).collect();
        text.line(format!("a=simulcast:recv {}", list.join(";")));
    }
}
