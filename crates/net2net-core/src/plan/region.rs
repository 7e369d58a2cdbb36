//! The nodes of a residual block, and what makes its branch zero.

use std::collections::BTreeSet;

use super::ancestors;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::{Nature, Op};

/// A block `x + f(x)`, or an idempotent activation of that.
pub(crate) struct Region {
    pub(crate) from: ValueId,
    /// All nodes of the block, in topological order.
    pub(crate) nodes: Vec<NodeId>,
    /// The parameters whose copies are zero, so that f is.
    pub(crate) zeroed: BTreeSet<ValueId>,
    /// What the names of its parameters begin with.
    pub(crate) prefix: String,
}

impl Region {
    /// The block between two values, or why there is none.
    pub(crate) fn find(graph: &Graph, from: &str, after: ValueId) -> Result<Region, String> {
        let from = graph.find(from).map_err(|error| error.to_string())?;
        let name = &graph.get(after).name;
        let sum = unactivated(graph, after).ok_or_else(|| {
            format!("`{name}` is no sum with what a block reads, nor an activation of one that can be applied twice")
        })?;
        let operands = &graph.at(sum).inputs;
        let branch = match operands[..] {
            [a, b] if a == from && b != from => b,
            [a, b] if b == from && a != from => a,
            _ => {
                return Err(format!(
                    "the sum in `{name}` does not add `{}` to what is made of it",
                    graph.get(from).name
                ));
            }
        };
        let above = ancestors(graph, branch);
        if !above[from.index()] {
            return Err(format!(
                "what `{name}` adds is not made of what the block reads"
            ));
        }
        let mut below = vec![false; graph.values().len()];
        below[from.index()] = true;
        let mut nodes = Vec::new();
        for id in graph.node_ids() {
            let node = graph.at(id);
            let reads = node.inputs.iter().any(|input| below[input.index()]);
            let leads = node.outputs.iter().any(|o| above[o.index()] || *o == after) || id == sum;
            if reads && leads {
                nodes.push(id);
                node.outputs.iter().for_each(|o| below[o.index()] = true);
            }
        }
        let mut zeroed = BTreeSet::new();
        zero(graph, &nodes, branch, &mut zeroed)?;
        let prefix = common_prefix(graph, &nodes);
        Ok(Region {
            from,
            nodes,
            zeroed,
            prefix,
        })
    }

    /// What people call the block: what the names of its parameters have in common.
    pub(crate) fn name(&self) -> &str {
        self.prefix.trim_end_matches('.')
    }

    /// The parameters that the block reads, each once.
    pub(crate) fn parameters<'g>(
        &self,
        graph: &'g Graph,
    ) -> impl Iterator<Item = ValueId> + use<'g> {
        let inputs = self.nodes.iter().flat_map(|id| &graph.at(*id).inputs);
        let own: BTreeSet<ValueId> = inputs
            .copied()
            .filter(|id| graph.is_parameter(*id))
            .collect();
        own.into_iter()
    }
}

/// The sum that a value is, or is an activation of which can be applied twice.
fn unactivated(graph: &Graph, value: ValueId) -> Option<NodeId> {
    let id = graph.producer(value)?;
    let node = graph.at(id);
    match (&node.op, node.op.nature()) {
        (Op::Add(_), _) => Some(id),
        (_, Nature::Activation { idempotent: true }) => {
            let inner = graph.producer(node.inputs[0])?;
            matches!(graph.at(inner).op, Op::Add(_)).then_some(inner)
        }
        _ => None,
    }
}

/// Collects the parameters that have to be zero so that a value is.
fn zero(
    graph: &Graph,
    nodes: &[NodeId],
    value: ValueId,
    zeroed: &mut BTreeSet<ValueId>,
) -> Result<(), String> {
    let why = |what: &str| {
        let name = &graph.get(value).name;
        Err(format!("`{name}` cannot start at zero: {what}"))
    };
    let Some(id) = graph.producer(value).filter(|id| nodes.contains(id)) else {
        return why("it does not depend on what the block reads");
    };
    let node = graph.at(id);
    let own = |id: &ValueId| graph.is_parameter(*id) && alone(graph, *id);
    let parameters: Vec<ValueId> = node.inputs.iter().copied().filter(&own).collect();
    match &node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_)
            if parameters.len() + 1 == node.inputs.len() =>
        {
            zeroed.extend(parameters);
            Ok(())
        }
        Op::BatchNorm(_) if own(&node.inputs[1]) && own(&node.inputs[2]) => {
            zeroed.extend(&node.inputs[1..3]);
            Ok(())
        }
        Op::MatMul(_) | Op::Mul(_) if !parameters.is_empty() => {
            zeroed.insert(parameters[0]);
            Ok(())
        }
        // One factor is enough, such as what a gate lets through.
        Op::Mul(_) => {
            let mut first = None;
            for input in &node.inputs {
                let mut own = zeroed.clone();
                match zero(graph, nodes, *input, &mut own) {
                    Ok(()) => {
                        *zeroed = own;
                        return Ok(());
                    }
                    Err(why) => first = first.or(Some(why)),
                }
            }
            first.map_or(Ok(()), Err)
        }
        Op::Add(_) | Op::Sub(_) | Op::Concat(_) => {
            for input in &node.inputs {
                if own(input) {
                    zeroed.insert(*input);
                } else {
                    zero(graph, nodes, *input, zeroed)?;
                }
            }
            Ok(())
        }
        Op::Identity(_)
        | Op::Dropout(_)
        | Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Transpose(_)
        | Op::Relu(_)
        | Op::Slice(_)
        | Op::Pad(_) => zero(graph, nodes, node.inputs[0], zeroed),
        op => why(&format!(
            "its {} makes something else of zeros or has no weights of its own",
            op.name()
        )),
    }
}

/// Whether a parameter is read only once, so that it can be zero without another effect.
fn alone(graph: &Graph, parameter: ValueId) -> bool {
    let reads = graph.nodes().iter().flat_map(|node| &node.inputs);
    reads.filter(|input| **input == parameter).count() == 1
}

/// What the names of a block's trained parameters begin with, up to the last dot.
fn common_prefix(graph: &Graph, nodes: &[NodeId]) -> String {
    let mut names = nodes.iter().flat_map(|id| {
        let node = graph.at(*id);
        let weights = node.inputs.iter().enumerate().filter(|(slot, input)| {
            graph.is_parameter(**input) && node.op.role(*slot) != crate::ops::Role::Activation
        });
        weights.map(|(_, input)| graph.get(*input).name.as_str())
    });
    let Some(first) = names.next() else {
        return String::new();
    };
    let mut length = first.len();
    for name in names {
        let same = first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b);
        length = length.min(same.count());
    }
    let end = first.as_bytes()[..length].iter().rposition(|b| *b == b'.');
    first[..end.map_or(0, |dot| dot + 1)].to_owned()
}
