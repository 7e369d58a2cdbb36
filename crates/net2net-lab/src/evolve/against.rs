//! A life against the dumb way: retraining from scratch whenever data have arrived.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::EvolveError;
use super::home::Home;
use super::life::Life;
use super::spec::{EvolveSpec, least_epochs};
use super::store::Version;
use super::work::normalization_of;
use crate::compare::{DataSpec, SpecError, Stated};
use crate::data::pack::PACK_EXTENSION;
use crate::data::{Mixture, Share};
use crate::explore::link;
use crate::models::ModelSpec;
use crate::train::Recipe;
use crate::trial::{StartSpec, StartWeights, TrialSpec};

/// What is compared, as TOML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgainstSpec {
    /// The page's title.
    pub title: String,
    /// The seeds; each repeats everything.
    pub seeds: Vec<u64>,
    /// The life.
    pub life: EvolveSpec,
    /// The dumb way.
    pub scratch: ScratchSpec,
}

/// Training from scratch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScratchSpec {
    /// Architectures that are trained at each slice; the best one counts.
    pub models: Vec<ModelSpec>,
    /// How they train, on everything that has arrived.
    pub recipe: Recipe,
    /// The fewest optimizer steps, as in a life.
    #[serde(default)]
    pub least_steps: usize,
}

impl AgainstSpec {
    /// Reads and checks a spec's file. A folder of data is relative to it.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn from_file(path: &Path) -> Result<AgainstSpec, SpecError> {
        let text = fs::read_to_string(path).map_err(|source| SpecError::File {
            path: path.to_owned(),
            source,
        })?;
        let mut spec: AgainstSpec = toml::from_str(&text)?;
        spec.life.check()?;
        spec.scratch
            .recipe
            .check()
            .map_err(|source| SpecError::Recipe {
                whose: "scratch",
                source,
            })?;
        if spec.scratch.models.is_empty() || spec.seeds.is_empty() {
            let why = "`scratch.models` and `seeds` must name at least one each";
            return Err(SpecError::Setting(why.to_owned()));
        }
        if let (Some(folder), Some(parent)) = (&mut spec.life.data.folder, path.parent()) {
            *folder = parent.join(&*folder);
        }
        Ok(spec)
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// What it is called.
    pub title: String,
    /// The machine.
    pub machine: String,
    /// Each seed's slices.
    pub seeds: Vec<Vec<Slice>>,
}

/// Both ways after one slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Training images that have arrived.
    pub images: usize,
    /// Classes that are known.
    pub classes: usize,
    /// The champion's accuracy on the images that judge.
    pub evolve: f64,
    /// Parameters of the champion.
    pub parameters: u64,
    /// Seconds of the step's trials.
    pub seconds: f64,
    /// FLOPs of the same.
    pub flops: f64,
    /// The architectures from scratch.
    pub scratch: Vec<Scratch>,
}

/// One architecture from scratch on everything that has arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scratch {
    /// The architecture.
    pub model: ModelSpec,
    /// Its accuracy on the images that judge; none if it diverged.
    pub accuracy: Option<f64>,
    /// Its parameters.
    pub parameters: u64,
    /// Seconds of its trial.
    pub seconds: f64,
    /// FLOPs of the same.
    pub flops: f64,
}

impl Slice {
    /// The best from scratch. It is chosen by the images that judge, which favours it.
    pub fn best(&self) -> Option<&Scratch> {
        let of = |one: &Scratch| one.accuracy.unwrap_or(f64::NEG_INFINITY);
        self.scratch.iter().max_by(|a, b| of(a).total_cmp(&of(b)))
    }

    /// The champion after a version's step, without what is compared with it.
    pub fn of(life: &Life, version: &Version) -> Slice {
        let judgement = &version.record.judgement;
        let promoted = life.decided(version.step, "promote");
        let promoted = promoted.is_some_and(|one| one.outcome == "yes");
        let before = life.versions.iter().rev().filter(|one| {
            let decision = life.decided(one.step, "promote");
            one.id < version.id && decision.is_some_and(|one| one.outcome == "yes")
        });
        let champion = match promoted {
            true => Some(version),
            false => before.into_iter().next(),
        };
        let accuracy = match (promoted, &judgement.champion) {
            (false, Some(champion)) => champion.accuracy,
            _ => judgement.challenger.accuracy,
        };
        let snapshot = life.snapshot_of(version);
        let arrived = life.snapshots.iter();
        let arrived = arrived.filter(|one| snapshot.is_some_and(|last| one.id <= last.id));
        Slice {
            images: arrived.map(|one| one.record.train).sum(),
            classes: snapshot.map_or(0, |last| last.record.classes.len()),
            evolve: accuracy,
            parameters: champion.map_or(0, |one| one.record.parameters),
            seconds: version.record.seconds,
            flops: version.record.training_flops,
            scratch: Vec::new(),
        }
    }
}

/// Lays out the trials from scratch of a version's slice, one for each architecture, in folders of `to`: all training images
/// that had arrived, and the images that judged the version.
///
/// # Errors
/// If something in the home is damaged, or a file cannot be written.
pub fn lay_out_scratch(
    home: &Home,
    life: &Life,
    version: &Version,
    scratch: &ScratchSpec,
    seed: u64,
    to: &Path,
) -> Result<Vec<PathBuf>, EvolveError> {
    let judgement = &version.record.judgement;
    let whose = format!("version {}", version.id);
    let bytes = home.objects.read(&judgement.list, "json", &whose)?;
    let mut mixture: Mixture =
        serde_json::from_slice(&bytes).map_err(|source| EvolveError::Json {
            path: home.objects.path(&judgement.list, "json"),
            source,
        })?;
    let newest = life.snapshot_of(version).map_or(0, |last| last.id);
    mixture.name = format!("everything up to snapshot {newest}");
    let arrived = life.snapshots.iter().filter(|one| one.id <= newest);
    mixture.train = arrived
        .map(|one| Share {
            pack: format!("{}.{PACK_EXTENSION}", one.train),
            samples: (0..one.record.train).collect(),
        })
        .collect();
    let data = to.join("data");
    fs::create_dir_all(&data).map_err(EvolveError::file(&data))?;
    for share in mixture.train.iter().chain(&mixture.validation) {
        let hash = share.pack.trim_end_matches(&format!(".{PACK_EXTENSION}"));
        let from = home.objects.checked(hash, PACK_EXTENSION, &whose)?;
        link(&from, &data.join(&share.pack))?;
    }
    let list = data.join("mixture.json");
    write_json(&list, &mixture)?;
    let images = mixture.train.iter().map(|share| share.samples.len()).sum();
    let mut recipe = scratch.recipe.clone();
    recipe.epochs = least_epochs(&recipe, scratch.least_steps, images);
    let mut specs = Vec::new();
    for (number, model) in scratch.models.iter().enumerate() {
        let folder = to.join(format!("model-{number}"));
        fs::create_dir_all(&folder).map_err(EvolveError::file(&folder))?;
        let spec = TrialSpec {
            seed,
            threads: Some(life.threads),
            latency: false,
            data: DataSpec {
                mixture: Some(list.clone()),
                normalization: normalization_of(home)?,
                ..DataSpec::default()
            },
            start: StartSpec {
                file: None,
                plans: Vec::new(),
                weights: StartWeights::Fresh,
                keep_moments: false,
                shrink_perturb: None,
                model: Some(model.clone()),
            },
            recipe: recipe.clone(),
        };
        let path = folder.join("trial.toml");
        let text = spec.at_home_in(&folder).to_toml()?;
        fs::write(&path, text).map_err(EvolveError::file(&path))?;
        specs.push(path);
    }
    Ok(specs)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), EvolveError> {
    let bytes = serde_json::to_vec(value).map_err(|source| EvolveError::Json {
        path: path.to_owned(),
        source,
    })?;
    fs::write(path, bytes).map_err(EvolveError::file(path))
}
