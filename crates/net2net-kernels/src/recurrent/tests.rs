//! Gradients against finite differences, and the way back against the way forth.

use super::*;
use crate::check::{close, is_gradient, random};

fn layer(cell: Cell, reverse: &[bool]) -> Recurrent {
    let curves = match cell {
        Cell::Lstm => vec![Curve::Sigmoid, Curve::Tanh, Curve::Softsign],
        Cell::Gru { .. } => vec![Curve::Sigmoid, Curve::Tanh],
        Cell::Rnn => vec![Curve::Tanh],
    };
    let direction = |reverse: &bool| Direction {
        reverse: *reverse,
        curves: curves.clone(),
    };
    Recurrent {
        cell,
        directions: reverse.iter().map(direction).collect(),
        steps: 3,
        batch: 2,
        inputs: 3,
        hidden: 2,
    }
}

const CELLS: [Cell; 4] = [
    Cell::Lstm,
    Cell::Gru {
        linear_before_reset: false,
    },
    Cell::Gru {
        linear_before_reset: true,
    },
    Cell::Rnn,
];

/// The lengths of x, w, r, b, h and c.
fn lengths(layer: &Recurrent) -> [usize; 6] {
    let (d, width) = (layer.directions.len(), layer.width());
    [
        layer.steps * layer.batch * layer.inputs,
        d * width * layer.inputs,
        d * width * layer.hidden,
        d * 2 * width,
        d * layer.state(),
        d * layer.state(),
    ]
}

fn operands<'a>(layer: &Recurrent, all: &'a [f64]) -> Operands<'a, f64> {
    let mut rest = all;
    let [x, w, r, b, h, c] = lengths(layer).map(|len| {
        let (own, others) = rest.split_at(len);
        rest = others;
        own
    });
    Operands {
        x,
        w,
        r,
        b: Some(b),
        h: Some(h),
        c: Some(c),
    }
}

#[test]
fn gradients_are_slopes() {
    let mut cx = Context::<f64>::new(1).unwrap();
    for cell in CELLS {
        let layer = layer(cell, &[false, true]);
        let all = random(1, lengths(&layer).iter().sum());
        let (d, state) = (2, layer.state());
        let dy = random(2, layer.steps * d * state);
        let (dlast, dcells) = (random(3, d * state), random(4, d * state));
        let has_cells = cell == Cell::Lstm;
        let mut made = |all: &[f64]| {
            let (mut y, mut last) = (vec![0.0; dy.len()], vec![0.0; d * state]);
            let mut cells = vec![0.0; d * state];
            let given = has_cells.then_some(&mut cells[..]);
            let trace = layer.forward(&mut cx, &operands(&layer, all), &mut y, &mut last, given);
            (trace, y, last, cells)
        };
        let (trace, ..) = made(&all);
        let mut loss = |all: &[f64]| {
            let (_, y, last, cells) = made(all);
            let dot = crate::check::dot;
            dot(&y, &dy) + dot(&last, &dlast) + dot(&cells, &dcells)
        };
        let mut cx = Context::<f64>::new(1).unwrap();
        let given = has_cells.then_some(&dcells[..]);
        let found = layer.backward(&mut cx, &operands(&layer, &all), &trace, &dy, &dlast, given);
        let Gradients { x, w, r, b, h, c } = found;
        let c = if has_cells { c } else { vec![0.0; d * state] };
        let found = [x, w, r, b, h, c].concat();
        is_gradient(&all, &found, &mut loss);
    }
}

#[test]
fn the_way_back_is_the_way_forth_of_the_reversed_sequence() {
    let mut cx = Context::<f64>::new(2).unwrap();
    for cell in CELLS {
        let (forth, back) = (layer(cell, &[false]), layer(cell, &[true]));
        let all = random(5, lengths(&forth).iter().sum());
        let given = operands(&forth, &all);
        let step = forth.batch * forth.inputs;
        let turned: Vec<f64> = given.x.chunks(step).rev().flatten().copied().collect();
        let len = forth.steps * forth.state();
        let mut y = [vec![0.0; len], vec![0.0; len]];
        let mut last = [vec![0.0; forth.state()], vec![0.0; forth.state()]];
        let turned = Operands {
            x: &turned,
            ..given
        };
        let _ = forth.forward(&mut cx, &given, &mut y[0], &mut last[0], None);
        let _ = back.forward(&mut cx, &turned, &mut y[1], &mut last[1], None);
        close(&last[1], &last[0]);
        let steps = y[1].chunks(forth.state()).rev();
        close(&steps.flatten().copied().collect::<Vec<_>>(), &y[0]);
    }
}
