//! How a network could grow: its moves, planned and scored.

use net2net_core::io::Checkpoint;
use net2net_core::plan::PlanError;
use net2net_core::request::{RequestError, request};
use serde::{Deserialize, Serialize};

use super::error::ExploreError;
use super::moves::{fingerprint, moves};
use super::parallel::context;
use super::score::Scorer;
use super::spec::{Limits, MoveSpec};
use super::state::Proposal;
use crate::train::TrainingData;
use crate::trial::latency_ms;

/// What is asked about a network.
pub(crate) struct Asked<'a> {
    /// How it may grow.
    pub(crate) moves: &'a MoveSpec,
    /// What it must stay within.
    pub(crate) limits: &'a Limits,
    /// Whether the time of a sample matters, and so is measured.
    pub(crate) latency: bool,
    /// Training images of which the gradient scores the moves.
    pub(crate) score_images: usize,
    /// The seed of the images that are drawn.
    pub(crate) seed: u64,
    /// The seed of the plans.
    pub(crate) plan_seed: u64,
    /// Threads.
    pub(crate) threads: usize,
}

/// Moves that are not proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// Those whose architecture was there already.
    pub(crate) duplicates: usize,
    /// Those beyond the limits.
    #[serde(default)]
    pub(crate) beyond: usize,
    /// Those that the network does not allow, and why.
    #[serde(default)]
    pub(crate) refused: Vec<String>,
}

impl LeftOut {
    /// Why there is no move, if all were left out.
    pub(crate) fn why(&self) -> String {
        let beyond = match self.beyond {
            0 => None,
            1 => Some("one move is beyond `limits`".to_owned()),
            moves => Some(format!("{moves} moves are beyond `limits`")),
        };
        let all: Vec<String> = beyond
            .into_iter()
            .chain(self.refused.iter().cloned())
            .collect();
        match all.is_empty() {
            true => "nothing in `moves` fits it".to_owned(),
            false => all.join("; "),
        }
    }
}

/// Plans all moves of a network, leaves out what is refused, beyond the limits or `known` by its fingerprint, and scores the
/// rest: the best first, and what was left out.
pub(crate) fn propose(
    model: &Checkpoint,
    data: &TrainingData,
    asked: &Asked<'_>,
    known: impl Fn(&str) -> bool,
) -> Result<(Vec<Proposal>, LeftOut), ExploreError> {
    let (graph, weights, threads) = (&model.graph, &model.weights, asked.threads);
    let drawn = data.statistics_images(asked.seed)?;
    let mut cx = context(threads)?;
    let scorer = Scorer::new(
        graph,
        weights,
        data,
        asked.score_images,
        asked.seed,
        threads,
    )?;
    let mut proposals: Vec<Proposal> = Vec::new();
    let mut left = LeftOut::default();
    for one in moves(graph, asked.moves) {
        let (batch, inputs) = (drawn.count, [&drawn.images[..]]);
        let seed = asked.plan_seed;
        let planned = request(&mut cx, graph, weights, &one.request, seed, batch, &inputs);
        let (plan, growth) = match planned {
            Err(error @ RequestError::Plan(PlanError::Measure(_))) => return Err(error.into()),
            // What cannot grow is no move.
            Err(why) => {
                left.refused.push(format!("{}: {why}", one.name));
                continue;
            }
            Ok(planned) => planned,
        };
        let grown = growth.graph();
        let fingerprint = fingerprint(grown);
        if known(&fingerprint) || proposals.iter().any(|p| p.fingerprint == fingerprint) {
            left.duplicates += 1;
            continue;
        }
        let (parameters, flops) = (grown.parameter_count(), grown.flops());
        let beyond = |latency| asked.limits.passed_by(parameters, flops, latency).is_some();
        if beyond(None) {
            left.beyond += 1;
            continue;
        }
        let latency_ms = match asked.latency {
            true => Some(latency_ms(grown, threads)?),
            false => None,
        };
        if beyond(latency_ms) {
            left.beyond += 1;
            continue;
        }
        proposals.push(Proposal {
            name: one.name,
            score: scorer.score(&plan)?,
            parameters,
            flops,
            latency_ms,
            fingerprint,
            plan,
        });
    }
    let score = |p: &Proposal| p.score.unwrap_or(f64::NEG_INFINITY);
    proposals.sort_by(|a, b| score(b).total_cmp(&score(a)));
    Ok((proposals, left))
}
