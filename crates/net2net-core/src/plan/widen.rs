//! Planning more units for a space.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{MAX_NOISE, MAX_UNITS, Noise, NoiseKind, Widen};
use crate::dims::{Refusal, Spaces};
use crate::weights::stream;

/// How far shares are drawn from each other where noise has no place.
const DEFAULT_SPREAD: f64 = 0.5;

/// Which old unit each new one copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// The first n are the old ones; each further one copies a random one (Algorithm 1).
    #[default]
    Random,
    /// Unit j copies unit j mod n.
    Uniform,
}

/// How copies are told apart, so that training can part them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Symmetry {
    /// Equal shares: exact, and copies stay equal for ever unless something else parts them.
    Even,
    /// Random shares: exact.
    Uneven {
        /// Shares are drawn from 1 ± spread before they are made to sum to 1; 0..1.
        spread: f64,
    },
    /// Equal shares and noise that sums to zero over the copies: exact. At 1 what reads twice as many
    /// units is nearly as large as before (0.87 of its norm, 0.71 without noise), as in a fresh network
    /// of that width: a random one of those that compute the same. So copies differ at once in all that
    /// reads them and in all that makes them, and a normalisation behind them does not make steps much
    /// larger than they were.
    ZeroSum {
        /// Relative to the root mean square of the reading parameter, as it is with equal shares.
        std: f64,
    },
    /// Equal shares and noise on the producing weights, as in the paper: not exact.
    Incoming {
        /// Relative to the root mean square of the producing parameter.
        std: f64,
    },
}

impl Default for Symmetry {
    fn default() -> Self {
        Symmetry::ZeroSum { std: 1.0 }
    }
}

/// Plans `size` units for the space of a name, at most [`MAX_UNITS`], or says why not.
pub fn widen(
    spaces: &Spaces,
    name: &str,
    size: usize,
    mapping: Mapping,
    symmetry: Symmetry,
    seed: u64,
) -> Result<Widen, Refusal> {
    let id = spaces.find(name)?;
    let space = &spaces.all()[id.index()];
    let refuse = |why: String| Refusal {
        space: name.to_owned(),
        node: None,
        why,
    };
    let Some(old) = space.size.fixed() else {
        return Err(refuse("it is the batch".to_owned()));
    };
    if size <= old {
        return Err(refuse(format!(
            "it has {old} units already, and {size} are not more"
        )));
    }
    if size > MAX_UNITS {
        return Err(refuse(format!(
            "{size} units are more than {MAX_UNITS}, the most that a space may have"
        )));
    }
    if space.uniform && !size.is_multiple_of(old) {
        return Err(refuse(format!(
            "a mean is taken over its {old} units, so copies can only make a multiple of them"
        )));
    }
    let mut random = stream(seed, &format!("widen {name}"));
    let mapping = if space.uniform {
        Mapping::Uniform
    } else {
        mapping
    };
    let source: Vec<u32> = (0..size)
        .map(|unit| match mapping {
            Mapping::Random if unit >= old => random.random_range(0..old) as u32,
            _ => (unit % old) as u32,
        })
        .collect();
    let spread = match symmetry {
        Symmetry::Uneven { spread } => spread,
        // What nothing reads with a weight of its own has no place for noise.
        Symmetry::ZeroSum { .. } if !space.folds.is_empty() => DEFAULT_SPREAD,
        _ => 0.0,
    };
    // At 1 a share could be zero, and all shares of a unit at once.
    if !(0.0..1.0).contains(&spread) {
        return Err(refuse(format!(
            "a spread of {spread} is not at least 0 and below 1"
        )));
    }
    if let Symmetry::ZeroSum { std } | Symmetry::Incoming { std } = symmetry
        && !(0.0..=MAX_NOISE).contains(&std)
    {
        return Err(refuse(format!(
            "noise of {std} times the weights is not in 0..={MAX_NOISE}"
        )));
    }
    let draws: Vec<f64> = (0..size)
        .map(|_| 1.0 + spread * random.random_range(-1.0..=1.0))
        .collect();
    let noise = match symmetry {
        Symmetry::ZeroSum { std } => Some(Noise {
            kind: NoiseKind::ZeroSum,
            std,
            seed,
        }),
        Symmetry::Incoming { std } => Some(Noise {
            kind: NoiseKind::Incoming,
            std,
            seed,
        }),
        Symmetry::Even | Symmetry::Uneven { .. } => None,
    };
    let shares = normalized(&source, &draws, old);
    Ok(Widen {
        space: name.to_owned(),
        source,
        shares,
        noise,
    })
}

/// Draws made to sum to one over the copies of each unit.
fn normalized(source: &[u32], draws: &[f64], old: usize) -> Vec<f64> {
    let mut sums = vec![0.0; old];
    for (unit, draw) in source.iter().zip(draws) {
        sums[*unit as usize] += draw;
    }
    let share = |(unit, draw): (&u32, &f64)| draw / sums[*unit as usize];
    source.iter().zip(draws).map(share).collect()
}
