//! PURE. Which SRTP profile a far end can do, read from its DTLS ClientHello before the engine sees it.
//!
//! One profile costs less than the other ([`Processor`](super::processor::Processor) says which), but a DTLS server of the engine
//! follows the *client's* order, in which browsers put AES_CM first, and some far ends know only one. So an engine is built for the
//! preferred one alone, and built again for the other when the first ClientHello names that and not the preferred one.

use super::protect::Suite;

/// What an engine is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// One: Portico is the DTLS server.
    Only(Suite),
    /// Either, by the far end's choice: Portico is the DTLS client, and names this one first.
    Either(Suite),
}

/// The profile for a far end: the preferred one where it names that, or names none of the two, in which case the engine says what is
/// wrong with it.
fn choose(prefer: Suite, named: Option<&[u16]>) -> Suite {
    let names = |suite: Suite| named.is_some_and(|named| named.contains(&suite.number()));
    if !names(prefer) && names(prefer.other()) { prefer.other() } else { prefer }
}

/// Most datagrams held back while a ClientHello is incomplete. One with post-quantum key shares takes two.
const HELD_DATAGRAMS: usize = 8;
/// Largest ClientHello put together.
const HELLO_BYTES: usize = 16 * 1024;

/// Watches the first DTLS datagrams of a connection.
#[derive(Debug, Default)]
pub(super) struct HelloGate {
    held: Vec<Vec<u8>>,
    hello: Vec<u8>,
    seen: Vec<bool>,
    decided: bool,
}

/// What to do with a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Give it to the engine.
    Pass,
    /// Kept until the rest arrives.
    Hold,
    /// The ClientHello is complete; give these datagrams to an engine for this profile.
    Decided {
        /// The preferred one unless the far end names only the other.
        suite: Suite,
        /// The datagrams held, this one last.
        datagrams: Vec<Vec<u8>>,
    },
}

impl HelloGate {
    /// Whether everything passes from now on.
    pub(super) fn is_decided(&self) -> bool {
        self.decided
    }

    /// Takes a DTLS datagram.
    pub(super) fn admit(&mut self, prefer: Suite, datagram: &[u8]) -> Gate {
        if self.decided {
            return Gate::Pass;
        }
        let complete = match self.collect(datagram) {
            Collected::NotHello => return Gate::Pass,
            Collected::Partly => false,
            Collected::Whole => true,
            // the engine will say what is wrong with it
            Collected::Broken => true,
        };
        self.held.push(datagram.to_vec());
        if !complete && self.held.len() < HELD_DATAGRAMS {
            return Gate::Hold;
        }
        self.decided = true;
        let suite = choose(prefer, srtp_profiles(&self.hello).as_deref());
        self.hello = Vec::new();
        self.seen = Vec::new();
        Gate::Decided { suite, datagrams: std::mem::take(&mut self.held) }
    }

    /// Copies the ClientHello fragments of a datagram to their place (RFC 6347 §4.1 and §4.2.2).
    fn collect(&mut self, datagram: &[u8]) -> Collected {
        let mut rest = datagram;
        let mut found = false;
        while let Some((record, after)) = take_record(rest) {
            rest = after;
            let Some(record) = record else { continue };
            let mut messages = record;
            while let Some(header) = messages.get(..12) {
                let (len, offset, part) = (int24(&header[1..4]), int24(&header[6..9]), int24(&header[9..12]));
                let Some(body) = messages.get(12..12 + part) else { return Collected::Broken };
                messages = &messages[12 + part..];
                if header[0] != CLIENT_HELLO {
                    continue;
                }
                found = true;
                if len > HELLO_BYTES || offset + part > len || (!self.hello.is_empty() && self.hello.len() != len) {
                    return Collected::Broken;
                }
                self.hello.resize(len, 0);
                self.seen.resize(len, false);
                self.hello[offset..offset + part].copy_from_slice(body);
                self.seen[offset..offset + part].fill(true);
            }
        }
        match found {
            false => Collected::NotHello,
            true if self.seen.iter().all(|seen| *seen) => Collected::Whole,
            true => Collected::Partly,
        }
    }
}

enum Collected {
    NotHello,
    Partly,
    Whole,
    Broken,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// The next record: its fragment when it is an unencrypted handshake record, and what follows.
fn take_record(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let header = bytes.get(..13)?;
    let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
    let fragment = bytes.get(13..13 + len)?;
    let plain = header[0] == HANDSHAKE && header[3..5] == [0, 0];
    Some((plain.then_some(fragment), &bytes[13 + len..]))
}

fn int24(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// The protection profiles of a ClientHello's `use_srtp` extension (RFC 5764 §4.1.1); `None` without one.
fn srtp_profiles(hello: &[u8]) -> Option<Vec<u16>> {
    const USE_SRTP: u16 = 14;
    let mut rest = hello.get(34..)?;
    // session id, cookie: one byte of length; cipher suites: two; compression methods: one
    for width in [1, 1, 2, 1] {
        rest = take_vector(rest, width)?.1;
    }
    let (mut extensions, _) = take_vector(rest, 2)?;
    while extensions.len() >= 4 {
        let kind = u16::from_be_bytes([extensions[0], extensions[1]]);
        let (body, after) = take_vector(&extensions[2..], 2)?;
        if kind == USE_SRTP {
            let (profiles, _) = take_vector(body, 2)?;
            return Some(profiles.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect());
        }
        extensions = after;
    }
    None
}

/// A vector with a length of `width` bytes before it, and what follows.
fn take_vector(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let len = int24(bytes.get(..width)?);
    Some((bytes.get(width..width + len)?, bytes.get(width + len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello(profiles: &[u16]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([9; 32]);
        body.extend([0, 0]);
        body.extend([0, 2, 0xc0, 0x2b, 1, 0]);
        let mut srtp = ((profiles.len() * 2) as u16).to_be_bytes().to_vec();
        profiles.iter().for_each(|profile| srtp.extend(profile.to_be_bytes()));
        srtp.push(0);
        let mut extensions = vec![0, 23, 0, 0, 0, 14];
        extensions.extend((srtp.len() as u16).to_be_bytes());
        extensions.extend(srtp);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        body
    }

    fn record(body: &[u8], offset: usize, len: usize) -> Vec<u8> {
        let int24 = |value: usize| (value as u32).to_be_bytes()[1..].to_vec();
        let mut message = vec![CLIENT_HELLO];
        message.extend(int24(body.len()));
        message.extend([0, 0]);
        message.extend(int24(offset));
        message.extend(int24(len));
        message.extend(&body[offset..offset + len]);
        let mut record = vec![HANDSHAKE, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        record
    }

    fn decide(prefer: Suite, profiles: &[u16]) -> Suite {
        let body = hello(profiles);
        let mut gate = HelloGate::default();
        match gate.admit(prefer, &record(&body, 0, body.len())) {
            Gate::Decided { suite, .. } if gate.is_decided() => suite,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_preferred_one_is_taken_where_it_is_named_at_all_and_else_the_other() {
        for prefer in Suite::ALL {
            let (preferred, other) = (prefer.number(), prefer.other().number());
            for named in [&[preferred, other][..], &[other, preferred], &[preferred], &[2, preferred]] {
                assert_eq!(decide(prefer, named), prefer, "{named:?}");
            }
            assert_eq!((decide(prefer, &[other]), decide(prefer, &[other, 2])), (prefer.other(), prefer.other()));
            // the engine says what is wrong with these
            assert_eq!((decide(prefer, &[2]), choose(prefer, None)), (prefer, prefer));
        }
    }

    #[test]
    fn fragments_are_put_together_in_any_order() {
        let body = hello(&[0x0001]);
        let mut gate = HelloGate::default();
        let (second, first) = (record(&body, 30, body.len() - 30), record(&body, 0, 30));
        assert_eq!(gate.admit(Suite::Gcm, &second), Gate::Hold);
        assert_eq!(gate.admit(Suite::Gcm, &first), Gate::Decided { suite: Suite::Cm, datagrams: vec![second, first.clone()] });
        assert_eq!(gate.admit(Suite::Gcm, &first), Gate::Pass);
    }

    #[test]
    fn what_never_completes_is_passed_on() {
        let body = hello(&[0x0001]);
        let mut gate = HelloGate::default();
        let part = record(&body, 0, 10);
        for _ in 0..HELD_DATAGRAMS - 1 {
            assert_eq!(gate.admit(Suite::Gcm, &part), Gate::Hold);
        }
        assert!(matches!(gate.admit(Suite::Gcm, &part), Gate::Decided { datagrams, .. } if datagrams.len() == HELD_DATAGRAMS));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), cut in 0usize..80) {
            let mut gate = HelloGate::default();
            let _ = gate.admit(Suite::Gcm, &bytes);
            let _ = srtp_profiles(&bytes);
            let mut near = record(&hello(&[1, 7]), 0, 40);
            near.truncate(near.len().saturating_sub(cut));
            near.extend(&bytes);
            let _ = gate.admit(Suite::Cm, &near);
        }
    }
}
