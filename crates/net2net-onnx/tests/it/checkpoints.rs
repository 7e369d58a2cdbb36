//! Real checkpoints, if they lie beside the project.

use std::path::{Path, PathBuf};

use net2net_core::dims::Spaces;
use net2net_core::request::{Request, request};
use net2net_core::verify::{TOLERANCE, compare, grow_and_prove};
use net2net_core::weights::Weights;
use net2net_kernels::Context;
use net2net_onnx::export::export;
use net2net_onnx::{Document, Imported};

fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/checkpoints");
    let path = root.join(name);
    if !path.exists() {
        eprintln!("{name} is not there, so nothing was tested with it");
        return None;
    }
    Some(path)
}

fn grow(name: &str, wanted: &Request) {
    let Some(path) = shared(name) else { return };
    let document = Document::open(&path).unwrap();
    let imported = Imported::read(&document).unwrap();
    assert_eq!(imported.opaque, []);
    let graph = &imported.graph;
    for space in Spaces::infer(graph).all() {
        if !space.sites.is_empty() {
            eprintln!(
                "{} {} {:?}",
                space.name,
                space.size,
                space.refusal.as_ref().map(|r| &r.why)
            );
        }
    }
    let weights: Weights<f32> = imported.weights(&document).unwrap();
    let inputs = imported.random_inputs(2, 7).unwrap();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut cx = Context::<f32>::new(2).unwrap();
    let (plan, growth) = request(&mut cx, graph, &weights, wanted, 1, 2, &inputs).unwrap();
    let proved = grow_and_prove(graph, &plan, &growth, &weights, 2, 2, &inputs, "random").unwrap();
    eprintln!("{:?}", proved.evidence);
    let written = export(&document, &imported, &plan, &growth, &proved.weights).unwrap();
    let again = Imported::read(&written).unwrap();
    let old: Weights<f64> = imported.weights(&document).unwrap();
    let new: Weights<f64> = again.weights(&written).unwrap();
    let wide: Vec<Vec<f64>> = inputs
        .iter()
        .map(|x| x.iter().map(|x| f64::from(*x)).collect())
        .collect();
    let wide: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
    let mut cx = Context::<f64>::new(2).unwrap();
    let evidence = compare(&mut cx, (graph, &old), (&again.graph, &new), 2, &wide).unwrap();
    eprintln!("{evidence:?}");
    for output in evidence {
        // The shares were rounded to f32 in the file.
        assert!(output.max_rel < 1e-4 && TOLERANCE < 1e-4, "{output:?}");
    }
}

fn wider() -> Request {
    Request {
        widen: Some(1.5),
        ..Request::default()
    }
}

fn deeper() -> Request {
    Request {
        deepen: vec!["*".to_owned()],
        ..Request::default()
    }
}

#[test]
fn a_digit_classifier_grows() {
    grow("burn-mnist/mnist.onnx", &wider());
    grow("burn-mnist/mnist.onnx", &deeper());
}

#[test]
fn a_residual_network_grows() {
    grow("resnet-cifar10/resnet20.onnx", &wider());
    grow("resnet-cifar10/resnet20.onnx", &deeper());
}

#[test]
fn a_residual_network_of_the_other_exporter_grows() {
    grow("resnet-cifar10/resnet20-dynamo.onnx", &wider());
    grow("resnet-cifar10/resnet20-dynamo.onnx", &deeper());
}

#[test]
fn a_transformer_grows() {
    grow("gpt-nano-sort/gpt-nano-sort.onnx", &wider());
}
