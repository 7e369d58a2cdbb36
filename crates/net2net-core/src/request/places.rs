//! Where layers, blocks, branches and filters are asked for, by name.

use wildmatch::WildMatch;

use super::{RequestError, Target, refusal, short};
use crate::graph::{Graph, NodeId};
use crate::ops::Op;
use crate::plan::{Block, Region, blocks, deepenable, toppable};

/// One of several things that patterns choose from, and what it is called.
struct Named<'g, T> {
    what: T,
    names: Vec<&'g str>,
}

/// Those that patterns name, in their own order; a pattern that names none is refused.
fn chosen<T>(
    named: Vec<Named<'_, T>>,
    patterns: &[String],
    none: &str,
) -> Result<Vec<T>, RequestError> {
    let mut wanted = vec![false; named.len()];
    for pattern in patterns {
        let matcher = WildMatch::new(pattern);
        let mut any = false;
        for (one, wanted) in named.iter().zip(&mut wanted) {
            if one.names.iter().any(|name| matcher.matches(name)) {
                *wanted = true;
                any = true;
            }
        }
        if !any {
            let names = named.iter().flat_map(|one| one.names.iter().copied());
            let hint = crate::graph::hint(pattern.trim_matches('*'), names);
            return Err(refusal(pattern, format!("{none}{hint}")));
        }
    }
    let all = named.into_iter().zip(wanted).filter(|(_, wanted)| *wanted);
    Ok(all.map(|(one, _)| one.what).collect())
}

/// The layers that can be deepened, by the node's name or the weight's.
pub(super) fn layers(graph: &Graph, patterns: &[String]) -> Result<Vec<String>, RequestError> {
    let named = deepenable(graph).into_iter().map(|layer| Named {
        what: layer.to_owned(),
        names: vec![layer, weight_of(graph, layer)],
    });
    let none = "it matches no layer that can be deepened";
    chosen(named.collect(), patterns, none)
}

/// The concatenations that can have layers on top.
pub(super) fn concats(graph: &Graph, patterns: &[String]) -> Result<Vec<String>, RequestError> {
    let named = toppable(graph).into_iter().map(|concat| Named {
        what: concat.to_owned(),
        names: vec![concat],
    });
    let none = "it matches no concatenation of rectified values";
    chosen(named.collect(), patterns, none)
}

/// The residual blocks that can be copied, by what their parameters' names begin with or by the
/// name of their output.
pub(super) fn blocks_of(graph: &Graph, patterns: &[String]) -> Result<Vec<Block>, RequestError> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let all = blocks(graph);
    let named = all.iter().map(|block| Named {
        what: block.clone(),
        names: vec![&block.name, &block.after],
    });
    let none = "it matches no residual block that can be copied";
    chosen(named.collect(), patterns, none)
}

/// Something that a branch can stand beside.
pub(super) enum Junction {
    /// A convolution or linear layer.
    Layer(String),
    /// A concatenation.
    Concat(String),
}

/// The layers and concatenations that patterns name.
pub(super) fn junctions(graph: &Graph, patterns: &[String]) -> Result<Vec<Junction>, RequestError> {
    let layers = deepenable(graph).into_iter().map(|layer| Named {
        what: Junction::Layer(layer.to_owned()),
        names: vec![layer, weight_of(graph, layer)],
    });
    let concats = graph
        .node_ids()
        .filter(|id| matches!(graph.at(*id).op, Op::Concat(_)));
    let concats = concats.map(|id| Named {
        what: Junction::Concat(graph.node_name(id).to_owned()),
        names: vec![graph.node_name(id)],
    });
    let none = "it matches no layer or concatenation that a branch can stand beside";
    chosen(layers.chain(concats).collect(), patterns, none)
}

/// The convolutions that a pattern names.
pub(super) fn convolutions(graph: &Graph, pattern: &str) -> Result<Vec<String>, RequestError> {
    let found = graph
        .node_ids()
        .filter(|id| matches!(graph.at(*id).op, Op::Conv(_)));
    let named = found.map(|id| {
        let name = graph.node_name(id);
        Named {
            what: name.to_owned(),
            names: vec![name, weight_of(graph, name)],
        }
    });
    let none = "it matches no convolution";
    chosen(named.collect(), &[pattern.to_owned()], none)
}

/// Where `factor` times as many blocks, or layers where there are no blocks, get their copies:
/// each place as often as it is named, last ones first.
pub(super) fn depth(graph: &Graph, factor: f64) -> Result<Vec<Place>, RequestError> {
    if !(factor > 1.0 && factor <= 64.0) {
        let why = format!("a depth of {}x is not above 1 and sensible", short(factor));
        return Err(refusal("*", why));
    }
    let mut places: Vec<Place> = blocks(graph).into_iter().map(Place::Block).collect();
    if places.is_empty() {
        let is_output = |layer: &str| {
            let found = graph.lookup(layer);
            found.is_some_and(|id| graph.outputs().contains(&id))
        };
        // The last layer only where there is no other one.
        let all = deepenable(graph);
        let inner = all.iter().copied().filter(|layer| !is_output(layer));
        let mut layers: Vec<&str> = inner.collect();
        if layers.is_empty() {
            layers = all;
        }
        places = layers
            .into_iter()
            .map(|layer| Place::Layer(layer.to_owned()))
            .collect();
    }
    if places.is_empty() {
        let why = "it has neither residual blocks nor convolutions and linear layers, and there is no \
                   other layer that changes nothing; --wider and --params widen it";
        return Err(refusal("*", why.to_owned()));
    }
    let count = (((factor - 1.0) * places.len() as f64).round() as usize).max(1);
    let chosen = spread(places.len(), count);
    Ok(chosen.map(|at| places[at].clone()).collect())
}

/// So many of all places, evenly over the depth, the last ones first: a copy of a block leaves those
/// before it as they are.
fn spread(places: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count)
        .rev()
        .map(move |i| (2 * i + 1) * places / (2 * count))
}

/// The residual blocks of which there is one more when a network is to reach a target: half of the
/// factor, on a scale of factors, is depth, as in EfficientNet's compound scaling (Tan & Le 2019,
/// section 3.3), unless these copies alone would be more than is wanted. None where there are no
/// blocks.
pub(super) fn balanced(graph: &Graph, target: Target) -> Vec<Place> {
    let deeper = target.factor(graph).sqrt().min(64.0);
    let all = blocks(graph);
    // Half of a factor below this makes no block more, or one of very few.
    if all.is_empty() || deeper < 1.1 || deeper.is_nan() {
        return Vec::new();
    }
    let readers = graph.consumers();
    let costs = all
        .iter()
        .map(|block| added(graph, &readers, block, target));
    let costs: Vec<u64> = costs.collect();
    let left = target.wanted().saturating_sub(target.of(graph));
    let mut count = (((deeper - 1.0) * all.len() as f64).round() as usize).max(1);
    while count > 0 {
        let own = spread(all.len(), count).map(|at| costs[at]);
        let sum = own.fold(0, u64::saturating_add);
        if sum <= left {
            break;
        }
        let fewer = count as f64 * left as f64 / sum as f64;
        count = (fewer as usize).min(count - 1);
    }
    let chosen = spread(all.len(), count);
    chosen.map(|at| Place::Block(all[at].clone())).collect()
}

/// What a copy of a block adds to what a target counts.
fn added(graph: &Graph, readers: &[Vec<NodeId>], block: &Block, target: Target) -> u64 {
    let region = graph.find(&block.after).ok();
    let region = region.and_then(|after| Region::find(graph, readers, &block.from, after).ok());
    let Some(region) = region else {
        return u64::MAX;
    };
    match target {
        Target::Parameters(_) => {
            let own = region.parameters(graph);
            own.map(|id| graph.get(id).shape.elements(1) as u64).sum()
        }
        Target::Flops(_) => {
            let own = region.nodes.iter();
            own.map(|id| graph.node_flops(graph.at(*id))).sum()
        }
    }
}

/// Where a network gets deeper.
#[derive(Clone)]
pub(super) enum Place {
    /// Another copy of a residual block.
    Block(Block),
    /// A layer after a layer.
    Layer(String),
}

/// The name of a layer's weight, without `.weight`.
fn weight_of<'g>(graph: &'g Graph, layer: &'g str) -> &'g str {
    let node = graph.lookup(layer).and_then(|id| graph.producer(id));
    let weight = node.and_then(|node| graph.at(node).inputs.get(1));
    let name = weight.map_or(layer, |id| graph.get(*id).name.as_str());
    name.strip_suffix(".weight").unwrap_or(name)
}
