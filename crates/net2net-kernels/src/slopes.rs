//! PReLU: a slope per channel for what is below 0.

use crate::columns::strip_sums;
use crate::lanes::vectorized;
use crate::rows::{In, Out};
use crate::{Context, Real};

/// `y = x` where `x > 0`, elsewhere `slope · x`, over `rows × c`.
///
/// # Panics
/// If a slice has not the length that its name says.
pub fn channel_slopes<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    x: &[T],
    slopes: &[T],
    y: &mut [T],
) {
    assert!(x.len() == rows * c && y.len() == rows * c && slopes.len() == c);
    cx.for_rows(
        rows,
        c,
        (In(x, c), Out(y, c)),
        |_, (In(x, _), Out(y, _)), _| {
            vectorized(
                #[inline(always)]
                || {
                    for (x, y) in x.chunks_exact(c.max(1)).zip(y.chunks_exact_mut(c.max(1))) {
                        for ((&x, y), &slope) in x.iter().zip(y).zip(slopes) {
                            *y = if x > T::zero() { x } else { slope * x };
                        }
                    }
                },
            );
        },
    );
}

/// The gradients of [`channel_slopes`]: `dx` obeys `accumulate`, `dslopes` `accumulate_params`.
///
/// # Panics
/// If a slice has not the length that its name says.
pub fn channel_slopes_backward<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    x: &[T],
    slopes: &[T],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
    dslopes: &mut [T],
    accumulate_params: bool,
) {
    assert!([x, dy, dx].iter().all(|s| s.len() == rows * c));
    assert!(slopes.len() == c && dslopes.len() == c);
    let data = (In(x, c), In(dy, c), Out(dx, c));
    let parts = cx.for_rows(rows, c, data, |_, (In(x, _), In(dy, _), Out(dx, _)), _| {
        vectorized(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(c.max(1)).zip(dy.chunks_exact(c.max(1)));
                for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(c.max(1))) {
                    for (((&x, &dy), dx), &slope) in x.iter().zip(dy).zip(dx).zip(slopes) {
                        let term = if x > T::zero() { dy } else { slope * dy };
                        *dx = if accumulate { *dx + term } else { term };
                    }
                }
            },
        );
        strip_sums(
            c,
            [x, dy],
            [],
            #[inline(always)]
            |[x, dy]: [T; 2], []| [if x > T::zero() { T::zero() } else { x * dy }],
        )
    });
    for (j, slope) in dslopes.iter_mut().enumerate() {
        let total = T::from_f64(parts.iter().map(|[part]| part[j]).sum());
        *slope = if accumulate_params {
            *slope + total
        } else {
            total
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    fn naive(x: &[f64], slopes: &[f64]) -> Vec<f64> {
        let c = slopes.len();
        x.iter()
            .enumerate()
            .map(|(i, &x)| if x > 0.0 { x } else { slopes[i % c] * x })
            .collect()
    }

    #[test]
    fn prelu_and_its_gradients_are_those_of_the_definition() {
        for (rows, c) in [(6, 5), (1500, 41)] {
            let (x, slopes, dy) = (random(1, rows * c), random(2, c), random(3, rows * c));
            let (mut dx, mut dslopes) = (vec![0.0; x.len()], vec![0.0; c]);
            for i in 0..x.len() {
                dx[i] = if x[i] > 0.0 {
                    dy[i]
                } else {
                    slopes[i % c] * dy[i]
                };
                dslopes[i % c] += x[i].min(0.0) * dy[i];
            }
            if rows < 10 {
                is_gradient(&x, &dx, |x| dot(&dy, &naive(x, &slopes)));
                is_gradient(&slopes, &dslopes, |slopes| dot(&dy, &naive(&x, slopes)));
            }
            on_all!(|cx, T| {
                let (tx, ts, tdy) = (cast::<T>(&x), cast::<T>(&slopes), cast::<T>(&dy));
                let mut y = vec![T::default(); x.len()];
                channel_slopes(&mut cx, rows, c, &tx, &ts, &mut y);
                close(&y, &naive(&x, &slopes));
                for add in [true, false] {
                    let before = if add { 1.0 } else { 0.0 };
                    let mut a = vec![T::from_f64(1.0); x.len()];
                    let mut b = vec![T::from_f64(1.0); c];
                    channel_slopes_backward(
                        &mut cx, rows, c, &tx, &ts, &tdy, &mut a, add, &mut b, add,
                    );
                    close(&a, &dx.iter().map(|d| d + before).collect::<Vec<_>>());
                    close(&b, &dslopes.iter().map(|d| d + before).collect::<Vec<_>>());
                }
            });
        }
    }
}
