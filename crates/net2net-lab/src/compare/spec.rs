//! The specification of a comparison, as TOML.

use std::path::PathBuf;

use net2net_core::io::folder_of;
use net2net_core::request::Request;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::baseline::{self, Baseline};
use super::policy::{Moments, Rate};
use crate::data::{
    DataError, Dataset, Mixture, Normalization, Opened, SourceOptions, Splits, fashion_mini, open,
};
use crate::models::ModelSpec;
use crate::train::{Recipe, RecipeError, TrainingData};

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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSpec {
    /// A folder or archive of images, relative to the spec's own file: see [`open`]. Without it the
    /// embedded Fashion-MNIST subset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// A mixture, relative to the spec's own file, in place of a folder: see [`Mixture`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixture: Option<PathBuf>,
    /// How many training images are used, balanced over classes; by default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<usize>,
    /// How many validation images are used, balanced over classes; by default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
    /// How the folder is read.
    #[serde(skip_serializing_if = "is_default")]
    pub read: SourceOptions,
    /// What images are normalised by; by default it is measured on the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Normalization>,
}

fn is_default(options: &SourceOptions) -> bool {
    *options == SourceOptions::default()
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
    /// Settings of its own: several growths that differ in these alone are a table of variants.
    #[serde(default, skip_serializing_if = "Variant::is_none")]
    pub student: Variant,
}

/// The students.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentSpec {
    /// How Net2Net, padded and re-initialised students and the continued teacher train.
    pub recipe: Recipe,
    /// How those train that begin with random weights: scratch (the short one for fewer epochs), distilled and hinted students; by
    /// default like the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Recipe>,
    /// The learning rate after growth, of all that begin with the teacher's weights.
    #[serde(default)]
    pub rate: Rate,
    /// What Net2Net takes along of the optimizer's moments.
    #[serde(default)]
    pub moments: Moments,
    /// What runs beside Net2Net.
    #[serde(default = "Baseline::usual", deserialize_with = "baseline::stated")]
    pub baselines: Vec<Baseline>,
}

/// What one growth has in place of the settings of all students; see [`StudentSpec`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// How the students train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// The learning rate after growth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What Net2Net takes along of the optimizer's moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moments: Option<Moments>,
    /// What runs beside Net2Net.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "baseline::maybe_stated"
    )]
    pub baselines: Option<Vec<Baseline>>,
}

/// Why a spec cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A file that cannot be read.
    #[error("the spec {} cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
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
        for recipe in self
            .growth
            .iter_mut()
            .filter_map(|growth| growth.student.recipe.as_mut())
        {
            recipe.epochs = recipe.epochs.min(2.0);
            recipe.warmup_epochs = recipe.warmup_epochs.min(recipe.epochs / 4.0);
        }
    }

    /// Whether the teacher is also trained on: it serves all growths.
    pub(super) fn continues(&self) -> bool {
        let wants = |baselines: &[Baseline]| baselines.contains(&Baseline::Continued);
        let own = |growth: &GrowthSpec| growth.student.baselines.as_deref().is_some_and(wants);
        wants(&self.student.baselines[..]) || self.growth.iter().any(own)
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
            let grow = &growth.grow;
            if !grow.features.is_empty() {
                return setting(format!(
                    "growth {:?} asks for `features`, but the images stay as they are",
                    growth.name
                ));
            }
            let nothing = grow.widen.is_none()
                && grow.sizes.is_empty()
                && grow.factors.is_empty()
                && grow.target.is_none()
                && grow.depth.is_none()
                && [&grow.deepen, &grow.on_top, &grow.copy, &grow.branch]
                    .iter()
                    .all(|names| names.is_empty())
                && grow.enlarge.is_empty();
            if nothing {
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
        self.student.check_baselines()?;
        for growth in &self.growth {
            let student = self.student.of(growth);
            student.check_baselines()?;
            for (whose, recipe) in [("student", &student.recipe), ("scratch", student.scratch())] {
                recipe
                    .check()
                    .map_err(|source| SpecError::Recipe { whose, source })?;
            }
            let recipe = student.rate.apply(&student.recipe, 1.0, 1.0);
            recipe.check().map_err(|source| SpecError::Recipe {
                whose: "student",
                source,
            })?;
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

    fn data_mut(&mut self) -> &mut DataSpec {
        &mut self.data
    }
}

impl DataSpec {
    /// The places of files that it names.
    pub(crate) fn places_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.folder.iter_mut().chain(&mut self.mixture)
    }

    /// Loads the images; subsets are drawn with `seed`.
    pub fn load(&self, seed: u64) -> Result<Splits, DataError> {
        Ok(self.open(seed)?.splits)
    }

    /// Loads the images, and says what was found; subsets are drawn with `seed`.
    pub fn open(&self, seed: u64) -> Result<Opened, DataError> {
        let opened = match (&self.folder, &self.mixture) {
            (Some(folder), None) => open(folder, &self.read)?,
            (None, Some(mixture)) => Opened {
                splits: Mixture::read(mixture)?.load(folder_of(mixture))?,
                kind: "a mixture of packs".to_owned(),
                shape_reason: "as the packs say".to_owned(),
                notes: Vec::new(),
            },
            (Some(_), Some(mixture)) => {
                return Err(DataError::Setting {
                    field: "mixture",
                    found: mixture.display().to_string(),
                    wanted: "must not stand beside `folder`",
                });
            }
            (None, None) => Opened {
                splits: fashion_mini()?,
                kind: "built in".to_owned(),
                shape_reason: "as the files say".to_owned(),
                notes: Vec::new(),
            },
        };
        let some = |data: Dataset, count: Option<usize>| match count {
            Some(count) if count < data.len() => data.take_balanced(count, seed),
            _ => Ok(data),
        };
        let splits = Splits::new(
            some(opened.splits.train, self.train)?,
            some(opened.splits.validation, self.validation)?,
        )?;
        Ok(Opened { splits, ..opened })
    }

    /// The images as runs use them, and notes for people on what was found.
    pub fn training(&self, seed: u64) -> Result<(TrainingData, Vec<String>), DataError> {
        let opened = self.open(seed)?;
        let normalization = match &self.normalization {
            Some(given) => given.clone(),
            None => Normalization::measure(&opened.splits.train)?,
        };
        let data = TrainingData {
            splits: opened.splits,
            normalization,
        };
        Ok((data, opened.notes))
    }
}

impl Variant {
    fn is_none(&self) -> bool {
        *self == Variant::default()
    }
}

impl StudentSpec {
    /// The settings of one growth's students.
    pub(super) fn of(&self, growth: &GrowthSpec) -> StudentSpec {
        let Variant {
            recipe,
            rate,
            moments,
            baselines,
        } = growth.student.clone();
        StudentSpec {
            recipe: recipe.unwrap_or_else(|| self.recipe.clone()),
            scratch: Some(self.scratch().clone()),
            rate: rate.unwrap_or(self.rate),
            moments: moments.unwrap_or(self.moments),
            baselines: baselines.unwrap_or_else(|| self.baselines.clone()),
        }
    }

    /// How those train that begin with random weights.
    pub(super) fn scratch(&self) -> &Recipe {
        self.scratch.as_ref().unwrap_or(&self.recipe)
    }

    fn check_baselines(&self) -> Result<(), SpecError> {
        let name = |baseline: &Baseline| std::mem::discriminant(baseline);
        for (index, baseline) in self.baselines.iter().enumerate() {
            let setting =
                |why: String| SpecError::Setting(format!("baseline {}: {why}", index + 1));
            baseline.check().map_err(setting)?;
            let before = &self.baselines[..index];
            if before.iter().any(|other| name(other) == name(baseline)) {
                return Err(setting("its kind is there already".to_owned()));
            }
        }
        Ok(())
    }
}
