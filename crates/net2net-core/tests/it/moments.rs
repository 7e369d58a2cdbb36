//! The optimizer's state grows with the network: what was a moment of the old gradient is one of
//! the new.

use std::collections::BTreeMap;

use net2net_core::apply::apply;
use net2net_core::dims::Spaces;
use net2net_core::engine::{Moment, OptimizerState, Trainer};
use net2net_core::graph::Graph;
use net2net_core::plan::{Insert, Layer, Mapping, Plan, Step, Symmetry, widen};
use net2net_core::weights::{Tensor, Weights, stream};
use proptest::prelude::*;
use rand::RngExt;

use super::parting::{LABELS, PERCEPTRON, options};
use super::random_graph::{BATCH, random_net};

fn trained(graph: &Graph, weights: &Weights<f64>) -> Weights<f64> {
    let roles = graph.parameter_roles();
    let mut kept = Weights::default();
    for (name, tensor) in weights.iter() {
        if roles
            .get(&graph.find(name).unwrap())
            .is_none_or(|role| role.is_trained())
        {
            kept.insert(name, tensor.clone());
        }
    }
    kept
}

/// The gradient of the grown network is the grown gradient of the old one, whatever the shares.
fn gradient_follows(seed: u64, blocks: usize) {
    let net = random_net(seed, blocks, true);
    if net.graph.flops() > 300_000 {
        return;
    }
    let spaces = Spaces::infer(&net.graph);
    let mut random = stream(seed, "moments");
    let steps: Vec<Step> = spaces
        .growable()
        // Copies that are averaged share that gradient evenly, and not by their shares.
        .filter(|space| !space.uniform)
        .filter_map(|space| {
            let old = space.size.fixed().unwrap();
            let size = old + random.random_range(0..=old);
            // With noise on what reads copies their gradients are no shares of one.
            let symmetry = if random.random_bool(0.7) {
                Symmetry::Even
            } else {
                Symmetry::Uneven { spread: 0.5 }
            };
            let seed = random.random();
            let step = widen(&spaces, &space.name, size, Mapping::Random, symmetry, seed);
            (size > old).then(|| Step::Widen(step.unwrap()))
        })
        .collect();
    let plan = Plan::new(&net.graph, seed, steps);
    let growth = apply(&net.graph, &plan).unwrap();
    let inputs = net.inputs(BATCH, seed);
    let gradients = |graph: &Graph, weights: &Weights<f64>| {
        let mut trainer =
            Trainer::new(graph, weights, &OptimizerState::default(), options(0.9)).unwrap();
        trainer.gradients_by_name(&inputs[0], &LABELS).unwrap().1
    };
    let old = trained(&net.graph, &gradients(&net.graph, &net.weights));
    let grown_weights = growth.weights(&net.weights).unwrap();
    let new = trained(growth.graph(), &gradients(growth.graph(), &grown_weights));
    let state = OptimizerState {
        steps: 1,
        moments: BTreeMap::from([(Moment::First, old)]),
        ..OptimizerState::default()
    };
    let grown = &growth.optimizer_state(&state).unwrap().moments[&Moment::First];
    let scale = new
        .iter()
        .flat_map(|(_, t)| t.data())
        .fold(0.0, |m: f64, x| m.max(x.abs()));
    assert_eq!(grown.len(), new.len());
    for (name, tensor) in new.iter() {
        let expected = grown.get(name).unwrap();
        assert_eq!(tensor.shape(), expected.shape());
        for (a, b) in tensor.data().iter().zip(expected.data()) {
            assert!(
                (a - b).abs() < 1e-10 * scale,
                "{name}: {a} is not {b}; seed {seed}, {blocks} blocks\n{}\n{}",
                plan.to_json().unwrap(),
                net.graph
            );
        }
    }
}

#[test]
fn the_gradient_of_a_grown_network_is_the_grown_gradient() {
    let mut runner = proptest::test_runner::TestRunner::new(super::config(400));
    let run = runner.run(&(any::<u64>(), 1..4usize), |(seed, blocks)| {
        gradient_follows(seed, blocks);
        Ok(())
    });
    run.unwrap();
}

#[test]
fn even_copies_divide_producers_moments_and_keep_readers() {
    let graph: Graph = PERCEPTRON.parse().unwrap();
    let spaces = Spaces::infer(&graph);
    // Unit 0 three times, unit 1 twice, unit 2 once.
    let mut step = widen(&spaces, "a", 6, Mapping::Uniform, Symmetry::Even, 0).unwrap();
    step.source = vec![0, 1, 2, 0, 1, 0];
    step.shares = vec![1.0 / 3.0, 0.5, 1.0, 1.0 / 3.0, 0.5, 1.0 / 3.0];
    let insert = Insert {
        after: "act".into(),
        name: "new".into(),
        layer: Layer::Identity {
            kernel: vec![1, 1],
            norm: None,
        },
    };
    let plan = Plan::new(&graph, 0, vec![Step::Widen(step), Step::Insert(insert)]);
    let growth = apply(&graph, &plan).unwrap();
    let tensor = |sizes: &[usize], data: Vec<f64>| Tensor::new(sizes.to_vec(), data).unwrap();
    let mut moments = Weights::default();
    moments.insert(
        "a.weight",
        tensor(&[3, 4], (0..12).map(|x| 36.0 * x as f64).collect()),
    );
    moments.insert("a.bias", tensor(&[3], vec![36.0, 72.0, 144.0]));
    moments.insert("b.weight", tensor(&[3, 3], (0..9).map(f64::from).collect()));
    let state = OptimizerState {
        steps: 11,
        moments: [Moment::First, Moment::Second]
            .map(|m| (m, moments.clone()))
            .into(),
        ..OptimizerState::default()
    };
    let grown = growth.optimizer_state(&state).unwrap();
    assert_eq!(grown.steps, 11);
    let first = &grown.moments[&Moment::First];
    let second = &grown.moments[&Moment::Second];
    let close = |found: &[f64], expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12),
            "{found:?}"
        );
    };
    close(
        first.get("a.bias").unwrap().data(),
        &[12.0, 36.0, 144.0, 12.0, 36.0, 12.0],
    );
    close(
        second.get("a.bias").unwrap().data(),
        &[4.0, 18.0, 144.0, 4.0, 18.0, 4.0],
    );
    close(
        &first.get("a.weight").unwrap().data()[..4],
        &[0.0, 12.0, 24.0, 36.0],
    );
    for readers in [first, second] {
        close(
            &readers.get("b.weight").unwrap().data()[..6],
            &[0.0, 1.0, 2.0, 0.0, 1.0, 0.0],
        );
        assert_eq!(
            readers.get("new.weight").unwrap(),
            &Tensor::full(&[6, 6], 0.0)
        );
    }
}

#[test]
fn a_grown_trainer_takes_the_grown_step() {
    // One step of the old network, then growth; or growth, then one step: readers and what
    // produces nothing else agree where shares are whole.
    let net = random_net(12, 2, true);
    let inputs = net.inputs(BATCH, 1);
    let start = OptimizerState::default();
    let mut trainer = Trainer::new(&net.graph, &net.weights, &start, options(0.9)).unwrap();
    for _ in 0..3 {
        trainer.step(&inputs[0], &LABELS, 0.01).unwrap();
    }
    let (weights, state) = (trainer.weights(), trainer.optimizer_state());
    let spaces = Spaces::infer(&net.graph);
    let space = spaces.growable().next().unwrap();
    let size = space.size.fixed().unwrap() * 2;
    let step = widen(
        &spaces,
        &space.name,
        size,
        Mapping::Uniform,
        Symmetry::Even,
        0,
    )
    .unwrap();
    let growth = apply(
        &net.graph,
        &Plan::new(&net.graph, 0, vec![Step::Widen(step)]),
    )
    .unwrap();
    let (grown, grown_state) = (
        growth.weights(&weights).unwrap(),
        growth.optimizer_state(&state).unwrap(),
    );
    let mut grown_trainer =
        Trainer::new(growth.graph(), &grown, &grown_state, options(0.9)).unwrap();
    assert_eq!(grown_trainer.steps(), 3);
    let old = trainer.step(&inputs[0], &LABELS, 0.01).unwrap();
    let new = grown_trainer.step(&inputs[0], &LABELS, 0.01).unwrap();
    assert!((old.loss - new.loss).abs() < 1e-10);
    let expected = growth.optimizer_state(&trainer.optimizer_state()).unwrap();
    let found = grown_trainer.optimizer_state();
    for (name, tensor) in found.moments[&Moment::First].iter() {
        let other = expected.moments[&Moment::First].get(name).unwrap();
        for (a, b) in tensor.data().iter().zip(other.data()) {
            assert!((a - b).abs() < 1e-10, "{name}");
        }
    }
}
