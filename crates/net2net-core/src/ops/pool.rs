//! Pooling over windows and over whole images.

use net2net_kernels::pool::{self, PoolShape};
use net2net_kernels::{Context, Real};

use super::conv::image_sizes;
use super::window::Window;
use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Mode, Needs, Site};
use crate::graph::Shape;

/// `MaxPool(x [N, c, h, w]) -> [N, c, y, x]`; padding never wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// Size of the window, (height, width).
    pub kernel: [usize; 2],
    /// Strides, pads and dilations.
    pub window: Window,
}

/// `AveragePool(x [N, c, h, w]) -> [N, c, y, x]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AveragePool {
    /// Size of the window, (height, width).
    pub kernel: [usize; 2],
    /// Strides and pads; ONNX has no dilations here before opset 19, nor have we.
    pub window: Window,
    /// Whether padding counts as zeros, or not at all; PyTorch's default is that it counts.
    pub count_include_pad: bool,
}

/// `GlobalAveragePool(x [N, c, h, w]) -> [N, c, 1, 1]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalAveragePool;

/// What the rules, layouts and roles of all pools have in common.
macro_rules! pool_parts {
    () => {
        fn role(&self, _: usize) -> Role {
            Role::Activation
        }

        fn fan_in(&self, _: usize, _: &[usize]) -> usize {
            1
        }

        fn axes(&self, rule: &mut AxisRule<'_>) {
            rule.notation(Self::RULE, &[]);
        }

        fn resize(&self, _: &Grown<'_>) -> Self {
            self.clone()
        }

        fn layouts(&self, _: &[Layout], _: &[&Shape], _: &[&Shape]) -> Layouts {
            Layouts::pass_through(&[Layout::channels_last(4)])
        }

        fn nature(&self) -> Nature {
            Nature::Other
        }
    };
}

/// Reads the window of a pool, whose kernel must cover some of the image wherever it stands.
fn read_window(attributes: &mut Attributes) -> Result<([usize; 2], Window), String> {
    let kernel = attributes.sizes("kernel_shape", [0, 0], 1)?;
    let window = Window::read(attributes)?;
    if kernel == [0, 0] {
        return Err("attribute `kernel_shape` is missing".to_owned());
    }
    Ok((kernel, window))
}

fn infer_window(input: &Shape, kernel: [usize; 2], window: &Window) -> Result<Vec<Shape>, String> {
    let [channels, h, w] = image_sizes(input)?;
    if kernel[0].saturating_mul(kernel[1]) > 1 << 16 {
        return Err(format!(
            "a window of {kernel:?} is too large; at most 65,536 pixels"
        ));
    }
    let [y, x] = window.slide([h, w], kernel)?;
    for (axis, size) in [h, w].into_iter().enumerate() {
        let dilation = window.dilations[axis];
        let reach = (kernel[axis] - 1)
            .saturating_mul(dilation)
            .saturating_add(1);
        let padded = window.pads[axis] > 0;
        // A dilated window that begins in the padding can step over an image narrower than a step.
        let steps_over = padded && dilation > size;
        if window.pads[axis] >= reach || window.pads[axis + 2] >= reach || steps_over {
            return Err("a window must not lie in the padding alone; pads must be smaller".into());
        }
    }
    Ok(vec![input.with_inner(&[channels, y, x])])
}

fn pool_shape(site: &Site<'_>, kernel: [usize; 2], window: &Window) -> PoolShape {
    let (input, output) = (&site.inputs[0], &site.outputs[0]);
    PoolShape {
        batch: input[0],
        in_h: input[2],
        in_w: input[3],
        c: input[1],
        out_h: output[2],
        out_w: output[3],
        kernel,
        stride: window.strides,
        dilation: window.dilations,
        pads: window.pads,
    }
}

fn write_kernel(attributes: &mut Attributes, kernel: [usize; 2]) {
    attributes.put_sizes("kernel_shape", kernel, [0, 0]);
}

fn window_cost(outputs: &[&Shape], kernel: [usize; 2]) -> u64 {
    super::elements(outputs[0]) * (kernel[0] * kernel[1]) as u64
}

impl Operator for MaxPool {
    const NAME: &'static str = "MaxPool";
    const RULE: &'static str = "n c h w -> n c y x";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let (kernel, window) = read_window(attributes)?;
        Ok(MaxPool { kernel, window })
    }

    fn write(&self, attributes: &mut Attributes) {
        write_kernel(attributes, self.kernel);
        self.window.write(attributes);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        infer_window(inputs[0], self.kernel, &self.window)
    }

    fn cost(&self, _: &[&Shape], outputs: &[&Shape]) -> u64 {
        window_cost(outputs, self.kernel)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let shape = pool_shape(site, self.kernel, &self.window);
        let kept = if site.mode == Mode::Train {
            shape.output_len()
        } else {
            0
        };
        Box::new(MaxPoolKernel {
            shape,
            index: vec![0; kept],
        })
    }

    pool_parts!();
}

struct MaxPoolKernel {
    shape: PoolShape,
    /// Where in its window each maximum was found; empty in evaluation.
    index: Vec<u16>,
}

impl<T: Real> Kernel<T> for MaxPoolKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let index = (!self.index.is_empty()).then_some(&mut self.index[..]);
        pool::max_forward(cx, &self.shape, inputs[0], outputs[0], index);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        if let Some(dx) = &mut pass.input_gradients[0] {
            pool::max_backward(cx, &self.shape, &self.index, dy, dx.data, dx.accumulate);
        }
    }
}

impl Operator for AveragePool {
    const NAME: &'static str = "AveragePool";
    const RULE: &'static str = "n c h w -> n c y x";
    const ARITY: Arity = Arity::exactly(1);

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        let (kernel, window) = read_window(attributes)?;
        let count_include_pad = attributes.flag("count_include_pad", false)?;
        Ok(AveragePool {
            kernel,
            window,
            count_include_pad,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        write_kernel(attributes, self.kernel);
        self.window.write(attributes);
        attributes.put_flag("count_include_pad", self.count_include_pad, false);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        if self.window.dilations != [1, 1] {
            return Err("dilations of an average pool are not supported".to_owned());
        }
        infer_window(inputs[0], self.kernel, &self.window)
    }

    fn cost(&self, _: &[&Shape], outputs: &[&Shape]) -> u64 {
        window_cost(outputs, self.kernel)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        Box::new(AveragePoolKernel {
            shape: pool_shape(site, self.kernel, &self.window),
            count_include_pad: self.count_include_pad,
        })
    }

    pool_parts!();
}

struct AveragePoolKernel {
    shape: PoolShape,
    count_include_pad: bool,
}

impl<T: Real> Kernel<T> for AveragePoolKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        pool::average_forward(
            cx,
            &self.shape,
            self.count_include_pad,
            inputs[0],
            outputs[0],
        );
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        if let Some(dx) = &mut pass.input_gradients[0] {
            let (shape, pad) = (&self.shape, self.count_include_pad);
            pool::average_backward(cx, shape, pad, dy, dx.data, dx.accumulate);
        }
    }
}

impl Operator for GlobalAveragePool {
    const NAME: &'static str = "GlobalAveragePool";
    const RULE: &'static str = "n c h w -> n c y x";
    const ARITY: Arity = Arity::exactly(1);

    fn read(_: &mut Attributes) -> Result<Self, String> {
        Ok(GlobalAveragePool)
    }

    fn write(&self, _: &mut Attributes) {}

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [channels, _, _] = image_sizes(inputs[0])?;
        Ok(vec![inputs[0].with_inner(&[channels, 1, 1])])
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        super::elements(inputs[0])
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let sizes = &site.inputs[0];
        Box::new(GlobalAverageKernel {
            batch: sizes[0],
            pixels: sizes[2] * sizes[3],
            channels: sizes[1],
        })
    }

    pool_parts!();
}

struct GlobalAverageKernel {
    batch: usize,
    pixels: usize,
    channels: usize,
}

impl<T: Real> Kernel<T> for GlobalAverageKernel {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let (n, p, c) = (self.batch, self.pixels, self.channels);
        pool::global_average_forward(cx, n, p, c, inputs[0], outputs[0]);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let (n, p, c) = (self.batch, self.pixels, self.channels);
        let dy = pass.output_gradients[0];
        if let Some(dx) = &mut pass.input_gradients[0] {
            pool::global_average_backward(cx, n, p, c, dy, dx.data, dx.accumulate);
        }
    }
}
