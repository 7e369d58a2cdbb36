//! The curves of a growth as SVG to stand inside a page.
//!
//! Colours, dashes and fonts come from the page's style sheet (see [`ink`]), so that one drawing serves light, dark and
//! print. Lines are means over seeds, bands reach from the lowest seed to the highest.

mod curve;
mod draw;
mod export;
pub mod ink;
mod range;

use thiserror::Error;

use super::format::{counted, percent};
use super::record::{Comparison, Kind, Metric, RunRecord};
pub use export::{PngError, png};

use curve::Curve;
use range::{Range, Side};

/// A drawing could not be made.
#[derive(Debug, Error)]
#[error("cannot draw {figure:?}: {reason}")]
pub struct PlotError {
    /// What was to be drawn.
    pub figure: Figure,
    /// What the drawing library said.
    pub reason: String,
}

/// What a drawing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Validation accuracy against each run's own seconds of training.
    AccuracySeconds,
    /// Validation accuracy against each run's own training FLOPs.
    AccuracyFlops,
    /// Validation accuracy against seconds, where those that start from the teacher start after its training.
    AccuracyWithTeacher,
    /// Validation loss against each run's own seconds of training.
    LossSeconds,
    /// How far apart copies are against seconds: Net2Net only.
    CopiesSeconds,
}

impl Figure {
    /// Every figure in the order of the report.
    pub const ALL: [Self; 5] = [
        Self::AccuracySeconds,
        Self::AccuracyFlops,
        Self::AccuracyWithTeacher,
        Self::LossSeconds,
        Self::CopiesSeconds,
    ];

    /// The title above the drawing.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::AccuracySeconds => "Accuracy against training time",
            Self::AccuracyFlops => "Accuracy against training FLOPs",
            Self::AccuracyWithTeacher => "Accuracy with the teacher's time counted",
            Self::LossSeconds => "Validation loss against training time",
            Self::CopiesSeconds => "How far apart copies are",
        }
    }

    /// Whether higher is better.
    const fn is_accuracy(self) -> bool {
        !matches!(self, Self::LossSeconds | Self::CopiesSeconds)
    }

    /// The name in files.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::AccuracySeconds => "accuracy-seconds",
            Self::AccuracyFlops => "accuracy-flops",
            Self::AccuracyWithTeacher => "accuracy-with-teacher",
            Self::LossSeconds => "loss-seconds",
            Self::CopiesSeconds => "copies-seconds",
        }
    }

    fn x(self, metric: &Metric) -> f64 {
        match self {
            Self::AccuracyFlops => metric.flops,
            _ => metric.seconds,
        }
    }

    fn y(self, metric: &Metric) -> f64 {
        match self {
            Self::LossSeconds => metric.validation_loss,
            Self::CopiesSeconds => metric.apart.unwrap_or(f64::NAN),
            _ => metric.validation_accuracy,
        }
    }
}

/// A drawing with the sentence that stands below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// The `<svg>` element; it needs [`ink::STYLE`] in the page.
    pub svg: String,
    /// Where the axis is cut and what else a reader must know; may be empty.
    pub note: String,
}

/// Draws one figure of a growth; none if there is nothing to draw.
///
/// # Errors
///
/// If the drawing library fails.
pub fn plot(
    comparison: &Comparison,
    growth: &str,
    figure: Figure,
) -> Result<Option<Plot>, PlotError> {
    let curves: Vec<Curve> = Kind::ALL
        .into_iter()
        .filter_map(|kind| kind_curve(comparison, growth, kind, figure))
        .collect();
    let teacher = match figure {
        Figure::CopiesSeconds => None,
        _ => teacher_level(comparison, growth, figure),
    };
    let cut = if figure.is_accuracy() {
        Side::Low
    } else {
        Side::High
    };
    let Some(range) = Range::of(&curves, teacher, cut) else {
        return Ok(None);
    };
    let label = format!(
        "{}, {growth}: {}",
        figure.title(),
        described(&curves, figure)
    );
    let svg = draw::svg(figure, &curves, teacher, &range, &label)
        .map_err(|reason| PlotError { figure, reason })?;
    Ok(Some(Plot {
        svg,
        note: note(figure, &range, &curves),
    }))
}

/// Draws one figure of a growth as a file of its own, in the colours of a light page, with its
/// legend; none if there is nothing to draw.
///
/// # Errors
///
/// If the drawing library fails.
pub fn standalone(
    comparison: &Comparison,
    growth: &str,
    figure: Figure,
) -> Result<Option<String>, PlotError> {
    let Some(plot) = plot(comparison, growth, figure)? else {
        return Ok(None);
    };
    let mut kinds = legend(comparison, growth);
    kinds.retain(|kind| kind_curve(comparison, growth, *kind, figure).is_some());
    Ok(Some(export::standalone(&plot.svg, &kinds)))
}

/// The kinds that have a curve, for the legend.
#[must_use]
pub fn legend(comparison: &Comparison, growth: &str) -> Vec<Kind> {
    let drawn = |kind: &Kind| {
        comparison
            .runs_of(growth, *kind)
            .any(|run| !run.metrics.is_empty())
    };
    Kind::ALL.into_iter().filter(drawn).collect()
}

/// The curve of a kind over its seeds. The teacher has one only where its time is on the axis.
fn kind_curve(comparison: &Comparison, growth: &str, kind: Kind, figure: Figure) -> Option<Curve> {
    let paid = figure == Figure::AccuracyWithTeacher;
    if kind == Kind::Teacher && !paid {
        return None;
    }
    let runs: Vec<&RunRecord> = comparison.runs_of(growth, kind).collect();
    let start = |seed: u64| match comparison.run(growth, Kind::Teacher, seed) {
        Some(teacher) if paid && kind.owes_a_teacher() => {
            teacher.metrics.last().map_or(0.0, |m| m.seconds)
        }
        _ => 0.0,
    };
    Curve::over(
        kind,
        &runs,
        |m| figure.x(m) + start(m.seed),
        |m| figure.y(m),
    )
}

/// The teacher's final accuracy or loss, the mean over seeds, as a line to cross.
fn teacher_level(comparison: &Comparison, growth: &str, figure: Figure) -> Option<f64> {
    let ends = comparison
        .runs_of(growth, Kind::Teacher)
        .filter(|run| run.diverged.is_none())
        .filter_map(|run| run.metrics.last())
        .map(|metric| figure.y(metric))
        .filter(|y| y.is_finite());
    let ends: Vec<f64> = ends.collect();
    (!ends.is_empty()).then(|| ends.iter().sum::<f64>() / ends.len() as f64)
}

/// The ends of the curves in words, for those who do not see them.
fn described(curves: &[Curve], figure: Figure) -> String {
    let end = |curve: &Curve| {
        let last = curve.points.last()?.mean;
        let value = if figure.is_accuracy() {
            percent(last)
        } else {
            format!("{last:.3}")
        };
        Some(format!("{} ends at {value}", curve.kind.label()))
    };
    curves
        .iter()
        .filter_map(end)
        .collect::<Vec<String>>()
        .join("; ")
}

fn note(figure: Figure, range: &Range, curves: &[Curve]) -> String {
    let mut sentences = Vec::new();
    if range.hidden > 0 {
        let points = counted(range.hidden, "evaluation");
        let verb = if range.hidden == 1 { "is" } else { "are" };
        sentences.push(if figure.is_accuracy() {
            format!(
                "The axis is cut at {}: {points} below {verb} not shown.",
                percent(range.low)
            )
        } else {
            format!(
                "The axis is cut at {:.2}: {points} above {verb} not shown.",
                range.high
            )
        });
    }
    if curves.iter().any(|curve| curve.diverged) {
        sentences.push("A cross marks where a way diverged in every seed.".to_owned());
    }
    sentences.join(" ")
}
