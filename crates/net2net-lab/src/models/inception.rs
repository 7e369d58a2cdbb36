//! A small Inception-BN (Ioffe & Szegedy 2015; modules of Szegedy et al. 2015).
//!
//! A stem of one 3×3 unit, then two stages of `depth` modules, each stage after a max pooling
//! that halves the image. A module concatenates four branches: 1×1; 1×1 and 3×3; 1×1 and two
//! 3×3 (for a 5×5); 3×3 max pooling and 1×1.

use net2net_core::graph::{Graph, GraphError, ValueId};
use net2net_core::ops::Concat;

use super::{ModelSpec, block};
use crate::data::ImageShape;

/// Channels of a module's branches at width 1.
struct Module {
    one: usize,
    reduce3: usize,
    three: usize,
    reduce5: usize,
    five: usize,
    pool: usize,
}

const STEM: usize = 32;

const STAGES: [Module; 2] = [
    Module {
        one: 16,
        reduce3: 16,
        three: 32,
        reduce5: 12,
        five: 24,
        pool: 16,
    },
    Module {
        one: 32,
        reduce3: 24,
        three: 48,
        reduce5: 16,
        five: 40,
        pool: 24,
    },
];

pub(super) fn build(
    spec: &ModelSpec,
    images: ImageShape,
    classes: usize,
) -> Result<Graph, GraphError> {
    let (mut graph, x) = block::start("inception", images)?;
    let mut x = block::unit(&mut graph, "stem", x, spec.channels(STEM), 3, 1)?;
    for (stage, sizes) in (1..).zip(&STAGES) {
        x = block::max_pool(&mut graph, &format!("stage{stage}.pool"), x, 2)?;
        for number in 1..=spec.depth {
            let name = format!("stage{stage}.module{number}");
            x = module(&mut graph, spec, &name, x, sizes)?;
        }
    }
    block::finish(graph, x, classes)
}

fn module(
    graph: &mut Graph,
    spec: &ModelSpec,
    name: &str,
    x: ValueId,
    sizes: &Module,
) -> Result<ValueId, GraphError> {
    let mut unit = |branch: &str, x: ValueId, base: usize, kernel: usize| {
        let channels = spec.channels(base);
        block::unit(graph, &format!("{name}.{branch}"), x, channels, kernel, 1)
    };
    let one = unit("one", x, sizes.one, 1)?;
    let three = unit("reduce3", x, sizes.reduce3, 1)?;
    let three = unit("three", three, sizes.three, 3)?;
    let five = unit("reduce5", x, sizes.reduce5, 1)?;
    let five = unit("five1", five, sizes.five, 3)?;
    let five = unit("five2", five, sizes.five, 3)?;
    let pooled = block::max_pool(graph, &format!("{name}.pool"), x, 1)?;
    let pooled = block::unit(
        graph,
        &format!("{name}.project"),
        pooled,
        spec.channels(sizes.pool),
        1,
        1,
    )?;
    graph.node(
        format!("{name}.concat"),
        Concat::default(),
        &[one, three, five, pooled],
    )
}
