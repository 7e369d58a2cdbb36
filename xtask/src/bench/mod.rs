//! `cargo xtask bench train`: training steps side by side with PyTorch.
//!
//! All contestants get the same weights and batches, each in a process of its own. They take turns
//! within one run, several rounds, and only one runs at a time: on a machine that others use too,
//! what slows one down slows the others down as well, and the ratio of a round is worth more than
//! any time by itself.
//!
//! That has a limit. PyTorch's threads wait for each other by spinning, so on a machine that is
//! really busy its steps take several times as long, and ours, whose threads sleep, do not. What
//! others take is therefore measured, a disturbed turn is taken again while the patience lasts, and
//! a report made under load is not written.

mod contestant;
pub(crate) mod data;
pub(crate) mod grow;
mod load;
mod models;
mod page;
pub(crate) mod plan;
mod report;
mod statistics;
mod synthetic;
pub(crate) mod worker;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::contestant::{CONTESTANTS, Worker};
use self::load::{Load, Sample};
use self::models::{INCEPTION_BN, MODELS, Model};
use self::report::{ContestantReport, ModelReport, Report};
use crate::{python, root};

/// What `bench train` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A short run, to see that it works; nothing is written.
    #[arg(long)]
    quick: bool,
    /// Only this network; nothing is written. `inception-bn-224` (best with --batch 32) is measured
    /// only so.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Samples in a batch.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Threads of each contestant.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Minutes to spend in all on waiting until others leave the machine alone; a turn during which
    /// they did not is taken again.
    #[arg(long, default_value_t = 2.0, value_name = "MINUTES")]
    patience: f64,
    #[command(flatten)]
    python: python::Choice,
}

/// Steps before the first that counts.
const WARM_UP_STEPS: usize = 5;
/// The pause between turns, in which the threads of the last contestant go to sleep.
const PAUSE: Duration = Duration::from_millis(100);
/// The share of the cores that others may take in a report that is written.
const OTHERS_MAX: f64 = 0.1;
/// The losses of the first steps differ by rounding only, or the networks are not the same.
const LOSS_TOLERANCE: f64 = 1e-3;

/// Measures, prints and, after a whole run, writes `docs/performance.{md,json}`.
pub(crate) fn train(arguments: &Arguments) -> Result<()> {
    let chosen: Vec<&Model> = match &arguments.model {
        None => MODELS.iter().collect(),
        Some(name) => {
            let all = MODELS.iter().chain([&INCEPTION_BN]);
            all.filter(|model| model.name == name).collect()
        }
    };
    if chosen.is_empty() {
        let all = MODELS.iter().chain([&INCEPTION_BN]);
        let names: Vec<&str> = all.map(|model| model.name).collect();
        bail!("no such network; there are {}", names.join(", "));
    }
    let python = arguments.python.interpreter()?;
    let mut patience = Duration::try_from_secs_f64(arguments.patience * 60.0)?;
    let mut report = Report::new(arguments.batch, arguments.threads, rounds(arguments));
    for model in chosen {
        println!("{} at {} …", model.name, model.images);
        let measured = measure(arguments, &python, model, &mut patience, &mut report.torch)
            .with_context(|| format!("the network {}", model.name))?;
        println!("  {}", measured.line());
        report.models.push(measured);
    }
    println!("\n{}", report.markdown());
    if arguments.quick || arguments.model.is_some() {
        return Ok(());
    }
    let others = report.others();
    ensure!(
        others <= OTHERS_MAX,
        "other programs took {:.0} % of the cores meanwhile, so this says little of PyTorch with \
         several threads, and nothing was written; run it again on a quiet machine",
        others * 100.0
    );
    report.write(&root().join("docs"))
}

fn rounds(arguments: &Arguments) -> usize {
    if arguments.quick { 2 } else { 7 }
}

fn measure(
    arguments: &Arguments,
    python: &Path,
    model: &Model,
    patience: &mut Duration,
    torch: &mut String,
) -> Result<ModelReport> {
    let task = Task {
        folder: root().join("target/bench").join(model.name),
        batch: arguments.batch,
        threads: arguments.threads,
    };
    let parameters = model.prepare(&task)?;
    let mut workers = CONTESTANTS
        .iter()
        .map(|contestant| Worker::start(*contestant, &task, python))
        .collect::<Result<Vec<_>>>()?;
    if let Some(version) = workers.iter().find_map(|worker| worker.torch.as_ref()) {
        version.clone_into(torch);
    }
    let steps = warm_up(&mut workers, if arguments.quick { 300.0 } else { 800.0 })?;
    let mut rounds: Vec<Vec<Round>> = workers.iter().map(|_| Vec::new()).collect();
    for round in 0..self::rounds(arguments) {
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
    Ok(ModelReport {
        name: model.name.to_owned(),
        images: model.images.to_string(),
        parameters,
        steps_per_round: steps,
        contestants,
    })
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
    Ok(((turn_ms / slowest) as usize).clamp(5, 200))
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

    /// Little-endian f32, NHWC.
    fn images(&self) -> PathBuf {
        self.folder.join("images.f32")
    }

    /// Little-endian u32.
    fn labels(&self) -> PathBuf {
        self.folder.join("labels.u32")
    }
}
