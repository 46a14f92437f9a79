//! PURE. What answers, refusals and ends mean for a bridge: a reason with a stable code, and how soon to try again.

use std::time::{Duration, SystemTime};

use reqwest::Url;

use super::super::config::BridgeKind;
use super::super::retry::Pace;
use crate::room::{EndReason, Refusal};

/// Longest description that is taken from an endpoint, in bytes.
pub(super) const MAX_ANSWER: usize = 64 << 10;
/// Longest address of a resource or redirect.
const MAX_URL: usize = 4096;
/// Redirects followed of one request.
pub(super) const MAX_HOPS: usize = 5;

/// Why it does not work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Fault {
    /// Stable, lower snake case; `docs/ref/http.md` lists them.
    pub(in crate::bridge) code: &'static str,
    pub(in crate::bridge) message: String,
    pub(in crate::bridge) pace: Pace,
    pub(in crate::bridge) retry_after: Option<Duration>,
}

impl Fault {
    pub(in crate::bridge) fn new(code: &'static str, message: impl Into<String>, pace: Pace) -> Self {
        Self { code, message: message.into(), pace, retry_after: None }
    }

    /// Whether there is nobody to talk to.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self.code, "unreachable" | "timeout" | "tls")
    }
}

/// Where a session at an endpoint is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource(pub(super) Url);

/// What a status that is no success means.
pub(super) fn of_status(kind: BridgeKind, status: u16, retry_after: Option<Duration>) -> Fault {
    let (code, message, pace) = match status {
        300..=399 => ("redirect", "the endpoint redirects in a way that is not followed".into(), Pace::Slow),
        400 | 405 | 411 | 413 | 415 | 422 => ("refused", format!("the endpoint does not take the offer ({status})"), Pace::Slow),
        401 => ("unauthorised", "the endpoint wants another token (401)".into(), Pace::Slow),
        403 => ("forbidden", "the endpoint does not allow it with this token (403)".into(), Pace::Slow),
        404 | 409 | 410 if kind == BridgeKind::Whep => {
            ("not_found", format!("the endpoint has no such stream now ({status})"), Pace::Poll)
        }
        404 | 410 => ("not_found", format!("there is no such endpoint ({status})"), Pace::Usual),
        406 => ("counter_offer", "the endpoint takes no offer as it is (406), and its own are not supported".into(), Pace::Slow),
        409 => ("conflict", "somebody else publishes there (409)".into(), Pace::Poll),
        429 => ("busy", "the endpoint was asked too often (429)".into(), Pace::Usual),
        503 => ("busy", "the endpoint cannot serve it now (503)".into(), Pace::Usual),
        500..=599 => ("server_error", format!("the endpoint has failed ({status})"), Pace::Usual),
        _ => ("unexpected", format!("the endpoint answers {status}"), Pace::Usual),
    };
    Fault { code, message, pace, retry_after }
}

/// What a refusal of the own room means.
pub(in crate::bridge) fn of_refusal(why: &Refusal) -> Fault {
    match why {
        Refusal::UnknownStream => Fault::new("no_stream", "the stream is not in the room", Pace::Usual),
        Refusal::UnknownRoom(_) | Refusal::Topology { .. } | Refusal::Forbidden { .. } => {
            Fault::new(why.code(), why.to_string(), Pace::Slow)
        }
        why => Fault::new(why.code(), why.to_string(), Pace::Usual),
    }
}

/// What the end of a connection or of the place means.
pub(in crate::bridge) fn of_end(reason: EndReason) -> Fault {
    let (code, message, pace) = match reason {
        EndReason::StreamEnded => ("no_stream", "the stream is not in the room".into(), Pace::Usual),
        EndReason::Left => ("ended", "the far side ended the session".into(), Pace::Usual),
        EndReason::Lost => ("lost", reason.to_string(), Pace::Usual),
        EndReason::NeverConnected => ("never_connected", "no packets came through within the time allowed".into(), Pace::Usual),
        EndReason::BadDescription => ("bad_answer", "the endpoint's answer cannot be used".into(), Pace::Slow),
        EndReason::NoCommonCodec => ("no_common_codec", "the endpoint takes none of the codecs offered".into(), Pace::Slow),
        EndReason::SourceFailed => ("source_failed", reason.to_string(), Pace::Usual),
        EndReason::Overloaded => ("overloaded", reason.to_string(), Pace::Usual),
        EndReason::Evicted => ("evicted", reason.to_string(), Pace::Slow),
        EndReason::Stopping => ("stopping", reason.to_string(), Pace::Usual),
        EndReason::Replaced | EndReason::Expired | EndReason::Internal => ("internal", reason.to_string(), Pace::Usual),
    };
    Fault::new(code, message, pace)
}

/// Whether what came can be an answer to this offer; says what is wrong in words, where the peer could only refuse it.
pub(in crate::bridge) fn check_answer(kind: BridgeKind, offer: &str, answer: &str) -> Result<(), Fault> {
    let bad = |message: &str| Err(Fault::new("bad_answer", message, Pace::Slow));
    if answer.lines().next().map(str::trim_end) != Some("v=0") {
        return bad("the endpoint's answer is no session description");
    }
    let sections = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    if sections(answer) != sections(offer) {
        let message = format!("the endpoint answers {} media sections of {}", sections(answer), sections(offer));
        return bad(&message);
    }
    let accepted = |line: &&str| line.strip_prefix("m=").is_some_and(|rest| rest.split(' ').nth(1) != Some("0"));
    if !answer.lines().any(|line| accepted(&line)) {
        let message = "the endpoint takes none of the codecs offered".to_owned();
        return Err(Fault::new("no_common_codec", message, Pace::Slow));
    }
    if directions(answer, kind) == 0 {
        return bad(match kind {
            BridgeKind::Whep => "the endpoint's answer sends nothing",
            _ => "the endpoint's answer receives nothing",
        });
    }
    Ok(())
}

/// Sections that are not refused and go the right way.
fn directions(answer: &str, kind: BridgeKind) -> usize {
    let wanted = match kind {
        BridgeKind::Whep => "sendonly",
        _ => "recvonly",
    };
    let (mut default, mut sections) = ("sendrecv", Vec::new());
    for line in answer.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            sections.push((media.split(' ').nth(1) != Some("0"), default));
        } else if let Some(direction @ ("sendrecv" | "sendonly" | "recvonly" | "inactive")) = line.strip_prefix("a=") {
            match sections.last_mut() {
                Some(section) => section.1 = direction,
                None => default = direction,
            }
        }
    }
    sections.iter().filter(|(taken, direction)| *taken && (*direction == wanted || *direction == "sendrecv")).count()
}

/// Where a redirected request goes. RFC 9725 §4.6 wants 307 followed; a redirect never leads from https to http, nor from outside to
/// this machine.
pub(super) fn next_hop(from: &Url, status: u16, location: Option<&str>) -> Result<Url, Fault> {
    let fault = |message: &str| Fault::new("redirect", message, Pace::Slow);
    if !matches!(status, 307 | 308) {
        return Err(fault("the endpoint redirects with a status that makes another request of it"));
    }
    let target = resolve(from, location).ok_or_else(|| fault("the endpoint redirects to no address"))?;
    if from.scheme() == "https" && target.scheme() != "https" {
        return Err(fault("the endpoint redirects from https to http"));
    }
    if is_here(&target) && !is_here(from) {
        return Err(fault("the endpoint redirects to this machine"));
    }
    Ok(target)
}

/// Where the session is to be ended (RFC 9725 §4.2); the address may be relative. `None` where it is none.
pub(super) fn resource(from: &Url, location: Option<&str>) -> Option<Resource> {
    let url = resolve(from, location)?;
    let as_safe = from.scheme() == "http" || url.scheme() == "https";
    (as_safe && (is_here(from) || !is_here(&url))).then_some(Resource(url))
}

fn resolve(from: &Url, location: Option<&str>) -> Option<Url> {
    let location = location.filter(|text| text.len() <= MAX_URL)?;
    let url = from.join(location).ok()?;
    let good = ["http", "https"].contains(&url.scheme()) && url.has_host() && url.username().is_empty();
    (good && url.password().is_none()).then_some(url)
}

/// Loopback, link-local and unspecified addresses: nobody outside means those.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        Ok(std::net::IpAddr::V6(ip)) => {
            let mapped = ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback() || ip.is_link_local());
            ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || mapped
        }
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// The token goes where it was configured for, and nowhere else: not to whom the endpoint redirects to.
pub(super) fn gets_token(configured: &Url, target: &Url) -> bool {
    configured.origin() == target.origin()
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds or a date.
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let now = jiff::Timestamp::try_from(now).ok()?;
    u64::try_from(at.as_second() - now.as_second()).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn what_somebody_must_change_is_not_hammered() {
        for status in [400, 401, 403, 406, 415] {
            assert_eq!(of_status(BridgeKind::Whip, status, None).pace, Pace::Slow, "{status}");
        }
        assert_eq!(of_status(BridgeKind::Whip, 401, None).code, "unauthorised");
        assert_eq!(of_status(BridgeKind::Whep, 404, None).pace, Pace::Poll, "its publisher may come any moment");
        assert_eq!(of_status(BridgeKind::Whip, 502, None).code, "server_error");
        assert_eq!(of_status(BridgeKind::Whep, 406, None).code, "counter_offer");
    }

    #[test]
    fn redirects_are_followed_where_they_are_no_surprise() {
        let from = url("https://media.example/whip/a");
        assert_eq!(next_hop(&from, 307, Some("https://edge.example/b")).unwrap().as_str(), "https://edge.example/b");
        assert_eq!(next_hop(&from, 308, Some("/b")).unwrap().as_str(), "https://media.example/b");
        for (status, location) in [
            (302, Some("https://media.example/b")),
            (307, None),
            (307, Some("http://media.example/b")),
            (307, Some("https://localhost/b")),
            (307, Some("https://127.0.0.1:8780/b")),
            (307, Some("https://[::1]/b")),
            (307, Some("https://[::ffff:127.0.0.1]/b")),
            (307, Some("https://169.254.169.254/b")),
            (307, Some("file:///etc/passwd")),
            (307, Some("https://me:hush@edge.example/")),
        ] {
            assert_eq!(next_hop(&from, status, location).unwrap_err().code, "redirect", "{status} {location:?}");
        }
        assert!(next_hop(&url("http://127.0.0.1:1/a"), 307, Some("http://127.0.0.1:2/b")).is_ok());
    }

    #[test]
    fn the_token_stays_with_its_origin() {
        let configured = url("https://media.example/whip/a");
        assert!(gets_token(&configured, &url("https://media.example:443/other")));
        assert!(!gets_token(&configured, &url("https://edge.media.example/whip/a")));
        assert!(!gets_token(&configured, &url("https://media.example:8443/whip/a")));
    }

    #[test]
    fn resources_may_be_relative() {
        let from = url("https://media.example/whip/a");
        assert_eq!(resource(&from, Some("/session/7")).unwrap().0.as_str(), "https://media.example/session/7");
        assert_eq!(resource(&from, Some("7?x=1")).unwrap().0.as_str(), "https://media.example/whip/7?x=1");
        assert_eq!(resource(&from, Some("http://media.example/7")), None);
        assert_eq!(resource(&from, Some(&"x".repeat(5000))), None);
        assert_eq!(resource(&from, None), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:40:00 GMT", now), None, "in the past");
        assert_eq!(retry_after("soon", now), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_of_a_far_side_breaks_anything(text: String, status: u16, lines in "((v=0|m=(audio|video) (0|9)?|a=(sendonly|inactive)|.{0,9})\r?\n){0,9}") {
            let from = url("https://media.example/whip/a");
            let _ = next_hop(&from, status, Some(&text));
            let _ = resource(&from, Some(&text));
            let _ = retry_after(&text, SystemTime::now());
            for kind in [BridgeKind::Whip, BridgeKind::Whep] {
                let _ = of_status(kind, status, None);
                let _ = check_answer(kind, &text, &lines);
                let _ = check_answer(kind, &lines, &lines);
            }
        }
    }

    #[test]
    fn answers_are_judged_in_words() {
        let offer = "v=0\r\nm=audio 9 X 111\r\na=sendonly\r\nm=video 9 X 102\r\na=sendonly\r\n";
        let good = "v=0\r\nm=audio 9 X 111\r\na=recvonly\r\nm=video 0 X 0\r\n";
        assert_eq!(check_answer(BridgeKind::Whip, offer, good), Ok(()));
        let code = |answer: &str| check_answer(BridgeKind::Whip, offer, answer).unwrap_err();
        assert_eq!(code("<html>").code, "bad_answer");
        assert!(code("v=0\r\nm=audio 9 X 111\r\na=recvonly\r\n").message.contains("1 media sections of 2"));
        assert_eq!(code("v=0\r\nm=audio 0 X 0\r\nm=video 0 X 0\r\n").code, "no_common_codec");
        assert!(code("v=0\r\nm=audio 9 X 111\r\na=inactive\r\nm=video 0 X 0\r\n").message.contains("receives nothing"));
        assert_eq!(check_answer(BridgeKind::Whep, offer, good).unwrap_err().message, "the endpoint's answer sends nothing");
    }
}
