//! The tests of the core against its public interface: random networks, and networks by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod checkpoint;
mod gradients;
mod growth;
mod memory;
mod moments;
mod optimizers;
mod parting;
mod plan_file;
mod random_graph;
mod regressions;
mod spaces;
mod text;
mod trainer;

/// A proptest run of a number of cases. Failures print their seed, and become named tests in
/// [`regressions`]; there is no file of them.
fn config(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    }
}
