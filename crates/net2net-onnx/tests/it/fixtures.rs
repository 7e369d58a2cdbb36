//! Small networks as exporters wrote them: both of PyTorch's (`xtask/python/make_onnx_fixtures.py`),
//! those of Keras and JAX (`xtask/python/make_keras_fixtures.py`).

use std::path::{Path, PathBuf};

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

/// A product without a bias has one all the same: the number 0.
#[test]
fn products_of_jax_grow() {
    for wanted in [wider(), deeper(), both()] {
        grow(&fixture("jax-dense.onnx"), &wanted);
    }
}
