//! Learning rates over time.

use serde::{Deserialize, Serialize};

/// How the learning rate moves over a run, as a factor of its peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The peak throughout.
    #[default]
    Constant,
    /// Times `factor` at each multiple of `every` (a share of the run).
    Step {
        /// The share of the run between drops.
        every: f64,
        /// What each drop multiplies by.
        factor: f64,
    },
    /// Half a cosine from the peak to `floor` (Loshchilov & Hutter 2017).
    Cosine {
        /// The last factor.
        #[serde(default)]
        floor: f64,
    },
    /// A straight line from the peak to `floor`.
    Linear {
        /// The last factor.
        #[serde(default)]
        floor: f64,
    },
    /// Stable at the peak, then a straight line to `floor` over the last share `decay`.
    ///
    /// The stable phase is a trunk that other runs may branch off: see
    /// [`crate::train::TRUNK_FILE`].
    WarmupStableDecay {
        /// The share of the run in which the rate decays.
        decay: f64,
        /// The last factor.
        #[serde(default)]
        floor: f64,
    },
}

impl Schedule {
    /// The factor at `step` (counted from 0) of a run of `steps`, the first `warmup` of which
    /// rise linearly.
    pub fn factor(&self, step: u64, steps: u64, warmup: u64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / (warmup + 1) as f64;
        }
        let at = (step - warmup) as f64 / (steps - warmup).max(1) as f64;
        match *self {
            Schedule::Constant => 1.0,
            Schedule::Step { every, factor } => factor.powf((at / every).floor()),
            Schedule::Cosine { floor } => {
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * at).cos())
            }
            Schedule::Linear { floor } => floor + (1.0 - floor) * (1.0 - at),
            Schedule::WarmupStableDecay { decay, floor } => {
                let into = ((at - (1.0 - decay)) / decay).max(0.0);
                floor + (1.0 - floor) * (1.0 - into)
            }
        }
    }

    /// The step at which the decay of a stable phase begins, if there is one.
    pub fn trunk_end(&self, steps: u64, warmup: u64) -> Option<u64> {
        match self {
            Schedule::WarmupStableDecay { decay, .. } => {
                let stable = steps.saturating_sub(warmup) as f64 * (1.0 - decay);
                // The last step is never a part of the trunk, so that there is one to branch off.
                Some((warmup + stable.round() as u64).min(steps.saturating_sub(1)))
            }
            _ => None,
        }
    }

    /// What is wrong with its numbers, if anything.
    pub fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| {
            if value > 0.0 && value <= 1.0 {
                Ok(())
            } else {
                Err(format!("{name} must be above 0 and at most 1, not {value}"))
            }
        };
        let least = |floor: f64| match (0.0..=1.0).contains(&floor) {
            true => Ok(()),
            false => Err(format!("floor must be in 0..=1, not {floor}")),
        };
        match *self {
            Schedule::Constant => Ok(()),
            Schedule::Step { every, factor } => share("every", every).and(share("factor", factor)),
            Schedule::Cosine { floor } | Schedule::Linear { floor } => least(floor),
            Schedule::WarmupStableDecay { decay, floor } => share("decay", decay).and(least(floor)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: Schedule, steps: u64, warmup: u64) -> Vec<f64> {
        let round = |f: f64| (f * 1000.0).round() / 1000.0;
        (0..steps)
            .map(|step| round(schedule.factor(step, steps, warmup)))
            .collect()
    }

    #[test]
    fn each_kind_moves_as_documented() {
        assert_eq!(factors(Schedule::Constant, 4, 2), [0.333, 0.667, 1.0, 1.0]);
        let step = Schedule::Step {
            every: 0.5,
            factor: 0.1,
        };
        assert_eq!(factors(step, 4, 0), [1.0, 1.0, 0.1, 0.1]);
        let linear = Schedule::Linear { floor: 0.2 };
        assert_eq!(factors(linear, 4, 0), [1.0, 0.8, 0.6, 0.4]);
        let cosine = Schedule::Cosine { floor: 0.0 };
        assert_eq!(factors(cosine, 4, 0), [1.0, 0.854, 0.5, 0.146]);
        let wsd = Schedule::WarmupStableDecay {
            decay: 0.5,
            floor: 0.0,
        };
        assert_eq!(factors(wsd, 6, 2), [0.333, 0.667, 1.0, 1.0, 1.0, 0.5]);
        assert_eq!(wsd.trunk_end(6, 2), Some(4));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(
            Schedule::Step {
                every: 0.0,
                factor: 0.1
            }
            .check()
            .is_err()
        );
        assert!(Schedule::Cosine { floor: f64::NAN }.check().is_err());
        assert!(
            Schedule::WarmupStableDecay {
                decay: 1.5,
                floor: 0.0
            }
            .check()
            .is_err()
        );
        assert!(Schedule::Linear { floor: 0.0 }.check().is_ok());
    }
}
