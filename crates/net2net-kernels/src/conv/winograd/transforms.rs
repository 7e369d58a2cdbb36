//! The transforms of F(2×2, 3×3): of tiles of the input, of filters and of tiles of outputs, and those
//! that go back.
//!
//! With Lavin & Gray's matrices a tile of inputs becomes `Bᵀ d B`, a filter `G g Gᵀ`, the sum of their
//! products `m` becomes the outputs `Aᵀ m A`; gradients go through the same matrices the other way.

use pulp::Simd;

use crate::Real;

/// Vectors of a square tile.
pub(super) type Tile<T, S, const N: usize> = [[<T as crate::vectors::Vectors>::Vector<S>; N]; N];

/// `Bᵀ d B`, a vector of channels at a time.
#[inline(always)]
pub(super) fn inputs<T: Real, S: Simd>(simd: S, d: Tile<T, S, 4>) -> Tile<T, S, 4> {
    let once = |[a, b, c, d]: [T::Vector<S>; 4]| {
        [
            T::minus(simd, a, c),
            T::plus(simd, b, c),
            T::minus(simd, c, b),
            T::minus(simd, b, d),
        ]
    };
    let across = [once(d[0]), once(d[1]), once(d[2]), once(d[3])];
    let [a, b, c, d] = turned::<T, S, 4>(across);
    turned::<T, S, 4>([once(a), once(b), once(c), once(d)])
}

/// `Aᵀ m A`.
#[inline(always)]
pub(super) fn outputs<T: Real, S: Simd>(simd: S, m: Tile<T, S, 4>) -> Tile<T, S, 2> {
    let once = |[a, b, c, d]: [T::Vector<S>; 4]| {
        let (sum, difference) = (T::plus(simd, b, c), T::minus(simd, b, c));
        [T::plus(simd, a, sum), T::minus(simd, difference, d)]
    };
    let [a, b, c, d] = [once(m[0]), once(m[1]), once(m[2]), once(m[3])];
    let left = once([a[0], b[0], c[0], d[0]]);
    let right = once([a[1], b[1], c[1], d[1]]);
    [[left[0], right[0]], [left[1], right[1]]]
}

/// `A dy Aᵀ`: what [`outputs`] makes of a gradient on its way back.
#[inline(always)]
pub(super) fn slopes<T: Real, S: Simd>(simd: S, dy: Tile<T, S, 2>) -> Tile<T, S, 4> {
    let zero = T::splat(simd, T::zero());
    let once = |[a, b]: [T::Vector<S>; 2]| {
        [
            a,
            T::plus(simd, a, b),
            T::minus(simd, a, b),
            T::minus(simd, zero, b),
        ]
    };
    let (upper, lower) = (once(dy[0]), once(dy[1]));
    turned::<T, S, 4>([
        once([upper[0], lower[0]]),
        once([upper[1], lower[1]]),
        once([upper[2], lower[2]]),
        once([upper[3], lower[3]]),
    ])
}

#[inline(always)]
fn turned<T: Real, S: Simd, const N: usize>(tile: Tile<T, S, N>) -> Tile<T, S, N> {
    let mut turned = tile;
    for i in 0..N {
        for j in 0..N {
            turned[i][j] = tile[j][i];
        }
    }
    turned
}

/// `G g Gᵀ`, a vector of filters at a time.
#[inline(always)]
pub(super) fn filters<T: Real, S: Simd>(simd: S, g: Tile<T, S, 3>) -> Tile<T, S, 4> {
    let half = Half::<T, S>::new(simd);
    let once = |[a, b, c]: [T::Vector<S>; 3]| {
        let (outer, inner) = (half.of(simd, T::plus(simd, a, c)), half.of(simd, b));
        [
            a,
            T::plus(simd, outer, inner),
            T::minus(simd, outer, inner),
            c,
        ]
    };
    let [a, b, c] = [once(g[0]), once(g[1]), once(g[2])];
    turned::<T, S, 4>([
        once([a[0], b[0], c[0]]),
        once([a[1], b[1], c[1]]),
        once([a[2], b[2], c[2]]),
        once([a[3], b[3], c[3]]),
    ])
}

/// `Gᵀ u G`: the gradients of filters from those of their transforms.
#[inline(always)]
pub(super) fn filter_slopes<T: Real, S: Simd>(simd: S, u: Tile<T, S, 4>) -> Tile<T, S, 3> {
    let half = Half::<T, S>::new(simd);
    let once = |[a, b, c, d]: [T::Vector<S>; 4]| {
        let sum = half.of(simd, T::plus(simd, b, c));
        let difference = half.of(simd, T::minus(simd, b, c));
        [T::plus(simd, a, sum), difference, T::plus(simd, sum, d)]
    };
    let [a, b, c, d] = [once(u[0]), once(u[1]), once(u[2]), once(u[3])];
    turned::<T, S, 3>([
        once([a[0], b[0], c[0], d[0]]),
        once([a[1], b[1], c[1], d[1]]),
        once([a[2], b[2], c[2], d[2]]),
    ])
}

/// Halves vectors.
#[derive(Clone, Copy)]
struct Half<T: Real, S: Simd> {
    half: T::Vector<S>,
    zero: T::Vector<S>,
}

impl<T: Real, S: Simd> Half<T, S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        Half {
            half: T::splat(simd, T::from_f64(0.5)),
            zero: T::splat(simd, T::zero()),
        }
    }

    #[inline(always)]
    fn of(self, simd: S, x: T::Vector<S>) -> T::Vector<S> {
        T::fused(simd, x, self.half, self.zero)
    }
}
