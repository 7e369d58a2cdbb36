//! `cargo xtask bench grow`: a model of 1 GB and a checkpoint of 4 GB grown by the program, beside
//! copying the result and, if asked, beside mergekit.
//!
//! All read files that are in the system's cache already, and write to files that are not there.
//! The program also synchronises what it wrote with the disk before it puts it in place, which the
//! others do not; so the copy is timed with and without that.

mod shards;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use net2net_onnx::Document;
use net2net_onnx::document::External;
use net2net_onnx::proto::{StringStringEntryProto, TensorProto};
use serde::Serialize;
use serde_json::Value;

use self::shards::Checkpoint;
use super::load::Sample;
use super::page::{self, row};
use super::statistics::median;
use super::synthetic::Synthetic;
use crate::{python, root};

/// What `bench grow` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A small model and one round, to see that it works; nothing is written.
    #[arg(long)]
    quick: bool,
    /// By how much every space is widened.
    #[arg(long, default_value_t = 1.2)]
    wider: f64,
    /// Beside mergekit too.
    #[arg(long)]
    peers: bool,
    /// An interpreter that has mergekit; by default one is set up under `target/bench-mergekit`,
    /// which takes a download.
    #[arg(long, value_name = "PATH", requires = "peers")]
    python: Option<PathBuf>,
    /// A program that is built already.
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Only the model of 1 GB; nothing is written.
    #[arg(long)]
    model_only: bool,
    /// Only the checkpoint of 4 GB; nothing is written.
    #[arg(long, conflicts_with = "model_only")]
    checkpoint_only: bool,
}

/// Units of the stream through the residual blocks, and of the layers inside of them.
const STREAM: i64 = 2048;
const HIDDEN: i64 = 8192;
/// Features at the ends.
const ENDS: i64 = 64;
const MIB: f64 = (1 << 20) as f64;

/// All that was measured, and on what.
#[derive(Serialize)]
struct Report {
    cpu: String,
    cores: usize,
    rustc: String,
    rounds: usize,
    wider: f64,
    /// The share of the cores that other programs took meanwhile.
    others: Option<f64>,
    models: Vec<Model>,
    checkpoint: Option<Checkpoint>,
}

/// One way to store the model: medians of seconds.
#[derive(Serialize)]
struct Model {
    name: &'static str,
    input_bytes: u64,
    output_bytes: u64,
    largest_tensor_bytes: u64,
    grow: f64,
    /// Of the parts that the program says, of which proof and writing overlap.
    parts: BTreeMap<String, f64>,
    copy: f64,
    copy_and_sync: f64,
    /// Medians of the rounds' ratios.
    speed: f64,
    speed_synced: f64,
    peak_bytes: u64,
}

/// Measures, prints and, after a whole run, writes its part of `docs/performance.{md,json}`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = root().join("target/bench/grow");
    fs::create_dir_all(&folder)?;
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => build()?,
    };
    let mergekit = match arguments.peers {
        true => Some(mergekit(arguments.python.as_deref())?),
        false => None,
    };
    let mut report = Report {
        cpu: page::cpu(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        rustc: page::rustc(),
        rounds: if arguments.quick { 1 } else { 5 },
        wider: arguments.wider,
        others: None,
        models: Vec::new(),
        checkpoint: None,
    };
    let before = Sample::take(std::process::id());
    if !arguments.checkpoint_only {
        report.models = models(&folder, &program, arguments, report.rounds)?;
    }
    if !arguments.model_only {
        let rounds = if arguments.quick { 1 } else { 3 };
        let folder = folder.join("shards");
        let mergekit = mergekit.as_deref();
        let checkpoint = shards::measure(&folder, &program, mergekit, arguments.quick, rounds)?;
        println!("{}", checkpoint.line());
        report.checkpoint = Some(checkpoint);
    }
    report.others = share_of_others(before);
    fs::remove_dir_all(&folder)?;
    let markdown = report.markdown();
    println!("\n{markdown}");
    if arguments.quick || arguments.model_only || arguments.checkpoint_only {
        return Ok(());
    }
    page::write(
        &root().join("docs"),
        "grow",
        "Growing a large model",
        &markdown,
        &report,
    )
}

/// The share of the cores that others than this command's children took. Children that have ended
/// count as this command's.
fn share_of_others(before: Option<Sample>) -> Option<f64> {
    let after = Sample::take(std::process::id());
    let load = after.zip(before).map(|(after, before)| after.since(before));
    load.map(|load| load.others)
}

/// The model of 1 GB, stored in both ways.
fn models(
    folder: &Path,
    program: &Path,
    arguments: &Arguments,
    rounds: usize,
) -> Result<Vec<Model>> {
    let blocks = if arguments.quick { 1 } else { 8 };
    let beside = folder.join("beside.onnx");
    let whole = folder.join("whole.onnx");
    generate(&beside, blocks)?;
    put_inside(&beside, &whole)?;
    let mut all = Vec::new();
    for (name, path) in [("tensors beside", &beside), ("one file", &whole)] {
        let model = measure(name, program, path, arguments.wider, rounds)
            .with_context(|| name.to_owned())?;
        println!(
            "{name}: {:.2} s; copied in {:.2} s, {:.2} s with the disk; peak {:.0} MiB; {:?}",
            model.grow,
            model.copy,
            model.copy_and_sync,
            model.peak_bytes as f64 / MIB,
            model.parts
        );
        all.push(model);
    }
    for path in [beside.with_extension("bin"), beside, whole] {
        fs::remove_file(path)?;
    }
    Ok(all)
}

/// An interpreter with mergekit.
fn mergekit(given: Option<&Path>) -> Result<PathBuf> {
    let (folder, packages) = (root().join("target/bench-mergekit"), &["mergekit"]);
    python::interpreter(given, &folder, packages)
}

/// The program as users have it.
fn build() -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "-p", "net2net"])
        .current_dir(root())
        .status()?;
    ensure!(built.success(), "the program could not be built");
    Ok(root().join("target/release/net2net"))
}

/// Writes a stack of residual blocks of two layers each, its tensors beside it.
fn generate(path: &Path, blocks: usize) -> Result<()> {
    let mut model = Synthetic::new(&[ENDS], &[ENDS]);
    let data = path.with_extension("bin");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&data)?);
    let mut at = 0;
    let location = data.file_name().unwrap_or_default().to_string_lossy();
    let mut layer = |model: &mut Synthetic, input: &str, output: &str, sizes: [i64; 2]| {
        let name = format!("{output}.weight");
        let bytes = random_bytes(&name, sizes);
        let entries = [
            ("location", location.to_string()),
            ("offset", at.to_string()),
            ("length", bytes.len().to_string()),
        ];
        model.graph.initializer.push(TensorProto {
            name: Some(name.clone()),
            dims: sizes.to_vec(),
            data_type: Some(1),
            data_location: Some(1),
            external_data: entries.map(|(key, value)| entry(key, value)).into(),
            ..TensorProto::default()
        });
        // All sizes are multiples of a page.
        at += bytes.len();
        model.node("Gemm", &[input, &name], output);
        model.attribute("transB", 1);
        file.write_all(&bytes)
    };
    layer(&mut model, "x", "stem", [STREAM, ENDS])?;
    let mut x = "stem".to_owned();
    for block in 0..blocks {
        let names = ["up", "act", "down", "sum"].map(|part| format!("block{block}.{part}"));
        let [up, act, down, sum] = &names;
        layer(&mut model, &x, up, [HIDDEN, STREAM])?;
        model.node("Relu", &[up], act);
        layer(&mut model, act, down, [STREAM, HIDDEN])?;
        model.node("Add", &[&x, down], sum);
        x.clone_from(sum);
    }
    layer(&mut model, &x, "y", [ENDS, STREAM])?;
    file.flush()?;
    Ok(model.document().save(path)?)
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value),
    }
}

/// Uniform numbers of a size that keeps what flows through the layers in bounds.
fn random_bytes(name: &str, [to, from]: [i64; 2]) -> Vec<u8> {
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let bound = (1.5 / from as f64).sqrt();
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f64 / f64::from(1 << 23) - 1.0) * bound
    };
    (0..to * from)
        .flat_map(|_| (next() as f32).to_le_bytes())
        .collect()
}

/// Writes the same model with its tensors in the model's own file.
fn put_inside(from: &Path, to: &Path) -> Result<()> {
    let Document {
        mut model,
        external,
    } = Document::open(from)?;
    let graph = model.graph.as_mut().context("a graph")?;
    for tensor in &mut graph.initializer {
        tensor.raw_data = Some(external.slice(tensor)?);
        tensor.data_location = None;
        tensor.external_data.clear();
    }
    let external = External::default();
    Ok(Document { model, external }.save(to)?)
}

/// Grows and copies in turn.
fn measure(
    name: &'static str,
    program: &Path,
    path: &Path,
    wider: f64,
    rounds: usize,
) -> Result<Model> {
    let folder = path.with_extension("out");
    fs::create_dir_all(&folder)?;
    let output = folder.join("bigger.onnx");
    let mut all = Rounds::default();
    let mut parts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut peak = 0;
    // The first round fills the cache.
    for round in 0..=rounds {
        clear(&folder)?;
        let wider = wider.to_string();
        let options = ["--wider", &wider, "-o"].map(OsStr::new);
        let grown = grow(
            program,
            path,
            options.iter().copied().chain([output.as_os_str()]),
        )?;
        let [plain, synced] = [false, true].map(|sync| copy(&folder, sync));
        let copies = [plain?, synced?];
        peak = peak.max(grown.peak_bytes);
        if round > 0 {
            all.add(grown.seconds, copies);
            for (name, seconds) in grown.parts {
                parts.entry(name).or_default().push(seconds);
            }
        }
    }
    let model = Model {
        name,
        input_bytes: bytes_of(path)? + bytes_of(&path.with_extension("bin")).unwrap_or(0),
        output_bytes: folder_bytes(&folder)?,
        largest_tensor_bytes: (STREAM * HIDDEN * 4) as u64,
        speed: all.ratio(0),
        speed_synced: all.ratio(1),
        grow: median(all.grow),
        copy: median(all.copies[0].clone()),
        copy_and_sync: median(all.copies[1].clone()),
        parts: parts.into_iter().map(|(k, v)| (k, median(v))).collect(),
        peak_bytes: peak,
    };
    fs::remove_dir_all(&folder)?;
    Ok(model)
}

/// Seconds of growing and of copying, round by round.
#[derive(Default)]
struct Rounds {
    grow: Vec<f64>,
    /// Without and with synchronising.
    copies: [Vec<f64>; 2],
}

impl Rounds {
    fn add(&mut self, grow: f64, copies: [f64; 2]) {
        self.grow.push(grow);
        for (all, own) in self.copies.iter_mut().zip(copies) {
            all.push(own);
        }
    }

    /// The speed of growing as a share of that of copying: the median of the rounds' ratios.
    fn ratio(&self, kind: usize) -> f64 {
        let pairs = self.copies[kind].iter().zip(&self.grow);
        median(pairs.map(|(copy, grow)| copy / grow))
    }
}

/// One run of the program.
struct Grown {
    seconds: f64,
    parts: BTreeMap<String, f64>,
    peak_bytes: u64,
}

/// Grows a model with some options.
fn grow<'a>(
    program: &Path,
    model: &Path,
    options: impl Iterator<Item = &'a OsStr>,
) -> Result<Grown> {
    let start = Instant::now();
    // GNU time says how much memory a process held at most.
    let run = Command::new("/usr/bin/time")
        .args(["-f", "%M"])
        .arg(program)
        .arg("grow")
        .arg(model)
        .args(options)
        .arg("--json")
        .output()
        .context("/usr/bin/time")?;
    let seconds = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&run.stdout)?;
    ensure!(report["evidence"]["exact"] == true, "the growth is exact");
    let parts = report["seconds"].as_object().context("the seconds")?;
    let parts = parts.iter();
    let peak = said
        .lines()
        .last()
        .and_then(|line| line.trim().parse::<u64>().ok());
    Ok(Grown {
        seconds,
        parts: parts
            .filter_map(|(name, x)| Some((name.clone(), x.as_f64()?)))
            .collect(),
        peak_bytes: peak.context("the peak memory")? * 1024,
    })
}

/// Copies the grown model; returns the seconds.
fn copy(folder: &Path, sync: bool) -> Result<f64> {
    let to = folder.with_extension("copy");
    let start = Instant::now();
    let copied = Command::new("cp").arg("-r").arg(folder).arg(&to).status()?;
    ensure!(copied.success(), "cp failed");
    if sync {
        for entry in fs::read_dir(&to)? {
            File::open(entry?.path())?.sync_all()?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    fs::remove_dir_all(to)?;
    Ok(seconds)
}

fn clear(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder)?;
    Ok(fs::create_dir_all(folder)?)
}

fn bytes_of(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.len())
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

impl Report {
    /// The section of `performance.md`, without its markers.
    fn markdown(&self) -> String {
        let mut text = format!("{}, {} cores; {}.", self.cpu, self.cores, self.rustc);
        if let Some(others) = self.others {
            text += &format!(
                " Other programs took {:.0} % of the cores meanwhile.",
                others * 100.0
            );
        }
        if !self.models.is_empty() {
            text += &self.models_markdown();
        }
        if let Some(checkpoint) = &self.checkpoint {
            text += &checkpoint.markdown();
        }
        text
    }

    fn models_markdown(&self) -> String {
        let mut text = format!(
            "\n\nA made-up stack of residual blocks in f32, widened by {} with `net2net grow`, all files \
             in the system's cache. Medians of {} rounds, in which growing and `cp` take turns. *Grow* \
             is the whole command: reading, planning, growing, writing and synchronising with the disk, \
             and the proof: both networks in f64, the old one in f32, and what was written in both, on 4 samples. \
             *Speed* is the time of copying the output over that of growing; the last column has it \
             against a copy that is synchronised with the disk too, as the grown file is. Peak memory is \
             that of the process (`/usr/bin/time`), mapped files included; the limit is 1 GiB and the \
             largest tensor.\n\n",
            self.wider, self.rounds
        );
        text += &row(&[
            "stored",
            "input",
            "output",
            "grow",
            "proof",
            "writing meanwhile",
            "running what was written",
            "putting in place",
            "`cp`",
            "`cp`, synced",
            "peak memory",
            "limit",
            "speed",
            "speed, synced",
        ]);
        text += &row(&[
            "---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:",
            "---:", "---:", "---:",
        ]);
        for model in &self.models {
            let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / MIB);
            let seconds = |x: f64| format!("{x:.2} s");
            let part = |name: &str| seconds(model.parts.get(name).copied().unwrap_or(0.0));
            text += &row(&[
                model.name.to_owned(),
                mib(model.input_bytes),
                mib(model.output_bytes),
                seconds(model.grow),
                part("proof"),
                part("growing_and_writing"),
                part("running_what_was_written"),
                part("putting_in_place"),
                seconds(model.copy),
                seconds(model.copy_and_sync),
                mib(model.peak_bytes),
                mib((1 << 30) + model.largest_tensor_bytes),
                format!("**{:.2}**", model.speed),
                format!("**{:.2}**", model.speed_synced),
            ]);
        }
        text
    }
}
