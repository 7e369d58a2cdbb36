//! What a growth would gain, from one gradient.
//!
//! A growth adds numbers that have no effect yet. How fast the loss would fall along them, to first order, is the squared
//! norm of their gradient: what GradMax (Evci et al., ICLR 2022) maximises when it initialises new neurons, and what
//! Firefly (Wu et al., NeurIPS 2020) ranks candidates by. The gradient of the old numbers is left out, since training on
//! without growth has it too. On a trained network most of one batch's gradient is noise, whose squared norm grows with the
//! number of parameters; the product of the gradients of two halves of the images is the squared norm without it, on average.
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
use crate::data::DataError;
use crate::train::TrainingData;

/// A network and the images on which its growths are scored.
pub(super) struct Scorer<'a> {
    graph: &'a Graph,
    weights: &'a Weights<f32>,
    halves: [(Vec<f32>, Vec<u32>); 2],
    threads: usize,
    /// The network's own gradients on the halves.
    own: Gradients,
}

/// The gradients of two halves of the images.
type Gradients = [Weights<f32>; 2];

impl<'a> Scorer<'a> {
    /// Draws `count` training images and measures the network's own gradients on them.
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
        // Halves of one size, since one program runs both.
        let half = (count.min(train.len()) / 2).max(1);
        let draw = |part: usize| {
            let some: Vec<usize> = indices
                .iter()
                .skip(part * half)
                .take(half)
                .copied()
                .collect();
            let images = train.batch_f32(&some, &data.normalization)?;
            let labels = some.iter().map(|i| train.labels()[*i]).collect();
            Ok::<_, DataError>((images, labels))
        };
        let mut scorer = Scorer {
            graph,
            weights,
            halves: [draw(0)?, draw(1.min(train.len() / half - 1))?],
            threads,
            own: Gradients::default(),
        };
        scorer.own = scorer.gradients(graph, weights)?;
        Ok(scorer)
    }

    fn gradients(&self, graph: &Graph, weights: &Weights<f32>) -> Result<Gradients, ExploreError> {
        let options = TrainerOptions {
            batch: self.halves[0].1.len(),
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
        let [first, second] = &self.halves;
        let first = trainer.gradients_by_name(&first.0, &first.1)?.1;
        let second = trainer.gradients_by_name(&second.0, &second.1)?.1;
        Ok([first, second])
    }

    /// The first-order gain of a plan; none where a space can only be filled with copies, or the gradient is not finite.
    pub(super) fn score(&self, plan: &Plan) -> Result<Option<f64>, ExploreError> {
        let growth = match apply(self.graph, &probe(plan)) {
            Ok(growth) => growth,
            Err(ApplyError::Refused { .. } | ApplyError::Invalid { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let weights = growth.weights(self.weights)?;
        let gained = match self.gradients(growth.graph(), &weights) {
            Err(ExploreError::Train(net2net_core::engine::TrainError::Diverged { .. })) => {
                return Ok(None);
            }
            gained => gained?,
        };
        Ok(Some(first_order_gain(&self.own, &gained)))
    }
}

/// The product of two gradients over the numbers that the old network does not have: the squared norm of what both agree on.
pub fn first_order_gain(old: &[Weights<f32>; 2], new: &[Weights<f32>; 2]) -> f64 {
    let product = |a: &Tensor<f32>, b: &Tensor<f32>| -> f64 {
        let pairs = a.data().iter().zip(b.data());
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let of = |pair: &[Weights<f32>; 2], name: &str| {
        let (a, b) = (pair[0].get(name)?, pair[1].get(name)?);
        Some((product(a, b), a.shape().to_vec()))
    };
    let names = new[0].iter().map(|(name, _)| name);
    let added = names.filter_map(|name| match (of(old, name), of(new, name)?) {
        (Some((_, before)), (_, after)) if before == after => None,
        (Some((before, _)), (after, _)) => Some(after - before),
        (None, (after, _)) => Some(after),
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
