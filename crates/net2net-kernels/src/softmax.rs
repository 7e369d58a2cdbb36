//! Softmax over rows, and its logarithm.

use crate::rows::{In, Out};
use crate::{Context, Real};

/// `y = softmax(x)` over each of `rows` rows of `c` elements.
///
/// # Panics
/// If a slice is not `rows × c`.
pub fn forward<T: Real>(cx: &mut Context<T>, rows: usize, c: usize, x: &[T], y: &mut [T]) {
    assert!(x.len() == rows * c && y.len() == rows * c);
    cx.for_rows(
        rows,
        c * 8,
        (In(x, c), Out(y, c)),
        |_, (In(x, _), Out(y, _)), _| {
            for (x, y) in x.chunks_exact(c.max(1)).zip(y.chunks_exact_mut(c.max(1))) {
                exp_row(x, y);
            }
        },
    );
}

/// The gradient of [`forward`], from its output: `dx = y · (dy − Σ y·dy)`.
///
/// # Panics
/// If a slice is not `rows × c`.
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    y: &[T],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    assert!([y, dy, dx].iter().all(|s| s.len() == rows * c));
    let data = (In(y, c), In(dy, c), Out(dx, c));
    cx.for_rows(
        rows,
        c,
        data,
        |range, (In(y, _), In(dy, _), Out(dx, _)), _| {
            for i in 0..range.len() {
                let row = i * c..(i + 1) * c;
                let (y, dy, dx) = (&y[row.clone()], &dy[row.clone()], &mut dx[row]);
                let dot: T = y.iter().zip(dy).map(|(&y, &dy)| y * dy).sum();
                for (dx, (&y, &dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
                    let slope = y * (dy - dot);
                    *dx = if accumulate { *dx + slope } else { slope };
                }
            }
        },
    );
}

/// `y = ln softmax(x)` over each of `rows` rows of `c` elements.
///
/// # Panics
/// If a slice is not `rows × c`.
pub fn log_forward<T: Real>(cx: &mut Context<T>, rows: usize, c: usize, x: &[T], y: &mut [T]) {
    assert!(x.len() == rows * c && y.len() == rows * c);
    let data = (In(x, c), Out(y, c));
    cx.for_rows(rows, c * 8, data, |_, (In(x, _), Out(y, _)), _| {
        for (x, y) in x.chunks_exact(c.max(1)).zip(y.chunks_exact_mut(c.max(1))) {
            let max = x.iter().copied().fold(T::neg_infinity(), T::max);
            let sum: T = x.iter().map(|&x| (x - max).exp()).sum();
            let log = sum.ln();
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - max) - log);
        }
    });
}

/// The gradient of [`log_forward`], from its output: `dx = dy − exp(y) · Σ dy`.
///
/// # Panics
/// If a slice is not `rows × c`.
pub fn log_backward<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    y: &[T],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    assert!([y, dy, dx].iter().all(|s| s.len() == rows * c));
    let data = (In(y, c), In(dy, c), Out(dx, c));
    cx.for_rows(
        rows,
        c * 8,
        data,
        |range, (In(y, _), In(dy, _), Out(dx, _)), _| {
            for i in 0..range.len() {
                let row = i * c..(i + 1) * c;
                let (y, dy, dx) = (&y[row.clone()], &dy[row.clone()], &mut dx[row]);
                let sum: T = dy.iter().copied().sum();
                for (dx, (&y, &dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
                    let slope = dy - y.exp() * sum;
                    *dx = if accumulate { *dx + slope } else { slope };
                }
            }
        },
    );
}

/// Softmax of one row.
fn exp_row<T: Real>(x: &[T], y: &mut [T]) {
    let max = x.iter().copied().fold(T::neg_infinity(), T::max);
    let mut sum = T::zero();
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - max).exp();
        sum += *y;
    }
    y.iter_mut().for_each(|y| *y /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    const ROWS: usize = 7;
    const C: usize = 11;

    fn naive(x: &[f64]) -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            x.iter().map(|x| x.exp() / sum).collect()
        };
        x.chunks(C).flat_map(row).collect()
    }

    #[test]
    fn softmax_and_its_gradient_are_those_of_the_definition() {
        let (x, dy) = (random(1, ROWS * C), random(2, ROWS * C));
        let mut cx = Context::<f64>::new(1).unwrap();
        let mut dx = vec![0.0; x.len()];
        backward(&mut cx, ROWS, C, &naive(&x), &dy, &mut dx, false);
        is_gradient(&x, &dx, |x| dot(&dy, &naive(x)));
        on_all!(|cx, T| {
            let (tx, dy) = (cast::<T>(&x), cast::<T>(&dy));
            let mut y = vec![T::default(); x.len()];
            forward(&mut cx, ROWS, C, &tx, &mut y);
            close(&y, &naive(&x));
            let mut actual = cast::<T>(&x);
            backward(&mut cx, ROWS, C, &y, &dy, &mut actual, true);
            close(
                &actual,
                &dx.iter().zip(&x).map(|(a, b)| a + b).collect::<Vec<_>>(),
            );
        });
    }

    #[test]
    fn the_logarithm_of_softmax_and_its_gradient_are_those_of_the_definition() {
        let logs = |x: &[f64]| naive(x).iter().map(|y| y.ln()).collect::<Vec<f64>>();
        let (x, dy) = (random(1, ROWS * C), random(2, ROWS * C));
        let mut cx = Context::<f64>::new(1).unwrap();
        let mut dx = vec![0.0; x.len()];
        log_backward(&mut cx, ROWS, C, &logs(&x), &dy, &mut dx, false);
        is_gradient(&x, &dx, |x| dot(&dy, &logs(x)));
        let sums: Vec<f64> = dx.iter().zip(&x).map(|(a, b)| a + b).collect();
        on_all!(|cx, T| {
            let (tx, dy) = (cast::<T>(&x), cast::<T>(&dy));
            let mut y = vec![T::default(); x.len()];
            log_forward(&mut cx, ROWS, C, &tx, &mut y);
            close(&y, &logs(&x));
            let mut actual = tx.clone();
            log_backward(&mut cx, ROWS, C, &y, &dy, &mut actual, true);
            close(&actual, &sums);
        });
        let mut y = [0.0f32; 2];
        log_forward(&mut Context::new(1).unwrap(), 1, 2, &[1e30, -1e30], &mut y);
        assert_eq!(y[0], 0.0);
    }
}
