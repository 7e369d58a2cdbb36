//! Quantised networks: what is in integers stays, what is around it grows, and it is said.

use std::path::Path;

use net2net_onnx::Document;

use super::round_trip::{Grown, grows_at};

fn grown(name: &str) -> Grown {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    let folder = tempfile::tempdir().unwrap();
    grows_at(&Document::open(&path).unwrap(), 1e-5, folder.path())
}

/// Operators of which nothing may change.
fn stays(grown: &Grown, operators: &[&str]) {
    for operator in operators {
        let [old, new] = [&grown.old, &grown.new].map(|model| {
            let all = model.graph.as_ref().unwrap().node.iter();
            let own = all.filter(|node| node.op_type() == *operator);
            own.cloned().collect::<Vec<_>>()
        });
        assert!(!old.is_empty() && old == new, "{operator}");
    }
    let quantized: Vec<_> = grown.imported.opaque.iter().collect();
    assert!(quantized.iter().any(|node| node.is_quantized()));
    for node in quantized {
        assert!(
            node.why.contains("quantise it again"),
            "{}: {}",
            node.node,
            node.why
        );
    }
}

/// One convolution of three, by ranges that were measured before.
#[test]
fn what_is_around_a_quantised_convolution_grows() {
    let grown = grown("quantized-static.onnx");
    stays(&grown, &["QuantizeLinear", "DequantizeLinear"]);
    assert_eq!(grown.dims("0.weight")[0], grown.dims("0.weight")[1]);
    assert_eq!(grown.dims("7.weight"), [vec![6, 64], vec![9, 96]]);
}

/// One product of three, by ranges that are measured while it runs.
#[test]
fn what_is_around_a_quantised_product_grows() {
    let grown = grown("quantized-dynamic.onnx");
    stays(&grown, &["DynamicQuantizeLinear", "MatMulInteger", "Cast"]);
    assert_eq!(grown.dims("2.weight"), [vec![4, 4, 3, 3], vec![6, 6, 3, 3]]);
    assert_eq!(
        grown.dims("11.weight_Transposed")[0],
        grown.dims("11.weight_Transposed")[1]
    );
}
