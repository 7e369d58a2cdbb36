//! Comparisons that nobody measured: handmade curves for exact figures, and a whole report's worth for looking at.

use net2net_lab::report::{
    Architecture, Comparison, Evidence, GrowthRecord, Kind, LayerRow, Metric, OutputEvidence,
    RunRecord,
};

/// A run with an evaluation every 100 steps, 10 seconds and 1000 FLOPs, at the given accuracies; the first is at step 0.
pub fn run(kind: Kind, seed: u64, accuracies: &[f64]) -> RunRecord {
    let shared = matches!(kind, Kind::Teacher | Kind::Continued);
    let growth = (!shared).then(|| "wider".to_owned());
    let id = format!(
        "seed{seed}/{}/{}",
        growth.as_deref().unwrap_or("base"),
        kind.slug()
    );
    let metric = |(i, accuracy): (usize, &f64)| Metric {
        run: id.clone(),
        seed,
        epoch: i as f64,
        step: 100 * i as u64,
        seconds: 10.0 * i as f64,
        flops: 1_000.0 * i as f64,
        learning_rate: 0.1,
        train_loss: (i > 0).then_some(1.0),
        validation_loss: 2.0 - accuracy,
        validation_accuracy: *accuracy,
        apart: None,
    };
    RunRecord {
        metrics: accuracies.iter().enumerate().map(metric).collect(),
        id,
        growth,
        kind,
        seed,
        parameters: 1_000,
        flops_per_sample: 10,
        diverged: None,
    }
}

/// The same run, stopped because its loss ran away.
pub fn diverged(run: RunRecord) -> RunRecord {
    RunRecord {
        diverged: Some("loss is not a number".to_owned()),
        ..run
    }
}

/// A comparison with one growth, "wider".
pub fn comparison(seeds: &[u64], runs: Vec<RunRecord>) -> Comparison {
    let growths = vec![growth("wider", architecture(16, &[]), seeds)];
    Comparison {
        title: "Handmade".to_owned(),
        version: "0.1.0".to_owned(),
        machine: "paper".to_owned(),
        threads: 1,
        seeds: seeds.to_vec(),
        data: "numbers".to_owned(),
        spec_toml: "[data]\nkind = \"none\"\n".to_owned(),
        command: "net2net compare handmade.toml".to_owned(),
        teacher: architecture(8, &[]),
        growths,
        runs,
        places: Default::default(),
    }
}

fn growth(name: &str, student: Architecture, seeds: &[u64]) -> GrowthRecord {
    GrowthRecord {
        name: name.to_owned(),
        description: vec![
            "widen block1.conv1: 32 → 64 channels (copies spread by 2 %, outgoing weights divided)"
                .to_owned(),
            "widen block2.conv1: 64 → 128 channels".to_owned(),
        ],
        evidence: seeds.iter().map(|seed| (*seed, evidence())).collect(),
        student,
    }
}

pub fn evidence() -> Evidence {
    let output = |name: &str, max_abs: f64, scale: f64| OutputEvidence {
        output: name.to_owned(),
        max_abs,
        max_rel: max_abs / scale,
        scale,
    };
    Evidence {
        inputs: "64 validation images".to_owned(),
        f64: vec![
            output("logits", 3.1e-14, 11.734),
            output("features", 8.9e-15, 4.02),
        ],
        f32: vec![
            output("logits", 1.4e-5, 11.734),
            output("features", 3.8e-6, 4.02),
        ],
        tolerance: 1e-10,
        exact: true,
    }
}

/// A small convolutional network of a width, with extra layers.
fn architecture(width: u64, extra: &[&str]) -> Architecture {
    let mut layers = Vec::new();
    let mut channels = 3;
    for (block, side) in [(1, 32), (2, 16), (3, 8)] {
        let mut add = |name: String, operator: &str, side: u64, parameters: u64| {
            let output_shape = format!("{} × {side} × {side}", width * block);
            layers.push(LayerRow {
                name,
                operator: operator.to_owned(),
                output_shape,
                parameters,
            });
        };
        let out = width * block;
        add(
            format!("block{block}.conv1"),
            "conv 3×3",
            side,
            channels * out * 9,
        );
        add(format!("block{block}.norm1"), "batch norm", side, 2 * out);
        for name in extra {
            add(
                format!("block{block}.{name}"),
                "conv 3×3",
                side,
                out * out * 9,
            );
        }
        add(format!("block{block}.pool"), "max pool 2×2", side / 2, 0);
        channels = out;
    }
    layers.push(LayerRow {
        name: "head".to_owned(),
        operator: "linear".to_owned(),
        output_shape: "10".to_owned(),
        parameters: channels * 10 + 10,
    });
    let parameters = layers.iter().map(|layer| layer.parameters).sum();
    Architecture {
        layers,
        parameters,
        flops_per_sample: parameters * 300,
    }
}

/// How a made-up run learns: from an accuracy towards another, dipping at first, at a pace.
struct Learning {
    kind: Kind,
    from: f64,
    to: f64,
    dip: f64,
    pace: f64,
    seconds_per_step: f64,
}

/// Three growths, six kinds, two seeds: one growth that pays, one that the continued teacher beats, one that loses.
pub fn whole_report() -> Comparison {
    let seeds = [0, 1];
    let mut comparison = comparison(&seeds, Vec::new());
    comparison.title = "Does growing a small Inception network pay on CIFAR-10?".to_owned();
    comparison.machine = "AMD EPYC 9B14, 2 cores, Linux 6.1".to_owned();
    comparison.threads = 2;
    comparison.data = "CIFAR-10, 25 000 images for training, 5 000 for validation".to_owned();
    comparison.command = "net2net compare experiments/cifar10.toml --out runs/cifar10".to_owned();
    comparison.spec_toml =
        "[data]\nkind = \"cifar10\"\n\n[teacher]\nwidth = 32\nepochs = 6\n\n[[growth]]\nname = \"wider\"\nfactor = 2\n".to_owned();
    comparison.teacher = architecture(32, &[]);
    comparison.growths = vec![
        growth("wider", architecture(64, &[]), &seeds),
        growth("deeper", architecture(32, &["conv2", "norm2"]), &seeds),
        growth("both", architecture(64, &["conv2", "norm2"]), &seeds),
    ];
    for seed in seeds {
        let base = |kind, from, to, pace| Learning {
            kind,
            from,
            to,
            dip: 0.0,
            pace,
            seconds_per_step: 0.08,
        };
        comparison.runs.push(learn(
            "",
            seed,
            &base(Kind::Teacher, 0.1, 0.70, 0.35),
            300.0,
        ));
        comparison.runs.push(learn(
            "",
            seed,
            &base(Kind::Continued, 0.698, 0.765, 0.3),
            180.0,
        ));
        for (name, to, slower) in [
            ("wider", 0.815, 1.0),
            ("deeper", 0.775, 1.6),
            ("both", 0.80, 6.0),
        ] {
            let random = if name == "deeper" {
                Kind::RandomInit
            } else {
                Kind::RandomPad
            };
            for (kind, from, to, dip, pace) in [
                (Kind::Net2net, 0.699, to, 0.05, 0.22 * slower),
                (Kind::Scratch, 0.1, to - 0.01, 0.0, 0.3),
                (random, 0.42, to - 0.01, 0.0, 0.28 * slower),
                (Kind::Reinit, 0.1, to - 0.015, 0.0, 0.3 * slower),
            ] {
                let learning = Learning {
                    kind,
                    from,
                    to,
                    dip,
                    pace,
                    seconds_per_step: 0.16,
                };
                let seconds = if kind == Kind::Scratch { 480.0 } else { 360.0 };
                comparison.runs.push(learn(name, seed, &learning, seconds));
            }
        }
    }
    comparison
}

fn learn(growth: &str, seed: u64, learning: &Learning, seconds: f64) -> RunRecord {
    let evaluations = 24;
    let end = seconds / learning.seconds_per_step;
    let accuracies: Vec<f64> = (0..=evaluations)
        .map(|i| {
            let t = f64::from(i) / f64::from(evaluations);
            let wave = (f64::from(i) * 2.3 + seed as f64 * 1.7 + learning.to * 90.0).sin() * 0.006;
            let dip = learning.dip * (t * 20.0) * (-t * 14.0).exp() * 1.8;
            let seed_shift = 0.012 * seed as f64 * t;
            let left = (-t / learning.pace * seconds.min(300.0) / 300.0 * 1.3).exp();
            let noise = if i == 0 { 0.0 } else { wave };
            learning.to - (learning.to - learning.from) * left - dip + noise + seed_shift
        })
        .collect();
    let mut run = run(learning.kind, seed, &accuracies);
    if !growth.is_empty() {
        run.id = run.id.replace("wider", growth);
        run.growth = Some(growth.to_owned());
    }
    for (i, metric) in run.metrics.iter_mut().enumerate() {
        let done = end * i as f64 / f64::from(evaluations);
        metric.step = done as u64;
        metric.seconds = done * learning.seconds_per_step * (1.0 + 0.02 * seed as f64);
        metric.flops = done * learning.seconds_per_step * 3.1e10;
        metric.validation_loss = 0.25 + 2.3 * (1.0 - metric.validation_accuracy).powf(1.3);
    }
    run
}
