use proptest::prelude::*;

use super::super::packet::{parse_binary, parse_text};
use super::*;

const HOLD: Duration = Duration::from_secs(28);

struct World {
    now: Instant,
    engine: Engine,
}

impl World {
    fn new(version: Version, websocket: bool) -> Self {
        let now = Instant::now();
        let ids = Ids { sid: "S".repeat(20), socket_id: "I".repeat(20) };
        Self { now, engine: Engine::new(now, version, &ids, websocket, HOLD) }
    }

    /// One that has its first packets behind it and is in the namespace.
    fn open(version: Version, websocket: bool) -> Self {
        let mut world = Self::new(version, websocket);
        if version == Version::V4 {
            assert_eq!(world.say("40"), Heard::Alive);
        }
        if !websocket {
            world.poll();
        }
        world.acts();
        world
    }

    fn acts(&mut self) -> Vec<Act> {
        std::iter::from_fn(|| self.engine.poll_act()).collect()
    }

    fn poll(&mut self) {
        self.engine.handle_poll(self.now).unwrap();
    }

    fn lane(&self) -> Lane {
        if self.engine.is_websocket() { Lane::Websocket } else { Lane::Polling }
    }

    fn say(&mut self, text: &str) -> Heard {
        self.say_by(self.lane(), text)
    }

    fn say_by(&mut self, lane: Lane, text: &str) -> Heard {
        let packet = parse_text(self.engine.version, text).unwrap();
        self.engine.handle(self.now, lane, packet)
    }

    /// Lets time pass, waking the engine when it wants to be.
    fn pass(&mut self, time: Duration) -> Option<Late> {
        let until = self.now + time;
        while self.engine.next_timeout() <= until {
            self.now = self.engine.next_timeout();
            let late = self.engine.handle_timeout(self.now);
            if late.is_some() {
                return late;
            }
        }
        self.now = until;
        None
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answer(payload: &str) -> Vec<Act> {
    vec![Act::Answer(payload.into())]
}

fn write(packet: &str) -> Act {
    Act::Write(packet.into())
}

#[test]
fn version_3_opens_with_the_connect_packet_in_the_same_payload() {
    let mut world = World::new(Version::V3, false);
    assert_eq!(world.acts(), [], "until a poll comes");
    world.poll();
    let sid = "S".repeat(20);
    let open = format!(r#"97:0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}}2:40"#);
    assert_eq!(world.acts(), answer(&open));
}

#[test]
fn version_4_connects_only_when_asked_and_gives_another_id() {
    let mut world = World::new(Version::V4, true);
    let sid = "S".repeat(20);
    let open = format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#);
    assert_eq!(world.acts(), [Act::Write(open)]);
    assert_eq!(world.pass(seconds(1)), None);
    assert_eq!(world.acts(), [], "the server does not begin");
    assert_eq!(world.say(r#"40{"token":"t"}"#), Heard::Auth(r#"{"token":"t"}"#.into()));
    assert_eq!(world.acts(), [Act::Write(format!(r#"40{{"sid":"{}"}}"#, "I".repeat(20)))]);
    assert_eq!(world.say("40"), Heard::Alive);
    assert_eq!(world.acts(), [], "once");
}

#[test]
fn a_direct_websocket_has_no_upgrades() {
    let mut world = World::new(Version::V3, true);
    let acts = world.acts();
    assert!(matches!(&acts[..], [Act::Write(open), Act::Write(connect)] if open.contains(r#""upgrades":[]"#) && connect == "40"));
    assert!(!world.engine.handle_upgrade(world.now));
}

#[test]
fn other_namespaces_are_refused() {
    let mut old = World::open(Version::V3, true);
    assert_eq!(old.say("40/admin?x=1"), Heard::Alive);
    assert_eq!(old.acts(), [write(r#"44/admin,"Invalid namespace""#)]);
    let mut new = World::open(Version::V4, true);
    assert_eq!(new.say("40/admin,"), Heard::Alive);
    assert_eq!(new.acts(), [write(r#"44/admin,{"message":"Invalid namespace"}"#)]);
    assert_eq!(new.say(r#"42/admin,["join vamp","v"]"#), Heard::Alive);
    assert!(matches!(new.say(&format!("40/{}", "a".repeat(1000))), Heard::Violation(_)));
}

#[test]
fn an_event_before_connect_is_a_violation_of_version_4() {
    let mut world = World::new(Version::V4, true);
    assert!(matches!(world.say(r#"42["ss-join","a"]"#), Heard::Violation(_)));
    assert_eq!(World::new(Version::V3, true).say(r#"42["ss-join","a"]"#), Heard::Event(r#"["ss-join","a"]"#.into()));
}

#[test]
fn version_3_clients_ping_and_the_server_never_does() {
    let mut world = World::open(Version::V3, true);
    for _ in 0..10 {
        assert_eq!(world.pass(seconds(44)), None);
        assert_eq!(world.acts(), [], "no ping of the server's");
        assert_eq!(world.say("2"), Heard::Alive);
        assert_eq!(world.acts(), [write("3")]);
    }
    assert_eq!(world.say("2😀"), Heard::Alive);
    assert_eq!(world.acts(), [write("3😀")]);
    assert!(matches!(world.say("3"), Heard::Violation(_)));
}

#[test]
fn silence_of_45_seconds_ends_version_3_and_any_packet_is_life() {
    let mut world = World::open(Version::V3, false);
    for packet in ["2", r#"42["x"]"#, "6", "5"] {
        assert_eq!(world.pass(Duration::from_millis(44_999)), None);
        world.say(packet);
    }
    assert_eq!(world.pass(Duration::from_millis(44_999)), None);
    assert_eq!(world.pass(Duration::from_millis(1)), Some(Late::Silent));
}

#[test]
fn version_4_is_pinged_every_25_seconds_and_has_20_to_answer() {
    let mut world = World::open(Version::V4, true);
    for _ in 0..3 {
        assert_eq!(world.pass(Duration::from_millis(24_999)), None);
        assert_eq!(world.acts(), []);
        assert_eq!(world.pass(Duration::from_millis(1)), None);
        assert_eq!(world.acts(), [write("2")]);
        assert_eq!(world.say("3"), Heard::Alive);
    }
    assert_eq!(world.pass(seconds(25)), None);
    assert_eq!(world.say(r#"42["x"]"#), Heard::Event(r#"["x"]"#.into()), "an event is no pong");
    assert_eq!(world.pass(Duration::from_millis(19_999)), None);
    assert_eq!(world.pass(Duration::from_millis(1)), Some(Late::Silent));
    assert!(matches!(World::open(Version::V4, true).say("2"), Heard::Violation(_)));
}

#[test]
fn version_4_must_connect_within_45_seconds() {
    let mut world = World::new(Version::V4, true);
    assert_eq!(world.pass(seconds(25)), None);
    world.say("3");
    assert_eq!(world.pass(Duration::from_millis(19_999)), None);
    assert_eq!(world.pass(Duration::from_millis(1)), Some(Late::Unconnected));
}

#[test]
fn a_poll_waits_for_packets_and_a_second_one_is_refused() {
    let mut world = World::open(Version::V4, false);
    world.poll();
    assert_eq!(world.acts(), []);
    assert_eq!(world.engine.handle_poll(world.now), Err(SecondPoll));
    world.engine.send_event(r#"["a"]"#).unwrap();
    world.engine.send_event(r#"["b"]"#).unwrap();
    assert_eq!(world.acts(), answer("42[\"a\"]\u{1e}42[\"b\"]"));
}

#[test]
fn a_poll_ends_before_the_request_is_too_old() {
    let mut world = World::open(Version::V3, false);
    world.poll();
    assert_eq!(world.pass(HOLD), None);
    assert_eq!(world.acts(), answer("1:6"));
}

/// Emits 100 events around every step of an upgrade, and collects what leaves on either transport.
#[test]
fn nothing_is_lost_or_doubled_while_a_websocket_takes_over() {
    for version in [Version::V3, Version::V4] {
        let mut world = World::open(version, false);
        let (mut sent, mut got) = (0, Vec::new());
        for step in 0..6 {
            match step {
                1 => assert!(world.engine.handle_upgrade(world.now)),
                2 => drop(world.say_by(Lane::Probe, "2probe")),
                3 => world.poll(),
                4 => assert_eq!(world.pass(Duration::from_millis(120)), None),
                5 => drop(world.say_by(Lane::Probe, "5")),
                _ => world.poll(),
            }
            for _ in 0..17 {
                world.engine.send_event(&format!("[{sent}]")).unwrap();
                sent += 1;
                for act in world.acts() {
                    match act {
                        Act::Answer(text) => {
                            let mut payload = super::super::packet::Payload::new(version, false, text.into());
                            while let Some(packet) = payload.next(|packet| match packet {
                                Packet::Text(Kind::Message, text) => Some(text[2..text.len() - 1].parse::<i32>().unwrap()),
                                _ => None,
                            }) {
                                got.extend(packet.unwrap());
                            }
                        }
                        Act::Write(text) => got.push(text[3..text.len() - 1].parse().unwrap()),
                        Act::Probe("3probe") | Act::TakeOver => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        assert!(world.engine.is_websocket());
        assert_eq!(got, (0..sent).collect::<Vec<_>>());
    }
}

#[test]
fn the_waiting_poll_is_ended_at_the_probe_and_every_100_ms_after() {
    let mut world = World::open(Version::V3, false);
    world.poll();
    assert!(world.engine.handle_upgrade(world.now));
    assert_eq!(world.acts(), []);
    world.say_by(Lane::Probe, "2probe");
    assert_eq!(world.acts(), [Act::Probe("3probe"), Act::Answer("1:6".into())]);
    world.poll();
    assert_eq!(world.acts(), []);
    assert_eq!(world.pass(Duration::from_millis(100)), None);
    assert_eq!(world.acts(), answer("1:6"));
    world.say_by(Lane::Probe, "5");
    assert_eq!(world.acts(), [Act::TakeOver]);
}

#[test]
fn an_upgrade_that_is_not_finished_in_10_seconds_is_dropped_and_polling_goes_on() {
    for probed in [false, true] {
        let mut world = World::open(Version::V3, false);
        assert!(world.engine.handle_upgrade(world.now));
        assert!(!world.engine.handle_upgrade(world.now), "one at a time");
        if probed {
            world.say_by(Lane::Probe, "2probe");
            world.acts();
        }
        assert_eq!(world.pass(Duration::from_millis(9_999)), None);
        assert_eq!(world.acts(), []);
        assert_eq!(world.pass(Duration::from_millis(1)), None);
        assert_eq!(world.acts(), [Act::DropProbe]);
        world.engine.send_event("[1]").unwrap();
        world.poll();
        assert_eq!(world.acts(), answer("5:42[1]"));
        assert!(world.engine.handle_upgrade(world.now), "it may try again");
    }
}

#[test]
fn a_probe_that_breaks_the_rules_or_goes_away_leaves_polling_alone() {
    for wrong in ["5", "2", "2probes", "4x", "1"] {
        let mut world = World::open(Version::V4, false);
        world.engine.handle_upgrade(world.now);
        world.say_by(Lane::Probe, wrong);
        assert_eq!(world.acts(), [Act::DropProbe], "{wrong}");
        assert!(world.engine.is_polling());
    }
    let mut world = World::open(Version::V4, false);
    world.engine.handle_upgrade(world.now);
    world.engine.handle_probe_gone();
    assert!(world.engine.is_polling() && world.engine.handle_upgrade(world.now));
}

#[test]
fn goodbyes_go_both_ways() {
    let mut world = World::open(Version::V3, false);
    assert_eq!(world.say("41"), Heard::Left);
    assert_eq!(world.say("1"), Heard::Closed);
    world.poll();
    world.engine.accept_goodbye();
    assert_eq!(world.acts(), answer("1:6"));

    let mut polling = World::open(Version::V4, false);
    polling.poll();
    polling.engine.say_goodbye();
    assert_eq!(polling.acts(), answer("41\u{1e}1"));
    let mut websocket = World::open(Version::V4, true);
    websocket.engine.say_goodbye();
    assert_eq!(websocket.acts(), [write("41")], "the websocket has a close frame of its own");
}

#[test]
fn a_client_that_does_not_fetch_is_given_up() {
    let mut world = World::open(Version::V3, false);
    let sent = (0..2000).take_while(|_| world.engine.send_event("[1]").is_ok()).count();
    assert_eq!(sent, MAX_QUEUE);
    let mut world = World::open(Version::V3, false);
    let large = format!("[\"{}\"]", "x".repeat(400_000));
    assert_eq!((0..100).take_while(|_| world.engine.send_event(&large).is_ok()).count(), 4);
    let mut world = World::open(Version::V3, false);
    let pings = (0..5000).take_while(|_| world.say("2") == Heard::Alive).count();
    assert_eq!(pings, MAX_QUEUE);
}

/// A session costs its driver one timer: there is always exactly one next deadline, and it is in the future.
#[test]
fn an_idle_session_wakes_rarely() {
    let mut world = World::open(Version::V3, false);
    let mut wakes = 0;
    for _ in 0..60 {
        world.say("2");
        world.acts();
        while world.engine.next_timeout() <= world.now + seconds(25) {
            world.now = world.engine.next_timeout();
            assert_eq!(world.engine.handle_timeout(world.now), None);
            wakes += 1;
        }
        world.now += seconds(25);
    }
    assert_eq!(wakes, 0, "a session that hears from its client in time is never woken");
}

/// vamp.md §9 line 22. The wheel has one entry for each session, which is all that its driver sleeps on (`Session::next_wake`).
#[test]
fn a_thousand_idle_sessions_that_poll_need_one_timer_each() {
    const SESSIONS: usize = 1000;
    let start = Instant::now();
    let mut sessions: Vec<World> = (0..SESSIONS).map(|_| World::open(Version::V3, false)).collect();
    let mut wheel = std::collections::BTreeSet::new();
    let mut wakes = 0;
    for (at, session) in sessions.iter_mut().enumerate() {
        session.now = start;
        session.poll();
        wheel.insert((session.engine.next_timeout(), at));
    }
    // ten minutes: each client pings every 25 s, and polls again when its poll is answered
    for round in 1..=24 {
        let until = start + seconds(25) * round;
        while wheel.first().is_some_and(|(due, _)| *due <= until) {
            let (due, at) = wheel.pop_first().expect("just seen");
            let session = &mut sessions[at];
            session.now = due;
            assert_eq!(session.engine.handle_timeout(due), None, "nobody is given up");
            if !session.acts().is_empty() {
                session.poll();
            }
            wakes += 1;
            wheel.insert((session.engine.next_timeout(), at));
            assert!(session.engine.next_timeout() > due, "what is due is done");
        }
        for session in &mut sessions {
            session.now = until;
            session.say("2");
            session.acts();
            session.poll();
        }
    }
    assert_eq!(wheel.len(), SESSIONS);
    assert!(wakes <= SESSIONS * 24, "{wakes}");
}

proptest! {
    /// Whatever comes in whatever order: the queue stays bounded, and no deadline is left behind.
    #[test]
    fn any_packets_on_any_lane_in_any_order(
        steps in proptest::collection::vec((0_u8..6, 0_usize..16, any::<u16>()), 0..200), four: bool, websocket: bool,
    ) {
        let texts = [
            "2", "3", "2probe", "5", "6", "1", "0{}", "40", "41", "40/x", "42[\"a\"]", "42[", "43[]", "451-[]", "b4AA==", "4",
        ];
        let version = if four { Version::V4 } else { Version::V3 };
        let mut world = World::new(version, websocket);
        for (step, text, ms) in steps {
            match step {
                0 => drop(world.engine.handle_poll(world.now)),
                1 => drop(world.engine.handle_upgrade(world.now)),
                2 => drop(world.engine.send_event("[\"x\"]")),
                3 => drop(world.pass(Duration::from_millis(u64::from(ms)))),
                _ => {
                    let lane = [Lane::Polling, Lane::Websocket, Lane::Probe][usize::from(ms) % 3];
                    if let Ok(packet) = parse_text(version, texts[text]).or_else(|_| parse_binary(version, texts[text].as_bytes())) {
                        world.engine.handle(world.now, lane, packet);
                    }
                }
            }
            for act in world.acts() {
                if act == Act::TakeOver {
                    prop_assert!(world.engine.is_websocket());
                }
            }
            prop_assert!(world.engine.queue.len() <= MAX_QUEUE + 8);
            let late = world.engine.handle_timeout(world.now);
            prop_assert!(late.is_some() || world.engine.next_timeout() > world.now);
        }
    }
}
