//! Parameters read from a document one at a time, and grown when they are written.

use std::borrow::Cow;
use std::sync::Arc;

use net2net_core::apply::Growth;
use net2net_core::weights::{Source, Tensor, WeightsError};
use prost::bytes::Bytes;

use crate::document::{Document, Maker};
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
            .map_err(|error| OnnxError::Export {
                name: parameter.to_owned(),
                why: error.to_string(),
            })?
            .into_owned();
        let sizes = tensor.shape().to_vec();
        let numbers = match imported.parameters.get(parameter) {
            Some(stored) => stored.turn_back(&sizes, tensor.into_data()).1,
            None => tensor.into_data(),
        };
        Ok(tensor::floats_to_bytes(numbers, dtype))
    }
}
