//! What padding a space does to each value and parameter of a network, and where it cannot go.
//!
//! The network is gone through once. Of each value that has the space it is known what its new units
//! hold, and of each value by which power of √(n/m) it is multiplied, since the mean of n squares
//! and m − n zeros is n/m of what it was. Where a parameter can take the factor back, it does. So a
//! normalisation written as one operator and one written as ten are understood alike.

mod products;
mod statistics;
mod sums;

use std::collections::{BTreeMap, BTreeSet};

use super::pad::Fill;
use crate::dims::{AtomId, AxisRole, Dim, Refusal, Spaces};
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::ops::Op;

/// What a plan to pad a space does to a network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Padding {
    /// Parameters that change.
    pub(crate) parameters: BTreeMap<ValueId, Padded>,
    /// Normalisations whose epsilon is multiplied by n/m.
    pub(crate) norms: BTreeSet<NodeId>,
}

/// What happens to one parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Padded {
    /// What its new slices hold, for each axis that has the space.
    pub(crate) axes: BTreeMap<usize, Slices>,
    /// It is multiplied by this power of √(n/m).
    pub(crate) power: i32,
}

/// What the new slices of a parameter along one axis hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slices {
    /// Zeros.
    Zero,
    /// The mean of the old slices.
    Mean,
    /// What training starts with.
    Random,
    /// Anything: the old ones in turn, or what training starts with.
    Free,
}

/// What the new units of a value hold.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Content {
    Zero,
    /// The mean of the old units in the same place.
    Mean,
    /// The mean of a value's old units times the new unit of another, negated or not.
    Product {
        of: ValueId,
        by: ValueId,
        negated: bool,
    },
    /// The mean of a value's squares, that is, those of its units.
    Squares(ValueId),
    /// Anything that does not meet the old units.
    Any,
}

/// What is known of a value.
#[derive(Clone, Copy, Debug)]
struct State {
    /// `None` if it does not have the space.
    content: Option<Content>,
    /// It is multiplied by this power of √(n/m).
    power: i32,
    /// What it is, if it does not have the space and is made of the mean over it.
    mean: Option<Mean>,
    /// The value that this one is under another name.
    root: ValueId,
}

/// A value that was averaged over the space.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mean {
    /// The mean of a value, negated or not.
    Of(ValueId, bool),
    /// Its square.
    Squared(ValueId),
    /// The mean of its squares.
    OfSquares(ValueId),
}

/// An operand of a node.
#[derive(Clone, Copy, Debug)]
enum Operand {
    /// A parameter that has the space: what it holds is decided where it is read.
    Open(ValueId),
    /// Anything else.
    Value(State),
}

struct Walk<'a> {
    graph: &'a Graph,
    spaces: &'a Spaces,
    space: AtomId,
    fill: Fill,
    states: Vec<Option<State>>,
    found: Padding,
    /// How often each parameter was met.
    met: BTreeMap<ValueId, usize>,
    node: NodeId,
}

type Walked<T> = Result<T, String>;

impl Padding {
    /// What padding a space with a fill does, or the first node that stands in the way.
    pub(crate) fn find(
        graph: &Graph,
        spaces: &Spaces,
        space: AtomId,
        fill: Fill,
    ) -> Result<Padding, Refusal> {
        let Some(first) = graph.node_ids().next() else {
            return Ok(Padding::default());
        };
        let mut walk = Walk {
            graph,
            spaces,
            space,
            fill,
            states: vec![None; graph.values().len()],
            found: Padding::default(),
            met: BTreeMap::new(),
            node: first,
        };
        let name = &spaces.all()[space.index()].name;
        for id in graph.node_ids() {
            walk.node = id;
            walk.step().map_err(|why| Refusal {
                space: name.clone(),
                node: Some(graph.node_name(id).to_owned()),
                why,
            })?;
        }
        walk.finish().map_err(|why| Refusal {
            space: name.clone(),
            node: None,
            why,
        })
    }
}

impl<'a> Walk<'a> {
    fn node(&self) -> &'a Node {
        self.graph.at(self.node)
    }

    /// The axes of a value that have the space.
    fn axes(&self, value: ValueId) -> Vec<usize> {
        let has = |dim: &Dim| {
            let mut has = false;
            dim.for_each_atom(&mut |atom| has |= atom == self.space);
            has
        };
        let dims = self.spaces.axes(value).iter().enumerate();
        dims.filter(|(_, dim)| has(dim))
            .map(|(axis, _)| axis)
            .collect()
    }

    fn has(&self, value: ValueId) -> bool {
        !self.axes(value).is_empty()
    }

    fn state(&self, value: ValueId) -> State {
        self.states[value.index()].unwrap_or(State {
            content: self.has(value).then_some(Content::Any),
            power: 0,
            mean: None,
            root: value,
        })
    }

    /// Whether it is a mean of squares, which changes unless the square of the mean is taken off.
    fn changes(&self, value: ValueId) -> bool {
        matches!(self.state(value).mean, Some(Mean::OfSquares(_)))
    }

    fn operand(&self, slot: usize) -> Operand {
        let value = self.node().inputs[slot];
        match self.graph.is_parameter(value) && self.has(value) {
            true => Operand::Open(value),
            false => Operand::Value(self.state(value)),
        }
    }

    fn put(&mut self, content: Option<Content>, power: i32) {
        self.put_with(content, power, None, None);
    }

    /// Says what the node's outputs are.
    fn put_with(
        &mut self,
        content: Option<Content>,
        power: i32,
        mean: Option<Mean>,
        root: Option<ValueId>,
    ) {
        for output in &self.node().outputs {
            let content = match self.has(*output) {
                true => Some(content.unwrap_or(Content::Any)),
                false => None,
            };
            self.states[output.index()] = Some(State {
                content,
                power,
                mean,
                root: root.unwrap_or(*output),
            });
        }
    }

    /// Says what new slices of a parameter hold, along the axes that have the space.
    fn take(&mut self, parameter: ValueId, axes: &[usize], slices: Slices) -> Walked<()> {
        for axis in axes {
            let whole = matches!(self.spaces.axes(parameter)[*axis], Dim::Atom(_));
            if slices == Slices::Mean && !whole {
                return Err("the mean would be taken over a part of an axis".to_owned());
            }
            let padded = self.found.parameters.entry(parameter).or_default();
            let known = padded.axes.entry(*axis).or_insert(slices);
            *known = match (*known, slices) {
                (a, b) if a == b => a,
                (Slices::Free, other) | (other, Slices::Free) => other,
                (Slices::Random, other) | (other, Slices::Random) => other,
                _ => {
                    let name = &self.graph.get(parameter).name;
                    return Err(format!("`{name}` would have to be zero and a mean at once"));
                }
            };
        }
        Ok(())
    }

    fn take_all(&mut self, parameter: ValueId, slices: Slices) -> Walked<()> {
        self.take(parameter, &self.axes(parameter), slices)
    }

    /// Says by which power of √(n/m) a parameter is multiplied, at each place that reads it.
    fn scale(&mut self, parameter: ValueId, power: i32) -> Walked<()> {
        let met = self.met.entry(parameter).or_default();
        *met += 1;
        let first = *met == 1;
        let padded = self.found.parameters.entry(parameter).or_default();
        if first {
            padded.power = power;
        }
        if padded.power == power {
            return Ok(());
        }
        let name = &self.graph.get(parameter).name;
        Err(format!(
            "`{name}` would have to be multiplied by one factor here and by another elsewhere"
        ))
    }

    /// The power of all operands that are computed; parameters take it over.
    fn common_power(&mut self, slots: &[usize]) -> Walked<i32> {
        let inputs = &self.node().inputs;
        let mut common = None;
        for slot in slots {
            if !self.graph.is_parameter(inputs[*slot]) {
                let power = self.state(inputs[*slot]).power;
                if common.is_some_and(|known| known != power) {
                    return Err("one of its operands would change, and the other not".to_owned());
                }
                common = Some(power);
            }
        }
        let common = common.unwrap_or(0);
        for slot in slots {
            if self.graph.is_parameter(inputs[*slot]) {
                self.scale(inputs[*slot], common)?;
            }
        }
        Ok(common)
    }

    fn no_power(&mut self) -> Walked<()> {
        let slots: Vec<usize> = (0..self.node().inputs.len()).collect();
        match self.common_power(&slots)? {
            0 => Ok(()),
            _ => Err(format!(
                "{} does not commute with a factor",
                self.node().op.name()
            )),
        }
    }

    /// What a parameter holds that is made into units as it is, and what they are.
    fn fresh(&self) -> (Slices, Content) {
        match self.fill {
            Fill::Zero => (Slices::Zero, Content::Zero),
            Fill::Mean => (Slices::Mean, Content::Mean),
        }
    }

    /// One node.
    fn step(&mut self) -> Walked<()> {
        let node = self.node();
        let concerned = |id: &ValueId| {
            let known = self.states[id.index()];
            self.has(*id) || known.is_some_and(|s| s.power != 0 || s.mean.is_some())
        };
        if !node.inputs.iter().chain(&node.outputs).any(concerned) {
            return Ok(());
        }
        let changes = |id: &ValueId| self.changes(*id);
        if !matches!(node.op, Op::Sub(_)) && node.inputs.iter().any(changes) {
            return Err("a mean of squares would change".to_owned());
        }
        let pools = self.spaces.all()[self.space.index()]
            .pools
            .contains(&self.node);
        match &node.op {
            Op::ReduceMean(op) => self.mean(&op.axes),
            Op::GlobalAveragePool(_) => {
                let rank = self.graph.get(node.inputs[0]).shape.rank();
                self.mean(&(2..rank).collect::<Vec<_>>())
            }
            Op::LayerNorm(op) if pools => self.norm(op.axis, Fill::Mean),
            Op::RmsNorm(op) if pools => self.norm(op.axis, Fill::Zero),
            _ if pools => Err("a mean or an extreme is taken over it".to_owned()),
            Op::Gemm(_) | Op::MatMul(_) | Op::Conv(_) | Op::ConvTranspose(_) => self.linear(),
            Op::Add(_) => self.sum(false),
            Op::Sub(_) => self.sum(true),
            Op::Mul(_) => self.product(),
            Op::Div(_) => self.quotient(),
            Op::Identity(_) | Op::Dropout(_) => {
                let state = self.moved()?;
                self.put_with(state.content, state.power, state.mean, Some(state.root));
                Ok(())
            }
            Op::Reshape(_) | Op::Flatten(_) | Op::Expand(_) => {
                let state = self.moved()?;
                self.put_with(plain(state.content), state.power, state.mean, None);
                Ok(())
            }
            Op::Neg(_) => {
                let state = self.moved()?;
                let content = match state.content {
                    Some(Content::Product { of, by, negated }) => Some(Content::Product {
                        of,
                        by,
                        negated: !negated,
                    }),
                    other => other,
                };
                let mean = match state.mean {
                    Some(Mean::Of(of, negated)) => Some(Mean::Of(of, !negated)),
                    _ => None,
                };
                self.put_with(content, state.power, mean, None);
                Ok(())
            }
            // What is the same for each unit by itself, and linear.
            Op::Transpose(_)
            | Op::Slice(_)
            | Op::Split(_)
            | Op::Take(_)
            | Op::Tile(_)
            | Op::DepthToSpace(_)
            | Op::SpaceToDepth(_)
            | Op::AveragePool(_)
            | Op::ReduceSum(_) => {
                let state = self.moved()?;
                self.put(plain(state.content), state.power);
                Ok(())
            }
            Op::Pad(op) if op.value == 0.0 => {
                let state = self.moved()?;
                self.put(plain(state.content), state.power);
                Ok(())
            }
            Op::Gather(_) if !self.has(node.inputs[1]) => {
                self.common_power(&[1])?;
                let state = self.moved()?;
                self.put(plain(state.content), state.power);
                Ok(())
            }
            Op::Concat(_) => self.choice(&(0..node.inputs.len()).collect::<Vec<_>>()),
            Op::Where(_) if !self.has(node.inputs[0]) => {
                self.common_power(&[0])?;
                self.choice(&[1, 2])
            }
            Op::Sqrt(_) | Op::Reciprocal(_) => self.root(),
            Op::Relu(_) | Op::LeakyRelu(_) | Op::Abs(_) | Op::MaxPool(_) | Op::GlobalMaxPool(_) => {
                let state = self.moved()?;
                let zero = state.content.filter(|content| *content == Content::Zero);
                self.put(zero, state.power);
                Ok(())
            }
            Op::Pow(_) if !self.has(node.inputs[1]) => self.power(),
            op => {
                self.no_power()?;
                self.units_alone(keeps_zero(op))
            }
        }
    }

    /// An operator that moves, or is linear in, the units of its first input.
    fn moved(&mut self) -> Walked<State> {
        let input = self.node().inputs[0];
        let outputs = self.node().outputs.iter();
        if self.has(input) && outputs.clone().all(|output| !self.has(*output)) {
            return Err(format!("{} leaves its units out", self.node().op.name()));
        }
        match self.operand(0) {
            Operand::Open(parameter) => {
                let (slices, content) = self.fresh();
                self.scale(parameter, 0)?;
                self.take_all(parameter, slices)?;
                Ok(State {
                    content: Some(content),
                    power: 0,
                    mean: None,
                    root: input,
                })
            }
            Operand::Value(state) => {
                if self.graph.is_parameter(input) {
                    self.scale(input, 0)?;
                }
                Ok(state)
            }
        }
    }

    /// Anything that works on each unit by itself.
    fn units_alone(&mut self, keeps_zero: bool) -> Walked<()> {
        let node = self.node();
        let all = |ids: &[ValueId]| ids.iter().any(|id| self.has(*id));
        if all(&node.inputs) && !all(&node.outputs) {
            return Err(format!("{} reads it and has no weight", node.op.name()));
        }
        // What reads its own units again, as a recurrent layer does, would read new ones that are not zero.
        let reads = |id: &ValueId| {
            let axes = 0..self.graph.get(*id).shape.rank();
            self.graph.is_parameter(*id)
                && axes.into_iter().any(|axis| {
                    self.spaces.axes(*id)[axis].atoms().contains(&self.space)
                        && self.spaces.role(*id, axis, self.space) == AxisRole::Contract
                })
        };
        if node.inputs.iter().any(reads) {
            return Err(format!("{} sums over it in its own way", node.op.name()));
        }
        let zero = matches!(
            self.operand(0),
            Operand::Value(State {
                content: Some(Content::Zero),
                ..
            })
        );
        for input in &node.inputs {
            if self.graph.is_parameter(*input) {
                self.take_all(*input, Slices::Free)?;
            }
        }
        let content = match zero && keeps_zero {
            true => Content::Zero,
            false => Content::Any,
        };
        self.put(Some(content), 0);
        Ok(())
    }

    fn finish(mut self) -> Walked<Padding> {
        for output in self.graph.outputs() {
            let state = self.states[output.index()];
            if state.is_some_and(|state| state.power != 0) || self.changes(*output) {
                let name = &self.graph.get(*output).name;
                return Err(format!("the output `{name}` would change"));
            }
        }
        let mut reads: BTreeMap<ValueId, usize> = BTreeMap::new();
        for input in self.graph.nodes().iter().flat_map(|node| &node.inputs) {
            *reads.entry(*input).or_default() += 1;
        }
        for (parameter, padded) in &self.found.parameters {
            let (met, all) = (self.met.get(parameter), reads.get(parameter));
            if padded.power != 0 && met != all {
                let name = &self.graph.get(*parameter).name;
                return Err(format!(
                    "`{name}` would have to be multiplied by a factor, and is read elsewhere too"
                ));
            }
        }
        for parameter in self.graph.parameters() {
            let known = self.found.parameters.get(&parameter);
            let decided = |axis: &usize| known.is_some_and(|known| known.axes.contains_key(axis));
            if reads.contains_key(&parameter) && !self.axes(parameter).iter().all(decided) {
                let name = &self.graph.get(parameter).name;
                return Err(format!("it is not known what `{name}` would hold"));
            }
        }
        self.found
            .parameters
            .retain(|_, padded| padded.power != 0 || !padded.axes.is_empty());
        Ok(self.found)
    }
}

/// What is left of it after an operator that is linear in each unit by itself.
fn plain(content: Option<Content>) -> Option<Content> {
    content.map(plain_of)
}

fn plain_of(content: Content) -> Content {
    match content {
        Content::Zero | Content::Mean => content,
        _ => Content::Any,
    }
}

/// Whether an operator on each unit by itself makes zero of zero.
fn keeps_zero(op: &Op) -> bool {
    match op {
        Op::Clip(op) => op.min <= 0.0 && op.max >= 0.0,
        Op::PRelu(_)
        | Op::Tanh(_)
        | Op::Gelu(_)
        | Op::Silu(_)
        | Op::Elu(_)
        | Op::Selu(_)
        | Op::HardSwish(_)
        | Op::Mish(_)
        | Op::Softsign(_)
        | Op::Erf(_)
        | Op::Sin(_)
        | Op::Sign(_)
        | Op::Floor(_)
        | Op::Ceil(_)
        | Op::Round(_) => true,
        _ => false,
    }
}
