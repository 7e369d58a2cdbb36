//! Training, one batch at a time.

use std::collections::BTreeMap;

use net2net_kernels::Context;
use thiserror::Error;

use super::evaluate::check_inputs;
use super::kernel::Mode;
use super::optimizer::{Optimizer, OptimizerConfig, OptimizerState};
use super::parameters::Parameters;
use super::precision::Precision;
use super::program::{CompileError, Memory, Program};
use super::targets::{Loss, Targets, Teaching};
use crate::graph::{Extent, Graph, GraphError, Value};
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
    /// Targets of another length than the output that they are for.
    #[error("`{name}` holds {expected} numbers in a batch, and {found} were given as its targets")]
    Targets {
        /// The output.
        name: String,
        /// Given.
        found: usize,
        /// Needed.
        expected: usize,
    },
    /// Something that is no distribution over the classes.
    #[error(
        "the target of sample {sample} is no distribution: its probabilities must be 0 or more and sum to 1"
    )]
    Probabilities {
        /// Counted from zero.
        sample: usize,
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
    /// Samples of the batch that were classified correctly: as their label says, or as the largest
    /// of their probabilities; none where the targets are values.
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
    /// The length of a row of logits; 0 in a network that is no classifier.
    classes: usize,
    cx: Context<T>,
    parameters: Parameters<T>,
    optimizer: Optimizer<T>,
    train: Program<T>,
    /// One program for each size of batch that was evaluated.
    evaluate: BTreeMap<usize, Program<T>>,
}

impl<T: Precision> Trainer<T> {
    /// Compiles a classifier for training from given weights and optimizer state.
    pub fn new(
        graph: &Graph,
        weights: &Weights<T>,
        state: &OptimizerState<T>,
        options: TrainerOptions,
    ) -> Result<Self, TrainError> {
        let logits = first_output(graph)?;
        let [Extent::Batch, Extent::Fixed(classes)] = *logits.shape.extents() else {
            return Err(TrainError::NotAClassifier {
                name: logits.name.clone(),
                shape: logits.shape.to_string(),
            });
        };
        Self::with_classes(graph, weights, state, options, classes)
    }

    /// Compiles a graph whose first output, of any shape, is to become [`Targets::Values`].
    pub fn for_values(
        graph: &Graph,
        weights: &Weights<T>,
        state: &OptimizerState<T>,
        options: TrainerOptions,
    ) -> Result<Self, TrainError> {
        Self::with_classes(graph, weights, state, options, 0)
    }

    fn with_classes(
        graph: &Graph,
        weights: &Weights<T>,
        state: &OptimizerState<T>,
        options: TrainerOptions,
        classes: usize,
    ) -> Result<Self, TrainError> {
        let output = first_output(graph)?;
        weights.check(graph)?;
        let mut cx = Context::new(options.threads).map_err(|error| CompileError::Threads {
            threads: options.threads,
            why: error.to_string(),
        })?;
        let (mut train, layouts) = Program::compile(graph, options.batch, Mode::Train)?;
        if train.logits_and_gradient().is_none() {
            return Err(TrainError::NothingToTrain {
                name: output.name.clone(),
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

    /// The length of a row of logits; 0 in a network that is no classifier.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of steps taken.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Forward, backward and update on one batch of exactly the compiled size.
    ///
    /// `images` is channels-last; `targets` are labels, or whatever [`Targets`] says. On error
    /// nothing has changed.
    pub fn step<'t>(
        &mut self,
        images: &[T],
        targets: impl Into<Targets<'t, T>>,
        learning_rate: f64,
    ) -> Result<StepReport, TrainError> {
        self.step_taught(images, targets, None, learning_rate)
    }

    /// [`Trainer::step`] with a teacher's answer beside the targets.
    pub fn step_taught<'t>(
        &mut self,
        images: &[T],
        targets: impl Into<Targets<'t, T>>,
        teaching: Option<Teaching<'t, T>>,
        learning_rate: f64,
    ) -> Result<StepReport, TrainError> {
        let targets = targets.into();
        let (loss, correct) = self.gradients(images, targets, teaching)?;
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
    fn gradients(
        &mut self,
        images: &[T],
        targets: Targets<'_, T>,
        teaching: Option<Teaching<'_, T>>,
    ) -> Result<(f64, usize), TrainError> {
        let inputs = [images];
        check_inputs(&self.graph, self.options.batch, &inputs)?;
        let loss = Loss {
            batch: self.options.batch,
            classes: self.classes,
            smoothing: self.options.label_smoothing,
        };
        loss.check(first_output(&self.graph)?, targets, teaching)?;
        self.train
            .reseed(self.options.seed ^ self.steps().wrapping_mul(0xd134_2543_de82_ef95));
        self.train.forward(&mut self.cx, &self.parameters, &inputs);
        let Some((output, gradient)) = self.train.logits_and_gradient() else {
            return Ok((0.0, 0));
        };
        let (value, correct) = loss.run(&mut self.cx, output, targets, teaching, gradient);
        if !value.is_finite() {
            return Err(self.diverged("the loss"));
        }
        self.train
            .backward(&mut self.cx, &mut self.parameters, &inputs);
        Ok((value, correct))
    }

    /// The gradients of one batch by name, without an update: for tests and analyses.
    pub fn gradients_by_name<'t>(
        &mut self,
        images: &[T],
        targets: impl Into<Targets<'t, T>>,
    ) -> Result<(f64, Weights<T>), TrainError> {
        self.gradients_taught(images, targets, None)
    }

    /// [`Trainer::gradients_by_name`] with a teacher's answer beside the targets.
    pub fn gradients_taught<'t>(
        &mut self,
        images: &[T],
        targets: impl Into<Targets<'t, T>>,
        teaching: Option<Teaching<'t, T>>,
    ) -> Result<(f64, Weights<T>), TrainError> {
        let (loss, _) = self.gradients(images, targets.into(), teaching)?;
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

    fn diverged(&self, what: &'static str) -> TrainError {
        TrainError::Diverged {
            what,
            step: self.steps() + 1,
        }
    }

    /// Evaluates one batch of any size with running statistics; `images` is channels-last.
    pub fn evaluate(&mut self, images: &[T], labels: &[u32]) -> Result<Evaluation, TrainError> {
        self.evaluate_targets(images, labels.len(), Targets::Labels(labels))
    }

    /// [`Trainer::evaluate`] of `samples` images with other targets than labels.
    pub fn evaluate_targets(
        &mut self,
        images: &[T],
        samples: usize,
        targets: Targets<'_, T>,
    ) -> Result<Evaluation, TrainError> {
        let inputs = [images];
        check_inputs(&self.graph, samples, &inputs)?;
        let loss = Loss {
            batch: samples,
            classes: self.classes,
            smoothing: 0.0,
        };
        loss.check(first_output(&self.graph)?, targets, None)?;
        if !self.evaluate.contains_key(&samples) {
            let (program, _) = Program::compile(&self.graph, samples, Mode::Evaluate)?;
            self.evaluate.insert(samples, program);
        }
        let Some(program) = self.evaluate.get_mut(&samples) else {
            return Ok(Evaluation::default());
        };
        program.forward(&mut self.cx, &self.parameters, &inputs);
        let output = program.output(0, &self.parameters.values, &inputs);
        let (mean, correct) = loss.of_targets(&mut self.cx, output, targets, None);
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

fn first_output(graph: &Graph) -> Result<&Value, TrainError> {
    let first = graph.outputs().first().map(|id| graph.get(*id));
    Ok(first.ok_or_else(|| CompileError::from(GraphError::NoOutput))?)
}
