//! Slices along several axes copied at once, each times its factors.

use std::ops::Range;

use net2net_kernels::Real;
use net2net_kernels::slices::{Number, gather, scale, scale_each};

use crate::dims::AxisMap;
use crate::weights::Tensor;

/// Shorter slices are gone through together with their neighbours.
const SLICE_MIN: usize = 8;
/// Shorter pieces of a line are gathered element by element.
const PIECE_MIN: usize = 32;

/// Copies slices along all axes: each element times the factors of its positions, in the order of
/// the axes and rounded after each, as if one axis were taken after the other. Numbers of another
/// precision are converted first.
pub(super) fn take_all<S: Real, T: Real>(old: &Tensor<S>, maps: &[AxisMap]) -> Tensor<T> {
    let take = Take::new(old.shape(), maps);
    let shape = take.shape.clone();
    let mut data = vec![T::zero(); shape.iter().product()];
    // A number alone is a row by itself.
    let rows = shape.first().copied().unwrap_or(1);
    take.fill(old.data(), 0..rows, &mut data);
    Tensor::filled(shape, data)
}

/// How a tensor is made from another one: the maps of its axes, ready to be used on some of its rows
/// (slices along the first axis) at a time.
pub(super) struct Take<'a, T> {
    maps: &'a [AxisMap],
    old: Vec<usize>,
    shape: Vec<usize>,
    /// The last axis that is mapped.
    last: Option<usize>,
    /// Elements of a slice behind that axis.
    inner: usize,
    line: Option<Line<T>>,
}

impl<'a, T: Real> Take<'a, T> {
    /// From a tensor of the given sizes by one map an axis.
    pub(super) fn new(old: &[usize], maps: &'a [AxisMap]) -> Self {
        let last = maps.iter().rposition(|map| !map.is_identity());
        let mapped = last.map_or(0, |last| last + 1);
        let inner = old[mapped..].iter().product();
        let mut shape: Vec<usize> = maps.iter().map(|map| map.source.len()).collect();
        shape[mapped..].copy_from_slice(&old[mapped..]);
        let line = match last {
            Some(last) if inner < SLICE_MIN => Some(Line::new(&maps[last], inner)),
            _ => None,
        };
        Take {
            maps,
            old: old.to_vec(),
            shape,
            last,
            inner,
            line,
        }
    }

    /// The sizes of what is made.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Makes some rows from all of the old tensor, into a slice that they fill.
    pub(super) fn fill<S: Number>(&self, old: &[S], rows: Range<usize>, to: &mut [T]) {
        match self.last {
            None => {
                let width = to.len() / rows.len().max(1);
                scale(&old[rows.start * width..][..to.len()], &[], to);
            }
            Some(0) => self.fill_slices(old, &self.maps[0], rows, &mut Vec::new(), to),
            Some(last) => self.fill_lines(old, last, rows, to),
        }
    }

    /// The lines along the last mapped axis that some rows are made of.
    fn fill_lines<S: Number>(&self, old: &[S], last: usize, rows: Range<usize>, to: &mut [T]) {
        let outer = Outer {
            maps: &self.maps[..last],
            old: &self.old[..last],
        };
        let map = &self.maps[last];
        let lines: usize = self.shape[1..last].iter().product();
        let read = self.old[last] * self.inner;
        let length = map.source.len() * self.inner;
        let mut factors = Vec::new();
        let each = (rows.start * lines..rows.end * lines).zip(to.chunks_exact_mut(length.max(1)));
        for (row, to) in each {
            let from = outer.find(row, &mut factors) * read;
            let source = &old[from..][..read];
            match &self.line {
                Some(line) => line.take(source, &factors, to),
                None => {
                    self.fill_slices(source, map, 0..map.source.len(), &mut factors, to);
                }
            }
        }
    }

    /// Slices at some positions of a mapped axis, all of which are also multiplied by `factors`.
    fn fill_slices<S: Number>(
        &self,
        source: &[S],
        map: &AxisMap,
        positions: Range<usize>,
        factors: &mut Vec<T>,
        to: &mut [T],
    ) {
        let shared = factors.len();
        for (position, to) in positions.zip(to.chunks_exact_mut(self.inner.max(1))) {
            factors.truncate(shared);
            push(factors, map.factor[position]);
            let from = map.source[position] as usize * self.inner;
            scale(&source[from..][..self.inner], factors, to);
        }
        factors.truncate(shared);
    }
}

/// The axes before the last one that is mapped.
struct Outer<'a> {
    maps: &'a [AxisMap],
    old: &'a [usize],
}

impl Outer<'_> {
    /// The old row that a new one copies, and its factors.
    fn find<T: Real>(&self, mut row: usize, factors: &mut Vec<T>) -> usize {
        factors.clear();
        let mut rows: usize = self.maps.iter().map(|map| map.source.len()).product();
        let mut from = 0;
        for (map, old) in self.maps.iter().zip(self.old) {
            rows /= map.source.len();
            let position = row / rows;
            row %= rows;
            from = from * old + map.source[position] as usize;
            push(factors, map.factor[position]);
        }
        from
    }
}

/// Adds a factor that changes something.
fn push<T: Real>(factors: &mut Vec<T>, factor: f64) {
    if factor != 1.0 {
        factors.push(T::from_f64(factor));
    }
}

/// A row of short slices.
struct Line<T> {
    /// The factor of each element of the new row.
    factors: Vec<T>,
    /// Where each is in the old row.
    source: Vec<u32>,
    /// Stretches of the new row: where they begin, how long they are, and where they begin in the
    /// old row if they are one piece there too.
    pieces: Vec<(usize, usize, Option<usize>)>,
}

impl<T: Real> Line<T> {
    fn new(map: &AxisMap, inner: usize) -> Self {
        let factors = map.factor.iter();
        let places = map.source.iter();
        let source: Vec<u32> = places
            .flat_map(|at| (0..inner).map(move |i| *at * inner as u32 + i as u32))
            .collect();
        let mut pieces: Vec<(usize, usize, Option<usize>)> = Vec::new();
        let mut at = 0;
        for run in source.chunk_by(|a, b| a + 1 == *b) {
            let long = (run.len() >= PIECE_MIN).then_some(run[0] as usize);
            match (long, pieces.last_mut()) {
                (None, Some((_, length, None))) => *length += run.len(),
                _ => pieces.push((at, run.len(), long)),
            }
            at += run.len();
        }
        Line {
            factors: factors
                .flat_map(|factor| std::iter::repeat_n(T::from_f64(*factor), inner))
                .collect(),
            source,
            pieces,
        }
    }

    /// Makes a new row from an old one, all of which is also multiplied by `outer`.
    fn take<S: Number>(&self, row: &[S], outer: &[T], to: &mut [T]) {
        for (at, length, from) in &self.pieces {
            let own = &self.factors[*at..][..*length];
            let to = &mut to[*at..][..*length];
            match from {
                Some(from) => scale_each(&row[*from..][..*length], outer, own, to),
                None => gather(row, &self.source[*at..][..*length], outer, own, to),
            }
        }
    }
}
