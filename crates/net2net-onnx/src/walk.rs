//! Every tensor of a graph, those of subgraphs included.

use crate::error::OnnxError;
use crate::proto::{GraphProto, TensorProto};

/// Both walks, which differ in what they borrow. The depth of subgraphs is bounded by the decoder.
macro_rules! walk {
    ($(#[$doc:meta])* $name:ident, $iter:ident, $option:ident $(, $mutable:tt)?) => {
        $(#[$doc])*
        pub(crate) fn $name(
            graph: &$($mutable)? GraphProto,
            see: &mut impl FnMut(&$($mutable)? TensorProto) -> Result<(), OnnxError>,
        ) -> Result<(), OnnxError> {
            for tensor in graph.initializer.$iter() {
                see(tensor)?;
            }
            for sparse in graph.sparse_initializer.$iter() {
                sparse.values.$option().map_or(Ok(()), &mut *see)?;
                sparse.indices.$option().map_or(Ok(()), &mut *see)?;
            }
            for attribute in graph.node.$iter().flat_map(|node| node.attribute.$iter()) {
                for tensor in attribute.t.$iter().chain(attribute.tensors.$iter()) {
                    see(tensor)?;
                }
                if let Some(inner) = attribute.g.$option() {
                    $name(inner, see)?;
                }
                for inner in attribute.graphs.$iter() {
                    $name(inner, see)?;
                }
            }
            Ok(())
        }
    };
}

walk!(
    /// Shows each tensor, in the order of the file.
    visit, iter, as_ref
);
walk!(
    /// Shows each tensor to be changed, in the order of the file.
    visit_mut, iter_mut, as_mut, mut
);
