//! Means, normalisations, and what undoes a factor's square.

use super::{Content, Mean, Operand, Slices, State, Walk, Walked, plain};
use crate::dims::Dim;
use crate::graph::Extent;
use crate::ops::Op;
use crate::plan::Fill;

impl Walk<'_> {
    /// A mean over axes, which may be those of the space.
    pub(super) fn mean(&mut self, axes: &[usize]) -> Walked<()> {
        let input = self.node().inputs[0];
        let state = self.moved_or_averaged()?;
        let own = self.axes(input);
        if !own.iter().any(|axis| axes.contains(axis)) {
            self.put(plain(state.content), state.power);
            return Ok(());
        }
        let [axis] = own[..] else {
            return Err("it has the space twice".to_owned());
        };
        if has_parts(&self.spaces.axes(input)[axis]) {
            return Err("a mean is taken over a concatenation".to_owned());
        }
        let whole = matches!(self.spaces.axes(input)[axis], Dim::Atom(_));
        let alone = whole && axes == [axis];
        match state.content {
            Some(Content::Zero) => self.put(None, state.power + 2),
            Some(Content::Mean) => {
                let mean = alone.then_some(Mean::Of(state.root, false));
                self.put_with(None, state.power, mean, None);
            }
            Some(Content::Squares(of)) if alone => {
                self.put_with(None, state.power, Some(Mean::OfSquares(of)), None);
            }
            _ => return Err("a mean is taken over new units that hold anything".to_owned()),
        }
        Ok(())
    }

    fn moved_or_averaged(&mut self) -> Walked<State> {
        match self.operand(0) {
            Operand::Open(_) => Err("a mean of a parameter is taken".to_owned()),
            Operand::Value(state) => Ok(state),
        }
    }

    /// A normalisation over the space, which wants one fill of it.
    pub(super) fn norm(&mut self, axis: i64, wanted: Fill) -> Walked<()> {
        let node = self.node();
        let state = self.moved_or_averaged()?;
        let input = node.inputs[0];
        let rank = self.graph.get(input).shape.rank();
        let first = usize::try_from(axis).unwrap_or(rank.wrapping_add_signed(axis as isize));
        let own = self.axes(input);
        let [axis] = own[..] else {
            return Err("it has the space twice".to_owned());
        };
        let dims = self.spaces.axes(input);
        let parameters = node.inputs[1..].iter();
        if parameters.clone().any(|id| !self.graph.is_parameter(*id)) {
            return Err("its scale and shift are not parameters".to_owned());
        }
        if has_parts(&dims[axis]) {
            return Err("a mean is taken over a concatenation".to_owned());
        }
        let extents = self.graph.get(input).shape.extents();
        let others = (first..rank).filter(|other| *other != axis);
        let alone = matches!(dims[axis], Dim::Atom(_))
            && others
                .clone()
                .all(|other| extents[other] == Extent::Fixed(1));
        match (wanted, state.content) {
            (Fill::Zero, Some(Content::Zero)) => {}
            (Fill::Mean, Some(Content::Mean)) if alone => {}
            (Fill::Mean, Some(Content::Mean)) => {
                return Err("the mean is taken over other axes too".to_owned());
            }
            (Fill::Mean, Some(Content::Zero)) => {
                return Err("new units are zero, and its mean would notice".to_owned());
            }
            _ => return Err("a mean is taken over new units that hold anything".to_owned()),
        }
        if state.power != 0 {
            return Err("what it normalises would be multiplied by a factor".to_owned());
        }
        for (slot, parameter) in node.inputs.iter().enumerate().skip(1) {
            let (slices, power) = if slot == 1 {
                (Slices::Free, 1)
            } else {
                (Slices::Zero, 0)
            };
            self.take_all(*parameter, slices)?;
            self.scale(*parameter, power)?;
        }
        self.found.norms.insert(self.node);
        self.put(Some(Content::Zero), 0);
        Ok(())
    }

    /// A square root or a reciprocal.
    pub(super) fn root(&mut self) -> Walked<()> {
        let state = self.moved()?;
        let inverse = matches!(self.node().op, Op::Reciprocal(_));
        match (state.content, inverse, state.power % 2) {
            (None, true, _) => self.put(None, -state.power),
            (None, false, 0) => self.put(None, state.power / 2),
            (content, false, 0) => {
                let zero = content.filter(|content| *content == Content::Zero);
                self.put(zero, state.power / 2);
            }
            (Some(_), true, _) => return Err("it divides by new units".to_owned()),
            _ => return Err("a root of a factor that is none".to_owned()),
        }
        Ok(())
    }

    /// A power whose exponent is not known here: the proof sees to it that it is positive.
    pub(super) fn power(&mut self) -> Walked<()> {
        self.no_power()?;
        let content = match self.operand(0) {
            Operand::Open(parameter) => {
                self.take_all(parameter, Slices::Free)?;
                Some(Content::Any)
            }
            Operand::Value(State { content, .. }) => content.map(|content| match content {
                Content::Zero => Content::Zero,
                _ => Content::Any,
            }),
        };
        self.put(content, 0);
        Ok(())
    }
}

fn has_parts(dim: &Dim) -> bool {
    match dim {
        Dim::Atom(_) => false,
        Dim::Prod(parts) => parts.iter().any(has_parts),
        Dim::Cat(_) => true,
    }
}
