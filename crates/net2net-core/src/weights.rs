//! The numbers of a network: tensors by name.

mod source;

use std::collections::BTreeMap;

use net2net_kernels::Real;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use source::{Rows, Source, Widened, Words, in_turns};

use crate::graph::Graph;
use crate::ops::Role;

/// A dense row-major tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}

/// Why weights do not fit a graph.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightsError {
    /// The graph has a parameter that the weights lack.
    #[error("parameter `{name}` is missing from the weights")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// The weights have a tensor that the graph lacks.
    #[error("the weights hold `{name}`, which the graph does not have")]
    Unknown {
        /// The tensor.
        name: String,
    },
    /// A tensor of another shape than its parameter.
    #[error("`{name}` has shape {found:?} in the weights and {expected:?} in the graph")]
    Shape {
        /// The parameter.
        name: String,
        /// In the weights.
        found: Vec<usize>,
        /// In the graph.
        expected: Vec<usize>,
    },
    /// A tensor whose numbers cannot be had from where they are.
    #[error("`{name}` cannot be read: {why}")]
    Unreadable {
        /// The parameter.
        name: String,
        /// What went wrong.
        why: String,
    },
    /// A tensor whose data does not fill its shape.
    #[error("{count} numbers do not fill a tensor of shape {shape:?}")]
    Length {
        /// The shape.
        shape: Vec<usize>,
        /// The number of elements given.
        count: usize,
    },
}

impl<T: Real> Tensor<T> {
    /// A tensor of the given numbers, row-major.
    pub fn new(shape: Vec<usize>, data: Vec<T>) -> Result<Self, WeightsError> {
        let wanted = shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
        if wanted != Some(data.len()) {
            return Err(WeightsError::Length {
                shape,
                count: data.len(),
            });
        }
        Ok(Tensor { shape, data })
    }

    /// A tensor of one number throughout.
    pub fn full(shape: &[usize], value: T) -> Self {
        Tensor {
            shape: shape.to_vec(),
            data: vec![value; shape.iter().product()],
        }
    }

    /// A tensor of numbers that fill it.
    pub(crate) fn filled(shape: Vec<usize>, data: Vec<T>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Tensor { shape, data }
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, row-major.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The numbers, to be changed.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The numbers, as their own vector.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// The same numbers in another precision.
    pub fn cast<U: Real>(&self) -> Tensor<U> {
        Tensor {
            shape: self.shape.clone(),
            data: self
                .data
                .iter()
                .map(|x| U::from_f64((*x).to_f64()))
                .collect(),
        }
    }

    /// Root of the mean square.
    pub fn rms(&self) -> f64 {
        let sum: f64 = self.data.iter().map(|x| (*x).to_f64().powi(2)).sum();
        (sum / self.data.len().max(1) as f64).sqrt()
    }
}

/// All parameters of a network by name: weights, moving averages or optimizer moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights<T>(BTreeMap<String, Tensor<T>>);

impl<T> Default for Weights<T> {
    fn default() -> Self {
        Weights(BTreeMap::new())
    }
}

impl<T: Real> Weights<T> {
    /// Sets a tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor<T>) {
        self.0.insert(name.into(), tensor);
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor<T>> {
        self.0.get(name)
    }

    /// The tensor of a name, or the error that names it.
    pub fn require(&self, name: &str) -> Result<&Tensor<T>, WeightsError> {
        self.0.get(name).ok_or_else(|| WeightsError::Missing {
            name: name.to_owned(),
        })
    }

    /// The tensor of a name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tensor<T>> {
        self.0.get_mut(name)
    }

    /// All tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<T>)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same numbers in another precision.
    pub fn cast<U: Real>(&self) -> Weights<U> {
        Weights(
            self.0
                .iter()
                .map(|(name, t)| (name.clone(), t.cast()))
                .collect(),
        )
    }

    /// Refuses weights that lack a parameter, hold another, or differ in a shape.
    pub fn check(&self, graph: &Graph) -> Result<(), WeightsError> {
        let mut known = 0;
        for id in graph.parameters() {
            let value = graph.get(id);
            let found = self.require(&value.name)?;
            let expected = value.shape.at(1);
            if found.shape != expected {
                return Err(WeightsError::Shape {
                    name: value.name.clone(),
                    found: found.shape.clone(),
                    expected,
                });
            }
            known += 1;
        }
        if known < self.0.len() {
            let extra = self
                .0
                .keys()
                .find(|name| !graph.lookup(name).is_some_and(|id| graph.is_parameter(id)));
            if let Some(name) = extra {
                return Err(WeightsError::Unknown { name: name.clone() });
            }
        }
        Ok(())
    }
}

/// Fresh weights: He initialisation (He et al. 2015, normal, by fan-in) for matrices and filters,
/// ones for scales, zeros for shifts, running means and anything else.
///
/// Each parameter has its own stream, keyed by the seed and its name, so that networks which
/// share a layer draw the same numbers for it whatever else they hold.
pub fn initialize<T: Real>(graph: &Graph, seed: u64) -> Weights<T> {
    let roles = graph.parameter_roles();
    let fan_ins = fan_ins(graph);
    let mut weights = Weights::default();
    for id in graph.parameters() {
        let value = graph.get(id);
        let sizes = value.shape.at(1);
        let tensor = match roles.get(&id) {
            Some(Role::Weight) => {
                let fan_in = fan_ins.get(&value.name).copied().unwrap_or(1).max(1);
                let std = (2.0 / fan_in as f64).sqrt();
                let mut random = stream(seed, &value.name);
                let mut tensor = Tensor::full(&sizes, T::zero());
                for x in tensor.data_mut() {
                    *x = T::from_f64(std * normal(&mut random));
                }
                tensor
            }
            Some(Role::Scale | Role::RunningVariance) => Tensor::full(&sizes, T::one()),
            Some(Role::Slope) => Tensor::full(&sizes, T::from_f64(0.25)),
            _ => Tensor::full(&sizes, T::zero()),
        };
        weights.insert(value.name.clone(), tensor);
    }
    weights
}

fn fan_ins(graph: &Graph) -> BTreeMap<String, usize> {
    let mut fan_ins = BTreeMap::new();
    for node in graph.nodes() {
        for (slot, input) in node.inputs.iter().enumerate() {
            if graph.is_parameter(*input) && node.op.role(slot) == Role::Weight {
                let value = graph.get(*input);
                let fan_in = node.op.fan_in(slot, &value.shape.at(1));
                fan_ins.entry(value.name.clone()).or_insert(fan_in);
            }
        }
    }
    fan_ins
}

/// A random stream of its own for a seed and a purpose.
pub fn stream(seed: u64, purpose: &str) -> ChaCha8Rng {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(purpose.as_bytes());
    ChaCha8Rng::from_seed(hasher.finalize().into())
}

/// A draw from the standard normal distribution.
pub fn normal(random: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(random)
}
