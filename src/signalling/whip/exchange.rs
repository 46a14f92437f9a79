//! One session's ICE exchange: which PATCH is let through, and what it means (RFC 9725 sections 4.3.1 to 4.3.3).

use std::fmt;

use super::{Fragment, OfferError, OfferIce, Role, check, restart};
use crate::vocab::Candidate;

/// Names one ICE session of a resource: a strong entity tag (RFC 9110 section 8.8.3), new with every ICE restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag(String);

impl EntityTag {
    /// From random bits, so that a tag of one session never fits another.
    pub fn from_bits(bits: u64) -> Self {
        Self(format!("\"{bits:016x}\""))
    }
}

impl fmt::Display for EntityTag {
    /// With its quotes, as in the header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a PATCH asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patch {
    /// Add these candidates; answered 204 without an entity tag.
    Candidates(Vec<Candidate>),
    /// Restart ICE with this complete offer; answered 200 with a fragment and a new entity tag.
    Restart(String),
}

/// Why a PATCH is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// No `If-Match` (428, RFC 6585 section 3).
    #[error("the request needs If-Match with the session's entity tag, or * to restart ICE")]
    Missing,
    /// The entity tag is of an earlier ICE session (412, RFC 9110 section 13.1.1).
    #[error("the entity tag is not that of the present ICE session")]
    Stale,
    /// The fragment does not fit the offer (400).
    #[error(transparent)]
    Offer(#[from] OfferError),
}

/// The far end's side of a session as it now stands.
#[derive(Debug)]
pub struct Exchange {
    offer: String,
    ice: OfferIce,
    role: Role,
    tag: EntityTag,
}

impl Exchange {
    /// Begins with the first offer.
    pub fn new(role: Role, offer: String, tag: EntityTag) -> Result<Self, OfferError> {
        let ice = check(role, &offer)?;
        Ok(Self { offer, ice, role, tag })
    }

    /// The entity tag of the present ICE session.
    pub fn tag(&self) -> &EntityTag {
        &self.tag
    }

    /// Says what a PATCH with this `If-Match` and fragment means. Other credentials than the present ones ask for a restart.
    pub fn judge(&self, if_match: Option<&str>, fragment: Fragment) -> Result<Patch, PatchError> {
        let if_match = if_match.ok_or(PatchError::Missing)?;
        if !matches(if_match, &self.tag) {
            return Err(PatchError::Stale);
        }
        match &fragment.credentials {
            Some((ufrag, _)) if *ufrag != self.ice.ufrag => Ok(Patch::Restart(restart(&self.offer, &fragment)?)),
            _ => {
                let stray = |mid: &&String| !self.ice.mids.contains(mid);
                match fragment.candidates.iter().filter_map(|candidate| candidate.sdp_mid.as_ref()).find(stray) {
                    Some(mid) => Err(OfferError::UnknownMid(mid.clone()).into()),
                    None => Ok(Patch::Candidates(fragment.candidates)),
                }
            }
        }
    }

    /// The restart with this offer was answered: it is the present ICE session from now on.
    pub fn restarted(&mut self, offer: String, tag: EntityTag) -> Result<(), OfferError> {
        *self = Self::new(self.role, offer, tag)?;
        Ok(())
    }
}

/// RFC 9110 section 13.1.1 with strong comparison: `*` or a list with the tag. The quoted `"*"` is taken as `*`, since the RFC's own
/// example writes it so (RFC 9725 section 4.3.3).
fn matches(if_match: &str, tag: &EntityTag) -> bool {
    if_match.split(',').map(str::trim).any(|entry| matches!(entry, "*" | "\"*\"") || entry == tag.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\na=fingerprint:sha-256 DA\r\na=mid:0\r\na=sendonly\r\n";
    const CANDIDATE: &str = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n";
    const NEW: &str = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";

    fn exchange() -> Exchange {
        Exchange::new(Role::Ingest, OFFER.into(), EntityTag::from_bits(1)).unwrap()
    }
    fn fragment(text: &str) -> Fragment {
        Fragment::parse(text).unwrap()
    }

    #[test]
    fn candidates_need_the_present_tag() {
        let exchange = exchange();
        let tag = exchange.tag().to_string();
        let judge = |if_match: Option<&str>| exchange.judge(if_match, fragment(CANDIDATE));
        assert!(matches!(judge(Some(&tag)), Ok(Patch::Candidates(list)) if list.len() == 1));
        assert!(matches!(judge(Some(&format!("\"other\", {tag}"))), Ok(Patch::Candidates(_))));
        assert!(matches!(judge(Some("*")), Ok(Patch::Candidates(_))));
        assert_eq!(judge(None), Err(PatchError::Missing));
        assert_eq!(judge(Some("\"0000000000000002\"")), Err(PatchError::Stale));
        assert_eq!(judge(Some(&format!("W/{tag}"))), Err(PatchError::Stale), "a weak tag never matches strongly");
        assert_eq!(judge(Some("")), Err(PatchError::Stale));
    }

    #[test]
    fn the_present_credentials_do_not_restart() {
        let same = format!("a=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n{CANDIDATE}");
        assert!(matches!(exchange().judge(Some("*"), fragment(&same)), Ok(Patch::Candidates(_))));
    }

    #[test]
    fn a_restart_brings_a_new_session() {
        let mut exchange = exchange();
        let first = exchange.tag().to_string();
        let Ok(Patch::Restart(offer)) = exchange.judge(Some("\"*\""), fragment(NEW)) else { panic!("no restart") };
        exchange.restarted(offer, EntityTag::from_bits(2)).unwrap();
        assert_eq!(exchange.judge(Some(&first), fragment(CANDIDATE)), Err(PatchError::Stale), "candidates of the old session");
        assert!(matches!(exchange.judge(Some("*"), fragment(NEW)), Ok(Patch::Candidates(_))), "a repeated restart is none");
    }

    #[test]
    fn candidates_for_no_section_are_refused() {
        let stray = CANDIDATE.replace("mid:0", "mid:7");
        assert_eq!(exchange().judge(Some("*"), fragment(&stray)), Err(PatchError::Offer(OfferError::UnknownMid("7".into()))));
    }
}
