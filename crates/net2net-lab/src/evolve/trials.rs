//! The trials of a step: laid out in folders of their own, done as processes, and read.

use std::fs;
use std::path::{Path, PathBuf};

use net2net_core::io::write_atomic;

use super::error::EvolveError;
use super::samples::link;
use super::work::Work;
use crate::compare::Stated;
use crate::explore::Outcome;
use crate::train::Recipe;
use crate::trial::{
    DONE, StartSpec, StartWeights, Task, TrialResult, TrialSpec, failure, read_done, side_by_side,
};

/// The network that a trial starts from, beside its spec.
const START_FILE: &str = "start.safetensors";
/// The spec of a trial.
pub(super) const SPEC_FILE: &str = "trial.toml";

/// How a trial is set up.
pub(super) struct Trial<'a> {
    pub(super) id: String,
    pub(super) from: Option<&'a Path>,
    pub(super) plans: &'a [(String, Vec<u8>)],
    pub(super) recipe: &'a Recipe,
    pub(super) keep_moments: bool,
    /// Whether it starts from the trunk of an earlier step.
    pub(super) begins_the_step: bool,
    pub(super) threads: usize,
}

impl Work<'_> {
    pub(super) fn trial_folder(&self, id: &str) -> PathBuf {
        self.folder.join("trials").join(id)
    }

    /// Does one trial; `None` if interrupted.
    pub(super) fn one(&mut self, trial: &Trial<'_>) -> Result<Option<Outcome>, EvolveError> {
        let outcomes = self.trials(std::slice::from_ref(trial))?;
        Ok(outcomes.and_then(|all| all.into_iter().next()))
    }

    /// Does trials side by side, those that are not done yet; `None` if interrupted.
    pub(super) fn trials(
        &mut self,
        wanted: &[Trial<'_>],
    ) -> Result<Option<Vec<Outcome>>, EvolveError> {
        let mut tasks = Vec::with_capacity(wanted.len());
        for trial in wanted {
            tasks.push(self.prepare(trial)?);
        }
        let mut open: Vec<&Task> = Vec::new();
        for task in &tasks {
            if !task.out.join(DONE).exists() && failure(&task.input)?.is_none() {
                open.push(task);
            }
        }
        if side_by_side(&self.options.program, &open, self.stop)?.is_none() {
            return Ok(None);
        }
        let mut outcomes = Vec::with_capacity(tasks.len());
        for task in &tasks {
            let outcome = match failure(&task.input)? {
                Some(why) if !task.out.join(DONE).exists() => Outcome::Failed(why),
                _ => Outcome::Done(Box::new(read_done(&task.out)?)),
            };
            if let Outcome::Done(result) = &outcome {
                self.spent.0 += result.seconds;
                self.spent.1 += result.training_flops;
            }
            outcomes.push(outcome);
        }
        Ok(Some(outcomes))
    }

    /// Lays out what a trial needs in a folder of its own.
    fn prepare(&self, trial: &Trial<'_>) -> Result<Task, EvolveError> {
        let task = Task {
            id: trial.id.clone(),
            input: self.folder.join("inputs").join(&trial.id),
            out: self.trial_folder(&trial.id),
            threads: trial.threads,
        };
        if task.out.join(DONE).exists() {
            return Ok(task);
        }
        for folder in [&task.input, &self.folder.join("trials")] {
            fs::create_dir_all(folder).map_err(EvolveError::file(folder))?;
        }
        if let Some(from) = trial.from {
            link(from, &task.input.join(START_FILE))?;
        }
        let model = match trial.from {
            Some(_) => None,
            None => self.spec.start.model.clone(),
        };
        let start = StartSpec {
            file: trial.from.map(|_| PathBuf::from(START_FILE)),
            plans: trial
                .plans
                .iter()
                .map(|(name, _)| PathBuf::from(name))
                .collect(),
            weights: StartWeights::Kept,
            keep_moments: trial.keep_moments,
            shrink_perturb: self
                .spec
                .shrink_perturb
                .filter(|_| trial.begins_the_step && self.step.head.is_some()),
            model,
        };
        let spec = TrialSpec {
            seed: self.seed(),
            threads: Some(trial.threads),
            latency: self.spec.limits.latency_ms.is_some(),
            data: self.data_spec()?,
            start,
            recipe: trial.recipe.clone(),
        };
        let text = spec.at_home_in(&task.input).to_toml()?.into_bytes();
        let named = trial
            .plans
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes));
        for (name, bytes) in named.chain([(SPEC_FILE, &text)]) {
            let path = task.input.join(name);
            write_atomic(&path, bytes).map_err(EvolveError::file(&path))?;
        }
        Ok(task)
    }
}

/// The figures of a trial that ended well, or why it did not.
pub(super) fn sound(outcome: &Outcome) -> Result<TrialResult, String> {
    match outcome {
        Outcome::Failed(why) => Err(format!("its trial failed: {why}")),
        Outcome::Done(result) => match &result.diverged {
            Some(why) => Err(format!("its training diverged: {why}")),
            None => Ok(TrialResult::clone(result)),
        },
    }
}
