//! Depthwise convolution by tiles in registers, for channels that come in whole vectors.

use pulp::{Arch, Simd, WithSimd};

use super::direct::{lanes_and_registers, pack, panels, width};
use super::tiles::{self, with_height};
use super::window::Windows;
use super::{ConvShape, Finish};
use crate::vectors::lanes;
use crate::{Context, Real};

/// Elements of inputs and outputs in a block: few enough for a core's own caches, and so many that the rows which
/// two blocks see are few.
const BLOCK_ELEMENTS: usize = 32 * 1024;
/// Taps whose sums are in registers at once: a window of 3×3.
const TAPS: usize = 9;

/// Whether a convolution is one for this module.
pub(super) fn suits<T: Real>(s: &ConvShape) -> bool {
    s.is_depthwise() && s.in_c.is_multiple_of(lanes_and_registers::<T>().0) && s.out_h * s.out_w > 0
}

fn windows(s: &ConvShape) -> Windows {
    let pixel = s.in_c * (s.stride[0] * s.stride[1] + 1);
    Windows::new(s, BLOCK_ELEMENTS / pixel)
}

fn work_per_row(s: &ConvShape) -> usize {
    s.out_w * s.out_c * s.kernel[0] * s.kernel[1] / 4
}

/// `y = finish(x ∗ w)`, or `y = finish(y + x ∗ w)`.
pub(super) fn forward<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    w: &[T],
    finish: Finish<'_, T>,
    y: &mut [T],
    accumulate: bool,
) {
    let windows = windows(s);
    let taps = windows.corners();
    let mut panels = cx.take_panels();
    let filters = w.chunks_exact(s.out_c);
    pack(filters, s.out_c, &finish, &mut panels);
    let work = work_per_row(s);
    windows.outputs(cx, work, x, None, y, |x, places, y| {
        Arch::new().dispatch(Forward {
            x,
            places,
            taps: &taps,
            panels: &panels,
            c: s.out_c,
            y,
            accumulate,
            rectified: finish.rectified,
        });
    });
    cx.put_panels(panels);
}

/// Leaves partial weight gradients in the scratch buffers, and says in how many.
pub(super) fn backward_weight<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    dy: &[T],
) -> usize {
    let windows = windows(s);
    let taps = windows.corners();
    let work = work_per_row(s);
    windows.filter_gradients(cx, work, x, dy, 0, |x, places, dy, _, partial| {
        Arch::new().dispatch(Weight {
            x,
            places,
            taps: &taps,
            dy,
            c: s.out_c,
            partial,
        });
    })
}

/// The outputs of one block.
struct Forward<'a, T> {
    x: &'a [T],
    places: &'a [usize],
    taps: &'a [usize],
    panels: &'a [T],
    c: usize,
    y: &'a mut [T],
    accumulate: bool,
    rectified: bool,
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = lanes::<T, S>();
        let mut at = 0;
        for panel in panels(self.c, lanes) {
            let len = (self.taps.len() + 1) * width(&panel, lanes);
            let filters = T::read::<S>(&self.panels[at..at + len]);
            at += len;
            if panel.len() > lanes {
                self.panel::<S, 2>(simd, panel.start, filters.as_chunks::<2>().0);
            } else {
                self.panel::<S, 1>(simd, panel.start, filters.as_chunks::<1>().0);
            }
        }
    }
}

impl<T: Real> Forward<'_, T> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        channel: usize,
        filters: &[[T::Vector<S>; V]],
    ) {
        let (start, filters) = (filters[0], &filters[1..]);
        let width = V * lanes::<T, S>();
        let reach = self
            .taps
            .iter()
            .fold(0, |reach, tap| reach.max(tap + width));
        with_height!(S, P => {
            for (tile, places) in self.places.chunks(P).enumerate() {
                let mut at = [places[0] + channel; P];
                for (at, place) in at.iter_mut().zip(places) {
                    *at = place + channel;
                }
                let sums = tiles::channels_of_pixels::<T, S, P, V>(
                    simd, self.x, at, self.taps, reach, filters, start,
                );
                for p in 0..P {
                    if p < places.len() {
                        let y = &mut self.y[(tile * P + p) * self.c + channel..][..width];
                        tiles::store::<T, S, V>(simd, sums[p], y, self.accumulate, self.rectified);
                    }
                }
            }
        });
    }
}

/// What one block adds to the gradient of the filter.
struct Weight<'a, T> {
    x: &'a [T],
    places: &'a [usize],
    taps: &'a [usize],
    dy: &'a [T],
    c: usize,
    partial: &'a mut [T],
}

impl<T: Real> WithSimd for Weight<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = lanes::<T, S>();
        for channel in (0..self.c).step_by(lanes) {
            for (tile, taps) in self.taps.chunks(TAPS).enumerate() {
                let mut at = [taps[0]; TAPS];
                at[..taps.len()].copy_from_slice(taps);
                let sums = tiles::channels_of_taps::<T, S, TAPS>(
                    simd,
                    self.x,
                    self.places,
                    at,
                    self.dy,
                    self.c,
                    channel,
                );
                for p in 0..TAPS {
                    if p < taps.len() {
                        let dw = &mut self.partial[(tile * TAPS + p) * self.c + channel..][..lanes];
                        tiles::store::<T, S, 1>(simd, [sums[p]], dw, true, false);
                    }
                }
            }
        }
    }
}
