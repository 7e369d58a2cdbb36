//! `net2net data`.

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use net2net_core::io::write_atomic;
use net2net_lab::data::{self as lab, Inspection, SourceOptions};

use crate::args::{DataArgs, DataCommand, DataInspectArgs};
use crate::compare::Exit;
use crate::output::{say, tell};

/// Classes beyond which a table says little; `--json` has all.
const CLASSES: usize = 40;
/// Broken images and duplicates that are named; `--json` has all.
const NAMED: usize = 10;

/// Runs a command on images.
pub(crate) fn data(args: &DataArgs) -> Result<Exit> {
    match &args.what {
        DataCommand::Inspect(args) => inspect(args),
    }
}

fn inspect(args: &DataInspectArgs) -> Result<Exit> {
    let options = SourceOptions {
        side: args.side,
        labels: args.labels.clone(),
        ..SourceOptions::default()
    };
    // Nothing is drawn where standard error is no terminal.
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("decoding {wide_bar} {pos}/{len}  {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let most = args
        .sample
        .map(|most| usize::try_from(most).unwrap_or(usize::MAX));
    let found = lab::inspect(&args.path, &options, most, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let found = found?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print(&found)?;
    }
    if let Some(file) = &args.html {
        let page = lab::contact_sheet(&args.path, &options, &found)?;
        write_atomic(file, page.as_bytes()).with_context(|| file.display().to_string())?;
        tell!("contact sheet: {}", file.display());
    }
    Ok(Exit::Done)
}

fn print(found: &Inspection) -> Result<()> {
    say!("{}: {}", found.name, found.kind);
    say!(
        "{} training and {} validation images, {} classes; {} were decoded",
        found.train,
        found.validation,
        found.classes.len(),
        found.examined
    );
    say!("\n{}", classes(found));
    let sizes = found.sizes.iter();
    let sizes = sizes.map(|size| format!("{}×{} ({})", size.width, size.height, size.images));
    let others = found.different_sizes.saturating_sub(found.sizes.len());
    let others = if others > 0 {
        format!(" and {others} others")
    } else {
        String::new()
    };
    say!("sizes: {}{others}", joined(sizes));
    let modes = found.modes.iter();
    say!(
        "modes: {}",
        joined(modes.map(|mode| format!("{} ({})", mode.mode, mode.images)))
    );
    let [height, width, channels] = found.input;
    say!(
        "a network would read {height}×{width}×{channels}: {}; images are {}",
        found.input_reason,
        if found.in_memory {
            "decoded once and kept in memory"
        } else {
            "decoded each time, ahead of training"
        }
    );
    let numbers = |values: &[f32]| joined(values.iter().map(|value| format!("{value:.4}")));
    say!(
        "normalization: mean {}, standard deviation {}",
        numbers(&found.normalization.mean),
        numbers(&found.normalization.std)
    );
    let broken = found
        .broken
        .iter()
        .map(|(image, why)| format!("{image} {why}"));
    list("broken images", broken.collect())?;
    let both = found.duplicates.iter();
    let both = both.map(|both| format!("{} is {}", both.train, both.validation));
    list(
        "training images that are validation images too",
        both.collect(),
    )?;
    if found.repeated > 0 {
        say!("{} training images repeat another one", found.repeated);
    }
    for note in &found.notes {
        say!("note: {note}");
    }
    Ok(())
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

fn list(what: &str, items: Vec<String>) -> Result<()> {
    if items.is_empty() {
        say!("no {what}");
        return Ok(());
    }
    say!("{} {what}:", items.len());
    for item in items.iter().take(NAMED) {
        say!("  {item}");
    }
    if items.len() > NAMED {
        say!("  and {} more", items.len() - NAMED);
    }
    Ok(())
}

fn classes(found: &Inspection) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(["class", "training", "validation"]);
    for class in found.classes.iter().take(CLASSES) {
        table.add_row([
            class.name.clone(),
            class.train.to_string(),
            class.validation.to_string(),
        ]);
    }
    let more = found.classes.len().saturating_sub(CLASSES);
    if more > 0 {
        table.add_row([format!("and {more} more"), String::new(), String::new()]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
