//! How to repeat the comparison, and what its words mean.

use super::element;
use crate::report::escape::escape;
use crate::report::format::listed;
use crate::report::record::{Comparison, Kind};

/// Command, machine, seeds and specification.
pub fn reproduce(comparison: &Comparison) -> String {
    let seeds: Vec<String> = comparison.seeds.iter().map(u64::to_string).collect();
    let facts = [
        ("Version", format!("net2net {}", comparison.version)),
        ("Machine", comparison.machine.clone()),
        ("Threads", comparison.threads.to_string()),
        ("Seeds", listed(&seeds)),
        ("Data", comparison.data.clone()),
    ];
    let facts = facts
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(&value)))
        .concat();
    let spec = format!(
        "<pre><code>{}</code></pre>\n",
        escape(&comparison.spec_toml)
    );
    format!(
        "<section id=\"reproduce\">\n<h2>Repeat it</h2>\n<pre><code>{}</code></pre>\n<dl>\n{facts}</dl>\n{}</section>\n",
        escape(&comparison.command),
        element::details(
            "The specification",
            &spec,
            comparison.spec_toml.lines().count() <= 40
        ),
    )
}

/// What each way is and how it is measured.
pub fn notes(comparison: &Comparison) -> String {
    let ran = |kind: &Kind| comparison.runs.iter().any(|run| run.kind == *kind);
    let kinds = Kind::ALL.into_iter().filter(ran).map(|kind| {
        format!(
            "<dt>{}</dt><dd>{}</dd>\n",
            escape(kind.label()),
            escape(kind.description())
        )
    });
    let notes = NOTES.map(|note| format!("<li>{note}</li>\n")).concat();
    format!(
        "<section id=\"method\">\n<h2>Method</h2>\n<dl class=\"ways\">\n{}</dl>\n<ul>\n{notes}</ul>\n</section>\n",
        kinds.collect::<String>()
    )
}

/// Plain text without markup characters.
const NOTES: [&str; 8] = [
    "Seconds count training only; evaluation is excluded. FLOPs count the forward and backward passes of training and \
     are the same on every machine.",
    "A level is reached at the first evaluation at or above it. The level is the final accuracy of the teacher, or of \
     scratch, of the same seed. A diverged run sets no level.",
    "A speed-up is scratch's cost divided by the student's. “At once” means that the student was at the level before its \
     first step, “never” that it was not by its end.",
    "With the teacher's cost, all of the teacher's training is added to the student's. Without it, the figure is for \
     those who have the teacher already.",
    "Over several seeds the median counts every seed; one that never reached the level is slower than any number. \
     Accuracies are means with the sample standard deviation.",
    "Times within 5 % of each other are called equally fast.",
    "Differences of final accuracies are compared seed by seed with Student's paired t test, two-sided. With three seeds \
     only differences far larger than their spread are significant.",
    "Copies are how far apart the weights of a unit and of its copies are, over the size of these weights (root mean \
     squares over all pairs): 0 while they are equal, 1.4 where they have nothing in common.",
];
