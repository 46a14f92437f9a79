//! Socket.IO 2 to 4 as a carrier: Engine.IO 3 and 4, by polling, by websocket, and from one to the other.
//!
//! ```text
//! GET, POST ─► http ─► inbox ─┐           ┌─► driver ─► dialect
//! websocket ──────────────────┴─► link ───┤
//!                                  │      └─► answers and frames
//!                               engine (pure) ─ message, packet (pure)
//! ```
//! Each event of the default namespace arrives at the dialect as one text frame, its JSON array; an object that a client of version
//! 4 gives when it connects (`auth`) arrives as a text frame too, before its events. What a dialect sends must be such an array.
//! Liveness is Engine.IO's own. `README.md` beside this file has the rules.

mod engine;
mod http;
mod link;
mod message;
mod packet;
mod table;

#[cfg(test)]
mod tests;

pub use engine::MAX_PAYLOAD;
pub use http::{Endpoint, MakeDialect, Opening, Wiring};
pub use packet::Version;

/// Reads a payload as a POST brings it; for fuzzing. How many packets it held, malformed ones not counted.
pub fn read_payload(version: Version, binary: bool, body: bytes::Bytes) -> usize {
    let mut payload = packet::Payload::new(version, binary, body);
    let mut read = 0;
    while let Some(Ok(())) = payload.next(|packet| {
        if let packet::Packet::Text(packet::Kind::Message, text) = packet {
            let _ = message::parse(text);
        }
    }) {
        read += 1;
    }
    read
}
