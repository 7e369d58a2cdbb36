//! A model file of either kind, as every command sees it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use net2net_core::apply::Growth;
use net2net_core::graph::Graph;
use net2net_core::io::{Checkpoint, IoError};
use net2net_core::plan::Plan;
use net2net_core::weights::{Source, Tensor, WeightsError, Words, normal, stream};
use net2net_kernels::memory;
use net2net_onnx::export::export_streaming;
use net2net_onnx::import::{Feed, Stored};
use net2net_onnx::{Document, FileSource, Imported, OnnxError, Staged};

/// There are no operator sets above this, nor will there be for years.
const NEWEST_OPSET: i64 = 40;

/// A network, and the file that it came from. It is also the source of its weights: those of an
/// ONNX file are read one by one when they are asked for.
pub(crate) struct Model {
    pub(crate) graph: Graph,
    origin: Origin,
}

enum Origin {
    Onnx(Arc<(Document, Imported)>),
    Checkpoint(Box<Checkpoint>),
}

impl Source<f32> for Model {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<f32>>, WeightsError> {
        match &self.origin {
            Origin::Onnx(parts) => {
                let file = FileSource::new(&parts.0, &parts.1);
                file.tensor(name)
                    .map(|tensor| Cow::Owned(tensor.into_owned()))
            }
            Origin::Checkpoint(checkpoint) => checkpoint.weights.tensor(name),
        }
    }

    fn wide(&self, name: &str) -> Result<Tensor<f64>, WeightsError> {
        match &self.origin {
            Origin::Onnx(parts) => FileSource::new(&parts.0, &parts.1).wide(name),
            Origin::Checkpoint(checkpoint) => checkpoint.weights.wide(name),
        }
    }

    fn words(&self, name: &str) -> Result<Option<Words<'_>>, WeightsError> {
        match &self.origin {
            Origin::Onnx(parts) => FileSource::new(&parts.0, &parts.1).in_place(name),
            Origin::Checkpoint(_) => Ok(None),
        }
    }
}

/// A model's file read with other lengths of what it leaves open.
pub(crate) struct Reread<'a> {
    document: &'a Document,
    imported: Imported,
}

impl Reread<'_> {
    pub(crate) fn graph(&self) -> &Graph {
        &self.imported.graph
    }

    pub(crate) fn source(&self) -> FileSource<'_> {
        FileSource::new(self.document, &self.imported)
    }

    /// Random inputs, `batch` samples.
    pub(crate) fn inputs(&self, batch: usize, seed: u64) -> Result<Vec<Vec<f64>>> {
        let inputs = self.imported.random_inputs(batch, seed)?.into_iter();
        Ok(inputs
            .map(|data| data.into_iter().map(f64::from).collect())
            .collect())
    }
}

/// A grown model that is not yet where it is to be.
pub(crate) struct Grown {
    pub(crate) model: Model,
    staged: Option<Staged>,
}

impl Grown {
    /// Puts the model where it is to be, whole or not at all.
    pub(crate) fn put(self, path: &Path) -> Result<()> {
        match (self.staged, &self.model.origin) {
            (Some(staged), _) => staged.put()?,
            (None, Origin::Checkpoint(checkpoint)) => checkpoint.write(path)?,
            (None, Origin::Onnx(parts)) => parts.0.save(path)?,
        }
        Ok(())
    }
}

impl Model {
    /// Opens an ONNX file, or a safetensors file that carries its graph.
    pub(crate) fn open(path: &Path) -> Result<Model> {
        if path.extension().is_some_and(|e| e == "safetensors") {
            let checkpoint = Checkpoint::read(path).map_err(|error| match error {
                error @ (IoError::File { .. } | IoError::TooLarge { .. }) => error.into(),
                error => anyhow!(error).context(
                    "a safetensors file is a model only if net2net wrote it; to grow a PyTorch \
                     state dict, export the module to ONNX and give the file with --state-dict",
                ),
            })?;
            return Ok(Model {
                graph: checkpoint.graph.clone(),
                origin: Origin::Checkpoint(Box::new(checkpoint)),
            });
        }
        let document = Document::open(path).map_err(|error| match error {
            OnnxError::Format { .. } => anyhow!(
                "{error}; a model is an ONNX file (from PyTorch: `torch.onnx.export(model.eval(), \
                 example, \"model.onnx\")`) or a .safetensors file that net2net wrote"
            ),
            error => error.into(),
        })?;
        let imported = Imported::read(&document);
        imported
            .map_err(anyhow::Error::from)
            .and_then(|imported| Model::of(document, imported))
            .with_context(|| path.display().to_string())
    }

    fn of(document: Document, imported: Imported) -> Result<Model> {
        imported.source(&document)?;
        Ok(Model {
            graph: imported.graph.clone(),
            origin: Origin::Onnx(Arc::new((document, imported))),
        })
    }

    /// A parameter's tensor laid out as the graph has it, from how the file has it.
    pub(crate) fn laid_out(
        &self,
        name: &str,
        sizes: &[usize],
        numbers: Vec<f32>,
    ) -> (Vec<usize>, Vec<f32>) {
        match self.stored(name) {
            Some(stored) if stored.rank() == sizes.len() => stored.turn(sizes, numbers),
            _ => (sizes.to_vec(), numbers),
        }
    }

    /// The same backwards.
    pub(crate) fn as_stored(
        &self,
        name: &str,
        sizes: &[usize],
        numbers: Vec<f32>,
    ) -> (Vec<usize>, Vec<f32>) {
        match self.stored(name) {
            Some(stored) => stored.turn_back(sizes, numbers),
            None => (sizes.to_vec(), numbers),
        }
    }

    /// The sizes of the same.
    pub(crate) fn laid_out_sizes(&self, name: &str, sizes: &[usize]) -> Vec<usize> {
        match self.stored(name) {
            Some(stored) if stored.rank() == sizes.len() => stored.turned_sizes(sizes),
            _ => sizes.to_vec(),
        }
    }

    /// Those backwards.
    pub(crate) fn stored_sizes(&self, name: &str, sizes: &[usize]) -> Vec<usize> {
        match self.stored(name) {
            Some(stored) => stored.sizes_back(sizes),
            None => sizes.to_vec(),
        }
    }

    /// Whether a tensor of so many axes has them in the order in which the graph has the parameter's.
    pub(crate) fn is_in_order(&self, name: &str, rank: usize) -> bool {
        let stored = self.stored(name);
        stored.is_none_or(|stored| stored.rank() == rank && stored.is_as_stored())
    }

    fn stored(&self, name: &str) -> Option<&Stored> {
        match &self.origin {
            Origin::Onnx(parts) => parts.1.parameters.get(name),
            Origin::Checkpoint(_) => None,
        }
    }

    /// Refuses growth for which the memory of the machine does not do: of an ONNX file the largest
    /// parameter must fit, old and new and in f64; of a checkpoint, all.
    pub(crate) fn check_memory(&self, growth: &Growth) -> Result<()> {
        let elements = |graph: &Graph| {
            let counts = graph
                .parameters()
                .map(|id| graph.get(id).shape.elements(1) as u64);
            counts.max().unwrap_or(0)
        };
        let (old, new) = (&self.graph, growth.graph());
        let mut needed = elements(old)
            .saturating_add(elements(new))
            .saturating_mul(8);
        if matches!(self.origin, Origin::Checkpoint(_)) {
            let all = old.parameter_count().saturating_add(new.parameter_count());
            // The new ones once more, as the bytes of a file.
            let all = all.saturating_add(new.parameter_count());
            needed = needed.saturating_add(all.saturating_mul(4));
        }
        match memory::available() {
            Some(available) if needed > available => bail!(
                "growing from {} to {} parameters needs about {:.1} GiB of memory, and {:.1} are \
                 available; grow by less",
                count(old.parameter_count()),
                count(new.parameter_count()),
                needed as f64 / f64::from(1 << 30),
                available as f64 / f64::from(1 << 30)
            ),
            _ => Ok(()),
        }
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

    /// Whether the file is an ONNX file.
    pub(crate) fn is_onnx(&self) -> bool {
        matches!(self.origin, Origin::Onnx(_))
    }

    /// Nodes of the file that are not understood, and why.
    pub(crate) fn opaque(&self) -> &[net2net_onnx::import::Opaque] {
        match &self.origin {
            Origin::Onnx(parts) => &parts.1.opaque,
            Origin::Checkpoint(_) => &[],
        }
    }

    /// The operator set of an ONNX file, if it is one that is too old, or that there is not.
    pub(crate) fn strange_opset(&self) -> Option<i64> {
        let Origin::Onnx(parts) = &self.origin else {
            return None;
        };
        let opset = parts.0.opset();
        (!(7..=NEWEST_OPSET).contains(&opset)).then_some(opset)
    }

    /// What is to be said of a model that is quantised, wholly or in part.
    pub(crate) fn quantized(&self) -> Option<String> {
        let count = self
            .opaque()
            .iter()
            .filter(|node| node.is_quantized())
            .count();
        (count > 0).then(|| {
            format!(
                "the model is quantised ({count} of its nodes): they and what is next to them stay as \
                 they are, since integers do not divide into the shares of copies; to grow all of it, \
                 grow the model in floating point and quantise it again"
            )
        })
    }

    /// Whether an input of the graph is made by a node that is not understood, and not fed.
    pub(crate) fn is_made_beside(&self, input: &str) -> bool {
        let Origin::Onnx(parts) = &self.origin else {
            return false;
        };
        let names = self
            .graph
            .inputs()
            .iter()
            .map(|id| &self.graph.get(*id).name);
        let mut feeds = names.zip(&parts.1.feeds);
        feeds.any(|(name, feed)| name == input && *feed == Feed::Island)
    }

    /// The graph's outputs that are the model's own alone: not made by nodes that are not understood, nor
    /// read by them.
    pub(crate) fn own_outputs(&self) -> Vec<String> {
        let outputs = self
            .graph
            .outputs()
            .iter()
            .map(|id| &self.graph.get(*id).name);
        let own = |name: &&String| match &self.origin {
            Origin::Onnx(parts) => {
                let stated = &parts.0.graph().output;
                stated.iter().any(|output| output.name() == name.as_str())
                    && !parts.1.read_outside.contains(*name)
                    && !self.is_made_beside(name)
            }
            Origin::Checkpoint(_) => true,
        };
        outputs.filter(own).cloned().collect()
    }

    /// The graph's inputs that are fed: not made by nodes that are not understood, nor read by them.
    pub(crate) fn own_inputs(&self) -> Vec<String> {
        let inputs = self
            .graph
            .inputs()
            .iter()
            .map(|id| &self.graph.get(*id).name);
        let read_outside = |name: &String| match &self.origin {
            Origin::Onnx(parts) => parts.1.read_outside.contains(name),
            Origin::Checkpoint(_) => false,
        };
        let fed = inputs.filter(|name| !self.is_made_beside(name) && !read_outside(name));
        fed.cloned().collect()
    }

    /// The model with other lengths of what its file leaves open, if that is more than the batch; `which`
    /// is below [`Imported::OTHER_LENGTHS`].
    pub(crate) fn at_other_lengths(&self, which: usize) -> Result<Option<Reread<'_>>> {
        let Origin::Onnx(parts) = &self.origin else {
            return Ok(None);
        };
        let (document, imported) = (&parts.0, &parts.1);
        let other = imported.at_other_lengths(document, which)?;
        Ok(other.map(|imported| Reread { document, imported }))
    }

    /// The model read as the one was that it was grown from.
    pub(crate) fn read_as(&self, other: &Reread<'_>) -> Result<Option<Reread<'_>>> {
        let Origin::Onnx(parts) = &self.origin else {
            return Ok(None);
        };
        let (document, imported) = (&parts.0, &parts.1);
        let imported = imported.read_as(document, &other.imported)?;
        Ok(Some(Reread { document, imported }))
    }

    /// Random inputs, `batch` samples.
    pub(crate) fn inputs(&self, batch: usize, seed: u64) -> Result<Vec<Vec<f32>>> {
        match &self.origin {
            Origin::Onnx(parts) => Ok(parts.1.random_inputs(batch, seed)?),
            Origin::Checkpoint(_) => {
                let inputs = self.graph.inputs().iter().map(|id| self.graph.get(*id));
                let random = inputs.map(|value| {
                    let mut random = stream(seed, &value.name);
                    let count = value.shape.elements(batch);
                    (0..count).map(|_| normal(&mut random) as f32).collect()
                });
                Ok(random.collect())
            }
        }
    }

    /// The grown model, as it will be in a file. An ONNX model is written beside `path` and read
    /// again; its parameters grow one by one.
    pub(crate) fn grown(
        &self,
        plan: &Plan,
        growth: &Arc<Growth>,
        path: &Path,
        threads: usize,
    ) -> Result<Grown> {
        match &self.origin {
            Origin::Onnx(parts) => {
                let staged = export_streaming(parts, plan, growth, threads)?.stage(path)?;
                let document = staged.open()?;
                let imported = parts.1.read_alike(&document)?;
                Ok(Grown {
                    model: Model::of(document, imported)?,
                    staged: Some(staged),
                })
            }
            Origin::Checkpoint(old) => {
                let weights = growth.weights(&old.weights)?;
                let mut checkpoint = Checkpoint::model(growth.graph().clone(), weights);
                checkpoint.optimizer = growth.optimizer_state(&old.optimizer)?;
                checkpoint.notes.clone_from(&old.notes);
                Ok(Grown {
                    model: Model {
                        graph: checkpoint.graph.clone(),
                        origin: Origin::Checkpoint(Box::new(checkpoint)),
                    },
                    staged: None,
                })
            }
        }
    }

    /// Refuses a path whose extension says that it is of another form.
    pub(crate) fn check_extension(&self, path: &Path) -> Result<()> {
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
