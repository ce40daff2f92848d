//! Lengths that say little: padded to one of few.

/// The Padmé length of `length` bytes: the next one that has no more significant bits than its order of magnitude has. At most
/// 12 % more; of all lengths up to 16 MiB 428 are left. (Nikitin and others, "Reducing Metadata Leakage from Encrypted Files and
/// Communication with PURBs", 2019, algorithm 1.)
pub(super) fn padme(length: u64) -> u64 {
    if length < 2 {
        return length;
    }
    let order = length.ilog2();
    let kept = order.ilog2() + 1;
    let mask = (1u64 << order.saturating_sub(kept)) - 1;
    length.saturating_add(mask) & !mask
}

/// The next Padmé length above one.
pub(super) fn next_padme(length: u64) -> u64 {
    padme(length.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lengths_are_left() {
        // By hand: 9 = 0b1001 has order 3 and keeps 2 bits below the first.
        for (length, padded) in
            [(0, 0), (1, 1), (2, 2), (9, 10), (10, 10), (100, 104), (1000, 1024), (32 << 10, 32 << 10)]
        {
            assert_eq!(padme(length), padded, "{length}");
        }
        let mut lengths = vec![1u64];
        while lengths[lengths.len() - 1] < 16 << 20 {
            let next = next_padme(lengths[lengths.len() - 1]);
            lengths.push(next);
        }
        assert!(lengths.len() == 428, "{}", lengths.len());
        for length in (0..200_000).chain((1 << 24) - 1000..1 << 24) {
            let padded = padme(length);
            assert!(
                padded >= length && padded <= length + length * 12 / 100 + 1 && padme(padded) == padded,
                "{length}"
            );
        }
    }
}
