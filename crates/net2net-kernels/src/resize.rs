//! Interpolation along one axis: each element of the result is a weighted sum of a few.

use crate::elementwise::write;
use crate::rows::{In, Out};
use crate::{Context, Real};

/// For each position of the result, the positions that it reads and their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    /// The length of the axis that is read.
    pub source: usize,
    /// As many (position, weight) a place for each; positions may repeat.
    pub taps: Vec<Vec<(usize, f64)>>,
}

/// `y[o, m, i] = Σ weight · x[o, position, i]` over the taps of `m`, for `x` of shape
/// `[outer, taps.source, inner]`.
///
/// # Panics
/// If a slice is not as long as that, or a position lies outside of the axis.
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    outer: usize,
    inner: usize,
    taps: &Taps,
    x: &[T],
    y: &mut [T],
) {
    let (from, to) = (taps.source * inner, taps.taps.len() * inner);
    assert!(x.len() == outer * from && y.len() == outer * to);
    let data = (In(x, from), Out(y, to));
    cx.for_rows(outer, 2 * to, data, |_, (In(x, _), Out(y, _)), _| {
        for (x, y) in chunks(x, from).zip(chunks_mut(y, to)) {
            for (taps, y) in taps.taps.iter().zip(chunks_mut(y, inner)) {
                y.fill(T::zero());
                for (position, weight) in taps {
                    add(*weight, &x[position * inner..][..inner], y);
                }
            }
        }
    });
}

/// The gradient of [`forward`]: `dx[o, position, i] += weight · dy[o, m, i]`.
///
/// # Panics
/// If a slice is not as long as that, or a position lies outside of the axis.
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    outer: usize,
    inner: usize,
    taps: &Taps,
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    let (from, to) = (taps.source * inner, taps.taps.len() * inner);
    assert!(dx.len() == outer * from && dy.len() == outer * to);
    let data = (In(dy, to), Out(dx, from));
    cx.for_rows(outer, 2 * to, data, |_, (In(dy, _), Out(dx, _)), _| {
        if !accumulate {
            dx.fill(T::zero());
        }
        for (dy, dx) in chunks(dy, to).zip(chunks_mut(dx, from)) {
            for (taps, dy) in taps.taps.iter().zip(chunks(dy, inner)) {
                for (position, weight) in taps {
                    add(*weight, dy, &mut dx[position * inner..][..inner]);
                }
            }
        }
    });
}

fn chunks<T>(data: &[T], len: usize) -> std::slice::ChunksExact<'_, T> {
    data.chunks_exact(len.max(1))
}

fn chunks_mut<T>(data: &mut [T], len: usize) -> std::slice::ChunksExactMut<'_, T> {
    data.chunks_exact_mut(len.max(1))
}

fn add<T: Real>(weight: f64, x: &[T], y: &mut [T]) {
    let weight = T::from_f64(weight);
    // Starting a vectorised loop costs more than a short one does.
    if x.len() < 8 {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += weight * *x);
    } else {
        write(
            true,
            x,
            y,
            #[inline(always)]
            |x| weight * x,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    fn taps() -> Taps {
        Taps {
            source: 4,
            taps: vec![
                vec![(0, 0.5), (0, 0.5)],
                vec![(0, 0.25), (1, 0.75)],
                vec![(3, 1.0)],
                vec![(1, -0.1), (2, 0.6), (3, 0.6), (3, -0.1)],
                vec![(2, 0.4), (3, 0.6)],
            ],
        }
    }

    fn naive(outer: usize, inner: usize, x: &[f64]) -> Vec<f64> {
        let Taps { source, taps } = taps();
        let mut y = Vec::new();
        for o in 0..outer {
            for taps in &taps {
                for i in 0..inner {
                    let at = |p: usize| x[(o * source + p) * inner + i];
                    y.push(taps.iter().map(|(p, w)| w * at(*p)).sum());
                }
            }
        }
        y
    }

    #[test]
    fn weighted_sums_and_their_gradients_are_those_of_the_naive_loop() {
        for (outer, inner) in [(1, 1), (3, 5), (700, 12), (40, 300)] {
            let x = random(1, outer * 4 * inner);
            let dy = random(2, outer * 5 * inner);
            let mut dx = vec![0.0; x.len()];
            let mut cx = Context::<f64>::new(1).unwrap();
            backward(&mut cx, outer, inner, &taps(), &dy, &mut dx, false);
            if x.len() < 100 {
                is_gradient(&x, &dx, |x| dot(&dy, &naive(outer, inner, x)));
            }
            // What is moved forth by weights comes back by the same weights.
            let moved = dot(&dy, &naive(outer, inner, &x));
            assert!((moved - dot(&dx, &x)).abs() < 1e-9 * dy.len() as f64);
            on_all!(|cx, T| {
                let mut y = vec![T::from_f64(9.0); dy.len()];
                forward(&mut cx, outer, inner, &taps(), &cast::<T>(&x), &mut y);
                close(&y, &naive(outer, inner, &x));
                let mut actual = cast::<T>(&x);
                backward(
                    &mut cx,
                    outer,
                    inner,
                    &taps(),
                    &cast::<T>(&dy),
                    &mut actual,
                    true,
                );
                close(
                    &actual,
                    &dx.iter().zip(&x).map(|(a, b)| a + b).collect::<Vec<_>>(),
                );
            });
        }
    }
}
