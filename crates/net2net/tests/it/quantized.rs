//! A quantised model is said to be one, and what to do.

use std::fs;
use std::path::Path;

use super::growing::{done, fails};

#[test]
fn a_quantised_model_says_what_it_is_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../net2net-onnx/tests/fixtures");
    let model = folder.path().join("model.onnx");
    fs::copy(fixtures.join("quantized-static.onnx"), &model).unwrap();
    let shown = done(folder.path(), "inspect model.onnx");
    for said in [
        "the model is quantised (6 of its nodes)",
        "quantise it again",
    ] {
        assert!(shown.contains(said), "{said} is not in\n{shown}");
    }
    let listed = done(folder.path(), "inspect model.onnx --json");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["quantized"], 6);
    let said = ["the model is quantised", "quantise it again"];
    let grow = "grow model.onnx --widen 0.weight=6 -o bigger.onnx";
    fails(folder.path(), grow, 1, &said);
}
