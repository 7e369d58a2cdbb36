//! The network that a trial starts from.

use std::fs;
use std::path::Path;

use net2net_core::apply::apply;
use net2net_core::engine::OptimizerState;
use net2net_core::graph::{Extent, Graph};
use net2net_core::io::Checkpoint;
use net2net_core::plan::Plan;
use net2net_core::verify::{Evidence, grow_and_prove};
use net2net_core::weights::{Weights, initialize};
use net2net_onnx::{Document, Imported};

use super::error::TrialError;
use super::spec::{StartSpec, StartWeights};
use crate::data::ImageShape;
use crate::train::TrainingData;

/// A network before the first step.
pub(crate) struct Start {
    pub(crate) graph: Graph,
    pub(crate) weights: Weights<f32>,
    pub(crate) optimizer: OptimizerState<f32>,
    /// The plans by which it grew, and the proof of each that was proved.
    pub(crate) plans: Vec<Plan>,
    pub(crate) evidence: Vec<Evidence>,
}

/// Opens a network: an ONNX file, or a safetensors file that carries its graph.
pub fn open(path: &Path) -> Result<Checkpoint, TrialError> {
    if path.extension().is_some_and(|e| e == "safetensors") {
        return Ok(Checkpoint::read(path)?);
    }
    let onnx = |source| TrialError::Onnx {
        path: path.to_owned(),
        source,
    };
    let document = Document::open(path).map_err(onnx)?;
    let imported = Imported::read(&document).map_err(onnx)?;
    if let Some(opaque) = imported.opaque.first() {
        return Err(TrialError::Unfit {
            why: format!(
                "{} has a node that is not understood, so it cannot be trained here: `{}` ({}): {}",
                path.display(),
                opaque.node,
                opaque.operator,
                opaque.why
            ),
        });
    }
    let weights = imported.weights(&document).map_err(onnx)?;
    Ok(Checkpoint::model(imported.graph, weights))
}

/// Refuses a network that does not read such images, or has too few classes for them.
pub(crate) fn fits(graph: &Graph, data: &TrainingData) -> Result<(), TrialError> {
    reads(graph, data.splits.train.shape())?;
    let classes = data.splits.train.classes().len();
    match classes_of(graph) {
        Some(found) if found < classes => Err(TrialError::Unfit {
            why: format!(
                "has {found} classes, and the images have {classes}; `net2net grow --classes {classes}` adds the others"
            ),
        }),
        _ => Ok(()),
    }
}

/// How many classes a network tells apart, if its first output is one of logits.
pub(crate) fn classes_of(graph: &Graph) -> Option<usize> {
    let logits = graph.outputs().first().map(|id| &graph.get(*id).shape);
    match logits.map(|shape| shape.extents()) {
        Some([Extent::Batch, Extent::Fixed(found)]) => Some(*found),
        _ => None,
    }
}

/// Refuses a network that does not read such images.
pub(crate) fn reads(graph: &Graph, images: ImageShape) -> Result<(), TrialError> {
    let wanted = [
        Extent::Batch,
        Extent::Fixed(images.channels),
        Extent::Fixed(images.height),
        Extent::Fixed(images.width),
    ];
    let inputs: Vec<&[Extent]> = graph
        .inputs()
        .iter()
        .map(|id| graph.get(*id).shape.extents())
        .collect();
    if inputs != [&wanted[..]] {
        let shapes: Vec<String> = graph
            .inputs()
            .iter()
            .map(|id| graph.get(*id).shape.to_string())
            .collect();
        return Err(TrialError::Unfit {
            why: format!(
                "reads {}, and the images are [N, {}, {}, {}]; an ONNX file needs a free batch \
                 (`dynamic_axes` when it is exported)",
                shapes.join(" and "),
                images.channels,
                images.height,
                images.width
            ),
        });
    }
    Ok(())
}

impl Start {
    /// The network of a spec whose files are relative to a folder: read or built, then grown by its plans, each proved.
    pub(crate) fn new(
        spec: &StartSpec,
        folder: &Path,
        data: &TrainingData,
        seed: u64,
        threads: usize,
    ) -> Result<Start, TrialError> {
        let mut start = match (&spec.model, &spec.file) {
            (Some(model), _) => {
                let train = &data.splits.train;
                let graph = model.build(train.shape(), train.classes().len())?;
                Start::of(Checkpoint::model(graph.clone(), initialize(&graph, seed)))
            }
            (None, Some(file)) => Start::of(open(&folder.join(file))?),
            (None, None) => return Err(spec.check().err().map_or_else(nothing, Into::into)),
        };
        reads(&start.graph, data.splits.train.shape())?;
        if !spec.keep_moments {
            start.optimizer = OptimizerState::default();
        }
        for plan in &spec.plans {
            start.grow(&folder.join(plan), spec.weights, data, seed, threads)?;
        }
        // Classes that are lacking may come by a plan.
        fits(&start.graph, data)?;
        if spec.weights == StartWeights::Fresh {
            start.weights = initialize(&start.graph, seed);
            start.optimizer = OptimizerState::default();
        }
        if let Some(amounts) = &spec.shrink_perturb {
            amounts.apply(&start.graph, &mut start.weights, seed);
            start.optimizer = OptimizerState::default();
        }
        Ok(start)
    }

    fn of(checkpoint: Checkpoint) -> Start {
        Start {
            graph: checkpoint.graph,
            weights: checkpoint.weights,
            optimizer: checkpoint.optimizer,
            plans: Vec::new(),
            evidence: Vec::new(),
        }
    }

    /// Grows by one plan. Weights that are drawn anew afterwards need no proof.
    fn grow(
        &mut self,
        path: &Path,
        weights: StartWeights,
        data: &TrainingData,
        seed: u64,
        threads: usize,
    ) -> Result<(), TrialError> {
        let text = fs::read_to_string(path).map_err(TrialError::file(path))?;
        let plan = Plan::from_json(&text).map_err(|source| TrialError::Plan {
            path: path.to_owned(),
            source,
        })?;
        let fault = |source| TrialError::Apply {
            path: path.to_owned(),
            source,
        };
        let growth = apply(&self.graph, &plan).map_err(fault)?;
        if weights == StartWeights::Kept {
            let drawn = data.proof_images(seed)?;
            let proved = grow_and_prove(
                &self.graph,
                &plan,
                &growth,
                &self.weights,
                threads,
                drawn.count,
                &[&drawn.images],
                &drawn.what,
            )
            .map_err(|source| TrialError::Verify {
                path: path.to_owned(),
                source,
            })?;
            self.optimizer = growth.optimizer_state(&self.optimizer).map_err(fault)?;
            self.weights = proved.weights;
            self.evidence.push(proved.evidence);
        }
        self.graph = growth.graph().clone();
        self.plans.push(plan);
        Ok(())
    }
}

fn nothing() -> TrialError {
    TrialError::Unfit {
        why: "is not stated".to_owned(),
    }
}
