//! Networks of which one has more inputs or outputs than the other: what both have is compared.
//!
//! A new feature or class stands behind the old ones on its axis. A network with more features is
//! fed the old ones' numbers and any others on the new ones, which must have no effect; of more
//! classes the old ones are looked at. Behind a softmax new classes take a part of the whole, and
//! what stays is how the old ones divide the rest among them, which is all that their logits say.

use net2net_kernels::Real;

use crate::graph::{Graph, NodeId, Shape, ValueId};
use crate::ops::Op;

/// Whether values of the first shape are a part of values of the second.
pub(crate) fn fits(small: &Shape, large: &Shape) -> bool {
    let pairs = small.extents().iter().zip(large.extents());
    small.rank() == large.rank()
        && pairs
            .clone()
            .all(|(a, b)| a == b || a.fixed() < b.fixed() && a.fixed().is_some())
}

/// Whether the named values of one graph are parts of those of the other.
pub(crate) fn all_fit(old: &Graph, of_old: &[ValueId], new: &Graph, of_new: &[ValueId]) -> bool {
    let mut pairs = of_old.iter().zip(of_new);
    let same = |(a, b): (&ValueId, &ValueId)| {
        let (a, b) = (old.get(*a), new.get(*b));
        a.name == b.name && fits(&a.shape, &b.shape)
    };
    of_old.len() == of_new.len() && pairs.all(same)
}

/// The positions of a small tensor within a large one, row-major.
fn positions(small: &[usize], large: &[usize]) -> Vec<usize> {
    let mut found = vec![0];
    for (small, large) in small.iter().zip(large) {
        let within = |at: &usize| (at * large..at * large + small).collect::<Vec<_>>();
        found = found.iter().flat_map(within).collect();
    }
    found
}

/// Numbers for a larger input: the given ones, and around them any of them in another order.
pub(crate) fn surround<T: Real>(data: &[T], small: &[usize], large: &[usize]) -> Vec<T> {
    let size: usize = large.iter().product();
    let other = |at: usize| data[(at * 31 + 17) % data.len()];
    let mut all: Vec<T> = match data.is_empty() {
        true => vec![T::zero(); size],
        false => (0..size).map(other).collect(),
    };
    for (at, x) in positions(small, large).into_iter().zip(data) {
        all[at] = *x;
    }
    all
}

/// The part of a larger output that the smaller one has.
pub(crate) fn part<T: Real>(data: &[T], small: &[usize], large: &[usize]) -> Vec<T> {
    let inside = positions(small, large).into_iter();
    inside.map(|at| data[at]).collect()
}

/// Whether an output holds probabilities, or their logarithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Probability,
    Logarithm,
}

/// The softmax that makes an output, if one does and its axis is the last one.
pub(crate) fn final_softmax(graph: &Graph, output: ValueId) -> Option<(NodeId, Scale)> {
    let rank = graph.get(output).shape.rank() as i64;
    let node = graph.producer(output)?;
    let (axis, scale) = match &graph.at(node).op {
        Op::Softmax(op) => (op.axis, Scale::Probability),
        Op::LogSoftmax(op) => (op.axis, Scale::Logarithm),
        _ => return None,
    };
    (axis == -1 || axis == rank - 1).then_some((node, scale))
}

/// Makes rows of `classes` probabilities sum to one.
pub(crate) fn normalize<T: Real>(data: &mut [T], classes: usize, scale: Scale) {
    for row in data.chunks_exact_mut(classes.max(1)) {
        let sum =
            |row: &[T], f: fn(f64) -> f64| -> f64 { row.iter().map(|x| f((*x).to_f64())).sum() };
        match scale {
            Scale::Probability => {
                let whole = T::from_f64(sum(row, |x| x));
                row.iter_mut().for_each(|x| *x /= whole);
            }
            Scale::Logarithm => {
                let rest = T::from_f64(sum(row, f64::exp).ln());
                row.iter_mut().for_each(|x| *x -= rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_surrounded_is_found_again() {
        let data: Vec<f64> = (0..12).map(f64::from).collect();
        let large = surround(&data, &[2, 3, 2], &[2, 5, 2]);
        assert_eq!(large[..6], data[..6]);
        assert_eq!(large[10..16], data[6..]);
        assert_eq!(part(&large, &[2, 3, 2], &[2, 5, 2]), data);
    }

    #[test]
    fn a_smaller_or_another_shape_does_not_fit() {
        let shape = |sizes: &[usize]| Shape::fixed(sizes);
        assert!(fits(&shape(&[2, 3]), &shape(&[2, 4])));
        assert!(!fits(&shape(&[2, 4]), &shape(&[2, 3])));
        assert!(!fits(&shape(&[2, 4]), &shape(&[2, 4, 1])));
    }
}
