use proptest::prelude::*;

use super::*;

/// As a browser sends it: everything in the sections.
const BROWSER: &str = "v=0\r\no=- 52 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n\
    a=fingerprint:sha-256 DA:7B\r\na=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
    a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n\
    a=fingerprint:sha-256 DA:7B\r\na=setup:actpass\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";

/// As libdatachannel sends it: ICE and DTLS at the session.
const SESSION_LEVEL: &str = "v=0\no=rtc 4 0 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0\na=ice-ufrag:abcd\n\
    a=ice-pwd:abcdefghijklmnopqrstuv\na=fingerprint:sha-256 00\nm=video 9 UDP/TLS/RTP/SAVPF 96\nc=IN IP4 0.0.0.0\na=mid:0\n\
    a=sendonly\na=rtpmap:96 H264/90000\n";

#[test]
fn usual_offers_pass() {
    assert_eq!(check(Role::Ingest, BROWSER).unwrap(), OfferIce { ufrag: "EsAw".into(), mids: vec!["0".into(), "1".into()] });
    assert_eq!(check(Role::Ingest, SESSION_LEVEL).unwrap().ufrag, "abcd");
    assert!(check(Role::Egress, &BROWSER.replace("sendonly", "recvonly")).is_ok());
    assert!(check(Role::Egress, &BROWSER.replace("a=sendonly\r\n", "")).is_ok(), "sendrecv is the default");
}

#[test]
fn offers_that_cannot_work_are_refused_with_the_reason() {
    let refused = |role, text: &str| check(role, text).unwrap_err();
    assert_eq!(refused(Role::Egress, " \r\n"), OfferError::Empty);
    assert_eq!(refused(Role::Ingest, "garbage"), OfferError::Malformed { line: 1 });
    assert_eq!(refused(Role::Ingest, "v=0\nm=audio 9"), OfferError::Malformed { line: 2 });
    assert_eq!(refused(Role::Ingest, "v=0\ns=-"), OfferError::Missing("ice-ufrag"));
    assert_eq!(refused(Role::Ingest, &BROWSER.replace("fingerprint", "thumbprint")), OfferError::Missing("fingerprint"));
    assert_eq!(refused(Role::Egress, BROWSER), OfferError::Direction("recvonly or sendrecv"));
    assert_eq!(refused(Role::Ingest, &BROWSER.replace("m=audio", "m=video")), OfferError::TooManyTracks("video"));
    assert_eq!(
        refused(Role::Ingest, &SESSION_LEVEL.replace("m=video", "m=application")),
        OfferError::Missing("audio or video section")
    );
    let long = format!("v=0\r\n{}", "a=x:y\r\n".repeat(MAX_SDP / 7 + 1));
    assert!(matches!(refused(Role::Ingest, &long), OfferError::TooLarge { .. }));
}

fn fragment(text: &str) -> Fragment {
    Fragment::parse(text).unwrap()
}

#[test]
fn a_restart_changes_only_ice() {
    let news = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=candidate:7 1 udp 5 198.51.100.2 61765 typ host\r\na=end-of-candidates\r\n";
    let offer = restart(BROWSER, &fragment(news)).unwrap();
    assert!(offer.starts_with("v=0\r\no=- 52 3 IN IP4 127.0.0.1\r\n"));
    assert!(!offer.contains("EsAw") && !offer.contains("192.0.2.1"));
    assert_eq!(offer.matches("a=ice-ufrag:ysXw\r\n").count(), 2);
    let (first, second) = offer.split_at(offer.find("m=video").unwrap());
    assert!(first.ends_with("a=candidate:7 1 udp 5 198.51.100.2 61765 typ host\r\na=end-of-candidates\r\n"));
    assert!(!second.contains("candidate"));
    assert!(offer.contains("a=rtpmap:96 VP8/90000\r\n") && offer.contains("a=fingerprint:sha-256 DA:7B\r\n"));
    assert_eq!(check(Role::Ingest, &offer).unwrap().ufrag, "ysXw");
}

#[test]
fn a_restart_finds_credentials_at_the_session() {
    let offer = restart(SESSION_LEVEL, &fragment("a=ice-ufrag:wxyz\na=ice-pwd:0123456789012345678901\n")).unwrap();
    assert!(offer.contains("a=ice-ufrag:wxyz\r\na=ice-pwd:0123456789012345678901\r\n") && !offer.contains("abcd"));
    let stray = fragment("a=ice-ufrag:wxyz\na=ice-pwd:0123456789012345678901\nm=x\na=mid:9\na=end-of-candidates\n");
    assert_eq!(restart(SESSION_LEVEL, &stray).unwrap_err(), OfferError::UnknownMid("9".into()));
}

#[test]
fn an_answer_is_cut_to_its_tagged_section() {
    let answer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 1 0\r\na=ice-lite\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=recvonly\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ice-ufrag:38sd\r\na=ice-pwd:2e13dde17c1cb009202f627f\r\na=recvonly\r\n\
        a=fingerprint:sha-256 F7\r\na=candidate:1 1 UDP 2130706431 198.51.100.1 39132 typ host\r\na=end-of-candidates\r\n";
    assert_eq!(
        cut(answer).unwrap(),
        "a=ice-lite\r\na=group:BUNDLE 1 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ice-ufrag:38sd\r\n\
         a=ice-pwd:2e13dde17c1cb009202f627f\r\na=candidate:1 1 UDP 2130706431 198.51.100.1 39132 typ host\r\n\
         a=end-of-candidates\r\n"
    );
    assert!(Fragment::parse(&cut(answer).unwrap()).is_ok(), "what is sent can be read");
    assert_eq!(cut("v=0\r\ns=-\r\n"), Err(OfferError::Missing("media section")));
}

proptest! {
    #[test]
    fn no_text_makes_them_panic(text in "\\PC{0,800}", lines in prop::collection::vec("[a-z]=[ -~]{0,30}", 0..40)) {
        for text in [text, format!("v=0\n{}", lines.join("\n"))] {
            let _ = check(Role::Ingest, &text);
            let _ = cut(&text);
            let _ = restart(&text, &fragment("a=ice-ufrag:wxyz\na=ice-pwd:0123456789012345678901\na=end-of-candidates\n"));
        }
    }
}
