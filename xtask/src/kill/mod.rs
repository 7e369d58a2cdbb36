//! `cargo xtask kill`: explorations and lives that are killed at random moments, and must find what undisturbed ones find.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

/// A search of some seconds that goes through everything.
const EXPLORE: &str = include_str!("explore.toml");
/// A life of some seconds that does.
const EVOLVE: &str = include_str!("evolve.toml");

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
    /// Kill lives (`net2net evolve`) and not explorations.
    #[arg(long)]
    evolve: bool,
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
        evolve: arguments.evolve,
    };
    let spec = if arguments.evolve { EVOLVE } else { EXPLORE };
    fs::write(at.folder.join("spec.toml"), spec)?;
    at.prepare("whole")?;
    let whole = at.go_on("whole")?.wait()?;
    ensure!(whole.success(), "the undisturbed one failed");
    let wanted = at.record("whole")?;
    let (mut kills, mut rounds, mut state) =
        (0, 0, arguments.seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    while kills < arguments.kills {
        let out = format!("killed-{rounds}");
        rounds += 1;
        at.prepare(&out)?;
        let mut in_round = 0;
        loop {
            let before = at.finished(&out)?;
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Longer and longer, so that a busy machine gets past the longest step too.
            let wait = (state >> 33) % (arguments.longest_ms + 300 * in_round).max(1);
            let mut child = at.go_on(&out)?;
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
            "{out} found something else than the undisturbed one"
        );
        println!("{out}: the same after {kills} kills in all");
    }
    println!("{kills} kills, {rounds} rounds: no finished trial repeated, nothing lost");
    Ok(())
}

/// The program, built.
pub(crate) fn built(root: &Path) -> Result<PathBuf> {
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
    evolve: bool,
}

impl Place {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.folder)
            .args(words)
            .stdout(Stdio::null());
        command
    }

    /// Makes what is killed, as far as it is made before it begins.
    fn prepare(&self, out: &str) -> Result<()> {
        if self.evolve {
            let words = ["evolve", "init", out, "spec.toml", "--threads", "2"];
            ensure!(self.command(&words).status()?.success(), "no home was made");
        }
        Ok(())
    }

    /// Begins, or goes on with what was killed.
    fn go_on(&self, out: &str) -> Result<Child> {
        let words: &[&str] = match self.evolve {
            true => &["evolve", "run", out, "--until-idle"],
            // A kill before the spec was written leaves nothing to resume.
            false if !self.folder.join(out).join("spec.toml").exists() => {
                &["explore", "spec.toml", "--out", out, "--threads", "2"]
            }
            false => &["explore", "--out", out, "--resume"],
        };
        Ok(self.command(words).spawn()?)
    }

    /// The folders that hold trials.
    fn trials(&self, out: &str) -> Vec<PathBuf> {
        let root = self.folder.join(out);
        if !self.evolve {
            return vec![root.join("seed0/trials")];
        }
        let steps = fs::read_dir(root.join("steps")).into_iter().flatten();
        let steps = steps.filter_map(|step| Some(step.ok()?.path().join("trials")));
        steps.collect()
    }

    /// When each finished trial was finished.
    fn finished(&self, out: &str) -> Result<BTreeMap<PathBuf, SystemTime>> {
        let mut found = BTreeMap::new();
        let entries = self
            .trials(out)
            .into_iter()
            .flat_map(fs::read_dir)
            .flatten();
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

    /// What was measured, but for what a clock says.
    fn record(&self, out: &str) -> Result<Value> {
        let bytes = match self.evolve {
            true => {
                let mut command = self.command(&["evolve", "history", out, "--json"]);
                command.stdout(Stdio::piped()).output()?.stdout
            }
            false => {
                let path = self.folder.join(out).join("exploration.json");
                fs::read(&path).with_context(|| path.display().to_string())?
            }
        };
        let mut record: Value = serde_json::from_slice(&bytes)?;
        drop_clock(&mut record);
        Ok(record)
    }
}

fn drop_clock(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let clock = ["at", "begun", "ended"];
            map.retain(|key, _| !key.contains("seconds") && !clock.contains(&key.as_str()));
            map.values_mut().for_each(drop_clock);
        }
        Value::Array(all) => all.iter_mut().for_each(drop_clock),
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
