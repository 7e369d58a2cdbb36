//! Cases: normalisation by sample, products of matrices, convolutions of other ranks, and pools.

use net2net_core::graph::ValueId;
use net2net_core::ops::{
    AveragePool, Conv, ConvTranspose, Gemm, GlobalAveragePool, GroupNorm, InstanceNorm, LayerNorm,
    Lrn, MatMul, MaxPool, Op, Reshape, RmsNorm, Tanh, Window,
};

use super::{Build, Builder, unary};

fn norm(op: impl Into<Op>, sizes: &'static [usize], parameters: usize) -> Build {
    let op = op.into();
    Box::new(move |b, x| {
        let mut inputs = vec![x];
        inputs.extend((0..parameters).map(|_| b.parameter(sizes)));
        b.node(op.clone(), &inputs)
    })
}

/// An operator on a value of another shape, and its parameters.
fn shaped(
    sizes: &'static [usize],
    op: impl Into<Op>,
    parameters: &'static [&'static [usize]],
) -> Build {
    let op = op.into();
    Box::new(move |b, x| {
        let sizes = sizes.to_vec();
        let mut inputs = vec![b.node(Reshape { sizes }, &[x])];
        inputs.extend(parameters.iter().map(|sizes| b.parameter(sizes)));
        b.node(op.clone(), &inputs)
    })
}

fn signal(strides: usize, pads: [usize; 2], dilations: usize) -> Window {
    Window::default()
        .with_strides([strides])
        .with_pads(pads)
        .with_dilations([dilations])
}

fn volume() -> Window {
    Window::default()
        .with_strides([1, 2, 1])
        .with_pads([1, 0, 1, 0, 1, 0])
}

fn features(b: &mut Builder, x: ValueId) -> ValueId {
    b.node(Reshape { sizes: vec![48] }, &[x])
}

pub(super) fn cases() -> Vec<(&'static str, Build)> {
    let mut all = norms();
    all.extend(products());
    all.extend(convolutions());
    all.extend(pools());
    all
}

fn norms() -> Vec<(&'static str, Build)> {
    let (epsilon, last) = (1e-2, -1);
    let group = |num_groups| GroupNorm {
        num_groups,
        epsilon,
    };
    let lrn = |size| Lrn {
        size,
        alpha: 0.7,
        beta: 0.75,
        bias: 1.5,
    };
    vec![
        (
            "layer norm",
            norm(
                LayerNorm {
                    axis: last,
                    epsilon,
                },
                &[3],
                2,
            ),
        ),
        (
            "layer norm of all",
            norm(LayerNorm { axis: 1, epsilon }, &[4, 4, 3], 1),
        ),
        ("rms norm", norm(RmsNorm { axis: -2, epsilon }, &[4, 3], 1)),
        ("group norm", norm(group(2), &[4], 2)),
        ("group norm of one", norm(group(1), &[4], 2)),
        ("instance norm", norm(InstanceNorm { epsilon }, &[4], 2)),
        ("local response", unary(lrn(3))),
        ("local response, even", unary(lrn(2))),
    ]
}

fn products() -> Vec<(&'static str, Build)> {
    let gemm = |transposed| Gemm {
        transposed,
        alpha: 0.5,
        beta: -2.0,
    };
    vec![
        ("matmul of a layer", shaped(&[8, 6], MatMul, &[&[6, 5]])),
        (
            "matmul of a stack",
            shaped(&[4, 4, 3], MatMul, &[&[4, 3, 2]]),
        ),
        ("matmul by a vector", shaped(&[8, 6], MatMul, &[&[6]])),
        (
            "matmul from the left",
            Box::new(|b, x| {
                let w = b.parameter(&[2, 1, 5, 4]);
                let x = b.node(
                    Reshape {
                        sizes: vec![1, 4, 4, 3],
                    },
                    &[x],
                );
                b.node(MatMul, &[w, x])
            }),
        ),
        (
            "matmul of two",
            Box::new(|b, x| {
                let y = b.node(Tanh, &[x]);
                let y = b.node(
                    Reshape {
                        sizes: vec![4, 3, 4],
                    },
                    &[y],
                );
                b.node(MatMul, &[x, y])
            }),
        ),
        (
            "gemm with factors",
            Box::new(move |b, x| {
                let x = features(b, x);
                let (w, bias) = (b.parameter(&[48, 5]), b.parameter(&[1, 5]));
                b.node(gemm(false), &[x, w, bias])
            }),
        ),
        (
            "gemm with factors, transposed",
            Box::new(move |b, x| {
                let x = features(b, x);
                let (w, bias) = (b.parameter(&[5, 48]), b.parameter(&[5]));
                b.node(gemm(true), &[x, w, bias])
            }),
        ),
    ]
}

fn convolutions() -> Vec<(&'static str, Build)> {
    let conv = |groups, window| Conv { groups, window };
    let spread = |groups, window: Window, output_padding: &[usize]| ConvTranspose {
        groups,
        window,
        output_padding: output_padding.to_vec(),
    };
    let odd = Window::default()
        .with_strides([2, 1])
        .with_pads([1, 0, 0, 1])
        .with_dilations([1, 2]);
    vec![
        (
            "conv of signals",
            shaped(&[4, 12], conv(2, signal(2, [1, 2], 2)), &[&[6, 2, 3], &[6]]),
        ),
        (
            "conv of volumes",
            shaped(&[2, 3, 4, 2], conv(1, volume()), &[&[3, 2, 2, 3, 1], &[3]]),
        ),
        (
            "conv of volumes, depthwise",
            shaped(
                &[4, 3, 2, 2],
                conv(4, Window::same([3, 1, 3])),
                &[&[4, 1, 3, 1, 3]],
            ),
        ),
        (
            "transposed",
            norm(spread(1, odd.clone(), &[1, 0]), &[4, 3, 2, 2], 1),
        ),
        (
            "transposed, groups",
            shaped(&[4, 4, 3], spread(2, odd, &[]), &[&[4, 3, 3, 2], &[6]]),
        ),
        (
            "transposed, depthwise",
            shaped(
                &[4, 4, 3],
                spread(4, Window::default(), &[]),
                &[&[4, 1, 2, 2], &[4]],
            ),
        ),
        (
            "transposed signals",
            shaped(
                &[4, 12],
                spread(1, signal(2, [1, 0], 1), &[1]),
                &[&[4, 3, 3], &[3]],
            ),
        ),
        (
            "transposed volumes",
            shaped(
                &[2, 3, 4, 2],
                spread(1, volume(), &[0, 1, 0]),
                &[&[2, 3, 2, 3, 1]],
            ),
        ),
    ]
}

fn pools() -> Vec<(&'static str, Build)> {
    let max = |kernel: &[usize], window, ceil_mode| MaxPool {
        ceil_mode,
        ..MaxPool::new(kernel, window)
    };
    let mean = |kernel: &[usize], window, count_include_pad| AveragePool {
        count_include_pad,
        ceil_mode: true,
        ..AveragePool::new(kernel, window)
    };
    let deep = || volume().with_pads([1, 0, 0, 0, 1, 0]);
    let dilated = Window::default()
        .with_dilations([2, 1])
        .with_pads([1, 1, 0, 0]);
    vec![
        (
            "max pool, ceil",
            unary(max(&[3, 2], Window::default().stride(2), true)),
        ),
        (
            "max pool of signals",
            shaped(&[4, 12], max(&[3], signal(2, [1, 0], 1), false), &[]),
        ),
        (
            "max pool of volumes",
            shaped(&[2, 3, 4, 2], max(&[2, 3, 1], deep(), true), &[]),
        ),
        (
            "average pool, dilated",
            unary(mean(&[2, 2], dilated.clone(), true)),
        ),
        (
            "average pool, dilated, without",
            unary(mean(&[2, 2], dilated.stride(2), false)),
        ),
        (
            "average pool of signals",
            shaped(&[4, 12], mean(&[3], signal(2, [1, 1], 1), true), &[]),
        ),
        (
            "average pool of volumes",
            shaped(&[2, 3, 4, 2], mean(&[2, 3, 1], deep(), true), &[]),
        ),
        (
            "global pool of volumes",
            shaped(&[2, 3, 4, 2], GlobalAveragePool, &[]),
        ),
    ]
}
