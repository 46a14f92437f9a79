//! Uplinks, downlinks, relay between clients.

use std::time::Duration;

use serde_json::json;

use super::super::*;
use super::world::*;
use crate::room::{EndReason, PeerUpdate};
use crate::vocab::{MediaKind, SdpKind};

fn candidate(to: &str, text: &str) -> serde_json::Value {
    json!({"a":"exchangeCandidate","d":{"to":to,"candidate":{"candidate":text,"sdpMid":"audio","sdpMLineIndex":0}}})
}

fn publisher_up() -> serde_json::Value {
    json!({"a":"eventWebrtcUp","d":{"from":{"socketId":"publisher","userId":""}}})
}

#[test]
fn an_uplink_offer_is_answered_by_the_event_and_then_the_answer() {
    // [10] [11]
    let mut world = World::new();
    let a = world.joined("r", "u1");
    let large = format!("{OFFER}a=x:{}\r\n", "x".repeat(8704));
    world.say(a, sdp("publisher", "offer", &large));
    let event =
        json!({"a":"eventExchangeSdp","d":{"from":{"socketId":"publisher","userId":""},"sdp":{"type":"answer","sdp":ANSWER}}});
    assert_eq!(world.hear_all(a), [event, success("exchangeSdp")]);
    assert_eq!(world.find(a, None).unwrap().described[0].text, large);
}

#[test]
fn a_later_offer_of_the_same_connection_is_answered_on_it() {
    // [12]
    let mut world = World::new();
    let a = world.joined("r", "u1");
    world.publish(a);
    world.ignore();
    let peer = world.peer(a, None);
    world.say(a, sdp("publisher", "offer", &OFFER.replace("o=- 1 2", "o=- 1 3")));
    assert_eq!(world.hear_all(a).len(), 2);
    assert_eq!(world.find(a, None).unwrap().described.len(), 2);
    assert_eq!(world.peer(a, None), peer);
    let b = world.connect_with(TribeConfig { renegotiation: false, ..TribeConfig::default() });
    world.say(b, join("r", "u2"));
    world.publish(b);
    world.ignore();
    world.say(b, sdp("publisher", "offer", OFFER));
    assert_eq!(world.hear_all(b), [failure("exchangeSdp", 1330)]);
}

#[test]
fn an_offer_of_a_new_connection_replaces_the_uplink() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.publish(a);
    let (old, watched) = (world.peer(a, None), world.peer(b, Some(a)));
    world.ignore();
    world.say(a, sdp("publisher", "offer", &OFFER.replace("o=- 1 2", "o=- 9 2")));
    let peer = world.peer(a, None);
    assert_ne!(peer, old);
    world.news(PeerUpdate::Up { peer });
    assert_ne!(world.peer(b, Some(a)), watched, "the viewer is offered the new stream");
    assert_eq!(world.peers.len(), 2);
}

#[test]
fn unusable_offers_have_their_codes_and_leave_the_uplink_free() {
    let mut world = World::new();
    let a = world.joined("r", "u1");
    for text in ["", "garbage", "v=0", "m=audio\nv=0"] {
        world.say(a, sdp("publisher", "offer", text));
        assert_eq!(world.hear_all(a), [failure("exchangeSdp", 1320)], "{text}");
    }
    world.say(a, sdp("publisher", "answer", ANSWER));
    world.say(a, sdp("publisher", "rollback", OFFER));
    assert_eq!(world.hear_all(a), vec![failure("exchangeSdp", 1320); 2]);
    for (reason, code) in [(EndReason::BadDescription, 1320), (EndReason::NoCommonCodec, 1329), (EndReason::Internal, 1328)] {
        world.answer = Err(reason);
        world.say(a, sdp("publisher", "offer", OFFER));
        assert_eq!(world.hear_all(a), [failure("exchangeSdp", code)]);
    }
    world.answer = Ok(ANSWER.into());
    world.say(a, sdp("publisher", "offer", OFFER));
    assert_eq!(world.hear_all(a).len(), 2);
    for d in [json!({"to":"publisher"}), json!({"sdp":{"type":"offer","sdp":OFFER}}), json!({"to":"publisher","sdp":"x"})] {
        world.say(a, json!({"a":"exchangeSdp","d":d}));
        assert_eq!(world.hear_all(a), [failure("exchangeSdp", 1282)], "{d}");
    }
}

#[test]
fn candidates_are_always_a_success_and_early_ones_are_kept() {
    // [13]
    let mut world = World::new();
    let a = world.joined("r", "u1");
    for n in 0..100 {
        world.say(a, candidate("publisher", &format!("candidate:{n}")));
    }
    world.say(a, candidate("nobody", "candidate:1"));
    world.say(a, json!({"a":"exchangeCandidate","d":{"to":"publisher","candidate":{"completed":true}}}));
    assert_eq!(world.hear_all(a), vec![success("exchangeCandidate"); 102]);
    world.say(a, sdp("publisher", "offer", OFFER));
    let kept = &world.find(a, None).unwrap().candidates;
    assert_eq!((kept.len(), kept[0].as_str(), kept[63].as_str()), (64, "candidate:0", "candidate:63"));
    world.ignore();
    world.say(a, json!({"a":"exchangeCandidate","d":{"to":"publisher","candidate":{"completed":true}}}));
    assert_eq!(world.find(a, None).unwrap().candidates[64], "", "the end of candidates");
    world.say(a, json!({"a":"exchangeCandidate","d":{"to":"publisher","candidate":"x"}}));
    assert_eq!(world.hear_all(a), [success("exchangeCandidate"), failure("exchangeCandidate", 1282)]);
}

#[test]
fn an_uplink_is_up_once_all_its_kinds_flow() {
    // [24]
    let audio_only = ANSWER.replace("m=video 9", "m=video 0");
    let video_only = ANSWER.replace("m=audio 9", "m=audio 0");
    for (answer, flows, at) in [
        (ANSWER.to_owned(), vec![MediaKind::Audio, MediaKind::Video], 2),
        (ANSWER.to_owned(), vec![MediaKind::Video, MediaKind::Audio], 2),
        (audio_only, vec![MediaKind::Audio], 1),
        (video_only, vec![MediaKind::Video], 1),
    ] {
        let mut world = World::new();
        world.answer = Ok(answer);
        let a = world.joined("r", "u1");
        world.say(a, sdp("publisher", "offer", OFFER));
        let peer = world.peer(a, None);
        world.news(PeerUpdate::Up { peer });
        world.ignore();
        for (n, kind) in flows.into_iter().enumerate() {
            world.news(PeerUpdate::Flowing { peer, kind });
            let expected = if n + 1 == at { vec![publisher_up()] } else { Vec::new() };
            assert_eq!(world.hear_all(a), expected);
        }
        world.news(PeerUpdate::Flowing { peer, kind: MediaKind::Video });
        world.wait(Duration::from_secs(60));
        assert!(world.silent(), "told once");
    }
}

#[test]
fn an_uplink_whose_second_kind_stays_away_is_up_after_5_s() {
    let mut world = World::new();
    let a = world.joined("r", "u1");
    world.say(a, sdp("publisher", "offer", OFFER));
    let peer = world.peer(a, None);
    world.ignore();
    world.news(PeerUpdate::Flowing { peer, kind: MediaKind::Audio });
    assert_eq!(world.clients[a].tribe.next_timeout(), Some(world.now + Duration::from_secs(5)));
    world.wait(Duration::from_millis(4_999));
    assert!(world.silent());
    world.wait(Duration::from_millis(1));
    assert_eq!(world.hear_all(a), [publisher_up()]);
    assert_eq!(world.clients[a].tribe.next_timeout(), None);
}

#[test]
fn each_viewer_is_offered_each_source_exactly_once() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.ignore();
    world.publish(a);
    let offer =
        json!({"a":"eventExchangeSdp","d":{"from":{"socketId":world.id(a),"userId":"u1"},"sdp":{"type":"offer","sdp":DOWN}}});
    assert_eq!(world.hear_all(b), std::slice::from_ref(&offer), "b sends nothing itself");
    let c = world.connect();
    world.say(c, join("r", "u3"));
    assert_eq!(world.hear_all(c).last(), Some(&offer));
    assert_eq!(world.peers.len(), 3, "one uplink, two downlinks");
}

#[test]
fn an_answer_completes_the_downlink_and_its_first_packet_is_told() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.publish(a);
    world.ignore();
    let to = world.id(a);
    world.say(b, candidate(&to, "candidate:b"));
    world.say(b, sdp(&to, "answer", ANSWER));
    assert_eq!(world.hear_all(b), [success("exchangeCandidate"), success("exchangeSdp")]);
    let open = world.find(b, Some(a)).unwrap();
    assert_eq!((open.described[0].kind, open.candidates[0].as_str()), (SdpKind::Answer, "candidate:b"));
    let peer = open.peer;
    world.news(PeerUpdate::Up { peer });
    world.news(PeerUpdate::Flowing { peer, kind: MediaKind::Video });
    world.news(PeerUpdate::Flowing { peer, kind: MediaKind::Audio });
    let up = json!({"a":"eventWebrtcUp","d":{"from":{"socketId":to,"userId":"u1"}}});
    assert_eq!(world.hear_all(b), [up]);
    world.say(b, sdp(&to, "answer", ANSWER));
    assert_eq!(world.hear_all(b), [failure("exchangeSdp", 1330)], "an offer has one answer");
    assert!(world.silent(), "the source hears nothing of its viewers");
}

#[test]
fn descriptions_between_clients_are_relayed() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.ignore();
    let (id_a, id_b) = (world.id(a), world.id(b));
    world.say(a, candidate(&id_b, "candidate:too early"));
    assert_eq!(world.hear_all(a), [success("exchangeCandidate")]);
    world.say(a, sdp(&id_b, "offer", OFFER));
    let relayed = |from: &str, user: &str, kind: &str, text: &str| json!({"a":"eventExchangeSdp","d":{"from":{"socketId":from,"userId":user},"sdp":{"type":kind,"sdp":text}}});
    assert_eq!(
        (world.hear_all(b), world.hear_all(a)),
        (vec![relayed(&id_a, "u1", "offer", OFFER)], vec![success("exchangeSdp")])
    );
    world.say(b, sdp(&id_a, "answer", ANSWER));
    assert_eq!(world.hear_all(a), [relayed(&id_b, "u2", "answer", ANSWER)]);
    for (from, to, id) in [(a, b, &id_a), (b, a, &id_b)] {
        world.ignore();
        let target = world.id(to);
        world.say(from, candidate(&target, "candidate:1"));
        world.say(from, json!({"a":"exchangeCandidate","d":{"to":target,"candidate":{"completed":true}}}));
        let user = if from == a { "u1" } else { "u2" };
        let event = json!({"a":"eventExchangeCandidate","d":{"from":{"socketId":id,"userId":user},
            "candidate":{"candidate":"candidate:1","sdpMid":"audio","sdpMLineIndex":0}}});
        assert_eq!(world.hear_all(to), [event]);
    }
    for to in ["", "nobody", &"0".repeat(32), &id_a] {
        world.ignore();
        world.say(a, sdp(to, "offer", OFFER));
        assert_eq!(world.hear_all(a), [failure("exchangeSdp", 1298)], "{to}");
    }
    assert!(world.peers.is_empty(), "Portico is no part of it");
}

#[test]
fn a_stream_that_ends_and_comes_back_is_offered_anew() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.publish(a);
    world.ignore();
    let peer = world.peer(a, None);
    world.news(PeerUpdate::Down { peer, reason: EndReason::Lost });
    assert!(world.silent() && world.peers.is_empty());
    world.publish(a);
    assert_eq!(world.hear(b)["a"], "eventExchangeSdp");
    assert!(world.find(b, Some(a)).is_some());
}

#[test]
fn a_source_that_fails_is_asked_for_again_ever_more_slowly() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.say(a, sdp("publisher", "offer", OFFER));
    world.answer = Err(EndReason::SourceFailed);
    world.news(PeerUpdate::Up { peer: world.peer(a, None) });
    world.ignore();
    for seconds in [2, 4, 8, 16, 30, 30] {
        let due = world.clients[b].tribe.next_timeout().expect("another try");
        assert_eq!(due - world.now, Duration::from_secs(seconds));
        world.wait(Duration::from_secs(seconds));
        assert!(world.silent());
    }
    world.answer = Ok(ANSWER.into());
    world.wait(Duration::from_secs(30));
    assert_eq!(world.hear_all(b).len(), 1, "and then the client is offered it");
    assert_eq!(world.clients[b].tribe.next_timeout(), None);
}

#[test]
fn a_lost_downlink_is_offered_again_a_few_times_and_an_unanswered_one_is_not() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.publish(a);
    let to = world.id(a);
    for _ in 0..5 {
        world.say(b, sdp(&to, "answer", ANSWER));
        let peer = world.peer(b, Some(a));
        world.news(PeerUpdate::Down { peer, reason: EndReason::Lost });
        world.ignore();
        world.wait(Duration::from_secs(30));
        assert_eq!(world.hear(b)["a"], "eventExchangeSdp");
    }
    world.say(b, sdp(&to, "answer", ANSWER));
    let peer = world.peer(b, Some(a));
    world.news(PeerUpdate::Down { peer, reason: EndReason::Lost });
    assert_eq!(world.clients[b].tribe.next_timeout(), None);

    let c = world.joined("r", "u3");
    let peer = world.peer(c, Some(a));
    world.news(PeerUpdate::Down { peer, reason: EndReason::NeverConnected });
    assert_eq!(world.clients[c].tribe.next_timeout(), None);
}

#[test]
fn a_resumed_place_knows_its_peers() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.publish(a);
    world.publish(b);
    let (up, down) = (world.peer(b, None), world.peer(b, Some(a)));
    world.ignore();
    world.end(b, false);
    let again = world.connect();
    world.clients[again].id = world.id(b);
    world.say(again, json!({"a":"reconnect","d":{"socketId":world.id(b)}}));
    assert_eq!(world.hear_all(again).len(), 1, "nothing is offered twice");
    let to = world.id(a);
    world.say(again, sdp(&to, "answer", ANSWER));
    world.say(again, sdp("publisher", "offer", OFFER));
    assert_eq!((world.peer(again, None), world.peer(again, Some(a))), (up, down));
    assert_eq!(world.peers.len(), 4);
    world.news(PeerUpdate::Flowing { peer: down, kind: MediaKind::Video });
    let heard: Vec<_> = world.hear_all(again).iter().map(|frame| frame["a"].as_str().unwrap().to_owned()).collect();
    assert_eq!(heard, ["exchangeSdpR", "eventExchangeSdp", "exchangeSdpR", "eventWebrtcUp"]);
}

#[test]
fn what_a_lost_client_missed_leads_to_one_downlink_each() {
    let mut world = World::new();
    let (a, b) = (world.joined("r", "u1"), world.joined("r", "u2"));
    world.publish(a);
    world.end(b, false);
    let up = world.peer(a, None);
    world.news(PeerUpdate::Down { peer: up, reason: EndReason::Lost }); // and the stream with it
    world.publish(a);
    let c = world.joined("r", "u3");
    world.publish(c);
    let again = world.connect();
    world.clients[again].id = world.id(b);
    world.say(again, json!({"a":"reconnect","d":{"socketId":world.id(b)}}));
    let of_b = world.clients[again].session;
    assert_eq!(world.peers.iter().filter(|open| open.session == of_b).count(), 2);
    assert!(world.find(again, Some(a)).is_some() && world.find(again, Some(c)).is_some());
}

#[test]
fn an_answer_given_while_the_client_was_lost_reaches_it() {
    let mut world = World::new();
    let a = world.joined("r", "u1");
    let peer = {
        world.say(a, sdp("publisher", "offer", OFFER));
        world.ignore();
        world.peer(a, None)
    };
    world.end(a, false);
    world.news(PeerUpdate::Described { peer, sdp: crate::vocab::Sdp::answer(ANSWER) });
    let again = world.connect();
    world.say(again, json!({"a":"reconnect","d":{"socketId":world.id(a)}}));
    let heard: Vec<_> = world.hear_all(again).iter().map(|frame| frame["a"].as_str().unwrap().to_owned()).collect();
    assert_eq!(heard, ["reconnectR", "eventExchangeSdp", "exchangeSdpR"]);
}
