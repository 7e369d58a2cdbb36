//! From a document to a graph that can grow, with the way back from each part of it.
//!
//! Nodes are read one by one, in order. Shape arithmetic is folded. A node that is understood
//! becomes one node of the graph (or a few), named after its outputs. One that is not stays in the
//! document alone: what it reads becomes an output of the graph and what it makes an input, so
//! that neither grows and everything around it does.

mod adapt;
mod attention;
mod builder;
mod gemm;
mod island;
mod known;
mod moves;
mod names;
mod pads;
mod prelu;
mod quantized;
mod recurrent;
mod repeat;
mod shapes;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use net2net_core::graph::{Extent, Graph, Shape, Value, ValueId};
use net2net_core::weights::{Tensor, Weights};
use net2net_kernels::{Real, memory};

use builder::Reading;

use crate::document::Document;
use crate::error::OnnxError;
use crate::fold::Known;
use crate::proto::TensorProto;
use crate::source::FileSource;
use crate::tensor;

/// The most numbers of one input, in all samples.
const MAX_INPUT: usize = 1 << 32;
/// The most parameters of a model for each byte of it: tensors may share bytes of a file beside,
/// but a small file must not become a large network.
const MOST_FOR_EACH_BYTE: usize = 16;

/// A document as far as it is understood.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    /// What became of each node of the document, in its order.
    pub links: Vec<Link>,
    /// Where the numbers of each parameter are.
    pub parameters: BTreeMap<String, Stored>,
    /// What each input of the graph is fed with, in the graph's order.
    pub feeds: Vec<Feed>,
    /// Nodes that are not understood, and why.
    pub opaque: Vec<Opaque>,
    /// Values of the graph that stand for no value of the document.
    pub internal: BTreeSet<String>,
    /// Whether axes other than the batch are fixed although the document leaves them open.
    pub open: bool,
    /// The axes of each value whose sizes follow something that the document leaves open and the
    /// graph does not, and their sizes in another reading.
    pub free_axes: BTreeMap<String, BTreeMap<usize, usize>>,
    /// ONNX's number of the type of real numbers that each value of the document is made of.
    pub types: BTreeMap<String, i32>,
    /// Values that nodes read that are not understood.
    pub read_outside: BTreeSet<String>,
    reading: Reading,
}

/// What became of a node of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Its results are known numbers, or another name for a value.
    Folded,
    /// The node of the graph that makes its first output.
    Node(String),
    /// It is not understood.
    Opaque,
}

/// Where a parameter's numbers are, and how they are turned.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The place.
    pub place: Place,
    /// Axis `j` of the parameter is axis `perm[j]` of the tensor, axes of `dropped` left out.
    pub perm: Vec<usize>,
    /// Axes of size 1 of the tensor that the parameter does not have.
    pub dropped: Vec<usize>,
}

/// A place in the document.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The initialiser of an index.
    Initializer(usize),
    /// The node of an index, a `Constant`.
    Constant(usize),
    /// Nowhere: it was computed.
    Folded(Vec<usize>, Vec<f64>),
}

/// What an input of the graph is fed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Real numbers.
    Real,
    /// Whole numbers from 0 to below a limit.
    Index(usize),
    /// Real numbers that a node outside of the graph makes.
    Island,
}

/// A node that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// Its name, or its first output.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// What is not understood.
    pub why: String,
}

impl Opaque {
    /// Whether it works on integers that stand for real numbers.
    pub fn is_quantized(&self) -> bool {
        quantized::is_quantized(&self.operator)
    }
}

impl Imported {
    /// Reads a document. Where a free batch stands in the way, it is fixed to one sample.
    pub fn read(document: &Document) -> Result<Imported, OnnxError> {
        let free = Imported::free(document);
        if free.as_ref().is_ok_and(|free| free.opaque.is_empty()) {
            return free;
        }
        let fixed = Imported::fixed(document)?;
        match free {
            Ok(free) if free.opaque.len() <= fixed.opaque.len() => Ok(free),
            _ => Ok(fixed),
        }
    }

    /// Reads a document that was written from the one of this reading, in the same way: with a free batch
    /// or with one sample.
    pub fn read_alike(&self, document: &Document) -> Result<Imported, OnnxError> {
        match self.reading.batch {
            Extent::Batch => Imported::free(document),
            Extent::Fixed(_) => Imported::fixed(document),
        }
    }

    /// Reads a document with a free batch. What follows other open axes is found by reading it
    /// with other sizes of them.
    fn free(document: &Document) -> Result<Imported, OnnxError> {
        let first = Reading {
            batch: Extent::Batch,
            lookups: true,
            lengths: 0,
        };
        let mut one = builder::build(document, first)?;
        if one.open
            && let Some(two) = one.another(document, Extent::Batch, true)
        {
            one.free_axes = following(&one.graph, &two.graph);
        }
        Ok(one)
    }

    /// Reads a document with one sample. What follows the batch and other open axes is found by
    /// reading it with two samples and other sizes.
    fn fixed(document: &Document) -> Result<Imported, OnnxError> {
        let read = |lookups| {
            let first = Reading {
                batch: Extent::Fixed(1),
                lookups,
                lengths: 0,
            };
            builder::build(document, first)
        };
        let mut one = read(true)?;
        let mut two = one.another(document, Extent::Fixed(2), false);
        if two.is_none() {
            // What is in order by chance, with one sample alone, is a lookup after all.
            one = read(false)?;
            two = one.another(document, Extent::Fixed(2), true);
        }
        if let Some(two) = two {
            one.free_axes = following(&one.graph, &two.graph);
        }
        Ok(one)
    }

    /// Another reading of the document that has the same nodes, or if there is none and `any` will do,
    /// the first that succeeds.
    fn another(&self, document: &Document, batch: Extent, any: bool) -> Option<Imported> {
        let others = (1..=shapes::OTHERS).filter_map(|lengths| {
            let (lookups, batch) = (self.reading.lookups, batch);
            let reading = Reading {
                batch,
                lookups,
                lengths,
            };
            builder::build(document, reading).ok()
        });
        let mut first = None;
        for other in others {
            if same_operators(&self.graph, &other.graph) {
                return Some(other);
            }
            first.get_or_insert(other);
        }
        first.filter(|_| any)
    }

    /// How many other readings there are for [`Imported::at_other_lengths`].
    pub const OTHER_LENGTHS: usize = 2 * shapes::OTHERS;

    /// The same document with other lengths of what it leaves open, where that is more than the
    /// batch of this reading, or the batch is computed with: what holds of a growth must hold there
    /// too. `which` chooses the lengths, since not every model takes all, and is below
    /// [`Imported::OTHER_LENGTHS`].
    pub fn at_other_lengths(
        &self,
        document: &Document,
        which: usize,
    ) -> Result<Option<Imported>, OnnxError> {
        let counts_batch = self.counts_batch(document);
        if !self.open && self.free_axes.is_empty() && !counts_batch {
            return Ok(None);
        }
        let batch = match self.reading.batch {
            // What is computed from it is computed from one that there is.
            Extent::Batch if counts_batch => Extent::Fixed(3),
            // Some models read one sample only.
            Extent::Fixed(samples) if which < shapes::OTHERS => Extent::Fixed(samples + 1),
            batch => batch,
        };
        let reading = Reading {
            batch,
            lookups: self.reading.lookups,
            lengths: 1 + which % shapes::OTHERS,
        };
        self.again(document, reading).map(Some)
    }

    /// This document read as another one was, from which it was grown.
    pub fn read_as(&self, document: &Document, other: &Imported) -> Result<Imported, OnnxError> {
        self.again(document, other.reading)
    }

    fn again(&self, document: &Document, reading: Reading) -> Result<Imported, OnnxError> {
        let other = builder::build(document, reading)?;
        // Such as positions beyond a table's end: what is made there is no longer known.
        match other.opaque.iter().find(|node| !self.leaves_out(node)) {
            Some(node) => Err(OnnxError::Graph {
                why: format!("`{}` is not understood there: {}", node.node, node.why),
            }),
            None => Ok(other),
        }
    }

    /// Whether the graph has numbers that the model computes from the size of a free batch, which is none
    /// that there is.
    fn counts_batch(&self, document: &Document) -> bool {
        let folded = |imported: &Imported| -> BTreeMap<String, Place> {
            let all = imported.parameters.iter();
            let folded = all.filter(|(_, stored)| matches!(stored.place, Place::Folded(..)));
            folded
                .map(|(name, stored)| (name.clone(), stored.place.clone()))
                .collect()
        };
        let own = folded(self);
        if self.reading.batch != Extent::Batch || own.is_empty() {
            return false;
        }
        let reading = Reading {
            batch: Extent::Fixed(2),
            ..self.reading
        };
        let other = builder::build(document, reading).map(|other| folded(&other));
        other.is_ok_and(|other| {
            let mut own = own.iter();
            own.any(|(name, place)| other.get(name).is_some_and(|other| other != place))
        })
    }

    /// Whether a node is not understood in this reading either.
    pub(crate) fn leaves_out(&self, node: &Opaque) -> bool {
        self.opaque.iter().any(|own| own.node == node.node)
    }

    /// The numbers of all parameters.
    pub fn weights<T: Real>(&self, document: &Document) -> Result<Weights<T>, OnnxError> {
        self.check_amount(document)?;
        let mut weights = Weights::default();
        for (name, stored) in &self.parameters {
            let (sizes, numbers) = stored.read(document)?;
            let data = numbers.iter().map(|x| T::from_f64(*x)).collect();
            let tensor = Tensor::new(sizes, data).map_err(|error| OnnxError::Tensor {
                name: name.clone(),
                why: error.to_string(),
            })?;
            weights.insert(name.clone(), tensor);
        }
        Ok(weights)
    }

    fn check_amount(&self, document: &Document) -> Result<(), OnnxError> {
        let elements = |id| self.graph.get(id).shape.elements(1);
        let stored = self.graph.parameters();
        // Those that were computed are limited where they are.
        let stored = stored.filter(|id| {
            let place = self.parameters.get(&self.graph.get(*id).name);
            !matches!(place.map(|s| &s.place), Some(Place::Folded(..)))
        });
        let total = stored.map(elements).fold(0, usize::saturating_add);
        let bytes = document.bytes();
        if total > bytes.saturating_mul(MOST_FOR_EACH_BYTE) {
            let why = format!("its tensors state {total} numbers, and it has {bytes} bytes");
            return Err(OnnxError::Graph { why });
        }
        Ok(())
    }

    /// The parameters as they are read from the file one by one, in f32. Their lengths are checked
    /// here, their numbers are not looked at.
    pub fn source<'a>(&'a self, document: &'a Document) -> Result<FileSource<'a>, OnnxError> {
        self.check_amount(document)?;
        for stored in self.parameters.values() {
            if let Some(tensor) = stored.tensor(document)? {
                tensor::check_length(tensor, &document.external)?;
            }
        }
        Ok(FileSource::new(document, self))
    }

    /// Random numbers for all inputs of the graph, `batch` samples, from a seed.
    pub fn random_inputs(&self, batch: usize, seed: u64) -> Result<Vec<Vec<f32>>, OnnxError> {
        let inputs = self.graph.inputs().iter().zip(&self.feeds);
        inputs
            .map(|(id, feed)| random_input(self.graph.get(*id), *feed, batch, seed))
            .collect()
    }
}

fn random_input(value: &Value, feed: Feed, batch: usize, seed: u64) -> Result<Vec<f32>, OnnxError> {
    let count = value.shape.elements(batch);
    let mut numbers = Vec::new();
    // A model states any size that it likes. What the system would grant but never have is
    // refused too.
    let bytes = count.saturating_mul(size_of::<f32>()) as u64;
    let granted = count <= MAX_INPUT
        && memory::available().is_none_or(|available| bytes <= available)
        && numbers.try_reserve_exact(count).is_ok();
    if !granted {
        return Err(OnnxError::Tensor {
            name: value.name.clone(),
            why: format!("{batch} samples of {} do not fit the memory", value.shape),
        });
    }
    let mut random = net2net_core::weights::stream(seed, &value.name);
    numbers.extend((0..count).map(|_| {
        let x = net2net_core::weights::normal(&mut random);
        match feed {
            Feed::Real | Feed::Island => x as f32,
            // The tails of the normal distribution wrap around.
            Feed::Index(limit) => ((x.abs() * 1e3) as usize % limit.max(1)) as f32,
        }
    }));
    Ok(numbers)
}

/// The types of those values of the document that are real numbers of the graph.
fn real_types(
    values: &HashMap<&str, ValueId>,
    types: &HashMap<&str, i32>,
) -> BTreeMap<String, i32> {
    let known = values.keys().filter_map(|name| {
        let id = *types.get(name)?;
        matches!(id, 1 | 10 | 11 | 16).then(|| ((*name).to_owned(), id))
    });
    known.collect()
}

/// Whether two readings of a document have the same nodes.
fn same_operators(one: &Graph, other: &Graph) -> bool {
    let names = |graph: &Graph| -> Vec<&'static str> {
        graph.nodes().iter().map(|node| node.op.name()).collect()
    };
    names(one) == names(other)
}

/// The axes of each value that have another size in another reading of the same document, and that
/// size.
fn following(one: &Graph, other: &Graph) -> BTreeMap<String, BTreeMap<usize, usize>> {
    let mut all = BTreeMap::new();
    for value in one.values() {
        let Some(id) = other.lookup(&value.name) else {
            continue;
        };
        let own = value.shape.extents().iter();
        let pairs = own.zip(other.get(id).shape.extents()).enumerate();
        let axes: BTreeMap<usize, usize> = pairs
            .filter(|(_, (a, b))| a != b)
            .filter_map(|(axis, (_, b))| Some((axis, b.fixed()?)))
            .collect();
        if !axes.is_empty() {
            all.insert(value.name.clone(), axes);
        }
    }
    all
}

impl Stored {
    /// The sizes and numbers of the parameter.
    pub(crate) fn read(&self, document: &Document) -> Result<(Vec<usize>, Vec<f64>), OnnxError> {
        let Some(tensor) = self.tensor(document)? else {
            return Ok(self.folded());
        };
        let (sizes, _) = tensor::sizes(tensor)?;
        let numbers = tensor::reals(tensor, &document.external)?;
        Ok(self.turn(&sizes, numbers))
    }

    /// The same in f32.
    pub(crate) fn read_floats(
        &self,
        document: &Document,
    ) -> Result<(Vec<usize>, Vec<f32>), OnnxError> {
        let Some(tensor) = self.tensor(document)? else {
            let (sizes, numbers) = self.folded();
            return Ok((sizes, numbers.iter().map(|x| *x as f32).collect()));
        };
        let (sizes, _) = tensor::sizes(tensor)?;
        let numbers = tensor::floats(tensor, &document.external)?;
        Ok(self.turn(&sizes, numbers))
    }

    /// The number of axes of the tensor.
    pub fn rank(&self) -> usize {
        self.perm.len()
    }

    /// Whether the parameter's axes are those of the tensor.
    pub fn is_as_stored(&self) -> bool {
        let in_order = self.perm.iter().enumerate().all(|(to, from)| to == *from);
        in_order && self.dropped.is_empty()
    }

    /// Those as f64.
    pub(crate) fn read_wide_floats(
        &self,
        document: &Document,
    ) -> Result<(Vec<usize>, Vec<f64>), OnnxError> {
        let Some(tensor) = self.tensor(document)? else {
            let (sizes, numbers) = self.folded();
            return Ok((
                sizes,
                numbers.iter().map(|x| f64::from(*x as f32)).collect(),
            ));
        };
        let (sizes, _) = tensor::sizes(tensor)?;
        let numbers = tensor::wide_floats(tensor, &document.external)?;
        Ok(self.turn(&sizes, numbers))
    }

    fn folded(&self) -> (Vec<usize>, Vec<f64>) {
        match &self.place {
            Place::Folded(sizes, numbers) => (sizes.clone(), numbers.clone()),
            Place::Initializer(_) | Place::Constant(_) => Default::default(),
        }
    }

    /// The tensor that it is, unless it was computed.
    pub(crate) fn tensor<'a>(
        &self,
        document: &'a Document,
    ) -> Result<Option<&'a TensorProto>, OnnxError> {
        let tensor = match &self.place {
            Place::Folded(..) => return Ok(None),
            Place::Initializer(index) => document.graph().initializer.get(*index),
            Place::Constant(node) => {
                let node = document.graph().node.get(*node);
                let value = node.and_then(|n| n.attribute.iter().find(|a| a.name() == "value"));
                value.and_then(|attribute| attribute.t.as_ref())
            }
        };
        if tensor.is_none() {
            let why = "a parameter is not where it was".to_owned();
            return Err(OnnxError::Graph { why });
        }
        Ok(tensor)
    }

    /// The parameter's sizes and numbers from the tensor's.
    pub fn turn<T: Copy>(&self, sizes: &[usize], numbers: Vec<T>) -> (Vec<usize>, Vec<T>) {
        let (_, numbers) = permute(sizes, numbers, &self.perm);
        (self.turned_sizes(sizes), numbers)
    }

    /// The parameter's sizes from the tensor's.
    pub fn turned_sizes(&self, sizes: &[usize]) -> Vec<usize> {
        let kept = self.perm.iter().filter(|axis| !self.dropped.contains(axis));
        kept.map(|axis| sizes[*axis]).collect()
    }

    /// The tensor's sizes and numbers from the parameter's: [`Stored::turn`] backwards.
    pub fn turn_back<T: Copy>(&self, sizes: &[usize], numbers: Vec<T>) -> (Vec<usize>, Vec<T>) {
        permute(&self.with_dropped(sizes), numbers, &self.inverse())
    }

    /// The tensor's sizes from the parameter's.
    pub fn sizes_back(&self, sizes: &[usize]) -> Vec<usize> {
        let full = self.with_dropped(sizes);
        self.inverse().iter().map(|axis| full[*axis]).collect()
    }

    /// The parameter's sizes with those axes that only the tensor has.
    fn with_dropped(&self, sizes: &[usize]) -> Vec<usize> {
        let mut own = sizes.iter();
        let size = |axis: &usize| match self.dropped.contains(axis) {
            true => 1,
            false => own.next().copied().unwrap_or(1),
        };
        self.perm.iter().map(size).collect()
    }

    fn inverse(&self) -> Vec<usize> {
        let mut inverse = vec![0; self.perm.len()];
        for (to, from) in self.perm.iter().enumerate() {
            inverse[*from] = to;
        }
        inverse
    }
}

/// A row-major tensor whose axis `j` is axis `order[j]` of the given one.
fn permute<T: Copy>(sizes: &[usize], numbers: Vec<T>, order: &[usize]) -> (Vec<usize>, Vec<T>) {
    let turned: Vec<usize> = order.iter().map(|axis| sizes[*axis]).collect();
    if order.iter().enumerate().all(|(to, from)| to == *from) {
        return (turned, numbers);
    }
    let mut strides = vec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis] * sizes[axis];
    }
    let mut index = vec![0usize; order.len()];
    let mut result = Vec::with_capacity(numbers.len());
    for _ in 0..numbers.len() {
        let at: usize = index
            .iter()
            .zip(order)
            .map(|(i, axis)| i * strides[*axis])
            .sum();
        result.push(numbers[at]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < turned[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    (turned, result)
}

/// A shape as the sizes of shape arithmetic.
fn as_known(shape: &Shape) -> Vec<i64> {
    let size = |extent: &Extent| match extent.fixed() {
        Some(size) => size as i64,
        None => crate::fold::BATCH,
    };
    shape.extents().iter().map(size).collect()
}

/// Whether known numbers are small enough to stand in a graph as a parameter.
fn as_place(known: &Known) -> Place {
    Place::Folded(known.dims.clone(), known.numbers.clone())
}
