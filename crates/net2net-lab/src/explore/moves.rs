//! How a network may grow, and when two networks are the same.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use net2net_core::dims::Spaces;
use net2net_core::graph::{Graph, Source};
use net2net_core::ops::Op;
use net2net_core::plan::{blocks, deepenable};
use net2net_core::request::Request;
use sha2::{Digest, Sha256};

use super::spec::MoveSpec;
use crate::hex::hex;

/// One way to grow.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// What people call it, such as `widen stage1 x1.5`.
    pub name: String,
    /// What is asked for.
    pub request: Request,
}

/// What of a stage can grow.
#[derive(Default)]
struct Stage {
    spaces: Vec<String>,
    /// Residual blocks, in order.
    blocks: Vec<String>,
    /// Layers that are no outputs, in order.
    layers: Vec<String>,
    concats: Vec<String>,
}

/// All moves of a spec on a network, in the order of the spec. Whether one is possible is for planning to say.
pub fn moves(graph: &Graph, spec: &MoveSpec) -> Vec<Move> {
    let stages = stages(graph);
    let mut all = Vec::new();
    let mut add = |name: String, request: Request| all.push(Move { name, request });
    let widen = |factor: f64, spaces: &[String]| Request {
        widen: Some(factor),
        spaces: spaces.to_vec(),
        ..Request::default()
    };
    for factor in &spec.widen_space {
        for space in stages.values().flat_map(|stage| &stage.spaces) {
            let one = std::slice::from_ref(space);
            add(format!("widen {space} x{factor}"), widen(*factor, one));
        }
    }
    for factor in &spec.widen_stage {
        for (name, stage) in stages.iter().filter(|(_, stage)| !stage.spaces.is_empty()) {
            add(
                format!("widen {name} x{factor}"),
                widen(*factor, &stage.spaces),
            );
        }
    }
    for factor in &spec.widen_all {
        add(
            format!("widen all x{factor}"),
            widen(*factor, &["*".to_owned()]),
        );
    }
    if spec.deepen_stage {
        for (name, stage) in &stages {
            if let Some(request) = stage.deeper(Request::default()) {
                add(format!("deepen {name}"), request);
            }
        }
    }
    if spec.deepen_layer {
        for layer in stages.values().flat_map(|stage| &stage.layers) {
            let deepen = vec![layer.clone()];
            let request = Request {
                deepen,
                ..Request::default()
            };
            add(format!("deepen after {layer}"), request);
        }
    }
    for side in &spec.kernel {
        for layer in filters(graph, *side) {
            let enlarge = BTreeMap::from([(layer.clone(), *side)]);
            let request = Request {
                enlarge,
                ..Request::default()
            };
            add(format!("filter of {layer} to {side}"), request);
        }
    }
    if spec.branch {
        for stage in stages.values() {
            let last = stage.layers.last().into_iter().cloned().collect();
            let places: Vec<String> = match stage.concats.is_empty() {
                true => last,
                false => stage.concats.clone(),
            };
            for place in places {
                let branch = vec![place.clone()];
                let request = Request {
                    branch,
                    ..Request::default()
                };
                add(format!("branch at {place}"), request);
            }
        }
    }
    for factor in &spec.both {
        for (name, stage) in stages.iter().filter(|(_, stage)| !stage.spaces.is_empty()) {
            if let Some(request) = stage.deeper(widen(*factor, &stage.spaces)) {
                add(format!("widen {name} x{factor} and deepen it"), request);
            }
        }
    }
    all
}

impl Stage {
    /// A request for one more of the stage's last block, or a layer after its last one.
    fn deeper(&self, mut request: Request) -> Option<Request> {
        match (self.blocks.last(), self.layers.last()) {
            (Some(block), _) => request.copy = vec![block.clone()],
            (None, Some(layer)) => request.deepen = vec![layer.clone()],
            (None, None) => return None,
        }
        if request.widen.is_none() {
            request.spaces = vec!["*".to_owned()];
        }
        Some(request)
    }
}

/// The first word of a name. Exporters begin names of nodes with a stroke.
fn stage_of(name: &str) -> &str {
    let name = name.trim_start_matches('/');
    name.split(['.', '/']).next().unwrap_or(name)
}

/// What can grow by stage. A layer is called by its weight, whose name is a person's also where an exporter named the node.
fn stages(graph: &Graph) -> BTreeMap<String, Stage> {
    let mut stages: BTreeMap<String, Stage> = BTreeMap::new();
    let spaces = Spaces::infer(graph);
    for space in spaces.growable() {
        let alias = spaces.aliases(graph, space).into_iter().next();
        let stage = stage_of(alias.as_deref().unwrap_or(&space.name)).to_owned();
        let stage = stages.entry(stage).or_default();
        stage.spaces.push(space.name.clone());
    }
    for block in blocks(graph) {
        let stage = stages.entry(stage_of(&block.name).to_owned()).or_default();
        stage.blocks.push(block.name);
    }
    for layer in deepenable(graph) {
        let Some(id) = graph
            .lookup(layer)
            .filter(|id| !graph.outputs().contains(id))
        else {
            continue;
        };
        let weight = graph
            .producer(id)
            .and_then(|node| graph.at(node).inputs.get(1));
        let name = weight.map_or(layer, |id| graph.get(*id).name.as_str());
        let stage = stages.entry(stage_of(name).to_owned()).or_default();
        stage.layers.push(layer.to_owned());
    }
    for id in graph.node_ids() {
        if matches!(graph.at(id).op, Op::Concat(_)) {
            let name = graph.node_name(id);
            let stage = stages.entry(stage_of(name).to_owned()).or_default();
            stage.concats.push(name.to_owned());
        }
    }
    stages
}

/// Convolutions whose filters are smaller than a side, those of one pixel left out: they mix channels.
fn filters(graph: &Graph, side: usize) -> Vec<String> {
    let smaller = |id: &net2net_core::graph::NodeId| {
        let node = graph.at(*id);
        matches!(node.op, Op::Conv(_)) && {
            let sizes = graph.get(node.inputs[1]).shape.at(1);
            let sides = sizes.get(2..).unwrap_or_default();
            sides.iter().all(|s| *s < side) && sides.iter().any(|s| *s > 1)
        }
    };
    let found = graph.node_ids().filter(smaller);
    found.map(|id| graph.node_name(id).to_owned()).collect()
}

/// SHA-256 of what a network is apart from its names: operators, sizes, and what reads what.
pub fn fingerprint(graph: &Graph) -> String {
    let mut text = String::new();
    let mut numbers: HashMap<_, usize> = HashMap::new();
    for node in graph.nodes() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", node.op.name());
        for (name, value) in node.op.write().iter() {
            let _ = write!(text, " {name}={value}");
        }
        for id in node.inputs.iter().chain(&node.outputs) {
            let next = numbers.len();
            let number = *numbers.entry(*id).or_insert(next);
            let value = graph.get(*id);
            let kind = match value.source {
                Source::Input => "input",
                Source::Parameter => "parameter",
                Source::Node { .. } => "value",
            };
            let _ = write!(text, " {kind}{number}:{}", value.shape);
        }
        text.push('\n');
    }
    for id in graph.outputs() {
        let _ = write!(text, " output{:?}", numbers.get(id));
    }
    hex(Sha256::digest(text.as_bytes()))
}
