//! What a run learns from: labels alone, or a teacher too.

use net2net_core::engine::{
    CompileError, Evaluation, Predictor, StepReport, Targets, Teaching, TrainError, Trainer,
};
use net2net_core::graph::Graph;
use net2net_core::weights::Weights;

use crate::data::Batch;

/// What a run learns from.
#[derive(Clone, Debug, Default)]
pub enum Lesson {
    /// The labels.
    #[default]
    Labels,
    /// The labels and a teacher's softened answers (Hinton, Vinyals, Dean 2015); see [`Teaching`].
    Distilled {
        /// The teacher.
        teacher: Model,
        /// What logits are divided by.
        temperature: f64,
        /// The teacher's share of the loss.
        weight: f64,
    },
    /// A value inside of a teacher, which is its first output, and no labels (FitNets, Romero et al.
    /// 2015, section 2.2): the run's own first output has the same shape. It has no accuracy.
    Hint {
        /// The teacher.
        teacher: Model,
    },
}

/// A network that does not change.
#[derive(Clone, Debug)]
pub struct Model {
    /// The architecture.
    pub graph: Graph,
    /// Its weights.
    pub weights: Weights<f32>,
}

/// What training has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Optimizer steps.
    pub steps: u64,
    /// Multiplications and additions.
    pub flops: f64,
    /// Seconds.
    pub seconds: f64,
}

impl Lesson {
    fn teacher(&self) -> Option<&Model> {
        match self {
            Lesson::Labels => None,
            Lesson::Distilled { teacher, .. } | Lesson::Hint { teacher } => Some(teacher),
        }
    }

    /// What a teacher's answer to one sample costs.
    pub(super) fn flops(&self) -> u64 {
        self.teacher().map_or(0, |teacher| teacher.graph.flops())
    }
}

/// A lesson with its teacher ready to answer.
pub(super) struct Class<'a> {
    lesson: &'a Lesson,
    teacher: Option<Predictor<f32>>,
}

impl<'a> Class<'a> {
    pub(super) fn new(lesson: &'a Lesson, threads: usize) -> Result<Self, CompileError> {
        let predictor = |model: &Model| Predictor::new(&model.graph, &model.weights, threads);
        let teacher = lesson.teacher().map(predictor).transpose()?;
        Ok(Class { lesson, teacher })
    }

    fn answer(&mut self, batch: &Batch) -> Result<Vec<f32>, TrainError> {
        let Some(teacher) = &mut self.teacher else {
            return Ok(Vec::new());
        };
        let outputs = teacher.run(batch.size(), &[&batch.images])?;
        Ok(outputs.into_iter().next().unwrap_or_default())
    }

    /// One step of the student.
    pub(super) fn step(
        &mut self,
        student: &mut Trainer<f32>,
        batch: &Batch,
        learning_rate: f64,
    ) -> Result<StepReport, TrainError> {
        let answer = self.answer(batch)?;
        let mixed = batch.mixed_labels(student.classes());
        let labels = mixed
            .as_ref()
            .map_or(Targets::Labels(&batch.labels), |mixed| {
                Targets::Probabilities(mixed)
            });
        match self.lesson {
            Lesson::Labels => student.step(&batch.images, labels, learning_rate),
            Lesson::Hint { .. } => {
                student.step(&batch.images, Targets::Values(&answer), learning_rate)
            }
            Lesson::Distilled {
                temperature,
                weight,
                ..
            } => {
                let teaching = Teaching {
                    logits: &answer,
                    temperature: *temperature,
                    weight: *weight,
                };
                let teaching = Some(teaching);
                student.step_taught(&batch.images, labels, teaching, learning_rate)
            }
        }
    }

    /// Evaluates the student: against labels, or against hints where it learns those.
    pub(super) fn evaluate(
        &mut self,
        student: &mut Trainer<f32>,
        batch: &Batch,
    ) -> Result<Evaluation, TrainError> {
        match self.lesson {
            Lesson::Hint { .. } => {
                let answer = self.answer(batch)?;
                student.evaluate_targets(&batch.images, batch.size(), Targets::Values(&answer))
            }
            _ => student.evaluate(&batch.images, &batch.labels),
        }
    }

    /// Whether there are classes to be right about.
    pub(super) fn has_accuracy(&self) -> bool {
        !matches!(self.lesson, Lesson::Hint { .. })
    }
}
