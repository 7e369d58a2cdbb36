//! Everything that an exploration measured.

use serde::{Deserialize, Serialize};

use super::figures::{BetweenRungs, Prediction};
use super::spec::Cost;
use super::state::Spent;
use crate::report::Metric;

/// What `exploration.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exploration {
    /// The page's title.
    pub title: String,
    /// The version of net2net.
    pub version: String,
    /// The processor and operating system.
    pub machine: String,
    /// Threads in all.
    pub threads: usize,
    /// Trials side by side, among which they are divided.
    pub parallel: usize,
    /// What the networks were trained and validated on.
    pub data: String,
    /// The specification, verbatim.
    pub spec_toml: String,
    /// The command that repeats it.
    pub command: String,
    /// What accuracy was weighed against.
    pub cost: Cost,
    /// Each seed's search.
    pub seeds: Vec<SeedRecord>,
}

/// The search of one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedRecord {
    /// The seed.
    pub seed: u64,
    /// The candidates; the first one is the start.
    pub candidates: Vec<CandidateRecord>,
    /// What it cost, the control not counted.
    pub spent: Spent,
    /// Architectures that were trained, the start not counted.
    pub architectures: usize,
    /// Proposals that were left out because a candidate has their architecture.
    pub duplicates: usize,
    /// Which budget ended it, if one did: `seconds`, `FLOPs` or `trials`.
    pub stopped_by: Option<String>,
    /// Candidates that nothing as cheap beats, the best first.
    pub front: Vec<usize>,
    /// How far the score told the gain, for each parent.
    pub predictions: Vec<Prediction>,
    /// How far one rung told the next.
    pub rungs: Vec<BetweenRungs>,
    /// The best architecture from scratch.
    pub control: Option<Control>,
}

/// A network that was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateRecord {
    /// The candidate that it grew from.
    pub parent: Option<usize>,
    /// Its generation.
    pub generation: usize,
    /// The move, `train on`, or `start`.
    pub name: String,
    /// The plan, one line a step, for people.
    pub steps: Vec<String>,
    /// The first-order gain.
    pub score: Option<f64>,
    /// Numbers of the network.
    pub parameters: u64,
    /// Operations of one sample.
    pub flops: u64,
    /// Milliseconds of one sample, if they mattered.
    pub latency_ms: Option<f64>,
    /// The accuracy at the last rung.
    pub accuracy: Option<f64>,
    /// Its trials, a rung each.
    pub trials: Vec<TrialRecord>,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// The rung.
    pub rung: usize,
    /// The accuracy at its end.
    pub accuracy: Option<f64>,
    /// The loss at its end.
    pub loss: Option<f64>,
    /// Seconds of training.
    pub training_seconds: f64,
    /// Operations of training.
    pub training_flops: f64,
    /// Why there is no accuracy: it diverged, or failed.
    pub fault: Option<String>,
    /// The largest relative difference in f64 that growth made, where there was growth.
    pub proof: Option<f64>,
    /// The evaluations in the order of time.
    pub metrics: Vec<Metric>,
}

/// The best architecture, trained from scratch for what the best network's ancestry cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The candidate with that architecture.
    pub candidate: usize,
    /// The accuracy of the grown network.
    pub grown: f64,
    /// Operations of training of all its ancestry.
    pub ancestry_flops: f64,
    /// Seconds of the same.
    pub ancestry_seconds: f64,
    /// Whether its ancestry begins with a network that was trained elsewhere, at a cost that is not known here.
    #[serde(default)]
    pub given: bool,
    /// The epochs from scratch that cost as many operations.
    pub epochs: f64,
    /// The accuracy from scratch; none if it failed.
    pub scratch: Option<f64>,
    /// Seconds from scratch.
    pub scratch_seconds: f64,
    /// Operations after which scratch was as good as the grown network, if it ever was.
    pub reached_flops: Option<f64>,
    /// The evaluations from scratch.
    pub metrics: Vec<Metric>,
}
