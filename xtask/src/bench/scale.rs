//! `cargo xtask bench scale`: how the time of a training step follows width, depth, batch, image
//! size and threads.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Result, anyhow};
use net2net_core::engine::{OptimizerState, Trainer, TrainerOptions};
use net2net_core::weights::initialize;
use net2net_lab::data::ImageShape;
use net2net_lab::models::{Family, ModelSpec};
use plotters::prelude::*;
use serde::Serialize;

use super::models::samples;
use super::page::{self, row};
use super::report::digits;
use super::statistics::median;
use super::worker::{LEARNING_RATE, OPTIMIZER};
use crate::root;

/// What `bench scale` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One round, to see that it works; nothing is written.
    #[arg(long)]
    quick: bool,
}

/// The plot, beside the page.
const PLOT: &str = "scaling.svg";
const CLASSES: usize = 10;
/// A turn takes as many steps as fit in this time, and at least one.
const TURN_SECONDS: f64 = 0.5;

/// What is varied, one number at a time.
#[derive(Clone, Copy, PartialEq, Serialize)]
struct Setting {
    width: f64,
    depth: usize,
    batch: usize,
    side: usize,
    threads: usize,
}

/// From which one number at a time is changed.
const BASE: Setting = Setting {
    width: 1.0,
    depth: 2,
    batch: 64,
    side: 32,
    threads: 1,
};

/// One number, at several values.
struct Axis {
    name: &'static str,
    values: &'static [f64],
    base: f64,
    set: fn(&mut Setting, f64),
}

const AXES: [Axis; 5] = [
    Axis {
        name: "width",
        values: &[0.5, 1.0, 2.0, 4.0],
        base: BASE.width,
        set: |setting, value| setting.width = value,
    },
    Axis {
        name: "depth",
        values: &[1.0, 2.0, 4.0, 8.0],
        base: BASE.depth as f64,
        set: |setting, value| setting.depth = value as usize,
    },
    Axis {
        name: "batch",
        values: &[8.0, 16.0, 32.0, 64.0, 128.0, 256.0],
        base: BASE.batch as f64,
        set: |setting, value| setting.batch = value as usize,
    },
    Axis {
        name: "side of the image",
        values: &[16.0, 32.0, 64.0, 128.0],
        base: BASE.side as f64,
        set: |setting, value| setting.side = value as usize,
    },
    Axis {
        name: "threads",
        values: &[1.0, 2.0],
        base: BASE.threads as f64,
        set: |setting, value| setting.threads = value as usize,
    },
];

/// All that was measured, and on what.
#[derive(Serialize)]
struct Report {
    cpu: String,
    rustc: String,
    rounds: usize,
    axes: Vec<Measured>,
}

#[derive(Serialize)]
struct Measured {
    name: &'static str,
    base: f64,
    points: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    value: f64,
    parameters: usize,
    /// Operations of a step's forward pass.
    forward_gflop: f64,
    /// The median of a step.
    milliseconds: f64,
}

impl Point {
    /// GFLOP a second, if a step is three forward passes.
    fn rate(&self) -> f64 {
        3.0 * self.forward_gflop / self.milliseconds * 1e3
    }
}

/// Measures, prints and, after a whole run, writes its part of `docs/performance.{md,json}`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let rounds = if arguments.quick { 1 } else { 5 };
    let mut axes = Vec::new();
    for axis in &AXES {
        let mut benches = Vec::new();
        for value in axis.values {
            let mut setting = BASE;
            (axis.set)(&mut setting, *value);
            benches.push(Bench::new(setting)?);
        }
        let mut times = vec![Vec::new(); benches.len()];
        for _ in 0..rounds {
            for (bench, times) in benches.iter_mut().zip(&mut times) {
                times.push(bench.turn()?);
            }
        }
        let points = axis.values.iter().zip(benches).zip(times);
        let points = points.map(|((value, bench), times)| Point {
            value: *value,
            parameters: bench.parameters,
            forward_gflop: bench.forward_gflop,
            milliseconds: median(times),
        });
        let measured = Measured {
            name: axis.name,
            base: axis.base,
            points: points.collect(),
        };
        println!("{}: {:?}", measured.name, milliseconds(&measured));
        axes.push(measured);
    }
    let report = Report {
        cpu: page::cpu(),
        rustc: page::rustc(),
        rounds,
        axes,
    };
    let text = report.markdown();
    println!("\n{text}");
    if arguments.quick {
        return Ok(());
    }
    let docs = root().join("docs");
    std::fs::write(docs.join(PLOT), report.plot()?)?;
    let heading = "How a step's time follows the size of the work";
    page::write(&docs, "scale", heading, &text, &report)
}

fn milliseconds(measured: &Measured) -> Vec<f64> {
    measured.points.iter().map(|p| p.milliseconds).collect()
}

/// One setting, trained in turns.
struct Bench {
    trainer: Trainer<f32>,
    images: Vec<f32>,
    labels: Vec<u32>,
    parameters: usize,
    forward_gflop: f64,
    /// Steps of a turn.
    steps: usize,
}

impl Bench {
    fn new(setting: Setting) -> Result<Bench> {
        let shape = ImageShape {
            height: setting.side,
            width: setting.side,
            channels: 3,
        };
        let spec = ModelSpec {
            family: Family::ConvNet,
            width: setting.width,
            depth: setting.depth,
        };
        let graph = spec.build(shape, CLASSES)?;
        let weights = initialize::<f32>(&graph, 1);
        let (images, labels) = samples(shape, CLASSES, setting.batch);
        let options = TrainerOptions {
            batch: setting.batch,
            threads: setting.threads,
            optimizer: OPTIMIZER,
            label_smoothing: 0.0,
            gradient_clip: None,
            seed: 0,
        };
        let mut bench = Bench {
            trainer: Trainer::new(&graph, &weights, &OptimizerState::default(), options)?,
            images,
            labels,
            parameters: weights.iter().map(|(_, tensor)| tensor.data().len()).sum(),
            forward_gflop: graph.flops() as f64 * setting.batch as f64 / 1e9,
            steps: 1,
        };
        // The first step also makes room for what the others use again.
        bench.turn()?;
        let milliseconds = bench.turn()?;
        bench.steps = (TURN_SECONDS * 1e3 / milliseconds).ceil() as usize;
        Ok(bench)
    }

    /// The mean time of a step, in milliseconds.
    fn turn(&mut self) -> Result<f64> {
        let start = Instant::now();
        for _ in 0..self.steps {
            self.trainer
                .step(&self.images, &self.labels[..], LEARNING_RATE)?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e3 / self.steps as f64)
    }
}

impl Report {
    fn markdown(&self) -> String {
        let mut text = format!(
            "{}; {}. Training steps of a `conv-net` in f32, SGD with momentum: width {}, depth {}, batch {}, \
             {}×{}×3, {} thread, and from there one number at a time. Medians of {} rounds in turns. *GFLOP/s* \
             counts a step as three forward passes.\n\n![time against size]({PLOT})\n\n",
            self.cpu,
            self.rustc,
            BASE.width,
            BASE.depth,
            BASE.batch,
            BASE.side,
            BASE.side,
            BASE.threads,
            self.rounds
        );
        text += &row(&["", "value", "parameters", "ms a step", "GFLOP/s"]);
        text += &row(&["---", "---:", "---:", "---:", "---:"]);
        for axis in &self.axes {
            for point in &axis.points {
                let base = point.value == axis.base;
                let milliseconds = digits(point.milliseconds);
                text += &row(&[
                    axis.name.to_owned(),
                    point.value.to_string(),
                    point.parameters.to_string(),
                    match base {
                        true => format!("**{milliseconds}**"),
                        false => milliseconds,
                    },
                    format!("{:.0}", point.rate()),
                ]);
            }
        }
        text
    }

    /// Times over that of the base, against sizes over that of the base, both by logarithms.
    fn plot(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw(&SVGBackend::with_string(&mut svg, (760, 460)).into_drawing_area())
            .map_err(|error| anyhow!("the plot: {error}"))?;
        let mut page = String::new();
        // Viewers of SVG files show nothing behind it.
        let background = "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>";
        match svg.split_once('>') {
            Some((head, rest)) => write!(page, "{head}>\n{background}{rest}")?,
            None => page = svg,
        }
        Ok(page)
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d((0.1..10.0).log_scale(), (0.05..32.0).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("width, depth, batch, side or threads, over the base's")
            .y_desc("time of a step, over the base's")
            .draw()?;
        let colors = [BLUE, RED, GREEN, MAGENTA, BLACK];
        for (axis, color) in self.axes.iter().zip(colors) {
            let base = axis.points.iter().find(|p| p.value == axis.base);
            let base = base.map_or(f64::NAN, |p| p.milliseconds);
            let points = axis.points.iter();
            let points: Vec<(f64, f64)> = points
                .map(|p| (p.value / axis.base, p.milliseconds / base))
                .collect();
            let marks = points.iter().map(|at| Circle::new(*at, 3, color.filled()));
            chart.draw_series(marks)?;
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(axis.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .border_style(BLACK)
            .draw()?;
        area.present()
    }
}
