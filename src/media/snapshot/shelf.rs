//! PURE. Which pictures are there or being made, for how long they are good, and how many there may be.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// For how long everybody gets the same picture.
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// Most pictures being made at a time, those included that wait for their source or for a decoder.
pub(super) const MOST_UNDER_WAY: usize = 8;
/// Most bytes of finished pictures that are kept. One of 1920 by 1080 has about 300 KB.
pub(super) const MOST_BYTES: usize = 8 << 20;

/// No more can be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// By key, the line on which the outcome is or will be told.
#[derive(Debug)]
pub(super) struct Shelf<K, L> {
    places: HashMap<K, Place<L>>,
}

#[derive(Debug)]
struct Place<L> {
    line: L,
    /// When it was finished, and how large it is; `None` while it is being made.
    made: Option<(Instant, usize)>,
}

impl<K: Clone + Eq + Hash, L: Clone> Shelf<K, L> {
    /// An empty one.
    pub fn new() -> Self {
        Self { places: HashMap::new() }
    }

    /// The line of the picture that is there or being made. Where there is none, `begin` makes the line of a new one, and the caller
    /// has to make the picture and to call [`Self::made`], whatever comes of it.
    pub fn ask(&mut self, now: Instant, key: &K, begin: impl FnOnce() -> L) -> Result<L, Full> {
        self.clear_away(now);
        if let Some(place) = self.places.get(key) {
            return Ok(place.line.clone());
        }
        if self.places.values().filter(|place| place.made.is_none()).count() >= MOST_UNDER_WAY {
            return Err(Full);
        }
        let line = begin();
        self.places.insert(key.clone(), Place { line: line.clone(), made: None });
        Ok(line)
    }

    /// The outcome was told on the line. A failure of 0 bytes stays as long as a picture: who asks again at once does not make
    /// a source that fails be tried again.
    pub fn made(&mut self, now: Instant, key: &K, bytes: usize) {
        if let Some(place) = self.places.get_mut(key) {
            place.made = Some((now, bytes));
        }
        while self.bytes() > MOST_BYTES {
            let finished = self.places.iter().filter_map(|(key, place)| Some((place.made?.0, key)));
            let Some(oldest) = finished.min_by_key(|(since, _)| *since).map(|(_, key)| key.clone()) else { return };
            self.places.remove(&oldest);
        }
    }

    /// Forgets what is not fresh any more. To be called [`FRESH`] after a picture was made, so that nothing stays when nobody asks.
    pub fn clear_away(&mut self, now: Instant) {
        self.places.retain(|_, place| place.made.is_none_or(|(since, _)| now.saturating_duration_since(since) < FRESH));
    }

    fn bytes(&self) -> usize {
        self.places.values().filter_map(|place| place.made).map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shelf whose lines are numbers, and which number comes next.
    struct Bench {
        shelf: Shelf<&'static str, u32>,
        next: u32,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { shelf: Shelf::new(), next: 0, start: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn ask(&mut self, ms: u64, key: &'static str) -> Result<u32, Full> {
            let (now, next) = (self.at(ms), self.next);
            let line = self.shelf.ask(now, &key, || next)?;
            self.next += u32::from(line == next);
            Ok(line)
        }

        fn made(&mut self, ms: u64, key: &'static str, bytes: usize) {
            let now = self.at(ms);
            self.shelf.made(now, &key, bytes);
        }
    }

    #[test]
    fn all_who_ask_while_it_is_made_and_a_second_after_get_the_same() {
        let mut bench = Bench::new();
        assert_eq!(bench.ask(0, "door"), Ok(0));
        assert_eq!(bench.ask(5000, "door"), Ok(0), "however long it takes");
        bench.made(6000, "door", 100);
        assert_eq!(bench.ask(6999, "door"), Ok(0));
        assert_eq!(bench.ask(7000, "door"), Ok(1));
        assert_eq!(bench.ask(7000, "yard"), Ok(2), "another is another");
    }

    #[test]
    fn a_failure_is_not_tried_again_at_once() {
        let mut bench = Bench::new();
        assert_eq!(bench.ask(0, "door"), Ok(0));
        bench.made(100, "door", 0);
        assert_eq!((bench.ask(200, "door"), bench.ask(1100, "door")), (Ok(0), Ok(1)));
    }

    #[test]
    fn no_more_than_the_limit_are_made_at_a_time() {
        const KEYS: [&str; MOST_UNDER_WAY] = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut bench = Bench::new();
        for key in KEYS {
            assert!(bench.ask(0, key).is_ok());
        }
        assert_eq!(bench.ask(0, "one more"), Err(Full));
        assert_eq!(bench.ask(0, "a"), Ok(0), "who waits for one of them adds nothing");
        bench.made(10, "a", 100);
        assert!(bench.ask(20, "one more").is_ok());
        assert_eq!(bench.ask(20, "and another"), Err(Full));
    }

    #[test]
    fn the_oldest_pictures_go_when_they_are_too_large_together() {
        let mut bench = Bench::new();
        for (ms, key) in [(0, "a"), (1, "b"), (2, "c")] {
            bench.ask(ms, key).unwrap();
            bench.made(ms, key, MOST_BYTES / 2);
        }
        assert!(bench.shelf.bytes() <= MOST_BYTES);
        assert_eq!((bench.ask(3, "b"), bench.ask(3, "c")), (Ok(1), Ok(2)));
        assert_eq!(bench.ask(3, "a"), Ok(3));
        // one that is too large for itself is given to those who wait and not kept
        bench.made(4, "a", MOST_BYTES + 1);
        assert_eq!(bench.ask(4, "a"), Ok(4));
    }

    #[test]
    fn nothing_stays_when_nobody_asks() {
        let mut bench = Bench::new();
        bench.ask(0, "a").unwrap();
        bench.made(0, "a", 100);
        let later = bench.at(1000);
        bench.shelf.clear_away(later);
        assert!(bench.shelf.places.is_empty());
    }
}
