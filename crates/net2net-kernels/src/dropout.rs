//! Dropout, whose mask is computed from a seed and never stored.

use crate::elementwise::map_indexed;
use crate::{Context, Real};

/// Sets each element to 0 with probability `rate` and scales the others by `1 / (1 − rate)`.
/// The same `seed` gives the same mask, for any number of threads.
///
/// # Panics
/// If `rate` is not in `0..1`, or the lengths differ.
pub fn forward<T: Real>(cx: &mut Context<T>, x: &[T], rate: f64, seed: u64, y: &mut [T]) {
    masked(cx, x, rate, seed, y, false);
}

/// The gradient of [`forward`]: the same mask, from the same `rate` and `seed`.
///
/// # Panics
/// If `rate` is not in `0..1`, or the lengths differ.
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    dy: &[T],
    rate: f64,
    seed: u64,
    dx: &mut [T],
    accumulate: bool,
) {
    masked(cx, dy, rate, seed, dx, accumulate);
}

fn masked<T: Real>(
    cx: &mut Context<T>,
    src: &[T],
    rate: f64,
    seed: u64,
    dst: &mut [T],
    accumulate: bool,
) {
    assert!((0.0..1.0).contains(&rate), "a dropout rate of {rate}");
    let scale = T::from_f64(1.0 / (1.0 - rate));
    let threshold = (rate * (1u64 << 32) as f64) as u64;
    map_indexed(
        cx,
        src,
        dst,
        accumulate,
        #[inline(always)]
        |i, x| {
            if hash(seed, i as u64) >> 32 < threshold {
                T::zero()
            } else {
                x * scale
            }
        },
    );
}

/// SplitMix64 at position `index` of the stream `seed`.
#[inline(always)]
fn hash(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, on_all, random};

    const LEN: usize = 100_000;

    #[test]
    fn as_many_fall_as_the_rate_says_and_the_mean_stays() {
        let mut cx = Context::<f64>::new(2).unwrap();
        for rate in [0.0, 0.1, 0.5, 0.9] {
            let mut y = vec![0.0; LEN];
            forward(&mut cx, &vec![1.0; LEN], rate, 7, &mut y);
            let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / LEN as f64;
            assert!((dropped - rate).abs() < 0.01, "{dropped} of {rate}");
            assert!(y.iter().all(|&y| y == 0.0 || y == 1.0 / (1.0 - rate)));
        }
    }

    #[test]
    fn the_mask_depends_on_the_seed_only() {
        let x: Vec<f64> = random(1, LEN).iter().map(|x| x + 2.0).collect();
        let masked = |threads, seed| {
            let mut y = vec![0.0; LEN];
            forward(&mut Context::new(threads).unwrap(), &x, 0.3, seed, &mut y);
            y
        };
        assert_eq!(masked(1, 5), masked(2, 5));
        assert_ne!(masked(1, 5), masked(1, 6));
        on_all!(|cx, T| {
            let mut dx = cast::<T>(&x);
            backward(&mut cx, &cast::<T>(&x), 0.3, 5, &mut dx, true);
            close(
                &dx,
                &masked(1, 5)
                    .iter()
                    .zip(&x)
                    .map(|(a, b)| a + b)
                    .collect::<Vec<_>>(),
            );
        });
    }
}
