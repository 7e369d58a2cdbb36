//! The directory of a comparison or an exploration: who may write in it, and what it holds.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::spec::{DataSpec, SpecError};
use net2net_core::io::{STAGED_PREFIX, write_atomic};

/// The spec as run.
pub const SPEC_FILE: &str = "spec.toml";
/// How it was started.
pub const COMMAND_FILE: &str = "command.json";
/// Everything that was measured.
pub const COMPARISON_FILE: &str = "comparison.json";

/// The specification of what is done in a directory.
pub trait Stated: Clone + PartialEq + Sized {
    /// What is done, in a word.
    const WHAT: &'static str;
    /// Reads and checks it.
    fn from_toml(text: &str) -> Result<Self, SpecError>;
    /// The spec as TOML.
    fn to_toml(&self) -> Result<String, SpecError>;
    /// Its images.
    fn data_mut(&mut self) -> &mut DataSpec;

    /// The places that it names: relative to it in a file, to where the process runs in memory.
    fn places_mut(&mut self) -> Vec<&mut PathBuf> {
        self.data_mut().places_mut().collect()
    }

    /// Reads and checks a spec's file. The places that it names are relative to it.
    fn from_file(path: &Path) -> Result<Self, SpecError> {
        let text = fs::read_to_string(path).map_err(|source| SpecError::File {
            path: path.to_owned(),
            source,
        })?;
        let mut spec = Self::from_toml(&text)?;
        if let Some(parent) = path.parent() {
            for place in spec.places_mut() {
                *place = parent.join(&*place);
            }
        }
        Ok(spec)
    }

    /// The spec as it stands in a file in the directory `home`: a folder of data that is named
    /// relative to where the process runs is then relative to that directory.
    fn at_home_in(&self, home: &Path) -> Self {
        let mut spec = self.clone();
        for place in spec.places_mut() {
            if place.is_relative()
                && let (Ok(home), Ok(full)) = (home.canonicalize(), place.canonicalize())
            {
                *place = relative(&home, &full);
            }
        }
        spec
    }
}

/// The way from one absolute path to another; as it is if they have nothing in common.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    if common == 0 {
        return to.to_owned();
    }
    let up = from.components().skip(common).map(|_| "..".as_ref());
    let down = to.components().skip(common).map(|part| part.as_os_str());
    let way: PathBuf = up.chain(down).collect();
    if way.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        way
    }
}

/// How the work was started: what a resumed one must keep to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The command that repeats it.
    pub command: String,
    /// Threads: results depend on them to the last bit.
    pub threads: usize,
}

/// Why a directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// There is one already.
    #[error(
        "{} holds a run already; add --resume to go on with it, or choose another --out",
        path.display()
    )]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// There is nothing to go on with.
    #[error("{} holds no {what} to resume (no {SPEC_FILE})", path.display())]
    Nothing {
        /// What there is none of.
        what: &'static str,
        /// The directory.
        path: PathBuf,
    },
    /// What is there is another one.
    #[error(
        "{} was started with another spec; resume it without naming one, or choose another --out",
        path.display()
    )]
    Other {
        /// The directory.
        path: PathBuf,
    },
    /// Resumed with other threads.
    #[error(
        "{} was started with {before} threads, and results depend on them; \
         resume without --threads {now}",
        path.display()
    )]
    Threads {
        /// The directory.
        path: PathBuf,
        /// Then.
        before: usize,
        /// Now.
        now: usize,
    },
    /// Another process is at work there.
    #[error("another process is working in {}; wait for it, or choose another --out", path.display())]
    Locked {
        /// The directory.
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
    /// The spec there is damaged.
    #[error("{}: {source}", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SpecError,
    },
}

/// A directory that this process alone writes in, until it is dropped.
#[derive(Debug)]
pub struct Claimed {
    path: PathBuf,
    _lock: File,
}

impl Claimed {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory for new work and writes how it is started and its spec.
pub fn create<S: Stated>(
    path: &Path,
    spec: &S,
    started: &Started,
) -> Result<Claimed, DirectoryError> {
    let file = |source| DirectoryError::File {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(path).map_err(file)?;
    let claimed = claim(path)?;
    let spec_path = path.join(SPEC_FILE);
    if spec_path.exists() {
        return Err(DirectoryError::Taken {
            path: path.to_owned(),
        });
    }
    let command_path = path.join(COMMAND_FILE);
    let json = serde_json::to_vec_pretty(started).map_err(std::io::Error::other);
    json.and_then(|json| write_atomic(&command_path, &json))
        .map_err(|source| DirectoryError::File {
            path: command_path,
            source,
        })?;
    let text = spec
        .at_home_in(path)
        .to_toml()
        .map_err(|source| DirectoryError::Spec {
            path: spec_path.clone(),
            source,
        })?;
    write_atomic(&spec_path, text.as_bytes()).map_err(|source| DirectoryError::File {
        path: spec_path,
        source,
    })?;
    Ok(claimed)
}

/// Opens the directory of unfinished work and reads its spec and how it was started;
/// `wanted` and `threads`, if given, must be the same.
pub fn resume<S: Stated>(
    path: &Path,
    wanted: Option<&S>,
    threads: Option<usize>,
) -> Result<(Claimed, S, Started), DirectoryError> {
    let spec_path = path.join(SPEC_FILE);
    if !spec_path.exists() {
        return Err(DirectoryError::Nothing {
            path: path.to_owned(),
            what: S::WHAT,
        });
    }
    let claimed = claim(path)?;
    sweep(path);
    let spec = S::from_file(&spec_path).map_err(|source| DirectoryError::Spec {
        path: spec_path,
        source,
    })?;
    if wanted.is_some_and(|wanted| wanted.at_home_in(path) != spec.at_home_in(path)) {
        return Err(DirectoryError::Other {
            path: path.to_owned(),
        });
    }
    let command_path = path.join(COMMAND_FILE);
    let started: Started = fs::read(&command_path)
        .and_then(|json| serde_json::from_slice(&json).map_err(std::io::Error::other))
        .map_err(|source| DirectoryError::File {
            path: command_path,
            source,
        })?;
    if let Some(threads) = threads
        && threads != started.threads
    {
        return Err(DirectoryError::Threads {
            path: path.to_owned(),
            before: started.threads,
            now: threads,
        });
    }
    Ok((claimed, spec, started))
}

/// Removes what a kill left half-written, which nothing names: in a directory and all below it. What cannot be removed is in
/// nobody's way.
pub(crate) fn sweep(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        match entry.file_type() {
            Ok(found) if found.is_dir() => sweep(&entry.path()),
            Ok(found) if found.is_file() && name.to_string_lossy().starts_with(STAGED_PREFIX) => {
                let _ = fs::remove_file(entry.path());
            }
            _ => {}
        }
    }
}

/// Takes a directory for this process alone.
pub(crate) fn claim(path: &Path) -> Result<Claimed, DirectoryError> {
    let lock_path = path.join(".lock");
    let lock = File::create(&lock_path).map_err(|source| DirectoryError::File {
        path: lock_path.clone(),
        source,
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(Claimed {
            path: path.to_owned(),
            _lock: lock,
        }),
        Err(TryLockError::WouldBlock) => Err(DirectoryError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(DirectoryError::File {
            path: lock_path,
            source,
        }),
    }
}
