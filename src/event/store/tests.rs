//! The store on a real disk, with kills and damage made by hand.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::maker::MOST_PAYLOAD;
use super::*;

const WALL: WallMs = WallMs(1_790_000_000_000);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const LIMITS: Limits = Limits { max_bytes: 4 << 20, max_age: WEEK };

fn sinks(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn open(folder: &Path) -> Store {
    Store::open(folder, LIMITS, &sinks(&["a"]), 0xabc).unwrap()
}

fn event(number: u64, made: WallMs) -> Event {
    Event { name: EventName::RoomJoin, made, payload: format!("{{\"n\":{number}}}") }
}

fn append(store: &mut Store, numbers: std::ops::Range<u64>, made: WallMs) {
    let mut events: VecDeque<Event> = numbers.map(|number| event(number, made)).collect();
    store.append(&mut events, made).unwrap();
    assert!(events.is_empty());
}

/// Everything a sink wants, as the number in the payload.
fn wanted(store: &mut Store, sink: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut from = store.wanted(sink);
    loop {
        let batch = store.read(from).unwrap();
        if batch.events.is_empty() {
            return numbers;
        }
        for event in batch.events {
            assert_eq!(event.id.rsplit('-').next(), Some(event.seq.to_string().as_str()));
            let value: serde_json::Value = serde_json::from_slice(&event.payload).unwrap();
            numbers.push(value["n"].as_u64().unwrap());
        }
        from = batch.next;
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    segment_files(folder).unwrap()
}

#[test]
fn events_are_there_after_a_kill_and_keep_their_ids() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 0..100, WALL);
    let before = store.read(7).unwrap().events;
    // a kill: nothing is written any more, the lock ends with the process
    drop(store);
    let mut store = Store::open(folder.path(), LIMITS, &sinks(&["a"]), 0xdef).unwrap();
    assert_eq!(store.read(7).unwrap().events, before);
    append(&mut store, 100..101, WALL);
    assert_eq!(wanted(&mut store, "a"), (0..101).collect::<Vec<_>>());
    let last = store.read(100).unwrap().events.remove(0);
    assert_eq!((last.id.as_str(), last.made), ("0000000000000def-100", WALL), "another run has ids of its own");
}

#[test]
fn a_torn_last_write_costs_that_event_only_and_its_number_gets_another_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 0..3, WALL);
    let torn = store.read(2).unwrap().events.remove(0);
    drop(store);
    let file = files(folder.path()).remove(0);
    let length = fs::metadata(&file).unwrap().len();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(length - 3).unwrap();
    let mut store = Store::open(folder.path(), LIMITS, &sinks(&["a"]), 0xdef).unwrap();
    append(&mut store, 7..8, WALL);
    assert_eq!(wanted(&mut store, "a"), [0, 1, 7]);
    let other = store.read(2).unwrap().events.remove(0);
    assert!(other.seq == torn.seq && other.id != torn.id);
}

#[test]
fn places_are_kept_per_sink_and_what_all_have_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), LIMITS, &sinks(&["a", "b"]), 1).unwrap();
    append(&mut store, 0..10, WALL);
    store.confirm("a", 4);
    store.sync().unwrap();
    store.save_places().unwrap();
    assert!(!store.is_unsynced());
    // not synced: comes again
    store.confirm("a", 9);
    drop(store);
    let mut store = Store::open(folder.path(), LIMITS, &sinks(&["b", "c", "a"]), 2).unwrap();
    assert_eq!(wanted(&mut store, "a"), [4, 5, 6, 7, 8, 9]);
    assert_eq!(wanted(&mut store, "b").len(), 10);
    assert!(wanted(&mut store, "c").is_empty(), "a new sink begins with what comes");
    append(&mut store, 10..11, WALL);
    assert_eq!(wanted(&mut store, "c"), [10]);
    store.confirm("a", 11);
    store.confirm("c", 99);
    store.tidy(WALL);
    assert_eq!(files(folder.path()).len(), 2, "b still wants them");
    store.confirm("b", 11);
    store.tidy(WALL);
    assert_eq!(files(folder.path()).len(), 1);
    assert_eq!((store.account("a"), store.account("b")), ((0, 0), (0, 0)));
    // a sink that was taken out of the configuration holds nothing up
    drop(store);
    let store = Store::open(folder.path(), LIMITS, &sinks(&["c"]), 3).unwrap();
    assert_eq!(store.wanted("c"), 11);
}

#[test]
fn places_are_saved_at_once_at_first_and_then_at_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let begun = Instant::now();
    assert!(store.places_at().is_some_and(|at| at <= begun), "which sinks there are is written down");
    store.save_places().unwrap();
    assert_eq!(store.places_at(), None, "none has moved");
    append(&mut store, 0..10, WALL);
    store.confirm("a", 4);
    let at = store.places_at().expect("one has moved");
    assert!(at >= begun + PLACES && at <= Instant::now() + PLACES);
    assert_eq!(store.places_at(), Some(at), "asking again puts nothing off");
    store.save_places().unwrap();
    assert_eq!(store.places_at(), None);
}

#[test]
fn without_the_places_everything_is_sent_again_rather_than_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 0..5, WALL);
    store.confirm("a", 5);
    store.sync().unwrap();
    store.save_places().unwrap();
    drop(store);
    for damage in ["", "not json"] {
        fs::write(folder.path().join(CURSORS), damage).unwrap();
        assert_eq!(wanted(&mut open(folder.path()), "a").len(), 5);
    }
}

#[test]
fn the_size_limit_drops_the_oldest_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let total = 100_000;
    for start in (0..total).step_by(1000) {
        append(&mut store, start..start + 1000, WALL);
        assert!(store.bytes() <= LIMITS.max_bytes);
    }
    let on_disk: u64 = files(folder.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!(on_disk, store.bytes());
    assert!(on_disk > LIMITS.max_bytes * 8 / 10, "not more than a part is given up at a time: {on_disk}");
    let (backlog, dropped) = store.account("a");
    assert_eq!(backlog + dropped, total);
    assert_eq!(wanted(&mut store, "a"), (dropped..total).collect::<Vec<_>>());
    // the same after a restart, whose log starts at what is left
    store.sync().unwrap();
    store.save_places().unwrap();
    drop(store);
    assert_eq!(open(folder.path()).account("a"), (backlog, 0));
}

#[test]
fn the_age_limit_drops_what_is_older_by_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let day = 24 * 3600 * 1000;
    for number in 0..10 {
        append(&mut store, number..number + 1, WallMs(WALL.0 + number * day));
    }
    store.tidy(WallMs(WALL.0 + 10 * day));
    assert_eq!(wanted(&mut store, "a"), [3, 4, 5, 6, 7, 8, 9], "nothing older than a week");
    assert_eq!(store.account("a"), (7, 3));
    store.tidy(WallMs(WALL.0 + 30 * day));
    assert_eq!((store.account("a"), wanted(&mut store, "a").len()), ((0, 10), 0));
    append(&mut store, 10..11, WallMs(WALL.0 + 30 * day));
    assert_eq!(wanted(&mut store, "a"), [10]);
}

#[test]
fn events_of_a_clock_that_was_not_set_do_not_age() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 0..3, WallMs(1000));
    store.tidy(WALL);
    append(&mut store, 3..4, WALL);
    assert_eq!(wanted(&mut store, "a"), [0, 1, 2, 3]);
}

#[test]
fn a_damaged_file_costs_what_is_behind_the_damage_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 0..10, WALL);
    drop(store);
    let mut store = open(folder.path());
    append(&mut store, 10..12, WALL);
    store.sync().unwrap();
    store.save_places().unwrap();
    let damaged = files(folder.path()).remove(0);
    let mut bytes = fs::read(&damaged).unwrap();
    let record = frame::record_len(EventName::RoomJoin, "{\"n\":0}") as usize;
    bytes[HEAD as usize + 6 * record + 20] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    // noticed while it runs
    assert_eq!(wanted(&mut store, "a"), [0, 1, 2, 3, 4, 5, 10, 11]);
    drop(store);
    // and at a start
    let mut store = open(folder.path());
    assert_eq!(wanted(&mut store, "a"), [0, 1, 2, 3, 4, 5, 10, 11]);
    assert_eq!(store.account("a"), (8, 4));
}

#[test]
fn foreign_and_empty_files_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("00000000000000000000.events"), "something else altogether, of more than 36 bytes").unwrap();
    fs::write(folder.path().join("00000000000000000005.events"), "").unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let mut store = open(folder.path());
    append(&mut store, 0..1, WALL);
    assert_eq!(wanted(&mut store, "a"), [0]);
    assert!(folder.path().join("notes.txt").exists());
    use std::os::unix::fs::PermissionsExt;
    assert!(files(folder.path()).iter().all(|file| fs::metadata(file).unwrap().permissions().mode() & 0o077 == 0));
}

#[test]
fn one_process_at_a_time_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let second = Store::open(folder.path(), LIMITS, &sinks(&["a"]), 1);
    assert!(matches!(second, Err(StoreError::Taken { .. })));
    drop(first);
    open(folder.path());
}

#[test]
fn large_events_are_read_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let payload = format!("{{\"n\":1,\"x\":\"{}\"}}", "x".repeat(MOST_PAYLOAD - 20));
    let large = |_| Event { name: EventName::RoomLive, made: WALL, payload: payload.clone() };
    store.append(&mut (0..3).map(large).collect(), WALL).unwrap();
    assert_eq!(store.read(0).unwrap().events.len(), 1);
    assert_eq!(wanted(&mut store, "a"), [1, 1, 1]);
}

#[test]
fn what_cannot_be_written_waits_and_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    // the disk is full: the next file cannot be begun
    let next = folder.path().join("00000000000000000000.events");
    std::os::unix::fs::symlink("/dev/full", &next).unwrap();
    let mut waiting: VecDeque<Event> = (0..3).map(|number| event(number, WALL)).collect();
    assert!(matches!(store.append(&mut waiting, WALL), Err(StoreError::Io { .. })));
    assert_eq!((waiting.len(), store.next()), (3, 0));
    store.append(&mut waiting, WALL).unwrap();
    assert!(waiting.is_empty());
    // the file that is written to takes nothing any more
    store.open = Some(File::open(&next).unwrap());
    waiting.push_back(event(3, WALL));
    assert!(store.append(&mut waiting, WALL).is_err());
    assert_eq!((waiting.len(), store.next()), (1, 3));
    store.append(&mut waiting, WALL).unwrap();
    assert_eq!(wanted(&mut store, "a"), [0, 1, 2, 3]);
    drop(store);
    assert_eq!(wanted(&mut open(folder.path()), "a"), [0, 1, 2, 3]);
}

#[test]
fn what_a_failed_write_left_in_a_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 0..2, WALL);
    // half a record, as a full disk leaves it where cutting it off fails as well
    let file = files(folder.path()).remove(0);
    let mut torn = OpenOptions::new().append(true).open(&file).unwrap();
    torn.write_all(&[40, 0, 0, 0, 1, 2, 3, 4, 5]).unwrap();
    store.open = None;
    append(&mut store, 2..3, WALL);
    assert_eq!(wanted(&mut store, "a"), [0, 1, 2]);
    drop(store);
    assert_eq!(wanted(&mut open(folder.path()), "a"), [0, 1, 2]);
}
