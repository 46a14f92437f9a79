//! A feed as plain RTP, for servers that take one: as an encoder on the same machine sends it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::far_end::PAYLOAD_TYPES;
use super::feed::Frames;
use super::{Feed, LoadError, wall_clock};

/// The running sender. Dropping it stops it.
pub struct PlainFeed {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl PlainFeed {
    /// The payload type of its packets.
    pub const PAYLOAD_TYPE: u8 = PAYLOAD_TYPES.0;

    /// Sends the feed to a port of loopback from now on.
    pub fn start(feed: Feed, port: u16) -> Result<Self, LoadError> {
        let mut frames = Frames::new(feed).map_err(|error| rtc::shared::error::Error::Other(error.to_string()))?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stop = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&stop);
        let run = move || {
            let ssrc = rand::random::<u32>() | 1;
            let mut due = Instant::now();
            let mut datagram = Vec::new();
            while !its.load(Ordering::Relaxed) {
                let Ok(frame) = frames.next(false) else { break };
                for packet in frame.stamped(wall_clock) {
                    datagram.clear();
                    datagram.extend_from_slice(&[0x80, Self::PAYLOAD_TYPE | u8::from(packet.marker) << 7]);
                    datagram.extend_from_slice(&packet.sequence.to_be_bytes());
                    datagram.extend_from_slice(&packet.timestamp.to_be_bytes());
                    datagram.extend_from_slice(&ssrc.to_be_bytes());
                    datagram.extend_from_slice(&packet.payload);
                    // what the kernel has no room for is lost
                    let _ = socket.send_to(&datagram, to);
                }
                due += feed.spacing();
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        };
        let thread = std::thread::Builder::new().name("bench-plain".into()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for PlainFeed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_in_order_with_their_payload_type() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let feed = PlainFeed::start(Feed::sound(), socket.local_addr().unwrap().port()).unwrap();
        let mut buffer = [0; 2000];
        let mut next = || {
            let len = socket.recv(&mut buffer).unwrap();
            assert_eq!((buffer[0], buffer[1] & 0x7f, len), (0x80, PlainFeed::PAYLOAD_TYPE, 12 + 81));
            u16::from_be_bytes([buffer[2], buffer[3]])
        };
        let first = next();
        assert_eq!([next(), next()], [first.wrapping_add(1), first.wrapping_add(2)]);
        drop(feed);
    }
}
