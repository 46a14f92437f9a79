//! The rules of the realm and of a session, by simulated time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::realm::ANNOUNCE_EVERY;
use super::*;
use crate::room::{EndReason, Refusal, Welcome};
use crate::signalling::{Realm, RealmOutput};
use crate::vocab::{MemberId, SessionId};

struct Table {
    now: Instant,
    realm: StarRealm,
    figures: Arc<StarFigures>,
    next: u64,
}

impl Table {
    fn new() -> Self {
        Self::with(StarConfig::default())
    }

    fn with(config: StarConfig) -> Self {
        let figures = StarFigures::shared();
        Self { now: Instant::now(), realm: StarRealm::new(config, Arc::clone(&figures)), figures, next: 0 }
    }

    fn say(&mut self, from: SessionId, message: StarMessage) {
        self.realm.handle(self.now, from, RealmMessage::Star(message));
    }

    /// A new connection that joins; what it and others are told by that is dropped.
    fn joined(&mut self, address: &str) -> SessionId {
        let session = self.session();
        self.say(session, StarMessage::Join(address.into()));
        self.heard();
        session
    }

    fn session(&mut self) -> SessionId {
        self.next += 1;
        SessionId(self.next)
    }

    fn shake(&mut self, from: SessionId, object: Value) {
        self.say(from, StarMessage::Handshake(Some(object.to_string())));
    }

    /// Who is told what.
    fn heard(&mut self) -> Vec<(SessionId, Value)> {
        std::iter::from_fn(|| self.realm.poll_output()).map(read).collect()
    }

    /// Lets time pass, and tells what was heard when, in milliseconds.
    fn pass(&mut self, time: Duration) -> Vec<(u128, SessionId, Value)> {
        let (start, until) = (self.now, self.now + time);
        let mut told = Vec::new();
        while let Some(at) = self.realm.next_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.realm.handle_timeout(at);
            told.extend(self.heard().into_iter().map(|(to, event)| ((at - start).as_millis(), to, event)));
        }
        self.now = until;
        told
    }

    fn figures(&self) -> [u64; 7] {
        let f = &self.figures;
        [&f.peers, &f.joins, &f.joins_succeeded, &f.joins_failed, &f.dials, &f.dials_succeeded, &f.dials_failed]
            .map(|figure| figure.load(Ordering::Relaxed))
    }
}

fn read(output: RealmOutput) -> (SessionId, Value) {
    let RealmWord::Star(StarWord(event)) = output.word else { panic!("not of this dialect") };
    (output.to, serde_json::from_str(&event).unwrap())
}

fn peer(address: &str) -> Value {
    json!(["ws-peer", address])
}

fn offer(source: &str, target: &str) -> Value {
    json!({"intentId":"9f","srcMultiaddr":source,"dstMultiaddr":target,"signal":{"type":"offer","sdp":"v=0","x":[1]},"more":{"n":null}})
}

fn with(mut object: Value, member: &str, value: Value) -> Value {
    object[member] = value;
    object
}

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn a_join_is_told_to_all_others_at_once_and_to_the_joiner_never() {
    let mut table = Table::new();
    let (a, b) = (table.joined("/a"), table.joined("/b"));
    let c = table.session();
    table.say(c, StarMessage::Join("/c".into()));
    assert_eq!(table.heard(), [(a, peer("/c")), (b, peer("/c"))]);
}

#[test]
fn announcements_repeat_every_ten_seconds_per_connection() {
    let mut table = Table::new();
    let a = table.joined("/a");
    table.pass(MS(4_000));
    let b = table.joined("/b");
    let told = table.pass(MS(20_000));
    assert_eq!(told, [(6_000, b, peer("/a")), (10_000, a, peer("/b")), (16_000, b, peer("/a")), (20_000, a, peer("/b"))]);
    table.say(a, StarMessage::Leave);
    assert_eq!(table.pass(MS(30_000)), [], "b has nobody to be told to");
    table.realm.handle_gone(table.now, b);
    assert_eq!(table.realm.next_timeout(), None, "nothing is waited for where nobody is");
}

#[test]
fn a_sleep_of_the_process_does_not_double_announcements() {
    let mut table = Table::new();
    let (a, b) = (table.joined("/a"), table.joined("/b"));
    table.now += MS(35_000);
    table.realm.handle_timeout(table.now);
    assert_eq!(table.heard(), [(b, peer("/a")), (a, peer("/b"))]);
    assert_eq!(table.realm.next_timeout(), Some(table.now + ANNOUNCE_EVERY));
}

#[test]
fn the_same_address_again_keeps_one_timer_and_another_replaces_the_first() {
    let mut table = Table::new();
    let (a, b) = (table.joined("/a"), table.joined("/b"));
    table.pass(MS(3_000));
    table.say(b, StarMessage::Join("/b".into()));
    assert_eq!(table.heard(), [(a, peer("/b"))]);
    assert_eq!(table.pass(MS(7_000)).len(), 2, "one announcement each");
    table.say(b, StarMessage::Join("/other".into()));
    assert_eq!(table.heard(), [(a, peer("/other"))]);
    assert!(table.pass(MS(30_000)).iter().all(|(_, to, event)| *to != a || *event == peer("/other")));
    table.shake(a, offer("/a", "/b"));
    assert_eq!(table.heard(), [(a, json!(["ws-handshake", with(offer("/a", "/b"), "err", json!("peer is not available"))]))]);
}

#[test]
fn an_address_that_was_taken_over_survives_the_end_of_the_old_connection() {
    let mut table = Table::new();
    let (a, old) = (table.joined("/a"), table.joined("/b"));
    let new = table.joined("/b");
    for end in [true, false] {
        if end {
            table.say(old, StarMessage::Leave)
        } else {
            table.realm.handle_gone(table.now, old)
        }
        table.shake(a, offer("/a", "/b"));
        assert_eq!(table.heard(), [(new, json!(["ws-handshake", offer("/a", "/b")]))]);
    }
    table.shake(old, offer("/b", "/a"));
    assert_eq!(table.heard(), [], "the old connection speaks for nobody");
}

#[test]
fn offers_answers_and_candidates_arrive_unchanged_and_in_order() {
    let mut table = Table::new();
    let (a, b) = (table.joined("/a"), table.joined("/b"));
    let candidate = with(offer("/a", "/b"), "signal", json!({"type":"candidate","candidate":{"candidate":"c","sdpMid":"0"}}));
    table.shake(a, candidate.clone());
    table.shake(a, offer("/a", "/b"));
    let answer = with(offer("/a", "/b"), "answer", json!(true));
    table.shake(b, answer.clone());
    let told = table.heard();
    assert_eq!(
        told,
        [
            (b, json!(["ws-handshake", candidate])),
            (b, json!(["ws-handshake", offer("/a", "/b")])),
            (a, json!(["ws-handshake", answer])),
        ]
    );
    // byte for byte, order of members and numbers included
    let text = r#"{"z":1.50,"srcMultiaddr":"/a","dstMultiaddr":"/b","signal":{ "type":"offer" },"é":"😀"}"#;
    table.say(a, StarMessage::Handshake(Some(text.into())));
    let Some(RealmOutput { word: RealmWord::Star(StarWord(event)), .. }) = table.realm.poll_output() else { panic!() };
    assert_eq!(*event, format!(r#"["ws-handshake",{text}]"#));
}

#[test]
fn answers_are_those_with_exactly_true() {
    let mut table = Table::new();
    let (a, b) = (table.joined("/a"), table.joined("/b"));
    for not_true in [json!(1), json!("true"), json!(false), json!(null)] {
        let sent = with(offer("/a", "/b"), "answer", not_true);
        table.shake(a, sent.clone());
        assert_eq!(table.heard(), [(b, json!(["ws-handshake", sent]))], "an offer by its sender");
    }
    table.shake(b, with(offer("/absent", "/b"), "answer", json!(true)));
    assert_eq!(table.heard(), [], "to nobody, silently");
    table.shake(a, offer("/a", "/a"));
    assert_eq!(table.heard(), [(a, json!(["ws-handshake", offer("/a", "/a")]))], "row 9");
}

#[test]
fn an_absent_peer_is_told_to_the_sender_with_everything_it_sent() {
    let mut table = Table::new();
    let a = table.joined("/a");
    table.shake(a, offer("/a", "/absent"));
    let error = with(offer("/a", "/absent"), "err", json!("peer is not available"));
    assert_eq!(table.heard(), [(a, json!(["ws-handshake", error]))]);
}

#[test]
fn what_is_no_handshake_and_what_speaks_for_others_is_dropped_and_counted() {
    let mut table = Table::new();
    let (a, _b) = (table.joined("/a"), table.joined("/b"));
    let mut junk = vec![json!({}), json!({"srcMultiaddr":"/a"}), json!({"dstMultiaddr":"/b"})];
    for (member, value) in [
        ("signal", json!(null)),
        ("signal", json!("offer")),
        ("signal", json!([1])),
        ("srcMultiaddr", json!(1)),
        ("dstMultiaddr", json!(["/b"])),
        ("srcMultiaddr", json!("/b")),
    ] {
        junk.push(with(offer("/a", "/b"), member, value));
    }
    junk.push(with(offer("/b", "/a"), "answer", json!(false)));
    junk.push(with(offer("/a", "/b"), "answer", json!(true)));
    let count = junk.len() as u64;
    junk.into_iter().for_each(|object| table.shake(a, object));
    table.say(a, StarMessage::Handshake(None));
    table.say(a, StarMessage::Handshake(Some("{\"srcMultiaddr\":".into())));
    let stranger = table.session();
    table.shake(stranger, offer("/a", "/b"));
    assert_eq!(table.heard(), []);
    assert_eq!(table.figures(), [2, 2, 2, 0, count + 3, 0, count + 3]);
}

#[test]
fn without_enforcement_anybody_may_speak_for_anybody() {
    let mut table = Table::with(StarConfig { enforce_source: false, ..StarConfig::default() });
    let b = table.joined("/b");
    let stranger = table.session();
    table.shake(stranger, offer("/a", "/b"));
    assert_eq!(table.heard(), [(b, json!(["ws-handshake", offer("/a", "/b")]))]);
    table.shake(stranger, offer("/b", "/absent"));
    assert_eq!(table.heard(), [], "errors go to the sender alone");
}

#[test]
fn addresses_compare_without_a_last_slash_and_by_the_present_name() {
    let mut table = Table::new();
    let (a, b) = (table.joined("/a/p2p/QmA"), table.joined("/b/ipfs/QmB/"));
    table.shake(a, offer("/a/ipfs/QmA", "/b/p2p/QmB"));
    assert_eq!(table.heard(), [(b, json!(["ws-handshake", offer("/a/ipfs/QmA", "/b/p2p/QmB")]))]);
    assert!(table.pass(MS(10_000)).contains(&(10_000, a, peer("/b/ipfs/QmB/"))), "announced as it came");
}

#[test]
fn a_leave_takes_out_only_the_own_address() {
    let mut table = Table::new();
    let (a, b) = (table.joined("/a"), table.joined("/b"));
    table.say(b, StarMessage::Leave);
    table.say(b, StarMessage::Leave);
    table.shake(b, offer("/b", "/a"));
    assert_eq!(table.heard(), []);
    assert_eq!(table.pass(MS(20_000)), []);
    table.say(b, StarMessage::Join("/b".into()));
    assert_eq!(table.heard(), [(a, peer("/b"))], "it may join again");
    assert_eq!(table.figures()[0], 2);
}

#[test]
fn more_than_the_limit_and_longer_than_the_limit_are_counted_as_failed() {
    let mut table = Table::with(StarConfig { max_peers: 2, ..StarConfig::default() });
    table.joined("/a");
    let b = table.joined("/b");
    let late = table.joined("/c");
    assert_eq!(table.figures()[..4], [2, 3, 2, 1]);
    table.shake(late, offer("/c", "/a"));
    assert_eq!(table.heard(), []);
    table.say(b, StarMessage::Join("/d".into()));
    table.say(b, StarMessage::Join("x".repeat(1025)));
    table.say(b, StarMessage::JoinFailed);
    assert_eq!(table.figures()[..4], [2, 6, 3, 3]);
}

#[test]
fn a_joiner_can_be_told_at_once_who_is_there() {
    let mut table = Table::with(StarConfig { announce_on_join: true, ..StarConfig::default() });
    let a = table.joined("/a");
    let b = table.session();
    table.say(b, StarMessage::Join("/b".into()));
    assert_eq!(table.heard(), [(a, peer("/b")), (b, peer("/a"))]);
}

#[test]
fn figures_follow_a_known_sequence() {
    let mut table = Table::new();
    let (a, b) = (table.joined("/a"), table.joined("/b"));
    table.say(a, StarMessage::JoinFailed);
    table.shake(a, offer("/a", "/b"));
    table.shake(b, with(offer("/a", "/b"), "answer", json!(true)));
    table.shake(a, offer("/a", "/absent"));
    table.realm.handle_gone(table.now, a);
    assert_eq!(table.figures(), [1, 3, 2, 1, 3, 1, 1]);
    assert_eq!(
        table.figures.totals().map(|(name, _, value)| (name, value)),
        [("webrtc_star_joins", 3), ("webrtc_star_dials", 3)]
    );
}

// ---- a session ----

fn session() -> Star {
    Star::new(Deps {
        grant: Grant::all(""),
        remote: None,
        room: RoomId::new("webrtc-star").unwrap(),
        config: StarConfig::default(),
    })
}

fn say(star: &mut Star, event: Value) -> Vec<Output> {
    star.handle_frame(Instant::now(), Frame::Text(&event.to_string())).unwrap();
    std::iter::from_fn(|| star.poll_output()).collect()
}

fn tell(star: &mut Star, notice: Notice) -> Vec<Output> {
    star.handle_notice(Instant::now(), &notice);
    std::iter::from_fn(|| star.poll_output()).collect()
}

fn welcome(req: RequestId) -> Notice {
    let room = RoomId::new("webrtc-star").unwrap();
    let others = Vec::new();
    Notice::Welcome(Box::new(Welcome { req, member: MemberId::random(), room, topology: Topology::Mesh, size: 0, others }))
}

fn join(star: &mut Star) -> RequestId {
    let outputs = say(star, json!(["ss-join", "/a"]));
    let [Output::Command(req, Command::Join(joining))] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(!joining.visible && joining.user_id == "/a" && joining.dialect == DialectName::Star);
    *req
}

#[test]
fn a_session_joins_its_room_before_the_table_and_keeps_what_comes_meanwhile() {
    let mut star = session();
    let req = join(&mut star);
    assert!(say(&mut star, json!(["ss-handshake", {"n":1}])).is_empty());
    assert!(say(&mut star, json!(["ss-leave", 7])).is_empty());
    let outputs = tell(&mut star, welcome(req));
    assert!(
        matches!(&outputs[..], [
            Output::Realm(RealmMessage::Star(StarMessage::Join(address))),
            Output::Realm(RealmMessage::Star(StarMessage::Handshake(Some(object)))),
            Output::Realm(RealmMessage::Star(StarMessage::Leave)),
        ] if address == "/a" && object == r#"{"n":1}"#),
        "{outputs:?}"
    );
    let again = say(&mut star, json!(["ss-join", "/b"]));
    assert!(matches!(&again[..], [Output::Realm(RealmMessage::Star(StarMessage::Join(address)))] if address == "/b"));
}

#[test]
fn a_refused_join_counts_as_failed_and_may_be_tried_again() {
    let mut star = session();
    let req = join(&mut star);
    let why = Refusal::RoomFull { room: RoomId::new("webrtc-star").unwrap(), limit: 1 };
    let outputs = tell(&mut star, Notice::Refused { req, why });
    assert!(matches!(&outputs[..], [Output::Realm(RealmMessage::Star(StarMessage::JoinFailed))]));
    join(&mut star);
}

#[test]
fn joins_of_what_is_no_address_change_only_the_figures() {
    let mut star = session();
    let long = "x".repeat(1025);
    for event in
        [json!(["ss-join"]), json!(["ss-join", null]), json!(["ss-join", 1]), json!(["ss-join", {}]), json!(["ss-join", long])]
    {
        let outputs = say(&mut star, event);
        assert!(matches!(&outputs[..], [Output::Realm(RealmMessage::Star(StarMessage::JoinFailed))]), "{outputs:?}");
    }
    for event in [json!(["ss-leave", "/a"]), json!(["join vamp", "v"]), json!(["other"]), json!({}), json!([])] {
        assert!(say(&mut star, event).is_empty());
    }
    for event in
        [json!(["ss-handshake"]), json!(["ss-handshake", null]), json!(["ss-handshake", 1]), json!(["ss-handshake", [1]])]
    {
        let outputs = say(&mut star, event);
        assert!(matches!(&outputs[..], [Output::Realm(RealmMessage::Star(StarMessage::Handshake(None)))]), "{outputs:?}");
    }
}

#[test]
fn words_of_the_table_are_sent_as_they_are_until_the_end() {
    let mut star = session();
    let word = || RealmWord::Star(StarWord(Arc::new(r#"["ws-peer","/b"]"#.into())));
    star.handle_realm(Instant::now(), word());
    assert!(matches!(star.poll_output(), Some(Output::Send(text)) if text == r#"["ws-peer","/b"]"#));
    assert!(matches!(tell(&mut star, Notice::Ended { reason: EndReason::Stopping })[..], [Output::Close { code: 1001, .. }]));
    star.handle_realm(Instant::now(), word());
    assert!(star.poll_output().is_none());
}

/// Replays the conversation of the protocol page; clock and ids are made up, everything else is as recorded.
#[test]
fn the_recorded_conversation_holds() {
    let lines = include_str!("../../../tests/transcripts/star/conversation.jsonl");
    let mut table = Table::new();
    let (a, b) = (table.session(), table.session());
    let who = |name: &str| if name == "A" { a } else { b };
    let mut expected = Vec::new();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let step: Value = serde_json::from_str(line).unwrap();
        let after = Duration::from_millis(step["after_ms"].as_u64().unwrap_or_default());
        let timed: Vec<_> = table.pass(after).into_iter().map(|(_, to, event)| (to, event)).collect();
        expected.extend(timed);
        if let Some(name) = step["from"].as_str() {
            let event = Event::read(step["event"].as_str().unwrap()).unwrap();
            let message = match event.name.as_ref() {
                "ss-join" => StarMessage::Join(event.text().unwrap()),
                "ss-leave" => StarMessage::Leave,
                _ => StarMessage::Handshake(event.object().map(str::to_owned)),
            };
            table.say(who(name), message);
        }
        expected.extend(table.heard());
        if let Some(name) = step["to"].as_str() {
            let (to, event) = expected.remove(0);
            assert_eq!((to, event), (who(name), serde_json::from_str(step["event"].as_str().unwrap()).unwrap()), "{line}");
        } else if step["quiet"].as_bool() == Some(true) {
            assert_eq!(expected, [], "{line}");
        }
    }
    assert_eq!(expected, []);
}

proptest! {
    /// Whatever is said in whatever order: nobody hears of itself, tables and timers fit each other, nothing is told to strangers.
    #[test]
    fn any_sequence_keeps_the_table_whole(steps in proptest::collection::vec((0_u8..6, 0_u64..6, 0_u8..4, 0_u64..30_000), 0..120)) {
        let mut table = Table::with(StarConfig { max_peers: 4, ..StarConfig::default() });
        let mut joined = std::collections::HashMap::new();
        for (step, who, address, ms) in steps {
            let from = SessionId(who);
            let address = format!("/{address}");
            match step {
                0 | 1 => table.say(from, StarMessage::Join(address)),
                2 => table.say(from, StarMessage::Leave),
                3 => table.shake(from, offer(&address, "/0")),
                4 => table.realm.handle_gone(table.now, from),
                _ => drop(table.pass(Duration::from_millis(ms))),
            }
            joined.insert(from, ());
            for (to, _) in table.heard() {
                prop_assert!(joined.contains_key(&to));
            }
            let [peers, ..] = table.figures();
            prop_assert!(peers <= 4);
            prop_assert_eq!(peers == 0, table.realm.next_timeout().is_none());
        }
    }

    #[test]
    fn any_text_leaves_a_session_alone(text in "\\PC{0,60}", junk in "[\\[\\]{}\":,a-z0-9 -]{0,60}") {
        let mut star = session();
        for text in [text, junk] {
            star.handle_frame(Instant::now(), Frame::Text(&text)).unwrap();
            star.handle_frame(Instant::now(), Frame::Binary(text.as_bytes())).unwrap();
        }
        while star.poll_output().is_some() {}
    }
}
