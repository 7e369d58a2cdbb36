//! Rows divided by their norm.

use crate::rows::{In, Out};
use crate::{Context, Real};

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// `Σ |x|`
    L1,
    /// `√Σ x²`
    L2,
}

impl Norm {
    fn of<T: Real>(self, x: &[T]) -> T {
        match self {
            Norm::L1 => x.iter().map(|x| x.abs()).sum(),
            Norm::L2 => x.iter().map(|x| *x * *x).sum::<T>().sqrt(),
        }
    }
}

/// `y = x / ‖x‖` over each of `rows` rows of `c` elements; a row of zeros stays so.
///
/// # Panics
/// If a slice is not `rows × c`.
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    norm: Norm,
    rows: usize,
    c: usize,
    x: &[T],
    y: &mut [T],
) {
    assert!(x.len() == rows * c && y.len() == rows * c);
    let data = (In(x, c), Out(y, c));
    cx.for_rows(rows, c * 2, data, |_, (In(x, _), Out(y, _)), _| {
        for (x, y) in x.chunks_exact(c.max(1)).zip(y.chunks_exact_mut(c.max(1))) {
            let size = norm.of(x);
            let divisor = if size == T::zero() { T::one() } else { size };
            for (y, x) in y.iter_mut().zip(x) {
                *y = *x / divisor;
            }
        }
    });
}

/// The gradient of [`forward`]: `dx = (dy − g · Σ y·dy) / ‖x‖`, where `g` is the norm's own slope,
/// and 0 for a row of zeros.
///
/// # Panics
/// If a slice is not `rows × c`.
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    norm: Norm,
    rows: usize,
    c: usize,
    x: &[T],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    assert!([x, dy, dx].iter().all(|s| s.len() == rows * c));
    let data = (In(x, c), In(dy, c), Out(dx, c));
    cx.for_rows(
        rows,
        c * 4,
        data,
        |range, (In(x, _), In(dy, _), Out(dx, _)), _| {
            for i in 0..range.len() {
                let row = i * c..(i + 1) * c;
                let (x, dy, dx) = (&x[row.clone()], &dy[row.clone()], &mut dx[row]);
                let size = norm.of(x);
                let inverse = if size == T::zero() {
                    T::zero()
                } else {
                    size.recip()
                };
                let dot = inverse * x.iter().zip(dy).map(|(x, dy)| *x * *dy).sum();
                for (dx, (x, dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
                    let own = match norm {
                        Norm::L1 if *x == T::zero() => T::zero(),
                        Norm::L1 => x.signum(),
                        Norm::L2 => *x * inverse,
                    };
                    let slope = inverse * (*dy - own * dot);
                    *dx = if accumulate { *dx + slope } else { slope };
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    const ROWS: usize = 7;
    const C: usize = 11;

    fn naive(norm: Norm, x: &[f64]) -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let size = match norm {
                Norm::L1 => x.iter().map(|x| x.abs()).sum::<f64>(),
                Norm::L2 => dot(x, x).sqrt(),
            };
            x.iter().map(|x| x / size).collect()
        };
        x.chunks(C).flat_map(row).collect()
    }

    #[test]
    fn rows_and_gradients_are_those_of_the_definition() {
        let (x, dy) = (random(1, ROWS * C), random(2, ROWS * C));
        for norm in [Norm::L1, Norm::L2] {
            let mut cx = Context::<f64>::new(1).unwrap();
            let mut dx = vec![0.0; x.len()];
            backward(&mut cx, norm, ROWS, C, &x, &dy, &mut dx, false);
            is_gradient(&x, &dx, |x| dot(&dy, &naive(norm, x)));
            let sums: Vec<f64> = dx.iter().zip(&x).map(|(a, b)| a + b).collect();
            on_all!(|cx, T| {
                let (tx, dy) = (cast::<T>(&x), cast::<T>(&dy));
                let mut y = vec![T::default(); x.len()];
                forward(&mut cx, norm, ROWS, C, &tx, &mut y);
                close(&y, &naive(norm, &x));
                let mut actual = tx.clone();
                backward(&mut cx, norm, ROWS, C, &tx, &dy, &mut actual, true);
                close(&actual, &sums);
            });
        }
    }

    #[test]
    fn a_row_of_zeros_stays_so() {
        let mut cx = Context::<f32>::new(1).unwrap();
        let mut y = [1.0; 3];
        forward(&mut cx, Norm::L2, 1, 3, &[0.0; 3], &mut y);
        assert_eq!(y, [0.0; 3]);
        backward(&mut cx, Norm::L1, 1, 3, &[0.0; 3], &[1.0; 3], &mut y, false);
        assert_eq!(y, [0.0; 3]);
    }
}
