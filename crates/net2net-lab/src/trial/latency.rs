//! How long one sample takes.

use std::time::Instant;

use net2net_core::engine::{OptimizerConfig, OptimizerState, TrainError, Trainer, TrainerOptions};
use net2net_core::graph::Graph;
use net2net_core::weights::initialize;

/// Runs before the first one that counts.
const WARM: usize = 5;
/// Runs of which the median is taken.
const RUNS: usize = 31;

/// Milliseconds of one sample's forward pass in evaluation mode: the median of 31 runs after 5 that do not count. It does
/// not depend on the weights, so they are random.
pub fn latency_ms(graph: &Graph, threads: usize) -> Result<f64, TrainError> {
    let options = TrainerOptions {
        batch: 1,
        threads,
        optimizer: OptimizerConfig::Sgd {
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
        },
        label_smoothing: 0.0,
        gradient_clip: None,
        seed: 0,
    };
    let weights = initialize::<f32>(graph, 0);
    let mut trainer = Trainer::new(graph, &weights, &OptimizerState::default(), options)?;
    let inputs = graph.inputs().iter();
    let size = inputs.map(|id| graph.get(*id).shape.elements(1)).sum();
    let image = vec![0.5; size];
    let mut times = Vec::with_capacity(RUNS);
    for run in 0..WARM + RUNS {
        let started = Instant::now();
        trainer.evaluate(&image, &[0])?;
        if run >= WARM {
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[RUNS / 2])
}
