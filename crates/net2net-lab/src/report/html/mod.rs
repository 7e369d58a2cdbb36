//! The page: one self-contained HTML file for a browser, a phone and a printer.
//!
//! The answer comes first; each growth then shows its figures, curves, proof, plan and architecture; how to repeat it
//! all comes last. Every string of a comparison passes through `escape`.

mod architecture;
pub(crate) mod element;
mod growth;
mod method;
mod proof;
mod runs;

use super::escape::escape;
use super::format::counted;
use super::overview::overview;
use super::plot::{PlotError, ink};
use super::record::Comparison;
use super::summary::Summary;
use super::verdict::{Tone, verdict};

const STYLE: &str = include_str!("page.css");

/// Renders a comparison with its figures.
///
/// # Errors
///
/// If a curve cannot be drawn.
pub fn render(comparison: &Comparison, summary: &Summary) -> Result<String, PlotError> {
    let mut body = header(comparison);
    body += &answer(summary);
    body += &side_by_side(comparison, summary);
    for (record, figures) in comparison.growths.iter().zip(&summary.growths) {
        body += &growth::section(comparison, record, summary, figures)?;
    }
    body += &runs::section(comparison);
    body += &method::reproduce(comparison);
    body += &method::notes(comparison);
    body += &format!(
        "<footer>Written by net2net {}.</footer>\n",
        escape(&comparison.version)
    );
    Ok(document(&comparison.title, "", &body))
}

/// A page with the style sheets of text and plots, and more style if wanted.
pub(crate) fn document(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n\
         <style>\n{STYLE}{}{style}</style>\n\
         </head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n\
         </html>\n",
        escape(title),
        ink::STYLE,
    )
}

fn header(comparison: &Comparison) -> String {
    format!(
        "<header>\n<p class=\"eyebrow\">net2net compare</p>\n<h1>{}</h1>\n<p class=\"meta\">{} · {} · {} · {}</p>\n</header>\n",
        escape(&comparison.title),
        escape(&comparison.data),
        counted(comparison.seeds.len(), "seed"),
        escape(&comparison.machine),
        counted(comparison.threads, "thread"),
    )
}

/// Renders several comparisons as one page: growths side by side, and the answer of each comparison
/// with a link to its own page. `comparisons` have a name, the address of their page, and figures.
#[must_use]
pub fn render_together(comparisons: &[(&str, &str, &Comparison, &Summary)]) -> String {
    let mut body = format!(
        "<header>\n<p class=\"eyebrow\">net2net report</p>\n<h1>{} side by side</h1>\n</header>\n",
        counted(comparisons.len(), "comparison")
    );
    let rows: Vec<(&str, &Comparison, &Summary)> = comparisons
        .iter()
        .map(|(name, _, comparison, summary)| (*name, *comparison, *summary))
        .collect();
    body += &element::table(&overview(&rows), "All growths side by side");
    body += SIDE_NOTE;
    for (name, page, comparison, summary) in comparisons {
        body += &format!(
            "<section class=\"growth\">\n<h2><a href=\"{}\">{}</a></h2>\n<p class=\"lead\">{}</p>\n\
             <p class=\"meta\">{} · {} · {} · {}</p>\n{}</section>\n",
            escape(page),
            escape(&comparison.title),
            escape(name),
            escape(&comparison.data),
            counted(comparison.seeds.len(), "seed"),
            escape(&comparison.machine),
            counted(comparison.threads, "thread"),
            cards(summary, page),
        );
    }
    document("net2net: comparisons side by side", "", &body)
}

const SIDE_NOTE: &str = "<p class=\"note\">Final accuracies are means with the sample standard deviation over seeds. \
    Speed-ups are scratch's seconds over Net2Net's, the median of the seeds. “Against the first row” is the difference of \
    Net2Net's final accuracies in percentage points to the first growth of the same comparison, with Student's paired t \
    test.</p>\n";

/// All growths in one table, where there are several.
fn side_by_side(comparison: &Comparison, summary: &Summary) -> String {
    if comparison.growths.len() < 2 {
        return String::new();
    }
    let table = overview(&[("", comparison, summary)]);
    format!(
        "<section id=\"side-by-side\">\n<h3>Growths side by side</h3>\n{}{SIDE_NOTE}</section>\n",
        element::table(&table, "Growths side by side")
    )
}

/// One card a growth: a figure, what it says, and the verdict in a sentence.
fn answer(summary: &Summary) -> String {
    cards(summary, "")
        + "<p class=\"basis\">Seconds of training to scratch's own final accuracy: scratch's divided by Net2Net's.</p>\n"
}

fn cards(summary: &Summary, page: &str) -> String {
    let cards = summary.growths.iter().map(|growth| {
        let verdict = verdict(summary, growth);
        let tone = match verdict.tone {
            Tone::Fastest => "good",
            Tone::Beaten => "mixed",
            Tone::Lost => "bad",
            Tone::Unknown => "unknown",
        };
        let figure = escape(&verdict.figure);
        format!(
            "<article class=\"card {tone}\">\n<h2><a href=\"{page}#{id}\">{name}</a></h2>\n\
             <p class=\"figure\">{figure}</p>\n<p class=\"figure-label\">{}</p>\n<p>{}</p>\n</article>\n",
            escape(&verdict.figure_label),
            escape(&verdict.sentence),
            page = escape(page),
            id = element::id(&growth.name),
            name = escape(&element::capitalized(&growth.name)),
        )
    });
    format!(
        "<section class=\"answer\" aria-label=\"The answer\">\n{}</section>\n",
        cards.collect::<String>()
    )
}
