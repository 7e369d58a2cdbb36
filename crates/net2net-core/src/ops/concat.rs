//! Concatenation along the channels.

use net2net_kernels::{Context, Real, shuffle};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `Concat(a [N, p, …], b [N, q, …], …) -> [N, p+q+…, …]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis of concatenation, never the batch.
    pub axis: usize,
}

impl Default for Concat {
    /// Along the channels.
    fn default() -> Self {
        Concat { axis: 1 }
    }
}

impl Operator for Concat {
    const NAME: &'static str = "Concat";
    const RULE: &'static str = "n a * , n b * , … -> n [a b …] *";
    const ARITY: Arity = Arity {
        least: 1,
        most: usize::MAX,
    };

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(Concat {
            axis: attributes.size("axis", 1, 0)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("axis", self.axis, 1);
    }

    fn role(&self, _: usize) -> Role {
        Role::Activation
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let first = inputs[0].extents();
        let mut total = 0usize;
        for shape in inputs {
            let same_elsewhere = shape.rank() == first.len()
                && (0..first.len()).all(|a| a == self.axis || shape.get(a) == Some(first[a]));
            let size = shape.get(self.axis).and_then(Extent::fixed);
            let (true, Some(size)) = (same_elsewhere, size) else {
                return Err(format!(
                    "{shape} and {} cannot be concatenated along axis {}",
                    inputs[0], self.axis
                ));
            };
            total = total.saturating_add(size);
        }
        let mut output = first.to_vec();
        output[self.axis] = Extent::Fixed(total);
        Ok(vec![Shape::new(output)])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let rank = rule.output_shape(0).rank();
        for axis in (0..rank).filter(|axis| *axis != self.axis) {
            let label = rule.label(rule.output_shape(0).extents()[axis]);
            for input in 0..rule.inputs() {
                rule.read(input, axis, &[label]);
            }
            rule.write(0, axis, &[label]);
        }
        let mut parts = Vec::new();
        for input in 0..rule.inputs() {
            let label = rule.label(rule.input_shape(input).extents()[self.axis]);
            rule.read(input, self.axis, &[label]);
            parts.push(label);
        }
        rule.write_cat(0, self.axis, &parts);
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        self.clone()
    }

    fn cost(&self, _: &[&Shape], _: &[&Shape]) -> u64 {
        0
    }

    fn layouts(&self, incoming: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
        let layout = incoming[0].clone();
        Layouts {
            inputs: vec![layout.clone(); inputs.len()],
            outputs: vec![layout],
        }
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let stored = site.output_layouts[0].apply(&site.outputs[0]);
        let position = site.output_layouts[0].position(self.axis);
        // Everything inside the axis moves with it: rows of `width`, one for each outer position.
        let inner: usize = stored[position + 1..].iter().product();
        let widths = site
            .inputs
            .iter()
            .map(|sizes| sizes[self.axis] * inner)
            .collect();
        Box::new(ConcatKernel {
            rows: stored[..position].iter().product(),
            width: stored[position] * inner,
            widths,
        })
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

struct ConcatKernel {
    rows: usize,
    width: usize,
    widths: Vec<usize>,
}

impl<T: Real> Kernel<T> for ConcatKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let mut offset = 0;
        for (x, width) in inputs.iter().zip(&self.widths) {
            shuffle::copy_columns(cx, self.rows, *width, x, self.width, offset, outputs[0]);
            offset += width;
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        let mut offset = 0;
        for (gradient, width) in pass.input_gradients.iter_mut().zip(&self.widths) {
            if let Some(dx) = gradient {
                let (rows, whole) = (self.rows, self.width);
                shuffle::take_columns(cx, rows, whole, offset, dy, *width, dx.data, dx.accumulate);
            }
            offset += width;
        }
    }
}
