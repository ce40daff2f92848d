//! Where FastCDC (v2020) cuts, found on several places of the stream at once.

use fastcdc::v2020::{Normalization, get_gear_with_seed, select_masks};
use std::ops::Range;
use std::sync::LazyLock;

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

/// What makes the cuts of a sealed store its own. A secret, wiped by whoever made it.
pub struct CutKey {
    /// In place of FastCDC's public table.
    pub gear: [u64; 256],
    /// For the keyed BLAKE3 of the windows.
    pub key: [u8; 32],
}

/// Finds the places to cut.
///
/// A place is the byte that would begin the next chunk. Its window is that byte and the 63 before, as far as they are behind the
/// shortest chunk: `max(min, place - 63)..=place`, so one byte at the first place. Nothing but its window decides whether a place
/// counts: a search can begin anywhere, and several can go on side by side. One alone waits most of the time for its own last step.
///
/// In a plain store a place counts if the hash of its window shares no bit with FastCDC's mask for `avg`. A sealed store has a
/// table of its own, and a second condition, since the hash is linear in the table: a few known cuts would tell all others. Let `b`
/// be the rounded log2 of `avg`, and `k = min(10, b - 6)`. The masks are FastCDC's for an average of `2^(b - k)`, and a place counts
/// if moreover the low `k` bits are 0 of the first two bytes, as a little endian number, of the keyed BLAKE3 of its window. So both
/// conditions together are as strict as FastCDC's masks for `avg`; from 64 KiB on `k` is 10.
pub(super) struct Cutter<'a> {
    sizes: CutSizes,
    /// What the hash must not share a bit with: before the average length, and behind it.
    masks: (u64, u64),
    gear: &'a [u64; 256],
    second: Option<Second<'a>>,
}

/// The second condition of a sealed store.
struct Second<'a> {
    key: &'a [u8; 32],
    /// What the window's BLAKE3 must not share a bit with.
    mask: u16,
}

/// Bytes that a hash is made of.
const WINDOW: usize = 64;
/// Searches that go on side by side.
const LANES: usize = 4;
/// Bytes of each: enough to make up for the window that is hashed before it.
const LANE: usize = 2048;
/// Bits of the second condition at most: the more it has, the more windows the first lets through to it.
const SECOND_BITS: u32 = 10;
/// Bits of the first condition at least: for fewer FastCDC has no masks.
const FIRST_BITS: u32 = 6;

/// FastCDC's own table.
static PUBLIC_GEAR: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let mut gear = [0; 256];
    for (to, from) in gear.iter_mut().zip(get_gear_with_seed(0).0.iter()) {
        *to = *from;
    }
    gear
});

impl<'a> Cutter<'a> {
    /// Cuts as FastCDC does, or in a sealed store by its key.
    pub(super) fn new(sizes: CutSizes, key: Option<&'a CutKey>) -> Self {
        let masks = select_masks(sizes.avg, Normalization::Level1);
        let Some(CutKey { gear, key }) = key else {
            return Self { sizes, masks, gear: &PUBLIC_GEAR, second: None };
        };
        // The strict mask has one bit more than the average.
        let bits = masks.0.count_ones() - 1;
        let second = bits.saturating_sub(FIRST_BITS).min(SECOND_BITS);
        let masks = select_masks(1 << (bits - second), Normalization::Level1);
        Self { sizes, masks, gear, second: Some(Second { key, mask: (1 << second) - 1 }) }
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

    /// The first place in a range that counts.
    fn find(&self, bytes: &[u8], range: Range<usize>, mask: u64) -> Option<usize> {
        let mut search = Search { cutter: self, bytes, mask, refused: &[] };
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(LANES * LANE);
            let found = if length < LANES * LANE {
                search.first_in(at..at + length)
            } else {
                search.first_in_lanes(at)
            };
            if found.is_some() {
                return found;
            }
            at += length;
        }
        None
    }

    /// Where the window of a place begins, or of the one behind `bytes`.
    fn window(&self, place: usize) -> usize {
        (place + 1).saturating_sub(WINDOW).max(self.sizes.min)
    }

    /// The hash of what is before a place.
    fn hash_before(&self, bytes: &[u8], place: usize) -> u64 {
        let window = bytes.get(self.window(place)..place).unwrap_or_default();
        window.iter().fold(0, |hash, &byte| self.step(hash, byte))
    }

    #[inline(always)]
    fn step(&self, hash: u64, byte: u8) -> u64 {
        // A byte is always in the table.
        #[expect(clippy::indexing_slicing, reason = "no byte is outside of 256 entries")]
        (hash << 1).wrapping_add(self.gear[usize::from(byte)])
    }
}

/// A search with one mask.
struct Search<'a> {
    cutter: &'a Cutter<'a>,
    bytes: &'a [u8],
    mask: u64,
    /// The window that the second condition refused last. In zeros and the like all places have the same.
    refused: &'a [u8],
}

impl Search<'_> {
    /// The first place that counts in a range.
    fn first_in(&mut self, range: Range<usize>) -> Option<usize> {
        let (cutter, mut hash) = (self.cutter, self.cutter.hash_before(self.bytes, range.start));
        let block = self.bytes.get(range.clone())?;
        range.zip(block).find_map(|(place, &byte)| {
            hash = cutter.step(hash, byte);
            (hash & self.mask == 0 && self.counts(place)).then_some(place)
        })
    }

    /// The first place that counts in a whole block.
    fn first_in_lanes(&mut self, at: usize) -> Option<usize> {
        let (cutter, bytes, mask) = (self.cutter, self.bytes, self.mask);
        let lane = |n: usize| bytes.get(at + n * LANE..at + (n + 1) * LANE).unwrap_or_default();
        let before = |n: usize| cutter.hash_before(bytes, at + n * LANE);
        let (mut a, mut b, mut c, mut d) = (before(0), before(1), before(2), before(3));
        let mut first = None;
        for (i, (((&w, &x), &y), &z)) in lane(0).iter().zip(lane(1)).zip(lane(2)).zip(lane(3)).enumerate() {
            (a, b, c, d) = (cutter.step(a, w), cutter.step(b, x), cutter.step(c, y), cutter.step(d, z));
            if (a & mask == 0) | (b & mask == 0) | (c & mask == 0) | (d & mask == 0) {
                first = self.nearer(first, at + i, [a, b, c, d]);
            }
        }
        first
    }

    /// The nearest of `first` and the places, each a lane behind the one before, whose hashes these are.
    #[cold]
    fn nearer(&mut self, first: Option<usize>, at: usize, hashes: [u64; LANES]) -> Option<usize> {
        for (place, hash) in (at..).step_by(LANE).zip(hashes) {
            let nearer = first.is_none_or(|first| place < first);
            if nearer && hash & self.mask == 0 && self.counts(place) {
                return Some(place);
            }
        }
        first
    }

    /// Whether a place whose hash has none of the mask's bits fulfils the second condition too.
    fn counts(&mut self, place: usize) -> bool {
        let Some(Second { key, mask }) = &self.cutter.second else { return true };
        let window = self.bytes.get(self.cutter.window(place)..=place).unwrap_or_default();
        if window == self.refused {
            return false;
        }
        let [low, high, ..] = *blake3::keyed_hash(key, window).as_bytes();
        let counts = u16::from_le_bytes([low, high]) & mask == 0;
        if !counts {
            self.refused = window;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::{MASKS, cut};
    use proptest::prelude::*;

    fn theirs(bytes: &[u8], CutSizes { min, avg, max }: CutSizes) -> usize {
        let (strict, relaxed) = select_masks(avg, Normalization::Level1);
        cut(bytes, min, avg, max, strict, relaxed, strict << 1, relaxed << 1).1
    }

    /// What a sealed store's format says, each place from scratch.
    fn sealed(bytes: &[u8], CutSizes { min, avg, max }: CutSizes, key: &CutKey) -> usize {
        let b = (avg as f64).log2().round() as usize;
        let k = 10.min(b - 6);
        let end = bytes.len().min(max);
        let counts = |place: &usize| {
            let window = &bytes[min.max((place + 1).saturating_sub(64))..=*place];
            let terms = window.iter().rev().enumerate().map(|(age, &byte)| key.gear[byte as usize] << age);
            let mask = MASKS[if *place < avg { b - k + 1 } else { b - k - 1 }];
            let number = || blake3::keyed_hash(&key.key, window).as_bytes()[..2].try_into().unwrap();
            terms.fold(0, u64::wrapping_add) & mask == 0 && u16::from_le_bytes(number()) % (1 << k) == 0
        };
        (min..end / 2 * 2).find(counts).unwrap_or(end)
    }

    fn key(table: u8, windows: u8) -> CutKey {
        let (mut bytes, mut gear) = ([0; 2048], [0; 256]);
        blake3::Hasher::new().update(&[table]).finalize_xof().fill(&mut bytes);
        for (to, from) in gear.iter_mut().zip(bytes.as_chunks().0) {
            *to = u64::from_le_bytes(*from);
        }
        CutKey { gear, key: [windows; 32] }
    }

    fn ours(cutter: &Cutter<'_>, bytes: &[u8], looks: &[usize]) -> usize {
        let mut searched = 0;
        for look in looks.iter().map(|look| look & !1) {
            if let Some(found) = cutter.first(&bytes[..look], searched) {
                return found;
            }
            searched = searched.max(look);
        }
        cutter.first(bytes, searched).unwrap_or(bytes.len().min(cutter.sizes.max))
    }

    fn noise(seed: u64, length: usize) -> impl Iterator<Item = u64> {
        let mut x = seed | 1;
        std::iter::repeat_with(move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        })
        .take(length)
    }

    /// Noise, text of few letters, or the same few bytes again and again.
    fn content(seed: u64, length: usize, kind: u32) -> Vec<u8> {
        let bytes = |shift, length| noise(seed, length).map(move |x| (x >> shift) as u8);
        match kind {
            0 => bytes(32, length).collect(),
            1 => bytes(61, length).collect(),
            _ => bytes(32, 1 + seed as usize % 5)
                .collect::<Vec<_>>()
                .into_iter()
                .cycle()
                .take(length)
                .collect(),
        }
    }

    proptest! {
        /// Also where the stream comes piece by piece, and what was searched is not searched again.
        #[test]
        fn cuts_where_fastcdc_or_the_key_says(
            seed in any::<u64>(), length in 0..70_000usize, kind in 0..3u32, bits in 8..15u32,
            mut looks in prop::collection::vec(any::<usize>(), 0..4),
        ) {
            let bytes = content(seed, length, kind);
            looks.iter_mut().for_each(|look| *look %= length + 1);
            looks.sort_unstable();
            let key = key(seed as u8, bits as u8);
            for avg in [1 << bits, 3 << (bits - 1)] {
                let sizes = CutSizes { min: avg / 4, avg, max: avg * 4 };
                let plain = (Cutter::new(sizes, None), theirs(&bytes, sizes));
                let keyed = (Cutter::new(sizes, Some(&key)), sealed(&bytes, sizes, &key));
                for (cutter, place) in [plain, keyed] {
                    prop_assert_eq!(ours(&cutter, &bytes, &looks), place);
                    // Wherever in a lane it comes to be.
                    let lanes = (0..LANES).flat_map(|lane| (0..WINDOW).map(move |at| lane * LANE + at));
                    for before in lanes.filter(|_| place < length.min(sizes.max) & !1) {
                        let searched = place.saturating_sub(before);
                        prop_assert_eq!(cutter.first(&bytes, searched), Some(place), "from {}", searched);
                    }
                }
            }
        }
    }

    #[test]
    fn both_conditions_together_are_as_strict_as_fastcdc() {
        let key = key(0, 0);
        for avg in (256..=4 << 20).step_by(254) {
            let cutter = Cutter::new(CutSizes { min: 64, avg, max: 8 << 20 }, Some(&key));
            let second = cutter.second.as_ref().unwrap().mask.count_ones();
            let (strict, relaxed) = select_masks(avg, Normalization::Level1);
            assert_eq!(cutter.masks.0.count_ones() + second, strict.count_ones(), "{avg}");
            assert_eq!(cutter.masks.1.count_ones() + second, relaxed.count_ones(), "{avg}");
            assert!((2..=10).contains(&second) && (avg < 64 << 10 || second == 10), "{avg}: {second}");
        }
        let sizes = CutSizes { min: 256 << 10, avg: 1 << 20, max: 4 << 20 };
        assert_eq!(Cutter::new(sizes, Some(&key)).masks, select_masks(1 << 10, Normalization::Level1));
    }

    const SMALL: CutSizes = CutSizes { min: 256, avg: 1024, max: 4096 };

    /// Where 2 MiB of noise are cut.
    fn places(key: Option<&CutKey>) -> Vec<usize> {
        let bytes = content(1, 2 << 20, 0);
        let cutter = Cutter::new(SMALL, key);
        let ends = std::iter::successors(Some(0), |&at| {
            (at < bytes.len()).then(|| at + ours(&cutter, &bytes[at..], &[]))
        });
        ends.skip(1).collect()
    }

    #[test]
    fn lengths_are_spread_as_in_a_plain_store() {
        let spread = |places: &[usize]| {
            let lengths = places.windows(2).map(|w| (w[1] - w[0]) as f64);
            let mean = lengths.clone().sum::<f64>() / lengths.len() as f64;
            (mean, (lengths.clone().map(|l| (l - mean).powi(2)).sum::<f64>() / lengths.len() as f64).sqrt())
        };
        let plain = spread(&places(None));
        for n in 0..4 {
            let sealed = spread(&places(Some(&key(n, n))));
            assert!((sealed.0 / plain.0 - 1.0).abs() < 0.05, "mean {sealed:?}, not {plain:?}");
            assert!((sealed.1 / plain.1 - 1.0).abs() < 0.1, "spread {sealed:?}, not {plain:?}");
        }
    }

    #[test]
    fn each_half_of_a_key_changes_the_cuts() {
        let all = [None, Some(key(0, 0)), Some(key(0, 1)), Some(key(1, 0))].map(|key| places(key.as_ref()));
        for (n, one) in all.iter().enumerate() {
            for other in &all[..n] {
                let same = one.iter().filter(|place| other.contains(place)).count();
                assert!(same * 10 < one.len(), "{same} of {}", one.len());
            }
        }
    }
}
