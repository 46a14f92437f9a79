//! Clients that mean no good: they are answered or closed, others are undisturbed, memory is bounded.

use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::world::*;
use crate::signalling::{Realm, RealmMessage};
use crate::vocab::SessionId;

#[test]
fn sixteen_frames_in_a_row_that_are_not_json_end_the_connection() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    for n in 0..16 {
        assert!(world.clients[a].closed.is_none(), "{n}");
        match n % 2 {
            0 => world.say_text(a, "{\"type\":"),
            _ => world.say_frame(a, Frame::Binary(b"\xff\xfe")),
        }
    }
    assert_eq!(world.clients[a].closed.map(|(code, _)| code), Some(1003));
    assert!(world.clients[b].closed.is_none() && world.silent());
}

#[test]
fn a_flood_of_heartbeats_ends_somewhere() {
    let mut world = World::new();
    let a = world.open("a");
    for _ in 0..20_001 {
        world.say_text(a, wire::HEARTBEAT);
    }
    assert_eq!(world.clients[a].closed.map(|(code, _)| code), Some(1008));
}

/// A realm with sessions that are registered and ready.
fn realm(ids: &[&str]) -> (PeerjsRealm, Vec<SessionId>) {
    let config = RealmConfig { reserved: "room".into(), limit: 5000, expire: Duration::from_secs(5) };
    let mut realm = PeerjsRealm::new(config, PeerjsFigures::shared());
    let sessions: Vec<_> = ids
        .iter()
        .map(|id| {
            let session = SessionId::next();
            ask(&mut realm, session, Ask::Register { id: (*id).into(), token: "t".into() });
            ask(&mut realm, session, Ask::Ready);
            session
        })
        .collect();
    heard(&mut realm);
    (realm, sessions)
}

fn ask(realm: &mut PeerjsRealm, session: SessionId, ask: Ask) {
    realm.handle(Instant::now(), session, RealmMessage::Peerjs(ask));
}

fn pass(realm: &mut PeerjsRealm, from: SessionId, dst: &str, len: usize) {
    let passing = Passing { kind: Kind::Offer, dst: dst.into(), frame: "x".repeat(len), returns: false };
    ask(realm, from, Ask::Pass(Box::new(passing)));
}

/// Everything that was said: to whom, and the frame or the other word.
fn heard(realm: &mut PeerjsRealm) -> Vec<(SessionId, String)> {
    let mut said = Vec::new();
    while let Some(output) = realm.poll_output() {
        #[allow(irrefutable_let_patterns)] // other dialects' realms have words of their own
        let RealmWord::Peerjs(word) = output.word else { panic!("a word of PeerJS") };
        said.push((
            output.to,
            match word {
                Word::Frame(parcel) => parcel.open(),
                other => format!("{other:?}"),
            },
        ));
    }
    said
}

#[test]
fn a_full_queue_expires_the_newest_at_once() {
    let (mut realm, s) = realm(&["a"]);
    for _ in 0..256 {
        pass(&mut realm, s[0], "ghost", 10);
    }
    assert!(heard(&mut realm).is_empty());
    pass(&mut realm, s[0], "ghost", 10);
    assert_eq!(heard(&mut realm), [(s[0], r#"{"type":"EXPIRE","src":"ghost","dst":"a"}"#.to_owned())]);
    for _ in 0..4 {
        pass(&mut realm, s[0], "big", 256 << 10);
    }
    assert!(heard(&mut realm).is_empty());
    pass(&mut realm, s[0], "big", 1);
    assert_eq!(heard(&mut realm).len(), 1, "1 MiB waits at most");
}

#[test]
fn a_flood_to_unknown_ids_uses_up_only_the_senders_share() {
    let (mut realm, s) = realm(&["bad", "good"]);
    for n in 0..20_000 {
        pass(&mut realm, s[0], &format!("ghost{n}"), 100);
    }
    assert_eq!(heard(&mut realm).len(), 20_000 - 1024);
    pass(&mut realm, s[1], "friend", 100);
    assert!(heard(&mut realm).is_empty(), "another's message waits");
    let friend = SessionId::next();
    ask(&mut realm, friend, Ask::Register { id: "friend".into(), token: "t".into() });
    ask(&mut realm, friend, Ask::Ready);
    assert_eq!(heard(&mut realm).len(), 2);
    realm.handle_timeout(Instant::now() + Duration::from_secs(6));
    assert_eq!(heard(&mut realm).len(), 1024);
    assert_eq!(realm.next_timeout(), None, "nothing is left");
    // and the share is free again
    pass(&mut realm, s[0], "ghost", 100);
    assert!(heard(&mut realm).is_empty());
}

#[test]
fn many_floods_are_bounded_together() {
    let ids: Vec<String> = (0..100).map(|n| format!("bad{n}")).collect();
    let (mut realm, s) = realm(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut kept = 0;
    for (n, session) in s.iter().enumerate() {
        for m in 0..16 {
            pass(&mut realm, *session, &format!("ghost{n}-{m}"), 256 << 10);
        }
        kept += 16 - heard(&mut realm).len();
    }
    assert!(kept * (256 << 10) <= 32 << 20, "{kept} messages wait");
    assert!(kept > 0);
}

#[test]
fn a_client_that_does_not_read_is_closed_and_its_id_free() {
    let (mut realm, s) = realm(&["a", "b"]);
    let mut waiting = Vec::new();
    for _ in 0..17 {
        pass(&mut realm, s[0], "b", 256 << 10);
        waiting.extend(std::iter::from_fn(|| realm.poll_output()));
    }
    let words: Vec<_> = waiting.iter().rev().take(2).map(|output| (output.to, format!("{:?}", output.word))).collect();
    assert_eq!(words[1].0, s[1]);
    assert!(words[1].1.contains("Stuck"), "{words:?}");
    assert_eq!(words[0].0, s[0]);
    assert!(words[0].1.contains("LEAVE"), "the sender hears that it is gone: {words:?}");
    assert_eq!(realm.names(), ["a"]);
    drop(waiting); // what is not read any more does not count
    ask(&mut realm, SessionId::next(), Ask::Register { id: "b".into(), token: "another".into() });
    assert!(heard(&mut realm)[0].1.contains("Registered"));
}

#[test]
fn early_frames_are_kept_within_bounds() {
    let now = Instant::now();
    let mut dialect = Peerjs::new(now, deps("a", "t", KEY, Grant::all("")));
    let large = json!({"type": "OFFER", "dst": "b", "payload": "x".repeat(100_000)}).to_string();
    for _ in 0..1000 {
        dialect.handle_frame(now, Frame::Text(&large)).unwrap();
    }
    let State::Entering(entering) = &dialect.state else { panic!("still entering") };
    assert_eq!(entering.held.len(), 2);
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let ids = prop_oneof![Just("a"), Just("b"), Just(KEY), Just("ghost"), Just("")];
    let kinds = prop_oneof![Just("OFFER"), Just("ANSWER"), Just("CANDIDATE"), Just("LEAVE"), Just("EXPIRE"), Just("HEARTBEAT")];
    let payload = prop_oneof![
        Just(json!(null)),
        Just(json!({"sdp": {"type": "offer", "sdp": "v=0"}, "type": "data", "connectionId": "c"})),
        Just(json!({"id": "q", "signal": {"type": "offer", "sdp": "v=0"}})),
        Just(json!({"id": "q", "signal": {"candidate": {"candidate": "x"}}})),
        Just(json!({"connectionId": "c", "candidate": {"candidate": "x", "sdpMid": "0"}})),
        any::<i32>().prop_map(|n| json!([n])),
    ];
    let good = (kinds, ids, payload)
        .prop_map(|(kind, dst, payload)| json!({"type": kind, "dst": dst, "payload": payload}).to_string().into_bytes());
    let any = proptest::collection::vec(any::<u8>(), 0..64);
    proptest::collection::vec(prop_oneof![4 => good, 1 => any], 0..60)
}

proptest! {
    #[test]
    fn any_frames_are_answered_or_end_the_connection(frames in frames()) {
        let mut world = World::new();
        let (a, b) = (world.open("a"), world.open("b"));
        for frame in &frames {
            world.say_frame(a, Frame::Binary(frame));
            world.wait(Duration::from_millis(700));
            world.say_text(b, wire::HEARTBEAT);
        }
        prop_assert!(world.clients[b].closed.is_none());
        world.wait(Duration::from_secs(10));
        prop_assert_eq!(world.realm.next_timeout(), None);
    }

    /// Whatever two clients say in an `sfu` room: when one leaves, nothing is left of it at the other.
    #[test]
    fn any_frames_of_two_leave_nothing_behind(frames in frames()) {
        let mut world = World::sfu();
        let (a, b) = (world.open("a"), world.open("b"));
        for (n, frame) in frames.iter().enumerate() {
            world.say_frame(if n % 2 == 0 { a } else { b }, Frame::Binary(frame));
            [a, b].into_iter().for_each(|client| world.say_text(client, wire::HEARTBEAT));
        }
        let of_b = |world: &World| match &world.clients[b].dialect.state {
            State::Open(calls) => calls.ends(),
            _ => 0,
        };
        world.hang_up(a);
        prop_assert!(world.clients[b].closed.is_none());
        prop_assert!(world.ends.iter().all(|end| end.meet.with.is_none()), "only what b has with the room is left");
        prop_assert!(of_b(&world) <= world.ends.len());
    }
}
