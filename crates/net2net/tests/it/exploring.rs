//! Trials and explorations from outside: done, stopped, killed, damaged, and done again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::{program, run, text};

const TRIAL: &str = r#"
seed = 5
threads = 1

[data]
train = 300
validation = 100

[start]
model = { family = "conv-net", width = 0.25 }

[recipe]
epochs = 3
batch = 16
learning_rate = 0.05
schedule = { kind = "warmup-stable-decay", decay = 0.25 }
"#;

const EXPLORE: &str = r#"
title = "small"
seeds = [2]
parallel = 2

[data]
train = 200
validation = 100

[start]
model = { family = "conv-net", width = 0.25 }
recipe = { epochs = 1, batch = 16, learning_rate = 0.05 }

[recipe]
epochs = 1
batch = 16
learning_rate = 0.05

[search]
kind = "halving"
population = 4
rungs = [1.0, 1.5]
keep = 0.5
generations = 2
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("trial.toml"), TRIAL).unwrap();
    fs::write(folder.path().join("small.toml"), EXPLORE).unwrap();
    folder
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A record without what a clock measured.
fn timeless(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Object(map) => {
            map.retain(|key, _| !key.contains("seconds") && key != "latency_ms");
            for (_, inner) in map.iter_mut() {
                *inner = timeless(inner.take());
            }
        }
        serde_json::Value::Array(all) => {
            for inner in all {
                *inner = timeless(inner.take());
            }
        }
        _ => {}
    }
    value
}

/// Starts a command and kills it after a while; false if it ended before.
fn killed_after(folder: &Path, arguments: &[&str], milliseconds: u64) -> bool {
    let mut child = program()
        .current_dir(folder)
        .args(arguments)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(milliseconds));
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    !ended
}

#[test]
fn a_trial_leaves_a_network_that_another_one_grows() {
    let folder = folder();
    let path = folder.path();
    let trained = run(path, &["train", "trial.toml", "--out", "first", "--json"]);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let first = json(&path.join("first/done.json"));
    assert_eq!(
        first,
        serde_json::from_slice::<serde_json::Value>(&trained.stdout).unwrap()
    );
    for file in [
        "trial.toml",
        "data.txt",
        "metrics.jsonl",
        "model.safetensors",
        "trunk.safetensors",
        "model.onnx",
    ] {
        assert!(path.join("first").join(file).exists(), "{file}");
    }
    assert!(!path.join("first/run").exists() && !path.join("first.partial").exists());
    let again = run(path, &["train", "trial.toml", "--out", "first"]);
    assert!(
        text(&again.stderr).contains("is there already"),
        "{}",
        text(&again.stderr)
    );
    assert_eq!(json(&path.join("first/done.json")), first);

    // Grown from the ONNX file, by a plan.
    let planned = run(
        path,
        &[
            "plan",
            "first/model.onnx",
            "--wider",
            "1.5",
            "-o",
            "wider.json",
        ],
    );
    assert!(planned.status.success(), "{}", text(&planned.stderr));
    let grown = TRIAL.replace(
        "model = { family = \"conv-net\", width = 0.25 }",
        "file = \"first/model.onnx\"\nplans = [\"wider.json\"]",
    );
    fs::write(path.join("grown.toml"), grown).unwrap();
    let trained = run(path, &["train", "grown.toml", "--out", "grown"]);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let second = json(&path.join("grown/done.json"));
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert!(number(&second["parameters"]) > number(&first["parameters"]));
    assert_eq!(second["evidence"][0]["exact"], true);
    // It begins where the first one ended.
    assert!(
        (number(&second["metrics"][0]["validation_loss"]) - number(&first["loss"])).abs() < 1e-4,
        "{second}"
    );
    assert!(path.join("grown/plan-1.json").exists());
    let other = run(path, &["train", "grown.toml", "--out", "first"]);
    assert!(text(&other.stderr).contains("the result of another trial"));
    // Another network under the same name is another trial; a folder that is empty is none.
    fs::copy(path.join("grown/model.onnx"), path.join("first/model.onnx")).unwrap();
    let other = run(path, &["train", "grown.toml", "--out", "grown"]);
    assert_eq!(other.status.code(), Some(1));
    let said = text(&other.stderr);
    assert!(said.contains("started from other files"), "{said}");
}

/// A network that is given may be the best there is, and is among the winners then.
#[test]
fn an_exploration_grows_a_network_that_is_given_within_its_budget() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir(path.join("first")).unwrap();
    let trained = run(path, &["train", "trial.toml", "--out", "first"]);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let given = EXPLORE
        .replace(
            "model = { family = \"conv-net\", width = 0.25 }\nrecipe = { epochs = 1, batch = 16, learning_rate = 0.05 }",
            "file = \"first/model.onnx\"",
        )
        .replace("kind = \"halving\"\npopulation = 4\nrungs = [1.0, 1.5]\nkeep = 0.5\ngenerations = 2", "kind = \"evolution\"\npopulation = 2\nsample = 2\nchildren = 6")
        + "\n[limits]\nparameters = 2500\n\n[budget]\ntrials = 3\n\n[objective]\ncost = \"flops\"\n";
    fs::write(path.join("given.toml"), &given).unwrap();
    let output = run(path, &["explore", "given.toml", "--out", "given"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let record = json(&path.join("given/exploration.json"));
    let seed = &record["seeds"][0];
    assert_eq!(seed["stopped_by"], "trials");
    let candidates = seed["candidates"].as_array().unwrap();
    assert!((3..=4).contains(&candidates.len()), "{}", candidates.len());
    for candidate in candidates {
        assert!(candidate["parameters"].as_u64().unwrap() <= 2500);
    }
    for winner in seed["front"].as_array().unwrap() {
        let folder = path.join(format!(
            "given/seed2/winners/c{:03}",
            winner.as_u64().unwrap()
        ));
        assert!(folder.join("model.onnx").exists() && folder.join("model.safetensors").exists());
    }
    for (wrong, said) in [
        (
            given.replace("trials = 3", "trials = 0"),
            "`budget` must be above 0",
        ),
        (
            given.replace("parameters = 2500", "parameters = 0"),
            "`limits` must be above 0",
        ),
    ] {
        fs::write(path.join("wrong.toml"), wrong).unwrap();
        let output = run(path, &["explore", "wrong.toml", "--out", "wrong"]);
        assert!(
            text(&output.stderr).contains(said),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_trial_that_is_killed_goes_on_and_two_at_once_leave_one_result() {
    let folder = folder();
    let path = folder.path();
    let whole = run(path, &["train", "trial.toml", "--out", "whole"]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let mut kills = 0;
    for wait in [40, 90, 160, 250, 400] {
        kills += u32::from(killed_after(
            path,
            &["train", "trial.toml", "--out", "killed"],
            wait,
        ));
    }
    assert!(kills > 0);
    let two: Vec<_> = (0..2)
        .map(|_| {
            program()
                .current_dir(path)
                .args(["train", "trial.toml", "--out", "killed"])
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut one in two {
        assert!(one.wait().unwrap().success());
    }
    assert!(!path.join("killed.partial").exists());
    let result = |name: &str| {
        let text = fs::read_to_string(path.join(name).join("done.json")).unwrap();
        // A run's name is its folder's.
        timeless(serde_json::from_str(&text.replace("killed", "whole")).unwrap())
    };
    assert_eq!(result("killed"), result("whole"));
}

/// When each published trial was finished. One in its working directory, `.partial`, is not: its process may outlive the
/// exploration for a moment, and publishes it between two looks.
fn finished(out: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let trials = out.join("seed2/trials");
    let Ok(entries) = fs::read_dir(trials) else {
        return BTreeMap::new();
    };
    let published = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none());
    let done = published.map(|path| path.join("done.json"));
    done.filter(|path| path.exists())
        .map(|path| {
            (
                path.clone(),
                fs::metadata(&path).unwrap().modified().unwrap(),
            )
        })
        .collect()
}

#[test]
fn an_exploration_that_is_killed_repeats_nothing_and_finds_the_same() {
    let folder = folder();
    let path = folder.path();
    let whole = run(
        path,
        &["explore", "small.toml", "--out", "whole", "--threads", "2"],
    );
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let shown = text(&whole.stdout);
    for word in [
        "architectures",
        "accuracy",
        "scratch",
        "page: whole/explore.html",
    ] {
        assert!(shown.contains(word), "{word} is not in\n{shown}");
    }
    let page = fs::read_to_string(path.join("whole/explore.html")).unwrap();
    for word in [
        "Accuracy against cost",
        "train on",
        "The front",
        "rank correlation",
    ] {
        assert!(page.contains(word), "{word}");
    }
    let record = json(&path.join("whole/exploration.json"));
    let seed = &record["seeds"][0];
    assert!(seed["architectures"].as_u64().unwrap() >= 4, "{seed}");
    assert!(seed["control"]["scratch"].is_number());
    winners_replay(&path.join("whole"), seed);

    let begun = run(
        path,
        &["explore", "small.toml", "--out", "nowhere", "--resume"],
    );
    assert!(text(&begun.stderr).contains("no exploration to resume"));
    assert!(killed_after(
        path,
        &["explore", "small.toml", "--out", "killed", "--threads", "2"],
        300
    ));
    let mut kills = 1;
    for wait in [150, 450, 300, 700, 500, 900] {
        let before = finished(&path.join("killed"));
        kills += u32::from(killed_after(
            path,
            &["explore", "--out", "killed", "--resume"],
            wait,
        ));
        let after = finished(&path.join("killed"));
        assert!(
            before
                .iter()
                .all(|(path, time)| after.get(path) == Some(time))
        );
    }
    assert!(kills >= 2, "killed {kills} times");
    let before = finished(&path.join("killed"));
    let resumed = run(path, &["explore", "--out", "killed", "--resume"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    let after = finished(&path.join("killed"));
    assert!(
        before
            .iter()
            .all(|(path, time)| after.get(path) == Some(time))
    );
    assert_eq!(
        timeless(json(&path.join("killed/exploration.json"))),
        timeless(record)
    );
}

/// The plans of a winner lead from the start's network to its own.
fn winners_replay(out: &Path, seed: &serde_json::Value) {
    let best = seed["front"][0].as_u64().unwrap();
    let winner = out.join(format!("seed2/winners/c{best:03}"));
    assert!(winner.join("model.onnx").exists());
    let mut model = out.join("seed2/trials/c000-r0/model.safetensors");
    for number in 1.. {
        let plan = winner.join(format!("plan-{number}.json"));
        if !plan.exists() {
            break;
        }
        let grown = winner.join(format!("replayed-{number}.safetensors"));
        let words = [
            Path::new("grow"),
            &model,
            Path::new("--plan"),
            &plan,
            Path::new("-o"),
            &grown,
        ];
        let result = program().args(words).output().unwrap();
        assert!(result.status.success(), "{}", text(&result.stderr));
        model = grown;
    }
    let own = winner.join("model.safetensors");
    let result = program()
        .args([Path::new("diff"), &model, &own])
        .output()
        .unwrap();
    assert!(result.status.success(), "{}", text(&result.stdout));
}

#[test]
fn what_goes_wrong_is_said_and_leaves_the_rest() {
    let folder = folder();
    let path = folder.path();
    // A start that runs away.
    let wild = EXPLORE.replacen("learning_rate = 0.05", "learning_rate = 1e9", 1);
    fs::write(path.join("wild.toml"), wild).unwrap();
    let output = run(path, &["explore", "wild.toml", "--out", "wild"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("diverged"),
        "{}",
        text(&output.stderr)
    );

    // A start that is larger than anything may be is refused before it trains; so are moves, with reasons.
    for (most, why) in [(1000, "is beyond the limits"), (1760, "moves are beyond")] {
        let limited = format!("{EXPLORE}\n[limits]\nparameters = {most}\n");
        fs::write(path.join("limited.toml"), limited).unwrap();
        let out = format!("limited-{most}");
        let output = run(path, &["explore", "limited.toml", "--out", &out]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains(why), "{error}");
        assert_eq!(
            path.join(out).join("seed2/trials/c000-r0").exists(),
            most == 1760
        );
    }

    // Candidates that run away are left out, and the search ends.
    let small = EXPLORE.replace("generations = 2", "generations = 1");
    let at = small.rfind("learning_rate = 0.05").unwrap();
    let (head, tail) = small.split_at(at);
    let some = format!("{head}{}", tail.replacen("0.05", "1e9", 1));
    fs::write(path.join("some.toml"), some).unwrap();
    let output = run(path, &["explore", "some.toml", "--out", "some"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let record = json(&path.join("some/exploration.json"));
    let fault = &record["seeds"][0]["candidates"][1]["trials"][0]["fault"];
    assert!(fault.as_str().unwrap().contains("diverged"), "{fault}");

    // Two at once.
    let locked = fs::File::open(path.join("some/.lock")).unwrap();
    locked.lock().unwrap();
    let output = run(path, &["explore", "--out", "some", "--resume"]);
    assert!(
        text(&output.stderr).contains("another process"),
        "{}",
        text(&output.stderr)
    );
    drop(locked);

    // A damaged network of a finished trial, and what to do about it.
    let trial = path.join("some/seed2/trials/c000-r0");
    fs::write(trial.join("model.safetensors"), "damaged").unwrap();
    let output = run(path, &["explore", "--out", "some", "--resume"]);
    let error = text(&output.stderr);
    assert!(
        error.contains("c000-r0") && error.contains("resume"),
        "{error}"
    );
    fs::remove_dir_all(&trial).unwrap();
    let output = run(path, &["explore", "--out", "some", "--resume"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        timeless(json(&path.join("some/exploration.json"))),
        timeless(record.clone())
    );

    // A damaged network among the winners.
    let winner = record["seeds"][0]["front"][0].as_u64().unwrap();
    let trials = path.join("some/seed2/trials");
    let last = (0..2)
        .rev()
        .map(|rung| trials.join(format!("c{winner:03}-r{rung}")));
    let last = last.into_iter().find(|trial| trial.exists()).unwrap();
    fs::write(last.join("model.safetensors"), "damaged").unwrap();
    let output = run(path, &["explore", "--out", "some", "--resume"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("resume"), "{error}");

    // A damaged start, which lies beside its spec.
    fs::create_dir(path.join("beside")).unwrap();
    fs::write(path.join("beside/bad.safetensors"), "damaged").unwrap();
    let file = EXPLORE.replace(
        "model = { family = \"conv-net\", width = 0.25 }",
        "file = \"bad.safetensors\"",
    );
    fs::write(path.join("beside/bad.toml"), file).unwrap();
    let output = run(path, &["explore", "beside/bad.toml", "--out", "bad"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("beside/bad.safetensors") && !error.contains("No such file"),
        "{error}"
    );
}

/// Files of at most so many blocks of 512 bytes stand for a disk that is full.
#[test]
#[cfg(unix)]
fn without_room_it_stops_and_goes_on_when_there_is_some() {
    let folder = folder();
    let path = folder.path();
    let small = EXPLORE.replace("generations = 2", "generations = 1");
    fs::write(path.join("small.toml"), small).unwrap();
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
    let output = Command::new("sh")
        .current_dir(path)
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_net2net")])
        .args(["explore", "small.toml", "--out", "full"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("make room and resume"),
        "{}",
        text(&output.stderr)
    );
    let output = run(path, &["explore", "--out", "full", "--resume"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
