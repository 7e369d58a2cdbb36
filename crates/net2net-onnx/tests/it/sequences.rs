//! Recurrent layers, attention and rotary positions (`xtask/python/make_sequence_fixtures.py`), and
//! what exporters leave out or add around them.

use std::path::{Path, PathBuf};

use net2net_core::dims::Spaces;
use net2net_core::engine::evaluate;
use net2net_core::ops::Op;
use net2net_core::weights::Weights;
use net2net_kernels::Context;
use net2net_onnx::proto::{AttributeProto, NodeProto};
use net2net_onnx::{Document, Imported};

use super::growing::{both, deeper, grow, grow_to, wider};
use super::models::{Model, OPEN, int, text};
use super::round_trip::{grows, grows_within};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The nodes of some operators of a file.
fn nodes(path: &Path, operators: &[&str]) -> Vec<NodeProto> {
    let document = Document::open(path).unwrap();
    let all = document.model.graph.unwrap().node.into_iter();
    all.filter(|node| operators.contains(&node.op_type()))
        .collect()
}

fn number(node: &NodeProto, name: &str) -> i64 {
    let found = node.attribute.iter().find(|a| a.name() == name);
    found.map_or(0, AttributeProto::i)
}

/// Numbers that a node states before growth and after it by half.
fn stated(name: &str, operators: &[&str], attribute: &str) -> [Vec<i64>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let grown = folder.path().join("grown.onnx");
    grow_to(&fixture(name), &wider(), &grown);
    [&fixture(name), &grown].map(|path| {
        let nodes = nodes(path, operators);
        nodes.iter().map(|node| number(node, attribute)).collect()
    })
}

/// Two layers both ways, what they end with, and zeros of the old size to begin with.
#[test]
fn recurrent_layers_of_pytorch_grow_inside() {
    let layers = ["LSTM", "GRU", "RNN"];
    let sizes = stated("recurrent-torchscript.onnx", &layers, "hidden_size");
    assert_eq!(sizes, [[4, 4, 6, 6], [6, 6, 9, 9]]);
    let sizes = stated("recurrent-dynamo.onnx", &layers, "hidden_size");
    assert_eq!(sizes, [[4, 4, 6], [6, 6, 9]]);
    for name in ["recurrent-torchscript.onnx", "recurrent-dynamo.onnx"] {
        grow(&fixture(name), &deeper());
        grow(&fixture(name), &both());
    }
}

/// What onnxruntime computed, and what the engine does with the same numbers.
#[test]
fn layers_compute_what_onnxruntime_computes() {
    let golden = std::fs::read_to_string(fixture("sequences.txt")).unwrap();
    assert_eq!(golden.lines().count(), 4);
    for line in golden.lines() {
        let (name, numbers) = line.split_once(' ').unwrap();
        let expected: Vec<f64> = numbers.split(' ').map(|x| x.parse().unwrap()).collect();
        let document = Document::open(&fixture(name)).unwrap();
        let imported = Imported::read(&document).unwrap();
        let weights: Weights<f64> = imported.weights(&document).unwrap();
        let fed: Vec<Vec<f64>> = imported
            .graph
            .inputs()
            .iter()
            .map(|id| fed(&imported.graph.get(*id).shape.at(1)))
            .collect();
        let fed: Vec<&[f64]> = fed.iter().map(Vec::as_slice).collect();
        let mut cx = Context::new(1).unwrap();
        let found = evaluate(&mut cx, &imported.graph, &weights, 1, &fed).unwrap();
        assert_eq!(found[0].len(), expected.len(), "{name}");
        for (found, expected) in found[0].iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 5e-6 * (1.0 + expected.abs()),
                "{name}: {found} is not {expected}"
            );
        }
    }
}

/// `sin(i)` as the engine takes sequences, their features outermost; positions for a matrix.
fn fed(sizes: &[usize]) -> Vec<f64> {
    match *sizes {
        [n, t, i] => {
            let at = |row: usize| (row / (t * i), row / t % i, row % t);
            let places = (0..n * t * i).map(at);
            let sine = |(n, i_at, t_at): (usize, usize, usize)| ((n * t + t_at) * i + i_at) as f64;
            places.map(|place| sine(place).sin()).collect()
        }
        _ => (0..sizes.iter().product())
            .map(|at: usize| (at % 9) as f64)
            .collect(),
    }
}

/// Heads of keys and values with the heads of queries that share them.
#[test]
fn heads_of_attention_grow() {
    for name in ["attention-dynamo.onnx", "heads.onnx"] {
        for wanted in [wider(), deeper(), both()] {
            grow(&fixture(name), &wanted);
        }
    }
    let attention = |attribute| stated("heads.onnx", &["Attention"], attribute);
    assert_eq!(attention("kv_num_heads"), [[2, 1], [3, 1]]);
    assert_eq!(attention("q_num_heads"), [[4, 1], [9, 1]]);
    let rotary = stated("heads.onnx", &["RotaryEmbedding"], "num_heads");
    assert_eq!(rotary, [[4, 2], [9, 3]]);
}

#[test]
fn queries_and_keys_say_why_they_do_not_grow() {
    let document = Document::open(&fixture("heads.onnx")).unwrap();
    let imported = Imported::read(&document).unwrap();
    let spaces = Spaces::infer(&imported.graph);
    let all: Vec<String> = spaces
        .all()
        .iter()
        .filter_map(|s| s.refusal.as_ref().map(|r| r.why.clone()))
        .collect();
    for why in [
        "pairs of this axis are turned",
        "softmax divides by the sum over the keys",
    ] {
        assert!(
            all.iter().any(|own| own.contains(why)),
            "{why} is not in {all:?}"
        );
    }
}

/// A layer as TensorFlow's converter writes it: only the last state is named, and the first one is
/// made of the batch's size.
fn last_state(op: &str, gates: usize) -> Model {
    let mut inputs = vec!["steps", "r.w", "r.r", "r.b", "", "zeros"];
    let mut outputs = vec!["", "last"];
    if op == "LSTM" {
        inputs.push("zeros");
        outputs.push("");
    }
    Model::new(17)
        .input("x", &[OPEN, 5, 3])
        .weight("in.w", &[3, 4])
        .node("MatMul", &["x", "in.w"], &["in"], &[])
        .node("Relu", &["in"], &["units"], &[])
        .node(
            "Transpose",
            &["units"],
            &["steps"],
            &[super::models::ints("perm", &[1, 0, 2])],
        )
        .node("Shape", &["units"], &["shape"], &[])
        .ints("zero", &[0])
        .ints("one", &[1])
        .ints("six", &[6])
        .node("Gather", &["shape", "zero"], &["n"], &[])
        .node(
            "Concat",
            &["one", "n", "six"],
            &["state"],
            &[int("axis", 0)],
        )
        .node("ConstantOfShape", &["state"], &["zeros"], &[])
        .weight("r.w", &[1, gates * 6, 4])
        .weight("r.r", &[1, gates * 6, 6])
        .weight("r.b", &[1, 2 * gates * 6])
        .node(
            op,
            &inputs,
            &outputs,
            &[int("hidden_size", 6), text("direction", "reverse")],
        )
        .node("Squeeze", &["last", "zero"], &["features"], &[])
        .gemm("features", "logits", 6, 3)
        .output("logits")
}

#[test]
fn a_last_state_alone_grows() {
    for (op, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        let grown = grows(&last_state(op, gates));
        assert_eq!(grown.dims("r.r")[1], [1, gates as i64 * 9, 9], "{op}");
        assert_eq!(grown.dims("r.w")[1], [1, gates as i64 * 9, 6], "{op}");
        let nodes = grown.new.graph.unwrap().node;
        let layer = nodes.iter().find(|node| node.op_type() == op).unwrap();
        assert_eq!(number(layer, "hidden_size"), 9);
        assert_eq!(layer.input[5], "", "zeros of the old size are read");
    }
}

/// What stands in the way of a recurrent layer of a model.
fn refused(change: impl Fn(&mut NodeProto)) -> String {
    let mut model = last_state("GRU", 3);
    let node = model
        .graph()
        .node
        .iter_mut()
        .find(|node| node.op_type() == "GRU");
    change(node.unwrap());
    let model = model.stated("last", &[1, OPEN, 6]);
    let imported = Imported::read(&model.document()).unwrap();
    imported.opaque[0].why.clone()
}

#[test]
fn what_is_not_read_of_a_layer_is_said() {
    let lengths = refused(|node| node.input[4] = "n".to_owned());
    assert!(lengths.contains("lengths of their own"), "{lengths}");
    let clip = refused(|node| node.attribute.push(super::models::float("clip", 1.0)));
    assert!(clip.contains("`clip` is not read"), "{clip}");
    let function = refused(|node| node.attribute.push(text("activations", "Affine Tanh")));
    assert!(function.contains("`Affine` are not known"), "{function}");
    let computed = refused(|node| node.input[1] = "units".to_owned());
    assert!(computed.contains("do_constant_folding=True"), "{computed}");
}

#[test]
fn attention_over_a_cache_is_left_alone() {
    let model = Model::new(23)
        .input("x", &[OPEN, 5, 4])
        .input("past", &[OPEN, 1, 3, 4])
        .weight("in.w", &[4, 4])
        .node("MatMul", &["x", "in.w"], &["in"], &[])
        .node(
            "Attention",
            &["in", "in", "in", "", "past", "past"],
            &["y"],
            &[int("q_num_heads", 1), int("kv_num_heads", 1)],
        )
        .stated("y", &[OPEN, 5, 4])
        .weight("out.w", &[4, 3])
        .node("MatMul", &["y", "out.w"], &["logits"], &[])
        .output("logits");
    let imported = Imported::read(&model.document()).unwrap();
    let why = &imported.opaque[0].why;
    assert!(
        why.contains("`past_key`") && why.contains("without a cache"),
        "{why}"
    );
}

/// The mask of a dropout is named by some exporters, and read by nobody.
#[test]
fn an_output_that_nobody_reads_is_no_obstacle() {
    let model = |reader: bool| {
        let model = Model::new(13)
            .input("image", &[OPEN, 3, 8, 8])
            .conv("image", "conv0", 3, 4)
            .node("Dropout", &["conv0"], &["dropped", "mask"], &[])
            .relu("dropped", "relu0")
            .conv("relu0", "conv1", 4, 6)
            .relu("conv1", "relu1")
            .head("relu1", 6);
        match reader {
            true => model.node("Not", &["mask"], &["kept"], &[]).output("kept"),
            false => model,
        }
    };
    let grown = grows_within(&model(false), 1e-5);
    assert_eq!(grown.imported.opaque, []);
    grown.has(&["conv0", "conv1"]);
    let read = Imported::read(&model(true).document()).unwrap();
    assert_eq!(read.opaque[0].operator, "Dropout");
    assert!(
        read.opaque[0].why.contains("`mask`"),
        "{}",
        read.opaque[0].why
    );
}

#[test]
fn positions_are_fed_within_their_table() {
    let document = Document::open(&fixture("heads.onnx")).unwrap();
    let imported = Imported::read(&document).unwrap();
    let inputs = imported.random_inputs(2, 1).unwrap();
    assert!(inputs[1].iter().any(|at| *at > 1.0) && inputs[1].iter().all(|at| *at < 9.0));
    let rotary = |node: &&net2net_core::graph::Node| matches!(node.op, Op::RotaryEmbedding(_));
    assert_eq!(imported.graph.nodes().iter().filter(rotary).count(), 2);
}
