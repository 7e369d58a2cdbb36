//! Softmax over rows, and the loss of classification.

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

/// The mean over the batch of the cross entropy between labels and `softmax(logits)`, where
/// `logits` is `batch × classes`.
///
/// `smoothing` is PyTorch's `label_smoothing`: the target is `1 − smoothing` at the label plus
/// `smoothing / classes` everywhere. `dlogits` gets the gradient of the mean.
///
/// # Panics
/// If a slice has not the length that its name says, or a label is not below `classes`.
pub fn cross_entropy<T: Real>(
    cx: &mut Context<T>,
    batch: usize,
    classes: usize,
    logits: &[T],
    labels: &[u32],
    smoothing: f64,
    dlogits: Option<&mut [T]>,
) -> f64 {
    assert!(logits.len() == batch * classes && labels.len() == batch);
    assert!(dlogits.as_ref().is_none_or(|d| d.len() == logits.len()));
    assert!(
        labels.iter().all(|&label| (label as usize) < classes),
        "a label is not a class"
    );
    let data = (
        In(logits, classes),
        In(labels, 1),
        dlogits.map(|d| Out(d, classes)),
    );
    let losses = cx.for_rows(
        batch,
        classes * 8,
        data,
        |_, (In(x, _), In(labels, _), mut dx), _| {
            let mut loss = 0.0;
            for (i, (x, &label)) in x.chunks_exact(classes).zip(labels).enumerate() {
                let max = x.iter().copied().fold(T::neg_infinity(), T::max);
                let sum: f64 = x.iter().map(|&x| (x - max).to_f64().exp()).sum();
                let log_sum = sum.ln() + max.to_f64();
                let mean: f64 = x.iter().map(|&x| x.to_f64()).sum::<f64>() / classes as f64;
                let at_label = x[label as usize].to_f64();
                loss += log_sum - (1.0 - smoothing) * at_label - smoothing * mean;
                if let Some(Out(dx, _)) = &mut dx {
                    let dx = &mut dx[i * classes..][..classes];
                    for (dx, &x) in dx.iter_mut().zip(x) {
                        let p = (x - max).to_f64().exp() / sum;
                        *dx = T::from_f64((p - smoothing / classes as f64) / batch as f64);
                    }
                    dx[label as usize] -= T::from_f64((1.0 - smoothing) / batch as f64);
                }
            }
            loss
        },
    );
    losses.iter().sum::<f64>() / batch.max(1) as f64
}

/// How many rows of `logits` (`labels.len() × classes`) are largest at their label; the first of
/// equals counts.
///
/// # Panics
/// If `logits` has another length.
pub fn count_correct<T: Real>(classes: usize, logits: &[T], labels: &[u32]) -> usize {
    assert_eq!(logits.len(), classes * labels.len());
    let argmax = |x: &[T]| (1..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best });
    let rows = logits.chunks_exact(classes.max(1));
    rows.zip(labels)
        .filter(|(x, label)| argmax(x) == **label as usize)
        .count()
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

    #[test]
    fn the_slope_of_the_loss_is_its_gradient() {
        let x = random(3, ROWS * C);
        let labels: Vec<u32> = (0..ROWS as u32).map(|i| i * 5 % C as u32).collect();
        let mut cx = Context::<f64>::new(1).unwrap();
        let mut dx = vec![0.0; x.len()];
        for smoothing in [0.0, 0.1] {
            let loss = cross_entropy(&mut cx, ROWS, C, &x, &labels, smoothing, Some(&mut dx));
            let mut other = Context::<f64>::new(1).unwrap();
            is_gradient(&x, &dx, |x| {
                cross_entropy(&mut other, ROWS, C, x, &labels, smoothing, None)
            });
            on_all!(|cx, T| {
                let mut actual = vec![T::default(); x.len()];
                let x = cast::<T>(&x);
                let actual_loss =
                    cross_entropy(&mut cx, ROWS, C, &x, &labels, smoothing, Some(&mut actual));
                close(&actual, &dx);
                assert!((actual_loss - loss).abs() < 1e-6);
            });
        }
    }

    #[test]
    fn the_loss_is_pytorchs() {
        let x = [1.0, 2.0, 3.0, 0.5, -1.0, 0.25];
        let mut cx = Context::<f64>::new(1).unwrap();
        let loss = cross_entropy(&mut cx, 2, 3, &x, &[2, 1], 0.1, None);
        assert!((loss - 1.305_025_742_089_814_1).abs() < 1e-12, "{loss}");
        assert_eq!(count_correct(3, &x, &[2, 1]), 1);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut cx = Context::<f32>::new(1).unwrap();
        let loss = cross_entropy(&mut cx, 1, 2, &[1e30, -1e30], &[0], 0.0, None);
        assert_eq!(loss, 0.0);
    }
}
