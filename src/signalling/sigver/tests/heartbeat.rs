//! Who is alive, by simulated time.

use super::super::*;
use super::world::*;

// checklist 11, 12, 20 of the conversation
#[test]
fn a_silent_client_sees_two_heartbeats_and_is_closed_at_15_seconds() {
    let mut world = World::new();
    let client = world.open("doc1");
    world.pass(Duration::from_millis(4_999));
    assert_eq!(world.heard(client), []);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.heard(client), [BEAT]);
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.heard(client), [BEAT]);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.heard(client), [Heard::Closed(4742, "too many missed heartbeats")]);
}

// checklist 11, 13
#[test]
fn heartbeats_keep_a_client_and_are_not_answered() {
    let mut world = World::new();
    let client = world.open("doc1");
    for _ in 0..10 {
        world.pass(Duration::from_secs(4));
        world.heard(client);
        world.send(client, Kind::Heartbeat(false));
        assert_eq!(world.heard(client), []);
    }
    let mut beats = 0;
    for _ in 0..8 {
        world.pass(Duration::from_secs(5));
        world.send(client, Kind::Heartbeat(true));
        beats += world.heard(client).len();
    }
    assert_eq!(beats, 8, "one each 5 s, whatever the client sends");
}

// checklist 12: the decision that any valid message counts
#[test]
fn a_client_that_talks_is_kept_without_heartbeats() {
    let mut world = World::new();
    let client = world.member("doc1", 1, &[]);
    for _ in 0..5 {
        world.pass(Duration::from_secs(9));
        world.send(client, content(5, b"to nobody"));
    }
    assert_eq!(closed(&world.heard(client)), None);
}

#[test]
fn ticks_that_come_late_are_not_made_up_for() {
    let now = Instant::now();
    let mut dialect = Sigver::new(now, deps("doc1"));
    // the driver was busy writing for 17 s; the client's own heartbeats wait to be read
    let late = now + Duration::from_secs(17);
    dialect.handle_timeout(late);
    assert!(matches!(dialect.poll_output(), Some(Output::SendBinary(_))));
    assert!(dialect.poll_output().is_none());
    assert_eq!(dialect.next_timeout(), Some(late + HEARTBEAT));
}
