//! Leaves a comparison's files, each of them whole or not at all.

use std::path::{Path, PathBuf};
use std::{fs, io};

use net2net_core::io::write_atomic;
use thiserror::Error;

use super::events::{EVENTS_FILE, events};
use super::html::{render, render_together};
use super::plot::{Figure, PlotError, PngError, png, standalone};
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
    /// A curve could not be made into pixels.
    #[error(transparent)]
    Png(#[from] PngError),
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

/// What else can be made of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// Each plot as `GROWTH-FIGURE.svg`.
    Svg,
    /// Each plot as `GROWTH-FIGURE.png`.
    Png,
    /// Each run's metrics as a TensorBoard event file in a folder of its own.
    TensorBoard,
}

/// Writes a comparison's plots or event files into `dir`, which is made if need be, and returns
/// their paths.
///
/// # Errors
///
/// If a plot cannot be drawn or a file cannot be written.
pub fn export(
    dir: &Path,
    comparison: &Comparison,
    what: Export,
) -> Result<Vec<PathBuf>, ReportError> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    match what {
        Export::TensorBoard => {
            let runs = comparison.runs.iter();
            files.extend(runs.map(|run| (dir.join(&run.id).join(EVENTS_FILE), events(run))));
        }
        Export::Svg | Export::Png => {
            for growth in &comparison.growths {
                for figure in Figure::ALL {
                    let Some(svg) = standalone(comparison, &growth.name, figure)? else {
                        continue;
                    };
                    let name = format!("{}-{}", growth.name, figure.slug());
                    files.push(match what {
                        Export::Png => (dir.join(format!("{name}.png")), png(&svg)?),
                        _ => (dir.join(format!("{name}.svg")), svg.into_bytes()),
                    });
                }
            }
        }
    }
    for (path, bytes) in &files {
        put(path, bytes)?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// Writes the page of a comparison alone, and returns its figures.
///
/// # Errors
///
/// If a curve cannot be drawn or the file cannot be written.
pub fn write_page(path: &Path, comparison: &Comparison) -> Result<Summary, ReportError> {
    let summary = summarize(comparison);
    put(path, render(comparison, &summary)?.as_bytes())?;
    Ok(summary)
}

/// Writes one page of several comparisons; each has a name, the address of its own page as seen from
/// this one, and its figures.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_together(
    path: &Path,
    comparisons: &[(&str, &str, &Comparison, &Summary)],
) -> Result<(), ReportError> {
    put(path, render_together(comparisons).as_bytes())
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let fault = |source| ReportError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fault)?;
    }
    write_atomic(path, bytes).map_err(fault)
}
