//! The students of one growth: Net2Net, and every baseline that the spec names.

use net2net_core::apply::Growth;
use net2net_core::graph::Graph;
use net2net_core::io::Checkpoint;
use net2net_core::plan::Symmetry;
use net2net_core::request::Request;
use net2net_core::weights::{Weights, initialize};

use super::baseline::{Baseline, Hints, Paper};
use super::error::CompareError;
use super::runner::{Runner, Trained};
use super::spec::{GrowthSpec, StudentSpec};
use super::start::{Which, reinitialize};
use crate::report::{Comparison, Kind};
use crate::train::{Cost, Job, Lesson, MODEL_FILE, Model, Recipe, incoming_copies};

/// One growth of one seed.
pub(super) struct Grown<'a> {
    pub(super) seed: u64,
    pub(super) spec: &'a GrowthSpec,
    pub(super) student: &'a StudentSpec,
    pub(super) teacher: &'a Trained,
    growth: &'a Growth,
    /// The weights that were proved to be the teacher's function.
    weights: &'a Weights<f32>,
}

impl Runner<'_> {
    /// Trains all students of one growth; false if interrupted.
    pub(super) fn students(
        &mut self,
        seed: u64,
        spec: &GrowthSpec,
        teacher: &Trained,
        growth: &Growth,
        weights: &Weights<f32>,
        comparison: &mut Comparison,
    ) -> Result<bool, CompareError> {
        let student = self.spec.student.of(spec);
        let grown = Grown {
            seed,
            spec,
            student: &student,
            teacher,
            growth,
            weights,
        };
        let recipe = self.after_growth(&student, teacher);
        let mut job = self.student(&grown, Kind::Net2net, recipe);
        job.weights = weights.clone();
        job.copies = incoming_copies(growth);
        job.optimizer = student.moments.grow(growth, &teacher.optimizer)?;
        if !self.run(job, comparison)? {
            return Ok(false);
        }
        for baseline in &student.baselines {
            // The teacher trained on serves all growths, and scratch all of one architecture: it
            // would be the same run again.
            let there = match baseline {
                Baseline::Continued => true,
                Baseline::Scratch => comparison.run(&spec.name, Kind::Scratch, seed).is_some(),
                _ => false,
            };
            if there {
                continue;
            }
            let Some(job) = self.baseline(&grown, baseline)? else {
                return Ok(false);
            };
            if !self.run(job, comparison)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn student(&self, grown: &Grown<'_>, kind: Kind, recipe: Recipe) -> Job {
        let graph = grown.growth.graph().clone();
        self.job(grown.seed, Some(&grown.spec.name), kind, graph, recipe)
    }

    /// The job of a baseline, ready to run; `None` if what it needs was interrupted.
    ///
    /// Only Net2Net takes the optimizer's moments along: elsewhere they would belong to weights
    /// that are no longer there.
    fn baseline(
        &mut self,
        grown: &Grown<'_>,
        baseline: &Baseline,
    ) -> Result<Option<Job>, CompareError> {
        let recipe = match baseline.fresh_recipe(grown.student) {
            Some(recipe) => recipe,
            None => self.after_growth(grown.student, grown.teacher),
        };
        let mut job = self.student(grown, baseline.kind(grown.spec), recipe);
        let anew = |which| reinitialize(grown.growth.graph(), grown.weights, which, grown.seed);
        match baseline {
            Baseline::Scratch | Baseline::ScratchShort | Baseline::Continued => {}
            Baseline::Random => {
                job.weights = grown.growth.padded(&grown.teacher.weights, grown.seed)?
            }
            Baseline::Reinit => job.weights = anew(Which::Random),
            Baseline::ReinitFirst => job.weights = anew(Which::First),
            Baseline::ReinitLast => job.weights = anew(Which::Last),
            Baseline::Distilled(settings) => {
                job.lesson = distilled(grown.teacher, settings.temperature, settings.weight);
            }
            Baseline::Hinted(settings) => {
                if !self.guide(grown, settings, &mut job)? {
                    return Ok(None);
                }
            }
            Baseline::Net2netPaper(settings) => self.as_in_the_paper(grown, *settings, &mut job)?,
            Baseline::Net2netStages(settings) => {
                if !self.in_stages(grown, *settings, &mut job)? {
                    return Ok(None);
                }
            }
        }
        Ok(Some(job))
    }

    /// The first stage of hint training, whose weights and cost the second one takes over; false
    /// if interrupted.
    fn guide(
        &mut self,
        grown: &Grown<'_>,
        settings: &Hints,
        job: &mut Job,
    ) -> Result<bool, CompareError> {
        let teacher = &grown.teacher.graph;
        let networks = settings.networks(teacher, &job.graph, &grown.spec.name)?;
        let mut first = self.student(grown, Kind::Hinted, job.recipe.clone());
        first.id = format!("seed{}/{}/hint", grown.seed, grown.spec.name);
        first.directory = self.directory(&first.id);
        first.recipe.epochs = settings.epochs;
        first.recipe.warmup_epochs = first.recipe.warmup_epochs.min(settings.epochs);
        if let Some(rate) = settings.learning_rate {
            first.recipe.learning_rate = rate;
        }
        first.weights = initialize(&networks.student, grown.seed);
        // What both stages share begins with the same numbers as in every other student.
        overwrite(&mut first.weights, &job.weights);
        first.graph = networks.student;
        first.lesson = Lesson::Hint {
            teacher: Model {
                weights: restricted(&grown.teacher.finished, &networks.teacher),
                graph: networks.teacher,
            },
        };
        let Some(record) = self.run_aside(&first)? else {
            return Ok(false);
        };
        let trained = Checkpoint::read(&first.directory.join(MODEL_FILE))?.weights;
        overwrite(&mut job.weights, &trained);
        if let Some(last) = record.metrics.last() {
            job.before = Cost {
                steps: last.step,
                flops: last.flops,
                seconds: last.seconds,
            };
        }
        job.lesson = distilled(grown.teacher, settings.temperature, settings.weight);
        Ok(true)
    }

    /// Even shares and noise on incoming weights, in a plan of its own that is not exact.
    fn as_in_the_paper(
        &self,
        grown: &Grown<'_>,
        settings: Paper,
        job: &mut Job,
    ) -> Result<(), CompareError> {
        let noisy = Request {
            symmetry: Symmetry::Incoming {
                std: settings.noise,
            },
            ..grown.spec.grow.clone()
        };
        let directory = self.directory(&format!("seed{}/{}", grown.seed, grown.spec.name));
        let path = directory.join("paper.json");
        let (plan, growth) = self.plan(grown.seed, grown.spec, &noisy, grown.teacher, &path)?;
        self.keep_plan(&plan, &path)?;
        job.weights = growth.weights(&grown.teacher.weights)?;
        job.copies = incoming_copies(&growth);
        job.recipe.learning_rate = self.spec.teacher.recipe.learning_rate * settings.rate;
        job.recipe.warmup_epochs = 0.0;
        Ok(())
    }
}

fn distilled(teacher: &Trained, temperature: f64, weight: f64) -> Lesson {
    Lesson::Distilled {
        teacher: Model {
            graph: teacher.graph.clone(),
            weights: teacher.finished.clone(),
        },
        temperature,
        weight,
    }
}

/// Puts those tensors of `from` in that `weights` has.
fn overwrite(weights: &mut Weights<f32>, from: &Weights<f32>) {
    for (name, tensor) in from.iter() {
        if weights
            .get(name)
            .is_some_and(|own| own.shape() == tensor.shape())
        {
            weights.insert(name, tensor.clone());
        }
    }
}

/// Those weights that a part of the network has.
fn restricted(weights: &Weights<f32>, part: &Graph) -> Weights<f32> {
    let mut own = Weights::default();
    for (name, tensor) in weights
        .iter()
        .filter(|(name, _)| part.lookup(name).is_some())
    {
        own.insert(name, tensor.clone());
    }
    own
}
