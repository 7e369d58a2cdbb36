//! What people ask for, turned into a plan: all spaces by a factor, layers by name.

mod amounts;
mod places;
mod widths;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use net2net_kernels::{Context, Real};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::apply::{ApplyError, Growth, Run};
use crate::border;
use crate::dims::{Refusal, Spaces};
use crate::engine::{Precision, evaluate};
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::ops::Op;
use crate::plan::{
    Block, Deeper, Insert, Layer, Mapping, Plan, PlanError, Room, Step, Survey, Symmetry, beside,
    blocks, classes, copied, deeper, enlarge, features, join, measured,
};
use crate::weights::Source;
use places::{Junction, Place};
use widths::Widths;

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
    /// Factors of spaces of their own, by name with `*`; these are not widened by the factor of all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub factors: BTreeMap<String, f64>,
    /// The bytes that the machine has room for, if growth beyond them is to be refused before anything is
    /// made for it.
    #[serde(skip)]
    pub room: Option<Room>,
    /// Widen by the factor that brings the whole network to this; in place of `widen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Reach the target by copies of residual blocks too, where there are any, and not by width
    /// alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub balance: bool,
    /// New sizes are rounded up to multiples of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_to: Option<usize>,
    /// After which layers a layer is inserted, by name with `*`.
    #[serde(default)]
    pub deepen: Vec<String>,
    /// On top of which concatenations a layer is inserted, by name with `*`: those of rectified values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_top: Vec<String>,
    /// In place of each inserted layer, so many pairs of one with a vertical filter and one with a
    /// horizontal filter, as in the paper (section 3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<usize>,
    /// How many times as deep the network gets: by copies of its residual blocks, or by layers where
    /// it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<f64>,
    /// Residual blocks of which there will be one more, by name with `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copy: Vec<String>,
    /// Layers and concatenations that get one more branch, by name with `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branch: Vec<String>,
    /// New sides of filters, by the convolution's name with `*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub enlarge: BTreeMap<String, usize>,
    /// New numbers of classes, by the output's name with `*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, usize>,
    /// New numbers of features or channels, by the input's name with `*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, usize>,
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
    /// What is wanted.
    pub fn wanted(self) -> u64 {
        match self {
            Target::Parameters(count) | Target::Flops(count) => count,
        }
    }

    /// How many times as much it is as a network has.
    fn factor(self, graph: &Graph) -> f64 {
        self.wanted() as f64 / self.of(graph).max(1) as f64
    }

    /// Whether so much is within 3 % of it.
    pub fn is_met_by(self, reached: u64) -> bool {
        widths::is_near(reached, self.wanted())
    }

    /// What a network has of it.
    pub fn of(self, graph: &Graph) -> u64 {
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
            factors: BTreeMap::new(),
            room: None,
            target: None,
            balance: false,
            round_to: None,
            deepen: Vec::new(),
            on_top: Vec::new(),
            pairs: None,
            depth: None,
            copy: Vec::new(),
            branch: Vec::new(),
            enlarge: BTreeMap::new(),
            classes: BTreeMap::new(),
            features: BTreeMap::new(),
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

impl Request {
    /// Whether it asks for width, among other things perhaps.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.widen.is_some()
            || self.target.is_some()
            || !self.sizes.is_empty()
            || !self.factors.is_empty()
    }
}

impl RequestError {
    /// Whether it says that something cannot grow, and not that anything is wrong.
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            RequestError::Refused(_)
                | RequestError::Plan(PlanError::Refused(_))
                | RequestError::Apply(ApplyError::Refused { .. })
        )
    }
}

impl From<Refusal> for RequestError {
    fn from(refusal: Refusal) -> Self {
        RequestError::Refused(refusal)
    }
}

/// Makes the plan of a request and carries it out on the graph: new inputs and classes, filters
/// and branches, blocks and layers first, since statistics are measured on the network as it is,
/// then widths, which carry those statistics along.
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
    let mut draft = Draft {
        cx,
        growth: Growth::none(graph)?,
        weights,
        seed,
        batch,
        inputs,
        steps: Vec::new(),
        open: None,
    };
    draft.structure(wanted)?;
    draft.depth(wanted)?;
    // After all layers, since these are measured on inputs of the old network.
    draft.borders(graph, wanted)?;
    draft.widths(wanted)?;
    if draft.steps.is_empty() {
        let why = "nothing is asked for: no wider spaces, no deeper layers, and nothing else";
        return Err(refusal("*", why.to_owned()));
    }
    Ok((Plan::new(graph, seed, draft.steps), draft.growth))
}

/// A plan in the making, and the network as it is after its steps so far.
struct Draft<'a, T: Real> {
    cx: &'a mut Context<T>,
    growth: Growth,
    weights: &'a dyn Source<T>,
    seed: u64,
    batch: usize,
    inputs: &'a [&'a [T]],
    steps: Vec<Step>,
    open: Option<Open>,
}

/// Layers that will be inserted in one pass: a network of thousands of them is not to be rebuilt for
/// each.
struct Open {
    run: Run,
    survey: Survey,
    waiting: Vec<Deeper>,
}

impl Open {
    fn new(graph: &Graph) -> Open {
        Open {
            run: Run::default(),
            survey: Survey::of(graph),
            waiting: Vec::new(),
        }
    }
}

impl<T: Precision> Draft<'_, T> {
    /// The network without the layers that wait.
    fn graph(&self) -> &Graph {
        self.growth.graph()
    }

    fn take(&mut self, steps: Vec<Step>) -> Result<(), RequestError> {
        self.close()?;
        self.growth.then(&steps)?;
        self.steps.extend(steps);
        Ok(())
    }

    /// Inserts a layer with those that wait, or after them if it builds upon one of them.
    fn insert(&mut self, planned: Deeper) -> Result<(), RequestError> {
        for again in [false, true] {
            let graph = self.growth.graph();
            let open = self.open.get_or_insert_with(|| Open::new(graph));
            let number = self.steps.len() + open.waiting.len() + 1;
            let readers = &open.survey.readers;
            if open.run.add(graph, readers, &planned.insert, number)? {
                open.survey.take(&planned.insert.name);
                open.waiting.push(planned);
                return Ok(());
            }
            if !again {
                self.close()?;
            }
        }
        let why = "it builds upon what is inserted with it".to_owned();
        Err(refusal(&planned.insert.after, why))
    }

    /// Inserts the layers that wait.
    fn close(&mut self) -> Result<(), RequestError> {
        let Some(open) = self.open.take().filter(|open| !open.waiting.is_empty()) else {
            return Ok(());
        };
        let mut waiting = open.waiting;
        let grown = self.growth.source(self.weights);
        let (batch, inputs) = (self.batch, self.inputs);
        measured(
            self.cx,
            self.growth.graph(),
            &grown,
            &mut waiting,
            batch,
            inputs,
        )?;
        let inserts: Vec<&Insert> = waiting.iter().map(|one| &one.insert).collect();
        let last = self.steps.len() + inserts.len();
        self.growth.insert(open.run, &inserts, last)?;
        let steps = waiting.into_iter().map(|one| Step::Insert(one.insert));
        self.steps.extend(steps);
        Ok(())
    }

    /// Wider spaces.
    fn widths(&mut self, wanted: &Request) -> Result<(), RequestError> {
        let graph = self.graph();
        let reached = |target: Target| target.is_met_by(target.of(graph));
        if !self.steps.is_empty() && wanted.target.is_some_and(reached) {
            // New layers were all that it took.
            return Ok(());
        }
        let widths = Widths::new(graph, wanted)?;
        let sizes = widths.sizes(graph, wanted)?;
        if let (Some(target), true) = (wanted.target, sizes.is_empty() && self.steps.is_empty()) {
            let (now, goal) = (target.of(graph), target.wanted());
            let why = format!("it has {now}, and a unit more of any space is no nearer to {goal}");
            return Err(refusal("*", why));
        }
        let steps = widths.steps(graph, wanted, sizes, self.seed)?;
        self.take(steps)
    }

    /// Larger filters and new branches.
    fn structure(&mut self, wanted: &Request) -> Result<(), RequestError> {
        for (pattern, side) in &wanted.enlarge {
            let layers = places::convolutions(self.graph(), pattern)?;
            self.each(layers, |draft, layer| {
                let step = enlarge(draft.graph(), &layer, *side)?;
                draft.take(vec![Step::Enlarge(step)])
            })?;
        }
        let junctions = places::junctions(self.graph(), &wanted.branch)?;
        let (seed, kernel) = (self.seed, wanted.kernel);
        self.each(junctions, |draft, junction| match junction {
            Junction::Layer(layer) => {
                let planned = draft.plan(|graph, survey| {
                    Ok(beside(graph, survey, &layer, kernel, seed)?.into())
                })?;
                draft.insert(planned)
            }
            Junction::Concat(concat) => {
                draft.close()?;
                let planned = join(draft.graph(), &concat, kernel.unwrap_or(3), seed);
                draft.take(vec![Step::Join(planned?)])
            }
        })?;
        self.close()
    }

    /// Grows each of several places. Where a pattern names many, those that refuse are left as they
    /// are, unless all do.
    fn each<P>(
        &mut self,
        places: Vec<P>,
        grow: impl Fn(&mut Self, P) -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let (all, mut refused) = (places.len(), Vec::new());
        for place in places {
            match grow(self, place) {
                Err(error) if error.is_refusal() => refused.push(error),
                other => other?,
            }
        }
        match refused.len() == all {
            true => refused.into_iter().next().map_or(Ok(()), Err),
            false => Ok(()),
        }
    }

    /// Copied blocks and inserted layers.
    fn depth(&mut self, wanted: &Request) -> Result<(), RequestError> {
        let mut all: Vec<Place> = Vec::new();
        if let Some(factor) = wanted.depth {
            all = places::depth(self.graph(), factor)?;
        } else if let (true, Some(target)) = (wanted.balance, wanted.target) {
            all = places::balanced(self.graph(), target);
        }
        let named = places::blocks_of(self.graph(), &wanted.copy)?;
        all.extend(named.into_iter().map(Place::Block));
        // From the last one on, since a copy of a block is what the next one reads.
        all.sort_by_key(|place| match place {
            Place::Block(block) => Reverse(self.graph().lookup(&block.after)),
            Place::Layer(_) => Reverse(None),
        });
        let layers = places::layers(self.graph(), &wanted.deepen)?;
        let concats = places::concats(self.graph(), &wanted.on_top)?;
        all.extend(layers.into_iter().chain(concats).map(Place::Layer));
        let mut before = BTreeSet::new();
        for place in all {
            match place {
                Place::Block(block) => {
                    let block = self.as_it_is(block)?;
                    let copy =
                        |graph: &Graph, survey: &Survey| Ok(copied(graph, survey, &block)?.into());
                    let planned = self.plan(copy)?;
                    self.insert(planned)?;
                }
                Place::Layer(layer) => {
                    // What was inserted before an output has taken over its name.
                    if !before.insert(layer.clone()) && self.ends_in_output(&layer) {
                        self.close()?;
                    }
                    self.deeper(&layer, wanted)?;
                }
            }
        }
        self.close()
    }

    /// Whether a layer, or what reads it, is an output.
    fn ends_in_output(&self, layer: &str) -> bool {
        let graph = self.graph();
        let outputs = graph.outputs();
        let mut nodes = graph.nodes().iter();
        graph.lookup(layer).is_some_and(|value| {
            let read = |node: &Node| {
                node.inputs.contains(&value) && node.outputs.iter().any(|o| outputs.contains(o))
            };
            outputs.contains(&value) || nodes.any(read)
        })
    }

    /// A block as it can be copied now. The copy of one that ends in an output takes over the output's
    /// name, and is what is copied next.
    fn as_it_is(&mut self, block: Block) -> Result<Block, RequestError> {
        let after = self.graph().lookup(&block.after);
        if !after.is_some_and(|after| self.graph().outputs().contains(&after)) {
            return Ok(block);
        }
        self.close()?;
        let mut all = blocks(self.graph()).into_iter();
        let now = all.rfind(|now| now.after == block.after);
        Ok(Block {
            stem: block.stem.clone(),
            ..now.unwrap_or(block)
        })
    }

    /// Plans a layer in the network without those that wait, but with a name that none of them has.
    fn plan(
        &mut self,
        plan: impl FnOnce(&Graph, &Survey) -> Result<Deeper, RequestError>,
    ) -> Result<Deeper, RequestError> {
        let graph = self.growth.graph();
        let open = self.open.get_or_insert_with(|| Open::new(graph));
        plan(graph, &open.survey)
    }

    /// A layer, or pairs of layers, after one.
    fn deeper(&mut self, layer: &str, wanted: &Request) -> Result<(), RequestError> {
        let seed = self.seed;
        let Some(pairs) = wanted.pairs else {
            let planned =
                self.plan(|graph, survey| Ok(deeper(graph, survey, layer, wanted.kernel, seed)?))?;
            return self.insert(planned);
        };
        if !(1..=64).contains(&pairs) {
            let why = format!("{pairs} pairs are not between 1 and 64");
            return Err(refusal(layer, why));
        }
        let side = wanted.kernel.unwrap_or(3);
        for _ in 0..pairs {
            // Each goes between the layer and what was inserted before, so the vertical ones are last.
            for shape in [[1, side], [side, 1]] {
                let mut planned =
                    self.plan(|graph, survey| Ok(deeper(graph, survey, layer, Some(side), seed)?))?;
                match &mut planned.insert.layer {
                    Layer::Identity { kernel, .. }
                    | Layer::Residual { kernel, .. }
                    | Layer::Factor { kernel }
                        if kernel.len() == 2 =>
                    {
                        *kernel = shape.to_vec();
                    }
                    _ => {
                        let why = "pairs of a vertical and a horizontal filter are for images";
                        return Err(refusal(layer, why.to_owned()));
                    }
                }
                self.insert(planned)?;
            }
        }
        Ok(())
    }

    /// New classes and features; the logit of new classes is the smallest one that the old network
    /// gives on the samples, so that none of them is predicted there.
    fn borders(&mut self, old: &Graph, wanted: &Request) -> Result<(), RequestError> {
        for (pattern, size) in &wanted.classes {
            let logits = with_logits(old);
            let outputs = evaluate(self.cx, &logits, self.weights, self.batch, self.inputs);
            let mut outputs = outputs.map_err(PlanError::Measure)?;
            let outputs = outputs.split_off(old.outputs().len());
            for (at, id) in named(self.graph(), self.graph().outputs(), pattern, "output")? {
                let finite = outputs[at].iter().map(|x| (*x).to_f64());
                let logit = finite.filter(|x| x.is_finite()).fold(0.0, f64::min);
                let spaces = Spaces::infer(self.graph());
                let step = classes(self.graph(), &spaces, id, *size, logit)?;
                self.take(vec![Step::Extend(step)])?;
            }
        }
        for (pattern, size) in &wanted.features {
            for (_, id) in named(self.graph(), self.graph().inputs(), pattern, "input")? {
                let spaces = Spaces::infer(self.graph());
                let step = features(self.graph(), &spaces, id, *size, self.seed)?;
                self.take(vec![Step::Extend(step)])?;
            }
        }
        Ok(())
    }
}

/// A network that has, behind its outputs, each of them once more as it is before a last softmax or
/// sigmoid.
fn with_logits(graph: &Graph) -> Graph {
    let mut all = graph.clone();
    for output in graph.outputs() {
        let softmax = border::final_softmax(graph, *output).map(|(node, _)| node);
        let is_sigmoid = |id: &NodeId| matches!(graph.at(*id).op, Op::Sigmoid(_));
        let last = softmax.or_else(|| graph.producer(*output).filter(is_sigmoid));
        all.output(last.map_or(*output, |node| graph.at(node).inputs[0]));
    }
    all
}

/// Those inputs or outputs that a pattern names, with their positions.
fn named(
    graph: &Graph,
    ids: &[ValueId],
    pattern: &str,
    what: &str,
) -> Result<Vec<(usize, ValueId)>, RequestError> {
    let matcher = wildmatch::WildMatch::new(pattern);
    let name = |id: &ValueId| graph.get(*id).name.as_str();
    let all = ids.iter().copied().enumerate();
    let found: Vec<(usize, ValueId)> = all.filter(|(_, id)| matcher.matches(name(id))).collect();
    if found.is_empty() {
        let names: Vec<&str> = ids.iter().map(name).collect();
        let why = format!(
            "the network has no such {what}; it has {}",
            names.join(", ")
        );
        return Err(refusal(pattern, why));
    }
    Ok(found)
}

/// A number in a message, which may be absurd.
fn short(number: f64) -> String {
    match number.abs() < 1e6 {
        true => number.to_string(),
        false => format!("{number:e}"),
    }
}

fn refusal(space: &str, why: String) -> RequestError {
    RequestError::Refused(Refusal {
        space: space.to_owned(),
        node: None,
        why,
    })
}
