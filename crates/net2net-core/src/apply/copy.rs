//! A residual block once more, with copied weights and a last layer of zeros.

use std::collections::BTreeSet;

use super::builder::Builder;
use super::{ApplyError, Fresh, Origin};
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::{Nature, Op};
use crate::plan::ancestors;

/// A block `x + f(x)`, or an idempotent activation of that.
pub(crate) struct Region {
    from: ValueId,
    /// All nodes of the block, in topological order.
    nodes: Vec<NodeId>,
    /// The parameters whose copies are zero, so that f is.
    zeroed: BTreeSet<ValueId>,
    /// What the names of its parameters begin with.
    prefix: String,
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

    /// Adds the block after `new`, which is `after` in the grown graph, and returns its output.
    pub(super) fn copy(
        &self,
        builder: &mut Builder,
        graph: &Graph,
        (after, new): (ValueId, ValueId),
        last: Option<String>,
    ) -> Result<ValueId, ApplyError> {
        let mut copies: Vec<Option<ValueId>> = vec![None; graph.values().len()];
        copies[self.from.index()] = Some(new);
        let renamed = |name: &str| {
            let own = name.strip_prefix(self.prefix.as_str()).unwrap_or(name);
            format!("{}.{own}", builder.prefix)
        };
        let name_of = |id: &ValueId| match &last {
            Some(last) if *id == after => last.clone(),
            _ => renamed(&graph.get(*id).name),
        };
        let mut names = Vec::new();
        for id in &self.nodes {
            let node = graph.at(*id);
            names.push((id, node.outputs.iter().map(name_of).collect::<Vec<_>>()));
        }
        let parameters: Vec<(ValueId, String)> = self
            .parameters(graph)
            .map(|id| (id, renamed(&graph.get(id).name)))
            .collect();
        for (id, name) in parameters {
            let value = graph.get(id);
            let origin = match self.zeroed.contains(&id) {
                true => Origin::Fresh(Fresh::Full(0.0)),
                false => Origin::Copied(value.name.clone()),
            };
            let copy = builder.grown.parameter(name.clone(), &value.shape.at(1))?;
            builder.copied.insert(name.clone(), value.name.clone());
            builder.origins.insert(name, origin);
            copies[id.index()] = Some(copy);
        }
        for (id, names) in names {
            let node = graph.at(*id);
            let inputs = node.inputs.iter();
            let inputs: Vec<ValueId> = inputs
                .filter_map(|id| copies[id.index()].or(builder.new_id(*id)))
                .collect();
            let outputs = builder
                .grown
                .node_with_outputs(&names, node.op.clone(), &inputs)?;
            for ((old, new), name) in node.outputs.iter().zip(outputs).zip(names) {
                builder.copied.insert(name, graph.get(*old).name.clone());
                copies[old.index()] = Some(new);
            }
        }
        Ok(copies[after.index()].unwrap_or(new))
    }

    /// The parameters that the block reads, each once.
    fn parameters<'g>(&self, graph: &'g Graph) -> impl Iterator<Item = ValueId> + use<'g> {
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
