//! Arbitrary input: no panic, nothing that grows.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::world::*;
use crate::room::PeerUpdate;
use crate::vocab::MediaKind;

/// JSON of any shape, with the words of the API in likely places.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("publisher"),
        Just("offer"),
        Just("answer"),
        Just("mobile"),
        Just("r"),
        Just("u1"),
        Just(OFFER),
        Just("0"),
        Just("")
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("a"),
        Just("d"),
        Just("to"),
        Just("sdp"),
        Just("type"),
        Just("candidate"),
        Just("completed"),
        Just("sdpMLineIndex"),
        Just("message"),
        Just("socketId"),
        Just("roomId"),
        Just("bearer"),
        Just("orientation"),
        Just("cpuUsed"),
        Just("networkType"),
        Just("maxVideoBitrate")
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

fn any_action() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        &[
            "join",
            "reconnect",
            "exchangeSdp",
            "exchangeCandidate",
            "sendMessage",
            "orientationChange",
            "eventFreeze",
            "eventCpu",
            "eventNetworkChange",
            "eventLeave",
            "general",
            "",
        ][..],
    )
}

#[test]
fn deep_nesting_is_harmless() {
    let now = Instant::now();
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let to = world.id(b);
    for (action, d) in [
        ("join", format!("{{\"bearer\":{deep}}}")),
        ("exchangeSdp", format!("{{\"to\":{deep}}}")),
        ("orientationChange", format!("{{\"unknown\":{deep}}}")),
        ("sendMessage", format!("{{\"to\":\"{to}\",\"message\":{deep}}}")),
    ] {
        let tribe = &mut world.clients[a].tribe;
        tribe.handle_frame(now, Frame::Text(&format!("{{\"a\":\"{action}\",\"d\":{d}}}"))).unwrap();
        while let Some(output) = tribe.poll_output() {
            // a message is carried as it came, however deep; its receiver decides
            let Output::Command(_, Command::Tell { body, .. }) = output else { continue };
            let from = crate::room::MemberView {
                member: crate::vocab::MemberId([1; 16]),
                user_id: "u1".into(),
                dialect: DialectName::Tribe,
                facts: Facts::default(),
                streams: Vec::new(),
            };
            let mut other = tribe_in(now, b, &mut world);
            other.handle_notice(now, &Notice::Told { from, body });
            let Some(Output::Send(text)) = other.poll_output() else { panic!("not told") };
            assert!(text.contains(&deep));
            break;
        }
    }
}

#[test]
fn joins_in_a_loop_leave_nothing_behind() {
    let mut world = World::new();
    let stays = world.joined("r", "stays");
    for round in 0..300 {
        let client = world.joined("r", &format!("u{round}"));
        world.say(client, join("r", "again"));
        assert_eq!(world.hear(client), failure("join", 1315));
        world.end(client, round % 2 == 0);
        if round % 2 == 1 {
            world.wait(Duration::from_secs(30));
        }
    }
    world.ignore();
    let counts = world.rooms.count();
    assert_eq!((counts.rooms, counts.sessions), (1, 1));
    let State::Joined(call) = &world.clients[stays].tribe.state else { panic!("it is still there") };
    assert!(call.is_alone() && world.clients[stays].tribe.desk.waiting() == 0);
}

#[test]
fn thousands_of_candidates_are_kept_nowhere() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.ignore();
    let fat = "x".repeat(10_000);
    for number in 0..3000 {
        for to in ["publisher".to_owned(), world.id(b), "nobody".to_owned()] {
            let candidate = json!({"candidate":format!("candidate:{number} {fat}"),"sdpMid":"0"});
            world.say(a, json!({"a":"exchangeCandidate","d":{"to":to,"candidate":candidate}}));
            assert_eq!(world.hear(a), success("exchangeCandidate"));
        }
    }
    assert!(world.silent(), "nothing was relayed without a description");
    world.say(a, sdp("publisher", "offer", OFFER));
    assert_eq!(world.find(a, None).unwrap().candidates.len(), 64, "as many as are kept before the offer");
}

#[test]
fn a_sender_cannot_be_forged() {
    let mut world = World::new();
    let (a, b, c) = (world.joined("r", "u1"), world.joined("r", "u2"), world.joined("r", "u3"));
    world.ignore();
    let (id_b, id_c) = (world.id(b), world.id(c));
    let forged = json!({"socketId":id_b,"userId":"u2"});
    world.say(c, json!({"a":"sendMessage","from":forged,"d":{"to":world.id(a),"from":forged,"message":1}}));
    assert_eq!(world.hear(a)["d"]["from"], json!({"socketId":id_c,"userId":"u3"}));
}

/// The client's dialect, out of its world.
fn tribe_in(now: Instant, client: usize, world: &mut World) -> Tribe {
    std::mem::replace(&mut world.clients[client].tribe, tribe(now, TribeConfig::default()))
}

proptest! {
    #[test]
    fn any_bytes_are_answered(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40)) {
        let mut world = World::new();
        let (fresh, joined) = (world.connect(), world.joined("r", "u1"));
        for bytes in frames {
            for client in [fresh, joined] {
                world.clients[client].tribe.handle_frame(world.now, Frame::Binary(&bytes)).unwrap();
                world.pump();
            }
        }
    }

    #[test]
    fn any_request_is_taken(requests in prop::collection::vec((any_action(), any_json()), 0..60)) {
        let mut world = World::new();
        let clients = [world.connect(), world.joined("r", "u1"), world.joined("r", "u2")];
        for (n, (action, d)) in requests.into_iter().enumerate() {
            world.say(clients[n % 3], json!({"a": action, "d": d}));
        }
        for client in clients {
            prop_assert_eq!(world.clients[client].tribe.desk.waiting(), 0, "all is answered");
        }
    }

    /// A client that asks while the room is silent.
    #[test]
    fn requests_without_an_answer_stay_bounded(requests in prop::collection::vec((any_action(), any_json()), 0..40)) {
        let mut world = World::new();
        let a = world.joined("r", "u1");
        let b = world.joined("r", "u2");
        let to = world.id(b);
        let tribe = &mut world.clients[a].tribe;
        for round in 0..30 {
            for (action, d) in &requests {
                tribe.handle_frame(world.now, Frame::Text(&json!({"a": action, "d": d}).to_string())).unwrap();
            }
            let message = json!({"a":"sendMessage","d":{"to":to,"message":round}});
            for _ in 0..20 {
                tribe.handle_frame(world.now, Frame::Text(&message.to_string())).unwrap();
            }
            while tribe.poll_output().is_some() {}
        }
        prop_assert!(tribe.desk.waiting() <= 512);
    }

    /// Whatever clients do and peers suffer, a viewer has at most one peer per source, and everything wanted is there in the end.
    #[test]
    fn downlinks_follow_streams(steps in prop::collection::vec((0u8..8, 0usize..4, 0usize..4), 0..60)) {
        let mut world = World::new();
        let mut here: Vec<usize> = (0..4).map(|n| world.joined("r", &format!("u{n}"))).collect();
        for (what, who, whom) in steps {
            let (client, other) = (here[who], here[whom]);
            match what {
                0 => world.publish(client),
                1 => world.say(client, sdp("publisher", "offer", &OFFER.replace("o=- 1", "o=- 2"))),
                2 => if let Some(peer) = world.find(client, None).map(|open| open.peer) {
                    world.news(PeerUpdate::Down { peer, reason: crate::room::EndReason::Lost });
                },
                3 => if client != other && let Some(peer) = world.find(client, Some(other)).map(|open| open.peer) {
                    world.news(PeerUpdate::Flowing { peer, kind: MediaKind::Video });
                    world.news(PeerUpdate::Down { peer, reason: crate::room::EndReason::Lost });
                },
                4 => {
                    world.end(client, false);
                    let again = world.connect();
                    world.clients[again].id = world.id(client);
                    world.wait(Duration::from_secs(1));
                    world.say(again, json!({"a":"reconnect","d":{"socketId":world.id(client)}}));
                    here[who] = again;
                }
                5 => {
                    world.end(client, who % 2 == 0);
                    here[who] = world.joined("r", &format!("u{who}"));
                }
                6 => { let to = world.id(other); world.say(client, sdp(&to, "answer", ANSWER)); }
                _ => world.wait(Duration::from_secs(31)),
            }
            for viewer in &here {
                for source in here.iter().filter(|source| *source != viewer) {
                    let source_id = world.id(*source).parse::<crate::vocab::MemberId>().unwrap();
                    let viewer_id = world.id(*viewer).parse::<crate::vocab::MemberId>().unwrap();
                    let plays = world.peers.iter().filter(|open| open.member == viewer_id
                        && matches!(&open.purpose, crate::room::Purpose::Play { owner, .. } if *owner == source_id)).count();
                    prop_assert!(plays <= 1, "{} plays", plays);
                }
            }
        }
    }
}
