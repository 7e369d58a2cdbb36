//! Quantised operators. They stay outside of the graph, but what they make of known values has a known
//! shape, so that the real numbers around them are understood.

use net2net_core::graph::{Extent, Shape};

use super::builder::Builder;
use crate::proto::NodeProto;

/// What a quantised node says of itself.
pub(super) const WHY: &str = "it is quantised, and integers do not divide into the shares of copies; \
                              grow the model in floating point and quantise it again";

/// Whether an operator works on integers that stand for real numbers.
pub(super) fn is_quantized(operator: &str) -> bool {
    operator.starts_with("QLinear")
        || matches!(
            operator,
            "QuantizeLinear"
                | "DequantizeLinear"
                | "DynamicQuantizeLinear"
                | "MatMulInteger"
                | "ConvInteger"
                | "QGemm"
                | "QAttention"
                | "QEmbedLayerNormalization"
                | "DynamicQuantizeMatMul"
                | "DynamicQuantizeLSTM"
                | "MatMulIntegerToFloat"
                | "MatMulNBits"
        )
}

/// The shape of an output of a quantised node, or of what passes it on, and whether it is of real
/// numbers.
pub(super) fn made(
    builder: &Builder<'_>,
    node: &NodeProto,
    output: usize,
) -> Option<(Shape, bool)> {
    let of = |slot: usize| builder.shape_of(node.input.get(slot)?);
    match (node.op_type(), output) {
        ("QuantizeLinear" | "DynamicQuantizeLinear", 0) => Some((of(0)?, false)),
        ("DynamicQuantizeLinear", 1) => Some((Shape::fixed(&[]), true)),
        ("DequantizeLinear", 0) => Some((of(0)?, true)),
        ("Cast", 0) => {
            let to = super::adapt::int(node, "to", 1);
            Some((of(0)?, matches!(to, 1 | 10 | 11 | 16)))
        }
        ("MatMulInteger", 0) => {
            let (left, right) = (of(0)?, of(1)?);
            let [k, n] = *right.extents() else {
                return None;
            };
            let (last, rows) = left.extents().split_last()?;
            (*last == k)
                .then(|| ([rows, &[n]].concat(), false))
                .map(|(all, real): (Vec<Extent>, bool)| (Shape::new(all), real))
        }
        _ => None,
    }
}
