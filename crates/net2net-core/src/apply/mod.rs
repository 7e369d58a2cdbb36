//! Carrying out a plan: the graph is rebuilt, and so is every checkpoint of it.
//!
//! This is the only code that rewrites parameters. [`apply`] turns the graph into the grown one
//! and remembers, for each parameter, where its numbers come from; the resulting [`Growth`] then
//! grows weights, moving averages and optimizer state, in any precision, as often as asked.

mod builder;
mod copy;
mod enlarge;
mod insert;
mod join;
mod noise;
mod pad;
mod rewrite;
mod source;
mod take;
mod widen;

use std::collections::BTreeMap;

use net2net_kernels::Real;
use thiserror::Error;

pub(crate) use insert::Run;
pub use noise::LiftNoise;
pub use rewrite::{Fresh, Lift, Origin};
pub use source::{GrownSource, WideGrownSource};

use crate::dims::Refusal;
use crate::engine::{Moment, OptimizerState};
use crate::graph::{Graph, GraphError};
use crate::plan::{Insert, MAX_PARAMETERS, Plan, Step};
use crate::weights::{Source, Tensor, Weights, WeightsError, initialize};
use widen::Units;

/// Why a plan was not carried out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The plan was made for another graph.
    #[error(
        "the plan was made for the graph with hash {expected}, and this one has {found}; \
         use the model that the plan was made from"
    )]
    Parent {
        /// In the plan.
        expected: String,
        /// Of the graph.
        found: String,
    },
    /// Something cannot grow.
    #[error("step {step} of the plan: {refusal}")]
    Refused {
        /// Counted from one.
        step: usize,
        /// Why.
        refusal: Refusal,
    },
    /// A step that contradicts itself.
    #[error("step {step} of the plan is not valid: {why}")]
    Invalid {
        /// Counted from one.
        step: usize,
        /// What is wrong.
        why: String,
    },
    /// The grown graph is not valid: a fault in a rule.
    #[error("the grown graph is not valid: {0}")]
    Graph(#[from] GraphError),
    /// The grown graph does not fit together: a fault in a rule.
    #[error("the grown graph does not fit together at `{node}`: {why}")]
    Mismatch {
        /// Where.
        node: String,
        /// What differs.
        why: String,
    },
    /// The checkpoint does not belong to the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// One pass over the graph: several spaces at once, or several inserted layers.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The graph after the pass.
    pub graph: Graph,
    /// Where each of its parameters comes from.
    pub origins: BTreeMap<String, Origin>,
    /// For each node's value and each parameter of a copied block, the name of the one that it
    /// stands for.
    pub copied: BTreeMap<String, String>,
}

/// A plan carried out on a graph, ready to be carried out on its checkpoints.
#[derive(Clone, Debug)]
pub struct Growth {
    parent: Graph,
    stages: Vec<Stage>,
}

/// Rebuilds a graph by a plan. Steps that widen one after another are taken in one pass, and so are
/// those that extend, and those that insert, unless they build upon each other.
pub fn apply(graph: &Graph, plan: &Plan) -> Result<Growth, ApplyError> {
    graph.validate()?;
    let found = graph.hash();
    if found != plan.parent {
        return Err(ApplyError::Parent {
            expected: plan.parent.clone(),
            found,
        });
    }
    let stages = stages(graph, &plan.steps)?;
    Ok(Growth {
        parent: graph.clone(),
        stages,
    })
}

/// The passes that steps take.
fn stages(graph: &Graph, steps: &[Step]) -> Result<Vec<Stage>, ApplyError> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut at = 0;
    while at < steps.len() {
        let current = stages.last().map_or(graph, |stage| &stage.graph);
        let stage = match &steps[at] {
            Step::Insert(_) => insert_run(current, steps, &mut at)?,
            Step::Enlarge(step) => {
                at += 1;
                enlarge::enlarge(current, step, at)?
            }
            Step::Join(step) => {
                at += 1;
                join::join(current, step, at)?
            }
            Step::Pad(step) => {
                at += 1;
                pad::pad(current, step, at)?
            }
            Step::Widen(_) | Step::Extend(_) => {
                let first = at + 1;
                // One that extends what another widens reads sizes that are not there before it.
                let kind = std::mem::discriminant(&steps[at]);
                let alike = |step: &&Step| std::mem::discriminant(*step) == kind;
                let run = steps[at..].iter().take_while(alike);
                let run: Vec<_> = run.filter_map(Units::of).collect();
                at += run.len();
                widen::widen(current, &run, first)?
            }
        };
        stage.graph.validate()?;
        check_amount(&stage.graph, at)?;
        stages.push(stage);
    }
    Ok(stages)
}

/// Inserts as many layers as one pass takes, from the step at `at` on, which is moved behind them.
fn insert_run(graph: &Graph, steps: &[Step], at: &mut usize) -> Result<Stage, ApplyError> {
    let readers = graph.consumers();
    let mut run = Run::default();
    let mut inserted = Vec::new();
    while let Some(Step::Insert(step)) = steps.get(*at) {
        if !run.add(graph, &readers, step, *at + 1)? {
            break;
        }
        inserted.push(step);
        *at += 1;
    }
    run.build(graph, &inserted)
}

/// Refuses what inserted layers make too large; widening refuses by itself, and earlier.
fn check_amount(graph: &Graph, step: usize) -> Result<(), ApplyError> {
    let count = graph.parameter_count();
    if count <= MAX_PARAMETERS {
        return Ok(());
    }
    let why =
        format!("the network would have {count} parameters, and {MAX_PARAMETERS} are the most");
    Err(ApplyError::Invalid { step, why })
}

impl Growth {
    /// The grown graph.
    pub fn graph(&self) -> &Graph {
        self.stages
            .last()
            .map_or(&self.parent, |stage| &stage.graph)
    }

    /// No growth yet.
    pub(crate) fn none(graph: &Graph) -> Result<Growth, ApplyError> {
        graph.validate()?;
        Ok(Growth {
            parent: graph.clone(),
            stages: Vec::new(),
        })
    }

    /// This growth and then more steps; numbers in errors are those among the steps.
    pub(crate) fn then(&mut self, steps: &[Step]) -> Result<(), ApplyError> {
        let next = stages(self.graph(), steps)?;
        self.stages.extend(next);
        Ok(())
    }

    /// This growth and then a pass that inserts the steps; `last` is the number of the last one.
    pub(crate) fn insert(
        &mut self,
        run: Run,
        steps: &[&Insert],
        last: usize,
    ) -> Result<(), ApplyError> {
        let stage = run.build(self.graph(), steps)?;
        stage.graph.validate()?;
        check_amount(&stage.graph, last)?;
        self.stages.push(stage);
        Ok(())
    }

    /// The node's value or parameter of the old graph that a new one of a copied block stands for,
    /// back through all steps; `None` for everything else.
    pub fn copied_from<'g>(&'g self, name: &'g str) -> Option<&'g str> {
        let mut now = name;
        let mut found = false;
        for stage in self.stages.iter().rev() {
            if let Some(origin) = stage.copied.get(now) {
                now = origin;
                found = true;
            }
        }
        found.then_some(now)
    }

    /// The passes in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Grows weights, or a moving average of them.
    pub fn weights<T: Real>(&self, weights: &Weights<T>) -> Result<Weights<T>, ApplyError> {
        weights.check(&self.parent)?;
        let source = self.source(weights);
        let mut grown = Weights::default();
        for id in self.graph().parameters() {
            let name = &self.graph().get(id).name;
            grown.insert(name.clone(), source.tensor(name)?.into_owned());
        }
        grown.check(self.graph())?;
        Ok(grown)
    }

    /// Grows optimizer state: with r even copies, the first moment of what produces them is
    /// divided by r and the second by r²; what reads them keeps both. New layers start at zero.
    pub fn optimizer_state<T: Real>(
        &self,
        state: &OptimizerState<T>,
    ) -> Result<OptimizerState<T>, ApplyError> {
        self.state(state, moment_power)
    }

    /// Grows optimizer state without dividing it: each copy has its original's moments whole, as if
    /// each had the original's gradient. For comparison with [`Growth::optimizer_state`].
    pub fn undivided_state<T: Real>(
        &self,
        state: &OptimizerState<T>,
    ) -> Result<OptimizerState<T>, ApplyError> {
        self.state(state, |_| 0)
    }

    fn state<T: Real>(
        &self,
        state: &OptimizerState<T>,
        power: impl Fn(Moment) -> i32,
    ) -> Result<OptimizerState<T>, ApplyError> {
        let mut grown = OptimizerState {
            steps: state.steps,
            since: state.since.clone(),
            ..OptimizerState::default()
        };
        for stage in &self.stages {
            for (name, origin) in &stage.origins {
                if origin.is_new() {
                    grown.since.insert(name.clone(), state.steps);
                }
            }
        }
        for (moment, tensors) in &state.moments {
            let mut tensors = tensors.clone();
            for stage in &self.stages {
                // Running statistics have no moments; a parameter without one stays without.
                tensors = stage.rebuild_known(&tensors, |tensor, origin, sizes| match origin {
                    Origin::Kept => tensor.clone(),
                    Origin::Lifted(lift) => lift.shared(tensor, power(*moment)),
                    Origin::Copied(_) | Origin::Fresh(_) => Tensor::full(sizes, T::zero()),
                })?;
            }
            grown.moments.insert(*moment, tensors);
        }
        Ok(grown)
    }

    /// The baseline: the same architecture, old parameters where they were, everything new at
    /// random (*random pad* for width, *random initialization* for depth). Not exact.
    pub fn padded<T: Real>(
        &self,
        weights: &Weights<T>,
        seed: u64,
    ) -> Result<Weights<T>, ApplyError> {
        weights.check(&self.parent)?;
        let mut weights = weights.clone();
        for stage in &self.stages {
            let random: Weights<T> = initialize(&stage.graph, seed);
            weights = stage.rebuild(|name, origin, _| match origin {
                Origin::Kept => weights.require(name).cloned(),
                Origin::Lifted(lift) => Ok(lift.pad(weights.require(name)?, random.require(name)?)),
                Origin::Copied(_) | Origin::Fresh(_) => random.require(name).cloned(),
            })?;
        }
        Ok(weights)
    }

    /// For each parameter that a space touches on its producing side, the groups of positions
    /// along an axis that copy one original: what should part in training.
    pub fn copies(&self) -> Vec<Copies> {
        let mut copies: Vec<Copies> = Vec::new();
        for stage in &self.stages {
            // What an earlier stage copied may have moved along the axis.
            for known in &mut copies {
                if let Some(Origin::Lifted(lift)) = stage.origins.get(&known.parameter) {
                    let map = &lift.axes[known.axis];
                    let moved = |old: usize| map.source.iter().position(|s| *s as usize == old);
                    let pairs = known.pairs.iter();
                    known.pairs = pairs
                        .filter_map(|(a, b)| Some((moved(*a)?, moved(*b)?)))
                        .collect();
                }
            }
            for (name, origin) in &stage.origins {
                if let Origin::Lifted(lift) = origin {
                    copies.extend(lift.copies(name));
                }
            }
        }
        copies
    }
}

/// Positions along one axis of a parameter that are copies of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// The parameter.
    pub parameter: String,
    /// The axis.
    pub axis: usize,
    /// Pairs of an original's position and a copy's.
    pub pairs: Vec<(usize, usize)>,
}

impl Stage {
    /// Tensors for all parameters of the stage's graph.
    fn rebuild<T: Real>(
        &self,
        mut tensor: impl FnMut(&str, &Origin, &[usize]) -> Result<Tensor<T>, WeightsError>,
    ) -> Result<Weights<T>, ApplyError> {
        let mut rebuilt = Weights::default();
        for id in self.graph.parameters() {
            let value = self.graph.get(id);
            let origin = self.origins.get(&value.name).unwrap_or(&Origin::Kept);
            rebuilt.insert(
                value.name.clone(),
                tensor(&value.name, origin, &value.shape.at(1))?,
            );
        }
        Ok(rebuilt)
    }

    /// The same for those parameters that are there; new layers' ones are given their own size.
    fn rebuild_known<T: Real>(
        &self,
        tensors: &Weights<T>,
        mut grow: impl FnMut(&Tensor<T>, &Origin, &[usize]) -> Tensor<T>,
    ) -> Result<Weights<T>, ApplyError> {
        let mut rebuilt = Weights::default();
        let roles = self.graph.parameter_roles();
        for id in self.graph.parameters() {
            let value = self.graph.get(id);
            let sizes = value.shape.at(1);
            let origin = self.origins.get(&value.name).unwrap_or(&Origin::Kept);
            let trained = roles.get(&id).is_none_or(|role| role.is_trained());
            match (origin, tensors.get(&value.name)) {
                (origin, _) if origin.is_new() && trained => {
                    rebuilt.insert(value.name.clone(), Tensor::full(&sizes, T::zero()));
                }
                (_, Some(tensor)) => {
                    rebuilt.insert(value.name.clone(), grow(tensor, origin, &sizes));
                }
                (_, None) => {}
            }
        }
        Ok(rebuilt)
    }
}

/// What growth does to a moment: see [`Growth::optimizer_state`].
pub(crate) fn moment_power(moment: Moment) -> i32 {
    match moment {
        Moment::First => 1,
        Moment::Second => 2,
    }
}
