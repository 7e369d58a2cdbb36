//! Moving elements: permuting axes, and joining or cutting along the last one.

use crate::rows::{In, Out};
use crate::{Context, Real};

/// Side of the squares in which a transpose walks, so that reads and writes both stay within
/// cache lines that are already there.
const TILE: usize = 16;

/// Copies `src`, of shape `shape`, with its axes permuted: axis `k` of `dst` is axis `perm[k]` of
/// `src` (as in ONNX and NumPy). NHWC to NCHW is `[0, 3, 1, 2]`.
///
/// # Panics
/// If the lengths do not fit the shape, or `perm` is not a permutation.
pub fn transpose<T: Real>(
    cx: &mut Context<T>,
    src: &[T],
    shape: &[usize],
    perm: &[usize],
    dst: &mut [T],
    accumulate: bool,
) {
    let len: usize = shape.iter().product();
    assert!(src.len() == len && dst.len() == len && perm.len() == shape.len());
    assert!(
        (0..perm.len()).all(|axis| perm.contains(&axis)),
        "{perm:?} is not a permutation"
    );
    if len == 0 {
        return;
    }
    let axes = merged_axes(shape, perm);
    let (outermost, inner) = (axes[0], &axes[1..]);
    let data = Out(dst, outermost.dst);
    cx.for_rows(
        outermost.len,
        outermost.dst * 2,
        data,
        |range, Out(dst, _), _| {
            let mut axes = vec![Axis {
                len: range.len(),
                ..outermost
            }];
            axes.extend_from_slice(inner);
            copy_axes(&axes, &src[range.start * outermost.src..], dst, accumulate);
        },
    );
}

/// Copies the `rows × c` of `src` into columns `offset..offset + c` of `dst`, which has `width`
/// columns: one input of a concatenation along the last axis.
///
/// # Panics
/// If a slice is not as long as that, or the columns do not fit.
pub fn copy_columns<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    src: &[T],
    width: usize,
    offset: usize,
    dst: &mut [T],
) {
    assert!(src.len() == rows * c && dst.len() == rows * width && offset + c <= width);
    cx.for_rows(
        rows,
        c,
        (In(src, c), Out(dst, width)),
        |_, (In(src, _), Out(dst, _)), _| {
            if c > 0 {
                for (src, dst) in src.chunks_exact(c).zip(dst.chunks_exact_mut(width)) {
                    dst[offset..offset + c].copy_from_slice(src);
                }
            }
        },
    );
}

/// The way back of [`copy_columns`]: columns `offset..offset + c` of `src`, which has `width`
/// columns, into the `rows × c` of `dst`.
///
/// # Panics
/// If a slice is not as long as that, or the columns do not fit.
pub fn take_columns<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    width: usize,
    offset: usize,
    src: &[T],
    c: usize,
    dst: &mut [T],
    accumulate: bool,
) {
    assert!(src.len() == rows * width && dst.len() == rows * c && offset + c <= width);
    cx.for_rows(
        rows,
        c,
        (In(src, width), Out(dst, c)),
        |_, (In(src, _), Out(dst, _)), _| {
            if c > 0 {
                for (src, dst) in src.chunks_exact(width).zip(dst.chunks_exact_mut(c)) {
                    put(dst, &src[offset..offset + c], accumulate);
                }
            }
        },
    );
}

/// An axis of `dst`: its length, and the steps along it in either tensor.
#[derive(Clone, Copy, Debug)]
struct Axis {
    len: usize,
    src: usize,
    dst: usize,
}

/// The axes of `dst`, outermost first, with neighbours that stay neighbours made one. There is
/// at least one axis.
fn merged_axes(shape: &[usize], perm: &[usize]) -> Vec<Axis> {
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let mut axes: Vec<Axis> = Vec::new();
    let mut dst = shape.iter().product::<usize>();
    for &from in perm.iter().filter(|&&axis| shape[axis] != 1) {
        let len = shape[from];
        let src = stride(from);
        dst /= len;
        match axes.last_mut() {
            Some(last) if last.src == len * src => {
                *last = Axis {
                    len: last.len * len,
                    src,
                    dst,
                }
            }
            _ => axes.push(Axis { len, src, dst }),
        }
    }
    if axes.is_empty() {
        axes.push(Axis {
            len: 1,
            src: 1,
            dst: 1,
        });
    }
    axes
}

fn copy_axes<T: Real>(axes: &[Axis], src: &[T], dst: &mut [T], accumulate: bool) {
    let Some((&last, outer)) = axes.split_last() else {
        return;
    };
    if last.src == 1 {
        walk(outer, 0, 0, &mut |s, d| {
            put(&mut dst[d..d + last.len], &src[s..s + last.len], accumulate);
        });
        return;
    }
    // Another axis is the one along which `src` is contiguous; walk both in squares.
    let at = outer.iter().position(|axis| axis.src == 1).unwrap_or(0);
    let mut outer = outer.to_vec();
    let unit = if outer.is_empty() {
        Axis {
            len: 1,
            src: 0,
            dst: 0,
        }
    } else {
        outer.remove(at)
    };
    walk(&outer, 0, 0, &mut |s, d| {
        for i0 in (0..unit.len).step_by(TILE) {
            for j0 in (0..last.len).step_by(TILE) {
                for i in i0..unit.len.min(i0 + TILE) {
                    let dst = &mut dst[d + i * unit.dst + j0..];
                    let src = &src[s + i * unit.src + j0 * last.src..];
                    let width = TILE.min(last.len - j0);
                    let column = src.iter().step_by(last.src);
                    for (dst, &src) in dst[..width].iter_mut().zip(column) {
                        *dst = if accumulate { *dst + src } else { src };
                    }
                }
            }
        }
    });
}

/// Calls `f(src position, dst position)` for each index of the axes.
fn walk(axes: &[Axis], src: usize, dst: usize, f: &mut impl FnMut(usize, usize)) {
    match axes.split_first() {
        None => f(src, dst),
        Some((axis, inner)) => {
            for i in 0..axis.len {
                walk(inner, src + i * axis.src, dst + i * axis.dst, f);
            }
        }
    }
}

fn put<T: Real>(dst: &mut [T], src: &[T], accumulate: bool) {
    if accumulate {
        dst.iter_mut().zip(src).for_each(|(d, &s)| *d += s);
    } else {
        dst.copy_from_slice(src);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, on_all, random};

    fn naive(src: &[f64], shape: &[usize], perm: &[usize]) -> Vec<f64> {
        let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let at = |mut i: usize| {
            let mut at = 0;
            for &axis in perm.iter().rev() {
                at += i % shape[axis] * stride(axis);
                i /= shape[axis];
            }
            src[at]
        };
        (0..src.len()).map(at).collect()
    }

    #[test]
    fn permutations_are_those_of_the_naive_loop() {
        let cases: [(&[usize], &[usize]); 9] = [
            (&[], &[]),
            (&[1, 1], &[1, 0]),
            (&[5, 7], &[1, 0]),
            (&[3, 40, 19, 35], &[0, 3, 1, 2]),
            (&[3, 40, 19, 35], &[0, 2, 3, 1]),
            (&[2, 3, 4, 5, 6], &[4, 2, 0, 3, 1]),
            (&[4, 3, 20], &[1, 0, 2]),
            (&[4, 1, 3], &[2, 1, 0]),
            (&[4, 0, 3], &[2, 1, 0]),
        ];
        for (shape, perm) in cases {
            let src = random(1, shape.iter().product());
            let expected = naive(&src, shape, perm);
            on_all!(|cx, T| {
                let src = cast::<T>(&src);
                let mut dst = vec![T::from_f64(1.0); src.len()];
                transpose(&mut cx, &src, shape, perm, &mut dst, true);
                close(&dst, &expected.iter().map(|x| x + 1.0).collect::<Vec<_>>());
                transpose(&mut cx, &src, shape, perm, &mut dst, false);
                close(&dst, &expected);
            });
        }
    }

    #[test]
    fn joined_columns_come_apart_again() {
        let (rows, a, b) = (1000, 13, 30);
        let (x, y) = (random(1, rows * a), random(2, rows * b));
        on_all!(|cx, T| {
            let mut joined = vec![T::default(); rows * (a + b)];
            copy_columns(&mut cx, rows, a, &cast::<T>(&x), a + b, 0, &mut joined);
            copy_columns(&mut cx, rows, b, &cast::<T>(&y), a + b, a, &mut joined);
            assert_eq!(joined[a + b + a], T::from_f64(y[b]));
            let mut back = cast::<T>(&y);
            take_columns(&mut cx, rows, a + b, a, &joined, b, &mut back, true);
            close(&back, &y.iter().map(|y| y * 2.0).collect::<Vec<_>>());
            let mut back = vec![T::default(); rows * a];
            take_columns(&mut cx, rows, a + b, 0, &joined, a, &mut back, false);
            close(&back, &x);
        });
    }
}
