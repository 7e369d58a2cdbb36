//! `net2net compare`: a teacher, its growths and every baseline, side by side.

mod architecture;
mod baseline;
mod choose;
mod directory;
mod error;
mod hints;
mod policy;
mod runner;
mod spec;
mod stages;
mod start;
mod student;

pub use architecture::architecture;
pub use baseline::{Baseline, Distillation, Hints, Paper, Stages};
pub use choose::{Chosen, choose};
pub use directory::{
    COMPARISON_FILE, Claimed, DirectoryError, SPEC_FILE, Started, Stated, create, resume,
};
pub(crate) use directory::{claim, sweep};
pub use error::CompareError;
pub use policy::{Moments, Rate};
pub use runner::{Ended, Options, Watcher, compare, rerender};
pub use spec::{DataSpec, GrowthSpec, Spec, SpecError, StudentSpec, TeacherSpec, Variant};
