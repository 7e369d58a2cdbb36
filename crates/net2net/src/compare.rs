//! `net2net compare` and `net2net report`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use net2net_lab::compare::{self as lab, Ended, Options, Spec, Started};
use net2net_lab::explore::RECORD_FILE;
use net2net_lab::report::speedup::Measure;
use net2net_lab::report::{self as lab_report, Summary, speedup_table, verdict};

use crate::args::{CompareArgs, ReportArgs};
use crate::machine;
use crate::progress::Screen;

/// Columns of text beyond which a table is hard to read, and its width where there is no terminal.
const WIDEST_TABLE: u16 = 110;

/// How a command ended when it did not fail.
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Stopped on request.
    Interrupted,
}

/// Runs a comparison.
pub(crate) fn compare(args: &CompareArgs) -> Result<Exit> {
    let stated = stated_spec(args)?;
    if args.print_spec {
        print!("{}", stated.unwrap_or(default_spec(args)?).to_toml()?);
        return Ok(Exit::Done);
    }
    let places = numbered_directories("compare");
    let (claimed, spec, started) = if args.resume {
        let directory = match &args.out {
            Some(out) => out.clone(),
            None => places
                .last()
                .context("there is no runs/compare-N to resume; give --out")?,
        };
        let threads = args.threads.map(|threads| threads as usize);
        lab::resume(&directory, stated.as_ref(), threads)?
    } else {
        let spec = stated.map_or_else(|| default_spec(args), Ok)?;
        let directory = args.out.clone().unwrap_or_else(|| places.free());
        let started = Started {
            command: command_line(args),
            threads: threads(args),
        };
        (lab::create(&directory, &spec, &started)?, spec, started)
    };
    let options = Options {
        directory: claimed.path().to_owned(),
        threads: started.threads,
        command: started.command,
        machine: machine::describe(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let stop = stop_on_interrupt()?;
    let mut screen = Screen::new();
    eprintln!(
        "net2net compare: {} into {}",
        spec.title,
        claimed.path().display()
    );
    let ended = lab::compare(&spec, &options, &stop, &mut screen);
    screen.clear();
    match ended? {
        Ended::Interrupted => {
            eprintln!(
                "stopped; go on with: net2net compare --resume --out {}",
                claimed.path().display()
            );
            Ok(Exit::Interrupted)
        }
        Ended::Complete(results) => {
            print_results(&results.1, claimed.path(), args.json)?;
            Ok(Exit::Done)
        }
    }
}

/// Writes a report again.
pub(crate) fn report(args: &ReportArgs) -> Result<Exit> {
    if args.directory.join(RECORD_FILE).exists() {
        return crate::explore::report(&args.directory, args.json);
    }
    let (_, summary) = lab::rerender(&args.directory)
        .with_context(|| format!("{} holds no finished comparison", args.directory.display()))?;
    print_results(&summary, &args.directory, args.json)?;
    Ok(Exit::Done)
}

/// The spec of a file, with the flags that change it; `None` where nothing was stated.
fn stated_spec(args: &CompareArgs) -> Result<Option<Spec>> {
    match &args.spec {
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("the spec {} cannot be read", path.display()))?;
            let spec = Spec::from_toml(&text).with_context(|| path.display().to_string())?;
            Ok(Some(adjusted(spec, args)))
        }
        None if args.resume && !args.quick && args.seeds.is_none() => Ok(None),
        None => Ok(Some(default_spec(args)?)),
    }
}

fn default_spec(args: &CompareArgs) -> Result<Spec> {
    Ok(adjusted(Spec::embedded()?, args))
}

fn adjusted(mut spec: Spec, args: &CompareArgs) -> Spec {
    if let Some(seeds) = args.seeds {
        spec.set_seed_count(seeds);
    }
    if args.quick {
        spec.quick();
    }
    spec
}

fn threads(args: &CompareArgs) -> usize {
    let all = || std::thread::available_parallelism().map_or(1, usize::from);
    args.threads.map_or_else(all, |threads| threads as usize)
}

/// The command that repeats a comparison, without the place where it went.
fn command_line(args: &CompareArgs) -> String {
    let mut words = vec!["net2net compare".to_owned()];
    words.extend(args.spec.as_ref().map(|path| path.display().to_string()));
    words.extend(args.seeds.map(|seeds| format!("--seeds {seeds}")));
    words.extend(args.threads.map(|threads| format!("--threads {threads}")));
    words.extend(args.quick.then(|| "--quick".to_owned()));
    words.join(" ")
}

/// The numbered directories of runs that nobody named.
pub(crate) struct Numbered(&'static str);

pub(crate) fn numbered_directories(command: &'static str) -> Numbered {
    Numbered(command)
}

impl Numbered {
    fn at(&self, number: usize) -> PathBuf {
        PathBuf::from(format!("runs/{}-{number}", self.0))
    }

    /// The first one that is not there.
    pub(crate) fn free(&self) -> PathBuf {
        let mut number = 1;
        while self.at(number).exists() {
            number += 1;
        }
        self.at(number)
    }

    /// The last one that is.
    pub(crate) fn last(&self) -> Option<PathBuf> {
        let there = (1..).map(|number| self.at(number));
        there.take_while(|path| path.exists()).last()
    }
}

/// A flag that the first Ctrl-C raises; the second one ends the process at once.
pub(crate) fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(crate::INTERRUPTED));
        }
    })
    .context("Ctrl-C cannot be caught")?;
    Ok(stop)
}

fn print_results(summary: &Summary, directory: &Path, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(summary)?);
        return Ok(());
    }
    if summary.growths.is_empty() {
        bail!("the comparison holds no growth");
    }
    for growth in &summary.growths {
        let table = table(speedup_table(summary, growth, Measure::Seconds));
        println!("\n{}\n{table}", growth.name);
        println!("{}", verdict(summary, growth).sentence);
    }
    println!("\nreport: {}", directory.join("report.html").display());
    Ok(())
}

/// A table as the terminal shows it.
pub(crate) fn table(rows: lab_report::Table) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(rows.header)
        .add_rows(rows.rows);
    if table.width().is_none_or(|columns| columns > WIDEST_TABLE) {
        table.set_width(WIDEST_TABLE);
    }
    if let Some(ways) = table.column_mut(0) {
        ways.set_constraint(ColumnConstraint::ContentWidth);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
