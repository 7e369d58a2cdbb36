//! Normalisations, matrix products and convolutions of every rank: their numbers, how they grow
//! and what they refuse.

use net2net_core::apply::{ApplyError, apply};
use net2net_core::dims::Spaces;
use net2net_core::engine::evaluate;
use net2net_core::graph::Graph;
use net2net_core::ops::Role;
use net2net_core::plan::{Mapping, Plan, Step, Symmetry, Widen, deepen, widen};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_core::weights::{Tensor, Weights};
use net2net_kernels::Context;

use super::random_graph::{BATCH, inputs, random_weights, slices};

fn read(text: &str) -> Graph {
    let graph: Graph = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
    graph.validate().unwrap();
    graph
}

/// Applies one widening, and the function stays.
fn keeps(graph: &Graph, step: Widen) -> Graph {
    let weights = random_weights(graph, 1);
    let told = format!("{step:?}\n{graph}");
    let plan = Plan::new(graph, 0, vec![Step::Widen(step)]);
    let growth = apply(graph, &plan).unwrap_or_else(|e| panic!("{e}\n{told}"));
    let grown = growth.weights(&weights).unwrap();
    let x = inputs(graph, BATCH, 1);
    let (old, new) = ((graph, &weights), (growth.graph(), &grown));
    let evidence = compare(&mut Context::new(1).unwrap(), old, new, BATCH, &slices(&x)).unwrap();
    assert!(
        evidence
            .iter()
            .all(|e| e.max_rel < TOLERANCE && e.scale > 0.0),
        "{evidence:?}\n{told}"
    );
    growth.graph().clone()
}

/// Widens a space to `size` units, each new one a copy of a random one.
fn grows(graph: &Graph, space: &str, size: usize) -> Graph {
    let spaces = Spaces::infer(graph);
    let step = widen(
        &spaces,
        space,
        size,
        Mapping::Random,
        Symmetry::default(),
        3,
    );
    keeps(graph, step.unwrap_or_else(|e| panic!("{e}\n{graph}")))
}

/// Why a space cannot grow to a size, or at all.
fn refusal(graph: &Graph, space: &str, size: usize) -> String {
    let spaces = Spaces::infer(graph);
    widen(
        &spaces,
        space,
        size,
        Mapping::Random,
        Symmetry::default(),
        3,
    )
    .unwrap_err()
    .why
}

/// A plan that copies the first unit only, which `widen` itself would not make.
fn uneven(graph: &Graph, space: &str) -> ApplyError {
    let spaces = Spaces::infer(graph);
    let id = spaces.find(space).unwrap();
    let old = spaces.all()[id.index()].size.fixed().unwrap() as u32;
    let mut shares = vec![1.0; old as usize + 1];
    (shares[0], shares[old as usize]) = (0.5, 0.5);
    let step = Widen {
        space: space.to_owned(),
        source: (0..old).chain([0]).collect(),
        shares,
        noise: None,
    };
    apply(graph, &Plan::new(graph, 0, vec![Step::Widen(step)])).unwrap_err()
}

/// The output for weights and one input by hand; images are channels-last.
fn run(text: &str, weights: &[(&str, &[f64])], x: &[f64]) -> Vec<f64> {
    let graph = read(text);
    let mut all: Weights<f64> = random_weights(&graph, 1);
    for (name, data) in weights {
        let shape = all.get(name).unwrap().shape().to_vec();
        all.insert(*name, Tensor::new(shape, data.to_vec()).unwrap());
    }
    let mut cx = Context::new(1).unwrap();
    evaluate(&mut cx, &graph, &all, 1, &[x]).unwrap().remove(0)
}

fn close(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{actual:?}");
    let far = actual
        .iter()
        .zip(expected)
        .find(|(a, e)| (*a - *e).abs() > 1e-9);
    assert_eq!(far, None, "{actual:?} instead of {expected:?}");
}

/// Six features through a normalisation, with and without a batch.
fn layer_net(norm: &str, lead: &str) -> Graph {
    read(&format!(
        "graph g\ninput x {lead}, 3]\nparam a [3, 6]\nparam ab [6]\nnode h {lead}, 6] = Gemm(x, a, ab)\n\
         param s [6]\nparam t [6]\nnode norm {lead}, 6] = {norm}\nnode r {lead}, 6] = Relu(norm)\n\
         param b [6, 4]\nnode y {lead}, 4] = Gemm(r, b)\noutput y\n"
    ))
}

#[test]
fn normalised_features_grow_by_whole_multiples() {
    for (norm, lead) in [
        ("LayerNormalization(h, s, t; epsilon=0.01)", "[N"),
        ("LayerNormalization(h, s; axis=1)", "[5"),
        ("LayerNormalization(h, s, t)", "[N"),
        ("RMSNormalization(h, s; axis=-1)", "[N"),
    ] {
        let graph = layer_net(norm, lead);
        let grown = grows(&graph, "h", 12);
        grows(&grown, "h", 36);
        assert!(refusal(&graph, "h", 9).contains("a mean is taken"));
        let error = uneven(&graph, "h");
        assert!(error.to_string().contains("equally many copies"), "{error}");
    }
}

#[test]
fn layers_of_several_axes_are_normalised_over_all_of_them() {
    let graph = read(
        "graph g\ninput x [N, 3]\nparam a [3, 6]\nnode h [N, 6] = Gemm(x, a)\n\
         node split [N, 2, 3] = Reshape(h; sizes=[2, 3])\nparam s [2, 3]\n\
         node norm [N, 2, 3] = LayerNormalization(split, s; axis=1)\n\
         node flat [N, 6] = Flatten(norm)\nparam b [6, 4]\nnode y [N, 4] = Gemm(flat, b)\noutput y\n",
    );
    for (space, size) in [("h#0", 4), ("h#1", 6)] {
        let grown = grows(&graph, space, size);
        assert_eq!(grown.get(grown.find("s").unwrap()).shape.elements(1), 12);
        assert!(uneven(&graph, space).to_string().contains("equally many"));
    }
}

/// Six channels of images through a normalisation.
fn image_net(norm: &str) -> Graph {
    read(&format!(
        "graph g\ninput x [N, 2, 4, 3]\nparam a [6, 2, 3, 3]\n\
         node h [N, 6, 4, 3] = Conv(x, a; pads=[1, 1, 1, 1])\nparam s [6]\nparam t [6]\n\
         node norm [N, 6, 4, 3] = {norm}\nnode r [N, 6, 4, 3] = Relu(norm)\n\
         param b [2, 6, 1, 1]\nnode y [N, 2, 4, 3] = Conv(r, b)\noutput y\n"
    ))
}

#[test]
fn groups_grow_by_any_map_and_their_channels_by_whole_multiples() {
    let graph = image_net("GroupNormalization(h, s, t; num_groups=3)");
    let grown = grows(&graph, "h#0", 5);
    assert!(grown.to_string().contains("num_groups=5"), "{grown}");
    let wider = grows(&grown, "h#1", 4);
    assert!(wider.to_string().contains("num_groups=5"), "{wider}");
    grows(&wider, "h#0", 7);
    assert!(uneven(&graph, "h#1").to_string().contains("equally many"));
    for (norm, size) in [
        ("GroupNormalization(h, s, t; num_groups=1)", 12),
        ("GroupNormalization(h, s, t; num_groups=6)", 8),
        ("InstanceNormalization(h, s, t)", 8),
    ] {
        grows(&image_net(norm), "h", size);
    }
    let one = image_net("GroupNormalization(h, s, t; num_groups=1)");
    assert!(refusal(&one, "h", 8).contains("a mean is taken"));
}

#[test]
fn groups_of_a_concatenation_are_counted_part_by_part() {
    let graph = read(
        "graph g\ninput x [N, 2, 2, 2]\nparam a [4, 2, 1, 1]\nnode a1 [N, 4, 2, 2] = Conv(x, a)\n\
         param b [2, 2, 1, 1]\nnode b1 [N, 2, 2, 2] = Conv(x, b)\n\
         node cat [N, 6, 2, 2] = Concat(a1, b1)\nparam s [6]\nparam t [6]\n\
         node norm [N, 6, 2, 2] = GroupNormalization(cat, s, t; num_groups=3)\n\
         param c [2, 6, 1, 1]\nnode y [N, 2, 2, 2] = Conv(norm, c)\noutput y\n",
    );
    let names: Vec<String> = Spaces::infer(&graph)
        .growable()
        .map(|space| space.name.clone())
        .collect();
    let (mut grown, mut groups) = (graph, 3);
    for name in names {
        let spaces = Spaces::infer(&grown);
        let space = &spaces.all()[spaces.find(&name).unwrap().index()];
        let old = space.size.fixed().unwrap();
        groups += if space.uniform { 0 } else { old };
        grown = grows(&grown, &name, 2 * old);
    }
    assert_eq!(groups, 6);
    assert!(grown.to_string().contains("num_groups=6"), "{grown}");
}

#[test]
fn channels_that_are_divided_by_their_neighbours_cannot_grow() {
    let graph = read(
        "graph g\ninput x [N, 2, 2, 2]\nparam a [4, 2, 1, 1]\nnode h [N, 4, 2, 2] = Conv(x, a)\n\
         node l [N, 4, 2, 2] = LRN(h; size=3, alpha=0.5, beta=0.6, bias=2.0)\n\
         param b [2, 4, 1, 1]\nnode y [N, 2, 2, 2] = Conv(l, b)\noutput y\n",
    );
    assert!(refusal(&graph, "h", 8).contains("its neighbours"));
}

#[test]
fn products_of_matrices_grow_where_one_is_a_parameter() {
    // A layer on tokens, then one with a matrix for each head, then one from the left.
    let graph = read(
        "graph g\ninput x [N, 5, 3]\nparam a [3, 4]\nnode h [N, 5, 4] = MatMul(x, a)\n\
         node r [N, 5, 4] = Relu(h)\nparam b [4, 6]\nnode i [N, 5, 6] = MatMul(r, b)\n\
         param l [7, 5]\nnode j [N, 7, 6] = MatMul(l, i)\nparam m [2, 7]\n\
         node k [N, 2, 6] = MatMul(m, j)\nparam c [6, 3]\nnode y [N, 2, 3] = MatMul(k, c)\noutput y\n",
    );
    for (space, size) in [("h:2", 7), ("i:2", 11), ("j", 9)] {
        grows(&graph, space, size);
    }
    let heads = read(
        "graph g\ninput x [N, 5, 3]\nparam q [2, 3, 4]\nnode e [N, 1, 5, 3] = Reshape(x; sizes=[1, 5, 3])\n\
         node h [N, 2, 5, 4] = MatMul(e, q)\nparam o [2, 4, 3]\nnode p [N, 2, 5, 3] = MatMul(h, o)\n\
         node f [N, 30] = Flatten(p)\nparam w [30, 3]\nnode y [N, 3] = Gemm(f, w)\noutput y\n",
    );
    grows(&heads, "h:3", 6);
    grows(&heads, "h", 5);
    // Without a batch, and by a vector.
    let fixed = read(
        "graph g\ninput x [5, 3]\nparam a [3, 4]\nnode h [5, 4] = MatMul(x, a)\nparam v [4]\n\
         node y [5] = MatMul(h, v)\noutput y\n",
    );
    grows(&fixed, "h", 9);
    let two = read(
        "graph g\ninput x [N, 4, 3]\nparam a [3, 4]\nnode h [N, 4, 4] = MatMul(x, a)\n\
         node y [N, 4, 4] = MatMul(h, h)\noutput y\n",
    );
    assert!(refusal(&two, "h", 6).contains("two activations"));
    let scores = read(
        "graph g\ninput x [N, 4, 3]\ninput z [N, 6, 4]\nparam a [3, 6]\nnode h [N, 4, 6] = MatMul(x, a)\n\
         node y [N, 4, 4] = MatMul(h, z)\noutput y\n",
    );
    assert!(Spaces::infer(&scores).find("h:2").is_err());
    let free = read(
        "graph g\ninput x [N, 4, 3]\nparam a [3, 6]\nnode h [N, 4, 6] = MatMul(x, a)\n\
         param b [3, 4]\nnode k [N, 4, 4] = MatMul(x, b)\nnode t [N, 4, 6] = MatMul(k, h)\n\
         node s [N, 24] = Flatten(t)\nparam w [24, 3]\nnode y [N, 3] = Gemm(s, w)\noutput y\n",
    );
    grows(&free, "h:2", 9);
    // Of the other operand alone it would be enough, but these are the tokens of the input.
    assert!(refusal(&free, "h", 6).contains("graph input"));
}

#[test]
fn a_product_is_numpys() {
    let text = "graph g\ninput x [N, 2, 2]\nparam w [2]\nnode y [N, 2] = MatMul(x, w)\noutput y\n";
    // Rank 3 is channels-last on the way in: this is [[1, 2], [3, 4]].
    close(
        &run(text, &[("w", &[10.0, 1.0])], &[1.0, 3.0, 2.0, 4.0]),
        &[12.0, 34.0],
    );
    for wrong in [
        "graph g\ninput x [N, 2]\nparam w [3, 2]\nnode y [N, 2] = MatMul(x, w)\noutput y\n",
        "graph g\ninput x [N, 2]\ninput z [N, 2, 2]\nnode y [N, N, 2] = MatMul(x, z)\noutput y\n",
        "graph g\ninput x [N, 4, 2]\nparam w [3, 2, 2]\nparam v [2, 2, 2]\n\
         node y [3, 2, 2] = MatMul(w, v)\noutput y\n",
        "graph g\ninput x [N]\nparam w [3, 2]\nnode y [2] = MatMul(x, w)\noutput y\n",
    ] {
        assert!(wrong.parse::<Graph>().is_err(), "{wrong}");
    }
}

#[test]
fn a_linear_layer_has_factors_and_a_bias_of_two_shapes() {
    for bias in ["[2]", "[1, 2]"] {
        let text = format!(
            "graph g\ninput x [N, 2]\nparam w [2, 2]\nparam b {bias}\n\
             node y [N, 2] = Gemm(x, w, b; alpha=0.5, beta=-3.0)\noutput y\n"
        );
        let weights: [(&str, &[f64]); 2] = [("w", &[1.0, 2.0, 3.0, 4.0]), ("b", &[1.0, 10.0])];
        close(&run(&text, &weights, &[1.0, 2.0]), &[3.5 - 3.0, 5.0 - 30.0]);
    }
    let hidden = read(
        "graph g\ninput x [N, 2]\nparam w [2, 4]\nparam b [1, 4]\n\
         node h [N, 4] = Gemm(x, w, b; alpha=0.5, beta=2.0)\nparam v [3, 4]\n\
         node y [N, 3] = Gemm(h, v; alpha=3.0, transB=1)\noutput y\n",
    );
    grows(&hidden, "h", 7);
    for wrong in ["; transA=1", "; alpha=\"x\""] {
        let text = format!(
            "graph g\ninput x [N, 2]\nparam w [2, 2]\nnode y [N, 2] = Gemm(x, w{wrong})\noutput y\n"
        );
        assert!(text.parse::<Graph>().is_err(), "{wrong}");
    }
}

/// A layer after another has a filter of these sides, and changes nothing.
fn deepens(graph: &Graph, layer: &str, kernel: &[usize]) {
    let weights = random_weights(graph, 3);
    let x = inputs(graph, BATCH, 3);
    let mut cx = Context::new(1).unwrap();
    let insert = deepen(&mut cx, graph, &weights, layer, None, 1, BATCH, &slices(&x)).unwrap();
    let plan = Plan::new(graph, 0, vec![Step::Insert(insert.clone())]);
    let growth = apply(graph, &plan).unwrap();
    let weight = growth
        .graph()
        .find(&format!("{}.weight", insert.name))
        .unwrap();
    assert_eq!(growth.graph().get(weight).shape.at(1)[2..], *kernel);
    let grown = growth.weights(&weights).unwrap();
    let (old, new) = ((graph, &weights), (growth.graph(), &grown));
    for output in compare(&mut cx, old, new, BATCH, &slices(&x)).unwrap() {
        assert!(output.max_rel < TOLERANCE, "{output:?}");
    }
}

#[test]
fn signals_and_volumes_are_convolved_and_grow() {
    let signal = "graph g\ninput x [N, 2, 9]\nparam a [4, 2, 3]\nparam ab [4]\n\
         node h [N, 4, 5] = Conv(x, a, ab; pads=[1, 1], strides=[2])\nnode r [N, 4, 5] = Relu(h)\n\
         node p [N, 4, 3] = MaxPool(r; ceil_mode=1, kernel_shape=[2], strides=[2])\n\
         param b [4, 1, 2]\nnode d [N, 4, 2] = Conv(p, b; group=4)\n\
         node q [N, 4, 1] = GlobalAveragePool(d)\nparam c [3, 4, 1]\n\
         node y [N, 3, 1] = Conv(q, c)\noutput y\n";
    grows(&read(signal), "h", 7);
    assert_eq!(read(signal).to_string(), signal);
    let volume = "graph g\ninput x [N, 2, 3, 4, 3]\nparam a [4, 2, 2, 3, 3]\n\
         node h [N, 4, 4, 2, 1] = Conv(x, a; pads=[1, 1, 0, 1, 0, 0], strides=[1, 2, 1])\n\
         node p [N, 4, 3, 2, 1] = AveragePool(h; ceil_mode=1, kernel_shape=[2, 1, 1])\n\
         param b [6, 2, 1, 1, 1]\nnode i [N, 6, 3, 2, 1] = Conv(p, b; group=2)\nparam c [3, 6, 1, 1, 1]\n\
         node y [N, 3, 3, 2, 1] = Conv(i, c)\noutput y\n";
    let graph = read(volume);
    assert_eq!(graph.to_string(), volume);
    for (space, size) in [("h#0", 3), ("h#1", 5), ("i#1", 4)] {
        grows(&graph, space, size);
    }
    deepens(&graph, "h", &[3, 3, 3]);
    deepens(&read(signal), "h", &[3]);
    close(
        &run(
            "graph g\ninput x [N, 1, 4]\nparam w [1, 1, 2]\n\
             node y [N, 1, 3] = Conv(x, w; dilations=[2], pads=[1, 0])\noutput y\n",
            &[("w", &[1.0, 10.0])],
            &[1.0, 2.0, 3.0, 4.0],
        ),
        &[20.0, 31.0, 42.0],
    );
    for wrong in ["strides=[1, 1]", "pads=[1]", "dilations=[1, 2, 3]"] {
        let text = format!(
            "graph g\ninput x [N, 1, 9]\nparam w [1, 1, 1]\nnode y [N, 1, 9] = Conv(x, w; {wrong})\noutput y\n"
        );
        let fine = wrong == "strides=[1, 1]";
        assert_eq!(text.parse::<Graph>().is_ok(), fine, "{wrong}");
    }
}

#[test]
fn transposed_convolutions_spread_and_grow() {
    let weights: [(&str, &[f64]); 1] = [("w", &[1.0, 10.0, 100.0])];
    for (attributes, expected) in [
        ("strides=[2]", &[1.0, 10.0, 102.0, 20.0, 200.0][..]),
        ("strides=[2], pads=[1, 1]", &[10.0, 102.0, 20.0]),
        (
            "strides=[2], pads=[1, 1], output_padding=[1]",
            &[10.0, 102.0, 20.0, 200.0],
        ),
        (
            "strides=[2], output_padding=[1]",
            &[1.0, 10.0, 102.0, 20.0, 200.0, 0.0],
        ),
        ("dilations=[2]", &[1.0, 2.0, 10.0, 20.0, 100.0, 200.0]),
    ] {
        let text = format!(
            "graph g\ninput x [N, 1, 2]\nparam w [1, 1, 3]\n\
             node y [N, 1, {}] = ConvTranspose(x, w; {attributes})\noutput y\n",
            expected.len()
        );
        close(&run(&text, &weights, &[1.0, 2.0]), expected);
    }
    let text = "graph g\ninput x [N, 2, 3, 3]\nparam a [4, 2, 1, 1]\nnode h [N, 4, 3, 3] = Conv(x, a)\n\
         param b [4, 3, 3, 2]\nparam bb [6]\nnode t [N, 6, 6, 6] = ConvTranspose(h, b, bb; \
         group=2, output_padding=[1, 0], pads=[1, 0, 1, 0], strides=[2, 2])\nnode r [N, 6, 6, 6] = Relu(t)\n\
         param c [6, 2, 1, 1]\nnode y [N, 2, 6, 6] = ConvTranspose(r, c)\noutput y\n";
    let graph = read(text);
    assert_eq!(graph.to_string(), text);
    for (space, size) in [("h#0", 3), ("h#1", 5), ("t#1", 4)] {
        let grown = grows(&graph, space, size);
        let groups = if space == "h#0" { 3 } else { 2 };
        assert!(grown.to_string().contains(&format!("group={groups}")));
    }
    for wrong in [
        "output_padding=[1]",
        "pads=[2, 2]",
        "group=2",
        "strides=[2, 2]",
        "pads=[1]",
    ] {
        let text = format!(
            "graph g\ninput x [N, 1, 2]\nparam w [1, 1, 3]\n\
             node y [N, 1, 1] = ConvTranspose(x, w; {wrong})\noutput y\n"
        );
        assert!(text.parse::<Graph>().is_err(), "{wrong}");
    }
}

/// Worked out by hand from the formulas of ONNX (operator set 19).
#[test]
fn pools_count_windows_beyond_the_padding_if_asked() {
    let pool = |op: &str, attributes: &str, out: usize| {
        let text = format!(
            "graph g\ninput x [N, 1, 5]\nnode y [N, 1, {out}] = {op}(x; kernel_shape=[2], strides=[2]{attributes})\noutput y\n"
        );
        run(&text, &[], &[1.0, 2.0, 3.0, 4.0, 6.0])
    };
    close(&pool("MaxPool", "", 2), &[2.0, 4.0]);
    close(&pool("MaxPool", ", ceil_mode=1", 3), &[2.0, 4.0, 6.0]);
    // A window that would begin in the far padding is none.
    close(
        &pool("MaxPool", ", ceil_mode=1, pads=[1, 1]", 3),
        &[1.0, 3.0, 6.0],
    );
    close(&pool("AveragePool", ", ceil_mode=1", 3), &[1.5, 3.5, 6.0]);
    close(
        &pool("AveragePool", ", ceil_mode=1, count_include_pad=1", 3),
        &[1.5, 3.5, 6.0],
    );
    close(
        &pool("AveragePool", ", pads=[1, 0], count_include_pad=1", 3),
        &[0.5, 2.5, 5.0],
    );
    close(&pool("AveragePool", ", pads=[1, 0]", 3), &[1.0, 2.5, 5.0]);
    close(&pool("AveragePool", ", dilations=[3]", 1), &[2.5]);
    close(
        &pool("AveragePool", ", dilations=[3], pads=[1, 0]", 2),
        &[3.0, 4.0],
    );
}

#[test]
fn attributes_are_read_and_written_with_onnxs_defaults() {
    let norm = |op: &str| layer_net(op, "[N").to_string();
    assert!(
        norm("LayerNormalization(h, s; axis=-1, epsilon=1e-5)")
            .contains("LayerNormalization(h, s)")
    );
    assert!(norm("RMSNormalization(h, s; axis=1)").contains("(h, s; axis=1)"));
    let text = "graph g\ninput x [N, 4, 2, 2]\nnode l [N, 4, 2, 2] = LRN(x; size=3)\n\
         param s [4]\nparam t [4]\nnode y [N, 4, 2, 2] = GroupNormalization(l, s, t; epsilon=0.1, num_groups=2)\n\
         node p [N, 4, 1, 1] = AveragePool(y; ceil_mode=1, count_include_pad=1, dilations=[1, 1], kernel_shape=[2, 2])\noutput p\n";
    let graph = read(text);
    assert_eq!(graph.to_string(), text.replace("dilations=[1, 1], ", ""));
    for wrong in [
        "LRN(x)",
        "LRN(x; size=0)",
        "GroupNormalization(x, s, s; num_groups=3)",
        "GroupNormalization(x, s, s)",
        "GroupNormalization(x, s; num_groups=2)",
        "LayerNormalization(x, s; axis=4)",
        "LayerNormalization(x, s; axis=-5)",
        "LayerNormalization(x, s; axis=0)",
        "LayerNormalization(x, s; axis=1)",
        "RMSNormalization(x, s, s; axis=3)",
        "RMSNormalization(x, s; axis=3, epsilon=-1.0)",
        "InstanceNormalization(x, x, s)",
    ] {
        let text = format!(
            "graph g\ninput x [N, 4, 2, 2]\nparam s [4]\nnode y [N, 4, 2, 2] = {wrong}\noutput y\n"
        );
        assert!(text.parse::<Graph>().is_err(), "{wrong}");
    }
}

#[test]
fn constants_are_neither_trained_nor_written() {
    let told = |role: Role| (role.is_trained(), role.is_running(), role.decays());
    assert_eq!(told(Role::Constant), (false, false, false));
    assert_eq!(told(Role::RunningMean), (false, true, false));
    assert_eq!(told(Role::Weight), (true, false, true));
}
