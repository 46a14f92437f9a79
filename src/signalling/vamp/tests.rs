//! Clients in real rooms, by events; time is simulated.

mod world;

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use self::world::World;
use super::*;
use crate::room::{Framing, Signal};
use crate::signalling::gateway::IdForm;
use crate::vocab::{Candidate, Sdp};

/// How others than Vamp's clients are written.
const FORM20: IdForm = IdForm::Base64Url20;

fn offer(n: i32) -> Value {
    json!({"type":"offer","sdp":format!("v=0 {n}")})
}

fn answer(n: i32) -> Value {
    json!({"type":"answer","sdp":format!("v=0 {n}")})
}

fn sending(to: &str, signal: Value) -> Value {
    json!(["sending signal", {"userToSignal":to,"callerID":"a lie","signal":signal}])
}

fn returning(to: &str, signal: Value) -> Value {
    json!(["returning signal", {"signal":signal,"callerID":to}])
}

fn user_joined(from: &str, signal: Value) -> Value {
    json!(["user joined", {"signal":signal,"callerID":from}])
}

fn returned(from: &str, signal: Value) -> Value {
    json!(["receiving returned signal", {"signal":signal,"id":from}])
}

fn list(ids: &[&str]) -> Value {
    json!(["all users", ids])
}

#[test]
fn joiners_are_told_who_is_there_without_themselves() {
    let mut world = World::new();
    world.client("A");
    world.say("A", json!(["join vamp", "v1"]));
    assert_eq!(world.heard("A"), [list(&[])]);
    world.client("B");
    world.say("B", json!(["join room", "v1"]));
    assert_eq!(world.heard("B"), [list(&["A"])]);
    world.join("C", "v1");
    world.client("D");
    world.say("D", json!(["join vamp", "v1"]));
    assert_eq!(world.heard("D"), [list(&["A", "B", "C"])], "in order of joining");
    assert_eq!(world.heard("A"), Vec::<Value>::new(), "newcomers are announced by their offers only");
}

#[test]
fn of_two_that_join_at_once_exactly_one_is_told_of_the_other() {
    let mut world = World::new();
    world.client("A");
    world.client("B");
    world.write("A", json!(["join vamp", "v"]));
    world.write("B", json!(["join vamp", "v"]));
    world.pump();
    let lists = [world.heard("A"), world.heard("B")];
    assert!(lists == [vec![list(&[])], vec![list(&["A"])]] || lists == [vec![list(&["B"])], vec![list(&[])]], "{lists:?}");
}

#[test]
fn signals_reach_only_the_addressee_in_the_true_name_of_the_sender() {
    let mut world = World::of(&["A", "B", "C"]);
    world.say("B", sending("A", offer(1)));
    assert_eq!(world.heard("A"), [user_joined("B", offer(1))]);
    world.say("A", returning("B", answer(1)));
    assert_eq!(world.heard("B"), [returned("A", answer(1))]);
    assert_eq!(world.heard("C"), Vec::<Value>::new());
}

#[test]
fn signals_pass_byte_for_byte() {
    let mut world = World::of(&["A", "B"]);
    world.write_text("B", r#"["sending signal",{"userToSignal":"A","signal":{ "type":"offer","n":1.50,"é":"😀","sdp":"v=0" }}]"#);
    world.pump();
    let text = world.heard_texts("A");
    assert_eq!(text, [r#"["user joined",{"signal":{ "type":"offer","n":1.50,"é":"😀","sdp":"v=0" },"callerID":"B"}]"#]);
}

#[test]
fn an_answer_that_nobody_asked_for_is_not_delivered() {
    let mut world = World::of(&["A", "B"]);
    world.say("A", returning("B", answer(1)));
    assert_eq!(world.heard("B"), Vec::<Value>::new(), "B's client would fail on it");
    world.say("B", sending("A", json!({"renegotiate":true})));
    world.heard("A");
    world.say("A", returning("B", answer(2)));
    assert_eq!(world.heard("B"), Vec::<Value>::new(), "that was no offer");
}

#[test]
fn other_signals_pass_in_the_event_that_carried_them() {
    let mut world = World::of(&["A", "B"]);
    let other = json!({"transceiverRequest":{"kind":"audio"}});
    world.say("B", sending("A", other.clone()));
    assert_eq!(world.heard("A"), [user_joined("B", other.clone())]);
    world.say("B", sending("A", offer(1)));
    world.heard("A");
    world.say("A", returning("B", other.clone()));
    assert_eq!(world.heard("B"), [returned("A", other)]);
}

#[test]
fn signals_across_vamps_and_to_strangers_go_nowhere() {
    let mut world = World::of(&["A", "B"]);
    world.join("X", "other");
    world.say("X", sending("A", offer(1)));
    world.say("A", sending("X", offer(1)));
    world.say("A", sending("nobody", offer(1)));
    world.say("A", sending("A", offer(1)));
    for name in ["A", "B", "X"] {
        assert_eq!(world.heard(name), Vec::<Value>::new());
    }
}

#[test]
fn a_repeated_join_is_answered_only_when_the_vamp_changed() {
    let mut world = World::of(&["A", "B"]);
    world.say("B", json!(["join vamp", "v"]));
    assert_eq!(world.heard("B"), Vec::<Value>::new());
    world.join("C", "v");
    world.say("B", json!(["join vamp", "v"]));
    assert_eq!(world.heard("B"), [list(&["A", "C"])]);
    world.say("B", json!(["join vamp", "v"]));
    assert_eq!(world.heard("B"), Vec::<Value>::new());
}

#[test]
fn a_join_of_another_vamp_leaves_the_former() {
    let mut world = World::of(&["A", "B"]);
    world.join("C", "w");
    world.say("B", json!(["join vamp", "w"]));
    assert_eq!(world.heard("B"), [list(&["C"])]);
    assert_eq!(world.heard("A"), [json!(["user left", "B"])]);
    world.say("B", sending("C", offer(1)));
    assert_eq!(world.heard("C"), [user_joined("B", offer(1))]);
    world.say("A", sending("B", offer(1)));
    assert_eq!(world.heard("B"), Vec::<Value>::new());
}

#[test]
fn a_full_vamp_says_so_and_sends_no_list() {
    let mut world = World::new();
    world.config.max_members = 2;
    world.join("A", "v");
    world.join("B", "v");
    world.client("C");
    world.say("C", json!(["join vamp", "v"]));
    assert_eq!(world.heard("C"), [json!(["room full"])]);
    world.say("C", json!(["join vamp", "w"]));
    assert_eq!(world.heard("C"), [list(&[])], "another has a place");
}

#[test]
fn departures_are_told_once() {
    let mut world = World::of(&["A", "B", "C"]);
    world.leave("B");
    assert_eq!(world.heard("A"), [json!(["user left", "B"])]);
    assert_eq!(world.heard("C"), [json!(["user left", "B"])]);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.heard("A"), Vec::<Value>::new());
}

#[test]
fn a_lost_connection_keeps_its_place_and_media_for_30_seconds() {
    let mut world = World::of(&["A", "B"]);
    world.lose("B");
    world.pass(Duration::from_millis(29_999));
    assert_eq!(world.heard("A"), Vec::<Value>::new());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.heard("A"), [json!(["user left", "B"])]);
}

#[test]
fn the_documents_name_of_the_list_is_sent_too_where_asked_for() {
    let mut world = World::new();
    world.config.also_all_users = true;
    world.client("A");
    world.say("A", json!(["join vamp", "v"]));
    assert_eq!(world.heard("A"), [list(&[]), json!(["allUsers", []])]);
}

#[test]
fn what_is_of_the_wrong_type_is_ignored_and_the_session_stays() {
    let mut world = World::of(&["A", "B"]);
    for junk in [
        json!(["join vamp"]),
        json!(["join vamp", null]),
        json!(["join vamp", 7]),
        json!(["join vamp", ""]),
        json!(["join vamp", "x".repeat(300)]),
        json!(["sending signal"]),
        json!(["sending signal", null]),
        json!(["sending signal", []]),
        json!(["sending signal", {"signal":offer(1)}]),
        json!(["sending signal", {"userToSignal":7,"signal":offer(1)}]),
        json!(["sending signal", {"userToSignal":"A"}]),
        json!(["sending signal", {"userToSignal":"A","signal":"offer"}]),
        json!(["sending signal", {"userToSignal":"A","signal":[1]}]),
        json!(["returning signal", {"callerID":{},"signal":answer(1)}]),
        json!(["unheard of", {}]),
        json!([]),
        json!({}),
        json!("text"),
    ] {
        world.say("B", junk);
    }
    let deep =
        format!(r#"["sending signal",{{"userToSignal":"A","signal":{{"x":{}{}}}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
    world.write_text("B", &deep);
    world.pump();
    assert_eq!(world.heard("B"), Vec::<Value>::new());
    assert!(world.heard_texts("A").iter().all(|text| text.len() > 200_000), "what is an object passes, however deep");
    world.say("B", sending("A", offer(1)));
    assert_eq!(world.heard("A"), [user_joined("B", offer(1))]);
}

#[test]
fn joins_in_a_loop_are_held_within_bounds() {
    let mut world = World::of(&["A"]);
    world.client("B");
    for n in 0..1000 {
        world.write("B", json!(["join vamp", format!("v{}", n % 2)]));
    }
    world.pump();
    let lists = world.heard("B");
    assert!(lists.len() <= MAX_HELD + 1 && !lists.is_empty(), "{}", lists.len());
    assert_eq!(world.heard("A"), Vec::<Value>::new());
}

#[test]
fn those_without_rights_are_shown_the_door() {
    let mut world = World::new();
    world.grant = Grant::nothing();
    world.client("A");
    world.say("A", json!(["join vamp", "v"]));
    assert_eq!(world.closed("A"), Some(1008));
}

#[test]
fn the_recorded_conversation_holds() {
    let lines = include_str!("../../../tests/transcripts/vamp/conversation.jsonl");
    let mut world = World::new();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let step: Value = serde_json::from_str(line).unwrap();
        let name = |key: &str| step[key].as_str();
        match (name("connect"), name("from"), name("to"), name("leave")) {
            (Some(who), ..) => world.client(who),
            (_, Some(who), ..) => {
                world.write_text(who, step["event"].as_str().unwrap());
                world.pump();
            }
            (_, _, Some(who), _) => {
                assert_eq!(world.next_text(who).as_deref(), step["event"].as_str(), "{line}");
            }
            (.., Some(who)) => world.leave(who),
            _ => panic!("{line}"),
        }
    }
    assert!(world.all_quiet());
}

proptest! {
    /// Whatever members say: nobody hears of strangers, and every list and signal names somebody in the vamp.
    #[test]
    fn any_events_stay_within_their_vamp(steps in proptest::collection::vec((0_usize..5, 0_u8..6, 0_usize..5, 0_u8..2), 0..80)) {
        let names = ["A", "B", "C", "D", "E"];
        let mut world = World::new();
        names.iter().for_each(|name| world.client(name));
        let mut gone = [false; 5];
        for (who, what, other, vamp) in steps {
            if gone[who] {
                continue;
            }
            let (name, to) = (names[who], names[other]);
            match what {
                0 | 1 => world.say(name, json!(["join vamp", format!("v{vamp}")])),
                2 => world.say(name, sending(to, offer(1))),
                3 => world.say(name, returning(to, answer(1))),
                4 if other == 0 => { world.leave(name); gone[who] = true; }
                4 if other == 1 => { world.lose(name); gone[who] = true; }
                _ => world.pass(Duration::from_secs(7)),
            }
            for name in names {
                for event in world.heard(name) {
                    let about = match event[0].as_str() {
                        Some("all users") => event[1].as_array().unwrap().clone(),
                        Some("user joined") => vec![event[1]["callerID"].clone()],
                        Some("receiving returned signal") => vec![event[1]["id"].clone()],
                        _ => vec![event[1].clone()],
                    };
                    for id in about {
                        prop_assert!(names.contains(&id.as_str().unwrap()) && id != name, "{} hears {}", name, event);
                    }
                }
            }
        }
    }
}

// ---- those that are reached otherwise ----

#[test]
fn offers_of_clients_that_trickle_wait_for_their_candidates() {
    let mut world = World::of(&["A"]);
    let tribe = world.foreigner(DialectName::Tribe, "v");
    let id = FORM20.write(tribe);
    world.tell(
        tribe,
        "A",
        Signal::description(&Sdp::offer("v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n"), Framing::Free),
    );
    assert_eq!(world.heard("A"), Vec::<Value>::new(), "held");
    let candidate = Candidate {
        candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host".into(),
        sdp_mid: Some("0".into()),
        sdp_mline_index: Some(0),
        username_fragment: None,
    };
    world.tell(tribe, "A", Signal::candidate(&candidate, Framing::Free));
    world.pass(Duration::from_secs(5));
    let heard = world.heard("A");
    let [event] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(
        (&event[0], &event[1]["callerID"], &event[1]["signal"]["type"]),
        (&json!("user joined"), &json!(id), &json!("offer"))
    );
    assert!(event[1]["signal"]["sdp"].as_str().unwrap().contains("a=candidate:1 1 udp"), "{event}");
    assert!(!event[1]["signal"]["sdp"].as_str().unwrap().contains("trickle"));

    world.say("A", returning(&id, answer(1)));
    let (to, signal) = world.told_foreigner(tribe).expect("the answer");
    assert_eq!((to.as_str(), signal.as_description()), ("A", Some(Sdp::answer("v=0 1"))));
}

/// Each connection of another dialect's client is one of its own to the Vamp client, which knows one for each id.
#[test]
fn each_offer_of_another_dialects_client_is_answered_on_its_own_connection() {
    let mut world = World::of(&["A"]);
    let peerjs = world.foreigner(DialectName::Peerjs, "v");
    let complete = |n: i32| Sdp::offer(format!("v=0 {n}\r\nm=audio 9 RTP 0\r\na=mid:0\r\na=end-of-candidates\r\n"));
    let offer = |n: i32, connection: &str| Signal {
        connection: connection.into(),
        ..Signal::description(&complete(n), if n == 1 { Framing::Plain } else { Framing::None })
    };
    let mut ids = Vec::new();
    for (n, connection) in [(1, "dc_1"), (2, "mc_2"), (3, "mc_3")] {
        world.tell(peerjs, "A", offer(n, connection));
        let heard = world.heard("A");
        let [event] = &heard[..] else { panic!("{heard:?}") };
        assert!(event[1]["signal"]["sdp"].as_str().unwrap().starts_with(&format!("v=0 {n}")), "{event}");
        ids.push(event[1]["callerID"].as_str().expect("an id").to_owned());
    }
    assert_eq!(ids[0], FORM20.write(peerjs));
    assert!(ids[1] != ids[0] && ids[2] != ids[0] && ids[1] != ids[2] && ids.iter().all(|id| id.len() == 20), "{ids:?}");
    // the same connection again is no new one
    world.tell(peerjs, "A", offer(2, "mc_2"));
    assert_eq!(world.heard("A")[0][1]["callerID"], json!(ids[1]));
    for (n, (id, connection)) in (1..4).zip(ids.iter().zip(["dc_1", "mc_2", "mc_3"])).rev() {
        world.say("A", returning(id, answer(n)));
        let (_, signal) = world.told_foreigner(peerjs).expect("the answer");
        assert_eq!((&*signal.connection, signal.as_description()), (connection, Some(Sdp::answer(format!("v=0 {n}")))));
    }
    world.lose_foreigner(peerjs);
    let left: Vec<Value> = ids.iter().map(|id| json!(["user left", id])).collect();
    assert_eq!(world.heard("A"), left);
}

#[test]
fn who_was_called_and_calls_back_has_two_connections() {
    let mut world = World::of(&["A"]);
    let peerjs = world.foreigner(DialectName::Peerjs, "v");
    world.client("B");
    world.say("B", json!(["join vamp", "v"]));
    let id = FORM20.write(peerjs);
    assert_eq!(world.heard("B"), [list(&["A", &id])]);
    world.say("B", sending(&id, offer(1)));
    assert!(world.told_foreigner(peerjs).is_some());
    let signal = Signal::description(&Sdp::offer("v=0\r\nm=audio 9 RTP 0\r\na=end-of-candidates\r\n"), Framing::None);
    world.tell(peerjs, "B", Signal { connection: "mc_1".into(), ..signal });
    let heard = world.heard("B");
    assert!(heard[0][0] == "user joined" && heard[0][1]["callerID"] != json!(id), "{heard:?}");
    world.tell(peerjs, "B", Signal::description(&Sdp::answer("v=0\r\na=end-of-candidates\r\n"), Framing::Plain));
    assert_eq!(world.heard("B")[0][1]["id"], json!(id), "the answer is that to its own call");
}

#[test]
fn those_whose_channels_differ_are_not_called() {
    let mut world = World::new();
    world.join("A", "v");
    let algorea = world.foreigner(DialectName::Algorea, "v");
    world.client("B");
    world.say("B", json!(["join vamp", "v"]));
    assert_eq!(world.heard("B"), [list(&["A"])]);
    world.say("B", sending(&FORM20.write(algorea), offer(1)));
    assert!(world.told_foreigner(algorea).is_none());
}

#[test]
fn in_an_sfu_room_every_other_is_an_id_whose_connection_ends_at_portico() {
    let mut world = World::sfu("v");
    world.join("A", "v");
    world.client("B");
    world.say("B", json!(["join vamp", "v"]));
    assert_eq!(world.heard("B"), [list(&["A"])]);
    // Portico calls A in B's name, because B came later
    let (offered, peer) = world.opened().expect("a connection");
    assert_eq!(offered, ("A".into(), None));
    let label = world.label(peer).expect("a channel");
    assert!(label.len() == 40 && label.bytes().all(|byte| byte.is_ascii_hexdigit()), "{label}");
    world.described(peer, Sdp::offer("v=0 portico"));
    assert_eq!(world.heard("A"), [user_joined("B", json!({"type":"offer","sdp":"v=0 portico"}))]);
    world.say("A", returning("B", answer(7)));
    assert_eq!(world.answered(peer).as_deref(), Some("v=0 7"));
    // and B's own call to A ends here as well, though it has a data channel only
    world.say("B", sending("A", offer(8)));
    let (offered, peer) = world.opened().expect("a connection");
    assert_eq!(offered, ("B".into(), Some("v=0 8".into())));
    world.described(peer, Sdp::answer("v=0 portico 2"));
    assert_eq!(world.heard("B"), [returned("A", json!({"type":"answer","sdp":"v=0 portico 2"}))]);
    assert_eq!(world.heard("A"), Vec::<Value>::new());
    world.leave("A");
    assert_eq!(world.heard("B"), [json!(["user left", "A"])]);
}

/// The first offer takes the client's own media; the connection stays while others hear it, though it stands for nobody.
#[test]
fn the_connection_by_which_the_client_is_heard_outlasts_the_one_it_stood_for() {
    const MEDIA: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendrecv\r\n";
    let mut world = World::sfu("v");
    world.join("A", "v");
    let mut peers = Vec::new();
    for name in ["B", "C"] {
        world.join(name, "v");
        let (_, peer) = world.opened().expect("a connection");
        world.described(peer, Sdp::offer("v=0 portico"));
        world.say("A", returning(name, json!({"type":"answer","sdp":MEDIA})));
        peers.push(peer);
    }
    world.heard("A");
    world.up(peers[0]);
    world.leave("B");
    assert_eq!(world.heard("A"), [json!(["user left", "B"])]);
    assert!(world.has(peers[0]) && world.has(peers[1]), "A is heard by the first");
    world.leave("C");
    assert!(!world.has(peers[0]) && !world.has(peers[1]), "by nobody any more");
    assert_eq!(world.heard("A"), [json!(["user left", "C"])]);
}

#[test]
fn a_vamp_whose_clips_are_stored_has_the_room_as_one_more_member() {
    let mut world = World::new();
    world.stores_clips = true;
    world.client("A");
    world.say("A", json!(["join vamp", "v"]));
    // the first is alone, then Portico comes
    let (offered, peer) = world.opened().expect("a connection that ends at Portico");
    assert_eq!(offered, ("A".into(), None));
    world.described(peer, Sdp::offer("v=0 room"));
    let heard = world.heard("A");
    assert_eq!(heard[0], list(&[]));
    let id = heard[1][1]["callerID"].as_str().expect("an id").to_owned();
    assert_eq!((&heard[1][0], id.len(), heard.len()), (&json!("user joined"), 20, 2));
    world.say("A", json!(["join vamp", "v"]));
    assert!(world.heard("A").is_empty(), "no second list");
    world.client("B");
    world.say("B", json!(["join vamp", "v"]));
    assert_eq!(world.heard("B"), [list(&["A", &id])]);
    world.say("B", sending(&id, offer(1)));
    let (offered, peer) = world.opened().expect("a connection that ends at Portico");
    assert_eq!(offered, ("B".into(), Some("v=0 1".into())));
    world.described(peer, Sdp::answer("v=0 room"));
    assert_eq!(world.heard("B"), [returned(&id, json!({"type":"answer","sdp":"v=0 room"}))]);
    // whoever else comes and goes, it stays
    let whip = world.foreigner(DialectName::Whip, "v");
    world.lose_foreigner(whip);
    world.leave("B");
    assert_eq!(world.heard("A"), [json!(["user left", "B"])]);
}

#[test]
fn an_sfu_room_keeps_clips_by_itself() {
    let mut world = World::sfu("v");
    world.stores_clips = true;
    world.client("A");
    world.say("A", json!(["join vamp", "v"]));
    assert_eq!(world.heard("A"), [list(&[])]);
}

#[test]
fn a_source_in_a_mesh_room_is_the_room_itself() {
    let mut world = World::new();
    world.join("A", "v");
    let whip = world.foreigner(DialectName::Whip, "v");
    let (offered, peer) = world.opened().expect("a call of Portico's");
    assert_eq!(offered, ("A".into(), None));
    world.described(peer, Sdp::offer("v=0 room"));
    let heard = world.heard("A");
    let id = heard[0][1]["callerID"].as_str().expect("an id").to_owned();
    assert_eq!(id.len(), 20);
    world.client("B");
    world.say("B", json!(["join vamp", "v"]));
    assert_eq!(world.heard("B"), [list(&["A", &id])]);
    world.lose_foreigner(whip);
    assert_eq!(world.heard("A"), [json!(["user left", id])]);
    assert_eq!(world.heard("B"), [json!(["user left", id])]);
}
