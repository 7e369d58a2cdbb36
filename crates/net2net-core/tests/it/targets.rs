//! Targets that are not labels: probabilities, a teacher's answer, numbers.

use net2net_core::engine::{
    OptimizerState, Predictor, Targets, Teaching, TrainError, Trainer, TrainerOptions, evaluate,
};
use net2net_core::graph::Graph;
use net2net_core::weights::Weights;
use net2net_kernels::Context;

use super::parting::{LABELS, PERCEPTRON, options};
use super::random_graph::{BATCH, inputs, random_weights};

const TEACHER: [f64; 9] = [1.0, -2.0, 0.5, 0.0, 3.0, -1.0, 2.0, 2.0, -0.5];
const MIXED: [f64; 9] = [0.7, 0.3, 0.0, 0.0, 1.0, 0.0, 0.2, 0.3, 0.5];

fn perceptron() -> (Graph, Weights<f64>, Vec<f64>) {
    let graph: Graph = PERCEPTRON.parse().unwrap();
    let weights = random_weights(&graph, 1);
    let x = inputs(&graph, BATCH, 1).remove(0);
    (graph, weights, x)
}

fn trainer(graph: &Graph, weights: &Weights<f64>, options: TrainerOptions) -> Trainer<f64> {
    Trainer::new(graph, weights, &OptimizerState::default(), options).unwrap()
}

fn softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let sum: f64 = row.iter().map(|x| (x / temperature).exp()).sum();
    row.iter().map(|x| (x / temperature).exp() / sum).collect()
}

/// The mean cross entropy between rows of probabilities and softened logits.
fn cross_entropy(targets: &[f64], logits: &[f64], temperature: f64) -> f64 {
    let rows = targets.chunks_exact(3).zip(logits.chunks_exact(3));
    let losses = rows.map(|(targets, logits)| {
        let p = softmax(logits, temperature);
        targets.iter().zip(p).map(|(t, p)| -t * p.ln()).sum::<f64>()
    });
    losses.sum::<f64>() / BATCH as f64
}

/// Every gradient is the slope of the loss.
fn slopes_agree(
    graph: &Graph,
    weights: &Weights<f64>,
    gradients: &Weights<f64>,
    loss: impl Fn(&Weights<f64>) -> f64,
) {
    for (name, gradient) in gradients.iter() {
        for at in 0..gradient.data().len() {
            let moved = |by: f64| {
                let mut weights = weights.clone();
                weights.get_mut(name).unwrap().data_mut()[at] += by;
                loss(&weights)
            };
            let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            let found = gradient.data()[at];
            assert!(
                (found - slope).abs() < 1e-6 * (1.0 + slope.abs()),
                "{name}[{at}] of {}: {found}, and the slope is {slope}",
                graph.name()
            );
        }
    }
}

#[test]
fn a_teachers_answer_is_a_share_of_the_loss() {
    let (graph, weights, x) = perceptron();
    let mut cx = Context::new(1).unwrap();
    let logits = evaluate(&mut cx, &graph, &weights, BATCH, &[&x]).unwrap();
    for (temperature, weight) in [(1.0, 0.5), (4.0, 0.9), (2.0, 1.0)] {
        let teaching = || {
            Some(Teaching {
                logits: &TEACHER,
                temperature,
                weight,
            })
        };
        let answer: Vec<f64> = TEACHER
            .chunks_exact(3)
            .flat_map(|row| softmax(row, temperature))
            .collect();
        let hard: Vec<f64> = LABELS
            .iter()
            .flat_map(|label| (0..3).map(move |class| f64::from(u8::from(class == *label))))
            .collect();
        let expected = (1.0 - weight) * cross_entropy(&hard, &logits[0], 1.0)
            + weight * temperature.powi(2) * cross_entropy(&answer, &logits[0], temperature);
        let taught = |weights: &Weights<f64>| {
            trainer(&graph, weights, options(0.0))
                .gradients_taught(&x, &LABELS, teaching())
                .unwrap()
        };
        let (loss, gradients) = taught(&weights);
        assert!((loss - expected).abs() < 1e-12, "{loss} is not {expected}");
        slopes_agree(&graph, &weights, &gradients, |weights| taught(weights).0);
    }
    // A share of nothing changes nothing.
    let none = Teaching {
        logits: &TEACHER,
        temperature: 3.0,
        weight: 0.0,
    };
    let mut plain = trainer(&graph, &weights, options(0.0));
    let taught = plain.gradients_taught(&x, &LABELS, Some(none)).unwrap();
    assert_eq!(taught, plain.gradients_by_name(&x, &LABELS).unwrap());
}

#[test]
fn mixed_targets_are_smoothed_like_labels() {
    let (graph, weights, x) = perceptron();
    let mut cx = Context::new(1).unwrap();
    let logits = evaluate(&mut cx, &graph, &weights, BATCH, &[&x]).unwrap();
    for smoothing in [0.0, 0.3] {
        let options = TrainerOptions {
            label_smoothing: smoothing,
            ..options(0.0)
        };
        let of = |weights: &Weights<f64>| {
            trainer(&graph, weights, options.clone())
                .gradients_by_name(&x, Targets::Probabilities(&MIXED))
                .unwrap()
        };
        let smooth = MIXED.map(|p| (1.0 - smoothing) * p + smoothing / 3.0);
        let (loss, gradients) = of(&weights);
        let expected = cross_entropy(&smooth, &logits[0], 1.0);
        assert!((loss - expected).abs() < 1e-12, "{loss} is not {expected}");
        slopes_agree(&graph, &weights, &gradients, |weights| of(weights).0);
    }
}

#[test]
fn a_network_learns_the_numbers_that_another_one_gives() {
    let (graph, weights, x) = perceptron();
    let hidden = graph.with_outputs(&[graph.find("a").unwrap()]);
    let hints: Vec<f64> = vec![1.0; 3 * BATCH];
    let start = |weights: &Weights<f64>| {
        Trainer::for_values(&hidden, weights, &OptimizerState::default(), options(0.0)).unwrap()
    };
    let of = |weights: &Weights<f64>| {
        start(weights)
            .gradients_by_name(&x, Targets::Values(&hints))
            .unwrap()
    };
    let y = Predictor::new(&hidden, &weights, 1)
        .unwrap()
        .run(BATCH, &[&x])
        .unwrap();
    let (loss, gradients) = of(&weights);
    let squares: f64 = y[0].iter().zip(&hints).map(|(y, h)| (y - h).powi(2)).sum();
    assert!((loss - squares / 2.0 / y[0].len() as f64).abs() < 1e-12);
    slopes_agree(&hidden, &weights, &gradients, |weights| of(weights).0);
    let mut trainer = start(&weights);
    for _ in 0..300 {
        trainer.step(&x, Targets::Values(&hints), 0.3).unwrap();
    }
    let after = of(&trainer.weights()).0;
    assert!(after < 0.5 * loss, "{loss} became {after}");
}

#[test]
fn a_predictor_answers_like_a_single_pass() {
    let (graph, weights, x) = perceptron();
    let mut cx = Context::new(1).unwrap();
    let mut predictor = Predictor::new(&graph, &weights, 1).unwrap();
    for batch in [BATCH, 1, BATCH] {
        let part = &x[..batch * 4];
        let expected = evaluate(&mut cx, &graph, &weights, batch, &[part]).unwrap();
        assert_eq!(predictor.run(batch, &[part]).unwrap(), expected);
    }
    assert!(predictor.run(BATCH, &[&x[1..]]).is_err());
}

#[test]
fn targets_that_do_not_fit_are_refused() {
    let (graph, weights, x) = perceptron();
    let mut trainer = trainer(&graph, &weights, options(0.0));
    let short = trainer.step(&x, Targets::Probabilities(&MIXED[3..]), 0.1);
    assert!(matches!(
        short.unwrap_err(),
        TrainError::Targets {
            found: 6,
            expected: 9,
            ..
        }
    ));
    let mut wrong = MIXED;
    wrong[4] = 0.5;
    let error = trainer.step(&x, Targets::Probabilities(&wrong), 0.1);
    assert!(matches!(
        error.unwrap_err(),
        TrainError::Probabilities { sample: 1 }
    ));
    wrong[4] = f64::NAN;
    assert!(
        trainer
            .step(&x, Targets::Probabilities(&wrong), 0.1)
            .is_err()
    );
    let teaching = Some(Teaching {
        logits: &TEACHER[1..],
        temperature: 1.0,
        weight: 0.5,
    });
    let error = trainer.step_taught(&x, &LABELS, teaching, 0.1).unwrap_err();
    assert!(matches!(error, TrainError::Targets { .. }), "{error}");
    let hidden = graph.with_outputs(&[graph.find("act").unwrap()]);
    let state = OptimizerState::default();
    let mut values = Trainer::for_values(&hidden, &weights, &state, options(0.0)).unwrap();
    let error = values.step(&x, &LABELS, 0.1).unwrap_err();
    assert!(error.to_string().contains("`act`"), "{error}");
    assert_eq!(trainer.steps(), 0);
}
