//! `net2net compare` and `net2net report`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use net2net_lab::compare::{self as lab, Ended, Options, Spec, Started, Stated};
use net2net_lab::data::SourceOptions;
use net2net_lab::explore::RECORD_FILE;
use net2net_lab::report::speedup::Measure;
use net2net_lab::report::write::REPORT_FILE;
use net2net_lab::report::{
    self as lab_report, Comparison, Export, Summary, export, overview, pool, speedup_table,
    verdict, write_page, write_together,
};

use crate::args::{CompareArgs, ReportArgs};
use crate::machine;
use crate::output::{say, tell};
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
        let spec = stated.map_or_else(|| default_spec(args), Ok)?;
        say!("{}", spec.to_toml()?.trim_end());
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
    tell!(
        "net2net compare: {} into {}",
        spec.title,
        claimed.path().display()
    );
    let ended = lab::compare(&spec, &options, &stop, &mut screen);
    screen.clear();
    match ended? {
        Ended::Interrupted => {
            tell!(
                "stopped; go on with: net2net compare --resume --out {}",
                claimed.path().display()
            );
            Ok(Exit::Interrupted)
        }
        Ended::Complete(results) => {
            print_results(&results.1, &claimed.path().join(REPORT_FILE), args.json)?;
            Ok(Exit::Done)
        }
    }
}

/// Where the page of several comparisons goes by itself.
const TOGETHER: &str = "net2net-report.html";

/// Writes reports again, one page of several, and what else is asked for.
pub(crate) fn report(args: &ReportArgs) -> Result<Exit> {
    ensure!(
        args.out.is_none() || args.directories.len() > 1,
        "--out is where the page of several comparisons goes; that of one lies in its directory"
    );
    if let [directory] = &args.directories[..]
        && directory.join(RECORD_FILE).exists()
    {
        ensure!(
            args.svg.is_none() && args.png.is_none() && args.tensorboard.is_none(),
            "{} is an exploration; --svg, --png and --tensorboard are for comparisons",
            directory.display()
        );
        return crate::explore::report(directory, args.json);
    }
    let mut read = Vec::new();
    for directory in &args.directories {
        let (comparison, summary) = lab::rerender(directory)
            .with_context(|| format!("{} holds no finished comparison", directory.display()))?;
        read.push((directory, comparison, summary));
    }
    let several = read.len() > 1;
    let out = args.out.as_deref().unwrap_or(Path::new(TOGETHER));
    if let Some(pooled) = pooled(&read, out)? {
        exports(args, &pooled, |folder| folder.to_owned())?;
        let summary = write_page(out, &pooled)?;
        return print_results(&summary, out, args.json).map(|()| Exit::Done);
    }
    for (at, (directory, comparison, _)) in read.iter().enumerate() {
        // Comparisons have files of the same names, and folders of one name in different places are told apart by a number.
        let name = |directory: &Path| directory.file_name().unwrap_or_default().to_owned();
        let same = read[..at]
            .iter()
            .filter(|(other, ..)| name(other) == name(directory));
        let mut own = name(directory);
        match same.count() {
            0 => {}
            before => own.push(format!("-{}", before + 1)),
        }
        exports(args, comparison, |folder| match several {
            true => folder.join(&own),
            false => folder.to_owned(),
        })?;
    }
    if !several {
        for (directory, _, summary) in &read {
            print_results(summary, &directory.join(REPORT_FILE), args.json)?;
        }
        return Ok(Exit::Done);
    }
    let names: Vec<String> = read
        .iter()
        .map(|(dir, ..)| dir.display().to_string())
        .collect();
    let pages = read
        .iter()
        .map(|(directory, ..)| Ok(format!("{}/{REPORT_FILE}", link(out, directory)?)))
        .collect::<Result<Vec<String>>>()?;
    let named = names.iter().zip(&pages).zip(&read);
    let together: Vec<_> = named
        .map(|((name, page), (_, comparison, summary))| {
            (name.as_str(), page.as_str(), comparison, summary)
        })
        .collect();
    write_together(out, &together)?;
    if args.json {
        let summaries: Vec<&Summary> = read.iter().map(|(.., summary)| summary).collect();
        say!("{}", serde_json::to_string_pretty(&summaries)?);
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = together
        .iter()
        .map(|(name, _, comparison, summary)| (*name, *comparison, *summary))
        .collect();
    say!("{}", table(overview(&rows)));
    say!("\nreport: {}", out.display());
    Ok(Exit::Done)
}

/// All comparisons as one, where they differ in their seeds alone.
fn pooled(read: &[(&PathBuf, Comparison, Summary)], out: &Path) -> Result<Option<Comparison>> {
    if read.len() < 2 {
        return Ok(None);
    }
    let parts = read
        .iter()
        .map(|(directory, comparison, _)| Ok((comparison, link(out, directory)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(pool(&parts))
}

/// Writes the plots and event files that are asked for.
fn exports(
    args: &ReportArgs,
    comparison: &Comparison,
    into: impl Fn(&Path) -> PathBuf,
) -> Result<()> {
    for (folder, what) in [
        (&args.svg, Export::Svg),
        (&args.png, Export::Png),
        (&args.tensorboard, Export::TensorBoard),
    ] {
        if let Some(folder) = folder {
            let into = into(folder);
            let files = export(&into, comparison, what)?;
            tell!("{}: {} files", into.display(), files.len());
        }
    }
    Ok(())
}

/// The address of a comparison's folder as seen from a page: relative where both are below the
/// same folder, so that all can be moved together.
fn link(from: &Path, directory: &Path) -> Result<String> {
    let folder = match from.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let whole = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("{} has no address", path.display()))
    };
    let directory = whole(directory)?;
    let folder = whole(folder)?;
    let shared = directory
        .components()
        .zip(folder.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = folder.components().skip(shared).map(|_| "..".to_owned());
    let down = directory.components().skip(shared);
    let down = down.map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = up.chain(down).collect();
    Ok(match parts.is_empty() {
        true => ".".to_owned(),
        false => parts.join("/"),
    })
}

/// The spec of a file, with the flags that change it; `None` where nothing was stated.
fn stated_spec(args: &CompareArgs) -> Result<Option<Spec>> {
    match &args.spec {
        Some(path) => {
            let spec = Spec::from_file(path).with_context(|| path.display().to_string())?;
            Ok(Some(adjusted(spec, args)))
        }
        None if args.resume && args.data.is_none() && !args.quick && args.seeds.is_none() => {
            Ok(None)
        }
        None => Ok(Some(default_spec(args)?)),
    }
}

fn default_spec(args: &CompareArgs) -> Result<Spec> {
    let Some(folder) = &args.data else {
        return Ok(adjusted(Spec::embedded()?, args));
    };
    let usual = SourceOptions::default();
    let read = SourceOptions {
        broken_share: args.broken_share.unwrap_or(usual.broken_share),
        labels: args.labels.clone(),
        ..usual
    };
    let chosen = lab::choose(folder, &read)?;
    // As comments they are part of a printed spec.
    for reason in &chosen.reasons {
        if args.print_spec {
            say!("# {reason}");
        } else {
            tell!("chosen: {reason}");
        }
    }
    Ok(adjusted(chosen.spec, args))
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
    let data = args.data.as_ref();
    words.extend(data.map(|path| format!("--data {}", path.display())));
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

fn print_results(summary: &Summary, page: &Path, json: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::to_string_pretty(summary)?);
        return Ok(());
    }
    if summary.growths.is_empty() {
        bail!("the comparison holds no growth");
    }
    for growth in &summary.growths {
        let table = table(speedup_table(summary, growth, Measure::Seconds));
        say!("\n{}\n{table}", growth.name);
        say!("{}", verdict(summary, growth).sentence);
    }
    say!("\nreport: {}", page.display());
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
