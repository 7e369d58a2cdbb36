//! A compiled graph: kernels in a line over planned memory.

use net2net_kernels::streamed::RowSource;
use net2net_kernels::{Context, memory};
use thiserror::Error;

use super::kernel::{Backward, Gradient, Mode};
use super::lower::{Buffer, Home, Lowered, Step, lower};
use super::memory::{Assignment, Life, assign};
use super::parameters::Parameters;
use super::precision::Precision;
use crate::graph::{Graph, GraphError, Source, Value};
use crate::weights::WeightsError;

/// Programs of fewer bytes are not compared with the memory that there is.
const LARGE: usize = 1 << 28;

/// Why a graph cannot be compiled or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The graph is not valid.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The weights do not belong to the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The program would need more memory than can be addressed or than there is.
    #[error(
        "`{graph}` with {batch} samples at once would need more memory than there is: what `{largest}` \
         makes of them has {numbers} numbers; use fewer samples (--samples, or a smaller batch)"
    )]
    TooLarge {
        /// The graph.
        graph: String,
        /// The batch.
        batch: usize,
        /// The value that is largest.
        largest: String,
        /// How many numbers it has for the batch.
        numbers: usize,
    },
    /// A batch without samples.
    #[error("a batch must hold at least one sample")]
    EmptyBatch,
    /// Threads could not be started.
    #[error("could not start {threads} threads: {why}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        why: String,
    },
    /// An input of a wrong length.
    #[error("input `{name}` holds {found} numbers, and the batch needs {expected}")]
    Input {
        /// The input.
        name: String,
        /// Given.
        found: usize,
        /// Needed.
        expected: usize,
    },
}

/// What a program keeps in memory, in bytes, known before its first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Activations and their gradients, sharing slots.
    pub planned: usize,
    /// The same without sharing.
    pub unshared: usize,
}

/// One contribution of the backward pass to a buffer's gradient.
#[derive(Clone, Copy, Debug)]
enum Target {
    Nobody,
    Planned {
        slot: usize,
        len: usize,
        accumulate: bool,
    },
    Parameter {
        index: usize,
        accumulate: bool,
    },
}

/// Kernels in a line over planned memory. Inputs of rank 3 and more are channels-last.
pub struct Program<T> {
    mode: Mode,
    buffers: Vec<Buffer>,
    steps: Vec<Step<T>>,
    outputs: Vec<usize>,
    lens: Vec<usize>,
    slots: Vec<Vec<T>>,
    /// The slot of each buffer in planned memory, and of its gradient.
    value_slot: Vec<usize>,
    gradient_slot: Vec<usize>,
    /// For each step, where its backward pass puts the gradients of its inputs.
    targets: Vec<Vec<Target>>,
    /// For each step, its outputs that nobody reads: no gradient comes back to them.
    unread: Vec<Vec<usize>>,
    memory: Memory,
}

/// Which parameters a forward pass reads, and when.
pub(super) struct Reads {
    pub(super) steps: Vec<StepReads>,
    /// Those that are outputs of the graph themselves, and read by no step.
    pub(super) unread_outputs: Vec<usize>,
}

impl Reads {
    /// All that are read, in the order in which they are first needed.
    pub(super) fn order(&self) -> Vec<usize> {
        let steps = self.steps.iter().flat_map(|step| &step.first);
        steps.chain(&self.unread_outputs).copied().collect()
    }
}

/// The parameters that a step is the first and the last to read.
#[derive(Clone, Default)]
pub(super) struct StepReads {
    pub(super) first: Vec<usize>,
    pub(super) last: Vec<usize>,
}

impl<T: Precision> Program<T> {
    /// Compiles what the graph's outputs need, for a fixed batch.
    ///
    /// Returns the program and how it wants the parameters stored; programs of one graph agree on
    /// that whatever their batch and mode.
    pub(super) fn compile(
        graph: &Graph,
        batch: usize,
        mode: Mode,
    ) -> Result<(Self, Vec<super::Layout>), CompileError> {
        graph.validate()?;
        if batch == 0 {
            return Err(CompileError::EmptyBatch);
        }
        let total = graph.values().iter().fold(0usize, |sum, value| {
            sum.saturating_add(value.shape.elements(batch))
        });
        if total.saturating_mul(2 * size_of::<T>()) > 1 << 46 {
            return Err(too_large(graph, batch));
        }
        let Lowered {
            buffers,
            steps,
            outputs,
            parameter_layouts,
        } = lower::<T>(graph, batch, mode);
        let lens: Vec<usize> = buffers.iter().map(|b| b.shape.elements(batch)).collect();
        let lives = lives(mode, &buffers, &steps, &outputs, &lens);
        let Assignment { slot_of, slots } = assign(&lives);
        let (value_slot, gradient_slot) = slot_of.split_at(buffers.len());
        let (value_slot, gradient_slot) = (value_slot.to_vec(), gradient_slot.to_vec());
        let bytes = |elements: usize| elements * size_of::<T>();
        let memory = Memory {
            planned: bytes(slots.iter().sum()),
            unshared: bytes(lives.iter().map(|life| life.len).sum()),
        };
        let slots = allocate(&slots).ok_or_else(|| too_large(graph, batch))?;
        let (targets, unread) = targets(&buffers, &steps, &outputs, &gradient_slot, &lens);
        let program = Program {
            mode,
            buffers,
            steps,
            outputs,
            lens,
            slots,
            value_slot,
            gradient_slot,
            targets,
            unread,
            memory,
        };
        Ok((program, parameter_layouts))
    }

    /// What it keeps in memory.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Sets the seeds of all random kernels, each its own.
    pub(super) fn reseed(&mut self, seed: u64) {
        for (index, step) in (0u64..).zip(&mut self.steps) {
            step.kernel
                .reseed(seed ^ (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
    }

    /// Runs all steps. Inputs are as long as the compiled batch needs.
    pub(super) fn forward(
        &mut self,
        cx: &mut Context<T>,
        parameters: &Parameters<T>,
        inputs: &[&[T]],
    ) {
        for at in 0..self.steps.len() {
            self.step(cx, at, &parameters.values, inputs, None);
        }
    }

    /// Runs one step; of the parameters' values only those that it reads must be there, but for the
    /// one that it is given rows of.
    pub(super) fn step(
        &mut self,
        cx: &mut Context<T>,
        at: usize,
        values: &[Vec<T>],
        inputs: &[&[T]],
        streamed: Option<&dyn RowSource<T>>,
    ) {
        let step = &mut self.steps[at];
        let mut taken: Vec<Vec<T>> = step
            .outputs
            .iter()
            .map(|b| std::mem::take(&mut self.slots[self.value_slot[*b]]))
            .collect();
        let read = |b: &usize| match self.buffers[*b].home {
            Home::Parameter(index) => &values[index][..],
            Home::Input(index) => inputs[index],
            Home::Planned => &self.slots[self.value_slot[*b]][..self.lens[*b]],
        };
        let sources: Vec<&[T]> = step.inputs.iter().map(read).collect();
        let mut results: Vec<&mut [T]> = taken
            .iter_mut()
            .zip(&step.outputs)
            .map(|(data, b)| &mut data[..self.lens[*b]])
            .collect();
        match streamed {
            None => step.kernel.forward(cx, &sources, &mut results),
            Some(rows) => step
                .kernel
                .forward_streamed(cx, &sources, rows, &mut results),
        }
        for (data, b) in taken.into_iter().zip(&step.outputs) {
            self.slots[self.value_slot[*b]] = data;
        }
    }

    /// For each of `count` parameters the only step that reads it, if that can do with a few rows at
    /// a time.
    pub(super) fn streamed(&self, count: usize) -> Vec<Option<usize>> {
        let mut readers: Vec<Vec<Option<usize>>> = vec![Vec::new(); count];
        for (at, step) in self.steps.iter().enumerate() {
            for (slot, b) in step.inputs.iter().enumerate() {
                if let Home::Parameter(index) = self.buffers[*b].home {
                    readers[index].push(step.kernel.streams(slot).then_some(at));
                }
            }
        }
        for b in &self.outputs {
            if let Home::Parameter(index) = self.buffers[*b].home {
                readers[index].push(None);
            }
        }
        let only = |readers: Vec<Option<usize>>| match readers[..] {
            [reader] => reader,
            _ => None,
        };
        readers.into_iter().map(only).collect()
    }

    /// When each of `count` parameters is read in a forward pass.
    pub(super) fn parameter_reads(&self, count: usize) -> Reads {
        let parameter = |b: &usize| match self.buffers[*b].home {
            Home::Parameter(index) => Some(index),
            Home::Input(_) | Home::Planned => None,
        };
        let outputs: Vec<usize> = self.outputs.iter().filter_map(parameter).collect();
        let mut last: Vec<Option<usize>> = vec![None; count];
        let mut steps = vec![StepReads::default(); self.steps.len()];
        for (at, step) in self.steps.iter().enumerate() {
            for index in step.inputs.iter().filter_map(parameter) {
                if last[index].replace(at).is_none() {
                    steps[at].first.push(index);
                }
            }
        }
        for (index, at) in last.iter().enumerate() {
            if let Some(at) = at.filter(|_| !outputs.contains(&index)) {
                steps[at].last.push(index);
            }
        }
        let mut unread_outputs: Vec<usize> = outputs;
        unread_outputs.retain(|index| last[*index].is_none());
        unread_outputs.sort_unstable();
        unread_outputs.dedup();
        Reads {
            steps,
            unread_outputs,
        }
    }

    /// An output of the last forward pass, row-major.
    pub(super) fn output<'a>(
        &'a self,
        index: usize,
        values: &'a [Vec<T>],
        inputs: &[&'a [T]],
    ) -> &'a [T] {
        let b = self.outputs[index];
        match self.buffers[b].home {
            Home::Parameter(index) => &values[index],
            Home::Input(index) => inputs[index],
            Home::Planned => &self.slots[self.value_slot[b]][..self.lens[b]],
        }
    }

    /// The first output and the place for its gradient, for the loss to read and write.
    pub(super) fn logits_and_gradient(&mut self) -> Option<(&[T], &mut [T])> {
        let b = self.outputs[0];
        let len = self.lens[b];
        if !self.buffers[b].needs_gradient || self.buffers[b].home != Home::Planned {
            return None;
        }
        let [value, gradient] = self
            .slots
            .get_disjoint_mut([self.value_slot[b], self.gradient_slot[b]])
            .ok()?;
        Some((&value[..len], &mut gradient[..len]))
    }

    /// Runs the steps backward after [`Program::forward`] on the same inputs, from the gradient
    /// that the loss left. Gradients of parameters are overwritten.
    pub(super) fn backward(
        &mut self,
        cx: &mut Context<T>,
        parameters: &mut Parameters<T>,
        inputs: &[&[T]],
    ) {
        debug_assert_eq!(self.mode, Mode::Train);
        // The loss reads the first output only; nothing flows back through the others.
        // A value may be declared as an output twice, and the loss's gradient must stay.
        let first = self.outputs[0];
        for b in self.outputs[1..].iter().filter(|b| **b != first) {
            if self.buffers[*b].needs_gradient && self.buffers[*b].home == Home::Planned {
                self.slots[self.gradient_slot[*b]][..self.lens[*b]].fill(T::zero());
            }
        }
        let returning = self.targets.iter().zip(&self.unread);
        for (step, (targets, unread)) in self.steps.iter_mut().zip(returning).rev() {
            if !self.buffers[step.outputs[0]].needs_gradient {
                continue;
            }
            for b in unread {
                self.slots[self.gradient_slot[*b]][..self.lens[*b]].fill(T::zero());
            }
            let mut taken: Vec<Vec<T>> = targets
                .iter()
                .map(|target| match *target {
                    Target::Nobody => Vec::new(),
                    Target::Planned { slot, .. } => std::mem::take(&mut self.slots[slot]),
                    Target::Parameter { index, .. } => {
                        std::mem::take(&mut parameters.gradients[index])
                    }
                })
                .collect();
            let needs = step.kernel.needs();
            let read = |b: &usize| match self.buffers[*b].home {
                Home::Parameter(index) => &parameters.values[index][..],
                Home::Input(index) => inputs[index],
                Home::Planned => &self.slots[self.value_slot[*b]][..self.lens[*b]],
            };
            let kept = |wanted: bool, b: &usize| if wanted { read(b) } else { &[][..] };
            let read_again =
                |(slot, b): (usize, &usize)| kept(needs.inputs && step.kernel.reads_again(slot), b);
            let inputs_kept: Vec<&[T]> = step.inputs.iter().enumerate().map(read_again).collect();
            let output_again = |(slot, b): (usize, &usize)| {
                kept(needs.outputs && step.kernel.reads_output_again(slot), b)
            };
            let outputs_kept = step.outputs.iter().enumerate().map(output_again);
            let gradient = |b: &usize| match self.buffers[*b].needs_gradient {
                true => &self.slots[self.gradient_slot[*b]][..self.lens[*b]],
                false => &[],
            };
            let mut gradients: Vec<Option<Gradient<'_, T>>> = taken
                .iter_mut()
                .zip(targets)
                .map(|(data, target)| match *target {
                    Target::Nobody => None,
                    Target::Planned {
                        len, accumulate, ..
                    } => Some(Gradient {
                        data: &mut data[..len],
                        accumulate,
                    }),
                    Target::Parameter { accumulate, .. } => Some(Gradient { data, accumulate }),
                })
                .collect();
            let mut pass = Backward {
                inputs: &inputs_kept,
                outputs: &outputs_kept.collect::<Vec<_>>(),
                output_gradients: &step.outputs.iter().map(gradient).collect::<Vec<_>>(),
                input_gradients: &mut gradients,
            };
            step.kernel.backward(cx, &mut pass);
            for (data, target) in taken.into_iter().zip(targets) {
                match *target {
                    Target::Nobody => {}
                    Target::Planned { slot, .. } => self.slots[slot] = data,
                    Target::Parameter { index, .. } => parameters.gradients[index] = data,
                }
            }
        }
    }

    /// Moves the running statistics towards those of the last forward pass.
    pub(super) fn update_running(&mut self, parameters: &mut Parameters<T>) {
        for step in &mut self.steps {
            for slot in &step.running {
                if let Home::Parameter(index) = self.buffers[step.inputs[*slot]].home {
                    step.kernel.update(*slot, &mut parameters.values[index]);
                }
            }
        }
    }
}

/// The lives of all values, then of all gradients. Time runs through the forward steps, the loss
/// and the backward steps in reverse.
fn lives<T: Precision>(
    mode: Mode,
    buffers: &[Buffer],
    steps: &[Step<T>],
    outputs: &[usize],
    lens: &[usize],
) -> Vec<Life> {
    let loss = steps.len();
    let backward = |step: usize| 2 * loss - step;
    let never = |len| Life {
        first: 0,
        last: 0,
        len,
    };
    let mut values: Vec<Life> = vec![never(0); buffers.len()];
    let mut gradients: Vec<Life> = vec![never(0); buffers.len()];
    for (s, step) in steps.iter().enumerate() {
        let needs = step.kernel.needs();
        let returns = mode == Mode::Train && buffers[step.outputs[0]].needs_gradient;
        for (slot, b) in step.outputs.iter().enumerate() {
            values[*b] = Life {
                first: s,
                last: s,
                len: lens[*b],
            };
            if returns && buffers[*b].needs_gradient {
                gradients[*b] = Life {
                    first: backward(s),
                    last: backward(s),
                    len: lens[*b],
                };
            }
            if returns && needs.outputs && step.kernel.reads_output_again(slot) {
                values[*b].last = backward(s);
            }
        }
        for (slot, b) in step.inputs.iter().enumerate() {
            let read = if returns && needs.inputs && step.kernel.reads_again(slot) {
                backward(s)
            } else {
                s
            };
            values[*b].last = values[*b].last.max(read);
            if returns && buffers[*b].needs_gradient && buffers[*b].home == Home::Planned {
                gradients[*b].first = gradients[*b].first.min(backward(s));
            }
        }
    }
    for b in outputs {
        values[*b].last = 2 * loss;
        if gradients[*b].len > 0 {
            gradients[*b].first = loss;
        }
    }
    for (b, buffer) in buffers.iter().enumerate() {
        if buffer.home != Home::Planned {
            values[b] = never(0);
        }
    }
    values.extend(gradients);
    values
}

fn too_large(graph: &Graph, batch: usize) -> CompileError {
    let size = |value: &&Value| value.shape.elements(batch);
    let made = graph.values().iter();
    let made = made.filter(|value| matches!(value.source, Source::Node { .. }));
    let largest = made.max_by_key(size);
    CompileError::TooLarge {
        graph: graph.name().to_owned(),
        batch,
        largest: largest.map_or(String::new(), |value| value.name.clone()),
        numbers: largest.as_ref().map_or(0, size),
    }
}

/// Memory of these lengths, if there is so much: a system that promises more than it has kills
/// whoever makes use of the promise.
fn allocate<T: Precision>(lens: &[usize]) -> Option<Vec<Vec<T>>> {
    let bytes = lens.iter().sum::<usize>().saturating_mul(size_of::<T>());
    if bytes >= LARGE && memory::available().is_some_and(|available| bytes as u64 > available) {
        return None;
    }
    let slot = |len: &usize| {
        let mut slot = Vec::new();
        slot.try_reserve_exact(*len).ok()?;
        slot.resize(*len, T::zero());
        Some(slot)
    };
    lens.iter().map(slot).collect()
}

/// Where each step's backward pass puts the gradients of its inputs, and which come second; and
/// the outputs of each step to which no gradient comes back.
fn targets<T: Precision>(
    buffers: &[Buffer],
    steps: &[Step<T>],
    outputs: &[usize],
    gradient_slot: &[usize],
    lens: &[usize],
) -> (Vec<Vec<Target>>, Vec<Vec<usize>>) {
    let mut touched = vec![false; buffers.len()];
    for b in outputs {
        touched[*b] = true;
    }
    let mut unread: Vec<Vec<usize>> = Vec::with_capacity(steps.len());
    let mut targets: Vec<Vec<Target>> = steps
        .iter()
        .rev()
        .map(|step| {
            let silent = |b: &&usize| buffers[**b].needs_gradient && !touched[**b];
            unread.push(step.outputs.iter().filter(silent).copied().collect());
            let target = |b: &usize| {
                let buffer = &buffers[*b];
                if !buffer.needs_gradient {
                    return Target::Nobody;
                }
                let accumulate = std::mem::replace(&mut touched[*b], true);
                match buffer.home {
                    Home::Parameter(index) => Target::Parameter { index, accumulate },
                    Home::Planned => Target::Planned {
                        slot: gradient_slot[*b],
                        len: lens[*b],
                        accumulate,
                    },
                    Home::Input(_) => Target::Nobody,
                }
            };
            step.inputs.iter().map(target).collect()
        })
        .collect();
    targets.reverse();
    unread.reverse();
    (targets, unread)
}
