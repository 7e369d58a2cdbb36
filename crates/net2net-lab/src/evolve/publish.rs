//! What others see of a home: the champion's files, the events, the page; and the hook that tells them.
//!
//! The store is what counts. Everything here follows from it, and is put right whenever a command changes the home: after a
//! kill at any moment the next command finds out what is lacking.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net2net_core::io::write_atomic;
use serde::Serialize;

use super::error::EvolveError;
use super::home::{Home, NETWORK};
use super::life::life;
use super::objects::{is, sha256};
use super::page;
use super::run::Options;
use super::samples::classes_of;
use super::store::{Version, fact};
use super::work::folder_of;
use crate::compare::sweep;
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
/// How often it is looked whether a hook has ended.
const PATIENCE: Duration = Duration::from_millis(50);

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
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> Result<(), EvolveError> {
    if let Some(id) = home.store.champion()? {
        let champion = home.store.version(id)?;
        show(home, &champion)?;
    }
    write_events(home)?;
    clear(home)?;
    sweep(home.path());
    let text = page::render(&life(home)?, &options.version);
    let path = home.path().join(PAGE_FILE);
    write_atomic(&path, text.as_bytes()).map_err(EvolveError::file(&path))?;
    run_hook(home, stop, watcher)
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
    let path = place(CHAMPION_CARD);
    let bytes = card(home, champion, &path)?;
    match is(&path, &sha256(&bytes)) {
        true => Ok(()),
        false => write_atomic(&path, &bytes).map_err(EvolveError::file(&path)),
    }
}

/// The champion's card as it is written.
fn card(home: &Home, champion: &Version, path: &Path) -> Result<Vec<u8>, EvolveError> {
    let normalization = home.store.fact(fact::NORMALIZATION)?;
    let card = Card {
        version: champion.id,
        safetensors_sha256: &champion.model,
        onnx_sha256: champion.onnx.as_deref(),
        accuracy: champion.record.judgement.challenger.accuracy,
        parameters: champion.record.parameters,
        classes: classes_of(home, champion)?,
        normalization: normalization.and_then(|text| serde_json::from_str(&text).ok()),
    };
    let mut bytes = serde_json::to_vec_pretty(&card).map_err(|source| EvolveError::Json {
        path: path.to_owned(),
        source,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// What is wrong with the champion's files, if anything.
pub(super) fn champion_fault(home: &Home) -> Result<Option<String>, EvolveError> {
    let Some(id) = home.store.champion()? else {
        return Ok(None);
    };
    let champion = home.store.version(id)?;
    let onnx = champion.onnx.as_deref().map(|hash| (CHAMPION_ONNX, hash));
    let card = match card(home, &champion, &home.path().join(CHAMPION_CARD)) {
        Ok(bytes) => sha256(&bytes),
        // Something that it is made of is damaged: a fault to tell, not one to stop at.
        Err(error) => return Ok(Some(error.to_string())),
    };
    let files = [
        (CHAMPION_FILE, champion.model.as_str()),
        (CHAMPION_CARD, &card),
    ];
    for (name, hash) in files.into_iter().chain(onnx) {
        let path = home.path().join(name);
        if !is(&path, hash) {
            return Ok(Some(format!(
                "{} is not that of version {id}; `net2net evolve step` or `rollback` puts it right",
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
    // Bytes, not text: a kill may cut a letter in two.
    let there = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
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
    let whole = lines.concat().into_bytes();
    if there == whole {
        return Ok(());
    }
    match whole.strip_prefix(&there[..]) {
        // Those who follow the file see it grow.
        Some(more) if !there.is_empty() => {
            use std::io::Write;
            let opened = fs::OpenOptions::new().append(true).open(&path);
            opened
                .and_then(|mut out| {
                    out.write_all(more)?;
                    out.sync_data()
                })
                .map_err(file())
        }
        _ => write_atomic(&path, &whole).map_err(file()),
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
            // A rollback ended the step in the middle of it.
            if folder.extension().is_some_and(|end| end == "partial") {
                // Where a process still works in it, the next command removes it.
                let _ = fs::remove_dir_all(&folder);
                continue;
            }
            for name in [MODEL_FILE, BEST_FILE, TRUNK_FILE, ONNX_FILE] {
                remove(&folder.join(name))?;
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

/// Runs the hook of a promotion, if there is one, and notes how it ended. A kill in between, or a request to stop, runs it once
/// more.
fn run_hook(
    home: &mut Home,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> Result<(), EvolveError> {
    let Some(version) = home.store.hook()? else {
        return Ok(());
    };
    let hooks = home.spec()?.hooks;
    let Some(command) = &hooks.promoted else {
        return home.store.no_hook();
    };
    let timeout = Duration::from_secs_f64(hooks.timeout);
    let ended =
        hook_process(home, command, version).and_then(|mut child| wait(&mut child, timeout, stop));
    let ended = match ended {
        Ok(Waited::Ended(status)) if status.success() => "well".to_owned(),
        Ok(Waited::Ended(status)) => format!("with {status}; see {HOOK_LOG}"),
        Ok(Waited::TooLong) => format!(
            "because it took longer than {} s; raise `timeout` under [hooks], and see {HOOK_LOG}",
            hooks.timeout
        ),
        Ok(Waited::Stopped) => {
            watcher.note(&format!(
                "the hook for version {version} was ended; the next command runs it again"
            ));
            return Ok(());
        }
        Err(error) => format!("before it began: {error}"),
    };
    if ended != "well" {
        watcher.note(&format!("the hook for version {version} ended {ended}"));
    }
    home.store.hook_ran(version, &ended)?;
    write_events(home)
}

/// How waiting for a process ended.
enum Waited {
    Ended(ExitStatus),
    TooLong,
    Stopped,
}

/// Waits for a process, and ends it, with all that it started, if it takes too long or one is to stop.
fn wait(child: &mut Child, timeout: Duration, stop: &AtomicBool) -> std::io::Result<Waited> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Waited::Ended(status));
        }
        let ended = match (stop.load(Ordering::Relaxed), began.elapsed() > timeout) {
            (true, _) => Waited::Stopped,
            (false, true) => Waited::TooLong,
            (false, false) => {
                std::thread::sleep(PATIENCE);
                continue;
            }
        };
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
            // It may have ended by itself just now.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = child.kill();
        child.wait()?;
        return Ok(ended);
    }
}

/// Starts a hook, as the leader of a group of processes.
fn hook_process(home: &Home, command: &str, version: i64) -> std::io::Result<Child> {
    let whole: PathBuf = std::path::absolute(home.path())?;
    let log = fs::File::create(whole.join(HOOK_LOG))?;
    let (shell, flag) = match cfg!(windows) {
        true => ("cmd", "/C"),
        false => ("sh", "-c"),
    };
    let mut process = Command::new(shell);
    process
        .args([flag, command])
        .current_dir(&whole)
        .env("NET2NET_VERSION", version.to_string())
        .env("NET2NET_MODEL", whole.join(CHAMPION_FILE))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    if whole.join(CHAMPION_ONNX).exists() {
        process.env("NET2NET_ONNX", whole.join(CHAMPION_ONNX));
    }
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut process, 0);
    process.spawn()
}
