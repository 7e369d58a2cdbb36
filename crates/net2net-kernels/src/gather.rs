//! Picking rows by computed indices: embeddings.

use crate::rows::Out;
use crate::{Context, Real};

/// The row of `len` that a number means: rounded, counted from the end if negative, and the
/// nearest row that there is if there is none. NaN means the first.
pub fn row_of<T: Real>(index: T, len: usize) -> usize {
    let index = index.round().to_f64();
    let counted = if index < 0.0 {
        index + len as f64
    } else {
        index
    };
    // A cast of a float saturates, and NaN becomes zero.
    (counted as usize).min(len.saturating_sub(1))
}

/// `y[o, k] = x[o, rows[k]]` for `x` of shape `[outer, len, inner]`.
///
/// # Panics
/// If a slice is not as long as that, or a row is not below `len`.
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    [outer, len, inner]: [usize; 3],
    rows: &[usize],
    x: &[T],
    y: &mut [T],
) {
    let picked = rows.len();
    assert!(x.len() == outer * len * inner && y.len() == outer * picked * inner);
    cx.for_rows(
        outer * picked,
        inner,
        Out(y, inner),
        |range, Out(y, _), _| {
            for (at, y) in range.zip(y.chunks_exact_mut(inner.max(1))) {
                let row = at / picked * len + rows[at % picked];
                y.copy_from_slice(&x[row * inner..][..inner]);
            }
        },
    );
}

/// The gradient of [`forward`]: `dx[o, rows[k]] += dy[o, k]`, in the order of `k`.
///
/// # Panics
/// If a slice is not as long as that.
pub fn backward<T: Real>(
    cx: &mut Context<T>,
    [outer, len, inner]: [usize; 3],
    rows: &[usize],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    let picked = rows.len();
    assert!(dx.len() == outer * len * inner && dy.len() == outer * picked * inner);
    cx.for_rows(
        outer * len,
        inner,
        Out(dx, inner),
        |range, Out(dx, _), _| {
            if !accumulate {
                dx.fill(T::zero());
            }
            // Each thread has rows of its own to write, and looks for them among all.
            for (at, dy) in dy.chunks_exact(inner.max(1)).enumerate() {
                let row = at / picked * len + rows[at % picked];
                if range.contains(&row) {
                    let dx = &mut dx[(row - range.start) * inner..][..inner];
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += *dy);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    const ROWS: [usize; 5] = [2, 0, 2, 6, 2];

    fn naive([outer, len, inner]: [usize; 3], x: &[f64]) -> Vec<f64> {
        let mut y = Vec::new();
        for o in 0..outer {
            for row in ROWS {
                y.extend_from_slice(&x[(o * len + row) * inner..][..inner]);
            }
        }
        y
    }

    #[test]
    fn rows_are_picked_and_their_gradients_summed() {
        for sizes in [[1, 7, 3], [2, 7, 1], [3, 9, 5000]] {
            let [outer, len, inner] = sizes;
            let x = random(1, outer * len * inner);
            let dy = random(2, outer * ROWS.len() * inner);
            let mut dx = vec![0.0; x.len()];
            let mut cx = Context::<f64>::new(1).unwrap();
            backward(&mut cx, sizes, &ROWS, &dy, &mut dx, false);
            if x.len() < 100 {
                is_gradient(&x, &dx, |x| dot(&dy, &naive(sizes, x)));
            }
            on_all!(|cx, T| {
                let mut y = vec![T::default(); dy.len()];
                forward(&mut cx, sizes, &ROWS, &cast::<T>(&x), &mut y);
                close(&y, &naive(sizes, &x));
                let mut actual = cast::<T>(&x);
                backward(&mut cx, sizes, &ROWS, &cast::<T>(&dy), &mut actual, true);
                close(
                    &actual,
                    &dx.iter().zip(&x).map(|(a, b)| a + b).collect::<Vec<_>>(),
                );
            });
        }
    }

    #[test]
    fn numbers_mean_the_nearest_row_that_there_is() {
        let rows = [
            (0.4, 0),
            (0.6, 1),
            (-0.4, 0),
            (-1.0, 4),
            (-5.0, 0),
            (-6.0, 0),
            (9.0, 4),
            (f64::NAN, 0),
            (f64::INFINITY, 4),
            (f64::NEG_INFINITY, 0),
        ];
        for (index, row) in rows {
            assert_eq!(row_of(index, 5), row, "{index}");
        }
    }
}
