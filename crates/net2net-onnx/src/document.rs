//! A model file: opened without copying its tensors, checked, written whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
use net2net_core::io::write_atomic;
use prost::Message;
use prost::bytes::Bytes;

use crate::error::OnnxError;
use crate::proto::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use crate::tensor;
use crate::walk::{visit, visit_mut};

/// Protocol buffers are smaller than this; larger models keep their tensors beside them.
const MAX_INLINE_BYTES: usize = (1 << 31) - (1 << 20);
/// Tensors of at least this many bytes go into the file beside.
const EXTERNAL_BYTES_MIN: usize = 1024;
/// Where tensors start in the file beside, so that they can be mapped.
const ALIGNMENT: usize = 4096;

/// A model and the files beside it that hold its tensors.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The model, as in the file.
    pub model: ModelProto,
    /// Tensors in other files.
    pub external: External,
}

/// Files of tensors, mapped into memory, by their location in the model.
#[derive(Clone, Debug, Default)]
pub struct External(HashMap<String, Bytes>);

impl External {
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
        let file = self
            .0
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
        let bytes = map(path)?;
        refuse_foreign(path, &bytes)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Document::decode(bytes, path, folder)
    }

    /// Reads a model from memory; `path` is for messages, `folder` is where other files lie.
    pub fn decode(bytes: Bytes, path: &Path, folder: &Path) -> Result<Document, OnnxError> {
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
        let mut external = External::default();
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
        let beside = self.external.0.values().map(Bytes::len);
        beside.fold(self.model.encoded_len(), usize::saturating_add)
    }

    /// Writes the model whole or not at all; tensors go into `<file>.data` beside it if they were
    /// in other files before or the model would be too large for one.
    pub fn save(&self, path: &Path) -> Result<(), OnnxError> {
        let file_error = |source: std::io::Error| OnnxError::File {
            path: path.to_owned(),
            source,
        };
        let beside = !self.external.0.is_empty() || self.model.encoded_len() > MAX_INLINE_BYTES;
        if !beside {
            return write_atomic(path, &self.model.encode_to_vec()).map_err(file_error);
        }
        let mut model = self.model.clone();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let location = format!("{name}.data");
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut data = tempfile::NamedTempFile::new_in(folder).map_err(file_error)?;
        let mut at = 0usize;
        let graph = model.graph.get_or_insert_default();
        visit_mut(graph, &mut |tensor| {
            let Some(bytes) = tensor::payload(tensor, &self.external)? else {
                return Ok(());
            };
            if bytes.len() < EXTERNAL_BYTES_MIN {
                tensor.raw_data = Some(bytes);
                tensor.data_location = None;
                tensor.external_data.clear();
                return Ok(());
            }
            let start = at.next_multiple_of(ALIGNMENT);
            data.write_all(&vec![0; start - at]).map_err(file_error)?;
            data.write_all(&bytes).map_err(file_error)?;
            at = start + bytes.len();
            let entries = [
                ("location", location.clone()),
                ("offset", start.to_string()),
                ("length", bytes.len().to_string()),
            ];
            tensor.raw_data = None;
            tensor.data_location = Some(1);
            tensor.external_data = entries
                .into_iter()
                .map(|(key, value)| StringStringEntryProto {
                    key: Some(key.to_owned()),
                    value: Some(value),
                })
                .collect();
            Ok(())
        })?;
        data.as_file().sync_all().map_err(file_error)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let rights = std::fs::Permissions::from_mode(0o644);
            data.as_file().set_permissions(rights).map_err(file_error)?;
        }
        data.persist(folder.join(&location))
            .map_err(|error| file_error(error.error))?;
        write_atomic(path, &model.encode_to_vec()).map_err(file_error)
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
        if self.0.contains_key(location) {
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
        self.0.insert(location.to_owned(), map(&real)?);
        Ok(())
    }
}

fn map(path: &Path) -> Result<Bytes, OnnxError> {
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
    let map = unsafe { Mmap::map(&file) }.map_err(error)?;
    Ok(Bytes::from_owner(map))
}

/// Says what people most often give instead of an ONNX file.
fn refuse_foreign(path: &Path, bytes: &[u8]) -> Result<(), OnnxError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let pickle = bytes.starts_with(b"\x80") || bytes.starts_with(b"PK");
    let (what, fix) = if pickle && extension != "onnx" {
        (
            "a PyTorch pickle",
            "it holds code to be run, not a network that can be read: in Python, build the module, \
             load the file into it, and export it with `torch.onnx.export(model.eval(), example, \
             \"model.onnx\")`",
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
