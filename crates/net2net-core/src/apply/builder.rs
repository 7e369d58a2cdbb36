//! Graphs that are built anew with something more in them.

use std::collections::BTreeMap;

use super::{ApplyError, Fresh, Origin, Stage};
use crate::graph::{Graph, NodeId, Source, ValueId};
use crate::ops::{BatchNorm, Conv, Gemm, MatMul, Op, Window};
use crate::plan::UndoneNorm;

/// A graph in the making, and where its new parameters come from.
pub(super) struct Builder {
    pub(super) grown: Graph,
    pub(super) origins: BTreeMap<String, Origin>,
    /// See [`Stage::copied`].
    pub(super) copied: BTreeMap<String, String>,
    /// What the names of the values that are being added begin with.
    pub(super) prefix: String,
    /// The new id of each old value so far; `None` for one that was left out.
    pub(super) renamed: Vec<Option<ValueId>>,
}

impl Builder {
    pub(super) fn new(graph: &Graph) -> Self {
        Builder {
            grown: Graph::new(graph.name()),
            origins: BTreeMap::new(),
            copied: BTreeMap::new(),
            prefix: String::new(),
            renamed: Vec::new(),
        }
    }

    /// Takes over a graph value by value. Inputs for which `keeps` is false are left out; `node`
    /// adds each node, given the ids of its inputs, and returns those of its outputs.
    pub(super) fn rebuild(
        &mut self,
        graph: &Graph,
        sizes: impl Fn(ValueId) -> Vec<usize>,
        keeps: impl Fn(ValueId) -> bool,
        mut node: impl FnMut(&mut Builder, NodeId, &[ValueId]) -> Result<Vec<ValueId>, ApplyError>,
    ) -> Result<(), ApplyError> {
        for id in graph.value_ids() {
            let value = graph.get(id);
            let name = value.name.clone();
            match value.source {
                Source::Input if !keeps(id) => self.renamed.push(None),
                Source::Input => {
                    let new = self.grown.input(name, value.shape.clone())?;
                    self.renamed.push(Some(new));
                }
                Source::Parameter => {
                    let new = self.grown.parameter(name, &sizes(id))?;
                    self.renamed.push(Some(new));
                }
                Source::Node { index: 0, node: at } => {
                    let inputs = &graph.at(at).inputs;
                    let inputs: Vec<ValueId> =
                        inputs.iter().filter_map(|id| self.new_id(*id)).collect();
                    let outputs = node(self, at, &inputs)?;
                    self.renamed.extend(outputs.into_iter().map(Some));
                }
                Source::Node { .. } => {}
            }
        }
        for output in graph.outputs() {
            if let Some(output) = self.new_id(*output) {
                self.grown.output(output);
            }
        }
        Ok(())
    }

    /// The id that an old value has now.
    pub(super) fn new_id(&self, old: ValueId) -> Option<ValueId> {
        self.renamed.get(old.index()).copied().flatten()
    }

    pub(super) fn finish(self) -> Stage {
        Stage {
            graph: self.grown,
            origins: self.origins,
            copied: self.copied,
        }
    }

    /// A node of the old graph as it was.
    pub(super) fn keep(
        &mut self,
        graph: &Graph,
        node: NodeId,
        inputs: &[ValueId],
    ) -> Result<Vec<ValueId>, ApplyError> {
        let node = graph.at(node);
        let names = node.outputs.iter().map(|id| graph.get(*id).name.clone());
        let names: Vec<String> = names.collect();
        Ok(self
            .grown
            .node_with_outputs(&names, node.op.clone(), inputs)?)
    }

    /// The inputs that each output of a layer sums over, which reads a value through a filter.
    pub(super) fn fan_in(&self, x: ValueId, kernel: &[usize]) -> usize {
        let sizes = self.grown.get(x).shape.at(1);
        features(&sizes, kernel) * taps(&sizes, kernel).iter().product::<usize>()
    }

    pub(super) fn parameter(
        &mut self,
        name: String,
        sizes: &[usize],
        fresh: Fresh,
    ) -> Result<ValueId, ApplyError> {
        let id = self.grown.parameter(name.clone(), sizes)?;
        self.origins.insert(name, Origin::Fresh(fresh));
        Ok(id)
    }

    /// A layer with `units` outputs: a convolution with the given window, or of features where there
    /// is no kernel. The names of its parameters begin with `prefix`. Layers of the features of
    /// sequences have no bias.
    pub(super) fn layer_of(
        &mut self,
        [name, prefix]: [&str; 2],
        x: ValueId,
        units: usize,
        (kernel, window): (&[usize], Window),
        weight: Fresh,
        bias: bool,
    ) -> Result<ValueId, ApplyError> {
        let sizes = self.grown.get(x).shape.at(1);
        let (reads, taps) = (features(&sizes, kernel), taps(&sizes, kernel));
        let matrix = taps.is_empty() && sizes.len() != 2;
        let op: Op = match (matrix, taps.is_empty()) {
            (true, _) => MatMul.into(),
            (false, true) => Gemm::default().into(),
            (false, false) => Conv::new(window).into(),
        };
        let mut shape = if matrix {
            vec![reads, units]
        } else {
            vec![units, reads]
        };
        shape.extend(taps);
        let weight = self.parameter(format!("{prefix}.weight"), &shape, weight)?;
        let mut inputs = vec![x, weight];
        if bias && !matrix {
            inputs.push(self.parameter(format!("{prefix}.bias"), &[units], Fresh::Full(0.0))?);
        }
        Ok(self.grown.node(name, op, &inputs)?)
    }

    /// A layer that keeps the shape of what it reads.
    pub(super) fn linear(
        &mut self,
        names: [&str; 2],
        x: ValueId,
        kernel: &[usize],
        weight: Fresh,
        bias: bool,
    ) -> Result<ValueId, ApplyError> {
        let units = features(&self.grown.get(x).shape.at(1), kernel);
        let window = (kernel, Window::same(kernel));
        self.layer_of(names, x, units, window, weight, bias)
    }

    pub(super) fn undone_norm(
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

    pub(super) fn plain_norm(&mut self, name: &str, x: ValueId) -> Result<ValueId, ApplyError> {
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
    pub(super) fn activation(
        &mut self,
        name: &str,
        op: &Op,
        x: ValueId,
    ) -> Result<ValueId, ApplyError> {
        let mut inputs = vec![x];
        if matches!(op, Op::PRelu(_)) {
            let channels = self.grown.get(x).shape.at(1)[1];
            let slope = format!("{}.slope", self.prefix);
            inputs.push(self.parameter(slope, &[channels], Fresh::Full(0.25))?);
        }
        Ok(self.grown.node(name, op.clone(), &inputs)?)
    }
}

/// How many features a layer reads: channels where it has a kernel, else the last axis.
pub(super) fn features(sizes: &[usize], kernel: &[usize]) -> usize {
    let axis = if taps(sizes, kernel).is_empty() {
        sizes.len().saturating_sub(1)
    } else {
        1
    };
    sizes.get(axis).copied().unwrap_or(1)
}

/// The sides of the filter that a layer has: none on what has no pixels.
fn taps<'k>(sizes: &[usize], kernel: &'k [usize]) -> &'k [usize] {
    if sizes.len() > 2 { kernel } else { &[] }
}
