//! Pads that a node does not state, but lets follow from sizes.

use net2net_core::ops::{Attribute, Attributes};

use super::adapt::{Result, attribute, sizes, text};
use super::builder::Builder;
use crate::proto::NodeProto;

/// Replaces `auto_pad` by the pads that it stands for.
pub(super) fn of_window<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    attributes: &mut Attributes,
    kernel: &[usize],
) -> Result<()> {
    let mode = text(node, "auto_pad").unwrap_or("NOTSET").to_owned();
    attributes.remove("auto_pad");
    if mode == "NOTSET" || mode.is_empty() {
        return Ok(());
    }
    attributes.remove("pads");
    if mode == "VALID" {
        return Ok(());
    }
    if !matches!(mode.as_str(), "SAME_UPPER" | "SAME_LOWER") {
        return Err(format!("its `auto_pad` {mode} is not read"));
    }
    let input = builder.shape(node, 0)?.at(1);
    let axes = kernel.len();
    let (strides, dilations) = (
        list(node, "strides", axes, 1)?,
        list(node, "dilations", axes, 1)?,
    );
    if input.len() != axes + 2 || strides.len() != axes || dilations.len() != axes {
        return Err("its kernel does not fit its input".to_owned());
    }
    let mut totals = Vec::with_capacity(axes);
    for axis in 0..axes {
        let stride = strides[axis].max(1);
        let outputs = input[axis + 2].div_ceil(stride);
        let reach = reach(kernel[axis], dilations[axis]);
        let covered = (outputs - 1).saturating_mul(stride).saturating_add(reach);
        let total = covered.saturating_sub(input[axis + 2]);
        totals.push(total);
    }
    state(attributes, &totals, mode == "SAME_UPPER");
    Ok(())
}

/// The pads of a transposed convolution whose output has a size that is stated (`output_shape`), or
/// the input's times the stride (`auto_pad`).
pub(super) fn of_transposed<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    attributes: &mut Attributes,
    kernel: &[usize],
) -> Result<()> {
    let mode = text(node, "auto_pad").unwrap_or("NOTSET").to_owned();
    let stated = attribute(node, "output_shape").map(|a| sizes(&a.ints));
    let stated = stated.transpose()?.filter(|sizes| !sizes.is_empty());
    attributes.remove("auto_pad");
    if stated.is_none() && matches!(mode.as_str(), "NOTSET" | "" | "VALID") {
        if mode == "VALID" {
            attributes.remove("pads");
        }
        return Ok(());
    }
    if !matches!(
        mode.as_str(),
        "NOTSET" | "" | "VALID" | "SAME_UPPER" | "SAME_LOWER"
    ) {
        return Err(format!("its `auto_pad` {mode} is not read"));
    }
    let axes = kernel.len();
    let input = builder.shape(node, 0)?.at(1);
    let strides = list(node, "strides", axes, 1)?;
    let dilations = list(node, "dilations", axes, 1)?;
    let added = list(node, "output_padding", axes, 0)?;
    // Some state the batch and the channels too.
    let stated = stated.map(|sizes| sizes[sizes.len().saturating_sub(axes)..].to_vec());
    let fits = |list: &[usize]| list.len() == axes;
    if input.len() != axes + 2
        || ![&strides, &dilations, &added]
            .into_iter()
            .all(|list| fits(list))
        || !stated.as_deref().is_none_or(fits)
    {
        return Err("its kernel does not fit its input".to_owned());
    }
    let mut totals = Vec::with_capacity(axes);
    for axis in 0..axes {
        let size = input[axis + 2];
        let reach = reach(kernel[axis], dilations[axis]);
        let whole = size.saturating_sub(1).saturating_mul(strides[axis]);
        let whole = whole.saturating_add(reach).saturating_add(added[axis]);
        let wanted = match &stated {
            Some(sizes) => sizes[axis],
            None => size.saturating_mul(strides[axis]),
        };
        let total = whole
            .checked_sub(wanted)
            .ok_or("its output is larger than what its filter reaches")?;
        totals.push(total);
    }
    state(attributes, &totals, mode == "SAME_UPPER");
    Ok(())
}

/// From the first tap of a kernel to the last one, both counted.
fn reach(kernel: usize, dilation: usize) -> usize {
    let steps = kernel.saturating_sub(1);
    steps.saturating_mul(dilation).saturating_add(1)
}

/// States pads that are so many in all along each axis; where they are odd, the larger part stands at
/// the end if `upper`, else at the beginning.
fn state(attributes: &mut Attributes, totals: &[usize], upper: bool) {
    let less = totals.iter().map(|total| (total / 2) as i64);
    let more = totals.iter().map(|total| (total - total / 2) as i64);
    let pads = match upper {
        true => less.chain(more).collect(),
        false => more.chain(less).collect(),
    };
    attributes.insert("pads", Attribute::Ints(pads));
}

/// A number for each spatial axis.
fn list(node: &NodeProto, name: &str, axes: usize, default: usize) -> Result<Vec<usize>> {
    match attribute(node, name) {
        Some(stated) => sizes(&stated.ints),
        None => Ok(vec![default; axes]),
    }
}
