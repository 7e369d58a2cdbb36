//! Which candidates are made and trained: pure functions of what is known.
//!
//! The same state gives the same answer, so a search that is done again from its files takes the same way. Nothing here
//! knows of time; budgets are the loop's.

use net2net_core::weights::stream;
use rand::RngExt;

use super::spec::{ObjectiveSpec, Search};
use super::state::State;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Find out how a candidate could grow.
    Score(usize),
    /// Make candidates.
    Adopt(Vec<Adoption>),
    /// Train candidates for a rung each.
    Train(Vec<(usize, usize)>),
    /// Nothing is left to do.
    Done,
}

/// A candidate to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// What it grows from.
    pub parent: usize,
    /// Which of the parent's moves; none to train it on without growth.
    pub proposal: Option<usize>,
    /// Its generation.
    pub generation: usize,
}

/// What a search does in a state. `growth` is whether weights are kept, so that training on without growth says something.
pub fn next(
    search: &Search,
    objective: &ObjectiveSpec,
    growth: bool,
    seed: u64,
    state: &State,
) -> Next {
    match search {
        Search::Halving {
            population,
            rungs,
            keep,
            generations,
            parents,
        } => {
            let halving = Halving {
                population: *population,
                rungs: rungs.len(),
                keep: *keep,
                parents: *parents,
                growth,
            };
            halving.next(*generations, objective, state)
        }
        Search::Evolution {
            population,
            sample,
            children,
            brood,
        } => evolution(
            *population,
            *sample,
            *children,
            *brood,
            objective,
            seed,
            state,
        ),
        Search::Grid { most } => {
            let halving = Halving {
                population: *most,
                rungs: 1,
                keep: 1.0,
                parents: 1,
                growth,
            };
            halving.next(1, objective, state)
        }
    }
}

struct Halving {
    population: usize,
    rungs: usize,
    keep: f64,
    parents: usize,
    growth: bool,
}

impl Halving {
    fn next(&self, generations: usize, objective: &ObjectiveSpec, state: &State) -> Next {
        for generation in 1..=generations {
            let of = |g: usize| -> Vec<usize> {
                let all = 0..state.candidates.len();
                all.filter(|i| state.candidates[*i].generation == g)
                    .collect()
            };
            let members = of(generation);
            if members.is_empty() {
                let mut parents = match generation {
                    1 => vec![0],
                    // The best so far, of whichever generation, that have something left to try.
                    _ => {
                        let before = (1..generation).flat_map(|g| self.finalists(&of(g), state));
                        let all: Vec<usize> = std::iter::once(0).chain(before).collect();
                        state.ranked(&all, objective)
                    }
                };
                parents.retain(|parent| state.has_something_new(*parent));
                parents.truncate(self.parents);
                return match parents.iter().find(|p| !state.moves.contains_key(*p)) {
                    Some(parent) => Next::Score(*parent),
                    None => self.adopt(&parents, generation, state),
                };
            }
            let mut alive = members;
            for rung in 0..self.rungs {
                let open = |i: &&usize| !state.results.contains_key(&(**i, rung));
                let missing: Vec<(usize, usize)> =
                    alive.iter().filter(open).map(|i| (*i, rung)).collect();
                if !missing.is_empty() {
                    return Next::Train(missing);
                }
                alive = self.survivors(&alive, rung, objective, state);
            }
        }
        Next::Done
    }

    /// The better part of those that trained at a rung, as they were then.
    fn survivors(
        &self,
        alive: &[usize],
        rung: usize,
        objective: &ObjectiveSpec,
        state: &State,
    ) -> Vec<usize> {
        let mut then = state.clone();
        then.results.retain(|(_, r), _| *r <= rung);
        let mut ranked = then.ranked(alive, objective);
        let count = (alive.len() as f64 * self.keep).ceil() as usize;
        ranked.truncate(count.max(1));
        ranked
    }

    /// Those that have gone furthest.
    fn finalists(&self, members: &[usize], state: &State) -> Vec<usize> {
        let rung = |i: &usize| state.last(*i).map(|(rung, _)| rung);
        let furthest = members.iter().filter_map(rung).max();
        let last = members.iter().filter(|i| rung(i) == furthest);
        last.copied().collect()
    }

    /// The parents' best moves in turn, and the first parent trained on.
    fn adopt(&self, parents: &[usize], generation: usize, state: &State) -> Next {
        let mut adopted: Vec<Adoption> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        if self.growth
            && self.population > 1
            && let Some(parent) = parents.first()
            && !state.is_trained_on(*parent)
        {
            adopted.push(Adoption {
                parent: *parent,
                proposal: None,
                generation,
            });
        }
        let most = |p: &usize| state.moves.get(p).map_or(0, Vec::len);
        let longest = parents.iter().map(most).max().unwrap_or(0);
        for (rank, parent) in (0..longest).flat_map(|rank| parents.iter().map(move |p| (rank, *p)))
        {
            let Some(proposal) = state.moves.get(&parent).and_then(|all| all.get(rank)) else {
                continue;
            };
            let known = state.has(&proposal.fingerprint) || seen.contains(&&*proposal.fingerprint);
            if known || adopted.len() >= self.population {
                continue;
            }
            seen.push(&proposal.fingerprint);
            adopted.push(Adoption {
                parent,
                proposal: Some(rank),
                generation,
            });
        }
        // With nothing new to grow, training on alone is no search.
        match adopted.iter().any(|a| a.proposal.is_some()) {
            true => Next::Adopt(adopted),
            false => Next::Done,
        }
    }
}

fn evolution(
    population: usize,
    sample: usize,
    children: usize,
    brood: usize,
    objective: &ObjectiveSpec,
    seed: u64,
    state: &State,
) -> Next {
    let all: Vec<usize> = (1..state.candidates.len()).collect();
    let open = all
        .iter()
        .filter(|i| !state.results.contains_key(&(**i, 0)));
    let missing: Vec<(usize, usize)> = open.map(|i| (*i, 0)).collect();
    if !missing.is_empty() {
        return Next::Train(missing);
    }
    let left = children.saturating_sub(all.len());
    if left == 0 {
        return Next::Done;
    }
    if !state.moves.contains_key(&0) {
        return Next::Score(0);
    }
    let living: Vec<usize> = all.iter().rev().take(population).copied().collect();
    let mut adopted: Vec<Adoption> = Vec::new();
    // The first ones all come from the start; as many as live, as far as it has moves.
    let founding =
        all.len() < population && state.moves.get(&0).is_some_and(|m| m.len() > all.len());
    let wanted = match founding {
        true => left.min(population - all.len()),
        false => left.min(brood),
    };
    for place in 0..wanted {
        let mut random = stream(seed, &format!("child {}", all.len() + place));
        let parent = if founding {
            0
        } else {
            let drawn: Vec<usize> = (0..sample.min(living.len()))
                .map(|_| living[random.random_range(0..living.len())])
                .collect();
            state
                .ranked(&drawn, objective)
                .first()
                .copied()
                .unwrap_or(0)
        };
        let Some(moves) = state.moves.get(&parent) else {
            return Next::Score(parent);
        };
        let taken = |rank: usize| {
            let new = &moves[rank].fingerprint;
            let known = |a: &Adoption| {
                let adopted = a.proposal.and_then(|p| state.moves.get(&a.parent)?.get(p));
                adopted.is_some_and(|other| other.fingerprint == *new)
            };
            state.has(new) || adopted.iter().any(known)
        };
        let free: Vec<usize> = (0..moves.len()).filter(|rank| !taken(*rank)).collect();
        let proposal = if founding {
            free.first().copied()
        } else {
            by_rank(&free, random.random_range(0.0..1.0))
        };
        if let Some(proposal) = proposal {
            adopted.push(Adoption {
                parent,
                proposal: Some(proposal),
                generation: state.candidates[parent].generation + 1,
            });
        }
    }
    match adopted.is_empty() {
        true => Next::Done,
        false => Next::Adopt(adopted),
    }
}

/// One of several, the first with twice the chance of the second, three times that of the third, and so on.
fn by_rank(free: &[usize], at: f64) -> Option<usize> {
    let weight = |place: usize| 1.0 / (place + 1) as f64;
    let total: f64 = (0..free.len()).map(weight).sum();
    let mut left = at * total;
    for (place, rank) in free.iter().enumerate() {
        left -= weight(place);
        if left < 0.0 {
            return Some(*rank);
        }
    }
    free.last().copied()
}
