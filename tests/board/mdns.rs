//! What a machine on the network asks by mDNS, with a plain socket, and what it is answered (RFC 6762, RFC 6763).

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
const A: u16 = 1;
const PTR: u16 = 12;
const SRV: u16 = 33;

/// A service as it was told.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// `NAME._TYPE._tcp.local`.
    pub instance: String,
    /// The port of its SRV record.
    pub port: u16,
    /// The addresses of the host that its SRV record names.
    pub addresses: Vec<Ipv4Addr>,
}

struct Record {
    name: String,
    kind: u16,
    /// Where its data is in the message.
    data: std::ops::Range<usize>,
}

/// Asks on the link of that address for services of a type, as in `_portico._tcp.local`, until one is told whole.
pub fn browse(own: Ipv4Addr, kind: &str) -> Service {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("nobody else has the port here");
    socket.join_multicast_v4(&GROUP, &own).expect("the group is joined");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
    let end = Instant::now() + PATIENCE;
    let mut asked = Instant::now();
    let ask = || socket.send_to(&question(kind), (GROUP, PORT)).expect("the question is sent");
    ask();
    let mut told = String::new();
    loop {
        let mut message = [0; 9000];
        if let Ok((length, from)) = socket.recv_from(&mut message) {
            let message = &message[..length];
            match service(message, kind) {
                Some(service) => return service,
                None => told.push_str(&format!("{length} bytes of {from}\n")),
            }
        }
        assert!(Instant::now() < end, "nobody tells {kind}; heard:\n{told}");
        if asked.elapsed() > Duration::from_secs(1) {
            asked = Instant::now();
            ask();
        }
    }
}

/// A query for pointers.
fn question(kind: &str) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in kind.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, PTR as u8, 0, 1]);
    message
}

/// The service in an answer that has its pointer, its place and an address.
fn service(message: &[u8], kind: &str) -> Option<Service> {
    let records = records(message)?;
    let of = |wanted: u16, name: &str| {
        let name = name.to_owned();
        records.iter().filter(move |record| record.kind == wanted && record.name == name)
    };
    let instance = name(message, &mut of(PTR, kind).next()?.data.start.clone())?;
    let place = of(SRV, &instance).next()?.data.clone();
    let port = u16::from_be_bytes(message.get(place.start + 4..place.start + 6)?.try_into().ok()?);
    let host = name(message, &mut (place.start + 6))?;
    let address = |record: &Record| Some(Ipv4Addr::from(<[u8; 4]>::try_from(message.get(record.data.clone())?).ok()?));
    let addresses: Vec<Ipv4Addr> = of(A, &host).filter_map(address).collect();
    (!addresses.is_empty()).then_some(Service { instance, port, addresses })
}

/// All records of an answer, whatever section they are in.
fn records(message: &[u8]) -> Option<Vec<Record>> {
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let is_answer = message.get(2)? & 0x80 != 0;
    let mut at = 12;
    for _ in 0..number(4)? {
        name(message, &mut at)?;
        at += 4;
    }
    let mut records = Vec::new();
    for _ in 0..number(6)? + number(8)? + number(10)? {
        let name = name(message, &mut at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        records.push(Record { name, kind, data: at + 10..at + 10 + length });
        at += 10 + length;
    }
    is_answer.then_some(records)
}

/// A name, whose end may be elsewhere in the message (RFC 1035 section 4.1.4); `at` is moved behind it.
fn name(message: &[u8], at: &mut usize) -> Option<String> {
    let mut labels: Vec<String> = Vec::new();
    let (mut place, mut jumped) = (*at, false);
    for _ in 0..128 {
        let length = usize::from(*message.get(place)?);
        if length & 0xc0 == 0xc0 {
            let target = (length & 0x3f) << 8 | usize::from(*message.get(place + 1)?);
            if !jumped {
                *at = place + 2;
            }
            (place, jumped) = (target, true);
            continue;
        }
        if length == 0 {
            if !jumped {
                *at = place + 1;
            }
            return Some(labels.join("."));
        }
        labels.push(String::from_utf8_lossy(message.get(place + 1..place + 1 + length)?).into_owned());
        place += 1 + length;
    }
    None
}
