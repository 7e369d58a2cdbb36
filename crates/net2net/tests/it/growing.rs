//! `inspect`, `grow`, `plan`, `verify` and `diff`, used and misused.

use std::fs;
use std::path::Path;

use net2net_core::graph::{Graph, Shape};
use net2net_core::io::Checkpoint;
use net2net_core::ops::{Gemm, Relu};
use net2net_core::weights::initialize;
use net2net_onnx::Document;
use net2net_onnx::document::External;
use net2net_onnx::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};

use super::{run, text};

/// An initialiser with numbers that follow from its name.
pub fn tensor(name: &str, dims: &[i64], seed: u64) -> TensorProto {
    let mut random = net2net_core::weights::stream(seed, name);
    let count: i64 = dims.iter().product();
    let numbers = (0..count).map(|_| net2net_core::weights::normal(&mut random) as f32);
    let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(1),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

pub fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    let transposed = AttributeProto {
        name: Some("transB".to_owned()),
        r#type: Some(2),
        i: Some(1),
        ..AttributeProto::default()
    };
    NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(format!("/{output}")),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        attribute: if op == "Gemm" {
            vec![transposed]
        } else {
            vec![]
        },
        ..NodeProto::default()
    }
}

/// `[N, size]`, or no shape at all.
pub fn value(name: &str, size: Option<i64>) -> ValueInfoProto {
    let open = Dimension {
        dim_param: Some("N".to_owned()),
        ..Dimension::default()
    };
    let fixed = |size| Dimension {
        dim_value: Some(size),
        ..Dimension::default()
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorType {
                elem_type: Some(1),
                shape: size.map(|size| TensorShapeProto {
                    dim: vec![open, fixed(size)],
                }),
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// Writes a network of two hidden layers.
pub fn write_model(path: &Path, seed: u64, hidden: i64) {
    let graph = GraphProto {
        name: Some("small".to_owned()),
        input: vec![value("x", Some(5))],
        output: vec![value("y", None)],
        initializer: vec![
            tensor("first.weight", &[hidden, 5], seed),
            tensor("first.bias", &[hidden], seed),
            tensor("second.weight", &[6, hidden], seed),
            tensor("second.bias", &[6], seed),
            tensor("last.weight", &[3, 6], seed),
            tensor("last.bias", &[3], seed),
        ],
        node: vec![
            node("Gemm", &["x", "first.weight", "first.bias"], "h1"),
            node("Relu", &["h1"], "r1"),
            node("Gemm", &["r1", "second.weight", "second.bias"], "h2"),
            node("Relu", &["h2"], "r2"),
            node("Gemm", &["r2", "last.weight", "last.bias"], "y"),
        ],
        ..GraphProto::default()
    };
    save(path, graph);
}

/// Writes a graph as a model.
pub fn save(path: &Path, graph: GraphProto) {
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto {
            domain: None,
            version: Some(13),
        }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    let document = Document {
        model,
        external: External::default(),
    };
    document.save(path).unwrap();
}

/// A folder with `model.onnx` in it.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model.onnx"), 1, 8);
    folder
}

/// Runs a command line that must succeed; returns what it prints.
pub fn done(folder: &Path, line: &str) -> String {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let output = run(folder, &arguments);
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command line that must fail with a code and say each of these.
pub fn fails(folder: &Path, line: &str, code: i32, said: &[&str]) {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let output = run(folder, &arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}: {error}");
    for part in said {
        assert!(error.contains(part), "{line}: `{part}` is not in: {error}");
    }
    assert!(!error.contains("panicked"), "{error}");
}

/// The names of the files in a folder.
pub fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_model_is_inspected_grown_verified_and_compared() {
    let folder = folder();
    let folder = folder.path();
    let shown = done(folder, "inspect model.onnx");
    for word in [
        "first",
        "second",
        "2 spaces can grow",
        "layers can be deepened",
    ] {
        assert!(shown.contains(word), "{word} is not in {shown}");
    }
    let json = done(folder, "inspect model.onnx --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["spaces"].as_array().unwrap().len() > 2);
    let grown = done(folder, "grow model.onnx --wider 1.5 --deeper * -o big.onnx");
    assert!(grown.contains("the same function"), "{grown}");
    let same = done(folder, "verify model.onnx big.onnx");
    assert!(
        same.contains("the same function on 4 random samples"),
        "{same}"
    );
    let diff = done(folder, "diff model.onnx big.onnx");
    assert!(
        diff.contains("~ first.weight: parameter [8, 5] -> parameter [12, 5]"),
        "{diff}"
    );
    assert!(done(folder, "diff model.onnx model.onnx").contains("are the same"));
    let json = done(folder, "grow model.onnx --wider 2 -o wide.onnx --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["evidence"]["f64"][0]["output"], "y");
    done(
        folder,
        "grow big.onnx --widen first=20 --round-to 8 -o bigger.onnx",
    );
    done(folder, "verify model.onnx bigger.onnx");
}

#[test]
fn amounts_are_reached() {
    let folder = folder();
    // Eight and six units are too few to come within 3 % of everything.
    for (flag, wanted) in [("--params 2x", 1.94..2.06), ("--flops 3x", 2.85..3.15)] {
        let output = done(
            folder.path(),
            &format!("grow model.onnx {flag} -o a.onnx --force --json"),
        );
        let json: serde_json::Value = serde_json::from_str(&output).unwrap();
        let key = if flag.contains("params") {
            "parameters"
        } else {
            "flops"
        };
        let size = |side: &str| json[side][key].as_f64().unwrap();
        let ratio = size("new") / size("old");
        assert!(wanted.contains(&ratio), "{flag} gave {ratio}");
    }
}

#[test]
fn a_plan_gives_the_same_bytes_whenever_it_is_carried_out() {
    let folder = folder();
    let folder = folder.path();
    done(
        folder,
        "grow model.onnx --wider 1.5 --deeper first --seed 4 -o direct.onnx",
    );
    done(
        folder,
        "plan model.onnx --wider 1.5 --deeper first --seed 4 -o plan.json",
    );
    done(folder, "grow model.onnx --plan plan.json -o once.onnx");
    done(folder, "grow model.onnx --plan plan.json -o twice.onnx");
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    assert_eq!(bytes("once.onnx"), bytes("direct.onnx"));
    assert_eq!(bytes("once.onnx"), bytes("twice.onnx"));
    let printed = done(
        folder,
        "plan model.onnx --wider 1.5 --deeper first --seed 4",
    );
    assert_eq!(printed.trim_end(), text(&bytes("plan.json")).trim_end());
    // Another checkpoint of the same network grows by it, another network does not.
    write_model(&folder.join("sibling.onnx"), 2, 8);
    done(
        folder,
        "grow sibling.onnx --plan plan.json -o sibling-big.onnx",
    );
    done(folder, "verify sibling.onnx sibling-big.onnx");
    write_model(&folder.join("other.onnx"), 1, 10);
    fails(
        folder,
        "grow other.onnx --plan plan.json -o x.onnx",
        1,
        &["plan"],
    );
    assert!(!folder.join("x.onnx").exists());
}

#[test]
fn models_that_differ_are_told_apart() {
    let folder = folder();
    let folder = folder.path();
    write_model(&folder.join("sibling.onnx"), 2, 8);
    fails(
        folder,
        "verify model.onnx sibling.onnx",
        1,
        &["the models differ"],
    );
    let output = run(folder, &["verify", "model.onnx", "sibling.onnx", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["same"], false);
}

#[test]
fn a_checkpoint_of_ours_grows_too() {
    let mut graph = Graph::new("ours");
    let x = graph.input("x", Shape::batched(&[4])).unwrap();
    let w1 = graph.parameter("a.weight", &[6, 4]).unwrap();
    let gemm = Gemm::default();
    let h = graph.node("a", gemm.clone(), &[x, w1]).unwrap();
    let r = graph.node("r", Relu, &[h]).unwrap();
    let w2 = graph.parameter("b.weight", &[2, 6]).unwrap();
    let y = graph.node("b", gemm, &[r, w2]).unwrap();
    graph.output(y);
    let weights = initialize(&graph, 3);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let checkpoint = Checkpoint::model(graph, weights);
    checkpoint.write(&folder.join("ours.safetensors")).unwrap();
    done(folder, "inspect ours.safetensors");
    done(folder, "grow ours.safetensors --wider 2 -o big.safetensors");
    done(folder, "verify ours.safetensors big.safetensors");
    let wrong = &["big.onnx should end in .safetensors"];
    fails(
        folder,
        "grow ours.safetensors --wider 2 -o big.onnx",
        1,
        wrong,
    );
}

#[test]
fn files_that_are_no_models_are_told_what_to_do() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("notes.txt"), "some text").unwrap();
    fs::write(folder.join("notes.onnx"), "some text").unwrap();
    fs::write(folder.join("empty.onnx"), "").unwrap();
    fs::write(folder.join("resnet.th"), b"\x80\x02}q\x00.").unwrap();
    fs::write(folder.join("resnet.pt"), b"PK\x03\x04").unwrap();
    fs::write(folder.join("model.h5"), b"\x89HDF\r\n\x1a\n").unwrap();
    fs::write(folder.join("odd.safetensors"), [0; 40]).unwrap();
    for command in [
        "inspect FILE",
        "grow FILE --wider 2 -o out.onnx",
        "plan FILE --wider 2",
    ] {
        let line = |file: &str| command.replace("FILE", file);
        fails(
            folder,
            &line("missing.onnx"),
            1,
            &["missing.onnx", "No such file"],
        );
        fails(
            folder,
            &line("notes.txt"),
            1,
            &["notes.txt", "torch.onnx.export"],
        );
        fails(
            folder,
            &line("notes.onnx"),
            1,
            &["notes.onnx", "not a valid ONNX file"],
        );
        fails(folder, &line("empty.onnx"), 1, &["empty.onnx", "no graph"]);
        fails(
            folder,
            &line("resnet.th"),
            1,
            &["resnet.th", "torch.onnx.export"],
        );
        fails(
            folder,
            &line("resnet.pt"),
            1,
            &["resnet.pt", "torch.onnx.export"],
        );
        fails(folder, &line("model.h5"), 1, &["model.h5", "tf2onnx"]);
        fails(
            folder,
            &line("odd.safetensors"),
            1,
            &["only if net2net wrote it"],
        );
        fails(folder, &line("."), 1, &["it is a folder"]);
    }
    assert!(!folder.join("out.onnx").exists());
}

#[test]
fn nothing_is_written_over_unless_it_is_asked_for() {
    let folder = folder();
    let folder = folder.path();
    let before = fs::read(folder.join("model.onnx")).unwrap();
    fails(
        folder,
        "grow model.onnx --wider 2 -o model.onnx --force",
        1,
        &["name another file"],
    );
    fails(
        folder,
        "grow model.onnx --wider 2 -o ./model.onnx",
        1,
        &["name another file"],
    );
    fails(
        folder,
        "plan model.onnx --wider 2 -o model.onnx",
        1,
        &["name another file"],
    );
    fs::write(folder.join("there.onnx"), "mine").unwrap();
    fails(
        folder,
        "grow model.onnx --wider 2 -o there.onnx",
        1,
        &["--force overwrites it"],
    );
    assert_eq!(fs::read(folder.join("there.onnx")).unwrap(), b"mine");
    done(folder, "grow model.onnx --wider 2 -o there.onnx --force");
    assert_eq!(fs::read(folder.join("model.onnx")).unwrap(), before);
    let names = files(folder);
    fails(
        folder,
        "grow model.onnx --wider 2 -o out.safetensors",
        1,
        &["should end in .onnx"],
    );
    fails(
        folder,
        "grow model.onnx --wider 2 -o out",
        1,
        &["should end in .onnx"],
    );
    fails(
        folder,
        "grow model.onnx --wider 2 -o no/out.onnx",
        1,
        &["no folder no", "create it"],
    );
    fails(
        folder,
        "plan model.onnx --wider 2 -o no/plan.json",
        1,
        &["no folder no"],
    );
    assert_eq!(files(folder), names);
}

#[test]
fn requests_that_cannot_be_met_say_what_can() {
    let folder = folder();
    let folder = folder.path();
    let grow = |flags: &str, code: i32, said: &[&str]| {
        fails(
            folder,
            &format!("grow model.onnx {flags} -o out.onnx"),
            code,
            said,
        );
    };
    grow("--widen firs=12", 1, &["did you mean `first`", "inspect"]);
    grow("--widen nonesuch=12", 1, &["`nonesuch`", "net2net inspect"]);
    grow(
        "--spaces nonesuch --wider 2",
        1,
        &["`nonesuch`", "net2net inspect"],
    );
    grow("--deeper nonesuch", 1, &["`nonesuch`", "net2net inspect"]);
    grow("--widen y=12", 1, &["`y`", "graph output"]);
    grow("--widen first", 1, &["NAME=SIZE"]);
    grow("--widen first=", 1, &["is no size", "first=24"]);
    grow("--widen first=many", 1, &["`many`", "first=24"]);
    grow("--widen first=-3", 1, &["`-3`", "first=24"]);
    grow("--widen first=4", 1, &["it has 8 units already"]);
    grow("--widen first=1000000000000", 1, &["16777216"]);
    grow("--widen first=100000000", 1, &["`h1`", "100000000"]);
    let both = "--widen first=16000000 second=16000000";
    grow(both, 1, &["`second.weight` would have 256000000000000"]);
    grow(
        "--wider 2 --round-to 18446744073709551615",
        1,
        &["16777216"],
    );
    grow("--spaces first", 1, &["--wider, --params or --flops"]);
    grow("--wider 1", 1, &["above 1"]);
    grow("--wider 0.5", 1, &["above 1"]);
    grow("--wider nan", 1, &["above 1"]);
    grow("--wider 1e9", 1, &["sensible"]);
    grow("--wider two", 2, &["two"]);
    grow("--wider 2 --kernel 3", 1, &["--deeper"]);
    grow("--params 2y", 1, &["`2y` is no amount; write 2x"]);
    grow("--params 0.5x", 1, &["are not more"]);
    grow("--params 2x --flops 2x", 2, &["cannot be used with"]);
    grow("--wider 2 --symmetry uneven --strength 7", 1, &["spread"]);
    grow("", 1, &["--wider 1.5", "--deeper"]);
    grow("--plan missing.json", 1, &["missing.json", "No such file"]);
    grow("--plan model.onnx", 1, &["model.onnx"]);
    fs::write(folder.join("bad.json"), "{}").unwrap();
    grow("--plan bad.json", 1, &["bad.json", "net2net plan"]);
    grow("--plan bad.json --wider 2", 2, &["cannot be used with"]);
    assert_eq!(files(folder), ["bad.json", "model.onnx"]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = folder();
    let line = format!(
        "{} inspect model.onnx --json | head -n 1",
        env!("CARGO_BIN_EXE_net2net")
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &format!("set -o pipefail; {line}")])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
}
