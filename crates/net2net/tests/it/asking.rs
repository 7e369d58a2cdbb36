//! What is asked for, and what is said of it.

use super::growing::{done, fails, write_model};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model.onnx"), 1, 8);
    folder
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
