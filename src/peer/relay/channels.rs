//! PURE. The far ends' addresses that pass a relay, each by a channel. A channel is a permission, too: it opens the relay for all ports of an
//! address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::wire::CHANNELS;
use crate::vocab::PeerId;

/// Addresses in all. A relay for all members has a few for each of them.
pub(super) const MOST: usize = 512;
/// Addresses of a peer: a far end has a few, and whoever names more gains nothing.
pub(super) const MOST_OF_A_PEER: usize = 24;
/// How long a permission holds (RFC 8656 §9), and when it is renewed.
const PERMISSION: Duration = Duration::from_secs(300);
const RENEWAL: Duration = Duration::from_secs(240);
/// One by which nothing came for so long is not in use: far ends check every few seconds.
const USE: Duration = Duration::from_secs(20);
/// Between looks whether one is in use after all that is not renewed.
const LOOK: Duration = Duration::from_secs(10);
/// The number of a channel stays its address's for the ten minutes of the channel and five more (RFC 8656 §12).
const NUMBER_LASTS: Duration = Duration::from_secs(900);
/// An address that the server refused is not asked for again before.
const REFUSAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Channel {
    to: SocketAddr,
    peer: PeerId,
    state: State,
    /// Something came by it last, or it was asked for.
    used: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server is asked, for the first time or after a rest.
    Asked,
    /// Granted then. While the server is asked to renew it, it holds.
    Open { since: Instant, renewing: bool },
    /// The server closed it for disuse.
    Lapsed { since: Instant },
    /// The server does not want it.
    Refused { since: Instant },
}

/// All of one allocation.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_number: HashMap<u16, Channel>,
    by_address: HashMap<SocketAddr, u16>,
    /// Where the search for a free number begins.
    last: u16,
}

impl Channels {
    /// A peer has something for an address that has no open channel. The number to ask the server for, if it is to be asked.
    pub(super) fn want(&mut self, now: Instant, peer: PeerId, to: SocketAddr) -> Option<u16> {
        if let Some(number) = self.by_address.get(&to) {
            let channel = self.by_number.get_mut(number)?;
            let again = match channel.state {
                State::Asked | State::Open { .. } => false,
                State::Lapsed { .. } => true,
                State::Refused { since } => now >= since + REFUSAL,
            };
            if again {
                (channel.state, channel.used, channel.peer) = (State::Asked, now, peer);
            }
            return again.then_some(*number);
        }
        let its = self.by_number.values().filter(|channel| channel.peer == peer && !channel.is_idle()).count();
        if self.by_number.len() >= MOST || its >= MOST_OF_A_PEER {
            return None;
        }
        let numbers = CHANNELS.end() - CHANNELS.start() + 1;
        let free = (1..=numbers).map(|step| CHANNELS.start() + (self.last + step) % numbers);
        let number = free.into_iter().find(|number| !self.by_number.contains_key(number))?;
        self.last = number - CHANNELS.start();
        self.by_number.insert(number, Channel { to, peer, state: State::Asked, used: now });
        self.by_address.insert(to, number);
        Some(number)
    }

    /// The server has granted it. Returns whether it was closed before.
    pub(super) fn granted(&mut self, now: Instant, number: u16) -> bool {
        let Some(channel) = self.by_number.get_mut(&number) else { return false };
        let before = std::mem::replace(&mut channel.state, State::Open { since: now, renewing: false });
        !matches!(before, State::Open { .. })
    }

    /// The server has not. Returns whether it was open.
    pub(super) fn refused(&mut self, now: Instant, number: u16) -> bool {
        let Some(channel) = self.by_number.get_mut(&number) else { return false };
        matches!(std::mem::replace(&mut channel.state, State::Refused { since: now }), State::Open { .. })
    }

    /// The server takes this number for another address's, or the address for another number's: it gets another number.
    pub(super) fn forget(&mut self, number: u16) {
        if let Some(channel) = self.by_number.remove(&number) {
            self.by_address.remove(&channel.to);
        }
    }

    /// Whose datagrams come by a channel.
    pub(super) fn heard(&mut self, now: Instant, number: u16) -> Option<SocketAddr> {
        let channel = self.by_number.get_mut(&number)?;
        channel.used = now;
        Some(channel.to)
    }

    /// Whether something came by one of late.
    pub(super) fn are_used(&self, now: Instant) -> bool {
        self.by_number.values().any(|channel| matches!(channel.state, State::Open { .. }) && now < channel.used + USE)
    }

    /// The address behind a number.
    pub(super) fn address(&self, number: u16) -> Option<SocketAddr> {
        self.by_number.get(&number).map(|channel| channel.to)
    }

    /// Numbers to ask the server to renew; and whether one that was open is so no more.
    pub(super) fn tend(&mut self, now: Instant) -> (Vec<u16>, bool) {
        let (mut renew, mut closed) = (Vec::new(), false);
        for (number, channel) in &mut self.by_number {
            let State::Open { since, renewing } = &mut channel.state else { continue };
            let since = *since;
            if now >= since + PERMISSION {
                channel.state = State::Lapsed { since };
                closed = true;
            } else if !*renewing && now >= since + RENEWAL && channel.used > since {
                *renewing = true;
                renew.push(*number);
            }
        }
        let stale = |channel: &Channel| channel.gone().is_some_and(|gone| now >= gone);
        let gone: Vec<u16> = self.by_number.iter().filter(|(_, channel)| stale(channel)).map(|(number, _)| *number).collect();
        gone.into_iter().for_each(|number| self.forget(number));
        (renew, closed)
    }

    /// When [`Self::tend`] is due after now.
    pub(super) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        let due = |channel: &Channel| match channel.state {
            State::Open { since, renewing: false } => Some((now + LOOK).max(since + RENEWAL).min(since + PERMISSION)),
            State::Open { since, renewing: true } => Some(since + PERMISSION),
            _ => channel.gone(),
        };
        self.by_number.values().filter_map(due).min()
    }

    /// Open ones.
    pub(super) fn open(&self) -> HashMap<SocketAddr, u16> {
        let open = self.by_number.iter().filter(|(_, channel)| matches!(channel.state, State::Open { .. }));
        open.map(|(number, channel)| (channel.to, *number)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }
}

impl Channel {
    /// Nothing passes by it.
    fn is_idle(&self) -> bool {
        matches!(self.state, State::Lapsed { .. } | State::Refused { .. })
    }

    /// When it is forgotten.
    fn gone(&self) -> Option<Instant> {
        match self.state {
            State::Lapsed { since } => Some(since + NUMBER_LASTS),
            State::Refused { since } => Some(since + REFUSAL),
            State::Asked | State::Open { .. } => None,
        }
    }
}

/// Addresses for which a permission stands, of open channels.
pub(super) fn permitted(open: &HashMap<SocketAddr, u16>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = open.keys().map(SocketAddr::ip).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(0xcb00_7100 + number), 5000))
    }

    #[test]
    fn one_that_is_used_is_renewed_and_one_that_is_not_lapses_and_keeps_its_number_for_a_while() {
        let (mut channels, start) = (Channels::default(), Instant::now());
        let numbers = [1, 2].map(|to| channels.want(start, PeerId(1), at(to)).unwrap());
        assert_eq!(channels.want(start, PeerId(1), at(1)), None, "asked already");
        assert!(numbers.iter().all(|number| channels.granted(start, *number)));
        let used = start + Duration::from_secs(200);
        assert_eq!(channels.heard(used, numbers[0]), Some(at(1)));
        let now = start + RENEWAL;
        assert_eq!(channels.next_timeout(used), Some(now));
        assert_eq!(channels.tend(now), (vec![numbers[0]], false));
        assert!(!channels.granted(now, numbers[0]), "open all the time");
        assert_eq!(channels.tend(start + PERMISSION), (vec![], true));
        assert_eq!(channels.open().into_keys().collect::<Vec<_>>(), [at(1)]);
        assert_eq!(channels.want(start + PERMISSION, PeerId(2), at(2)), Some(numbers[1]), "its old number");
        channels.granted(now + PERMISSION, numbers[1]);
        let end = now + 2 * PERMISSION;
        channels.tend(end);
        channels.tend(end + NUMBER_LASTS);
        assert_eq!((channels.len(), channels.next_timeout(end + NUMBER_LASTS)), (0, None), "nothing came by either");
    }

    #[test]
    fn a_refused_address_is_let_be_for_a_minute() {
        let (mut channels, now) = (Channels::default(), Instant::now());
        let number = channels.want(now, PeerId(1), at(1)).unwrap();
        assert!(!channels.refused(now, number));
        assert_eq!(channels.want(now + REFUSAL / 2, PeerId(1), at(1)), None);
        assert_eq!(channels.want(now + REFUSAL, PeerId(1), at(1)), Some(number));
        channels.forget(number);
        assert_ne!(channels.want(now + REFUSAL, PeerId(1), at(1)), Some(number), "another one");
    }

    #[test]
    fn neither_a_peer_nor_all_have_more_than_they_may() {
        let (mut channels, now) = (Channels::default(), Instant::now());
        let asked = (0..100).filter(|to| channels.want(now, PeerId(1), at(*to)).is_some()).count();
        assert_eq!(asked, MOST_OF_A_PEER);
        for peer in 2..100 {
            for to in 0..20 {
                channels.want(now, PeerId(peer), at(u32::try_from(peer).unwrap() * 100 + to));
            }
        }
        assert_eq!(channels.len(), MOST);
        assert!(channels.by_number.keys().all(|number| CHANNELS.contains(number)));
        assert_eq!(channels.by_address.len(), MOST);
    }
}
