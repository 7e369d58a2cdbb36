//! Reductions over any axes of a row-major tensor.

use crate::broadcast::{expand, sum_to};
use crate::context::grown;
use crate::rows::{In, Out};
use crate::{Context, Real, broadcast, elementwise};

/// What becomes of the elements along the reduced axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// `Σ x / n`
    Mean,
    /// `Σ x`
    Sum,
    /// The largest one; NaN if one is. Equal ones share the gradient evenly.
    Max,
    /// The smallest one; NaN if one is. Equal ones share the gradient evenly.
    Min,
    /// `√Σ x²`, with slope 0 where it is 0.
    L2,
}

/// `y` is `x`, of shape `shape`, reduced to `to`: a shape of the same rank that has 1 at the
/// reduced axes.
///
/// # Panics
/// If shapes do not go together, or lengths do not fit them.
pub fn reduce<T: Real>(
    cx: &mut Context<T>,
    reduction: Reduction,
    x: &[T],
    shape: &[usize],
    to: &[usize],
    y: &mut [T],
) {
    match reduction {
        Reduction::Sum => sum_to(cx, x, shape, to, y, false),
        Reduction::Mean => {
            sum_to(cx, x, shape, to, y, false);
            let count = T::from_f64(x.len() as f64 / y.len() as f64);
            y.iter_mut().for_each(|y| *y /= count);
        }
        Reduction::L2 => {
            let mut buffer = cx.take_filter();
            let squares = grown(&mut buffer, x.len());
            elementwise::map(cx, x, squares, |x| x * x);
            sum_to(cx, squares, shape, to, y, false);
            y.iter_mut().for_each(|y| *y = y.sqrt());
            cx.put_filter(buffer);
        }
        Reduction::Max => extremes(cx, x, shape, to, y, |a, b| a >= b),
        Reduction::Min => extremes(cx, x, shape, to, y, |a, b| a <= b),
    }
}

/// The gradient of [`reduce`]. `x` and `y` are read by `Max`, `Min` and `L2` only, and may be
/// empty for the others.
///
/// # Panics
/// If shapes do not go together, or lengths do not fit them.
pub fn reduce_backward<T: Real>(
    cx: &mut Context<T>,
    reduction: Reduction,
    (x, shape): (&[T], &[usize]),
    (y, to): (&[T], &[usize]),
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    let share = |f: &dyn Fn(usize, T) -> T| -> Vec<T> {
        dy.iter().enumerate().map(|(i, dy)| f(i, *dy)).collect()
    };
    match reduction {
        Reduction::Sum => expand(cx, dy, to, shape, dx, accumulate),
        Reduction::Mean => {
            let count = T::from_f64(dx.len() as f64 / dy.len() as f64);
            let shares = share(&|_, dy| dy / count);
            expand(cx, &shares, to, shape, dx, accumulate);
        }
        Reduction::L2 => {
            let flat = |y: T| y == T::zero();
            let shares = share(&|i, dy| if flat(y[i]) { T::zero() } else { dy / y[i] });
            let mut buffer = cx.take_filter();
            let factors = grown(&mut buffer, dx.len());
            expand(cx, &shares, to, shape, factors, false);
            elementwise::zip(cx, x, factors, dx, accumulate, |x, f| x * f);
            cx.put_filter(buffer);
        }
        Reduction::Max | Reduction::Min => {
            let mut buffer = cx.take_filter();
            let (found, shared) = grown(&mut buffer, 2 * dx.len()).split_at_mut(dx.len());
            let equal = broadcast::Binary::Equal;
            broadcast::broadcast_binary(cx, equal, x, shape, y, to, found);
            let mut counts = vec![T::zero(); dy.len()];
            sum_to(cx, found, shape, to, &mut counts, false);
            expand(
                cx,
                &share(&|i, dy| dy / counts[i]),
                to,
                shape,
                shared,
                false,
            );
            let pick = |found: T, dy: T| if found == T::one() { dy } else { T::zero() };
            elementwise::zip(cx, found, shared, dx, accumulate, pick);
            cx.put_filter(buffer);
        }
    }
}

/// Whichever of `shape`'s elements win, `wins(a, b)` being whether `a` does, for each of `to`'s.
fn extremes<T: Real>(
    cx: &mut Context<T>,
    x: &[T],
    shape: &[usize],
    to: &[usize],
    y: &mut [T],
    wins: impl Fn(T, T) -> bool + Sync + Copy,
) {
    assert!(x.len() == shape.iter().product() && shape.len() == to.len());
    let Some(axis) = (0..to.len()).rposition(|axis| shape[axis] != to[axis]) else {
        return y.copy_from_slice(x);
    };
    let product = |sizes: &[usize]| sizes.iter().product::<usize>();
    let (outer, inner) = (product(&shape[..axis]), product(&shape[axis + 1..]));
    let mut rest = shape.to_vec();
    let count = std::mem::replace(&mut rest[axis], to[axis]);
    if rest == to {
        return winners(cx, [outer, count, inner], x, y, wins);
    }
    let mut best = vec![T::zero(); outer * inner];
    winners(cx, [outer, count, inner], x, &mut best, wins);
    extremes(cx, &best, &rest, to, y, wins);
}

/// The winner of `x[o][k][i]` over `k`.
fn winners<T: Real>(
    cx: &mut Context<T>,
    [outer, count, inner]: [usize; 3],
    x: &[T],
    y: &mut [T],
    wins: impl Fn(T, T) -> bool + Sync,
) {
    let row = count * inner;
    let data = (In(x, row), Out(y, inner));
    cx.for_rows(outer, row, data, |range, (In(x, _), Out(y, _)), _| {
        for i in 0..range.len() {
            let (x, best) = (&x[i * row..][..row], &mut y[i * inner..][..inner]);
            best.copy_from_slice(&x[..inner]);
            for x in x.chunks_exact(inner).skip(1) {
                for (best, x) in best.iter_mut().zip(x) {
                    let stays = best.is_nan() || wins(*best, *x);
                    *best = if stays { *best } else { *x };
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, is_gradient, on_all, random};

    const ALL: [Reduction; 5] = [
        Reduction::Mean,
        Reduction::Sum,
        Reduction::Max,
        Reduction::Min,
        Reduction::L2,
    ];

    /// The elements that each element of the result is made of.
    fn groups(shape: &[usize], to: &[usize]) -> Vec<Vec<usize>> {
        let mut groups = vec![Vec::new(); to.iter().product()];
        for i in 0..shape.iter().product() {
            let (mut rest, mut at, mut stride) = (i, 0, 1);
            for (n, own) in shape.iter().zip(to).rev() {
                at += rest % n % own * stride;
                stride *= own;
                rest /= n;
            }
            groups[at].push(i);
        }
        groups
    }

    fn naive(reduction: Reduction, x: &[f64], groups: &[Vec<usize>]) -> Vec<f64> {
        let of = |group: &Vec<usize>| {
            let xs = group.iter().map(|i| x[*i]);
            match reduction {
                Reduction::Mean => xs.sum::<f64>() / group.len() as f64,
                Reduction::Sum => xs.sum(),
                Reduction::Max => xs.fold(f64::NEG_INFINITY, f64::max),
                Reduction::Min => xs.fold(f64::INFINITY, f64::min),
                Reduction::L2 => xs.map(|x| x * x).sum::<f64>().sqrt(),
            }
        };
        groups.iter().map(of).collect()
    }

    #[test]
    fn values_and_gradients_are_those_of_the_definition() {
        let cases: [(&[usize], &[usize]); 8] = [
            (&[3, 50, 11], &[3, 50, 1]),
            (&[3, 50, 11], &[3, 1, 11]),
            (&[2, 5, 6, 4], &[2, 1, 1, 4]),
            (&[2, 5, 6, 4], &[1, 5, 1, 4]),
            (&[2, 5, 6], &[1, 1, 1]),
            (&[2, 1, 6], &[2, 1, 6]),
            (&[1], &[1]),
            (&[4, 70, 70], &[4, 1, 70]),
        ];
        for (shape, to) in cases {
            let x = random(1, shape.iter().product());
            let groups = groups(shape, to);
            let dy = random(2, groups.len());
            for reduction in ALL {
                let y = naive(reduction, &x, &groups);
                let mut cx = Context::<f64>::new(1).unwrap();
                let mut dx = vec![0.0; x.len()];
                reduce_backward(
                    &mut cx,
                    reduction,
                    (&x, shape),
                    (&y, to),
                    &dy,
                    &mut dx,
                    false,
                );
                if x.len() < 2000 {
                    is_gradient(&x, &dx, |x| {
                        crate::check::dot(&dy, &naive(reduction, x, &groups))
                    });
                }
                let sums: Vec<f64> = dx.iter().zip(&x).map(|(a, b)| a + b).collect();
                on_all!(|cx, T| {
                    let (tx, tdy) = (cast::<T>(&x), cast::<T>(&dy));
                    let mut ty = vec![T::default(); y.len()];
                    reduce(&mut cx, reduction, &tx, shape, to, &mut ty);
                    close(&ty, &y);
                    let mut actual = tx.clone();
                    let (input, output) = ((&tx[..], shape), (&ty[..], to));
                    reduce_backward(&mut cx, reduction, input, output, &tdy, &mut actual, true);
                    close(&actual, &sums);
                    reduce_backward(&mut cx, reduction, input, output, &tdy, &mut actual, false);
                    close(&actual, &dx);
                });
            }
        }
    }

    #[test]
    fn equal_ones_share_and_zeros_have_no_slope() {
        let mut cx = Context::<f64>::new(1).unwrap();
        let mut dx = [7.0; 4];
        let x = [2.0, 5.0, 5.0, 1.0];
        let (shape, to) = (&[4][..], &[1][..]);
        let max = Reduction::Max;
        reduce_backward(
            &mut cx,
            max,
            (&x, shape),
            (&[5.0], to),
            &[3.0],
            &mut dx,
            false,
        );
        assert_eq!(dx, [0.0, 1.5, 1.5, 0.0]);
        let l2 = Reduction::L2;
        reduce_backward(
            &mut cx,
            l2,
            (&[0.0; 4], shape),
            (&[0.0], to),
            &[3.0],
            &mut dx,
            false,
        );
        assert_eq!(dx, [0.0; 4]);
        let mut y = [0.0];
        reduce(&mut cx, max, &[1.0, f64::NAN, 2.0, 3.0], shape, to, &mut y);
        assert!(y[0].is_nan());
    }
}
