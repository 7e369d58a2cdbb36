//! How a run trains, as a person states it.

use net2net_core::engine::OptimizerConfig;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Schedule;
use crate::data::Augmentation;

/// The hyperparameters of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training images; halves and so on are allowed.
    pub epochs: f64,
    /// Images in a batch.
    #[serde(default = "batch")]
    pub batch: usize,
    /// The peak of the learning rate.
    pub learning_rate: f64,
    /// How the rate moves.
    #[serde(default)]
    pub schedule: Schedule,
    /// Epochs in which the rate rises from nothing.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// The optimizer.
    #[serde(default = "momentum")]
    pub optimizer: OptimizerConfig,
    /// The share of the target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// The largest norm of the gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_clip: Option<f64>,
    /// Evaluations in an epoch.
    #[serde(default = "evaluations")]
    pub evaluations_per_epoch: usize,
    /// What is done to training images.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// Seconds of training after which a checkpoint is written, to go on from after a kill.
    #[serde(
        default = "checkpoint_seconds",
        skip_serializing_if = "is_checkpoint_seconds"
    )]
    pub checkpoint_seconds: f64,
}

fn batch() -> usize {
    64
}

fn evaluations() -> usize {
    2
}

fn checkpoint_seconds() -> f64 {
    10.0
}

fn is_checkpoint_seconds(seconds: &f64) -> bool {
    *seconds == checkpoint_seconds()
}

fn momentum() -> OptimizerConfig {
    OptimizerConfig::Sgd {
        momentum: 0.9,
        nesterov: true,
        weight_decay: 5e-4,
    }
}

/// A hyperparameter of no sense.
#[derive(Debug, Error)]
#[error("{what}: {wanted} (found {found})")]
pub struct RecipeError {
    /// The setting.
    pub what: &'static str,
    /// What it may be.
    pub wanted: String,
    /// What it is.
    pub found: String,
}

impl Recipe {
    /// Refuses numbers that make no sense.
    pub fn check(&self) -> Result<(), RecipeError> {
        let require = |what, holds: bool, wanted: &str, found: String| match holds {
            true => Ok(()),
            false => Err(RecipeError {
                what,
                wanted: wanted.to_owned(),
                found,
            }),
        };
        let (e, lr, smoothing) = (self.epochs, self.learning_rate, self.label_smoothing);
        require(
            "epochs",
            e > 0.0 && e <= 1e6,
            "must be above 0",
            e.to_string(),
        )?;
        require(
            "batch",
            (1..=1 << 20).contains(&self.batch),
            "must be 1 or more",
            self.batch.to_string(),
        )?;
        require(
            "learning_rate",
            lr > 0.0 && lr.is_finite(),
            "must be above 0",
            lr.to_string(),
        )?;
        let warm = (0.0..=e).contains(&self.warmup_epochs);
        require(
            "warmup_epochs",
            warm,
            "must be at most epochs",
            self.warmup_epochs.to_string(),
        )?;
        let smooth = (0.0..1.0).contains(&smoothing);
        require(
            "label_smoothing",
            smooth,
            "must be in 0..1",
            smoothing.to_string(),
        )?;
        let clip = self.gradient_clip.is_none_or(|clip| clip > 0.0);
        require(
            "gradient_clip",
            clip,
            "must be above 0",
            format!("{:?}", self.gradient_clip),
        )?;
        let seconds = self.checkpoint_seconds;
        require(
            "checkpoint_seconds",
            (0.0..=1e6).contains(&seconds),
            "must be 0 or more",
            seconds.to_string(),
        )?;
        let often = self.evaluations_per_epoch;
        require(
            "evaluations_per_epoch",
            often > 0,
            "must be 1 or more",
            often.to_string(),
        )?;
        self.optimizer.check().map_err(|why| RecipeError {
            what: "optimizer",
            wanted: why,
            found: format!("{:?}", self.optimizer),
        })?;
        self.schedule.check().map_err(|why| RecipeError {
            what: "schedule",
            wanted: why,
            found: format!("{:?}", self.schedule),
        })
    }

    /// The steps of the whole run, at least one.
    pub fn steps(&self, batches_per_epoch: usize) -> u64 {
        ((self.epochs * batches_per_epoch as f64).round() as u64).max(1)
    }

    /// The steps of the warm-up.
    pub fn warmup(&self, batches_per_epoch: usize) -> u64 {
        (self.warmup_epochs * batches_per_epoch as f64).round() as u64
    }

    /// The steps between evaluations, at least one.
    pub fn evaluate_every(&self, batches_per_epoch: usize) -> u64 {
        (batches_per_epoch as f64 / self.evaluations_per_epoch as f64)
            .ceil()
            .max(1.0) as u64
    }
}
