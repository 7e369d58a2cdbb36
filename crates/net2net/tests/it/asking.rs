//! What is asked for, and what is said of it.

use std::fs;

use super::growing::{done, fails, write_model};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model.onnx"), 1, 8);
    folder
}

#[test]
fn a_space_has_a_factor_of_its_own_and_the_name_of_its_weight() {
    let folder = folder();
    let folder = folder.path();
    let line = "grow model.onnx --widen first=2x second.weight=9 -o a.onnx";
    let said = done(folder, line);
    assert!(
        said.contains("from 8 to 16") && said.contains("from 6 to 9"),
        "{said}"
    );
    fails(
        folder,
        "grow model.onnx --widen first=0.5x -o b.onnx",
        1,
        &["a factor of 0.5"],
    );
    let last = "grow model.onnx --widen last=9 -o b.onnx";
    fails(folder, last, 1, &["graph output", "--classes"]);
    fails(
        folder,
        "grow model.onnx --wider 2 --round-to 0 -o b.onnx",
        1,
        &["--round-to 8"],
    );
    fails(
        folder,
        "grow model.onnx --wider 1e300 -o b.onnx",
        1,
        &["1e300"],
    );
    assert!(!folder.join("b.onnx").exists());
}

#[test]
fn noise_that_changes_the_function_is_not_called_the_same() {
    let folder = folder();
    let said = done(
        folder.path(),
        "grow model.onnx --wider 2 --symmetry incoming -o a.onnx",
    );
    let line = said.lines().find(|line| line.contains("the same function"));
    assert!(
        line.is_some_and(|line| line.starts_with("nearly the same")),
        "{said}"
    );
}

#[test]
fn a_plan_is_not_written_over() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("plan.json"), "mine").unwrap();
    let line = "plan model.onnx --wider 2 -o plan.json";
    fails(folder, line, 1, &["--force"]);
    assert_eq!(fs::read(folder.join("plan.json")).unwrap(), b"mine");
    done(folder, &format!("{line} --force"));
    assert_ne!(fs::read(folder.join("plan.json")).unwrap(), b"mine");
}

#[test]
fn a_target_that_is_missed_is_said_to_be() {
    let folder = folder();
    let folder = folder.path();
    // One unit more is too much, and none too little.
    let line = "grow model.onnx --params 1.06x --spaces first -o a.onnx --force";
    let json = done(folder, &format!("{line} --json"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let count = |key: &str| json["target"][key].as_u64().unwrap();
    assert_eq!(
        count("reached"),
        json["new"]["parameters"].as_u64().unwrap()
    );
    let missed = count("reached").abs_diff(count("wanted")) * 100 > 3 * count("wanted");
    assert_eq!(done(folder, line).contains("were wanted"), missed);
    assert!(missed);
}

#[test]
fn what_there_is_no_room_for_is_refused_at_once() {
    let folder = folder();
    let line = "grow model.onnx --params 1000000000x -o b.onnx";
    fails(folder.path(), line, 1, &["grow by less"]);
}
