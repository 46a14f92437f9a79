//! Whom Portico stands for, and who cannot be met: section 7 of the protocol page, and the topologies.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::world::*;
use crate::room::{DialectName, Framing, Signal, Step};
use crate::signalling::algorea::wire::{read_id, write_id};
use crate::signalling::algorea::{AlgoreaConfig, DEFAULT_ROOM};
use crate::signalling::gateway::room_member;
use crate::vocab::SdpKind;

fn portico(kind: &str) -> Value {
    json!({"type":kind,"sdp":"v=0\r\nportico\r\n"})
}

#[test]
fn in_an_sfu_room_each_other_member_ends_at_portico() {
    let mut world = World::sfu();
    let page = world.foreigner(DialectName::Page);
    let page = world.foreigners[page].member;
    let a = world.connect();
    let (b, ids) = world.connect_as(How::default());
    assert_eq!(ids, [write_id(page), world.id(a)], "everybody is listed");
    let (id_a, id_b) = (world.id(a), world.id(b));
    let (member_a, member_b) = (read_id(&id_a).unwrap(), read_id(&id_b).unwrap());

    // the newcomer offers, and Portico answers for the one that is there
    world.say(b, candidate(&id_a, 1));
    world.say(b, offer(&id_a));
    world.say(b, candidate(&id_a, 2));
    world.say(b, json!({"action":"forward-icecandidate","candidate":null,"toPeerId":id_a}));
    assert_eq!(world.hear(b), json!({"type":"answer","answer":portico("answer"),"fromPeerId":id_a}));
    let meeting = world.meeting(b, Some(member_a)).unwrap();
    assert_eq!(meeting.described[0].text, "v=0\r\n");
    let candidates: Vec<&str> = meeting.candidates.iter().map(|candidate| candidate.candidate.as_str()).collect();
    assert!(candidates[0].starts_with("candidate:1 ") && candidates[1].starts_with("candidate:2 ") && candidates[2].is_empty());

    // to the one that is there, Portico offers for the newcomer, once
    assert_eq!(world.hear(a), json!({"type":"offer","offer":portico("offer"),"fromPeerId":id_b}));
    world.say(a, answer(&id_b));
    assert_eq!(world.meeting(a, Some(member_b)).unwrap().described[0].kind, SdpKind::Answer);
    assert!(world.silent(), "nothing passes between the two");

    world.end(b, true);
    assert!(world.meeting(a, Some(member_b)).is_none(), "what stood for it ends with it");
    assert!(world.silent());
}

#[test]
fn in_a_mesh_portico_is_one_more_peer_for_what_only_it_can_give() {
    let mut world = World::new();
    let early = world.connect();
    let camera = world.foreigner(DialectName::Whip);
    let room = room_member(&DEFAULT_ROOM.parse().unwrap());
    let id_room = write_id(room);
    assert_eq!(world.hear(early), json!({"type":"offer","offer":portico("offer"),"fromPeerId":id_room}), "it came later");
    world.say(early, answer(&id_room));
    let (late, ids) =
        world.connect_as(How { config: AlgoreaConfig { announce_leave: true, ..Default::default() }, ..How::default() });
    assert_eq!(ids, [world.id(early), id_room.clone()], "the camera itself is no peer");
    world.say(late, offer(&id_room));
    assert_eq!(world.hear(late), json!({"type":"answer","answer":portico("answer"),"fromPeerId":id_room}));
    assert!(world.meeting(late, None).is_some() && world.meeting(early, None).is_some());
    let to = write_id(world.foreigners[camera].member);
    world.say(late, offer(&to));
    assert_eq!(world.hear(late)["code"], "peer-not-connected");

    let (session, now) = (world.foreigners[camera].session, world.now);
    world.rooms.handle(now, session, crate::vocab::RequestId::next(), crate::room::Command::Leave);
    world.pump();
    assert_eq!(world.hear(late), json!({"type":"peer-disconnected","peerId":id_room}));
    assert!(world.meets.is_empty());
    world.say(late, offer(&id_room));
    assert_eq!(world.hear(late)["code"], "peer-not-connected");
}

#[test]
fn an_answer_to_what_portico_did_not_offer_and_rubbish_are_errors() {
    let mut world = World::sfu();
    let (a, b) = (world.connect(), world.connect());
    let (id_a, id_b) = (world.id(a), world.id(b));
    world.hear_all(a);
    world.say(b, answer(&id_a));
    assert_eq!(world.hear(b)["code"], "peer-not-connected");
    for rubbish in [json!(7), json!([]), json!({"type":"offer"}), json!({"sdp":7})] {
        world.say(b, json!({"action":"forward-offer","offer":rubbish,"toPeerId":id_a}));
        assert_eq!(error(world.hear(b))["code"], "bad-payload", "{rubbish}");
        world.say(b, json!({"action":"forward-icecandidate","candidate":rubbish,"toPeerId":id_a}));
        assert!(world.silent(), "a candidate that cannot be read is none");
    }
    // a second offer is for a new connection
    for _ in 0..2 {
        world.say(b, offer(&id_a));
        assert_eq!(world.hear(b)["type"], "answer");
    }
    assert_eq!(world.meets.iter().filter(|meet| meet.session == world.clients[b].session).count(), 1);
    assert!(world.meeting(a, read_id(&id_b)).is_some());
}

#[test]
fn who_uses_channels_in_another_way_is_refused_by_code() {
    let mut world = World::new();
    let client = world.connect();
    let (id, own) = (world.id(client), world.id(client));
    for (dialect, framing) in [(DialectName::Vamp, Framing::Plain), (DialectName::Peerjs, Framing::BinaryPack)] {
        let foreigner = world.foreigner(dialect);
        let to = write_id(world.foreigners[foreigner].member);
        world.say(client, offer(&to));
        let expected = json!({"type":"error","message":"Internal server error","connectionId":own,
            "code":"channels-differ","action":"forward-offer","toPeerId":to});
        assert_eq!(error(world.hear(client)), expected);
        let value = RawValue::from_string(r#"{"type":"offer","sdp":"v=0"}"#.into()).unwrap();
        world.tell(foreigner, &id, Signal { step: Step::Offer, value, connection: "".into(), framing, original: None });
        assert!(world.silent(), "nor does its offer come through");
        assert!(world.foreigners[foreigner].heard.is_empty());
    }
}

#[test]
fn thousands_of_offers_to_portico_stay_bounded() {
    let mut world = World::sfu();
    let (a, b) = (world.connect(), world.connect());
    let id = world.id(a);
    for number in 0..2000 {
        world.say(b, offer(&id));
        world.say(b, candidate(&id, number));
    }
    assert_eq!(world.hear_all(b).len(), 2000);
    assert_eq!(world.meets.len(), 2, "one for each of the two");
}
