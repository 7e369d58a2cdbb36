//! `net2net verify` and `net2net diff`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use net2net_core::graph::{Graph, Node, ValueId};
use net2net_core::verify::{OutputEvidence, compare, compare_with};
use net2net_core::weights::{Source, Widened};
use net2net_kernels::Context;
use serde_json::json;

use crate::args::{DiffArgs, VerifyArgs};
use crate::compare::Exit;
use crate::lengths::Lengths;
use crate::model::{Model, count, threads};
use crate::output::say;
use crate::samples::Samples;

/// The largest differences between two models as they are stored, computed in f64.
pub(crate) fn evidence(
    old: &Model,
    new: &Model,
    threads: usize,
    samples: &Samples,
) -> Result<Vec<OutputEvidence>> {
    let inputs = samples.wide();
    let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
    let mut cx = Context::<f64>::new(threads)?;
    let (before, after) = (Widened(old), Widened(new));
    let (old, new) = ((&old.graph, &before), (&new.graph, &after));
    Ok(compare(&mut cx, old, new, samples.batch, &inputs)?)
}

/// The same where it is known what the old network computes from these inputs.
pub(crate) fn evidence_with(
    old: &Graph,
    outputs: &[Vec<f64>],
    (graph, new): (&Graph, &dyn Source<f32>),
    threads: usize,
    samples: &Samples,
) -> Result<Vec<OutputEvidence>> {
    let inputs = samples.wide();
    let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
    let mut cx = Context::<f64>::new(threads)?;
    let (new, batch) = ((graph, &Widened(new)), samples.batch);
    Ok(compare_with(&mut cx, old, outputs, new, batch, &inputs)?)
}

/// Compares what two models compute.
pub(crate) fn verify(args: &VerifyArgs) -> Result<Exit> {
    let (old, new) = (Model::open(&args.old)?, Model::open(&args.new)?);
    crate::grow::warn(&old);
    let samples = Samples::of(&old, &args.proof, args.seed)?;
    let all = evidence(&old, &new, threads(args.proof.threads), &samples)?;
    let lengths = Lengths::of(&old, &new, threads(args.proof.threads), args.seed)?;
    let passes = |e: &OutputEvidence| e.max_rel <= args.tolerance;
    let same = all.iter().chain(lengths.outputs()).all(passes);
    if args.json {
        let report = json!({
            "same": same,
            "tolerance": args.tolerance,
            "f64": all,
            "f64_at_other_lengths": lengths.outputs(),
        });
        say!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for note in more(&old.graph, &new.graph) {
            say!("{note}");
        }
        for output in &all {
            say!(
                "{}: largest difference {:.1e}, {:.1e} of its largest value {:.3}",
                output.output,
                output.max_abs,
                output.max_rel,
                output.scale
            );
        }
    }
    let said = lengths.said().filter(|_| !args.json);
    if let Some(said) = said {
        say!("{said}");
    }
    if !same {
        bail!(
            "the models differ by more than {:.0e} on {}{}",
            args.tolerance,
            samples.what,
            match all.iter().all(passes) {
                true => ", at other lengths than those of the first comparison",
                false => "",
            }
        );
    }
    if !args.json {
        say!("the same function on {}", samples.what);
    }
    Ok(Exit::Done)
}

/// What the new model has more of at its inputs and outputs.
pub(crate) fn more(old: &Graph, new: &Graph) -> Vec<String> {
    let pairs = |of: fn(&Graph) -> &[ValueId], rest: &'static str| {
        let pairs = of(old).iter().zip(of(new));
        let pairs = pairs.map(|(a, b)| (old.get(*a), new.get(*b)));
        let grown = pairs.filter(|(a, b)| a.shape != b.shape);
        grown
            .map(|(a, b)| {
                format!(
                    "{} is {} in the new model, not {}; {rest}",
                    a.name, b.shape, a.shape
                )
            })
            .collect::<Vec<_>>()
    };
    let mut notes = pairs(Graph::inputs, "what is new is fed other numbers");
    let what = "what both have is compared, probabilities as parts of what new classes leave";
    notes.extend(pairs(Graph::outputs, what));
    notes
}

/// Lists what differs between two models.
pub(crate) fn diff(args: &DiffArgs) -> Result<Exit> {
    let (old, new) = (Model::open(&args.old)?.graph, Model::open(&args.new)?.graph);
    say!(
        "parameters {} -> {}, operations a sample {} -> {}",
        count(old.parameter_count()),
        count(new.parameter_count()),
        count(old.flops()),
        count(new.flops())
    );
    let mut lines = Vec::new();
    let (before, after) = (described(&old), described(&new));
    for (name, text) in &before {
        match after.get(name) {
            None => lines.push(format!("- {name}: {text}")),
            Some(other) if other != text => {
                lines.push(format!("~ {name}: {text} -> {other}"));
            }
            Some(_) => {}
        }
    }
    for (name, text) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        lines.push(format!("+ {name}: {text}"));
    }
    if lines.is_empty() {
        lines.push("the architectures are the same".to_owned());
    }
    for line in lines {
        say!("{line}");
    }
    Ok(Exit::Done)
}

/// Parameters and nodes by name, each in a few words.
fn described(graph: &Graph) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for id in graph.parameters() {
        let value = graph.get(id);
        all.insert(value.name.clone(), format!("parameter {}", value.shape));
    }
    for id in graph.node_ids() {
        let name = graph.node_name(id).to_owned();
        all.insert(name, node(graph, graph.at(id)));
    }
    all
}

fn node(graph: &Graph, node: &Node) -> String {
    let attributes = node.op.write();
    let attributes: Vec<String> = attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let shape = &graph.get(node.outputs[0]).shape;
    format!("{} {shape} {}", node.op.name(), attributes.join(" "))
        .trim_end()
        .to_owned()
}
