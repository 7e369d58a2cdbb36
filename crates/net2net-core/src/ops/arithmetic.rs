//! Functions of two tensors, with broadcasting, and the choice between two by a third.

use net2net_kernels::broadcast::{self, Binary};
use net2net_kernels::{Context, Real};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// One struct an operator, with the function of two elements in its documentation.
macro_rules! binary_operator {
    ($type:ident, $does:literal) => {
        #[doc = concat!("`", stringify!($type), "(a, b) -> ", $does)]
        ///
        /// Axes are aligned from the innermost and repeated where they are 1.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $type;

        impl Operator for $type {
            const NAME: &'static str = stringify!($type);
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
                Ok(vec![broadcast_shapes(inputs)?])
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

binary_operator!(Add, "a + b`");
binary_operator!(Sub, "a − b`");
binary_operator!(Mul, "a · b`");
binary_operator!(Div, "a / b`");
binary_operator!(
    Pow,
    "a ^ b`; the gradient along `b` is 0 where `a` is not positive."
);
binary_operator!(Max, "max(a, b)`, of two inputs.");
binary_operator!(Min, "min(a, b)`, of two inputs.");
binary_operator!(Equal, "a = b`: 1 or 0, without a gradient.");
binary_operator!(Greater, "a > b`: 1 or 0, without a gradient.");
binary_operator!(GreaterOrEqual, "a ≥ b`: 1 or 0, without a gradient.");
binary_operator!(Less, "a < b`: 1 or 0, without a gradient.");
binary_operator!(LessOrEqual, "a ≤ b`: 1 or 0, without a gradient.");
binary_operator!(And, "a ≠ 0 and b ≠ 0`: 1 or 0, without a gradient.");
binary_operator!(Or, "a ≠ 0 or b ≠ 0`: 1 or 0, without a gradient.");

/// `Where(condition, a, b) -> a` where the condition is not 0, else `b`.
///
/// Axes are aligned from the innermost and repeated where they are 1. The condition has no
/// gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where;

impl Operator for Where {
    const NAME: &'static str = "Where";
    const RULE: &'static str = "* , * , * -> *, where an axis of 1 is repeated";
    const ARITY: Arity = Arity::exactly(3);

    fn read(_: &mut Attributes) -> Result<Self, String> {
        Ok(Where)
    }

    fn write(&self, _: &mut Attributes) {}

    fn role(&self, _: usize) -> Role {
        Role::Activation
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![broadcast_shapes(inputs)?])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        broadcast_axes(rule);
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        Where
    }

    fn cost(&self, _: &[&Shape], outputs: &[&Shape]) -> u64 {
        super::elements(outputs[0])
    }

    fn layouts(&self, incoming: &[Layout], inputs: &[&Shape], out: &[&Shape]) -> Layouts {
        broadcast_layouts(incoming, inputs, out[0].rank())
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        Box::new(WhereKernel {
            sizes: stored_sizes(site),
            output: site.output_layouts[0].apply(&site.outputs[0]),
        })
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

/// The extent of an axis of the output, counted from the innermost, in an input; 1 if it is
/// missing there.
fn aligned(shape: &Shape, rank: usize, axis: usize) -> Extent {
    (axis + shape.rank())
        .checked_sub(rank)
        .and_then(|own| shape.get(own))
        .unwrap_or(Extent::Fixed(1))
}

fn broadcast_shapes(inputs: &[&Shape]) -> Result<Shape, String> {
    let rank = inputs.iter().map(|shape| shape.rank()).max().unwrap_or(0);
    let extent = |axis: usize| {
        let own = |shape: &&Shape| aligned(shape, rank, axis);
        let one = Extent::Fixed(1);
        let extent = inputs.iter().map(own).find(|e| *e != one).unwrap_or(one);
        if inputs.iter().map(own).all(|e| e == one || e == extent) {
            return Ok(extent);
        }
        let shapes: Vec<String> = inputs.iter().map(|shape| shape.to_string()).collect();
        Err(format!(
            "{} do not match, and no axis of 1 can be repeated",
            shapes.join(" and ")
        ))
    };
    (0..rank).map(extent).collect()
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

/// The sizes of all inputs in the order of storage, filled up with ones.
fn stored_sizes<const K: usize>(site: &Site<'_>) -> [Vec<usize>; K] {
    let layout = &site.output_layouts[0];
    let rank = site.outputs[0].len();
    std::array::from_fn(|input| {
        let sizes = &site.inputs[input];
        let mut full = vec![1; rank - sizes.len()];
        full.extend(sizes);
        layout.apply(&full)
    })
}

struct BinaryKernel {
    binary: Binary,
    sizes: [Vec<usize>; 2],
}

impl BinaryKernel {
    fn new(binary: Binary, site: &Site<'_>) -> Self {
        BinaryKernel {
            binary,
            sizes: stored_sizes(site),
        }
    }
}

impl<T: Real> Kernel<T> for BinaryKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: !self.binary.is_linear(),
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let [a, b] = &self.sizes;
        let (x, y) = (inputs[0], inputs[1]);
        broadcast::broadcast_binary(cx, self.binary, x, a, y, b, outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let [a, b] = &self.sizes;
        for own in 0..2 {
            if let Some(dx) = &mut pass.input_gradients[own] {
                broadcast::broadcast_binary_backward(
                    cx,
                    self.binary,
                    own,
                    pass.output_gradients[0],
                    [pass.inputs[0], pass.inputs[1]],
                    [a, b],
                    dx.data,
                    dx.accumulate,
                );
            }
        }
    }
}

struct WhereKernel {
    sizes: [Vec<usize>; 3],
    output: Vec<usize>,
}

impl<T: Real> Kernel<T> for WhereKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let [c, a, b] = &self.sizes;
        let inputs = [inputs[0], inputs[1], inputs[2]];
        broadcast::select(cx, inputs, [c, a, b], &self.output, outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let condition = (pass.inputs[0], &self.sizes[0][..]);
        let dy = (pass.output_gradients[0], &self.output[..]);
        for own in 0..3 {
            let shape = &self.sizes[own];
            match &mut pass.input_gradients[own] {
                Some(dx) if own == 0 && !dx.accumulate => dx.data.fill(T::zero()),
                Some(dx) if own > 0 => {
                    let first = own == 1;
                    let (data, add) = (&mut *dx.data, dx.accumulate);
                    broadcast::select_backward(cx, first, condition, dy, shape, data, add);
                }
                _ => {}
            }
        }
    }
}
