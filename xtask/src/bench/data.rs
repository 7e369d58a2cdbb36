//! `cargo xtask bench data`: images a second of our loader beside torchvision's, on the same files
//! with the same augmentation, two threads of ours against two worker processes of theirs.
//!
//! Both are asked for whole epochs, over and over, and take turns. Theirs stays one process, so that
//! starting Python does not count, and its workers stay alive between epochs.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use net2net_lab::data::{
    Augmentation, Dataset, Loader, Normalization, ResizedCrop, SourceOptions, open,
};
use serde::Serialize;

use super::page::{self, row};
use super::statistics::median;
use crate::{python, root};

/// What `bench data` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One round on few images, to see that it works; nothing is written.
    #[arg(long)]
    quick: bool,
    /// Photographs, in a folder `train/CLASS/…` with `val/CLASS/…`; by default some are made up.
    #[arg(long, value_name = "DIR")]
    large: Option<PathBuf>,
    /// Small images, in a folder or an archive; by default some are made up. torchvision reads only
    /// folders.
    #[arg(long, value_name = "DIR")]
    small: Option<PathBuf>,
    #[command(flatten)]
    python: python::Choice,
}

const THREADS: usize = 2;
const BATCH: usize = 64;
const SIDE: usize = 224;
const ROUNDS: usize = 7;

/// All that was measured, and on what.
#[derive(Serialize)]
struct Report {
    cpu: String,
    cores: usize,
    rustc: String,
    peer: String,
    threads: usize,
    batch: usize,
    rounds: usize,
    sets: Vec<Set>,
}

/// One set of images: medians of images a second, and of the rounds' ratios.
#[derive(Serialize)]
struct Set {
    name: &'static str,
    origin: String,
    images: usize,
    open_seconds: f64,
    ours: f64,
    theirs: f64,
    ratio: f64,
    lowest_ratio: f64,
    highest_ratio: f64,
}

/// Measures, prints and, after a whole run, writes its part of `docs/performance.{md,json}`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let python = arguments
        .python
        .interpreter_with(&["torch", "torchvision"])?;
    let folder = root().join("target/bench/data");
    fs::create_dir_all(&folder)?;
    let few = if arguments.quick { 10 } else { 1 };
    let large = match &arguments.large {
        Some(path) => Folder::given(path),
        None => Folder::made_up(&folder.join("large"), 500, 375, 1200 / few)?,
    };
    let small = match &arguments.small {
        Some(path) => Folder::given(path),
        None => Folder::made_up(&folder.join("small"), 32, 32, 20_000 / few)?,
    };
    let rounds = if arguments.quick { 1 } else { ROUNDS };
    let mut report = Report {
        cpu: page::cpu(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        rustc: page::rustc(),
        peer: String::new(),
        threads: THREADS,
        batch: BATCH,
        rounds,
        sets: Vec::new(),
    };
    let crop = Augmentation {
        resized_crop: Some(ResizedCrop::default()),
        flip: true,
        ..Augmentation::default()
    };
    let pad = Augmentation {
        crop_padding: 4,
        flip: true,
        ..Augmentation::default()
    };
    for (name, source, side, augmentation) in [
        (
            "photographs, random resized crop to 224",
            &large,
            Some(SIDE),
            crop,
        ),
        ("32×32, padded random crop", &small, None, pad),
    ] {
        let (set, peer) = measure(name, source, side, augmentation, &python, rounds)?;
        println!(
            "{name}: {:.0} images/s, torchvision {:.0}, ratio {:.2}",
            set.ours, set.theirs, set.ratio
        );
        report.peer = peer;
        report.sets.push(set);
    }
    let markdown = report.markdown();
    println!("\n{markdown}");
    if arguments.quick {
        return Ok(());
    }
    let docs = root().join("docs");
    page::write(&docs, "data", "Reading images", &markdown, &report)
}

/// Images for both, and where they come from.
struct Folder {
    path: PathBuf,
    origin: String,
}

impl Folder {
    fn given(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Folder {
            path: path.to_owned(),
            origin: name.to_string_lossy().into_owned(),
        }
    }

    /// Made-up JPEGs: smooth colours with noise, which compress about as photographs do.
    fn made_up(path: &Path, width: u16, height: u16, count: usize) -> Result<Self> {
        let _ = fs::remove_dir_all(path);
        for index in 0..count {
            let part = if index % 10 == 0 { "val" } else { "train" };
            let folder = path.join(part).join(format!("class{}", index / 10 % 10));
            fs::create_dir_all(&folder)?;
            let pixels = pixels(width, height, index);
            jpeg_encoder::Encoder::new_file(folder.join(format!("{index:05}.jpg")), 80)?.encode(
                &pixels,
                width,
                height,
                jpeg_encoder::ColorType::Rgb,
            )?;
        }
        Ok(Folder {
            path: path.to_owned(),
            origin: format!("{count} made-up JPEGs of {width}×{height}"),
        })
    }
}

fn pixels(width: u16, height: u16, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 * 0x9e37_79b9 + 1;
    let mut pixels = Vec::with_capacity(usize::from(width) * usize::from(height) * 3);
    for y in 0..height {
        for x in 0..width {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let noise = (state >> 40) as f32 / (1 << 24) as f32 * 24.0;
            for channel in 0..3 {
                let phase = seed as f32 + channel as f32;
                let wave =
                    (f32::from(x) * 0.05 + phase).sin() + (f32::from(y) * 0.03 * phase).cos();
                pixels.push((110.0 + 45.0 * wave + noise).clamp(0.0, 255.0) as u8);
            }
        }
    }
    pixels
}

fn measure(
    name: &'static str,
    source: &Folder,
    side: Option<usize>,
    augmentation: Augmentation,
    python: &Path,
    rounds: usize,
) -> Result<(Set, String)> {
    let started = Instant::now();
    let options = SourceOptions {
        side,
        ..SourceOptions::default()
    };
    let train = open(&source.path, &options)?.splits.train;
    let open_seconds = started.elapsed().as_secs_f64();
    let normalization = Normalization::measure(&train)?;
    let loader = Loader::new(&train, &normalization, augmentation, BATCH, 0, true)?
        .threads(THREADS)
        .drop_last(true);
    let mut peer = Peer::start(python, &source.path, &train, side.is_some())?;
    let mut rates = Vec::new();
    // The first round fills the system's cache and starts the workers.
    for round in 0..=rounds as u64 {
        let ours = epoch(&loader, round)?;
        let theirs = peer.epoch()?;
        if round > 0 {
            rates.push((ours, theirs));
        }
    }
    let ratios: Vec<f64> = rates.iter().map(|(ours, theirs)| ours / theirs).collect();
    let set = Set {
        name,
        origin: source.origin.clone(),
        images: train.len(),
        open_seconds,
        ours: median(rates.iter().map(|rates| rates.0)),
        theirs: median(rates.iter().map(|rates| rates.1)),
        ratio: median(ratios.iter().copied()),
        lowest_ratio: ratios.iter().copied().fold(f64::INFINITY, f64::min),
        highest_ratio: ratios.iter().copied().fold(0.0, f64::max),
    };
    Ok((set, peer.version.clone()))
}

/// Images a second of one epoch.
fn epoch(loader: &Loader, number: u64) -> Result<f64> {
    let started = Instant::now();
    let mut images = 0;
    for batch in loader.epoch(number)? {
        images += batch?.size();
    }
    Ok(images as f64 / started.elapsed().as_secs_f64())
}

/// torchvision's loader in a process of its own, which does an epoch for each line it gets.
struct Peer {
    process: Child,
    answers: BufReader<ChildStdout>,
    version: String,
}

impl Peer {
    fn start(python: &Path, folder: &Path, train: &Dataset, large: bool) -> Result<Self> {
        let mut process = Command::new(python)
            .arg(python::script("bench_data.py"))
            .arg(folder.join("train"))
            .args([if large { "resized" } else { "padded" }])
            .args([BATCH.to_string(), THREADS.to_string()])
            .arg(train.shape().height.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("Python does not start")?;
        let answers = process.stdout.take().context("no output")?;
        let mut peer = Peer {
            process,
            answers: BufReader::new(answers),
            version: String::new(),
        };
        peer.version = peer.answer()?;
        Ok(peer)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), "torchvision's loader ended early");
        Ok(line.trim().to_owned())
    }

    fn epoch(&mut self) -> Result<f64> {
        writeln!(self.process.stdin.as_mut().context("no input")?, "epoch")?;
        Ok(self.answer()?.parse()?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Closing its input ends it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

impl Report {
    /// The section of `performance.md`, without its markers.
    fn markdown(&self) -> String {
        let mut text = format!(
            "{}, {} cores; {}; {}. Images a second from files to normalised batches of {}, shuffled and \
             augmented, all files in the system's cache: our loader on {} threads, torchvision's \
             `ImageFolder` in a `DataLoader` with {} workers. Medians of {} rounds, in which they take \
             turns; *ratio* is ours over theirs, the median of the rounds (lowest–highest); above 1 we are \
             faster. Small images are decoded once, when the set is opened, which takes the seconds in the \
             last column; torchvision decodes them each time.\n\n",
            self.cpu,
            self.cores,
            self.rustc,
            self.peer,
            self.batch,
            self.threads,
            self.threads,
            self.rounds
        );
        text += &row(&[
            "images",
            "files",
            "net2net",
            "torchvision",
            "ratio",
            "opened in",
        ]);
        text += &row(&["---", "---", "---:", "---:", "---:", "---:"]);
        for set in &self.sets {
            text += &row(&[
                set.name.to_owned(),
                format!("{} ({} for training)", set.origin, set.images),
                format!("{:.0}", set.ours),
                format!("{:.0}", set.theirs),
                format!(
                    "**{:.2}** ({:.2}–{:.2})",
                    set.ratio, set.lowest_ratio, set.highest_ratio
                ),
                format!("{:.2} s", set.open_seconds),
            ]);
        }
        text
    }
}
