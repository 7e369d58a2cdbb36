//! A model file of either kind, as every command sees it.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use net2net_core::apply::Growth;
use net2net_core::graph::Graph;
use net2net_core::io::Checkpoint;
use net2net_core::plan::Plan;
use net2net_core::weights::{Weights, normal, stream};
use net2net_onnx::{Document, Imported, export::export};

/// A network, its weights, and the way back to its file.
pub(crate) struct Model {
    pub(crate) graph: Graph,
    pub(crate) weights: Weights<f32>,
    origin: Origin,
}

enum Origin {
    Onnx(Box<(Document, Imported)>),
    Checkpoint(Box<Checkpoint>),
}

impl Model {
    /// Opens an ONNX file, or a safetensors file that carries its graph.
    pub(crate) fn open(path: &Path) -> Result<Model> {
        if path.extension().is_some_and(|e| e == "safetensors") {
            let checkpoint = Checkpoint::read(path).with_context(|| {
                "a safetensors file is a model only if net2net wrote it; to grow a PyTorch state \
                 dict, export the module to ONNX and give the file with --state-dict"
            })?;
            return Ok(Model {
                graph: checkpoint.graph.clone(),
                weights: checkpoint.weights.clone(),
                origin: Origin::Checkpoint(Box::new(checkpoint)),
            });
        }
        let document = Document::open(path)?;
        Model::of(document).with_context(|| path.display().to_string())
    }

    fn of(document: Document) -> Result<Model> {
        let imported = Imported::read(&document)?;
        Ok(Model {
            graph: imported.graph.clone(),
            weights: imported.weights(&document)?,
            origin: Origin::Onnx(Box::new((document, imported))),
        })
    }

    /// What the rounding of the file's numbers may change, relative to an output's largest value:
    /// half floats keep three digits, single ones seven, and deep networks lose some of them.
    pub(crate) fn rounding(&self) -> f64 {
        let half = |id: i32| matches!(id, 10 | 16);
        match &self.origin {
            Origin::Onnx(parts) => {
                let mut tensors = parts.0.graph().initializer.iter();
                if tensors.any(|tensor| half(tensor.data_type())) {
                    5e-2
                } else {
                    1e-4
                }
            }
            Origin::Checkpoint(_) => 1e-4,
        }
    }

    /// Nodes of the file that are not understood, and why.
    pub(crate) fn opaque(&self) -> &[net2net_onnx::import::Opaque] {
        match &self.origin {
            Origin::Onnx(parts) => &parts.1.opaque,
            Origin::Checkpoint(_) => &[],
        }
    }

    /// Random inputs, `batch` samples.
    pub(crate) fn inputs(&self, batch: usize, seed: u64) -> Vec<Vec<f32>> {
        match &self.origin {
            Origin::Onnx(parts) => parts.1.random_inputs(batch, seed),
            Origin::Checkpoint(_) => {
                let inputs = self.graph.inputs().iter().map(|id| self.graph.get(*id));
                inputs
                    .map(|value| {
                        let mut random = stream(seed, &value.name);
                        let count = value.shape.elements(batch);
                        (0..count).map(|_| normal(&mut random) as f32).collect()
                    })
                    .collect()
            }
        }
    }

    /// The grown model, as a file that is still to be written.
    pub(crate) fn grown(
        &self,
        plan: &Plan,
        growth: &Growth,
        weights: &Weights<f32>,
    ) -> Result<Model> {
        match &self.origin {
            Origin::Onnx(parts) => {
                let (document, imported) = parts.as_ref();
                Model::of(export(document, imported, plan, growth, weights)?)
            }
            Origin::Checkpoint(old) => {
                let mut checkpoint = Checkpoint::model(growth.graph().clone(), weights.clone());
                checkpoint.optimizer = growth.optimizer_state(&old.optimizer)?;
                checkpoint.notes.clone_from(&old.notes);
                Ok(Model {
                    graph: checkpoint.graph.clone(),
                    weights: weights.clone(),
                    origin: Origin::Checkpoint(Box::new(checkpoint)),
                })
            }
        }
    }

    /// Writes the model, whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let wanted = match &self.origin {
            Origin::Onnx(_) => "onnx",
            Origin::Checkpoint(_) => "safetensors",
        };
        if path.extension().is_none_or(|e| e != wanted) {
            bail!(
                "{} should end in .{wanted}: a model is written in the form that it came in",
                path.display()
            );
        }
        match &self.origin {
            Origin::Onnx(parts) => parts.0.save(path)?,
            Origin::Checkpoint(checkpoint) => checkpoint.write(path)?,
        }
        Ok(())
    }
}

/// The number of threads that was asked for, or all there are.
pub(crate) fn threads(wanted: Option<u64>) -> usize {
    let all = || std::thread::available_parallelism().map_or(1, usize::from);
    wanted.map_or_else(all, |threads| threads as usize)
}

/// A count as people read it: 0.27 M.
pub(crate) fn count(n: u64) -> String {
    match n {
        0..=9_999 => n.to_string(),
        10_000..=999_999 => format!("{:.1} k", n as f64 / 1e3),
        1_000_000..=999_999_999 => format!("{:.2} M", n as f64 / 1e6),
        _ => format!("{:.2} G", n as f64 / 1e9),
    }
}
