//! Slices along several axes copied at once, each times its factors.

use net2net_kernels::Real;

use crate::dims::AxisMap;
use crate::weights::Tensor;

/// Shorter slices are gone through together with their neighbours.
const SLICE_MIN: usize = 8;

/// Copies slices along all axes: each element times the factors of its positions, in the order of
/// the axes and rounded after each, as if one axis were taken after the other. Numbers of another
/// precision are converted first.
pub(super) fn take_all<S: Real, T: Real>(old: &Tensor<S>, maps: &[AxisMap]) -> Tensor<T> {
    let Some(last) = maps.iter().rposition(|map| !map.is_identity()) else {
        return old.cast();
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
    let rows: usize = shape[..last].iter().product();
    let mut data = Vec::with_capacity(rows * width * inner);
    let mut factors = Vec::new();
    let line = (inner < SLICE_MIN).then(|| Line::new(map, inner));
    for row in 0..rows {
        let from = outer.find(row, &mut factors) * read;
        let source = &old.data()[from..][..read];
        if let Some(line) = &line {
            line.take(source, &factors, &mut data);
            continue;
        }
        let shared = factors.len();
        for (position, factor) in map.source.iter().zip(&map.factor) {
            factors.truncate(shared);
            push(&mut factors, *factor);
            scale(
                &source[*position as usize * inner..][..inner],
                &factors,
                &mut data,
            );
        }
    }
    Tensor::filled(shape, data)
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

/// Adds elements, all of which are multiplied by all of the factors.
fn scale<S: Real, T: Real>(from: &[S], factors: &[T], to: &mut Vec<T>) {
    let from = from.iter().map(|x| T::from_f64((*x).to_f64()));
    match *factors {
        [] => to.extend(from),
        [a] => to.extend(from.map(|x| x * a)),
        [a, b] => to.extend(from.map(|x| x * a * b)),
        _ => to.extend(from.map(|x| factors.iter().fold(x, |x, f| x * *f))),
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

    /// Adds a new row made from an old one, all of which is also multiplied by `outer`.
    fn take<S: Real>(&self, row: &[S], outer: &[T], to: &mut Vec<T>) {
        for (at, from, len) in &self.runs {
            let numbers = row[*from..][..*len].iter();
            let numbers = numbers.map(|x| T::from_f64((*x).to_f64()));
            let pairs = numbers.zip(&self.factors[*at..][..*len]);
            match *outer {
                [] => to.extend(pairs.map(|(x, own)| x * *own)),
                [a] => to.extend(pairs.map(|(x, own)| x * a * *own)),
                _ => to.extend(pairs.map(|(x, own)| outer.iter().fold(x, |x, f| x * *f) * *own)),
            }
        }
    }
}
