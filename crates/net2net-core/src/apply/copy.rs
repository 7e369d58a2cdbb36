//! A residual block once more, with copied weights and a last layer of zeros.

use std::collections::HashMap;

use super::builder::Builder;
use super::{ApplyError, Fresh, Origin};
use crate::graph::{Graph, ValueId};
use crate::plan::Region;

/// Adds the block after `new`, which is `after` in the grown graph, and returns its output.
pub(super) fn copy(
    region: &Region,
    builder: &mut Builder,
    graph: &Graph,
    (after, new): (ValueId, ValueId),
    last: Option<String>,
) -> Result<ValueId, ApplyError> {
    let mut copies: HashMap<ValueId, ValueId> = HashMap::from([(region.from, new)]);
    let renamed = |name: &str| {
        let own = name.strip_prefix(region.prefix.as_str()).unwrap_or(name);
        format!("{}.{own}", builder.prefix)
    };
    let name_of = |id: &ValueId| match &last {
        Some(last) if *id == after => last.clone(),
        _ => renamed(&graph.get(*id).name),
    };
    let mut names = Vec::new();
    for id in &region.nodes {
        let node = graph.at(*id);
        names.push((id, node.outputs.iter().map(name_of).collect::<Vec<_>>()));
    }
    let parameters: Vec<(ValueId, String)> = region
        .parameters(graph)
        .map(|id| (id, renamed(&graph.get(id).name)))
        .collect();
    for (id, name) in parameters {
        let value = graph.get(id);
        let origin = match region.zeroed.contains(&id) {
            true => Origin::Fresh(Fresh::Full(0.0)),
            false => Origin::Copied(value.name.clone()),
        };
        let copy = builder.grown.parameter(name.clone(), &value.shape.at(1))?;
        builder.copied.insert(name.clone(), value.name.clone());
        builder.origins.insert(name, origin);
        copies.insert(id, copy);
    }
    for (id, names) in names {
        let node = graph.at(*id);
        let inputs = node.inputs.iter();
        let inputs: Vec<ValueId> = inputs
            .filter_map(|id| copies.get(id).copied().or(builder.new_id(*id)))
            .collect();
        let outputs = builder
            .grown
            .node_with_outputs(&names, node.op.clone(), &inputs)?;
        for ((old, new), name) in node.outputs.iter().zip(outputs).zip(names) {
            builder.copied.insert(name, graph.get(*old).name.clone());
            copies.insert(*old, new);
        }
    }
    Ok(copies.get(&after).copied().unwrap_or(new))
}
