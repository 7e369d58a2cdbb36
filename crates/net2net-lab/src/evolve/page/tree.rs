//! Which trunk went on from which.

use crate::evolve::life::Life;
use crate::evolve::store::Version;
use crate::report::escape::escape;
use crate::report::format::{percent, si};

/// The versions as nested lists, from those that began anew.
pub(super) fn tree(life: &Life) -> String {
    let roots = life.versions.iter().filter(|one| one.parent.is_none());
    let all: String = roots.map(|root| branch(life, root)).collect();
    format!("<ul class=\"tree\">\n{all}</ul>\n")
}

fn branch(life: &Life, one: &Version) -> String {
    let children = life
        .versions
        .iter()
        .filter(|other| other.parent == Some(one.id));
    let below: String = children.map(|child| branch(life, child)).collect();
    let below = match below.is_empty() {
        true => below,
        false => format!("<ul>\n{below}</ul>\n"),
    };
    format!("<li>{}{below}</li>\n", line(life, one))
}

fn line(life: &Life, one: &Version) -> String {
    let record = &one.record;
    let accuracy = escape(&percent(record.judgement.challenger.accuracy));
    let accuracy = match Some(one.id) == life.champion {
        true => format!("<b>{accuracy}</b>"),
        false => accuracy,
    };
    let gain = record
        .judgement
        .difference
        .map_or_else(String::new, |[by, ..]| {
            let class = if by >= 0.0 { "gain" } else { "loss" };
            format!(" <span class=\"{class}\">{:+.1}</span>", 100.0 * by)
        });
    let mut notes = vec![format!("{} parameters", si(record.parameters as f64))];
    notes.extend(life.snapshot_of(one).map(|snapshot| snapshot.name.clone()));
    let chosen = record.growth.as_ref().filter(|growth| growth.chosen > 0);
    notes.extend(chosen.map(|growth| growth.probes[growth.chosen].name.clone()));
    if Some(one.id) == life.head {
        notes.push("its trunk goes on".to_owned());
    }
    notes.extend(record.grew.iter().cloned());
    format!(
        "version {} {accuracy}{gain} <small>{}</small>",
        one.id,
        escape(&notes.join(" · "))
    )
}
