//! One number for all channels where the graph has one for each.

use net2net_core::ops::{Attribute, Attributes};

use super::adapt::{Name, Piece};
use super::builder::Builder;
use crate::proto::NodeProto;

/// The nodes that repeat a single number of `rank` axes for each channel, and the vector that they
/// make. They are the graph's alone, and are made for `node`.
pub(super) fn pieces<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    number: &'a str,
    rank: usize,
    channels: usize,
) -> (Vec<Piece<'a>>, Name<'a>) {
    let mut pieces = Vec::new();
    let mut so_far = Name::Document(number);
    let mut internal = |op, attribute: &str, size: usize, suffix: &str, so_far| {
        let made = builder.internal_name_of(node, suffix);
        let mut attributes = Attributes::default();
        attributes.insert(attribute, Attribute::Ints(vec![size as i64]));
        pieces.push(Piece {
            op,
            attributes,
            inputs: vec![so_far],
            outputs: vec![made.clone()],
            internal: true,
        });
        Name::Internal(made)
    };
    if rank != 1 {
        so_far = internal("Reshape", "sizes", 1, "number", so_far);
    }
    if channels != 1 {
        so_far = internal("Expand", "shape", channels, "numbers", so_far);
    }
    (pieces, so_far)
}
