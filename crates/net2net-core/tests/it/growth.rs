//! The property that the project stands on: a random network grown by a random plan computes the
//! same function.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use net2net_core::apply::{Growth, apply};
use net2net_core::dims::Spaces;
use net2net_core::graph::Graph;
use net2net_core::ops::OPERATORS;
use net2net_core::plan::{
    Insert, Layer, Mapping, Plan, PlanError, Step, Symmetry, Widen, deepen, deepenable, fill, pad,
    widen,
};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_core::weights::{Weights, stream};
use net2net_kernels::Context;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::random_graph::{BATCH, Net, random_net, slices};
use super::structure::random_structure;

/// Larger networks are not grown further, so that the tests stay fast.
const MAX_FLOPS: u64 = 3_000_000;

/// What a run has met, so that the generator cannot silently rot.
#[derive(Default)]
pub struct Coverage {
    pub widened: BTreeMap<&'static str, usize>,
    pub inserted: BTreeMap<&'static str, usize>,
    pub structured: BTreeMap<&'static str, usize>,
    pub symmetries: BTreeMap<&'static str, usize>,
    pub refused: usize,
    /// Spaces that were padded, by fill, and those whose shares were folded into what makes them.
    pub padded: BTreeMap<&'static str, usize>,
    pub folded: usize,
}

impl Coverage {
    fn count(map: &mut BTreeMap<&'static str, usize>, key: &'static str) {
        *map.entry(key).or_default() += 1;
    }

    /// Operators of which an axis grows with a space.
    fn widens(&mut self, graph: &Graph, steps: &[Step]) {
        let spaces = Spaces::infer(graph);
        for step in steps {
            let Step::Widen(step) = step else { continue };
            let id = spaces.find(&step.space).unwrap();
            for node in graph.nodes() {
                let mut values = node.inputs.iter().chain(&node.outputs);
                let touches = values.any(|value| {
                    spaces
                        .axes(*value)
                        .iter()
                        .any(|dim| dim.atoms().contains(&id))
                });
                if touches {
                    Coverage::count(&mut self.widened, node.op.name());
                }
            }
        }
    }
}

fn random_symmetry(random: &mut ChaCha8Rng) -> (&'static str, Symmetry) {
    match random.random_range(0..4) {
        0 => ("even", Symmetry::Even),
        1 => ("zero-sum", Symmetry::ZeroSum { std: 0.3 }),
        2 => ("default", Symmetry::default()),
        _ => ("uneven", Symmetry::Uneven { spread: 0.9 }),
    }
}

/// Widens up to three spaces of a graph.
fn random_widening(graph: &Graph, random: &mut ChaCha8Rng, met: &mut Coverage) -> Vec<Step> {
    let spaces = Spaces::infer(graph);
    let mut names: Vec<&str> = spaces.growable().map(|space| space.name.as_str()).collect();
    let mut steps = Vec::new();
    for _ in 0..random.random_range(1..=3) {
        if names.is_empty() {
            break;
        }
        let name = names.swap_remove(random.random_range(0..names.len()));
        let id = spaces.find(name).unwrap();
        let space = &spaces.all()[id.index()];
        let old = space.size.fixed().unwrap();
        let size = match space.uniform {
            true => 2 * old,
            false => old + random.random_range(1..=old + 1),
        };
        met.folded += usize::from(!space.folds.is_empty());
        let mapping = [Mapping::Random, Mapping::Uniform][random.random_range(0..2)];
        let (kind, symmetry) = random_symmetry(random);
        Coverage::count(&mut met.symmetries, kind);
        let seed = random.random();
        steps.push(Step::Widen(
            widen(&spaces, name, size, mapping, symmetry, seed).unwrap(),
        ));
    }
    steps
}

/// Pads a space that can be padded.
fn random_padding(graph: &Graph, random: &mut ChaCha8Rng, met: &mut Coverage) -> Option<Step> {
    let spaces = Spaces::infer(graph);
    let can = |space: &&net2net_core::dims::Space| {
        let id = spaces.position(&space.name).unwrap();
        space.uniform && fill(graph, &spaces, id).is_ok()
    };
    let names: Vec<&str> = spaces
        .growable()
        .filter(can)
        .map(|s| s.name.as_str())
        .collect();
    let name = names.get(random.random_range(0..names.len().max(1)))?;
    let old = spaces.all()[spaces.find(name).unwrap().index()].size.at(1);
    let size = old + random.random_range(1..=old + 1);
    let step = pad(graph, &spaces, name, size, random.random()).unwrap();
    let kind = match step.fill {
        net2net_core::plan::Fill::Zero => "zero",
        net2net_core::plan::Fill::Mean => "mean",
    };
    Coverage::count(&mut met.padded, kind);
    Some(Step::Pad(step))
}

/// A layer after a random one, of the kind that fits there.
fn random_insert(
    cx: &mut Context<f64>,
    net: &Net,
    inputs: &[&[f64]],
    random: &mut ChaCha8Rng,
    met: &mut Coverage,
) -> Option<Insert> {
    let layers = deepenable(&net.graph);
    let layer = layers[random.random_range(0..layers.len())];
    let kernel = [None, Some(1), Some(3)][random.random_range(0..3)];
    let seed = random.random();
    match deepen(
        cx,
        &net.graph,
        &net.weights,
        layer,
        kernel,
        seed,
        BATCH,
        inputs,
    ) {
        Ok(insert) => {
            let kind = match insert.layer {
                Layer::Identity { norm: None, .. } => "identity",
                Layer::Identity { norm: Some(_), .. } => "identity with norm",
                Layer::Residual { norm: false, .. } => "residual",
                Layer::Residual { norm: true, .. } => "residual with norm",
                Layer::Factor { .. } => "factor",
                Layer::Branch { .. } | Layer::Copy { .. } => unreachable!(),
            };
            Coverage::count(&mut met.inserted, kind);
            Some(insert)
        }
        Err(PlanError::Refused(_)) => {
            met.refused += 1;
            None
        }
        Err(other) => panic!("{other}\n{}", net.graph),
    }
}

/// A random legal plan for a network.
pub fn random_plan(
    cx: &mut Context<f64>,
    net: &Net,
    inputs: &[&[f64]],
    random: &mut ChaCha8Rng,
    met: &mut Coverage,
) -> Plan {
    let mut steps = Vec::new();
    let mut grown = net.graph.clone();
    let stand = |steps: &[Step]| {
        let plan = Plan::new(&net.graph, 0, steps.to_vec());
        apply(&net.graph, &plan)
            .map(|growth| growth.graph().clone())
            .unwrap_or_else(|error| panic!("{error}\n{}\n{}", plan.to_json().unwrap(), net.graph))
    };
    if random.random_bool(0.4)
        && let Some(insert) = random_insert(cx, net, inputs, random, met)
    {
        steps.push(Step::Insert(insert));
        grown = stand(&steps);
    }
    if random.random_bool(0.4)
        && let Some((kind, step)) = random_structure(&grown, random)
    {
        Coverage::count(&mut met.structured, kind);
        steps.push(step);
        grown = stand(&steps);
    }
    if let Some(step) = random_padding(&grown, random, met) {
        steps.push(step);
        grown = stand(&steps);
    }
    if steps.is_empty() || random.random_bool(0.5) {
        let widening = random_widening(&grown, random, met);
        met.widens(&grown, &widening);
        steps.extend(widening);
    }
    Plan::new(&net.graph, random.random(), steps)
}

/// Names of spaces tell them apart, and those that cannot grow say so.
fn check_spaces(graph: &Graph, met: &mut Coverage) {
    let spaces = Spaces::infer(graph);
    let names: BTreeSet<&str> = spaces
        .all()
        .iter()
        .map(|space| space.name.as_str())
        .collect();
    assert_eq!(
        names.len(),
        spaces.all().len(),
        "names are not unique in\n{graph}"
    );
    for space in spaces.all().iter().filter(|space| space.refusal.is_some()) {
        let refusal = spaces.find(&space.name).unwrap_err();
        assert_eq!(Some(&refusal), space.refusal.as_ref());
        met.refused += 1;
    }
}

/// Copies are where the growth says, and equal before training where nothing parts them at once.
fn check_copies(growth: &Growth, weights: &Weights<f64>) {
    for copies in growth.copies() {
        let tensor = weights.get(&copies.parameter).unwrap();
        for (original, copy) in &copies.pairs {
            let (a, b) = (
                slice(tensor, copies.axis, *original),
                slice(tensor, copies.axis, *copy),
            );
            assert_eq!(a, b, "{} {:?}", copies.parameter, copies);
        }
    }
}

/// The numbers at one position of an axis.
pub fn slice(tensor: &net2net_core::weights::Tensor<f64>, axis: usize, at: usize) -> Vec<f64> {
    let inner: usize = tensor.shape()[axis + 1..].iter().product();
    let length = tensor.shape()[axis] * inner;
    let blocks = tensor.data().chunks_exact(length);
    blocks
        .flat_map(|block| block[at * inner..][..inner].to_vec())
        .collect()
}

fn has_noise(plan: &Plan) -> bool {
    plan.steps
        .iter()
        .any(|step| matches!(step, Step::Widen(Widen { noise: Some(_), .. })))
}

/// Grows a network by some random plans, one after another, and checks each.
fn grow_and_check(seed: u64, blocks: usize, plans: usize, met: &mut Coverage) {
    let mut net = random_net(seed, blocks, false);
    let mut random = stream(seed, "plan");
    let mut cx = Context::new(1).unwrap();
    for _ in 0..plans {
        if net.graph.flops() > MAX_FLOPS {
            break;
        }
        check_spaces(&net.graph, met);
        // A plan may have given the network more inputs.
        let inputs = net.inputs(BATCH, seed);
        let inputs = slices(&inputs);
        let plan = random_plan(&mut cx, &net, &inputs, &mut random, met);
        let told = || format!("{}\n{}", plan.to_json().unwrap(), net.graph);
        let growth = apply(&net.graph, &plan).unwrap_or_else(|error| panic!("{error}\n{}", told()));
        growth.graph().validate().unwrap();
        assert_eq!(
            &growth.graph().to_string().parse::<Graph>().unwrap(),
            growth.graph()
        );
        assert!(plan.is_exact());
        let weights = growth.weights(&net.weights).unwrap();
        let (old, new) = ((&net.graph, &net.weights), (growth.graph(), &weights));
        let evidence = compare(&mut cx, old, new, BATCH, &inputs).unwrap();
        assert!(
            evidence[0].scale > 0.0 && evidence[0].scale.is_finite(),
            "{}",
            told()
        );
        for output in evidence {
            assert!(output.max_rel < TOLERANCE, "{output:?}\n{}", told());
        }
        let read = Plan::from_json(&plan.to_json().unwrap()).unwrap();
        assert_eq!(read, plan);
        let again = apply(&net.graph, &read).unwrap();
        assert_eq!(again.graph(), growth.graph());
        assert_eq!(again.weights(&net.weights).unwrap(), weights);
        if !has_noise(&plan) {
            check_copies(&growth, &weights);
        }
        net = Net {
            graph: growth.graph().clone(),
            weights,
        };
    }
}

#[test]
fn growth_keeps_the_function_of_random_networks() {
    let met = Mutex::new(Coverage::default());
    let cases = (any::<u64>(), 1..5usize, 1..=4usize);
    let config = super::config(2500);
    let run = |runner: &mut TestRunner| {
        runner.run(&cases, |(seed, blocks, plans)| {
            grow_and_check(
                seed,
                blocks,
                plans,
                &mut met.lock().unwrap_or_else(|e| e.into_inner()),
            );
            Ok(())
        })
    };
    run(&mut TestRunner::new(config)).unwrap();
    let met = met.into_inner().unwrap();
    let all: BTreeSet<&str> = OPERATORS.iter().map(|line| line.name).collect();
    let widened: BTreeSet<&str> = met.widened.keys().copied().collect();
    assert_eq!(
        widened, all,
        "no space was widened through some operators: {:?}",
        met.widened
    );
    let kinds = [
        "factor",
        "identity",
        "identity with norm",
        "residual",
        "residual with norm",
    ];
    let inserted: Vec<&str> = met.inserted.keys().copied().collect();
    assert_eq!(inserted, kinds);
    assert_eq!(met.structured.len(), 7, "{:?}", met.structured);
    let symmetries: Vec<&str> = met.symmetries.keys().copied().collect();
    assert_eq!(symmetries, ["default", "even", "uneven", "zero-sum"]);
    assert!(
        met.widened
            .values()
            .chain(met.inserted.values())
            .chain(met.structured.values())
            .all(|count| *count >= 5),
        "some were met too rarely: {:?} {:?} {:?}",
        met.widened,
        met.inserted,
        met.structured
    );
    let padded: Vec<&str> = met.padded.keys().copied().collect();
    assert_eq!(padded, ["mean", "zero"], "{:?}", met.padded);
    assert!(
        met.padded.values().all(|count| *count >= 20),
        "{:?}",
        met.padded
    );
    assert!(met.folded >= 50, "only {} folded", met.folded);
    assert!(met.refused > 100, "only {} refusals", met.refused);
}
