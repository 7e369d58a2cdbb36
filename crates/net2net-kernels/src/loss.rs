//! What training makes small: the losses of classification, and squared errors.

use crate::rows::{In, Out};
use crate::{Context, Real};

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

/// The mean over the batch of the cross entropy between rows of probabilities and
/// `softmax(logits / temperature)`, both `batch × classes`.
///
/// The targets are mixed with the uniform distribution, `smoothing` of it, as PyTorch does with
/// class probabilities. `dlogits` gets `weight` times the gradient of the mean.
///
/// # Panics
/// If a slice has not the length that its name says.
pub fn soft_cross_entropy<T: Real>(
    cx: &mut Context<T>,
    classes: usize,
    logits: &[T],
    targets: &[T],
    softening: Softening,
    dlogits: Option<Gradient<'_, T>>,
) -> f64 {
    assert!(classes > 0 && logits.len() == targets.len() && logits.len().is_multiple_of(classes));
    let batch = logits.len() / classes;
    let Softening {
        temperature,
        smoothing,
    } = softening;
    let (scale, accumulate) = match &dlogits {
        Some(gradient) => {
            assert_eq!(gradient.data.len(), logits.len());
            let scale = gradient.weight / (temperature * batch as f64);
            (scale, gradient.accumulate)
        }
        None => (0.0, false),
    };
    let data = (
        In(logits, classes),
        In(targets, classes),
        dlogits.map(|d| Out(d.data, classes)),
    );
    let losses = cx.for_rows(
        batch,
        classes * 8,
        data,
        |_, (In(x, _), In(targets, _), mut dx), _| {
            let mut loss = 0.0;
            let rows = x.chunks_exact(classes).zip(targets.chunks_exact(classes));
            for (i, (x, targets)) in rows.enumerate() {
                let max = x.iter().copied().fold(T::neg_infinity(), T::max);
                let cooled = |x: T| (x - max).to_f64() / temperature;
                let sum: f64 = x.iter().map(|&x| cooled(x).exp()).sum();
                let log_sum = sum.ln();
                let smooth = |t: T| (1.0 - smoothing) * t.to_f64() + smoothing / classes as f64;
                for (class, (&x, &t)) in x.iter().zip(targets).enumerate() {
                    let (logit, target) = (cooled(x), smooth(t));
                    // A class that cannot be costs nothing, however far away its logit is.
                    if target > 0.0 {
                        loss += target * (log_sum - logit);
                    }
                    if let Some(Out(dx, _)) = &mut dx {
                        let dx = &mut dx[i * classes + class];
                        let slope = T::from_f64(scale * (logit.exp() / sum - target));
                        *dx = if accumulate { *dx + slope } else { slope };
                    }
                }
            }
            loss
        },
    );
    losses.iter().sum::<f64>() / batch.max(1) as f64
}

/// How soft the two sides of a comparison of distributions are.
#[derive(Clone, Copy, Debug)]
pub struct Softening {
    /// What logits are divided by.
    pub temperature: f64,
    /// The share of the targets that is spread over all classes.
    pub smoothing: f64,
}

/// Where a loss writes its gradient.
#[derive(Debug)]
pub struct Gradient<'a, T> {
    /// The place.
    pub data: &'a mut [T],
    /// What the gradient is multiplied by.
    pub weight: f64,
    /// Whether it is added to what is there.
    pub accumulate: bool,
}

/// Half the mean of the squared differences of `y` and `targets`; `dy` gets its gradient.
///
/// # Panics
/// If a slice has another length, is empty, or does not split into `batch` rows.
pub fn squared_error<T: Real>(
    cx: &mut Context<T>,
    batch: usize,
    y: &[T],
    targets: &[T],
    dy: Option<&mut [T]>,
) -> f64 {
    assert!(batch > 0 && !y.is_empty() && y.len().is_multiple_of(batch));
    assert_eq!(y.len(), targets.len());
    let count = y.len() as f64;
    assert!(dy.as_ref().is_none_or(|d| d.len() == y.len()));
    let row = y.len() / batch;
    let data = (In(y, row), In(targets, row), dy.map(|d| Out(d, row)));
    let losses = cx.for_rows(batch, row, data, |_, (In(y, _), In(t, _), mut dy), _| {
        let mut loss = 0.0;
        for (i, (&y, &t)) in y.iter().zip(t).enumerate() {
            let apart = (y - t).to_f64();
            loss += 0.5 * apart * apart;
            if let Some(Out(dy, _)) = &mut dy {
                dy[i] = T::from_f64(apart / count);
            }
        }
        loss
    });
    losses.iter().sum::<f64>() / count
}

/// How many rows of `logits` are largest where their row of `targets` is; the first of equals
/// counts.
///
/// # Panics
/// If the two have different lengths.
pub fn count_agreeing<T: Real>(classes: usize, logits: &[T], targets: &[T]) -> usize {
    assert_eq!(logits.len(), targets.len());
    let rows = |x: &'_ [T]| -> Vec<usize> { x.chunks_exact(classes.max(1)).map(largest).collect() };
    let pairs = rows(logits).into_iter().zip(rows(targets));
    pairs.filter(|(a, b)| a == b).count()
}

/// How many rows of `logits` (`labels.len() × classes`) are largest at their label; the first of
/// equals counts.
///
/// # Panics
/// If `logits` has another length.
pub fn count_correct<T: Real>(classes: usize, logits: &[T], labels: &[u32]) -> usize {
    assert_eq!(logits.len(), classes * labels.len());
    let rows = logits.chunks_exact(classes.max(1));
    rows.zip(labels)
        .filter(|(x, label)| largest(x) == **label as usize)
        .count()
}

/// The position of the largest element, the first of equals.
fn largest<T: Real>(x: &[T]) -> usize {
    (1..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, is_gradient, on_all, random};
    use crate::softmax;

    const ROWS: usize = 7;
    const C: usize = 11;

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

    fn distributions(seed: u64) -> Vec<f64> {
        let mut rows = vec![0.0; ROWS * C];
        let mut cx = Context::<f64>::new(1).unwrap();
        softmax::forward(&mut cx, ROWS, C, &random(seed, ROWS * C), &mut rows);
        rows
    }

    #[test]
    fn the_slope_of_the_soft_loss_is_its_gradient() {
        let (x, targets) = (random(3, ROWS * C), distributions(4));
        for (temperature, smoothing, weight) in [(1.0, 0.0, 1.0), (4.0, 0.0, 0.7), (0.5, 0.2, 2.0)]
        {
            let softening = Softening {
                temperature,
                smoothing,
            };
            let gradient = |data, accumulate| {
                Some(Gradient {
                    data,
                    weight,
                    accumulate,
                })
            };
            let mut cx = Context::<f64>::new(1).unwrap();
            let mut dx = vec![0.0; x.len()];
            let loss = soft_cross_entropy(
                &mut cx,
                C,
                &x,
                &targets,
                softening,
                gradient(&mut dx[..], false),
            );
            let mut other = Context::<f64>::new(1).unwrap();
            is_gradient(&x, &dx, |x| {
                weight * soft_cross_entropy(&mut other, C, x, &targets, softening, None)
            });
            let sums: Vec<f64> = dx.iter().zip(&x).map(|(a, b)| a + b).collect();
            on_all!(|cx, T| {
                let (tx, targets) = (cast::<T>(&x), cast::<T>(&targets));
                let mut actual = tx.clone();
                let into = Some(Gradient {
                    data: &mut actual[..],
                    weight,
                    accumulate: true,
                });
                let found = soft_cross_entropy(&mut cx, C, &tx, &targets, softening, into);
                close(&actual, &sums);
                assert!((found - loss).abs() < 1e-6);
            });
        }
    }

    #[test]
    fn labels_are_the_hardest_distributions() {
        let x = random(3, ROWS * C);
        let labels: Vec<u32> = (0..ROWS as u32).map(|i| i * 5 % C as u32).collect();
        let mut rows = vec![0.0; ROWS * C];
        for (i, label) in labels.iter().enumerate() {
            rows[i * C + *label as usize] = 1.0;
        }
        let mut cx = Context::<f64>::new(2).unwrap();
        for smoothing in [0.0, 0.1] {
            let softening = Softening {
                temperature: 1.0,
                smoothing,
            };
            let (mut hard, mut soft) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let into = Some(Gradient {
                data: &mut soft[..],
                weight: 1.0,
                accumulate: false,
            });
            let a = cross_entropy(&mut cx, ROWS, C, &x, &labels, smoothing, Some(&mut hard));
            let b = soft_cross_entropy(&mut cx, C, &x, &rows, softening, into);
            assert!((a - b).abs() < 1e-12, "{a} and {b}");
            close(&soft, &hard);
        }
        let correct = count_correct(C, &x, &labels);
        assert_eq!(count_agreeing(C, &x, &rows), correct);
        assert_eq!(count_agreeing(C, &x, &x), ROWS);
    }

    #[test]
    fn the_slope_of_the_squared_error_is_its_gradient() {
        let (y, t) = (random(5, ROWS * C), random(6, ROWS * C));
        let mut cx = Context::<f64>::new(1).unwrap();
        let mut dy = vec![0.0; y.len()];
        let loss = squared_error(&mut cx, ROWS, &y, &t, Some(&mut dy));
        let squares: f64 = y.iter().zip(&t).map(|(y, t)| (y - t).powi(2)).sum();
        assert!((loss - squares / 2.0 / (ROWS * C) as f64).abs() < 1e-12);
        let mut other = Context::<f64>::new(1).unwrap();
        is_gradient(&y, &dy, |y| squared_error(&mut other, ROWS, y, &t, None));
        on_all!(|cx, T| {
            let mut actual = vec![T::default(); y.len()];
            let (y, t) = (cast::<T>(&y), cast::<T>(&t));
            squared_error(&mut cx, ROWS, &y, &t, Some(&mut actual));
            close(&actual, &dy);
        });
    }
}
