//! Which spaces widen, and to what size.

use std::collections::{BTreeSet, HashMap};

use wildmatch::WildMatch;

use super::amounts::Amounts;
use super::{Request, RequestError, Target, refusal, short};
use crate::dims::{AtomId, Refusal, Space, Spaces};
use crate::graph::Graph;
use crate::plan::{Step, check_room, check_sizes, fill, pad, widen};

/// New sizes of spaces.
pub(super) type Sizes = HashMap<AtomId, usize>;

/// The spaces that are to widen, and how they are asked to.
pub(super) struct Widths {
    spaces: Spaces,
    /// Those over which a mean is taken, and that can be padded.
    padded: BTreeSet<AtomId>,
    /// By the factor.
    scaled: Vec<AtomId>,
    /// To a size of their own.
    sized: Sizes,
}

impl Widths {
    pub(super) fn new(graph: &Graph, wanted: &Request) -> Result<Widths, RequestError> {
        let spaces = Spaces::infer(graph);
        let (mut names, mut refused) = (Vec::new(), Vec::new());
        let mut padded = BTreeSet::new();
        for space in spaces.all().iter().filter(|space| !space.sites.is_empty()) {
            let Some(id) = spaces.position(&space.name) else {
                continue;
            };
            let can = |space: &Space| space.refusal.is_none() || space.counted;
            if can(space) && space.uniform && fill(graph, &spaces, id).is_ok() {
                padded.insert(id);
            } else if space.refusal.is_some() {
                refused.push((id, called(graph, &spaces, space)));
                continue;
            }
            names.push((id, called(graph, &spaces, space)));
        }
        let chosen = |patterns: &[String]| chosen(&spaces, [&names, &refused], patterns);
        let mut sized: Sizes = HashMap::new();
        for (pattern, size) in &wanted.sizes {
            for id in chosen(std::slice::from_ref(pattern))? {
                sized.entry(id).or_insert(*size);
            }
        }
        let mut own = Vec::new();
        for (pattern, factor) in &wanted.factors {
            check_factor(pattern, *factor)?;
            let found = chosen(std::slice::from_ref(pattern))?;
            own.extend(found.into_iter().map(|id| (id, *factor)));
        }
        let mut scaled = Vec::new();
        if wanted.widen.is_some() || wanted.target.is_some() {
            scaled = chosen(&wanted.spaces)?;
        }
        let mut widths = Widths {
            spaces,
            padded,
            scaled,
            sized,
        };
        for (id, factor) in own {
            let size = widths.scale(id, wanted, factor);
            widths.sized.entry(id).or_insert(size);
        }
        let sized = &widths.sized;
        widths.scaled.retain(|id| !sized.contains_key(id));
        Ok(widths)
    }

    /// The sizes that are asked for: by the factor, where one is, by name, or what reaches the target.
    pub(super) fn sizes(&self, graph: &Graph, wanted: &Request) -> Result<Sizes, RequestError> {
        let mut sizes = self.sized.clone();
        match (wanted.target, wanted.widen) {
            (Some(target), _) => return self.fit(graph, wanted, target),
            (None, Some(factor)) => {
                check_factor("*", factor)?;
                let scaled = self.scaled.iter();
                sizes.extend(scaled.map(|id| (*id, self.scale(*id, wanted, factor))));
            }
            (None, None) => {}
        }
        Ok(sizes)
    }

    /// The steps that widen to sizes. Absurd ones are refused before any map is made.
    pub(super) fn steps(
        &self,
        graph: &Graph,
        wanted: &Request,
        sizes: Sizes,
        seed: u64,
    ) -> Result<Vec<Step>, RequestError> {
        check_sizes(graph, &self.spaces, &sizes)?;
        if let Some(room) = wanted.room {
            check_room(graph, &self.spaces, &sizes, room)?;
        }
        // In the order of the spaces, whichever way each was asked for.
        let mut sizes: Vec<(AtomId, usize)> = sizes.into_iter().collect();
        sizes.sort_unstable();
        let step = |(id, size): (AtomId, usize)| {
            let space = &self.spaces.all()[id.index()];
            let name = &space.name;
            if self.is_padded(id, size) {
                let planned = pad(graph, &self.spaces, name, size, seed);
                return Ok(Step::Pad(planned?));
            }
            let (mapping, symmetry) = (wanted.mapping, wanted.symmetry);
            let widen = widen(&self.spaces, name, size, mapping, symmetry, seed);
            Ok(Step::Widen(widen?))
        };
        // Those that are padded come one by one, the others in one pass before them.
        sizes.sort_by_key(|(id, size)| self.is_padded(*id, *size));
        sizes.into_iter().map(step).collect()
    }

    /// Whether a space gets new units in place of copies: where copies cannot be equally many.
    fn is_padded(&self, id: AtomId, size: usize) -> bool {
        let space = &self.spaces.all()[id.index()];
        let equal = size.is_multiple_of(space.size.at(1)) && !space.counted;
        self.padded.contains(&id) && !equal
    }

    /// Whether only multiples of its size are possible.
    fn by_multiples(&self, id: AtomId) -> bool {
        self.spaces.all()[id.index()].uniform && !self.padded.contains(&id)
    }

    /// By a factor, and by one unit at least.
    fn scale(&self, id: AtomId, wanted: &Request, factor: f64) -> usize {
        let space = &self.spaces.all()[id.index()];
        let old = space.size.at(1);
        if self.by_multiples(id) {
            return old.saturating_mul((factor.round() as usize).max(2));
        }
        let size = ((old as f64 * factor).round() as usize).max(old + 1);
        rounded_up(size, wanted)
    }

    /// The sizes that bring the network closest to a target.
    ///
    /// Spaces of which only multiples are possible are given each multiple in turn, and the others
    /// the factor that goes with it; of those that come within 3 %, the one that is most in balance
    /// is taken.
    fn fit(&self, graph: &Graph, wanted: &Request, target: Target) -> Result<Sizes, RequestError> {
        let (now, goal) = (target.of(graph), target.wanted());
        if goal <= now {
            let why = format!(
                "the network has {now} already (with the layers that are inserted), and {goal} are \
                 not more"
            );
            return Err(refusal("*", why));
        }
        let fit = Fit {
            widths: self,
            graph,
            wanted,
            target,
            amounts: Amounts::new(graph, &self.spaces, target),
        };
        let multiples = match self.scaled.iter().any(|id| self.by_multiples(*id)) {
            true => MAX_MULTIPLE,
            false => 1,
        };
        let mut best: Option<(f64, f64, f64, Sizes)> = None;
        for multiple in 1..=multiples {
            let Some((factor, sizes)) = fit.factor(multiple) else {
                break;
            };
            let reached = fit.reached(&sizes);
            let off = match is_near(reached, goal) {
                true => 0.0,
                false => reached.abs_diff(goal) as f64 / goal as f64,
            };
            let balance = (factor / multiple as f64).ln().abs();
            let better = best
                .as_ref()
                .is_none_or(|(o, _, b, _)| (off, balance) < (*o, *b));
            if better {
                best = Some((off, factor, balance, sizes));
            }
        }
        // Beyond the largest factor there is no search.
        best = best.filter(|(off, factor, ..)| *off == 0.0 || *factor < MAX_FACTOR);
        let why =
            || format!("widening by at most {MAX_FACTOR} does not reach {goal}; grow by less");
        best.map(|(.., sizes)| sizes)
            .ok_or_else(|| refusal("*", why()))
    }
}

/// What people may call a space: its name, and those of the weights that make it, with and without
/// `.weight`.
fn called(graph: &Graph, spaces: &Spaces, space: &Space) -> Vec<String> {
    let layers = spaces.aliases(graph, space);
    let weights = layers.iter().map(|layer| format!("{layer}.weight"));
    let known = weights.filter(|name| graph.lookup(name).is_some());
    let known: Vec<String> = known.collect();
    let mut all = vec![space.name.clone()];
    all.extend(layers);
    all.extend(known);
    all
}

fn check_factor(space: &str, factor: f64) -> Result<(), RequestError> {
    if factor > 1.0 && factor <= MAX_FACTOR {
        return Ok(());
    }
    let why = format!("a factor of {} is not above 1 and sensible", short(factor));
    Err(refusal(space, why))
}

/// How far from a target is near enough.
const NEAR: f64 = 0.03;

/// Whether a network has come near enough to what is wanted.
pub(super) fn is_near(reached: u64, goal: u64) -> bool {
    reached.abs_diff(goal) as f64 <= NEAR * goal as f64
}

/// The largest factor that is tried.
const MAX_FACTOR: f64 = 1024.0;

/// The largest multiple of spaces of which only multiples are possible.
const MAX_MULTIPLE: usize = 16;

fn rounded_up(size: usize, wanted: &Request) -> usize {
    let step = wanted.round_to.unwrap_or(1).max(1);
    // A step beyond all sizes is refused with them.
    size.checked_next_multiple_of(step).unwrap_or(usize::MAX)
}

/// The search for the sizes that reach a target.
struct Fit<'a> {
    widths: &'a Widths,
    graph: &'a Graph,
    wanted: &'a Request,
    target: Target,
    amounts: Amounts<'a>,
}

impl Fit<'_> {
    /// All sizes by a factor, and by a multiple where only multiples are possible; those that stay
    /// as they are are left out.
    fn sizes(&self, multiple: usize, factor: f64) -> Sizes {
        let mut sizes = self.widths.sized.clone();
        for id in &self.widths.scaled {
            let space = &self.widths.spaces.all()[id.index()];
            let old = space.size.at(1);
            let size = match self.widths.by_multiples(*id) {
                true => old.saturating_mul(multiple),
                false => match (old as f64 * factor).round() as usize {
                    size if size > old => rounded_up(size, self.wanted),
                    _ => old,
                },
            };
            if size > old {
                sizes.insert(*id, size);
            }
        }
        sizes
    }

    fn reached(&self, sizes: &Sizes) -> u64 {
        // What would be refused is more than any goal that can be reached.
        match check_sizes(self.graph, &self.widths.spaces, sizes) {
            Ok(()) => self.amounts.all(sizes),
            Err(_) => u64::MAX,
        }
    }

    /// The factor and the sizes that come closest with a multiple, by bisection: the more a network
    /// is widened, the more it has. `None` if the multiple alone is too much.
    fn factor(&self, multiple: usize) -> Option<(f64, Sizes)> {
        let goal = self.target.wanted();
        let reached = |factor: f64| self.reached(&self.sizes(multiple, factor));
        let (mut low, mut high) = (1.0, 2.0);
        if reached(low) > goal {
            return None;
        }
        while reached(high) < goal && high <= MAX_FACTOR {
            low = high;
            high *= 2.0;
        }
        // Twenty halvings are finer than any space of less than a million units.
        for _ in 0..20 {
            let middle = f64::midpoint(low, high);
            if reached(middle) < goal {
                low = middle;
            } else {
                high = middle;
            }
        }
        let (sizes, top) = (self.sizes(multiple, low), self.sizes(multiple, high));
        Some((low, self.between(sizes, &top)))
    }

    /// Spaces of one size grow at the same factor; some of them are left where they were, so that it
    /// comes closer to the goal.
    fn between(&self, mut sizes: Sizes, top: &Sizes) -> Sizes {
        if check_sizes(self.graph, &self.widths.spaces, top).is_err() {
            return sizes;
        }
        let goal = self.target.wanted();
        let mut now = self.reached(&sizes);
        for id in &self.widths.scaled {
            let old = sizes.get(id).copied();
            let Some(size) = top.get(id).filter(|size| old != Some(**size)) else {
                continue;
            };
            let before = self.amounts.part(*id, &sizes);
            sizes.insert(*id, *size);
            let after = self.amounts.part(*id, &sizes);
            let then = now.saturating_sub(before).saturating_add(after);
            if then.abs_diff(goal) < now.abs_diff(goal) {
                now = then;
                continue;
            }
            match old {
                Some(old) => sizes.insert(*id, old),
                None => sizes.remove(id),
            };
        }
        sizes
    }
}

/// A refusal, and what to do instead where the space is one of a border.
fn with_way_out(space: &Space, refusal: &Refusal) -> Refusal {
    let mut refusal = refusal.clone();
    if space.border {
        refusal.why += match refusal.why.contains("input") {
            true => "; --features gives it more",
            false => "; --classes gives it more",
        };
    }
    refusal
}

/// The spaces that patterns name, by their own name or by what people call them; a pattern that
/// names none is refused, with the reason if it names one that cannot grow.
fn chosen(
    spaces: &Spaces,
    [names, refused]: [&Vec<(AtomId, Vec<String>)>; 2],
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
            let called = |(_, names): &&(AtomId, Vec<String>)| names.contains(pattern);
            let known = refused.iter().find(called).map(|(id, _)| *id);
            let known = known.or_else(|| spaces.position(pattern));
            if let Some(space) = known.map(|id| &spaces.all()[id.index()])
                && let Some(refusal) = &space.refusal
            {
                return Err(RequestError::Refused(with_way_out(space, refusal)));
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
