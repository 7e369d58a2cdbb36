//! Products of two tensors over named axes.

use std::borrow::Cow;

use net2net_kernels::batched::Batched;
use net2net_kernels::{Context, Real, shuffle};

use super::moves::row_major;
use super::{Arity, Attribute, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Gradient, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `Einsum(a, b)`: an equation such as `nid,hdk->nihk` names the axes of both operands and of the
/// result, and what the result has not is summed over. An axis stands once in an operand.
///
/// The equation is the axis rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Einsum {
    /// The names of the axes of both operands.
    pub operands: [Vec<char>; 2],
    /// Those of the result.
    pub result: Vec<char>,
}

/// Axes of the operands in the order in which they are multiplied.
struct Order {
    /// In both operands and in the result.
    stack: Vec<char>,
    /// In the first operand and in the result.
    rows: Vec<char>,
    /// In both operands alone.
    summed: Vec<char>,
    /// In the second operand and in the result.
    columns: Vec<char>,
}

impl Einsum {
    /// Reads an equation. Without an arrow the result has all axes that stand in one operand alone,
    /// in the order of the alphabet.
    pub fn new(equation: &str) -> Result<Self, String> {
        let fault = |why: &str| Err(format!("the equation `{equation}` {why}"));
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (inputs, stated) = match text.split_once("->") {
            Some((inputs, result)) => (inputs, Some(result)),
            None => (text.as_str(), None),
        };
        let names = |text: &str| text.chars().collect::<Vec<char>>();
        let operands: Vec<Vec<char>> = inputs.split(',').map(names).collect();
        let [a, b] = &operands[..] else {
            return fault("has not two operands");
        };
        let result = match stated {
            Some(result) => names(result),
            None => {
                let once = |name: &&char| a.contains(name) != b.contains(name);
                let mut all: Vec<char> = a.iter().chain(b).filter(once).copied().collect();
                all.sort_unstable();
                all
            }
        };
        for operand in [a, b, &result] {
            let mut sorted = operand.clone();
            sorted.sort_unstable();
            sorted.dedup();
            if sorted.len() != operand.len() {
                return fault("has an axis twice in one operand");
            }
        }
        let letters = a
            .iter()
            .chain(b)
            .chain(&result)
            .all(char::is_ascii_alphabetic);
        let made = result
            .iter()
            .all(|name| a.contains(name) || b.contains(name));
        let lone = |own: &[char], other: &[char]| {
            let kept = |name: &char| other.contains(name) || result.contains(name);
            own.iter().all(kept)
        };
        if !letters || !made || !lone(a, b) || !lone(b, a) {
            return fault("is more than a product over named axes");
        }
        Ok(Einsum {
            operands: [a.clone(), b.clone()],
            result,
        })
    }

    fn order(&self) -> Order {
        let [a, b] = &self.operands;
        let of = |own: &[char], in_a: bool, in_b: bool, made: bool| -> Vec<char> {
            let fits = |name: &&char| {
                (
                    a.contains(name),
                    b.contains(name),
                    self.result.contains(name),
                ) == (in_a, in_b, made)
            };
            own.iter().filter(fits).copied().collect()
        };
        Order {
            stack: of(a, true, true, true),
            rows: of(a, true, false, true),
            summed: of(a, true, true, false),
            columns: of(b, false, true, true),
        }
    }

    /// The extent of each axis by its name.
    fn extents(&self, inputs: &[&Shape]) -> Result<Vec<(char, Extent)>, String> {
        let mut all: Vec<(char, Extent)> = Vec::new();
        for (names, shape) in self.operands.iter().zip(inputs) {
            if names.len() != shape.rank() {
                let names: String = names.iter().collect();
                return Err(format!("{shape} has not the axes `{names}`"));
            }
            for (name, extent) in names.iter().zip(shape.extents()) {
                match all.iter().find(|(known, _)| known == name) {
                    Some((_, known)) if known != extent => {
                        return Err(format!("the axis `{name}` is both {known} and {extent}"));
                    }
                    Some(_) => {}
                    None => all.push((*name, *extent)),
                }
            }
        }
        let summed = self.order().summed;
        let batch =
            |(name, extent): &(char, Extent)| *extent == Extent::Batch && summed.contains(name);
        match all.iter().any(batch) {
            true => Err("samples of a batch are not summed".to_owned()),
            false => Ok(all),
        }
    }
}

fn extent_of(all: &[(char, Extent)], name: char) -> Extent {
    let mut known = all.iter().filter(|(known, _)| *known == name);
    known.next().map_or(Extent::Fixed(1), |(_, extent)| *extent)
}

impl Operator for Einsum {
    const NAME: &'static str = "Einsum";
    const RULE: &'static str = "its equation";
    const ARITY: Arity = Arity::exactly(2);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Einsum::new(&attributes.text("equation", "")?)
    }

    fn write(&self, attributes: &mut Attributes) {
        let [a, b, result] =
            [&self.operands[0], &self.operands[1], &self.result].map(String::from_iter);
        attributes.insert("equation", Attribute::Text(format!("{a},{b}->{result}")));
    }

    fn role(&self, _: usize) -> Role {
        Role::Weight
    }

    fn fan_in(&self, slot: usize, sizes: &[usize]) -> usize {
        let summed = self.order().summed;
        let own = self.operands[slot].iter().zip(sizes);
        own.filter(|(name, _)| summed.contains(name))
            .map(|(_, size)| size)
            .product()
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let all = self.extents(inputs)?;
        let made = self.result.iter().map(|name| extent_of(&all, *name));
        Ok(vec![made.collect()])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let shapes = [rule.input_shape(0), rule.input_shape(1)];
        for (name, extent) in self.extents(&shapes).unwrap_or_default() {
            let label = rule.label(extent);
            for (input, names) in self.operands.iter().enumerate() {
                if let Some(axis) = names.iter().position(|own| *own == name) {
                    rule.read(input, axis, &[label]);
                }
            }
            if let Some(axis) = self.result.iter().position(|own| *own == name) {
                rule.write(0, axis, &[label]);
            }
        }
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        self.clone()
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        let all = self.extents(inputs).unwrap_or_default();
        let sizes = all.iter().map(|(_, extent)| extent.at(1) as u64);
        sizes.fold(2, u64::saturating_mul)
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
        row_major(inputs, outputs)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let order = self.order();
        let size = |name: &char| {
            let of = |slot: usize| {
                let axis = self.operands[slot].iter().position(|own| own == name);
                axis.map(|axis| site.inputs[slot][axis])
            };
            of(0).or(of(1)).unwrap_or(1)
        };
        let sizes = |names: &[char]| -> Vec<usize> { names.iter().map(size).collect() };
        let count = |names: &[char]| names.iter().map(size).product::<usize>();
        let stack = [count(&order.stack)];
        let inner = [&order.rows, &order.summed, &order.columns].map(|names| count(names));
        let turn = |from: &[char], to: [&[char]; 3]| {
            let to = to.concat();
            let place = |name: &char| from.iter().position(|own| own == name).unwrap_or(0);
            Turn {
                order: to.iter().map(place).collect(),
                sizes: sizes(from),
            }
        };
        let product = [
            order.stack.clone(),
            order.rows.clone(),
            order.columns.clone(),
        ]
        .concat();
        let place = |name: &char| product.iter().position(|own| own == name).unwrap_or(0);
        Box::new(EinsumKernel {
            batched: Batched::new(&stack, &stack, inner),
            operands: [
                turn(
                    &self.operands[0],
                    [&order.stack, &order.rows, &order.summed],
                ),
                turn(
                    &self.operands[1],
                    [&order.stack, &order.summed, &order.columns],
                ),
            ],
            result: Turn {
                order: self.result.iter().map(place).collect(),
                sizes: sizes(&product),
            },
        })
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

/// Another order of axes.
struct Turn {
    order: Vec<usize>,
    /// Before.
    sizes: Vec<usize>,
}

impl Turn {
    fn is_none(&self) -> bool {
        self.order.iter().enumerate().all(|(to, from)| to == *from)
    }

    fn forth<'a, T: Real>(&self, cx: &mut Context<T>, data: &'a [T]) -> Cow<'a, [T]> {
        if self.is_none() {
            return Cow::Borrowed(data);
        }
        let mut turned = vec![T::zero(); data.len()];
        shuffle::transpose(cx, data, &self.sizes, &self.order, &mut turned, false);
        Cow::Owned(turned)
    }

    fn inverse(&self) -> Turn {
        let mut order = vec![0; self.order.len()];
        for (to, from) in self.order.iter().enumerate() {
            order[*from] = to;
        }
        let sizes = self.order.iter().map(|axis| self.sizes[*axis]).collect();
        Turn { order, sizes }
    }

    /// What was computed of the turned tensor, as it is for the tensor itself.
    fn back<T: Real>(&self, cx: &mut Context<T>, found: &[T], to: &mut Gradient<'_, T>) {
        let Turn { order, sizes } = self.inverse();
        shuffle::transpose(cx, found, &sizes, &order, to.data, to.accumulate);
    }
}

struct EinsumKernel {
    batched: Batched,
    operands: [Turn; 2],
    /// From the product to the result.
    result: Turn,
}

impl<T: Real> Kernel<T> for EinsumKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let a = self.operands[0].forth(cx, inputs[0]);
        let b = self.operands[1].forth(cx, inputs[1]);
        if self.result.is_none() {
            self.batched.forward(cx, &a, &b, outputs[0]);
            return;
        }
        let mut product = vec![T::zero(); outputs[0].len()];
        self.batched.forward(cx, &a, &b, &mut product);
        let Turn { order, sizes } = &self.result;
        shuffle::transpose(cx, &product, sizes, order, outputs[0], false);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let a = self.operands[0].forth(cx, pass.inputs[0]);
        let b = self.operands[1].forth(cx, pass.inputs[1]);
        let dy = self.result.inverse().forth(cx, pass.output_gradients[0]);
        let [da, db] = pass.input_gradients else {
            return;
        };
        if let Some(da) = da {
            let mut found = vec![T::zero(); a.len()];
            self.batched.backward_a(cx, &dy, &b, &mut found, false);
            self.operands[0].back(cx, &found, da);
        }
        if let Some(db) = db {
            let mut found = vec![T::zero(); b.len()];
            self.batched.backward_b(cx, &a, &dy, &mut found, false);
            self.operands[1].back(cx, &found, db);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equation_is_a_product_over_named_axes() {
        let read = |text: &str| Einsum::new(text).map(|op| op.result.iter().collect::<String>());
        assert_eq!(read("bij, bjk -> bik"), Ok("bik".to_owned()));
        assert_eq!(read("ji,jk"), Ok("ik".to_owned()));
        for wrong in [
            "",
            "ij->i",
            "ii,ij->j",
            "ij,jk->ixk",
            "ij,jk->iik",
            "...i,ij->...j",
            "ijl,jk->ik",
        ] {
            assert!(Einsum::new(wrong).is_err(), "{wrong}");
        }
    }
}
