//! Growth of one parameter at a time.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use net2net_kernels::Real;
use net2net_kernels::streamed::RowSource;

use super::noise::ZeroSum;
use super::take::Take;
use super::{Growth, Lift, Origin, moment_power};
use crate::engine::Moment;
use crate::weights::{Rows, Source, Tensor, WeightsError, Widened, Words};

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

    /// The old parameter that a grown one comes from, and the maps that it went through in order, each
    /// with its name then; `None` if it is new.
    fn traced<'n, 'g: 'n>(&'g self, name: &'n str) -> Option<(&'n str, Vec<(&'n str, &'g Lift)>)> {
        let mut now = name;
        let mut lifts = Vec::new();
        for stage in self.stages.iter().rev() {
            match stage.origins.get(now) {
                Some(Origin::Copied(of)) => now = of,
                Some(Origin::Fresh(_)) => return None,
                Some(Origin::Lifted(lift)) => lifts.push((now, lift)),
                Some(Origin::Kept) | None => {}
            }
        }
        lifts.reverse();
        Some((now, lifts))
    }

    /// The old parameter whose numbers a grown one has, all of them and unchanged.
    pub fn kept<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        let (of, lifts) = self.traced(name)?;
        lifts.is_empty().then_some(of)
    }

    /// A moment of one parameter that was there before, as [`Growth::optimizer_state`] makes it.
    pub fn moment<T: Real>(&self, name: &str, moment: Moment, old: &Tensor<T>) -> Tensor<T> {
        let mut tensor = Cow::Borrowed(old);
        for stage in &self.stages {
            if let Some(Origin::Lifted(lift)) = stage.origins.get(name) {
                tensor = Cow::Owned(lift.shared(&tensor, moment_power(moment)));
            }
        }
        tensor.into_owned()
    }

    /// A grown parameter a few rows at a time, if the old one, which `words` is asked for, lies
    /// somewhere as single floats, and each row follows from it and one map.
    pub fn rows<'a, T: Real, E>(
        &'a self,
        name: &str,
        words: impl FnOnce(&str) -> Result<Option<Words<'a>>, E>,
    ) -> Result<Option<Rows<'a, T>>, E> {
        let Some((of, lifts)) = self.traced(name) else {
            return Ok(None);
        };
        let lift = match lifts[..] {
            [] => None,
            [(then, lift)] if lift.has_rows() => Some((then, lift)),
            _ => return Ok(None),
        };
        let Some(words) = words(of)? else {
            return Ok(None);
        };
        let known = self.parent.lookup(of).map(|id| self.parent.get(id));
        if known.is_none_or(|value| value.shape.at(1) != words.shape()) {
            // Whoever asks for the tensor is told what is wrong.
            return Ok(None);
        }
        let Some((then, lift)) = lift else {
            return Ok(Some(words.into_rows()));
        };
        let take = Take::new(words.shape(), &lift.axes);
        let shape = take.shape().to_vec();
        let source = Taken {
            take,
            lift,
            name: then.to_owned(),
            noise: OnceLock::new(),
            words,
        };
        Ok(Some(Rows::new(shape, Box::new(source))))
    }
}

/// Rows made from where the old numbers lie.
struct Taken<'a, T> {
    take: Take<'a, T>,
    lift: &'a Lift,
    name: String,
    /// Made when the first rows are: how strong it is depends on all of the old numbers.
    noise: OnceLock<Vec<ZeroSum>>,
    words: Words<'a>,
}

impl<T: Real> RowSource<T> for Taken<'_, T> {
    fn read(&self, rows: Range<usize>, to: &mut [T]) {
        let old = self.words.all();
        self.take.fill(old, rows.clone(), to);
        let make = || self.lift.zero_sum(old, &self.name, self.take.shape());
        let noises = self.noise.get_or_init(make);
        for noise in noises {
            noise.add(old, rows.clone(), to);
        }
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

    fn rows(&self, name: &str) -> Result<Option<Rows<'_, T>>, WeightsError> {
        self.growth.rows(name, |of| self.old.words(of))
    }
}

impl Source<f64> for WideGrownSource<'_> {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<f64>>, WeightsError> {
        // Most parameters are old ones that are copied, and need no old ones in f64 beside them.
        if let Some((of, lifts)) = self.growth.traced(name)
            && let [first, others @ ..] = &lifts[..]
        {
            let old = self.growth.old_tensor(self.old, of)?;
            let (then, first) = first;
            let mut tensor: Tensor<f64> = first.weight(&old, then);
            for (then, lift) in others {
                tensor = lift.weight(&tensor, then);
            }
            return Ok(Cow::Owned(tensor));
        }
        let wide = Widened(self.old);
        let grown = self.growth.source(&wide).tensor(name)?.into_owned();
        Ok(Cow::Owned(grown))
    }

    fn rows(&self, name: &str) -> Result<Option<Rows<'_, f64>>, WeightsError> {
        self.growth.rows(name, |of| self.old.words(of))
    }
}
