//! Our side: takes as many training steps as each line of standard input says, and answers with
//! their times. `python/bench_worker.py` is the same for PyTorch.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use net2net_core::engine::{OptimizerConfig, OptimizerState, Predictor, Trainer, TrainerOptions};
use net2net_core::io::Checkpoint;
use net2net_core::weights::initialize;
use serde::{Deserialize, Serialize};

use super::models;

/// What both sides take.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where both start.
    #[arg(long)]
    checkpoint: PathBuf,
    /// Little-endian f32, NHWC.
    #[arg(long)]
    images: PathBuf,
    /// Little-endian u32.
    #[arg(long)]
    labels: PathBuf,
    #[arg(long)]
    batch: usize,
    #[arg(long)]
    threads: usize,
    /// Answer batches instead of training on them.
    #[arg(long)]
    predict: bool,
}

/// The first line of a worker's output.
#[derive(Serialize, Deserialize)]
pub(super) struct Ready {
    /// The version of what is measured, if it is not ours.
    pub(super) torch: Option<String>,
}

/// The answer to a number of steps.
#[derive(Serialize, Deserialize)]
pub(super) struct Turn {
    /// The time of each step.
    pub(super) milliseconds: Vec<f64>,
    /// The loss of each step.
    pub(super) losses: Vec<f64>,
}

/// Small enough for random labels; `bench_worker.py` has the same numbers.
pub(super) const LEARNING_RATE: f64 = 0.01;
pub(super) const OPTIMIZER: OptimizerConfig = OptimizerConfig::Sgd {
    momentum: 0.9,
    nesterov: false,
    weight_decay: 1e-4,
};

/// Serves until standard input ends.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let checkpoint = Checkpoint::read(&arguments.checkpoint)?;
    let images = read_words(&arguments.images, f32::from_le_bytes)?;
    let labels = read_words(&arguments.labels, u32::from_le_bytes)?;
    let image_len = images.len() / labels.len().max(1);
    let options = TrainerOptions {
        batch: arguments.batch,
        threads: arguments.threads,
        optimizer: OPTIMIZER,
        label_smoothing: 0.0,
        gradient_clip: None,
        seed: 0,
    };
    let Checkpoint {
        graph,
        weights,
        optimizer,
        ..
    } = checkpoint;
    if arguments.predict {
        let predictor = Predictor::new(&graph, &weights, arguments.threads)?;
        return predict(predictor, arguments.batch, &images, image_len);
    }
    let mut trainer = Trainer::new(&graph, &weights, &optimizer, options)?;
    let batches = images
        .chunks_exact(arguments.batch * image_len)
        .zip(labels.chunks_exact(arguments.batch));
    let mut batches = batches.cycle();

    answer(&Ready { torch: None })?;
    for line in std::io::stdin().lock().lines() {
        let steps: usize = line?.trim().parse().context("expected a number of steps")?;
        let mut turn = Turn {
            milliseconds: Vec::new(),
            losses: Vec::new(),
        };
        for (images, labels) in batches.by_ref().take(steps) {
            let start = Instant::now();
            let report = trainer.step(images, labels, LEARNING_RATE)?;
            turn.milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
            turn.losses.push(report.loss);
        }
        answer(&turn)?;
    }
    Ok(())
}

/// Answers batches; in place of losses stand the mean sizes of the first outputs.
fn predict(
    mut predictor: Predictor<f32>,
    batch: usize,
    images: &[f32],
    image_len: usize,
) -> Result<()> {
    let mut batches = images.chunks_exact(batch * image_len).cycle();
    answer(&Ready { torch: None })?;
    for line in std::io::stdin().lock().lines() {
        let count: usize = line?
            .trim()
            .parse()
            .context("expected a number of batches")?;
        let mut turn = Turn {
            milliseconds: Vec::new(),
            losses: Vec::new(),
        };
        for images in batches.by_ref().take(count) {
            let start = Instant::now();
            let outputs = predictor.run(batch, &[images])?;
            turn.milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
            let sizes = outputs[0].iter().map(|x| f64::from(x.abs()));
            turn.losses
                .push(sizes.sum::<f64>() / outputs[0].len() as f64);
        }
        answer(&turn)?;
    }
    Ok(())
}

/// Trains one of the networks for some steps on one thread, to be counted from outside.
pub(crate) fn train(name: &str, batch: usize, steps: usize) -> Result<()> {
    let model = models::chosen(Some(name))?[0];
    let graph = model.graph()?;
    let weights = initialize::<f32>(&graph, 1);
    let (images, labels) = model.samples(batch);
    let options = TrainerOptions {
        batch,
        threads: 1,
        optimizer: OPTIMIZER,
        label_smoothing: 0.0,
        gradient_clip: None,
        seed: 0,
    };
    let mut trainer = Trainer::new(&graph, &weights, &OptimizerState::default(), options)?;
    for _ in 0..steps {
        trainer.step(&images, &labels[..], LEARNING_RATE)?;
    }
    Ok(())
}

fn answer(line: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    Ok(out.flush()?)
}

fn read_words<T>(path: &PathBuf, decode: fn([u8; 4]) -> T) -> Result<Vec<T>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let (words, _) = bytes.as_chunks::<4>();
    Ok(words.iter().map(|word| decode(*word)).collect())
}
