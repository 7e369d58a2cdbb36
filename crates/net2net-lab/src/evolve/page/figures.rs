//! Accuracy and size over the steps.

use crate::evolve::life::Life;
use crate::evolve::store::Version;
use crate::explore::page::chart::Chart;
use crate::report::format::{percent, si};

fn share(value: f64) -> String {
    let text = format!("{:.1}", value * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn whole(value: f64) -> String {
    match value.fract() == 0.0 {
        true => format!("{value:.0}"),
        false => String::new(),
    }
}

fn accuracy(version: &Version) -> f64 {
    version.record.judgement.challenger.accuracy
}

/// The accuracy of each version, and the way of the champion.
pub(super) fn accuracies(life: &Life) -> String {
    let place = |one: &Version| (one.step as f64, accuracy(one));
    let Some(mut chart) = Chart::around(life.versions.iter().map(place)) else {
        return String::new();
    };
    for one in &life.versions {
        let parent = one.parent.and_then(|id| life.version(id));
        if let Some(parent) = parent {
            chart.line(&[place(parent), place(one)], "grow", "went on from");
        }
    }
    let promoted = |one: &&Version| {
        let decision = life.decided(one.step, "promote");
        decision.is_some_and(|decision| decision.outcome == "yes")
    };
    let mut way: Vec<(f64, f64)> = Vec::new();
    for one in life.versions.iter().filter(promoted) {
        if let Some(last) = way.last() {
            way.push((one.step as f64, last.1));
        }
        way.push(place(one));
    }
    // What stayed in use up to now; a rollback is told below.
    if let (Some(last), Some(step)) = (way.last().copied(), life.versions.last()) {
        way.push((step.step as f64, last.1));
    }
    chart.line(&way, "way", "the champion");
    for one in &life.versions {
        let class = match promoted(&one) {
            true => "champion",
            false => "kept",
        };
        let title = format!("version {}: {}", one.id, percent(accuracy(one)));
        chart.dot(place(one), class, &title);
    }
    let svg = chart.svg(
        ["step", "accuracy on the images that judge"],
        [whole, share],
        &format!("Accuracy of {} versions by step", life.versions.len()),
    );
    format!(
        "<figure>\n<h4>Accuracy</h4>\n{svg}<figcaption>Every version, on the images that judged it: blue those that were \
         promoted, red those that were not. The blue line is the champion; thin lines lead from a version to those that went \
         on from its trunk.</figcaption>\n</figure>\n"
    )
}

/// Parameters of each version.
pub(super) fn sizes(life: &Life) -> String {
    let place = |one: &Version| (one.step as f64, one.record.parameters as f64);
    let Some(mut chart) = Chart::around(life.versions.iter().map(place)) else {
        return String::new();
    };
    let line: Vec<(f64, f64)> = life.versions.iter().map(place).collect();
    chart.line(&line, "curve", "parameters");
    for one in &life.versions {
        let parent = one.parent.and_then(|id| life.version(id));
        let before = parent.map_or(one.record.parameters, |parent| parent.record.parameters);
        let class = match one.record.parameters > before {
            true => "grew",
            false => "",
        };
        let title = format!(
            "version {}: {} parameters",
            one.id,
            si(one.record.parameters as f64)
        );
        chart.dot(place(one), class, &title);
    }
    let svg = chart.svg(["step", "parameters"], [whole, si], "Parameters by step");
    format!(
        "<figure>\n<h4>Size</h4>\n{svg}<figcaption>Parameters of each version; green are those that grew, by more units or by \
         new classes.</figcaption>\n</figure>\n"
    )
}
