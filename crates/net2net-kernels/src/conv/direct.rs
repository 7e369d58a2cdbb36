//! Convolution without groups straight from the images: no columns are made, and of the inputs
//! only what needs zeros around it is copied, once.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::tiles::{self, WIDTH_MAX, with_height};
use super::window::Windows;
use super::{ConvShape, Finish};
use crate::context::grown;
use crate::vectors::lanes;
use crate::{Context, Real};

/// Elements of inputs and outputs in a block: they should stay in a core's L2 cache.
const BLOCK_ELEMENTS: usize = 32 * 1024;
/// The same for weight gradients, which read them once for every few taps: nearer to L1.
const WEIGHT_BLOCK_ELEMENTS: usize = 16 * 1024;
/// The fewest pixels of a block: enough to pay for the filters that each block reads.
const BLOCK_PIXELS_MIN: usize = 48;
/// Elements of a panel of filters that is read again for each tile.
pub(super) const PANEL_ELEMENTS: usize = 48 * 1024;

/// With so many channels on both sides, a convolution that is a matrix product is left to one:
/// products have tiles of their own for each processor, and arrange both factors for the caches.
const PRODUCT_CHANNELS_MIN: usize = 64;

/// Whether a convolution is one for this module: no groups, no mere product of many channels, and neither so few channels nor so
/// few pixels that most of a tile would be empty.
pub(super) fn suits(s: &ConvShape) -> bool {
    let product = s.is_pointwise() && s.in_c.min(s.out_c) >= PRODUCT_CHANNELS_MIN;
    s.groups == 1
        && !product
        && s.out_c >= 4
        && s.batch * s.out_h * s.out_w >= 8
        && s.kernel[0] * s.kernel[1] * s.in_c > 0
}

/// Whether weight gradients suit it too: a tile takes taps that lie side by side.
pub(super) fn suits_weight(s: &ConvShape) -> bool {
    let side_by_side = if s.dilation[1] == 1 { s.kernel[1] } else { 1 };
    suits(s) && side_by_side * s.in_c >= tiles::HEIGHT_MAX
}

fn pixels_of_block(s: &ConvShape, elements: usize) -> usize {
    (elements / (s.in_c * s.stride[0] * s.stride[1] + s.out_c)).max(BLOCK_PIXELS_MIN)
}

/// The windows of a forward pass.
pub(super) fn windows(s: &ConvShape) -> Windows {
    Windows::new(s, pixels_of_block(s, BLOCK_ELEMENTS))
}

/// The windows of a weight gradient, in blocks of about so many elements.
pub(super) fn weight_windows(s: &ConvShape, elements: usize) -> Windows {
    Windows::new(s, pixels_of_block(s, elements))
}

/// Roughly how many elements of memory traffic the products of one output row are worth.
pub(super) fn work_per_row(s: &ConvShape) -> usize {
    s.out_w * (s.kernel[0] * s.kernel[1] * s.in_c * s.out_c / 16 + s.out_c)
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
    let taps = windows.taps();
    let mut panels = cx.take_panels();
    pack(w.chunks_exact(s.out_c), s.out_c, &finish, &mut panels);
    let work = work_per_row(s);
    windows.outputs(cx, work, x, finish.residual, y, |x, places, y| {
        Arch::new().dispatch(Forward {
            x,
            places,
            taps: &taps,
            panels: &panels,
            out_c: s.out_c,
            y,
            accumulate: accumulate || finish.residual.is_some(),
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
    let windows = weight_windows(s, WEIGHT_BLOCK_ELEMENTS);
    let (runs, run_len) = windows.runs();
    let (work, room) = (work_per_row(s), windows.largest_block() * WIDTH_MAX);
    windows.filter_gradients(cx, work, x, dy, room, |x, places, dy, panel, partial| {
        Arch::new().dispatch(Weight {
            x,
            places,
            runs: &runs,
            run_len,
            dy,
            out_c: s.out_c,
            panel,
            partial,
        });
    })
}

/// Output channels in panels of two vectors; the last one has one vector if that is enough.
pub(super) fn panels(out_c: usize, lanes: usize) -> impl Iterator<Item = Range<usize>> {
    (0..out_c)
        .step_by(2 * lanes)
        .map(move |first| first..out_c.min(first + 2 * lanes))
}

/// The width at which a panel is stored.
pub(super) fn width(panel: &Range<usize>, lanes: usize) -> usize {
    if panel.len() > lanes {
        2 * lanes
    } else {
        lanes
    }
}

/// Stores filters panel by panel, each with the channels of a tap side by side, and zeros where
/// there are fewer than a panel is wide. The shift, with which sums start, lies before each panel.
pub(super) fn pack<'w, T: Real>(
    filters: impl ExactSizeIterator<Item = &'w [T]> + Clone,
    out_c: usize,
    finish: &Finish<'_, T>,
    packed: &mut Vec<T>,
) {
    let taps = filters.len();
    let (lanes, _) = lanes_and_registers::<T>();
    let all = panels(out_c, lanes)
        .map(|panel| width(&panel, lanes))
        .sum::<usize>();
    let mut rest = grown(packed, (taps + 1) * all);
    for panel in panels(out_c, lanes) {
        let width = width(&panel, lanes);
        let (mine, others) = rest.split_at_mut((taps + 1) * width);
        let own = |row: &mut [T], from: &[T]| {
            let (filters, zeros) = row.split_at_mut(panel.len());
            filters.copy_from_slice(&from[panel.clone()]);
            zeros.fill(T::zero());
        };
        let (first, rows) = mine.split_at_mut(width);
        match finish.shift {
            Some(shift) => own(first, shift),
            None => first.fill(T::zero()),
        }
        for (row, w) in rows.chunks_exact_mut(width).zip(filters.clone()) {
            own(row, w);
            if let Some(scale) = finish.scale {
                let scale = &scale[panel.clone()];
                row.iter_mut().zip(scale).for_each(|(w, s)| *w *= *s);
            }
        }
        rest = others;
    }
}

/// How many numbers a vector of this machine holds, and how many vectors its registers.
pub(super) fn lanes_and_registers<T: Real>() -> (usize, usize) {
    struct Ask<T>(std::marker::PhantomData<T>);

    impl<T: Real> WithSimd for Ask<T> {
        type Output = (usize, usize);

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
            (lanes::<T, S>(), S::REGISTER_COUNT)
        }
    }

    Arch::new().dispatch(Ask(std::marker::PhantomData::<T>))
}

/// The outputs of one block.
struct Forward<'a, T> {
    x: &'a [T],
    places: &'a [usize],
    taps: &'a [usize],
    panels: &'a [T],
    out_c: usize,
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
        for panel in panels(self.out_c, lanes) {
            let width = width(&panel, lanes);
            let len = (self.taps.len() + 1) * width;
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
        let (first, filters) = (filters[0], &filters[1..]);
        // Long windows in parts, so that the filters of a part stay in the cache.
        let most = PANEL_ELEMENTS / (V * lanes::<T, S>());
        let parts = self.taps.chunks(most).zip(filters.chunks(most));
        let last = self.taps.len().div_ceil(most) - 1;
        for (part, (taps, filters)) in parts.enumerate() {
            let start = match part {
                0 => first,
                _ => [T::splat(simd, T::zero()); V],
            };
            let add = self.accumulate || part > 0;
            self.part::<S, V>(simd, panel, taps, filters, start, add, part == last);
        }
    }

    /// A part of the taps.
    #[inline(always)]
    fn part<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        panel: &Range<usize>,
        taps: &[usize],
        filters: &[[T::Vector<S>; V]],
        start: [T::Vector<S>; V],
        add: bool,
        last: bool,
    ) {
        let reach = taps.iter().fold(0, |reach, tap| reach.max(tap + 1));
        let rectify = self.rectified && last;
        with_height!(S, P => {
            for (tile, places) in self.places.chunks(P).enumerate() {
                let mut at = [places[0]; P];
                at[..places.len()].copy_from_slice(places);
                let sums =
                    tiles::pixels::<T, S, P, V>(simd, self.x, at, taps, reach, filters, start);
                for p in 0..P {
                    if p < places.len() {
                        let at = (tile * P + p) * self.out_c;
                        let y = &mut self.y[at + panel.start..at + panel.end];
                        tiles::store::<T, S, V>(simd, sums[p], y, add, rectify);
                    }
                }
            }
        });
    }
}

/// Copies the channels of one panel of each pixel side by side, with zeros behind them up to `width`.
pub(super) fn side_by_side<T: Real>(
    pixels: &[T],
    c: usize,
    panel: &Range<usize>,
    width: usize,
    to: &mut [T],
) {
    if panel.len() == c && c == width {
        to[..pixels.len()].copy_from_slice(pixels);
        return;
    }
    for (row, pixel) in to.chunks_exact_mut(width).zip(pixels.chunks_exact(c)) {
        let (channels, zeros) = row.split_at_mut(panel.len());
        channels.copy_from_slice(&pixel[panel.clone()]);
        zeros.fill(T::zero());
    }
}

/// What one block adds to the gradient of the filter.
struct Weight<'a, T> {
    x: &'a [T],
    places: &'a [usize],
    runs: &'a [usize],
    run_len: usize,
    dy: &'a [T],
    out_c: usize,
    /// Room for the channels of one panel side by side.
    panel: &'a mut [T],
    partial: &'a mut [T],
}

impl<T: Real> WithSimd for Weight<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = lanes::<T, S>();
        for panel in panels(self.out_c, lanes) {
            let width = width(&panel, lanes);
            side_by_side(self.dy, self.out_c, &panel, width, self.panel);
            if width > lanes {
                self.run::<S, 2>(simd, panel);
            } else {
                self.run::<S, 1>(simd, panel);
            }
        }
    }
}

impl<T: Real> Weight<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(&mut self, simd: S, panel: Range<usize>) {
        // Taps share a pointer, so that with one vector there may be registers for twice as many. The last
        // tile does some taps again: not where smaller tiles do fewer.
        let fits = self.run_len >= 16 && self.run_len.div_ceil(8) == 2 * self.run_len.div_ceil(16);
        if V == 1 && S::REGISTER_COUNT >= 32 && fits {
            self.tiles::<S, 16, V>(simd, panel);
        } else {
            with_height!(S, P => self.tiles::<S, P, V>(simd, panel));
        }
    }

    #[inline(always)]
    fn tiles<S: Simd, const P: usize, const V: usize>(&mut self, simd: S, panel: Range<usize>) {
        let (dy, _) = T::read::<S>(self.panel).as_chunks::<V>();
        for (i, run) in self.runs.iter().enumerate() {
            for wanted in (0..self.run_len).step_by(P) {
                // The last tile of a run does some taps again, and does not add them.
                let first = wanted.min(self.run_len - P);
                let sums = tiles::taps::<T, S, P, V>(simd, self.x, self.places, run + first, dy);
                for p in 0..P {
                    if first + p >= wanted {
                        let start = (i * self.run_len + first + p) * self.out_c;
                        let dw = &mut self.partial[start + panel.start..start + panel.end];
                        tiles::store::<T, S, V>(simd, sums[p], dw, true, false);
                    }
                }
            }
        }
    }
}
