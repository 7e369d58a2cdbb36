//! Enlarging a filter: zeros around it, and as much more padding.

use std::collections::BTreeMap;

use super::{ApplyError, Lift, Origin, Stage};
use crate::dims::{AxisMap, Refusal};
use crate::graph::{Graph, NodeId, Source, ValueId};
use crate::ops::{Conv, Op};
use crate::plan::Enlarge;

/// Rebuilds the graph with a larger filter; `number` is that of the step in its plan.
pub(super) fn enlarge(graph: &Graph, step: &Enlarge, number: usize) -> Result<Stage, ApplyError> {
    let refuse = |why: String| ApplyError::Refused {
        step: number,
        refusal: Refusal {
            space: step.layer.clone(),
            node: None,
            why,
        },
    };
    let layer = graph
        .find(&step.layer)
        .map_err(|error| refuse(error.to_string()))?;
    let Some((id, conv)) = convolution(graph, layer) else {
        return Err(refuse(
            "only a convolution has a filter to enlarge".to_owned(),
        ));
    };
    let weight = graph.at(id).inputs[1];
    let uses = graph.nodes().iter().flat_map(|node| &node.inputs);
    if !graph.is_parameter(weight) || uses.filter(|input| **input == weight).count() > 1 {
        let why = format!(
            "its filter `{}` is not its own parameter alone",
            graph.get(weight).name
        );
        return Err(refuse(why));
    }
    let old = graph.get(weight).shape.at(1);
    let fits = step.kernel.len() == old.len() - 2
        && old[2..]
            .iter()
            .zip(&step.kernel)
            .all(|(old, new)| old <= new && *new <= 63);
    if !fits {
        let why = format!(
            "a filter of {:?} does not become {:?}",
            &old[2..],
            step.kernel
        );
        return Err(ApplyError::Invalid { step: number, why });
    }
    let frames: Vec<[usize; 2]> = old[2..]
        .iter()
        .zip(&step.kernel)
        .map(|(old, new)| [(new - old) / 2, (new - old).div_ceil(2)])
        .collect();
    let mut axes: Vec<AxisMap> = old[..2]
        .iter()
        .map(|size| AxisMap::identity(*size))
        .collect();
    axes.extend(
        old[2..]
            .iter()
            .zip(&frames)
            .map(|(size, [before, after])| AxisMap::framed(*size, *before, *after)),
    );
    let sizes: Vec<usize> = old[..2].iter().chain(&step.kernel).copied().collect();
    let lift = Lift::new(axes);
    let name = graph.get(weight).name.clone();
    Ok(Stage {
        graph: rebuild(graph, (id, padded(conv, &frames)), (weight, &sizes))?,
        origins: BTreeMap::from([(name, Origin::Lifted(lift))]),
        copied: BTreeMap::new(),
    })
}

fn convolution(graph: &Graph, layer: ValueId) -> Option<(NodeId, &Conv)> {
    let id = graph.producer(layer)?;
    match &graph.at(id).op {
        Op::Conv(conv) => Some((id, conv)),
        _ => None,
    }
}

/// The convolution with as much padding as keeps every output where it was.
fn padded(conv: &Conv, frames: &[[usize; 2]]) -> Conv {
    let axes = frames.len();
    let mut pads = conv.window.pads(axes);
    let dilations = conv.window.dilations(axes);
    for (axis, [before, after]) in frames.iter().enumerate() {
        pads[axis] += before * dilations[axis];
        pads[axes + axis] += after * dilations[axis];
    }
    Conv {
        groups: conv.groups,
        window: conv.window.clone().with_pads(pads),
    }
}

fn rebuild(
    graph: &Graph,
    (changed, conv): (NodeId, Conv),
    (weight, sizes): (ValueId, &[usize]),
) -> Result<Graph, ApplyError> {
    let mut grown = Graph::new(graph.name());
    for id in graph.value_ids() {
        let value = graph.get(id);
        let name = value.name.clone();
        match value.source {
            Source::Input => grown.input(name, value.shape.clone()).map(|_| ())?,
            Source::Parameter if id == weight => grown.parameter(name, sizes).map(|_| ())?,
            Source::Parameter => grown.parameter(name, &value.shape.at(1)).map(|_| ())?,
            Source::Node { index: 0, node } => {
                let op = match node == changed {
                    true => conv.clone().into(),
                    false => graph.at(node).op.clone(),
                };
                let node = graph.at(node);
                let names = node.outputs.iter().map(|id| graph.get(*id).name.clone());
                grown.node_with_outputs(&names.collect::<Vec<_>>(), op, &node.inputs)?;
            }
            Source::Node { .. } => {}
        }
    }
    for output in graph.outputs() {
        grown.output(*output);
    }
    Ok(grown)
}
