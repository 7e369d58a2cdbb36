//! Doing a comparison: run after run, each in its own directory, resumable between and within.
//!
//! ```text
//! DIR/spec.toml, command.json, data.txt  as run, and on what
//! DIR/seed0/teacher/                    a run: metrics.jsonl, model.safetensors, done.json
//! DIR/seed0/continued/
//! DIR/seed0/wider/plan.json             the growth, replayed on resume
//! DIR/seed0/wider/evidence.json         the proof
//! DIR/seed0/wider/start.safetensors     the student before its first step
//! DIR/seed0/wider/{net2net,scratch,…}/
//! DIR/metrics.jsonl                     all runs' metrics together
//! DIR/comparison.json, summary.json, report.html
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use net2net_core::apply::{Growth, apply};
use net2net_core::engine::{CompileError, OptimizerState};
use net2net_core::graph::Graph;
use net2net_core::io::{Checkpoint, write_atomic};
use net2net_core::plan::Plan;
use net2net_core::request::request;
use net2net_core::verify::{Evidence, grow_and_prove};
use net2net_core::weights::{Weights, initialize};
use net2net_kernels::Context;
use serde::Serialize;

use super::architecture;
use super::baseline::start;
use super::directory::COMPARISON_FILE;
use super::error::CompareError;
use super::spec::{Baseline, GrowthSpec, Spec};
use crate::report::{Comparison, GrowthRecord, Kind, RunRecord, Summary, write_report};
use crate::train::{
    Job, METRICS_FILE, MODEL_FILE, Observer, Outcome, TRUNK_FILE, TrainingData, run,
};

/// Which images a comparison began with, as the report says it.
const DATA_FILE: &str = "data.txt";

/// How a comparison is run, beside what it compares.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything goes.
    pub directory: PathBuf,
    /// Threads.
    pub threads: usize,
    /// The command, for the report.
    pub command: String,
    /// The machine, for the report.
    pub machine: String,
    /// The program's version, for the report.
    pub version: String,
}

/// Who watches a comparison.
pub trait Watcher: Observer {
    /// The number of runs in all, and the training steps that they take together.
    fn planned(&mut self, runs: usize, steps: u64);
    /// A growth was made and proved; the student is ready.
    fn grown(&mut self, seed: u64, growth: &str, plan: &Plan, evidence: &Evidence, student: &Graph);
}

/// How a comparison ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything ran and the report is written.
    Complete(Box<(Comparison, Summary)>),
    /// Stopped on request; calling again goes on.
    Interrupted,
}

/// Runs all of a spec, skipping what the directory holds already.
pub fn compare(
    spec: &Spec,
    options: &Options,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> Result<Ended, CompareError> {
    spec.check()?;
    let data = TrainingData::new(spec.data.load(spec.seeds[0])?);
    let shape = data.splits.train.shape();
    let classes = data.splits.train.classes().len();
    let teacher = spec.teacher.model.build(shape, classes)?;
    let mut comparison = Comparison {
        title: spec.title.clone(),
        version: options.version.clone(),
        machine: options.machine.clone(),
        threads: options.threads,
        seeds: spec.seeds.clone(),
        data: data.describe(),
        spec_toml: spec.to_toml()?,
        command: options.command.clone(),
        teacher: architecture(&teacher),
        growths: Vec::new(),
        runs: Vec::new(),
    };
    data.note(&options.directory.join(DATA_FILE))?;
    let mut runner = Runner {
        spec,
        options,
        data: &data,
        stop,
        watcher,
    };
    runner.rehearse(&teacher)?;
    runner.announce();
    for seed in &spec.seeds {
        if !runner.seed(*seed, &teacher, &mut comparison)? {
            return Ok(Ended::Interrupted);
        }
    }
    write_json(&options.directory.join(COMPARISON_FILE), &comparison)?;
    write_metrics(&options.directory, &comparison)?;
    let summary = write_report(&options.directory, &comparison)?;
    Ok(Ended::Complete(Box::new((comparison, summary))))
}

struct Runner<'a> {
    spec: &'a Spec,
    options: &'a Options,
    data: &'a TrainingData,
    stop: &'a AtomicBool,
    watcher: &'a mut dyn Watcher,
}

/// A teacher as students find it.
struct Trained {
    graph: Graph,
    weights: Weights<f32>,
    optimizer: OptimizerState<f32>,
}

impl Runner<'_> {
    /// Plans every growth on the untrained teacher, so that what cannot grow is said before
    /// minutes of training: spaces and layers do not depend on the weights.
    fn rehearse(&self, teacher: &Graph) -> Result<(), CompareError> {
        let mut cx = self.context()?;
        let weights: Weights<f32> = initialize(teacher, 0);
        let train = &self.data.splits.train;
        let images = train.batch_f32(&[0], &self.data.normalization)?;
        for growth in &self.spec.growth {
            request(&mut cx, teacher, &weights, &growth.grow, 0, 1, &[&images]).map_err(
                |source| CompareError::Request {
                    growth: growth.name.clone(),
                    source,
                },
            )?;
        }
        Ok(())
    }

    fn context(&self) -> Result<Context<f32>, CompareError> {
        let threads = self.options.threads;
        let started = Context::new(threads);
        Ok(started.map_err(|error| CompileError::Threads {
            threads,
            why: error.to_string(),
        })?)
    }

    /// Counts the runs and steps ahead, for the remaining time.
    fn announce(&mut self) {
        let images = self.data.splits.train.len();
        let steps = |recipe: &crate::train::Recipe| {
            recipe.steps((images / recipe.batch.min(images)).max(1))
        };
        let student = &self.spec.student;
        let mut runs = 1;
        let mut total = steps(&self.spec.teacher.recipe);
        for baseline in &student.baselines {
            let (count, recipe) = match baseline {
                Baseline::Continued => (1, &student.recipe),
                Baseline::Scratch => (
                    self.spec.growth.len(),
                    student.scratch.as_ref().unwrap_or(&student.recipe),
                ),
                _ => (self.spec.growth.len(), &student.recipe),
            };
            runs += count;
            total += count as u64 * steps(recipe);
        }
        runs += self.spec.growth.len();
        total += self.spec.growth.len() as u64 * steps(&student.recipe);
        let seeds = self.spec.seeds.len();
        self.watcher.planned(runs * seeds, total * seeds as u64);
    }

    /// All runs of one seed; false if interrupted.
    fn seed(
        &mut self,
        seed: u64,
        teacher: &Graph,
        comparison: &mut Comparison,
    ) -> Result<bool, CompareError> {
        let Some(trained) = self.teacher(seed, teacher, comparison)? else {
            return Ok(false);
        };
        if self.spec.student.baselines.contains(&Baseline::Continued) {
            let mut job = self.job(seed, None, Kind::Continued, trained.graph.clone());
            job.weights = trained.weights.clone();
            job.optimizer = trained.optimizer.clone();
            if !self.run(job, comparison)? {
                return Ok(false);
            }
        }
        for growth in &self.spec.growth {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if !self.growth(seed, growth, &trained, comparison)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn directory(&self, id: &str) -> PathBuf {
        self.options.directory.join(id)
    }

    /// A job with fresh weights and the recipe of its kind.
    fn job(&self, seed: u64, growth: Option<&str>, kind: Kind, graph: Graph) -> Job {
        let id = match growth {
            Some(growth) => format!("seed{seed}/{growth}/{}", kind.slug()),
            None => format!("seed{seed}/{}", kind.slug()),
        };
        let student = &self.spec.student;
        let recipe = match kind {
            Kind::Teacher => &self.spec.teacher.recipe,
            Kind::Scratch => student.scratch.as_ref().unwrap_or(&student.recipe),
            _ => &student.recipe,
        };
        Job {
            directory: self.directory(&id),
            id,
            growth: growth.map(str::to_owned),
            kind,
            seed,
            weights: initialize(&graph, seed),
            graph,
            optimizer: OptimizerState::default(),
            recipe: recipe.clone(),
            threads: self.options.threads,
        }
    }

    /// Runs a job and records it; false if interrupted.
    fn run(&mut self, job: Job, comparison: &mut Comparison) -> Result<bool, CompareError> {
        // The trait object is reborrowed as the part of it that a run knows.
        let outcome = run(&job, self.data, self.stop, &mut Watching(self.watcher))?;
        match outcome {
            Outcome::Finished(record) => {
                comparison.runs.push(record);
                Ok(true)
            }
            Outcome::Interrupted => Ok(false),
        }
    }

    fn teacher(
        &mut self,
        seed: u64,
        graph: &Graph,
        comparison: &mut Comparison,
    ) -> Result<Option<Trained>, CompareError> {
        let job = self.job(seed, None, Kind::Teacher, graph.clone());
        let directory = job.directory.clone();
        if !self.run(job, comparison)? {
            return Ok(None);
        }
        if let Some(why) = comparison.runs.last().and_then(|run| run.diverged.clone()) {
            return Err(CompareError::Teacher { seed, why });
        }
        let file = if self.spec.teacher.grow_from_trunk {
            TRUNK_FILE
        } else {
            MODEL_FILE
        };
        let checkpoint = Checkpoint::read(&directory.join(file))?;
        let own = self.spec.teacher.recipe.optimizer;
        // Moments of one optimizer mean nothing to another.
        let optimizer = match own.shares_state_with(&self.spec.student.recipe.optimizer) {
            true => checkpoint.optimizer,
            false => OptimizerState::default(),
        };
        Ok(Some(Trained {
            graph: checkpoint.graph,
            weights: checkpoint.weights,
            optimizer,
        }))
    }

    /// Grows, proves and trains all students of one growth; false if interrupted.
    fn growth(
        &mut self,
        seed: u64,
        spec: &GrowthSpec,
        teacher: &Trained,
        comparison: &mut Comparison,
    ) -> Result<bool, CompareError> {
        let directory = self.directory(&format!("seed{seed}/{}", spec.name));
        fs::create_dir_all(&directory).map_err(|source| CompareError::File {
            path: directory.clone(),
            source,
        })?;
        let (plan, growth) = self.plan(seed, spec, teacher, &directory)?;
        let (grown, evidence) = self.prove(seed, spec, teacher, &plan, &growth, &directory)?;
        self.watcher
            .grown(seed, &spec.name, &plan, &evidence, growth.graph());
        match comparison
            .growths
            .iter_mut()
            .find(|record| record.name == spec.name)
        {
            Some(record) => record.evidence.push((seed, evidence)),
            None => comparison.growths.push(GrowthRecord {
                name: spec.name.clone(),
                description: plan.describe(),
                evidence: vec![(seed, evidence)],
                student: architecture(growth.graph()),
            }),
        }
        let baselines = self.spec.student.baselines.iter();
        let others = baselines
            .filter(|b| **b != Baseline::Continued)
            .map(|b| b.kind(spec));
        for kind in std::iter::once(Kind::Net2net).chain(others) {
            let mut job = self.job(seed, Some(&spec.name), kind, growth.graph().clone());
            let from = (&teacher.weights, &teacher.optimizer);
            let moments = self.spec.student.keep_moments;
            let start = start(kind, &growth, from, &grown, moments, seed)?;
            job.weights = start.weights;
            job.optimizer = start.optimizer;
            if !self.run(job, comparison)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The plan of a growth: the one that the directory holds, replayed, or a new one.
    fn plan(
        &self,
        seed: u64,
        spec: &GrowthSpec,
        teacher: &Trained,
        directory: &Path,
    ) -> Result<(Plan, Growth), CompareError> {
        let path = directory.join("plan.json");
        let fault = |source| CompareError::Plan {
            path: path.clone(),
            source,
        };
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(|source| CompareError::File {
                path: path.clone(),
                source,
            })?;
            let plan = Plan::from_json(&text).map_err(fault)?;
            let growth = apply(&teacher.graph, &plan).map_err(|source| CompareError::Stale {
                path: path.clone(),
                source,
            })?;
            return Ok((plan, growth));
        }
        let mut cx = self.context()?;
        let drawn = self.data.statistics_images(seed)?;
        let (graph, weights) = (&teacher.graph, &teacher.weights);
        let (plan, growth) = request(
            &mut cx,
            graph,
            weights,
            &spec.grow,
            seed,
            drawn.count,
            &[&drawn.images],
        )
        .map_err(|source| CompareError::Request {
            growth: spec.name.clone(),
            source,
        })?;
        Ok((plan, growth))
    }

    /// The grown weights, after the proof; nothing is written unless it holds.
    fn prove(
        &self,
        seed: u64,
        spec: &GrowthSpec,
        teacher: &Trained,
        plan: &Plan,
        growth: &Growth,
        directory: &Path,
    ) -> Result<(Weights<f32>, Evidence), CompareError> {
        let drawn = self.data.proof_images(seed)?;
        let proved = grow_and_prove(
            &teacher.graph,
            plan,
            growth,
            &teacher.weights,
            self.options.threads,
            drawn.count,
            &[&drawn.images],
            &drawn.what,
        )
        .map_err(|source| CompareError::Verify {
            growth: spec.name.clone(),
            source,
        })?;
        let path = directory.join("plan.json");
        let json = plan.to_json().map_err(|source| CompareError::Plan {
            path: path.clone(),
            source,
        })?;
        write_file(&path, json.as_bytes())?;
        write_json(&directory.join("evidence.json"), &proved.evidence)?;
        Checkpoint::model(growth.graph().clone(), proved.weights.clone())
            .write(&directory.join("start.safetensors"))?;
        Ok((proved.weights, proved.evidence))
    }
}

/// A watcher seen as the observer of one run.
struct Watching<'a>(&'a mut dyn Watcher);

impl Observer for Watching<'_> {
    fn started(&mut self, progress: crate::train::Progress<'_>) {
        self.0.started(progress);
    }

    fn stepped(&mut self, progress: crate::train::Progress<'_>) {
        self.0.stepped(progress);
    }

    fn evaluated(&mut self, progress: crate::train::Progress<'_>, metric: &crate::report::Metric) {
        self.0.evaluated(progress, metric);
    }

    fn finished(&mut self, record: &RunRecord, found: bool) {
        self.0.finished(record, found);
    }
}

/// All runs' metrics in one file, for those who read one file.
fn write_metrics(directory: &Path, comparison: &Comparison) -> Result<(), CompareError> {
    let path = directory.join(METRICS_FILE);
    let mut text = Vec::new();
    for metric in comparison.runs.iter().flat_map(|run| &run.metrics) {
        serde_json::to_writer(&mut text, metric).map_err(|source| CompareError::Json {
            path: path.clone(),
            source,
        })?;
        text.push(b'\n');
    }
    write_file(&path, &text)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CompareError> {
    write_atomic(path, bytes).map_err(|source| CompareError::File {
        path: path.to_owned(),
        source,
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), CompareError> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|source| CompareError::Json {
        path: path.to_owned(),
        source,
    })?;
    json.push(b'\n');
    write_file(path, &json)
}

/// Writes the report of a directory again from what was measured there.
pub fn rerender(directory: &Path) -> Result<(Comparison, Summary), CompareError> {
    let path = directory.join(COMPARISON_FILE);
    let bytes = fs::read(&path).map_err(|source| CompareError::File {
        path: path.clone(),
        source,
    })?;
    let comparison: Comparison =
        serde_json::from_slice(&bytes).map_err(|source| CompareError::Json { path, source })?;
    let summary = write_report(directory, &comparison)?;
    Ok((comparison, summary))
}
