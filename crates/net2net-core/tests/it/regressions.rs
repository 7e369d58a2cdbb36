//! Faults that were found, each by its name.

use net2net_core::apply::apply;
use net2net_core::dims::Spaces;
use net2net_core::engine::{OptimizerState, Trainer};
use net2net_core::graph::Graph;
use net2net_core::ops::{Concat, Lrn, MaxPool, Op, Window};
use net2net_core::plan::{Insert, Layer, Mapping, Plan, Step, Symmetry, deepen, widen};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_kernels::Context;

use super::growth::slice;
use super::parting::{LABELS, options};
use super::random_graph::{BATCH, Net, inputs, random_weights, slices};

pub fn net(text: &str) -> Net {
    let graph: Graph = text.parse().unwrap();
    let weights = random_weights(&graph, 1);
    Net { graph, weights }
}

/// Applies a plan, and the function stays.
pub fn grow(net: &Net, steps: Vec<Step>) -> Net {
    let plan = Plan::new(&net.graph, 0, steps);
    let growth = apply(&net.graph, &plan).unwrap();
    let weights = growth.weights(&net.weights).unwrap();
    let x = inputs(&net.graph, BATCH, 1);
    let mut cx = Context::new(1).unwrap();
    let (old, new) = ((&net.graph, &net.weights), (growth.graph(), &weights));
    let evidence = compare(&mut cx, old, new, BATCH, &slices(&x)).unwrap();
    assert!(
        evidence.iter().all(|e| e.max_rel < TOLERANCE),
        "{evidence:?}"
    );
    Net {
        graph: growth.graph().clone(),
        weights,
    }
}

/// The factor took over the output's name, and with it the name of the output's own weight.
#[test]
fn a_classifier_can_be_factored_whose_weight_is_named_after_it() {
    let mut net = net(
        "graph g\ninput x [N, 3]\nparam fc.weight [2, 3]\nparam fc.bias [2]\n\
         node fc [N, 2] = Gemm(x, fc.weight, fc.bias; transB=1)\noutput fc\n",
    );
    let mut cx = Context::new(1).unwrap();
    let x = inputs(&net.graph, BATCH, 1);
    for depth in 1..=3 {
        let insert = deepen(
            &mut cx,
            &net.graph,
            &net.weights,
            "fc",
            None,
            0,
            BATCH,
            &slices(&x),
        )
        .unwrap();
        net = grow(&net, vec![Step::Insert(insert)]);
        assert!(net.graph.find(&format!("fc.deeper{depth}.weight")).is_ok());
        assert_eq!(
            net.graph.node_name(net.graph.node_ids().last().unwrap()),
            "fc"
        );
    }
}

/// Both labels of a product of ones were left out, so that nothing was there to grow.
#[test]
fn one_channel_can_become_many() {
    let one = net(
        "graph g\ninput x [N, 1, 3, 3]\nparam a.w [1, 1, 1, 1]\nnode a [N, 1, 3, 3] = Conv(x, a.w)\n\
         node r [N, 1, 3, 3] = Relu(a)\nparam b.w [1, 1, 3, 3]\nparam b.b [1]\n\
         node b [N, 1, 1, 1] = Conv(r, b.w, b.b)\nnode flat [N, 1] = Flatten(b)\n\
         param c [1, 3]\nparam c.b [3]\nnode out [N, 3] = Gemm(flat, c, c.b)\noutput out\n",
    );
    let spaces = Spaces::infer(&one.graph);
    let names: Vec<&str> = spaces.growable().map(|space| space.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let wider = |name| {
        let step = widen(&spaces, name, 4, Mapping::Random, Symmetry::default(), 2);
        Step::Widen(step.unwrap())
    };
    let grown = grow(&one, vec![wider("a"), wider("b")]);
    let sizes = |name: &str| grown.graph.get(grown.graph.find(name).unwrap()).shape.at(1);
    assert_eq!(sizes("b.w"), [4, 4, 3, 3]);
}

/// Listing the logits twice zeroed the gradient that the loss had left for them.
#[test]
fn an_output_that_is_declared_twice_still_trains() {
    let once = net(super::parting::PERCEPTRON);
    let twice = net(&format!("{}output b\n", super::parting::PERCEPTRON));
    let x = inputs(&once.graph, BATCH, 1);
    let gradients = |net: &Net| {
        let state = OptimizerState::default();
        let mut trainer = Trainer::new(&net.graph, &net.weights, &state, options(0.0)).unwrap();
        trainer.gradients_by_name(&x[0], &LABELS).unwrap()
    };
    assert_eq!(gradients(&once), gradients(&twice));
}

/// Positions of copies of the first pass were not those of the second's network.
#[test]
fn copies_are_found_after_later_passes_moved_them() {
    let before = net(
        "graph g\ninput x [N, 2]\nparam a.w [2, 2]\nnode a [N, 2] = Gemm(x, a.w; transB=1)\n\
         param b.w [2, 2]\nnode b [N, 2] = Gemm(x, b.w; transB=1)\n\
         node cat [N, 4] = Concat(a, b)\nnode r [N, 4] = Relu(cat)\n\
         param d.w [4, 2]\nnode d [N, 4] = Gemm(x, d.w; transB=1)\nnode sum [N, 4] = Add(r, d)\n\
         param c [4, 3]\nnode out [N, 3] = Gemm(sum, c)\noutput out\n",
    );
    let spaces = Spaces::infer(&before.graph);
    let wider = |name| {
        let step = widen(&spaces, name, 5, Mapping::Uniform, Symmetry::Even, 2);
        Step::Widen(step.unwrap())
    };
    let between = Step::Insert(Insert {
        after: "a".into(),
        name: "between".into(),
        layer: Layer::Factor { kernel: vec![1, 1] },
    });
    // The factor cuts `a` in two, and the space that goes on has another name.
    let plan = Plan::new(&before.graph, 0, vec![wider("b"), between]);
    let middle = apply(&before.graph, &plan).unwrap();
    let names = Spaces::infer(middle.graph());
    let last = widen(&names, "between", 5, Mapping::Uniform, Symmetry::Even, 2).unwrap();
    let mut steps = plan.steps;
    steps.push(Step::Widen(last));
    let growth = apply(&before.graph, &Plan::new(&before.graph, 0, steps)).unwrap();
    let weights = growth.weights(&before.weights).unwrap();
    // `d.w` has b's copies behind a's units, which are more now.
    let d = weights.get("d.w").unwrap();
    let mut found = 0;
    for copies in growth
        .copies()
        .iter()
        .filter(|copies| copies.parameter == "d.w")
    {
        for (original, copy) in &copies.pairs {
            assert_eq!(
                slice(d, copies.axis, *original),
                slice(d, copies.axis, *copy)
            );
            found += 1;
        }
    }
    assert_eq!(found, 6);
}

/// Each line doubles the parts of an axis; a small file filled the memory.
#[test]
fn an_axis_of_very_many_parts_is_frozen_and_not_followed() {
    let mut text =
        "graph g\ninput x [N, 1]\nparam w [1, 2]\nnode y0 [N, 2] = Gemm(x, w)\n".to_owned();
    for n in 1..=34usize {
        text += &format!(
            "node y{n} [N, {}] = Concat(y{}, y{})\n",
            2usize << n,
            n - 1,
            n - 1
        );
    }
    text += "output y34\n";
    let graph: Graph = text.parse().unwrap();
    let spaces = Spaces::infer(&graph);
    assert!(spaces.find("y0").is_err());
}

/// A scale that is computed makes its gradient flow on; so would a running mean's, but training
/// does not read that, and what it left was never written.
#[test]
fn a_computed_running_mean_has_no_gradient() {
    let net = net(
        "graph g\ninput x [N, 3]\nparam s [3]\nnode t [3] = Tanh(s)\nparam v [3]\n\
         param w [3, 3]\nnode a [N, 3] = Gemm(x, w)\n\
         node y [N, 3] = BatchNormalization(a, t, s, t, v)\noutput y\n",
    );
    let x = inputs(&net.graph, BATCH, 1);
    let mut trainer = Trainer::new(
        &net.graph,
        &net.weights,
        &OptimizerState::default(),
        options(0.0),
    )
    .unwrap();
    let first = trainer.gradients_by_name(&x[0], &LABELS).unwrap();
    for _ in 0..3 {
        assert_eq!(trainer.gradients_by_name(&x[0], &LABELS).unwrap(), first);
    }
}

/// A window of two taps three apart steps over an image of two: its maximum was that of nothing.
#[test]
fn a_dilated_window_cannot_lie_in_the_padding() {
    let text = "graph g\ninput x [N, 1, 2, 2]\n\
         node y [N, 1, 3, 2] = MaxPool(x; kernel_shape=[2, 1], pads=[2, 0, 2, 0], dilations=[3, 1])\n\
         output y\n";
    let error = text.parse::<Graph>().unwrap_err().to_string();
    assert!(error.contains("padding alone"), "{error}");
}

/// Attributes that no file can have come from programs, and were divided by.
#[test]
fn attributes_of_zero_are_refused_by_the_graph_too() {
    let shape = net2net_core::graph::Shape::batched(&[1, 4, 4]);
    let window = |strides: [usize; 2], dilations: [usize; 2]| {
        let window = Window::default().with_strides(strides);
        window.with_dilations(dilations)
    };
    let max = |kernel: [usize; 2], window| Op::from(MaxPool::new(kernel, window));
    let zeros = [
        max([0, 1], Window::default()),
        max([1, 1], window([0, 1], [1, 1])),
        max([1, 1], window([1, 1], [1, 0])),
        max([usize::MAX, 1], window([1, 1], [usize::MAX, 1])),
        MaxPool::new([2], Window::default()).into(),
        Concat { axis: 0 }.into(),
        Lrn {
            size: 0,
            alpha: 1.0,
            beta: 1.0,
            bias: 1.0,
        }
        .into(),
    ];
    for op in zeros {
        assert!(op.infer(&[&shape]).is_err(), "{op:?}");
    }
}

/// An axis of 1 at the end of a product was lost, and could be asked to grow.
#[test]
fn a_trailing_axis_of_one_that_disappears_cannot_grow() {
    let text = "graph g\ninput x [N, 3]\nparam w [3, 4]\nnode a [N, 4] = Gemm(x, w)\n\
         node b [N, 4, 1] = Reshape(a; sizes=[4, 1])\nnode r [N, 4, 1] = Relu(b)\n\
         node c [N, 2, 2] = Reshape(r; sizes=[2, 2])\nnode f [N, 4] = Flatten(c)\n\
         param v [4, 3]\nnode out [N, 3] = Gemm(f, v)\noutput out\n";
    let mut net = net(text);
    let names = |net: &Net| -> Vec<String> {
        Spaces::infer(&net.graph)
            .growable()
            .map(|space| space.name.clone())
            .collect()
    };
    assert_eq!(names(&net), ["a#0", "a#1"]);
    for name in names(&net) {
        let spaces = Spaces::infer(&net.graph);
        let step = widen(&spaces, &name, 5, Mapping::Random, Symmetry::default(), 3).unwrap();
        net = grow(&net, vec![Step::Widen(step)]);
    }
}

/// Keys and queries of one weight, which is split into them: as `nn.MultiheadAttention` is exported
/// where it reads another sequence. Each product had the shares folded into the whole weight.
const CROSS: &str = "graph g\ninput x [N, 5, 3]\nparam stem [3, 4]\n\
     node s [N, 5, 4] = MatMul(x, stem)\nnode l [N, 5, 4] = Tanh(s)\n\
     param w [6, 4]\nnode w0 [2, 4], w1 [4, 4] = Split(w; axis=0, split=[2, 4])\n\
     node t0 [4, 2] = Transpose(w0; perm=[1, 0])\nnode t1 [4, 4] = Transpose(w1; perm=[1, 0])\n\
     node q [N, 5, 2] = MatMul(l, t0)\nnode k [N, 5, 4] = MatMul(l, t1)\n\
     node a [N, 5, 6] = Concat(q, k; axis=2)\nparam z.w [6, 3]\n";

#[test]
fn a_weight_that_is_split_takes_the_shares_once() {
    let net = net(&format!(
        "{CROSS}node z [N, 5, 3] = MatMul(a, z.w)\noutput z\n"
    ));
    let spaces = Spaces::infer(&net.graph);
    for (size, symmetry) in [
        (8, Symmetry::default()),
        (5, Symmetry::Uneven { spread: 0.9 }),
        (7, Symmetry::ZeroSum { std: 0.1 }),
    ] {
        let step = widen(&spaces, "s:2", size, Mapping::Random, symmetry, 3).unwrap();
        grow(&net, vec![Step::Widen(step)]);
    }
}

/// What the second product reads could take the shares too, but the first one has only the weight.
#[test]
fn a_split_weight_takes_the_shares_for_all_products_if_it_does_for_one() {
    let text = CROSS.replace(
        "param w [6, 4]",
        "param scale [4]\nnode m [N, 5, 4] = Mul(l, scale)\nparam w [6, 4]",
    );
    let text = text.replace("MatMul(l, t1)", "MatMul(m, t1)");
    let net = net(&format!(
        "{text}node z [N, 5, 3] = MatMul(a, z.w)\noutput z\n"
    ));
    let spaces = Spaces::infer(&net.graph);
    for size in [5, 8] {
        let symmetry = Symmetry::Uneven { spread: 0.9 };
        let step = widen(&spaces, "s:2", size, Mapping::Random, symmetry, 3).unwrap();
        grow(&net, vec![Step::Widen(step)]);
    }
}

/// Half of the weight is read by nothing that counts copies again.
#[test]
fn a_weight_of_which_a_part_takes_no_shares_is_refused() {
    let text = CROSS.replace(
        "node k [N, 5, 4] = MatMul(l, t1)",
        "node k [N, 5, 4] = Add(l, w1x)",
    );
    let text = text.replace(
        "node t1 [4, 4] = Transpose(w1; perm=[1, 0])",
        "param m [1, 4]\nnode w1x [1, 4] = MatMul(m, w1)",
    );
    let net = net(&format!(
        "{text}node z [N, 5, 3] = MatMul(a, z.w)\noutput z\n"
    ));
    let spaces = Spaces::infer(&net.graph);
    let why = spaces.find("s:2").unwrap_err().why;
    assert!(why.contains("only a part of `w`"), "{why}");
}
