//! Which network grew from which.

use super::name;
use crate::explore::record::{CandidateRecord, SeedRecord};
use crate::report::escape::escape;
use crate::report::format::{NONE, difference, percent, si};

/// The family as nested lists, from the start.
pub(super) fn tree(seed: &SeedRecord) -> String {
    format!("<ul class=\"tree\">\n{}</ul>\n", branch(seed, 0))
}

fn branch(seed: &SeedRecord, index: usize) -> String {
    let one = &seed.candidates[index];
    let children = (0..seed.candidates.len()).filter(|i| seed.candidates[*i].parent == Some(index));
    let below: String = children.map(|child| branch(seed, child)).collect();
    let below = match below.is_empty() {
        true => below,
        false => format!("<ul>\n{below}</ul>\n"),
    };
    format!("<li>{}{below}</li>\n", line(seed, index, one))
}

fn line(seed: &SeedRecord, index: usize, one: &CandidateRecord) -> String {
    let accuracy = one.accuracy.map_or_else(|| NONE.to_owned(), percent);
    let accuracy = match seed.front.contains(&index) {
        true => format!("<b>{}</b>", escape(&accuracy)),
        false => escape(&accuracy),
    };
    let parent = one
        .parent
        .and_then(|parent| seed.candidates[parent].accuracy);
    let gain = match (one.accuracy, parent) {
        (Some(own), Some(parent)) => {
            let points = 100.0 * (own - parent);
            let class = if points >= 0.0 { "gain" } else { "loss" };
            format!(" <span class=\"{class}\">{points:+.1}</span>")
        }
        _ => String::new(),
    };
    let rungs: Vec<String> = one
        .trials
        .iter()
        .map(|trial| trial.accuracy.map_or_else(|| NONE.to_owned(), percent))
        .collect();
    let mut notes = vec![format!("{} parameters", si(one.parameters as f64))];
    notes.extend((rungs.len() > 1).then(|| format!("rungs {}", rungs.join(", "))));
    notes.extend(one.score.map(|score| format!("score {score:.2e}")));
    let proof = one.trials.iter().find_map(|trial| trial.proof);
    notes.extend(proof.map(|proof| format!("grown with a difference of {}", difference(proof))));
    notes.extend(one.trials.iter().find_map(|trial| trial.fault.clone()));
    let steps = match one.steps.is_empty() {
        true => String::new(),
        false => format!(" title=\"{}\"", escape(&one.steps.join("; "))),
    };
    format!(
        "<span{steps}>{} {}</span> {accuracy}{gain} <small>{}</small>",
        name(index),
        escape(&one.name),
        escape(&notes.join(" · "))
    )
}
