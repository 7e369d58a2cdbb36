//! Which channels belong together: the remapping inference of the whole graph, in one pass.
//!
//! Each operator's rule relates the axes of its inputs, parameters and outputs; union-find with
//! refinement makes them agree over the graph. What is left are *spaces*: leaf atoms, each with
//! every (parameter, axis) that it touches. One space has one map, wherever it appears.
//!
//! The algorithm that Net2Net (Chen et al. 2016, section 2.4) calls remapping inference and
//! leaves open.

mod fold;
mod grown;
mod lift;
mod rule;
mod unify;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

pub use fold::Fold;
pub use grown::Grown;
pub use lift::{AxisMap, LeafMap, Unit};
pub use rule::{AxisRole, AxisRule, Label};
pub use unify::{AtomId, Dim, Frozen, Unifier};

use crate::border;
use crate::graph::{Extent, Graph, NodeId, ValueId};
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
    /// Whether all that stands in the way is that it is an axis of an input or output of the graph, or
    /// of the softmax that makes one, so that it can be extended (a sensor, a class) but not copied.
    pub border: bool,
    /// Whether all that stands in the way is that copies would be counted again, since what sums over
    /// them has no parameter for their shares.
    pub counted: bool,
    /// The nodes at which a mean or an extreme is taken over it.
    pub pools: Vec<NodeId>,
    /// Where copies are multiplied by their shares for products that have no parameter.
    pub folds: Vec<Fold>,
    /// Why it cannot grow, if it cannot.
    pub refusal: Option<Refusal>,
}

impl Space {
    /// Keeps it from growing by copies, since a product of two activations would count them again.
    fn refuse_product(&mut self, graph: &Graph, node: NodeId, why: &str) {
        self.counted |= self.refusal.is_none();
        // It says more than that it is an axis of an input.
        self.refusal = self.refusal.take().filter(|_| !self.border);
        self.refusal.get_or_insert(Refusal {
            space: self.name.clone(),
            node: Some(graph.node_name(node).to_owned()),
            why: format!("two activations are multiplied and summed over this axis, and {why}"),
        });
    }
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
        let mut found = rule::Found::default();
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
            let mut rule = AxisRule::new(&mut unifier, graph, id, &mut axes, &mut found);
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
        resolve(graph, &mut unifier, axes, &found)
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
            Space { folds, .. } if !folds.is_empty() => {
                "two activations are multiplied and summed over it, so new ones can only be copies"
            }
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
    found: &rule::Found,
) -> Spaces {
    let readers = readers(graph);
    let last = last_softmaxes(graph, &readers);
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
                    let mut made = space(graph, unifier, &last, atom, name);
                    // Such as the rows of a table behind those that are taken.
                    if graph.is_parameter(value) {
                        made.refusal.get_or_insert_with(|| Refusal {
                            space: made.name.clone(),
                            node: None,
                            why: "nothing is computed from these entries".to_owned(),
                        });
                    }
                    spaces.push(made);
                    AtomId((spaces.len() - 1) as u32)
                });
                position += 1;
                id
            });
            resolved[value.index()].push(renamed);
        }
    }
    let ids: HashMap<AtomId, AtomId> = ids;
    // Axes that could not be made equal leave labels behind that no value has.
    let mut leaves = |label: &Dim| -> Vec<AtomId> {
        let atoms = unifier.resolve(label).atoms();
        atoms
            .iter()
            .filter_map(|atom| ids.get(atom).copied())
            .collect()
    };
    for pool in &found.pools {
        for id in leaves(&pool.label) {
            spaces[id.index()].pools.push(pool.node);
        }
    }
    let folding = fold::Folding {
        graph,
        axes: &resolved,
        readers: &readers,
    };
    // What can take the shares of each space for each node that needs it.
    let mut folded: BTreeMap<AtomId, Vec<(NodeId, Vec<fold::Folds>)>> = BTreeMap::new();
    let mut sites: BTreeMap<(AtomId, ValueId, usize), Vec<(AxisRole, NodeId)>> = BTreeMap::new();
    for one in &found.uses {
        for id in leaves(&one.label) {
            let place = sites.entry((id, one.parameter, one.axis)).or_default();
            place.push((one.role, one.node));
        }
    }
    for ((id, parameter, axis), uses) in sites {
        let space = &mut spaces[id.index()];
        let reads = || uses.iter().filter(|(role, _)| *role == AxisRole::Contract);
        let tied = reads().count() > 0 && reads().count() < uses.len();
        space.sites.push(SpaceSite {
            parameter,
            axis,
            role: if tied { AxisRole::Map } else { uses[0].0 },
        });
        if !tied {
            continue;
        }
        // What it reads can bring the shares along.
        let mut folds = fold::Folds::default();
        let absorbed = reads().try_for_each(|(_, node)| {
            let inputs = &graph.at(*node).inputs;
            let other = inputs.iter().position(|input| *input != parameter);
            folds.extend(folding.through(*node, other.unwrap_or(0), id)?);
            Ok::<(), String>(())
        });
        space.border = false;
        match absorbed {
            Ok(()) => folded.entry(id).or_default().push((uses[0].1, vec![folds])),
            Err(_) => {
                space.counted |= space.refusal.is_none();
                let name = &graph.get(parameter).name;
                space.refusal.get_or_insert(Refusal {
                    space: space.name.clone(),
                    node: None,
                    why: format!(
                        "`{name}` produces its units in one place and reads them in another, and \
                         nothing in between takes the shares of copies, as a scale for each unit \
                         would"
                    ),
                });
            }
        }
    }
    for product in &found.products {
        for id in leaves(&product.label) {
            let space = &mut spaces[id.index()];
            // Either operand may bring them along.
            let right = folding.through(product.node, 1, id);
            let choices = match (folding.through(product.node, 0, id), right) {
                (Ok(left), Ok(right)) => Ok(vec![left, right]),
                (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(vec![one]),
                (Err(why), Err(_)) => Err(why),
            };
            match choices {
                Ok(choices) => folded.entry(id).or_default().push((product.node, choices)),
                Err(why) => space.refuse_product(graph, product.node, &why),
            }
            space.border = false;
        }
    }
    for (id, choices) in folded {
        let space = &mut spaces[id.index()];
        match fold::settled(graph, &choices) {
            Ok(folds) => space.folds = folds,
            Err((node, why)) => space.refuse_product(graph, node, &why),
        }
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

/// The nodes that read each value, once for each time.
fn readers(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut readers = vec![Vec::new(); graph.values().len()];
    for id in graph.node_ids() {
        for input in &graph.at(id).inputs {
            readers[input.index()].push(id);
        }
    }
    readers
}

/// Each softmax that makes an output of the graph of logits which nothing else reads: classes behind
/// it can be extended, since what it divides by is the same for all old ones.
fn last_softmaxes(graph: &Graph, readers: &[Vec<NodeId>]) -> Vec<NodeId> {
    let alone = |node: &NodeId| {
        let logits = graph.at(*node).inputs[0];
        let output = graph.at(*node).outputs[0];
        readers[logits.index()].len() == 1
            && readers[output.index()].is_empty()
            && !graph.outputs().contains(&logits)
    };
    let outputs = graph.outputs().iter();
    let made = outputs.filter_map(|id| Some(border::final_softmax(graph, *id)?.0));
    made.filter(alone).collect()
}

fn space(graph: &Graph, unifier: &Unifier, last: &[NodeId], atom: AtomId, name: String) -> Space {
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
        // Rules name their node; only the graph's own border has none. A last softmax is a part of it.
        border: unifier
            .frozen(atom)
            .is_some_and(|f| f.node.is_none_or(|node| last.contains(&node))),
        counted: false,
        pools: Vec::new(),
        folds: Vec::new(),
        refusal,
        name,
    }
}
