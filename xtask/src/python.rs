//! A Python with PyTorch: the one that the caller names, or our own under `target`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::root;

const PACKAGES: [&str; 3] = ["numpy", "safetensors", "torch"];

/// Which interpreter to use.
#[derive(clap::Args)]
pub(crate) struct Choice {
    /// An interpreter that has torch, numpy and safetensors; by default one is set up under
    /// `target/bench-venv`, which takes a download.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

impl Choice {
    /// The interpreter, set up and checked.
    pub(crate) fn interpreter(&self) -> Result<PathBuf> {
        self.interpreter_with(&PACKAGES)
    }

    /// The interpreter with these packages, set up and checked.
    pub(crate) fn interpreter_with(&self, packages: &[&str]) -> Result<PathBuf> {
        let folder = root().join("target/bench-venv");
        interpreter(self.python.as_deref(), &folder, packages)
    }
}

/// An interpreter that has packages of the same name as what they are imported as: a given one, or
/// one that is set up in a folder.
pub(crate) fn interpreter(
    given: Option<&Path>,
    folder: &Path,
    packages: &[&str],
) -> Result<PathBuf> {
    if let Some(python) = given {
        ensure!(
            is_ready(python, packages),
            "{} cannot import all of {packages:?}; name another, or leave out --python",
            python.display()
        );
        return Ok(python.to_owned());
    }
    let python = folder.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    if !is_ready(&python, packages) {
        println!("setting up {} with {packages:?}", folder.display());
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let install = ["-m", "pip", "install", "--quiet"];
        run(Command::new(&python).args(install).args(packages))?;
    }
    Ok(python)
}

/// Where a script of ours is.
pub(crate) fn script(name: &str) -> PathBuf {
    root().join("xtask/python").join(name)
}

/// Runs one of our scripts to its end.
pub(crate) fn run_script(python: &Path, name: &str) -> Result<()> {
    run(Command::new(python).arg(script(name)))
}

fn is_ready(python: &Path, packages: &[&str]) -> bool {
    let imports = format!("import {}", packages.join(", "));
    let mut command = Command::new(python);
    command.args(["-c", &imports]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start {program:?}"))?;
    ensure!(status.success(), "{program:?} failed with {status}");
    Ok(())
}
