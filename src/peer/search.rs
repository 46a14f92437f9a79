//! PURE. Another way to a far end: when the machine's addresses or routes change, the way in use may be gone, while the far end is still where
//! it was. Every address of the machine is tried at once with a connectivity check (RFC 8445 §7.2). To the far end an address it did not
//! know is peer-reflexive (§7.3.1.3), so that no description has to be exchanged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Between checks at first, and after the first second.
const ROUND: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
const BRISK: Duration = Duration::from_secs(1);
/// What the present way has to answer, before another one that answered is taken.
const GRACE: Duration = Duration::from_millis(300);
/// Given up after: a far end that is silent for so long is lost.
const LIMIT: Duration = Duration::from_secs(10);

/// One address that is tried.
#[derive(Debug)]
struct Try {
    local: SocketAddr,
    /// Transaction of its checks.
    id: [u8; 12],
}

/// The search of one peer.
#[derive(Debug)]
pub(super) struct Search {
    tries: Vec<Try>,
    began: Instant,
    next: Instant,
    /// The way in use, if the machine still has its address.
    present: Option<SocketAddr>,
    found: Option<SocketAddr>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing yet.
    Searching,
    /// The way in use is good.
    Stay,
    /// This address leads to the far end.
    Move(SocketAddr),
    /// None does.
    Nothing,
}

impl Search {
    /// Looks for a way `to` the far end from any of `hosts`; `present` is the one in use.
    pub(super) fn new(
        now: Instant,
        present: SocketAddr,
        to: SocketAddr,
        hosts: &[SocketAddr],
        mut id: impl FnMut() -> [u8; 12],
    ) -> Self {
        let usable = |host: &&SocketAddr| host.is_ipv4() == to.is_ipv4() && host.ip().is_loopback() == to.ip().is_loopback();
        let tries: Vec<Try> = hosts.iter().filter(usable).map(|local| Try { local: *local, id: id() }).collect();
        let present = Some(present).filter(|present| tries.iter().any(|it| it.local == *present));
        Self { tries, began: now, next: now, present, found: None }
    }

    /// When [`Self::timeout`] is due.
    pub(super) fn next_timeout(&self) -> Instant {
        self.next
    }

    /// Checks to send: from where, with which transaction.
    pub(super) fn timeout(&mut self, now: Instant) -> (Outcome, Vec<(SocketAddr, [u8; 12])>) {
        let since = now.saturating_duration_since(self.began);
        match self.found {
            Some(local) if since >= GRACE => return (Outcome::Move(local), Vec::new()),
            _ if since >= LIMIT => return (Outcome::Nothing, Vec::new()),
            _ if now < self.next => return (Outcome::Searching, Vec::new()),
            _ => {}
        }
        self.next = now + if since < BRISK { ROUND.0 } else { ROUND.1 };
        (Outcome::Searching, self.tries.iter().map(|it| (it.local, it.id)).collect())
    }

    /// The address whose check had this transaction.
    pub(super) fn local(&self, id: [u8; 12]) -> Option<SocketAddr> {
        self.tries.iter().find(|it| it.id == id).map(|it| it.local)
    }

    /// The far end answered a check from there.
    pub(super) fn answered(&mut self, now: Instant, local: SocketAddr) -> Outcome {
        if self.present == Some(local) {
            return Outcome::Stay;
        }
        if self.present.is_none() || now >= self.began + GRACE {
            return Outcome::Move(local);
        }
        self.found.get_or_insert(local);
        self.next = self.next.min(self.began + GRACE);
        Outcome::Searching
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn search(now: Instant, present: &str, hosts: &[&str]) -> Search {
        let hosts: Vec<SocketAddr> = hosts.iter().map(|host| at(host)).collect();
        let mut next = 0;
        Search::new(now, at(present), at("192.168.1.9:5000"), &hosts, || {
            next += 1;
            [next; 12]
        })
    }

    #[test]
    fn with_its_address_gone_the_first_way_that_leads_there_is_taken() {
        let now = Instant::now();
        let mut search = search(now, "192.168.1.7:1", &["10.0.0.7:1", "192.168.1.8:1", "[fd00::1]:1", "127.0.0.1:1"]);
        let (outcome, checks) = search.timeout(now);
        assert_eq!((outcome, checks.len()), (Outcome::Searching, 2), "of its family, and no loopback");
        assert_eq!(search.local(checks[1].1), Some(at("192.168.1.8:1")));
        assert_eq!(search.local([9; 12]), None);
        assert_eq!(search.answered(now, at("192.168.1.8:1")), Outcome::Move(at("192.168.1.8:1")));
    }

    #[test]
    fn a_way_that_answers_is_kept_and_another_one_waits_for_it() {
        let now = Instant::now();
        let mut search = search(now, "192.168.1.7:1", &["192.168.1.7:1", "192.168.1.8:1"]);
        assert_eq!(search.timeout(now).1.len(), 2);
        assert_eq!(search.answered(now, at("192.168.1.8:1")), Outcome::Searching);
        assert_eq!(search.timeout(now + GRACE / 2).0, Outcome::Searching);
        assert_eq!(search.answered(now, at("192.168.1.7:1")), Outcome::Stay);
        assert!(search.next_timeout() <= now + GRACE);
        assert_eq!(search.timeout(now + GRACE).0, Outcome::Move(at("192.168.1.8:1")));
    }

    #[test]
    fn it_ends() {
        let start = Instant::now();
        let mut search = search(start, "192.168.1.7:1", &["192.168.1.7:1"]);
        let (mut now, mut sent) = (start, 0);
        let outcome = loop {
            let (outcome, checks) = search.timeout(now);
            sent += checks.len();
            if outcome != Outcome::Searching {
                break outcome;
            }
            assert!(search.next_timeout() > now);
            now = search.next_timeout();
        };
        assert_eq!(outcome, Outcome::Nothing);
        assert!(now - start >= LIMIT && now - start <= LIMIT + ROUND.1 && sent < 40, "{sent} checks");
    }
}
