//! Linear layers as ONNX allows them: a turned input, and one number as the shift of all outputs.

use net2net_core::ops::{Attribute, Attributes};

use super::adapt::{Name, Piece, Result, int, one};
use super::builder::Builder;
use super::repeat;
use crate::proto::NodeProto;

/// The layer, after what turns its input and repeats its shift.
pub(super) fn pieces<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    mut attributes: Attributes,
) -> Result<Option<Vec<Piece<'a>>>> {
    attributes.remove("transA");
    node.output.first().ok_or("it makes nothing")?;
    let [input, weight, ..] = &node.input[..] else {
        return Err("it has too few inputs".to_owned());
    };
    let mut pieces = Vec::new();
    let mut read = Name::Document(input);
    if int(node, "transA", 0) != 0 {
        let made = builder.internal_name_of(node, "turned");
        let mut turn = Attributes::default();
        turn.insert("perm", Attribute::Ints(vec![1, 0]));
        pieces.push(Piece {
            op: "Transpose",
            attributes: turn,
            inputs: vec![read],
            outputs: vec![made.clone()],
            internal: true,
        });
        read = Name::Internal(made);
    }
    let mut inputs = vec![read, Name::Document(weight)];
    let shift = node.input.get(2).filter(|name| !name.is_empty());
    if let Some(shift) = shift.filter(|_| !is_zero(builder, node)) {
        let sizes = builder.shape(node, 2)?.to_fixed();
        let single = sizes.filter(|sizes| sizes.iter().all(|size| *size == 1));
        let outputs = outputs(builder, node)?;
        if let Some(sizes) = single.filter(|_| outputs > 1) {
            let (repeating, shifts) = repeat::pieces(builder, node, shift, sizes.len(), outputs);
            pieces.extend(repeating);
            inputs.push(shifts);
        } else {
            inputs.push(Name::Document(shift));
        }
    }
    let layer = one(node, "Gemm", attributes, inputs)?;
    pieces.extend(layer.into_iter().flatten());
    Ok(Some(pieces))
}

/// Some exporters write a shift even where there is none.
fn is_zero<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> bool {
    let known = builder.numbers(node, 2).ok().flatten();
    known.is_some_and(|shift| shift.dims.is_empty() && shift.numbers == [0.0])
}

/// How many outputs the layer has.
fn outputs<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Result<usize> {
    let weight = builder.shape(node, 1)?.at(1);
    let axis = usize::from(int(node, "transB", 0) == 0);
    let outputs = weight.get(axis).copied();
    outputs.ok_or_else(|| "its weight has no two axes".to_owned())
}
