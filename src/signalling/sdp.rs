//! The little that dialects must know of an otherwise opaque session description (RFC 8866, RFC 8829). The peer reads the rest.

use crate::vocab::MediaKind;

/// Whether it can be a session description at all: a version line first and at least one media section.
pub(crate) fn plausible(text: &str) -> bool {
    let mut lines = text.lines();
    lines.next().map(str::trim_end) == Some("v=0") && lines.any(|line| line.starts_with("m="))
}

/// User name and session id of the `o=` line. They stay the same over all offers of one peer connection (RFC 8829 §5.2.2),
/// so another value means another connection at the far end.
pub(crate) fn origin(text: &str) -> Option<(&str, &str)> {
    let mut words = text.lines().find_map(|line| line.strip_prefix("o="))?.split_ascii_whitespace();
    Some((words.next()?, words.next()?))
}

/// The kinds of media that whoever wrote an answer will receive: sections with a port and direction `recvonly` or `sendrecv`.
pub(crate) fn received_kinds(answer: &str) -> Vec<MediaKind> {
    kinds_of(answer, "a=recvonly", "a=sendonly")
}

/// The kinds of media that whoever wrote a description will send: sections with a port and direction `sendonly` or `sendrecv`.
pub(crate) fn sent_kinds(description: &str) -> Vec<MediaKind> {
    kinds_of(description, "a=sendonly", "a=recvonly")
}

/// The kinds of media that an offer has sections for, whoever is to send there.
pub(crate) fn offered_kinds(offer: &str) -> Vec<MediaKind> {
    let mut kinds = Vec::new();
    for media in offer.lines().filter_map(|line| line.strip_prefix("m=")) {
        keep(&mut kinds, Some((accepted_kind(media), true)));
    }
    kinds
}

/// Whether a description has a section for data channels that is not refused (port 0).
pub(crate) fn has_channels(description: &str) -> bool {
    let port = |line: &str| line.strip_prefix("m=application ")?.split_ascii_whitespace().next().map(|port| port != "0");
    description.lines().any(|line| port(line) == Some(true))
}

fn kinds_of(text: &str, that: &str, other: &str) -> Vec<MediaKind> {
    let mut kinds = Vec::new();
    let mut session_does = true;
    // the section being read: its kind, if it is one that counts, and whether it does that
    let mut section: Option<(Option<MediaKind>, bool)> = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            keep(&mut kinds, section);
            section = Some((accepted_kind(media), session_does));
        }
        let does = match line {
            "a=sendrecv" => true,
            "a=inactive" => false,
            line if line == that => true,
            line if line == other => false,
            _ => continue,
        };
        match &mut section {
            Some((_, current)) => *current = does,
            None => session_does = does,
        }
    }
    keep(&mut kinds, section);
    kinds
}

/// The kind of a media line, unless it is refused (port 0) or neither audio nor video.
fn accepted_kind(media: &str) -> Option<MediaKind> {
    let mut words = media.split_ascii_whitespace();
    let kind = match words.next()? {
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        _ => return None,
    };
    (words.next()? != "0").then_some(kind)
}

fn keep(kinds: &mut Vec<MediaKind>, section: Option<(Option<MediaKind>, bool)>) {
    if let Some((Some(kind), true)) = section
        && !kinds.contains(&kind)
    {
        kinds.push(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\no=- 42 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\n\
                          m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=recvonly\r\nm=video 9 UDP/TLS/RTP/SAVPF 97\r\na=sendonly\r\n";

    #[test]
    fn only_accepted_receiving_sections_count() {
        assert_eq!(received_kinds(ANSWER), [MediaKind::Audio]);
        assert_eq!(received_kinds("v=0\nm=video 9 x 96\n"), [MediaKind::Video]);
        assert_eq!(received_kinds("v=0\nm=application 9 x y\na=inactive\nm=video 9 x 96\n"), [MediaKind::Video]);
        assert!(received_kinds("v=0\na=inactive\nm=video 9 x 96\n").is_empty());
    }

    #[test]
    fn what_is_sent_is_the_mirror_of_what_is_received() {
        let text = "v=0\nm=audio 9 x 111\na=sendrecv\nm=video 9 x 96\na=recvonly\nm=video 0 x 96\na=sendonly\n";
        assert_eq!(sent_kinds(text), [MediaKind::Audio]);
        assert_eq!(received_kinds(text), [MediaKind::Audio, MediaKind::Video]);
        assert_eq!(sent_kinds("v=0\nm=video 9 x 96\n"), [MediaKind::Video], "without a direction both ways");
        assert!(sent_kinds("v=0\nm=application 9 x y\n").is_empty());
    }

    #[test]
    fn data_channels_have_a_section_with_a_port() {
        assert!(has_channels("v=0\r\nm=audio 9 x 111\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
        for text in ["v=0\nm=application 0 UDP/DTLS/SCTP webrtc-datachannel", "v=0\nm=audio 9 x 111", "m=application", ""] {
            assert!(!has_channels(text), "{text:?}");
        }
    }

    #[test]
    fn origin_names_the_connection_not_the_version() {
        assert_eq!(origin(ANSWER), Some(("-", "42")));
        assert_eq!(origin("v=0\r\no=-\r\n"), None);
    }

    #[test]
    fn garbage_is_not_plausible() {
        assert!(plausible(ANSWER));
        for text in ["", "v=0", "m=audio 9", "hello\nm=audio", "v=00\nm=audio 9"] {
            assert!(!plausible(text), "{text:?}");
        }
    }
}
