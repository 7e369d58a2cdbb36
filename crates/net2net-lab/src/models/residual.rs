//! A small residual network (He et al. 2016, section 4.2): three stages of 16, 32 and 64
//! channels at width 1, `depth` blocks of two 3×3 convolutions each, projected shortcuts.

use net2net_core::graph::{Graph, GraphError, ValueId};
use net2net_core::ops::Add;

use super::{ModelSpec, block};
use crate::data::ImageShape;

pub(super) fn build(
    spec: &ModelSpec,
    images: ImageShape,
    classes: usize,
) -> Result<Graph, GraphError> {
    let (mut graph, x) = block::start("residual", images)?;
    let mut x = block::unit(&mut graph, "stem", x, spec.channels(16), 3, 1)?;
    for (stage, base) in (1..).zip([16, 32, 64]) {
        for number in 1..=spec.depth {
            let name = format!("stage{stage}.block{number}");
            let stride = if stage > 1 && number == 1 { 2 } else { 1 };
            x = residual_block(&mut graph, &name, x, spec.channels(base), stride)?;
        }
    }
    block::finish(graph, x, classes)
}

fn residual_block(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    channels: usize,
    stride: usize,
) -> Result<ValueId, GraphError> {
    let y = block::unit(graph, &format!("{name}.first"), x, channels, 3, stride)?;
    let y = block::conv(graph, &format!("{name}.second"), y, channels, 3, 1)?;
    let y = block::norm(graph, &format!("{name}.second"), y)?;
    let same = graph.get(x).shape == graph.get(y).shape;
    let shortcut = if same {
        x
    } else {
        let projected = format!("{name}.shortcut");
        let p = block::conv(graph, &projected, x, channels, 1, stride)?;
        block::norm(graph, &projected, p)?
    };
    let sum = graph.node(format!("{name}.sum"), Add, &[y, shortcut])?;
    block::relu(graph, name, sum)
}
