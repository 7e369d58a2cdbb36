//! Products with a matrix that is never in memory as a whole: its rows are made a few at a time,
//! and used while they are in the cache.
//!
//! For a few samples such a product is bound by memory: reading a matrix of single floats from a
//! file in the system's cache and converting it on the way is several times as fast as converting
//! it first, which writes and reads twice the bytes again.

use std::ops::Range;

use crate::context::grown;
use crate::lanes::{load_each, vectorized};
use crate::matrix::multiply;
use crate::{Context, Matrix, Real};

/// A matrix, or a tensor of more axes, whose rows (slices along the first axis) can be had a few at
/// a time, from several threads.
pub trait RowSource<T>: Send + Sync {
    /// Writes some rows one after the other into `to`, which they fill.
    fn read(&self, rows: Range<usize>, to: &mut [T]);
}

/// Elements of the rows that are made at once: what stays in the second level of a cache.
const BLOCK: usize = 1 << 15;
/// The same where more samples go through a general product, which rearranges its operands.
const LARGE_BLOCK: usize = 1 << 18;
/// Up to so many samples are gone through by the loops here.
const FEW: usize = 16;

/// The rows that are made at once.
fn block_rows(samples: usize, width: usize) -> usize {
    let elements = if samples <= FEW { BLOCK } else { LARGE_BLOCK };
    (elements / width.max(1)).max(2)
}

/// `y = x·wᵀ` for `samples` rows `x` of `width` elements; `w` has `rows` rows of as many.
///
/// # Panics
/// If lengths do not fit each other.
pub fn matmul_transposed<T: Real>(
    cx: &mut Context<T>,
    x: &[T],
    w: &dyn RowSource<T>,
    [samples, width, rows]: [usize; 3],
    y: &mut [T],
) {
    assert!(x.len() == samples * width && y.len() == samples * rows);
    if samples * width * rows == 0 {
        return y.fill(T::zero());
    }
    let at_once = block_rows(samples, width);
    // Each thread leaves its columns of the result, transposed, in scratch memory.
    let ranges = cx.for_rows(rows, samples * width + 1, (), |range, (), scratch| {
        let (part, block) = grown(scratch, range.len() * samples + at_once * width)
            .split_at_mut(range.len() * samples);
        let mut from = range.start;
        while from < range.end {
            let count = at_once.min(range.end - from);
            let block = &mut block[..count * width];
            w.read(from..from + count, block);
            let part = &mut part[(from - range.start) * samples..][..count * samples];
            if samples <= FEW {
                dots(x, block, samples, width, part);
            } else {
                let (block, x) = (
                    Matrix::new(block, count, width),
                    Matrix::new(x, samples, width),
                );
                multiply(block, x.t(), part, samples, false);
            }
            from += count;
        }
        range
    });
    for (range, part) in ranges.into_iter().zip(cx.scratch()) {
        for (row, results) in range.zip(part.chunks_exact(samples.max(1))) {
            for (sample, result) in results.iter().enumerate() {
                y[sample * rows + row] = *result;
            }
        }
    }
}

/// `y = x·w` for `samples` rows `x` of `rows` elements; `w` has so many rows of `width`.
///
/// # Panics
/// If lengths do not fit each other.
pub fn matmul<T: Real>(
    cx: &mut Context<T>,
    x: &[T],
    w: &dyn RowSource<T>,
    [samples, rows, width]: [usize; 3],
    y: &mut [T],
) {
    assert!(x.len() == samples * rows && y.len() == samples * width);
    if samples * width * rows == 0 {
        return y.fill(T::zero());
    }
    let at_once = block_rows(samples, width);
    // Each thread sums over its rows.
    let parts = cx.for_rows(rows, samples * width + 1, (), |range, (), scratch| {
        let (sum, block) =
            grown(scratch, samples * width + at_once * width).split_at_mut(samples * width);
        sum.fill(T::zero());
        let mut from = range.start;
        while from < range.end {
            let count = at_once.min(range.end - from);
            let block = &mut block[..count * width];
            w.read(from..from + count, block);
            if samples <= FEW {
                add_rows(x, from, rows, block, width, sum);
            } else {
                let x = Matrix::strided(&x[from..], samples, count, rows);
                multiply(x, Matrix::new(block, count, width), sum, width, true);
            }
            from += count;
        }
    });
    cx.sum_scratch(parts.len(), y, false);
}

/// Columns that do, of four samples: sums of doubles fill eight registers of AVX2.
const COLUMNS: usize = 8;
/// Samples and rows that go through the loops together: 4 × 2 sums fit the registers.
const SAMPLES: usize = 4;

/// `part[row][sample]`: the products of each row of a block with each sample.
fn dots<T: Real>(x: &[T], block: &[T], samples: usize, width: usize, part: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            let mut pairs = block.chunks_exact(2 * width);
            let mut results = part.chunks_exact_mut(2 * samples);
            for (pair, results) in pairs.by_ref().zip(results.by_ref()) {
                let (a, b) = pair.split_at(width);
                over_samples(x, [a, b], samples, width, results);
            }
            let last = pairs.remainder();
            if last.len() == width {
                over_samples(x, [last], samples, width, results.into_remainder());
            }
        },
    );
}

/// The products of some rows with all samples, four at a time.
#[inline(always)]
fn over_samples<T: Real, const R: usize>(
    x: &[T],
    rows: [&[T]; R],
    samples: usize,
    width: usize,
    results: &mut [T],
) {
    let sample = |at: usize| &x[at * width..][..width];
    let mut at = 0;
    while at + SAMPLES <= samples {
        let four = [sample(at), sample(at + 1), sample(at + 2), sample(at + 3)];
        put(dot(four, rows), at, samples, results);
        at += SAMPLES;
    }
    while at < samples {
        put(dot([sample(at)], rows), at, samples, results);
        at += 1;
    }
}

#[inline(always)]
fn put<T: Real, const M: usize, const R: usize>(
    sums: [[T; M]; R],
    at: usize,
    samples: usize,
    results: &mut [T],
) {
    for (row, sums) in sums.iter().enumerate() {
        results[row * samples + at..][..M].copy_from_slice(sums);
    }
}

/// Products of each of `R` rows with each of `M` samples.
#[inline(always)]
fn dot<T: Real, const M: usize, const R: usize>(x: [&[T]; M], rows: [&[T]; R]) -> [[T; M]; R] {
    // One vector of AVX2.
    if size_of::<T>() == 4 {
        dot_by::<T, M, R, 8>(x, rows)
    } else {
        dot_by::<T, M, R, 4>(x, rows)
    }
}

#[inline(always)]
fn dot_by<T: Real, const M: usize, const R: usize, const L: usize>(
    x: [&[T]; M],
    rows: [&[T]; R],
) -> [[T; M]; R] {
    let width = rows[0].len();
    let rest = width / L * L;
    let mut sums = [[[T::zero(); L]; M]; R];
    let mut at = 0;
    while at < rest {
        let (own, others) = (
            load_each::<T, L, R>(&rows, at),
            load_each::<T, L, M>(&x, at),
        );
        for r in 0..R {
            for m in 0..M {
                sums[r][m] = multiply_add(sums[r][m], own[r], others[m]);
            }
        }
        at += L;
    }
    let mut totals = [[T::zero(); M]; R];
    for r in 0..R {
        for m in 0..M {
            totals[r][m] = total(&sums[r][m]);
            for at in rest..width {
                totals[r][m] += rows[r][at] * x[m][at];
            }
        }
    }
    totals
}

#[inline(always)]
fn multiply_add<T: Real, const L: usize>(mut sum: [T; L], a: [T; L], b: [T; L]) -> [T; L] {
    for l in 0..L {
        sum[l] += a[l] * b[l];
    }
    sum
}

/// The sum over lanes. Not inlined: that the lanes are written to memory is what makes the compiler
/// keep them in one register.
#[inline(never)]
fn total<T: Real>(lanes: &[T]) -> T {
    lanes.iter().fold(T::zero(), |sum, x| sum + *x)
}

/// Adds each row of a block times its element of each sample: `sum[sample] += x[sample][from + i] ·
/// block[i]`.
fn add_rows<T: Real>(x: &[T], from: usize, rows: usize, block: &[T], width: usize, sum: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            for (four, sums) in sum.chunks_mut(SAMPLES * width).enumerate() {
                let x = &x[four * SAMPLES * rows + from..];
                let mut column = 0;
                let samples = sums.len() / width;
                while column + COLUMNS <= width {
                    if samples == SAMPLES {
                        add_columns::<T, SAMPLES, COLUMNS>(x, rows, block, width, column, sums);
                    } else {
                        for sample in 0..samples {
                            let (x, sums) = (&x[sample * rows..], &mut sums[sample * width..]);
                            add_columns::<T, 1, COLUMNS>(x, rows, block, width, column, sums);
                        }
                    }
                    column += COLUMNS;
                }
                while column < width {
                    for sample in 0..samples {
                        let (x, sums) = (&x[sample * rows..], &mut sums[sample * width..]);
                        add_columns::<T, 1, 1>(x, rows, block, width, column, sums);
                    }
                    column += 1;
                }
            }
        },
    );
}

/// The same for `L` columns from `column` on and `M` samples.
#[inline(always)]
fn add_columns<T: Real, const M: usize, const L: usize>(
    x: &[T],
    rows: usize,
    block: &[T],
    width: usize,
    column: usize,
    sums: &mut [T],
) {
    let mut own = [[T::zero(); L]; M];
    for m in 0..M {
        own[m].copy_from_slice(&sums[m * width + column..][..L]);
    }
    for (i, row) in block.chunks_exact(width).enumerate() {
        let row = &row[column..][..L];
        for m in 0..M {
            let factor = x[m * rows + i];
            for l in 0..L {
                own[m][l] += factor * row[l];
            }
        }
    }
    for m in 0..M {
        sums[m * width + column..][..L].copy_from_slice(&own[m]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, on_all, random};

    struct Stored<T>(Vec<T>, usize);

    impl<T: Real> RowSource<T> for Stored<T> {
        fn read(&self, rows: Range<usize>, to: &mut [T]) {
            to.copy_from_slice(&self.0[rows.start * self.1..rows.end * self.1]);
        }
    }

    /// Samples, rows and width; some are more than one block a thread.
    const SIZES: [[usize; 3]; 8] = [
        [1, 1, 1],
        [4, 6, 16],
        [3, 7, 35],
        [9, 50, 61],
        [17, 40, 33],
        [5, 301, 700],
        [20, 700, 900],
        [2, 5, 0],
    ];

    #[test]
    fn rows_that_make_outputs() {
        for (seed, [samples, rows, width]) in SIZES.into_iter().enumerate() {
            let x = random(seed as u64, samples * width);
            let w = random(100 + seed as u64, rows * width);
            let at = |i: usize| dot(row(&x, i / rows, width), row(&w, i % rows, width));
            let expected: Vec<f64> = (0..samples * rows).map(at).collect();
            on_all!(|cx, T| {
                let (x, w) = (cast::<T>(&x), Stored(cast::<T>(&w), width));
                let mut y = vec![T::from_f64(1.0); samples * rows];
                matmul_transposed(&mut cx, &x, &w, [samples, width, rows], &mut y);
                close(&y, &expected);
            });
        }
    }

    #[test]
    fn rows_that_read_inputs() {
        for (seed, [samples, rows, width]) in SIZES.into_iter().enumerate() {
            let x = random(seed as u64, samples * rows);
            let w = random(100 + seed as u64, rows * width);
            let column = |at: usize| {
                w.iter()
                    .skip(at)
                    .step_by(width)
                    .copied()
                    .collect::<Vec<_>>()
            };
            let at = |i: usize| dot(row(&x, i / width, rows), &column(i % width));
            let expected: Vec<f64> = (0..samples * width).map(at).collect();
            on_all!(|cx, T| {
                let (x, w) = (cast::<T>(&x), Stored(cast::<T>(&w), width));
                let mut y = vec![T::from_f64(1.0); samples * width];
                matmul(&mut cx, &x, &w, [samples, rows, width], &mut y);
                close(&y, &expected);
            });
        }
    }

    fn row(data: &[f64], at: usize, width: usize) -> &[f64] {
        &data[at * width..][..width]
    }
}
