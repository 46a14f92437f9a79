//! PURE. What the far side's words mean here, and those of here there.

use crate::bridge::far::{MAX_CANDIDATE, MAX_NAME};
use crate::bridge::retry::Pace;
use crate::bridge::whip::verdict::Fault;
use crate::room::MemberView;
use crate::signalling::tribe::code::ErrorCode;
use crate::signalling::tribe::wire::RemoteCandidate;
use crate::vocab::Candidate;

/// Why a join was refused.
pub(super) fn of_code(code: Option<i64>) -> Fault {
    let is = |known: ErrorCode| code == Some(i64::from(known.number()));
    if is(ErrorCode::AuthFailed) {
        Fault::new("unauthorised", "the far side wants another token (1286)", Pace::Slow)
    } else if is(ErrorCode::RoomFull) {
        Fault::new("room_full", "the room at the far side is full (1316)", Pace::Usual)
    } else if is(ErrorCode::NotJoinable) {
        Fault::new("not_found", "there is no such room at the far side (1314)", Pace::Usual)
    } else if is(ErrorCode::System) {
        Fault::new("server_error", "the far side has failed (1280)", Pace::Usual)
    } else {
        let code = code.map_or("without a code".into(), |code| code.to_string());
        Fault::new("refused", format!("the far side does not take the join ({code})"), Pace::Slow)
    }
}

/// A candidate of the far side, if it is one; the end of them is of no interest.
pub(super) fn candidate(remote: RemoteCandidate) -> Option<Candidate> {
    let text = remote.candidate.filter(|text| !text.0.is_empty() && text.0.len() <= MAX_CANDIDATE)?;
    Some(Candidate {
        candidate: text.0,
        sdp_mid: remote.mid.map(|mid| mid.0).filter(|mid| mid.len() <= MAX_NAME),
        sdp_mline_index: remote.mline_index.and_then(|index| u16::try_from(index.0).ok()),
        username_fragment: None,
    })
}

/// What somebody here said, as the far side reads it: there it comes from the bridge.
pub(super) fn said_by(from: &MemberView, text: &str) -> String {
    let name = from.facts.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&from.user_id);
    if name.is_empty() { text.to_owned() } else { format!("{name}: {text}") }
}
