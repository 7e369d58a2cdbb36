//! Blocks of random networks: normalisation by sample, products of matrices, transposed
//! convolution and signals.

use net2net_core::graph::ValueId;
use net2net_core::ops::{
    Add, Conv, ConvTranspose, GroupNorm, InstanceNorm, LayerNorm, Lrn, MatMul, Op, Reshape,
    RmsNorm, Softmax, Split, Take, Transpose, Window,
};

use super::Maker;

impl Maker {
    /// A value in another shape.
    fn shaped(&mut self, x: ValueId, sizes: &[usize]) -> ValueId {
        let sizes = sizes.to_vec();
        self.node(Reshape { sizes }, &[x])
    }

    /// A layer, normalised in one of all ways. Uneven shares do not divide the gradient of a mean
    /// among copies as they divide that of a sum, so this is not for `still` networks.
    pub(super) fn normalized(&mut self, x: ValueId) -> ValueId {
        let y = self.layer(x, 6);
        let epsilon = 1e-3;
        let (op, sizes): (Op, Vec<usize>) = match self.below(4) {
            0 => {
                let axis = [1, -1][self.below(2)];
                let sizes = self.sizes(y);
                let first = if axis == 1 { 0 } else { 2 };
                (LayerNorm { axis, epsilon }.into(), sizes[first..].to_vec())
            }
            1 => {
                let axis = [-3, 3][self.below(2)];
                let sizes = self.sizes(y);
                let first = if axis == -3 { 0 } else { 2 };
                (RmsNorm { axis, epsilon }.into(), sizes[first..].to_vec())
            }
            2 => {
                let num_groups = [1, 2, 3, 6][self.below(4)];
                let norm = GroupNorm {
                    num_groups,
                    epsilon,
                };
                (norm.into(), vec![6])
            }
            _ => (InstanceNorm { epsilon }.into(), vec![6]),
        };
        let mut inputs = vec![y, self.parameter("scale", &sizes)];
        let plain =
            matches!(op, Op::RmsNorm(_)) || matches!(op, Op::LayerNorm(_)) && self.chance(0.5);
        if !plain {
            inputs.push(self.parameter("shift", &sizes));
        }
        self.node(op, &inputs)
    }

    pub(super) fn further(&mut self, x: ValueId) -> ValueId {
        let [c, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        match self.below(8) {
            0 => self.spread(x),
            6 | 7 => self.attention(x),
            1 => {
                let y = self.layer(x, 6);
                let y = self.shaped(y, &[2, 3, h, w]);
                let lrn = Lrn {
                    size: 3,
                    alpha: 0.5,
                    beta: 0.75,
                    bias: 1.5,
                };
                let y = self.node(lrn, &[y]);
                self.shaped(y, &[6, h, w])
            }
            2 => {
                let wider = self.channels();
                let inputs = if self.chance(0.5) {
                    [x, self.parameter("right", &[w, wider])]
                } else {
                    [self.parameter("left", &[c, wider, h]), x]
                };
                self.node(MatMul, &inputs)
            }
            3 => {
                let (a, b) = (self.layer(x, 4), self.layer(x, 4));
                let b = self.shaped(b, &[4, w, h]);
                self.node(MatMul, &[a, b])
            }
            4 => {
                // Units between two products, as in a transformer.
                let y = self.shaped(x, &[c, h * w]);
                let (inner, outer) = (self.channels(), self.channels());
                let first = self.parameter("first", &[inner, c]);
                let y = self.node(MatMul, &[first, y]);
                let y = self.activation(y);
                let second = self.parameter("second", &[outer, inner]);
                let y = self.node(MatMul, &[second, y]);
                self.shaped(y, &[outer, h, w])
            }
            _ => {
                let y = self.shaped(x, &[c, h * w]);
                let out = self.channels();
                let weight = self.parameter("weight", &[out, c, 3]);
                let y = self.node(Conv::new(Window::same([3])), &[y, weight]);
                let y = self.activation(y);
                self.shaped(y, &[out, h, w])
            }
        }
    }

    fn turned(&mut self, x: ValueId, perm: &[usize]) -> ValueId {
        let perm = perm.to_vec();
        self.node(Transpose { perm }, &[x])
    }

    /// Two heads of three units over the pixels, on a residual stream of four.
    fn attention(&mut self, x: ValueId) -> ValueId {
        let [c, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        let y = self.shaped(x, &[c, h * w]);
        let y = self.turned(y, &[0, 2, 1]);
        let embedding = self.parameter("embedding", &[c, 4]);
        let stream = self.node(MatMul, &[y, embedding]);
        let y = match self.still {
            true => stream,
            false => self.stream_norm(stream),
        };
        let [q, k, v] = self.projections(y, h * w);
        let k = self.turned(k, &[0, 1, 3, 2]);
        let scores = self.node(MatMul, &[q, k]);
        let weights = self.node(Softmax::default(), &[scores]);
        let y = self.node(MatMul, &[weights, v]);
        let y = self.turned(y, &[0, 2, 1, 3]);
        let y = self.shaped(y, &[h * w, 6]);
        let out = self.parameter("out", &[6, 4]);
        let y = self.node(MatMul, &[y, out]);
        let y = self.node(Add, &[stream, y]);
        let y = self.turned(y, &[0, 2, 1]);
        self.shaped(y, &[4, h, w])
    }

    fn stream_norm(&mut self, x: ValueId) -> ValueId {
        let (axis, epsilon) = (-1, 1e-2);
        let scale = self.parameter("scale", &[4]);
        match self.chance(0.5) {
            true => self.node(RmsNorm { axis, epsilon }, &[x, scale]),
            false => {
                let shift = self.parameter("shift", &[4]);
                self.node(LayerNorm { axis, epsilon }, &[x, scale, shift])
            }
        }
    }

    /// Queries, keys and values, [N, heads, tokens, units], as exporters write them.
    fn projections(&mut self, x: ValueId, tokens: usize) -> [ValueId; 3] {
        let heads = |maker: &mut Maker, y: ValueId| {
            let y = maker.shaped(y, &[tokens, 2, 3]);
            maker.turned(y, &[0, 2, 1, 3])
        };
        let kind = self.below(3);
        if kind == 0 {
            return std::array::from_fn(|_| {
                let weight = self.parameter("weight", &[4, 6]);
                let y = self.node(MatMul, &[x, weight]);
                let bias = self.parameter("bias", &[6]);
                let y = self.node(Add, &[y, bias]);
                heads(self, y)
            });
        }
        let weight = self.parameter("weight", &[4, 18]);
        let y = self.node(MatMul, &[x, weight]);
        let bias = self.parameter("bias", &[18]);
        let y = self.node(Add, &[bias, y]);
        if kind == 1 {
            self.count += 1;
            let names = [0, 1, 2].map(|part| format!("split{}.{part}", self.count));
            let sizes = vec![6; 3];
            let parts = self
                .graph
                .node_with_outputs(&names, Split { axis: 2, sizes }.into(), &[y])
                .unwrap();
            return std::array::from_fn(|part| heads(self, parts[part]));
        }
        let y = self.shaped(y, &[tokens, 3, 2, 3]);
        let y = self.turned(y, &[0, 2, 3, 1, 4]);
        std::array::from_fn(|part| {
            let take = Take {
                axis: 1,
                indices: vec![part as i64],
                keep: false,
            };
            self.node(take, &[y])
        })
    }

    /// A transposed convolution, perhaps of groups.
    fn spread(&mut self, x: ValueId) -> ValueId {
        let [_, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        let y = self.layer(x, 4);
        let groups = [1, 2, 4][self.below(3)];
        let out = 1 + self.below(2);
        let mut op = ConvTranspose {
            groups,
            ..ConvTranspose::new(Window::default().with_pads([0, 1, 1, 0]))
        };
        if h.max(w) < 5 {
            op.window = op.window.stride(2);
            op.output_padding = vec![1, 0];
        }
        let mut inputs = vec![y, self.parameter("weight", &[4, out, 2, 2])];
        if self.chance(0.5) {
            inputs.push(self.parameter("bias", &[out * groups]));
        }
        self.node(op, &inputs)
    }
}
