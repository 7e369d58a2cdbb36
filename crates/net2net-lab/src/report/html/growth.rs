//! One growth: figures, curves, proof, plan, architecture.

use super::{architecture, element, proof};
use crate::report::escape::escape;
use crate::report::format::{si, times};
use crate::report::plot::{Figure, PlotError, legend, plot};
use crate::report::record::{Comparison, GrowthRecord, Kind};
use crate::report::speedup::Measure;
use crate::report::summary::{GrowthSummary, Summary};
use crate::report::table::{difference_table, seed_table, speedup_table};

/// The section of a growth.
pub fn section(
    comparison: &Comparison,
    growth: &GrowthRecord,
    summary: &Summary,
    figures: &GrowthSummary,
) -> Result<String, PlotError> {
    let (before, after) = (comparison.teacher.parameters, growth.student.parameters);
    Ok(format!(
        "<section class=\"growth\" id=\"{}\">\n<h2>{}</h2>\n<p class=\"lead\">{} → {} parameters ({}), {} → {} FLOPs per sample.</p>\n\
         {}{}{}{}{}{}{}</section>\n",
        element::id(&growth.name),
        escape(&element::capitalized(&growth.name)),
        si(before as f64),
        si(after as f64),
        times(after as f64 / before as f64),
        si(comparison.teacher.flops_per_sample as f64),
        si(growth.student.flops_per_sample as f64),
        speedups(summary, figures),
        differences(figures),
        curves(comparison, &growth.name)?,
        more(summary, figures),
        proof::part(growth),
        plan(growth),
        architecture::part(&comparison.teacher, growth),
    ))
}

fn speedups(summary: &Summary, growth: &GrowthSummary) -> String {
    format!(
        "<h3>Speed-up</h3>\n{}<p class=\"note\">How many times sooner than scratch a way reached the level, in seconds \
         of training. The columns with the teacher's cost add all of the teacher's training to the student's.</p>\n",
        speedups_in(Measure::Seconds, summary, growth),
    )
}

fn speedups_in(measure: Measure, summary: &Summary, growth: &GrowthSummary) -> String {
    let label = format!("Speed-up of {} in {}", growth.name, measure.name());
    element::table(&speedup_table(summary, growth, measure), &label)
}

fn differences(growth: &GrowthSummary) -> String {
    if growth.differences.is_empty() {
        return String::new();
    }
    format!(
        "<h3>Final accuracy, seed by seed</h3>\n{}<p class=\"note\">Net2Net's final accuracy minus that of each other \
         way, in percentage points. p is that of Student's paired t test over seeds: how often chance alone would make \
         so large a difference.</p>\n",
        element::table(
            &difference_table(growth),
            &format!("Net2Net of {} minus other ways", growth.name)
        ),
    )
}

/// The figures behind the answer.
fn more(summary: &Summary, growth: &GrowthSummary) -> String {
    let tables = format!(
        "<h4>In FLOPs</h4>\n{}<h4>In steps</h4>\n{}<h4>Seed by seed, in seconds to scratch's final accuracy</h4>\n{}",
        speedups_in(Measure::Flops, summary, growth),
        speedups_in(Measure::Steps, summary, growth),
        element::table(
            &seed_table(growth),
            &format!("Speed-up of {}, seed by seed", growth.name)
        ),
    );
    element::details(
        "Speed-up in FLOPs, in steps, and seed by seed",
        &tables,
        false,
    )
}

fn curves(comparison: &Comparison, growth: &str) -> Result<String, PlotError> {
    let mut figures = String::new();
    for figure in Figure::ALL {
        if let Some(plot) = plot(comparison, growth, figure)? {
            let note = match plot.note.as_str() {
                "" => String::new(),
                note => format!("<figcaption>{}</figcaption>\n", escape(note)),
            };
            figures += &format!(
                "<figure>\n<h4>{}</h4>\n{}\n{note}</figure>\n",
                figure.title(),
                plot.svg
            );
        }
    }
    let bands = if comparison.seeds.len() > 1 {
        "<p class=\"note\">Lines are means over the seeds, bands reach from the lowest seed to the highest.</p>\n"
    } else {
        "<p class=\"note\">One seed: chance is not told apart from effect.</p>\n"
    };
    Ok(format!(
        "<h3>Curves</h3>\n{}<div class=\"figures\">\n{figures}</div>\n{bands}",
        key(&legend(comparison, growth))
    ))
}

/// The legend, outside of the drawings, so that it covers none.
fn key(kinds: &[Kind]) -> String {
    let entry = |kind: &Kind| {
        format!(
            "<li><svg viewBox=\"0 0 44 10\" aria-hidden=\"true\"><path class=\"line {}\" d=\"M0 5h44\"/></svg>{}</li>\n",
            kind.slug(),
            kind.label()
        )
    };
    format!(
        "<ul class=\"key\">\n{}</ul>\n",
        kinds.iter().map(entry).collect::<String>()
    )
}

fn plan(growth: &GrowthRecord) -> String {
    let steps = growth
        .description
        .iter()
        .map(|step| format!("<li>{}</li>\n", escape(step)));
    if growth.description.is_empty() {
        return String::new();
    }
    format!(
        "<div class=\"plan\">\n<h3>Plan</h3>\n<ol>\n{}</ol>\n</div>\n",
        steps.collect::<String>()
    )
}
