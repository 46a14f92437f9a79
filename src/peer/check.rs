//! PURE. Connectivity checks beside the engine's, and the answers to them (RFC 8445 §7.2, RFC 8489).

use rtc::crypto::RTCCrypto;
use rtc::ice::attributes::control::{AttrControlled, AttrControlling};
use rtc::ice::attributes::priority::PriorityAttr;
use rtc::ice::attributes::use_candidate::UseCandidateAttr;
use rtc::stun::attributes::ATTR_USERNAME;
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
use rtc::stun::textattrs::TextAttribute;

use super::engine::Credentials;

/// Above that of every pair that the far end knows, so that it changes to this one at once where it chooses. Its own way is gone.
const PRIORITY: u32 = 127 << 24 | 65_535 << 8 | 255;

/// A check. The side that chooses the pair nominates with it.
pub(super) fn request(
    id: [u8; 12],
    ours: &Credentials,
    theirs: &Credentials,
    controlling: bool,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let tie_breaker = rand::random();
    let role: Box<dyn Setter> =
        if controlling { Box::new(AttrControlling(tie_breaker)) } else { Box::new(AttrControlled(tie_breaker)) };
    let mut setters: Vec<Box<dyn Setter + '_>> = vec![
        Box::new(BINDING_REQUEST),
        Box::new(TransactionId(id)),
        Box::new(TextAttribute::new(ATTR_USERNAME, format!("{}:{}", theirs.ufrag, ours.ufrag))),
        role,
        Box::new(PriorityAttr(PRIORITY)),
    ];
    if controlling {
        setters.push(Box::new(UseCandidateAttr::new()));
    }
    setters.push(Box::new(MessageIntegrity::new_short_term_integrity_with_provider(theirs.pwd.clone(), crypto)));
    setters.push(Box::new(FINGERPRINT));
    let mut message = Message::new();
    message.build(&setters).ok()?;
    Some(message.raw)
}

/// What a STUN message of the method Binding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Indication,
    Success,
    Error,
}

/// Kind and transaction of a STUN message of the method Binding.
pub(super) fn kind(datagram: &[u8]) -> Option<(Kind, [u8; 12])> {
    let kind = match datagram.get(..2)? {
        [0, 0x01] => Kind::Request,
        [0, 0x11] => Kind::Indication,
        [1, 0x01] => Kind::Success,
        [1, 0x11] => Kind::Error,
        _ => return None,
    };
    Some((kind, datagram.get(8..20)?.try_into().ok()?))
}

/// The transaction of a success response.
pub(super) fn answered(datagram: &[u8]) -> Option<[u8; 12]> {
    kind(datagram).filter(|(kind, _)| *kind == Kind::Success).map(|(_, id)| id)
}

/// The transaction of a check that nominates its pair (RFC 8445 §7.1.2).
pub(super) fn nomination(datagram: &[u8]) -> Option<[u8; 12]> {
    let (_, id) = kind(datagram).filter(|(kind, _)| *kind == Kind::Request)?;
    let mut message = Message::new();
    message.unmarshal_binary(datagram).ok().filter(|()| UseCandidateAttr::is_set(&message))?;
    Some(id)
}

/// Whether a response is from who knows the password.
pub(super) fn is_authentic(datagram: &[u8], theirs: &Credentials, crypto: &dyn RTCCrypto) -> bool {
    let mut message = Message::new();
    message.unmarshal_binary(datagram).is_ok() && MessageIntegrity::check(&mut message, theirs.pwd.as_bytes(), crypto).is_ok()
}

#[cfg(test)]
mod tests {
    use rtc::stun::message::BINDING_SUCCESS;

    use super::*;
    use crate::peer::demux;

    #[test]
    fn a_check_names_both_and_an_answer_is_known_by_its_password() {
        let provider = rtc::crypto::default_provider().unwrap();
        let crypto = provider.crypto();
        let ours = Credentials { ufrag: "ours".into(), pwd: "a password of ours, long".into() };
        let theirs = Credentials { ufrag: "theirs".into(), pwd: "a password of theirs, long".into() };
        let check = request([7; 12], &ours, &theirs, true, crypto).unwrap();
        assert_eq!(demux::local_ufrag(&check), Some("theirs"), "seen from the far end");
        assert_eq!(answered(&check), None, "a request is no answer");
        assert_eq!(nomination(&check), Some([7; 12]));
        assert_eq!(nomination(&request([7; 12], &ours, &theirs, false, crypto).unwrap()), None);
        assert_eq!(nomination(&check[..30]), None);
        let answer = |pwd: &str| {
            let mut message = Message::new();
            let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd.into(), crypto);
            let setters: Vec<Box<dyn Setter>> =
                vec![Box::new(BINDING_SUCCESS), Box::new(TransactionId([7; 12])), Box::new(integrity)];
            message.build(&setters).unwrap();
            message.raw
        };
        let good = answer(&theirs.pwd);
        assert_eq!(answered(&good), Some([7; 12]));
        assert!(is_authentic(&good, &theirs, crypto));
        assert!(!is_authentic(&answer("guessed"), &theirs, crypto));
        assert!(!is_authentic(&good[..40], &theirs, crypto));
        assert_eq!(answered(&good[..19]), None);
    }
}
