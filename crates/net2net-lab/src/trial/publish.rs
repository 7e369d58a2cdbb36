//! The directory in which a trial works until it is done, and how it becomes the result.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::error::TrialError;

const LOCK_FILE: &str = ".lock";

/// The working directory of the one attempt that is under way.
pub(super) struct Attempt {
    out: PathBuf,
    path: PathBuf,
    _lock: File,
}

/// What an attempt begins with.
pub(super) enum Begun {
    /// The working directory, new or left behind by an attempt that was interrupted.
    Mine(Attempt),
    /// The result is there: another attempt was first.
    Published,
}

impl Attempt {
    /// Takes the working directory of a result, once no other process is at work in it.
    pub(super) fn begin(out: &Path) -> Result<Begun, TrialError> {
        let path = beside(out, "partial");
        loop {
            // An empty folder, as people make it beforehand, is no result.
            let _ = fs::remove_dir(out);
            if out.exists() {
                return Ok(Begun::Published);
            }
            fs::create_dir_all(&path).map_err(TrialError::file(&path))?;
            let lock_path = path.join(LOCK_FILE);
            let lock = match File::create(&lock_path) {
                // The other one was done in between.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                opened => opened.map_err(TrialError::file(&lock_path))?,
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    lock.lock().map_err(TrialError::file(&lock_path))?;
                }
                Err(TryLockError::Error(source)) => {
                    return Err(TrialError::file(&lock_path)(source));
                }
            }
            // Who waited may hold the lock of a directory that has become the result meanwhile.
            if is_of(&lock, &lock_path) {
                return Ok(Begun::Mine(Attempt {
                    out: out.to_owned(),
                    path,
                    _lock: lock,
                }));
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the working directory the result, unless there is one.
    pub(super) fn publish(self) -> Result<(), TrialError> {
        match fs::rename(&self.path, &self.out) {
            Ok(()) => {
                // The lock goes with this process; the file says nothing to others.
                let _ = fs::remove_file(self.out.join(LOCK_FILE));
                sync_folder(&self.out)
            }
            Err(_) if self.out.exists() => {
                fs::remove_dir_all(&self.path).map_err(TrialError::file(&self.path))
            }
            Err(source) => Err(TrialError::file(&self.out)(source)),
        }
    }
}

/// Whether an open file is the one at a path.
fn is_of(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let same = |a: &fs::Metadata, b: &fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
        match (file.metadata(), fs::metadata(path)) {
            (Ok(a), Ok(b)) => same(&a, &b),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// `DIR.suffix` for `DIR`.
fn beside(out: &Path, suffix: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    out.with_file_name(name)
}

/// A rename is there after a power cut only once the folder is written.
fn sync_folder(out: &Path) -> Result<(), TrialError> {
    #[cfg(unix)]
    {
        let folder = out.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(TrialError::file(folder))?;
    }
    #[cfg(not(unix))]
    let _ = out;
    Ok(())
}
