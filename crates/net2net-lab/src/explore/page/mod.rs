//! The page of an exploration: one self-contained HTML file.
//!
//! The answer comes first; then, for each seed, the front, the curves, the family tree, and how far scores and short rungs
//! could be trusted. Every string of a record passes through `escape`.

pub(crate) mod chart;
mod figures;
mod tree;

use super::figures::Correlation;
use super::record::{CandidateRecord, Exploration, SeedRecord};
use super::spec::Cost;
use crate::report::escape::escape;
use crate::report::format::{NONE, counted, duration, percent, si};
use crate::report::html::{document, element};
use crate::report::table::Table;

/// The style of charts and trees.
pub(crate) const STYLE: &str = include_str!("explore.css");

/// Renders an exploration.
pub(super) fn render(exploration: &Exploration) -> String {
    let mut body = format!(
        "<header>\n<p class=\"eyebrow\">net2net explore</p>\n<h1>{}</h1>\n\
         <p class=\"meta\">{} · {} · {} · {}, {} side by side</p>\n</header>\n",
        escape(&exploration.title),
        escape(&exploration.data),
        counted(exploration.seeds.len(), "seed"),
        escape(&exploration.machine),
        counted(exploration.threads, "thread"),
        counted(exploration.parallel, "trial"),
    );
    body += "<section class=\"answer\" aria-label=\"The answer\">\n";
    for seed in &exploration.seeds {
        body += &answer(seed);
    }
    body += "</section>\n";
    for seed in &exploration.seeds {
        body += &section(seed, exploration.cost);
    }
    body += &format!(
        "<section id=\"reproduce\">\n<h2>To repeat it</h2>\n<pre>{}</pre>\n{}</section>\n\
         <footer>Written by net2net {}.</footer>\n",
        escape(&exploration.command),
        element::details(
            "The specification",
            &format!("<pre>{}</pre>\n", escape(&exploration.spec_toml)),
            false
        ),
        escape(&exploration.version)
    );
    document(&exploration.title, STYLE, &body)
}

/// A card: the best accuracy, what it took, and what growth saved.
fn answer(seed: &SeedRecord) -> String {
    let best = seed.front.first().map(|i| &seed.candidates[*i]);
    let figure = best.and_then(|best| best.accuracy);
    let start = seed.candidates.first().and_then(|start| start.accuracy);
    let from = start.map_or_else(String::new, |start| format!(", from {}", percent(start)));
    let mut text = format!(
        "<p>{} trained in {} of search{}; {} left out because the architecture was known.</p>\n",
        counted(seed.architectures, "architecture"),
        duration(seed.spent.seconds),
        seed.stopped_by.as_ref().map_or_else(String::new, |why| {
            format!(", until the budget of {} was used up", escape(why))
        }),
        counted(seed.duplicates, "move"),
    );
    let tone = match &seed.control {
        Some(control) if control.reached_flops.is_some() => "mixed",
        _ => "good",
    };
    text += &saved(seed).map_or_else(String::new, |saved| format!("<p>{}</p>\n", escape(&saved)));
    format!(
        "<article class=\"card {tone}\">\n<h2>Seed {}</h2>\n<p class=\"figure\">{}</p>\n\
         <p class=\"figure-label\">best accuracy{from}</p>\n{text}</article>\n",
        seed.seed,
        escape(&figure.map_or_else(|| NONE.to_owned(), percent)),
    )
}

/// What the control says of growth.
pub fn saved(seed: &SeedRecord) -> Option<String> {
    let control = seed.control.as_ref()?;
    let grown = percent(control.grown);
    let Some(scratch) = control.scratch else {
        return Some("The same architecture from scratch had no accuracy.".to_owned());
    };
    let ancestry = match control.given {
        true => {
            "the training of the grown one's ancestry cost here, after the start that was given"
        }
        false => "all of the grown one's ancestry cost in training",
    };
    Some(match control.reached_flops {
        Some(flops) => format!(
            "From scratch, the same architecture reached the {grown} of the grown one after {:.0} % of what {ancestry} \
             ({} FLOPs), and {} at the end of it: growth saved nothing on this network alone.",
            100.0 * flops / control.ancestry_flops,
            si(control.ancestry_flops),
            percent(scratch)
        ),
        None => format!(
            "From scratch, for what {ancestry} ({} FLOPs, {:.1} epochs), the same architecture reached {}, and never the \
             {grown} of the grown one.",
            si(control.ancestry_flops),
            control.epochs,
            percent(scratch)
        ),
    })
}

fn section(seed: &SeedRecord, cost: Cost) -> String {
    let mut body = format!(
        "<section class=\"growth\" id=\"seed-{0}\">\n<h2>Seed {0}</h2>\n",
        seed.seed
    );
    body += "<div class=\"figures\">\n";
    body += &figures::front(seed, cost);
    body += &figures::curves(seed);
    body += "</div>\n<h3>The front</h3>\n";
    body += &element::table(&front_table(seed), "The front");
    body += "<h3>Which grew from which</h3>\n<p class=\"note\">Accuracy at the last rung; the difference is to the network \
             that it grew from. <b>Bold</b> are those of the front.</p>\n";
    body += &tree::tree(seed);
    body += "<h3>How far the score told the gain</h3>\n<p class=\"note\">Spearman's rank correlation of the first-order gain \
             (squared norm of the gradient of the new numbers, without its noise, as in GradMax and Firefly) with the accuracy after the first \
             rung, over the children of one parent; beside it what a guess by size would have told. 1 is a perfect order, 0 \
             none.</p>\n";
    body += &element::table(&prediction_table(seed), "Score and gain");
    if !seed.rungs.is_empty() {
        body += "<h3>How far one rung told the next</h3>\n<p class=\"note\">The same correlation between the accuracies at two \
                 rungs, over those that went on. Where it is low, longer first rungs choose better.</p>\n";
        body += &element::table(&rung_table(seed), "Rungs");
    }
    body + "</section>\n"
}

fn rho(correlation: &Correlation) -> String {
    correlation
        .rho
        .map_or_else(|| NONE.to_owned(), |rho| format!("{rho:+.2}"))
}

/// The front as rows, for the page and the terminal.
pub fn front_table(seed: &SeedRecord) -> Table {
    let header = [
        "network",
        "move",
        "accuracy",
        "parameters",
        "FLOPs a sample",
        "grown in",
        "training",
    ];
    let latency = seed.candidates.iter().any(|c| c.latency_ms.is_some());
    let mut header: Vec<String> = header.map(str::to_owned).to_vec();
    if latency {
        header.push("ms a sample".to_owned());
    }
    let rows = seed.front.iter().map(|index| {
        let one = &seed.candidates[*index];
        let mut row = vec![
            name(*index),
            one.name.clone(),
            one.accuracy.map_or_else(|| NONE.to_owned(), percent),
            si(one.parameters as f64),
            si(one.flops as f64),
            counted(depth(seed, *index), "step"),
            duration(one.trials.iter().map(|trial| trial.training_seconds).sum()),
        ];
        if latency {
            row.push(
                one.latency_ms
                    .map_or_else(|| NONE.to_owned(), |ms| format!("{ms:.2}")),
            );
        }
        row
    });
    Table {
        header,
        rows: rows.collect(),
        strong: Some(0),
    }
}

/// A candidate's name, as its folder has it.
fn name(index: usize) -> String {
    format!("c{index:03}")
}

fn depth(seed: &SeedRecord, index: usize) -> usize {
    let parent = |one: &CandidateRecord| one.parent;
    let mut at = index;
    let mut steps = 0;
    while let Some(up) = parent(&seed.candidates[at]) {
        steps += usize::from(!seed.candidates[at].steps.is_empty());
        at = up;
    }
    steps
}

fn prediction_table(seed: &SeedRecord) -> Table {
    let rows = seed.predictions.iter().map(|one| {
        vec![
            name(one.parent),
            one.score.count.to_string(),
            rho(&one.score),
            rho(&one.size),
        ]
    });
    Table {
        header: ["parent", "children", "score", "size"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        strong: None,
    }
}

fn rung_table(seed: &SeedRecord) -> Table {
    let rows = seed.rungs.iter().map(|one| {
        vec![
            format!(
                "generation {}, rung {} and {}",
                one.generation,
                one.rung + 1,
                one.rung + 2
            ),
            one.correlation.count.to_string(),
            rho(&one.correlation),
        ]
    });
    Table {
        header: ["rungs", "candidates", "correlation"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        strong: None,
    }
}
