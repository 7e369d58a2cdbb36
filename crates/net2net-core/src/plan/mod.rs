//! Growth as data: what to widen and where to insert, before anything is touched.
//!
//! A plan names spaces and values of the graph whose hash it carries. It serialises to JSON,
//! can be read, and replays on any checkpoint of that graph: weights, moving averages and
//! optimizer moments.

mod block;
mod deepen;
mod describe;
mod layer;
mod limits;
mod pad;
mod padding;
mod region;
mod structure;
mod survey;
mod widen;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use block::copied;
pub use block::{Block, blocks, copy_block};
pub(crate) use deepen::{Deeper, beside, deeper, measured};
pub use deepen::{branch, deepen, deepenable, is_rectified, measure, toppable};
pub use layer::{Insert, Layer, UndoneNorm};
pub use limits::{MAX_MAPPED, MAX_NOISE, MAX_PARAMETERS, MAX_UNITS, Room, check_room, check_sizes};
pub(crate) use pad::paddable;
pub use pad::{Fill, Pad, fill, pad};
pub(crate) use padding::{Padded, Padding, Slices};
pub(crate) use region::Region;
pub use structure::{Enlarge, Extend, Join, classes, enlarge, features, join};
pub(crate) use survey::Survey;
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
    /// Units that are no copies.
    Extend(Extend),
    /// A larger filter.
    Enlarge(Enlarge),
    /// One more branch of a concatenation.
    Join(Join),
    /// More units in a space that is normalised over.
    Pad(Pad),
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
            _ => true,
        })
    }

    /// One line a step, for people.
    pub fn describe(&self) -> Vec<String> {
        self.steps.iter().map(Step::describe).collect()
    }
}
