//! Two-dimensional convolution and its three gradients; [`volume`] stacks it along a third axis.
//!
//! | convolution | forward, data gradient at stride 1 | data gradient otherwise | weight gradient |
//! |---|---|---|---|
//! | 3×3 at stride 1 without groups in `f32`, whole vectors of channels, and of images enough (`winograd`) | products of transformed tiles | — | likewise |
//! | three pixels across, one apart, without groups, in whole groups of 8 channels and outputs, where there are 32 registers (`across`) | rows of outputs in registers | products, then columns added back | rows of taps in registers |
//! | many channels of single pixels (`dense`) | products | — | likewise |
//! | others without groups (`direct`) | tiles of outputs in registers | products, then columns added back | tiles of taps in registers |
//! | depthwise, whole vectors of channels (`channelwise`) | likewise, channel by channel | taps | likewise |
//! | other depthwise (`depthwise`) | taps, vectorised over channels | the same | the same |
//! | all others (`dense`) | columns of a block, then products | products, then columns added back | columns, then products |
//!
//! At stride 1 the data gradient is itself a convolution of `dy`, with the filter turned around.

mod across;
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
mod winograd;

pub use shape::ConvShape;
pub use volume::VolumeShape;

use crate::lanes::vectorized;
use crate::rows::{In, Out};
use crate::{Context, Real};

/// What is done to the outputs on their way to memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish<'a, T> {
    /// What each channel is multiplied by.
    pub scale: Option<&'a [T]>,
    /// What is then added to it.
    pub shift: Option<&'a [T]>,
    /// What is then added to each output (He et al. 2016); not where outputs are added to already.
    pub residual: Option<&'a [T]>,
    /// Whether what is below zero then becomes zero.
    pub rectified: bool,
}

impl<'a, T: Real> Finish<'a, T> {
    /// The residual and the ReLU taken out, for [`join`] to do.
    fn without_residual(self) -> (Self, Option<(&'a [T], bool)>) {
        let after = self.residual.map(|residual| (residual, self.rectified));
        let bare = Finish {
            residual: None,
            rectified: self.rectified && after.is_none(),
            ..self
        };
        (bare, after)
    }

    /// Finishes the pixels in `y`, of `c` channels each, which are those from the number `first` on.
    fn apply(&self, c: usize, first: usize, y: &mut [T]) {
        let Finish {
            scale,
            shift,
            residual,
            rectified: rectify,
        } = *self;
        if scale.is_none() && shift.is_none() && residual.is_none() && !rectify {
            return;
        }
        vectorized(
            #[inline(always)]
            || {
                for (pixel, y) in (first..).zip(y.chunks_exact_mut(c.max(1))) {
                    if let Some(scale) = scale {
                        y.iter_mut().zip(scale).for_each(|(y, s)| *y *= *s);
                    }
                    if let Some(shift) = shift {
                        y.iter_mut().zip(shift).for_each(|(y, s)| *y += *s);
                    }
                    if let Some(residual) = residual {
                        let residual = &residual[pixel * c..][..c];
                        y.iter_mut().zip(residual).for_each(|(y, r)| *y += *r);
                    }
                    if rectify {
                        y.iter_mut().for_each(|y| *y = rectified(*y));
                    }
                }
            },
        );
    }
}

/// `y += residual`, rectified if asked.
fn join<T: Real>(cx: &mut Context<T>, (residual, rectify): (&[T], bool), y: &mut [T]) {
    assert_eq!(residual.len(), y.len(), "the residual of a convolution");
    let data = (In(residual, 1), Out(y, 1));
    cx.for_rows(
        residual.len(),
        1,
        data,
        |_, (In(residual, _), Out(y, _)), _| {
            vectorized(
                #[inline(always)]
                || {
                    for (y, r) in y.iter_mut().zip(residual) {
                        let sum = *r + *y;
                        *y = if rectify { rectified(sum) } else { sum };
                    }
                },
            );
        },
    );
}

#[inline(always)]
fn rectified<T: Real>(y: T) -> T {
    if y < T::zero() { T::zero() } else { y }
}

/// `y = finish(x ∗ w)`.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn forward<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    w: &[T],
    finish: Finish<'_, T>,
    y: &mut [T],
) {
    s.check(x, w, y);
    any_forward(cx, s, x, w, finish, y, false);
}

/// `y = finish(x ∗ w)`, or `y = finish(y + x ∗ w)` without a scale and a residual, by whichever way suits best.
fn any_forward<T: Real>(
    cx: &mut Context<T>,
    s: &ConvShape,
    x: &[T],
    w: &[T],
    finish: Finish<'_, T>,
    y: &mut [T],
    accumulate: bool,
) {
    for channels in [finish.scale, finish.shift].into_iter().flatten() {
        assert_eq!(channels.len(), s.out_c, "what finishes {s:?}");
    }
    let residual = finish.residual.map(<[T]>::len);
    assert!(
        residual.is_none_or(|len| len == y.len()),
        "the residual of {s:?}"
    );
    assert!(!accumulate || (finish.scale.is_none() && finish.residual.is_none()));
    let channelwise = channelwise::suits::<T>(s);
    if winograd::suits::<T>(s, cx.threads()) {
        return winograd::forward(cx, s, x, w, finish, y, accumulate);
    }
    if across::suits::<T>(s) {
        return across::forward(cx, s, x, w, finish, y, accumulate);
    }
    if direct::suits(s) && !channelwise {
        return direct::forward(cx, s, x, w, finish, y, accumulate);
    }
    if !channelwise && !s.is_depthwise() {
        return dense::forward(cx, s, x, w, finish, y, accumulate);
    }
    let (finish, after) = finish.without_residual();
    if channelwise {
        channelwise::forward(cx, s, x, w, finish, y, accumulate);
    } else {
        depthwise::forward(cx, s, x, w, finish, y, accumulate);
    }
    if let Some(after) = after {
        join(cx, after, y);
    }
}

/// `y += x ∗ w`.
///
/// # Panics
/// If a slice has not the length that `s` says, or the sizes of `s` contradict each other.
pub fn forward_add<T: Real>(cx: &mut Context<T>, s: &ConvShape, x: &[T], w: &[T], y: &mut [T]) {
    s.check(x, w, y);
    any_forward(cx, s, x, w, Finish::default(), y, true);
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
        let filter_of = &filter[..w.len()];
        any_forward(
            cx,
            &turned,
            dy,
            filter_of,
            Finish::default(),
            dx,
            accumulate,
        );
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
    let parts = if winograd::suits::<T>(s, cx.threads()) {
        winograd::backward_weight(cx, s, x, dy)
    } else if channelwise::suits::<T>(s) {
        channelwise::backward_weight(cx, s, x, dy)
    } else if s.is_depthwise() {
        depthwise::backward_weight(cx, s, x, dy)
    } else if across::suits::<T>(s) {
        across::backward_weight(cx, s, x, dy)
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
