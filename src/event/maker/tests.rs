//! Reports in, events out; in simulated time.

use serde_json::{Value, json};

use super::*;
use crate::room::{ClientFacts, EndReason};

const WALL: WallMs = WallMs(1_790_000_000_000);

struct World {
    maker: Maker,
    start: Instant,
}

impl World {
    fn new(extended: bool) -> Self {
        let start = Instant::now();
        let habits =
            Habits { wanted: true, live_interval: Duration::from_secs(60), extended, video_cap: Bitrate::from_bps(2_000_000) };
        let mut world = Self { maker: Maker::new(start, habits), start };
        // the first telling of nothing
        assert!(world.at(0).is_empty());
        world
    }

    fn report(&mut self, report: Report) -> Vec<(&'static str, Value)> {
        self.maker.handle_report(WALL, &report);
        self.take()
    }

    /// Time passes, to so many seconds after the start.
    fn at(&mut self, seconds: u64) -> Vec<(&'static str, Value)> {
        self.maker.handle_timeout(self.start + Duration::from_secs(seconds), WALL);
        self.take()
    }

    fn take(&mut self) -> Vec<(&'static str, Value)> {
        let read = |event: Event| (event.name.as_str(), serde_json::from_str(&event.payload).unwrap());
        self.maker.take().into_iter().map(read).collect()
    }
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

fn member(number: u8) -> MemberId {
    MemberId([number; 16])
}

fn id(number: u8) -> String {
    format!("{number:02X}").repeat(16)
}

fn joined(name: &str, number: u8, size: usize) -> Report {
    Report::MemberJoined {
        room: room(name),
        member: member(number),
        dialect: DialectName::Tribe,
        user_id: format!("u{number}"),
        size,
        remote: Some("::ffff:192.0.2.7".parse().unwrap()),
        visible: true,
        facts: Facts::default(),
    }
}

fn left(name: &str, number: u8, size: usize) -> Report {
    Report::MemberLeft {
        room: room(name),
        member: member(number),
        dialect: DialectName::Tribe,
        user_id: format!("u{number}"),
        size,
        reason: EndReason::Left,
    }
}

#[test]
fn a_join_has_the_members_of_the_document_and_no_others() {
    let mut world = World::new(false);
    let client = ClientFacts {
        device: "Nexus 5X".into(),
        version: "7.1".into(),
        app_version: "3.0".into(),
        video_cap: Some(Bitrate::from_bps(300_000)),
        audio_cap: None,
    };
    let facts = Facts {
        platform: Some("Android".into()),
        network: Some("wifi".into()),
        client: Some(Box::new(client)),
        ..Facts::default()
    };
    let Report::MemberJoined { room, member, dialect, user_id, size, remote, visible, .. } = joined("r1", 0xab, 1) else {
        panic!()
    };
    let report = Report::MemberJoined { room, member, dialect, user_id, size, remote, visible, facts };
    let expected = json!({
        "roomId": "r1", "roomSize": 1, "socketId": id(0xab), "userId": "u171", "platform": "Android", "deviceName": "Nexus 5X",
        "networkType": "wifi", "appVersion": "3.0", "version": "7.1", "ip": "192.0.2.7", "bitrate": 300_000,
    });
    assert_eq!(world.report(report), [("room.join", expected)]);
}

#[test]
fn who_says_little_has_empty_texts_and_the_usual_cap() {
    let mut world = World::new(false);
    let report = Report::MemberJoined {
        room: room("r1"),
        member: member(1),
        dialect: DialectName::Page,
        user_id: String::new(),
        size: 1,
        remote: None,
        visible: true,
        facts: Facts { name: Some("Ann".into()), ..Facts::default() },
    };
    let told = world.report(report);
    let expected = json!({
        "roomId": "r1", "roomSize": 1, "socketId": id(1), "userId": "Ann", "platform": "", "deviceName": "", "networkType": "",
        "appVersion": "", "version": "", "ip": "0.0.0.0", "bitrate": 2_000_000,
    });
    assert_eq!(told, [("room.join", expected)]);
    // who goes is called what it was called when it came
    let told = world.report(left("r1", 1, 0));
    assert_eq!(told, [("room.leave", json!({"roomId": "r1", "roomSize": 0, "socketId": id(1), "userId": "Ann"}))]);
}

#[test]
fn a_leave_has_who_remain() {
    let mut world = World::new(false);
    world.report(joined("r1", 1, 1));
    world.report(joined("r1", 2, 2));
    let expected = json!({"roomId": "r1", "roomSize": 1, "socketId": id(1), "userId": "u1"});
    assert_eq!(world.report(left("r1", 1, 1)), [("room.leave", expected)]);
    assert!(world.report(left("r1", 1, 1)).is_empty(), "nobody leaves twice");
}

#[test]
fn rooms_are_told_every_60_seconds_with_all_sessions() {
    let mut world = World::new(false);
    world.report(Report::RoomOpened { room: room("empty") });
    world.report(Report::RoomOpened { room: room("r1") });
    world.report(joined("r1", 1, 1));
    world.report(joined("r1", 2, 2));
    let sessions = json!([{"socketId": id(1), "userId": "u1"}, {"socketId": id(2), "userId": "u2"}]);
    let expected = [
        ("room.live", json!({"roomId": "empty", "roomSize": 0, "sessions": []})),
        ("room.live", json!({"roomId": "r1", "roomSize": 2, "sessions": sessions})),
    ];
    assert!(world.at(59).is_empty());
    assert_eq!(world.maker.next_timeout(), world.start + Duration::from_secs(60));
    assert_eq!(world.at(60), expected);
    assert!(world.at(119).is_empty());
    world.report(left("r1", 1, 1));
    world.report(Report::RoomClosed { room: room("empty") });
    let told = world.at(120);
    assert_eq!(told, [("room.live", json!({"roomId": "r1", "roomSize": 1, "sessions": [{"socketId": id(2), "userId": "u2"}]}))]);
}

#[test]
fn a_machine_that_slept_tells_once() {
    let mut world = World::new(false);
    world.report(Report::RoomOpened { room: room("r1") });
    assert_eq!(world.at(600).len(), 1);
    assert!(world.at(601).is_empty());
    assert_eq!(world.at(630).len(), 1);
    assert_eq!(world.maker.next_timeout(), world.start + Duration::from_secs(690), "and from then on at the interval");
}

#[test]
fn the_unseen_are_in_no_event() {
    let mut world = World::new(false);
    world.report(joined("r1", 1, 1));
    let Report::MemberJoined { room, member, user_id, size, remote, facts, .. } = joined("r1", 2, 1) else { panic!() };
    let unseen = Report::MemberJoined { room, member, dialect: DialectName::Whep, user_id, size, remote, visible: false, facts };
    assert!(world.report(unseen).is_empty());
    assert_eq!(world.at(60)[0].1["roomSize"], 1);
    assert!(world.report(left("r1", 2, 1)).is_empty());
}

#[test]
fn a_lost_place_is_kept_and_told_as_present() {
    let mut world = World::new(true);
    world.report(joined("r1", 1, 1));
    assert!(world.report(Report::MemberLost { room: room("r1"), member: member(1) }).is_empty());
    let names: Vec<_> = world.at(60).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["room.live"], "no ping of who is not connected");
    assert!(world.report(Report::MemberResumed { room: room("r1"), member: member(1) }).is_empty());
    let names: Vec<_> = world.at(120).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["room.live", "webrtc.ping"]);
}

#[test]
fn what_clients_say_of_themselves_is_told_if_wanted() {
    let remarks =
        || {
            [Remark::Froze, Remark::Cpu { percent: 37 }, Remark::Network { network: "mobile".into() }]
                .map(|remark| Report::Remark { room: room("r1"), member: member(1), remark })
        };
    let mut world = World::new(true);
    let told: Vec<_> = remarks().into_iter().flat_map(|report| world.report(report)).collect();
    let expected = [
        ("webrtc.freeze", json!({"socketId": id(1)})),
        ("webrtc.cpu", json!({"socketId": id(1), "cpuUsed": 37})),
        ("network.change", json!({"socketId": id(1), "networkType": "mobile"})),
    ];
    assert_eq!(told, expected);
    let mut quiet = World::new(false);
    assert!(remarks().into_iter().all(|report| quiet.report(report).is_empty()));
}

#[test]
fn what_waits_is_bounded_and_the_oldest_goes_first() {
    let mut world = World::new(false);
    for _ in 0..MOST_WAITING + 5 {
        world.maker.handle_report(WALL, &joined("r1", 1, 1));
    }
    assert_eq!(world.maker.lost(), 5);
    let waiting = world.maker.take();
    assert_eq!(waiting.len(), MOST_WAITING);
    // the disk takes nothing: back in front of what came meanwhile
    world.maker.handle_report(WALL, &joined("r2", 2, 1));
    world.maker.put_back(waiting);
    assert_eq!(world.maker.lost(), 6);
    let waiting = world.maker.take();
    assert!(waiting.back().is_some_and(|last| last.payload.contains("r2")) && waiting.len() == MOST_WAITING);
    assert_eq!(world.maker.made()[&EventName::RoomJoin], MOST_WAITING as u64 + 6);
}

#[test]
fn bytes_that_wait_are_bounded() {
    let mut world = World::new(false);
    let big = || Event { name: EventName::RoomLive, made: WALL, payload: "x".repeat(MOST_PAYLOAD) };
    for _ in 0..10 {
        world.maker.add(big());
    }
    world.maker.add(Event { payload: "x".repeat(MOST_PAYLOAD + 1), ..big() });
    assert_eq!((world.maker.take().len(), world.maker.lost()), (8, 3));
}
