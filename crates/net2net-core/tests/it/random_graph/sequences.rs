//! Blocks that read the pixels of an image one after another: recurrent layers and attention; and
//! products over named axes.

use net2net_core::graph::ValueId;
use net2net_core::ops::{
    Add, Attention, Einsum, Flatten, GlobalAveragePool, Greater, Gru, Lstm, Op, Recurrence,
    Reshape, Rnn, RotaryEmbedding, Transpose, Ways,
};

use super::Maker;

impl Maker {
    pub(super) fn sequence(&mut self, x: ValueId) -> ValueId {
        match self.below(5) {
            0 | 1 => self.recurrent(x),
            2 | 3 => self.attention_operator(x),
            _ => self.product(x),
        }
    }

    fn in_shape(&mut self, x: ValueId, sizes: &[usize]) -> ValueId {
        let sizes = sizes.to_vec();
        self.node(Reshape { sizes }, &[x])
    }

    fn in_order(&mut self, x: ValueId, perm: &[usize]) -> ValueId {
        let perm = perm.to_vec();
        self.node(Transpose { perm }, &[x])
    }

    /// A product over named axes with a parameter, or of two values.
    fn product(&mut self, x: ValueId) -> ValueId {
        let [c, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        let out = self.channels();
        let (equation, other) = match self.below(4) {
            0 => ("nchw,co->nohw", self.parameter("weight", &[c, out])),
            1 => ("ochw,nchw->nohw", self.parameter("weight", &[out, c, h, w])),
            2 => ("nchw,wx->nchx", self.parameter("weight", &[w, out])),
            _ => ("nchw,nchw->nchw", self.layer(x, c)),
        };
        let inputs = match equation.starts_with('o') {
            true => [other, x],
            false => [x, other],
        };
        self.node(Einsum::new(equation).unwrap(), &inputs)
    }

    fn recurrent(&mut self, x: ValueId) -> ValueId {
        let [c, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        let hidden = self.channels();
        let direction = [Ways::Forward, Ways::Reverse, Ways::Bidirectional][self.below(3)];
        let ways = if direction == Ways::Bidirectional {
            2
        } else {
            1
        };
        let (gates, states) = [(4, 2), (3, 1), (1, 1)][self.below(3)];
        let functions = &Lstm::default().0.activations[..if gates == 1 { 1 } else { gates - 1 }];
        let common = Recurrence {
            hidden_size: if self.chance(0.5) { hidden } else { 0 },
            direction,
            activations: functions.repeat(ways),
            batch_first: true,
            bias: self.chance(0.7),
            initial: self.chance(0.4),
        };
        let y = self.in_shape(x, &[c, h * w]);
        let mut inputs = vec![self.in_order(y, &[0, 2, 1])];
        inputs.push(self.parameter("w", &[ways, gates * hidden, c]));
        inputs.push(self.parameter("r", &[ways, gates * hidden, hidden]));
        if common.bias {
            inputs.push(self.parameter("b", &[ways, 2 * gates * hidden]));
        }
        for _ in 0..if common.initial { states } else { 0 } {
            let y = self.node(GlobalAveragePool, &[x]);
            let y = self.node(Flatten, &[y]);
            let y = self.gemm(y, ways * hidden);
            inputs.push(self.in_shape(y, &[ways, hidden]));
        }
        let op: Op = match gates {
            4 => Lstm(common).into(),
            3 => {
                let linear_before_reset = self.chance(0.5);
                Gru {
                    common,
                    linear_before_reset,
                }
                .into()
            }
            _ => Rnn(common).into(),
        };
        self.count += 1;
        let name = |at| format!("{}{}.{at}", op.name().to_lowercase(), self.count);
        let names: Vec<String> = (0..=states).map(name).collect();
        let made = self.graph.node_with_outputs(&names, op, &inputs).unwrap();
        let y = self.in_order(made[0], &[0, 2, 3, 1]);
        let y = self.in_shape(y, &[ways * hidden, h, w]);
        if self.chance(0.5) {
            return y;
        }
        let last = self.below(states) + 1;
        let last = self.in_shape(made[last], &[ways * hidden, 1, 1]);
        self.node(Add, &[y, last])
    }

    /// Heads of pixels as an operand of attention.
    fn heads(&mut self, x: ValueId, heads: usize, width: usize, flat: bool) -> ValueId {
        let [_, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        let y = self.same_conv(x, heads * width);
        if flat {
            let y = self.in_shape(y, &[heads * width, h * w]);
            return self.in_order(y, &[0, 2, 1]);
        }
        let y = self.in_shape(y, &[heads, width, h * w]);
        self.in_order(y, &[0, 1, 3, 2])
    }

    fn attention_operator(&mut self, x: ValueId) -> ValueId {
        let [_, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        let (heads, group) = (1 + self.below(3), 1 + self.below(2));
        let (all, pixels, value) = (heads * group, h * w, 1 + self.below(3));
        let flat = self.chance(0.5);
        let op = Attention {
            q_num_heads: if flat { all } else { 0 },
            kv_num_heads: if flat { heads } else { 0 },
            scale: self.chance(0.3).then_some(0.7),
            softcap: if self.chance(0.3) { 2.0 } else { 0.0 },
            is_causal: self.chance(0.3),
            boolean_mask: self.chance(0.3),
        };
        let mut q = self.heads(x, all, 4, flat);
        let mut k = self.heads(x, heads, 4, flat);
        let v = self.heads(x, heads, value, flat);
        if self.chance(0.6) {
            (q, k) = (
                self.rotated(q, x, all, flat),
                self.rotated(k, x, heads, flat),
            );
        }
        let mut inputs = vec![q, k, v];
        if op.boolean_mask || self.chance(0.4) {
            let sizes = match self.below(3) {
                0 => vec![pixels, pixels],
                1 => vec![all, 1, pixels],
                _ => vec![1, 1, pixels, 1],
            };
            let mut mask = self.parameter("mask", &sizes);
            if op.boolean_mask {
                let least = self.parameter("least", &sizes);
                mask = self.node(Greater, &[mask, least]);
            }
            inputs.push(mask);
        }
        let y = self.node(op, &inputs);
        let order: &[usize] = if flat { &[0, 2, 1] } else { &[0, 1, 3, 2] };
        let y = self.in_order(y, order);
        self.in_shape(y, &[all * value, h, w])
    }

    /// Rotary positions, from a table of all pixels or by numbers that the image tells.
    fn rotated(&mut self, y: ValueId, x: ValueId, heads: usize, flat: bool) -> ValueId {
        let [_, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        let op = RotaryEmbedding {
            num_heads: if flat { heads } else { 0 },
            rotary_embedding_dim: [0, 2, 4][self.below(3)],
            interleaved: self.chance(0.5),
        };
        let half = if op.rotary_embedding_dim == 2 { 1 } else { 2 };
        let mut inputs = vec![y];
        if self.chance(0.5) {
            let table = [1, h * w, half];
            inputs.extend(["cosine", "sine"].map(|kind| self.parameter(kind, &table)));
        } else {
            inputs.extend(["cosine", "sine"].map(|kind| self.parameter(kind, &[5, half])));
            let at = self.same_conv(x, 1);
            inputs.push(self.in_shape(at, &[h * w]));
        }
        self.node(op, &inputs)
    }
}
