//! Growth of one parameter at a time.

use std::borrow::Cow;

use net2net_kernels::Real;

use super::{Growth, Origin, Stage};
use crate::weights::{Source, Tensor, WeightsError};

/// The parameters of a grown network, each made when it is asked for.
pub struct GrownSource<'a, T: Real> {
    growth: &'a Growth,
    old: &'a dyn Source<T>,
}

impl Growth {
    /// The grown parameters of a source, made one at a time: the same numbers as those of
    /// [`Growth::weights`].
    pub fn source<'a, T: Real>(&'a self, old: &'a dyn Source<T>) -> GrownSource<'a, T> {
        GrownSource { growth: self, old }
    }

    fn old_tensor<'a, T: Real>(
        &self,
        old: &'a dyn Source<T>,
        name: &str,
    ) -> Result<Cow<'a, Tensor<T>>, WeightsError> {
        let known = self.parent.lookup(name);
        let Some(id) = known.filter(|id| self.parent.is_parameter(*id)) else {
            return Err(WeightsError::Missing {
                name: name.to_owned(),
            });
        };
        let tensor = old.tensor(name)?;
        let expected = self.parent.get(id).shape.at(1);
        if tensor.shape() != expected {
            return Err(WeightsError::Shape {
                name: name.to_owned(),
                found: tensor.shape().to_vec(),
                expected,
            });
        }
        Ok(tensor)
    }
}

impl<T: Real> Source<T> for GrownSource<'_, T> {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<T>>, WeightsError> {
        let stages = &self.growth.stages;
        let fresh = |stage: &Stage| match stage.origins.get(name) {
            Some(Origin::Fresh(fresh)) => {
                let id = stage.graph.lookup(name)?;
                Some(fresh.tensor(&stage.graph.get(id).shape.at(1), name))
            }
            _ => None,
        };
        let made = stages.iter().enumerate().rev();
        let made = made
            .filter_map(|(at, stage)| Some((at + 1, fresh(stage)?)))
            .next();
        let (next, mut tensor) = match made {
            Some((next, tensor)) => (next, Cow::Owned(tensor)),
            None => (0, self.growth.old_tensor(self.old, name)?),
        };
        for stage in &stages[next..] {
            if let Some(Origin::Lifted(lift)) = stage.origins.get(name) {
                tensor = Cow::Owned(lift.weight(&tensor, name));
            }
        }
        Ok(tensor)
    }
}
