use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::room::{MemberView, StreamView, Welcome};
use crate::vocab::{BearerError, Identity, MediaKind, MemberId, RoomId, StreamName};

struct OneToken;

impl BearerCheck for OneToken {
    fn check(&self, _: SystemTime, bearer: &str) -> Result<Identity, BearerError> {
        match bearer {
            "good" => Ok(Identity { user_id: "u1".into(), grant: Grant::all("u1") }),
            _ => Err(BearerError { reason: "not the one".into() }),
        }
    }
}

fn page_with(grant: Grant) -> Page {
    Page::new(
        Instant::now(),
        Deps {
            access: Arc::new(OneToken),
            grant,
            remote: None,
            ice_servers: vec![IceServer::new("stun:127.0.0.1:3478".into(), None)],
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        },
    )
}

fn page() -> Page {
    page_with(Grant::all("anyone"))
}

fn outputs(page: &mut Page) -> Vec<Output> {
    std::iter::from_fn(|| page.poll_output()).collect()
}

fn say(page: &mut Page, message: Value) -> Vec<Output> {
    page.handle_frame(Instant::now(), Frame::Text(&message.to_string())).unwrap();
    outputs(page)
}

fn told(page: &mut Page, notice: Notice) -> Vec<Output> {
    page.handle_notice(Instant::now(), &notice);
    outputs(page)
}

fn sent(output: &Output) -> Value {
    match output {
        Output::Send(text) => serde_json::from_str(text).unwrap(),
        other => panic!("not a frame: {other:?}"),
    }
}

fn only_sent(outputs: &[Output]) -> Value {
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    sent(&outputs[0])
}

fn view(n: u8, dialect: DialectName) -> MemberView {
    MemberView {
        member: MemberId([n; 16]),
        user_id: format!("user {n}"),
        dialect,
        facts: Facts::default(),
        streams: vec![StreamView {
            name: StreamName::new("main").unwrap(),
            tracks: Vec::new(),
            kinds: vec![MediaKind::Audio, MediaKind::Video],
        }],
    }
}

/// A page that is in room `kitchen`.
fn joined() -> Page {
    let mut page = page();
    let asked = say(&mut page, json!({"type":"join","room":"kitchen","name":"Ann"}));
    let Output::Command(req, Command::Join(joining)) = &asked[0] else { panic!("{asked:?}") };
    assert_eq!((joining.room.as_str(), joining.user_id.as_str()), ("kitchen", "Ann"));
    let welcome = Welcome {
        req: *req,
        member: MemberId([1; 16]),
        room: RoomId::new("kitchen").unwrap(),
        topology: Topology::Sfu,
        size: 2,
        others: vec![view(2, DialectName::Source)],
    };
    let answer = only_sent(&told(&mut page, Notice::Welcome(Box::new(welcome))));
    assert_eq!(
        answer,
        json!({
            "type": "welcome", "member": "01".repeat(16), "room": "kitchen", "size": 2,
            "members": [{"id": "02".repeat(16), "name": "user 2", "dialect": "source",
                "streams": [{"name": "main", "kinds": ["audio", "video"]}], "audioMuted": false, "videoMuted": false}],
            "iceServers": [{"urls": ["stun:127.0.0.1:3478"]}],
        })
    );
    page
}

/// A page that publishes under the label `up`; its peer.
fn publishing() -> (Page, PeerId) {
    let mut page = joined();
    let asked = say(&mut page, json!({"type":"publish","peer":"up","stream":"main","sdp":"v=0"}));
    let Output::Command(_, Command::Publish { peer, .. }) = &asked[0] else { panic!("{asked:?}") };
    let peer = *peer;
    (page, peer)
}

#[test]
fn a_publish_is_answered_and_followed_by_its_connection() {
    let (mut page, peer) = publishing();
    let answer = only_sent(&told(&mut page, Notice::Description { peer, sdp: Sdp::answer("v=0 answer") }));
    assert_eq!(answer, json!({"type":"answer","peer":"up","sdp":"v=0 answer"}));
    assert_eq!(only_sent(&told(&mut page, Notice::PeerUp { peer })), json!({"type":"peer-up","peer":"up"}));
    let down = told(&mut page, Notice::PeerDown { peer, reason: EndReason::Lost });
    assert_eq!(only_sent(&down), json!({"type":"peer-down","peer":"up","reason":"lost"}));
    assert!(say(&mut page, json!({"type":"stop","peer":"up"})).is_empty(), "the label is free again");
}

#[test]
fn a_refused_publish_frees_its_label() {
    let mut page = joined();
    let asked = say(&mut page, json!({"type":"publish","peer":"up","stream":"main","sdp":"v=0"}));
    let Output::Command(req, _) = asked[0] else { panic!("{asked:?}") };
    let refusal = only_sent(&told(&mut page, Notice::Refused { req, why: Refusal::BadDescription }));
    assert_eq!(
        (&refusal["re"], &refusal["peer"], &refusal["code"]),
        (&json!("publish"), &json!("up"), &json!("bad_description"))
    );
    assert_eq!(say(&mut page, json!({"type":"publish","peer":"up","stream":"main","sdp":"v=0"})).len(), 1);
}

#[test]
fn a_connection_that_ends_before_its_answer_is_a_refusal() {
    let (mut page, peer) = publishing();
    let refusal = only_sent(&told(&mut page, Notice::PeerDown { peer, reason: EndReason::NoCommonCodec }));
    assert_eq!((&refusal["type"], &refusal["code"]), (&json!("refused"), &json!("no_common_codec")));
}

#[test]
fn candidates_and_their_end_reach_the_peer() {
    let (mut page, peer) = publishing();
    let line =
        json!({"candidate":"candidate:1 1 udp 1 127.0.0.1 9 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null});
    for (candidate, expected) in [(line, false), (Value::Null, true)] {
        let asked = say(&mut page, json!({"type":"candidate","peer":"up","candidate":candidate}));
        let Output::Command(_, Command::Candidate { peer: to, candidate }) = &asked[0] else { panic!("{asked:?}") };
        assert_eq!((*to, candidate.candidate.is_empty()), (peer, expected));
    }
    assert!(say(&mut page, json!({"type":"candidate","peer":"other","candidate":null})).is_empty());
}

#[test]
fn a_second_use_of_a_label_is_refused() {
    let (mut page, _) = publishing();
    let id = "02".repeat(16);
    let refusal = only_sent(&say(&mut page, json!({"type":"play","peer":"up","member":id,"stream":"main","sdp":"v=0"})));
    assert_eq!((&refusal["code"], &refusal["peer"]), (&json!("malformed"), &json!("up")));
}

#[test]
fn tokens_decide_over_the_connections_own_rights() {
    for (grant, message, code) in [
        (Grant::nothing(), json!({"type":"join","room":"r","name":""}), Some("unauthorised")),
        (Grant::nothing(), json!({"type":"join","room":"r","name":"","token":"bad"}), Some("unauthorised")),
        (Grant::all("x"), json!({"type":"join","room":"r","name":"","token":"bad"}), Some("unauthorised")),
        (
            Grant { expires: Some(SystemTime::UNIX_EPOCH), ..Grant::all("x") },
            json!({"type":"join","room":"r"}),
            Some("unauthorised"),
        ),
        (Grant::nothing(), json!({"type":"join","room":"r","name":"","token":"good"}), None),
        (Grant::all("x"), json!({"type":"join","room":"r","token":null}), None),
        (Grant::all("x"), json!({"type":"join","room":""}), Some("malformed")),
        (Grant::all("x"), json!({"type":"join","room":"r","name":"n".repeat(65)}), Some("malformed")),
    ] {
        let out = say(&mut page_with(grant), message.clone());
        match code {
            Some(code) => assert_eq!(only_sent(&out)["code"], code, "{message}"),
            None => assert!(matches!(&out[..], [Output::Command(_, Command::Join(_))]), "{message}: {out:?}"),
        }
    }
}

#[test]
fn malformed_messages_are_named_and_twenty_in_a_row_close() {
    let mut page = joined();
    for (text, re) in [
        ("not json", Value::Null),
        ("[]", Value::Null),
        ("[\"leave\"]", Value::Null),
        ("{\"type\":7}", Value::Null),
        ("{\"type\":\"dance\"}", json!("dance")),
        ("{\"type\":\"publish\",\"peer\":\"a\",\"stream\":\"main\"}", json!("publish")),
        ("{\"type\":\"candidate\",\"peer\":\"a\"}", json!("candidate")),
        ("{\"type\":\"mute\",\"audio\":\"yes\"}", json!("mute")),
        ("{\"type\":\"play\",\"peer\":\"a\",\"member\":\"zz\",\"stream\":\"main\",\"sdp\":\"\"}", json!("play")),
    ] {
        page.handle_frame(Instant::now(), Frame::Text(text)).unwrap();
        let refusal = only_sent(&outputs(&mut page));
        assert_eq!((&refusal["code"], &refusal["re"]), (&json!("malformed"), &re), "{text}");
    }
    let long = only_sent(&say(&mut page, json!({"type":"x".repeat(60_000)})));
    assert!(long.to_string().len() < 400, "what is refused is not sent back");
    assert!(matches!(&say(&mut page, json!({"type":"mute","audio":true}))[..], [Output::Command(_, Command::Show { .. })]));
    for n in 1..=MAX_MALFORMED {
        page.handle_frame(Instant::now(), Frame::Binary(b"x")).unwrap();
        let closed = outputs(&mut page).iter().any(|output| matches!(output, Output::Close { code: 1008, .. }));
        assert_eq!(closed, n == MAX_MALFORMED);
    }
    assert!(say(&mut page, json!({"type":"leave"})).is_empty(), "nothing is said after the end");
}

#[test]
fn members_and_streams_come_and_go() {
    let mut page = joined();
    let mut third = view(3, DialectName::Tribe);
    third.facts.name = Some("Tom".into());
    third.facts.video_muted = Some(true);
    let (id, stream) = (third.member, third.streams[0].clone());
    let joined = only_sent(&told(&mut page, Notice::MemberJoined { member: third, size: 3 }));
    assert_eq!((&joined["type"], &joined["size"], &joined["member"]["name"]), (&json!("joined"), &json!(3), &json!("Tom")));
    assert_eq!(joined["member"]["videoMuted"], true);
    let up = only_sent(&told(&mut page, Notice::StreamUp { member: id, stream: stream.clone() }));
    assert_eq!((&up["type"], &up["stream"]["kinds"]), (&json!("stream-up"), &json!(["audio", "video"])));
    let down = only_sent(&told(&mut page, Notice::StreamDown { member: id, stream: stream.name }));
    assert_eq!((&down["type"], &down["stream"]), (&json!("stream-down"), &json!("main")));
    let left = Notice::MemberLeft { member: id, user_id: "u".into(), size: 2, reason: EndReason::Left };
    assert_eq!(only_sent(&told(&mut page, left)), json!({"type":"left","member":"03".repeat(16),"size":2,"reason":"left"}));
}

#[test]
fn what_is_said_goes_to_all_and_its_fate_comes_back_by_its_name() {
    let mut page = joined();
    let asked = say(&mut page, json!({"type":"say","text":"hello <b>","id":"s1"}));
    let [Output::Command(req, Command::Say { to: None, text })] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(text, "hello <b>");
    assert_eq!(only_sent(&told(&mut page, Notice::Done { req: *req })), json!({"type":"sent","id":"s1"}));
    let Output::Command(req, _) = say(&mut page, json!({"type":"say","text":"long","id":"s2"}))[0] else { panic!() };
    let why = Refusal::TooLong { len: 20_000, max: 16_384 };
    let refusal = only_sent(&told(&mut page, Notice::Refused { req, why }));
    assert_eq!(
        (&refusal["re"], &refusal["id"], &refusal["code"], refusal.get("peer")),
        (&json!("say"), &json!("s2"), &json!("too_long"), None)
    );
    let Output::Command(req, _) = say(&mut page, json!({"type":"say","text":"x"}))[0] else { panic!() };
    assert!(told(&mut page, Notice::Done { req }).is_empty(), "who names nothing is told nothing");
    for odd in
        [json!({"text":""}), json!({"text":7}), json!({}), json!({"text":"x","id":""}), json!({"text":"x","id":"i".repeat(33)})]
    {
        let mut message = odd.clone();
        message["type"] = "say".into();
        let refusal = only_sent(&say(&mut page, message));
        assert_eq!((&refusal["code"], &refusal["re"]), (&json!("malformed"), &json!("say")), "{odd}");
    }
}

#[test]
fn what_others_say_comes_with_their_name() {
    let mut page = joined();
    let mut from = view(3, DialectName::Tribe);
    let said =
        |page: &mut Page, from: &MemberView| only_sent(&told(page, Notice::Said { from: from.clone(), text: "hi".into() }));
    assert_eq!(said(&mut page, &from), json!({"type":"said","member":"03".repeat(16),"name":"user 3","text":"hi"}));
    from.facts.name = Some("Tom".into());
    assert_eq!(said(&mut page, &from)["name"], "Tom");
}

#[test]
fn leaving_says_goodbye_and_closes() {
    let out = say(&mut joined(), json!({"type":"leave"}));
    assert!(matches!(&out[..], [Output::Command(_, Command::Leave), Output::Send(_), Output::Close { code: 1000, .. }]));
    assert_eq!(sent(&out[1]), json!({"type":"ended","reason":"left"}));
}

#[test]
fn an_ended_place_is_told_before_the_close() {
    let out = told(&mut joined(), Notice::Ended { reason: EndReason::Stopping });
    assert_eq!(sent(&out[0]), json!({"type":"ended","reason":"stopping"}));
    assert!(matches!(out[1], Output::Close { code: 1001, .. }));
}

proptest! {
    #[test]
    fn no_text_or_bytes_hurt(frames in prop::collection::vec((any::<bool>(), ".{0,200}"), 0..60)) {
        let mut page = joined();
        for (binary, text) in frames {
            let frame = if binary { Frame::Binary(text.as_bytes()) } else { Frame::Text(&text) };
            let _ = page.handle_frame(Instant::now(), frame);
            let _ = outputs(&mut page);
        }
        prop_assert!(page.peers.len() <= MAX_OPEN && page.pending.len() <= MAX_OPEN);
    }

    #[test]
    fn unanswered_requests_stay_bounded(requests in prop::collection::vec((0u8..6, 0u32..600), 0..900)) {
        let mut page = joined();
        for (kind, label) in requests {
            let label = format!("p{label}");
            let message = match kind {
                0 => json!({"type":"publish","peer":label,"stream":"main","sdp":"x"}),
                1 => json!({"type":"play","peer":label,"member":"02".repeat(16),"stream":"main","sdp":"x"}),
                2 => json!({"type":"restart","peer":label,"sdp":"x"}),
                3 => json!({"type":"stop","peer":label}),
                4 => json!({"type":"say","text":"x","id":label}),
                _ => json!({"type":"mute","audio":true}),
            };
            say(&mut page, message);
            prop_assert!(page.peers.len() <= MAX_OPEN && page.pending.len() <= MAX_OPEN);
        }
    }
}
