//! Means and variances of columns, exact to rounding.

use crate::Real;
use crate::columns::{STRIP_ROWS, strip_sums};

/// How much is read at a time to be looked at twice: 32 KiB of `f32`, the size of an L1 cache.
const LOOK_ELEMENTS: usize = 8 * 1024;

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
        let strips = (LOOK_ELEMENTS / (STRIP_ROWS * c.max(1))).max(1);
        for strip in x.chunks((strips * STRIP_ROWS * c).max(1)) {
            let count = (strip.len() / c) as f64;
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
            // The rounded centre is not quite the mean: the first sum says by how much.
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
            let mean = (0..c)
                .map(|j| center[j].to_f64() + off[j] / count)
                .collect();
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
        for j in 0..self.mean.len() {
            let delta = other.mean[j] - self.mean[j];
            self.mean[j] += delta * other.count / count;
            self.squares[j] += other.squares[j] + delta * delta * self.count * other.count / count;
        }
        self.count = count;
    }
}
