//! Growing PyTorch state dicts and optimizer states beside their model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use half::{bf16, f16};
use net2net_core::apply::Growth;
use net2net_core::engine::{Moment, OptimizerState};
use net2net_core::io::write_atomic;
use net2net_core::weights::{Tensor, Weights};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::model::Model;

/// What PyTorch's optimizers call their moments: SGD's, Adam's two, and AMSGrad's third.
const MOMENTS: [(&str, Moment); 4] = [
    ("momentum_buffer", Moment::First),
    ("exp_avg", Moment::First),
    ("exp_avg_sq", Moment::Second),
    ("max_exp_avg_sq", Moment::Second),
];

/// A tensor of a file, as it is stored.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// The tensors of a file by name.
type Tensors = BTreeMap<String, Stored>;

/// Writes `new`: the tensors of `old` that are the model's parameters grown like them, those of
/// inserted layers added, everything else as it was.
pub(crate) fn grow(model: &Model, growth: &Growth, old: &Path, new: &Path) -> Result<()> {
    let mut tensors = read(old)?;
    let mut weights = model.weights()?;
    let known = take(model, &tensors, "", old, &mut weights)?;
    if known.is_empty() {
        bail!(
            "no tensor of {} has the name of one of the model's parameters; export the module with \
             its names kept (torch.onnx.export does, if constant folding does not merge them)",
            old.display()
        );
    }
    let count = tensors.len();
    put(
        model,
        growth,
        &growth.weights(&weights)?,
        "",
        &known,
        &mut tensors,
    )?;
    write(new, &tensors)?;
    eprintln!(
        "{}: {} of {count} tensors are the model's; the others are as they were",
        new.display(),
        known.len()
    );
    Ok(())
}

/// Writes `new`: the moments of `old`, named `PARAMETER.exp_avg` and the like, grown with the
/// weights; those of inserted layers begin at zero.
pub(crate) fn grow_optimizer(model: &Model, growth: &Growth, old: &Path, new: &Path) -> Result<()> {
    let mut tensors = read(old)?;
    let mut found = 0;
    for (name, moment) in MOMENTS {
        let suffix = format!(".{name}");
        let mut moments = Weights::default();
        let known = take(model, &tensors, &suffix, old, &mut moments)?;
        if known.is_empty() {
            continue;
        }
        found += known.len();
        let state = OptimizerState {
            moments: BTreeMap::from([(moment, moments)]),
            ..OptimizerState::default()
        };
        let mut grown = growth.optimizer_state(&state)?;
        if let Some(moments) = grown.moments.remove(&moment) {
            put(model, growth, &moments, &suffix, &known, &mut tensors)?;
        }
    }
    if found == 0 {
        bail!(
            "{} holds no moments of the model's parameters; name them PARAMETER.momentum_buffer, \
             PARAMETER.exp_avg and PARAMETER.exp_avg_sq",
            old.display()
        );
    }
    new_steps(model, growth, &mut tensors);
    write(new, &tensors)?;
    eprintln!("{}: {found} moments grown", new.display());
    Ok(())
}

/// Counts of steps for new parameters, where the file counts those of each.
fn new_steps(model: &Model, growth: &Growth, tensors: &mut Tensors) {
    let counted = tensors.iter().find(|(name, _)| name.ends_with(".step"));
    let Some((dtype, shape, size)) = counted.map(|(_, t)| (t.dtype, t.shape.clone(), t.data.len()))
    else {
        return;
    };
    for id in growth.graph().parameters() {
        let name = &growth.graph().get(id).name;
        let has_moments =
            |(suffix, _): &(&str, Moment)| tensors.contains_key(&format!("{name}.{suffix}"));
        if model.graph.lookup(name).is_none() && MOMENTS.iter().any(has_moments) {
            let zero = Stored {
                dtype,
                shape: shape.clone(),
                data: vec![0; size],
            };
            tensors.insert(format!("{name}.step"), zero);
        }
    }
}

/// Takes the parameters' tensors out of a file's, laid out as the graph has them; returns the
/// parameters' names.
fn take(
    model: &Model,
    tensors: &Tensors,
    suffix: &str,
    path: &Path,
    weights: &mut Weights<f32>,
) -> Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for (full, tensor) in tensors {
        let Some(name) = full.strip_suffix(suffix) else {
            continue;
        };
        let id = model.graph.lookup(name);
        let Some(id) = id.filter(|id| model.graph.is_parameter(*id)) else {
            continue;
        };
        let numbers = numbers(full, tensor)?;
        let (sizes, numbers) = model.laid_out(name, &tensor.shape, numbers);
        let own = model.graph.get(id).shape.at(1);
        if sizes != own {
            bail!(
                "`{full}` is {sizes:?} in {} and {own:?} in the model; is it the same network?",
                path.display()
            );
        }
        weights.insert(name, Tensor::new(sizes, numbers)?);
        known.insert(name.to_owned());
    }
    Ok(known)
}

/// Puts grown tensors in the place of the known ones, and those of new parameters beside them.
fn put(
    model: &Model,
    growth: &Growth,
    grown: &Weights<f32>,
    suffix: &str,
    known: &BTreeSet<String>,
    tensors: &mut Tensors,
) -> Result<()> {
    let usual = known.iter().next();
    let usual = usual.and_then(|name| tensors.get(&format!("{name}{suffix}")));
    let usual = usual.map_or(Dtype::F32, |tensor| tensor.dtype);
    for id in growth.graph().parameters() {
        let name = &growth.graph().get(id).name;
        // Parameters that only the model's file has are no part of the state dict.
        if model.graph.lookup(name).is_some() && !known.contains(name) {
            continue;
        }
        let Some(tensor) = grown.get(name) else {
            continue;
        };
        let full = format!("{name}{suffix}");
        let dtype = tensors.get(&full).map_or(usual, |tensor| tensor.dtype);
        // A copy is laid out as what it is a copy of.
        let like = growth.copied_from(name).unwrap_or(name);
        let numbers = tensor.data().to_vec();
        let (shape, numbers) = model.as_stored(like, tensor.shape(), numbers);
        let data = bytes(dtype, &numbers);
        tensors.insert(full, Stored { dtype, shape, data });
    }
    Ok(())
}

fn read(path: &Path) -> Result<Tensors> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let file = SafeTensors::deserialize(&bytes)
        .with_context(|| format!("{} is not a valid safetensors file", path.display()))?;
    let stored = |(name, view): (String, TensorView<'_>)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        let data = view.data().to_vec();
        (name, Stored { dtype, shape, data })
    };
    Ok(file.tensors().into_iter().map(stored).collect())
}

fn write(path: &Path, tensors: &Tensors) -> Result<()> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.data)?;
            Ok((name.clone(), view))
        })
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, None)?;
    write_atomic(path, &bytes).with_context(|| path.display().to_string())
}

fn numbers(name: &str, tensor: &Stored) -> Result<Vec<f32>> {
    let data = &tensor.data;
    let halves = || data.as_chunks::<2>().0.iter();
    Ok(match tensor.dtype {
        Dtype::F64 => {
            let words = data.as_chunks::<8>().0.iter();
            words.map(|b| f64::from_le_bytes(*b) as f32).collect()
        }
        Dtype::F32 => {
            let words = data.as_chunks::<4>().0.iter();
            words.map(|b| f32::from_le_bytes(*b)).collect()
        }
        Dtype::F16 => halves().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        other => bail!("`{name}` is {other:?}; only tensors of real numbers grow"),
    })
}

/// Numbers as a type of real numbers has them; `numbers` reads no other types.
fn bytes(dtype: Dtype, numbers: &[f32]) -> Vec<u8> {
    let all = numbers.iter();
    match dtype {
        Dtype::F64 => all.flat_map(|x| f64::from(*x).to_le_bytes()).collect(),
        Dtype::F16 => all.flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::BF16 => all.flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        _ => all.flat_map(|x| x.to_le_bytes()).collect(),
    }
}
