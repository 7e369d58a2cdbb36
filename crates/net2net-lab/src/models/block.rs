//! The pieces that architectures are made of.

use net2net_core::graph::{Graph, GraphError, Shape, ValueId};
use net2net_core::ops::{BatchNorm, Conv, Flatten, Gemm, GlobalAveragePool, MaxPool, Relu, Window};

use crate::data::ImageShape;

/// A graph of images with its input.
pub(super) fn start(name: &str, images: ImageShape) -> Result<(Graph, ValueId), GraphError> {
    let mut graph = Graph::new(name);
    let shape = Shape::batched(&[images.channels, images.height, images.width]);
    let x = graph.input("images", shape)?;
    Ok((graph, x))
}

fn channels_of(graph: &Graph, x: ValueId) -> usize {
    graph.get(x).shape.at(1)[1]
}

/// `name.conv`: a convolution without bias, of the same output size at stride 1.
pub(super) fn conv(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    channels: usize,
    kernel: usize,
    stride: usize,
) -> Result<ValueId, GraphError> {
    shaped_conv(graph, name, x, channels, [kernel, kernel], stride)
}

/// [`conv`] with a filter of any odd height and width.
fn shaped_conv(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    channels: usize,
    kernel: [usize; 2],
    stride: usize,
) -> Result<ValueId, GraphError> {
    let sizes = [channels, channels_of(graph, x), kernel[0], kernel[1]];
    let weight = graph.parameter(format!("{name}.conv.weight"), &sizes)?;
    let window = Window::same(kernel).stride(stride);
    graph.node(format!("{name}.conv"), Conv::new(window), &[x, weight])
}

/// `name.norm`: batch normalisation.
pub(super) fn norm(graph: &mut Graph, name: &str, x: ValueId) -> Result<ValueId, GraphError> {
    let channels = [channels_of(graph, x)];
    let mut inputs = vec![x];
    for suffix in ["weight", "bias", "running_mean", "running_var"] {
        inputs.push(graph.parameter(format!("{name}.norm.{suffix}"), &channels)?);
    }
    graph.node(format!("{name}.norm"), BatchNorm::default(), &inputs)
}

/// `name.relu`
pub(super) fn relu(graph: &mut Graph, name: &str, x: ValueId) -> Result<ValueId, GraphError> {
    graph.node(format!("{name}.relu"), Relu, &[x])
}

/// Convolution, batch normalisation and rectifier.
pub(super) fn unit(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    channels: usize,
    kernel: usize,
    stride: usize,
) -> Result<ValueId, GraphError> {
    let x = conv(graph, name, x, channels, kernel, stride)?;
    let x = norm(graph, name, x)?;
    relu(graph, name, x)
}

/// A unit with a vertical 3×1 filter, `name_vertical`, and one with a horizontal 1×3 filter,
/// `name_horizontal`; of as many channels as they read, unless others are given.
pub(super) fn pair(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    channels: Option<usize>,
) -> Result<ValueId, GraphError> {
    let channels = channels.unwrap_or(channels_of(graph, x));
    let mut x = x;
    for (direction, kernel) in [("vertical", [3, 1]), ("horizontal", [1, 3])] {
        let name = format!("{name}_{direction}");
        x = shaped_conv(graph, &name, x, channels, kernel, 1)?;
        x = norm(graph, &name, x)?;
        x = relu(graph, &name, x)?;
    }
    Ok(x)
}

/// 3×3 max pooling that halves the image, or keeps its size at stride 1.
pub(super) fn max_pool(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    stride: usize,
) -> Result<ValueId, GraphError> {
    let window = Window::same([3, 3]).stride(stride);
    graph.node(name, MaxPool::new([3, 3], window), &[x])
}

/// A linear layer with bias, `name.weight` and `name.bias`.
pub(super) fn linear(
    graph: &mut Graph,
    name: &str,
    x: ValueId,
    outputs: usize,
) -> Result<ValueId, GraphError> {
    let weight = graph.parameter(format!("{name}.weight"), &[outputs, channels_of(graph, x)])?;
    let bias = graph.parameter(format!("{name}.bias"), &[outputs])?;
    graph.node(name, Gemm::default(), &[x, weight, bias])
}

/// Global average pooling and the classifier.
pub(super) fn finish(mut graph: Graph, x: ValueId, classes: usize) -> Result<Graph, GraphError> {
    let x = graph.node("pool", GlobalAveragePool, &[x])?;
    let x = graph.node("features", Flatten, &[x])?;
    classify(graph, x, classes)
}

/// The classifier alone.
pub(super) fn classify(mut graph: Graph, x: ValueId, classes: usize) -> Result<Graph, GraphError> {
    let logits = linear(&mut graph, "logits", x, classes)?;
    graph.output(logits);
    Ok(graph)
}
