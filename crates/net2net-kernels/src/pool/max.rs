//! Max pooling, and its gradient through the remembered winner of each window.

use pulp::{Arch, Simd, WithSimd};

use super::PoolShape;
use crate::lanes::{LaneKernel, load, over_lanes, vectorized};
use crate::rows::Out;
use crate::taps::Taps;
use crate::vectors::lanes;
use crate::{Context, Real};

/// The fewest channels with which asking costs less than sending where windows overlap.
const ASKING_CHANNELS_MIN: usize = 16;

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
            for (i, row) in range.enumerate() {
                let image = s.in_h * s.in_w * s.c;
                let index = index.as_mut();
                Arch::new().dispatch(Maximum {
                    s,
                    rows: rows.of(row % s.out_h),
                    cols: &cols,
                    x: &x[row / s.out_h * image..][..image],
                    y: &mut y[i * row_len..][..row_len],
                    index: index.map(|index| &mut index.0[i * row_len..][..row_len]),
                });
            }
        },
    );
}

/// The gradient of [`max_forward`]: each window's `dy` goes to its winner.
///
/// # Panics
/// If a slice has not the length that `s` says. With an index that is not one of [`max_forward`]'s, `dx` means
/// nothing, or this panics.
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
    let disjoint = (0..2).all(|axis| s.stride[axis] >= s.kernel[axis]);
    // With one window for each input both ways give the same bits, so that this may depend on the threads.
    let sends = match disjoint {
        true => s.batch >= cx.threads(),
        false => s.c < ASKING_CHANNELS_MIN,
    };
    if sends && s.dilation == [1; 2] {
        send(cx, s, index, dy, dx, accumulate);
    } else {
        ask(cx, s, index, dy, dx, accumulate);
    }
}

/// From the side of the windows, image by image: one addition for each.
fn send<T: Real>(
    cx: &mut Context<T>,
    s: &PoolShape,
    index: &[u16],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    let (input_len, output_len) = (s.in_h * s.in_w * s.c, s.out_h * s.out_w * s.c);
    let (rows, cols) = (s.rows().inputs_of_outputs(), s.cols().inputs_of_outputs());
    let corner = |out: usize, axis: usize| (out * s.stride[axis]).wrapping_sub(s.pads[axis]);
    // Where a window's taps lie, seen from its first; that one may lie outside of the image.
    let taps: Vec<usize> = (0..s.kernel[0] * s.kernel[1])
        .map(|tap| {
            let (ky, kx) = (tap / s.kernel[1], tap % s.kernel[1]);
            (ky * s.in_w + kx) * s.c
        })
        .collect();
    let work = input_len + 8 * output_len;
    cx.for_rows(s.batch, work, Out(dx, input_len), |range, Out(dx, _), _| {
        if !accumulate {
            dx.fill(T::zero());
        }
        for (image, dx) in range.zip(dx.chunks_exact_mut(input_len.max(1))) {
            let windows = image * output_len..(image + 1) * output_len;
            let pixels = index[windows.clone()].chunks_exact(s.c.max(1));
            let pixels = pixels.zip(dy[windows].chunks_exact(s.c.max(1)));
            for (pixel, (index, dy)) in pixels.enumerate() {
                let (oy, ox) = (pixel / s.out_w, pixel % s.out_w);
                if rows.of(oy).is_empty() || cols.of(ox).is_empty() {
                    // It sees nothing of the image.
                    continue;
                }
                let first = corner(oy, 0)
                    .wrapping_mul(s.in_w)
                    .wrapping_add(corner(ox, 1));
                let first = first.wrapping_mul(s.c);
                for (channel, (tap, dy)) in index.iter().zip(dy).enumerate() {
                    dx[first.wrapping_add(taps[usize::from(*tap)] + channel)] += *dy;
                }
            }
        }
    });
}

/// From the side of the inputs, by vectors of channels: each asks all windows that it is in whether it won.
fn ask<T: Real>(
    cx: &mut Context<T>,
    s: &PoolShape,
    index: &[u16],
    dy: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
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

impl<T: Real> WithSimd for Maximum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (c, lanes) = (self.s.c, lanes::<T, S>());
        let mut channel = 0;
        while channel + 4 * lanes <= c {
            self.run::<S, 4, true>(simd, channel);
            channel += 4 * lanes;
        }
        while channel + lanes <= c {
            self.run::<S, 1, true>(simd, channel);
            channel += lanes;
        }
        if channel < c {
            self.run::<S, 1, false>(simd, channel);
        }
    }
}

impl<T: Real> Maximum<'_, T> {
    /// `V` vectors of channels of all output pixels; if it is not `WHOLE`, as many as there are. Winners are numbers of
    /// the type that is compared, so that one mask chooses both.
    #[inline(always)]
    fn run<S: Simd, const V: usize, const WHOLE: bool>(&mut self, simd: S, channel: usize) {
        let s = self.s;
        let width = match WHOLE {
            true => V * lanes::<T, S>(),
            false => s.c - channel,
        };
        let tap_of = |ky: usize, kx: usize| T::from_f64((ky * s.kernel[1] + kx) as f64);
        for ox in 0..s.out_w {
            let cols = self.cols.of(ox);
            let first = match (self.rows.first(), cols.first()) {
                (Some((_, ky)), Some((_, kx))) => tap_of(*ky, *kx),
                _ => T::zero(),
            };
            let start = [T::neg_infinity(), first].map(
                #[inline(always)]
                |x| T::splat(simd, x),
            );
            let mut best = [start; V];
            for &(iy, ky) in self.rows {
                for &(ix, kx) in cols {
                    let x = &self.x[(iy * s.in_w + ix) * s.c + channel..];
                    let tap = T::splat(simd, tap_of(ky, kx));
                    if WHOLE {
                        let x = T::read::<S>(&x[..width]);
                        for v in 0..V {
                            best[v] = T::larger(simd, [x[v], tap], best[v]);
                        }
                    } else {
                        // What is read behind the last channel is not written.
                        best[0] = T::larger(simd, [T::some(simd, x), tap], best[0]);
                    }
                }
            }
            let at = ox * s.c + channel;
            let y = &mut self.y[at..][..width];
            if WHOLE {
                let y = T::write::<S>(y);
                for v in 0..V {
                    y[v] = best[v][0];
                }
            } else {
                T::put(simd, y, best[0][0]);
            }
            if let Some(index) = &mut self.index {
                // Four of the widest vectors there are.
                let mut taps = [T::zero(); 64];
                let vectors = T::write::<S>(&mut taps);
                for v in 0..V {
                    vectors[v] = best[v][1];
                }
                for (index, tap) in index[at..][..width].iter_mut().zip(taps) {
                    *index = tap.whole();
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
