//! How a model lives, as TOML.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::compare::{DataSpec, SpecError, Stated};
use crate::explore::{Limits, MoveSpec};
use crate::models::ModelSpec;
use crate::train::{Recipe, Schedule};
use crate::trial::ShrinkPerturb;

/// The spec that is used when none is given.
const DEFAULT: &str = include_str!("default.toml");

/// The settings of a model's life. They may be changed between steps; each step notes those that it began with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvolveSpec {
    /// The page's title.
    pub title: String,
    /// The seed of everything that is drawn.
    #[serde(default)]
    pub seed: u64,
    /// Threads; by default those of the machine on which the home was made. Results depend on them to the last bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Growth probes side by side, among which the threads are divided.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub parallel: usize,
    /// The images, or the folder into which they come.
    pub data: DataSpec,
    /// How they come.
    pub arrival: Arrival,
    /// The first network.
    pub start: StartNetwork,
    /// How a step trains: the trunk in the stable phase, a release in the decay. Epochs count the step's own samples, those
    /// that are replayed among them.
    pub recipe: Recipe,
    /// How the first step trains, if otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Recipe>,
    /// The fewest optimizer steps of a step, whatever its recipe's epochs come to: little data is gone through more often, for
    /// little more than nothing. A growth probe is longer in proportion.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least_steps: usize,
    /// How many old samples a step trains on beside each new one: 1 is as many old as new ones, 0 none.
    #[serde(default = "replay")]
    pub replay: f64,
    /// What the trunk's weights are shrunk by, and mixed with, before each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrink_perturb: Option<ShrinkPerturb>,
    /// When and how the network grows; without it, it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<GrowthSettings>,
    /// When a challenger replaces the champion.
    #[serde(default)]
    pub promotion: Promotion,
    /// What networks must stay within.
    #[serde(default)]
    pub limits: Limits,
    /// What is run when something happens.
    #[serde(default)]
    pub hooks: Hooks,
}

fn one() -> usize {
    1
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn replay() -> f64 {
    1.0
}

/// How data come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Arrival {
    /// A data set that is there as a whole is cut into slices, which come one after the other: to try things out.
    Slices {
        /// How many training images there are in all after each slice, balanced over classes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sizes: Vec<usize>,
        /// So many new classes in each slice, with all their images; in place of `sizes`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        classes: Option<usize>,
    },
    /// Folders named by numbers, `1`, `2`, …, below the data folder; each is a data set.
    Snapshots {},
    /// New files in the data folder.
    Files {
        /// New training images for which a step waits.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        least: usize,
    },
}

/// The first network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartNetwork {
    /// An architecture with fresh weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSpec>,
    /// A trained network, in place of an architecture: an ONNX file, or a safetensors file that net2net wrote. It is taken
    /// into the home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// When and how the network grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrowthSettings {
    /// Epochs of a probe.
    pub probe_epochs: f64,
    /// The training loss has come to a plateau if it falls by less than this share from the first to the second half of the
    /// probe's stable phase.
    pub plateau: f64,
    /// Growth is worth it if a grown probe's validation loss is below that of plain continuation by this share.
    pub least_gain: f64,
    /// How many of the moves with the best scores are probed.
    pub probes: usize,
    /// Training images of which the gradient scores the moves.
    pub score_images: usize,
    /// How networks may grow.
    pub moves: MoveSpec,
}

impl Default for GrowthSettings {
    fn default() -> Self {
        GrowthSettings {
            probe_epochs: 1.0,
            plateau: 0.05,
            least_gain: 0.01,
            probes: 2,
            score_images: 1024,
            moves: MoveSpec::default(),
        }
    }
}

/// When a challenger replaces the champion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Promotion {
    /// How sure it must be that the challenger is better: the share of resamples of a paired bootstrap.
    pub confidence: f64,
    /// Resamples of the bootstrap.
    pub resamples: usize,
    /// The most that the accuracy of any class may fall, 0 to 1.
    pub class_loss: f64,
    /// The most that the accuracy on any older snapshot may fall, 0 to 1.
    pub snapshot_loss: f64,
    /// The share of validation images by which probes are chosen and curves are drawn. The others judge challengers, and
    /// nothing else.
    pub selection_share: f64,
}

impl Default for Promotion {
    fn default() -> Self {
        Promotion {
            confidence: 0.95,
            resamples: 2000,
            class_loss: 0.1,
            snapshot_loss: 0.02,
            selection_share: 0.25,
        }
    }
}

/// What is run when something happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// A command of the shell, run in the home when another version became the champion. It finds `NET2NET_VERSION`,
    /// `NET2NET_MODEL` and, where the network has that form, `NET2NET_ONNX` in its environment. The home is locked meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted: Option<String>,
    /// Seconds after which it is ended, with all that it started.
    pub timeout: f64,
}

impl Default for Hooks {
    fn default() -> Self {
        Hooks {
            promoted: None,
            timeout: 600.0,
        }
    }
}

impl EvolveSpec {
    /// The embedded example.
    pub fn embedded() -> Result<EvolveSpec, SpecError> {
        EvolveSpec::from_toml(DEFAULT)
    }

    /// How a step trains; the first one has no trunk yet.
    pub fn recipe_of(&self, is_first: bool) -> &Recipe {
        self.first
            .as_ref()
            .filter(|_| is_first)
            .unwrap_or(&self.recipe)
    }

    /// The same, to change it.
    pub(super) fn recipe_of_mut(&mut self, is_first: bool) -> &mut Recipe {
        match &mut self.first {
            Some(first) if is_first => first,
            _ => &mut self.recipe,
        }
    }

    /// Refuses settings that make no sense.
    pub fn check(&self) -> Result<(), SpecError> {
        let require = |holds: bool, why: &str| match holds {
            true => Ok(()),
            false => Err(SpecError::Setting(why.to_owned())),
        };
        let share = |x: f64| (0.0..=1.0).contains(&x);
        require(
            self.start.model.is_some() != self.start.file.is_some(),
            "`start` must name either a `model` or a `file`",
        )?;
        require(
            self.threads.is_none_or(|n| (1..=1024).contains(&n)),
            "`threads` must be 1 or more",
        )?;
        require(
            (1..=1024).contains(&self.parallel),
            "`parallel` must be 1 or more",
        )?;
        require(
            self.least_steps <= 1_000_000,
            "`least_steps` must be at most a million",
        )?;
        require(
            self.replay >= 0.0 && self.replay.is_finite(),
            "`replay` must be 0 or more",
        )?;
        require(
            self.data.mixture.is_none()
                && (self.data.train.is_none() || matches!(self.arrival, Arrival::Slices { .. })),
            "`data` takes no `mixture` here, and `train` only where slices arrive: what is trained on arrives",
        )?;
        self.check_arrival()?;
        let promotion = &self.promotion;
        require(
            promotion.confidence > 0.5 && promotion.confidence < 1.0,
            "`promotion.confidence` must be above 0.5 and below 1",
        )?;
        require(
            (100..=1_000_000).contains(&promotion.resamples),
            "`promotion.resamples` must be 100 or more",
        )?;
        require(
            share(promotion.class_loss) && share(promotion.snapshot_loss),
            "`promotion.class_loss` and `snapshot_loss` must be in 0..=1",
        )?;
        require(
            promotion.selection_share > 0.0 && promotion.selection_share < 1.0,
            "`promotion.selection_share` must be between 0 and 1",
        )?;
        require(
            self.hooks.timeout > 0.0 && self.hooks.timeout <= 1e6,
            "`hooks.timeout` must be above 0",
        )?;
        self.limits.check()?;
        if let Some(growth) = &self.growth {
            require(
                growth.probe_epochs > 0.0 && growth.probe_epochs.is_finite(),
                "`growth.probe_epochs` must be above 0",
            )?;
            require(
                growth.probes > 0 && growth.score_images > 1,
                "`growth.probes` must be 1 or more and `score_images` 2 or more",
            )?;
            require(
                growth.plateau.is_finite() && growth.least_gain.is_finite(),
                "`growth.plateau` and `least_gain` must be numbers",
            )?;
        }
        if let Some(amounts) = &self.shrink_perturb {
            amounts.check()?;
        }
        for (whose, recipe) in [
            ("step's", Some(&self.recipe)),
            ("first", self.first.as_ref()),
        ] {
            let Some(recipe) = recipe else { continue };
            recipe
                .check()
                .map_err(|source| SpecError::Recipe { whose, source })?;
            require(
                matches!(recipe.schedule, Schedule::WarmupStableDecay { .. }),
                "recipes need `schedule = { kind = \"warmup-stable-decay\", decay = … }`: the trunk stays in the stable \
                 phase, and a release is the decay",
            )?;
        }
        Ok(())
    }

    fn check_arrival(&self) -> Result<(), SpecError> {
        let wrong = |why: &str| Err(SpecError::Setting(format!("`arrival` {why}")));
        match &self.arrival {
            Arrival::Slices { sizes, classes } => match (&sizes[..], classes) {
                ([], None) | ([_, ..], Some(_)) => {
                    wrong("of slices needs either `sizes = [2000, 4000, …]` or `classes = 2`")
                }
                ([], Some(0)) => wrong("needs `classes` of 1 or more"),
                (sizes, _)
                    if sizes.first() == Some(&0) || sizes.windows(2).any(|w| w[0] >= w[1]) =>
                {
                    wrong("needs `sizes` that grow: they say how many images there are in all")
                }
                _ => Ok(()),
            },
            Arrival::Files { least: 0 } => wrong("needs `least` of 1 or more"),
            Arrival::Snapshots {} | Arrival::Files { .. } if self.data.folder.is_none() => {
                wrong("of this kind needs `folder` under [data]")
            }
            _ => Ok(()),
        }
    }
}

/// A recipe's epochs, or as many as `steps` optimizer steps go through the images if those are more.
pub(super) fn least_epochs(recipe: &Recipe, steps: usize, images: usize) -> f64 {
    let wanted = steps as f64 * recipe.batch as f64 / images.max(1) as f64;
    recipe.epochs.max(wanted.min(1e6))
}

impl Stated for EvolveSpec {
    const WHAT: &'static str = "model's life";

    fn from_toml(text: &str) -> Result<EvolveSpec, SpecError> {
        let spec: EvolveSpec = toml::from_str(text)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_example_is_sound_and_is_written_as_it_is_read() {
        let spec = EvolveSpec::embedded().unwrap();
        assert_eq!(
            EvolveSpec::from_toml(&spec.to_toml().unwrap()).unwrap(),
            spec
        );
    }

    #[test]
    fn mistakes_are_said_with_what_to_do() {
        for (from, to, said) in [
            ("kind = \"slices\"", "kind = \"snapshots\"", "unknown field"),
            ("sizes = [2000, 4000, 8000]", "", "either `sizes"),
            ("[2000, 4000, 8000]", "[2000, 1000]", "that grow"),
            (
                "kind = \"warmup-stable-decay\", decay = 0.25",
                "kind = \"constant\"",
                "stable",
            ),
            ("seed = 0", "seed = 0\nreplay = -1.0", "`replay`"),
        ] {
            let text = DEFAULT.replace(from, to);
            let error = EvolveSpec::from_toml(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
