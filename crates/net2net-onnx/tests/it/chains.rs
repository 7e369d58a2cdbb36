//! Layers of numbers: convolutions, normalisation, linear layers, activations.

use net2net_core::graph::Graph;
use net2net_core::ops::Op;
use net2net_onnx::Imported;
use net2net_onnx::proto::AttributeProto;

use crate::models::{Model, OPEN, float, floats, int, ints, random, text};
use crate::round_trip::grows;

#[test]
fn convolutions_with_normalisation_grow_in_every_operator_set() {
    for opset in [9, 13, 17] {
        let model = Model::new(opset)
            .input("image", &[OPEN, 3, 8, 8])
            .conv("image", "conv1", 3, 8)
            .norm("conv1", "bn1", 8)
            .relu("bn1", "relu1")
            .conv("relu1", "conv2", 8, 6)
            .norm("conv2", "bn2", 6)
            .relu("bn2", "relu2")
            .head("relu2", 6);
        let grown = grows(&model);
        grown.has(&["conv1", "conv2"]);
        assert_eq!(grown.spaces.len(), 2);
        assert_eq!(
            grown.dims("conv2.weight"),
            [vec![6, 8, 3, 3], vec![9, 12, 3, 3]]
        );
        assert_eq!(grown.dims("fc.bias"), [vec![3], vec![3]]);
    }
}

#[test]
fn a_fixed_batch_grows_too() {
    let model = Model::new(13)
        .input("image", &[1, 3, 8, 8])
        .conv("image", "conv1", 3, 8)
        .relu("conv1", "relu1")
        .head("relu1", 8);
    grows(&model).has(&["conv1"]);
}

#[test]
fn depthwise_convolutions_grow_with_their_groups() {
    let model = Model::new(13)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "conv1", 3, 8)
        .relu("conv1", "relu1")
        .weight("depthwise.weight", &[8, 1, 3, 3])
        .node(
            "Conv",
            &["relu1", "depthwise.weight"],
            &["depthwise"],
            &[ints("pads", &[1, 1, 1, 1]), int("group", 8)],
        )
        .relu("depthwise", "relu2")
        .head("relu2", 8);
    let grown = grows(&model);
    grown.has(&["conv1"]);
    let nodes = &grown.new.graph.as_ref().unwrap().node;
    let groups = nodes
        .iter()
        .flat_map(|n| &n.attribute)
        .find(|a| a.name() == "group");
    assert_eq!(groups.unwrap().i(), 12);
}

#[test]
fn sums_of_three_grow_together() {
    let model = Model::new(13)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "a", 3, 6)
        .conv("image", "b", 3, 6)
        .conv("image", "c", 3, 6)
        .node("Sum", &["a", "b", "c"], &["sum"], &[])
        .relu("sum", "relu")
        .head("relu", 6);
    let grown = grows(&model);
    assert_eq!(grown.spaces.len(), 1);
    for name in ["a.weight", "b.weight", "c.weight"] {
        assert_eq!(grown.dims(name)[1][0], 9);
    }
}

#[test]
fn slopes_of_channels_grow() {
    let model = Model::new(13)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "conv1", 3, 6)
        .weight("slope", &[6, 1, 1])
        .node("PRelu", &["conv1", "slope"], &["prelu"], &[])
        .head("prelu", 6);
    let grown = grows(&model);
    assert_eq!(grown.dims("slope"), [vec![6, 1, 1], vec![9, 1, 1]]);
}

#[test]
fn slopes_that_are_made_or_shared_grow() {
    let made = Model::new(13)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "conv1", 3, 6)
        .weight("slope", &[6])
        .ints("axes", &[1, 2])
        .node("Unsqueeze", &["slope", "axes"], &["slope.wide"], &[])
        .node("PRelu", &["conv1", "slope.wide"], &["prelu"], &[])
        .head("prelu", 6);
    let grown = grows(&made);
    assert_eq!(grown.imported.opaque, []);
    assert_eq!(grown.dims("slope"), [vec![6], vec![9]]);
    let shared = Model::new(13)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "conv1", 3, 6)
        .weight("slope", &[6, 1, 1])
        .node("PRelu", &["conv1", "slope"], &["a"], &[])
        .conv("a", "conv2", 6, 6)
        .node("PRelu", &["conv2", "slope"], &["b"], &[])
        .head("b", 6);
    let grown = grows(&shared);
    assert_eq!(grown.imported.opaque, []);
    assert_eq!(grown.dims("slope"), [vec![6, 1, 1], vec![9, 1, 1]]);
}

#[test]
fn transposed_initialisers_of_linear_layers_grow() {
    let model = Model::new(13)
        .input("x", &[OPEN, 5])
        .weight("w1", &[8, 5])
        .node("Transpose", &["w1"], &["w1.t"], &[ints("perm", &[1, 0])])
        .node("MatMul", &["x", "w1.t"], &["h"], &[])
        .weight("b1", &[8])
        .node("Add", &["h", "b1"], &["biased"], &[])
        .relu("biased", "relu")
        .weight("w2", &[3, 8])
        .node("Transpose", &["w2"], &["w2.t"], &[])
        .weight("b2", &[3])
        .node(
            "Gemm",
            &["relu", "w2.t", "b2"],
            &["y"],
            &[float("beta", 0.5)],
        )
        .output("y");
    let grown = grows(&model);
    assert_eq!(grown.dims("w1"), [vec![8, 5], vec![12, 5]]);
    assert_eq!(grown.dims("w2"), [vec![3, 8], vec![3, 12]]);
}

#[test]
fn other_names_of_an_initialiser_are_that_initialiser() {
    let model = Model::new(13)
        .input("x", &[OPEN, 5])
        .weight("w1", &[5, 8])
        .node("Identity", &["w1"], &["w1.again"], &[])
        .node("MatMul", &["x", "w1.again"], &["h"], &[])
        .relu("h", "relu")
        .weight("w2", &[8, 3])
        .node("Cast", &["w2"], &["w2.cast"], &[int("to", 1)])
        .node("MatMul", &["relu", "w2.cast"], &["y"], &[])
        .output("y");
    let grown = grows(&model);
    assert_eq!(grown.dims("w1")[1], [5, 12]);
    assert_eq!(grown.dims("w2")[1], [12, 3]);
}

#[test]
fn clipped_activations_grow_with_bounds_of_either_form() {
    let old = Model::new(9)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "conv1", 3, 8)
        .node(
            "Clip",
            &["conv1"],
            &["clip"],
            &[float("min", 0.0), float("max", 6.0)],
        )
        .head("clip", 8);
    let new = Model::new(13)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "conv1", 3, 8)
        .tensor(floats("low", &[], &[0.0]))
        .tensor(floats("high", &[], &[6.0]))
        .node("Clip", &["conv1", "low", "high"], &["clip"], &[])
        .head("clip", 8);
    for model in [old, new] {
        grows(&model).has(&["conv1"]);
    }
}

#[test]
fn activations_that_are_not_idempotent_can_be_deepened_after() {
    for (op, attributes) in [
        ("LeakyRelu", vec![float("alpha", 0.1)]),
        ("Sigmoid", vec![]),
        ("Elu", vec![float("alpha", 1.0)]),
        ("HardSigmoid", vec![]),
        ("HardSwish", vec![]),
    ] {
        let model = Model::new(17)
            .input("image", &[OPEN, 3, 8, 8])
            .conv("image", "conv1", 3, 8)
            .norm("conv1", "bn1", 8)
            .node(op, &["bn1"], &["active"], &attributes)
            .conv("active", "conv2", 8, 6)
            .node(op, &["conv2"], &["active2"], &attributes)
            .head("active2", 6);
        grows(&model).has(&["conv1", "conv2"]);
    }
}

#[test]
fn layers_that_are_outputs_keep_their_names() {
    let model = Model::new(17)
        .input("x", &[OPEN, 5])
        .gemm("x", "hidden", 5, 8)
        .relu("hidden", "features")
        .gemm("features", "y", 8, 3)
        .output("features")
        .output("y");
    assert_eq!(grows(&model).spaces, [""; 0]);
}

#[test]
fn tied_weights_stay_tied() {
    let model = Model::new(13)
        .input("x", &[OPEN, 8])
        .gemm("x", "a", 8, 8)
        .relu("a", "ra")
        .node(
            "Gemm",
            &["ra", "a.weight", "a.bias"],
            &["b"],
            &[int("transB", 1)],
        )
        .relu("b", "rb")
        .gemm("rb", "y", 8, 3)
        .output("y");
    assert_eq!(grows(&model).spaces, [""; 0]);
}

#[test]
fn concatenated_layers_grow_each_on_its_own() {
    let model = Model::new(13)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "a", 3, 4)
        .conv("image", "b", 3, 6)
        .node("Concat", &["a", "b"], &["both"], &[int("axis", 1)])
        .relu("both", "relu")
        .head("relu", 10);
    let grown = grows(&model);
    assert_eq!(grown.spaces.len(), 2);
    assert_eq!(grown.dims("fc.weight")[1], [3, 15]);
}

#[test]
fn scales_by_a_vector_in_any_shape_grow() {
    let numbers = random("scale", &[6]);
    let model = Model::new(13)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "conv1", 3, 6)
        .tensor(floats("scale", &[6, 1, 1], &numbers))
        .node("Mul", &["conv1", "scale"], &["scaled"], &[])
        .tensor(floats("shift", &[1, 6, 1, 1], &numbers))
        .node("Add", &["scaled", "shift"], &["shifted"], &[])
        .relu("shifted", "relu")
        .head("relu", 6);
    let grown = grows(&model);
    assert_eq!(grown.dims("scale")[1], [9, 1, 1]);
    assert_eq!(grown.dims("shift")[1], [1, 9, 1, 1]);
}

#[test]
fn one_slope_for_all_channels_stays_one() {
    for dims in [&[1usize][..], &[1, 1, 1], &[]] {
        let model = Model::new(13)
            .input("image", &[OPEN, 3, 8, 8])
            .conv("image", "conv1", 3, 6)
            .tensor(floats("slope", dims, &[0.3]))
            .node("PRelu", &["conv1", "slope"], &["a"], &[])
            .conv("a", "conv2", 6, 4)
            .node("PRelu", &["conv2", "slope"], &["b"], &[])
            .head("b", 4);
        let grown = grows(&model);
        grown.has(&["conv1", "conv2"]);
        assert_eq!(grown.imported.opaque, []);
        assert_eq!(grown.dims("slope")[0], grown.dims("slope")[1]);
    }
}

#[test]
fn a_slope_along_the_last_axis_is_no_slope_of_channels() {
    let model = Model::new(13)
        .input("image", &[OPEN, 6, 6, 6])
        .conv("image", "conv1", 6, 6)
        .weight("slope", &[6])
        .node("PRelu", &["conv1", "slope"], &["a"], &[])
        .stated("a", &[OPEN, 6, 6, 6])
        .head("a", 6);
    let grown = grows(&model);
    assert_eq!(grown.imported.opaque.len(), 1);
}

#[test]
fn sums_of_three_find_names_for_what_is_in_between() {
    let model = Model::new(13)
        .input("image", &[OPEN, 3, 8, 8])
        .conv("image", "sum.1", 3, 6)
        .conv("image", "b", 3, 6)
        .conv("image", "c", 3, 6)
        .node("Sum", &["sum.1", "b", "c"], &["sum"], &[])
        .node("Max", &["sum", "b", "c"], &["max"], &[])
        .head("max", 6);
    let grown = grows(&model);
    assert_eq!(grown.imported.opaque, []);
    assert_eq!(grown.spaces.len(), 1);
}

/// One number as the shift of all outputs, and an input that is stored the other way round.
#[test]
fn linear_layers_of_every_form_grow() {
    for shift in [&[][..], &[1], &[1, 1]] {
        let model = Model::new(13)
            .input("x", &[OPEN, 6])
            .weight("w", &[6, 8])
            .tensor(floats("shift", shift, &[0.25]))
            .node("Gemm", &["x", "w", "shift"], &["a"], &[])
            .relu("a", "r")
            .gemm("r", "y", 8, 3)
            .output("y");
        let grown = grows(&model);
        assert_eq!(grown.dims("w"), [vec![6, 8], vec![6, 12]]);
    }
    let turned = Model::new(13)
        .input("x", &[6, 4])
        .weight("w", &[6, 8])
        .weight("shift", &[8])
        .node("Gemm", &["x", "w", "shift"], &["a"], &[int("transA", 1)])
        .relu("a", "r")
        .gemm("r", "y", 8, 3)
        .output("y");
    let grown = grows(&turned);
    assert_eq!(grown.dims("shift"), [vec![8], vec![12]]);
}

/// The pads of a transposed convolution follow from the size of its output.
#[test]
fn transposed_convolutions_with_a_stated_output_grow() {
    let cases = [
        (vec![ints("output_shape", &[15, 15])], [1, 1, 0, 0]),
        (vec![text("auto_pad", "SAME_UPPER")], [0, 0, 0, 0]),
        (
            vec![
                ints("output_shape", &[15, 14]),
                text("auto_pad", "SAME_UPPER"),
            ],
            [0, 1, 1, 1],
        ),
    ];
    for (stated, pads) in cases {
        let model = |mut attributes: Vec<AttributeProto>| {
            attributes.push(ints("strides", &[2, 2]));
            Model::new(13)
                .input("image", &[OPEN, 3, 8, 8])
                .conv("image", "conv1", 3, 8)
                .relu("conv1", "relu1")
                .weight("up.weight", &[8, 6, 2, 2])
                .node(
                    "ConvTranspose",
                    &["relu1", "up.weight"],
                    &["up"],
                    &attributes,
                )
                .relu("up", "relu2")
                .head("relu2", 6)
        };
        let window = |graph: &Graph| {
            let mut nodes = graph.nodes().iter();
            nodes.find_map(|node| match &node.op {
                Op::ConvTranspose(op) => Some(op.window.clone()),
                _ => None,
            })
        };
        let grown = grows(&model(stated));
        assert_eq!(grown.dims("up.weight")[1], [12, 9, 2, 2]);
        let explicit = model(vec![ints("pads", &pads)]).document();
        let explicit = Imported::read(&explicit).unwrap();
        assert_eq!(window(&grown.imported.graph), window(&explicit.graph));
    }
}

/// The sizes of the output are all stated, the channels among them.
#[test]
fn a_resize_to_stated_sizes_grows() {
    let model = Model::new(13)
        .input("image", &[1, 3, 8, 8])
        .conv("image", "conv1", 3, 6)
        .relu("conv1", "relu1")
        .ints("sizes", &[1, 6, 12, 12])
        .node("Resize", &["relu1", "", "", "sizes"], &["large"], &[])
        .head("large", 6);
    let grown = grows(&model);
    grown.has(&["conv1"]);
    let tensors = &grown.new.graph.as_ref().unwrap().initializer;
    let sizes = tensors.iter().find(|t| t.name() == "sizes").unwrap();
    assert!(sizes.raw_data().chunks(8).any(|size| size[0] == 9));
}

/// What a document says of a weight is said of it as it is stored.
#[test]
fn a_turned_weight_is_stated_as_it_is_stored() {
    let model = Model::new(13)
        .input("x", &[OPEN, 5])
        .weight("w", &[8, 5])
        .stated("w", &[8, 5])
        .node("Transpose", &["w"], &["w.t"], &[ints("perm", &[1, 0])])
        .node("MatMul", &["x", "w.t"], &["a"], &[])
        .relu("a", "r")
        .gemm("r", "y", 8, 3)
        .output("y");
    let grown = grows(&model);
    assert_eq!(grown.dims("w")[1], [12, 5]);
    let stated = &grown.new.graph.as_ref().unwrap().value_info;
    let stated = stated.iter().find(|info| info.name() == "w").unwrap();
    let tensor = stated
        .r#type
        .as_ref()
        .unwrap()
        .tensor_type
        .as_ref()
        .unwrap();
    let dims = &tensor.shape.as_ref().unwrap().dim;
    let dims: Vec<Option<i64>> = dims.iter().map(|dim| dim.dim_value).collect();
    assert_eq!(dims, [Some(12), Some(5)]);
}
