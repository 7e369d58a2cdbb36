//! Why a comparison fails.

use std::path::PathBuf;

use net2net_core::apply::ApplyError;
use net2net_core::engine::CompileError;
use net2net_core::graph::GraphError;
use net2net_core::io::IoError;
use net2net_core::plan::PlanError;
use net2net_core::request::RequestError;
use net2net_core::verify::VerifyError;
use thiserror::Error;

use super::spec::SpecError;
use crate::data::DataError;
use crate::models::ModelError;
use crate::report::ReportError;
use crate::train::RunError;

/// Why a comparison failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// See [`SpecError`].
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// See [`DataError`].
    #[error(transparent)]
    Data(#[from] DataError),
    /// See [`ModelError`].
    #[error(transparent)]
    Model(#[from] ModelError),
    /// See [`RunError`].
    #[error(transparent)]
    Run(#[from] RunError),
    /// There is no teacher to grow.
    #[error(
        "the teacher of seed {seed} diverged ({why}), so there is nothing to grow; \
         change the spec's teacher recipe"
    )]
    Teacher {
        /// The seed.
        seed: u64,
        /// What happened.
        why: String,
    },
    /// The growth could not be planned.
    #[error("growth {growth}: {source}")]
    Request {
        /// Its name.
        growth: String,
        /// Why.
        source: RequestError,
    },
    /// The plan of an earlier run cannot be read.
    #[error("{}: {source}; remove it and resume", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PlanError,
    },
    /// Hints between layers that do not match.
    #[error("hint training: {why}")]
    Hint {
        /// What does not match.
        why: String,
    },
    /// The growth was not exact, or could not be proved.
    #[error("growth {growth}: {source}")]
    Verify {
        /// Its name.
        growth: String,
        /// Why.
        source: VerifyError,
    },
    /// See [`ApplyError`].
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The plan of an earlier run does not fit.
    #[error("{}: {source}; remove it and resume", path.display())]
    Stale {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ApplyError,
    },
    /// See [`GraphError`].
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// See [`CompileError`].
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// See [`IoError`].
    #[error(transparent)]
    Checkpoint(#[from] IoError),
    /// See [`ReportError`].
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is damaged.
    #[error("{} is damaged: {source}; remove it and resume", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}
