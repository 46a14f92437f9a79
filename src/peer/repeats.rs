//! PURE. What a far end repeats during the DTLS handshake, and our last flight, which answers it.
//!
//! The engine stops its own retransmission timer for every handshake record that comes and does not start it again unless its flight is
//! whole (`wait` in `rtc-dtls/src/handshaker.rs`, 0.21.1); nor does it answer a repetition before it is done. A far end that repeats
//! its ClientHello because our answer was lost would then silence us for good. So it does not see what it has seen: our last
//! flight is sent again instead (RFC 6347 §4.2.4).

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

/// Datagrams remembered of what was heard: a far end's flight has at most 5 with certificates of usual size.
const HEARD: usize = 16;
/// Datagrams kept of our last flight.
const FLIGHT: usize = 8;
/// How often it is sent again in one handshake: a far end doubles its patience from 50 ms (libwebrtc) or 1 s on.
const AGAIN: u32 = 16;

/// A datagram and its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) local: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) datagram: Vec<u8>,
}

/// One handshake.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    heard: VecDeque<u64>,
    flight: Vec<Said>,
    answered: u32,
    /// What the engine heard last it was not asked about yet: its answer may be on the way.
    unanswered: bool,
}

/// What to do with a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is the engine's.
    New,
    /// It came before: these are sent again, and the engine does not see it.
    Again(Vec<Said>),
}

impl Repeats {
    /// Judges a datagram of DTLS from the far end.
    pub(super) fn hears(&mut self, datagram: &[u8]) -> Heard {
        // what is encrypted tells nothing; the engine knows its sequence numbers
        let Some(words) = words(datagram) else { return Heard::New };
        if !self.heard.contains(&words) {
            if self.heard.len() == HEARD {
                self.heard.pop_front();
            }
            self.heard.push_back(words);
            self.flight.clear();
            self.unanswered = true;
            return Heard::New;
        }
        if self.flight.is_empty() {
            // right behind the first it would only silence the engine; later, that did not answer: it may not have been ready for it, or
            // waits for the rest
            return if self.unanswered { Heard::Again(Vec::new()) } else { Heard::New };
        }
        // of a flight of several the last is answered, so that each repetition has one answer
        let answer = self.heard.back() == Some(&words) && self.answered < AGAIN;
        self.answered += u32::from(answer);
        Heard::Again(if answer { self.flight.clone() } else { Vec::new() })
    }

    /// Everything that the engine had to say was taken out of it.
    pub(super) fn drained(&mut self) {
        self.unanswered = false;
    }

    /// A datagram of DTLS leaves.
    pub(super) fn says(&mut self, local: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let repeated = |said: &Said| words(&said.datagram).is_some() && words(&said.datagram) == words(datagram);
        if self.flight.len() < FLIGHT && !self.flight.iter().any(repeated) {
            self.flight.push(Said { local, to, datagram: datagram.to_vec() });
        }
    }
}

/// What a datagram says, without its records' numbers, which change when it is sent again (RFC 6347 §4.1). `None` where something is not
/// of the handshake in the clear.
fn words(datagram: &[u8]) -> Option<u64> {
    const HANDSHAKE: u8 = 22;
    const IN_THE_CLEAR: [u8; 2] = [0, 0];
    let mut hasher = DefaultHasher::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let (header, body) = rest.split_first_chunk::<13>()?;
        if header[0] != HANDSHAKE || header[3..5] != IN_THE_CLEAR {
            return None;
        }
        let (body, next) = body.split_at_checked(usize::from(u16::from_be_bytes([header[11], header[12]])))?;
        body.hash(&mut hasher);
        rest = next;
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, epoch: u8, number: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, number];
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn said(datagram: &[u8]) -> Said {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Said { local: address, to: address, datagram: datagram.to_vec() }
    }

    fn say(repeats: &mut Repeats, datagram: &[u8]) {
        let Said { local, to, datagram } = said(datagram);
        repeats.says(local, to, &datagram);
    }

    #[test]
    fn a_hello_that_comes_again_gets_the_last_flight_again() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.hears(&record(22, 0, 0, b"hello")), Heard::New);
        say(&mut repeats, b"verify");
        assert_eq!(repeats.hears(&record(22, 0, 1, b"hello")), Heard::Again(vec![said(b"verify")]));
        assert_eq!(repeats.hears(&record(22, 0, 2, b"hello and cookie")), Heard::New);
        for datagram in [record(22, 0, 0, b"server"), record(22, 0, 1, b"done"), record(22, 0, 2, b"server")] {
            say(&mut repeats, &datagram);
        }
        let flight = vec![said(&record(22, 0, 0, b"server")), said(&record(22, 0, 1, b"done"))];
        assert_eq!(repeats.hears(&record(22, 0, 3, b"hello and cookie")), Heard::Again(flight));
        assert_eq!(repeats.hears(&record(22, 0, 4, b"hello")), Heard::Again(vec![]), "an older one");
    }

    #[test]
    fn what_had_no_answer_goes_to_the_engine_again() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.hears(&record(22, 0, 0, b"hello")), Heard::New);
        assert_eq!(repeats.hears(&record(22, 0, 1, b"hello")), Heard::Again(vec![]), "it has not answered yet");
        repeats.drained();
        // before ICE had a pair, perhaps
        assert_eq!(repeats.hears(&record(22, 0, 1, b"hello")), Heard::New);
        say(&mut repeats, b"verify");
        assert_eq!(repeats.hears(&record(22, 0, 2, b"hello")), Heard::Again(vec![said(b"verify")]));
    }

    #[test]
    fn the_answers_have_an_end() {
        let mut repeats = Repeats::default();
        let hello = record(22, 0, 0, b"hello");
        repeats.hears(&hello);
        say(&mut repeats, b"verify");
        let answers = (0..100).filter(|_| repeats.hears(&hello) == Heard::Again(vec![said(b"verify")])).count();
        assert_eq!(answers, AGAIN as usize);
    }

    #[test]
    fn what_is_encrypted_is_the_engines() {
        let mut repeats = Repeats::default();
        let finished = [record(20, 0, 3, &[1]), record(22, 1, 0, b"finished")].concat();
        assert_eq!(repeats.hears(&finished), Heard::New);
        assert_eq!(repeats.hears(&finished), Heard::New);
        assert_eq!(repeats.hears(&record(23, 1, 1, b"data")), Heard::New);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_stay(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..100)) {
            let mut repeats = Repeats::default();
            for datagram in datagrams {
                repeats.hears(&datagram);
                say(&mut repeats, &datagram);
                prop_assert!(repeats.heard.len() <= HEARD && repeats.flight.len() <= FLIGHT);
            }
        }
    }
}
