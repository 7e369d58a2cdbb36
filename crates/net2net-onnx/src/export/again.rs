//! Reading a grown document again: it must be the grown graph.

use std::collections::BTreeSet;

use net2net_core::apply::Growth;
use net2net_core::graph::{Graph, Shape};
use net2net_core::ops::{Attribute, Attributes, Op};

use crate::document::Document;
use crate::error::OnnxError;
use crate::import::{Imported, Opaque, Place};

/// What is stated in the written model although the old one computes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pinned {
    /// Whether the targets of reshapes and the bounds of slices are.
    pub(super) shapes: bool,
    /// Numbers that follow from sizes that have grown, such as the scale of an attention.
    pub(super) numbers: BTreeSet<String>,
}

/// Reads what was written and compares it with the grown graph: the shape of every value, every
/// operator, and numbers that were computed. `Some` says what has to be stated the next time.
pub(super) fn read_again(
    written: &Document,
    imported: &Imported,
    growth: &Growth,
    pinned: &Pinned,
) -> Result<Option<Pinned>, OnnxError> {
    crate::document::check(written.graph())?;
    let mut more = pinned.clone();
    let again = imported.read_alike(written)?;
    for (name, stored) in &imported.parameters {
        let now = again.parameters.get(name).map(|stored| &stored.place);
        if matches!(stored.place, Place::Folded(..)) && now.is_some_and(|now| *now != stored.place)
        {
            more.numbers.insert(name.clone());
        }
    }
    if more != *pinned {
        return Ok(Some(more));
    }
    let shared = super::copies::shared(imported, growth);
    let gone = |name: &str| pinned.numbers.contains(name) || shared.contains(name);
    // A node that is no longer understood is a difference too: what flows into it became an output.
    let new = |node: &&Opaque| !imported.leaves_out(node);
    let lost = again.opaque.iter().find(new);
    let differs = difference(&again.graph, growth.graph(), gone);
    let differs = differs.or_else(|| Some((lost?.node.clone(), lost?.why.clone())));
    match differs {
        None => Ok(None),
        Some(_) if !pinned.shapes => {
            more.shapes = true;
            Ok(Some(more))
        }
        Some((name, why)) => {
            let why = lost.map_or(why, |node| {
                format!(
                    "a shape that the model computes does not follow this growth (at `{}`: {}); \
                     export it with fixed lengths, so that only the batch is open",
                    node.node, node.why
                )
            });
            Err(OnnxError::Export { name, why })
        }
    }
}

/// The first value that is not as it is in the grown graph, but for those that may be gone.
fn difference(
    found: &Graph,
    wanted: &Graph,
    gone: impl Fn(&str) -> bool,
) -> Option<(String, String)> {
    let inputs = |graph: &Graph| -> Vec<Shape> {
        let inputs = graph.inputs().iter();
        inputs.map(|id| graph.get(*id).shape.clone()).collect()
    };
    // With the batch free in one and fixed in the other, reshapes are stated differently.
    let comparable = inputs(found) == inputs(wanted);
    for id in wanted.value_ids() {
        let value = wanted.get(id);
        let Some(other) = found.lookup(&value.name) else {
            if gone(&value.name) {
                continue;
            }
            return Some((value.name.clone(), "it is lost when read again".to_owned()));
        };
        let (shape, expected) = (&found.get(other).shape, &value.shape);
        if !same_shape(shape, expected) {
            let why = format!("it is {shape} when read again, not {expected}");
            return Some((value.name.clone(), why));
        }
        let op = |graph: &Graph, id| {
            let node = graph.producer(id).map(|node| graph.at(node))?;
            // An axis that stays may be stated as itself or as 1: the shapes say all.
            let stated = match node.op {
                Op::Expand(_) => Attributes::default(),
                _ => as_stored(node.op.write()),
            };
            Some((node.op.name(), stated))
        };
        if comparable && op(found, other) != op(wanted, id) {
            let why = "its operator is another one when read again".to_owned();
            return Some((value.name.clone(), why));
        }
    }
    None
}

/// Attributes as a file has them, which knows no real numbers but those of single precision.
fn as_stored(mut attributes: Attributes) -> Attributes {
    let rounded = |x: &f64| f64::from(*x as f32);
    let reals: Vec<(String, Attribute)> = attributes
        .iter()
        .filter_map(|(name, value)| match value {
            Attribute::Float(x) => Some((name.to_owned(), Attribute::Float(rounded(x)))),
            Attribute::Floats(all) => {
                let all = all.iter().map(rounded).collect();
                Some((name.to_owned(), Attribute::Floats(all)))
            }
            _ => None,
        })
        .collect();
    for (name, value) in reals {
        attributes.insert(&name, value);
    }
    attributes
}

/// The batch may be free in one reading and fixed to one in the other.
fn same_shape(a: &Shape, b: &Shape) -> bool {
    let sizes = |shape: &Shape| shape.at(1);
    sizes(a) == sizes(b)
}
