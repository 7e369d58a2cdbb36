//! `net2net evolve`: the life of a model as its data grow.
//!
//! A model lives in a [`Home`]. When data arrive, a [`step`] trains the *trunk* on, in the stable phase of its learning rate,
//! with old data beside the new; grows it first if its capacity is the limit; and makes a *release*, a short decay on a branch.
//! The release replaces the *champion* only if it is surely better on images that nothing was chosen by, and loses nowhere.
//! What happened, and why, is in the store.
//!
//! Training is done by [trials](crate::trial), processes of their own. What a step comes to follows from files and the store,
//! so that going on after an interruption is doing the step again and finding most of it done; one transaction ends it.
//!
//! ```text
//! HOME/spec.toml                                   the settings
//! HOME/store.sqlite                                versions, snapshots, steps, decisions, events
//! HOME/objects/ab/abcd….safetensors, .onnx, .pack  networks and images, by the SHA-256 of their bytes
//! HOME/champion.safetensors, .onnx, .json          the champion, each whole at any moment
//! HOME/events.jsonl, evolve.html                   what happened, for programs and for people
//! HOME/steps/0003/data/                            what a step learns from: mixture.json and its packs
//! HOME/steps/0003/inputs/release/                  what a trial reads: trial.toml, start.safetensors, plans
//! HOME/steps/0003/trials/release/                  what it leaves
//! ```

mod against;
mod arrival;
mod error;
mod grow;
mod home;
mod judge;
mod life;
mod objects;
mod page;
mod publish;
mod run;
mod samples;
mod spec;
mod store;
mod trials;
mod work;

pub use against::{Against, AgainstSpec, Scratch, ScratchSpec, Slice, lay_out_scratch};
pub use error::EvolveError;
pub use home::Home;
pub use life::{Life, export, life, rollback};
pub use page::{against_page, against_table, history_table};
pub use publish::{CHAMPION_CARD, CHAMPION_FILE, CHAMPION_ONNX, EVENTS_FILE, PAGE_FILE};
pub use run::{Options, Stepped, run, said, step};
pub use spec::{Arrival, EvolveSpec, GrowthSettings, Hooks, Promotion, StartNetwork};
pub use store::{
    Decision, Event, GrowthRecord, Judgement, ProbeRecord, Scores, Snapshot, SnapshotRecord, Step,
    Version, VersionRecord,
};
