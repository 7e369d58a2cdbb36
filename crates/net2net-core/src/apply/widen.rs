//! Widening several spaces in one pass over the graph.

use std::collections::{BTreeMap, HashMap};

use super::{ApplyError, Lift, Origin, Stage};
use crate::dims::{AtomId, AxisMap, AxisRole, Grown, LeafMap, Spaces};
use crate::graph::{Extent, Graph, Shape, Source, ValueId};
use crate::ops::Role;
use crate::plan::{NoiseKind, Widen, check_sizes};

/// Shares of one unit's copies may differ from 1 by this much, for the rounding of a division.
const SHARE_TOLERANCE: f64 = 1e-12;

/// Rebuilds the graph with all of the given spaces widened. `first` is the number of the first
/// step in its plan.
pub(super) fn widen(graph: &Graph, steps: &[&Widen], first: usize) -> Result<Stage, ApplyError> {
    let spaces = Spaces::infer(graph);
    let mut widened: HashMap<AtomId, &Widen> = HashMap::new();
    for (number, step) in (first..).zip(steps) {
        let id = check(&spaces, step, number)?;
        if widened.insert(id, step).is_some() {
            let why = format!("`{}` is widened twice in one run of steps", step.space);
            return Err(ApplyError::Invalid { step: number, why });
        }
    }
    let sizes: HashMap<AtomId, usize> = widened
        .iter()
        .map(|(id, step)| (*id, step.source.len()))
        .collect();
    check_sizes(graph, &spaces, &sizes).map_err(|refusal| {
        let at = steps.iter().position(|step| step.space == refusal.space);
        let step = first + at.unwrap_or(0);
        ApplyError::Refused { step, refusal }
    })?;
    let grown = resized(graph, &spaces, &sizes)?;
    let mut origins = BTreeMap::new();
    let roles = graph.parameter_roles();
    for id in graph.parameters() {
        let mut grows = false;
        for dim in spaces.axes(id) {
            dim.for_each_atom(&mut |atom| grows |= widened.contains_key(&atom));
        }
        // Maps are as long as axes, so none is made for a parameter that nothing touches.
        if !grows {
            continue;
        }
        let lift = lift(graph, &spaces, &widened, id, roles.get(&id).copied());
        if lift.axes.iter().any(|map| !map.is_identity()) {
            origins.insert(graph.get(id).name.clone(), Origin::Lifted(lift));
        }
    }
    Ok(Stage {
        graph: grown,
        origins,
    })
}

/// A widening that is onto, whose shares sum to one, of a space that may grow so.
fn check(spaces: &Spaces, step: &Widen, number: usize) -> Result<AtomId, ApplyError> {
    let refuse = |refusal| ApplyError::Refused {
        step: number,
        refusal,
    };
    let invalid = |why: String| ApplyError::Invalid { step: number, why };
    let id = spaces.find(&step.space).map_err(refuse)?;
    let space = &spaces.all()[id.index()];
    let old = space.size.fixed().unwrap_or(0);
    if step.source.len() < old || step.shares.len() != step.source.len() {
        return Err(invalid(format!(
            "`{}` has {old} units, and the plan gives {} sources and {} shares",
            step.space,
            step.source.len(),
            step.shares.len()
        )));
    }
    let mut sums = vec![0.0; old];
    let mut counts = vec![0usize; old];
    for (source, share) in step.source.iter().zip(&step.shares) {
        let Some(sum) = sums.get_mut(*source as usize) else {
            return Err(invalid(format!(
                "unit {source} of `{}` does not exist",
                step.space
            )));
        };
        *sum += share;
        counts[*source as usize] += 1;
    }
    if let Some(unit) = counts.iter().position(|count| *count == 0) {
        return Err(invalid(format!(
            "unit {unit} of `{}` has no copy",
            step.space
        )));
    }
    // A share that is not a number is refused too.
    let whole = |sum: &f64| (sum - 1.0).abs() <= SHARE_TOLERANCE;
    let off = sums.iter().position(|sum| !whole(sum));
    if let Some(unit) = off {
        return Err(invalid(format!(
            "the shares of the copies of unit {unit} of `{}` sum to {}, not 1",
            step.space, sums[unit]
        )));
    }
    if space.uniform && counts.iter().any(|count| *count != counts[0]) {
        return Err(invalid(format!(
            "a mean is taken over `{}`, so all of its units need equally many copies",
            step.space
        )));
    }
    if step.noise.is_some_and(|noise| !noise.std.is_finite()) {
        return Err(invalid(format!(
            "the noise of `{}` is not finite",
            step.space
        )));
    }
    Ok(id)
}

/// The graph with other sizes of some of its spaces.
pub(crate) fn resized(
    graph: &Graph,
    spaces: &Spaces,
    sizes: &HashMap<AtomId, usize>,
) -> Result<Graph, ApplyError> {
    let size_of = |atom: AtomId| sizes.get(&atom).copied();
    let shape_of = |id: ValueId| -> Shape {
        let axes = spaces.axes(id).iter();
        axes.map(|dim| spaces.extent(dim, &size_of)).collect()
    };
    let mut grown = Graph::new(graph.name());
    // Ids are the same in both graphs, since values are added in the same order.
    for id in graph.value_ids() {
        let value = graph.get(id);
        match value.source {
            Source::Input => {
                grown.input(value.name.clone(), value.shape.clone())?;
            }
            Source::Parameter => {
                let sizes: Vec<usize> = shape_of(id)
                    .extents()
                    .iter()
                    .map(|extent| extent.fixed().unwrap_or(1))
                    .collect();
                grown.parameter(value.name.clone(), &sizes)?;
            }
            Source::Node { index: 0, node } => {
                let node = graph.at(node);
                let wanted: Vec<Shape> = node.outputs.iter().map(|id| shape_of(*id)).collect();
                let op = node.op.resize(&Grown {
                    spaces,
                    node,
                    inputs: grown.shapes(&node.inputs),
                    outputs: &wanted,
                    size_of: &size_of,
                });
                let names: Vec<String> = graph_names(graph, &node.outputs);
                let outputs = grown.node_with_outputs(&names, op, &node.inputs)?;
                for (output, wanted) in outputs.iter().zip(&wanted) {
                    let found = &grown.get(*output).shape;
                    if found != wanted {
                        return Err(ApplyError::Mismatch {
                            node: names[0].clone(),
                            why: format!("it became {found}, and its readers expect {wanted}"),
                        });
                    }
                }
            }
            Source::Node { .. } => {}
        }
    }
    for output in graph.outputs() {
        grown.output(*output);
    }
    Ok(grown)
}

fn graph_names(graph: &Graph, ids: &[ValueId]) -> Vec<String> {
    ids.iter().map(|id| graph.get(*id).name.clone()).collect()
}

fn lift(
    graph: &Graph,
    spaces: &Spaces,
    widened: &HashMap<AtomId, &Widen>,
    parameter: ValueId,
    role: Option<Role>,
) -> Lift {
    let size = |atom: AtomId| match spaces.all()[atom.index()].size {
        Extent::Fixed(size) => size,
        Extent::Batch => 1,
    };
    let mut lift = Lift {
        axes: Vec::new(),
        noise: Vec::new(),
    };
    for (axis, dim) in spaces.axes(parameter).iter().enumerate() {
        let leaf = |atom: AtomId| {
            let widen = widened.get(&atom)?;
            let summed = spaces.role(parameter, axis, atom) == AxisRole::Contract;
            let ones = vec![1.0; widen.source.len()];
            let (factor, gradient) = if summed {
                (widen.shares.clone(), ones)
            } else {
                (ones, widen.shares.clone())
            };
            Some(LeafMap {
                source: widen.source.clone(),
                factor,
                gradient,
                summed,
            })
        };
        lift.axes.push(AxisMap::lift(dim, &leaf, &size));
        dim.for_each_atom(&mut |atom| {
            let Some(noise) = widened.get(&atom).and_then(|widen| widen.noise) else {
                return;
            };
            let summed = spaces.role(parameter, axis, atom) == AxisRole::Contract;
            let wanted = match noise.kind {
                NoiseKind::ZeroSum => summed,
                NoiseKind::Incoming => !summed && role == Some(Role::Weight),
            };
            if wanted && !lift.noise.iter().any(|(at, _)| *at == axis) {
                lift.noise.push((axis, noise));
            }
        });
    }
    debug_assert_eq!(lift.axes.len(), graph.get(parameter).shape.rank());
    lift
}
