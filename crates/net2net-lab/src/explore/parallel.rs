//! How many trials side by side are fastest.

use std::time::{Duration, Instant};

use net2net_core::engine::{OptimizerState, TrainError, Trainer, TrainerOptions};
use net2net_core::graph::Graph;
use net2net_core::weights::initialize;
use net2net_kernels::Context;

use super::error::ExploreError;
use crate::train::Recipe;

/// How long each division of the threads is timed.
const TIMED: Duration = Duration::from_millis(600);
/// What more processes must gain, since each has its own start and memory.
const WORTH: f64 = 1.05;

/// Times training steps of a network with the threads divided among one, two, four … trainers, and returns the number with
/// the most steps a second in all. Ways that are nearly as good count as worse the more trainers they need.
pub(super) fn fastest(
    graph: &Graph,
    recipe: &Recipe,
    classes: usize,
    threads: usize,
) -> Result<usize, ExploreError> {
    let (mut best, mut most) = (1, 0.0);
    let mut count = 1;
    while count <= threads {
        let rate = rate(graph, recipe, classes, count, threads / count)?;
        if rate > most * WORTH {
            (best, most) = (count, rate);
        }
        count *= 2;
    }
    Ok(best)
}

/// Steps a second of several trainers together.
fn rate(
    graph: &Graph,
    recipe: &Recipe,
    classes: usize,
    count: usize,
    threads: usize,
) -> Result<f64, ExploreError> {
    let each = std::thread::scope(|scope| {
        let trainers: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| steps_a_second(graph, recipe, classes, threads)))
            .collect();
        let joined = trainers.into_iter().map(|trainer| trainer.join());
        joined.collect::<Vec<_>>()
    });
    let mut total = 0.0;
    for one in each {
        // A trainer that panics is a fault of the program, and said as such elsewhere.
        total += one.unwrap_or(Ok(0.0))?;
    }
    Ok(total)
}

fn steps_a_second(
    graph: &Graph,
    recipe: &Recipe,
    classes: usize,
    threads: usize,
) -> Result<f64, TrainError> {
    let options = TrainerOptions {
        batch: recipe.batch,
        threads,
        optimizer: recipe.optimizer,
        label_smoothing: 0.0,
        gradient_clip: None,
        seed: 0,
    };
    let weights = initialize::<f32>(graph, 0);
    let mut trainer = Trainer::new(graph, &weights, &OptimizerState::default(), options)?;
    let inputs = graph.inputs().iter();
    let size: usize = inputs
        .map(|id| graph.get(*id).shape.elements(recipe.batch))
        .sum();
    let images: Vec<f32> = (0..size).map(|i| (i % 7) as f32 / 7.0).collect();
    let labels: Vec<u32> = (0..recipe.batch).map(|i| (i % classes) as u32).collect();
    // The first steps touch memory for the first time.
    trainer.step(&images, &labels, 1e-6)?;
    let (began, mut steps) = (Instant::now(), 0);
    while began.elapsed() < TIMED {
        trainer.step(&images, &labels, 1e-6)?;
        steps += 1;
    }
    Ok(f64::from(steps) / began.elapsed().as_secs_f64())
}

/// A pool of threads for planning and scoring.
pub(crate) fn context(threads: usize) -> Result<Context<f32>, ExploreError> {
    let started = Context::new(threads);
    Ok(
        started.map_err(|error| net2net_core::engine::CompileError::Threads {
            threads,
            why: error.to_string(),
        })?,
    )
}
