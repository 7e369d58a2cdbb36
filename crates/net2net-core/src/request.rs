//! What people ask for, turned into a plan: all spaces by a factor, layers by name.

use net2net_kernels::Context;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wildmatch::WildMatch;

use crate::apply::{ApplyError, Growth, apply};
use crate::dims::{Refusal, Spaces};
use crate::engine::Precision;
use crate::graph::Graph;
use crate::plan::{Mapping, Plan, PlanError, Step, Symmetry, deepen, deepenable, widen};
use crate::weights::Weights;

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

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

impl Default for Request {
    fn default() -> Self {
        Request {
            widen: None,
            spaces: everything(),
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
    weights: &Weights<T>,
    wanted: &Request,
    seed: u64,
    batch: usize,
    inputs: &[&[T]],
) -> Result<(Plan, Growth), RequestError> {
    let mut steps = Vec::new();
    let mut growth = apply(graph, &Plan::new(graph, seed, Vec::new()))?;
    let layers = deepenable(graph).into_iter().map(str::to_owned);
    for layer in matching(
        layers.collect(),
        &wanted.deepen,
        "layer that can be deepened",
    )? {
        let grown = growth.weights(weights)?;
        let current = growth.graph();
        let kernel = wanted.kernel;
        let insert = deepen(cx, current, &grown, &layer, kernel, seed, batch, inputs)?;
        steps.push(Step::Insert(insert));
        growth = apply(graph, &Plan::new(graph, seed, steps.clone()))?;
    }
    if let Some(factor) = wanted.widen {
        if !(factor > 1.0 && factor <= 1024.0) {
            return Err(refusal(
                "*",
                format!("a factor of {factor} is not above 1 and sensible"),
            ));
        }
        let spaces = Spaces::infer(growth.graph());
        let names = spaces.growable().map(|space| space.name.clone()).collect();
        for name in matching(names, &wanted.spaces, "space that can grow")? {
            let id = spaces.find(&name)?;
            let old = spaces.all()[id.index()].size.at(1);
            let mut size = ((old as f64 * factor).round() as usize).max(old + 1);
            if spaces.all()[id.index()].uniform {
                size = old * (factor.round() as usize).max(2);
            }
            let (mapping, symmetry) = (wanted.mapping, wanted.symmetry);
            steps.push(Step::Widen(widen(
                &spaces, &name, size, mapping, symmetry, seed,
            )?));
        }
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

fn refusal(space: &str, why: String) -> RequestError {
    RequestError::Refused(Refusal {
        space: space.to_owned(),
        node: None,
        why,
    })
}

/// The names that a pattern matches, in their own order; a pattern that matches none is refused.
fn matching(
    names: Vec<String>,
    patterns: &[String],
    what: &str,
) -> Result<Vec<String>, RequestError> {
    for pattern in patterns {
        let matcher = WildMatch::new(pattern);
        if !names.iter().any(|name| matcher.matches(name)) {
            let hint =
                crate::graph::hint(pattern.trim_matches('*'), names.iter().map(String::as_str));
            return Err(refusal(pattern, format!("it matches no {what}{hint}")));
        }
    }
    let wanted: Vec<WildMatch> = patterns.iter().map(|p| WildMatch::new(p)).collect();
    Ok(names
        .into_iter()
        .filter(|name| wanted.iter().any(|w| w.matches(name)))
        .collect())
}
