//! Products of many matrices, with broadcasting of the leading axes.

use crate::{Context, Matrix, Real, matmul};

/// Which matrices are multiplied: `c[i] = a[pairs[i].0] · b[pairs[i].1]`, each of `m × k` and
/// `k × n`, row-major one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batched {
    pairs: Vec<(usize, usize)>,
    m: usize,
    k: usize,
    n: usize,
}

impl Batched {
    /// Products over leading axes `a` and `b`, aligned from the innermost and repeated where they
    /// are 1. Where one `b` serves all, the rows of all `a` are those of one matrix.
    ///
    /// # Panics
    /// If axes do not go together.
    pub fn new(a: &[usize], b: &[usize], [m, k, n]: [usize; 3]) -> Self {
        if b.iter().all(|size| *size == 1) && b.len() <= a.len() {
            let m = m * a.iter().product::<usize>();
            let pairs = vec![(0, 0)];
            return Batched { pairs, m, k, n };
        }
        let rank = a.len().max(b.len());
        let filled = |sizes: &[usize]| {
            let mut full = vec![1; rank - sizes.len()];
            full.extend(sizes);
            full
        };
        let (a, b) = (filled(a), filled(b));
        let mut pairs = vec![(0, 0)];
        for (&a, &b) in a.iter().zip(&b) {
            assert!(
                a == b || a == 1 || b == 1,
                "axes of {a} and {b} do not go together"
            );
            let len = if a == 1 { b } else { a };
            let along =
                |(i, j)| (0..len).map(move |at| (i * a + at % a.max(1), j * b + at % b.max(1)));
            pairs = pairs.into_iter().flat_map(along).collect();
        }
        Batched { pairs, m, k, n }
    }

    /// The `[m, k, n]` of the only product, if there is only one.
    pub fn as_one(&self) -> Option<[usize; 3]> {
        (self.pairs.len() == 1).then_some([self.m, self.k, self.n])
    }

    /// `c[i] = a[…] · b[…]`.
    ///
    /// # Panics
    /// If a slice is shorter than the products reach.
    pub fn forward<T: Real>(&self, cx: &mut Context<T>, a: &[T], b: &[T], c: &mut [T]) {
        let (m, k, n) = (self.m, self.k, self.n);
        for (&(i, j), c) in self.pairs.iter().zip(c.chunks_exact_mut((m * n).max(1))) {
            matmul(cx, matrix(a, i, m, k), matrix(b, j, k, n), c, false);
        }
    }

    /// The gradient with respect to `a`: `da[…] = Σ dc[i] · b[…]ᵀ`.
    ///
    /// # Panics
    /// If a slice is shorter than the products reach.
    pub fn backward_a<T: Real>(
        &self,
        cx: &mut Context<T>,
        dc: &[T],
        b: &[T],
        da: &mut [T],
        accumulate: bool,
    ) {
        let (m, k, n) = (self.m, self.k, self.n);
        if !accumulate {
            da.fill(T::zero());
        }
        for (at, &(i, j)) in self.pairs.iter().enumerate() {
            let da = &mut da[i * m * k..][..m * k];
            matmul(cx, matrix(dc, at, m, n), matrix(b, j, k, n).t(), da, true);
        }
    }

    /// The gradient with respect to `b`: `db[…] = Σ a[…]ᵀ · dc[i]`.
    ///
    /// # Panics
    /// If a slice is shorter than the products reach.
    pub fn backward_b<T: Real>(
        &self,
        cx: &mut Context<T>,
        a: &[T],
        dc: &[T],
        db: &mut [T],
        accumulate: bool,
    ) {
        let (m, k, n) = (self.m, self.k, self.n);
        if !accumulate {
            db.fill(T::zero());
        }
        for (at, &(i, j)) in self.pairs.iter().enumerate() {
            let db = &mut db[j * k * n..][..k * n];
            matmul(cx, matrix(a, i, m, k).t(), matrix(dc, at, m, n), db, true);
        }
    }
}

/// Matrix `at` of those in `data`.
fn matrix<T: Real>(data: &[T], at: usize, rows: usize, cols: usize) -> Matrix<'_, T> {
    Matrix::new(&data[at * rows * cols..][..rows * cols], rows, cols)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, on_all, random};

    /// The flat index of an operand's matrix for an index of the output's leading axes.
    fn at(sizes: &[usize], index: &[usize]) -> usize {
        let own = &index[index.len() - sizes.len()..];
        own.iter()
            .zip(sizes)
            .fold(0, |at, (i, size)| at * size + i % size)
    }

    #[test]
    fn products_and_their_gradients_are_those_of_the_naive_loop() {
        let cases: [(&[usize], &[usize], &[usize]); 8] = [
            (&[], &[], &[]),
            (&[2, 3], &[], &[2, 3]),
            (&[2, 3], &[1, 1], &[2, 3]),
            (&[], &[3], &[3]),
            (&[2, 3], &[2, 3], &[2, 3]),
            (&[2, 1], &[4], &[2, 4]),
            (&[3], &[2, 1], &[2, 3]),
            (&[1], &[1, 1], &[1, 1]),
        ];
        let [m, k, n] = [3, 5, 4];
        for (a_lead, b_lead, lead) in cases {
            let len = |sizes: &[usize]| sizes.iter().product::<usize>();
            let (a, b) = (
                random(1, len(a_lead) * m * k),
                random(2, len(b_lead) * k * n),
            );
            let dc = random(3, len(lead) * m * n);
            let mut c = vec![0.0; dc.len()];
            let (mut da, mut db) = (vec![0.0; a.len()], vec![0.0; b.len()]);
            for batch in 0..len(lead) {
                let mut index = vec![0; lead.len()];
                let mut rest = batch;
                for axis in (0..lead.len()).rev() {
                    index[axis] = rest % lead[axis];
                    rest /= lead[axis];
                }
                let (i, j) = (at(a_lead, &index) * m * k, at(b_lead, &index) * k * n);
                for at in 0..m * k * n {
                    let (row, inner, col) = (at / k / n, at / n % k, at % n);
                    let (a_at, b_at) = (i + row * k + inner, j + inner * n + col);
                    let c_at = batch * m * n + row * n + col;
                    c[c_at] += a[a_at] * b[b_at];
                    da[a_at] += dc[c_at] * b[b_at];
                    db[b_at] += dc[c_at] * a[a_at];
                }
            }
            let batched = Batched::new(a_lead, b_lead, [m, k, n]);
            on_all!(|cx, T| {
                let (a, b, dc) = (cast::<T>(&a), cast::<T>(&b), cast::<T>(&dc));
                let mut actual = vec![T::from_f64(9.0); c.len()];
                batched.forward(&mut cx, &a, &b, &mut actual);
                close(&actual, &c);
                for accumulate in [false, true] {
                    let times = if accumulate { 2.0 } else { 1.0 };
                    let twice = |d: &[f64]| d.iter().map(|d| times * d).collect::<Vec<_>>();
                    let mut actual = cast::<T>(&da);
                    batched.backward_a(&mut cx, &dc, &b, &mut actual, accumulate);
                    close(&actual, &twice(&da));
                    let mut actual = cast::<T>(&db);
                    batched.backward_b(&mut cx, &a, &dc, &mut actual, accumulate);
                    close(&actual, &twice(&db));
                }
            });
        }
    }
}
