//! The order in which a tensor's axes are stored.

use crate::graph::Shape;

/// A permutation: the graph's axes in the order of storage, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Layout(Vec<usize>);

impl Layout {
    /// As the graph has them.
    pub fn row_major(rank: usize) -> Self {
        Layout((0..rank).collect())
    }

    /// `[N, c, h, w]` stored as `[N, h, w, c]`: the first inner axis comes last.
    pub fn channels_last(rank: usize) -> Self {
        if rank < 3 {
            return Layout::row_major(rank);
        }
        let mut order = vec![0];
        order.extend(2..rank);
        order.push(1);
        Layout(order)
    }

    /// With one axis stored innermost, and the others in the graph's order.
    pub fn with_last(rank: usize, axis: usize) -> Self {
        let others = (0..rank).filter(|other| *other != axis);
        Layout(others.chain([axis]).collect())
    }

    /// How what is left is stored when axes, in ascending order, are taken out of the tensor.
    #[must_use]
    pub fn without(&self, axes: &[usize]) -> Layout {
        let kept = self.0.iter().filter(|axis| !axes.contains(axis));
        let moved = |axis: &usize| axis - axes.iter().filter(|out| *out < axis).count();
        Layout(kept.map(moved).collect())
    }

    /// A filter `[o, i, kh, kw]` stored as `[kh, kw, i, o]`, and the like with other spatial axes.
    pub fn filter(rank: usize) -> Self {
        Layout((2..rank).chain([1, 0]).collect())
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The order itself.
    pub fn order(&self) -> &[usize] {
        &self.0
    }

    /// Sizes in the order of storage.
    pub fn apply(&self, sizes: &[usize]) -> Vec<usize> {
        self.0.iter().map(|axis| sizes[*axis]).collect()
    }

    /// Where an axis is stored.
    pub fn position(&self, axis: usize) -> usize {
        self.0.iter().position(|a| *a == axis).unwrap_or(axis)
    }

    /// The layout of a tensor of fewer axes that is aligned with the innermost ones.
    #[must_use]
    pub fn inner(&self, rank: usize) -> Layout {
        let skipped = self.rank() - rank;
        let kept = self.0.iter().filter(|axis| **axis >= skipped);
        Layout(kept.map(|axis| axis - skipped).collect())
    }

    /// The permutation that takes data stored so to data stored as `to`: axis `i` of the result
    /// is axis `permutation[i]` of the source, in storage order.
    pub fn permutation_to(&self, to: &Layout) -> Vec<usize> {
        to.0.iter().map(|axis| self.position(*axis)).collect()
    }

    /// Whether both store a tensor of these sizes in the same order of elements.
    pub fn same_order(&self, other: &Layout, shape: &Shape) -> bool {
        let sizes = shape.at(2);
        let wide = |layout: &Layout| -> Vec<usize> {
            let order = layout.0.iter().copied();
            order.filter(|axis| sizes[*axis] > 1).collect()
        };
        wide(self) == wide(other)
    }
}

/// The layouts that a node wants of its inputs and gives its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layouts {
    /// One for each input.
    pub inputs: Vec<Layout>,
    /// One for each output.
    pub outputs: Vec<Layout>,
}

impl Layouts {
    /// One input and one output of the same layout.
    pub fn pass_through(incoming: &[Layout]) -> Self {
        let layout = incoming[0].clone();
        Layouts {
            inputs: vec![layout.clone()],
            outputs: vec![layout],
        }
    }
}
