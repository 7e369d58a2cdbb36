//! Parameters read from a document one at a time, and grown when they are written.

use std::borrow::Cow;
use std::sync::Arc;

use net2net_core::apply::Growth;
use net2net_core::weights::{Rows, Source, Tensor, WeightsError, Words};
use net2net_kernels::slices::Word;
use prost::bytes::Bytes;

use crate::document::{Document, External, Maker};
use crate::error::OnnxError;
use crate::import::{Imported, Stored};
use crate::tensor::{self, Dtype};

/// The parameters of a document in f32. Each is read from the file when it is asked for; nothing is
/// kept.
#[derive(Clone, Copy)]
pub struct FileSource<'a> {
    document: &'a Document,
    imported: &'a Imported,
}

impl<'a> FileSource<'a> {
    /// Those of a document; [`Imported::source`] also checks them.
    pub fn new(document: &'a Document, imported: &'a Imported) -> Self {
        FileSource { document, imported }
    }

    fn stored(&self, name: &str) -> Result<&'a Stored, WeightsError> {
        let stored = self.imported.parameters.get(name);
        stored.ok_or_else(|| WeightsError::Missing {
            name: name.to_owned(),
        })
    }

    /// A parameter's numbers where they lie, if they are single floats in the order of its axes.
    ///
    /// # Errors
    /// Those of [`Source::tensor`].
    pub fn in_place(&self, name: &str) -> Result<Option<Words<'a>>, WeightsError> {
        let found = floats_in_place(self.stored(name)?, self.document);
        let Some((sizes, bytes)) = found.map_err(|error| unreadable(name, &error))? else {
            return Ok(None);
        };
        let external = &self.document.external;
        Words::new(sizes, InPlace { bytes, external }).map(Some)
    }
}

impl Source<f32> for FileSource<'_> {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<f32>>, WeightsError> {
        let read = self.stored(name)?.read_floats(self.document);
        let (sizes, numbers) = read.map_err(|error| unreadable(name, &error))?;
        Tensor::new(sizes, numbers).map(Cow::Owned)
    }

    fn wide(&self, name: &str) -> Result<Tensor<f64>, WeightsError> {
        let read = self.stored(name)?.read_wide_floats(self.document);
        let (sizes, numbers) = read.map_err(|error| unreadable(name, &error))?;
        Tensor::new(sizes, numbers)
    }

    fn words(&self, name: &str) -> Result<Option<Words<'_>>, WeightsError> {
        self.in_place(name)
    }
}

/// The sizes and the bytes of a parameter, if it is stored as single floats in the order of its
/// axes.
fn floats_in_place(
    stored: &Stored,
    document: &Document,
) -> Result<Option<(Vec<usize>, Bytes)>, OnnxError> {
    let tensor = match stored.tensor(document)? {
        Some(tensor) if stored.is_as_stored() && !tensor::is_unmade(tensor) => tensor,
        _ => return Ok(None),
    };
    let ((sizes, count), dtype) = (tensor::sizes(tensor)?, tensor::dtype(tensor)?);
    let bytes = tensor::payload(tensor, &document.external)?;
    let fits = |bytes: &Bytes| dtype == Dtype::F32 && Some(bytes.len()) == count.checked_mul(4);
    Ok(bytes.filter(fits).map(|bytes| (sizes, bytes)))
}

/// Part of a file, whose memory is given back when it is dropped.
struct InPlace<'a> {
    bytes: Bytes,
    external: &'a External,
}

impl AsRef<[Word]> for InPlace<'_> {
    fn as_ref(&self) -> &[Word] {
        self.bytes.as_chunks().0
    }
}

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        self.external.release(&self.bytes);
    }
}

fn unreadable(name: &str, error: &OnnxError) -> WeightsError {
    WeightsError::Unreadable {
        name: name.to_owned(),
        why: error.to_string(),
    }
}

/// Makes the tensors of grown parameters from those of the document that grew.
pub(crate) struct GrownMaker {
    model: Arc<(Document, Imported)>,
    growth: Arc<Growth>,
}

impl GrownMaker {
    pub(crate) fn new(model: Arc<(Document, Imported)>, growth: Arc<Growth>) -> Self {
        GrownMaker { model, growth }
    }
}

impl Maker for GrownMaker {
    fn bytes(&self, parameter: &str, dtype: Dtype) -> Result<Bytes, OnnxError> {
        let (document, imported) = self.model.as_ref();
        let file = FileSource::new(document, imported);
        let grown = self.growth.source(&file);
        let tensor = grown
            .tensor(parameter)
            .map_err(|error| unmakeable(parameter, &error))?
            .into_owned();
        let sizes = tensor.shape().to_vec();
        let numbers = match imported.parameters.get(parameter) {
            Some(stored) => stored.turn_back(&sizes, tensor.into_data()).1,
            None => tensor.into_data(),
        };
        Ok(tensor::floats_to_bytes(numbers, dtype))
    }

    fn rows(&self, parameter: &str, dtype: Dtype) -> Result<Option<Rows<'_, f32>>, OnnxError> {
        let (document, imported) = self.model.as_ref();
        let stored = imported.parameters.get(parameter);
        let in_order = stored.is_none_or(Stored::is_as_stored);
        if !in_order || dtype != Dtype::F32 || cfg!(target_endian = "big") {
            return Ok(None);
        }
        let file = FileSource::new(document, imported);
        let rows = self.growth.rows(parameter, |of| file.in_place(of));
        rows.map_err(|error| unmakeable(parameter, &error))
    }
}

fn unmakeable(parameter: &str, error: &WeightsError) -> OnnxError {
    OnnxError::Export {
        name: parameter.to_owned(),
        why: error.to_string(),
    }
}
