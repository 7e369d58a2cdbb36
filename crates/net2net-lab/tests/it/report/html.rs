//! The page: whole, self-contained, and safe with any text.

use net2net_lab::report::{Comparison, render, summarize};

use super::made_up::{comparison, whole_report};

fn page(comparison: &Comparison) -> String {
    render(comparison, &summarize(comparison)).unwrap()
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = page(&whole_report());
    for foreign in [
        "http:", "https:", "src=", "@import", "url(", "<script", "<link",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
}

#[test]
fn every_element_is_closed() {
    let page = page(&whole_report());
    for name in [
        "section", "table", "div", "figure", "details", "svg", "p", "tr", "td", "th", "ul", "dl",
        "article",
    ] {
        let count = |text: &str| page.matches(text).count();
        let opened = count(&format!("<{name}>")) + count(&format!("<{name} "));
        assert_eq!(opened, count(&format!("</{name}>")), "{name}");
    }
}

#[test]
fn every_text_is_escaped() {
    let evil = || "<b>\"&'".to_owned();
    let mut report = whole_report();
    report.title = evil();
    report.version = evil();
    report.machine = evil();
    report.data = evil();
    report.spec_toml = evil();
    report.command = evil();
    let growth = &mut report.growths[0];
    growth.name = evil();
    growth.description[0] = evil();
    growth.evidence[0].1.inputs = evil();
    growth.evidence[0].1.f64[0].output = evil();
    growth.student.layers[0].name = evil();
    growth.student.layers[1].operator = evil();
    growth.student.layers[2].output_shape = evil();
    for run in &mut report.runs {
        if run.growth.as_deref() == Some("wider") {
            run.growth = Some(evil());
        }
    }
    let page = page(&report);
    assert!(!page.contains("<b>"));
    assert!(page.matches("&lt;b&gt;&quot;&amp;&#39;").count() >= 13);
}

#[test]
fn a_broken_proof_is_said_outright() {
    let mut report = whole_report();
    report.growths[0].evidence[1].1.exact = false;
    assert!(page(&report).contains("The function was NOT kept in 1 of 2 seeds"));
    report.growths[0].evidence[1].1.exact = true;
    report.growths[0].evidence[1].1.f64[0].max_abs = f64::NAN;
    assert!(page(&report).contains("The function was NOT kept in 1 of 2 seeds"));
}

#[test]
fn a_comparison_without_runs_still_has_a_page() {
    assert!(page(&comparison(&[], Vec::new())).contains("nothing to compare"));
}

#[test]
fn runs_link_to_what_they_began_with_and_to_their_files() {
    let report = whole_report();
    let page = page(&report);
    for run in &report.runs {
        let anchor = format!("id=\"run-{}\"", run.id.replace(['/', '_'], "-"));
        assert!(page.contains(&anchor), "{anchor}");
        assert!(page.contains(&format!("href=\"{}/metrics.jsonl\"", run.id)));
    }
    let seed = report.seeds[0];
    let teacher = report
        .run("wider", net2net_lab::report::Kind::Teacher, seed)
        .unwrap();
    let link = format!(
        "<a href=\"#run-{}\">teacher</a>",
        teacher.id.replace('/', "-")
    );
    assert!(page.contains(&link), "{link}");
    assert!(page.contains(&format!("<a href=\"seed{seed}/wider/plan.json\">plan</a>")));
}

#[test]
fn differences_are_tested_and_growths_stand_side_by_side() {
    let page = page(&whole_report());
    assert!(page.contains("Student's paired t test"));
    assert!(page.contains("Growths side by side"));
    assert!(page.contains("95 % interval"));
}
