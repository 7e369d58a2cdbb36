//! Max pooling, and its gradient through the remembered winner of each window.

use super::PoolShape;
use crate::lanes::{LaneKernel, load, over_lanes, vectorized};
use crate::rows::Out;
use crate::taps::Taps;
use crate::{Context, Real};

/// `y` is the maximum of each window. Padding never wins, the first of equal maxima does, and
/// NaN beats everything, as in PyTorch. A window of nothing but padding gives `−∞`.
///
/// `index`, as long as `y`, gets the winner's offset in its window, `ky · kernel_w + kx`: what
/// [`max_backward`] needs.
///
/// # Panics
/// If a slice has not the length that `s` says, or the window has more than 65,536 taps.
pub fn max_forward<T: Real>(
    cx: &mut Context<T>,
    s: &PoolShape,
    x: &[T],
    y: &mut [T],
    index: Option<&mut [u16]>,
) {
    s.check(x, y);
    assert!(index.as_ref().is_none_or(|index| index.len() == y.len()));
    assert!(s.kernel[0] * s.kernel[1] <= 1 << 16);
    let (rows, cols) = (s.rows().inputs_of_outputs(), s.cols().inputs_of_outputs());
    let row_len = s.out_w * s.c;
    let work = row_len * s.kernel[0] * s.kernel[1];
    let data = (Out(y, row_len), index.map(|index| Out(index, row_len)));
    cx.for_rows(
        s.batch * s.out_h,
        work,
        data,
        |range, (Out(y, _), mut index), _| {
            vectorized(
                #[inline(always)]
                || {
                    for (i, row) in range.enumerate() {
                        let image = s.in_h * s.in_w * s.c;
                        let x = &x[row / s.out_h * image..][..image];
                        let y = &mut y[i * row_len..][..row_len];
                        let index = index
                            .as_mut()
                            .map(|index| &mut index.0[i * row_len..][..row_len]);
                        let rows = rows.of(row % s.out_h);
                        over_lanes(
                            s.c,
                            &mut Maximum {
                                s,
                                rows,
                                cols: &cols,
                                x,
                                y,
                                index,
                            },
                        );
                    }
                },
            );
        },
    );
}

/// The gradient of [`max_forward`]: each window's `dy` goes to its winner.
///
/// Written from the side of the input, which asks each window that it is in whether it won, so
/// that threads never write to the same place.
///
/// # Panics
/// If a slice has not the length that `s` says.
pub fn max_backward<T: Real>(
    cx: &mut Context<T>,
    s: &PoolShape,
    index: &[u16],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    s.check(dx, dy);
    assert_eq!(index.len(), dy.len());
    let (rows, cols) = (s.rows().outputs_of_inputs(), s.cols().outputs_of_inputs());
    let (row_len, image) = (s.in_w * s.c, s.out_h * s.out_w * s.c);
    let work = row_len * s.kernel[0] * s.kernel[1];
    cx.for_rows(
        s.batch * s.in_h,
        work,
        Out(dx, row_len),
        |range, Out(dx, _), _| {
            vectorized(
                #[inline(always)]
                || {
                    for (i, row) in range.enumerate() {
                        let windows = row / s.in_h * image..(row / s.in_h + 1) * image;
                        let (index, dy) = (&index[windows.clone()], &dy[windows]);
                        let dx = &mut dx[i * row_len..][..row_len];
                        let rows = rows.of(row % s.in_h);
                        over_lanes(
                            s.c,
                            &mut Won {
                                s,
                                rows,
                                cols: &cols,
                                index,
                                dy,
                                dx,
                                accumulate,
                            },
                        );
                    }
                },
            );
        },
    );
}

struct Maximum<'a, T> {
    s: &'a PoolShape,
    rows: &'a [(usize, usize)],
    cols: &'a Taps,
    x: &'a [T],
    y: &'a mut [T],
    index: Option<&'a mut [u16]>,
}

impl<T: Real> LaneKernel for Maximum<'_, T> {
    #[inline(always)]
    fn run<const L: usize>(&mut self, channel: usize) {
        let s = self.s;
        for ox in 0..s.out_w {
            let cols = self.cols.of(ox);
            let first = match (self.rows.first(), cols.first()) {
                (Some((_, ky)), Some((_, kx))) => ky * s.kernel[1] + kx,
                _ => 0,
            };
            let mut best = [T::neg_infinity(); L];
            let mut winner = [first as u32; L];
            for &(iy, ky) in self.rows {
                for &(ix, kx) in cols {
                    let x: [T; L] = load(self.x, (iy * s.in_w + ix) * s.c + channel);
                    let tap = (ky * s.kernel[1] + kx) as u32;
                    for lane in 0..L {
                        let wins = x[lane] > best[lane] || x[lane].is_nan();
                        best[lane] = if wins { x[lane] } else { best[lane] };
                        winner[lane] = if wins { tap } else { winner[lane] };
                    }
                }
            }
            let at = ox * s.c + channel;
            self.y[at..at + L].copy_from_slice(&best);
            if let Some(index) = &mut self.index {
                let index = &mut index[at..at + L];
                for lane in 0..L {
                    index[lane] = winner[lane] as u16;
                }
            }
        }
    }
}

struct Won<'a, T> {
    s: &'a PoolShape,
    rows: &'a [(usize, usize)],
    cols: &'a Taps,
    index: &'a [u16],
    dy: &'a [T],
    dx: &'a mut [T],
    accumulate: bool,
}

impl<T: Real> LaneKernel for Won<'_, T> {
    #[inline(always)]
    fn run<const L: usize>(&mut self, channel: usize) {
        let s = self.s;
        for ix in 0..s.in_w {
            let dx = &mut self.dx[ix * s.c + channel..][..L];
            let mut sum = [T::zero(); L];
            if self.accumulate {
                sum.copy_from_slice(dx);
            }
            for &(oy, ky) in self.rows {
                for &(ox, kx) in self.cols.of(ix) {
                    let at = (oy * s.out_w + ox) * s.c + channel;
                    let (index, dy): ([u16; L], [T; L]) = (load(self.index, at), load(self.dy, at));
                    let tap = (ky * s.kernel[1] + kx) as u16;
                    for lane in 0..L {
                        sum[lane] += if index[lane] == tap {
                            dy[lane]
                        } else {
                            T::zero()
                        };
                    }
                }
            }
            dx.copy_from_slice(&sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    fn naive(s: &PoolShape, x: &[f64]) -> (Vec<f64>, Vec<u16>) {
        let mut y = vec![f64::NEG_INFINITY; s.output_len()];
        let mut index = vec![0; s.output_len()];
        s.for_pairs(|i, o, tap| {
            if x[i] > y[o] {
                (y[o], index[o]) = (x[i], tap as u16);
            }
        });
        (y, index)
    }

    #[test]
    fn maxima_and_their_gradients_are_those_of_the_naive_loop() {
        for (seed, s) in PoolShape::random(40).enumerate() {
            let seed = seed as u64;
            let x = random(seed, s.input_len());
            let dy = random(seed + 100, s.output_len());
            let before = random(seed + 200, s.input_len());
            let (y, winners) = naive(&s, &x);
            let mut dx = vec![0.0; s.input_len()];
            s.for_pairs(|i, o, tap| {
                dx[i] += if usize::from(winners[o]) == tap {
                    dy[o]
                } else {
                    0.0
                }
            });
            if s.input_len() < 1000 {
                is_gradient(&x, &dx, |x| dot(&dy, &naive(&s, x).0));
            }
            on_all!(|cx, T| {
                let (x, dy) = (cast::<T>(&x), cast::<T>(&dy));
                let mut actual = cast::<T>(&dy.iter().map(|d| d.to_f64()).collect::<Vec<_>>());
                let mut index = vec![9; s.output_len()];
                max_forward(&mut cx, &s, &x, &mut actual, Some(&mut index));
                close(&actual, &y);
                assert_eq!(index, winners);
                max_forward(&mut cx, &s, &x, &mut actual, None);
                close(&actual, &y);
                let mut actual = cast::<T>(&before);
                max_backward(&mut cx, &s, &index, &dy, &mut actual, true);
                close(
                    &actual,
                    &dx.iter()
                        .zip(&before)
                        .map(|(a, b)| a + b)
                        .collect::<Vec<_>>(),
                );
                max_backward(&mut cx, &s, &index, &dy, &mut actual, false);
                close(&actual, &dx);
            });
        }
    }

    #[test]
    fn ties_go_to_the_first_and_nan_wins() {
        let s = PoolShape {
            batch: 1,
            in_h: 1,
            in_w: 4,
            c: 1,
            out_h: 1,
            out_w: 2,
            kernel: [1, 2],
            stride: [1, 2],
            dilation: [1, 1],
            pads: [0; 4],
        };
        let mut cx = Context::<f32>::new(1).unwrap();
        let (mut y, mut index) = ([0.0; 2], [7; 2]);
        max_forward(
            &mut cx,
            &s,
            &[5.0, 5.0, f32::NAN, 1.0],
            &mut y,
            Some(&mut index),
        );
        assert!(y[0] == 5.0 && y[1].is_nan());
        assert_eq!(index, [0, 0]);
        max_forward(
            &mut cx,
            &s,
            &[f32::NEG_INFINITY; 4],
            &mut y,
            Some(&mut index),
        );
        assert_eq!((y, index), ([f32::NEG_INFINITY; 2], [0, 0]));
    }
}
