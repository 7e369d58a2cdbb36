//! What a growth would gain, from one gradient.
//!
//! A growth adds numbers that have no effect yet. How fast the loss would fall along them, to first order, is the squared
//! norm of their gradient: what GradMax (Evci et al., ICLR 2022) maximises when it initialises new neurons, and what
//! Firefly (Wu et al., NeurIPS 2020) ranks candidates by. The gradient of the old numbers is left out, since training on
//! without growth has it too.
//!
//! Copies of units have no direction of their own to first order: their gradient is that of the original. Where a plan
//! widens, the probe has new units with random incoming and zero outgoing weights in their place, as Firefly's new neurons.

use net2net_core::apply::{ApplyError, apply};
use net2net_core::engine::{OptimizerConfig, OptimizerState, Trainer, TrainerOptions};
use net2net_core::graph::Graph;
use net2net_core::plan::{Extend, Plan, Step};
use net2net_core::weights::{Tensor, Weights, stream};
use rand::seq::SliceRandom;

use super::error::ExploreError;
use crate::train::TrainingData;

/// A network and the images on which its growths are scored.
pub(super) struct Scorer<'a> {
    graph: &'a Graph,
    weights: &'a Weights<f32>,
    images: Vec<f32>,
    labels: Vec<u32>,
    threads: usize,
    /// The network's own gradient.
    own: Weights<f32>,
}

impl<'a> Scorer<'a> {
    /// Draws `count` training images and measures the network's own gradient on them.
    pub(super) fn new(
        graph: &'a Graph,
        weights: &'a Weights<f32>,
        data: &TrainingData,
        count: usize,
        seed: u64,
        threads: usize,
    ) -> Result<Scorer<'a>, ExploreError> {
        let train = &data.splits.train;
        let mut indices: Vec<usize> = (0..train.len()).collect();
        indices.shuffle(&mut stream(seed, "score images"));
        indices.truncate(count);
        let mut scorer = Scorer {
            graph,
            weights,
            images: train.batch_f32(&indices, &data.normalization)?,
            labels: indices.iter().map(|i| train.labels()[*i]).collect(),
            threads,
            own: Weights::default(),
        };
        scorer.own = scorer.gradient(graph, weights)?;
        Ok(scorer)
    }

    fn gradient(
        &self,
        graph: &Graph,
        weights: &Weights<f32>,
    ) -> Result<Weights<f32>, ExploreError> {
        let options = TrainerOptions {
            batch: self.labels.len(),
            threads: self.threads,
            optimizer: OptimizerConfig::Sgd {
                momentum: 0.0,
                nesterov: false,
                weight_decay: 0.0,
            },
            label_smoothing: 0.0,
            gradient_clip: None,
            seed: 0,
        };
        let mut trainer = Trainer::new(graph, weights, &OptimizerState::default(), options)?;
        Ok(trainer.gradients_by_name(&self.images, &self.labels)?.1)
    }

    /// The first-order gain of a plan; none where a space can only be filled with copies, or the gradient is not finite.
    pub(super) fn score(&self, plan: &Plan) -> Result<Option<f64>, ExploreError> {
        let growth = match apply(self.graph, &probe(plan)) {
            Ok(growth) => growth,
            Err(ApplyError::Refused { .. } | ApplyError::Invalid { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let weights = growth.weights(self.weights)?;
        let gained = match self.gradient(growth.graph(), &weights) {
            Err(ExploreError::Train(net2net_core::engine::TrainError::Diverged { .. })) => {
                return Ok(None);
            }
            gained => gained?,
        };
        Ok(Some(first_order_gain(&self.own, &gained)))
    }
}

/// The squared norm of the part of a gradient that belongs to numbers which the old network does not have.
pub fn first_order_gain(old: &Weights<f32>, new: &Weights<f32>) -> f64 {
    let square = |tensor: &Tensor<f32>| -> f64 {
        let squares = tensor.data().iter().map(|x| f64::from(*x).powi(2));
        squares.sum()
    };
    let added = new.iter().map(|(name, tensor)| match old.get(name) {
        Some(known) if known.shape() == tensor.shape() => 0.0,
        Some(known) => (square(tensor) - square(known)).max(0.0),
        None => square(tensor),
    });
    added.sum()
}

/// The plan with new units in place of copies.
fn probe(plan: &Plan) -> Plan {
    let steps = plan.steps.iter().map(|step| match step {
        Step::Widen(widen) => Step::Extend(Extend {
            space: widen.space.clone(),
            size: widen.source.len(),
            seed: Some(plan.seed),
            fill: 0.0,
        }),
        step => step.clone(),
    });
    Plan {
        steps: steps.collect(),
        ..plan.clone()
    }
}
