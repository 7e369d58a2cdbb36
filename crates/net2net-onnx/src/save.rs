//! Writing a model: tensor by tensor into temporary files, which are put in place when all is well.

use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use net2net_core::weights::in_turns;
use prost::Message;
use prost::bytes::Bytes;
use tempfile::NamedTempFile;

use crate::document::{Document, External};
use crate::error::OnnxError;
use crate::proto::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};
use crate::tensor;
use crate::walk::visit_mut;

/// Protocol buffers are smaller than this; larger models keep their tensors beside them.
const MAX_INLINE_BYTES: usize = (1 << 31) - (1 << 20);
/// Tensors of at least this many bytes go into the file beside.
const EXTERNAL_BYTES_MIN: usize = 1024;
/// Where tensors start in the file beside, so that they can be mapped.
const ALIGNMENT: usize = 4096;
/// Small pieces are put together before they are written.
const BUFFER: usize = 1 << 16;

/// A model that is written, but not yet where it is to be: whoever drops it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    model: NamedTempFile,
    /// The file of tensors, and its location in the model.
    data: Option<(String, NamedTempFile)>,
}

impl Document {
    /// Writes the model whole or not at all; tensors go into `<file>.data` beside it if they were
    /// in other files before or the model would be too large for one.
    pub fn save(&self, path: &Path) -> Result<(), OnnxError> {
        self.stage(path)?.put()
    }

    /// Writes the model into temporary files in the folder of `path`. At most one tensor that is
    /// still to be made is in memory at a time.
    pub fn stage(&self, path: &Path) -> Result<Staged, OnnxError> {
        let file_error = |source| file_error(path, source);
        let folder = folder_of(path);
        let inline = Inline::new(&self.model)?;
        let mut model = NamedTempFile::new_in(folder).map_err(file_error)?;
        let mut data = None;
        if self.external.files.is_empty() && inline.bytes() <= MAX_INLINE_BYTES {
            let mut file = BufWriter::with_capacity(BUFFER, model.as_file_mut());
            inline.write(&mut file, path, &self.external)?;
            file.flush().map_err(file_error)?;
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let location = format!("{name}.data");
            let mut file = NamedTempFile::new_in(folder).map_err(file_error)?;
            let small = self.write_beside(&location, file.as_file_mut(), path)?;
            model
                .write_all(&small.encode_to_vec())
                .map_err(file_error)?;
            data = Some((location, file));
        }
        Ok(Staged {
            path: path.to_owned(),
            model,
            data,
        })
    }

    /// Writes tensors into a file of their own; returns the model that says where they are.
    fn write_beside(
        &self,
        location: &str,
        file: &mut std::fs::File,
        path: &Path,
    ) -> Result<ModelProto, OnnxError> {
        let file_error = |source| file_error(path, source);
        let mut model = self.model.clone();
        let mut at = 0usize;
        let graph = model.graph.get_or_insert_default();
        let unmade = self.graph().initializer.iter();
        let unmade: Vec<&TensorProto> = unmade.filter(|t| tensor::is_unmade(t)).collect();
        let mut place = |tensor: &mut TensorProto, next: &mut Next<'_>| {
            let Some(bytes) = payload(tensor, &self.external, next)? else {
                return Ok(());
            };
            if bytes.len() < EXTERNAL_BYTES_MIN {
                tensor.raw_data = Some(bytes);
                tensor.data_location = None;
                tensor.external_data.clear();
                return Ok(());
            }
            let start = at.next_multiple_of(ALIGNMENT);
            file.write_all(&vec![0; start - at]).map_err(file_error)?;
            file.write_all(&bytes).map_err(file_error)?;
            self.external.release(&bytes);
            at = start + bytes.len();
            let entries = [
                ("location", location.to_owned()),
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
        };
        made_in_turns(&unmade, &self.external, |next| {
            visit_mut(graph, &mut |tensor| place(tensor, next))
        })?;
        Ok(model)
    }
}

/// What gives the bytes of the next tensor that was still to be made.
type Next<'a> = dyn FnMut() -> Option<Result<Option<Bytes>, OnnxError>> + 'a;

/// Makes tensors ahead of those who write them.
fn made_in_turns<O>(
    tensors: &[&TensorProto],
    external: &External,
    write: impl FnOnce(&mut Next<'_>) -> O,
) -> O {
    let threads = external.unmade.as_ref().map_or(1, |unmade| unmade.threads);
    let make = |at: usize| tensor::payload(tensors[at], external);
    in_turns(tensors.len(), threads, make, write)
}

/// The bytes of a tensor: those that are still to be made come in their order.
fn payload(
    tensor: &TensorProto,
    external: &External,
    next: &mut Next<'_>,
) -> Result<Option<Bytes>, OnnxError> {
    match tensor::is_unmade(tensor) {
        true => next().unwrap_or(Ok(None)),
        false => tensor::payload(tensor, external),
    }
}

impl Staged {
    /// Reads what was written.
    pub fn open(&self) -> Result<Document, OnnxError> {
        let mut external = External::default();
        let bytes = external.map(self.model.path(), None)?;
        if let Some((location, file)) = &self.data {
            external.map(file.path(), Some(location))?;
        }
        Document::decode_with(bytes, &self.path, folder_of(&self.path), external)
    }

    /// Puts the model where it is to be, synchronised with the disk; a model that was there is
    /// replaced.
    pub fn put(self) -> Result<(), OnnxError> {
        let file_error = |source| file_error(&self.path, source);
        let folder = folder_of(&self.path);
        if let Some((location, file)) = self.data {
            persist(file, &folder.join(location)).map_err(file_error)?;
        }
        persist(self.model, &self.path).map_err(file_error)?;
        // The renames themselves live in the folder.
        #[cfg(unix)]
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(file_error)?;
        Ok(())
    }
}

fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    // Temporary files are private; the result has the rights that a new file has.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn file_error(path: &Path, source: io::Error) -> OnnxError {
    OnnxError::File {
        path: path.to_owned(),
        source,
    }
}

/// The keys of the fields that hold the graph, an initialiser and its raw bytes: the field's number
/// and the wire type of bytes.
const GRAPH_KEY: u8 = 7 << 3 | 2;
const INITIALIZER_KEY: u8 = 5 << 3 | 2;
const RAW_KEY: u8 = 9 << 3 | 2;

/// A model as one protocol buffer whose tensors are written one after the other. Fields are in the
/// order of their numbers, so each message is cut before and after the large one.
struct Inline<'a> {
    before: ModelProto,
    graph_before: GraphProto,
    tensors: Vec<Piece<'a>>,
    graph_after: GraphProto,
    after: ModelProto,
}

/// An initialiser; its raw bytes are of a known length, and read or made when they are written.
struct Piece<'a> {
    tensor: &'a TensorProto,
    raw: Option<usize>,
    before: TensorProto,
    after: TensorProto,
}

impl<'a> Inline<'a> {
    fn new(model: &'a ModelProto) -> Result<Self, OnnxError> {
        static NONE: &[TensorProto] = &[];
        let own = model.graph.as_ref();
        let tensors = own.map_or(NONE, |graph| &graph.initializer);
        let graph = own.map_or_else(GraphProto::default, |graph| GraphProto {
            // Those are written one by one.
            initializer: Vec::new(),
            node: graph.node.clone(),
            name: graph.name.clone(),
            sparse_initializer: graph.sparse_initializer.clone(),
            doc_string: graph.doc_string.clone(),
            input: graph.input.clone(),
            output: graph.output.clone(),
            value_info: graph.value_info.clone(),
            quantization_annotation: graph.quantization_annotation.clone(),
            metadata_props: graph.metadata_props.clone(),
        });
        Ok(Inline {
            before: ModelProto {
                ir_version: model.ir_version,
                producer_name: model.producer_name.clone(),
                producer_version: model.producer_version.clone(),
                domain: model.domain.clone(),
                model_version: model.model_version,
                doc_string: model.doc_string.clone(),
                ..ModelProto::default()
            },
            graph_before: GraphProto {
                node: graph.node,
                name: graph.name,
                ..GraphProto::default()
            },
            tensors: tensors.iter().map(Piece::new).collect::<Result<_, _>>()?,
            graph_after: GraphProto {
                node: Vec::new(),
                name: None,
                ..graph
            },
            after: ModelProto {
                opset_import: model.opset_import.clone(),
                metadata_props: model.metadata_props.clone(),
                training_info: model.training_info.clone(),
                functions: model.functions.clone(),
                configuration: model.configuration.clone(),
                ..ModelProto::default()
            },
        })
    }

    fn graph_bytes(&self) -> usize {
        let tensors = self.tensors.iter().map(|piece| framed(piece.bytes()));
        let around = self.graph_before.encoded_len() + self.graph_after.encoded_len();
        tensors.fold(around, usize::saturating_add)
    }

    fn bytes(&self) -> usize {
        let around = self.before.encoded_len() + self.after.encoded_len();
        framed(self.graph_bytes()).saturating_add(around)
    }

    fn write(
        &self,
        file: &mut impl Write,
        path: &Path,
        external: &External,
    ) -> Result<(), OnnxError> {
        let put = |file: &mut dyn Write, bytes: &[u8]| {
            file.write_all(bytes)
                .map_err(|source| file_error(path, source))
        };
        put(file, &self.before.encode_to_vec())?;
        put(file, &key(GRAPH_KEY, self.graph_bytes()))?;
        put(file, &self.graph_before.encode_to_vec())?;
        let unmade = self.tensors.iter().map(|piece| piece.tensor);
        let unmade: Vec<&TensorProto> = unmade.filter(|t| tensor::is_unmade(t)).collect();
        made_in_turns(&unmade, external, |next| {
            for piece in &self.tensors {
                put(file, &key(INITIALIZER_KEY, piece.bytes()))?;
                let Some(length) = piece.raw else {
                    put(file, &piece.tensor.encode_to_vec())?;
                    continue;
                };
                put(file, &piece.before.encode_to_vec())?;
                put(file, &key(RAW_KEY, length))?;
                let bytes = payload(piece.tensor, external, next)?.unwrap_or_default();
                if bytes.len() != length {
                    let (name, made) = (piece.tensor.name().to_owned(), bytes.len());
                    let why = format!("{made} bytes were made, and {length} were expected");
                    return Err(OnnxError::Export { name, why });
                }
                put(file, &bytes)?;
                external.release(&bytes);
                put(file, &piece.after.encode_to_vec())?;
            }
            Ok(())
        })?;
        put(file, &self.graph_after.encode_to_vec())?;
        put(file, &self.after.encode_to_vec())
    }
}

impl<'a> Piece<'a> {
    fn new(tensor: &'a TensorProto) -> Result<Self, OnnxError> {
        let unmade = tensor::is_unmade(tensor);
        let raw = match (&tensor.raw_data, unmade) {
            (_, true) => {
                let (_, count) = tensor::sizes(tensor)?;
                Some(count.saturating_mul(tensor::dtype(tensor)?.bytes()))
            }
            (raw, false) => raw.as_ref().map(Bytes::len),
        };
        let mut piece = Piece {
            tensor,
            raw,
            before: TensorProto::default(),
            after: TensorProto::default(),
        };
        if raw.is_some() {
            piece.before = TensorProto {
                dims: tensor.dims.clone(),
                data_type: tensor.data_type,
                segment: tensor.segment.clone(),
                float_data: tensor.float_data.clone(),
                int32_data: tensor.int32_data.clone(),
                string_data: tensor.string_data.clone(),
                int64_data: tensor.int64_data.clone(),
                name: tensor.name.clone(),
                ..TensorProto::default()
            };
            piece.after = TensorProto {
                double_data: tensor.double_data.clone(),
                uint64_data: tensor.uint64_data.clone(),
                doc_string: tensor.doc_string.clone(),
                external_data: match unmade {
                    true => Vec::new(),
                    false => tensor.external_data.clone(),
                },
                data_location: tensor.data_location.filter(|_| !unmade),
                metadata_props: tensor.metadata_props.clone(),
                ..TensorProto::default()
            };
        }
        Ok(piece)
    }

    fn bytes(&self) -> usize {
        match self.raw {
            None => self.tensor.encoded_len(),
            Some(raw) => {
                let around = self.before.encoded_len() + self.after.encoded_len();
                framed(raw).saturating_add(around)
            }
        }
    }
}

/// The bytes of a field of so many bytes, with its key and length.
fn framed(bytes: usize) -> usize {
    bytes.saturating_add(1 + prost::length_delimiter_len(bytes))
}

/// The key of a field, and its length.
fn key(key: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![key];
    // Ten bytes hold any length, and a vector takes them all.
    let _ = prost::encode_length_delimiter(length, &mut bytes);
    bytes
}
