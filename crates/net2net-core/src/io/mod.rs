//! Models on disk.

mod atomic;
mod checkpoint;

pub use atomic::{
    STAGED_PREFIX, StagedFile, StagedFolder, clear_staged, folder_of, in_parallel, sync_folder,
    write_atomic,
};
pub use checkpoint::{Checkpoint, IoError, MAX_FILE_BYTES};
