//! Growth in mixed precision, of what was grown, beyond the memory, and stopped halfway.

use net2net_onnx::Document;
use net2net_onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::growing::{done, fails, files, folder, node, save, tensor, value, write_model};
use super::text;

#[test]
fn inserted_layers_have_the_precision_of_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let half = |name: &str, dims: &[i64]| {
        let count = dims.iter().product::<i64>();
        let numbers = (0..count).map(|i| half::f16::from_f64((i % 7) as f64 / 8.0 - 0.3));
        TensorProto {
            name: Some(name.to_owned()),
            dims: dims.to_vec(),
            data_type: Some(10),
            raw_data: Some(
                numbers
                    .flat_map(half::f16::to_le_bytes)
                    .collect::<Vec<u8>>()
                    .into(),
            ),
            ..TensorProto::default()
        }
    };
    let cast = |to: i64, input: &str, output: &str| NodeProto {
        attribute: vec![AttributeProto {
            name: Some("to".to_owned()),
            r#type: Some(2),
            i: Some(to),
            ..AttributeProto::default()
        }],
        ..node("Cast", &[input], output)
    };
    let graph = GraphProto {
        name: Some("mixed".to_owned()),
        input: vec![value("x", Some(5))],
        output: vec![value("y", None)],
        initializer: vec![
            half("first.weight", &[8, 5]),
            half("first.bias", &[8]),
            tensor("last.weight", &[3, 8], 1),
            tensor("last.bias", &[3], 1),
        ],
        node: vec![
            cast(10, "x", "x.half"),
            node("Gemm", &["x.half", "first.weight", "first.bias"], "h"),
            node("Relu", &["h"], "r"),
            cast(1, "r", "r.single"),
            node("Gemm", &["r.single", "last.weight", "last.bias"], "y"),
        ],
        ..GraphProto::default()
    };
    save(&folder.join("mixed.onnx"), graph);
    done(folder, "grow mixed.onnx --deeper * -o deeper.onnx");
    let deeper = Document::open(&folder.join("deeper.onnx")).unwrap();
    let new = deeper.graph().initializer.iter().skip(4);
    let types: Vec<(bool, i32)> = new
        .map(|tensor| (tensor.name().starts_with('h'), tensor.data_type()))
        .collect();
    assert!(
        types.contains(&(true, 10)) && types.contains(&(false, 1)),
        "{types:?}"
    );
    assert!(
        types
            .iter()
            .all(|(first, kind)| *kind == if *first { 10 } else { 1 }),
        "{types:?}"
    );
}

#[test]
fn what_was_grown_grows_again() {
    let folder = folder();
    let folder = folder.path();
    done(folder, "grow model.onnx --deeper * -o a.onnx");
    done(folder, "grow a.onnx --branch * -o b.onnx");
    done(folder, "grow b.onnx --deeper 2x --wider 1.5 -o c.onnx");
    for file in ["a.onnx", "b.onnx", "c.onnx"] {
        let document = Document::open(&folder.join(file)).unwrap();
        let names = document
            .graph()
            .node
            .iter()
            .map(|node| node.name().to_owned());
        let mut names: Vec<String> = names.collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{file}: two nodes of one name");
    }
}

#[test]
fn a_small_file_that_wants_all_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pads: Vec<i64> = vec![0, 0, 1 << 34, 0];
    let pads = TensorProto {
        name: Some("pads".to_owned()),
        dims: vec![4],
        data_type: Some(7),
        int64_data: pads,
        ..TensorProto::default()
    };
    let graph = GraphProto {
        name: Some("hog".to_owned()),
        input: vec![value("x", Some(5))],
        output: vec![value("y", None)],
        initializer: vec![
            pads,
            tensor("a.weight", &[5, 8], 1),
            tensor("b.weight", &[8, 3], 1),
        ],
        node: vec![
            node("MatMul", &["x", "a.weight"], "a"),
            node("Relu", &["a"], "r"),
            node("MatMul", &["r", "b.weight"], "b"),
            node("Pad", &["b", "pads"], "p"),
            node("ReduceMean", &["p"], "y"),
        ],
        ..GraphProto::default()
    };
    save(&folder.join("hog.onnx"), graph);
    fails(
        folder,
        "grow hog.onnx --wider 2 -o out.onnx",
        1,
        &["memory", "`p`", "--samples"],
    );
    assert!(!folder.join("out.onnx").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_model(&folder.join("model.onnx"), 1, 1 << 12);
    let grow = "grow model.onnx --widen first=1500000 -o big.onnx";
    let child = super::program()
        .current_dir(folder)
        .args(grow.split(' '))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let half_written = || {
        files(folder)
            .iter()
            .any(|name| name.starts_with(".net2net-"))
    };
    let start = std::time::Instant::now();
    while !half_written() && start.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(files(folder), ["model.onnx"]);
}
