//! A state dict as the source of a network's parameters.

use std::borrow::Cow;

use anyhow::{Result, bail};
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use net2net_core::weights::{Source, Tensor, WeightsError, Words};
use net2net_kernels::slices::Word;
use safetensors::tensor::Dtype;

use super::files::{Dict, Entry};
use crate::model::Model;

/// Smaller parts of a file are not worth giving back.
const RELEASED_MIN: usize = 1 << 20;

/// The parameters of a network by a state dict, and those that it lacks by another source.
pub(super) struct DictSource<'a> {
    pub(super) model: &'a Model,
    pub(super) dict: &'a Dict,
    /// What the names of tensors end in, behind those of the parameters.
    pub(super) suffix: &'a str,
    /// The parameter of the model as which each one is laid out.
    pub(super) like: &'a (dyn Fn(&str) -> String + Sync),
    /// Has the others.
    pub(super) others: &'a dyn Source<f32>,
}

impl DictSource<'_> {
    pub(super) fn entry(&self, parameter: &str) -> Option<&Entry> {
        self.dict
            .tensors
            .get(&format!("{parameter}{}", self.suffix))
    }

    /// A parameter's tensor as the graph has it.
    pub(super) fn read(&self, parameter: &str, entry: &Entry) -> Result<Tensor<f32>> {
        let numbers = numbers(parameter, entry.dtype, self.dict.bytes(entry))?;
        self.release(entry);
        let like = (self.like)(parameter);
        let (sizes, numbers) = self.model.laid_out(&like, &entry.shape, numbers);
        Ok(Tensor::new(sizes, numbers)?)
    }

    fn release(&self, entry: &Entry) {
        if entry.bytes.len() >= RELEASED_MIN {
            self.dict.release(entry, 0..entry.bytes.len());
        }
    }
}

impl Source<f32> for DictSource<'_> {
    fn tensor(&self, name: &str) -> Result<Cow<'_, Tensor<f32>>, WeightsError> {
        let Some(entry) = self.entry(name) else {
            return self.others.tensor(name);
        };
        let read = self.read(name, entry);
        read.map(Cow::Owned)
            .map_err(|error| WeightsError::Unreadable {
                name: name.to_owned(),
                why: format!("{error:#}"),
            })
    }

    fn words(&self, name: &str) -> Result<Option<Words<'_>>, WeightsError> {
        let Some(entry) = self.entry(name) else {
            return self.others.words(name);
        };
        let like = (self.like)(name);
        if entry.dtype != Dtype::F32 || !self.model.is_in_order(&like, entry.shape.len()) {
            return Ok(None);
        }
        let (dict, shape) = (self.dict, entry.shape.clone());
        Words::new(shape, InPlace { dict, entry }).map(Some)
    }
}

/// A tensor of the file, whose memory is given back when it is dropped.
struct InPlace<'a> {
    dict: &'a Dict,
    entry: &'a Entry,
}

impl AsRef<[Word]> for InPlace<'_> {
    fn as_ref(&self) -> &[Word] {
        self.dict.bytes(self.entry).as_chunks().0
    }
}

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        if self.entry.bytes.len() >= RELEASED_MIN {
            self.dict.release(self.entry, 0..self.entry.bytes.len());
        }
    }
}

/// The real numbers of a tensor, rounded to f32.
pub(super) fn numbers(name: &str, dtype: Dtype, data: &[u8]) -> Result<Vec<f32>> {
    let words = data.as_chunks::<4>().0.iter();
    let long = data.as_chunks::<8>().0.iter();
    let halves = || data.as_chunks::<2>().0.iter();
    Ok(match dtype {
        Dtype::F64 => long.map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F32 => words.map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => {
            let all: Vec<f16> = halves().map(|b| f16::from_le_bytes(*b)).collect();
            let mut numbers = vec![0.0; all.len()];
            all.convert_to_f32_slice(&mut numbers);
            numbers
        }
        Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        other => bail!("`{name}` is {other:?}; only tensors of real numbers grow"),
    })
}

/// Numbers as a type of real numbers has them; [`numbers`] reads no other types.
pub(super) fn bytes(dtype: Dtype, numbers: &[f32]) -> Vec<u8> {
    let all = numbers.iter();
    match dtype {
        Dtype::F64 => all.flat_map(|x| f64::from(*x).to_le_bytes()).collect(),
        Dtype::F16 => all.flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::BF16 => all.flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        _ => all.flat_map(|x| x.to_le_bytes()).collect(),
    }
}
