//! Which nodes one kernel computes together, so that numbers are written and read once.
//!
//! A batch normalisation is computed with the sum and the rectifier that follow it, as in a block with
//! a shortcut (He et al. 2016), and with the convolution that it reads: where nothing is learnt, the running
//! statistics are constants, and go into the filter and the shift; where the convolution is learnt, both go through
//! the images piece by piece. Where nothing is learnt, a convolution without a normalisation is computed with what
//! follows too.

use std::collections::HashMap;

use super::kernel::Mode;
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::ops::Op;

/// What follows a kernel's own numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// A value of the same shape is added.
    pub residual: bool,
    /// What is below zero becomes zero.
    pub relu: bool,
    /// Normalising and what follows is not done, but left to the one kernel that reads the output.
    pub deferred: bool,
}

/// Nodes that one kernel computes; each but the last is read by the next one alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// A batch normalisation or a convolution, or any node by itself.
    pub(super) head: NodeId,
    /// A batch normalisation, after a convolution.
    pub(super) norm: Option<NodeId>,
    /// A sum, and what it adds.
    sum: Option<(NodeId, ValueId)>,
    /// A rectifier.
    rectifier: Option<NodeId>,
    /// Whether normalising is left to the reader.
    deferred: bool,
    /// What the maker of the first input has left to be done.
    pub(super) before: Option<Tail>,
}

impl Chain {
    /// A node by itself.
    fn alone(head: NodeId) -> Self {
        Chain {
            head,
            norm: None,
            sum: None,
            rectifier: None,
            deferred: false,
            before: None,
        }
    }

    /// The node whose outputs are those of all together.
    pub(super) fn last(&self) -> NodeId {
        let sum = self.sum.map(|(node, _)| node);
        self.rectifier.or(sum).or(self.norm).unwrap_or(self.head)
    }

    /// What a convolution that is learnt computes before it is normalised, where that is an output of its own: the
    /// backward pass reads it again.
    pub(super) fn kept(&self, mode: Mode) -> Option<NodeId> {
        let kept = mode == Mode::Train && self.norm.is_some() && !self.deferred;
        kept.then_some(self.head)
    }

    /// The value that is added.
    pub(super) fn residual(&self) -> Option<ValueId> {
        self.sum.map(|(_, value)| value)
    }

    pub(super) fn tail(&self) -> Tail {
        Tail {
            residual: self.sum.is_some(),
            relu: self.rectifier.is_some(),
            deferred: self.deferred,
        }
    }

    /// The node in whose place all are computed: what is added, and what normalises, may come after the
    /// head.
    pub(super) fn place(&self) -> NodeId {
        let sum = self.sum.map(|(node, _)| node);
        sum.or(self.norm).unwrap_or(self.head)
    }

    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let sum = self.sum.map(|(node, _)| node);
        [Some(self.head), self.norm, sum, self.rectifier]
            .into_iter()
            .flatten()
    }
}

/// All nodes in chains, in the order of their heads.
pub(super) fn chains(graph: &Graph, mode: Mode) -> Vec<Chain> {
    let search = Search {
        graph,
        mode,
        consumers: graph.consumers(),
    };
    let mut of_head: HashMap<NodeId, Chain> = HashMap::new();
    let mut taken = vec![false; graph.nodes().len()];
    for id in graph.node_ids().filter(|id| starts(graph.at(*id))) {
        if taken[id.index()] {
            continue;
        }
        let chain = search.from(id, &taken);
        chain.nodes().for_each(|id| taken[id.index()] = true);
        of_head.insert(id, chain);
    }
    if mode == Mode::Train {
        search.defer(&mut of_head);
    }
    let in_order = graph.node_ids().filter_map(|id| match of_head.get(&id) {
        Some(chain) => Some(*chain),
        None => (!taken[id.index()]).then(|| Chain::alone(id)),
    });
    in_order.collect()
}

/// Whether others may be computed with a node.
fn starts(node: &Node) -> bool {
    matches!(node.op, Op::BatchNorm(_) | Op::Conv(_))
}

struct Search<'a> {
    graph: &'a Graph,
    mode: Mode,
    consumers: Vec<Vec<NodeId>>,
}

impl Search<'_> {
    fn from(&self, head: NodeId, taken: &[bool]) -> Chain {
        let is_norm = |id: &NodeId| matches!(self.graph.at(*id).op, Op::BatchNorm(_));
        let norm = self
            .first_reader(head)
            .filter(|next| !is_norm(&head) && is_norm(next));
        let mut chain = Chain {
            norm,
            ..Chain::alone(head)
        };
        if self.mode == Mode::Train && norm.is_none() && !is_norm(&head) {
            return chain;
        }
        chain.sum = self.sum(chain.last(), taken);
        if self.mode == Mode::Train
            && let (Some((_, other)), Some(_)) = (chain.sum, chain.norm)
            && self.graph.at(head).inputs.first() == Some(&other)
        {
            // One kernel would need its input twice, with a gradient for each.
            return Chain::alone(head);
        }
        let rectifier = self.first_reader(chain.last());
        chain.rectifier = rectifier.filter(|next| matches!(self.graph.at(*next).op, Op::Relu(_)));
        chain
    }

    /// Leaves normalising to the readers of learnt convolutions' chains, where those are such chains too and no sum is
    /// between.
    fn defer(&self, chains: &mut HashMap<NodeId, Chain>) {
        let normalised = |chain: &Chain| chain.norm.is_some();
        let makers: Vec<NodeId> = chains.keys().copied().collect();
        for head in makers {
            let maker = chains[&head];
            let reader = self.first_reader(maker.last());
            if normalised(&maker)
                && maker.sum.is_none()
                && let Some(reader) = reader.and_then(|reader| chains.get_mut(&reader))
                && normalised(reader)
            {
                reader.before = Some(maker.tail());
                if let Some(maker) = chains.get_mut(&head) {
                    maker.deferred = true;
                }
            }
        }
    }

    /// The one node that reads a node's output, and the output.
    fn reader(&self, id: NodeId) -> Option<(NodeId, ValueId)> {
        let output = *self.graph.at(id).outputs.first()?;
        match self.consumers[output.index()][..] {
            [reader] if !self.graph.outputs().contains(&output) => Some((reader, output)),
            _ => None,
        }
    }

    /// The one node that reads a node's output, as its first input.
    fn first_reader(&self, id: NodeId) -> Option<NodeId> {
        let (reader, output) = self.reader(id)?;
        (self.graph.at(reader).inputs.first() == Some(&output)).then_some(reader)
    }

    /// The sum that reads a node's output, and what else it adds, if no other chain ends in it and nothing
    /// is broadcast.
    fn sum(&self, id: NodeId, taken: &[bool]) -> Option<(NodeId, ValueId)> {
        let (sum, output) = self.reader(id)?;
        let node = self.graph.at(sum);
        let other = match node.inputs[..] {
            [a, b] if a == output => b,
            [a, b] if b == output => a,
            _ => return None,
        };
        let same = self.graph.get(other).shape == self.graph.get(output).shape;
        let fits = matches!(node.op, Op::Add(_)) && same && !taken[sum.index()];
        fits.then_some((sum, other))
    }
}
