//! How much a network has at other sizes of its spaces, without building it.

use super::Target;
use super::widths::Sizes;
use crate::dims::{AtomId, Grown, Spaces};
use crate::graph::{Graph, NodeId, Shape, ValueId};

/// Counts what a target counts, and knows which part of it depends on which space.
pub(super) struct Amounts<'a> {
    graph: &'a Graph,
    spaces: &'a Spaces,
    terms: Vec<Term>,
    /// For each space, the terms in which it stands.
    touched: Vec<Vec<usize>>,
}

/// A summand.
#[derive(Clone, Copy)]
enum Term {
    Parameter(ValueId),
    Node(NodeId),
}

impl<'a> Amounts<'a> {
    pub(super) fn new(graph: &'a Graph, spaces: &'a Spaces, target: Target) -> Self {
        let terms: Vec<Term> = match target {
            Target::Parameters(_) => graph.parameters().map(Term::Parameter).collect(),
            Target::Flops(_) => graph.node_ids().map(Term::Node).collect(),
        };
        let mut touched: Vec<Vec<usize>> = vec![Vec::new(); spaces.all().len()];
        for (at, term) in terms.iter().enumerate() {
            let mut touch = |id: ValueId| {
                for dim in spaces.axes(id) {
                    dim.for_each_atom(&mut |atom| {
                        let own = &mut touched[atom.index()];
                        if own.last() != Some(&at) {
                            own.push(at);
                        }
                    });
                }
            };
            match term {
                Term::Parameter(id) => touch(*id),
                Term::Node(id) => {
                    let node = graph.at(*id);
                    node.inputs
                        .iter()
                        .chain(&node.outputs)
                        .for_each(|id| touch(*id));
                }
            }
        }
        Amounts {
            graph,
            spaces,
            terms,
            touched,
        }
    }

    /// All of it.
    pub(super) fn all(&self, sizes: &Sizes) -> u64 {
        let terms = self.terms.iter().map(|term| self.term(*term, sizes));
        terms.fold(0, u64::saturating_add)
    }

    /// The part in which a space stands.
    pub(super) fn part(&self, space: AtomId, sizes: &Sizes) -> u64 {
        let terms = self.touched[space.index()].iter();
        let terms = terms.map(|at| self.term(self.terms[*at], sizes));
        terms.fold(0, u64::saturating_add)
    }

    fn term(&self, term: Term, sizes: &Sizes) -> u64 {
        let size_of = |atom: AtomId| sizes.get(&atom).copied();
        let shape_of = |id: &ValueId| -> Shape {
            let axes = self.spaces.axes(*id).iter();
            axes.map(|dim| self.spaces.extent(dim, &size_of)).collect()
        };
        match term {
            Term::Parameter(id) => shape_of(&id).elements(1) as u64,
            Term::Node(id) => {
                let node = self.graph.at(id);
                let inputs: Vec<Shape> = node.inputs.iter().map(shape_of).collect();
                let outputs: Vec<Shape> = node.outputs.iter().map(shape_of).collect();
                let op = node.op.resize(&Grown {
                    spaces: self.spaces,
                    node,
                    inputs: inputs.iter().collect(),
                    outputs: &outputs,
                    size_of: &size_of,
                });
                let outputs: Vec<&Shape> = outputs.iter().collect();
                op.cost(&inputs.iter().collect::<Vec<_>>(), &outputs)
            }
        }
    }
}
