//! What a lost member would have been told: a bounded queue of notices.

use std::collections::VecDeque;

use super::notice::Notice;

/// Most notices kept for a lost member (tribe §4.2 asks for 256).
const MOST_NOTICES: usize = 256;
/// Most text kept for a lost member, in bytes of message and description bodies. Some thirty large offers; a full room of lost
/// members then stays below 64 MiB.
const MOST_BYTES: usize = 256 * 1024;

/// The notices a lost member has missed, oldest first.
///
/// When it overflows, the oldest notice that changes nobody's book-keeping goes first: a message, shown facts, a first packet.
/// Only when none is left does the oldest of the others go; `Resumed` tells the state of the room anyway.
#[derive(Debug, Default)]
pub(super) struct Missed {
    notices: VecDeque<Notice>,
    bytes: usize,
}

impl Missed {
    /// Keeps one more. Shown facts replace older ones of the same member.
    pub(super) fn push(&mut self, notice: Notice) {
        if let Notice::MemberChanged { member: newer } = &notice
            && let Some(at) =
                self.notices.iter().position(|n| matches!(n, Notice::MemberChanged { member } if member.member == newer.member))
        {
            self.remove(at);
        }
        self.bytes += notice.bytes();
        self.notices.push_back(notice);
        while self.notices.len() > MOST_NOTICES || self.bytes > MOST_BYTES {
            let at = self.notices.iter().position(droppable).unwrap_or(0);
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        if let Some(gone) = self.notices.remove(at) {
            self.bytes -= gone.bytes();
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.notices.len()
    }

    /// Whether the bounds hold and the count of bytes is right.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let bytes: usize = self.notices.iter().map(Notice::bytes).sum();
        self.bytes == bytes && bytes <= MOST_BYTES && self.notices.len() <= MOST_NOTICES
    }
}

impl IntoIterator for Missed {
    type Item = Notice;
    type IntoIter = std::collections::vec_deque::IntoIter<Notice>;
    fn into_iter(self) -> Self::IntoIter {
        self.notices.into_iter()
    }
}

/// Whether the notice can be left out without anybody's view of the room becoming wrong.
fn droppable(notice: &Notice) -> bool {
    matches!(notice, Notice::Told { .. } | Notice::Said { .. } | Notice::MemberChanged { .. } | Notice::PeerFlowing { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Body, DialectName, EndReason, Facts, MemberView};
    use crate::vocab::{MemberId, PeerId, Sdp};

    fn someone(name: &str) -> MemberView {
        MemberView {
            member: MemberId([7; 16]),
            user_id: "u".into(),
            dialect: DialectName::Tribe,
            facts: Facts { name: Some(name.into()), ..Facts::default() },
            streams: Vec::new(),
        }
    }

    fn told(text: &str) -> Notice {
        let json = serde_json::value::RawValue::from_string(format!("\"{text}\"")).unwrap();
        Notice::Told { from: someone("x"), body: Body::Json(json) }
    }

    #[test]
    fn messages_go_before_departures_when_there_are_too_many() {
        let mut missed = Missed::default();
        missed.push(told("first"));
        for n in 0..MOST_NOTICES as u64 {
            missed.push(Notice::PeerDown { peer: PeerId(n), reason: EndReason::StreamEnded });
        }
        assert_eq!(missed.len(), MOST_NOTICES);
        assert!(matches!(missed.notices.front(), Some(Notice::PeerDown { peer: PeerId(0), .. })));
        missed.push(Notice::PeerUp { peer: PeerId(999) });
        assert!(matches!(missed.notices.front(), Some(Notice::PeerDown { peer: PeerId(1), .. })));
        assert!(missed.is_sound());
    }

    #[test]
    fn large_bodies_are_bounded_by_bytes() {
        let mut missed = Missed::default();
        let body = "v".repeat(60_000);
        for _ in 0..10 {
            missed.push(Notice::Description { peer: PeerId(1), sdp: Sdp::offer(body.clone()) });
        }
        assert_eq!(missed.len(), 4);
        assert!(missed.is_sound());
        missed.push(told(&"m".repeat(MOST_BYTES)));
        assert!(missed.is_sound());
    }

    #[test]
    fn newer_facts_replace_older_ones() {
        let mut missed = Missed::default();
        missed.push(Notice::MemberChanged { member: someone("old") });
        missed.push(told("between"));
        missed.push(Notice::MemberChanged { member: someone("new") });
        assert_eq!(missed.len(), 2);
        assert!(
            matches!(missed.notices.back(), Some(Notice::MemberChanged { member }) if member.facts.name.as_deref() == Some("new"))
        );
    }
}
