//! Several seeds as one curve: the mean, with the lowest and the highest seed around it.

use crate::report::record::{Kind, Metric, RunRecord};

/// The evaluations of a step over all seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The mean cost.
    pub x: f64,
    /// The mean value.
    pub mean: f64,
    /// The lowest seed's value.
    pub low: f64,
    /// The highest seed's value.
    pub high: f64,
}

/// A kind's curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Whose.
    pub kind: Kind,
    /// At least one, in the order of steps.
    pub points: Vec<Point>,
    /// Every seed diverged; otherwise those that did are left out.
    pub diverged: bool,
}

impl Curve {
    /// Joins runs step by step, at the steps that all of them evaluated: a seed that comes or goes would make the mean
    /// jump. None if no step is left.
    pub fn over(
        kind: Kind,
        runs: &[&RunRecord],
        x: impl Fn(&Metric) -> f64,
        y: impl Fn(&Metric) -> f64,
    ) -> Option<Self> {
        let sound: Vec<&RunRecord> = runs
            .iter()
            .copied()
            .filter(|run| run.diverged.is_none())
            .collect();
        let diverged = sound.is_empty();
        let joined = if diverged { runs.to_vec() } else { sound };
        let points: Vec<Point> = joined
            .first()?
            .metrics
            .iter()
            .filter_map(|metric| joined.iter().map(|run| at_step(run, metric.step)).collect())
            .filter_map(|seeds: Vec<&Metric>| point(&seeds, &x, &y))
            .collect();
        (!points.is_empty()).then_some(Self {
            kind,
            points,
            diverged,
        })
    }
}

fn at_step(run: &RunRecord, step: u64) -> Option<&Metric> {
    run.metrics
        .binary_search_by_key(&step, |m| m.step)
        .ok()
        .and_then(|i| run.metrics.get(i))
}

/// One point, or none if a seed's value is no number.
fn point(
    seeds: &[&Metric],
    x: impl Fn(&Metric) -> f64,
    y: impl Fn(&Metric) -> f64,
) -> Option<Point> {
    let n = seeds.len() as f64;
    let values: Vec<f64> = seeds.iter().map(|m| y(m)).collect();
    let point = Point {
        x: seeds.iter().map(|m| x(m)).sum::<f64>() / n,
        mean: values.iter().sum::<f64>() / n,
        low: values.iter().copied().fold(f64::INFINITY, f64::min),
        high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    (point.x.is_finite() && point.mean.is_finite()).then_some(point)
}
