//! Spaces over which layers are normalised grow to any size, and the new units learn; shares are
//! folded into what makes the units where nothing reads them with a weight.

use net2net_core::apply::{Growth, apply};
use net2net_core::dims::Spaces;
use net2net_core::engine::{Moment, OptimizerState, Trainer};
use net2net_core::graph::Graph;
use net2net_core::plan::{Fill, Mapping, Pad, Plan, Step, Symmetry, fill, pad, widen};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_core::weights::Weights;
use net2net_kernels::Context;

use super::growth::slice;
use super::parting::{LABELS, options};
use super::random_graph::{BATCH, inputs, random_weights, slices};

/// Tokens of 5 features, a residual stream `s` of 4 units with a place for each token, some lines
/// that make `t` of `s`, a second layer that reads what they made, and classes.
fn stream(norm: &str, second: &str) -> String {
    format!(
        "graph g\ninput x [N, 3, 5]\nparam embed [5, 4]\nnode e [N, 3, 4] = MatMul(x, embed)\n\
         param place [1, 3, 4]\nnode s [N, 3, 4] = Add(e, place)\n{norm}\n\
         param up [4, 6]\nnode u [N, 3, 6] = MatMul(n, up)\nnode a [N, 3, 6] = Gelu(u)\n\
         param down [6, 4]\nparam down.b [4]\nnode d0 [N, 3, 4] = MatMul(a, down)\n\
         node d [N, 3, 4] = Add(d0, down.b)\nnode r [N, 3, 4] = Add(s, d)\n{second}\n\
         param head [4, 3]\nnode h [N, 3, 3] = MatMul(m, head)\n\
         node y [N, 3] = ReduceMean(h; axes=[1], keepdims=0)\noutput y\n"
    )
}

fn rms(x: &str, y: &str) -> String {
    format!("param {y}.g [4]\nnode {y} [N, 3, 4] = RMSNormalization({x}, {y}.g; epsilon=0.02)")
}

fn layer(x: &str, y: &str) -> String {
    format!(
        "param {y}.g [4]\nparam {y}.b [4]\n\
         node {y} [N, 3, 4] = LayerNormalization({x}, {y}.g, {y}.b; epsilon=0.02)"
    )
}

/// A layer normalisation as exporters for old operator sets write it.
fn in_parts(x: &str, y: &str) -> String {
    format!(
        "node {y}.m [N, 3, 1] = ReduceMean({x}; axes=[2])\nnode {y}.d [N, 3, 4] = Sub({x}, {y}.m)\n\
         param two{y} []\nnode {y}.q [N, 3, 4] = Pow({y}.d, two{y})\n\
         node {y}.v [N, 3, 1] = ReduceMean({y}.q; axes=[2])\nparam {y}.eps []\n\
         node {y}.ve [N, 3, 1] = Add({y}.v, {y}.eps)\nnode {y}.sd [N, 3, 1] = Sqrt({y}.ve)\n\
         node {y}.z [N, 3, 4] = Div({y}.d, {y}.sd)\nparam {y}.g [4]\n\
         node {y}.zg [N, 3, 4] = Mul({y}.z, {y}.g)\nparam {y}.b [4]\n\
         node {y} [N, 3, 4] = Add({y}.zg, {y}.b)"
    )
}

/// A mean square normalisation as PyTorch's exporters write it.
fn rms_in_parts(x: &str, y: &str) -> String {
    format!(
        "param two{y} []\nnode {y}.q [N, 3, 4] = Pow({x}, two{y})\n\
         node {y}.v [N, 3, 1] = ReduceMean({y}.q; axes=[2])\nparam {y}.eps []\n\
         node {y}.ve [N, 3, 1] = Add({y}.v, {y}.eps)\nnode {y}.sd [N, 3, 1] = Sqrt({y}.ve)\n\
         node {y}.i [N, 3, 1] = Reciprocal({y}.sd)\nnode {y}.z [N, 3, 4] = Mul({x}, {y}.i)\n\
         param {y}.g [4]\nnode {y} [N, 3, 4] = Mul({y}.z, {y}.g)"
    )
}

/// As Keras writes it: x · s + (shift − mean · s).
fn with_scale_first(x: &str, y: &str) -> String {
    format!(
        "node {y}.m [N, 3, 1] = GlobalAveragePool({x})\nnode {y}.nm [N, 3, 1] = Neg({y}.m)\n\
         node {y}.d [N, 3, 4] = Sub({x}, {y}.m)\nnode {y}.q [N, 3, 4] = Mul({y}.d, {y}.d)\n\
         node {y}.v [N, 3, 1] = GlobalAveragePool({y}.q)\nparam {y}.eps []\n\
         node {y}.ve [N, 3, 1] = Add({y}.v, {y}.eps)\nnode {y}.sd [N, 3, 1] = Sqrt({y}.ve)\n\
         node {y}.i [N, 3, 1] = Reciprocal({y}.sd)\nparam {y}.g [1, 1, 4]\n\
         node {y}.s [N, 3, 4] = Mul({y}.i, {y}.g)\nnode {y}.xs [N, 3, 4] = Mul({x}, {y}.s)\n\
         node {y}.ms [N, 3, 4] = Mul({y}.nm, {y}.s)\nparam {y}.b [1, 1, 4]\n\
         node {y}.sh [N, 3, 4] = Add({y}.ms, {y}.b)\nnode {y} [N, 3, 4] = Add({y}.xs, {y}.sh)"
    )
}

/// The variance as the mean of squares less the square of the mean.
fn with_two_means(x: &str, y: &str) -> String {
    format!(
        "node {y}.m [N, 3, 1] = ReduceMean({x}; axes=[2])\nnode {y}.q [N, 3, 4] = Mul({x}, {x})\n\
         node {y}.qm [N, 3, 1] = ReduceMean({y}.q; axes=[2])\nnode {y}.mm [N, 3, 1] = Mul({y}.m, {y}.m)\n\
         node {y}.v [N, 3, 1] = Sub({y}.qm, {y}.mm)\nparam {y}.eps []\n\
         node {y}.ve [N, 3, 1] = Add({y}.v, {y}.eps)\nnode {y}.sd [N, 3, 1] = Sqrt({y}.ve)\n\
         node {y}.d [N, 3, 4] = Sub({x}, {y}.m)\nnode {y}.z [N, 3, 4] = Div({y}.d, {y}.sd)\n\
         param {y}.g [4]\nnode {y}.zg [N, 3, 4] = Mul({y}.z, {y}.g)\nparam {y}.b [4]\n\
         node {y} [N, 3, 4] = Add({y}.zg, {y}.b)"
    )
}

fn read(text: &str) -> Graph {
    text.parse()
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn weights(graph: &Graph) -> Weights<f64> {
    let mut weights: Weights<f64> = random_weights(graph, 3);
    let names: Vec<String> = weights.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let tensor = weights.get_mut(&name).unwrap();
        if name.ends_with("eps") {
            tensor.data_mut().fill(0.02);
        } else if name.starts_with("two") {
            tensor.data_mut().fill(2.0);
        }
    }
    weights
}

/// The name of the space of axis 2 of a value.
fn space_of(graph: &Graph, value: &str) -> String {
    let spaces = Spaces::infer(graph);
    let id = spaces
        .axes(graph.find(value).unwrap())
        .last()
        .unwrap()
        .atoms()[0];
    spaces.all()[id.index()].name.clone()
}

/// Carries out steps, and the function stays.
fn same(graph: &Graph, weights: &Weights<f64>, steps: Vec<Step>) -> (Growth, Weights<f64>) {
    let plan = Plan::new(graph, 1, steps);
    let plan = Plan::from_json(&plan.to_json().unwrap()).unwrap();
    let growth = apply(graph, &plan).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let grown = growth.weights(weights).unwrap();
    let x = inputs(graph, BATCH, 1);
    let mut cx = Context::new(1).unwrap();
    let (old, new) = ((graph, weights), (growth.graph(), &grown));
    for output in compare(&mut cx, old, new, BATCH, &slices(&x)).unwrap() {
        assert!(
            output.scale > 1e-3 && output.max_rel < TOLERANCE,
            "{output:?}\n{graph}"
        );
    }
    (growth, grown)
}

fn padded(graph: &Graph, value: &str, size: usize) -> (Step, Fill) {
    let spaces = Spaces::infer(graph);
    let step = pad(graph, &spaces, &space_of(graph, value), size, 5).unwrap();
    let fill = step.fill;
    (Step::Pad(step), fill)
}

/// After some steps the new units, from `old` on, have parted and have an effect.
fn learns(growth: &Growth, weights: &Weights<f64>, old: usize) {
    let graph = growth.graph();
    let state = OptimizerState::default();
    let mut trainer = Trainer::new(graph, weights, &state, options(0.0)).unwrap();
    let x = inputs(graph, BATCH, 1);
    for _ in 0..5 {
        trainer.step(&x[0], &LABELS, 0.02).unwrap();
    }
    let trained = trainer.weights();
    for (parameter, axis) in [("embed", 1), ("down", 1), ("down.b", 0), ("up", 0)] {
        let moved = |at: usize| -> Vec<f64> {
            let (a, b) = (
                trained.get(parameter).unwrap(),
                weights.get(parameter).unwrap(),
            );
            let (a, b) = (slice(a, axis, at), slice(b, axis, at));
            a.iter().zip(&b).map(|(a, b)| a - b).collect()
        };
        let size = |v: &[f64]| v.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let (one, other) = (moved(old), moved(old + 1));
        let apart: Vec<f64> = one.iter().zip(&other).map(|(a, b)| a - b).collect();
        assert!(size(&one) > 1e-6, "{parameter} does not learn: {one:?}");
        assert!(
            size(&apart) > 1e-6,
            "{parameter} does not part: {one:?} {other:?}"
        );
    }
}

#[test]
fn a_stream_of_any_normalisation_grows_to_any_size_and_learns() {
    type Norm = fn(&str, &str) -> String;
    let norms: [(&str, Norm, Fill); 6] = [
        ("rms", rms, Fill::Zero),
        ("layer", layer, Fill::Mean),
        ("in parts", in_parts, Fill::Mean),
        ("rms in parts", rms_in_parts, Fill::Zero),
        ("scale first", with_scale_first, Fill::Mean),
        ("two means", with_two_means, Fill::Mean),
    ];
    for (name, norm, wanted) in norms {
        let graph = read(&stream(&norm("s", "n"), &norm("r", "m")));
        let weights = weights(&graph);
        for size in [5, 6, 7, 11] {
            let (step, fill) = padded(&graph, "s", size);
            assert_eq!(fill, wanted, "{name}");
            let (growth, grown) = same(&graph, &weights, vec![step]);
            // An exponent would be trained like any other number, and is no constant then.
            if size == 6 && graph.nodes().iter().all(|node| node.op.name() != "Pow") {
                learns(&growth, &grown, 4);
                // And once more.
                let (step, _) = padded(growth.graph(), "s", 9);
                same(growth.graph(), &grown, vec![step]);
            }
        }
        // Equal copies still do.
        let spaces = Spaces::infer(&graph);
        let name = space_of(&graph, "s");
        let step = widen(&spaces, &name, 8, Mapping::Random, Symmetry::default(), 1);
        same(&graph, &weights, vec![Step::Widen(step.unwrap())]);
    }
}

#[test]
fn what_is_multiplied_has_its_moments_divided() {
    let graph = read(&stream(&layer("s", "n"), &layer("r", "m")));
    let weights = weights(&graph);
    let (step, _) = padded(&graph, "s", 6);
    let (growth, grown) = same(&graph, &weights, vec![step]);
    let x = inputs(&graph, BATCH, 1);
    let gradients = |graph: &Graph, weights: &Weights<f64>| {
        let mut trainer =
            Trainer::new(graph, weights, &OptimizerState::default(), options(0.0)).unwrap();
        trainer.gradients_by_name(&x[0], &LABELS).unwrap().1
    };
    let state = OptimizerState {
        steps: 1,
        moments: [(Moment::First, gradients(&graph, &weights))].into(),
        ..OptimizerState::default()
    };
    let expected = &growth.optimizer_state(&state).unwrap().moments[&Moment::First];
    let found = gradients(growth.graph(), &grown);
    for parameter in ["n.g", "m.g", "n.b", "m.b"] {
        let (a, b) = (
            expected.get(parameter).unwrap(),
            found.get(parameter).unwrap(),
        );
        for unit in 0..4 {
            let (a, b) = (a.data()[unit], b.data()[unit]);
            assert!((a - b).abs() < 1e-10, "{parameter} {unit}: {a} {b}");
        }
    }
}

#[test]
fn what_does_not_keep_means_is_refused_with_its_node() {
    let refused = |text: &str, value: &str| {
        let graph = read(text);
        let spaces = Spaces::infer(&graph);
        let id = spaces.find(&space_of(&graph, value)).unwrap();
        fill(&graph, &spaces, id).unwrap_err().to_string()
    };
    // The stream is what a normalisation makes, whose mean is no longer that of the old units.
    let post = stream(&layer("s", "n"), &layer("r", "m")).replace("Add(s, d)", "Add(n, d)");
    assert!(
        refused(&post, "s").contains("at `m`"),
        "{}",
        refused(&post, "s")
    );
    // A nonlinearity of each unit.
    let curve = format!("node s2 [N, 3, 4] = Tanh(s)\n{}", layer("s2", "n"));
    let text = stream(&curve, &layer("r", "m"));
    assert!(
        refused(&text, "s").contains("hold anything"),
        "{}",
        refused(&text, "s")
    );
    // With mean squares alone, zeros go through both.
    let curve = format!("node s2 [N, 3, 4] = Tanh(s)\n{}", rms("s2", "n"));
    let graph = read(&stream(&curve, &rms("r", "m")).replace("Add(s, d)", "Add(n, d)"));
    let (step, _) = padded(&graph, "s", 7);
    same(&graph, &weights(&graph), vec![step]);
    // An epsilon that is something else too.
    let shared = stream(&in_parts("s", "n"), &layer("r", "m"))
        .replace(
            "node y [N, 3] =",
            "node hh [N, 3, 3] = Mul(h, n.eps)\nnode y [N, 3] =",
        )
        .replace("ReduceMean(h;", "ReduceMean(hh;");
    assert!(
        refused(&shared, "s").contains("n.eps"),
        "{}",
        refused(&shared, "s")
    );
}

/// Attention on tokens of 5 features: two heads of three units.
fn attention(project: &str, scores: &str) -> String {
    format!(
        "graph g\ninput x [N, 4, 5]\n{project}\n\
         node qh [N, 4, 2, 3] = Reshape(q; sizes=[4, 2, 3])\nnode kh [N, 4, 2, 3] = Reshape(k; sizes=[4, 2, 3])\n\
         node qt [N, 2, 4, 3] = Transpose(qh; perm=[0, 2, 1, 3])\n\
         node kt [N, 2, 3, 4] = Transpose(kh; perm=[0, 2, 3, 1])\n{scores}\n\
         node w [N, 2, 4, 4] = Softmax(p)\nnode m [N, 4, 4] = ReduceMean(w; axes=[1], keepdims=0)\n\
         node o [N, 4, 5] = MatMul(m, x)\nparam out [5, 3]\nnode z [N, 4, 3] = MatMul(o, out)\n\
         node y [N, 3] = ReduceMean(z; axes=[1], keepdims=0)\noutput y\n"
    )
}

const SEPARATE: &str = "param wq [5, 6]\nparam bq [6]\nnode q0 [N, 4, 6] = MatMul(x, wq)\n\
    node q [N, 4, 6] = Add(q0, bq)\nparam wk [5, 6]\nnode k [N, 4, 6] = MatMul(x, wk)";

const PRODUCT: &str = "node p [N, 2, 4, 4] = MatMul(qt, kt)";

#[test]
fn queries_take_the_shares_and_their_units_part() {
    let graph = read(&attention(SEPARATE, PRODUCT));
    let weights = weights(&graph);
    let name = space_of(&graph, "qt");
    let spaces = Spaces::infer(&graph);
    for symmetry in [
        Symmetry::default(),
        Symmetry::Even,
        Symmetry::ZeroSum { std: 0.2 },
    ] {
        let step = widen(&spaces, &name, 5, Mapping::Random, symmetry, 3).unwrap();
        let (growth, grown) = same(&graph, &weights, vec![Step::Widen(step)]);
        if symmetry == Symmetry::Even {
            continue;
        }
        let state = OptimizerState::default();
        let mut trainer = Trainer::new(growth.graph(), &grown, &state, options(0.0)).unwrap();
        for _ in 0..3 {
            trainer
                .step(&inputs(&graph, BATCH, 1)[0], &LABELS, 0.5)
                .unwrap();
        }
        let trained = trainer.weights();
        let keys = growth
            .copies()
            .into_iter()
            .find(|c| c.parameter == "wk")
            .unwrap();
        for (original, copy) in keys.pairs {
            let at = |position| slice(trained.get("wk").unwrap(), 1, position);
            assert_ne!(at(original), at(copy));
        }
    }
}

#[test]
fn parts_of_a_joint_projection_take_them_alone() {
    let split = "param joint [5, 12]\nparam b [12]\nnode j0 [N, 4, 12] = MatMul(x, joint)\n\
        node j [N, 4, 12] = Add(b, j0)\nnode q [N, 4, 6], k [N, 4, 6] = Split(j; axis=2, split=[6, 6])";
    let graph = read(&attention(split, PRODUCT));
    let spaces = Spaces::infer(&graph);
    let step = widen(
        &spaces,
        &space_of(&graph, "qt"),
        4,
        Mapping::Random,
        Symmetry::default(),
        3,
    );
    same(&graph, &weights(&graph), vec![Step::Widen(step.unwrap())]);
    let taken = "param joint [5, 12]\nparam b [12]\nnode j0 [N, 4, 12] = MatMul(x, joint)\n\
        node j1 [N, 4, 12] = Add(b, j0)\nnode j [N, 4, 2, 6] = Reshape(j1; sizes=[4, 2, 6])\n\
        node q [N, 4, 6] = Take(j; axis=2, indices=[0], keep=0)\n\
        node k [N, 4, 6] = Take(j; axis=2, indices=[1], keep=0)";
    let graph = read(&attention(taken, PRODUCT));
    let spaces = Spaces::infer(&graph);
    let step = widen(
        &spaces,
        &space_of(&graph, "qt"),
        5,
        Mapping::Random,
        Symmetry::default(),
        3,
    );
    same(&graph, &weights(&graph), vec![Step::Widen(step.unwrap())]);
}

#[test]
fn what_does_not_commute_with_shares_is_refused() {
    let why = |project: &str, scores: &str| {
        let graph = read(&attention(project, scores));
        let spaces = Spaces::infer(&graph);
        spaces
            .find(&space_of(&graph, "qt"))
            .unwrap_err()
            .to_string()
    };
    let curved = SEPARATE.replace(
        "node q [N, 4, 6] = Add(q0, bq)",
        "node q [N, 4, 6] = Tanh(q0)",
    );
    let curved = curved.replace("param bq [6]\n", "");
    let keys = curved.replace(
        "node k [N, 4, 6] = MatMul(x, wk)",
        "node k0 [N, 4, 6] = MatMul(x, wk)\nnode k [N, 4, 6] = Tanh(k0)",
    );
    assert!(
        why(&keys, PRODUCT).contains("Tanh"),
        "{}",
        why(&keys, PRODUCT)
    );
    // Of keys alone it is enough.
    let graph = read(&attention(&curved, PRODUCT));
    let spaces = Spaces::infer(&graph);
    let step = widen(
        &spaces,
        &space_of(&graph, "qt"),
        5,
        Mapping::Random,
        Symmetry::default(),
        3,
    );
    same(&graph, &weights(&graph), vec![Step::Widen(step.unwrap())]);
    // One weight for both would be multiplied on both sides.
    let tied = SEPARATE
        .replace("param wk [5, 6]\n", "")
        .replace("(x, wk)", "(x, wq)");
    let tied = tied.replace(
        "node q [N, 4, 6] = Add(q0, bq)",
        "node q [N, 4, 6] = Identity(q0)",
    );
    let tied = tied.replace("param bq [6]\n", "");
    assert!(
        why(&tied, PRODUCT).contains("several places"),
        "{}",
        why(&tied, PRODUCT)
    );
}

/// An embedding that is the head too, with a normalisation before it or without.
fn tied(norm: &str, last: &str, head: &str) -> String {
    format!(
        "graph g\ninput x [N, 3, 6]\nparam e [6, 4]\nnode s [N, 3, 4] = MatMul(x, e)\n{norm}\n\
         param up [4, 5]\nnode u [N, 3, 5] = MatMul(n, up)\nnode a [N, 3, 5] = Gelu(u)\n\
         param down [5, 4]\nnode d [N, 3, 4] = MatMul(a, down)\nnode r [N, 3, 4] = Add(s, d)\n{last}\n\
         {head}\noutput y\n"
    )
}

/// The embedding as it is, and transposed by a node of its own.
const HEADS: [&str; 2] = [
    "node h [N, 4] = ReduceMean(m; axes=[1], keepdims=0)\nnode y [N, 6] = Gemm(h, e; transB=1)",
    "node et [4, 6] = Transpose(e; perm=[1, 0])\nnode h [N, 3, 6] = MatMul(m, et)\n\
     node y [N, 6] = ReduceMean(h; axes=[1], keepdims=0)",
];

#[test]
fn tied_embeddings_stay_tied() {
    for head in HEADS {
        let graph = read(&tied(&rms("s", "n"), &rms("r", "m"), head));
        let weights = weights(&graph);
        // By copies the last normalisation's scale takes the shares; new units need none.
        let name = space_of(&graph, "s");
        let spaces = Spaces::infer(&graph);
        let step = widen(&spaces, &name, 8, Mapping::Random, Symmetry::default(), 3).unwrap();
        let (growth, grown) = same(&graph, &weights, vec![Step::Widen(step)]);
        let count = |graph: &Graph| graph.parameters().count();
        assert_eq!(count(growth.graph()), count(&graph));
        let first = |weights: &Weights<f64>| weights.get("m.g").unwrap().data()[0];
        assert_ne!(first(&grown), first(&weights));
        let (step, _) = padded(&graph, "s", 6);
        same(&graph, &weights, vec![step]);
        // Without a normalisation before the head, there are new units alone.
        let graph = read(&tied(&rms("s", "n"), "node m [N, 3, 4] = Tanh(r)", head));
        let weights = self::weights(&graph);
        let spaces = Spaces::infer(&graph);
        let id = spaces.position(&space_of(&graph, "s")).unwrap();
        let space = &spaces.all()[id.index()];
        assert!(space.counted && space.refusal.is_some(), "{space:?}");
        let (step, _) = padded(&graph, "s", 7);
        same(&graph, &weights, vec![step]);
    }
}

#[test]
fn a_scale_takes_the_shares_of_a_tied_code() {
    let text = "graph g\ninput x [N, 3]\nparam w [4, 3]\nnode h [N, 4] = Gemm(x, w; transB=1)\n\
        node r [N, 4] = Gelu(h)\nparam scale [4]\nnode c [N, 4] = Mul(r, scale)\n\
        node y [N, 3] = Gemm(c, w)\noutput y\n";
    let graph = read(text);
    let weights = weights(&graph);
    let spaces = Spaces::infer(&graph);
    let step = widen(&spaces, "h", 7, Mapping::Random, Symmetry::default(), 3).unwrap();
    let (growth, grown) = same(&graph, &weights, vec![Step::Widen(step)]);
    let state = OptimizerState::default();
    let mut trainer = Trainer::new(growth.graph(), &grown, &state, options(0.0)).unwrap();
    for _ in 0..3 {
        trainer
            .step(&inputs(&graph, BATCH, 1)[0], &LABELS, 0.05)
            .unwrap();
    }
    let trained = trainer.weights();
    let copies = growth
        .copies()
        .into_iter()
        .find(|c| c.parameter == "w")
        .unwrap();
    for (original, copy) in copies.pairs {
        let at = |position| slice(trained.get("w").unwrap(), 0, position);
        assert_ne!(at(original), at(copy));
    }
}

#[test]
fn plans_that_pad_wrongly_are_refused() {
    let graph = read(&stream(&layer("s", "n"), &layer("r", "m")));
    let (Step::Pad(step), _) = padded(&graph, "s", 6) else {
        unreachable!()
    };
    let refused = |step: Pad| {
        let plan = Plan::new(&graph, 0, vec![Step::Pad(step)]);
        apply(&graph, &plan).unwrap_err().to_string()
    };
    let fill = Fill::Zero;
    let zeros = refused(Pad {
        fill,
        ..step.clone()
    });
    assert!(zeros.contains("its mean would notice"), "{zeros}");
    let small = refused(Pad {
        size: 4,
        ..step.clone()
    });
    assert!(small.contains("has 4 units"), "{small}");
    let large = refused(Pad {
        size: 1 << 40,
        ..step.clone()
    });
    assert!(large.contains("the most"), "{large}");
    let space = "u:2".to_owned();
    let other = refused(Pad { space, ..step });
    assert!(other.contains("no mean is taken"), "{other}");
}
