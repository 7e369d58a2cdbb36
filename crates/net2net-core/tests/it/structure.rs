//! Growth that copies no units: new classes, features, branches, larger filters, copied blocks.

use std::collections::BTreeMap;

use net2net_core::apply::{ApplyError, Growth, apply};
use net2net_core::dims::Spaces;
use net2net_core::engine::{OptimizerState, Trainer, evaluate};
use net2net_core::graph::Graph;
use net2net_core::ops::Op;
use net2net_core::plan::{
    Extend, Plan, Step, blocks, branch, classes, copy_block, deepenable, enlarge, features, join,
};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_core::weights::{Weights, stream};
use net2net_kernels::Context;
use proptest::prelude::*;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::parting::{LABELS, options};
use super::random_graph::{BATCH, Net, inputs, random_weights, slices};

fn pick<'a, T>(all: &'a [T], random: &mut ChaCha8Rng) -> Option<&'a T> {
    (!all.is_empty()).then(|| &all[random.random_range(0..all.len())])
}

/// A step of one of these kinds, if the graph has a place for it.
pub fn random_structure(graph: &Graph, random: &mut ChaCha8Rng) -> Option<(&'static str, Step)> {
    let spaces = Spaces::infer(graph);
    let seed = random.random();
    let by_op = |wanted: fn(&Op) -> bool| -> Vec<&str> {
        let nodes = graph.node_ids().filter(|id| wanted(&graph.at(*id).op));
        nodes.map(|id| graph.node_name(id)).collect()
    };
    let (kind, step) = match random.random_range(0..7) {
        0 => {
            let layers = deepenable(graph);
            let layer = pick(&layers, random)?;
            let kernel = [None, Some(1), Some(3)][random.random_range(0..3)];
            let insert = branch(graph, layer, kernel, seed).ok()?;
            ("branch", Step::Insert(insert))
        }
        1 => {
            let concats = by_op(|op| matches!(op, Op::Concat(_)));
            let concat = pick(&concats, random)?;
            ("join", Step::Join(join(graph, concat, 3, seed).ok()?))
        }
        2 => {
            let convolutions = by_op(|op| matches!(op, Op::Conv(_)));
            let layer = pick(&convolutions, random)?;
            let side = random.random_range(2..=5);
            ("enlarge", Step::Enlarge(enlarge(graph, layer, side).ok()?))
        }
        3 => {
            let all = blocks(graph);
            let block = pick(&all, random)?;
            ("copy", Step::Insert(copy_block(graph, block).ok()?))
        }
        4 => {
            let names = spaces.growable().filter(|space| !space.pooled);
            let all: Vec<_> = names.collect();
            let space = pick(&all, random)?;
            let size = space.size.fixed()? + random.random_range(1..=3);
            let extend = Extend {
                space: space.name.clone(),
                size,
                seed: Some(seed),
                fill: random.random_range(-1.0..1.0),
            };
            ("extend", Step::Extend(extend))
        }
        5 => {
            let output = *pick(graph.outputs(), random)?;
            let old = graph.get(output).shape.at(1);
            let size = old.last()? + random.random_range(1..=3);
            let step = classes(graph, &spaces, output, size, -1.0).ok()?;
            ("classes", Step::Extend(step))
        }
        _ => {
            let input = *pick(graph.inputs(), random)?;
            let old = graph.get(input).shape.at(1);
            let size = old.get(1)? + random.random_range(1..=2);
            let step = features(graph, &spaces, input, size, seed).ok()?;
            ("features", Step::Extend(step))
        }
    };
    // Some reasons show only when a step is carried out: a shared filter, channels that have to match.
    match apply(graph, &Plan::new(graph, 0, vec![step.clone()])) {
        Err(ApplyError::Refused { .. }) => None,
        _ => Some((kind, step)),
    }
}

fn net(text: &str) -> Net {
    let graph: Graph = text.parse().unwrap();
    let weights = random_weights(&graph, 1);
    Net { graph, weights }
}

/// Grows a network by a step, and checks that it computes the same.
fn grow(net: &Net, step: Step) -> (Growth, Weights<f64>) {
    let plan = Plan::new(&net.graph, 0, vec![step]);
    let growth = apply(&net.graph, &plan).unwrap_or_else(|error| panic!("{error}\n{}", net.graph));
    let weights = growth.weights(&net.weights).unwrap();
    let x = inputs(&net.graph, BATCH, 7);
    let mut cx = Context::new(1).unwrap();
    let (old, new) = ((&net.graph, &net.weights), (growth.graph(), &weights));
    for output in compare(&mut cx, old, new, BATCH, &slices(&x)).unwrap() {
        assert!(output.max_rel < TOLERANCE, "{output:?}\n{}", growth.graph());
    }
    (growth, weights)
}

/// Every number of the grown network's trained parameters moves within a few steps, but for those
/// of dead rectifiers: what is new is no dead weight.
fn comes_alive(growth: &Growth, weights: &Weights<f64>) {
    let graph = growth.graph();
    let state = OptimizerState::default();
    let mut trainer = Trainer::new(graph, weights, &state, options(0.9)).unwrap();
    let x = inputs(graph, BATCH, 9);
    for _ in 0..6 {
        trainer.step(&x[0], &LABELS, 0.05).unwrap();
    }
    let trained = trainer.weights();
    let mut still = BTreeMap::new();
    for (name, before) in weights.iter() {
        let after = trained.get(name).unwrap();
        let same = before
            .data()
            .iter()
            .zip(after.data())
            .filter(|(a, b)| a == b);
        let share = same.count() as f64 / before.data().len() as f64;
        if share > 0.5 {
            still.insert(name.to_owned(), share);
        }
    }
    assert!(still.is_empty(), "still: {still:?}\n{graph}");
}

const RESIDUAL: &str = "graph residual
input x [N, 2, 6, 6]
param stem.weight [4, 2, 3, 3]
node stem [N, 4, 6, 6] = Conv(x, stem.weight; pads=[1,1,1,1])
node act [N, 4, 6, 6] = Tanh(stem)
param block.conv1.weight [4, 4, 3, 3]
node block.conv1 [N, 4, 6, 6] = Conv(act, block.conv1.weight; pads=[1,1,1,1])
node block.act [N, 4, 6, 6] = Tanh(block.conv1)
param block.conv2.weight [4, 4, 3, 3]
param block.conv2.bias [4]
node block.conv2 [N, 4, 6, 6] = Conv(block.act, block.conv2.weight, block.conv2.bias; pads=[1,1,1,1])
node sum [N, 4, 6, 6] = Add(block.conv2, act)
param left.weight [3, 4, 1, 1]
node left [N, 3, 6, 6] = Conv(sum, left.weight)
param right.weight [2, 4, 3, 3]
node right [N, 2, 6, 6] = Conv(sum, right.weight; pads=[1,1,1,1])
node cat [N, 5, 6, 6] = Concat(left, right)
node pool [N, 5, 1, 1] = GlobalAveragePool(cat)
node flat [N, 5] = Flatten(pool)
param fc.weight [3, 5]
param fc.bias [3]
node fc [N, 3] = Gemm(flat, fc.weight, fc.bias; transB=1)
output fc
";

#[test]
fn new_classes_keep_the_old_logits_and_learn() {
    let net = net(RESIDUAL);
    let spaces = Spaces::infer(&net.graph);
    let output = net.graph.outputs()[0];
    let step = classes(&net.graph, &spaces, output, 5, -2.5).unwrap();
    let (growth, weights) = grow(&net, Step::Extend(step));
    assert_eq!(weights.get("fc.weight").unwrap().shape(), [5, 5]);
    assert_eq!(weights.get("fc.bias").unwrap().data()[3..], [-2.5, -2.5]);
    comes_alive(&growth, &weights);
}

#[test]
fn a_new_channel_of_the_input_has_no_effect_and_learns() {
    let net = net(RESIDUAL);
    let spaces = Spaces::infer(&net.graph);
    let step = features(&net.graph, &spaces, net.graph.inputs()[0], 3, 1).unwrap();
    let (growth, weights) = grow(&net, Step::Extend(step));
    assert_eq!(weights.get("stem.weight").unwrap().shape(), [4, 3, 3, 3]);
    comes_alive(&growth, &weights);
}

#[test]
fn fresh_units_of_a_residual_stream_learn() {
    let net = net(RESIDUAL);
    let step = Extend {
        space: "stem".to_owned(),
        size: 6,
        seed: Some(3),
        fill: 0.0,
    };
    let (growth, weights) = grow(&net, Step::Extend(step));
    comes_alive(&growth, &weights);
}

#[test]
fn a_larger_filter_is_zero_around_the_old_one_and_learns() {
    let net = net(RESIDUAL);
    for (layer, side) in [("block.conv1", 5), ("left", 2), ("right", 4)] {
        let step = enlarge(&net.graph, layer, side).unwrap();
        let (growth, weights) = grow(&net, Step::Enlarge(step));
        comes_alive(&growth, &weights);
    }
    assert!(enlarge(&net.graph, "stem", 3).is_err());
    assert!(enlarge(&net.graph, "stem", 2).is_err());
    assert!(enlarge(&net.graph, "fc", 3).is_err());
}

#[test]
fn branches_start_without_effect_and_learn() {
    let net = net(RESIDUAL);
    for (layer, kernel) in [
        ("block.conv1", Some(5)),
        ("left", Some(3)),
        ("right", Some(1)),
        ("fc", None),
    ] {
        let step = branch(&net.graph, layer, kernel, 3).unwrap();
        let (growth, weights) = grow(&net, Step::Insert(step));
        comes_alive(&growth, &weights);
    }
    let step = join(&net.graph, "cat", 3, 5).unwrap();
    assert_eq!((step.from.as_str(), step.channels), ("sum", 1));
    let (growth, weights) = grow(&net, Step::Join(step));
    assert_eq!(weights.get("fc.weight").unwrap().shape(), [3, 6]);
    comes_alive(&growth, &weights);
}

#[test]
fn a_copied_block_starts_without_effect_and_learns() {
    let net = net(RESIDUAL);
    let all = blocks(&net.graph);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].name, "block");
    let step = copy_block(&net.graph, &all[0]).unwrap();
    let (growth, weights) = grow(&net, Step::Insert(step));
    let copy = weights.get("block.deeper1.conv1.weight").unwrap();
    assert_eq!(Some(copy), net.weights.get("block.conv1.weight"));
    let last = weights.get("block.deeper1.conv2.weight").unwrap();
    assert!(last.data().iter().all(|x| *x == 0.0));
    comes_alive(&growth, &weights);
    // The copy is a block like the first, and can be copied too.
    let grown = Net {
        graph: growth.graph().clone(),
        weights,
    };
    let all = blocks(&grown.graph);
    assert_eq!(all.len(), 2);
    grow(
        &grown,
        Step::Insert(copy_block(&grown.graph, &all[1]).unwrap()),
    );
}

/// A transformer's layer, with matrices for weights.
const TRANSFORMER: &str = "graph transformer
input x [N, 5, 4]
param up.weight [4, 6]
node up [N, 5, 6] = MatMul(x, up.weight)
param up.bias [6]
node shifted [N, 5, 6] = Add(up, up.bias)
node act [N, 5, 6] = Gelu(shifted)
param down.weight [6, 4]
node down [N, 5, 4] = MatMul(act, down.weight)
node sum [N, 5, 4] = Add(x, down)
output sum
";

#[test]
fn layers_of_sequences_deepen_and_their_blocks_are_copied() {
    use net2net_core::plan::deepen;
    let net = net(TRANSFORMER);
    let x = inputs(&net.graph, BATCH, 3);
    let mut cx = Context::new(1).unwrap();
    assert_eq!(deepenable(&net.graph), ["up", "down"]);
    for layer in ["up", "down"] {
        let (graph, weights) = (&net.graph, &net.weights);
        let inputs = slices(&x);
        let insert = deepen(&mut cx, graph, weights, layer, None, 1, BATCH, &inputs).unwrap();
        grow(&net, Step::Insert(insert));
    }
    let all = blocks(&net.graph);
    let (growth, weights) = grow(&net, Step::Insert(copy_block(&net.graph, &all[0]).unwrap()));
    // The output keeps its name, whatever makes it.
    assert_eq!(growth.graph().get(growth.graph().outputs()[0]).name, "sum");
    let zeros = weights
        .iter()
        .filter(|(_, t)| t.data().iter().all(|x| *x == 0.0));
    assert_eq!(zeros.count(), 1);
    grow(
        &net,
        Step::Insert(branch(&net.graph, "up", None, 1).unwrap()),
    );
}

#[test]
fn classes_behind_a_softmax_divide_what_the_new_ones_leave() {
    for softmax in ["Softmax", "LogSoftmax"] {
        let lines = format!("node p [N, 3] = {softmax}(fc)\noutput p\n");
        let net = net(&RESIDUAL.replace("output fc\n", &lines));
        let spaces = Spaces::infer(&net.graph);
        let output = net.graph.outputs()[0];
        let planned = classes(&net.graph, &spaces, output, 5, -1.0).unwrap();
        // Copies would still be counted twice.
        assert!(spaces.find(&planned.space).is_err());
        let (growth, weights) = grow(&net, Step::Extend(planned));
        assert_eq!(
            growth.graph().get(growth.graph().outputs()[0]).shape.at(1),
            [1, 5]
        );
        // The new classes are possible, so that they can be learned.
        let mut cx = Context::new(1).unwrap();
        let x = net.inputs(BATCH, 1);
        let after = evaluate(&mut cx, growth.graph(), &weights, BATCH, &slices(&x)).unwrap();
        let likely = |x: &f64| {
            if softmax == "Softmax" {
                *x > 1e-4
            } else {
                *x > -10.0
            }
        };
        assert!(after[0].iter().all(likely), "{after:?}");
    }
}

#[test]
fn what_would_change_the_function_is_refused() {
    // Where something else reads the probabilities, or the logits, there can be no more of them.
    for more in ["node q [N, 3] = Relu(p)\noutput q\n", "output fc\n"] {
        let lines = format!("node p [N, 3] = Softmax(fc)\noutput p\n{more}");
        let net = net(&RESIDUAL.replace("output fc\n", &lines));
        let spaces = Spaces::infer(&net.graph);
        assert!(classes(&net.graph, &spaces, net.graph.outputs()[0], 5, 0.0).is_err());
    }
    let softmax = RESIDUAL.replace("output fc\n", "node p [N, 3] = Softmax(fc)\noutput p\n");
    let net = net(&softmax);
    let spaces = Spaces::infer(&net.graph);
    let input = net.graph.inputs()[0];
    for size in [1 << 22, 1 << 40, usize::MAX] {
        let refusal = features(&net.graph, &spaces, input, size, 0).unwrap_err();
        assert!(refusal.why.contains("one sample"), "{refusal}");
    }
    let step = |space: &str, size| {
        let extend = Extend {
            space: space.to_owned(),
            size,
            seed: None,
            fill: 0.0,
        };
        let plan = Plan::new(&net.graph, 0, vec![Step::Extend(extend)]);
        apply(&net.graph, &plan)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(step("left", 3).contains("3 units"), "{}", step("left", 3));
    assert!(step("nothing", 3).contains("no space"));
    assert!(step("p", 9).contains("p"));
}

#[test]
fn random_streams_give_every_kind_somewhere() {
    let net = net(RESIDUAL);
    let mut random = stream(1, "structure");
    let mut met = BTreeMap::new();
    for _ in 0..200 {
        if let Some((kind, step)) = random_structure(&net.graph, &mut random) {
            grow(&net, step);
            *met.entry(kind).or_insert(0) += 1;
        }
    }
    assert_eq!(met.len(), 7, "{met:?}");
}

/// A plan of every kind of step that copies no units.
fn plan_of_all(graph: &Graph) -> Plan {
    let spaces = Spaces::infer(graph);
    let block = &blocks(graph)[0];
    let steps = vec![
        Step::Extend(classes(graph, &spaces, graph.outputs()[0], 5, -1.0).unwrap()),
        Step::Extend(features(graph, &spaces, graph.inputs()[0], 3, 1).unwrap()),
        Step::Enlarge(enlarge(graph, "left", 3).unwrap()),
        Step::Insert(branch(graph, "right", Some(3), 2).unwrap()),
        Step::Join(join(graph, "cat", 3, 5).unwrap()),
        Step::Insert(copy_block(graph, block).unwrap()),
    ];
    Plan::new(graph, 0, steps)
}

proptest! {
    #![proptest_config(super::config(1500))]

    #[test]
    fn plans_of_structure_with_random_faults_never_panic(seed in any::<u64>(), faults in 0..4usize) {
        let graph: Graph = RESIDUAL.parse().unwrap();
        let plan = plan_of_all(&graph);
        prop_assert_eq!(plan.describe().len(), plan.steps.len());
        let mut bytes = plan.to_json().unwrap().into_bytes();
        let mut random = stream(seed, "faults");
        for _ in 0..faults {
            let digits: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i].is_ascii_digit()).collect();
            let at = match random.random_bool(0.2) {
                true => random.random_range(0..bytes.len()),
                false => digits[random.random_range(0..digits.len())],
            };
            bytes[at] = b"0123456789-"[random.random_range(0..11)];
        }
        let read = Plan::from_json(&String::from_utf8_lossy(&bytes));
        if faults == 0 {
            prop_assert_eq!(read.as_ref().unwrap(), &plan);
        }
        let Ok(mut plan) = read else { return Ok(()) };
        plan.parent = graph.hash();
        let growth = apply(&graph, &plan);
        prop_assert!(faults > 0 || growth.is_ok());
        if let Ok(growth) = growth {
            growth.graph().validate().unwrap();
            let weights = random_weights(&graph, 1);
            growth.weights(&weights).unwrap();
            growth.padded(&weights, 1).unwrap();
            growth.optimizer_state(&OptimizerState::<f64>::default()).unwrap();
        }
    }
}

#[test]
fn classes_of_a_signal_are_its_channels() {
    let net = net(
        "graph g\ninput x [N, 2, 9]\nparam a [4, 2, 3]\nnode h [N, 4, 7] = Conv(x, a)\n\
         node r [N, 4, 7] = Relu(h)\nparam b [3, 4, 1]\nparam bias [3]\n\
         node y [N, 3, 7] = Conv(r, b, bias)\noutput y\n",
    );
    let spaces = Spaces::infer(&net.graph);
    let step = classes(&net.graph, &spaces, net.graph.outputs()[0], 5, -2.0).unwrap();
    let (_, weights) = grow(&net, Step::Extend(step));
    assert_eq!(weights.get("b").unwrap().shape(), [5, 4, 1]);
}
