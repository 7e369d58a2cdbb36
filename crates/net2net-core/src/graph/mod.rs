//! The network as a value: nodes in topological order over typed ids.
//!
//! A graph is built front to back: a node can read only values that exist already, so it is
//! acyclic by construction, and the shape of each output comes from the operator's own `infer`.
//! There is no way to change a node in place; growth rebuilds.

mod shape;
mod text;

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use thiserror::Error;

pub use shape::{Extent, MAX_ELEMENTS, Shape};
pub use text::{ParseError, quote};

use crate::ops::{Op, Role};

/// Names a value: a graph input, a parameter or the output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

/// Names a node, in topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl ValueId {
    /// The position in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// The position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from. Every value has exactly one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Fed by the caller.
    Input,
    /// Stored with the model, under the value's name.
    Parameter,
    /// Output `index` of a node.
    Node {
        /// The producer.
        node: NodeId,
        /// Which of its outputs.
        index: u32,
    },
}

/// A named tensor of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Unique in the graph, and kept by growth.
    pub name: String,
    /// As inferred by the producer.
    pub shape: Shape,
    /// The producer.
    pub source: Source,
}

/// An operator applied to values. Its name is the name of its first output.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// Activations and parameters, in the operator's order; optional trailing ones are left out.
    pub inputs: Vec<ValueId>,
    /// The values it produces.
    pub outputs: Vec<ValueId>,
}

/// Why a graph could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Two values of one name.
    #[error("the name `{name}` is used twice; names of values must be unique")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A name that is empty.
    #[error("a value needs a name, and this one is empty")]
    EmptyName,
    /// A value of no sensible size.
    #[error("`{name}`: {why}")]
    BadShape {
        /// The value.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// An operator that does not fit its inputs.
    #[error("node `{node}` ({operator}): {why}; its inputs are {inputs}")]
    Infer {
        /// The node.
        node: String,
        /// Its operator.
        operator: &'static str,
        /// What the operator said.
        why: String,
        /// Names and shapes of the inputs.
        inputs: String,
    },
    /// A name that no value has.
    #[error("there is no value `{name}` in the graph{hint}")]
    UnknownName {
        /// The name that was looked for.
        name: String,
        /// ` (did you mean …)`, or nothing.
        hint: String,
    },
    /// More values than a u32 can count.
    #[error("the graph has more than 2^32 values")]
    TooLarge,
    /// A graph that computes nothing.
    #[error("the graph has no output")]
    NoOutput,
    /// What is stored differs from what is derived: a fault in the program, not in a file.
    #[error("the graph is inconsistent at `{name}`: {why}")]
    Inconsistent {
        /// Where.
        name: String,
        /// What differs.
        why: String,
    },
}

/// A network: inputs, parameters and nodes in topological order.
#[derive(Clone, Debug)]
pub struct Graph {
    name: String,
    values: Vec<Value>,
    nodes: Vec<Node>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    by_name: HashMap<String, ValueId>,
}

impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        (
            &self.name,
            &self.values,
            &self.nodes,
            &self.inputs,
            &self.outputs,
        ) == (
            &other.name,
            &other.values,
            &other.nodes,
            &other.inputs,
            &other.outputs,
        )
    }
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph {
            name: name.into(),
            values: Vec::new(),
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            by_name: HashMap::new(),
        }
    }

    /// Adds a graph input.
    pub fn input(&mut self, name: impl Into<String>, shape: Shape) -> Result<ValueId, GraphError> {
        let id = self.value(name.into(), shape, Source::Input)?;
        self.inputs.push(id);
        Ok(id)
    }

    /// Adds a parameter. Its numbers live in [`crate::weights::Weights`] under the same name.
    pub fn parameter(
        &mut self,
        name: impl Into<String>,
        sizes: &[usize],
    ) -> Result<ValueId, GraphError> {
        self.value(name.into(), Shape::fixed(sizes), Source::Parameter)
    }

    /// Adds a node with one output, which takes the node's name.
    pub fn node(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let ids = self.node_with_outputs(&[name.into()], op.into(), inputs)?;
        Ok(ids[0])
    }

    /// Adds a node whose outputs take the given names, one for each that the operator infers.
    pub fn node_with_outputs(
        &mut self,
        names: &[String],
        op: Op,
        inputs: &[ValueId],
    ) -> Result<Vec<ValueId>, GraphError> {
        let fault = |why: String| GraphError::Infer {
            node: names.first().cloned().unwrap_or_default(),
            operator: op.name(),
            why,
            inputs: self.describe(inputs),
        };
        op.check_arity(inputs.len()).map_err(fault)?;
        let shapes = op.infer(&self.shapes(inputs)).map_err(fault)?;
        if shapes.len() != names.len() || names.is_empty() {
            return Err(fault(format!(
                "it has {} outputs, and {} names were given",
                shapes.len(),
                names.len()
            )));
        }
        let node = NodeId(u32::try_from(self.nodes.len()).map_err(|_| GraphError::TooLarge)?);
        let mut outputs = Vec::with_capacity(names.len());
        for (index, (name, shape)) in (0u32..).zip(names.iter().zip(shapes)) {
            outputs.push(self.value(name.clone(), shape, Source::Node { node, index })?);
        }
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
        });
        Ok(outputs)
    }

    /// Declares a value as an output of the graph.
    pub fn output(&mut self, value: ValueId) {
        self.outputs.push(value);
    }

    fn value(&mut self, name: String, shape: Shape, source: Source) -> Result<ValueId, GraphError> {
        if name.is_empty() {
            return Err(GraphError::EmptyName);
        }
        if let Err(why) = shape.check() {
            return Err(GraphError::BadShape { name, why });
        }
        let id = ValueId(u32::try_from(self.values.len()).map_err(|_| GraphError::TooLarge)?);
        if self.by_name.contains_key(&name) {
            return Err(GraphError::DuplicateName { name });
        }
        self.by_name.insert(name.clone(), id);
        self.values.push(Value {
            name,
            shape,
            source,
        });
        Ok(id)
    }

    /// The name of the network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All values; [`ValueId::index`] is the position.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// One value.
    pub fn get(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// All values with their ids, in the order in which they were added.
    pub fn value_ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    /// All nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The ids of all nodes in topological order.
    pub fn node_ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// One node.
    pub fn at(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The name of a node: that of its first output.
    pub fn node_name(&self, id: NodeId) -> &str {
        &self.get(self.at(id).outputs[0]).name
    }

    /// The node that produces a value, if one does.
    pub fn producer(&self, id: ValueId) -> Option<NodeId> {
        match self.get(id).source {
            Source::Node { node, .. } => Some(node),
            Source::Input | Source::Parameter => None,
        }
    }

    /// The graph's inputs.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The graph's outputs.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// The parameters, in the order in which they were added.
    pub fn parameters(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.value_ids().filter(|id| self.is_parameter(*id))
    }

    /// Whether a value is a parameter.
    pub fn is_parameter(&self, id: ValueId) -> bool {
        self.get(id).source == Source::Parameter
    }

    /// What a parameter is to the operator that reads it first; `Role::Activation` if none does.
    pub fn parameter_roles(&self) -> HashMap<ValueId, Role> {
        let mut roles = HashMap::new();
        for node in &self.nodes {
            for (slot, input) in node.inputs.iter().enumerate() {
                if self.is_parameter(*input) {
                    roles.entry(*input).or_insert_with(|| node.op.role(slot));
                }
            }
        }
        roles
    }

    /// For each value, the nodes that read it, once for each time they do.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        for id in self.node_ids() {
            for input in &self.at(id).inputs {
                consumers[input.index()].push(id);
            }
        }
        consumers
    }

    /// The value of a name, if there is one.
    pub fn lookup(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// The value of a name. The error suggests names that contain or resemble it, for which it
    /// goes through all of them.
    pub fn find(&self, name: &str) -> Result<ValueId, GraphError> {
        self.lookup(name).ok_or_else(|| GraphError::UnknownName {
            name: name.to_owned(),
            hint: hint(name, self.values.iter().map(|v| v.name.as_str())),
        })
    }

    /// The shapes of several values.
    pub fn shapes(&self, ids: &[ValueId]) -> Vec<&Shape> {
        ids.iter().map(|id| &self.get(*id).shape).collect()
    }

    fn describe(&self, ids: &[ValueId]) -> String {
        let parts: Vec<String> = ids
            .iter()
            .map(|id| format!("{} {}", self.get(*id).name, self.get(*id).shape))
            .collect();
        if parts.is_empty() {
            "none".to_owned()
        } else {
            parts.join(", ")
        }
    }

    /// The number of elements of all parameters, running statistics included.
    pub fn parameter_count(&self) -> u64 {
        self.parameters()
            .map(|id| self.get(id).shape.elements(1) as u64)
            .sum()
    }

    /// Multiplications and additions of one sample's forward pass, each counted as one.
    pub fn flops(&self) -> u64 {
        self.nodes.iter().map(|node| self.node_flops(node)).sum()
    }

    /// The part of [`Graph::flops`] of one node.
    pub fn node_flops(&self, node: &Node) -> u64 {
        node.op
            .cost(&self.shapes(&node.inputs), &self.shapes(&node.outputs))
    }

    /// The same network with other outputs; what they do not need stays in the graph.
    pub fn with_outputs(&self, outputs: &[ValueId]) -> Graph {
        Graph {
            outputs: outputs.to_vec(),
            ..self.clone()
        }
    }

    /// Derives everything again and compares: called before and after each transformation.
    pub fn validate(&self) -> Result<(), GraphError> {
        if self.outputs.is_empty() {
            return Err(GraphError::NoOutput);
        }
        let wrong = |id: ValueId, why: String| GraphError::Inconsistent {
            name: self.get(id).name.clone(),
            why,
        };
        for id in self.value_ids() {
            self.get(id).shape.check().map_err(|why| wrong(id, why))?;
        }
        for id in self.node_ids() {
            let node = self.at(id);
            let first = node.outputs[0];
            if node.inputs.iter().any(|input| *input >= first) {
                return Err(wrong(first, "it reads a value that comes later".to_owned()));
            }
            let inferred = node
                .op
                .infer(&self.shapes(&node.inputs))
                .map_err(|why| wrong(first, why))?;
            let stored = self.shapes(&node.outputs);
            if inferred.iter().ne(stored) {
                return Err(wrong(
                    first,
                    format!("its inputs give {inferred:?}, which is not what is stored"),
                ));
            }
        }
        Ok(())
    }

    /// SHA-256 of the text form, in hexadecimal: what a plan names as its parent.
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(self.to_string().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// ` (did you mean …?)` for up to three of the names that contain or are contained in `name`.
pub(crate) fn hint<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near: Vec<String> = names
        .filter(|other| other.contains(name) || name.contains(other))
        .take(3)
        .map(|other| format!("`{other}`"))
        .collect();
    if near.is_empty() {
        String::new()
    } else {
        format!(" (did you mean {}?)", near.join(", "))
    }
}
