//! Two-dimensional convolution, grouped, strided, padded and dilated.

use net2net_kernels::conv::{self, ConvShape};
use net2net_kernels::{Context, Real};

use super::window::Window;
use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::{Extent, Shape};

/// `Conv(x [N, g·i, h, w], weight [g·o, i, kh, kw], bias [g·o]?) -> [N, g·o, y, x]`, as in ONNX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels are convolved within each of this many groups.
    pub groups: usize,
    /// Strides, pads and dilations.
    pub window: Window,
}

impl Conv {
    /// A convolution without groups.
    pub fn new(window: Window) -> Self {
        Conv { groups: 1, window }
    }
}

impl Operator for Conv {
    const NAME: &'static str = "Conv";
    const RULE: &'static str = "n (g i) h w , (g o) i kh kw , (g o)? -> n (g o) y x";
    const ARITY: Arity = Arity { least: 2, most: 3 };

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(Conv {
            groups: attributes.size("group", 1, 1)?,
            window: Window::read(attributes)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("group", self.groups, 1);
        self.window.write(attributes);
    }

    fn role(&self, slot: usize) -> Role {
        [Role::Activation, Role::Weight, Role::Shift][slot]
    }

    fn fan_in(&self, _slot: usize, sizes: &[usize]) -> usize {
        sizes[1..].iter().product()
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let image = image_sizes(inputs[0])?;
        let weight: Option<[usize; 4]> = inputs[1].to_fixed().and_then(|s| s.try_into().ok());
        let Some([out_c, per_group, kh, kw]) = weight else {
            return Err(format!("the weight must have 4 axes, not {}", inputs[1]));
        };
        if Some(image[0]) != per_group.checked_mul(self.groups) {
            return Err(format!(
                "the input has {} channels, and the weight reads {per_group} in each of {} groups",
                image[0], self.groups
            ));
        }
        if out_c % self.groups != 0 {
            return Err(format!(
                "{out_c} output channels cannot be divided into {} groups",
                self.groups
            ));
        }
        if let Some(bias) = inputs.get(2)
            && **bias != Shape::fixed(&[out_c])
        {
            return Err(format!("the bias must have shape [{out_c}], not {bias}"));
        }
        let [y, x] = self.window.slide([image[1], image[2]], [kh, kw])?;
        Ok(vec![inputs[0].with_inner(&[out_c, y, x])])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let weight = rule.input_shape(1).at(1);
        let sizes = [
            ("g", self.groups),
            ("i", weight[1]),
            ("o", weight[0] / self.groups),
        ];
        rule.notation(Self::RULE, &sizes);
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let channels = grown.input(0).at(1)[1];
        let per_group = grown.input(1).at(1)[1];
        Conv {
            groups: channels / per_group,
            window: self.window.clone(),
        }
    }

    fn cost(&self, inputs: &[&Shape], outputs: &[&Shape]) -> u64 {
        let per_output: usize = inputs[1].at(1)[1..].iter().product();
        2 * per_output as u64 * super::elements(outputs[0])
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
        let mut wanted = vec![Layout::channels_last(4), Layout::filter()];
        wanted.extend(inputs.get(2).map(|_| Layout::row_major(1)));
        Layouts {
            inputs: wanted,
            outputs: vec![Layout::channels_last(4)],
        }
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let [image, weight, output] = [&site.inputs[0], &site.inputs[1], &site.outputs[0]];
        Box::new(ConvKernel(ConvShape {
            batch: image[0],
            in_h: image[2],
            in_w: image[3],
            in_c: image[1],
            out_h: output[2],
            out_w: output[3],
            out_c: output[1],
            kernel: [weight[2], weight[3]],
            stride: self.window.strides,
            dilation: self.window.dilations,
            pads: self.window.pads,
            groups: self.groups,
        }))
    }

    fn nature(&self) -> Nature {
        Nature::Linear
    }
}

/// The channels, height and width of a batch of images.
pub(super) fn image_sizes(shape: &Shape) -> Result<[usize; 3], String> {
    match shape.extents() {
        [_, Extent::Fixed(c), Extent::Fixed(h), Extent::Fixed(w)] => Ok([*c, *h, *w]),
        _ => Err(format!(
            "the input must have shape [N, channels, height, width], not {shape}"
        )),
    }
}

struct ConvKernel(ConvShape);

impl<T: Real> Kernel<T> for ConvKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let bias = inputs.get(2).copied();
        conv::forward(cx, &self.0, inputs[0], inputs[1], bias, outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        let s = &self.0;
        if let Some(dw) = &mut pass.input_gradients[1] {
            conv::backward_weight(cx, s, pass.inputs[0], dy, dw.data, dw.accumulate);
        }
        if let Some(Some(db)) = pass.input_gradients.get_mut(2) {
            let rows = s.batch * s.out_h * s.out_w;
            conv::backward_bias(cx, rows, s.out_c, dy, db.data, db.accumulate);
        }
        if let Some(dx) = &mut pass.input_gradients[0] {
            conv::backward_data(cx, s, dy, pass.inputs[1], dx.data, dx.accumulate);
        }
    }
}
