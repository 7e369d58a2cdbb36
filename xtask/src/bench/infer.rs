//! `cargo xtask bench infer`: answers side by side with onnxruntime, and the time of a proof in f64.

use std::time::Instant;

use anyhow::{Context as _, Result};
use net2net_core::engine::evaluate;
use net2net_core::weights::{Weights, initialize};
use net2net_kernels::Context;
use serde::Serialize;

use super::contestant::Contestant;
use super::models::{RESNET_56, chosen};
use super::page::{self, row};
use super::report::{ModelReport, Report, digits, rule};
use super::statistics::median;
use super::{Run, check_load, measure};
use crate::{python, root};

/// What `bench infer` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    python: python::Choice,
}

const PACKAGES: [&str; 2] = ["numpy", "onnxruntime"];
const CONTESTANTS: [Contestant; 2] = [Contestant::Predictor, Contestant::OnnxRuntime];
const PROOF_IMAGES: usize = 100;
const PROOF_ROUNDS: usize = 5;

/// All that was measured, and on what.
#[derive(Serialize)]
struct Answers {
    #[serde(flatten)]
    report: Report,
    /// The passes of a ResNet-56 over [`PROOF_IMAGES`] images in f64, in milliseconds.
    proof_ms: f64,
}

/// Measures, prints and, after a whole run, writes a section of `docs/performance.md`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let run = &arguments.run;
    let python = arguments.python.interpreter_with(&PACKAGES)?;
    let mut patience = run.patience()?;
    let mut report = Report::new(run.threads, run.rounds());
    for model in chosen(run.model.as_deref())? {
        let version = &mut report.torch;
        let measured = measure(run, &python, model, &CONTESTANTS, &mut patience, version)?;
        report.models.push(measured);
    }
    let answers = Answers {
        proof_ms: proof_ms(run.threads)?,
        report,
    };
    let text = answers.markdown();
    println!("\n{text}");
    if run.is_partial() {
        return Ok(());
    }
    check_load(answers.report.others())?;
    let docs = root().join("docs");
    page::write(
        &docs,
        "infer",
        "Answers beside onnxruntime's",
        &text,
        &answers,
    )
}

impl Answers {
    fn markdown(&self) -> String {
        let mut text = format!(
            "{}; onnxruntime {}. f32, {} threads. Each cell is the median time of a batch in \
             milliseconds (lowest–highest median of {} rounds, in which both take turns; other \
             programs took {:.0} % of the cores meanwhile). *Ratio* is our time over onnxruntime's, the \
             median of the rounds' ratios; below 1 we are faster.\n\n",
            self.report.machine(),
            self.report.torch,
            self.report.threads(),
            self.report.rounds(),
            self.report.others() * 100.0,
        );
        let head = [
            "network",
            "input",
            "batch",
            "net2net",
            "onnxruntime",
            "ratio",
            "our CPU",
            "its CPU",
            "our MiB",
            "its MiB",
        ];
        text += &row(&head);
        text += &row(&rule(head.len(), 2));
        for model in &self.report.models {
            text += &row(&cells(model));
        }
        text += &format!(
            "\nA ResNet-56 on {PROOF_IMAGES} images of 32 × 32 in f64, compiling included, takes {} ms; \
             a proof does that with the network before and after growth.\n",
            digits(self.proof_ms)
        );
        text
    }
}

fn cells(model: &ModelReport) -> Vec<String> {
    let mut cells = vec![
        model.name.clone(),
        model.images.clone(),
        model.batch.to_string(),
    ];
    let known = |x: Option<f64>| x.map_or("unknown".to_owned(), digits);
    cells.extend(model.contestants.iter().map(|c| c.cell()));
    cells.push(format!("**{:.2}**", model.ours_to_best));
    cells.extend(model.contestants.iter().map(|c| known(c.cpu_ms)));
    cells.extend(model.contestants.iter().map(|c| known(c.peak_mib)));
    cells
}

/// The time that a network in f64 takes, as a proof runs it.
fn proof_ms(threads: usize) -> Result<f64> {
    let graph = RESNET_56.graph()?;
    let weights: Weights<f64> = initialize(&graph, 1);
    let (images, _) = RESNET_56.samples(PROOF_IMAGES);
    let images: Vec<f64> = images.into_iter().map(f64::from).collect();
    let mut cx = Context::<f64>::new(threads)?;
    let mut times = Vec::new();
    for _ in 0..PROOF_ROUNDS {
        let start = Instant::now();
        evaluate(&mut cx, &graph, &weights, PROOF_IMAGES, &[&images])
            .context("the network of the proof")?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}
