//! Trials as processes, some side by side.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net2net_core::io::write_atomic;
use thiserror::Error;

/// The exit code of a process that could not write because there is no room.
pub const NO_ROOM: i32 = 3;
/// That of one that was stopped.
const INTERRUPTED: i32 = 130;
/// How often a trial is tried.
const ATTEMPTS: usize = 2;
/// How often it is looked whether one has ended.
const PATIENCE: Duration = Duration::from_millis(20);
/// What a failed trial leaves in its input folder.
const FAILED_FILE: &str = "failed.txt";
const LOG_FILE: &str = "stderr.log";

/// Why a trial could not be done, which says nothing about the trial.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// A disk is full.
    #[error("there is no room to go on: trial {trial}: {why}; make room and resume")]
    NoRoom {
        /// The trial that found out.
        trial: String,
        /// What it said.
        why: String,
    },
    /// The program cannot be started again for a trial.
    #[error("{} cannot be started: {source}", path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ProcessError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> ProcessError {
        move |source| ProcessError::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// A trial to be done.
pub(crate) struct Task {
    /// Its name.
    pub(crate) id: String,
    /// The folder that holds `trial.toml` and what that names.
    pub(crate) input: PathBuf,
    /// Where the result goes.
    pub(crate) out: PathBuf,
    pub(crate) threads: usize,
}

/// How a trial ended.
pub(crate) enum End {
    /// The result is there.
    Done,
    /// All attempts failed; why the last one did.
    Failed(String),
}

/// Does trials at once, each in a process; `None` if they were stopped. Those that have failed before are not tried again.
pub(crate) fn side_by_side(
    program: &Path,
    tasks: &[&Task],
    stop: &AtomicBool,
) -> Result<Option<Vec<End>>, ProcessError> {
    let mut running = Vec::with_capacity(tasks.len());
    for task in tasks {
        running.push(Running::start(program, task)?);
    }
    loop {
        let mut busy = false;
        for one in &mut running {
            busy |= one.look(program, stop)?;
        }
        if !busy {
            break;
        }
        std::thread::sleep(PATIENCE);
    }
    if running.iter().any(|one| one.stopped) {
        return Ok(None);
    }
    for one in &running {
        if let Some(End::Failed(why)) = &one.end {
            note_failure(one.task, why)?;
        }
    }
    Ok(running.into_iter().map(|one| one.end).collect())
}

/// What a trial failed with in an earlier run.
pub(crate) fn failure(input: &Path) -> Result<Option<String>, ProcessError> {
    let path = input.join(FAILED_FILE);
    match fs::read_to_string(&path) {
        Ok(why) => Ok(Some(why.trim_end().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ProcessError::file(&path)(error)),
    }
}

fn note_failure(task: &Task, why: &str) -> Result<(), ProcessError> {
    let path = task.input.join(FAILED_FILE);
    write_atomic(&path, format!("{why}\n").as_bytes()).map_err(ProcessError::file(&path))
}

struct Running<'a> {
    task: &'a Task,
    process: Option<Process>,
    attempts: usize,
    end: Option<End>,
    stopped: bool,
}

struct Process {
    child: Child,
    /// Closed to ask the process to stop, which is also what happens if this process dies.
    stdin: Option<ChildStdin>,
}

impl Drop for Process {
    /// After an error nobody waits any more: the process stops by itself, and must not be left as a zombie.
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

impl<'a> Running<'a> {
    fn start(program: &Path, task: &'a Task) -> Result<Running<'a>, ProcessError> {
        let mut one = Running {
            task,
            process: None,
            attempts: 0,
            end: None,
            stopped: false,
        };
        one.attempt(program)?;
        Ok(one)
    }

    fn attempt(&mut self, program: &Path) -> Result<(), ProcessError> {
        let task = self.task;
        let log_path = task.input.join(LOG_FILE);
        let log = File::create(&log_path).map_err(ProcessError::file(&log_path))?;
        let spawned = Command::new(program)
            .arg("train")
            .arg(task.input.join("trial.toml"))
            .arg("--out")
            .arg(&task.out)
            .args(["--threads", &task.threads.to_string(), "--while-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let mut child = spawned.map_err(|source| ProcessError::Program {
            path: program.to_owned(),
            source,
        })?;
        self.attempts += 1;
        let stdin = child.stdin.take();
        self.process = Some(Process { child, stdin });
        Ok(())
    }

    /// Whether it is still at work.
    fn look(&mut self, program: &Path, stop: &AtomicBool) -> Result<bool, ProcessError> {
        let Some(process) = &mut self.process else {
            return Ok(false);
        };
        if stop.load(Ordering::Relaxed) {
            process.stdin = None;
        }
        let waited = process.child.try_wait();
        let Some(status) = waited.map_err(ProcessError::file(program))? else {
            return Ok(true);
        };
        self.process = None;
        match status.code() {
            Some(0) => self.end = Some(End::Done),
            Some(INTERRUPTED) => self.stopped = true,
            Some(NO_ROOM) => {
                return Err(ProcessError::NoRoom {
                    trial: self.task.id.clone(),
                    why: self.why(status),
                });
            }
            // With the terminal's Ctrl-C a process may end before it can listen.
            _ if stop.load(Ordering::Relaxed) => self.stopped = true,
            _ if self.attempts < ATTEMPTS => {
                self.attempt(program)?;
                return Ok(true);
            }
            _ => self.end = Some(End::Failed(self.why(status))),
        }
        Ok(false)
    }

    /// The last thing that it said, or how it ended.
    fn why(&self, status: ExitStatus) -> String {
        let said = fs::read_to_string(self.task.input.join(LOG_FILE)).unwrap_or_default();
        let last = said
            .lines()
            .rev()
            .find(|line| line.starts_with("net2net: "));
        last.map_or_else(
            || format!("the process ended with {status}"),
            |line| line.trim_start_matches("net2net: ").to_owned(),
        )
    }
}
