//! More units in a space that is normalised over.

use std::collections::{BTreeMap, HashMap};

use super::widen::{first_readers, fresh, is_free, made, rebuilt};
use super::{ApplyError, Fresh, Lift, Origin, Stage};
use crate::dims::{AtomId, AxisMap, LeafMap, Refusal, Spaces};
use crate::graph::{Graph, ValueId};
use crate::ops::{Op, Role};
use crate::plan::{Extend, Pad, Padded, Padding, Slices, check_sizes, paddable};

/// Rebuilds the graph with a padded space; `number` is that of the step in its plan.
pub(super) fn pad(graph: &Graph, step: &Pad, number: usize) -> Result<Stage, ApplyError> {
    let refuse = |refusal: Refusal| ApplyError::Refused {
        step: number,
        refusal,
    };
    let spaces = Spaces::infer(graph);
    let space = paddable(&spaces, &step.space).map_err(refuse)?;
    let old = spaces.all()[space.index()].size.at(1);
    if step.size <= old {
        let why = format!(
            "`{}` has {old} units, and the plan gives it {}",
            step.space, step.size
        );
        return Err(ApplyError::Invalid { step: number, why });
    }
    let padding = Padding::find(graph, &spaces, space, step.fill).map_err(refuse)?;
    let sizes = HashMap::from([(space, step.size)]);
    check_sizes(graph, &spaces, &sizes).map_err(refuse)?;
    let ratio = old as f64 / step.size as f64;
    let grown = rebuilt(graph, &spaces, &sizes, |node, op| {
        match padding.norms.contains(&node) {
            true => with_epsilon(op, ratio),
            false => op,
        }
    })?;
    let readers = first_readers(graph);
    let padder = Padder {
        spaces: &spaces,
        space,
        step,
        ratio,
    };
    let mut origins = BTreeMap::new();
    for (id, padded) in &padding.parameters {
        let sizes = grown.get(*id).shape.at(1);
        let lift = padder.lift(*id, padded, readers.get(id), &sizes);
        if !lift.is_identity() {
            origins.insert(graph.get(*id).name.clone(), Origin::Lifted(lift));
        }
    }
    Ok(Stage {
        graph: grown,
        origins,
        copied: BTreeMap::new(),
    })
}

/// A normalisation whose epsilon is multiplied as the mean of the squares is.
fn with_epsilon(mut op: Op, ratio: f64) -> Op {
    match &mut op {
        Op::LayerNorm(norm) => norm.epsilon *= ratio,
        Op::RmsNorm(norm) => norm.epsilon *= ratio,
        _ => {}
    }
    op
}

struct Padder<'a> {
    spaces: &'a Spaces,
    space: AtomId,
    step: &'a Pad,
    /// Old units by new ones.
    ratio: f64,
}

impl Padder<'_> {
    fn lift(
        &self,
        parameter: ValueId,
        padded: &Padded,
        reader: Option<&(&Op, usize)>,
        sizes: &[usize],
    ) -> Lift {
        let role = reader.map_or(Role::Activation, |(op, slot)| op.role(*slot));
        let size = |atom: AtomId| self.spaces.all()[atom.index()].size.at(1);
        let old = size(self.space);
        let mut lift = Lift::new(Vec::new());
        for (axis, dim) in self.spaces.axes(parameter).iter().enumerate() {
            let slices = padded.axes.get(&axis);
            let leaf = |atom: AtomId| -> Option<LeafMap> {
                let in_turn = slices == Some(&Slices::Free) && !is_free(role, reader);
                let silent = slices == Some(&Slices::Zero);
                (atom == self.space).then(|| fresh(old, self.step.size, silent, in_turn))
            };
            lift.axes.push(AxisMap::lift(dim, &leaf, &size));
            match slices {
                Some(Slices::Mean) => lift.mean = Some(axis),
                Some(Slices::Random | Slices::Free) if lift.made.is_none() => {
                    lift.made = Some(self.made(role, reader, sizes));
                }
                _ => {}
            }
        }
        // An even power needs no root.
        lift.scale = match padded.power % 2 {
            0 => self.ratio.powi(padded.power / 2),
            _ => self.ratio.sqrt().powi(padded.power),
        };
        lift
    }

    fn made(&self, role: Role, reader: Option<&(&Op, usize)>, sizes: &[usize]) -> Fresh {
        let extend = Extend {
            space: self.step.space.clone(),
            size: self.step.size,
            seed: Some(self.step.seed),
            fill: 0.0,
        };
        made(&extend, role, reader, sizes)
    }
}
