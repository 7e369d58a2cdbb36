//! What one kernel computes together is what the nodes compute one after the other.

use net2net_core::engine::evaluate;
use net2net_core::graph::Graph;
use net2net_kernels::Context;

use super::random_graph::{BATCH, inputs, random_weights, slices};

/// A convolution from `[N, 6, sizes]` to `[N, 6, result]` with its normalisation and rectifier, and
/// the same with a rectifier alone; both rectified values are the last outputs.
fn net(sizes: &str, weight: &str, attributes: &str, result: &str, bias: bool, all: bool) -> Graph {
    let shift = if bias { ", shift" } else { "" };
    let conv = format!("[N, 6, {result}] = Conv(x, w{shift}{attributes})");
    let inner = ["sum", "normed", "bare"].map(|name| format!("output {name}\n"));
    let text = format!(
        "graph g\ninput x [N, 6, {sizes}]\nparam w {weight}\nparam shift [6]\n\
         node sum {conv}\nparam scale [6]\nparam beta [6]\nparam mean [6]\nparam variance [6]\n\
         node normed [N, 6, {result}] = BatchNormalization(sum, scale, beta, mean, variance)\n\
         node cut [N, 6, {result}] = Relu(normed)\n\
         node bare {conv}\nnode bare_cut [N, 6, {result}] = Relu(bare)\n\
         {}output cut\noutput bare_cut\n",
        if all { inner.concat() } else { String::new() }
    );
    text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Values that are outputs are computed each by itself, so the two networks differ in nothing else.
#[test]
fn a_convolution_with_what_follows_it_is_the_same_as_each_by_itself() {
    let cases = [
        ("5, 4", "[6, 6, 3, 3]", "; pads=[1, 1, 1, 1]", "5, 4"),
        ("5, 4", "[6, 6, 1, 1]", "; strides=[2, 1]", "3, 4"),
        (
            "5, 4",
            "[6, 1, 3, 3]",
            "; group=6, pads=[1, 1, 1, 1]",
            "5, 4",
        ),
        ("5, 4", "[6, 3, 2, 2]", "; group=2", "4, 3"),
        ("7", "[6, 6, 3]", "", "5"),
        ("3, 2, 4", "[6, 6, 2, 1, 3]", "", "2, 2, 2"),
    ];
    for (sizes, weight, attributes, result) in cases {
        for bias in [false, true] {
            let graph = |all| net(sizes, weight, attributes, result, bias, all);
            let (apart, together) = (graph(true), graph(false));
            let weights = random_weights(&apart, 3);
            let x = inputs(&apart, BATCH, 4);
            let mut cx = Context::new(2).unwrap();
            let mut run = |graph| evaluate(&mut cx, graph, &weights, BATCH, &slices(&x)).unwrap();
            let (apart, together) = (run(&apart), run(&together));
            assert_eq!((apart.len(), together.len()), (5, 2));
            for (apart, together) in apart[3..].iter().zip(&together) {
                assert!(apart.iter().any(|y| *y > 0.0) && apart.contains(&0.0));
                for (a, b) in apart.iter().zip(together) {
                    assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} and {b}");
                }
            }
        }
    }
}
