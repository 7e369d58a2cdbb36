//! What the tests of all kernels share.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Real;

/// `len` seeded numbers in -1..1.
pub(crate) fn random(seed: u64, len: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// A seeded generator of small sizes.
pub(crate) fn sizes(seed: u64) -> impl FnMut(std::ops::RangeInclusive<usize>) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    move |range| rng.random_range(range)
}

/// The numbers as `T`.
pub(crate) fn cast<T: Real>(xs: &[f64]) -> Vec<T> {
    xs.iter().map(|&x| T::from_f64(x)).collect()
}

/// Asserts that `actual` is `expected`, up to rounding of its type.
#[track_caller]
pub(crate) fn close<T: Real>(actual: &[T], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    let scale = expected.iter().fold(1.0, |max: f64, x| max.max(x.abs()));
    let tolerance = scale * if T::NAME == "f32" { 2e-5 } else { 1e-11 };
    for (i, (&a, e)) in actual.iter().zip(expected).enumerate() {
        let a = a.to_f64();
        assert!(
            (a - e).abs() <= tolerance,
            "{} [{i}]: {a} instead of {e}",
            T::NAME
        );
    }
}

/// The sum of products.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Asserts that `gradient` is the slope of `f` at `x`, by central differences.
#[track_caller]
pub(crate) fn is_gradient(x: &[f64], gradient: &[f64], f: impl FnMut(&[f64]) -> f64) {
    let slopes = slopes(x, f);
    assert_eq!(slopes.len(), gradient.len());
    for (i, (g, s)) in gradient.iter().zip(slopes).enumerate() {
        assert!(
            (g - s).abs() <= 1e-6 * (1.0 + s.abs()),
            "[{i}]: {g} instead of {s}"
        );
    }
}

/// The slope of `f` at `x` in each direction, by central differences.
fn slopes(x: &[f64], mut f: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + step;
            let above = f(&x);
            x[i] = at - step;
            let below = f(&x);
            x[i] = at;
            (above - below) / (2.0 * step)
        })
        .collect()
}

/// Runs a block for `f32` and `f64`, with one thread and with two:
/// `on_all!(|cx, T| { .. })`.
macro_rules! on_all {
    (|$cx:ident, $T:ident| $body:block) => {{
        fn each<T: crate::Real>(mut f: impl FnMut(crate::Context<T>)) {
            for threads in [1, 2] {
                f(crate::Context::new(threads).unwrap());
            }
        }
        {
            type $T = f32;
            #[allow(unused_mut)]
            each::<f32>(|mut $cx| $body);
        }
        {
            type $T = f64;
            #[allow(unused_mut)]
            each::<f64>(|mut $cx| $body);
        }
    }};
}
pub(crate) use on_all;

/// Runs `f` twice, asserts that it gives the same bits, and returns them.
#[track_caller]
pub(crate) fn repeatable<T: Real>(mut f: impl FnMut() -> Vec<T>) -> Vec<T> {
    let first = f();
    assert!(first == f(), "a repeat gave other bits");
    first
}
