//! `cargo xtask bench plan`: how the time to read, plan and grow follows the size of the graph.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use net2net_core::apply::apply;
use net2net_core::dims::Spaces;
use net2net_core::plan::{Mapping, Plan, Step, Symmetry, widen};
use net2net_onnx::export::export;
use net2net_onnx::{Document, Imported};
use serde::Serialize;

use super::page::{self, row};
use super::report::digits;
use super::statistics::median;
use super::synthetic::Synthetic;
use crate::root;

/// What `bench plan` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A short run, to see that it works; nothing is written.
    #[arg(long)]
    quick: bool,
}

/// About how many nodes the graphs have.
const SIZES: [usize; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];
/// The channels of every layer: the size of the graph is what is measured, not that of tensors.
const CHANNELS: i64 = 8;
const PARTS: [&str; 5] = ["import", "spaces", "plan", "apply", "export"];

/// All that was measured, and on what.
#[derive(Serialize)]
struct Report {
    cpu: String,
    rustc: String,
    rounds: usize,
    chains: Vec<Chain>,
}

/// One kind of graph.
#[derive(Serialize)]
struct Chain {
    name: &'static str,
    sizes: Vec<Size>,
    /// The slope of the logarithm of the time over that of the number of nodes, for each part and
    /// for planning as a whole.
    exponents: Vec<f64>,
}

/// One graph: medians in milliseconds.
#[derive(Serialize)]
struct Size {
    nodes: usize,
    parameters: usize,
    spaces: usize,
    /// In the order of [`PARTS`].
    milliseconds: [f64; 5],
}

impl Size {
    /// Spaces, plan and apply: what planning takes once the model is read.
    fn planning(&self) -> f64 {
        self.milliseconds[1..4].iter().sum()
    }
}

/// Measures, prints and, after a whole run, writes its part of `docs/performance.{md,json}`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let sizes = if arguments.quick { &SIZES[..3] } else { &SIZES };
    let mut report = Report {
        cpu: page::cpu(),
        rustc: page::rustc(),
        rounds: if arguments.quick { 1 } else { 5 },
        chains: Vec::new(),
    };
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    for name in ["residual", "concat"] {
        let mut measured = Vec::new();
        for nodes in sizes {
            let path = folder.join(format!("plan-{name}.onnx"));
            let model = match name {
                "residual" => residual(*nodes),
                _ => concatenating(*nodes),
            };
            model.document().save(&path)?;
            let size = measure(&path, report.rounds)
                .with_context(|| format!("{name} chain of {nodes} nodes"))?;
            println!("{name}, {} nodes: {:?}", size.nodes, size.milliseconds);
            measured.push(size);
            std::fs::remove_file(&path)?;
        }
        let mut exponents: Vec<f64> = (0..PARTS.len())
            .map(|part| exponent(&measured, |size| size.milliseconds[part]))
            .collect();
        exponents.push(exponent(&measured, Size::planning));
        report.chains.push(Chain {
            name,
            sizes: measured,
            exponents,
        });
    }
    let markdown = report.markdown();
    println!("\n{markdown}");
    if arguments.quick {
        return Ok(());
    }
    let heading = "Planning by the size of the graph";
    page::write(&root().join("docs"), "plan", heading, &markdown, &report)
}

/// Blocks of a convolution, its normalisation, a rectifier, a second convolution and a sum with what
/// the block reads.
fn residual(nodes: usize) -> Synthetic {
    let mut model = Synthetic::new(&[CHANNELS, 4, 4], &[CHANNELS, 4, 4]);
    let mut x = convolution(&mut model, "x", "stem");
    for block in 0..nodes / 5 {
        let linear = convolution(&mut model, &x, &format!("block{block}.conv"));
        let norm = format!("block{block}.norm");
        let suffixes = ["weight", "bias", "mean", "var"];
        let names = suffixes.map(|suffix| format!("{norm}.{suffix}"));
        for name in &names {
            model.full(name, &[CHANNELS], 1.0);
        }
        let [scale, shift, mean, variance] = &names;
        model.node(
            "BatchNormalization",
            &[&linear, scale, shift, mean, variance],
            &norm,
        );
        let act = format!("block{block}.act");
        model.node("Relu", &[&norm], &act);
        let second = convolution(&mut model, &act, &format!("block{block}.second"));
        let sum = format!("block{block}.sum");
        model.node("Add", &[&x, &second], &sum);
        x = sum;
    }
    last(&mut model, &x);
    model
}

/// Blocks of two rectified convolutions side by side, joined, and one that reads both.
fn concatenating(nodes: usize) -> Synthetic {
    let mut model = Synthetic::new(&[CHANNELS, 4, 4], &[CHANNELS, 4, 4]);
    let mut x = convolution(&mut model, "x", "stem");
    for block in 0..nodes / 6 {
        let branches = ["a", "b"].map(|branch| {
            let name = format!("block{block}.{branch}");
            let linear = convolution(&mut model, &x, &name);
            let act = format!("{name}.act");
            model.node("Relu", &[&linear], &act);
            act
        });
        let joined = format!("block{block}.joined");
        model.node("Concat", &[&branches[0], &branches[1]], &joined);
        model.attribute("axis", 1);
        let name = format!("block{block}.reduce");
        let weight = format!("{name}.weight");
        model.full(&weight, &[CHANNELS, 2 * CHANNELS, 1, 1], 0.1);
        model.node("Conv", &[&joined, &weight], &name);
        x = name;
    }
    last(&mut model, &x);
    model
}

fn convolution(model: &mut Synthetic, input: &str, name: &str) -> String {
    let weight = format!("{name}.weight");
    model.full(&weight, &[CHANNELS, CHANNELS, 1, 1], 0.1);
    model.node("Conv", &[input, &weight], name);
    name.to_owned()
}

fn last(model: &mut Synthetic, input: &str) {
    convolution(model, input, "y");
}

/// Reads, plans, applies and exports, several times.
fn measure(path: &Path, rounds: usize) -> Result<Size> {
    let mut times: [Vec<f64>; 5] = Default::default();
    let mut counts = (0, 0, 0);
    for _ in 0..rounds {
        let mut since = Instant::now();
        let document = Document::open(path)?;
        let imported = Imported::read(&document)?;
        lap(&mut times[0], &mut since);
        let graph = &imported.graph;
        let spaces = Spaces::infer(graph);
        lap(&mut times[1], &mut since);
        let wider = spaces.growable().map(|space| {
            let size = space.size.at(1) * 3 / 2;
            let (mapping, symmetry) = (Mapping::default(), Symmetry::default());
            widen(&spaces, &space.name, size, mapping, symmetry, 0).map(Step::Widen)
        });
        let steps = wider
            .collect::<Result<Vec<Step>, _>>()
            .map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        let plan = Plan::new(graph, 0, steps);
        lap(&mut times[2], &mut since);
        let growth = apply(graph, &plan)?;
        lap(&mut times[3], &mut since);
        let weights = growth.weights(&imported.weights::<f32>(&document)?)?;
        // What the numbers take is not counted.
        since = Instant::now();
        export(&document, &imported, &plan, &growth, &weights)?;
        times[4].push(milliseconds(since));
        ensure!(imported.opaque.is_empty(), "not all of it is understood");
        counts = (
            graph.nodes().len(),
            graph.parameters().count(),
            plan.steps.len(),
        );
    }
    let (nodes, parameters, spaces) = counts;
    Ok(Size {
        nodes,
        parameters,
        spaces,
        milliseconds: times.map(median),
    })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn lap(times: &mut Vec<f64>, since: &mut Instant) {
    times.push(milliseconds(*since));
    *since = Instant::now();
}

/// The slope of a line through the logarithms, by least squares.
fn exponent(sizes: &[Size], time: impl Fn(&Size) -> f64) -> f64 {
    let points: Vec<(f64, f64)> = sizes
        .iter()
        .map(|size| ((size.nodes as f64).ln(), time(size).ln()))
        .collect();
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum();
    covariance
        / points
            .iter()
            .map(|(x, _)| (x - mean_x).powi(2))
            .sum::<f64>()
}

impl Report {
    /// The section of `performance.md`, without its markers.
    fn markdown(&self) -> String {
        let mut text = format!(
            "{}, one thread; {}. Made-up ONNX models of layers of {CHANNELS} channels: chains of \
             residual blocks (convolution, batch norm, rectifier, convolution, sum), and of blocks that join two \
             branches. Medians of {} rounds, in milliseconds. *Import* reads the file; *spaces* \
             infers which channels belong together; *plan* makes the maps that widen every space; \
             *apply* rebuilds the graph with all of them; *planning* is these three; *export* \
             makes the grown document and reads it again. The last row of a chain is the exponent \
             of the number of nodes, by least squares: 1 is linear.\n\n",
            self.cpu, self.rustc, self.rounds
        );
        text += &row(&[
            "chain",
            "nodes",
            "parameters",
            "spaces",
            PARTS[0],
            "inference",
            PARTS[2],
            PARTS[3],
            "**planning**",
            PARTS[4],
        ]);
        text += &row(&[
            "---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:",
        ]);
        for chain in &self.chains {
            for size in &chain.sizes {
                let [import, spaces, plan, apply, export] = size.milliseconds.map(digits);
                text += &row(&[
                    chain.name.to_owned(),
                    size.nodes.to_string(),
                    size.parameters.to_string(),
                    size.spaces.to_string(),
                    import,
                    spaces,
                    plan,
                    apply,
                    format!("**{}**", digits(size.planning())),
                    export,
                ]);
            }
            let exponent = |part: usize| format!("{:.2}", chain.exponents[part]);
            text += &row(&[
                chain.name.to_owned(),
                "exponent".to_owned(),
                String::new(),
                String::new(),
                exponent(0),
                exponent(1),
                exponent(2),
                exponent(3),
                format!("**{}**", exponent(5)),
                exponent(4),
            ]);
        }
        text
    }
}
