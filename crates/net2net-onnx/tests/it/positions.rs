//! Positions that are counted from the end of an axis of any length: they stay as they were said.

use net2net_onnx::proto::{Dimension, ModelProto, TensorProto};

use crate::models::{Model, OPEN, int, ints, value, whole};
use crate::round_trip::grows;

fn body() -> Model {
    let mut model = Model::new(17).input("x", &[OPEN, 5, 6]);
    let stated = model.graph().input[0].r#type.as_mut();
    let shape = stated.unwrap().tensor_type.as_mut().unwrap().shape.as_mut();
    shape.unwrap().dim[1] = Dimension {
        dim_param: Some("time".to_owned()),
        ..Dimension::default()
    };
    model
        .weight("a.weight", &[6, 8])
        .node("MatMul", &["x", "a.weight"], &["a"], &[])
        .relu("a", "r")
}

/// What a name stands for in a model, stated by a node or as an initialiser.
fn stated<'a>(model: &'a ModelProto, name: &str) -> &'a TensorProto {
    let graph = model.graph.as_ref().unwrap();
    let of_node = graph
        .node
        .iter()
        .filter(|node| node.output[0] == name)
        .find_map(|node| node.attribute[0].t.as_ref());
    let initializer = graph
        .initializer
        .iter()
        .find(|tensor| tensor.name() == name);
    initializer.or(of_node).unwrap()
}

/// The numbers of the inputs of the node of an operator, from `slot` on.
fn inputs(model: &ModelProto, op: &str, slot: usize) -> Vec<(Vec<i64>, Vec<i64>)> {
    let nodes = &model.graph.as_ref().unwrap().node;
    let node = nodes.iter().find(|node| node.op_type() == op).unwrap();
    let each = node.input[slot..].iter().map(|name| {
        let tensor = stated(model, name);
        let numbers: Vec<i64> = match tensor.raw_data.as_deref() {
            Some(raw) => raw
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            None => tensor.int64_data.clone(),
        };
        (tensor.dims.clone(), numbers)
    });
    each.collect()
}

#[test]
fn the_last_step_of_an_open_sequence_stays_the_last() {
    let mut last = whole("", &[-1]);
    last.dims.clear();
    let model = body()
        .node("Constant", &[], &["last"], &[value(last)])
        .node("Gather", &["r", "last"], &["h"], &[int("axis", 1)])
        .weight("b.weight", &[8, 3])
        .node("MatMul", &["h", "b.weight"], &["y"], &[])
        .output("y");
    let grown = grows(&model);
    assert_eq!(grown.dims("a.weight"), [vec![6, 8], vec![6, 12]]);
    assert_eq!(inputs(&grown.new, "Gather", 1), [(vec![], vec![-1])]);
}

#[test]
fn stretches_from_the_end_of_an_open_sequence_stay() {
    for (start, end) in [(-2, i64::MAX), (1, i64::MAX), (0, -1)] {
        let model = body()
            .ints("starts", &[start])
            .ints("ends", &[end])
            .ints("axes", &[1])
            .node("Slice", &["r", "starts", "ends", "axes"], &["h"], &[])
            .weight("b.weight", &[8, 3])
            .node("MatMul", &["h", "b.weight"], &["y"], &[])
            .output("y");
        let grown = grows(&model);
        assert_eq!(grown.dims("a.weight"), [vec![6, 8], vec![6, 12]]);
        let said = inputs(&grown.new, "Slice", 1);
        let said: Vec<i64> = said.into_iter().flat_map(|(_, numbers)| numbers).collect();
        assert_eq!(said, [start, end, 1]);
    }
}

#[test]
fn a_table_that_ends_before_most_lengths_grows_with_heads() {
    // 16 positions: 11 steps fit, 23 do not.
    let model = body()
        .ints("first", &[0])
        .ints("second", &[1])
        .node("Shape", &["r"], &["shape"], &[])
        .node(
            "Gather",
            &["shape", "first"],
            &["samples"],
            &[int("axis", 0)],
        )
        .node(
            "Gather",
            &["shape", "second"],
            &["steps"],
            &[int("axis", 0)],
        )
        .weight("table", &[16, 8])
        .node(
            "Slice",
            &["table", "first", "steps", "first"],
            &["rows"],
            &[],
        )
        .node("Add", &["r", "rows"], &["placed"], &[])
        .weight("q.weight", &[8, 12])
        .node("MatMul", &["placed", "q.weight"], &["q"], &[])
        .ints("heads", &[2])
        .ints("width", &[6])
        .node(
            "Concat",
            &["samples", "steps", "heads", "width"],
            &["target"],
            &[int("axis", 0)],
        )
        .node("Reshape", &["q", "target"], &["split"], &[])
        .node(
            "Transpose",
            &["split"],
            &["turned"],
            &[ints("perm", &[0, 2, 1, 3])],
        )
        .node(
            "Transpose",
            &["turned"],
            &["back"],
            &[ints("perm", &[0, 2, 1, 3])],
        )
        .ints("all", &[12])
        .node(
            "Concat",
            &["samples", "steps", "all"],
            &["flat"],
            &[int("axis", 0)],
        )
        .node("Reshape", &["back", "flat"], &["joined"], &[])
        .weight("b.weight", &[12, 3])
        .node("MatMul", &["joined", "b.weight"], &["y"], &[])
        .output("y");
    let grown = grows(&model);
    assert_eq!(grown.imported.opaque, []);
    assert_eq!(grown.dims("table"), [vec![16, 8], vec![16, 12]]);
    assert!(grown.dims("q.weight")[1][1] > 12);
}

#[test]
fn a_token_for_each_sample_of_any_number_grows() {
    // The number of samples and the width stand side by side in the target.
    let model = body()
        .ints("first", &[0])
        .node("Shape", &["r"], &["shape"], &[])
        .node(
            "Gather",
            &["shape", "first"],
            &["samples"],
            &[int("axis", 0)],
        )
        .ints("one", &[1])
        .ints("width", &[8])
        .node(
            "Concat",
            &["samples", "one", "width"],
            &["target"],
            &[int("axis", 0)],
        )
        .weight("token", &[1, 1, 8])
        .node("Expand", &["token", "target"], &["tokens"], &[])
        .node("Concat", &["tokens", "r"], &["h"], &[int("axis", 1)])
        .weight("b.weight", &[8, 3])
        .node("MatMul", &["h", "b.weight"], &["y"], &[])
        .output("y");
    let grown = grows(&model);
    assert_eq!(grown.dims("token"), [vec![1, 1, 8], vec![1, 1, 12]]);
}
