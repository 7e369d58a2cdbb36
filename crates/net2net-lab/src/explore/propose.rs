//! How a network could grow: its moves, planned and scored.

use net2net_core::io::Checkpoint;
use net2net_core::plan::PlanError;
use net2net_core::request::{RequestError, request};

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

/// Plans all moves of a network, leaves out what is refused, beyond the limits or `known` by its fingerprint, and scores the
/// rest: the best first, and how many were left out because an architecture was there already.
pub(crate) fn propose(
    model: &Checkpoint,
    data: &TrainingData,
    asked: &Asked<'_>,
    known: impl Fn(&str) -> bool,
) -> Result<(Vec<Proposal>, usize), ExploreError> {
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
    let mut duplicates = 0;
    for one in moves(graph, asked.moves) {
        let (batch, inputs) = (drawn.count, [&drawn.images[..]]);
        let seed = asked.plan_seed;
        let planned = request(&mut cx, graph, weights, &one.request, seed, batch, &inputs);
        let (plan, growth) = match planned {
            Err(error @ RequestError::Plan(PlanError::Measure(_))) => return Err(error.into()),
            // What cannot grow is no move.
            Err(_) => continue,
            Ok(planned) => planned,
        };
        let grown = growth.graph();
        let fingerprint = fingerprint(grown);
        if known(&fingerprint) || proposals.iter().any(|p| p.fingerprint == fingerprint) {
            duplicates += 1;
            continue;
        }
        let (parameters, flops) = (grown.parameter_count(), grown.flops());
        let limits = asked.limits;
        if limits.parameters.is_some_and(|most| parameters > most)
            || limits.flops.is_some_and(|most| flops > most)
        {
            continue;
        }
        let latency_ms = match asked.latency {
            true => Some(latency_ms(grown, threads)?),
            false => None,
        };
        if let (Some(most), Some(found)) = (limits.latency_ms, latency_ms)
            && found > most
        {
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
    Ok((proposals, duplicates))
}
