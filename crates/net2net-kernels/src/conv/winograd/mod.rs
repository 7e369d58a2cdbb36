//! Convolution by 3×3 filters at stride 1 with fewer products: Winograd's minimal filtering
//! F(4×4, 3×3) and F(2×2, 3×3), after Lavin & Gray, *Fast Algorithms for Convolutional Neural Networks* (2016).
//!
//! A tile of 6×6 inputs, which overlaps its neighbours by two, and each filter are transformed to 36 numbers
//! each. Their products, summed over the channels, are 36 matrix products, and what comes out is transformed to 4×4
//! outputs: 36 multiplications where there are 144 otherwise. With 4×4 inputs and 2×2 outputs it is 16 where there are 36. Weight gradients
//! are the same the other way. Rounding errors are about twice those of a plain sum with 4×4 outputs, and less with 2×2, so that this is for
//! `f32`; what is proved in `f64` does not go through here.
//!
//! Throughout, `M` is the side of a tile of outputs, and `A`, which is `M + 2`, that of a tile of inputs.

mod grid;
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
use grid::{Grid, Padded};
use transforms::Tile;

/// The fewest channels on either side, and of both together: with fewer the transforms cost what the
/// products save.
const CHANNELS_MIN: usize = 16;
const BOTH_CHANNELS_MIN: usize = 48;
/// The most: with more, filters are read from far for every few tiles.
const CHANNELS_MAX: usize = 256;

/// The most pairs of channels for tiles of 4×4 outputs: with more, transformed filters no longer fit the caches.
const PAIRS_MAX: usize = 192 * 192;

/// The fewest tiles of 2×2 outputs where one thread has few images.
const TILES_MIN: usize = 256;

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
        && (s.batch >= 4 * threads || (threads == 1 && s.batch * tiles >= TILES_MIN))
        // Tiles that hang over the edges are work for nothing; at most a third more is worth it.
        && 3 * tiles <= pixels
}

/// Whether tiles have 4×4 outputs. Where they hang far over the edges they save too little, and where they are few
/// the transforms of filters, which are four times as large as the filters, are not worth it.
fn large_tiles(s: &ConvShape) -> bool {
    let tiles = |side: usize| s.out_h.div_ceil(side) * s.out_w.div_ceil(side);
    3 * tiles(4) < tiles(2)
        && s.batch * tiles(4) >= s.in_c.max(s.out_c)
        && s.in_c * s.out_c <= PAIRS_MAX
}

/// The same for weight gradients, where each thread has transformed filters of its own.
fn large_tiles_of_weights(s: &ConvShape, threads: usize) -> bool {
    let tiles = s.out_h.div_ceil(4) * s.out_w.div_ceil(4);
    large_tiles(s) && 2 * s.batch * tiles >= threads * s.in_c.max(s.out_c)
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
    match large_tiles(s) {
        true => forward_by::<T, 4, 6>(cx, s, x, w, finish, y, accumulate),
        false => forward_by::<T, 2, 4>(cx, s, x, w, finish, y, accumulate),
    }
}

fn forward_by<T: Real, const M: usize, const A: usize>(
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
    let grid = Grid::<M, A>::new::<T>(s);
    let zeros = vec![T::zero(); s.in_w * s.in_c];
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
                    x: Padded {
                        images: x,
                        zeros: &zeros,
                    },
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
    match large_tiles_of_weights(s, cx.threads()) {
        true => backward_weight_by::<T, 4, 6>(cx, s, x, dy),
        false => backward_weight_by::<T, 2, 4>(cx, s, x, dy),
    }
}

fn backward_weight_by<T: Real, const M: usize, const A: usize>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    dy: &[T],
) -> usize {
    let grid = Grid::<M, A>::new::<T>(s);
    let zeros = vec![T::zero(); s.in_w * s.in_c];
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
                A * A * s.in_c * s.out_c + WIDTH_MAX,
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
                    x: Padded {
                        images: x,
                        zeros: &zeros,
                    },
                    dy,
                    transformed,
                    dy_transformed,
                    slopes,
                });
            }
            Arch::new().dispatch(Back::<'_, T, A> {
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

/// From the gradients of transformed filters, `[A][A][pairs]` and then nothing of interest, to those of the
/// filters, `[3][3][pairs]`.
struct Back<'a, T, const A: usize> {
    pairs: usize,
    slopes: &'a [T],
    dw: &'a mut [T],
}

impl<T: Real, const A: usize> WithSimd for Back<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (pairs, lanes) = (self.pairs, lanes::<T, S>());
        for pair in (0..pairs).step_by(lanes) {
            let mut u: Tile<T, S, A> = [[T::splat(simd, T::zero()); A]; A];
            for spot in 0..A * A {
                u[spot / A][spot % A] = vector::<T, S>(&self.slopes[spot * pairs + pair..]);
            }
            let g = transforms::filter_slopes::<T, S, A>(simd, u);
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

/// Stores transformed filters panel by panel, each `[A][A][depth][width]`, zeros where there are
/// fewer channels.
struct Pack<'a, T, const M: usize, const A: usize> {
    grid: &'a Grid<M, A>,
    w: &'a [T],
    scale: Option<&'a [T]>,
    packed: &'a mut [T],
}

impl<T: Real, const M: usize, const A: usize> WithSimd for Pack<'_, T, M, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (depth, lanes) = (self.grid.depth, lanes::<T, S>());
        let (in_c, out_c) = (self.grid.s.in_c, self.grid.s.out_c);
        let mut rest = self.packed;
        for panel in panels(out_c, lanes) {
            let width = width(&panel, lanes);
            let (mine, others) = rest.split_at_mut(A * A * depth * width);
            rest = others;
            for spot in 0..A * A {
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
                    let u = transforms::filters::<T, S, A>(simd, g);
                    for spot in 0..A * A {
                        let to = &mut mine[(spot * depth + i) * width..][..width];
                        T::write::<S>(to)[v] = u[spot / A][spot % A];
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
struct Forward<'a, T, const M: usize, const A: usize> {
    grid: &'a Grid<M, A>,
    tiles: Range<usize>,
    x: Padded<'a, T>,
    filters: &'a [T],
    shift: Option<&'a [T]>,
    transformed: &'a mut [T],
    sums: &'a mut [T],
    y: &'a mut [T],
    add: bool,
    rectified: bool,
}

impl<T: Real, const M: usize, const A: usize> WithSimd for Forward<'_, T, M, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (grid, lanes) = (self.grid, lanes::<T, S>());
        grid.transform(simd, self.tiles.clone(), self.x, self.transformed);
        let mut at = 0;
        for panel in panels(grid.s.out_c, lanes) {
            let width = width(&panel, lanes);
            let len = A * A * grid.depth * width;
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

impl<T: Real, const M: usize, const A: usize> Forward<'_, T, M, A> {
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
            let mut y = [[[T::splat(simd, T::zero()); V]; M]; M];
            for v in 0..V {
                let mut m: Tile<T, S, A> = [[T::splat(simd, T::zero()); A]; A];
                for spot in 0..A * A {
                    let sums = &self.sums[(spot * most + t) * width..][..width];
                    m[spot / A][spot % A] = T::read::<S>(sums)[v];
                }
                let outputs = transforms::outputs::<T, S, M, A>(simd, m);
                for i in 0..M {
                    for j in 0..M {
                        y[i][j][v] = T::plus(simd, outputs[i][j], shift[v]);
                    }
                }
            }
            let at = self.grid.outputs(place);
            for i in 0..M {
                for j in 0..M {
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
struct Weight<'a, T, const M: usize, const A: usize> {
    grid: &'a Grid<M, A>,
    tiles: Range<usize>,
    x: Padded<'a, T>,
    dy: &'a [T],
    transformed: &'a mut [T],
    dy_transformed: &'a mut [T],
    /// `[A][A][in_c][out_c]`
    slopes: &'a mut [T],
}

impl<T: Real, const M: usize, const A: usize> WithSimd for Weight<'_, T, M, A> {
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

impl<T: Real, const M: usize, const A: usize> Weight<'_, T, M, A> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&mut self, simd: S, panel: &Range<usize>, places: &[usize]) {
        self.transform_slopes::<S, V>(simd, panel);
        let (depth, most, width) = (self.grid.depth, self.grid.most, V * lanes::<T, S>());
        let (in_c, out_c) = (self.grid.s.in_c, self.grid.s.out_c);
        with_height!(S, P => {
            for spot in 0..A * A {
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

    /// Transforms the gradients of the outputs of one panel, to `[A][A][most][width]`.
    #[inline(always)]
    fn transform_slopes<S: Simd, const V: usize>(&mut self, simd: S, panel: &Range<usize>) {
        let (most, width) = (self.grid.most, V * lanes::<T, S>());
        for (t, place) in self.grid.walk(self.tiles.clone()).enumerate() {
            let at = self.grid.outputs(place);
            for v in 0..V {
                let from = (panel.start + v * lanes::<T, S>()).min(panel.end);
                let mut dy: Tile<T, S, M> = [[T::splat(simd, T::zero()); M]; M];
                for i in 0..M {
                    for j in 0..M {
                        if let Some(at) = at[i][j] {
                            dy[i][j] = T::some(simd, &self.dy[at + from..at + panel.end]);
                        }
                    }
                }
                let z = transforms::slopes::<T, S, M, A>(simd, dy);
                for spot in 0..A * A {
                    let to = &mut self.dy_transformed[(spot * most + t) * width..][..width];
                    T::write::<S>(to)[v] = z[spot / A][spot % A];
                }
            }
        }
    }
}

const _: () = assert!(CHANNELS_MIN >= HEIGHT_MAX);
