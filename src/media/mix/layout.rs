//! PURE. Who is where in the mixed picture.
//!
//! [`Seats`] gives each picture a number that it keeps while others come and go; [`place`] turns numbers into rectangles. Seat 0 is the
//! large one where the layout has a large one: who speaks changes places with who sits there, and nobody else moves.

use crate::vocab::MixLayout;

/// A size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// Part of the picture. Corners and sizes are even: chroma has half the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// From the left.
    pub x: u32,
    /// From the top.
    pub y: u32,
    /// Its size.
    pub size: Size,
    /// What is higher is in front.
    pub depth: u32,
}

impl Rect {
    fn new(x: u32, y: u32, width: u32, height: u32) -> Self {
        let even = |n: u32| n & !1;
        let size = Size { width: even(width).max(2), height: even(height).max(2) };
        Self { x: even(x), y: even(y), size, depth: 1 }
    }

    /// The largest part of it, in its middle, with the proportions of `picture`. All of it where the picture has no size yet.
    pub fn fit(self, picture: Size) -> Self {
        let (width, height) = (u64::from(picture.width), u64::from(picture.height));
        if width == 0 || height == 0 {
            return self;
        }
        let (most_wide, most_high) = (u64::from(self.size.width), u64::from(self.size.height));
        let (wide, high) = match most_wide * height <= most_high * width {
            true => (most_wide, most_wide * height / width),
            false => (most_high * width / height, most_high),
        };
        let within = |n: u64, most: u32| u32::try_from(n).unwrap_or(most).min(most);
        let (wide, high) = (within(wide, self.size.width), within(high, self.size.height));
        let x = self.x + self.size.width.saturating_sub(wide) / 2;
        let y = self.y + self.size.height.saturating_sub(high) / 2;
        Self { depth: self.depth, ..Self::new(x, y, wide, high) }
    }
}

/// Who sits where.
#[derive(Clone, Debug)]
pub struct Seats<K>(Vec<Option<K>>);

impl<K> Default for Seats<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Clone + PartialEq> Seats<K> {
    /// These are there now, in order of coming. Who was there before keeps its seat, but for those beyond what so many need: they take
    /// seats that are free.
    pub fn seat(&mut self, layout: MixLayout, there: &[K]) {
        for seat in &mut self.0 {
            *seat = seat.take().filter(|who| there.contains(who));
        }
        let room = capacity(layout, there.len());
        self.0.resize(self.0.len().max(room), None);
        let beyond: Vec<K> = self.0.drain(room..).flatten().collect();
        let new = there.iter().filter(|who| !self.0.iter().flatten().any(|known| known == *who)).cloned();
        // those who move are among `there` as well, and come first
        let waiting: Vec<K> = beyond.iter().cloned().chain(new.filter(|who| !beyond.contains(who))).collect();
        let mut free = self.0.iter_mut().filter(|seat| seat.is_none());
        for who in waiting {
            if let Some(seat) = free.next() {
                *seat = Some(who);
            }
        }
    }

    /// Puts somebody into the large seat, and who sat there into its own.
    pub fn promote(&mut self, who: &K) {
        if let Some(at) = self.0.iter().position(|seat| seat.as_ref() == Some(who)) {
            self.0.swap(0, at);
        }
    }

    /// Who sits there, by seats.
    pub fn taken(&self) -> impl Iterator<Item = (usize, &K)> {
        self.0.iter().enumerate().filter_map(|(seat, who)| Some((seat, who.as_ref()?)))
    }

    /// How many seats there are, the free ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Seats that so many pictures need.
fn capacity(layout: MixLayout, count: usize) -> usize {
    match layout {
        MixLayout::Grid => {
            let (columns, rows) = rows_and_columns(count);
            columns * rows
        }
        MixLayout::Speaker | MixLayout::Pip => count,
    }
}

/// Columns and rows of a grid: as square as can be, wider rather than higher.
fn rows_and_columns(count: usize) -> (usize, usize) {
    let columns = (1..=count).find(|columns| columns * columns >= count).unwrap_or(1);
    (columns, count.div_ceil(columns).max(1))
}

/// Where a seat is, of so many, in a picture of this size.
pub fn place(layout: MixLayout, frame: Size, seats: usize, seat: usize) -> Rect {
    let whole = Rect { depth: 0, ..Rect::new(0, 0, frame.width, frame.height) };
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    match (layout, seat) {
        _ if seats <= 1 => whole,
        (MixLayout::Grid, _) => {
            let (columns, rows) = rows_and_columns(seats);
            let (width, height) = ((frame.width / number(columns)) & !1, (frame.height / number(rows)) & !1);
            let (column, row) = (seat % columns, seat / columns);
            let at = |n: usize, step: u32| u32::try_from(n).unwrap_or(0) * step;
            Rect { depth: 0, ..Rect::new(at(column, width), at(row, height), width, height) }
        }
        (MixLayout::Speaker, 0) => Rect { depth: 0, ..Rect::new(0, 0, frame.width, frame.height - strip(frame)) },
        (MixLayout::Pip, 0) => whole,
        (MixLayout::Speaker | MixLayout::Pip, _) => {
            let height = strip(frame);
            let small = seats - 1;
            // as wide as the picture's own proportions, and narrower where there are many
            let width = (frame.width / number(small)).min(frame.width / 4) & !1;
            let from_right = number(seat) * width;
            Rect::new(frame.width.saturating_sub(from_right), (frame.height - height) & !1, width, height)
        }
    }
}

/// Height of the row of small pictures.
fn strip(frame: Size) -> u32 {
    (frame.height / 4) & !1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const FRAME: Size = Size { width: 1280, height: 720 };
    const LAYOUTS: [MixLayout; 3] = [MixLayout::Grid, MixLayout::Speaker, MixLayout::Pip];

    fn rects(layout: MixLayout, frame: Size, seats: usize) -> Vec<Rect> {
        (0..seats).map(|seat| place(layout, frame, seats, seat)).collect()
    }

    fn overlap(a: &Rect, b: &Rect) -> bool {
        let apart = |from: u32, long: u32, other: u32, other_long: u32| from + long <= other || other + other_long <= from;
        !apart(a.x, a.size.width, b.x, b.size.width) && !apart(a.y, a.size.height, b.y, b.size.height)
    }

    fn inside(rect: &Rect, frame: Size) -> bool {
        rect.x + rect.size.width <= frame.width && rect.y + rect.size.height <= frame.height
    }

    #[test]
    fn four_are_two_by_two() {
        let corner = |x, y| Rect { depth: 0, ..Rect::new(x, y, 640, 360) };
        assert_eq!(rects(MixLayout::Grid, FRAME, 4), [corner(0, 0), corner(640, 0), corner(0, 360), corner(640, 360)]);
        assert_eq!(rects(MixLayout::Grid, FRAME, 1), [Rect { depth: 0, ..Rect::new(0, 0, 1280, 720) }]);
        assert_eq!(rows_and_columns(9), (3, 3));
        assert_eq!(rows_and_columns(2), (2, 1));
    }

    #[test]
    fn who_speaks_is_large_and_the_others_are_below_or_in_front() {
        let of = |layout| rects(layout, FRAME, 3);
        let speaker = of(MixLayout::Speaker);
        assert_eq!((speaker[0].size.width, speaker[0].size.height), (1280, 540));
        assert!(speaker[1..].iter().all(|small| !overlap(&speaker[0], small)));
        let pip = of(MixLayout::Pip);
        assert_eq!(pip[0].size, FRAME);
        assert!(pip[1..].iter().all(|small| small.depth > pip[0].depth && overlap(&pip[0], small)));
        assert!(!overlap(&pip[1], &pip[2]));
    }

    #[test]
    fn a_leaver_moves_nobody_who_can_stay_and_a_comer_takes_its_seat() {
        let mut seats = Seats::default();
        seats.seat(MixLayout::Grid, &['a', 'b', 'c', 'd']);
        seats.seat(MixLayout::Grid, &['a', 'c', 'd']);
        assert_eq!(seats.taken().collect::<Vec<_>>(), [(0, &'a'), (2, &'c'), (3, &'d')]);
        seats.seat(MixLayout::Grid, &['a', 'c', 'd', 'e']);
        assert_eq!(seats.taken().nth(1), Some((1, &'e')));
        // two need a row only: the one beyond it takes the free seat
        seats.seat(MixLayout::Grid, &['a', 'd']);
        assert_eq!(seats.taken().collect::<Vec<_>>(), [(0, &'a'), (1, &'d')]);
    }

    #[test]
    fn who_speaks_changes_places_with_one() {
        let mut seats = Seats::default();
        seats.seat(MixLayout::Speaker, &['a', 'b', 'c']);
        seats.promote(&'c');
        seats.promote(&'x');
        assert_eq!(seats.taken().collect::<Vec<_>>(), [(0, &'c'), (1, &'b'), (2, &'a')]);
    }

    fn any_layout() -> impl Strategy<Value = MixLayout> {
        prop::sample::select(LAYOUTS.to_vec())
    }

    proptest! {
        #[test]
        fn nothing_leaves_the_frame_and_nothing_of_a_grid_overlaps(
            layout in any_layout(), seats in 1usize..26, width in 160u32..3840, height in 90u32..2160,
        ) {
            let frame = Size { width: width & !1, height: height & !1 };
            let rects = rects(layout, frame, seats);
            for (at, rect) in rects.iter().enumerate() {
                prop_assert!(inside(rect, frame), "{rect:?}");
                prop_assert!(rect.x % 2 == 0 && rect.y % 2 == 0 && rect.size.width % 2 == 0 && rect.size.height % 2 == 0);
                // what covers another is in front of it
                for other in &rects[..at] {
                    prop_assert!(!overlap(rect, other) || (layout == MixLayout::Pip && rect.depth != other.depth));
                }
            }
        }

        #[test]
        fn pictures_keep_their_proportions(
            layout in any_layout(), seats in 1usize..10, seat in 0usize..10, width in 16u32..4096, height in 16u32..4096,
        ) {
            let cell = place(layout, FRAME, seats, seat % seats);
            let fit = cell.fit(Size { width, height });
            prop_assert!(fit.x >= cell.x && fit.y >= cell.y);
            prop_assert!(fit.x + fit.size.width <= cell.x + cell.size.width && fit.y + fit.size.height <= cell.y + cell.size.height);
            // to the pixel, but for what evenness takes
            let (wide, high) = (f64::from(fit.size.width), f64::from(fit.size.height));
            let want = f64::from(width) / f64::from(height);
            prop_assert!((wide - 3.0) / (high + 3.0) <= want && want <= (wide + 3.0) / (high - 3.0).max(0.1), "{fit:?} of {width}x{height}");
            // and as large as can be
            prop_assert!(fit.size.width + 2 >= cell.size.width || fit.size.height + 2 >= cell.size.height);
        }

        /// Everybody has one seat, there are no more seats than so many need, and who keeps a seat that still exists keeps its own.
        #[test]
        fn seats_are_stable(layout in any_layout(), steps in prop::collection::vec(prop::collection::btree_set(0u8..12, 0..10), 1..12)) {
            let mut seats = Seats::default();
            let mut before = BTreeMap::new();
            for there in steps {
                let there: Vec<u8> = there.into_iter().collect();
                seats.seat(layout, &there);
                let now: BTreeMap<u8, usize> = seats.taken().map(|(seat, who)| (*who, seat)).collect();
                prop_assert_eq!(now.keys().copied().collect::<Vec<_>>(), there.clone());
                prop_assert_eq!(seats.taken().count(), there.len());
                prop_assert_eq!(seats.len(), capacity(layout, there.len()));
                for (who, seat) in &now {
                    let had = before.get(who).copied().filter(|had| *had < seats.len());
                    prop_assert!(had.is_none_or(|had| had == *seat), "{who} moved from {had:?} to {seat}");
                }
                before = now;
            }
        }
    }
}
