//! PURE. Candidates with a name of multicast DNS in place of the address: browsers hide the addresses of a machine so until its user lets a page
//! use a camera (draft-ietf-mmusic-mdns-ice-candidates). Who finds the address has an ordinary candidate.

use std::net::IpAddr;

use super::sdp;

/// Names of one peer that are looked up: a machine has a few addresses.
pub(super) const MOST: usize = 8;
/// A label of DNS (RFC 1035 §2.3.4).
const LONGEST_LABEL: usize = 63;

/// The named candidates of one peer, each name once.
#[derive(Debug, Default)]
pub(super) struct Names {
    seen: Vec<String>,
    new: Vec<String>,
}

impl Names {
    /// Takes note of a candidate.
    pub(super) fn note(&mut self, candidate: &str) {
        let Some(name) = name(candidate) else { return };
        if candidate.len() <= 512 && self.seen.len() < MOST && !self.seen.iter().any(|seen| seen == name) {
            self.seen.push(name.to_owned());
            self.new.push(candidate.to_owned());
        }
    }

    /// Those that came since the last call.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.new)
    }
}

/// The name in a candidate, as in `1f2e….local`.
pub(super) fn name(candidate: &str) -> Option<&str> {
    let name = candidate.split_ascii_whitespace().nth(4)?;
    let label = name.strip_suffix(".local")?;
    let plain =
        !label.is_empty() && label.len() <= LONGEST_LABEL && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    plain.then_some(name)
}

/// The candidate with the address in place of its name; `None` where it is of no use.
pub(super) fn with_address(candidate: &str, address: IpAddr) -> Option<String> {
    let name = name(candidate)?;
    let found = candidate.replacen(name, &address.to_string(), 1);
    let reachable = !address.is_unspecified() && !address.is_multicast();
    (reachable && sdp::usable_candidate(&found)).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HIDDEN: &str = "candidate:1 1 udp 2113937151 0b1f8f9e-6ad5-4b0f-9b0e-3f9c7f2d1a11.local 53211 typ host generation 0";

    #[test]
    fn a_hidden_candidate_becomes_an_ordinary_one() {
        assert_eq!(name(HIDDEN), Some("0b1f8f9e-6ad5-4b0f-9b0e-3f9c7f2d1a11.local"));
        let found = with_address(HIDDEN, [192, 168, 1, 7].into()).unwrap();
        assert_eq!(found, "candidate:1 1 udp 2113937151 192.168.1.7 53211 typ host generation 0");
        assert_eq!(with_address(HIDDEN, [0, 0, 0, 0].into()), None);
        assert_eq!(with_address(&HIDDEN.replace("udp", "tcp"), [192, 168, 1, 7].into()), None);
        for other in ["192.168.1.7", "a.example.net", ".local", "a b.local", "a.b.local", &format!("{}.local", "a".repeat(64))] {
            assert_eq!(name(&HIDDEN.replace("0b1f8f9e-6ad5-4b0f-9b0e-3f9c7f2d1a11.local", other)), None, "{other}");
        }
    }

    #[test]
    fn each_name_is_looked_up_once_and_not_many_of_a_peer() {
        let mut names = Names::default();
        names.note(HIDDEN);
        names.note(HIDDEN);
        names.note("candidate:1 1 udp 1 192.168.1.7 5 typ host");
        assert_eq!(names.take(), [HIDDEN]);
        (0..100).for_each(|number| names.note(&format!("candidate:1 1 udp 1 a{number}.local 5 typ host")));
        assert_eq!(names.take().len(), MOST - 1);
        assert!(names.take().is_empty());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,120}") {
            let _ = (name(&text), with_address(&text, [10, 0, 0, 1].into()));
        }
    }
}
