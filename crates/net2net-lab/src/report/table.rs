//! The tables of a report as text in cells: the terminal and the page draw the same ones.

use super::format::{NONE, counted, duration, percent, percent_spread, si, times};
use super::record::Kind;
use super::significance::Difference;
use super::speedup::{Arrival, Measure, Median};
use super::summary::{GrowthSummary, RunSummary, Summary};
use super::verdict::Outcome;

/// A table without a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// One name a column; the first column names the row.
    pub header: Vec<String>,
    /// As many cells as the header has.
    pub rows: Vec<Vec<String>>,
    /// The row that the table is about.
    pub strong: Option<usize>,
}

impl Table {
    fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            header: header.map(str::to_owned).to_vec(),
            rows: Vec::new(),
            strong: None,
        }
    }
}

/// Every way of one growth: accuracy, cost, and the median speed-up to both levels in one measure.
#[must_use]
pub fn speedup_table(summary: &Summary, growth: &GrowthSummary, measure: Measure) -> Table {
    let cost = match measure {
        Measure::Seconds => "Training time",
        Measure::Flops => "Training FLOPs",
        Measure::Steps => "Steps",
    };
    let mut table = Table::new([
        "Way",
        "Final accuracy",
        "To scratch's accuracy",
        "… with teacher's cost",
        "To teacher's accuracy",
        "… with teacher's cost",
        "Best accuracy",
        cost,
    ]);
    for kind in Kind::ALL {
        let runs: Vec<&RunSummary> = summary
            .runs
            .iter()
            .filter(|run| belongs(run, kind, growth))
            .collect();
        if runs.is_empty() {
            continue;
        }
        if kind == Kind::Net2net {
            table.strong = Some(table.rows.len());
        }
        let mut row = vec![kind.label().to_owned(), final_accuracy(&runs)];
        row.extend(races(growth, kind, measure));
        row.extend([best(&runs), mean_cost(&runs, measure)]);
        table.rows.push(row);
    }
    table
}

/// Every race of every seed to scratch's final accuracy, in seconds: the figures behind the medians.
#[must_use]
pub fn seed_table(growth: &GrowthSummary) -> Table {
    let mut table = Table::new([
        "Way",
        "Seed",
        "Level",
        "Student",
        "Scratch",
        "Speed-up",
        "… with teacher's cost",
    ]);
    for student in &growth.students {
        for race in &student.to_scratch.seeds {
            let time = |cost: Option<f64>, arrival: Arrival| match (cost, arrival) {
                (_, Arrival::AtOnce) => "at once".to_owned(),
                (Some(seconds), _) => duration(seconds),
                (None, Arrival::Never) => "never".to_owned(),
                (None, _) => NONE.to_owned(),
            };
            let or_none = |ratio: Option<f64>| ratio.map_or(NONE.to_owned(), times);
            table.rows.push(vec![
                student.kind.label().to_owned(),
                race.seed.to_string(),
                race.level.map_or(NONE.to_owned(), percent),
                time(race.seconds.student, race.student),
                time(race.seconds.scratch, race.scratch),
                or_none(race.seconds.ratio),
                or_none(race.seconds.with_teacher.ratio),
            ]);
        }
    }
    table
}

/// Net2Net's final accuracy minus that of every other way, with Student's paired t test over seeds.
#[must_use]
pub fn difference_table(growth: &GrowthSummary) -> Table {
    let mut table = Table::new(["Net2Net minus", "Points", "95 % interval", "p", "Seeds"]);
    for one in &growth.differences {
        let mut row = vec![one.kind.label().to_owned()];
        row.extend(difference_cells(&one.accuracy));
        table.rows.push(row);
    }
    table
}

/// Mean, interval, p value and seeds of a difference of accuracies.
pub(super) fn difference_cells(difference: &Difference) -> [String; 4] {
    let points = |share: f64| format!("{:+.2}", 100.0 * share);
    let interval = difference.margin.map(|margin| {
        let (low, high) = (difference.mean - margin, difference.mean + margin);
        format!("{} to {}", points(low), points(high))
    });
    let none = || NONE.to_owned();
    [
        points(difference.mean),
        interval.unwrap_or_else(none),
        difference.p.map_or_else(none, p_value),
        difference.seeds.to_string(),
    ]
}

/// A probability with two significant digits; small ones as a bound.
fn p_value(p: f64) -> String {
    match p {
        p if p < 0.001 => "< 0.001".to_owned(),
        p if p < 0.1 => format!("{p:.3}"),
        p => format!("{p:.2}"),
    }
}

fn belongs(run: &RunSummary, kind: Kind, growth: &GrowthSummary) -> bool {
    let shared = matches!(kind, Kind::Teacher | Kind::Continued);
    let name = match kind {
        Kind::Scratch => growth.scratch_of.as_str(),
        _ => growth.name.as_str(),
    };
    run.kind == kind && (shared || run.growth.as_deref() == Some(name))
}

/// Mean and spread of the runs that stayed finite, and how many did not.
fn final_accuracy(runs: &[&RunSummary]) -> String {
    let sound: Vec<f64> = runs
        .iter()
        .filter(|run| run.diverged.is_none())
        .filter_map(|run| run.final_accuracy)
        .collect();
    let diverged = runs.iter().filter(|run| run.diverged.is_some()).count();
    match diverged {
        0 => percent_spread(&sound),
        all if all == runs.len() => "diverged".to_owned(),
        some => format!(
            "{} ({some} of {} diverged)",
            percent_spread(&sound),
            runs.len()
        ),
    }
}

/// Mean and spread of each seed's best evaluation.
fn best(runs: &[&RunSummary]) -> String {
    percent_spread(
        &runs
            .iter()
            .filter_map(|run| run.best_accuracy)
            .collect::<Vec<f64>>(),
    )
}

/// The whole run's cost, the mean over seeds.
fn mean_cost(runs: &[&RunSummary], measure: Measure) -> String {
    let mean = |cost: fn(&RunSummary) -> f64| {
        runs.iter().map(|run| cost(run)).sum::<f64>() / runs.len() as f64
    };
    match measure {
        Measure::Seconds => duration(mean(|run| run.seconds)),
        Measure::Flops => si(mean(|run| run.flops)),
        Measure::Steps => format!("{:.0}", mean(|run| run.steps as f64)),
    }
}

/// The four cells of speed-ups.
fn races(growth: &GrowthSummary, kind: Kind, measure: Measure) -> [String; 4] {
    let none = || NONE.to_owned();
    if kind == Kind::Scratch {
        return [times(1.0), none(), scratch_to_teacher(growth), none()];
    }
    let Some(student) = growth.student(kind) else {
        return [none(), none(), none(), none()];
    };
    let cells = |median: &Median| {
        let ratio = median.speedup(measure).with_teacher.ratio;
        (race_cell(median, measure), ratio.map_or_else(none, times))
    };
    let (teacher, teacher_paid) = cells(&student.to_teacher.median);
    let (scratch, scratch_paid) = cells(&student.to_scratch.median);
    [scratch, scratch_paid, teacher, teacher_paid]
}

/// A median race in a cell; how many seeds got there is said where not all did.
fn race_cell(median: &Median, measure: Measure) -> String {
    let some = || format!("{} of {}", median.reached, counted(median.seeds, "seed"));
    let text = match Outcome::of(median, measure) {
        Outcome::Unknown => return NONE.to_owned(),
        Outcome::Never if median.reached == 0 => return "never".to_owned(),
        Outcome::Never => return format!("in {}", some()),
        Outcome::Times(ratio) => times(ratio),
        Outcome::ScratchNever => "scratch never".to_owned(),
        Outcome::AtOnce => "at once".to_owned(),
    };
    if median.reached == median.seeds {
        text
    } else {
        format!("{text} ({})", some())
    }
}

/// Scratch is its own reference, but it may fall short of the teacher.
fn scratch_to_teacher(growth: &GrowthSummary) -> String {
    let Some(median) = growth
        .students
        .first()
        .map(|student| &student.to_teacher.median)
    else {
        return NONE.to_owned();
    };
    match (median.scratch_reached, median.scratch_seeds) {
        (_, 0) => NONE.to_owned(),
        (0, _) => "never".to_owned(),
        (reached, seeds) if reached == seeds => times(1.0),
        (reached, seeds) => format!("{} ({reached} of {})", times(1.0), counted(seeds, "seed")),
    }
}
