//! How models keep their numbers, and what else they keep.

use std::fs;

use half::f16;
use net2net_onnx::Document;
use net2net_onnx::proto::TensorProto;
use prost::Message;
use prost::bytes::Bytes;

use crate::models::{Model, OPEN, entry, float_list, info, random, value, whole};
use crate::round_trip::{grows, grows_at, grows_within};

fn small() -> Model {
    Model::new(13)
        .input("x", &[OPEN, 5])
        .gemm("x", "a", 5, 8)
        .relu("a", "ra")
        .gemm("ra", "y", 8, 3)
        .output("y")
}

/// The model with each initialiser stored in another way.
fn stored(mut model: Model, way: impl Fn(&mut TensorProto, Vec<f32>)) -> Model {
    for tensor in &mut model.graph().initializer {
        if tensor.data_type() == 1 {
            let raw = tensor.raw_data.take().unwrap();
            let words = raw.as_chunks::<4>().0.iter();
            let numbers = words.map(|b| f32::from_le_bytes(*b)).collect();
            way(tensor, numbers);
        }
    }
    model
}

/// Casts of the values at the borders are what exporters of half precision write.
fn element(mut model: Model, id: i32) -> Model {
    let graph = model.graph();
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let tensor = info.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
        tensor.elem_type = Some(id);
    }
    model
}

#[test]
fn half_and_double_precision_are_kept() {
    let half = stored(small(), |tensor, numbers| {
        let bytes = numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes());
        tensor.raw_data = Some(Bytes::from(bytes.collect::<Vec<u8>>()));
        tensor.data_type = Some(10);
    });
    let halves_as_bits = stored(small(), |tensor, numbers| {
        let bits = numbers
            .iter()
            .map(|x| i32::from(f16::from_f32(*x).to_bits()));
        tensor.int32_data = bits.collect();
        tensor.data_type = Some(10);
    });
    let double = stored(small(), |tensor, numbers| {
        let bytes = numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes());
        tensor.raw_data = Some(Bytes::from(bytes.collect::<Vec<u8>>()));
        tensor.data_type = Some(11);
    });
    let typed_double = stored(small(), |tensor, numbers| {
        tensor.double_data = numbers.iter().map(|x| f64::from(*x)).collect();
        tensor.data_type = Some(11);
    });
    for (model, id, tolerance) in [
        (half, 10, 1e-3),
        (halves_as_bits, 10, 1e-3),
        (double, 11, 1e-6),
        (typed_double, 11, 1e-6),
    ] {
        let grown = grows_within(&element(model, id), tolerance);
        grown.has(&["a"]);
        let all = &grown.new.graph.as_ref().unwrap().initializer;
        assert!(all.iter().all(|tensor| tensor.data_type() == id));
    }
}

#[test]
fn typed_numbers_are_read() {
    let model = stored(small(), |tensor, numbers| tensor.float_data = numbers);
    grows(&model).has(&["a"]);
}

#[test]
fn constants_are_weights_too() {
    let tensor = |name: &str, dims: &[usize]| {
        let mut tensor = crate::models::floats(name, dims, &random(name, dims));
        tensor.name = None;
        tensor
    };
    let model = Model::new(13)
        .input("x", &[OPEN, 5])
        .node("Constant", &[], &["w1"], &[value(tensor("w1", &[5, 8]))])
        .node("MatMul", &["x", "w1"], &["h"], &[])
        .relu("h", "relu")
        .node("Constant", &[], &["w2"], &[value(tensor("w2", &[8, 3]))])
        .node("MatMul", &["relu", "w2"], &["z"], &[])
        .node(
            "Constant",
            &[],
            &["b"],
            &[float_list("value_floats", &[1.0, 2.0, 3.0])],
        )
        .node("Add", &["z", "b"], &["y"], &[])
        .output("y");
    let grown = grows(&model);
    grown.has(&["h"]);
    let nodes = &grown.new.graph.as_ref().unwrap().node;
    let first = nodes.iter().find(|n| n.output[0] == "w1").unwrap();
    assert_eq!(first.attribute[0].t.as_ref().unwrap().dims, [5, 12]);
}

#[test]
fn initialisers_that_are_also_inputs_keep_their_statement() {
    let mut model = small();
    for (name, dims) in [("a.weight", vec![8, 5]), ("a.bias", vec![8])] {
        model.graph().input.push(info(name, 1, &dims));
    }
    let grown = grows(&model);
    let inputs = &grown.new.graph.as_ref().unwrap().input;
    let stated = |index: usize| {
        let tensor = inputs[index].r#type.as_ref().unwrap().tensor_type.as_ref();
        tensor.unwrap().shape.as_ref().unwrap().dim[0].dim_value
    };
    assert_eq!([stated(1), stated(2)], [Some(12), Some(12)]);
}

#[test]
fn names_of_any_kind_are_kept() {
    let model = Model::new(13)
        .input("ein Bild", &[OPEN, 3, 8, 8])
        .conv("ein Bild", "层 1/conv", 3, 6)
        .relu("层 1/conv", "a \"b\" \\ {c}, [d]")
        .conv("a \"b\" \\ {c}, [d]", "x = y -> z # é", 6, 4)
        .relu("x = y -> z # é", "🦀")
        .head("🦀", 4);
    grows(&model).has(&["层 1/conv", "x = y -> z # é"]);
}

/// The small model with its tensors in a file beside.
fn beside(folder: &std::path::Path) -> std::path::PathBuf {
    let mut model = Model::new(13)
        .input("x", &[OPEN, 40])
        .gemm("x", "a", 40, 32)
        .relu("a", "ra")
        .gemm("ra", "y", 32, 30)
        .output("y");
    let mut data = vec![7u8; 100];
    for tensor in &mut model.graph().initializer {
        let raw = tensor.raw_data.take().unwrap();
        tensor.data_location = Some(1);
        tensor.external_data = vec![
            entry("location", "numbers.bin"),
            entry("offset", &data.len().to_string()),
            entry("length", &raw.len().to_string()),
        ];
        data.extend(&raw);
    }
    fs::write(folder.join("numbers.bin"), data).unwrap();
    let path = folder.join("model.onnx");
    fs::write(&path, model.0.encode_to_vec()).unwrap();
    path
}

#[test]
fn tensors_beside_the_model_are_written_beside_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let document = Document::open(&beside(folder.path())).unwrap();
    let out = tempfile::tempdir().unwrap();
    let grown = grows_at(&document, 1e-6, out.path());
    grown.has(&["a"]);
    let path = out.path().join("grown model.onnx");
    assert!(out.path().join("grown model.onnx.data").exists());
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 2);
    let again = Document::open(&path).unwrap();
    let large = again
        .graph()
        .initializer
        .iter()
        .find(|t| t.name() == "a.weight");
    assert_eq!(
        large.unwrap().external_data[0].value(),
        "grown model.onnx.data"
    );
    assert!(fs::metadata(&path).unwrap().len() < 4096);
}

#[test]
fn a_model_may_be_saved_over_the_file_that_it_was_read_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = beside(folder.path());
    for _ in 0..2 {
        let document = Document::open(&path).unwrap();
        document.save(&path).unwrap();
    }
    let grown = grows_at(&Document::open(&path).unwrap(), 1e-6, folder.path());
    grown.has(&["a"]);
}

#[test]
fn whole_numbers_in_raw_bytes_are_read() {
    let mut shape = whole("shape", &[]);
    let numbers = [0i64, -1];
    shape.dims = vec![2];
    shape.raw_data = Some(numbers.iter().flat_map(|x| x.to_le_bytes()).collect());
    let model = Model::new(13)
        .input("image", &[OPEN, 3, 4, 4])
        .conv("image", "conv1", 3, 6)
        .relu("conv1", "relu1")
        .tensor(shape)
        .node("Reshape", &["relu1", "shape"], &["flat"], &[])
        .gemm("flat", "fc", 96, 3)
        .output("fc");
    let grown = grows(&model);
    grown.has(&["conv1"]);
    assert_eq!(grown.dims("fc.weight")[1], [3, 144]);
}
