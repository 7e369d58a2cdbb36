//! A document for a network that never was one: operators keep ONNX's names and attributes, and what newer versions of
//! ONNX take as a constant input becomes one.

use std::collections::{BTreeMap, HashSet};

use net2net_core::graph::{Extent, Graph, NodeId, Shape, ValueId};
use net2net_core::ops::{Attribute, Attributes, Op};
use net2net_core::weights::Source;
use net2net_kernels::Real;
use prost::bytes::Bytes;

use super::insert::{attribute, node};
use crate::document::{Document, External, check};
use crate::error::OnnxError;
use crate::proto::{
    Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};
use crate::tensor::{of_ints, with_numbers};

/// The first version of the file format that has [`OPSET_NORMS`].
const IR_VERSION: i64 = 11;
/// The operator set of most models.
const OPSET: i64 = 21;
/// The first operator set with `RMSNormalization`.
const OPSET_NORMS: i64 = 23;

const FLOAT: i32 = 1;
const INT64: i32 = 7;
const BOOL: i32 = 9;

impl Document {
    /// The document of a graph and its weights, in f32; the batch is free.
    ///
    /// # Errors
    /// [`OnnxError::Export`] if a parameter cannot be had, or an expansion to the batch would have to be a constant.
    pub fn from_graph<T: Real>(
        graph: &Graph,
        weights: &dyn Source<T>,
    ) -> Result<Document, OnnxError> {
        let mut maker = Maker {
            graph,
            names: graph.values().iter().map(|v| v.name.clone()).collect(),
            nodes: Vec::new(),
            constants: Vec::new(),
            slopes: BTreeMap::new(),
            truths: BTreeMap::new(),
        };
        for id in graph.node_ids() {
            maker.add(id)?;
        }
        let mut initializer = Vec::new();
        for id in graph.parameters() {
            initializer.push(maker.parameter(id, weights)?);
        }
        initializer.append(&mut maker.constants);
        let described = |ids: &[ValueId]| ids.iter().map(|id| described(graph, *id)).collect();
        let norms = |node: &net2net_core::graph::Node| matches!(node.op, Op::RmsNorm(_));
        let opset = match graph.nodes().iter().any(norms) {
            true => OPSET_NORMS,
            false => OPSET,
        };
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(opset),
            }],
            producer_name: Some("net2net".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(GraphProto {
                node: maker.nodes,
                name: Some(graph.name().to_owned()),
                initializer,
                input: described(graph.inputs()),
                output: described(graph.outputs()),
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        let document = Document {
            model,
            external: External::default(),
        };
        check(document.graph())?;
        Ok(document)
    }
}

/// Name, type and shape of an input or output.
fn described(graph: &Graph, id: ValueId) -> ValueInfoProto {
    let value = graph.get(id);
    let dim = value.shape.extents().iter().map(|extent| match extent {
        Extent::Batch => Dimension {
            dim_param: Some("N".to_owned()),
            ..Dimension::default()
        },
        Extent::Fixed(size) => Dimension {
            dim_value: Some(*size as i64),
            ..Dimension::default()
        },
    });
    ValueInfoProto {
        name: Some(value.name.clone()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorType {
                elem_type: Some(FLOAT),
                shape: Some(TensorShapeProto { dim: dim.collect() }),
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

struct Maker<'a> {
    graph: &'a Graph,
    /// Names that are taken.
    names: HashSet<String>,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// The sizes of slopes, which ONNX aligns with the last axis.
    slopes: BTreeMap<ValueId, Vec<usize>>,
    /// What truth values are called, which are numbers in the graph and have a type of their own in ONNX.
    truths: BTreeMap<ValueId, String>,
}

impl Maker<'_> {
    /// The nodes of one node.
    fn add(&mut self, id: NodeId) -> Result<(), OnnxError> {
        let graph = self.graph;
        let at = graph.at(id);
        let name = |id: &ValueId| graph.get(*id).name.clone();
        let mut inputs: Vec<String> = at.inputs.iter().map(name).collect();
        let mut outputs: Vec<String> = at.outputs.iter().map(name).collect();
        let made = outputs[0].clone();
        let shape = &graph.get(at.inputs[0]).shape;
        let mut attributes = at.op.write();
        let mut kind = at.op.name();
        match &at.op {
            Op::Silu(_) => {
                let gate = self.fresh(&format!("{made}.gate"));
                let x = inputs.clone();
                self.push("Sigmoid", x, vec![gate.clone()], &Attributes::default());
                kind = "Mul";
                inputs.push(gate);
            }
            Op::Reshape(_) => {
                let mut target = taken_ints(&mut attributes, "sizes");
                if shape.get(0) == Some(Extent::Batch) {
                    target.insert(0, 0);
                }
                inputs.push(self.ints(&made, "shape", &target));
            }
            Op::Slice(slice) => {
                let rank = taken_ints(&mut attributes, "starts").len() as i64;
                let axes = match attributes.remove("axes") {
                    Some(Attribute::Ints(axes)) => axes,
                    _ => (0..rank).collect(),
                };
                let lists = [
                    ("starts", slice.starts.clone()),
                    ("ends", slice.ends.clone()),
                    ("axes", axes),
                    ("steps", slice.steps.clone()),
                ];
                for (list, numbers) in lists {
                    attributes.remove(list);
                    inputs.push(self.ints(&made, list, &numbers));
                }
            }
            Op::Split(_) => {
                let parts = taken_ints(&mut attributes, "split");
                inputs.push(self.ints(&made, "split", &parts));
            }
            Op::Tile(_) => {
                let repeats = taken_ints(&mut attributes, "repeats");
                inputs.push(self.ints(&made, "repeats", &repeats));
            }
            Op::Expand(_) => {
                let target = taken_ints(&mut attributes, "shape");
                let target = expansion(shape, &target).ok_or_else(|| OnnxError::Export {
                    name: made.clone(),
                    why: "it is repeated as often as there are samples, which no constant can say"
                        .to_owned(),
                })?;
                inputs.push(self.ints(&made, "shape", &target));
            }
            Op::Pad(_) => {
                let pads = taken_ints(&mut attributes, "pads");
                inputs.push(self.ints(&made, "pads", &pads));
                if let Some(Attribute::Float(value)) = attributes.remove("value") {
                    inputs.push(self.number(&made, "value", value)?);
                }
            }
            Op::Take(take) => {
                kind = "Gather";
                attributes.remove("keep");
                attributes.remove("indices");
                let dims: &[usize] = if take.keep {
                    &[take.indices.len()]
                } else {
                    &[]
                };
                inputs.push(self.ints_of(&made, "indices", dims, &take.indices));
            }
            Op::Gather(_) => inputs[1] = self.cast(&inputs[1].clone(), INT64),
            Op::Resize(_) => self.resize(&made, shape, &mut attributes, &mut inputs)?,
            Op::ReduceMean(_)
            | Op::ReduceSum(_)
            | Op::ReduceMax(_)
            | Op::ReduceMin(_)
            | Op::ReduceL2(_) => {
                let axes = taken_ints(&mut attributes, "axes");
                inputs.push(self.ints(&made, "axes", &axes));
            }
            Op::Clip(_) => {
                for bound in ["min", "max"] {
                    inputs.push(match attributes.remove(bound) {
                        Some(Attribute::Float(x)) => self.number(&made, bound, x)?,
                        _ => String::new(),
                    });
                }
            }
            Op::Dropout(_) => {
                if let Some(Attribute::Float(ratio)) = attributes.remove("ratio") {
                    inputs.push(self.number(&made, "ratio", ratio)?);
                }
            }
            Op::PRelu(_) => {
                let mut sizes = graph.get(at.inputs[1]).shape.at(1);
                sizes.resize(shape.rank().saturating_sub(1).max(1), 1);
                self.slopes.insert(at.inputs[1], sizes);
            }
            Op::Concat(concat) => {
                attributes.insert("axis", Attribute::Int(concat.axis as i64));
            }
            op => {
                for (slot, id) in at.inputs.iter().enumerate() {
                    if reads_truth(op, slot) {
                        inputs[slot] = self.truth(*id);
                    }
                }
            }
        }
        let number = is_truth(&at.op) && self.is_read_as_number(at.outputs[0]);
        if number {
            outputs[0] = self.fresh(&format!("{made}.truth"));
        }
        if is_truth(&at.op) {
            self.truths.insert(at.outputs[0], outputs[0].clone());
        }
        self.push(kind, inputs, outputs.clone(), &attributes);
        if number {
            let mut to = Attributes::default();
            to.insert("to", Attribute::Int(i64::from(FLOAT)));
            self.push("Cast", outputs, vec![made], &to);
        }
        Ok(())
    }

    fn push(
        &mut self,
        kind: &str,
        inputs: Vec<String>,
        outputs: Vec<String>,
        attributes: &Attributes,
    ) {
        let attributes = attributes.iter();
        let attributes = attributes.map(|(name, value)| attribute(name, value));
        self.nodes
            .push(node(kind, inputs, outputs, attributes.collect()));
    }

    /// A value as truth values.
    fn truth(&mut self, id: ValueId) -> String {
        match self.truths.get(&id) {
            Some(name) => name.clone(),
            None => self.cast(&self.graph.get(id).name.clone(), BOOL),
        }
    }

    /// Whether anything wants a value's numbers, and not only whether they are true.
    fn is_read_as_number(&self, id: ValueId) -> bool {
        let reads = |node: &net2net_core::graph::Node| {
            let slots = node.inputs.iter().enumerate();
            slots
                .filter(|(_, input)| **input == id)
                .any(|(slot, _)| !reads_truth(&node.op, slot))
        };
        self.graph.outputs().contains(&id) || self.graph.nodes().iter().any(reads)
    }

    /// A value in another element type.
    fn cast(&mut self, value: &str, dtype: i32) -> String {
        let cast = self.fresh(&format!("{value}.cast"));
        let mut to = Attributes::default();
        to.insert("to", Attribute::Int(i64::from(dtype)));
        self.push("Cast", vec![value.to_owned()], vec![cast.clone()], &to);
        cast
    }

    /// The sizes or scales of the axes of pixels; the batch and the channels stay.
    fn resize(
        &mut self,
        made: &str,
        shape: &Shape,
        attributes: &mut Attributes,
        inputs: &mut Vec<String>,
    ) -> Result<(), OnnxError> {
        inputs.push(String::new());
        if let Some(Attribute::Floats(scales)) = attributes.remove("scales") {
            let all: Vec<f64> = [1.0, 1.0].into_iter().chain(scales).collect();
            inputs.push(self.numbers(made, "scales", &[all.len()], &all)?);
            return Ok(());
        }
        let sizes = taken_ints(attributes, "sizes");
        let axes = (2..shape.rank() as i64).collect();
        attributes.insert("axes", Attribute::Ints(axes));
        inputs.push(String::new());
        inputs.push(self.ints(made, "sizes", &sizes));
        Ok(())
    }

    fn ints(&mut self, node: &str, what: &str, numbers: &[i64]) -> String {
        self.ints_of(node, what, &[numbers.len()], numbers)
    }

    fn ints_of(&mut self, node: &str, what: &str, dims: &[usize], numbers: &[i64]) -> String {
        let name = self.fresh(&format!("{node}.{what}"));
        self.constants.push(of_ints(&name, dims, numbers));
        name
    }

    fn number(&mut self, node: &str, what: &str, x: f64) -> Result<String, OnnxError> {
        self.numbers(node, what, &[], &[x])
    }

    fn numbers(
        &mut self,
        node: &str,
        what: &str,
        dims: &[usize],
        numbers: &[f64],
    ) -> Result<String, OnnxError> {
        let name = self.fresh(&format!("{node}.{what}"));
        let tensor = with_numbers(&template(&name), dims, numbers.iter().copied())?;
        self.constants.push(tensor);
        Ok(name)
    }

    fn parameter<T: Real>(
        &self,
        id: ValueId,
        weights: &dyn Source<T>,
    ) -> Result<TensorProto, OnnxError> {
        let value = self.graph.get(id);
        let fault = |why: String| OnnxError::Export {
            name: value.name.clone(),
            why,
        };
        let tensor = weights
            .tensor(&value.name)
            .map_err(|error| fault(error.to_string()))?;
        let sizes = value.shape.at(1);
        if tensor.shape() != sizes {
            return Err(fault(format!(
                "its weights have shape {:?}, and the graph says {sizes:?}",
                tensor.shape()
            )));
        }
        let dims = self.slopes.get(&id).unwrap_or(&sizes);
        let bytes = tensor.data().iter();
        let bytes: Vec<u8> = bytes
            .flat_map(|x| ((*x).to_f64() as f32).to_le_bytes())
            .collect();
        Ok(TensorProto {
            dims: dims.iter().map(|size| *size as i64).collect(),
            raw_data: Some(Bytes::from(bytes)),
            ..template(&value.name)
        })
    }

    /// A name that nothing has yet.
    fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}.{number}");
        }
        name
    }
}

fn template(name: &str) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(FLOAT),
        ..TensorProto::default()
    }
}

/// Whether an operator reads truth values in a slot in ONNX.
fn reads_truth(op: &Op, slot: usize) -> bool {
    match op {
        Op::And(_) | Op::Or(_) | Op::Not(_) => true,
        Op::Where(_) => slot == 0,
        _ => false,
    }
}

/// Whether an operator's result is a truth value in ONNX.
fn is_truth(op: &Op) -> bool {
    matches!(
        op,
        Op::Equal(_)
            | Op::Greater(_)
            | Op::GreaterOrEqual(_)
            | Op::Less(_)
            | Op::LessOrEqual(_)
            | Op::And(_)
            | Op::Or(_)
            | Op::Not(_)
    )
}

fn taken_ints(attributes: &mut Attributes, name: &str) -> Vec<i64> {
    match attributes.remove(name) {
        Some(Attribute::Ints(values)) => values,
        _ => Vec::new(),
    }
}

/// The target of an expansion, in which the batch, zero here, stays as it is.
fn expansion(input: &Shape, target: &[i64]) -> Option<Vec<i64>> {
    let own = |axis: usize| (axis + input.rank()).checked_sub(target.len());
    let size = |(axis, size): (usize, &i64)| match size {
        0 if own(axis).and_then(|own| input.get(own)) == Some(Extent::Batch) => Some(1),
        0 => None,
        size => Some(*size),
    };
    target.iter().enumerate().map(size).collect()
}
