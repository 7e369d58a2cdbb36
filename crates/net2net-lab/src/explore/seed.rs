//! The search of one seed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use net2net_core::io::{Checkpoint, write_atomic};
use serde::{Deserialize, Serialize};

use super::error::ExploreError;
use super::moves::fingerprint;
use super::propose::{Asked, LeftOut, propose};
use super::run::{Options, Watcher};
use super::spec::ExploreSpec;
use super::state::{Candidate, Outcome, Proposal, State};
use super::strategy::{Adoption, Next, next};
use super::winners::{ancestry, label, link, trial};
use crate::compare::{DataSpec, Stated};
use crate::train::{MODEL_FILE, Recipe, TRUNK_FILE, TrainingData};
use crate::trial::{
    DONE, End, StartSpec, StartWeights, Task, TrialSpec, failure, fits, latency_ms, open,
    read_done, side_by_side,
};

/// The network that a search starts from, in the folder of its seed.
pub(super) const START_FILE: &str = "start.safetensors";
const PLAN_FILE: &str = "plan.json";

/// What a search works with.
pub(super) struct Search<'a> {
    pub(super) spec: &'a ExploreSpec,
    pub(super) options: &'a Options,
    pub(super) data: &'a TrainingData,
    pub(super) seed: u64,
    /// The seed's folder.
    pub(super) folder: PathBuf,
    /// Trials side by side.
    pub(super) parallel: usize,
    pub(super) stop: &'a AtomicBool,
    pub(super) watcher: &'a mut dyn Watcher,
    pub(super) state: State,
    /// Which budget ended it.
    pub(super) stopped_by: Option<&'static str>,
    /// Proposals whose architecture was there.
    pub(super) duplicates: usize,
    /// The broken images that were said.
    pub(super) broken: BTreeSet<String>,
}

/// The moves of a candidate, as they are kept.
#[derive(Serialize, Deserialize)]
struct Scored {
    seconds: f64,
    #[serde(flatten)]
    left_out: LeftOut,
    proposals: Vec<Proposal>,
}

impl Search<'_> {
    /// Searches to the end or the budget; false if interrupted.
    pub(super) fn run(&mut self) -> Result<bool, ExploreError> {
        for folder in ["moves", "inputs", "trials"] {
            let folder = self.folder.join(folder);
            fs::create_dir_all(&folder).map_err(ExploreError::file(&folder))?;
        }
        if !self.start()? {
            return Ok(false);
        }
        loop {
            let spec = self.spec;
            let growth = !spec.from_scratch;
            match next(
                &spec.search,
                &spec.objective,
                growth,
                self.seed,
                &self.state,
            ) {
                Next::Done => return Ok(true),
                Next::Score(candidate) => {
                    if self.is_spent() {
                        return Ok(true);
                    }
                    self.score(candidate)?;
                }
                Next::Adopt(adopted) => {
                    for adoption in adopted {
                        self.adopt(adoption);
                    }
                }
                Next::Train(wanted) => {
                    let mut left = &wanted[..];
                    while !left.is_empty() {
                        if self.is_spent() {
                            return Ok(true);
                        }
                        let allowed = spec.budget.trials.unwrap_or(usize::MAX);
                        let most = allowed.saturating_sub(self.state.spent.trials).max(1);
                        let (some, rest) = left.split_at(self.parallel.min(most).min(left.len()));
                        if !self.train(some)? {
                            return Ok(false);
                        }
                        left = rest;
                    }
                }
            }
        }
    }

    fn is_spent(&mut self) -> bool {
        self.stopped_by = self.state.spent.beyond(&self.spec.budget);
        self.stopped_by.is_some()
    }

    /// The start: a trial, or the file as it is.
    fn start(&mut self) -> Result<bool, ExploreError> {
        let start = &self.spec.start;
        let copy = self.folder.join(START_FILE);
        if let Some(file) = &start.file
            && !copy.exists()
        {
            let model = open(file)?;
            fits(&model.graph, self.data)?;
            model.write(&copy).map_err(crate::trial::TrialError::from)?;
        }
        let latency_ms = self.within_limits(&copy)?;
        let recipe = match (self.spec.from_scratch, &start.model) {
            // It is the first of the candidates then.
            (true, Some(_)) => Some(self.spec.scratch_recipe()),
            _ => start.recipe.as_ref(),
        };
        if let Some(recipe) = recipe {
            let input = StartSpec {
                file: start.file.as_ref().map(|_| PathBuf::from(START_FILE)),
                plans: Vec::new(),
                weights: StartWeights::Kept,
                keep_moments: false,
                shrink_perturb: None,
                model: start.model.clone(),
            };
            let from = start.file.as_ref().map(|_| copy.as_path());
            let task =
                self.prepare(trial(0, 0), input, from, None, recipe, self.options.threads)?;
            let Some(outcomes) = self.outcomes(&[task])? else {
                return Ok(false);
            };
            let outcome = outcomes.into_iter().next();
            if let Some(why) = outcome.as_ref().and_then(fault) {
                return Err(ExploreError::Start {
                    seed: self.seed,
                    why: format!("has no accuracy: {why}"),
                });
            }
            self.state.results.extend(outcome.map(|o| ((0, 0), o)));
        }
        let graph = match recipe {
            Some(_) => {
                self.checkpoint(&self.trial_folder(0, 0).join(MODEL_FILE))?
                    .graph
            }
            None => self.checkpoint(&copy)?.graph,
        };
        self.state.candidates.push(Candidate {
            parent: None,
            generation: 0,
            name: "start".to_owned(),
            plan: None,
            score: None,
            parameters: graph.parameter_count(),
            flops: graph.flops(),
            latency_ms,
            fingerprint: fingerprint(&graph),
        });
        if self.state.results.contains_key(&(0, 0)) {
            self.account(&[(0, 0)]);
        }
        Ok(true)
    }

    /// Refuses a start beyond the limits before it trains: nothing that grows from it could be within them. Its latency, if
    /// that matters.
    fn within_limits(&self, copy: &Path) -> Result<Option<f64>, ExploreError> {
        let graph = match &self.spec.start.model {
            Some(model) => {
                let train = &self.data.splits.train;
                let built = model.build(train.shape(), train.classes().len());
                built.map_err(crate::trial::TrialError::from)?
            }
            None => self.checkpoint(copy)?.graph,
        };
        let latency_ms = self.latency(&graph)?;
        let limits = &self.spec.limits;
        // A clock that reads a little more is no reason to refuse to go on with what has begun.
        let began = self.folder.join("trials").join(trial(0, 0)).exists()
            || self.folder.join("moves").join(label(0) + ".json").exists();
        let latency = latency_ms.filter(|_| !began);
        match limits.passed_by(graph.parameter_count(), graph.flops(), latency) {
            Some(why) => Err(ExploreError::Start {
                seed: self.seed,
                why: format!("is beyond the limits ({why})"),
            }),
            None => Ok(latency_ms),
        }
    }

    fn trial_folder(&self, candidate: usize, rung: usize) -> PathBuf {
        self.folder.join("trials").join(trial(candidate, rung))
    }

    /// What those that come after a candidate start from: the end of its stable phase if its schedule has one.
    fn inherited(&self, candidate: usize) -> PathBuf {
        let Some((rung, _)) = self.state.last(candidate) else {
            return self.folder.join(START_FILE);
        };
        let folder = self.trial_folder(candidate, rung);
        let trunk = folder.join(TRUNK_FILE);
        match trunk.exists() {
            true => trunk,
            false => folder.join(MODEL_FILE),
        }
    }

    fn checkpoint(&self, path: &Path) -> Result<Checkpoint, ExploreError> {
        // Of a trial all is made again; the start lies beside all trials of the seed.
        let remove = match path.parent() {
            Some(trial) if trial != self.folder => trial,
            _ => path,
        };
        Checkpoint::read(path).map_err(|source| ExploreError::Damaged {
            remove: remove.to_owned(),
            source: Box::new(source),
        })
    }

    /// Measured alone, before anything trains, since it does not depend on the weights.
    fn latency(&self, graph: &net2net_core::graph::Graph) -> Result<Option<f64>, ExploreError> {
        match self.spec.needs_latency() {
            true => Ok(Some(latency_ms(graph, self.options.threads)?)),
            false => Ok(None),
        }
    }

    /// How a candidate could grow: found in the folder, or found out.
    fn score(&mut self, candidate: usize) -> Result<(), ExploreError> {
        let path = self.folder.join("moves").join(label(candidate) + ".json");
        let json = |source| ExploreError::Json {
            path: path.clone(),
            source,
        };
        let scored: Scored = if path.exists() {
            let bytes = fs::read(&path).map_err(ExploreError::file(&path))?;
            serde_json::from_slice(&bytes).map_err(json)?
        } else {
            let scored = self.propose(candidate)?;
            let bytes = serde_json::to_vec_pretty(&scored).map_err(json)?;
            write_atomic(&path, &bytes).map_err(ExploreError::file(&path))?;
            scored
        };
        if candidate == 0 && scored.proposals.is_empty() {
            return Err(ExploreError::NoMove {
                seed: self.seed,
                why: scored.left_out.why(),
            });
        }
        let (seed, name, left) = (self.seed, label(candidate), &scored.left_out);
        self.watcher.note(&format!(
            "seed{seed} {name}: {} moves scored in {:.1} s; left out: {} that are there already, {} beyond the limits",
            scored.proposals.len(),
            scored.seconds,
            left.duplicates,
            left.beyond
        ));
        for refused in &left.refused {
            self.watcher
                .note(&format!("seed{seed} {name}: no move: {refused}"));
        }
        self.state.spent.seconds += scored.seconds;
        self.duplicates += left.duplicates;
        self.state.moves.insert(candidate, scored.proposals);
        Ok(())
    }

    /// Plans all moves of a candidate, leaves out what is refused, beyond the limits or there already, and scores the rest.
    fn propose(&self, candidate: usize) -> Result<Scored, ExploreError> {
        let began = Instant::now();
        let model = self.checkpoint(&self.inherited(candidate))?;
        let asked = Asked {
            moves: &self.spec.moves,
            limits: &self.spec.limits,
            latency: self.spec.needs_latency(),
            score_images: self.spec.score_images,
            seed: self.seed,
            plan_seed: self.seed ^ candidate as u64,
            threads: self.options.threads,
        };
        let (proposals, left_out) =
            propose(&model, self.data, &asked, |known| self.state.has(known))?;
        Ok(Scored {
            seconds: began.elapsed().as_secs_f64(),
            left_out,
            proposals,
        })
    }

    fn adopt(&mut self, adoption: Adoption) {
        let moves = self.state.moves.get(&adoption.parent);
        let proposal = adoption.proposal.and_then(|rank| moves?.get(rank)).cloned();
        let parent = &self.state.candidates[adoption.parent];
        let candidate = match proposal {
            Some(proposal) => Candidate {
                parent: Some(adoption.parent),
                generation: adoption.generation,
                name: proposal.name,
                plan: Some(proposal.plan),
                score: proposal.score,
                parameters: proposal.parameters,
                flops: proposal.flops,
                latency_ms: proposal.latency_ms,
                fingerprint: proposal.fingerprint,
            },
            None => Candidate {
                parent: Some(adoption.parent),
                generation: adoption.generation,
                name: "train on".to_owned(),
                plan: None,
                score: None,
                ..parent.clone()
            },
        };
        self.state.candidates.push(candidate);
    }

    /// Trains some candidates side by side for a rung each; false if interrupted.
    fn train(&mut self, wanted: &[(usize, usize)]) -> Result<bool, ExploreError> {
        let spec = self.spec;
        let threads = (self.options.threads / wanted.len().max(1)).max(1);
        let mut tasks = Vec::with_capacity(wanted.len());
        for (candidate, rung) in wanted {
            let mut recipe = match spec.from_scratch {
                true => spec.scratch_recipe().clone(),
                false => spec.recipe.clone(),
            };
            stretch(&mut recipe, spec.rung(*rung));
            let one = &self.state.candidates[*candidate];
            let fresh = *rung == 0 && spec.from_scratch;
            let plan = one.plan.as_ref().filter(|_| *rung == 0);
            let start = StartSpec {
                file: Some(PathBuf::from(START_FILE)),
                plans: plan.iter().map(|_| PathBuf::from(PLAN_FILE)).collect(),
                weights: match fresh {
                    true => StartWeights::Fresh,
                    false => StartWeights::Kept,
                },
                // Of one optimizer they mean nothing to another.
                keep_moments: self.shares_moments(*candidate, *rung, &recipe),
                shrink_perturb: None,
                model: None,
            };
            let from = match (rung, one.parent) {
                (0, Some(parent)) => self.inherited(parent),
                _ => self.inherited(*candidate),
            };
            let plan = plan.map(serde_json::to_vec_pretty).transpose();
            let plan = plan.map_err(|source| ExploreError::Json {
                path: self.folder.join(PLAN_FILE),
                source,
            })?;
            let id = trial(*candidate, *rung);
            tasks.push(self.prepare(id, start, Some(&from), plan, &recipe, threads)?);
        }
        let Some(outcomes) = self.outcomes(&tasks)? else {
            return Ok(false);
        };
        self.state
            .results
            .extend(wanted.iter().copied().zip(outcomes));
        self.account(wanted);
        Ok(true)
    }

    fn shares_moments(&self, candidate: usize, rung: usize, recipe: &Recipe) -> bool {
        let of_start = rung == 0 && self.state.candidates[candidate].parent == Some(0);
        let before = match (of_start, self.spec.from_scratch) {
            (true, _) => self.spec.start.recipe.as_ref(),
            (false, true) => Some(self.spec.scratch_recipe()),
            (false, false) => Some(&self.spec.recipe),
        };
        before.is_some_and(|b| b.optimizer.shares_state_with(&recipe.optimizer))
    }

    /// Counts what trials that ran side by side cost, and says how they ended.
    fn account(&mut self, trials: &[(usize, usize)]) {
        let mut longest: f64 = 0.0;
        for (candidate, rung) in trials {
            let Some(outcome) = self.state.results.get(&(*candidate, *rung)) else {
                continue;
            };
            self.state.spent.trials += 1;
            if let Some(result) = outcome.result() {
                longest = longest.max(result.seconds);
                self.state.spent.flops += result.training_flops;
            }
            let found = match (outcome.accuracy(), fault(outcome)) {
                (Some(accuracy), _) => format!("{:6.2} %", 100.0 * accuracy),
                (None, why) => why.unwrap_or_default(),
            };
            let of = &self.state.candidates[*candidate];
            self.watcher.note(&format!(
                "seed{} {}  {found}  {:.3} M parameters  {}{}",
                self.seed,
                trial(*candidate, *rung),
                of.parameters as f64 / 1e6,
                of.name,
                of.parent
                    .map_or_else(String::new, |parent| format!(" (from {})", label(parent))),
            ));
        }
        self.state.spent.seconds += longest;
    }

    /// Lays out what a trial needs in a folder of its own.
    fn prepare(
        &self,
        id: String,
        start: StartSpec,
        from: Option<&Path>,
        plan: Option<Vec<u8>>,
        recipe: &Recipe,
        threads: usize,
    ) -> Result<Task, ExploreError> {
        let task = Task {
            input: self.folder.join("inputs").join(&id),
            out: self.folder.join("trials").join(&id),
            id,
            threads,
        };
        if task.out.join(DONE).exists() {
            return Ok(task);
        }
        fs::create_dir_all(&task.input).map_err(ExploreError::file(&task.input))?;
        if let Some(from) = from {
            link(from, &task.input.join(START_FILE))?;
        }
        let spec = TrialSpec {
            seed: self.seed,
            threads: Some(threads),
            latency: false,
            data: DataSpec::clone(&self.spec.data),
            start,
            recipe: recipe.clone(),
        };
        let text = spec.at_home_in(&task.input).to_toml()?.into_bytes();
        let files = [("trial.toml", Some(text)), (PLAN_FILE, plan)];
        for (name, bytes) in files {
            if let Some(bytes) = bytes {
                let path = task.input.join(name);
                write_atomic(&path, &bytes).map_err(ExploreError::file(&path))?;
            }
        }
        Ok(task)
    }

    /// How trials ended: those that are done are read, the others done; `None` if interrupted.
    fn outcomes(&mut self, tasks: &[Task]) -> Result<Option<Vec<Outcome>>, ExploreError> {
        let mut known: Vec<Option<Outcome>> = Vec::with_capacity(tasks.len());
        for task in tasks {
            known.push(match task.out.join(DONE).exists() {
                true => Some(done(task)?),
                false => failure(&task.input)?.map(Outcome::Failed),
            });
        }
        let open = tasks
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none());
        let open: Vec<&Task> = open.map(|(task, _)| task).collect();
        let Some(ends) = side_by_side(&self.options.program, &open, self.stop)? else {
            return Ok(None);
        };
        let mut ends = open.into_iter().zip(ends);
        let mut all = Vec::with_capacity(tasks.len());
        for known in known {
            if let Some(outcome) = known {
                all.push(outcome);
                continue;
            }
            match ends.next() {
                Some((task, End::Done)) => all.push(done(task)?),
                Some((_, End::Failed(why))) => all.push(Outcome::Failed(why)),
                None => {}
            }
        }
        for image in all
            .iter()
            .filter_map(Outcome::result)
            .flat_map(|done| &done.broken)
        {
            if self.broken.insert(image.clone()) {
                self.watcher.note(image);
            }
        }
        Ok(Some(all))
    }

    /// Trains the architecture of a candidate from scratch, on all threads, for so many epochs; `None` if interrupted.
    pub(super) fn control(
        &mut self,
        candidate: usize,
        epochs: f64,
    ) -> Result<Option<Outcome>, ExploreError> {
        let mut recipe = self.spec.scratch_recipe().clone();
        let factor = epochs / recipe.epochs;
        stretch(&mut recipe, factor);
        let start = StartSpec {
            file: Some(PathBuf::from(START_FILE)),
            plans: Vec::new(),
            weights: StartWeights::Fresh,
            keep_moments: false,
            shrink_perturb: None,
            model: None,
        };
        let from = self.inherited(candidate);
        let id = "control".to_owned();
        let threads = self.options.threads;
        let task = self.prepare(id, start, Some(&from), None, &recipe, threads)?;
        let outcomes = self.outcomes(&[task])?;
        Ok(outcomes.and_then(|all| all.into_iter().next()))
    }

    /// Operations and seconds of training of a candidate and all that it grew from, as far as that was trained here.
    pub(super) fn ancestry_cost(&self, candidate: usize) -> (f64, f64) {
        let line = ancestry(&self.state, candidate);
        let results = self.state.results.iter();
        let own = results.filter(|((i, _), _)| line.contains(i));
        own.filter_map(|(_, outcome)| outcome.result()).fold(
            (0.0, 0.0),
            |(flops, seconds), result| {
                (
                    flops + result.training_flops,
                    seconds + result.training_seconds,
                )
            },
        )
    }
}

fn done(task: &Task) -> Result<Outcome, ExploreError> {
    Ok(Outcome::Done(Box::new(read_done(&task.out)?)))
}

/// Why there is no accuracy.
pub(super) fn fault(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed(why) => Some(format!("failed: {why}")),
        Outcome::Done(result) => result
            .diverged
            .as_ref()
            .map(|why| format!("diverged: {why}")),
    }
}

/// A recipe of another length, with the same share of warm-up at most.
fn stretch(recipe: &mut Recipe, factor: f64) {
    recipe.epochs *= factor;
    recipe.warmup_epochs = recipe.warmup_epochs.min(recipe.epochs / 4.0);
}
