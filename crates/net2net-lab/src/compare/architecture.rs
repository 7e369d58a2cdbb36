//! A graph as a list of layers, for people.

use std::collections::HashSet;

use net2net_core::graph::{Graph, Node};
use net2net_core::ops::{Op, Window};

use crate::report::{Architecture, LayerRow};

/// One row for each node; a parameter counts with the first node that reads it.
pub fn architecture(graph: &Graph) -> Architecture {
    let mut counted = HashSet::new();
    let layers = graph
        .nodes()
        .iter()
        .map(|node| {
            let output = graph.get(node.outputs[0]);
            let parameters = node
                .inputs
                .iter()
                .filter(|id| graph.is_parameter(**id) && counted.insert(**id))
                .map(|id| graph.get(*id).shape.elements(1) as u64)
                .sum();
            let sizes: Vec<String> = output.shape.extents()[1..]
                .iter()
                .map(ToString::to_string)
                .collect();
            LayerRow {
                name: output.name.clone(),
                operator: operator(graph, node),
                output_shape: sizes.join("×"),
                parameters,
            }
        })
        .collect();
    Architecture {
        layers,
        parameters: graph.parameter_count(),
        flops_per_sample: graph.flops(),
    }
}

/// The operator with what tells it from others of its sort.
fn operator(graph: &Graph, node: &Node) -> String {
    let by = |sizes: &[usize]| {
        let sides: Vec<String> = sizes.iter().map(usize::to_string).collect();
        sides.join("×")
    };
    let stride = |window: &Window, axes: usize| match &window.strides(axes)[..] {
        strides if strides.iter().all(|s| *s == 1) => String::new(),
        [first, rest @ ..] if rest.iter().all(|s| s == first) => format!(" /{first}"),
        strides => {
            let steps: Vec<String> = strides.iter().map(usize::to_string).collect();
            format!(" /{}", steps.join(","))
        }
    };
    match &node.op {
        Op::Conv(conv) => {
            let kernel = &graph.get(node.inputs[1]).shape.at(1)[2..];
            let groups = match conv.groups {
                1 => String::new(),
                groups => format!(", {groups} groups"),
            };
            let stride = stride(&conv.window, kernel.len());
            format!("Conv {}{stride}{groups}", by(kernel))
        }
        Op::MaxPool(pool) => {
            let stride = stride(&pool.window, pool.kernel.len());
            format!("MaxPool {}{stride}", by(&pool.kernel))
        }
        Op::AveragePool(pool) => {
            let stride = stride(&pool.window, pool.kernel.len());
            format!("AveragePool {}{stride}", by(&pool.kernel))
        }
        op => op.name().to_owned(),
    }
}
