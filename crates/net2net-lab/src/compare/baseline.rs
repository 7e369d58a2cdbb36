//! The ways in which students come to their initial weights.

use net2net_core::apply::Growth;
use net2net_core::engine::OptimizerState;
use net2net_core::graph::{Graph, NodeId};
use net2net_core::ops::{Nature, Op};
use net2net_core::weights::{Weights, initialize, stream};
use rand::seq::SliceRandom;

use super::CompareError;
use crate::report::Kind;

/// What a student starts from.
pub(super) struct Start {
    pub(super) weights: Weights<f32>,
    pub(super) optimizer: OptimizerState<f32>,
}

/// The initial state of a student of a kind.
///
/// `grown` are the weights that were proved to be the teacher's function. Only Net2Net takes the
/// optimizer's moments along: elsewhere they would belong to weights that are no longer there.
pub(super) fn start(
    kind: Kind,
    growth: &Growth,
    teacher: (&Weights<f32>, &OptimizerState<f32>),
    grown: &Weights<f32>,
    keep_moments: bool,
    seed: u64,
) -> Result<Start, CompareError> {
    let none = OptimizerState::default();
    Ok(match kind {
        Kind::Net2net => Start {
            weights: grown.clone(),
            optimizer: match keep_moments {
                true => growth.optimizer_state(teacher.1)?,
                false => none,
            },
        },
        Kind::Scratch => Start {
            weights: initialize(growth.graph(), seed),
            optimizer: none,
        },
        Kind::RandomPad | Kind::RandomInit => Start {
            weights: growth.padded(teacher.0, seed)?,
            optimizer: none,
        },
        Kind::Reinit => Start {
            weights: reinitialize(growth.graph(), grown, seed),
            optimizer: none,
        },
        Kind::Teacher | Kind::Continued => Start {
            weights: teacher.0.clone(),
            optimizer: teacher.1.clone(),
        },
    })
}

/// Draws more than half of the layers anew: a random choice of layers with weights, each with the
/// batch normalisation and the slopes that follow it.
fn reinitialize(graph: &Graph, weights: &Weights<f32>, seed: u64) -> Weights<f32> {
    let mut layers: Vec<NodeId> = graph
        .node_ids()
        .filter(|id| graph.at(*id).op.nature() == Nature::Linear)
        .collect();
    layers.shuffle(&mut stream(seed, "reinitialised layers"));
    layers.truncate(layers.len() / 2 + 1);
    let fresh: Weights<f32> = initialize(graph, seed ^ 0x5eed);
    let mut mixed = weights.clone();
    let consumers = graph.consumers();
    for layer in layers {
        let mut node = layer;
        loop {
            for input in &graph.at(node).inputs {
                let name = &graph.get(*input).name;
                if let (true, Some(tensor)) = (graph.is_parameter(*input), fresh.get(name)) {
                    mixed.insert(name.clone(), tensor.clone());
                }
            }
            // Statistics and slopes belong to the layer that they follow.
            match consumers[graph.at(node).outputs[0].index()][..] {
                [next] if matches!(graph.at(next).op, Op::BatchNorm(_) | Op::PRelu(_)) => {
                    node = next;
                }
                _ => break,
            }
        }
    }
    mixed
}
