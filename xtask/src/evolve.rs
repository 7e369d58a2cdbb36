//! `cargo xtask evolve`: a life against retraining from scratch whenever data have arrived, in one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use net2net_lab::evolve::{
    Against, AgainstSpec, EvolveSpec, Home, Life, Scratch, Slice, Version, against_page,
    against_table, lay_out_scratch, life,
};
use net2net_lab::trial::read_done;

/// Everything that was measured.
const RECORD: &str = "against.json";
/// The page with table and plot.
const PAGE: &str = "against.html";

#[derive(Args)]
pub(crate) struct Arguments {
    /// What is compared (TOML); see experiments/evolve.
    spec: PathBuf,
    /// Where everything goes; a run that was interrupted goes on there.
    #[arg(long)]
    out: PathBuf,
    /// The folder of images, in place of the spec's.
    #[arg(long)]
    data: Option<PathBuf>,
    /// So many seeds, in place of the spec's.
    #[arg(long)]
    seeds: Option<u64>,
    /// Threads; by default all.
    #[arg(long)]
    threads: Option<usize>,
    /// The program; by default it is built.
    #[arg(long)]
    program: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, root: &Path) -> Result<()> {
    let mut spec = AgainstSpec::from_file(&arguments.spec)?;
    if let Some(data) = &arguments.data {
        spec.life.data.folder = Some(data.clone());
    }
    if let Some(seeds) = arguments.seeds {
        spec.seeds = (0..seeds).collect();
    }
    let program = match &arguments.program {
        Some(program) => program.canonicalize()?,
        None => crate::kill::built(root)?,
    };
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(all);
    let mut against = Against {
        title: spec.title.clone(),
        machine: format!("{threads} threads, {}", std::env::consts::ARCH),
        seeds: Vec::new(),
    };
    for seed in &spec.seeds {
        let place = Place {
            program: &program,
            folder: arguments.out.join(format!("seed{seed}")),
            seed: *seed,
            threads,
        };
        against.seeds.push(place.both(&spec)?);
    }
    write(&arguments.out, &against)
}

/// Where one seed's work is.
struct Place<'a> {
    program: &'a Path,
    folder: PathBuf,
    seed: u64,
    threads: usize,
}

impl Place<'_> {
    /// The life, and beside each of its slices the networks from scratch.
    fn both(&self, spec: &AgainstSpec) -> Result<Vec<Slice>> {
        let path = self.folder.join("evolve");
        if !path.join("spec.toml").exists() {
            let own = EvolveSpec {
                seed: self.seed,
                ..spec.life.clone()
            };
            Home::create(&path, &own, self.threads)?;
        }
        let mut command = Command::new(self.program);
        command.args(["evolve", "run", "--until-idle"]).arg(&path);
        succeeds(&mut command)?;
        let home = Home::look(&path)?;
        let life = life(&home)?;
        let mut slices = Vec::new();
        // The network that a life begins with has learnt nothing here.
        let learnt = |version: &&Version| !version.record.snapshots.is_empty();
        for version in life.versions.iter().filter(learnt) {
            let mut slice = Slice::of(&life, version);
            slice.scratch = self.scratch(spec, &home, &life, version)?;
            println!(
                "seed {}, {} images: evolve {:.2} %, scratch {}",
                self.seed,
                slice.images,
                100.0 * slice.evolve,
                slice.best().and_then(|best| best.accuracy).map_or_else(
                    || "diverged".to_owned(),
                    |accuracy| format!("{:.2} %", 100.0 * accuracy)
                )
            );
            slices.push(slice);
        }
        Ok(slices)
    }

    fn scratch(
        &self,
        spec: &AgainstSpec,
        home: &Home,
        life: &Life,
        version: &Version,
    ) -> Result<Vec<Scratch>> {
        let to = self.folder.join(format!("scratch/step-{}", version.step));
        let specs = lay_out_scratch(home, life, version, &spec.scratch, self.seed, &to)?;
        let mut all = Vec::new();
        for (trial, model) in specs.iter().zip(&spec.scratch.models) {
            let out = trial.with_file_name("trial");
            let mut command = Command::new(self.program);
            command.arg("train").arg(trial).arg("--out").arg(&out);
            succeeds(&mut command)?;
            let done = read_done(&out)?;
            all.push(Scratch {
                model: model.clone(),
                accuracy: done.accuracy,
                parameters: done.parameters,
                seconds: done.seconds,
                flops: done.training_flops,
            });
        }
        Ok(all)
    }
}

fn succeeds(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

fn write(out: &Path, against: &Against) -> Result<()> {
    fs::write(out.join(RECORD), serde_json::to_vec_pretty(against)?)?;
    fs::write(out.join(PAGE), against_page(against))?;
    let table = against_table(against);
    println!("| {} |", table.header.join(" | "));
    println!("|{}", "---|".repeat(table.header.len()));
    for row in &table.rows {
        println!("| {} |", row.join(" | "));
    }
    println!(
        "\n{}\n{}",
        out.join(RECORD).display(),
        out.join(PAGE).display()
    );
    Ok(())
}
