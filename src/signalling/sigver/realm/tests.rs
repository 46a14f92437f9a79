use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::signalling::sigver::flow::{BURST, BYTES_PER_SECOND};

/// Groups whose signalling ids are 1, 2, 3 …, and what their sessions were told.
struct World {
    groups: Groups,
    now: Instant,
    told: Vec<(u64, Word)>,
}

impl World {
    fn new() -> Self {
        let mut number = 0;
        let random = move || {
            number += 1;
            number
        };
        Self { groups: Groups::new(Box::new(random)), now: Instant::now(), told: Vec::new() }
    }

    fn say(&mut self, session: u64, said: Said) {
        self.groups.handle(self.now, SessionId(session), RealmMessage::Sigver(said));
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(RealmOutput { to, word }) = self.groups.poll_output() {
            #[allow(irrefutable_let_patterns)] // as long as no other dialect keeps a realm
            let RealmWord::Sigver(word) = word else { panic!("another dialect's word") };
            self.told.push((to.0, word));
        }
    }

    fn enter(&mut self, session: u64, key: &str) {
        self.say(session, Said::Enter { key: key.into(), favored: false });
    }

    /// Asks; true when the session is a member afterwards. Whatever else is told stays in `told`.
    fn connect(&mut self, session: u64, id: u32, members: &[u32]) -> bool {
        self.say(session, Said::Connect(GroupData { id, members: members.to_vec() }));
        let at = self.told.iter().position(|(to, word)| *to == session && matches!(word, Word::Connected(_)));
        let (_, Word::Connected(answer)) = self.told.remove(at.expect("an answer")) else { panic!("no answer") };
        answer
    }

    fn content(&mut self, session: u64, recipient: u32, last: bool, data: &'static str) {
        self.say(session, Said::Content { recipient, last, data: Bytes::from_static(data.as_bytes()) });
    }

    /// What was told since the last look: to whom, sender, recipient, data.
    fn contents(&mut self) -> Vec<(u64, u32, u32, Option<String>)> {
        let told = std::mem::take(&mut self.told);
        told.into_iter()
            .map(|(to, word)| match word {
                Word::Content(it) => (to, it.sender, it.recipient, it.data.map(|data| String::from_utf8(data.to_vec()).unwrap())),
                other => panic!("{other:?} to {to}"),
            })
            .collect()
    }

    fn closed(&mut self) -> Vec<(u64, Verdict)> {
        let told = std::mem::take(&mut self.told);
        let close = |(to, word)| if let Word::Close(why) = word { Some((to, why)) } else { None };
        told.into_iter().filter_map(close).collect()
    }

    fn gone(&mut self, session: u64) {
        self.groups.handle_gone(self.now, SessionId(session));
        self.drain();
    }

    /// Sends from a joiner and tells which session got it.
    fn partner_of(&mut self, joiner: u64) -> u64 {
        self.content(joiner, 0, false, "?");
        let got = self.contents();
        assert_eq!(got.len(), 1, "{got:?}");
        got[0].0
    }

    /// A group of these members, whose Netflux ids are their numbers.
    fn group(members: &[u64]) -> Self {
        let mut world = Self::new();
        for &member in members {
            world.enter(member, "doc1");
            let seen: Vec<u32> = members.iter().take_while(|it| **it != member).map(|it| *it as u32).collect();
            assert!(world.connect(member, member as u32, &seen));
        }
        world
    }

    /// … and a joiner 9 that was answered false.
    fn with_joiner(members: &[u64]) -> Self {
        let mut world = Self::group(members);
        world.enter(9, "doc1");
        assert!(!world.connect(9, 9, &[]));
        world
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

// checklist 2; row 1
#[test]
fn the_first_of_a_key_is_a_member() {
    let mut world = World::new();
    world.enter(1, "doc1");
    world.enter(2, "doc2");
    assert!(world.connect(1, 100, &[]));
    assert!(world.connect(2, 200, &[123, 456]), "what it says of others does not matter");
}

// row 2
#[test]
fn the_only_member_stays_one_and_its_id_is_renewed() {
    let mut world = World::group(&[1]);
    assert!(world.connect(1, 1, &[]) && world.connect(1, 1, &[77]) && world.connect(1, 50, &[]));
    world.enter(2, "doc1");
    assert!(world.connect(2, 2, &[50]), "the new id counts");
}

// checklist 3, 4
#[test]
fn a_joiner_is_bound_and_both_reach_each_other() {
    let mut world = World::with_joiner(&[1]);
    world.content(9, 0, false, "hello");
    assert_eq!(world.contents(), [(1, 1, 0, text("hello"))]);
    world.content(1, 1, false, "welcome");
    assert_eq!(world.contents(), [(9, 0, 1, text("welcome"))]);
    // whatever a joiner writes as recipient
    world.content(9, 4711, false, "again");
    assert_eq!(world.contents(), [(1, 1, 0, text("again"))]);
}

#[test]
fn signalling_ids_are_random_not_0_below_2_31_and_of_one_binding() {
    let mut numbers = vec![0, 1 << 31, 7, 7, (1 << 31) + 7, 8].into_iter();
    let mut groups = Groups::new(Box::new(move || numbers.next().expect("no more are needed")));
    assert_eq!(groups.fresh_number(), 7);
    let (joiner, member) = (SessionId(1), SessionId(2));
    let way = || Way::new(Instant::now());
    groups.bindings.insert(7, Binding { joiner: Some(joiner), member, to_member: way(), to_joiner: way() });
    assert_eq!(groups.fresh_number(), 8);
}

// checklist 5
#[test]
fn two_joiners_of_one_member_do_not_see_each_other() {
    let mut world = World::with_joiner(&[1]);
    world.enter(8, "doc1");
    assert!(!world.connect(8, 8, &[]));
    world.content(9, 0, false, "of 9");
    world.content(8, 0, false, "of 8");
    assert_eq!(world.contents(), [(1, 1, 0, text("of 9")), (1, 2, 0, text("of 8"))]);
    world.content(1, 2, false, "to 8");
    assert_eq!(world.contents(), [(8, 0, 2, text("to 8"))]);
    // a joiner cannot speak for the member
    world.content(8, 1, false, "forged");
    assert_eq!(world.contents(), [(1, 2, 0, text("forged"))]);
}

// checklist 6; rows 3 and 5
#[test]
fn who_sees_a_member_is_one() {
    let mut world = World::group(&[1]);
    world.enter(2, "doc1");
    assert!(world.connect(2, 2, &[7, 1]), "row 3");
    world.enter(3, "doc1");
    assert!(world.connect(3, 3, &[2]), "row 5");
    assert!(world.connect(3, 30, &[1]), "still");
    world.enter(4, "doc1");
    assert!(!world.connect(4, 4, &[3]), "an id that was given up");
    assert!(world.connect(4, 4, &[30]));
}

// checklist 7; row 4; conversation 18, 19
#[test]
fn a_joiner_replaces_the_only_member_that_did_not_take_it_in() {
    let mut world = World::with_joiner(&[1]);
    assert!(world.connect(9, 9, &[]));
    assert_eq!(world.closed(), [(1, Verdict::Blocking)]);
    // what the closed one still says does not bring it back
    world.say(1, Said::Connect(GroupData { id: 1, members: vec![9] }));
    world.content(1, 1, false, "late");
    assert!(world.told.is_empty());
    world.enter(2, "doc1");
    assert!(!world.connect(2, 2, &[1]));
    assert_eq!(world.partner_of(2), 9);
    // the replaced one's end reaches the joiner it was bound to
    world.gone(1);
    assert_eq!(world.contents(), [(9, 0, 1, None)]);
}

#[test]
fn the_answer_comes_before_the_replaced_one_is_closed() {
    let mut world = World::with_joiner(&[1]);
    world.say(9, Said::Connect(GroupData { id: 9, members: vec![] }));
    assert!(matches!(world.told[..], [(9, Word::Connected(true)), (1, Word::Close(Verdict::Blocking))]));
}

// checklist 8
#[test]
fn repeated_asking_goes_round_the_members() {
    let mut world = World::with_joiner(&[1, 2]);
    let mut seen = vec![world.partner_of(9)];
    for _ in 0..3 {
        assert!(!world.connect(9, 9, &[]));
        seen.push(world.partner_of(9));
    }
    assert_eq!(seen, [1, 2, 1, 2]);
}

// checklist 9
#[test]
fn a_favored_member_goes_before_others() {
    let mut world = World::group(&[1, 2]);
    world.say(3, Said::Enter { key: "doc1".into(), favored: true });
    assert!(world.connect(3, 3, &[1]));
    world.enter(9, "doc1");
    let mut seen = Vec::new();
    for _ in 0..5 {
        assert!(!world.connect(9, 9, &[]));
        seen.push(world.partner_of(9));
    }
    assert_eq!(seen, [3, 1, 2, 3, 1]);
}

// checklist 10; row 6
#[test]
fn a_member_of_another_view_is_a_joiner_again() {
    let mut world = World::group(&[1, 2, 3]);
    assert!(!world.connect(2, 2, &[77]));
    assert_eq!(world.partner_of(2), 1);
    world.enter(9, "doc1");
    assert!(!world.connect(9, 9, &[2]), "it is no member any more");
    assert!(world.connect(2, 2, &[3]), "split groups heal");
}

// checklist 17; conversation 16
#[test]
fn the_end_of_either_is_told_the_other_once() {
    let mut world = World::with_joiner(&[1, 2]);
    world.gone(9);
    assert_eq!(world.contents(), [(1, 1, 0, None)]);
    world.gone(9);
    assert_eq!(world.contents(), []);

    let mut world = World::with_joiner(&[1, 2]);
    world.gone(1);
    assert_eq!(world.contents(), [(9, 0, 1, None)]);
    world.content(9, 0, false, "to nobody");
    assert_eq!(world.contents(), [], "checklist 19");
    assert!(!world.connect(9, 9, &[]));
    assert_eq!(world.partner_of(9), 2, "it starts over");
}

#[test]
fn a_member_that_leaves_the_binding_by_asking_anew_is_not_told_of() {
    let mut world = World::with_joiner(&[1, 2]);
    assert!(!world.connect(9, 9, &[]));
    world.content(1, 1, false, "late");
    assert_eq!(world.contents(), [], "the old partner is told nothing and reaches nobody");
    world.gone(1);
    assert_eq!(world.contents(), []);
}

// checklist 18
#[test]
fn last_data_ends_one_direction() {
    let mut world = World::with_joiner(&[1]);
    world.content(9, 0, true, "last");
    world.content(9, 0, false, "late");
    assert_eq!(world.contents(), [(1, 1, 0, text("last"))]);
    world.content(1, 1, false, "still");
    assert_eq!(world.contents(), [(9, 0, 1, text("still"))]);
    world.content(1, 1, true, "last");
    world.content(1, 1, false, "late");
    assert_eq!(world.contents(), [(9, 0, 1, text("last"))]);
    // an end that was said is not said again
    world.gone(9);
    assert_eq!(world.contents(), []);
}

// checklist 19
#[test]
fn content_without_a_binding_is_ignored() {
    let mut world = World::group(&[1]);
    world.content(1, 5, false, "to nobody");
    world.enter(2, "doc1");
    world.content(2, 0, false, "to nobody");
    // and of one that never said where it belongs
    world.content(3, 0, false, "to nobody");
    world.say(3, Said::Connect(GroupData::default()));
    assert_eq!(world.contents(), []);
}

#[test]
fn a_new_member_keeps_its_binding_and_may_serve_others() {
    let mut world = World::with_joiner(&[1]);
    assert!(world.connect(9, 9, &[1]));
    world.content(9, 0, false, "late candidate");
    assert_eq!(world.contents(), [(1, 1, 0, text("late candidate"))]);
    // 1 is gone, 8 comes and is bound to 9, which still says something without naming 8
    world.enter(8, "doc1");
    assert!(!world.connect(8, 8, &[]));
    assert!(!world.connect(8, 8, &[]));
    assert_eq!(world.partner_of(8), 9);
    world.content(9, 3, false, "to 8");
    assert_eq!(world.contents(), [(8, 0, 3, text("to 8"))], "only to the joiner that was named");
    world.content(9, 0, false, "to 1");
    assert_eq!(world.contents(), [(1, 1, 0, text("to 1"))]);
}

// checklist 21
#[test]
fn the_last_one_ends_the_group() {
    let mut world = World::group(&[1]);
    world.gone(1);
    assert!(world.groups.groups.is_empty() && world.groups.connections.is_empty() && world.groups.bindings.is_empty());
    world.enter(2, "doc1");
    assert!(world.connect(2, 2, &[]));
}

// checklist 22
#[test]
fn after_a_restart_ten_clients_are_members_again() {
    let members: Vec<u32> = (1..=10).collect();
    for first in [3, 10, 1] {
        let mut world = World::new();
        for at in 0..10 {
            let me = (first + at) % 10 + 1;
            let others: Vec<u32> = members.iter().copied().filter(|id| *id != me).collect();
            world.enter(u64::from(me), "doc1");
            assert!(world.connect(u64::from(me), me, &others), "without a binding, so without a new channel");
        }
        assert!(world.groups.bindings.is_empty());
    }
}

#[test]
fn a_dead_connection_of_the_same_client_does_no_harm() {
    let mut world = World::group(&[1, 2]);
    world.enter(3, "doc1"); // client 1 again
    assert!(world.connect(3, 1, &[2]));
    world.gone(1);
    world.enter(4, "doc1");
    assert!(world.connect(4, 4, &[1]));
}

#[test]
fn too_much_content_closes_its_sender() {
    let mut world = World::with_joiner(&[1, 2]);
    const CHUNK: usize = 32 * 1024;
    let chunk =
        |world: &mut World| world.say(9, Said::Content { recipient: 0, last: false, data: Bytes::from_static(&[0; CHUNK]) });
    let burst = BURST / CHUNK;
    for _ in 0..burst {
        chunk(&mut world);
        world.told.clear(); // read
    }
    world.now += Duration::from_millis(500);
    const { assert!(BYTES_PER_SECOND / 2 == CHUNK) };
    chunk(&mut world);
    assert!(matches!(world.told[..], [(1, Word::Content(_))]));
    world.told.clear();
    chunk(&mut world);
    assert_eq!(world.closed(), [(9, Verdict::Flooding)]);
    chunk(&mut world);
    assert!(world.told.is_empty());
}

#[test]
fn a_reader_that_does_not_read_is_closed_and_holds_little() {
    let mut world = World::group(&[1, 2]);
    let data = Bytes::from_static(&[0; 100 * 1024]);
    for joiner in 10..14 {
        world.enter(joiner, "doc1");
        world.say(joiner, Said::Connect(GroupData { id: joiner as u32, members: vec![] }));
        world.say(joiner, Said::Content { recipient: 0, last: false, data: data.clone() });
    }
    let waiting = world.told.iter().filter(|(to, word)| *to == 1 && matches!(word, Word::Content(_))).count();
    assert_eq!(waiting, 2, "256 KiB");
    assert_eq!(world.closed(), [(1, Verdict::Slow)]);
    assert!(world.connect(2, 2, &[]), "the others go on");
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u64, u8, bool),
    Connect(u64, u32, Vec<u32>),
    Content(u64, u32, bool, usize),
    Gone(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..8_u64;
    prop_oneof![
        (session.clone(), 0..2_u8, any::<bool>()).prop_map(|(s, key, favored)| Step::Enter(s, key, favored)),
        (session.clone(), 0..10_u32, prop::collection::vec(0..10_u32, 0..4)).prop_map(|(s, id, seen)| Step::Connect(s, id, seen)),
        (session.clone(), 0..30_u32, any::<bool>(), 0..40_000_usize)
            .prop_map(|(s, to, last, len)| Step::Content(s, to, last, len)),
        session.prop_map(Step::Gone),
    ]
}

proptest! {
    #[test]
    fn whatever_is_said_the_state_stays_consistent(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Enter(s, key, favored) => world.say(s, Said::Enter { key: key.to_string().into(), favored }),
                Step::Connect(s, id, members) => world.say(s, Said::Connect(GroupData { id, members })),
                Step::Content(s, recipient, last, len) => world.say(s, Said::Content { recipient, last, data: vec![0; len].into() }),
                Step::Gone(s) => world.gone(s),
            }
            world.now += Duration::from_millis(10);
            let groups = &world.groups;
            for (key, members) in &groups.groups {
                prop_assert!(!members.is_empty());
                for member in members {
                    let connection = &groups.connections[member];
                    prop_assert!(connection.member.is_some() && connection.key == *key && !connection.closing);
                }
            }
            let listed: usize = groups.groups.values().map(Vec::len).sum();
            prop_assert_eq!(listed, groups.connections.values().filter(|it| it.member.is_some()).count());
            for (number, binding) in &groups.bindings {
                prop_assert!(binding.joiner != Some(binding.member));
                match binding.joiner {
                    Some(joiner) => prop_assert_eq!(groups.connections[&joiner].joins, Some(*number)),
                    None => prop_assert_eq!(groups.connections[&binding.member].portico, Some(*number)),
                }
                prop_assert!(groups.connections[&binding.member].serves.contains(number));
            }
            let served: usize = groups.connections.values().map(|it| it.serves.len()).sum();
            prop_assert_eq!(served, groups.bindings.len());
            // nobody is told anything after its end, and no id but its own reaches a joiner
            for (to, word) in &world.told {
                if let Word::Content(content) = word {
                    prop_assert!((content.sender == 0) != (content.recipient == 0));
                    prop_assert!(*to < 8);
                }
            }
        }
    }
}
