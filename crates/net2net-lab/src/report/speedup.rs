//! How much sooner than scratch a run reaches a level of accuracy: for one seed, and the median over seeds.
//!
//! A level counts as reached at the first evaluation at or above it. What was never measured or never happened is
//! `None`, never a made-up number.

use serde::Serialize;

use super::record::{Metric, RunRecord};

/// What a cost is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Optimizer steps.
    Steps,
    /// Training FLOPs, the same on every machine.
    Flops,
    /// Seconds of training, evaluation excluded.
    Seconds,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 3] = [Self::Seconds, Self::Flops, Self::Steps];

    /// What the run had cost at an evaluation.
    #[must_use]
    pub fn of(self, metric: &Metric) -> f64 {
        match self {
            Self::Steps => metric.step as f64,
            Self::Flops => metric.flops,
            Self::Seconds => metric.seconds,
        }
    }

    /// The name within a sentence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Flops => "FLOPs",
            Self::Seconds => "seconds",
        }
    }
}

/// When a run reached a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// Before its first step.
    AtOnce,
    /// At a later evaluation.
    Reached,
    /// Not by its end.
    Never,
    /// Unknown: there is no such run, or no level to reach.
    Missing,
}

impl Arrival {
    /// Whether the level was reached at all.
    #[must_use]
    pub const fn reached(self) -> bool {
        matches!(self, Self::AtOnce | Self::Reached)
    }
}

/// The same comparison with the teacher's whole training added to the student's cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct WithTeacher {
    /// Teacher's and student's cost together.
    pub student: Option<f64>,
    /// Scratch's cost over `student`.
    pub ratio: Option<f64>,
}

/// The cost of reaching a level in one measure.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Speedup {
    /// The student's cost; none if it never got there.
    pub student: Option<f64>,
    /// Scratch's cost; none if it never got there.
    pub scratch: Option<f64>,
    /// `scratch / student`; none where either is, and where the student's cost is zero.
    pub ratio: Option<f64>,
    /// The student was at the level before its first step, at a cost of zero.
    pub at_once: bool,
    /// With the teacher's cost added.
    pub with_teacher: WithTeacher,
}

impl Speedup {
    fn new(student: Option<f64>, scratch: Option<f64>, teacher: Option<f64>) -> Self {
        let both = student
            .zip(teacher)
            .map(|(student, teacher)| student + teacher);
        Self {
            student,
            scratch,
            ratio: divide(scratch, student),
            at_once: student == Some(0.0),
            with_teacher: WithTeacher {
                student: both,
                ratio: divide(scratch, both),
            },
        }
    }
}

/// A ratio by zero is not a number.
fn divide(above: Option<f64>, below: Option<f64>) -> Option<f64> {
    above
        .zip(below)
        .filter(|&(_, below)| below > 0.0)
        .map(|(above, below)| above / below)
}

/// The race of one seed's student against the same seed's scratch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedSpeedup {
    /// The seed.
    pub seed: u64,
    /// The accuracy to reach, 0 to 1; none where the run that sets it is missing or diverged.
    pub level: Option<f64>,
    /// When the student got there.
    pub student: Arrival,
    /// When scratch got there.
    pub scratch: Arrival,
    /// In optimizer steps.
    pub steps: Speedup,
    /// In training FLOPs.
    pub flops: Speedup,
    /// In seconds of training.
    pub seconds: Speedup,
}

impl SeedSpeedup {
    /// Races `student` against `scratch` to `level`.
    #[must_use]
    pub fn new(
        seed: u64,
        level: Option<f64>,
        student: Option<&RunRecord>,
        scratch: Option<&RunRecord>,
        teacher: Option<&RunRecord>,
    ) -> Self {
        let (student_at, student_arrival) = arrival(student, level);
        let (scratch_at, scratch_arrival) = arrival(scratch, level);
        let teacher_end = teacher.and_then(|run| run.metrics.last());
        let speedup = |measure: Measure| {
            let cost = |metric: Option<&Metric>| metric.map(|m| measure.of(m));
            Speedup::new(cost(student_at), cost(scratch_at), cost(teacher_end))
        };
        Self {
            seed,
            level,
            student: student_arrival,
            scratch: scratch_arrival,
            steps: speedup(Measure::Steps),
            flops: speedup(Measure::Flops),
            seconds: speedup(Measure::Seconds),
        }
    }

    /// The numbers of one measure.
    #[must_use]
    pub const fn speedup(&self, measure: Measure) -> &Speedup {
        match measure {
            Measure::Steps => &self.steps,
            Measure::Flops => &self.flops,
            Measure::Seconds => &self.seconds,
        }
    }
}

/// The first evaluation at or above the level, and what to call that.
fn arrival(run: Option<&RunRecord>, level: Option<f64>) -> (Option<&Metric>, Arrival) {
    let (Some(run), Some(level)) = (run, level) else {
        return (None, Arrival::Missing);
    };
    let at = run.metrics.iter().find(|m| m.validation_accuracy >= level);
    let arrival = match at {
        None => Arrival::Never,
        Some(metric) if metric.step == 0 => Arrival::AtOnce,
        Some(_) => Arrival::Reached,
    };
    (at, arrival)
}

/// The median over seeds.
///
/// Every seed that ran counts: one that never reached the level is slower than any number, one that was there at
/// once, or whose scratch never got there, is faster than any. With an even number of seeds it is the mean of the two
/// in the middle, or the worse of them for the student where one is no number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Median {
    /// Seeds with a student and a level.
    pub seeds: usize,
    /// Seeds whose student reached the level, at once or later.
    pub reached: usize,
    /// Seeds whose student was there at once.
    pub at_once: usize,
    /// Seeds with a scratch run and a level.
    pub scratch_seeds: usize,
    /// Seeds whose scratch reached the level.
    pub scratch_reached: usize,
    /// In optimizer steps.
    pub steps: Speedup,
    /// In training FLOPs.
    pub flops: Speedup,
    /// In seconds of training.
    pub seconds: Speedup,
}

impl Median {
    /// The median of the seeds' races.
    #[must_use]
    pub fn over(races: &[SeedSpeedup]) -> Self {
        let count = |test: fn(&SeedSpeedup) -> bool| races.iter().filter(|race| test(race)).count();
        Self {
            seeds: count(|race| race.student != Arrival::Missing),
            reached: count(|race| race.student.reached()),
            at_once: count(|race| race.student == Arrival::AtOnce),
            scratch_seeds: count(|race| race.scratch != Arrival::Missing),
            scratch_reached: count(|race| race.scratch.reached()),
            steps: median_speedup(races, Measure::Steps),
            flops: median_speedup(races, Measure::Flops),
            seconds: median_speedup(races, Measure::Seconds),
        }
    }

    /// The numbers of one measure.
    #[must_use]
    pub const fn speedup(&self, measure: Measure) -> &Speedup {
        match measure {
            Measure::Steps => &self.steps,
            Measure::Flops => &self.flops,
            Measure::Seconds => &self.seconds,
        }
    }
}

/// Medians number by number: the median ratio is the median of the seeds' ratios, not a ratio of medians.
fn median_speedup(races: &[SeedSpeedup], measure: Measure) -> Speedup {
    let students = races.iter().filter(|race| race.student != Arrival::Missing);
    let scratches = races.iter().filter(|race| race.scratch != Arrival::Missing);
    let raced = students
        .clone()
        .filter(|race| race.scratch != Arrival::Missing);
    // A missing teacher is not a teacher that never arrived: such seeds have no part in the figures with it.
    let taught = |race: &&SeedSpeedup| {
        !race.student.reached() || race.speedup(measure).with_teacher.student.is_some()
    };

    let student = worse_high(students.clone().map(|race| race.speedup(measure).student));
    let ratio = |race: &SeedSpeedup, ratio: Option<f64>| match race.student.reached() {
        false => f64::NEG_INFINITY,
        true => ratio.unwrap_or(f64::INFINITY),
    };
    Speedup {
        student,
        scratch: worse_high(scratches.map(|race| race.speedup(measure).scratch)),
        ratio: worse_low(
            raced
                .clone()
                .map(|race| ratio(race, race.speedup(measure).ratio)),
        ),
        at_once: student == Some(0.0),
        with_teacher: WithTeacher {
            student: worse_high(
                students
                    .filter(taught)
                    .map(|race| race.speedup(measure).with_teacher.student),
            ),
            ratio: worse_low(
                raced
                    .filter(taught)
                    .map(|race| ratio(race, race.speedup(measure).with_teacher.ratio)),
            ),
        },
    }
}

/// The median cost, where "never" is dearer than any number and the dearer of two is the worse.
fn worse_high(costs: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (low, high) = middle(costs.map(|cost| cost.unwrap_or(f64::INFINITY)))?;
    high.is_finite().then_some(low.midpoint(high))
}

/// The median ratio, where the smaller of two is the worse.
fn worse_low(ratios: impl Iterator<Item = f64>) -> Option<f64> {
    let (low, high) = middle(ratios)?;
    let median = if low.is_finite() && high.is_finite() {
        low.midpoint(high)
    } else {
        low
    };
    median.is_finite().then_some(median)
}

/// The two values in the middle, the same one twice if their number is odd.
fn middle(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let high = *values.get(values.len() / 2)?;
    let low = *values.get((values.len() - 1) / 2)?;
    Some((low, high))
}
