//! What happens to an outgoing connection's packets next to the network: some are lost, for tests, and those that are sent again say
//! what of, as the engine does not.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;

/// Header extensions, by number, of the streams that retransmissions go by.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<HashMap<u32, Extensions>>>);

/// Number and text of each.
type Extensions = [(u8, String); 2];

impl Names {
    pub(super) fn insert(&self, ssrc: u32, extensions: Extensions) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(ssrc, extensions);
    }

    pub(super) fn interceptor(&self) -> impl Interceptor + use<> {
        Namer { names: self.clone(), reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

struct Namer {
    names: Names,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Namer {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Self::Error> {
        self.reads.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, mut packet: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtp(rtp) = &mut packet.message.packet {
            let names = self.names.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (number, word) in names.get(&rtp.header.ssrc).into_iter().flatten() {
                rtp.header.set_extension(*number, word.clone().into())?;
            }
        }
        self.writes.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

impl Interceptor for Namer {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

/// Loses packets.
pub(super) struct Lossy {
    every: NonZeroU32,
    count: u32,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Lossy {
    pub(super) fn new(every: NonZeroU32) -> Self {
        Self { every, count: 0, reads: VecDeque::new(), writes: VecDeque::new() }
    }

    /// Whether the packet is lost. Retransmissions are told by their attribute when they leave; those that come in have the
    /// odd payload type next to their stream's.
    fn loses(&mut self, packet: &TaggedPacket) -> bool {
        let Packet::Rtp(rtp) = &packet.message.packet else { return false };
        if packet.message.has(&Attribute::Retransmission) || rtp.header.payload_type % 2 == 1 {
            return false;
        }
        self.count += 1;
        self.count.is_multiple_of(self.every.get())
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Lossy {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Self::Error> {
        if !self.loses(&packet) {
            self.reads.push_back(packet);
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Self::Error> {
        if !self.loses(&packet) {
            self.writes.push_back(packet);
        }
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

impl Interceptor for Lossy {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
