//! The relay form: descriptions and candidates between a tribe client and clients of other dialects, in `mesh` rooms.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::world::*;
use crate::room::{
    Body, Command, DialectName, Facts, Framing, Joining, Notice, Refusal, RoomConfig, RoomsConfig, Signal, Step, Topology,
};
use crate::vocab::{Candidate, Grant, MemberId, RequestId, RoomId, Sdp, SessionId};

/// A member that speaks something else.
struct Other {
    session: SessionId,
    member: MemberId,
    heard: VecDeque<Notice>,
}

/// A room of that topology with a tribe client and a member of another dialect that came first.
fn room_with(topology: Topology, dialect: DialectName) -> (World, usize, Other) {
    let mut world = World::new();
    let name = RoomId::new("r").unwrap();
    let room = RoomConfig { name: name.clone(), topology, max_members: None, sources: Vec::new(), mix: Default::default() };
    world.rooms.configure(world.now, RoomsConfig::default(), vec![room]);
    let session = SessionId::next();
    world.rooms.open_session(world.now, session);
    let joining = Joining {
        room: name,
        user_id: "other".into(),
        dialect,
        remote: None,
        grant: Grant::all(""),
        visible: true,
        facts: Facts::default(),
        opens: topology,
        dialect_limit: None,
        replaces_lost: false,
    };
    world.rooms.handle(world.now, session, RequestId::next(), Command::Join(Box::new(joining)));
    let mut other = Other { session, member: MemberId([0; 16]), heard: VecDeque::new() };
    drain(&mut world, &mut other);
    let Some(Notice::Welcome(welcome)) = other.heard.pop_front() else { panic!("the other is let in") };
    other.member = welcome.member;
    let client = world.joined("r", "u1");
    other.heard.extend(world.strangers.drain(..).map(|(_, notice)| notice));
    other.heard.clear();
    (world, client, other)
}

fn drain(world: &mut World, other: &mut Other) {
    world.pump();
    other.heard.extend(world.strangers.drain(..).filter(|(session, _)| *session == other.session).map(|(_, notice)| notice));
}

fn signals(world: &mut World, other: &mut Other) -> Vec<Signal> {
    drain(world, other);
    let signal = |notice| match notice {
        Notice::Told { body: Body::Signal(signal), .. } => Some(*signal),
        _ => None,
    };
    other.heard.drain(..).filter_map(signal).collect()
}

fn tell(world: &mut World, other: &Other, to: usize, signal: Signal) {
    let to = world.id(to).parse().unwrap();
    let command = Command::Tell { to, body: Body::Signal(Box::new(signal)) };
    world.rooms.handle(world.now, other.session, RequestId::next(), command);
    world.pump();
}

fn candidate(text: &str) -> Candidate {
    Candidate { candidate: text.into(), sdp_mid: Some("0".into()), sdp_mline_index: Some(0), username_fragment: None }
}

fn upper(member: MemberId) -> String {
    member.to_string().to_uppercase()
}

#[test]
fn a_client_offers_to_others_of_a_mesh_and_hears_their_answers() {
    for dialect in [DialectName::Algorea, DialectName::Peerjs, DialectName::Vamp] {
        let (mut world, client, mut other) = room_with(Topology::Mesh, dialect);
        let to = upper(other.member);
        world.say(client, sdp(&to, "offer", OFFER));
        world.say(client, json!({"a":"exchangeCandidate","d":{"to":to,"candidate":candidate("candidate:1")}}));
        world.say(client, json!({"a":"exchangeCandidate","d":{"to":to,"candidate":{"completed":true}}}));
        assert_eq!(world.hear_all(client), [success("exchangeSdp"), success("exchangeCandidate"), success("exchangeCandidate")]);
        let heard = signals(&mut world, &mut other);
        assert_eq!(heard.iter().map(|signal| signal.step).collect::<Vec<_>>(), [Step::Offer, Step::Candidate, Step::Candidate]);
        assert_eq!(heard[0].as_description(), Some(Sdp::offer(OFFER)));
        assert_eq!(heard[0].framing, Framing::Free);
        assert!(heard[2].as_candidate().unwrap().candidate.is_empty(), "who cannot trickle waits for the end");

        tell(&mut world, &other, client, Signal::description(&Sdp::answer(ANSWER), Framing::Plain));
        tell(&mut world, &other, client, Signal::candidate(&candidate("candidate:2"), Framing::Plain));
        tell(&mut world, &other, client, Signal::candidate(&candidate(""), Framing::Plain));
        let from = json!({"socketId":to,"userId":"other"});
        let expected: Vec<Value> = vec![
            json!({"a":"eventExchangeSdp","d":{"from":from,"sdp":{"type":"answer","sdp":ANSWER}}}),
            json!({"a":"eventExchangeCandidate","d":{"from":from,
                "candidate":{"candidate":"candidate:2","sdpMid":"0","sdpMLineIndex":0}}}),
        ];
        assert_eq!(world.hear_all(client), expected, "{dialect:?}");
    }
}

#[test]
fn an_answer_carries_the_offerers_own_id_of_the_connection() {
    let (mut world, client, mut other) = room_with(Topology::Mesh, DialectName::Peerjs);
    let named = |signal: Signal, connection: &str| Signal { connection: connection.into(), ..signal };
    let offer = || Signal::description(&Sdp::offer(OFFER), Framing::Plain);
    tell(&mut world, &other, client, named(offer(), "dc_1"));
    tell(&mut world, &other, client, named(offer(), "dc_2"));
    assert_eq!(world.hear_all(client).len(), 2);
    // what is left over of the first is for nobody
    tell(&mut world, &other, client, named(Signal::candidate(&candidate("candidate:1"), Framing::Plain), "dc_1"));
    assert!(world.silent());
    tell(&mut world, &other, client, named(Signal::candidate(&candidate("candidate:2"), Framing::Plain), "dc_2"));
    assert_eq!(world.hear(client)["d"]["candidate"]["candidate"], "candidate:2");
    let to = upper(other.member);
    world.say(client, sdp(&to, "answer", ANSWER));
    world.say(client, json!({"a":"exchangeCandidate","d":{"to":to,"candidate":candidate("candidate:3")}}));
    let heard = signals(&mut world, &mut other);
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|signal| &*signal.connection == "dc_2"));
    // an offer of its own begins anew
    world.say(client, sdp(&to, "offer", OFFER));
    assert_eq!(&*signals(&mut world, &mut other)[0].connection, "");
}

#[test]
fn who_cannot_be_met_is_refused_and_hears_nothing() {
    let rooms = [
        (Topology::Mesh, DialectName::Page),
        (Topology::Mesh, DialectName::Whip),
        (Topology::Mesh, DialectName::Sigver),
        // there their connections end at Portico
        (Topology::Sfu, DialectName::Algorea),
        (Topology::Sfu, DialectName::Peerjs),
    ];
    for (topology, dialect) in rooms {
        let (mut world, client, mut other) = room_with(topology, dialect);
        let to = upper(other.member);
        for kind in ["offer", "answer"] {
            world.say(client, sdp(&to, kind, OFFER));
            assert_eq!(world.hear_all(client), [failure("exchangeSdp", 1328)], "{topology:?} {dialect:?} {kind}");
        }
        assert!(signals(&mut world, &mut other).is_empty());
        tell(&mut world, &other, client, Signal::description(&Sdp::offer(OFFER), Framing::Plain));
        assert!(world.silent(), "nor does it reach the client: {topology:?} {dialect:?}");
    }
    let code: u16 =
        super::super::code::ErrorCode::from(&Refusal::Topology { room: "r".parse().unwrap(), topology: "mesh" }).number();
    assert_eq!(code, 1328, "as the room itself would say it");
}

#[test]
fn messages_to_other_dialects_are_said_in_words_to_that_one_member() {
    use DialectName::{Algorea, Page, Peerjs, Sigver, Vamp};
    for topology in [Topology::Sfu, Topology::Mesh] {
        for dialect in [Algorea, Page, Peerjs, Sigver, Vamp] {
            let (mut world, client, mut other) = room_with(topology, dialect);
            let to = upper(other.member);
            for message in [json!("hi"), json!({"text":"hi too"}), json!({"isVideoEnabled":false}), json!(null)] {
                world.say(client, json!({"a":"sendMessage","d":{"to":to,"message":message}}));
                assert_eq!(world.hear_all(client), [success("sendMessage")], "{dialect:?} {message}");
            }
            world.say(client, json!({"a":"sendMessage","d":{"to":to}}));
            assert_eq!(world.hear_all(client), [success("sendMessage")]);
            let said = std::mem::take(&mut world.said);
            let texts: Vec<&str> = said.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(texts, ["hi", "hi too", r#"{"isVideoEnabled":false}"#], "null says nothing");
            assert!(said.iter().all(|(to, _)| *to == Some(other.member)));
            assert!(signals(&mut world, &mut other).is_empty() && other.heard.is_empty());
            world.say(client, json!({"a":"sendMessage","d":{"to":to,"message":"x".repeat(20_000)}}));
            assert_eq!(world.hear_all(client), [failure("sendMessage", 1282)], "longer than a text may be");
        }
    }
}

/// Its offer with data channels of its own, and the other's answer.
fn with_channels(text: &str) -> String {
    format!("{text}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n")
}

#[test]
fn what_a_client_hears_by_channels_that_it_opened_is_not_told_again() {
    let (mut world, client, other) = room_with(Topology::Mesh, DialectName::Vamp);
    let to = upper(other.member);
    let message = json!({"a":"eventMessage","d":{"from":{"socketId":to,"userId":"other"},"message":{"text":"hi"}}});
    let heard = |world: &mut World| {
        let to = world.id(client).parse().unwrap();
        world.rooms.told(world.now, other.member, to, "hi".into());
        world.pump();
        let all = world.hear_all(client);
        assert!(all.len() <= 1 && all.iter().all(|one| *one == message), "{all:?}");
        all.len() == 1
    };
    assert!(heard(&mut world));
    // a browser accepts channels that nobody reads
    tell(&mut world, &other, client, Signal::description(&Sdp::offer(with_channels(OFFER)), Framing::Plain));
    world.say(client, sdp(&to, "answer", &with_channels(ANSWER)));
    world.ignore();
    assert!(heard(&mut world));
    // media only
    world.say(client, sdp(&to, "offer", OFFER));
    tell(&mut world, &other, client, Signal::description(&Sdp::answer(ANSWER), Framing::Plain));
    world.ignore();
    assert!(heard(&mut world));
    // its own channels, first unanswered, then refused, then there
    world.say(client, sdp(&to, "offer", &with_channels(OFFER)));
    world.ignore();
    assert!(heard(&mut world));
    tell(&mut world, &other, client, Signal::description(&Sdp::answer(ANSWER), Framing::Plain));
    world.ignore();
    assert!(heard(&mut world));
    tell(&mut world, &other, client, Signal::description(&Sdp::answer(with_channels(ANSWER)), Framing::Plain));
    world.ignore();
    assert!(!heard(&mut world), "it has it by its own channel");
    // the other begins anew
    tell(&mut world, &other, client, Signal::description(&Sdp::offer(OFFER), Framing::Plain));
    world.ignore();
    assert!(heard(&mut world));
}
