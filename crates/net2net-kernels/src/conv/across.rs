//! Direct convolution with windows three pixels wide and one apart, by rows of outputs: each input that is
//! read is multiplied for the three outputs whose windows it is in. Where registers hold three filters beside the sums,
//! that takes a third of the reads.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::direct::{self, lanes_and_registers, pack, panels, side_by_side, width};
use super::tiles::{self, WIDTH_MAX};
use super::{ConvShape, Finish};
use crate::vectors::lanes;
use crate::{Context, Real};

/// The taps across.
const ACROSS: usize = 3;
/// How many outputs side by side have their sums in registers.
const OUTPUTS: usize = 8;
/// How many inputs side by side they see.
const SEEN: usize = OUTPUTS + ACROSS - 1;
/// The fewest channels that come in: so many have their weights' gradients in registers.
const CHANNELS_MIN: usize = 8;
/// Elements of inputs and outputs in a block of a weight gradient, which reads them again for each few channels.
const WEIGHT_BLOCK_ELEMENTS: usize = 8 * 1024;

/// Whether a convolution is one for this module.
pub(super) fn suits<T: Real>(s: &ConvShape) -> bool {
    let (_, registers) = lanes_and_registers::<T>();
    registers >= 32
        && direct::suits(s)
        && (s.kernel[1], s.stride[1], s.dilation[1]) == (ACROSS, 1, 1)
        && fills(s.out_w, OUTPUTS)
        && fills(s.in_c, CHANNELS_MIN)
        && s.filter_len() / s.out_c * WIDTH_MAX <= direct::PANEL_ELEMENTS
}

/// Whether so many in groups of `group` are at least a group, and make hardly more work than there is.
fn fills(count: usize, group: usize) -> bool {
    count >= group && 7 * count.next_multiple_of(group) <= 8 * count
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
    let windows = direct::windows(s);
    let (runs, run_len) = windows.runs();
    // Taps across lie side by side for each channel that comes in.
    let filters = (0..s.filter_len() / s.out_c).map(|row| {
        let (run, within) = (row / run_len, row % run_len);
        let tap = run * run_len + within % ACROSS * s.in_c + within / ACROSS;
        &w[tap * s.out_c..][..s.out_c]
    });
    let mut panels = cx.take_panels();
    pack(filters, s.out_c, &finish, &mut panels);
    let work = direct::work_per_row(s);
    windows.outputs(cx, work, x, finish.residual, y, |x, places, y| {
        Arch::new().dispatch(Forward {
            s,
            x,
            places,
            runs: &runs,
            panels: &panels,
            y,
            add: accumulate || finish.residual.is_some(),
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
    let windows = direct::weight_windows(s, WEIGHT_BLOCK_ELEMENTS);
    let (runs, _) = windows.runs();
    let rows = windows.largest_block() / s.out_w;
    let (work, room) = (direct::work_per_row(s), rows * padded(s) * WIDTH_MAX);
    windows.filter_gradients(cx, work, x, dy, room, |x, places, dy, panel, partial| {
        Arch::new().dispatch(Weight {
            s,
            x,
            places,
            runs: &runs,
            dy,
            panel,
            partial,
        });
    })
}

/// The pixels of a row of outputs with zeros before and behind it.
fn padded(s: &ConvShape) -> usize {
    s.out_w + 2 * (ACROSS - 1)
}

/// The outputs of one block.
struct Forward<'a, T> {
    s: &'a ConvShape,
    x: &'a [T],
    places: &'a [usize],
    runs: &'a [usize],
    panels: &'a [T],
    y: &'a mut [T],
    add: bool,
    rectified: bool,
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if S::REGISTER_COUNT < 32 {
            // So that no code is made for it.
            unreachable!("for 32 registers and more");
        }
        let lanes = lanes::<T, S>();
        let mut at = 0;
        for panel in panels(self.s.out_c, lanes) {
            let width = width(&panel, lanes);
            let len = (self.s.filter_len() / self.s.out_c + 1) * width;
            let filters = T::read::<S>(&self.panels[at..at + len]);
            at += len;
            if width > lanes {
                self.panel::<S, 2>(simd, &panel, filters.as_chunks().0);
            } else {
                self.panel::<S, 1>(simd, &panel, filters.as_chunks().0);
            }
        }
    }
}

impl<T: Real> Forward<'_, T> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        panel: &Range<usize>,
        filters: &[[T::Vector<S>; V]],
    ) {
        let (start, filters) = (filters[0], &filters[1..]);
        let (out_w, out_c) = (self.s.out_w, self.s.out_c);
        for (row, places) in self.places.chunks_exact(out_w).enumerate() {
            for wanted in (0..out_w).step_by(OUTPUTS) {
                // The last ones of a row are done again, and not written.
                let first = wanted.min(out_w - OUTPUTS);
                let sums = self.outputs::<S, V>(simd, places[first], filters, start);
                for p in 0..OUTPUTS {
                    if first + p >= wanted {
                        let at = (row * out_w + first + p) * out_c;
                        let y = &mut self.y[at + panel.start..at + panel.end];
                        tiles::store::<T, S, V>(simd, sums[p], y, self.add, self.rectified);
                    }
                }
            }
        }
    }

    /// Outputs side by side, of which the first finds its window at `at`.
    #[inline(always)]
    fn outputs<S: Simd, const V: usize>(
        &self,
        simd: S,
        at: usize,
        filters: &[[T::Vector<S>; V]],
        start: [T::Vector<S>; V],
    ) -> [[T::Vector<S>; V]; OUTPUTS] {
        let in_c = self.s.in_c;
        let mut sums = [start; OUTPUTS];
        for (run, filters) in self.runs.iter().zip(filters.chunks_exact(ACROSS * in_c)) {
            let row = &self.x[at + run..][..SEEN * in_c];
            let mut pixels = [row; SEEN];
            for j in 0..SEEN {
                pixels[j] = &row[j * in_c..][..in_c];
            }
            let filters = &filters.as_chunks::<ACROSS>().0[..in_c];
            for (i, filters) in filters.iter().enumerate() {
                let filters = *filters;
                for j in 0..SEEN {
                    let x = T::splat(simd, pixels[j][i]);
                    for tap in 0..ACROSS {
                        if j >= tap && j - tap < OUTPUTS {
                            for v in 0..V {
                                let sum = &mut sums[j - tap][v];
                                *sum = T::fused(simd, x, filters[tap][v], *sum);
                            }
                        }
                    }
                }
            }
        }
        sums
    }
}

/// What one block adds to the gradient of the filter.
struct Weight<'a, T> {
    s: &'a ConvShape,
    x: &'a [T],
    places: &'a [usize],
    runs: &'a [usize],
    dy: &'a [T],
    /// Room for the channels of one panel side by side, and zeros around rows.
    panel: &'a mut [T],
    partial: &'a mut [T],
}

impl<T: Real> WithSimd for Weight<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if S::REGISTER_COUNT < 32 {
            unreachable!("for 32 registers and more");
        }
        let (lanes, s) = (lanes::<T, S>(), self.s);
        for panel in panels(s.out_c, lanes) {
            let width = width(&panel, lanes);
            let rows = self.panel.chunks_exact_mut(padded(s) * width);
            for (row, dy) in rows.zip(self.dy.chunks_exact(s.out_w * s.out_c)) {
                let (before, row) = row.split_at_mut((ACROSS - 1) * width);
                let (row, after) = row.split_at_mut(s.out_w * width);
                before.fill(T::zero());
                side_by_side(dy, s.out_c, &panel, width, row);
                after.fill(T::zero());
            }
            if width > lanes {
                self.panel::<S, { CHANNELS_MIN / 2 }, 2>(simd, &panel);
            } else {
                self.panel::<S, CHANNELS_MIN, 1>(simd, &panel);
            }
        }
    }
}

impl<T: Real> Weight<'_, T> {
    /// `C` channels that come in at once.
    #[inline(always)]
    fn panel<S: Simd, const C: usize, const V: usize>(&mut self, simd: S, panel: &Range<usize>) {
        let (in_c, out_c) = (self.s.in_c, self.s.out_c);
        let mut sums = [[[T::splat(simd, T::zero()); V]; C]; ACROSS];
        for (i, run) in self.runs.iter().enumerate() {
            for wanted in (0..in_c).step_by(C) {
                // The last channels are done again, and not added.
                let first = wanted.min(in_c - C);
                self.slopes::<S, C, V>(simd, run + first, &mut sums);
                for (tap, sums) in sums.iter().enumerate() {
                    for c in 0..C {
                        if first + c >= wanted {
                            let row = ((i * ACROSS + tap) * in_c + first + c) * out_c;
                            let dw = &mut self.partial[row + panel.start..row + panel.end];
                            tiles::store::<T, S, V>(simd, sums[c], dw, true, false);
                        }
                    }
                }
            }
        }
    }

    /// The gradients of the taps across of `C` channels, of which the first lies at `at` in a window.
    #[inline(always)]
    fn slopes<S: Simd, const C: usize, const V: usize>(
        &self,
        simd: S,
        at: usize,
        to: &mut [[[T::Vector<S>; V]; C]; ACROSS],
    ) {
        let (dy, _) = T::read::<S>(self.panel).as_chunks::<V>();
        let mut sums = [[[T::splat(simd, T::zero()); V]; C]; ACROSS];
        let rows = self.places.chunks_exact(self.s.out_w);
        for (places, dy) in rows.zip(dy.chunks_exact(padded(self.s))) {
            let row = &self.x[places[0] + at..];
            for (pixel, dy) in dy.windows(ACROSS).enumerate() {
                let x = &row[pixel * self.s.in_c..][..C];
                for c in 0..C {
                    let x = T::splat(simd, x[c]);
                    for tap in 0..ACROSS {
                        for v in 0..V {
                            let dy = dy[ACROSS - 1 - tap][v];
                            sums[tap][c][v] = T::fused(simd, x, dy, sums[tap][c][v]);
                        }
                    }
                }
            }
        }
        // Whoever takes them from here one by one would keep them out of registers all the time.
        *to = sums;
    }
}
