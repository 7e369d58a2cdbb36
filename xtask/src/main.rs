//! Automation of the project: `cargo xtask COMMAND`.

// A program for people: what it finds out goes to standard output.
#![allow(clippy::print_stdout)]

mod bench;
mod evolve;
mod kill;
mod python;
mod tidy;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// As in the program itself, so that what is measured here is what users get.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Automation of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Make the numbers that the tests hold the engine to, with PyTorch.
    Fixtures {
        #[command(flatten)]
        python: python::Choice,
    },
    /// Compare the life of a model with retraining it from scratch whenever data have arrived.
    Evolve(evolve::Arguments),
    /// Kill explorations, or lives, at random moments, and check that nothing is lost or done twice.
    Kill(kill::Arguments),
    /// Check the rules of the house, and that what is generated from the code is up to date.
    Tidy,
    /// Write what is generated from the code: the operator table, the help in the README.
    Generate,
    /// Our side of `bench train`, driven over standard input.
    #[command(hide = true)]
    BenchWorker(bench::worker::Arguments),
    /// What `bench guard` counts.
    #[command(hide = true)]
    BenchCounted(bench::guard::Counted),
}

#[derive(Subcommand)]
enum Bench {
    /// Time training steps side by side with PyTorch.
    Train(bench::Arguments),
    /// Time answers side by side with onnxruntime, and a proof in f64.
    Infer(bench::infer::Arguments),
    /// Count the instructions of training steps, and compare with those that were kept.
    Guard(bench::guard::Arguments),
    /// Time training steps by width, depth, batch, image size and threads.
    Scale(bench::scale::Arguments),
    /// Time planning by the size of the graph.
    Plan(bench::plan::Arguments),
    /// Time the growth of a model of 1 GB beside copying it, and its peak memory.
    Grow(bench::grow::Arguments),
    /// Time reading and augmenting images beside torchvision's loader.
    Data(bench::data::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Bench {
            what: Bench::Train(arguments),
        } => bench::train(&arguments),
        Command::Bench {
            what: Bench::Infer(arguments),
        } => bench::infer::run(&arguments),
        Command::Bench {
            what: Bench::Guard(arguments),
        } => bench::guard::run(&arguments),
        Command::Bench {
            what: Bench::Scale(arguments),
        } => bench::scale::run(&arguments),
        Command::Bench {
            what: Bench::Plan(arguments),
        } => bench::plan::run(&arguments),
        Command::Bench {
            what: Bench::Grow(arguments),
        } => bench::grow::run(&arguments),
        Command::Bench {
            what: Bench::Data(arguments),
        } => bench::data::run(&arguments),
        Command::Fixtures { python } => {
            python::run_script(&python.interpreter()?, "make_fixtures.py")
        }
        Command::Evolve(arguments) => evolve::run(&arguments, &root()),
        Command::Kill(arguments) => kill::run(&arguments, &root()),
        Command::Tidy => tidy::tidy(&root()),
        Command::Generate => tidy::generate(&root()),
        Command::BenchWorker(arguments) => bench::worker::run(&arguments),
        Command::BenchCounted(arguments) => bench::guard::counted(&arguments),
    }
}

/// The root of the project.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}
