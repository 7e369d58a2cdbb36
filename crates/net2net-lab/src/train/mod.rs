//! One training run: from initial weights to a finished directory, resumable at any moment.

mod apart;
mod data;
mod lesson;
mod recipe;
mod run;
mod schedule;

pub use apart::{apart, incoming_copies};
pub use data::Drawn;
pub use lesson::{Cost, Lesson, Model};
pub use recipe::{Recipe, RecipeError};
pub use run::{
    BEST_FILE, CHECKPOINT_FILE, DONE_FILE, Job, METRICS_FILE, MODEL_FILE, Observer, Outcome,
    Progress, RunError, TRUNK_FILE, TrainingData, run,
};
pub use schedule::Schedule;
