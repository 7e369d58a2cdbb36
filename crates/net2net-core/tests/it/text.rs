//! The text form: it parses back, and what is not a graph is an error with its line.

use net2net_core::dims::Spaces;
use net2net_core::graph::{Extent, Graph, ParseError, Shape};
use net2net_core::ops::{Gemm, OPERATORS, Op};
use net2net_core::weights::{initialize, stream};
use proptest::prelude::*;
use rand::RngExt;

use super::random_graph::random_net;

proptest! {
    #![proptest_config(super::config(300))]

    #[test]
    fn printed_graphs_parse_back(seed in any::<u64>(), blocks in 1..6usize) {
        let graph = random_net(seed, blocks, false).graph;
        let text = graph.to_string();
        let parsed: Graph = text.parse().unwrap();
        prop_assert_eq!(&parsed, &graph);
        prop_assert_eq!(parsed.to_string(), text);
        prop_assert_eq!(parsed.hash(), graph.hash());
    }

    #[test]
    fn any_name_survives(name in any::<String>(), other in "\\PC{0,12}") {
        prop_assume!(!name.is_empty() && name != "w" && name != "y");
        let mut graph = Graph::new(other);
        let x = graph.input(name, Shape::batched(&[2])).unwrap();
        let w = graph.parameter("w", &[2, 2]).unwrap();
        let y = graph.node("y", Gemm::default(), &[x, w]).unwrap();
        graph.output(y);
        prop_assert_eq!(graph.to_string().parse::<Graph>().unwrap(), graph);
    }

    #[test]
    fn texts_with_random_faults_never_panic(seed in any::<u64>(), faults in 1..4usize) {
        let mut text = random_net(seed, 2, false).graph.to_string();
        let mut random = stream(seed, "faults");
        for _ in 0..faults {
            text = damaged(&text, &mut random);
        }
        if let Ok(graph) = text.parse::<Graph>() {
            graph.validate().unwrap();
            prop_assert_eq!(&graph.to_string().parse::<Graph>().unwrap(), &graph);
            let spaces = Spaces::infer(&graph);
            prop_assert_eq!(spaces.axes(graph.outputs()[0]).len(), graph.get(graph.outputs()[0]).shape.rank());
            let _ = (graph.flops(), graph.parameter_roles());
            if graph.parameter_count() < 1 << 20 {
                initialize::<f32>(&graph, 0).check(&graph).unwrap();
            }
        }
    }
}

/// One random fault: in a byte, a number, a word or a line.
fn damaged(text: &str, random: &mut rand_chacha::ChaCha8Rng) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (a, b) = (
        random.random_range(0..lines.len()),
        random.random_range(0..lines.len()),
    );
    match random.random_range(0..6) {
        0 => lines.swap(a, b),
        1 => {
            lines.remove(a);
        }
        2 => lines.insert(a, lines[b].clone()),
        3 => {
            let numbers = [
                "0",
                "1",
                "7",
                "-1",
                "N",
                "2147483648",
                "1152921504606846976",
                "1e9",
                "",
            ];
            let with = numbers[random.random_range(0..numbers.len())];
            let digits: Vec<usize> = lines[a]
                .char_indices()
                .filter(|(_, c)| c.is_ascii_digit())
                .map(|(i, _)| i)
                .collect();
            if !digits.is_empty() {
                let at = digits[random.random_range(0..digits.len())];
                lines[a].replace_range(at..=at, with);
            }
        }
        4 => {
            let operators: Vec<&str> = OPERATORS.iter().map(|line| line.name).collect();
            let from = operators[random.random_range(0..operators.len())];
            let to = operators[random.random_range(0..operators.len())];
            lines[a] = lines[a].replace(from, to);
        }
        _ => {
            let mut bytes = lines[a].clone().into_bytes();
            let at = random.random_range(0..=bytes.len());
            let with = b"[](),;=\"\\{}uN0#\t \xc3\xa4"[random.random_range(0..19)];
            if at < bytes.len() && random.random_bool(0.7) {
                bytes[at] = with;
            } else {
                bytes.insert(at, with);
            }
            lines[a] = String::from_utf8_lossy(&bytes).into_owned();
        }
    }
    lines.join("\n")
}

#[test]
fn the_text_of_a_graph() {
    let text = r#"graph "a \"net\""
input images [N, 1, 8, 8]
param stem.weight [4, 1, 3, 3]
node stem [N, 4, 8, 8] = Conv(images, stem.weight; pads=[1, 1, 1, 1])
node pool [N, 4, 4, 4] = MaxPool(stem; kernel_shape=[2, 2], strides=[2, 2])
node gelu [N, 4, 4, 4] = Gelu(pool; approximate="tanh")
node leaky [N, 4, 4, 4] = LeakyRelu(gelu; alpha=0.2)
node "über\u{a}all" [N, 64] = Reshape(leaky; sizes=[64])
param fc.weight [2, 64]
node fc [N, 2] = Gemm("über\u{a}all", fc.weight; transB=1)
output fc
"#;
    let graph: Graph = text.parse().unwrap();
    assert_eq!(graph.to_string(), text);
    assert_eq!(graph.name(), "a \"net\"");
    assert!(graph.find("über\nall").is_ok());
}

#[test]
fn attributes_that_are_left_out_have_onnx_defaults() {
    let text = "graph g
input x [N, 2, 3, 3]
param w [2, 2, 1, 1]
param c [2]
node conv [N, 2, 3, 3] = Conv(x, w; dilations=[1, 1], group=1, pads=[0, 0, 0, 0], strides=[1, 1])
node norm [N, 2, 3, 3] = BatchNormalization(conv, c, c, c, c; epsilon=1e-5, momentum=0.9)
node leaky [N, 2, 3, 3] = LeakyRelu(norm; alpha=0.01)
node gelu [N, 2, 3, 3] = Gelu(leaky; approximate=\"none\")
node drop [N, 2, 3, 3] = Dropout(gelu; ratio=0.5)
node cat [N, 4, 3, 3] = Concat(drop, drop; axis=1)
node pool [N, 4, 2, 2] = AveragePool(cat; count_include_pad=0, kernel_shape=[2, 2])
node flat [N, 16] = Flatten(pool)
param f [16, 3]
node fc [N, 3] = Gemm(flat, f; transB=0)
output fc
";
    let graph: Graph = text.parse().unwrap();
    for node in graph.nodes() {
        let written: Vec<String> = node
            .op
            .write()
            .iter()
            .map(|(key, _)| key.to_owned())
            .collect();
        let needed = if matches!(node.op, Op::AveragePool(_)) {
            vec!["kernel_shape"]
        } else {
            vec![]
        };
        assert_eq!(written, needed, "{}", node.op.name());
    }
    let short: String = graph.to_string();
    assert_eq!(short.parse::<Graph>().unwrap(), graph);
    assert!(short.contains("= Conv(x, w)\n") && short.contains("= Gemm(flat, f)\n"));
}

/// The line that an error names, and what it says.
fn fault(text: &str) -> (usize, String) {
    let error = text.parse::<Graph>().unwrap_err();
    let said = error.to_string();
    match error {
        ParseError::Syntax { line, .. } | ParseError::Graph { line, .. } => (line, said),
        _ => (0, said),
    }
}

#[test]
fn what_is_not_a_graph_is_an_error_with_its_line() {
    let head = "graph g\ninput x [N, 4]\nparam w [3, 4]\n";
    let image = "graph g\ninput x [N, 2, 4, 4]\nparam w [3, 2, 3, 3]\n";
    let cases: &[(&str, &str, usize, &str)] = &[
        ("", "", 1, "empty"),
        ("", "# only a comment\n", 1, "empty"),
        ("", "input x [N, 4]\n", 1, "starts with `graph NAME`"),
        ("", "graph\n", 1, "expected a name"),
        ("", "graph g\n", 0, "no output"),
        ("", "graph g h\n", 1, "end of the line"),
        (head, "graph h\n", 4, "expected `input`"),
        (head, "param w [3, 4]\n", 4, "used twice"),
        (head, "param v [N, 4]\n", 4, "must not have the batch"),
        (head, "param v [3, 0]\n", 4, "empty axis"),
        (head, "param v [1152921504606846976]\n", 4, "2^40"),
        (
            head,
            "param v [1099511627776, 1099511627776, 1099511627776]\n",
            4,
            "2^40",
        ),
        (
            head,
            "param v [18446744073709551616]\n",
            4,
            "expected a size",
        ),
        (head, "param v [3, -4]\n", 4, "expected a size"),
        (head, "param v [3, N]\n", 4, "inner axis"),
        (head, "param v [3, 4\n", 4, "expected `]`"),
        (head, "param \"\" [3]\n", 4, "empty"),
        (head, "param \"v [3]\n", 4, "closing"),
        (head, "param \"\\u{d800}\" [3]\n", 4, "escape"),
        (head, "param \"\\u{110000}\" [3]\n", 4, "escape"),
        (head, "param \"\\uä\" [3]\n", 4, "escape"),
        (
            head,
            "node y [N, 3] = Gemm(x, w; transB=1\n",
            4,
            "expected `)`",
        ),
        (
            head,
            "node y [N, 3] = Gemn(x, w; transB=1)\n",
            4,
            "unknown operator `Gemn`",
        ),
        (
            head,
            "node y [N, 3] = Gemm(x, w; transC=1)\n",
            4,
            "unknown attribute `transC`",
        ),
        (
            head,
            "node y [N, 3] = Gemm(x, w; transB=1, transB=1)\n",
            4,
            "given twice",
        ),
        (head, "node y [N, 3] = Gemm(x, w; transB=2)\n", 4, "0 or 1"),
        (
            head,
            "node y [N, 4] = Gemm(x, w; transB=1)\n",
            4,
            "is said to have shape",
        ),
        (
            head,
            "node y [N, 3] = Gemm(y, w; transB=1)\n",
            4,
            "no value `y`",
        ),
        (
            head,
            "node y [N, 3] = Gemm(z, w; transB=1)\nnode z [N, 3] = Relu(y)\n",
            4,
            "no value `z`",
        ),
        (
            head,
            "node y [N, 3] = Gemm(x; transB=1)\n",
            4,
            "2 to 3 inputs",
        ),
        (
            head,
            "node y [N, 3], z [N, 3] = Gemm(x, w; transB=1)\n",
            4,
            "1 outputs",
        ),
        (
            head,
            "node x [N, 3] = Gemm(x, w; transB=1)\n",
            4,
            "used twice",
        ),
        (head, "output y\n", 4, "no value `y`"),
        (
            head,
            "\n\n# here\n node y [N, 3] = Gemm(x, w; transB=1) !\n",
            7,
            "end of the line",
        ),
        (
            head,
            "node y [N, 4] = LeakyRelu(x; alpha=1e999)\n",
            4,
            "expected a number",
        ),
        (
            head,
            "node y [N, 4] = LeakyRelu(x; alpha=nan)\n",
            4,
            "expected a number",
        ),
        (head, "node y [N, 4] = Dropout(x; ratio=1)\n", 4, "below 1"),
        (
            head,
            "node y [N, 2, 2] = Reshape(x; sizes=[2, 3])\n",
            4,
            "cannot take",
        ),
        (
            head,
            "node y [N, 4] = Reshape(x; sizes=[4611686018427387904, 4])\n",
            4,
            "cannot take",
        ),
        (head, "node y [N, 4] = Reshape(x)\n", 4, "missing"),
        (
            head,
            "node y [N, 4] = Concat(x; axis=9)\n",
            4,
            "cannot be concatenated",
        ),
        (
            head,
            "node y [N, 4] = Concat(x; axis=0)\n",
            4,
            "cannot be concatenated",
        ),
        (
            image,
            "node y [N, 3, 2, 2] = Conv(x, w; strides=[0, 1])\n",
            4,
            "between 1",
        ),
        (
            image,
            "node y [N, 3, 2, 2] = Conv(x, w; pads=[-1, 0, 0, 0])\n",
            4,
            "between 0",
        ),
        (
            image,
            "node y [N, 3, 2, 2] = Conv(x, w; pads=[2147483648, 0, 2147483648, 2147483648])\n",
            4,
            "2^40",
        ),
        (
            image,
            "node y [N, 3, 2, 2] = Conv(x, w; dilations=[2147483648, 1])\n",
            4,
            "does not fit",
        ),
        (
            image,
            "node y [N, 3, 2, 2] = Conv(x, w; group=2147483648)\n",
            4,
            "channels",
        ),
        (image, "node y [N, 2, 1, 1] = MaxPool(x)\n", 4, "missing"),
        (
            image,
            "node y [N, 2, 1, 1] = MaxPool(x; kernel_shape=[2147483648, 2147483648])\n",
            4,
            "window",
        ),
        (
            image,
            "node y [N, 2, 4, 4] = MaxPool(x; kernel_shape=[2, 2], pads=[2, 2, 2, 2])\n",
            4,
            "padding alone",
        ),
        (
            image,
            "node y [N, 2, 4, 4] = AveragePool(x; kernel_shape=[2, 2], dilations=[2])\n",
            4,
            "dilations must have 2 entries",
        ),
    ];
    for (head, text, line, why) in cases {
        let (found, said) = fault(&format!("{head}{text}"));
        assert_eq!(found, *line, "{text}: {said}");
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn shapes_say_what_is_wrong_with_them() {
    assert!(
        Shape::new(vec![Extent::Fixed(2), Extent::Batch])
            .check()
            .is_err()
    );
    assert!(Shape::fixed(&[usize::MAX, usize::MAX]).check().is_err());
    assert!(Shape::fixed(&[]).check().is_ok());
}
