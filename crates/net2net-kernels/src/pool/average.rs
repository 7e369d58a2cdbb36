//! Average pooling.

use super::PoolShape;
use crate::lanes::{LaneKernel, load, over_lanes, vectorized};
use crate::rows::Out;
use crate::taps::{Axis, Taps};
use crate::{Context, Real};

/// `y` is the mean of each window. With `count_include_pad` the padding counts as zeros (but not
/// what lies beyond it), as in PyTorch; without, it does not count.
///
/// # Panics
/// If a slice has not the length that `s` says.
pub fn average_forward<T: Real>(
    cx: &mut Context<T>,
    s: &PoolShape,
    count_include_pad: bool,
    x: &[T],
    y: &mut [T],
) {
    s.check(x, y);
    let weights = Weights::new(s, count_include_pad);
    let (rows, cols) = (s.rows().inputs_of_outputs(), s.cols().inputs_of_outputs());
    gather(
        cx,
        s,
        &rows,
        &cols,
        x,
        y,
        false,
        |_, _| T::one(),
        |oy, ox| weights.of(oy, ox),
    );
}

/// The gradient of [`average_forward`]: each window's `dy` in equal shares.
///
/// # Panics
/// If a slice has not the length that `s` says.
pub fn average_backward<T: Real>(
    cx: &mut Context<T>,
    s: &PoolShape,
    count_include_pad: bool,
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    s.check(dx, dy);
    let weights = Weights::new(s, count_include_pad);
    let (rows, cols) = (s.rows().outputs_of_inputs(), s.cols().outputs_of_inputs());
    gather(
        cx,
        s,
        &rows,
        &cols,
        dy,
        dx,
        accumulate,
        |oy, ox| weights.of(oy, ox),
        |_, _| T::one(),
    );
}

/// One over the number of elements that the window of each output counts.
struct Weights<T> {
    rows: Vec<T>,
    cols: Vec<T>,
}

impl<T: Real> Weights<T> {
    fn new(s: &PoolShape, count_include_pad: bool) -> Self {
        let weights = |axis: Axis, far_pad: usize| -> Vec<T> {
            let counted = |o: usize| {
                let taps = 0..axis.kernel;
                if count_include_pad {
                    let end = axis.pad + axis.input + far_pad;
                    taps.filter(|tap| o * axis.stride + tap * axis.dilation < end)
                        .count()
                } else {
                    taps.filter(|&tap| axis.meets(o, tap).is_some()).count()
                }
            };
            (0..axis.output)
                .map(|o| T::from_f64(1.0 / counted(o).max(1) as f64))
                .collect()
        };
        Self {
            rows: weights(s.rows(), s.pads[2]),
            cols: weights(s.cols(), s.pads[3]),
        }
    }

    #[inline(always)]
    fn of(&self, oy: usize, ox: usize) -> T {
        self.rows[oy] * self.cols[ox]
    }
}

/// `dst[p] (+)= after(p) · Σ before(q) · src[q]` over the pixels `q` that `p` meets.
fn gather<T: Real>(
    cx: &mut Context<T>,
    s: &PoolShape,
    rows: &Taps,
    cols: &Taps,
    src: &[T],
    dst: &mut [T],
    accumulate: bool,
    before: impl Fn(usize, usize) -> T + Sync,
    after: impl Fn(usize, usize) -> T + Sync,
) {
    let c = s.c;
    let src_image = rows.other_len() * cols.other_len() * c;
    let row_len = cols.len() * c;
    let work = row_len * s.kernel[0] * s.kernel[1];
    cx.for_rows(
        s.batch * rows.len(),
        work,
        Out(dst, row_len),
        |range, Out(dst, _), _| {
            vectorized(
                #[inline(always)]
                || {
                    for (i, row) in range.enumerate() {
                        let y = row % rows.len();
                        let src = &src[row / rows.len() * src_image..][..src_image];
                        let dst = &mut dst[i * row_len..][..row_len];
                        let (rows, before, after) = (rows.of(y), &before, &after);
                        let mut kernel = Mean {
                            c,
                            y,
                            rows,
                            cols,
                            src,
                            dst,
                            accumulate,
                            before,
                            after,
                        };
                        over_lanes(c, &mut kernel);
                    }
                },
            );
        },
    );
}

struct Mean<'a, T, B, A> {
    c: usize,
    y: usize,
    rows: &'a [(usize, usize)],
    cols: &'a Taps,
    src: &'a [T],
    dst: &'a mut [T],
    accumulate: bool,
    before: &'a B,
    after: &'a A,
}

impl<T: Real, B, A> LaneKernel for Mean<'_, T, B, A>
where
    B: Fn(usize, usize) -> T,
    A: Fn(usize, usize) -> T,
{
    #[inline(always)]
    fn run<const L: usize>(&mut self, channel: usize) {
        for p in 0..self.cols.len() {
            let mut sum = [T::zero(); L];
            for &(qy, _) in self.rows {
                for &(qx, _) in self.cols.of(p) {
                    let at = (qy * self.cols.other_len() + qx) * self.c + channel;
                    let src: [T; L] = load(self.src, at);
                    let weight = (self.before)(qy, qx);
                    for lane in 0..L {
                        sum[lane] += src[lane] * weight;
                    }
                }
            }
            let weight = (self.after)(self.y, p);
            let dst = &mut self.dst[p * self.c + channel..][..L];
            for lane in 0..L {
                let term = sum[lane] * weight;
                dst[lane] = if self.accumulate {
                    dst[lane] + term
                } else {
                    term
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, on_all, random};

    #[test]
    fn means_and_their_gradients_are_those_of_the_naive_loop() {
        for (seed, s) in PoolShape::random(40).enumerate() {
            let seed = seed as u64;
            let x = random(seed, s.input_len());
            let dy = random(seed + 100, s.output_len());
            let before = random(seed + 200, s.input_len());
            for include in [false, true] {
                let mut count = vec![0.0; s.output_len()];
                s.for_pairs(|_, o, _| count[o] += 1.0);
                if include {
                    // Without ceil mode every tap is within the padding.
                    count.fill((s.kernel[0] * s.kernel[1]) as f64);
                }
                let mut y = vec![0.0; s.output_len()];
                s.for_pairs(|i, o, _| y[o] += x[i] / count[o]);
                let mut dx = vec![0.0; s.input_len()];
                s.for_pairs(|i, o, _| dx[i] += dy[o] / count[o]);
                // The mean is linear: its gradient is its adjoint.
                assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-9);
                on_all!(|cx, T| {
                    let (x, dy) = (cast::<T>(&x), cast::<T>(&dy));
                    let mut actual = vec![T::default(); s.output_len()];
                    average_forward(&mut cx, &s, include, &x, &mut actual);
                    close(&actual, &y);
                    let mut actual = cast::<T>(&before);
                    average_backward(&mut cx, &s, include, &dy, &mut actual, true);
                    close(
                        &actual,
                        &dx.iter()
                            .zip(&before)
                            .map(|(a, b)| a + b)
                            .collect::<Vec<_>>(),
                    );
                    average_backward(&mut cx, &s, include, &dy, &mut actual, false);
                    close(&actual, &dx);
                });
            }
        }
    }

    /// `AvgPool2d(3, 2, padding=1, ceil_mode=True)` on 0..4 in a row: the last window sticks out
    /// by one beyond the padding, which PyTorch does not count.
    #[test]
    fn what_lies_beyond_the_padding_is_never_counted() {
        let s = PoolShape {
            batch: 1,
            in_h: 1,
            in_w: 4,
            c: 1,
            out_h: 1,
            out_w: 3,
            kernel: [1, 3],
            stride: [1, 2],
            dilation: [1, 1],
            pads: [0, 1, 0, 1],
        };
        let mut cx = Context::<f64>::new(1).unwrap();
        let mut y = [0.0; 3];
        average_forward(&mut cx, &s, true, &[0.0, 1.0, 2.0, 3.0], &mut y);
        close(&y, &[1.0 / 3.0, 2.0, 1.5]);
    }
}
