//! Running a job.
//!
//! A run's directory holds its metrics as it goes (`metrics.jsonl`), a checkpoint to resume from,
//! and at the end the model and `done.json`. A checkpoint stands for a prefix of the metrics:
//! lines beyond it are cut when the run resumes, so an interrupted run leaves the same bits as an
//! uninterrupted one, seconds aside.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use net2net_core::apply::Copies;
use net2net_core::engine::{Evaluation, OptimizerState, TrainError, Trainer, TrainerOptions};
use net2net_core::graph::Graph;
use net2net_core::io::{Checkpoint, IoError, write_atomic};
use net2net_core::weights::Weights;
use thiserror::Error;

use super::lesson::Class;
use super::{Cost, Lesson, Recipe, RecipeError, apart};
use crate::data::{DataError, ImageShape, Loader, Normalization, Splits};
use crate::report::{Kind, Metric, RunRecord};

/// The metrics of a run, a line each.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// What a run resumes from.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";
/// The end of the stable phase of a run that has one, optimizer state included.
pub const TRUNK_FILE: &str = "trunk.safetensors";
/// The model at the evaluation that was best so far: by accuracy, or by loss where there is none.
pub const BEST_FILE: &str = "best.safetensors";
/// The trained model.
pub const MODEL_FILE: &str = "model.safetensors";
/// The record of a finished run, metrics included.
pub const DONE_FILE: &str = "done.json";

/// Images in a batch of an evaluation, and of how many pixels they may be; of larger ones there are
/// fewer.
const EVALUATION_BATCH: usize = 250;
const EVALUATION_PIXELS: usize = 64 * 64;

/// What every run of a comparison shares.
#[derive(Clone, Debug)]
pub struct TrainingData {
    /// Training and validation images.
    pub splits: Splits,
    /// Measured on the training images.
    pub normalization: Normalization,
}

/// One run to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// Unique in the comparison, such as `seed0/wider/net2net`.
    pub id: String,
    /// The growth that it belongs to.
    pub growth: Option<String>,
    /// How it came to its initial weights.
    pub kind: Kind,
    /// The seed of its data order and dropout.
    pub seed: u64,
    /// The architecture.
    pub graph: Graph,
    /// The initial weights.
    pub weights: Weights<f32>,
    /// The initial optimizer state; a run counts its own steps from there.
    pub optimizer: OptimizerState<f32>,
    /// How to train.
    pub recipe: Recipe,
    /// What it learns from.
    pub lesson: Lesson,
    /// What was spent before on its weights alone, and counts as its own.
    pub before: Cost,
    /// The copies whose parting is followed; none in most runs.
    pub copies: Vec<Copies>,
    /// Threads.
    pub threads: usize,
    /// Where its files go.
    pub directory: PathBuf,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The run.
    pub id: &'a str,
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Images in a step.
    pub batch: usize,
    /// The last evaluation; its steps and seconds count what was spent `before`.
    pub last: Option<&'a Metric>,
    /// What was spent before on the run's weights alone.
    pub before: Cost,
}

/// Who watches runs; all methods are called from the training thread.
pub trait Observer {
    /// A run begins, or goes on from `progress.step`.
    fn started(&mut self, progress: Progress<'_>);
    /// A step was done.
    fn stepped(&mut self, progress: Progress<'_>);
    /// The network was evaluated.
    fn evaluated(&mut self, progress: Progress<'_>, metric: &Metric);
    /// A run ended, or was found finished.
    fn finished(&mut self, record: &RunRecord, found: bool);
}

/// How a call of [`run`] ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Finished, diverged runs included.
    Finished(RunRecord),
    /// Stopped on request; the directory holds all that is needed to go on.
    Interrupted,
}

/// Why a run failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A record could not be read or written.
    #[error("{} is damaged: {source}; remove it and resume", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// See [`IoError`].
    #[error(transparent)]
    Checkpoint(#[from] IoError),
    /// See [`TrainError`].
    #[error("run {id}: {source}")]
    Train {
        /// The run.
        id: String,
        /// What went wrong.
        source: TrainError,
    },
    /// See [`DataError`].
    #[error(transparent)]
    Data(#[from] DataError),
    /// See [`RecipeError`].
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The images are not those that the work began with.
    #[error(
        "the images have changed since {} was written: it has {before:?}, and now there are {now:?}; \
         bring them back, or start anew in another --out",
        path.display()
    )]
    OtherImages {
        /// The file.
        path: PathBuf,
        /// Then.
        before: String,
        /// Now.
        now: String,
    },
}

fn evaluation_batch(shape: ImageShape) -> usize {
    (EVALUATION_BATCH * EVALUATION_PIXELS / (shape.height * shape.width)).clamp(1, EVALUATION_BATCH)
}

/// Trains a job to its end, resuming what its directory holds. `stop` is looked at after each
/// step.
pub fn run(
    job: &Job,
    data: &TrainingData,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, RunError> {
    if let Some(record) = finished(&job.directory)? {
        observer.finished(&record, true);
        return Ok(Outcome::Finished(record));
    }
    job.recipe.check()?;
    fs::create_dir_all(&job.directory).map_err(|source| file(&job.directory, source))?;
    let mut running = Running::start(job, data)?;
    observer.started(running.progress());
    if running.metrics.is_empty() {
        running.evaluate(None, observer)?;
    }
    let diverged = match running.train(stop, observer) {
        Ok(true) => None,
        Ok(false) => return Ok(Outcome::Interrupted),
        Err(RunError::Train {
            source: error @ TrainError::Diverged { .. },
            ..
        }) => Some(error.to_string()),
        Err(error) => return Err(error),
    };
    let record = running.finish(diverged)?;
    observer.finished(&record, false);
    Ok(Outcome::Finished(record))
}

/// The record of a finished run in a directory, if it holds one.
fn finished(directory: &Path) -> Result<Option<RunRecord>, RunError> {
    let path = directory.join(DONE_FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            let record = serde_json::from_slice(&bytes);
            record
                .map(Some)
                .map_err(|source| RunError::Json { path, source })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file(&path, source)),
    }
}

fn file(path: &Path, source: std::io::Error) -> RunError {
    RunError::File {
        path: path.to_owned(),
        source,
    }
}

/// A run under way.
struct Running<'a> {
    job: &'a Job,
    data: &'a TrainingData,
    loader: Loader,
    /// Images in a step: those of the recipe, or all there are.
    batch: usize,
    trainer: Trainer<f32>,
    class: Class<'a>,
    /// Steps of the whole run, of its warm-up, and between evaluations.
    steps: u64,
    warmup: u64,
    every: u64,
    metrics: Vec<Metric>,
    /// Training time, without evaluations.
    seconds: f64,
    /// Sum and number of the losses since the last evaluation.
    losses: (f64, u64),
    learning_rate: f64,
    saved: Instant,
}

impl<'a> Running<'a> {
    /// Starts afresh or from the directory's checkpoint.
    fn start(job: &'a Job, data: &'a TrainingData) -> Result<Self, RunError> {
        let recipe = &job.recipe;
        let train = &data.splits.train;
        let batch = recipe.batch.min(train.len());
        let loader = Loader::new(
            train,
            &data.normalization,
            recipe.augmentation,
            batch,
            job.seed,
            true,
        )?
        .drop_last(true)
        .threads(if train.is_in_files() { job.threads } else { 1 });
        let path = job.directory.join(CHECKPOINT_FILE);
        let resumed = path.exists().then(|| Checkpoint::read(&path)).transpose()?;
        let (weights, state) = match &resumed {
            Some(checkpoint) => (&checkpoint.weights, &checkpoint.optimizer),
            None => (&job.weights, &job.optimizer),
        };
        let options = TrainerOptions {
            batch,
            threads: job.threads,
            optimizer: recipe.optimizer,
            label_smoothing: recipe.label_smoothing,
            gradient_clip: recipe.gradient_clip,
            seed: job.seed,
        };
        let failed = |source| RunError::Train {
            id: job.id.clone(),
            source,
        };
        let trainer = match &job.lesson {
            Lesson::Hint { .. } => Trainer::for_values(&job.graph, weights, state, options),
            _ => Trainer::new(&job.graph, weights, state, options),
        };
        let trainer = trainer.map_err(failed)?;
        let class = Class::new(&job.lesson, job.threads).map_err(|source| failed(source.into()))?;
        let per_epoch = loader.batches_per_epoch();
        let mut running = Running {
            job,
            data,
            steps: recipe.steps(per_epoch),
            warmup: recipe.warmup(per_epoch),
            every: recipe.evaluate_every(per_epoch),
            loader,
            batch,
            trainer,
            class,
            metrics: Vec::new(),
            seconds: job.before.seconds,
            losses: (0.0, 0),
            learning_rate: 0.0,
            saved: Instant::now(),
        };
        if let Some(checkpoint) = resumed {
            running.resume(&checkpoint)?;
        }
        Ok(running)
    }

    /// Takes up the metrics that belong to a checkpoint, and cuts those that came after it.
    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<(), RunError> {
        let number = |name: &str| {
            checkpoint
                .notes
                .get(name)
                .and_then(|text| text.parse().ok())
        };
        self.seconds = number("seconds").unwrap_or(0.0);
        self.learning_rate = number("learning_rate").unwrap_or(0.0);
        self.losses.0 = number("loss_sum").unwrap_or(0.0);
        self.losses.1 = number("loss_count").unwrap_or(0.0) as u64;
        let path = self.job.directory.join(METRICS_FILE);
        let text = fs::read_to_string(&path).map_err(|source| file(&path, source))?;
        for line in text.lines() {
            // A kill may have left half of a last line.
            let Ok(metric) = serde_json::from_str::<Metric>(line) else {
                break;
            };
            if metric.step <= self.job.before.steps + self.step() {
                self.metrics.push(metric);
            }
        }
        let expected = number("metrics").unwrap_or(0.0) as usize;
        if self.metrics.len() < expected {
            let lost = format!(
                "{} of {expected} lines are lost",
                expected - self.metrics.len()
            );
            return Err(file(&path, std::io::Error::other(lost)));
        }
        let mut kept = Vec::new();
        for metric in &self.metrics {
            serde_json::to_writer(&mut kept, metric).map_err(|source| RunError::Json {
                path: path.clone(),
                source,
            })?;
            kept.push(b'\n');
        }
        write_atomic(&path, &kept).map_err(|source| file(&path, source))
    }

    /// Steps of this run; the optimizer also counts those of the run before.
    fn step(&self) -> u64 {
        self.trainer
            .steps()
            .saturating_sub(self.job.optimizer.steps)
    }

    fn progress(&self) -> Progress<'_> {
        Progress {
            id: &self.job.id,
            step: self.step(),
            steps: self.steps,
            batch: self.batch,
            last: self.metrics.last(),
            before: self.job.before,
        }
    }

    /// Trains to the end; false if it was asked to stop.
    fn train(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<bool, RunError> {
        let per_epoch = self.loader.batches_per_epoch() as u64;
        let trunk = self.job.recipe.schedule.trunk_end(self.steps, self.warmup);
        while self.step() < self.steps {
            let (epoch, first) = (self.step() / per_epoch, self.step() % per_epoch);
            let mut batches = self.loader.epoch_from(epoch, first as usize)?;
            loop {
                let started = Instant::now();
                let Some(batch) = batches.next() else {
                    break;
                };
                let batch = batch?;
                if trunk == Some(self.step()) {
                    self.save(TRUNK_FILE)?;
                }
                let step = self.step();
                let factor = self
                    .job
                    .recipe
                    .schedule
                    .factor(step, self.steps, self.warmup);
                self.learning_rate = self.job.recipe.learning_rate * factor;
                let report = self
                    .class
                    .step(&mut self.trainer, &batch, self.learning_rate)
                    .map_err(|source| RunError::Train {
                        id: self.job.id.clone(),
                        source,
                    })?;
                self.seconds += started.elapsed().as_secs_f64();
                self.losses.0 += report.loss;
                self.losses.1 += 1;
                observer.stepped(self.progress());
                let last = self.step() == self.steps;
                if last || self.step().is_multiple_of(self.every) {
                    let loss = self.losses.0 / self.losses.1.max(1) as f64;
                    self.losses = (0.0, 0);
                    self.evaluate(Some(loss), observer)?;
                }
                if self.saved.elapsed().as_secs_f64() > self.job.recipe.checkpoint_seconds {
                    self.save(CHECKPOINT_FILE)?;
                }
                if last {
                    return Ok(true);
                }
                if stop.load(Ordering::Relaxed) {
                    self.save(CHECKPOINT_FILE)?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Evaluates on all validation images and appends the metric to the run's file.
    fn evaluate(
        &mut self,
        train_loss: Option<f64>,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        let mut total = Evaluation::default();
        let validation = &self.data.splits.validation;
        let size = evaluation_batch(validation.shape());
        for batch in validation.batches_for_eval(&self.data.normalization, size)? {
            let batch = batch?;
            let part = self
                .class
                .evaluate(&mut self.trainer, &batch)
                .map_err(|source| RunError::Train {
                    id: self.job.id.clone(),
                    source,
                })?;
            total.loss += part.loss;
            total.correct += part.correct;
            total.samples += part.samples;
        }
        let step = self.step();
        let samples = (total.samples as f64).max(1.0);
        let validation_accuracy = match self.class.has_accuracy() {
            true => total.correct as f64 / samples,
            false => f64::NAN,
        };
        let apart = match self.job.copies.is_empty() {
            true => None,
            false => apart(&self.job.copies, &self.trainer.weights()),
        };
        let before = self.job.before;
        let metric = Metric {
            run: self.job.id.clone(),
            seed: self.job.seed,
            epoch: (before.steps + step) as f64 / self.loader.batches_per_epoch() as f64,
            step: before.steps + step,
            seconds: self.seconds,
            flops: before.flops + step as f64 * self.flops_per_step(),
            learning_rate: self.learning_rate,
            train_loss,
            validation_loss: total.loss / samples,
            validation_accuracy,
            apart,
        };
        let path = self.job.directory.join(METRICS_FILE);
        let mut line = serde_json::to_vec(&metric).map_err(|source| RunError::Json {
            path: path.clone(),
            source,
        })?;
        line.push(b'\n');
        fs::OpenOptions::new()
            .create(true)
            // A run without a checkpoint starts anew, and so do its metrics.
            .append(step > 0)
            .truncate(step == 0)
            .write(true)
            .open(&path)
            .and_then(|mut out| {
                out.write_all(&line)?;
                // A checkpoint must never be newer than the metrics that it stands for.
                out.sync_data()
            })
            .map_err(|source| file(&path, source))?;
        let best = self
            .metrics
            .iter()
            .all(|before| metric.is_better_than(before));
        self.metrics.push(metric);
        if let Some(metric) = self.metrics.last() {
            observer.evaluated(self.progress(), metric);
        }
        if best && step > 0 {
            let path = self.job.directory.join(BEST_FILE);
            self.checkpoint().write(&path)?;
        }
        Ok(())
    }

    /// A backward pass costs twice a forward pass: one product for each of its two gradients. A
    /// teacher only goes forward.
    fn flops_per_step(&self) -> f64 {
        let sample = 3.0 * self.job.graph.flops() as f64 + self.job.lesson.flops() as f64;
        sample * self.batch as f64
    }

    fn checkpoint(&mut self) -> Checkpoint {
        let mut checkpoint = Checkpoint::model(self.job.graph.clone(), self.trainer.weights());
        checkpoint.optimizer = self.trainer.optimizer_state();
        for (name, value) in [
            ("seconds", self.seconds),
            ("learning_rate", self.learning_rate),
            ("loss_sum", self.losses.0),
            ("loss_count", self.losses.1 as f64),
            ("metrics", self.metrics.len() as f64),
        ] {
            // Debug prints the shortest text that reads back to the same bits.
            checkpoint
                .notes
                .insert(name.to_owned(), format!("{value:?}"));
        }
        checkpoint
            .notes
            .insert("run".to_owned(), self.job.id.clone());
        checkpoint
    }

    fn save(&mut self, name: &str) -> Result<(), RunError> {
        let checkpoint = self.checkpoint();
        checkpoint.write(&self.job.directory.join(name))?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Writes the model and the record, and removes the checkpoint that is no longer needed.
    fn finish(&mut self, diverged: Option<String>) -> Result<RunRecord, RunError> {
        let directory = &self.job.directory;
        let model = self.checkpoint();
        model.write(&directory.join(MODEL_FILE))?;
        let record = RunRecord {
            id: self.job.id.clone(),
            growth: self.job.growth.clone(),
            kind: self.job.kind,
            seed: self.job.seed,
            parameters: self.job.graph.parameter_count(),
            flops_per_sample: self.job.graph.flops(),
            metrics: std::mem::take(&mut self.metrics),
            diverged,
        };
        let path = directory.join(DONE_FILE);
        let json = serde_json::to_vec_pretty(&record).map_err(|source| RunError::Json {
            path: path.clone(),
            source,
        })?;
        write_atomic(&path, &json).map_err(|source| file(&path, source))?;
        let leftover = directory.join(CHECKPOINT_FILE);
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(file(&leftover, error))
            }
            _ => Ok(record),
        }
    }
}
