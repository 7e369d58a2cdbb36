//! The life of a model from outside: data that arrive, promotions, rollbacks, kills, and what goes wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
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

/// The hook of a promotion that fails is noted, and one that hangs is ended.
#[test]
#[cfg(unix)]
fn a_hook_that_fails_or_hangs_holds_nothing_up() {
    let hook = "\n[hooks]\npromoted = \"exit 7\"\ntimeout = 0.5\n";
    let folder = home(&(SPEC.to_owned() + hook));
    let path = folder.path();
    let output = evolve(path, &["step", "home"]);
    assert!(output.status.success());
    assert!(
        text(&output.stderr).contains("exit status: 7"),
        "{}",
        text(&output.stderr)
    );
    let settings = path.join("home/spec.toml");
    let hangs = fs::read_to_string(&settings)
        .unwrap()
        .replace("exit 7", "sleep 300 & sleep 300");
    fs::write(&settings, hangs).unwrap();
    let began = std::time::Instant::now();
    let output = evolve(path, &["rollback", "home", "1"]);
    assert!(output.status.success());
    assert!(
        text(&output.stderr).contains("longer than 0.5 s"),
        "{}",
        text(&output.stderr)
    );
    assert!(began.elapsed() < Duration::from_secs(100));
    // A disk that is full under the log is no reason to stop.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = program()
        .current_dir(path)
        .args(["evolve", "step", "home"])
        .stdout(Stdio::null())
        .stderr(full)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
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

#[test]
fn what_goes_wrong_is_said_and_the_champion_stays() {
    let folder = home(SPEC);
    let path = folder.path();
    for words in [&["step", "nowhere"][..], &["history", "nowhere"]] {
        let output = evolve(path, words);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("net2net evolve init nowhere"));
    }
    let output = evolve(path, &["init", "home", "life.toml"]);
    assert!(text(&output.stderr).contains("is the home of a model already"));
    let output = evolve(path, &["export", "home", "-o", "none.onnx"]);
    assert!(text(&output.stderr).contains("no champion yet"));

    // Two at once.
    let locked = fs::File::open(path.join("home/.lock")).unwrap();
    locked.lock().unwrap();
    let output = evolve(path, &["step", "home"]);
    assert!(
        text(&output.stderr).contains("another `net2net evolve` is at work"),
        "{}",
        text(&output.stderr)
    );
    assert!(done(path, &["status", "home"]).contains("no champion yet"));
    drop(locked);
    done(path, &["step", "home"]);

    // A challenger that runs away.
    let settings = fs::read_to_string(path.join("home/spec.toml")).unwrap();
    let wild = settings.replace("learning_rate = 0.05", "learning_rate = 1e9");
    assert_ne!(wild, settings);
    fs::write(path.join("home/spec.toml"), wild).unwrap();
    let output = evolve(path, &["step", "home"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("made no network") && said.contains("diverged"),
        "{said}"
    );
    fs::write(path.join("home/spec.toml"), &settings).unwrap();
    let life = history(path, "home");
    assert_eq!(life["champion"], 1);
    assert_eq!(life["versions"].as_array().unwrap().len(), 1);

    // The champion's file is damaged, and put right; and so is a log that was cut within a letter.
    fs::write(path.join("home/champion.safetensors"), "damaged").unwrap();
    let events = path.join("home/events.jsonl");
    let whole = fs::read(&events).unwrap();
    fs::write(&events, [&whole[..40], b"\xc3"].concat()).unwrap();
    assert!(done(path, &["status", "home"]).contains("puts it right"));

    // What the failed step learnt from is new to the next one.
    done(path, &["step", "home"]);
    assert!(!done(path, &["status", "home"]).contains("puts it right"));
    assert!(fs::read(&events).unwrap().starts_with(&whole));
    let life = history(path, "home");
    assert_eq!(
        life["versions"][1]["record"]["snapshots"],
        serde_json::json!([2, 3])
    );
    assert_eq!(life["versions"][1]["record"]["new_samples"], 320);

    // A trunk is damaged: it is said whose, and another version can go on.
    let trunk = life["versions"][1]["trunk"].as_str().unwrap();
    let file = path.join(format!("home/objects/{}/{trunk}.safetensors", &trunk[..2]));
    fs::write(&file, "damaged").unwrap();
    let output = evolve(path, &["rollback", "home", "2"]);
    let error = text(&output.stderr);
    assert!(
        error.contains("is damaged: it belongs to version 2"),
        "{error}"
    );
    assert_eq!(history(path, "home")["champion"], life["champion"]);
    done(path, &["rollback", "home", "1", "--drop-data"]);
    let output = evolve(path, &["rollback", "home", "7"]);
    assert!(text(&output.stderr).contains("there is no version 7; there are 1 to 2"));
    let life = history(path, "home");
    assert_eq!(life["snapshots"][2]["dropped"], true);

    // Without its settings or its store a home is none, and nothing is made in its place.
    let settings = path.join("home/spec.toml");
    let kept = fs::read(&settings).unwrap();
    fs::remove_file(&settings).unwrap();
    let output = evolve(path, &["init", "home", "life.toml"]);
    assert!(text(&output.stderr).contains("spec.toml is gone"));
    fs::write(&settings, kept).unwrap();
    assert_eq!(history(path, "home")["events"], life["events"]);
    fs::remove_file(path.join("home/store.sqlite")).unwrap();
    let output = evolve(path, &["status", "home"]);
    assert!(text(&output.stderr).contains("store.sqlite is gone"));
}

#[test]
fn a_trial_that_crashes_leaves_the_champion() {
    let folder = home(SPEC);
    let path = folder.path();
    done(path, &["step", "home"]);
    // A folder where the trial's own would be made is something that it cannot work with.
    let partial = path.join("home/steps/0002/trials");
    fs::create_dir_all(&partial).unwrap();
    for trial in ["probe-0", "release"] {
        fs::write(partial.join(format!("{trial}.partial")), "in the way").unwrap();
    }
    let output = evolve(path, &["step", "home"]);
    let said = text(&output.stderr);
    assert!(said.contains("its trial failed"), "{said}");
    let life = history(path, "home");
    assert_eq!(life["champion"], 1);
}

/// Files of at most so many blocks of 512 bytes stand for a disk that is full.
#[test]
#[cfg(unix)]
fn without_room_it_stops_and_goes_on_when_there_is_some() {
    // A network that takes more room than the images.
    let (wide, _) = SPEC.split_once("[growth]").unwrap();
    let folder = home(&wide.replace("width = 0.25", "width = 2.0"));
    let path = folder.path();
    // Too little for the store, for the images, and for what a trial writes.
    for blocks in [16, 128, 400] {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let output = Command::new("sh")
            .current_dir(path)
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_net2net")])
            .args(["evolve", "step", "home"])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(3),
            "{blocks}: {}",
            text(&output.stderr)
        );
    }
    done(path, &["run", "home", "--until-idle"]);
    assert_eq!(
        history(path, "home")["versions"].as_array().unwrap().len(),
        3
    );
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
