//! What no gateway can undercut: the same feeds protected for each viewer and sent, nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::feed::{Frame, Frames};
use super::socket::{Inbox, Socket};
use super::{Feed, Latencies, LoadError, wall_clock};

/// What the floor cost.
#[derive(Clone, Debug, Default)]
pub struct Floor {
    /// Packets sent.
    pub sent: u64,
    /// Packets that arrived.
    pub received: u64,
    /// Time on a processor of the sending thread, as the kernel counts it (which includes the way over loopback).
    pub busy: Duration,
    /// From the frame's time to the viewer's socket: plain frames.
    pub delta: Latencies,
    /// Key frames.
    pub key: Latencies,
}

/// Sends so many feeds to so many sockets each for that long. Blocks.
pub fn floor(feeds: usize, viewers: usize, feed: Feed, length: Duration) -> Result<Floor, LoadError> {
    let sockets: Vec<Socket> = (0..feeds * viewers).map(|_| Socket::bind()).collect::<Result<_, _>>()?;
    let to: Vec<_> = sockets.iter().map(|socket| socket.address).collect();
    let sender = Sender::new(&to, viewers, feed)?;
    let over = Arc::new(AtomicBool::new(false));
    let seen_over = Arc::clone(&over);
    let reader = std::thread::Builder::new().name("bench-floor-in".into()).spawn(move || receive(&sockets, &seen_over))?;
    let sending = std::thread::Builder::new().name("bench-floor".into()).spawn(move || sender.run(length));
    let sent = sending.map(std::thread::JoinHandle::join);
    over.store(true, Ordering::Relaxed);
    let broken = |_| LoadError::System(std::io::Error::other("a thread of the floor panicked"));
    let received = reader.join().map_err(broken)?;
    let (sent, busy) = sent?.map_err(broken)??;
    Ok(Floor { sent, busy, ..received })
}

/// Counts until it is over and a wait found nothing.
fn receive(sockets: &[Socket], over: &AtomicBool) -> Floor {
    let mut inbox = Inbox::new();
    let mut floor = Floor::default();
    loop {
        let mut fds: Vec<PollFd<'_>> =
            sockets.iter().map(|socket| PollFd::from_borrowed_fd(socket.fd(), PollFlags::IN)).collect();
        let last = over.load(Ordering::Relaxed);
        // an interrupted wait is a short one
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).unwrap_or(0);
        if ready == 0 && last {
            return floor;
        }
        for (socket, _) in sockets.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()) {
            inbox.read_all(socket, |_, arrived, datagram| {
                let Some((key, left)) = header_stamp(datagram) else { return };
                floor.received += 1;
                // the clock's low bits, in microseconds, wrap every 71 minutes
                let taken = Duration::from_micros(u64::from((arrived.as_micros() as u32).wrapping_sub(left)));
                if key { floor.key.note(taken) } else { floor.delta.note(taken) }
            });
        }
    }
}

/// The RTP time is the frame's time here, and the payload type says whether it is a key frame: the rest is encrypted.
fn header_stamp(datagram: &[u8]) -> Option<(bool, u32)> {
    let header = datagram.first_chunk::<12>()?;
    Some((header[1] & 0x7f == KEY, u32::from_be_bytes([header[4], header[5], header[6], header[7]])))
}

const PLAIN: u8 = 96;
const KEY: u8 = 98;

struct Sender {
    socket: Socket,
    sources: Vec<Source>,
    spacing: Duration,
}

/// A feed and who gets it.
struct Source {
    frames: Frames,
    viewers: Vec<(SocketAddr, Context)>,
}

impl Sender {
    fn new(to: &[SocketAddr], viewers: usize, feed: Feed) -> Result<Self, LoadError> {
        let provider = rtc::crypto::default_provider().map_err(|_| LoadError::Cipher)?;
        let context = || {
            let (key, salt): ([u8; 16], [u8; 12]) = (rand::random(), rand::random());
            Context::new(&key, &salt, ProtectionProfile::AeadAes128Gcm, None, None, provider.crypto())
        };
        let source = |to: &[SocketAddr]| {
            let viewers = to.iter().map(|to| Ok((*to, context()?))).collect::<Result<_, rtc::shared::error::Error>>()?;
            let frames = Frames::new(feed).map_err(|error| rtc::shared::error::Error::Other(error.to_string()))?;
            Ok(Source { frames, viewers })
        };
        let sources = to.chunks(viewers.max(1)).map(source).collect::<Result<_, LoadError>>()?;
        Ok(Self { socket: Socket::bind()?, sources, spacing: feed.spacing() })
    }

    fn run(mut self, length: Duration) -> Result<(u64, Duration), LoadError> {
        let began = Instant::now();
        let busy_before = own_time();
        // publishers do not tick together
        let step = self.spacing / self.sources.len().max(1) as u32;
        let mut due = began;
        let mut sent = 0;
        let mut train = Vec::new();
        while due < began + length {
            for source in &mut self.sources {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due += step;
                let Ok(frame) = source.frames.next(false) else { continue };
                sent += send(&self.socket, &mut source.viewers, &frame, &mut train)?;
            }
        }
        Ok((sent, own_time().saturating_sub(busy_before)))
    }
}

/// One frame to all: a train per viewer and run of packets of one size.
fn send(socket: &Socket, viewers: &mut [(SocketAddr, Context)], frame: &Frame, train: &mut Vec<u8>) -> Result<u64, LoadError> {
    let time = wall_clock().as_micros() as u32;
    let most = socket.train();
    let mut plain = Vec::with_capacity(1500);
    let mut sent = 0;
    for (to, context) in viewers {
        train.clear();
        // bytes of the train's first packet, packets in it
        let (mut segment, mut count) = (0, 0);
        for packet in &frame.packets.packets {
            plain.clear();
            let pt = if frame.key { KEY } else { PLAIN };
            plain.extend_from_slice(&[0x80, pt | u8::from(packet.marker) << 7]);
            plain.extend_from_slice(&packet.sequence.to_be_bytes());
            plain.extend_from_slice(&time.to_be_bytes());
            plain.extend_from_slice(&7u32.to_be_bytes());
            plain.extend_from_slice(&packet.payload);
            let protected = context.encrypt_rtp(&plain)?;
            // only the last of a train may be shorter
            let fits = count > 0 && count < most && protected.len() <= segment && train.len() == count * segment;
            if count > 0 && !(fits && train.len() + protected.len() <= 65_000) {
                socket.send(*to, train, (count > 1).then_some(segment));
                train.clear();
                count = 0;
            }
            if count == 0 {
                segment = protected.len();
            }
            train.extend_from_slice(&protected);
            count += 1;
            sent += 1;
        }
        socket.send(*to, train, (count > 1).then_some(segment));
    }
    Ok(sent)
}

/// Time this thread was on a processor, by the kernel's own account.
fn own_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_reaches_every_socket() {
        let floor = floor(2, 3, Feed::picture(1_000_000), Duration::from_millis(200)).unwrap();
        assert!(floor.sent > 0 && floor.sent.is_multiple_of(3), "{floor:?}");
        assert!(floor.received > 0 && floor.received <= floor.sent, "{floor:?}");
        assert_eq!(floor.received as usize, floor.delta.len() + floor.key.len());
    }
}
