//! What an operator learns of its surroundings when they have grown.

use super::unify::{AtomId, Dim};
use super::{Extent, Spaces};
use crate::graph::{Node, Shape};

/// The grown inputs and outputs of one node, for [`crate::ops::Operator::resize`].
pub struct Grown<'a> {
    pub(crate) spaces: &'a Spaces,
    pub(crate) node: &'a Node,
    pub(crate) inputs: Vec<&'a Shape>,
    pub(crate) outputs: &'a [Shape],
    /// The new size of a leaf that grows.
    pub(crate) size_of: &'a dyn Fn(AtomId) -> Option<usize>,
}

impl Grown<'_> {
    /// The grown shape of an input.
    pub fn input(&self, input: usize) -> &Shape {
        self.inputs[input]
    }

    /// The shape that an output must have now.
    pub fn output(&self, output: usize) -> &Shape {
        &self.outputs[output]
    }

    /// Where the boundary before an old position of an input's axis stands now.
    ///
    /// The operator's rule must have cut the axis there; inside of a leaf that grows a position
    /// has no counterpart, and stays as it is.
    pub fn input_cut(&self, input: usize, axis: usize, position: usize) -> usize {
        let dim = &self.spaces.axes(self.node.inputs[input])[axis];
        self.cut(dim, position)
    }

    /// The same for an axis of an output.
    pub fn output_cut(&self, output: usize, axis: usize, position: usize) -> usize {
        let dim = &self.spaces.axes(self.node.outputs[output])[axis];
        self.cut(dim, position)
    }

    fn sizes(&self, dim: &Dim) -> (usize, usize) {
        let fixed = |extent: Extent| extent.fixed().unwrap_or(1);
        let old = self.spaces.extent(dim, &|_| None);
        (fixed(old), fixed(self.spaces.extent(dim, &self.size_of)))
    }

    fn cut(&self, dim: &Dim, position: usize) -> usize {
        let (old, new) = self.sizes(dim);
        if position == 0 || position >= old {
            return if position == 0 {
                0
            } else {
                new + (position - old)
            };
        }
        match dim {
            Dim::Atom(_) => position,
            Dim::Cat(parts) => {
                let (mut from, mut to) = (0, 0);
                for part in parts {
                    let (old, new) = self.sizes(part);
                    if position < from + old {
                        return to + self.cut(part, position - from);
                    }
                    from += old;
                    to += new;
                }
                to
            }
            Dim::Prod(parts) => match parts.split_first() {
                Some((leading, rest)) => {
                    let (old, new) = self.sizes(&Dim::Prod(rest.to_vec()));
                    if position.is_multiple_of(old) {
                        self.cut(leading, position / old) * new
                    } else {
                        position
                    }
                }
                None => position,
            },
        }
    }
}
