//! A small network of depthwise and pointwise convolutions (Howard et al. 2017), for images of
//! about 32 pixels.

use net2net_core::graph::{Graph, GraphError, Shape, ValueId};
use net2net_core::ops::{BatchNorm, Conv, Flatten, Gemm, GlobalAveragePool, Relu, Window};
use net2net_lab::data::ImageShape;

const STEM: usize = 32;
/// Channels that go out of each block, and its stride.
const BLOCKS: [(usize, usize); 7] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
];

pub(super) fn build(images: ImageShape, classes: usize) -> Result<Graph, GraphError> {
    let mut graph = Graph::new("separable");
    let shape = Shape::batched(&[images.channels, images.height, images.width]);
    let x = graph.input("images", shape)?;
    let mut x = unit(&mut graph, "stem", x, [images.channels, STEM], 3, 1, 1)?;
    let mut channels = STEM;
    for (number, (wider, stride)) in (1..).zip(BLOCKS) {
        let name = format!("block{number}.depthwise");
        x = unit(&mut graph, &name, x, [1, channels], 3, stride, channels)?;
        let name = format!("block{number}.pointwise");
        x = unit(&mut graph, &name, x, [channels, wider], 1, 1, 1)?;
        channels = wider;
    }
    let x = graph.node("pool", GlobalAveragePool, &[x])?;
    let x = graph.node("features", Flatten, &[x])?;
    let weight = graph.parameter("logits.weight", &[classes, channels])?;
    let bias = graph.parameter("logits.bias", &[classes])?;
    let logits = graph.node("logits", Gemm::default(), &[x, weight, bias])?;
    graph.output(logits);
    Ok(graph)
}

/// Convolution, batch normalisation and rectifier.
fn unit(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    [inputs, outputs]: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
) -> Result<ValueId, GraphError> {
    let sizes = [outputs, inputs, kernel, kernel];
    let weight = graph.parameter(format!("{name}.conv.weight"), &sizes)?;
    let conv = Conv {
        groups,
        window: Window::same([kernel, kernel]).stride(stride),
    };
    let x = graph.node(format!("{name}.conv"), conv, &[x, weight])?;
    let mut norm = vec![x];
    for suffix in ["weight", "bias", "running_mean", "running_var"] {
        norm.push(graph.parameter(format!("{name}.norm.{suffix}"), &[outputs])?);
    }
    let x = graph.node(format!("{name}.norm"), BatchNorm::default(), &norm)?;
    graph.node(format!("{name}.relu"), Relu, &[x])
}
