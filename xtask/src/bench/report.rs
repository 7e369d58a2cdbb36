//! The report: tables for people, JSON for programs.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::Round;
use super::contestant::Contestant;
use super::page::{self, row};
use super::statistics::median;

/// All that was measured, and on what.
#[derive(Serialize)]
pub(super) struct Report {
    cpu: String,
    cores: usize,
    rustc: String,
    pub(super) torch: String,
    /// The rate of a large matrix product of ours, in 10⁹ operations a second.
    pub(super) peak_gflops: f64,
    threads: usize,
    rounds: usize,
    pub(super) models: Vec<ModelReport>,
}

/// One network.
#[derive(Serialize)]
pub(super) struct ModelReport {
    pub(super) name: String,
    pub(super) images: String,
    pub(super) batch: usize,
    pub(super) parameters: usize,
    /// Operations of one forward pass of a batch, in 10⁹.
    pub(super) forward_gflop: f64,
    pub(super) steps_per_round: usize,
    /// Our time over that of the fastest other: the median of the rounds' ratios.
    pub(super) ours_to_best: f64,
    pub(super) contestants: Vec<ContestantReport>,
}

/// One contestant on one network.
#[derive(Serialize)]
pub(super) struct ContestantReport {
    pub(super) name: &'static str,
    /// The median over all steps.
    pub(super) step_ms: f64,
    /// The lowest and the highest of the rounds' medians.
    lowest_round_ms: f64,
    highest_round_ms: f64,
    /// Our time over this contestant's: the median of the rounds' ratios.
    pub(super) ours_to_this: f64,
    /// Processor time of all threads for a step; the median of the rounds.
    pub(super) cpu_ms: Option<f64>,
    /// The share of all cores that others took meanwhile; the median of the rounds.
    pub(super) others: Option<f64>,
    pub(super) peak_mib: Option<f64>,
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

impl ContestantReport {
    /// The median, and between which medians the rounds lie.
    pub(super) fn cell(&self) -> String {
        format!(
            "{} ({}–{})",
            digits(self.step_ms),
            digits(self.lowest_round_ms),
            digits(self.highest_round_ms)
        )
    }
}

/// Our time over that of the fastest other contestant: the median of the rounds' ratios.
pub(super) fn ratio_to_best(rounds: &[Vec<Round>]) -> f64 {
    let [ours, others @ ..] = rounds else {
        return f64::NAN;
    };
    median(ours.iter().enumerate().map(|(i, ours)| {
        let theirs = others.iter().map(|rounds| rounds[i].median_ms());
        ours.median_ms() / theirs.fold(f64::INFINITY, f64::min)
    }))
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
    pub(super) fn new(threads: usize, rounds: usize) -> Self {
        Report {
            cpu: page::cpu(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            rustc: page::rustc(),
            torch: String::new(),
            peak_gflops: f64::NAN,
            threads,
            rounds,
            models: Vec::new(),
        }
    }

    /// Machine and compiler.
    pub(super) fn machine(&self) -> String {
        format!("{}, {} cores; {}", self.cpu, self.cores, self.rustc)
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    pub(super) fn rounds(&self) -> usize {
        self.rounds
    }

    /// The share of the cores that others took, where the system tells: the median over all.
    pub(super) fn others(&self) -> f64 {
        let all = self.models.iter().flat_map(|model| &model.contestants);
        known(median(all.filter_map(|contestant| contestant.others))).unwrap_or(0.0)
    }

    /// The section of `docs/performance.md`, without its markers.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "{}, {} cores; {}; PyTorch {}. f32, {} threads, SGD with momentum. Each cell \
             is the median step in milliseconds (lowest–highest median of {} rounds, in which the \
             contestants take turns; other programs took {:.0} % of the cores meanwhile). *Ratio* is our time \
             over that of PyTorch in its default NCHW order, *to the best* that over the fastest of \
             PyTorch's settings in each round; both are medians of the rounds' ratios, and \
             below 1 we are faster. The other columns are PyTorch with better settings: \
             channels_last memory, and a C library that keeps freed memory \
             (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`). *Of peak* is the share of the rate \
             of a large matrix product, {:.0} GFLOP/s, that our step reaches, if a step \
             is three forward passes.\n\n",
            self.cpu,
            self.cores,
            self.rustc,
            self.torch,
            self.threads,
            self.rounds,
            self.others() * 100.0,
            self.peak_gflops,
        );
        let names = self.names();
        let mut head = vec!["network", "input", "batch", "net2net", "of peak"];
        head.extend(names.get(1).copied());
        head.extend(["ratio", "to the best"]);
        head.extend(names.iter().skip(2).copied());
        text += &row(&head);
        text += &row(&rule(head.len(), 2));
        for model in &self.models {
            let mut times = model.contestants.iter().map(ContestantReport::cell);
            let mut cells = vec![
                model.name.clone(),
                model.images.clone(),
                model.batch.to_string(),
            ];
            cells.extend(times.next());
            cells.push(self.share_of_peak(model));
            cells.extend(times.next());
            if let Some(default) = model.contestants.get(1) {
                cells.push(format!("**{:.2}**", default.ours_to_this));
            }
            cells.push(format!("**{:.2}**", model.ours_to_best));
            cells.extend(times);
            text += &row(&cells);
        }
        text += "\nProcessor time of all threads for a step, in milliseconds. It depends less on what \
                 else runs, but threads that wait by spinning, as PyTorch's do for long and ours for moments, count as busy.\n\n";
        text += &self.table(|contestant| contestant.cpu_ms.map(digits));
        text += "\nThe most memory that each process held at once, in MiB; PyTorch's own libraries \
                 are part of it.\n\n";
        text += &self.table(|contestant| contestant.peak_mib.map(|mib| format!("{mib:.0}")));
        text
    }

    fn names(&self) -> Vec<&'static str> {
        let first = self.models.first();
        first.map_or(Vec::new(), |model| {
            model.contestants.iter().map(|c| c.name).collect()
        })
    }

    fn share_of_peak(&self, model: &ModelReport) -> String {
        let ours = model.contestants.first().map_or(f64::NAN, |c| c.step_ms);
        let rate = 3.0 * model.forward_gflop / (ours / 1e3);
        format!("{:.0} %", 100.0 * rate / self.peak_gflops)
    }

    /// A row for each network, a column for each contestant.
    fn table(&self, cell: impl Fn(&ContestantReport) -> Option<String>) -> String {
        let mut head = vec!["network"];
        head.extend(self.names());
        let mut text = row(&head) + &row(&rule(head.len(), 1));
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

/// The line under a table's head: the first columns are text, the others numbers.
pub(super) fn rule(columns: usize, text: usize) -> Vec<&'static str> {
    let side = |column| if column < text { "---" } else { "---:" };
    (0..columns).map(side).collect()
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
