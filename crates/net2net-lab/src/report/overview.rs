//! Growths side by side, of one comparison or of several.

use super::format::{NONE, percent_spread, si, times};
use super::record::{Comparison, Kind};
use super::significance::Difference;
use super::speedup::Measure;
use super::summary::{Summary, level};
use super::table::{Table, difference_cells};
use super::verdict::Outcome;

/// One row a growth: its size, Net2Net's and scratch's final accuracies, the speed-up, and how much
/// better its Net2Net is than that of the first row of the same comparison, seed by seed.
#[must_use]
pub fn overview(comparisons: &[(&str, &Comparison, &Summary)]) -> Table {
    let header = [
        "Growth",
        "Parameters",
        "Net2Net",
        "Scratch",
        "Continued",
        "To scratch's accuracy",
        "… with teacher's cost",
        "Against the first row",
        "95 % interval",
        "p",
    ];
    let mut rows = Vec::new();
    for (name, comparison, summary) in comparisons {
        let first = comparison
            .growths
            .first()
            .map_or("", |growth| growth.name.as_str());
        for (record, figures) in comparison.growths.iter().zip(&summary.growths) {
            let own = record.name.as_str();
            let title = match name.is_empty() {
                true => own.to_owned(),
                false => format!("{name}: {own}"),
            };
            let ends = |kind| {
                let ends = comparison.runs_of(own, kind).filter_map(level);
                percent_spread(&ends.collect::<Vec<f64>>())
            };
            let median = figures
                .student(Kind::Net2net)
                .map(|student| &student.to_scratch.median);
            let none = || NONE.to_owned();
            let paid = median.and_then(|m| m.speedup(Measure::Seconds).with_teacher.ratio);
            let mut row = vec![
                title,
                si(record.student.parameters as f64),
                ends(Kind::Net2net),
                ends(Kind::Scratch),
                ends(Kind::Continued),
                median.map_or_else(none, |m| Outcome::of(m, Measure::Seconds).in_words()),
                paid.map_or_else(none, times),
            ];
            let against = (own != first)
                .then(|| against(comparison, own, first))
                .flatten();
            match against.map(|difference| difference_cells(&difference)) {
                Some([points, interval, p, _]) => row.extend([points, interval, p]),
                None => row.extend([none(), none(), none()]),
            }
            rows.push(row);
        }
    }
    Table {
        header: header.map(str::to_owned).to_vec(),
        rows,
        strong: None,
    }
}

/// Net2Net of one growth minus that of another.
fn against(comparison: &Comparison, growth: &str, other: &str) -> Option<Difference> {
    let pairs = comparison.seeds.iter().filter_map(|seed| {
        let end = |name| comparison.run(name, Kind::Net2net, *seed).and_then(level);
        Some((end(growth)?, end(other)?))
    });
    Difference::of(&pairs.collect::<Vec<_>>())
}
