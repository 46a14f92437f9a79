//! A relay and a server of its own, in simulated time.

use std::collections::HashMap;

use proptest::prelude::*;
use rtc::crypto;
use rtc::stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use rtc::stun::error_code::{ErrorCode, ErrorCodeAttribute};
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_REFRESH,
    Message, MessageType, Setter,
};
use rtc::stun::textattrs::TextAttribute;
use rtc::turn::proto::channum::ChannelNumber;
use rtc::turn::proto::lifetime::Lifetime;
use rtc::turn::proto::peeraddr::PeerAddress;
use rtc::turn::proto::relayaddr::RelayedAddress;

use super::*;

const LOCAL: &str = "10.0.0.2:8781";
const SERVER: &str = "198.51.100.1:3478";
const OTHER: &str = "198.51.100.2:3478";
const FAR: &str = "203.0.113.9:5000";
const PEER: PeerId = PeerId(7);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A server with one client, as strict as coturn.
#[derive(Debug)]
pub(in crate::peer) struct Server {
    password: String,
    nonce: String,
    /// Names it has seen, and when.
    names: Vec<String>,
    allocation: Option<String>,
    /// What it gives.
    pub(in crate::peer) relayed: SocketAddr,
    channels: HashMap<u16, SocketAddr>,
    /// What it says to everything that is signed well.
    refuses: Option<u16>,
    lifetime: Duration,
    /// Requests by method and whether they were granted.
    log: Vec<(&'static str, u16)>,
}

impl Server {
    pub(in crate::peer) fn new() -> Self {
        Self {
            password: "good".into(),
            nonce: "first".into(),
            names: Vec::new(),
            allocation: None,
            relayed: SocketAddr::new(at(SERVER).ip(), 50_000),
            channels: HashMap::new(),
            refuses: None,
            lifetime: Duration::from_secs(600),
            log: Vec::new(),
        }
    }

    pub(in crate::peer) fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let mut message = Message::new();
        message.unmarshal_binary(request).unwrap();
        assert_eq!(message.typ.class, CLASS_REQUEST);
        let text = |attribute| TextAttribute::get_from_as(&message, attribute).ok().map(|found| found.text);
        let (name, nonce) = (text(ATTR_USERNAME), text(ATTR_NONCE));
        let provider = crypto::default_provider().unwrap();
        let key = name.as_ref().map(|name| {
            let (realm, password) = ("realm".to_owned(), self.password.clone());
            MessageIntegrity::long_term_integrity_key(name.clone(), realm, password, provider.crypto()).unwrap()
        });
        let mut copy = message.clone();
        let signed = key.as_ref().is_some_and(|key| MessageIntegrity::check(&mut copy, key, provider.crypto()).is_ok());
        let same_name = self.allocation.as_ref().is_none_or(|owner| Some(owner) == name.as_ref());
        let outcome = match (&name, nonce) {
            (None, _) => Err(401),
            (Some(_), nonce) if nonce.as_ref() != Some(&self.nonce) => Err(438),
            (Some(_), _) if !signed => Err(401),
            (Some(_), _) if !same_name => Err(if message.typ.method == METHOD_ALLOCATE { 437 } else { 441 }),
            (Some(name), _) => self.judge(&message, name),
        };
        let method = match message.typ.method {
            METHOD_ALLOCATE => "allocate",
            METHOD_REFRESH => "refresh",
            METHOD_CHANNEL_BIND => "bind",
            other => panic!("{other}"),
        };
        self.log.push((method, *outcome.as_ref().err().unwrap_or(&200)));
        let class = if outcome.is_ok() { CLASS_SUCCESS_RESPONSE } else { CLASS_ERROR_RESPONSE };
        let mut setters: Vec<Box<dyn Setter>> =
            vec![Box::new(MessageType::new(message.typ.method, class)), Box::new(message.transaction_id)];
        match outcome {
            Ok(more) => {
                setters.extend(more);
                setters.push(Box::new(MessageIntegrity::new_raw_integrity_with_provider(key.unwrap(), provider.crypto())));
            }
            Err(code) => {
                setters.push(Box::new(ErrorCodeAttribute { code: ErrorCode(code), reason: b"so it is".to_vec() }));
                if [401, 438].contains(&code) {
                    setters.push(Box::new(TextAttribute::new(ATTR_REALM, "realm".into())));
                    setters.push(Box::new(TextAttribute::new(ATTR_NONCE, self.nonce.clone())));
                }
            }
        }
        let mut answer = Message::new();
        answer.build(&setters).unwrap();
        answer.raw
    }

    fn judge(&mut self, message: &Message, name: &str) -> Result<Vec<Box<dyn Setter>>, u16> {
        if let Some(code) = self.refuses {
            return Err(code);
        }
        let lifetime = || -> Box<dyn Setter> { Box::new(Lifetime(self.lifetime)) };
        match (message.typ.method, &self.allocation) {
            (METHOD_ALLOCATE, Some(_)) | (METHOD_REFRESH | METHOD_CHANNEL_BIND, None) => Err(437),
            (METHOD_ALLOCATE, None) => {
                self.names.push(name.to_owned());
                self.allocation = Some(name.to_owned());
                let relayed = RelayedAddress { ip: self.relayed.ip(), port: self.relayed.port() };
                Ok(vec![Box::new(relayed), lifetime()])
            }
            (METHOD_REFRESH, Some(_)) => {
                let mut wanted = Lifetime::default();
                let ends = wanted.get_from(message).is_ok() && wanted.0.is_zero();
                let answer = vec![lifetime()];
                if ends {
                    self.end();
                }
                Ok(answer)
            }
            (METHOD_CHANNEL_BIND, Some(_)) => {
                let (mut number, mut peer) = (ChannelNumber::default(), PeerAddress::default());
                number.get_from(message).unwrap();
                peer.get_from(message).unwrap();
                let to = SocketAddr::new(peer.ip, peer.port);
                let mismatch = self.channels.iter().any(|(known, its)| (*known == number.0) != (*its == to));
                if mismatch {
                    return Err(400);
                }
                self.channels.insert(number.0, to);
                Ok(Vec::new())
            }
            _ => unreachable!(),
        }
    }

    /// What was given is gone; another address is given next.
    pub(in crate::peer) fn end(&mut self) {
        self.allocation = None;
        self.channels.clear();
        self.relayed.set_port(self.relayed.port().wrapping_add(1).max(1));
    }

    /// What a client's datagram carries, and where to.
    pub(in crate::peer) fn carried_by_channel<'a>(&self, datagram: &'a [u8]) -> Option<(SocketAddr, &'a [u8])> {
        let (channel, content) = wire::from_channel(datagram)?;
        Some((*self.channels.get(&channel)?, content))
    }

    /// The same of one in the longer form.
    pub(in crate::peer) fn carried_by_indication<'a>(&self, datagram: &'a mut [u8]) -> Option<(SocketAddr, &'a [u8])> {
        // the server's differ by their type
        *datagram.get_mut(1)? = 0x17;
        let (to, content) = wire::from_indication(datagram)?;
        self.channels.values().any(|channel| channel.ip() == to.ip()).then_some((to, content))
    }

    /// What the client gets of a far end's datagram.
    pub(in crate::peer) fn carry(&self, from: SocketAddr, content: &[u8]) -> Option<Vec<u8>> {
        let channel = self.channels.iter().find(|(_, to)| **to == from).map(|(channel, _)| *channel);
        let permitted = self.channels.values().any(|to| to.ip() == from.ip());
        let (mut datagram, padding) = match channel {
            Some(channel) => (wire::channel_header(channel, content.len())?.to_vec(), 0),
            None if permitted => wire::indication_header(from, content.len(), [5; 12])?,
            None => return None,
        };
        datagram.extend(content);
        datagram.resize(datagram.len() + padding, 0);
        if channel.is_none() {
            datagram[1] = 0x17;
        }
        Some(datagram)
    }

    /// How often a method was answered so.
    fn count(&self, method: &str, code: u16) -> usize {
        self.log.iter().filter(|entry| **entry == (method, code)).count()
    }
}

/// A relay, its server and a clock.
struct Scene {
    relay: Relay,
    server: Server,
    now: Instant,
    wall: SystemTime,
    ids: u64,
    /// Servers that answer.
    alive: Vec<SocketAddr>,
    outlet: Option<Outlet>,
    verdicts: Vec<Verdict>,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        let mint = Mint::new(|until| {
            let until = until.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            (format!("{until}:portico"), "good".into())
        });
        let mut relay = Relay::new(now, mint);
        relay.set_servers(now, &[at(SERVER)]);
        relay.want(now, true);
        let wall = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let (alive, verdicts) = (vec![at(SERVER)], Vec::new());
        Self { relay, server: Server::new(), now, wall, ids: 0, alive, outlet: None, verdicts }
    }

    /// Carries requests and answers until there is nothing to do at this time.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 20, "{:?}", self.server.log);
            let ids = &mut self.ids;
            let requests = self.relay.timeout(self.now, self.wall, || {
                *ids += 1;
                let mut id = [0; 12];
                id[4..].copy_from_slice(&ids.to_be_bytes());
                id
            });
            let to = self.relay.server();
            self.verdicts.extend(self.relay.take_verdict());
            if let Some(outlet) = self.relay.take_outlet() {
                self.outlet = outlet;
            }
            if requests.is_empty() {
                break;
            }
            for request in requests {
                if to.is_some_and(|to| self.alive.contains(&to)) {
                    let answer = self.server.answer(&request);
                    assert_eq!(self.relay.datagram(self.now, at(LOCAL), to.unwrap(), &answer), Some(Incoming::Own));
                }
            }
            self.verdicts.extend(self.relay.take_verdict());
        }
    }

    /// Lets time pass, from timer to timer.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        self.settle();
        while let Some(next) = self.relay.next_timeout().filter(|next| *next <= end) {
            self.wall += next.max(self.now) - self.now;
            self.now = next.max(self.now);
            self.settle();
            steps += 1;
            assert!(steps < 100_000, "time stands still");
        }
        self.wall += end - self.now;
        self.now = end;
    }

    fn last(&self) -> Result<SocketAddr, NoRelay> {
        self.verdicts.last().unwrap().outcome
    }

    fn sends(&self, to: &str) -> Passage {
        self.outlet.as_ref().map_or(Passage::None, |outlet| outlet.passage(at(to)))
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_address_is_made_when_it_is_wanted_and_given_back_when_not() {
    let mut scene = Scene::new();
    scene.relay.want(scene.now, false);
    scene.pass(seconds(60));
    assert!(scene.server.log.is_empty() && scene.relay.next_timeout().is_none(), "nobody is asked for nothing");
    scene.relay.want(scene.now, true);
    scene.settle();
    assert_eq!(scene.server.log, [("allocate", 401), ("allocate", 200)]);
    let relayed = scene.relay.relayed().unwrap();
    assert_eq!((scene.last(), relayed), (Ok(relayed), SocketAddr::new(at(SERVER).ip(), 50_000)));
    assert_eq!(scene.outlet.as_ref().map(|outlet| (outlet.relayed, outlet.base)), Some((relayed, at(LOCAL))));
    scene.relay.want(scene.now, false);
    scene.settle();
    assert_eq!((scene.relay.relayed(), &scene.outlet, &scene.server.allocation), (None, &None, &None));
    assert_eq!(scene.relay.next_timeout(), None);
}

#[test]
fn it_is_kept_for_days_through_new_nonces_and_under_a_new_name_before_the_old_one_ends() {
    let mut scene = Scene::new();
    scene.pass(seconds(86_400));
    let first = scene.relay.relayed().unwrap();
    assert_eq!(scene.server.names.len(), 1, "one allocation");
    scene.server.nonce = "second".into();
    scene.pass(seconds(60));
    assert_eq!((scene.server.count("refresh", 438), scene.relay.relayed()), (1, Some(first)));
    scene.pass(6 * seconds(86_400));
    let [old, new] = &scene.server.names[..] else { panic!("{:?}", scene.server.names) };
    let until = |name: &str| name.split(':').next().unwrap().parse::<u64>().unwrap();
    let now = scene.wall.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(until(old) > now - 3600 && until(new) > now + 6 * 86_400, "{old} {new} at {now}");
    assert_eq!(scene.server.log.iter().filter(|(_, code)| ![200, 401, 438].contains(code)).count(), 0);
    assert!(scene.relay.relayed().is_some_and(|relayed| relayed != first));
}

#[test]
fn a_datagram_leaves_by_a_channel_and_until_there_is_one_by_permission() {
    let mut scene = Scene::new();
    scene.settle();
    assert_eq!(scene.sends(FAR), Passage::None);
    scene.relay.bind(scene.now, PEER, at(FAR));
    scene.relay.bind(scene.now, PEER, at(FAR));
    scene.settle();
    assert_eq!(scene.server.count("bind", 200), 1);
    let Passage::Channel(channel) = scene.sends(FAR) else { panic!("{:?}", scene.outlet) };
    assert_eq!(scene.server.channels, HashMap::from([(channel, at(FAR))]));
    assert_eq!(scene.sends("203.0.113.9:6000"), Passage::Permitted, "another port of the address");
    assert_eq!(scene.sends("203.0.113.8:5000"), Passage::None);
    let mut bytes = b"before....media".to_vec();
    assert!(Outlet::wrap(&mut bytes, Passage::Channel(channel), at(FAR), 10..15, || unreachable!()));
    let [high, low] = channel.to_be_bytes();
    assert_eq!(bytes[15..], [&[high, low, 0, 5][..], b"media"].concat());
    // and back
    let relayed = scene.relay.relayed().unwrap();
    let came = Incoming::Relayed { local: relayed, from: at(FAR), datagram: b"media" };
    assert_eq!(scene.relay.datagram(scene.now, at(LOCAL), at(SERVER), &bytes[15..]), Some(came));
    assert_eq!(scene.relay.datagram(scene.now, at(LOCAL), at(OTHER), &bytes[15..]), None, "of a stranger");
    assert!(Outlet::wrap(&mut bytes, Passage::Permitted, at("203.0.113.9:6000"), 10..15, || [1; 12]));
    let mut indication = bytes[24..].to_vec();
    indication[1] = 0x17;
    let came = Incoming::Relayed { local: relayed, from: at("203.0.113.9:6000"), datagram: b"media" };
    assert_eq!(scene.relay.datagram(scene.now, at(LOCAL), at(SERVER), &indication), Some(came));
}

#[test]
fn a_channel_in_use_stays_open_and_the_server_forgets_the_others() {
    let mut scene = Scene::new();
    scene.settle();
    for to in [FAR, "203.0.113.10:1"] {
        scene.relay.bind(scene.now, PEER, at(to));
    }
    scene.settle();
    let Passage::Channel(channel) = scene.sends(FAR) else { panic!("{:?}", scene.outlet) };
    for _ in 0..200 {
        scene.pass(seconds(5));
        let [high, low] = channel.to_be_bytes();
        assert!(scene.relay.datagram(scene.now, at(LOCAL), at(SERVER), &[high, low, 0, 1, 7]).is_some());
        assert_eq!(scene.sends(FAR), Passage::Channel(channel));
    }
    assert_eq!(scene.sends("203.0.113.10:1"), Passage::None);
    assert_eq!(scene.server.count("bind", 200), 2 + 4, "every four minutes in a thousand seconds");
    scene.pass(seconds(1000));
    assert_eq!((scene.sends(FAR), scene.relay.entries()), (Passage::None, 1));
}

#[test]
fn useless_addresses_are_not_asked_for_and_refused_ones_not_again_and_again() {
    let mut scene = Scene::new();
    scene.settle();
    let useless = ["127.0.0.1:5", "224.0.0.1:5", "0.0.0.0:5", "203.0.113.9:0", "169.254.1.1:5", "[2001:db8::1]:5"];
    useless.iter().for_each(|to| scene.relay.bind(scene.now, PEER, at(to)));
    scene.settle();
    assert_eq!(scene.server.count("bind", 200), 0);
    scene.server.refuses = Some(403);
    for _ in 0..50 {
        scene.relay.bind(scene.now, PEER, at(FAR));
        scene.pass(Duration::from_millis(200));
    }
    assert_eq!((scene.server.count("bind", 403), scene.sends(FAR)), (1, Passage::None));
    assert!(scene.relay.relayed().is_some(), "the rest goes on");
    scene.server.refuses = None;
    scene.pass(seconds(60));
    // the server has the number for another address, from a time that is forgotten here
    scene.server.channels.insert(0x4002, at("203.0.113.77:1"));
    scene.relay.bind(scene.now, PEER, at(FAR));
    scene.settle();
    assert_eq!(scene.server.count("bind", 400), 1);
    scene.relay.bind(scene.now, PEER, at(FAR));
    scene.settle();
    assert!(matches!(scene.sends(FAR), Passage::Channel(number) if number != 0x4002));
}

#[test]
fn a_server_that_was_started_anew_is_noticed_and_gives_another_address() {
    let mut scene = Scene::new();
    scene.settle();
    scene.relay.bind(scene.now, PEER, at(FAR));
    scene.settle();
    let first = scene.relay.relayed();
    let Passage::Channel(channel) = scene.sends(FAR) else { panic!("{:?}", scene.outlet) };
    // while it is in use that is soon, and nobody asks as long as something comes
    let [high, low] = channel.to_be_bytes();
    for _ in 0..19 {
        scene.pass(Duration::from_millis(1000));
        assert!(scene.relay.datagram(scene.now, at(LOCAL), at(SERVER), &[high, low, 0, 1, 7]).is_some());
    }
    assert_eq!(scene.server.count("refresh", 200), 0);
    scene.server.end();
    scene.server.nonce = "of another run".into();
    scene.pass(QUIET + seconds(1));
    assert!(scene.server.log.ends_with(&[("refresh", 438), ("refresh", 437), ("allocate", 200)]), "{:?}", scene.server.log);
    assert!(scene.relay.relayed().is_some() && scene.relay.relayed() != first);
    assert_eq!(scene.sends(FAR), Passage::None, "channels are gone with it");
    // and where nobody uses it, with the next refresh
    let second = scene.relay.relayed();
    scene.server.end();
    scene.pass(REFRESH);
    assert!(scene.relay.relayed().is_some() && scene.relay.relayed() != second);
    assert_eq!(scene.server.count("refresh", 200), 0, "{:?}", scene.server.log);
}

#[test]
fn a_wrong_secret_is_said_and_tried_once_a_minute() {
    let mut scene = Scene::new();
    scene.server.password = "another".into();
    scene.pass(seconds(300));
    assert_eq!(scene.last(), Err(NoRelay::Credentials));
    assert!((4..=6).contains(&scene.verdicts.len()), "{:?}", scene.verdicts);
    assert!(scene.server.log.len() <= 2 * scene.verdicts.len(), "{:?}", scene.server.log);
    let names: Vec<_> = scene.relay.name.iter().collect();
    assert_eq!(names.len(), 1, "the same name: coturn takes no other from one port for a minute");
    scene.server.password = "good".into();
    scene.pass(seconds(61));
    assert_eq!(scene.last().ok(), scene.relay.relayed());
    assert!(NoRelay::Credentials.to_string().contains("turn_secret_file"));
}

#[test]
fn what_a_server_refuses_has_a_name_and_the_next_one_is_asked() {
    for (code, refusal) in
        [(486, NoRelay::Quota), (508, NoRelay::Full), (437, NoRelay::Taken), (403, NoRelay::Code(403)), (300, NoRelay::Code(300))]
    {
        let mut scene = Scene::new();
        scene.server.refuses = Some(code);
        scene.settle();
        assert_eq!((scene.last(), scene.relay.relayed(), scene.relay.is_asking(scene.now)), (Err(refusal), None, false));
        scene.server.refuses = None;
        scene.pass(REST);
        assert!(scene.relay.relayed().is_some(), "{code}");
    }
    let mut scene = Scene::new();
    scene.relay.set_servers(scene.now, &[at(OTHER), at(SERVER)]);
    assert!(scene.relay.is_asking(scene.now));
    scene.pass(seconds(15));
    assert!(scene.verdicts.is_empty() && scene.relay.is_asking(scene.now));
    scene.pass(seconds(1));
    assert_eq!(scene.verdicts[0], Verdict { server: at(OTHER), outcome: Err(NoRelay::Silence) });
    assert_eq!(scene.last().ok(), scene.relay.relayed());
    assert!(scene.relay.relayed().is_some());
}

#[test]
fn silence_is_noticed_and_ends_when_the_server_is_back() {
    let mut scene = Scene::new();
    scene.settle();
    scene.alive.clear();
    scene.pass(seconds(40));
    assert_eq!((scene.last(), scene.relay.relayed(), &scene.outlet), (Err(NoRelay::Silence), None, &None));
    scene.alive.push(at(SERVER));
    // it still has what it gave before the line was cut
    scene.pass(seconds(60));
    assert!(scene.relay.relayed().is_some() && scene.last().ok() == scene.relay.relayed(), "{:?}", scene.server.log);
    assert_eq!((scene.server.count("allocate", 437), scene.server.count("allocate", 200)), (1, 2));
}

#[test]
fn another_address_of_the_machine_makes_another_client_of_it() {
    let mut scene = Scene::new();
    scene.settle();
    let first = scene.relay.relayed();
    scene.relay.moved(scene.now, |ip| ip != at(LOCAL).ip());
    scene.settle();
    assert_eq!((scene.server.count("refresh", 200), scene.relay.relayed()), (1, first), "asked whether it holds");
    scene.relay.moved(scene.now, |_| true);
    scene.server.end();
    scene.settle();
    assert!(scene.relay.relayed().is_some() && scene.relay.relayed() != first);
}

#[test]
fn a_change_while_it_is_asked_for_asks_the_same_again() {
    let mut scene = Scene::new();
    let first = scene.relay.timeout(scene.now, scene.wall, || [1; 12]);
    scene.relay.moved(scene.now, |_| true);
    let again = scene.relay.timeout(scene.now, scene.wall, || [2; 12]);
    assert_eq!((first.len(), &first), (1, &again), "one transaction, also where both arrive");
}

#[test]
fn a_goodbye_is_one_datagram() {
    let mut scene = Scene::new();
    assert_eq!(scene.relay.goodbye([1; 12]), None);
    scene.settle();
    let goodbye = scene.relay.goodbye([1; 12]).unwrap();
    scene.server.answer(&goodbye);
    assert_eq!(scene.server.allocation, None);
}

#[test]
fn other_servers_mean_another_relay_and_the_same_ones_do_not() {
    let mut scene = Scene::new();
    scene.settle();
    let first = scene.relay.relayed();
    scene.relay.set_servers(scene.now, &[at(OTHER), at(SERVER)]);
    scene.settle();
    assert_eq!(scene.relay.relayed(), first);
    scene.relay.set_servers(scene.now, &[at(OTHER)]);
    scene.settle();
    assert_eq!((scene.relay.relayed(), &scene.outlet), (None, &None));
    scene.relay.set_servers(scene.now, &[]);
    scene.settle();
    assert!(!scene.relay.is_asking(scene.now) && scene.relay.next_timeout().is_none());
}

#[test]
fn an_answer_that_is_not_signed_is_none() {
    let mut scene = Scene::new();
    scene.settle();
    scene.relay.bind(scene.now, PEER, at(FAR));
    let requests = scene.relay.timeout(scene.now, scene.wall, || [77; 12]);
    let mut answer = Message::new();
    let id = rtc::stun::message::TransactionId([77; 12]);
    answer.build(&[Box::new(MessageType::new(METHOD_CHANNEL_BIND, CLASS_SUCCESS_RESPONSE)), Box::new(id)]).unwrap();
    assert_eq!(scene.relay.datagram(scene.now, at(LOCAL), at(SERVER), &answer.raw), Some(Incoming::Own));
    scene.settle();
    assert_eq!(scene.sends(FAR), Passage::None);
    let answer = scene.server.answer(&requests[0]);
    scene.relay.datagram(scene.now, at(LOCAL), at(SERVER), &answer);
    scene.settle();
    assert!(matches!(scene.sends(FAR), Passage::Channel(_)));
}

proptest! {
    /// Whatever a server sends, in whatever order: nothing panics, tables stay bounded, and there is always something to wait for.
    #[test]
    fn no_server_harms(steps in proptest::collection::vec((0u8..8, any::<u16>(), proptest::collection::vec(any::<u8>(), 0..60)), 1..80)) {
        let mut scene = Scene::new();
        for (kind, number, bytes) in steps {
            match kind {
                0 => scene.server.refuses = None,
                1 => scene.server.refuses = Some(300 + number % 400),
                2 => scene.server.nonce = number.to_string(),
                3 => scene.server.end(),
                4 => scene.server.lifetime = seconds(number.into()),
                5 => (0..u32::from(number % 600)).for_each(|port| {
                    let to = SocketAddr::from(([203, 0, 113, (port % 200) as u8], 1000 + number % 100));
                    scene.relay.bind(scene.now, PeerId(port.into()), to);
                }),
                6 => {
                    let mut near = vec![(number >> 8) as u8 & 1, number as u8, 0, bytes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
                    near.extend([0; 4]);
                    near.extend(scene.ids.to_be_bytes());
                    near.extend(&bytes);
                    let _ = scene.relay.datagram(scene.now, at(LOCAL), at(SERVER), &near);
                    let _ = scene.relay.datagram(scene.now, at(LOCAL), at(SERVER), &bytes);
                }
                _ => scene.relay.want(scene.now, number % 3 > 0),
            }
            scene.pass(seconds(u64::from(number) % 100));
            prop_assert!(scene.relay.entries() <= 2 * channels::MOST + 2);
            prop_assert!(scene.relay.next_timeout().is_some_and(|next| next > scene.now) || !scene.relay.wanted);
        }
    }
}
