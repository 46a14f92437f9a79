//! PURE. What STUN servers see the gateway's port as: asked from that port, so that what they see holds for every far end, and asked again,
//! so that the router does not forget (RFC 8489, RFC 8445 §5.1.1.2 and §11).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc::stun::attributes::ATTR_XORMAPPED_ADDRESS;
use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, TransactionId};
use rtc::stun::xoraddr::XorMappedAddress;

use super::reach::Public;

/// From the first request to the next, doubled each time (RFC 8489 §6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Requests before a server counts as silent: 15.5 s. The RFC's 7 would be 40 s.
const TRIES: u32 = 5;
/// Between answers and new questions: routers forget after 30 s and more (RFC 4787 §4.3 asks for 2 min, some do not keep to it).
const REFRESH: Duration = Duration::from_secs(20);
/// The same after silence.
const REST: Duration = Duration::from_secs(30);
/// Servers asked at most.
const MOST: usize = 8;

/// A server and what it said.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// When it is asked, or asked again.
    next: Instant,
    asked: Option<Asked>,
    seen: Option<Public>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    id: [u8; 12],
    tries: u32,
}

/// All servers.
#[derive(Debug, Default)]
pub(super) struct Reflexive {
    servers: Vec<Server>,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that far ends need to know.
    None,
    /// [`Reflexive::public`] is another one.
    Public,
}

impl Reflexive {
    /// Asks these from now on; what others said is forgotten.
    pub(super) fn set_servers(&mut self, now: Instant, addresses: &[SocketAddr]) -> Change {
        let before = self.public();
        let mut old = std::mem::take(&mut self.servers);
        for &address in addresses.iter().take(MOST) {
            let known = old.iter().position(|server| server.address == address).map(|at| old.swap_remove(at));
            if !self.servers.iter().any(|server| server.address == address) {
                self.servers.push(known.unwrap_or(Server { address, next: now, asked: None, seen: None }));
            }
        }
        self.change_since(&before)
    }

    /// The machine's addresses changed: everything is asked anew, and what was said holds until the answer.
    pub(super) fn ask_again(&mut self, now: Instant) {
        self.servers.iter_mut().for_each(|server| (server.next, server.asked) = (now, None));
    }

    /// When [`Self::timeout`] is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.servers.iter().map(|server| server.next).min()
    }

    /// Requests that are due, each with its server. `id` makes transaction ids.
    pub(super) fn timeout(&mut self, now: Instant, mut id: impl FnMut() -> [u8; 12]) -> (Change, Vec<(SocketAddr, Vec<u8>)>) {
        let before = self.public();
        let mut requests = Vec::new();
        for server in self.servers.iter_mut().filter(|server| server.next <= now) {
            let asked = server.asked.unwrap_or_else(|| Asked { id: id(), tries: 0 });
            if asked.tries == TRIES {
                if server.seen.take().is_some() {
                    tracing::info!(server = %server.address, "STUN server fell silent");
                }
                (server.asked, server.next) = (None, now + REST);
                continue;
            }
            server.next = now + FIRST_WAIT * (1 << asked.tries);
            server.asked = Some(Asked { tries: asked.tries + 1, ..asked });
            requests.extend(request(asked.id).map(|request| (server.address, request)));
        }
        (self.change_since(&before), requests)
    }

    /// Takes a datagram that is of no peer; `None` when it is no answer to a question.
    pub(super) fn datagram(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagram: &[u8]) -> Option<Change> {
        let server = self.servers.iter_mut().find(|server| server.address == from)?;
        let (id, address) = mapped(datagram)?;
        server.asked.take_if(|asked| asked.id == id)?;
        server.next = now + REFRESH;
        let seen = Public { address, base: local, tcp: false };
        let before = server.seen.replace(seen);
        if before != Some(seen) {
            tracing::info!(%address, %local, server = %from, "public address found");
            return Some(Change::Public);
        }
        Some(Change::None)
    }

    /// Whether every server has said something.
    pub(super) fn is_answered(&self) -> bool {
        self.servers.iter().all(|server| server.seen.is_some())
    }

    /// Public addresses, each once; none where the gateway's own address is public.
    pub(super) fn public(&self) -> Vec<Public> {
        let mut all: Vec<Public> = Vec::new();
        for seen in self.servers.iter().filter_map(|server| server.seen).filter(|seen| seen.address != seen.base) {
            if !all.contains(&seen) {
                all.push(seen);
            }
        }
        all
    }

    /// Whether servers see one port of the gateway as several: the router makes a new one for each far end, to whom no public address leads
    /// then (RFC 4787 §4.1, address-dependent mapping).
    pub(super) fn is_symmetric(&self) -> bool {
        let public = self.public();
        public.iter().any(|one| public.iter().any(|other| one.base == other.base && one.address != other.address))
    }

    fn change_since(&self, before: &[Public]) -> Change {
        if self.public() == before { Change::None } else { Change::Public }
    }
}

fn request(id: [u8; 12]) -> Option<Vec<u8>> {
    let mut message = Message::new();
    message.set_type(BINDING_REQUEST);
    message.transaction_id = TransactionId(id);
    message.write_header();
    message.marshal_binary().ok()
}

/// The transaction and address of a binding response.
fn mapped(datagram: &[u8]) -> Option<([u8; 12], SocketAddr)> {
    let mut message = Message::new();
    message
        .unmarshal_binary(datagram)
        .ok()
        .filter(|()| message.typ == BINDING_SUCCESS && message.contains(ATTR_XORMAPPED_ADDRESS))?;
    let mut address = XorMappedAddress::default();
    address.get_from(&message).ok()?;
    Some((message.transaction_id.0, SocketAddr::new(address.ip.to_canonical(), address.port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc::stun::message::Setter;

    use super::*;

    const LOCAL: &str = "10.0.0.2:8781";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn answer(request: &[u8], address: SocketAddr) -> Vec<u8> {
        let mut asked = Message::new();
        asked.unmarshal_binary(request).unwrap();
        let mut message = Message::new();
        message.set_type(BINDING_SUCCESS);
        message.transaction_id = asked.transaction_id;
        message.write_header();
        XorMappedAddress { ip: address.ip(), port: address.port() }.add_to(&mut message).unwrap();
        message.marshal_binary().unwrap()
    }

    /// Counts up.
    fn ids() -> impl FnMut() -> [u8; 12] {
        let mut next = 0;
        move || {
            next += 1;
            [next; 12]
        }
    }

    #[test]
    fn a_server_is_asked_until_it_answers_and_every_20_s_after() {
        let (mut reflexive, start, mut id) = (Reflexive::default(), Instant::now(), ids());
        let server = at("198.51.100.1:3478");
        assert_eq!(reflexive.set_servers(start, &[server, server]), Change::None);
        let (mut now, mut asked) = (start, Vec::new());
        for _ in 0..3 {
            now = reflexive.next_timeout().unwrap();
            let (_, requests) = reflexive.timeout(now, &mut id);
            asked.extend(requests);
        }
        assert_eq!(asked.len(), 3);
        assert_eq!(now - start, Duration::from_millis(1500));
        assert!(asked.iter().all(|(to, request)| *to == server && *request == asked[0].1), "one transaction");
        let public = at("203.0.113.7:40000");
        let reply = answer(&asked[0].1, public);
        assert_eq!(reflexive.datagram(now, at(LOCAL), at("198.51.100.9:3478"), &reply), None, "a stranger's word");
        assert_eq!(reflexive.datagram(now, at(LOCAL), server, &reply), Some(Change::Public));
        assert_eq!(reflexive.public(), [Public { address: public, base: at(LOCAL), tcp: false }]);
        assert_eq!(reflexive.datagram(now, at(LOCAL), server, &reply), None, "once");
        assert_eq!(reflexive.next_timeout(), Some(now + REFRESH));
        let (_, again) = reflexive.timeout(now + REFRESH, &mut id);
        let reply = answer(&again[0].1, public);
        assert_eq!(reflexive.datagram(now + REFRESH, at(LOCAL), server, &reply), Some(Change::None));
    }

    #[test]
    fn a_server_that_falls_silent_takes_its_word_with_it_and_is_asked_later() {
        let (mut reflexive, mut now, mut id) = (Reflexive::default(), Instant::now(), ids());
        let server = at("198.51.100.1:3478");
        reflexive.set_servers(now, &[server]);
        let (_, first) = reflexive.timeout(now, &mut id);
        reflexive.datagram(now, at(LOCAL), server, &answer(&first[0].1, at("203.0.113.7:1")));
        let (mut sent, mut changes) = (0, Vec::new());
        while !changes.contains(&Change::Public) {
            now = reflexive.next_timeout().unwrap();
            let (change, requests) = reflexive.timeout(now, &mut id);
            sent += requests.len();
            changes.push(change);
        }
        assert_eq!((sent, reflexive.public()), (TRIES as usize, vec![]));
        assert_eq!(reflexive.next_timeout(), Some(now + REST));
    }

    #[test]
    fn an_own_public_address_is_none_more_and_two_words_mean_a_relay_is_needed() {
        let (mut reflexive, now, mut id) = (Reflexive::default(), Instant::now(), ids());
        let servers = [at("198.51.100.1:3478"), at("198.51.100.2:3478")];
        reflexive.set_servers(now, &servers);
        let (_, asked) = reflexive.timeout(now, &mut id);
        reflexive.datagram(now, at(LOCAL), servers[0], &answer(&asked[0].1, at(LOCAL)));
        assert_eq!(reflexive.public(), []);
        reflexive.datagram(now, at(LOCAL), servers[1], &answer(&asked[1].1, at("203.0.113.7:2")));
        assert!(!reflexive.is_symmetric());
        reflexive.ask_again(now);
        let (_, asked) = reflexive.timeout(now, &mut id);
        reflexive.datagram(now, at(LOCAL), servers[0], &answer(&asked[0].1, at("203.0.113.7:1")));
        assert!(reflexive.is_symmetric());
        assert_eq!(reflexive.set_servers(now, &servers[..1]), Change::Public);
        assert!(!reflexive.is_symmetric());
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_server_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            let (mut reflexive, now, server) = (Reflexive::default(), Instant::now(), at("198.51.100.1:3478"));
            reflexive.set_servers(now, &[server]);
            let (_, asked) = reflexive.timeout(now, ids());
            let _ = reflexive.datagram(now, at(LOCAL), server, &bytes);
            let mut near = answer(&asked[0].1, at("203.0.113.7:1"));
            near.truncate(20);
            near[2..4].copy_from_slice(&(tail.len() as u16).to_be_bytes());
            near.extend(tail);
            let _ = reflexive.datagram(now, at(LOCAL), server, &near);
        }
    }
}
