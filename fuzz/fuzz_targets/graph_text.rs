//! Any text as a graph: an error, or a valid graph that is printed and read as the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net2net_core::dims::Spaces;
use net2net_core::graph::Graph;

fuzz_target!(|text: &str| {
    let Ok(graph) = text.parse::<Graph>() else {
        return;
    };
    // Without outputs it is not valid, and nothing is done with it.
    if graph.validate().is_err() {
        return;
    }
    let again: Graph = graph.to_string().parse().expect("its own text is read");
    assert_eq!(again, graph);
    let _ = (graph.flops(), graph.hash());
    let spaces = Spaces::infer(&graph);
    for space in spaces.growable() {
        assert!(spaces.find(&space.name).is_ok());
    }
});
