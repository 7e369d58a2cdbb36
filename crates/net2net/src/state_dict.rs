//! Growing a PyTorch state dict beside its model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use net2net_core::apply::Growth;
use net2net_core::io::write_atomic;
use net2net_core::weights::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::model::Model;

/// Writes `new`: the tensors of `old` that are the model's parameters grown like them, those of
/// inserted layers added, everything else as it was.
pub(crate) fn grow(model: &Model, growth: &Growth, old: &Path, new: &Path) -> Result<()> {
    let bytes = fs::read(old).with_context(|| old.display().to_string())?;
    let file = SafeTensors::deserialize(&bytes)
        .with_context(|| format!("{} is not a valid safetensors file", old.display()))?;
    let mut weights = model.weights()?;
    let mut known = 0;
    for (name, view) in file.tensors() {
        let Some(own) = weights.get(&name) else {
            continue;
        };
        if own.shape() != view.shape() {
            bail!(
                "`{name}` is {:?} in {} and {:?} in the model; is it the same network?",
                view.shape(),
                old.display(),
                own.shape()
            );
        }
        let tensor = Tensor::new(own.shape().to_vec(), numbers(&name, &view)?)?;
        weights.insert(name, tensor);
        known += 1;
    }
    if known == 0 {
        bail!(
            "no tensor of {} has the name of one of the model's parameters; export the module with \
             its names kept (torch.onnx.export does, if constant folding does not merge them)",
            old.display()
        );
    }
    let grown = growth.weights(&weights)?;
    let before: Vec<String> = file.names().iter().map(ToString::to_string).collect();
    let mut written: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (name, view) in file.tensors() {
        if grown.get(&name).is_none() {
            written.insert(
                name,
                (view.dtype(), view.shape().to_vec(), view.data().to_vec()),
            );
        }
    }
    for id in growth.graph().parameters() {
        let name = &growth.graph().get(id).name;
        // Parameters that only the ONNX file has are no part of the state dict.
        if model.graph.lookup(name).is_some() && !before.contains(name) {
            continue;
        }
        let tensor = grown.require(name)?;
        let data = tensor.data().iter().flat_map(|x| x.to_le_bytes()).collect();
        written.insert(name.clone(), (Dtype::F32, tensor.shape().to_vec(), data));
    }
    let views = written
        .iter()
        .map(|(name, (dtype, shape, data))| {
            Ok((name.clone(), TensorView::new(*dtype, shape.clone(), data)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, None)?;
    write_atomic(new, &bytes).with_context(|| new.display().to_string())?;
    eprintln!(
        "{}: {known} of {} tensors are the model's; the others are as they were",
        new.display(),
        before.len()
    );
    Ok(())
}

fn numbers(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
    match view.dtype() {
        Dtype::F32 => {
            let words = view.data().as_chunks::<4>().0.iter();
            Ok(words.map(|b| f32::from_le_bytes(*b)).collect())
        }
        other => bail!("`{name}` is {other:?}; only f32 state dicts are grown so far"),
    }
}
