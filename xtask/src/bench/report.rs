//! The report: tables for people, JSON for programs.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::Round;
use super::contestant::{CONTESTANTS, Contestant};
use super::page::{self, row};
use super::statistics::median;

/// All that was measured, and on what.
#[derive(Serialize)]
pub(super) struct Report {
    cpu: String,
    cores: usize,
    rustc: String,
    pub(super) torch: String,
    batch: usize,
    threads: usize,
    rounds: usize,
    pub(super) models: Vec<ModelReport>,
}

/// One network.
#[derive(Serialize)]
pub(super) struct ModelReport {
    pub(super) name: String,
    pub(super) images: String,
    pub(super) parameters: usize,
    pub(super) steps_per_round: usize,
    pub(super) contestants: Vec<ContestantReport>,
}

/// One contestant on one network.
#[derive(Serialize)]
pub(super) struct ContestantReport {
    name: &'static str,
    /// The median over all steps.
    step_ms: f64,
    /// The lowest and the highest of the rounds' medians.
    lowest_round_ms: f64,
    highest_round_ms: f64,
    /// Our time over this contestant's: the median of the rounds' ratios.
    ours_to_this: f64,
    /// Processor time of all threads for a step; the median of the rounds.
    cpu_ms: Option<f64>,
    /// The share of all cores that others took meanwhile; the median of the rounds.
    others: Option<f64>,
    peak_mib: Option<f64>,
}

impl ModelReport {
    /// All that matters in one line, for those who wait.
    pub(super) fn line(&self) -> String {
        let contestants = self.contestants.iter().map(|contestant| {
            let cpu = contestant.cpu_ms.map_or("unknown".to_owned(), digits);
            format!(
                "{} {} ms ({cpu} of CPU)",
                contestant.name,
                digits(contestant.step_ms)
            )
        });
        contestants.collect::<Vec<_>>().join("; ")
    }
}

impl ContestantReport {
    pub(super) fn new(
        contestant: Contestant,
        rounds: &[Round],
        ours: &[Round],
        peak_mib: Option<f64>,
    ) -> Self {
        let medians: Vec<f64> = rounds.iter().map(Round::median_ms).collect();
        let ratios = ours
            .iter()
            .zip(&medians)
            .map(|(ours, this)| ours.median_ms() / this);
        let loads = || rounds.iter().filter_map(|round| Some((round, round.load?)));
        let cpu = loads().map(|(round, load)| load.cpu_ms / round.milliseconds.len() as f64);
        ContestantReport {
            name: contestant.name(),
            step_ms: median(rounds.iter().flat_map(|round| &round.milliseconds).copied()),
            lowest_round_ms: medians.iter().copied().fold(f64::INFINITY, f64::min),
            highest_round_ms: medians.iter().copied().fold(0.0, f64::max),
            ours_to_this: median(ratios),
            cpu_ms: known(median(cpu)),
            others: known(median(loads().map(|(_, load)| load.others))),
            peak_mib,
        }
    }
}

/// A median of something.
fn known(median: f64) -> Option<f64> {
    median.is_finite().then_some(median)
}

impl Round {
    fn median_ms(&self) -> f64 {
        median(self.milliseconds.iter().copied())
    }
}

impl Report {
    /// An empty report of this machine.
    pub(super) fn new(batch: usize, threads: usize, rounds: usize) -> Self {
        Report {
            cpu: page::cpu(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            rustc: page::rustc(),
            torch: String::new(),
            batch,
            threads,
            rounds,
            models: Vec::new(),
        }
    }

    /// The share of the cores that others took, where the system tells: the median over all.
    pub(super) fn others(&self) -> f64 {
        let all = self.models.iter().flat_map(|model| &model.contestants);
        known(median(all.filter_map(|contestant| contestant.others))).unwrap_or(0.0)
    }

    /// The section of `docs/performance.md`, without its markers.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "{}, {} cores; {}; PyTorch {}. Batch {}, f32, {} threads, SGD with momentum. Each cell \
             is the median step in milliseconds (lowest–highest median of {} rounds, in which the \
             contestants take turns; other programs took {:.0} % of the cores meanwhile). *Ratio* is our time \
             over that of PyTorch in its default NCHW order, the median of the rounds' ratios; \
             below 1 we are faster. The last three columns are PyTorch with better settings: \
             channels_last memory, and a C library that keeps freed memory \
             (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`).\n\n",
            self.cpu,
            self.cores,
            self.rustc,
            self.torch,
            self.batch,
            self.threads,
            self.rounds,
            self.others() * 100.0,
        );
        let names: Vec<&str> = CONTESTANTS
            .iter()
            .map(|contestant| contestant.name())
            .collect();
        text += &row(&[
            "network", "input", names[0], names[1], "ratio", names[2], names[3], names[4],
        ]);
        text += &row(&["---", "---", "---:", "---:", "---:", "---:", "---:", "---:"]);
        for model in &self.models {
            let mut cells = vec![model.name.clone(), model.images.clone()];
            for (index, contestant) in model.contestants.iter().enumerate() {
                cells.push(format!(
                    "{} ({}–{})",
                    digits(contestant.step_ms),
                    digits(contestant.lowest_round_ms),
                    digits(contestant.highest_round_ms)
                ));
                if index == 1 {
                    cells.push(format!("**{:.2}**", contestant.ours_to_this));
                }
            }
            text += &row(&cells);
        }
        text += "\nProcessor time of all threads for a step, in milliseconds. It depends less on what \
                 else runs, but threads that wait by spinning, as PyTorch's do, count as busy.\n\n";
        text += &self.table(|contestant| contestant.cpu_ms.map(digits));
        text += "\nThe most memory that each process held at once, in MiB; PyTorch's own libraries \
                 are part of it.\n\n";
        text += &self.table(|contestant| contestant.peak_mib.map(|mib| format!("{mib:.0}")));
        text
    }

    /// A row for each network, a column for each contestant.
    fn table(&self, cell: impl Fn(&ContestantReport) -> Option<String>) -> String {
        let mut head = vec!["network"];
        head.extend(CONTESTANTS.iter().map(|contestant| contestant.name()));
        let mut text = row(&head) + &row(&["---", "---:", "---:", "---:", "---:", "---:"]);
        for model in &self.models {
            let mut cells = vec![model.name.clone()];
            let known = model.contestants.iter().map(&cell);
            cells.extend(known.map(|cell| cell.unwrap_or("unknown".to_owned())));
            text += &row(&cells);
        }
        text
    }

    /// Writes the section of `performance.md` and the part of `performance.json`.
    pub(super) fn write(&self, docs: &Path) -> Result<()> {
        let heading = "Training steps beside PyTorch's";
        page::write(docs, "train", heading, &self.markdown(), self)
    }
}

/// Three digits that mean something.
pub(super) fn digits(milliseconds: f64) -> String {
    let decimals = match milliseconds {
        ms if ms >= 100.0 => 0,
        ms if ms >= 10.0 => 1,
        _ => 2,
    };
    format!("{milliseconds:.decimals$}")
}
