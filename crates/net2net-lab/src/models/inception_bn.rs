//! Inception with batch normalisation (Ioffe & Szegedy 2015, figure 5), and a relative for small
//! images.
//!
//! A stem of convolutions and poolings, ten modules, global average pooling and the classifier. A
//! module concatenates four branches: 1×1; 1×1 and 3×3; 1×1 and two 3×3; 3×3 pooling and 1×1. Two
//! modules halve the image: they have no 1×1, stride 2 in the last 3×3 of both branches, and pass
//! the pooled channels through. Layers are named as in the table: `inception_3a.double_3x3_1`.
//!
//! The table's own output sizes of 4b to 4e (576, 576, 576, 1,024) contradict its filters, which
//! make 576, 608, 608 and 1,056; the filters count here, as in every published implementation.
//!
//! The paper on Net2Net (section 3) has variants of it: the width multiplies the channels of all
//! modules and not of the stem; a depth of 1 + n puts n pairs of a 3×1 and a 1×3 convolution on top
//! of every module. It also mentions such pairs within the modules of the network that it began
//! with, which is not published; [`super::Family::InceptionBnPairs`] has pairs in place of
//! the double branch's 3×3 convolutions.

use net2net_core::graph::{Graph, GraphError, ValueId};
use net2net_core::ops::{AveragePool, Concat, Window};

use super::{Family, ModelSpec, block};
use crate::data::ImageShape;

/// A row of the table.
struct Module {
    name: &'static str,
    /// Channels of the 1×1 branch; none in a module that halves the image.
    one: usize,
    three_reduce: usize,
    three: usize,
    double_reduce: usize,
    double: usize,
    pool: Pool,
}

/// The branch that pools.
#[derive(Clone, Copy)]
enum Pool {
    /// Average pooling and a 1×1 convolution of so many channels.
    Average(usize),
    /// Maximum pooling and a 1×1 convolution of so many channels.
    Max(usize),
    /// Maximum pooling that halves the image; so do the other branches.
    Through,
}

const fn module(name: &'static str, filters: [usize; 5], pool: Pool) -> Module {
    let [one, three_reduce, three, double_reduce, double] = filters;
    Module {
        name,
        one,
        three_reduce,
        three,
        double_reduce,
        double,
        pool,
    }
}

const MODULES: [Module; 10] = [
    module("3a", [64, 64, 64, 64, 96], Pool::Average(32)),
    module("3b", [64, 64, 96, 64, 96], Pool::Average(64)),
    module("3c", [0, 128, 160, 64, 96], Pool::Through),
    module("4a", [224, 64, 96, 96, 128], Pool::Average(128)),
    module("4b", [192, 96, 128, 96, 128], Pool::Average(128)),
    module("4c", [160, 128, 160, 128, 160], Pool::Average(128)),
    module("4d", [96, 128, 192, 160, 192], Pool::Average(128)),
    module("4e", [0, 128, 192, 192, 256], Pool::Through),
    module("5a", [352, 192, 320, 160, 224], Pool::Average(128)),
    module("5b", [352, 192, 320, 192, 224], Pool::Max(128)),
];

/// What the channels of the relative for small images are divided by.
const SMALL: usize = 4;

pub(super) fn build(
    spec: &ModelSpec,
    images: ImageShape,
    classes: usize,
) -> Result<Graph, GraphError> {
    let small = matches!(
        spec.family,
        Family::InceptionBnSmall | Family::InceptionBnSmallPairs
    );
    let name = if small {
        "inception-bn-small"
    } else {
        "inception-bn"
    };
    let (mut graph, x) = block::start(name, images)?;
    let mut x = match small {
        true => small_stem(&mut graph, x)?,
        false => stem(&mut graph, x)?,
    };
    let builder = Builder {
        spec,
        divisor: if small { SMALL } else { 1 },
    };
    for sizes in &MODULES {
        let name = format!("inception_{}", sizes.name);
        x = builder.module(&mut graph, &name, x, sizes)?;
        for pair in 1..spec.depth {
            x = block::pair(&mut graph, &format!("{name}.top_{pair}"), x, None)?;
        }
    }
    block::finish(graph, x, classes)
}

/// 224 × 224 to 28 × 28.
fn stem(graph: &mut Graph, x: ValueId) -> Result<ValueId, GraphError> {
    let x = block::unit(graph, "conv1", x, 64, 7, 2)?;
    let x = block::max_pool(graph, "pool1", x, 2)?;
    let x = block::unit(graph, "conv2_reduce", x, 64, 1, 1)?;
    let x = block::unit(graph, "conv2", x, 192, 3, 1)?;
    block::max_pool(graph, "pool2", x, 2)
}

/// 32 × 32 to 16 × 16: the strides that photographs need are left out.
fn small_stem(graph: &mut Graph, x: ValueId) -> Result<ValueId, GraphError> {
    let x = block::unit(graph, "conv1", x, 32, 3, 1)?;
    let x = block::unit(graph, "conv2", x, 48, 3, 1)?;
    block::max_pool(graph, "pool2", x, 2)
}

struct Builder<'a> {
    spec: &'a ModelSpec,
    divisor: usize,
}

impl Builder<'_> {
    fn channels(&self, base: usize) -> usize {
        self.spec.channels(base / self.divisor)
    }

    fn module(
        &self,
        graph: &mut Graph,
        name: &str,
        x: ValueId,
        sizes: &Module,
    ) -> Result<ValueId, GraphError> {
        let stride = match sizes.pool {
            Pool::Through => 2,
            _ => 1,
        };
        let mut branches = Vec::new();
        let unit = |graph: &mut Graph, part: &str, x, base, kernel, stride| {
            let part = format!("{name}.{part}");
            block::unit(graph, &part, x, self.channels(base), kernel, stride)
        };
        if sizes.one > 0 {
            branches.push(unit(graph, "1x1", x, sizes.one, 1, 1)?);
        }
        let three = unit(graph, "3x3_reduce", x, sizes.three_reduce, 1, 1)?;
        branches.push(unit(graph, "3x3", three, sizes.three, 3, stride)?);
        let mut double = unit(graph, "double_3x3_reduce", x, sizes.double_reduce, 1, 1)?;
        let pairs = matches!(
            self.spec.family,
            Family::InceptionBnPairs | Family::InceptionBnSmallPairs
        );
        double = match pairs {
            true => {
                let channels = Some(self.channels(sizes.double));
                block::pair(graph, &format!("{name}.double_3x3_1"), double, channels)?
            }
            false => unit(graph, "double_3x3_1", double, sizes.double, 3, 1)?,
        };
        branches.push(match (pairs, stride) {
            (true, 1) => block::pair(graph, &format!("{name}.double_3x3_2"), double, None)?,
            // What halves the image stays square.
            _ => unit(graph, "double_3x3_2", double, sizes.double, 3, stride)?,
        });
        let pooled = match sizes.pool {
            Pool::Average(_) => {
                let pool = AveragePool::new([3, 3], Window::same([3, 3]));
                graph.node(format!("{name}.pool"), pool, &[x])?
            }
            Pool::Max(_) | Pool::Through => {
                block::max_pool(graph, &format!("{name}.pool"), x, stride)?
            }
        };
        branches.push(match sizes.pool {
            Pool::Average(base) | Pool::Max(base) => unit(graph, "pool_proj", pooled, base, 1, 1)?,
            Pool::Through => pooled,
        });
        graph.node(format!("{name}.concat"), Concat::default(), &branches)
    }
}
