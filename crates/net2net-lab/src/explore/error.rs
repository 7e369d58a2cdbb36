//! Why an exploration fails.

use std::path::{Path, PathBuf};

use net2net_core::apply::ApplyError;
use net2net_core::engine::{CompileError, TrainError};
use net2net_core::io::IoError;
use net2net_core::request::RequestError;
use thiserror::Error;

use crate::compare::SpecError;
use crate::data::DataError;
use crate::train::RunError;
use crate::trial::{ProcessError, TrialError};

/// Why an exploration failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExploreError {
    /// See [`SpecError`].
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// See [`DataError`].
    #[error(transparent)]
    Data(#[from] DataError),
    /// See [`RunError`].
    #[error(transparent)]
    Run(#[from] RunError),
    /// See [`TrialError`].
    #[error(transparent)]
    Trial(Box<TrialError>),
    /// See [`TrainError`].
    #[error(transparent)]
    Train(#[from] TrainError),
    /// See [`CompileError`].
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// See [`ApplyError`].
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// See [`RequestError`].
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A network of the exploration cannot be read.
    #[error(
        "{source}; remove {} and resume: it is made again, to the same bits",
        remove.display()
    )]
    Damaged {
        /// The trial's folder, or the file of the start.
        remove: PathBuf,
        /// What is wrong.
        source: Box<IoError>,
    },
    /// There is nothing to grow from.
    #[error("the start of seed {seed} {why}, so there is nothing to grow")]
    Start {
        /// The seed.
        seed: u64,
        /// What happened to it.
        why: String,
    },
    /// Nothing can grow.
    #[error(
        "no move is possible on the start of seed {seed}: {why}; `net2net inspect` shows what of a network can grow"
    )]
    NoMove {
        /// The seed.
        seed: u64,
        /// What stands in the way of the moves.
        why: String,
    },
    /// See [`ProcessError`].
    #[error(transparent)]
    Process(#[from] ProcessError),
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

impl From<TrialError> for ExploreError {
    fn from(error: TrialError) -> Self {
        ExploreError::Trial(Box::new(error))
    }
}

impl ExploreError {
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> ExploreError {
        move |source| ExploreError::File {
            path: path.to_owned(),
            source,
        }
    }
}
