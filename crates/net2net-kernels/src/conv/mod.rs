//! Two-dimensional convolution and its three gradients; [`volume`] stacks it along a third axis.
//!
//! | convolution | forward, data gradient at stride 1 | data gradient otherwise | weight gradient |
//! |---|---|---|---|
//! | depthwise | taps, vectorised over channels | the same | the same |
//! | 1×1, stride 1, no padding | a product of the activations as they lie | | likewise |
//! | all others | columns of a block, then products | products, then columns added back | columns, then products |
//!
//! At stride 1 the data gradient is itself a convolution of `dy`, with the filter turned around.

mod columns;
mod dense;
mod depthwise;
mod direct;
mod shape;
#[cfg(test)]
mod tests;
mod tiles;
pub mod volume;
mod window;

pub use shape::ConvShape;
pub use volume::VolumeShape;

use crate::{Context, Real};

/// `y = x ∗ w + bias`.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    s.check(x, w, y);
    assert!(bias.is_none_or(|b| b.len() == s.out_c));
    if s.is_depthwise() {
        depthwise::forward(cx, s, x, w, bias, y);
    } else {
        grouped_forward(cx, s, x, w, bias, y, false);
    }
}

/// Any convolution that is not depthwise.
fn grouped_forward<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
    accumulate: bool,
) {
    if !direct::suits(s) {
        return dense::forward(cx, s, x, w, bias, y, accumulate);
    }
    if let Some(bias) = bias {
        y.chunks_exact_mut(s.out_c)
            .for_each(|pixel| pixel.copy_from_slice(bias));
    }
    direct::forward(cx, s, x, w, y, accumulate || bias.is_some());
}

/// `y += x ∗ w`.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn forward_add<T: Real>(cx: &mut Context<T>, s: &ConvShape, x: &[T], w: &[T], y: &mut [T]) {
    s.check(x, w, y);
    if s.is_depthwise() {
        depthwise::forward_add(cx, s, x, w, y);
    } else {
        grouped_forward(cx, s, x, w, None, y, true);
    }
}

/// The gradient with respect to the input: `dx = dy ∗ᵀ w`.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn backward_data<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    s.check(dx, w, dy);
    if s.is_depthwise() {
        depthwise::backward_data(cx, s, dy, w, dx, accumulate);
    } else if let Some(turned) = s.turned() {
        let mut filter = cx.take_filter();
        dense::turn_filter(s, w, &mut filter);
        grouped_forward(cx, &turned, dy, &filter[..w.len()], None, dx, accumulate);
        cx.put_filter(filter);
    } else {
        dense::backward_data(cx, s, dy, w, dx, accumulate);
    }
}

/// The gradient with respect to the filter: `dw = xᵀ ∗ dy`.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn backward_weight<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    accumulate: bool,
) {
    s.check(x, dw, dy);
    let parts = if s.is_depthwise() {
        depthwise::backward_weight(cx, s, x, dy)
    } else if direct::suits_weight(s) {
        direct::backward_weight(cx, s, x, dy)
    } else {
        dense::backward_weight(cx, s, x, dy)
    };
    cx.sum_scratch(parts, dw, accumulate);
}

/// The gradient with respect to a bias: the sum of `dy` (`rows × c`) over its rows.
///
/// # Panics
/// If `dy` is not `rows × c`, or `db` not `c` long.
pub fn backward_bias<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    dy: &[T],
    db: &mut [T],
    accumulate: bool,
) {
    crate::column_sums(cx, rows, c, dy, db, accumulate);
}
