//! `net2net evolve`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use net2net_lab::compare::{Stated, choose};
use net2net_lab::data::SourceOptions;
use net2net_lab::evolve::{
    Arrival, EvolveSpec, GrowthSettings, Home, Life, Options, PAGE_FILE, StartNetwork, Stepped,
    export, history_table, life, rollback, run, said, step,
};
use net2net_lab::explore::Watcher;
use net2net_lab::train::{Recipe, Schedule};

use crate::args::evolve::{
    EvolveArgs, EvolveCommand, ExportArgs, InitArgs, LookArgs, RollbackArgs, RunArgs, StepArgs,
};
use crate::compare::{Exit, stop_on_interrupt, table};
use crate::model::{count, threads};
use crate::output::{say, tell};

/// The share of a recipe in which its rate decays, where one is chosen for a person.
const DECAY: f64 = 0.25;

/// Does what is asked for.
pub(crate) fn evolve(args: &EvolveArgs) -> Result<Exit> {
    match &args.command {
        EvolveCommand::Init(args) => init(args),
        EvolveCommand::Step(args) => one_step(args),
        EvolveCommand::Run(args) => watch(args),
        EvolveCommand::Status(args) => status(args),
        EvolveCommand::History(args) => history(args),
        EvolveCommand::Rollback(args) => roll_back(args),
        EvolveCommand::Export(args) => write(args),
    }
}

/// Makes a home.
fn init(args: &InitArgs) -> Result<Exit> {
    let spec = match (&args.spec, &args.data) {
        (Some(path), _) => from_file(path)?,
        (None, Some(folder)) => chosen(folder, args.print_spec)?,
        (None, None) => EvolveSpec::embedded()?,
    };
    if args.print_spec {
        say!("{}", spec.to_toml()?.trim_end());
        return Ok(Exit::Done);
    }
    let path = args.home.as_ref().context("say where the home goes")?;
    let threads = match (args.threads, spec.threads) {
        (None, Some(stated)) => stated,
        (wanted, _) => threads(wanted),
    };
    let spec = EvolveSpec {
        threads: args.threads.map_or(spec.threads, |_| None),
        ..spec
    };
    Home::create(path, &spec, threads)?;
    say!("{} is the home of a model now", path.display());
    say!("next: net2net evolve step {}", path.display());
    Ok(Exit::Done)
}

/// A spec whose network is relative to it, as its folder of data is.
fn from_file(path: &Path) -> Result<EvolveSpec> {
    let mut spec = EvolveSpec::from_file(path).with_context(|| path.display().to_string())?;
    if let (Some(file), Some(folder)) = (&mut spec.start.file, path.parent()) {
        *file = folder.join(&*file);
    }
    Ok(spec)
}

/// Settings for the images in a folder, by what is there already.
fn chosen(folder: &Path, as_comments: bool) -> Result<EvolveSpec> {
    let chosen = choose(folder, &SourceOptions::default()).with_context(|| {
        "with --data there must be some images already, so that a model and a size can be chosen; \
         or write settings of your own: net2net evolve init --print-spec"
    })?;
    for reason in &chosen.reasons {
        match as_comments {
            true => say!("# {reason}"),
            false => tell!("chosen: {reason}"),
        }
    }
    let teacher = chosen.spec.teacher;
    // The first network learns as a teacher does, and what comes of it as students do.
    let decayed = |recipe: Recipe| Recipe {
        schedule: Schedule::WarmupStableDecay {
            decay: DECAY,
            floor: 0.0,
        },
        ..recipe
    };
    let mut data = chosen.spec.data;
    (data.train, data.validation) = (None, None);
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    let spec = EvolveSpec {
        title: name.to_string_lossy().into_owned(),
        data,
        arrival: Arrival::Files { least: 1 },
        start: StartNetwork {
            model: Some(teacher.model),
            file: None,
        },
        first: Some(decayed(teacher.recipe)),
        recipe: decayed(chosen.spec.student.recipe),
        growth: Some(GrowthSettings::default()),
        ..EvolveSpec::embedded()?
    };
    spec.check()?;
    Ok(spec)
}

struct Lines(Instant);

impl Lines {
    fn new() -> Lines {
        Lines(Instant::now())
    }
}

impl Watcher for Lines {
    fn note(&mut self, line: &str) {
        tell!("{:8.1}s  {line}", self.0.elapsed().as_secs_f64());
    }
}

fn options() -> Result<Options> {
    Ok(Options {
        program: std::env::current_exe().context("this program does not know where it lies")?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

fn one_step(args: &StepArgs) -> Result<Exit> {
    let stop = stop_on_interrupt()?;
    let mut home = Home::open(&args.home)?;
    let mut lines = Lines::new();
    let stepped = step(&mut home, &options()?, args.again, &stop, &mut lines)?;
    // A script must be able to tell.
    if let Stepped::Done { version: None, .. } = &stepped {
        bail!("{}", said(&stepped));
    }
    ended(&stepped, &args.home)
}

fn watch(args: &RunArgs) -> Result<Exit> {
    if !(args.every > 0.0 && args.every <= 1e6) {
        bail!("--every must be above 0");
    }
    let stop = stop_on_interrupt()?;
    let mut home = Home::open(&args.home)?;
    let every = Duration::from_secs_f64(args.every);
    let stepped = run(
        &mut home,
        &options()?,
        every,
        args.until_idle,
        &stop,
        &mut Lines::new(),
    )?;
    ended(&stepped, &args.home)
}

fn ended(stepped: &Stepped, home: &Path) -> Result<Exit> {
    if *stepped == Stepped::Interrupted {
        tell!("{}", said(stepped));
        return Ok(Exit::Interrupted);
    }
    say!("{}", said(stepped));
    say!("page: {}", home.join(PAGE_FILE).display());
    Ok(Exit::Done)
}

fn status(args: &LookArgs) -> Result<Exit> {
    let home = Home::look(&args.home)?;
    let life = life(&home)?;
    if args.json {
        let status = serde_json::json!({
            "champion": life.champion.and_then(|id| life.version(id)),
            "head": life.head,
            "open_step": life.open_step(),
            "snapshots": life.snapshots.len(),
            "versions": life.versions.len(),
            "fault": life.fault,
        });
        say!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(Exit::Done);
    }
    say!("{}", life.title);
    say_champion(&life)?;
    let images: usize = life.snapshots.iter().map(|one| one.record.train).sum();
    say!(
        "{} snapshots with {} training images; {} versions",
        life.snapshots.len(),
        count(images as u64),
        life.versions.len()
    );
    match life.open_step() {
        Some(step) => say!(
            "step {} is under way or was interrupted; `net2net evolve step {}` goes on with it",
            step.id,
            args.home.display()
        ),
        None => say!("no step is under way"),
    }
    if let Some(fault) = &life.fault {
        say!("{fault}");
    }
    Ok(Exit::Done)
}

fn say_champion(life: &Life) -> Result<()> {
    match life.champion.and_then(|id| life.version(id)) {
        None => say!("no champion yet"),
        Some(champion) => say!(
            "champion: version {}, {:.2} % of {} images, {} parameters",
            champion.id,
            100.0 * champion.record.judgement.challenger.accuracy,
            champion.record.judgement.samples,
            count(champion.record.parameters)
        ),
    }
    Ok(())
}

fn history(args: &LookArgs) -> Result<Exit> {
    let home = Home::look(&args.home)?;
    let life = life(&home)?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&life)?);
        return Ok(Exit::Done);
    }
    say!("{}\n{}", life.title, table(history_table(&life)));
    for one in life
        .versions
        .iter()
        .filter(|one| !one.record.grew.is_empty())
    {
        say!("version {} grew: {}", one.id, one.record.grew.join("; "));
    }
    for one in life.snapshots.iter().skip(1) {
        if !one.record.new_classes.is_empty() {
            let classes = one.record.new_classes.join(", ");
            say!("{} brought new classes: {classes}", one.name);
        }
    }
    for decision in &life.decisions {
        let by = decision
            .step
            .map_or_else(|| "by hand".to_owned(), |step| format!("step {step}"));
        say!(
            "{by}: {} {}: {}",
            decision.what,
            decision.outcome,
            decision.reason
        );
    }
    say!("\npage: {}", args.home.join(PAGE_FILE).display());
    Ok(Exit::Done)
}

fn roll_back(args: &RollbackArgs) -> Result<Exit> {
    let mut home = Home::open(&args.home)?;
    let (options, stop) = (options()?, stop_on_interrupt()?);
    rollback(
        &mut home,
        args.version,
        args.drop_data,
        &options,
        &stop,
        &mut Lines::new(),
    )?;
    say!("version {} is the champion", args.version);
    Ok(Exit::Done)
}

fn write(args: &ExportArgs) -> Result<Exit> {
    let home = Home::look(&args.home)?;
    let output: &PathBuf = &args.output;
    let version = export(&home, args.version, output, args.force)?;
    say!("{} written: version {version}", output.display());
    Ok(Exit::Done)
}
