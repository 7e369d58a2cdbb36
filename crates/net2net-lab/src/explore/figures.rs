//! How far one thing told another: rank correlations.

use serde::{Deserialize, Serialize};

use super::state::State;

/// A rank correlation and the number of candidates that it is over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// Spearman's rho, from -1 to 1; none for fewer than three, or where one side does not vary.
    pub rho: Option<f64>,
    /// Candidates.
    pub count: usize,
}

/// How far scores told the gains of one parent's children.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The parent.
    pub parent: usize,
    /// The first-order gain against the accuracy after the first rung.
    pub score: Correlation,
    /// The number of parameters against the same: what a guess would be.
    pub size: Correlation,
}

/// How far the accuracy at one rung told that at the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BetweenRungs {
    /// The generation.
    pub generation: usize,
    /// The rung; the other one is the next.
    pub rung: usize,
    /// Over the candidates that went on.
    pub correlation: Correlation,
}

/// Spearman's rank correlation of pairs; equal numbers share their mean rank.
pub fn spearman(pairs: &[(f64, f64)]) -> Correlation {
    let count = pairs.len();
    let none = Correlation { rho: None, count };
    if count < 3 {
        return none;
    }
    let a = ranks(&pairs.iter().map(|p| p.0).collect::<Vec<f64>>());
    let b = ranks(&pairs.iter().map(|p| p.1).collect::<Vec<f64>>());
    let mean = (count as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        let both = x.iter().zip(y);
        both.map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    let scale = (product(&a, &a) * product(&b, &b)).sqrt();
    match scale > 0.0 {
        true => Correlation {
            rho: Some(product(&a, &b) / scale),
            count,
        },
        false => none,
    }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let place = |value: f64| {
        let below = values.iter().filter(|other| **other < value).count();
        let equal = values.iter().filter(|other| **other == value).count();
        below as f64 + (equal as f64 - 1.0) / 2.0
    };
    values.iter().map(|value| place(*value)).collect()
}

/// For each parent whose children have scores.
pub(super) fn predictions(state: &State) -> Vec<Prediction> {
    let first = |i: usize| state.results.get(&(i, 0)).and_then(|o| o.accuracy());
    let mut all = Vec::new();
    for parent in state.moves.keys() {
        let (mut scores, mut sizes) = (Vec::new(), Vec::new());
        for (i, candidate) in state.candidates.iter().enumerate() {
            if let (true, Some(score), Some(accuracy)) =
                (candidate.parent == Some(*parent), candidate.score, first(i))
            {
                scores.push((score, accuracy));
                sizes.push((candidate.parameters as f64, accuracy));
            }
        }
        if !scores.is_empty() {
            all.push(Prediction {
                parent: *parent,
                score: spearman(&scores),
                size: spearman(&sizes),
            });
        }
    }
    all
}

/// For each generation and each pair of neighbouring rungs.
pub(super) fn between_rungs(state: &State) -> Vec<BetweenRungs> {
    let accuracy = |i: usize, rung: usize| state.results.get(&(i, rung)).and_then(|o| o.accuracy());
    let generations = state.candidates.iter().map(|c| c.generation).max();
    let last = state.results.keys().map(|(_, rung)| *rung).max();
    let mut all = Vec::new();
    for generation in 1..=generations.unwrap_or(0) {
        for rung in 0..last.unwrap_or(0) {
            let members = (0..state.candidates.len())
                .filter(|i| state.candidates[*i].generation == generation);
            let pairs: Vec<(f64, f64)> = members
                .filter_map(|i| Some((accuracy(i, rung)?, accuracy(i, rung + 1)?)))
                .collect();
            if !pairs.is_empty() {
                all.push(BetweenRungs {
                    generation,
                    rung,
                    correlation: spearman(&pairs),
                });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_compared_and_ties_share_theirs() {
        let rho = |pairs: &[(f64, f64)]| spearman(pairs).rho;
        assert_eq!(rho(&[(1.0, 10.0), (2.0, 20.0), (9.0, 21.0)]), Some(1.0));
        assert_eq!(rho(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
        assert_eq!(rho(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(rho(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        let tied = rho(&[(1.0, 1.0), (1.0, 2.0), (2.0, 3.0)]);
        assert!((tied.unwrap() - 0.866_025).abs() < 1e-5);
    }
}
