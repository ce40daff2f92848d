//! The hash of a file's content, as the content goes by.

use super::ContentHash;
use blake3::Hasher;

/// So many bytes of a file's holes are hashed as the zeros that they stand for: some seconds' work. A file of a few bytes can
/// have terabytes of them.
pub const HASHED_ZEROS: u64 = 16 << 30;

/// Hashes a content from its beginning to its end. `docs/format.md` says what a file's hash is.
pub struct ContentHasher {
    /// Of everything so far; behind the first [`HASHED_ZEROS`] bytes of holes, of the run of data that is under way.
    hasher: Hasher,
    zeros: u64,
    /// Behind the first holes: the length of the hole that is under way.
    hole: Option<u64>,
}

impl Default for ContentHasher {
    fn default() -> Self {
        Self { hasher: Hasher::new(), zeros: 0, hole: None }
    }
}

impl ContentHasher {
    /// The next bytes.
    pub fn data(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.end_hole();
        self.hasher.update(bytes);
    }

    /// The next bytes are zeros of a hole.
    pub fn hole(&mut self, length: u64) {
        let zeros = length.min(HASHED_ZEROS - self.zeros);
        self.zeros += zeros;
        update_zeros(&mut self.hasher, zeros);
        if length > zeros {
            *self.hole.get_or_insert(0) += length - zeros;
        }
    }

    /// Whether holes are not hashed as zeros any more, so that the longest costs nothing.
    pub fn has_hashed_zeros(&self) -> bool {
        self.zeros == HASHED_ZEROS
    }

    /// What is behind a hole that is not hashed begins a hash of its own, whose key is the hash of all before it.
    fn end_hole(&mut self) {
        if let Some(length) = self.hole.take() {
            let before = *self.hasher.finalize().as_bytes();
            self.hasher = Hasher::new_keyed(&before);
            self.hasher.update(&length.to_le_bytes());
        }
    }

    /// The content's hash.
    pub fn finish(mut self) -> ContentHash {
        self.end_hole();
        self.hasher.finalize().into()
    }
}

fn update_zeros(hasher: &mut Hasher, mut length: u64) {
    const ZEROS: &[u8] = &[0; 64 << 10];
    while length > 0 {
        let n = length.min(ZEROS.len() as u64);
        hasher.update(ZEROS.get(..n as usize).unwrap_or(ZEROS));
        length -= n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(runs: &[Result<&[u8], u64>]) -> ContentHash {
        let mut hasher = ContentHasher::default();
        for run in runs {
            match run {
                Ok(bytes) => hasher.data(bytes),
                Err(length) => hasher.hole(*length),
            }
        }
        hasher.finish()
    }

    #[test]
    fn few_zeros_are_hashed_as_such() {
        let expected = ContentHash::of(&[b"ab".as_slice(), &[0; 100_000], b"c"].concat());
        assert_eq!(hash(&[Ok(b"ab"), Err(60_000), Err(40_000), Ok(b"c")]), expected);
        assert_eq!(hash(&[]), ContentHash::of(b""));
    }

    #[test]
    fn terabytes_of_zeros_cost_seconds_and_tell_contents_apart() {
        // As if so many had gone by: hashing them takes seconds.
        let after = |runs: &[Result<&[u8], u64>]| {
            let mut hasher = ContentHasher { zeros: HASHED_ZEROS, ..ContentHasher::default() };
            for run in runs {
                match run {
                    Ok(bytes) => hasher.data(bytes),
                    Err(length) => hasher.hole(*length),
                }
            }
            hasher.finish()
        };
        let tib = 1 << 40;
        let one = after(&[Ok(b"a"), Err(15 * tib), Ok(b"b")]);
        assert_eq!(
            one,
            after(&[Ok(b"a"), Err(5 * tib), Err(10 * tib), Ok(b"b")]),
            "in whatever parts it is read"
        );
        let (length, other_length) = ((15 * tib).to_le_bytes(), (14 * tib).to_le_bytes());
        for other in [
            after(&[Ok(b"a"), Err(14 * tib), Ok(b"b")]),
            after(&[Ok(b"a"), Err(15 * tib), Ok(b"c")]),
            after(&[Ok(b"a"), Err(15 * tib)]),
            after(&[Ok(b"a"), Ok(&length), Ok(b"b")]),
            after(&[Ok(b"a"), Err(14 * tib), Ok(&other_length), Ok(b"b")]),
        ] {
            assert_ne!(one, other);
        }
    }
}
