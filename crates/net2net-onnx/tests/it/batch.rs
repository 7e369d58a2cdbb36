//! Models whose batch is mixed with other axes, or computed with.

use std::path::Path;

use net2net_core::request::Request;
use net2net_onnx::Document;
use net2net_onnx::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};
use prost::Message as _;

use crate::growing::{grow_to, wider};

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(output.to_owned()),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn with_axis(mut node: NodeProto, axis: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some("axis".to_owned()),
        r#type: Some(2),
        i: Some(axis),
        ..AttributeProto::default()
    });
    node
}

fn ints(name: &str, dims: &[i64], numbers: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(7),
        dims: dims.to_vec(),
        raw_data: Some(
            numbers
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<u8>>()
                .into(),
        ),
        ..TensorProto::default()
    }
}

/// Numbers without a pattern that growth could hide behind.
fn reals(name: &str, dims: &[i64]) -> TensorProto {
    let count: i64 = dims.iter().product();
    let number = |i: i64| ((i * 37 % 101) as f32 - 50.0) / 50.0;
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(1),
        dims: dims.to_vec(),
        raw_data: Some(
            (0..count)
                .flat_map(|i| number(i).to_le_bytes())
                .collect::<Vec<u8>>()
                .into(),
        ),
        ..TensorProto::default()
    }
}

fn info(name: &str, dims: &[i64]) -> ValueInfoProto {
    let inner = dims.iter().map(|size| Dimension {
        dim_value: Some(*size),
        ..Dimension::default()
    });
    let batch = Dimension {
        dim_param: Some("batch".to_owned()),
        ..Dimension::default()
    };
    let tensor_type = TensorType {
        elem_type: Some(1),
        shape: Some(TensorShapeProto {
            dim: std::iter::once(batch).chain(inner).collect(),
        }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// Writes a model from `x` to `y`, both with a free batch.
fn write(path: &Path, x: &[i64], y: &[i64], nodes: Vec<NodeProto>, tensors: Vec<TensorProto>) {
    let graph = GraphProto {
        name: Some("tiny".to_owned()),
        node: nodes,
        initializer: tensors,
        input: vec![info("x", x)],
        output: vec![info("y", y)],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto {
        domain: Some(String::new()),
        version: Some(17),
    };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    };
    std::fs::write(path, model.encode_to_vec()).unwrap();
}

fn grown(nodes: Vec<NodeProto>, tensors: Vec<TensorProto>, x: &[i64], y: &[i64]) -> Document {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        folder.path().join("old.onnx"),
        folder.path().join("new.onnx"),
    );
    write(&old, x, y, nodes, tensors);
    let wanted: Request = wider();
    grow_to(&old, &wanted, &new);
    Document::open(&new).unwrap()
}

/// The whole numbers of an initialiser that a node reads second.
fn second_input(document: &Document, output: &str) -> Vec<i64> {
    let graph = document.graph();
    let node = graph
        .node
        .iter()
        .find(|node| node.output == [output])
        .unwrap();
    let tensor = graph
        .initializer
        .iter()
        .find(|t| t.name() == node.input[1])
        .unwrap();
    let bytes = tensor.raw_data.as_ref().unwrap();
    bytes
        .chunks(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// Windows are part of the batch, and the shape behind them is computed: when it has to be stated,
/// the batch stays free.
#[test]
fn a_stated_shape_leaves_the_batch_free() {
    let nodes = vec![
        node("Shape", &["x"], "sizes"),
        with_axis(node("Gather", &["sizes", "first"], "n"), 0),
        node("Mul", &["n", "four"], "windows"),
        with_axis(node("Concat", &["windows", "inner"], "split"), 0),
        node("Reshape", &["x", "split"], "parts"),
        node("MatMul", &["parts", "w1"], "hidden"),
        node("Relu", &["hidden"], "active"),
        with_axis(node("Concat", &["n", "outer"], "join"), 0),
        node("Reshape", &["active", "join"], "whole"),
        node("MatMul", &["whole", "w2"], "y"),
    ];
    let tensors = vec![
        ints("first", &[1], &[0]),
        ints("four", &[1], &[4]),
        ints("inner", &[2], &[2, 5]),
        // The hidden width is written into the shape.
        ints("outer", &[2], &[8, 6]),
        reals("w1", &[5, 6]),
        reals("w2", &[6, 3]),
    ];
    let new = grown(nodes, tensors, &[8, 5], &[8, 3]);
    // The last axis is that of what is reshaped.
    assert_eq!(second_input(&new, "whole"), [-1, 8, 0]);
}

/// What `as_strided` of a contiguous tensor becomes.
#[test]
fn a_lookup_of_everything_in_order_is_a_reshape() {
    let nodes = vec![
        node("MatMul", &["x", "w1"], "hidden"),
        node("Shape", &["x"], "sizes"),
        with_axis(node("Gather", &["sizes", "zero"], "n"), 0),
        node("Reshape", &["hidden", "flat"], "vector"),
        node("Range", &["zero", "n", "one"], "samples"),
        node("Mul", &["samples", "six"], "starts"),
        node("Unsqueeze", &["starts", "last"], "column"),
        node("Add", &["column", "places"], "indices"),
        with_axis(node("Gather", &["vector", "indices"], "again"), 0),
        node("MatMul", &["again", "w2"], "y"),
    ];
    let tensors = vec![
        ints("zero", &[], &[0]),
        ints("one", &[], &[1]),
        ints("six", &[], &[6]),
        ints("flat", &[1], &[-1]),
        ints("last", &[1], &[1]),
        ints("places", &[1, 6], &[0, 1, 2, 3, 4, 5]),
        reals("w1", &[5, 6]),
        reals("w2", &[6, 3]),
    ];
    let new = grown(nodes, tensors, &[5], &[3]);
    assert_eq!(second_input(&new, "again"), [-1, 9]);
}

/// Half of the channels, counted by the model itself, is no longer half when the halves grow by
/// different amounts.
#[test]
fn bounds_that_are_computed_are_stated_when_they_no_longer_fit() {
    let nodes = vec![
        node("MatMul", &["x", "w1"], "left"),
        node("MatMul", &["x", "w0"], "right"),
        with_axis(node("Concat", &["left", "right"], "both"), 1),
        node("Shape", &["both"], "sizes"),
        with_axis(node("Gather", &["sizes", "last"], "width"), 0),
        node("Div", &["width", "two"], "half"),
        node("Slice", &["both", "zero", "half", "last"], "first"),
        node("Slice", &["both", "half", "width", "last"], "second"),
        node("MatMul", &["first", "w2"], "a"),
        node("MatMul", &["second", "w3"], "b"),
        node("Add", &["a", "b"], "y"),
    ];
    let tensors = vec![
        ints("zero", &[1], &[0]),
        ints("two", &[1], &[2]),
        ints("last", &[1], &[1]),
        reals("w0", &[5, 6]),
        reals("w1", &[5, 6]),
        reals("w2", &[6, 3]),
        reals("w3", &[6, 3]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        folder.path().join("old.onnx"),
        folder.path().join("new.onnx"),
    );
    write(&old, &[5], &[3], nodes, tensors);
    let wanted = Request {
        sizes: [("right".to_owned(), 11)].into(),
        ..Request::default()
    };
    grow_to(&old, &wanted, &new);
}
