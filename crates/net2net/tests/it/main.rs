//! The program from outside, as people and their shells meet it.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod onnxruntime;
mod quantized;

mod asking;
mod edges;
mod evolving;
mod exploring;
mod growing;
mod lengths;
mod shards;
mod state;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const SPEC: &str = r#"
title = "small"
seeds = [3]

[data]
train = 400
validation = 100

[teacher]
model = { family = "conv-net", width = 0.5 }
recipe = { epochs = 3, batch = 16, learning_rate = 0.05 }

[[growth]]
name = "wider"
grow = { widen = 1.5 }

[student]
recipe = { epochs = 2, batch = 16, learning_rate = 0.02 }
"#;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_net2net"))
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program()
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with the small spec in it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.toml"), SPEC).unwrap();
    folder
}

#[test]
fn help_and_version_tell_what_it_is() {
    let folder = folder();
    let help = run(folder.path(), &["--help"]);
    assert!(help.status.success());
    for word in ["compare", "report", "completions", "Exit codes", "Net2Net"] {
        assert!(text(&help.stdout).contains(word), "{word}");
    }
    let version = run(folder.path(), &["--version"]);
    assert_eq!(
        text(&version.stdout),
        format!("net2net {}\n", env!("CARGO_PKG_VERSION"))
    );
    let script = run(folder.path(), &["completions", "bash"]);
    assert!(text(&script.stdout).contains("_net2net"));
}

#[test]
fn mistakes_have_their_exit_codes_and_say_what_to_do() {
    let folder = folder();
    for (arguments, code, message) in [
        (&["compare", "--sedes", "3"][..], 2, "--seeds"),
        (&["compare", "--seeds", "0"], 2, "1..=1000"),
        (
            &["compare", "missing.toml"],
            1,
            "missing.toml cannot be read",
        ),
        (&["compare", "--resume"], 1, "--out"),
        (
            &["compare", "--resume", "--out", "nowhere"],
            1,
            "no comparison to resume",
        ),
        (
            &["report", "nowhere"],
            1,
            "nowhere holds no finished comparison",
        ),
        (&["report"], 2, "<DIR>"),
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.contains(message), "{arguments:?}: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
    fs::write(
        folder.path().join("bad.toml"),
        SPEC.replace("epochs = 3", "epochs = \"three\""),
    )
    .unwrap();
    let output = run(folder.path(), &["compare", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("bad.toml"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_printed_spec_can_be_run_and_changes_with_the_flags() {
    let folder = folder();
    let printed = run(folder.path(), &["compare", "--print-spec"]);
    assert!(printed.status.success());
    fs::write(folder.path().join("own.toml"), &printed.stdout).unwrap();
    let again = run(folder.path(), &["compare", "own.toml", "--print-spec"]);
    assert_eq!(text(&again.stdout), text(&printed.stdout));
    let three = run(folder.path(), &["compare", "--seeds", "3", "--print-spec"]);
    assert!(text(&three.stdout).contains("seeds = [\n    0,\n    1,\n    2,\n]"));
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_comparison_ends_with_the_table_and_json_on_request() {
    let folder = folder();
    let output = run(folder.path(), &["compare", "small.toml"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for word in [
        "wider",
        "Net2Net",
        "scratch",
        "Random pad",
        "report: runs/compare-1/report.html",
    ] {
        assert!(table.contains(word), "{word} is not in\n{table}");
    }
    assert!(text(&output.stderr).contains("the same function"));
    let report = run(folder.path(), &["report", "runs/compare-1", "--json"]);
    let summary: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(summary["growths"][0]["name"], "wider");
    // Two that differ in their seeds are one, with the runs where they lie.
    let other = SPEC.replace("seeds = [3]", "seeds = [4]");
    fs::write(folder.path().join("other.toml"), other).unwrap();
    let output = run(folder.path(), &["compare", "other.toml"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let both = [
        "report",
        "runs/compare-1",
        "runs/compare-2",
        "--out",
        "all.html",
        "--json",
    ];
    let output = run(folder.path(), &both);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let seeds = &summary["growths"][0]["students"][0]["to_scratch"]["seeds"];
    assert_eq!(seeds.as_array().map(Vec::len), Some(2), "{summary}");
    let page = fs::read_to_string(folder.path().join("all.html")).unwrap();
    for link in [
        "runs/compare-1/seed3/teacher/model.safetensors",
        "runs/compare-2/seed4/wider/plan.json",
    ] {
        assert!(page.contains(link), "{link}");
    }
    let one = run(
        folder.path(),
        &["report", "runs/compare-1", "--out", "one.html"],
    );
    assert!(text(&one.stderr).contains("--out is where the page of several"));
    let taken = run(
        folder.path(),
        &["compare", "small.toml", "--out", "runs/compare-1"],
    );
    assert_eq!(taken.status.code(), Some(1));
    assert!(text(&taken.stderr).contains("add --resume"));
}

/// Starts the small comparison, or goes on with it.
fn start(folder: &Path, out: &str, resume: bool) -> Child {
    let mut command = program();
    command
        .current_dir(folder)
        .args(["compare", "--threads", "1", "--out", out]);
    command.arg(if resume { "--resume" } else { "small.toml" });
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs that begin in each of the ways that there are, with a checkpoint after each step.
fn every_way() -> String {
    SPEC.replace("epochs = 3, batch = 16", "epochs = 3, batch = 16, checkpoint_seconds = 0.0")
        .replace(
            "recipe = { epochs = 2, batch = 16,",
            "baselines = [\"scratch\", \"continued\", \"distilled\", { kind = \"hinted\", epochs = 1.0 }, \"net2net-stages\"]\n\
             recipe = { epochs = 2, batch = 16, checkpoint_seconds = 0.0,",
        )
}

/// What was measured, without what a clock measured.
fn measured(folder: &Path) -> serde_json::Value {
    fn timeless(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                map.retain(|key, _| !key.contains("seconds") && key != "command");
                map.values_mut().for_each(timeless);
            }
            serde_json::Value::Array(all) => all.iter_mut().for_each(timeless),
            _ => {}
        }
    }
    let bytes = fs::read(folder.join("comparison.json")).unwrap();
    let mut value = serde_json::from_slice(&bytes).unwrap();
    timeless(&mut value);
    value
}

/// The numbers of all trained models, without notes such as seconds.
fn models(folder: &Path) -> Vec<Vec<u8>> {
    let runs = [
        "teacher",
        "continued",
        "wider/net2net",
        "wider/scratch",
        "wider/distilled",
        "wider/hinted",
        "wider/net2net-stages",
    ];
    runs.iter()
        .map(|run| {
            let path = folder.join("seed3").join(run).join("model.safetensors");
            let checkpoint = net2net_core::io::Checkpoint::read(&path).unwrap();
            let tensors = checkpoint.weights.iter();
            tensors
                .flat_map(|(_, t)| t.data().iter().flat_map(|x| x.to_le_bytes()))
                .collect()
        })
        .collect()
}

#[test]
fn a_comparison_killed_at_any_moment_resumes_to_the_same_models() {
    let folder = folder();
    fs::write(folder.path().join("small.toml"), every_way()).unwrap();
    assert!(
        start(folder.path(), "whole", false)
            .wait()
            .unwrap()
            .success()
    );
    let mut child = start(folder.path(), "killed", false);
    let mut kills = 0;
    // Pauses of odd lengths hit the start, the middle of runs and writes alike.
    for pause_ms in [
        60, 130, 210, 170, 90, 250, 330, 140, 410, 190, 280, 350, 120, 230,
    ] {
        std::thread::sleep(Duration::from_millis(pause_ms));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        // Killed before the spec was written, there is nothing to resume yet.
        let resume = folder.path().join("killed/spec.toml").exists();
        child = start(folder.path(), "killed", resume);
    }
    assert!(child.wait().unwrap().success());
    assert!(kills > 2, "killed {kills} times");
    let [whole, killed] = ["whole", "killed"].map(|out| models(&folder.path().join(out)));
    assert_eq!(whole, killed);
    let [whole, killed] = ["whole", "killed"].map(|out| measured(&folder.path().join(out)));
    assert_eq!(whole, killed);
    assert!(folder.path().join("killed/report.html").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_state_to_resume_and_says_how() {
    let folder = folder();
    let child = program()
        .current_dir(folder.path())
        .args([
            "compare",
            "small.toml",
            "--threads",
            "1",
            "--out",
            "stopped",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(400));
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("net2net compare --resume --out stopped"));
    assert!(
        start(folder.path(), "stopped", true)
            .wait()
            .unwrap()
            .success()
    );
}
