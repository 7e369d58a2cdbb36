//! Files that are there whole or not at all.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tempfile::{Builder, NamedTempFile, TempDir};

/// Writes a file through a temporary one in the same folder: synchronised, then renamed, so that
/// a reader never sees half of it and a failure leaves what was there before.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = StagedFile::new(folder_of(path))?;
    file.put(0, bytes)?;
    file.persist(path)?;
    sync_folder(folder_of(path))
}

/// The folder that a file lies in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Synchronises a folder with the disk: the renames in it live there.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    let _ = folder;
    Ok(())
}

/// How the names of temporary files begin, of any process: a kill leaves them, and nothing names them.
pub const STAGED_PREFIX: &str = ".net2net-";

/// How the names of this process's temporary files begin.
fn prefix() -> String {
    format!("{STAGED_PREFIX}{}-", std::process::id())
}

/// Removes what this process has staged in a folder and not put in place: for a process that is about
/// to end without dropping anything.
pub fn clear_staged(folder: &Path) {
    let prefix = prefix();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // Whatever cannot be removed stays; there is nobody left to tell.
            let _ = match entry.path().is_dir() {
                true => std::fs::remove_dir_all(entry.path()),
                false => std::fs::remove_file(entry.path()),
            };
        }
    }
}

/// The disk begins to write after so many bytes.
const UNSYNCED_MAX: usize = 64 << 20;

/// A temporary file that is written from several threads, in any order, and put in place when all
/// is well. Whoever drops it leaves nothing behind.
///
/// The disk writes while more is made: a thread synchronises what is there from time to time, so
/// that little is left to wait for at the end.
#[derive(Debug)]
pub struct StagedFile {
    file: NamedTempFile,
    writer: Mutex<Writer>,
    /// What tells the thread that more was written, and the thread.
    syncing: Option<(Sender<()>, JoinHandle<io::Result<()>>)>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    unsynced: usize,
}

impl StagedFile {
    /// An empty file in a folder.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let file = Builder::new().prefix(&prefix()).tempfile_in(folder)?;
        let writer = Writer {
            file: file.as_file().try_clone()?,
            unsynced: 0,
        };
        let own = file.as_file().try_clone()?;
        let (more, told) = channel::<()>();
        let thread = thread::Builder::new().name("sync".to_owned());
        let syncing = thread.spawn(move || {
            while told.recv().is_ok() {
                // One call does for all that was written until now.
                while told.try_recv().is_ok() {}
                own.sync_data()?;
            }
            Ok(())
        })?;
        Ok(StagedFile {
            file,
            writer: Mutex::new(writer),
            syncing: Some((more, syncing)),
        })
    }

    /// Writes bytes from a place in the file on.
    pub fn put(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        // Systems let one thread at a time write to a file; who waits here does not spin.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.file.seek(SeekFrom::Start(at))?;
        writer.file.write_all(bytes)?;
        writer.unsynced += bytes.len();
        if writer.unsynced >= UNSYNCED_MAX
            && let Some((more, _)) = &self.syncing
        {
            writer.unsynced = 0;
            // If the thread has failed, putting the file in place tells why.
            let _ = more.send(());
        }
        Ok(())
    }

    /// Where it is for now.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Puts the file where it is to be, synchronised with the disk. A file that was there is
    /// replaced. [`sync_folder`] makes that last.
    pub fn persist(mut self, path: &Path) -> io::Result<()> {
        if let Some((more, thread)) = self.syncing.take() {
            drop(more);
            // A failure is told to one caller only, so it must not be lost.
            let panicked = |_| io::Error::other("the thread that synchronises has failed");
            thread.join().map_err(panicked)??;
        }
        let file = self.file.as_file();
        file.sync_all()?;
        // Temporary files are private; the result has the rights that a new file has.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// A folder of staged files that is to be at a path: all of it appears at once where there is
/// nothing yet, and file by file, in the order in which they are put, where there is a folder.
#[derive(Debug)]
pub struct StagedFolder {
    path: PathBuf,
    /// What becomes the folder, unless it is there.
    fresh: Option<TempDir>,
}

impl StagedFolder {
    /// A folder that is to be at `path`, whose parent is there.
    pub fn new(path: &Path) -> io::Result<Self> {
        let fresh = match path.is_dir() {
            true => None,
            false => Some(
                Builder::new()
                    .prefix(&prefix())
                    .tempdir_in(folder_of(path))?,
            ),
        };
        let path = path.to_owned();
        Ok(StagedFolder { path, fresh })
    }

    /// Where its files are to be staged.
    pub fn place(&self) -> &Path {
        self.fresh.as_ref().map_or(&self.path, TempDir::path)
    }

    /// Puts files in place under their names.
    pub fn put(self, files: Vec<(String, StagedFile)>) -> io::Result<()> {
        for (name, file) in files {
            file.persist(&self.place().join(name))?;
        }
        sync_folder(self.place())?;
        let Some(fresh) = self.fresh else {
            return Ok(());
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let rights = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(fresh.path(), rights)?;
        }
        std::fs::rename(fresh.path(), &self.path)?;
        // It is no longer where it would be cleared away.
        let _ = fresh.keep();
        sync_folder(folder_of(&self.path))
    }
}

/// Does jobs in their order on up to two threads, each of which may hold as much as a large tensor,
/// and returns the first failure. Each thread lends its jobs a buffer of its own.
pub fn in_parallel<J: Send, E: Send>(
    threads: usize,
    jobs: impl Iterator<Item = Result<J, E>> + Send,
    work: impl Fn(J, &mut Vec<f32>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let queue = Mutex::new((jobs, None));
    let worker = || {
        let mut buffer = Vec::new();
        loop {
            let mut all = queue.lock().unwrap_or_else(PoisonError::into_inner);
            if all.1.is_some() {
                return;
            }
            let Some(job) = all.0.next() else { return };
            drop(all);
            if let Err(error) = job.and_then(|job| work(job, &mut buffer)) {
                let mut all = queue.lock().unwrap_or_else(PoisonError::into_inner);
                all.1.get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        if threads > 1 {
            scope.spawn(worker);
        }
        worker();
    });
    let (_, failure) = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}
