//! What the operators of ONNX, in all versions of their set, are in the graph.
//!
//! Operators keep their names, and attributes theirs. What newer versions take as a constant input
//! is an attribute of the graph's operator, under the name that it had or has as an input.

use net2net_core::ops::{Attribute, Attributes};

use super::builder::Builder;
use super::{attention, gemm, moves, pads, prelu, quantized, recurrent};
use crate::fold::BATCH;
use crate::proto::{AttributeProto, NodeProto};

/// A name that a piece reads.
pub(super) enum Name<'a> {
    /// A value of the document.
    Document(&'a str),
    /// What a piece before it made.
    Internal(String),
}

/// One node of the graph to be.
pub(super) struct Piece<'a> {
    pub(super) op: &'a str,
    pub(super) attributes: Attributes,
    pub(super) inputs: Vec<Name<'a>>,
    pub(super) outputs: Vec<String>,
    /// Whether its outputs stand for nothing in the document.
    pub(super) internal: bool,
}

pub(super) type Result<T> = std::result::Result<T, String>;

/// An attribute of a node.
pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name() == name)
}

pub(super) fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, AttributeProto::i)
}

pub(super) fn text<'n>(node: &'n NodeProto, name: &str) -> Option<&'n str> {
    std::str::from_utf8(attribute(node, name)?.s()).ok()
}

/// The element type of a node's result, as far as the operator tells.
pub(super) fn result_type(builder: &Builder<'_>, node: &NodeProto) -> Option<i32> {
    match node.op_type() {
        "Cast" => Some(int(node, "to", 1) as i32),
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Not" => {
            Some(9)
        }
        "Where" => builder.dtype(node.input.get(1)?),
        _ => builder.dtype(node.input.first()?),
    }
}

/// The attributes of a node in the graph's terms.
fn attributes(node: &NodeProto) -> Result<Attributes> {
    let mut all = Attributes::default();
    for attribute in &node.attribute {
        let name = attribute.name();
        let value = match attribute.r#type() {
            1 => Attribute::Float(f64::from(attribute.f())),
            2 => Attribute::Int(attribute.i()),
            3 => {
                let text = std::str::from_utf8(attribute.s()).ok();
                Attribute::Text(text.ok_or("a text is not UTF-8")?.to_owned())
            }
            6 => Attribute::Floats(attribute.floats.iter().map(|x| f64::from(*x)).collect()),
            7 => Attribute::Ints(attribute.ints.clone()),
            8 => {
                let texts = attribute
                    .strings
                    .iter()
                    .map(|text| std::str::from_utf8(text));
                let texts: std::result::Result<Vec<&str>, _> = texts.collect();
                Attribute::Text(texts.map_err(|_| "a text is not UTF-8")?.join(" "))
            }
            _ => return Err(format!("its attribute `{name}` is not read")),
        };
        all.insert(name, value);
    }
    Ok(all)
}

/// Refuses operands of different types: no runtime multiplies them.
fn same_types(builder: &Builder<'_>, node: &NodeProto) -> Result<()> {
    let known = node
        .input
        .iter()
        .filter_map(|name| builder.dtypes.get(name.as_str()));
    // What is no type of numbers is said where they are read.
    let mut known = known
        .copied()
        .filter(|id| matches!(id, 1..=7 | 9..=13 | 16));
    let Some(first) = known.next() else {
        return Ok(());
    };
    match known.find(|other| *other != first) {
        None => Ok(()),
        Some(other) => Err(format!(
            "its operands are of different types ({first} and {other} in ONNX's numbering)"
        )),
    }
}

/// The nodes of the graph that a node of the document is; `None` if it is another name for a value.
pub(super) fn pieces<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
) -> Result<Option<Vec<Piece<'a>>>> {
    let op = node.op_type();
    if matches!(op, "Conv" | "ConvTranspose" | "Gemm" | "MatMul") {
        same_types(builder, node)?;
    }
    let mut attrs = attributes(node)?;
    let drop = |attrs: &mut Attributes, names: &[&str]| {
        for name in names {
            attrs.remove(name);
        }
    };
    match op {
        "Conv" | "ConvTranspose" => {
            let weight = builder.shape(node, 1)?.at(1);
            let kernel = weight.get(2..).unwrap_or_default().to_vec();
            if op == "Conv" {
                pads::of_window(builder, node, &mut attrs, &kernel)?;
            } else {
                pads::of_transposed(builder, node, &mut attrs, &kernel)?;
            }
            drop(&mut attrs, &["kernel_shape", "output_shape"]);
            one(node, op, attrs, all(node))
        }
        "MaxPool" | "AveragePool" => {
            let kernel = attribute(node, "kernel_shape")
                .map(|a| sizes(&a.ints))
                .transpose()?;
            pads::of_window(builder, node, &mut attrs, &kernel.unwrap_or_default())?;
            if int(node, "storage_order", 0) != 0 {
                return Err("its `storage_order` is not row-major".to_owned());
            }
            drop(&mut attrs, &["storage_order"]);
            one(node, op, attrs, first(node, 1))
        }
        "BatchNormalization" => {
            if int(node, "training_mode", 0) != 0 || int(node, "spatial", 1) != 1 {
                return Err(
                    "it is in training mode; export the model in evaluation mode".to_owned(),
                );
            }
            drop(
                &mut attrs,
                &["training_mode", "spatial", "is_test", "consumed_inputs"],
            );
            one(node, op, attrs, all(node))
        }
        "Dropout" => {
            let ratio = builder.numbers(node, 1)?;
            drop(&mut attrs, &["seed", "is_test"]);
            if let Some(ratio) = ratio.and_then(|known| known.numbers.first().copied()) {
                attrs.insert("ratio", Attribute::Float(ratio));
            }
            one(node, op, attrs, first(node, 1))
        }
        "Gemm" => gemm::pieces(builder, node, attrs),
        "LayerNormalization" | "RMSNormalization" => {
            drop(&mut attrs, &["stash_type"]);
            one(node, op, attrs, all(node))
        }
        "GroupNormalization" => {
            if builder.opset < 21 {
                return Err("before operator set 21 its scale is that of a group".to_owned());
            }
            drop(&mut attrs, &["stash_type"]);
            one(node, op, attrs, all(node))
        }
        "Clip" => {
            for (input, name) in [(1, "min"), (2, "max")] {
                if let Some(known) = builder.numbers(node, input)? {
                    let bound = *known.numbers.first().ok_or("a bound is empty")?;
                    attrs.insert(name, Attribute::Float(bound));
                }
            }
            one(node, op, finite(attrs, &["min", "max"])?, first(node, 1))
        }
        "Softmax" | "LogSoftmax" => {
            let rank = builder.shape(node, 0)?.rank();
            let default = if builder.opset < 13 { 1 } else { -1 };
            let axis = counted(int(node, "axis", default), rank)?;
            if builder.opset < 13 && axis + 1 != rank {
                return Err("before operator set 13 it flattens the axes behind its own".to_owned());
            }
            attrs.remove("axis");
            if axis + 1 != rank {
                attrs.insert("axis", Attribute::Int(axis as i64));
            }
            one(node, op, attrs, all(node))
        }
        "Concat" => {
            let rank = builder.shape(node, 0)?.rank();
            let axis = counted(int(node, "axis", 1), rank)?;
            attrs.insert("axis", Attribute::Int(axis as i64));
            one(node, op, attrs, all(node))
        }
        "Transpose" => transpose(builder, node, attrs),
        "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => moves::reshape(builder, node),
        "Slice" => moves::slice(builder, node),
        "Split" => moves::split(builder, node),
        "Pad" => moves::pad(builder, node, attrs),
        "Expand" => {
            let target = builder
                .numbers(node, 1)?
                .ok_or("its shape is missing")?
                .ints();
            moves::few(target.len())?;
            let zero = |size: &i64| if *size == BATCH { 0 } else { *size };
            let shape = target.iter().map(zero).collect();
            attrs.insert("shape", Attribute::Ints(shape));
            one(node, op, attrs, first(node, 1))
        }
        "Tile" => {
            let repeats = builder.numbers(node, 1)?.ok_or("its repeats are missing")?;
            attrs.insert("repeats", Attribute::Ints(repeats.ints()));
            one(node, op, attrs, first(node, 1))
        }
        "Gather" => moves::gather(builder, node, attrs),
        "Resize" | "Upsample" => moves::resize(builder, node, attrs),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2" => {
            reduce(builder, node, attrs)
        }
        "Sum" => chain(builder, node, "Add").map(Some),
        "Max" | "Min" => chain(builder, node, op).map(Some),
        "Cast" => cast(builder, node),
        "PRelu" => prelu::pieces(builder, node),
        "LpNormalization" => {
            drop(&mut attrs, &[]);
            one(node, op, attrs, all(node))
        }
        "LSTM" | "GRU" | "RNN" => recurrent::pieces(builder, node, attrs),
        "Attention" => attention::pieces(builder, node, attrs),
        op if quantized::is_quantized(op) => Err(quantized::WHY.to_owned()),
        "Swish" if attribute(node, "alpha").is_none() => one(node, "Silu", attrs, all(node)),
        _ => one(node, op, attrs, all(node)),
    }
}

pub(super) fn all(node: &NodeProto) -> Vec<Name<'_>> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).collect();
    while names.last() == Some(&"") {
        names.pop();
    }
    names.into_iter().map(Name::Document).collect()
}

pub(super) fn first(node: &NodeProto, count: usize) -> Vec<Name<'_>> {
    all(node).into_iter().take(count).collect()
}

pub(super) fn one<'a>(
    node: &'a NodeProto,
    op: &'a str,
    attributes: Attributes,
    inputs: Vec<Name<'a>>,
) -> Result<Option<Vec<Piece<'a>>>> {
    let mut outputs: Vec<&String> = node.output.iter().collect();
    while outputs.last().is_some_and(|name| name.is_empty()) {
        outputs.pop();
    }
    // Others that nobody reads, such as the mask of a dropout, are none of the graph's.
    if op != "Split" {
        outputs.truncate(1);
    }
    Ok(Some(vec![Piece {
        op,
        attributes,
        inputs,
        outputs: outputs.into_iter().cloned().collect(),
        internal: false,
    }]))
}

pub(super) fn counted(axis: i64, rank: usize) -> Result<usize> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("axis {axis} is not one of {rank}"))
}

pub(super) fn sizes(ints: &[i64]) -> Result<Vec<usize>> {
    let size = |i: &i64| usize::try_from(*i).map_err(|_| format!("{i} is no size"));
    ints.iter().map(size).collect()
}

/// Leaves out bounds that bound nothing.
fn finite(mut attributes: Attributes, names: &[&str]) -> Result<Attributes> {
    for name in names {
        if let Some(Attribute::Float(bound)) = attributes.get(name) {
            // The lowest and highest f32 are the defaults of old operator sets.
            if bound.is_nan() {
                return Err(format!("its bound `{name}` is not a number"));
            }
            if bound.abs() >= f64::from(f32::MAX) {
                attributes.remove(name);
            }
        }
    }
    Ok(attributes)
}

/// A transposed initialiser that nothing else reads is a parameter of the transposed shape, so
/// that what reads it absorbs copies as it does with any parameter.
fn transpose<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    attributes: Attributes,
) -> Result<Option<Vec<Piece<'a>>>> {
    let input = node.input.first().ok_or("it reads nothing")?;
    let (Some(sizes), [output]) = (builder.lone_initializer(input), &node.output[..]) else {
        return one(node, "Transpose", attributes, all(node));
    };
    let perm = match attribute(node, "perm") {
        Some(perm) => self::sizes(&perm.ints)?,
        None => (0..sizes.len()).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted != (0..sizes.len()).collect::<Vec<_>>() {
        return Err(format!("{perm:?} is no order of {} axes", sizes.len()));
    }
    builder.turned(input, output, perm, Vec::new())?;
    Ok(None)
}

fn reduce<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    mut attributes: Attributes,
) -> Result<Option<Vec<Piece<'a>>>> {
    let rank = builder.shape(node, 0)?.rank();
    let given = match attribute(node, "axes") {
        Some(axes) => Some(axes.ints.clone()),
        None => builder.numbers(node, 1)?.map(|known| known.ints()),
    };
    let mut axes: Vec<i64> = match given.filter(|axes| !axes.is_empty()) {
        Some(axes) => {
            let counted = axes.iter().map(|a| Ok(counted(*a, rank)? as i64));
            counted.collect::<Result<_>>()?
        }
        None if int(node, "noop_with_empty_axes", 0) != 0 => {
            return one(node, "Identity", Attributes::default(), first(node, 1));
        }
        None => (0..rank as i64).collect(),
    };
    axes.sort_unstable();
    axes.dedup();
    attributes.remove("noop_with_empty_axes");
    attributes.insert("axes", Attribute::Ints(axes));
    one(node, node.op_type(), attributes, first(node, 1))
}

/// A function of any number of operands, as one of two after the other.
fn chain<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    op: &'a str,
) -> Result<Vec<Piece<'a>>> {
    let (output, inputs) = (node.output.first().ok_or("it makes nothing")?, &node.input);
    let piece = |op, inputs, output: String, internal| Piece {
        op,
        attributes: Attributes::default(),
        inputs,
        outputs: vec![output],
        internal,
    };
    let Some((head, rest)) = inputs.split_first() else {
        return Err("it reads nothing".to_owned());
    };
    if rest.is_empty() {
        return Ok(vec![piece(
            "Identity",
            vec![Name::Document(head)],
            output.clone(),
            false,
        )]);
    }
    let mut pieces = Vec::new();
    let mut so_far = Name::Document(head);
    for (index, next) in rest.iter().enumerate() {
        let last = index + 1 == rest.len();
        let name = if last {
            output.clone()
        } else {
            builder.internal_name(&format!("{output}.{}", index + 1))
        };
        pieces.push(piece(
            op,
            vec![so_far, Name::Document(next)],
            name.clone(),
            !last,
        ));
        so_far = Name::Internal(name);
    }
    Ok(pieces)
}

/// Numbers are numbers, so only what rounds them is more than another name.
fn cast<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Result<Option<Vec<Piece<'a>>>> {
    let real = |id: i64| matches!(id, 1 | 10 | 11 | 16);
    let to = int(node, "to", 1);
    let from = node
        .input
        .first()
        .and_then(|name| builder.dtype(name))
        .map(i64::from);
    if to == 9 && from != Some(9) {
        return Err("a cast to truth values is not read".to_owned());
    }
    if !real(to) && from.is_none_or(real) {
        return Err("a cast of real numbers to whole ones is not read".to_owned());
    }
    one(node, "Identity", Attributes::default(), all(node))
}
