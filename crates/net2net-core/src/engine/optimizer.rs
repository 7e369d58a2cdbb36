//! Optimizers and their state, which grows with the network.

use std::collections::BTreeMap;

use net2net_kernels::Context;
use serde::{Deserialize, Serialize};

use super::parameters::Parameters;
use super::precision::{Precision, Rate};
use crate::weights::{Tensor, Weights, WeightsError};

/// Which optimizer, with PyTorch's definitions and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// The share of the velocity that stays.
        #[serde(default = "nine_tenths")]
        momentum: f64,
        /// Whether to look ahead (Nesterov).
        #[serde(default)]
        nesterov: bool,
        /// L2 regularisation of matrices and filters; not of batch norms and biases.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    AdamW {
        /// Decay of the mean gradient.
        #[serde(default = "nine_tenths")]
        beta1: f64,
        /// Decay of the mean squared gradient.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the root of the latter.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Decay of matrices and filters; not of batch norms and biases.
        #[serde(default)]
        weight_decay: f64,
    },
}

fn nine_tenths() -> f64 {
    0.9
}

fn beta2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-8
}

/// What an optimizer keeps of past gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// SGD's velocity, or Adam's mean gradient: linear in the gradient.
    First,
    /// Adam's mean squared gradient: quadratic in it.
    Second,
}

impl Moment {
    /// The name under which it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Moment::First => "first_moment",
            Moment::Second => "second_moment",
        }
    }
}

/// An optimizer's state by name of parameter; it holds trained parameters only.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState<T> {
    /// Steps taken.
    pub steps: u64,
    /// The step after which a parameter's moments began, where that is not the first: those of an
    /// inserted layer are younger, and Adam corrects its moments by their own age.
    pub since: BTreeMap<String, u64>,
    /// One set of tensors for each moment that the optimizer keeps.
    pub moments: BTreeMap<Moment, Weights<T>>,
}

impl<T> Default for OptimizerState<T> {
    fn default() -> Self {
        OptimizerState {
            steps: 0,
            since: BTreeMap::new(),
            moments: BTreeMap::new(),
        }
    }
}

impl OptimizerConfig {
    /// Refuses numbers with which no step would be sensible.
    pub fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(format!(
                "{name} must be at least 0 and below 1, not {value}"
            )),
        };
        let amount = |name: &str, value: f64, least: f64| match value >= least && value < 1e6 {
            true => Ok(()),
            false => Err(format!("{name} must be at least {least}, not {value}")),
        };
        match *self {
            OptimizerConfig::Sgd {
                momentum,
                weight_decay,
                ..
            } => share("momentum", momentum).and(amount("weight_decay", weight_decay, 0.0)),
            OptimizerConfig::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => share("beta1", beta1)
                .and(share("beta2", beta2))
                .and(amount("epsilon", epsilon, f64::MIN_POSITIVE))
                .and(amount("weight_decay", weight_decay, 0.0)),
        }
    }

    /// Whether the state of one is the state of the other: the same moments of the same gradients.
    pub fn shares_state_with(&self, other: &OptimizerConfig) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The moments that it keeps.
    pub fn moments(&self) -> &'static [Moment] {
        match self {
            OptimizerConfig::Sgd { momentum, .. } if *momentum == 0.0 => &[],
            OptimizerConfig::Sgd { .. } => &[Moment::First],
            OptimizerConfig::AdamW { .. } => &[Moment::First, Moment::Second],
        }
    }
}

/// A running optimizer over the engine's parameters.
pub(super) struct Optimizer<T> {
    config: OptimizerConfig,
    steps: u64,
    /// When each parameter's moments began.
    since: Vec<u64>,
    /// By moment, then by parameter.
    moments: Vec<Vec<Vec<T>>>,
}

impl<T: Precision> Optimizer<T> {
    /// Takes state in; what it lacks (a new layer's moments) starts at zero.
    pub(super) fn new(
        cx: &mut Context<T>,
        config: OptimizerConfig,
        parameters: &Parameters<T>,
        state: &OptimizerState<T>,
    ) -> Result<Self, WeightsError> {
        let mut moments = Vec::new();
        for moment in config.moments() {
            let mut complete = Weights::default();
            let given = state.moments.get(moment);
            for (name, zeros) in parameters.load(cx, &parameters.values).iter() {
                let tensor = given.and_then(|weights| weights.get(name)).cloned();
                let zeros = || Tensor::full(zeros.shape(), T::zero());
                complete.insert(name, tensor.unwrap_or_else(zeros));
            }
            moments.push(parameters.store(cx, &complete)?);
        }
        let born = |name: &String| state.since.get(name).copied().unwrap_or(0);
        Ok(Optimizer {
            config,
            steps: state.steps,
            since: parameters
                .info
                .iter()
                .map(|info| born(&info.name))
                .collect(),
            moments,
        })
    }

    /// The number of steps taken.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// The state by name.
    pub(super) fn state(
        &self,
        cx: &mut Context<T>,
        parameters: &Parameters<T>,
    ) -> OptimizerState<T> {
        let mut state = OptimizerState {
            steps: self.steps,
            ..OptimizerState::default()
        };
        for (info, since) in parameters.info.iter().zip(&self.since) {
            if *since > 0 {
                state.since.insert(info.name.clone(), *since);
            }
        }
        for (moment, stored) in self.config.moments().iter().zip(&self.moments) {
            let all = parameters.load(cx, stored);
            let mut trained = Weights::default();
            for info in parameters.info.iter().filter(|info| info.role.is_trained()) {
                if let Some(tensor) = all.get(&info.name) {
                    trained.insert(info.name.clone(), tensor.clone());
                }
            }
            state.moments.insert(*moment, trained);
        }
        state
    }

    /// Moves all trained parameters by their gradients.
    pub(super) fn step(
        &mut self,
        cx: &mut Context<T>,
        parameters: &mut Parameters<T>,
        learning_rate: f64,
    ) {
        self.steps += 1;
        for (index, info) in parameters.info.iter().enumerate() {
            if !info.role.is_trained() {
                continue;
            }
            let mut moments: Vec<&mut [T]> = self
                .moments
                .iter_mut()
                .map(|stored| &mut stored[index][..])
                .collect();
            T::update(
                cx,
                &self.config,
                &mut parameters.values[index],
                &parameters.gradients[index],
                &mut moments,
                Rate {
                    learning_rate,
                    decays: info.role.decays(),
                    step: self.steps.saturating_sub(self.since[index]).max(1),
                },
            );
        }
    }
}
