//! What others see of a home: the champion's files, the events, the page; and the hook that tells them.
//!
//! The store is what counts. Everything here follows from it, and is put right whenever a command changes the home: after a
//! kill at any moment the next command finds out what is lacking.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use net2net_core::io::{STAGED_PREFIX, write_atomic};
use serde::Serialize;

use super::error::EvolveError;
use super::home::{Home, NETWORK};
use super::life::life;
use super::objects::{is, sha256};
use super::page;
use super::run::Options;
use super::store::{Version, fact};
use super::work::folder_of;
use crate::data::Normalization;
use crate::explore::Watcher;
use crate::train::{BEST_FILE, MODEL_FILE, TRUNK_FILE};
use crate::trial::ONNX_FILE;

/// The champion, whole at any moment.
pub const CHAMPION_FILE: &str = "champion.safetensors";
/// The same for others.
pub const CHAMPION_ONNX: &str = "champion.onnx";
/// Which version it is, and what a reader must know to use it.
pub const CHAMPION_CARD: &str = "champion.json";
/// What happened, a line each.
pub const EVENTS_FILE: &str = "events.jsonl";
/// The page, for people.
pub const PAGE_FILE: &str = "evolve.html";
/// What the last hook said.
const HOOK_LOG: &str = "hook.log";

/// What stands beside the champion's files.
#[derive(Serialize)]
struct Card<'a> {
    version: i64,
    safetensors_sha256: &'a str,
    onnx_sha256: Option<&'a str>,
    accuracy: f64,
    parameters: u64,
    classes: Vec<String>,
    normalization: Option<Normalization>,
}

/// Brings everything that others see up to date with the store, and runs the hook if it has yet to run.
pub(super) fn settle(
    home: &mut Home,
    options: &Options,
    watcher: &mut dyn Watcher,
) -> Result<(), EvolveError> {
    if let Some(id) = home.store.champion()? {
        let champion = home.store.version(id)?;
        show(home, &champion)?;
    }
    write_events(home)?;
    clear(home)?;
    sweep(home)?;
    let text = page::render(&life(home)?, &options.version);
    let path = home.path().join(PAGE_FILE);
    write_atomic(&path, text.as_bytes()).map_err(EvolveError::file(&path))?;
    run_hook(home, watcher)
}

/// Puts the champion's files in place, each whole. The card comes last: with its hashes a reader knows that they belong together.
fn show(home: &Home, champion: &Version) -> Result<(), EvolveError> {
    let whose = format!("version {}, the champion", champion.id);
    let place = |name: &str| home.path().join(name);
    let put = |name: &str, hash: &str, extension: &str| {
        let path = place(name);
        if is(&path, hash) {
            return Ok(());
        }
        let bytes = home.objects.read(hash, extension, &whose)?;
        write_atomic(&path, &bytes).map_err(EvolveError::file(&path))
    };
    put(CHAMPION_FILE, &champion.model, NETWORK)?;
    match &champion.onnx {
        Some(hash) => put(CHAMPION_ONNX, hash, "onnx")?,
        None => remove(&place(CHAMPION_ONNX))?,
    }
    let steps = home.store.steps()?;
    let snapshot = steps.iter().find(|step| step.id == champion.step);
    let snapshots = home.store.snapshots()?;
    let snapshot = snapshot.and_then(|step| snapshots.iter().find(|s| s.id == step.snapshot));
    let normalization = home.store.fact(fact::NORMALIZATION)?;
    let card = Card {
        version: champion.id,
        safetensors_sha256: &champion.model,
        onnx_sha256: champion.onnx.as_deref(),
        accuracy: champion.record.judgement.challenger.accuracy,
        parameters: champion.record.parameters,
        classes: snapshot.map_or_else(Vec::new, |snapshot| snapshot.record.classes.clone()),
        normalization: normalization.and_then(|text| serde_json::from_str(&text).ok()),
    };
    let path = place(CHAMPION_CARD);
    let mut bytes = serde_json::to_vec_pretty(&card).map_err(|source| EvolveError::Json {
        path: path.clone(),
        source,
    })?;
    bytes.push(b'\n');
    match is(&path, &sha256(&bytes)) {
        true => Ok(()),
        false => write_atomic(&path, &bytes).map_err(EvolveError::file(&path)),
    }
}

/// What is wrong with the champion's files, if anything.
pub(super) fn champion_fault(home: &Home) -> Result<Option<String>, EvolveError> {
    let Some(id) = home.store.champion()? else {
        return Ok(None);
    };
    let champion = home.store.version(id)?;
    let onnx = champion.onnx.as_deref().map(|hash| (CHAMPION_ONNX, hash));
    let files = [(CHAMPION_FILE, champion.model.as_str())];
    for (name, hash) in files.into_iter().chain(onnx) {
        let path = home.path().join(name);
        if !is(&path, hash) {
            return Ok(Some(format!(
                "{} is not version {id}; `net2net evolve step` or `rollback` puts it right",
                path.display()
            )));
        }
    }
    Ok(None)
}

/// Appends the events that are not in their file yet. Half a line that a kill left is cut.
fn write_events(home: &Home) -> Result<(), EvolveError> {
    let path = home.path().join(EVENTS_FILE);
    let file = || EvolveError::file(&path);
    let there = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(file())?,
    };
    let mut lines = Vec::new();
    for event in home.store.events()? {
        let line = serde_json::to_string(&event).map_err(|source| EvolveError::Json {
            path: path.clone(),
            source,
        })?;
        lines.push(line + "\n");
    }
    let whole = lines.concat();
    if there == whole {
        return Ok(());
    }
    match whole.strip_prefix(&there) {
        // Those who follow the file see it grow.
        Some(more) if !there.is_empty() => {
            use std::io::Write;
            let opened = fs::OpenOptions::new().append(true).open(&path);
            opened
                .and_then(|mut out| {
                    out.write_all(more.as_bytes())?;
                    out.sync_data()
                })
                .map_err(file())
        }
        _ => write_atomic(&path, whole.as_bytes()).map_err(file()),
    }
}

/// Removes the networks of the trials of steps that are done: what is worth keeping is kept by its hash.
fn clear(home: &Home) -> Result<(), EvolveError> {
    let done = home.store.steps()?;
    // Those before were cleared before.
    for step in done
        .iter()
        .filter(|step| step.ended.is_some())
        .rev()
        .take(2)
    {
        let trials = folder_of(home, step.id).join("trials");
        let Ok(entries) = fs::read_dir(&trials) else {
            continue;
        };
        for entry in entries {
            let folder = entry.map_err(EvolveError::file(&trials))?.path();
            if !folder.is_dir() {
                continue;
            }
            for name in [MODEL_FILE, BEST_FILE, TRUNK_FILE, ONNX_FILE] {
                remove(&folder.join(name))?;
            }
        }
    }
    Ok(())
}

/// Removes files that a kill left half-written, which nothing names.
fn sweep(home: &Home) -> Result<(), EvolveError> {
    let mut folders = vec![home.path().to_owned()];
    let objects = fs::read_dir(home.path().join("objects"));
    folders.extend(
        objects
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path())),
    );
    for folder in folders {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.map_err(EvolveError::file(&folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(STAGED_PREFIX) && path.is_file() {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), EvolveError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EvolveError::file(path)(error))
        }
        _ => Ok(()),
    }
}

/// Runs the hook of a promotion, if there is one, and notes how it ended. A kill in between runs it once more.
fn run_hook(home: &mut Home, watcher: &mut dyn Watcher) -> Result<(), EvolveError> {
    let Some(version) = home.store.hook()? else {
        return Ok(());
    };
    let Some(command) = home.spec()?.hooks.promoted else {
        return home.store.no_hook();
    };
    let ended = match hook_process(home, &command, version) {
        Ok(status) if status.success() => "well".to_owned(),
        Ok(status) => format!("with {status}; see {HOOK_LOG}"),
        Err(error) => format!("before it began: {error}"),
    };
    if ended != "well" {
        watcher.note(&format!("the hook for version {version} ended {ended}"));
    }
    home.store.hook_ran(version, &ended)?;
    write_events(home)
}

fn hook_process(
    home: &Home,
    command: &str,
    version: i64,
) -> std::io::Result<std::process::ExitStatus> {
    let whole: PathBuf = std::path::absolute(home.path())?;
    let log = fs::File::create(whole.join(HOOK_LOG))?;
    let (shell, flag) = match cfg!(windows) {
        true => ("cmd", "/C"),
        false => ("sh", "-c"),
    };
    Command::new(shell)
        .args([flag, command])
        .current_dir(&whole)
        .env("NET2NET_VERSION", version.to_string())
        .env("NET2NET_MODEL", whole.join(CHAMPION_FILE))
        .env("NET2NET_ONNX", whole.join(CHAMPION_ONNX))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
}
