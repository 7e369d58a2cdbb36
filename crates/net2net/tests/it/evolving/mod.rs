//! The life of a model from outside: data that arrive, promotions, rollbacks, kills, and what goes wrong.

mod arrivals;
mod faults;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{program, run, text};

/// Three slices of some images; a plateau is always seen, so that growth is probed, and always found worth it.
const SPEC: &str = r#"
title = "small"
seed = 1

[data]
validation = 200

[arrival]
kind = "slices"
sizes = [160, 320, 480]

[start]
model = { family = "conv-net", width = 0.25 }

[recipe]
epochs = 1
batch = 16
learning_rate = 0.05
schedule = { kind = "warmup-stable-decay", decay = 0.5 }
evaluations_per_epoch = 1

[growth]
plateau = 1.0
least_gain = -10.0
probes = 1
score_images = 32

[growth.moves]
widen_stage = []
widen_all = [1.5]
deepen_stage = false
kernel = []
branch = false
both = []
"#;

fn folder(spec: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("life.toml"), spec).unwrap();
    folder
}

/// A home, made.
fn home(spec: &str) -> tempfile::TempDir {
    let folder = folder(spec);
    let made = evolve(
        folder.path(),
        &["init", "home", "life.toml", "--threads", "1"],
    );
    assert!(made.status.success(), "{}", text(&made.stderr));
    folder
}

fn evolve(folder: &Path, words: &[&str]) -> Output {
    let words: Vec<&str> = ["evolve"].iter().chain(words).copied().collect();
    run(folder, &words)
}

/// The same, which must go well; what it said.
fn done(folder: &Path, words: &[&str]) -> String {
    let output = evolve(folder, words);
    assert!(
        output.status.success(),
        "{words:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn history(folder: &Path, home: &str) -> Value {
    serde_json::from_str(&done(folder, &["history", home, "--json"])).unwrap()
}

/// A life without what a clock measured.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            let clock =
                |key: &str| ["at", "begun", "ended"].contains(&key) || key.contains("seconds");
            map.retain(|key, _| !clock(key));
            for (_, inner) in map.iter_mut() {
                *inner = timeless(inner.take());
            }
        }
        Value::Array(all) => all
            .iter_mut()
            .for_each(|inner| *inner = timeless(inner.take())),
        _ => {}
    }
    value
}

/// When each finished trial of a home was finished.
fn finished(home: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let steps = fs::read_dir(home.join("steps")).into_iter().flatten();
    for step in steps {
        let trials = fs::read_dir(step.unwrap().path().join("trials"));
        for trial in trials.into_iter().flatten() {
            let path = trial.unwrap().path().join("done.json");
            if let (Ok(done), false) = (
                fs::metadata(&path),
                path.to_string_lossy().contains(".partial"),
            ) {
                found.insert(path, done.modified().unwrap());
            }
        }
    }
    found
}

#[test]
fn a_model_lives_through_slices_and_goes_back() {
    let folder = home(
        &(SPEC.to_owned()
            + "\n[hooks]\npromoted = \"echo version $NET2NET_VERSION >> deployed.txt\"\n"),
    );
    let path = folder.path();
    let said = done(path, &["step", "home"]);
    assert!(
        said.contains("version 1 is the champion: there was no champion"),
        "{said}"
    );
    let card: Value =
        serde_json::from_slice(&fs::read(path.join("home/champion.json")).unwrap()).unwrap();
    assert_eq!(card["version"], 1);
    assert_eq!(card["classes"].as_array().unwrap().len(), 10);
    assert!(path.join("home/champion.onnx").exists());
    let said = done(path, &["run", "home", "--until-idle"]);
    assert!(said.contains("all 3 slices have been used"), "{said}");

    let life = history(path, "home");
    let versions = life["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 3, "{life}");
    for (version, (new, old)) in versions.iter().zip([(160, 0), (160, 160), (160, 160)]) {
        assert_eq!(version["record"]["new_samples"], new);
        assert_eq!(version["record"]["replayed"], old);
        assert_eq!(version["record"]["judgement"]["samples"], 150);
    }
    let parameters = |at: usize| versions[at]["record"]["parameters"].as_u64().unwrap();
    assert!(parameters(1) > parameters(0) && parameters(2) > parameters(1));
    assert_eq!(versions[1]["record"]["growth"]["chosen"], 1);
    for decision in life["decisions"].as_array().unwrap() {
        assert!(!decision["reason"].as_str().unwrap().is_empty());
    }
    let shown = done(path, &["history", "home"]);
    for word in [
        "slice 3",
        "160 + 160",
        "step 2: grow yes",
        "version 2 grew: widen",
        "page: home/evolve.html",
    ] {
        assert!(shown.contains(word), "{word} is not in\n{shown}");
    }
    let page = fs::read_to_string(path.join("home/evolve.html")).unwrap();
    for word in [
        "Champion: version",
        "Which trunk grew from which",
        "widen all x1.5",
    ] {
        assert!(page.contains(word), "{word}");
    }
    a_version_can_be_made_again(path, &versions[1]);

    let said = done(path, &["rollback", "home", "1"]);
    assert!(said.contains("version 1 is the champion"), "{said}");
    let card: Value =
        serde_json::from_slice(&fs::read(path.join("home/champion.json")).unwrap()).unwrap();
    assert_eq!(card["version"], 1);
    let deployed = fs::read_to_string(path.join("home/deployed.txt")).unwrap();
    assert!(
        deployed.starts_with("version 1\n") && deployed.ends_with("version 1\n"),
        "{deployed}"
    );
    // What is the champion already is not deployed again.
    done(path, &["rollback", "home", "1"]);
    let after = fs::read_to_string(path.join("home/deployed.txt")).unwrap();
    assert_eq!(after, deployed);
    // A card that is lost is said, and put right.
    fs::remove_file(path.join("home/champion.json")).unwrap();
    assert!(done(path, &["status", "home"]).contains("champion.json is not that of version 1"));
    done(path, &["rollback", "home", "1"]);
    assert!(path.join("home/champion.json").exists());
    let events = fs::read_to_string(path.join("home/events.jsonl")).unwrap();
    let last: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(last.iter().any(|event| event["kind"] == "rolled-back"));
    done(
        path,
        &["export", "home", "-o", "two.onnx", "--version", "2"],
    );
    let again = evolve(path, &["export", "home", "-o", "two.onnx"]);
    assert!(text(&again.stderr).contains("--force"));
    let shown = done(path, &["status", "home"]);
    assert!(shown.contains("champion: version 1"), "{shown}");

    // Nothing new will come, and what version 1 has not seen can be learnt from all the same.
    let said = done(path, &["step", "home"]);
    assert!(said.contains("net2net evolve step home --again"), "{said}");
    done(path, &["step", "home", "--again"]);
    let life = history(path, "home");
    let last = &life["versions"][3];
    assert_eq!(last["parent"], 1);
    assert_eq!(last["record"]["snapshots"], serde_json::json!([2, 3]));
    assert_eq!(last["record"]["new_samples"], 320);
}

/// What a step's trial read is still there, and leads to the same network.
fn a_version_can_be_made_again(path: &Path, version: &Value) {
    let spec = "home/steps/0002/inputs/release/trial.toml";
    let output = run(path, &["train", spec, "--out", "again", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    let metrics = &version["record"]["metrics"];
    let last = |all: &Value| timeless(all.as_array().unwrap().last().unwrap().clone());
    let (mut now, then) = (last(&again["metrics"]), last(metrics));
    now["run"] = then["run"].clone();
    assert_eq!(now, then);
}

/// A file of an image: a bright square whose place is its class.
fn image(path: &Path, class: usize, number: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut pixels = [40_u8; 12 * 12];
    for at in 0..12 * 12 {
        let (y, x) = (at / 12, at % 12);
        let noise = (at * 7 + number * 13 + class) % 60;
        let inside = y / 6 == class / 2 && x / 6 == class % 2;
        pixels[at] = if inside {
            180 + noise as u8
        } else {
            noise as u8
        };
    }
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, 12, 12);
    encoder.set_color(png::ColorType::Grayscale);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&pixels)
        .unwrap();
}

#[test]
fn killed_at_random_it_repeats_nothing_and_comes_to_the_same() {
    let folder = home(SPEC);
    let path = folder.path();
    done(path, &["run", "home", "--until-idle"]);
    let whole = timeless(history(path, "home"));
    done(path, &["init", "killed", "life.toml", "--threads", "1"]);
    let mut kills = 0;
    for wait in [60, 350, 800, 150, 1200, 500, 300, 900] {
        let before = finished(&path.join("killed"));
        let mut child = program()
            .current_dir(path)
            .args(["evolve", "run", "killed", "--until-idle"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let after = finished(&path.join("killed"));
        assert!(
            before
                .iter()
                .all(|(path, time)| after.get(path) == Some(time))
        );
        if path.join("killed/champion.safetensors").exists() {
            let inspected = run(path, &["inspect", "killed/champion.safetensors"]);
            assert!(inspected.status.success(), "{}", text(&inspected.stderr));
        }
    }
    assert!(kills >= 2, "killed {kills} times");
    let before = finished(&path.join("killed"));
    done(path, &["run", "killed", "--until-idle"]);
    let after = finished(&path.join("killed"));
    assert!(
        before
            .iter()
            .all(|(path, time)| after.get(path) == Some(time))
    );
    assert_eq!(timeless(history(path, "killed")), whole);
}

/// Ten optimizer steps go through the images once.
#[test]
fn little_data_is_gone_through_more_often() {
    let folder = home(&SPEC.replace("seed = 1\n", "seed = 1\nleast_steps = 30\n"));
    let path = folder.path();
    done(path, &["step", "home"]);
    let trial = path.join("home/steps/0001/inputs/release/trial.toml");
    let trial = fs::read_to_string(trial).unwrap();
    assert!(trial.contains("epochs = 3.0"), "{trial}");
    let output = evolve(path, &["status", "home"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
