//! Planning growth that copies nothing: classes, inputs, filters and branches.

use serde::{Deserialize, Serialize};

use super::Survey;
use crate::dims::{Dim, Refusal, Spaces};
use crate::graph::{Extent, Graph, ValueId};
use crate::ops::Op;

/// More units in a space that copy none: what makes them starts as training starts it, and what
/// reads them at zero, so that they have no effect yet.
///
/// The way in which a new sensor or feature comes into a network, and a new class out of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// The space's name.
    pub space: String,
    /// The number of units, old and new.
    pub size: usize,
    /// The seed that weights which make the new units are drawn with; zero without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The shift of new units: with zero weights, the logit of new classes.
    #[serde(default)]
    pub fill: f64,
}

/// A larger filter of a convolution, zero around the old one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enlarge {
    /// The convolution's name.
    pub layer: String,
    /// The new sides.
    pub kernel: Vec<usize>,
}

/// One more branch of a concatenation of channels: a convolution, a batch normalisation if wanted,
/// and a rectifier. What reads the new channels starts at zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The concatenation.
    pub concat: String,
    /// What the branch reads.
    pub from: String,
    /// What the names of the branch and its parameters begin with.
    pub name: String,
    /// The channels that it adds.
    pub channels: usize,
    /// The side of its filter, odd.
    pub kernel: usize,
    /// Whether it has a batch normalisation.
    pub norm: bool,
    /// The seed that it is drawn with.
    pub seed: u64,
}

fn refuse(what: &str, why: impl Into<String>) -> Refusal {
    Refusal {
        space: what.to_owned(),
        node: None,
        why: why.into(),
    }
}

/// Plans `size` classes: the last axis of an output of logits grows, or the channels of one with pixels or
/// samples of a signal, and the old logits stay.
///
/// New logits are `logit`, whatever the input, until they are trained. Where the output is made by a
/// softmax, new classes take their probability from all old ones in equal parts.
pub fn classes(
    graph: &Graph,
    spaces: &Spaces,
    output: ValueId,
    size: usize,
    logit: f64,
) -> Result<Extend, Refusal> {
    let axes: &[usize] = match graph.get(output).shape.rank() {
        0 | 1 => &[0],
        2 => &[1],
        // Sequences have their classes last, signals before their samples.
        3 => &[2, 1],
        _ => &[1],
    };
    Ok(Extend {
        space: extensible_axis(graph, spaces, output, axes, size)?,
        size,
        seed: None,
        fill: logit,
    })
}

/// The space of the first of some axes that can be extended to `size`, or why the first one cannot.
fn extensible_axis(
    graph: &Graph,
    spaces: &Spaces,
    value: ValueId,
    axes: &[usize],
    size: usize,
) -> Result<String, Refusal> {
    let name = &graph.get(value).name;
    let mut first = None;
    for axis in axes {
        let planned = whole_axis(spaces, value, *axis, name).and_then(|space| {
            larger(graph, value, *axis, size)?;
            spaces.extensible(&space)?;
            Ok(space)
        });
        match planned {
            Ok(space) => return Ok(space),
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    Err(first.unwrap_or_else(|| refuse(name, "it has no axes")))
}

/// Plans `size` features or channels of an input: its axis 1, or the last one of rank 3.
pub fn features(
    graph: &Graph,
    spaces: &Spaces,
    input: ValueId,
    size: usize,
    seed: u64,
) -> Result<Extend, Refusal> {
    let name = &graph.get(input).name;
    let rank = graph.get(input).shape.rank();
    let axes: &[usize] = match rank {
        0 | 1 => return Err(refuse(name, "it has no axis of features")),
        // Signals have their channels before their samples, sequences their features last.
        3 => &[1, 2],
        _ => &[1],
    };
    Ok(Extend {
        space: extensible_axis(graph, spaces, input, axes, size)?,
        size,
        seed: Some(seed),
        fill: 0.0,
    })
}

/// The space that is a whole axis, so that new units stand behind the old ones.
fn whole_axis(spaces: &Spaces, value: ValueId, axis: usize, name: &str) -> Result<String, Refusal> {
    match spaces.axes(value).get(axis) {
        Some(Dim::Atom(id)) => Ok(spaces.all()[id.index()].name.clone()),
        _ => Err(refuse(
            name,
            "its axis is made of several parts, and new units would not stand behind the old ones",
        )),
    }
}

/// The most numbers of one sample of an input or output that is extended: it has to be fed.
const MAX_BORDER: usize = 1 << 26;

fn larger(graph: &Graph, value: ValueId, axis: usize, size: usize) -> Result<(), Refusal> {
    let value = graph.get(value);
    match value.shape.get(axis) {
        Some(Extent::Fixed(old)) if size > old => {
            let others = value.shape.elements(1) / old.max(1);
            match size.checked_mul(others) {
                Some(count) if count <= MAX_BORDER => Ok(()),
                _ => {
                    let why =
                        format!("{size} would make one sample more than {MAX_BORDER} numbers");
                    Err(refuse(&value.name, why))
                }
            }
        }
        Some(Extent::Fixed(old)) => Err(refuse(
            &value.name,
            format!("it has {old} already, and {size} are not more"),
        )),
        _ => Err(refuse(&value.name, "that axis is the batch")),
    }
}

/// Plans a larger filter, `side` along each axis.
pub fn enlarge(graph: &Graph, layer: &str, side: usize) -> Result<Enlarge, Refusal> {
    let found = graph
        .find(layer)
        .map_err(|error| refuse(layer, error.to_string()))?;
    let node = graph.producer(found).map(|id| graph.at(id));
    let Some(node) = node.filter(|node| matches!(node.op, Op::Conv(_))) else {
        return Err(refuse(layer, "only a convolution has a filter to enlarge"));
    };
    let weight = graph.get(node.inputs[1]).shape.at(1);
    let old = weight.get(2..).unwrap_or_default();
    if side > 63 || old.iter().any(|old| *old > side) || old.iter().all(|old| *old == side) {
        return Err(refuse(
            layer,
            format!("its filter is {old:?}, and a side of {side} is not larger and at most 63"),
        ));
    }
    Ok(Enlarge {
        layer: layer.to_owned(),
        kernel: vec![side; old.len()],
    })
}

/// Plans one more branch of a concatenation of channels, from the last value that all of its
/// branches are made of, with a quarter of the channels that they have on average.
pub fn join(graph: &Graph, concat: &str, kernel: usize, seed: u64) -> Result<Join, Refusal> {
    let found = graph
        .find(concat)
        .map_err(|error| refuse(concat, error.to_string()))?;
    let node = graph.producer(found).map(|id| graph.at(id));
    let Some(node) = node.filter(|node| matches!(node.op, Op::Concat(_))) else {
        return Err(refuse(concat, "it is no concatenation"));
    };
    let shape = &graph.get(found).shape;
    let same_place = |value: &ValueId| {
        let other = &graph.get(*value).shape;
        let (mine, its) = (shape.extents(), other.extents());
        mine.len() == its.len() && mine.len() > 2 && mine[2..] == its[2..]
    };
    let ancestors: Vec<Vec<bool>> = node.inputs.iter().map(|v| ancestors(graph, *v)).collect();
    let common = graph
        .value_ids()
        .filter(|id| *id < found && !graph.is_parameter(*id) && same_place(id))
        .filter(|id| ancestors.iter().all(|of| of[id.index()]))
        .last();
    let Some(from) = common else {
        let why =
            "its branches have nothing in common with as many pixels that a new one could read";
        return Err(refuse(concat, why));
    };
    // As many as its branches have on average, divided by four.
    let channels = shape.at(1)[1].div_ceil(4 * node.inputs.len());
    let norm = graph
        .nodes()
        .iter()
        .any(|n| matches!(n.op, Op::BatchNorm(_)));
    Ok(Join {
        concat: concat.to_owned(),
        from: graph.get(from).name.clone(),
        name: Survey::of(graph).fresh_name(concat, "branch"),
        channels,
        kernel,
        norm,
        seed,
    })
}

/// Which values a value is made of, itself included.
fn ancestors(graph: &Graph, value: ValueId) -> Vec<bool> {
    let mut found = vec![false; graph.values().len()];
    let mut open = vec![value];
    while let Some(id) = open.pop() {
        if !std::mem::replace(&mut found[id.index()], true)
            && let Some(node) = graph.producer(id)
        {
            open.extend(&graph.at(node).inputs);
        }
    }
    found
}
