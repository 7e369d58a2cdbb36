//! The contestants and the processes in which they run.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;

use super::Task;
use super::load::{Load, Sample};
use super::worker::{Ready, Turn};
use crate::python;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    Net2net,
    Torch {
        /// Memory in NHWC order.
        channels_last: bool,
        /// The C library keeps freed memory, instead of giving it back after each step.
        keeps_memory: bool,
    },
}

/// All of them: ours first, then PyTorch as most people run it, then better settings of it.
pub(super) const CONTESTANTS: [Contestant; 5] = [
    Contestant::Net2net,
    Contestant::Torch {
        channels_last: false,
        keeps_memory: false,
    },
    Contestant::Torch {
        channels_last: true,
        keeps_memory: false,
    },
    Contestant::Torch {
        channels_last: false,
        keeps_memory: true,
    },
    Contestant::Torch {
        channels_last: true,
        keeps_memory: true,
    },
];

impl Contestant {
    pub(super) fn name(self) -> &'static str {
        match self {
            Contestant::Net2net => "net2net",
            Contestant::Torch {
                channels_last: false,
                keeps_memory: false,
            } => "PyTorch",
            Contestant::Torch {
                channels_last: true,
                keeps_memory: false,
            } => "channels_last",
            Contestant::Torch {
                channels_last: false,
                keeps_memory: true,
            } => "malloc",
            Contestant::Torch {
                channels_last: true,
                keeps_memory: true,
            } => "channels_last, malloc",
        }
    }

    fn command(self, python: &Path) -> Result<Command> {
        Ok(match self {
            Contestant::Net2net => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("bench-worker");
                command
            }
            Contestant::Torch {
                channels_last,
                keeps_memory,
            } => {
                let mut command = Command::new(python);
                command.arg(python::script("bench_worker.py"));
                if channels_last {
                    command.arg("--channels-last");
                }
                if keeps_memory {
                    let bytes = (16u64 << 30).to_string();
                    command.env("MALLOC_TRIM_THRESHOLD_", &bytes);
                    command.env("MALLOC_MMAP_THRESHOLD_", &bytes);
                }
                command
            }
        })
    }
}

/// A contestant's process, which waits while others have their turns.
pub(super) struct Worker {
    pub(super) contestant: Contestant,
    /// PyTorch's version, if it is PyTorch.
    pub(super) torch: Option<String>,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts the process and waits until it is ready.
    pub(super) fn start(contestant: Contestant, task: &Task, python: &Path) -> Result<Self> {
        let threads = task.threads.to_string();
        let mut command = contestant.command(python)?;
        command
            .arg("--checkpoint")
            .arg(task.checkpoint())
            .arg("--images")
            .arg(task.images())
            .arg("--labels")
            .arg(task.labels())
            .args(["--batch", &task.batch.to_string(), "--threads", &threads])
            .env("OMP_NUM_THREADS", &threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start a contestant")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a contestant has no pipes");
        };
        let output = BufReader::new(output);
        let mut worker = Worker {
            contestant,
            torch: None,
            child,
            input,
            output,
        };
        worker.torch = worker.read::<Ready>()?.torch;
        Ok(worker)
    }

    /// Has it take some steps, and watches the machine meanwhile.
    pub(super) fn steps(&mut self, steps: usize) -> Result<(Turn, Option<Load>)> {
        let before = Sample::take(self.child.id());
        writeln!(self.input, "{steps}")?;
        let turn: Turn = self.read()?;
        ensure!(turn.milliseconds.len() == steps && turn.losses.len() == steps);
        let after = Sample::take(self.child.id());
        Ok((
            turn,
            after.zip(before).map(|(after, before)| after.since(before)),
        ))
    }

    fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        let bytes = self.output.read_line(&mut line)?;
        ensure!(bytes > 0, "{} ended unexpectedly", self.contestant.name());
        Ok(serde_json::from_str(&line)?)
    }

    /// The most memory that it held at once, where the system tells.
    pub(super) fn peak_mib(&self) -> Option<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib / 1024.0)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing is lost if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
