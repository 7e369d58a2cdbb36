//! Pooling over windows and over whole images.

use net2net_kernels::pool::{self, PoolShape};
use net2net_kernels::{Context, Real};

use super::window::{Window, image_of, image_sizes, read_sizes, write_sizes};
use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Backward, Kernel, Layout, Layouts, Mode, Needs, Site};
use crate::graph::Shape;

/// `MaxPool(x [N, c, h, w]) -> [N, c, y, x]`; padding never wins. The same of signals and volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// Size of the window along each spatial axis: (height, width) for images.
    pub kernel: Vec<usize>,
    /// Strides, pads and dilations.
    pub window: Window,
    /// Whether a window that ends beyond the padding counts too, if it begins before.
    pub ceil_mode: bool,
}

/// `AveragePool(x [N, c, h, w]) -> [N, c, y, x]`; the same of signals and volumes. What lies
/// beyond the padding never counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AveragePool {
    /// Size of the window along each spatial axis: (height, width) for images.
    pub kernel: Vec<usize>,
    /// Strides, pads and dilations.
    pub window: Window,
    /// Whether padding counts as zeros, or not at all; PyTorch's default is that it counts.
    pub count_include_pad: bool,
    /// Whether a window that ends beyond the padding counts too, if it begins before.
    pub ceil_mode: bool,
}

/// `GlobalAveragePool(x [N, c, h, w]) -> [N, c, 1, 1]`; the same of signals and volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalAveragePool;

impl MaxPool {
    /// A pool whose windows all lie within the padding.
    pub fn new(kernel: impl Into<Vec<usize>>, window: Window) -> Self {
        MaxPool {
            kernel: kernel.into(),
            window,
            ceil_mode: false,
        }
    }
}

impl AveragePool {
    /// A pool whose windows all lie within the padding, which does not count.
    pub fn new(kernel: impl Into<Vec<usize>>, window: Window) -> Self {
        AveragePool {
            kernel: kernel.into(),
            window,
            count_include_pad: false,
            ceil_mode: false,
        }
    }
}

/// The rule for one, two and three spatial axes.
const RULES: [&str; 3] = ["n c w -> n c x", MaxPool::RULE, "n c d h w -> n c z y x"];

/// What the rules, layouts and roles of all pools have in common.
macro_rules! pool_parts {
    () => {
        pool_parts!("n c h w -> n c y x", |_rule, _pixels| ());
    };
    ($text:literal, |$rule:ident, $pixels:ident| $along:expr) => {
        const RULE: &'static str = $text;
        const ARITY: Arity = Arity::exactly(1);

        fn role(&self, _: usize) -> Role {
            Role::Activation
        }

        fn fan_in(&self, _: usize, _: &[usize]) -> usize {
            1
        }

        fn axes(&self, $rule: &mut AxisRule<'_>) {
            let rule = RULES[$rule.input_shape(0).rank() - 3];
            for (name, $pixels) in $rule.notation(rule, &[]) {
                if matches!(name.as_str(), "d" | "h" | "w") {
                    $along;
                }
            }
        }

        fn resize(&self, _: &Grown<'_>) -> Self {
            self.clone()
        }

        fn layouts(&self, _: &[Layout], inputs: &[&Shape], _: &[&Shape]) -> Layouts {
            Layouts::pass_through(&[Layout::channels_last(inputs[0].rank())])
        }

        fn nature(&self) -> Nature {
            Nature::Other
        }
    };
}

/// Reads the size of a pool's window.
fn read_kernel(attributes: &mut Attributes) -> Result<Vec<usize>, String> {
    let kernel = read_sizes(attributes, "kernel_shape", 1)?;
    if kernel.is_empty() {
        return Err("attribute `kernel_shape` is missing".to_owned());
    }
    Ok(kernel)
}

/// The output of a pool, whose window must cover some of the image wherever it stands.
fn infer_window(
    input: &Shape,
    kernel: &[usize],
    window: &Window,
    ceil: bool,
) -> Result<Vec<Shape>, String> {
    let (channels, sizes) = image_sizes(input)?;
    if kernel.iter().fold(1, |n: usize, k| n.saturating_mul(*k)) > 1 << 16 {
        return Err(format!(
            "a window of {kernel:?} is too large; at most 65,536 pixels"
        ));
    }
    let output = window.slide(&sizes, kernel, ceil)?;
    for (axis, size) in sizes.iter().enumerate() {
        let along = window.axis(axis, sizes.len());
        let reach = along.reach(kernel[axis])?;
        // A dilated window that begins in the padding can step over an image narrower than a step.
        let steps_over = along.pads[0] > 0 && along.dilation > *size;
        if along.pads.iter().any(|pad| *pad >= reach) || steps_over {
            return Err("a window must not lie in the padding alone; pads must be smaller".into());
        }
    }
    Ok(vec![input.with_inner(&image_of(channels, output))])
}

fn window_cost(outputs: &[&Shape], kernel: &[usize]) -> u64 {
    super::elements(outputs[0]) * kernel.iter().product::<usize>() as u64
}

impl Operator for MaxPool {
    const NAME: &'static str = "MaxPool";

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(MaxPool {
            kernel: read_kernel(attributes)?,
            window: Window::read(attributes)?,
            ceil_mode: attributes.flag("ceil_mode", false)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        write_sizes(attributes, "kernel_shape", &self.kernel);
        self.window.write(attributes);
        attributes.put_flag("ceil_mode", self.ceil_mode, false);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        infer_window(inputs[0], &self.kernel, &self.window, self.ceil_mode)
    }

    fn cost(&self, _: &[&Shape], outputs: &[&Shape]) -> u64 {
        window_cost(outputs, &self.kernel)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        Box::new(PoolKernel::<T>::new(
            site,
            &self.kernel,
            &self.window,
            How::Max,
        ))
    }

    pool_parts!();
}

impl Operator for AveragePool {
    const NAME: &'static str = "AveragePool";

    fn read(attributes: &mut Attributes) -> Result<Self, String> {
        Ok(AveragePool {
            kernel: read_kernel(attributes)?,
            window: Window::read(attributes)?,
            count_include_pad: attributes.flag("count_include_pad", false)?,
            ceil_mode: attributes.flag("ceil_mode", false)?,
        })
    }

    fn write(&self, attributes: &mut Attributes) {
        write_sizes(attributes, "kernel_shape", &self.kernel);
        self.window.write(attributes);
        attributes.put_flag("count_include_pad", self.count_include_pad, false);
        attributes.put_flag("ceil_mode", self.ceil_mode, false);
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        infer_window(inputs[0], &self.kernel, &self.window, self.ceil_mode)
    }

    fn cost(&self, _: &[&Shape], outputs: &[&Shape]) -> u64 {
        window_cost(outputs, &self.kernel)
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let how = How::Average(self.count_include_pad);
        Box::new(PoolKernel::<T>::new(site, &self.kernel, &self.window, how))
    }

    pool_parts!();
}

/// What is taken of a window; a mean says whether padding counts.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Max,
    Average(bool),
}

/// One pooling of images.
struct Stage {
    shape: PoolShape,
    /// Where in its window each maximum was found; empty for means and in evaluation.
    index: Vec<u16>,
}

impl Stage {
    fn forward<T: Real>(&mut self, cx: &mut Context<T>, how: How, x: &[T], y: &mut [T]) {
        let index = (!self.index.is_empty()).then_some(&mut self.index[..]);
        match how {
            How::Max => pool::max_forward(cx, &self.shape, x, y, index),
            How::Average(pad) => pool::average_forward(cx, &self.shape, pad, x, y),
        }
    }

    fn backward<T: Real>(&self, cx: &mut Context<T>, how: How, dy: &[T], dx: &mut [T], add: bool) {
        match how {
            How::Max => pool::max_backward(cx, &self.shape, &self.index, dy, dx, add),
            How::Average(pad) => pool::average_backward(cx, &self.shape, pad, dy, dx, add),
        }
    }
}

/// A pooling of images, and for volumes a second one of what the first leaves along the depth:
/// maxima of maxima are maxima, and every window counts equally many elements of each plane.
struct PoolKernel<T> {
    how: How,
    first: Stage,
    second: Option<Stage>,
    /// What the first leaves to the second, and its gradient.
    between: Vec<T>,
}

impl<T: Real> PoolKernel<T> {
    fn new(site: &Site<'_>, kernel: &[usize], window: &Window, how: How) -> Self {
        let (input, output) = (&site.inputs[0], &site.outputs[0]);
        let axes = kernel.len();
        let keep = how == How::Max && site.mode == Mode::Train;
        let stage = |shape: PoolShape| Stage {
            index: vec![0; if keep { shape.output_len() } else { 0 }],
            shape,
        };
        let flat = |axis: Option<usize>| match axis {
            Some(axis) => (
                input[2 + axis],
                output[2 + axis],
                kernel[axis],
                window.axis(axis, axes),
            ),
            None => (1, 1, 1, Window::default().axis(0, 1)),
        };
        let shape = |batch, rows: Option<usize>, columns: Option<usize>| {
            let (rows, columns) = (flat(rows), flat(columns));
            PoolShape {
                batch,
                in_h: rows.0,
                in_w: columns.0,
                c: input[1],
                out_h: rows.1,
                out_w: columns.1,
                kernel: [rows.2, columns.2],
                stride: [rows.3.stride, columns.3.stride],
                dilation: [rows.3.dilation, columns.3.dilation],
                pads: [
                    rows.3.pads[0],
                    columns.3.pads[0],
                    rows.3.pads[1],
                    columns.3.pads[1],
                ],
            }
        };
        let depth = axes == 3;
        let batch = if depth { input[0] * input[2] } else { input[0] };
        let first = shape(batch, axes.checked_sub(2), Some(axes - 1));
        let second = depth.then(|| {
            let pixels = first.out_h * first.out_w;
            PoolShape {
                in_w: pixels,
                out_w: pixels,
                ..shape(input[0], Some(0), None)
            }
        });
        let between = second.map_or(0, |_| first.output_len());
        PoolKernel {
            how,
            first: stage(first),
            second: second.map(stage),
            between: vec![T::zero(); between],
        }
    }
}

impl<T: Real> Kernel<T> for PoolKernel<T> {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let (x, y) = (inputs[0], &mut *outputs[0]);
        match &mut self.second {
            None => self.first.forward(cx, self.how, x, y),
            Some(second) => {
                self.first.forward(cx, self.how, x, &mut self.between);
                second.forward(cx, self.how, &self.between, y);
            }
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        let Some(dx) = &mut pass.input_gradients[0] else {
            return;
        };
        let dy = match &self.second {
            None => dy,
            Some(second) => {
                second.backward(cx, self.how, dy, &mut self.between, false);
                &self.between
            }
        };
        self.first
            .backward(cx, self.how, dy, dx.data, dx.accumulate);
    }
}

impl Operator for GlobalAveragePool {
    const NAME: &'static str = "GlobalAveragePool";

    fn read(_: &mut Attributes) -> Result<Self, String> {
        Ok(GlobalAveragePool)
    }

    fn write(&self, _: &mut Attributes) {}

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let (channels, sizes) = image_sizes(inputs[0])?;
        let ones = vec![1; sizes.len()];
        Ok(vec![inputs[0].with_inner(&image_of(channels, ones))])
    }

    fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        super::elements(inputs[0])
    }

    fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let sizes = &site.inputs[0];
        Box::new(GlobalAverageKernel {
            batch: sizes[0],
            pixels: sizes[2..].iter().product(),
            channels: sizes[1],
        })
    }

    pool_parts!(
        "n c h w -> n c y x, h and w by equal copies",
        |rule, pixels| rule.mean_over(pixels)
    );
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
