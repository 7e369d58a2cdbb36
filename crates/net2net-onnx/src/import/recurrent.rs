//! Recurrent layers. The graph's operators have no inputs that are left out in the middle: which of
//! them are there is an attribute.

use net2net_core::ops::{Attribute, Attributes};

use super::adapt::{Name, Piece, Result, attribute, int};
use super::builder::Builder;
use crate::proto::NodeProto;

/// The places of a node's inputs in ONNX.
const BIAS: usize = 3;
const LENGTHS: usize = 4;
const STATE: usize = 5;
const CELLS: usize = 6;
const PEEPHOLES: usize = 7;

pub(super) fn pieces<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    mut attributes: Attributes,
) -> Result<Option<Vec<Piece<'a>>>> {
    for name in ["clip", "activation_alpha", "activation_beta"] {
        if attribute(node, name).is_some() {
            return Err(format!("its `{name}` is not read"));
        }
    }
    if int(node, "input_forget", 0) != 0 || given(node, PEEPHOLES).is_some() {
        return Err("its gates are coupled or look at the cells, which is not read".to_owned());
    }
    same_lengths(builder, node)?;
    if let Some(weights) = (1..=BIAS)
        .filter_map(|slot| given(node, slot))
        .find(|name| !builder.is_stated(name))
    {
        return Err(format!(
            "its weights `{weights}` are computed in the model; export it with constant folding \
             (`do_constant_folding=True`), or simplify it first (onnxsim)"
        ));
    }
    let is_lstm = node.op_type() == "LSTM";
    let mut inputs: Vec<Name<'a>> = node
        .input
        .iter()
        .take(3)
        .map(|n| Name::Document(n))
        .collect();
    let bias = given(node, BIAS);
    inputs.extend(bias.map(Name::Document));
    let first = |slot| given(node, slot).filter(|name| !is_computed_zero(builder, name));
    let states = match (first(STATE), first(CELLS).filter(|_| is_lstm)) {
        (None, None) => Vec::new(),
        (Some(state), None) if !is_lstm => vec![state],
        (Some(state), Some(cells)) => vec![state, cells],
        _ => return Err("only one of its two first states is given".to_owned()),
    };
    attributes.insert("bias", Attribute::Int(i64::from(bias.is_some())));
    attributes.insert("initial", Attribute::Int(i64::from(!states.is_empty())));
    attributes.remove("input_forget");
    inputs.extend(states.into_iter().map(Name::Document));
    let outputs = if is_lstm { 3 } else { 2 };
    let mut named = node.output.iter().filter(|name| !name.is_empty());
    let own = named.next().ok_or("it makes nothing")?;
    let outputs = (0..outputs).map(|at| match node.output.get(at) {
        Some(name) if !name.is_empty() => name.clone(),
        _ => builder.internal_name(&format!("{own}.{at}")),
    });
    Ok(Some(vec![Piece {
        op: node.op_type(),
        attributes,
        inputs,
        outputs: outputs.collect(),
        internal: false,
    }]))
}

/// An input that is not left out.
fn given(node: &NodeProto, slot: usize) -> Option<&str> {
    let name = node.input.get(slot).filter(|name| !name.is_empty());
    name.map(String::as_str)
}

/// Whether a first state is what it is without one, of a size that the model computes.
fn is_computed_zero(builder: &Builder<'_>, name: &str) -> bool {
    let computed = builder.computed(name);
    computed.is_some_and(|known| known.numbers.iter().all(|x| *x == 0.0))
}

/// Refuses sequences of which some end early.
fn same_lengths<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Result<()> {
    if given(node, LENGTHS).is_none() {
        return Ok(());
    }
    let axis = if int(node, "layout", 0) == 0 { 0 } else { 1 };
    let steps = builder
        .shape(node, 0)?
        .get(axis)
        .and_then(|extent| extent.fixed());
    let why = || "its sequences have lengths of their own".to_owned();
    let lengths = builder.numbers(node, LENGTHS).map_err(|_| why())?;
    let whole = |length: &f64| steps.is_some_and(|steps| *length == steps as f64);
    match lengths {
        Some(lengths) if !lengths.numbers.iter().all(whole) => Err(why()),
        _ => Ok(()),
    }
}
