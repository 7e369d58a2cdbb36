//! Columns: the inputs of a block of output pixels, laid out so that a convolution becomes
//! matrix products.
//!
//! One row of columns belongs to one output pixel and holds what its window sees. Rows of
//! *output pixels* are counted through all images: row `r` is row `r % out_h` of image
//! `r / out_h`.

use std::ops::Range;

use super::ConvShape;
use crate::taps::Axis;
use crate::{Matrix, Real};

/// Elements of a block's columns: they are written and read back, so they should stay in a
/// core's L2 cache (1 MiB of `f32`).
const BLOCK_ELEMENTS: usize = 256 * 1024;

/// The fewest pixels of a block without columns.
const PIXELS_MIN: usize = 1024;

/// A window row shorter than this makes products too thin to be worth sharing rows between
/// the rows of the window.
const SHARED_WIDTH_MIN: usize = 32;

/// How the columns of a convolution are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// The input itself, for a pointwise convolution: one product.
    Input,
    /// A row of columns holds the whole window: one product.
    Whole,
    /// A row of columns holds one row of the window, and neighbouring rows of windows share
    /// it: `kernel_h` products, with `kernel_h` times fewer elements to copy.
    Shared,
}

/// The columns of one group of one convolution.
pub(super) struct Columns<'a> {
    s: &'a ConvShape,
    layout: Layout,
    rows: Axis,
    cols: Axis,
    /// Elements of a row of columns.
    width: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn new(s: &'a ConvShape) -> Self {
        let window_row = s.kernel[1] * s.group_in();
        let share = s.stride[0] == 1 && window_row >= SHARED_WIDTH_MIN && s.out_h * s.out_w >= 64;
        let layout = match () {
            () if s.is_pointwise() => Layout::Input,
            () if share => Layout::Shared,
            () => Layout::Whole,
        };
        Self::with_layout(s, layout)
    }

    /// Columns that hold each window by itself, so that they can be added back.
    pub(super) fn whole(s: &'a ConvShape) -> Self {
        Self::with_layout(s, Layout::Whole)
    }

    fn with_layout(s: &'a ConvShape, layout: Layout) -> Self {
        let window_row = s.kernel[1] * s.group_in();
        let width = match layout {
            Layout::Input | Layout::Shared => window_row,
            Layout::Whole => s.kernel[0] * window_row,
        };
        Self {
            s,
            layout,
            rows: s.rows(),
            cols: s.cols(),
            width,
        }
    }

    /// Elements of a row of columns; the rows of filter that one product takes.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// How many products a block takes.
    pub(super) fn products(&self) -> usize {
        if self.layout == Layout::Shared {
            self.s.kernel[0]
        } else {
            1
        }
    }

    /// The most rows of output pixels that a block has.
    fn block_rows(&self) -> usize {
        let pixels = match self.layout {
            // What comes out is looked at once more, and needs room too; but each block arranges the filter.
            Layout::Input => {
                (BLOCK_ELEMENTS / 2 / (self.width + self.s.out_c).max(1)).max(PIXELS_MIN)
            }
            Layout::Whole | Layout::Shared => BLOCK_ELEMENTS / self.width.max(1),
        };
        (pixels / self.s.out_w.max(1)).max(1)
    }

    /// The elements that the columns of any block of `rows` rows of output pixels take.
    pub(super) fn buffer_len(&self, rows: usize) -> usize {
        let rows = rows.min(self.block_rows());
        match self.layout {
            Layout::Input => 0,
            Layout::Shared => self.elements(rows.min(self.s.out_h)),
            Layout::Whole => self.elements(rows),
        }
    }

    /// Cuts rows of output pixels into blocks whose columns fit in the cache.
    pub(super) fn blocks(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let most = if self.s.out_w * self.width == 0 {
            0
        } else {
            self.block_rows()
        };
        let (shared, out_h) = (self.layout == Layout::Shared, self.s.out_h);
        let mut next = rows.start;
        std::iter::from_fn(move || {
            let start = next;
            // Rows of pixels are shared within one image only.
            let stop = if shared {
                (start / out_h + 1) * out_h
            } else {
                rows.end
            };
            next = rows.end.min(stop).min(start + most);
            (start < next).then_some(start..next)
        })
    }

    /// Lays out the columns of one block in `buffer`, of [`Self::buffer_len`].
    pub(super) fn fill<'b, T: Real>(
        &self,
        x: &'b [T],
        group: usize,
        block: Range<usize>,
        buffer: &'b mut [T],
    ) -> Filled<'b, T> {
        let s = self.s;
        let pixels = block.len() * s.out_w;
        if self.layout == Layout::Input {
            let data = &x[block.start * s.in_w * s.in_c..][..pixels * s.in_c];
            let data = &data[(group * s.group_in()).min(data.len())..];
            return Filled {
                data,
                pixels,
                width: self.width,
                row_stride: s.in_c,
                step: 0,
            };
        }
        let columns = &mut buffer[..self.elements(block.len())];
        self.for_window_rows(block, |image, source, at, stride| match source {
            Some(row) => {
                let pixels = &x[(image * s.in_h + row) * s.in_w * s.in_c..][..s.in_w * s.in_c];
                self.fill_window_rows(pixels, group, &mut columns[at..], stride);
            }
            None => {
                let window_row = s.kernel[1] * s.group_in();
                for ox in 0..s.out_w {
                    columns[at + ox * stride..][..window_row].fill(T::zero());
                }
            }
        });
        let step = match self.layout {
            Layout::Shared => s.dilation[0] * s.out_w * self.width,
            Layout::Input | Layout::Whole => 0,
        };
        Filled {
            data: columns,
            pixels,
            width: self.width,
            row_stride: self.width,
            step,
        }
    }

    /// The elements that the columns of a block of `rows` rows of output pixels take.
    fn elements(&self, rows: usize) -> usize {
        let rows = match self.layout {
            Layout::Shared => rows + (self.s.kernel[0] - 1) * self.s.dilation[0],
            Layout::Input | Layout::Whole => rows,
        };
        rows * self.s.out_w * self.width
    }

    /// The transpose of [`Self::fill`] for whole windows: adds the columns of a block into `dx`,
    /// which begins with image `first_image`.
    pub(super) fn add_back<T: Real>(
        &self,
        columns: &[T],
        group: usize,
        block: Range<usize>,
        dx: &mut [T],
        first_image: usize,
    ) {
        debug_assert_eq!(self.layout, Layout::Whole);
        let (s, n) = (self.s, self.s.group_in());
        self.for_window_rows(block, |image, source, at, stride| {
            let Some(row) = source else { return };
            let start = ((image - first_image) * s.in_h + row) * s.in_w * s.in_c + group * n;
            for ox in 0..s.out_w {
                let window_row = &columns[at + ox * stride..][..s.kernel[1] * n];
                for (kx, src) in window_row.chunks_exact(n.max(1)).enumerate() {
                    if let Some(ix) = self.cols.meets(ox, kx) {
                        let dst = &mut dx[start + ix * s.in_c..][..n];
                        dst.iter_mut().zip(src).for_each(|(d, &s)| *d += s);
                    }
                }
            }
        });
    }

    /// Calls `f(image, input row if not padding, offset of its columns, stride between pixels)`
    /// for each row of the window of each row of output pixels of a block, shared ones once.
    fn for_window_rows(
        &self,
        block: Range<usize>,
        mut f: impl FnMut(usize, Option<usize>, usize, usize),
    ) {
        let s = self.s;
        let out_h = s.out_h.max(1);
        let per_row = s.out_w * self.width;
        if self.layout == Layout::Shared {
            let (image, first) = (block.start / out_h, block.start % out_h);
            let reach = (s.kernel[0] - 1) * s.dilation[0];
            for i in 0..block.len() + reach {
                f(
                    image,
                    self.rows.meets(first + i, 0),
                    i * per_row,
                    self.width,
                );
            }
        } else {
            for (i, row) in block.enumerate() {
                for ky in 0..s.kernel[0] {
                    let at = i * per_row + ky * s.kernel[1] * s.group_in();
                    f(
                        row / out_h,
                        self.rows.meets(row % out_h, ky),
                        at,
                        self.width,
                    );
                }
            }
        }
    }

    /// Copies what one row of the window sees of one row of pixels, for each output pixel.
    fn fill_window_rows<T: Real>(
        &self,
        pixels: &[T],
        group: usize,
        columns: &mut [T],
        stride: usize,
    ) {
        let (s, n) = (self.s, self.s.group_in());
        let contiguous = s.groups == 1 && s.dilation[1] == 1;
        for ox in 0..s.out_w {
            let dst = &mut columns[ox * stride..][..s.kernel[1] * n];
            let left = ox * s.stride[1];
            if contiguous && left >= s.pads[1] && left - s.pads[1] + s.kernel[1] <= s.in_w {
                dst.copy_from_slice(&pixels[(left - s.pads[1]) * n..][..s.kernel[1] * n]);
                continue;
            }
            for (kx, dst) in dst.chunks_exact_mut(n.max(1)).enumerate() {
                match self.cols.meets(ox, kx) {
                    Some(ix) => dst.copy_from_slice(&pixels[ix * s.in_c + group * n..][..n]),
                    None => dst.fill(T::zero()),
                }
            }
        }
    }
}

/// The columns of one block of output pixels.
pub(super) struct Filled<'a, T> {
    data: &'a [T],
    pixels: usize,
    width: usize,
    row_stride: usize,
    /// From the columns of one product to those of the next.
    step: usize,
}

impl<'a, T: Real> Filled<'a, T> {
    /// The columns that meet row `product` of the window: `pixels × width`.
    pub(super) fn matrix(&self, product: usize) -> Matrix<'a, T> {
        let data = &self.data[product * self.step..];
        Matrix::strided(data, self.pixels, self.width, self.row_stride)
    }
}
