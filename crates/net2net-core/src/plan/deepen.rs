//! Planning one more layer.

use std::collections::{BTreeMap, BTreeSet};

use net2net_kernels::Context;

use super::{Insert, Layer, PlanError, Survey, UndoneNorm};
use crate::dims::Refusal;
use crate::engine::{Precision, evaluate};
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::{BatchNorm, Nature, Op};
use crate::weights::Source;

/// What follows a layer, up to and including its activation.
struct Block {
    /// The layer's own output.
    linear: ValueId,
    /// The batch normalisation that only the layer feeds.
    norm: Option<NodeId>,
    /// The activation's output, and whether the activation is idempotent.
    activation: Option<(ValueId, bool)>,
}

/// The names of all layers after which a layer can be inserted, in topological order.
pub fn deepenable(graph: &Graph) -> Vec<&str> {
    graph
        .node_ids()
        .filter(|id| has_room(graph, *id))
        .map(|id| graph.node_name(id))
        .collect()
}

/// Whether a node is a linear layer or a convolution: those that have an identity to insert after
/// them.
fn has_room(graph: &Graph, node: NodeId) -> bool {
    let node = graph.at(node);
    let matrix = |id: &ValueId| graph.is_parameter(*id) && graph.get(*id).shape.rank() == 2;
    match &node.op {
        Op::MatMul(_) => matrix(&node.inputs[1]) && graph.get(node.inputs[0]).shape.rank() > 1,
        op => op.nature() == Nature::Linear,
    }
}

/// Whether a value is never below zero, so that a rectifier after it changes nothing: a rectifier's
/// output, or what concatenations and poolings make of such.
pub fn is_rectified(graph: &Graph, value: ValueId) -> bool {
    let Some(node) = graph.producer(value).map(|id| graph.at(id)) else {
        return false;
    };
    match node.op {
        Op::Relu(_) => true,
        Op::Concat(_) | Op::MaxPool(_) | Op::AveragePool(_) => {
            node.inputs.iter().all(|input| is_rectified(graph, *input))
        }
        _ => false,
    }
}

/// The names of the concatenations on top of which a layer can be inserted.
pub fn toppable(graph: &Graph) -> Vec<&str> {
    let concats = graph.node_ids().filter(|id| is_toppable(graph, *id));
    concats.map(|id| graph.node_name(id)).collect()
}

fn is_toppable(graph: &Graph, node: NodeId) -> bool {
    matches!(graph.at(node).op, Op::Concat(_)) && is_rectified(graph, graph.at(node).outputs[0])
}

/// Plans a layer after a convolution or linear layer, of the kind that keeps the function there:
/// an identity after an idempotent activation, a residual block after another one, a linear
/// factor where there is no activation. On top of a concatenation of rectified values it is an
/// identity that ends in a rectifier.
///
/// `kernel` is the side of new filters (odd); by default that of the layer. The statistics that a
/// new batch normalisation undoes are measured on `inputs`, `batch` samples (see
/// [`crate::engine::evaluate`]).
pub fn deepen<T: Precision>(
    cx: &mut Context<T>,
    graph: &Graph,
    weights: &dyn Source<T>,
    layer: &str,
    kernel: Option<usize>,
    seed: u64,
    batch: usize,
    inputs: &[&[T]],
) -> Result<Insert, PlanError> {
    let mut planned = deeper(graph, &Survey::of(graph), layer, kernel, seed)?;
    let all = std::slice::from_mut(&mut planned);
    measured(cx, graph, weights, all, batch, inputs)?;
    Ok(planned.insert)
}

/// A layer that is planned but for the statistics that its batch normalisation undoes.
pub(crate) struct Deeper {
    pub(crate) insert: Insert,
    /// The batch normalisation whose epsilon and momentum the new one takes over.
    norm: Option<BatchNorm>,
}

impl From<Insert> for Deeper {
    fn from(insert: Insert) -> Self {
        Deeper { insert, norm: None }
    }
}

/// Plans what [`deepen`] does, in a graph of which more is known.
pub(crate) fn deeper(
    graph: &Graph,
    survey: &Survey,
    layer: &str,
    kernel: Option<usize>,
    seed: u64,
) -> Result<Deeper, Refusal> {
    let refuse = |why: String| Refusal {
        space: layer.to_owned(),
        node: None,
        why,
    };
    let value = graph
        .find(layer)
        .map_err(|error| refuse(error.to_string()))?;
    let node = graph
        .producer(value)
        .filter(|id| has_room(graph, *id) || is_toppable(graph, *id))
        .ok_or_else(|| refuse("only a convolution or linear layer can be deepened".to_owned()))?;
    let kernel = match kernel {
        Some(side) if side % 2 == 0 => {
            return Err(refuse(format!(
                "a kernel of {side} has no centre; it must be odd"
            )));
        }
        Some(side) => vec![side; own_kernel(graph, node).len()],
        None => own_kernel(graph, node),
    };
    let block = match is_toppable(graph, node) {
        true => top(graph, value),
        false => follow(graph, survey, node),
    };
    let own_norm = || match block.norm.map(|id| &graph.at(id).op) {
        Some(Op::BatchNorm(norm)) => Some(norm.clone()),
        _ => None,
    };
    let (after, norm, layer_kind) = match block.activation {
        Some((after, true)) => (after, own_norm(), Layer::Identity { kernel, norm: None }),
        Some((after, false)) => {
            let norm = block.norm.is_some();
            (after, None, Layer::Residual { kernel, norm, seed })
        }
        None => (block.linear, None, Layer::Factor { kernel }),
    };
    let insert = Insert {
        after: graph.get(after).name.clone(),
        name: survey.fresh_name(layer, "deeper"),
        layer: layer_kind,
    };
    Ok(Deeper { insert, norm })
}

/// The most numbers that are kept of one pass over a network in which statistics are measured.
const MAX_MEASURED: usize = 1 << 25;

/// Measures the statistics of planned layers, in as few passes over the network as memory allows.
pub(crate) fn measured<T: Precision>(
    cx: &mut Context<T>,
    graph: &Graph,
    weights: &dyn Source<T>,
    planned: &mut [Deeper],
    batch: usize,
    inputs: &[&[T]],
) -> Result<(), PlanError> {
    let named = planned.iter().filter(|one| one.norm.is_some());
    let values: BTreeSet<ValueId> = named
        .filter_map(|one| graph.lookup(&one.insert.after))
        .collect();
    let values: Vec<ValueId> = values.into_iter().collect();
    let elements = |id: &ValueId| graph.get(*id).shape.elements(batch);
    let mut known: BTreeMap<ValueId, Moments> = BTreeMap::new();
    let mut rest = &values[..];
    while !rest.is_empty() {
        let mut kept = 0usize;
        let fits = rest.iter().take_while(|id| {
            kept = kept.saturating_add(elements(id));
            kept <= MAX_MEASURED
        });
        let (now, later) = rest.split_at(fits.count().max(1));
        let found = moments(cx, graph, weights, now, batch, inputs)?;
        known.extend(now.iter().copied().zip(found));
        rest = later;
    }
    for one in planned {
        let (Some(op), Layer::Identity { norm, .. }) = (&one.norm, &mut one.insert.layer) else {
            continue;
        };
        let found = graph.lookup(&one.insert.after);
        let found = found.and_then(|id| known.get(&id));
        *norm = found.cloned().map(|(mean, variance)| UndoneNorm {
            mean,
            variance,
            epsilon: op.epsilon,
            momentum: op.momentum,
        });
    }
    Ok(())
}

/// The layer's own kernel where it is odd along all axes, else 3 along each; none of a layer of
/// features.
pub(super) fn own_kernel(graph: &Graph, node: NodeId) -> Vec<usize> {
    if matches!(graph.at(node).op, Op::Concat(_)) {
        let rank = graph.get(graph.at(node).outputs[0]).shape.rank();
        return vec![3; rank.saturating_sub(2)];
    }
    let weight = graph.get(graph.at(node).inputs[1]).shape.at(1);
    let sides = weight.get(2..).unwrap_or_default();
    match sides.iter().all(|side| side % 2 == 1) {
        true => sides.to_vec(),
        false => vec![3; sides.len()],
    }
}

fn follow(graph: &Graph, survey: &Survey, node: NodeId) -> Block {
    let only_reader = |value: ValueId| match &survey.readers[value.index()][..] {
        [reader] if !graph.outputs().contains(&value) => Some(*reader),
        _ => None,
    };
    let linear = graph.at(node).outputs[0];
    let mut block = Block {
        linear,
        norm: None,
        activation: None,
    };
    let mut last = linear;
    // A product of matrices has its bias as a sum of its own.
    if matches!(graph.at(node).op, Op::MatMul(_))
        && let Some(reader) = only_reader(last)
        && is_bias(graph, reader)
    {
        last = graph.at(reader).outputs[0];
        block.linear = last;
    }
    if let Some(reader) = only_reader(last)
        && matches!(graph.at(reader).op, Op::BatchNorm(_))
    {
        block.norm = Some(reader);
        last = graph.at(reader).outputs[0];
    }
    if let Some(reader) = only_reader(last)
        && let Nature::Activation { idempotent } = graph.at(reader).op.nature()
    {
        block.activation = Some((graph.at(reader).outputs[0], idempotent));
    }
    block
}

/// A concatenation of rectified values, seen as a layer with the batch normalisation of its branches.
fn top(graph: &Graph, concat: ValueId) -> Block {
    let mut behind = vec![concat];
    let mut norm = None;
    while let (Some(value), None) = (behind.pop(), norm) {
        if let Some(node) = graph.producer(value) {
            match graph.at(node).op {
                Op::BatchNorm(_) => norm = Some(node),
                Op::Relu(_) | Op::Concat(_) => behind.extend(&graph.at(node).inputs),
                _ => {}
            }
        }
    }
    Block {
        linear: concat,
        norm,
        activation: Some((concat, true)),
    }
}

/// Whether a node adds a parameter to each row.
fn is_bias(graph: &Graph, node: NodeId) -> bool {
    let node = graph.at(node);
    let bias = |id: &ValueId| graph.is_parameter(*id) && graph.get(*id).shape.rank() == 1;
    matches!(node.op, Op::Add(_)) && node.inputs.iter().any(bias)
}

/// Mean and (biased) variance of each channel of a value over samples, in evaluation mode.
pub fn measure<T: Precision>(
    cx: &mut Context<T>,
    graph: &Graph,
    weights: &dyn Source<T>,
    value: ValueId,
    batch: usize,
    inputs: &[&[T]],
) -> Result<(Vec<f64>, Vec<f64>), PlanError> {
    let mut all = moments(cx, graph, weights, &[value], batch, inputs)?;
    Ok(all.pop().unwrap_or_default())
}

/// The mean and the variance of each channel.
type Moments = (Vec<f64>, Vec<f64>);

/// The moments of several values in one pass.
fn moments<T: Precision>(
    cx: &mut Context<T>,
    graph: &Graph,
    weights: &dyn Source<T>,
    values: &[ValueId],
    batch: usize,
    inputs: &[&[T]],
) -> Result<Vec<Moments>, PlanError> {
    let observed = graph.with_outputs(values);
    let outputs = evaluate(cx, &observed, weights, batch, inputs)?;
    let sizes = values.iter().map(|id| graph.get(*id).shape.at(batch));
    let found = sizes
        .zip(&outputs)
        .map(|(sizes, output)| channel_moments(&sizes, output));
    Ok(found.collect())
}

fn channel_moments<T: Precision>(sizes: &[usize], output: &[T]) -> Moments {
    let channels = sizes.get(1).copied().unwrap_or(1);
    let pixels: usize = sizes.iter().skip(2).product();
    let mut sums = vec![0.0; channels];
    let mut squares = vec![0.0; channels];
    for image in output.chunks_exact(channels * pixels) {
        for (channel, row) in image.chunks_exact(pixels).enumerate() {
            for x in row {
                let x = (*x).to_f64();
                sums[channel] += x;
                squares[channel] += x * x;
            }
        }
    }
    let count = (output.len() / channels) as f64;
    let mean: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
    let variance = squares
        .iter()
        .zip(&mean)
        .map(|(square, mean)| (square / count - mean * mean).max(0.0))
        .collect();
    (mean, variance)
}

/// Plans a second way beside a convolution or linear layer, which begins without effect, with a
/// quarter of the layer's units between its two parts.
///
/// `kernel` is the side of its filter; by default that of the layer.
pub fn branch(
    graph: &Graph,
    layer: &str,
    kernel: Option<usize>,
    seed: u64,
) -> Result<Insert, Refusal> {
    beside(graph, &Survey::of(graph), layer, kernel, seed)
}

/// The same with what is known of the graph.
pub(crate) fn beside(
    graph: &Graph,
    survey: &Survey,
    layer: &str,
    kernel: Option<usize>,
    seed: u64,
) -> Result<Insert, Refusal> {
    let refuse = |why: String| Refusal {
        space: layer.to_owned(),
        node: None,
        why,
    };
    let value = graph
        .find(layer)
        .map_err(|error| refuse(error.to_string()))?;
    let node = graph.producer(value).filter(|id| has_room(graph, *id));
    let Some(node) = node else {
        let why = "only a convolution or linear layer has a way beside it".to_owned();
        return Err(refuse(why));
    };
    let own = own_kernel(graph, node);
    let kernel = kernel.map_or(own.clone(), |side| vec![side; own.len()]);
    let shape = graph.get(value).shape.at(1);
    let units = if own.is_empty() {
        shape.last()
    } else {
        shape.get(1)
    };
    Ok(Insert {
        after: layer.to_owned(),
        name: survey.fresh_name(layer, "branch"),
        layer: Layer::Branch {
            width: units.map_or(1, |units| units.div_ceil(4)),
            norm: follow(graph, survey, node).norm.is_some(),
            kernel,
            seed,
        },
    })
}
