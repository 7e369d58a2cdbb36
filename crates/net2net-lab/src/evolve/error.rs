//! Why an evolution fails.

use std::path::{Path, PathBuf};

use net2net_core::apply::ApplyError;
use net2net_core::engine::CompileError;
use net2net_core::io::IoError;
use net2net_core::request::RequestError;
use thiserror::Error;

use crate::compare::{DirectoryError, SpecError};
use crate::data::DataError;
use crate::explore::ExploreError;
use crate::trial::{ProcessError, TrialError};

/// Why an evolution failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvolveError {
    /// See [`SpecError`].
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// See [`DataError`].
    #[error(transparent)]
    Data(#[from] DataError),
    /// See [`DirectoryError`].
    #[error(transparent)]
    Directory(DirectoryError),
    /// See [`TrialError`].
    #[error(transparent)]
    Trial(Box<TrialError>),
    /// See [`ExploreError`].
    #[error(transparent)]
    Explore(Box<ExploreError>),
    /// See [`ProcessError`].
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// See [`CompileError`].
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// See [`RequestError`].
    #[error(transparent)]
    Request(#[from] RequestError),
    /// See [`ApplyError`].
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// See [`IoError`].
    #[error(transparent)]
    Checkpoint(#[from] IoError),
    /// There is no home.
    #[error("{} is no home of a model; make one: net2net evolve init {}", path.display(), path.display())]
    NoHome {
        /// The directory.
        path: PathBuf,
    },
    /// There is a home without its store.
    #[error("{} is gone, and nothing is known of the model's life without it; take it from a backup, or make another home", path.display())]
    NoStore {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is a life without its settings.
    #[error("{} is gone, and the model that lives here needs it; take it from a backup, or write it anew: the store has the settings of each step", path.display())]
    NoSettings {
        /// Where they should be.
        path: PathBuf,
    },
    /// The settings of a home cannot be used.
    #[error("{}: {source}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SpecError,
    },
    /// There is one already.
    #[error("{} is the home of a model already; choose another one", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// Another process is at work there.
    #[error("another `net2net evolve` is at work in {}; wait until it is done, or stop it", path.display())]
    Locked {
        /// The home.
        path: PathBuf,
    },
    /// The store's form is another one.
    #[error("{} was written by another version of net2net (its form is {found}, this one's is {known})", path.display())]
    Form {
        /// The store.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What is known.
        known: &'static str,
    },
    /// The store cannot be read or written.
    #[error("the store {} cannot be used: {source}{}", path.display(), advice(source))]
    Store {
        /// The store.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// What the store holds cannot be understood.
    #[error("the store {} is damaged: {what}: {source}; take it from a backup", path.display())]
    Row {
        /// The store.
        path: PathBuf,
        /// What of it.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A file that the store names has other bytes than it should have, or is gone.
    #[error(
        "{} is {what}: it belongs to {whose}; put it back from a copy of the home, or go on from another version: \
         net2net evolve rollback HOME VERSION", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Gone, or damaged.
        what: &'static str,
        /// Which version or snapshot needs it.
        whose: String,
    },
    /// The data cannot be used.
    #[error("{} {why}", folder.display())]
    Arrival {
        /// The folder of data.
        folder: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// No such version.
    #[error("there is no version {version}; there are {there}")]
    NoVersion {
        /// The one that was asked for.
        version: i64,
        /// Those that are there, in words.
        there: String,
    },
    /// There is no champion yet.
    #[error("there is no champion yet; train one: net2net evolve step {}", path.display())]
    NoChampion {
        /// The home.
        path: PathBuf,
    },
    /// A version cannot be written in that form.
    #[error("version {version} {why} (not {})", path.display())]
    NoForm {
        /// The version.
        version: i64,
        /// The file that was asked for.
        path: PathBuf,
        /// What it can be.
        why: &'static str,
    },
    /// Something is there already.
    #[error("{} is there already; --force overwrites it", path.display())]
    There {
        /// The file.
        path: PathBuf,
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
    #[error("{} is damaged: {source}; remove it and go on", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl From<TrialError> for EvolveError {
    fn from(error: TrialError) -> Self {
        EvolveError::Trial(Box::new(error))
    }
}

impl From<ExploreError> for EvolveError {
    fn from(error: ExploreError) -> Self {
        EvolveError::Explore(Box::new(error))
    }
}

impl From<DirectoryError> for EvolveError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Locked { path } => EvolveError::Locked { path },
            error => EvolveError::Directory(error),
        }
    }
}

impl EvolveError {
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> EvolveError {
        move |source| EvolveError::File {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether a disk is full, or as good as full.
    pub fn is_out_of_room(&self) -> bool {
        match self {
            EvolveError::Process(ProcessError::NoRoom { .. }) => true,
            EvolveError::Store { source, .. } => cannot_write(source),
            _ => false,
        }
    }
}

/// Whether SQLite could not write: the disk is full, or a quota or a limit of the size of files is reached.
fn cannot_write(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            failure.code == rusqlite::ErrorCode::DiskFull
                || [
                    rusqlite::ffi::SQLITE_IOERR_WRITE,
                    rusqlite::ffi::SQLITE_IOERR_SHMSIZE,
                ]
                .contains(&failure.extended_code)
        }
        _ => false,
    }
}

fn advice(error: &rusqlite::Error) -> &'static str {
    match error {
        error if cannot_write(error) => "; there is no room, so make some and go on",
        rusqlite::Error::SqliteFailure(failure, _)
            if matches!(
                failure.code,
                rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt
            ) =>
        {
            "; take it from a backup"
        }
        _ => "",
    }
}
