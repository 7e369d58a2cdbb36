//! Runs: resumed ones leave the same bits as uninterrupted ones, and divergence is a result.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use net2net_core::engine::OptimizerState;
use net2net_core::io::Checkpoint;
use net2net_core::weights::initialize;
use net2net_lab::data::{Normalization, fashion_mini};
use net2net_lab::models::{Family, ModelSpec};
use net2net_lab::report::{Kind, Metric, RunRecord};
use net2net_lab::train::{
    BEST_FILE, CHECKPOINT_FILE, Cost, Job, Lesson, METRICS_FILE, MODEL_FILE, Outcome, Recipe,
    TRUNK_FILE, TrainingData, run,
};

use crate::silent::Silent;

fn data() -> TrainingData {
    let splits = fashion_mini().unwrap();
    let splits = net2net_lab::data::Splits::new(
        splits.train.take(300).unwrap(),
        splits.validation.take(100).unwrap(),
    )
    .unwrap();
    let normalization = Normalization::measure(&splits.train).unwrap();
    TrainingData {
        splits,
        normalization,
    }
}

fn job(directory: &Path, recipe: &str) -> Job {
    let recipe: Recipe = toml::from_str(recipe).unwrap();
    let data = data();
    let spec = ModelSpec {
        family: Family::ConvNet,
        width: 0.25,
        depth: 1,
    };
    let graph = spec.build(data.splits.train.shape(), 10).unwrap();
    Job {
        id: "test".to_owned(),
        growth: None,
        kind: Kind::Teacher,
        seed: 5,
        weights: initialize(&graph, 5),
        graph,
        optimizer: OptimizerState::default(),
        recipe,
        lesson: Lesson::Labels,
        before: Cost::default(),
        copies: Vec::new(),
        threads: 2,
        directory: directory.to_owned(),
    }
}

const RECIPE: &str = r#"
epochs = 3
batch = 32
learning_rate = 0.02
schedule = { kind = "warmup-stable-decay", decay = 0.4 }
augmentation = { crop_padding = 1, flip = true, cutout = 0 }
"#;

fn complete(job: &Job) -> RunRecord {
    let stop = AtomicBool::new(false);
    match run(job, &data(), &stop, &mut Silent::new(&stop, None)).unwrap() {
        Outcome::Finished(record) => record,
        Outcome::Interrupted => panic!("nobody asked to stop"),
    }
}

/// Everything but the seconds, which no two runs share.
fn timeless(metrics: &[Metric]) -> Vec<Metric> {
    metrics
        .iter()
        .cloned()
        .map(|metric| Metric {
            seconds: 0.0,
            ..metric
        })
        .collect()
}

fn numbers(directory: &Path) -> Checkpoint {
    numbers_of(directory, MODEL_FILE)
}

fn numbers_of(directory: &Path, file: &str) -> Checkpoint {
    let mut checkpoint = Checkpoint::read(&directory.join(file)).unwrap();
    checkpoint.notes.remove("seconds");
    checkpoint
}

#[test]
fn a_run_stopped_at_any_step_resumes_to_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    let expected = complete(&job(whole.path(), RECIPE));
    let losses: Vec<f64> = expected
        .metrics
        .iter()
        .filter_map(|m| m.train_loss)
        .collect();
    assert!(losses.last().unwrap() < &losses[0], "{losses:?}");
    for stop_after in [1, 4, 5, 9, 13, 26] {
        let parts = tempfile::tempdir().unwrap();
        let job = job(parts.path(), RECIPE);
        let stop = AtomicBool::new(false);
        let stopped = run(
            &job,
            &data(),
            &stop,
            &mut Silent::new(&stop, Some(stop_after)),
        )
        .unwrap();
        assert!(matches!(stopped, Outcome::Interrupted));
        // As a kill in the middle of a write would leave it.
        let metrics = parts.path().join(METRICS_FILE);
        let mut text = fs::read_to_string(&metrics).unwrap();
        text.push_str("{\"run\":\"test\",\"se");
        fs::write(&metrics, text).unwrap();
        let resumed = complete(&job);
        assert_eq!(
            timeless(&resumed.metrics),
            timeless(&expected.metrics),
            "at {stop_after}"
        );
        assert_eq!(
            numbers(parts.path()),
            numbers(whole.path()),
            "at {stop_after}"
        );
        assert_eq!(
            numbers_of(parts.path(), BEST_FILE),
            numbers_of(whole.path(), BEST_FILE),
            "at {stop_after}"
        );
        assert!(!parts.path().join(CHECKPOINT_FILE).exists());
        assert_eq!(
            fs::read_to_string(&metrics).unwrap().lines().count(),
            expected.metrics.len()
        );
    }
}

#[test]
fn the_end_of_the_stable_phase_is_kept_as_a_trunk() {
    let directory = tempfile::tempdir().unwrap();
    let record = complete(&job(directory.path(), RECIPE));
    let trunk = Checkpoint::read(&directory.path().join(TRUNK_FILE)).unwrap();
    let last = record.metrics.last().unwrap().step;
    assert_eq!(trunk.optimizer.steps, (last as f64 * 0.6).round() as u64);
    assert_ne!(trunk.weights, numbers(directory.path()).weights);
}

#[test]
fn the_best_evaluation_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let record = complete(&job(directory.path(), RECIPE));
    let accuracy = |metric: &Metric| metric.validation_accuracy;
    let best = record.metrics.iter().map(accuracy).fold(0.0, f64::max);
    let first = record
        .metrics
        .iter()
        .find(|metric| metric.validation_accuracy == best);
    let kept = numbers_of(directory.path(), BEST_FILE);
    assert_eq!(kept.optimizer.steps, first.unwrap().step);
}

#[test]
fn a_run_that_diverges_ends_with_its_last_good_state() {
    let directory = tempfile::tempdir().unwrap();
    let recipe = RECIPE.replace("0.02", "1e30");
    let record = complete(&job(directory.path(), &recipe));
    assert!(record.diverged.unwrap().contains("is not finite at step"));
    let model = numbers(directory.path());
    assert!(
        model
            .weights
            .iter()
            .all(|(_, t)| t.data().iter().all(|x| x.is_finite()))
    );
}

#[test]
fn recipes_of_no_sense_are_refused() {
    for (from, to, what) in [
        ("epochs = 3", "epochs = 0", "epochs"),
        ("batch = 32", "batch = 0", "batch"),
        ("0.02", "-1.0", "learning_rate"),
        ("decay = 0.4", "decay = 1.4", "schedule"),
        (
            "epochs = 3",
            "epochs = 3\noptimizer = { kind = \"sgd\", momentum = 50.0 }",
            "optimizer",
        ),
    ] {
        let recipe: Recipe = toml::from_str(&RECIPE.replace(from, to)).unwrap();
        assert!(recipe.check().unwrap_err().to_string().starts_with(what));
    }
    assert!(
        toml::from_str::<Recipe>("epochs = 1\nlearning_rate = 0.1\nlearnign_rate = 1").is_err()
    );
}
