//! Attention and rotary positions as operators.

use net2net_core::ops::{Attribute, Attributes};

use super::adapt::{Piece, Result, attribute, first, int, one};
use super::builder::Builder;
use crate::proto::NodeProto;

/// What newer operator sets add for decoding step by step.
const CACHE: [(usize, &str); 3] = [(4, "past_key"), (5, "past_value"), (6, "nonpad_kv_seqlen")];

pub(super) fn pieces<'a>(
    builder: &mut Builder<'a>,
    node: &'a NodeProto,
    mut attributes: Attributes,
) -> Result<Option<Vec<Piece<'a>>>> {
    for (slot, name) in CACHE {
        if node.input.get(slot).is_some_and(|input| !input.is_empty()) {
            return Err(format!(
                "it goes on from keys and values of earlier steps (`{name}`); export the model \
                 without a cache"
            ));
        }
    }
    for name in ["left_window_size", "right_window_size"] {
        if int(node, name, -1) != -1 {
            return Err(format!("its `{name}` is not read"));
        }
        attributes.remove(name);
    }
    // Both are about an output that must be unread, and about rounding.
    attributes.remove("qk_matmul_output_mode");
    attributes.remove("softmax_precision");
    if builder.shape(node, 0)?.rank() == 4 && attribute(node, "q_num_heads").is_some() {
        return Err("it states heads although its operands have them as an axis".to_owned());
    }
    if let Some(mask) = node.input.get(3).filter(|name| !name.is_empty()) {
        builder.value(mask)?;
        let real = |id: i32| matches!(id, 1 | 10 | 11 | 16);
        let id = builder
            .dtype(mask)
            .ok_or("the type of its mask is not known")?;
        attributes.insert("boolean_mask", Attribute::Int(i64::from(!real(id))));
    }
    one(node, "Attention", attributes, first(node, 4))
}
