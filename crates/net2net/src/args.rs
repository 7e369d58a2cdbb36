//! The command line: every flag with its documentation.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Turn a trained network into a larger one that computes the same function, and train on.
///
/// A network that was trained is not thrown away when a larger one is wanted. Net2Net (Chen,
/// Goodfellow, Shlens, ICLR 2016) copies its channels and divides what reads them (wider), or
/// puts layers in that begin as identities (deeper): the student starts at the teacher's accuracy
/// and goes on from there.
///
/// Start with `net2net compare`: it trains a small teacher on images that are built in, grows it,
/// proves that nothing changed, trains the students and every baseline, and writes a report.
#[derive(Debug, Parser)]
#[command(
    name = "net2net",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; the message says why and what to do
  2    the command line was not understood
  130  stopped by Ctrl-C; go on with --resume";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a teacher, grow it, prove it, train on, and compare with every baseline
    Compare(CompareArgs),
    /// Write the report of a finished comparison again
    Report(ReportArgs),
    /// Print a completion script for a shell
    ///
    /// For bash: net2net completions bash > ~/.local/share/bash-completion/completions/net2net
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Train a teacher, grow it wider, deeper and both, prove that nothing changed, train the
/// students and every baseline beside them, and write a table and a report.
///
/// Without SPEC the built-in experiment runs: a small Inception-BN on 8,000 images of
/// Fashion-MNIST, which takes some minutes on two cores. `--print-spec` shows it; save it,
/// change it, and run your own.
///
/// Ctrl-C stops at the next step and leaves a directory from which --resume goes on; so does a
/// power cut, from the last checkpoint.
#[derive(Debug, ClapArgs)]
#[command(after_help = COMPARE_EXAMPLES)]
pub(crate) struct CompareArgs {
    /// The experiment (TOML); without it the built-in one
    pub(crate) spec: Option<PathBuf>,
    /// Repeat everything with this many seeds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: Option<u64>,
    /// Where everything goes [default: the first free of runs/compare-1, -2, …]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) threads: Option<u64>,
    /// 1,000 images and at most two epochs: everything is gone through, in under a minute
    #[arg(long)]
    pub(crate) quick: bool,
    /// Go on with the comparison in --out [default: the last of runs/compare-1, -2, …]
    #[arg(long)]
    pub(crate) resume: bool,
    /// Print the summary as JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the spec that would run, and stop
    #[arg(long)]
    pub(crate) print_spec: bool,
}

const COMPARE_EXAMPLES: &str = "\
Examples:
  net2net compare                             the built-in experiment
  net2net compare --seeds 3 --out runs/three  with three seeds
  net2net compare --print-spec > my.toml      a spec to start from
  net2net compare my.toml
  net2net compare --resume --out runs/three   after an interruption";

/// Write summary.json and report.html of a finished comparison again, from comparison.json.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReportArgs {
    /// The directory of the comparison
    pub(crate) directory: PathBuf,
    /// Print the summary as JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}
