//! The parametric rectifier (He et al. 2015).

use net2net_kernels::{Context, Real, slopes};

use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `PRelu(x [N, c, …], slope [c]) -> x's shape`: `x` where positive, else `slope[c] · x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PRelu;

impl Operator for PRelu {
    const NAME: &'static str = "PRelu";
    const RULE: &'static str = "n c * , c -> n c *";
    const ARITY: Arity = Arity::exactly(2);

    fn read(_: &mut Attributes) -> Result<Self, String> {
        Ok(PRelu)
    }

    fn write(&self, _: &mut Attributes) {}

    fn role(&self, slot: usize) -> Role {
        [Role::Activation, Role::Slope][slot]
    }

    fn fan_in(&self, _: usize, _: &[usize]) -> usize {
        1
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [_, Extent::Fixed(channels), ..] = inputs[0].extents() else {
            return Err(format!(
                "the input must have shape [N, channels, …], not {}",
                inputs[0]
            ));
        };
        if *inputs[1] != Shape::fixed(&[*channels]) {
            return Err(format!(
                "the slope must have shape [{channels}], not {}",
                inputs[1]
            ));
        }
        Ok(vec![inputs[0].clone()])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        rule.notation(Self::RULE, &[]);
    }

    fn resize(&self, _: &Grown<'_>) -> Self {
        PRelu
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        2 * super::elements(inputs[0])
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
        let image = Layout::channels_last(inputs[0].rank());
        Layouts {
            inputs: vec![image.clone(), Layout::row_major(1)],
            outputs: vec![image],
        }
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let channels = site.inputs[0][1];
        let elements: usize = site.inputs[0].iter().product();
        Box::new(PReluKernel {
            rows: elements / channels,
            channels,
        })
    }

    fn nature(&self) -> Nature {
        Nature::Activation { idempotent: false }
    }
}

struct PReluKernel {
    rows: usize,
    channels: usize,
}

impl<T: Real> Kernel<T> for PReluKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        slopes::channel_slopes(
            cx,
            self.rows,
            self.channels,
            inputs[0],
            inputs[1],
            outputs[0],
        );
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (rows, c) = (self.rows, self.channels);
        let [dx, dslope] = pass.input_gradients else {
            return;
        };
        // The kernel computes both in one pass; what nobody asks for is thrown away.
        let mut no_dx = Vec::new();
        let (dx, accumulate) = match dx {
            Some(gradient) => (&mut *gradient.data, gradient.accumulate),
            None => {
                no_dx.resize(rows * c, T::zero());
                (&mut no_dx[..], false)
            }
        };
        let mut slopes = vec![T::zero(); c];
        slopes::channel_slopes_backward(
            cx,
            rows,
            c,
            pass.inputs[0],
            pass.inputs[1],
            pass.output_gradients[0],
            dx,
            accumulate,
            &mut slopes,
            false,
        );
        if let Some(gradient) = dslope {
            gradient.put(&slopes);
        }
    }
}
