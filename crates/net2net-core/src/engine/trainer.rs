//! Training a classifier, one batch at a time.

use std::collections::BTreeMap;

use net2net_kernels::Context;
use thiserror::Error;

use super::evaluate::check_inputs;
use super::kernel::Mode;
use super::optimizer::{Optimizer, OptimizerConfig, OptimizerState};
use super::parameters::Parameters;
use super::precision::Precision;
use super::program::{CompileError, Memory, Program};
use crate::graph::{Extent, Graph};
use crate::weights::Weights;

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerOptions {
    /// Samples in a batch.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// The share of the target that is spread over all classes (Szegedy et al. 2016).
    pub label_smoothing: f64,
    /// The largest norm of the gradient over all parameters; larger ones are scaled down.
    pub gradient_clip: Option<f64>,
    /// The seed of dropout.
    pub seed: u64,
}

/// Why a step was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Loss or gradient is infinite or not a number. The parameters are those of the step before.
    #[error(
        "{what} is not finite at step {step}, and nothing was changed by it; \
         the last good state is that of step {}; try a smaller learning rate or gradient clipping",
        step - 1
    )]
    Diverged {
        /// `the loss` or `the gradient`.
        what: &'static str,
        /// The step that failed, counted from one.
        step: u64,
    },
    /// The graph is not a classifier.
    #[error(
        "the network must end in logits [N, classes], and its first output is `{name}` {shape}"
    )]
    NotAClassifier {
        /// The output.
        name: String,
        /// Its shape.
        shape: String,
    },
    /// Nothing in the network can be trained.
    #[error("no parameter leads to the output `{name}`, so there is nothing to train")]
    NothingToTrain {
        /// The output.
        name: String,
    },
    /// A label that is no class.
    #[error("label {label} is not one of the network's {classes} classes")]
    Label {
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// Not one label a sample.
    #[error("a batch of {expected} samples needs as many labels, and {found} were given")]
    Labels {
        /// Given.
        found: usize,
        /// Needed.
        expected: usize,
    },
    /// See [`CompileError`].
    #[error(transparent)]
    Compile(#[from] CompileError),
}

impl From<crate::weights::WeightsError> for TrainError {
    fn from(error: crate::weights::WeightsError) -> Self {
        TrainError::Compile(error.into())
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean loss over the batch, before the step.
    pub loss: f64,
    /// Norm of the gradient over all parameters, before clipping.
    pub gradient_norm: f64,
    /// Samples of the batch that were classified correctly.
    pub correct: usize,
}

/// What an evaluation found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Sum of the losses (without smoothing).
    pub loss: f64,
    /// Samples that were classified correctly.
    pub correct: usize,
    /// Samples.
    pub samples: usize,
}

/// A network in training: parameters, optimizer state and compiled programs.
pub struct Trainer<T: Precision> {
    graph: Graph,
    options: TrainerOptions,
    classes: usize,
    cx: Context<T>,
    parameters: Parameters<T>,
    optimizer: Optimizer<T>,
    train: Program<T>,
    /// One program for each size of batch that was evaluated.
    evaluate: BTreeMap<usize, Program<T>>,
}

impl<T: Precision> Trainer<T> {
    /// Compiles a graph for training from given weights and optimizer state.
    pub fn new(
        graph: &Graph,
        weights: &Weights<T>,
        state: &OptimizerState<T>,
        options: TrainerOptions,
    ) -> Result<Self, TrainError> {
        let logits = graph.outputs().first().map(|id| graph.get(*id));
        let Some(logits) = logits else {
            return Err(CompileError::from(crate::graph::GraphError::NoOutput).into());
        };
        let [Extent::Batch, Extent::Fixed(classes)] = *logits.shape.extents() else {
            return Err(TrainError::NotAClassifier {
                name: logits.name.clone(),
                shape: logits.shape.to_string(),
            });
        };
        weights.check(graph)?;
        let mut cx = Context::new(options.threads).map_err(|error| CompileError::Threads {
            threads: options.threads,
            why: error.to_string(),
        })?;
        let (mut train, layouts) = Program::compile(graph, options.batch, Mode::Train)?;
        if train.logits_and_gradient().is_none() {
            return Err(TrainError::NothingToTrain {
                name: logits.name.clone(),
            });
        }
        let parameters = Parameters::new(&mut cx, graph, &layouts, weights, true)?;
        let optimizer = Optimizer::new(&mut cx, options.optimizer, &parameters, state)?;
        Ok(Trainer {
            graph: graph.clone(),
            options,
            classes,
            cx,
            parameters,
            optimizer,
            train,
            evaluate: BTreeMap::new(),
        })
    }

    /// The memory of the training program.
    pub fn memory(&self) -> Memory {
        self.train.memory()
    }

    /// The number of steps taken.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Forward, backward and update on one batch of exactly the compiled size.
    ///
    /// `images` is channels-last. On error nothing has changed.
    pub fn step(
        &mut self,
        images: &[T],
        labels: &[u32],
        learning_rate: f64,
    ) -> Result<StepReport, TrainError> {
        let (loss, correct) = self.gradients(images, labels)?;
        let gradient_norm = self.gradient_norm();
        if !gradient_norm.is_finite() {
            return Err(self.diverged("the gradient"));
        }
        if let Some(limit) = self.options.gradient_clip
            && gradient_norm > limit
        {
            for gradient in &mut self.parameters.gradients {
                T::scale(&mut self.cx, gradient, limit / gradient_norm);
            }
        }
        self.train.update_running(&mut self.parameters);
        self.optimizer
            .step(&mut self.cx, &mut self.parameters, learning_rate);
        Ok(StepReport {
            loss,
            gradient_norm,
            correct,
        })
    }

    /// Forward and backward without an update: the mean loss and the number correct.
    fn gradients(&mut self, images: &[T], labels: &[u32]) -> Result<(f64, usize), TrainError> {
        let inputs = [images];
        check_inputs(&self.graph, self.options.batch, &inputs)?;
        if labels.len() != self.options.batch {
            return Err(TrainError::Labels {
                found: labels.len(),
                expected: self.options.batch,
            });
        }
        self.check_labels(labels)?;
        self.train
            .reseed(self.options.seed ^ self.steps().wrapping_mul(0xd134_2543_de82_ef95));
        self.train.forward(&mut self.cx, &self.parameters, &inputs);
        let Some((logits, gradient)) = self.train.logits_and_gradient() else {
            return Ok((0.0, 0));
        };
        let smoothing = self.options.label_smoothing;
        let (cx, classes) = (&mut self.cx, self.classes);
        let (loss, correct) =
            T::cross_entropy(cx, classes, logits, labels, smoothing, Some(gradient));
        if !loss.is_finite() {
            return Err(self.diverged("the loss"));
        }
        self.train
            .backward(&mut self.cx, &mut self.parameters, &inputs);
        Ok((loss, correct))
    }

    /// The gradients of one batch by name, without an update: for tests and analyses.
    pub fn gradients_by_name(
        &mut self,
        images: &[T],
        labels: &[u32],
    ) -> Result<(f64, Weights<T>), TrainError> {
        let (loss, _) = self.gradients(images, labels)?;
        Ok((
            loss,
            self.parameters
                .load(&mut self.cx, &self.parameters.gradients),
        ))
    }

    fn gradient_norm(&mut self) -> f64 {
        let squares = self
            .parameters
            .gradients
            .iter()
            .map(|gradient| T::squared_norm(&mut self.cx, gradient));
        squares.sum::<f64>().sqrt()
    }

    fn check_labels(&self, labels: &[u32]) -> Result<(), TrainError> {
        match labels.iter().find(|label| **label as usize >= self.classes) {
            Some(label) => Err(TrainError::Label {
                label: *label,
                classes: self.classes,
            }),
            None => Ok(()),
        }
    }

    fn diverged(&self, what: &'static str) -> TrainError {
        TrainError::Diverged {
            what,
            step: self.steps() + 1,
        }
    }

    /// Evaluates one batch of any size with running statistics; `images` is channels-last.
    pub fn evaluate(&mut self, images: &[T], labels: &[u32]) -> Result<Evaluation, TrainError> {
        let samples = labels.len();
        let inputs = [images];
        check_inputs(&self.graph, samples, &inputs)?;
        self.check_labels(labels)?;
        if !self.evaluate.contains_key(&samples) {
            let (program, _) = Program::compile(&self.graph, samples, Mode::Evaluate)?;
            self.evaluate.insert(samples, program);
        }
        let Some(program) = self.evaluate.get_mut(&samples) else {
            return Ok(Evaluation::default());
        };
        program.forward(&mut self.cx, &self.parameters, &inputs);
        let logits = program.output(0, &self.parameters.values, &inputs);
        let (mean, correct) =
            T::cross_entropy(&mut self.cx, self.classes, logits, labels, 0.0, None);
        Ok(Evaluation {
            loss: mean * samples as f64,
            correct,
            samples,
        })
    }

    /// The weights as they are now.
    pub fn weights(&mut self) -> Weights<T> {
        self.parameters.load(&mut self.cx, &self.parameters.values)
    }

    /// The optimizer's state as it is now.
    pub fn optimizer_state(&mut self) -> OptimizerState<T> {
        self.optimizer.state(&mut self.cx, &self.parameters)
    }
}
