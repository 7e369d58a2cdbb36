//! Growth of one parameter at a time.

use std::borrow::Cow;

use net2net_kernels::Real;

use super::{Growth, Lift, Origin};
use crate::weights::{Source, Tensor, WeightsError, Widened};

/// The parameters of a grown network, each made when it is asked for.
pub struct GrownSource<'a, T: Real> {
    growth: &'a Growth,
    old: &'a dyn Source<T>,
}

/// The parameters of a grown network in f64, from old ones in f32.
pub struct WideGrownSource<'a> {
    growth: &'a Growth,
    old: &'a dyn Source<f32>,
}

impl Growth {
    /// The grown parameters of a source, made one at a time: the same numbers as those of
    /// [`Growth::weights`].
    pub fn source<'a, T: Real>(&'a self, old: &'a dyn Source<T>) -> GrownSource<'a, T> {
        GrownSource { growth: self, old }
    }

    /// The same in f64 from numbers in f32, which are converted when they are copied.
    pub fn wide_source<'a>(&'a self, old: &'a dyn Source<f32>) -> WideGrownSource<'a> {
        WideGrownSource { growth: self, old }
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

impl Source<f64> for WideGrownSource<'_> {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<f64>>, WeightsError> {
        let origins = self.growth.stages.iter();
        let origins = origins.filter_map(|stage| stage.origins.get(name));
        let lifts: Option<Vec<&Lift>> = origins
            .map(|origin| match origin {
                Origin::Lifted(lift) => Some(lift),
                _ => None,
            })
            .collect();
        // Most parameters are old ones that are copied, and need no old ones in f64 beside them.
        if let Some([first, others @ ..]) = lifts.as_deref() {
            let old = self.growth.old_tensor(self.old, name)?;
            let mut tensor: Tensor<f64> = first.weight(&old, name);
            for lift in others {
                tensor = lift.weight(&tensor, name);
            }
            return Ok(Cow::Owned(tensor));
        }
        let wide = Widened(self.old);
        let grown = self.growth.source(&wide).tensor(name)?.into_owned();
        Ok(Cow::Owned(grown))
    }
}
