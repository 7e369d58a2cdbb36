//! Growth of one parameter at a time.

use std::borrow::Cow;

use net2net_kernels::Real;

use super::{Growth, Origin};
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

impl<T: Real> GrownSource<'_, T> {
    /// A parameter as it is after so many stages.
    fn after(&self, name: &str, stages: usize) -> Result<Cow<'_, Tensor<T>>, WeightsError> {
        let all = &self.growth.stages[..stages];
        let mut tensor = None;
        let mut next = 0;
        for (at, stage) in all.iter().enumerate().rev() {
            tensor = match stage.origins.get(name) {
                Some(Origin::Copied(of)) => Some(self.after(of, at)?),
                Some(Origin::Fresh(fresh)) => stage.graph.lookup(name).map(|id| {
                    let sizes = stage.graph.get(id).shape.at(1);
                    Cow::Owned(fresh.tensor(&sizes, name))
                }),
                Some(Origin::Kept | Origin::Lifted(_)) | None => continue,
            };
            next = at + 1;
            break;
        }
        let mut tensor = match tensor {
            Some(tensor) => tensor,
            None => self.growth.old_tensor(self.old, name)?,
        };
        for stage in &all[next..] {
            if let Some(Origin::Lifted(lift)) = stage.origins.get(name) {
                tensor = Cow::Owned(lift.weight(&tensor, name));
            }
        }
        Ok(tensor)
    }
}

impl<T: Real> Source<T> for GrownSource<'_, T> {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<T>>, WeightsError> {
        self.after(name, self.growth.stages.len())
    }
}
