//! The tiles of all images, where they lie, and how they are stored when they are transformed.

use std::ops::Range;

use pulp::Simd;

use super::super::ConvShape;
use super::super::direct::{lanes_and_registers, panels, width};
use super::transforms::{self, Tile};
use crate::Real;
use crate::vectors::lanes;

/// Elements of transformed tiles that are worked on at once, but for 24 tiles at least: they should stay in a core's L2
/// cache.
const BLOCK_ELEMENTS: usize = 64 * 1024;

/// Images, and a row of zeros to stand for those outside of them.
#[derive(Clone, Copy)]
pub(super) struct Padded<'a, T> {
    pub(super) images: &'a [T],
    pub(super) zeros: &'a [T],
}

/// Where a tile's outputs begin.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// The tiles of all images, and how they are stored when they are transformed.
pub(super) struct Grid<const M: usize, const A: usize> {
    pub(super) s: ConvShape,
    /// Tiles down and across an image.
    pub(super) down: usize,
    pub(super) across: usize,
    pub(super) lanes: usize,
    /// Channels that come in, in whole vectors.
    pub(super) depth: usize,
    /// Tiles of a block, in whole heights of a product's tile.
    pub(super) most: usize,
}

impl<const M: usize, const A: usize> Grid<M, A> {
    pub(super) fn new<T: Real>(s: &ConvShape) -> Self {
        let lanes = lanes_and_registers::<T>().0;
        let depth = s.in_c.next_multiple_of(lanes);
        // 24 is a multiple of both heights.
        let most = BLOCK_ELEMENTS / (A * A * (depth + 2 * lanes)) / 24 * 24;
        Grid {
            s: *s,
            down: s.out_h.div_ceil(M),
            across: s.out_w.div_ceil(M),
            lanes,
            depth,
            most: most.max(24),
        }
    }

    /// The elements of a transformed block with so many channels.
    pub(super) fn transformed_len(&self, channels: usize) -> usize {
        A * A * self.most * channels
    }

    /// The tiles of so many images, in blocks.
    pub(super) fn blocks(&self, images: usize) -> impl Iterator<Item = Range<usize>> {
        let (all, most) = (images * self.down * self.across, self.most);
        (0..all)
            .step_by(most)
            .map(move |first| first..all.min(first + most))
    }

    /// Some tiles one after the other.
    pub(super) fn walk(&self, tiles: Range<usize>) -> impl Iterator<Item = Place> {
        let (row, column) = (tiles.start / self.across, tiles.start % self.across);
        let mut next = Place {
            image: row / self.down,
            row: M * (row % self.down),
            column: M * column,
        };
        tiles.map(move |_| {
            let place = next;
            next.column += M;
            if next.column >= M * self.across {
                (next.row, next.column) = (next.row + M, 0);
            }
            if next.row >= M * self.down {
                (next.image, next.row) = (next.image + 1, 0);
            }
            place
        })
    }

    /// The rows of inputs that a tile sees, of which each is `in_w · in_c` long; `zeros` for those outside of the image.
    #[inline(always)]
    pub(super) fn lines<'a, T: Real>(
        &self,
        place: Place,
        x: &'a [T],
        zeros: &'a [T],
    ) -> [&'a [T]; A] {
        let s = &self.s;
        let length = s.in_w * s.in_c;
        let mut lines = [&zeros[..length]; A];
        for i in 0..A {
            let row = (place.row + i).wrapping_sub(s.pads[0]);
            if row < s.in_h {
                lines[i] = &x[(place.image * s.in_h + row) * length..][..length];
            }
        }
        lines
    }

    /// Where in these rows the pixels of a tile begin, but for those outside of the image.
    #[inline(always)]
    pub(super) fn columns(&self, place: Place) -> [Option<usize>; A] {
        let s = &self.s;
        let mut columns = [None; A];
        for j in 0..A {
            let column = (place.column + j).wrapping_sub(s.pads[1]);
            if column < s.in_w {
                columns[j] = Some(column * s.in_c);
            }
        }
        columns
    }

    /// Where the output pixels of a tile begin, but for those outside of the image.
    #[inline(always)]
    pub(super) fn outputs(&self, place: Place) -> [[Option<usize>; M]; M] {
        let s = &self.s;
        let mut at = [[None; M]; M];
        for i in 0..M {
            for j in 0..M {
                let (row, column) = (place.row + i, place.column + j);
                let pixel = (place.image * s.out_h + row) * s.out_w + column;
                at[i][j] = (row < s.out_h && column < s.out_w).then_some(pixel * s.out_c);
            }
        }
        at
    }

    /// The elements of all transformed filters.
    pub(super) fn filters_len(&self) -> usize {
        let widths = panels(self.s.out_c, self.lanes).map(|panel| width(&panel, self.lanes));
        A * A * self.depth * widths.sum::<usize>()
    }

    /// Transforms the inputs of some tiles, to `[A][A][most][depth]`.
    #[inline(always)]
    pub(super) fn transform<T: Real, S: Simd>(
        &self,
        simd: S,
        tiles: Range<usize>,
        x: Padded<'_, T>,
        to: &mut [T],
    ) {
        let lanes = lanes::<T, S>();
        for (t, place) in self.walk(tiles).enumerate() {
            let (lines, columns) = (self.lines(place, x.images, x.zeros), self.columns(place));
            for channel in (0..self.s.in_c).step_by(lanes) {
                let mut d: Tile<T, S, A> = [[T::splat(simd, T::zero()); A]; A];
                for j in 0..A {
                    if let Some(column) = columns[j] {
                        let end = column + self.s.in_c;
                        for i in 0..A {
                            d[i][j] = T::some(simd, &lines[i][column + channel..end]);
                        }
                    }
                }
                let d = transforms::inputs::<T, S, A>(simd, d);
                for spot in 0..A * A {
                    let to = &mut to[(spot * self.most + t) * self.depth + channel..][..lanes];
                    T::write::<S>(to)[0] = d[spot / A][spot % A];
                }
            }
        }
    }
}
