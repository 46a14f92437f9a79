//! PURE. One incoming track: which of its encodings a packet belongs to.
//!
//! A packet is placed by its SSRC once that is known: from the description, or from a packet that named its encoding in a header
//! extension (RFC 8852), as senders do until they are heard. A track of one encoding also takes the first SSRC with its payload type.

use std::sync::Arc;

use bytes::Buf;
use rtc::rtp::{Header, Packet};

use crate::forward::{Layer, Layers};
use crate::vocab::{MediaKind, PeerId, TrackId};

use super::encoding::Encoding;
use super::negotiate::{Agreed, Incoming};

/// One incoming track.
pub(super) struct Receiving {
    pub(super) mid: String,
    pub(super) kind: MediaKind,
    pub(super) track: TrackId,
    /// As many as [`Self::layers`], in the same order.
    pub(super) encodings: Vec<Encoding>,
    pub(super) layers: Layers,
    pub(super) flowing: bool,
    /// The lane it is of; `None`: a section's.
    pub(super) lane: Option<PeerId>,
    pt: u8,
    /// Payload type of retransmissions.
    rtx: Option<u8>,
    incoming: Incoming,
}

/// Where a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// The encoding.
    pub(super) index: usize,
    /// It came as a retransmission.
    pub(super) recovered: bool,
    /// It is the first of the encoding's SSRC.
    pub(super) new: bool,
}

impl Receiving {
    /// Of encodings that are described like this; `layer` makes the layer with that number. `None` without any.
    pub(super) fn new(
        mid: &str,
        kind: MediaKind,
        track: TrackId,
        agreed: &Agreed,
        incoming: Incoming,
        layer: impl Fn(u8) -> Layer,
    ) -> Option<Self> {
        let encodings: Vec<Encoding> = (0u8..)
            .zip(incoming.streams.iter().take(Layers::MAX))
            .map(|(index, stream)| Encoding::new(kind, stream.rid.clone(), Arc::new(layer(index))))
            .collect();
        let layers = Layers::new(encodings.iter().map(|encoding| Arc::clone(&encoding.layer)).collect())?;
        let mut receiving = Self {
            mid: mid.into(),
            kind,
            track,
            encodings,
            layers,
            flowing: false,
            lane: None,
            pt: 0,
            rtx: None,
            incoming: Incoming::default(),
        };
        receiving.declare(agreed, incoming);
        Some(receiving)
    }

    /// Whether a later description speaks of the same encodings, or of some of them.
    pub(super) fn covers(&self, incoming: &Incoming) -> bool {
        let named = |rid: &Option<String>| self.encodings.iter().any(|encoding| encoding.rid == *rid);
        incoming.streams.len() <= self.encodings.len() && incoming.streams.iter().all(|stream| named(&stream.rid))
    }

    /// What the newest description says of it.
    pub(super) fn declare(&mut self, agreed: &Agreed, incoming: Incoming) {
        (self.pt, self.rtx) = (agreed.pt, agreed.rtx);
        let asks = agreed.feedback.iter().any(|value| value == "nack");
        for (index, stream) in incoming.streams.iter().enumerate() {
            let at = match &stream.rid {
                Some(_) => self.encodings.iter().position(|encoding| encoding.rid == stream.rid),
                None => Some(index),
            };
            let Some(encoding) = at.and_then(|at| self.encodings.get_mut(at)) else { continue };
            encoding.repair = stream.repair.or(encoding.repair);
            if let Some(ssrc) = stream.ssrc {
                encoding.use_ssrc(ssrc);
            }
        }
        for encoding in &mut self.encodings {
            encoding.missing = asks.then(|| encoding.missing.take().unwrap_or_default());
        }
        self.incoming = incoming;
    }

    /// Number of the header extension that counts the packets of the transport.
    pub(super) fn transport_cc(&self) -> Option<u8> {
        self.incoming.transport_cc
    }

    /// Says whose a packet is, and gives a retransmission its own number back (RFC 4588 §4). `None`: not of this track, or nothing in it.
    pub(super) fn place(&mut self, packet: &mut Packet) -> Option<Placed> {
        let recovered = self.rtx == Some(packet.header.payload_type);
        if !recovered && packet.header.payload_type != self.pt {
            return None;
        }
        let ssrc = packet.header.ssrc;
        let known = self.encodings.iter().position(|encoding| encoding.used(recovered) == Some(ssrc));
        let index = match known {
            Some(index) => index,
            None => self.find(&packet.header, recovered)?,
        };
        if recovered {
            if packet.payload.len() <= 2 {
                // padding that probes the line
                return None;
            }
            packet.header.sequence_number = packet.payload.get_u16();
            packet.header.payload_type = self.pt;
        }
        Some(Placed { index, recovered, new: known.is_none() && !recovered })
    }

    /// Places a packet of an SSRC that was not heard before.
    fn find(&mut self, header: &Header, recovered: bool) -> Option<usize> {
        let word = |id: Option<u8>| id.and_then(|id| header.get_extension(id));
        if word(self.incoming.mid).is_some_and(|mid| *mid != *self.mid.as_bytes()) {
            return None;
        }
        let named = self.encodings.len() > 1 || self.encodings.iter().any(|encoding| encoding.rid.is_some());
        let ssrc = header.ssrc;
        let index = if named {
            // what is sent again may name its encoding as such, or say by description whose it is
            let rid = if recovered { word(self.incoming.repaired_rid) } else { None }.or_else(|| word(self.incoming.rid));
            let by_name = rid.and_then(|rid| {
                let is = |encoding: &Encoding| encoding.rid.as_ref().is_some_and(|known| *known.as_bytes() == *rid);
                self.encodings.iter().position(is)
            });
            let by_pair = || {
                let (of, _) = self.incoming.repairs.iter().find(|(_, repair)| recovered && *repair == ssrc)?;
                self.encodings.iter().position(|encoding| encoding.ssrc == Some(*of))
            };
            by_name.or_else(by_pair)?
        } else {
            // the first SSRC is the track's, where none is declared
            self.encodings.first().filter(|encoding| encoding.used(recovered).is_none()).map(|_| 0)?
        };
        let encoding = &mut self.encodings[index];
        if recovered {
            encoding.repair = Some(ssrc);
        } else {
            encoding.use_ssrc(ssrc);
        }
        Some(index)
    }
}

#[cfg(test)]
#[path = "receiving_tests.rs"]
mod tests;
