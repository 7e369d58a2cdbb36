//! Moving elements by a separable index map: slices, padding, repetition, picking, upsampling.

use crate::rows::{In, Out};
use crate::{Context, Real};

/// An entry of an axis that reads nothing: the result is the constant.
const NOWHERE: usize = usize::MAX;

/// Innermost axes are made one until rows are this long, so that a row is worth its start.
const ROW_MIN: usize = 64;

/// The longest row that merging may make.
const ROW_MAX: usize = 4096;

/// Where each element of a row-major result comes from: the sum of one offset an axis.
///
/// Axis `j` of the result has a list of offsets into the source; element `(i, j, k, …)` is
/// `source[a[i] + b[j] + c[k] + …]`. If any of the offsets is `None` it is a constant instead.
/// A transposition has the strides of the source as offsets, a reversed axis descending ones, a
/// repeated axis zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remap {
    outer: Vec<Vec<usize>>,
    row: Vec<usize>,
    /// The row as stretches that are contiguous in the source, if there are few of them.
    runs: Option<Vec<Run>>,
    source: usize,
    rows: usize,
    /// Whether each step along the outermost axis reads the next equal part of the source only.
    blocks: bool,
}

/// A stretch of a row that comes from a stretch of the source, or from nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    at: usize,
    from: usize,
    len: usize,
}

impl Remap {
    /// A map from a source of `source` elements, by the offsets of each axis of the result.
    ///
    /// # Panics
    /// If a sum of offsets lies outside of the source.
    pub fn new(source: usize, axes: &[Vec<Option<usize>>]) -> Remap {
        let flat = |axis: &Vec<Option<usize>>| -> Vec<usize> {
            axis.iter().map(|at| at.unwrap_or(NOWHERE)).collect()
        };
        let mut outer: Vec<Vec<usize>> = axes.iter().map(flat).collect();
        let furthest = |axis: &Vec<usize>| axis.iter().filter(|at| **at != NOWHERE).max().copied();
        // An axis that reads nothing at all makes the whole result constant.
        let reach = |axes: &[Vec<usize>]| {
            let each = axes.iter().map(furthest).collect::<Option<Vec<usize>>>();
            each.map(|furthest| furthest.into_iter().fold(0, usize::saturating_add))
        };
        let empty = outer.iter().any(Vec::is_empty);
        assert!(
            empty || reach(&outer).is_none_or(|last| last < source),
            "the map reads past its source"
        );
        let mut row = outer.pop().unwrap_or_else(|| vec![0]);
        while row.len() < ROW_MIN
            && let Some(axis) = outer.pop_if(|axis| axis.len() * row.len() <= ROW_MAX)
        {
            row = merged(&axis, &row);
        }
        let blocks = outer.first().is_some_and(|first| {
            let part = source / first.len().max(1);
            let inner: Vec<Vec<usize>> = outer[1..].iter().chain([&row]).cloned().collect();
            first.iter().enumerate().all(|(i, at)| *at == i * part)
                && part * first.len() == source
                && reach(&inner).is_none_or(|last| last < part)
        });
        Remap {
            rows: outer.iter().map(Vec::len).product(),
            runs: runs(&row),
            outer,
            row,
            source,
            blocks,
        }
    }

    /// The number of elements of the result.
    pub fn len(&self) -> usize {
        self.rows * self.row.len()
    }

    /// Whether the result has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `y[…] = x[sum of offsets]`, and `fill` where an offset is missing.
    ///
    /// # Panics
    /// If a slice has another length than the map says.
    pub fn forward<T: Real>(&self, cx: &mut Context<T>, x: &[T], fill: T, y: &mut [T]) {
        assert!(x.len() == self.source && y.len() == self.len());
        let width = self.row.len();
        cx.for_rows(self.rows, width, Out(y, width), |range, Out(y, _), _| {
            self.walk(range.start, y.chunks_exact_mut(width.max(1)), |base, y| {
                self.gather(base, x, fill, y);
            });
        });
    }

    /// The gradient of [`Remap::forward`]: `dx[sum of offsets] += dy[…]`.
    ///
    /// # Panics
    /// If a slice has another length than the map says.
    pub fn backward<T: Real>(&self, cx: &mut Context<T>, dy: &[T], dx: &mut [T], accumulate: bool) {
        assert!(dx.len() == self.source && dy.len() == self.len());
        // Parts of the source that no other part's elements come from are written at one time.
        let parts = if self.blocks { self.outer[0].len() } else { 1 };
        let (read, written) = (dy.len() / parts.max(1), dx.len() / parts.max(1));
        let data = (In(dy, read), Out(dx, written));
        cx.for_rows(parts, read, data, |range, (In(dy, _), Out(dx, _)), _| {
            if !accumulate {
                dx.fill(T::zero());
            }
            let start = range.start * written;
            let first = range.start * (self.rows / parts.max(1));
            self.walk(first, dy.chunks_exact(self.row.len().max(1)), |base, dy| {
                self.scatter(base.map(|base| base - start), dy, dx);
            });
        });
    }

    /// Calls `f` with the offset of each row from `first` on, `None` for rows that are constant.
    fn walk<R>(
        &self,
        first: usize,
        rows: impl Iterator<Item = R>,
        mut f: impl FnMut(Option<usize>, R),
    ) {
        let mut index = vec![0; self.outer.len()];
        let mut rest = first;
        for (i, axis) in index.iter_mut().zip(&self.outer).rev() {
            let len = axis.len().max(1);
            *i = rest % len;
            rest /= len;
        }
        for row in rows {
            let offsets = index.iter().zip(&self.outer).map(|(i, axis)| axis[*i]);
            f(offsets.fold(Some(0), plus), row);
            for (i, axis) in index.iter_mut().zip(&self.outer).rev() {
                *i += 1;
                if *i < axis.len() {
                    break;
                }
                *i = 0;
            }
        }
    }

    fn gather<T: Real>(&self, base: Option<usize>, x: &[T], fill: T, y: &mut [T]) {
        match (base, &self.runs) {
            (None, _) => y.fill(fill),
            (Some(base), Some(runs)) => {
                for run in runs {
                    let y = &mut y[run.at..run.at + run.len];
                    match run.from {
                        NOWHERE => y.fill(fill),
                        from => y.copy_from_slice(&x[base + from..][..run.len]),
                    }
                }
            }
            (Some(base), None) => {
                for (y, from) in y.iter_mut().zip(&self.row) {
                    *y = match *from {
                        NOWHERE => fill,
                        from => x[base + from],
                    };
                }
            }
        }
    }

    fn scatter<T: Real>(&self, base: Option<usize>, dy: &[T], dx: &mut [T]) {
        match (base, &self.runs) {
            (None, _) => {}
            (Some(base), Some(runs)) => {
                for run in runs.iter().filter(|run| run.from != NOWHERE) {
                    let dx = &mut dx[base + run.from..][..run.len];
                    dx.iter_mut()
                        .zip(&dy[run.at..])
                        .for_each(|(dx, dy)| *dx += *dy);
                }
            }
            (Some(base), None) => {
                for (dy, from) in dy.iter().zip(&self.row) {
                    if *from != NOWHERE {
                        dx[base + from] += *dy;
                    }
                }
            }
        }
    }
}

fn plus(sum: Option<usize>, offset: usize) -> Option<usize> {
    sum.filter(|_| offset != NOWHERE).map(|sum| sum + offset)
}

/// One axis in place of two neighbours.
fn merged(outer: &[usize], inner: &[usize]) -> Vec<usize> {
    let sum = |a: usize, b: usize| plus(plus(Some(0), a), b).unwrap_or(NOWHERE);
    let of = |a: &usize| {
        let a = *a;
        inner.iter().map(move |b| sum(a, *b))
    };
    outer.iter().flat_map(of).collect()
}

/// The longest contiguous stretches, if they are four elements long on average.
fn runs(row: &[usize]) -> Option<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, from) in row.iter().copied().enumerate() {
        match runs.last_mut() {
            Some(run) if run.from == NOWHERE && from == NOWHERE => run.len += 1,
            Some(run) if run.from != NOWHERE && run.from + run.len == from => run.len += 1,
            _ => runs.push(Run { at, from, len: 1 }),
        }
    }
    (runs.len() * 4 <= row.len().max(4)).then_some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    type Axes = Vec<Vec<Option<usize>>>;

    fn naive(axes: &[Vec<Option<usize>>], x: &[f64], fill: f64) -> Vec<f64> {
        let mut sums = vec![Some(0)];
        for axis in axes {
            sums = sums
                .iter()
                .flat_map(|sum| axis.iter().map(|at| Some(sum.as_ref()? + (*at)?)))
                .collect();
        }
        sums.into_iter()
            .map(|at| at.map_or(fill, |at| x[at]))
            .collect()
    }

    fn steps(len: usize, first: usize, step: isize) -> Vec<Option<usize>> {
        (0..len as isize)
            .map(|i| first.checked_add_signed(i * step))
            .collect()
    }

    /// Maps of a source of 3·40·19·7 elements.
    fn cases() -> Vec<Axes> {
        let [s0, s1, s2] = [40 * 19 * 7, 19 * 7, 7];
        let padded = |len: usize, stride: isize| {
            let mut axis = vec![None, None];
            axis.extend(steps(len, 0, stride));
            axis.push(None);
            axis
        };
        vec![
            // As it is, cut, backwards, padded, repeated, picked, transposed, and of no axis.
            vec![
                steps(3, 0, s0 as isize),
                steps(40, 0, s1 as isize),
                steps(s1, 0, 1),
            ],
            vec![
                steps(3, 0, s0 as isize),
                steps(30, 5 * s1, s1 as isize),
                steps(100, 3, 1),
            ],
            vec![
                steps(3, 2 * s0, -(s0 as isize)),
                steps(40, 0, s1 as isize),
                steps(7, 132, -2),
            ],
            vec![
                padded(3, s0 as isize),
                padded(40, s1 as isize),
                padded(19, 7),
                padded(7, 1),
            ],
            vec![
                vec![Some(0); 5],
                steps(40, 0, s1 as isize),
                vec![Some(0); 3],
                steps(7, 0, 1),
            ],
            vec![
                vec![Some(s0), Some(0), Some(s0)],
                steps(19, 0, s2 as isize),
                steps(4, 1, 2),
            ],
            vec![
                steps(7, 0, 1),
                steps(19, 0, 7),
                steps(40, 0, s1 as isize),
                steps(3, 0, s0 as isize),
            ],
            vec![vec![None; 4], steps(100, 0, 1)],
            vec![],
        ]
    }

    #[test]
    fn elements_come_from_where_the_naive_sum_says() {
        let x = random(1, 3 * 40 * 19 * 7);
        for axes in cases() {
            let map = Remap::new(x.len(), &axes);
            let expected = naive(&axes, &x, 0.5);
            assert_eq!(map.len(), expected.len());
            on_all!(|cx, T| {
                let mut y = vec![T::default(); map.len()];
                map.forward(&mut cx, &cast::<T>(&x), T::from_f64(0.5), &mut y);
                close(&y, &expected);
            });
        }
    }

    #[test]
    fn gradients_go_back_to_where_elements_came_from() {
        let x = random(1, 3 * 40 * 19 * 7);
        for axes in cases() {
            let map = Remap::new(x.len(), &axes);
            let dy = random(2, map.len());
            let mut expected = vec![0.0; x.len()];
            let places: Vec<f64> = (0..x.len()).map(|i| i as f64).collect();
            for (from, dy) in naive(&axes, &places, -1.0).iter().zip(&dy) {
                if *from >= 0.0 {
                    expected[*from as usize] += dy;
                }
            }
            on_all!(|cx, T| {
                let mut dx = vec![T::from_f64(3.0); x.len()];
                map.backward(&mut cx, &cast::<T>(&dy), &mut dx, false);
                close(&dx, &expected);
                map.backward(&mut cx, &cast::<T>(&dy), &mut dx, true);
                close(&dx, &expected.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
            });
        }
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let axes = vec![vec![None, Some(0), Some(6), Some(0)], steps(3, 4, -2)];
        let map = Remap::new(12, &axes);
        let (x, dy) = (random(1, 12), random(2, 12));
        let mut cx = Context::<f64>::new(1).unwrap();
        let mut dx = vec![0.0; 12];
        map.backward(&mut cx, &dy, &mut dx, false);
        is_gradient(&x, &dx, |x| dot(&dy, &naive(&axes, x, 0.5)));
    }
}
