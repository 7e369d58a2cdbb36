//! Sizes that nobody has.

use net2net_onnx::proto::TensorProto;

use super::{not_understood, read, refused};
use crate::models::{Model, OPEN, floats, int, ints, value, whole};

const HUGE: i64 = 1 << 60;

/// A linear layer whose weight is this tensor.
fn with(tensor: TensorProto) -> Model {
    Model::new(13)
        .input("x", &[OPEN, 5])
        .tensor(tensor)
        .node("MatMul", &["x", "w"], &["y"], &[])
        .output("y")
}

fn tensor(dims: &[i64]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        ..floats("w", &[0], &[])
    }
}

#[test]
fn dims_that_no_memory_holds_are_refused() {
    for dims in [
        &[HUGE][..],
        &[HUGE, HUGE],
        &[1 << 32, 1 << 32],
        &[5, i64::MAX],
        &[i64::MAX; 8],
    ] {
        refused(&with(tensor(dims)), &["tensor `w`"]);
    }
    refused(&with(tensor(&[5, -4])), &["an axis of -4 elements", "`w`"]);
    refused(&with(tensor(&[5, i64::MIN])), &["`w`"]);
    not_understood(&with(tensor(&[5, 0])), "empty axis");
    not_understood(&with(tensor(&[0, HUGE, HUGE])), "empty axis");
    not_understood(&with(tensor(&[1; 100])), "100 axes");
}

#[test]
fn tensors_that_do_not_hold_what_they_say_are_named() {
    // Sizes without data: nothing is taken for them.
    refused(
        &with(tensor(&[5, 4])),
        &["`w`", "0 bytes do not hold [5, 4]"],
    );
    refused(&with(tensor(&[5, 1 << 35])), &["numbers, and it has"]);
    let mut without = tensor(&[5, 4]);
    without.raw_data = None;
    refused(&with(without), &["`w`", "0 numbers do not fill [5, 4]"]);
    let mut odd = floats("w", &[5, 4], &[0.0; 20]);
    odd.raw_data = Some(vec![0; 79].into());
    refused(&with(odd), &["`w`", "79 bytes"]);
    for element in [0, 8, 14, 99, -1, i32::MIN] {
        let mut other = floats("w", &[5, 4], &[0.0; 20]);
        other.data_type = Some(element);
        not_understood(&with(other), "element type");
    }
    let mut no_type = floats("w", &[5, 4], &[0.0; 20]);
    no_type.data_type = None;
    not_understood(&with(no_type), "`w`: its element type 0");
}

#[test]
fn numbers_that_are_none_are_no_fault_of_the_program() {
    let numbers = [f32::NAN, f32::INFINITY, -0.0, f32::MAX, f32::MIN_POSITIVE];
    read(with(floats("w", &[5, 1], &numbers)).bytes()).unwrap();
}

#[test]
fn inputs_of_any_stated_size_are_not_allocated() {
    for dims in [
        &[OPEN, 1 << 39][..],
        &[OPEN, 1 << 20, 1 << 19],
        &[1, 1 << 36],
        &[1 << 33],
    ] {
        let model = Model::new(13).input("x", dims).relu("x", "y").output("y");
        refused(&model, &["`x`", "do not fit the memory"]);
    }
    for dims in [&[OPEN, HUGE][..], &[HUGE, HUGE], &[OPEN, 1 << 32, 1 << 32]] {
        let model = Model::new(13).input("x", dims).relu("x", "y").output("y");
        refused(&model, &["`x`"]);
    }
    for dims in [&[OPEN, -4][..], &[0, 5], &[i64::MIN, 5], &[], &[OPEN; 100]] {
        let model = Model::new(13).input("x", dims).relu("x", "y").output("y");
        let _ = read(model.bytes());
    }
}

#[test]
fn wide_axes_are_inferred_without_their_maps() {
    // An axis of 2^38 units costs nothing before somebody widens it.
    let model = Model::new(13)
        .input("x", &[OPEN, 1])
        .tensor(floats("one", &[1, 1], &[1.0]))
        .ints("shape", &[1, 1 << 38])
        .node("Expand", &["one", "shape"], &["wide"], &[])
        .node("Mul", &["x", "wide"], &["h"], &[])
        .node("ReduceMean", &["h"], &["y"], &[ints("axes", &[1])])
        .output("y");
    let _ = read(model.bytes());
}

#[test]
fn constants_that_repeat_themselves_do_not_fill_the_memory() {
    let mut model = Model::new(13).input("x", &[OPEN, 5]).ints("n", &[1 << 16]);
    for index in 0..20_000 {
        model = model.node("ConstantOfShape", &["n"], &[&format!("c{index}")], &[]);
    }
    let repeated = vec!["c0"; 100_000];
    model = model.node("Concat", &repeated, &["cat"], &[int("axis", 0)]);
    let model = model.relu("x", "y").output("y");
    let _ = read(model.bytes());
}

#[test]
fn axes_without_end_are_refused() {
    let many: Vec<i64> = (0..60_000).collect();
    for (op, inputs) in [
        ("Unsqueeze", ["x", "many"]),
        ("Squeeze", ["x", "many"]),
        ("Reshape", ["x", "many"]),
        ("Expand", ["x", "many"]),
        ("Tile", ["x", "many"]),
        ("Unsqueeze", ["one", "many"]),
        ("Squeeze", ["many", "many"]),
        ("Reshape", ["many", "many"]),
    ] {
        let model = Model::new(13)
            .input("x", &[OPEN, 5])
            .ints("many", &many)
            .ints("one", &[1])
            .node(op, &inputs, &["z"], &[])
            .relu("x", "y")
            .output("y");
        read(model.bytes()).unwrap();
    }
    let ones = Model::new(13)
        .input("x", &[1, 1])
        .ints("ones", &[1; 10_000])
        .node("Reshape", &["x", "ones"], &["z"], &[])
        .relu("x", "y")
        .output("y");
    not_understood(&ones, "10000 axes");
}

#[test]
fn ranks_that_double_with_each_node_are_refused() {
    let mut model = Model::new(13).input("x", &[1, 1, 1]);
    let mut last = "x".to_owned();
    for index in 0..60 {
        let next = format!("g{index}");
        model = model.node("Gather", &[&last, &last], &[&next], &[]);
        last = next;
    }
    not_understood(&model.relu("x", "y").output("y"), "axes");
}

#[test]
fn sizes_that_double_with_each_node_are_refused() {
    for (op, attributes) in [("Concat", vec![int("axis", 1)]), ("Tile", vec![])] {
        let mut model = Model::new(13)
            .input("x", &[OPEN, 4])
            .ints("twice", &[1, 1 << 20]);
        let mut last = "x".to_owned();
        for index in 0..70 {
            let next = format!("v{index}");
            let other = if op == "Tile" { "twice" } else { &last };
            model = model.node(op, &[&last, other], &[&next], &attributes);
            last = next;
        }
        not_understood(&model.relu("x", "y").output("y"), "2^40");
    }
}

#[test]
fn empty_constants_are_no_fault_of_the_program() {
    let empty = || {
        let mut tensor = floats("", &[0], &[]);
        tensor.name = None;
        tensor
    };
    for attribute in [
        value(empty()),
        value(TensorProto::default()),
        value(whole("", &[])),
        value(tensor(&[HUGE])),
        value(tensor(&[-1])),
        crate::models::float_list("value_floats", &[]),
        crate::models::text("value_string", "text"),
        crate::models::text("value", "text"),
        int("value_ints", 3),
    ] {
        for op in [
            "Add", "Reshape", "Slice", "Clip", "Gather", "Pad", "Expand", "Tile", "Dropout",
        ] {
            let model = Model::new(13)
                .input("x", &[OPEN, 5])
                .node("Constant", &[], &["c"], std::slice::from_ref(&attribute))
                .node(op, &["x", "c", "c"], &["z"], &[])
                .ints("n", &[3])
                .node(
                    "ConstantOfShape",
                    &["n"],
                    &["k"],
                    std::slice::from_ref(&attribute),
                )
                .node("Add", &["x", "k"], &["q"], &[])
                .relu("x", "y")
                .output("y");
            let _ = read(model.bytes());
        }
    }
}
