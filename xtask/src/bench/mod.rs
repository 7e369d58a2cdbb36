//! `cargo xtask bench train`: training steps side by side with PyTorch.
//!
//! All contestants get the same weights and batches, each in a process of its own. They take turns
//! within one run, several rounds, and only one runs at a time: on a machine that others use too,
//! what slows one down slows the others down as well, and the ratio of a round is worth more than
//! any time by itself.
//!
//! That has a limit. Threads wait for each other by spinning, PyTorch's for longer than ours, so on a machine that is
//! really busy steps take several times as long. What
//! others take is therefore measured, a disturbed turn is taken again while the patience lasts, and
//! a report made under load is not written.

mod contestant;
pub(crate) mod data;
pub(crate) mod grow;
pub(crate) mod guard;
pub(crate) mod infer;
mod load;
mod models;
mod page;
mod peak;
pub(crate) mod plan;
mod report;
pub(crate) mod scale;
mod separable;
mod statistics;
mod synthetic;
pub(crate) mod worker;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::contestant::{Contestant, Worker};
use self::load::{Load, Sample};
use self::models::Model;
use self::report::{ContestantReport, ModelReport, Report};
use crate::{python, root};

/// What `bench train` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: Run,
    /// Measure `torch.compile` too, which needs a C++ compiler and takes minutes for each network.
    #[arg(long)]
    compile: bool,
    #[command(flatten)]
    python: python::Choice,
}

/// How to measure.
#[derive(clap::Args)]
struct Run {
    /// A short run, to see that it works; nothing is written.
    #[arg(long)]
    quick: bool,
    /// Only this network; nothing is written.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Samples in a batch, instead of 64 or what suits the network; nothing is written.
    #[arg(long)]
    batch: Option<usize>,
    /// Threads of each contestant.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Minutes to spend in all on waiting until others leave the machine alone; a turn during which
    /// they did not is taken again.
    #[arg(long, default_value_t = 2.0, value_name = "MINUTES")]
    patience: f64,
}

/// Steps before the first that counts.
const WARM_UP_STEPS: usize = 3;
/// The pause between turns, in which the threads of the last contestant go to sleep.
const PAUSE: Duration = Duration::from_millis(100);
/// The share of the cores that others may take in a report that is written.
const OTHERS_MAX: f64 = 0.1;
/// The losses of the first steps differ by rounding only, or the networks are not the same.
const LOSS_TOLERANCE: f64 = 1e-3;

/// Measures, prints and, after a whole run, writes `docs/performance.{md,json}`.
pub(crate) fn train(arguments: &Arguments) -> Result<()> {
    let chosen = models::chosen(arguments.run.model.as_deref())?;
    let python = arguments.python.interpreter()?;
    let contestants = contestant::trainers(arguments.compile);
    let mut patience = arguments.run.patience()?;
    let mut report = Report::new(arguments.run.threads, arguments.run.rounds());
    report.peak_gflops = peak::flops_per_second(arguments.run.threads)? / 1e9;
    for model in chosen {
        let (run, torch) = (&arguments.run, &mut report.torch);
        let measured = measure(run, &python, model, &contestants, &mut patience, torch)?;
        report.models.push(measured);
    }
    println!("\n{}", report.markdown());
    if arguments.run.is_partial() {
        return Ok(());
    }
    check_load(report.others())?;
    report.write(&root().join("docs"))
}

/// Refuses figures that were taken while others were busy.
fn check_load(others: f64) -> Result<()> {
    ensure!(
        others <= OTHERS_MAX,
        "other programs took {:.0} % of the cores meanwhile, so this says little of others with \
         several threads, and nothing was written; run it again on a quiet machine",
        others * 100.0
    );
    Ok(())
}

impl Run {
    /// Whether it is not all that a page needs.
    fn is_partial(&self) -> bool {
        self.quick || self.model.is_some() || self.batch.is_some()
    }

    fn patience(&self) -> Result<Duration> {
        Ok(Duration::try_from_secs_f64(self.patience * 60.0)?)
    }

    fn rounds(&self) -> usize {
        if self.quick { 2 } else { 7 }
    }
}

fn measure(
    run: &Run,
    python: &Path,
    model: &Model,
    contestants: &[Contestant],
    patience: &mut Duration,
    version: &mut String,
) -> Result<ModelReport> {
    let task = Task {
        folder: root().join("target/bench").join(model.name),
        batch: model.batch(run.batch),
        threads: run.threads,
    };
    println!("{} at {}, batch {} …", model.name, model.images, task.batch);
    let context = || format!("the network {}", model.name);
    let parameters = model.prepare(&task).with_context(context)?;
    let mut workers = contestants
        .iter()
        .map(|contestant| Worker::start(*contestant, &task, python))
        .collect::<Result<Vec<_>>>()
        .with_context(context)?;
    if let Some(found) = workers.iter().find_map(|worker| worker.torch.as_ref()) {
        found.clone_into(version);
    }
    let steps = warm_up(&mut workers, if run.quick { 300.0 } else { 800.0 })?;
    let mut rounds: Vec<Vec<Round>> = workers.iter().map(|_| Vec::new()).collect();
    for round in 0..run.rounds() {
        // Nobody is always first.
        for turn in 0..workers.len() {
            let index = (round + turn) % workers.len();
            rounds[index].push(quiet_turn(&mut workers[index], steps, patience)?);
        }
    }
    let contestants = workers
        .iter()
        .zip(&rounds)
        .map(|(worker, these)| {
            ContestantReport::new(worker.contestant, these, &rounds[0], worker.peak_mib())
        })
        .collect();
    let measured = ModelReport {
        name: model.name.to_owned(),
        images: model.images.to_string(),
        batch: task.batch,
        parameters,
        forward_gflop: model.graph()?.flops() as f64 * task.batch as f64 / 1e9,
        steps_per_round: steps,
        ours_to_best: report::ratio_to_best(&rounds),
        contestants,
    };
    println!("  {}", measured.line());
    Ok(measured)
}

/// A turn, taken again when others were busy meanwhile, as long as the patience lasts.
fn quiet_turn(worker: &mut Worker, steps: usize, patience: &mut Duration) -> Result<Round> {
    loop {
        std::thread::sleep(PAUSE);
        let (turn, load) = worker.steps(steps)?;
        let disturbed = load.is_some_and(|load| load.others > OTHERS_MAX);
        if !disturbed || patience.is_zero() {
            return Ok(Round {
                milliseconds: turn.milliseconds,
                load,
            });
        }
        wait_until_quiet(patience);
    }
}

fn wait_until_quiet(patience: &mut Duration) {
    let look = Duration::from_millis(500);
    while !patience.is_zero() {
        let before = Sample::take(std::process::id());
        std::thread::sleep(look);
        *patience = patience.saturating_sub(look);
        let after = Sample::take(std::process::id());
        let load = after.zip(before).map(|(after, before)| after.since(before));
        if load.is_none_or(|load| load.others <= OTHERS_MAX) {
            return;
        }
    }
}

/// First steps, which must agree; returns how many steps fill a turn of the slowest contestant.
fn warm_up(workers: &mut [Worker], turn_ms: f64) -> Result<usize> {
    let mut slowest: f64 = 0.0;
    let mut first_loss: Option<f64> = None;
    for worker in workers {
        let (turn, _) = worker.steps(WARM_UP_STEPS)?;
        let (Some(loss), Some(last_ms)) = (turn.losses.first(), turn.milliseconds.last()) else {
            bail!("{} took no step", worker.contestant.name());
        };
        let expected = *first_loss.get_or_insert(*loss);
        ensure!(
            (loss - expected).abs() <= LOSS_TOLERANCE * expected.abs(),
            "{} starts at a loss of {loss}, and the first contestant at {expected}: \
             they do not compute the same",
            worker.contestant.name()
        );
        slowest = slowest.max(*last_ms);
    }
    Ok(((turn_ms / slowest) as usize).clamp(2, 200))
}

/// One contestant's turn in one round.
struct Round {
    milliseconds: Vec<f64>,
    load: Option<Load>,
}

/// What all contestants work on.
struct Task {
    /// Holds the checkpoint and the batches.
    folder: PathBuf,
    batch: usize,
    threads: usize,
}

/// Batches that the steps go through in turn.
const BATCHES: usize = 4;

impl Task {
    fn checkpoint(&self) -> PathBuf {
        self.folder.join("start.safetensors")
    }

    fn onnx(&self) -> PathBuf {
        self.folder.join("model.onnx")
    }

    /// Little-endian f32, NHWC.
    fn images(&self) -> PathBuf {
        self.folder.join("images.f32")
    }

    /// Little-endian u32.
    fn labels(&self) -> PathBuf {
        self.folder.join("labels.u32")
    }
}
