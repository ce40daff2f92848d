//! Random numbers and bytes that are the same everywhere.

/// SplitMix64.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A number of any size, often one at the edge of something.
    pub(crate) fn number(&mut self) -> u64 {
        const EDGES: [u64; 8] =
            [0, 250, u8::MAX as u64, u16::MAX as u64, 4_000_000, 16 << 20, u32::MAX as u64, u64::MAX];
        match self.below(4) {
            0 => self.pick(&EDGES).wrapping_add(self.below(3) as u64).wrapping_sub(1),
            1 => self.next() >> self.below(64),
            _ => self.below(40) as u64,
        }
    }
}

/// Changes a few bytes, without looking at what they mean.
#[cfg(test)]
pub(crate) fn mutate_bytes(data: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..1 + rng.below(3) {
        let at = rng.below(data.len() + 1);
        let end = (at + 1 + rng.below(8)).min(data.len());
        match rng.below(7) {
            0 => data.insert(at, rng.next() as u8),
            1 => drop(data.drain(at..end)),
            2 => {
                let copy = data[at..end].to_vec();
                let to = rng.below(data.len() + 1);
                data.splice(to..to, copy);
            }
            3 if at + 4 <= data.len() => {
                data[at..at + 4].copy_from_slice(&(rng.number() as u32).to_le_bytes());
            }
            4 if at < data.len() => data[at] ^= 1 << rng.below(8),
            5 if at < data.len() => data[at] = data[at].wrapping_add(1).wrapping_sub(2 * rng.below(2) as u8),
            _ if at < data.len() => data[at] = rng.next() as u8,
            _ => data.push(rng.next() as u8),
        }
    }
}
