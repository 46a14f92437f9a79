//! Connections that end at Portico, and those with clients of other dialects.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::*;
use super::world::*;
use crate::room::{Body, Framing, Signal, Step};
use crate::vocab::Sdp;

/// A PeerJS client's offer of a data connection.
pub fn data(dst: &str, connection: &str, serialization: &str) -> Value {
    json!({"type": "OFFER", "dst": dst, "payload": {
        "sdp": {"type": "offer", "sdp": DATA}, "type": "data", "connectionId": connection, "label": connection,
        "reliable": false, "serialization": serialization,
    }})
}

/// A PeerJS client's call.
pub fn media(dst: &str, connection: &str) -> Value {
    json!({"type": "OFFER", "dst": dst, "payload": {
        "sdp": {"type": "offer", "sdp": CALL}, "type": "media", "connectionId": connection,
    }})
}

pub fn simple(kind: &str, dst: &str, id: &str, signal: Value) -> Value {
    json!({"type": kind, "dst": dst, "id": id, "payload": {"id": id, "signal": signal}})
}

pub fn answer(src: &str, dst: &str, kind: &str, connection: &str) -> Value {
    json!({"type": "ANSWER", "src": src, "dst": dst, "payload": {
        "sdp": {"type": "answer", "sdp": PORTICO}, "type": kind, "connectionId": connection,
    }})
}

fn leave(src: &str, dst: &str) -> Value {
    json!({"type": "LEAVE", "src": src, "dst": dst})
}

const CANDIDATE: &str = "candidate:1 1 udp 1 192.0.2.1 9 typ host";

#[test]
fn the_room_answers_a_data_connection_of_each_serialization() {
    let mut world = World::new();
    let a = world.open("a");
    for (n, (serialization, framing)) in
        [("raw", Framing::Plain), ("json", Framing::Json), ("binary", Framing::BinaryPack), ("binary-utf8", Framing::BinaryPack)]
            .into_iter()
            .enumerate()
    {
        let connection = format!("dc_{n}");
        world.say(a, data(KEY, &connection, serialization));
        assert_eq!(world.hear(a), answer(KEY, "a", "data", &connection));
        let end = &world.ends[n];
        assert_eq!((end.meet.framing, end.meet.with, end.meet.publish.is_some()), (framing, None, false));
        assert_eq!(end.descriptions[0].text, DATA);
    }
    world.say(a, data(KEY, "dc_x", "MsgPack"));
    assert_eq!(world.hear(a), leave(KEY, "a"));
    assert_eq!(world.ends.len(), 4);
}

#[test]
fn the_room_answers_simple_peerjs_and_its_renegotiation_on_the_same_connection() {
    let mut world = World::new();
    let a = world.open("a");
    world.say(a, simple("OFFER", KEY, "q7", json!({"type": "offer", "sdp": DATA})));
    let answer =
        json!({"type": "ANSWER", "src": KEY, "dst": "a", "payload": {"id": "q7", "signal": {"type": "answer", "sdp": PORTICO}}});
    assert_eq!(world.hear(a), answer);
    let peer = world.ends[0].peer;
    assert_eq!(world.ends[0].meet.framing, Framing::Plain);
    world.say(a, simple("OFFER", KEY, "q7", json!({"type": "offer", "sdp": CALL})));
    assert_eq!(world.hear(a), answer);
    assert_eq!((world.ends.len(), world.ends[0].peer), (1, peer));
    assert_eq!(world.ends[0].descriptions[1].text, CALL);
}

#[test]
fn a_second_offer_of_peerjs_replaces_the_connection() {
    let mut world = World::new();
    let a = world.open("a");
    world.say(a, data(KEY, "dc_1", "raw"));
    let first = world.ends[0].peer;
    world.say(a, data(KEY, "dc_1", "raw"));
    assert_eq!(world.ends.len(), 1);
    assert_ne!(world.ends[0].peer, first);
    assert_eq!([world.hear(a), world.hear(a)], [answer(KEY, "a", "data", "dc_1"), answer(KEY, "a", "data", "dc_1")]);
}

/// Line 21.
#[test]
fn candidates_that_come_before_the_offer_are_used() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let candidate = json!({"candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0});
    world.say(
        a,
        json!({"type": "CANDIDATE", "dst": KEY, "payload": {"candidate": candidate, "type": "data", "connectionId": "dc_1"}}),
    );
    world.say(a, data(KEY, "dc_1", "raw"));
    world.say(b, simple("CANDIDATE", KEY, "q7", json!({"type": "candidate", "candidate": candidate})));
    world.say(b, simple("OFFER", KEY, "q7", json!({"type": "offer", "sdp": DATA})));
    world.say(b, simple("CANDIDATE", KEY, "q7", json!({"type": "candidate", "candidate": candidate})));
    let texts = |end: &End| end.candidates.iter().map(|candidate| candidate.candidate.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&world.ends[0]), [CANDIDATE]);
    assert_eq!(texts(&world.ends[1]), [CANDIDATE, CANDIDATE]);
}

/// Line 22.
#[test]
fn two_connections_of_the_same_two_are_independent() {
    let mut world = World::new();
    let a = world.open("a");
    world.say(a, data(KEY, "dc_1", "raw"));
    world.say(a, media(KEY, "mc_1"));
    let (first, second) = (world.ends[0].peer, world.ends[1].peer);
    assert_ne!(first, second);
    let candidate = json!({"candidate": CANDIDATE, "sdpMid": "0"});
    world.say(
        a,
        json!({"type": "CANDIDATE", "dst": KEY, "payload": {"candidate": candidate, "type": "media", "connectionId": "mc_1"}}),
    );
    assert_eq!(world.ends.iter().map(|end| end.candidates.len()).collect::<Vec<_>>(), [0, 1]);
    world.say(a, data(KEY, "dc_1", "raw")); // replaces only its own
    assert_eq!(world.ends[0].peer, second);
    world.say(a, json!({"type": "LEAVE", "dst": KEY}));
    assert!(world.ends.is_empty());
}

#[test]
fn what_cannot_be_a_description_expires_at_once() {
    let mut world = World::new();
    let a = world.open("a");
    for sdp in [json!("v=0"), json!({"type": "offer"}), json!([]), json!({"sdp": 5})] {
        world.say(a, json!({"type": "OFFER", "dst": KEY, "payload": {"sdp": sdp, "type": "data", "connectionId": "c"}}));
        assert_eq!(world.hear(a), expire(KEY, "a"));
    }
    // neither library's: nothing to answer
    world.say(a, json!({"type": "OFFER", "dst": KEY, "payload": 1}));
    world.say(a, json!({"type": "OFFER", "dst": KEY}));
    assert!(world.silent() && world.ends.is_empty());
}

#[test]
fn in_an_sfu_room_an_absent_peer_expires_or_is_answered_when_it_comes() {
    let mut world = World::sfu();
    let a = world.open("a");
    world.say(a, data("b", "dc_1", "raw"));
    world.wait(Duration::from_secs(6));
    assert_eq!(world.hear(a), expire("b", "a"));
    world.say(a, data("b", "dc_2", "raw"));
    let candidate = json!({"candidate": {"candidate": CANDIDATE, "sdpMid": "0"}, "type": "data", "connectionId": "dc_2"});
    world.say(a, json!({"type": "CANDIDATE", "dst": "b", "payload": candidate}));
    world.wait(Duration::from_secs(1));
    assert!(world.silent());
    let b = world.open("b");
    assert_eq!(world.hear(a), answer("b", "a", "data", "dc_2"));
    assert_eq!(world.ends[0].candidates.len(), 1);
    let call = world.hear(b);
    assert_eq!((&call["type"], &call["src"], &call["payload"]["connectionId"]), (&json!("OFFER"), &json!("a"), &json!("dc_2")));
    assert!(world.silent());
}

/// A client whose library is known by what it said to the room.
fn known(world: &mut World, id: &str) -> usize {
    let client = world.open(id);
    world.say(client, data(KEY, "dc_room", "raw"));
    world.hear(client);
    client
}

#[test]
fn in_an_sfu_room_a_data_connection_reaches_the_other_client() {
    let mut world = World::sfu();
    let (a, b) = (known(&mut world, "a"), known(&mut world, "b"));
    let mut offer = data("b", "dc_1", "json");
    offer["payload"]["label"] = json!("chat");
    offer["payload"]["metadata"] = json!({"for": ["b", 1]});
    world.say(a, offer);
    assert_eq!(world.hear(a), answer("b", "a", "data", "dc_1"));
    let payload = json!({
        "sdp": {"type": "offer", "sdp": PORTICO}, "type": "data", "connectionId": "dc_1", "label": "chat", "reliable": false,
        "serialization": "json", "metadata": {"for": ["b", 1]},
    });
    assert_eq!(world.hear(b), json!({"type": "OFFER", "src": "a", "dst": "b", "payload": payload}));
    let [from, to] = [&world.ends[2].meet, &world.ends[3].meet];
    assert_eq!((from.framing, to.framing), (Framing::Json, Framing::Json));
    assert_eq!((from.pair.as_deref(), to.pair.as_deref()), (Some("dc_1"), Some("dc_1")));
    assert_eq!((to.channels[0].label.as_str(), to.channels[0].ordered), ("chat", false));
    let payload = json!({"sdp": {"type": "answer", "sdp": DATA}, "type": "data", "connectionId": "dc_1"});
    world.say(b, json!({"type": "ANSWER", "dst": "a", "payload": payload}));
    assert_eq!(world.ends[3].descriptions.last(), Some(&Sdp::answer(DATA)));
    assert!(world.silent());
}

/// Line 22, in an `sfu` room: the end of one connection is the end of its other end, and of nothing else.
#[test]
fn in_an_sfu_room_an_end_of_a_data_connection_takes_the_other_with_it() {
    let mut world = World::sfu();
    let (a, b) = (known(&mut world, "a"), known(&mut world, "b"));
    for connection in ["dc_1", "dc_2", "dc_3"] {
        world.say(a, data("b", connection, "raw"));
        assert_eq!((&world.hear(a)["type"], &world.hear(b)["type"]), (&json!("ANSWER"), &json!("OFFER")));
    }
    let pairs = |world: &World| {
        let mut pairs: Vec<String> = world.ends.iter().filter_map(|end| end.meet.pair.as_deref().map(Into::into)).collect();
        pairs.sort();
        pairs.retain(|pair| pair != "dc_room");
        pairs
    };
    assert_eq!(pairs(&world), ["dc_1", "dc_1", "dc_2", "dc_2", "dc_3", "dc_3"]);
    // the one who opened closes one, the other one another
    for (pair, last) in [("dc_1", false), ("dc_2", true)] {
        let mut ends = world.ends.iter().filter(|end| end.meet.pair.as_deref() == Some(pair)).map(|end| end.peer);
        let peer = if last { ends.next_back() } else { ends.next() }.expect("an end");
        world.ends.retain(|end| end.peer != peer);
        world.news(crate::room::PeerUpdate::Down { peer, reason: crate::room::EndReason::Left });
    }
    assert_eq!(pairs(&world), ["dc_3", "dc_3"]);
    // an offer with a known id replaces both ends
    world.say(a, data("b", "dc_3", "raw"));
    assert_eq!((&world.hear(a)["type"], &world.hear(b)["type"]), (&json!("ANSWER"), &json!("OFFER")));
    assert_eq!(pairs(&world), ["dc_3", "dc_3"]);
    // who wants no more of the other says so
    world.say(b, json!({"type": "LEAVE", "dst": "a"}));
    assert!(pairs(&world).is_empty() && world.silent());
}

#[test]
fn in_an_sfu_room_each_library_is_offered_its_own_form() {
    let mut world = World::sfu();
    let (a, b, nobody) = (known(&mut world, "a"), world.open("b"), world.open("c"));
    world.say(b, simple("OFFER", KEY, "q1", json!({"type": "offer", "sdp": DATA})));
    world.hear(b);
    world.say(a, data("b", "dc_1", "binary"));
    world.hear(a);
    let payload = json!({"id": "dc_1", "signal": {"type": "offer", "sdp": PORTICO}});
    assert_eq!(world.hear(b)["payload"], payload);
    assert_eq!(world.ends.last().unwrap().meet.framing, Framing::Plain);
    // a negotiation on the same connection is no new one
    let offer = simple("OFFER", "a", "q2", json!({"type": "offer", "sdp": DATA}));
    world.say(b, offer.clone());
    assert_eq!(world.hear(a)["payload"]["serialization"], "raw");
    world.hear(b);
    let ends = world.ends.len();
    world.say(b, offer);
    assert_eq!(world.hear(b)["type"], "ANSWER");
    assert!(world.silent() && world.ends.len() == ends);
    // who has not shown its library reads its own of both
    world.say(a, data("c", "dc_2", "json"));
    let call = world.hear(nobody);
    assert_eq!((&call["payload"]["serialization"], &call["payload"]["id"]), (&json!("raw"), &json!("dc_2")));
}

/// Before 1.5 a client reads no JSON in bytes, and calls `raw` `none`.
#[test]
fn an_older_peerjs_is_written_to_as_it_reads() {
    for (version, framing) in [
        ("1.5.5", Framing::Json),
        ("1.5.0-beta", Framing::Json),
        ("2.0.0", Framing::Json),
        ("1.4.7", Framing::JsonText),
        ("0.3.14", Framing::JsonText),
        ("whatever", Framing::Json),
    ] {
        let mut world = World::sfu();
        let (a, b) = (known(&mut world, "a"), world.connect_with("b", version));
        assert_eq!(world.hear(b)["type"], "OPEN");
        world.say(b, data(KEY, "dc_1", "json"));
        assert_eq!(world.hear(b), answer(KEY, "b", "data", "dc_1"));
        assert_eq!(world.ends.last().unwrap().meet.framing, framing, "{version}");
        world.say(a, data("b", "dc_2", "json"));
        assert_eq!(world.hear(b)["payload"]["serialization"], "json");
        assert_eq!(world.ends.last().unwrap().meet.framing, framing, "{version}");
        world.say(b, data(KEY, "dc_3", "none"));
        assert_eq!(world.ends.last().unwrap().meet.framing, Framing::Plain);
    }
}

#[test]
fn one_client_takes_few_of_anothers_connections() {
    let mut world = World::sfu();
    let (a, b) = (known(&mut world, "a"), known(&mut world, "b"));
    for n in 0..12 {
        world.say(a, data("b", &format!("dc_{n}"), "raw"));
    }
    let offers = std::iter::from_fn(|| world.clients[b].inbox.pop_front()).count();
    assert_eq!(offers, 8);
    let of_a = world.ends.iter().filter(|end| end.meet.pair.as_deref().is_some_and(|pair| pair != "dc_room")).count();
    assert_eq!(of_a, 16, "those without another end are closed");
}

#[test]
fn who_calls_the_room_is_called_by_every_other_member_with_a_stream() {
    let mut world = World::sfu();
    let camera = world.join(DialectName::Page);
    world.publish(camera, "main");
    let (a, b) = (world.open("a"), world.open("b"));
    world.say(a, media(KEY, "mc_1"));
    assert_eq!(world.hear(a), answer(KEY, "a", "media", "mc_1"));
    assert!(world.silent(), "the room gives the only stream");
    let page = world.join(DialectName::Page);
    assert!(world.silent());
    let up = world.publish(page, "screen");
    let id = world.others[page].id();
    let call = world.hear(a);
    assert_eq!((&call["type"], &call["src"]), (&json!("OFFER"), &json!(id)));
    let connection = call["payload"]["connectionId"].as_str().unwrap().to_owned();
    assert!(connection.starts_with("mc_"));
    let expected = json!({"sdp": {"type": "offer", "sdp": PORTICO}, "type": "media", "connectionId": connection});
    assert_eq!(call["payload"], expected);
    let end = world.ends.last().unwrap();
    assert_eq!(end.meet.with, Some(world.others[page].member));
    assert_eq!(end.meet.channels.iter().map(|channel| channel.label.as_str()).collect::<Vec<_>>(), ["undefined"]);
    let payload = json!({"sdp": {"type": "answer", "sdp": DATA}, "type": "media", "connectionId": connection});
    world.say(a, json!({"type": "ANSWER", "dst": id, "payload": payload}));
    assert_eq!(world.ends.last().unwrap().descriptions.last(), Some(&Sdp::answer(DATA)));
    assert!(world.clients[b].inbox.is_empty(), "who did not call the room is not called");
    // once for each time the stream comes up
    world.news(crate::room::PeerUpdate::Down { peer: up, reason: crate::room::EndReason::Lost });
    world.publish(page, "screen");
    assert_eq!(world.hear(a)["src"], id);
    // and not after it hung up on the room
    world.say(a, json!({"type": "LEAVE", "dst": KEY}));
    let late = world.join(DialectName::Page);
    world.publish(late, "late");
    assert!(world.silent());
}

#[test]
fn in_an_sfu_room_any_member_is_called_by_its_member_id() {
    let mut world = World::sfu();
    let page = world.join(DialectName::Page);
    let id = world.others[page].id();
    let a = world.open("a");
    world.say(a, data(&id, "dc_1", "json"));
    assert_eq!(world.hear(a), answer(&id, "a", "data", "dc_1"));
    assert_eq!(world.ends[0].meet.with, Some(world.others[page].member));
    // nobody can put himself in its place
    world.open(&id);
    world.say(a, data(&id, "dc_2", "json"));
    assert_eq!(world.hear(a), answer(&id, "a", "data", "dc_2"));
    assert!(world.silent());
}

fn told(world: &mut World, other: usize) -> Vec<Signal> {
    let notices = std::mem::take(&mut world.others[other].notices);
    notices
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Told { body: Body::Signal(signal), .. } => Some(*signal),
            _ => None,
        })
        .collect()
}

fn tell(world: &mut World, from: usize, to: &str, mut signal: Signal, connection: &str) {
    signal.connection = connection.into();
    let rooms = world.rooms.rooms();
    let member = rooms[0].members.iter().find(|member| member.view.user_id == to).expect("it is there").view.member;
    world.ask(from, Command::Tell { to: member, body: Body::Signal(Box::new(signal)) });
}

#[test]
fn in_a_mesh_room_clients_are_not_told_of_each_other() {
    let mut world = World::new();
    let vamp = world.join(DialectName::Vamp);
    let a = world.open("a");
    world.open("b");
    let State::Open(calls) = &world.clients[a].dialect.state else { panic!("open") };
    assert_eq!(calls.knows(), 1, "the other dialect's");
    let joined = world.others[vamp].notices.iter().filter(|notice| matches!(notice, Notice::MemberJoined { .. }));
    assert_eq!(joined.count(), 2, "which is told of both");
}

#[test]
fn in_a_mesh_room_a_client_calls_another_dialects_client() {
    let mut world = World::new();
    let vamp = world.join(DialectName::Vamp);
    let id = world.others[vamp].id();
    let a = world.open("a");
    world.say(a, data(&id, "dc_1", "raw"));
    let candidate = json!({"candidate": CANDIDATE, "sdpMid": "0"});
    world.say(
        a,
        json!({"type": "CANDIDATE", "dst": id, "payload": {"candidate": candidate, "type": "data", "connectionId": "dc_1"}}),
    );
    let signals = told(&mut world, vamp);
    assert_eq!((signals[0].step, signals[0].framing, &*signals[0].connection), (Step::Offer, Framing::Plain, "dc_1"));
    assert_eq!(signals[0].as_description(), Some(Sdp::offer(DATA)));
    assert_eq!((signals[1].step, signals[1].value.get()), (Step::Candidate, candidate.to_string().as_str()));
    tell(&mut world, vamp, "a", Signal::description(&Sdp::answer(PORTICO), Framing::Plain), "dc_1");
    assert_eq!(world.hear(a), answer(&id, "a", "data", "dc_1"));
    assert!(world.ends.is_empty(), "Portico only carries signals");
    // what the other would not understand is refused at once, in the way that the libraries understand
    world.say(a, data(&id, "dc_2", "json"));
    assert_eq!(world.hear(a), expire(&id, "a"));
    assert!(told(&mut world, vamp).is_empty());
}

#[test]
fn in_a_mesh_room_another_dialects_client_calls_a_client() {
    let mut world = World::new();
    let vamp = world.join(DialectName::Vamp);
    let id = world.others[vamp].id();
    let (a, b) = (world.open("a"), world.open("b"));
    tell(&mut world, vamp, "a", Signal::description(&Sdp::offer(DATA), Framing::Plain), "");
    let call = world.hear(a);
    let connection = call["payload"]["connectionId"].as_str().unwrap().to_owned();
    let sdp = json!({"type": "offer", "sdp": DATA});
    let expected = json!({
        "sdp": sdp, "type": "data", "connectionId": connection, "label": connection, "reliable": true, "serialization": "raw",
        "id": connection, "signal": sdp,
    });
    assert_eq!((&call["src"], &call["payload"]), (&json!(id), &expected), "both libraries find their form");
    let mut end = Signal::description(&Sdp::offer(DATA), Framing::Plain);
    (end.step, end.value) = (Step::Candidate, RawValue::from_string("null".into()).unwrap());
    tell(&mut world, vamp, "a", end, "");
    assert!(world.silent(), "the end of candidates is not said");

    world.say(a, simple("ANSWER", &id, &connection, json!({"type": "answer", "sdp": PORTICO})));
    let signals = told(&mut world, vamp);
    assert_eq!((signals[0].step, &*signals[0].connection), (Step::Answer, ""));
    // its library is known now
    tell(&mut world, vamp, "a", Signal::description(&Sdp::offer(DATA), Framing::Plain), "");
    let again = world.hear(a);
    assert_eq!(again["payload"]["signal"], sdp);
    assert!(again["payload"].get("sdp").is_none());
    assert_ne!(again["payload"]["id"], connection, "another offer is another connection");

    tell(&mut world, vamp, "b", Signal::description(&Sdp::offer(CALL.split("m=application").next().unwrap()), Framing::None), "");
    assert_eq!(world.hear(b)["payload"]["type"], "media");
}

#[test]
fn a_member_that_went_meanwhile_expires() {
    let mut world = World::new();
    let vamp = world.join(DialectName::Vamp);
    let id = world.others[vamp].id();
    let a = world.open("a");
    // the offer is on its way when the other leaves
    let now = world.now;
    world.clients[a].dialect.handle_frame(now, Frame::Text(&data(&id, "dc_1", "raw").to_string())).unwrap();
    let session = world.others[vamp].session;
    world.rooms.handle(now, session, RequestId::next(), Command::Leave);
    world.pump();
    assert_eq!(world.hear(a), expire(&id, "a"));
}

#[test]
fn a_flood_of_offers_from_and_to_clients_is_bounded() {
    let mut world = World::new();
    let tribe = world.join(DialectName::Tribe);
    let id = world.others[tribe].id();
    let a = world.open("a");
    for n in 0..1000 {
        world.say(a, data(&id, &format!("dc_{n}"), "raw"));
        tell(&mut world, tribe, "a", Signal::description(&Sdp::offer(DATA), Framing::Free), &format!("t{n}"));
        world.say(a, data(KEY, &format!("dc_{n}"), "raw"));
    }
    assert!(world.ends.len() <= crate::room::RoomsConfig::default().max_peers_per_member);
    let State::Open(calls) = &world.clients[a].dialect.state else { panic!("open") };
    assert!(calls.remembered() <= 512 + 256, "{}", calls.remembered());
}
