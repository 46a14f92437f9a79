//! Who hears what.

use super::super::value::{Value, binarypack};
use super::*;

/// A, B and C with a connection each that stands for the room.
fn three(framing: [Framing; 3]) -> (World, [PeerId; 3]) {
    let mut world = World::new();
    [A, B, C].into_iter().for_each(|member| world.join(member, seat()));
    let mut framing = framing.into_iter();
    let peers = [A, B, C].map(|member| world.open(member, Stands::Room, framing.next().unwrap()));
    (world, peers)
}

#[test]
fn what_is_said_to_the_room_reaches_all_others_once() {
    let (mut world, [a, b, c]) = three([Framing::Plain; 3]);
    (0..5).for_each(|n| world.send(a, text(&format!("m{n}"))));
    let expected = ["m0", "m1", "m2", "m3", "m4"];
    assert_eq!(world.heard_texts(b), expected);
    assert_eq!(world.heard_texts(c), expected);
    assert!(world.heard(a).is_empty());
    assert_eq!(world.desk.figures().relayed, 10);
}

#[test]
fn what_is_said_on_a_connection_that_stands_for_a_member_reaches_it_alone() {
    let mut world = World::new();
    [A, B, C].into_iter().for_each(|member| world.join(member, seat()));
    let (ab, ac) = (world.open(A, Stands::Member(B), Framing::Plain), world.open(A, Stands::Member(C), Framing::Plain));
    let (ba, bc) = (world.open(B, Stands::Member(A), Framing::Plain), world.open(B, Stands::Member(C), Framing::Plain));
    let c = world.open(C, Stands::Room, Framing::Plain);
    world.send(ab, text("to b"));
    world.send(ac, text("to c"));
    assert_eq!(world.heard_texts(ba), ["to b"], "by the connection that stands for the sender");
    assert!(world.heard(bc).is_empty());
    assert_eq!(world.heard_texts(c), ["to c"], "by the room's where none stands for the sender");
    world.send(c, text("to all"));
    assert_eq!((world.heard_texts(ac), world.heard_texts(bc)), (vec!["to all".into()], vec!["to all".into()]));
    assert!(world.heard(ab).is_empty() && world.heard(ba).is_empty());
}

#[test]
fn members_without_channels_hear_and_speak_by_signalling() {
    let mut world = World::new();
    world.join(A, seat());
    world.join(B, Seat { hears_text: true, ..seat() });
    world.join(C, seat());
    let a = world.open(A, Stands::Room, Framing::OwnChannels);
    world.send(a, text("hello"));
    assert_eq!(world.told(), [(B, A, "hello".to_owned())]);
    assert_eq!(world.dropped, [DropReason::NoRoute], "C has no way to hear it");
    world.desk.say(world.now, B, None, "hi");
    world.desk.say(world.now, B, Some(A), "only you");
    world.desk.say(world.now, B, Some(B), "myself");
    world.join(MemberId([9; 16]), Seat { hears_text: true, ..seat() });
    world.desk.say(world.now, B, Some(MemberId([9; 16])), "by signalling");
    world.settle();
    assert_eq!(world.heard_texts(a), ["hi", "only you"]);
    assert_eq!(world.told(), [(MemberId([9; 16]), B, "by signalling".to_owned())]);
    world.desk.say(world.now, B, Some(A), "x".repeat(Desk::MAX_TEXT + 1));
    world.settle();
    assert!(world.heard(a).is_empty());
    assert_eq!(world.desk.figures().too_large, 1);
}

#[test]
fn long_texts_are_told_by_signalling_in_parts() {
    let mut world = World::new();
    world.join(A, seat());
    world.join(B, Seat { hears_text: true, ..seat() });
    let a = world.open(A, Stands::Room, Framing::Plain);
    let long = "ü".repeat(Desk::MAX_LONG_TEXT / 2);
    world.send(a, text(&long));
    let told = world.told();
    assert_eq!((told.len(), told.iter().map(|(.., text)| text.as_str()).collect::<String>()), (8, long));
    assert!(told.iter().all(|(to, from, text)| (*to, *from) == (B, A) && text.len() <= Desk::MAX_TEXT));
    world.send(a, text(&"x".repeat(Desk::MAX_LONG_TEXT + 1)));
    let json = world.open(A, Stands::Room, Framing::Json);
    world.send(json, binary(format!("[\"{}\"]", "x".repeat(Desk::MAX_TEXT))));
    assert!(world.told().is_empty());
    let max = [Desk::MAX_LONG_TEXT, Desk::MAX_TEXT];
    let len = [Desk::MAX_LONG_TEXT + 1, Desk::MAX_TEXT + 4];
    assert_eq!(world.dropped, [0, 1].map(|i| DropReason::TooLarge { len: len[i], max: max[i] }), "JSON is of no use in parts");
}

#[test]
fn rights_hold_in_both_directions() {
    let mut world = World::new();
    world.join(A, Seat { may_send: false, ..seat() });
    world.join(B, Seat { may_read: false, hears_text: true, ..seat() });
    world.join(C, seat());
    let [a, b, c] = [A, B, C].map(|member| world.open(member, Stands::Room, Framing::Plain));
    world.send(a, text("muted"));
    world.desk.say(world.now, A, None, "muted");
    world.send(c, text("heard by a"));
    assert_eq!(world.heard_texts(a), ["heard by a"]);
    assert!(world.heard(b).is_empty() && world.heard(c).is_empty() && world.told().is_empty());
    let deaf = world.open_as(Connection { may_read: false, ..connection(A, Stands::Member(C), Framing::Plain) });
    world.send(c, text("by the other"));
    assert_eq!((world.heard_texts(deaf), world.heard_texts(a)), (vec![], vec!["by the other".into()]));
    let mute = world.open_as(Connection { may_send: false, ..connection(C, Stands::Room, Framing::Plain) });
    world.send(mute, text("muted"));
    assert!(world.heard(a).is_empty());
    assert_eq!(world.desk.figures().forbidden, 3);
}

#[test]
fn members_of_other_rooms_hear_nothing() {
    let mut world = World::new();
    world.join(A, seat());
    world.join(B, Seat { room: RoomId::new("other").unwrap(), hears_text: true, ..seat() });
    let (a, b) = (world.open(A, Stands::Member(B), Framing::Plain), world.open(B, Stands::Member(A), Framing::Plain));
    world.send(a, text("psst"));
    world.desk.say(world.now, A, Some(B), "psst");
    world.settle();
    assert!(world.heard(b).is_empty() && world.told().is_empty());
    world.join(B, Seat { hears_text: true, ..seat() });
    world.far.remove(&b);
    world.send(a, text("now"));
    assert_eq!(world.told(), [(B, A, "now".to_owned())], "a change of room is a leave and a join");
}

#[test]
fn directly_connected_members_do_not_hear_twice() {
    let mut world = World::new();
    world.join(A, Seat { direct: true, ..seat() });
    world.join(B, Seat { direct: true, ..seat() });
    world.join(C, Seat { hears_text: true, ..seat() });
    let (a, b) = (world.open(A, Stands::Room, Framing::Plain), world.open(B, Stands::Room, Framing::Plain));
    world.send(a, text("all"));
    assert!(world.heard(b).is_empty(), "it has it from A");
    assert_eq!(world.told(), [(C, A, "all".to_owned())]);
    world.desk.say(world.now, C, None, "both");
    world.settle();
    assert_eq!((world.heard_texts(a), world.heard_texts(b)), (vec!["both".into()], vec!["both".into()]));
}

#[test]
fn what_a_bridge_brought_is_not_handed_to_another() {
    let mut world = World::new();
    world.join(A, Seat { bridged: true, ..seat() });
    world.join(B, Seat { bridged: true, hears_text: true, ..seat() });
    world.join(C, Seat { hears_text: true, ..seat() });
    let a = world.open(A, Stands::Room, Framing::Plain);
    world.send(a, text("all"));
    assert_eq!(world.told(), [(C, A, "all".to_owned())]);
    world.desk.say(world.now, C, None, "both");
    world.settle();
    assert_eq!((world.heard_texts(a), world.told()), (vec!["both".into()], vec![(B, C, "both".to_owned())]));
    // to one of them, by its name, it may be said
    world.desk.say(world.now, A, Some(B), "you");
    world.settle();
    assert_eq!(world.told(), [(B, A, "you".to_owned())]);
}

#[test]
fn each_side_writes_to_its_own_channel_where_that_is_the_way() {
    let mut world = World::new();
    [A, B].into_iter().for_each(|member| world.join(member, seat()));
    let b = world.open(B, Stands::Room, Framing::Plain);
    let a = world.open_without_channel(connection(A, Stands::Room, Framing::OwnChannels));
    // the far end's channel is up first: it is read, not written
    let theirs = ChannelId::next();
    world.event(a, ChannelEvent::Opened { channel: theirs, ours: false, max_message: 0, gauge: Arc::<Waiting>::default() });
    world.event(a, ChannelEvent::Message { channel: theirs, message: text("from a") });
    assert_eq!(world.heard_texts(b), ["from a"]);
    world.send(b, text("waits"));
    world.channel_up(a);
    assert_eq!(world.heard_texts(a), ["waits"], "checked by settle: on Portico's own channel");
}

#[test]
fn text_and_values_cross_all_framings() {
    let (mut world, [plain, json, packed]) = three([Framing::Plain, Framing::Json, Framing::BinaryPack]);
    world.send(plain, text("hi"));
    assert_eq!(world.heard_texts(json), ["[\"hi\"]"], "binary frames since PeerJS 1.5");
    assert_eq!(world.heard(packed), [binary(b"\xb2hi".to_vec())]);
    world.send(json, binary(br#"{"z":1,"a":[null]}"#.to_vec()));
    assert_eq!(world.heard_texts(plain), [r#"{"z":1,"a":[null]}"#]);
    assert_eq!(world.heard(packed), [binary(b"\x82\xb1z\x01\xb1a\x91\xc0".to_vec())]);
    // a client before 1.5 writes text frames, and is answered in them
    world.send(json, text("\"old\""));
    world.send(plain, text("hi"));
    assert_eq!(world.heard_texts(json), ["\"hi\""]);
    assert_eq!(world.heard_texts(plain), ["old"]);
    world.heard(packed);
    world.send(packed, binary(b"\x91\xb1x".to_vec()));
    assert_eq!((world.heard_texts(plain), world.heard_texts(json)), (vec![r#"["x"]"#.into()], vec![r#"["x"]"#.into()]));
    world.send(json, binary(b"{broken".to_vec()));
    world.send(packed, text("not packed \u{7f}"));
    assert!(world.heard(plain).len() <= 1);
    assert!(world.desk.figures().malformed >= 1);
}

/// peerjs.md §9 line 17.
#[test]
fn json_is_written_in_the_kind_that_its_far_end_reads() {
    for (framing, first) in [(Framing::Json, binary("\"hi\"")), (Framing::JsonText, text("\"hi\""))] {
        let (mut world, [plain, json, _]) = three([Framing::Plain, framing, Framing::Plain]);
        world.send(plain, text("hi"));
        assert_eq!(world.heard(json), [first], "before it said anything");
        for said in [binary("1"), text("2")] {
            let is_text = matches!(said, DataMessage::Text(_));
            world.send(json, said);
            world.send(plain, text("hi"));
            assert!(world.heard(json).iter().all(|heard| matches!(heard, DataMessage::Text(_)) == is_text));
        }
        assert_eq!(world.heard_texts(plain), ["1", "2"]);
    }
}

#[test]
fn bytes_to_receivers_of_text_are_dropped_and_counted() {
    let (mut world, [plain, own, packed]) = three([Framing::Plain, Framing::OwnChannels, Framing::BinaryPack]);
    world.send(plain, binary([1, 2, 3]));
    assert!(world.heard(own).is_empty());
    assert_eq!(world.heard(packed), [binary([0xa3, 1, 2, 3])]);
    assert_eq!((world.dropped.as_slice(), world.desk.figures().no_place), ([DropReason::NoPlace].as_slice(), 1));
}

#[test]
fn large_binarypack_messages_travel_in_parts() {
    let (mut world, [plain, one, two]) = three([Framing::Plain, Framing::BinaryPack, Framing::BinaryPack]);
    let large = "x".repeat(50_000);
    let packed = binarypack::encode(&Value::text(&large));
    let parts: Vec<_> =
        packed.chunks(16_300).enumerate().map(|(n, part)| binarypack::encode_chunk(5, n as u64, part, 4)).collect();
    for part in parts.iter().rev() {
        assert!(world.heard(two).is_empty());
        world.send(one, DataMessage::Binary(part.clone()));
    }
    assert_eq!(world.heard_texts(plain), [large]);
    let heard = world.heard(two);
    assert_eq!(heard.len(), 4);
    assert!(heard.iter().all(|part| part.len() < 16_400));
    assert_eq!(heard[1].bytes(), &binarypack::encode_chunk(1, 1, &packed[16_300..32_600], 4));
    assert_eq!(world.desk.held().0, 0);
    world.send(one, DataMessage::Binary(parts[0].clone()));
    assert!(world.desk.held().0 > 16_300);
    world.pass(Duration::from_secs(61));
    assert_eq!(world.desk.held().0, 0, "an unfinished message is forgotten");
}

#[test]
fn a_farewell_of_peerjs_closes_its_connection_only() {
    let (mut world, [packed, json, plain]) = three([Framing::BinaryPack, Framing::Json, Framing::Plain]);
    let close = Value::map([("__peerData", Value::map([("type", Value::text("close"))]))]);
    world.send(packed, DataMessage::Binary(binarypack::encode(&close)));
    world.send(json, binary(close.to_json().unwrap()));
    assert_eq!(world.hung_up, [packed, json]);
    assert!(world.heard(plain).is_empty());
}

#[test]
fn a_full_channel_is_waited_for_and_others_are_not() {
    let (mut world, [a, b, c]) = three([Framing::Plain; 3]);
    world.far.get_mut(&b).unwrap().stalled = true;
    let message = |n: usize| format!("{n:04}{}", "x".repeat(996));
    (0..200).for_each(|n| world.send(a, text(&message(n))));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.heard(c).len(), 200);
    let waiting = world.far[&b].waiting.bytes();
    assert!((60_000..=65_536).contains(&waiting), "{waiting}");
    let mut heard = Vec::new();
    for _ in 0..10 {
        heard.extend(world.heard_texts(b));
        world.drain(b);
    }
    assert_eq!(heard, (0..200).map(message).collect::<Vec<_>>());
    assert_eq!(world.desk.held().0, 0);
}

#[test]
fn who_does_not_read_costs_no_more_than_the_bound() {
    let (mut world, [a, b, _]) = three([Framing::Plain; 3]);
    world.far.get_mut(&b).unwrap().stalled = true;
    let large = "x".repeat(60_000);
    for _ in 0..400 {
        world.send(a, text(&large));
        world.pass(Duration::from_millis(20));
    }
    let (queued, ..) = world.desk.held();
    assert!(queued <= Desk::MAX_QUEUED_EACH && queued > 16 << 20, "{queued}");
    assert!(world.desk.figures().queue_full > 0);
    world.close(b);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.desk.held().0, 0);
}

#[test]
fn a_message_beyond_the_receivers_limit_is_said_and_hurts_nobody_else() {
    let mut world = World::new();
    [A, B, C].into_iter().for_each(|member| world.join(member, seat()));
    let a = world.open(A, Stands::Room, Framing::Plain);
    world.max_message = 1000;
    let b = world.open(B, Stands::Room, Framing::Plain);
    // its channel comes up later: the limit shows only then
    let late = world.open_without_channel(connection(C, Stands::Room, Framing::Plain));
    world.send(a, text(&"x".repeat(1001)));
    world.send(a, text("short"));
    assert_eq!(world.heard_texts(b), ["short"]);
    world.channel_up(late);
    assert_eq!(world.heard_texts(late), ["short"]);
    assert_eq!(world.dropped, [DropReason::TooLarge { len: 1001, max: 1000 }; 2]);
    let channel = world.far[&b].channel;
    world.event(b, ChannelEvent::Refused { channel, max_message: Some(3) });
    world.send(a, text("four"));
    world.send(a, text("abc"));
    assert_eq!(world.heard_texts(b), ["abc"], "a limit that the shard tells is kept");
}

#[test]
fn what_waits_for_a_channel_keeps_its_order() {
    let mut world = World::new();
    [A, B].into_iter().for_each(|member| world.join(member, seat()));
    let a = world.open(A, Stands::Room, Framing::Plain);
    let first = world.open_without_channel(connection(B, Stands::Member(A), Framing::Plain));
    world.send(a, text("1"));
    let second = world.open(B, Stands::Member(A), Framing::Plain);
    world.send(a, text("2"));
    assert!(world.heard(second).is_empty(), "1 waits elsewhere");
    world.channel_up(first);
    assert_eq!(world.heard_texts(first), ["1", "2"]);
    world.close(first);
    world.send(a, text("3"));
    assert_eq!(world.heard_texts(second), ["3"]);
}

#[test]
fn connections_that_end_at_portico_itself_are_not_handed_on() {
    let mut world = World::new();
    world.join(A, seat());
    world.join(B, Seat { hears_text: true, ..seat() });
    let a = world.open(A, Stands::Gateway, Framing::Plain);
    world.send(a, text("anyone?"));
    world.desk.say(world.now, B, None, "here");
    world.settle();
    assert!(world.heard(a).is_empty() && world.told().is_empty());
}

#[test]
fn connections_need_a_member_and_are_opened_once() {
    let mut world = World::new();
    let peer = PeerId::next();
    let open = connection(A, Stands::Room, Framing::Plain);
    assert_eq!(world.desk.open(peer, open.clone()), Err(OpenError::NoMember(A)));
    world.join(A, seat());
    assert_eq!(world.desk.open(peer, open.clone()), Ok(()));
    assert_eq!(world.desk.open(peer, open), Err(OpenError::Known(peer)));
    world.leave(A);
    world.desk.close(world.now, peer);
    world.event(PeerId::next(), ChannelEvent::Drained { channel: ChannelId::next() });
    assert_eq!(world.desk.next_timeout(), None);
}

/// peerjs.md §9 line 22: two connections between the same two are independent.
#[test]
fn what_comes_by_one_of_several_connections_leaves_by_its_other_end() {
    let mut world = World::new();
    world.join(A, seat());
    world.join(B, seat());
    let open = |world: &mut World, owner, other, pair: &str| {
        world.open_as(Connection { pair: Some(pair.into()), ..connection(owner, Stands::Member(other), Framing::Plain) })
    };
    let a = [open(&mut world, A, B, "1"), open(&mut world, A, B, "2"), open(&mut world, A, B, "3")];
    let b = [open(&mut world, B, A, "2"), open(&mut world, B, A, "1")];
    for (n, from) in a.into_iter().enumerate() {
        world.send(from, text(&n.to_string()));
    }
    assert_eq!(world.heard_texts(b[0]), ["1", "2"], "one without an other end leaves by any");
    assert_eq!(world.heard_texts(b[1]), ["0"]);
    for (n, from) in b.into_iter().enumerate() {
        world.send(from, text(&n.to_string()));
    }
    assert_eq!(a.map(|peer| world.heard_texts(peer)), [vec!["1".to_owned()], vec!["0".to_owned()], vec![]]);
    // an end that is full holds up nothing of the other
    world.far.get_mut(&b[1]).unwrap().stalled = true;
    (0..4).for_each(|_| world.send(a[0], binary(vec![b'x'; 60_000])));
    world.send(a[1], text("past"));
    assert_eq!(world.heard_texts(b[0]), ["past"]);
}
