//! The front and the curves.

use super::chart::Chart;
use super::name;
use crate::explore::record::{CandidateRecord, SeedRecord};
use crate::explore::spec::Cost;
use crate::report::format::{percent, si};

fn share(value: f64) -> String {
    let text = format!("{:.2}", value * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn milliseconds(value: f64) -> String {
    format!("{value:.2}")
}

/// Accuracy against the cost that was weighed, every candidate a dot; a thin line leads to it from what it grew from.
pub(super) fn front(seed: &SeedRecord, cost: Cost) -> String {
    let of = |c: &CandidateRecord| match cost {
        Cost::Parameters => c.parameters as f64,
        Cost::Flops => c.flops as f64,
        Cost::Latency => c.latency_ms.unwrap_or(f64::NAN),
    };
    let place = |c: &CandidateRecord| Some((of(c), c.accuracy?));
    let points = seed.candidates.iter().filter_map(place);
    let Some(mut chart) = Chart::around(points) else {
        return String::new();
    };
    for one in &seed.candidates {
        let parent = one
            .parent
            .and_then(|parent| place(&seed.candidates[parent]));
        if let (Some(from), Some(to)) = (parent, place(one)) {
            chart.line(&[from, to], "grow", &one.name);
        }
    }
    let mut way: Vec<(f64, f64)> = Vec::new();
    let mut ends: Vec<(f64, f64)> = seed
        .front
        .iter()
        .filter_map(|i| place(&seed.candidates[*i]))
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    for end in ends {
        // What is not as cheap costs more before it is better.
        if let Some(last) = way.last() {
            way.push((end.0, last.1));
        }
        way.push(end);
    }
    chart.line(&way, "way", "the front");
    for (index, one) in seed.candidates.iter().enumerate() {
        let Some(at) = place(one) else { continue };
        let class = match (index, seed.front.contains(&index)) {
            (0, _) => "start",
            (_, true) => "front",
            _ => "",
        };
        let title = format!(
            "{} {}: {}, {} parameters",
            name(index),
            one.name,
            percent(at.1),
            si(one.parameters as f64)
        );
        chart.dot(at, class, &title);
    }
    let (title, format): (&str, fn(f64) -> String) = match cost {
        Cost::Parameters => ("parameters", si),
        Cost::Flops => ("FLOPs a sample", si),
        Cost::Latency => ("milliseconds a sample", milliseconds),
    };
    let svg = chart.svg(
        [title, "validation accuracy"],
        [format, share],
        &format!(
            "Accuracy against {title}, {} networks",
            seed.candidates.len()
        ),
    );
    format!(
        "<figure>\n<h4>Accuracy against cost</h4>\n{svg}<figcaption>Every network that was trained; green is the start, blue \
         the front: nothing as cheap is as good. Thin lines lead from a network to those that grew from it.</figcaption>\n\
         </figure>\n"
    )
}

/// Points, the class of their line, and its title.
type Curve = (Vec<(f64, f64)>, &'static str, String);

/// Accuracy of each candidate against what training had cost up to there, its ancestry included.
pub(super) fn curves(seed: &SeedRecord) -> String {
    let mut lines: Vec<Curve> = Vec::new();
    for (index, one) in seed.candidates.iter().enumerate() {
        let mut points = Vec::new();
        let mut before = one.parent.map_or(0.0, |parent| cost_up_to(seed, parent));
        for trial in &one.trials {
            let curve = trial.metrics.iter();
            points.extend(curve.map(|m| (before + m.flops, m.validation_accuracy)));
            before += trial.training_flops;
        }
        let class = match seed.front.contains(&index) {
            true => "curve front",
            false => "curve",
        };
        lines.push((points, class, format!("{} {}", name(index), one.name)));
    }
    if let Some(control) = &seed.control {
        let curve = control.metrics.iter();
        let points = curve.map(|m| (m.flops, m.validation_accuracy)).collect();
        lines.push((points, "curve scratch", "the best from scratch".to_owned()));
    }
    let all = lines
        .iter()
        .flat_map(|(points, _, _)| points.iter().copied());
    let Some(chart) = Chart::around(all) else {
        return String::new();
    };
    // The first evaluations of fresh weights would squeeze all differences into a corner.
    let ends = seed.candidates.iter().filter_map(|c| c.accuracy);
    let worst = ends.fold(1.0, f64::min);
    let best = seed
        .front
        .first()
        .and_then(|i| seed.candidates[*i].accuracy);
    let mut chart = chart.cut_below(worst - 1.5 * (best.unwrap_or(worst) - worst).max(0.02));
    lines.sort_by_key(|(_, class, _)| class.len());
    for (points, class, title) in &lines {
        chart.line(points, class, title);
    }
    let svg = chart.svg(
        ["training FLOPs, ancestry included", "validation accuracy"],
        [si, share],
        "Accuracy against training cost",
    );
    format!(
        "<figure>\n<h4>Accuracy against training cost</h4>\n{svg}<figcaption>Each network's curve begins where that of its \
         parent ended. Blue: the front{}. The axis is cut below.</figcaption>\n</figure>\n",
        match seed.control {
            Some(_) => "; dashed: the best architecture from scratch",
            None => "",
        }
    )
}

/// What a candidate and all that it grew from cost in training.
fn cost_up_to(seed: &SeedRecord, index: usize) -> f64 {
    let one = &seed.candidates[index];
    let own: f64 = one.trials.iter().map(|trial| trial.training_flops).sum();
    own + one.parent.map_or(0.0, |parent| cost_up_to(seed, parent))
}
