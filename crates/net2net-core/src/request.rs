//! What people ask for, turned into a plan: all spaces by a factor, layers by name.

use std::collections::{BTreeMap, HashMap};

use net2net_kernels::Context;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wildmatch::WildMatch;

use crate::apply::{ApplyError, Growth, apply, resized};
use crate::dims::{AtomId, Refusal, Spaces};
use crate::engine::Precision;
use crate::graph::Graph;
use crate::plan::{
    Mapping, Plan, PlanError, Step, Symmetry, check_sizes, deepen, deepenable, widen,
};
use crate::weights::Source;

/// A growth as a person states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The factor by which spaces widen; sizes are rounded and grow by at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widen: Option<f64>,
    /// Which spaces widen: names in which `*` stands for anything. By default all that can.
    #[serde(default = "everything")]
    pub spaces: Vec<String>,
    /// New sizes of spaces, by name with `*`; these are not widened by the factor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sizes: BTreeMap<String, usize>,
    /// Widen by the factor that brings the whole network to this; in place of `widen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// New sizes are rounded up to multiples of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_to: Option<usize>,
    /// After which layers a layer is inserted, by name with `*`.
    #[serde(default)]
    pub deepen: Vec<String>,
    /// The side of inserted filters; by default that of the layer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<usize>,
    /// Which unit each new one copies.
    #[serde(default)]
    pub mapping: Mapping,
    /// How copies are told apart.
    #[serde(default)]
    pub symmetry: Symmetry,
}

/// What a grown network is to have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// So many parameters.
    Parameters(u64),
    /// So many multiplications and additions for one sample.
    Flops(u64),
}

impl Target {
    fn wanted(self) -> u64 {
        match self {
            Target::Parameters(count) | Target::Flops(count) => count,
        }
    }

    fn of(self, graph: &Graph) -> u64 {
        match self {
            Target::Parameters(_) => graph.parameter_count(),
            Target::Flops(_) => graph.flops(),
        }
    }
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

impl Default for Request {
    fn default() -> Self {
        Request {
            widen: None,
            spaces: everything(),
            sizes: BTreeMap::new(),
            target: None,
            round_to: None,
            deepen: Vec::new(),
            kernel: None,
            mapping: Mapping::default(),
            symmetry: Symmetry::default(),
        }
    }
}

/// Why a request cannot be met.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Something cannot grow, or a name matches nothing.
    #[error("{0}")]
    Refused(Refusal),
    /// See [`PlanError`].
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// See [`ApplyError`].
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl From<Refusal> for RequestError {
    fn from(refusal: Refusal) -> Self {
        RequestError::Refused(refusal)
    }
}

/// Makes the plan of a request and carries it out on the graph: layers first, since their
/// statistics are measured on the network as it is, then widths, which carry those statistics
/// along.
///
/// `inputs` are `batch` samples (see [`crate::engine::evaluate`]) for the statistics.
pub fn request<T: Precision>(
    cx: &mut Context<T>,
    graph: &Graph,
    weights: &dyn Source<T>,
    wanted: &Request,
    seed: u64,
    batch: usize,
    inputs: &[&[T]],
) -> Result<(Plan, Growth), RequestError> {
    let mut steps = Vec::new();
    let mut growth = apply(graph, &Plan::new(graph, seed, Vec::new()))?;
    for layer in layers(graph, &wanted.deepen)? {
        let grown = growth.source(weights);
        let current = growth.graph();
        let kernel = wanted.kernel;
        let insert = deepen(cx, current, &grown, &layer, kernel, seed, batch, inputs)?;
        steps.push(Step::Insert(insert));
        growth = apply(graph, &Plan::new(graph, seed, steps.clone()))?;
    }
    let widths = Widths::new(growth.graph(), wanted)?;
    let factor = match wanted.target {
        Some(target) => Some(widths.fit(growth.graph(), wanted, target)?),
        None => wanted.widen,
    };
    let wider = widths.steps(growth.graph(), wanted, factor, seed)?;
    if !wider.is_empty() {
        steps.extend(wider);
        growth = apply(graph, &Plan::new(graph, seed, steps.clone()))?;
    }
    if steps.is_empty() {
        return Err(refusal(
            "*",
            "nothing is asked for: `widen` and `deepen`, or `spaces`, are empty".to_owned(),
        ));
    }
    Ok((Plan::new(graph, seed, steps), growth))
}

/// The spaces that are to widen, and how they are asked to.
struct Widths {
    spaces: Spaces,
    /// By the factor.
    scaled: Vec<AtomId>,
    /// To a size of their own.
    sized: HashMap<AtomId, usize>,
}

impl Widths {
    fn new(graph: &Graph, wanted: &Request) -> Result<Widths, RequestError> {
        let spaces = Spaces::infer(graph);
        let mut names: Vec<(AtomId, Vec<String>)> = Vec::new();
        for space in spaces.growable() {
            let mut all = vec![space.name.clone()];
            all.extend(spaces.aliases(graph, space));
            names.push((spaces.find(&space.name)?, all));
        }
        let mut sized: HashMap<AtomId, usize> = HashMap::new();
        for (pattern, size) in &wanted.sizes {
            for id in chosen(&spaces, &names, std::slice::from_ref(pattern))? {
                sized.entry(id).or_insert(*size);
            }
        }
        let mut scaled = Vec::new();
        if wanted.widen.is_some() || wanted.target.is_some() {
            scaled = chosen(&spaces, &names, &wanted.spaces)?;
            scaled.retain(|id| !sized.contains_key(id));
        }
        Ok(Widths {
            spaces,
            scaled,
            sized,
        })
    }

    /// The new sizes, by a factor where none is asked for.
    fn sizes(
        &self,
        wanted: &Request,
        factor: Option<f64>,
    ) -> Result<HashMap<AtomId, usize>, RequestError> {
        let mut sizes = self.sized.clone();
        if let Some(factor) = factor {
            if !(factor > 1.0 && factor <= 1024.0) {
                let why = format!("a factor of {factor} is not above 1 and sensible");
                return Err(refusal("*", why));
            }
            sizes.extend(
                self.scaled
                    .iter()
                    .map(|id| (*id, self.scale(*id, wanted, factor))),
            );
        }
        Ok(sizes)
    }

    /// The steps that widen, by a factor where no size is asked for. Absurd sizes are refused
    /// before any map is made.
    fn steps(
        &self,
        graph: &Graph,
        wanted: &Request,
        factor: Option<f64>,
        seed: u64,
    ) -> Result<Vec<Step>, RequestError> {
        let sizes = self.sizes(wanted, factor)?;
        check_sizes(graph, &self.spaces, &sizes)?;
        // In the order of the spaces, whichever way each was asked for.
        let mut sizes: Vec<(AtomId, usize)> = sizes.into_iter().collect();
        sizes.sort_unstable();
        let step = |(id, size): (AtomId, usize)| {
            let name = &self.spaces.all()[id.index()].name;
            let (mapping, symmetry) = (wanted.mapping, wanted.symmetry);
            let widen = widen(&self.spaces, name, size, mapping, symmetry, seed);
            Ok(Step::Widen(widen?))
        };
        sizes.into_iter().map(step).collect()
    }

    fn scale(&self, id: AtomId, wanted: &Request, factor: f64) -> usize {
        let space = &self.spaces.all()[id.index()];
        let old = space.size.at(1);
        if space.uniform {
            return old.saturating_mul((factor.round() as usize).max(2));
        }
        let size = ((old as f64 * factor).round() as usize).max(old + 1);
        let step = wanted.round_to.unwrap_or(1).max(1);
        // A step beyond all sizes is refused with them.
        size.checked_next_multiple_of(step).unwrap_or(usize::MAX)
    }

    /// The factor that brings the network closest to a target, by bisection: the more a network
    /// is widened, the more it has.
    fn fit(&self, graph: &Graph, wanted: &Request, target: Target) -> Result<f64, RequestError> {
        let now = target.of(graph);
        let goal = target.wanted();
        if goal <= now {
            return Err(refusal(
                "*",
                format!(
                    "the network has {now} already (with the layers that are inserted), and {goal} are not more"
                ),
            ));
        }
        let reached = |factor: f64| -> Result<u64, RequestError> {
            let sizes = self.sizes(wanted, Some(factor))?;
            // What would be refused is more than any goal that can be reached.
            if check_sizes(graph, &self.spaces, &sizes).is_err() {
                return Ok(u64::MAX);
            }
            Ok(target.of(&resized(graph, &self.spaces, &sizes)?))
        };
        let (mut low, mut high) = (1.0 + 1e-9, 2.0);
        while reached(high)? < goal {
            low = high;
            high *= 2.0;
            if high > 1024.0 {
                let why = format!("widening alone does not reach {goal}");
                return Err(refusal("*", why));
            }
        }
        // Twenty halvings are finer than any space of less than a million units.
        for _ in 0..20 {
            let middle = f64::midpoint(low, high);
            if reached(middle)? < goal {
                low = middle;
            } else {
                high = middle;
            }
        }
        let apart = |factor: f64| Ok::<u64, RequestError>(reached(factor)?.abs_diff(goal));
        Ok(if apart(low)? < apart(high)? {
            low
        } else {
            high
        })
    }
}

/// The spaces that patterns name, by their own name or by what people call them; a pattern that
/// names none is refused, with the reason if it names one that cannot grow.
fn chosen(
    spaces: &Spaces,
    names: &[(AtomId, Vec<String>)],
    patterns: &[String],
) -> Result<Vec<AtomId>, RequestError> {
    let mut found: Vec<AtomId> = Vec::new();
    for pattern in patterns {
        let matcher = WildMatch::new(pattern);
        let before = found.len();
        let matching = names
            .iter()
            .filter(|(_, names)| names.iter().any(|n| matcher.matches(n)));
        found.extend(matching.map(|(id, _)| *id));
        if found.len() == before {
            if let Err(known) = spaces.find(pattern)
                && spaces.all().iter().any(|space| space.name == *pattern)
            {
                return Err(RequestError::Refused(known));
            }
            let all = names
                .iter()
                .flat_map(|(_, names)| names.iter().map(String::as_str));
            let hint = crate::graph::hint(pattern.trim_matches('*'), all);
            return Err(refusal(
                pattern,
                format!("it matches no space that can grow{hint}"),
            ));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn refusal(space: &str, why: String) -> RequestError {
    RequestError::Refused(Refusal {
        space: space.to_owned(),
        node: None,
        why,
    })
}

/// The layers that patterns name, by the node's name or the weight's, in their own order.
fn layers(graph: &Graph, patterns: &[String]) -> Result<Vec<String>, RequestError> {
    let named: Vec<(&str, &str)> = deepenable(graph)
        .into_iter()
        .map(|layer| (layer, weight_of(graph, layer)))
        .collect();
    let mut wanted = vec![false; named.len()];
    for pattern in patterns {
        let matcher = WildMatch::new(pattern);
        let mut any = false;
        for (index, (layer, weight)) in named.iter().enumerate() {
            if matcher.matches(layer) || matcher.matches(weight) {
                wanted[index] = true;
                any = true;
            }
        }
        if !any {
            let names = named.iter().flat_map(|(layer, weight)| [*layer, *weight]);
            let hint = crate::graph::hint(pattern.trim_matches('*'), names);
            let why = format!("it matches no layer that can be deepened{hint}");
            return Err(refusal(pattern, why));
        }
    }
    let chosen = named.into_iter().zip(wanted).filter(|(_, wanted)| *wanted);
    Ok(chosen.map(|((layer, _), _)| layer.to_owned()).collect())
}

/// The name of a layer's weight, without `.weight`.
fn weight_of<'g>(graph: &'g Graph, layer: &'g str) -> &'g str {
    let node = graph.lookup(layer).and_then(|id| graph.producer(id));
    let weight = node.and_then(|node| graph.at(node).inputs.get(1));
    let name = weight.map_or(layer, |id| graph.get(*id).name.as_str());
    name.strip_suffix(".weight").unwrap_or(name)
}
