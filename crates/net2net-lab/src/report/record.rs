//! What a comparison measured: the types that the runner fills and stores and that the report reads.

pub use net2net_core::verify::{Evidence, OutputEvidence};
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// The way a run came to its initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The small network that everything else starts from.
    Teacher,
    /// The teacher trained on for the students' budget, without growth.
    Continued,
    /// The student that computes the teacher's function at its first step.
    Net2net,
    /// The student's architecture trained from random weights.
    Scratch,
    /// The same for as many epochs as the students have.
    ScratchShort,
    /// Wider: the teacher's weights, with the new units random.
    RandomPad,
    /// Deeper: the teacher's weights, with the new layers random.
    RandomInit,
    /// The Net2Net student with more than half of its layers re-initialised, a random choice.
    Reinit,
    /// The same with the first layers.
    ReinitFirst,
    /// The same with the last layers.
    ReinitLast,
    /// From random weights, with the teacher's softened answers beside the labels.
    Distilled,
    /// From random weights, with hints first and distillation then.
    Hinted,
    /// Net2Net with the paper's noise and learning rate.
    Net2netPaper,
    /// Net2Net that widens in several steps.
    Net2netStages,
}

impl Kind {
    /// Every kind, in the order of tables and legends.
    pub const ALL: [Self; 14] = [
        Self::Teacher,
        Self::Net2net,
        Self::Net2netPaper,
        Self::Net2netStages,
        Self::Scratch,
        Self::ScratchShort,
        Self::Continued,
        Self::RandomPad,
        Self::RandomInit,
        Self::Reinit,
        Self::ReinitFirst,
        Self::ReinitLast,
        Self::Distilled,
        Self::Hinted,
    ];

    /// The kinds that are measured against [`Kind::Scratch`].
    pub const STUDENTS: [Self; 12] = [
        Self::Net2net,
        Self::Net2netPaper,
        Self::Net2netStages,
        Self::ScratchShort,
        Self::Continued,
        Self::RandomPad,
        Self::RandomInit,
        Self::Reinit,
        Self::ReinitFirst,
        Self::ReinitLast,
        Self::Distilled,
        Self::Hinted,
    ];

    /// Whether the run begins with a trained teacher, or learns from one, so that the teacher's training is a cost of its own.
    #[must_use]
    pub const fn owes_a_teacher(self) -> bool {
        !matches!(self, Self::Teacher | Self::Scratch | Self::ScratchShort)
    }

    /// The name that people read, as it stands at the start of a line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Teacher => "Teacher",
            Self::Continued => "Teacher continued",
            Self::Net2net => "Net2Net",
            Self::Scratch => "From scratch",
            Self::ScratchShort => "From scratch, short",
            Self::RandomPad => "Random pad",
            Self::RandomInit => "Random init",
            Self::Reinit => "Re-initialised",
            Self::ReinitFirst => "First half anew",
            Self::ReinitLast => "Last half anew",
            Self::Distilled => "Distilled",
            Self::Hinted => "Hints, distilled",
            Self::Net2netPaper => "Net2Net, as in 2016",
            Self::Net2netStages => "Net2Net, in stages",
        }
    }

    /// The name within a sentence, with its article where it needs one.
    #[must_use]
    pub const fn in_prose(self) -> &'static str {
        match self {
            Self::Teacher => "the teacher",
            Self::Continued => "the continued teacher",
            Self::Net2net => "Net2Net",
            Self::Scratch => "scratch",
            Self::ScratchShort => "scratch for the students' epochs",
            Self::RandomPad => "random padding",
            Self::RandomInit => "random initialisation of the new layers",
            Self::Reinit => "re-initialisation",
            Self::ReinitFirst => "re-initialisation of the first layers",
            Self::ReinitLast => "re-initialisation of the last layers",
            Self::Distilled => "distillation",
            Self::Hinted => "hint training",
            Self::Net2netPaper => "Net2Net with the paper's settings",
            Self::Net2netStages => "Net2Net in several steps",
        }
    }

    /// What the run is, in one sentence, for the notes on method.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Teacher => "The small network, trained from random weights.",
            Self::Continued => {
                "The same teacher trained on without growth: if this is as good, growth had nothing to add."
            }
            Self::Net2net => {
                "The grown student. At its first step it computes the teacher's function (see the proof), then it trains on."
            }
            Self::Scratch => {
                "The student's architecture trained from random weights: the reference of every speed-up."
            }
            Self::ScratchShort => {
                "The student's architecture trained from random weights for as many epochs as Net2Net has."
            }
            Self::RandomPad => {
                "The wider student with the teacher's weights where they fit and random weights in the new units."
            }
            Self::RandomInit => {
                "The deeper student with the teacher's weights and the new layers initialised at random."
            }
            Self::Reinit => {
                "The Net2Net student with more than half of its layers re-initialised, a random choice of them."
            }
            Self::ReinitFirst => {
                "The Net2Net student with more than half of its layers re-initialised: the first ones."
            }
            Self::ReinitLast => {
                "The Net2Net student with more than half of its layers re-initialised: the last ones."
            }
            Self::Distilled => {
                "The student's architecture from random weights, trained on the teacher's softened answers beside the \
                 labels (Hinton et al. 2015)."
            }
            Self::Hinted => {
                "The student's architecture from random weights, whose first half learns to foretell the teacher's \
                 middle layer before the whole is distilled (FitNets, Romero et al. 2015)."
            }
            Self::Net2netPaper => {
                "Net2Net with even shares, noise on the incoming weights and a tenth of the teacher's learning rate \
                 (Chen et al. 2016). Not exact."
            }
            Self::Net2netStages => {
                "Net2Net that widens in several steps by the same factor each, and trains between them. Each step is exact."
            }
        }
    }

    /// The name in files and in style sheets; the same as serde writes.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::Continued => "continued",
            Self::Net2net => "net2net",
            Self::Scratch => "scratch",
            Self::ScratchShort => "scratch-short",
            Self::RandomPad => "random-pad",
            Self::RandomInit => "random-init",
            Self::Reinit => "reinit",
            Self::ReinitFirst => "reinit-first",
            Self::ReinitLast => "reinit-last",
            Self::Distilled => "distilled",
            Self::Hinted => "hinted",
            Self::Net2netPaper => "net2net-paper",
            Self::Net2netStages => "net2net-stages",
        }
    }
}

/// One evaluation of a run, with what training had cost up to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The run's [`RunRecord::id`].
    pub run: String,
    /// The run's seed.
    pub seed: u64,
    /// Passes over the training data so far.
    pub epoch: f64,
    /// Optimizer steps so far; 0 is before the first.
    pub step: u64,
    /// Seconds of training so far; evaluation is excluded.
    pub seconds: f64,
    /// FLOPs of training so far, forward and backward.
    pub flops: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Mean loss over the training batches since the previous evaluation; none at step 0.
    pub train_loss: Option<f64>,
    /// Mean loss over the validation data; not a number where the run diverged.
    #[serde(deserialize_with = "null_as_nan")]
    pub validation_loss: f64,
    /// Share of the validation data classified correctly, 0 to 1.
    #[serde(deserialize_with = "null_as_nan")]
    pub validation_accuracy: f64,
    /// How far apart the copies of a grown network are: see [`crate::train::apart`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<f64>,
}

impl Metric {
    /// Whether a network did better here than there: by accuracy, or by loss where there is none.
    #[must_use]
    pub fn is_better_than(&self, other: &Metric) -> bool {
        match self.validation_accuracy.is_nan() {
            true => self.validation_loss < other.validation_loss,
            false => self.validation_accuracy > other.validation_accuracy,
        }
    }
}

/// JSON has no NaN and serde_json writes null for it; a diverged run must still be readable.
fn null_as_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// A layer of an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRow {
    /// The name, unique within the architecture; a grown layer keeps its name.
    pub name: String,
    /// The operator with what tells it from others of its sort, such as `conv 3x3`.
    pub operator: String,
    /// The shape of the output for one sample, as people write it.
    pub output_shape: String,
    /// Trainable numbers.
    pub parameters: u64,
}

/// A network as a list of layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// In the order of the computation.
    pub layers: Vec<LayerRow>,
    /// Trainable numbers of the whole network.
    pub parameters: u64,
    /// FLOPs of the forward pass of one sample.
    pub flops_per_sample: u64,
}

/// One training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Unique within the comparison, such as `seed0/wider/net2net`.
    pub id: String,
    /// The growth's name; none for the teacher and the teacher continued.
    pub growth: Option<String>,
    /// How the run came to its initial weights.
    pub kind: Kind,
    /// The seed of the weights, of the order of the data, and of the growth.
    pub seed: u64,
    /// Trainable numbers.
    pub parameters: u64,
    /// FLOPs of the forward pass of one sample.
    pub flops_per_sample: u64,
    /// The evaluations in the order of time.
    pub metrics: Vec<Metric>,
    /// Why the run was stopped early, if its loss ran away.
    pub diverged: Option<String>,
}

/// A growth of the teacher, the same for every seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrowthRecord {
    /// "wider", "deeper" or "both".
    pub name: String,
    /// The plan, one line a step, for people.
    pub description: Vec<String>,
    /// The proof of each seed.
    pub evidence: Vec<(u64, Evidence)>,
    /// The network after growth.
    pub student: Architecture,
}

/// Everything that one `net2net compare` measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The report's title.
    pub title: String,
    /// The version of net2net.
    pub version: String,
    /// The processor and operating system.
    pub machine: String,
    /// Threads that training used.
    pub threads: usize,
    /// Every seed of the comparison.
    pub seeds: Vec<u64>,
    /// What the networks were trained and validated on.
    pub data: String,
    /// The experiment's specification, verbatim.
    pub spec_toml: String,
    /// The command that repeats the comparison.
    pub command: String,
    /// The network before growth.
    pub teacher: Architecture,
    /// The growths, in the order of the report.
    pub growths: Vec<GrowthRecord>,
    /// Every run of every seed.
    pub runs: Vec<RunRecord>,
    /// The folders of seeds that do not lie beside the report, as seen from it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<u64, String>,
}

impl Comparison {
    /// The run of a kind and a seed; `growth` is ignored for the teacher and the teacher continued,
    /// and a growth without scratch runs has those of [`Comparison::scratch_of`].
    #[must_use]
    pub fn run(&self, growth: &str, kind: Kind, seed: u64) -> Option<&RunRecord> {
        let growth = match kind {
            Kind::Scratch => self.scratch_of(growth),
            _ => growth,
        };
        self.runs
            .iter()
            .find(|run| run.seed == seed && run.belongs_to(growth, kind))
    }

    /// The address of a file of a seed, as seen from the report.
    #[must_use]
    pub fn address(&self, seed: u64, file: &str) -> String {
        match self.places.get(&seed) {
            Some(place) => format!("{place}/{file}"),
            None => file.to_owned(),
        }
    }

    /// The growth whose scratch runs serve a growth: its own, or those of one that makes the same
    /// architecture, since they would be the same runs.
    #[must_use]
    pub fn scratch_of<'a>(&'a self, growth: &'a str) -> &'a str {
        let student = |name: &str| {
            self.growths
                .iter()
                .find(|g| g.name == name)
                .map(|g| &g.student)
        };
        let ran = |name: &str| {
            self.runs
                .iter()
                .any(|run| run.belongs_to(name, Kind::Scratch))
        };
        if ran(growth) {
            return growth;
        }
        let names = self.growths.iter().map(|growth| growth.name.as_str());
        let mut alike = names.filter(|name| ran(name) && student(name) == student(growth));
        alike.next().unwrap_or(growth)
    }

    /// The runs of a kind over all seeds; `growth` as in [`Comparison::run`].
    pub fn runs_of<'a>(
        &'a self,
        growth: &'a str,
        kind: Kind,
    ) -> impl Iterator<Item = &'a RunRecord> {
        let growth = match kind {
            Kind::Scratch => self.scratch_of(growth),
            _ => growth,
        };
        self.runs.iter().filter(move |r| r.belongs_to(growth, kind))
    }
}

impl RunRecord {
    /// Teacher and continued teacher serve every growth; a student serves its own.
    fn belongs_to(&self, growth: &str, kind: Kind) -> bool {
        let shared = matches!(kind, Kind::Teacher | Kind::Continued);
        self.kind == kind && (shared || self.growth.as_deref() == Some(growth))
    }
}
