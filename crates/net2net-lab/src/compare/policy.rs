//! What is decided between growth and the first step after it.

use net2net_core::apply::{ApplyError, Growth};
use net2net_core::engine::OptimizerState;
use serde::{Deserialize, Serialize};

use crate::train::{Recipe, Schedule};

/// The learning rate after growth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rate {
    /// As the student's recipe says.
    #[default]
    Recipe,
    /// From the rate at which the teacher stood when it grew, with the recipe's schedule.
    Continue,
    /// From a tenth of the teacher's peak, with the recipe's schedule (the paper, section 3).
    Tenth,
    /// To the recipe's rate again, after a rise over this many epochs.
    Rewarm {
        /// Epochs of the rise.
        epochs: f64,
    },
    /// From the rate at which the teacher stood, down to nothing in a straight line from the first
    /// step on: a branch off a trunk that stays at its rate.
    Branch,
}

/// What becomes of the optimizer's moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moments {
    /// Each copy has its share, as its gradient has.
    #[default]
    Scaled,
    /// Each copy has its original's moments whole.
    Kept,
    /// All begin anew.
    Reset,
}

impl Rate {
    /// The recipe of a student whose teacher had a peak rate, and stood at another when it grew.
    pub(super) fn apply(self, recipe: &Recipe, peak: f64, stood_at: f64) -> Recipe {
        let cold = |learning_rate: f64| Recipe {
            learning_rate,
            warmup_epochs: 0.0,
            ..recipe.clone()
        };
        match self {
            Rate::Recipe => recipe.clone(),
            Rate::Continue => cold(stood_at),
            Rate::Tenth => cold(peak / 10.0),
            Rate::Rewarm { epochs } => Recipe {
                warmup_epochs: epochs,
                ..recipe.clone()
            },
            Rate::Branch => Recipe {
                schedule: Schedule::Linear { floor: 0.0 },
                ..cold(stood_at)
            },
        }
    }
}

impl Moments {
    /// The grown network's optimizer state.
    pub(super) fn grow(
        self,
        growth: &Growth,
        state: &OptimizerState<f32>,
    ) -> Result<OptimizerState<f32>, ApplyError> {
        match self {
            Moments::Scaled => growth.optimizer_state(state),
            Moments::Kept => growth.undivided_state(state),
            Moments::Reset => Ok(OptimizerState::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_set_the_rate_and_the_rise() {
        let recipe: Recipe = toml::from_str(
            "epochs = 4\nlearning_rate = 0.4\nwarmup_epochs = 1\nschedule = { kind = \"constant\" }",
        )
        .unwrap();
        let of = |rate: Rate| {
            let recipe = rate.apply(&recipe, 0.5, 0.2);
            (recipe.learning_rate, recipe.warmup_epochs, recipe.schedule)
        };
        assert_eq!(of(Rate::Recipe), (0.4, 1.0, Schedule::Constant));
        assert_eq!(of(Rate::Continue), (0.2, 0.0, Schedule::Constant));
        assert_eq!(of(Rate::Tenth), (0.05, 0.0, Schedule::Constant));
        let rewarm = Rate::Rewarm { epochs: 0.5 };
        assert_eq!(of(rewarm), (0.4, 0.5, Schedule::Constant));
        let linear = Schedule::Linear { floor: 0.0 };
        assert_eq!(of(Rate::Branch), (0.2, 0.0, linear));
    }
}
