//! Doing a comparison: run after run, each in its own directory, resumable between and within.
//!
//! ```text
//! DIR/spec.toml, command.json, data.txt  as run, and on what
//! DIR/seed0/teacher/                    a run: metrics.jsonl, model.safetensors, best.safetensors, done.json
//! DIR/seed0/continued/
//! DIR/seed0/wider/plan.json             the growth, replayed on resume
//! DIR/seed0/wider/evidence.json         the proof
//! DIR/seed0/wider/start.safetensors     the student before its first step
//! DIR/seed0/wider/{net2net,scratch,…}/
//! DIR/seed0/wider/paper.json            the plan of Net2Net as the paper has it
//! DIR/seed0/wider/hint/                 the first stage of hint training
//! DIR/seed0/wider/stage1/               the first stage of growth in several steps
//! DIR/metrics.jsonl                     all runs' metrics together
//! DIR/comparison.json, summary.json, report.html
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use net2net_core::apply::{Growth, apply};
use net2net_core::engine::{CompileError, OptimizerState};
use net2net_core::graph::Graph;
use net2net_core::io::{Checkpoint, write_atomic};
use net2net_core::plan::Plan;
use net2net_core::request::{Request, request};
use net2net_core::verify::{Evidence, grow_and_prove};
use net2net_core::weights::{Weights, initialize};
use net2net_kernels::Context;
use serde::Serialize;

use super::architecture;
use super::baseline::Baseline;
use super::directory::COMPARISON_FILE;
use super::error::CompareError;
use super::spec::{GrowthSpec, Spec, StudentSpec};
use crate::data::Loader;
use crate::report::{
    Architecture, Comparison, GrowthRecord, Kind, RunRecord, Summary, write_report,
};
use crate::train::{
    Cost, Job, Lesson, METRICS_FILE, MODEL_FILE, Observer, Outcome, Recipe, TRUNK_FILE,
    TrainingData, run,
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
    /// Something about the images that a person should know.
    fn noted(&mut self, note: &str);
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
    let (data, notes) = spec.data.training(spec.seeds[0])?;
    for note in &notes {
        watcher.noted(note);
    }
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
        places: BTreeMap::new(),
    };
    data.note(&options.directory.join(DATA_FILE))?;
    let mut runner = Runner {
        spec,
        options,
        data: &data,
        stop,
        watcher,
        broken: BTreeSet::new(),
    };
    let students = runner.rehearse(&teacher)?;
    runner.announce(&students);
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

pub(super) struct Runner<'a> {
    pub(super) spec: &'a Spec,
    pub(super) options: &'a Options,
    pub(super) data: &'a TrainingData,
    stop: &'a AtomicBool,
    watcher: &'a mut dyn Watcher,
    /// The broken images that were said.
    broken: BTreeSet<String>,
}

/// A teacher as students find it.
#[derive(Clone)]
pub(super) struct Trained {
    pub(super) graph: Graph,
    pub(super) weights: Weights<f32>,
    /// Those at the end of its training, from which others learn; growth may start before its decay.
    pub(super) finished: Weights<f32>,
    pub(super) optimizer: OptimizerState<f32>,
    /// The rate of its last step before that.
    pub(super) rate: f64,
}

impl Runner<'_> {
    /// Plans every growth on the untrained teacher, and looks at every recipe and hint, so that what
    /// cannot be done is said before hours of training: none of it depends on the weights.
    ///
    /// Returns the architecture that each growth makes.
    fn rehearse(&self, teacher: &Graph) -> Result<Vec<Architecture>, CompareError> {
        let mut cx = self.context()?;
        let weights: Weights<f32> = initialize(teacher, 0);
        let train = &self.data.splits.train;
        let images = train.batch_f32(&[0], &self.data.normalization)?;
        self.reads(&self.spec.teacher.recipe)?;
        let mut students = Vec::with_capacity(self.spec.growth.len());
        for growth in &self.spec.growth {
            let (_, grown) = request(&mut cx, teacher, &weights, &growth.grow, 0, 1, &[&images])
                .map_err(|source| CompareError::Request {
                    growth: growth.name.clone(),
                    source,
                })?;
            students.push(architecture(grown.graph()));
            let student = self.spec.student.of(growth);
            self.reads(&student.recipe)?;
            self.reads(student.scratch())?;
            for baseline in &student.baselines {
                if let Baseline::Hinted(hints) = baseline {
                    hints.networks(teacher, grown.graph(), &growth.name)?;
                }
            }
        }
        Ok(students)
    }

    /// Refuses a recipe whose images cannot be made.
    fn reads(&self, recipe: &Recipe) -> Result<(), CompareError> {
        let train = &self.data.splits.train;
        let batch = recipe.batch.min(train.len());
        let normalization = &self.data.normalization;
        Loader::new(train, normalization, recipe.augmentation, batch, 0, true)?;
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
    fn announce(&mut self, architectures: &[Architecture]) {
        let images = self.data.splits.train.len();
        let steps = |recipe: &crate::train::Recipe| {
            recipe.steps((images / recipe.batch.min(images)).max(1))
        };
        let mut runs = 1;
        let mut total = steps(&self.spec.teacher.recipe);
        if self.spec.continues() {
            runs += 1;
            total += steps(&self.spec.student.recipe);
        }
        let mut with_scratch: Vec<&Architecture> = Vec::new();
        for (growth, architecture) in self.spec.growth.iter().zip(architectures) {
            let student = self.spec.student.of(growth);
            runs += 1;
            total += steps(&student.recipe);
            for baseline in &student.baselines {
                match baseline {
                    Baseline::Continued => continue,
                    Baseline::Scratch if with_scratch.contains(&architecture) => continue,
                    Baseline::Scratch => with_scratch.push(architecture),
                    Baseline::Hinted(hints) => {
                        runs += 1;
                        total += steps(&Recipe {
                            epochs: hints.epochs,
                            ..student.scratch().clone()
                        });
                    }
                    Baseline::Net2netStages(settings) => runs += settings.stages - 1,
                    _ => {}
                }
                runs += 1;
                total += match baseline.fresh_recipe(&student) {
                    Some(recipe) => steps(&recipe),
                    None => steps(&student.recipe),
                };
            }
        }
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
        if self.spec.continues() {
            let student = &self.spec.student;
            let recipe = self.after_growth(student, &trained);
            let mut job = self.job(seed, None, Kind::Continued, trained.graph.clone(), recipe);
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

    pub(super) fn directory(&self, id: &str) -> PathBuf {
        self.options.directory.join(id)
    }

    /// How those train that begin with the teacher's weights.
    pub(super) fn after_growth(&self, student: &StudentSpec, teacher: &Trained) -> Recipe {
        let peak = self.spec.teacher.recipe.learning_rate;
        student.rate.apply(&student.recipe, peak, teacher.rate)
    }

    /// A job with fresh weights.
    pub(super) fn job(
        &self,
        seed: u64,
        growth: Option<&str>,
        kind: Kind,
        graph: Graph,
        recipe: Recipe,
    ) -> Job {
        let id = match growth {
            Some(growth) => format!("seed{seed}/{growth}/{}", kind.slug()),
            None => format!("seed{seed}/{}", kind.slug()),
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
            recipe,
            lesson: Lesson::Labels,
            before: Cost::default(),
            copies: Vec::new(),
            threads: self.options.threads,
        }
    }

    /// Runs a job and records it; false if interrupted.
    pub(super) fn run(
        &mut self,
        job: Job,
        comparison: &mut Comparison,
    ) -> Result<bool, CompareError> {
        let finished = self.run_aside(&job)?;
        let went_on = finished.is_some();
        comparison.runs.extend(finished);
        Ok(went_on)
    }

    /// Runs a job that is no run of the comparison by itself; `None` if interrupted.
    pub(super) fn run_aside(&mut self, job: &Job) -> Result<Option<RunRecord>, CompareError> {
        // The trait object is reborrowed as the part of it that a run knows.
        let outcome = run(job, self.data, self.stop, &mut Watching(self.watcher));
        let mut newly = self.data.broken();
        newly.retain(|image| self.broken.insert(image.clone()));
        for image in &newly {
            self.watcher.noted(image);
        }
        if !newly.is_empty() {
            let count = self.broken.len();
            self.watcher.noted(&format!("{count} broken images so far"));
        }
        Ok(match outcome? {
            Outcome::Finished(record) => Some(record),
            Outcome::Interrupted => None,
        })
    }

    fn teacher(
        &mut self,
        seed: u64,
        graph: &Graph,
        comparison: &mut Comparison,
    ) -> Result<Option<Trained>, CompareError> {
        let recipe = self.spec.teacher.recipe.clone();
        let job = self.job(seed, None, Kind::Teacher, graph.clone(), recipe);
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
        let finished = Checkpoint::read(&directory.join(MODEL_FILE))?.weights;
        let own = self.spec.teacher.recipe.optimizer;
        // Moments of one optimizer mean nothing to another.
        let optimizer = match own.shares_state_with(&self.spec.student.recipe.optimizer) {
            true => checkpoint.optimizer,
            false => OptimizerState::default(),
        };
        let rate = checkpoint.notes.get("learning_rate");
        let rate = rate.and_then(|text| text.parse().ok());
        Ok(Some(Trained {
            rate: rate.unwrap_or(self.spec.teacher.recipe.learning_rate),
            graph: checkpoint.graph,
            weights: checkpoint.weights,
            finished,
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
        make_folder(&directory)?;
        let path = directory.join("plan.json");
        let (plan, growth) = self.plan(seed, spec, &spec.grow, teacher, &path)?;
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
        self.students(seed, spec, teacher, &growth, &grown, comparison)
    }

    /// The plan of a growth: the one that the directory holds, replayed, or a new one.
    pub(super) fn plan(
        &self,
        seed: u64,
        spec: &GrowthSpec,
        grow: &Request,
        teacher: &Trained,
        path: &Path,
    ) -> Result<(Plan, Growth), CompareError> {
        let fault = |source| CompareError::Plan {
            path: path.to_owned(),
            source,
        };
        if path.exists() {
            let text = fs::read_to_string(path).map_err(|source| CompareError::File {
                path: path.to_owned(),
                source,
            })?;
            let plan = Plan::from_json(&text).map_err(fault)?;
            let growth = apply(&teacher.graph, &plan).map_err(|source| CompareError::Stale {
                path: path.to_owned(),
                source,
            })?;
            return Ok((plan, growth));
        }
        let mut cx = self.context()?;
        let drawn = self.data.statistics_images(seed)?;
        let (graph, weights) = (&teacher.graph, &teacher.weights);
        let (samples, images) = (drawn.count, &[&drawn.images[..]]);
        let (plan, growth) = request(&mut cx, graph, weights, grow, seed, samples, images)
            .map_err(|source| CompareError::Request {
                growth: spec.name.clone(),
                source,
            })?;
        Ok((plan, growth))
    }

    /// Writes a plan, to be replayed on resume.
    pub(super) fn keep_plan(&self, plan: &Plan, path: &Path) -> Result<(), CompareError> {
        let json = plan.to_json().map_err(|source| CompareError::Plan {
            path: path.to_owned(),
            source,
        })?;
        write_file(path, json.as_bytes())
    }

    /// The grown weights, after the proof; nothing is written unless it holds.
    pub(super) fn prove(
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
        self.keep_plan(plan, &directory.join("plan.json"))?;
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

pub(super) fn make_folder(path: &Path) -> Result<(), CompareError> {
    fs::create_dir_all(path).map_err(|source| CompareError::File {
        path: path.to_owned(),
        source,
    })
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
