//! Growth through functions of elements, reductions and what runs along one axis, and their text.

use net2net_core::apply::apply;
use net2net_core::dims::Spaces;
use net2net_core::engine::evaluate;
use net2net_core::graph::{Graph, Shape};
use net2net_core::ops::{Clip, LpNormalization, Op, ReduceMean, Softmax};
use net2net_core::plan::{Mapping, Plan, Step, Symmetry, widen};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_core::weights::Weights;
use net2net_kernels::Context;

use super::random_graph::{BATCH, inputs, random_weights, slices};

/// Widens every growable space of a network by an uneven map (an even one where a mean is taken),
/// one after another, and the function stays. Returns the spaces' names.
fn grows(text: &str, constants: &[(&str, f64)]) -> Vec<String> {
    let mut graph: Graph = text
        .parse()
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut weights: Weights<f64> = random_weights(&graph, 1);
    for (name, value) in constants {
        weights.get_mut(name).unwrap().data_mut().fill(*value);
    }
    let x = inputs(&graph, BATCH, 1);
    let mut cx = Context::new(1).unwrap();
    let names: Vec<String> = Spaces::infer(&graph)
        .growable()
        .map(|space| space.name.clone())
        .collect();
    for (seed, name) in (0..).zip(&names) {
        let spaces = Spaces::infer(&graph);
        let space = spaces.growable().find(|space| space.name == *name).unwrap();
        let old = space.size.fixed().unwrap();
        let size = if space.uniform {
            2 * old
        } else {
            old + old.div_ceil(2) + 1
        };
        let step = widen(
            &spaces,
            name,
            size,
            Mapping::Random,
            Symmetry::default(),
            seed,
        );
        let plan = Plan::new(&graph, 0, vec![Step::Widen(step.unwrap())]);
        let growth = apply(&graph, &plan).unwrap();
        let grown = growth.weights(&weights).unwrap();
        let (before, after) = ((&graph, &weights), (growth.graph(), &grown));
        let evidence = compare(&mut cx, before, after, BATCH, &slices(&x)).unwrap();
        for output in evidence {
            assert!(
                output.scale > 1e-3 && output.max_rel < TOLERANCE,
                "{output:?}\n{text}"
            );
        }
        let read: Graph = growth.graph().to_string().parse().unwrap();
        assert_eq!(&read, growth.graph());
        (graph, weights) = (growth.graph().clone(), grown);
    }
    names
}

/// What stands in the way of a space.
fn refusal(text: &str, space: &str) -> String {
    let graph: Graph = text
        .parse()
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    Spaces::infer(&graph).find(space).unwrap_err().to_string()
}

/// A convolution `a` to 4 channels of 3 by 2 pixels, some lines, and one that reads `y`.
fn between(lines: &str) -> String {
    format!(
        "graph g\ninput x [N, 2, 3, 2]\nparam a.w [4, 2, 1, 1]\nparam a.b [4]\n\
         node a [N, 4, 3, 2] = Conv(x, a.w, a.b)\nnode plus [N, 4, 3, 2] = Softplus(a)\n{lines}\n\
         param z.w [3, 4, 1, 1]\nparam z.b [3]\nnode z [N, 3, 3, 2] = Conv(y, z.w, z.b)\noutput z\n"
    )
}

/// The same for 4 features, without pixels.
fn features(lines: &str) -> String {
    format!(
        "graph g\ninput x [N, 3]\nparam a.w [3, 4]\nparam a.b [4]\nnode a [N, 4] = Gemm(x, a.w, a.b)\n\
         {lines}\nparam z.w [4, 2]\nparam z.b [2]\nnode z [N, 2] = Gemm(y, z.w, z.b)\noutput z\n"
    )
}

#[test]
fn functions_of_one_element_grow() {
    let anywhere = [
        "Elu(a; alpha=0.5)",
        "Selu(a)",
        "HardSwish(a)",
        "HardSigmoid(a)",
        "Mish(a)",
        "Softplus(a)",
        "Softsign(a)",
        "Clip(a; max=0.5, min=-0.25)",
        "Neg(a)",
        "Abs(a)",
        "Reciprocal(plus)",
        "Sqrt(plus)",
        "Exp(a)",
        "Log(plus)",
        "Erf(a)",
        "Sin(a)",
        "Cos(a)",
        "Floor(a)",
        "Ceil(a)",
        "Round(a)",
        "Sign(a)",
        "Not(a)",
    ];
    for op in anywhere {
        assert_eq!(
            grows(&between(&format!("node y [N, 4, 3, 2] = {op}")), &[]),
            ["a"]
        );
    }
}

#[test]
fn functions_of_two_elements_grow() {
    let ops = [
        "Sub",
        "Div",
        "Pow",
        "Max",
        "Min",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "And",
        "Or",
    ];
    let second = "param b.w [4, 2, 1, 1]\nnode b0 [N, 4, 3, 2] = Conv(x, b.w)\n\
                  node b [N, 4, 3, 2] = Softplus(b0)\n";
    let broadcast = "param b0 [4, 1, 1]\nnode b [4, 1, 1] = Softplus(b0)\n";
    let single = "param b0 [1]\nnode b [1] = Softplus(b0)\n";
    for op in ops {
        for other in [second, broadcast, single] {
            for inputs in ["plus, b", "b, plus"] {
                let line = format!("{other}node y [N, 4, 3, 2] = {op}({inputs})");
                assert_eq!(grows(&between(&line), &[]), ["a"]);
            }
        }
    }
    // A column for each image against all channels: only the latter can grow.
    let outer = "param b.w [1, 2, 1, 1]\nnode b [N, 1, 3, 2] = Conv(x, b.w)\n\
                 node y [N, 4, 3, 2] = Sub(a, b)";
    assert_eq!(grows(&between(outer), &[]), ["a"]);
    assert!(refusal(&between(outer), "b").contains("cannot grow"));
}

#[test]
fn a_choice_grows_with_all_that_it_reads() {
    let choice = "param p [4, 1, 1]\nnode c [N, 4, 3, 2] = Greater(a, p)\nparam q [2]\n\
                  node y [N, 4, 3, 2] = Where(c, a, q)";
    assert_eq!(grows(&between(choice), &[]), ["a"]);
    let column = "param q [4, 1, 1]\nparam p [4, 3, 1]\nnode c [4, 3, 1] = Sign(p)\n\
                  node y [N, 4, 3, 2] = Where(c, q, a)";
    assert_eq!(grows(&between(column), &[]), ["a"]);
}

#[test]
fn means_and_extremes_over_a_space_grow_it_and_sums_do_not() {
    let gate = |op: &str| {
        between(&format!(
            "node r [N, 1, 3, 2] = {op}(a; axes=[1])\nnode s [N, 1, 3, 2] = Sigmoid(r)\n\
             node y [N, 4, 3, 2] = Mul(a, s)"
        ))
    };
    for op in ["ReduceMean", "ReduceMax", "ReduceMin"] {
        assert_eq!(grows(&gate(op), &[]), ["a"]);
        let squeezed = between(&format!(
            "node r [N, 3, 2] = {op}(a; axes=[1], keepdims=0)\n\
             node s [N, 1, 3, 2] = Reshape(r; sizes=[1, 3, 2])\nnode y [N, 4, 3, 2] = Add(s, a)"
        ));
        assert_eq!(grows(&squeezed, &[]), ["a"]);
        // Nobody else reads the space.
        let alone = format!(
            "graph g\ninput x [N, 3]\nparam a.w [3, 4]\nnode a [N, 4] = Gemm(x, a.w)\n\
             node r [N, 1] = {op}(a; axes=[1])\nparam z.w [1, 2]\nnode z [N, 2] = Gemm(r, z.w)\n\
             output z\n"
        );
        assert_eq!(grows(&alone, &[]), ["a"]);
    }
    assert!(refusal(&gate("ReduceSum"), "a").contains("a sum over this axis"));
    assert!(refusal(&gate("ReduceL2"), "a").contains("a norm over this axis"));
    let spaces = Spaces::infer(&gate("ReduceMean").parse().unwrap());
    let odd = widen(&spaces, "a", 6, Mapping::Uniform, Symmetry::default(), 0);
    assert!(odd.unwrap_err().to_string().contains("multiple"));
}

#[test]
fn channels_grow_through_reductions_of_pixels() {
    let ops = [
        "ReduceMean(a; axes=[2, 3])",
        "ReduceSum(a; axes=[2, 3])",
        "ReduceMax(a; axes=[2, 3])",
        "ReduceMin(a; axes=[2, 3])",
        "ReduceL2(a; axes=[2, 3])",
        "GlobalMaxPool(a)",
    ];
    for op in ops {
        let kept = format!("node r [N, 4, 1, 1] = {op}\nnode y [N, 4, 3, 2] = Add(r, a)");
        assert_eq!(grows(&between(&kept), &[]), ["a"]);
        let Some(op) = op.strip_suffix("])") else {
            continue;
        };
        let lost = format!(
            "graph g\ninput x [N, 2, 3, 2]\nparam a.w [4, 2, 1, 1]\n\
             node a [N, 4, 3, 2] = Conv(x, a.w)\nnode r [N, 4] = {op}], keepdims=0)\n\
             param z.w [4, 2]\nnode z [N, 2] = Gemm(r, z.w)\noutput z\n"
        );
        assert_eq!(grows(&lost, &[]), ["a"]);
    }
}

/// Layer normalisation as exporters write it, and its relative without the mean.
#[test]
fn normalisations_in_parts_grow_by_equal_copies() {
    let layer = "node mean [N, 1] = ReduceMean(a; axes=[1])\nnode apart [N, 4] = Sub(a, mean)\n\
                 param two []\nnode square [N, 4] = Pow(apart, two)\n\
                 node variance [N, 1] = ReduceMean(square; axes=[1])\nparam epsilon [1]\n\
                 node sum [N, 1] = Add(variance, epsilon)\nnode deviation [N, 1] = Sqrt(sum)\n\
                 node unit [N, 4] = Div(apart, deviation)\nparam scale [4]\n\
                 node scaled [N, 4] = Mul(unit, scale)\nparam shift [4]\n\
                 node y [N, 4] = Add(scaled, shift)";
    let constants = [("two", 2.0), ("epsilon", 1e-5)];
    assert_eq!(grows(&features(layer), &constants), ["a"]);
    let root = "node square [N, 4] = Mul(a, a)\n\
                node mean [N, 1] = ReduceMean(square; axes=[1])\nparam epsilon [1]\n\
                node sum [N, 1] = Add(mean, epsilon)\nnode root [N, 1] = Sqrt(sum)\n\
                node inverse [N, 1] = Reciprocal(root)\nnode unit [N, 4] = Mul(a, inverse)\n\
                param scale [4]\nnode y [N, 4] = Mul(scale, unit)";
    assert_eq!(grows(&features(root), &[("epsilon", 1e-6)]), ["a"]);
}

#[test]
fn an_axis_that_is_normalised_by_its_sum_is_frozen_and_others_grow() {
    for op in ["Softmax", "LogSoftmax", "LpNormalization"] {
        for axis in ["2", "3", "-1"] {
            let line = format!("node y [N, 4, 3, 2] = {op}(a; axis={axis})");
            assert_eq!(grows(&between(&line), &[]), ["a"]);
        }
        for axis in ["1", "-3"] {
            let line = format!("node y [N, 4, 3, 2] = {op}(a; axis={axis})");
            assert!(refusal(&between(&line), "a").contains("over this axis"));
        }
    }
}

#[test]
fn squeeze_and_excitation_grows_in_every_space() {
    let text = "graph g\ninput x [N, 3, 4, 4]\nparam a.w [4, 3, 3, 3]\n\
                node a [N, 4, 4, 4] = Conv(x, a.w; pads=[1, 1, 1, 1])\n\
                node mean [N, 4, 1, 1] = ReduceMean(a; axes=[2, 3])\nparam b.w [2, 4, 1, 1]\n\
                param b.b [2]\nnode b [N, 2, 1, 1] = Conv(mean, b.w, b.b)\n\
                node r [N, 2, 1, 1] = Relu(b)\nparam c.w [4, 2, 1, 1]\n\
                node c [N, 4, 1, 1] = Conv(r, c.w)\nnode gate [N, 4, 1, 1] = HardSigmoid(c)\n\
                node m [N, 4, 4, 4] = Mul(gate, a)\nparam d.w [2, 4, 3, 3]\n\
                node d [N, 2, 4, 4] = Conv(m, d.w; pads=[1, 1, 1, 1])\noutput d\n";
    assert_eq!(grows(text, &[]), ["a", "b"]);
}

/// Everything fixed: the outermost axis is one like the others.
#[test]
fn values_without_a_batch_are_reduced_over_any_axis() {
    let text = "graph g\ninput x [2, 3]\nnode soft [2, 3] = Softmax(x; axis=0)\n\
                node rows [1, 3] = ReduceSum(soft; axes=[0])\n\
                node all [] = ReduceMax(rows; axes=[0, 1], keepdims=0)\n\
                node least [3] = ReduceMin(x; axes=[0], keepdims=0)\n\
                node more [3] = GreaterOrEqual(least, all)\noutput all\noutput more\n";
    let graph: Graph = text.parse().unwrap();
    assert_eq!(graph.to_string(), text);
    let x: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 0.5, -1.0];
    let mut cx = Context::new(1).unwrap();
    let none: Weights<f64> = Weights::default();
    let found = evaluate(&mut cx, &graph, &none, 1, &[&x]).unwrap();
    assert!((found[0][0] - 1.0).abs() < 1e-12);
    assert_eq!(found[1].len(), 3);
    assert_eq!(found[1][2], 0.0);
}

#[test]
fn attributes_are_written_where_they_are_not_the_default() {
    let text = "graph g
input x [N, 2, 3, 3]
node a [N, 2, 3, 3] = Elu(x; alpha=0.5)
node b [N, 2, 3, 3] = Selu(a; alpha=1.5, gamma=1.25)
node c [N, 2, 3, 3] = HardSigmoid(b; alpha=0.25, beta=0.375)
node d [N, 2, 3, 3] = Clip(c; max=6.0, min=0.0)
node e [N, 2, 3, 3] = Softmax(d; axis=1)
node f [N, 2, 3, 3] = LogSoftmax(e; axis=-2)
node g [N, 2, 3, 3] = LpNormalization(f; axis=1, p=1)
node h [N, 2, 1, 3] = ReduceMean(g; axes=[2])
node i [N, 3] = ReduceL2(h; axes=[1, 2], keepdims=0)
output i
";
    let graph: Graph = text.parse().unwrap();
    assert_eq!(graph.to_string(), text);
    let defaults = "graph g
input x [N, 2, 3]
node a [N, 2, 3] = Elu(x; alpha=1)
node b [N, 2, 3] = Selu(a; alpha=1.6732631921768188, gamma=1.0507010221481323)
node c [N, 2, 3] = HardSigmoid(b; alpha=0.2, beta=0.5)
node d [N, 2, 3] = Clip(c)
node e [N, 2, 3] = Softmax(d; axis=-1)
node f [N, 2, 3] = LogSoftmax(e; axis=-1)
node g [N, 2, 3] = LpNormalization(f; axis=-1, p=2)
node h [N, 2, 1] = ReduceMax(g; axes=[2], keepdims=1)
output h
";
    let graph: Graph = defaults.parse().unwrap();
    for node in graph.nodes() {
        let attributes = node.op.write();
        let written: Vec<&str> = attributes.iter().map(|(key, _)| key).collect();
        let needed = matches!(node.op, Op::ReduceMax(_)).then_some("axes");
        assert_eq!(
            written,
            needed.into_iter().collect::<Vec<_>>(),
            "{}",
            node.op.name()
        );
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let cases = [
        ("ReduceMean(x; axes=[0])", "is the batch"),
        ("ReduceMean(x)", "missing"),
        ("ReduceMean(x; axes=[])", "at least one"),
        ("ReduceMean(x; axes=[2, 1])", "ascending"),
        ("ReduceMean(x; axes=[1, 1])", "ascending"),
        ("ReduceMean(x; axes=[-1])", "from the front"),
        ("ReduceMean(x; axes=[3])", "no axis 3"),
        ("ReduceMean(x; axes=[1], keepdims=2)", "0 or 1"),
        ("Softmax(x; axis=0)", "is the batch"),
        ("Softmax(x; axis=-3)", "is the batch"),
        ("Softmax(x; axis=3)", "no axis 3"),
        ("Softmax(x; axis=-9223372036854775808)", "no axis"),
        ("LpNormalization(x; p=3)", "1 or 2"),
        ("GlobalMaxPool(p)", "must have shape"),
        ("Where(x, p, q)", "do not match"),
        ("Max(x, p)", "do not match"),
        ("Max(x)", "2 inputs"),
    ];
    for (op, why) in cases {
        let text = format!(
            "graph g\ninput x [N, 2, 3]\nparam p [2]\nparam q [3]\nnode y [N] = {op}\noutput y\n"
        );
        let error = text.parse::<Graph>().unwrap_err().to_string();
        assert!(error.contains(why), "{op}: {error}");
    }
    // Attributes that no file can have come from programs.
    let shape = Shape::batched(&[2, 3]);
    let clip = |min, max| Op::from(Clip { min, max });
    let broken = [
        clip(f64::NAN, 1.0),
        clip(f64::INFINITY, f64::INFINITY),
        clip(0.0, f64::NEG_INFINITY),
        Op::from(LpNormalization { axis: -1, p: 0 }),
        Op::from(Softmax { axis: i64::MIN }),
        Op::from(ReduceMean {
            axes: vec![usize::MAX],
            keepdims: true,
        }),
    ];
    for op in broken {
        assert!(op.infer(&[&shape]).is_err(), "{op:?}");
    }
}
