//! Running a recurrent layer, whichever of samples and steps come first.

use net2net_kernels::recurrent::{Cell, Operands, Recurrent, Trace};
use net2net_kernels::{Context, Real, shuffle};

use super::Recurrence;
use crate::engine::{Backward, Gradient, Kernel, Needs};

/// A layer, the orders of its axes, and what its backward pass reads.
pub(super) struct RecurrentKernel<T> {
    pub(super) layer: Recurrent,
    pub(super) common: Recurrence,
    pub(super) trace: Trace<T>,
}

/// The orders of axes that turn what has samples first into what has steps or directions first.
const SEQUENCE: [usize; 3] = [1, 0, 2];
const STATES: [usize; 4] = [1, 2, 0, 3];
const STATES_BACK: [usize; 4] = [2, 0, 1, 3];

impl<T: Real> RecurrentKernel<T> {
    /// Inputs with steps first, where they are not so already.
    fn turned(&self, cx: &mut Context<T>, inputs: &[&[T]]) -> Vec<Option<Vec<T>>> {
        let initial = self.common.slots().1;
        let Recurrent {
            steps,
            batch,
            inputs: features,
            hidden,
            ..
        } = self.layer;
        let turn = |(slot, data): (usize, &&[T])| {
            let sizes = match slot {
                0 => [batch, steps, features],
                slot if initial.is_some_and(|first| slot >= first) => {
                    [batch, self.layer.directions.len(), hidden]
                }
                _ => return None,
            };
            let mut turned = vec![T::zero(); data.len()];
            shuffle::transpose(cx, data, &sizes, &SEQUENCE, &mut turned, false);
            Some(turned)
        };
        match self.common.batch_first {
            true => inputs.iter().enumerate().map(turn).collect(),
            false => vec![None; inputs.len()],
        }
    }

    fn operands<'a>(&self, inputs: &[&'a [T]], turned: &'a [Option<Vec<T>>]) -> Operands<'a, T> {
        let at = |slot: usize| turned[slot].as_deref().unwrap_or(inputs[slot]);
        let (bias, initial) = self.common.slots();
        let is_lstm = self.layer.cell == Cell::Lstm;
        Operands {
            x: at(0),
            w: inputs[1],
            r: inputs[2],
            b: bias.map(at),
            h: initial.map(at),
            c: initial.filter(|_| is_lstm).map(|first| at(first + 1)),
        }
    }

    /// The sizes of all states with samples first.
    fn sizes(&self) -> [usize; 4] {
        let ways = self.layer.directions.len();
        [self.layer.batch, self.layer.steps, ways, self.layer.hidden]
    }
}

impl<T: Real> Kernel<T> for RecurrentKernel<T> {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let turned = self.turned(cx, inputs);
        let operands = self.operands(inputs, &turned);
        let [y, last, cells @ ..] = outputs else {
            return;
        };
        if !self.common.batch_first {
            let cells = cells.first_mut().map(|cells| &mut **cells);
            self.trace = self.layer.forward(cx, &operands, y, last, cells);
            return;
        }
        let [n, t, d, h] = self.sizes();
        let (mut all, mut states) = (vec![T::zero(); y.len()], vec![T::zero(); last.len()]);
        let mut states_of_cells = vec![T::zero(); cells.first().map_or(0, |cells| cells.len())];
        let given = (!cells.is_empty()).then_some(&mut states_of_cells[..]);
        self.trace = self
            .layer
            .forward(cx, &operands, &mut all, &mut states, given);
        shuffle::transpose(cx, &all, &[t, d, n, h], &STATES_BACK, y, false);
        shuffle::transpose(cx, &states, &[d, n, h], &SEQUENCE, last, false);
        if let Some(cells) = cells.first_mut() {
            shuffle::transpose(cx, &states_of_cells, &[d, n, h], &SEQUENCE, cells, false);
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let turned = self.turned(cx, pass.inputs);
        let operands = self.operands(pass.inputs, &turned);
        let [n, t, d, h] = self.sizes();
        let mut given: Vec<Vec<T>> = Vec::new();
        if self.common.batch_first {
            for (output, dy) in pass.output_gradients.iter().enumerate() {
                let mut turned = vec![T::zero(); dy.len()];
                match output {
                    0 => shuffle::transpose(cx, dy, &[n, t, d, h], &STATES, &mut turned, false),
                    _ => shuffle::transpose(cx, dy, &[n, d, h], &SEQUENCE, &mut turned, false),
                }
                given.push(turned);
            }
        }
        let at = |output: usize| match given.get(output) {
            Some(turned) => Some(&turned[..]),
            None => pass.output_gradients.get(output).copied(),
        };
        let (Some(dy), Some(dlast)) = (at(0), at(1)) else {
            return;
        };
        let found = self
            .layer
            .backward(cx, &operands, &self.trace, dy, dlast, at(2));
        let (bias, initial) = self.common.slots();
        for (slot, gradient) in pass.input_gradients.iter_mut().enumerate() {
            let Some(gradient) = gradient else { continue };
            let first = initial.is_some_and(|first| slot == first);
            match slot {
                0 if self.common.batch_first => {
                    let sizes = [t, n, self.layer.inputs];
                    turn_back(cx, &found.x, sizes, gradient);
                }
                0 => gradient.put(&found.x),
                1 => gradient.put(&found.w),
                2 => gradient.put(&found.r),
                slot if Some(slot) == bias => gradient.put(&found.b),
                _ => {
                    let state = if first { &found.h } else { &found.c };
                    match self.common.batch_first {
                        true => turn_back(cx, state, [d, n, h], gradient),
                        false => gradient.put(state),
                    }
                }
            }
        }
    }
}

fn turn_back<T: Real>(
    cx: &mut Context<T>,
    found: &[T],
    sizes: [usize; 3],
    gradient: &mut Gradient<'_, T>,
) {
    let add = gradient.accumulate;
    shuffle::transpose(cx, found, &sizes, &SEQUENCE, gradient.data, add);
}
