//! Writing a model: its parts into temporary files, which are put in place when all is well.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use net2net_core::io::{StagedFile, folder_of, in_parallel, sync_folder};
use net2net_core::weights::Rows;
use prost::Message;
use prost::bytes::Bytes;

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
/// Smaller pieces are put together before they are written.
const STORED_MIN: usize = 1 << 16;
/// Numbers of the rows that are made at once.
const BLOCK: usize = 1 << 18;

/// A model that is written, but not yet where it is to be: whoever drops it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    model: StagedFile,
    /// The file of tensors, and its location in the model.
    data: Option<(String, StagedFile)>,
}

impl Document {
    /// Writes the model whole or not at all; tensors go into `<file>.data` beside it if they were
    /// in other files before or the model would be too large for one.
    pub fn save(&self, path: &Path) -> Result<(), OnnxError> {
        self.stage(path)?.put()
    }

    /// Writes the model into temporary files in the folder of `path`. Tensors that are still to be
    /// made are in memory a few rows at a time, or where that cannot be, at most two of them.
    pub fn stage(&self, path: &Path) -> Result<Staged, OnnxError> {
        let file = || StagedFile::new(folder_of(path)).map_err(|source| file_error(path, source));
        let inline = Inline::new(&self.model)?;
        let model = file()?;
        let mut data = None;
        if self.external.files.is_empty() && inline.bytes() <= MAX_INLINE_BYTES {
            inline.parts().write(&model, path, &self.external)?;
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let location = format!("{name}.data");
            let tensors = file()?;
            let mut parts = Parts::default();
            let mut small = self.model.clone();
            visit_mut(small.graph.get_or_insert_default(), &mut |tensor| {
                self.place(tensor, &location, &mut parts)
            })?;
            parts.write(&tensors, path, &self.external)?;
            parts = Parts::default();
            parts.bytes(&small.encode_to_vec());
            parts.write(&model, path, &self.external)?;
            data = Some((location, tensors));
        }
        Ok(Staged {
            path: path.to_owned(),
            model,
            data,
        })
    }

    /// Plans a tensor in the file beside, and has the tensor say where it is.
    fn place(
        &self,
        tensor: &mut TensorProto,
        location: &str,
        parts: &mut Parts,
    ) -> Result<(), OnnxError> {
        let (length, content) = if tensor::is_unmade(tensor) {
            (unmade_bytes(tensor)?, None)
        } else {
            match tensor::payload(tensor, &self.external)? {
                Some(bytes) => (bytes.len(), Some(bytes)),
                None => return Ok(()),
            }
        };
        if length < EXTERNAL_BYTES_MIN {
            tensor.raw_data = match content {
                Some(bytes) => Some(bytes),
                None => tensor::payload(tensor, &self.external)?,
            };
            tensor.data_location = None;
            tensor.external_data.clear();
            return Ok(());
        }
        parts.align(ALIGNMENT);
        let entries = [
            ("location", location.to_owned()),
            ("offset", parts.end.to_string()),
            ("length", length.to_string()),
        ];
        match content {
            Some(bytes) => parts.stored(bytes),
            None => parts.unmade(tensor, length),
        }
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
    }
}

/// The bytes of a tensor that is still to be made.
fn unmade_bytes(tensor: &TensorProto) -> Result<usize, OnnxError> {
    let (_, count) = tensor::sizes(tensor)?;
    Ok(count.saturating_mul(tensor::dtype(tensor)?.bytes()))
}

/// What a file is made of, in order.
#[derive(Default)]
struct Parts {
    all: Vec<Part>,
    end: usize,
}

/// A stretch of a file.
struct Part {
    at: usize,
    length: usize,
    content: Content,
}

enum Content {
    /// Bytes that were put together.
    Bytes(Vec<u8>),
    /// Part of another file.
    Stored(Bytes),
    /// A tensor that is still to be made.
    Unmade(Box<TensorProto>),
}

impl Parts {
    fn push(&mut self, length: usize, content: Content) {
        let at = self.end;
        self.end += length;
        self.all.push(Part {
            at,
            length,
            content,
        });
    }

    /// Adds a few bytes.
    fn bytes(&mut self, bytes: &[u8]) {
        match self.all.last_mut() {
            _ if bytes.is_empty() => {}
            Some(Part {
                content: Content::Bytes(last),
                length,
                ..
            }) if *length < STORED_MIN => {
                last.extend_from_slice(bytes);
                *length += bytes.len();
                self.end += bytes.len();
            }
            _ => self.push(bytes.len(), Content::Bytes(bytes.to_vec())),
        }
    }

    /// Adds part of another file.
    fn stored(&mut self, bytes: Bytes) {
        match bytes.len() < STORED_MIN {
            true => self.bytes(&bytes),
            false => self.push(bytes.len(), Content::Stored(bytes)),
        }
    }

    /// Adds a tensor that is still to be made.
    fn unmade(&mut self, tensor: &TensorProto, length: usize) {
        self.push(length, Content::Unmade(Box::new(tensor.clone())));
    }

    /// Adds zeros up to a multiple of a size.
    fn align(&mut self, to: usize) {
        self.bytes(&vec![0; self.end.next_multiple_of(to) - self.end]);
    }

    /// Writes all of it, on up to two threads.
    fn write(&self, file: &StagedFile, path: &Path, external: &External) -> Result<(), OnnxError> {
        let threads = external.unmade.as_ref().map_or(1, |unmade| unmade.threads);
        let jobs = self.all.iter().flat_map(|part| part.jobs(external));
        let put = |at: usize, bytes: &[u8]| {
            file.put(at as u64, bytes)
                .map_err(|source| file_error(path, source))
        };
        in_parallel(threads, jobs, |job, buffer| match job {
            Job::Bytes(at, bytes) => put(at, bytes),
            Job::Stored(at, bytes) => {
                put(at, bytes)?;
                external.release(bytes);
                Ok(())
            }
            Job::Whole(part, tensor) => {
                let bytes = tensor::payload(tensor, external)?.unwrap_or_default();
                if bytes.len() != part.length {
                    let (name, made) = (tensor.name().to_owned(), bytes.len());
                    let expected = part.length;
                    let why = format!("{made} bytes were made, and {expected} were expected");
                    return Err(OnnxError::Export { name, why });
                }
                put(part.at, &bytes)
            }
            Job::Rows(at, rows, range) => {
                let count = range.len() * rows.width();
                buffer.resize(count.max(buffer.len()), 0.0);
                rows.source().read(range, &mut buffer[..count]);
                put(at, bytemuck::cast_slice(&buffer[..count]))
            }
        })
    }
}

/// What one thread writes at once, and where.
enum Job<'a> {
    Bytes(usize, &'a [u8]),
    Stored(usize, &'a Bytes),
    Whole(&'a Part, &'a TensorProto),
    Rows(usize, Arc<Rows<'a, f32>>, Range<usize>),
}

/// Jobs that are found when they are asked for.
type Jobs<'a> = Box<dyn Iterator<Item = Result<Job<'a>, OnnxError>> + Send + 'a>;

impl Part {
    fn jobs<'a>(&'a self, external: &'a External) -> Jobs<'a> {
        let at = self.at;
        let one = |job| Box::new(std::iter::once(Ok(job))) as Jobs<'a>;
        let tensor = match &self.content {
            Content::Bytes(bytes) => return one(Job::Bytes(at, bytes)),
            Content::Stored(bytes) => return one(Job::Stored(at, bytes)),
            Content::Unmade(tensor) => tensor,
        };
        let rows = match rows_of(tensor, external) {
            Ok(Some(rows)) if rows.shape().iter().product::<usize>() * 4 == self.length => rows,
            Ok(_) => return one(Job::Whole(self, tensor)),
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let (rows, width) = (Arc::new(rows), self.length / 4);
        let count = rows.shape().first().copied().unwrap_or(1);
        let width = width / count.max(1);
        let at_once = (BLOCK / width.max(1)).max(1);
        let ranges = (0..count).step_by(at_once);
        Box::new(ranges.map(move |first| {
            let range = first..(first + at_once).min(count);
            Ok(Job::Rows(at + first * width * 4, Arc::clone(&rows), range))
        }))
    }
}

/// A tensor that is still to be made, a few rows at a time.
fn rows_of<'a>(
    tensor: &TensorProto,
    external: &'a External,
) -> Result<Option<Rows<'a, f32>>, OnnxError> {
    match (&external.unmade, tensor::parameter(tensor)) {
        (Some(unmade), Some(name)) => unmade.maker.rows(name, tensor::dtype(tensor)?),
        _ => Ok(None),
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
            file.persist(&folder.join(location)).map_err(file_error)?;
        }
        self.model.persist(&self.path).map_err(file_error)?;
        sync_folder(folder).map_err(file_error)
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

    /// The file that it is.
    fn parts(&self) -> Parts {
        let mut parts = Parts::default();
        parts.bytes(&self.before.encode_to_vec());
        parts.bytes(&key(GRAPH_KEY, self.graph_bytes()));
        parts.bytes(&self.graph_before.encode_to_vec());
        for piece in &self.tensors {
            parts.bytes(&key(INITIALIZER_KEY, piece.bytes()));
            let Some(length) = piece.raw else {
                parts.bytes(&piece.tensor.encode_to_vec());
                continue;
            };
            parts.bytes(&piece.before.encode_to_vec());
            parts.bytes(&key(RAW_KEY, length));
            match &piece.tensor.raw_data {
                _ if tensor::is_unmade(piece.tensor) => parts.unmade(piece.tensor, length),
                Some(bytes) => parts.stored(bytes.clone()),
                None => {}
            }
            parts.bytes(&piece.after.encode_to_vec());
        }
        parts.bytes(&self.graph_after.encode_to_vec());
        parts.bytes(&self.after.encode_to_vec());
        parts
    }
}

impl<'a> Piece<'a> {
    fn new(tensor: &'a TensorProto) -> Result<Self, OnnxError> {
        let unmade = tensor::is_unmade(tensor);
        let raw = match (&tensor.raw_data, unmade) {
            (_, true) => Some(unmade_bytes(tensor)?),
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
