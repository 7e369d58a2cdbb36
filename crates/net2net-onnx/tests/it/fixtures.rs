//! Small networks as both of PyTorch's exporters wrote them (`xtask/python/make_onnx_fixtures.py`).

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
