//! The trainer's promises: the same run twice, other batches, and a good state after a bad step.

use net2net_core::engine::{CompileError, OptimizerState, TrainError, Trainer, TrainerOptions};
use net2net_core::graph::Graph;
use net2net_core::weights::Weights;

use super::parting::{LABELS, PERCEPTRON, options};
use super::random_graph::{BATCH, Net, inputs, random_net, random_weights};

fn trainer(net: &Net, options: TrainerOptions) -> Trainer<f64> {
    Trainer::new(
        &net.graph,
        &net.weights,
        &OptimizerState::default(),
        options,
    )
    .unwrap()
}

fn by_hand(text: &str) -> Net {
    let graph: Graph = text.parse().unwrap();
    let weights = random_weights(&graph, 1);
    Net { graph, weights }
}

/// The weights after some steps, and the losses on the way.
fn run(net: &Net, options: TrainerOptions, steps: usize) -> (Weights<f64>, Vec<f64>) {
    let mut trainer = trainer(net, options);
    let losses = (0..steps as u64).map(|step| {
        let x = net.inputs(BATCH, step);
        trainer.step(&x[0], &LABELS, 1e-3).unwrap().loss
    });
    let losses = losses.collect();
    (trainer.weights(), losses)
}

#[test]
fn the_same_threads_give_the_same_bits_and_others_are_close() {
    for seed in 0..12 {
        let net = random_net(seed, 3, false);
        let with = |threads| {
            run(
                &net,
                TrainerOptions {
                    threads,
                    ..options(0.9)
                },
                5,
            )
        };
        let (one, two) = (with(1), with(2));
        assert_eq!(one, with(1));
        assert_eq!(two, with(2));
        for (a, b) in one.1.iter().zip(&two.1) {
            assert!(
                (a - b).abs() < 1e-8 * (1.0 + a.abs()),
                "seed {seed}: {a} and {b}"
            );
        }
    }
}

const DROPS: &str = "graph drops
input x [N, 40]
param a [40, 30]
node a_out [N, 30] = Gemm(x, a)
node drop [N, 30] = Dropout(a_out)
param b [30, 3]
node b_out [N, 3] = Gemm(drop, b)
output b_out
";

#[test]
fn dropout_is_decided_by_the_seed_and_the_step() {
    let net = by_hand(DROPS);
    let losses = |seed| {
        run(
            &net,
            TrainerOptions {
                seed,
                ..options(0.0)
            },
            3,
        )
        .1
    };
    assert_eq!(losses(1), losses(1));
    assert_ne!(losses(1), losses(2));
    let mut trainer = trainer(&net, options(0.0));
    let x = net.inputs(BATCH, 0);
    // A rate of zero moves nothing, so only the mask differs from step to step.
    let first = trainer.step(&x[0], &LABELS, 0.0).unwrap().loss;
    assert_ne!(trainer.step(&x[0], &LABELS, 0.0).unwrap().loss, first);
    let plain = trainer.evaluate(&x[0], &LABELS).unwrap().loss;
    assert_eq!(trainer.evaluate(&x[0], &LABELS).unwrap().loss, plain);
}

#[test]
fn evaluation_takes_batches_of_any_size() {
    let net = random_net(5, 3, false);
    let mut trainer = trainer(&net, options(0.9));
    let x = net.inputs(7, 2).remove(0);
    let labels = [0, 1, 2, 0, 1, 2, 0];
    let whole = trainer.evaluate(&x, &labels).unwrap();
    assert_eq!(whole.samples, 7);
    let sample = x.len() / 7;
    let (mut loss, mut correct) = (0.0, 0);
    for (at, size) in [(0, 1), (1, 4), (5, 2)] {
        let part = trainer.evaluate(&x[at * sample..][..size * sample], &labels[at..][..size]);
        let part = part.unwrap();
        loss += part.loss;
        correct += part.correct;
    }
    assert!((loss - whole.loss).abs() < 1e-9 * whole.loss);
    assert_eq!(correct, whole.correct);
    let none = trainer.evaluate(&[], &[]).unwrap_err();
    assert!(
        matches!(none, TrainError::Compile(CompileError::EmptyBatch)),
        "{none}"
    );
}

#[test]
fn a_step_that_diverges_changes_nothing() {
    let net = random_net(3, 3, false);
    let mut trainer = trainer(&net, options(0.9));
    let x = net.inputs(BATCH, 0).remove(0);
    trainer.step(&x, &LABELS, 1e-3).unwrap();
    let before = (trainer.weights(), trainer.optimizer_state());
    let mut bad = x.clone();
    bad[3] = f64::NAN;
    let error = trainer.step(&bad, &LABELS, 1e-3).unwrap_err();
    assert!(
        matches!(
            error,
            TrainError::Diverged {
                what: "the loss",
                step: 2
            }
        ),
        "{error}"
    );
    assert_eq!((trainer.weights(), trainer.optimizer_state()), before);
    trainer.step(&x, &LABELS, 1e-3).unwrap();
    assert_eq!(trainer.steps(), 2);
}

#[test]
fn a_gradient_without_end_is_refused_though_the_loss_is_finite() {
    let mut net = by_hand(PERCEPTRON);
    net.weights
        .get_mut("a.weight")
        .unwrap()
        .data_mut()
        .fill(0.0);
    net.weights.get_mut("a.bias").unwrap().data_mut().fill(1.0);
    let mut trainer = trainer(&net, options(0.9));
    let before = trainer.weights();
    let error = trainer.step(&[1e300; 12], &LABELS, 0.1).unwrap_err();
    assert!(
        matches!(
            error,
            TrainError::Diverged {
                what: "the gradient",
                step: 1
            }
        ),
        "{error}"
    );
    assert_eq!(trainer.weights(), before);
}

#[test]
fn wrong_batches_are_errors() {
    let net = by_hand(PERCEPTRON);
    let mut trainer = trainer(&net, options(0.0));
    let x = inputs(&net.graph, BATCH, 0).remove(0);
    let input = |error: &TrainError| {
        matches!(
            error,
            TrainError::Compile(CompileError::Input {
                found: 11,
                expected: 12,
                ..
            })
        )
    };
    assert!(input(&trainer.step(&x[1..], &LABELS, 0.1).unwrap_err()));
    let few = trainer.step(&x, &LABELS[1..], 0.1).unwrap_err();
    assert!(
        matches!(
            few,
            TrainError::Labels {
                found: 2,
                expected: 3
            }
        ),
        "{few}"
    );
    let many = trainer.step(&x, &[0; 4], 0.1).unwrap_err();
    assert!(
        matches!(
            many,
            TrainError::Labels {
                found: 4,
                expected: 3
            }
        ),
        "{many}"
    );
    let label = trainer.step(&x, &[0, 3, 0], 0.1).unwrap_err();
    assert!(
        matches!(
            label,
            TrainError::Label {
                label: 3,
                classes: 3
            }
        ),
        "{label}"
    );
    assert!(trainer.evaluate(&x, &[0, 9, 0]).is_err());
    assert!(trainer.evaluate(&x, &[0, 0]).is_err());
}

#[test]
fn networks_that_cannot_be_trained_are_refused() {
    let refuse = |text: &str, options: TrainerOptions| {
        let net = by_hand(text);
        Trainer::new(
            &net.graph,
            &net.weights,
            &OptimizerState::default(),
            options,
        )
        .err()
        .unwrap()
    };
    let image = "graph g\ninput x [N, 1, 2, 2]\nparam w [1, 1, 1, 1]\n\
                 node y [N, 1, 2, 2] = Conv(x, w)\noutput y\n";
    assert!(matches!(
        refuse(image, options(0.0)),
        TrainError::NotAClassifier { .. }
    ));
    let fixed = "graph g\ninput x [N, 3]\nnode y [N, 3] = Relu(x)\noutput y\n";
    assert!(matches!(
        refuse(fixed, options(0.0)),
        TrainError::NothingToTrain { .. }
    ));
    let input = "graph g\ninput x [N, 3]\noutput x\n";
    assert!(matches!(
        refuse(input, options(0.0)),
        TrainError::NothingToTrain { .. }
    ));
    let empty = TrainerOptions {
        batch: 0,
        ..options(0.0)
    };
    assert!(matches!(
        refuse(PERCEPTRON, empty),
        TrainError::Compile(CompileError::EmptyBatch)
    ));
    let huge = TrainerOptions {
        batch: usize::MAX / 8,
        ..options(0.0)
    };
    let error = refuse(PERCEPTRON, huge);
    assert!(
        matches!(error, TrainError::Compile(CompileError::TooLarge { .. })),
        "{error}"
    );
    let net = by_hand(PERCEPTRON);
    let mut moments: Weights<f64> = net.weights.clone();
    moments.insert("a.bias", net.weights.get("b.weight").unwrap().clone());
    let moments = [(net2net_core::engine::Moment::First, moments)].into();
    let state = OptimizerState {
        steps: 1,
        moments,
        ..OptimizerState::default()
    };
    assert!(Trainer::new(&net.graph, &net.weights, &state, options(0.9)).is_err());
}
