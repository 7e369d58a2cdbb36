//! The page of a life against retraining from scratch.

use super::STYLE;
use crate::evolve::against::{Against, Scratch, Slice};
use crate::explore::page::STYLE as CHARTS;
use crate::explore::page::chart::Chart;
use crate::report::escape::escape;
use crate::report::format::{NONE, counted, duration, percent_spread, si, times};
use crate::report::html::{document, element};
use crate::report::table::Table;

/// Both ways slice by slice, means over seeds with their spread, and the totals in the last row.
pub fn against_table(against: &Against) -> Table {
    let header = [
        "images",
        "classes",
        "evolve",
        "from scratch",
        "evolve's FLOPs",
        "scratch's FLOPs",
        "evolve's time",
        "scratch's time",
        "scratch / evolve, FLOPs",
        "all from scratch, FLOPs",
        "all / evolve",
    ];
    let count = against.seeds.iter().map(Vec::len).min().unwrap_or(0);
    let mut rows: Vec<Vec<String>> = (0..count)
        .map(|at| {
            let slices: Vec<&Slice> = against.seeds.iter().map(|seed| &seed[at]).collect();
            let first = slices.first();
            let label = first.map_or_else(String::new, |slice| slice.images.to_string());
            let classes = first.map_or_else(String::new, |slice| slice.classes.to_string());
            row(label, classes, &slices, true)
        })
        .collect();
    let all: Vec<&Slice> = against.seeds.iter().flatten().collect();
    rows.push(row("in all".to_owned(), NONE.to_owned(), &all, false));
    Table {
        header: header.map(str::to_owned).to_vec(),
        strong: rows.len().checked_sub(1),
        rows,
    }
}

fn row(label: String, classes: String, slices: &[&Slice], accuracies: bool) -> Vec<String> {
    let best: Vec<&Scratch> = slices.iter().filter_map(|slice| slice.best()).collect();
    let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    let ours = sum(&mut slices.iter().map(|slice| slice.flops));
    let theirs = sum(&mut best.iter().map(|one| one.flops));
    let tried = slices.iter().flat_map(|slice| &slice.scratch);
    let all = sum(&mut tried.map(|one| one.flops));
    let shares = |values: Vec<f64>| match accuracies {
        true => percent_spread(&values),
        false => NONE.to_owned(),
    };
    vec![
        label,
        classes,
        shares(slices.iter().map(|slice| slice.evolve).collect()),
        shares(best.iter().filter_map(|one| one.accuracy).collect()),
        si(ours),
        si(theirs),
        duration(sum(&mut slices.iter().map(|slice| slice.seconds))),
        duration(sum(&mut best.iter().map(|one| one.seconds))),
        times(theirs / ours),
        si(all),
        times(all / ours),
    ]
}

/// The page: the table, and accuracy against what was spent.
pub fn against_page(against: &Against) -> String {
    let body = format!(
        "<header>\n<p class=\"eyebrow\">net2net evolve</p>\n<h1>{}</h1>\n<p class=\"meta\">{} · {}</p>\n</header>\n\
         <section class=\"growth\">\n<h2>Evolving against retraining from scratch</h2>\n{}{}\
         <p class=\"note\">FLOPs and time are sums over seeds: of all trials of a step, probes included, and of the best architecture \
         from scratch alone, which is chosen by the images that judge. Both favour scratch: which one is best is known once all have \
         trained, whose FLOPs stand last.</p>\n</section>\n",
        escape(&against.title),
        counted(against.seeds.len(), "seed"),
        escape(&against.machine),
        plot(against),
        element::table(&against_table(against), "Both ways"),
    );
    document(&against.title, &format!("{CHARTS}{STYLE}"), &body)
}

fn share(value: f64) -> String {
    format!("{:.1} %", value * 100.0)
}

fn plot(against: &Against) -> String {
    let mut lines = Vec::new();
    for seed in &against.seeds {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let (mut spent, mut paid) = (0.0, 0.0);
        for slice in seed {
            spent += slice.flops;
            ours.push((spent, slice.evolve));
            if let Some(best) = slice.best() {
                paid += best.flops;
                theirs.extend(best.accuracy.map(|accuracy| (paid, accuracy)));
            }
        }
        lines.push((ours, "curve front", "evolve"));
        lines.push((theirs, "curve scratch", "from scratch at each slice"));
    }
    let points = lines.iter().flat_map(|(points, ..)| points.iter().copied());
    let Some(mut chart) = Chart::around(points) else {
        return String::new();
    };
    for (points, class, title) in &lines {
        chart.line(points, class, title);
        for point in points {
            let class = if *class == "curve front" {
                "champion"
            } else {
                "kept"
            };
            chart.dot(*point, class, &format!("{title}: {}", share(point.1)));
        }
    }
    let svg = chart.svg(
        ["training FLOPs so far", "accuracy after a slice"],
        [si, share],
        "Accuracy against what was spent, both ways",
    );
    format!(
        "<figure>\n{svg}<figcaption>A dot is a slice. Blue: evolve. Red, dashed: the best architecture, trained from scratch at each \
         slice.</figcaption>\n</figure>\n"
    )
}
