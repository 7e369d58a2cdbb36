//! The tests of the core against its public interface: random networks, and networks by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod checkpoint;
mod families;
mod fusing;
mod gradients;
mod growth;
mod layers;
mod memory;
mod moments;
mod moves;
mod noise;
mod optimizers;
mod padding;
mod pairs;
mod parting;
mod plan_file;
mod planning;
mod random_graph;
mod regressions;
mod sequences;
mod sizes;
mod spaces;
mod streaming;
mod structure;
mod targets;
mod text;
mod trainer;

use proptest::test_runner::{Config, RngSeed};

/// A proptest run of a number of cases, the same ones each time so that nobody's change fails by
/// another's chance; PROPTEST_RNG_SEED gives others. Failures print their seed, and become named
/// tests in [`regressions`]; there is no file of them.
fn config(cases: u32) -> Config {
    let default = Config::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(2016),
        given => given,
    };
    Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        rng_seed,
        ..default
    }
}
