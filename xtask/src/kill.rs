//! `cargo xtask kill`: explorations that are killed at random moments, and must find what undisturbed ones find.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

/// A search of some seconds that goes through everything.
const SPEC: &str = r#"
title = "killed"
seeds = [0]
parallel = 2
data = { train = 300, validation = 100 }

[start]
model = { family = "conv-net", width = 0.25 }
recipe = { epochs = 1, batch = 16, learning_rate = 0.05 }

[recipe]
epochs = 1
batch = 16
learning_rate = 0.05
schedule = { kind = "warmup-stable-decay", decay = 0.5 }

[search]
kind = "halving"
population = 6
rungs = [1.0, 1.5]
keep = 0.5
generations = 2
"#;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many times a process is killed in all.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// The longest time between a start and the first kill, in milliseconds.
    #[arg(long, default_value_t = 1500)]
    longest_ms: u64,
    /// The program; by default it is built.
    #[arg(long)]
    program: Option<PathBuf>,
    /// The seed of the moments.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments, root: &Path) -> Result<()> {
    let program = match &arguments.program {
        Some(program) => program.canonicalize()?,
        None => built(root)?,
    };
    let folder = tempfile::tempdir()?;
    let at = Place {
        program,
        folder: folder.path().to_owned(),
    };
    fs::write(at.folder.join("spec.toml"), SPEC)?;
    let whole = at
        .explore(&["spec.toml", "--out", "whole", "--threads", "2"])?
        .wait()?;
    ensure!(whole.success(), "the undisturbed exploration failed");
    let wanted = at.record("whole")?;
    let (mut kills, mut rounds, mut state) =
        (0, 0, arguments.seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    while kills < arguments.kills {
        let out = format!("killed-{rounds}");
        rounds += 1;
        let (mut first, mut in_round) = (true, 0);
        loop {
            let words: &[&str] = match first {
                true => &["spec.toml", "--out", &out, "--threads", "2"],
                // A kill before the spec was written leaves nothing to resume.
                false if !at.folder.join(&out).join("spec.toml").exists() => {
                    &["spec.toml", "--out", &out, "--threads", "2"]
                }
                false => &["--out", &out, "--resume"],
            };
            first = false;
            let before = at.finished(&out)?;
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Longer and longer, so that a busy machine gets past the longest step too.
            let wait = (state >> 33) % (arguments.longest_ms + 300 * in_round).max(1);
            let mut child = at.explore(words)?;
            let ended = killed_after(&mut child, Duration::from_millis(wait))?;
            let after = at.finished(&out)?;
            let repeated = before
                .iter()
                .find(|(path, time)| after.get(*path) != Some(time));
            if let Some((path, _)) = repeated {
                bail!("{} was done again", path.display());
            }
            match ended {
                None => {
                    kills += 1;
                    in_round += 1;
                }
                Some(true) => break,
                Some(false) => bail!("{out} failed after {kills} kills; see above"),
            }
        }
        ensure!(
            at.record(&out)? == wanted,
            "{out} found something else than the undisturbed exploration"
        );
        println!("{out}: the same after {kills} kills in all");
    }
    println!("{kills} kills, {rounds} explorations: no finished trial repeated, nothing lost");
    Ok(())
}

fn built(root: &Path) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "-p", "net2net"])
        .current_dir(root)
        .status()?;
    ensure!(built.success(), "net2net cannot be built");
    Ok(root.join("target/release/net2net"))
}

struct Place {
    program: PathBuf,
    folder: PathBuf,
}

impl Place {
    fn explore(&self, words: &[&str]) -> Result<Child> {
        Ok(Command::new(&self.program)
            .current_dir(&self.folder)
            .arg("explore")
            .args(words)
            .stdout(Stdio::null())
            .spawn()?)
    }

    /// When each finished trial was finished.
    fn finished(&self, out: &str) -> Result<BTreeMap<PathBuf, SystemTime>> {
        let mut found = BTreeMap::new();
        let Ok(entries) = fs::read_dir(self.folder.join(out).join("seed0/trials")) else {
            return Ok(found);
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none()
                && let Ok(done) = fs::metadata(path.join("done.json"))
            {
                found.insert(path, done.modified()?);
            }
        }
        Ok(found)
    }

    /// What was measured, but for seconds.
    fn record(&self, out: &str) -> Result<Value> {
        let path = self.folder.join(out).join("exploration.json");
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        let mut record: Value = serde_json::from_slice(&bytes)?;
        drop_seconds(&mut record);
        Ok(record)
    }
}

fn drop_seconds(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !key.contains("seconds"));
            map.values_mut().for_each(drop_seconds);
        }
        Value::Array(all) => all.iter_mut().for_each(drop_seconds),
        _ => {}
    }
}

/// Whether a process succeeded; `None` if it had to be killed.
fn killed_after(child: &mut Child, wait: Duration) -> Result<Option<bool>> {
    let began = Instant::now();
    while began.elapsed() < wait {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}
