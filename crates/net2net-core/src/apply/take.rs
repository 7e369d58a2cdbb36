//! Slices along several axes copied at once, each times its factors.

use net2net_kernels::Real;

use crate::dims::AxisMap;
use crate::weights::{Tensor, in_parts};

/// Shorter slices are gone through together with their neighbours.
const SLICE_MIN: usize = 8;

/// Copies slices along all axes: each element times the factors of its positions, in the order of
/// the axes and rounded after each, as if one axis were taken after the other.
pub(super) fn take_all<T: Real>(old: &Tensor<T>, maps: &[AxisMap]) -> Tensor<T> {
    let Some(last) = maps.iter().rposition(|map| !map.is_identity()) else {
        return old.clone();
    };
    let inner: usize = old.shape()[last + 1..].iter().product();
    let mut shape: Vec<usize> = maps.iter().map(|map| map.source.len()).collect();
    shape[last + 1..].copy_from_slice(&old.shape()[last + 1..]);
    let outer = Outer {
        maps: &maps[..last],
        old: &old.shape()[..last],
    };
    let map = &maps[last];
    let (width, read) = (map.source.len(), old.shape()[last] * inner);
    let mut tensor = Tensor::full(&shape, T::zero());
    if inner >= SLICE_MIN {
        in_parts(tensor.data_mut(), inner, |first, part| {
            let mut factors = Vec::new();
            for (number, slice) in (first..).zip(part.chunks_exact_mut(inner)) {
                let (row, position) = (number / width, number % width);
                let from = outer.find(row, &mut factors) * read;
                let from = from + map.source[position] as usize * inner;
                push(&mut factors, map.factor[position]);
                scale(&old.data()[from..][..inner], &factors, slice);
            }
        });
        return tensor;
    }
    let line = Line::new(map, inner);
    in_parts(tensor.data_mut(), width * inner, |first, part| {
        let mut factors = Vec::new();
        for (row, to) in (first..).zip(part.chunks_exact_mut(width * inner)) {
            let from = outer.find(row, &mut factors) * read;
            line.take(&old.data()[from..][..read], &factors, to);
        }
    });
    tensor
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

fn scale<T: Real>(from: &[T], factors: &[T], to: &mut [T]) {
    let pairs = to.iter_mut().zip(from);
    match *factors {
        [] => to.copy_from_slice(from),
        [a] => pairs.for_each(|(to, from)| *to = *from * a),
        [a, b] => pairs.for_each(|(to, from)| *to = *from * a * b),
        _ => pairs.for_each(|(to, from)| *to = factors.iter().fold(*from, |x, f| x * *f)),
    }
}

/// A row of short slices.
struct Line<T> {
    /// The factor of each element of the new row.
    factors: Vec<T>,
    /// Stretches that are one piece in the old row too: where they begin in the new row and in the
    /// old one, and how long they are.
    runs: Vec<(usize, usize, usize)>,
}

impl<T: Real> Line<T> {
    fn new(map: &AxisMap, inner: usize) -> Self {
        let factors = map.factor.iter();
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for (position, source) in map.source.iter().enumerate() {
            let (at, from) = (position * inner, *source as usize * inner);
            match runs.last_mut() {
                Some((_, begin, len)) if *begin + *len == from => *len += inner,
                _ => runs.push((at, from, inner)),
            }
        }
        Line {
            factors: factors
                .flat_map(|factor| std::iter::repeat_n(T::from_f64(*factor), inner))
                .collect(),
            runs,
        }
    }

    /// Fills a new row from an old one, all of which is also multiplied by `outer`.
    fn take(&self, row: &[T], outer: &[T], to: &mut [T]) {
        for (at, from, len) in &self.runs {
            let own = &self.factors[*at..][..*len];
            let pairs = to[*at..][..*len]
                .iter_mut()
                .zip(&row[*from..][..*len])
                .zip(own);
            match *outer {
                [] => pairs.for_each(|((to, from), f)| *to = *from * *f),
                [a] => pairs.for_each(|((to, from), f)| *to = *from * a * *f),
                _ => pairs.for_each(|((to, from), f)| {
                    *to = outer.iter().fold(*from, |x, f| x * *f) * *f;
                }),
            }
        }
    }
}
