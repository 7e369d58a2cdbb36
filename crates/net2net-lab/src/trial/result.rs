//! The figures of a finished trial.

use net2net_core::verify::Evidence;
use serde::{Deserialize, Serialize};

use crate::report::Metric;

/// What `done.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialResult {
    /// The version of net2net.
    pub version: String,
    /// The seed.
    pub seed: u64,
    /// Threads that training used.
    pub threads: usize,
    /// What it was trained and validated on.
    pub data: String,
    /// The hash of the network's graph.
    pub graph: String,
    /// Numbers of the network, running statistics included.
    pub parameters: u64,
    /// FLOPs of the forward pass of one sample.
    pub flops: u64,
    /// Milliseconds of one sample on `threads`, if they were asked for.
    pub latency_ms: Option<f64>,
    /// Share of the validation data classified correctly at the end, 0 to 1; none if it diverged.
    pub accuracy: Option<f64>,
    /// Mean loss over the validation data at the end; none if it diverged.
    pub loss: Option<f64>,
    /// Seconds of training, evaluation excluded.
    pub training_seconds: f64,
    /// Seconds of the process that finished it, with reading, growing, proving and evaluating; or of training, where it was
    /// interrupted and these are more.
    pub seconds: f64,
    /// FLOPs of training, forward and backward.
    pub training_flops: f64,
    /// Steps of training.
    pub steps: u64,
    /// Why training ended early, if its loss ran away.
    pub diverged: Option<String>,
    /// Why there is no ONNX file, if there is none.
    pub no_onnx: Option<String>,
    /// Images that turned out to be broken, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
    /// The proof of each plan.
    pub evidence: Vec<Evidence>,
    /// The evaluations in the order of time.
    pub metrics: Vec<Metric>,
}
