//! Growing PyTorch state dicts and optimizer states beside their model, in one file or in shards.

mod files;
mod source;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};
use net2net_core::apply::Growth;
use net2net_core::engine::Moment;
use net2net_core::graph::Graph;
use net2net_core::ops::Role;
use net2net_core::weights::{Rows, Source, Tensor};
use safetensors::tensor::Dtype;

use self::files::{Dict, Entry};
use self::source::DictSource;
use self::write::{Made, Maker, Output, Written, write};
use crate::model::Model;
use crate::output::tell;

/// What PyTorch's optimizers call their moments: SGD's, Adam's two, and AMSGrad's third.
const MOMENTS: [(&str, Moment); 4] = [
    ("momentum_buffer", Moment::First),
    ("exp_avg", Moment::First),
    ("exp_avg_sq", Moment::Second),
    ("max_exp_avg_sq", Moment::Second),
];

/// A state dict whose tensors belong to a model.
pub(crate) struct StateDict {
    dict: Dict,
    /// The parameters that it has.
    known: BTreeSet<String>,
}

/// A grown one that is not yet where it is to be.
pub(crate) struct Staged {
    written: Written,
    /// What is said when it is.
    note: String,
}

impl Staged {
    /// Puts it in place, whole or not at all.
    pub(crate) fn put(self) -> Result<()> {
        self.written.put()?;
        tell!("{}", self.note);
        Ok(())
    }
}

impl StateDict {
    /// Opens the one of a model.
    pub(crate) fn open(model: &Model, path: &Path) -> Result<StateDict> {
        let dict = Dict::open(path)?;
        let known = known(model, &dict, "")?;
        if known.is_empty() {
            bail!(
                "no tensor of {} has the name of one of the model's parameters; export the module \
                 with its names kept (torch.onnx.export does, if constant folding does not merge \
                 them)",
                path.display()
            );
        }
        Ok(StateDict { dict, known })
    }

    /// Runs something on the parameters that it has, the model's in place of those that it lacks.
    pub(crate) fn with_source<R>(
        &self,
        model: &Model,
        run: impl FnOnce(&dyn Source<f32>) -> R,
    ) -> R {
        run(&source(model, &self.dict, "", &str::to_owned, model))
    }

    /// Runs something on what was written, grown parameters of the old one in place of those that
    /// it lacks.
    pub(crate) fn with_grown<R>(
        &self,
        model: &Model,
        growth: &Growth,
        staged: &Staged,
        run: impl FnOnce(&dyn Source<f32>) -> R,
    ) -> Result<R> {
        let new = staged.written.open(&self.dict)?;
        let like = |name: &str| growth.copied_from(name).unwrap_or(name).to_owned();
        Ok(self.with_source(model, |old| {
            run(&source(model, &new, "", &like, &growth.source(old)))
        }))
    }

    /// Whether it holds numbers of less than single precision.
    pub(crate) fn is_half(&self) -> bool {
        let mut all = self.dict.tensors.values();
        all.any(|entry| matches!(entry.dtype, Dtype::F16 | Dtype::BF16))
    }

    /// Writes the tensors that are the model's parameters grown like them, those of inserted layers
    /// added, everything else as it was.
    pub(crate) fn stage(
        &self,
        model: &Model,
        growth: &Growth,
        path: &Path,
        threads: usize,
    ) -> Result<Staged> {
        let (dict, known) = (&self.dict, &self.known);
        refuse_renamed(model, growth, dict, "", known)?;
        let mut outputs = unchanged(dict);
        grown(model, growth, dict, "", known, |name, mut output| {
            let entry = growth.kept(name).and_then(|of| dict.tensors.get(of));
            output.made = match entry.filter(|entry| entry.dtype == output.dtype) {
                Some(entry) => {
                    output.shape.clone_from(&entry.shape);
                    Made::Same(entry.clone())
                }
                None => Made::Weight(name.to_owned()),
            };
            outputs.insert(name.to_owned(), output);
        });
        let twins = twins(dict, known);
        for (twin, name) in &twins {
            if let Some(grown) = outputs.get(name).cloned() {
                let shard = dict.tensors[twin].shard;
                outputs.insert(twin.clone(), Output { shard, ..grown });
            }
        }
        let others = dict.tensors.keys();
        let others = others.filter(|name| !known.contains(*name) && !twins.contains_key(*name));
        self.with_source(model, |source| {
            let maker = Growing {
                model,
                growth,
                dict,
                source,
            };
            Ok(Staged {
                written: write(dict, &outputs, &maker, path, threads)?,
                note: format!(
                    "{}: {} of {} tensors are the model's{}",
                    path.display(),
                    known.len() + twins.len(),
                    dict.tensors.len(),
                    as_they_were(others.map(String::as_str))
                ),
            })
        })
    }
}

/// Tensors that are parameters under another name: a module lists what it ties under each of its
/// names, and an exporter keeps one of them.
fn twins(dict: &Dict, known: &BTreeSet<String>) -> BTreeMap<String, String> {
    let unknown = dict
        .tensors
        .iter()
        .filter(|(name, _)| !known.contains(*name));
    let twin = |(name, entry): (&String, &Entry)| {
        let same = |other: &&String| {
            let own = &dict.tensors[*other];
            own.dtype == entry.dtype
                && own.shape == entry.shape
                && entry.shape.len() > 1
                && dict.bytes(own) == dict.bytes(entry)
        };
        Some((name.clone(), known.iter().find(same)?.clone()))
    };
    unknown.filter_map(twin).collect()
}

/// What is said of tensors that do not grow.
fn as_they_were<'a>(names: impl Iterator<Item = &'a str>) -> String {
    // Batch normalisations count their steps, and no model has that.
    let names: Vec<&str> = names
        .filter(|name| !name.ends_with("num_batches_tracked"))
        .collect();
    match names[..] {
        [] => String::new(),
        [_, _, _, _, _, ..] => format!(
            "; not in it, and as they were: {}, and {} more",
            names[..4].join(", "),
            names.len() - 4
        ),
        _ => format!("; not in it, and as they were: {}", names.join(", ")),
    }
}

/// Writes `new`: the moments of `old`, named `PARAMETER.exp_avg` and the like, grown with the
/// weights; those of inserted layers begin at zero.
pub(crate) fn stage_optimizer(
    model: &Model,
    growth: &Growth,
    old: &Path,
    new: &Path,
    threads: usize,
) -> Result<Staged> {
    let dict = Dict::open(old)?;
    let mut outputs = unchanged(&dict);
    let roles = growth.graph().parameter_roles();
    let trained = |name: &str| {
        let role = growth.graph().lookup(name).and_then(|id| roles.get(&id));
        role.copied().is_none_or(Role::is_trained)
    };
    let mut found = 0;
    for (moment, kind) in MOMENTS {
        let suffix = format!(".{moment}");
        let known = known(model, &dict, &suffix)?;
        found += known.len();
        refuse_renamed(model, growth, &dict, &suffix, &known)?;
        grown(model, growth, &dict, &suffix, &known, |name, mut output| {
            let full = format!("{name}{suffix}");
            output.made = match dict.tensors.get(&full) {
                Some(entry) if growth.kept(name) == Some(name) => Made::Same(entry.clone()),
                Some(entry) => Made::Moment(name.to_owned(), kind, entry.clone()),
                None if trained(name) => Made::Zeros,
                // Running statistics have no moments.
                None => return,
            };
            outputs.insert(full, output);
        });
    }
    if found == 0 {
        bail!(
            "{} holds no moments of the model's parameters; name them PARAMETER.momentum_buffer, \
             PARAMETER.exp_avg and PARAMETER.exp_avg_sq",
            old.display()
        );
    }
    new_steps(&model.graph, growth.graph(), &mut outputs);
    let maker = Growing {
        model,
        growth,
        dict: &dict,
        source: model,
    };
    Ok(Staged {
        written: write(&dict, &outputs, &maker, new, threads)?,
        note: format!("{}: {found} moments grown", new.display()),
    })
}

/// Counts of steps for new parameters, where the file counts those of each.
fn new_steps(old: &Graph, new: &Graph, outputs: &mut BTreeMap<String, Output>) {
    let counted = outputs.iter().find(|(name, _)| name.ends_with(".step"));
    let Some((_, like)) = counted else { return };
    let like = Output {
        made: Made::Zeros,
        ..like.clone()
    };
    for id in new.parameters() {
        let name = &new.get(id).name;
        let moment = |(moment, _): &(&str, Moment)| outputs.get(&format!("{name}.{moment}"));
        let shard = MOMENTS.iter().find_map(moment).map(|output| output.shard);
        if let (Some(shard), None) = (shard, old.lookup(name)) {
            let step = Output {
                shard,
                ..like.clone()
            };
            outputs.insert(format!("{name}.step"), step);
        }
    }
}

fn source<'a>(
    model: &'a Model,
    dict: &'a Dict,
    suffix: &'a str,
    like: &'a (dyn Fn(&str) -> String + Sync),
    others: &'a dyn Source<f32>,
) -> DictSource<'a> {
    DictSource {
        model,
        dict,
        suffix,
        like,
        others,
    }
}

/// All tensors as they are.
fn unchanged(dict: &Dict) -> BTreeMap<String, Output> {
    let all = dict.tensors.iter().map(|(name, entry)| {
        let output = Output {
            shard: entry.shard,
            dtype: entry.dtype,
            shape: entry.shape.clone(),
            made: Made::Same(entry.clone()),
        };
        (name.clone(), output)
    });
    all.collect()
}

/// The parameters whose tensors, named with a suffix, are in a file, and of the sizes that they have
/// in the model.
fn known(model: &Model, dict: &Dict, suffix: &str) -> Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for (full, entry) in &dict.tensors {
        let Some(name) = full.strip_suffix(suffix) else {
            continue;
        };
        let id = model.graph.lookup(name);
        let Some(id) = id.filter(|id| model.graph.is_parameter(*id)) else {
            continue;
        };
        let own = model.graph.get(id).shape.at(1);
        let sizes = model.laid_out_sizes(name, &entry.shape);
        if sizes != own {
            bail!(
                "`{full}` is {sizes:?} in {} and {own:?} in the model; is it the same network?",
                dict.path.display()
            );
        }
        // Indices and masks stay as they are.
        if is_real(entry) {
            known.insert(name.to_owned());
        }
    }
    Ok(known)
}

fn is_real(entry: &Entry) -> bool {
    matches!(
        entry.dtype,
        Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16
    )
}

/// Refuses a file that would grow by halves: a parameter that grows is not in it, and something that may
/// be it under another name is.
fn refuse_renamed(
    model: &Model,
    growth: &Growth,
    dict: &Dict,
    suffix: &str,
    known: &BTreeSet<String>,
) -> Result<()> {
    if known.is_empty() {
        return Ok(());
    }
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let graph = &model.graph;
    for id in graph.parameters() {
        let value = graph.get(id);
        let name = &value.name;
        if known.contains(name) || growth.kept(name) == Some(name) {
            continue;
        }
        let unmatched = dict.tensors.iter().filter(|(full, _)| {
            let own = full.strip_suffix(suffix);
            own.is_some_and(|own| !known.contains(own))
        });
        let size = value.shape.elements(1);
        // Both directions of a recurrent layer lie in one tensor.
        let renamed = |(_, entry): &(&String, &Entry)| {
            let own = count(&entry.shape);
            own > 1 && (own == size || 2 * own == size)
        };
        let mut renamed = unmatched.filter(renamed);
        if let Some((full, _)) = renamed.next() {
            bail!(
                "`{name}` of the model grows, and {} has no tensor of this name; `{full}` may be it. \
                 Export the module with its names kept: torch.onnx.export(…, dynamo=False, \
                 do_constant_folding=False)",
                dict.path.display()
            );
        }
    }
    refuse_shared(model, growth, dict, suffix, known)
}

/// Refuses a file with a tensor that belongs to a layer that grows and is not in the model: exporters keep one of
/// several tensors that are equal, such as the running statistics of layers that were never trained.
fn refuse_shared(
    model: &Model,
    growth: &Growth,
    dict: &Dict,
    suffix: &str,
    known: &BTreeSet<String>,
) -> Result<()> {
    for name in known {
        let (Some((layer, _)), Some(id)) = (name.rsplit_once('.'), model.graph.lookup(name)) else {
            continue;
        };
        let grows = growth.kept(name) != Some(name);
        let sizes = model.graph.get(id).shape.at(1);
        if !grows || sizes.len() != 1 {
            continue;
        }
        for (full, entry) in &dict.tensors {
            let own = full
                .strip_suffix(suffix)
                .filter(|own| !known.contains(*own));
            let beside = own.and_then(|own| own.rsplit_once('.'));
            if beside.is_some_and(|(other, _)| other == layer) && entry.shape == sizes {
                bail!(
                    "`{name}` grows, and `{full}` of {} is not in the model, though it belongs to the same \
                     layer: exporters keep one of several tensors that are equal, such as the running \
                     statistics of a network that was never trained. Export the trained module, with its \
                     names kept",
                    dict.path.display()
                );
            }
        }
    }
    Ok(())
}

/// Goes through the known parameters and the new ones, with what their tensors are to be.
fn grown(
    model: &Model,
    growth: &Growth,
    dict: &Dict,
    suffix: &str,
    known: &BTreeSet<String>,
    mut each: impl FnMut(&str, Output),
) {
    let entry = |name: &str| dict.tensors.get(&format!("{name}{suffix}"));
    let usual = known.iter().next().and_then(|name| entry(name));
    if known.is_empty() {
        return;
    }
    for id in growth.graph().parameters() {
        let value = growth.graph().get(id);
        let name = &value.name;
        // Parameters that only the model's file has are no part of the state dict.
        if model.graph.lookup(name).is_some() && !known.contains(name) {
            continue;
        }
        // A copy is laid out as what it is a copy of, and lies beside it.
        let like = growth.copied_from(name).unwrap_or(name);
        let beside = entry(name).or_else(|| entry(like)).or(usual);
        let output = Output {
            shard: beside.map_or(0, |entry| entry.shard),
            dtype: beside.map_or(Dtype::F32, |entry| entry.dtype),
            shape: model.stored_sizes(like, &value.shape.at(1)),
            made: Made::Zeros,
        };
        each(name, output);
    }
}

/// Makes grown tensors.
struct Growing<'a> {
    model: &'a Model,
    growth: &'a Growth,
    dict: &'a Dict,
    source: &'a dyn Source<f32>,
}

impl Maker for Growing<'_> {
    fn bytes(&self, output: &Output) -> Result<Vec<u8>> {
        let (name, tensor): (&str, Tensor<f32>) = match &output.made {
            Made::Weight(name) => {
                let grown = self.growth.source(self.source);
                (name, grown.tensor(name)?.into_owned())
            }
            Made::Moment(name, moment, entry) => {
                let own = source(self.model, self.dict, "", &str::to_owned, self.model);
                let old = own.read(name, entry)?;
                (name, self.growth.moment(name, *moment, &old))
            }
            Made::Zeros | Made::Same(_) => {
                let count: usize = output.shape.iter().product();
                return Ok(vec![0; count * output.dtype.bitsize() / 8]);
            }
        };
        let like = self.growth.copied_from(name).unwrap_or(name);
        let sizes = tensor.shape().to_vec();
        let (_, numbers) = self.model.as_stored(like, &sizes, tensor.into_data());
        Ok(source::bytes(output.dtype, &numbers))
    }

    fn rows(&self, output: &Output) -> Result<Option<Rows<'_, f32>>> {
        let Made::Weight(name) = &output.made else {
            return Ok(None);
        };
        let like = self.growth.copied_from(name).unwrap_or(name);
        let in_order = self.model.is_in_order(like, output.shape.len());
        if output.dtype != Dtype::F32 || !in_order || cfg!(target_endian = "big") {
            return Ok(None);
        }
        Ok(self.growth.rows(name, |of| self.source.words(of))?)
    }
}
