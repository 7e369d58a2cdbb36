//! The ways in which students come to their initial weights.

use net2net_core::graph::{Graph, NodeId};
use net2net_core::ops::{Nature, Op};
use net2net_core::weights::{Weights, initialize, stream};
use rand::seq::SliceRandom;

/// Which layers are drawn anew; in each case one more than half, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// A choice drawn with the seed.
    Random,
    /// Those nearest to the input.
    First,
    /// Those nearest to the output.
    Last,
}

/// Draws more than half of the layers with weights anew, each with the batch normalisation and the
/// slopes that follow it.
pub(super) fn reinitialize(
    graph: &Graph,
    weights: &Weights<f32>,
    which: Which,
    seed: u64,
) -> Weights<f32> {
    let mut layers: Vec<NodeId> = graph
        .node_ids()
        .filter(|id| graph.at(*id).op.nature() == Nature::Linear)
        .collect();
    match which {
        Which::Random => layers.shuffle(&mut stream(seed, "reinitialised layers")),
        Which::First => {}
        Which::Last => layers.reverse(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;
    use crate::models::{Family, ModelSpec};

    #[test]
    fn more_than_half_of_the_layers_are_drawn_anew() {
        let spec = ModelSpec {
            family: Family::ConvNet,
            width: 0.5,
            depth: 2,
        };
        let images = ImageShape {
            height: 8,
            width: 8,
            channels: 1,
        };
        let graph = spec.build(images, 10).unwrap();
        let weights: Weights<f32> = initialize(&graph, 1);
        let layers: Vec<String> = weights
            .iter()
            .map(|(name, _)| name.to_owned())
            .filter(|name| name.ends_with("conv.weight") || name == "logits.weight")
            .collect();
        assert_eq!(layers.len(), 7);
        let drawn = |which| {
            let mixed = reinitialize(&graph, &weights, which, 3);
            let new = layers
                .iter()
                .map(|name| mixed.get(name) != weights.get(name));
            let in_order: Vec<NodeId> = graph
                .node_ids()
                .filter(|id| graph.at(*id).op.nature() == Nature::Linear)
                .collect();
            assert_eq!(new.filter(|new| *new).count(), 4);
            let changed = |id: &NodeId| {
                let weight = &graph.get(graph.at(*id).inputs[1]).name;
                mixed.get(weight) != weights.get(weight)
            };
            in_order.iter().map(changed).collect::<Vec<bool>>()
        };
        let (yes, no) = (true, false);
        assert_eq!(drawn(Which::First), [yes, yes, yes, yes, no, no, no]);
        assert_eq!(drawn(Which::Last), [no, no, no, yes, yes, yes, yes]);
        drawn(Which::Random);
    }
}
