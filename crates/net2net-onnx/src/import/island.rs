//! Nodes that are not understood.

use std::collections::HashSet;

use super::builder::Builder;
use super::quantized::{self, is_quantized};
use super::{Feed, Opaque, adapt};
use crate::document::node_name;
use crate::error::OnnxError;
use crate::proto::NodeProto;

/// Operators that are not understood, and whose first output has the shape of their first input.
const KEEPING: [&str; 24] = [
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Bernoulli",
    "Celu",
    "Cosh",
    "CumProd",
    "CumSum",
    "Hardmax",
    "MeanVarianceNormalization",
    "RandomNormalLike",
    "RandomUniformLike",
    "ReverseSequence",
    "Scatter",
    "ScatterElements",
    "ScatterND",
    "Shrink",
    "Sinh",
    "Tan",
    "ThresholdedRelu",
    "Trilu",
];

impl<'a> Builder<'a> {
    /// Leaves a node outside of the graph.
    pub(super) fn add_opaque(&mut self, node: &'a NodeProto, why: String) -> Result<(), OnnxError> {
        self.opaque.push(Opaque {
            node: node_name(node),
            operator: node.op_type().to_owned(),
            why,
        });
        let read: HashSet<&str> = node
            .input
            .iter()
            .map(String::as_str)
            .chain(captured(node))
            .collect();
        let mut read: Vec<&str> = read.into_iter().filter(|name| !name.is_empty()).collect();
        read.sort_unstable();
        for name in read {
            // A parameter that it reads keeps its shape, whoever else reads it. A number has none.
            let sizes = self.initializer_sizes(name);
            let alone = sizes.is_some() && self.readers.get(name) == Some(&1);
            if alone || sizes.is_some_and(|sizes| sizes.is_empty()) {
                continue;
            }
            if let Ok(id) = self.value(name) {
                self.add_output(id);
                self.read_outside.insert(name.to_owned());
            }
        }
        let reads = |name: &String| self.quantized.contains_key(name.as_str());
        let quantized = is_quantized(node.op_type()) || node.input.iter().any(reads);
        for (index, output) in node.output.iter().enumerate() {
            if output.is_empty() {
                continue;
            }
            let stated = self.stated.get(output.as_str()).copied();
            let mut shape = stated.and_then(|stated| self.open.value(stated));
            let mut real = matches!(self.dtypes.get(output.as_str()), Some(1 | 10 | 11 | 16));
            if shape.is_none() && index == 0 && KEEPING.contains(&node.op_type()) {
                shape = self.shape(node, 0).ok();
                real =
                    adapt::result_type(self, node).is_none_or(|id| matches!(id, 1 | 10 | 11 | 16));
            }
            if quantized {
                let made = quantized::made(self, node, index);
                real |= made.as_ref().is_some_and(|(_, real)| *real);
                shape = shape.or(made.map(|(shape, _)| shape));
                self.quantized.insert(output, shape.clone());
            }
            if let Some(shape) = shape
                && real
                // A batch on an inner axis is more than the graph can say.
                && shape.check().is_ok()
                && !self.values.contains_key(output.as_str())
            {
                self.add_input(output, shape, Feed::Island)?;
                self.dtypes.entry(output).or_insert(1);
            }
        }
        Ok(())
    }
}

/// Names that the subgraphs of a node may read from outside.
pub(super) fn captured(node: &NodeProto) -> Vec<&str> {
    let mut names = Vec::new();
    for attribute in &node.attribute {
        for graph in attribute
            .g
            .iter()
            .map(AsRef::as_ref)
            .chain(&attribute.graphs)
        {
            for inner in &graph.node {
                names.extend(inner.input.iter().map(String::as_str));
                names.extend(captured(inner));
            }
            names.extend(graph.output.iter().map(|output| output.name()));
        }
    }
    names
}
