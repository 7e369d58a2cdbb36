//! Leaves a comparison's files, each of them whole or not at all.

use std::path::{Path, PathBuf};
use std::{fs, io};

use net2net_core::io::write_atomic;
use thiserror::Error;

use super::html::render;
use super::plot::PlotError;
use super::record::Comparison;
use super::summary::{Summary, summarize};

/// The figures, for programs.
pub const SUMMARY_FILE: &str = "summary.json";

/// The page, for people.
pub const REPORT_FILE: &str = "report.html";

/// A report could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A curve could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The figures could not be put into JSON.
    #[error("cannot write the figures as JSON")]
    Json(#[from] serde_json::Error),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Writes [`SUMMARY_FILE`] and [`REPORT_FILE`] into `dir`, which is made if need be, and returns the figures.
///
/// Both are complete in memory before the first is written, and each replaces an older one in a single step.
///
/// # Errors
///
/// If a curve cannot be drawn or a file cannot be written; an older file of the same name is then still whole.
pub fn write_report(dir: &Path, comparison: &Comparison) -> Result<Summary, ReportError> {
    let summary = summarize(comparison);
    let page = render(comparison, &summary)?;
    let mut json = serde_json::to_string_pretty(&summary)?;
    json.push('\n');

    fs::create_dir_all(dir).map_err(|source| ReportError::Io {
        path: dir.to_owned(),
        source,
    })?;
    for (name, text) in [(SUMMARY_FILE, &json), (REPORT_FILE, &page)] {
        let path = dir.join(name);
        write_atomic(&path, text.as_bytes()).map_err(|source| ReportError::Io { path, source })?;
    }
    Ok(summary)
}
