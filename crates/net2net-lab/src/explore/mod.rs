//! `net2net explore`: many architectures, each grown from the best network so far.
//!
//! A candidate is a plan on its parent, so its ancestry is a list of plans that replays. One loop ([`explore`]) asks a
//! strategy, a pure function of what is known ([`State`]), what comes next: to score a parent's moves, to adopt some of them
//! as candidates, or to train candidates; each training is a [trial](crate::trial) in a process of its own. What was found
//! out is in files, so resuming is doing the same again and finding most of it done.
//!
//! ```text
//! DIR/spec.toml, command.json, data.txt, parallel.json     as run, and on what
//! DIR/seed0/start.safetensors                              the start, where it is a file
//! DIR/seed0/moves/c000.json                                how a candidate could grow, with scores and plans
//! DIR/seed0/inputs/c001-r0/                                what a trial reads: trial.toml, start.safetensors, plan.json
//! DIR/seed0/trials/c001-r0/                                what it leaves
//! DIR/seed0/winners/c001/                                  the front: model.onnx, model.safetensors, plan-1.json, …
//! DIR/exploration.json, explore.html                       everything that was measured, and the page
//! ```

mod error;
mod figures;
mod moves;
pub(crate) mod page;
mod parallel;
mod propose;
mod record;
mod run;
mod score;
mod seed;
mod spec;
mod state;
mod strategy;
mod winners;

pub use error::ExploreError;
pub use figures::{Correlation, spearman};
pub use moves::{Move, fingerprint, moves};
pub use page::{front_table, saved};
pub(crate) use parallel::context;
pub(crate) use propose::{Asked, propose};
pub use record::{CandidateRecord, Control, Exploration, SeedRecord, TrialRecord};
pub use run::{Ended, Options, PAGE_FILE, RECORD_FILE, Watcher, explore, rerender};
pub use score::first_order_gain;
pub use spec::{
    Budget, Cost, ExploreSpec, Limits, MoveSpec, ObjectiveSpec, Search, Select, StartNetwork,
};
pub use state::{Candidate, Outcome, Proposal, Spent, State};
pub use strategy::{Adoption, Next, next};
pub(crate) use winners::link;
