//! Connections that stand for another member or the room, and words.

use super::*;

fn mesh() -> World {
    World::with(RoomsConfig::default(), vec![RoomConfig { topology: Topology::Mesh, ..listed("mesh") }])
}

fn vamp(room_name: &str, user_id: &str) -> Joining {
    Joining { dialect: DialectName::Vamp, ..joining(room_name, user_id) }
}

fn meeting(with: Option<MemberId>) -> Meeting {
    Meeting {
        peer: PeerId::next(),
        with,
        offer: Some(Sdp::offer("o")),
        publish: Some(stream("main")),
        play: true,
        named: None,
        expects: Vec::new(),
        outlasts: false,
        framing: Framing::Plain,
        channels: Vec::new(),
        broker: None,
        pair: None,
    }
}

impl World {
    fn meet(&mut self, session: SessionId, meeting: Meeting) -> PeerId {
        let peer = meeting.peer;
        self.ask(session, Command::Meet(Box::new(meeting)));
        peer
    }

    /// What the last peer was opened for; forgets all effects.
    fn opened(&mut self) -> effect::Meet {
        let opened = std::mem::take(&mut self.effects).into_iter().rev().find_map(|effect| match effect {
            Effect::OpenPeer(open) => Some(open.purpose),
            _ => None,
        });
        match opened {
            Some(Purpose::Meet(meet)) => *meet,
            other => panic!("no peer that meets: {other:?}"),
        }
    }

    fn refused_meeting(&mut self, session: SessionId, meeting: Meeting) -> Refusal {
        self.refused(session, Command::Meet(Box::new(meeting)))
    }

    fn up(&mut self, peer: PeerId) {
        self.update(PeerUpdate::Tracks { peer, tracks: vec![video(peer.0)] });
        self.update(PeerUpdate::Described { peer, sdp: Sdp::answer("a") });
        self.update(PeerUpdate::Up { peer });
    }

    /// What peers were given to send since the last look, by stream; forgets all effects.
    fn fed(&mut self) -> Vec<(PeerId, Option<(MemberId, String)>)> {
        let fed = std::mem::take(&mut self.effects).into_iter().filter_map(|effect| match effect {
            Effect::FeedPeer { peer, plays } => Some((peer, plays.map(|it| (it.owner, it.stream.as_str().to_owned())))),
            _ => None,
        });
        fed.collect()
    }
}

#[test]
fn a_meeting_publishes_and_plays_on_one_connection() {
    let mut world = World::new();
    let (one, first) = world.join(joining("a", "one"));
    world.publish_up(one, "main");
    let (two, second) = world.join(vamp("a", "two"));
    let peer = world.meet(two, meeting(Some(first)));
    let opened = world.opened();
    let plays = opened.plays.unwrap();
    assert_eq!((plays.owner, plays.stream.as_str(), opened.publish), (first, "main", Some(stream("main"))));
    world.up(peer);
    let told = world.told(one);
    assert!(matches!(told.as_slice(), [Notice::StreamUp { member, .. }] if *member == second), "{told:?}");
}

#[test]
fn the_first_connection_that_brings_a_stream_gives_it_and_then_the_next() {
    let mut world = World::new();
    let (one, first) = world.join(joining("a", "one"));
    let (_, second) = world.join(joining("a", "two"));
    let (three, third) = world.join(vamp("a", "three"));
    let peers = [first, second, second].map(|with| {
        let peer = world.meet(three, meeting(Some(with)));
        assert!(world.opened().publish.is_some());
        peer
    });
    let news = |world: &mut World| {
        let told = world.told(one).into_iter();
        told.filter_map(|notice| match notice {
            Notice::StreamUp { member, stream } if member == third => Some(stream.tracks.first().map(|track| track.track.0)),
            Notice::StreamDown { member, .. } if member == third => Some(None),
            _ => None,
        })
        .collect::<Vec<_>>()
    };
    world.told(one);
    world.up(peers[1]);
    assert_eq!(news(&mut world), [Some(peers[1].0)], "the first that is connected, not the first that was opened");
    world.up(peers[0]);
    world.up(peers[2]);
    assert_eq!(news(&mut world), []);
    world.update(PeerUpdate::Down { peer: peers[1], reason: EndReason::Left });
    assert_eq!(news(&mut world), [None, Some(peers[0].0)]);
    world.update(PeerUpdate::Tracks { peer: peers[0], tracks: Vec::new() });
    assert_eq!(news(&mut world), [None, Some(peers[2].0)], "what brings nothing any more leaves the name as well");
    world.ask(three, Command::Leave);
    assert_eq!(news(&mut world), [None], "who leaves gives nothing else");
}

#[test]
fn in_a_mesh_the_room_gives_nothing_that_the_asker_has_directly() {
    let mut world = mesh();
    let (one, _) = world.join(vamp("mesh", "one"));
    let gives = world.meet(one, meeting(None));
    world.up(gives);
    let (two, _) = world.join(vamp("mesh", "two"));
    let peer = world.meet(two, meeting(None));
    assert!(world.opened().plays.is_none(), "the other's sound comes from the other");
    // what comes by Portico only is given
    let (tribe, third) = world.join(joining("mesh", "tribe"));
    world.publish_up(tribe, "main");
    assert!(world.fed().contains(&(peer, Some((third, "main".into())))));
}

/// A client that plays a member by Portico has its one connection with it.
#[test]
fn in_a_mesh_no_offer_passes_between_a_player_and_whom_it_plays() {
    let mut world = mesh();
    let (one, first) = world.join(vamp("mesh", "one"));
    let (two, second) = world.join(joining("mesh", "two"));
    let signal = |sdp| Body::Signal(Box::new(Signal::description(&sdp, Framing::Plain)));
    let offer = |to| Command::Tell { to, body: signal(Sdp::offer("o")) };
    world.ask(one, offer(second));
    assert!(matches!(world.told(two).as_slice(), [Notice::Told { .. }]));
    let gives = world.meet(one, meeting(None));
    world.up(gives);
    world.play(two, StreamChoice::Of(first, None));
    for (session, to) in [(one, second), (two, first)] {
        let refusal = world.refused(session, offer(to));
        assert!(matches!(refusal, Refusal::Topology { .. }), "{refusal:?}");
    }
    // an answer to an earlier one passes
    let _ = world.told(two);
    world.ask(one, Command::Tell { to: second, body: signal(Sdp::answer("a")) });
    assert!(matches!(world.told(two).as_slice(), [Notice::Told { .. }]));
}

#[test]
fn rights_are_left_out_of_a_meeting() {
    let mut world = World::new();
    world.present("cam", "a");
    let (viewer, _) = world.join(Joining { grant: rights(&[Right::Subscribe]), ..vamp("a", "v") });
    world.meet(viewer, meeting(None));
    let opened = world.opened();
    assert!(opened.publish.is_none() && !opened.speaks && opened.hears && opened.plays.is_some());
    let (sender, _) = world.join(Joining { grant: rights(&[Right::Publish]), ..vamp("a", "s") });
    world.meet(sender, meeting(None));
    let opened = world.opened();
    assert!(opened.publish.is_some() && opened.speaks && !opened.hears && opened.plays.is_none() && !opened.sends);
}

#[test]
fn what_comes_up_later_is_sent_and_what_ends_is_not() {
    let mut world = World::new();
    let (one, first) = world.join(joining("a", "one"));
    let (two, _) = world.join(vamp("a", "two"));
    let peer = world.meet(two, meeting(Some(first)));
    let opened = world.opened();
    assert!(opened.sends && opened.plays.is_none());
    world.present("cam", "a");
    assert!(world.fed().is_empty(), "another's stream is not the one's");
    let source = world.publish_up(one, "main");
    assert_eq!(world.fed(), [(peer, Some((first, "main".into())))]);
    world.ask(one, Command::Stop { peer: source });
    assert_eq!(world.fed(), [(peer, None)]);
    assert_eq!(world.rooms.count().peers, 1, "the connection goes on");
}

#[test]
fn the_room_gives_the_next_best_when_its_default_ends() {
    let mut world = mesh();
    world.present("cam", "mesh");
    world.present("door", "mesh");
    let (one, _) = world.join(vamp("mesh", "one"));
    let peer = world.meet(one, meeting(None));
    assert_eq!(world.opened().plays.unwrap().stream, stream("cam"));
    world.source(SourceUpdate::Absent { source: SourceName::new("cam").unwrap() });
    let fed: Vec<_> = world.fed().into_iter().map(|(to, it)| (to, it.map(|it| it.1))).collect();
    assert_eq!(fed, [(peer, None), (peer, Some("door".into()))]);
}

#[test]
fn who_leaves_ends_the_connections_that_stand_for_it() {
    let mut world = World::new();
    let (one, first) = world.join(joining("a", "one"));
    let (two, _) = world.join(vamp("a", "two"));
    let peer = world.meet(two, meeting(Some(first)));
    world.update(PeerUpdate::Described { peer, sdp: Sdp::answer("a") });
    world.effects.clear();
    world.ask(one, Command::Leave);
    let told = world.told(two);
    assert!(
        matches!(told.as_slice(), [Notice::PeerDown { peer: down, reason: EndReason::Left }, Notice::MemberLeft { .. }] if *down == peer),
        "{told:?}"
    );
}

#[test]
fn who_leaves_before_the_answer_refuses_the_meeting() {
    let mut world = World::new();
    let (one, first) = world.join(joining("a", "one"));
    let (two, _) = world.join(vamp("a", "two"));
    world.meet(two, meeting(Some(first)));
    world.effects.clear();
    world.ask(one, Command::Leave);
    let told = world.told(two);
    assert!(matches!(told[0], Notice::Refused { why: Refusal::UnknownMember, .. }), "{told:?}");
}

#[test]
fn a_connection_that_publishes_may_outlast_whom_it_stands_for() {
    let mut world = World::new();
    let (one, first) = world.join(joining("a", "one"));
    world.publish_up(one, "main");
    let (two, second) = world.join(vamp("a", "two"));
    let (three, third) = world.join(vamp("a", "three"));
    let peer = world.meet(two, Meeting { outlasts: true, ..meeting(Some(first)) });
    world.up(peer);
    let other = world.meet(two, Meeting { outlasts: true, ..meeting(Some(third)) });
    world.update(PeerUpdate::Described { peer: other, sdp: Sdp::answer("a") });
    world.effects.clear();
    world.ask(one, Command::Leave);
    assert_eq!(world.fed(), [(peer, None)]);
    assert!(world.rooms.rooms()[0].members.iter().any(|m| m.view.member == second && m.view.streams.len() == 1));
    world.ask(three, Command::Leave);
    assert!(world.told(two).iter().any(|told| matches!(told, Notice::PeerDown { peer: down, .. } if *down == other)));
}

#[test]
fn in_a_mesh_room_portico_stands_only_for_those_who_cannot_be_reached() {
    let mut world = mesh();
    let (one, _) = world.join(vamp("mesh", "one"));
    let (_, peerjs) = world.join(Joining { dialect: DialectName::Peerjs, ..joining("mesh", "two") });
    let (page, visitor) = world.join(Joining { dialect: DialectName::Page, ..joining("mesh", "three") });
    let direct = world.refused_meeting(one, meeting(Some(peerjs)));
    assert_eq!(direct, Refusal::Topology { room: room("mesh"), topology: "mesh" });
    let peer = world.meet(one, meeting(Some(visitor)));
    world.opened();
    world.up(peer);
    // the visitor plays what the mesh's client sends to Portico, and publishes itself
    assert!(world.chosen(page, StreamChoice::Default).is_some());
    world.publish_up(page, "main");
    assert_eq!(world.fed(), [(peer, Some((visitor, "main".into())))]);
}

#[test]
fn a_bridge_sends_the_stream_that_is_named_and_never_what_a_bridge_brought() {
    let mut world = World::new();
    let bridge = |user: &str| Joining { dialect: DialectName::Bridge, ..joining("a", user) };
    let (one, _) = world.join(bridge("one"));
    let (page, of_page) = world.join(joining("a", "page"));
    let named = Meeting { named: Some(stream("main")), publish: None, ..meeting(None) };
    let peer = world.meet(one, named);
    assert_eq!(world.opened().plays, None);
    world.up(peer);
    world.effects.clear();
    let (other, _) = world.join(bridge("other"));
    world.publish_up(other, "main");
    assert_eq!((world.chosen(one, StreamChoice::Local(stream("main"))), world.fed()), (None, Vec::new()));
    world.publish_up(page, "main");
    assert_eq!(world.fed(), [(peer, Some((of_page, "main".into())))]);
    assert_eq!(world.chosen(one, StreamChoice::Local(stream("main"))), Some((of_page, "main".into())));
    assert_eq!(world.chosen(one, StreamChoice::Local(stream("door"))), None);
}

#[test]
fn nobody_meets_itself_a_stranger_or_who_is_not_seen() {
    let mut world = World::new();
    let (one, itself) = world.join(vamp("a", "one"));
    let (_, stranger) = world.join(vamp("b", "two"));
    let (_, player) = world.join(Joining { dialect: DialectName::Whep, visible: false, ..joining("a", "three") });
    for with in [itself, stranger, player, MemberId([0; 16])] {
        assert_eq!(world.refused_meeting(one, meeting(Some(with))), Refusal::UnknownMember);
    }
    let answer = Meeting { offer: Some(Sdp::answer("a")), ..meeting(None) };
    assert_eq!(world.refused_meeting(one, answer), Refusal::BadDescription);
}

#[test]
fn words_are_handed_on_with_the_right_to_say_them() {
    let mut world = World::new();
    let (one, first) = world.join(joining("a", "one"));
    let (_, second) = world.join(joining("a", "two"));
    let (three, third) = world.join(Joining { grant: rights(&[Right::Subscribe]), ..joining("a", "three") });
    let say = |to, text: &str| Command::Say { to, text: text.into() };
    world.effects.clear();
    world.ask(one, say(None, "all"));
    assert!(matches!(&world.effects[0], Effect::Say { from, to: None, text, .. } if *from == first && text == "all"));
    assert_eq!(outline(&world.effects), ["say", "Done"]);
    world.effects.clear();
    world.ask(one, say(Some(second), "you"));
    assert!(matches!(&world.effects[0], Effect::Say { to: Some(to), .. } if *to == second));
    assert!(matches!(world.refused(three, say(None, "x")), Refusal::Forbidden { right: Right::Publish, .. }));
    assert_eq!(world.refused(one, say(Some(first), "me")), Refusal::UnknownMember);
    let long = "x".repeat(MAX_SAID + 1);
    assert_eq!(world.refused(one, say(None, &long)), Refusal::TooLong { len: MAX_SAID + 1, max: MAX_SAID });

    world.rooms.told(world.now, first, third, "hello".into());
    world.drain();
    assert!(matches!(world.told(three).as_slice(), [Notice::Said { from, text }] if from.member == first && text == "hello"));
    for (from, to, text) in [(third, first, "x"), (first, MemberId([0; 16]), "x"), (first, third, long.as_str())] {
        world.rooms.told(world.now, from, to, text.into());
        world.drain();
    }
    assert!(world.effects.is_empty(), "not without the right, to nobody, or too long");
    let (four, stranger) = world.join(joining("b", "four"));
    world.rooms.told(world.now, first, stranger, "x".into());
    world.drain();
    assert!(world.told(four).is_empty(), "not into another room");
}

#[test]
fn seats_say_who_may_speak_and_hear() {
    let mut world = mesh();
    let (_, all) = world.join(vamp("mesh", "one"));
    let (_, deaf) = world.join(Joining { grant: rights(&[Right::Publish]), ..vamp("mesh", "two") });
    let (_, mute) = world.join(Joining { grant: rights(&[Right::Subscribe]), ..vamp("mesh", "three") });
    let seat = |member| world.rooms.seat_of(member).map(|seat| (seat.topology, seat.speaks, seat.hears));
    assert_eq!(seat(all), Some((Topology::Mesh, true, true)));
    assert_eq!(seat(deaf), Some((Topology::Mesh, true, false)));
    assert_eq!(seat(mute), Some((Topology::Mesh, false, true)));
    assert_eq!(seat(MemberId([0; 16])), None);
}

#[test]
fn only_the_owner_of_a_connection_sends_on_its_channel() {
    let mut world = mesh();
    let [(a, _), (b, _)] = ["a", "b"].map(|name| world.join(vamp("mesh", name)));
    let peer = world.meet(a, Meeting { framing: Framing::Own, ..meeting(None) });
    let transmit = |peer| Command::Transmit { peer, message: crate::vocab::DataMessage::text("hello") };
    world.effects.clear();
    world.ask(a, transmit(peer));
    assert!(world.effects.iter().any(|effect| matches!(effect, Effect::Transmit { peer: to, .. } if *to == peer)));
    assert_eq!(world.refused(b, transmit(peer)), Refusal::UnknownPeer);
    assert_eq!(world.refused(a, transmit(PeerId::next())), Refusal::UnknownPeer);
}
