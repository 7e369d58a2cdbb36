//! Any bytes as an ONNX file: read, understood, written again; an error or a model, no panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use net2net_core::dims::Spaces;
use net2net_core::weights::Weights;
use net2net_onnx::{Document, Imported};

/// Models with more numbers are as hostile, but slow to go through.
const MAX_PARAMETERS: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let bytes = data.to_vec().into();
    let Ok(document) = Document::decode(bytes, Path::new("fuzz.onnx"), Path::new("/nonexistent"))
    else {
        return;
    };
    let Ok(imported) = Imported::read(&document) else {
        return;
    };
    imported.graph.validate().expect("what is read is valid");
    let spaces = Spaces::infer(&imported.graph);
    assert!(spaces.growable().count() <= spaces.all().len());
    if imported.graph.parameter_count() <= MAX_PARAMETERS {
        let _: Result<Weights<f32>, _> = imported.weights(&document);
        let _ = imported.random_inputs(1, 0);
    }
});
