//! Every operator's backward pass against central finite differences, in f64 and training mode.

mod families;
mod further;
mod moves;
mod sequences;

use std::collections::BTreeSet;

use net2net_core::engine::{OptimizerState, Trainer};
use net2net_core::graph::{Graph, Shape, ValueId};
use net2net_core::ops::{
    Add, AveragePool, BatchNorm, Concat, Conv, Dropout, Flatten, Gelu, Gemm, GlobalAveragePool,
    Identity, LeakyRelu, MaxPool, Mul, OPERATORS, Op, PRelu, Relu, Reshape, Sigmoid, Silu, Softmax,
    Tanh, Window,
};
use net2net_core::weights::Weights;

use super::parting::{LABELS, options};
use super::random_graph::{BATCH, inputs, operators, random_weights};

/// Half the distance of the two points of a central difference.
const STEP: f64 = 1e-6;

struct Builder {
    graph: Graph,
}

impl Builder {
    fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let name = format!("n{}", self.graph.values().len());
        self.graph.node(name, op, inputs).unwrap()
    }

    fn parameter(&mut self, sizes: &[usize]) -> ValueId {
        let name = format!("p{}", self.graph.values().len());
        self.graph.parameter(name, sizes).unwrap()
    }

    fn norm(&mut self, x: ValueId) -> ValueId {
        let c = self.graph.get(x).shape.at(1)[1];
        let p = [0; 4].map(|_| self.parameter(&[c]));
        self.node(BatchNorm::default(), &[x, p[0], p[1], p[2], p[3]])
    }
}

/// Loss and gradients at given weights.
fn gradients(graph: &Graph, weights: &Weights<f64>, x: &[f64]) -> (f64, Weights<f64>) {
    let state = OptimizerState::default();
    let mut trainer = Trainer::new(graph, weights, &state, options(0.0)).unwrap();
    trainer.gradients_by_name(x, &LABELS).unwrap()
}

fn differences_agree(what: &str, graph: &Graph, seed: u64) {
    let weights = random_weights(graph, seed);
    let x = &inputs(graph, BATCH, seed)[0];
    let (_, found) = gradients(graph, &weights, x);
    let roles = graph.parameter_roles();
    let all = found.iter().flat_map(|(_, tensor)| tensor.data());
    let scale = all.fold(0.0, |m: f64, g| m.max(g.abs()));
    assert!(scale > 1e-3, "{what}: no gradient to speak of");
    for (name, tensor) in found.iter() {
        let trained = roles[&graph.find(name).unwrap()].is_trained();
        for (at, analytic) in tensor.data().iter().enumerate() {
            let loss = |by: f64| {
                let mut moved = weights.clone();
                moved.get_mut(name).unwrap().data_mut()[at] += by;
                gradients(graph, &moved, x).0
            };
            let numeric = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
            // Differences carry the loss's rounding over the step, hence the floor.
            let tolerance = 1e-5 * numeric.abs().max(analytic.abs()) + 2e-9 * scale.max(1.0);
            let expected = if trained { *analytic } else { 0.0 };
            assert!(
                (numeric - expected).abs() < tolerance,
                "{what}: {name}[{at}]: {analytic} is not {numeric}"
            );
        }
    }
}

/// A convolution whose output `build` reads, and a classifier that reads what it returns.
fn around(build: &dyn Fn(&mut Builder, ValueId) -> ValueId) -> Graph {
    let mut b = Builder {
        graph: Graph::new("g"),
    };
    let x = b.graph.input("x", Shape::batched(&[2, 4, 3])).unwrap();
    let (weight, bias) = (b.parameter(&[4, 2, 1, 1]), b.parameter(&[4]));
    let y = b.node(Conv::new(Window::default()), &[x, weight, bias]);
    let y = build(&mut b, y);
    let y = if b.graph.get(y).shape.rank() > 2 {
        b.node(Flatten, &[y])
    } else {
        y
    };
    let features = b.graph.get(y).shape.at(1)[1];
    let weight = b.parameter(&[features, 3]);
    let y = b.node(Gemm::new(false), &[y, weight]);
    b.graph.output(y);
    b.graph
}

type Build = Box<dyn Fn(&mut Builder, ValueId) -> ValueId>;

fn conv(sizes: [usize; 4], groups: usize, window: Window, bias: bool) -> Build {
    Box::new(move |b, x| {
        let mut inputs = vec![x, b.parameter(&sizes)];
        if bias {
            inputs.push(b.parameter(&sizes[..1]));
        }
        b.node(
            Conv {
                groups,
                window: window.clone(),
            },
            &inputs,
        )
    })
}

fn unary<O: Into<Op> + Clone + 'static>(op: O) -> Build {
    Box::new(move |b, x| b.node(op.clone(), &[x]))
}

fn with_parameter<O: Into<Op> + Clone + 'static>(
    op: O,
    sizes: &'static [usize],
    first: bool,
) -> Build {
    Box::new(move |b, x| {
        let p = b.parameter(sizes);
        b.node(op.clone(), &if first { [p, x] } else { [x, p] })
    })
}

fn cases() -> Vec<(&'static str, Build)> {
    let window = Window::default;
    let pads = |pads: [usize; 4]| Window::default().with_pads(pads);
    let flat = |b: &mut Builder, x| b.node(Flatten, &[x]);
    vec![
        ("conv 3", conv([3, 4, 3, 3], 1, Window::same([3, 3]), true)),
        (
            "conv 2, asymmetric",
            conv([3, 4, 2, 2], 1, pads([1, 0, 0, 2]), false),
        ),
        (
            "conv, stride 2",
            conv([3, 4, 3, 2], 1, pads([1, 1, 0, 1]).stride(2), true),
        ),
        (
            "conv, strides and dilations",
            conv(
                [2, 4, 2, 2],
                1,
                pads([1; 4]).with_strides([1, 2]).with_dilations([2, 3]),
                true,
            ),
        ),
        (
            "conv, groups",
            conv([6, 2, 3, 3], 2, Window::same([3, 3]), true),
        ),
        (
            "conv, depthwise",
            conv([4, 1, 3, 3], 4, Window::same([3, 3]), false),
        ),
        (
            "conv, depthwise, two each",
            conv([8, 1, 2, 2], 4, window(), true),
        ),
        (
            "gemm",
            Box::new(move |b, x| {
                let x = flat(b, x);
                let (w, bias) = (b.parameter(&[5, 48]), b.parameter(&[5]));
                b.node(Gemm::new(true), &[x, w, bias])
            }),
        ),
        ("batch norm", Box::new(|b, x| b.norm(x))),
        (
            "batch norm and rectifier",
            Box::new(|b, x| {
                let y = b.norm(x);
                b.node(Relu, &[y])
            }),
        ),
        (
            "batch norm of features",
            Box::new(move |b, x| {
                let x = b.node(GlobalAveragePool, &[x]);
                let x = flat(b, x);
                b.norm(x)
            }),
        ),
        ("relu", unary(Relu)),
        ("leaky relu", unary(LeakyRelu { alpha: 0.3 })),
        ("prelu", with_parameter(PRelu, &[4], false)),
        ("sigmoid", unary(Sigmoid)),
        ("tanh", unary(Tanh)),
        ("gelu", unary(Gelu { tanh: false })),
        ("gelu by tanh", unary(Gelu { tanh: true })),
        ("silu", unary(Silu)),
        ("identity", unary(Identity)),
        ("dropout", unary(Dropout { rate: 0.4 })),
        ("softmax of pixels", unary(Softmax::default())),
        (
            "softmax of features",
            Box::new(move |b, x| {
                let x = b.node(GlobalAveragePool, &[x]);
                let x = flat(b, x);
                b.node(Softmax::default(), &[x])
            }),
        ),
        (
            "max pool",
            unary(MaxPool::new([2, 2], pads([1, 0, 0, 1]).stride(2))),
        ),
        (
            "max pool, overlapping",
            unary(MaxPool::new([3, 2], pads([1, 0, 1, 0]))),
        ),
        (
            "average pool with padding",
            unary(AveragePool {
                count_include_pad: true,
                ..AveragePool::new([3, 2], pads([1; 4]))
            }),
        ),
        (
            "average pool without",
            unary(AveragePool::new([2, 2], pads([1, 0, 1, 1]).stride(2))),
        ),
        ("global pool", unary(GlobalAveragePool)),
        (
            "reshape",
            Box::new(|b, x| {
                let x = b.node(
                    Reshape {
                        sizes: vec![2, 2, 4, 3],
                    },
                    &[x],
                );
                let x = b.node(Tanh, &[x]);
                b.node(
                    Reshape {
                        sizes: vec![4, 4, 3],
                    },
                    &[x],
                )
            }),
        ),
        ("add to itself", Box::new(|b, x| b.node(Add, &[x, x]))),
        (
            "residual",
            Box::new(|b, x| {
                let y = b.node(Tanh, &[x]);
                b.node(Add, &[x, y])
            }),
        ),
        ("add a shift", with_parameter(Add, &[4, 1, 1], true)),
        ("add a plane", with_parameter(Add, &[1, 4, 3], false)),
        ("square", Box::new(|b, x| b.node(Mul, &[x, x]))),
        ("scale", with_parameter(Mul, &[1, 4, 1, 1], true)),
        ("scale columns", with_parameter(Mul, &[3], false)),
        (
            "gate",
            Box::new(|b, x| {
                let gate = b.node(GlobalAveragePool, &[x]);
                let gate = b.node(Sigmoid, &[gate]);
                b.node(Mul, &[x, gate])
            }),
        ),
        (
            "concatenate",
            Box::new(|b, x| {
                let y = b.node(Tanh, &[x]);
                b.node(Concat::default(), &[x, y, x])
            }),
        ),
        (
            "concatenate rows",
            Box::new(|b, x| {
                let y = b.node(Silu, &[x]);
                b.node(Concat { axis: 2 }, &[x, y])
            }),
        ),
        (
            "a shared filter",
            Box::new(|b, x| {
                let w = b.parameter(&[4, 4, 1, 1]);
                let y = b.node(Conv::new(Window::default()), &[x, w]);
                let y = b.node(Tanh, &[y]);
                b.node(Conv::new(Window::default()), &[y, w])
            }),
        ),
        (
            "a tied matrix",
            Box::new(move |b, x| {
                let x = b.node(GlobalAveragePool, &[x]);
                let x = flat(b, x);
                let w = b.parameter(&[2, 4]);
                let y = b.node(Gemm::new(true), &[x, w]);
                b.node(Gemm::new(false), &[y, w])
            }),
        ),
    ]
}

#[test]
fn backward_passes_agree_with_finite_differences() {
    let mut seen = BTreeSet::new();
    let families = families::cases().into_iter().chain(moves::cases());
    let further = families.chain(further::cases()).chain(sequences::cases());
    for (what, build) in cases().into_iter().chain(further) {
        let graph = around(&*build);
        seen.extend(operators(&graph));
        differences_agree(what, &graph, 4);
    }
    let all: BTreeSet<&str> = OPERATORS.iter().map(|line| line.name).collect();
    assert_eq!(seen, all);
}
