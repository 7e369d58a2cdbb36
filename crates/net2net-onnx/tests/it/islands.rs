//! What is not understood stays as it is, and what is around it grows.

use net2net_onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

use crate::models::{Model, OPEN, info, int, subgraph, text};
use crate::round_trip::{Grown, grows};

/// A model with nodes in the middle that read `relu1` and make `out`, of six channels.
fn around(opset: i64, middle: impl Fn(Model) -> Model) -> Model {
    let front = Model::new(opset)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "conv0", 3, 4)
        .relu("conv0", "relu0")
        .conv("relu0", "conv1", 4, 6)
        .relu("conv1", "relu1");
    middle(front)
        .conv("out", "conv2", 6, 8)
        .relu("conv2", "relu2")
        .head("relu2", 8)
}

/// The nodes of an operator are the same bytes, and only what is around them grew.
fn stays(grown: &Grown, op: &str) {
    assert_eq!(grown.spaces, ["conv0", "conv2"]);
    let nodes = |model: &net2net_onnx::proto::ModelProto| -> Vec<NodeProto> {
        let all = model.graph.as_ref().unwrap().node.iter();
        all.filter(|node| node.op_type() == op).cloned().collect()
    };
    assert_eq!(nodes(&grown.old), nodes(&grown.new));
    assert_eq!(nodes(&grown.old).len(), 1);
    assert_eq!(
        grown.dims("conv1.weight"),
        [vec![6, 4, 3, 3], vec![6, 6, 3, 3]]
    );
}

#[test]
fn nothing_grows_through_an_unknown_operator() {
    let model = around(13, |model| {
        model
            .weight("table", &[6])
            .node(
                "Mystery",
                &["relu1", "table"],
                &["out"],
                &[text("mode", "odd")],
            )
            .stated("out", &[OPEN, 6, 8, 8])
    });
    let grown = grows(&model);
    stays(&grown, "Mystery");
    assert_eq!(grown.imported.opaque.len(), 1);
    assert_eq!(grown.imported.opaque[0].operator, "Mystery");
}

#[test]
fn operators_of_others_are_unknown_also_if_they_have_a_known_name() {
    let mut model = around(13, |model| {
        model
            .node("Relu", &["relu1"], &["out"], &[])
            .stated("out", &[OPEN, 6, 8, 8])
    });
    let node = model.graph().node.iter_mut().find(|n| n.output[0] == "out");
    node.unwrap().domain = Some("com.example".to_owned());
    let grown = grows(&model);
    assert_eq!(grown.spaces, ["conv0", "conv2"]);
    assert!(grown.imported.opaque[0].why.contains("com.example"));
}

/// A subgraph of one node that reads values from outside and hands its result out.
fn body(op: &str, inputs: &[&str], inner_inputs: &[&str]) -> GraphProto {
    GraphProto {
        name: Some("inner".to_owned()),
        node: vec![NodeProto {
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec!["inner.result".to_owned()],
            ..NodeProto::default()
        }],
        input: inner_inputs.iter().map(|name| info(name, 1, &[])).collect(),
        output: vec![info("inner.result", 1, &[])],
        ..GraphProto::default()
    }
}

fn flag() -> TensorProto {
    TensorProto {
        data_type: Some(9),
        name: Some("flag".to_owned()),
        raw_data: Some(vec![1].into()),
        ..TensorProto::default()
    }
}

#[test]
fn what_the_branches_of_an_if_capture_does_not_grow() {
    let model = around(13, |model| {
        let branches: [AttributeProto; 2] = [
            subgraph("then_branch", body("Relu", &["relu1"], &[])),
            subgraph("else_branch", body("Mul", &["relu1", "factor"], &[])),
        ];
        model
            .weight("factor", &[1, 6, 1, 1])
            .tensor(flag())
            .node("If", &["flag"], &["out"], &branches)
            .stated("out", &[OPEN, 6, 8, 8])
    });
    let grown = grows(&model);
    stays(&grown, "If");
    assert_eq!(grown.dims("factor")[0], grown.dims("factor")[1]);
}

#[test]
fn what_a_loop_captures_does_not_grow() {
    let model = around(13, |model| {
        let body = body("Add", &["state", "relu1"], &["count", "condition", "state"]);
        model
            .ints("trips", &[2])
            .tensor(flag())
            .node(
                "Loop",
                &["trips", "flag", "relu1"],
                &["out"],
                &[subgraph("body", body)],
            )
            .stated("out", &[OPEN, 6, 8, 8])
    });
    stays(&grows(&model), "Loop");
}

#[test]
fn a_weight_that_a_subgraph_captures_does_not_grow() {
    // The weight of a layer that would grow is read by the branch too.
    let model = Model::new(13)
        .input("x", &[OPEN, 5])
        .gemm("x", "a", 5, 8)
        .relu("a", "ra")
        .gemm("ra", "y", 8, 3)
        .output("y")
        .tensor(flag())
        .node(
            "If",
            &["flag"],
            &["weight.out"],
            &[
                subgraph("then_branch", body("Identity", &["a.weight"], &[])),
                subgraph("else_branch", body("Relu", &["a.weight"], &[])),
            ],
        )
        .stated("weight.out", &[8, 5])
        .output("weight.out");
    assert_eq!(grows(&model).spaces, [""; 0]);
}

#[test]
fn an_island_without_stated_shapes_ends_the_network_there() {
    let model = around(13, |model| {
        model
            .conv("relu1", "side", 6, 5)
            .relu("side", "side.relu")
            .node("GlobalAveragePool", &["side.relu"], &["side.mean"], &[])
            .node("Flatten", &["side.mean"], &["side.flat"], &[])
            .gemm("side.flat", "side.fc", 5, 2)
            .output("side.fc")
            .node("Mystery", &["relu1"], &["out"], &[int("n", 1)])
    });
    let grown = grows(&model);
    assert_eq!(grown.spaces, ["conv0", "side"]);
    // Layers behind it are not understood either, and are as they were.
    assert_eq!(grown.dims("conv2.weight")[0], grown.dims("conv2.weight")[1]);
}
