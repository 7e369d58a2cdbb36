//! `net2net grow` and `net2net plan`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use net2net_core::apply::{Growth, apply};
use net2net_core::dims::Spaces;
use net2net_core::graph::Graph;
use net2net_core::io::{clear_staged, folder_of, write_atomic};
use net2net_core::plan::{Mapping, Plan, Room, Step, Symmetry};
use net2net_core::request::{Request, RequestError, Target, request};
use net2net_core::verify::OutputEvidence;
use net2net_kernels::{Context, memory};
use serde_json::json;

use crate::args::{GrowArgs, MappingArg, PlanArgs, SymmetryArg, Wanted};
use crate::compare::Exit;
use crate::growing::{Growing, Proved, Seconds, timed};
use crate::inspect::made_by;
use crate::machine;
use crate::model::{Model, count, threads};
use crate::numbers::{amount, depth, numbered, own_factors, short};
use crate::output::{say, tell};
use crate::samples::Samples;
use crate::state_dict::{self, StateDict};
use crate::verify;

/// Grows a model.
pub(crate) fn grow(args: &GrowArgs) -> Result<Exit> {
    let start = Instant::now();
    refuse_overwriting(args)?;
    clear_when_stopped(args)?;
    let model = Model::open(&args.model)?;
    // Before hours of work, not after.
    if let Some(output) = &args.output {
        model.check_extension(output)?;
    }
    warn(&model);
    let dict = match &args.state_dict[..] {
        [old, _] => Some(StateDict::open(&model, old)?),
        _ => None,
    };
    let threads = threads(args.proof.threads);
    let samples = Samples::of(&model, &args.proof, args.wanted.seed)?;
    let (batch, inputs) = (samples.batch, samples.narrow());
    let (plan, growth) = match &args.plan {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
            let plan = Plan::from_json(&text).with_context(|| {
                let path = path.display();
                format!("{path} is no plan; `net2net plan MODEL --wider 1.5 -o {path}` writes one")
            })?;
            let growth = apply(&model.graph, &plan)?;
            (plan, growth)
        }
        None => planned(
            &model,
            &args.wanted,
            args.output.as_deref(),
            threads,
            batch,
            &inputs,
        )?,
    };
    model.check_memory(&growth)?;
    let growth = Arc::new(growth);
    let mut seconds = Seconds::new(start);
    let growing = Growing {
        model: &model,
        plan: &plan,
        growth: &growth,
        samples: &samples,
        threads,
    };
    let written = match &args.output {
        Some(path) => Some((path, growing.model(path, &mut seconds)?)),
        None => None,
    };
    let dict = match (&dict, &args.state_dict[..]) {
        (Some(dict), [_, new]) => Some(growing.state_dict(dict, new, &mut seconds)?),
        _ => None,
    };
    let optimizer = match &args.optimizer[..] {
        [old, new] => {
            let staged = timed(|| state_dict::stage_optimizer(&model, &growth, old, new, threads));
            Some(seconds.add("growing_and_writing", staged)?)
        }
        _ => None,
    };
    let mut proved = None;
    let put = timed(|| -> Result<()> {
        for staged in [
            optimizer,
            dict.map(|(staged, own)| keep(staged, own, &mut proved)),
        ] {
            staged.map_or(Ok(()), state_dict::Staged::put)?;
        }
        written.map_or(Ok(()), |(path, (grown, own))| {
            keep(grown, own, &mut proved).put(path)
        })
    });
    seconds.add("putting_in_place", put)?;
    let Some(proved) = proved else {
        bail!("nothing was to be written; name a file with -o or --state-dict");
    };
    if args.json {
        let mut report = report(args, &model, &growth, &plan, &proved);
        if let Some(target) = target(&args.wanted, &model.graph)? {
            let reached = target.of(growth.graph());
            report["target"] = json!({ "wanted": target.wanted(), "reached": reached });
        }
        report["seconds"] = json!(seconds.all());
        say!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(Exit::Done);
    }
    for line in in_words(&model.graph, &plan) {
        say!("  {line}");
    }
    say!("{}", change(&model.graph, growth.graph()));
    if let Some(missed) = missed(&args.wanted, &model, &growth)? {
        say!("  {missed}");
    }
    for note in verify::more(&model.graph, growth.graph()) {
        say!("  {note}");
    }
    say!(
        "{}: {}",
        match proved.evidence.exact {
            true => "the same function",
            false => "nearly the same function",
        },
        said(&proved.evidence.f64, &proved.file, &samples.what)
    );
    if let Some(lengths) = proved.lengths.said() {
        say!("  {lengths}");
    }
    if !proved.evidence.exact {
        say!("  noise that changes the function was asked for, so this is not exact");
    }
    if let Some(path) = args.output.as_ref().or_else(|| args.state_dict.get(1)) {
        let seconds = start.elapsed().as_secs_f64();
        say!("{} written in {seconds:.1} s", path.display());
    }
    Ok(Exit::Done)
}

/// Keeps the proof that came with something; the model's comes last, and is what is reported.
fn keep<T>(staged: T, own: Proved, proved: &mut Option<Proved>) -> T {
    *proved = Some(own);
    staged
}

/// Writes a plan.
pub(crate) fn plan(args: &PlanArgs) -> Result<Exit> {
    if let Some(path) = &args.output {
        check_folder(path)?;
        if same(&args.model, path) {
            bail!(
                "the plan would replace {}; name another file",
                path.display()
            );
        }
        if path.exists() && !args.force {
            bail!("{} is there already; --force overwrites it", path.display());
        }
    }
    let model = Model::open(&args.model)?;
    warn(&model);
    let samples = Samples::of(&model, &args.proof, args.wanted.seed)?;
    let (batch, inputs) = (samples.batch, samples.narrow());
    let threads = threads(args.proof.threads);
    let (plan, growth) = planned(&model, &args.wanted, None, threads, batch, &inputs)?;
    let text = plan.to_json()?;
    match &args.output {
        None => say!("{text}"),
        Some(path) => {
            write_atomic(path, text.as_bytes()).with_context(|| path.display().to_string())?;
            for line in in_words(&model.graph, &plan) {
                say!("  {line}");
            }
            say!("{}", change(&model.graph, growth.graph()));
            if let Some(missed) = missed(&args.wanted, &model, &growth)? {
                say!("  {missed}");
            }
            say!(
                "{} written; grow with: net2net grow {} --plan {} -o bigger.{}",
                path.display(),
                args.model.display(),
                path.display(),
                args.model.extension().unwrap_or_default().display()
            );
        }
    }
    Ok(Exit::Done)
}

/// The plan's steps in lines; spaces have the names of layers beside their own.
fn in_words(graph: &Graph, plan: &Plan) -> Vec<String> {
    let spaces = Spaces::infer(graph);
    let line = |step: &Step| {
        let Step::Widen(widen) = step else {
            return step.describe();
        };
        let known = spaces.find(&widen.space);
        match known.map(|id| made_by(graph, &spaces, &spaces.all()[id.index()])) {
            Ok(layers) if !layers.is_empty() => format!("{} ({layers})", step.describe()),
            _ => step.describe(),
        }
    };
    plan.steps.iter().map(line).collect()
}

fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Has Ctrl-C remove what is half written.
fn clear_when_stopped(args: &GrowArgs) -> Result<()> {
    let pairs = [&args.state_dict, &args.optimizer];
    let beside = pairs.into_iter().filter_map(|pair| pair.get(1));
    let written: Vec<PathBuf> = args.output.iter().chain(beside).cloned().collect();
    ctrlc::set_handler(move || {
        for path in &written {
            clear_staged(folder_of(path));
            // Shards are staged in their own folder where there is one.
            clear_staged(path);
        }
        exit(i32::from(crate::INTERRUPTED));
    })?;
    Ok(())
}

fn refuse_overwriting(args: &GrowArgs) -> Result<()> {
    let output = args.output.as_deref();
    if output.is_some_and(|output| same(&args.model, output)) {
        bail!(
            "the grown model would replace {}; name another file",
            args.model.display()
        );
    }
    let beside = [&args.state_dict, &args.optimizer];
    let written = beside
        .into_iter()
        .filter_map(|pair| pair.get(1))
        .map(PathBuf::as_path);
    for path in written.chain(output) {
        if path.exists() && !args.force {
            bail!("{} is there already; --force overwrites it", path.display());
        }
        check_folder(path)?;
    }
    for pair in beside {
        let [old, new] = &pair[..] else { continue };
        // An index lies in the folder of its shards.
        let shards = old.parent().filter(|_| old.is_file() && new.is_dir());
        let twice = output.is_some_and(|output| same(old, output) || new == output);
        if same(old, new) || twice || shards.is_some_and(|shards| same(shards, new)) {
            bail!("{} would be written over; name another file", new.display());
        }
    }
    match beside {
        [first, second] if first.get(1).is_some() && first.get(1) == second.get(1) => {
            bail!("--state-dict and --optimizer would write the same file")
        }
        _ => Ok(()),
    }
}

/// Refuses a file in a folder that is not there.
fn check_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        bail!(
            "{} cannot be written: there is no folder {}; create it first",
            path.display(),
            folder.display()
        );
    }
    Ok(())
}

/// Says what of a model is not understood.
pub(crate) fn warn(model: &Model) {
    if let Some(opset) = model.strange_opset() {
        tell!(
            "note: the model states operator set {opset}; it is read as far as its operators are those of sets 7 and up"
        );
    }
    if let Some(quantized) = model.quantized() {
        tell!("note: {quantized}");
    }
    for node in model.opaque().iter().take(5) {
        tell!(
            "note: `{}` ({}) is not understood and stays as it is: {}",
            node.node,
            node.operator,
            node.why
        );
    }
    if model.opaque().len() > 5 {
        tell!(
            "note: and so are {} more nodes; see net2net inspect",
            model.opaque().len() - 5
        );
    }
}

fn planned(
    model: &Model,
    wanted: &Wanted,
    output: Option<&Path>,
    threads: usize,
    batch: usize,
    inputs: &[&[f32]],
) -> Result<(Plan, Growth)> {
    let disk = output.and_then(|path| machine::free(folder_of(path)));
    let asked = asked(wanted, model, disk)?;
    let mut cx = Context::<f32>::new(threads)?;
    let graph = &model.graph;
    let planned = request(&mut cx, graph, model, &asked, wanted.seed, batch, inputs);
    planned.map_err(|error| match (error, model.quantized()) {
        (RequestError::Refused(refusal), Some(quantized)) => anyhow!("{refusal}; {quantized}"),
        (RequestError::Refused(refusal), None) => anyhow!(
            "{refusal}; `net2net inspect --all` lists all spaces and layers, and what stands in \
             the way"
        ),
        (error, _) => error.into(),
    })
}

/// The flags as a request.
fn asked(wanted: &Wanted, model: &Model, disk: Option<u64>) -> Result<Request> {
    let (own, sizes): (Vec<String>, Vec<String>) = wanted.widen.iter().cloned().partition(|text| {
        text.rsplit_once('=')
            .is_some_and(|(_, size)| depth(size).is_some())
    });
    let sizes = numbered(&sizes, None)?;
    if wanted.round_to == Some(0) {
        bail!("--round-to 0 rounds to nothing; name a number of units, e.g. --round-to 8");
    }
    let (factors, deepen): (Vec<_>, Vec<_>) =
        wanted.deeper.iter().partition(|text| depth(text).is_some());
    if factors.len() > 1 {
        bail!("--deeper names several factors; one is enough");
    }
    let target = target(wanted, &model.graph)?;
    let widths = wanted.wider.is_some() || target.is_some() || !wanted.widen.is_empty();
    let lists = [
        &wanted.deeper,
        &wanted.on_top,
        &wanted.spaces,
        &wanted.copy,
        &wanted.branch,
        &wanted.enlarge,
        &wanted.classes,
        &wanted.features,
    ];
    if !widths && lists.iter().all(|list| list.is_empty()) {
        bail!(
            "say how to grow: --wider 1.5, --widen NAME=SIZE, --params 2x, --flops 2x, --deeper 2x, \
             --deeper NAME, --copy, --branch, --enlarge, --classes or --features; see --help"
        );
    }
    if let Some(factor) = wanted.wider.filter(|x| *x <= 1.0 || x.is_nan()) {
        let factor = short(factor);
        bail!("--wider {factor} is no growth; name a factor above 1, e.g. --wider 1.5");
    }
    let inserted = [&wanted.deeper, &wanted.on_top, &wanted.branch];
    if wanted.kernel.is_some() && inserted.iter().all(|list| list.is_empty()) {
        bail!(
            "--kernel is the side of inserted filters; say where with --deeper, --on-top or --branch"
        );
    }
    if wanted.pairs.is_some() && wanted.deeper.is_empty() && wanted.on_top.is_empty() {
        bail!("--pairs says what is inserted; say where with --deeper or --on-top");
    }
    if !wanted.spaces.is_empty() && wanted.wider.is_none() && target.is_none() {
        bail!(
            "--spaces says which spaces to widen; say by how much with --wider, --params or --flops"
        );
    }
    let spaces = match wanted.spaces.is_empty() {
        true => vec!["*".to_owned()],
        false => wanted.spaces.clone(),
    };
    let placed = [&wanted.deeper, &wanted.on_top, &wanted.copy, &wanted.spaces];
    let balance = !wanted.width_only && placed.iter().all(|list| list.is_empty());
    Ok(Request {
        balance,
        widen: wanted.wider,
        spaces,
        sizes,
        factors: own_factors(&own),
        room: Some(Room {
            memory: memory::available(),
            disk,
        }),
        target,
        round_to: wanted.round_to,
        deepen: deepen.into_iter().cloned().collect(),
        on_top: wanted.on_top.clone(),
        pairs: wanted.pairs,
        depth: factors.first().and_then(|text| depth(text)),
        copy: wanted.copy.clone(),
        branch: wanted.branch.clone(),
        enlarge: numbered(&wanted.enlarge, None)?,
        classes: numbered(&wanted.classes, Some((&model.own_outputs(), "output")))?,
        features: numbered(&wanted.features, Some((&model.own_inputs(), "input")))?,
        kernel: wanted.kernel,
        mapping: match wanted.mapping {
            MappingArg::Random => Mapping::Random,
            MappingArg::Uniform => Mapping::Uniform,
        },
        symmetry: match wanted.symmetry {
            SymmetryArg::Even => Symmetry::Even,
            SymmetryArg::Uneven => Symmetry::Uneven {
                spread: wanted.strength.unwrap_or(0.5),
            },
            SymmetryArg::ZeroSum => Symmetry::ZeroSum {
                std: wanted.strength.unwrap_or(1.0),
            },
            SymmetryArg::Incoming => Symmetry::Incoming {
                std: wanted.strength.unwrap_or(0.01),
            },
        },
    })
}

/// What the whole network is to have, if that is asked for.
fn target(wanted: &Wanted, graph: &Graph) -> Result<Option<Target>> {
    Ok(match (&wanted.params, &wanted.flops) {
        (Some(text), _) => Some(Target::Parameters(amount(text, graph.parameter_count())?)),
        (None, Some(text)) => Some(Target::Flops(amount(text, graph.flops())?)),
        (None, None) => None,
    })
}

/// That a target is missed, where it is: in a tiny network a unit more may be much.
fn missed(wanted: &Wanted, model: &Model, growth: &Growth) -> Result<Option<String>> {
    let Some(target) = target(wanted, &model.graph)? else {
        return Ok(None);
    };
    let (goal, reached) = (target.wanted(), target.of(growth.graph()));
    let what = match target {
        Target::Parameters(_) => "parameters",
        Target::Flops(_) => "operations",
    };
    let off = 100.0 * (reached as f64 / goal.max(1) as f64 - 1.0);
    Ok((!target.is_met_by(reached)).then(|| {
        format!(
            "{goal} {what} were wanted, and {reached} ({off:+.1} %) are the nearest that was found"
        )
    }))
}

fn change(old: &Graph, new: &Graph) -> String {
    let times = |old: u64, new: u64| {
        format!(
            "{} -> {} ({:.2}x)",
            count(old),
            count(new),
            new as f64 / old.max(1) as f64
        )
    };
    format!(
        "parameters {}, operations a sample {}",
        times(old.parameter_count(), new.parameter_count()),
        times(old.flops(), new.flops())
    )
}

fn said(wide: &[OutputEvidence], file: &[OutputEvidence], what: &str) -> String {
    let worst = |all: &[OutputEvidence]| all.iter().map(|e| e.max_rel).fold(0.0, f64::max);
    format!(
        "largest relative difference {:.1e} in f64, {:.1e} as written, over {} on {what}",
        worst(wide),
        worst(file),
        match wide.len() {
            1 => "1 output".to_owned(),
            n => format!("{n} outputs"),
        }
    )
}

fn report(
    args: &GrowArgs,
    model: &Model,
    growth: &Growth,
    plan: &Plan,
    proved: &Proved,
) -> serde_json::Value {
    let sizes =
        |graph: &Graph| json!({ "parameters": graph.parameter_count(), "flops": graph.flops() });
    json!({
        "model": args.model,
        "output": args.output,
        "old": sizes(&model.graph),
        "new": sizes(growth.graph()),
        "steps": plan.describe(),
        "plan": plan,
        "evidence": proved.evidence,
        "evidence_as_written": proved.file,
        "evidence_at_other_lengths": proved.lengths.outputs(),
    })
}
