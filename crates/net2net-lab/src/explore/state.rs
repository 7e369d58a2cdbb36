//! What an exploration knows: a function of its spec and of what its files hold.

use std::collections::BTreeMap;

use net2net_core::plan::Plan;
use serde::{Deserialize, Serialize};

use super::spec::{Budget, Cost, ObjectiveSpec, Select};
use crate::trial::TrialResult;

/// What a parent could become.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The move.
    pub name: String,
    /// The first-order gain (see [`crate::explore::first_order_gain`]), where there is one.
    pub score: Option<f64>,
    /// Numbers of the network.
    pub parameters: u64,
    /// Operations of one sample.
    pub flops: u64,
    /// Milliseconds of one sample, if they matter.
    pub latency_ms: Option<f64>,
    /// See [`crate::explore::fingerprint`].
    pub fingerprint: String,
    /// How it grows from the parent.
    pub plan: Plan,
}

/// A network that is or will be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The candidate that it grew from; none for the start.
    pub parent: Option<usize>,
    /// How many adoptions came before, in generations.
    pub generation: usize,
    /// What it is called: the move, or `train on`.
    pub name: String,
    /// How it grew; none for the start, and where it did not.
    pub plan: Option<Plan>,
    /// The first-order gain.
    pub score: Option<f64>,
    /// Numbers of the network.
    pub parameters: u64,
    /// Operations of one sample.
    pub flops: u64,
    /// Milliseconds of one sample, if they matter.
    pub latency_ms: Option<f64>,
    /// See [`crate::explore::fingerprint`].
    pub fingerprint: String,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With figures, those of a diverged training included.
    Done(Box<TrialResult>),
    /// Twice without any.
    Failed(String),
}

impl Outcome {
    /// The final accuracy, if there is one.
    pub fn accuracy(&self) -> Option<f64> {
        match self {
            Outcome::Done(result) => result.accuracy,
            Outcome::Failed(_) => None,
        }
    }

    /// The figures, if there are any.
    pub fn result(&self) -> Option<&TrialResult> {
        match self {
            Outcome::Done(result) => Some(result),
            Outcome::Failed(_) => None,
        }
    }
}

/// What a search has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Seconds: of scoring, and of the longest of the trials that ran side by side.
    pub seconds: f64,
    /// Operations of training.
    pub flops: f64,
    /// Trials.
    pub trials: usize,
}

impl Spent {
    /// Which budget is used up, if one is.
    pub fn beyond(&self, budget: &Budget) -> Option<&'static str> {
        match budget {
            Budget {
                seconds: Some(most),
                ..
            } if self.seconds >= *most => Some("seconds"),
            Budget {
                flops: Some(most), ..
            } if self.flops >= *most => Some("FLOPs"),
            Budget {
                trials: Some(most), ..
            } if self.trials >= *most => Some("trials"),
            _ => None,
        }
    }
}

/// Everything that decisions rest on.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The first one is the start.
    pub candidates: Vec<Candidate>,
    /// By candidate and rung.
    pub results: BTreeMap<(usize, usize), Outcome>,
    /// The moves of those that were asked for theirs, best score first.
    pub moves: BTreeMap<usize, Vec<Proposal>>,
    /// What it has cost so far.
    pub spent: Spent,
}

impl State {
    /// The last rung that a candidate has finished, and how.
    pub fn last(&self, candidate: usize) -> Option<(usize, &Outcome)> {
        let range = self.results.range((candidate, 0)..(candidate + 1, 0));
        range.last().map(|((_, rung), outcome)| (*rung, outcome))
    }

    /// The accuracy of a candidate at its last rung. That of a start which was not trained is what its children begin with.
    pub fn accuracy(&self, candidate: usize) -> Option<f64> {
        match self.last(candidate) {
            Some((_, outcome)) => outcome.accuracy(),
            None if candidate == 0 => self.inherited_accuracy(),
            None => None,
        }
    }

    fn inherited_accuracy(&self) -> Option<f64> {
        let child = |i: &usize| self.candidates[*i].parent == Some(0);
        let mut children = (1..self.candidates.len()).filter(child);
        children.find_map(|i| {
            let first = self.results.get(&(i, 0))?.result()?;
            let kept = !first.evidence.is_empty() || self.candidates[i].plan.is_none();
            kept.then(|| first.metrics.first().map(|m| m.validation_accuracy))?
        })
    }

    /// What a candidate costs, in the objective's terms.
    pub fn cost(&self, candidate: usize, cost: Cost) -> f64 {
        let candidate = &self.candidates[candidate];
        match cost {
            Cost::Parameters => candidate.parameters as f64,
            Cost::Flops => candidate.flops as f64,
            Cost::Latency => candidate.latency_ms.unwrap_or(f64::INFINITY),
        }
    }

    /// Whether an architecture is among the candidates.
    pub fn has(&self, fingerprint: &str) -> bool {
        self.candidates.iter().any(|c| c.fingerprint == fingerprint)
    }

    /// Whether a candidate has moves whose architecture is not there yet, as far as is known.
    pub fn has_something_new(&self, candidate: usize) -> bool {
        let moves = self.moves.get(&candidate);
        moves.is_none_or(|moves| moves.iter().any(|one| !self.has(&one.fingerprint)))
    }

    /// Whether one of the candidates is another one trained on.
    pub fn is_trained_on(&self, candidate: usize) -> bool {
        let mut all = self.candidates.iter();
        all.any(|one| one.parent == Some(candidate) && one.plan.is_none())
    }

    /// Candidates with an accuracy, the best first; equal ones in the order of their adoption.
    pub fn ranked(&self, among: &[usize], objective: &ObjectiveSpec) -> Vec<usize> {
        let accuracy = |i: &usize| self.accuracy(*i).unwrap_or(f64::NEG_INFINITY);
        let mut left: Vec<usize> = among.to_vec();
        left.retain(|i| self.accuracy(*i).is_some());
        left.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)).then(a.cmp(b)));
        if objective.select == Select::Accuracy {
            return left;
        }
        let mut ranked = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let front = self.front(&left, objective.cost);
            left.retain(|i| !front.contains(i));
            ranked.extend(front);
        }
        ranked
    }

    /// Those of some ranked candidates that nothing as cheap beats, in the order given.
    pub fn front(&self, among: &[usize], cost: Cost) -> Vec<usize> {
        let accuracy = |i: usize| self.accuracy(i).unwrap_or(f64::NEG_INFINITY);
        let beats = |a: usize, b: usize| {
            let (x, y) = (accuracy(a), accuracy(b));
            let (p, q) = (self.cost(a, cost), self.cost(b, cost));
            x >= y && p <= q && (x > y || p < q || a < b)
        };
        let unbeaten = |b: &&usize| !among.iter().any(|a| a != *b && beats(*a, **b));
        among.iter().filter(unbeaten).copied().collect()
    }
}
