//! Which nodes one kernel computes together, so that numbers are written and read once.
//!
//! A batch normalisation is computed with the rectifier that follows it. Where nothing is learnt, a
//! convolution is computed with the normalisation and the rectifier that follow: the running
//! statistics are constants then, and go into the filter and the shift.

use std::collections::HashMap;

use super::kernel::Mode;
use crate::graph::{Graph, Node, NodeId};
use crate::ops::Op;

/// What is computed with a node; each is the only reader of the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Followers {
    /// A batch normalisation, after a convolution.
    pub(super) norm: Option<NodeId>,
    /// A rectifier, after a batch normalisation or a convolution.
    pub(super) rectifier: Option<NodeId>,
}

impl Followers {
    /// The node whose outputs are those of all together.
    pub(super) fn last(self) -> Option<NodeId> {
        self.rectifier.or(self.norm)
    }

    fn all(self) -> impl Iterator<Item = NodeId> {
        [self.norm, self.rectifier].into_iter().flatten()
    }
}

/// The followers of each node that has any, and for each node whether it is one.
pub(super) fn followers(graph: &Graph, mode: Mode) -> (HashMap<NodeId, Followers>, Vec<bool>) {
    let consumers = graph.consumers();
    // The one node that reads a node's output, as its first input.
    let reader = |id: NodeId| {
        let output = *graph.at(id).outputs.first()?;
        match consumers[output.index()][..] {
            [reader] if !graph.outputs().contains(&output) => {
                (graph.at(reader).inputs.first() == Some(&output)).then_some(reader)
            }
            _ => None,
        }
    };
    let mut all = HashMap::new();
    let mut absorbed = vec![false; graph.nodes().len()];
    for id in graph.node_ids().filter(|id| starts(graph.at(*id), mode)) {
        if absorbed[id.index()] {
            continue;
        }
        let is_norm = |id: &NodeId| matches!(graph.at(*id).op, Op::BatchNorm(_));
        let norm = reader(id).filter(|next| !is_norm(&id) && is_norm(next));
        let rectifier = reader(norm.unwrap_or(id));
        let followers = Followers {
            norm,
            rectifier: rectifier.filter(|next| matches!(graph.at(*next).op, Op::Relu(_))),
        };
        if followers.last().is_some() {
            followers.all().for_each(|id| absorbed[id.index()] = true);
            all.insert(id, followers);
        }
    }
    (all, absorbed)
}

/// Whether others may be computed with a node.
fn starts(node: &Node, mode: Mode) -> bool {
    match node.op {
        Op::BatchNorm(_) => true,
        Op::Conv(_) => mode == Mode::Evaluate,
        _ => false,
    }
}
