//! Means and variances of columns, exact to rounding.

use crate::Real;
use crate::columns::{STRIP_ROWS, strip_sums};

/// How much is read around one centre.
const CHUNK_ELEMENTS: usize = 8 * 1024;

/// Mean and sum of squared deviations of each column of some rows.
pub(super) struct Moments {
    count: f64,
    pub(super) mean: Vec<f64>,
    pub(super) squares: Vec<f64>,
}

impl Moments {
    pub(super) fn of<T: Real>(c: usize, x: &[T]) -> Self {
        let mut total = Self {
            count: 0.0,
            mean: vec![0.0; c],
            squares: vec![0.0; c],
        };
        let mut center = vec![T::zero(); c];
        let strips = (CHUNK_ELEMENTS / (STRIP_ROWS * c.max(1))).max(1);
        for (chunk, strip) in x.chunks((strips * STRIP_ROWS * c).max(1)).enumerate() {
            let count = (strip.len() / c) as f64;
            if chunk == 0 {
                let [sum] = strip_sums(
                    c,
                    [strip],
                    [],
                    #[inline(always)]
                    |[x]: [T; 1], []| [x],
                );
                for (center, sum) in center.iter_mut().zip(sum) {
                    *center = T::from_f64(sum / count);
                }
            }
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

    /// Chan's update.
    pub(super) fn merge(&mut self, other: &Self) {
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
