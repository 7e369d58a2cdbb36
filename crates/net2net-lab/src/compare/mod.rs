//! `net2net compare`: a teacher, its growths and every baseline, side by side.

mod architecture;
mod baseline;
mod directory;
mod runner;
mod spec;

pub use architecture::architecture;
pub use directory::{COMPARISON_FILE, Claimed, DirectoryError, SPEC_FILE, Started, create, resume};
pub use runner::{CompareError, Ended, Options, Watcher, compare, rerender};
pub use spec::{DataSpec, GrowthSpec, Spec, SpecError, StudentSpec, TeacherSpec};
