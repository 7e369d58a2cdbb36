//! Growth as data: what to widen and where to insert, before anything is touched.
//!
//! A plan names spaces and values of the graph whose hash it carries. It serialises to JSON,
//! can be read, and replays on any checkpoint of that graph: weights, moving averages and
//! optimizer moments.

mod deepen;
mod limits;
mod widen;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use deepen::{deepen, deepenable, measure};
pub use limits::{MAX_MAPPED, MAX_PARAMETERS, MAX_UNITS, check_sizes};
pub use widen::{Mapping, Symmetry, widen};

use crate::dims::Refusal;

/// The version of the plan format.
pub const PLAN_VERSION: u32 = 1;

/// A growth of one graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// [`crate::graph::Graph::hash`] of the graph that grows.
    pub parent: String,
    /// The seed that its random choices were drawn with.
    pub seed: u64,
    /// What to do, in this order; each step names what the one before left.
    pub steps: Vec<Step>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// More units in a space.
    Widen(Widen),
    /// One more layer.
    Insert(Insert),
}

/// More units in a space, each a copy of one that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Widen {
    /// The space's name.
    pub space: String,
    /// For each new unit, the old one that it copies; every old one has a copy.
    pub source: Vec<u32>,
    /// What each new unit's readers keep of the original's weight; copies of one sum to 1.
    pub shares: Vec<f64>,
    /// Noise on top, if wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
}

/// Noise that makes copies part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Where it goes.
    pub kind: NoiseKind,
    /// Its standard deviation, in units of the parameter's root mean square.
    pub std: f64,
    /// The seed that it is drawn with.
    pub seed: u64,
}

/// Where noise goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseKind {
    /// On what reads the copies, summing to zero over each unit's copies: exact.
    ZeroSum,
    /// On the weights that produce the added copies, as in the paper (section 2.3): not exact.
    Incoming,
}

/// One more layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Insert {
    /// The value that the layer reads; whoever read that value reads the layer instead.
    pub after: String,
    /// What the names of the layer and its parameters begin with.
    pub name: String,
    /// What it is.
    pub layer: Layer,
}

/// The layers that can be inserted without a change of the function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layer {
    /// An identity and the same activation once more, after an idempotent activation.
    Identity {
        /// Height and width of the filter, both odd; ignored after a linear layer.
        kernel: [usize; 2],
        /// A batch normalisation that undoes its own measured statistics.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        norm: Option<UndoneNorm>,
    },
    /// `x + B·f(A·x)` with B zero and A drawn at random, after any activation f.
    Residual {
        /// Height and width of the filters, both odd; ignored after a linear layer.
        kernel: [usize; 2],
        /// Whether a batch normalisation stands before f.
        norm: bool,
        /// The seed that A is drawn with.
        seed: u64,
    },
    /// A linear layer W becomes I·W, with nothing between.
    Factor {
        /// Height and width of the filter, both odd; ignored after a linear layer.
        kernel: [usize; 2],
    },
}

/// Measured statistics that a new batch normalisation undoes: scale √(var + eps), shift mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoneNorm {
    /// The mean of each channel over the measured samples.
    pub mean: Vec<f64>,
    /// The variance of each channel.
    pub variance: Vec<f64>,
    /// Added to the variance.
    pub epsilon: f64,
    /// The share of the old running statistics that stays in each step.
    pub momentum: f64,
}

/// Why a plan cannot be made or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Something cannot grow.
    #[error("{0}")]
    Refused(Refusal),
    /// The text is not a plan.
    #[error("this is not a plan: {0}")]
    Json(#[from] serde_json::Error),
    /// A plan of another version of the format.
    #[error("the plan has format version {found}, and this program reads version {PLAN_VERSION}")]
    Version {
        /// In the file.
        found: u32,
    },
    /// Statistics could not be measured.
    #[error(transparent)]
    Measure(#[from] crate::engine::CompileError),
}

impl From<Refusal> for PlanError {
    fn from(refusal: Refusal) -> Self {
        PlanError::Refused(refusal)
    }
}

impl Plan {
    /// A plan of given steps for a graph.
    pub fn new(graph: &crate::graph::Graph, seed: u64, steps: Vec<Step>) -> Plan {
        Plan {
            version: PLAN_VERSION,
            parent: graph.hash(),
            seed,
            steps,
        }
    }

    /// The plan as JSON that a person can read.
    pub fn to_json(&self) -> Result<String, PlanError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Reads a plan; whether it fits a graph is for [`crate::apply::apply`] to say.
    pub fn from_json(text: &str) -> Result<Plan, PlanError> {
        let plan: Plan = serde_json::from_str(text)?;
        if plan.version != PLAN_VERSION {
            return Err(PlanError::Version {
                found: plan.version,
            });
        }
        Ok(plan)
    }

    /// Whether the grown network computes the same up to rounding.
    pub fn is_exact(&self) -> bool {
        self.steps.iter().all(|step| match step {
            Step::Widen(widen) => {
                !matches!(widen.noise, Some(Noise { kind: NoiseKind::Incoming, std, .. }) if std > 0.0)
            }
            Step::Insert(_) => true,
        })
    }

    /// One line a step, for people.
    pub fn describe(&self) -> Vec<String> {
        self.steps.iter().map(Step::describe).collect()
    }
}

impl Step {
    /// The step in a line.
    pub fn describe(&self) -> String {
        match self {
            Step::Widen(widen) => {
                let old = widen.source.iter().max().map_or(0, |s| s.saturating_add(1));
                let noise = match widen.noise {
                    Some(Noise {
                        kind: NoiseKind::ZeroSum,
                        std,
                        ..
                    }) => {
                        format!(", zero-sum noise of {std}")
                    }
                    Some(Noise {
                        kind: NoiseKind::Incoming,
                        std,
                        ..
                    }) => {
                        format!(", incoming noise of {std} (not exact)")
                    }
                    None => String::new(),
                };
                format!(
                    "widen {} from {old} to {}{noise}",
                    widen.space,
                    widen.source.len()
                )
            }
            Step::Insert(Insert { after, name, layer }) => {
                let what = match layer {
                    Layer::Identity { norm: Some(_), .. } => "identity, batch norm and activation",
                    Layer::Identity { norm: None, .. } => "identity and activation",
                    Layer::Residual { .. } => "residual block that starts at zero",
                    Layer::Factor { .. } => "linear factor",
                };
                format!("insert {name} after {after}: {what}")
            }
        }
    }
}
