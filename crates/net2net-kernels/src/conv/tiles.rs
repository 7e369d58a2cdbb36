//! The innermost loops of direct convolution: a tile of outputs in registers, while the inputs are
//! read where they lie.
//!
//! A tile is `P` pixels (or taps) by `V` vectors of channels. Its `P·V` sums, `V` vectors of one
//! operand and one number of the other fill the registers, and there are enough sums to keep two
//! multipliers busy for the four cycles that each addition takes.

use pulp::Simd;

use crate::Real;
use crate::vectors::lanes;

/// Runs `$body` with `P` the height of a tile: 6 with 16 registers, 8 with 32.
macro_rules! with_height {
    ($simd:ident, $P:ident => $body:expr) => {
        if $simd::REGISTER_COUNT >= 32 {
            const $P: usize = 8;
            $body
        } else {
            const $P: usize = 6;
            $body
        }
    };
}
pub(super) use with_height;

/// The largest height of a tile, but for weights of one vector.
pub(super) const HEIGHT_MAX: usize = 8;

/// The largest width: twice the lanes of the widest vector that there is.
pub(super) const WIDTH_MAX: usize = 32;

/// `start + Σ x[at + tap] · panel[…]` for each of `P` places `at`, over all taps.
///
/// `panel` has `V` vectors of filters for each tap; no tap lies farther than `reach`.
#[inline(always)]
pub(super) fn pixels<T: Real, S: Simd, const P: usize, const V: usize>(
    simd: S,
    x: &[T],
    at: [usize; P],
    taps: &[usize],
    reach: usize,
    panel: &[[T::Vector<S>; V]],
    start: [T::Vector<S>; V],
) -> [[T::Vector<S>; V]; P] {
    let mut sums = [start; P];
    let mut windows = [&x[..0]; P];
    for p in 0..P {
        windows[p] = &x[at[p]..][..reach];
    }
    for (tap, filters) in taps.iter().zip(panel) {
        let filters = *filters;
        for p in 0..P {
            let x = T::splat(simd, windows[p][*tap]);
            for v in 0..V {
                sums[p][v] = T::fused(simd, x, filters[v], sums[p][v]);
            }
        }
    }
    sums
}

/// The product of `P` rows, side by side in `x`, with a matrix that is `V` vectors wide.
#[inline(always)]
pub(super) fn rows<T: Real, S: Simd, const P: usize, const V: usize>(
    simd: S,
    x: &[T],
    matrix: &[[T::Vector<S>; V]],
) -> [[T::Vector<S>; V]; P] {
    let mut sums = [[T::splat(simd, T::zero()); V]; P];
    let mut rows = [&x[..0]; P];
    for p in 0..P {
        rows[p] = &x[p * matrix.len()..][..matrix.len()];
    }
    for (k, filters) in matrix.iter().enumerate() {
        let filters = *filters;
        for p in 0..P {
            let x = T::splat(simd, rows[p][k]);
            for v in 0..V {
                sums[p][v] = T::fused(simd, x, filters[v], sums[p][v]);
            }
        }
    }
    sums
}

/// `Σ x[at + tap + p] · dy[i]` for `P` taps side by side, over the places `at` of all pixels `i`.
///
/// `dy` has `V` vectors of channels for each pixel.
#[inline(always)]
pub(super) fn taps<T: Real, S: Simd, const P: usize, const V: usize>(
    simd: S,
    x: &[T],
    at: &[usize],
    tap: usize,
    dy: &[[T::Vector<S>; V]],
) -> [[T::Vector<S>; V]; P] {
    let mut sums = [[T::splat(simd, T::zero()); V]; P];
    let x = &x[tap..];
    for (at, dy) in at.iter().zip(dy) {
        let x = &x[*at..][..P];
        let dy = *dy;
        for p in 0..P {
            let x = T::splat(simd, x[p]);
            for v in 0..V {
                sums[p][v] = T::fused(simd, x, dy[v], sums[p][v]);
            }
        }
    }
    sums
}

/// Writes or adds the first `count` numbers of a row of a tile, rectified at the end if asked.
#[inline(always)]
pub(super) fn store<T: Real, S: Simd, const V: usize>(
    simd: S,
    sums: [T::Vector<S>; V],
    to: &mut [T],
    add: bool,
    rectify: bool,
) {
    let finished = |mut sums: [T::Vector<S>; V]| {
        if rectify {
            for v in 0..V {
                sums[v] = T::rectified(simd, sums[v]);
            }
        }
        sums
    };
    if to.len() == V * lanes::<T, S>() {
        let to = T::write::<S>(to);
        let mut sums = sums;
        if add {
            for v in 0..V {
                sums[v] = T::plus(simd, to[v], sums[v]);
            }
        }
        to[..V].copy_from_slice(&finished(sums));
        return;
    }
    let mut spilled = [T::zero(); WIDTH_MAX];
    if add {
        spilled[..to.len()].copy_from_slice(to);
    }
    let vectors = T::write::<S>(&mut spilled);
    let mut sums = sums;
    if add {
        for v in 0..V {
            sums[v] = T::plus(simd, vectors[v], sums[v]);
        }
    }
    vectors[..V].copy_from_slice(&finished(sums));
    to.copy_from_slice(&spilled[..to.len()]);
}

/// `start + Σ x[at + tap] · panel[…]` of the same channels, for each of `P` places `at`, over all taps.
///
/// `panel` has `V` vectors of filters for each tap.
#[inline(always)]
pub(super) fn channels_of_pixels<T: Real, S: Simd, const P: usize, const V: usize>(
    simd: S,
    x: &[T],
    at: [usize; P],
    taps: &[usize],
    reach: usize,
    panel: &[[T::Vector<S>; V]],
    start: [T::Vector<S>; V],
) -> [[T::Vector<S>; V]; P] {
    let width = V * lanes::<T, S>();
    let mut sums = [start; P];
    let mut windows = [&x[..0]; P];
    for p in 0..P {
        windows[p] = &x[at[p]..][..reach];
    }
    for (tap, filters) in taps.iter().zip(panel) {
        let filters = *filters;
        for p in 0..P {
            let x = T::read::<S>(&windows[p][*tap..][..width]);
            for v in 0..V {
                sums[p][v] = T::fused(simd, x[v], filters[v], sums[p][v]);
            }
        }
    }
    sums
}

/// `Σ x[at + tap] · dy[i]` of the same vector of channels, for each of `P` taps, over the places
/// `at` of all pixels `i`; `dy` has a row of `c` channels for each, the vector from `channel` on.
#[inline(always)]
pub(super) fn channels_of_taps<T: Real, S: Simd, const P: usize>(
    simd: S,
    x: &[T],
    at: &[usize],
    taps: [usize; P],
    dy: &[T],
    c: usize,
    channel: usize,
) -> [T::Vector<S>; P] {
    let lanes = lanes::<T, S>();
    let mut sums = [T::splat(simd, T::zero()); P];
    let mut reach = 0;
    for p in 0..P {
        reach = reach.max(taps[p] + lanes);
    }
    for (at, dy) in at.iter().zip(dy.chunks_exact(c)) {
        let x = &x[at + channel..][..reach];
        let dy = T::read::<S>(&dy[channel..][..lanes])[0];
        for p in 0..P {
            let x = T::read::<S>(&x[taps[p]..][..lanes])[0];
            sums[p] = T::fused(simd, x, dy, sums[p]);
        }
    }
    sums
}
