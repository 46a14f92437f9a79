//! A client's place in the room: its states, refusals, the end.

use super::super::*;
use super::world::*;
use crate::room::{EndReason, RoomsConfig};
use crate::vocab::{Right, RoomPattern};

#[test]
fn the_states_of_mute_are_seen_in_the_room() {
    let mut world = World::new();
    let a = world.open("doc1");
    assert!(world.view("doc1").is_none(), "who only opened a connection has LEFT");
    world.send(a, connect(1, &[]));
    assert_eq!(world.states("doc1"), [("1".into(), "joined", "checked")]);
    let b = world.open("doc1");
    world.send(b, connect(2, &[]));
    assert_eq!(world.states("doc1")[1], ("2".into(), "joining", "checked"));
    world.send(b, connect(2, &[1]));
    assert_eq!(world.states("doc1")[1], ("2".into(), "joined", "checked"));
    world.send(b, connect(2, &[77]));
    assert_eq!(world.states("doc1")[1], ("2".into(), "joining", "checked"));
    world.hang_up(b);
    world.hang_up(a);
    assert!(world.view("doc1").is_none());
}

#[test]
fn a_client_that_waits_for_its_answer_is_seen_as_checking() {
    let now = Instant::now();
    let mut dialect = Sigver::new(now, deps("doc1"));
    dialect.handle_frame(now, Frame::Binary(&wire::encode(connect(7, &[])))).unwrap();
    let Some(Output::Command(_, Command::Join(joining))) = dialect.poll_output() else { panic!("no join") };
    let state = joining.facts.state.unwrap();
    assert_eq!((state.group, state.signalling), (GroupState::Joining, SignallingState::Checking));
    assert_eq!((joining.user_id.as_str(), joining.room.as_str(), joining.opens), ("7", "doc1", Topology::Mesh));
}

// checklist 22
#[test]
fn after_a_restart_ten_clients_are_joined_within_ten_seconds() {
    let mut world = World::new();
    world.pass(Duration::from_secs(3)); // the clients' wait
    let ids: Vec<u32> = (1..=10).collect();
    for id in [7, 2, 9, 1, 10, 3, 8, 4, 6, 5] {
        let others: Vec<u32> = ids.iter().copied().filter(|other| *other != id).collect();
        let client = world.open("doc1");
        world.send(client, connect(id, &others));
        assert_eq!(world.heard(client), [TRUE], "no partner, so no new data channel");
    }
    let states = world.states("doc1");
    assert_eq!(states.len(), 10);
    assert!(states.iter().all(|(_, group, _)| *group == "joined"));
}

#[test]
fn a_client_that_may_not_join_is_closed() {
    let mut world = World::new();
    let nothing = world.open_with(Deps { grant: Grant::nothing(), ..deps("doc1") });
    assert_eq!(closed(&world.heard(nothing)), Some(1008));
    let over = world.open_with(Deps { grant: Grant { expires: Some(SystemTime::UNIX_EPOCH), ..Grant::all("") }, ..deps("doc1") });
    assert_eq!(closed(&world.heard(over)), Some(1008));
    let rights = Rights::NONE.with(Right::Publish);
    let elsewhere = Grant { rooms: RoomPattern("other".into()), rights, ..Grant::all("") };
    let client = world.open_with(Deps { grant: elsewhere, ..deps("doc1") });
    world.send(client, connect(1, &[]));
    assert_eq!(world.heard(client), [Heard::Closed(1008, "not allowed in this room")]);

    let mut world = World::with(RoomsConfig { max_members: 1, ..RoomsConfig::default() });
    let first = world.member("doc1", 1, &[]);
    let client = world.open("doc1");
    world.send(client, connect(2, &[1]));
    assert_eq!(world.heard(client), [Heard::Closed(1008, "the room is full")]);
    world.send(first, connect(1, &[2]));
    assert_eq!(world.heard(first), [TRUE]);
}

#[test]
fn the_room_is_told_of_a_state_once() {
    let mut world = World::new();
    let client = world.member("doc1", 1, &[]);
    let session = world.clients[client].session;
    let now = world.now;
    world.clients[client].dialect.handle_realm(now, RealmWord::Sigver(Word::Connected(true)));
    let dialect = &mut world.clients[client].dialect;
    assert!(matches!(dialect.poll_output(), Some(Output::SendBinary(_))));
    assert!(dialect.poll_output().is_none(), "nothing new for the room of {session}");
}

#[test]
fn the_end_of_the_place_is_said() {
    for (reason, code) in [(EndReason::Stopping, 1001), (EndReason::Evicted, 1008)] {
        let now = Instant::now();
        let mut dialect = Sigver::new(now, deps("doc1"));
        dialect.handle_notice(now, &Notice::Ended { reason });
        assert!(matches!(dialect.poll_output(), Some(Output::Close { code: said, .. }) if said == code));
        assert_eq!(dialect.next_timeout(), None);
    }
}
