//! Where the windows of a convolution lie in memory, and the zeros around images.
//!
//! Rows of *output pixels* are counted through all images: row `r` is row `r % out_h` of image
//! `r / out_h`. A block of them is either some rows of one image or several whole images.

use std::ops::Range;

use super::ConvShape;
use crate::context::grown;
use crate::rows::{In, Out};
use crate::{Context, Real};

/// The windows of one convolution without groups, block by block.
pub(super) struct Windows {
    s: ConvShape,
    /// Whether no window sees padding, so that inputs are read where they lie.
    bare: bool,
    /// Elements of a row of pixels, and of an image, in what [`Self::load`] returns.
    row_len: usize,
    image_len: usize,
    /// The most rows of output pixels of a block.
    block_rows: usize,
    /// Where each output pixel of the largest block finds its window.
    places: Vec<usize>,
}

impl Windows {
    /// Blocks of about `pixels` output pixels.
    pub(super) fn new(s: &ConvShape, pixels: usize) -> Self {
        let mut s = *s;
        if s.is_pointwise() {
            // Pixels do not see each other, so it does not matter which image they are in.
            (s.in_h, s.out_h, s.batch) = (s.batch * s.in_h, s.batch * s.out_h, 1);
        }
        let (rows, columns) = (seen(&s, 0, s.out_h), seen(&s, 1, s.out_w));
        let bare = s.pads[..2] == [0, 0] && rows <= s.in_h && columns <= s.in_w;
        let (row_len, image_len) = if bare {
            (s.in_w * s.in_c, s.in_h * s.in_w * s.in_c)
        } else {
            (columns * s.in_c, rows * columns * s.in_c)
        };
        let wanted = (pixels / s.out_w.max(1)).max(1);
        let block_rows = match wanted / s.out_h.max(1) {
            // Equal blocks rather than a short one at the end.
            0 => s.out_h.div_ceil(s.out_h.div_ceil(wanted)),
            images => images.min(s.batch) * s.out_h,
        };
        let mut windows = Self {
            s,
            bare,
            row_len,
            image_len,
            block_rows,
            places: Vec::with_capacity(block_rows * s.out_w),
        };
        for row in 0..block_rows {
            let start = row / s.out_h * image_len + row % s.out_h * s.stride[0] * row_len;
            let places = (0..s.out_w).map(|ox| start + ox * s.stride[1] * s.in_c);
            windows.places.extend(places);
        }
        windows
    }

    /// Where each of the first `pixels` output pixels of a block finds its window.
    pub(super) fn places(&self, pixels: usize) -> &[usize] {
        &self.places[..pixels]
    }

    /// Where the pixels of a window lie in it, in the order of a filter's taps.
    pub(super) fn corners(&self) -> Vec<usize> {
        let s = &self.s;
        let rows = (0..s.kernel[0]).map(|ky| ky * s.dilation[0] * self.row_len);
        let across = |row| (0..s.kernel[1]).map(move |kx| row + kx * s.dilation[1] * s.in_c);
        rows.flat_map(across).collect()
    }

    /// A window in runs of neighbouring inputs: where each begins, and how long all are. Together
    /// they are the taps and channels of a filter in its order.
    pub(super) fn runs(&self) -> (Vec<usize>, usize) {
        let s = &self.s;
        if s.dilation[1] == 1 {
            let rows = (0..s.kernel[0]).map(|ky| ky * s.dilation[0] * self.row_len);
            return (rows.collect(), s.kernel[1] * s.in_c);
        }
        (self.corners(), s.in_c)
    }

    /// Where each input of a window lies in it, in the order of [`Self::runs`].
    pub(super) fn taps(&self) -> Vec<usize> {
        let (starts, len) = self.runs();
        starts
            .iter()
            .flat_map(|start| *start..start + len)
            .collect()
    }

    /// Has `work` write the outputs of each block, given its inputs and where each output pixel finds its window; on all
    /// threads. `y` is the residual before, if there is one.
    pub(super) fn outputs<T: Real>(
        &self,
        cx: &mut Context<T>,
        work_per_row: usize,
        x: &[T],
        residual: Option<&[T]>,
        y: &mut [T],
        work: impl Fn(&[T], &[usize], &mut [T]) + Sync,
    ) {
        assert!(residual.is_none_or(|residual| residual.len() == y.len()));
        let (rows, row_len) = (self.s.batch * self.s.out_h, self.s.out_w * self.s.out_c);
        let out = Out(y, row_len);
        cx.for_rows(rows, work_per_row, out, |rows, Out(y, _), scratch| {
            let buffer = grown(scratch, self.buffer_len());
            for block in self.blocks(rows.clone()) {
                let y = &mut y[(block.start - rows.start) * row_len..][..block.len() * row_len];
                if let Some(residual) = residual {
                    y.copy_from_slice(&residual[block.start * row_len..][..y.len()]);
                }
                let places = self.places(block.len() * self.s.out_w);
                work(self.load(x, block, buffer), places, y);
            }
        });
    }

    /// Has `work` add what each block adds to the gradient of the filter, given its inputs, where each output pixel
    /// finds its window, the gradients of the outputs, and `room` numbers of scratch memory; on all threads. The partial gradients
    /// are left in the scratch buffers; returns in how many.
    pub(super) fn filter_gradients<T: Real>(
        &self,
        cx: &mut Context<T>,
        work_per_row: usize,
        x: &[T],
        dy: &[T],
        room: usize,
        work: impl Fn(&[T], &[usize], &[T], &mut [T], &mut [T]) + Sync,
    ) -> usize {
        let (rows, row_len) = (self.s.batch * self.s.out_h, self.s.out_w * self.s.out_c);
        let filter_len = self.s.filter_len();
        let dy = In(dy, row_len);
        let parts = cx.for_rows(rows, work_per_row, dy, |rows, In(dy, _), scratch| {
            // The partial gradient comes first in the scratch memory, where `sum_scratch` finds it.
            let scratch = grown(scratch, filter_len + self.buffer_len() + room);
            let (partial, scratch) = scratch.split_at_mut(filter_len);
            let (buffer, room) = scratch.split_at_mut(self.buffer_len());
            partial.fill(T::zero());
            for block in self.blocks(rows.clone()) {
                let dy = &dy[(block.start - rows.start) * row_len..][..block.len() * row_len];
                let places = self.places(block.len() * self.s.out_w);
                work(self.load(x, block, buffer), places, dy, room, partial);
            }
        });
        parts.len()
    }

    /// Cuts rows of output pixels into blocks.
    pub(super) fn blocks(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (out_h, most) = (self.s.out_h.max(1), self.block_rows.max(1));
        let mut next = rows.start;
        std::iter::from_fn(move || {
            let start = next;
            let end = match start % out_h {
                0 if most >= out_h && rows.end - start >= out_h => {
                    (start + most).min(rows.end / out_h * out_h)
                }
                _ => (start + most).min((start / out_h + 1) * out_h),
            };
            next = end.min(rows.end);
            (start < next).then_some(start..next)
        })
    }

    /// The elements that [`Self::load`] needs.
    pub(super) fn buffer_len(&self) -> usize {
        match self.bare {
            true => 0,
            false => {
                let images = self.block_rows.div_ceil(self.s.out_h.max(1));
                let rows = seen(&self.s, 0, self.block_rows.min(self.s.out_h));
                images * rows * self.row_len
            }
        }
    }

    /// The most output pixels of a block.
    pub(super) fn largest_block(&self) -> usize {
        self.places.len()
    }

    /// The inputs of a block, with zeros around them where its windows see padding.
    pub(super) fn load<'b, T: Real>(
        &self,
        x: &'b [T],
        block: Range<usize>,
        buffer: &'b mut [T],
    ) -> &'b [T] {
        let s = &self.s;
        let (image, first) = (block.start / s.out_h, block.start % s.out_h);
        let top = first * s.stride[0];
        if self.bare {
            return &x[image * self.image_len + top * self.row_len..];
        }
        let images = block.len().div_ceil(s.out_h);
        let height = seen(s, 0, block.len().min(s.out_h));
        let mut rows = buffer.chunks_exact_mut(self.row_len);
        for image in image..image + images {
            for (y, row) in (top..top + height).zip(&mut rows) {
                match y.checked_sub(s.pads[0]).filter(|y| *y < s.in_h) {
                    Some(y) => {
                        let x = &x[(image * s.in_h + y) * s.in_w * s.in_c..][..s.in_w * s.in_c];
                        between_zeros(x, s.pads[1] * s.in_c, row);
                    }
                    None => row.fill(T::zero()),
                }
            }
        }
        buffer
    }
}

/// The inputs that the windows of `outputs` outputs in a row see along an axis.
fn seen(s: &ConvShape, axis: usize, outputs: usize) -> usize {
    let reach = s.dilation[axis] * (s.kernel[axis] - 1) + 1;
    outputs.max(1).saturating_sub(1) * s.stride[axis] + reach
}

/// `row` gets `before` zeros, as much of `x` as fits, and zeros.
fn between_zeros<T: Real>(x: &[T], before: usize, row: &mut [T]) {
    let (zeros, rest) = row.split_at_mut(before.min(row.len()));
    zeros.fill(T::zero());
    let (inner, after) = rest.split_at_mut(x.len().min(rest.len()));
    inner.copy_from_slice(&x[..inner.len()]);
    after.fill(T::zero());
}
