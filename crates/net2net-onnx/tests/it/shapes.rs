//! Shapes that models compute, and operators that only move elements.

use net2net_onnx::proto::Dimension;

use crate::models::{Model, OPEN, floats, int, ints, value, whole};
use crate::round_trip::grows;

fn body(opset: i64) -> Model {
    Model::new(opset)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "conv1", 3, 6)
        .relu("conv1", "relu1")
}

/// A scalar of whole numbers, as `Constant` holds it.
fn scalar(number: i64) -> net2net_onnx::proto::TensorProto {
    let mut tensor = whole("", &[number]);
    tensor.dims.clear();
    tensor.name = None;
    tensor
}

#[test]
fn a_shortcut_padded_as_torchscript_does_it_grows() {
    // `F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3))` with its arithmetic.
    let model = body(13)
        .node("Constant", &[], &["starts"], &[value(whole("", &[0, 0]))])
        .node(
            "Constant",
            &[],
            &["ends"],
            &[value(whole("", &[i64::MAX, i64::MAX]))],
        )
        .node("Constant", &[], &["axes"], &[value(whole("", &[2, 3]))])
        .node("Constant", &[], &["steps"], &[value(whole("", &[2, 2]))])
        .node(
            "Slice",
            &["relu1", "starts", "ends", "axes", "steps"],
            &["half"],
            &[],
        )
        .node(
            "Constant",
            &[],
            &["given"],
            &[value(whole("", &[0, 0, 0, 0, 3, 3]))],
        )
        .node("Constant", &[], &["missing"], &[value(whole("", &[2]))])
        .node(
            "ConstantOfShape",
            &["missing"],
            &["zeros"],
            &[value(whole("", &[0]))],
        )
        .node("Concat", &["given", "zeros"], &["all"], &[int("axis", 0)])
        .node(
            "Constant",
            &[],
            &["pairs.shape"],
            &[value(whole("", &[-1, 2]))],
        )
        .node("Reshape", &["all", "pairs.shape"], &["pairs"], &[])
        .node("Constant", &[], &["last"], &[value(whole("", &[-1]))])
        .node(
            "Constant",
            &[],
            &["first"],
            &[value(whole("", &[-i64::MAX]))],
        )
        .node("Constant", &[], &["rows"], &[value(whole("", &[0]))])
        .node(
            "Slice",
            &["pairs", "last", "first", "rows", "last"],
            &["reversed"],
            &[],
        )
        .node(
            "Transpose",
            &["reversed"],
            &["turned"],
            &[ints("perm", &[1, 0])],
        )
        .node("Constant", &[], &["flat.shape"], &[value(whole("", &[-1]))])
        .node("Reshape", &["turned", "flat.shape"], &["order"], &[])
        .node("Cast", &["order"], &["pads"], &[int("to", 7)])
        .node(
            "Constant",
            &[],
            &["zero"],
            &[value(floats("", &[], &[0.0]))],
        )
        .node("Pad", &["half", "pads", "zero"], &["shortcut"], &[])
        .weight("conv2.weight", &[12, 6, 3, 3])
        .node(
            "Conv",
            &["relu1", "conv2.weight"],
            &["conv2"],
            &[ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])],
        )
        .node("Add", &["conv2", "shortcut"], &["sum"], &[])
        .relu("sum", "relu2")
        .head("relu2", 12);
    let grown = grows(&model);
    assert_eq!(grown.imported.opaque, []);
    assert_eq!(grown.spaces.len(), 3, "{:?}", grown.spaces);
}

#[test]
fn computed_shapes_follow_what_grows() {
    // `x.view(x.size(0), -1)` and `x.view(x.size(0), x.size(1), -1)`.
    let model = body(13)
        .node("Shape", &["relu1"], &["s"], &[])
        .node("Constant", &[], &["i0"], &[value(scalar(0))])
        .node("Gather", &["s", "i0"], &["batch"], &[int("axis", 0)])
        .node("Constant", &[], &["i1"], &[value(scalar(1))])
        .node("Gather", &["s", "i1"], &["channels"], &[int("axis", 0)])
        .ints("axes", &[0])
        .node("Unsqueeze", &["batch", "axes"], &["batch.1"], &[])
        .node("Unsqueeze", &["channels", "axes"], &["channels.1"], &[])
        .ints("rest", &[-1])
        .node(
            "Concat",
            &["batch.1", "channels.1", "rest"],
            &["rows.shape"],
            &[int("axis", 0)],
        )
        .node("Reshape", &["relu1", "rows.shape"], &["rows"], &[])
        .node(
            "ReduceMean",
            &["rows"],
            &["mean"],
            &[ints("axes", &[2]), int("keepdims", 1)],
        )
        .node(
            "Concat",
            &["batch.1", "rest"],
            &["flat.shape"],
            &[int("axis", 0)],
        )
        .node("Reshape", &["mean", "flat.shape"], &["flat"], &[])
        .gemm("flat", "fc", 6, 3)
        .output("fc");
    let grown = grows(&model);
    assert_eq!(grown.imported.opaque, []);
    grown.has(&["conv1"]);
}

#[test]
fn shapes_that_state_channels_are_stated_anew() {
    for allowzero in [0, 1] {
        let model = body(14)
            .ints("shape", &[-1, 6, 64])
            .node(
                "Reshape",
                &["relu1", "shape"],
                &["rows"],
                &[int("allowzero", allowzero)],
            )
            .node(
                "ReduceMean",
                &["rows"],
                &["mean"],
                &[ints("axes", &[-1]), int("keepdims", 0)],
            )
            .gemm("mean", "fc", 6, 3)
            .output("fc");
        grows(&model).has(&["conv1"]);
    }
}

#[test]
fn a_shape_that_two_nodes_share_is_changed_for_one() {
    let model = body(13)
        .ints("shape", &[-1, 6, 64])
        .conv("image", "conv2", 3, 6)
        .node("Reshape", &["relu1", "shape"], &["a"], &[])
        .node("Reshape", &["conv2", "shape"], &["b"], &[])
        .node(
            "ReduceMean",
            &["a"],
            &["ma"],
            &[ints("axes", &[2]), int("keepdims", 0)],
        )
        .node(
            "ReduceMean",
            &["b"],
            &["mb"],
            &[ints("axes", &[2]), int("keepdims", 0)],
        )
        .gemm("ma", "fa", 6, 3)
        .output("fa")
        .gemm("mb", "fb", 6, 3)
        .output("fb");
    assert_eq!(grows(&model).spaces.len(), 2);
}

#[test]
fn axes_come_and_go_as_attributes_and_as_inputs() {
    let old = body(11)
        .node("GlobalAveragePool", &["relu1"], &["pooled"], &[])
        .node("Squeeze", &["pooled"], &["flat"], &[ints("axes", &[2, 3])])
        .node("Unsqueeze", &["flat"], &["again"], &[ints("axes", &[2, 3])])
        .node("Flatten", &["again"], &["features"], &[])
        .gemm("features", "fc", 6, 3)
        .output("fc");
    let new = body(13)
        .node("GlobalAveragePool", &["relu1"], &["pooled"], &[])
        .ints("axes", &[-1, -2])
        .node("Squeeze", &["pooled", "axes"], &["flat"], &[])
        .ints("axes.again", &[2, 3])
        .node("Unsqueeze", &["flat", "axes.again"], &["again"], &[])
        .node("Flatten", &["again"], &["features"], &[int("axis", 1)])
        .gemm("features", "fc", 6, 3)
        .output("fc");
    for model in [old, new] {
        let grown = grows(&model);
        grown.has(&["conv1"]);
        assert_eq!(grown.dims("fc.weight")[1], [3, 9]);
    }
}

#[test]
fn parts_of_channels_grow_on_their_own_in_either_form() {
    let old = body(9)
        .node(
            "Slice",
            &["relu1"],
            &["a"],
            &[ints("axes", &[1]), ints("starts", &[0]), ints("ends", &[2])],
        )
        .node(
            "Slice",
            &["relu1"],
            &["b"],
            &[
                ints("axes", &[1]),
                ints("starts", &[2]),
                ints("ends", &[i64::MAX]),
            ],
        )
        .conv("a", "conv.a", 2, 4)
        .conv("b", "conv.b", 4, 4)
        .node("Add", &["conv.a", "conv.b"], &["sum"], &[])
        .head("sum", 4);
    let new = body(13)
        .ints("zero", &[0])
        .ints("two", &[2])
        .ints("end", &[i64::MAX])
        .ints("axis", &[1])
        .node("Slice", &["relu1", "zero", "two", "axis"], &["a"], &[])
        .node("Slice", &["relu1", "two", "end", "axis"], &["b"], &[])
        .conv("a", "conv.a", 2, 4)
        .conv("b", "conv.b", 4, 4)
        .node("Add", &["conv.a", "conv.b"], &["sum"], &[])
        .head("sum", 4);
    for model in [old, new] {
        let grown = grows(&model);
        assert_eq!(grown.spaces.len(), 3, "{:?}", grown.spaces);
        assert_eq!(grown.dims("conv.a.weight")[1][1], 3);
        assert_eq!(grown.dims("conv.b.weight")[1][1], 6);
    }
}

#[test]
fn splits_grow_in_either_form() {
    let split = |model: Model, inputs: &[&str], attributes: &[_]| {
        model
            .node("Split", inputs, &["a", "b"], attributes)
            .conv("a", "conv.a", 2, 4)
            .conv("b", "conv.b", 4, 4)
            .node("Add", &["conv.a", "conv.b"], &["sum"], &[])
            .head("sum", 4)
    };
    let old = split(
        body(11),
        &["relu1"],
        &[int("axis", 1), ints("split", &[2, 4])],
    );
    let new = split(
        body(13).ints("parts", &[2, 4]),
        &["relu1", "parts"],
        &[int("axis", 1)],
    );
    for model in [old, new] {
        assert_eq!(grows(&model).spaces.len(), 3);
    }
}

#[test]
fn halves_that_are_not_stated_are_stated_if_they_part() {
    for (opset, attributes) in [
        (11, vec![int("axis", 1)]),
        (18, vec![int("axis", 1), int("num_outputs", 2)]),
    ] {
        let model = body(opset)
            .node("Split", &["relu1"], &["a", "b"], &attributes)
            .conv("a", "conv.a", 3, 4)
            .conv("b", "conv.b", 3, 5)
            .node(
                "Concat",
                &["conv.a", "conv.b"],
                &["both"],
                &[int("axis", 1)],
            )
            .head("both", 9);
        assert_eq!(grows(&model).spaces.len(), 4);
    }
}

#[test]
fn padded_channels_grow_in_either_form() {
    let pads = [0, 2, 0, 0, 0, 1, 0, 0];
    let old = body(9)
        .node("Pad", &["relu1"], &["padded"], &[ints("pads", &pads)])
        .conv("padded", "conv2", 9, 4)
        .head("conv2", 4);
    let new = body(13)
        .ints("pads", &pads)
        .node("Pad", &["relu1", "pads"], &["padded"], &[])
        .conv("padded", "conv2", 9, 4)
        .head("conv2", 4);
    let some = body(18)
        .ints("pads", &[2, 1])
        .ints("axes", &[-3])
        .node("Pad", &["relu1", "pads", "", "axes"], &["padded"], &[])
        .conv("padded", "conv2", 9, 4)
        .head("conv2", 4);
    for model in [old, new, some] {
        let grown = grows(&model);
        grown.has(&["conv1", "conv2"]);
    }
}

#[test]
fn means_grow_in_either_form() {
    let old = body(13)
        .node(
            "ReduceMean",
            &["relu1"],
            &["mean"],
            &[ints("axes", &[2, 3]), int("keepdims", 0)],
        )
        .gemm("mean", "fc", 6, 3)
        .output("fc");
    let new = body(18)
        .ints("axes", &[-1, -2])
        .node(
            "ReduceMean",
            &["relu1", "axes"],
            &["mean"],
            &[int("keepdims", 0)],
        )
        .gemm("mean", "fc", 6, 3)
        .output("fc");
    for model in [old, new] {
        grows(&model).has(&["conv1"]);
    }
}

#[test]
fn channels_that_are_expanded_to_a_computed_size_grow() {
    let model = body(13)
        .node("GlobalAveragePool", &["relu1"], &["pooled"], &[])
        .node("Sigmoid", &["pooled"], &["gate"], &[])
        .node("Shape", &["relu1"], &["s"], &[])
        .node("Expand", &["gate", "s"], &["wide"], &[])
        .node("Mul", &["relu1", "wide"], &["gated"], &[])
        .conv("gated", "conv2", 6, 4)
        .head("conv2", 4);
    grows(&model).has(&["conv1", "conv2"]);
}

#[test]
fn stated_shapes_in_between_are_stated_anew() {
    let model = body(13)
        .stated("conv1", &[OPEN, 6, 8, 8])
        .stated("relu1", &[OPEN, 6, 8, 8])
        .head("relu1", 6);
    let grown = grows(&model);
    let infos = &grown.new.graph.as_ref().unwrap().value_info;
    for info in infos {
        let dims = info.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
        let dims = &dims.shape.as_ref().unwrap().dim;
        assert_eq!(dims[1].dim_value, Some(9));
        assert_eq!(dims[0].dim_param(), "batch");
    }
}

/// A shape that is computed from a length and from a size that grows: stated anew, it must not hold
/// the length that the proof was made with.
#[test]
fn a_length_that_is_open_stays_open() {
    let mut model = Model::new(17).input("x", &[1, 5, 6]);
    let stated = model.graph().input[0].r#type.as_mut();
    let shape = stated.unwrap().tensor_type.as_mut().unwrap().shape.as_mut();
    shape.unwrap().dim[1] = Dimension {
        dim_param: Some("time".to_owned()),
        ..Dimension::default()
    };
    let model = model
        .node("Shape", &["x"], &["sizes"], &[])
        .ints("outer", &[0, 1])
        .node("Gather", &["sizes", "outer"], &["kept"], &[int("axis", 0)])
        .ints("inner", &[8])
        .node("Concat", &["kept", "inner"], &["target"], &[int("axis", 0)])
        .ints("rows", &[-1, 6])
        .node("Reshape", &["x", "rows"], &["flat"], &[])
        .weight("up", &[6, 8])
        .node("MatMul", &["flat", "up"], &["wide"], &[])
        .node("Reshape", &["wide", "target"], &["back"], &[])
        .node("Relu", &["back"], &["active"], &[])
        .weight("down", &[8, 4])
        .node("MatMul", &["active", "down"], &["y"], &[])
        .output("y");
    let grown = grows(&model);
    let graph = grown.new.graph.unwrap();
    let reshape = graph.node.iter().find(|node| node.output == ["back"]);
    let target = &reshape.unwrap().input[1];
    let stated = graph.initializer.iter().find(|t| t.name() == target);
    let numbers: Vec<u8> = [1i64, -1, 12]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    assert_eq!(stated.unwrap().raw_data.as_deref(), Some(&numbers[..]));
}
