//! Inserting layers: as many as do not build upon each other in one pass.

use std::collections::HashMap;

use super::builder::{Builder, features};
use super::{ApplyError, Fresh, Stage, copy};
use crate::dims::Refusal;
use crate::graph::{Extent, Graph, NodeId, ValueId};
use crate::ops::{Add, Nature, Op, Relu, Window};
use crate::plan::{Insert, Layer, Region, is_rectified};

/// Layers that are inserted in one pass, each after a value that is there before the pass.
#[derive(Default)]
pub(crate) struct Run {
    /// What comes behind each value, in the order in which it was asked for: the last one directly.
    behind: HashMap<ValueId, Vec<Placed>>,
    count: usize,
}

/// One of the layers of a pass.
struct Placed {
    /// Its position among the steps of the pass.
    index: usize,
    /// Its number in the plan.
    number: usize,
    /// The node behind which it comes.
    producer: NodeId,
    /// The block, if it is copied.
    region: Option<Region>,
    /// The window of a branch's first filter.
    window: Window,
}

impl Run {
    /// Takes a layer into the pass. False where it builds upon what the pass inserts, so that it needs
    /// the next one. `readers` are the nodes that read each value; `number` is the step's in its plan.
    pub(crate) fn add(
        &mut self,
        graph: &Graph,
        readers: &[Vec<NodeId>],
        step: &Insert,
        number: usize,
    ) -> Result<bool, ApplyError> {
        let refuse = |why: String| ApplyError::Refused {
            step: number,
            refusal: Refusal {
                space: step.after.clone(),
                node: None,
                why,
            },
        };
        let first = self.behind.is_empty();
        let after = match graph.lookup(&step.after) {
            None if !first => return Ok(false),
            // An output's name goes over to the layer behind it.
            Some(after) if self.behind.contains_key(&after) && graph.outputs().contains(&after) => {
                return Ok(false);
            }
            Some(after) => after,
            None => graph
                .find(&step.after)
                .map_err(|error| refuse(error.to_string()))?,
        };
        let Some(producer) = graph.producer(after) else {
            let why = "a layer is inserted after a node, and this is none".to_owned();
            return Err(refuse(why));
        };
        check(graph, step, after, number)?;
        let region = match &step.layer {
            Layer::Copy { from } => match Region::find(graph, readers, from, after) {
                Ok(region) if self.is_apart(graph, &region, producer) => Some(region),
                Err(why) if first => return Err(refuse(why)),
                Ok(_) | Err(_) => return Ok(false),
            },
            _ => None,
        };
        let window = match &step.layer {
            Layer::Branch { kernel, .. } => {
                beside(graph, after, producer, kernel).map_err(refuse)?
            }
            _ => Window::default(),
        };
        let placed = Placed {
            index: self.count,
            number,
            producer,
            region,
            window,
        };
        self.behind.entry(after).or_default().push(placed);
        self.count += 1;
        Ok(true)
    }

    /// Whether the pass inserts nothing into a block, or before it.
    fn is_apart(&self, graph: &Graph, region: &Region, last: NodeId) -> bool {
        let inner = region.nodes.iter().filter(|id| **id != last);
        let inside = inner.flat_map(|id| &graph.at(*id).outputs);
        let mut values = inside.chain(std::iter::once(&region.from));
        !values.any(|id| self.behind.contains_key(id))
    }

    /// Rebuilds the graph with all of the layers, which are `steps`.
    pub(crate) fn build(self, graph: &Graph, steps: &[&Insert]) -> Result<Stage, ApplyError> {
        let mut builder = Builder::new(graph);
        let sizes = |id| graph.get(id).shape.at(1);
        let keeps = |_| true;
        builder.rebuild(graph, sizes, keeps, |builder, id, inputs| {
            let node = graph.at(id);
            let is_output = |value: &ValueId| graph.outputs().contains(value);
            // An output of the graph keeps its name, so the new layer takes it over.
            let name_of = |value: &ValueId| match self.behind.get(value) {
                Some(layers) if is_output(value) => {
                    format!("{}.input", steps[layers[0].index].name)
                }
                _ => graph.get(*value).name.clone(),
            };
            let names: Vec<String> = node.outputs.iter().map(name_of).collect();
            let op = node.op.clone();
            let mut outputs = builder.grown.node_with_outputs(&names, op, inputs)?;
            for (old, new) in node.outputs.iter().zip(&mut outputs) {
                let last = is_output(old).then(|| graph.get(*old).name.clone());
                for one in self.behind.get(old).into_iter().flatten().rev() {
                    let step = steps[one.index];
                    builder.prefix.clone_from(&step.name);
                    let last = last.clone();
                    *new = match &one.region {
                        Some(region) => copy::copy(region, builder, graph, (*old, *new), last)?,
                        None => {
                            check(graph, step, *old, one.number)?;
                            layer(builder, graph, one, (*new, inputs), step, last)?
                        }
                    };
                }
            }
            Ok(outputs)
        })?;
        Ok(builder.finish())
    }
}

/// Refuses layers that would change the function.
fn check(graph: &Graph, step: &Insert, after: ValueId, number: usize) -> Result<(), ApplyError> {
    let invalid = |why: String| ApplyError::Invalid { step: number, why };
    let shape = &graph.get(after).shape;
    let producer = graph.producer(after).map(|id| &graph.at(id).op);
    let idempotent = match producer.map(Op::nature) {
        Some(Nature::Activation { idempotent }) => Some(idempotent),
        _ => None,
    };
    let rectified = is_rectified(graph, after);
    let kernel: &[usize] = match &step.layer {
        Layer::Identity { kernel, .. }
        | Layer::Residual { kernel, .. }
        | Layer::Branch { kernel, .. }
        | Layer::Factor { kernel } => kernel,
        Layer::Copy { .. } => return Ok(()),
    };
    let fits = match shape.rank() {
        0 | 1 => false,
        2 => true,
        rank => kernel.is_empty() || kernel.len() + 2 == rank,
    };
    let axis = if kernel.is_empty() || shape.rank() == 2 {
        shape.rank().saturating_sub(1)
    } else {
        1
    };
    if !fits || !matches!(shape.get(axis), Some(Extent::Fixed(_))) {
        return Err(invalid(format!(
            "`{}` has shape {shape}, and a layer with a filter of {kernel:?} does not fit it",
            step.after
        )));
    }
    if kernel.iter().any(|side| side % 2 == 0 || *side > 63) {
        return Err(invalid(format!(
            "a kernel of {kernel:?} must have odd sides of at most 63"
        )));
    }
    match (&step.layer, idempotent) {
        (Layer::Identity { .. }, Some(true)) | (Layer::Residual { .. }, Some(_)) => {}
        (Layer::Identity { .. }, _) if rectified => {}
        (Layer::Identity { .. }, _) => {
            return Err(invalid(format!(
                "`{}` is not an activation that can be applied twice, so an identity and an \
                 activation after it would change the function",
                step.after
            )));
        }
        (Layer::Residual { .. }, None) => {
            return Err(invalid(format!(
                "`{}` is not an activation to repeat in a residual block",
                step.after
            )));
        }
        (Layer::Branch { width, .. }, _) if *width == 0 || *width > (1 << 24) => {
            return Err(invalid(format!("a branch of {width} units is none")));
        }
        _ => {}
    }
    check_norm(step, shape.at(1).get(1).copied().unwrap_or(0)).map_err(invalid)
}

fn check_norm(step: &Insert, channels: usize) -> Result<(), String> {
    let Layer::Identity {
        norm: Some(norm), ..
    } = &step.layer
    else {
        return Ok(());
    };
    let sensible = norm.mean.len() == channels
        && norm.variance.len() == channels
        && norm.mean.iter().all(|x| x.is_finite())
        && norm.variance.iter().all(|x| x.is_finite() && *x >= 0.0)
        && norm.epsilon > 0.0
        && norm.epsilon.is_finite()
        && (0.0..=1.0).contains(&norm.momentum);
    if sensible {
        return Ok(());
    }
    Err(format!(
        "the batch norm after `{}` needs {channels} finite means and variances",
        step.after
    ))
}

/// Adds a layer after `x`, made of `inputs`, and returns its output; that takes `last` as its name
/// if it is given.
fn layer(
    builder: &mut Builder,
    graph: &Graph,
    placed: &Placed,
    (x, inputs): (ValueId, &[ValueId]),
    step: &Insert,
    last: Option<String>,
) -> Result<ValueId, ApplyError> {
    let activation = &graph.at(placed.producer).op;
    let prefix = step.name.as_str();
    let name = |suffix: &str| format!("{prefix}{suffix}");
    match &step.layer {
        Layer::Identity { kernel, norm } => {
            let last = last.unwrap_or_else(|| name(".activation"));
            let mut y = builder.linear([prefix; 2], x, kernel, Fresh::Identity, false)?;
            if let Some(norm) = norm {
                y = builder.undone_norm(&name(".norm"), y, norm)?;
            }
            match activation.nature() {
                Nature::Activation { .. } => builder.activation(&last, activation, y),
                _ => builder.activation(&last, &Relu.into(), y),
            }
        }
        Layer::Residual { kernel, norm, seed } => {
            let [first, second] = [name(".first"), name(".second")];
            let random = Fresh::Random {
                seed: *seed,
                fan_in: builder.fan_in(x, kernel),
            };
            let mut y = builder.linear([&first; 2], x, kernel, random, true)?;
            if *norm {
                y = builder.plain_norm(&name(".norm"), y)?;
            }
            y = builder.activation(&name(".activation"), activation, y)?;
            y = builder.linear([&second; 2], y, kernel, Fresh::Full(0.0), true)?;
            let last = last.unwrap_or_else(|| name(".sum"));
            Ok(builder.grown.node(last, Add, &[x, y])?)
        }
        Layer::Factor { kernel } => {
            // A layer that takes over an output's name leaves its parameters' names alone: they
            // are often named after it.
            let last = last.unwrap_or_else(|| prefix.to_owned());
            builder.linear([&last, prefix], x, kernel, Fresh::Identity, false)
        }
        Layer::Branch {
            kernel,
            width,
            norm,
            seed,
        } => {
            let random = Fresh::Random {
                seed: *seed,
                fan_in: builder.fan_in(inputs[0], kernel),
            };
            let [first, second] = [name(".first"), name(".second")];
            let window = (&kernel[..], placed.window.clone());
            let mut y = builder.layer_of([&first; 2], inputs[0], *width, window, random, true)?;
            if *norm {
                y = builder.plain_norm(&name(".norm"), y)?;
            }
            y = builder.activation(&name(".activation"), &Relu.into(), y)?;
            let ones = vec![1; kernel.len()];
            let units = features(&builder.grown.get(x).shape.at(1), kernel);
            let window = (&ones[..], Window::default());
            let zero = Fresh::Full(0.0);
            let z = builder.layer_of([&second; 2], y, units, window, zero, true)?;
            let last = last.unwrap_or_else(|| name(".sum"));
            Ok(builder.grown.node(last, Add, &[x, z])?)
        }
        Layer::Copy { .. } => Ok(x),
    }
}

/// The window through which a filter beside a layer makes as many pixels as the layer's own.
fn beside(
    graph: &Graph,
    output: ValueId,
    producer: NodeId,
    kernel: &[usize],
) -> Result<Window, String> {
    let node = graph.at(producer);
    let weight = node.inputs.get(1).map(|id| graph.get(*id).shape.at(1));
    match (&node.op, weight) {
        (Op::Conv(conv), Some(weight)) if weight.len() == kernel.len() + 2 => {
            let axes = kernel.len();
            let (old, dilations) = (conv.window.pads(axes), conv.window.dilations(axes));
            let mut pads = Vec::with_capacity(2 * axes);
            for (at, pad) in old.iter().enumerate() {
                let axis = at % axes;
                let lost = dilations[axis] * (weight[2 + axis] - 1);
                // What the larger of the two filters reads more is divided between both ends.
                let half = if at < axes {
                    lost / 2
                } else {
                    lost.div_ceil(2)
                };
                let wanted = (pad + kernel[axis] / 2).checked_sub(half);
                pads.push(wanted.ok_or_else(|| {
                    format!("a filter of {kernel:?} would need less than no padding there")
                })?);
            }
            let strides = conv.window.strides(axes);
            Ok(Window::default().with_strides(strides).with_pads(pads))
        }
        (Op::Gemm(_) | Op::MatMul(_), _) if kernel.is_empty() => {
            let rank = |id: ValueId| graph.get(id).shape.rank();
            if rank(node.inputs[0]) == rank(output) {
                return Ok(Window::default());
            }
            Err("a branch stands beside a layer that keeps the rank".to_owned())
        }
        _ => Err(format!(
            "a branch with a filter of {kernel:?} does not fit beside {}",
            node.op.name()
        )),
    }
}
