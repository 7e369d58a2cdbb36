//! Tensors that say that they lie in other files.

use std::fs;
use std::path::Path;

use net2net_core::weights::Weights;
use net2net_onnx::{Document, Imported, OnnxError};
use prost::Message;

use crate::models::{Model, OPEN, entry};

/// A model in a folder whose weight lies where the entries say.
fn read(folder: &Path, entries: &[(&str, &str)]) -> Result<(), OnnxError> {
    let mut model = Model::new(13)
        .input("x", &[OPEN, 5])
        .weight("w", &[5, 4])
        .node("MatMul", &["x", "w"], &["y"], &[])
        .output("y");
    let tensor = &mut model.graph().initializer[0];
    tensor.raw_data = None;
    tensor.data_location = Some(1);
    tensor.external_data = entries
        .iter()
        .map(|(key, value)| entry(key, value))
        .collect();
    let path = folder.join("model.onnx");
    fs::write(&path, model.0.encode_to_vec()).unwrap();
    let document = Document::open(&path)?;
    let imported = Imported::read(&document)?;
    let _: Weights<f32> = imported.weights(&document)?;
    Ok(())
}

fn refused(folder: &Path, entries: &[(&str, &str)], said: &str) {
    let error = read(folder, entries).unwrap_err().to_string();
    assert!(
        error.contains(said) && error.contains("tensor `w`"),
        "{entries:?}: {error}"
    );
}

#[test]
fn files_outside_of_the_folder_are_not_opened() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::write(outer.path().join("secret"), [0; 80]).unwrap();
    let absolute = outer.path().join("secret").display().to_string();
    for location in [
        "../secret",
        "./../secret",
        "a/../../secret",
        &absolute,
        "",
        "/etc/passwd",
    ] {
        refused(&folder, &[("location", location)], "not opened");
    }
    refused(&folder, &[], "not opened");
    refused(&folder, &[("location", "missing")], "`missing`");
    refused(&folder, &[("location", "a\0b")], "its file");
}

#[cfg(unix)]
#[test]
fn links_that_lead_outside_are_not_followed() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::write(outer.path().join("secret"), [0; 80]).unwrap();
    std::os::unix::fs::symlink(outer.path().join("secret"), folder.join("w.bin")).unwrap();
    refused(&folder, &[("location", "w.bin")], "leads out");
    std::os::unix::fs::symlink(outer.path(), folder.join("up")).unwrap();
    refused(&folder, &[("location", "up/secret")], "leads out");
    fs::write(folder.join("real.bin"), [0; 80]).unwrap();
    std::os::unix::fs::symlink("real.bin", folder.join("inside.bin")).unwrap();
    read(&folder, &[("location", "inside.bin")]).unwrap();
}

#[cfg(unix)]
#[test]
fn folders_and_pipes_are_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("inner")).unwrap();
    let error = read(folder.path(), &[("location", "inner")]).unwrap_err();
    assert!(error.to_string().contains("a folder"), "{error}");
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if made.is_ok_and(|status| status.success()) {
        let error = read(folder.path(), &[("location", "pipe")]).unwrap_err();
        assert!(error.to_string().contains("pipe"), "{error}");
    }
}

#[test]
fn offsets_and_lengths_beyond_the_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.bin"), [0; 100]).unwrap();
    let at = ("location", "w.bin");
    read(folder.path(), &[at, ("offset", "20"), ("length", "80")]).unwrap();
    let most = u64::MAX.to_string();
    for (offset, length, said) in [
        ("21", "80", "past the end"),
        ("0", "101", "past the end"),
        ("200", "80", "past the end"),
        (&most, "80", "past the end"),
        ("80", &most, "past the end"),
        (&most, &most, "past the end"),
        ("-1", "80", "not a number"),
        ("0x10", "80", "not a number"),
        ("99999999999999999999999", "80", "not a number"),
        ("0", "1e3", "not a number"),
        ("0", "79", "do not hold"),
    ] {
        refused(
            folder.path(),
            &[at, ("offset", offset), ("length", length)],
            said,
        );
    }
    refused(folder.path(), &[at, ("offset", &most)], "past the end");
    fs::write(folder.path().join("empty.bin"), []).unwrap();
    refused(folder.path(), &[("location", "empty.bin")], "do not hold");
}

#[test]
fn a_file_beside_that_many_tensors_share_does_not_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.bin"), vec![0; 1 << 20]).unwrap();
    let mut model = Model::new(13).input("x", &[OPEN, 512]);
    let mut last = "x".to_owned();
    for index in 0..80 {
        let (name, next) = (format!("w{index}"), format!("y{index}"));
        model = model
            .weight(&name, &[1, 1])
            .node("MatMul", &[&last, &name], &[&next], &[]);
        let tensor = model.graph().initializer.last_mut().unwrap();
        tensor.dims = vec![512, 512];
        tensor.raw_data = None;
        tensor.data_location = Some(1);
        tensor.external_data = vec![entry("location", "w.bin")];
        last = next;
    }
    let path = folder.path().join("model.onnx");
    fs::write(&path, model.output(&last).0.encode_to_vec()).unwrap();
    let document = Document::open(&path).unwrap();
    let imported = Imported::read(&document).unwrap();
    let error = imported.weights::<f32>(&document).map(|_| ());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("20971520 numbers"), "{error}");
}
