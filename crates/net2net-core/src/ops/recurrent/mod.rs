//! Recurrent layers: LSTM, GRU and plain ones.
//!
//! A unit's copies compute what it computes, since what reads the state inside of the layer shares
//! the original's weight among them like what reads it outside.

mod kernel;

use net2net_kernels::Real;
use net2net_kernels::recurrent::{Cell, Curve, Direction, Recurrent, Trace};

use kernel::RecurrentKernel;

use super::moves::row_major;
use super::{Arity, Attributes, Nature, Operator, Role};
use crate::dims::{AxisRule, Grown};
use crate::engine::{Kernel, Layout, Layouts, Site};
use crate::graph::{Extent, Shape};

/// What recurrent layers have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurrence {
    /// The units; 0 where it is left to the weights.
    pub hidden_size: usize,
    /// The ways through the sequence.
    pub direction: Ways,
    /// The functions of each way one after another, by ONNX's names: `Sigmoid`, `Tanh`, `Relu` and the like.
    pub activations: Vec<Curve>,
    /// ONNX's `layout`: whether samples come before steps, and before directions.
    pub batch_first: bool,
    /// Whether there are shifts.
    pub bias: bool,
    /// Whether the first state is given; without, it is zero.
    pub initial: bool,
}

/// ONNX's `direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Reverse,
    /// Both, with weights of their own.
    Bidirectional,
}

impl Ways {
    const ALL: [(Ways, &'static str); 3] = [
        (Ways::Forward, "forward"),
        (Ways::Reverse, "reverse"),
        (Ways::Bidirectional, "bidirectional"),
    ];

    fn reversed(self) -> &'static [bool] {
        match self {
            Ways::Forward => &[false],
            Ways::Reverse => &[true],
            Ways::Bidirectional => &[false, true],
        }
    }
}

/// The functions that gates may have.
const CURVES: [(Curve, &str); 5] = [
    (Curve::Sigmoid, "Sigmoid"),
    (Curve::Tanh, "Tanh"),
    (Curve::Relu, "Relu"),
    (Curve::HardSigmoid, "HardSigmoid"),
    (Curve::Softsign, "Softsign"),
];

/// The function of a name, in any case.
fn curve(name: &str) -> Result<Curve, String> {
    let mut known = CURVES.iter();
    let found = known.find(|(_, known)| known.eq_ignore_ascii_case(name));
    found
        .map(|(curve, _)| *curve)
        .ok_or_else(|| format!("gates with the function `{name}` are not known"))
}

/// `LSTM(x [t, N, i], w [d, 4·h, i], r [d, 4·h, h], b [d, 8·h]?, (h [d, N, h], c [d, N, h])?)
/// -> y [t, d, N, h], last h [d, N, h], last c [d, N, h]` (Hochreiter and Schmidhuber 1997).
///
/// The gates are ONNX's: input, output, forget, cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lstm(pub Recurrence);

/// `GRU(x [t, N, i], w [d, 3·h, i], r [d, 3·h, h], b [d, 6·h]?, h [d, N, h]?)
/// -> y [t, d, N, h], last h [d, N, h]` (Cho et al. 2014).
///
/// The gates are ONNX's: update, reset, hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gru {
    /// What it has in common with the others.
    pub common: Recurrence,
    /// Whether the reset gate multiplies what the weights make of the state, as in PyTorch and
    /// Keras, and not the state.
    pub linear_before_reset: bool,
}

/// `RNN(x [t, N, i], w [d, h, i], r [d, h, h], b [d, 2·h]?, h [d, N, h]?)
/// -> y [t, d, N, h], last h [d, N, h]` (Elman 1990).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rnn(pub Recurrence);

impl Recurrence {
    /// A layer of one direction over samples that come first, with ONNX's functions and shifts.
    fn plain(cell: Cell) -> Self {
        let direction = Ways::Forward;
        Recurrence {
            hidden_size: 0,
            direction,
            activations: defaults(cell, direction),
            batch_first: false,
            bias: true,
            initial: false,
        }
    }

    fn read(attributes: &mut Attributes, cell: Cell) -> Result<Self, String> {
        let text = attributes.text("direction", "forward")?;
        let mut ways = Ways::ALL.iter();
        let direction = ways.find(|(_, name)| *name == text);
        let (direction, _) = *direction.ok_or_else(|| format!("`{text}` is no direction"))?;
        let names = attributes.text("activations", "")?;
        let names: Vec<&str> = names.split([' ', ',']).filter(|n| !n.is_empty()).collect();
        let mut activations = defaults(cell, direction);
        if !names.is_empty() {
            let wanted = activations.len();
            activations = names.into_iter().map(curve).collect::<Result<_, _>>()?;
            if activations.len() != wanted {
                let found = activations.len();
                return Err(format!("it has {found} activations, and needs {wanted}"));
            }
        }
        Ok(Recurrence {
            hidden_size: attributes.size("hidden_size", 0, 1)?,
            direction,
            activations,
            batch_first: attributes.flag("layout", false)?,
            bias: attributes.flag("bias", true)?,
            initial: attributes.flag("initial", false)?,
        })
    }

    fn write(&self, attributes: &mut Attributes, cell: Cell) {
        let mut ways = Ways::ALL.iter();
        if let Some((_, name)) = ways.find(|(ways, _)| *ways == self.direction) {
            attributes.put_text("direction", name, "forward");
        }
        if self.activations != defaults(cell, self.direction) {
            let name = |curve: &Curve| {
                let mut known = CURVES.iter().filter(|(known, _)| known == curve);
                known.next().map_or("", |(_, name)| *name)
            };
            let names: Vec<&str> = self.activations.iter().map(name).collect();
            attributes.put_text("activations", &names.join(", "), "");
        }
        attributes.put_size("hidden_size", self.hidden_size, 0);
        attributes.put_flag("layout", self.batch_first, false);
        attributes.put_flag("bias", self.bias, true);
        attributes.put_flag("initial", self.initial, false);
    }

    /// The input slots of the shifts, and of the first of the initial states.
    fn slots(&self) -> (Option<usize>, Option<usize>) {
        let bias = self.bias.then_some(3);
        (bias, self.initial.then_some(3 + usize::from(self.bias)))
    }

    fn role(&self, slot: usize) -> Role {
        match slot {
            1 | 2 => Role::Weight,
            slot if Some(slot) == self.slots().0 => Role::Shift,
            _ => Role::Activation,
        }
    }

    /// The steps, the samples and the features of the sequence.
    fn sequence(&self, x: &Shape) -> Result<[Extent; 3], String> {
        let [first, second, features] = *x.extents() else {
            return Err(format!("a sequence has three axes, and {x} has not"));
        };
        let (steps, samples) = match self.batch_first {
            true => (second, first),
            false => (first, second),
        };
        if steps == Extent::Batch {
            return Err(format!("the steps of {x} are not samples of a batch"));
        }
        Ok([steps, samples, features])
    }

    fn infer(&self, cell: Cell, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let states = if cell == Cell::Lstm { 2 } else { 1 };
        let count = 3 + usize::from(self.bias) + if self.initial { states } else { 0 };
        if inputs.len() != count {
            return Err(format!(
                "by its attributes `bias` and `initial` it takes {count} inputs, not {}",
                inputs.len()
            ));
        }
        let [steps, samples, features] = self.sequence(inputs[0])?;
        let ways = self.direction.reversed().len();
        let (Some(hidden), Extent::Fixed(features)) =
            (inputs[2].get(2).and_then(Extent::fixed), features)
        else {
            return Err(format!("{} are no weights of a state", inputs[2]));
        };
        if self.hidden_size != 0 && self.hidden_size != hidden {
            return Err(format!(
                "its `hidden_size` is {}, and its weights have {hidden} units",
                self.hidden_size
            ));
        }
        let width = cell.gates().saturating_mul(hidden);
        let state = self.state(Extent::Fixed(ways), samples, Extent::Fixed(hidden));
        let mut wanted = vec![
            ("weights", Shape::fixed(&[ways, width, features])),
            ("weights of the state", Shape::fixed(&[ways, width, hidden])),
        ];
        if self.bias {
            let shifts = Shape::fixed(&[ways, width.saturating_mul(2)]);
            wanted.push(("shifts", shifts));
        }
        wanted.resize(count - 1, ("first state", state.clone()));
        for ((name, wanted), found) in wanted.iter().zip(&inputs[1..]) {
            if wanted != *found {
                return Err(format!("the {name} must have shape {wanted}, not {found}"));
            }
        }
        let (ways, hidden) = (Extent::Fixed(ways), Extent::Fixed(hidden));
        let all = match self.batch_first {
            true => [samples, steps, ways, hidden],
            false => [steps, ways, samples, hidden],
        };
        let mut outputs = vec![Shape::new(all)];
        outputs.resize(1 + states, state);
        Ok(outputs)
    }

    fn state(&self, ways: Extent, samples: Extent, hidden: Extent) -> Shape {
        match self.batch_first {
            true => Shape::new([samples, ways, hidden]),
            false => Shape::new([ways, samples, hidden]),
        }
    }

    fn axes(&self, cell: Cell, rule: &mut AxisRule<'_>) {
        let Ok([steps, samples, features]) = self.sequence(rule.input_shape(0)) else {
            return;
        };
        let of_r = rule.input_shape(2).extents();
        let [steps, samples, features, ways, hidden] =
            [steps, samples, features, of_r[0], of_r[2]].map(|size| rule.label(size));
        rule.freeze(steps, "the steps of a recurrent layer follow each other");
        rule.freeze(ways, "a recurrent layer has its directions");
        let (t, n, ways_of_state, n_of_state) = match self.batch_first {
            true => (1, 0, 1, 0),
            false => (0, 1, 0, 1),
        };
        for (axis, label) in [(t, steps), (n, samples), (2, features)] {
            rule.read(0, axis, &[label]);
        }
        let gates = |rule: &mut AxisRule<'_>, input: usize, count: usize| {
            rule.read(input, 0, &[ways]);
            if count == 1 {
                rule.read(input, 1, &[hidden]);
                return;
            }
            let gates = rule.label(Extent::Fixed(count));
            rule.read(input, 1, &[gates, hidden]);
            rule.freeze(gates, "a recurrent layer has its gates");
        };
        gates(rule, 1, cell.gates());
        rule.read(1, 2, &[features]);
        gates(rule, 2, cell.gates());
        rule.recurs(2, 2, hidden);
        let (bias, initial) = self.slots();
        if let Some(bias) = bias {
            gates(rule, bias, 2 * cell.gates());
        }
        let parts = [(ways_of_state, ways), (n_of_state, samples), (2, hidden)];
        for slot in initial.map_or(0..0, |first| first..rule.inputs()) {
            for (axis, label) in parts {
                rule.read(slot, axis, &[label]);
            }
        }
        let all = match self.batch_first {
            true => [samples, steps, ways, hidden],
            false => [steps, ways, samples, hidden],
        };
        for (axis, label) in all.into_iter().enumerate() {
            rule.write(0, axis, &[label]);
        }
        let states = if cell == Cell::Lstm { 2 } else { 1 };
        for output in 1..=states {
            for (axis, label) in parts {
                rule.write(output, axis, &[label]);
            }
        }
    }

    fn resize(&self, grown: &Grown<'_>) -> Self {
        let hidden_size = match self.hidden_size {
            0 => 0,
            _ => grown.input(2).at(1)[2],
        };
        Recurrence {
            hidden_size,
            ..self.clone()
        }
    }

    fn cost(&self, inputs: &[&Shape]) -> u64 {
        let positions = inputs[0].at(1)[..2].iter().product::<usize>() as u64;
        let weights = super::elements(inputs[1]).saturating_add(super::elements(inputs[2]));
        positions.saturating_mul(2).saturating_mul(weights)
    }

    fn kernel<T: Real>(&self, cell: Cell, site: &Site<'_>) -> Box<dyn Kernel<T>> {
        let x = &site.inputs[0];
        let (steps, batch) = match self.batch_first {
            true => (x[1], x[0]),
            false => (x[0], x[1]),
        };
        let curves = self.activations.chunks_exact(cell.curves());
        let ways = self.direction.reversed().iter().zip(curves);
        let layer = Recurrent {
            cell,
            directions: ways
                .map(|(reverse, curves)| Direction {
                    reverse: *reverse,
                    curves: curves.to_vec(),
                })
                .collect(),
            steps,
            batch,
            inputs: x[2],
            hidden: site.inputs[2][2],
        };
        Box::new(RecurrentKernel::<T> {
            layer,
            common: self.clone(),
            trace: Trace::default(),
        })
    }
}

/// ONNX's functions of all ways.
fn defaults(cell: Cell, direction: Ways) -> Vec<Curve> {
    let own: &[Curve] = match cell {
        Cell::Lstm => &[Curve::Sigmoid, Curve::Tanh, Curve::Tanh],
        Cell::Gru { .. } => &[Curve::Sigmoid, Curve::Tanh],
        Cell::Rnn => &[Curve::Tanh],
    };
    own.repeat(direction.reversed().len())
}

/// In what the three operators differ.
macro_rules! recurrent {
    (
        $type:ident, $name:literal, $rule:literal, $most:literal,
        common: |$this:ident| $common:expr,
        cell: |$this_cell:ident| $cell:expr,
        with: |$this_with:ident, $part:ident| $with:expr,
        read: |$attributes:ident| $read:expr,
        write: |$this_write:ident, $out:ident| $write:expr $(,)?
    ) => {
        impl $type {
            fn common(&self) -> &Recurrence {
                let $this = self;
                $common
            }

            fn cell(&self) -> Cell {
                let $this_cell = self;
                $cell
            }
        }

        impl Operator for $type {
            const NAME: &'static str = $name;
            const RULE: &'static str = $rule;
            const ARITY: Arity = Arity {
                least: 3,
                most: $most,
            };

            fn read($attributes: &mut Attributes) -> Result<Self, String> {
                $read
            }

            fn write(&self, $out: &mut Attributes) {
                self.common().write($out, self.cell());
                let $this_write = self;
                $write;
            }

            fn role(&self, slot: usize) -> Role {
                self.common().role(slot)
            }

            fn fan_in(&self, slot: usize, sizes: &[usize]) -> usize {
                match slot {
                    1 | 2 => sizes.get(2).copied().unwrap_or(1),
                    _ => 1,
                }
            }

            fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
                self.common().infer(self.cell(), inputs)
            }

            fn axes(&self, rule: &mut AxisRule<'_>) {
                self.common().axes(self.cell(), rule);
            }

            fn resize(&self, grown: &Grown<'_>) -> Self {
                let ($this_with, $part) = (self, self.common().resize(grown));
                $with
            }

            fn cost(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
                self.common().cost(inputs)
            }

            fn layouts(&self, _: &[Layout], inputs: &[&Shape], outputs: &[&Shape]) -> Layouts {
                row_major(inputs, outputs)
            }

            fn kernel<T: Real>(&self, site: &Site<'_>) -> Box<dyn Kernel<T>> {
                self.common().kernel(self.cell(), site)
            }

            fn nature(&self) -> Nature {
                Nature::Other
            }
        }
    };
}

recurrent!(
    Lstm, "LSTM",
    "t n i , d (k h) i , d (k h) h , d (k h)? , d n h? , d n h? -> t d n h , d n h , d n h, \
     where h is read back; t, d and k frozen", 6,
    common: |this| &this.0,
    cell: |_this| Cell::Lstm,
    with: |_this, common| Lstm(common),
    read: |attributes| Recurrence::read(attributes, Cell::Lstm).map(Lstm),
    write: |_this, _out| {},
);

recurrent!(
    Gru, "GRU",
    "t n i , d (k h) i , d (k h) h , d (k h)? , d n h? -> t d n h , d n h, where h is read back; \
     t, d and k frozen", 5,
    common: |this| &this.common,
    cell: |this| Cell::Gru { linear_before_reset: this.linear_before_reset },
    with: |this, common| Gru { common, ..this.clone() },
    read: |attributes| {
        let linear_before_reset = attributes.flag("linear_before_reset", false)?;
        let common = Recurrence::read(attributes, Cell::Gru { linear_before_reset })?;
        Ok(Gru { common, linear_before_reset })
    },
    write: |this, out| {
        out.put_flag("linear_before_reset", this.linear_before_reset, false);
    },
);

recurrent!(
    Rnn, "RNN",
    "t n i , d h i , d h h , d (k h)? , d n h? -> t d n h , d n h, where h is read back; t, d and \
     k frozen", 5,
    common: |this| &this.0,
    cell: |_this| Cell::Rnn,
    with: |_this, common| Rnn(common),
    read: |attributes| Recurrence::read(attributes, Cell::Rnn).map(Rnn),
    write: |_this, _out| {},
);

impl Default for Lstm {
    fn default() -> Self {
        Lstm(Recurrence::plain(Cell::Lstm))
    }
}

impl Default for Gru {
    fn default() -> Self {
        let linear_before_reset = false;
        Gru {
            common: Recurrence::plain(Cell::Gru {
                linear_before_reset,
            }),
            linear_before_reset,
        }
    }
}

impl Default for Rnn {
    fn default() -> Self {
        Rnn(Recurrence::plain(Cell::Rnn))
    }
}
