//! Checkpoints: safetensors files whose metadata carries the graph, so that a file is complete.
//!
//! Weights are stored under the parameters' names, optimizer moments under
//! `optimizer/<moment>/<name>`. The metadata holds the graph's text form, the number of steps
//! taken and any notes. Tensors are f32, row-major, in the graph's own shapes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use thiserror::Error;

use super::write_atomic;
use crate::engine::{Moment, OptimizerState};
use crate::graph::{Graph, ParseError};
use crate::weights::{Tensor, Weights, WeightsError};

/// Larger files are refused: this reader holds a file in memory.
pub const MAX_FILE_BYTES: u64 = 16 << 30;

const GRAPH_KEY: &str = "net2net.graph";
const STEPS_KEY: &str = "net2net.steps";
const SINCE_KEY: &str = "net2net.since";
const NOTE_PREFIX: &str = "net2net.note.";
const MOMENT_PREFIX: &str = "optimizer/";

/// A network, its weights and, if training goes on, the optimizer's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The architecture.
    pub graph: Graph,
    /// All parameters.
    pub weights: Weights<f32>,
    /// Steps and moments; empty in a model that is only to be used.
    pub optimizer: OptimizerState<f32>,
    /// Notes by name: whatever a writer wants a reader to know.
    pub notes: BTreeMap<String, String>,
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IoError {
    /// The system said no.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("{path} is not a valid safetensors file: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Larger than this reader takes.
    #[error("{path} has {bytes} bytes, and this reader takes at most {MAX_FILE_BYTES}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Weights without an architecture.
    #[error(
        "{path} holds weights but no graph (metadata `{GRAPH_KEY}`); \
         it was not written by this program"
    )]
    NoGraph {
        /// The file.
        path: PathBuf,
    },
    /// The graph's text does not parse.
    #[error("{path}: the graph in it is broken: {source}")]
    Graph {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ParseError,
    },
    /// The weights do not belong to the graph.
    #[error("{path}: {source}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: WeightsError,
    },
}

impl Checkpoint {
    /// A model without optimizer state.
    pub fn model(graph: Graph, weights: Weights<f32>) -> Self {
        Checkpoint {
            graph,
            weights,
            optimizer: OptimizerState::default(),
            notes: BTreeMap::new(),
        }
    }

    /// Writes the checkpoint, atomically; the same checkpoint gives the same bytes.
    pub fn write(&self, path: &Path) -> Result<(), IoError> {
        let fault = |source| IoError::File {
            path: path.to_owned(),
            source,
        };
        let bytes = self.to_bytes().map_err(|why| IoError::Format {
            path: path.to_owned(),
            why,
        })?;
        write_atomic(path, &bytes).map_err(fault)
    }

    /// The file that [`Checkpoint::write`] writes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut named: BTreeMap<String, &Tensor<f32>> = BTreeMap::new();
        for (name, tensor) in self.weights.iter() {
            named.insert(name.to_owned(), tensor);
        }
        for (moment, tensors) in &self.optimizer.moments {
            for (name, tensor) in tensors.iter() {
                let name = format!("{MOMENT_PREFIX}{}/{name}", moment.name());
                if named.insert(name.clone(), tensor).is_some() {
                    return Err(format!("both a parameter and a moment are called `{name}`"));
                }
            }
        }
        // Written by hand: the crate takes metadata in a hash map, whose order differs from run to
        // run, and the same checkpoint must give the same bytes.
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), json!(self.metadata()));
        let mut end = 0;
        for (name, tensor) in &named {
            let begin = end;
            end += size_of_val(tensor.data());
            let entry = json!({
                "dtype": "F32", "shape": tensor.shape(), "data_offsets": [begin, end],
            });
            if header.insert(name.clone(), entry).is_some() {
                return Err(format!("a tensor cannot be called `{name}`"));
            }
        }
        let mut header = serde_json::to_vec(&header).map_err(|error| error.to_string())?;
        // Numbers begin at a multiple of eight bytes.
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = Vec::with_capacity(8 + header.len() + end);
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        for tensor in named.values() {
            bytes.extend(tensor.data().iter().flat_map(|x| x.to_le_bytes()));
        }
        Ok(bytes)
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::from([
            (GRAPH_KEY.to_owned(), self.graph.to_string()),
            (STEPS_KEY.to_owned(), self.optimizer.steps.to_string()),
        ]);
        if let (false, Ok(since)) = (
            self.optimizer.since.is_empty(),
            serde_json::to_string(&self.optimizer.since),
        ) {
            metadata.insert(SINCE_KEY.to_owned(), since);
        }
        for (name, text) in &self.notes {
            metadata.insert(format!("{NOTE_PREFIX}{name}"), text.clone());
        }
        metadata
    }

    /// Reads a checkpoint and checks that its parts belong together.
    pub fn read(path: &Path) -> Result<Checkpoint, IoError> {
        let file = |source| IoError::File {
            path: path.to_owned(),
            source,
        };
        let bytes = std::fs::metadata(path).map_err(file)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(IoError::TooLarge {
                path: path.to_owned(),
                bytes,
            });
        }
        Checkpoint::from_bytes(path, &std::fs::read(path).map_err(file)?)
    }

    /// Reads a checkpoint from memory; `path` is for messages.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Checkpoint, IoError> {
        let format = |why: String| IoError::Format {
            path: path.to_owned(),
            why,
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| format(e.to_string()))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| format(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let text = metadata.get(GRAPH_KEY).ok_or_else(|| IoError::NoGraph {
            path: path.to_owned(),
        })?;
        let graph: Graph = text.parse().map_err(|source| IoError::Graph {
            path: path.to_owned(),
            source,
        })?;
        let steps = match metadata.get(STEPS_KEY).map(|steps| steps.parse()) {
            None => 0,
            Some(Ok(steps)) => steps,
            Some(Err(_)) => return Err(format(format!("`{STEPS_KEY}` is not a number"))),
        };
        let mut checkpoint = Checkpoint::model(graph, Weights::default());
        checkpoint.optimizer.steps = steps;
        if let Some(since) = metadata.get(SINCE_KEY) {
            checkpoint.optimizer.since = serde_json::from_str(since)
                .map_err(|error| format(format!("`{SINCE_KEY}`: {error}")))?;
        }
        for (name, view) in tensors.iter() {
            let tensor = to_tensor(name, &view).map_err(format)?;
            let is_parameter = |name: &str| {
                checkpoint
                    .graph
                    .lookup(name)
                    .is_some_and(|id| checkpoint.graph.is_parameter(id))
            };
            // A parameter may have a name that looks like a moment's.
            let moment = name
                .strip_prefix(MOMENT_PREFIX)
                .and_then(|rest| rest.split_once('/'));
            match moment.filter(|_| !is_parameter(name)) {
                Some((moment, parameter)) => {
                    let moment = [Moment::First, Moment::Second]
                        .into_iter()
                        .find(|known| known.name() == moment)
                        .ok_or_else(|| format(format!("unknown moment `{moment}`")))?;
                    check_moment(&checkpoint.graph, parameter, &tensor).map_err(|source| {
                        IoError::Weights {
                            path: path.to_owned(),
                            source,
                        }
                    })?;
                    let moments = checkpoint.optimizer.moments.entry(moment).or_default();
                    moments.insert(parameter, tensor);
                }
                None => checkpoint.weights.insert(name, tensor),
            }
        }
        for (key, text) in metadata {
            if let Some(name) = key.strip_prefix(NOTE_PREFIX) {
                checkpoint.notes.insert(name.to_owned(), text);
            }
        }
        checkpoint
            .weights
            .check(&checkpoint.graph)
            .map_err(|source| IoError::Weights {
                path: path.to_owned(),
                source,
            })?;
        Ok(checkpoint)
    }
}

/// A moment has the shape of its parameter. A parameter may lack one: new layers do.
fn check_moment(graph: &Graph, name: &str, moment: &Tensor<f32>) -> Result<(), WeightsError> {
    let parameter = graph.lookup(name).filter(|id| graph.is_parameter(*id));
    let id = parameter.ok_or_else(|| WeightsError::Unknown {
        name: name.to_owned(),
    })?;
    let expected = graph.get(id).shape.at(1);
    if moment.shape() != expected {
        let found = moment.shape().to_vec();
        return Err(WeightsError::Shape {
            name: name.to_owned(),
            found,
            expected,
        });
    }
    Ok(())
}

fn to_tensor(name: &str, view: &TensorView<'_>) -> Result<Tensor<f32>, String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!(
            "tensor `{name}` has type {:?}, and F32 is expected",
            view.dtype()
        ));
    }
    let data = view
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    Tensor::new(view.shape().to_vec(), data).map_err(|error| format!("tensor `{name}`: {error}"))
}
