//! What a growth's figures say, in plain words and without sparing Net2Net.

use super::format::{counted, listed, times};
use super::record::Kind;
use super::speedup::{Measure, Median};
use super::summary::{GrowthSummary, Summary};

/// Within this factor two ways are called equally fast: seconds on a shared machine are no better than that.
const EVEN: f64 = 1.05;

/// How a kind fared against scratch; ordered from worst to best once [`Outcome::Unknown`] is set aside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// No run, no level or no scratch to compare with.
    Unknown,
    /// Never reached the level, in half of the seeds or more.
    Never,
    /// Reached it this many times faster than scratch.
    Times(f64),
    /// Reached it, and scratch never did.
    ScratchNever,
    /// Was there before its first step.
    AtOnce,
}

impl Outcome {
    /// The outcome over all seeds.
    #[must_use]
    pub fn of(median: &Median, measure: Measure) -> Self {
        let speedup = median.speedup(measure);
        match (speedup.ratio, speedup.student) {
            _ if median.seeds == 0 => Self::Unknown,
            _ if speedup.at_once => Self::AtOnce,
            (Some(ratio), _) => Self::Times(ratio),
            (None, None) => Self::Never,
            (None, Some(_)) if median.scratch_seeds > 0 => Self::ScratchNever,
            (None, Some(_)) => Self::Unknown,
        }
    }

    /// A ratio that orders outcomes, endless where no number is large enough.
    fn rank(self) -> f64 {
        match self {
            Self::Unknown | Self::Never => 0.0,
            Self::Times(ratio) => ratio,
            // Half, so that a margin on top of it stays below "at once".
            Self::ScratchNever => f64::MAX / 2.0,
            Self::AtOnce => f64::INFINITY,
        }
    }

    /// Clearly ahead of another outcome, not within [`EVEN`] of it.
    fn beats(self, other: f64) -> bool {
        self.rank() > other * EVEN
    }

    pub(super) fn in_words(self) -> String {
        match self {
            Self::Unknown => super::format::NONE.to_owned(),
            Self::Never => "never".to_owned(),
            Self::Times(ratio) => times(ratio),
            Self::ScratchNever => "scratch never".to_owned(),
            Self::AtOnce => "at once".to_owned(),
        }
    }
}

/// How good the news is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Net2Net was faster than scratch and than every other way.
    Fastest,
    /// Net2Net was faster than scratch, but some other way was as fast or faster.
    Beaten,
    /// Net2Net was not faster than scratch.
    Lost,
    /// There is nothing to compare.
    Unknown,
}

/// The answer of one growth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How good the news is.
    pub tone: Tone,
    /// The headline: `3.1×`, `at once`, `never`.
    pub figure: String,
    /// What the headline says, in a few words.
    pub figure_label: String,
    /// The whole answer in a sentence.
    pub sentence: String,
}

/// Judges a growth by the seconds to scratch's final accuracy.
#[must_use]
pub fn verdict(summary: &Summary, growth: &GrowthSummary) -> Verdict {
    let Some(net2net) = growth.student(Kind::Net2net) else {
        return unknown("There is no Net2Net run of this growth.");
    };
    let median = &net2net.to_scratch.median;
    let outcome = Outcome::of(median, Measure::Seconds);
    if outcome == Outcome::Unknown {
        return unknown("There is no scratch run to compare with, or it diverged.");
    }
    let rivals = rivals(growth);
    let tone = match outcome {
        _ if !outcome.beats(1.0) => Tone::Lost,
        _ if rivals
            .iter()
            .all(|rival| outcome.beats(rival.outcome.rank())) =>
        {
            Tone::Fastest
        }
        _ => Tone::Beaten,
    };
    let sentence = [
        against_scratch(outcome, median),
        against_rivals(outcome, &rivals),
        ".".to_owned(),
        divergence(summary, growth),
    ];
    Verdict {
        tone,
        figure: outcome.in_words(),
        figure_label: figure_label(outcome, tone).to_owned(),
        sentence: sentence.concat(),
    }
}

fn unknown(why: &str) -> Verdict {
    Verdict {
        tone: Tone::Unknown,
        figure: super::format::NONE.to_owned(),
        figure_label: "nothing to compare".to_owned(),
        sentence: why.to_owned(),
    }
}

const fn figure_label(outcome: Outcome, tone: Tone) -> &'static str {
    match (outcome, tone) {
        (Outcome::AtOnce, Tone::Beaten) => "at scratch's final accuracy, but others were too",
        (Outcome::AtOnce, _) => "at scratch's final accuracy, before the first step",
        (Outcome::Never, _) => "reached scratch's final accuracy",
        (_, Tone::Fastest) => "faster than training from scratch",
        (_, Tone::Beaten) => "faster than scratch, but not the fastest way",
        _ => "the speed of training from scratch",
    }
}

/// A kind that Net2Net is compared with.
struct Rival<'a> {
    kind: Kind,
    outcome: Outcome,
    median: &'a Median,
}

impl Rival<'_> {
    /// The kind with its figure.
    fn in_words(&self) -> String {
        format!("{} ({})", self.kind.in_prose(), self.outcome.in_words())
    }
}

/// Every other kind that can be compared, the fastest first.
fn rivals(growth: &GrowthSummary) -> Vec<Rival<'_>> {
    let others = growth
        .students
        .iter()
        .filter(|student| student.kind != Kind::Net2net);
    let mut rivals: Vec<Rival<'_>> = others
        .map(|student| {
            let median = &student.to_scratch.median;
            Rival {
                kind: student.kind,
                outcome: Outcome::of(median, Measure::Seconds),
                median,
            }
        })
        .filter(|rival| rival.outcome != Outcome::Unknown)
        .collect();
    rivals.sort_by(|a, b| b.outcome.rank().total_cmp(&a.outcome.rank()));
    rivals
}

/// The first half of the sentence: Net2Net against scratch, with the basis of the figure.
fn against_scratch(outcome: Outcome, median: &Median) -> String {
    let basis = basis(median);
    match outcome {
        Outcome::AtOnce => {
            format!("Net2Net was at scratch's final accuracy before its first step ({basis})")
        }
        Outcome::ScratchNever => {
            format!("Net2Net reached scratch's final accuracy where scratch did not ({basis})")
        }
        Outcome::Times(ratio) if outcome.beats(1.0) => format!(
            "Net2Net reached scratch's final accuracy {} faster than scratch itself ({basis})",
            times(ratio)
        ),
        Outcome::Times(ratio) if ratio * EVEN < 1.0 => format!(
            "Net2Net did not beat scratch: it took {} as long to scratch's final accuracy ({basis})",
            times(1.0 / ratio)
        ),
        Outcome::Times(_) => format!(
            "Net2Net did not beat scratch: it took about as long to scratch's final accuracy ({basis})"
        ),
        _ if median.reached > 0 => format!(
            "Net2Net did not beat scratch: it reached scratch's final accuracy only in {} of {}",
            median.reached,
            counted(median.seeds, "seed")
        ),
        _ => format!(
            "Net2Net did not beat scratch: it never reached scratch's final accuracy ({basis})"
        ),
    }
}

/// What the figure rests on: how many seeds, and what is left of it once the teacher is paid for.
fn basis(median: &Median) -> String {
    let seeds = counted(median.seeds, "seed");
    let mut basis = match (median.seeds, median.reached) {
        (1, _) => "one seed".to_owned(),
        (_, 0) => seeds,
        (all, reached) if all == reached => format!("median of {seeds}"),
        (_, reached) => format!("median of {seeds}, of which {reached} got there"),
    };
    if let Some(ratio) = median.seconds.with_teacher.ratio {
        let slower = if ratio * EVEN < 1.0 {
            ", so slower,"
        } else {
            ""
        };
        basis += &format!(
            "; {}{slower} with the teacher's own training counted",
            times(ratio)
        );
    }
    basis
}

/// The second half: who was faster, who was as fast, who was slower, who did not arrive.
fn against_rivals(outcome: Outcome, rivals: &[Rival<'_>]) -> String {
    let named = |test: &dyn Fn(f64) -> bool| -> Vec<String> {
        let arrived = rivals
            .iter()
            .filter(|rival| rival.outcome != Outcome::Never);
        arrived
            .filter(|rival| test(rival.outcome.rank()))
            .map(Rival::in_words)
            .collect()
    };
    let is_faster = |rival: f64| rival > outcome.rank() * EVEN;
    let faster = named(&is_faster);
    let slower = named(&|rival| outcome.beats(rival));
    let even = named(&|rival| !is_faster(rival) && !outcome.beats(rival));

    let ahead = outcome.beats(1.0);
    let fastest = ahead && faster.is_empty() && even.is_empty();
    let mut text = String::new();
    if fastest && !rivals.is_empty() {
        text += " and was the fastest way";
    }
    if !faster.is_empty() {
        let verb = if faster.len() == 1 { "was" } else { "were" };
        text += &format!(", but {} {verb} faster", listed(&faster));
    }
    if !even.is_empty() {
        let lead = if ahead && faster.is_empty() {
            ", but it"
        } else {
            "; it"
        };
        text += &format!("{lead} was no faster than {}", listed(&even));
    }
    if !slower.is_empty() {
        let lead = if fastest {
            ", ahead of"
        } else {
            "; it was ahead of"
        };
        text += &format!("{lead} {}", listed(&slower));
    }
    text += &short_of_it(outcome, rivals);
    if !ahead && rivals.iter().all(|rival| !rival.outcome.beats(1.0)) {
        text += "; no way was faster than scratch";
    }
    text
}

/// Those that did not get there in most seeds.
fn short_of_it(outcome: Outcome, rivals: &[Rival<'_>]) -> String {
    let absent = || {
        rivals
            .iter()
            .filter(|rival| rival.outcome == Outcome::Never)
    };
    let never = absent().filter(|rival| rival.median.reached == 0);
    let never: Vec<String> = never
        .map(|rival| rival.kind.in_prose().to_owned())
        .collect();
    let mut text = String::new();
    if !never.is_empty() {
        let either = if outcome == Outcome::Never {
            " either"
        } else {
            ""
        };
        text += &format!("; {} did not get there{either}", listed(&never));
    }
    for rival in absent().filter(|rival| rival.median.reached > 0) {
        let seeds = counted(rival.median.seeds, "seed");
        let who = rival.kind.in_prose();
        text += &format!(
            "; {who} got there only in {} of {seeds}",
            rival.median.reached
        );
    }
    text
}

/// A run that ran away is said outright, whatever the median.
fn divergence(summary: &Summary, growth: &GrowthSummary) -> String {
    let runs = summary.runs.iter().filter(|run| {
        run.kind == Kind::Net2net && run.growth.as_deref() == Some(growth.name.as_str())
    });
    let (all, diverged) = runs.fold((0, 0), |(all, lost), run| {
        (all + 1, lost + usize::from(run.diverged.is_some()))
    });
    match diverged {
        0 => String::new(),
        _ => format!(
            " Net2Net diverged in {diverged} of {}.",
            counted(all, "seed")
        ),
    }
}
