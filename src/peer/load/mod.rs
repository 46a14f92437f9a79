//! Load for benchmarks: publishers of synthetic pictures or sound and many viewers, all on one thread.
//!
//! The async driver of [`outgoing`](super::outgoing) costs a task and several wake-ups per packet, which on a small machine
//! takes more time than the gateway under test. Here each far end is an engine and a socket, the thread waits for all of
//! them at once, and arrival times come from the kernel, so that a viewer that is served late does not look like a late packet.
//!
//! ```text
//! LoadPeer::publisher / player ─► offer ─► answer by signalling ─► accept ─► Rig::add ─► RigNews, Interval
//! ```
//!
//! [`floor`] sends the same to as many sockets with nothing but SRTP and the system call.

mod channel;
mod crypto;
mod far_end;
mod feed;
mod floor;
mod plain;
mod rehearsal;
mod rig;
mod socket;

pub use channel::{ChannelFigures, ChannelLoad, channel_load};
pub use crypto::{SrtpCost, srtp_costs};
pub use far_end::LoadPeer;
pub use feed::Feed;
pub use floor::{Floor, floor};
pub use plain::PlainFeed;
pub use rehearsal::rehearse;
pub use rig::{Interval, Parting, Rig, RigNews, Sight};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why a far end or the floor cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine refused.
    #[error("engine: {0}")]
    Engine(#[from] rtc::shared::error::Error),
    /// No socket, event descriptor or thread.
    #[error("system: {0}")]
    System(#[from] std::io::Error),
    /// The answer has no section for what is offered.
    #[error("the gateway's answer takes nothing of what was offered")]
    Refused,
    /// A connection, a channel or a picture did not come, or did not stay.
    #[error("a connection, a channel or a picture did not come within a minute, or did not stay")]
    Late,
    /// Messages of a channel came in another order than they were sent.
    #[error("messages came in another order than they were sent")]
    Disordered,
    /// A cipher is not there, or broken.
    #[error("a cipher is missing or does not read what it wrote")]
    Cipher,
}

/// Times that packets took, in microseconds. Kept one by one, since a bucket would round what the 99th part is about.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Times kept: 60 s of 200 viewers at 2 Mbit/s, 12 MB. Later ones are not noted.
    const MOST: usize = 3_000_000;

    fn note(&mut self, taken: Duration) {
        if self.0.len() < Self::MOST {
            self.0.push(taken.as_micros().try_into().unwrap_or(u32::MAX));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time that this part of the packets kept (0 to 1), in milliseconds; `None` without packets.
    pub fn quantile_ms(&mut self, part: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        let at = (last as f64 * part.clamp(0.0, 1.0)).round() as usize;
        let (_, value, _) = self.0.select_nth_unstable(at);
        Some(f64::from(*value) / 1000.0)
    }
}

/// The wall clock, which is also that of the kernel's arrival times.
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_packets() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile_ms(0.5), None);
        (0..=100).rev().for_each(|ms| latencies.note(Duration::from_millis(ms)));
        assert_eq!(latencies.quantile_ms(0.0), Some(0.0));
        assert_eq!(latencies.quantile_ms(0.5), Some(50.0));
        assert_eq!(latencies.quantile_ms(0.99), Some(99.0));
        assert_eq!(latencies.quantile_ms(7.0), Some(100.0));
        assert_eq!(latencies.len(), 101);
    }
}
