//! Optimizers against their formulas, and what happens to gradients before they reach them.

use net2net_core::engine::{OptimizerConfig, OptimizerState, Trainer, TrainerOptions, evaluate};
use net2net_core::graph::Graph;
use net2net_core::ops::Role;
use net2net_core::weights::Weights;
use net2net_kernels::Context;

use super::parting::{LABELS, options};
use super::random_graph::{BATCH, inputs, random_weights};

/// Parameters of every trained role.
const NET: &str = "graph net
input x [N, 2, 3, 3]
param conv.weight [3, 2, 2, 2]
param conv.bias [3]
node conv [N, 3, 2, 2] = Conv(x, conv.weight, conv.bias)
param norm.scale [3]
param norm.shift [3]
param norm.mean [3]
param norm.variance [3]
node norm [N, 3, 2, 2] = BatchNormalization(conv, norm.scale, norm.shift, norm.mean, norm.variance; momentum=0.7)
param slope [3]
node act [N, 3, 2, 2] = PRelu(norm, slope)
param plane [2, 2]
node sum [N, 3, 2, 2] = Add(act, plane)
node flat [N, 12] = Flatten(sum)
param fc.weight [12, 3]
node fc [N, 3] = Gemm(flat, fc.weight)
output fc
";

struct Setting {
    graph: Graph,
    x: Vec<f64>,
    trainer: Trainer<f64>,
}

fn setting(options: TrainerOptions) -> Setting {
    let graph: Graph = NET.parse().unwrap();
    let weights = random_weights(&graph, 3);
    let x = inputs(&graph, BATCH, 3).remove(0);
    let trainer = Trainer::new(&graph, &weights, &OptimizerState::default(), options).unwrap();
    Setting { graph, x, trainer }
}

fn trained(graph: &Graph) -> Vec<(String, Role)> {
    let roles = graph.parameter_roles();
    let named = graph
        .parameters()
        .map(|id| (graph.get(id).name.clone(), roles[&id]));
    named.filter(|(_, role)| role.is_trained()).collect()
}

fn assert_close(name: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!(
            (a - b).abs() < 1e-12 * (1.0 + b.abs()),
            "{name}: {a} is not {b}"
        );
    }
}

/// Three steps by `rule(step, parameter, gradient, two moments, decay)` and by the trainer.
fn follows(
    config: OptimizerConfig,
    decay: f64,
    rule: impl Fn(i32, &mut f64, f64, &mut [f64; 2], f64),
) {
    let mut s = setting(TrainerOptions {
        optimizer: config,
        ..options(0.0)
    });
    let names = trained(&s.graph);
    let mut expected = s.trainer.weights();
    let mut moments: Vec<Vec<[f64; 2]>> = names
        .iter()
        .map(|(name, _)| vec![[0.0; 2]; expected.get(name).unwrap().data().len()])
        .collect();
    for step in 1..=3 {
        let (_, gradients) = s.trainer.gradients_by_name(&s.x, &LABELS).unwrap();
        s.trainer.step(&s.x, &LABELS, 0.05).unwrap();
        let found = s.trainer.weights();
        for ((name, role), moments) in names.iter().zip(&mut moments) {
            let decay = if *role == Role::Weight { decay } else { 0.0 };
            let gradient = gradients.get(name).unwrap().data();
            let values = expected.get_mut(name).unwrap().data_mut();
            for ((p, g), m) in values.iter_mut().zip(gradient).zip(moments) {
                rule(step, p, *g, m, decay);
            }
            assert_close(name, found.get(name).unwrap().data(), values);
        }
        // Both go on from the same numbers.
        expected = found;
        assert_eq!(s.trainer.steps(), step as u64);
    }
}

#[test]
fn sgd_and_nesterov_follow_their_formulas() {
    for nesterov in [false, true] {
        let config = OptimizerConfig::Sgd {
            momentum: 0.8,
            nesterov,
            weight_decay: 0.1,
        };
        follows(config, 0.1, |_, p, g, m, decay| {
            let g = g + decay * *p;
            m[0] = 0.8 * m[0] + g;
            *p -= 0.05 * if nesterov { g + 0.8 * m[0] } else { m[0] };
        });
    }
    let plain = OptimizerConfig::Sgd {
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
    };
    follows(plain, 0.0, |_, p, g, _, _| *p -= 0.05 * g);
}

#[test]
fn adamw_follows_its_formula() {
    let config = OptimizerConfig::AdamW {
        beta1: 0.8,
        beta2: 0.95,
        epsilon: 1e-6,
        weight_decay: 0.1,
    };
    follows(config, 0.1, |step, p, g, m, decay| {
        *p *= 1.0 - 0.05 * decay;
        m[0] = 0.8 * m[0] + 0.2 * g;
        m[1] = 0.95 * m[1] + 0.05 * g * g;
        let (mean, square) = (
            m[0] / (1.0 - 0.8f64.powi(step)),
            m[1] / (1.0 - 0.95f64.powi(step)),
        );
        *p -= 0.05 * mean / (square.sqrt() + 1e-6);
    });
}

#[test]
fn a_large_gradient_is_scaled_to_the_limit_and_a_small_one_is_not() {
    for (limit, scales) in [(1e-2, true), (1e6, false)] {
        let mut s = setting(TrainerOptions {
            gradient_clip: Some(limit),
            ..options(0.0)
        });
        let before = s.trainer.weights();
        let (_, gradients) = s.trainer.gradients_by_name(&s.x, &LABELS).unwrap();
        let squares = gradients.iter().flat_map(|(_, g)| g.data()).map(|g| g * g);
        let norm = squares.sum::<f64>().sqrt();
        let report = s.trainer.step(&s.x, &LABELS, 0.5).unwrap();
        assert!((report.gradient_norm - norm).abs() < 1e-12 * norm);
        let factor = if scales { limit / norm } else { 1.0 };
        let after = s.trainer.weights();
        for (name, _) in trained(&s.graph) {
            let moved = before.get(&name).unwrap().data().iter();
            let gradient = gradients.get(&name).unwrap().data();
            let expected: Vec<f64> = moved
                .zip(gradient)
                .map(|(p, g)| p - 0.5 * factor * g)
                .collect();
            assert_close(&name, after.get(&name).unwrap().data(), &expected);
        }
    }
}

#[test]
fn label_smoothing_spreads_a_share_of_the_target() {
    let graph: Graph = super::parting::PERCEPTRON.parse().unwrap();
    let weights = random_weights(&graph, 3);
    let x = inputs(&graph, BATCH, 3);
    let mut cx = Context::new(1).unwrap();
    let logits = evaluate(&mut cx, &graph, &weights, BATCH, &[&x[0]])
        .unwrap()
        .remove(0);
    for smoothing in [0.0, 0.3] {
        let options = TrainerOptions {
            label_smoothing: smoothing,
            ..options(0.0)
        };
        let mut trainer =
            Trainer::new(&graph, &weights, &OptimizerState::default(), options).unwrap();
        let (loss, _) = trainer.gradients_by_name(&x[0], &LABELS).unwrap();
        let mut expected = 0.0;
        for (row, label) in logits.chunks_exact(3).zip(LABELS) {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            for (class, logit) in row.iter().enumerate() {
                let hit = if class == label as usize {
                    1.0 - smoothing
                } else {
                    0.0
                };
                expected -= (hit + smoothing / 3.0) * (logit - sum.ln()) / BATCH as f64;
            }
        }
        assert!((loss - expected).abs() < 1e-12, "{loss} is not {expected}");
        // An evaluation reports the plain loss whatever the training adds to it.
        let plain = trainer.evaluate(&x[0], &LABELS).unwrap();
        assert!(smoothing > 0.0 || (plain.loss / 3.0 - loss).abs() < 1e-12);
    }
}

#[test]
fn running_statistics_move_towards_the_batchs() {
    let mut s = setting(options(0.0));
    let weights: Weights<f64> = s.trainer.weights();
    let conv = s.graph.with_outputs(&[s.graph.find("conv").unwrap()]);
    let mut cx = Context::new(1).unwrap();
    let y = evaluate(&mut cx, &conv, &weights, BATCH, &[&s.x])
        .unwrap()
        .remove(0);
    s.trainer.step(&s.x, &LABELS, 0.1).unwrap();
    let after = s.trainer.weights();
    for channel in 0..3 {
        let own = |i: &usize| (i / 4) % 3 == channel;
        let values: Vec<f64> = (0..y.len()).filter(own).map(|i| y[i]).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
        for (name, batch) in [("norm.mean", mean), ("norm.variance", variance)] {
            let old = weights.get(name).unwrap().data()[channel];
            let expected = 0.7 * old + 0.3 * batch;
            let found = after.get(name).unwrap().data()[channel];
            assert!(
                (found - expected).abs() < 1e-12,
                "{name}: {found} is not {expected}"
            );
        }
    }
}

/// A layer that was inserted after a thousand steps has moments of no age, and must step like one
/// in its first step, not like one whose empty moments are a thousand steps old.
#[test]
fn adam_corrects_the_moments_of_an_inserted_layer_by_their_own_age() {
    let adam = TrainerOptions {
        optimizer: OptimizerConfig::AdamW {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        },
        ..options(0.9)
    };
    let mut fresh = setting(adam.clone());
    let graph = fresh.graph.clone();
    let weights = random_weights(&graph, 3);
    let late = |since: u64| {
        let names = trained(&graph).into_iter();
        let state = OptimizerState {
            steps: 1000,
            since: names.map(|(name, _)| (name, since)).collect(),
            ..OptimizerState::default()
        };
        let mut trainer = Trainer::new(&graph, &weights, &state, adam.clone()).unwrap();
        trainer.step(&fresh.x, &LABELS, 0.01).unwrap();
        (trainer.weights(), trainer.optimizer_state())
    };
    let (inserted, state) = late(1000);
    let (aged, _) = late(0);
    assert_eq!(state.steps, 1001);
    assert_eq!(state.since["fc.weight"], 1000);
    fresh.trainer.step(&fresh.x, &LABELS, 0.01).unwrap();
    let expected = fresh.trainer.weights();
    for (name, _) in trained(&graph) {
        assert_eq!(inserted.get(&name), expected.get(&name), "{name}");
        assert_ne!(aged.get(&name), expected.get(&name), "{name}");
    }
}
