//! Which spaces widen, and to what size.

use std::collections::HashMap;

use wildmatch::WildMatch;

use super::{Request, RequestError, Target, refusal};
use crate::apply::resized;
use crate::dims::{AtomId, Spaces};
use crate::graph::Graph;
use crate::plan::{Step, check_sizes, widen};

/// The spaces that are to widen, and how they are asked to.
pub(super) struct Widths {
    spaces: Spaces,
    /// By the factor.
    scaled: Vec<AtomId>,
    /// To a size of their own.
    sized: HashMap<AtomId, usize>,
}

impl Widths {
    pub(super) fn new(graph: &Graph, wanted: &Request) -> Result<Widths, RequestError> {
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
    pub(super) fn steps(
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
    pub(super) fn fit(
        &self,
        graph: &Graph,
        wanted: &Request,
        target: Target,
    ) -> Result<f64, RequestError> {
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
