//! Two-dimensional convolution and its three gradients; [`volume`] stacks it along a third axis.
//!
//! | convolution | forward, data gradient at stride 1 | data gradient otherwise | weight gradient |
//! |---|---|---|---|
//! | without groups (`direct`) | tiles of outputs in registers | products, then columns added back | tiles of taps in registers |
//! | depthwise, whole vectors of channels (`channelwise`) | likewise, channel by channel | taps | likewise |
//! | other depthwise (`depthwise`) | taps, vectorised over channels | the same | the same |
//! | all others (`dense`) | columns of a block, then products | products, then columns added back | columns, then products |
//!
//! At stride 1 the data gradient is itself a convolution of `dy`, with the filter turned around.

mod channelwise;
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
    any_forward(cx, s, x, w, bias, y, false);
}

/// Forward by whichever way suits best.
fn any_forward<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
    accumulate: bool,
) {
    let (channelwise, direct) = (channelwise::suits::<T>(s), direct::suits(s));
    if !channelwise && !direct && !s.is_depthwise() {
        return dense::forward(cx, s, x, w, bias, y, accumulate);
    }
    if let Some(bias) = bias {
        y.chunks_exact_mut(s.out_c.max(1))
            .for_each(|pixel| pixel.copy_from_slice(bias));
    }
    let accumulate = accumulate || bias.is_some();
    if channelwise {
        channelwise::forward(cx, s, x, w, y, accumulate);
    } else if direct {
        direct::forward(cx, s, x, w, y, accumulate);
    } else {
        depthwise::forward(cx, s, x, w, y, accumulate);
    }
}

/// `y += x ∗ w`.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn forward_add<T: Real>(cx: &mut Context<T>, s: &ConvShape, x: &[T], w: &[T], y: &mut [T]) {
    s.check(x, w, y);
    any_forward(cx, s, x, w, None, y, true);
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
    let turned = s
        .turned()
        .filter(|turned| channelwise::suits::<T>(turned) || !s.is_depthwise());
    if let Some(turned) = turned {
        let mut filter = cx.take_filter();
        dense::turn_filter(s, w, &mut filter);
        any_forward(cx, &turned, dy, &filter[..w.len()], None, dx, accumulate);
        cx.put_filter(filter);
    } else if s.is_depthwise() {
        depthwise::backward_data(cx, s, dy, w, dx, accumulate);
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
    let parts = if channelwise::suits::<T>(s) {
        channelwise::backward_weight(cx, s, x, dy)
    } else if s.is_depthwise() {
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
