//! Random numbers by key: what is drawn depends on the seed and on what it is for, never on what
//! was drawn before.
//!
//! Bounded draws are made here from the raw words of ChaCha8 instead of with `rand`'s
//! distributions, whose results may change between releases: an old run must stay repeatable.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for. The numbers are part of the key: never reuse or renumber
/// them.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(super) enum Purpose {
    /// The order of an epoch; keyed by the epoch.
    Order = 1,
    /// The augmentation of a sample; keyed by the epoch and the sample.
    Augment = 2,
    /// The split of a data set.
    Split = 3,
    /// A class-balanced choice; keyed by the class.
    Balance = 4,
    /// The crop of random size of a sample; keyed by the epoch and the sample.
    Crop = 5,
    /// The colours of a sample; keyed by the epoch and the sample.
    Jitter = 6,
    /// A split that keeps the shares of the classes; keyed by the class.
    ClassSplit = 7,
    /// Which images of a large set are looked at.
    Look = 8,
    /// By how much the images of a batch are mixed; keyed by the epoch and the batch.
    Mix = 9,
}

/// The stream for `(seed, purpose, first, second)`. The four words are the 256-bit key of the
/// cipher as they are, so that streams with different keys are independent however close the seeds
/// are.
pub(super) fn stream(seed: u64, purpose: Purpose, first: u64, second: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key
        .chunks_exact_mut(8)
        .zip([seed, purpose as u64, first, second])
    {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number below `bound` (0 for a bound of 0) from one word of the stream. Always exactly one
/// word, so that the n-th draw of a stream means the same whatever the bounds before it; the bias,
/// at most `bound / 2^64`, is far below what could be measured.
pub(super) fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    // The high half of the product is below `bound`, so that it fits.
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// A number in 0..1 from one word of the stream.
pub(super) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    // The 53 bits that a mantissa holds.
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Shuffles in place (Fisher–Yates, from the end).
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}

/// The numbers `0..len` in random order.
pub(super) fn permutation(len: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    shuffle(&mut order, rng);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_order() {
        // Pinned: if this changes, runs of earlier versions can no longer be repeated.
        assert_eq!(
            permutation(10, &mut stream(7, Purpose::Order, 3, 0)),
            [4, 5, 2, 8, 1, 6, 9, 0, 7, 3]
        );
    }

    #[test]
    fn each_part_of_the_key_matters() {
        let first = |seed, purpose, a, b| stream(seed, purpose, a, b).next_u64();
        let base = first(1, Purpose::Order, 0, 0);
        assert_eq!(base, first(1, Purpose::Order, 0, 0));
        for other in [
            first(2, Purpose::Order, 0, 0),
            first(1, Purpose::Augment, 0, 0),
            first(1, Purpose::Order, 1, 0),
            first(1, Purpose::Order, 0, 1),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn each_place_of_a_permutation_is_reached_about_equally() {
        let mut counts = [[0_u32; 5]; 5];
        for epoch in 0..10_000 {
            for (place, item) in permutation(5, &mut stream(0, Purpose::Order, epoch, 0))
                .into_iter()
                .enumerate()
            {
                counts[place][item] += 1;
            }
        }
        // Expected 2,000 each with a standard deviation of 40.
        assert!(
            counts
                .iter()
                .flatten()
                .all(|count| count.abs_diff(2_000) < 200),
            "{counts:?}"
        );
    }
}
