//! Which peers something happened to, and what is to be done about it.

use crate::peer::connection::Then;
use crate::vocab::PeerId;

/// Peers of a turn.
#[derive(Default)]
pub(super) struct Touched {
    /// Their engines may have something to give.
    stirred: Vec<PeerId>,
    /// Only media came of them, which their engines have not seen.
    arrived: Vec<PeerId>,
}

impl Touched {
    /// The peer's engine may have something to give.
    pub(super) fn push(&mut self, peer: PeerId) {
        // one peer's datagrams come in a row
        if self.stirred.last() != Some(&peer) {
            self.stirred.push(peer);
        }
    }

    /// A datagram came.
    pub(super) fn note(&mut self, peer: PeerId, then: Then) {
        match then {
            Then::Drain => self.push(peer),
            Then::PassOn if self.arrived.last() != Some(&peer) => self.arrived.push(peer),
            Then::PassOn => {}
        }
    }

    /// Those whose engines may have something to give, once each.
    pub(super) fn take_stirred(&mut self) -> Vec<PeerId> {
        let mut peers = std::mem::take(&mut self.stirred);
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// Those of whom only media came, once each.
    pub(super) fn take_arrived(&mut self) -> Vec<PeerId> {
        let mut peers = std::mem::take(&mut self.arrived);
        peers.retain(|peer| !self.stirred.contains(peer));
        peers.sort_unstable();
        peers.dedup();
        peers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_turn_once_with_all_that_it_needs() {
        let mut touched = Touched::default();
        let [one, other, third] = std::array::from_fn(|_| PeerId::next());
        for (peer, then) in
            [(other, Then::PassOn), (one, Then::PassOn), (third, Then::PassOn), (one, Then::Drain), (other, Then::PassOn)]
        {
            touched.note(peer, then);
        }
        touched.push(one);
        assert_eq!(touched.take_arrived(), [other, third]);
        assert_eq!(touched.take_stirred(), [one]);
        assert!(touched.take_arrived().is_empty() && touched.take_stirred().is_empty());
    }
}
