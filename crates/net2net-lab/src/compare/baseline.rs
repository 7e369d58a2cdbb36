//! The ways of training that Net2Net is compared with, as a spec states them.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::spec::{GrowthSpec, StudentSpec};
use crate::report::Kind;
use crate::train::Recipe;

/// A way of training that Net2Net is compared with. In a spec it is its kind's name, or a table of
/// the kind and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Baseline {
    /// The student's architecture from random weights.
    Scratch,
    /// The same for as many epochs as the students have: what their budget gives without a teacher.
    ScratchShort,
    /// New units or layers at random: random pad for width, random initialization for depth.
    Random,
    /// More than half of the layers drawn anew: a random choice of layers.
    Reinit,
    /// The same, and they are the first layers.
    ReinitFirst,
    /// The same, and they are the last layers.
    ReinitLast,
    /// The teacher trained on.
    Continued,
    /// Random weights, trained with the teacher's answers beside the labels.
    Distilled(Distillation),
    /// Random weights, trained on hints first and then as if distilled.
    Hinted(Hints),
    /// Net2Net as the paper has it.
    Net2netPaper(Paper),
    /// Net2Net that widens in several steps.
    Net2netStages(Stages),
}

/// Knowledge distillation (Hinton, Vinyals, Dean 2015).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Distillation {
    /// What both networks' logits are divided by.
    pub temperature: f64,
    /// The teacher's share of the loss; the labels have the rest.
    pub weight: f64,
}

/// The paper gives no numbers for large networks; these are common ones.
impl Default for Distillation {
    fn default() -> Self {
        Distillation {
            temperature: 4.0,
            weight: 0.9,
        }
    }
}

/// Hint training (FitNets, Romero et al. 2015): the student's layers up to a guided one learn to
/// foretell a layer of the teacher through a regressor, a convolution of side 1 or a linear layer;
/// then the whole student is distilled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hints {
    /// The teacher's value to foretell; by default the middle one of those through which everything
    /// flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The student's value that foretells it; by default the one of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guided: Option<String>,
    /// Epochs of the first stage.
    pub epochs: f64,
    /// The learning rate of the first stage; by default that of the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// As in [`Distillation`].
    pub temperature: f64,
    /// As in [`Distillation`].
    pub weight: f64,
}

impl Default for Hints {
    fn default() -> Self {
        let Distillation {
            temperature,
            weight,
        } = Distillation::default();
        Hints {
            hint: None,
            guided: None,
            epochs: 1.0,
            learning_rate: None,
            temperature,
            weight,
        }
    }
}

/// Net2Net as the paper has it: even shares, noise on the copies' incoming weights, a smaller
/// learning rate, no moments.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paper {
    /// The noise's standard deviation, relative to the root mean square of the weights. The paper
    /// says only that it is small.
    pub noise: f64,
    /// The learning rate as a share of the teacher's.
    pub rate: f64,
}

impl Default for Paper {
    fn default() -> Self {
        Paper {
            noise: 0.01,
            rate: 0.1,
        }
    }
}

/// Net2Net that widens in several steps and trains between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stages {
    /// How many.
    pub stages: usize,
}

impl Default for Stages {
    fn default() -> Self {
        Stages { stages: 2 }
    }
}

impl Baseline {
    /// Those that run when a spec names none.
    pub(super) fn usual() -> Vec<Baseline> {
        vec![
            Baseline::Scratch,
            Baseline::Random,
            Baseline::Reinit,
            Baseline::Continued,
        ]
    }

    /// The kind of run that it is for a growth.
    pub(super) fn kind(&self, growth: &GrowthSpec) -> Kind {
        match self {
            Baseline::Scratch => Kind::Scratch,
            Baseline::ScratchShort => Kind::ScratchShort,
            Baseline::Random if growth.grow.widens() => Kind::RandomPad,
            Baseline::Random => Kind::RandomInit,
            Baseline::Reinit => Kind::Reinit,
            Baseline::ReinitFirst => Kind::ReinitFirst,
            Baseline::ReinitLast => Kind::ReinitLast,
            Baseline::Continued => Kind::Continued,
            Baseline::Distilled(_) => Kind::Distilled,
            Baseline::Hinted(_) => Kind::Hinted,
            Baseline::Net2netPaper(_) => Kind::Net2netPaper,
            Baseline::Net2netStages(_) => Kind::Net2netStages,
        }
    }

    /// How it trains, if it begins with random weights throughout.
    pub(super) fn fresh_recipe(&self, student: &StudentSpec) -> Option<Recipe> {
        let scratch = student.scratch();
        match self {
            Baseline::Scratch | Baseline::Distilled(_) | Baseline::Hinted(_) => {
                Some(scratch.clone())
            }
            Baseline::ScratchShort => {
                let epochs = student.recipe.epochs;
                Some(Recipe {
                    epochs,
                    warmup_epochs: scratch.warmup_epochs * (epochs / scratch.epochs).min(1.0),
                    ..scratch.clone()
                })
            }
            _ => None,
        }
    }

    /// What is wrong with its settings, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let within = |what: &str, value: f64, low: f64, high: f64| {
            if value >= low && value <= high {
                return Ok(());
            }
            Err(format!("{what} must be in {low}..={high}, not {value}"))
        };
        let softened = |temperature: f64, weight: f64| {
            within("temperature", temperature, 0.1, 100.0).and(within("weight", weight, 0.0, 1.0))
        };
        match self {
            Baseline::Distilled(settings) => softened(settings.temperature, settings.weight),
            Baseline::Hinted(settings) => {
                softened(settings.temperature, settings.weight)?;
                within("epochs", settings.epochs, 1e-6, 1e6)?;
                within(
                    "learning_rate",
                    settings.learning_rate.unwrap_or(1.0),
                    1e-12,
                    1e3,
                )
            }
            Baseline::Net2netPaper(settings) => {
                within("noise", settings.noise, 0.0, 10.0)?;
                within("rate", settings.rate, 1e-6, 1e3)
            }
            Baseline::Net2netStages(settings) => {
                within("stages", settings.stages as f64, 2.0, 16.0)
            }
            _ => Ok(()),
        }
    }
}

/// For serde: baselines by name or as tables.
pub(super) fn stated<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Baseline>, D::Error> {
    let stated = Vec::<Stated>::deserialize(from)?;
    Ok(stated.into_iter().map(|one| one.0).collect())
}

/// The same where the list may be absent.
pub(super) fn maybe_stated<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<Baseline>>, D::Error> {
    stated(from).map(Some)
}

struct Stated(Baseline);

impl<'de> Deserialize<'de> for Stated {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = Baseline;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a kind of baseline, or a table with `kind` and its settings")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Baseline, E> {
                Baseline::deserialize(MapDeserializer::new(std::iter::once(("kind", name))))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Baseline, A::Error> {
                Baseline::deserialize(MapAccessDeserializer::new(table))
            }
        }
        from.deserialize_any(NameOrTable).map(Stated)
    }
}
