//! Random valid networks that use every operator, always ending in logits.

mod blocks;
mod families;
mod further;
mod moves;
mod sequences;

use std::collections::BTreeSet;

use net2net_core::graph::{Graph, Shape, ValueId};
use net2net_core::ops::{
    AveragePool, BatchNorm, Conv, Flatten, Gelu, Gemm, GlobalAveragePool, Identity, LeakyRelu,
    MaxPool, OPERATORS, Op, PRelu, Relu, Role, Sigmoid, Silu, Softmax, Tanh, Window,
};
use net2net_core::weights::{Weights, initialize, normal, stream};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Samples in the batches of the tests.
pub const BATCH: usize = 3;

/// A network with random weights.
pub struct Net {
    pub graph: Graph,
    pub weights: Weights<f64>,
}

impl Net {
    /// Random inputs for a batch, in the order of the graph's inputs.
    pub fn inputs(&self, batch: usize, seed: u64) -> Vec<Vec<f64>> {
        inputs(&self.graph, batch, seed)
    }
}

/// Random numbers for every input of a graph.
pub fn inputs(graph: &Graph, batch: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut random = stream(seed, "inputs");
    let ids = graph.inputs().iter();
    ids.map(|id| {
        let count = graph.get(*id).shape.elements(batch);
        (0..count).map(|_| normal(&mut random)).collect()
    })
    .collect()
}

/// The slices that the engine takes.
pub fn slices(inputs: &[Vec<f64>]) -> Vec<&[f64]> {
    inputs.iter().map(Vec::as_slice).collect()
}

/// A network of some blocks; the seed decides everything else. `still` leaves out what differs
/// between training and evaluation without reason to (dropout).
pub fn random_net(seed: u64, blocks: usize, still: bool) -> Net {
    let mut maker = Maker {
        graph: Graph::new("random"),
        random: stream(seed, "graph"),
        count: 0,
        extra: Vec::new(),
        still,
    };
    let logits = if maker.chance(0.2) {
        maker.flat_net(blocks)
    } else {
        maker.image_net(blocks)
    };
    maker.graph.output(logits);
    if maker.chance(0.25) {
        let extra = if maker.chance(0.5) {
            maker.node(Softmax::default(), &[logits])
        } else {
            let at = maker.below(maker.extra.len());
            maker.extra[at]
        };
        maker.graph.output(extra);
    }
    let weights = random_weights(&maker.graph, seed);
    Net {
        graph: maker.graph,
        weights,
    }
}

/// Random weights of every role: nothing at its initial zero or one.
pub fn random_weights(graph: &Graph, seed: u64) -> Weights<f64> {
    let mut weights: Weights<f64> = initialize(graph, seed);
    let roles = graph.parameter_roles();
    let mut random = stream(seed, "weights");
    for id in graph.parameters() {
        let tensor = weights.get_mut(&graph.get(id).name).unwrap();
        for x in tensor.data_mut() {
            let draw = normal(&mut random);
            match roles.get(&id) {
                Some(Role::Weight) | None => {}
                Some(Role::Scale) => *x = 1.0 + 0.3 * draw,
                Some(Role::RunningVariance) => *x = 0.3 + draw * draw,
                Some(Role::Slope) => *x = 0.25 + 0.1 * draw,
                Some(Role::Shift | Role::RunningMean) => *x = 0.4 * draw,
                Some(Role::Activation | Role::Constant) => *x = 0.5 + 0.5 * draw,
            }
        }
    }
    weights
}

struct Maker {
    graph: Graph,
    random: ChaCha8Rng,
    count: usize,
    /// Values that may become outputs.
    extra: Vec<ValueId>,
    still: bool,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        self.random.random_range(0..bound)
    }

    /// A small number of channels.
    fn channels(&mut self) -> usize {
        self.random.random_range(1..=5)
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn sizes(&self, value: ValueId) -> Vec<usize> {
        self.graph.get(value).shape.at(1)[1..].to_vec()
    }

    fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let op = op.into();
        self.count += 1;
        let name = format!("{}{}", op.name().to_lowercase(), self.count);
        self.graph.node(name, op, inputs).unwrap()
    }

    fn parameter(&mut self, kind: &str, sizes: &[usize]) -> ValueId {
        self.count += 1;
        self.graph
            .parameter(format!("p{}.{kind}", self.count), sizes)
            .unwrap()
    }

    fn flat_net(&mut self, blocks: usize) -> ValueId {
        let features = self.channels() + 1;
        let mut x = self.graph.input("x", Shape::batched(&[features])).unwrap();
        x = self.gemm(x, 4);
        for _ in 0..blocks {
            x = self.flat_block(x);
            x = self.maybe_family(x);
        }
        self.classifier(x)
    }

    fn image_net(&mut self, blocks: usize) -> ValueId {
        let (h, w) = (4 + self.below(4), 4 + self.below(4));
        let channels = 1 + self.below(3);
        let mut x = self
            .graph
            .input("x", Shape::batched(&[channels, h, w]))
            .unwrap();
        if self.chance(0.9) {
            let out = self.channels();
            x = self.layer(x, out);
        }
        for _ in 0..blocks {
            x = self.image_block(x);
            x = self.maybe_family(x);
            self.extra.push(x);
        }
        x = match self.below(4) {
            0 => x,
            1 => self.pool(x),
            _ => self.node(GlobalAveragePool, &[x]),
        };
        x = self.node(Flatten, &[x]);
        if self.chance(0.5) {
            x = self.gemm(x, 4);
            x = self.flat_block(x);
        }
        self.classifier(x)
    }

    fn classifier(&mut self, x: ValueId) -> ValueId {
        self.extra.push(x);
        let features = self.sizes(x)[0];
        let weight = self.parameter("weight", &[3, features]);
        // Always with a bias, so that no network computes nothing but zeros.
        let bias = self.parameter("bias", &[3]);
        self.node(Gemm::new(true), &[x, weight, bias])
    }

    fn gemm(&mut self, x: ValueId, out: usize) -> ValueId {
        let features = self.sizes(x)[0];
        let transposed = self.chance(0.5);
        let sizes = if transposed {
            [out, features]
        } else {
            [features, out]
        };
        let mut inputs = vec![x, self.parameter("weight", &sizes)];
        if self.chance(0.7) {
            inputs.push(self.parameter("bias", &[out]));
        }
        self.node(Gemm::new(transposed), &inputs)
    }

    fn conv(
        &mut self,
        x: ValueId,
        out: usize,
        groups: usize,
        k: [usize; 2],
        window: Window,
    ) -> ValueId {
        let channels = self.sizes(x)[0];
        let weight = self.parameter("weight", &[out, channels / groups, k[0], k[1]]);
        let mut inputs = vec![x, weight];
        if self.chance(0.5) {
            inputs.push(self.parameter("bias", &[out]));
        }
        self.node(Conv { groups, window }, &inputs)
    }

    /// A kernel and window that keep the size of images.
    fn same(&mut self) -> ([usize; 2], Window) {
        match self.below(5) {
            0 => ([1, 1], Window::default()),
            1 => ([2, 2], Window::default().with_pads([1, 0, 0, 1])),
            2 => ([1, 3], Window::same([1, 3])),
            3 => (
                [3, 3],
                Window::default().with_pads([2; 4]).with_dilations([2, 2]),
            ),
            _ => ([3, 3], Window::same([3, 3])),
        }
    }

    fn same_conv(&mut self, x: ValueId, out: usize) -> ValueId {
        let (kernel, window) = self.same();
        self.conv(x, out, 1, kernel, window)
    }

    fn norm(&mut self, x: ValueId) -> ValueId {
        let c = self.sizes(x)[0];
        let mut inputs = vec![x];
        for kind in ["scale", "shift", "mean", "variance"] {
            inputs.push(self.parameter(kind, &[c]));
        }
        let momentum = if self.chance(0.5) { 0.9 } else { 0.7 };
        self.node(
            BatchNorm {
                momentum,
                ..BatchNorm::default()
            },
            &inputs,
        )
    }

    fn activation(&mut self, x: ValueId) -> ValueId {
        match self.below(13) {
            0 => self.node(LeakyRelu { alpha: 0.2 }, &[x]),
            1 => {
                let c = self.sizes(x)[0];
                let slope = self.parameter("slope", &[c]);
                self.node(PRelu, &[x, slope])
            }
            2 => self.node(Sigmoid, &[x]),
            3 => self.node(Tanh, &[x]),
            4 => self.node(Gelu { tanh: false }, &[x]),
            5 => self.node(Gelu { tanh: true }, &[x]),
            6 => self.node(Silu, &[x]),
            7 => self.node(Identity, &[x]),
            _ => self.node(Relu, &[x]),
        }
    }

    /// A convolution that keeps the size, perhaps a batch normalisation, perhaps an activation.
    fn layer(&mut self, x: ValueId, out: usize) -> ValueId {
        let mut y = self.same_conv(x, out);
        if self.chance(0.5) {
            y = self.norm(y);
        }
        if self.chance(0.8) {
            y = self.activation(y);
        }
        y
    }

    fn pool(&mut self, x: ValueId) -> ValueId {
        let stride = [1 + self.below(2), 1 + self.below(2)];
        let [h, w] = [self.sizes(x)[1], self.sizes(x)[2]];
        if h < 3 || w < 3 {
            return x;
        }
        let pads = if self.chance(0.5) {
            [1, 0, 1, 1]
        } else {
            [0; 4]
        };
        let window = Window::default().with_strides(stride).with_pads(pads);
        let ceil_mode = self.chance(0.3);
        let window = if self.chance(0.3) {
            window.with_dilations([2, 1])
        } else {
            window
        };
        if self.chance(0.5) {
            let pool = MaxPool::new([2, 2], window);
            self.node(MaxPool { ceil_mode, ..pool }, &[x])
        } else {
            let pool = AveragePool {
                kernel: vec![2, 2],
                window,
                count_include_pad: self.chance(0.5),
                ceil_mode,
            };
            self.node(pool, &[x])
        }
    }
}

/// The names of the operators of a graph.
pub fn operators(graph: &Graph) -> BTreeSet<&'static str> {
    graph.nodes().iter().map(|node| node.op.name()).collect()
}

#[test]
fn the_generator_uses_every_operator_and_its_graphs_are_valid() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let net = random_net(seed, 3, false);
        net.graph.validate().unwrap();
        net.weights.check(&net.graph).unwrap();
        seen.extend(operators(&net.graph));
    }
    let all: BTreeSet<&str> = OPERATORS.iter().map(|line| line.name).collect();
    assert_eq!(seen, all);
}
