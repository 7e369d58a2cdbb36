//! The language in which an operator says how its axes correspond.
//!
//! A rule gives labels to the axes of inputs and outputs, in an einops-like notation:
//!
//! ```text
//! n (g i) h w , (g o) i kh kw , (g o)? -> n (g o) y x
//! ```
//!
//! What a label does follows from where it stands: in inputs and outputs it maps; in an
//! activation and a parameter but in no output it is contracted, and the parameter absorbs the
//! copies; standing anywhere alone it cannot grow. A label that an operator reads back from its own
//! output is both, on different axes of its parameter.

use super::unify::{Dim, Frozen, Unifier};
use crate::graph::{Extent, Graph, NodeId, Shape, ValueId};

/// What growing an axis does to a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AxisRole {
    /// The parameter's slices are copied with the units.
    Map,
    /// The parameter reads the units: its slices are copied and share the original's weight.
    Contract,
}

/// One axis of a parameter that a label stands on.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) parameter: ValueId,
    pub(super) axis: usize,
    pub(super) label: Dim,
    pub(super) role: AxisRole,
    /// The node that reads it.
    pub(super) node: NodeId,
}

/// A sum over a label that no parameter of the node absorbs the copies of.
#[derive(Clone, Debug)]
pub(super) struct Contraction {
    pub(super) node: NodeId,
    pub(super) label: Dim,
}

/// What the rules of all nodes say, besides that axes are the same.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) uses: Vec<Use>,
    /// Products of two activations, summed over a label.
    pub(super) products: Vec<Contraction>,
    /// Means and extremes over a label.
    pub(super) pools: Vec<Contraction>,
}

/// A label of the rule being applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

struct LabelState {
    dim: Dim,
    /// The (input, axis) places in which it stands.
    reads: Vec<(usize, usize)>,
    written: bool,
    /// Whether copies along it change nothing, although no parameter absorbs them.
    free: bool,
}

/// The rule of one node, while its axes are being unified.
pub struct AxisRule<'a> {
    unifier: &'a mut Unifier,
    graph: &'a Graph,
    node: NodeId,
    /// The axes of every value so far, by value and axis.
    axes: &'a mut Vec<Vec<Dim>>,
    found: &'a mut Found,
    labels: Vec<LabelState>,
}

impl<'a> AxisRule<'a> {
    pub(super) fn new(
        unifier: &'a mut Unifier,
        graph: &'a Graph,
        node: NodeId,
        axes: &'a mut Vec<Vec<Dim>>,
        found: &'a mut Found,
    ) -> Self {
        for output in &graph.at(node).outputs {
            axes[output.index()] = graph
                .get(*output)
                .shape
                .extents()
                .iter()
                .map(|extent| unifier.fresh(*extent))
                .collect();
        }
        AxisRule {
            unifier,
            graph,
            node,
            axes,
            found,
            labels: Vec::new(),
        }
    }

    /// The number of inputs of the node.
    pub fn inputs(&self) -> usize {
        self.graph.at(self.node).inputs.len()
    }

    /// The shape of an input.
    pub fn input_shape(&self, input: usize) -> &'a Shape {
        &self.graph.get(self.graph.at(self.node).inputs[input]).shape
    }

    /// The shape of an output.
    pub fn output_shape(&self, output: usize) -> &'a Shape {
        &self
            .graph
            .get(self.graph.at(self.node).outputs[output])
            .shape
    }

    /// A new label of a size.
    pub fn label(&mut self, size: Extent) -> Label {
        let dim = self.unifier.fresh(size);
        self.labels.push(LabelState {
            dim,
            reads: Vec::new(),
            written: false,
            free: false,
        });
        Label(self.labels.len() - 1)
    }

    fn product(&self, labels: &[Label]) -> Dim {
        let parts = labels
            .iter()
            .map(|l| self.labels[l.0].dim.clone())
            .collect();
        Dim::Prod(parts)
    }

    /// States that an axis of an input is the product of labels.
    pub fn read(&mut self, input: usize, axis: usize, labels: &[Label]) {
        let value = self.graph.at(self.node).inputs[input];
        let dim = self.axes[value.index()][axis].clone();
        let product = self.product(labels);
        self.unifier.unify(&product, &dim, Some(self.node));
        for label in labels {
            self.labels[label.0].reads.push((input, axis));
        }
    }

    /// States that an axis of an output is the product of labels.
    pub fn write(&mut self, output: usize, axis: usize, labels: &[Label]) {
        let product = self.product(labels);
        self.write_dim(output, axis, &product, labels);
    }

    /// States that an axis of an input is the concatenation of labels.
    pub fn read_cat(&mut self, input: usize, axis: usize, labels: &[Label]) {
        let value = self.graph.at(self.node).inputs[input];
        let dim = self.axes[value.index()][axis].clone();
        let parts = labels.iter().map(|l| self.labels[l.0].dim.clone());
        let whole = Dim::Cat(parts.collect());
        self.unifier.unify(&whole, &dim, Some(self.node));
        for label in labels {
            self.labels[label.0].reads.push((input, axis));
        }
    }

    /// States that an axis of an input reads what the operator itself makes along a label, a step
    /// before: a parameter absorbs its copies as one does that reads any other activation.
    pub fn recurs(&mut self, input: usize, axis: usize, label: Label) {
        let value = self.graph.at(self.node).inputs[input];
        let dim = self.labels[label.0].dim.clone();
        let own = self.axes[value.index()][axis].clone();
        self.unifier.unify(&dim, &own, Some(self.node));
        if !self.graph.is_parameter(value) {
            self.freeze(
                label,
                "two activations are multiplied and summed over this axis",
            );
            return;
        }
        self.found.uses.push(Use {
            parameter: value,
            axis,
            label: dim,
            role: AxisRole::Contract,
            node: self.node,
        });
    }

    /// States that a label grows although no input has it: the operator makes as much of it as is
    /// wanted, each copy like its original (zeros, for instance).
    pub fn makes(&mut self, label: Label) {
        self.labels[label.0].free = true;
    }

    /// States that a label is read and left out of the output, so that copies along it change
    /// nothing.
    pub fn drops(&mut self, label: Label) {
        self.labels[label.0].free = true;
    }

    /// States that an axis of an output is the concatenation of labels.
    pub fn write_cat(&mut self, output: usize, axis: usize, labels: &[Label]) {
        let parts = labels
            .iter()
            .map(|l| self.labels[l.0].dim.clone())
            .collect();
        self.write_dim(output, axis, &Dim::Cat(parts), labels);
    }

    fn write_dim(&mut self, output: usize, axis: usize, dim: &Dim, labels: &[Label]) {
        let value = self.graph.at(self.node).outputs[output];
        let existing = self.axes[value.index()][axis].clone();
        self.unifier.unify(&existing, dim, Some(self.node));
        for label in labels {
            self.labels[label.0].written = true;
        }
    }

    /// States that axes `from..` of an input, read row by row, are axes `from..` of the output.
    ///
    /// Where only axes of size 1 come or go, the others are the same one by one: as factors of
    /// them, the ones would keep a value from meeting what it was made from.
    pub fn reshape(&mut self, input: usize, output: usize, from: usize) {
        let long = |shape: &Shape| -> Vec<usize> {
            let is_long = |axis: &usize| shape.extents()[*axis] != Extent::Fixed(1);
            (from..shape.rank()).filter(is_long).collect()
        };
        let (read, made) = (
            long(self.input_shape(input)),
            long(self.output_shape(output)),
        );
        let size = |shape: &Shape, axes: &[usize]| -> Vec<Extent> {
            axes.iter().map(|axis| shape.extents()[*axis]).collect()
        };
        let same = size(self.input_shape(input), &read) == size(self.output_shape(output), &made);
        if same && !read.is_empty() {
            self.squeeze(input, output, from, &read, &made);
            return;
        }
        let mut labels = Vec::new();
        for axis in from..self.input_shape(input).rank() {
            let size = self.input_shape(input).extents()[axis];
            let label = self.label(size);
            self.read(input, axis, &[label]);
            labels.push(label);
        }
        let value = self.graph.at(self.node).outputs[output];
        let target = Dim::Prod(self.axes[value.index()][from..].to_vec());
        let whole = self.product(&labels);
        self.unifier.unify(&target, &whole, Some(self.node));
        for label in labels {
            self.labels[label.0].written = true;
        }
    }

    /// A reshape in which the axes `read` become the axes `made`, and all others are ones.
    fn squeeze(
        &mut self,
        input: usize,
        output: usize,
        from: usize,
        read: &[usize],
        made: &[usize],
    ) {
        for (old, new) in read.iter().zip(made) {
            let label = self.label(self.input_shape(input).extents()[*old]);
            self.read(input, *old, &[label]);
            self.write(output, *new, &[label]);
        }
        let unit = "a reshape adds or drops this axis of size 1";
        for axis in (from..self.input_shape(input).rank()).filter(|axis| !read.contains(axis)) {
            let label = self.label(Extent::Fixed(1));
            self.read(input, axis, &[label]);
            self.freeze(label, unit);
        }
        for axis in (from..self.output_shape(output).rank()).filter(|axis| !made.contains(axis)) {
            let label = self.label(Extent::Fixed(1));
            self.write(output, axis, &[label]);
            self.freeze(label, unit);
        }
    }

    /// States that a label cannot grow.
    pub fn freeze(&mut self, label: Label, why: &str) {
        let dim = self.labels[label.0].dim.clone();
        let reason = Frozen {
            node: Some(self.node),
            why: why.to_owned(),
        };
        self.unifier.freeze(&dim, &reason);
    }

    /// States that a mean is taken over a label, so that its copies must be equally many.
    pub fn mean_over(&mut self, label: Label) {
        let dim = self.pool(label);
        self.unifier.make_uniform(&dim, Some(self.node));
    }

    /// States that the largest or smallest element along a label is taken, which copies of
    /// elements do not change.
    pub fn extreme_over(&mut self, label: Label) {
        let dim = self.pool(label);
        self.unifier.make_pooled(&dim);
    }

    fn pool(&mut self, label: Label) -> Dim {
        self.labels[label.0].free = true;
        let label = self.labels[label.0].dim.clone();
        self.found.pools.push(Contraction {
            node: self.node,
            label: label.clone(),
        });
        label
    }

    /// Applies a rule in the notation of this module.
    ///
    /// Labels of `sizes` have that size and are left out where it is 1; at most one other label
    /// may stand in a product, and its size follows. `*` stands for all further axes, and `?`
    /// marks an input that may be missing. Returns the labels by name.
    pub fn notation(&mut self, rule: &str, sizes: &[(&str, usize)]) -> Vec<(String, Label)> {
        let mut names: Vec<(String, Label)> = Vec::new();
        let (inputs, outputs) = rule.split_once("->").unwrap_or((rule, ""));
        for (index, operand) in inputs.split(',').enumerate() {
            if index < self.inputs() {
                let shape = self.input_shape(index);
                for (axis, group) in groups(operand, shape.rank()).iter().enumerate() {
                    let labels = self.group(group, shape.extents()[axis], sizes, &mut names);
                    self.read(index, axis, &labels);
                }
            }
        }
        for (index, operand) in outputs.split(',').enumerate() {
            let shape = self.output_shape(index);
            for (axis, group) in groups(operand, shape.rank()).iter().enumerate() {
                let labels = self.group(group, shape.extents()[axis], sizes, &mut names);
                self.write(index, axis, &labels);
            }
        }
        names
    }

    /// The labels of one axis, made where they are new.
    fn group(
        &mut self,
        group: &[String],
        extent: Extent,
        sizes: &[(&str, usize)],
        names: &mut Vec<(String, Label)>,
    ) -> Vec<Label> {
        let given = |name: &str| {
            sizes
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, size)| *size)
        };
        let known: usize = group.iter().filter_map(|name| given(name)).product();
        let mut labels = Vec::new();
        for (position, name) in group.iter().enumerate() {
            // The last one stays if nothing else does: an axis of 1 is an axis that can grow.
            let last = position + 1 == group.len() && labels.is_empty();
            if given(name) == Some(1) && !last {
                continue;
            }
            if let Some((_, label)) = names.iter().find(|(n, _)| n == name) {
                labels.push(*label);
                continue;
            }
            let size = match (given(name), extent) {
                (Some(size), _) => Extent::Fixed(size),
                (None, Extent::Fixed(total)) => Extent::Fixed(total / known.max(1)),
                (None, Extent::Batch) => Extent::Batch,
            };
            let label = self.label(size);
            names.push((name.clone(), label));
            labels.push(label);
        }
        labels
    }

    /// Derives what each label does, and records the uses of parameters.
    pub(super) fn finish(self) {
        let inputs = &self.graph.at(self.node).inputs;
        for label in &self.labels {
            let parameters: Vec<(ValueId, usize)> = label
                .reads
                .iter()
                .map(|(input, axis)| (inputs[*input], *axis))
                .filter(|(value, _)| self.graph.is_parameter(*value))
                .collect();
            let activations = label.reads.len() - parameters.len();
            let uses = |role| {
                let sites = parameters.iter().map(move |(parameter, axis)| Use {
                    parameter: *parameter,
                    axis: *axis,
                    label: label.dim.clone(),
                    role,
                    node: self.node,
                });
                sites.collect::<Vec<_>>()
            };
            let role = match (activations, parameters.len(), label.written) {
                (_, _, true) if !label.reads.is_empty() => Ok(AxisRole::Map),
                _ if label.free => Ok(AxisRole::Map),
                (_, _, true) => Err("the operator makes this axis itself"),
                (1, 1, false) => Ok(AxisRole::Contract),
                (0, 1, false) => Err("only the operator's own parameter has this axis"),
                (1, 0, false) => Err("the operator sums or moves over this axis"),
                (_, 0, false) => {
                    // Whether something before it absorbs the copies is seen when all is known.
                    self.found.products.push(Contraction {
                        node: self.node,
                        label: label.dim.clone(),
                    });
                    continue;
                }
                (_, _, false) => Err("several parameters are summed over this axis"),
            };
            match role {
                Ok(role) => self.found.uses.extend(uses(role)),
                Err(why) => {
                    let reason = Frozen {
                        node: Some(self.node),
                        why: why.to_owned(),
                    };
                    self.unifier.freeze(&label.dim, &reason);
                    // A frozen axis keeps its place in the list of what a space touches.
                    self.found.uses.extend(uses(AxisRole::Map));
                }
            }
        }
    }
}

/// Splits an operand of the notation into the label names of each of `rank` axes.
fn groups(operand: &str, rank: usize) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut open: Option<Vec<String>> = None;
    let spaced = operand
        .replace('?', " ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    for token in spaced.split_whitespace() {
        match (token, &mut open) {
            ("(", _) => open = Some(Vec::new()),
            (")", _) => groups.extend(open.take()),
            ("*", _) => {
                let named = groups.len();
                groups.extend((named..rank).map(|axis| vec![format!("*{axis}")]));
            }
            (name, Some(group)) => group.push(name.to_owned()),
            (name, None) => groups.push(vec![name.to_owned()]),
        }
    }
    debug_assert_eq!(
        groups.len(),
        rank,
        "rule `{operand}` does not fit rank {rank}"
    );
    groups
}
