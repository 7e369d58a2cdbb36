//! Streams that are normalised over, heads that are the embedding, and classes behind a softmax:
//! what growth without copies writes.

use net2net_core::request::Request;
use net2net_onnx::Document;
use net2net_onnx::proto::TensorProto;

use super::growing::{grow_to, wider};
use super::models::{Model, OPEN, float, floats, int, ints};

/// Grows a model and returns what is written.
fn grown(model: &Model, wanted: &Request) -> Document {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| folder.path().join(format!("{name}.onnx")));
    model.document().save(&old).unwrap();
    grow_to(&old, wanted, &new);
    Document::open(&new).unwrap()
}

fn tensor<'d>(document: &'d Document, name: &str) -> &'d TensorProto {
    let mut all = document.graph().initializer.iter();
    all.find(|tensor| tensor.name() == name).unwrap()
}

fn numbers(document: &Document, name: &str) -> Vec<f32> {
    let raw = tensor(document, name).raw_data.as_ref().unwrap();
    let each = raw.chunks_exact(4);
    each.map(|x| f32::from_le_bytes(x.try_into().unwrap()))
        .collect()
}

/// A stream of 8 units from 5 features, before it is normalised.
fn stream(opset: i64) -> Model {
    Model::new(opset)
        .input("x", &[OPEN, 5])
        .gemm("x", "embed", 5, 8)
}

/// A block on the stream, and what is normalised last.
fn block(model: Model) -> Model {
    model
        .gemm("n", "up", 8, 6)
        .relu("up", "act")
        .gemm("act", "down", 6, 8)
        .node("Add", &["embed", "down"], &["sum"], &[])
}

fn layer_norm(model: Model, from: &str, to: &str) -> Model {
    let (scale, shift) = (format!("{to}.scale"), format!("{to}.shift"));
    model.weight(&scale, &[8]).weight(&shift, &[8]).node(
        "LayerNormalization",
        &[from, &scale, &shift],
        &[to],
        &[float("epsilon", 1e-2)],
    )
}

#[test]
fn a_stream_grows_by_half_and_its_epsilon_says_so() {
    let model = layer_norm(stream(17), "embed", "n");
    let model = layer_norm(block(model), "sum", "m")
        .gemm("m", "fc", 8, 3)
        .output("fc");
    let written = grown(&model, &wider());
    assert_eq!(tensor(&written, "embed.weight").dims, [12, 5]);
    let nodes = written.graph().node.iter();
    let norms = nodes.filter(|node| node.op_type() == "LayerNormalization");
    let epsilons: Vec<f32> = norms.map(|node| node.attribute[0].f.unwrap()).collect();
    assert_eq!(epsilons, [(f64::from(1e-2f32) * 8.0 / 12.0) as f32; 2]);
    // Twice as wide, there are copies, and it stays.
    let twice = Request {
        widen: Some(2.0),
        ..Request::default()
    };
    let written = grown(&model, &twice);
    let mut nodes = written.graph().node.iter();
    let norm = nodes
        .find(|node| node.op_type() == "LayerNormalization")
        .unwrap();
    assert_eq!(norm.attribute[0].f, Some(1e-2));
}

#[test]
fn a_normalisation_in_parts_has_its_constant_changed() {
    let parts = |model: Model, from: &str, to: &str| {
        let name = |part: &str| format!("{to}.{part}");
        let [square, mean, sum, root, inverse, apart, scale] =
            ["square", "mean", "sum", "root", "inverse", "apart", "scale"].map(name);
        model
            .weight(&scale, &[8])
            .node("Pow", &[from, "two"], &[&square], &[])
            .node("ReduceMean", &[&square], &[&mean], &[ints("axes", &[-1])])
            .node("Add", &[&mean, "epsilon"], &[&sum], &[])
            .node("Sqrt", &[&sum], &[&root], &[])
            .node("Div", &["one", &root], &[&inverse], &[])
            .node("Mul", &[from, &inverse], &[&apart], &[])
            .node("Mul", &[&apart, &scale], &[to], &[])
    };
    let model = stream(13)
        .tensor(floats("two", &[], &[2.0]))
        .tensor(floats("one", &[], &[1.0]))
        .tensor(floats("epsilon", &[], &[0.03]));
    let model = parts(block(parts(model, "embed", "n")), "sum", "m");
    let model = model.gemm("m", "fc", 8, 3).output("fc");
    let written = grown(&model, &wider());
    assert_eq!(tensor(&written, "embed.weight").dims, [12, 5]);
    assert_eq!(numbers(&written, "epsilon"), [0.02]);
    assert_eq!(numbers(&written, "one"), [1.0]);
    // New units begin at zero, and what reads them does not.
    assert!(
        numbers(&written, "embed.weight")[40..]
            .iter()
            .all(|x| *x == 0.0)
    );
    let up = numbers(&written, "up.weight");
    assert!(up.chunks(12).all(|row| row[8..].iter().all(|x| *x != 0.0)));
}

#[test]
fn an_embedding_that_is_the_head_too_stays_one() {
    let model = Model::new(17)
        .input("x", &[OPEN, 5])
        .weight("table", &[5, 8])
        .node("MatMul", &["x", "table"], &["embed"], &[]);
    let model = layer_norm(block(layer_norm(model, "embed", "n")), "sum", "m")
        .node("Gemm", &["m", "table"], &["fc"], &[int("transB", 1)])
        .output("fc");
    for factor in [1.5, 2.0] {
        let wanted = Request {
            widen: Some(factor),
            ..Request::default()
        };
        let written = grown(&model, &wanted);
        let width = (8.0 * factor) as i64;
        assert_eq!(tensor(&written, "table").dims, [5, width]);
        assert_eq!(written.graph().initializer.len(), 9);
    }
}

#[test]
fn classes_behind_a_softmax_are_added() {
    let model = stream(13)
        .relu("embed", "act")
        .gemm("act", "fc", 8, 3)
        .node("Softmax", &["fc"], &["likely"], &[int("axis", 1)])
        .output("likely");
    let wanted = Request {
        classes: [("*".to_owned(), 5)].into(),
        ..Request::default()
    };
    let written = grown(&model, &wanted);
    assert_eq!(tensor(&written, "fc.weight").dims, [5, 8]);
    assert_eq!(numbers(&written, "fc.weight")[24..], [0.0; 16]);
}

#[test]
fn what_is_stated_takes_no_name_that_is_taken() {
    // As an exporter writes the scale of an attention: computed from a width that grows.
    let model = Model::new(17)
        .input("x", &[OPEN, 4, 5])
        .weight("q", &[5, 6])
        .node("MatMul", &["x", "q"], &["h"], &[])
        .node("Shape", &["h"], &["shape"], &[])
        .ints("last", &[2])
        .node("Gather", &["shape", "last"], &["width"], &[int("axis", 0)])
        .node("Cast", &["width"], &["real"], &[int("to", 1)])
        .node("Sqrt", &["real"], &["scale"], &[])
        .node("Div", &["h", "scale"], &["scale.stated"], &[])
        .weight("out", &[6, 3])
        .node("MatMul", &["scale.stated", "out"], &["y"], &[])
        .output("y");
    let written = grown(&model, &wider());
    assert_eq!(tensor(&written, "q").dims, [5, 9]);
    let root = numbers(&written, "scale.stated.2");
    assert!((root[0] - 6f32.sqrt()).abs() < 1e-6);
}
