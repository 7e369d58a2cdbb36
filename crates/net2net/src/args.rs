//! The command line: every flag with its documentation.

pub(crate) mod evolve;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Turn a trained network into a larger one that computes the same function, and train on.
///
/// A network that was trained is not thrown away when a larger one is wanted. Net2Net (Chen,
/// Goodfellow, Shlens, ICLR 2016) copies its channels and divides what reads them (wider), or
/// puts layers in that begin as identities (deeper): the student starts at the teacher's accuracy
/// and goes on from there.
///
/// `net2net inspect model.onnx` shows what of a network can grow, `net2net grow model.onnx --wider
/// 1.5 -o bigger.onnx` grows it and proves that nothing changed.
///
/// To see what it is good for, run `net2net compare`: it trains a small teacher on images that are built in, grows it,
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
  3    no room on the disk; make some and go on with --resume, or the same command of train and evolve
  130  stopped by Ctrl-C; go on in the same way";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a model's layers and the spaces that can grow
    Inspect(InspectArgs),
    /// Grow a model and prove that it computes the same
    Grow(GrowArgs),
    /// Write down how a model would grow, to be looked at, kept and used with `grow --plan`
    Plan(PlanArgs),
    /// Compare what two models compute on the same inputs, in f64
    Verify(VerifyArgs),
    /// Compare two models layer by layer
    Diff(DiffArgs),
    /// Train a teacher, grow it, prove it, train on, and compare with every baseline
    Compare(CompareArgs),
    /// Train one network, grown first if wanted, and leave it with its figures in a directory
    Train(TrainArgs),
    /// Try many architectures, each grown from the best network so far
    Explore(ExploreArgs),
    /// Let a model live on as its data grow: train on, grow, and promote only what is surely better
    Evolve(evolve::EvolveArgs),
    /// Write a network of ours as ONNX
    Export(ExportArgs),
    /// Write the reports of finished comparisons or of an exploration again
    Report(ReportArgs),
    /// Look at images before training on them
    Data(DataArgs),
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
    /// Compare on the images in this folder or archive, with a model, a size and a schedule that are
    /// chosen for them
    #[arg(long, value_name = "DIR", conflicts_with = "spec")]
    pub(crate) data: Option<PathBuf>,
    /// The share of the images of --data that may be broken, 0 to 1 [default: 0.01]
    #[arg(long, value_name = "SHARE", requires = "data")]
    pub(crate) broken_share: Option<f64>,
    /// The file of labels of flat validation images in --data, by its path below it
    #[arg(long, value_name = "NAME", requires = "data")]
    pub(crate) labels: Option<String>,
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
  net2net compare --data DIR                  on your own images, with settings chosen for them
  net2net compare --print-spec > my.toml      a spec to start from
  net2net compare my.toml
  net2net compare --resume --out runs/three   after an interruption";

/// Train one network: an architecture, a safetensors file that net2net wrote, or an ONNX file; on the images that `compare`
/// reads; grown first by plans, if the spec names any, with a proof of each.
///
/// DIR is there whole or not at all: the network as safetensors and ONNX, its metrics, and done.json with the figures. Until
/// then the work is in DIR.partial, and the same command goes on with it after Ctrl-C, a kill or a power cut. Files that the
/// spec names are relative to the spec.
#[derive(Debug, ClapArgs)]
#[command(after_help = TRAIN_EXAMPLES)]
pub(crate) struct TrainArgs {
    /// What to train, and how (TOML)
    pub(crate) spec: Option<PathBuf>,
    /// Where the result goes
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Threads [default: the spec's, or all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) threads: Option<u64>,
    /// Stop, as by Ctrl-C, when standard input ends: so that a trial ends with what started it
    #[arg(long)]
    pub(crate) while_stdin: bool,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the spec that would run, and stop
    #[arg(long)]
    pub(crate) print_spec: bool,
}

const TRAIN_EXAMPLES: &str = "\
Examples:
  net2net train --print-spec > net.toml       a spec to start from
  net2net train net.toml --out runs/net
  net2net plan runs/net/model.safetensors --wider 2 -o wider.json
                                              then, in another spec: file = \"runs/net/model.safetensors\"
                                              and plans = [\"wider.json\"] under [start]";

/// Try many architectures for the price of a few: each is grown from the best network so far by a plan that is proved, and
/// trained on for a short while; the better ones train longer, and the best are grown again.
///
/// Which growths are tried first is measured by a gradient, and the page says how well that told. Without SPEC the built-in
/// exploration runs: a small network on 8,000 images of Fashion-MNIST, which takes some minutes on two cores. Each network is
/// trained by a process of its own, `net2net train`.
///
/// Ctrl-C stops at the next step and leaves a directory from which --resume goes on; so does a kill or a power cut.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXPLORE_EXAMPLES)]
pub(crate) struct ExploreArgs {
    /// What to explore, and how (TOML); without it the built-in exploration
    pub(crate) spec: Option<PathBuf>,
    /// Repeat everything with this many seeds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: Option<u64>,
    /// Where everything goes [default: the first free of runs/explore-1, -2, …]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) threads: Option<u64>,
    /// Train every candidate from fresh weights: the same search without growth, to compare with
    #[arg(long)]
    pub(crate) from_scratch: bool,
    /// Go on with the exploration in --out [default: the last of runs/explore-1, -2, …]
    #[arg(long)]
    pub(crate) resume: bool,
    /// Print everything that was measured as JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the spec that would run, and stop
    #[arg(long)]
    pub(crate) print_spec: bool,
}

const EXPLORE_EXAMPLES: &str = "\
Examples:
  net2net explore                             the built-in exploration
  net2net explore --print-spec > my.toml      a spec to start from
  net2net explore my.toml --out runs/mine
  net2net explore my.toml --out runs/dumb --from-scratch
  net2net explore --resume --out runs/mine    after an interruption";

/// Write a network of ours as an ONNX file. Networks that came as ONNX are written as ONNX by the commands that grow them.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExportArgs {
    /// The network: a safetensors file that net2net wrote
    pub(crate) model: PathBuf,
    /// The ONNX file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Overwrite the output if it is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// Write the reports of finished comparisons or of an exploration again, from what was measured.
///
/// Of several directories of comparisons one page is written: of all their seeds, if they differ in these alone,
/// or else with all of their growths in a table, and links to their own pages.
#[derive(Debug, ClapArgs)]
#[command(after_help = REPORT_EXAMPLES)]
pub(crate) struct ReportArgs {
    /// The directories of the comparisons, or that of one exploration
    #[arg(required = true, value_name = "DIR")]
    pub(crate) directories: Vec<PathBuf>,
    /// Where the page of several comparisons goes [default: net2net-report.html]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Also write each plot of comparisons as SVG into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) svg: Option<PathBuf>,
    /// Also write each plot of comparisons as PNG into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) png: Option<PathBuf>,
    /// Also write the metrics of comparisons as TensorBoard event files into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) tensorboard: Option<PathBuf>,
    /// Print the summary as JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Look at images before training on them.
#[derive(Debug, ClapArgs)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    pub(crate) what: DataCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Say what a folder or archive holds: classes, sizes, broken images, duplicates
    Inspect(DataInspectArgs),
}

/// Say what a folder or archive of images holds: classes and how many images each has, sizes and colour
/// models, broken images, images that are in both parts, and what a network would read of it.
///
/// It may hold train/CLASS/… and val/CLASS/… (also valid, validation, test); train/CLASS/… and a flat
/// val with a file of labels; CLASS/… alone, of which a share is set aside by a seed; CIFAR-10 or
/// CIFAR-100 in the binary version; IDX files; or, IDX files apart, be a tar archive (.tar, .tar.gz,
/// .tar.xz) of one of these. Images are JPEG, PNG or WebP.
#[derive(Debug, ClapArgs)]
#[command(after_help = DATA_EXAMPLES)]
pub(crate) struct DataInspectArgs {
    /// The folder or archive
    pub(crate) path: PathBuf,
    /// Decode at most this many images of each part instead of all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sample: Option<u64>,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write a page with a contact sheet
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The side of the square that images are brought to [default: chosen by their sizes]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) side: Option<usize>,
    /// The file of labels of flat validation images, by its path below the folder
    #[arg(long, value_name = "NAME")]
    pub(crate) labels: Option<String>,
}

const DATA_EXAMPLES: &str = "\
Examples:
  net2net data inspect images/
  net2net data inspect cifar-10-binary.tar.gz --html look.html";
const REPORT_EXAMPLES: &str = "\
Examples:
  net2net report runs/compare-1 --png plots
  net2net report runs/factor-* --out factors.html
  net2net report runs/compare-1 --tensorboard logs && tensorboard --logdir logs";

/// Show a model's layers, shapes and costs, and each space of channels that belong together: its
/// size, what it touches, and why it cannot grow if it cannot.
///
/// A model is an ONNX file, or a safetensors file that net2net wrote.
#[derive(Debug, ClapArgs)]
pub(crate) struct InspectArgs {
    /// The model
    pub(crate) model: PathBuf,
    /// Also list spaces that cannot grow
    #[arg(long)]
    pub(crate) all: bool,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a model is to grow.
#[derive(Debug, ClapArgs)]
pub(crate) struct Wanted {
    /// Widen by this factor every space that can grow, or those that --spaces names
    #[arg(long, value_name = "FACTOR", conflicts_with_all = ["params", "flops"])]
    pub(crate) wider: Option<f64>,
    /// The spaces to widen, by name or by the weights that produce them; * stands for anything
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) spaces: Vec<String>,
    /// Widen spaces to a size or by a factor of their own, e.g. `layer1.0.conv1=24` or `fc=2x`
    #[arg(long, value_name = "NAME=SIZE", num_args = 1..)]
    pub(crate) widen: Vec<String>,
    /// Grow until the model has so many parameters, e.g. 2x or 50M: half of it by copies of residual
    /// blocks, where there are any, and the rest by width
    #[arg(long, value_name = "COUNT", conflicts_with = "flops")]
    pub(crate) params: Option<String>,
    /// The same until one sample costs so many multiplications and additions, e.g. 1.5x or 2G
    #[arg(long, value_name = "COUNT")]
    pub(crate) flops: Option<String>,
    /// Reach --params or --flops by width alone
    #[arg(long)]
    pub(crate) width_only: bool,
    /// Insert a layer after each of these, by name; * stands for anything, and 2x for as many copies
    /// of residual blocks (or new layers) as make the network twice as deep
    #[arg(long, value_name = "NAME|FACTOR", num_args = 1..)]
    pub(crate) deeper: Vec<String>,
    /// Insert a layer on top of each of these concatenations, by name; * stands for anything
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) on_top: Vec<String>,
    /// Insert so many pairs of a vertical and a horizontal filter in place of each layer
    #[arg(long, value_name = "N")]
    pub(crate) pairs: Option<usize>,
    /// Add a copy of each of these residual blocks after it, e.g. `layer1.0`; begins without effect
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) copy: Vec<String>,
    /// Add a branch beside each of these layers, or into these concatenations, that begins without
    /// effect
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) branch: Vec<String>,
    /// Enlarge filters with zeros around them, e.g. `layer1.0.conv1=5`
    #[arg(long, value_name = "NAME=SIDE", num_args = 1..)]
    pub(crate) enlarge: Vec<String>,
    /// Have so many classes; the old logits stay. NAME is the output, if there are several
    #[arg(long, value_name = "[NAME=]COUNT")]
    pub(crate) classes: Vec<String>,
    /// Read so many input channels or features, the new ones without effect yet. NAME is the input,
    /// if there are several
    #[arg(long, value_name = "[NAME=]COUNT")]
    pub(crate) features: Vec<String>,
    /// Side of inserted filters [default: that of the layer before]
    #[arg(long, value_name = "SIDE")]
    pub(crate) kernel: Option<usize>,
    /// Round new sizes up to multiples of this
    #[arg(long, value_name = "N")]
    pub(crate) round_to: Option<usize>,
    /// Which unit each new one copies
    #[arg(long, value_enum, default_value_t = MappingArg::Random)]
    pub(crate) mapping: MappingArg,
    /// How copies are told apart, so that training parts them
    #[arg(long, value_enum, default_value_t = SymmetryArg::ZeroSum)]
    pub(crate) symmetry: SymmetryArg,
    /// Strength of that: the spread of uneven shares, or the noise relative to the weights
    /// [default: 1 for zero-sum, 0.5 for uneven, 0.01 for incoming]
    #[arg(long, value_name = "X")]
    pub(crate) strength: Option<f64>,
    /// Seed of every random choice
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// Which unit each new one copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MappingArg {
    /// A random one (Algorithm 1 of the paper)
    Random,
    /// One after the other
    Uniform,
}

/// How copies are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SymmetryArg {
    /// Equal shares and noise that sums to zero; exact
    ZeroSum,
    /// Random shares of the original's weight; exact
    Uneven,
    /// Equal shares; exact, but copies stay equal unless training parts them
    Even,
    /// The paper's noise on the weights of the copies; not exact
    Incoming,
}

/// Where inputs come from, and on how many threads the networks run.
#[derive(Debug, ClapArgs)]
pub(crate) struct Proof {
    /// Random samples that the networks are compared on
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) samples: u32,
    /// Compare on these samples instead: an .npy array for the only input, or an .npz with an array
    /// for each input, by name
    #[arg(long, value_name = "FILE", conflicts_with = "samples")]
    pub(crate) inputs: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) threads: Option<u64>,
}

/// Grow a model, prove that it computes the same, and write it in the form that it came in.
///
/// The proof is the largest difference of each output between the old and the new network on the
/// same inputs, in f64. Beyond 1e-10 of the output's size it is an error and nothing is written,
/// unless noise that is not exact was asked for.
#[derive(Debug, ClapArgs)]
#[command(after_help = GROW_EXAMPLES)]
pub(crate) struct GrowArgs {
    /// The model: an ONNX file, or a safetensors file that net2net wrote
    pub(crate) model: PathBuf,
    /// The grown model; may be left out where only a state dict is wanted
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "state_dict"
    )]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// Grow by a plan that `net2net plan` wrote
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["wider", "widen", "params", "flops", "deeper", "spaces", "kernel", "round_to", "copy", "branch", "enlarge", "classes", "features"])]
    pub(crate) plan: Option<PathBuf>,
    /// Also grow a PyTorch state dict whose names are the model's: a safetensors file, or a folder of
    /// shards with their index
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    pub(crate) state_dict: Vec<PathBuf>,
    /// Also grow the state of its optimizer (safetensors): SGD's momentum and Adam's moments, named
    /// PARAMETER.momentum_buffer, PARAMETER.exp_avg and PARAMETER.exp_avg_sq
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    pub(crate) optimizer: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) proof: Proof,
    /// Overwrite the output if it is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const GROW_EXAMPLES: &str = "\
Examples:
  net2net grow model.onnx --wider 1.5 -o bigger.onnx
  net2net grow model.onnx --widen layer1.0.conv1=24 \"layer2.*=48\" -o bigger.onnx
  net2net grow model.onnx --deeper \"layer3.*\" -o deeper.onnx
  net2net grow model.onnx --deeper 2x --params 4x --round-to 8 -o bigger.onnx
  net2net grow model.onnx --classes 12 --features 4 -o more.onnx
  net2net grow model.onnx --wider 2 -o bigger.onnx --state-dict old.safetensors new.safetensors";

/// Write a plan: which spaces widen by which map, which layers are inserted. It is JSON, can be
/// read, and grows every checkpoint of the same network with `net2net grow --plan`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlanArgs {
    /// The model
    pub(crate) model: PathBuf,
    /// The plan; without it, it is printed
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite the plan if it is there
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    #[command(flatten)]
    pub(crate) proof: Proof,
}

/// Run two models on the same inputs, random ones or given ones, and print the largest difference of each output, in
/// f64. Fails if one exceeds --tolerance.
#[derive(Debug, ClapArgs)]
pub(crate) struct VerifyArgs {
    /// One model
    pub(crate) old: PathBuf,
    /// The other
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) proof: Proof,
    /// Seed of the inputs
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The largest difference that passes, relative to the output's largest value. Weights that
    /// were rounded to f32 when they were written differ by about 1e-7.
    #[arg(long, value_name = "X", default_value_t = 1e-5)]
    pub(crate) tolerance: f64,
    /// Print the evidence as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List what differs between two models: nodes that one of them lacks, shapes, attributes.
#[derive(Debug, ClapArgs)]
pub(crate) struct DiffArgs {
    /// One model
    pub(crate) old: PathBuf,
    /// The other
    pub(crate) new: PathBuf,
}
