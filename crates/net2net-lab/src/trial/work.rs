//! Doing a trial.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use net2net_core::io::{Checkpoint, write_atomic};
use net2net_onnx::Document;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::TrialError;
use super::latency::latency_ms;
use super::publish::{Attempt, Begun};
use super::result::TrialResult;
use super::spec::TrialSpec;
use super::start::Start;
use crate::compare::Stated;
use crate::hex::hex;
use crate::report::{Kind, RunRecord};
use crate::train::{
    BEST_FILE, Cost, Job, Lesson, METRICS_FILE, MODEL_FILE, Observer, Outcome, TRUNK_FILE,
    TrainingData, run,
};

/// The spec as run.
const SPEC_FILE: &str = "trial.toml";
/// The files that it started from, by their hashes.
const INPUTS_FILE: &str = "inputs.json";
/// The figures; a directory that has it is finished.
pub const DONE: &str = "done.json";
/// The network for others.
pub const ONNX_FILE: &str = "model.onnx";
/// Where training works within the working directory.
const RUN_FOLDER: &str = "run";

/// How a call of [`train`] ended.
#[derive(Clone, Debug)]
pub enum TrialEnded {
    /// The result is published. `found` if it was there already.
    Finished {
        /// The figures.
        result: Box<TrialResult>,
        /// Whether another attempt had finished it.
        found: bool,
    },
    /// Stopped on request; the next attempt goes on.
    Interrupted,
}

/// Does a trial: trains the network of a spec, whose files are relative to `folder`, and publishes the result as `out`.
///
/// Where `out` is the result of the same trial, nothing is done; while another process is at it, it is waited for.
pub fn train(
    spec: &TrialSpec,
    folder: &Path,
    out: &Path,
    threads: usize,
    version: &str,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<TrialEnded, TrialError> {
    let began = Instant::now();
    let spec = TrialSpec {
        threads: Some(threads),
        ..spec.clone()
    };
    spec.check()?;
    let attempt = match Attempt::begin(out)? {
        Begun::Published => return found(&spec, folder, out),
        Begun::Mine(attempt) => attempt,
    };
    let inputs = inputs(&spec, folder)?;
    let path = attempt.path().to_owned();
    same_spec(&spec, &path.join(SPEC_FILE))?;
    let noted = path.join(INPUTS_FILE);
    match same_inputs(&inputs, &noted)? {
        true => write_json(&noted, &inputs)?,
        false => {
            return Err(TrialError::Taken {
                path,
                what: "the beginning of a trial that started from other files",
            });
        }
    }
    if !path.join(DONE).exists() {
        let data = spec.data.training(spec.seed)?.0;
        data.note(&path.join("data.txt"))?;
        let trial = Trial {
            spec: &spec,
            data: &data,
            path: &path,
            version,
        };
        match trial.work(folder, threads, began, stop, observer)? {
            Some(result) => write_json(&path.join(DONE), &result)?,
            None => return Ok(TrialEnded::Interrupted),
        }
    }
    let leftover = path.join(RUN_FOLDER);
    if leftover.exists() {
        fs::remove_dir_all(&leftover).map_err(TrialError::file(&leftover))?;
    }
    attempt.publish()?;
    let result = Box::new(read_done(out)?);
    Ok(TrialEnded::Finished {
        result,
        found: false,
    })
}

/// The figures of a finished trial.
pub fn read_done(out: &Path) -> Result<TrialResult, TrialError> {
    let path = out.join(DONE);
    let bytes = fs::read(&path).map_err(TrialError::file(&path))?;
    serde_json::from_slice(&bytes).map_err(|source| TrialError::Json { path, source })
}

/// The result that is there, if it is that of this trial.
fn found(spec: &TrialSpec, folder: &Path, out: &Path) -> Result<TrialEnded, TrialError> {
    let taken = |what| TrialError::Taken {
        path: out.to_owned(),
        what,
    };
    if !out.join(DONE).exists() {
        return Err(taken("not the result of a trial"));
    }
    let path = out.join(SPEC_FILE);
    let text = fs::read_to_string(&path).map_err(TrialError::file(&path))?;
    if TrialSpec::from_toml(&text)? != portable(spec, out) {
        return Err(taken("the result of another trial"));
    }
    // Files that were cleared away since say nothing.
    if let Ok(inputs) = inputs(spec, folder)
        && !same_inputs(&inputs, &out.join(INPUTS_FILE))?
    {
        return Err(taken("the result of a trial that started from other files"));
    }
    let result = Box::new(read_done(out)?);
    Ok(TrialEnded::Finished {
        result,
        found: true,
    })
}

/// The network and the plans that a trial starts from, in their order: name and SHA-256 of each. A spec names them by place, and
/// another network may lie there tomorrow.
type Inputs = Vec<(String, String)>;

fn inputs(spec: &TrialSpec, folder: &Path) -> Result<Inputs, TrialError> {
    let mut inputs = Inputs::new();
    for name in spec.start.file.iter().chain(&spec.start.plans) {
        let path = folder.join(name);
        let hash = sha256(&path).map_err(TrialError::file(&path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        inputs.push((name.into_owned(), hash));
    }
    Ok(inputs)
}

/// The SHA-256 of a file, a piece at a time, in hexadecimal.
fn sha256(path: &Path) -> io::Result<String> {
    let mut file = io::BufReader::with_capacity(1 << 16, fs::File::open(path)?);
    let mut hash = Sha256::new();
    loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            return Ok(hex(hash.finalize()));
        }
        hash.update(piece);
        let taken = piece.len();
        file.consume(taken);
    }
}

/// Whether files are those that were noted; those of a result of an earlier version of the program were not.
fn same_inputs(inputs: &Inputs, noted: &Path) -> Result<bool, TrialError> {
    let bytes = match fs::read(noted) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        read => read.map_err(TrialError::file(noted))?,
    };
    let before: Inputs = serde_json::from_slice(&bytes).map_err(|source| TrialError::Json {
        path: noted.to_owned(),
        source,
    })?;
    Ok(before == *inputs)
}

/// Notes the spec, and refuses to go on with another one.
fn same_spec(spec: &TrialSpec, path: &Path) -> Result<(), TrialError> {
    let spec = portable(spec, path.parent().unwrap_or(path));
    if path.exists() {
        let text = fs::read_to_string(path).map_err(TrialError::file(path))?;
        return match TrialSpec::from_toml(&text)? == spec {
            true => Ok(()),
            false => Err(TrialError::Taken {
                path: path.parent().unwrap_or(path).to_owned(),
                what: "the beginning of a trial with another spec or other threads",
            }),
        };
    }
    write_atomic(path, spec.to_toml()?.as_bytes()).map_err(TrialError::file(path))
}

/// The spec as it stands beside its result, in the directory `home`: with names of files, and not the places where they
/// were.
fn portable(spec: &TrialSpec, home: &Path) -> TrialSpec {
    let name = |path: &PathBuf| path.file_name().map_or_else(|| path.clone(), PathBuf::from);
    let mut spec = spec.at_home_in(home);
    spec.start.file = spec.start.file.as_ref().map(name);
    spec.start.plans = spec.start.plans.iter().map(name).collect();
    spec
}

struct Trial<'a> {
    spec: &'a TrialSpec,
    data: &'a TrainingData,
    /// The working directory.
    path: &'a Path,
    version: &'a str,
}

impl Trial<'_> {
    /// All but publishing; `None` if interrupted.
    fn work(
        &self,
        folder: &Path,
        threads: usize,
        began: Instant,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Option<TrialResult>, TrialError> {
        let spec = self.spec;
        let start = Start::new(&spec.start, folder, self.data, spec.seed, threads)?;
        for (number, plan) in (1..).zip(&start.plans) {
            write_json(&self.path.join(format!("plan-{number}.json")), plan)?;
        }
        if !start.evidence.is_empty() {
            write_json(&self.path.join("evidence.json"), &start.evidence)?;
        }
        let job = Job {
            id: name_of(self.path),
            growth: None,
            // What a run is to a comparison: one that starts from weights, or from none.
            kind: match start.plans.is_empty() {
                true => Kind::Teacher,
                false => Kind::Net2net,
            },
            seed: spec.seed,
            graph: start.graph,
            weights: start.weights,
            optimizer: start.optimizer,
            recipe: spec.recipe.clone(),
            lesson: Lesson::Labels,
            before: Cost::default(),
            copies: Vec::new(),
            threads,
            directory: self.path.join(RUN_FOLDER),
        };
        let Outcome::Finished(record) = run(&job, self.data, stop, observer)? else {
            return Ok(None);
        };
        for file in [MODEL_FILE, METRICS_FILE, TRUNK_FILE, BEST_FILE] {
            let from = job.directory.join(file);
            if from.exists() {
                fs::rename(&from, self.path.join(file)).map_err(TrialError::file(&from))?;
            }
        }
        let model = Checkpoint::read(&self.path.join(MODEL_FILE))?;
        let no_onnx = write_onnx(&model, &self.path.join(ONNX_FILE))?;
        let latency_ms = match spec.latency {
            true => Some(latency_ms(&job.graph, threads)?),
            false => None,
        };
        let seconds = began.elapsed().as_secs_f64();
        let mut result = self.result(record, threads, seconds);
        result.graph = job.graph.hash();
        result.latency_ms = latency_ms;
        result.no_onnx = no_onnx;
        result.evidence = start.evidence;
        Ok(Some(result))
    }

    fn result(&self, record: RunRecord, threads: usize, seconds: f64) -> TrialResult {
        let last = record.metrics.last();
        let sound = last.filter(|_| record.diverged.is_none());
        let training_seconds = last.map_or(0.0, |metric| metric.seconds);
        TrialResult {
            version: self.version.to_owned(),
            seed: record.seed,
            threads,
            data: self.data.describe(),
            graph: String::new(),
            parameters: record.parameters,
            flops: record.flops_per_sample,
            latency_ms: None,
            accuracy: sound.map(|metric| metric.validation_accuracy),
            loss: sound.map(|metric| metric.validation_loss),
            training_seconds,
            seconds: seconds.max(training_seconds),
            training_flops: last.map_or(0.0, |metric| metric.flops),
            steps: last.map_or(0, |metric| metric.step),
            diverged: record.diverged,
            no_onnx: None,
            broken: self.data.broken(),
            evidence: Vec::new(),
            metrics: record.metrics,
        }
    }
}

/// Writes a network as ONNX; what stands in the way, if something does.
pub(crate) fn write_onnx(model: &Checkpoint, path: &Path) -> Result<Option<String>, TrialError> {
    match Document::from_graph(&model.graph, &model.weights) {
        Err(error) => Ok(Some(error.to_string())),
        Ok(document) => {
            let saved = document.save(path);
            saved.map_err(|source| TrialError::Onnx {
                path: path.to_owned(),
                source,
            })?;
            Ok(None)
        }
    }
}

/// What a trial is called: its directory, without what marks it as unfinished.
fn name_of(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrialError> {
    let json = serde_json::to_vec_pretty(value).map_err(|source| TrialError::Json {
        path: path.to_owned(),
        source,
    })?;
    write_atomic(path, &json).map_err(TrialError::file(path))
}
