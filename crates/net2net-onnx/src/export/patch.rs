//! Attributes and constant inputs of nodes that have other sizes after growth.

use net2net_core::graph::{NodeId, Shape};
use net2net_core::ops::Attribute;

use super::Writer;
use super::insert::attribute;
use crate::error::OnnxError;
use crate::proto::NodeProto;
use crate::tensor;

impl Writer<'_> {
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
        let changed: Vec<(String, Attribute)> = attributes
            .iter()
            .filter(|(name, value)| earlier.get(name) != Some(value))
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
        let [input, output] = [new_node.inputs[0], new_node.outputs[0]].map(|id| new.get(id));
        for (name, value) in changed {
            match (node.op_type().to_owned().as_str(), name.as_str()) {
                // These follow their input by themselves.
                ("Squeeze" | "Unsqueeze" | "Flatten", _) => {}
                ("Reshape", _) => {
                    let given = self.constant_input(node, 1)?;
                    if given.is_none() && !self.pinned.shapes {
                        continue;
                    }
                    let target = reshaped(&input.shape, &output.shape, given.as_deref());
                    node.attribute.retain(|a| a.name() != "allowzero");
                    self.set(node, "shape", 1, &target)?;
                }
                ("Expand", _) => {
                    if self.constant_input(node, 1)?.is_none() && !self.pinned.shapes {
                        continue;
                    }
                    let target = expanded(&input.shape, &output.shape);
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
                ("Split", _) => {
                    node.attribute.retain(|a| a.name() != "num_outputs");
                    self.set(node, "split", 1, &ints(&value))?;
                }
                ("Slice", "starts") => self.set(node, "starts", 1, &ints(&value))?,
                ("Slice", "ends") => self.set(node, "ends", 2, &ints(&value))?,
                ("Tile", _) => self.set(node, "repeats", 1, &ints(&value))?,
                ("Gather", _) => self.set(node, "indices", 1, &ints(&value))?,
                (_, name) => {
                    node.attribute.retain(|a| a.name() != name);
                    node.attribute.push(attribute(name, &value));
                }
            }
        }
        // What is at its default now is left out of the operator's own list.
        for (name, _) in earlier.iter() {
            if attributes.get(name).is_none() {
                node.attribute.retain(|a| a.name() != name);
            }
        }
        Ok(())
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
        let source = self.document.graph();
        let initializer = source.initializer.iter().find(|t| t.name() == name);
        let constant = || {
            let made = |n: &&NodeProto| n.op_type() == "Constant" && n.output.first() == Some(name);
            let value = source.node.iter().find(made)?;
            value
                .attribute
                .iter()
                .find(|a| a.name() == "value")?
                .t
                .as_ref()
        };
        let tensor = initializer.or_else(constant);
        tensor
            .map(|tensor| tensor::ints(tensor, &self.document.external))
            .transpose()
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
        let source = self.document.graph();
        while node.input.len() <= slot {
            node.input.push(String::new());
        }
        let current = node.input[slot].clone();
        let old = source.initializer.iter().find(|t| t.name() == current);
        let mine = self.readers.get(&current) == Some(&1);
        let dims: Vec<usize> = match old {
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

fn ints(value: &Attribute) -> Vec<i64> {
    match value {
        Attribute::Ints(values) => values.clone(),
        Attribute::Int(value) => vec![*value],
        _ => Vec::new(),
    }
}

/// The target of a reshape. Where the model says 0 or -1 it still does; where it computes, an axis
/// that stays as it is is 0, so that it may have any size.
fn reshaped(input: &Shape, output: &Shape, given: Option<&[i64]>) -> Vec<i64> {
    let extents = output.extents().iter().enumerate();
    extents
        .map(|(axis, extent)| {
            let size = extent.fixed().map_or(0, |size| size as i64);
            match given.and_then(|given| given.get(axis)) {
                Some(kept @ (0 | -1)) => *kept,
                Some(_) => size,
                None if input.get(axis) == Some(*extent) => 0,
                None => size,
            }
        })
        .collect()
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
