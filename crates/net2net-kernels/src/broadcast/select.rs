//! A choice between two tensors, element by element.

use super::{expand, len, sum_to};
use crate::context::grown;
use crate::{Context, Real, elementwise};

/// `y = a` where `condition` is not 0, else `b`; each of `[condition, a, b]` has axes of length 1
/// repeated to those of `full`.
///
/// # Panics
/// If shapes do not go together, or lengths do not fit them.
pub fn select<T: Real>(
    cx: &mut Context<T>,
    [condition, a, b]: [&[T]; 3],
    shapes: [&[usize]; 3],
    full: &[usize],
    y: &mut [T],
) {
    assert_eq!(y.len(), len(full));
    let mut buffer = cx.take_filter();
    let (chosen, first) = grown(&mut buffer, 2 * y.len()).split_at_mut(y.len());
    expand(cx, condition, shapes[0], full, chosen, false);
    expand(cx, a, shapes[1], full, first, false);
    expand(cx, b, shapes[2], full, y, false);
    for (y, (chosen, a)) in y.iter_mut().zip(chosen.iter().zip(&*first)) {
        if *chosen != T::zero() {
            *y = *a;
        }
    }
    cx.put_filter(buffer);
}

/// The gradient of [`select`] with respect to `a` (where `first`) or `b`, of shape `shape`: `dy`
/// where it was chosen, summed over the axes along which it was repeated.
///
/// # Panics
/// If shapes do not go together, or lengths do not fit them.
pub fn select_backward<T: Real>(
    cx: &mut Context<T>,
    first: bool,
    (condition, condition_shape): (&[T], &[usize]),
    (dy, full): (&[T], &[usize]),
    shape: &[usize],
    dx: &mut [T],
    accumulate: bool,
) {
    assert_eq!(dy.len(), len(full));
    let mut buffer = cx.take_filter();
    let (chosen, terms) = grown(&mut buffer, 2 * dy.len()).split_at_mut(dy.len());
    expand(cx, condition, condition_shape, full, chosen, false);
    elementwise::zip(cx, chosen, dy, terms, false, |chosen, dy| {
        if (chosen != T::zero()) == first {
            dy
        } else {
            T::zero()
        }
    });
    sum_to(cx, terms, full, shape, dx, accumulate);
    cx.put_filter(buffer);
}
