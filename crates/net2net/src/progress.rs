//! What people see while a comparison runs: bars on a terminal, lines in a log.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use net2net_core::graph::Graph;
use net2net_core::plan::Plan;
use net2net_core::verify::Evidence;
use net2net_lab::compare::Watcher;
use net2net_lab::report::{Metric, RunRecord};
use net2net_lab::train::{Observer, Progress};

use crate::output::tell;

/// Bars are redrawn at most this often; a step can be shorter than drawing it.
const REDRAW: Duration = Duration::from_millis(100);

/// The watcher of the command line. Everything goes to standard error.
pub(crate) struct Screen {
    bars: Option<(MultiProgress, ProgressBar, ProgressBar)>,
    runs: usize,
    ended: usize,
    /// Steps of runs that have ended.
    before: u64,
    started: Instant,
    drawn: Instant,
}

impl Screen {
    /// Bars if standard error is a terminal, else plain lines.
    pub(crate) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let total = all.add(ProgressBar::new(0));
            let run = all.add(ProgressBar::new(0));
            total.set_style(style("{prefix:<28} {wide_bar} {percent:>3} %  {eta} left"));
            run.set_style(style("{prefix:<28} {wide_bar} {pos}/{len} steps  {msg}"));
            (all, total, run)
        });
        let now = Instant::now();
        Screen {
            bars,
            runs: 0,
            ended: 0,
            before: 0,
            started: now,
            drawn: now,
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some((all, _, _)) => {
                // A terminal that is gone is no reason to stop training.
                let _ = all.println(text);
            }
            None => tell!("{:8.1}s  {text}", self.started.elapsed().as_secs_f64()),
        }
    }

    /// Removes the bars.
    pub(crate) fn clear(&self) {
        if let Some((all, _, _)) = &self.bars {
            let _ = all.clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn status(progress: Progress<'_>) -> String {
    let last = progress.last;
    // A run that learns hints has no accuracy.
    let accuracy = last.map_or(String::new(), |metric| match metric.validation_accuracy {
        accuracy if accuracy.is_nan() => format!("loss {:.4}", metric.validation_loss),
        accuracy => format!("accuracy {:.1} %", 100.0 * accuracy),
    });
    let before = progress.before;
    let rate = last
        .filter(|metric| metric.seconds > before.seconds)
        .map_or(String::new(), |metric| {
            let images = (metric.step - before.steps) as f64 * progress.batch as f64;
            format!(
                "  {:.0} images/s",
                images / (metric.seconds - before.seconds)
            )
        });
    format!("{accuracy}{rate}")
}

impl Observer for Screen {
    fn started(&mut self, progress: Progress<'_>) {
        if let Some((_, total, run)) = &self.bars {
            total.set_prefix(format!("run {} of {}", self.ended + 1, self.runs));
            run.set_prefix(progress.id.to_owned());
            run.set_length(progress.steps);
            run.set_position(progress.step);
            run.set_message("");
        } else if progress.step > 0 {
            self.line(&format!(
                "{} goes on from step {}",
                progress.id, progress.step
            ));
        }
    }

    fn stepped(&mut self, progress: Progress<'_>) {
        if self.bars.is_none() || self.drawn.elapsed() < REDRAW {
            return;
        }
        self.drawn = Instant::now();
        if let Some((_, total, run)) = &self.bars {
            total.set_position(self.before + progress.step);
            run.set_position(progress.step);
            run.set_message(status(progress));
        }
    }

    fn evaluated(&mut self, progress: Progress<'_>, metric: &Metric) {
        if self.bars.is_none() {
            let loss = metric
                .train_loss
                .map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}"));
            self.line(&format!(
                "{}  epoch {:.2}  step {}/{}  train loss {loss}  validation loss {:.4}  {}",
                progress.id,
                metric.epoch,
                progress.step,
                progress.steps,
                metric.validation_loss,
                status(progress),
            ));
        }
    }

    fn finished(&mut self, record: &RunRecord, found: bool) {
        self.ended += 1;
        let last = record.metrics.last();
        let steps = last.zip(record.metrics.first());
        self.before += steps.map_or(0, |(last, first)| last.step - first.step);
        let result = last.map_or(String::new(), |metric| match metric.validation_accuracy {
            accuracy if accuracy.is_nan() => format!("loss {:.4}", metric.validation_loss),
            accuracy => format!("{:6.2} %", 100.0 * accuracy),
        });
        let seconds = last.map_or(0.0, |metric| metric.seconds);
        let how = if found { " (found finished)" } else { "" };
        self.line(&format!(
            "{:<28} {result}  in {seconds:.1} s{how}",
            record.id
        ));
        if let Some(reason) = &record.diverged {
            self.line(&format!("{}: {reason}", record.id));
        }
        if let Some((_, total, _)) = &self.bars {
            total.set_position(self.before);
        }
    }
}

impl Watcher for Screen {
    fn noted(&mut self, note: &str) {
        self.line(&format!("note: {note}"));
    }

    fn planned(&mut self, runs: usize, steps: u64) {
        self.runs = runs;
        if let Some((_, total, _)) = &self.bars {
            total.set_length(steps);
            total.enable_steady_tick(Duration::from_millis(500));
        }
    }

    fn grown(
        &mut self,
        seed: u64,
        growth: &str,
        plan: &Plan,
        evidence: &Evidence,
        student: &Graph,
    ) {
        let worst = |all: &[net2net_core::verify::OutputEvidence]| {
            all.iter().map(|output| output.max_rel).fold(0.0, f64::max)
        };
        let verdict = match (plan.is_exact(), evidence.exact) {
            (_, true) => "the same function",
            (_, false) => "noise was asked for: not the same function",
        };
        self.line(&format!(
            "seed{seed}/{growth}: grown in {} steps to {} parameters; {verdict}: \
             largest relative difference {:.1e} in f64, {:.1e} in f32, on {}",
            plan.steps.len(),
            student.parameter_count(),
            worst(&evidence.f64),
            worst(&evidence.f32),
            evidence.inputs,
        ));
    }
}
