//! Operators that change shapes and move elements. What newer versions take as a constant input is
//! an attribute of the graph's operator.

use net2net_core::graph::{Extent, Shape};
use net2net_core::ops::{Attribute, Attributes};

use super::adapt::{Piece, Result, all, attribute, counted, first, int, one, text};
use super::as_known;
use super::builder::Builder;
use crate::fold::{BATCH, Known, MAX_RANK};
use crate::proto::NodeProto;

/// Everything that only changes the shape.
pub(super) fn reshape<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
) -> Result<Option<Vec<Piece<'a>>>> {
    let shape = builder.shape(node, 0)?;
    let old = as_known(&shape);
    let rank = old.len();
    let axes = |builder: &Builder<'_>| -> Result<Option<Vec<i64>>> {
        match attribute(node, "axes") {
            Some(axes) => Ok(Some(axes.ints.clone())),
            None => Ok(builder.numbers(node, 1)?.map(|known| known.ints())),
        }
    };
    let target: Vec<i64> = match node.op_type() {
        "Flatten" => {
            let axis = int(node, "axis", 1);
            if axis == 1 && shape.get(0) == Some(Extent::Batch) {
                return one(node, "Flatten", Attributes::default(), all(node));
            }
            let axis = if axis == rank as i64 {
                rank
            } else {
                counted(axis, rank)?
            };
            vec![product(&old[..axis])?, product(&old[axis..])?]
        }
        "Squeeze" => {
            let dropped: Vec<usize> = match axes(builder)? {
                Some(axes) => axes
                    .iter()
                    .map(|a| counted(*a, rank))
                    .collect::<Result<_>>()?,
                None => (0..rank).filter(|axis| old[*axis] == 1).collect(),
            };
            let kept = (0..rank).filter(|axis| !dropped.contains(axis));
            kept.map(|axis| old[axis]).collect()
        }
        "Unsqueeze" => {
            let axes = axes(builder)?.ok_or("its axes are missing")?;
            let total = few(rank + axes.len())?;
            let new: Vec<usize> = axes
                .iter()
                .map(|a| counted(*a, total))
                .collect::<Result<_>>()?;
            let mut rest = old.iter();
            let made = (0..total).map(|axis| match new.contains(&axis) {
                true => Some(1),
                false => rest.next().copied(),
            });
            made.collect::<Option<_>>()
                .ok_or("one of its axes is there twice")?
        }
        _ => {
            let given = match attribute(node, "shape") {
                Some(shape) => shape.ints.clone(),
                None => builder
                    .numbers(node, 1)?
                    .ok_or("its shape is missing")?
                    .ints(),
            };
            few(given.len())?;
            filled(&old, &given, int(node, "allowzero", 0) != 0)?
        }
    };
    let mut attributes = Attributes::default();
    let inner = match (target.first(), shape.get(0)) {
        (Some(&BATCH), Some(Extent::Batch)) => &target[1..],
        (_, Some(Extent::Batch)) => {
            return Err(format!(
                "the batch of {shape} is mixed with other axes into {}",
                shown(&target)
            ));
        }
        _ => &target[..],
    };
    if inner.iter().any(|size| size % BATCH == 0) {
        return Err(format!("the batch is not outermost in {}", shown(&target)));
    }
    attributes.insert("sizes", Attribute::Ints(inner.to_vec()));
    one(node, "Reshape", attributes, first(node, 1))
}

/// A number of axes that a real model has.
pub(super) fn few(rank: usize) -> Result<usize> {
    match rank <= MAX_RANK {
        true => Ok(rank),
        false => Err(format!("it makes a value of {rank} axes")),
    }
}

fn shown(target: &[i64]) -> String {
    let size = |size: &i64| match size / BATCH {
        0 => size.to_string(),
        1 => "N".to_owned(),
        times => format!("{times}·N"),
    };
    format!(
        "[{}]",
        target.iter().map(size).collect::<Vec<_>>().join(", ")
    )
}

fn product(sizes: &[i64]) -> Result<i64> {
    let times = |n: i64, size: &i64| n.checked_mul(*size);
    let product = sizes.iter().try_fold(1i64, times);
    product.ok_or_else(|| "its shape is absurdly large".to_owned())
}

/// The target of a reshape with 0 (as before) and -1 (what is left) filled in.
fn filled(old: &[i64], given: &[i64], zero_is_zero: bool) -> Result<Vec<i64>> {
    let mut target = given.to_vec();
    for (axis, size) in target.iter_mut().enumerate() {
        if *size == 0 && !zero_is_zero {
            *size = *old.get(axis).ok_or("it keeps an axis that is not there")?;
        }
    }
    let total = product(old)?;
    if let Some(free) = target.iter().position(|size| *size == -1) {
        target[free] = 1;
        let known = product(&target)?;
        if known <= 0 || total % known != 0 {
            return Err(format!("{} cannot become {given:?}", shown(old)));
        }
        target[free] = total / known;
    }
    if product(&target)? != total || target.iter().any(|size| *size < 1) {
        return Err(format!("{} cannot become {given:?}", shown(old)));
    }
    Ok(target)
}

pub(super) fn slice<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
) -> Result<Option<Vec<Piece<'a>>>> {
    let rank = builder.shape(node, 0)?.rank();
    let list = |name: &str, input: usize| match attribute(node, name) {
        Some(list) => Ok(Some(list.ints.clone())),
        None => Ok::<_, String>(builder.numbers(node, input)?.map(|known| known.ints())),
    };
    let starts = list("starts", 1)?.ok_or("its starts are missing")?;
    let ends = list("ends", 2)?.ok_or("its ends are missing")?;
    let axes = list("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = match attribute(node, "starts") {
        Some(_) => None,
        None => list("steps", 4)?,
    };
    let counted_axes = axes.iter().map(|a| Ok(counted(*a, rank)? as i64));
    let mut attributes = Attributes::default();
    let axes = counted_axes.collect::<Result<Vec<i64>>>()?;
    attributes.insert("axes", Attribute::Ints(axes));
    attributes.insert("starts", Attribute::Ints(starts));
    attributes.insert("ends", Attribute::Ints(ends));
    if let Some(steps) = steps {
        attributes.insert("steps", Attribute::Ints(steps));
    }
    one(node, "Slice", attributes, first(node, 1))
}

pub(super) fn split<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
) -> Result<Option<Vec<Piece<'a>>>> {
    let shape = builder.shape(node, 0)?;
    let axis = counted(int(node, "axis", 0), shape.rank())?;
    let given = match attribute(node, "split") {
        Some(split) => Some(split.ints.clone()),
        None => builder.numbers(node, 1)?.map(|known| known.ints()),
    };
    let parts = match given {
        Some(parts) => parts,
        None => {
            let size = shape.at(1)[axis];
            let part = size.div_ceil(node.output.len().max(1));
            let left = |i: usize| part.min(size.saturating_sub(i * part)) as i64;
            (0..node.output.len()).map(left).collect()
        }
    };
    let mut attributes = Attributes::default();
    attributes.insert("axis", Attribute::Int(axis as i64));
    attributes.insert("split", Attribute::Ints(parts));
    one(node, "Split", attributes, first(node, 1))
}

pub(super) fn pad<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    mut attributes: Attributes,
) -> Result<Option<Vec<Piece<'a>>>> {
    let rank = builder.shape(node, 0)?.rank();
    let given = match attribute(node, "pads") {
        Some(pads) => pads.ints.clone(),
        None => builder
            .numbers(node, 1)?
            .ok_or("its pads are missing")?
            .ints(),
    };
    let axes = match builder.numbers(node, 3)? {
        Some(known) => {
            let axes = known.ints();
            axes.iter()
                .map(|a| counted(*a, rank))
                .collect::<Result<Vec<_>>>()?
        }
        None => (0..rank).collect(),
    };
    if given.len() != 2 * axes.len() {
        return Err(format!(
            "{} pads do not fit {} axes",
            given.len(),
            axes.len()
        ));
    }
    let mut pads = vec![0; 2 * rank];
    for (index, axis) in axes.iter().enumerate() {
        pads[*axis] = given[index];
        pads[rank + axis] = given[axes.len() + index];
    }
    attributes.insert("pads", Attribute::Ints(pads));
    if let Some(value) = builder
        .numbers(node, 2)?
        .and_then(|k| k.numbers.first().copied())
    {
        attributes.insert("value", Attribute::Float(value));
    }
    one(node, "Pad", attributes, first(node, 1))
}

/// A lookup in a table, or positions that are known.
pub(super) fn gather<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    mut attributes: Attributes,
) -> Result<Option<Vec<Piece<'a>>>> {
    let shape = builder.shape(node, 0)?;
    let rank = shape.rank();
    let axis = counted(int(node, "axis", 0), rank)? as i64;
    attributes.insert("axis", Attribute::Int(axis));
    match builder.numbers(node, 1) {
        Ok(Some(indices)) if indices.dims.len() < 2 => {
            attributes.insert("indices", Attribute::Ints(indices.ints()));
            if indices.dims.is_empty() {
                attributes.insert("keep", Attribute::Int(0));
            }
            one(node, "Take", attributes, first(node, 1))
        }
        Ok(Some(indices)) if rank == 1 && builder.reading.lookups && in_order(&shape, &indices) => {
            let sizes = indices.dims.iter().map(|size| *size as i64).collect();
            let mut attributes = Attributes::default();
            attributes.insert("sizes", Attribute::Ints(sizes));
            one(node, "Reshape", attributes, first(node, 1))
        }
        _ => {
            few(rank + builder.shape(node, 1)?.rank())?;
            one(node, "Gather", attributes, all(node))
        }
    }
}

/// Whether indices name all elements of a vector, each in its place.
fn in_order(vector: &Shape, indices: &Known) -> bool {
    let mut counted = indices.numbers.iter().enumerate();
    vector.get(0) == Some(Extent::Fixed(indices.numbers.len()))
        && counted.all(|(place, index)| *index == place as f64)
}

pub(super) fn resize<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    mut attributes: Attributes,
) -> Result<Option<Vec<Piece<'a>>>> {
    let shape = builder.shape(node, 0)?;
    let upsample = node.op_type() == "Upsample";
    let (scales_at, sizes_at) = match (upsample, builder.opset) {
        (true, _) | (false, ..=10) => (1, usize::MAX),
        _ => (2, 3),
    };
    for name in ["extrapolation_value", "exclude_outside", "antialias"] {
        if int(node, name, 0) != 0 {
            return Err(format!("its `{name}` is not read"));
        }
        attributes.remove(name);
    }
    if attribute(node, "axes").is_some()
        || text(node, "keep_aspect_ratio_policy").is_some_and(|p| p != "stretch")
    {
        return Err("its axes or aspect ratio policy are not read".to_owned());
    }
    attributes.remove("keep_aspect_ratio_policy");
    if upsample || builder.opset < 11 {
        attributes.insert(
            "coordinate_transformation_mode",
            Attribute::Text("asymmetric".to_owned()),
        );
        attributes.insert("nearest_mode", Attribute::Text("floor".to_owned()));
    }
    let filled = |known: Option<crate::fold::Known>| known.filter(|k| !k.numbers.is_empty());
    let scales = match attribute(node, "scales") {
        Some(scales) => Some(scales.floats.iter().map(|x| f64::from(*x)).collect()),
        None => filled(builder.numbers(node, scales_at)?).map(|known| known.numbers),
    };
    let inner = |rank: usize| rank.saturating_sub(2);
    if let Some(scales) = scales {
        let scales: Vec<f64> = scales;
        if scales.len() != shape.rank() || scales.iter().take(2).any(|s| *s != 1.0) {
            return Err("it scales the batch or channels".to_owned());
        }
        attributes.insert(
            "scales",
            Attribute::Floats(scales[scales.len() - inner(scales.len())..].to_vec()),
        );
    } else {
        let sizes = filled(builder.numbers(node, sizes_at)?)
            .ok_or("its sizes are missing")?
            .ints();
        let old = as_known(&shape);
        if sizes.len() != old.len() || sizes.iter().zip(&old).take(2).any(|(a, b)| a != b) {
            return Err("it scales the batch or channels".to_owned());
        }
        let inner = sizes.get(2..).unwrap_or_default();
        attributes.insert("sizes", Attribute::Ints(inner.to_vec()));
    }
    one(node, "Resize", attributes, first(node, 1))
}
