//! The inputs that networks are compared on: random ones, or arrays of NumPy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use net2net_core::graph::Extent;
use npyz::{DType, NpyFile, Order, TypeChar};
use zip::ZipArchive;

use crate::args::Proof;
use crate::model::Model;

/// The most numbers that are read from one array.
const MAX_NUMBERS: u64 = 1 << 28;

/// Inputs of a model, as the engine takes them.
pub(crate) struct Samples {
    pub(crate) batch: usize,
    data: Vec<Vec<f32>>,
    /// What they are, for people.
    pub(crate) what: String,
}

/// An array with its sizes, row-major.
struct Array {
    sizes: Vec<usize>,
    numbers: Vec<f32>,
}

impl Samples {
    /// Those of the file that is given, or random ones.
    pub(crate) fn of(model: &Model, proof: &Proof, seed: u64) -> Result<Samples> {
        let Some(path) = &proof.inputs else {
            let batch = proof.samples as usize;
            return Ok(Samples {
                batch,
                data: model.inputs(batch, seed)?,
                what: format!("{batch} random samples"),
            });
        };
        let arrays = read(path).with_context(|| path.display().to_string())?;
        given(model, arrays, path, seed)
    }

    pub(crate) fn narrow(&self) -> Vec<&[f32]> {
        self.data.iter().map(Vec::as_slice).collect()
    }

    pub(crate) fn wide(&self) -> Vec<Vec<f64>> {
        let wide = |data: &Vec<f32>| data.iter().map(|x| f64::from(*x)).collect();
        self.data.iter().map(wide).collect()
    }
}

/// Arrays by the names of inputs; a single unnamed array is that of the only input.
fn given(
    model: &Model,
    mut arrays: BTreeMap<String, Array>,
    path: &Path,
    seed: u64,
) -> Result<Samples> {
    let graph = &model.graph;
    let inputs: Vec<_> = graph.inputs().iter().map(|id| graph.get(*id)).collect();
    if let (Some(array), [only, ..]) = (arrays.remove(""), &inputs[..]) {
        arrays.insert(only.name.clone(), array);
    }
    let free = |name: &str| {
        let input = inputs.iter().find(|input| input.name == name);
        input.is_some_and(|input| input.shape.get(0) == Some(Extent::Batch))
    };
    let batch = arrays.iter().find(|(name, _)| free(name));
    let batch = batch.map_or(1, |(_, array)| array.sizes.first().copied().unwrap_or(1));
    let mut data = model.inputs(batch, seed)?;
    for (input, data) in inputs.iter().zip(&mut data) {
        let Some(array) = arrays.remove(&input.name) else {
            if model.is_made_beside(&input.name) {
                continue;
            }
            bail!("there is no array `{}` in {}", input.name, path.display());
        };
        let sizes = input.shape.at(batch);
        if array.sizes != sizes {
            bail!(
                "`{}` is {:?} in {}, and the model reads {}",
                input.name,
                array.sizes,
                path.display(),
                input.shape
            );
        }
        *data = channels_last(&array);
    }
    if let Some(name) = arrays.keys().next() {
        bail!(
            "the model has no input `{name}`, which {} holds",
            path.display()
        );
    }
    Ok(Samples {
        batch,
        data,
        what: format!("{batch} samples of {}", path.display()),
    })
}

fn read(path: &Path) -> Result<BTreeMap<String, Array>> {
    if path.extension().is_some_and(|e| e == "npz") {
        let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
        let mut arrays = BTreeMap::new();
        for at in 0..archive.len() {
            let file = archive.by_index(at)?;
            let Some(name) = file.name()?.strip_suffix(".npy").map(str::to_owned) else {
                continue;
            };
            let array = NpyFile::new(file)
                .map_err(anyhow::Error::from)
                .and_then(array);
            let array = array.with_context(|| format!("array `{name}`"))?;
            arrays.insert(name, array);
        }
        return Ok(arrays);
    }
    let file = NpyFile::new(BufReader::new(File::open(path)?))?;
    Ok(BTreeMap::from([(String::new(), array(file)?)]))
}

fn array<R: Read>(file: NpyFile<R>) -> Result<Array> {
    let sizes: Vec<usize> = file.shape().iter().map(|size| *size as usize).collect();
    let count = file
        .shape()
        .iter()
        .try_fold(1u64, |n, size| n.checked_mul(*size));
    if count.is_none_or(|count| count > MAX_NUMBERS) {
        bail!("{sizes:?} are more than {MAX_NUMBERS} numbers");
    }
    if file.order() != Order::C {
        bail!("it is stored by columns; numpy.ascontiguousarray stores it by rows");
    }
    let DType::Plain(kind) = file.dtype() else {
        bail!("it is a structured array");
    };
    macro_rules! numbers {
        ($type:ty, $number:ident => $value:expr) => {{
            let all: Vec<$type> = file.into_vec()?;
            all.into_iter().map(|$number| $value).collect()
        }};
    }
    let numbers = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 2) => numbers!(half::f16, x => x.to_f32()),
        (TypeChar::Float, 4) => numbers!(f32, x => x),
        (TypeChar::Float, 8) => numbers!(f64, x => x as f32),
        (TypeChar::Int, 1) => numbers!(i8, x => f32::from(x)),
        (TypeChar::Int, 2) => numbers!(i16, x => f32::from(x)),
        (TypeChar::Int, 4) => numbers!(i32, x => x as f32),
        (TypeChar::Int, 8) => numbers!(i64, x => x as f32),
        (TypeChar::Uint, 1) => numbers!(u8, x => f32::from(x)),
        (TypeChar::Bool, _) => numbers!(bool, x => f32::from(u8::from(x))),
        _ => bail!("arrays of {kind} are not read; use float32 or int64"),
    };
    Ok(Array { sizes, numbers })
}

/// The engine reads what has pixels or steps channels-last.
fn channels_last(array: &Array) -> Vec<f32> {
    let sizes = &array.sizes;
    if sizes.len() < 3 {
        return array.numbers.clone();
    }
    let (channels, inner) = (sizes[1], sizes[2..].iter().product::<usize>());
    let mut turned = Vec::with_capacity(array.numbers.len());
    for sample in array.numbers.chunks_exact((channels * inner).max(1)) {
        for at in 0..inner {
            turned.extend((0..channels).map(|channel| sample[channel * inner + at]));
        }
    }
    turned
}
