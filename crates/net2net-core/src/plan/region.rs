//! The nodes of a residual block, and what makes its branch zero.

use std::collections::{BTreeSet, HashSet};

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
    /// The block between two values, or why there is none. `readers` are the nodes that read each
    /// value. Only what stands between both in the graph is gone through.
    pub(crate) fn find(
        graph: &Graph,
        readers: &[Vec<NodeId>],
        from: &str,
        after: ValueId,
    ) -> Result<Region, String> {
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
        let nodes = between(graph, readers, [from, branch, after], sum)
            .ok_or_else(|| format!("what `{name}` adds is not made of what the block reads"))?;
        let mut zeroed = BTreeSet::new();
        zero(graph, (&nodes, readers), branch, &mut zeroed)?;
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

/// The nodes of a block that ends in `sum` or behind it, if its branch is made of what it reads.
fn between(
    graph: &Graph,
    readers: &[Vec<NodeId>],
    [from, branch, after]: [ValueId; 3],
    sum: NodeId,
) -> Option<Vec<NodeId>> {
    let (first, last) = (readers[from.index()].first()?, graph.producer(after)?);
    let all = || graph.node_ids().take(last.index() + 1).skip(first.index());
    // What the branch is made of, as far as it comes after what the block reads.
    let mut above = HashSet::from([branch]);
    for id in all().rev() {
        let node = graph.at(id);
        if node.outputs.iter().any(|o| above.contains(o)) {
            above.extend(&node.inputs);
        }
    }
    if !above.contains(&from) {
        return None;
    }
    let mut below = HashSet::from([from]);
    let mut nodes = Vec::new();
    for id in all() {
        let node = graph.at(id);
        let reads = node.inputs.iter().any(|input| below.contains(input));
        let leads = node
            .outputs
            .iter()
            .any(|o| above.contains(o) || *o == after)
            || id == sum;
        if reads && leads {
            nodes.push(id);
            below.extend(&node.outputs);
        }
    }
    Some(nodes)
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
    (nodes, readers): (&[NodeId], &[Vec<NodeId>]),
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
    // Read only once, it can be zero without another effect.
    let own = |id: &ValueId| graph.is_parameter(*id) && readers[id.index()].len() == 1;
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
                match zero(graph, (nodes, readers), *input, &mut own) {
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
                    zero(graph, (nodes, readers), *input, zeroed)?;
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
        | Op::Pad(_) => zero(graph, (nodes, readers), node.inputs[0], zeroed),
        op => why(&format!(
            "its {} makes something else of zeros or has no weights of its own",
            op.name()
        )),
    }
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
