//! Mixed rooms: who is shown what, and what is mixed.

use super::*;

fn mixed(name: &str) -> RoomConfig {
    RoomConfig { topology: Topology::Mcu, ..listed(name) }
}

fn world() -> World {
    World::with(RoomsConfig::default(), vec![mixed("hall")])
}

/// What was last told to be mixed: labels and names of streams.
fn mixed_last(effects: &[Effect]) -> Option<Vec<(String, String)>> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Mix { mix, parts } => {
            assert_eq!(mix.as_str(), "mix:hall");
            Some(parts.iter().map(|part| (part.label.clone(), part.stream.as_str().to_owned())).collect())
        }
        _ => None,
    })
}

#[test]
fn the_mix_is_one_more_member_and_the_only_one_with_a_stream() {
    let mut world = world();
    let (one, publisher) = world.join(joining("hall", "one"));
    world.publish_up(one, "main");
    let two = world.session();
    world.ask(two, Command::Join(Box::new(joining("hall", "two"))));
    let welcome = world.welcome(two);
    let seen: Vec<_> = welcome.others.iter().map(|other| (other.user_id.as_str(), other.streams.len())).collect();
    assert_eq!((seen.as_slice(), welcome.topology, welcome.size), (&[("mix", 1), ("one", 0)][..], Topology::Mcu, 3));
    let mix = welcome.others[0].member;
    for of in [StreamChoice::Default, StreamChoice::Room, StreamChoice::Named(stream("mix")), StreamChoice::Of(mix, None)] {
        assert_eq!(world.chosen(two, of), Some((mix, "mix".into())));
    }
    for of in [StreamChoice::Named(stream("main")), StreamChoice::Of(publisher, None)] {
        assert_eq!(world.chosen(two, of), None, "others are seen in the mix alone");
    }
    // operators see everything
    assert_eq!(world.rooms.rooms()[0].members.iter().map(|m| m.view.streams.len()).sum::<usize>(), 2);
}

#[test]
fn everything_that_is_up_is_mixed_with_its_owners_name() {
    let mut world = world();
    world.present("door", "hall");
    assert_eq!(mixed_last(&world.effects), Some(vec![("door".into(), "door".into())]));
    let (one, _) = world.join(joining("hall", "one"));
    let peer = world.publish_up(one, "main");
    let both = |name: &str| Some(vec![("door".into(), "door".into()), (name.into(), "main".into())]);
    assert_eq!(mixed_last(&world.effects), both("one"));
    let facts = Facts { name: Some("Ann".into()), ..Facts::default() };
    world.ask(one, Command::Show { facts });
    assert_eq!(mixed_last(&world.effects), both("Ann"));
    world.ask(one, Command::Stop { peer });
    assert_eq!(mixed_last(&world.effects), Some(vec![("door".into(), "door".into())]));
}

#[test]
fn the_mix_takes_nobodys_place_and_cannot_be_thrown_out() {
    let mut world = World::with(RoomsConfig::default(), vec![RoomConfig { max_members: Some(1), ..mixed("hall") }]);
    let (one, _) = world.join(joining("hall", "one"));
    let mix = world.rooms.rooms()[0].members[0].view.member;
    assert!(!world.rooms.evict(world.now, &room("hall"), mix));
    world.ask(one, Command::Leave);
    assert_eq!(world.rooms.count().members[&DialectName::Mix], 1, "it stays with the room");
}

#[test]
fn a_room_that_becomes_mixed_cuts_its_players_off_and_back_again_shows_all() {
    let mut world = World::with(RoomsConfig::default(), vec![listed("hall")]);
    let (one, publisher) = world.join(joining("hall", "one"));
    world.publish_up(one, "main");
    let (two, _) = world.join(joining("hall", "two"));
    let peer = world.play(two, StreamChoice::Of(publisher, None));
    world.update(PeerUpdate::Described { peer, sdp: Sdp::answer("a") });
    world.effects.clear();
    let configure = |world: &mut World, room: RoomConfig| {
        world.rooms.configure(world.now, RoomsConfig::default(), vec![room]);
        world.drain();
        world.told(two)
    };
    let told = configure(&mut world, mixed("hall"));
    assert!(
        matches!(
            told.as_slice(),
            [Notice::PeerDown { .. }, Notice::StreamDown { .. }, Notice::MemberJoined { .. }, Notice::StreamUp { .. }]
        ),
        "{told:?}"
    );
    let told = configure(&mut world, listed("hall"));
    assert!(
        matches!(
            told.as_slice(),
            [Notice::StreamUp { member, .. }, Notice::StreamDown { .. }, Notice::MemberLeft { .. }] if *member == publisher
        ),
        "{told:?}"
    );
}

/// The table of the tribe document's page: clockwise, by camera.
#[test]
fn who_sends_pictures_as_the_camera_sees_them_is_turned_by_what_it_tells() {
    let facts = |orientation: i64, camera: &str, unturned| Facts {
        orientation: Some(orientation),
        camera: Some(camera.into()),
        unturned,
        ..Facts::default()
    };
    let degrees = |camera| [90, 0, 180, 270].map(|held| u32::from(facts(held, camera, Some(true)).quarter_turns()) * 90);
    assert_eq!(degrees("back"), [0, 270, 90, 180]);
    assert_eq!(degrees("front"), [0, 90, 270, 180]);
    assert_eq!(facts(0, "back", None).quarter_turns(), 0, "who turns them itself");
    assert_eq!(facts(45, "back", Some(true)).quarter_turns(), 0, "an angle that is none");
    assert_eq!(Facts { unturned: Some(true), ..Facts::default() }.quarter_turns(), 0, "who tells nothing");

    let mut world = world();
    let mut joining = joining("hall", "one");
    joining.facts = facts(90, "back", Some(true));
    let (one, _) = world.join(joining);
    world.publish_up(one, "main");
    let turns = |world: &World| {
        let last = world.effects.iter().rev().find_map(|effect| match effect {
            Effect::Mix { parts, .. } => Some(parts.iter().map(|part| part.turns).collect::<Vec<_>>()),
            _ => None,
        });
        last.unwrap()
    };
    assert_eq!(turns(&world), [0]);
    // it is held otherwise, and then says that of its other camera
    let change = |orientation, camera: Option<&str>| Facts { orientation, camera: camera.map(Into::into), ..Facts::default() };
    world.ask(one, Command::Show { facts: change(Some(0), None) });
    assert_eq!(turns(&world), [3]);
    world.ask(one, Command::Show { facts: change(None, Some("front")) });
    assert_eq!(turns(&world), [1]);
}
