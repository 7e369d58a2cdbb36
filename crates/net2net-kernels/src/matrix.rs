//! Matrix products: the `gemm` crates behind one checked, safe function.

use gemm_common::Parallelism;

use crate::context::grown;
use crate::elementwise;
use crate::rows::Out;
use crate::{Context, Real};

/// `C = α·C + β·A·B` of `m × n` numbers, by `m`, `n`, `k`, then for C its pointer, the strides of
/// its columns and its rows and whether it is read, for A and for B the same without that, α, β,
/// three conjugations and the threads.
pub type Multiply<T> = unsafe fn(
    usize,
    usize,
    usize,
    *mut T,
    isize,
    isize,
    bool,
    *const T,
    isize,
    isize,
    *const T,
    isize,
    isize,
    T,
    T,
    bool,
    bool,
    bool,
    Parallelism,
);

/// A number of which matrices can be multiplied.
pub trait Product: Sized {
    /// The fastest product that this machine has.
    fn product() -> Multiply<Self>;
}

impl Product for f32 {
    fn product() -> Multiply<f32> {
        gemm_f32::gemm::f32::get_gemm_fn()
    }
}

impl Product for f64 {
    fn product() -> Multiply<f64> {
        gemm_f64::gemm::f64::get_gemm_fn()
    }
}

/// A matrix to read, in any order: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
/// Transposing costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// `rows × cols` elements, row after row.
    ///
    /// # Panics
    /// If `data` has another length.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} × {cols} matrix");
        Self {
            data,
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// `rows × cols` elements, each row beginning `row_stride` after the one before. Rows may
    /// overlap.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        let matrix = Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        };
        assert!(
            matrix.span() <= data.len(),
            "a {rows} × {cols} matrix by {row_stride}"
        );
        matrix
    }

    /// The transposed matrix.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// The rows `first..first + rows`.
    fn rows(self, first: usize, rows: usize) -> Self {
        debug_assert!(first + rows <= self.rows);
        let start = (first * self.row_stride).min(self.data.len());
        Self {
            data: &self.data[start..],
            rows,
            ..self
        }
    }

    /// How many elements of `data` it reaches over.
    fn span(&self) -> usize {
        match (self.rows, self.cols) {
            (0, _) | (_, 0) => 0,
            (rows, cols) => (rows - 1) * self.row_stride + (cols - 1) * self.col_stride + 1,
        }
    }
}

/// Threads share columns in groups of so many: where they begin within a vector, products are slower.
const COLUMNS: usize = 16;

/// `C = A·B`, or `C += A·B`, on all threads; `c` is `a.rows × b.cols`, row-major.
///
/// Threads share the rows of `C`, or its columns where it has few rows or `B` is much larger than `A` and `C`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn matmul<T: Real>(
    cx: &mut Context<T>,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    accumulate: bool,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(c.len(), m * n);
    let threads = cx.threads();
    let few = m < 16 * threads && m < n;
    if few && b.col_stride != 1 {
        return columns_of_turned(cx, a, b, c, accumulate);
    }
    // Each thread reads the whole of one factor, and mostly arranges it for itself, so that should be the smaller
    // one. Columns of C are not a slice, and have to be copied.
    if threads == 1 || m >= n || (!few && k * (n - m) < 4 * m * n) {
        cx.for_rows(m, n * k / 8 + n, Out(c, n), |range, Out(c, _), _| {
            multiply(a.rows(range.start, range.len()), b, c, n, accumulate);
        });
        return;
    }
    let units = n.div_ceil(COLUMNS);
    let work = COLUMNS * (m * k / 8 + m);
    let ranges = cx.for_rows(units, work, (), |units, (), scratch| {
        let range = units.start * COLUMNS..n.min(units.end * COLUMNS);
        let part = grown(scratch, range.len() * m);
        let b = b.t().rows(range.start, range.len()).t();
        multiply(a, b, part, range.len(), false);
        range
    });
    for (range, part) in ranges.into_iter().zip(cx.scratch()) {
        let rows = c
            .chunks_exact_mut(n)
            .zip(part.chunks_exact(range.len().max(1)));
        for (c, part) in rows {
            elementwise::write(
                accumulate,
                part,
                &mut c[range.clone()],
                #[inline(always)]
                |x| x,
            );
        }
    }
}

/// [`matmul`] of few rows with a matrix whose columns lie together: nothing is arranged if these are the rows of a
/// product, which is then turned.
fn columns_of_turned<T: Real>(
    cx: &mut Context<T>,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    accumulate: bool,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let ranges = cx.for_rows(n, m * k / 8 + m, (), |range, (), scratch| {
        let part = grown(scratch, range.len() * m);
        multiply(b.t().rows(range.start, range.len()), a.t(), part, m, false);
        range
    });
    for (range, part) in ranges.into_iter().zip(cx.scratch()) {
        for (j, column) in range.zip(part.chunks_exact(m.max(1))) {
            for (i, &x) in column.iter().enumerate() {
                let c = &mut c[i * n + j];
                *c = if accumulate { *c + x } else { x };
            }
        }
    }
}

/// `C = A·B`, or `C += A·B`, on this thread. Row `i` of `C` is `c[i * c_stride..][..b.cols]`.
pub(crate) fn multiply<T: Real>(
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    c_stride: usize,
    accumulate: bool,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    if m == 0 || n == 0 {
        return;
    }
    assert_eq!(k, b.rows, "the inner sizes of a matrix product");
    assert!(
        n <= c_stride && (m - 1) * c_stride + n <= c.len(),
        "the size of a matrix product"
    );
    assert!(a.span() <= a.data.len() && b.span() <= b.data.len());
    let alpha = if accumulate { T::one() } else { T::zero() };
    let left = (
        a.data.as_ptr(),
        a.col_stride as isize,
        a.row_stride as isize,
    );
    let right = (
        b.data.as_ptr(),
        b.col_stride as isize,
        b.row_stride as isize,
    );
    // The crates want columns whose numbers lie together: Cᵀ = Bᵀ·Aᵀ has them.
    let transposed = c_stride > 1;
    let (m, n, left, right) = if transposed {
        let turned = |(data, columns, rows)| (data, rows, columns);
        (n, m, turned(right), turned(left))
    } else {
        (m, n, left, right)
    };
    let (columns, rows) = if transposed {
        (c_stride as isize, 1)
    } else {
        (1, c_stride as isize)
    };
    // SAFETY: by the assertions above, every element of A, B and C that the strides reach lies
    // within its slice; C's rows do not overlap, and C is borrowed mutably, so it overlaps
    // neither A nor B. Lengths of slices fit an isize.
    unsafe {
        T::product()(
            m,
            n,
            k,
            c.as_mut_ptr(),
            columns,
            rows,
            accumulate,
            left.0,
            left.1,
            left.2,
            right.0,
            right.1,
            right.2,
            alpha,
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{close, on_all, random};

    fn naive(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
        let dot = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
        (0..m * n).map(|ij| dot(ij / n, ij % n)).collect()
    }

    #[test]
    fn products_are_those_of_the_naive_loop() {
        let sizes = [
            (1, 1, 1),
            (3, 5, 7),
            (200, 33, 129),
            (4, 900, 65),
            (64, 10, 512),
            (5, 3, 0),
            (0, 4, 2),
        ];
        for (seed, (m, n, k)) in sizes.into_iter().enumerate() {
            let a = random(seed as u64, m * k);
            let b = random(100 + seed as u64, k * n);
            let expected = naive(&a, &b, m, n, k);
            on_all!(|cx, T| {
                let (a, b) = (crate::check::cast::<T>(&a), crate::check::cast::<T>(&b));
                let mut c = vec![T::from_f64(2.0); m * n];
                matmul(
                    &mut cx,
                    Matrix::new(&a, m, k),
                    Matrix::new(&b, k, n),
                    &mut c,
                    false,
                );
                close(&c, &expected);
                matmul(
                    &mut cx,
                    Matrix::new(&a, m, k),
                    Matrix::new(&b, k, n),
                    &mut c,
                    true,
                );
                let twice = expected.iter().map(|x| x * 2.0).collect::<Vec<_>>();
                close(&c, &twice);
                let turned: Vec<T> = (0..k * n).map(|i| b[i % k * n + i / k]).collect();
                let turned = Matrix::new(&turned, n, k).t();
                matmul(&mut cx, Matrix::new(&a, m, k), turned, &mut c, false);
                close(&c, &expected);
                matmul(&mut cx, Matrix::new(&a, m, k), turned, &mut c, true);
                close(&c, &twice);
            });
        }
    }

    #[test]
    fn a_transpose_is_only_a_view() {
        let a = random(1, 6);
        let mut cx = Context::<f64>::new(1).unwrap();
        let mut c = [0.0; 4];
        matmul(
            &mut cx,
            Matrix::new(&a, 3, 2).t(),
            Matrix::new(&a, 3, 2),
            &mut c,
            false,
        );
        let by_hand: f64 = (0..3).map(|i| a[i * 2] * a[i * 2 + 1]).sum();
        assert!((c[1] - by_hand).abs() < 1e-12 && (c[2] - by_hand).abs() < 1e-12);
    }
}
