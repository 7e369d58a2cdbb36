//! What a batch is to become, and how far from it the network is.

use net2net_kernels::loss::{Gradient, Softening};
use net2net_kernels::{Context, Real};

use super::precision::Precision;
use super::trainer::TrainError;
use crate::graph::Value;

/// How far from one the sum of a sample's probabilities may be.
const SUM_TOLERANCE: f64 = 1e-3;

/// What the first output of a network is to become in a step.
///
/// A slice, array or vector of `u32` is one label a sample.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// The class of each sample.
    Labels(&'a [u32]),
    /// The probabilities of the classes, `[batch, classes]` row-major: mixed images (mixup, Zhang
    /// et al. 2018; cutmix), or labels smoothed by a rule of one's own. The trainer's own label
    /// smoothing is applied to them as to labels.
    Probabilities(&'a [T]),
    /// The numbers themselves, row-major and as many as the output holds. The loss is half the mean
    /// squared difference: that of FitNets' hints (Romero et al. 2015, equation 3) over the number
    /// of elements, so that a learning rate suits layers of any size.
    Values(&'a [T]),
}

impl<'a, T> From<&'a [u32]> for Targets<'a, T> {
    fn from(labels: &'a [u32]) -> Self {
        Targets::Labels(labels)
    }
}

impl<'a, T> From<&'a Vec<u32>> for Targets<'a, T> {
    fn from(labels: &'a Vec<u32>) -> Self {
        Targets::Labels(labels)
    }
}

impl<'a, T, const N: usize> From<&'a [u32; N]> for Targets<'a, T> {
    fn from(labels: &'a [u32; N]) -> Self {
        Targets::Labels(labels)
    }
}

/// A teacher's answer to the same batch (Hinton, Vinyals, Dean 2015).
///
/// The loss is `(1 − weight) · L + weight · temperature² · H`, where `L` is that of the targets and
/// `H` the cross entropy between both networks' softmax at the temperature. The square keeps the
/// size of the gradient when the temperature changes.
#[derive(Clone, Copy, Debug)]
pub struct Teaching<'a, T> {
    /// The teacher's logits, `[batch, classes]` row-major.
    pub logits: &'a [T],
    /// What both networks' logits are divided by, above 0.
    pub temperature: f64,
    /// The share of the loss that is the teacher's, 0 to 1.
    pub weight: f64,
}

/// The loss of a network's first output.
pub(super) struct Loss {
    pub(super) batch: usize,
    /// 0 where there are no logits.
    pub(super) classes: usize,
    pub(super) smoothing: f64,
}

impl Loss {
    /// Refuses targets that do not fit the output.
    pub(super) fn check<T: Precision>(
        &self,
        output: &Value,
        targets: Targets<'_, T>,
        teaching: Option<Teaching<'_, T>>,
    ) -> Result<(), TrainError> {
        let expected = output.shape.elements(self.batch);
        let long = |found: usize| match found == expected {
            true => Ok(()),
            false => Err(TrainError::Targets {
                name: output.name.clone(),
                found,
                expected,
            }),
        };
        let classifies = match self.classes {
            0 => Err(TrainError::NotAClassifier {
                name: output.name.clone(),
                shape: output.shape.to_string(),
            }),
            _ => Ok(()),
        };
        match targets {
            Targets::Values(values) => long(values.len())?,
            Targets::Labels(labels) => {
                classifies?;
                if labels.len() != self.batch {
                    return Err(TrainError::Labels {
                        found: labels.len(),
                        expected: self.batch,
                    });
                }
                check_labels(self.classes, labels)?;
            }
            Targets::Probabilities(rows) => {
                classifies?;
                long(rows.len())?;
                check_probabilities(self.classes, rows)?;
            }
        }
        match teaching {
            Some(teaching) if self.classes > 0 => long(teaching.logits.len()),
            Some(_) => Err(TrainError::NotAClassifier {
                name: output.name.clone(),
                shape: output.shape.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// The mean loss, its gradient, and how many samples were right.
    pub(super) fn run<T: Precision>(
        &self,
        cx: &mut Context<T>,
        output: &[T],
        targets: Targets<'_, T>,
        teaching: Option<Teaching<'_, T>>,
        gradient: &mut [T],
    ) -> (f64, usize) {
        let (loss, correct) = self.of_targets(cx, output, targets, Some(&mut *gradient));
        let Some(teaching) = teaching else {
            return (loss, correct);
        };
        let Teaching {
            logits,
            temperature,
            weight,
        } = teaching;
        T::scale(cx, gradient, 1.0 - weight);
        let cooled = logits
            .iter()
            .map(|x| T::from_f64(Real::to_f64(*x) / temperature));
        let cooled: Vec<T> = cooled.collect();
        let mut answer = vec![T::zero(); logits.len()];
        T::softmax(cx, self.classes, &cooled, &mut answer);
        let softening = Softening {
            temperature,
            smoothing: 0.0,
        };
        let weight = weight * temperature * temperature;
        let into = Gradient {
            data: gradient,
            weight,
            accumulate: true,
        };
        let (taught, _) =
            T::soft_cross_entropy(cx, self.classes, output, &answer, softening, Some(into));
        ((1.0 - teaching.weight) * loss + weight * taught, correct)
    }

    /// The mean loss of the targets alone, its gradient if asked for, and how many were right.
    pub(super) fn of_targets<T: Precision>(
        &self,
        cx: &mut Context<T>,
        output: &[T],
        targets: Targets<'_, T>,
        gradient: Option<&mut [T]>,
    ) -> (f64, usize) {
        let (classes, smoothing) = (self.classes, self.smoothing);
        match targets {
            Targets::Labels(labels) => {
                T::cross_entropy(cx, classes, output, labels, smoothing, gradient)
            }
            Targets::Probabilities(rows) => {
                let softening = Softening {
                    temperature: 1.0,
                    smoothing,
                };
                let into = gradient.map(|data| Gradient {
                    data,
                    weight: 1.0,
                    accumulate: false,
                });
                T::soft_cross_entropy(cx, classes, output, rows, softening, into)
            }
            Targets::Values(values) => {
                let loss = T::squared_error(cx, self.batch, output, values, gradient);
                (loss, 0)
            }
        }
    }
}

/// Refuses a label that is no class.
fn check_labels(classes: usize, labels: &[u32]) -> Result<(), TrainError> {
    match labels.iter().find(|label| **label as usize >= classes) {
        Some(label) => Err(TrainError::Label {
            label: *label,
            classes,
        }),
        None => Ok(()),
    }
}

fn check_probabilities<T: Precision>(classes: usize, rows: &[T]) -> Result<(), TrainError> {
    let distribution = |row: &[T]| {
        let sum: f64 = row.iter().map(|p| Real::to_f64(*p)).sum();
        row.iter().all(|p| *p >= T::zero()) && (sum - 1.0).abs() <= SUM_TOLERANCE
    };
    match rows
        .chunks_exact(classes)
        .position(|row| !distribution(row))
    {
        Some(sample) => Err(TrainError::Probabilities { sample }),
        None => Ok(()),
    }
}
