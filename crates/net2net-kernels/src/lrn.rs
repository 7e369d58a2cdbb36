//! Local response normalisation: each channel divided by the energy of its neighbours.

use crate::rows::{In, Out};
use crate::{Context, Real};

/// The numbers of `y = x / (bias + alpha / size · Σ x²)^beta`, the sum over `size` neighbouring
/// channels, as ONNX has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Response {
    /// Channels that are summed over; of an even number, one more follows than precedes.
    pub size: usize,
    /// The weight of the mean square.
    pub alpha: f64,
    /// The power.
    pub beta: f64,
    /// What is added to the mean square.
    pub bias: f64,
}

impl Response {
    /// The base of the power for each channel of a pixel.
    fn bases<T: Real>(&self, x: &[T], bases: &mut [T]) {
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let (bias, share) = (
            T::from_f64(self.bias),
            T::from_f64(self.alpha / self.size as f64),
        );
        for (channel, base) in bases.iter_mut().enumerate() {
            let end = x.len().min(channel.saturating_add(after).saturating_add(1));
            let near = &x[channel.saturating_sub(before)..end];
            *base = bias + share * near.iter().map(|&x| x * x).sum::<T>();
        }
    }

    /// `y` for `x`, each of rows of `c` channels.
    ///
    /// # Panics
    /// If the slices are not of equal length and whole rows, or `size` is 0.
    pub fn forward<T: Real>(&self, cx: &mut Context<T>, c: usize, x: &[T], y: &mut [T]) {
        assert!(self.size > 0 && x.len() == y.len() && x.len().is_multiple_of(c.max(1)));
        let beta = T::from_f64(self.beta);
        let rows = x.len() / c.max(1);
        let work = c * (self.size.min(c) + 16);
        cx.for_rows(
            rows,
            work,
            (In(x, c), Out(y, c)),
            |_, (In(x, _), Out(y, _)), _| {
                for (x, y) in x.chunks_exact(c.max(1)).zip(y.chunks_exact_mut(c.max(1))) {
                    self.bases(x, y);
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = x * y.powf(-beta);
                    }
                }
            },
        );
    }

    /// The gradient of [`Self::forward`] with respect to `x`.
    ///
    /// # Panics
    /// If the slices are not of equal length and whole rows, or `size` is 0.
    pub fn backward<T: Real>(
        &self,
        cx: &mut Context<T>,
        c: usize,
        x: &[T],
        dy: &[T],
        dx: &mut [T],
        accumulate: bool,
    ) {
        assert!(self.size > 0 && x.len() == dy.len() && x.len() == dx.len());
        assert!(x.len().is_multiple_of(c.max(1)));
        let (before, after) = (self.size / 2, (self.size - 1) / 2);
        let beta = T::from_f64(self.beta);
        let slope = T::from_f64(-2.0 * self.alpha * self.beta / self.size as f64);
        let rows = x.len() / c.max(1);
        let work = c * (self.size.min(c) + 32);
        let data = (In(x, c), In(dy, c), Out(dx, c));
        cx.for_rows(
            rows,
            work,
            data,
            |range, (In(x, _), In(dy, _), Out(dx, _)), _| {
                let (mut bases, mut terms) = (vec![T::zero(); c], vec![T::zero(); c]);
                for row in 0..range.len() {
                    let at = row * c..(row + 1) * c;
                    let (x, dy, dx) = (&x[at.clone()], &dy[at.clone()], &mut dx[at]);
                    self.bases(x, &mut bases);
                    for (term, (&base, (&x, &dy))) in
                        terms.iter_mut().zip(bases.iter().zip(x.iter().zip(dy)))
                    {
                        *term = dy * x * base.powf(-beta - T::one());
                    }
                    for channel in 0..c {
                        let end = c.min(channel.saturating_add(after).saturating_add(1));
                        let near = &terms[channel.saturating_sub(before)..end];
                        let fresh = dy[channel] * bases[channel].powf(-beta)
                            + slope * x[channel] * near.iter().copied().sum::<T>();
                        let old = if accumulate { dx[channel] } else { T::zero() };
                        dx[channel] = old + fresh;
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    const C: usize = 7;

    fn naive(r: &Response, x: &[f64]) -> Vec<f64> {
        let one = |i: usize| {
            let channel = (i % C) as i64;
            let (low, high) = (
                channel - (r.size as i64 - 1) / 2,
                channel + r.size as i64 / 2,
            );
            let squares =
                (low.max(0)..=high.min(C as i64 - 1)).map(|j| x[i - i % C + j as usize].powi(2));
            let base = r.bias + r.alpha / r.size as f64 * squares.sum::<f64>();
            x[i] / base.powf(r.beta)
        };
        (0..x.len()).map(one).collect()
    }

    #[test]
    fn responses_and_their_gradient_are_those_of_the_definition() {
        let (x, dy) = (random(1, 5 * C), random(2, 5 * C));
        for size in [1, 2, 3, 4, 5, 20] {
            let r = Response {
                size,
                alpha: 0.9,
                beta: 0.75,
                bias: 1.2,
            };
            let mut cx = Context::<f64>::new(1).unwrap();
            let mut dx = vec![0.0; x.len()];
            r.backward(&mut cx, C, &x, &dy, &mut dx, false);
            is_gradient(&x, &dx, |x| dot(&dy, &naive(&r, x)));
            on_all!(|cx, T| {
                let (tx, tdy) = (cast::<T>(&x), cast::<T>(&dy));
                let mut y = vec![T::default(); x.len()];
                r.forward(&mut cx, C, &tx, &mut y);
                close(&y, &naive(&r, &x));
                let mut actual = cast::<T>(&dx);
                r.backward(&mut cx, C, &tx, &tdy, &mut actual, true);
                close(&actual, &dx.iter().map(|d| 2.0 * d).collect::<Vec<_>>());
            });
        }
    }
}
