//! The seam between operators and the engine: a compiled node.

use net2net_kernels::streamed::RowSource;
use net2net_kernels::{Context, Real};

use super::layout::Layout;

/// What a program is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Batch statistics, dropout, and everything kept that the backward pass reads.
    Train,
    /// Running statistics and no backward pass.
    Evaluate,
}

/// Where a kernel is compiled: static sizes and layouts.
#[derive(Clone, Debug)]
pub struct Site<'a> {
    /// The sizes of the inputs, axes in the graph's order.
    pub inputs: &'a [Vec<usize>],
    /// The sizes of the outputs, axes in the graph's order.
    pub outputs: &'a [Vec<usize>],
    /// How the outputs are stored.
    pub output_layouts: &'a [Layout],
    /// Training or evaluation.
    pub mode: Mode,
}

/// What the backward pass of a kernel reads of the forward pass, so that it is kept till then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The inputs.
    pub inputs: bool,
    /// The outputs.
    pub outputs: bool,
}

/// A buffer for a gradient.
#[derive(Debug)]
pub struct Gradient<'a, T> {
    /// As long as the value.
    pub data: &'a mut [T],
    /// Whether to add to what is there, or to overwrite it.
    pub accumulate: bool,
}

impl<T: Real> Gradient<'_, T> {
    /// Adds or writes numbers that are there already.
    pub fn put(&mut self, fresh: &[T]) {
        if self.accumulate {
            for (total, x) in self.data.iter_mut().zip(fresh) {
                *total += *x;
            }
        } else {
            self.data.copy_from_slice(fresh);
        }
    }
}

/// One node's backward pass.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// The inputs, or empty slices where [`Needs`] did not ask for them.
    pub inputs: &'a [&'a [T]],
    /// The outputs, or empty slices where [`Needs`] did not ask for them.
    pub outputs: &'a [&'a [T]],
    /// The gradients of the loss with respect to the outputs.
    pub output_gradients: &'a [&'a [T]],
    /// Where to put those with respect to the inputs; `None` where nobody asks.
    pub input_gradients: &'a mut [Option<Gradient<'a, T>>],
}

/// A compiled node: owns what passes from its forward to its backward pass.
pub trait Kernel<T: Real>: Send {
    /// What the backward pass reads.
    fn needs(&self) -> Needs;

    /// Whether the backward pass reads the input of this slot, where it reads inputs at all.
    fn reads_again(&self, _slot: usize) -> bool {
        true
    }

    /// Whether the backward pass reads the output of this slot, where it reads outputs at all.
    fn reads_output_again(&self, _slot: usize) -> bool {
        true
    }

    /// Computes all outputs. Data is in the layouts of the site.
    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]);

    /// Whether [`Kernel::forward_streamed`] takes an input, which is a row-major matrix.
    fn streams(&self, _slot: usize) -> bool {
        false
    }

    /// [`Kernel::forward`] where one input is had a few rows at a time; its slice is empty.
    fn forward_streamed(
        &mut self,
        _cx: &mut Context<T>,
        _inputs: &[&[T]],
        _rows: &dyn RowSource<T>,
        _outputs: &mut [&mut [T]],
    ) {
        debug_assert!(false, "only kernels that stream are asked to");
    }

    /// Computes the gradients that are asked for, after `forward` on the same inputs.
    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>);

    /// Moves the running statistic in an input slot towards that of the last forward pass.
    /// Only slots of the roles `RunningMean` and `RunningVariance` are asked.
    fn update(&mut self, _slot: usize, _running: &mut [T]) {}

    /// Sets the seed of the next forward pass; kernels without randomness ignore it.
    fn reseed(&mut self, _seed: u64) {}
}
