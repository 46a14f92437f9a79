//! SDP fragments (RFC 8840 section 9): what a PATCH carries.

use crate::vocab::Candidate;

/// What a client tells of its ICE side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The client's user fragment and password. Required for a restart, optional when candidates are added.
    pub credentials: Option<(String, String)>,
    /// The candidates in order; an empty one ends them.
    pub candidates: Vec<Candidate>,
}

/// Why a text is not a usable fragment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// A line has not the form `a=…` or `m=…`.
    #[error("line {line} is not a line of an SDP fragment")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A candidate line does not follow RFC 8839 section 5.1.
    #[error("line {line} is not a candidate")]
    Candidate {
        /// Counted from 1.
        line: usize,
    },
    /// User fragment or password is missing, too short, too long, has other characters than ICE allows, or there are several.
    #[error("ice-ufrag and ice-pwd are incomplete, malformed or contradict each other")]
    Credentials,
    /// More candidates than are taken at once.
    #[error("more than {max} candidates")]
    TooMany {
        /// The most.
        max: usize,
    },
    /// Nothing in it: neither credentials nor candidates.
    #[error("the fragment is empty")]
    Empty,
}

impl Fragment {
    /// Most candidates in one fragment: as many as the room keeps for a peer without a description.
    pub const MAX_CANDIDATES: usize = 64;

    /// Reads a fragment. Unknown attributes are passed over (RFC 8840 section 9.2); never panics on any text.
    pub fn parse(text: &str) -> Result<Self, FragmentError> {
        let (mut ufrag, mut pwd) = (None::<&str>, None::<&str>);
        let (mut section, mut mid) = (None::<u16>, None::<&str>);
        let mut found = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let line_number = at + 1;
            let line = line.trim_end();
            if line.starts_with("m=") {
                section = Some(section.map_or(0, |index| index.saturating_add(1)));
                mid = None;
                continue;
            }
            let Some(attribute) = line.strip_prefix("a=") else { return Err(FragmentError::Line { line: line_number }) };
            match attribute.split_once(':') {
                Some(("ice-ufrag", value)) => put_once(&mut ufrag, value)?,
                Some(("ice-pwd", value)) => put_once(&mut pwd, value)?,
                Some(("mid", value)) if section.is_some() => mid = Some(value),
                Some(("candidate", value)) if is_candidate(value) => found.push((section, mid, attribute)),
                Some(("candidate", _)) => return Err(FragmentError::Candidate { line: line_number }),
                None if attribute == "end-of-candidates" => found.push((section, mid, "")),
                _ => {}
            }
            if found.len() > Self::MAX_CANDIDATES {
                return Err(FragmentError::TooMany { max: Self::MAX_CANDIDATES });
            }
        }
        let credentials = match (ufrag, pwd) {
            (None, None) => None,
            (Some(ufrag), Some(pwd)) if is_ice_text(ufrag, 4) && is_ice_text(pwd, 22) => Some((ufrag.to_owned(), pwd.to_owned())),
            _ => return Err(FragmentError::Credentials),
        };
        if credentials.is_none() && found.is_empty() {
            return Err(FragmentError::Empty);
        }
        let candidates = found
            .into_iter()
            .map(|(section, mid, candidate)| Candidate {
                candidate: candidate.to_owned(),
                sdp_mid: mid.map(str::to_owned),
                // with a mid the index says nothing more: the fragment holds only some of the sections
                sdp_mline_index: if mid.is_none() { Some(section.unwrap_or(0)) } else { None },
                username_fragment: credentials.as_ref().map(|(ufrag, _)| ufrag.clone()),
            })
            .collect();
        Ok(Self { credentials, candidates })
    }
}

/// Keeps the first value; a second one must be equal, since all sections of a bundle share one ICE session.
fn put_once<'a>(place: &mut Option<&'a str>, value: &'a str) -> Result<(), FragmentError> {
    match place {
        Some(known) if *known != value => Err(FragmentError::Credentials),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

/// RFC 8839 section 5.4: at least that many and at most 256 characters of letters, digits, `+` and `/`. `-`, `_` and `=` are taken
/// as well: stacks in the field use base64url there.
fn is_ice_text(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b))
}

/// RFC 8839 section 5.1: foundation, component, transport, priority, address, port, `typ`, type. At most 512 bytes.
fn is_candidate(value: &str) -> bool {
    if value.len() > 512 || value.chars().any(char::is_control) {
        return false;
    }
    let mut words = value.split_ascii_whitespace();
    let mut word = || words.next().unwrap_or_default();
    let (foundation, component, transport) = (word(), word().parse::<u16>(), word());
    let (priority, address, port) = (word().parse::<u32>(), word(), word().parse::<u16>());
    let (typ, kind) = (word(), word());
    !foundation.is_empty()
        && component.is_ok()
        && !transport.is_empty()
        && priority.is_ok()
        && !address.is_empty()
        && port.is_ok()
        && typ == "typ"
        && !kind.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RFC_RESTART: &str = "a=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
        a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0 ufrag EsAw network-id 1\r\n\
        a=end-of-candidates\r\n";

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let fragment = Fragment::parse(RFC_RESTART).unwrap();
        assert_eq!(fragment.credentials, Some(("ysXw".into(), "vw5LmwG4y/e6dPP/zAP9Gp5k".into())));
        assert_eq!(fragment.candidates.len(), 3);
        assert_eq!(fragment.candidates[0].sdp_mid.as_deref(), Some("0"));
        assert!(fragment.candidates[0].candidate.starts_with("candidate:1387637174 1 udp"));
        assert_eq!(fragment.candidates[0].username_fragment.as_deref(), Some("ysXw"));
        assert_eq!(fragment.candidates[2].candidate, "");
    }

    #[test]
    fn candidates_without_a_section_belong_to_the_first() {
        let fragment = Fragment::parse("a=candidate:1 1 udp 1 127.0.0.1 9 typ host\n").unwrap();
        assert_eq!(fragment.candidates[0].sdp_mline_index, Some(0));
        assert_eq!(fragment.credentials, None);
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        let refused = |text: &str| Fragment::parse(text).unwrap_err();
        assert_eq!(refused(""), FragmentError::Empty);
        assert_eq!(refused("m=audio 9 RTP/AVP 0\na=mid:0"), FragmentError::Empty);
        assert_eq!(refused("hello"), FragmentError::Line { line: 1 });
        assert_eq!(refused("{\"candidate\":1}"), FragmentError::Line { line: 1 });
        assert_eq!(refused("a=mid:0\na=candidate:1 1 udp x"), FragmentError::Candidate { line: 2 });
        assert_eq!(refused("a=ice-ufrag:abcd"), FragmentError::Credentials);
        assert_eq!(refused("a=ice-ufrag:abcd\na=ice-pwd:short"), FragmentError::Credentials);
        assert_eq!(refused("a=ice-ufrag:abcd\na=ice-ufrag:efgh\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa"), FragmentError::Credentials);
        let many = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\n".repeat(Fragment::MAX_CANDIDATES + 1);
        assert_eq!(refused(&many), FragmentError::TooMany { max: Fragment::MAX_CANDIDATES });
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_within_bounds(text in "\\PC{0,2000}") {
            if let Ok(fragment) = Fragment::parse(&text) {
                prop_assert!(fragment.candidates.len() <= Fragment::MAX_CANDIDATES);
            }
        }

        #[test]
        fn texts_made_of_fragment_lines_are_read_or_refused_within_bounds(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "a=ice-ufrag:abcd", "a=ice-ufrag:", "a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa", "a=ice-pwd", "m=", "m=audio 9 X 0",
                    "a=mid:0", "a=mid:", "a=candidate:1 1 udp 1 h 9 typ host", "a=candidate:", "a=end-of-candidates", "a=", "a",
                    "", "\r", "a=candidate:1 1 udp 99999999999 h 9 typ host", "a=x:y",
                ]),
                0..120,
            ),
        ) {
            if let Ok(fragment) = Fragment::parse(&lines.join("\n")) {
                prop_assert!(fragment.candidates.len() <= Fragment::MAX_CANDIDATES);
                let (ufrag, pwd) = fragment.credentials.unwrap_or(("abcd".into(), "a".repeat(22)));
                prop_assert!(ufrag.len() >= 4 && pwd.len() >= 22);
            }
        }
    }
}
