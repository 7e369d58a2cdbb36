//! Recurrent layers: a sequence goes through LSTM, GRU or plain cells, and its gradient back through
//! time.
//!
//! Gates are in the order of ONNX: input, output, forget and cell for an LSTM (Hochreiter and
//! Schmidhuber 1997), update, reset and hidden for a GRU (Cho et al. 2014). Products over the whole
//! sequence are made at once, and those with the state step by step.

use crate::{Context, Matrix, Real, column_sums, matmul};

#[cfg(test)]
mod tests;

/// A function of a gate, whose slope follows from its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// `1 / (1 + exp(−x))`
    Sigmoid,
    /// `tanh x`
    Tanh,
    /// `max(0, x)`
    Relu,
    /// `min(1, max(0, x / 5 + 1/2))`
    HardSigmoid,
    /// `x / (1 + |x|)`
    Softsign,
}

impl Curve {
    fn at<T: Real>(self, x: T) -> T {
        let one = T::one();
        match self {
            Curve::Sigmoid => one / (one + (-x).exp()),
            Curve::Tanh => x.tanh(),
            Curve::Relu => x.max(T::zero()),
            Curve::HardSigmoid => {
                let line = T::from_f64(0.2) * x + T::from_f64(0.5);
                line.max(T::zero()).min(one)
            }
            Curve::Softsign => x / (one + x.abs()),
        }
    }

    /// The slope where the value is `y`.
    fn slope<T: Real>(self, y: T) -> T {
        let (zero, one) = (T::zero(), T::one());
        match self {
            Curve::Sigmoid => y * (one - y),
            Curve::Tanh => one - y * y,
            Curve::Relu if y > zero => one,
            Curve::HardSigmoid if y > zero && y < one => T::from_f64(0.2),
            Curve::Relu | Curve::HardSigmoid => zero,
            Curve::Softsign => (one - y.abs()) * (one - y.abs()),
        }
    }
}

/// What a step computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Three gates around a state of its own.
    Lstm,
    /// Two gates. The reset gate multiplies the state, or what the state's weights make of it.
    Gru {
        /// The latter.
        linear_before_reset: bool,
    },
    /// One function.
    Rnn,
}

impl Cell {
    /// How many units' worth of weights a unit has.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// How many functions a direction has: of the gates, of the candidate, of an LSTM's output.
    pub fn curves(self) -> usize {
        match self {
            Cell::Lstm => 3,
            Cell::Gru { .. } => 2,
            Cell::Rnn => 1,
        }
    }
}

/// One way through the sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direction {
    /// From the last step to the first.
    pub reverse: bool,
    /// As many as [`Cell::curves`].
    pub curves: Vec<Curve>,
}

/// The sizes of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurrent {
    /// What a step computes.
    pub cell: Cell,
    /// Each way through the sequence, with weights of its own.
    pub directions: Vec<Direction>,
    /// Steps `t` of the sequence.
    pub steps: usize,
    /// Samples `n`.
    pub batch: usize,
    /// Features `i` of a step.
    pub inputs: usize,
    /// Units `h`.
    pub hidden: usize,
}

/// What a layer reads, all row-major; `d` counts the directions and `k` the gates.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a, T> {
    /// `[t, n, i]`
    pub x: &'a [T],
    /// `[d, k·h, i]`
    pub w: &'a [T],
    /// `[d, k·h, h]`
    pub r: &'a [T],
    /// Shifts beside `w`, then those beside `r`: `[d, 2·k·h]`.
    pub b: Option<&'a [T]>,
    /// The first state: `[d, n, h]`, zero without.
    pub h: Option<&'a [T]>,
    /// The same of an LSTM's cells.
    pub c: Option<&'a [T]>,
}

/// What the backward pass reads of the forward pass, for each direction.
#[derive(Clone, Debug, Default)]
pub struct Trace<T>(Vec<Way<T>>);

#[derive(Clone, Debug)]
struct Way<T> {
    /// The gates of each step after their functions: `[t, n, k·h]`.
    gates: Vec<T>,
    /// The states in the order of the way, the first one included: `[t + 1, n, h]`.
    states: Vec<T>,
    /// The same of an LSTM's cells.
    cells: Vec<T>,
    /// What the state's weights make for the candidate of a GRU: `[t, n, h]`.
    linear: Vec<T>,
}

/// Gradients with respect to the operands, in their shapes.
#[derive(Clone, Debug)]
pub struct Gradients<T> {
    /// Of the sequence.
    pub x: Vec<T>,
    /// Of the weights that read it.
    pub w: Vec<T>,
    /// Of the weights that read the state.
    pub r: Vec<T>,
    /// Of the shifts.
    pub b: Vec<T>,
    /// Of the first state.
    pub h: Vec<T>,
    /// Of an LSTM's first cells.
    pub c: Vec<T>,
}

impl Recurrent {
    /// The columns of all gates.
    fn width(&self) -> usize {
        self.cell.gates() * self.hidden
    }

    /// The elements of one state.
    fn state(&self) -> usize {
        self.batch * self.hidden
    }

    fn is_linear_before_reset(&self) -> bool {
        let linear_before_reset = true;
        self.cell
            == Cell::Gru {
                linear_before_reset,
            }
    }

    /// Where a step of a way stands in the sequence.
    fn at(&self, way: usize, step: usize) -> usize {
        match self.directions[way].reverse {
            true => self.steps - 1 - step,
            false => step,
        }
    }

    /// `y` gets all states `[t, d, n, h]`, `last` the last one of each way `[d, n, h]`, and
    /// `last_cells` an LSTM's last cells.
    ///
    /// # Panics
    /// If a slice has not the length that its shape says.
    pub fn forward<T: Real>(
        &self,
        cx: &mut Context<T>,
        operands: &Operands<'_, T>,
        y: &mut [T],
        last: &mut [T],
        mut last_cells: Option<&mut [T]>,
    ) -> Trace<T> {
        let (ways, state) = (self.directions.len(), self.state());
        assert_eq!(y.len(), self.steps * ways * state);
        let mut trace = Vec::with_capacity(ways);
        for way in 0..ways {
            let passed = self.go(cx, operands, way);
            for step in 0..self.steps {
                let to = (self.at(way, step) * ways + way) * state;
                let from = &passed.states[(step + 1) * state..][..state];
                y[to..][..state].copy_from_slice(from);
            }
            let end = self.steps * state;
            last[way * state..][..state].copy_from_slice(&passed.states[end..]);
            if let Some(cells) = &mut last_cells {
                cells[way * state..][..state].copy_from_slice(&passed.cells[end..]);
            }
            trace.push(passed);
        }
        Trace(trace)
    }

    /// One way through the sequence.
    fn go<T: Real>(&self, cx: &mut Context<T>, operands: &Operands<'_, T>, way: usize) -> Way<T> {
        let (rows, width, state) = (self.steps * self.batch, self.width(), self.state());
        let first = |given: Option<&[T]>| {
            let mut all = vec![T::zero(); (self.steps + 1) * state];
            if let Some(given) = given {
                all[..state].copy_from_slice(&given[way * state..][..state]);
            }
            all
        };
        let of_gru = matches!(self.cell, Cell::Gru { .. });
        let mut passed = Way {
            gates: vec![T::zero(); rows * width],
            states: first(operands.h),
            cells: match self.cell {
                Cell::Lstm => first(operands.c),
                _ => Vec::new(),
            },
            linear: vec![T::zero(); if of_gru { self.steps * state } else { 0 }],
        };
        let x = Matrix::new(operands.x, rows, self.inputs);
        let w = &operands.w[way * width * self.inputs..][..width * self.inputs];
        let w = Matrix::new(w, width, self.inputs).t();
        matmul(cx, x, w, &mut passed.gates, false);
        self.shift(operands, way, &mut passed.gates);
        let r = &operands.r[way * width * self.hidden..][..width * self.hidden];
        let beside = operands.b.filter(|_| self.is_linear_before_reset());
        let candidate = beside.map(|b| &b[(2 * way + 2) * width - self.hidden..][..self.hidden]);
        for step in 0..self.steps {
            let at = self.at(way, step);
            let gates = &mut passed.gates[at * self.batch * width..][..self.batch * width];
            let (past, next) = passed.states.split_at_mut((step + 1) * state);
            let (past, next) = (&past[step * state..], &mut next[..state]);
            match self.cell {
                Cell::Lstm => {
                    let (old, new) = passed.cells.split_at_mut((step + 1) * state);
                    let cells = (&old[step * state..], &mut new[..state]);
                    self.lstm(cx, way, r, past, gates, cells, next);
                }
                Cell::Gru { .. } => {
                    let linear = &mut passed.linear[at * state..][..state];
                    self.gru(cx, way, (r, candidate), past, gates, linear, next);
                }
                Cell::Rnn => {
                    let r = Matrix::new(r, width, self.hidden).t();
                    matmul(
                        cx,
                        Matrix::new(past, self.batch, self.hidden),
                        r,
                        gates,
                        true,
                    );
                    let curve = self.directions[way].curves[0];
                    for (next, gate) in next.iter_mut().zip(gates) {
                        *gate = curve.at(*gate);
                        *next = *gate;
                    }
                }
            }
        }
        passed
    }

    /// Adds the shifts, but for one that stands within a product.
    fn shift<T: Real>(&self, operands: &Operands<'_, T>, way: usize, gates: &mut [T]) {
        let Some(b) = operands.b else { return };
        let width = self.width();
        let (of_w, of_r) = b[2 * way * width..][..2 * width].split_at(width);
        let within = if self.is_linear_before_reset() {
            self.hidden
        } else {
            0
        };
        for row in gates.chunks_exact_mut(width.max(1)) {
            for (gate, shift) in row.iter_mut().zip(of_w) {
                *gate += *shift;
            }
            for (gate, shift) in row.iter_mut().zip(&of_r[..width - within]) {
                *gate += *shift;
            }
        }
    }

    fn lstm<T: Real>(
        &self,
        cx: &mut Context<T>,
        way: usize,
        r: &[T],
        past: &[T],
        gates: &mut [T],
        (old, new): (&[T], &mut [T]),
        next: &mut [T],
    ) {
        let (h, width) = (self.hidden, self.width());
        let r = Matrix::new(r, width, h).t();
        matmul(cx, Matrix::new(past, self.batch, h), r, gates, true);
        let [f, g, out] = self.directions[way].curves[..] else {
            return;
        };
        for (row, gates) in gates.chunks_exact_mut(width.max(1)).enumerate() {
            let (gates, candidate) = gates.split_at_mut(3 * h);
            gates.iter_mut().for_each(|gate| *gate = f.at(*gate));
            candidate.iter_mut().for_each(|gate| *gate = g.at(*gate));
            for unit in 0..h {
                let at = row * h + unit;
                let (i, o, forget) = (gates[unit], gates[h + unit], gates[2 * h + unit]);
                new[at] = forget * old[at] + i * candidate[unit];
                next[at] = o * out.at(new[at]);
            }
        }
    }

    fn gru<T: Real>(
        &self,
        cx: &mut Context<T>,
        way: usize,
        (r, beside): (&[T], Option<&[T]>),
        past: &[T],
        gates: &mut [T],
        linear: &mut [T],
        next: &mut [T],
    ) {
        let (h, n, width) = (self.hidden, self.batch, self.width());
        let [f, g] = self.directions[way].curves[..] else {
            return;
        };
        let (of_gates, of_candidate) = r.split_at(2 * h * h);
        let mut two = vec![T::zero(); n * 2 * h];
        let of_gates = Matrix::new(of_gates, 2 * h, h).t();
        matmul(cx, Matrix::new(past, n, h), of_gates, &mut two, false);
        let mut read = past.to_vec();
        for (row, gates) in gates.chunks_exact_mut(width.max(1)).enumerate() {
            for unit in 0..2 * h {
                gates[unit] = f.at(gates[unit] + two[row * 2 * h + unit]);
            }
            if !self.is_linear_before_reset() {
                for unit in 0..h {
                    read[row * h + unit] *= gates[h + unit];
                }
            }
        }
        let of_candidate = Matrix::new(of_candidate, h, h).t();
        matmul(cx, Matrix::new(&read, n, h), of_candidate, linear, false);
        for (row, gates) in gates.chunks_exact_mut(width.max(1)).enumerate() {
            for unit in 0..h {
                let at = row * h + unit;
                let (z, reset) = (gates[unit], gates[h + unit]);
                linear[at] += beside.map_or(T::zero(), |beside| beside[unit]);
                let scale = if self.is_linear_before_reset() {
                    reset
                } else {
                    T::one()
                };
                let candidate = g.at(gates[2 * h + unit] + scale * linear[at]);
                gates[2 * h + unit] = candidate;
                next[at] = (T::one() - z) * candidate + z * past[at];
            }
        }
    }

    /// The gradients of all operands, from those of what [`Recurrent::forward`] made.
    ///
    /// # Panics
    /// If a slice has not the length that its shape says.
    pub fn backward<T: Real>(
        &self,
        cx: &mut Context<T>,
        operands: &Operands<'_, T>,
        trace: &Trace<T>,
        dy: &[T],
        dlast: &[T],
        dlast_cells: Option<&[T]>,
    ) -> Gradients<T> {
        let (ways, width, state) = (self.directions.len(), self.width(), self.state());
        let zeros = |len: usize| vec![T::zero(); len];
        let mut all = Gradients {
            x: zeros(operands.x.len()),
            w: zeros(operands.w.len()),
            r: zeros(operands.r.len()),
            b: zeros(ways * 2 * width),
            h: zeros(ways * state),
            c: zeros(ways * state),
        };
        let rows = self.steps * self.batch;
        for (way, passed) in trace.0.iter().enumerate() {
            let r = way * width * self.hidden..(way + 1) * width * self.hidden;
            let mut back = Back {
                layer: self,
                way,
                r: &operands.r[r.clone()],
                dr: &mut all.r[r],
                dstate: dlast[way * state..][..state].to_vec(),
                dcells: match dlast_cells {
                    Some(cells) => cells[way * state..][..state].to_vec(),
                    None => zeros(state),
                },
                dgates: zeros(rows * width),
                dlinear: zeros(passed.linear.len()),
            };
            for step in (0..self.steps).rev() {
                let at = self.at(way, step);
                let own = &dy[(at * ways + way) * state..][..state];
                for (total, own) in back.dstate.iter_mut().zip(own) {
                    *total += *own;
                }
                back.step(cx, passed, step, at);
            }
            all.h[way * state..][..state].copy_from_slice(&back.dstate);
            all.c[way * state..][..state].copy_from_slice(&back.dcells);
            let (dgates, dlinear) = (back.dgates, back.dlinear);
            let w = way * width * self.inputs..(way + 1) * width * self.inputs;
            let by_gates = Matrix::new(&dgates, rows, width);
            let x = Matrix::new(operands.x, rows, self.inputs);
            matmul(cx, by_gates.t(), x, &mut all.w[w.clone()], false);
            let weights = Matrix::new(&operands.w[w], width, self.inputs);
            matmul(cx, by_gates, weights, &mut all.x, true);
            let (of_w, of_r) = all.b[2 * way * width..][..2 * width].split_at_mut(width);
            column_sums(cx, rows, width, &dgates, of_w, false);
            of_r.copy_from_slice(of_w);
            if self.is_linear_before_reset() {
                let candidate = &mut of_r[2 * self.hidden..];
                column_sums(cx, rows, self.hidden, &dlinear, candidate, false);
            }
        }
        all
    }
}

/// One way back through the sequence.
struct Back<'a, T> {
    layer: &'a Recurrent,
    way: usize,
    r: &'a [T],
    dr: &'a mut [T],
    /// With respect to the state after the step, and after it to the one before.
    dstate: Vec<T>,
    dcells: Vec<T>,
    /// With respect to what goes into the functions of the gates: `[t, n, k·h]`.
    dgates: Vec<T>,
    /// With respect to what the state's weights make for the candidate of a GRU: `[t, n, h]`.
    dlinear: Vec<T>,
}

impl<T: Real> Back<'_, T> {
    fn step(&mut self, cx: &mut Context<T>, passed: &Way<T>, step: usize, at: usize) {
        let (n, h, width) = (self.layer.batch, self.layer.hidden, self.layer.width());
        let state = n * h;
        let past = &passed.states[step * state..][..state];
        let gates = &passed.gates[at * n * width..][..n * width];
        if let Cell::Gru { .. } = self.layer.cell {
            self.gru(cx, passed, past, gates, at);
            return;
        }
        let curves = &self.layer.directions[self.way].curves;
        let dgates = &mut self.dgates[at * n * width..][..n * width];
        match (self.layer.cell, &curves[..]) {
            (Cell::Lstm, [f, g, out]) => {
                let old = &passed.cells[step * state..][..state];
                let new = &passed.cells[(step + 1) * state..][..state];
                for row in 0..n {
                    let (gates, dgates) = (
                        &gates[row * width..][..width],
                        &mut dgates[row * width..][..width],
                    );
                    for unit in 0..h {
                        let at = row * h + unit;
                        let [i, o, forget, candidate] = [0, 1, 2, 3].map(|k| gates[k * h + unit]);
                        let (shown, dh) = (out.at(new[at]), self.dstate[at]);
                        let dc = self.dcells[at] + dh * o * out.slope(shown);
                        dgates[unit] = dc * candidate * f.slope(i);
                        dgates[h + unit] = dh * shown * f.slope(o);
                        dgates[2 * h + unit] = dc * old[at] * f.slope(forget);
                        dgates[3 * h + unit] = dc * i * g.slope(candidate);
                        self.dcells[at] = dc * forget;
                    }
                }
            }
            (_, curves) => {
                for (at, (dgate, gate)) in dgates.iter_mut().zip(gates).enumerate() {
                    *dgate = self.dstate[at] * curves[0].slope(*gate);
                }
            }
        }
        let dgates = Matrix::new(dgates, n, width);
        matmul(cx, dgates.t(), Matrix::new(past, n, h), self.dr, true);
        matmul(
            cx,
            dgates,
            Matrix::new(self.r, width, h),
            &mut self.dstate,
            false,
        );
    }

    fn gru(&mut self, cx: &mut Context<T>, passed: &Way<T>, past: &[T], gates: &[T], at: usize) {
        let (n, h, width) = (self.layer.batch, self.layer.hidden, self.layer.width());
        let before = self.layer.is_linear_before_reset();
        let [f, g] = self.layer.directions[self.way].curves[..] else {
            return;
        };
        let linear = &passed.linear[at * n * h..][..n * h];
        let (mut dread, mut read) = (vec![T::zero(); n * h], past.to_vec());
        for row in 0..n {
            for unit in 0..h {
                let (own, at_gate) = (row * h + unit, row * width + 2 * h + unit);
                let (z, reset, candidate) = (
                    gates[row * width + unit],
                    gates[row * width + h + unit],
                    gates[at_gate],
                );
                let slope = self.dstate[own] * (T::one() - z) * g.slope(candidate);
                self.dgates[at * n * width + at_gate] = slope;
                self.dlinear[at * n * h + own] = if before { slope * reset } else { slope };
                if !before {
                    read[own] *= reset;
                }
            }
        }
        let dlinear = Matrix::new(&self.dlinear[at * n * h..][..n * h], n, h);
        let (of_gates, of_candidate) = self.r.split_at(2 * h * h);
        let (dof_gates, dof_candidate) = self.dr.split_at_mut(2 * h * h);
        matmul(
            cx,
            dlinear.t(),
            Matrix::new(&read, n, h),
            dof_candidate,
            true,
        );
        matmul(
            cx,
            dlinear,
            Matrix::new(of_candidate, h, h),
            &mut dread,
            false,
        );
        let mut two = vec![T::zero(); n * 2 * h];
        for row in 0..n {
            for unit in 0..h {
                let own = row * h + unit;
                let [z, reset, candidate] = [0, 1, 2].map(|k| gates[row * width + k * h + unit]);
                let dh = self.dstate[own];
                let by_reset = match before {
                    true => self.dgates[(at * n + row) * width + 2 * h + unit] * linear[own],
                    false => dread[own] * past[own],
                };
                two[row * 2 * h + unit] = dh * (past[own] - candidate) * f.slope(z);
                two[row * 2 * h + h + unit] = by_reset * f.slope(reset);
                let through = if before { T::one() } else { reset };
                self.dstate[own] = dh * z + dread[own] * through;
            }
            let dgates = &mut self.dgates[(at * n + row) * width..][..2 * h];
            dgates.copy_from_slice(&two[row * 2 * h..][..2 * h]);
        }
        let two = Matrix::new(&two, n, 2 * h);
        matmul(cx, two.t(), Matrix::new(past, n, h), dof_gates, true);
        matmul(
            cx,
            two,
            Matrix::new(of_gates, 2 * h, h),
            &mut self.dstate,
            true,
        );
    }
}
