//! The specification of a comparison, as TOML.

use std::path::PathBuf;

use net2net_core::request::Request;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::data::{DataError, Dataset, Splits, fashion_mini, idx_folder};
use crate::models::ModelSpec;
use crate::report::Kind;
use crate::train::{Recipe, RecipeError};

/// The spec that runs when none is given.
const DEFAULT: &str = include_str!("default.toml");

/// A comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The report's title.
    pub title: String,
    /// The seeds; each repeats everything.
    pub seeds: Vec<u64>,
    /// The images.
    pub data: DataSpec,
    /// The network that everything starts from.
    pub teacher: TeacherSpec,
    /// How it grows, in the order of the report.
    pub growth: Vec<GrowthSpec>,
    /// How students train.
    pub student: StudentSpec,
}

/// The images of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// A folder of IDX files; without it the embedded Fashion-MNIST subset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// How many training images are used, balanced over classes; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<usize>,
    /// How many validation images are used, balanced over classes; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
}

/// The teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherSpec {
    /// Its architecture.
    pub model: ModelSpec,
    /// How it trains.
    pub recipe: Recipe,
    /// Whether students grow from the end of its stable phase (a schedule with one is needed), as
    /// from a trunk, and the teacher's own decay is a branch; else from its end.
    #[serde(default)]
    pub grow_from_trunk: bool,
}

/// One growth of the teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowthSpec {
    /// `wider`, `deeper`, `both` or any other name of letters, digits, `-` and `_`.
    pub name: String,
    /// What grows.
    pub grow: Request,
}

/// The students.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentSpec {
    /// How Net2Net, padded and re-initialised students and the continued teacher train.
    pub recipe: Recipe,
    /// How the student's architecture trains from scratch; by default like the students.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Recipe>,
    /// Whether Net2Net takes the optimizer's moments along, grown with the weights.
    #[serde(default = "yes")]
    pub keep_moments: bool,
    /// The kinds that run beside Net2Net.
    #[serde(default = "every_baseline")]
    pub baselines: Vec<Baseline>,
}

fn yes() -> bool {
    true
}

/// A way of training that Net2Net is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The student's architecture from random weights.
    Scratch,
    /// New units or layers at random: random pad for width, random initialization for depth.
    Random,
    /// More than half of the layers drawn anew.
    Reinit,
    /// The teacher trained on.
    Continued,
}

fn every_baseline() -> Vec<Baseline> {
    vec![
        Baseline::Scratch,
        Baseline::Random,
        Baseline::Reinit,
        Baseline::Continued,
    ]
}

/// Why a spec cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Not TOML, or not of this form.
    #[error("the spec is not valid: {0}")]
    Toml(#[from] toml::de::Error),
    /// A setting of no sense.
    #[error("the spec's {0}")]
    Setting(String),
    /// A hyperparameter of no sense.
    #[error("the spec's {whose} recipe: {source}")]
    Recipe {
        /// Whose, such as `teacher` or `student`.
        whose: &'static str,
        /// What is wrong.
        source: RecipeError,
    },
}

impl Spec {
    /// Reads and checks a spec.
    pub fn from_toml(text: &str) -> Result<Spec, SpecError> {
        let spec: Spec = toml::from_str(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// The embedded default.
    pub fn embedded() -> Result<Spec, SpecError> {
        Spec::from_toml(DEFAULT)
    }

    /// The spec as TOML.
    pub fn to_toml(&self) -> Result<String, SpecError> {
        toml::to_string_pretty(self)
            .map_err(|error| SpecError::Setting(format!("settings cannot be written: {error}")))
    }

    /// A run of seconds that goes through every part: fewer images, a fraction of an epoch.
    pub fn quick(&mut self) {
        self.title = format!("{} (quick)", self.title);
        self.data.train = Some(self.data.train.unwrap_or(usize::MAX).min(1000));
        self.data.validation = Some(self.data.validation.unwrap_or(usize::MAX).min(500));
        let recipes = [&mut self.teacher.recipe, &mut self.student.recipe];
        for recipe in recipes.into_iter().chain(&mut self.student.scratch) {
            recipe.epochs = recipe.epochs.min(2.0);
            recipe.warmup_epochs = recipe.warmup_epochs.min(recipe.epochs / 4.0);
        }
    }

    /// The seeds `first, first + 1, …`, `count` of them.
    pub fn set_seed_count(&mut self, count: u64) {
        let first = self.seeds.first().copied().unwrap_or(0);
        self.seeds = (first..first + count).collect();
    }

    /// Refuses settings that make no sense.
    pub fn check(&self) -> Result<(), SpecError> {
        let setting = |why: String| Err(SpecError::Setting(why));
        if self.seeds.is_empty() {
            return setting("`seeds` is empty; give at least one".to_owned());
        }
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        if seeds.len() < self.seeds.len() {
            return setting("`seeds` names a seed twice".to_owned());
        }
        if self.growth.is_empty() {
            return setting("`growth` is empty; give at least one [[growth]]".to_owned());
        }
        for (index, growth) in self.growth.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if growth.name.is_empty() || !growth.name.chars().all(plain) {
                return setting(format!(
                    "growth name {:?} is also a folder's: letters, digits, - and _ only",
                    growth.name
                ));
            }
            if self.growth[..index]
                .iter()
                .any(|other| other.name == growth.name)
            {
                return setting(format!("growth {:?} is there twice", growth.name));
            }
            if growth.grow.widen.is_none() && growth.grow.deepen.is_empty() {
                return setting(format!(
                    "growth {:?} asks for nothing; give `widen` or `deepen`",
                    growth.name
                ));
            }
        }
        let trunk = self.teacher.recipe.schedule.trunk_end(1, 0);
        if self.teacher.grow_from_trunk && trunk.is_none() {
            return setting(
                "`grow_from_trunk` needs a teacher whose schedule is warmup-stable-decay"
                    .to_owned(),
            );
        }
        for (whose, recipe) in [
            ("teacher", Some(&self.teacher.recipe)),
            ("student", Some(&self.student.recipe)),
            ("scratch", self.student.scratch.as_ref()),
        ] {
            if let Some(recipe) = recipe {
                recipe
                    .check()
                    .map_err(|source| SpecError::Recipe { whose, source })?;
            }
        }
        Ok(())
    }
}

impl super::directory::Stated for Spec {
    const WHAT: &'static str = "comparison";

    fn from_toml(text: &str) -> Result<Spec, SpecError> {
        Spec::from_toml(text)
    }

    fn to_toml(&self) -> Result<String, SpecError> {
        Spec::to_toml(self)
    }
}

impl DataSpec {
    /// Loads the images; subsets are drawn with `seed`.
    pub fn load(&self, seed: u64) -> Result<Splits, DataError> {
        let splits = match &self.folder {
            Some(folder) => idx_folder(folder)?,
            None => fashion_mini()?,
        };
        let some = |data: Dataset, count: Option<usize>| match count {
            Some(count) if count < data.len() => data.take_balanced(count, seed),
            _ => Ok(data),
        };
        Splits::new(
            some(splits.train, self.train)?,
            some(splits.validation, self.validation)?,
        )
    }
}

impl Baseline {
    /// The kind of run that it is for a growth.
    pub(super) fn kind(self, growth: &GrowthSpec) -> Kind {
        match self {
            Baseline::Scratch => Kind::Scratch,
            Baseline::Random if growth.grow.widen.is_some() => Kind::RandomPad,
            Baseline::Random => Kind::RandomInit,
            Baseline::Reinit => Kind::Reinit,
            Baseline::Continued => Kind::Continued,
        }
    }
}
