//! Convolutions in a line: three stages of 16, 32 and 64 channels at width 1, `depth` 3×3 units
//! each, halved by max pooling between.

use net2net_core::graph::{Graph, GraphError};

use super::{ModelSpec, block};
use crate::data::ImageShape;

pub(super) fn build(
    spec: &ModelSpec,
    images: ImageShape,
    classes: usize,
) -> Result<Graph, GraphError> {
    let (mut graph, mut x) = block::start("conv-net", images)?;
    for (stage, base) in (1..).zip([16, 32, 64]) {
        if stage > 1 {
            x = block::max_pool(&mut graph, &format!("stage{stage}.pool"), x, 2)?;
        }
        for layer in 1..=spec.depth {
            let name = format!("stage{stage}.unit{layer}");
            x = block::unit(&mut graph, &name, x, spec.channels(base), 3, 1)?;
        }
    }
    block::finish(graph, x, classes)
}
