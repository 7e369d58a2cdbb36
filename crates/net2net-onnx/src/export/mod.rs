//! From a grown graph back to a document: what did not grow stays byte for byte.

mod again;
mod copies;
mod graph;
mod insert;
mod patch;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use net2net_core::apply::{Growth, Origin};
use net2net_core::graph::{Extent, Graph, NodeId, Shape, ValueId};
use net2net_core::ops::Op;
use net2net_core::plan::{Plan, Step};
use net2net_core::weights::Source;
use net2net_kernels::Real;

use crate::document::{Document, Unmade};
use crate::error::OnnxError;
use crate::import::{Imported, Link, Place};
use crate::proto::{
    Dimension, GraphProto, NodeProto, TensorProto, TensorShapeProto, TensorType, TypeProto,
    ValueInfoProto,
};
use crate::source::{FileSource, GrownMaker};
use crate::tensor;
use again::{Pinned, read_again};

/// Parameters of fewer elements are made at once: shape arithmetic may read them.
const UNMADE_MIN: usize = 1 << 14;

/// The document of a grown network.
///
/// Shapes that the model computes for itself are left to it; if what it computes no longer fits,
/// they are stated. The result is read again, and must be the grown graph.
pub fn export<T: Real>(
    document: &Document,
    imported: &Imported,
    plan: &Plan,
    growth: &Growth,
    weights: &dyn Source<T>,
) -> Result<Document, OnnxError> {
    write(document, imported, plan, growth, &Numbers::Now(weights))
}

/// The same where the tensors of large parameters that grew are made when the result is read or
/// written, at most two at a time, and dropped again. `threads` is on how many.
pub fn export_streaming(
    model: &Arc<(Document, Imported)>,
    plan: &Plan,
    growth: &Arc<Growth>,
    threads: usize,
) -> Result<Document, OnnxError> {
    let (document, imported) = model.as_ref();
    let maker = GrownMaker::new(Arc::clone(model), Arc::clone(growth));
    let file = FileSource::new(document, imported);
    let unmade = Unmade {
        maker: Arc::new(maker),
        threads,
    };
    let source = growth.source(&file);
    write(
        document,
        imported,
        plan,
        growth,
        &Numbers::Later(&source, unmade),
    )
}

/// Where the numbers of grown parameters come from, and when.
enum Numbers<'a, T: Real> {
    Now(&'a dyn Source<T>),
    /// Those of small parameters now, others when they are asked for.
    Later(&'a dyn Source<T>, Unmade),
}

impl<T: Real> Numbers<'_, T> {
    fn source(&self) -> &dyn Source<T> {
        match self {
            Numbers::Now(source) | Numbers::Later(source, _) => *source,
        }
    }
}

fn write<T: Real>(
    document: &Document,
    imported: &Imported,
    plan: &Plan,
    growth: &Growth,
    weights: &Numbers<'_, T>,
) -> Result<Document, OnnxError> {
    let mut pinned = Pinned::default();
    loop {
        let writer = Writer::new(document, imported, plan, growth, &pinned);
        let written = writer.write(weights)?;
        match read_again(&written, imported, growth, &pinned)? {
            None => return Ok(written),
            Some(more) => pinned = more,
        }
    }
}

struct Writer<'a> {
    document: &'a Document,
    imported: &'a Imported,
    growth: &'a Growth,
    /// What the makers of outputs are called now that an inserted layer has their name.
    renamed: HashMap<String, String>,
    /// What is stated although the old model computes it.
    pinned: &'a Pinned,
    readers: HashMap<String, usize>,
    /// The initialisers of the old model by name.
    initializers: HashMap<&'a str, usize>,
    /// Its constants by the name of what they make.
    constant_nodes: HashMap<&'a str, usize>,
    /// Names that are taken.
    names: HashSet<String>,
    /// What states a number that was computed, by the name of the number.
    stated: HashMap<String, String>,
    /// Initialisers to be added or replaced, by name.
    tensors: BTreeMap<String, TensorProto>,
    /// Copied parameters as the graph lays them out, where `tensors` has them as the document does.
    plain: BTreeMap<String, TensorProto>,
    /// Constants to be replaced, by the index of their node.
    constants: BTreeMap<usize, TensorProto>,
    /// New nodes that the one being written reads.
    before: Vec<NodeProto>,
}

impl<'a> Writer<'a> {
    fn new(
        document: &'a Document,
        imported: &'a Imported,
        plan: &Plan,
        growth: &'a Growth,
        pinned: &'a Pinned,
    ) -> Self {
        let source = document.graph();
        let outputs: HashSet<&str> = imported
            .graph
            .outputs()
            .iter()
            .map(|id| imported.graph.get(*id).name.as_str())
            .collect();
        let mut renamed = HashMap::new();
        for step in &plan.steps {
            if let Step::Insert(insert) = step
                && outputs.contains(insert.after.as_str())
            {
                let inner = format!("{}.input", insert.name);
                renamed.entry(insert.after.clone()).or_insert(inner);
            }
        }
        let mut readers: HashMap<String, usize> = HashMap::new();
        let mut names: HashSet<String> = HashSet::new();
        for node in &source.node {
            for input in &node.input {
                *readers.entry(input.clone()).or_default() += 1;
            }
            names.extend(node.output.iter().cloned());
        }
        names.extend(source.initializer.iter().map(|t| t.name().to_owned()));
        names.extend(source.input.iter().map(|i| i.name().to_owned()));
        names.extend(growth.graph().values().iter().map(|v| v.name.clone()));
        let initializers = source.initializer.iter().enumerate();
        let constants = source.node.iter().enumerate().filter_map(|(index, node)| {
            let made = node.output.first()?.as_str();
            (node.op_type() == "Constant").then_some((made, index))
        });
        Writer {
            document,
            imported,
            growth,
            renamed,
            pinned,
            readers,
            initializers: initializers.map(|(i, t)| (t.name(), i)).collect(),
            constant_nodes: constants.collect(),
            names,
            stated: HashMap::new(),
            tensors: BTreeMap::new(),
            plain: BTreeMap::new(),
            constants: BTreeMap::new(),
            before: Vec::new(),
        }
    }

    fn write<T: Real>(mut self, weights: &Numbers<'_, T>) -> Result<Document, OnnxError> {
        self.parameters(weights)?;
        let source = self.document.graph();
        let mut placed: Vec<(usize, NodeProto)> = Vec::with_capacity(source.node.len());
        let mut names: HashSet<String> =
            source.node.iter().filter_map(|n| n.name.clone()).collect();
        let mut position: HashMap<String, usize> = HashMap::new();
        let mut old_nodes: HashSet<NodeId> = HashSet::new();
        for (index, node) in source.node.iter().enumerate() {
            let node = match &self.imported.links[index] {
                Link::Node(first) => self.grown_node(node, first, &mut old_nodes)?,
                Link::Folded | Link::Opaque => node.clone(),
            };
            for output in &node.output {
                position.insert(output.clone(), index);
            }
            for new in self.before.drain(..) {
                placed.push((index, with_own_name(new, &mut names)));
            }
            placed.push((index, node));
        }
        for (at, node) in self.new_nodes(&old_nodes, &mut position)? {
            placed.push((at, with_own_name(node, &mut names)));
        }
        // Stable: new nodes follow what they read, in their own order.
        placed.sort_by_key(|(at, _)| *at);
        let mut model = self.document.model.clone();
        let graph = model.graph.get_or_insert_default();
        graph.node = placed.into_iter().map(|(_, node)| node).collect();
        // Until then an initialiser was the value of an input.
        let are_inputs = model.ir_version.is_some_and(|version| version < 4);
        self.replace_tensors(graph, are_inputs);
        self.restate(graph);
        let mut external = self.document.external.clone();
        if let Numbers::Later(_, unmade) = weights {
            external.unmade = Some(unmade.clone());
        }
        Ok(Document { model, external })
    }

    fn has_grown(&self, parameter: &str) -> bool {
        let lifted = |stage: &net2net_core::apply::Stage| {
            matches!(stage.origins.get(parameter), Some(Origin::Lifted(_)))
        };
        self.growth.stages().iter().any(lifted)
    }

    /// The tensors of parameters that grew, and of those that are new.
    fn parameters<T: Real>(&mut self, weights: &Numbers<'_, T>) -> Result<(), OnnxError> {
        let graph = self.growth.graph();
        for id in graph.parameters() {
            let name = graph.get(id).name.clone();
            let missing = |error: net2net_core::weights::WeightsError| OnnxError::Export {
                name: name.clone(),
                why: error.to_string(),
            };
            let stored = self.imported.parameters.get(&name);
            if stored.is_some() && !self.has_grown(&name) {
                continue;
            }
            if matches!(weights, Numbers::Later(..)) && self.leave_unmade(id) {
                continue;
            }
            let grown = weights.source().tensor(&name).map_err(missing)?;
            let numbers: Vec<f64> = grown.data().iter().map(|x| (*x).to_f64()).collect();
            let source = self.document.graph();
            let Some(stored) = stored else {
                self.new_parameter(&name, grown.shape(), numbers)?;
                continue;
            };
            let (sizes, numbers) = stored.turn_back(grown.shape(), numbers);
            match &stored.place {
                Place::Initializer(index) => {
                    let old = &source.initializer[*index];
                    let new = tensor::with_numbers(old, &sizes, numbers.into_iter())?;
                    self.tensors.insert(old.name().to_owned(), new);
                }
                Place::Constant(node) => {
                    let value = source.node[*node]
                        .attribute
                        .iter()
                        .find(|a| a.name() == "value");
                    let old = value.and_then(|a| a.t.as_ref());
                    let old = old.cloned().unwrap_or_default();
                    let new = tensor::with_numbers(&old, &sizes, numbers.into_iter())?;
                    self.constants.insert(*node, new);
                }
                Place::Folded(..) => {
                    return Err(OnnxError::Export {
                        name,
                        why: "it is computed from constants, and would have to grow; simplify \
                              the model first (onnxsim)"
                            .to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// States the tensor of a large parameter without making its numbers; false if they have to be
    /// made now.
    fn leave_unmade(&mut self, parameter: ValueId) -> bool {
        let value = self.growth.graph().get(parameter);
        if value.shape.elements(1) < UNMADE_MIN {
            return false;
        }
        let (name, sizes) = (&value.name, value.shape.at(1));
        let tensor = match self.imported.parameters.get(name) {
            None => match self.new_unmade(name, &sizes) {
                Some(tensor) => tensor,
                None => return false,
            },
            Some(stored) => match &stored.place {
                Place::Initializer(index) => {
                    let old = &self.document.graph().initializer[*index];
                    tensor::unmade(old, &stored.sizes_back(&sizes), name)
                }
                Place::Constant(_) | Place::Folded(..) => return false,
            },
        };
        self.tensors.insert(tensor.name().to_owned(), tensor);
        true
    }

    /// What a new tensor begins as: of the type of the one that it is a copy of, if it is one, or of what
    /// its reader reads.
    pub(super) fn template(&self, name: &str) -> TensorProto {
        let of = self.copied_from(name);
        let of = of.and_then(|of| of.tensor(self.document).ok().flatten());
        let kind = of.map(TensorProto::data_type).or_else(|| {
            let graph = self.growth.graph();
            let id = graph.lookup(name)?;
            let mut nodes = graph.nodes().iter();
            let reader = nodes.find(|node| node.inputs.contains(&id))?;
            self.type_of(*reader.inputs.first()?)
        });
        TensorProto {
            data_type: Some(kind.unwrap_or_else(|| self.element_type())),
            name: Some(name.to_owned()),
            ..TensorProto::default()
        }
    }

    /// The type of the real numbers of a value: that of the document, or of what a new value is made of.
    fn type_of(&self, mut value: ValueId) -> Option<i32> {
        let graph = self.growth.graph();
        loop {
            let name = &graph.get(value).name;
            if let Some(known) = self.imported.types.get(name) {
                return Some(*known);
            }
            // Inputs were made before, so that this ends.
            let node = graph.at(graph.producer(value)?);
            value = *node.inputs.first()?;
        }
    }

    /// Refuses a new node that would read numbers of two types: a file keeps them apart, and the graph
    /// does not.
    fn check_types(&self, node: NodeId) -> Result<(), OnnxError> {
        let graph = self.growth.graph();
        let inputs = graph.at(node).inputs.iter();
        let read = inputs.filter(|id| !graph.is_parameter(**id));
        let mut types: Vec<i32> = read.filter_map(|id| self.type_of(*id)).collect();
        types.dedup();
        match types.len() {
            0 | 1 => Ok(()),
            _ => Err(OnnxError::Export {
                name: graph.node_name(node).to_owned(),
                why: "it would read numbers of two precisions, since the model changes the precision \
                      there; insert it elsewhere, or export the model in one precision"
                    .to_owned(),
            }),
        }
    }

    /// The element type of most of the model's real numbers: that of the first such initialiser.
    fn element_type(&self) -> i32 {
        let ids = self
            .document
            .graph()
            .initializer
            .iter()
            .map(|t| t.data_type());
        let mut ids = ids.filter(|id| matches!(id, 1 | 10 | 11 | 16));
        ids.next().unwrap_or(1)
    }

    /// A node of the document as it is in the grown graph.
    fn grown_node(
        &mut self,
        node: &NodeProto,
        first: &str,
        old_nodes: &mut HashSet<NodeId>,
    ) -> Result<NodeProto, OnnxError> {
        let (old, new) = (&self.imported.graph, self.growth.graph());
        let mut node = node.clone();
        // A function of many operands is several nodes of the graph, the last under its name.
        let mut pending = vec![first.to_owned()];
        while let Some(name) = pending.pop() {
            let now = self.renamed.get(&name).unwrap_or(&name);
            let find =
                |graph: &Graph, name: &str| graph.lookup(name).and_then(|id| graph.producer(id));
            let (Some(before), Some(after)) = (find(old, &name), find(new, now)) else {
                return Err(OnnxError::Export {
                    name,
                    why: "it is not in the grown graph".to_owned(),
                });
            };
            old_nodes.insert(after);
            let pairs = old.at(before).inputs.iter().zip(&new.at(after).inputs);
            for (from, to) in pairs {
                let (from, to) = (&old.get(*from).name, &new.get(*to).name);
                if self.imported.internal.contains(from) {
                    pending.push(from.clone());
                } else if from != to {
                    let reads = node.input.iter_mut().filter(|input| *input == from);
                    reads.for_each(|input| input.clone_from(to));
                }
            }
            let follows = self.pinned.shapes && self.must_state(before);
            if name == first && (follows || self.differs(before, after)) {
                self.patch(&mut node, before, after)?;
            }
        }
        if let Some(first) = new
            .find(self.renamed.get(first).map_or(first, |now| now))
            .ok()
            && let Some(after) = new.producer(first)
            && matches!(new.at(after).op, Op::Concat(_))
        {
            // A new branch stands behind the old ones.
            let more = new.at(after).inputs.iter().skip(node.input.len());
            node.input.extend(more.map(|id| new.get(*id).name.clone()));
        }
        self.state_numbers(&mut node)?;
        for output in &mut node.output {
            if let Some(now) = self.renamed.get(output) {
                output.clone_from(now);
            }
        }
        Ok(node)
    }

    /// Has a node read statements of numbers that it computed.
    fn state_numbers(&mut self, node: &mut NodeProto) -> Result<(), OnnxError> {
        for input in &mut node.input {
            if self.pinned.numbers.contains(input) {
                *input = self.pin(input)?;
            }
        }
        Ok(())
    }

    /// The initialiser that states what a name stood for before growth.
    fn pin(&mut self, name: &str) -> Result<String, OnnxError> {
        if let Some(stated) = self.stated.get(name) {
            return Ok(stated.clone());
        }
        let stated = self.fresh(&format!("{name}.stated"));
        self.stated.insert(name.to_owned(), stated.clone());
        let place = self
            .imported
            .parameters
            .get(name)
            .map(|stored| &stored.place);
        if let Some(Place::Folded(sizes, numbers)) = place {
            let template = self.template(&stated);
            let tensor = tensor::with_numbers(&template, sizes, numbers.iter().copied())?;
            self.tensors.insert(stated.clone(), tensor);
        }
        Ok(stated)
    }

    /// Puts grown and new tensors into the graph.
    fn replace_tensors(&mut self, graph: &mut GraphProto, are_inputs: bool) {
        for tensor in &mut graph.initializer {
            if let Some(new) = self.tensors.remove(tensor.name()) {
                *tensor = new;
            }
        }
        let new = std::mem::take(&mut self.tensors);
        if are_inputs {
            graph.input.extend(new.values().map(as_input));
        }
        graph.initializer.extend(new.into_values());
        // The order of nodes has changed, but not their outputs.
        let source = self.document.graph();
        let mut constants: HashMap<&str, TensorProto> = std::mem::take(&mut self.constants)
            .into_iter()
            .filter_map(|(index, new)| Some((source.node[index].output.first()?.as_str(), new)))
            .collect();
        for node in &mut graph.node {
            let Some(new) = node
                .output
                .first()
                .and_then(|o| constants.remove(o.as_str()))
            else {
                continue;
            };
            if let Some(value) = node.attribute.iter_mut().find(|a| a.name() == "value") {
                value.t = Some(new);
            }
        }
    }

    /// States the shapes of values anew where they have grown.
    fn restate(&self, graph: &mut GraphProto) {
        let grown = self.growth.graph();
        let (old, links) = (&self.imported.graph, &self.imported.links);
        let shape_of = |name: &str| {
            let before = &old.get(old.lookup(name)?).shape;
            let after = &grown.get(grown.lookup(name)?).shape;
            // A tensor is stated as it is stored, which may be turned.
            let stored = self.imported.parameters.get(name);
            let stated = match stored {
                Some(stored) => Shape::fixed(&stored.sizes_back(&after.at(1))),
                None => after.clone(),
            };
            (before != after).then_some(stated)
        };
        let borders = graph.input.iter_mut().chain(&mut graph.output);
        for info in borders.chain(&mut graph.value_info) {
            if let Some(shape) = shape_of(info.name()) {
                set_shape(info, &shape);
            }
        }
        // What an inserted layer has taken the name of, and turned copies of parameters, go
        // without: a statement is optional, and a wrong one is an error.
        let folded = self.document.graph().node.iter().zip(links);
        let folded = folded.filter(|(_, link)| **link == Link::Folded);
        let turned: HashSet<&str> = folded
            .flat_map(|(node, _)| node.output.iter().map(String::as_str))
            .filter(|name| old.lookup(name).is_none())
            .collect();
        graph
            .value_info
            .retain(|info| !turned.contains(info.name()));
    }
}

/// Gives a new node a name that no other node has.
fn with_own_name(mut node: NodeProto, names: &mut HashSet<String>) -> NodeProto {
    let wanted = node.name().to_owned();
    let mut number = 1;
    while !names.insert(node.name().to_owned()) {
        number += 1;
        node.name = Some(format!("{wanted}.{number}"));
    }
    node
}

/// The input that an initialiser is the value of.
fn as_input(tensor: &TensorProto) -> ValueInfoProto {
    let dim = tensor.dims.iter().map(|size| Dimension {
        dim_value: Some(*size),
        ..Dimension::default()
    });
    ValueInfoProto {
        name: tensor.name.clone(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorType {
                elem_type: tensor.data_type,
                shape: Some(TensorShapeProto { dim: dim.collect() }),
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn set_shape(info: &mut ValueInfoProto, shape: &Shape) {
    let stated = info.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
    let Some(dims) = stated.and_then(|t| t.shape.as_mut()) else {
        return;
    };
    for (dim, extent) in dims.dim.iter_mut().zip(shape.extents()) {
        // A free axis keeps its name.
        if let (Some(_), Extent::Fixed(size)) = (dim.dim_value, extent) {
            *dim = Dimension {
                dim_value: Some(*size as i64),
                denotation: dim.denotation.take(),
                ..Dimension::default()
            };
        }
    }
}
