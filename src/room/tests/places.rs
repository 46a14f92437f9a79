//! Join, lose, resume, leave, tell.

use std::time::SystemTime;

use serde_json::value::RawValue;

use super::*;

fn json(text: &str) -> Body {
    Body::Json(RawValue::from_string(text.into()).unwrap())
}

fn join(joining: Joining) -> Command {
    Command::Join(Box::new(joining))
}

#[test]
fn the_welcome_comes_before_the_others_hear_of_it() {
    let mut world = World::new();
    let (_, first) = world.join(joining("a", "one"));
    let session = world.session();
    world.ask(session, join(joining("a", "two")));
    assert_eq!(outline(&world.effects), ["Welcome", "MemberJoined", "report MemberJoined"]);
    let welcome = world.welcome(session);
    assert_eq!((welcome.size, welcome.others.len(), welcome.others[0].member), (2, 1, first));
}

#[test]
fn a_room_opens_with_its_first_member_and_closes_with_its_last() {
    let mut world = World::new();
    let session = world.session();
    world.ask(session, join(joining("a", "one")));
    assert_eq!(outline(&world.effects), ["report RoomOpened", "Welcome", "report MemberJoined"]);
    world.effects.clear();
    world.ask(session, Command::Leave);
    assert_eq!(outline(&world.effects), ["end session: Left", "report MemberLeft", "report RoomClosed"]);
    assert!(world.rooms.rooms().is_empty());
}

#[test]
fn a_member_can_leave_its_room_and_keep_its_session() {
    let mut world = World::new();
    let (first, _) = world.join(joining("a", "one"));
    let (second, member) = world.join(joining("a", "two"));
    world.effects.clear();
    world.ask(second, Command::Depart);
    assert_eq!(outline(&world.effects), ["MemberLeft", "report MemberLeft", "Done"]);
    assert!(world.rooms.rooms().iter().all(|room| room.members.iter().all(|other| other.view.member != member)));
    world.effects.clear();
    world.ask(second, Command::Depart);
    assert_eq!(outline(&world.effects), ["Refused"], "it is in no room");
    world.effects.clear();
    world.ask(second, join(joining("b", "two")));
    assert_eq!(outline(&world.effects), ["report RoomOpened", "Welcome", "report MemberJoined"]);
    world.ask(first, Command::Depart);
    assert_eq!(world.rooms.rooms().len(), 1, "the room it was the last in is closed");
}

#[test]
fn only_who_can_resume_is_resumed() {
    let mut world = World::new();
    let mut vamp = joining("a", "one");
    vamp.dialect = DialectName::Vamp;
    let (session, member) = world.join(vamp);
    world.ask(session, Command::Lost);
    assert!(world.rooms.rooms()[0].members[0].lost, "its place is kept");
    let other = world.session();
    world.effects.clear();
    world.ask(other, Command::Resume { key: member });
    assert_eq!(outline(&world.effects), ["Refused"]);
}

#[test]
fn peers_of_webrtc_star_count_among_themselves() {
    let mut world = World::with(RoomsConfig { max_members: 2, ..RoomsConfig::default() }, Vec::new());
    let star = |name: &str| {
        let mut star = joining("a", name);
        (star.dialect, star.visible, star.dialect_limit) = (DialectName::Star, false, Some(3));
        star
    };
    let sessions: Vec<_> = (0..4).map(|_| world.session()).collect();
    for session in &sessions {
        world.ask(*session, join(star("peer")));
    }
    let welcomes = outline(&world.effects).iter().filter(|effect| **effect == "Welcome").count();
    assert_eq!(welcomes, 3, "more than a room may have, fewer than ask: {:?}", outline(&world.effects));
}

#[test]
fn a_listed_room_is_open_while_it_is_listed() {
    let mut world = World::with(RoomsConfig::default(), vec![listed("a")]);
    let (session, _) = world.join(joining("a", "one"));
    world.ask(session, Command::Leave);
    assert_eq!(world.rooms.rooms().len(), 1);
    world.rooms.configure(world.now, RoomsConfig::default(), vec![listed("b")]);
    world.drain();
    let names: Vec<_> = world.rooms.rooms().into_iter().map(|view| view.room).collect();
    assert_eq!(names, [room("b")]);
}

#[test]
fn full_room_rejects_next_join_which_can_then_join_elsewhere() {
    let mut world = World::with(RoomsConfig { max_members: 2, ..RoomsConfig::default() }, Vec::new());
    world.join(joining("a", "one"));
    // an unseen member takes a place too
    world.join(Joining { visible: false, dialect: DialectName::Whep, ..joining("a", "") });
    let session = world.session();
    assert_eq!(world.refused(session, join(joining("a", "three"))), Refusal::RoomFull { room: room("a"), limit: 2 });
    world.ask(session, join(joining("b", "three")));
    assert_eq!(world.welcome(session).size, 1);
}

#[test]
fn a_dialects_limit_counts_visible_members_of_its_own() {
    let mut world = World::new();
    world.join(Joining { dialect: DialectName::Page, ..joining("a", "page") });
    world.join(Joining { visible: false, ..joining("a", "unseen") });
    world.present("cam", "a");
    let eight = |user: &str| Joining { dialect_limit: Some(1), ..joining("a", user) };
    world.join(eight("one"));
    let session = world.session();
    assert_eq!(world.refused(session, join(eight("two"))), Refusal::RoomFull { room: room("a"), limit: 1 });
    world.join(Joining { dialect: DialectName::Page, ..joining("a", "page") });
}

#[test]
fn a_rooms_own_limit_goes_before_the_general_one() {
    let own = RoomConfig { max_members: Some(1), ..listed("a") };
    let mut world = World::with(RoomsConfig::default(), vec![own]);
    world.join(joining("a", "one"));
    let session = world.session();
    assert_eq!(world.refused(session, join(joining("a", "two"))), Refusal::RoomFull { room: room("a"), limit: 1 });
}

#[test]
fn only_so_many_rooms_are_open_the_listed_included() {
    let mut world = World::with(RoomsConfig { max_rooms: 2, ..RoomsConfig::default() }, vec![listed("hall")]);
    world.join(joining("a", "one"));
    let session = world.session();
    assert_eq!(world.refused(session, join(joining("b", "two"))), Refusal::TooManyRooms { limit: 2 });
    world.ask(session, join(joining("hall", "two")));
    assert_eq!(world.welcome(session).size, 1);
}

#[test]
fn without_ad_hoc_rooms_only_listed_ones_are_known() {
    let mut world = World::with(RoomsConfig { ad_hoc: false, ..RoomsConfig::default() }, vec![listed("hall")]);
    let session = world.session();
    assert_eq!(world.refused(session, join(joining("a", "one"))), Refusal::UnknownRoom(room("a")));
    world.present("cam", "yard"); // config put a source there, so the room is wanted
    world.ask(session, join(joining("yard", "one")));
    assert_eq!(world.welcome(session).size, 2);
}

#[test]
fn after_a_reload_members_stay_and_the_next_join_meets_the_new_limits() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    world.rooms.configure(world.now, RoomsConfig { ad_hoc: false, ..RoomsConfig::default() }, Vec::new());
    world.drain();
    assert!(world.told(one).is_empty());
    assert_eq!(world.rooms.count().members[&DialectName::Tribe], 1);
    let two = world.session();
    assert_eq!(world.refused(two, join(joining("a", "two"))), Refusal::UnknownRoom(room("a")));
}

#[test]
fn joining_needs_the_right_that_the_dialect_uses() {
    let mut world = World::new();
    let mut refused = |dialect, grant: Grant| {
        let session = world.session();
        world.effects.clear();
        world.ask(session, join(Joining { dialect, grant, ..joining("a", "u") }));
        match world.told(session).remove(0) {
            Notice::Refused { why: Refusal::Forbidden { right, .. }, .. } => Some(right),
            _ => None,
        }
    };
    assert_eq!(refused(DialectName::Whip, rights(&[Right::Subscribe])), Some(Right::Publish));
    assert_eq!(refused(DialectName::Whep, rights(&[Right::Publish])), Some(Right::Subscribe));
    assert_eq!(refused(DialectName::Page, rights(&[Right::Control])), Some(Right::Subscribe));
    assert_eq!(refused(DialectName::Tribe, rights(&[Right::Publish])), None);
    assert_eq!(refused(DialectName::Page, rights(&[Right::Subscribe])), None);
    let elsewhere = Grant { rooms: RoomPattern("b*".into()), ..Grant::all("x") };
    assert_eq!(refused(DialectName::Page, elsewhere), Some(Right::Subscribe));
}

#[test]
fn without_a_place_only_join_and_resume_are_understood() {
    let mut world = World::new();
    let session = world.session();
    let stop = Command::Stop { peer: PeerId(1) };
    assert_eq!(world.refused(session, stop), Refusal::NotJoined);
    let key = MemberId::random();
    assert_eq!(world.refused(session, Command::Resume { key }), Refusal::UnknownPlace);
}

#[test]
fn a_member_cannot_join_twice() {
    let mut world = World::new();
    let (session, key) = world.join(joining("a", "one"));
    assert_eq!(world.refused(session, join(joining("b", "one"))), Refusal::AlreadyJoined(room("a")));
    assert_eq!(world.refused(session, Command::Resume { key }), Refusal::AlreadyJoined(room("a")));
}

#[test]
fn a_session_that_was_never_opened_or_has_left_is_not_heard() {
    let mut world = World::new();
    world.ask(SessionId::next(), join(joining("a", "one")));
    assert!(world.effects.is_empty());
    let (session, _) = world.join(joining("a", "one"));
    world.ask(session, Command::Leave);
    world.effects.clear();
    world.ask(session, Command::Lost);
    world.ask(session, join(joining("a", "one")));
    assert!(world.effects.is_empty());
}

#[test]
fn the_unseen_neither_hear_nor_are_heard_of() {
    let mut world = World::new();
    let (seen, _) = world.join(joining("a", "one"));
    let (unseen, hidden) = world.join(Joining { visible: false, dialect: DialectName::Whep, ..joining("a", "") });
    assert!(world.told(seen).is_empty());
    let (third, member) = world.join(joining("a", "two"));
    world.publish_up(third, "main");
    assert!(world.told(unseen).is_empty());
    assert_eq!(world.refused(third, Command::Tell { to: hidden, body: json("1") }), Refusal::UnknownMember);
    assert_eq!(world.refused(unseen, Command::Tell { to: member, body: json("1") }), Refusal::UnknownMember);
    world.ask(third, Command::Leave);
    assert!(world.told(unseen).is_empty());
}

#[test]
fn who_may_only_publish_is_not_shown_the_others() {
    let mut world = World::new();
    world.join(joining("a", "one"));
    let session = world.session();
    world.ask(session, join(Joining { grant: rights(&[Right::Publish]), ..joining("a", "two") }));
    let welcome = world.welcome(session);
    assert_eq!((welcome.size, welcome.others.len()), (2, 0));
    world.join(joining("a", "three"));
    assert!(world.told(session).is_empty());
}

#[test]
fn leaving_is_told_with_the_remaining_count() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (two, leaver) = world.join(joining("a", "two"));
    world.ask(two, Command::Leave);
    match world.told(one).as_slice() {
        [Notice::MemberLeft { member, user_id, size: 1, reason: EndReason::Left }] => {
            assert_eq!((*member, user_id.as_str()), (leaver, "two"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lost_member_keeps_its_place_for_the_grace() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    world.effects.clear();
    world.ask(two, Command::Lost);
    assert_eq!(outline(&world.effects), ["end session: Lost", "report MemberLost"]);
    assert!(world.rooms.rooms()[0].members[1].lost);
    assert_eq!(world.rooms.next_timeout(), Some(world.now + Duration::from_secs(30)));
    world.pass(Duration::from_millis(29_999));
    assert!(world.told(one).is_empty());
    world.pass(Duration::from_millis(1));
    assert!(matches!(world.told(one).as_slice(), [Notice::MemberLeft { size: 1, reason: EndReason::Lost, .. }]));
    assert_eq!(world.rooms.next_timeout(), None);
}

#[test]
fn http_members_are_not_kept_when_they_are_lost() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (whip, _) = world.join(Joining { dialect: DialectName::Whip, ..joining("a", "two") });
    world.effects.clear();
    world.ask(whip, Command::Lost);
    assert!(matches!(world.told(one).as_slice(), [Notice::MemberLeft { reason: EndReason::Lost, .. }]));
}

#[test]
fn no_grace_means_left_at_once() {
    let mut world = World::with(RoomsConfig { rejoin_grace: Duration::ZERO, ..RoomsConfig::default() }, Vec::new());
    let (session, _) = world.join(joining("a", "one"));
    world.ask(session, Command::Lost);
    assert_eq!(world.rooms.count(), Counts::default());
}

#[test]
fn who_resumes_is_told_what_it_missed_in_order() {
    let mut world = World::new();
    let (one, first) = world.join(joining("a", "one"));
    let (two, key) = world.join(joining("a", "two"));
    world.ask(two, Command::Lost);
    world.effects.clear();
    world.ask(one, Command::Tell { to: key, body: json("{\"x\": 1.0}") });
    assert!(matches!(world.told(one).as_slice(), [Notice::Done { .. }]));
    world.join(joining("a", "three"));
    let back = world.session();
    let asked = world.ask(back, Command::Resume { key });
    let told = world.told(back);
    match told.as_slice() {
        [Notice::Resumed(resumed), Notice::Told { from, body: Body::Json(body) }, Notice::MemberJoined { size: 3, .. }] => {
            assert_eq!((resumed.req, resumed.member, resumed.user_id.as_str()), (asked, key, "two"));
            assert_eq!((resumed.size, resumed.others.len()), (3, 2));
            assert_eq!((from.member, body.get()), (first, "{\"x\": 1.0}"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.rooms.next_timeout(), None);
}

#[test]
fn a_place_whose_grace_is_over_cannot_be_resumed_even_before_the_timer_ran() {
    let mut world = World::new();
    let (session, key) = world.join(joining("a", "one"));
    world.ask(session, Command::Lost);
    let back = world.session();
    world.now += Duration::from_secs(30);
    world.effects.clear();
    world.ask(back, Command::Resume { key });
    assert!(matches!(world.told(back).as_slice(), [Notice::Refused { why: Refusal::UnknownPlace, .. }]));
}

#[test]
fn resuming_a_place_that_is_still_taken_ends_the_old_session() {
    let mut world = World::new();
    let (old, key) = world.join(joining("a", "one"));
    let new = world.session();
    world.effects.clear();
    world.ask(new, Command::Resume { key });
    assert_eq!(outline(&world.effects), ["Ended", "end session: Replaced", "Resumed", "report MemberResumed"]);
    world.effects.clear();
    world.ask(old, Command::Leave);
    assert!(world.effects.is_empty());
    assert_eq!(world.rooms.count().members[&DialectName::Tribe], 1);
}

#[test]
fn a_source_or_an_http_member_cannot_be_taken_over() {
    let mut world = World::new();
    world.present("cam", "a");
    let (_, whip) = world.join(Joining { dialect: DialectName::Whip, ..joining("a", "") });
    let camera = world.rooms.rooms()[0].members[0].view.member;
    let session = world.session();
    assert_eq!(world.refused(session, Command::Resume { key: camera }), Refusal::UnknownPlace);
    assert_eq!(world.refused(session, Command::Resume { key: whip }), Refusal::UnknownPlace);
}

#[test]
fn joining_again_replaces_the_users_lost_place() {
    let mut world = World::with(RoomsConfig { max_members: 2, ..RoomsConfig::default() }, Vec::new());
    let (one, _) = world.join(joining("a", "one"));
    let (two, lost) = world.join(joining("a", "two"));
    world.ask(two, Command::Lost);
    let back = world.session();
    world.effects.clear();
    world.ask(back, join(Joining { replaces_lost: true, ..joining("a", "two") }));
    assert_eq!(outline(&world.effects), ["MemberLeft", "report MemberLeft", "Welcome", "MemberJoined", "report MemberJoined"]);
    match world.told(one).as_slice() {
        [Notice::MemberLeft { member, size: 1, reason: EndReason::Replaced, .. }, Notice::MemberJoined { size: 2, .. }] => {
            assert_eq!(*member, lost);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn replacing_the_last_member_does_not_close_the_room() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    world.ask(one, Command::Lost);
    let back = world.session();
    world.effects.clear();
    world.ask(back, join(Joining { replaces_lost: true, ..joining("a", "one") }));
    assert_eq!(outline(&world.effects), ["report MemberLeft", "Welcome", "report MemberJoined"]);
}

#[test]
fn a_refused_join_replaces_nobody_and_strangers_replace_nobody() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", ""));
    world.ask(one, Command::Lost);
    let (two, _) = world.join(Joining { replaces_lost: true, ..joining("a", "") });
    world.ask(two, Command::Lost);
    let (three, _) = world.join(joining("a", "u"));
    world.ask(three, Command::Lost);
    let session = world.session();
    let none = Joining { replaces_lost: true, grant: rights(&[]), ..joining("a", "u") };
    assert!(matches!(world.refused(session, join(none)), Refusal::Forbidden { .. }));
    assert_eq!(world.rooms.rooms()[0].members.len(), 3);
}

#[test]
fn messages_reach_one_visible_member_of_the_room() {
    let mut world = World::new();
    let (one, first) = world.join(joining("a", "one"));
    let (two, second) = world.join(joining("a", "two"));
    let (_, stranger) = world.join(joining("b", "three"));
    world.ask(one, Command::Tell { to: second, body: json("[1]") });
    assert!(matches!(world.told(two).as_slice(), [Notice::Told { from, .. }] if from.member == first));
    for nobody in [stranger, first, MemberId::random()] {
        assert_eq!(world.refused(one, Command::Tell { to: nobody, body: json("1") }), Refusal::UnknownMember);
    }
}

#[test]
fn a_viewer_may_answer_a_direct_connection_but_not_talk() {
    let mut world = World::new();
    let (_, other) = world.join(joining("a", "one"));
    let (viewer, _) = world.join(Joining { grant: rights(&[Right::Subscribe]), ..joining("a", "two") });
    let talk = Command::Tell { to: other, body: json("1") };
    assert!(matches!(world.refused(viewer, talk), Refusal::Forbidden { right: Right::Publish, .. }));
    world.effects.clear();
    world.ask(
        viewer,
        Command::Tell { to: other, body: Body::Signal(Box::new(Signal::description(&Sdp::answer("a"), Framing::Free))) },
    );
    assert!(matches!(world.told(viewer).as_slice(), [Notice::Done { .. }]));
}

#[test]
fn shown_facts_are_told_and_kept() {
    let mut world = World::new();
    let (one, _) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    let facts = Facts { orientation: Some(180), ..Facts::default() };
    world.effects.clear();
    world.ask(one, Command::Show { facts });
    assert!(matches!(world.told(two).as_slice(), [Notice::MemberChanged { member }] if member.facts.orientation == Some(180)));
    let late = world.session();
    world.ask(late, join(joining("a", "three")));
    assert_eq!(world.welcome(late).others[0].facts.orientation, Some(180));
}

#[test]
fn an_operator_ends_a_place_but_not_a_source() {
    let mut world = World::new();
    let (session, member) = world.join(joining("a", "one"));
    world.present("cam", "a");
    let camera = world.rooms.rooms()[0].members[1].view.member;
    assert!(!world.rooms.evict(world.now, &room("b"), member));
    assert!(!world.rooms.evict(world.now, &room("a"), camera));
    world.effects.clear();
    assert!(world.rooms.evict(world.now, &room("a"), member));
    world.drain();
    assert_eq!(outline(&world.effects)[..2], ["Ended", "end session: Evicted"]);
    assert!(matches!(world.told(session).as_slice(), [Notice::Ended { reason: EndReason::Evicted }]));
    assert!(!world.rooms.evict(world.now, &room("a"), member));
}

#[test]
fn a_place_ends_with_its_grant_once_the_time_of_day_is_known() {
    let mut world = World::new();
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let grant = Grant { expires: Some(wall + Duration::from_secs(60)), ..Grant::all("x") };
    let (session, _) = world.join(Joining { grant, ..joining("a", "one") });
    assert_eq!(world.rooms.next_timeout(), None);
    world.rooms.set_wall_clock(world.now, wall);
    world.pass(Duration::from_secs(59));
    assert!(world.told(session).is_empty());
    // the wall clock was set back by ten seconds
    world.rooms.set_wall_clock(world.now, wall + Duration::from_secs(49));
    world.pass(Duration::from_secs(10));
    assert!(world.told(session).is_empty());
    world.pass(Duration::from_secs(1));
    assert!(matches!(world.told(session).as_slice(), [Notice::Ended { reason: EndReason::Expired }]));
}

#[test]
fn stopping_ends_every_session_once_and_leaves_nothing() {
    let mut world = World::with(RoomsConfig::default(), vec![listed("hall")]);
    world.present("cam", "hall");
    let (one, _) = world.join(joining("a", "one"));
    let (two, _) = world.join(joining("a", "two"));
    let (three, _) = world.join(joining("a", "three"));
    world.ask(three, Command::Lost);
    world.publish_up(one, "main");
    world.play(two, StreamChoice::Default);
    let idle = world.session();
    world.effects.clear();
    world.rooms.stop(world.now);
    world.drain();
    let outline = outline(&world.effects);
    assert_eq!(outline.iter().filter(|what| *what == "Ended").count(), 3);
    assert_eq!(outline.iter().filter(|what| *what == "end session: Stopping").count(), 3);
    assert_eq!(outline.iter().filter(|what| what.starts_with("close peer")).count(), 2);
    assert_eq!(outline.iter().filter(|what| *what == "report RoomClosed").count(), 2);
    assert!(matches!(world.told(idle).as_slice(), [Notice::Ended { reason: EndReason::Stopping }]));
    assert_eq!((world.rooms.count(), world.rooms.next_timeout()), (Counts::default(), None));
    // a late comer is sent away
    let late = world.session();
    assert!(matches!(world.told(late).as_slice(), [Notice::Ended { reason: EndReason::Stopping }]));
}

#[test]
fn peerjs_clients_of_a_mesh_room_hear_of_others_but_not_of_each_other() {
    for (topology, hears) in [(Topology::Mesh, false), (Topology::Sfu, true)] {
        let mut world = World::new();
        let peerjs = |id: &str| Joining { dialect: DialectName::Peerjs, opens: topology, ..joining("a", id) };
        let (first, _) = world.join(peerjs("one"));
        let second = world.session();
        world.ask(second, join(peerjs("two")));
        let told: Vec<_> =
            world.effects.iter().filter(|effect| matches!(effect, Effect::Notify(to, _) if *to == first)).collect();
        assert_eq!(!told.is_empty(), hears, "{topology:?}: {told:?}");
        assert_eq!(world.welcome(second).others.len(), usize::from(hears), "{topology:?}");
        world.effects.clear();
        let other = world.session();
        world.ask(other, join(Joining { dialect: DialectName::Vamp, ..joining("a", "three") }));
        assert!(world.told(first).iter().any(|notice| matches!(notice, Notice::MemberJoined { .. })), "{topology:?}");
        let session = world.session();
        world.ask(session, join(peerjs("four")));
        let others = world.welcome(session).others;
        assert_eq!(others.iter().filter(|view| view.dialect == DialectName::Vamp).count(), 1, "{topology:?}");
    }
}
