//! Data that arrive: classes that are new, folders, files, and a network that was there before.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::super::{run, text};
use super::{SPEC, done, evolve, folder, history, image};

const FOLDERS: &str = r#"
title = "folders"
seed = 1
replay = 2.0

[data]
folder = "images"

[arrival]
kind = "snapshots"

[start]
model = { family = "conv-net", width = 0.25 }

[recipe]
epochs = 4
batch = 8
learning_rate = 0.05
schedule = { kind = "warmup-stable-decay", decay = 0.5 }
evaluations_per_epoch = 1
"#;

#[test]
fn new_classes_grow_the_output_and_new_folders_and_files_are_found() {
    let folder = folder(FOLDERS);
    let path = folder.path();
    let put = |part: &str, classes: std::ops::Range<usize>, numbers: std::ops::Range<usize>| {
        for class in classes {
            for number in numbers.clone() {
                image(
                    &path.join(format!("images/{part}/c{class}/{number}.png")),
                    class,
                    number,
                );
            }
        }
    };
    put("1/train", 0..2, 0..24);
    put("1/val", 0..2, 24..40);
    done(path, &["init", "home", "life.toml", "--threads", "1"]);
    done(path, &["step", "home"]);
    let said = done(path, &["step", "home"]);
    assert!(said.contains("waiting for the folder"), "{said}");
    put("2/train", 1..4, 40..64);
    put("2/val", 1..4, 64..80);
    done(path, &["step", "home"]);
    let life = history(path, "home");
    let second = &life["versions"][1]["record"];
    assert_eq!(
        life["snapshots"][1]["record"]["new_classes"],
        serde_json::json!(["c2", "c3"])
    );
    assert_eq!(
        second["judgement"]["challenger"]["classes"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    assert_eq!(second["replayed"], 48);
    // The champion knows nothing of the new classes, so what does replaces it.
    assert_eq!(life["champion"], 2, "{}", life["decisions"]);
    assert!(
        second["grew"][0].as_str().unwrap().contains('4'),
        "{}",
        second["grew"]
    );

    // Data that were put away are in use again with a version that learnt from them, and their classes keep their outputs. What
    // comes then may be of one class alone.
    let dropped = |path: &Path| history(path, "home")["snapshots"][1]["dropped"] == true;
    done(path, &["rollback", "home", "1", "--drop-data"]);
    assert!(dropped(path));
    done(path, &["rollback", "home", "2"]);
    assert!(!dropped(path));
    fs::create_dir_all(path.join("images/3")).unwrap();
    let said = done(path, &["step", "home"]);
    assert!(said.contains("which is empty"), "{said}");
    put("3/train", 4..5, 0..24);
    put("3/val", 4..5, 24..32);
    done(path, &["step", "home"]);
    let life = history(path, "home");
    let third = &life["versions"][2];
    assert_eq!(third["parent"], 2);
    assert_eq!(
        life["snapshots"][2]["record"]["classes"],
        serde_json::json!(["c0", "c1", "c2", "c3", "c4"])
    );
    let judged = third["record"]["judgement"]["challenger"]["classes"]
        .as_array()
        .unwrap();
    assert!(judged.iter().all(Value::is_number), "{judged:?}");
    assert_eq!(judged.len(), 5);

    // What another line learnt in between is new to this one, and nothing that this one learnt is forgotten.
    done(path, &["rollback", "home", "1", "--drop-data"]);
    put("4/train", 5..6, 0..24);
    put("4/val", 5..6, 24..32);
    done(path, &["step", "home"]);
    done(path, &["rollback", "home", "3"]);
    done(path, &["step", "home", "--again"]);
    let life = history(path, "home");
    let fifth = &life["versions"][4];
    assert_eq!(fifth["parent"], 3);
    assert_eq!(fifth["record"]["snapshots"], serde_json::json!([4]));
    let list = fifth["samples"].as_str().unwrap();
    let list = fs::read(path.join(format!("home/objects/{}/{list}.json", &list[..2]))).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(
        list["classes"],
        serde_json::json!(["c0", "c1", "c2", "c3", "c4", "c5"])
    );
    for snapshot in 0..4 {
        let pack = life["snapshots"][snapshot]["train"].as_str().unwrap();
        assert!(
            list["train"].to_string().contains(pack),
            "snapshot {}",
            snapshot + 1
        );
    }

    // The same, as files that come into one folder; an image that is there twice is seen once.
    let files = FOLDERS
        .replace("\"images\"", "\"images/files\"")
        .replace("kind = \"snapshots\"", "kind = \"files\"\nleast = 4")
        .replace(
            "replay = 2.0",
            "replay = 2.0\nshrink_perturb = { shrink = 0.9, perturb = 0.02 }",
        );
    fs::write(path.join("files.toml"), files).unwrap();
    put("files", 0..2, 0..40);
    done(path, &["init", "watched", "files.toml", "--threads", "1"]);
    done(path, &["step", "watched"]);
    put("files", 2..3, 0..30);
    fs::copy(
        path.join("images/files/c0/0.png"),
        path.join("images/files/c0/copy.png"),
    )
    .unwrap();
    fs::write(path.join("images/files/c0/half.png"), "not an image").unwrap();
    done(path, &["step", "watched"]);
    let life = history(path, "watched");
    let snapshots = life["snapshots"].as_array().unwrap();
    let count = |at: usize| {
        let record = &snapshots[at]["record"];
        record["train"].as_u64().unwrap() + record["validation"].as_u64().unwrap()
    };
    assert_eq!((count(0), count(1)), (80, 30));
    assert!(
        snapshots[1]["record"]["notes"]
            .to_string()
            .contains("half.png")
    );
    let trials = life["versions"].as_array().unwrap().iter();
    let shrunk = trials.map(|one| one["trial"].as_str().unwrap().contains("shrink = 0.9"));
    assert_eq!(shrunk.collect::<Vec<_>>(), [false, true]);
    let said = done(path, &["step", "watched"]);
    assert!(said.contains("waiting for 4 new training images"), "{said}");
    // Images that are replaced by others of the same length are others.
    std::thread::sleep(Duration::from_millis(50));
    for number in 0..6 {
        let file = path.join(format!("images/files/c1/{number}.png"));
        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 30;
        bytes[last] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    let output = evolve(path, &["step", "watched"]);
    assert!(
        !text(&output.stdout).contains("there are 0"),
        "{}",
        text(&output.stdout)
    );
}

/// A network that was trained elsewhere is the first version: what comes of it has to be better.
#[test]
fn a_network_that_is_given_is_the_champion_until_something_is_better() {
    let trial = "[data]\nvalidation = 200\ntrain = 400\n\
                 [start]\nmodel = { family = \"conv-net\", width = 0.25 }\n\
                 [recipe]\nepochs = 6\nbatch = 16\nlearning_rate = 0.05\n";
    let given = SPEC.replace(
        "model = { family = \"conv-net\", width = 0.25 }",
        "file = \"net/model.onnx\"",
    );
    let folder = folder(&given);
    let path = folder.path();
    fs::write(path.join("net.toml"), trial).unwrap();
    let output = run(path, &["train", "net.toml", "--out", "net"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    done(path, &["init", "home", "life.toml", "--threads", "1"]);
    done(path, &["step", "home"]);
    let life = history(path, "home");
    let versions = life["versions"].as_array().unwrap();
    let first = &versions[0]["record"];
    assert_eq!(first["snapshots"], serde_json::json!([]));
    assert!(
        first["judgement"]["challenger"]["accuracy"]
            .as_f64()
            .unwrap()
            > 0.3
    );
    assert!(versions[0]["onnx"].is_string());
    assert_eq!(versions[1]["parent"], 1);
    assert_eq!(versions[1]["record"]["snapshots"], serde_json::json!([1]));
    // It is compared with what was given, and growth is probed from the first training on.
    assert!(versions[1]["record"]["judgement"]["champion"].is_object());
    assert_eq!(versions[1]["record"]["growth"]["chosen"], 1);

    let wild = given.replace("learning_rate = 0.05", "learning_rate = 1e9");
    fs::write(path.join("life.toml"), wild).unwrap();
    done(path, &["init", "wild", "life.toml", "--threads", "1"]);
    let output = evolve(path, &["step", "wild"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("made no network"));
    let card: Value =
        serde_json::from_slice(&fs::read(path.join("wild/champion.json")).unwrap()).unwrap();
    assert_eq!(card["version"], 1);
    assert!(path.join("wild/champion.onnx").exists());
    assert!(done(path, &["rollback", "wild", "1"]).contains("version 1 is the champion"));

    // Images of another shape are refused before anything is noted.
    let other = given
        .replace("[data]\nvalidation = 200", "[data]\nfolder = \"images\"")
        .replace("[160, 320, 480]", "[30, 60]");
    fs::write(path.join("life.toml"), other).unwrap();
    for number in 0..40 {
        for class in 0..2 {
            image(
                &path.join(format!("images/c{class}/{number}.png")),
                class,
                number,
            );
        }
    }
    done(path, &["init", "other", "life.toml", "--threads", "1"]);
    let output = evolve(path, &["step", "other"]);
    let error = text(&output.stderr);
    assert!(
        error.contains("make another home with a network that reads them"),
        "{error}"
    );
    assert!(
        history(path, "other")["snapshots"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}
