//! One growth of one file, proved on what is written.

use std::path::Path;

use net2net_core::request::{Request, request};
use net2net_core::verify::{compare, grow_and_prove};
use net2net_core::weights::Weights;
use net2net_kernels::Context;
use net2net_onnx::export::export;
use net2net_onnx::{Document, Imported};

/// What the rounding of the file's f32 numbers may change.
const ROUNDING: f64 = 1e-5;

/// Grows a file, writes it, reads it again, and compares both in f64.
pub fn grow(path: &Path, wanted: &Request) {
    let folder = tempfile::tempdir().unwrap();
    grow_to(path, wanted, &folder.path().join("grown.onnx"));
}

/// The same, and leaves the grown file.
pub fn grow_to(path: &Path, wanted: &Request, file: &Path) {
    let document = Document::open(path).unwrap();
    let imported = Imported::read(&document).unwrap();
    assert_eq!(imported.opaque, []);
    let graph = &imported.graph;
    let weights: Weights<f32> = imported.weights(&document).unwrap();
    let inputs = imported.random_inputs(2, 7).unwrap();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut cx = Context::<f32>::new(1).unwrap();
    let (plan, growth) = request(&mut cx, graph, &weights, wanted, 1, 2, &inputs).unwrap();
    let proved = grow_and_prove(graph, &plan, &growth, &weights, 1, 2, &inputs, "random").unwrap();
    assert!(proved.evidence.exact);
    let written = export(&document, &imported, &plan, &growth, &proved.weights).unwrap();
    written.save(file).unwrap();
    let written = Document::open(file).unwrap();
    let again = Imported::read(&written).unwrap();
    let (old, new): (Weights<f64>, Weights<f64>) = (
        imported.weights(&document).unwrap(),
        again.weights(&written).unwrap(),
    );
    let wide = |x: &&[f32]| x.iter().map(|x| f64::from(*x)).collect();
    let wide: Vec<Vec<f64>> = inputs.iter().map(wide).collect();
    let wide: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
    let mut cx = Context::<f64>::new(1).unwrap();
    let evidence = compare(&mut cx, (graph, &old), (&again.graph, &new), 2, &wide).unwrap();
    for output in evidence {
        assert!(output.max_rel < ROUNDING, "{output:?}");
    }
}

/// Everything that can by half.
pub fn wider() -> Request {
    Request {
        widen: Some(1.5),
        ..Request::default()
    }
}

/// A layer after each layer.
pub fn deeper() -> Request {
    Request {
        deepen: vec!["*".to_owned()],
        ..Request::default()
    }
}

/// Both.
pub fn both() -> Request {
    Request {
        widen: Some(1.5),
        ..deeper()
    }
}
