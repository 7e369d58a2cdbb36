//! Small networks as exporters wrote them: both of PyTorch's (`xtask/python/make_onnx_fixtures.py`),
//! those of Keras and JAX (`xtask/python/make_keras_fixtures.py`).

use std::path::{Path, PathBuf};

use net2net_onnx::Document;
use prost::Message;

use super::growing::{both, deeper, grow, wider};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// Pads computed from shapes, a shortcut that pads channels, gates, branches, a channel shuffle.
#[test]
fn a_network_of_many_parts_grows() {
    for name in ["residual-torchscript.onnx", "residual-dynamo.onnx"] {
        for wanted in [wider(), deeper(), both()] {
            grow(&fixture(name), &wanted);
        }
    }
}

/// The exporter computes the scale of the attention from a width that grows with the heads: it
/// must stay what it was.
#[test]
fn an_attention_keeps_its_scale() {
    for name in ["transformer-torchscript.onnx", "transformer-dynamo.onnx"] {
        grow(&fixture(name), &wider());
    }
}

/// Images whose channels are innermost, batch norms as products and sums, pads that differ by side,
/// depthwise and pointwise filters, a gate.
#[test]
fn a_network_of_keras_grows() {
    for wanted in [wider(), deeper(), both()] {
        grow(&fixture("keras-image.onnx"), &wanted);
    }
}

/// Attention written as products of reshaped operands, whose shapes are computed from each other.
#[test]
fn an_attention_of_keras_or_jax_grows() {
    for name in ["keras-attention.onnx", "jax-attention.onnx"] {
        for wanted in [wider(), deeper(), both()] {
            grow(&fixture(name), &wanted);
        }
    }
}

/// The same with a length that the model leaves open: a shape is computed from it, from the batch, and
/// from a number of units that grows.
#[test]
fn an_attention_of_keras_over_any_length_grows() {
    let mut model = Document::open(&fixture("keras-attention.onnx"))
        .unwrap()
        .model;
    let graph = model.graph.as_mut().unwrap();
    graph.value_info.clear();
    let stated = graph.input[0].r#type.as_mut().unwrap();
    let dims = &mut stated
        .tensor_type
        .as_mut()
        .unwrap()
        .shape
        .as_mut()
        .unwrap()
        .dim;
    (dims[1].dim_value, dims[1].dim_param) = (None, Some("T".to_owned()));
    let any_length: [(&str, &[i64]); 2] = [
        ("const_fold_opt__52", &[0, -1, 12]),
        ("const_fold_opt__53", &[0, -1, 3, 4]),
    ];
    for (name, shape) in any_length {
        let tensor = graph.initializer.iter_mut().find(|t| t.name() == name);
        let bytes: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
        tensor.unwrap().raw_data = Some(bytes.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open.onnx");
    std::fs::write(&open, model.encode_to_vec()).unwrap();
    for wanted in [wider(), deeper(), both()] {
        grow(&open, &wanted);
    }
}

/// A product without a bias has one all the same: the number 0.
#[test]
fn products_of_jax_grow() {
    for wanted in [wider(), deeper(), both()] {
        grow(&fixture("jax-dense.onnx"), &wanted);
    }
}
