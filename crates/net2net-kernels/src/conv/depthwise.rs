//! Depthwise convolution: each channel by itself, vectorised over channels, with no columns.

use super::{ConvShape, Finish, rectified};
use crate::context::grown;
use crate::lanes::{LaneKernel, load, over_lanes, vectorized};
use crate::rows::{In, Out};
use crate::taps::Taps;
use crate::{Context, Real};

pub(super) fn forward<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    w: &[T],
    finish: Finish<'_, T>,
    y: &mut [T],
    accumulate: bool,
) {
    let (rows, cols) = (s.rows().inputs_of_outputs(), s.cols().inputs_of_outputs());
    gather(cx, s, &rows, &cols, x, w, finish, y, accumulate);
}

pub(super) fn backward_data<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    let (rows, cols) = (s.rows().outputs_of_inputs(), s.cols().outputs_of_inputs());
    let finish = Finish::default();
    gather(cx, s, &rows, &cols, dy, w, finish, dx, accumulate);
}

/// Leaves partial weight gradients in the scratch buffers, and says in how many.
pub(super) fn backward_weight<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    dy: &[T],
) -> usize {
    let rows = s.rows().inputs_of_outputs();
    let row_len = s.out_w * s.out_c;
    let work = row_len * s.kernel[0] * s.kernel[1];
    let parts = cx.for_rows(
        s.batch * s.out_h,
        work,
        In(dy, row_len),
        |range, In(dy, _), scratch| {
            let dw = grown(scratch, s.filter_len());
            dw.fill(T::zero());
            vectorized(
                #[inline(always)]
                || {
                    for (i, row) in range.enumerate() {
                        let (image, oy) = (row / s.out_h, row % s.out_h);
                        let dy = &dy[i * row_len..][..row_len];
                        for &(iy, ky) in rows.of(oy) {
                            let x =
                                &x[(image * s.in_h + iy) * s.in_w * s.in_c..][..s.in_w * s.in_c];
                            let dw = &mut dw[ky * s.kernel[1] * s.out_c..];
                            over_lanes(s.out_c, &mut Weight { s, x, dy, dw });
                        }
                    }
                },
            );
        },
    );
    parts.len()
}

/// `dst[p] = finish((dst[p] +) Σ src[q] · w[tap])` over the pairs `(q, tap)` that each pixel `p` meets.
fn gather<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    rows: &Taps,
    cols: &Taps,
    src: &[T],
    w: &[T],
    finish: Finish<'_, T>,
    dst: &mut [T],
    accumulate: bool,
) {
    let c = s.out_c;
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
                        let src = &src[row / rows.len() * src_image..][..src_image];
                        let dst = &mut dst[i * row_len..][..row_len];
                        let rows = rows.of(row % rows.len());
                        let kernel_w = s.kernel[1];
                        let mut kernel = Gather {
                            c,
                            kernel_w,
                            rows,
                            cols,
                            src,
                            w,
                            finish,
                            dst,
                            accumulate,
                        };
                        over_lanes(c, &mut kernel);
                    }
                },
            );
        },
    );
}

struct Gather<'a, T> {
    c: usize,
    kernel_w: usize,
    rows: &'a [(usize, usize)],
    cols: &'a Taps,
    src: &'a [T],
    w: &'a [T],
    finish: Finish<'a, T>,
    dst: &'a mut [T],
    accumulate: bool,
}

impl<T: Real> LaneKernel for Gather<'_, T> {
    #[inline(always)]
    fn run<const L: usize>(&mut self, channel: usize) {
        let finish = self.finish;
        for p in 0..self.cols.len() {
            let dst = &mut self.dst[p * self.c + channel..][..L];
            let mut sum = [T::zero(); L];
            if self.accumulate {
                sum.copy_from_slice(dst);
            }
            for &(qy, ky) in self.rows {
                for &(qx, kx) in self.cols.of(p) {
                    let pixel = qy * self.cols.other_len() + qx;
                    let src: [T; L] = load(self.src, pixel * self.c + channel);
                    let tap = ky * self.kernel_w + kx;
                    let w: [T; L] = load(self.w, tap * self.c + channel);
                    for lane in 0..L {
                        sum[lane] += src[lane] * w[lane];
                    }
                }
            }
            dst.copy_from_slice(&finished(&finish, sum, channel));
        }
    }
}

#[inline(always)]
fn finished<T: Real, const L: usize>(
    finish: &Finish<'_, T>,
    mut sum: [T; L],
    channel: usize,
) -> [T; L] {
    if let Some(scale) = finish.scale {
        let scale: [T; L] = load(scale, channel);
        for lane in 0..L {
            sum[lane] *= scale[lane];
        }
    }
    if let Some(shift) = finish.shift {
        let shift: [T; L] = load(shift, channel);
        for lane in 0..L {
            sum[lane] += shift[lane];
        }
    }
    if finish.rectified {
        sum = sum.map(
            #[inline(always)]
            |y| rectified(y),
        );
    }
    sum
}

/// Weight gradients of one row of taps from one row of output pixels.
struct Weight<'a, T> {
    s: &'a ConvShape,
    x: &'a [T],
    dy: &'a [T],
    dw: &'a mut [T],
}

impl<T: Real> LaneKernel for Weight<'_, T> {
    #[inline(always)]
    fn run<const L: usize>(&mut self, channel: usize) {
        let c = self.s.out_c;
        let axis = self.s.cols();
        for kx in 0..self.s.kernel[1] {
            let mut sum = [T::zero(); L];
            for ox in 0..self.s.out_w {
                let Some(ix) = axis.meets(ox, kx) else {
                    continue;
                };
                let x: [T; L] = load(self.x, ix * c + channel);
                let dy: [T; L] = load(self.dy, ox * c + channel);
                for lane in 0..L {
                    sum[lane] += x[lane] * dy[lane];
                }
            }
            let dw = &mut self.dw[kx * c + channel..][..L];
            for lane in 0..L {
                dw[lane] += sum[lane];
            }
        }
    }
}
