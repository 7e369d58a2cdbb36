//! Layers on top of concatenations, and pairs of a vertical and a horizontal filter.

use net2net_core::graph::Graph;
use net2net_core::ops::Op;
use net2net_core::request::{Request, request};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_kernels::Context;

use super::random_graph::{BATCH, inputs, random_weights, slices};

/// Two branches, one of them pooled, and a third that may be negative.
const MODULE: &str = "graph module
input x [N, 2, 4, 4]
param a.weight [3, 2, 3, 3]
node a [N, 3, 4, 4] = Conv(x, a.weight; pads=[1,1,1,1])
param norm.scale [3]
param norm.shift [3]
param norm.mean [3]
param norm.variance [3]
node a_norm [N, 3, 4, 4] = BatchNormalization(a, norm.scale, norm.shift, norm.mean, norm.variance)
node a_act [N, 3, 4, 4] = Relu(a_norm)
node a_pool [N, 3, 4, 4] = MaxPool(a_act; kernel_shape=[3,3], pads=[1,1,1,1])
node both [N, 6, 4, 4] = Concat(a_act, a_pool; axis=1)
param b.weight [2, 6, 1, 1]
node b [N, 2, 4, 4] = Conv(both, b.weight)
node mixed [N, 8, 4, 4] = Concat(both, b; axis=1)
output mixed
";

fn grown(wanted: &Request) -> Result<(Graph, Graph), String> {
    let graph: Graph = MODULE.parse().unwrap();
    let weights = random_weights(&graph, 2);
    let x = inputs(&graph, BATCH, 2);
    let mut cx = Context::new(1).unwrap();
    let (_, growth) = request(&mut cx, &graph, &weights, wanted, 5, BATCH, &slices(&x))
        .map_err(|error| error.to_string())?;
    let new = growth.weights(&weights).unwrap();
    let (old, new) = ((&graph, &weights), (growth.graph(), &new));
    let evidence = compare(&mut cx, old, new, BATCH, &slices(&x)).unwrap();
    assert!(
        evidence
            .iter()
            .all(|e| e.max_rel < TOLERANCE && e.scale > 0.0)
    );
    let larger = growth.graph().clone();
    Ok((graph, larger))
}

/// The filters of a graph's convolutions in the order of the computation.
fn filters(graph: &Graph) -> Vec<Vec<usize>> {
    let convolutions = graph
        .nodes()
        .iter()
        .filter(|node| matches!(node.op, Op::Conv(_)));
    convolutions
        .map(|node| graph.get(node.inputs[1]).shape.at(1)[2..].to_vec())
        .collect()
}

#[test]
fn pairs_stand_on_top_of_a_concatenation_in_their_order() {
    let wanted = Request {
        on_top: vec!["both".to_owned()],
        pairs: Some(2),
        ..Request::default()
    };
    let (_, graph) = grown(&wanted).unwrap();
    let (vertical, horizontal) = (vec![3, 1], vec![1, 3]);
    let expected = [
        vec![3, 3],
        vertical.clone(),
        horizontal.clone(),
        vertical,
        horizontal,
        vec![1, 1],
    ];
    assert_eq!(filters(&graph), expected);
    let norms = graph
        .nodes()
        .iter()
        .filter(|node| matches!(node.op, Op::BatchNorm(_)));
    assert_eq!(norms.count(), 5, "each layer has its batch normalisation");
    let rectifiers = graph
        .nodes()
        .iter()
        .filter(|node| matches!(node.op, Op::Relu(_)));
    assert_eq!(rectifiers.count(), 5, "and its rectifier");
}

#[test]
fn pairs_follow_layers_and_a_single_layer_can_stand_on_top() {
    let wanted = Request {
        deepen: vec!["a".to_owned()],
        pairs: Some(1),
        kernel: Some(5),
        widen: Some(1.5),
        ..Request::default()
    };
    let (_, graph) = grown(&wanted).unwrap();
    assert_eq!(
        filters(&graph),
        [vec![3, 3], vec![5, 1], vec![1, 5], vec![1, 1]]
    );
    let wanted = Request {
        on_top: vec!["*".to_owned()],
        ..Request::default()
    };
    let (_, graph) = grown(&wanted).unwrap();
    assert_eq!(filters(&graph), [vec![3, 3], vec![3, 3], vec![1, 1]]);
}

#[test]
fn what_may_be_negative_has_no_layer_on_top() {
    let wanted = Request {
        on_top: vec!["mixed".to_owned()],
        ..Request::default()
    };
    let why = grown(&wanted).unwrap_err();
    assert!(
        why.contains("no concatenation of rectified values"),
        "{why}"
    );
    let wanted = Request {
        deepen: vec!["a".to_owned()],
        pairs: Some(0),
        ..Request::default()
    };
    let why = grown(&wanted).unwrap_err();
    assert!(why.contains("between 1 and 64"), "{why}");
}
