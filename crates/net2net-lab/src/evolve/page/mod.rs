//! The page of a life: one self-contained HTML file. Every string of a record passes through `escape`.

mod against;
mod figures;
mod tree;

use super::life::Life;
use super::store::{Decision, Version};
use crate::explore::page::STYLE as CHARTS;
use crate::report::escape::escape;
use crate::report::format::{NONE, counted, duration, percent, si};
use crate::report::html::{document, element};
use crate::report::table::Table;
pub use against::{against_page, against_table};

const STYLE: &str = include_str!("evolve.css");

/// Renders a life.
pub(super) fn render(life: &Life, version: &str) -> String {
    let mut body = format!(
        "<header>\n<p class=\"eyebrow\">net2net evolve</p>\n<h1>{}</h1>\n<p class=\"meta\">{} · {} · {} · {}</p>\n</header>\n",
        escape(&life.title),
        counted(life.snapshots.len(), "snapshot"),
        counted(life.steps.len(), "step"),
        counted(life.versions.len(), "version"),
        counted(life.threads, "thread"),
    );
    body += &answer(life);
    body += "<section class=\"growth\" id=\"timeline\">\n<h2>Its life so far</h2>\n";
    if !life.versions.is_empty() {
        body += "<div class=\"figures\">\n";
        body += &figures::accuracies(life);
        body += &figures::sizes(life);
        body += "</div>\n";
    }
    body += &element::table(&history_table(life), "Versions");
    body += "<h3>Step by step</h3>\n";
    body += &steps(life);
    body += "</section>\n<section class=\"growth\" id=\"tree\">\n<h2>Which trunk grew from which</h2>\n\
             <p class=\"note\">A version goes on from the trunk of the one that it stands under. The figure is its accuracy on \
             the images that judged it; <b>bold</b> is the champion.</p>\n";
    body += &tree::tree(life);
    body += &format!(
        "</section>\n<section class=\"growth\" id=\"settings\">\n<h2>Settings and events</h2>\n{}{}</section>\n\
         <footer>Written by net2net {}.</footer>\n",
        element::details(
            "The settings as they stand",
            &format!("<pre>{}</pre>\n", escape(&life.settings)),
            false
        ),
        element::details("What happened", &events(life), false),
        escape(version)
    );
    document(&life.title, &format!("{CHARTS}{STYLE}"), &body)
}

/// A card: the champion, what it is worth, and what it took.
fn answer(life: &Life) -> String {
    let champion = life.champion.and_then(|id| life.version(id));
    let Some(champion) = champion else {
        return "<section class=\"answer\" aria-label=\"The answer\">\n<article class=\"card mixed\">\n<h2>No champion yet</h2>\n\
                <p>It is made by the first step.</p>\n</article>\n</section>\n"
            .to_owned();
    };
    let record = &champion.record;
    let images: usize = life.snapshots.iter().map(|one| one.record.train).sum();
    let seconds: f64 = life.versions.iter().map(|one| one.record.seconds).sum();
    let flops: f64 = life
        .versions
        .iter()
        .map(|one| one.record.training_flops)
        .sum();
    let fault = life.fault.as_ref().map_or_else(String::new, |fault| {
        format!("<p class=\"loss\">{}</p>\n", escape(fault))
    });
    format!(
        "<section class=\"answer\" aria-label=\"The answer\">\n<article class=\"card good\">\n<h2>Champion: version {}</h2>\n\
         <p class=\"figure\">{}</p>\n<p class=\"figure-label\">of {} images that nothing was chosen by</p>\n\
         <p>{} parameters. {} have arrived; training took {} and {} FLOPs in all.</p>\n{fault}</article>\n</section>\n",
        champion.id,
        escape(&percent(record.judgement.challenger.accuracy)),
        record.judgement.samples,
        escape(&si(record.parameters as f64)),
        counted(images, "training image"),
        escape(&duration(seconds)),
        escape(&si(flops)),
    )
}

/// The versions as rows, for the page and the terminal.
pub fn history_table(life: &Life) -> Table {
    let header = [
        "version",
        "from",
        "data",
        "new + old images",
        "parameters",
        "accuracy",
        "against the champion",
        "promoted",
        "training",
    ];
    let rows = life.versions.iter().map(|one| row(life, one));
    Table {
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        strong: life
            .versions
            .iter()
            .position(|one| Some(one.id) == life.champion),
    }
}

fn row(life: &Life, one: &Version) -> Vec<String> {
    let record = &one.record;
    let mark = match Some(one.id) == life.champion {
        true => " (champion)",
        false => "",
    };
    let data = life
        .snapshot_of(one)
        .map_or_else(|| NONE.to_owned(), |snapshot| snapshot.name.clone());
    let against = record.judgement.difference.map_or_else(
        || NONE.to_owned(),
        |[by, low, high]| {
            format!(
                "{:+.1} ({:+.1} … {:+.1})",
                100.0 * by,
                100.0 * low,
                100.0 * high
            )
        },
    );
    let promoted = life.decided(one.step, "promote");
    vec![
        format!("{}{mark}", one.id),
        one.parent
            .map_or_else(|| NONE.to_owned(), |id| id.to_string()),
        data,
        format!("{} + {}", record.new_samples, record.replayed),
        si(record.parameters as f64),
        percent(record.judgement.challenger.accuracy),
        against,
        promoted.map_or_else(|| NONE.to_owned(), |one| one.outcome.clone()),
        duration(record.seconds),
    ]
}

/// Each step with its data, its decisions and its probes; and what a person did in between.
fn steps(life: &Life) -> String {
    let mut items: Vec<(f64, String)> = Vec::new();
    for step in &life.steps {
        let snapshot = life.snapshots.iter().find(|one| one.id == step.snapshot);
        let version = life.versions.iter().find(|one| one.step == step.id);
        let mut text = format!("<p><b>Step {}</b> · {}", step.id, date(step.begun));
        if let Some(snapshot) = snapshot {
            text += &escape(&format!(
                " · {}: {} to learn from, {} to judge by",
                snapshot.name,
                counted(snapshot.record.train, "image"),
                counted(snapshot.record.validation, "image")
            ));
            if !snapshot.record.new_classes.is_empty() {
                let new = snapshot.record.new_classes.join(", ");
                text += &format!(" · new classes: {}", escape(&new));
            }
            if snapshot.dropped {
                text += " · <span class=\"loss\">put away</span>";
            }
        }
        text += "</p>\n";
        for decision in life.decisions.iter().filter(|d| d.step == Some(step.id)) {
            text += &decided(decision);
        }
        if let Some(version) = version {
            text += &probes(version);
        }
        if step.ended.is_none() {
            text += "<p class=\"note\">under way</p>\n";
        }
        items.push((step.begun, text));
    }
    for one in life.decisions.iter().filter(|one| one.step.is_none()) {
        let text = format!("<p><b>By hand</b> · {}</p>\n{}", date(one.at), decided(one));
        items.push((one.at, text));
    }
    items.sort_by(|a, b| a.0.total_cmp(&b.0));
    let list: String = items
        .into_iter()
        .map(|(_, text)| format!("<li>{text}</li>\n"))
        .collect();
    format!("<ol class=\"life\">\n{list}</ol>\n")
}

/// A moment, to the minute.
fn date(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor() as i64;
    // Days are counted from a first of March, so that the day that comes and goes is the last of its year
    // (Hinnant, "chrono-compatible low-level date algorithms").
    let days = minutes.div_euclid(24 * 60) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let of_day = minutes.rem_euclid(24 * 60);
    format!(
        "{:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        year + era * 400 + next,
        of_day / 60,
        of_day % 60
    )
}

/// A decision in a sentence.
fn decided(one: &Decision) -> String {
    let yes = one.outcome == "yes";
    let (class, head) = match (one.what.as_str(), yes) {
        ("promote", true) => ("gain", "promoted".to_owned()),
        ("promote", false) => ("loss", "not promoted".to_owned()),
        ("grow", true) => ("gain", "grew".to_owned()),
        ("grow", false) => ("quiet", "did not grow".to_owned()),
        ("trunk", _) => ("loss", "the trunk went back".to_owned()),
        ("rollback", _) => ("loss", format!("rolled back to version {}", one.outcome)),
        (other, _) => ("quiet", format!("{other}: {}", one.outcome)),
    };
    format!(
        "<p class=\"decision\"><span class=\"{class}\">{}</span>: {}</p>\n",
        escape(&head),
        escape(&one.reason)
    )
}

/// What was probed.
fn probes(version: &Version) -> String {
    let Some(growth) = version
        .record
        .growth
        .as_ref()
        .filter(|g| g.probes.len() > 1)
    else {
        return String::new();
    };
    let rows = growth.probes.iter().map(|probe| {
        vec![
            probe.name.clone(),
            probe
                .score
                .map_or_else(|| NONE.to_owned(), |score| format!("{score:.1e}")),
            si(probe.parameters as f64),
            probe
                .loss
                .map_or_else(|| NONE.to_owned(), |loss| format!("{loss:.4}")),
            probe.accuracy.map_or_else(
                || probe.fault.clone().unwrap_or_else(|| NONE.to_owned()),
                percent,
            ),
        ]
    });
    let table = Table {
        header: ["probe", "score", "parameters", "loss", "accuracy"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        strong: Some(growth.chosen),
    };
    element::table(&table, "Probes")
}

fn events(life: &Life) -> String {
    let lines: Vec<String> = life
        .events
        .iter()
        .map(|event| format!("{:>4}  {}  {}", event.id, event.kind, event.data))
        .collect();
    format!("<pre>{}</pre>\n", escape(&lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, wanted) in [
            (0.0, "1970-01-01 00:00 UTC"),
            (951_827_696.5, "2000-02-29 12:34 UTC"),
            (1_735_689_599.0, "2024-12-31 23:59 UTC"),
            (4_107_542_400.0, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(seconds), wanted);
        }
    }
}
