//! What a trial trains, and how.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::compare::{DataSpec, SpecError, Stated};
use crate::models::ModelSpec;
use crate::train::Recipe;
use crate::trial::ShrinkPerturb;

/// The spec that is printed when none is given.
const DEFAULT: &str = include_str!("default.toml");

/// A trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialSpec {
    /// The seed of fresh weights, of the order of the images, and of dropout.
    #[serde(default)]
    pub seed: u64,
    /// Threads; by default all. Results depend on them to the last bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Whether the time of one sample is measured at the end.
    #[serde(default)]
    pub latency: bool,
    /// The images.
    pub data: DataSpec,
    /// The network before the first step.
    pub start: StartSpec,
    /// How it trains.
    pub recipe: Recipe,
}

/// The network before the first step: an architecture with fresh weights, or a file; and what makes it grow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartSpec {
    /// An ONNX file, or a safetensors file that net2net wrote; relative to the spec's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Plans by which it grows, one after another; relative to the spec's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<PathBuf>,
    /// Where its numbers come from.
    #[serde(default)]
    pub weights: StartWeights,
    /// Whether the optimizer's moments of the file are taken along, grown with the weights.
    #[serde(default = "yes")]
    pub keep_moments: bool,
    /// Whether weights are shrunk towards nothing and mixed with fresh ones, after all plans; the optimizer's moments go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrink_perturb: Option<ShrinkPerturb>,
    /// An architecture with fresh weights, in place of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSpec>,
}

fn yes() -> bool {
    true
}

/// Where the numbers of a network come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartWeights {
    /// The file's, grown by the plans; fresh where there is no file.
    #[default]
    Kept,
    /// Drawn anew for the architecture that the plans lead to.
    Fresh,
}

impl TrialSpec {
    /// The embedded example.
    pub fn embedded() -> Result<TrialSpec, SpecError> {
        TrialSpec::from_toml(DEFAULT)
    }

    /// Refuses settings that make no sense.
    pub fn check(&self) -> Result<(), SpecError> {
        self.start.check()?;
        if self.threads.is_some_and(|threads| threads == 0) {
            return Err(SpecError::Setting("`threads` must be 1 or more".to_owned()));
        }
        self.recipe.check().map_err(|source| SpecError::Recipe {
            whose: "trial's",
            source,
        })
    }
}

impl StartSpec {
    /// Refuses what names no network, or two.
    pub fn check(&self) -> Result<(), SpecError> {
        match (&self.model, &self.file) {
            (Some(_), None) | (None, Some(_)) => {}
            _ => {
                return Err(SpecError::Setting(
                    "`start` must name either a `model` or a `file`".to_owned(),
                ));
            }
        }
        self.shrink_perturb
            .as_ref()
            .map_or(Ok(()), ShrinkPerturb::check)
    }
}

impl Stated for TrialSpec {
    const WHAT: &'static str = "trial";

    fn from_toml(text: &str) -> Result<TrialSpec, SpecError> {
        let spec: TrialSpec = toml::from_str(text)?;
        spec.check()?;
        Ok(spec)
    }

    fn to_toml(&self) -> Result<String, SpecError> {
        toml::to_string_pretty(self)
            .map_err(|error| SpecError::Setting(format!("settings cannot be written: {error}")))
    }

    fn data_mut(&mut self) -> &mut DataSpec {
        &mut self.data
    }
}
