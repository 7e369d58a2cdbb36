//! `net2net train` and `net2net export`.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use net2net_lab::compare::Stated;
use net2net_lab::trial::{TrialEnded, TrialResult, TrialSpec, train as run_trial};
use net2net_onnx::Document;

use crate::args::{ExportArgs, TrainArgs};
use crate::compare::{Exit, stop_on_interrupt};
use crate::model::{Model, count, threads};
use crate::output::{say, tell};
use crate::progress::Screen;

/// Trains one network.
pub(crate) fn train(args: &TrainArgs) -> Result<Exit> {
    let (spec, folder) = match &args.spec {
        None => (TrialSpec::embedded()?, Path::new("")),
        Some(path) => {
            let spec = TrialSpec::from_file(path).with_context(|| path.display().to_string())?;
            (spec, path.parent().unwrap_or(Path::new("")))
        }
    };
    if args.print_spec {
        say!("{}", spec.to_toml()?.trim_end());
        return Ok(Exit::Done);
    }
    let Some(out) = &args.out else {
        bail!("say where the result goes: --out DIR");
    };
    let stop = stop_on_interrupt()?;
    if args.while_stdin {
        stop_at_end_of_input(&stop);
    }
    let threads = match (args.threads, spec.threads) {
        (None, Some(stated)) => stated,
        (wanted, _) => threads(wanted),
    };
    let mut screen = Screen::new();
    let version = env!("CARGO_PKG_VERSION");
    let ended = run_trial(&spec, folder, out, threads, version, &stop, &mut screen);
    screen.clear();
    match ended? {
        TrialEnded::Interrupted => {
            tell!("stopped; the same command goes on");
            Ok(Exit::Interrupted)
        }
        TrialEnded::Finished { result, found } => {
            if found {
                tell!("{} is there already, from the same trial", out.display());
            }
            for image in &result.broken {
                tell!("note: {image}");
            }
            print_result(&result, out, args.json)?;
            Ok(Exit::Done)
        }
    }
}

/// Stops when standard input ends: so whoever started this process ends it by ending.
fn stop_at_end_of_input(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut sink = [0; 256];
        while matches!(std::io::stdin().read(&mut sink), Ok(1..)) {}
        stop.store(true, Ordering::Relaxed);
    });
}

fn print_result(result: &TrialResult, out: &Path, json: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::to_string_pretty(result)?);
        return Ok(());
    }
    match (result.accuracy, &result.diverged) {
        (Some(accuracy), _) => say!(
            "accuracy {:.2} %, loss {:.4}",
            100.0 * accuracy,
            result.loss.unwrap_or(f64::NAN)
        ),
        (None, why) => say!(
            "diverged: {}",
            why.as_deref().unwrap_or("the loss ran away")
        ),
    }
    let latency = result
        .latency_ms
        .map_or_else(String::new, |ms| format!(", {ms:.2} ms a sample"));
    say!(
        "{} parameters, {} operations a sample{latency}",
        count(result.parameters),
        count(result.flops)
    );
    say!(
        "{} steps in {:.1} s of training",
        result.steps,
        result.training_seconds
    );
    if let Some(why) = &result.no_onnx {
        say!("no model.onnx: {why}");
    }
    say!("{}", out.display());
    Ok(())
}

/// Writes a network of ours as ONNX.
pub(crate) fn export(args: &ExportArgs) -> Result<Exit> {
    if args.output.extension().is_none_or(|e| e != "onnx") {
        bail!("{} should end in .onnx", args.output.display());
    }
    if args.output.exists() && !args.force {
        bail!(
            "{} is there already; --force overwrites it",
            args.output.display()
        );
    }
    let model = Model::open(&args.model)?;
    if model.is_onnx() {
        bail!("{} is an ONNX file already", args.model.display());
    }
    let document = Document::from_graph::<f32>(&model.graph, &model)?;
    document.save(&args.output)?;
    say!("{} written", args.output.display());
    Ok(Exit::Done)
}
