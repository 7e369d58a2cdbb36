//! Nodes that growth has inserted, as ONNX has them.

use std::collections::{HashMap, HashSet};

use net2net_core::graph::NodeId;
use net2net_core::ops::{Attribute, Op};
use prost::bytes::Bytes;

use super::Writer;
use crate::error::OnnxError;
use crate::proto::{AttributeProto, NodeProto};
use crate::tensor;

impl Writer<'_> {
    /// The nodes that the document does not have, each with the position that it follows.
    pub(super) fn new_nodes(
        &mut self,
        old_nodes: &HashSet<NodeId>,
        position: &mut HashMap<String, usize>,
    ) -> Result<Vec<(usize, NodeProto)>, OnnxError> {
        let graph = self.growth.graph();
        let by_name = self.node_of_name();
        let mut nodes = Vec::new();
        for id in graph.node_ids().filter(|id| !old_nodes.contains(id)) {
            let name = |id: &net2net_core::graph::ValueId| graph.get(*id).name.clone();
            let inputs: Vec<String> = graph.at(id).inputs.iter().map(name).collect();
            let outputs: Vec<String> = graph.at(id).outputs.iter().map(name).collect();
            self.check_types(id)?;
            let made = match self.copied_node(id, &by_name)? {
                Some(copy) => self.before.drain(..).chain(copy).collect(),
                None => self.onnx(&graph.at(id).op, inputs.clone(), outputs.clone())?,
            };
            // What a copy reads may be computed beside the graph.
            let own = made.iter().flat_map(|node: &NodeProto| &node.input);
            let read = inputs
                .iter()
                .chain(own)
                .filter_map(|name| position.get(name).copied());
            let at = read.max().unwrap_or(0);
            for output in &outputs {
                position.insert(output.clone(), at);
            }
            nodes.extend(made.into_iter().map(|node| (at, node)));
        }
        Ok(nodes)
    }

    /// An operator as nodes of the model's version of ONNX.
    fn onnx(
        &mut self,
        op: &Op,
        mut inputs: Vec<String>,
        outputs: Vec<String>,
    ) -> Result<Vec<NodeProto>, OnnxError> {
        let mut attributes = op.write();
        let opset = self.document.opset();
        if let Op::Silu(_) = op {
            let gate = self.fresh(&format!("{}.gate", outputs[0]));
            let sigmoid = node("Sigmoid", inputs.clone(), vec![gate.clone()], Vec::new());
            let product = node("Mul", vec![inputs[0].clone(), gate], outputs, Vec::new());
            return Ok(vec![sigmoid, product]);
        }
        if matches!(op, Op::Clip(_)) && opset >= 11 {
            for bound in ["min", "max"] {
                inputs.push(match attributes.remove(bound) {
                    Some(Attribute::Float(x)) => {
                        let kind = self.type_at(&outputs[0]);
                        self.scalar(&format!("{}.{bound}", outputs[0]), kind, x)?
                    }
                    _ => String::new(),
                });
            }
        }
        if matches!(op, Op::Gemm(_)) && opset < 11 && inputs.len() == 2 {
            inputs.push(self.no_shift(&outputs[0])?);
        }
        if matches!(op, Op::PRelu(_)) {
            self.lay_out_slope(&inputs);
        }
        if matches!(op, Op::Dropout(_)) && opset >= 12 {
            attributes.remove("ratio");
        }
        if matches!(op, Op::Gelu(_)) && opset < 20 {
            return Err(OnnxError::Export {
                name: outputs[0].clone(),
                why: format!("Gelu came with operator set 20, and the model uses {opset}"),
            });
        }
        let attributes = attributes
            .iter()
            .map(|(name, value)| attribute(name, value));
        Ok(vec![node(op.name(), inputs, outputs, attributes.collect())])
    }

    /// ONNX aligns slopes with the last axis, so those of channels get an axis for each pixel axis.
    fn lay_out_slope(&mut self, inputs: &[String]) {
        let [x, slope] = inputs else { return };
        let rank = |graph: &net2net_core::graph::Graph| {
            let id = graph.lookup(x)?;
            Some(graph.get(id).shape.rank())
        };
        let rank = rank(self.growth.graph());
        if let (Some(rank), Some(tensor)) = (rank, self.tensors.get_mut(slope)) {
            tensor.dims.resize(rank.saturating_sub(1).max(1), 1);
        }
    }

    /// Zeros for a value's units: before operator set 11 a product has to have a shift.
    fn no_shift(&mut self, output: &str) -> Result<String, OnnxError> {
        let graph = self.growth.graph();
        let shape = graph.lookup(output).map(|id| graph.get(id).shape.at(1));
        let units = shape.and_then(|sizes| sizes.last().copied()).unwrap_or(1);
        let name = self.fresh(&format!("{output}.shift"));
        let template = crate::proto::TensorProto {
            data_type: Some(self.type_at(output)),
            name: Some(name.clone()),
            ..Default::default()
        };
        let zeros = std::iter::repeat_n(0.0, units);
        let tensor = tensor::with_numbers(&template, &[units], zeros)?;
        self.tensors.insert(name.clone(), tensor);
        Ok(name)
    }

    /// The type of the real numbers of a value of the grown graph.
    fn type_at(&self, name: &str) -> i32 {
        let id = self.growth.graph().lookup(name);
        let known = id.and_then(|id| self.type_of(id));
        known.unwrap_or_else(|| self.element_type())
    }

    /// A new initialiser of one number.
    fn scalar(&mut self, name: &str, kind: i32, x: f64) -> Result<String, OnnxError> {
        let name = self.fresh(name);
        let template = crate::proto::TensorProto {
            data_type: Some(kind),
            name: Some(name.clone()),
            ..Default::default()
        };
        let tensor = tensor::with_numbers(&template, &[], std::iter::once(x))?;
        self.tensors.insert(name.clone(), tensor);
        Ok(name)
    }

    /// A name that nothing has yet.
    pub(super) fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}.{number}");
        }
        name
    }
}

pub(super) fn node(
    op: &str,
    input: Vec<String>,
    output: Vec<String>,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto {
        name: output.first().cloned(),
        input,
        output,
        op_type: Some(op.to_owned()),
        attribute,
        ..NodeProto::default()
    }
}

/// An attribute in the file's form.
pub(super) fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut attribute = AttributeProto {
        name: Some(name.to_owned()),
        ..AttributeProto::default()
    };
    match value {
        Attribute::Float(x) => {
            attribute.r#type = Some(1);
            attribute.f = Some(*x as f32);
        }
        Attribute::Int(x) => {
            attribute.r#type = Some(2);
            attribute.i = Some(*x);
        }
        Attribute::Text(text) => {
            attribute.r#type = Some(3);
            attribute.s = Some(Bytes::from(text.clone().into_bytes()));
        }
        Attribute::Floats(values) => {
            attribute.r#type = Some(6);
            attribute.floats = values.iter().map(|x| *x as f32).collect();
        }
        Attribute::Ints(values) => {
            attribute.r#type = Some(7);
            attribute.ints.clone_from(values);
        }
    }
    attribute
}
