//! Joining, messages, orientation, leaving, coming back.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::*;
use super::world::*;
use crate::room::{EndReason, MemberView, Report};
use crate::vocab::{Bitrate, MemberId};

#[test]
fn requests_before_a_join_are_refused() {
    // [1]
    let mut world = World::new();
    let a = world.connect();
    for action in ["exchangeSdp", "sendMessage", "eventCpu", "dance"] {
        world.say(a, json!({"a": action, "d": {}}));
        assert_eq!(world.hear(a), failure(action, 1297));
    }
}

#[test]
fn what_is_not_json_is_answered_and_the_socket_stays() {
    // [2]
    let mut world = World::new();
    let a = world.connect();
    for text in ["", "hello", "[]", "[\"join\",{}]", "{\"d\":{}}", "{\"a\":7}", "{\"a\":\"x\"", &"[".repeat(10_000)] {
        world.say_text(a, text);
        assert_eq!(world.hear(a), failure("general", 1282), "{text}");
    }
    world.clients[a].tribe.handle_frame(world.now, Frame::Binary(b"\xff")).unwrap();
    world.pump();
    assert_eq!(world.hear(a), failure("general", 1282));
    world.clients[a].tribe.handle_frame(world.now, Frame::Binary(join("r", "u").to_string().as_bytes())).unwrap();
    world.pump();
    assert_eq!(world.hear(a)["s"], true, "bytes that are JSON are read");
    assert!(world.clients[a].closed.is_none());
}

#[test]
fn unknown_actions_after_a_join_have_a_code_of_their_own() {
    // [3]
    let mut world = World::new();
    let a = world.joined("r", "u1");
    world.say(a, json!({"a": "dance"}));
    assert_eq!(world.hear(a), failure("dance", 1296));
    world.say(a, json!({"a": "x".repeat(1000)}));
    assert_eq!(world.hear(a), failure("general", 1296), "long names are not repeated");
}

#[test]
fn a_bad_bearer_is_refused_before_all_else() {
    // [4]; which tokens are bad is the check's own test
    let mut world = World::new();
    let a = world.connect();
    for d in [
        json!({"roomId":"r","bearer":"bad"}),
        json!({"roomId":"r"}),
        json!({"roomId":"r","bearer":{}}),
        json!({"roomId":"r","bearer":null}),
        json!({"roomId":7.5,"orientation":"x","bearer":"bad"}),
    ] {
        world.say(a, json!({"a":"join","d":d}));
        assert_eq!(world.hear(a), failure("join", 1286), "{d}");
    }
    for d in [
        Value::Null,
        json!([]),
        json!("x"),
        json!({"bearer":"u","roomId":{}}),
        json!({"bearer":"u","roomId":"r","orientation":"x"}),
    ] {
        world.say(a, json!({"a":"join","d":d}));
        assert_eq!(world.hear(a), failure("join", 1282), "{d}");
    }
    for d in [json!({"bearer":"u"}), json!({"bearer":"u","roomId":""}), json!({"bearer":"u","roomId":"x".repeat(257)})] {
        world.say(a, json!({"a":"join","d":d}));
        assert_eq!(world.hear(a), failure("join", 1283), "{d}");
    }
    world.say(a, json!({"a":"join","d":{"bearer":"u","roomId":42,"orientation":"180","maxVideoBitrate":"500000"}}));
    assert_eq!(world.hear(a)["s"], true, "numbers and integral texts serve for each other");
}

#[test]
fn a_second_join_and_a_ninth_member_are_refused() {
    // [5]
    let mut world = World::new();
    for n in 0..8 {
        world.joined("r", &format!("u{n}"));
    }
    world.say(0, join("other", "u0"));
    assert_eq!(world.hear(0), failure("join", 1315));
    world.say(0, json!({"a":"reconnect","d":{"socketId":world.id(1)}}));
    assert_eq!(world.hear(0), failure("reconnect", 1315));
    let ninth = world.connect();
    world.say(ninth, join("r", "u9"));
    assert_eq!(world.hear(ninth), failure("join", 1316));
    assert!(world.silent(), "nobody hears of who did not get in");
    world.say(ninth, join("other", "u9"));
    assert_eq!(world.hear(ninth)["d"]["roomSize"], 1);
}

#[test]
fn socket_ids_are_32_upper_case_hex_digits() {
    // [6]
    let mut world = World::new();
    let clients: Vec<_> = (0..8).map(|n| world.joined("r", &format!("u{n}"))).collect();
    let ids: Vec<_> = clients.iter().map(|client| world.id(*client)).collect();
    for id in &ids {
        assert!(id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')), "{id}");
        assert_eq!(ids.iter().filter(|other| *other == id).count(), 1);
    }
}

#[test]
fn the_answer_lists_the_others_and_comes_before_the_events() {
    // [7] [8] [9]
    let mut world = World::new();
    for n in 1..=8 {
        let client = world.connect();
        world.say(client, join("r", &format!("u{n}")));
        let answer = world.hear(client);
        assert_eq!(
            (&answer["a"], &answer["d"]["roomSize"], &answer["d"]["userId"]),
            (&json!("joinR"), &json!(n), &json!(format!("u{n}")))
        );
        let others: Vec<_> = (0..client).map(|c| json!({"socketId": world.id(c), "userId": format!("u{}", c + 1)})).collect();
        assert_eq!(answer["d"]["sessions"], Value::Array(others.clone()));
        let expected = serde_json::to_value(picture::UserMedia::for_members(n, false)).unwrap();
        assert_eq!(answer["d"]["userMediaConfiguration"], expected);
        let events = world.hear_all(client);
        assert_eq!(events.len(), client);
        for (event, other) in events.iter().zip(others) {
            let d = json!({"from": other, "orientation": 90, "platform": "Web", "camera": "front"});
            assert_eq!(*event, json!({"a": "eventOrientationChange", "d": d}));
        }
        for other in 0..client {
            let from = json!({"socketId": world.id(client), "userId": format!("u{n}")});
            assert_eq!(world.hear(other), json!({"a": "eventUserMediaConfiguration", "d": expected}));
            let d = json!({"from": from, "orientation": 90, "platform": "Web", "camera": "front"});
            assert_eq!(world.hear(other), json!({"a": "eventOrientationChange", "d": d}));
        }
        assert!(world.silent());
    }
}

#[test]
fn a_client_that_says_little_is_upright_and_in_front() {
    let mut world = World::new();
    let a = world.joined("r", "u1");
    let b = world.connect();
    world.say(b, json!({"a":"join","d":{"roomId":"r","bearer":"u2","orientation":null}}));
    let event = &world.hear_all(a)[1]["d"];
    assert_eq!((&event["orientation"], &event["camera"], &event["platform"]), (&json!(90), &json!("front"), &json!("")));
}

#[test]
fn messages_arrive_untouched_and_only_within_the_room() {
    // [14]
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    let stranger = world.joined("other", "u3");
    world.ignore();
    for message in [r#"{"z":1,"a":[1.50,"é\u00e9",null],"a":1e2}"#, "\"text\"", "null", "17", "[[[]]]"] {
        let text = format!(r#"{{"a":"sendMessage","d":{{"to":"{}","message":{message}}}}}"#, world.id(b));
        world.clients[a].tribe.handle_frame(world.now, Frame::Text(&text)).unwrap();
        // byte for byte, which only the frame itself shows
        let Some(Output::Command(req, command)) = world.clients[a].tribe.poll_output() else { panic!("no command") };
        if let Command::Tell { body: crate::room::Body::Json(json), .. } = &command {
            assert_eq!(json.get(), message);
        }
        let session = world.clients[a].session;
        world.rooms.handle(world.now, session, req, command);
        world.pump();
        let event = world.hear(b);
        assert_eq!(event["d"]["message"], serde_json::from_str::<Value>(message).unwrap());
        assert_eq!(event["d"]["from"], json!({"socketId": world.id(a), "userId": "u1"}));
        assert_eq!(world.hear(a), success("sendMessage"));
    }
    for to in [world.id(stranger), world.id(a), "publisher".into(), "x".into(), "0".repeat(32)] {
        world.say(a, json!({"a":"sendMessage","d":{"to":to,"message":{}}}));
        assert_eq!(world.hear(a), failure("sendMessage", 1298), "{to}");
    }
    world.say(a, json!({"a":"sendMessage","d":{"message":{}}}));
    assert_eq!(world.hear(a), failure("sendMessage", 1282));
    assert!(world.silent());
}

#[test]
fn events_of_the_client_are_reported_and_not_answered() {
    // [15]
    let mut world = World::new();
    let a = world.joined("r", "u1");
    let b = world.joined("r", "u2");
    world.ignore();
    world.reports.clear();
    world.say(a, json!({"a":"eventFreeze"}));
    world.say(a, json!({"a":"eventCpu","d":{"cpuUsed":37}}));
    world.say(a, json!({"a":"eventNetworkChange","d":{"networkType":"mobile"}}));
    assert!(world.silent());
    let member: MemberId = world.id(a).parse().unwrap();
    let remarks: Vec<_> = world
        .reports
        .iter()
        .filter_map(|report| match report {
            Report::Remark { member: of, remark, .. } if *of == member => Some(remark.clone()),
            _ => None,
        })
        .collect();
    let network = Remark::Network { network: "mobile".into() };
    assert_eq!(remarks, [Remark::Froze, Remark::Cpu { percent: 37 }, network]);
    for (action, d) in [("eventCpu", json!({"cpuUsed":"x"})), ("eventCpu", Value::Null), ("eventNetworkChange", json!({}))] {
        world.say(a, json!({"a":action,"d":d}));
        assert_eq!(world.hear(a), failure(action, 1282));
    }
    assert!(world.clients[b].inbox.is_empty());
}

#[test]
fn a_mobile_network_halves_the_picture_where_config_says_so() {
    let mut world = World::new();
    let a = world.connect_with(TribeConfig { halve_on_mobile: true, ..TribeConfig::default() });
    world.say(a, join("r", "u1"));
    assert_eq!(world.hear(a)["d"]["userMediaConfiguration"]["video"]["width"]["max"], "640");
    world.say(a, json!({"a":"eventNetworkChange","d":{"networkType":"mobile"}}));
    assert_eq!(world.hear(a)["d"]["video"]["width"], json!({"min": "106", "max": "320"}));
}

#[test]
fn a_turned_device_is_told_and_remembered() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.ignore();
    for _ in 0..2 {
        // the second time nothing changes, and it is told all the same
        world.say(b, json!({"a":"orientationChange","d":{"orientation":0,"camera":"back"}}));
        let from = json!({"socketId": world.id(b), "userId": "u2"});
        let event = json!({"a":"eventOrientationChange","d":{"from":from,"orientation":0,"platform":"Web","camera":"back"}});
        assert_eq!((world.hear(a), world.hear(b)), (event, success("orientationChange")));
    }
    let c = world.connect();
    world.say(c, join("r", "u3"));
    let event = &world.hear_all(c)[2]["d"];
    assert_eq!((&event["orientation"], &event["camera"]), (&json!(0), &json!("back")), "a later joiner sees the new value");
    world.say(b, json!({"a":"orientationChange","d":{"orientation":[]}}));
    assert!(world.hear_all(b).contains(&failure("orientationChange", 1282)));
}

#[test]
fn a_muted_member_of_another_dialect_shows_as_paused() {
    let mut world = World::new();
    let a = world.joined("r", "u1");
    let mut view = MemberView {
        member: MemberId([7; 16]),
        user_id: String::new(),
        dialect: DialectName::Page,
        facts: Facts { name: Some("Ann".into()), ..Facts::default() },
        streams: Vec::new(),
    };
    let tell = |world: &mut World, notice: Notice| {
        world.clients[a].tribe.handle_notice(world.now, &notice);
        world.pump();
    };
    tell(&mut world, Notice::MemberJoined { member: view.clone(), size: 2 });
    assert_eq!(world.hear_all(a)[1]["d"]["from"], json!({"socketId": "07".repeat(16), "userId": "Ann"}));
    view.facts.video_muted = Some(true);
    tell(&mut world, Notice::MemberChanged { member: view.clone() });
    let from = json!({"socketId": "07".repeat(16), "userId": "Ann"});
    let event = json!({"a":"eventSetRemoteAudioVideoMode","d":{"from":from,"audio":true,"video":false}});
    assert_eq!(world.hear_all(a), [event]);
    tell(&mut world, Notice::MemberLeft { member: view.member, user_id: String::new(), size: 1, reason: EndReason::Left });
    assert_eq!(world.hear(a)["d"]["userId"], "Ann", "it leaves under the name it came with");
}

#[test]
fn a_goodbye_is_told_with_who_remains() {
    // [19]
    let mut world = World::new();
    let clients: Vec<_> = (1..=4).map(|n| world.joined("r", &format!("u{n}"))).collect();
    let gone = world.id(clients[3]);
    world.end(clients[3], true);
    for client in &clients[..3] {
        let left = json!({"roomId":"r","roomSize":3,"socketId":gone,"userId":"u4"});
        assert_eq!(world.hear(*client), json!({"a":"eventLeave","d":left}));
        let wider = world.hear(*client);
        assert_eq!((&wider["a"], &wider["d"]["video"]["width"]["max"]), (&json!("eventUserMediaConfiguration"), &json!("640")));
    }
    let gone = world.id(clients[2]);
    world.end(clients[2], true);
    assert_eq!(world.hear_all(clients[0]).len(), 1, "two and three members are told the same picture: {gone}");
}

#[test]
fn each_member_is_told_the_picture_of_the_table() {
    // [8]
    let table = [(640, 580), (640, 580), (640, 580), (320, 290), (320, 290), (320, 193), (320, 193), (320, 145)];
    let picture = |(width, height): (u32, u32)| {
        let range = |max: u32| json!({"min": (max / 3).to_string(), "max": max.to_string()});
        json!({"audio":true,"video":{"width":range(width),"height":range(height),"frameRate":{"min":"10","max":"30"}}})
    };
    let mut world = World::new();
    let mut present: Vec<usize> = Vec::new();
    for (n, expected) in table.into_iter().enumerate() {
        let client = world.connect();
        world.say(client, join("r", &format!("u{n}")));
        assert_eq!(world.hear(client)["d"]["userMediaConfiguration"], picture(expected), "{} members", n + 1);
        for other in &present {
            assert_eq!(world.hear(*other), json!({"a":"eventUserMediaConfiguration","d":picture(expected)}));
        }
        world.ignore();
        present.push(client);
    }
    // when they leave, only who was told something else is told again
    for n in (1..8).rev() {
        let gone = present.pop().unwrap();
        world.end(gone, true);
        for other in &present {
            let told: Vec<Value> = world.hear_all(*other).into_iter().skip(1).collect();
            let changed = table[n - 1] != table[n];
            let expected = changed.then(|| json!({"a":"eventUserMediaConfiguration","d":picture(table[n - 1])}));
            assert_eq!(told, expected.into_iter().collect::<Vec<_>>(), "{n} remain");
        }
    }
}

#[test]
fn joins_and_leaves_are_reported_with_the_size() {
    // [19, 20] what the broker's room.join and room.leave are made of
    let mut world = World::new();
    let (_, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.end(b, true);
    let told: Vec<(bool, String, usize)> = world
        .reports
        .iter()
        .filter_map(|report| match report {
            Report::MemberJoined { user_id, size, .. } => Some((true, user_id.clone(), *size)),
            Report::MemberLeft { user_id, size, .. } => Some((false, user_id.clone(), *size)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(true, "u1".into(), 1), (true, "u2".into(), 2), (false, "u2".into(), 1)]);
}

#[test]
fn a_lost_place_is_kept_for_30_s_and_can_be_taken_over() {
    // [18]
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.ignore();
    world.end(b, false);
    world.wait(Duration::from_secs(29));
    world.say(a, json!({"a":"sendMessage","d":{"to":world.id(b),"message":"missed"}}));
    assert_eq!(world.hear_all(a), [success("sendMessage")], "nobody is told of a loss");
    let again = world.connect();
    world.say(again, json!({"a":"reconnect","d":{"socketId":world.id(b)}}));
    assert_eq!(world.hear(again), json!({"a":"reconnectR","s":true,"d":{"roomSize":2}}));
    let missed = world.hear(again);
    assert_eq!((&missed["a"], &missed["d"]["message"]), (&json!("eventMessage"), &json!("missed")));
    world.say(again, json!({"a":"sendMessage","d":{"to":world.id(a),"message":1}}));
    assert_eq!(world.hear(a)["d"]["from"], json!({"socketId": world.id(b), "userId": "u2"}), "the id is the old one");
    world.ignore();

    world.end(again, false);
    world.wait(Duration::from_secs(30));
    assert_eq!(world.hear(a)["a"], "eventLeave");
    let late = world.connect();
    for id in [world.id(b), "nonsense".into(), String::new()] {
        world.say(late, json!({"a":"reconnect","d":{"socketId":id}}));
        assert_eq!(world.hear(late), failure("reconnect", 1317));
    }
    world.say(late, json!({"a":"reconnect","d":{}}));
    assert_eq!(world.hear(late), failure("reconnect", 1282));
    world.say(late, join("r", "u2"));
    assert_eq!(world.hear(late)["s"], true, "the connection is still good for a join");
}

#[test]
fn taking_over_a_living_place_closes_the_old_connection() {
    let mut world = World::new();
    let a = world.joined("r", "u1");
    let again = world.connect();
    world.say(again, json!({"a":"reconnect","d":{"socketId":world.id(a).to_lowercase()}}));
    assert_eq!(world.hear(again)["a"], "reconnectR");
    assert_eq!(world.clients[a].closed.map(|(code, _)| code), Some(1000));
}

#[test]
fn joining_again_replaces_the_lost_place() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.ignore();
    world.end(b, false);
    let again = world.connect();
    world.say(again, join("r", "u2"));
    assert_eq!(world.hear(again)["d"]["roomSize"], 2);
    let heard = world.hear_all(a);
    assert_eq!((&heard[0]["a"], &heard[0]["d"]["socketId"]), (&json!("eventLeave"), &json!(world.id(b))));
    assert_eq!(heard[2]["d"]["from"]["socketId"], json!(world.id(again)));
}

#[test]
fn what_comes_before_the_rooms_word_is_read_after_it() {
    let mut world = World::new();
    let a = world.connect();
    let tribe = &mut world.clients[a].tribe;
    for message in [join("r", "u1"), json!({"a":"eventFreeze"}), sdp("publisher", "offer", OFFER), join("r", "u1")] {
        tribe.handle_frame(world.now, Frame::Text(&message.to_string())).unwrap();
    }
    world.pump();
    let heard: Vec<_> = world.hear_all(a).iter().map(|frame| frame["a"].as_str().unwrap().to_owned()).collect();
    assert_eq!(heard, ["joinR", "joinR", "eventExchangeSdp", "exchangeSdpR"]);
    let tribe = &mut tribe_in_waiting(world.now);
    for n in 0..50 {
        tribe.handle_frame(world.now, Frame::Text(&json!({"a":"eventFreeze","n":n}).to_string())).unwrap();
    }
    let refused = std::iter::from_fn(|| tribe.poll_output()).filter(|output| matches!(output, Output::Send(_))).count();
    assert_eq!(refused, 50 - MAX_HELD, "what cannot be kept is refused");
}

/// A client whose join the room has not answered.
fn tribe_in_waiting(now: Instant) -> Tribe {
    let mut tribe = tribe(now, TribeConfig::default());
    tribe.handle_frame(now, Frame::Text(&join("r", "u1").to_string())).unwrap();
    assert!(matches!(tribe.poll_output(), Some(Output::Command(_, Command::Join(_)))));
    tribe
}

#[test]
fn refusals_of_a_join_have_their_codes() {
    for (why, code) in [
        (Refusal::UnknownRoom(RoomId::new("r").unwrap()), 1314),
        (Refusal::TooManyRooms { limit: 1 }, 1314),
        (Refusal::Forbidden { room: RoomId::new("r").unwrap(), right: crate::vocab::Right::Publish }, 1286),
        (Refusal::Stopping, 1280),
    ] {
        let now = Instant::now();
        let mut tribe = tribe(now, TribeConfig::default());
        tribe.handle_frame(now, Frame::Text(&join("r", "u1").to_string())).unwrap();
        let Some(Output::Command(req, _)) = tribe.poll_output() else { panic!("no join") };
        tribe.handle_notice(now, &Notice::Refused { req, why });
        let Some(Output::Send(text)) = tribe.poll_output() else { panic!("no answer") };
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), failure("join", code));
    }
}

#[test]
fn a_join_brings_what_the_broker_is_told() {
    let now = Instant::now();
    let mut tribe = tribe(now, TribeConfig::default());
    let d = json!({"roomId":"r","bearer":"u1","platform":"Android","deviceName":"Pixel","version":"9","appVersion":"1.2",
        "networkType":"mobile","maxVideoBitrate":1_000_000});
    tribe.handle_frame(now, Frame::Text(&json!({"a":"join","d":d}).to_string())).unwrap();
    let Some(Output::Command(_, Command::Join(joining))) = tribe.poll_output() else { panic!("no join") };
    let client = ClientFacts {
        device: "Pixel".into(),
        version: "9".into(),
        app_version: "1.2".into(),
        video_cap: Some(Bitrate::from_bps(1_000_000)),
        audio_cap: Some(Bitrate::from_bps(64_000)),
    };
    assert_eq!(joining.facts.client.as_deref(), Some(&client));
    assert_eq!((joining.facts.platform.as_deref(), joining.facts.network.as_deref()), (Some("Android"), Some("mobile")));
    assert_eq!((joining.dialect_limit, joining.replaces_lost, joining.visible), (Some(8), true, true));
}

#[test]
fn the_end_of_the_place_closes_the_connection() {
    for (reason, code) in [(EndReason::Stopping, 1001), (EndReason::Evicted, 1008), (EndReason::Replaced, 1000)] {
        let mut world = World::new();
        let a = world.joined("r", "u1");
        world.clients[a].tribe.handle_notice(world.now, &Notice::Ended { reason });
        world.pump();
        assert_eq!(world.clients[a].closed.map(|(code, _)| code), Some(code));
        world.say(a, json!({"a":"eventFreeze"}));
        assert!(world.silent(), "nothing is answered after the end");
    }
}
