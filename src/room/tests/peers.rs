//! Publish, play, and how both end.

use super::*;

#[test]
fn a_stream_is_up_when_its_tracks_are_known_and_its_peer_is_connected() {
    let mut world = World::new();
    let (one, owner) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    let peer = world.publish(one, "main");
    world.update(PeerUpdate::Tracks { peer, tracks: vec![video(1)] });
    world.update(PeerUpdate::Described { peer, sdp: Sdp::answer("a") });
    assert!(matches!(world.told(one).as_slice(), [Notice::Description { .. }]));
    world.update(PeerUpdate::Up { peer });
    match world.told(two).as_slice() {
        [Notice::StreamUp { member, stream }] => {
            assert_eq!((*member, stream.kinds.as_slice()), (owner, [MediaKind::Video].as_slice()));
        }
        other => panic!("{other:?}"),
    }
    world.update(PeerUpdate::Up { peer });
    assert!(world.effects.is_empty(), "coming back after an interruption is no news");
    let late = world.session();
    world.ask(late, Command::Join(Box::new(joining("a", "three"))));
    assert_eq!(world.welcome(late).others[0].streams.len(), 1);
}

#[test]
fn publishing_needs_the_right_and_a_free_name() {
    let config = RoomsConfig { max_streams_per_member: 2, max_peers_per_member: 3, ..RoomsConfig::default() };
    let mut world = World::with(config, Vec::new());
    let publish = |name: &str| Command::Publish { peer: PeerId::next(), stream: stream(name), offer: Some(Sdp::offer("o")) };
    let (viewer, _) = world.join(Joining { grant: rights(&[Right::Subscribe]), ..joining("a", "v") });
    assert!(matches!(world.refused(viewer, publish("main")), Refusal::Forbidden { right: Right::Publish, .. }));
    let (one, _) = world.join(joining("a", "one"));
    let peer = world.publish(one, "main");
    assert_eq!(world.refused(one, publish("main")), Refusal::StreamTaken(stream("main")));
    world.publish(one, "screen");
    assert_eq!(world.refused(one, publish("third")), Refusal::TooMany { what: "streams", limit: 2 });
    let answer = Command::Publish { peer: PeerId::next(), stream: stream("x"), offer: Some(Sdp::answer("a")) };
    world.ask(one, Command::Stop { peer });
    assert_eq!(world.refused(one, answer), Refusal::BadDescription);
    world.publish_up(one, "main");
    assert_eq!(world.rooms.count().streams, 1, "the stopped stream's name is free again");
}

#[test]
fn peers_are_counted_per_member() {
    let mut world = World::with(RoomsConfig { max_peers_per_member: 1, ..RoomsConfig::default() }, Vec::new());
    world.present("cam", "a");
    let (one, _) = world.join(joining("a", "one"));
    world.play(one, StreamChoice::Default);
    let again = Command::Play { peer: PeerId::next(), of: StreamChoice::Default, offer: None };
    assert_eq!(world.refused(one, again), Refusal::TooMany { what: "peers", limit: 1 });
}

#[test]
fn the_default_is_main_then_the_first_source_then_the_first_publisher() {
    let mut world = World::new();
    let (viewer, itself) = world.join(joining("a", "viewer"));
    assert_eq!(world.chosen(viewer, StreamChoice::Default), None);
    let (one, first) = world.join(joining("a", "one"));
    world.publish_up(one, "screen");
    world.publish_up(viewer, "own");
    assert_eq!(world.chosen(viewer, StreamChoice::Default), Some((first, "screen".into())));
    world.present("cam", "a");
    world.present("door", "a");
    assert_eq!(world.chosen(viewer, StreamChoice::Default).unwrap().1, "cam");
    let (two, second) = world.join(joining("a", "two"));
    let main = world.publish_up(two, "main");
    assert_eq!(world.chosen(viewer, StreamChoice::Default), Some((second, "main".into())));
    world.ask(two, Command::Stop { peer: main });
    assert_eq!(world.chosen(viewer, StreamChoice::Default).unwrap().1, "cam");
    assert_eq!(world.chosen(viewer, StreamChoice::Named(stream("screen"))), Some((first, "screen".into())));
    assert_eq!(world.chosen(viewer, StreamChoice::Named(stream("own"))), None);
    assert_eq!(world.chosen(viewer, StreamChoice::Of(itself, None)).unwrap().1, "own");
    assert_eq!(world.chosen(viewer, StreamChoice::Of(first, None)).unwrap().1, "screen");
    assert_eq!(world.chosen(viewer, StreamChoice::Of(first, Some(stream("main")))), None);
}

#[test]
fn playing_names_the_feed() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    let peer = world.publish_up(one, "main");
    world.effects.clear();
    world.play(two, StreamChoice::Default);
    match world.effects.as_slice() {
        [Effect::OpenPeer(open)] => match &open.purpose {
            Purpose::Play { feed, .. } => assert_eq!(*feed, Feed::Published(vec![TrackId(peer.0)])),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_plays_without_the_right_or_in_another_room() {
    let mut world = World::new();
    let (one, owner) = world.join(joining("a", "one"));
    world.publish_up(one, "main");
    let (whip, _) = world.join(Joining { grant: rights(&[Right::Publish]), ..joining("a", "w") });
    let play = |of| Command::Play { peer: PeerId::next(), of, offer: None };
    assert!(matches!(world.refused(whip, play(StreamChoice::Default)), Refusal::Forbidden { right: Right::Subscribe, .. }));
    let (stranger, _) = world.join(joining("b", "s"));
    assert_eq!(world.refused(stranger, play(StreamChoice::Of(owner, None))), Refusal::UnknownStream);
}

#[test]
fn when_a_stream_ends_its_players_are_cut_off_and_then_all_are_told() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    world.publish_up(one, "main");
    let playing = world.play(two, StreamChoice::Default);
    world.update(PeerUpdate::Described { peer: playing, sdp: Sdp::answer("a") });
    world.effects.clear();
    world.ask(one, Command::Leave);
    assert_eq!(
        outline(&world.effects),
        [
            "end session: Left",
            "close peer: Left",
            "close peer: StreamEnded",
            "PeerDown",
            "report PeerDown",
            "StreamDown",
            "report StreamDown",
            "report PeerDown",
            "MemberLeft",
            "report MemberLeft"
        ]
    );
    let told = world.told(two);
    assert!(matches!(&told[0], Notice::PeerDown { peer, reason: EndReason::StreamEnded } if *peer == playing));
}

#[test]
fn a_peer_that_goes_down_is_not_closed_again() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let peer = world.publish_up(one, "main");
    world.effects.clear();
    world.update(PeerUpdate::Down { peer, reason: EndReason::Lost });
    assert_eq!(outline(&world.effects), ["report StreamDown", "PeerDown", "report PeerDown"]);
    world.effects.clear();
    world.update(PeerUpdate::Down { peer, reason: EndReason::Lost });
    world.update(PeerUpdate::Up { peer });
    assert!(world.effects.is_empty());
    world.publish_up(one, "main");
}

#[test]
fn a_peer_that_ends_before_its_description_refuses_the_request() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let peer = PeerId::next();
    let asked = world.ask(one, Command::Publish { peer, stream: stream("main"), offer: Some(Sdp::offer("junk")) });
    world.effects.clear();
    world.rooms.refuse_peer(world.now, peer, EndReason::BadDescription);
    world.drain();
    match world.told(one).as_slice() {
        [Notice::Refused { req, why: Refusal::BadDescription }] => assert_eq!(*req, asked),
        other => panic!("{other:?}"),
    }
    let peer = world.publish(one, "main");
    world.update(PeerUpdate::Described { peer, sdp: Sdp::answer("a") });
    world.effects.clear();
    world.rooms.refuse_peer(world.now, peer, EndReason::Internal);
    world.drain();
    assert!(matches!(world.told(one).as_slice(), [Notice::PeerDown { reason: EndReason::Internal, .. }]));
}

#[test]
fn a_session_that_resumes_is_not_answered_for_the_one_before() {
    let mut world = World::new();
    let (one, key) = world.join(joining("a", "one"));
    let peer = world.publish(one, "main");
    world.ask(one, Command::Lost);
    let back = world.session();
    world.ask(back, Command::Resume { key });
    match world.told(back).as_slice() {
        [Notice::Resumed(resumed)] => assert_eq!(resumed.peers, [PeerView { peer, plays: None }]),
        other => panic!("{other:?}"),
    }
    world.update(PeerUpdate::Down { peer, reason: EndReason::NeverConnected });
    assert!(matches!(world.told(back).as_slice(), [Notice::PeerDown { .. }]));
}

#[test]
fn a_lost_members_stream_goes_on_while_its_peer_lives() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    let peer = world.publish_up(one, "main");
    world.ask(one, Command::Lost);
    world.effects.clear();
    assert!(world.chosen(two, StreamChoice::Default).is_some());
    assert_eq!(world.rooms.owner_of(peer).map(|(_, _, session)| session), Some(one));
    world.update(PeerUpdate::Down { peer, reason: EndReason::Lost });
    assert!(matches!(world.told(two).as_slice(), [Notice::StreamDown { .. }]));
}

#[test]
fn only_its_own_peers_can_be_described_fed_and_stopped() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    let peer = world.publish_up(one, "main");
    let candidate = || Candidate { candidate: String::new(), sdp_mid: None, sdp_mline_index: None, username_fragment: None };
    assert_eq!(world.refused(two, Command::Describe { peer, sdp: Sdp::offer("o") }), Refusal::UnknownPeer);
    assert_eq!(world.refused(two, Command::Candidate { peer, candidate: candidate() }), Refusal::UnknownPeer);
    assert_eq!(world.refused(two, Command::Stop { peer }), Refusal::UnknownPeer);
    world.effects.clear();
    world.ask(one, Command::Describe { peer, sdp: Sdp::offer("o") });
    world.ask(one, Command::Candidate { peer, candidate: candidate() });
    world.ask(one, Command::Stop { peer });
    assert_eq!(
        outline(&world.effects),
        ["describe peer", "add candidate", "close peer: Left", "StreamDown", "report StreamDown", "report PeerDown"]
    );
}

#[test]
fn a_used_peer_id_is_refused() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    let peer = world.publish_up(one, "main");
    let theft = Command::Publish { peer, stream: stream("main"), offer: Some(Sdp::offer("o")) };
    assert_eq!(world.refused(two, theft), Refusal::Internal);
    assert_eq!(world.rooms.owner_of(peer).map(|(_, _, session)| session), Some(one));
}

#[test]
fn a_rejected_description_refuses_its_request_and_the_peer_goes_on() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let peer = world.publish_up(one, "main");
    let asked = world.ask(one, Command::Describe { peer, sdp: Sdp::offer("junk") });
    world.effects.clear();
    world.update(PeerUpdate::Rejected { peer, reason: EndReason::BadDescription });
    match world.told(one).as_slice() {
        [Notice::Refused { req, why: Refusal::BadDescription }] => assert_eq!(*req, asked),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.rooms.count().streams, 1);
}

#[test]
fn other_tracks_make_a_new_stream_and_the_same_tracks_do_not() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    let peer = world.publish_up(one, "main");
    world.play(two, StreamChoice::Default);
    world.effects.clear();
    world.update(PeerUpdate::Tracks { peer, tracks: vec![video(peer.0)] });
    assert!(world.effects.is_empty());
    world.update(PeerUpdate::Tracks { peer, tracks: vec![video(1_000_000)] });
    let told = world.told(two);
    // it had no description yet, so that its request is refused
    assert!(matches!(
        told.as_slice(),
        [Notice::Refused { why: Refusal::UnknownStream, .. }, Notice::StreamDown { .. }, Notice::StreamUp { .. }]
    ));
}

#[test]
fn first_packets_are_passed_on() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let peer = world.publish_up(one, "main");
    world.effects.clear();
    world.update(PeerUpdate::Flowing { peer, kind: MediaKind::Audio });
    assert!(matches!(world.told(one).as_slice(), [Notice::PeerFlowing { kind: MediaKind::Audio, .. }]));
}

#[test]
fn an_encoder_that_comes_back_takes_the_place_it_had_once_it_is_up() {
    let mut world = World::new();
    let whip = |user: &str| Joining { dialect: DialectName::Whip, ..joining("yard", user) };
    let (old, old_member) = world.join(whip("obs"));
    world.publish_up(old, "main");
    let (new, new_member) = world.join(whip("obs"));
    let failing = world.publish(new, "main");
    world.update(PeerUpdate::Down { peer: failing, reason: EndReason::NeverConnected });
    assert_eq!(world.rooms.rooms()[0].members.len(), 2, "an attempt that failed costs the old one nothing");
    world.effects.clear();
    world.publish_up(new, "main");
    assert!(world.told(old).iter().any(|notice| matches!(notice, Notice::Ended { reason: EndReason::Replaced })));
    let members: Vec<MemberId> = world.rooms.rooms()[0].members.iter().map(|member| member.view.member).collect();
    assert_eq!(members, [new_member]);
    assert_ne!(old_member, new_member);
    // members of other kinds keep their streams, whatever they are called
    let (page, _) = world.join(Joining { dialect: DialectName::Page, ..joining("yard", "anna") });
    world.publish_up(page, "main");
    assert_eq!(world.rooms.rooms()[0].members.len(), 2);
}
