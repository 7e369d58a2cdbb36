//! Whole comparisons, in small.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use net2net_core::io::Checkpoint;
use net2net_core::plan::Plan;
use net2net_lab::compare::{Ended, Options, Spec, Started, compare, create, rerender, resume};
use net2net_lab::report::{Comparison, Kind, Summary};

use crate::silent::Silent;

const SPEC: &str = r#"
title = "small"
seeds = [3]

[data]
train = 200
validation = 100

[teacher]
model = { family = "conv-net", width = 0.25 }
recipe = { epochs = 2, batch = 32, learning_rate = 0.05 }

[[growth]]
name = "wider"
grow = { widen = 1.5 }

[[growth]]
name = "deeper"
grow = { deepen = ["stage2.*"] }

[student]
recipe = { epochs = 1, batch = 32, learning_rate = 0.02, schedule = { kind = "linear" } }
"#;

fn options(directory: &Path) -> Options {
    Options {
        directory: directory.to_owned(),
        threads: 1,
        command: "net2net compare small.toml".to_owned(),
        machine: "a test".to_owned(),
        version: "0".to_owned(),
    }
}

pub fn complete(spec: &Spec, directory: &Path) -> (Comparison, Summary) {
    let stop = AtomicBool::new(false);
    let mut watcher = Silent::new(&stop, None);
    match compare(spec, &options(directory), &stop, &mut watcher).unwrap() {
        Ended::Complete(results) => *results,
        Ended::Interrupted => panic!("nobody asked to stop"),
    }
}

/// A comparison without what no two runs share.
fn timeless(mut comparison: Comparison) -> Comparison {
    for run in &mut comparison.runs {
        run.metrics
            .iter_mut()
            .for_each(|metric| metric.seconds = 0.0);
    }
    comparison
}

#[test]
fn every_kind_runs_and_everything_is_written() {
    let spec = Spec::from_toml(SPEC).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (comparison, summary) = complete(&spec, directory.path());
    let kinds: Vec<Kind> = comparison.runs.iter().map(|run| run.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Teacher,
            Kind::Continued,
            Kind::Net2net,
            Kind::Scratch,
            Kind::RandomPad,
            Kind::Reinit,
            Kind::Net2net,
            Kind::Scratch,
            Kind::RandomInit,
            Kind::Reinit,
        ]
    );
    assert_eq!(summary.growths.len(), 2);
    for growth in &comparison.growths {
        assert!(growth.evidence[0].1.holds(), "{:?}", growth.evidence);
        let folder = directory.path().join("seed3").join(&growth.name);
        let plan = Plan::from_json(&fs::read_to_string(folder.join("plan.json")).unwrap()).unwrap();
        assert_eq!(plan.describe(), growth.description);
        let start = Checkpoint::read(&folder.join("start.safetensors")).unwrap();
        assert_eq!(start.graph.parameter_count(), growth.student.parameters);
    }
    // The student's first evaluation is the teacher's last, to the sample.
    let at = |growth: &str, kind| comparison.run(growth, kind, 3).unwrap();
    let teacher = at("wider", Kind::Teacher).metrics.last().unwrap();
    for growth in ["wider", "deeper"] {
        let student = &at(growth, Kind::Net2net).metrics[0];
        assert_eq!(student.validation_accuracy, teacher.validation_accuracy);
        assert!((student.validation_loss - teacher.validation_loss).abs() < 1e-4);
        let scratch = &at(growth, Kind::Scratch).metrics[0];
        assert_ne!(scratch.validation_loss, student.validation_loss);
    }
    for file in [
        "metrics.jsonl",
        "summary.json",
        "report.html",
        "comparison.json",
    ] {
        assert!(
            directory.path().join(file).metadata().unwrap().len() > 0,
            "{file}"
        );
    }
    let before = fs::read(directory.path().join("report.html")).unwrap();
    fs::remove_file(directory.path().join("report.html")).unwrap();
    rerender(directory.path()).unwrap();
    assert_eq!(
        fs::read(directory.path().join("report.html")).unwrap(),
        before
    );
}

#[test]
fn a_comparison_stopped_again_and_again_ends_like_one_that_was_not() {
    let spec = Spec::from_toml(SPEC).unwrap();
    let whole = tempfile::tempdir().unwrap();
    let expected = timeless(complete(&spec, whole.path()).0);
    let parts = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut stops = 0;
    let found = loop {
        let mut watcher = Silent::new(&stop, Some(11));
        match compare(&spec, &options(parts.path()), &stop, &mut watcher).unwrap() {
            Ended::Interrupted => stops += 1,
            Ended::Complete(results) => {
                assert_eq!(timeless(results.0), expected);
                break watcher.found;
            }
        }
        assert!(stops < 20, "it does not get on");
    };
    assert!(stops >= 4, "it was stopped {stops} times");
    assert!(found > 5, "finished runs are not run again");
}

#[test]
fn directories_are_claimed_and_specs_are_compared() {
    let spec = Spec::from_toml(SPEC).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let started = Started {
        command: "net2net compare".to_owned(),
        threads: 2,
    };
    let message = |error: net2net_lab::compare::DirectoryError| error.to_string();
    assert!(
        message(resume::<Spec>(folder.path(), None, None).unwrap_err())
            .contains("no comparison to resume")
    );
    let claimed = create(&path, &spec, &started).unwrap();
    assert!(message(resume::<Spec>(&path, None, None).unwrap_err()).contains("another process"));
    drop(claimed);
    assert!(message(create(&path, &spec, &started).unwrap_err()).contains("--resume"));
    let (_claimed, read, how) = resume(&path, Some(&spec), Some(2)).unwrap();
    assert_eq!((read, how), (spec.clone(), started.clone()));
    drop(_claimed);
    assert!(message(resume::<Spec>(&path, None, Some(1)).unwrap_err()).contains("with 2 threads"));
    let mut other = spec.clone();
    other.set_seed_count(2);
    assert!(message(resume(&path, Some(&other), None).unwrap_err()).contains("another spec"));
}

#[test]
fn specs_of_no_sense_are_refused_with_the_setting() {
    for (from, to, what) in [
        ("seeds = [3]", "seeds = []", "`seeds` is empty"),
        ("seeds = [3]", "seeds = [3, 3]", "names a seed twice"),
        ("widen = 1.5", "mapping = \"random\"", "asks for nothing"),
        ("\"deeper\"", "\"wider\"", "there twice"),
        ("\"deeper\"", "\"../up\"", "also a folder's"),
        (
            "[teacher]",
            "[teacher]\ngrow_from_trunk = true",
            "warmup-stable-decay",
        ),
        ("epochs = 2", "epochs = -2", "teacher recipe"),
        ("width = 0.25", "widht = 0.25", "unknown field"),
    ] {
        let error = Spec::from_toml(&SPEC.replacen(from, to, 1))
            .unwrap_err()
            .to_string();
        assert!(error.contains(what), "{to}: {error}");
    }
    let spec = Spec::embedded().unwrap();
    assert_eq!(Spec::from_toml(&spec.to_toml().unwrap()).unwrap(), spec);
}

#[test]
fn a_growth_that_matches_nothing_says_so() {
    let spec = Spec::from_toml(&SPEC.replace("stage2.*", "stage9.*")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut watcher = Silent::new(&stop, None);
    let error = compare(&spec, &options(directory.path()), &stop, &mut watcher).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`stage9.*` cannot grow: it matches no layer"),
        "{error}"
    );
}

#[test]
fn a_teacher_that_diverges_is_named_and_nothing_grows() {
    let spec = SPEC.replace("learning_rate = 0.05", "learning_rate = 1e30");
    let spec = Spec::from_toml(&spec).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut watcher = Silent::new(&stop, None);
    let error = compare(&spec, &options(directory.path()), &stop, &mut watcher).unwrap_err();
    assert!(
        error.to_string().contains("the teacher of seed 3 diverged"),
        "{error}"
    );
    assert!(!directory.path().join("seed3/wider").exists());
}

#[test]
fn students_of_another_optimizer_do_not_inherit_its_moments() {
    let adam = r#"recipe = { epochs = 1, batch = 32, learning_rate = 0.001, optimizer = { kind = "adamw" }, "#;
    let spec = SPEC.replace(
        "recipe = { epochs = 1, batch = 32, learning_rate = 0.02, ",
        adam,
    );
    let spec = Spec::from_toml(&spec).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (comparison, _) = complete(&spec, directory.path());
    for kind in [Kind::Continued, Kind::Net2net] {
        let metrics = &comparison.run("wider", kind, 3).unwrap().metrics;
        let (first, last) = (&metrics[0], metrics.last().unwrap());
        assert!(
            last.validation_loss < 1.5 * first.validation_loss,
            "{kind:?}"
        );
    }
}

#[test]
fn other_images_on_resume_are_refused() {
    let spec = Spec::from_toml(SPEC).unwrap();
    let directory = tempfile::tempdir().unwrap();
    complete(&spec, directory.path());
    let mut other = spec.clone();
    other.data.train = Some(201);
    let stop = AtomicBool::new(false);
    let mut watcher = Silent::new(&stop, None);
    let error = compare(&other, &options(directory.path()), &stop, &mut watcher).unwrap_err();
    assert!(
        error.to_string().contains("the images have changed"),
        "{error}"
    );
}
