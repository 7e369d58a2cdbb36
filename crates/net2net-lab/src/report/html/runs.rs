//! Every run, what it began with, and where its files are.

use super::element;
use crate::report::escape::escape;
use crate::report::format::{NONE, counted, duration, percent, si};
use crate::report::record::{Comparison, Kind, RunRecord};

/// A table whose rows link to the runs that they began with and to their folders.
pub fn section(comparison: &Comparison) -> String {
    if comparison.runs.is_empty() {
        return String::new();
    }
    let head = [
        "Run",
        "Began with",
        "Steps",
        "Time",
        "FLOPs",
        "Final accuracy",
        "Files",
    ]
    .map(|name| format!("<th scope=\"col\">{name}</th>"))
    .concat();
    let rows: String = comparison
        .runs
        .iter()
        .map(|run| row(comparison, run))
        .collect();
    let inner = format!("<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>");
    let table = format!(
        "<div class=\"runs\">{}</div>\n",
        element::scroll(&inner, "All runs")
    );
    let summary = counted(comparison.runs.len(), "run");
    format!(
        "<section id=\"runs\">\n<h2>Runs</h2>\n{}</section>\n",
        element::details(&summary, &table, comparison.runs.len() <= 24)
    )
}

fn row(comparison: &Comparison, run: &RunRecord) -> String {
    let last = run.metrics.last();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let accuracy = last.filter(|m| m.validation_accuracy.is_finite());
    let folder = escape(&comparison.address(run.seed, &run.id));
    format!(
        "<tr id=\"{}\"><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td><a href=\"{folder}/model.safetensors\">model</a> <a href=\"{folder}/metrics.jsonl\">metrics</a></td></tr>\n",
        anchor(run),
        escape(&run.id),
        origin(comparison, run),
        or_none(last.map(|m| m.step.to_string())),
        or_none(last.map(|m| duration(m.seconds))),
        or_none(last.map(|m| si(m.flops))),
        match &run.diverged {
            Some(_) => "diverged".to_owned(),
            None => or_none(accuracy.map(|m| percent(m.validation_accuracy))),
        },
    )
}

/// What a run began with, linked.
fn origin(comparison: &Comparison, run: &RunRecord) -> String {
    let teacher = comparison
        .runs
        .iter()
        .find(|other| other.kind == Kind::Teacher && other.seed == run.seed);
    let of_teacher = |what: &str| match teacher {
        Some(teacher) => format!("{what}<a href=\"#{}\">teacher</a>", anchor(teacher)),
        None => format!("{what}teacher"),
    };
    match (run.kind, &run.growth) {
        (Kind::Teacher | Kind::Scratch | Kind::ScratchShort, _) => "random weights".to_owned(),
        (Kind::Distilled | Kind::Hinted, _) => of_teacher("random weights, taught by the "),
        (Kind::Continued, _) => of_teacher(""),
        (Kind::RandomPad | Kind::RandomInit, _) => of_teacher("in part the "),
        (_, Some(growth)) => {
            let plan = format!("seed{}/{growth}", run.seed);
            let plan = comparison.address(run.seed, &plan);
            let plan = escape(&plan);
            let file = match run.kind {
                Kind::Net2netPaper => "paper.json",
                Kind::Net2netStages => "stage1/plan.json",
                _ => "plan.json",
            };
            let what = match run.kind {
                Kind::Reinit | Kind::ReinitFirst | Kind::ReinitLast => "in part the ",
                _ => "",
            };
            format!("{} by <a href=\"{plan}/{file}\">plan</a>", of_teacher(what))
        }
        (_, None) => of_teacher(""),
    }
}

fn anchor(run: &RunRecord) -> String {
    format!("run-{}", element::id(&run.id))
}
