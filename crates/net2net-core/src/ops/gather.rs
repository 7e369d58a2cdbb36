//! Picking by computed indices: embeddings.

use net2net_kernels::{Context, Real, gather};

use super::moves::{NOTHING, fixed_axis, row_major};
use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::Shape;

/// `Gather(data [v, c, …], indices [N, t, …]) -> [N, t, …, c, …]`, along any axis.
///
/// Indices are rounded, negative ones count from the end, and what lies outside is the nearest
/// position that there is; no gradient flows into them. An f32 tells 2²⁴ positions apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gather {
    /// The axis of the data that is indexed, never the batch.
    pub axis: usize,
}

impl Operator for Gather {
    const NAME: &'static str = "Gather";
    const RULE: &'static str = "v * , n t -> n t *";
    const ARITY: Arity = Arity::exactly(2);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(Gather {
            axis: attributes.size("axis", 0, 0)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("axis", self.axis, 0);
    }

    fn role(&self, slot: usize) -> Role {
        [Role::Weight, Role::Activation][slot]
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        fixed_axis(inputs[0], self.axis)?;
        let (before, rest) = inputs[0].extents().split_at(self.axis);
        let picked = Shape::new([before, inputs[1].extents(), &rest[1..]].concat());
        match picked.check() {
            Ok(()) => Ok(vec![picked]),
            Err(why) => Err(format!(
                "{} cannot index axis {} of {}: {why}",
                inputs[1], self.axis, inputs[0]
            )),
        }
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let indices = rule.input_shape(1).rank();
        for (axis, extent) in rule.input_shape(0).extents().iter().enumerate() {
            let label = rule.label(*extent);
            rule.read(0, axis, &[label]);
            match axis {
                axis if axis == self.axis => rule.freeze(label, "indices count along this axis"),
                axis if axis < self.axis => rule.write(0, axis, &[label]),
                axis => rule.write(0, axis + indices - 1, &[label]),
            }
        }
        for (axis, extent) in rule.input_shape(1).extents().iter().enumerate() {
            let label = rule.label(*extent);
            rule.read(1, axis, &[label]);
            rule.write(0, self.axis + axis, &[label]);
        }
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        self.clone()
    }

    fn cost(&self, _: &[&Shape], _: &[&Shape]) -> u64 {
        0
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
        row_major(inputs, outputs)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let data = &site.inputs[0];
        Box::new(GatherKernel {
            sizes: [
                data[..self.axis].iter().product(),
                data[self.axis],
                data[self.axis + 1..].iter().product(),
            ],
            rows: Vec::new(),
        })
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

struct GatherKernel {
    sizes: [usize; 3],
    /// What the last forward pass picked.
    rows: Vec<usize>,
}

impl<T: Real> Kernel<T> for GatherKernel {
    fn needs(&self) -> Needs {
        NOTHING
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let len = self.sizes[1];
        self.rows.clear();
        let rows = inputs[1].iter().map(|index| gather::row_of(*index, len));
        self.rows.extend(rows);
        gather::forward(cx, self.sizes, &self.rows, inputs[0], outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        if let Some(dx) = &mut pass.input_gradients[0] {
            gather::backward(cx, self.sizes, &self.rows, dy, dx.data, dx.accumulate);
        }
        if let Some(indices) = &mut pass.input_gradients[1]
            && !indices.accumulate
        {
            indices.data.fill(T::zero());
        }
    }
}
