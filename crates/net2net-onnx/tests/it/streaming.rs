//! Models whose grown parameters are made while they are written.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use net2net_core::request::{Request, request};
use net2net_core::weights::{Source, Weights};
use net2net_kernels::Context;
use net2net_onnx::export::{export, export_streaming};
use net2net_onnx::{Document, Imported, OnnxError};
use prost::Message;
use prost::bytes::Bytes;

use crate::models::{Model, OPEN, entry};

/// Layers that are large enough not to be made at once, one of which is turned when it is read.
fn large() -> Model {
    Model::new(13)
        .input("x", &[OPEN, 200])
        .gemm("x", "a", 200, 160)
        .relu("a", "ra")
        .weight("turned.weight", &[160, 150])
        .node("MatMul", &["ra", "turned.weight"], &["b"], &[])
        .relu("b", "rb")
        .gemm("rb", "y", 150, 3)
        .output("y")
}

/// The same with its tensors in a file beside, written into the folder.
fn beside(folder: &Path) -> Document {
    let mut model = large();
    let mut data = Vec::new();
    for tensor in &mut model.graph().initializer {
        let raw = tensor.raw_data.take().unwrap();
        tensor.data_location = Some(1);
        tensor.external_data = vec![
            entry("location", "weights.bin"),
            entry("offset", &data.len().to_string()),
            entry("length", &raw.len().to_string()),
        ];
        data.extend_from_slice(&raw);
    }
    fs::write(folder.join("weights.bin"), data).unwrap();
    let path = folder.join("beside.onnx");
    fs::write(&path, model.0.encode_to_vec()).unwrap();
    Document::open(&path).unwrap()
}

/// The files that a document is saved as.
fn saved(document: &Document, folder: &Path) -> Vec<Vec<u8>> {
    let path = folder.join("grown.onnx");
    document.save(&path).unwrap();
    let data = folder.join("grown.onnx.data");
    let files = [path, data].into_iter().filter(|path| path.exists());
    let bytes = files.map(|path| {
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        bytes
    });
    bytes.collect()
}

fn grown(document: Document, wanted: &Request) -> [Document; 2] {
    let imported = Imported::read(&document).unwrap();
    let weights: Weights<f32> = imported.weights(&document).unwrap();
    let inputs = imported.random_inputs(2, 7).unwrap();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut cx = Context::<f32>::new(1).unwrap();
    let (graph, batch) = (&imported.graph, 2);
    let (plan, growth) = request(&mut cx, graph, &weights, wanted, 1, batch, &inputs).unwrap();
    let now = growth.weights(&weights).unwrap();
    let whole = export(&document, &imported, &plan, &growth, &now).unwrap();
    let parts = Arc::new((document, imported));
    let later = export_streaming(&parts, &plan, &Arc::new(growth), 2).unwrap();
    [whole, later]
}

#[test]
fn what_is_made_while_it_is_written_is_the_same_bytes() {
    let wider = Request {
        widen: Some(1.5),
        ..Request::default()
    };
    let both = Request {
        deepen: vec!["*".to_owned()],
        ..wider.clone()
    };
    for wanted in [wider, both] {
        let folder = tempfile::tempdir().unwrap();
        let [whole, later] = grown(large().document(), &wanted);
        let files = saved(&whole, folder.path());
        assert_eq!(files, [whole.model.encode_to_vec()]);
        assert!(later.model.encoded_len() * 10 < whole.model.encoded_len());
        assert_eq!(saved(&later, folder.path()), files);
        let [whole, later] = grown(beside(folder.path()), &wanted);
        let files = saved(&whole, folder.path());
        assert_eq!(files.len(), 2);
        assert_eq!(saved(&later, folder.path()), files);
    }
}

#[test]
fn what_is_staged_can_be_read_and_leaves_nothing_unless_it_is_put() {
    let wanted = Request {
        widen: Some(1.5),
        ..Request::default()
    };
    let outer = tempfile::tempdir().unwrap();
    for external in [false, true] {
        let source = if external {
            beside(outer.path())
        } else {
            large().document()
        };
        let [_, later] = grown(source, &wanted);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grown.onnx");
        let staged = later.stage(&path).unwrap();
        let document = staged.open().unwrap();
        let imported = Imported::read(&document).unwrap();
        let weights: Weights<f32> = imported.weights(&document).unwrap();
        let file = imported.source(&document).unwrap();
        assert!(!path.exists());
        drop(staged);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        later.stage(&path).unwrap().put().unwrap();
        let put = Document::open(&path).unwrap();
        let again: Weights<f32> = Imported::read(&put).unwrap().weights(&put).unwrap();
        assert_eq!(again, weights);
        for (name, tensor) in weights.iter() {
            assert_eq!(&*file.tensor(name).unwrap(), tensor, "{name}");
        }
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1 + usize::from(external)
        );
    }
}

#[test]
fn a_source_refuses_tensors_that_are_too_short_before_it_reads_them() {
    let mut model = large();
    let tensor = &mut model.graph().initializer[0];
    let raw = tensor.raw_data.take().unwrap();
    tensor.raw_data = Some(Bytes::copy_from_slice(&raw[4..]));
    let document = model.document();
    let imported = Imported::read(&document).unwrap();
    let error = imported.source(&document).map(|_| ()).unwrap_err();
    assert!(matches!(error, OnnxError::Tensor { .. }), "{error}");
}

#[test]
fn no_file_can_state_a_tensor_that_is_still_to_be_made() {
    let mut model = large();
    let tensor = &mut model.graph().initializer[0];
    tensor.raw_data = None;
    tensor.data_location = Some(1);
    tensor.external_data = vec![entry("location", "\0"), entry("parameter", "a.weight")];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, model.0.encode_to_vec()).unwrap();
    let error = Document::open(&path).map(|_| ()).unwrap_err();
    assert!(matches!(error, OnnxError::Tensor { .. }), "{error}");
}
