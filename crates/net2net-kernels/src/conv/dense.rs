//! Convolution by matrix products, over blocks of output pixels that stay in the cache.

use super::columns::Columns;
use super::{ConvShape, Finish};
use crate::context::grown;
use crate::matrix::multiply;
use crate::rows::{In, Out};
use crate::{Context, Matrix, Real};

/// Roughly how many elements of memory traffic the products of one output row are worth.
fn work_per_row(s: &ConvShape) -> usize {
    s.out_w * (s.kernel[0] * s.kernel[1] * s.group_in() * s.out_c / 16 + s.out_c)
}

/// The filter of one group for one product: `width × group_out`, as it lies.
fn filter_of<'a, T: Real>(
    s: &ConvShape,
    w: &'a [T],
    columns: &Columns<'_>,
    product: usize,
    group: usize,
) -> Matrix<'a, T> {
    let start = product * columns.width() * s.out_c + group * s.group_out();
    Matrix::strided(&w[start..], columns.width(), s.group_out(), s.out_c)
}

pub(super) fn forward<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    w: &[T],
    finish: Finish<'_, T>,
    y: &mut [T],
    accumulate: bool,
) {
    if s.filter_len() == 0 || y.is_empty() {
        return;
    }
    let columns = Columns::new(s);
    let row_len = s.out_w * s.out_c;
    cx.for_rows(
        s.batch * s.out_h,
        work_per_row(s),
        Out(y, row_len),
        |rows, Out(y, _), scratch| {
            let buffer = grown(scratch, columns.buffer_len(rows.len()));
            for block in columns.blocks(rows.clone()) {
                let y = &mut y[(block.start - rows.start) * row_len..][..block.len() * row_len];
                for group in 0..s.groups {
                    let filled = columns.fill(x, group, block.clone(), buffer);
                    for product in 0..columns.products() {
                        let add = accumulate || product > 0;
                        let filter = filter_of(s, w, &columns, product, group);
                        let y = &mut y[group * s.group_out()..];
                        multiply(filled.matrix(product), filter, y, s.out_c, add);
                    }
                }
                finish.apply(s.out_c, block.start * s.out_w, y);
            }
        },
    );
}

/// The data gradient at any stride: products into columns, which are added back where they came
/// from. Windows overlap, so threads share whole images only.
pub(super) fn backward_data<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    if !accumulate {
        dx.fill(T::zero());
    }
    if s.filter_len() == 0 || dy.is_empty() || dx.is_empty() {
        return;
    }
    let columns = Columns::whole(s);
    let dy_image = s.out_h * s.out_w * s.out_c;
    let data = (In(dy, dy_image), Out(dx, s.in_h * s.in_w * s.in_c));
    let work = s.out_h * work_per_row(s);
    cx.for_rows(
        s.batch,
        work,
        data,
        |images, (In(dy, _), Out(dx, _)), scratch| {
            let first = images.start * s.out_h;
            let buffer = grown(scratch, columns.buffer_len(images.len() * s.out_h));
            for block in columns.blocks(first..images.end * s.out_h) {
                let dy = &dy[(block.start - first) * s.out_w * s.out_c..];
                let pixels = block.len() * s.out_w;
                for group in 0..s.groups {
                    let dy = Matrix::strided(
                        &dy[group * s.group_out()..],
                        pixels,
                        s.group_out(),
                        s.out_c,
                    );
                    let filter = filter_of(s, w, &columns, 0, group);
                    multiply(dy, filter.t(), buffer, columns.width(), false);
                    columns.add_back(buffer, group, block.clone(), dx, images.start);
                }
            }
        },
    );
}

/// Leaves partial weight gradients in the scratch buffers, and says in how many.
pub(super) fn backward_weight<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    dy: &[T],
) -> usize {
    let columns = Columns::new(s);
    let row_len = s.out_w * s.out_c;
    let filter_len = s.filter_len();
    let parts = cx.for_rows(
        s.batch * s.out_h,
        work_per_row(s),
        In(dy, row_len),
        |rows, In(dy, _), scratch| {
            // The partial gradient comes first in the scratch memory, where `sum_scratch` finds it.
            let scratch = grown(scratch, filter_len + columns.buffer_len(rows.len()));
            let (partial, buffer) = scratch.split_at_mut(filter_len);
            partial.fill(T::zero());
            for block in columns.blocks(rows.clone()) {
                let dy = &dy[(block.start - rows.start) * row_len..];
                let pixels = block.len() * s.out_w;
                for group in 0..s.groups {
                    let filled = columns.fill(x, group, block.clone(), buffer);
                    let dy = Matrix::strided(
                        &dy[group * s.group_out()..],
                        pixels,
                        s.group_out(),
                        s.out_c,
                    );
                    for product in 0..columns.products() {
                        let start = product * columns.width() * s.out_c + group * s.group_out();
                        multiply(
                            filled.matrix(product).t(),
                            dy,
                            &mut partial[start..],
                            s.out_c,
                            true,
                        );
                    }
                }
            }
        },
    );
    parts.len()
}

/// Writes the filter of the data gradient's convolution: taps in reverse, and within each group
/// the channels that go in and out exchanged.
pub(super) fn turn_filter<T: Real>(s: &ConvShape, w: &[T], turned: &mut Vec<T>) {
    let (taps, n_in, n_out) = (s.kernel[0] * s.kernel[1], s.group_in(), s.group_out());
    let turned = grown(turned, w.len());
    for tap in 0..taps {
        let from = &w[tap * n_in * s.out_c..][..n_in * s.out_c];
        let to = &mut turned[(taps - 1 - tap) * n_out * s.in_c..][..n_out * s.in_c];
        for (o, row) in to.chunks_exact_mut(s.in_c.max(1)).enumerate() {
            for group in 0..s.groups {
                for i in 0..n_in {
                    row[group * n_in + i] = from[i * s.out_c + group * n_out + o];
                }
            }
        }
    }
}
