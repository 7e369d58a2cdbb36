//! Linear layers as ONNX allows them: a turned input, and a shift of any shape that fits.

use net2net_core::ops::{Attribute, Attributes};

use super::adapt::{Name, Piece, Result, int, one};
use super::builder::Builder;
use crate::proto::NodeProto;

/// The layer, after a transposition where the input is stored the other way round, and before a sum
/// where the shift is not one number for each output.
pub(super) fn pieces<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    mut attributes: Attributes,
) -> Result<Option<Vec<Piece<'a>>>> {
    attributes.remove("transA");
    let output = node.output.first().ok_or("it makes nothing")?;
    let [input, weight, ..] = &node.input[..] else {
        return Err("it has too few inputs".to_owned());
    };
    let shift = node.input.get(2).filter(|name| !name.is_empty());
    let (apart, shift) = match shift {
        None => (None, None),
        Some(_) if is_zero(builder, node) => (None, None),
        Some(name) if is_for_outputs(builder, node)? => (None, Some(name)),
        Some(name) => (Some(name), None),
    };
    let mut made = Vec::new();
    let mut read = Name::Document(input);
    if int(node, "transA", 0) != 0 {
        let name = builder.internal_name(&format!("{output}.turned"));
        let mut turn = Attributes::default();
        turn.insert("perm", Attribute::Ints(vec![1, 0]));
        made.push(piece("Transpose", turn, vec![read], name.clone(), true));
        read = Name::Internal(name);
    }
    let mut inputs = vec![read, Name::Document(weight)];
    inputs.extend(shift.map(|name| Name::Document(name.as_str())));
    let Some(apart) = apart else {
        let layer = one(node, "Gemm", attributes, inputs)?;
        made.extend(layer.into_iter().flatten());
        return Ok(Some(made));
    };
    if !matches!(attributes.get("beta"), None | Some(Attribute::Float(1.0))) {
        return Err("its shift is multiplied and is not one for each output".to_owned());
    }
    let product = builder.internal_name(&format!("{output}.product"));
    made.push(piece("Gemm", attributes, inputs, product.clone(), true));
    let sum = vec![Name::Internal(product), Name::Document(apart)];
    made.push(piece(
        "Add",
        Attributes::default(),
        sum,
        output.clone(),
        false,
    ));
    Ok(Some(made))
}

/// Some exporters write a shift even where there is none.
fn is_zero<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> bool {
    let known = builder.numbers(node, 2).ok().flatten();
    known.is_some_and(|shift| shift.dims.is_empty() && shift.numbers == [0.0])
}

/// Whether the shift is one number for each output, with an axis of 1 before it or without.
fn is_for_outputs<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Result<bool> {
    let weight = builder.shape(node, 1)?.at(1);
    let outputs = weight.get(usize::from(int(node, "transB", 0) == 0));
    let outputs = *outputs.ok_or("its weight has no two axes")?;
    let shift = builder.shape(node, 2)?.at(1);
    Ok(shift == [outputs] || shift == [1, outputs])
}

fn piece<'a>(
    op: &'a str,
    attributes: Attributes,
    inputs: Vec<Name<'a>>,
    output: String,
    internal: bool,
) -> Piece<'a> {
    Piece {
        op,
        attributes,
        inputs,
        outputs: vec![output],
        internal,
    }
}
