//! The engine against PyTorch's numbers: gradients, losses of twenty steps and running statistics.
//!
//! `xtask/python/make_fixtures.py` made them in float64, from the same graph, start and data.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use net2net_core::engine::Precision;
use net2net_core::engine::{OptimizerConfig, OptimizerState, Trainer, TrainerOptions};
use net2net_core::graph::Graph;
use net2net_core::weights::{Tensor, Weights};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;

const GRAPH: &str = include_str!("fixtures/curve.txt");
const NUMBERS: &[u8] = include_bytes!("fixtures/curve.safetensors");

/// Rounding in another order of summation; a wrong term is many orders of magnitude above it.
const TOLERANCE_F64: f64 = 1e-9;
/// The same in f32, where steps of training magnify it.
const TOLERANCE_F32: f64 = 1e-4;
/// The same once a rectifier or a maximum may have flipped by rounding, which makes a jump.
const TOLERANCE_F32_LATER: f64 = 1e-2;
/// The step from which that is so.
const LATER: usize = 10;

#[test]
fn gradients_of_every_parameter_are_those_of_pytorch() {
    let fixture = Fixture::read();
    let expected = fixture.tensors("gradient/");
    let mut trainer = fixture.trainer::<f64>(&fixture.about.sgd);
    let (loss, found) = trainer
        .gradients_by_name(&fixture.images(0), &fixture.labels(0))
        .unwrap();
    assert_close(
        "loss",
        &[loss],
        &fixture.numbers("sgd/losses")[..1],
        TOLERANCE_F64,
    );
    for (name, tensor) in &expected {
        let found = found
            .get(name)
            .unwrap_or_else(|| panic!("no gradient of `{name}`"));
        assert_close(name, found.data(), tensor.data(), TOLERANCE_F64);
    }
    let trained = found
        .iter()
        .filter(|(name, _)| !name.contains(".running_"))
        .count();
    assert_eq!(expected.len(), trained);
}

#[test]
fn sgd_follows_pytorch_in_f64() {
    let fixture = Fixture::read();
    fixture.check_curve::<f64>("sgd", &fixture.about.sgd, [TOLERANCE_F64; 2]);
}

#[test]
fn adamw_follows_pytorch_in_f64() {
    let fixture = Fixture::read();
    fixture.check_curve::<f64>("adamw", &fixture.about.adamw, [TOLERANCE_F64; 2]);
}

#[test]
fn sgd_follows_pytorch_in_f32() {
    let fixture = Fixture::read();
    let tolerances = [TOLERANCE_F32, TOLERANCE_F32_LATER];
    fixture.check_curve::<f32>("sgd", &fixture.about.sgd, tolerances);
}

#[test]
fn adamw_follows_pytorch_in_f32() {
    let fixture = Fixture::read();
    let tolerances = [TOLERANCE_F32, TOLERANCE_F32_LATER];
    fixture.check_curve::<f32>("adamw", &fixture.about.adamw, tolerances);
}

/// PyTorch's run: the graph, where it started, what it saw and what came out.
struct Fixture {
    graph: Graph,
    file: SafeTensors<'static>,
    about: About,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    #[serde(rename = "torch")]
    _torch: String,
    label_smoothing: f64,
    sgd: Setting,
    adamw: Setting,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    learning_rate: f64,
    optimizer: OptimizerConfig,
}

impl Fixture {
    fn read() -> Self {
        let (_, header) = SafeTensors::read_metadata(NUMBERS).unwrap();
        let metadata = header.metadata().as_ref().unwrap();
        Fixture {
            graph: GRAPH.parse().unwrap(),
            file: SafeTensors::deserialize(NUMBERS).unwrap(),
            about: serde_json::from_str(&metadata["about"]).unwrap(),
        }
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        numbers(&self.file.tensor(name).unwrap())
    }

    /// The tensors whose names start so, by the rest of their names.
    fn tensors(&self, prefix: &str) -> BTreeMap<String, Tensor<f64>> {
        let tensors = self.file.iter().filter_map(|(name, view)| {
            let tensor = Tensor::new(view.shape().to_vec(), numbers(&view)).unwrap();
            Some((name.strip_prefix(prefix)?.to_owned(), tensor))
        });
        let tensors: BTreeMap<_, _> = tensors.collect();
        assert!(
            !tensors.is_empty(),
            "the fixture holds nothing under `{prefix}`"
        );
        tensors
    }

    /// One of the batches, which are the outermost axis of what is stored.
    fn batch(&self, name: &str, step: usize) -> Vec<u8> {
        let view = self.file.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::U8);
        let len = view.data().len() / view.shape()[0];
        view.data()[step * len..][..len].to_vec()
    }

    fn images<T: Precision>(&self, step: usize) -> Vec<T> {
        let bytes = self.batch("images", step).into_iter();
        bytes
            .map(|byte| T::from_f64((f64::from(byte) - 127.5) / 64.0))
            .collect()
    }

    fn labels(&self, step: usize) -> Vec<u32> {
        self.batch("labels", step)
            .into_iter()
            .map(u32::from)
            .collect()
    }

    fn trainer<T: Precision>(&self, setting: &Setting) -> Trainer<T> {
        let mut weights = Weights::default();
        for (name, tensor) in self.tensors("start/") {
            weights.insert(name, tensor);
        }
        let options = TrainerOptions {
            batch: self.labels(0).len(),
            threads: 2,
            optimizer: setting.optimizer,
            label_smoothing: self.about.label_smoothing,
            gradient_clip: None,
            seed: 0,
        };
        let state = OptimizerState::default();
        Trainer::new(&self.graph, &weights.cast(), &state, options).unwrap()
    }

    fn check_curve<T: Precision>(&self, kind: &str, setting: &Setting, [early, later]: [f64; 2]) {
        let mut trainer = self.trainer::<T>(setting);
        let expected = self.numbers(&format!("{kind}/losses"));
        assert_eq!(expected.len(), 20);
        for (step, expected) in expected.iter().enumerate() {
            let (images, labels) = (self.images(step), self.labels(step));
            let report = trainer
                .step(&images, &labels, setting.learning_rate)
                .unwrap();
            assert_close(
                &format!("loss of step {step}"),
                &[report.loss],
                &[*expected],
                if step < LATER { early } else { later },
            );
        }
        let weights = trainer.weights().cast::<f64>();
        for (name, expected) in self.tensors(&format!("{kind}/running/")) {
            let found = weights.require(&name).unwrap();
            assert_close(&name, found.data(), expected.data(), later);
        }
    }
}

fn numbers(view: &TensorView<'_>) -> Vec<f64> {
    match view.dtype() {
        Dtype::U8 => view.data().iter().map(|byte| f64::from(*byte)).collect(),
        Dtype::F64 => {
            let (words, _) = view.data().as_chunks::<8>();
            words.iter().map(|word| f64::from_le_bytes(*word)).collect()
        }
        other => panic!("unexpected type {other:?}"),
    }
}

/// Differences are measured against the largest expected number.
fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    assert!(
        largest > 0.0,
        "{what}: nothing but zeros would compare as equal to anything small"
    );
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs() / largest;
        assert!(
            difference <= tolerance,
            "{what}[{i}] is {found}, and PyTorch found {expected} ({difference:e} of the largest)"
        );
    }
}
