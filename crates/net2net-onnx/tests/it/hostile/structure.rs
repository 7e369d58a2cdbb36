//! Names, order, circles, nesting.

use std::path::Path;

use net2net_onnx::Document;
use net2net_onnx::proto::{GraphProto, NodeProto};
use prost::Message;
use prost::bytes::Bytes;

use super::{read, refused};
use crate::models::{Model, OPEN, floats, info, subgraph};

fn start() -> Model {
    Model::new(13).input("x", &[OPEN, 5])
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    for bytes in [&b""[..], b"hello, this is text", &[0xff; 64], &[0x0a; 7]] {
        let error = read(Bytes::copy_from_slice(bytes)).unwrap_err().to_string();
        assert!(
            error.contains("broken.onnx is not a valid ONNX file"),
            "{error}"
        );
    }
    refused(&Model::new(13), &["its graph is empty"]);
}

#[test]
fn circles_and_nodes_in_the_wrong_order_are_named() {
    let circle = start()
        .node("Add", &["x", "b"], &["a"], &[])
        .relu("a", "b")
        .output("b");
    refused(&circle, &["/Add_0", "`b`", "circle"]);
    let itself = start().node("Add", &["x", "a"], &["a"], &[]).output("a");
    refused(&itself, &["/Add_0", "`a`"]);
    let unsorted = start().relu("a", "b").relu("x", "a").output("b");
    refused(&unsorted, &["/Relu_0", "not in order"]);
}

#[test]
fn names_that_are_there_twice_are_named() {
    let twice = start().relu("x", "a").relu("x", "a").output("a");
    refused(&twice, &["/Relu_1", "`a`"]);
    refused(&start().relu("x", "x").output("x"), &["/Relu_0", "`x`"]);
    let tensors = start().weight("w", &[5]).weight("w", &[5]);
    let tensors = tensors.node("Add", &["x", "w"], &["y"], &[]).output("y");
    refused(&tensors, &["`w`", "twice"]);
    let inputs = start().input("x", &[OPEN, 5]).relu("x", "y").output("y");
    refused(&inputs, &["`x`"]);
    let nameless = start().tensor(floats("", &[1], &[0.0]));
    refused(&nameless.relu("x", "y").output("y"), &["no name"]);
    let outputs = start().node("Split", &["x"], &["a", "a"], &[]).output("a");
    refused(&outputs, &["`a`"]);
}

#[test]
fn what_nothing_makes_is_named() {
    let missing = start().node("MatMul", &["x", "weight"], &["y"], &[]);
    refused(
        &missing.output("y"),
        &["/MatMul_0", "`weight`", "nothing makes"],
    );
    refused(&start().relu("x", "y").output("z"), &["`z`"]);
    refused(&start().relu("x", "y"), &["no output"]);
    let mut unnamed = start().relu("x", "y").output("y");
    unnamed.graph().node[0].name = None;
    unnamed.graph().node[0].input[0] = "gone".to_owned();
    refused(&unnamed, &["node `y` (Relu)"]);
}

#[test]
fn an_output_that_is_a_constant_or_an_input_is_no_fault_of_the_program() {
    let constant = start().weight("w", &[5]).output("w");
    let _ = read(constant.bytes());
    let passed = start().output("x");
    let _ = read(passed.bytes());
    let known = start()
        .ints("k", &[1])
        .node("Identity", &["k"], &["y"], &[]);
    let _ = read(known.output("y").bytes());
}

#[test]
fn nodes_without_inputs_outputs_or_operator_are_no_fault_of_the_program() {
    for op in OPERATORS {
        for (inputs, outputs) in [
            (&[][..], &["y"][..]),
            (&["x"], &[]),
            (&[""], &["y"]),
            (&["x"], &[""]),
            (&["x", "", ""], &["y", ""]),
            (&["x"], &["y", "z", "q"]),
            (&["x", "x", "x", "x", "x", "x"], &["y"]),
        ] {
            let model = start()
                .node(op, inputs, outputs, &[])
                .relu("x", "r")
                .output("r");
            read(model.bytes()).unwrap();
        }
    }
}

/// Every operator that the importer knows by name, and one that it does not.
pub(super) const OPERATORS: [&str; 62] = [
    "",
    "Nothing",
    "Constant",
    "Identity",
    "Cast",
    "Shape",
    "Size",
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "BatchNormalization",
    "Dropout",
    "Gemm",
    "MatMul",
    "LayerNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "Clip",
    "Softmax",
    "LogSoftmax",
    "Concat",
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Slice",
    "Split",
    "Pad",
    "Expand",
    "Tile",
    "Gather",
    "Resize",
    "Upsample",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceProd",
    "Sum",
    "Max",
    "Min",
    "PRelu",
    "LpNormalization",
    "Swish",
    "Relu",
    "Add",
    "Mul",
    "Div",
    "Pow",
    "Where",
    "Range",
    "ConstantOfShape",
    "Neg",
    "Floor",
    "DepthToSpace",
    "SpaceToDepth",
    "LRN",
    "If",
    "Loop",
    "Equal",
];

#[test]
fn subgraphs_deeper_than_anybody_builds_them_are_refused() {
    let mut graph = GraphProto::default();
    for _ in 0..200 {
        graph = GraphProto {
            node: vec![NodeProto {
                op_type: Some("If".to_owned()),
                attribute: vec![subgraph("then_branch", graph)],
                ..NodeProto::default()
            }],
            ..GraphProto::default()
        };
    }
    let mut model = start().relu("x", "y").output("y");
    model.graph().node.extend(graph.node);
    let error = read(model.bytes()).unwrap_err().to_string();
    assert!(error.contains("recursion"), "{error}");
}

#[test]
fn long_chains_of_nodes_are_read() {
    let mut model = start();
    let mut last = "x".to_owned();
    for index in 0..50_000 {
        let next = format!("v{index}");
        let graph = model.graph();
        graph.node.push(NodeProto {
            op_type: Some(["Relu", "Identity", "Neg"][index % 3].to_owned()),
            input: vec![last],
            output: vec![next.clone()],
            ..NodeProto::default()
        });
        last = next;
    }
    read(model.output(&last).bytes()).unwrap();
}

#[test]
fn a_graph_of_inputs_without_types_is_no_fault_of_the_program() {
    let mut model = start().relu("x", "y").output("y");
    model.graph().input[0].r#type = None;
    refused(&model, &["/Relu_0", "`x`"]);
    let mut model = start().relu("x", "y").output("y");
    model.graph().input[0] = info("x", 8, &[OPEN, 5]);
    let _ = read(model.bytes());
}

#[test]
fn a_model_without_operator_sets_is_read_as_an_old_one() {
    let mut model = start().relu("x", "y").output("y");
    model.0.opset_import.clear();
    read(model.bytes()).unwrap();
    for version in [i64::MIN, -1, 0, i64::MAX] {
        read(
            Model::new(version)
                .input("x", &[OPEN, 5])
                .relu("x", "y")
                .output("y")
                .bytes(),
        )
        .unwrap();
    }
}

#[test]
fn a_file_cut_anywhere_is_no_fault_of_the_program() {
    let whole = super::mutated::model().0.encode_to_vec();
    for length in (0..whole.len()).step_by(7) {
        let _ = read(Bytes::copy_from_slice(&whole[..length]));
    }
    let document = Document::decode(Bytes::from(whole), Path::new("a"), Path::new(""));
    assert!(document.is_ok());
}
