//! The page and the file that all benchmarks share, each with a part of its own.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value};

/// Writes a section of `performance.md`, and the figures under its name in `performance.json`.
pub(super) fn write(
    docs: &Path,
    name: &str,
    heading: &str,
    section: &str,
    figures: &impl Serialize,
) -> Result<()> {
    std::fs::create_dir_all(docs)?;
    let path = docs.join("performance.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let page = with_section(&page, name, heading, section);
    std::fs::write(&path, page).with_context(|| path.display().to_string())?;
    let path = docs.join("performance.json");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut all: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    all.insert(name.to_owned(), serde_json::to_value(figures)?);
    let json = serde_json::to_string_pretty(&all)? + "\n";
    std::fs::write(&path, json).with_context(|| path.display().to_string())
}

/// A page with the text between the section's markers replaced, or added at its end.
fn with_section(page: &str, name: &str, heading: &str, section: &str) -> String {
    let (begin_mark, end_mark) = (
        format!("<!-- bench {name} -->"),
        format!("<!-- /bench {name} -->"),
    );
    let section = format!("{begin_mark}\n\n{}\n\n{end_mark}", section.trim_end());
    let places = page.find(&begin_mark).zip(page.find(&end_mark));
    match places.filter(|(begin, end)| begin < end) {
        Some((begin, end)) => {
            let rest = &page[end + end_mark.len()..];
            format!("{}{section}{rest}", &page[..begin])
        }
        None => {
            let before = match page.trim_end() {
                "" => "# Performance",
                page => page,
            };
            let command = format!("```sh\ncargo xtask bench {name}\n```");
            format!("{before}\n\n## {heading}\n\n{command}\n\n{section}\n")
        }
    }
}

/// A row of a table.
pub(super) fn row<S: AsRef<str>>(cells: &[S]) -> String {
    let mut line = String::from("|");
    for cell in cells {
        // Writing to a string cannot fail.
        let _ = write!(line, " {} |", cell.as_ref());
    }
    line + "\n"
}

/// The processor's name.
pub(super) fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let name = name
        .and_then(|rest| rest.split_once(':'))
        .map(|(_, name)| name.trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// The compiler's version.
pub(super) fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output().ok();
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or("rustc, version unknown".to_owned(), |text| {
        text.trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::with_section;

    #[test]
    fn a_section_is_replaced_where_it_stands() {
        let page = with_section("", "train", "Steps", "old");
        let text = format!("before\n{page}after\n");
        let renewed = with_section(&text, "train", "Steps", "new");
        assert_eq!(renewed, text.replace("old", "new"));
        let other = with_section(&renewed, "plan", "Plans", "more");
        assert!(other.starts_with(renewed.trim_end()));
        assert!(
            other.contains("## Plans\n\n```sh\ncargo xtask bench plan\n```\n\n<!-- bench plan -->")
        );
    }
}
