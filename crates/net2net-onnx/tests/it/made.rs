//! Documents of graphs that never were ONNX: read again they are the same network.

use net2net_core::engine::evaluate;
use net2net_core::graph::{Graph, Shape};
use net2net_core::ops::*;
use net2net_core::verify::compare;
use net2net_core::weights::{Weights, initialize};
use net2net_kernels::Context;
use net2net_onnx::{Document, Imported};

/// Writes a graph, reads it again, and compares what both compute.
fn check(graph: &Graph) {
    let weights: Weights<f64> = initialize(graph, 7);
    let document = Document::from_graph(graph, &weights).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.onnx");
    document.save(&path).unwrap();
    let read = Document::open(&path).unwrap();
    let imported = Imported::read(&read).unwrap();
    assert!(imported.opaque.is_empty(), "{:?}", imported.opaque);
    let again: Weights<f64> = imported.weights(&read).unwrap();
    let mut cx = Context::new(1).unwrap();
    let size = graph.get(graph.inputs()[0]).shape.elements(3);
    let inputs: Vec<f64> = (0..size)
        .map(|i| ((i * 37 % 101) as f64 - 50.0) / 25.0)
        .collect();
    let (old, new) = ((graph, &weights), (&imported.graph, &again));
    let found = compare(&mut cx, old, new, 3, &[&inputs]).unwrap();
    // Weights are rounded to f32 in the file.
    assert!(found.iter().all(|e| e.max_rel < 1e-5), "{found:?}");
    let outputs = evaluate(&mut cx, graph, &weights, 3, &[&inputs[..]]).unwrap();
    assert!(outputs[0].iter().any(|x| *x != 0.0));
}

#[test]
fn operators_with_constant_inputs_come_back() {
    let mut graph = Graph::new("moves");
    let x = graph.input("x", Shape::batched(&[4, 6, 6])).unwrap();
    let w = graph.parameter("conv.weight", &[8, 4, 3, 3]).unwrap();
    let window = Window::same([3, 3]);
    let x = graph.node("conv", Conv::new(window), &[x, w]).unwrap();
    let slope = graph.parameter("slope", &[8]).unwrap();
    let x = graph.node("prelu", PRelu, &[x, slope]).unwrap();
    let pads = vec![0, 0, 1, 1, 0, 0, 1, 1];
    let pad = Pad {
        pads,
        mode: PadMode::Constant,
        value: 0.25,
    };
    let x = graph.node("pad", pad, &[x]).unwrap();
    let slice = Slice {
        axes: vec![2, 3],
        starts: vec![1, 0],
        ends: vec![7, 6],
        steps: vec![1, 1],
    };
    let x = graph.node("slice", slice, &[x]).unwrap();
    let x = graph.node("silu", Silu, &[x]).unwrap();
    let names = ["left".to_owned(), "right".to_owned()];
    let split = Split {
        axis: 1,
        sizes: vec![3, 5],
    };
    let parts = graph.node_with_outputs(&names, split.into(), &[x]).unwrap();
    let x = graph
        .node("joined", Concat::default(), &[parts[1], parts[0]])
        .unwrap();
    let reduce = ReduceMean {
        axes: vec![3],
        keepdims: false,
    };
    let x = graph.node("mean", reduce, &[x]).unwrap();
    let tile = Tile {
        repeats: vec![1, 1, 2],
    };
    let x = graph.node("tile", tile, &[x]).unwrap();
    let x = graph
        .node("reshape", Reshape { sizes: vec![96] }, &[x])
        .unwrap();
    let take = Take {
        axis: 1,
        indices: vec![5, 0, 17, -1],
        keep: true,
    };
    let x = graph.node("take", take, &[x]).unwrap();
    let greater = graph.node("greater", Greater, &[x, x]).unwrap();
    let x = graph.node("where", Where, &[greater, x, x]).unwrap();
    let drop = Dropout { rate: 0.3 };
    let x = graph.node("drop", drop, &[x]).unwrap();
    graph.output(x);
    check(&graph);
}
