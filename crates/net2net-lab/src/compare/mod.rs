//! `net2net compare`: a teacher, its growths and every baseline, side by side.

mod architecture;
mod baseline;
mod directory;
mod error;
mod runner;
mod spec;

pub use architecture::architecture;
pub use directory::{
    COMPARISON_FILE, Claimed, DirectoryError, SPEC_FILE, Started, Stated, create, resume,
};
pub use error::CompareError;
pub use runner::{Ended, Options, Watcher, compare, rerender};
pub use spec::{DataSpec, GrowthSpec, Spec, SpecError, StudentSpec, TeacherSpec};
