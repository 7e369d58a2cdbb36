//! One tensor repeated to a larger shape, and back.

use super::{len, merged_axes, row_of_operands, row_slice, store, sum_repeated};
use crate::rows::Out;
use crate::{Context, Real};

/// `y = x`, or `y += x`, with axes of length 1 repeated to those of `full`.
///
/// # Panics
/// If shapes do not go together, or lengths do not fit them.
pub(crate) fn expand<T: Real>(
    cx: &mut Context<T>,
    x: &[T],
    shape: &[usize],
    full: &[usize],
    y: &mut [T],
    accumulate: bool,
) {
    let axes = merged_axes(shape, full);
    assert!(x.len() == len(shape) && y.len() == len(full));
    let Some((row, outer)) = axes.split_last() else {
        return y
            .iter_mut()
            .zip(x)
            .for_each(|(y, x)| store(y, *x, accumulate));
    };
    if y.is_empty() {
        return;
    }
    let rows = y.len() / row.len;
    cx.for_rows(rows, row.len, Out(y, row.len), |range, Out(y, _), _| {
        for (y, i) in y.chunks_exact_mut(row.len).zip(range) {
            let (at, _) = row_of_operands(outer, i);
            match row_slice(x, at, row.len, row.in_a) {
                [x] => y.iter_mut().for_each(|y| store(y, *x, accumulate)),
                x => y
                    .iter_mut()
                    .zip(x)
                    .for_each(|(y, x)| store(y, *x, accumulate)),
            }
        }
    });
}

/// The way back of [`expand`]: `terms`, of shape `full`, summed over the axes that `shape` lacks.
///
/// # Panics
/// If shapes do not go together, or lengths do not fit them.
pub(crate) fn sum_to<T: Real>(
    cx: &mut Context<T>,
    terms: &[T],
    full: &[usize],
    shape: &[usize],
    sums: &mut [T],
    accumulate: bool,
) {
    assert!(terms.len() == len(full) && sums.len() == len(shape));
    sum_repeated(cx, merged_axes(shape, full), terms, sums, accumulate);
}
