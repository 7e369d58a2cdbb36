//! Attributes and constant inputs of nodes that have other sizes after growth.

use std::collections::BTreeMap;

use net2net_core::graph::{Extent, Graph, Node, NodeId, Shape, Value};
use net2net_core::ops::{Attribute, Attributes, Op};

use super::Writer;
use super::insert::attribute;
use crate::error::OnnxError;
use crate::proto::{NodeProto, TensorProto};
use crate::tensor;

impl<'a> Writer<'a> {
    /// Gives a node the attributes that its operator has in the grown graph.
    pub(super) fn patch(
        &mut self,
        node: &mut NodeProto,
        before: NodeId,
        after: NodeId,
    ) -> Result<(), OnnxError> {
        let (old, new) = (&self.imported.graph, self.growth.graph());
        let (old_node, new_node) = (old.at(before), new.at(after));
        let attributes = new_node.op.write();
        let earlier = old_node.op.write();
        let all = self.pinned.shapes && self.must_state(before);
        let changed: Vec<(String, Attribute)> = attributes
            .iter()
            .filter(|(name, value)| all || earlier.get(name) != Some(value))
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
        let [input, output] = [new_node.inputs[0], new_node.outputs[0]].map(|id| new.get(id));
        // What is left open is known of the values that the file has; a copy's are those of its original.
        let [read, made] = [old_node.inputs[0], old_node.outputs[0]].map(|id| old.get(id));
        for (name, value) in changed {
            let stays = earlier.get(&name) == Some(&value);
            match (node.op_type().to_owned().as_str(), name.as_str()) {
                // These follow their input by themselves.
                ("Squeeze" | "Unsqueeze" | "Flatten", _) => {}
                // These do not change, and may be inputs.
                ("Slice", "axes" | "steps") => {}
                // A constant cannot say where an open axis ends.
                ("Slice", _)
                    if [read, made]
                        .iter()
                        .any(|value| self.is_open(&value.name, &sliced(&attributes))) => {}
                // A lookup that was in order: its positions would have to be computed anew.
                ("Gather", "sizes") => {
                    if !self.is_longer(node, old_node, new_node) {
                        continue;
                    }
                    let free = [&read.name, &made.name].map(|name| self.free_axes(name));
                    let Some(target) = reshaped(&input.shape, &output.shape, None, free) else {
                        continue;
                    };
                    node.op_type = Some("Reshape".to_owned());
                    node.attribute.clear();
                    node.input.truncate(1);
                    self.set(node, "shape", 1, &target)?;
                }
                ("Reshape", _) => {
                    let given = self.constant_input(node, 1)?;
                    if given.is_none() && !self.pinned.shapes || given.is_some() && stays {
                        continue;
                    }
                    let free = [&read.name, &made.name].map(|name| self.free_axes(name));
                    let (from, to) = (&input.shape, &output.shape);
                    let Some(target) = reshaped(from, to, given.as_deref(), free) else {
                        let grown = self.grown(made, &output.shape);
                        self.correct(node, grown);
                        continue;
                    };
                    node.attribute.retain(|a| a.name() != "allowzero");
                    self.set(node, "shape", 1, &target)?;
                }
                ("Expand", _) => {
                    let given = self.constant_input(node, 1)?;
                    if given.is_none() && !self.pinned.shapes || given.is_some() && stays {
                        continue;
                    }
                    // A constant cannot say how often a batch is repeated.
                    let free = |name: &str, rank: usize, shape: &Shape| {
                        let from_inside = |axis: &usize| rank - axis;
                        let batch = usize::from(shape.get(0) == Some(Extent::Batch)) * rank;
                        let open = self.free_axes(name);
                        let axes = open.keys().map(from_inside);
                        axes.chain((batch > 0).then_some(batch))
                            .collect::<Vec<usize>>()
                    };
                    let own = free(&read.name, input.shape.rank(), &input.shape);
                    let wanted = free(&made.name, output.shape.rank(), &output.shape);
                    let target = expanded(&input.shape, &output.shape);
                    if wanted != own {
                        // The shape may have fewer axes than the output.
                        let skipped = target.len() - ints(&value).len();
                        let grown = self.grown(made, &output.shape).into_iter();
                        let grown = grown.filter_map(|(axis, _)| {
                            let at = axis.checked_sub(skipped)?;
                            Some((at, target[axis]))
                        });
                        let grown = grown.collect();
                        self.correct(node, grown);
                        continue;
                    }
                    self.set(node, "shape", 1, &target)?;
                }
                ("Pad", _) => {
                    let pads = ints(&value);
                    let pads = match self.constant_input(node, 3)? {
                        Some(axes) => some_axes(&pads, &axes),
                        None => pads,
                    };
                    self.set(node, "pads", 1, &pads)?;
                }
                // Nor how it is divided.
                ("Split", _)
                    if self.is_open(
                        &made.name,
                        &attributes.get("axis").map(ints).unwrap_or_else(|| vec![0]),
                    ) => {}
                ("Split", _) => {
                    node.attribute.retain(|a| a.name() != "num_outputs");
                    self.set(node, "split", 1, &ints(&value))?;
                }
                ("Slice", "starts") => self.set_anew(node, "starts", 1, &ints(&value))?,
                ("Slice", "ends") => self.set_anew(node, "ends", 2, &ints(&value))?,
                ("Tile", _) => self.set(node, "repeats", 1, &ints(&value))?,
                // Nor where one is counted from.
                ("Gather", _) if self.is_taken_open(&new_node.op, &read.name) => {}
                ("Gather", _) => self.set(node, "indices", 1, &ints(&value))?,
                (_, name) => {
                    node.attribute.retain(|a| a.name() != name);
                    node.attribute.push(attribute(name, &value));
                }
            }
        }
        if matches!(new_node.op, Op::Lstm(_) | Op::Gru(_) | Op::Rnn(_)) {
            drop_computed_zeros(node, &attributes);
        }
        if matches!(new_node.op, Op::Conv(_)) {
            let open =
                (2..input.shape.rank()).any(|axis| self.free_axes(&read.name).contains_key(&axis));
            enlarged(node, &new.get(new_node.inputs[1]).shape, open)?;
        }
        if matches!(new_node.op, Op::Resize(_)) {
            self.resized(node, &old.get(old_node.inputs[0]).shape, &input.shape)?;
        }
        // What is at its default now is left out of the operator's own list.
        for (name, _) in earlier.iter() {
            if attributes.get(name).is_none() {
                node.attribute.retain(|a| a.name() != name);
            }
        }
        Ok(())
    }

    /// Whether a node has to be written otherwise than the document has it: its operator is another one, or
    /// may state what goes through it.
    pub(super) fn differs(&self, before: NodeId, after: NodeId) -> bool {
        let (old, new) = (
            self.imported.graph.at(before),
            self.growth.graph().at(after),
        );
        old.op != new.op || matches!(new.op, Op::Resize(_))
    }

    /// States the channels that a resize keeps where the file states all sizes of its output.
    fn resized(
        &mut self,
        node: &mut NodeProto,
        was: &Shape,
        input: &Shape,
    ) -> Result<(), OnnxError> {
        const SIZES: usize = 3;
        let Some(mut sizes) = self.constant_input(node, SIZES)? else {
            return Ok(());
        };
        let channels = |shape: &Shape| shape.get(1).and_then(Extent::fixed);
        let (Some(before), Some(now)) = (channels(was), channels(input)) else {
            return Ok(());
        };
        if before != now && sizes.len() == was.rank() && sizes[1] == before as i64 {
            sizes[1] = now as i64;
            self.set(node, "sizes", SIZES, &sizes)?;
        }
        Ok(())
    }

    /// The axes of an output that have grown, of those that follow nothing that is left open, and their
    /// sizes now.
    fn grown(&self, was: &Value, output: &Shape) -> Vec<(usize, i64)> {
        let free = self.free_axes(&was.name);
        let sizes = was.shape.extents().iter().zip(output.extents()).enumerate();
        sizes
            // What stays may be computed from what has grown.
            .filter(|(axis, (old, new))| {
                (old != new || self.pinned.shapes) && !free.contains_key(axis)
            })
            .filter_map(|(axis, (_, new))| Some((axis, new.fixed()? as i64)))
            .collect()
    }

    /// Has a node read the shape that the model computes, with these sizes put in at their places:
    /// several others follow what is left open, so that no constant could say them.
    fn correct(&mut self, node: &mut NodeProto, grown: Vec<(usize, i64)>) {
        let has_scatter = self.document.opset() >= 11;
        let Some(computed) = node
            .input
            .get(1)
            .filter(|_| has_scatter && !grown.is_empty())
        else {
            return;
        };
        let computed = computed.clone();
        let [axes, sizes, shape] = ["axes", "sizes", "shape"]
            .map(|part| self.fresh(&format!("{}.{part}", node.output[0])));
        let grown = grown.into_iter().map(|(at, size)| (at as i64, size));
        let (at, new): (Vec<i64>, Vec<i64>) = grown.unzip();
        let places = tensor::of_ints(&axes, &[at.len(), 1], &at);
        self.tensors.insert(axes.clone(), places);
        let grown = tensor::of_ints(&sizes, &[new.len()], &new);
        self.tensors.insert(sizes.clone(), grown);
        let inputs = vec![computed, axes, sizes];
        let made = vec![shape.clone()];
        self.before
            .push(super::insert::node("ScatterND", inputs, made, Vec::new()));
        node.input[1] = shape;
    }

    /// Whether a node may read numbers that the model computes from the sizes of what has grown: those
    /// of anything, not of its own input alone.
    pub(super) fn must_state(&self, before: NodeId) -> bool {
        matches!(
            self.imported.graph.at(before).op,
            Op::Reshape(_) | Op::Expand(_) | Op::Slice(_) | Op::Split(_)
        )
    }

    /// Whether the axis along which a lookup takes positions has grown.
    fn is_longer(&self, node: &NodeProto, old: &Node, new: &Node) -> bool {
        let axis = node.attribute.iter().find(|a| a.name() == "axis");
        let axis = axis.map_or(0, |axis| axis.i());
        let size = |graph: &Graph, node: &Node| {
            let shape = &graph.get(node.inputs[0]).shape;
            let axis =
                usize::try_from(axis).unwrap_or(shape.rank().wrapping_add_signed(axis as isize));
            shape.get(axis)
        };
        size(&self.imported.graph, old) != size(self.growth.graph(), new)
    }

    /// The axes of a value that follow what the document leaves open, although they are fixed, and
    /// their other sizes.
    fn free_axes(&self, name: &str) -> BTreeMap<usize, usize> {
        let axes = self.imported.free_axes.get(name);
        axes.cloned().unwrap_or_default()
    }

    /// Whether one of some axes of a value follows what the document leaves open.
    fn is_open(&self, name: &str, axes: &[i64]) -> bool {
        let open = self.free_axes(name);
        axes.iter().any(|axis| open.contains_key(&(*axis as usize)))
    }

    /// Whether positions are taken along an axis that follows what the document leaves open.
    fn is_taken_open(&self, op: &Op, input: &str) -> bool {
        matches!(op, Op::Take(take) if self.free_axes(input).contains_key(&take.axis))
    }

    fn initializer(&self, name: &str) -> Option<&'a TensorProto> {
        let index = *self.initializers.get(name)?;
        self.document.graph().initializer.get(index)
    }

    /// The numbers of an input, if it is a constant and not computed.
    fn constant_input(
        &self,
        node: &NodeProto,
        input: usize,
    ) -> Result<Option<Vec<i64>>, OnnxError> {
        let Some(name) = node.input.get(input).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        self.constant(name)
            .map(|tensor| tensor::ints(tensor, &self.document.external))
            .transpose()
    }

    /// The tensor of a name, if the file states it: as an initialiser, or by a node.
    fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        let by_node = || {
            let node = *self.constant_nodes.get(name)?;
            let attributes = &self.document.graph().node[node].attribute;
            attributes.iter().find(|a| a.name() == "value")?.t.as_ref()
        };
        self.initializer(name).or_else(by_node)
    }

    /// States whole numbers unless they are stated already.
    fn set_anew(
        &mut self,
        node: &mut NodeProto,
        name: &str,
        slot: usize,
        numbers: &[i64],
    ) -> Result<(), OnnxError> {
        match self.constant_input(node, slot)? {
            Some(given) if given == numbers => Ok(()),
            _ => self.set(node, name, slot, numbers),
        }
    }

    /// States whole numbers as the attribute that older operator sets have, if the node has it, or
    /// as a constant input.
    fn set(
        &mut self,
        node: &mut NodeProto,
        name: &str,
        slot: usize,
        numbers: &[i64],
    ) -> Result<(), OnnxError> {
        if let Some(own) = node.attribute.iter_mut().find(|a| a.name() == name) {
            own.ints = numbers.to_vec();
            return Ok(());
        }
        while node.input.len() <= slot {
            node.input.push(String::new());
        }
        let current = node.input[slot].clone();
        let old = self.initializer(&current);
        let mine = self.readers.get(&current) == Some(&1);
        let dims: Vec<usize> = match self.constant(&current) {
            Some(old) if old.dims.is_empty() => Vec::new(),
            _ => vec![numbers.len()],
        };
        let target = match old {
            Some(_) if mine => current,
            _ => self.fresh(&format!("{}.{name}", node.output[0])),
        };
        let reals = numbers.iter().map(|x| *x as f64);
        let new = match old {
            Some(old) if mine => tensor::with_numbers(old, &dims, reals)?,
            _ => tensor::of_ints(&target, &dims, numbers),
        };
        self.tensors.insert(target.clone(), new);
        node.input[slot] = target;
        Ok(())
    }
}

/// States a filter's sides where the node does, and pads in place of a rule for them; `open` says
/// whether the image may have any size.
fn enlarged(node: &mut NodeProto, weight: &Shape, open: bool) -> Result<(), OnnxError> {
    let sides: Vec<i64> = weight.at(1)[2..].iter().map(|side| *side as i64).collect();
    for attribute in &mut node.attribute {
        if attribute.name() == "kernel_shape" && attribute.ints != sides {
            attribute.ints.clone_from(&sides);
        }
    }
    if !node.attribute.iter().any(|a| a.name() == "pads") {
        return Ok(());
    }
    let of = |name: &str| node.attribute.iter().find(|a| a.name() == name);
    let same =
        of("auto_pad").is_some_and(|a| a.s.as_deref().is_some_and(|s| s.starts_with(b"SAME")));
    let strides = of("strides").map_or(&[][..], |a| &a.ints);
    match (same && open, strides.iter().all(|stride| *stride == 1)) {
        // The rule pads a larger filter by as much as it is larger.
        (true, true) => node.attribute.retain(|a| a.name() != "pads"),
        (true, false) => {
            return Err(OnnxError::Export {
                name: node.output[0].clone(),
                why: "its padding follows the size of the image, which the model leaves open; export \
                      it with a fixed size, or with pads in place of auto_pad, to enlarge the filter"
                    .to_owned(),
            });
        }
        (false, _) => node.attribute.retain(|a| a.name() != "auto_pad"),
    }
    Ok(())
}

/// Leaves out first states that the model computes as zeros of the old size, which is what they are
/// without.
fn drop_computed_zeros(node: &mut NodeProto, attributes: &Attributes) {
    let first_state = 5;
    if attributes.get("initial").is_none() {
        node.input
            .iter_mut()
            .skip(first_state)
            .for_each(String::clear);
    }
}

/// The axes of a slice: without a statement the first ones.
fn sliced(attributes: &Attributes) -> Vec<i64> {
    let starts = attributes.get("starts").map(ints).unwrap_or_default();
    let first = || (0..starts.len() as i64).collect();
    attributes.get("axes").map(ints).unwrap_or_else(first)
}

fn ints(value: &Attribute) -> Vec<i64> {
    match value {
        Attribute::Ints(values) => values.clone(),
        Attribute::Int(value) => vec![*value],
        _ => Vec::new(),
    }
}

/// The target of a reshape. Where the model says 0 or -1 it still does; where it computes, an axis
/// that stays as it is is 0, so that it may have any size.
///
/// `moving` are axes of the input and `free` those of the output that follow what the document
/// leaves open although they are fixed. One of the latter can be what is left; `None` if there are
/// more.
fn reshaped(
    input: &Shape,
    output: &Shape,
    given: Option<&[i64]>,
    [moving, free]: [BTreeMap<usize, usize>; 2],
) -> Option<Vec<i64>> {
    let extents = output.extents().iter().enumerate();
    let target: Vec<i64> = extents
        .map(|(axis, extent)| {
            let size = extent.fixed().map_or(0, |size| size as i64);
            let same = input.get(axis) == Some(*extent) && moving.get(&axis) == free.get(&axis);
            match given.and_then(|given| given.get(axis)) {
                Some(kept @ (0 | -1)) => *kept,
                Some(_) => size,
                None if same => 0,
                None if free.contains_key(&axis) => -1,
                None => size,
            }
        })
        .collect();
    let left = target.iter().filter(|size| **size == -1).count();
    (left < 2).then_some(target)
}

/// The target of an expansion: an axis that stays as it is is 1.
fn expanded(input: &Shape, output: &Shape) -> Vec<i64> {
    let rank = output.rank();
    let extents = output.extents().iter().enumerate();
    extents
        .map(|(axis, extent)| {
            let own = (axis + input.rank()).checked_sub(rank);
            match own.and_then(|own| input.get(own)) {
                Some(own) if own == *extent => 1,
                _ => extent.fixed().map_or(1, |size| size as i64),
            }
        })
        .collect()
}

/// The pads of some axes out of those of all.
fn some_axes(pads: &[i64], axes: &[i64]) -> Vec<i64> {
    let rank = pads.len() / 2;
    let at = |axis: &i64| {
        if *axis < 0 {
            (*axis + rank as i64) as usize
        } else {
            *axis as usize
        }
    };
    let begins = axes.iter().map(|axis| pads[at(axis)]);
    let ends = axes.iter().map(|axis| pads[rank + at(axis)]);
    begins.chain(ends).collect()
}
