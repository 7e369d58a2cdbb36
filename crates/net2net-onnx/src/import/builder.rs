//! Building the graph, node by node.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use net2net_core::graph::{Extent, Graph, Shape, ValueId};
use net2net_core::ops::Op;

use super::adapt::{self, Name, Piece};
use super::island::captured;
use super::shapes::Open;
use super::{Feed, Imported, Link, Opaque, Place, Stored, as_known, as_place, quantized};
use crate::document::Document;
use crate::error::OnnxError;
use crate::fold::{Call, Known, MAX_RANK, fold};
use crate::proto::{GraphProto, NodeProto, TypeProto};
use crate::tensor;

/// Numbers that folding reads and makes in all: more are no shapes but an attempt to fill the
/// memory.
const MAX_FOLDED: usize = 1 << 25;

/// The operators of ONNX's own domains.
fn is_own(node: &NodeProto) -> bool {
    matches!(node.domain(), "" | "ai.onnx")
}

/// What is known while the graph is being built.
pub(super) struct Builder<'a> {
    pub(super) document: &'a Document,
    pub(super) opset: i64,
    pub(super) reading: Reading,
    graph: Graph,
    /// Values of the graph by their names in the document.
    pub(super) values: HashMap<&'a str, ValueId>,
    pub(super) known: HashMap<&'a str, Known>,
    /// `Constant` nodes by their outputs.
    constants: HashMap<&'a str, usize>,
    pub(super) initializers: HashMap<&'a str, usize>,
    /// How often each name is read.
    pub(super) readers: HashMap<&'a str, usize>,
    pub(super) stated: HashMap<&'a str, &'a TypeProto>,
    pub(super) dtypes: HashMap<&'a str, i32>,
    pub(super) open: Open,
    parameters: BTreeMap<String, Stored>,
    feeds: Vec<Feed>,
    /// The graph input that a value is a reshaped or converted copy of, by index.
    from_input: HashMap<ValueId, usize>,
    outputs: Vec<ValueId>,
    is_output: HashSet<ValueId>,
    /// What is left of [`MAX_FOLDED`].
    pub(super) foldable: usize,
    pub(super) opaque: Vec<Opaque>,
    pub(super) read_outside: BTreeSet<String>,
    pub(super) internal: BTreeSet<String>,
    /// All names of the document.
    pub(super) taken: HashSet<&'a str>,
    /// Those of its outputs.
    results: HashSet<&'a str>,
    /// What is quantised, or made of it, and the shape if it is known.
    pub(super) quantized: HashMap<&'a str, Option<Shape>>,
}

/// How a document is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// What the batch is.
    pub(super) batch: Extent,
    /// Whether a lookup of all elements in their order is a reshape.
    pub(super) lookups: bool,
    /// Which sizes open axes other than the batch have: 0 for the first ones.
    pub(super) lengths: usize,
}

pub(super) fn build(document: &Document, reading: Reading) -> Result<Imported, OnnxError> {
    let source = document.graph();
    let mut builder = Builder::new(document, reading);
    builder.add_inputs(source)?;
    let mut links = Vec::with_capacity(source.node.len());
    for (index, node) in source.node.iter().enumerate() {
        links.push(builder.add(index, node)?);
    }
    for output in &source.output {
        match builder.value(output.name()) {
            Ok(id) => builder.add_output(id),
            Err(_) if builder.opaque.is_empty() => {
                let why = format!("its output `{}` is a constant", output.name());
                return Err(OnnxError::Graph { why });
            }
            Err(_) => {}
        }
    }
    if builder.outputs.is_empty() {
        let first = builder.opaque.first();
        let why = first.map_or("it has no output".to_owned(), |node| {
            format!(
                "nothing of it is understood; the first node that is not is `{}` ({}): {}",
                node.node, node.operator, node.why
            )
        });
        return Err(OnnxError::Graph { why });
    }
    for output in &builder.outputs {
        builder.graph.output(*output);
    }
    builder.graph.validate().map_err(|error| OnnxError::Graph {
        why: error.to_string(),
    })?;
    Ok(Imported {
        graph: builder.graph,
        links,
        parameters: builder.parameters,
        feeds: builder.feeds,
        opaque: builder.opaque,
        internal: builder.internal,
        open: builder.open.has_sizes(),
        free_axes: BTreeMap::new(),
        types: super::real_types(&builder.values, &builder.dtypes),
        read_outside: builder.read_outside,
        reading,
    })
}

impl<'a> Builder<'a> {
    fn new(document: &'a Document, reading: Reading) -> Self {
        let source = document.graph();
        let mut readers: HashMap<&str, usize> = HashMap::new();
        for node in &source.node {
            for input in &node.input {
                *readers.entry(input).or_default() += 1;
            }
            for name in captured(node) {
                *readers.entry(name).or_default() += 1;
            }
        }
        let infos = source
            .input
            .iter()
            .chain(&source.output)
            .chain(&source.value_info);
        let stated: HashMap<&str, &TypeProto> = infos
            .filter_map(|info| Some((info.name(), info.r#type.as_ref()?)))
            .collect();
        let element = |stated: &TypeProto| Some(stated.tensor_type.as_ref()?.elem_type());
        let mut dtypes: HashMap<&str, i32> = stated
            .iter()
            .filter_map(|(name, stated)| Some((*name, element(stated)?)))
            .collect();
        let tensors = source.initializer.iter();
        dtypes.extend(tensors.map(|tensor| (tensor.name(), tensor.data_type())));
        let mut taken: HashSet<&str> = dtypes.keys().copied().collect();
        taken.extend(
            source
                .node
                .iter()
                .flat_map(|n| &n.output)
                .map(String::as_str),
        );
        let initializers = source.initializer.iter().enumerate();
        Builder {
            document,
            opset: document.opset(),
            reading,
            graph: Graph::new(source.name()),
            values: HashMap::new(),
            known: HashMap::new(),
            constants: HashMap::new(),
            initializers: initializers.map(|(i, t)| (t.name(), i)).collect(),
            readers,
            stated,
            dtypes,
            open: Open::new(reading.batch, reading.lengths),
            parameters: BTreeMap::new(),
            feeds: Vec::new(),
            from_input: HashMap::new(),
            outputs: Vec::new(),
            is_output: HashSet::new(),
            foldable: MAX_FOLDED,
            opaque: Vec::new(),
            read_outside: BTreeSet::new(),
            internal: BTreeSet::new(),
            taken,
            results: source.output.iter().map(|output| output.name()).collect(),
            quantized: HashMap::new(),
        }
    }

    fn add_inputs(&mut self, source: &'a GraphProto) -> Result<(), OnnxError> {
        for input in &source.input {
            if self.initializers.contains_key(input.name()) {
                continue;
            }
            let stated = input.r#type.as_ref();
            let Some(shape) = stated.and_then(|stated| self.open.input(stated)) else {
                continue;
            };
            let real = matches!(self.dtypes.get(input.name()), Some(1 | 10 | 11 | 16));
            // Whole numbers that index nothing are truth values more often than not.
            let feed = if real { Feed::Real } else { Feed::Index(2) };
            self.add_input(input.name(), shape, feed)?;
        }
        Ok(())
    }

    pub(super) fn add_input(
        &mut self,
        name: &'a str,
        shape: Shape,
        feed: Feed,
    ) -> Result<(), OnnxError> {
        let id = self.graph.input(name, shape).map_err(|error| {
            let why = error.to_string();
            OnnxError::Graph { why }
        })?;
        self.values.insert(name, id);
        self.from_input.insert(id, self.feeds.len());
        self.feeds.push(feed);
        Ok(())
    }

    pub(super) fn add_output(&mut self, id: ValueId) {
        if self.is_output.insert(id) {
            self.outputs.push(id);
        }
    }

    fn add(&mut self, index: usize, node: &'a NodeProto) -> Result<Link, OnnxError> {
        if is_own(node) && self.fold(index, node) {
            return Ok(Link::Folded);
        }
        let understood = if is_own(node) {
            self.understand(node)
        } else {
            Err(format!("operators of `{}` are not known", node.domain()))
        };
        match understood {
            Ok(link) => Ok(link),
            Err(why) => {
                self.add_opaque(node, why)?;
                Ok(Link::Opaque)
            }
        }
    }

    /// Whether the node's result is known, or another name of a known value.
    fn fold(&mut self, index: usize, node: &'a NodeProto) -> bool {
        let Some(output) = node.output.first().map(String::as_str) else {
            return false;
        };
        if node.op_type() == "Constant" {
            self.constants.insert(output, index);
            if let Some(known) = self.constant(node) {
                self.dtypes
                    .insert(output, if known.integer { 7 } else { 1 });
                self.known.insert(output, known);
            } else if let Some(value) = adapt::attribute(node, "value") {
                let id = value.t.as_ref().map_or(1, |t| t.data_type());
                self.dtypes.insert(output, id);
            }
            return true;
        }
        if matches!(node.op_type(), "Identity" | "Cast") && self.alias(node, output) {
            return true;
        }
        // Parts of a mask, and not parameters: these are learned at any size.
        let reals = node.op_type() == "ScatterND";
        for name in &node.input {
            self.learn(name, reals);
        }
        let mut ints: HashMap<&str, Vec<i64>> = HashMap::new();
        let mut value = None;
        for attribute in &node.attribute {
            let name = attribute.name();
            match (attribute.i, &attribute.t) {
                (Some(i), _) => ints.insert(name, vec![i]),
                (None, Some(tensor)) => {
                    value = self.small(tensor, true);
                    None
                }
                (None, None) => ints.insert(name, attribute.ints.clone()),
            };
        }
        ints.retain(|_, values| !values.is_empty());
        let mut inputs: Vec<Option<&Known>> = node
            .input
            .iter()
            .map(|name| self.known.get(name.as_str()))
            .collect();
        if node.op_type() == "ConstantOfShape" {
            inputs.push(value.as_ref());
        }
        let shape = node.input.first().and_then(|name| self.sizes_of(name));
        let call = Call {
            op: node.op_type(),
            ints,
            inputs,
            shape,
        };
        let read: usize = call.inputs.iter().flatten().map(|known| known.len()).sum();
        if read > self.foldable {
            return false;
        }
        let folded = fold(&call);
        let made = folded.as_ref().map_or(0, Known::len);
        self.foldable = self.foldable.saturating_sub(read.saturating_add(made));
        match folded {
            Some(known) => {
                self.dtypes
                    .insert(output, if known.integer { 7 } else { 1 });
                self.known.insert(output, known);
                true
            }
            None => false,
        }
    }

    /// The numbers of a value that the model computes from shapes and constants.
    pub(super) fn computed(&self, name: &str) -> Option<&Known> {
        self.known.get(name).filter(|_| !self.is_stated(name))
    }

    /// Whether a value is a tensor of the document, or such a tensor turned.
    pub(super) fn is_stated(&self, name: &str) -> bool {
        let parameter = self.values.get(name).map(|id| self.graph.is_parameter(*id));
        let stated = self.initializers.contains_key(name) || self.constants.contains_key(name);
        stated || parameter == Some(true)
    }

    /// The shape of a value, an initialiser, or what is quantised, as far as it is known.
    pub(super) fn shape_of(&self, name: &str) -> Option<Shape> {
        if let Some(id) = self.values.get(name) {
            return Some(self.graph.get(*id).shape.clone());
        }
        if let Some(shape) = self.quantized.get(name) {
            return shape.clone();
        }
        self.initializer_sizes(name)
            .map(|sizes| Shape::fixed(&sizes))
    }

    /// The sizes of a value, a constant or an initialiser, for shape arithmetic.
    fn sizes_of(&self, name: &str) -> Option<Vec<i64>> {
        if let Some(id) = self.values.get(name) {
            return Some(as_known(&self.graph.get(*id).shape));
        }
        if let Some(known) = self.known.get(name) {
            return Some(known.dims.iter().map(|size| *size as i64).collect());
        }
        let source = self.document.graph();
        if let Some(index) = self.initializers.get(name) {
            return Some(source.initializer.get(*index)?.dims.clone());
        }
        let node = source.node.get(*self.constants.get(name)?)?;
        Some(adapt::attribute(node, "value")?.t.as_ref()?.dims.clone())
    }

    /// A copy of a parameter under another name is that parameter.
    fn alias(&mut self, node: &'a NodeProto, output: &'a str) -> bool {
        let Some(input) = node.input.first() else {
            return false;
        };
        if !self.initializers.contains_key(input.as_str()) {
            return false;
        }
        let target = adapt::attribute(node, "to").map_or(1, |to| to.i());
        let real = |id: i64| matches!(id, 1 | 10 | 11 | 16);
        let from = self.dtypes.get(input.as_str()).copied().unwrap_or(0);
        if !real(target) || !real(i64::from(from)) {
            return false;
        }
        match self.value(input) {
            Ok(id) => {
                self.values.insert(output, id);
                self.dtypes.insert(output, target as i32);
                true
            }
            Err(_) => false,
        }
    }

    /// The shape of an input.
    pub(super) fn shape(&mut self, node: &'a NodeProto, input: usize) -> Result<Shape, String> {
        let name = node.input.get(input).ok_or("it has too few inputs")?;
        let id = self.value(name)?;
        Ok(self.graph.get(id).shape.clone())
    }

    /// The element type of a value, as far as it is known.
    pub(super) fn dtype(&self, name: &str) -> Option<i32> {
        self.dtypes.get(name).copied()
    }

    /// The sizes of an initialiser.
    pub(super) fn initializer_sizes(&self, name: &str) -> Option<Vec<usize>> {
        let index = self.initializers.get(name)?;
        let tensor = self.document.graph().initializer.get(*index)?;
        tensor::sizes(tensor).ok().map(|(sizes, _)| sizes)
    }

    /// The sizes of an initialiser that only one node reads.
    pub(super) fn lone_initializer(&self, name: &str) -> Option<Vec<usize>> {
        let alone = self.readers.get(name) == Some(&1) && !self.values.contains_key(name);
        self.initializer_sizes(name).filter(|_| alone)
    }

    /// Makes the parameter of an initialiser, turned as it is wanted.
    pub(super) fn turned(
        &mut self,
        initializer: &'a str,
        name: &'a str,
        perm: Vec<usize>,
        dropped: Vec<usize>,
    ) -> Result<(), String> {
        let index = *self
            .initializers
            .get(initializer)
            .ok_or("it is no initialiser")?;
        let stored = Stored {
            place: Place::Initializer(index),
            perm,
            dropped,
        };
        let id = self.add_parameter(initializer, stored)?;
        self.values.insert(name, id);
        Ok(())
    }

    fn add_parameter(&mut self, name: &str, stored: Stored) -> Result<ValueId, String> {
        let tensor = match &stored.place {
            Place::Initializer(index) => &self.document.graph().initializer[*index],
            Place::Constant(node) => adapt::attribute(&self.document.graph().node[*node], "value")
                .and_then(|attribute| attribute.t.as_ref())
                .ok_or("it is a constant that is no tensor")?,
            Place::Folded(sizes, _) => {
                let id = self
                    .graph
                    .parameter(name, sizes)
                    .map_err(|e| e.to_string())?;
                self.parameters.insert(name.to_owned(), stored);
                return Ok(id);
            }
        };
        tensor::dtype(tensor).map_err(|error| error.to_string())?;
        let (sizes, _) = tensor::sizes(tensor).map_err(|error| error.to_string())?;
        if sizes.len() > MAX_RANK {
            return Err(format!("`{name}` has {} axes", sizes.len()));
        }
        let kept = stored
            .perm
            .iter()
            .filter(|axis| !stored.dropped.contains(axis));
        let sizes: Vec<usize> = kept.map(|axis| sizes[*axis]).collect();
        let id = self
            .graph
            .parameter(name, &sizes)
            .map_err(|e| e.to_string())?;
        self.parameters.insert(name.to_owned(), stored);
        Ok(id)
    }

    /// The value of a name, made a parameter if it is a constant.
    pub(super) fn value(&mut self, name: &'a str) -> Result<ValueId, String> {
        if let Some(id) = self.values.get(name) {
            return Ok(*id);
        }
        let whole = |place: Place, rank: usize| Stored {
            place,
            perm: (0..rank).collect(),
            dropped: Vec::new(),
        };
        let source = self.document.graph();
        let stored = if let Some(index) = self.initializers.get(name) {
            whole(
                Place::Initializer(*index),
                source.initializer[*index].dims.len(),
            )
        } else if let Some(node) = self.constants.get(name) {
            match adapt::attribute(&source.node[*node], "value").and_then(|a| a.t.as_ref()) {
                Some(tensor) => whole(Place::Constant(*node), tensor.dims.len()),
                None => {
                    let known = self.known.get(name).ok_or("it is no number")?;
                    whole(as_place(known), known.dims.len())
                }
            }
        } else if let Some(known) = self.known.get(name) {
            if known
                .numbers
                .iter()
                .any(|x| x.abs() >= crate::fold::BATCH as f64)
                && known.integer
            {
                return Err(format!("`{name}` is computed from the size of the batch"));
            }
            whole(as_place(known), known.dims.len())
        } else if self.quantized.contains_key(name) {
            return Err(format!(
                "its input `{name}` is not real: {}",
                quantized::WHY
            ));
        } else {
            return Err(format!(
                "its input `{name}` comes from what is not understood"
            ));
        };
        let id = self.add_parameter(name, stored)?;
        self.values.insert(name, id);
        Ok(id)
    }

    fn understand(&mut self, node: &'a NodeProto) -> Result<Link, String> {
        let Some(pieces) = adapt::pieces(self, node)? else {
            return Ok(Link::Folded);
        };
        let own = pieces.iter().filter(|piece| !piece.internal);
        let made: Vec<&String> = own.flat_map(|piece| &piece.outputs).collect();
        let first = (*made.first().ok_or("it makes nothing")?).clone();
        let is_lost = |name: &&String| self.is_read(name) && !made.contains(name);
        if let Some(lost) = node.output.iter().find(is_lost) {
            return Err(format!("its output `{lost}` is not understood"));
        }
        for piece in pieces {
            self.add_piece(node, piece)?;
        }
        Ok(Link::Node(first))
    }

    /// Whether anything reads a value, or it is an output.
    fn is_read(&self, name: &str) -> bool {
        !name.is_empty() && (self.readers.contains_key(name) || self.results.contains(name))
    }

    /// Adds one node to the graph.
    fn add_piece(&mut self, node: &'a NodeProto, piece: Piece<'a>) -> Result<(), String> {
        let op = Op::read(piece.op, piece.attributes)?;
        let mut inputs = Vec::with_capacity(piece.inputs.len());
        for name in &piece.inputs {
            inputs.push(match name {
                Name::Document(name) => self.value(name)?,
                Name::Internal(name) => self.graph.find(name).map_err(|e| e.to_string())?,
            });
        }
        // A table that is indexed, its axis, and the indices.
        let gathers = match &op {
            Op::Gather(gather) => Some((0, gather.axis, 1)),
            Op::RotaryEmbedding(_) if inputs.len() > 3 => Some((1, 0, 3)),
            _ => None,
        };
        let passes = matches!(op, Op::Identity(_) | Op::Reshape(_) | Op::Flatten(_));
        let names = piece.outputs;
        let made = self
            .graph
            .node_with_outputs(&names, op, &inputs)
            .map_err(|error| error.to_string())?;
        if let Some((table, axis, indices)) = gathers {
            let limit = self.graph.get(inputs[table]).shape.at(1)[axis];
            let input = self.from_input.get(&inputs[indices]);
            if let Some(Feed::Index(known)) = input.map(|input| &mut self.feeds[*input]) {
                *known = if *known == 2 {
                    limit
                } else {
                    limit.min(*known)
                };
            }
        }
        if let (true, Some(input)) = (passes, self.from_input.get(&inputs[0]).copied()) {
            self.from_input.insert(made[0], input);
        }
        let dtype = adapt::result_type(self, node);
        for (name, id) in names.into_iter().zip(made) {
            let own = node.output.iter().find(|own| **own == name);
            match own.filter(|_| !piece.internal) {
                Some(own) => {
                    self.values.insert(own, id);
                    self.dtypes.extend(dtype.map(|dtype| (own.as_str(), dtype)));
                }
                None => {
                    self.internal.insert(name);
                }
            }
        }
        Ok(())
    }
}
