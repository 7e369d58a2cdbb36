//! What the tables hold, as types.

use serde::{Deserialize, Serialize};

use crate::report::Metric;

/// Data that arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its number, from 1.
    pub id: i64,
    /// What it is called: a slice, a folder, a time.
    pub name: String,
    /// When it arrived, in seconds since 1970.
    pub at: f64,
    /// The hash of the pack of images to learn from.
    pub train: String,
    /// The hash of the pack of images to judge by.
    pub validation: Option<String>,
    /// What is known of it.
    pub record: SnapshotRecord,
    /// Whether it is no longer used.
    pub dropped: bool,
}

/// What is known of data that arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Rows, columns and channels of an image.
    pub shape: [usize; 3],
    /// Images to learn from.
    pub train: usize,
    /// Images to judge by.
    pub validation: usize,
    /// All classes that are known after it, in the order of the outputs.
    pub classes: Vec<String>,
    /// Those that were not known before.
    pub new_classes: Vec<String>,
    /// What was passed over, for people.
    pub notes: Vec<String>,
}

/// A file that a snapshot was made of.
#[derive(Clone, Debug)]
pub(in super::super) struct ArrivedFile {
    pub(in super::super) sha256: String,
    pub(in super::super) name: String,
    pub(in super::super) bytes: u64,
}

/// What is or was done about a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its number, from 1.
    pub id: i64,
    /// The snapshot.
    pub snapshot: i64,
    /// The version whose trunk it goes on from; none where it begins anew.
    pub head: Option<i64>,
    /// The spec as it was then.
    pub settings: String,
    /// When it began, in seconds since 1970.
    pub begun: f64,
    /// When it ended; none while it is under way.
    pub ended: Option<f64>,
}

/// A network that was trained to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Its number, from 1.
    pub id: i64,
    /// The step that made it.
    pub step: i64,
    /// The version whose trunk it goes on from.
    pub parent: Option<i64>,
    /// When it was made, in seconds since 1970.
    pub at: f64,
    /// The hash of the release.
    pub model: String,
    /// The hash of the same as ONNX.
    pub onnx: Option<String>,
    /// The hash of the trunk.
    pub trunk: String,
    /// The hash of the list of samples that it was trained on.
    pub samples: String,
    /// The trial's spec.
    pub trial: String,
    /// What is known of it.
    pub record: VersionRecord,
}

/// What is known of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// How it grew from its parent, in words; empty if it did not.
    pub grew: Vec<String>,
    /// The hashes of the plans by which it grew, in their order.
    pub plans: Vec<String>,
    /// Numbers of the network.
    pub parameters: u64,
    /// FLOPs of one sample.
    pub flops: u64,
    /// Milliseconds of one sample, if they matter.
    pub latency_ms: Option<f64>,
    /// The snapshots that were new to it: that of its step, and those that its ancestors did not learn from.
    pub snapshots: Vec<i64>,
    /// New samples of its step.
    pub new_samples: usize,
    /// Old ones that were replayed.
    pub replayed: usize,
    /// Seconds of its step's trials, probes included.
    pub seconds: f64,
    /// FLOPs of the same.
    pub training_flops: f64,
    /// Whether and how growth was probed.
    pub growth: Option<GrowthRecord>,
    /// What it was found to be worth.
    pub judgement: Judgement,
    /// The evaluations of its training.
    pub metrics: Vec<Metric>,
}

/// How it was decided whether to grow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrowthRecord {
    /// The share by which the training loss fell in the probe of plain continuation; none where it could not be seen.
    pub fall: Option<f64>,
    /// The probes, that of plain continuation first.
    pub probes: Vec<ProbeRecord>,
    /// Which of them was gone on with.
    pub chosen: usize,
}

/// A short training, to see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// The move, or `train on`.
    pub name: String,
    /// The first-order gain of the move.
    pub score: Option<f64>,
    /// Numbers of the network.
    pub parameters: u64,
    /// The loss on the images for selection at its end.
    pub loss: Option<f64>,
    /// The accuracy on the same.
    pub accuracy: Option<f64>,
    /// Why there is none.
    pub fault: Option<String>,
}

/// What a network was found to be worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Images that judged.
    pub samples: usize,
    /// The hash of the list of them.
    pub list: String,
    /// How the network did.
    pub challenger: Scores,
    /// How the champion of that time did on the same images.
    pub champion: Option<Scores>,
    /// The difference of the accuracies, and the bounds below and above which it lies as surely as was asked for.
    pub difference: Option<[f64; 3]>,
}

/// How a network did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The share of all images that it classified correctly.
    pub accuracy: f64,
    /// The same of each class, in the order of the outputs; none of a class without images.
    pub classes: Vec<Option<f64>>,
    /// The same of each snapshot that brought images to judge by.
    pub snapshots: Vec<(i64, f64)>,
}

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its number, from 1.
    pub id: i64,
    /// When, in seconds since 1970.
    pub at: f64,
    /// The step, if it was one that decided.
    pub step: Option<i64>,
    /// The version that it is about.
    pub version: Option<i64>,
    /// What was to decide: `grow`, `promote`, `trunk` or `rollback`.
    pub what: String,
    /// What was decided: `yes` or `no`, or which version.
    pub outcome: String,
    /// Why.
    pub reason: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, from 1.
    pub id: i64,
    /// When, in seconds since 1970.
    pub at: f64,
    /// What: `created`, `arrived`, `promoted`, `kept`, `failed`, `rolled-back`, `hook`.
    pub kind: String,
    /// More of it.
    pub data: serde_json::Value,
}

/// A decision that is to be noted.
#[derive(Clone, Debug)]
pub(in super::super) struct NewDecision {
    pub(in super::super) what: &'static str,
    pub(in super::super) outcome: String,
    pub(in super::super) reason: String,
}

/// A version that is to be noted.
#[derive(Clone, Debug)]
pub(in super::super) struct NewVersion {
    pub(in super::super) model: String,
    pub(in super::super) onnx: Option<String>,
    pub(in super::super) trunk: String,
    pub(in super::super) samples: String,
    pub(in super::super) trial: String,
    pub(in super::super) record: VersionRecord,
}
