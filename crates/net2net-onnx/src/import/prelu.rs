//! Rectifiers with a slope: ONNX aligns it with the last axis, the graph has one for each channel.

use net2net_core::graph::Extent;
use net2net_core::ops::{Attribute, Attributes};

use super::adapt::{Name, Piece, Result, all, one};
use super::builder::Builder;
use super::repeat;
use crate::proto::NodeProto;

/// Slopes are `[C, 1, 1]`, or a single number for all channels.
pub(super) fn pieces<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
) -> Result<Option<Vec<Piece<'a>>>> {
    let slope = node.input.get(1).ok_or("its slope is missing")?;
    let image = builder.shape(node, 0)?;
    let sizes = match builder.initializer_sizes(slope) {
        Some(sizes) => sizes,
        None => builder.shape(node, 1)?.at(1),
    };
    if sizes.iter().all(|size| *size == 1) {
        return shared(builder, node, slope, sizes.len());
    }
    // Aligned from the innermost, with the batch or without it.
    let channels = (sizes.len() + 1).checked_sub(image.rank());
    let channels = channels.filter(|axis| *axis < 2 && *axis < sizes.len());
    let other = sizes
        .iter()
        .enumerate()
        .filter(|(axis, _)| Some(*axis) != channels);
    let Some(axis) = channels.filter(|_| other.clone().all(|(_, size)| *size == 1)) else {
        return Err(format!("its slope {sizes:?} is not one for each channel"));
    };
    if axis == 1 {
        return without_ones(builder, node, slope, sizes[1]);
    }
    if sizes.len() > 1 {
        if builder.lone_initializer(slope).is_none() {
            return without_ones(builder, node, slope, sizes[0]);
        }
        builder.turned(
            slope,
            slope,
            (0..sizes.len()).collect(),
            (1..sizes.len()).collect(),
        )?;
    }
    one(node, "PRelu", Attributes::default(), all(node))
}

/// Slopes that something else makes or reads too lose their axes of 1 in a node of the graph alone.
fn without_ones<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    slope: &'a str,
    channels: usize,
) -> Result<Option<Vec<Piece<'a>>>> {
    let mut pieces = one(node, "PRelu", Attributes::default(), all(node))?.unwrap_or_default();
    let [rectifier] = &mut pieces[..] else {
        return Ok(None);
    };
    let made = builder.internal_name_of(node, "slope");
    rectifier.inputs[1] = Name::Internal(made.clone());
    let mut attributes = Attributes::default();
    attributes.insert("sizes", Attribute::Ints(vec![channels as i64]));
    let reshape = Piece {
        op: "Reshape",
        attributes,
        inputs: vec![Name::Document(slope)],
        outputs: vec![made],
        internal: true,
    };
    pieces.insert(0, reshape);
    Ok(Some(pieces))
}

/// One slope for all channels is repeated for each.
fn shared<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    slope: &'a str,
    rank: usize,
) -> Result<Option<Vec<Piece<'a>>>> {
    let (input, output) = match (node.input.first(), node.output.first()) {
        (Some(input), Some(output)) => (input, output),
        _ => return Err("it has too few inputs or outputs".to_owned()),
    };
    let Some(Extent::Fixed(channels)) = builder.shape(node, 0)?.get(1) else {
        return Err("its input has no channels".to_owned());
    };
    let (mut pieces, slopes) = repeat::pieces(builder, node, slope, rank, channels);
    pieces.push(Piece {
        op: "PRelu",
        attributes: Attributes::default(),
        inputs: vec![Name::Document(input), slopes],
        outputs: vec![output.clone()],
        internal: false,
    });
    Ok(Some(pieces))
}
