//! Cases: recurrent layers, attention, rotary positions, and products over named axes.

use net2net_core::graph::ValueId;
use net2net_core::ops::{
    Attention, Cos, Einsum, Greater, Gru, Lstm, MatMul, Op, Recurrence, Reshape, Rnn,
    RotaryEmbedding, Sin, Tanh, Ways,
};

use super::{Build, Builder};

pub(super) fn cases() -> Vec<(&'static str, Build)> {
    let mut all = recurrent();
    all.extend(attention());
    all.extend(rotary());
    all.extend(einsum());
    all
}

fn reshaped(b: &mut Builder, x: ValueId, sizes: &[usize]) -> ValueId {
    let sizes = sizes.to_vec();
    b.node(Reshape { sizes }, &[x])
}

/// A layer of 3 units over 6 steps of 8 features, made of what is common to all.
fn layer(
    op: impl Fn(Recurrence) -> Op + 'static,
    direction: Ways,
    bias: bool,
    initial: bool,
) -> Build {
    Box::new(move |b, x| {
        let op = op(Recurrence {
            hidden_size: 3,
            direction,
            batch_first: true,
            bias,
            initial,
            ..Lstm::default().0
        });
        let (states, gates) = match op {
            Op::Lstm(_) => (2, 4),
            Op::Gru(_) => (1, 3),
            _ => (1, 1),
        };
        let ways = if direction == Ways::Bidirectional {
            2
        } else {
            1
        };
        let mut inputs = vec![reshaped(b, x, &[6, 8])];
        inputs.push(b.parameter(&[ways, 3 * gates, 8]));
        inputs.push(b.parameter(&[ways, 3 * gates, 3]));
        if bias {
            inputs.push(b.parameter(&[ways, 6 * gates]));
        }
        for _ in 0..if initial { states } else { 0 } {
            let weight = b.parameter(&[48, ways * 3]);
            let flat = reshaped(b, x, &[48]);
            let state = b.node(MatMul, &[flat, weight]);
            inputs.push(reshaped(b, state, &[ways, 3]));
        }
        let name = |at| format!("r{}.{at}", b.graph.values().len());
        let names: Vec<String> = (0..=states).map(name).collect();
        let made = b.graph.node_with_outputs(&names, op, &inputs).unwrap();
        if !initial {
            return made[0];
        }
        let flat: Vec<ValueId> = made
            .iter()
            .map(|made| {
                let sizes: usize = b.graph.get(*made).shape.elements(1);
                reshaped(b, *made, &[sizes])
            })
            .collect();
        b.node(net2net_core::ops::Concat::default(), &flat)
    })
}

/// The functions of a layer are those of its kind, for each direction.
fn functions(common: Recurrence, count: usize) -> Recurrence {
    let own = &common.activations[..count];
    let ways = if common.direction == Ways::Bidirectional {
        2
    } else {
        1
    };
    Recurrence {
        activations: own.repeat(ways),
        ..common.clone()
    }
}

fn lstm(common: Recurrence) -> Op {
    Lstm(functions(common, 3)).into()
}

fn gru(linear_before_reset: bool) -> impl Fn(Recurrence) -> Op {
    move |common| {
        let common = functions(common, 2);
        Gru {
            common,
            linear_before_reset,
        }
        .into()
    }
}

fn rnn(common: Recurrence) -> Op {
    Rnn(functions(common, 1)).into()
}

fn recurrent() -> Vec<(&'static str, Build)> {
    let both = Ways::Bidirectional;
    vec![
        ("lstm", layer(lstm, Ways::Forward, true, false)),
        ("lstm, both ways, all inputs", layer(lstm, both, true, true)),
        ("lstm, no shifts", layer(lstm, Ways::Reverse, false, true)),
        ("gru", layer(gru(false), Ways::Forward, true, false)),
        ("gru, all inputs", layer(gru(false), both, true, true)),
        ("gru, reset later", layer(gru(true), both, true, true)),
        (
            "gru, no shifts",
            layer(gru(true), Ways::Reverse, false, false),
        ),
        ("rnn", layer(rnn, both, true, true)),
        ("rnn, no shifts", layer(rnn, Ways::Forward, false, false)),
    ]
}

/// Queries, keys and values as products of the input, by heads or with the heads within.
fn operands(b: &mut Builder, x: ValueId, flat: bool, [heads, kv]: [usize; 2]) -> Vec<ValueId> {
    let shapes = match flat {
        true => [[1, 4, heads * 2], [1, 3, kv * 2], [1, 3, kv * 3]],
        false => [[heads, 4, 2], [kv, 3, 2], [kv, 3, 3]],
    };
    let made = shapes.map(|sizes| {
        let count: usize = sizes.iter().product();
        let weight = b.parameter(&[48, count]);
        let all = reshaped(b, x, &[48]);
        let all = b.node(MatMul, &[all, weight]);
        let sizes = if flat { &sizes[1..] } else { &sizes[..] };
        reshaped(b, all, sizes)
    });
    made.to_vec()
}

fn attend(op: Attention, heads: [usize; 2], mask: Option<&'static [usize]>) -> Build {
    Box::new(move |b, x| {
        let mut inputs = operands(b, x, op.q_num_heads > 0, heads);
        if let Some(sizes) = mask {
            let mask = b.parameter(sizes);
            inputs.push(if op.boolean_mask {
                let least = b.parameter(sizes);
                b.node(Greater, &[mask, least])
            } else {
                b.node(Tanh, &[mask])
            });
        }
        b.node(op.clone(), &inputs)
    })
}

fn attention() -> Vec<(&'static str, Build)> {
    let flat = |q_num_heads, kv_num_heads| Attention {
        q_num_heads,
        kv_num_heads,
        ..Attention::default()
    };
    let bent = Attention {
        softcap: 0.8,
        scale: Some(1.3),
        is_causal: true,
        ..flat(4, 2)
    };
    let chosen = Attention {
        boolean_mask: true,
        ..flat(2, 2)
    };
    vec![
        ("attention", attend(Attention::default(), [2, 2], None)),
        (
            "attention, grouped",
            attend(Attention::default(), [4, 2], Some(&[4, 1, 3])),
        ),
        ("attention, flat", attend(flat(2, 2), [2, 2], Some(&[4, 3]))),
        ("attention, bent", attend(bent, [4, 2], Some(&[1, 1, 1, 3]))),
        ("attention, one key", attend(flat(3, 1), [3, 1], None)),
        ("attention, chosen", attend(chosen, [2, 2], Some(&[4, 3]))),
    ]
}

/// Tables that are computed get gradients: of angles of each sample, or of the same for all.
fn turn(
    op: RotaryEmbedding,
    sizes: &'static [usize],
    table: &'static [usize],
    repeated: bool,
) -> Build {
    Box::new(move |b, x| {
        let angles = if repeated {
            b.parameter(table)
        } else {
            let positions = reshaped(b, x, &[48]);
            let weight = b.parameter(&[48, table.iter().product()]);
            let angles = b.node(MatMul, &[positions, weight]);
            reshaped(b, angles, table)
        };
        let tables = [b.node(Cos, &[angles]), b.node(Sin, &[angles])];
        let x = reshaped(b, x, sizes);
        b.node(op.clone(), &[x, tables[0], tables[1]])
    })
}

fn rotary() -> Vec<(&'static str, Build)> {
    let whole = RotaryEmbedding::default();
    let part = RotaryEmbedding {
        num_heads: 2,
        rotary_embedding_dim: 4,
        interleaved: true,
    };
    vec![
        ("rotary", turn(whole, &[2, 6, 4], &[6, 2], false)),
        ("rotary, a part", turn(part, &[4, 12], &[1, 4, 2], true)),
    ]
}

fn product(
    equation: &'static str,
    a: &'static [usize],
    b_sizes: &'static [usize],
    first: bool,
) -> Build {
    Box::new(move |b, x| {
        let op = Einsum::new(equation).unwrap();
        let (x, w) = (reshaped(b, x, a), b.parameter(b_sizes));
        b.node(op, &if first { [w, x] } else { [x, w] })
    })
}

fn einsum() -> Vec<(&'static str, Build)> {
    let two = |b: &mut Builder, x: ValueId| {
        let y = b.node(Tanh, &[x]);
        let op = Einsum::new("nihk,njhk->nhij").unwrap();
        b.node(op, &[x, y])
    };
    vec![
        (
            "einsum",
            product("nid,hdk->nihk", &[6, 8], &[2, 8, 3], false),
        ),
        (
            "einsum, turned",
            product("hk,nikh->nki", &[4, 3, 4], &[4, 3], true),
        ),
        ("einsum of two", Box::new(two)),
    ]
}
