//! Growth in several steps: the student widens a part of the way, trains on, and widens again.

use std::collections::BTreeMap;

use net2net_core::dims::Spaces;
use net2net_core::io::Checkpoint;
use net2net_core::plan::{Plan, Step};
use net2net_core::request::Request;

use super::baseline::Stages;
use super::error::CompareError;
use super::runner::{Runner, Trained, make_folder};
use super::student::Grown;
use crate::report::Kind;
use crate::train::{Cost, Job, MODEL_FILE, Recipe, Schedule, incoming_copies};

/// A space's size in the teacher and in the student.
type Sizes = BTreeMap<String, (usize, usize)>;

impl Runner<'_> {
    /// Trains all stages but the last, and makes a job the last one; false if interrupted.
    ///
    /// Each stage has the same part of the student's epochs, and widens by the same factor; one in which
    /// rounding leaves nothing to widen is left out. The rate stays at its peak until the last stage,
    /// whose schedule is the student's; what is no width is put in with the last stage.
    pub(super) fn in_stages(
        &mut self,
        grown: &Grown<'_>,
        settings: Stages,
        job: &mut Job,
    ) -> Result<bool, CompareError> {
        let folder = self.directory(&format!("seed{}/{}", grown.seed, grown.spec.name));
        let whole = folder.join("plan.json");
        let (plan, _) = self.plan(
            grown.seed,
            grown.spec,
            &grown.spec.grow,
            grown.teacher,
            &whole,
        )?;
        let all = sizes(&plan);
        // Spaces of inserted layers are there with the last stage.
        let spaces = Spaces::infer(&grown.teacher.graph);
        let mut own = all.clone();
        own.retain(|space, _| spaces.find(space).is_ok());
        let mut current = grown.teacher.clone();
        let requests = requests(&grown.spec.grow, &own, &all, settings.stages);
        for (stage, request) in (1..).zip(&requests) {
            let last = stage == requests.len();
            let directory = folder.join(format!("stage{stage}"));
            make_folder(&directory)?;
            let path = directory.join("plan.json");
            let (plan, growth) = self.plan(grown.seed, grown.spec, request, &current, &path)?;
            let (weights, _) =
                self.prove(grown.seed, grown.spec, &current, &plan, &growth, &directory)?;
            let mut next = job.clone();
            next.graph = growth.graph().clone();
            next.weights = weights;
            next.copies = incoming_copies(&growth);
            next.optimizer = grown.student.moments.grow(&growth, &current.optimizer)?;
            next.recipe = part(&job.recipe, stage, requests.len());
            if last {
                *job = next;
                break;
            }
            next.id = format!("seed{}/{}/stage{stage}", grown.seed, grown.spec.name);
            next.directory = directory.join(Kind::Net2netStages.slug());
            let Some(record) = self.run_aside(&next)? else {
                return Ok(false);
            };
            let checkpoint = Checkpoint::read(&next.directory.join(MODEL_FILE))?;
            current = Trained {
                graph: checkpoint.graph,
                finished: checkpoint.weights.clone(),
                weights: checkpoint.weights,
                optimizer: checkpoint.optimizer,
                rate: next.recipe.learning_rate,
            };
            if let Some(last) = record.metrics.last() {
                job.before = Cost {
                    steps: last.step,
                    flops: last.flops,
                    seconds: last.seconds,
                };
            }
        }
        Ok(true)
    }
}

/// What each widened space becomes.
fn sizes(plan: &Plan) -> Sizes {
    let widened = plan.steps.iter().filter_map(|step| match step {
        Step::Widen(widen) => {
            let old = widen
                .source
                .iter()
                .max()
                .map_or(0, |last| *last as usize + 1);
            Some((widen.space.clone(), (old, widen.source.len())))
        }
        _ => None,
    });
    widened.collect()
}

/// The growths of all stages that grow something. `own` are the sizes of the teacher's spaces, `all` those of the student's.
fn requests(whole: &Request, own: &Sizes, all: &Sizes, stages: usize) -> Vec<Request> {
    let before = (1..stages).map(|stage| request(whole, own, stage, stages));
    let every = before.chain([request(whole, all, stages, stages)]);
    every.filter(asks_for_something).collect()
}

fn asks_for_something(request: &Request) -> bool {
    let nothing = Request {
        mapping: request.mapping,
        symmetry: request.symmetry,
        spaces: request.spaces.clone(),
        pairs: request.pairs,
        ..Request::default()
    };
    *request != nothing
}

/// The growth of a stage: of the last one, all that is left.
fn request(whole: &Request, sizes: &Sizes, stage: usize, stages: usize) -> Request {
    let share = stage as f64 / stages as f64;
    let at = |share: f64, (old, new): (usize, usize)| {
        let factor = new as f64 / old.max(1) as f64;
        (old as f64 * factor.powf(share)).round() as usize
    };
    let before = (stage - 1) as f64 / stages as f64;
    let grows = |pair: &(usize, usize)| at(share, *pair) > at(before, *pair);
    let growing = sizes.iter().filter(|(_, pair)| grows(pair));
    let sizes = growing
        .map(|(space, pair)| (space.clone(), at(share, *pair)))
        .collect();
    match stage == stages {
        true => Request {
            widen: None,
            target: None,
            round_to: None,
            factors: BTreeMap::new(),
            sizes,
            ..whole.clone()
        },
        false => Request {
            sizes,
            mapping: whole.mapping,
            symmetry: whole.symmetry,
            ..Request::default()
        },
    }
}

/// A stage's part of a recipe.
fn part(whole: &Recipe, stage: usize, stages: usize) -> Recipe {
    let epochs = whole.epochs / stages as f64;
    let warmup_epochs = match stage {
        1 => whole.warmup_epochs.min(epochs),
        _ => 0.0,
    };
    let schedule = match stage == stages {
        true => whole.schedule,
        false => Schedule::Constant,
    };
    Recipe {
        epochs,
        warmup_epochs,
        schedule,
        ..whole.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_end_where_one_step_does() {
        let sizes = Sizes::from([("a".to_owned(), (4, 16)), ("b".to_owned(), (3, 4))]);
        let whole: Request = Request {
            deepen: vec!["*".to_owned()],
            ..serde_json::from_str(r#"{ "widen": 4.0 }"#).unwrap()
        };
        let stages: Vec<Request> = (1..=2).map(|k| request(&whole, &sizes, k, 2)).collect();
        let of = |stage: usize, space: &str| stages[stage].sizes.get(space).copied();
        assert_eq!((of(0, "a"), of(1, "a")), (Some(8), Some(16)));
        // 3 · √(4/3) is 3.46: it stays for now.
        assert_eq!((of(0, "b"), of(1, "b")), (None, Some(4)));
        assert!(stages[0].deepen.is_empty() && !stages[1].deepen.is_empty());
        assert!(stages.iter().all(|stage| stage.widen.is_none()));
    }

    #[test]
    fn stages_without_growth_are_left_out() {
        let whole: Request = serde_json::from_str(r#"{ "deepen": ["*"] }"#).unwrap();
        let none = Sizes::new();
        assert_eq!(requests(&whole, &none, &none, 3).len(), 1);
        let one = Sizes::from([("a".to_owned(), (4, 5))]);
        // 4 · (5/4)^(1/3) is 4.3, and its square 4.6; the last stage deepens.
        assert_eq!(requests(&whole, &one, &one, 3).len(), 2);
        let wider: Request = serde_json::from_str(r#"{ "widen": 1.25 }"#).unwrap();
        assert_eq!(requests(&wider, &one, &one, 3).len(), 1);
    }

    #[test]
    fn the_rate_falls_in_the_last_stage_alone() {
        let whole: Recipe = serde_json::from_str(
            r#"{ "epochs": 6.0, "learning_rate": 0.1, "warmup_epochs": 1.0, "schedule": { "kind": "linear" } }"#,
        )
        .unwrap();
        let parts: Vec<Recipe> = (1..=3).map(|stage| part(&whole, stage, 3)).collect();
        assert!(parts.iter().all(|part| part.epochs == 2.0));
        assert_eq!(parts[0].schedule, Schedule::Constant);
        assert_eq!(parts[2].schedule, whole.schedule);
        assert_eq!((parts[0].warmup_epochs, parts[1].warmup_epochs), (1.0, 0.0));
    }
}
