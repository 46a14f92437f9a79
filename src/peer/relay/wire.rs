//! PURE. What a TURN server and its client say to each other (RFC 8656).
//!
//! Requests and their answers are `rtc`'s. What carries a datagram is read and written here, in place: it is there once for each packet.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rtc::crypto;
use rtc::stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use rtc::stun::error_code::ErrorCodeAttribute;
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_REFRESH,
    Message, MessageType, Method, Setter, TransactionId,
};
use rtc::stun::textattrs::TextAttribute;
use rtc::turn::proto::PROTO_UDP;
use rtc::turn::proto::channum::ChannelNumber;
use rtc::turn::proto::lifetime::Lifetime;
use rtc::turn::proto::peeraddr::PeerAddress;
use rtc::turn::proto::relayaddr::RelayedAddress;
use rtc::turn::proto::reqtrans::RequestedTransport;

/// The numbers of channels (RFC 8656 §12). Some servers know more, none fewer.
pub(super) const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4fff;

/// Of a Send and of a Data indication.
const SEND: [u8; 2] = [0x00, 0x16];
const DATA: [u8; 2] = [0x00, 0x17];
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_HEADER: usize = 20;
const ATTR_PEER: u16 = 0x0012;
const ATTR_DATA: u16 = 0x0013;

/// What is asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// An address that leads here.
    Allocate,
    /// To keep it.
    Refresh,
    /// To end it.
    Release,
    /// That datagrams from and to this address pass, by this channel.
    Bind { channel: u16, to: SocketAddr },
}

impl Ask {
    fn method(self) -> Method {
        match self {
            Self::Allocate => METHOD_ALLOCATE,
            Self::Refresh | Self::Release => METHOD_REFRESH,
            Self::Bind { .. } => METHOD_CHANNEL_BIND,
        }
    }
}

/// What a request is signed with (RFC 8489 §9.2).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Signature {
    name: String,
    realm: String,
    pub(super) nonce: String,
    key: Vec<u8>,
}

impl Signature {
    /// Of who has this name and password, as the server challenged it.
    pub(super) fn new((name, password): &(String, String), challenge: Challenge) -> Option<Self> {
        let Challenge { realm, nonce } = challenge;
        let provider = crypto::default_provider().ok()?;
        let key =
            MessageIntegrity::long_term_integrity_key(name.clone(), realm.clone(), password.clone(), provider.crypto()).ok()?;
        Some(Self { name: name.clone(), realm, nonce, key })
    }
}

impl std::fmt::Debug for Signature {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signature").field("name", &self.name).field("realm", &self.realm).finish()
    }
}

/// What the server wants to see signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: String,
    pub(super) nonce: String,
}

/// A request.
pub(super) fn request(ask: Ask, id: [u8; 12], signature: Option<&Signature>) -> Option<Vec<u8>> {
    let provider = crypto::default_provider().ok()?;
    let mut setters: Vec<Box<dyn Setter + '_>> =
        vec![Box::new(MessageType::new(ask.method(), CLASS_REQUEST)), Box::new(TransactionId(id))];
    match ask {
        Ask::Allocate => setters.push(Box::new(RequestedTransport { protocol: PROTO_UDP })),
        Ask::Refresh => {}
        Ask::Release => setters.push(Box::new(Lifetime(Duration::ZERO))),
        Ask::Bind { channel, to } => {
            setters.push(Box::new(ChannelNumber(channel)));
            setters.push(Box::new(PeerAddress { ip: to.ip(), port: to.port() }));
        }
    }
    if let Some(Signature { name, realm, nonce, key }) = signature {
        for (attribute, text) in [(ATTR_USERNAME, name), (ATTR_REALM, realm), (ATTR_NONCE, nonce)] {
            setters.push(Box::new(TextAttribute::new(attribute, text.clone())));
        }
        setters.push(Box::new(MessageIntegrity::new_raw_integrity_with_provider(key.clone(), provider.crypto())));
    }
    setters.push(Box::new(FINGERPRINT));
    let mut message = Message::new();
    message.build(&setters).ok()?;
    Some(message.raw)
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) id: [u8; 12],
    pub(super) said: Said,
}

/// What it says.
#[derive(Debug)]
pub(super) enum Said {
    Yes { relayed: Option<SocketAddr>, lifetime: Option<Duration>, message: Box<Message> },
    No { code: u16, challenge: Option<Challenge> },
}

/// Reads an answer to such a request.
pub(super) fn reply(datagram: &[u8]) -> Option<Reply> {
    let mut message = Message::new();
    message.unmarshal_binary(datagram).ok()?;
    if ![METHOD_ALLOCATE, METHOD_REFRESH, METHOD_CHANNEL_BIND].contains(&message.typ.method) {
        return None;
    }
    let id = message.transaction_id.0;
    let said = match message.typ.class {
        CLASS_SUCCESS_RESPONSE => {
            let mut relayed = RelayedAddress::default();
            let relayed = relayed.get_from(&message).ok().map(|()| SocketAddr::new(relayed.ip.to_canonical(), relayed.port));
            let mut lifetime = Lifetime::default();
            let lifetime = lifetime.get_from(&message).ok().map(|()| lifetime.0);
            Said::Yes { relayed, lifetime, message: Box::new(message) }
        }
        CLASS_ERROR_RESPONSE => {
            let mut error = ErrorCodeAttribute::default();
            error.get_from(&message).ok()?;
            let text = |attribute| TextAttribute::get_from_as(&message, attribute).ok().map(|found| found.text);
            let challenge = text(ATTR_REALM).zip(text(ATTR_NONCE)).map(|(realm, nonce)| Challenge { realm, nonce });
            Said::No { code: error.code.0, challenge }
        }
        _ => return None,
    };
    Some(Reply { id, said })
}

/// Whether an answer is from who knows the password.
pub(super) fn is_authentic(message: &mut Message, signature: &Signature) -> bool {
    crypto::default_provider().is_ok_and(|provider| MessageIntegrity::check(message, &signature.key, provider.crypto()).is_ok())
}

/// Channel and content of a datagram that came by a channel (RFC 8656 §12.4).
pub(super) fn from_channel(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let word = |at: usize| Some(u16::from_be_bytes([*datagram.get(at)?, *datagram.get(at + 1)?]));
    let channel = word(0).filter(|channel| CHANNELS.contains(channel))?;
    Some((channel, datagram.get(4..4 + usize::from(word(2)?))?))
}

/// What stands before a datagram that leaves by a channel.
pub(super) fn channel_header(channel: u16, len: usize) -> Option<[u8; 4]> {
    let ([a, b], [c, d]) = (channel.to_be_bytes(), u16::try_from(len).ok()?.to_be_bytes());
    Some([a, b, c, d])
}

/// Sender and content of a Data indication (RFC 8656 §11.4).
pub(super) fn from_indication(datagram: &[u8]) -> Option<(SocketAddr, &[u8])> {
    if datagram.get(..2)? != DATA || datagram.get(4..8)? != COOKIE {
        return None;
    }
    let id = datagram.get(8..20)?;
    let (mut from, mut content) = (None, None);
    let mut rest = datagram.get(STUN_HEADER..)?;
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let [kind, len] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_be_bytes);
        let len = usize::from(len);
        let value = after.get(..len)?;
        match kind {
            ATTR_PEER => from = address(value, id),
            ATTR_DATA => content = Some(value),
            _ => {}
        }
        rest = after.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    from.zip(content)
}

/// An address as STUN writes it: its first bytes are mixed with the cookie, the rest with the transaction's id (RFC 8489 §14.2).
fn address(value: &[u8], id: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([value.get(2)? ^ COOKIE[0], value.get(3)? ^ COOKIE[1]]);
    let mixed = value.get(4..)?;
    let mut plain = [0; 16];
    for ((plain, mixed), mask) in plain.iter_mut().zip(mixed).zip(COOKIE.iter().chain(id)) {
        *plain = mixed ^ mask;
    }
    let ip = match (value.get(1)?, mixed.len()) {
        (1, 4) => IpAddr::from([plain[0], plain[1], plain[2], plain[3]]),
        (2, 16) => IpAddr::from(plain).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// What stands before a datagram that leaves by a Send indication (RFC 8656 §11.1), and how many bytes of zero after it.
pub(super) fn indication_header(to: SocketAddr, len: usize, id: [u8; 12]) -> Option<(Vec<u8>, usize)> {
    let (family, ip) = match to.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let padding = len.next_multiple_of(4) - len;
    let attributes = 8 + ip.len() + 4 + len + padding;
    let mut head = Vec::with_capacity(STUN_HEADER + 8 + ip.len() + 4);
    head.extend(SEND);
    head.extend(u16::try_from(attributes).ok()?.to_be_bytes());
    head.extend(COOKIE);
    head.extend(id);
    head.extend(ATTR_PEER.to_be_bytes());
    head.extend(u16::try_from(4 + ip.len()).ok()?.to_be_bytes());
    let [high, low] = to.port().to_be_bytes();
    head.extend([0, family, high ^ COOKIE[0], low ^ COOKIE[1]]);
    head.extend(ip.iter().zip(COOKIE.iter().chain(&id)).map(|(byte, mask)| byte ^ mask));
    head.extend(ATTR_DATA.to_be_bytes());
    head.extend(u16::try_from(len).ok()?.to_be_bytes());
    Some((head, padding))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc::turn::proto::data::Data;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_here_is_what_the_library_reads() {
        for (to, len) in [("203.0.113.7:40000", 5), ("[2001:db8::7]:1", 8), ("10.0.0.1:65535", 0)] {
            let content = vec![7; len];
            let (mut datagram, padding) = indication_header(at(to), len, [9; 12]).unwrap();
            datagram.extend(&content);
            datagram.extend(vec![0; padding]);
            let mut message = Message::new();
            message.unmarshal_binary(&datagram).unwrap();
            let (mut peer, mut data) = (PeerAddress::default(), Data::default());
            peer.get_from(&message).unwrap();
            data.get_from(&message).unwrap();
            assert_eq!(
                (SocketAddr::new(peer.ip, peer.port), data.0, message.raw.len()),
                (at(to), content.clone(), datagram.len())
            );
            // the server's indications differ by their type
            datagram[1] = 0x17;
            assert_eq!(from_indication(&datagram), Some((at(to), &content[..])));
            datagram[1] = 0x16;
            assert_eq!(from_indication(&datagram), None);
        }
    }

    #[test]
    fn a_channel_has_four_bytes() {
        let mut datagram = channel_header(0x4001, 3).unwrap().to_vec();
        datagram.extend([1, 2, 3]);
        assert_eq!(from_channel(&datagram), Some((0x4001, &[1, 2, 3][..])));
        // a server may pad
        datagram.extend([0; 1]);
        assert_eq!(from_channel(&datagram), Some((0x4001, &[1, 2, 3][..])));
        assert_eq!(from_channel(&datagram[..6]), None);
        assert_eq!(from_channel(&[0x80, 0, 0, 0]), None);
        assert_eq!(channel_header(0x4001, 70_000), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), tail in proptest::collection::vec(any::<u8>(), 0..80), kind in any::<u8>()) {
            let mut near = vec![0, kind, 0, tail.len() as u8, 0x21, 0x12, 0xa4, 0x42, 0,0,0,0, 0,0,0,0, 0,0,0,0];
            near.extend(tail);
            for bytes in [&bytes, &near] {
                let _ = (from_channel(bytes), from_indication(bytes));
                if let Some(Reply { said: Said::Yes { mut message, .. }, .. }) = reply(bytes) {
                    let challenge = Challenge { realm: "r".into(), nonce: "n".into() };
                    let signature = Signature::new(&("a".into(), "b".into()), challenge).unwrap();
                    assert!(!is_authentic(&mut message, &signature));
                }
            }
        }

        #[test]
        fn every_datagram_is_as_it_was(content in proptest::collection::vec(any::<u8>(), 0..1500), port in 1u16..) {
            let to = SocketAddr::from(([198, 51, 100, 9], port));
            let (mut datagram, padding) = indication_header(to, content.len(), [3; 12]).unwrap();
            datagram.extend(&content);
            datagram.extend(vec![0; padding]);
            datagram[1] = 0x17;
            prop_assert_eq!(from_indication(&datagram), Some((to, &content[..])));
        }
    }
}
