//! Means and variances of columns, exact to rounding.

use crate::columns::{STRIP_ROWS, strip_sums};
use crate::rows::In;
use crate::{Context, Real};

/// How many rows are read around one centre.
const CHUNK_ROWS: usize = 8 * STRIP_ROWS;

/// Mean and sum of squared deviations of each column of some rows.
pub struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Of no rows of `c` columns.
    pub fn none(c: usize) -> Self {
        Self {
            count: 0.0,
            mean: vec![0.0; c],
            squares: vec![0.0; c],
        }
    }

    /// Adds rows.
    ///
    /// # Panics
    /// If `x` does not hold whole rows.
    pub fn add<T: Real>(&mut self, cx: &mut Context<T>, x: &[T]) {
        let c = self.mean.len();
        let rows = x.len() / c.max(1);
        assert_eq!(x.len(), rows * c, "rows of {c} columns");
        let parts = cx.for_rows(rows, c, In(x, c), |_, In(x, _), _| Moments::of(c, x));
        parts.iter().for_each(|part| self.merge(part));
    }

    /// Writes the mean, `1 / √(variance + eps)`, and the variance, which divides by the number of rows.
    ///
    /// # Panics
    /// If a slice is not as long as there are columns.
    pub fn statistics<T: Real>(&self, eps: f64, [mean, inv_std, var_biased]: [&mut [T]; 3]) {
        for j in 0..self.mean.len() {
            let var = self.squares[j] / self.count.max(1.0);
            mean[j] = T::from_f64(self.mean[j]);
            var_biased[j] = T::from_f64(var);
            inv_std[j] = T::from_f64(1.0 / (var + eps).sqrt());
        }
    }

    fn of<T: Real>(c: usize, x: &[T]) -> Self {
        let mut total = Self::none(c);
        let first = &x[..x.len().min(STRIP_ROWS * c)];
        let [sum] = strip_sums(
            c,
            [first],
            [],
            #[inline(always)]
            |[x]: [T; 1], []| [x],
        );
        let count = (first.len() / c.max(1)) as f64;
        let mut center: Vec<T> = sum.iter().map(|sum| T::from_f64(sum / count)).collect();
        for strip in x.chunks((CHUNK_ROWS * c).max(1)) {
            let count = (strip.len() / c) as f64;
            // The first sum says how far the mean is from the centre. Later strips take the mean of the strip before
            // for one: how far that is off is a part of the variance too, so nothing cancels that matters.
            let [off, squares] = strip_sums(
                c,
                [strip],
                [&center[..]],
                #[inline(always)]
                |[x]: [T; 1], [center]: [T; 1]| {
                    let d = x - center;
                    [d, d * d]
                },
            );
            let mean: Vec<f64> = (0..c)
                .map(|j| center[j].to_f64() + off[j] / count)
                .collect();
            for (center, mean) in center.iter_mut().zip(&mean) {
                *center = T::from_f64(*mean);
            }
            let squares = (0..c)
                .map(|j| squares[j] - off[j] * off[j] / count)
                .collect();
            total.merge(&Self {
                count,
                mean,
                squares,
            });
        }
        total
    }

    /// Adds the rows of others (Chan's update).
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0.0 {
            return;
        }
        let count = self.count + other.count;
        let share = other.count / count;
        for j in 0..self.mean.len() {
            let delta = other.mean[j] - self.mean[j];
            self.mean[j] += delta * share;
            self.squares[j] += other.squares[j] + delta * delta * self.count * share;
        }
        self.count = count;
    }
}
