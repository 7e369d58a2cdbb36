//! Rows made of mean zero and variance one, or of mean square one, then scaled and shifted by
//! channel: layer, group, instance and root-mean-square normalisation.

use crate::rows::{In, Out};
use crate::{Context, Real};

/// What a row is, and which channel each of its elements belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standardize {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub len: usize,
    /// Channels: element `i` of all rows belongs to channel `i / inner % channels`.
    pub channels: usize,
    /// Neighbouring elements of one channel; divides `len`.
    pub inner: usize,
    /// Whether the mean is taken off; without, rows are divided by their root mean square.
    pub centered: bool,
    /// Added to the variance or mean square.
    pub epsilon: f64,
}

/// What the forward pass leaves for the backward one: each row's mean and inverse deviation.
#[derive(Clone, Debug, Default)]
pub struct Moments<T> {
    mean: Vec<T>,
    inverse: Vec<T>,
}

/// A tensor's gradient, and whether to add to what is there.
pub type Target<'a, T> = (&'a mut [T], bool);

impl Standardize {
    /// The channel of each piece of `inner` elements of a row.
    fn channel(&self, row: usize, piece: usize) -> usize {
        (row * (self.len / self.inner) + piece) % self.channels
    }

    fn check<T>(&self, x: &[T], scale: &[T]) {
        assert!(self.inner > 0 && self.channels > 0 && self.len.is_multiple_of(self.inner));
        assert_eq!(x.len(), self.rows * self.len, "the input of {self:?}");
        assert_eq!(scale.len(), self.channels, "the scale of {self:?}");
    }

    /// Mean and inverse deviation of a row.
    fn moments<T: Real>(&self, row: &[T]) -> (T, T) {
        let count = row.len() as f64;
        let mean = if self.centered {
            row.iter().map(|&x| x.to_f64()).sum::<f64>() / count
        } else {
            0.0
        };
        let square = |&x: &T| (x.to_f64() - mean).powi(2);
        let variance = row.iter().map(square).sum::<f64>() / count;
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        (T::from_f64(mean), T::from_f64(inverse))
    }

    /// `y = (x − mean) / deviation · scale + shift`.
    ///
    /// # Panics
    /// If a slice has not the length that the sizes say.
    pub fn forward<T: Real>(
        &self,
        cx: &mut Context<T>,
        x: &[T],
        scale: &[T],
        shift: Option<&[T]>,
        y: &mut [T],
        moments: &mut Moments<T>,
    ) {
        self.check(x, scale);
        assert!(y.len() == x.len() && shift.is_none_or(|s| s.len() == self.channels));
        moments.mean.resize(self.rows, T::zero());
        moments.inverse.resize(self.rows, T::zero());
        let len = self.len;
        let data = (
            In(x, len),
            Out(y, len),
            Out(&mut moments.mean, 1),
            Out(&mut moments.inverse, 1),
        );
        cx.for_rows(
            self.rows,
            4 * len,
            data,
            |range, (In(x, _), Out(y, _), Out(means, _), Out(inverses, _)), _| {
                for (i, row) in range.enumerate() {
                    let (x, y) = (&x[i * len..][..len], &mut y[i * len..][..len]);
                    let (mean, inverse) = self.moments(x);
                    (means[i], inverses[i]) = (mean, inverse);
                    let pieces = x
                        .chunks_exact(self.inner)
                        .zip(y.chunks_exact_mut(self.inner));
                    for (piece, (x, y)) in pieces.enumerate() {
                        let channel = self.channel(row, piece);
                        let shift = shift.map_or(T::zero(), |shift| shift[channel]);
                        for (y, &x) in y.iter_mut().zip(x) {
                            *y = (x - mean) * inverse * scale[channel] + shift;
                        }
                    }
                }
            },
        );
    }

    /// The gradient with respect to `x` goes to `dx` if it is given; those with respect to scale
    /// and shift are returned.
    ///
    /// # Panics
    /// If a slice has not the length that the sizes say.
    pub fn backward<T: Real>(
        &self,
        cx: &mut Context<T>,
        x: &[T],
        scale: &[T],
        dy: &[T],
        moments: &Moments<T>,
        dx: Option<Target<'_, T>>,
    ) -> [Vec<T>; 2] {
        self.check(x, scale);
        assert!(dy.len() == x.len() && dx.as_ref().is_none_or(|(dx, _)| dx.len() == x.len()));
        assert!(moments.mean.len() == self.rows && moments.inverse.len() == self.rows);
        let len = self.len;
        let accumulate = dx.as_ref().is_some_and(|(_, accumulate)| *accumulate);
        let dx = dx.map(|(dx, _)| Out(dx, len));
        let data = (In(x, len), In(dy, len), dx);
        let parts = cx.for_rows(
            self.rows,
            8 * len,
            data,
            |range, (In(x, _), In(dy, _), mut dx), _| {
                let mut sums = [vec![0.0; self.channels], vec![0.0; self.channels]];
                for (i, row) in range.enumerate() {
                    let (x, dy) = (&x[i * len..][..len], &dy[i * len..][..len]);
                    let (mean, inverse) = (moments.mean[row], moments.inverse[row]);
                    let means = self.sums(row, x, dy, scale, (mean, inverse), &mut sums);
                    if let Some(Out(dx, _)) = &mut dx {
                        let dx = &mut dx[i * len..][..len];
                        for at in 0..len {
                            let normal = (x[at] - mean) * inverse;
                            let slope = dy[at] * scale[self.channel(row, at / self.inner)];
                            let fresh = inverse * (slope - means[0] - normal * means[1]);
                            dx[at] = if accumulate { dx[at] + fresh } else { fresh };
                        }
                    }
                }
                sums
            },
        );
        [0, 1].map(|which| {
            let total = |c| {
                parts
                    .iter()
                    .map(|part: &[Vec<f64>; 2]| part[which][c])
                    .sum()
            };
            (0..self.channels).map(|c| T::from_f64(total(c))).collect()
        })
    }

    /// Adds a row to the sums of scale and shift, and gives the means of the scaled gradient alone
    /// and times the normalised row; the former is zero where no mean was taken off.
    fn sums<T: Real>(
        &self,
        row: usize,
        x: &[T],
        dy: &[T],
        scale: &[T],
        (mean, inverse): (T, T),
        [scales, shifts]: &mut [Vec<f64>; 2],
    ) -> [T; 2] {
        let (mut plain, mut weighted) = (0.0, 0.0);
        let pieces = x.chunks_exact(self.inner).zip(dy.chunks_exact(self.inner));
        for (piece, (x, dy)) in pieces.enumerate() {
            let channel = self.channel(row, piece);
            let (mut shift, mut product) = (0.0, 0.0);
            for (&x, &dy) in x.iter().zip(dy) {
                shift += dy.to_f64();
                product += (dy * (x - mean) * inverse).to_f64();
            }
            scales[channel] += product;
            shifts[channel] += shift;
            plain += shift * scale[channel].to_f64();
            weighted += product * scale[channel].to_f64();
        }
        let count = self.len as f64;
        let plain = if self.centered { plain / count } else { 0.0 };
        [T::from_f64(plain), T::from_f64(weighted / count)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    fn naive(s: &Standardize, x: &[f64], scale: &[f64], shift: &[f64]) -> Vec<f64> {
        let mut y = Vec::new();
        for row in x.chunks(s.len) {
            let mean = row.iter().sum::<f64>() / s.len as f64;
            let mean = if s.centered { mean } else { 0.0 };
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / s.len as f64;
            for x in row {
                let channel = y.len() / s.inner % s.channels;
                let normal = (x - mean) / (variance + s.epsilon).sqrt();
                y.push(normal * scale[channel] + shift[channel]);
            }
        }
        y
    }

    #[test]
    fn rows_and_their_gradients_are_those_of_the_definition() {
        // Layers of 6, root mean squares of 6, groups of 2 channels of 4, instances of 4.
        let sizes = [
            (5, 6, 6, 1, true),
            (5, 6, 6, 1, false),
            (6, 8, 6, 4, true),
            (12, 4, 6, 4, true),
            (3, 1, 1, 1, true),
        ];
        for (rows, len, channels, inner, centered) in sizes {
            let s = Standardize {
                rows,
                len,
                channels,
                inner,
                centered,
                epsilon: 1e-2,
            };
            let (x, dy) = (random(1, rows * len), random(2, rows * len));
            let (scale, shift) = (random(3, channels), random(4, channels));
            let mut cx = Context::<f64>::new(1).unwrap();
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let mut moments = Moments::default();
            s.forward(&mut cx, &x, &scale, Some(&shift), &mut y, &mut moments);
            let target = Some((&mut dx[..], false));
            let [dscale, dshift] = s.backward(&mut cx, &x, &scale, &dy, &moments, target);
            is_gradient(&x, &dx, |x| dot(&dy, &naive(&s, x, &scale, &shift)));
            is_gradient(&scale, &dscale, |v| dot(&dy, &naive(&s, &x, v, &shift)));
            is_gradient(&shift, &dshift, |v| dot(&dy, &naive(&s, &x, &scale, v)));
            on_all!(|cx, T| {
                let (tx, tdy) = (cast::<T>(&x), cast::<T>(&dy));
                let (tscale, tshift) = (cast::<T>(&scale), cast::<T>(&shift));
                let mut actual = vec![T::default(); x.len()];
                let mut moments = Moments::default();
                s.forward(
                    &mut cx,
                    &tx,
                    &tscale,
                    Some(&tshift),
                    &mut actual,
                    &mut moments,
                );
                close(&actual, &naive(&s, &x, &scale, &shift));
                let mut actual = cast::<T>(&dx);
                let target = Some((&mut actual[..], true));
                let sums = s.backward(&mut cx, &tx, &tscale, &tdy, &moments, target);
                close(&actual, &dx.iter().map(|d| 2.0 * d).collect::<Vec<_>>());
                close(&sums[0], &dscale);
                close(&sums[1], &dshift);
                s.forward(&mut cx, &tx, &tscale, None, &mut actual, &mut moments);
                close(&actual, &naive(&s, &x, &scale, &vec![0.0; channels]));
            });
        }
    }
}
