//! PURE. Which encoding of a publisher that sends several is decoded: the smallest that is large enough for its place.

/// A place as high as this part of the frame wants the largest encoding.
const LARGE: f64 = 0.7;
/// One as high as this the next smaller, which is half as high; what is lower wants the smallest.
const MIDDLE: f64 = 0.3;

/// The index of the encoding for a place that takes `share` of the frame's height. `bitrates` tells the encodings apart, the size of
/// which nobody says; those that do not flow have 0. `None` while none flows.
pub fn pick(share: f64, bitrates: &[u64]) -> Option<usize> {
    let mut flowing: Vec<usize> = (0..bitrates.len()).filter(|index| bitrates[*index] > 0).collect();
    flowing.sort_by_key(|index| std::cmp::Reverse(bitrates[*index]));
    let rank = match share {
        share if share >= LARGE => 0,
        share if share >= MIDDLE => 1,
        _ => 2,
    };
    flowing.get(rank.min(flowing.len().checked_sub(1)?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_place_takes_a_small_encoding_where_there_is_one() {
        let three = [150_000, 500_000, 1_500_000];
        assert_eq!([1.0, 0.5, 0.25].map(|share| pick(share, &three)), [Some(2), Some(1), Some(0)]);
        assert_eq!([1.0, 0.5, 0.25].map(|share| pick(share, &[150_000, 500_000, 0])), [Some(1), Some(0), Some(0)]);
        assert_eq!([1.0, 0.5, 0.25].map(|share| pick(share, &[700_000])), [Some(0); 3]);
        assert_eq!(pick(1.0, &[0, 0]), None);
        assert_eq!(pick(1.0, &[]), None);
    }
}
