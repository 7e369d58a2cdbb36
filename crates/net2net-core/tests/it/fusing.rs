//! What one kernel computes together is what the nodes compute one after the other.

use net2net_core::engine::{OptimizerState, Trainer, TrainerOptions, evaluate};
use net2net_core::graph::Graph;
use net2net_kernels::Context;

use super::parting::{LABELS, options};
use super::random_graph::{BATCH, inputs, random_weights, slices};

/// Convolutions from `[N, 6, sizes]` to `[N, 6, result]`, each with other nodes behind it: normalisation,
/// sum with another convolution, rectifier, or some of them. What ends each is one of the last five outputs.
fn net(sizes: &str, weight: &str, attributes: &str, result: &str, bias: bool, all: bool) -> Graph {
    let shift = if bias { ", shift" } else { "" };
    let conv = format!("[N, 6, {result}] = Conv(x, w{shift}{attributes})");
    let norm = format!("[N, 6, {result}] = BatchNormalization(");
    let inner = [
        "sum",
        "normed",
        "bare",
        "first",
        "first_normed",
        "joined",
        "second",
        "second_joined",
    ];
    let inner = inner.map(|name| format!("output {name}\n"));
    let text = format!(
        "graph g\ninput x [N, 6, {sizes}]\nparam w {weight}\nparam shift [6]\n\
         node sum {conv}\nparam scale [6]\nparam beta [6]\nparam mean [6]\nparam variance [6]\n\
         node normed {norm}sum, scale, beta, mean, variance)\n\
         node cut [N, 6, {result}] = Relu(normed)\n\
         node bare {conv}\nnode bare_cut [N, 6, {result}] = Relu(bare)\n\
         node first {conv}\nnode first_normed {norm}first, beta, scale, mean, variance)\n\
         node late {conv}\nnode joined [N, 6, {result}] = Add(late, first_normed)\n\
         node joined_cut [N, 6, {result}] = Relu(joined)\n\
         node second {conv}\nnode second_joined [N, 6, {result}] = Add(second, cut)\n\
         node second_cut [N, 6, {result}] = Relu(second_joined)\n\
         node third {conv}\nnode third_normed {norm}third, scale, scale, mean, variance)\n\
         node third_joined [N, 6, {result}] = Add(third, third_normed)\n\
         {}output cut\noutput bare_cut\noutput joined_cut\noutput second_cut\noutput third_joined\n",
        if all { inner.concat() } else { String::new() }
    );
    text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Values that are outputs are computed each by itself, so the two networks differ in nothing else.
#[test]
fn a_convolution_with_what_follows_it_is_the_same_as_each_by_itself() {
    let cases = [
        ("5, 4", "[6, 6, 3, 3]", "; pads=[1, 1, 1, 1]", "5, 4"),
        ("5, 4", "[6, 6, 1, 1]", "; strides=[2, 1]", "3, 4"),
        (
            "5, 4",
            "[6, 1, 3, 3]",
            "; group=6, pads=[1, 1, 1, 1]",
            "5, 4",
        ),
        ("5, 4", "[6, 3, 2, 2]", "; group=2", "4, 3"),
        ("7", "[6, 6, 3]", "", "5"),
        ("3, 2, 4", "[6, 6, 2, 1, 3]", "", "2, 2, 2"),
    ];
    for (sizes, weight, attributes, result) in cases {
        for bias in [false, true] {
            let graph = |all| net(sizes, weight, attributes, result, bias, all);
            let (apart, together) = (graph(true), graph(false));
            let weights = random_weights(&apart, 3);
            let x = inputs(&apart, BATCH, 4);
            let mut cx = Context::new(2).unwrap();
            let mut run = |graph| evaluate(&mut cx, graph, &weights, BATCH, &slices(&x)).unwrap();
            let (apart, together) = (run(&apart), run(&together));
            assert_eq!((apart.len(), together.len()), (13, 5));
            for (apart, together) in apart[8..].iter().zip(&together) {
                assert!(apart.iter().any(|y| *y > 0.0) && apart.iter().any(|y| *y <= 0.0));
                for (a, b) in apart.iter().zip(together) {
                    assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} and {b}");
                }
            }
        }
    }
}

/// Blocks with shortcuts: the sum of a normalised value and what was there before, in either order, of
/// two normalised values, of a value and its own normalisation, one that nothing rectifies, and one with what
/// needs no gradient.
fn blocks(all: bool) -> Graph {
    let mut text = String::from(
        "graph g\ninput x [N, 3, 4, 4]\nparam w0 [6, 3, 3, 3]\n\
         node stem [N, 6, 4, 4] = Conv(x, w0; pads=[1, 1, 1, 1])\n\
         node wide [N, 6, 4, 4] = Concat(x, x; axis=1)\n",
    );
    let mut inner = Vec::new();
    let mut block = |name: &str, from: &str, sum: &str, relu: bool| {
        let image = "[N, 6, 4, 4]";
        let channels = if from == "x" { 3 } else { 6 };
        for part in ["a", "b"] {
            let p = format!("{name}_{part}");
            text += &format!(
                "param {p}_w [6, {channels}, 3, 3]\nnode {p}_conv {image} = Conv({from}, {p}_w; pads=[1, 1, 1, 1])\n\
                 param {p}_s [6]\nparam {p}_h [6]\nparam {p}_m [6]\nparam {p}_v [6]\n\
                 node {p} {image} = BatchNormalization({p}_conv, {p}_s, {p}_h, {p}_m, {p}_v)\n"
            );
        }
        text += &format!("node {name}_sum {image} = Add({sum})\n");
        inner.extend([
            format!("{name}_a"),
            format!("{name}_b"),
            format!("{name}_sum"),
        ]);
        if relu {
            text += &format!("node {name} {image} = Relu({name}_sum)\n");
        }
    };
    block("zero", "x", "zero_a, wide", true);
    block("one", "zero", "one_a, stem", true);
    block("two", "one", "one, two_b", true);
    block("three", "two", "three_a, three_b", true);
    block("four", "three", "four_a_conv, four_a", true);
    block("five", "four", "five_b, four", false);
    text += "node pooled [N, 6, 1, 1] = GlobalAveragePool(five_sum)\nnode flat [N, 6] = Flatten(pooled)\n\
             param last [4, 6]\nnode logits [N, 4] = Gemm(flat, last; transB=1)\noutput logits\n";
    for name in inner.iter().filter(|_| all) {
        text += &format!("output {name}\n");
    }
    text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn blocks_with_shortcuts_learn_as_each_node_by_itself_does() {
    let (apart, together) = (blocks(true), blocks(false));
    let weights = random_weights(&apart, 5);
    let x = &inputs(&apart, BATCH, 6)[0];
    let gradients = |graph: &Graph| {
        let state = OptimizerState::default();
        let mut trainer = Trainer::new(graph, &weights, &state, options(0.0)).unwrap();
        (
            trainer.gradients_by_name(x, &LABELS).unwrap(),
            trainer.memory(),
        )
    };
    let (((loss, apart), more), ((same, together), less)) =
        (gradients(&apart), gradients(&together));
    assert!((loss - same).abs() < 1e-12, "{loss} and {same}");
    assert!(less.planned < more.planned);
    for ((name, apart), (_, together)) in apart.iter().zip(together.iter()) {
        for (a, b) in apart.data().iter().zip(together.data()) {
            assert!((a - b).abs() <= 1e-11, "{name}: {a} and {b}");
        }
    }
}

/// The shift of a normalisation that is computed behind the convolution, and a filter that something else reads
/// between the convolution and the sum that it is computed with.
#[test]
fn what_comes_between_a_convolution_and_what_it_is_computed_with_is_there() {
    let graph = |all: bool| -> Graph {
        let text = format!(
            "graph g\ninput x [N, 3, 4, 4]\nparam w [3, 3, 3, 3]\nparam s [3]\nparam h [3]\nparam m [3]\nparam v [3]\n\
             node c [N, 3, 4, 4] = Conv(x, w; pads=[1, 1, 1, 1])\nnode t [3] = Tanh(h)\n\
             node n [N, 3, 4, 4] = BatchNormalization(c, s, t, m, v)\n\
             node d [N, 3, 4, 4] = Conv(n, w; pads=[1, 1, 1, 1])\nnode square [3, 3, 3, 3] = Mul(w, w)\n\
             node e [N, 3, 4, 4] = Conv(x, square; pads=[1, 1, 1, 1])\n\
             node sum [N, 3, 4, 4] = Add(e, d)\noutput sum\n{}",
            if all {
                "output c\noutput d\noutput e\n"
            } else {
                ""
            }
        );
        text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
    };
    let (apart, together) = (graph(true), graph(false));
    let weights = random_weights(&apart, 3);
    let x = inputs(&apart, BATCH, 4);
    let mut cx = Context::new(1).unwrap();
    let mut run = |graph| evaluate(&mut cx, graph, &weights, BATCH, &slices(&x)).unwrap();
    let (apart, together) = (run(&apart), run(&together));
    for (a, b) in apart[0].iter().zip(&together[0]) {
        assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} and {b}");
    }
}

/// Learnt convolutions in a row with a normalisation behind each, most of them rectified: full ones with and without a bias, a
/// depthwise one, one in groups that strides, a pointwise one, and one whose normalised output is read twice.
fn row(all: bool) -> Graph {
    let mut text = String::from("graph g\ninput x [N, 3, 16, 16]\n");
    let mut inner = Vec::new();
    let mut unit = |name: &str,
                    from: &str,
                    weight: &str,
                    attributes: &str,
                    bias: bool,
                    relu: bool| {
        let side = if name < "d" { 16 } else { 8 };
        let image = format!("[N, 16, {side}, {side}]");
        let (shift, read) = match bias {
            true => (format!("param {name}_b [16]\n"), format!(", {name}_b")),
            false => (String::new(), String::new()),
        };
        text += &format!(
            "param {name}_w {weight}\n{shift}node {name}_conv {image} = Conv({from}, {name}_w{read}{attributes})\n\
             param {name}_s [16]\nparam {name}_h [16]\nparam {name}_m [16]\nparam {name}_v [16]\n\
             node {name}_norm {image} = BatchNormalization({name}_conv, {name}_s, {name}_h, {name}_m, {name}_v)\n"
        );
        inner.extend([format!("{name}_conv"), format!("{name}_norm")]);
        if relu {
            text += &format!("node {name} {image} = Relu({name}_norm)\n");
            inner.push(name.to_owned());
        }
    };
    let same = "; pads=[1, 1, 1, 1]";
    unit("a", "x", "[16, 3, 3, 3]", same, true, true);
    unit(
        "b",
        "a",
        "[16, 1, 3, 3]",
        "; group=16, pads=[1, 1, 1, 1]",
        false,
        true,
    );
    unit("c", "b", "[16, 16, 1, 1]", "", true, false);
    unit(
        "d",
        "c_norm",
        "[16, 8, 3, 3]",
        "; group=2, strides=[2, 2], pads=[1, 1, 1, 1]",
        true,
        true,
    );
    unit("e", "d", "[16, 16, 3, 3]", same, false, true);
    unit("f", "e", "[16, 16, 3, 3]", same, false, true);
    unit("g", "f", "[16, 16, 1, 1]", "", false, true);
    text += "node sum [N, 16, 8, 8] = Add(g, f)\n\
             node pooled [N, 16, 1, 1] = GlobalAveragePool(sum)\nnode flat [N, 16] = Flatten(pooled)\n\
             param last [4, 16]\nnode logits [N, 4] = Gemm(flat, last; transB=1)\noutput logits\n";
    for name in inner.iter().filter(|_| all) {
        text += &format!("output {name}\n");
    }
    text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Signals or volumes: two convolutions in a row that share their filter, shift, scales and statistics, with a third between
/// that has them in other places.
fn shared(sizes: &str, kernel: &str, pads: &str, all: bool) -> Graph {
    let image = format!("[N, 4, {sizes}]");
    let conv = |from: &str| format!("{image} = Conv({from}, w, h; pads=[{pads}])");
    let norm = |from: &str| format!("{image} = BatchNormalization({from}, s, h, m, v)");
    let ones = vec!["1"; sizes.split(',').count()].join(", ");
    let text = format!(
        "graph g\ninput x {image}\nparam w [4, 4, {kernel}]\nparam h [4]\nparam s [4]\nparam m [4]\nparam v [4]\n\
         node a_conv {}\nnode a_norm {}\nnode a {image} = Relu(a_norm)\n\
         node b_conv {}\nnode b {image} = BatchNormalization(b_conv, h, s, m, v)\n\
         node c_conv {}\nnode c_norm {}\nnode c {image} = Relu(c_norm)\n\
         node pooled [N, 4, {ones}] = GlobalAveragePool(c)\nnode logits [N, 4] = Flatten(pooled)\noutput logits\n{}",
        conv("x"),
        norm("a_conv"),
        conv("a"),
        conv("b"),
        norm("c_conv"),
        match all {
            true =>
                "output a_conv\noutput a_norm\noutput a\noutput b_conv\noutput b\noutput c_conv\noutput c_norm\noutput c\n",
            false => "",
        }
    );
    text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// What two steps of training make of the weights, one node at a time and together, with one to three threads.
fn learn_alike([apart, together]: [&Graph; 2], batch: usize, seed: u64) {
    let weights = random_weights(apart, seed);
    let images = &inputs(apart, batch, 9)[0];
    let labels: Vec<u32> = (0..batch as u32).map(|i| i % 4).collect();
    let learn = |graph: &Graph, threads: usize| {
        let options = TrainerOptions {
            batch,
            threads,
            ..options(0.9)
        };
        let state = OptimizerState::default();
        let mut trainer = Trainer::new(graph, &weights, &state, options).unwrap();
        for _ in 0..2 {
            trainer.step(images, &labels, 0.1).unwrap();
        }
        (trainer.weights(), trainer.memory())
    };
    let (expected, more) = learn(apart, 1);
    for threads in [1, 2, 3] {
        let (actual, less) = learn(together, threads);
        assert!(less.planned < more.planned * 3 / 4);
        for (name, apart) in expected.iter() {
            let together = actual.get(name).unwrap();
            for (a, b) in apart.data().iter().zip(together.data()) {
                assert!((a - b).abs() <= 1e-10, "{name}, {batch}: {a} and {b}");
            }
        }
    }
}

/// The batches are of several pieces for each thread, of less than one, and of fewer images than threads are given parts of.
#[test]
fn a_row_of_convolutions_learns_as_each_node_by_itself_does() {
    for batch in [2, 13, 40] {
        learn_alike([&row(true), &row(false)], batch, 8);
    }
    for (sizes, kernel, pads) in [
        ("9", "3", "1, 1"),
        ("3, 4, 5", "3, 1, 3", "1, 0, 1, 1, 0, 1"),
    ] {
        let graph = |all| shared(sizes, kernel, pads, all);
        learn_alike([&graph(true), &graph(false)], 12, 3);
    }
}

/// A sum with what the convolution reads, and a normalisation whose scales stand elsewhere for a mean.
#[test]
fn what_a_kernel_would_read_twice_and_parameters_of_two_roles_learn_alike() {
    let graph = |all: bool| -> Graph {
        let text = format!(
            "graph g\ninput x [N, 4, 6, 6]\nparam w0 [4, 4, 1, 1]\nparam w [4, 4, 3, 3]\n\
             param s [4]\nparam h [4]\nparam m [4]\nparam v [4]\nparam v2 [4]\nparam m3 [4]\nparam v3 [4]\n\
             node y [N, 4, 6, 6] = Conv(x, w0)\n\
             node c [N, 4, 6, 6] = Conv(y, w; pads=[1, 1, 1, 1])\n\
             node n [N, 4, 6, 6] = BatchNormalization(c, s, h, m, v)\n\
             node t [N, 4, 6, 6] = BatchNormalization(x, h, h, s, v2)\n\
             node u [N, 4, 6, 6] = Add(n, t)\n\
             node d [N, 4, 6, 6] = Conv(u, w; pads=[1, 1, 1, 1])\n\
             node e [N, 4, 6, 6] = BatchNormalization(d, h, h, m3, v3)\n\
             node f [N, 4, 6, 6] = Add(u, e)\nnode z [N, 4, 6, 6] = Relu(f)\n\
             node pooled [N, 4, 1, 1] = GlobalAveragePool(z)\nnode logits [N, 4] = Flatten(pooled)\noutput logits\n{}",
            if all {
                "output c\noutput n\noutput t\noutput u\noutput d\noutput e\noutput f\noutput z\n"
            } else {
                ""
            }
        );
        text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
    };
    learn_alike([&graph(true), &graph(false)], 9, 4);
}
