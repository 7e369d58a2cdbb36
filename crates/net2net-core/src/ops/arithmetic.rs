//! Sums and products of two tensors, with broadcasting.

use net2net_kernels::broadcast::{self, Binary};
use net2net_kernels::{Context, Real};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `Add(a, b) -> a + b`, axes aligned from the innermost and repeated where they are 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add;

/// `Mul(a, b) -> a · b`, axes aligned from the innermost and repeated where they are 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mul;

macro_rules! binary_operator {
    ($type:ident, $name:literal) => {
        impl Operator for $type {
            const NAME: &'static str = $name;
            const RULE: &'static str = "* , * -> *, where an axis of 1 is repeated";
            const ARITY: Arity = Arity::exactly(2);

            fn read(_: &mut Attributes) -> Result<Self, String> {
                Ok($type)
            }

            fn write(&self, _: &mut Attributes) {}

            fn role(&self, _: usize) -> Role {
                Role::Activation
            }

            fn fan_in(&self, _: usize, _: &[usize]) -> usize {
                1
            }

            fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
                Ok(vec![broadcast_shapes(inputs[0], inputs[1])?])
            }

            fn axes(&self, rule: &mut AxisRule<'_>) {
                broadcast_axes(rule);
            }

            fn resize(&self, _: &Grown<'_>) -> Self {
                $type
            }

            fn cost(&self, _: &[&Shape], outputs: &[&Shape]) -> u64 {
                super::elements(outputs[0])
            }

            fn layouts(&self, incoming: &[Layout], inputs: &[&Shape], out: &[&Shape]) -> Layouts {
                broadcast_layouts(incoming, inputs, out[0].rank())
            }

            fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
                Box::new(BinaryKernel::new(Binary::$type, site))
            }

            fn nature(&self) -> Nature {
                Nature::Other
            }
        }
    };
}

binary_operator!(Add, "Add");
binary_operator!(Mul, "Mul");

/// The extent of an axis of the output, counted from the innermost, in an input; 1 if it is
/// missing there.
fn aligned(shape: &Shape, rank: usize, axis: usize) -> Extent {
    (axis + shape.rank())
        .checked_sub(rank)
        .and_then(|own| shape.get(own))
        .unwrap_or(Extent::Fixed(1))
}

fn broadcast_shapes(a: &Shape, b: &Shape) -> Result<Shape, String> {
    let rank = a.rank().max(b.rank());
    (0..rank)
        .map(
            |axis| match (aligned(a, rank, axis), aligned(b, rank, axis)) {
                (x, y) if x == y => Ok(x),
                (x, Extent::Fixed(1)) => Ok(x),
                (Extent::Fixed(1), y) => Ok(y),
                _ => Err(format!(
                    "{a} and {b} do not match, and no axis of 1 can be repeated"
                )),
            },
        )
        .collect()
}

fn broadcast_axes(rule: &mut AxisRule<'_>) {
    let rank = rule.output_shape(0).rank();
    for axis in 0..rank {
        let extent = rule.output_shape(0).extents()[axis];
        let label = rule.label(extent);
        for input in 0..rule.inputs() {
            let shape = rule.input_shape(input);
            let Some(own) = (axis + shape.rank()).checked_sub(rank) else {
                continue;
            };
            if shape.extents()[own] == extent {
                rule.read(input, own, &[label]);
            } else {
                // Repeated: the axis of size 1 stands for itself, and cannot grow.
                let unit = rule.label(Extent::Fixed(1));
                rule.read(input, own, &[unit]);
            }
        }
        rule.write(0, axis, &[label]);
    }
}

fn broadcast_layouts(incoming: &[Layout], inputs: &[&Shape], rank: usize) -> Layouts {
    let full = (0..inputs.len()).find(|input| inputs[*input].rank() == rank);
    let output = full.map_or(Layout::row_major(rank), |input| incoming[input].clone());
    Layouts {
        inputs: inputs.iter().map(|s| output.inner(s.rank())).collect(),
        outputs: vec![output],
    }
}

struct BinaryKernel {
    binary: Binary,
    /// The sizes of both inputs in the order of storage, filled up with ones.
    sizes: [Vec<usize>; 2],
}

impl BinaryKernel {
    fn new(binary: Binary, site: &Site<'_>) -> Self {
        let layout = &site.output_layouts[0];
        let rank = site.outputs[0].len();
        let stored = |sizes: &Vec<usize>| {
            let mut full = vec![1; rank - sizes.len()];
            full.extend(sizes);
            layout.apply(&full)
        };
        BinaryKernel {
            binary,
            sizes: [stored(&site.inputs[0]), stored(&site.inputs[1])],
        }
    }
}

impl<T: Real> Kernel<T> for BinaryKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: self.binary == Binary::Mul,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let [a, b] = &self.sizes;
        let (x, y) = (inputs[0], inputs[1]);
        broadcast::broadcast_binary(cx, self.binary, x, a, y, b, outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        for own in 0..2 {
            let other = 1 - own;
            if let Some(dx) = &mut pass.input_gradients[own] {
                broadcast::broadcast_binary_backward(
                    cx,
                    self.binary,
                    dy,
                    pass.inputs[other],
                    &self.sizes[other],
                    &self.sizes[own],
                    dx.data,
                    dx.accumulate,
                );
            }
        }
    }
}
