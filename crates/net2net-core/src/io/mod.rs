//! Models on disk.

mod atomic;
mod checkpoint;

pub use atomic::write_atomic;
pub use checkpoint::{Checkpoint, IoError, MAX_FILE_BYTES};
