//! Sums and differences, and one of several operands at each place.

use super::{Content, Mean, Operand, Slices, State, Walk, Walked, plain_of};
use crate::graph::Extent;
use crate::ops::Op;
use crate::plan::Fill;

impl Walk<'_> {
    /// A sum, or a difference.
    pub(super) fn sum(&mut self, minus: bool) -> Walked<()> {
        let node = self.node();
        if let [Operand::Value(a), Operand::Value(b)] = [0, 1].map(|slot| self.operand(slot))
            && minus
            && let (Some(Mean::OfSquares(of)), Some(Mean::Squared(mean))) = (a.mean, b.mean)
            && of == mean
            && a.power == b.power
        {
            // The variance as the mean of squares less the square of the mean.
            self.put(None, a.power + 2);
            return Ok(());
        }
        if node.inputs.iter().any(|id| self.changes(*id)) {
            return Err("a mean of squares would change".to_owned());
        }
        let power = self.common_power(&[0, 1])?;
        if !self.has(node.outputs[0]) {
            self.put(None, power);
            return Ok(());
        }
        let content = match [0, 1].map(|slot| self.operand(slot)) {
            [Operand::Open(a), Operand::Open(b)] => {
                let (slices, content) = self.fresh();
                self.take_all(a, slices)?;
                self.take_all(b, slices)?;
                content
            }
            [Operand::Open(parameter), Operand::Value(other)]
            | [Operand::Value(other), Operand::Open(parameter)] => {
                let (slices, content) = match (other.content, self.fill) {
                    (Some(Content::Mean), _) => (Slices::Mean, Content::Mean),
                    (None, Fill::Mean) => (Slices::Mean, Content::Mean),
                    (Some(Content::Zero), _) => (Slices::Zero, Content::Zero),
                    (Some(product @ Content::Product { .. }), _) if !minus => {
                        (Slices::Zero, product)
                    }
                    _ => (Slices::Zero, Content::Any),
                };
                self.take_all(parameter, slices)?;
                content
            }
            [Operand::Value(a), Operand::Value(b)] => self.added(a, b, minus),
        };
        self.put(Some(content), power);
        Ok(())
    }

    fn added(&self, a: State, b: State, minus: bool) -> Content {
        let cancels = |x: State, slot: usize, mean: Option<Mean>| match mean {
            Some(Mean::Of(of, negated)) => {
                of == x.root && negated != minus && self.spans_all_but_space(slot)
            }
            _ => false,
        };
        match (a.content, b.content) {
            (Some(Content::Zero), Some(Content::Zero)) => Content::Zero,
            (Some(Content::Mean), Some(Content::Mean)) => Content::Mean,
            (Some(Content::Mean), None) if cancels(a, 1, b.mean) => Content::Zero,
            (None, Some(Content::Mean)) if cancels(b, 0, a.mean) => Content::Zero,
            (Some(Content::Mean), None) | (None, Some(Content::Mean)) => Content::Mean,
            (
                Some(Content::Product { of, by, negated }),
                Some(Content::Product {
                    of: of_b,
                    by: by_b,
                    negated: negated_b,
                }),
            ) if (of, by) == (of_b, by_b) && (negated == negated_b) == minus => Content::Zero,
            (Some(product @ Content::Product { .. }), Some(Content::Zero)) => product,
            (Some(Content::Zero), Some(product @ Content::Product { .. })) if !minus => product,
            _ => Content::Any,
        }
    }

    /// Whether an operand has all axes of the output, with one unit in place of the space.
    fn spans_all_but_space(&self, slot: usize) -> bool {
        let node = self.node();
        let made = self.graph.get(node.outputs[0]).shape.extents();
        let own = self.graph.get(node.inputs[slot]).shape.extents();
        let axes = self.axes(node.outputs[0]);
        let skipped = made.len().saturating_sub(own.len());
        made.iter().enumerate().skip(skipped).all(|(axis, extent)| {
            let mine = own[axis - skipped];
            match axes.contains(&axis) {
                true => mine == Extent::Fixed(1),
                false => mine == *extent,
            }
        }) && made[..skipped]
            .iter()
            .all(|extent| *extent == Extent::Fixed(1))
    }

    /// One of several operands at each place.
    pub(super) fn choice(&mut self, slots: &[usize]) -> Walked<()> {
        let power = self.common_power(slots)?;
        let along = match &self.node().op {
            Op::Concat(op) => self.axes(self.node().outputs[0]).contains(&op.axis),
            _ => false,
        };
        let mut common: Option<Content> = None;
        for slot in slots {
            let content = match self.operand(*slot) {
                Operand::Open(_) => continue,
                Operand::Value(State {
                    content: Some(content),
                    ..
                }) => content,
                // Other parts of a concatenation along the space are not of it.
                Operand::Value(_) if along => continue,
                // The same for all units is their mean, but not zero.
                Operand::Value(_) => match self.fill {
                    Fill::Mean => Content::Mean,
                    Fill::Zero => Content::Any,
                },
            };
            let same = common.is_none_or(|known| known == content);
            common = Some(if same { content } else { Content::Any });
        }
        let common = common.map(plain_of).unwrap_or(self.fresh().1);
        for slot in slots {
            if let Operand::Open(parameter) = self.operand(*slot) {
                let slices = match common {
                    Content::Mean => Slices::Mean,
                    Content::Zero => Slices::Zero,
                    _ => Slices::Free,
                };
                self.take_all(parameter, slices)?;
            }
        }
        self.put(Some(common), power);
        Ok(())
    }
}
