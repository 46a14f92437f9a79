//! What is no message, no key, too much, or anything at all.

use proptest::prelude::*;

use super::super::*;
use super::world::*;

// checklist 14
#[test]
fn what_is_no_message_closes_only_its_sender() {
    let mut world = World::new();
    let good = world.member("doc1", 1, &[]);
    for bad in [&[][..], &[0x08], &[0x12, 0x05, 0x08], &[0xff; 20], &[0x52, 0x01, 0x00]] {
        let client = world.member("doc1", 2, &[1]);
        world.send_bytes(client, bad);
        assert_eq!(closed(&world.heard(client)), Some(4743), "{bad:?}");
        world.send(client, connect(2, &[1]));
        assert_eq!(world.heard(client), [], "what comes after the close does not count");
    }
    let client = world.open("doc1");
    world.send_frame(client, Frame::Text("hello my friend"));
    assert_eq!(world.heard(client), [Heard::Closed(4743, "Wrong data type")]);
    let client = world.open("doc1");
    world.send(client, connect(2, &vec![7; wire::MAX_MEMBERS + 1]));
    assert_eq!(closed(&world.heard(client)), Some(4743));
    world.send(good, connect(1, &[]));
    assert_eq!(world.heard(good), [TRUE]);
    assert_eq!(world.states("doc1").len(), 1);
}

// checklist 15
#[test]
fn keys_of_no_or_too_many_characters_are_closed() {
    let mut world = World::new();
    for (key, code) in [(String::new(), Some(4741)), ("k".repeat(513), Some(4741)), ("k".repeat(512), None)] {
        let client = world.open(&key);
        let heard = world.heard(client);
        assert_eq!(closed(&heard), code, "{}", key.len());
        assert!(heard.iter().all(|it| matches!(it, Heard::Closed(_, reason) if reason.starts_with("4741: "))));
    }
    world.member(&"k".repeat(512), 1, &[]);
}

#[test]
fn what_is_said_while_the_room_is_asked_waits_and_is_bounded() {
    let now = Instant::now();
    let mut dialect = Sigver::new(now, deps("doc1"));
    let send = |dialect: &mut Sigver, kind| dialect.handle_frame(now, Frame::Binary(&wire::encode(kind))).unwrap();
    send(&mut dialect, content(1, b"before it asked: to nobody"));
    send(&mut dialect, connect(1, &[]));
    assert!(matches!(dialect.poll_output(), Some(Output::Command(_, Command::Join(_)))));
    send(&mut dialect, content(1, b"early"));
    assert!(dialect.poll_output().is_none());
    for _ in 0..10 {
        send(&mut dialect, content(1, &[0; 10_000]));
    }
    assert!(matches!(dialect.poll_output(), Some(Output::Close { code: 1008, .. })));
    assert!(dialect.poll_output().is_none());
}

proptest! {
    // any bytes in: an answer or a close, and the others go on
    #[test]
    fn any_frames_are_answered_or_closed(
        frames in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            (0..5_u32, prop::collection::vec(0..5_u32, 0..3)).prop_map(|(id, seen)| wire::encode(connect(id, &seen)).to_vec()),
            (any::<u32>(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(to, data)| wire::encode(content(to, &data)).to_vec()),
        ], 0..40),
    ) {
        let mut world = World::new();
        let good = world.member("doc1", 1000, &[]);
        let mut bad = world.open("doc1");
        for frame in frames {
            world.send_bytes(bad, &frame);
            if closed(&world.heard(bad)).is_some() {
                bad = world.open("doc1");
            }
            world.heard(good);
        }
        if world.clients[good].closed.is_none() {
            world.send(good, connect(1000, &[]));
            let heard = world.heard(good);
            prop_assert!(heard.contains(&TRUE) || heard.contains(&FALSE), "{:?}", heard);
        }
    }
}
