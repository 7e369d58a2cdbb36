//! The transforms of F(2×2, 3×3) and F(4×4, 3×3): of tiles of the input, of filters and of tiles of outputs, and
//! those that go back.
//!
//! In Lavin & Gray's form a tile of inputs becomes `Bᵀ d B`, a filter `G g Gᵀ`, the sum of their
//! products `m` becomes the outputs `Aᵀ m A`; gradients go through the same matrices the other way. The
//! matrices follow from points at which polynomials are evaluated (Winograd 1980): 0, ±1 and infinity for
//! 2×2 outputs, and 0, ±√½, ±√2 and infinity for 4×4. With Lavin & Gray's ±1 and ±2 the largest
//! error of 4×4 is 3 to 5 times as large.

use std::f64::consts::{FRAC_1_SQRT_2 as NEAR, SQRT_2 as FAR};

use pulp::Simd;

use crate::Real;
use crate::vectors::Vectors;

/// Vectors of a square tile.
pub(super) type Tile<T, S, const N: usize> = [[<T as Vectors>::Vector<S>; N]; N];

/// The vectors of a row or a column.
type Line<T, S, const N: usize> = [<T as Vectors>::Vector<S>; N];

/// `Bᵀ d B`, a vector of channels at a time.
#[inline(always)]
pub(super) fn inputs<T: Real, S: Simd, const A: usize>(
    simd: S,
    tile: Tile<T, S, A>,
) -> Tile<T, S, A> {
    let v = Linear::<T, S>::new(simd);
    twice::<T, S, A, A>(
        simd,
        tile,
        #[inline(always)]
        |d| {
            let mut line = d;
            if A == 4 {
                line[0] = v.minus(d[0], d[2]);
                line[1] = v.plus(d[1], d[2]);
                line[2] = v.minus(d[2], d[1]);
                line[3] = v.minus(d[1], d[3]);
            } else {
                line[0] = v.times(-2.5, d[2], v.plus(d[4], d[0]));
                let (even, odd) = (v.times(-2.0, d[2], d[4]), v.times(-2.0, d[1], d[3]));
                line[1] = v.times(NEAR, odd, even);
                line[2] = v.times(-NEAR, odd, even);
                let (even, odd) = (v.times(-0.5, d[2], d[4]), v.times(-0.5, d[1], d[3]));
                line[3] = v.times(FAR, odd, even);
                line[4] = v.times(-FAR, odd, even);
                line[5] = v.times(-2.5, d[3], v.plus(d[5], d[1]));
            }
            line
        },
    )
}

/// `Aᵀ m A`.
#[inline(always)]
pub(super) fn outputs<T: Real, S: Simd, const M: usize, const A: usize>(
    simd: S,
    tile: Tile<T, S, A>,
) -> Tile<T, S, M> {
    let v = Linear::<T, S>::new(simd);
    twice::<T, S, A, M>(
        simd,
        tile,
        #[inline(always)]
        |m| {
            let mut line = [v.zero; M];
            let (sum, difference) = (v.plus(m[1], m[2]), v.minus(m[1], m[2]));
            if M == 2 {
                line[0] = v.plus(m[0], sum);
                line[1] = v.minus(difference, m[3]);
            } else {
                let (far_sum, far_difference) = (v.plus(m[3], m[4]), v.minus(m[3], m[4]));
                line[0] = v.plus(m[0], v.plus(sum, far_sum));
                let half = v.times(0.5, difference, v.zero);
                line[1] = v.times(FAR, v.plus(half, far_difference), v.zero);
                line[2] = v.times(2.0, far_sum, v.times(0.5, sum, v.zero));
                let quarter = v.times(0.5, half, v.plus(far_difference, far_difference));
                line[3] = v.times(FAR, quarter, m[5]);
            }
            line
        },
    )
}

/// `A dy Aᵀ`: what [`outputs`] makes of a gradient on its way back.
#[inline(always)]
pub(super) fn slopes<T: Real, S: Simd, const M: usize, const A: usize>(
    simd: S,
    tile: Tile<T, S, M>,
) -> Tile<T, S, A> {
    let v = Linear::<T, S>::new(simd);
    twice::<T, S, M, A>(
        simd,
        tile,
        #[inline(always)]
        |dy| {
            let mut line = [v.zero; A];
            line[0] = dy[0];
            if M == 2 {
                line[1] = v.plus(dy[0], dy[1]);
                line[2] = v.minus(dy[0], dy[1]);
                line[3] = v.minus(v.zero, dy[1]);
            } else {
                let (even, odd) = (v.times(0.5, dy[2], dy[0]), v.times(0.5, dy[3], dy[1]));
                line[1] = v.times(NEAR, odd, even);
                line[2] = v.times(-NEAR, odd, even);
                let (even, odd) = (v.times(2.0, dy[2], dy[0]), v.times(2.0, dy[3], dy[1]));
                line[3] = v.times(FAR, odd, even);
                line[4] = v.times(-FAR, odd, even);
                line[5] = dy[3];
            }
            line
        },
    )
}

/// `G g Gᵀ`, a vector of filters at a time.
#[inline(always)]
pub(super) fn filters<T: Real, S: Simd, const A: usize>(
    simd: S,
    tile: Tile<T, S, 3>,
) -> Tile<T, S, A> {
    let v = Linear::<T, S>::new(simd);
    twice::<T, S, 3, A>(
        simd,
        tile,
        #[inline(always)]
        |g| {
            let mut line = [v.zero; A];
            line[0] = g[0];
            if A == 4 {
                let (outer, inner) = (v.times(0.5, v.plus(g[0], g[2]), v.zero), g[1]);
                line[1] = v.times(0.5, inner, outer);
                line[2] = v.times(-0.5, inner, outer);
                line[3] = g[2];
            } else {
                let outer = v.times(-2.0 / 3.0, v.times(0.5, g[2], g[0]), v.zero);
                line[1] = v.times(-2.0 / 3.0 * NEAR, g[1], outer);
                line[2] = v.times(2.0 / 3.0 * NEAR, g[1], outer);
                let outer = v.times(1.0 / 6.0, v.times(2.0, g[2], g[0]), v.zero);
                line[3] = v.times(1.0 / 6.0 * FAR, g[1], outer);
                line[4] = v.times(-1.0 / 6.0 * FAR, g[1], outer);
                line[5] = g[2];
            }
            line
        },
    )
}

/// `Gᵀ u G`: the gradients of filters from those of their transforms.
#[inline(always)]
pub(super) fn filter_slopes<T: Real, S: Simd, const A: usize>(
    simd: S,
    tile: Tile<T, S, A>,
) -> Tile<T, S, 3> {
    let v = Linear::<T, S>::new(simd);
    twice::<T, S, A, 3>(
        simd,
        tile,
        #[inline(always)]
        |u| {
            let (sum, difference) = (v.plus(u[1], u[2]), v.minus(u[1], u[2]));
            if A == 4 {
                let half = v.times(0.5, sum, v.zero);
                return [
                    v.plus(u[0], half),
                    v.times(0.5, difference, v.zero),
                    v.plus(half, u[3]),
                ];
            }
            let (far_sum, far_difference) = (v.plus(u[3], u[4]), v.minus(u[3], u[4]));
            let far = v.times(1.0 / 6.0, far_sum, u[0]);
            let last = v.times(1.0 / 3.0, far_sum, u[5]);
            let middle = v.times(1.0 / 6.0 * FAR, far_difference, v.zero);
            [
                v.times(-2.0 / 3.0, sum, far),
                v.times(-2.0 / 3.0 * NEAR, difference, middle),
                v.times(-1.0 / 3.0, sum, last),
            ]
        },
    )
}

/// What `once` makes of all rows, and then of all columns of that.
#[inline(always)]
fn twice<T: Real, S: Simd, const N: usize, const R: usize>(
    simd: S,
    tile: Tile<T, S, N>,
    once: impl Fn(Line<T, S, N>) -> Line<T, S, R>,
) -> Tile<T, S, R> {
    let zero = T::splat(simd, T::zero());
    let mut rows = [[zero; R]; N];
    for i in 0..N {
        rows[i] = once(tile[i]);
    }
    let mut all = [[zero; R]; R];
    for j in 0..R {
        let mut column = [zero; N];
        for i in 0..N {
            column[i] = rows[i][j];
        }
        let column = once(column);
        for i in 0..R {
            all[i][j] = column[i];
        }
    }
    all
}

/// Sums and multiples of vectors.
#[derive(Clone, Copy)]
struct Linear<T: Real, S: Simd> {
    simd: S,
    zero: T::Vector<S>,
}

impl<T: Real, S: Simd> Linear<T, S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let zero = T::splat(simd, T::zero());
        Linear { simd, zero }
    }

    #[inline(always)]
    fn plus(self, a: T::Vector<S>, b: T::Vector<S>) -> T::Vector<S> {
        T::plus(self.simd, a, b)
    }

    #[inline(always)]
    fn minus(self, a: T::Vector<S>, b: T::Vector<S>) -> T::Vector<S> {
        T::minus(self.simd, a, b)
    }

    /// `factor · a + b`
    #[inline(always)]
    fn times(self, factor: f64, a: T::Vector<S>, b: T::Vector<S>) -> T::Vector<S> {
        T::fused(self.simd, T::splat(self.simd, T::from_f64(factor)), a, b)
    }
}
