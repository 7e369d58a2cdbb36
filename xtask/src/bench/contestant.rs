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
    /// Our training steps.
    Net2net,
    Torch(Settings),
    /// Our answers.
    Predictor,
    OnnxRuntime,
}

/// How PyTorch runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// Memory in NHWC order.
    channels_last: bool,
    /// The C library keeps freed memory, instead of giving it back after each step.
    keeps_memory: bool,
    /// `torch.compile`, which needs a C++ compiler and takes minutes.
    compiled: bool,
}

/// Ours first, then PyTorch as most people run it, then better settings of it.
pub(super) fn trainers(compiled: bool) -> Vec<Contestant> {
    let settings = |channels_last, keeps_memory| {
        Contestant::Torch(Settings {
            channels_last,
            keeps_memory,
            compiled: false,
        })
    };
    let mut all = vec![
        Contestant::Net2net,
        settings(false, false),
        settings(true, false),
        settings(false, true),
        settings(true, true),
    ];
    if compiled {
        all.push(Contestant::Torch(Settings {
            channels_last: true,
            keeps_memory: true,
            compiled: true,
        }));
    }
    all
}

impl Contestant {
    pub(super) fn name(self) -> &'static str {
        match self {
            Contestant::Net2net | Contestant::Predictor => "net2net",
            Contestant::OnnxRuntime => "onnxruntime",
            Contestant::Torch(settings) => {
                match (
                    settings.channels_last,
                    settings.keeps_memory,
                    settings.compiled,
                ) {
                    (_, _, true) => "channels_last, malloc, compiled",
                    (false, false, _) => "PyTorch",
                    (true, false, _) => "channels_last",
                    (false, true, _) => "malloc",
                    (true, true, _) => "channels_last, malloc",
                }
            }
        }
    }

    fn command(self, task: &Task, python: &Path) -> Result<Command> {
        let ours = || -> Result<Command> {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("bench-worker");
            Ok(command)
        };
        let script = |name: &str| {
            let mut command = Command::new(python);
            command.arg(python::script(name));
            command
        };
        Ok(match self {
            Contestant::Net2net => ours()?,
            Contestant::Predictor => {
                let mut command = ours()?;
                command.arg("--predict");
                command
            }
            Contestant::OnnxRuntime => {
                let mut command = script("bench_infer.py");
                command.arg("--onnx").arg(task.onnx());
                command
            }
            Contestant::Torch(settings) => {
                let mut command = script("bench_worker.py");
                if settings.channels_last {
                    command.arg("--channels-last");
                }
                if settings.compiled {
                    command.arg("--compile");
                }
                if settings.keeps_memory {
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
    /// The version of what it measures, if it is not ours.
    pub(super) torch: Option<String>,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts the process and waits until it is ready.
    pub(super) fn start(contestant: Contestant, task: &Task, python: &Path) -> Result<Self> {
        let threads = task.threads.to_string();
        let mut command = contestant.command(task, python)?;
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
