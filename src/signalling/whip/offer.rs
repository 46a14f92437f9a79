//! Offers and answers as text: the checks before a room is asked, the offer of an ICE restart, the fragment of its answer.

use super::{Fragment, MAX_SDP, Role};

/// Why an offer is refused before any engine sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// There is no body. The form of old WHEP drafts in which the server offers is not spoken.
    #[error("the body is empty; it must be an SDP offer")]
    Empty,
    /// More bytes than are taken.
    #[error("the session description has {len} bytes, at most {max} are taken")]
    TooLarge {
        /// Its size.
        len: usize,
        /// The most.
        max: usize,
    },
    /// Not SDP: the first line is not `v=0`, or a line has no type.
    #[error("line {line} is not a line of a session description")]
    Malformed {
        /// Counted from 1.
        line: usize,
    },
    /// Something WebRTC cannot do without is missing.
    #[error("the offer has no {0}")]
    Missing(&'static str),
    /// No section goes the right way: WHIP must send, WHEP must receive (RFC 9725 section 4.2).
    #[error("no audio or video section of the offer is {0}")]
    Direction(&'static str),
    /// More than one track of a kind (RFC 9725 section 4.4.2).
    #[error("the offer has more than one {0} track")]
    TooManyTracks(&'static str),
    /// A fragment names a section that the offer does not have.
    #[error("the offer has no media section {0:?}")]
    UnknownMid(String),
}

/// The ICE side of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferIce {
    /// The user fragment.
    pub ufrag: String,
    /// The mids in order of the sections.
    pub mids: Vec<String>,
}

/// One line of a session description: its type and its value.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end())).filter(|(_, line)| !line.is_empty())
}

/// Checks what can be known of an offer without an engine.
pub fn check(role: Role, text: &str) -> Result<OfferIce, OfferError> {
    if text.trim().is_empty() {
        return Err(OfferError::Empty);
    }
    if text.len() > MAX_SDP {
        return Err(OfferError::TooLarge { len: text.len(), max: MAX_SDP });
    }
    let (mut ufrag, mut pwd, mut fingerprint) = (None, false, false);
    let mut default_direction = "sendrecv";
    let mut sections: Vec<(&str, &str)> = Vec::new(); // kind and direction
    let mut mids = Vec::new();
    for (number, line) in lines(text) {
        let bytes = line.as_bytes();
        let typed = bytes.len() >= 2 && bytes[0].is_ascii_lowercase() && bytes[1] == b'=';
        if !typed || (number == 1 && line != "v=0") || (number != 1 && line.starts_with("v=")) {
            return Err(OfferError::Malformed { line: number });
        }
        let value = &line[2..];
        match bytes[0] {
            b'm' => {
                let kind = value.split(' ').next().unwrap_or_default();
                if value.split(' ').count() < 4 {
                    return Err(OfferError::Malformed { line: number });
                }
                sections.push((kind, default_direction));
            }
            b'a' => match (value.split_once(':'), value) {
                (Some(("ice-ufrag", value)), _) => ufrag = ufrag.or(Some(value)),
                (Some(("ice-pwd", _)), _) => pwd = true,
                (Some(("fingerprint", _)), _) => fingerprint = true,
                (Some(("mid", value)), _) => mids.push(value.to_owned()),
                (None, direction @ ("sendrecv" | "sendonly" | "recvonly" | "inactive")) => match sections.last_mut() {
                    Some(section) => section.1 = direction,
                    None => default_direction = direction,
                },
                _ => {}
            },
            _ => {}
        }
    }
    let ufrag = ufrag.ok_or(OfferError::Missing("ice-ufrag"))?.to_owned();
    if !pwd {
        return Err(OfferError::Missing("ice-pwd"));
    }
    if !fingerprint {
        return Err(OfferError::Missing("fingerprint"));
    }
    check_sections(role, &sections)?;
    Ok(OfferIce { ufrag, mids })
}

fn check_sections(role: Role, sections: &[(&str, &str)]) -> Result<(), OfferError> {
    let (useful, wanted): (&[&str], _) = match role {
        Role::Ingest => (&["sendonly", "sendrecv"], "sendonly or sendrecv"),
        Role::Egress => (&["recvonly", "sendrecv"], "recvonly or sendrecv"),
    };
    let count = |kind: &str| sections.iter().filter(|(k, direction)| *k == kind && useful.contains(direction)).count();
    if !sections.iter().any(|(kind, _)| matches!(*kind, "audio" | "video")) {
        return Err(OfferError::Missing("audio or video section"));
    }
    match (count("audio"), count("video")) {
        (0, 0) => Err(OfferError::Direction(wanted)),
        (2.., _) => Err(OfferError::TooManyTracks("audio")),
        (_, 2..) => Err(OfferError::TooManyTracks("video")),
        _ => Ok(()),
    }
}

/// The offer of an ICE restart: the stored offer with the fragment's credentials and candidates in place of its own, and the next
/// session version (RFC 8839 section 4.4.1.1.1, RFC 9725 section 4.3.3). The fragment must have credentials.
pub fn restart(offer: &str, fragment: &Fragment) -> Result<String, OfferError> {
    let (ufrag, pwd) = fragment.credentials.as_ref().ok_or(OfferError::Missing("ice-ufrag"))?;
    let mut mids: Vec<&str> = Vec::new();
    for (_, line) in lines(offer) {
        if line.starts_with("m=") {
            mids.push("");
        } else if let (Some(mid), Some(last)) = (line.strip_prefix("a=mid:"), mids.last_mut()) {
            *last = mid;
        }
    }
    // candidates by the index of their section
    let mut placed: Vec<(usize, &str)> = Vec::new();
    for candidate in &fragment.candidates {
        let at = match &candidate.sdp_mid {
            Some(mid) => mids.iter().position(|m| m == mid).ok_or_else(|| OfferError::UnknownMid(mid.clone()))?,
            None => usize::from(candidate.sdp_mline_index.unwrap_or(0)),
        };
        placed.push((at, &candidate.candidate));
    }
    let mut text = String::with_capacity(offer.len() + 512);
    let mut section = None;
    for (_, line) in lines(offer) {
        if line.starts_with("m=") {
            push_candidates(&mut text, section, &placed);
            section = Some(section.map_or(0, |at| at + 1));
        }
        match line {
            _ if line.starts_with("a=ice-ufrag:") => push(&mut text, &format!("a=ice-ufrag:{ufrag}")),
            _ if line.starts_with("a=ice-pwd:") => push(&mut text, &format!("a=ice-pwd:{pwd}")),
            _ if line.starts_with("a=candidate:") || line == "a=end-of-candidates" => {}
            _ if line.starts_with("o=") => push(&mut text, &next_version(line)),
            _ => push(&mut text, line),
        }
    }
    push_candidates(&mut text, section, &placed);
    Ok(text)
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push_str("\r\n");
}

fn push_candidates(text: &mut String, section: Option<usize>, placed: &[(usize, &str)]) {
    let Some(section) = section else { return };
    for (_, candidate) in placed.iter().filter(|(at, _)| *at == section) {
        push(text, &if candidate.is_empty() { "a=end-of-candidates".to_owned() } else { format!("a={candidate}") });
    }
}

/// `o=` with its third word, the session version, one higher (RFC 8866 section 5.2). A line of another form stays as it is.
fn next_version(origin: &str) -> String {
    let mut words: Vec<&str> = origin.split(' ').collect();
    let next = words.get(2).and_then(|version| version.parse::<u64>().ok()).map(|version| version.wrapping_add(1).to_string());
    if let (Some(next), Some(place)) = (&next, words.get_mut(2)) {
        *place = next;
    }
    words.join(" ")
}

/// Cuts an answer to the fragment that tells a client of its new ICE side: ice options, bundle group and the tagged section with
/// credentials and candidates (RFC 9725 section 4.3.3). Fails when the answer has no credentials.
pub fn cut(answer: &str) -> Result<String, OfferError> {
    let (mut head, mut sections) = (Vec::new(), Vec::<Vec<&str>>::new());
    for (_, line) in lines(answer) {
        match sections.last_mut() {
            _ if line.starts_with("m=") => sections.push(vec![line]),
            Some(section) => section.push(line),
            None => head.push(line),
        }
    }
    let mid_of = |section: &[&str]| section.iter().find_map(|line| line.strip_prefix("a=mid:")).unwrap_or_default().to_owned();
    let group = head.iter().find(|line| line.starts_with("a=group:BUNDLE")).copied();
    let tag = group.and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let tagged = sections.iter().find(|section| !tag.is_empty() && mid_of(section) == tag).or(sections.first());
    let tagged = tagged.ok_or(OfferError::Missing("media section"))?;
    let find = |prefix: &str| tagged.iter().chain(&head).find(|line| line.starts_with(prefix)).copied();

    let mut text = String::new();
    for line in ["a=ice-lite", "a=ice-options:", "a=ice-pacing:"].into_iter().filter_map(find) {
        push(&mut text, line);
    }
    group.into_iter().for_each(|line| push(&mut text, line));
    tagged.iter().filter(|line| line.starts_with("m=") || line.starts_with("a=mid:")).for_each(|line| push(&mut text, line));
    push(&mut text, find("a=ice-ufrag:").ok_or(OfferError::Missing("ice-ufrag"))?);
    push(&mut text, find("a=ice-pwd:").ok_or(OfferError::Missing("ice-pwd"))?);
    let mut ended = false;
    for line in tagged.iter().chain(&head) {
        if line.starts_with("a=candidate:") {
            push(&mut text, line);
        }
        ended |= *line == "a=end-of-candidates";
    }
    if ended {
        push(&mut text, "a=end-of-candidates");
    }
    Ok(text)
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
