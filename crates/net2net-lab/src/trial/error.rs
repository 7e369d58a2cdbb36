//! Why a trial fails.

use std::path::{Path, PathBuf};

use net2net_core::apply::ApplyError;
use net2net_core::engine::TrainError;
use net2net_core::io::IoError;
use net2net_core::plan::PlanError;
use net2net_core::verify::VerifyError;
use net2net_onnx::OnnxError;
use thiserror::Error;

use crate::compare::SpecError;
use crate::data::DataError;
use crate::models::ModelError;
use crate::train::RunError;

/// Why a trial failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrialError {
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
    /// The network to start from cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] IoError),
    /// The ONNX file to start from cannot be read.
    #[error("{}: {source}", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: OnnxError,
    },
    /// A plan cannot be read.
    #[error("{}: {source}", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PlanError,
    },
    /// A plan does not fit the network.
    #[error("{}: {source}", path.display())]
    Apply {
        /// The plan.
        path: PathBuf,
        /// Why.
        source: ApplyError,
    },
    /// The growth is not exact, or cannot be proved.
    #[error("{}: {source}", path.display())]
    Verify {
        /// The plan.
        path: PathBuf,
        /// Why.
        source: VerifyError,
    },
    /// The network and the images do not belong together.
    #[error("the network {why}")]
    Unfit {
        /// What does not fit, and what to do.
        why: String,
    },
    /// The network cannot be run.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The directory holds something else.
    #[error("{} is there and is {what}; choose another --out, or remove it", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is damaged.
    #[error("{} is damaged: {source}; remove it and its folder, and start the trial again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl TrialError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> TrialError {
        move |source| TrialError::File {
            path: path.to_owned(),
            source,
        }
    }
}
