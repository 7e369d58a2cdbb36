//! Products: with weights, of activations, and of each unit by itself.

use super::{Content, Mean, Operand, Slices, State, Walk, Walked, plain};
use crate::ops::Op;

impl Walk<'_> {
    /// A product with a weight, or of two activations.
    pub(super) fn linear(&mut self) -> Walked<()> {
        let node = self.node();
        let output = node.outputs[0];
        let weights: Vec<usize> = (0..2)
            .filter(|slot| self.graph.is_parameter(node.inputs[*slot]))
            .collect();
        let (content, power) = match weights[..] {
            [] => self.multiplied()?,
            [slot] => self.weighted(slot)?,
            _ => return Err("two parameters are multiplied".to_owned()),
        };
        let Some(bias) = node.inputs.get(2).copied() else {
            self.put(content, power);
            return Ok(());
        };
        if !self.graph.is_parameter(bias) {
            return Err("its bias is not a parameter".to_owned());
        }
        self.scale(bias, power)?;
        let content = match (content, self.has(bias)) {
            (Some(Content::Zero), false) => Some(Content::Any),
            (content, _) => content,
        };
        let slices = match content {
            Some(Content::Mean) => Slices::Mean,
            _ => Slices::Zero,
        };
        self.take_all(bias, slices)?;
        let content = content.filter(|_| self.has(output));
        self.put(content, power);
        Ok(())
    }

    /// Two activations: what sums over new units must find zeros in one of them.
    fn multiplied(&mut self) -> Walked<(Option<Content>, i32)> {
        let node = self.node();
        let [a, b] = [0, 1].map(|slot| self.state(node.inputs[slot]));
        let power = a.power + b.power;
        let zero = [a, b].iter().any(|s| s.content == Some(Content::Zero));
        match (a.content, b.content, self.has(node.outputs[0])) {
            (Some(_), Some(_), false) if zero => Ok((None, power)),
            (Some(_), Some(_), false) => Err("new units would be multiplied".to_owned()),
            (Some(_), Some(_), true) if zero => Ok((Some(Content::Zero), power)),
            (Some(_), Some(_), true) => Ok((Some(Content::Any), power)),
            (content, None, _) | (None, content, _) => Ok((plain(content), power)),
        }
    }

    /// An activation and a weight.
    fn weighted(&mut self, slot: usize) -> Walked<(Option<Content>, i32)> {
        let node = self.node();
        let weight = node.inputs[slot];
        let x = self.state(node.inputs[1 - slot]);
        let axes = self.axes(weight);
        let rank = self.spaces.axes(weight).len();
        let read = match &node.op {
            Op::Gemm(op) => usize::from(op.transposed),
            Op::MatMul(_) if slot == 1 => rank.saturating_sub(2),
            Op::MatMul(_) => rank.saturating_sub(1),
            Op::ConvTranspose(_) => 0,
            _ => 1,
        };
        self.scale(weight, 0)?;
        let zero = x.content == Some(Content::Zero);
        let silent = if zero { Slices::Random } else { Slices::Zero };
        let reads = axes.contains(&read);
        if reads {
            self.take(weight, &[read], silent)?;
        }
        let makes: Vec<usize> = axes.into_iter().filter(|axis| *axis != read).collect();
        let content = match (x.content.filter(|_| !reads), makes.is_empty()) {
            (content, true) => plain(content),
            // Of each unit by itself, as a filter for each channel.
            (Some(_), false) => {
                self.take(weight, &makes, Slices::Free)?;
                Some(if zero { Content::Zero } else { Content::Any })
            }
            (None, false) => {
                let (slices, content) = self.fresh();
                self.take(weight, &makes, slices)?;
                Some(content)
            }
        };
        Ok((content, x.power))
    }

    /// A product of each unit by itself.
    pub(super) fn product(&mut self) -> Walked<()> {
        let node = self.node();
        let operands = [0, 1].map(|slot| self.operand(slot));
        let mut power = 0;
        for operand in &operands {
            if let Operand::Value(state) = operand {
                power += state.power;
            }
        }
        let mut absorbed = false;
        for (slot, operand) in operands.iter().enumerate() {
            match operand {
                // The first parameter with a number for each unit takes the factor back.
                Operand::Open(parameter) => {
                    self.scale(*parameter, if absorbed { 0 } else { -power })?;
                    self.take_all(*parameter, Slices::Free)?;
                    absorbed = true;
                }
                Operand::Value(_) if self.graph.is_parameter(node.inputs[slot]) => {
                    self.scale(node.inputs[slot], 0)?;
                }
                Operand::Value(_) => {}
            }
        }
        let power = if absorbed { 0 } else { power };
        if let [Operand::Value(a), Operand::Value(b)] = operands
            && let (Some(Mean::Of(x, s)), Some(Mean::Of(y, t))) = (a.mean, b.mean)
            && (x, s) == (y, t)
        {
            self.put_with(None, power, Some(Mean::Squared(x)), None);
            return Ok(());
        }
        if !self.has(node.outputs[0]) {
            self.put(None, power);
            return Ok(());
        }
        let content = match operands {
            [Operand::Value(a), Operand::Value(b)] => multiplied(a, b),
            [Operand::Open(by), Operand::Value(x)] | [Operand::Value(x), Operand::Open(by)] => {
                let one = State {
                    content: Some(Content::Any),
                    power: 0,
                    mean: None,
                    root: by,
                };
                multiplied(x, one)
            }
            [Operand::Open(_), Operand::Open(_)] => Content::Any,
        };
        self.put(Some(content), power);
        Ok(())
    }

    pub(super) fn quotient(&mut self) -> Walked<()> {
        let node = self.node();
        let [a, b] = [0, 1].map(|slot| self.operand(slot));
        let (content, power) = match (a, b) {
            (Operand::Value(a), Operand::Value(b)) if b.content.is_none() => {
                (plain(a.content), a.power - b.power)
            }
            (Operand::Value(a), Operand::Open(by)) => {
                self.scale(by, a.power)?;
                self.take_all(by, Slices::Free)?;
                (a.content.filter(|content| *content == Content::Zero), 0)
            }
            (Operand::Open(of), Operand::Value(b)) if b.content.is_none() => {
                self.scale(of, b.power)?;
                self.take_all(of, Slices::Free)?;
                (None, 0)
            }
            _ => return Err("it divides by new units".to_owned()),
        };
        for (slot, operand) in [a, b].iter().enumerate() {
            let input = node.inputs[slot];
            if matches!(operand, Operand::Value(_)) && self.graph.is_parameter(input) {
                self.scale(input, 0)?;
            }
        }
        self.put(content, power);
        Ok(())
    }
}

fn multiplied(a: State, b: State) -> Content {
    let product = |of, negated, by: State| Content::Product {
        of,
        by: by.root,
        negated,
    };
    match (a.content, b.content) {
        (Some(Content::Zero), _) | (_, Some(Content::Zero)) => Content::Zero,
        (Some(Content::Mean), Some(Content::Mean)) if a.root == b.root => Content::Squares(a.root),
        (Some(Content::Mean), None) | (None, Some(Content::Mean)) => Content::Mean,
        (Some(Content::Mean), Some(Content::Any)) => product(a.root, false, b),
        (Some(Content::Any), Some(Content::Mean)) => product(b.root, false, a),
        (None, Some(Content::Any)) => match a.mean {
            Some(Mean::Of(of, negated)) => product(of, negated, b),
            _ => Content::Any,
        },
        (Some(Content::Any), None) => match b.mean {
            Some(Mean::Of(of, negated)) => product(of, negated, a),
            _ => Content::Any,
        },
        _ => Content::Any,
    }
}
