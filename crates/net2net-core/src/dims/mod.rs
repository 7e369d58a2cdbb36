//! Which channels belong together: the remapping inference of the whole graph, in one pass.
//!
//! Each operator's rule relates the axes of its inputs, parameters and outputs; union-find with
//! refinement makes them agree over the graph. What is left are *spaces*: leaf atoms, each with
//! every (parameter, axis) that it touches. One space has one map, wherever it appears.
//!
//! The algorithm that Net2Net (Chen et al. 2016, section 2.4) calls remapping inference and
//! leaves open.

mod grown;
mod lift;
mod rule;
mod unify;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

pub use grown::Grown;
pub use lift::{AxisMap, LeafMap, Unit};
pub use rule::{AxisRole, AxisRule, Label};
pub use unify::{AtomId, Dim, Frozen, Unifier};

use crate::graph::{Extent, Graph, ValueId};
use crate::ops::Role;

/// One axis of one parameter that a space touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpaceSite {
    /// The parameter.
    pub parameter: ValueId,
    /// Its axis.
    pub axis: usize,
    /// What growth does to it there.
    pub role: AxisRole,
}

/// Why something cannot grow: an answer, not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The space that was asked for.
    pub space: String,
    /// The node that stands in the way, if it is one.
    pub node: Option<String>,
    /// The reason.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` cannot grow: {}", self.space, self.why)?;
        match &self.node {
            Some(node) => write!(f, " (at `{node}`)"),
            None => Ok(()),
        }
    }
}

/// A set of axes that are the same axis.
#[derive(Clone, Debug)]
pub struct Space {
    /// The node that first produces it; `#k` is added if it is the k-th leaf of that axis, and
    /// `:axis` if the axis is not 1.
    pub name: String,
    /// The number of units.
    pub size: Extent,
    /// Every axis of a parameter that it is a part of, in the order of the parameters and axes.
    pub sites: Vec<SpaceSite>,
    /// Whether its units may be copied only equally often, because a mean is taken over them.
    pub uniform: bool,
    /// Whether new units can only be copies, because a mean or an extreme is taken over them.
    pub pooled: bool,
    /// Whether all that stands in the way is that it is an axis of an input or output of the graph,
    /// so that it can be extended (a sensor, a class) but not copied.
    pub border: bool,
    /// Why it cannot grow, if it cannot.
    pub refusal: Option<Refusal>,
}

/// The spaces of a graph, and every axis of every value as an expression over them.
#[derive(Clone, Debug)]
pub struct Spaces {
    spaces: Vec<Space>,
    axes: Vec<Vec<Dim>>,
    /// The first space of each name.
    by_name: HashMap<String, AtomId>,
    roles: HashMap<ValueId, Role>,
}

impl Spaces {
    /// Infers the spaces of a graph.
    pub fn infer(graph: &Graph) -> Spaces {
        let mut unifier = Unifier::default();
        let mut uses = Vec::new();
        let mut axes: Vec<Vec<Dim>> = graph
            .values()
            .iter()
            .map(|value| match value.source {
                crate::graph::Source::Node { .. } => Vec::new(),
                _ => value
                    .shape
                    .extents()
                    .iter()
                    .map(|e| unifier.fresh(*e))
                    .collect(),
            })
            .collect();
        for id in graph.node_ids() {
            let mut rule = AxisRule::new(&mut unifier, graph, id, &mut axes, &mut uses);
            graph.at(id).op.axes(&mut rule);
            rule.finish();
        }
        for (ids, why) in [
            (graph.inputs(), "it is an axis of a graph input"),
            (graph.outputs(), "it is an axis of a graph output"),
        ] {
            for dim in ids.iter().flat_map(|id| axes[id.index()].clone()) {
                let reason = Frozen {
                    node: None,
                    why: why.to_owned(),
                };
                unifier.freeze(&dim, &reason);
            }
        }
        resolve(graph, &mut unifier, axes, &uses)
    }

    /// All spaces; an atom's index is the position. Frozen ones and pixels are among them.
    pub fn all(&self) -> &[Space] {
        &self.spaces
    }

    /// The spaces that can grow, in topological order.
    pub fn growable(&self) -> impl Iterator<Item = &Space> {
        let can = |space: &&Space| space.refusal.is_none() && !space.sites.is_empty();
        self.spaces.iter().filter(can)
    }

    /// What people call a space: the weights that produce its units, without `.weight`.
    pub fn aliases(&self, graph: &Graph, space: &Space) -> Vec<String> {
        let produces = |site: &&SpaceSite| {
            site.role == AxisRole::Map && self.roles.get(&site.parameter) == Some(&Role::Weight)
        };
        let name = |site: &SpaceSite| {
            let name = &graph.get(site.parameter).name;
            name.strip_suffix(".weight").unwrap_or(name).to_owned()
        };
        space.sites.iter().filter(produces).map(name).collect()
    }

    /// The space of a name, or why there is none that can grow.
    pub fn find(&self, name: &str) -> Result<AtomId, Refusal> {
        match self.position(name) {
            Some(id) => match &self.spaces[id.index()].refusal {
                None => Ok(id),
                Some(refusal) => Err(refusal.clone()),
            },
            None => {
                let names = self.growable().map(|space| space.name.as_str());
                let hint = crate::graph::hint(name, names);
                Err(Refusal {
                    space: name.to_owned(),
                    node: None,
                    why: format!("there is no space of this name{hint}"),
                })
            }
        }
    }

    /// The space of a name, whether it can grow or not.
    pub fn position(&self, name: &str) -> Option<AtomId> {
        self.by_name.get(name).copied()
    }

    /// The space of a name that can have units which are no copies, or why there is none: one that
    /// can grow, or is held only by an input or output of the graph.
    pub fn extensible(&self, name: &str) -> Result<AtomId, Refusal> {
        let id = match self.position(name) {
            Some(id) if self.spaces[id.index()].border => id,
            _ => self.find(name)?,
        };
        let space = &self.spaces[id.index()];
        let why = match space {
            Space { pooled: true, .. } => {
                "a mean or an extreme is taken over its units, so new ones can only be copies"
            }
            Space {
                size: Extent::Batch,
                ..
            } => "it is the batch",
            _ => return Ok(id),
        };
        Err(Refusal {
            space: name.to_owned(),
            node: None,
            why: why.to_owned(),
        })
    }

    /// The axes of a value, outermost first.
    pub fn axes(&self, value: ValueId) -> &[Dim] {
        &self.axes[value.index()]
    }

    /// What each leaf of a parameter's axis does there.
    pub fn role(&self, parameter: ValueId, axis: usize, leaf: AtomId) -> AxisRole {
        let sites = &self.spaces[leaf.index()].sites;
        let place = |site: &SpaceSite| (site.parameter, site.axis);
        sites
            .binary_search_by_key(&(parameter, axis), place)
            .map_or(AxisRole::Map, |at| sites[at].role)
    }

    /// The number of elements of an axis when leaves have other sizes, saturating.
    pub fn extent(&self, dim: &Dim, size_of: &impl Fn(AtomId) -> Option<usize>) -> Extent {
        let fixed = |part: &Dim| self.extent(part, size_of).fixed().unwrap_or(0);
        match dim {
            Dim::Atom(id) => match size_of(*id) {
                Some(size) => Extent::Fixed(size),
                None => self.spaces[id.index()].size,
            },
            Dim::Prod(parts) => {
                Extent::Fixed(parts.iter().map(fixed).fold(1, usize::saturating_mul))
            }
            Dim::Cat(parts) => {
                Extent::Fixed(parts.iter().map(fixed).fold(0, usize::saturating_add))
            }
        }
    }
}

/// Turns the unifier's leaves into spaces, numbered and named in the order of the values.
fn resolve(
    graph: &Graph,
    unifier: &mut Unifier,
    axes: Vec<Vec<Dim>>,
    uses: &[rule::Use],
) -> Spaces {
    let mut ids: HashMap<AtomId, AtomId> = HashMap::new();
    let mut spaces: Vec<Space> = Vec::new();
    let mut resolved: Vec<Vec<Dim>> = vec![Vec::new(); axes.len()];
    // Outputs of nodes first: a space is named after the node that produces it.
    let is_node = |id: &ValueId| graph.producer(*id).is_some();
    let produced = graph.value_ids().filter(is_node);
    let others = graph.value_ids().filter(|id| !is_node(id));
    for value in produced.chain(others) {
        for (axis, dim) in axes[value.index()].iter().enumerate() {
            let dim = unifier.resolve(dim);
            let leaves = dim.atoms().len();
            let mut position = 0;
            let renamed = dim.map_atoms(&mut |atom| {
                let id = *ids.entry(atom).or_insert_with(|| {
                    let mut name = graph.get(value).name.clone();
                    if axis != 1 || !is_node(&value) {
                        name.push_str(&format!(":{axis}"));
                    }
                    if leaves > 1 {
                        name.push_str(&format!("#{position}"));
                    }
                    spaces.push(space(graph, unifier, atom, name));
                    AtomId((spaces.len() - 1) as u32)
                });
                position += 1;
                id
            });
            resolved[value.index()].push(renamed);
        }
    }
    let mut roles: BTreeMap<(AtomId, ValueId, usize), AxisRole> = BTreeMap::new();
    let mut conflicts = Vec::new();
    for one in uses {
        for atom in unifier.resolve(&one.label).atoms() {
            // Axes that could not be made equal leave labels behind that no value has.
            let Some(&id) = ids.get(&atom) else {
                continue;
            };
            let known = *roles
                .entry((id, one.parameter, one.axis))
                .or_insert(one.role);
            if known != one.role {
                conflicts.push((id, one.parameter));
            }
        }
    }
    for ((id, parameter, axis), role) in roles {
        spaces[id.index()].sites.push(SpaceSite {
            parameter,
            axis,
            role,
        });
    }
    for (id, parameter) in conflicts {
        let space = &mut spaces[id.index()];
        space.border = false;
        let name = &graph.get(parameter).name;
        space.refusal.get_or_insert(Refusal {
            space: space.name.clone(),
            node: None,
            why: format!("`{name}` produces its units in one place and reads them in another"),
        });
    }
    let mut by_name = HashMap::new();
    for (index, space) in (0u32..).zip(&spaces) {
        by_name.entry(space.name.clone()).or_insert(AtomId(index));
    }
    Spaces {
        spaces,
        axes: resolved,
        by_name,
        roles: graph.parameter_roles(),
    }
}

fn space(graph: &Graph, unifier: &Unifier, atom: AtomId, name: String) -> Space {
    let refusal = unifier.frozen(atom).map(|frozen| Refusal {
        space: name.clone(),
        node: frozen.node.map(|node| graph.node_name(node).to_owned()),
        why: frozen.why.clone(),
    });
    Space {
        size: unifier.size(&Dim::Atom(atom)),
        sites: Vec::new(),
        uniform: unifier.is_uniform(atom),
        pooled: unifier.is_pooled(atom),
        // Rules name their node; only the graph's own border has none.
        border: unifier.frozen(atom).is_some_and(|f| f.node.is_none()),
        refusal,
        name,
    }
}
