//! Growing a model in every way that it can, and looking at everything that must stay.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use net2net_core::apply::{Growth, Origin, apply};
use net2net_core::dims::Spaces;
use net2net_core::graph::Graph;
use net2net_core::plan::{Plan, deepenable};
use net2net_core::request::{Request, request};
use net2net_core::verify::{compare, grow_and_prove};
use net2net_core::weights::Weights;
use net2net_kernels::Context;
use net2net_onnx::export::export;
use net2net_onnx::proto::{GraphProto, ModelProto, NodeProto};
use net2net_onnx::{Document, Imported};

use crate::models::Model;

/// Attributes that growth may change.
const SIZES: [&str; 12] = [
    "epsilon",
    "group",
    "shape",
    "split",
    "starts",
    "ends",
    "pads",
    "repeats",
    "value",
    "num_outputs",
    "allowzero",
    "hidden_size",
];

/// What became of a model.
pub(crate) struct Grown {
    /// The names of the spaces that could grow.
    pub(crate) spaces: Vec<String>,
    pub(crate) old: ModelProto,
    pub(crate) new: ModelProto,
    pub(crate) imported: Imported,
}

impl Grown {
    pub(crate) fn has(&self, spaces: &[&str]) {
        for space in spaces {
            assert!(
                self.spaces.iter().any(|own| own == space),
                "{space} is not in {:?}",
                self.spaces
            );
        }
    }

    /// The sizes of an initialiser before and after.
    pub(crate) fn dims(&self, name: &str) -> [Vec<i64>; 2] {
        [&self.old, &self.new].map(|model| {
            let all = &model.graph.as_ref().unwrap().initializer;
            all.iter().find(|t| t.name() == name).unwrap().dims.clone()
        })
    }
}

/// Grows a model wider and deeper through files, and proves each.
pub(crate) fn grows(model: &Model) -> Grown {
    grows_within(model, 1e-6)
}

/// The same with another largest relative difference.
pub(crate) fn grows_within(model: &Model, tolerance: f64) -> Grown {
    let folder = tempfile::tempdir().unwrap();
    let document = model.document();
    stays_the_same_without_growth(&document);
    grows_at(&document, tolerance, folder.path())
}

/// The same of a document, by way of files in a folder.
pub(crate) fn grows_at(document: &Document, tolerance: f64, folder: &Path) -> Grown {
    let imported = Imported::read(document).unwrap();
    let wider = Request {
        widen: Some(1.5),
        ..Request::default()
    };
    let deeper = Request {
        deepen: vec!["*".to_owned()],
        ..Request::default()
    };
    if !deepenable(&imported.graph).is_empty() {
        through_files(document, &imported, &deeper, tolerance, folder);
    }
    let spaces = Spaces::infer(&imported.graph);
    let spaces: Vec<String> = spaces.growable().map(|s| s.name.clone()).collect();
    let new = match spaces.is_empty() {
        true => document.model.clone(),
        false => through_files(document, &imported, &wider, tolerance, folder).model,
    };
    Grown {
        spaces,
        old: document.model.clone(),
        new,
        imported,
    }
}

fn through_files(
    document: &Document,
    imported: &Imported,
    wanted: &Request,
    tolerance: f64,
    folder: &Path,
) -> Document {
    let graph = &imported.graph;
    let weights: Weights<f32> = imported.weights(document).unwrap();
    let inputs = imported.random_inputs(2, 7).unwrap();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut cx = Context::<f32>::new(1).unwrap();
    let (plan, growth) = request(&mut cx, graph, &weights, wanted, 1, 2, &inputs).unwrap();
    let proved = grow_and_prove(graph, &plan, &growth, &weights, 1, 2, &inputs, "random").unwrap();
    let written = export(document, imported, &plan, &growth, &proved.weights).unwrap();
    let path = folder.join("grown model.onnx");
    written.save(&path).unwrap();
    let first = std::fs::read(&path).unwrap();
    written.save(&path).unwrap();
    assert_eq!(first, std::fs::read(&path).unwrap(), "saved twice");
    let again = Document::open(&path).unwrap();
    same_function(document, imported, &again, tolerance);
    same_at_other_lengths(document, imported, &again, tolerance);
    named_once(&again.model);
    keeps_the_rest(&document.model, &again.model, graph, &growth);
    written
}

/// Runs both as they are stored.
fn same_function(document: &Document, imported: &Imported, again: &Document, tolerance: f64) {
    let read = Imported::read(again).unwrap();
    let old: Weights<f64> = imported.weights(document).unwrap();
    let new: Weights<f64> = read.weights(again).unwrap();
    let inputs: Vec<Vec<f64>> = imported
        .random_inputs(3, 11)
        .unwrap()
        .iter()
        .map(|x| x.iter().map(|x| f64::from(*x)).collect())
        .collect();
    let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
    let mut cx = Context::<f64>::new(1).unwrap();
    let (before, after) = (&imported.graph, &read.graph);
    let outputs = compare(&mut cx, (before, &old), (after, &new), 3, &inputs);
    for output in outputs.unwrap() {
        assert!(output.scale > 1e-3, "{output:?}");
        assert!(output.max_rel < tolerance, "{output:?}");
    }
}

/// Runs both at the first other lengths of what is open that the old one takes.
fn same_at_other_lengths(
    document: &Document,
    imported: &Imported,
    again: &Document,
    tolerance: f64,
) {
    let read = imported.read_alike(again).unwrap();
    for which in 0..Imported::OTHER_LENGTHS {
        let Ok(old) = imported.at_other_lengths(document, which) else {
            continue;
        };
        let Some(old) = old else { return };
        if old.opaque.len() != imported.opaque.len() {
            continue;
        }
        let new = read.read_as(again, &old).unwrap();
        let before: Weights<f64> = old.weights(document).unwrap();
        let after: Weights<f64> = new.weights(again).unwrap();
        let inputs = old.random_inputs(2, 13).unwrap();
        let inputs: Vec<Vec<f64>> = inputs
            .iter()
            .map(|x| x.iter().map(|x| f64::from(*x)).collect())
            .collect();
        let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        let mut cx = Context::<f64>::new(1).unwrap();
        let (old, new) = ((&old.graph, &before), (&new.graph, &after));
        for output in compare(&mut cx, old, new, 2, &inputs).unwrap() {
            assert!(output.max_rel < tolerance, "{which}: {output:?}");
        }
        return;
    }
}

/// ONNX Runtime refuses two nodes of one name, and an old file whose initialisers are no inputs.
fn named_once(model: &ModelProto) {
    let graph = model.graph.as_ref().unwrap();
    let mut names = HashSet::new();
    let named = graph.node.iter().filter(|node| !node.name().is_empty());
    for node in named {
        assert!(names.insert(node.name()), "{} is there twice", node.name());
    }
    if model.ir_version() < 4 {
        let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
        for tensor in &graph.initializer {
            assert!(inputs.contains(tensor.name()), "{}", tensor.name());
        }
    }
}

/// Nothing but what grew is another.
fn keeps_the_rest(old: &ModelProto, new: &ModelProto, graph: &Graph, growth: &Growth) {
    let without_graph = |model: &ModelProto| ModelProto {
        graph: None,
        ..model.clone()
    };
    assert_eq!(without_graph(old), without_graph(new));
    let (old, new) = (old.graph.as_ref().unwrap(), new.graph.as_ref().unwrap());
    let frame = |graph: &GraphProto| GraphProto {
        node: Vec::new(),
        initializer: Vec::new(),
        value_info: Vec::new(),
        input: Vec::new(),
        ..graph.clone()
    };
    assert_eq!(frame(old), frame(new));
    for (before, after) in old.input.iter().zip(&new.input) {
        assert_eq!(
            (before.name(), &before.doc_string),
            (after.name(), &after.doc_string)
        );
    }
    let lies_inside = |t: &net2net_onnx::proto::TensorProto| t.data_location != Some(1);
    for (before, after) in old.initializer.iter().zip(&new.initializer) {
        assert_eq!(before.name(), after.name());
        assert_eq!(before.doc_string, after.doc_string);
        let parameter = graph.find(before.name()).is_ok();
        let kept = growth
            .stages()
            .iter()
            .all(|stage| matches!(stage.origins.get(before.name()), None | Some(Origin::Kept)));
        if parameter && kept && lies_inside(before) {
            assert_eq!(before, after);
        }
    }
    nodes_stay(&old.node, &new.node);
}

/// Old nodes are all there, in their order, with all that says nothing of sizes.
fn nodes_stay(old: &[NodeProto], new: &[NodeProto]) {
    let by_name: HashMap<&str, &NodeProto> = new.iter().map(|n| (n.name(), n)).collect();
    let known: HashSet<&str> = old.iter().map(NodeProto::name).collect();
    let order: Vec<&str> = new
        .iter()
        .map(NodeProto::name)
        .filter(|name| known.contains(name))
        .collect();
    assert_eq!(order, old.iter().map(NodeProto::name).collect::<Vec<_>>());
    for before in old {
        let after = by_name[before.name()];
        let frame = |node: &NodeProto| NodeProto {
            input: Vec::new(),
            output: Vec::new(),
            attribute: Vec::new(),
            ..node.clone()
        };
        assert_eq!(frame(before), frame(after));
        for attribute in &before.attribute {
            if !SIZES.contains(&attribute.name()) {
                assert!(after.attribute.contains(attribute), "{attribute:?}");
            }
        }
    }
}

/// A model that did not grow is written as it was.
fn stays_the_same_without_growth(document: &Document) {
    let imported = Imported::read(document).unwrap();
    let plan = Plan::new(&imported.graph, 0, Vec::new());
    let growth = apply(&imported.graph, &plan).unwrap();
    let weights: Weights<f32> = imported.weights(document).unwrap();
    let written = export(document, &imported, &plan, &growth, &weights).unwrap();
    assert_eq!(document.model, written.model);
}
