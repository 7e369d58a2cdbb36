//! An implementation that we did not write has the last word: onnxruntime runs what `grow` wrote.
//!
//! Needs a Python with onnx and onnxruntime, named by `NET2NET_PYTHON`; `.ci/run` makes one.

use std::path::Path;
use std::process::Command;

fn grow(model: &Path, output: &Path, how: &[&str]) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_net2net"));
    program
        .arg("grow")
        .arg(model)
        .arg("-o")
        .arg(output)
        .args(how);
    let result = program.output().unwrap();
    let said = String::from_utf8_lossy(&result.stderr).into_owned();
    assert!(result.status.success(), "{}: {said}", model.display());
}

/// What else a model can get, without copies of its units.
fn structure(name: &str) -> &'static [&'static [&'static str]] {
    match name.starts_with("residual") {
        true => &[
            &["--classes", "12"],
            &["--features", "5"],
            &["--enlarge", "*=5"],
            &["--branch", "*", "--kernel", "3"],
            &["--classes", "11", "--features", "4", "--wider", "1.3"],
        ],
        false if name.starts_with("transformer") => {
            &[&["--branch", "*"], &["--copy", "*"], &["--deeper", "*"]]
        }
        // A layer beside a quantised one parts what onnxruntime computes as one in integers.
        false if name.starts_with("quantized") => &[],
        false => &[&["--deeper", "*"]],
    }
}

#[test]
fn onnxruntime_computes_the_same_before_and_after_growth() {
    let Some(python) = std::env::var_os("NET2NET_PYTHON") else {
        eprintln!("NET2NET_PYTHON names no Python, so onnxruntime was not asked");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "residual-torchscript",
        "residual-dynamo",
        "transformer-torchscript",
        "transformer-dynamo",
        "recurrent-torchscript",
        "recurrent-dynamo",
        "attention-dynamo",
        "heads",
        "quantized-static",
        "quantized-dynamic",
    ] {
        let model = root.join(format!("crates/net2net-onnx/tests/fixtures/{name}.onnx"));
        let wider = folder.path().join(format!("{name}-wider.onnx"));
        grow(&model, &wider, &["--wider", "1.5"]);
        let mut grown = vec![wider];
        if name.starts_with("residual") {
            let both = folder.path().join(format!("{name}-both.onnx"));
            grow(&model, &both, &["--deeper", "*", "--params", "6x"]);
            grown.push(both);
        }
        let blocks = folder.path().join(format!("{name}-blocks.onnx"));
        grow(&model, &blocks, &["--deeper", "2x", "--wider", "1.5"]);
        grown.push(blocks);
        for (at, how) in structure(name).iter().enumerate() {
            let path = folder.path().join(format!("{name}-{at}.onnx"));
            grow(&model, &path, how);
            grown.push(path);
        }
        let mut check = Command::new(&python);
        check
            .arg(root.join("xtask/python/check_onnx.py"))
            .arg(&model)
            .args(&grown);
        let result = check.output().unwrap();
        let said = String::from_utf8_lossy(&result.stderr).into_owned();
        assert!(result.status.success(), "{name}: {said}");
    }
}

/// A network as a file of ours, written as ONNX, computes for onnxruntime what the ONNX file computes that it came from.
#[test]
fn onnxruntime_computes_what_export_wrote() {
    let Some(python) = std::env::var_os("NET2NET_PYTHON") else {
        eprintln!("NET2NET_PYTHON names no Python, so onnxruntime was not asked");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "residual-torchscript",
        "residual-dynamo",
        "keras-image",
        "jax-dense",
    ] {
        let model = root.join(format!("crates/net2net-onnx/tests/fixtures/{name}.onnx"));
        let ours = folder.path().join(format!("{name}.safetensors"));
        net2net_lab::trial::open(&model)
            .unwrap()
            .write(&ours)
            .unwrap();
        let written = folder.path().join(format!("{name}.onnx"));
        let mut program = Command::new(env!("CARGO_BIN_EXE_net2net"));
        let result = program
            .arg("export")
            .arg(&ours)
            .arg("-o")
            .arg(&written)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&result.stderr).into_owned();
        assert!(result.status.success(), "{name}: {said}");
        let mut check = Command::new(&python);
        check
            .arg(root.join("xtask/python/check_onnx.py"))
            .arg(&model)
            .arg(&written);
        let result = check.output().unwrap();
        let said = String::from_utf8_lossy(&result.stderr).into_owned();
        assert!(result.status.success(), "{name}: {said}");
    }
}
