//! What passes from one to another: lines 4 to 10 and 14 of the checklist.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::world::*;
use crate::room::{DialectName, Framing, Signal, Step};
use crate::signalling::Frame;
use crate::signalling::algorea::Variant;

/// Two connected clients, and their ids.
fn two(world: &mut World, from: Variant, to: Variant) -> (usize, usize, String, String) {
    let (a, _) = world.connect_as(How { variant: Some(to), ..How::default() });
    let (b, ids) = world.connect_as(How { variant: Some(from), ..How::default() });
    let id = world.id(b);
    (b, a, id, ids[0].clone())
}

#[test]
fn a_large_value_with_unknown_members_arrives_byte_for_byte() {
    let mut world = World::new();
    let (b, a, id_b, id_a) = two(&mut world, Variant::Document, Variant::Document);
    let value = format!(
        r#"{{ "type":"offer", "sdp":"{}\r\n\u0041", "extra":[1.50e3,{{"a":null}}],  "dup":1,"dup":2 }}"#,
        "x".repeat(100 * 1024)
    );
    world.say_text(b, &format!(r#"{{"action":"forward-offer","unknown":[{{}}],"offer":{value},"toPeerId":"{id_a}"}}"#));
    assert_eq!(world.hear_text(a), format!(r#"{{"type":"offer","offer":{value},"fromPeerId":"{id_b}"}}"#));
    assert!(world.silent());
}

#[test]
fn names_follow_the_receivers_variant() {
    for from in [Variant::Document, Variant::Branch] {
        for to in [Variant::Document, Variant::Branch] {
            let mut world = World::new();
            let (b, a, id_b, id_a) = two(&mut world, from, to);
            world.say(b, offer(&id_a));
            world.say(
                b,
                match from {
                    Variant::Document => candidate(&id_a, 1),
                    Variant::Branch => {
                        json!({"action":"forward-ice-candidate","iceCandidate":a_candidate(1),"toPeerId":id_a})
                    }
                },
            );
            world.say(b, answer(&id_a));
            let sdp = |kind: &str| json!({"type":kind,"sdp":"v=0\r\n"});
            assert_eq!(world.hear(a), json!({"type":"offer","offer":sdp("offer"),"fromPeerId":id_b}));
            let expected = match to {
                Variant::Document => json!({"type":"icecandidate","candidate":a_candidate(1),"fromPeerId":id_b}),
                Variant::Branch => json!({"type":"ice-candidate","iceCandidate":a_candidate(1),"fromPeerId":id_b}),
            };
            assert_eq!(world.hear(a), expected, "{from:?} to {to:?}");
            assert_eq!(world.hear(a), json!({"type":"answer","answer":sdp("answer"),"fromPeerId":id_b}));
            assert!(world.silent());
        }
    }
}

#[test]
fn both_action_names_take_both_member_names() {
    let mut world = World::new();
    let (b, a, _, id_a) = two(&mut world, Variant::Document, Variant::Document);
    world.say(b, offer(&id_a));
    world.hear(a);
    for action in ["forward-icecandidate", "forward-ice-candidate"] {
        for member in ["candidate", "iceCandidate"] {
            world.say(b, json!({"action":action,member:a_candidate(2),"toPeerId":id_a}));
            assert_eq!(world.hear(a)["candidate"], a_candidate(2), "{action} {member}");
        }
        // an empty one does not hide the other
        world.say(b, json!({"action":action,"candidate":null,"iceCandidate":a_candidate(3),"toPeerId":id_a}));
        assert_eq!(world.hear(a)["candidate"], a_candidate(3));
    }
}

#[test]
fn who_writes_like_the_branch_is_read_to_like_the_branch() {
    for hint in [
        json!({"action":"forward-ice-candidate","candidate":null,"toPeerId":"x"}),
        json!({"action":"forward-icecandidate","iceCandidate":null,"toPeerId":"x"}),
    ] {
        let mut world = World::new();
        let (learning, _) = world.connect_as(How::default());
        let (told, _) = world.connect_as(How { variant: Some(Variant::Document), ..How::default() });
        let other = world.connect();
        for client in [learning, told] {
            world.say(client, hint.clone());
            let id = world.id(client);
            world.say(other, offer(&id));
            world.say(other, candidate(&id, 1));
            assert_eq!(world.hear(client)["type"], "offer");
        }
        assert_eq!(world.hear(learning)["type"], "ice-candidate");
        assert_eq!(world.hear(told)["type"], "icecandidate", "a named variant stays");
    }
}

#[test]
fn candidates_of_nothing_reach_no_client() {
    let mut world = World::new();
    let (b, a, _, id_a) = two(&mut world, Variant::Document, Variant::Branch);
    world.say(b, offer(&id_a));
    world.hear(a);
    for nothing in [
        json!({"action":"forward-icecandidate","candidate":null,"toPeerId":id_a}),
        json!({"action":"forward-ice-candidate","iceCandidate":null,"toPeerId":id_a}),
        json!({"action":"forward-icecandidate","candidate":{"candidate":""},"toPeerId":id_a}),
    ] {
        world.say(b, nothing);
        assert!(world.silent());
    }
    // browsers end each media section's candidates so, and take it from others
    let end = json!({"candidate":"","sdpMid":"0","sdpMLineIndex":0});
    world.say(b, json!({"action":"forward-icecandidate","candidate":end,"toPeerId":id_a}));
    assert_eq!(world.hear(a)["iceCandidate"], end);
    world.say(b, json!({"action":"forward-icecandidate","toPeerId":id_a}));
    assert!(world.clients[a].inbox.is_empty());
    assert_eq!(world.hear(b)["code"], "bad-payload");
}

#[test]
fn another_dialect_hears_the_end_of_candidates() {
    let mut world = World::new();
    let client = world.connect();
    let foreigner = world.foreigner(DialectName::Tribe);
    let to = crate::signalling::algorea::wire::write_id(world.foreigners[foreigner].member);
    world.say(client, offer(&to));
    world.say(client, json!({"action":"forward-icecandidate","candidate":null,"toPeerId":to}));
    let heard: Vec<Signal> = world.foreigners[foreigner].heard.drain(..).map(|(_, signal)| signal).collect();
    assert_eq!(heard.len(), 2);
    assert_eq!((heard[0].step, heard[0].framing), (Step::Offer, Framing::OwnChannels));
    assert_eq!(heard[0].as_description().map(|sdp| sdp.text), Some("v=0\r\n".into()));
    assert_eq!(heard[1].as_candidate().map(|candidate| candidate.candidate), Some(String::new()));
}

#[test]
fn another_dialects_steps_have_this_ones_names() {
    let mut world = World::new();
    let client = world.connect();
    let foreigner = world.foreigner(DialectName::Tribe);
    let (id, from) = (world.id(client), crate::signalling::algorea::wire::write_id(world.foreigners[foreigner].member));
    let step = |step, value: Value| Signal {
        step,
        value: RawValue::from_string(value.to_string()).unwrap(),
        connection: "c".into(),
        framing: Framing::Free,
        original: None,
    };
    world.tell(foreigner, &id, step(Step::Offer, json!({"type":"offer","sdp":"x"})));
    assert_eq!(world.hear(client), json!({"type":"offer","offer":{"type":"offer","sdp":"x"},"fromPeerId":from}));
    world.tell(foreigner, &id, step(Step::Candidate, json!({"candidate":""})));
    world.tell(foreigner, &id, step(Step::Other, json!({"mystery":1})));
    assert!(world.silent(), "neither has a frame here");
}

#[test]
fn early_candidates_arrive_after_the_offer_and_in_order() {
    let mut world = World::new();
    let (b, a, _, id_a) = two(&mut world, Variant::Document, Variant::Document);
    for number in 0..70 {
        world.say(b, candidate(&id_a, number));
    }
    assert!(world.silent());
    world.say(b, offer(&id_a));
    assert_eq!(world.hear(a)["type"], "offer");
    let heard = world.hear_all(a);
    assert_eq!(heard.len(), 64, "as many as are held");
    for (number, frame) in heard.iter().enumerate() {
        assert_eq!(frame["candidate"], a_candidate(number));
    }
    world.say(b, candidate(&id_a, 99));
    assert_eq!(world.hear(a)["candidate"], a_candidate(99), "from now on they pass");
}

#[test]
fn an_answer_frees_candidates_too_and_only_those_of_its_pair() {
    let mut world = World::new();
    let (a, b, c) = (world.connect(), world.connect(), world.connect());
    let (id_a, id_c) = (world.id(a), world.id(c));
    world.say(b, candidate(&id_a, 1));
    world.say(b, candidate(&id_c, 2));
    world.say(b, answer(&id_a));
    let types: Vec<Value> = world.hear_all(a).iter().map(|frame| frame["type"].clone()).collect();
    assert_eq!(types, ["answer", "icecandidate"]);
    assert!(world.silent());
}

#[test]
fn messages_of_a_pair_keep_their_order() {
    let mut world = World::new();
    let (b, a, _, id_a) = two(&mut world, Variant::Document, Variant::Document);
    world.say(b, offer(&id_a));
    for number in 0..300 {
        world.say(b, candidate(&id_a, number));
    }
    let heard = world.hear_all(a);
    assert!(heard[1..].iter().enumerate().all(|(number, frame)| frame["candidate"] == a_candidate(number)));
    assert_eq!(heard.len(), 301);
}

#[test]
fn an_unknown_addressee_yields_one_error_and_no_close() {
    let mut world = World::new();
    let (b, _, id_b, _) = two(&mut world, Variant::Branch, Variant::Document);
    let strangers = ["", "nobody", "AAAAAAAAAAAAAAAAAAAAAA", id_b.as_str()];
    for to in strangers {
        for (message, action) in
            [(offer(to), "forward-offer"), (answer(to), "forward-answer"), (candidate(to, 1), "forward-icecandidate")]
        {
            world.say(b, message);
            let expected = json!({"type":"error","message":"Internal server error","connectionId":id_b,
                "code":"peer-not-connected","action":action,"toPeerId":to});
            assert_eq!(error(world.hear(b)), expected);
            assert!(world.silent() && world.clients[b].closed.is_none());
        }
    }
}

#[test]
fn a_receiver_that_left_on_the_way_yields_the_same_error() {
    let mut world = World::new();
    let (b, a, id_b, id_a) = two(&mut world, Variant::Document, Variant::Document);
    // the sender has not heard of it yet: its message passes the goodbye
    world.clients[a].closed = Some((0, "by the client"));
    let (session, now) = (world.clients[a].session, world.now);
    world.rooms.handle(now, session, crate::vocab::RequestId::next(), crate::room::Command::Leave);
    while let Some(effect) = world.rooms.poll_effect() {
        drop(effect); // the notice of leaving is still on its way
    }
    world.say(b, offer(&id_a));
    let expected = json!({"type":"error","message":"Internal server error","connectionId":id_b,
        "code":"peer-not-connected","action":"forward-offer","toPeerId":id_a});
    assert_eq!(error(world.hear(b)), expected);
}

#[test]
fn unknown_actions_and_invalid_json_yield_an_error_and_no_close() {
    let mut world = World::new();
    let client = world.connect();
    let id = world.id(client);
    let forbidden = |code: &str| json!({"type":"error","message":"Forbidden","connectionId":id,"code":code});
    for bad in ["", "{", "null", "[]", "\"x\"", "{\"action\":\"heartbeat\"}x", "\u{feff}{}", "[\"forward-offer\"]"] {
        world.say_text(client, bad);
        assert_eq!(error(world.hear(client)), forbidden("bad-json"), "{bad:?}");
    }
    world.say_frame(client, Frame::Binary(&[0xff, 0xfe]));
    assert_eq!(error(world.hear(client)), forbidden("bad-json"));
    for unknown in [json!({}), json!({"action":7}), json!({"action":null})] {
        world.say(client, unknown);
        assert_eq!(error(world.hear(client)), forbidden("unknown-action"));
    }
    for action in ["subscribe", "unsubscribe", "publish", "offer-help", "dance"] {
        world.say(client, json!({"action":action,"token":"x"}));
        let mut expected = forbidden("unknown-action");
        expected["action"] = action.into();
        assert_eq!(error(world.hear(client)), expected);
    }
    assert!(world.silent() && world.clients[client].closed.is_none());
}

#[test]
fn missing_members_are_an_error_for_the_document_and_silent_for_the_branch() {
    let mut world = World::new();
    let (document, branch) = (world.connect(), world.connect_branch());
    let to = world.id(document);
    for bad in [
        json!({"action":"forward-offer","toPeerId":to}),
        json!({"action":"forward-offer","offer":null,"toPeerId":to}),
        json!({"action":"forward-offer","answer":{},"toPeerId":to}),
        json!({"action":"forward-answer","answer":{}}),
        json!({"action":"forward-answer","answer":{},"toPeerId":7}),
        json!({"action":"forward-icecandidate","toPeerId":to}),
    ] {
        world.say(document, bad.clone());
        let told = error(world.hear(document));
        assert_eq!((&told["code"], &told["message"]), (&json!("bad-payload"), &json!("Internal server error")), "{bad}");
        world.say(branch, bad);
        assert!(world.silent());
    }
}

#[test]
fn bytes_of_json_are_taken_like_text() {
    let mut world = World::new();
    let (b, a, _, id_a) = two(&mut world, Variant::Document, Variant::Document);
    world.say_frame(b, Frame::Binary(offer(&id_a).to_string().as_bytes()));
    assert_eq!(world.hear(a)["type"], "offer");
}

#[test]
fn what_comes_before_the_list_is_answered_after_it() {
    let mut world = World::new();
    let a = world.connect();
    let id = world.id(a);
    let b = world.upgrade(How::default());
    let now = world.now;
    for message in [offer(&id), candidate(&id, 1), json!({"action":"dance"})] {
        let text = message.to_string();
        crate::signalling::Dialect::handle_frame(&mut world.clients[b].dialect, now, Frame::Text(&text)).unwrap();
    }
    world.pump();
    let types: Vec<Value> = world.hear_all(b).iter().map(|frame| frame["type"].clone()).collect();
    assert_eq!(types, ["connected-peers", "error"]);
    let types: Vec<Value> = world.hear_all(a).iter().map(|frame| frame["type"].clone()).collect();
    assert_eq!(types, ["offer", "icecandidate"]);
}
