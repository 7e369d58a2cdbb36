//! Operators that move elements.

use net2net_core::graph::ValueId;
use net2net_core::ops::{
    Add, Concat, Coordinates, DepthOrder, DepthToSpace, Expand, Flatten, Gather, GlobalAveragePool,
    Interpolation, Op, Pad, PadMode, Reshape, Resize, Slice, SpaceToDepth, Split, Take, Tanh, Tile,
    Transpose,
};

use super::{Build, Builder, unary};

fn pad(pads: [i64; 8], mode: PadMode, value: f64) -> Build {
    unary(Pad {
        pads: pads.to_vec(),
        mode,
        value,
    })
}

fn resize(sizes: [usize; 2], mode: Interpolation, coordinates: Coordinates) -> Build {
    unary(Resize {
        sizes: sizes.to_vec(),
        mode,
        coordinates,
        ..Resize::default()
    })
}

fn slice(axes: &[usize], starts: &[i64], ends: &[i64], steps: &[i64]) -> Build {
    unary(Slice {
        axes: axes.to_vec(),
        starts: starts.to_vec(),
        ends: ends.to_vec(),
        steps: steps.to_vec(),
    })
}

fn split(b: &mut Builder, x: ValueId, axis: usize, sizes: &[usize]) -> Vec<ValueId> {
    let split = Split {
        axis,
        sizes: sizes.to_vec(),
    };
    let name = |i| format!("s{}.{i}", b.graph.values().len());
    let names: Vec<String> = (0..sizes.len()).map(name).collect();
    b.graph
        .node_with_outputs(&names, Op::from(split), &[x])
        .unwrap()
}

/// What reads `x [N, 4, 4, 3]`.
pub(super) fn cases() -> Vec<(&'static str, Build)> {
    let take = |axis, indices: &[i64], keep| {
        unary(Take {
            axis,
            indices: indices.to_vec(),
            keep,
        })
    };
    let depth = |order| {
        unary(DepthToSpace {
            blocksize: 2,
            order,
        })
    };
    let (linear, cubic) = (Interpolation::Linear, Interpolation::Cubic);
    vec![
        (
            "transpose",
            unary(Transpose {
                perm: vec![0, 3, 1, 2],
            }),
        ),
        ("slice", slice(&[1, 3], &[1, -2], &[3, i64::MAX], &[1, 1])),
        (
            "slice by steps",
            slice(&[2, 3, 1], &[-1, 0, 0], &[i64::MIN, 9, 2], &[-2, 2, 1]),
        ),
        (
            "split",
            Box::new(|b, x| {
                let parts = split(b, x, 1, &[1, 2, 1]);
                let y = b.node(Tanh, &[parts[2]]);
                let y = b.node(Add, &[y, parts[0]]);
                b.node(Concat::default(), &[y, parts[1], y])
            }),
        ),
        (
            "split with parts that nobody reads",
            Box::new(|b, x| {
                let x = b.node(Tanh, &[x]);
                let parts = split(b, x, 2, &[1, 2, 1]);
                b.node(Tanh, &[parts[1]])
            }),
        ),
        ("take a few", take(1, &[3, 0, -1, 1], true)),
        ("take a row", take(2, &[-2], false)),
        ("take neighbours", take(1, &[1, 2], true)),
        ("pad", pad([0, 1, 0, 2, 0, 2, 1, 0], PadMode::Constant, 0.5)),
        (
            "pad and crop",
            pad([0, -1, 1, -1, 0, 2, -2, 0], PadMode::Constant, 0.0),
        ),
        (
            "pad by reflection",
            pad([0, 0, 3, 1, 0, 0, 2, 2], PadMode::Reflect, 0.0),
        ),
        (
            "pad by the edge",
            pad([0, 0, 5, 0, 0, 1, 0, 2], PadMode::Edge, 0.0),
        ),
        (
            "expand",
            Box::new(|b, x| {
                let y = b.node(GlobalAveragePool, &[x]);
                let y = b.node(Tanh, &[y]);
                b.node(
                    Expand {
                        shape: vec![4, 2, 3],
                    },
                    &[y],
                )
            }),
        ),
        (
            "expand a parameter to the batch",
            Box::new(|b, x| {
                let p = b.parameter(&[4, 1]);
                let p = b.node(
                    Expand {
                        shape: vec![0, 4, 1, 3],
                    },
                    &[p],
                );
                b.node(Concat { axis: 2 }, &[p, x])
            }),
        ),
        (
            "tile",
            unary(Tile {
                repeats: vec![1, 2, 1, 3],
            }),
        ),
        (
            "gather rows of a table",
            Box::new(|b, x| {
                let x = b.node(GlobalAveragePool, &[x]);
                let x = b.node(Flatten, &[x]);
                let table = b.parameter(&[5, 2]);
                let y = b.node(Gather { axis: 0 }, &[table, x]);
                let x = b.node(Reshape { sizes: vec![4, 1] }, &[x]);
                b.node(Add, &[y, x])
            }),
        ),
        (
            "gather along an inner axis",
            Box::new(|b, x| {
                let indices = b.parameter(&[3, 2]);
                b.node(Gather { axis: 2 }, &[x, indices])
            }),
        ),
        ("depth to space", depth(DepthOrder::BlockFirst)),
        (
            "depth to space, channels first",
            depth(DepthOrder::ChannelFirst),
        ),
        (
            "space to depth",
            Box::new(|b, x| {
                let y = slice(&[3], &[0], &[2], &[1])(b, x);
                b.node(SpaceToDepth { blocksize: 2 }, &[y])
            }),
        ),
        (
            "resize to the nearest",
            resize([7, 2], Interpolation::Nearest, Coordinates::HalfPixel),
        ),
        ("resize", resize([7, 2], linear, Coordinates::HalfPixel)),
        (
            "resize one axis",
            unary(Resize {
                scales: vec![1.0, 2.5],
                mode: linear,
                coordinates: Coordinates::Asymmetric,
                ..Resize::default()
            }),
        ),
        (
            "resize by cubics",
            resize([3, 7], cubic, Coordinates::AlignCorners),
        ),
    ]
}
