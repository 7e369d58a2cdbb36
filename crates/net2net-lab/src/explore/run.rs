//! Doing an exploration: each seed's search, its front and its control, and the page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use net2net_core::io::write_atomic;

use super::error::ExploreError;
use super::figures::{between_rungs, predictions};
use super::page;
use super::parallel::fastest;
use super::record::{CandidateRecord, Control, Exploration, SeedRecord, TrialRecord};
use super::seed::{Search, fault};
use super::spec::{ExploreSpec, ObjectiveSpec, Select};
use super::state::{Outcome, State};
use super::winners;
use crate::compare::Stated;
use crate::train::TrainingData;
use crate::trial::{TrialError, open};

/// Everything that was measured.
pub const RECORD_FILE: &str = "exploration.json";
/// The page, for people.
pub const PAGE_FILE: &str = "explore.html";
/// How many trials run side by side.
const PARALLEL_FILE: &str = "parallel.json";

/// How an exploration is run, beside what it explores.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything goes.
    pub directory: PathBuf,
    /// The program that is started for each trial, as `PROGRAM train SPEC --out DIR`.
    pub program: PathBuf,
    /// Threads in all.
    pub threads: usize,
    /// The command, for the page.
    pub command: String,
    /// The machine, for the page.
    pub machine: String,
    /// The program's version, for the page.
    pub version: String,
}

/// Who watches an exploration.
pub trait Watcher {
    /// Something happened: a line for people.
    fn note(&mut self, line: &str);
}

/// How an exploration ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything is done and the page is written.
    Complete(Box<Exploration>),
    /// Stopped on request; calling again goes on.
    Interrupted,
}

/// Explores, skipping what the directory holds already.
pub fn explore(
    spec: &ExploreSpec,
    options: &Options,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> Result<Ended, ExploreError> {
    spec.check()?;
    let (data, notes) = spec.data.training(spec.seeds[0])?;
    for note in &notes {
        watcher.note(note);
    }
    data.note(&options.directory.join("data.txt"))?;
    let parallel = parallel(spec, options, &data)?;
    let mut exploration = Exploration {
        title: spec.title.clone(),
        version: options.version.clone(),
        machine: options.machine.clone(),
        threads: options.threads,
        parallel,
        data: data.describe(),
        spec_toml: spec.to_toml()?,
        command: options.command.clone(),
        cost: spec.objective.cost,
        seeds: Vec::new(),
    };
    for seed in &spec.seeds {
        let data = match spec.seeds[0] == *seed {
            true => data.clone(),
            false => spec.data.training(*seed)?.0,
        };
        let mut search = Search {
            spec,
            options,
            data: &data,
            seed: *seed,
            folder: options.directory.join(format!("seed{seed}")),
            parallel,
            stop,
            watcher,
            state: State::default(),
            stopped_by: None,
            duplicates: 0,
            broken: BTreeSet::new(),
        };
        let found = match search.run()? {
            true => finish(&mut search)?,
            false => None,
        };
        match found {
            Some(record) => exploration.seeds.push(record),
            None => {
                show_so_far(&search, exploration)?;
                return Ok(Ended::Interrupted);
            }
        }
    }
    write(&options.directory, &exploration)?;
    Ok(Ended::Complete(Box::new(exploration)))
}

/// The number of trials side by side: as stated, as found before, or what is fastest.
fn parallel(
    spec: &ExploreSpec,
    options: &Options,
    data: &TrainingData,
) -> Result<usize, ExploreError> {
    if let Some(parallel) = spec.parallel {
        return Ok(parallel);
    }
    let path = options.directory.join(PARALLEL_FILE);
    let json = |source| ExploreError::Json {
        path: path.clone(),
        source,
    };
    if path.exists() {
        let bytes = fs::read(&path).map_err(ExploreError::file(&path))?;
        return serde_json::from_slice(&bytes).map_err(json);
    }
    let train = &data.splits.train;
    let classes = train.classes().len();
    let graph = match (&spec.start.model, &spec.start.file) {
        (Some(model), _) => model
            .build(train.shape(), classes)
            .map_err(TrialError::from)?,
        (None, Some(file)) => open(file)?.graph,
        (None, None) => return Ok(1),
    };
    crate::trial::fits(&graph, data)?;
    let found = fastest(&graph, &spec.recipe, classes, options.threads)?;
    let bytes = serde_json::to_vec(&found).map_err(json)?;
    write_atomic(&path, &bytes).map_err(ExploreError::file(&path))?;
    Ok(found)
}

/// The page of an exploration that was stopped, without its record: it is not done.
fn show_so_far(search: &Search<'_>, mut exploration: Exploration) -> Result<(), ExploreError> {
    if search.state.candidates.is_empty() {
        return Ok(());
    }
    exploration.title += " (stopped; the same command goes on)";
    let (_, front) = ranked_and_front(search);
    exploration.seeds.push(record(search, front, None));
    write_page(&search.options.directory, &exploration)
}

/// All candidates, the most accurate first, and the front.
fn ranked_and_front(search: &Search<'_>) -> (Vec<usize>, Vec<usize>) {
    let accuracy_first = ObjectiveSpec {
        select: Select::Accuracy,
        ..search.spec.objective
    };
    let all: Vec<usize> = (0..search.state.candidates.len()).collect();
    let ranked = search.state.ranked(&all, &accuracy_first);
    let front = search.state.front(&ranked, search.spec.objective.cost);
    (ranked, front)
}

/// The front, the control and the record of a search; `None` if interrupted.
fn finish(search: &mut Search<'_>) -> Result<Option<SeedRecord>, ExploreError> {
    let (ranked, front) = ranked_and_front(search);
    winners::write(&search.state, &search.folder, &front)?;
    let mut control = None;
    let wanted = search.spec.control && !search.spec.from_scratch;
    if wanted && ranked.first() == Some(&0) {
        search.watcher.note(&format!(
            "seed{}: no control, since nothing that grew is better than the start",
            search.seed
        ));
    }
    if let (true, Some(best)) = (wanted, ranked.first().filter(|best| **best > 0)) {
        match self::control(search, *best)? {
            Some(found) => control = Some(found),
            None => return Ok(None),
        }
    }
    Ok(Some(record(search, front, control)))
}

fn record(search: &Search<'_>, front: Vec<usize>, control: Option<Control>) -> SeedRecord {
    let state = &search.state;
    let trained = |i: &usize| state.results.keys().any(|(candidate, _)| candidate == i);
    let architectures = (1..state.candidates.len())
        .filter(|i| state.candidates[*i].plan.is_some() && trained(i))
        .count();
    let records = (0..state.candidates.len()).filter(|i| *i == 0 || trained(i));
    SeedRecord {
        seed: search.seed,
        candidates: records.map(|i| candidate(state, i)).collect(),
        spent: state.spent,
        architectures,
        duplicates: search.duplicates,
        stopped_by: search.stopped_by.map(str::to_owned),
        front,
        predictions: predictions(state),
        rungs: between_rungs(state),
        control,
    }
}

fn control(search: &mut Search<'_>, best: usize) -> Result<Option<Control>, ExploreError> {
    let (ancestry_flops, ancestry_seconds) = search.ancestry_cost(best);
    let images = search.data.splits.train.len() as f64;
    let one_epoch = 3.0 * search.state.candidates[best].flops as f64 * images;
    let epochs = ancestry_flops / one_epoch;
    let grown = search.state.accuracy(best).unwrap_or(0.0);
    search.watcher.note(&format!(
        "seed{} control: the best architecture from scratch for {epochs:.2} epochs",
        search.seed
    ));
    let Some(outcome) = search.control(best, epochs)? else {
        return Ok(None);
    };
    let result = outcome.result();
    let metrics = result.map_or_else(Vec::new, |result| result.metrics.clone());
    let reached = metrics.iter().find(|m| m.validation_accuracy >= grown);
    Ok(Some(Control {
        candidate: best,
        grown,
        ancestry_flops,
        ancestry_seconds,
        given: search.spec.start.file.is_some(),
        epochs,
        scratch: outcome.accuracy(),
        scratch_seconds: result.map_or(0.0, |result| result.training_seconds),
        reached_flops: reached.map(|metric| metric.flops),
        metrics,
    }))
}

fn candidate(state: &State, index: usize) -> CandidateRecord {
    let one = &state.candidates[index];
    let own = state.results.range((index, 0)..(index + 1, 0));
    CandidateRecord {
        parent: one.parent,
        generation: one.generation,
        name: one.name.clone(),
        steps: one
            .plan
            .as_ref()
            .map_or_else(Vec::new, |plan| plan.describe()),
        score: one.score,
        parameters: one.parameters,
        flops: one.flops,
        latency_ms: one.latency_ms,
        accuracy: state.accuracy(index),
        trials: own
            .map(|((_, rung), outcome)| trial(*rung, outcome))
            .collect(),
    }
}

fn trial(rung: usize, outcome: &Outcome) -> TrialRecord {
    let result = outcome.result();
    let worst = |evidence: &net2net_core::verify::Evidence| {
        evidence.f64.iter().map(|e| e.max_rel).fold(0.0, f64::max)
    };
    TrialRecord {
        rung,
        accuracy: outcome.accuracy(),
        loss: result.and_then(|result| result.loss),
        training_seconds: result.map_or(0.0, |result| result.training_seconds),
        training_flops: result.map_or(0.0, |result| result.training_flops),
        fault: fault(outcome),
        proof: result.and_then(|r| r.evidence.iter().map(worst).reduce(f64::max)),
        metrics: result.map_or_else(Vec::new, |result| result.metrics.clone()),
    }
}

fn write(directory: &Path, exploration: &Exploration) -> Result<(), ExploreError> {
    let path = directory.join(RECORD_FILE);
    let json = serde_json::to_vec_pretty(exploration).map_err(|source| ExploreError::Json {
        path: path.clone(),
        source,
    })?;
    write_atomic(&path, &json).map_err(ExploreError::file(&path))?;
    write_page(directory, exploration)
}

fn write_page(directory: &Path, exploration: &Exploration) -> Result<(), ExploreError> {
    let path = directory.join(PAGE_FILE);
    write_atomic(&path, page::render(exploration).as_bytes()).map_err(ExploreError::file(&path))
}

/// Writes the page of a finished exploration again.
pub fn rerender(directory: &Path) -> Result<Exploration, ExploreError> {
    let path = directory.join(RECORD_FILE);
    let bytes = fs::read(&path).map_err(ExploreError::file(&path))?;
    let exploration: Exploration =
        serde_json::from_slice(&bytes).map_err(|source| ExploreError::Json { path, source })?;
    write(directory, &exploration)?;
    Ok(exploration)
}
