//! Inserting one layer.

use std::collections::BTreeMap;

use super::{ApplyError, Fresh, Origin, Stage};
use crate::dims::Refusal;
use crate::graph::{Extent, Graph, Source, ValueId};
use crate::ops::{Add, BatchNorm, Conv, Gemm, Nature, Op, Window};
use crate::plan::{Insert, Layer, UndoneNorm};

/// Rebuilds the graph with one more layer; `number` is that of the step in its plan.
pub(super) fn insert(graph: &Graph, step: &Insert, number: usize) -> Result<Stage, ApplyError> {
    let refuse = |why: String| ApplyError::Refused {
        step: number,
        refusal: Refusal {
            space: step.after.clone(),
            node: None,
            why,
        },
    };
    let after = graph
        .find(&step.after)
        .map_err(|error| refuse(error.to_string()))?;
    let Some(producer) = graph.producer(after) else {
        return Err(refuse(
            "a layer is inserted after a node, and this is none".to_owned(),
        ));
    };
    check(graph, step, after, number)?;
    let activation = graph.at(producer).op.clone();
    let is_output = graph.outputs().contains(&after);
    let mut builder = Builder {
        grown: Graph::new(graph.name()),
        origins: BTreeMap::new(),
        prefix: step.name.clone(),
    };
    let mut renamed: Vec<ValueId> = Vec::new();
    for id in graph.value_ids() {
        let value = graph.get(id);
        let inner_name = format!("{}.input", step.name);
        match value.source {
            Source::Input => {
                renamed.push(
                    builder
                        .grown
                        .input(value.name.clone(), value.shape.clone())?,
                );
            }
            Source::Parameter => {
                let sizes = value.shape.at(1);
                renamed.push(builder.grown.parameter(value.name.clone(), &sizes)?);
            }
            Source::Node { index: 0, node } => {
                let node = graph.at(node);
                let inputs: Vec<ValueId> = node.inputs.iter().map(|v| renamed[v.index()]).collect();
                // An output of the graph keeps its name, so the new layer takes it over.
                let name_of = |output: &ValueId| match is_output && *output == after {
                    true => inner_name.clone(),
                    false => graph.get(*output).name.clone(),
                };
                let names: Vec<String> = node.outputs.iter().map(name_of).collect();
                let outputs = builder
                    .grown
                    .node_with_outputs(&names, node.op.clone(), &inputs)?;
                for (old, mut new) in node.outputs.iter().zip(outputs) {
                    if *old == after {
                        let last = is_output.then(|| graph.get(after).name.clone());
                        new = builder.layer(new, &step.layer, &activation, last)?;
                    }
                    renamed.push(new);
                }
            }
            Source::Node { .. } => {}
        }
    }
    for output in graph.outputs() {
        builder.grown.output(renamed[output.index()]);
    }
    Ok(Stage {
        graph: builder.grown,
        origins: builder.origins,
    })
}

/// Refuses layers that would change the function.
fn check(graph: &Graph, step: &Insert, after: ValueId, number: usize) -> Result<(), ApplyError> {
    let invalid = |why: String| ApplyError::Invalid { step: number, why };
    let shape = &graph.get(after).shape;
    let channels = match *shape.extents() {
        [_, Extent::Fixed(c)] | [_, Extent::Fixed(c), _, _] => c,
        _ => {
            return Err(invalid(format!(
                "`{}` has shape {shape}; only [N, features] and images can be deepened",
                step.after
            )));
        }
    };
    let producer = graph.producer(after).map(|id| &graph.at(id).op);
    let nature = producer.map(Op::nature);
    let kernel = match &step.layer {
        Layer::Identity { kernel, .. }
        | Layer::Residual { kernel, .. }
        | Layer::Factor { kernel } => kernel,
    };
    if kernel.iter().any(|side| side % 2 == 0 || *side > 63) {
        return Err(invalid(format!(
            "a kernel of {kernel:?} must have odd sides of at most 63"
        )));
    }
    match (&step.layer, nature) {
        (Layer::Identity { .. }, Some(Nature::Activation { idempotent: true })) => {}
        (Layer::Identity { .. }, _) => {
            return Err(invalid(format!(
                "an identity layer repeats the activation, so `{}` must be an idempotent one",
                step.after
            )));
        }
        (Layer::Residual { .. }, Some(Nature::Activation { .. })) => {}
        (Layer::Residual { .. }, _) => {
            return Err(invalid(format!(
                "`{}` is not an activation to repeat",
                step.after
            )));
        }
        (Layer::Factor { .. }, Some(Nature::Linear)) => {}
        (Layer::Factor { .. }, _) => {
            return Err(invalid(format!(
                "`{}` is not a linear layer to factor",
                step.after
            )));
        }
    }
    if let Layer::Identity {
        norm: Some(norm), ..
    } = &step.layer
    {
        let sensible = norm.mean.len() == channels
            && norm.variance.len() == channels
            && norm.mean.iter().all(|x| x.is_finite())
            && norm.variance.iter().all(|x| x.is_finite() && *x >= 0.0)
            && norm.epsilon > 0.0
            && norm.epsilon.is_finite()
            && (0.0..=1.0).contains(&norm.momentum);
        if !sensible {
            return Err(invalid(format!(
                "the batch norm after `{}` needs {channels} finite means and variances",
                step.after
            )));
        }
    }
    Ok(())
}

struct Builder {
    grown: Graph,
    origins: BTreeMap<String, Origin>,
    prefix: String,
}

impl Builder {
    /// Adds the layer and returns its output, which takes `last` as its name if that is given.
    fn layer(
        &mut self,
        x: ValueId,
        layer: &Layer,
        activation: &Op,
        last: Option<String>,
    ) -> Result<ValueId, ApplyError> {
        let prefix = self.prefix.clone();
        let name = |suffix: &str| format!("{prefix}{suffix}");
        match layer {
            Layer::Identity { kernel, norm } => {
                let last = last.unwrap_or_else(|| name(".activation"));
                let base = self.prefix.clone();
                let mut y = self.linear(&base, &base, x, *kernel, Fresh::Identity, false)?;
                if let Some(norm) = norm {
                    y = self.undone_norm(&name(".norm"), y, norm)?;
                }
                Ok(self.activation(&last, activation, y)?)
            }
            Layer::Residual { kernel, norm, seed } => {
                let (first, second) = (name(".first"), name(".second"));
                let (norm_name, act, last) = (
                    name(".norm"),
                    name(".activation"),
                    last.unwrap_or_else(|| name(".sum")),
                );
                let random = Fresh::Random {
                    seed: *seed,
                    fan_in: self.fan_in(x, *kernel),
                };
                let mut y = self.linear(&first, &first, x, *kernel, random, true)?;
                if *norm {
                    y = self.plain_norm(&norm_name, y)?;
                }
                y = self.activation(&act, activation, y)?;
                y = self.linear(&second, &second, y, *kernel, Fresh::Full(0.0), true)?;
                Ok(self.grown.node(last, Add, &[x, y])?)
            }
            Layer::Factor { kernel } => {
                // A layer that takes over an output's name leaves its parameters' names alone: they
                // are often named after it.
                let last = last.unwrap_or_else(|| prefix.clone());
                self.linear(&last, &prefix, x, *kernel, Fresh::Identity, false)
            }
        }
    }

    fn fan_in(&self, x: ValueId, kernel: [usize; 2]) -> usize {
        let sizes = self.grown.get(x).shape.at(1);
        let taps = if sizes.len() == 4 {
            kernel[0] * kernel[1]
        } else {
            1
        };
        sizes[1] * taps
    }

    fn parameter(
        &mut self,
        name: String,
        sizes: &[usize],
        fresh: Fresh,
    ) -> Result<ValueId, ApplyError> {
        let id = self.grown.parameter(name.clone(), sizes)?;
        self.origins.insert(name, Origin::Fresh(fresh));
        Ok(id)
    }

    /// A convolution that keeps the size, or a linear layer, by the rank of what it reads; the
    /// names of its parameters begin with `prefix`.
    fn linear(
        &mut self,
        name: &str,
        prefix: &str,
        x: ValueId,
        kernel: [usize; 2],
        weight: Fresh,
        bias: bool,
    ) -> Result<ValueId, ApplyError> {
        let sizes = self.grown.get(x).shape.at(1);
        let channels = sizes[1];
        let (op, weight_sizes): (Op, Vec<usize>) = if sizes.len() == 4 {
            (
                Conv::new(Window::same(kernel)).into(),
                vec![channels, channels, kernel[0], kernel[1]],
            )
        } else {
            (Gemm::default().into(), vec![channels, channels])
        };
        let weight = self.parameter(format!("{prefix}.weight"), &weight_sizes, weight)?;
        let mut inputs = vec![x, weight];
        if bias {
            inputs.push(self.parameter(format!("{prefix}.bias"), &[channels], Fresh::Full(0.0))?);
        }
        Ok(self.grown.node(name, op, &inputs)?)
    }

    fn undone_norm(
        &mut self,
        name: &str,
        x: ValueId,
        norm: &UndoneNorm,
    ) -> Result<ValueId, ApplyError> {
        let std = norm
            .variance
            .iter()
            .map(|v| (v + norm.epsilon).sqrt())
            .collect();
        let op = BatchNorm {
            epsilon: norm.epsilon,
            momentum: norm.momentum,
        };
        let values = [
            Fresh::Values(std),
            Fresh::Values(norm.mean.clone()),
            Fresh::Values(norm.mean.clone()),
            Fresh::Values(norm.variance.clone()),
        ];
        self.norm(name, x, op, values)
    }

    fn plain_norm(&mut self, name: &str, x: ValueId) -> Result<ValueId, ApplyError> {
        let values = [1.0, 0.0, 0.0, 1.0].map(Fresh::Full);
        self.norm(name, x, BatchNorm::default(), values)
    }

    fn norm(
        &mut self,
        name: &str,
        x: ValueId,
        op: BatchNorm,
        values: [Fresh; 4],
    ) -> Result<ValueId, ApplyError> {
        let channels = self.grown.get(x).shape.at(1)[1];
        let mut inputs = vec![x];
        let suffixes = ["weight", "bias", "running_mean", "running_var"];
        for (suffix, fresh) in suffixes.iter().zip(values) {
            inputs.push(self.parameter(format!("{name}.{suffix}"), &[channels], fresh)?);
        }
        Ok(self.grown.node(name, op, &inputs)?)
    }

    /// The same activation once more, with a slope of its own if it has one.
    fn activation(&mut self, name: &str, op: &Op, x: ValueId) -> Result<ValueId, ApplyError> {
        let mut inputs = vec![x];
        if matches!(op, Op::PRelu(_)) {
            let channels = self.grown.get(x).shape.at(1)[1];
            let slope = format!("{}.slope", self.prefix);
            inputs.push(self.parameter(slope, &[channels], Fresh::Full(0.25))?);
        }
        Ok(self.grown.node(name, op.clone(), &inputs)?)
    }
}
