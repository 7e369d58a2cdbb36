//! A model file: opened without copying its tensors, and checked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use net2net_core::weights::Rows;
use prost::Message;
use prost::bytes::Bytes;

use crate::error::OnnxError;
use crate::proto::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use crate::tensor;
use crate::walk::visit;

/// The location of a tensor that is still to be made. No file can have it.
pub(crate) const UNMADE: &str = "\0";
/// What is smaller is not worth a call.
const RELEASED_MIN: usize = 1 << 20;

/// A model and the files beside it that hold its tensors.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The model, as in the file.
    pub model: ModelProto,
    /// Tensors in other files.
    pub external: External,
}

/// Files of tensors, mapped into memory, by their location in the model; and tensors that are made
/// when they are asked for.
#[derive(Clone, Debug, Default)]
pub struct External {
    pub(crate) files: HashMap<String, Bytes>,
    /// All maps, that of the model itself included.
    maps: Vec<Arc<Mmap>>,
    pub(crate) unmade: Option<Unmade>,
}

/// What makes the tensors that are no more than stated so far.
#[derive(Clone)]
pub(crate) struct Unmade {
    pub(crate) maker: Arc<dyn Maker>,
    /// On how many threads.
    pub(crate) threads: usize,
}

/// See [`Unmade`].
pub(crate) trait Maker: Send + Sync {
    /// The bytes of a parameter, as elements of a type, laid out as the document has them.
    fn bytes(&self, parameter: &str, dtype: tensor::Dtype) -> Result<Bytes, OnnxError>;

    /// The same a few rows at a time, as single floats; `None` if it must be made as a whole.
    fn rows(
        &self,
        parameter: &str,
        dtype: tensor::Dtype,
    ) -> Result<Option<Rows<'_, f32>>, OnnxError>;
}

impl fmt::Debug for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unmade")
    }
}

/// A file in memory.
struct Mapped(Arc<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl External {
    /// Maps a file, which is known by a location if one is given.
    pub(crate) fn map(&mut self, path: &Path, location: Option<&str>) -> Result<Bytes, OnnxError> {
        let map = Arc::new(map(path)?);
        self.maps.push(Arc::clone(&map));
        let bytes = Bytes::from_owner(Mapped(map));
        if let Some(location) = location {
            self.files.insert(location.to_owned(), bytes.clone());
        }
        Ok(bytes)
    }

    /// Lets the system have the memory back in which a large part of a file was read; who reads it
    /// again gets it again.
    pub(crate) fn release(&self, bytes: &[u8]) {
        if bytes.len() < RELEASED_MIN {
            return;
        }
        let start = bytes.as_ptr() as usize;
        for map in &self.maps {
            let offset = start.checked_sub(map.as_ptr() as usize);
            let Some(offset) = offset.filter(|at| at + bytes.len() <= map.len()) else {
                continue;
            };
            #[cfg(unix)]
            {
                let advice = memmap2::UncheckedAdvice::DontNeed;
                // SAFETY: the pages are those of a file that is only read, so that what is dropped
                // comes back as it was. Advice that the system does not take changes nothing.
                let _ = unsafe { map.unchecked_advise_range(advice, offset, bytes.len()) };
            }
            #[cfg(not(unix))]
            let _ = offset;
        }
    }

    /// The bytes of a tensor.
    pub fn slice(&self, tensor: &TensorProto) -> Result<Bytes, OnnxError> {
        let fault = |why: String| OnnxError::Tensor {
            name: tensor.name.clone().unwrap_or_default(),
            why,
        };
        let entry = |key: &str| {
            let found = tensor.external_data.iter().find(|e| e.key() == key);
            found.map(StringStringEntryProto::value)
        };
        let location = entry("location").unwrap_or_default();
        if let (UNMADE, Some(unmade)) = (location, &self.unmade) {
            let parameter = entry("parameter").unwrap_or_default();
            return unmade.maker.bytes(parameter, tensor::dtype(tensor)?);
        }
        let file = self
            .files
            .get(location)
            .ok_or_else(|| fault(format!("its file `{location}` is not there")))?;
        let number = |key: &str, default: usize| match entry(key) {
            None => Ok(default),
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| fault(format!("its {key} `{text}` is not a number"))),
        };
        let offset = number("offset", 0)?;
        let length = number("length", file.len().saturating_sub(offset))?;
        match offset.checked_add(length) {
            Some(end) if end <= file.len() => Ok(file.slice(offset..end)),
            _ => Err(fault(format!(
                "bytes {offset} to {offset} + {length} are past the end of `{location}`"
            ))),
        }
    }
}

impl Document {
    /// Opens a model. Its tensors stay in the file until they are read.
    pub fn open(path: &Path) -> Result<Document, OnnxError> {
        let mut external = External::default();
        let bytes = external.map(path, None)?;
        refuse_foreign(path, &bytes)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Document::decode_with(bytes, path, folder, external)
    }

    /// Reads a model from memory; `path` is for messages, `folder` is where other files lie.
    pub fn decode(bytes: Bytes, path: &Path, folder: &Path) -> Result<Document, OnnxError> {
        Document::decode_with(bytes, path, folder, External::default())
    }

    /// The same where some files are known already.
    pub(crate) fn decode_with(
        bytes: Bytes,
        path: &Path,
        folder: &Path,
        mut external: External,
    ) -> Result<Document, OnnxError> {
        let format = |why: String| OnnxError::Format {
            path: path.to_owned(),
            why,
        };
        let model = ModelProto::decode(bytes).map_err(|error| format(error.to_string()))?;
        let Some(graph) = &model.graph else {
            return Err(format("it holds no graph".to_owned()));
        };
        if graph.node.is_empty() && graph.output.is_empty() {
            return Err(format("its graph is empty".to_owned()));
        }
        check(graph)?;
        visit(graph, &mut |tensor| external.add(tensor, folder))?;
        Ok(Document { model, external })
    }

    /// The main graph; [`Document::decode`] made sure that there is one.
    pub fn graph(&self) -> &GraphProto {
        static EMPTY: GraphProto = GraphProto {
            node: Vec::new(),
            name: None,
            initializer: Vec::new(),
            sparse_initializer: Vec::new(),
            doc_string: None,
            input: Vec::new(),
            output: Vec::new(),
            value_info: Vec::new(),
            quantization_annotation: Vec::new(),
            metadata_props: Vec::new(),
        };
        self.model.graph.as_ref().unwrap_or(&EMPTY)
    }

    /// The version of ONNX's own operators that the model uses.
    pub fn opset(&self) -> i64 {
        let own = |set: &&crate::proto::OperatorSetIdProto| matches!(set.domain(), "" | "ai.onnx");
        let found = self.model.opset_import.iter().find(own);
        found.map_or(1, crate::proto::OperatorSetIdProto::version)
    }

    /// How large the model and the files beside it are.
    pub(crate) fn bytes(&self) -> usize {
        let beside = self.external.files.values().map(Bytes::len);
        beside.fold(self.model.encoded_len(), usize::saturating_add)
    }
}

impl External {
    /// Maps the file that a tensor lies in. It must be in the model's folder: a model is data,
    /// and must not make a program read whatever its author likes.
    fn add(&mut self, tensor: &TensorProto, folder: &Path) -> Result<(), OnnxError> {
        if tensor.data_location != Some(1) {
            return Ok(());
        }
        let entry = tensor.external_data.iter().find(|e| e.key() == "location");
        let location = entry.map_or("", StringStringEntryProto::value);
        if self.files.contains_key(location) {
            return Ok(());
        }
        let fault = |why: String| OnnxError::Tensor {
            name: tensor.name.clone().unwrap_or_default(),
            why,
        };
        let relative = Path::new(location);
        let inside = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !inside {
            return Err(fault(format!(
                "its file `{location}` is not in the model's folder, so it is not opened"
            )));
        }
        let base = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let missing = |error: std::io::Error| fault(format!("its file `{location}`: {error}"));
        let real = base.join(relative).canonicalize().map_err(missing)?;
        if !real.starts_with(base.canonicalize().map_err(missing)?) {
            return Err(fault(format!(
                "its file `{location}` leads out of the model's folder, so it is not opened"
            )));
        }
        self.map(&real, Some(location)).map(|_| ())
    }
}

fn map(path: &Path) -> Result<Mmap, OnnxError> {
    let error = |source: std::io::Error| OnnxError::File {
        path: path.to_owned(),
        source,
    };
    // Before it is opened: a pipe that nobody writes to would be waited for without end.
    let kind = path.metadata().map_err(error)?;
    if !kind.is_file() {
        let what = if kind.is_dir() {
            "it is a folder"
        } else {
            "it is not a file of data"
        };
        return Err(error(std::io::Error::other(what)));
    }
    let file = File::open(path).map_err(error)?;
    // SAFETY: the map is only read. Another process that cuts the file short meanwhile would end
    // this one with a signal, as for any program that maps files; nothing is written through it.
    unsafe { Mmap::map(&file) }.map_err(error)
}

/// Says what people most often give instead of an ONNX file.
fn refuse_foreign(path: &Path, bytes: &[u8]) -> Result<(), OnnxError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let pickle = bytes.starts_with(b"\x80") || bytes.starts_with(b"PK");
    let archive = bytes.starts_with(b"PK\x03\x04");
    let (what, fix) = if archive || pickle && extension != "onnx" {
        (
            "a PyTorch pickle",
            "it holds code to be run, not a network that can be read: in Python, build the module, \
             load the file into it, and export it with `torch.onnx.export(model.eval(), example, \
             \"model.onnx\")`",
        )
    } else if bytes.starts_with(b"version https://git-lfs") {
        (
            "a pointer of Git LFS, not the file itself",
            "fetch the file with `git lfs pull`",
        )
    } else if bytes.starts_with(b"\x89HDF") {
        (
            "an HDF5 file (Keras)",
            "convert it with tf2onnx: `python -m tf2onnx.convert --keras model.h5 --output \
             model.onnx`",
        )
    } else if bytes.get(4..8) == Some(b"TFL3") {
        (
            "a TensorFlow Lite file",
            "convert it with `python -m tf2onnx.convert --tflite model.tflite --output model.onnx`",
        )
    } else {
        return Ok(());
    };
    Err(OnnxError::Foreign {
        path: PathBuf::from(path),
        what,
        fix,
    })
}

/// A node's name for messages.
pub(crate) fn node_name(node: &NodeProto) -> String {
    match (node.name(), node.output.first()) {
        ("", Some(output)) => output.clone(),
        (name, _) => name.to_owned(),
    }
}

/// Values are made once and before they are read.
pub(crate) fn check(graph: &GraphProto) -> Result<(), OnnxError> {
    let mut known: HashSet<&str> = HashSet::new();
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            made.entry(output).or_insert(index);
        }
    }
    known.extend(graph.input.iter().map(|input| input.name()));
    for tensor in &graph.initializer {
        if tensor.name().is_empty() {
            let why = "an initialiser has no name".to_owned();
            return Err(OnnxError::Graph { why });
        }
        tensor::sizes(tensor)?;
        known.insert(tensor.name());
    }
    for sparse in &graph.sparse_initializer {
        known.extend(sparse.values.iter().map(|values| values.name()));
    }
    let mut initialisers = HashSet::new();
    if let Some(twice) = graph
        .initializer
        .iter()
        .find(|t| !initialisers.insert(t.name()))
    {
        let why = format!("the initialiser `{}` is there twice", twice.name());
        return Err(OnnxError::Graph { why });
    }
    for node in &graph.node {
        let fault = |why: String| OnnxError::Node {
            node: node_name(node),
            operator: node.op_type().to_owned(),
            why,
        };
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            if known.contains(input.as_str()) {
                continue;
            }
            return Err(fault(match made.get(input.as_str()) {
                Some(_) => format!(
                    "it reads `{input}`, which is made later: the nodes are not in order, or in a \
                     circle"
                ),
                None => format!("it reads `{input}`, which nothing makes"),
            }));
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !known.insert(output) {
                return Err(fault(format!(
                    "it makes `{output}`, which is there already"
                )));
            }
        }
    }
    match graph.output.iter().find(|o| !known.contains(o.name())) {
        None => Ok(()),
        Some(output) => Err(OnnxError::Graph {
            why: format!("its output `{}` is made by nothing", output.name()),
        }),
    }
}
