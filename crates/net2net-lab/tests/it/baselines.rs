//! Every way that Net2Net is compared with does what its source says.

use std::fs;

use net2net_core::io::Checkpoint;
use net2net_core::plan::Plan;
use net2net_lab::compare::{Baseline, Distillation, Hints, Paper, Spec};
use net2net_lab::report::{Comparison, Kind, RunRecord};

use crate::compare::complete;

const SPEC: &str = r#"
title = "every kind"
seeds = [3]

[data]
train = 400
validation = 100

[teacher]
model = { family = "conv-net", width = 0.25 }
recipe = { epochs = 4, batch = 32, learning_rate = 0.05 }

[[growth]]
name = "both"
grow = { widen = 1.5, deepen = ["stage2.*"] }

[student]
recipe = { epochs = 2, batch = 32, learning_rate = 0.02, schedule = { kind = "linear" } }
scratch = { epochs = 3, batch = 32, learning_rate = 0.05, schedule = { kind = "linear" } }
baselines = [
    "scratch", "scratch-short", "random", "reinit", "reinit-first", "reinit-last", "continued",
    { kind = "distilled", temperature = 2, weight = 0.5 },
    { kind = "hinted", epochs = 2, learning_rate = 0.5 },
    "net2net-paper", "net2net-stages",
]
"#;

fn run(comparison: &Comparison, kind: Kind) -> &RunRecord {
    let run = comparison.run("both", kind, 3);
    run.unwrap_or_else(|| panic!("no {kind:?}"))
}

#[test]
fn every_kind_learns_and_starts_where_it_should() {
    let spec = Spec::from_toml(SPEC).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (comparison, summary) = complete(&spec, directory.path());
    let loss = |kind, at: usize| {
        let metrics = &run(&comparison, kind).metrics;
        metrics[at.min(metrics.len() - 1)].validation_loss
    };
    let teacher = loss(Kind::Teacher, usize::MAX);
    for kind in [
        Kind::Scratch,
        Kind::ScratchShort,
        Kind::RandomPad,
        Kind::Reinit,
        Kind::ReinitFirst,
        Kind::ReinitLast,
        Kind::Distilled,
        Kind::Hinted,
    ] {
        let (first, last) = (loss(kind, 0), loss(kind, usize::MAX));
        assert!(
            first > 1.05 * teacher,
            "{kind:?} starts at {first} and the teacher ends at {teacher}"
        );
        assert!(last < 0.9 * first, "{kind:?} goes from {first} to {last}");
    }
    let paper = run(&comparison, Kind::Net2netPaper);
    assert!((loss(Kind::Net2netPaper, 0) - teacher).abs() < 0.05 * teacher);
    assert_ne!(loss(Kind::Net2netPaper, 0), loss(Kind::Net2net, 0));
    assert!((paper.metrics[1].learning_rate - 0.005 * (1.0 - 5.0 / 24.0)).abs() < 1e-12);
    let folder = directory.path().join("seed3/both");
    let plan = fs::read_to_string(folder.join("paper.json")).unwrap();
    assert!(!Plan::from_json(&plan).unwrap().is_exact());

    // The short one begins as scratch does, and ends with the students.
    assert_eq!(loss(Kind::ScratchShort, 0), loss(Kind::Scratch, 0));
    let steps = |kind| run(&comparison, kind).metrics.last().unwrap().step;
    assert_eq!(steps(Kind::ScratchShort), steps(Kind::Net2net));
    assert!(steps(Kind::ScratchShort) < steps(Kind::Scratch));

    // Distillation and scratch begin with the same numbers, and go different ways.
    assert_eq!(loss(Kind::Distilled, 0), loss(Kind::Scratch, 0));
    assert_ne!(loss(Kind::Distilled, 1), loss(Kind::Scratch, 1));
    // A teacher's answers cost its forward pass.
    let flops = |kind| run(&comparison, kind).metrics.last().unwrap().flops;
    assert!(flops(Kind::Distilled) > 1.05 * flops(Kind::Scratch));

    // The hints were learnt, their layers were taken over, and their cost counts.
    let hinted = run(&comparison, Kind::Hinted);
    let hint = Checkpoint::read(&folder.join("hint/model.safetensors")).unwrap();
    assert!(hint.weights.get("hint.regressor.weight").is_some());
    let steps = 2 * (400 / 32);
    assert_eq!(hinted.metrics[0].step, steps);
    assert!(hinted.metrics[0].seconds > 0.0 && hinted.metrics[0].flops > 0.0);
    assert_eq!(hinted.metrics.last().unwrap().step, steps + 3 * (400 / 32));
    let record = fs::read_to_string(folder.join("hint/done.json")).unwrap();
    let record: RunRecord = serde_json::from_str(&record).unwrap();
    let (before, after) = (&record.metrics[0], record.metrics.last().unwrap());
    assert!(after.validation_loss < 0.7 * before.validation_loss);
    assert!(after.validation_accuracy.is_nan());

    // Each step is exact, the stages take the student's steps together, and end with its architecture.
    let staged = run(&comparison, Kind::Net2netStages);
    let first = fs::read_to_string(folder.join("stage1/net2net-stages/done.json")).unwrap();
    let first: RunRecord = serde_json::from_str(&first).unwrap();
    assert!((first.metrics[0].validation_loss - teacher).abs() < 1e-3 * teacher);
    assert_eq!(first.metrics.last().unwrap().step, 400 / 32);
    assert_eq!(staged.metrics[0].step, 400 / 32);
    assert_eq!(staged.metrics.last().unwrap().step, 2 * (400 / 32));
    let graph = |path: &str| Checkpoint::read(&folder.join(path)).unwrap().graph;
    let [once, stages] = ["net2net", "net2net-stages"].map(|run| {
        let graph = graph(&format!("{run}/model.safetensors"));
        let parameters = graph.parameters();
        let described =
            parameters.map(|id| (graph.get(id).name.clone(), graph.get(id).shape.clone()));
        described.collect::<Vec<_>>()
    });
    assert_eq!(once, stages);

    let ways: Vec<Kind> = summary.growths[0].students.iter().map(|s| s.kind).collect();
    assert_eq!(ways.len(), 11, "{ways:?}");
}

#[test]
fn variants_of_one_architecture_share_scratch_and_differ_as_stated() {
    let from = SPEC.find("[[growth]]").unwrap();
    let to = SPEC.find("[student]").unwrap();
    let variants = r#"
[[growth]]
name = "plain"
grow = { widen = 1.5 }
[[growth]]
name = "tenth"
grow = { widen = 1.5, symmetry = { kind = "zero-sum", std = 0.1 } }
student = { rate = { policy = "tenth" }, moments = "reset", baselines = ["scratch"] }
[[growth]]
name = "kept"
grow = { widen = 1.5 }
student = { rate = { policy = "rewarm", epochs = 0.5 }, moments = "kept", baselines = [] }
[[growth]]
name = "longer"
grow = { widen = 2.0 }
student = { baselines = ["scratch"], recipe = { epochs = 3, batch = 32, learning_rate = 0.02 } }

"#;
    let spec = format!("{}{variants}{}", &SPEC[..from], &SPEC[to..]);
    let cut = spec.find("baselines = [\n").unwrap();
    let spec = format!("{}baselines = [\"scratch\"]\n", &spec[..cut]);
    let spec = Spec::from_toml(&spec).unwrap();
    assert_eq!(Spec::from_toml(&spec.to_toml().unwrap()).unwrap(), spec);
    let directory = tempfile::tempdir().unwrap();
    let (comparison, summary) = complete(&spec, directory.path());
    let scratches = comparison
        .runs
        .iter()
        .filter(|run| run.kind == Kind::Scratch);
    let growths: Vec<&str> = scratches.filter_map(|run| run.growth.as_deref()).collect();
    assert_eq!(growths, ["plain", "longer"]);
    for growth in &summary.growths {
        let expected = if growth.name == "longer" {
            "longer"
        } else {
            "plain"
        };
        assert_eq!(growth.scratch_of, expected);
        assert_eq!(growth.students[0].to_scratch.median.scratch_seeds, 1);
    }
    let first = |growth: &str| {
        let run = comparison.run(growth, Kind::Net2net, 3).unwrap();
        (
            run.metrics[0].validation_accuracy,
            run.metrics[1].learning_rate,
            run.metrics[1].validation_loss,
        )
    };
    let accuracy = first("plain").0;
    assert!(
        ["tenth", "kept", "longer"]
            .iter()
            .all(|growth| first(growth).0 == accuracy)
    );
    assert!((first("tenth").1 - 0.1 * 0.05 * (1.0 - 5.0 / 24.0)).abs() < 1e-12);
    assert!(first("kept").1 != first("plain").1 && first("kept").2 != first("plain").2);
    assert_eq!(
        comparison
            .run("longer", Kind::Net2net, 3)
            .unwrap()
            .metrics
            .len(),
        7
    );
}

#[test]
fn baselines_are_read_by_name_or_with_settings() {
    let read = |baselines: &str| {
        let cut = SPEC.find("baselines = [\n").unwrap();
        Spec::from_toml(&format!("{}baselines = {baselines}", &SPEC[..cut]))
    };
    let spec =
        read("[\"hinted\", { kind = \"distilled\", temperature = 8 }, \"net2net-paper\"]").unwrap();
    let expected = [
        Baseline::Hinted(Hints::default()),
        Baseline::Distilled(Distillation {
            temperature: 8.0,
            ..Distillation::default()
        }),
        Baseline::Net2netPaper(Paper::default()),
    ];
    assert_eq!(spec.student.baselines, expected);
    assert_eq!(Spec::from_toml(&spec.to_toml().unwrap()).unwrap(), spec);
    for (baselines, what) in [
        ("[\"scrach\"]", "unknown variant `scrach`"),
        ("[{ kind = \"distilled\", temprature = 2 }]", "temprature"),
        (
            "[{ kind = \"distilled\", temperature = 0 }]",
            "temperature must be in 0.1..=100",
        ),
        ("[{ kind = \"hinted\", epochs = -1 }]", "epochs must be in"),
        ("[\"scratch\", \"scratch\"]", "is there already"),
        ("[{ temperature = 2 }]", "kind"),
    ] {
        let error = read(baselines).unwrap_err().to_string();
        assert!(error.contains(what), "{baselines}: {error}");
    }
}
