//! The proof that growth did not change the function.

use super::element;
use crate::report::escape::escape;
use crate::report::format::{NONE, counted, difference};
use crate::report::record::{Evidence, GrowthRecord, OutputEvidence};
use crate::report::table::Table;

/// The verdict, the explanation, and every number.
pub fn part(growth: &GrowthRecord) -> String {
    let Some((_, first)) = growth.evidence.first() else {
        return "<h3>Proof</h3>\n<p>No proof was recorded: it is not known whether the function was kept.</p>\n".to_owned();
    };
    let label = format!("Differences between teacher and {} student", growth.name);
    format!(
        "<div class=\"proof\">\n<h3>Proof</h3>\n{}{}{}</div>\n",
        verdict(growth),
        explanation(growth, first),
        element::table(&differences(growth), &label)
    )
}

fn verdict(growth: &GrowthRecord) -> String {
    let failed = growth
        .evidence
        .iter()
        .filter(|(_, evidence)| !evidence.holds())
        .count();
    let seeds = growth.evidence.len();
    match failed {
        0 => "<p class=\"badge holds\">✓ The grown network computes the teacher's function</p>\n"
            .to_owned(),
        _ => format!(
            "<p class=\"badge fails\">✗ The function was NOT kept in {failed} of {}</p>\n",
            counted(seeds, "seed")
        ),
    }
}

fn explanation(growth: &GrowthRecord, first: &Evidence) -> String {
    let worst = |pick: fn(&Evidence) -> &[OutputEvidence]| {
        let all = growth
            .evidence
            .iter()
            .flat_map(|(_, evidence)| pick(evidence));
        // A difference that is no number is worse than any, which `f64::max` would hide.
        all.map(|e| e.max_rel).fold(
            0.0,
            |worst: f64, rel| if rel.is_nan() { rel } else { worst.max(rel) },
        )
    };
    format!(
        "<p>Teacher and grown network ran on the same inputs ({}), before any further training. The table has the \
         largest difference of any element of each output. In 64-bit arithmetic, where only rounding can remain, it is \
         at most {} relative to the output; up to {} counts as the same function. In the 32-bit arithmetic of training \
         it is {}.</p>\n",
        escape(&first.inputs),
        difference(worst(|evidence| &evidence.f64)),
        difference(first.tolerance),
        difference(worst(|evidence| &evidence.f32)),
    )
}

fn differences(growth: &GrowthRecord) -> Table {
    let header = [
        "Output",
        "Seed",
        "Magnitude",
        "64-bit absolute",
        "64-bit relative",
        "32-bit absolute",
        "32-bit relative",
        "Same function",
    ];
    let rows = growth.evidence.iter().flat_map(|(seed, evidence)| {
        evidence.f64.iter().map(move |wide| {
            let narrow = evidence.f32.iter().find(|e| e.output == wide.output);
            let or_none = |value: Option<f64>| value.map_or(NONE.to_owned(), difference);
            vec![
                wide.output.clone(),
                seed.to_string(),
                format!("{:.3}", wide.scale),
                difference(wide.max_abs),
                difference(wide.max_rel),
                or_none(narrow.map(|e| e.max_abs)),
                or_none(narrow.map(|e| e.max_rel)),
                if evidence.holds() { "yes" } else { "no" }.to_owned(),
            ]
        })
    });
    Table {
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        strong: None,
    }
}
