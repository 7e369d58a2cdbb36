//! The figures of a comparison, as `summary.json` holds them.

use serde::Serialize;

use super::record::{Comparison, Kind, RunRecord};
use super::significance::Difference;
use super::speedup::{Median, SeedSpeedup};

/// Every figure of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The comparison's title.
    pub title: String,
    /// The version of net2net.
    pub version: String,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// One entry a run, in the order of the comparison.
    pub runs: Vec<RunSummary>,
    /// One entry a growth, in the order of the comparison.
    pub growths: Vec<GrowthSummary>,
}

/// How a run ended and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// The run's identity.
    pub id: String,
    /// The growth; none for the teacher and the teacher continued.
    pub growth: Option<String>,
    /// How the run came to its initial weights.
    pub kind: Kind,
    /// The seed.
    pub seed: u64,
    /// Trainable numbers.
    pub parameters: u64,
    /// FLOPs of the forward pass of one sample.
    pub flops_per_sample: u64,
    /// Validation accuracy at the last evaluation, 0 to 1.
    pub final_accuracy: Option<f64>,
    /// The highest validation accuracy, 0 to 1.
    pub best_accuracy: Option<f64>,
    /// Validation loss at the last evaluation; none if it was not a number.
    pub final_loss: Option<f64>,
    /// Optimizer steps in all.
    pub steps: u64,
    /// Training FLOPs in all.
    pub flops: f64,
    /// Seconds of training in all.
    pub seconds: f64,
    /// Why the run was stopped early, if its loss ran away.
    pub diverged: Option<String>,
}

/// The races of one growth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GrowthSummary {
    /// "wider", "deeper" or "both".
    pub name: String,
    /// The growth whose scratch runs are the reference: this one, or one of the same architecture.
    pub scratch_of: String,
    /// One entry a kind that ran, in the order of [`Kind::STUDENTS`].
    pub students: Vec<StudentSummary>,
    /// Net2Net's final accuracy minus that of every other kind that ran, seed by seed.
    pub differences: Vec<KindDifference>,
}

/// Net2Net against one other kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindDifference {
    /// The other kind.
    pub kind: Kind,
    /// Of final accuracies, 0 to 1.
    pub accuracy: Difference,
}

impl GrowthSummary {
    /// The races of one kind.
    #[must_use]
    pub fn student(&self, kind: Kind) -> Option<&StudentSummary> {
        self.students.iter().find(|student| student.kind == kind)
    }
}

/// One kind of student against scratch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudentSummary {
    /// The kind.
    pub kind: Kind,
    /// To the teacher's final accuracy of the same seed.
    pub to_teacher: Race,
    /// To scratch's final accuracy of the same seed.
    pub to_scratch: Race,
}

/// A race to one level over all seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Race {
    /// Each seed by itself.
    pub seeds: Vec<SeedSpeedup>,
    /// The median over them.
    pub median: Median,
}

/// Computes every figure of a comparison.
#[must_use]
pub fn summarize(comparison: &Comparison) -> Summary {
    Summary {
        title: comparison.title.clone(),
        version: comparison.version.clone(),
        seeds: comparison.seeds.clone(),
        runs: comparison.runs.iter().map(summarize_run).collect(),
        growths: comparison
            .growths
            .iter()
            .map(|growth| summarize_growth(comparison, &growth.name))
            .collect(),
    }
}

fn summarize_run(run: &RunRecord) -> RunSummary {
    let last = run.metrics.last();
    let finite = |value: f64| value.is_finite().then_some(value);
    let accuracies = run
        .metrics
        .iter()
        .filter_map(|m| finite(m.validation_accuracy));
    RunSummary {
        id: run.id.clone(),
        growth: run.growth.clone(),
        kind: run.kind,
        seed: run.seed,
        parameters: run.parameters,
        flops_per_sample: run.flops_per_sample,
        final_accuracy: last.and_then(|m| finite(m.validation_accuracy)),
        best_accuracy: accuracies.reduce(f64::max),
        final_loss: last.and_then(|m| finite(m.validation_loss)),
        steps: last.map_or(0, |m| m.step),
        flops: last.map_or(0.0, |m| m.flops),
        seconds: last.map_or(0.0, |m| m.seconds),
        diverged: run.diverged.clone(),
    }
}

fn summarize_growth(comparison: &Comparison, growth: &str) -> GrowthSummary {
    let ran = |kind: &Kind| comparison.runs_of(growth, *kind).next().is_some();
    let students = Kind::STUDENTS
        .into_iter()
        .filter(ran)
        .map(|kind| StudentSummary {
            kind,
            to_teacher: race(comparison, growth, kind, Kind::Teacher),
            to_scratch: race(comparison, growth, kind, Kind::Scratch),
        });
    GrowthSummary {
        name: growth.to_owned(),
        scratch_of: comparison.scratch_of(growth).to_owned(),
        students: students.collect(),
        differences: Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Net2net)
            .filter_map(|kind| {
                let pairs = comparison.seeds.iter().filter_map(|&seed| {
                    let end = |kind| comparison.run(growth, kind, seed).and_then(level);
                    Some((end(Kind::Net2net)?, end(kind)?))
                });
                let accuracy = Difference::of(&pairs.collect::<Vec<_>>())?;
                Some(KindDifference { kind, accuracy })
            })
            .collect(),
    }
}

/// Races a kind against scratch to the final accuracy of the kind `pace`, seed by seed.
fn race(comparison: &Comparison, growth: &str, kind: Kind, pace: Kind) -> Race {
    let seeds: Vec<SeedSpeedup> = comparison
        .seeds
        .iter()
        .map(|&seed| {
            let run = |kind| comparison.run(growth, kind, seed);
            let level = run(pace).and_then(level);
            let teacher = run(Kind::Teacher).filter(|_| kind.owes_a_teacher());
            SeedSpeedup::new(seed, level, run(kind), run(Kind::Scratch), teacher)
        })
        .collect();
    let median = Median::over(&seeds);
    Race { seeds, median }
}

/// The level that a run sets; a diverged run sets none, since beating it would mean nothing.
pub(super) fn level(run: &RunRecord) -> Option<f64> {
    let accuracy = run.metrics.last()?.validation_accuracy;
    (run.diverged.is_none() && accuracy.is_finite()).then_some(accuracy)
}
