//! `net2net evolve` and what it can do.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

/// The life of a model as its data grow: it is not thrown away and trained anew when data arrive. It trains on, with old data
/// beside the new; grows when its capacity is the limit; and the network that is in use, the champion, is replaced only by one
/// that is surely better on images that nothing was chosen by.
///
/// HOME is a directory with everything: settings (spec.toml), a store of versions and decisions, all networks and images by
/// their hash, the champion as ONNX and safetensors, events, and a page (evolve.html). Ctrl-C, a kill or a power cut at any
/// moment leave a home with which the same command goes on.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EvolveArgs {
    #[command(subcommand)]
    pub(crate) command: EvolveCommand,
}

const EXAMPLES: &str = "\
Examples:
  net2net evolve init fashion                  a home with the built-in images, which come in three slices
  net2net evolve step fashion                  the first slice: the first champion
  net2net evolve run fashion                   the others, as they come
  net2net evolve history fashion
  net2net evolve rollback fashion 1
  net2net evolve export fashion -o model.onnx
  net2net evolve init mine --data photos/      a home that learns from the files that come into a folder";

#[derive(Debug, Subcommand)]
pub(crate) enum EvolveCommand {
    /// Make a home
    Init(InitArgs),
    /// Do one step, if data have arrived; go on with one that was interrupted
    Step(StepArgs),
    /// Do a step whenever data arrive
    Run(RunArgs),
    /// Say how things are
    Status(LookArgs),
    /// Tell the life: versions, data, accuracies, decisions and their reasons
    History(LookArgs),
    /// Make a version the champion again, and go on from its trunk
    Rollback(RollbackArgs),
    /// Write the champion, or another version, as ONNX or safetensors
    Export(ExportArgs),
}

/// Make a home: a directory for a model, its data and its history.
///
/// Without SPEC the built-in settings are used. `--print-spec` shows them; save them, change them, and make a home of your
/// own. A folder of data that SPEC names is relative to it.
#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// The home
    #[arg(required_unless_present = "print_spec")]
    pub(crate) home: Option<PathBuf>,
    /// How the model lives (TOML); without it the built-in settings
    pub(crate) spec: Option<PathBuf>,
    /// Learn from the images in this folder, and from those that come into it, with a model and settings that are chosen for them
    #[arg(long, value_name = "DIR", conflicts_with = "spec")]
    pub(crate) data: Option<PathBuf>,
    /// Threads of all training; results depend on them to the last bit [default: the spec's, or all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) threads: Option<u64>,
    /// Print the settings that would be used, and stop
    #[arg(long)]
    pub(crate) print_spec: bool,
}

/// Do one step, if data have arrived: train on, grow if capacity is the limit, and promote what is surely better. A step that was
/// interrupted is gone on with. The exit code is 1 if the step made no network.
#[derive(Debug, ClapArgs)]
pub(crate) struct StepArgs {
    /// The home
    pub(crate) home: PathBuf,
    /// If nothing has arrived, train again on what the trunk has not learnt from: after a rollback, or where a step failed or
    /// made something worse
    #[arg(long)]
    pub(crate) again: bool,
}

/// Do a step whenever data arrive, until Ctrl-C or until there will be none.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// The home
    pub(crate) home: PathBuf,
    /// How often data are looked for, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) every: f64,
    /// Stop when nothing new is there
    #[arg(long)]
    pub(crate) until_idle: bool,
}

/// Look at a home; whoever works in it is not disturbed.
#[derive(Debug, ClapArgs)]
pub(crate) struct LookArgs {
    /// The home
    pub(crate) home: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a version the champion again. Its trunk is the one that goes on, and the data that it did not see count as new in the next
/// step: when more arrive, or at once by `step --again`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RollbackArgs {
    /// The home
    pub(crate) home: PathBuf,
    /// The version: its number in `net2net evolve history`
    pub(crate) version: i64,
    /// Put away the data that came after its own: nothing learns from them or is judged by them any more
    #[arg(long)]
    pub(crate) drop_data: bool,
}

/// Write the champion, or another version.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExportArgs {
    /// The home
    pub(crate) home: PathBuf,
    /// The file: .onnx or .safetensors
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The version [default: the champion]
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<i64>,
    /// Overwrite the output if it is there
    #[arg(long)]
    pub(crate) force: bool,
}
