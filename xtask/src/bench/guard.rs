//! `cargo xtask bench guard`: whether a training step takes more instructions than it did.
//!
//! Time on shared machines says little; the number of instructions hardly changes. Valgrind counts
//! them. It plays a processor with AVX2 and without AVX-512 on whatever
//! x86-64 it runs, so that the counts of one machine hold on others; they are kept by instruction
//! set, and where a set has none the guard says so and passes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::worker;
use crate::root;

/// What `bench guard` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Keep the counts of now, after a change that is meant to be one.
    #[arg(long)]
    update: bool,
}

/// What the counted process takes.
#[derive(clap::Args)]
pub(crate) struct Counted {
    network: String,
    batch: usize,
    steps: usize,
}

/// The networks and the batches at which they are counted: some seconds each under Valgrind.
const NETWORKS: [(&str, usize); 4] = [
    ("inception-28", 1),
    // Enough images for all kinds of convolution.
    ("resnet-20", 4),
    ("separable", 1),
    ("mlp", 8),
];
/// The first step also makes room for what the others use again; it is not counted.
const STEPS: [usize; 2] = [1, 2];
/// More than this is a regression; less than its opposite is to be kept with `--update`.
const TOLERANCE: f64 = 0.03;

/// Instructions of a step by network, by instruction set.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// Counts, compares and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let path = kept();
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
    let mut all: Counts =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let mut found = BTreeMap::new();
    let mut set = String::new();
    let mut slower = Vec::new();
    for (network, batch) in NETWORKS {
        let mut totals = [0; 2];
        for (total, steps) in totals.iter_mut().zip(STEPS) {
            (set, *total) = count(network, batch, steps)?;
        }
        let step = totals[1].saturating_sub(totals[0]) / (STEPS[1] - STEPS[0]) as u64;
        let before = all
            .get(&set)
            .and_then(|counts| counts.get(network))
            .copied();
        let change = before.map(|before| step as f64 / before as f64 - 1.0);
        let comment = match change {
            None => "not known before".to_owned(),
            Some(change) => format!("{:+.1} %", change * 100.0),
        };
        println!(
            "{network}, batch {batch}: {:.1} million instructions a step, {comment}",
            step as f64 / 1e6
        );
        if change.is_some_and(|change| change > TOLERANCE) {
            slower.push(network);
        }
        found.insert(network.to_owned(), step);
    }
    if arguments.update {
        all.insert(set, found);
        let json = serde_json::to_string_pretty(&all)? + "\n";
        return std::fs::write(&path, json).with_context(|| path.display().to_string());
    }
    if !all.contains_key(&set) {
        println!(
            "there are no counts of {set} yet; `cargo xtask bench guard --update` keeps these"
        );
    }
    ensure!(
        slower.is_empty(),
        "{} take more than {:.0} % more instructions than before; if that is meant, \
         `cargo xtask bench guard --update` keeps the new counts",
        slower.join(", "),
        TOLERANCE * 100.0
    );
    Ok(())
}

/// What [`run`] counts: takes some steps and says for which instruction set it was compiled.
pub(crate) fn counted(arguments: &Counted) -> Result<()> {
    worker::train(&arguments.network, arguments.batch, arguments.steps)?;
    println!("{}", instruction_set());
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn instruction_set() -> &'static str {
    match () {
        () if std::is_x86_feature_detected!("avx512f") => "x86-64, AVX-512",
        () if std::is_x86_feature_detected!("avx2") => "x86-64, AVX2",
        () => "x86-64",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_set() -> &'static str {
    std::env::consts::ARCH
}

fn kept() -> PathBuf {
    root().join("xtask/guard.json")
}

/// The instruction set and the instructions of a whole process.
fn count(network: &str, batch: usize, steps: usize) -> Result<(String, u64)> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["bench-counted", network])
        .args([batch.to_string(), steps.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("cannot start valgrind, which does the counting")?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed:\n{log}");
    let collected = log.lines().find_map(|line| line.split_once("Collected :"));
    let (_, number) = collected.with_context(|| format!("valgrind counted nothing:\n{log}"))?;
    let set = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((set, number.trim().parse()?))
}
