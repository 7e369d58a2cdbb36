//! Strategies on made-up outcomes, moves and scores on real networks.

use std::collections::BTreeSet;

use net2net_core::graph::Graph;
use net2net_core::plan::Plan;
use net2net_core::weights::initialize;
use net2net_lab::compare::Stated;
use net2net_lab::data::ImageShape;
use net2net_lab::explore::{
    Candidate, ExploreSpec, MoveSpec, Next, ObjectiveSpec, Outcome, Proposal, Search, Select,
    State, fingerprint, moves, next,
};
use net2net_lab::models::{Family, ModelSpec};
use net2net_lab::trial::TrialResult;

const IMAGES: ImageShape = ImageShape {
    height: 12,
    width: 12,
    channels: 1,
};

fn network(family: Family, width: f64) -> Graph {
    let spec = ModelSpec {
        family,
        width,
        depth: 1,
    };
    spec.build(IMAGES, 10).unwrap()
}

fn outcome(accuracy: Option<f64>) -> Outcome {
    Outcome::Done(Box::new(TrialResult {
        version: String::new(),
        seed: 0,
        threads: 1,
        data: String::new(),
        graph: String::new(),
        parameters: 0,
        flops: 0,
        latency_ms: None,
        accuracy,
        loss: accuracy,
        training_seconds: 1.0,
        seconds: 1.0,
        training_flops: 1.0,
        steps: 1,
        diverged: accuracy.is_none().then(|| "the loss".to_owned()),
        no_onnx: None,
        broken: Vec::new(),
        evidence: Vec::new(),
        metrics: Vec::new(),
    }))
}

/// Plays a search against outcomes that are a function of the candidate, and returns what was asked, in order.
fn play(search: &Search, seed: u64, accuracy: impl Fn(usize) -> Option<f64>) -> (State, Vec<Next>) {
    let mut state = State::default();
    let objective = ObjectiveSpec::default();
    let graph = network(Family::ConvNet, 0.25);
    state.candidates.push(made(None, 0, "start", "start"));
    state.results.insert((0, 0), outcome(Some(0.5)));
    let mut asked = Vec::new();
    loop {
        let step = next(search, &objective, true, seed, &state);
        assert_eq!(step, next(search, &objective, true, seed, &state.clone()));
        asked.push(step.clone());
        assert!(asked.len() < 500, "it does not end");
        match step {
            Next::Done => return (state, asked),
            Next::Score(parent) => {
                // The third move of each parent leads to what another parent's third move leads to.
                let proposals = (0..6).map(|i| Proposal {
                    name: format!("{parent}/{i}"),
                    score: Some(f64::from(6 - i)),
                    parameters: 100,
                    flops: 100,
                    latency_ms: None,
                    fingerprint: if i == 2 {
                        "same".to_owned()
                    } else {
                        format!("{parent}/{i}")
                    },
                    plan: Plan::new(&graph, 0, Vec::new()),
                });
                state.moves.insert(parent, proposals.collect());
            }
            Next::Adopt(adopted) => {
                for one in adopted {
                    let proposal = one
                        .proposal
                        .map(|rank| state.moves[&one.parent][rank].clone());
                    let (name, print) = proposal.map_or_else(
                        || ("train on".to_owned(), "parent's".to_owned()),
                        |p| (p.name, p.fingerprint),
                    );
                    let mut candidate = made(Some(one.parent), one.generation, &name, &print);
                    candidate.parameters = 100 + state.candidates.len() as u64;
                    state.candidates.push(candidate);
                }
            }
            Next::Train(wanted) => {
                for (candidate, rung) in wanted {
                    let before = state
                        .results
                        .insert((candidate, rung), outcome(accuracy(candidate)));
                    assert!(
                        before.is_none(),
                        "{candidate} is trained twice at rung {rung}"
                    );
                }
            }
        }
    }
}

fn made(parent: Option<usize>, generation: usize, name: &str, print: &str) -> Candidate {
    Candidate {
        parent,
        generation,
        name: name.to_owned(),
        plan: None,
        score: None,
        parameters: 100,
        flops: 100,
        latency_ms: None,
        fingerprint: print.to_owned(),
    }
}

#[test]
fn halving_keeps_the_better_half_and_grows_the_best_again() {
    let search = Search::Halving {
        population: 4,
        rungs: vec![1.0, 2.0],
        keep: 0.5,
        generations: 2,
        parents: 1,
    };
    // Later ones are better, but for the second, which has no accuracy.
    let (state, asked) = play(&search, 0, |i| (i != 2).then_some(0.5 + 0.01 * i as f64));
    assert_eq!(state.candidates.len(), 1 + 4 + 4);
    assert_eq!(state.candidates[1].name, "train on");
    let trained: Vec<&Next> = asked
        .iter()
        .filter(|n| matches!(n, Next::Train(_)))
        .collect();
    assert_eq!(
        *trained[0],
        Next::Train(vec![(1, 0), (2, 0), (3, 0), (4, 0)])
    );
    assert_eq!(*trained[1], Next::Train(vec![(4, 1), (3, 1)]));
    assert!(asked.contains(&Next::Score(4)));
    let prints: BTreeSet<&str> = state.candidates[2..]
        .iter()
        .filter(|c| c.name != "train on")
        .map(|c| c.fingerprint.as_str())
        .collect();
    // Two of the nine are the start and the one that is trained on twice; no architecture is there twice.
    assert_eq!(prints.len(), 6);
}

#[test]
fn what_grows_next_is_the_best_so_far_and_not_the_best_of_the_last_generation() {
    let search = Search::Halving {
        population: 4,
        rungs: vec![1.0],
        keep: 1.0,
        generations: 3,
        parents: 1,
    };
    // All that grows is worse than the start.
    let (state, asked) = play(&search, 0, |_| Some(0.4));
    let scored = asked.iter().filter(|n| matches!(n, Next::Score(_)));
    assert_eq!(scored.collect::<Vec<_>>()[0], &Next::Score(0));
    let of = |generation: usize| {
        let all = state.candidates.iter();
        let all = all.filter(move |c| c.generation == generation);
        all.map(|c| (c.parent, c.name.clone())).collect::<Vec<_>>()
    };
    let child = |name: &str| (Some(0), name.to_owned());
    assert_eq!(
        of(1),
        [child("train on"), child("0/0"), child("0/1"), child("0/2")]
    );
    assert_eq!(of(2), [child("0/3"), child("0/4"), child("0/5")]);
    // The start has nothing left to try.
    assert!(
        of(3).iter().all(|(parent, _)| *parent == Some(1)),
        "{state:?}"
    );
}

#[test]
fn evolution_is_the_same_for_a_seed_and_ends_with_its_children() {
    let search = Search::Evolution {
        population: 4,
        sample: 2,
        children: 11,
        brood: 2,
    };
    let good = |i: usize| Some(0.5 + 0.03 * (i % 5) as f64);
    let names = |seed: u64| -> Vec<String> {
        let (state, _) = play(&search, seed, good);
        state.candidates.iter().map(|c| c.name.clone()).collect()
    };
    assert_eq!(names(1), names(1));
    assert_ne!(names(1), names(2));
    assert_eq!(names(1).len(), 12);
    assert!(names(1)[1..5].iter().all(|name| name.starts_with("0/")));
}

#[test]
fn a_grid_trains_every_move_once() {
    let (state, asked) = play(&Search::Grid { most: 100 }, 0, |_| Some(0.6));
    assert_eq!(state.candidates.len(), 1 + 1 + 6);
    assert_eq!(asked.len(), 4);
}

#[test]
fn the_front_holds_what_nothing_as_cheap_beats() {
    let mut state = State::default();
    for (i, (parameters, accuracy)) in [(10, 0.5), (20, 0.4), (20, 0.7), (30, 0.7), (40, 0.8)]
        .into_iter()
        .enumerate()
    {
        let mut one = made(None, 0, "one", &i.to_string());
        one.parameters = parameters;
        state.candidates.push(one);
        state.results.insert((i, 0), outcome(Some(accuracy)));
    }
    let mut objective = ObjectiveSpec::default();
    let all = [0, 1, 2, 3, 4];
    assert_eq!(state.ranked(&all, &objective), [4, 2, 3, 0, 1]);
    let ranked = state.ranked(&all, &objective);
    assert_eq!(state.front(&ranked, objective.cost), [4, 2, 0]);
    objective.select = Select::Front;
    assert_eq!(state.ranked(&all, &objective), [4, 2, 0, 3, 1]);
}

#[test]
fn moves_name_stages_and_same_networks_have_one_fingerprint() {
    let graph = network(Family::Residual, 0.25);
    let names: Vec<String> = moves(&graph, &MoveSpec::default())
        .into_iter()
        .map(|m| m.name)
        .collect();
    for name in [
        "widen all x1.5",
        "widen stage1 x1.5",
        "deepen stage1",
        "filter of stem.conv to 5",
    ] {
        assert!(
            names.iter().any(|n| n == name),
            "{name} is not in {names:?}"
        );
    }
    assert!(
        names.iter().any(|n| n.contains("and deepen it")),
        "{names:?}"
    );
    let text = graph.to_string();
    let renamed: Graph = text.replace("stem", "root").parse().unwrap();
    assert_ne!(graph.hash(), renamed.hash());
    assert_eq!(fingerprint(&graph), fingerprint(&renamed));
    assert_ne!(
        fingerprint(&graph),
        fingerprint(&network(Family::Residual, 0.5))
    );
    assert!(initialize::<f32>(&graph, 0).len() > 3);
}

#[test]
fn specs_are_checked_and_come_back() {
    let spec = ExploreSpec::embedded().unwrap();
    assert_eq!(
        ExploreSpec::from_toml(&spec.to_toml().unwrap()).unwrap(),
        spec
    );
    let text = spec.to_toml().unwrap();
    for (from, to, why) in [
        ("keep = 0.4", "keep = 1.4", "`keep`"),
        ("population = 8", "population = 0", "population"),
        ("[start.model]", "[start.other]", "other"),
    ] {
        assert!(text.contains(from), "{from} is not in\n{text}");
        let error = ExploreSpec::from_toml(&text.replace(from, to))
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn only_what_is_new_and_agreed_on_counts_as_a_gain() {
    use net2net_core::weights::{Tensor, Weights};
    use net2net_lab::explore::first_order_gain;
    let weights = |all: &[(&str, &[f32])]| {
        let mut weights = Weights::default();
        for (name, data) in all {
            weights.insert(*name, Tensor::new(vec![data.len()], data.to_vec()).unwrap());
        }
        weights
    };
    let old = [
        weights(&[("same", &[3.0]), ("wider", &[1.0])]),
        weights(&[("same", &[4.0]), ("wider", &[1.0])]),
    ];
    let new = [
        weights(&[
            ("same", &[3.0]),
            ("wider", &[1.0, 2.0]),
            ("new", &[5.0, -1.0]),
        ]),
        weights(&[
            ("same", &[4.0]),
            ("wider", &[1.0, 2.0]),
            ("new", &[5.0, 1.0]),
        ]),
    ];
    assert!((first_order_gain(&old, &new) - (4.0 + 24.0)).abs() < 1e-9);
}
