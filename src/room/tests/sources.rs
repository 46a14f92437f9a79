//! Sources as members.

use super::*;

fn camera(rooms: &[&str], kinds: &[MediaKind]) -> SourceUpdate {
    let rooms = rooms.iter().map(|name| room(name)).collect();
    SourceUpdate::Present { source: SourceName::new("cam").unwrap(), rooms, kinds: kinds.to_vec() }
}

fn absent() -> SourceUpdate {
    SourceUpdate::Absent { source: SourceName::new("cam").unwrap() }
}

#[test]
fn a_source_is_a_visible_member_with_one_stream_of_its_name() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    world.source(camera(&["a"], &[MediaKind::Video, MediaKind::Audio]));
    match world.told(one).as_slice() {
        [Notice::MemberJoined { member, size: 2 }, Notice::StreamUp { member: owner, stream }] => {
            assert_eq!((member.dialect, member.user_id.as_str(), member.streams.len()), (DialectName::Source, "cam", 0));
            assert_eq!((*owner, stream.name.as_str(), stream.kinds.len()), (member.member, "cam", 2));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_absent_source_stays_a_member_and_its_players_are_told() {
    let mut world = World::new();
    world.source(camera(&["a"], &[MediaKind::Video]));
    let (one, _) = world.join(joining("a", "one"));
    let peer = world.play(one, StreamChoice::Default);
    world.update(PeerUpdate::Described { peer, sdp: Sdp::answer("a") });
    world.effects.clear();
    world.source(absent());
    assert_eq!(
        outline(&world.effects),
        ["close peer: StreamEnded", "PeerDown", "report PeerDown", "StreamDown", "report StreamDown"]
    );
    assert_eq!(world.rooms.rooms()[0].members.len(), 2);
    world.effects.clear();
    world.source(camera(&["a"], &[MediaKind::Video]));
    assert!(matches!(world.told(one).as_slice(), [Notice::StreamUp { .. }]));
    world.source(camera(&["a"], &[MediaKind::Video]));
    assert!(world.told(one).is_empty(), "nothing changed");
}

#[test]
fn what_a_stream_shows_is_told_to_who_is_not_in_the_room_while_it_is_up() {
    let mut world = World::new();
    world.source(camera(&["a"], &[MediaKind::Video]));
    let (one, member) = world.join(joining("a", "one"));
    world.publish_up(one, "main");
    let shown = |world: &World, place: &str, of: Option<MemberId>, name: &str| {
        world.rooms.shown(&room(place), of, &stream(name)).map(|feed| match feed {
            Feed::Source(source) => source.to_string(),
            Feed::Published(tracks) => format!("{} tracks", tracks.len()),
        })
    };
    assert_eq!(shown(&world, "a", None, "cam"), Ok("cam".into()));
    assert_eq!(shown(&world, "a", Some(member), "main"), Ok("1 tracks".into()));
    assert_eq!(shown(&world, "a", None, "main"), Ok("1 tracks".into()));
    assert_eq!(shown(&world, "a", Some(member), "cam"), Err(Refusal::UnknownStream), "it is another's");
    assert_eq!(shown(&world, "b", None, "cam"), Err(Refusal::UnknownRoom(room("b"))));
    world.source(absent());
    assert_eq!(shown(&world, "a", None, "cam"), Err(Refusal::UnknownStream));
}

#[test]
fn a_room_with_a_source_outlives_its_other_members() {
    let mut world = World::new();
    world.source(camera(&["a"], &[MediaKind::Video]));
    let (one, _) = world.join(joining("a", "one"));
    world.ask(one, Command::Leave);
    world.source(absent());
    assert_eq!(world.rooms.rooms().len(), 1);
    world.source(SourceUpdate::Removed { source: SourceName::new("cam").unwrap() });
    assert_eq!(world.rooms.count(), Counts::default());
}

#[test]
fn a_source_moves_with_the_configuration() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    world.source(camera(&["a", "b"], &[MediaKind::Video]));
    world.effects.clear();
    world.source(camera(&["b", "c"], &[MediaKind::Video]));
    assert!(matches!(world.told(one).as_slice(), [Notice::StreamDown { .. }, Notice::MemberLeft { size: 1, .. }]));
    assert_eq!(world.rooms.count().members[&DialectName::Source], 2);
}

#[test]
fn other_kinds_make_a_new_stream() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    world.source(camera(&["a"], &[MediaKind::Video]));
    world.effects.clear();
    world.source(camera(&["a"], &[MediaKind::Video, MediaKind::Audio]));
    assert!(matches!(world.told(one).as_slice(), [Notice::StreamDown { .. }, Notice::StreamUp { .. }]));
}

#[test]
fn a_source_in_a_mesh_room_can_be_played() {
    let mesh = RoomConfig { topology: Topology::Mesh, ..listed("mesh") };
    let mut world = World::with(RoomsConfig::default(), vec![mesh]);
    world.source(camera(&["mesh"], &[MediaKind::Video]));
    let (one, _) = world.join(joining("mesh", "one"));
    assert_eq!(world.chosen(one, StreamChoice::Default).unwrap().1, "cam");
}

#[test]
fn a_message_to_a_source_is_accepted_and_heard_by_nobody() {
    let mut world = World::new();
    world.source(camera(&["a"], &[MediaKind::Video]));
    let (one, _) = world.join(joining("a", "one"));
    let camera = world.rooms.rooms()[0].members[0].view.member;
    let body = Body::Signal(Box::new(Signal::description(&Sdp::offer("o"), Framing::Free)));
    world.effects.clear();
    world.ask(one, Command::Tell { to: camera, body });
    assert_eq!(outline(&world.effects), ["Done"]);
}
