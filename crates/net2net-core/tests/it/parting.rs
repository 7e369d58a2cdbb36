//! Copies part in training, unless nothing distinguishes them; noise that is not exact is said to
//! be so; a growth that is wrong is caught; the random baseline.

use net2net_core::apply::apply;
use net2net_core::dims::Spaces;
use net2net_core::engine::{OptimizerConfig, OptimizerState, Trainer, TrainerOptions};
use net2net_core::graph::Graph;
use net2net_core::plan::{Mapping, Plan, Step, Symmetry, widen};
use net2net_core::verify::{TOLERANCE, VerifyError, compare, grow_and_prove};
use net2net_core::weights::{Weights, initialize, stream};
use net2net_kernels::Context;
use proptest::prelude::*;
use rand::RngExt;

use super::growth::slice;
use super::random_graph::{BATCH, inputs, random_net, random_weights, slices};

/// Options of plain SGD on one thread.
pub fn options(momentum: f64) -> TrainerOptions {
    TrainerOptions {
        batch: BATCH,
        threads: 1,
        optimizer: OptimizerConfig::Sgd {
            momentum,
            nesterov: false,
            weight_decay: 0.0,
        },
        label_smoothing: 0.0,
        gradient_clip: None,
        seed: 7,
    }
}

pub const LABELS: [u32; BATCH] = [2, 0, 1];

/// Every growable space grown by about a half, all by one symmetry.
fn widen_all(graph: &Graph, symmetry: Symmetry, seed: u64) -> Plan {
    let spaces = Spaces::infer(graph);
    let mut random = stream(seed, "sizes");
    // Copies that are averaged share that gradient evenly.
    let parting = spaces.growable().filter(|space| !space.uniform);
    let steps = parting.map(|space| {
        let old = space.size.fixed().unwrap();
        let size = old + random.random_range(1..=old);
        let mapping = if random.random_bool(0.5) {
            Mapping::Random
        } else {
            Mapping::Uniform
        };
        Step::Widen(widen(&spaces, &space.name, size, mapping, symmetry, seed).unwrap())
    });
    Plan::new(graph, seed, steps.collect())
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}

/// Pairs that must part, and those without a gradient to part by.
#[derive(Default)]
struct Pairs {
    parted: usize,
    still: usize,
    /// Those whose random shares happen to be almost equal.
    alike: usize,
}

/// Three steps of SGD after growth: copies whose gradient is not zero part.
///
/// The gradient of a copy is its share of the original's, so copies without one (dead rectifiers,
/// shifts before a batch normalisation, values that only a second output reads) cannot part; that
/// it is absent is measured for each pair.
fn parts(seed: u64, blocks: usize, symmetry: Symmetry, pairs: &mut Pairs) {
    let net = random_net(seed, blocks, true);
    if net.graph.flops() > 300_000 {
        return;
    }
    let plan = widen_all(&net.graph, symmetry, seed);
    let growth = apply(&net.graph, &plan).unwrap();
    let weights = growth.weights(&net.weights).unwrap();
    let state = OptimizerState::default();
    let mut trainer = Trainer::new(growth.graph(), &weights, &state, options(0.0)).unwrap();
    let inputs = net.inputs(BATCH, seed);
    let (_, gradients) = trainer.gradients_by_name(&inputs[0], &LABELS).unwrap();
    let norm = gradients
        .iter()
        .map(|(_, g)| g.data().iter().map(|x| x * x).sum::<f64>());
    // Steps of a size that suits the network: what parts copies is linear in it.
    let rate = 0.05 / norm.sum::<f64>().sqrt().max(1.0);
    for _ in 0..3 {
        trainer.step(&inputs[0], &LABELS, rate).unwrap();
    }
    let trained = trainer.weights();
    let roles = growth.graph().parameter_roles();
    for copies in growth.copies() {
        let id = growth.graph().find(&copies.parameter).unwrap();
        if !roles[&id].is_trained() {
            continue;
        }
        let (tensor, gradient) = (
            trained.get(&copies.parameter).unwrap(),
            gradients.get(&copies.parameter).unwrap(),
        );
        for (original, copy) in copies.pairs {
            let at = |t, i| slice(t, copies.axis, i);
            let size = largest(&at(gradient, original)).min(largest(&at(gradient, copy)));
            if size * rate < 1e-5 * largest(tensor.data()) {
                pairs.still += 1;
                continue;
            }
            let (a, b) = (at(tensor, original), at(tensor, copy));
            let apart: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            let sizes = [original, copy].map(|i| largest(&at(gradient, i)));
            // Shares are drawn, and two in some thousands come out almost equal; more would be a
            // fault, and their number is bounded below.
            if (sizes[0] / sizes[1] - 1.0).abs() < 1e-3 && largest(&apart) <= 1e-9 * largest(&a) {
                pairs.alike += 1;
                continue;
            }
            assert!(
                largest(&apart) > 1e-9 * largest(&a),
                "positions {original} and {copy} of {} did not part: gradient {size:e}, seed {seed}, {blocks} blocks\n{}",
                copies.parameter,
                net.graph
            );
            pairs.parted += 1;
        }
    }
}

fn all_part(symmetry: Symmetry) {
    let pairs = std::cell::RefCell::new(Pairs::default());
    let mut runner = proptest::test_runner::TestRunner::new(super::config(250));
    let cases = (any::<u64>(), 1..4usize);
    let run = runner.run(&cases, |(seed, blocks)| {
        parts(seed, blocks, symmetry, &mut pairs.borrow_mut());
        Ok(())
    });
    run.unwrap();
    let Pairs {
        parted,
        still,
        alike,
    } = pairs.into_inner();
    assert!(
        alike * 200 < parted,
        "{alike} pairs have almost equal gradients, and {parted} parted"
    );
    assert!(
        parted > 2 * still,
        "{parted} pairs parted, and {still} had no gradient to part by"
    );
}

#[test]
fn copies_with_uneven_shares_part_in_training() {
    all_part(Symmetry::Uneven { spread: 0.5 });
}

#[test]
fn copies_with_zero_sum_noise_part_in_training() {
    all_part(Symmetry::default());
}

/// Two layers with a rectifier between.
pub const PERCEPTRON: &str = "graph perceptron
input x [N, 4]
param a.weight [3, 4]
param a.bias [3]
node a [N, 3] = Gemm(x, a.weight, a.bias; transB=1)
node act [N, 3] = Relu(a)
param b.weight [3, 3]
node b [N, 3] = Gemm(act, b.weight; transB=1)
output b
";

fn perceptron() -> (Graph, Weights<f64>) {
    let graph: Graph = PERCEPTRON.parse().unwrap();
    let weights = random_weights(&graph, 1);
    (graph, weights)
}

fn widened(graph: &Graph, symmetry: Symmetry) -> Plan {
    let spaces = Spaces::infer(graph);
    let step = widen(&spaces, "a", 6, Mapping::Uniform, symmetry, 3).unwrap();
    Plan::new(graph, 3, vec![Step::Widen(step)])
}

#[test]
fn copies_with_even_shares_never_part() {
    let (graph, weights) = perceptron();
    let plan = widened(&graph, Symmetry::Even);
    let growth = apply(&graph, &plan).unwrap();
    let grown = growth.weights(&weights).unwrap();
    let state = OptimizerState::default();
    let mut trainer = Trainer::new(growth.graph(), &grown, &state, options(0.9)).unwrap();
    let x = inputs(&graph, BATCH, 1);
    for _ in 0..20 {
        trainer.step(&x[0], &LABELS, 0.1).unwrap();
    }
    let trained = trainer.weights();
    assert_ne!(trained, grown);
    for (name, axis) in [("a.weight", 0), ("a.bias", 0), ("b.weight", 1)] {
        let tensor = trained.get(name).unwrap();
        for unit in 0..3 {
            let (a, b) = (slice(tensor, axis, unit), slice(tensor, axis, unit + 3));
            let apart: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            assert!(largest(&apart) < 1e-13, "{name} {unit}");
        }
    }
}

#[test]
fn incoming_noise_is_not_exact_and_says_so() {
    let (graph, weights) = perceptron();
    let plan = widened(&graph, Symmetry::Incoming { std: 0.01 });
    assert!(!plan.is_exact());
    assert!(
        plan.describe()[0].contains("not exact"),
        "{:?}",
        plan.describe()
    );
    let growth = apply(&graph, &plan).unwrap();
    let x: Vec<f32> = inputs(&graph, BATCH, 1)[0]
        .iter()
        .map(|x| *x as f32)
        .collect();
    let proved = grow_and_prove(
        &graph,
        &plan,
        &growth,
        &weights.cast(),
        1,
        BATCH,
        &[&x],
        "noise",
    )
    .unwrap();
    assert!(!proved.evidence.exact && !proved.evidence.holds());
    assert!(proved.evidence.tolerance.is_infinite());
    assert!(proved.evidence.f64[0].max_rel > 1e-5);
    // The originals stay as they are; copies are moved by about the noise that was asked for.
    let grown = growth.weights(&weights).unwrap();
    let (old, new) = (
        weights.get("a.weight").unwrap(),
        grown.get("a.weight").unwrap(),
    );
    assert_eq!(new.data()[..12], *old.data());
    assert!(new.data()[12..].iter().zip(old.data()).all(|(a, b)| a != b));
    assert_eq!(
        grown.get("a.bias").unwrap().data()[3..],
        *weights.get("a.bias").unwrap().data()
    );
}

#[test]
fn a_perturbed_weight_is_caught() {
    let (graph, weights) = perceptron();
    let plan = widened(&graph, Symmetry::default());
    let growth = apply(&graph, &plan).unwrap();
    let mut cx = Context::new(1).unwrap();
    let x = inputs(&graph, BATCH, 1);
    let grown = growth.weights(&weights).unwrap();
    let mut differs = |grown: &Weights<f64>| {
        let (old, new) = ((&graph, &weights), (growth.graph(), grown));
        compare(&mut cx, old, new, BATCH, &slices(&x)).unwrap()[0].max_rel
    };
    assert!(differs(&grown) < TOLERANCE);
    for (name, size) in [("b.weight", 18), ("a.weight", 24)] {
        // Some unit of the first layer may be off for every sample, but not all of them.
        let caught = (0..size).filter(|at| {
            let mut wrong = grown.clone();
            wrong.get_mut(name).unwrap().data_mut()[*at] += 1e-6;
            differs(&wrong) > TOLERANCE
        });
        assert!(caught.count() > size / 2, "{name}");
    }
    let mut broken = grown.clone();
    broken.get_mut("b.weight").unwrap().data_mut()[0] = f64::NAN;
    assert!(differs(&broken).is_infinite());
}

#[test]
fn a_wrong_growth_is_an_error_of_the_proof() {
    let (graph, weights) = perceptron();
    let exact = widened(&graph, Symmetry::Even);
    let noisy = widened(&graph, Symmetry::Incoming { std: 0.1 });
    // The growth of one plan under the name of another: what a fault in a rule would look like.
    let growth = apply(&graph, &noisy).unwrap();
    let x: Vec<f32> = inputs(&graph, BATCH, 1)[0]
        .iter()
        .map(|x| *x as f32)
        .collect();
    let refused = grow_and_prove(
        &graph,
        &exact,
        &growth,
        &weights.cast(),
        1,
        BATCH,
        &[&x],
        "",
    );
    assert!(
        matches!(refused, Err(VerifyError::Changed { .. })),
        "{refused:?}"
    );
}

#[test]
fn padding_keeps_the_old_block_and_draws_the_rest() {
    let (graph, weights) = perceptron();
    let plan = widened(&graph, Symmetry::Even);
    let growth = apply(&graph, &plan).unwrap();
    let padded = growth.padded(&weights, 5).unwrap();
    let random: Weights<f64> = initialize(growth.graph(), 5);
    padded.check(growth.graph()).unwrap();
    let (old, new) = (
        weights.get("a.weight").unwrap(),
        padded.get("a.weight").unwrap(),
    );
    assert_eq!(new.shape(), [6, 4]);
    assert_eq!(new.data()[..12], *old.data());
    assert_eq!(
        new.data()[12..],
        random.get("a.weight").unwrap().data()[12..]
    );
    let (old, new) = (
        weights.get("b.weight").unwrap(),
        padded.get("b.weight").unwrap(),
    );
    let random = random.get("b.weight").unwrap();
    assert_eq!(new.shape(), [3, 6]);
    for row in 0..3 {
        assert_eq!(new.data()[row * 6..][..3], old.data()[row * 3..][..3]);
        assert_eq!(
            new.data()[row * 6 + 3..][..3],
            random.data()[row * 6 + 3..][..3]
        );
    }
    assert_eq!(padded.get("a.bias").unwrap().data()[3..], [0.0; 3]);
}
