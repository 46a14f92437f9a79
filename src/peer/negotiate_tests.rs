use proptest::prelude::*;

use super::incoming::Stream;
use super::*;
use crate::vocab::Codec;

const FINGERPRINT: &str = "sha-256 \
    11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00";

/// A browser's offer: session part with the mids in one group, then the given sections.
fn offer(mids: &str, sections: &[&str]) -> String {
    let mut text = format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\na=extmap-allow-mixed\r\n\
         a=msid-semantic: WMS\r\n"
    );
    for section in sections {
        let (first, rest) = section.split_once('\n').unwrap();
        text.push_str(&format!(
            "{first}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Oyef\r\na=ice-pwd:T0teqPLNQQOf+5W+ls+P2p16\r\n\
             a=ice-options:trickle\r\na=fingerprint:{FINGERPRINT}\r\na=setup:actpass\r\n"
        ));
        rest.lines().for_each(|line| text.push_str(&format!("{}\r\n", line.trim())));
    }
    text
}

/// Chromium's video codecs, shortened.
fn video(mid: &str, direction: &str, more: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 105 106 107 108 109 127 125 39 40 98 99
        a=mid:{mid}
        a=extmap:14 urn:ietf:params:rtp-hdrext:toffset
        a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
        a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
        a={direction}
        a=rtcp-mux
        a=rtcp-rsize
        a=rtpmap:96 VP8/90000
        a=rtcp-fb:96 goog-remb
        a=rtcp-fb:96 transport-cc
        a=rtcp-fb:96 ccm fir
        a=rtcp-fb:96 nack
        a=rtcp-fb:96 nack pli
        a=rtpmap:97 rtx/90000
        a=fmtp:97 apt=96
        a=rtpmap:102 H264/90000
        a=rtcp-fb:102 nack pli
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
        a=rtpmap:103 rtx/90000
        a=fmtp:103 apt=102
        a=rtpmap:104 H264/90000
        a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f
        a=rtpmap:105 rtx/90000
        a=fmtp:105 apt=104
        a=rtpmap:106 H264/90000
        a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f
        a=rtpmap:107 rtx/90000
        a=fmtp:107 apt=106
        a=rtpmap:108 H264/90000
        a=rtcp-fb:108 goog-remb
        a=rtcp-fb:108 transport-cc
        a=rtcp-fb:108 ccm fir
        a=rtcp-fb:108 nack
        a=rtcp-fb:108 nack pli
        a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
        a=rtpmap:109 rtx/90000
        a=fmtp:109 apt=108
        a=rtpmap:127 H264/90000
        a=fmtp:127 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f
        a=rtpmap:125 rtx/90000
        a=fmtp:125 apt=127
        a=rtpmap:39 AV1/90000
        a=fmtp:39 level-idx=5;profile=0;tier=0
        a=rtpmap:40 rtx/90000
        a=fmtp:40 apt=39
        a=rtpmap:98 VP9/90000
        a=fmtp:98 profile-id=0
        a=rtpmap:99 rtx/90000
        a=fmtp:99 apt=98{more}"
    )
}

fn audio(mid: &str, direction: &str) -> String {
    format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 126
        a=mid:{mid}
        a={direction}
        a=rtcp-mux
        a=rtpmap:111 opus/48000/2
        a=rtcp-fb:111 transport-cc
        a=fmtp:111 minptime=10;useinbandfec=1
        a=rtpmap:63 red/48000/2
        a=rtpmap:9 G722/8000
        a=rtpmap:126 telephone-event/8000
        a=ssrc:77 cname:x"
    )
}

const DATA: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:2\na=sctp-port:5000";

fn read(text: &str) -> Description {
    Description::parse(text).unwrap()
}

fn receive(video: &[Codec]) -> Receive {
    Receive { video: video.to_vec(), audio: true }
}

fn agreed(plan: &Plan, mid: &str) -> Option<(Option<usize>, bool, u8, Option<u8>)> {
    plan.media().find(|(known, ..)| *known == mid).map(|(_, _, send, receive, agreed)| (send, receive, agreed.pt, agreed.rtx))
}

#[test]
fn an_offer_is_summarised() {
    let text = offer("0 1 2", &[&audio("0", "sendonly"), &video("1", "sendrecv", ""), DATA]);
    let summary = summarise(&text).unwrap();
    assert_eq!(summary.sections.len(), 2);
    let (sound, picture) = (&summary.sections[0], &summary.sections[1]);
    assert!(sound.kind == MediaKind::Audio && sound.sends && !sound.receives);
    assert_eq!(sound.formats, [TrackFormat { codec: Codec::Opus, fmtp: "minptime=10;useinbandfec=1".into() }]);
    assert!(picture.mid == "1" && picture.sends && picture.receives && picture.formats.len() == 8);
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    let text = offer("0", &[&video("0", "recvonly", "")]);
    let without =
        |what: &str| text.lines().filter(|line| !line.starts_with(what)).map(|line| format!("{line}\r\n")).collect::<String>();
    assert_eq!(summarise(&without("a=ice-ufrag")), Err(SdpError::Missing("ice-ufrag")));
    assert_eq!(summarise(&without("a=ice-pwd")), Err(SdpError::Missing("ice-pwd")));
    assert_eq!(summarise(&without("a=fingerprint")), Err(SdpError::Missing("fingerprint")));
    assert_eq!(summarise("v=0\r\ns=-\r\n"), Err(SdpError::Missing("media section")));
    assert!(matches!(summarise(""), Err(SdpError::Malformed(_))));
    assert!(matches!(summarise("{\"type\":\"offer\"}"), Err(SdpError::Malformed(_))));
    assert!(matches!(summarise(&text.replace("m=video 9", "m=video nine")), Err(SdpError::Malformed(_))));
    assert!(matches!(summarise(&text.replace("ice-pwd:", "ice-pwd:x\"")), Err(SdpError::Malformed(_))));
    let twice = offer("0", &[&video("0", "recvonly", ""), &video("0", "recvonly", "")]);
    assert!(matches!(summarise(&twice), Err(SdpError::Malformed(_))));
    let large = format!("{text}{}", "a=x\r\n".repeat(20_000));
    assert!(matches!(summarise(&large), Err(SdpError::TooLarge { .. })));
    let many = format!("v=0\r\n{}", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(65));
    assert!(matches!(summarise(&many), Err(SdpError::Malformed(_))));
}

#[test]
fn a_players_offer_gets_the_payload_that_fits_the_track_exactly() {
    let description = read(&offer("0 1", &[&audio("0", "recvonly"), &video("1", "recvonly", "")]));
    let sends = [TrackFormat::h264_baseline(), TrackFormat::plain(Codec::Opus)];
    let plan = plan_answer(&description, &sends, None, false, None).unwrap();
    assert_eq!(agreed(&plan, "0"), Some((Some(1), false, 111, None)));
    assert_eq!(agreed(&plan, "1"), Some((Some(0), false, 108, Some(109))));
    assert!(!plan.dtls_client);
    let (.., feedback) = plan.media().nth(1).unwrap();
    assert_eq!(feedback.feedback, ["transport-cc", "ccm fir", "nack", "nack pli"]);
    assert_eq!(feedback.number_id, Some(3));
    let text = engine_text(&description, &plan).unwrap();
    assert_eq!(text.matches(NUMBERS).count(), 1, "{text}");
    assert!(!text.contains("sdes:mid"), "{text}");
    // a main profile stream takes the main profile's number
    let main = TrackFormat { codec: Codec::H264, fmtp: "packetization-mode=1;profile-level-id=4d0028".into() };
    let plan = plan_answer(&description, &[main], None, false, None).unwrap();
    assert_eq!(agreed(&plan, "1").unwrap().2, 127);
    assert_eq!(plan.sections[0].1, Use::Refuse, "no sound to send");
}

#[test]
fn a_publishers_offer_is_answered_with_one_codec() {
    let description = read(&offer(
        "0 1",
        &[
            &audio("0", "sendonly"),
            &video("1", "sendonly", "\na=ssrc-group:FID 1000 1001\na=ssrc:1000 cname:x\na=ssrc:1001 cname:x"),
        ],
    ));
    for (wanted, pt) in [
        (vec![Codec::H264, Codec::VP8], 108),
        (vec![Codec::VP8, Codec::H264], 96),
        (vec![Codec::AV1], 39),
        (vec![Codec::H265, Codec::VP9], 98),
    ] {
        let plan = plan_answer(&description, &[], Some(&receive(&wanted)), false, None).unwrap();
        assert_eq!(agreed(&plan, "1"), Some((None, true, pt, Some(pt + 1))));
        let text = engine_text(&description, &plan).unwrap();
        assert!(text.contains(&format!("m=video 9 UDP/TLS/RTP/SAVPF {pt} {}\r\n", pt + 1)));
        assert!(text.contains("a=ssrc:1000 cname:far\r\n"));
        assert!(text.contains("a=sendonly\r\n") && text.contains("transport-wide-cc"));
    }
    let sound = plan_answer(&description, &[], Some(&receive(&[Codec::H265])), false, None).unwrap();
    assert_eq!(sound.sections[1].1, Use::Refuse);
    let nothing = Receive { video: vec![Codec::H265], audio: false };
    assert_eq!(plan_answer(&description, &[], Some(&nothing), false, None), Err(PlanError::NoCommonCodec));
    assert_eq!(plan_answer(&description, &[TrackFormat::plain(Codec::VP8)], None, false, None), Err(PlanError::NoCommonCodec));
}

/// The streams of an offer's only section, and what the answer says of them.
fn simulcast(more: &str) -> (Incoming, String) {
    let description = read(&offer("0", &[&video("0", "sendonly", more)]));
    let plan = plan_answer(&description, &[], Some(&receive(&[Codec::VP8])), false, None).unwrap();
    let Use::Media { agreed, .. } = &plan.sections[0].1 else { panic!("{plan:?}") };
    let engine = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n";
    let answer = public_answer(engine, &description, &plan, Origin { session: 1, version: 1 });
    let said = answer.lines().filter(|line| line.starts_with("a=rid") || line.starts_with("a=simulcast")).collect::<Vec<_>>();
    (incoming(&description.sections[0], agreed), said.join(" "))
}

const NAMES: &str = "\na=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
    a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";

#[test]
fn of_simulcast_three_encodings_are_taken() {
    let (streams, said) =
        simulcast(&format!("{NAMES}\na=rid:h send\na=rid:m send\na=rid:l send\na=rid:xl send\na=simulcast:send l;m;~h;xl"));
    let names: Vec<_> = streams.streams.iter().map(|stream| stream.rid.as_deref().unwrap()).collect();
    assert_eq!(names, ["l", "m", "xl"], "what is paused comes last, and there were four");
    assert_eq!(said, "a=rid:l recv a=rid:m recv a=rid:xl recv a=simulcast:recv l;m;xl");
    assert_eq!((streams.mid, streams.rid, streams.repaired_rid), (Some(4), Some(10), Some(11)));
    let (streams, said) = simulcast("\na=rid:a send pt=96,98\na=rid:b send pt=98\na=rid:c send\na=simulcast:send b,c;~a");
    assert_eq!(streams.streams.len(), 2);
    assert_eq!(said, "a=rid:c recv a=rid:a recv pt=96 a=simulcast:recv c;~a");
}

#[test]
fn one_encoding_needs_no_name() {
    let (streams, said) = simulcast("\na=ssrc-group:FID 5 6\na=ssrc:5 cname:x\na=ssrc:6 cname:x");
    assert_eq!(streams.streams, [Stream { rid: None, ssrc: Some(5), repair: Some(6) }]);
    assert_eq!(said, "");
    let (streams, _) = simulcast("");
    assert_eq!(streams.streams, [Stream::default()]);
    assert_eq!(streams.transport_cc, Some(3));
}

#[test]
fn encodings_may_be_told_apart_by_ssrc() {
    let groups = "\na=ssrc-group:SIM 1 2 3\na=ssrc-group:FID 1 11\na=ssrc-group:FID 3 13\na=ssrc:1 cname:x\na=ssrc:11 cname:x";
    let (streams, said) = simulcast(groups);
    let stream = |ssrc, repair| Stream { rid: None, ssrc: Some(ssrc), repair };
    assert_eq!(streams.streams, [stream(1, Some(11)), stream(2, None), stream(3, Some(13))]);
    assert_eq!(said, "");
}

#[test]
fn the_engine_is_told_of_one_stream_only() {
    let description = read(&offer("0", &[&video("0", "sendonly", "\na=rid:h send\na=rid:m send\na=simulcast:send h;m")]));
    let plan = plan_answer(&description, &[], Some(&receive(&[Codec::VP8])), false, None).unwrap();
    let text = engine_text(&description, &plan).unwrap();
    assert!(text.contains("a=ssrc:1 cname:far\r\n") && !text.contains("a=rid") && !text.contains("a=simulcast"));
}

#[test]
fn one_section_both_ways_has_one_payload() {
    let description = read(&offer("0", &[&video("0", "sendrecv", "")]));
    let sends = [TrackFormat::plain(Codec::VP8)];
    let plan = plan_answer(&description, &sends, Some(&receive(&[Codec::H264, Codec::VP8])), false, None).unwrap();
    assert_eq!(agreed(&plan, "0"), Some((Some(0), true, 96, Some(97))));
    assert!(engine_text(&description, &plan).unwrap().contains("a=sendrecv\r\n"));
    let plan = plan_answer(&description, &sends, Some(&receive(&[Codec::H264])), false, None).unwrap();
    assert_eq!(agreed(&plan, "0"), Some((Some(0), false, 96, Some(97))));
}

#[test]
fn sections_outside_the_bundle_are_refused() {
    let description = read(&offer("1", &[&audio("0", "recvonly"), &video("1", "recvonly", "")]));
    let sends = [TrackFormat::h264_baseline(), TrackFormat::plain(Codec::Opus)];
    let plan = plan_answer(&description, &sends, None, false, None).unwrap();
    assert_eq!(plan.sections[0].1, Use::Refuse);
    let ungrouped = offer("1", &[&video("1", "recvonly", "")]).replace("a=group:BUNDLE 1\r\n", "");
    let description = read(&ungrouped);
    let plan = plan_answer(&description, &sends, None, false, None).unwrap();
    assert!(agreed(&plan, "1").is_some());
    assert!(engine_text(&description, &plan).unwrap().contains("a=group:BUNDLE 1\r\n"), "the engine insists on a group");
}

#[test]
fn who_is_the_dtls_server_follows_the_offer() {
    let text = offer("0", &[&video("0", "recvonly", "")]);
    let client = |setup: &str| {
        let description = read(&text.replace("a=setup:actpass", setup));
        plan_answer(&description, &[TrackFormat::h264_baseline()], None, false, None).unwrap().dtls_client
    };
    assert!(!client("a=setup:actpass") && !client("a=setup:active") && client("a=setup:passive"));
}

#[test]
fn candidates_that_cannot_be_used_are_left_out() {
    let section = video(
        "0",
        "recvonly",
        "\na=candidate:1 1 udp 2113937151 192.0.2.7 5000 typ host
        a=candidate:2 1 udp 2113937151 6f3f9e2a.local 5000 typ host
        a=candidate:3 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active
        a=candidate:4 2 udp 2113937150 192.0.2.7 5001 typ host",
    );
    let description = read(&offer("0", &[&section]));
    assert_eq!(description.sections[0].candidates, ["candidate:1 1 udp 2113937151 192.0.2.7 5000 typ host"]);
}

#[test]
fn the_public_answer_has_every_section_in_its_place() {
    let description = read(&offer("0 1 2", &[&audio("0", "recvonly"), &video("1", "recvonly", ""), DATA]));
    let plan = plan_answer(&description, &[TrackFormat::h264_baseline()], None, true, None).unwrap();
    let engine = "v=0\r\no=- 9 9 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 AA\r\na=group:BUNDLE 1 2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 108\r\na=mid:1\r\na=candidate:1 1 udp 1 127.0.0.1 1 typ host\r\n\
        a=candidate:1 2 udp 1 127.0.0.1 1 typ host\r\na=sendonly\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";
    let answer = public_answer(engine, &description, &plan, Origin { session: 5, version: 2 });
    let expected = "v=0\r\no=- 5 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 1 2\r\na=msid-semantic: WMS *\r\n\
        a=ice-options:trickle\r\na=fingerprint:sha-256 AA\r\nm=audio 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=inactive\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 108\r\na=mid:1\r\na=sendonly\r\na=candidate:1 1 udp 1 127.0.0.1 1 typ host\r\n\
        a=end-of-candidates\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";
    assert_eq!(answer, expected);
}

#[test]
fn a_later_offer_keeps_what_was_agreed() {
    let first = read(&offer("0", &[&video("0", "sendonly", "")]));
    let plan = plan_answer(&first, &[], Some(&receive(&[Codec::VP8])), false, None).unwrap();
    // asked again with other wishes, the codec in use stays
    let again = plan_answer(&first, &[], Some(&receive(&[Codec::H264, Codec::VP8])), false, Some(&plan)).unwrap();
    assert_eq!(agreed(&again, "0").unwrap().2, 96);
    // a section that becomes inactive stays a section
    let text = offer("0 1", &[&video("0", "inactive", ""), &audio("1", "sendonly")]);
    let again = plan_answer(&read(&text), &[], Some(&receive(&[Codec::VP8])), false, Some(&plan)).unwrap();
    assert_eq!(agreed(&again, "0"), Some((None, false, 96, Some(97))));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = summarise(&text);
    }

    /// Whatever happens to a good offer's lines, reading and planning end with a plan or an error.
    #[test]
    fn mangled_offers_do_not_panic(
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..5, "[ -~]{0,12}"), 0..12),
        sending in any::<bool>(),
    ) {
        let text = offer("0 1 2", &[&audio("0", "sendrecv"), &video("1", "sendrecv", "\na=rid:h send\na=rid:l send\na=simulcast:send h;l\na=ssrc:5 x\na=ssrc-group:SIM 5 6"), DATA]);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, what, noise) in cuts {
            let at = at.index(lines.len());
            match what {
                0 => { lines.remove(at); }
                1 => lines.insert(at, noise),
                2 => { let line = lines[at].clone(); lines.insert(at, line); }
                3 => lines[at].push_str(&noise),
                _ => { let half = lines[at].len() / 2; lines[at].truncate(half); }
            }
            if lines.is_empty() { lines.push(String::new()); }
        }
        let text = lines.join("\r\n");
        let _ = summarise(&text);
        if let Ok(description) = Description::parse(&text) {
            let sends = [TrackFormat::h264_baseline(), TrackFormat::plain(Codec::Opus)];
            let wanted = receive(&[Codec::H264, Codec::VP8]);
            let plan = plan_answer(&description, if sending { &sends } else { &[] }, Some(&wanted), sending, None);
            if let Ok(plan) = plan {
                prop_assert_eq!(plan.sections.len(), description.sections.len());
                for (section, (_, used)) in description.sections.iter().zip(&plan.sections) {
                    let Use::Media { receive: true, agreed, .. } = used else { continue };
                    let streams = incoming(section, agreed).streams;
                    prop_assert!((1..=3).contains(&streams.len()));
                }
                if let Ok(text) = engine_text(&description, &plan) {
                    // what the engine is given reads back to the same plan
                    prop_assert!(Description::parse(&text).is_ok());
                }
                let _ = public_answer("v=0\r\n", &description, &plan, Origin { session: 1, version: 1 });
            }
        }
    }
}
