//! Sums over rows: one sum per column.

use crate::lanes::{LaneKernel, lane_of, load_each, over_lanes, vectorized};
use crate::rows::In;
use crate::{Context, Real};

/// Rows that are summed in `T` before the sum goes into an `f64`: few enough to keep the error
/// of `f32` small, and to leave the rows in the nearest cache for a second look.
pub(crate) const STRIP_ROWS: usize = 64;

/// How much of each matrix is worked on block by block of columns. Blocks skip from row to row, so rows should
/// be few enough to stay in the nearest cache, and to be fetched ahead as if they were read in order.
const WALK_ELEMENTS: usize = 4 * 1024;

/// How many rows of `wide` columns are worked on at once.
pub(crate) fn walk_rows(wide: usize) -> usize {
    (WALK_ELEMENTS / wide.max(1)).clamp(4, STRIP_ROWS)
}

/// `sums = Σ x` over the `rows` rows of `x`, for each of `c` columns: the gradient of a bias.
///
/// # Panics
/// If `x` is not `rows × c`, or `sums` not `c` long.
pub fn column_sums<T: Real>(
    cx: &mut Context<T>,
    rows: usize,
    c: usize,
    x: &[T],
    sums: &mut [T],
    accumulate: bool,
) {
    assert_eq!(x.len(), rows * c);
    assert_eq!(sums.len(), c);
    let parts = cx.for_rows(rows, c, In(x, c), |_, In(x, _), _| {
        strip_sums(
            c,
            [x],
            [],
            #[inline(always)]
            |[x]: [T; 1], []| [x],
        )
    });
    for (j, sum) in sums.iter_mut().enumerate() {
        let total = T::from_f64(parts.iter().map(|[part]| part[j]).sum());
        *sum = if accumulate { *sum + total } else { total };
    }
}

/// `N` sums per column over rows of `K` matrices of equal shape, on this thread: the sums of
/// `f(elements, parameters of the column)`.
#[inline(always)]
pub(crate) fn strip_sums<T: Real, const K: usize, const P: usize, const N: usize>(
    c: usize,
    matrices: [&[T]; K],
    per_column: [&[T]; P],
    f: impl Fn([T; K], [T; P]) -> [T; N],
) -> [Vec<f64>; N] {
    let mut sums = std::array::from_fn(|_| vec![0.0; c]);
    if c == 0 {
        return sums;
    }
    let joined = joined_rows(c, matrices[0].len());
    let many = per_column.map(|p| p.repeat(joined));
    let mut many_sums: [Vec<f64>; N] = std::array::from_fn(|_| vec![0.0; c * joined]);
    let mut partial: [Vec<T>; N] = std::array::from_fn(|_| vec![T::zero(); c * joined]);
    let len = matrices[0].len();
    let whole = len / (c * joined) * (c * joined);
    vectorized(
        #[inline(always)]
        || {
            let mut at = 0;
            // Rows joined to wide ones, then those that are left over.
            while at < len {
                let (wide, strip_end) = if at < whole {
                    (c * joined, whole)
                } else {
                    (c, len)
                };
                let end = strip_end.min(at + STRIP_ROWS * wide);
                let per_column = many.each_ref().map(
                    #[inline(always)]
                    |p| &p[..wide],
                );
                for from in (at..end).step_by(walk_rows(wide) * wide) {
                    let to = end.min(from + walk_rows(wide) * wide);
                    let strip = matrices.map(
                        #[inline(always)]
                        |m| &m[from..to],
                    );
                    over_lanes(
                        wide,
                        &mut Strip {
                            c: wide,
                            strip,
                            per_column,
                            f: &f,
                            sums: &mut partial,
                        },
                    );
                }
                for (sums, partial) in many_sums.iter_mut().zip(&mut partial) {
                    for (sum, partial) in sums.iter_mut().zip(&mut partial[..wide]) {
                        *sum += partial.to_f64();
                        *partial = T::zero();
                    }
                }
                at = end;
            }
        },
    );
    for (sums, many) in sums.iter_mut().zip(&many_sums) {
        for row in many.chunks_exact(c) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
    sums
}

/// How many rows of `c` columns are worked on as one, so that it is made of whole blocks of 32:
/// narrow rows would fill a register each, or not even that.
pub(crate) fn joined_rows(c: usize, len: usize) -> usize {
    let mut joined = 1;
    while joined < STRIP_ROWS / 2 && !(c * joined).is_multiple_of(32) {
        joined *= 2;
    }
    // Odd widths would need as many sums as there are elements; few rows are not worth it.
    if (c * joined).is_multiple_of(32) && len >= 4 * c * joined && joined <= 8 {
        joined
    } else {
        1
    }
}

struct Strip<'a, T, F, const K: usize, const P: usize, const N: usize> {
    c: usize,
    strip: [&'a [T]; K],
    per_column: [&'a [T]; P],
    f: &'a F,
    sums: &'a mut [Vec<T>; N],
}

impl<T, F, const K: usize, const P: usize, const N: usize> LaneKernel for Strip<'_, T, F, K, P, N>
where
    T: Real,
    F: Fn([T; K], [T; P]) -> [T; N],
{
    #[inline(always)]
    fn run<const L: usize>(&mut self, channel: usize) {
        let params: [[T; L]; P] = load_each(&self.per_column, channel);
        let mut sums = [[T::zero(); L]; N];
        for n in 0..N {
            sums[n].copy_from_slice(&self.sums[n][channel..channel + L]);
        }
        let mut at = channel;
        while at < self.strip[0].len() {
            let rows: [[T; L]; K] = load_each(&self.strip, at);
            for lane in 0..L {
                let terms = (self.f)(lane_of(&rows, lane), lane_of(&params, lane));
                for n in 0..N {
                    sums[n][lane] += terms[n];
                }
            }
            at += self.c;
        }
        for n in 0..N {
            self.sums[n][channel..channel + L].copy_from_slice(&sums[n]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, on_all, random, repeatable};

    #[test]
    fn sums_are_those_of_the_naive_loop() {
        for (rows, c) in [(1, 1), (1000, 1), (700, 43), (65, 32), (0, 5), (3, 0)] {
            let x = random(1, rows * c);
            let before = random(2, c);
            let mut sums = vec![0.0; c];
            for (i, x) in x.iter().enumerate() {
                sums[i % c] += x;
            }
            on_all!(|cx, T| {
                let x = cast::<T>(&x);
                let actual = repeatable(|| {
                    let mut actual = cast::<T>(&before);
                    column_sums(&mut cx, rows, c, &x, &mut actual, true);
                    actual
                });
                close(
                    &actual,
                    &sums
                        .iter()
                        .zip(&before)
                        .map(|(a, b)| a + b)
                        .collect::<Vec<_>>(),
                );
                let mut actual = actual;
                column_sums(&mut cx, rows, c, &x, &mut actual, false);
                close(&actual, &sums);
            });
        }
    }
}
