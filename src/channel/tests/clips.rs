//! Clips in `sfu` rooms: relayed as they run. vamp.md §5, §6 (bugs 2 to 4), §9 line 17.

use super::*;

/// A records on a connection per other member; B and C hear on a connection that stands for A.
struct Recording {
    world: World,
    out: [PeerId; 2],
    b: PeerId,
    c: PeerId,
}

fn recording() -> Recording {
    recording_with(ClipsConfig::default())
}

fn recording_with(config: ClipsConfig) -> Recording {
    let mut world = World::with(config, RpcConfig::default());
    [A, B, C].into_iter().for_each(|member| world.join(member, seat()));
    let out = [B, C].map(|other| world.open(A, Stands::Member(other), Framing::Plain));
    let [b, c] = [B, C].map(|listener| world.open(listener, Stands::Member(A), Framing::Plain));
    Recording { world, out, b, c }
}

impl Recording {
    /// The client sends on all its connections.
    fn all(&mut self, message: &DataMessage) {
        self.out.into_iter().for_each(|peer| self.world.send(peer, message.clone()));
    }

    fn slices(&mut self, range: std::ops::Range<usize>) {
        for n in range {
            self.all(&binary(format!("s{n}")));
            self.world.pass(Duration::from_millis(30));
        }
    }
}

fn expected(header: &str, range: std::ops::Range<usize>) -> Vec<String> {
    std::iter::once(header.to_owned()).chain(range.map(|n| format!("[s{n}]"))).collect()
}

#[test]
fn each_slice_reaches_each_listener_once_and_in_order() {
    let mut r = recording();
    r.all(&text(HEADER));
    r.slices(0..100);
    let (b, c) = (r.b, r.c);
    assert_eq!(r.world.heard_texts(b), expected(HEADER, 0..100));
    assert_eq!(r.world.heard_texts(c), expected(HEADER, 0..100));
    assert!(r.out.into_iter().all(|peer| r.world.heard(peer).is_empty()), "not back to who recorded it");
    let figures = r.world.desk.figures();
    assert_eq!((figures.clips, figures.clip_slices, figures.clip_copies), (1, 100, 101));
}

#[test]
fn a_lagging_connection_changes_nothing() {
    let mut r = recording();
    let (b, [first, second]) = (r.b, r.out);
    r.world.send(first, text(HEADER));
    (0..3).for_each(|n| r.world.send(first, binary(format!("s{n}"))));
    r.world.send(second, text(HEADER));
    r.world.send(second, binary("s0"));
    // the first one stops being the faster one
    (1..6).for_each(|n| r.world.send(second, binary(format!("s{n}"))));
    (3..6).for_each(|n| r.world.send(first, binary(format!("s{n}"))));
    assert_eq!(r.world.heard_texts(b), expected(HEADER, 0..6));
    // a connection that is lost hands over to the other without a gap
    r.world.close(first);
    (6..8).for_each(|n| r.world.send(second, binary(format!("s{n}"))));
    assert_eq!(r.world.heard_texts(b), ["[s6]", "[s7]"]);
}

#[test]
fn a_connection_that_came_within_a_clip_brings_nothing_of_it() {
    let mut r = recording();
    let b = r.b;
    r.all(&text(HEADER));
    r.slices(0..2);
    let late = r.world.open(A, Stands::Member(C), Framing::Plain);
    r.slices(2..3);
    r.world.send(late, binary("s2"));
    r.slices(3..4);
    assert_eq!(r.world.heard_texts(b), expected(HEADER, 0..4));
    assert_eq!(r.world.desk.figures().clip_strays, 1);
    // of the next clip it is a carrier like the others, and may be the first
    let next = r#"{"userId":"u1","startTime":20}"#;
    r.world.send(late, text(next));
    r.world.send(late, binary("s0"));
    r.slices(4..5);
    assert_eq!(r.world.heard_texts(b), ["[s4]"], "the clip before goes on until it has ended");
    r.all(&text(next));
    r.all(&binary("s0"));
    assert_eq!(r.world.heard_texts(b), expected(next, 0..1));
}

/// A client that leaves takes the connection with it that brought the header; a later one goes on in its place.
#[test]
fn a_connection_that_came_within_a_clip_is_placed_by_its_bytes() {
    // how many slices the late one is behind the others, or ahead of them
    for lag in [-3_i64, 0, 5] {
        let mut r = recording();
        let (b, [first, second]) = (r.b, r.out);
        let slice = |n: i64| binary(format!("{n:>40}"));
        r.all(&text(HEADER));
        (0..10).for_each(|n| r.all(&slice(n)));
        let late = r.world.open(A, Stands::Member(C), Framing::Plain);
        for n in 10..30 {
            // what it would have sent before it was there
            if n - lag >= 10 {
                r.world.send(late, slice(n - lag));
            }
            r.all(&slice(n));
        }
        // the same, now the other way round: all are equally far
        ((30 - lag).max(10)..30).for_each(|n| r.world.send(late, slice(n)));
        (30..30 - lag).for_each(|n| r.all(&slice(n)));
        let next = 30.max(30 - lag);
        r.world.close(first);
        r.world.close(second);
        (next..next + 5).for_each(|n| r.world.send(late, slice(n)));
        let expected: Vec<String> =
            std::iter::once(HEADER.to_owned()).chain((0..next + 5).map(|n| format!("[{n:>40}]"))).collect();
        assert_eq!(r.world.heard_texts(b), expected, "lag {lag}");
    }
}

#[test]
fn what_was_only_on_its_way_when_the_others_went_ends_the_clip() {
    let mut r = recording();
    let (b, [first, second]) = (r.b, r.out);
    let slice = |n: i64| binary(format!("{n:>40}"));
    r.all(&text(HEADER));
    (0..10).for_each(|n| r.all(&slice(n)));
    let late = r.world.open(A, Stands::Member(C), Framing::Plain);
    (10..15).for_each(|n| r.world.send(late, slice(n)));
    (10..12).for_each(|n| r.all(&slice(n)));
    r.world.close(first);
    r.world.close(second);
    (15..20).for_each(|n| r.world.send(late, slice(n)));
    assert_eq!(r.world.heard_texts(b).len(), 13, "the header and twelve slices: a gap is not jumped over");
    assert_eq!(r.world.desk.held().1, 0);
}

#[test]
fn a_connection_that_is_whole_clips_behind_brings_nothing_again() {
    let mut r = recording();
    let (b, [first, second]) = (r.b, r.out);
    // the second and the third have the same header: they began at the same place of the song
    let clips = [(HEADER, 2), (r#"{"userId":"u1","startTime":50}"#, 3), (r#"{"userId":"u1","startTime":50}"#, 1)];
    let bring = |world: &mut World, peer| {
        for (header, slices) in clips {
            world.send(peer, text(header));
            (0..slices).for_each(|n| world.send(peer, binary(format!("s{n}"))));
        }
    };
    let all: Vec<String> = clips.iter().flat_map(|(header, slices)| expected(header, 0..*slices)).collect();
    bring(&mut r.world, first);
    assert_eq!(r.world.heard_texts(b), all);
    bring(&mut r.world, second);
    r.world.send(second, binary("s1"));
    r.world.send(first, binary("s1"));
    assert_eq!(r.world.heard_texts(b), ["[s1]"], "both are in the third clip now");
    let d = MemberId([4; 16]);
    r.world.join(d, seat());
    r.world.pass(Duration::from_secs(10));
    let third = r.world.open(A, Stands::Member(d), Framing::Plain);
    bring(&mut r.world, third);
    assert_eq!(r.world.heard_texts(b), all, "a new connection's recordings are new ones");
}

/// Bug 2: a header identical to the previous one without bytes between is dropped, and none is ever replayed.
#[test]
fn a_repeated_header_is_dropped() {
    let mut r = recording();
    let b = r.b;
    (0..3).for_each(|_| r.all(&text(HEADER)));
    r.slices(0..2);
    assert_eq!(r.world.heard_texts(b), expected(HEADER, 0..2));
    r.world.pass(Duration::from_secs(60));
    assert!(r.world.heard(b).is_empty());
    // with bytes between it is a new recording from the same place
    r.all(&text(HEADER));
    r.slices(0..1);
    assert_eq!(r.world.heard_texts(b), expected(HEADER, 0..1));
}

#[test]
fn an_empty_clip_waits_for_its_repeated_header() {
    let mut r = recording();
    let b = r.b;
    r.all(&text(HEADER));
    r.world.pass(Duration::from_secs(10));
    r.all(&text(HEADER));
    r.slices(0..1);
    assert_eq!(r.world.heard_texts(b), expected(HEADER, 0..1));
}

#[test]
fn an_empty_clip_holds_nothing_up() {
    let mut r = recording();
    let (b, [first, second]) = (r.b, r.out);
    let next = r#"{"userId":"u1","startTime":99}"#;
    r.world.send(first, text(HEADER));
    r.world.send(second, text(next));
    r.world.send(second, binary("s0"));
    assert_eq!(r.world.heard_texts(b), [HEADER]);
    r.world.pass(Duration::from_secs(6));
    assert_eq!(r.world.heard_texts(b), expected(next, 0..1));
}

#[test]
fn a_late_joiner_gets_the_running_clip_from_its_start() {
    let mut r = recording();
    r.all(&text(HEADER));
    r.slices(0..50);
    let d = MemberId([4; 16]);
    r.world.join(d, seat());
    let late = r.world.open(d, Stands::Member(A), Framing::Plain);
    assert_eq!(r.world.heard_texts(late), expected(HEADER, 0..50));
    r.slices(50..60);
    assert_eq!(r.world.heard_texts(late), (50..60).map(|n| format!("[s{n}]")).collect::<Vec<_>>());
    // after its end it is not given any more
    r.world.pass(Duration::from_secs(6));
    let e = MemberId([5; 16]);
    r.world.join(e, seat());
    let later = r.world.open(e, Stands::Member(A), Framing::Plain);
    r.world.pass(Duration::from_secs(1));
    assert!(r.world.heard(later).is_empty());
    assert_eq!(r.world.desk.held().1, 0, "what nobody needs is let go");
}

#[test]
fn silence_ends_a_clip() {
    let mut r = recording();
    let b = r.b;
    r.all(&text(HEADER));
    r.slices(0..1);
    r.world.pass(Duration::from_millis(4960));
    r.slices(1..2);
    r.world.pass(Duration::from_secs(5));
    r.slices(2..3);
    assert_eq!(r.world.heard_texts(b), expected(HEADER, 0..2));
    assert_eq!(r.world.desk.figures().clip_strays, 2);
}

#[test]
fn a_new_header_ends_the_clip_before() {
    let mut r = recording();
    let (b, next) = (r.b, r#"{"userId":"u1","startTime":99}"#);
    r.all(&text(HEADER));
    r.slices(0..2);
    // one connection is behind by a whole clip
    let [first, second] = r.out;
    r.world.send(first, text(next));
    r.world.send(first, binary("s0"));
    r.world.send(first, binary("s1"));
    r.world.send(second, text(next));
    r.world.send(second, binary("s0"));
    let all = [expected(HEADER, 0..2), expected(next, 0..2)].concat();
    assert_eq!(r.world.heard_texts(b), all);
}

/// Bug 3, first half: nothing larger than 16 KiB or than the far end takes, and never more than 64 KiB waiting.
#[test]
fn sending_is_paced_and_split() {
    let mut world = World::new();
    [A, B, C].into_iter().for_each(|member| world.join(member, seat()));
    let a = world.open(A, Stands::Room, Framing::Plain);
    let b = world.open(B, Stands::Member(A), Framing::Plain);
    world.max_message = 1200;
    let c = world.open(C, Stands::Member(A), Framing::Plain);
    world.far.get_mut(&b).unwrap().stalled = true;
    world.send(a, text(HEADER));
    let sound: Vec<u8> = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
    sound.chunks(100_000).for_each(|slice| world.send(a, binary(slice)));
    world.pass(Duration::from_secs(2));
    let mut heard = Vec::new();
    for _ in 0..20 {
        let waiting = world.far[&b].waiting.bytes();
        assert!(waiting <= 64 << 10, "{waiting}");
        heard.extend(world.heard(b));
        world.drain(b);
        world.pass(Duration::from_millis(50));
    }
    let check = |heard: Vec<DataMessage>, max: usize| {
        assert_eq!(heard[0], text(HEADER));
        assert!(heard[1..].iter().all(|slice| matches!(slice, DataMessage::Binary(bytes) if (1..=max).contains(&bytes.len()))));
        let bytes: Vec<u8> = heard[1..].iter().flat_map(|slice| slice.bytes().to_vec()).collect();
        assert!(bytes == sound, "a byte stream, whole and in order");
    };
    check(heard, 16 << 10);
    let heard = world.heard(c);
    check(heard, 1200);
}

/// Bug 3, second half: Portico resets nothing, whatever a sender does.
#[test]
fn no_recording_makes_portico_close_a_connection() {
    let mut r = recording();
    let b = r.b;
    r.all(&binary("no header"));
    r.all(&text(r#"{"userId":"u1"}"#));
    r.all(&text(HEADER));
    (0..300).for_each(|_| r.all(&binary(vec![7; 200_000])));
    let channel = r.world.far[&b].channel;
    r.world.event(b, ChannelEvent::Refused { channel, max_message: None });
    r.world.pass(Duration::from_secs(20));
    assert!(r.world.hung_up.is_empty());
    assert!(r.world.far.contains_key(&b));
}

/// Bug 4: a leave ends the clips of the member and nothing else.
#[test]
fn nothing_is_heard_after_a_leave_and_others_go_on() {
    let mut r = recording();
    let (b, c) = (r.b, r.c);
    r.world.far.get_mut(&b).unwrap().stalled = true;
    r.all(&text(HEADER));
    (0..20).for_each(|_| r.all(&binary(vec![1; 10_000])));
    let ba = r.world.open(B, Stands::Member(C), Framing::Plain);
    let before = r.world.heard(b).len();
    assert!(before < 21, "some of it waits");
    r.world.leave(A);
    r.world.drain(b);
    r.world.pass(Duration::from_secs(10));
    assert!(r.world.heard(b).is_empty());
    assert_eq!(r.world.desk.held(), (0, 0, 0));
    let cb = r.world.open(C, Stands::Member(B), Framing::Plain);
    r.world.send(cb, text("still here"));
    assert_eq!(r.world.heard_texts(ba), ["still here"]);
    r.world.leave(B);
    r.world.send(cb, text("to nobody"));
    r.world.heard(c);
}

#[test]
fn a_receiver_hears_by_one_connection_only() {
    let mut r = recording();
    let (b, second) = (r.b, r.world.open(B, Stands::Member(A), Framing::Plain));
    r.all(&text(HEADER));
    r.slices(0..3);
    assert_eq!(r.world.heard_texts(b), expected(HEADER, 0..3));
    assert!(r.world.heard(second).is_empty());
    r.world.close(b);
    r.slices(3..4);
    assert!(r.world.heard(second).is_empty(), "what was begun on the other is not begun again");
    let next = r#"{"userId":"u1","startTime":99}"#;
    r.all(&text(next));
    r.slices(0..1);
    assert_eq!(r.world.heard_texts(second), expected(next, 0..1));
}

#[test]
fn only_plain_connections_that_stand_for_the_sender_hear_clips() {
    let mut r = recording();
    let ids: Vec<MemberId> = (10..14).map(|n| MemberId([n; 16])).collect();
    ids.iter().for_each(|id| r.world.join(*id, Seat { hears_text: true, ..seat() }));
    let room = r.world.open(ids[0], Stands::Room, Framing::Plain);
    let json = r.world.open(ids[1], Stands::Member(A), Framing::Json);
    let chat = r.world.open(ids[2], Stands::Member(A), Framing::OwnChannels);
    r.world.join(ids[3], Seat { may_read: false, ..seat() });
    let deaf = r.world.open(ids[3], Stands::Member(A), Framing::Plain);
    r.all(&text(HEADER));
    r.slices(0..2);
    for peer in [room, json, chat, deaf] {
        assert!(r.world.heard(peer).is_empty());
    }
    assert!(r.world.told().is_empty() && r.world.dropped.is_empty());
}

#[test]
fn text_between_slices_is_text() {
    let mut r = recording();
    let (b, [to_b, _]) = (r.b, r.out);
    r.all(&text(HEADER));
    r.slices(0..1);
    r.world.send(to_b, text("hello"));
    r.slices(1..2);
    assert_eq!(r.world.heard_texts(b), [HEADER, "[s0]", "hello", "[s1]"]);
}

#[test]
fn a_clip_beyond_its_bound_runs_on_and_is_not_given_to_late_joiners() {
    let mut r = recording_with(ClipsConfig { max_clip_bytes: 100_000, ..ClipsConfig::default() });
    let b = r.b;
    r.all(&text(HEADER));
    for _ in 0..50 {
        r.all(&binary(vec![1; 5000]));
        r.world.pass(Duration::from_millis(30));
    }
    assert_eq!(r.world.heard(b).len(), 51);
    assert!(r.world.desk.held().1 <= 100_000);
    let d = MemberId([4; 16]);
    r.world.join(d, seat());
    let late = r.world.open(d, Stands::Member(A), Framing::Plain);
    r.all(&binary("more"));
    assert!(r.world.heard(late).is_empty());
    assert_eq!(r.world.heard_texts(b), ["[more]"]);
}

#[test]
fn a_listener_that_is_too_slow_loses_the_clip_and_hears_the_next() {
    let mut r = recording_with(ClipsConfig { max_memory_bytes: 1 << 20, ..ClipsConfig::default() });
    let b = r.b;
    r.world.far.get_mut(&b).unwrap().stalled = true;
    r.all(&text(HEADER));
    for _ in 0..300 {
        r.all(&binary(vec![1; 10_000]));
        r.world.pass(Duration::from_millis(30));
    }
    r.world.heard(b);
    r.world.far.get_mut(&b).unwrap().stalled = false;
    r.world.drain(b);
    r.world.pass(Duration::from_secs(1));
    assert!(r.world.heard(b).is_empty(), "a clip with a gap is of no use");
    assert_eq!(r.world.desk.figures().clips_broken, 1);
    let next = r#"{"userId":"u1","startTime":99}"#;
    r.all(&text(next));
    r.slices(0..2);
    assert_eq!(r.world.heard_texts(b), expected(next, 0..2));
}

#[test]
fn a_clip_older_than_its_age_is_not_kept() {
    let mut r = recording_with(ClipsConfig { max_age: Duration::from_secs(10), ..ClipsConfig::default() });
    let b = r.b;
    r.all(&text(HEADER));
    r.slices(0..400);
    assert_eq!(r.world.heard(b).len(), 401);
    assert!(r.world.desk.held().1 < 200, "{:?}", r.world.desk.held());
}

#[test]
fn headers_without_end_cost_nothing() {
    let mut r = recording();
    for n in 0..1000 {
        let header = format!(r#"{{"userId":"u","startTime":{n}}}"#);
        r.world.send(r.out[n % 2], text(&header));
    }
    assert!(r.world.desk.held().1 < 10_000);
    let b = r.b;
    let heard = r.world.heard_texts(b);
    let distinct: BTreeSet<&String> = heard.iter().collect();
    assert_eq!(distinct.len(), heard.len(), "none twice");
}

/// vamp.md §9 line 17 in simulated time: 33 slices a second of 500 bytes for 10 minutes.
#[test]
fn ten_minutes_of_recording_arrive_whole() {
    let mut r = recording();
    r.all(&text(HEADER));
    let (b, mut heard) = (r.b, Vec::new());
    for n in 0..20_000_u32 {
        let slice: Vec<u8> = n.to_be_bytes().into_iter().cycle().take(500).collect();
        r.all(&binary(slice));
        r.world.now += Duration::from_millis(30);
        heard.extend(r.world.heard(b));
    }
    assert_eq!(heard.len(), 20_001);
    assert!(heard[1..].iter().enumerate().all(|(n, slice)| slice.bytes()[..4] == (n as u32).to_be_bytes()));
}
