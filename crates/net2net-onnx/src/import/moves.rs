//! What the operators that move elements are in the graph: parts, borders, lookups, other sizes.

use net2net_core::graph::{Extent, Shape};
use net2net_core::ops::{Attribute, Attributes};

use super::adapt::{Piece, Result, all, attribute, counted, first, int, one, text};
use super::as_known;
use super::builder::Builder;
use crate::fold::Known;
use crate::proto::NodeProto;

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

/// A lookup in a table, or positions that are known. All elements in their order are a reshape,
/// which is what `as_strided` of a contiguous tensor becomes.
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
        _ => one(node, "Gather", attributes, all(node)),
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
        attributes.insert("sizes", Attribute::Ints(sizes[2..].to_vec()));
    }
    one(node, "Resize", attributes, first(node, 1))
}
