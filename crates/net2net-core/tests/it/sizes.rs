//! Absurd sizes are refused before memory is taken for them.

use net2net_core::apply::{ApplyError, apply};
use net2net_core::dims::Spaces;
use net2net_core::graph::Graph;
use net2net_core::plan::{MAX_UNITS, Mapping, Plan, Step, Symmetry, Widen, widen};
use net2net_core::request::{Request, RequestError, Target, request};
use net2net_core::weights::initialize;
use net2net_kernels::Context;

use super::parting::PERCEPTRON;

/// Layers of a thousand units each, which no test gives numbers.
fn wide() -> Graph {
    let mut graph = Graph::new("wide");
    let shape = net2net_core::graph::Shape::batched(&[1000]);
    let mut x = graph.input("x", shape).unwrap();
    for name in ["a", "b", "c", "d"] {
        let weight = graph
            .parameter(format!("{name}.weight"), &[1000, 1000])
            .unwrap();
        x = graph
            .node(name, net2net_core::ops::Gemm::default(), &[x, weight])
            .unwrap();
    }
    graph.output(x);
    graph
}

fn asked(graph: &Graph, wanted: &Request) -> Result<Plan, RequestError> {
    let weights = initialize::<f32>(graph, 0);
    let inputs: Vec<Vec<f32>> = graph
        .inputs()
        .iter()
        .map(|id| vec![0.5; graph.get(*id).shape.elements(1)])
        .collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut cx = Context::new(1).unwrap();
    request(&mut cx, graph, &weights, wanted, 0, 1, &inputs).map(|(plan, _)| plan)
}

fn refusal(result: Result<Plan, RequestError>) -> net2net_core::dims::Refusal {
    match result {
        Err(RequestError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_space_of_too_many_units_is_refused_by_name() {
    let graph: Graph = PERCEPTRON.parse().unwrap();
    let spaces = Spaces::infer(&graph);
    let symmetry = Symmetry::default();
    let refused = widen(&spaces, "a", 100_000_000, Mapping::Random, symmetry, 0).unwrap_err();
    assert!(
        refused.space == "a" && refused.why.contains("100000000"),
        "{refused}"
    );
    let wanted = Request {
        sizes: [("a".to_owned(), usize::MAX)].into(),
        ..Request::default()
    };
    assert_eq!(refusal(asked(&graph, &wanted)).space, "a");
    let wanted = Request {
        widen: Some(1.5),
        round_to: Some(usize::MAX),
        ..Request::default()
    };
    assert!(refusal(asked(&graph, &wanted)).why.contains("most"));
}

#[test]
fn a_parameter_and_a_network_that_are_too_large_are_refused_by_name_and_size() {
    let graph = wide();
    let to = |sizes: &[(&str, usize)]| Request {
        sizes: sizes
            .iter()
            .map(|(name, size)| ((*name).to_owned(), *size))
            .collect(),
        ..Request::default()
    };
    let parameter = refusal(asked(&graph, &to(&[("a", MAX_UNITS), ("b", MAX_UNITS)])));
    assert_eq!(parameter.space, "b");
    assert!(parameter.why.contains("`b.weight`"), "{parameter}");
    let all = Request {
        widen: Some(1000.0),
        ..Request::default()
    };
    // 1000 · 1000 times as large twice, which is above 2^38.
    let network = refusal(asked(&graph, &all));
    assert!(
        network.why.contains("2002000000000 parameters"),
        "{network}"
    );
    assert!(asked(&graph, &to(&[("a", 2000), ("b", 2000)])).is_ok());
}

#[test]
fn a_plan_of_absurd_size_is_refused_when_it_is_applied() {
    let graph = wide();
    let step = |space: &str| {
        let units = 600_000;
        Step::Widen(Widen {
            space: space.into(),
            source: (0..units).map(|i| i % 1000).collect(),
            shares: vec![1.0 / 600.0; units as usize],
            noise: None,
        })
    };
    let plan = Plan::new(&graph, 0, vec![step("a"), step("b"), step("c")]);
    match apply(&graph, &plan) {
        Err(ApplyError::Refused {
            step: 1..=3,
            refusal,
        }) => {
            assert!(refusal.why.contains("721200000000 parameters"), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_target_near_the_limit_is_reached_although_twice_the_factor_is_refused() {
    let graph = wide();
    let goal = 200_000_000_000;
    let wanted = Request {
        target: Some(Target::Parameters(goal)),
        symmetry: Symmetry::Even,
        mapping: Mapping::Uniform,
        ..Request::default()
    };
    let plan = asked(&graph, &wanted).unwrap();
    let Step::Widen(first) = &plan.steps[0] else {
        panic!("a widening");
    };
    let count = first.source.len() as f64;
    let reached = 2.0 * count * count + 2.0 * 1000.0 * count;
    assert!((reached / goal as f64 - 1.0).abs() < 0.01, "{reached}");
}
