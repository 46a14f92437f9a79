//! PURE. Which datagrams leave together: neighbours to one address as a train that the kernel cuts, trains of one shape with one call.
//!
//! What goes to one peer keeps its order. Between peers there is none, so the first trains of all viewers of a frame are
//! sent at once, then their second, and so on.

use std::net::{IpAddr, SocketAddr};

use crate::vocab::{NumberMap, PeerId};

/// Bytes that go out as one train at most (the largest UDP payload the kernel cuts).
const TRAIN_BYTES: usize = 65_000;

/// A datagram on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) peer: PeerId,
    /// The socket it leaves by.
    pub(super) port: usize,
    pub(super) local: IpAddr,
    pub(super) to: SocketAddr,
    pub(super) start: usize,
    pub(super) len: usize,
    /// Datagrams that may leave as one train with it; 1 for none.
    pub(super) most: usize,
}

/// Neighbours of equal size, of which only the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Train {
    /// Number of its first datagram.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) start: usize,
    pub(super) bytes: usize,
    /// What it may share a call with.
    pub(super) shape: Shape,
    /// How many trains go to the same peer before it.
    turn: u32,
}

/// What all trains of a call have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) port: usize,
    pub(super) local: IpAddr,
    /// Bytes of its datagrams but the last; `None` for one datagram.
    pub(super) segment: Option<u16>,
    /// It leaves by itself.
    alone: bool,
}

impl Shape {
    /// Whether two trains may leave with one call.
    pub(super) fn joins(&self, other: &Self) -> bool {
        !self.alone && self == other
    }
}

/// Plans trains; kept for what it has allocated.
#[derive(Default)]
pub(super) struct Planner {
    turns: NumberMap<PeerId, u32>,
    trains: Vec<Train>,
}

impl Planner {
    /// Puts datagrams into trains, in the order in which they leave. `alone` says what shares no call with others.
    pub(super) fn plan(&mut self, pieces: &[Piece], alone: impl Fn(&Piece) -> bool) -> &[Train] {
        self.turns.clear();
        self.trains.clear();
        let mut at = 0;
        while let Some(first) = pieces.get(at) {
            let (mut count, mut bytes, mut open) = (1, first.len, true);
            while let Some(next) = pieces.get(at + count)
                && open
                && count < first.most
                && (next.port, next.local, next.to) == (first.port, first.local, first.to)
                && next.start == first.start + bytes
                && next.len <= first.len
                && next.most > 1
                && bytes + next.len <= TRAIN_BYTES
            {
                open = next.len == first.len;
                bytes += next.len;
                count += 1;
            }
            let segment = u16::try_from(first.len).ok().filter(|_| count > 1);
            let turn = self.turns.entry(first.peer).or_default();
            let shape = Shape { port: first.port, local: first.local, segment, alone: alone(first) };
            self.trains.push(Train { first: at, count, start: first.start, bytes, shape, turn: *turn });
            *turn += 1;
            at += count;
        }
        self.trains.sort_by_key(|train| (train.turn, train.shape));
        &self.trains
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(datagrams: &[(u16, usize)], most: usize) -> Vec<Piece> {
        let mut start = 0;
        let piece = |(to, len): &(u16, usize)| {
            let piece = Piece {
                peer: PeerId(u64::from(*to)),
                port: 0,
                local: IpAddr::from([127, 0, 0, 1]),
                to: SocketAddr::from(([127, 0, 0, 1], *to)),
                start,
                len: *len,
                most,
            };
            start += len;
            piece
        };
        datagrams.iter().map(piece).collect()
    }

    fn planned(datagrams: &[(u16, usize)], most: usize) -> Vec<Train> {
        Planner::default().plan(&pieces(datagrams, most), |_| false).to_vec()
    }

    #[test]
    fn trains_of_one_shape_stand_together() {
        // three viewers, each three packets and a shorter one, then two of another size
        let frame = |to| [(to, 1200), (to, 1200), (to, 700), (to, 900), (to, 900)];
        let trains = planned(&[1, 2, 3].map(frame).concat(), 64);
        let shapes: Vec<_> = trains.iter().map(|train| (train.count, train.shape.segment)).collect();
        assert_eq!(shapes, [(3, Some(1200)), (3, Some(1200)), (3, Some(1200)), (2, Some(900)), (2, Some(900)), (2, Some(900))]);
        assert!(trains[0].shape.joins(&trains[2].shape) && !trains[2].shape.joins(&trains[3].shape));
    }

    #[test]
    fn without_offload_each_datagram_is_a_train_and_all_share_a_call() {
        let trains = planned(&[(1, 1200), (1, 700), (2, 1200)], 1);
        assert_eq!(trains.iter().map(|train| train.first).collect::<Vec<_>>(), [0, 2, 1]);
        assert!(trains[0].shape.joins(&trains[2].shape));
    }

    proptest! {
        #[test]
        fn every_datagram_leaves_once_and_in_order_for_its_peer(
            datagrams in proptest::collection::vec((0u16..5, 1usize..2000), 0..200), most in 1usize..70,
        ) {
            let trains = planned(&datagrams, most);
            let all = pieces(&datagrams, most);
            let order: Vec<usize> = trains.iter().flat_map(|train| train.first..train.first + train.count).collect();
            for to in 0..5 {
                let of = |at: &usize| datagrams[*at].0 == to;
                prop_assert!(order.iter().filter(|at| of(at)).copied().eq((0..datagrams.len()).filter(of)));
            }
            for train in &trains {
                let its = &all[train.first..train.first + train.count];
                prop_assert_eq!(train.bytes, its.iter().map(|piece| piece.len).sum::<usize>());
                prop_assert!(train.count <= most && train.bytes <= TRAIN_BYTES && train.start == its[0].start);
                prop_assert!(its.iter().rev().skip(1).all(|piece| Some(piece.len as u16) == train.shape.segment));
                prop_assert!(its.iter().all(|piece| piece.len <= its[0].len));
                prop_assert_eq!(train.shape.segment.is_some(), train.count > 1);
            }
        }
    }
}
