//! Shrink and perturb: warm-started networks can generalise worse than fresh ones on growing data.

use net2net_core::graph::Graph;
use net2net_core::ops::Role;
use net2net_core::weights::{Weights, initialize};
use serde::{Deserialize, Serialize};

use crate::compare::SpecError;

/// What weights are multiplied by, and how much of fresh ones is added (Ash & Adams, NeurIPS 2020). Scales, shifts and running
/// statistics stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShrinkPerturb {
    /// The factor of the weights, above 0 and at most 1.
    pub shrink: f64,
    /// The factor of the fresh weights, 0 to 1.
    pub perturb: f64,
}

impl ShrinkPerturb {
    /// Refuses factors of no sense.
    pub fn check(&self) -> Result<(), SpecError> {
        let sound = self.shrink > 0.0 && self.shrink <= 1.0 && (0.0..=1.0).contains(&self.perturb);
        match sound {
            true => Ok(()),
            false => Err(SpecError::Setting(format!(
                "`shrink_perturb`: shrink must be above 0 and at most 1, and perturb in 0..=1 (found {} and {})",
                self.shrink, self.perturb
            ))),
        }
    }

    /// Does it; fresh weights are drawn by `seed`.
    pub(super) fn apply(&self, graph: &Graph, weights: &mut Weights<f32>, seed: u64) {
        let fresh = initialize::<f32>(graph, seed);
        for (id, role) in graph.parameter_roles() {
            if role != Role::Weight {
                continue;
            }
            let name = &graph.get(id).name;
            let (Some(own), Some(new)) = (weights.get_mut(name), fresh.get(name)) else {
                continue;
            };
            for (own, new) in own.data_mut().iter_mut().zip(new.data()) {
                *own = (f64::from(*own) * self.shrink + f64::from(*new) * self.perturb) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;
    use crate::models::{Family, ModelSpec};

    #[test]
    fn weights_are_shrunk_and_mixed_and_the_rest_stays() {
        let model = ModelSpec {
            family: Family::ConvNet,
            width: 0.25,
            depth: 1,
        };
        let shape = ImageShape {
            height: 12,
            width: 12,
            channels: 1,
        };
        let graph = model.build(shape, 3).unwrap();
        let (before, fresh) = (initialize::<f32>(&graph, 1), initialize::<f32>(&graph, 2));
        let mut after = before.clone();
        let amounts = ShrinkPerturb {
            shrink: 0.5,
            perturb: 0.1,
        };
        amounts.apply(&graph, &mut after, 2);
        let roles = graph.parameter_roles();
        for (name, tensor) in after.iter() {
            let (old, new) = (before.get(name).unwrap(), fresh.get(name).unwrap());
            let id = graph.lookup(name).unwrap();
            for ((x, a), b) in tensor.data().iter().zip(old.data()).zip(new.data()) {
                let wanted = match roles[&id] {
                    Role::Weight => 0.5 * a + 0.1 * b,
                    _ => *a,
                };
                assert!((x - wanted).abs() < 1e-6, "{name}");
            }
        }
    }

    #[test]
    fn factors_of_no_sense_are_refused() {
        for (shrink, perturb) in [(0.0, 0.1), (1.5, 0.1), (0.5, -1.0), (f64::NAN, 0.0)] {
            assert!(ShrinkPerturb { shrink, perturb }.check().is_err());
        }
    }
}
