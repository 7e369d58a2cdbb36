//! Whether capacity is the limit, and if so, by what the network grows.

use std::fs;
use std::path::PathBuf;

use net2net_core::io::{Checkpoint, write_atomic};

use super::error::EvolveError;
use super::spec::GrowthSettings;
use super::store::{GrowthRecord, NewDecision, ProbeRecord};
use super::trials::{Trial, sound};
use super::work::{Trunk, Work};
use crate::explore::{Asked, Outcome, Proposal, propose};
use crate::report::Metric;
use crate::train::{Recipe, TRUNK_FILE};
use crate::trial::TrialResult;

/// The probe of plain continuation.
const PLAIN: &str = "probe-0";
/// The scored moves of a step that probes: scoring is not done again after an interruption.
const MOVES_FILE: &str = "moves.json";
/// The least evaluations of a probe, so that its loss can be seen falling.
const EVALUATIONS: usize = 8;

/// What was decided.
#[derive(Default)]
pub(super) struct Grown {
    /// The trunk of the probe that is gone on with; none where nothing was probed.
    pub(super) from: Option<PathBuf>,
    /// The plan by which it grew: its name and content.
    pub(super) plan: Option<(String, Vec<u8>)>,
    /// What was measured.
    pub(super) record: Option<GrowthRecord>,
    /// Why.
    pub(super) decisions: Vec<NewDecision>,
}

/// Decides whether and how the trunk grows, by probes where it may; `None` if interrupted.
pub(super) fn decide(work: &mut Work<'_>, trunk: &Trunk) -> Result<Option<Grown>, EvolveError> {
    let Some(settings) = work.spec.growth.clone() else {
        return Ok(Some(Grown::default()));
    };
    // A network that has learnt nothing yet has no limit yet.
    if work.step.head.is_none() {
        return Ok(Some(Grown::default()));
    }
    let recipe = probe_recipe(work.recipe(), &settings);
    let Some(plain) = work.trials(&[probe(PLAIN, trunk, &trunk.plans, &recipe, work.threads)])?
    else {
        return Ok(None);
    };
    let plain = plain
        .first()
        .map_or(Err("it was not done".to_owned()), sound);
    let mut record = GrowthRecord {
        fall: plain
            .as_ref()
            .ok()
            .and_then(|plain| fall(&plain.metrics, &recipe)),
        probes: vec![recorded("train on".to_owned(), None, 0, &plain)],
        chosen: 0,
    };
    let plain = match plain {
        Ok(plain) => plain,
        Err(why) => {
            let reason = format!("the probe of plain continuation tells nothing: {why}");
            return Ok(Some(Grown {
                record: Some(record),
                decisions: vec![not_grown(reason)],
                ..Grown::default()
            }));
        }
    };
    let on = Grown {
        from: Some(work.trial_folder(PLAIN).join(TRUNK_FILE)),
        ..Grown::default()
    };
    if let Some(reason) = still_falls(&record, &settings) {
        work.watcher
            .note(&format!("step {}: no growth: {reason}", work.step.id));
        return Ok(Some(Grown {
            record: Some(record),
            decisions: vec![not_grown(reason)],
            ..on
        }));
    }
    let proposals = proposals(work, trunk, &settings)?;
    if proposals.is_empty() {
        let reason =
            "the training loss has come to a plateau, but no move is possible within the limits"
                .to_owned();
        return Ok(Some(Grown {
            record: Some(record),
            decisions: vec![not_grown(reason)],
            ..on
        }));
    }
    let Some(outcomes) = probe_all(work, trunk, &proposals, &recipe)? else {
        return Ok(None);
    };
    for (proposal, outcome) in proposals.iter().zip(&outcomes) {
        let (name, score) = (proposal.name.clone(), proposal.score);
        record
            .probes
            .push(recorded(name, score, proposal.parameters, &sound(outcome)));
    }
    Ok(Some(chosen(
        work, &proposals, &plain, record, &settings, on,
    )?))
}

/// The moves that are probed, the best score first.
fn proposals(
    work: &mut Work<'_>,
    trunk: &Trunk,
    settings: &GrowthSettings,
) -> Result<Vec<Proposal>, EvolveError> {
    let Some(network) = &trunk.network else {
        return Ok(Vec::new());
    };
    let path = work.folder.join(MOVES_FILE);
    let json = |source| EvolveError::Json {
        path: path.clone(),
        source,
    };
    let mut proposals: Vec<Proposal> = if path.exists() {
        let bytes = fs::read(&path).map_err(EvolveError::file(&path))?;
        serde_json::from_slice(&bytes).map_err(json)?
    } else {
        let scored = scored(work, network, settings)?;
        let bytes = serde_json::to_vec(&scored).map_err(json)?;
        write_atomic(&path, &bytes).map_err(EvolveError::file(&path))?;
        scored
    };
    let count = proposals.len();
    proposals.truncate(settings.probes);
    let names: Vec<&str> = proposals.iter().map(|one| one.name.as_str()).collect();
    work.watcher.note(&format!(
        "step {}: the training loss has come to a plateau; {count} moves scored; probed: {}",
        work.step.id,
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        }
    ));
    Ok(proposals)
}

/// All moves of a network, by their scores.
fn scored(
    work: &Work<'_>,
    network: &Checkpoint,
    settings: &GrowthSettings,
) -> Result<Vec<Proposal>, EvolveError> {
    let asked = Asked {
        moves: &settings.moves,
        limits: &work.spec.limits,
        latency: work.spec.limits.latency_ms.is_some(),
        score_images: settings.score_images,
        seed: work.seed(),
        plan_seed: work.seed(),
        threads: work.threads,
    };
    let (proposals, _) = propose(network, &work.data()?, &asked, |_| false)?;
    Ok(proposals)
}

/// Trains each proposal as briefly as plain continuation was.
fn probe_all(
    work: &mut Work<'_>,
    trunk: &Trunk,
    proposals: &[Proposal],
    recipe: &Recipe,
) -> Result<Option<Vec<Outcome>>, EvolveError> {
    let mut plans = Vec::with_capacity(proposals.len());
    for (proposal, number) in proposals.iter().zip(1..) {
        let mut own = trunk.plans.clone();
        own.push(plan_file(work, proposal, number)?);
        plans.push(own);
    }
    let ids: Vec<String> = (1..=proposals.len())
        .map(|n| format!("probe-{n}"))
        .collect();
    let together = work.spec.parallel;
    let mut outcomes = Vec::with_capacity(proposals.len());
    for (ids, plans) in ids.chunks(together).zip(plans.chunks(together)) {
        let threads = (work.threads / ids.len()).max(1);
        let pairs = ids.iter().zip(plans);
        let trials: Vec<Trial<'_>> = pairs
            .map(|(id, plans)| probe(id, trunk, plans, recipe, threads))
            .collect();
        match work.trials(&trials)? {
            Some(some) => outcomes.extend(some),
            None => return Ok(None),
        }
    }
    Ok(Some(outcomes))
}

/// The best of the probes, if it is better enough than plain continuation.
fn chosen(
    work: &mut Work<'_>,
    proposals: &[Proposal],
    plain: &TrialResult,
    mut record: GrowthRecord,
    settings: &GrowthSettings,
    on: Grown,
) -> Result<Grown, EvolveError> {
    let plain = plain.loss.unwrap_or(f64::INFINITY);
    let losses = record.probes.iter().enumerate().skip(1);
    let best = losses
        .filter_map(|(at, probe)| Some((at, probe.loss?)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let Some((at, loss)) = best else {
        let reason = "no grown probe ended well".to_owned();
        return Ok(Grown {
            record: Some(record),
            decisions: vec![not_grown(reason)],
            ..on
        });
    };
    let gain = (plain - loss) / plain;
    let proposal = &proposals[at - 1];
    let asked = match 100.0 * settings.least_gain {
        least if least >= 0.0 => format!("lower by {least:.1} % is asked for"),
        least => format!("higher by up to {:.1} % is allowed", -least),
    };
    let compared = format!(
        "after a probe, `{}` has a validation loss of {loss:.4} and plain continuation one of {plain:.4}, so that it is {} by {:.1} %; \
         {asked}",
        proposal.name,
        if gain < 0.0 { "higher" } else { "lower" },
        100.0 * gain.abs(),
    );
    if gain < settings.least_gain {
        work.watcher
            .note(&format!("step {}: no growth: {compared}", work.step.id));
        return Ok(Grown {
            record: Some(record),
            decisions: vec![not_grown(compared)],
            ..on
        });
    }
    work.watcher.note(&format!(
        "step {}: grows by `{}`",
        work.step.id, proposal.name
    ));
    record.chosen = at;
    Ok(Grown {
        from: Some(work.trial_folder(&format!("probe-{at}")).join(TRUNK_FILE)),
        plan: Some(plan_file(work, proposal, at)?),
        record: Some(record),
        decisions: vec![NewDecision {
            what: "grow",
            outcome: "yes".to_owned(),
            reason: format!("the training loss has come to a plateau; {compared}"),
        }],
    })
}

fn plan_file(
    work: &Work<'_>,
    proposal: &Proposal,
    number: usize,
) -> Result<(String, Vec<u8>), EvolveError> {
    let name = format!("plan-grow-{number}.json");
    let bytes = work.json(&name, &proposal.plan)?;
    Ok((name, bytes))
}

fn probe<'a>(
    id: &str,
    trunk: &'a Trunk,
    plans: &'a [(String, Vec<u8>)],
    recipe: &'a Recipe,
    threads: usize,
) -> Trial<'a> {
    Trial {
        id: id.to_owned(),
        from: trunk.file.as_deref(),
        plans,
        recipe,
        keep_moments: trunk.keep_moments,
        begins_the_step: true,
        threads,
    }
}

fn probe_recipe(recipe: &Recipe, settings: &GrowthSettings) -> Recipe {
    let often = (EVALUATIONS as f64 / settings.probe_epochs).ceil() as usize;
    Recipe {
        epochs: settings.probe_epochs,
        warmup_epochs: recipe.warmup_epochs.min(settings.probe_epochs / 4.0),
        evaluations_per_epoch: recipe.evaluations_per_epoch.max(often),
        ..recipe.clone()
    }
}

/// The share by which the training loss falls from the first to the second half of the stable phase.
fn fall(metrics: &[Metric], recipe: &Recipe) -> Option<f64> {
    let stable = metrics
        .iter()
        .filter(|m| m.learning_rate >= recipe.learning_rate * 0.999);
    let losses: Vec<f64> = stable.filter_map(|metric| metric.train_loss).collect();
    let (first, second) = losses.split_at(losses.len() / 2);
    if first.is_empty() {
        return None;
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    Some(1.0 - mean(second) / mean(first))
}

/// Why growth waits, if the training loss has not come to a plateau.
fn still_falls(record: &GrowthRecord, settings: &GrowthSettings) -> Option<String> {
    match record.fall {
        Some(fall) if fall >= settings.plateau => Some(format!(
            "capacity is not the limit yet: the training loss still falls by {:.1} % within a probe, and a plateau is less than {:.1} %",
            100.0 * fall,
            100.0 * settings.plateau
        )),
        Some(_) => None,
        None => Some("the probe is too short to see whether the training loss falls; raise `growth.probe_epochs`".to_owned()),
    }
}

fn recorded(
    name: String,
    score: Option<f64>,
    parameters: u64,
    ended: &Result<TrialResult, String>,
) -> ProbeRecord {
    let result = ended.as_ref().ok();
    ProbeRecord {
        name,
        score,
        parameters: result.map_or(parameters, |result| result.parameters),
        loss: result.and_then(|result| result.loss),
        accuracy: result.and_then(|result| result.accuracy),
        fault: ended.as_ref().err().cloned(),
    }
}

fn not_grown(reason: String) -> NewDecision {
    NewDecision {
        what: "grow",
        outcome: "no".to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(train_loss: f64, learning_rate: f64) -> Metric {
        Metric {
            run: String::new(),
            seed: 0,
            epoch: 0.0,
            step: 0,
            seconds: 0.0,
            flops: 0.0,
            learning_rate,
            train_loss: Some(train_loss),
            validation_loss: 0.0,
            validation_accuracy: 0.0,
            apart: None,
        }
    }

    #[test]
    fn a_plateau_is_seen_in_the_stable_phase_alone() {
        let recipe = Recipe {
            learning_rate: 0.1,
            ..crate::evolve::EvolveSpec::embedded().unwrap().recipe
        };
        let of = |losses: &[(f64, f64)]| {
            let metrics: Vec<Metric> = losses.iter().map(|(l, r)| metric(*l, *r)).collect();
            fall(&metrics, &recipe)
        };
        // The decay lowers the loss, which says nothing.
        let flat = of(&[
            (1.0, 0.1),
            (1.0, 0.1),
            (0.99, 0.1),
            (0.99, 0.1),
            (0.5, 0.01),
        ]);
        assert!((flat.unwrap() - 0.01).abs() < 1e-9);
        let falling = of(&[(1.0, 0.1), (1.0, 0.1), (0.8, 0.1), (0.8, 0.1)]);
        assert!((falling.unwrap() - 0.2).abs() < 1e-9);
        assert_eq!(of(&[(1.0, 0.1)]), None);
        let settings = GrowthSettings::default();
        let record = |fall| GrowthRecord {
            fall,
            probes: Vec::new(),
            chosen: 0,
        };
        assert!(still_falls(&record(Some(0.2)), &settings).is_some());
        assert!(still_falls(&record(Some(0.01)), &settings).is_none());
        assert!(
            still_falls(&record(None), &settings)
                .unwrap()
                .contains("probe_epochs")
        );
    }
}
