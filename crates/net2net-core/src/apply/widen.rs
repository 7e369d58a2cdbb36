//! More units in several spaces, in one pass over the graph.

use std::collections::{BTreeMap, HashMap};

use super::{ApplyError, Fresh, Lift, LiftNoise, Origin, Stage};
use crate::dims::{AtomId, AxisMap, AxisRole, Grown, LeafMap, Spaces};
use crate::graph::{Extent, Graph, NodeId, Shape, Source, ValueId};
use crate::ops::{Op, Role};
use crate::plan::{Extend, MAX_NOISE, NoiseKind, Step, Widen, check_sizes};

/// Shares of one unit's copies may differ from 1 by this much, for the rounding of a division.
const SHARE_TOLERANCE: f64 = 1e-12;

/// What a space gets more of.
#[derive(Clone, Copy)]
pub(super) enum Units<'a> {
    /// Copies.
    Copies(&'a Widen),
    /// Units that copy none.
    Fresh(&'a Extend),
}

impl<'a> Units<'a> {
    /// What a step adds to a space, if it is such a step.
    pub(super) fn of(step: &'a Step) -> Option<Self> {
        match step {
            Step::Widen(widen) => Some(Units::Copies(widen)),
            Step::Extend(extend) => Some(Units::Fresh(extend)),
            _ => None,
        }
    }

    fn space(&self) -> &'a str {
        match self {
            Units::Copies(widen) => &widen.space,
            Units::Fresh(extend) => &extend.space,
        }
    }

    fn size(&self) -> usize {
        match self {
            Units::Copies(widen) => widen.source.len(),
            Units::Fresh(extend) => extend.size,
        }
    }
}

/// Rebuilds the graph with more units in all of the given spaces. `first` is the number of the
/// first step in its plan.
pub(super) fn widen(graph: &Graph, steps: &[Units<'_>], first: usize) -> Result<Stage, ApplyError> {
    let spaces = Spaces::infer(graph);
    let mut widened: HashMap<AtomId, Units<'_>> = HashMap::new();
    for (number, step) in (first..).zip(steps) {
        let id = match step {
            Units::Copies(widen) => check(&spaces, widen, number)?,
            Units::Fresh(extend) => check_fresh(&spaces, extend, number)?,
        };
        if widened.insert(id, *step).is_some() {
            let why = format!("`{}` is widened twice in one run of steps", step.space());
            return Err(ApplyError::Invalid { step: number, why });
        }
    }
    let sizes: HashMap<AtomId, usize> = widened
        .iter()
        .map(|(id, step)| (*id, step.size()))
        .collect();
    check_sizes(graph, &spaces, &sizes).map_err(|refusal| {
        let at = steps.iter().position(|step| step.space() == refusal.space);
        let step = first + at.unwrap_or(0);
        ApplyError::Refused { step, refusal }
    })?;
    let grown = resized(graph, &spaces, &sizes)?;
    let mut origins = BTreeMap::new();
    let readers = first_readers(graph);
    for id in graph.parameters() {
        let mut grows = false;
        for dim in spaces.axes(id) {
            dim.for_each_atom(&mut |atom| grows |= widened.contains_key(&atom));
        }
        // Maps are as long as axes, so none is made for a parameter that nothing touches.
        if !grows {
            continue;
        }
        let lift = lift(&grown, &spaces, &widened, id, readers.get(&id));
        if !lift.is_identity() {
            origins.insert(graph.get(id).name.clone(), Origin::Lifted(lift));
        }
    }
    Ok(Stage {
        graph: grown,
        origins,
        copied: BTreeMap::new(),
    })
}

/// More units of a space that can have units which are no copies.
fn check_fresh(spaces: &Spaces, step: &Extend, number: usize) -> Result<AtomId, ApplyError> {
    let refuse = |refusal| ApplyError::Refused {
        step: number,
        refusal,
    };
    let id = spaces.extensible(&step.space).map_err(refuse)?;
    let old = spaces.all()[id.index()].size.fixed().unwrap_or(0);
    let sensible = step.size > old && step.size <= u32::MAX as usize && step.fill.is_finite();
    if !sensible {
        let why = format!(
            "`{}` has {old} units, and the plan gives it {}, filled with {}",
            step.space, step.size, step.fill
        );
        return Err(ApplyError::Invalid { step: number, why });
    }
    Ok(id)
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
    let strength = step.noise.map_or(0.0, |noise| noise.std);
    if !(0.0..=MAX_NOISE).contains(&strength) {
        return Err(invalid(format!(
            "the noise of `{}` is {strength} times the weights, and it must be in 0..={MAX_NOISE}",
            step.space
        )));
    }
    Ok(id)
}

/// The graph with other sizes of some of its spaces.
fn resized(
    graph: &Graph,
    spaces: &Spaces,
    sizes: &HashMap<AtomId, usize>,
) -> Result<Graph, ApplyError> {
    rebuilt(graph, spaces, sizes, |_, op| op)
}

/// The same with operators that `adjust` changes further.
pub(super) fn rebuilt(
    graph: &Graph,
    spaces: &Spaces,
    sizes: &HashMap<AtomId, usize>,
    adjust: impl Fn(NodeId, Op) -> Op,
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
                grown.input(value.name.clone(), shape_of(id))?;
            }
            Source::Parameter => {
                let sizes: Vec<usize> = shape_of(id)
                    .extents()
                    .iter()
                    .map(|extent| extent.fixed().unwrap_or(1))
                    .collect();
                grown.parameter(value.name.clone(), &sizes)?;
            }
            Source::Node { index: 0, node: at } => {
                let node = graph.at(at);
                let wanted: Vec<Shape> = node.outputs.iter().map(|id| shape_of(*id)).collect();
                let op = node.op.resize(&Grown {
                    spaces,
                    node,
                    inputs: grown.shapes(&node.inputs),
                    outputs: &wanted,
                    size_of: &size_of,
                });
                let names: Vec<String> = graph_names(graph, &node.outputs);
                let outputs = grown.node_with_outputs(&names, adjust(at, op), &node.inputs)?;
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

/// The first reader of each parameter: its operator and which input the parameter is.
pub(super) fn first_readers(graph: &Graph) -> HashMap<ValueId, (&Op, usize)> {
    let mut readers = HashMap::new();
    for node in graph.nodes() {
        for (slot, input) in node.inputs.iter().enumerate() {
            if graph.is_parameter(*input) {
                readers.entry(*input).or_insert((&node.op, slot));
            }
        }
    }
    readers
}

/// How a parameter grows; `grown` is the grown graph, whose ids are the old one's.
fn lift(
    grown: &Graph,
    spaces: &Spaces,
    widened: &HashMap<AtomId, Units<'_>>,
    parameter: ValueId,
    reader: Option<&(&Op, usize)>,
) -> Lift {
    let size = |atom: AtomId| match spaces.all()[atom.index()].size {
        Extent::Fixed(size) => size,
        Extent::Batch => 1,
    };
    let role = reader.map_or(Role::Activation, |(op, slot)| op.role(*slot));
    let mut lift = Lift::new(Vec::new());
    for (axis, dim) in spaces.axes(parameter).iter().enumerate() {
        let summed = |atom| spaces.role(parameter, axis, atom) == AxisRole::Contract;
        let leaf = |atom: AtomId| {
            let map = match widened.get(&atom)? {
                Units::Copies(widen) => copies(widen, summed(atom)),
                Units::Fresh(extend) => {
                    let stays = !summed(atom) && !is_free(role, reader);
                    fresh(size(atom), extend.size, summed(atom), stays)
                }
            };
            Some(map)
        };
        let mut map = AxisMap::lift(dim, &leaf, &size);
        let now = |atom: AtomId| widened.get(&atom).map_or(size(atom), Units::size);
        let mut atoms = dim.atoms();
        atoms.sort_unstable();
        atoms.dedup();
        for atom in &atoms {
            let Some(Units::Copies(widen)) = widened.get(atom) else {
                continue;
            };
            let folds = spaces.all()[atom.index()].folds.iter();
            for fold in folds.filter(|fold| (fold.parameter, fold.axis) == (parameter, axis)) {
                map.fold(dim, fold, &widen.shares, &now);
            }
        }
        lift.axes.push(map);
        let mut seen: Vec<AtomId> = Vec::new();
        dim.for_each_atom(&mut |atom| match widened.get(&atom) {
            Some(Units::Fresh(extend)) if !summed(atom) && lift.made.is_none() => {
                let sizes = grown.get(parameter).shape.at(1);
                lift.made = Some(made(extend, role, reader, &sizes));
            }
            Some(Units::Copies(widen)) if !seen.contains(&atom) => {
                seen.push(atom);
                let Some(noise) = widen.noise else { return };
                let wanted = match noise.kind {
                    NoiseKind::ZeroSum => summed(atom),
                    NoiseKind::Incoming => !summed(atom) && role == Role::Weight,
                };
                if wanted {
                    // Noise is for the copies of this space alone.
                    let only = |other: AtomId| (other == atom).then(|| copies(widen, summed(atom)));
                    let size = |other: AtomId| {
                        if other == atom {
                            size(atom)
                        } else {
                            now(other)
                        }
                    };
                    let map = AxisMap::lift(dim, &only, &size);
                    lift.noise.push(LiftNoise { axis, noise, map });
                }
            }
            _ => {}
        });
    }
    debug_assert_eq!(lift.axes.len(), grown.get(parameter).shape.rank());
    lift
}

/// Copies, with their shares where they are read.
fn copies(widen: &Widen, summed: bool) -> LeafMap {
    let ones = vec![1.0; widen.source.len()];
    let (factor, gradient) = if summed {
        (widen.shares.clone(), ones)
    } else {
        (ones, widen.shares.clone())
    };
    LeafMap {
        source: widen.source.clone(),
        factor,
        gradient,
        summed,
        fresh: 0,
    }
}

/// The old units, and new ones behind them: what neither makes nor reads units, such as the
/// constants of a normalisation, takes the old ones' values in turn.
pub(super) fn fresh(old: usize, size: usize, summed: bool, in_turn: bool) -> LeafMap {
    let known = if in_turn { size } else { old };
    LeafMap {
        source: (0..known).map(|unit| (unit % old.max(1)) as u32).collect(),
        factor: vec![1.0; known],
        gradient: (0..known).map(|unit| f64::from(unit < old)).collect(),
        summed,
        fresh: size - known,
    }
}

/// Whether the slices of new units are free to hold anything that training starts from.
pub(super) fn is_free(role: Role, reader: Option<&(&Op, usize)>) -> bool {
    match role {
        Role::Activation | Role::Constant => is_sum(reader),
        _ => true,
    }
}

fn is_sum(reader: Option<&(&Op, usize)>) -> bool {
    matches!(reader, Some((Op::Add(_) | Op::Sub(_), _)))
}

/// What makes new units: weights at random or zero, everything else where training starts it.
pub(super) fn made(
    extend: &Extend,
    role: Role,
    reader: Option<&(&Op, usize)>,
    sizes: &[usize],
) -> Fresh {
    match role {
        Role::Weight => match (extend.seed, reader) {
            (Some(seed), Some((op, slot))) => Fresh::Random {
                seed,
                fan_in: op.fan_in(*slot, sizes),
            },
            _ => Fresh::Full(0.0),
        },
        Role::Scale | Role::RunningVariance => Fresh::Full(1.0),
        Role::Slope => Fresh::Full(0.25),
        Role::Shift => Fresh::Full(extend.fill),
        Role::Activation if is_sum(reader) => Fresh::Full(extend.fill),
        _ => Fresh::Full(0.0),
    }
}
