//! Attributes and inputs that contradict their operator.

use net2net_onnx::proto::AttributeProto;

use super::{not_understood, read};
use crate::models::{Model, OPEN, float, float_list, floats, int, ints, text};

fn image() -> Model {
    Model::new(13)
        .input("x", &[OPEN, 4, 6, 6])
        .relu("x", "r")
        .output("r")
}

/// The model with one more node that reads `x` and some initialisers.
fn node(op: &str, tensors: &[(&str, &[i64])], attributes: &[AttributeProto]) -> Model {
    let mut model = image();
    let mut inputs = vec!["x"];
    for (name, numbers) in tensors {
        model = model.ints(name, numbers);
        inputs.push(name);
    }
    model.node(op, &inputs, &["y"], attributes)
}

fn conv(dims: &[usize], attributes: &[AttributeProto]) -> Model {
    image()
        .weight("w", dims)
        .node("Conv", &["x", "w"], &["y"], attributes)
}

#[test]
fn convolutions_that_cannot_be_are_not_understood() {
    for (dims, attributes) in [
        (&[4, 4, 3, 3][..], vec![int("group", 0)]),
        (&[4, 4, 3, 3], vec![int("group", -1)]),
        (&[4, 4, 3, 3], vec![int("group", i64::MAX)]),
        (&[4, 4, 3, 3], vec![int("group", 3)]),
        (&[4, 4], vec![]),
        (&[4], vec![]),
        (&[], vec![]),
        (&[4, 4, 3], vec![]),
        (&[4, 4, 3, 3, 3, 3], vec![]),
        (&[4, 4, 9, 9], vec![]),
        (&[4, 4, 3, 3], vec![ints("strides", &[0, 0])]),
        (&[4, 4, 3, 3], vec![ints("strides", &[2])]),
        (&[4, 4, 3, 3], vec![ints("strides", &[i64::MAX, i64::MIN])]),
        (&[4, 4, 3, 3], vec![ints("dilations", &[0, 1])]),
        (
            &[4, 4, 3, 3],
            vec![ints("dilations", &[i64::MAX, i64::MAX])],
        ),
        (&[4, 4, 3, 3], vec![ints("pads", &[-1, -1, -1, -1])]),
        (&[4, 4, 3, 3], vec![ints("pads", &[i64::MAX; 4])]),
        (&[4, 4, 3, 3], vec![ints("pads", &[1; 400])]),
        (&[4, 4, 3, 3], vec![text("auto_pad", "SAME_ISH")]),
        (
            &[4, 4, 3, 3],
            vec![text("auto_pad", "SAME_UPPER"), ints("strides", &[-1, 1])],
        ),
        (&[4, 4], vec![text("auto_pad", "SAME_UPPER")]),
        (
            &[4, 4, 3, 3],
            vec![
                text("auto_pad", "SAME_UPPER"),
                ints("dilations", &[1 << 62, 1 << 62]),
            ],
        ),
        (&[4, 4, 3, 3], vec![int("pads", 1)]),
        (&[4, 4, 3, 3], vec![float("group", f32::NAN)]),
        (&[4, 4, 3, 3], vec![text("strides", "two")]),
    ] {
        let (imported, _) = read(conv(dims, &attributes).bytes()).unwrap();
        assert_eq!(imported.opaque.len(), 1, "{dims:?} {attributes:?}");
        assert_eq!(imported.opaque[0].node, "/Conv_1");
    }
}

#[test]
fn a_stride_of_zero_with_automatic_pads_is_not_understood() {
    let strides = ints("strides", &[0, 0]);
    let model = conv(&[4, 4, 3, 3], &[text("auto_pad", "SAME_LOWER"), strides]);
    let (imported, _) = read(model.bytes()).unwrap();
    assert_eq!(imported.opaque.len(), 1);
}

#[test]
fn shapes_that_cannot_be_are_not_understood() {
    let big = i64::MAX;
    let mut understood = Vec::new();
    for (op, tensors, attributes) in [
        ("Reshape", vec![("t", &[big, big][..])], vec![]),
        ("Reshape", vec![("t", &[-1, -1])], vec![]),
        ("Reshape", vec![("t", &[-2, 3])], vec![]),
        ("Reshape", vec![("t", &[i64::MIN, i64::MIN])], vec![]),
        ("Reshape", vec![("t", &[0, 0, 0, 0, 0, 0])], vec![]),
        ("Reshape", vec![("t", &[1 << 32, 1 << 32, -1])], vec![]),
        ("Reshape", vec![("t", &[])], vec![]),
        ("Reshape", vec![("t", &[0, -1])], vec![int("allowzero", 1)]),
        ("Flatten", vec![], vec![int("axis", i64::MIN)]),
        ("Flatten", vec![], vec![int("axis", big)]),
        ("Squeeze", vec![("t", &[i64::MIN])], vec![]),
        ("Squeeze", vec![("t", &[1])], vec![]),
        ("Unsqueeze", vec![("t", &[big])], vec![]),
        ("Unsqueeze", vec![("t", &[1, 1])], vec![]),
        ("Unsqueeze", vec![], vec![]),
        ("Transpose", vec![], vec![ints("perm", &[0, 1, 2, 9])]),
        ("Transpose", vec![], vec![ints("perm", &[0, 1, 2, -1])]),
        ("Transpose", vec![], vec![ints("perm", &[0, 0, 0, 0])]),
        ("Expand", vec![("t", &[big])], vec![]),
        ("Expand", vec![("t", &[-1, -1])], vec![]),
        (
            "Expand",
            vec![("t", &[1 << 30, 1 << 30, 1, 1, 1, 1])],
            vec![],
        ),
        ("Tile", vec![("t", &[1, big, big, 1])], vec![]),
        ("Tile", vec![("t", &[1, 0, 1, 1])], vec![]),
        ("Pad", vec![("t", &[0, big, 0, 0, 0, big, 0, 0])], vec![]),
        (
            "Pad",
            vec![("t", &[0, i64::MIN, 0, 0, 0, i64::MIN, 0, 0])],
            vec![],
        ),
        ("Pad", vec![("t", &[1, 0])], vec![]),
        (
            "Pad",
            vec![("t", &[0, 9, 0, 0, 0, 0, 0, 0])],
            vec![text("mode", "reflect")],
        ),
        (
            "Pad",
            vec![("t", &[0, 1, 0, 0, 0, 0, 0, 0])],
            vec![text("mode", "strange")],
        ),
        (
            "Slice",
            vec![("a", &[0]), ("b", &[2]), ("c", &[i64::MIN])],
            vec![],
        ),
        (
            "Slice",
            vec![("a", &[0]), ("b", &[2]), ("c", &[1]), ("d", &[0])],
            vec![],
        ),
        (
            "Slice",
            vec![("a", &[big]), ("b", &[i64::MIN]), ("c", &[1])],
            vec![],
        ),
        (
            "Slice",
            vec![("a", &[0, 0]), ("b", &[2]), ("c", &[1])],
            vec![],
        ),
        (
            "Slice",
            vec![("a", &[0, 0]), ("b", &[2, 2]), ("c", &[1, 1])],
            vec![],
        ),
        ("Slice", vec![("a", &[1]), ("b", &[2])], vec![]),
        ("Split", vec![("t", &[0, 4])], vec![int("axis", 1)]),
        ("Split", vec![("t", &[big, big])], vec![int("axis", 1)]),
        ("Split", vec![("t", &[-1, 5])], vec![int("axis", 1)]),
        ("Split", vec![("t", &[])], vec![int("axis", 1)]),
        ("Split", vec![("t", &[4])], vec![int("axis", i64::MIN)]),
        ("Gather", vec![("t", &[big])], vec![int("axis", 1)]),
        ("Gather", vec![("t", &[i64::MIN])], vec![int("axis", 1)]),
        ("Gather", vec![("t", &[])], vec![int("axis", 1)]),
        ("Gather", vec![("t", &[0])], vec![int("axis", i64::MIN)]),
        ("Concat", vec![], vec![int("axis", i64::MIN)]),
        ("Concat", vec![("t", &[0])], vec![int("axis", 1)]),
        ("Softmax", vec![], vec![int("axis", i64::MIN)]),
        ("ReduceMean", vec![], vec![ints("axes", &[i64::MIN])]),
        ("ReduceMean", vec![], vec![ints("axes", &[4])]),
        ("MaxPool", vec![], vec![]),
        ("MaxPool", vec![], vec![ints("kernel_shape", &[0, 0])]),
        ("MaxPool", vec![], vec![ints("kernel_shape", &[big, big])]),
        ("MaxPool", vec![], vec![ints("kernel_shape", &[-1, 2])]),
        ("AveragePool", vec![], vec![text("auto_pad", "SAME_UPPER")]),
        ("DepthToSpace", vec![], vec![int("blocksize", 0)]),
        ("DepthToSpace", vec![], vec![int("blocksize", big)]),
        ("SpaceToDepth", vec![], vec![int("blocksize", i64::MIN)]),
        (
            "LRN",
            vec![],
            vec![int("size", i64::MAX), float("alpha", f32::NAN)],
        ),
        ("Elu", vec![], vec![float("alpha", f32::INFINITY)]),
        ("Clip", vec![], vec![float("min", f32::NAN)]),
    ] {
        let model = node(op, &tensors, &attributes);
        let (imported, _) = read(model.bytes()).unwrap();
        if imported.opaque.len() != 1 {
            let names: Vec<&str> = attributes.iter().map(|a| a.name()).collect();
            understood.push(format!("{op} {tensors:?} {names:?}"));
        }
    }
    assert_eq!(understood, [""; 0]);
}

#[test]
fn scales_that_are_none_are_not_understood() {
    for scales in [
        &[1.0, 1.0, f32::NAN, 2.0][..],
        &[1.0, 1.0, -2.0, 2.0],
        &[1.0, 1.0, 0.0, 0.0],
        &[1.0, 1.0, f32::INFINITY, 1.0],
        &[1.0, 1.0, 1e30, 1e30],
        &[1.0, 1.0, 1e9, 1e9],
        &[1.0, 1.0, 1e-9, 1.0],
        &[f32::NAN, 1.0, 2.0, 2.0],
        &[2.0],
        &[],
    ] {
        let given = floats("s", &[scales.len()], scales);
        let input = image()
            .tensor(given)
            .node("Resize", &["x", "", "s"], &["y"], &[]);
        let attribute = image().node("Upsample", &["x"], &["y"], &[float_list("scales", scales)]);
        for model in [input, attribute] {
            let (imported, _) = read(model.bytes()).unwrap();
            assert_eq!(imported.opaque.len(), 1, "{scales:?}");
        }
    }
    for sizes in [
        &[1, 4, i64::MAX, 1][..],
        &[1, 4, 0, 0],
        &[1, 4, -1, 6],
        &[1],
        &[],
        &[1, 4],
    ] {
        let model = image()
            .ints("n", sizes)
            .node("Resize", &["x", "", "", "n"], &["y"], &[]);
        let (imported, _) = read(model.bytes()).unwrap();
        assert_eq!(imported.opaque.len(), 1, "{sizes:?}");
    }
    // An input of one axis, whose sizes have no pixels behind the channels.
    let line = Model::new(13)
        .input("x", &[5])
        .relu("x", "r")
        .output("r")
        .ints("n", &[5])
        .node("Resize", &["x", "", "", "n"], &["y"], &[]);
    not_understood(&line, "cannot be resized");
}

#[test]
fn shape_arithmetic_with_odd_numbers_is_no_fault_of_the_program() {
    let big = i64::MAX;
    let odd = [
        (&[0][..], &[big][..], &[0][..]),
        (&[0], &[0], &[0]),
        (&[i64::MIN], &[big], &[1]),
        (&[big], &[i64::MIN], &[-1]),
        (&[0], &[big], &[big]),
        (&[0], &[big], &[i64::MIN]),
        (&[], &[], &[]),
        (&[1, 2], &[3, 4], &[0, 0]),
    ];
    for (a, b, c) in odd {
        for op in [
            "Range",
            "Slice",
            "Gather",
            "Div",
            "Mod",
            "Mul",
            "Pow",
            "Where",
            "Reshape",
            "Expand",
            "ConstantOfShape",
            "Concat",
            "Unsqueeze",
            "Squeeze",
            "Transpose",
            "Sqrt",
            "ReduceProd",
        ] {
            let model = image()
                .ints("v", &[4, 3, 2, 1])
                .ints("a", a)
                .ints("b", b)
                .ints("c", c)
                .node(op, &["a", "b", "c"], &["k"], &[])
                .node(op, &["v", "a", "b", "c", "c"], &["l"], &[])
                .node(op, &["b", "c"], &["m"], &[int("axis", i64::MIN)])
                .node("Reshape", &["x", "k"], &["y"], &[])
                .node("Reshape", &["x", "l"], &["z"], &[])
                .node("Expand", &["x", "m"], &["w"], &[]);
            let _ = read(model.bytes());
        }
    }
}

#[test]
fn every_operator_on_every_odd_input_is_no_fault_of_the_program() {
    for op in super::structure::OPERATORS {
        for dims in [
            &[][..],
            &[1],
            &[OPEN],
            &[0],
            &[OPEN, 1],
            &[1, 1, 1, 1, 1, 1, 1],
        ] {
            let model = Model::new(13)
                .input("x", dims)
                .input("i", &[OPEN, 3])
                .relu("i", "r")
                .output("r")
                .weight("w", &[1])
                .ints("k", &[0])
                .node(op, &["x"], &["a"], &[])
                .node(op, &["x", "w"], &["b"], &[])
                .node(op, &["x", "k"], &["c"], &[])
                .node(op, &["w", "x"], &["d"], &[])
                .node(op, &["x", "x", "x"], &["e"], &[])
                .node(op, &["w", "w", "w", "w", "w"], &["f"], &[])
                .node(op, &["k", "k", "k"], &["g"], &[]);
            let _ = read(model.bytes());
        }
    }
}
