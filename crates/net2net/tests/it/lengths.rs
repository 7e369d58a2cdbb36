//! What a model leaves open has one length in a proof, and others in use.

use std::path::Path;

use net2net_onnx::proto::{AttributeProto, Dimension, GraphProto, TensorProto, ValueInfoProto};

use super::growing::{done, fails, node, save, tensor, value};

/// Adds an axis of any length to a value `[N, size]`.
fn of_any_length(mut info: ValueInfoProto) -> ValueInfoProto {
    let open = Dimension {
        dim_param: Some("time".to_owned()),
        ..Dimension::default()
    };
    let stated = info.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    stated.shape.as_mut().unwrap().dim.insert(1, open);
    info
}

fn whole(name: &str, numbers: &[i64]) -> TensorProto {
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto {
        name: Some(name.to_owned()),
        dims: vec![numbers.len() as i64],
        data_type: Some(7),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

/// A network that leaves out steps from `end` on.
fn write(path: &Path, end: i64) {
    let graph = GraphProto {
        name: Some("steps".to_owned()),
        input: vec![of_any_length(value("x", Some(5)))],
        output: vec![value("y", None)],
        initializer: vec![
            tensor("a.weight", &[5, 8], 1),
            tensor("b.weight", &[8, 3], 1),
            whole("starts", &[0]),
            whole("ends", &[end]),
            whole("axes", &[1]),
        ],
        node: vec![
            node("MatMul", &["x", "a.weight"], "a"),
            node("Relu", &["a"], "r"),
            node("Slice", &["r", "starts", "ends", "axes"], "s"),
            node("MatMul", &["s", "b.weight"], "y"),
        ],
        ..GraphProto::default()
    };
    save(path, graph);
}

#[test]
fn models_that_agree_at_one_length_alone_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(&folder.join("last.onnx"), -1);
    // The first comparison is made with 11 steps.
    write(&folder.join("tenth.onnx"), 10);
    fails(
        folder,
        "verify last.onnx tenth.onnx",
        1,
        &["the new model at x", "where the old one runs"],
    );
    let said = done(folder, "verify last.onnx last.onnx");
    assert!(said.contains("at other lengths, x Nx23x5"), "{said}");
}

#[test]
fn growth_is_proved_at_other_lengths() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(&folder.join("last.onnx"), -1);
    let said = done(folder, "grow last.onnx --wider 2 -o bigger.onnx --json");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let there = &report["evidence_at_other_lengths"][0];
    assert_eq!(there["output"], "y");
    assert!(there["max_rel"].as_f64().unwrap() < 1e-6);
}

/// A network that divides by the number of its hidden units in all samples, or by that of its samples.
fn write_counting(path: &Path, units: bool) {
    let mut cast = node("Cast", &["count"], "divisor");
    cast.attribute.push(AttributeProto {
        name: Some("to".to_owned()),
        r#type: Some(2),
        i: Some(1),
        ..AttributeProto::default()
    });
    let mut counting = match units {
        true => vec![node("Size", &["r"], "count")],
        false => vec![
            node("Shape", &["r"], "shape"),
            node("Gather", &["shape", "first"], "count"),
        ],
    };
    counting.push(cast);
    let layer = vec![
        node("MatMul", &["x", "a.weight"], "a"),
        node("Relu", &["a"], "r"),
    ];
    let rest = vec![
        node("Div", &["r", "divisor"], "d"),
        node("MatMul", &["d", "b.weight"], "y"),
    ];
    let graph = GraphProto {
        name: Some("counts".to_owned()),
        input: vec![value("x", Some(5))],
        output: vec![value("y", None)],
        initializer: vec![
            tensor("a.weight", &[5, 8], 1),
            tensor("b.weight", &[8, 3], 1),
            whole("first", &[0]),
        ],
        node: layer.into_iter().chain(counting).chain(rest).collect(),
        ..GraphProto::default()
    };
    save(path, graph);
}

/// The size of a batch is none that there is while models are read; what is computed from it is compared with a
/// batch that there is.
#[test]
fn numbers_that_count_the_batch_are_not_stated() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_counting(&folder.join("units.onnx"), true);
    write_counting(&folder.join("samples.onnx"), false);
    fails(
        folder,
        "grow units.onnx --wider 2 -o bigger.onnx",
        1,
        &["would not be the same function"],
    );
    assert!(!folder.join("bigger.onnx").exists());
    let said = done(folder, "grow samples.onnx --wider 2 -o bigger.onnx");
    assert!(said.contains("x 3x5"), "{said}");
}
