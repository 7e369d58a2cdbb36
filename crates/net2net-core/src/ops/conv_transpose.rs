//! Transposed convolution: the data gradient of a convolution, run forward.

use net2net_kernels::conv::{self, VolumeShape, volume};
use net2net_kernels::{Context, Real};

use super::conv::{check_bias, filter_layouts, filter_sizes, volume_shape};
use super::window::{Window, image_of, image_sizes, read_sizes, write_sizes};
use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Needs, Site};
use crate::graph::Shape;

/// `ConvTranspose(x [N, g·i, h, w], weight [g·i, o, kh, kw], bias [g·o]?) -> [N, g·o, y, x]`, as
/// in ONNX; the same of signals and volumes. Each pixel adds itself times the filter to the
/// output: `y = stride · (h − 1) + dilation · (kh − 1) + 1 − pads + output_padding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTranspose {
    /// Channels are convolved within each of this many groups.
    pub groups: usize,
    /// Strides, pads (which are cut off the output) and dilations.
    pub window: Window,
    /// Elements added at the far end of each spatial axis of the output; empty for none.
    pub output_padding: Vec<usize>,
}

impl ConvTranspose {
    /// A transposed convolution without groups.
    pub fn new(window: Window) -> Self {
        ConvTranspose {
            groups: 1,
            window,
            output_padding: Vec::new(),
        }
    }

    /// The output's size along each axis.
    fn spread(&self, input: &[usize], kernel: &[usize]) -> Result<Vec<usize>, String> {
        self.window.check(input.len())?;
        if !self.output_padding.is_empty() && self.output_padding.len() != input.len() {
            return Err(format!(
                "output_padding must have {} entries for this input, not {}",
                input.len(),
                self.output_padding.len()
            ));
        }
        let axes = input.iter().zip(kernel).enumerate();
        axes.map(|(axis, (size, side))| {
            let window = self.window.axis(axis, input.len());
            let reach = window.reach(*side)?;
            let extra = self.output_padding.get(axis).copied().unwrap_or(0);
            if extra > 0 && extra >= window.stride.max(window.dilation) {
                return Err(format!(
                    "output_padding {extra} must be smaller than the stride or the dilation"
                ));
            }
            let whole = size
                .saturating_sub(1)
                .checked_mul(window.stride)
                .and_then(|s| s.checked_add(reach))
                .and_then(|s| s.checked_add(extra));
            let cut = window.pads[0].checked_add(window.pads[1]);
            whole
                .zip(cut)
                .and_then(|(whole, cut)| whole.checked_sub(cut))
                .filter(|size| *size > 0)
                .ok_or_else(|| "the pads leave nothing of the output".to_owned())
        })
        .collect()
    }
}

/// The rule for one, two and three spatial axes.
const RULES: [&str; 3] = [
    "n (g i) w , (g i) o kw , (g o)? -> n (g o) x",
    ConvTranspose::RULE,
    "n (g i) d h w , (g i) o kd kh kw , (g o)? -> n (g o) z y x",
];

impl Operator for ConvTranspose {
    const NAME: &'static str = "ConvTranspose";
    const RULE: &'static str = "n (g i) h w , (g i) o kh kw , (g o)? -> n (g o) y x";
    const ARITY: Arity = Arity { least: 2, most: 3 };

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(ConvTranspose {
            groups: attributes.size("group", 1, 1)?,
            window: Window::read(attributes)?,
            output_padding: read_sizes(attributes, "output_padding", 0)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        attributes.put_size("group", self.groups, 1);
        self.window.write(attributes);
        write_sizes(attributes, "output_padding", &self.output_padding);
    }

    fn role(&self, slot: usize) -> Role {
        [Role::Activation, Role::Weight, Role::Shift][slot]
    }

    fn fan_in(&self, _slot: usize, sizes: &[usize]) -> usize {
        sizes[0] / self.groups * sizes[2..].iter().product::<usize>()
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let (channels, spatial) = image_sizes(inputs[0])?;
        let ([in_c, per_group], kernel) = filter_sizes(inputs[1], spatial.len())?;
        if channels != in_c {
            return Err(format!(
                "the input has {channels} channels, and the weight reads {in_c}"
            ));
        }
        if self.groups == 0 || in_c % self.groups != 0 {
            return Err(format!(
                "{in_c} channels cannot be divided into {} groups",
                self.groups
            ));
        }
        let out_c = per_group
            .checked_mul(self.groups)
            .ok_or("the output has absurdly many channels")?;
        check_bias(inputs.get(2), out_c)?;
        let output = self.spread(&spatial, &kernel)?;
        Ok(vec![inputs[0].with_inner(&image_of(out_c, output))])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let weight = rule.input_shape(1).at(1);
        let sizes = [
            ("g", self.groups),
            ("i", weight[0] / self.groups),
            ("o", weight[1]),
        ];
        rule.notation(RULES[weight.len() - 3], &sizes);
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let channels = grown.output(0).at(1)[1];
        let per_group = grown.input(1).at(1)[1];
        ConvTranspose {
            groups: channels / per_group,
            ..self.clone()
        }
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        let per_input: usize = inputs[1].at(1)[1..].iter().product();
        super::elements(inputs[0]).saturating_mul(2 * per_input as u64)
    }

    fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
        filter_layouts(inputs)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let [image, weight, output] = [&site.inputs[0], &site.inputs[1], &site.outputs[0]];
        let shape = volume_shape(output, weight, image, &self.window, self.groups);
        Box::new(ConvTransposeKernel(shape))
    }

    fn nature(&self) -> Nature {
        Nature::Other
    }
}

/// The convolution that leads back: from this operator's output to its input.
struct ConvTransposeKernel(VolumeShape);

impl<T: Real> Kernel<T> for ConvTransposeKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let y = &mut *outputs[0];
        volume::backward_data(cx, &self.0, inputs[0], inputs[1], y, false);
        if let Some(bias) = inputs.get(2) {
            volume::add_bias(bias, y);
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        let s = &self.0;
        if let Some(dw) = &mut pass.input_gradients[1] {
            volume::backward_weight(cx, s, dy, pass.inputs[0], dw.data, dw.accumulate);
        }
        if let Some(Some(db)) = pass.input_gradients.get_mut(2) {
            let channels = s.plane.in_c;
            let rows = dy.len() / channels;
            conv::backward_bias(cx, rows, channels, dy, db.data, db.accumulate);
        }
        if let Some(dx) = &mut pass.input_gradients[0] {
            let finish = conv::Finish::default();
            volume::forward(cx, s, dy, pass.inputs[1], finish, dx.data, dx.accumulate);
        }
    }
}
