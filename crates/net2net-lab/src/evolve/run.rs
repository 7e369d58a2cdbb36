//! The life of a model: a step, and steps as data arrive.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net2net_core::graph::Graph;

use super::arrival::{Arrived, Look, look};
use super::error::EvolveError;
use super::home::Home;
use super::publish::settle;
use super::samples::{classes_of_line, left, left_by_adoption};
use super::spec::EvolveSpec;
use super::store::{Snapshot, SnapshotRecord, Step, fact};
use super::work::{Work, adopted};
use crate::compare::Stated;
use crate::data::pack::{self, PACK_EXTENSION};
use crate::data::{DataError, Dataset, ImageShape, Normalization};
use crate::explore::Watcher;
use crate::trial::{TrialError, reads};

/// How often it is looked whether one is to stop while waiting.
const PATIENCE: Duration = Duration::from_millis(100);

/// How a life goes on, beside its settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that is started for each trial, as `PROGRAM train SPEC --out DIR`.
    pub program: PathBuf,
    /// The program's version, for the page.
    pub version: String,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// The step is done; whether it made another champion.
    Done {
        /// The step.
        step: i64,
        /// The version that it made, if it made one.
        version: Option<i64>,
        /// Whether that is the champion.
        promoted: bool,
        /// Why, or why not.
        reason: String,
    },
    /// There is nothing new; what is waited for.
    Nothing(String),
    /// There will be nothing new.
    Over(String),
    /// Stopped on request; the same command goes on.
    Interrupted,
}

/// Does one step, if data have arrived, or goes on with one that was interrupted. Where nothing has arrived, `again` trains on
/// what the trunk has not learnt from: after a rollback, or where a step failed or what came of it was worse.
///
/// # Errors
/// Those of [`EvolveError`]; the same command goes on afterwards.
pub fn step(
    home: &mut Home,
    options: &Options,
    again: bool,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> Result<Stepped, EvolveError> {
    settle(home, options, stop, watcher)?;
    match stop.load(Ordering::Relaxed) {
        true => Ok(Stepped::Interrupted),
        false => next(home, options, again, stop, watcher),
    }
}

/// A step of a home that is in order.
fn next(
    home: &mut Home,
    options: &Options,
    again: bool,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> Result<Stepped, EvolveError> {
    let step = match home.store.open_step()? {
        Some(step) => {
            watcher.note(&format!("step {}: goes on", step.id));
            step
        }
        None => match opened(home, again, watcher)? {
            Ok(step) => step,
            Err(waiting) => return Ok(waiting),
        },
    };
    let number = step.id;
    let adopts = adopted(home, &step)?.is_some();
    let Some(settled) = Work::new(home, options, step, stop, watcher)?.run()? else {
        return Ok(Stepped::Interrupted);
    };
    let version = home.store.end_step(&settled)?;
    let reason = settled.decisions.iter().find(|one| one.what == "promote");
    let stepped = Stepped::Done {
        step: number,
        version,
        promoted: settled.promoted,
        reason: reason.map_or_else(String::new, |one| one.reason.clone()),
    };
    settle(home, options, stop, watcher)?;
    match adopts {
        // The network that the life begins with is a version now; the data that came are still to be learnt from.
        true => {
            watcher.note(&said(&stepped));
            match stop.load(Ordering::Relaxed) {
                true => Ok(Stepped::Interrupted),
                false => next(home, options, again, stop, watcher),
            }
        }
        false => Ok(stepped),
    }
}

/// Begins a step about data that have arrived, or that the trunk has not learnt from; otherwise what is waited for.
fn opened(
    home: &mut Home,
    again: bool,
    watcher: &mut dyn Watcher,
) -> Result<Result<Step, Stepped>, EvolveError> {
    let spec = home.spec()?;
    if let Some(snapshot) = left_by_adoption(home)? {
        return begin_again(home, &spec, snapshot).map(Ok);
    }
    let left = left(home)?;
    let (what, waiting) = match (look(home, &spec), left) {
        (Ok(Look::Arrived(arrived)), _) => {
            for note in &arrived.notes {
                watcher.note(note);
            }
            return begin(home, &spec, *arrived).map(Ok);
        }
        (Ok(Look::Nothing(what)), _) => (what.clone(), Stepped::Nothing(what)),
        (Ok(Look::Over(what)), _) => (what.clone(), Stepped::Over(what)),
        // What is in the home can be learnt from whatever has become of the folder.
        (Err(error), Some(_)) if again => (error.to_string(), Stepped::Nothing(String::new())),
        (Err(error), _) => return Err(error),
    };
    match left {
        Some(snapshot) if again => {
            watcher.note(&what);
            begin_again(home, &spec, snapshot).map(Ok)
        }
        Some(_) => {
            let path = home.path().display();
            let more = format!(
                "{what}; some data are not learnt from: net2net evolve step {path} --again"
            );
            Ok(Err(match waiting {
                Stepped::Over(_) => Stepped::Over(more),
                _ => Stepped::Nothing(more),
            }))
        }
        None => Ok(Err(waiting)),
    }
}

fn begin_again(home: &mut Home, spec: &EvolveSpec, snapshot: i64) -> Result<Step, EvolveError> {
    let settings = spec.at_home_in(home.path()).to_toml()?;
    home.store.begin_again(snapshot, &settings)
}

/// Does a step whenever data arrive, and looks for them every `every`. Ends when there will be none, if `until_idle` also when
/// there are none, or on request.
///
/// # Errors
/// See [`step`].
pub fn run(
    home: &mut Home,
    options: &Options,
    every: Duration,
    until_idle: bool,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> Result<Stepped, EvolveError> {
    settle(home, options, stop, watcher)?;
    let mut waited_for = String::new();
    loop {
        let stepped = next(home, options, false, stop, watcher)?;
        match &stepped {
            Stepped::Done { .. } => {
                watcher.note(&said(&stepped));
                waited_for.clear();
            }
            Stepped::Nothing(what) if !until_idle => {
                if *what != waited_for {
                    watcher.note(what);
                    waited_for.clone_from(what);
                }
                let began = Instant::now();
                while began.elapsed() < every && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(PATIENCE.min(every));
                }
            }
            _ => return Ok(stepped),
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Stepped::Interrupted);
        }
    }
}

/// What a step came to, in a line.
pub fn said(stepped: &Stepped) -> String {
    match stepped {
        Stepped::Done {
            step,
            version: Some(version),
            promoted: true,
            reason,
        } => format!("step {step}: version {version} is the champion: {reason}"),
        Stepped::Done {
            step,
            version: Some(version),
            reason,
            ..
        } => {
            format!("step {step}: version {version} was trained, and the champion stays: {reason}")
        }
        Stepped::Done { step, reason, .. } => format!("step {step}: {reason}"),
        Stepped::Nothing(what) | Stepped::Over(what) => what.clone(),
        Stepped::Interrupted => "stopped; the same command goes on".to_owned(),
    }
}

/// Keeps what has arrived, and notes it with the step that is to be done about it.
fn begin(home: &mut Home, spec: &EvolveSpec, arrived: Arrived) -> Result<Step, EvolveError> {
    let before = home.store.snapshots()?;
    // Classes of data that were put away are not known any more.
    let used: Vec<Snapshot> = before.iter().filter(|one| !one.dropped).cloned().collect();
    let mut classes = classes_of_line(home, home.store.head()?, &used)?;
    let mut new_classes = Vec::new();
    let own = arrived.train.classes().iter();
    let judged = arrived.validation.iter().flat_map(Dataset::classes);
    for class in own.chain(judged) {
        if !classes.contains(class) {
            classes.push(class.clone());
            new_classes.push(class.clone());
        }
    }
    if before.is_empty() {
        match (home.store.fact(fact::START)?, &spec.start.model) {
            (Some(start), _) => suits(home, spec, &start, arrived.train.shape())?,
            (None, Some(model)) => {
                let built = model.build(arrived.train.shape(), classes.len());
                within_limits(home, spec, &built.map_err(TrialError::from)?)?;
            }
            (None, None) => {}
        }
    }
    let normalization = match home.store.fact(fact::NORMALIZATION)? {
        Some(known) => known,
        None => {
            let measured = match &spec.data.normalization {
                Some(stated) => stated.clone(),
                None => Normalization::measure(&arrived.train)?,
            };
            serde_json::to_string(&measured).map_err(|source| EvolveError::Json {
                path: home.path().to_owned(),
                source,
            })?
        }
    };
    let snapshot = Snapshot {
        id: before.last().map_or(0, |last| last.id) + 1,
        name: arrived.name,
        at: arrived.at,
        train: keep(home, &arrived.train)?,
        validation: arrived
            .validation
            .as_ref()
            .map(|data| keep(home, data))
            .transpose()?,
        record: SnapshotRecord {
            shape: arrived.train.shape().into(),
            train: arrived.train.len(),
            validation: arrived.validation.as_ref().map_or(0, Dataset::len),
            classes,
            new_classes,
            notes: arrived.notes,
        },
        dropped: false,
    };
    let settings = spec.at_home_in(home.path()).to_toml()?;
    home.store
        .begin_step(&snapshot, &arrived.files, &normalization, &settings)
}

/// Refuses the first data if the network that the life begins with does not read such images, or is beyond the limits: nothing
/// that comes of it could be within them.
fn suits(
    home: &Home,
    spec: &EvolveSpec,
    start: &str,
    images: ImageShape,
) -> Result<(), EvolveError> {
    let network = home.network(start, "the network that the life begins with")?;
    within_limits(home, spec, &network.graph)?;
    reads(&network.graph, images).map_err(|why| EvolveError::Arrival {
        folder: home.path().to_owned(),
        why: format!(
            "cannot begin with these images: {why}; set `side` under [data.read] in its spec.toml, or make another home with a \
             network that reads them"
        ),
    })
}

fn within_limits(home: &Home, spec: &EvolveSpec, graph: &Graph) -> Result<(), EvolveError> {
    let limits = &spec.limits;
    match limits.passed_by(graph.parameter_count(), graph.flops(), None) {
        None => Ok(()),
        Some(why) => Err(EvolveError::Arrival {
            folder: home.path().to_owned(),
            why: format!("cannot begin with its network: {why}; raise [limits] in its spec.toml"),
        }),
    }
}

fn keep(home: &Home, data: &Dataset) -> Result<String, EvolveError> {
    let bytes = pack::encode(data).ok_or_else(|| DataError::Pack {
        file: data.name().into(),
        reason: "its images are in files".to_owned(),
    })?;
    home.objects.put(&bytes, PACK_EXTENSION)
}
