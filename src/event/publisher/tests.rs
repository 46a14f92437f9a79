//! The publisher against a small broker, in simulated time.

use proptest::prelude::*;

use super::super::record::{EventName, WallMs};
use super::*;

/// Each of a room of its own.
fn stored(seq: u64) -> Stored {
    of_lane(seq, seq)
}

fn of_lane(seq: u64, lane: u64) -> Stored {
    Stored { seq, lane, id: format!("run-{seq}"), name: EventName::RoomJoin, made: WallMs(seq), payload: b"{}".to_vec() }
}

/// Not simply in turn.
fn room_of(seq: u64, lanes: u64) -> u64 {
    seq * seq / 3 % lanes
}

/// Drives a publisher; the store holds everything from `oldest` on.
struct World {
    now: Instant,
    publisher: Publisher,
    oldest: u64,
    head: u64,
    /// Rooms that events come from in turn; 0 for as many as there are events.
    lanes: u64,
    /// Confirmed to the store.
    forgotten: u64,
    /// Whether the far end is there.
    reachable: bool,
    connects: Vec<Instant>,
    /// Sent on this connection and not answered.
    open: VecDeque<u64>,
    /// Everything that was sent, in order.
    sent: Vec<u64>,
}

impl World {
    fn new(head: u64, window: usize) -> Self {
        let now = Instant::now();
        let habits = Habits { window, longest_wait: LONGEST_WAIT };
        Self {
            now,
            publisher: Publisher::new(now, 0, head, habits, 7),
            oldest: 0,
            head,
            lanes: 0,
            forgotten: 0,
            reachable: true,
            connects: Vec::new(),
            open: VecDeque::new(),
            sent: Vec::new(),
        }
    }

    /// Does what is asked until nothing is.
    fn settle(&mut self) {
        while let Some(action) = self.publisher.poll_action() {
            match action {
                Action::Connect => {
                    self.connects.push(self.now);
                    match self.reachable {
                        true => self.publisher.handle_connected(self.now),
                        false => self.publisher.handle_lost(self.now),
                    }
                }
                Action::Read { from } => {
                    let first = from.max(self.oldest);
                    let events: Vec<Stored> = (first..self.head).take(5).map(|seq| self.of_room(seq)).collect();
                    let next = events.last().map_or(self.head, |last| last.seq + 1);
                    self.publisher.handle_batch(self.now, from, Batch { events, next });
                }
                Action::Publish(event) => {
                    self.open.push_back(event.seq);
                    self.sent.push(event.seq);
                }
                Action::Confirm { next } => {
                    assert!(next >= self.forgotten, "a place only moves on");
                    self.forgotten = next;
                }
                Action::Disconnect => self.open.clear(),
            }
            assert!(self.open.len() <= self.publisher.habits.window, "the window bounds what is open");
        }
    }

    fn of_room(&self, seq: u64) -> Stored {
        of_lane(seq, if self.lanes == 0 { seq } else { room_of(seq, self.lanes) })
    }

    /// Waits for the publisher's own timeout.
    fn tick(&mut self) {
        if let Some(at) = self.publisher.next_timeout() {
            self.now = self.now.max(at);
            self.publisher.handle_timeout(self.now);
            self.settle();
        }
    }

    fn confirm(&mut self, index: usize) {
        if let Some(seq) = self.open.remove(index) {
            self.publisher.handle_confirmed(self.now, seq);
            self.settle();
        }
    }

    fn lose(&mut self) {
        self.publisher.handle_lost(self.now);
        self.settle();
    }
}

#[test]
fn events_leave_in_order_and_the_store_forgets_them_when_they_are_confirmed() {
    let mut world = World::new(12, 4);
    world.tick();
    assert_eq!((world.sent.as_slice(), world.forgotten), ([0, 1, 2, 3].as_slice(), 0));
    world.confirm(0);
    assert_eq!((world.sent.len(), world.forgotten), (5, 1));
    // a later one first: its place is kept until those before it are there
    world.confirm(1);
    assert_eq!(world.forgotten, 1);
    world.confirm(0);
    assert_eq!(world.forgotten, 3);
    while !world.open.is_empty() {
        world.confirm(0);
    }
    assert_eq!(world.sent, (0..12).collect::<Vec<_>>());
    assert!(world.publisher.is_idle() && world.forgotten == 12);
    world.head = 13;
    world.publisher.handle_head(world.now, 13);
    world.settle();
    assert_eq!(world.sent.last(), Some(&12));
}

#[test]
fn after_a_loss_it_goes_on_at_the_first_that_is_not_confirmed() {
    let mut world = World::new(12, 4);
    world.tick();
    world.confirm(0);
    world.confirm(1);
    world.lose();
    world.sent.clear();
    world.tick();
    assert_eq!(world.sent, [1, 3, 4], "2 was confirmed, and counts in the window");
    world.confirm(0);
    assert_eq!(world.forgotten, 3);
}

#[test]
fn a_broker_that_is_away_is_asked_ever_more_slowly_and_never_more_than_two_seconds_apart() {
    let mut world = World::new(1, 4);
    world.reachable = false;
    for _ in 0..40 {
        world.tick();
    }
    let waits: Vec<Duration> = world.connects.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[0] <= FIRST_WAIT && waits[0] >= FIRST_WAIT / 2, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT));
    assert!(waits[10..].iter().all(|wait| *wait >= LONGEST_WAIT / 2));
    assert!(waits[10..].windows(2).any(|pair| pair[0] != pair[1]), "with jitter");
    world.reachable = true;
    world.tick();
    assert_eq!(world.sent, [0]);
    world.confirm(0);
    world.lose();
    assert!(world.publisher.next_timeout().unwrap() - world.now <= FIRST_WAIT, "soon again after a success");
}

#[test]
fn what_is_not_confirmed_in_time_counts_as_a_loss() {
    let mut world = World::new(1, 4);
    world.tick();
    let sent = world.now;
    world.tick();
    assert_eq!(world.now, sent + CONFIRM_LIMIT);
    assert!(!world.publisher.is_up());
    world.tick();
    assert_eq!(world.sent, [0, 0], "sent again");
}

#[test]
fn a_connection_that_does_not_come_up_is_given_up() {
    let now = Instant::now();
    let mut publisher = Publisher::new(now, 0, 1, Habits { window: 4, longest_wait: LONGEST_WAIT }, 1);
    publisher.handle_timeout(now);
    assert_eq!(publisher.poll_action(), Some(Action::Connect));
    assert_eq!(publisher.next_timeout(), Some(now + CONNECT_LIMIT));
    publisher.handle_timeout(now + CONNECT_LIMIT);
    assert_eq!(publisher.poll_action(), Some(Action::Disconnect));
    // the answer that comes too late
    publisher.handle_connected(now + CONNECT_LIMIT);
    assert!(!publisher.is_up() && publisher.poll_action().is_none());
}

#[test]
fn refused_events_are_passed_by_and_counted() {
    let mut world = World::new(2, 1);
    world.tick();
    world.open.clear();
    world.publisher.handle_refused(world.now, 0);
    world.settle();
    world.confirm(0);
    assert_eq!((world.forgotten, world.publisher.counts()), (2, (1, 1)));
}

#[test]
fn what_the_store_let_go_of_is_passed_by() {
    let mut world = World::new(20, 4);
    world.reachable = false;
    world.tick();
    world.oldest = 10;
    world.reachable = true;
    world.tick();
    assert_eq!(world.sent, [10, 11, 12, 13]);
    assert_eq!(world.forgotten, 10);
    world.lose();
    // everything, because of its age
    world.oldest = 20;
    world.tick();
    assert!(world.publisher.is_idle() && world.open.is_empty() && world.forgotten == 20);
}

#[test]
fn the_answer_to_a_question_of_before_a_loss_is_not_taken() {
    let now = Instant::now();
    let mut publisher = Publisher::new(now, 0, 9, Habits { window: 2, longest_wait: LONGEST_WAIT }, 1);
    publisher.handle_timeout(now);
    publisher.handle_connected(now);
    let late = Batch { events: (4..6).map(stored).collect(), next: 6 };
    publisher.handle_batch(now, 4, late);
    let actions: Vec<Action> = std::iter::from_fn(|| publisher.poll_action()).collect();
    assert_eq!(actions, [Action::Connect, Action::Read { from: 0 }]);
}

#[test]
fn one_event_of_each_room_is_under_way_and_other_rooms_do_not_wait() {
    let mut world = World::new(20, 4);
    world.lanes = 3;
    world.tick();
    // rooms 0, 0, 1, 0, 2, …
    assert_eq!(world.sent, [0, 2, 4]);
    // not what is behind it in its room: 0 was refused, and comes again before 1
    world.confirm(1);
    world.confirm(1);
    assert!(!world.sent.contains(&1));
    world.lose();
    world.sent.clear();
    world.tick();
    assert_eq!(world.sent[0], 0);
    assert!(!world.sent.contains(&1) && !world.sent.contains(&2) && !world.sent.contains(&4), "{:?}", world.sent);
    world.confirm(0);
    assert!(world.sent.contains(&1));
}

proptest! {
    /// Whatever happens to connection and broker, which may lose or refuse any event that is under way and take those around it:
    /// every event arrives, what arrives first of each event is in order in each room, and the store forgets nothing that was not
    /// confirmed.
    #[test]
    fn nothing_is_lost(steps in proptest::collection::vec(0..8u8, 0..200), window in 1..6usize, lanes in 1..5u64) {
        let mut world = World::new(3, window);
        world.lanes = lanes;
        // what the broker took, in its order
        let mut taken: Vec<u64> = Vec::new();
        let mut confirmed = BTreeSet::new();
        for step in steps {
            match step {
                0 | 1 => {
                    if let Some(seq) = world.open.front().copied() {
                        confirmed.insert(seq);
                        taken.push(seq);
                        world.confirm(0);
                    }
                }
                2 => {
                    if let Some(seq) = world.open.back().copied() {
                        confirmed.insert(seq);
                        taken.push(seq);
                        world.confirm(world.open.len() - 1);
                    }
                }
                3 => world.lose(),
                4 => {
                    world.head += 3;
                    world.publisher.handle_head(world.now, world.head);
                    world.settle();
                }
                5 => world.reachable = !world.reachable,
                _ => world.tick(),
            }
            prop_assert!((0..world.forgotten).all(|seq| confirmed.contains(&seq)));
        }
        world.reachable = true;
        let mut rounds = 0;
        while !world.publisher.is_idle() {
            match world.open.is_empty() {
                true => world.tick(),
                false => {
                    taken.push(world.open[0]);
                    world.confirm(0);
                }
            }
            rounds += 1;
            prop_assert!(rounds < 10_000, "it comes to an end");
        }
        prop_assert_eq!(world.forgotten, world.head);
        for room in 0..lanes {
            let mut first: Vec<u64> = Vec::new();
            for seq in taken.iter().filter(|seq| room_of(**seq, lanes) == room) {
                if !first.contains(seq) {
                    first.push(*seq);
                }
            }
            prop_assert_eq!(first, (0..world.head).filter(|seq| room_of(*seq, lanes) == room).collect::<Vec<_>>());
        }
    }
}
