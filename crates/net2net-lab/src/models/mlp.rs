//! Linear layers: `depth` hidden ones of 128 units at width 1.

use net2net_core::graph::{Graph, GraphError};
use net2net_core::ops::Flatten;

use super::{ModelSpec, block};
use crate::data::ImageShape;

pub(super) fn build(
    spec: &ModelSpec,
    images: ImageShape,
    classes: usize,
) -> Result<Graph, GraphError> {
    let (mut graph, x) = block::start("mlp", images)?;
    let mut x = graph.node("pixels", Flatten, &[x])?;
    for layer in 1..=spec.depth {
        let name = format!("hidden{layer}");
        x = block::linear(&mut graph, &name, x, spec.channels(128))?;
        x = block::relu(&mut graph, &name, x)?;
    }
    block::classify(graph, x, classes)
}
