//! Plans from files: what is wrong with them is a typed error, whatever it is.

use net2net_core::apply::{ApplyError, apply};
use net2net_core::dims::Spaces;
use net2net_core::graph::Graph;
use net2net_core::plan::{
    Insert, Layer, Mapping, Plan, PlanError, Step, Symmetry, UndoneNorm, widen,
};
use net2net_core::weights::{initialize, stream};
use proptest::prelude::*;
use rand::RngExt;
use serde_json::{Value, json};

use super::parting::PERCEPTRON;

fn graph() -> Graph {
    PERCEPTRON.parse().unwrap()
}

/// A plan with every kind of step that fits the perceptron.
fn plan() -> Plan {
    let graph = graph();
    let spaces = Spaces::infer(&graph);
    let symmetry = Symmetry::ZeroSum { std: 0.1 };
    let wider = widen(&spaces, "a", 5, Mapping::Random, symmetry, 1).unwrap();
    let norm = UndoneNorm {
        mean: vec![0.5; 5],
        variance: vec![1.0; 5],
        epsilon: 1e-5,
        momentum: 0.9,
    };
    let insert = |after: &str, name: &str, layer| {
        Step::Insert(Insert {
            after: after.into(),
            name: name.into(),
            layer,
        })
    };
    let steps = vec![
        Step::Widen(wider),
        insert(
            "act",
            "one",
            Layer::Identity {
                kernel: vec![3, 3],
                norm: Some(norm),
            },
        ),
        insert(
            "act",
            "two",
            Layer::Residual {
                kernel: vec![3, 3],
                norm: true,
                seed: 4,
            },
        ),
        insert("a", "three", Layer::Factor { kernel: vec![1, 1] }),
    ];
    Plan::new(&graph, 1, steps)
}

type Change = fn(&mut Value);

fn changed(change: impl Fn(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(&plan().to_json().unwrap()).unwrap();
    change(&mut value);
    value.to_string()
}

fn refused(change: impl Fn(&mut Value)) -> ApplyError {
    let plan = Plan::from_json(&changed(change)).unwrap();
    apply(&graph(), &plan).unwrap_err()
}

fn unreadable(change: impl Fn(&mut Value)) -> PlanError {
    Plan::from_json(&changed(change)).unwrap_err()
}

#[test]
fn the_plan_itself_is_good() {
    let growth = apply(&graph(), &Plan::from_json(&changed(|_| ())).unwrap()).unwrap();
    // The three layers take one pass.
    assert_eq!(growth.stages().len(), 2);
    assert_eq!(plan().describe().len(), 4);
}

#[test]
fn a_plan_for_another_graph_is_refused() {
    let error = refused(|plan| plan["parent"] = json!("0000"));
    assert!(matches!(error, ApplyError::Parent { .. }), "{error}");
}

#[test]
fn texts_that_are_no_plans_are_errors() {
    let version = unreadable(|plan| plan["version"] = json!(2));
    assert!(
        matches!(version, PlanError::Version { found: 2 }),
        "{version}"
    );
    let changes: [Change; 8] = [
        |plan| plan["version"] = json!(-1),
        |plan| plan["surprise"] = json!(1),
        |plan| plan["steps"][0]["widen"]["surprise"] = json!(1),
        |plan| plan["steps"][0] = json!({"narrow": {}}),
        |plan| plan["steps"][0]["widen"]["shares"][0] = json!(null),
        |plan| plan["steps"][0]["widen"]["source"][0] = json!(-1),
        |plan| plan["steps"][0]["widen"]["noise"]["kind"] = json!("loud"),
        |plan| plan["steps"][1]["insert"]["layer"]["identity"]["kernel"] = json!("3"),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert!(
            matches!(unreadable(change), PlanError::Json(_)),
            "change {at}"
        );
    }
    for text in ["", "{}", "[]", "null", "{\"version\": 1", "NaN"] {
        assert!(
            matches!(Plan::from_json(text), Err(PlanError::Json(_))),
            "{text}"
        );
    }
    let huge = changed(|_| ()).replace("\"std\":0.1", "\"std\":1e999");
    assert!(matches!(Plan::from_json(&huge), Err(PlanError::Json(_))));
}

#[test]
fn spaces_that_do_not_exist_or_cannot_grow_are_refused() {
    for name in ["", "nothing", "b", "x:1", "act", "a#0"] {
        let error = refused(|plan| plan["steps"][0]["widen"]["space"] = json!(name));
        assert!(
            matches!(error, ApplyError::Refused { step: 1, .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn widenings_that_contradict_themselves_are_invalid() {
    let changes: [(&str, Change); 8] = [
        ("does not exist", |widen| widen["source"][4] = json!(3)),
        ("does not exist", |widen| {
            widen["source"][4] = json!(u32::MAX)
        }),
        ("has no copy", |widen| {
            widen["source"] = json!([0, 1, 1, 0, 1])
        }),
        ("sum to", |widen| widen["shares"][0] = json!(1.5)),
        ("sum to", |widen| {
            widen["shares"] = json!([1e308, 1e308, 1e308, 1e308, 1e308])
        }),
        ("shares", |widen| widen["shares"] = json!([1.0, 1.0, 1.0])),
        ("units", |widen| {
            widen["source"] = json!([0, 1]);
            widen["shares"] = json!([1.0, 1.0]);
        }),
        ("units", |widen| {
            widen["source"] = json!([]);
            widen["shares"] = json!([]);
        }),
    ];
    for (why, change) in changes {
        let error = refused(|plan| change(&mut plan["steps"][0]["widen"]));
        assert!(
            matches!(error, ApplyError::Invalid { step: 1, .. }),
            "{error}"
        );
        assert!(error.to_string().contains(why), "{error}");
    }
    let twice = refused(|plan| {
        let step = plan["steps"][0].clone();
        plan["steps"].as_array_mut().unwrap().insert(1, step);
    });
    assert!(
        matches!(twice, ApplyError::Invalid { step: 2, .. }),
        "{twice}"
    );
    let mut infinite = plan();
    if let Step::Widen(step) = &mut infinite.steps[0] {
        step.noise.as_mut().unwrap().std = f64::INFINITY;
    }
    assert!(matches!(
        apply(&graph(), &infinite),
        Err(ApplyError::Invalid { step: 1, .. })
    ));
    if let Step::Widen(step) = &mut infinite.steps[0] {
        step.noise = None;
        step.shares[0] = f64::NAN;
    }
    assert!(matches!(
        apply(&graph(), &infinite),
        Err(ApplyError::Invalid { step: 1, .. })
    ));
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let changes: [Change; 13] = [
        |insert| insert["layer"]["identity"]["kernel"] = json!([2, 3]),
        |insert| insert["layer"]["identity"]["kernel"] = json!([3, 65]),
        |insert| insert["layer"]["identity"]["kernel"] = json!([0, 1]),
        |insert| insert["layer"]["identity"]["norm"]["mean"] = json!([0.0]),
        |insert| insert["layer"]["identity"]["norm"]["variance"] = json!([]),
        |insert| insert["layer"]["identity"]["norm"]["variance"][1] = json!(-1.0),
        |insert| insert["layer"]["identity"]["norm"]["epsilon"] = json!(0.0),
        |insert| insert["layer"]["identity"]["norm"]["momentum"] = json!(1.5),
        |insert| insert["layer"] = json!({"copy": {"from": "a"}}),
        |insert| insert["after"] = json!("a"),
        |insert| insert["after"] = json!("x"),
        |insert| insert["after"] = json!("a.weight"),
        |insert| insert["after"] = json!("nothing"),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let error = refused(|plan| change(&mut plan["steps"][1]["insert"]));
        let typed = matches!(
            error,
            ApplyError::Invalid { step: 2, .. } | ApplyError::Refused { step: 2, .. }
        );
        assert!(typed, "change {at}: {error}");
    }
    for name in ["", "b", "one"] {
        let error = refused(|plan| plan["steps"][3]["insert"]["name"] = json!(name));
        assert!(matches!(error, ApplyError::Graph(_)), "{name}: {error}");
    }
}

#[test]
fn planning_refuses_what_applying_would() {
    let graph = graph();
    let spaces = Spaces::infer(&graph);
    let plan = |size, symmetry| widen(&spaces, "a", size, Mapping::Random, symmetry, 0);
    assert!(plan(3, Symmetry::Even).is_err());
    assert!(plan(0, Symmetry::Even).is_err());
    assert!(plan(1 << 33, Symmetry::Even).is_err());
    for spread in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(plan(6, Symmetry::Uneven { spread }).is_err(), "{spread}");
    }
    assert!(widen(&spaces, "b", 6, Mapping::Random, Symmetry::Even, 0).is_err());
}

proptest! {
    #![proptest_config(super::config(1500))]

    #[test]
    fn plans_with_random_faults_never_panic(seed in any::<u64>(), faults in 1..4usize) {
        let mut bytes = plan().to_json().unwrap().into_bytes();
        let mut random = stream(seed, "faults");
        for _ in 0..faults {
            let digit = |b: &u8| b.is_ascii_digit();
            let digits: Vec<usize> = (0..bytes.len()).filter(|i| digit(&bytes[*i])).collect();
            let anywhere = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[anywhere] = b"{}[],:\"0-.e"[random.random_range(0..11)],
                _ => bytes[digits[random.random_range(0..digits.len())]] = b'0' + random.random_range(0..10),
            }
        }
        if let Ok(mut plan) = Plan::from_json(&String::from_utf8_lossy(&bytes)) {
            let graph = graph();
            plan.parent = graph.hash();
            let _ = plan.describe();
            if let Ok(growth) = apply(&graph, &plan) {
                growth.graph().validate().unwrap();
                growth.weights(&initialize::<f64>(&graph, 0)).unwrap();
            }
        }
    }
}
