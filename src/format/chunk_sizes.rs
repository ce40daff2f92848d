//! How long chunks are.

/// Largest chunk that any version of the format may hold, in bytes; bounds what opening an object can take.
pub const MAX_CHUNK_LENGTH: u32 = 16 << 20;

/// FastCDC's parameters, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkSizes {
    /// No chunk is shorter, but for the last before a forced cut.
    pub min: u32,
    /// What chunks come to on average.
    pub avg: u32,
    /// No chunk is longer.
    pub max: u32,
}

impl Default for ChunkSizes {
    fn default() -> Self {
        Self { min: 256 << 10, avg: 1 << 20, max: 4 << 20 }
    }
}

impl ChunkSizes {
    /// Sizes around an average, in the proportions of the default: a quarter of it at least, four times as much at most, but no
    /// more than 8 MiB, since each thread has memory for chunks of the largest size. None where the format has no such average.
    pub fn around(avg: u32) -> Option<Self> {
        let sizes = Self { min: avg / 4, avg, max: avg.saturating_mul(4).min(8 << 20) };
        sizes.is_valid().then_some(sizes)
    }

    pub(super) fn is_valid(&self) -> bool {
        // The ranges that FastCDC is defined for; its scan goes by pairs of bytes, hence the even sizes.
        let even = [self.min, self.avg, self.max].iter().all(|s| s.is_multiple_of(2));
        even && self.min >= 64
            && self.avg >= 256
            && self.avg <= 4 << 20
            && self.min <= self.avg
            && self.min <= 1 << 20
            && self.avg <= self.max
            && (1024..=MAX_CHUNK_LENGTH).contains(&self.max)
    }
}
