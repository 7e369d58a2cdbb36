//! `net2net explore`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use net2net_lab::compare::{Started, Stated, create, resume};
use net2net_lab::explore::{
    Ended, Exploration, ExploreSpec, Options, PAGE_FILE, Watcher, explore as run, front_table,
    rerender, saved,
};

use crate::args::ExploreArgs;
use crate::compare::{Exit, numbered_directories, stop_on_interrupt, table};
use crate::machine;
use crate::model::threads;
use crate::output::{say, tell};

/// Explores.
pub(crate) fn explore(args: &ExploreArgs) -> Result<Exit> {
    let stated = stated_spec(args)?;
    if args.print_spec {
        let spec = stated.map_or_else(|| default_spec(args), Ok)?;
        say!("{}", spec.to_toml()?.trim_end());
        return Ok(Exit::Done);
    }
    let places = numbered_directories("explore");
    let (claimed, spec, started) = if args.resume {
        let directory = match &args.out {
            Some(out) => out.clone(),
            None => (places.last()).context("there is no runs/explore-N to resume; give --out")?,
        };
        let threads = args.threads.map(|threads| threads as usize);
        resume(&directory, stated.as_ref(), threads)?
    } else {
        let spec = stated.map_or_else(|| default_spec(args), Ok)?;
        let directory = args.out.clone().unwrap_or_else(|| places.free());
        let started = Started {
            command: command_line(args),
            threads: threads(args.threads),
        };
        (create(&directory, &spec, &started)?, spec, started)
    };
    let options = Options {
        directory: claimed.path().to_owned(),
        program: std::env::current_exe().context("this program does not know where it lies")?,
        threads: started.threads,
        command: started.command,
        machine: machine::describe(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let stop = stop_on_interrupt()?;
    tell!(
        "net2net explore: {} into {}",
        spec.title,
        claimed.path().display()
    );
    let mut lines = Lines(Instant::now());
    match run(&spec, &options, &stop, &mut lines)? {
        Ended::Interrupted => {
            tell!(
                "stopped; go on with: net2net explore --resume --out {}",
                claimed.path().display()
            );
            Ok(Exit::Interrupted)
        }
        Ended::Complete(exploration) => {
            print_results(&exploration, claimed.path(), args.json)?;
            Ok(Exit::Done)
        }
    }
}

/// Writes the page of a finished exploration again.
pub(crate) fn report(directory: &Path, json: bool) -> Result<Exit> {
    let exploration = rerender(directory)
        .with_context(|| format!("{} holds no finished exploration", directory.display()))?;
    print_results(&exploration, directory, json)?;
    Ok(Exit::Done)
}

struct Lines(Instant);

impl Watcher for Lines {
    fn note(&mut self, line: &str) {
        tell!("{:8.1}s  {line}", self.0.elapsed().as_secs_f64());
    }
}

/// The spec of a file, with the flags that change it; `None` where nothing was stated.
fn stated_spec(args: &ExploreArgs) -> Result<Option<ExploreSpec>> {
    match &args.spec {
        Some(path) => {
            let spec = ExploreSpec::from_file(path).with_context(|| path.display().to_string())?;
            Ok(Some(adjusted(spec, args)))
        }
        None if args.resume && !args.from_scratch && args.seeds.is_none() => Ok(None),
        None => Ok(Some(default_spec(args)?)),
    }
}

fn default_spec(args: &ExploreArgs) -> Result<ExploreSpec> {
    Ok(adjusted(ExploreSpec::embedded()?, args))
}

fn adjusted(mut spec: ExploreSpec, args: &ExploreArgs) -> ExploreSpec {
    if let Some(seeds) = args.seeds {
        spec.set_seed_count(seeds);
    }
    spec.from_scratch |= args.from_scratch;
    spec
}

/// The command that repeats an exploration, without the place where it went.
fn command_line(args: &ExploreArgs) -> String {
    let mut words = vec!["net2net explore".to_owned()];
    words.extend(args.spec.as_ref().map(|path| path.display().to_string()));
    words.extend(args.seeds.map(|seeds| format!("--seeds {seeds}")));
    words.extend(args.threads.map(|threads| format!("--threads {threads}")));
    words.extend(args.from_scratch.then(|| "--from-scratch".to_owned()));
    words.join(" ")
}

fn print_results(exploration: &Exploration, directory: &Path, json: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::to_string_pretty(exploration)?);
        return Ok(());
    }
    for seed in &exploration.seeds {
        say!(
            "\nseed {}: {} architectures in {:.1} s of search{}\n{}",
            seed.seed,
            seed.architectures,
            seed.spent.seconds,
            match &seed.stopped_by {
                Some(why) => format!(", until the budget of {why} was used up"),
                None => String::new(),
            },
            table(front_table(seed))
        );
        if let Some(saved) = saved(seed) {
            say!("{saved}");
        }
        let winners: PathBuf = directory.join(format!("seed{}/winners", seed.seed));
        say!("networks: {}", winners.display());
    }
    say!("\npage: {}", directory.join(PAGE_FILE).display());
    Ok(())
}
