//! What is explored, and how, as TOML.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::compare::{DataSpec, SpecError, Stated};
use crate::models::ModelSpec;
use crate::train::Recipe;

/// The spec that runs when none is given.
const DEFAULT: &str = include_str!("default.toml");

/// An exploration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExploreSpec {
    /// The page's title.
    pub title: String,
    /// The seeds; each repeats everything.
    pub seeds: Vec<u64>,
    /// Whether every candidate is trained from fresh weights, for comparison: the dumb way.
    #[serde(default)]
    pub from_scratch: bool,
    /// Whether the best architecture is trained from scratch at the end, for the cost of the best network's ancestry.
    #[serde(default = "yes")]
    pub control: bool,
    /// Trials side by side, among which the threads are divided; by default as many as are fastest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<usize>,
    /// Training images of which the gradient scores the moves.
    #[serde(default = "score_images")]
    pub score_images: usize,
    /// The images.
    pub data: DataSpec,
    /// The network that everything grows from.
    pub start: StartNetwork,
    /// How candidates train; `epochs` are those of a rung of 1.
    pub recipe: Recipe,
    /// How networks train from fresh weights; by default as the start does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Recipe>,
    /// How networks may grow.
    #[serde(default)]
    pub moves: MoveSpec,
    /// Which candidates are made and how long each trains.
    pub search: Search,
    /// What is better.
    #[serde(default)]
    pub objective: ObjectiveSpec,
    /// What candidates must stay within.
    #[serde(default)]
    pub limits: Limits,
    /// When the search ends, if not by itself.
    #[serde(default)]
    pub budget: Budget,
}

fn yes() -> bool {
    true
}

fn score_images() -> usize {
    1024
}

/// The network that everything grows from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartNetwork {
    /// A trained network: an ONNX file, or a safetensors file that net2net wrote; relative to the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// An architecture, in place of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSpec>,
    /// How it trains first; an architecture needs it, a file is taken as it is without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
}

/// How networks may grow. A stage is what begins with the same word before a dot, such as `stage1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MoveSpec {
    /// Factors by which one space widens.
    pub widen_space: Vec<f64>,
    /// Factors by which all spaces of a stage widen.
    pub widen_stage: Vec<f64>,
    /// Factors by which all spaces widen.
    pub widen_all: Vec<f64>,
    /// Whether a stage gets one more residual block, or one more layer after its last where it has none.
    pub deepen_stage: bool,
    /// Whether a layer is inserted after any one layer.
    pub deepen_layer: bool,
    /// Sides to which one filter grows.
    pub kernel: Vec<usize>,
    /// Whether a concatenation, or a stage without one, gets one more branch.
    pub branch: bool,
    /// Factors by which a stage widens while it deepens.
    pub both: Vec<f64>,
}

impl Default for MoveSpec {
    fn default() -> Self {
        MoveSpec {
            widen_space: Vec::new(),
            widen_stage: vec![1.5],
            widen_all: vec![1.5],
            deepen_stage: true,
            deepen_layer: false,
            kernel: vec![5],
            branch: true,
            both: vec![1.5],
        }
    }
}

/// Which candidates are made and how long each trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Search {
    /// Successive halving (Jamieson & Talwalkar 2016): many candidates train briefly, the better part of them on, with
    /// their weights; the best of a generation are the parents of the next.
    Halving {
        /// Candidates of a generation, the parent trained on without growth among them.
        population: usize,
        /// How long each rung trains, in units of the recipe's epochs.
        rungs: Vec<f64>,
        /// The share that goes on to the next rung.
        keep: f64,
        /// How many times growth is repeated.
        generations: usize,
        /// Networks of a generation that the next one grows from.
        #[serde(default = "one")]
        parents: usize,
    },
    /// Regularised evolution (Real et al. 2019): the best of a random sample of the living grows by a random move, those
    /// with better scores more often; the oldest dies.
    Evolution {
        /// The living.
        population: usize,
        /// How many of them are sampled.
        sample: usize,
        /// Children in all.
        children: usize,
        /// Children that are made at a time, and so can train side by side.
        #[serde(default = "brood")]
        brood: usize,
    },
    /// Every move of the start, each for one rung.
    Grid {
        /// The most candidates; the best scores first.
        most: usize,
    },
}

fn one() -> usize {
    1
}

fn brood() -> usize {
    2
}

/// What a network costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// Numbers of the network.
    #[default]
    Parameters,
    /// Operations of one sample.
    Flops,
    /// Milliseconds of one sample, measured on this machine.
    Latency,
}

/// How candidates are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// By accuracy alone.
    #[default]
    Accuracy,
    /// Those that nothing cheaper beats first, then what only those beat, and so on; by accuracy within (Deb et al. 2002).
    Front,
}

/// What is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveSpec {
    /// What accuracy is weighed against.
    pub cost: Cost,
    /// How candidates are ranked.
    pub select: Select,
}

/// What candidates must stay within.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The most parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// The most operations of one sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops: Option<u64>,
    /// The most milliseconds of one sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
}

/// When the search of a seed ends. What has begun is finished; the control is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Seconds: of scoring, and of the longest of the trials that ran side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Operations of training, forward and backward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops: Option<f64>,
    /// Trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<usize>,
}

impl ExploreSpec {
    /// The embedded default.
    pub fn embedded() -> Result<ExploreSpec, SpecError> {
        ExploreSpec::from_toml(DEFAULT)
    }

    /// The seeds `first, first + 1, …`, `count` of them.
    pub fn set_seed_count(&mut self, count: u64) {
        let first = self.seeds.first().copied().unwrap_or(0);
        self.seeds = (first..first + count).collect();
    }

    /// How networks train from fresh weights.
    pub fn scratch_recipe(&self) -> &Recipe {
        let start = self.start.recipe.as_ref();
        self.scratch.as_ref().or(start).unwrap_or(&self.recipe)
    }

    /// How long a rung trains, in units of the recipe's epochs.
    pub fn rung(&self, rung: usize) -> f64 {
        match &self.search {
            Search::Halving { rungs, .. } => rungs.get(rung).copied().unwrap_or(1.0),
            _ => 1.0,
        }
    }

    /// Whether the time of a sample matters, and so is measured.
    pub fn needs_latency(&self) -> bool {
        self.objective.cost == Cost::Latency || self.limits.latency_ms.is_some()
    }

    /// Refuses settings that make no sense.
    pub fn check(&self) -> Result<(), SpecError> {
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        let require = |holds: bool, why: &str| match holds {
            true => Ok(()),
            false => Err(SpecError::Setting(why.to_owned())),
        };
        require(
            !seeds.is_empty() && seeds.len() == self.seeds.len(),
            "`seeds` must name at least one seed, and each once",
        )?;
        require(
            self.start.model.is_some() != self.start.file.is_some(),
            "`start` must name either a `model` or a `file`",
        )?;
        require(
            self.start.model.is_none() || self.start.recipe.is_some(),
            "`start.model` needs a `start.recipe`: what is not trained is not worth growing",
        )?;
        require(
            self.parallel.is_none_or(|n| (1..=1024).contains(&n)),
            "`parallel` must be 1 or more",
        )?;
        require(self.score_images > 1, "`score_images` must be 2 or more")?;
        let moves = &self.moves;
        let lists = [
            &moves.widen_space,
            &moves.widen_stage,
            &moves.widen_all,
            &moves.both,
        ];
        require(
            lists.iter().all(|list| list.iter().all(|f| *f > 1.0)),
            "`moves` widens by a factor that is not above 1",
        )?;
        self.search.check()?;
        self.limits.check()?;
        self.budget.check()?;
        let recipes = [
            ("start's", self.start.recipe.as_ref()),
            ("candidates'", Some(&self.recipe)),
            ("scratch", self.scratch.as_ref()),
        ];
        for (whose, recipe) in recipes {
            if let Some(recipe) = recipe {
                recipe
                    .check()
                    .map_err(|source| SpecError::Recipe { whose, source })?;
            }
        }
        Ok(())
    }
}

impl Limits {
    /// Which of them a network passes, in words. A latency that is not known passes none.
    pub(crate) fn passed_by(
        &self,
        parameters: u64,
        flops: u64,
        latency_ms: Option<f64>,
    ) -> Option<String> {
        if let Some(most) = self.parameters.filter(|most| parameters > *most) {
            return Some(format!(
                "it has {parameters} parameters, and {most} are the limit"
            ));
        }
        if let Some(most) = self.flops.filter(|most| flops > *most) {
            return Some(format!(
                "a sample takes {flops} FLOPs, and {most} are the limit"
            ));
        }
        match (self.latency_ms, latency_ms) {
            (Some(most), Some(found)) if found > most => Some(format!(
                "a sample takes {found:.3} ms, and {most} ms are the limit"
            )),
            _ => None,
        }
    }

    /// Refuses limits that nothing is within.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let above_nothing = self.parameters != Some(0)
            && self.flops != Some(0)
            && self.latency_ms.is_none_or(|most| most > 0.0);
        match above_nothing {
            true => Ok(()),
            false => Err(SpecError::Setting("`limits` must be above 0".to_owned())),
        }
    }
}

impl Budget {
    fn check(&self) -> Result<(), SpecError> {
        let above_nothing = self.trials != Some(0)
            && self.seconds.is_none_or(|most| most > 0.0)
            && self.flops.is_none_or(|most| most > 0.0);
        match above_nothing {
            true => Ok(()),
            false => Err(SpecError::Setting("`budget` must be above 0".to_owned())),
        }
    }
}

impl Search {
    fn check(&self) -> Result<(), SpecError> {
        let wrong = |why: &str| Err(SpecError::Setting(format!("`search`: {why}")));
        match self {
            Search::Halving { population: 0, .. }
            | Search::Halving { generations: 0, .. }
            | Search::Halving { parents: 0, .. } => {
                wrong("population, generations and parents must be 1 or more")
            }
            Search::Halving { rungs, .. }
                if rungs.is_empty() || !rungs.iter().all(|r| *r > 0.0) =>
            {
                wrong("`rungs` must name at least one length above 0")
            }
            Search::Halving { keep, .. } if !(*keep > 0.0 && *keep <= 1.0) => {
                wrong("`keep` must be above 0 and at most 1")
            }
            Search::Evolution {
                population,
                sample,
                brood,
                ..
            } if *population == 0 || *sample == 0 || *brood == 0 => {
                wrong("population, sample and brood must be 1 or more")
            }
            Search::Grid { most: 0 } => wrong("`most` must be 1 or more"),
            _ => Ok(()),
        }
    }
}

impl Stated for ExploreSpec {
    const WHAT: &'static str = "exploration";

    fn from_toml(text: &str) -> Result<ExploreSpec, SpecError> {
        let spec: ExploreSpec = toml::from_str(text)?;
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

    fn places_mut(&mut self) -> Vec<&mut PathBuf> {
        let places = self.data.places_mut().chain(&mut self.start.file);
        places.collect()
    }
}
