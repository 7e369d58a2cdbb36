//! The life of a model as the store tells it, going back in it, and taking a version out.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use net2net_core::io::write_atomic;
use serde::{Deserialize, Serialize};

use super::error::EvolveError;
use super::home::{Home, NETWORK};
use super::publish::{champion_fault, settle};
use super::run::Options;
use super::samples::{classes_of, seen_by};
use super::store::{Decision, Event, Snapshot, Step, Version};
use crate::explore::Watcher;

/// Everything that happened to a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// What it is called.
    pub title: String,
    /// The version that is the champion.
    pub champion: Option<i64>,
    /// The version whose trunk goes on.
    pub head: Option<i64>,
    /// Threads of its trials.
    pub threads: usize,
    /// The data that arrived.
    pub snapshots: Vec<Snapshot>,
    /// What was done about them.
    pub steps: Vec<Step>,
    /// The networks that were trained to their end.
    pub versions: Vec<Version>,
    /// What was decided, and why.
    pub decisions: Vec<Decision>,
    /// What happened.
    pub events: Vec<Event>,
    /// What is wrong with the champion's files, if anything.
    pub fault: Option<String>,
    /// The settings as they stand.
    pub settings: String,
}

/// Reads the life of a model.
///
/// # Errors
/// If the store or the settings cannot be read.
pub fn life(home: &Home) -> Result<Life, EvolveError> {
    let spec = home.spec()?;
    let path = home.path().join(crate::compare::SPEC_FILE);
    let settings = std::fs::read_to_string(&path).map_err(EvolveError::file(&path))?;
    Ok(Life {
        title: spec.title,
        champion: home.store.champion()?,
        head: home.store.head()?,
        threads: spec.threads.map_or_else(|| home.threads(), Ok)?,
        snapshots: home.store.snapshots()?,
        steps: home.store.steps()?,
        versions: home.store.versions()?,
        decisions: home.store.decisions()?,
        events: home.store.events()?,
        fault: champion_fault(home)?,
        settings,
    })
}

impl Life {
    /// A version by its number.
    pub fn version(&self, id: i64) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// The snapshot of a version's step.
    pub fn snapshot_of(&self, version: &Version) -> Option<&Snapshot> {
        let step = self.steps.iter().find(|step| step.id == version.step)?;
        self.snapshots.iter().find(|one| one.id == step.snapshot)
    }

    /// The step that is under way.
    pub fn open_step(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.ended.is_none())
    }

    /// The decisions of a step on one question.
    pub fn decided(&self, step: i64, what: &str) -> Option<&Decision> {
        let mut of = self.decisions.iter().filter(|one| one.step == Some(step));
        of.find(|one| one.what == what)
    }
}

/// Makes a version the champion again, and its trunk the one that goes on. `drop_data` puts away the data that arrived after
/// those of its step: nothing is trained on them or judged by them any more, until a version that learnt from them is gone back to.
///
/// # Errors
/// [`EvolveError::NoVersion`], or [`EvolveError::Damaged`] if its files are.
pub fn rollback(
    home: &mut Home,
    version: i64,
    drop_data: bool,
    options: &Options,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> Result<(), EvolveError> {
    // All that must be there afterwards is looked at first: the switch itself does not fail half-way.
    home.spec()?;
    let target = home.store.version(version)?;
    let whose = format!("version {version}");
    let onnx = target.onnx.iter().map(|hash| (hash, "onnx"));
    let networks = [&target.model, &target.trunk].map(|hash| (hash, NETWORK));
    for (hash, extension) in networks.into_iter().chain(onnx) {
        home.objects.checked(hash, extension, &whose)?;
    }
    classes_of(home, &target)?;
    let steps = home.store.steps()?;
    let snapshot = steps.iter().find(|step| step.id == target.step);
    let last = snapshot.map_or(0, |step| step.snapshot);
    let reason = match drop_data {
        true => format!("asked for, without the data that came after snapshot {last}"),
        false => "asked for; the data that it did not see count as new in the next step".to_owned(),
    };
    let used = seen_by(&home.store.versions()?, Some(version));
    home.store
        .roll_back(version, &reason, drop_data.then_some(last), &used)?;
    settle(home, options, stop, watcher)
}

/// Writes the network of a version, by default the champion's, as ONNX or safetensors, by the name of the file.
///
/// # Errors
/// [`EvolveError::There`] if the file is there and is not to be overwritten.
pub fn export(
    home: &Home,
    version: Option<i64>,
    to: &Path,
    overwrite: bool,
) -> Result<i64, EvolveError> {
    let id = match version {
        Some(id) => id,
        None => home
            .store
            .champion()?
            .ok_or_else(|| EvolveError::NoChampion {
                path: home.path().to_owned(),
            })?,
    };
    let found = home.store.version(id)?;
    if to.exists() && !overwrite {
        return Err(EvolveError::There {
            path: to.to_owned(),
        });
    }
    let whose = format!("version {id}");
    let extension = to.extension().and_then(|end| end.to_str());
    let bytes = match (extension, &found.onnx) {
        (Some(NETWORK), _) => home.objects.read(&found.model, NETWORK, &whose)?,
        (Some("onnx"), Some(hash)) => home.objects.read(hash, "onnx", &whose)?,
        (Some("onnx"), None) => {
            return Err(EvolveError::NoForm {
                version: id,
                path: to.to_owned(),
                why: "has an operator that has no ONNX form here; export .safetensors",
            });
        }
        _ => {
            return Err(EvolveError::NoForm {
                version: id,
                path: to.to_owned(),
                why: "is written as a file that ends in .onnx or .safetensors",
            });
        }
    };
    write_atomic(to, &bytes).map_err(EvolveError::file(to))?;
    Ok(id)
}
