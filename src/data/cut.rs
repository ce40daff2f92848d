//! Where FastCDC (v2020) cuts, found on several places of the stream at once.

use fastcdc::v2020::{Normalization, get_gear_with_seed, select_masks};

/// FastCDC's parameters, in bytes; even numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutSizes {
    /// No chunk is shorter, but for the last before a forced cut.
    pub min: usize,
    /// What chunks come to on average.
    pub avg: usize,
    /// No chunk is longer.
    pub max: usize,
}

/// Finds the places to cut.
///
/// The hash at a byte is made of it and the 63 before, as far as they are behind the shortest chunk: a search can begin
/// anywhere, and several can go on side by side. One alone waits most of the time for its own last step.
pub(super) struct Cutter {
    sizes: CutSizes,
    /// What the hash must not share a bit with: before the average length, and behind it.
    masks: (u64, u64),
    gear: [u64; 256],
}

/// Bytes that a hash is made of.
const WINDOW: usize = 64;
/// Searches that go on side by side.
const LANES: usize = 4;
/// Bytes of each: enough to make up for the window that is hashed before it.
const LANE: usize = 2048;

impl Cutter {
    pub(super) fn new(sizes: CutSizes) -> Self {
        let mut gear = [0; 256];
        for (to, from) in gear.iter_mut().zip(get_gear_with_seed(0).0.iter()) {
            *to = *from;
        }
        Self { sizes, masks: select_masks(sizes.avg, Normalization::Level1), gear }
    }

    pub(super) fn sizes(&self) -> CutSizes {
        self.sizes
    }

    /// The length of a chunk that begins with `bytes`: the first place to cut at `searched` or behind it, if there is one.
    pub(super) fn first(&self, bytes: &[u8], searched: usize) -> Option<usize> {
        let CutSizes { min, avg, max } = self.sizes;
        // FastCDC looks at bytes in pairs: the last of an odd number is never a place to cut.
        let end = bytes.len().min(max) & !1;
        let from = searched.max(min);
        let (strict, relaxed) = (from..end.min(avg), from.max(avg)..end);
        let bytes = bytes.get(..end)?;
        self.find(bytes, strict, self.masks.0).or_else(|| self.find(bytes, relaxed, self.masks.1))
    }

    /// The first place in a range where the hash has none of the mask's bits.
    fn find(&self, bytes: &[u8], range: std::ops::Range<usize>, mask: u64) -> Option<usize> {
        let mut at = range.start;
        while at < range.end {
            let block = bytes.get(at..range.end.min(at + LANES * LANE))?;
            let may_have = block.len() < LANES * LANE || self.has_any(bytes, at, block, mask);
            if may_have && let Some(found) = self.first_in(block, self.hash_before(bytes, at), mask) {
                return Some(at + found);
            }
            at += block.len();
        }
        None
    }

    /// Whether a whole block has a place to cut anywhere.
    fn has_any(&self, bytes: &[u8], at: usize, block: &[u8], mask: u64) -> bool {
        let lane = |n: usize| block.get(n * LANE..(n + 1) * LANE).unwrap_or_default();
        let before = |n: usize| self.hash_before(bytes, at + n * LANE);
        let (mut a, mut b, mut c, mut d) = (before(0), before(1), before(2), before(3));
        let mut found = false;
        for (((&w, &x), &y), &z) in lane(0).iter().zip(lane(1)).zip(lane(2)).zip(lane(3)) {
            (a, b, c, d) = (self.step(a, w), self.step(b, x), self.step(c, y), self.step(d, z));
            found |= (a & mask == 0) | (b & mask == 0) | (c & mask == 0) | (d & mask == 0);
        }
        found
    }

    fn first_in(&self, block: &[u8], mut hash: u64, mask: u64) -> Option<usize> {
        block.iter().position(|&byte| {
            hash = self.step(hash, byte);
            hash & mask == 0
        })
    }

    /// The hash of what is before a place.
    fn hash_before(&self, bytes: &[u8], at: usize) -> u64 {
        let first = at.saturating_sub(WINDOW).max(self.sizes.min);
        let window = bytes.get(first..at).unwrap_or_default();
        window.iter().fold(0, |hash, &byte| self.step(hash, byte))
    }

    #[inline(always)]
    fn step(&self, hash: u64, byte: u8) -> u64 {
        // A byte is always in the table.
        #[expect(clippy::indexing_slicing, reason = "no byte is outside of 256 entries")]
        (hash << 1).wrapping_add(self.gear[usize::from(byte)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::cut;
    use proptest::prelude::*;

    fn theirs(bytes: &[u8], CutSizes { min, avg, max }: CutSizes) -> usize {
        let (strict, relaxed) = select_masks(avg, Normalization::Level1);
        cut(bytes, min, avg, max, strict, relaxed, strict << 1, relaxed << 1).1
    }

    fn ours(bytes: &[u8], sizes: CutSizes, looks: &[usize]) -> usize {
        let cutter = Cutter::new(sizes);
        let mut searched = 0;
        for look in looks.iter().map(|look| look & !1) {
            if let Some(found) = cutter.first(&bytes[..look], searched) {
                return found;
            }
            searched = searched.max(look);
        }
        cutter.first(bytes, searched).unwrap_or(bytes.len().min(sizes.max))
    }

    proptest! {
        /// Also where the stream comes piece by piece, and what was searched is not searched again.
        #[test]
        fn cuts_where_fastcdc_cuts(
            seed in any::<u64>(), length in 0..70_000usize, few in any::<bool>(), bits in 8..15u32,
            mut looks in prop::collection::vec(any::<usize>(), 0..4),
        ) {
            let mut x = seed | 1;
            let next = |_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                // Text of few letters too.
                if few { (x >> 61) as u8 } else { (x >> 32) as u8 }
            };
            let bytes: Vec<u8> = (0..length).map(next).collect();
            looks.iter_mut().for_each(|look| *look %= length + 1);
            looks.sort_unstable();
            for avg in [1 << bits, 3 << (bits - 1)] {
                let sizes = CutSizes { min: avg / 4, avg, max: avg * 4 };
                let place = theirs(&bytes, sizes);
                prop_assert_eq!(ours(&bytes, sizes, &looks), place);
                // Wherever in a lane it comes to be.
                let cutter = Cutter::new(sizes);
                let lanes = (0..LANES).flat_map(|lane| (0..WINDOW).map(move |at| lane * LANE + at));
                for before in lanes.filter(|_| place < length.min(sizes.max) & !1) {
                    let searched = place.saturating_sub(before);
                    prop_assert_eq!(cutter.first(&bytes, searched), Some(place), "from {}", searched);
                }
            }
        }
    }
}
