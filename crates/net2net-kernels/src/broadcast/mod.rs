//! Functions of two tensors of equal rank, where an axis of length 1 in either repeats.

mod binary;
mod expand;
mod select;
#[cfg(test)]
mod tests;

pub use binary::{Binary, broadcast_binary_backward};
pub(crate) use expand::{expand, sum_to};
pub use select::{select, select_backward};

use crate::columns::strip_sums;
use crate::elementwise::accumulate as add_into;
use crate::lanes::vectorized;
use crate::rows::{In, Out};
use crate::{Context, Real, column_sums};

/// `y = a ∘ b`, row-major, with axes of length 1 repeated; each axis of `y` is as long as the
/// longer of the two.
///
/// # Panics
/// If shapes do not go together, or lengths do not fit them.
pub fn broadcast_binary<T: Real>(
    cx: &mut Context<T>,
    op: Binary,
    a: &[T],
    a_shape: &[usize],
    b: &[T],
    b_shape: &[usize],
    y: &mut [T],
) {
    let axes = merged_axes(a_shape, b_shape);
    assert!(a.len() == len(a_shape) && b.len() == len(b_shape));
    assert_eq!(y.len(), axes.iter().map(|axis| axis.len).product::<usize>());
    macro_rules! with {
        ($f:expr) => {
            combine(cx, &axes, a, b, y, false, $f)
        };
    }
    match op {
        Binary::Add => with!(
            #[inline(always)]
            |a, b| a + b
        ),
        Binary::Sub => with!(
            #[inline(always)]
            |a, b| a - b
        ),
        Binary::Mul => with!(
            #[inline(always)]
            |a, b| a * b
        ),
        Binary::Div => with!(
            #[inline(always)]
            |a, b| a / b
        ),
        // The others are rarer, and share one loop that asks for each element which it is.
        _ => with!(|a, b| op.value(a, b)),
    }
}

#[inline(always)]
fn times<T: Real>(a: T, b: T) -> T {
    a * b
}

#[inline(always)]
fn store<T: Real>(y: &mut T, value: T, accumulate: bool) {
    *y = if accumulate { *y + value } else { value };
}

/// An axis of the result, and which operands have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    len: usize,
    in_a: bool,
    in_b: bool,
}

fn len(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The axes of the result, outermost first, without those of length 1, and with neighbours that
/// the same operands have made one.
fn merged_axes(a: &[usize], b: &[usize]) -> Vec<Axis> {
    assert_eq!(a.len(), b.len(), "ranks of {a:?} and {b:?}");
    let mut axes: Vec<Axis> = Vec::new();
    for (&a, &b) in a.iter().zip(b) {
        assert!(
            a == b || a == 1 || b == 1,
            "axes of {a} and {b} do not go together"
        );
        let axis = Axis {
            len: if a == 1 { b } else { a },
            in_a: a != 1,
            in_b: b != 1,
        };
        match axes.last_mut() {
            _ if axis.len == 1 => {}
            Some(last) if (last.in_a, last.in_b) == (axis.in_a, axis.in_b) => last.len *= axis.len,
            _ => axes.push(axis),
        }
    }
    axes
}

/// `y = f(a, b)`, or `y += f(a, b)`.
fn combine<T: Real>(
    cx: &mut Context<T>,
    axes: &[Axis],
    a: &[T],
    b: &[T],
    y: &mut [T],
    accumulate: bool,
    f: impl Fn(T, T) -> T + Sync,
) {
    if y.is_empty() {
        return;
    }
    // The innermost axis is the row. A single axis is cut into rows of one element.
    let one = Axis {
        len: 1,
        in_a: true,
        in_b: true,
    };
    let (row, outer) = match axes {
        [] => (one, axes),
        [only] if only.in_a && only.in_b => (one, axes),
        [outer @ .., row] => (*row, outer),
    };
    let whole_rows = outer.len() == 1 && row == one;
    cx.for_rows(
        y.len() / row.len,
        row.len,
        Out(y, row.len),
        |range, Out(y, _), _| {
            vectorized(
                #[inline(always)]
                || {
                    if whole_rows {
                        let (a, b) = (&a[range.clone()], &b[range]);
                        y.iter_mut()
                            .zip(a.iter().zip(b))
                            .for_each(|(y, (&a, &b))| store(y, f(a, b), accumulate));
                        return;
                    }
                    for (y, i) in y.chunks_exact_mut(row.len).zip(range) {
                        let (a_row, b_row) = row_of_operands(outer, i);
                        let a = row_slice(a, a_row, row.len, row.in_a);
                        let b = row_slice(b, b_row, row.len, row.in_b);
                        match (a, b) {
                            ([a], b) => y
                                .iter_mut()
                                .zip(b)
                                .for_each(|(y, &b)| store(y, f(*a, b), accumulate)),
                            (a, [b]) => y
                                .iter_mut()
                                .zip(a)
                                .for_each(|(y, &a)| store(y, f(a, *b), accumulate)),
                            (a, b) => {
                                let pairs = a.iter().zip(b);
                                y.iter_mut()
                                    .zip(pairs)
                                    .for_each(|(y, (&a, &b))| store(y, f(a, b), accumulate));
                            }
                        }
                    }
                },
            );
        },
    );
}

/// The numbers of the rows of `a` and of `b` that row `i` of the result needs.
#[inline(always)]
fn row_of_operands(outer: &[Axis], mut i: usize) -> (usize, usize) {
    let (mut a, mut b, mut a_stride, mut b_stride) = (0, 0, 1, 1);
    for axis in outer.iter().rev() {
        let at = i % axis.len;
        i /= axis.len;
        if axis.in_a {
            a += at * a_stride;
            a_stride *= axis.len;
        }
        if axis.in_b {
            b += at * b_stride;
            b_stride *= axis.len;
        }
    }
    (a, b)
}

#[inline(always)]
fn row_slice<T>(data: &[T], row: usize, len: usize, full: bool) -> &[T] {
    if full {
        &data[row * len..][..len]
    } else {
        &data[row..row + 1]
    }
}

/// Sums `terms`, which has all axes, over those that `a` lacks.
fn sum_repeated<T: Real>(
    cx: &mut Context<T>,
    mut axes: Vec<Axis>,
    terms: &[T],
    dx: &mut [T],
    accumulate: bool,
) {
    let Some(last) = axes.iter().rposition(|axis| !axis.in_a) else {
        if accumulate {
            add_into(cx, dx, terms);
        } else {
            dx.copy_from_slice(terms);
        }
        return;
    };
    let product = |axes: &[Axis]| axes.iter().map(|axis| axis.len).product();
    let (outer, inner): (usize, usize) = (product(&axes[..last]), product(&axes[last + 1..]));
    let count = axes.remove(last).len;
    if axes.iter().all(|axis| axis.in_a) {
        return sum_middle(cx, [outer, count, inner], terms, dx, accumulate);
    }
    let mut sums = vec![T::zero(); outer * inner];
    sum_middle(cx, [outer, count, inner], terms, &mut sums, false);
    sum_repeated(cx, axes, &sums, dx, accumulate);
}

/// `sums[o][i] = Σ terms[o][k][i]` over `k`.
fn sum_middle<T: Real>(
    cx: &mut Context<T>,
    [outer, count, inner]: [usize; 3],
    terms: &[T],
    sums: &mut [T],
    accumulate: bool,
) {
    if outer == 1 {
        return column_sums(cx, count, inner, terms, sums, accumulate);
    }
    let data = (In(terms, count * inner), Out(sums, inner));
    cx.for_rows(
        outer,
        count * inner,
        data,
        |range, (In(terms, _), Out(sums, _)), _| {
            for i in 0..range.len() {
                let terms = &terms[i * count * inner..][..count * inner];
                let [totals] = strip_sums(
                    inner,
                    [terms],
                    [],
                    #[inline(always)]
                    |[x]: [T; 1], []| [x],
                );
                for (sum, total) in sums[i * inner..][..inner].iter_mut().zip(totals) {
                    let total = T::from_f64(total);
                    *sum = if accumulate { *sum + total } else { total };
                }
            }
        },
    );
}
