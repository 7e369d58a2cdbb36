//! Convolution by 3×3 filters at stride 1 with fewer products: Winograd's minimal filtering
//! F(2×2, 3×3), after Lavin & Gray, *Fast Algorithms for Convolutional Neural Networks* (2016).
//!
//! A tile of 4×4 inputs, which overlaps its neighbours by two, and each filter are transformed to 16 numbers
//! each. Their products, summed over the channels, are 16 matrix products, and what comes out is transformed to 2×2
//! outputs: 16 multiplications where there are 36 otherwise. Weight gradients are the same the other way. Rounding
//! errors are a few times those of the sum itself, so that this is for `f32`; what is proved in `f64` does not go
//! through here.

#[cfg(test)]
mod tests;
mod transforms;

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::direct::{lanes_and_registers, panels, width};
use super::tiles::{self, HEIGHT_MAX, WIDTH_MAX, with_height};
use super::{ConvShape, Finish};
use crate::context::grown;
use crate::rows::{In, Out};
use crate::vectors::lanes;
use crate::{Context, Real};
use transforms::Tile;

/// Numbers of a transformed tile.
const SPOTS: usize = 16;
/// Elements of transformed tiles that are worked on at once: they should stay in a core's L2 cache.
const BLOCK_ELEMENTS: usize = 64 * 1024;
/// The fewest channels on either side, and of both together: with fewer the transforms cost what the
/// products save.
const CHANNELS_MIN: usize = 16;
const BOTH_CHANNELS_MIN: usize = 48;
/// The most: with more, filters are read from far for every few tiles.
const CHANNELS_MAX: usize = 256;

/// Whether a convolution is one for this module. Threads share whole images, so there must be enough. Channels that do
/// not fill their vectors (what follows would do with them) cost more here than in the direct convolution.
pub(super) fn suits<T: Real>(s: &ConvShape, threads: usize) -> bool {
    let channels = CHANNELS_MIN..=CHANNELS_MAX;
    let lanes = lanes_and_registers::<T>().0;
    let (pixels, tiles) = (s.out_h * s.out_w, s.out_h.div_ceil(2) * s.out_w.div_ceil(2));
    size_of::<T>() == size_of::<f32>()
        && s.groups == 1
        && (s.kernel, s.stride, s.dilation) == ([3; 2], [1; 2], [1; 2])
        && channels.contains(&s.in_c)
        && channels.contains(&s.out_c)
        && s.in_c + s.out_c >= BOTH_CHANNELS_MIN
        && s.in_c.is_multiple_of(lanes)
        && s.out_c.is_multiple_of(lanes)
        && s.batch >= 4 * threads
        // Tiles that hang over the edges are work for nothing; at most a third more is worth it.
        && 3 * tiles <= pixels
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
    assert!(
        finish
            .residual
            .is_none_or(|residual| residual.len() == y.len())
    );
    let grid = Grid::new::<T>(s);
    let mut filters = cx.take_panels();
    Arch::new().dispatch(Pack {
        grid: &grid,
        w,
        scale: finish.scale,
        packed: grown(&mut filters, grid.filters_len()),
    });
    let (input, output) = (s.in_h * s.in_w * s.in_c, s.out_h * s.out_w * s.out_c);
    let residual = finish.residual.map(|residual| In(residual, output));
    let data = (In(x, input), residual, Out(y, output));
    cx.for_rows(
        s.batch,
        work_per_image(s),
        data,
        |images, (In(x, _), residual, Out(y, _)), scratch| {
            if let Some(In(residual, _)) = residual {
                y.copy_from_slice(residual);
            }
            let (inner, sums) = (
                grid.transformed_len(grid.depth),
                grid.transformed_len(WIDTH_MAX),
            );
            let (transformed, sums) = grown(scratch, inner + sums).split_at_mut(inner);
            for tiles in grid.blocks(images.len()) {
                Arch::new().dispatch(Forward {
                    grid: &grid,
                    tiles,
                    x,
                    filters: &filters,
                    shift: finish.shift,
                    transformed,
                    sums,
                    y,
                    add: accumulate || residual.is_some(),
                    rectified: finish.rectified,
                });
            }
        },
    );
    cx.put_panels(filters);
}

/// Leaves partial weight gradients in the scratch buffers, and says in how many.
pub(super) fn backward_weight<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    dy: &[T],
) -> usize {
    let grid = Grid::new::<T>(s);
    let (input, output) = (s.in_h * s.in_w * s.in_c, s.out_h * s.out_w * s.out_c);
    let data = (In(x, input), In(dy, output));
    let parts = cx.for_rows(
        s.batch,
        work_per_image(s),
        data,
        |images, (In(x, _), In(dy, _)), scratch| {
            // The partial gradient comes first in the scratch memory, where `sum_scratch` finds it.
            let lens = [
                s.filter_len(),
                // The last vector may reach over the end.
                SPOTS * s.in_c * s.out_c + WIDTH_MAX,
                grid.transformed_len(grid.depth),
            ];
            let scratch = grown(
                scratch,
                lens.iter().sum::<usize>() + grid.transformed_len(WIDTH_MAX),
            );
            let (partial, scratch) = scratch.split_at_mut(lens[0]);
            let (slopes, scratch) = scratch.split_at_mut(lens[1]);
            let (transformed, dy_transformed) = scratch.split_at_mut(lens[2]);
            slopes.fill(T::zero());
            for tiles in grid.blocks(images.len()) {
                Arch::new().dispatch(Weight {
                    grid: &grid,
                    tiles,
                    x,
                    dy,
                    transformed,
                    dy_transformed,
                    slopes,
                });
            }
            Arch::new().dispatch(Back {
                pairs: s.in_c * s.out_c,
                slopes,
                dw: partial,
            });
        },
    );
    parts.len()
}

/// Roughly how many elements of memory traffic the products of an image are worth.
fn work_per_image(s: &ConvShape) -> usize {
    s.out_h * s.out_w * (s.in_c * s.out_c / 4 + s.out_c)
}

/// From the gradients of transformed filters, `[16][pairs]` and then nothing of interest, to those of the
/// filters, `[3][3][pairs]`.
struct Back<'a, T> {
    pairs: usize,
    slopes: &'a [T],
    dw: &'a mut [T],
}

impl<T: Real> WithSimd for Back<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (pairs, lanes) = (self.pairs, lanes::<T, S>());
        for pair in (0..pairs).step_by(lanes) {
            let mut u: Tile<T, S, 4> = [[T::splat(simd, T::zero()); 4]; 4];
            for spot in 0..SPOTS {
                u[spot / 4][spot % 4] = vector::<T, S>(&self.slopes[spot * pairs + pair..]);
            }
            let g = transforms::filter_slopes::<T, S>(simd, u);
            for tap in 0..9 {
                let row = &mut self.dw[tap * pairs..][..pairs];
                let end = pairs.min(pair + lanes);
                tiles::store::<T, S, 1>(
                    simd,
                    [g[tap / 3][tap % 3]],
                    &mut row[pair..end],
                    false,
                    false,
                );
            }
        }
    }
}

/// Where a tile's outputs begin.
#[derive(Clone, Copy)]
struct Place {
    image: usize,
    row: usize,
    column: usize,
}

/// The tiles of all images, and how they are stored when they are transformed.
struct Grid {
    s: ConvShape,
    /// Tiles down and across an image.
    down: usize,
    across: usize,
    lanes: usize,
    /// Channels that come in, in whole vectors.
    depth: usize,
    /// Tiles of a block, in whole heights of a product's tile.
    most: usize,
}

impl Grid {
    fn new<T: Real>(s: &ConvShape) -> Self {
        let lanes = lanes_and_registers::<T>().0;
        let depth = s.in_c.next_multiple_of(lanes);
        // 24 is a multiple of both heights.
        let most = BLOCK_ELEMENTS / (SPOTS * (depth + 2 * lanes)) / 24 * 24;
        Grid {
            s: *s,
            down: s.out_h.div_ceil(2),
            across: s.out_w.div_ceil(2),
            lanes,
            depth,
            most: most.max(24),
        }
    }

    /// The elements of a transformed block with so many channels.
    fn transformed_len(&self, channels: usize) -> usize {
        SPOTS * self.most * channels
    }

    /// The tiles of so many images, in blocks.
    fn blocks(&self, images: usize) -> impl Iterator<Item = Range<usize>> {
        let (all, most) = (images * self.down * self.across, self.most);
        (0..all)
            .step_by(most)
            .map(move |first| first..all.min(first + most))
    }

    /// Some tiles one after the other.
    fn walk(&self, tiles: Range<usize>) -> impl Iterator<Item = Place> {
        let (row, column) = (tiles.start / self.across, tiles.start % self.across);
        let mut next = Place {
            image: row / self.down,
            row: 2 * (row % self.down),
            column: 2 * column,
        };
        tiles.map(move |_| {
            let place = next;
            next.column += 2;
            if next.column >= 2 * self.across {
                (next.row, next.column) = (next.row + 2, 0);
            }
            if next.row >= 2 * self.down {
                (next.image, next.row) = (next.image + 1, 0);
            }
            place
        })
    }

    /// The 4×4 input pixels of a tile, each `in_c` long, and zeros outside of the image.
    #[inline(always)]
    fn inputs<'a, T: Real>(&self, place: Place, x: &'a [T], zeros: &'a [T]) -> [[&'a [T]; 4]; 4] {
        let s = &self.s;
        let zeros = &zeros[..s.in_c];
        let mut pixels = [[zeros; 4]; 4];
        let columns = [0, 1, 2, 3].map(|j| (place.column + j).wrapping_sub(s.pads[1]));
        for i in 0..4 {
            let row = (place.row + i).wrapping_sub(s.pads[0]);
            if row >= s.in_h {
                continue;
            }
            let line = &x[(place.image * s.in_h + row) * s.in_w * s.in_c..][..s.in_w * s.in_c];
            for j in 0..4 {
                if columns[j] < s.in_w {
                    pixels[i][j] = &line[columns[j] * s.in_c..][..s.in_c];
                }
            }
        }
        pixels
    }

    /// Where the 2×2 output pixels of a tile begin, but for those outside of the image.
    #[inline(always)]
    fn outputs(&self, place: Place) -> [[Option<usize>; 2]; 2] {
        let s = &self.s;
        let mut at = [[None; 2]; 2];
        for i in 0..2 {
            for j in 0..2 {
                let (row, column) = (place.row + i, place.column + j);
                let pixel = (place.image * s.out_h + row) * s.out_w + column;
                at[i][j] = (row < s.out_h && column < s.out_w).then_some(pixel * s.out_c);
            }
        }
        at
    }

    /// The elements of all transformed filters.
    fn filters_len(&self) -> usize {
        let widths = panels(self.s.out_c, self.lanes).map(|panel| width(&panel, self.lanes));
        SPOTS * self.depth * widths.sum::<usize>()
    }

    /// Transforms the inputs of some tiles, to `[16][most][depth]`.
    #[inline(always)]
    fn transform<T: Real, S: Simd>(&self, simd: S, tiles: Range<usize>, x: &[T], to: &mut [T]) {
        let lanes = lanes::<T, S>();
        let zeros = [T::zero(); CHANNELS_MAX];
        for (t, place) in self.walk(tiles).enumerate() {
            let pixels = self.inputs(place, x, &zeros);
            for channel in (0..self.s.in_c).step_by(lanes) {
                let mut d: Tile<T, S, 4> = [[T::splat(simd, T::zero()); 4]; 4];
                for i in 0..4 {
                    for j in 0..4 {
                        d[i][j] = T::some(simd, &pixels[i][j][channel..]);
                    }
                }
                let d = transforms::inputs::<T, S>(simd, d);
                for spot in 0..SPOTS {
                    let to = &mut to[(spot * self.most + t) * self.depth + channel..][..lanes];
                    T::write::<S>(to)[0] = d[spot / 4][spot % 4];
                }
            }
        }
    }
}

/// Stores transformed filters panel by panel, each `[16][depth][width]`, zeros where there are
/// fewer channels.
struct Pack<'a, T> {
    grid: &'a Grid,
    w: &'a [T],
    scale: Option<&'a [T]>,
    packed: &'a mut [T],
}

impl<T: Real> WithSimd for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (depth, lanes) = (self.grid.depth, lanes::<T, S>());
        let (in_c, out_c) = (self.grid.s.in_c, self.grid.s.out_c);
        let mut rest = self.packed;
        for panel in panels(out_c, lanes) {
            let width = width(&panel, lanes);
            let (mine, others) = rest.split_at_mut(SPOTS * depth * width);
            rest = others;
            for spot in 0..SPOTS {
                mine[(spot * depth + in_c) * width..(spot + 1) * depth * width].fill(T::zero());
            }
            for v in 0..width / lanes {
                let from = (panel.start + v * lanes).min(panel.end);
                let scale = match self.scale {
                    Some(scale) => T::some(simd, &scale[from..panel.end]),
                    None => T::splat(simd, T::one()),
                };
                let zero = T::splat(simd, T::zero());
                for i in 0..in_c {
                    let mut g: Tile<T, S, 3> = [[zero; 3]; 3];
                    for tap in 0..9 {
                        let row = &self.w[(tap * in_c + i) * out_c..][..panel.end];
                        let w = T::some(simd, &row[from..]);
                        g[tap / 3][tap % 3] = T::fused(simd, w, scale, zero);
                    }
                    let u = transforms::filters::<T, S>(simd, g);
                    for spot in 0..SPOTS {
                        let to = &mut mine[(spot * depth + i) * width..][..width];
                        T::write::<S>(to)[v] = u[spot / 4][spot % 4];
                    }
                }
            }
        }
    }
}

/// The first numbers, of which there are enough, as a vector.
#[inline(always)]
fn vector<T: Real, S: Simd>(numbers: &[T]) -> T::Vector<S> {
    T::read::<S>(&numbers[..lanes::<T, S>()])[0]
}

/// The outputs of one block of tiles.
struct Forward<'a, T> {
    grid: &'a Grid,
    tiles: Range<usize>,
    x: &'a [T],
    filters: &'a [T],
    shift: Option<&'a [T]>,
    transformed: &'a mut [T],
    sums: &'a mut [T],
    y: &'a mut [T],
    add: bool,
    rectified: bool,
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (grid, lanes) = (self.grid, lanes::<T, S>());
        grid.transform(simd, self.tiles.clone(), self.x, self.transformed);
        let mut at = 0;
        for panel in panels(grid.s.out_c, lanes) {
            let width = width(&panel, lanes);
            let len = SPOTS * grid.depth * width;
            let filters = &self.filters[at..at + len];
            at += len;
            if width > lanes {
                self.panel::<S, 2>(simd, &panel, filters);
            } else {
                self.panel::<S, 1>(simd, &panel, filters);
            }
        }
    }
}

impl<T: Real> Forward<'_, T> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&mut self, simd: S, panel: &Range<usize>, filters: &[T]) {
        let (depth, most, width) = (self.grid.depth, self.grid.most, V * lanes::<T, S>());
        let (filters, _) = T::read::<S>(filters).as_chunks::<V>();
        with_height!(S, P => {
            for (spot, filters) in filters.chunks_exact(depth).enumerate() {
                let tiles = self.transformed[spot * most * depth..][..most * depth].chunks_exact(P * depth);
                let sums = self.sums[spot * most * width..][..most * width].chunks_exact_mut(P * width);
                // The last ones may be tiles of before, which nobody asks for.
                for (tiles, sums) in tiles.zip(sums).take(self.tiles.len().div_ceil(P)) {
                    let products = tiles::rows::<T, S, P, V>(simd, tiles, filters);
                    let (sums, _) = T::write::<S>(sums).as_chunks_mut::<V>();
                    sums[..P].copy_from_slice(&products);
                }
            }
        });
        self.finish::<S, V>(simd, panel);
    }

    /// Transforms sums to outputs.
    #[inline(always)]
    fn finish<S: Simd, const V: usize>(&mut self, simd: S, panel: &Range<usize>) {
        let (most, width) = (self.grid.most, V * lanes::<T, S>());
        let mut shift = [T::splat(simd, T::zero()); V];
        if let Some(all) = self.shift {
            for (v, shift) in shift.iter_mut().enumerate() {
                let from = (panel.start + v * lanes::<T, S>()).min(panel.end);
                *shift = T::some(simd, &all[from..panel.end]);
            }
        }
        for (t, place) in self.grid.walk(self.tiles.clone()).enumerate() {
            let mut y = [[[T::splat(simd, T::zero()); V]; 2]; 2];
            for v in 0..V {
                let mut m: Tile<T, S, 4> = [[T::splat(simd, T::zero()); 4]; 4];
                for spot in 0..SPOTS {
                    let sums = &self.sums[(spot * most + t) * width..][..width];
                    m[spot / 4][spot % 4] = T::read::<S>(sums)[v];
                }
                let outputs = transforms::outputs::<T, S>(simd, m);
                for i in 0..2 {
                    for j in 0..2 {
                        y[i][j][v] = T::plus(simd, outputs[i][j], shift[v]);
                    }
                }
            }
            let at = self.grid.outputs(place);
            for i in 0..2 {
                for j in 0..2 {
                    if let Some(at) = at[i][j] {
                        let to = &mut self.y[at + panel.start..at + panel.end];
                        tiles::store::<T, S, V>(simd, y[i][j], to, self.add, self.rectified);
                    }
                }
            }
        }
    }
}

/// What one block of tiles adds to the gradient of the transformed filter.
struct Weight<'a, T> {
    grid: &'a Grid,
    tiles: Range<usize>,
    x: &'a [T],
    dy: &'a [T],
    transformed: &'a mut [T],
    dy_transformed: &'a mut [T],
    /// `[16][in_c][out_c]`
    slopes: &'a mut [T],
}

impl<T: Real> WithSimd for Weight<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (grid, lanes) = (self.grid, lanes::<T, S>());
        grid.transform(simd, self.tiles.clone(), self.x, self.transformed);
        let places: Vec<usize> = (0..self.tiles.len()).map(|t| t * grid.depth).collect();
        for panel in panels(grid.s.out_c, lanes) {
            if width(&panel, lanes) > lanes {
                self.panel::<S, 2>(simd, &panel, &places);
            } else {
                self.panel::<S, 1>(simd, &panel, &places);
            }
        }
    }
}

impl<T: Real> Weight<'_, T> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&mut self, simd: S, panel: &Range<usize>, places: &[usize]) {
        self.transform_slopes::<S, V>(simd, panel);
        let (depth, most, width) = (self.grid.depth, self.grid.most, V * lanes::<T, S>());
        let (in_c, out_c) = (self.grid.s.in_c, self.grid.s.out_c);
        with_height!(S, P => {
            for spot in 0..SPOTS {
                let x = &self.transformed[spot * most * depth..][..most * depth];
                let dy = &self.dy_transformed[spot * most * width..][..places.len() * width];
                let (dy, _) = T::read::<S>(dy).as_chunks::<V>();
                for wanted in (0..in_c).step_by(P) {
                    // The last products do some channels again, and do not add them.
                    let first = wanted.min(in_c - P);
                    let sums = tiles::taps::<T, S, P, V>(simd, x, places, first, dy);
                    for p in 0..P {
                        if first + p >= wanted {
                            let row = (spot * in_c + first + p) * out_c;
                            let slope = &mut self.slopes[row + panel.start..row + panel.end];
                            tiles::store::<T, S, V>(simd, sums[p], slope, true, false);
                        }
                    }
                }
            }
        });
    }

    /// Transforms the gradients of the outputs of one panel, to `[16][most][width]`.
    #[inline(always)]
    fn transform_slopes<S: Simd, const V: usize>(&mut self, simd: S, panel: &Range<usize>) {
        let (most, width) = (self.grid.most, V * lanes::<T, S>());
        for (t, place) in self.grid.walk(self.tiles.clone()).enumerate() {
            let at = self.grid.outputs(place);
            for v in 0..V {
                let from = (panel.start + v * lanes::<T, S>()).min(panel.end);
                let mut dy: Tile<T, S, 2> = [[T::splat(simd, T::zero()); 2]; 2];
                for i in 0..2 {
                    for j in 0..2 {
                        if let Some(at) = at[i][j] {
                            dy[i][j] = T::some(simd, &self.dy[at + from..at + panel.end]);
                        }
                    }
                }
                let z = transforms::slopes::<T, S>(simd, dy);
                for spot in 0..SPOTS {
                    let to = &mut self.dy_transformed[(spot * most + t) * width..][..width];
                    T::write::<S>(to)[v] = z[spot / 4][spot % 4];
                }
            }
        }
    }
}

const _: () = assert!(CHANNELS_MIN >= HEIGHT_MAX);
