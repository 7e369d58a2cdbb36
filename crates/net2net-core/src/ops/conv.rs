//! Convolution along one to three axes, grouped, strided, padded and dilated.

use net2net_kernels::conv::{self, ConvShape, Finish, VolumeShape, volume};
use net2net_kernels::{Context, Real};

use super::conv_norm::ConvNorm;
use super::window::{Window, image_of, image_sizes};
use super::{Arity, Attributes, BatchNorm, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Mode, Needs, Site, Tail};
use crate::graph::Shape;

/// `Conv(x [N, g·i, h, w], weight [g·o, i, kh, kw], bias [g·o]?) -> [N, g·o, y, x]`, as in ONNX;
/// the same of signals `[N, g·i, w]` and volumes `[N, g·i, d, h, w]`.
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

/// The rule for one, two and three spatial axes.
const RULES: [&str; 3] = [
    "n (g i) w , (g o) i kw , (g o)? -> n (g o) x",
    Conv::RULE,
    "n (g i) d h w , (g o) i kd kh kw , (g o)? -> n (g o) z y x",
];

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
        let (channels, spatial) = image_sizes(inputs[0])?;
        let (sides, kernel) = filter_sizes(inputs[1], spatial.len())?;
        let [out_c, per_group] = sides;
        if Some(channels) != per_group.checked_mul(self.groups) {
            return Err(format!(
                "the input has {channels} channels, and the weight reads {per_group} in each of {} groups",
                self.groups
            ));
        }
        if out_c % self.groups != 0 {
            return Err(format!(
                "{out_c} output channels cannot be divided into {} groups",
                self.groups
            ));
        }
        check_bias(inputs.get(2), out_c)?;
        let output = self.window.slide(&spatial, &kernel, false)?;
        Ok(vec![inputs[0].with_inner(&image_of(out_c, output))])
    }

    fn axes(&self, rule: &mut AxisRule<'_>) {
        let weight = rule.input_shape(1).at(1);
        let sizes = [
            ("g", self.groups),
            ("i", weight[1]),
            ("o", weight[0] / self.groups),
        ];
        rule.notation(RULES[weight.len() - 3], &sizes);
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
        filter_layouts(inputs)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let [image, weight, output] = [&site.inputs[0], &site.inputs[1], &site.outputs[0]];
        let shape = volume_shape(image, weight, output, &self.window, self.groups);
        Box::new(ConvKernel(shape))
    }

    fn nature(&self) -> Nature {
        Nature::Linear
    }
}

impl Conv {
    /// The kernel with a batch normalisation, whose four parameters come behind its own inputs, and what
    /// follows; then a residual, if there is one. Where it is learnt there is a normalisation, `before` is the
    /// tail of a maker of the input that left that to this kernel, and [`ConvNorm`] says what the outputs are.
    pub(crate) fn finished_kernel<T: Real>(
        &self,
        norm: Option<&BatchNorm>,
        tail: Tail,
        before: Option<Tail>,
        site: &Site<'_>,
    ) -> Box<dyn Kernel<T>> {
        let [image, weight, output] = [&site.inputs[0], &site.inputs[1], &site.outputs[0]];
        let shape = volume_shape(image, weight, output, &self.window, self.groups);
        if let (Mode::Train, Some(norm)) = (site.mode, norm) {
            let biased = site.inputs.len() > 2;
            return Box::new(ConvNorm::new(shape, biased, norm, tail, before));
        }
        Box::new(FinishedConv {
            shape,
            epsilon: norm.map(|norm| norm.epsilon),
            tail,
        })
    }
}

/// The two channel sizes of a filter, and its spatial ones.
pub(super) fn filter_sizes(
    weight: &Shape,
    spatial: usize,
) -> Result<([usize; 2], Vec<usize>), String> {
    match weight.to_fixed().as_deref() {
        Some([a, b, kernel @ ..]) if kernel.len() == spatial => Ok(([*a, *b], kernel.to_vec())),
        _ => Err(format!(
            "the weight must have {} axes, not {weight}",
            spatial + 2
        )),
    }
}

pub(super) fn check_bias(bias: Option<&&Shape>, outputs: usize) -> Result<(), String> {
    match bias {
        Some(bias) if **bias != Shape::fixed(&[outputs]) => {
            Err(format!("the bias must have shape [{outputs}], not {bias}"))
        }
        _ => Ok(()),
    }
}

/// Channels last, filters with channels last, a bias as it is.
pub(super) fn filter_layouts(inputs: &[&Shape]) -> Layouts {
    let image = Layout::channels_last(inputs[0].rank());
    let mut wanted = vec![image.clone(), Layout::filter(inputs[1].rank())];
    wanted.extend(inputs.get(2).map(|_| Layout::row_major(1)));
    Layouts {
        inputs: wanted,
        outputs: vec![image],
    }
}

/// The sizes of a convolution from `image` to `output`; axes that are missing have size 1.
pub(super) fn volume_shape(
    image: &[usize],
    weight: &[usize],
    output: &[usize],
    window: &Window,
    groups: usize,
) -> VolumeShape {
    let axes = image.len() - 2;
    let missing = 3 - axes;
    let axis = |place: usize| {
        let own = place.checked_sub(missing);
        let size = |sizes: &[usize]| own.map_or(1, |axis| sizes[2 + axis]);
        let window = own.map_or_else(|| Window::default().axis(0, 1), |a| window.axis(a, axes));
        (size(image), size(output), size(weight), window)
    };
    let [depth, rows, columns] = [axis(0), axis(1), axis(2)];
    VolumeShape {
        plane: ConvShape {
            batch: image[0],
            in_h: rows.0,
            in_w: columns.0,
            in_c: image[1],
            out_h: rows.1,
            out_w: columns.1,
            out_c: output[1],
            kernel: [rows.2, columns.2],
            stride: [rows.3.stride, columns.3.stride],
            dilation: [rows.3.dilation, columns.3.dilation],
            pads: [
                rows.3.pads[0],
                columns.3.pads[0],
                rows.3.pads[1],
                columns.3.pads[1],
            ],
            groups,
        },
        in_d: depth.0,
        out_d: depth.1,
        kernel_d: depth.2,
        stride_d: depth.3.stride,
        dilation_d: depth.3.dilation,
        pad_d: depth.3.pads[0],
    }
}

struct ConvKernel(VolumeShape);

impl<T: Real> Kernel<T> for ConvKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let finish = Finish {
            shift: inputs.get(2).copied(),
            ..Finish::default()
        };
        volume::forward(cx, &self.0, inputs[0], inputs[1], finish, outputs[0], false);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        let s = &self.0;
        if let Some(dw) = &mut pass.input_gradients[1] {
            volume::backward_weight(cx, s, pass.inputs[0], dy, dw.data, dw.accumulate);
        }
        if let Some(Some(db)) = pass.input_gradients.get_mut(2) {
            let (rows, channels) = (s.output_pixels(), s.plane.out_c);
            conv::backward_bias(cx, rows, channels, dy, db.data, db.accumulate);
        }
        if let Some(dx) = &mut pass.input_gradients[0] {
            volume::backward_data(cx, s, dy, pass.inputs[1], dx.data, dx.accumulate);
        }
    }
}

struct FinishedConv {
    shape: VolumeShape,
    /// That of the batch normalisation, if there is one.
    epsilon: Option<f64>,
    tail: Tail,
}

impl<T: Real> Kernel<T> for FinishedConv {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let [x, w, rest @ ..] = inputs else {
            return;
        };
        let (rest, residual) = match rest {
            [rest @ .., residual] if self.tail.residual => (rest, Some(*residual)),
            rest => (rest, None),
        };
        let (mut scale, mut shift) = (Vec::new(), Vec::new());
        let mut finish = Finish {
            scale: None,
            shift: rest.first().copied(),
            residual,
            rectified: self.tail.relu,
        };
        if let (Some(epsilon), [bias @ .., gamma, beta, mean, variance]) = (self.epsilon, rest) {
            scale.extend(gamma.iter().zip(*variance).map(|(gamma, variance)| {
                *gamma * T::from_f64(1.0 / ((*variance).to_f64() + epsilon).sqrt())
            }));
            for (channel, scale) in scale.iter().enumerate() {
                let bias = bias.first().map_or(T::zero(), |bias| bias[channel]);
                shift.push(beta[channel] + (bias - mean[channel]) * *scale);
            }
            (finish.scale, finish.shift) = (Some(&scale[..]), Some(&shift[..]));
        }
        volume::forward(cx, &self.shape, x, w, finish, outputs[0], false);
    }

    fn backward(&mut self, _: &mut Context<T>, _: &mut Backward<'_, T>) {
        debug_assert!(false, "nothing is learnt in evaluation");
    }
}
