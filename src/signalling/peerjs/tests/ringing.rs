//! Calls between two clients of an `sfu` room: they ring as they would without Portico.

use serde_json::{Value, json};

use super::super::*;
use super::calls::{answer, media, simple};
use super::world::*;
use crate::room::{EndReason, PeerUpdate};
use crate::vocab::MediaKind;

/// A PeerJS client picks up.
fn take(world: &mut World, callee: usize, caller: &str, connection: &str) {
    let payload = json!({"sdp": {"type": "answer", "sdp": CALL}, "type": "media", "connectionId": connection});
    world.say(callee, json!({"type": "ANSWER", "dst": caller, "payload": payload}));
}

fn offer_of(caller: &str, callee: &str, connection: &str) -> Value {
    let payload = json!({"sdp": {"type": "offer", "sdp": PORTICO}, "type": "media", "connectionId": connection});
    json!({"type": "OFFER", "src": caller, "dst": callee, "payload": payload})
}

/// Two PeerJS 1.5 clients.
fn two() -> (World, usize, usize) {
    let mut world = World::sfu();
    let clients = ["a", "b"].map(|id| {
        let client = world.connect_with(id, "1.5.5");
        assert_eq!(world.hear(client)["type"], "OPEN");
        client
    });
    (world, clients[0], clients[1])
}

/// The last connection stops.
fn down(world: &mut World, end: usize, reason: EndReason) {
    let peer = world.ends.remove(end).peer;
    world.news(PeerUpdate::Down { peer, reason });
}

#[test]
fn a_call_rings_and_is_answered_when_it_is_taken() {
    let (mut world, a, b) = two();
    let mut call = media("b", "mc_1");
    call["payload"]["metadata"] = json!({"name": "Ann"});
    world.say(a, call);
    let mut expected = offer_of("a", "b", "mc_1");
    expected["payload"]["metadata"] = json!({"name": "Ann"});
    assert_eq!(world.hear(b), expected);
    assert!(world.silent(), "nobody has picked up yet");
    let ring = &world.ends[0].meet;
    assert!(ring.sends && ring.plays.is_none() && ring.publish.is_some());
    assert_eq!(ring.expects, [MediaKind::Audio, MediaKind::Video], "what the caller has sections for");
    assert_eq!(ring.channels.iter().map(|channel| channel.label.as_str()).collect::<Vec<_>>(), ["undefined"]);
    // candidates of the caller that come meanwhile are kept
    let candidate =
        json!({"candidate": {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host"}, "type": "media", "connectionId": "mc_1"});
    world.say(a, json!({"type": "CANDIDATE", "dst": "b", "payload": candidate}));

    take(&mut world, b, "a", "mc_1");
    assert!(world.silent(), "not before they are connected");
    world.flow(0);
    assert_eq!(world.hear(a), answer("b", "a", "media", "mc_1"));
    assert_eq!((world.ends.len(), world.ends[1].candidates.len()), (2, 1));
    let end = &world.ends[1].meet;
    assert!(end.plays.is_some(), "the callee's media");
    world.flow(1);
    assert_eq!(world.streams(), ["a", "b"]);
    assert!(world.silent());

    // whoever hangs up, both are down
    down(&mut world, 0, EndReason::Left);
    assert!(world.ends.is_empty() && world.silent() && world.streams().is_empty());
}

#[test]
fn a_call_that_is_not_taken_expires() {
    let (mut world, a, b) = two();
    // nobody picks up
    world.say(a, media("b", "mc_1"));
    world.hear(b);
    down(&mut world, 0, EndReason::NeverConnected);
    assert_eq!(world.hear(a), expire("b", "a"));
    take(&mut world, b, "a", "mc_1");
    assert!(world.silent() && world.ends.is_empty(), "too late");
    // the callee has enough of the caller
    world.say(a, media("b", "mc_2"));
    world.hear(b);
    world.say(b, json!({"type": "LEAVE", "dst": "a"}));
    assert_eq!(world.hear(a), expire("b", "a"));
    // the caller gives up
    world.say(a, media("b", "mc_3"));
    world.hear(b);
    world.say(a, json!({"type": "LEAVE", "dst": "b"}));
    assert!(world.ends.is_empty() && world.silent());
    // the callee goes
    world.say(a, media("b", "mc_4"));
    world.hear(b);
    world.hang_up(b);
    assert_eq!(world.hear(a), expire("b", "a"));
    assert!(world.ends.is_empty() && world.silent());
}

#[test]
fn a_second_offer_rings_anew() {
    let (mut world, a, b) = two();
    for _ in 0..2 {
        world.say(a, media("b", "mc_1"));
        assert_eq!(world.hear(b), offer_of("a", "b", "mc_1"));
    }
    assert_eq!(world.ends.len(), 1);
    take(&mut world, b, "a", "mc_1");
    world.flow(0);
    assert_eq!(world.hear(a)["type"], "ANSWER");
    world.say(a, media("b", "mc_1"));
    assert_eq!(world.hear(b), offer_of("a", "b", "mc_1"));
    assert_eq!(world.ends.len(), 1, "both ends of the first are closed");
    assert!(world.silent());
}

#[test]
fn what_one_hangs_up_leaves_the_others() {
    let (mut world, a, b) = two();
    let c = world.connect_with("c", "1.5.5");
    world.hear(c);
    for (callee, name, connection) in [(b, "b", "mc_b"), (c, "c", "mc_c")] {
        world.say(a, media(name, connection));
        assert_eq!(world.hear(callee), offer_of("a", name, connection));
        take(&mut world, callee, "a", connection);
        world.flow(world.ends.len() - 1);
        assert_eq!(world.hear(a), answer(name, "a", "media", connection));
        world.flow(world.ends.len() - 1);
    }
    assert_eq!(world.streams(), ["a", "b", "c"]);
    let first = world.ends.iter().position(|end| end.meet.pair.as_deref() == Some("mc_b")).unwrap();
    down(&mut world, first, EndReason::Left);
    assert_eq!(world.streams(), ["a", "c"], "the caller's media goes on by its other call");
    assert_eq!(world.ends.len(), 2);
    assert!(world.ends.iter().all(|end| end.meet.pair.as_deref() == Some("mc_c")));
}

#[test]
fn who_called_the_room_is_not_called_for_whom_it_calls() {
    let (mut world, a, b) = two();
    world.say(b, media("a", "mc_1"));
    world.hear(a);
    take(&mut world, a, "b", "mc_1");
    world.flow(0);
    assert_eq!(world.hear(b)["type"], "ANSWER");
    world.flow(1);
    world.say(a, media(KEY, "mc_room"));
    assert_eq!(world.hear(a), answer(KEY, "a", "media", "mc_room"));
    let page = world.join(DialectName::Page);
    world.publish(page, "screen");
    assert_eq!(world.hear(a)["src"], world.others[page].id());
    assert!(world.silent(), "b is there already");
}

#[test]
fn one_client_rings_a_few_times_at_another_and_is_told() {
    let (mut world, a, b) = two();
    for n in 0..12 {
        world.say(a, media("b", &format!("mc_{n}")));
    }
    assert_eq!(world.clients[b].inbox.len(), 8);
    let told: Vec<Value> = std::iter::from_fn(|| world.clients[a].inbox.pop_front()).map(text).collect();
    assert_eq!(told, vec![expire("b", "a"); 4]);
}

/// simple-peerjs has media and data on one connection, and is answered at once.
#[test]
fn media_of_simple_peerjs_crosses_with_its_data() {
    let mut world = World::sfu();
    let (a, b) = (world.open("a"), world.open("b"));
    let both = format!("{CALL}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n");
    world.say(a, simple("OFFER", "b", "q1", json!({"type": "offer", "sdp": both})));
    assert_eq!(world.hear(a)["type"], "ANSWER");
    assert_eq!(world.hear(b)["type"], "OFFER");
    let [from, to] = [&world.ends[0].meet, &world.ends[1].meet];
    assert!(from.sends && to.sends);
    assert_eq!(to.expects, [MediaKind::Audio, MediaKind::Video]);
}

fn text(sent: crate::signalling::testing::Sent) -> Value {
    match sent {
        crate::signalling::testing::Sent::Text(text) => serde_json::from_str(&text).unwrap(),
        crate::signalling::testing::Sent::Bytes(_) => panic!("brokers send text"),
    }
}
