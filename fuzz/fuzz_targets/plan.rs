//! Any text as a plan for one small network: an error, a refusal, or a valid grown network.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use net2net_core::apply::apply;
use net2net_core::graph::Graph;
use net2net_core::plan::Plan;
use net2net_core::weights::initialize;

/// Grown networks with more numbers are not filled.
const MAX_PARAMETERS: u64 = 1 << 16;

static GRAPH: LazyLock<Graph> = LazyLock::new(|| {
    let text = include_str!("../network.txt");
    text.parse().expect("the network is valid")
});

fuzz_target!(|text: &str| {
    let Ok(mut plan) = Plan::from_json(text) else {
        return;
    };
    let _ = plan.describe();
    let again = Plan::from_json(&plan.to_json().expect("a plan is written"));
    assert_eq!(again.expect("and read again"), plan);
    plan.parent = GRAPH.hash();
    let Ok(growth) = apply(&GRAPH, &plan) else {
        return;
    };
    growth.graph().validate().expect("a grown graph is valid");
    if growth.graph().parameter_count() <= MAX_PARAMETERS {
        let weights = initialize::<f32>(&GRAPH, 0);
        growth.weights(&weights).expect("its weights grow");
    }
});
