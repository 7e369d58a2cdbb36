//! What random networks are made of: one function a block.

use net2net_core::graph::ValueId;
use net2net_core::ops::{
    Add, Concat, Conv, Dropout, Flatten, Gemm, GlobalAveragePool, MatMul, Mul, Relu, Reshape,
    Sigmoid, Silu, Softmax, Window,
};

use super::Maker;

impl Maker {
    pub(super) fn image_block(&mut self, x: ValueId) -> ValueId {
        let [c, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        let out = self.channels();
        if self.chance(0.3) {
            return self.moved(x, out);
        }
        if self.chance(0.15) {
            return self.sequence(x);
        }
        match self.below(15) {
            0 => self.layer(x, out),
            1 => {
                let stride = 1 + self.below(2);
                let pads = [self.below(2), self.below(2), self.below(2), self.below(2)];
                let side = 1 + self.below(2);
                let window = Window::default().with_pads(pads).stride(stride);
                let y = self.conv(x, out, 1, [side.min(h), side.min(w)], window);
                self.activation(y)
            }
            2 => {
                // Depthwise, perhaps with a multiplier, then pointwise.
                let (kernel, window) = self.same();
                let multiplier = 1 + self.below(2);
                let y = self.conv(x, c * multiplier, c, kernel, window);
                let y = self.norm(y);
                self.conv(y, out, 1, [1, 1], Window::default())
            }
            3 => {
                let y = self.layer(x, 4);
                let out = 2 * (1 + self.below(3));
                let (kernel, window) = self.same();
                let y = self.conv(y, out, 2, kernel, window);
                self.activation(y)
            }
            4 | 5 => self.residual(x, out),
            6 => self.branches(x),
            7 => self.squeeze_and_excitation(x),
            8 => self.pool(x),
            9 => self.broadcast(x),
            10 => self.shared(x),
            11 => self.reshaped(x, h * w),
            12 if !self.still => self.normalized(x),
            12 | 13 => self.further(x),
            _ if self.chance(0.5) && !self.still => {
                let rate = if self.chance(0.5) { 0.5 } else { 0.2 };
                self.node(Dropout { rate }, &[x])
            }
            _ => {
                // Attention over columns: the channels go through a softmax along another axis.
                let weights = self.node(Softmax::default(), &[x]);
                self.node(Mul, &[x, weights])
            }
        }
    }

    /// A residual stream of one or two blocks, after a projection where the sizes differ.
    fn residual(&mut self, x: ValueId, out: usize) -> ValueId {
        let c = self.sizes(x)[0];
        let mut stream = if c == out { x } else { self.same_conv(x, out) };
        for _ in 0..1 + self.below(2) {
            let inner = self.channels();
            let y = self.layer(stream, inner);
            let y = self.same_conv(y, out);
            stream = self.node(Add, &[stream, y]);
            if self.chance(0.5) {
                stream = self.activation(stream);
            }
        }
        stream
    }

    /// A concatenation of branches, perhaps added to another that is cut elsewhere.
    fn branches(&mut self, x: ValueId) -> ValueId {
        let concat = |maker: &mut Maker, parts: &[usize]| {
            let parts: Vec<ValueId> = parts.iter().map(|c| maker.layer(x, *c)).collect();
            maker.node(Concat::default(), &parts)
        };
        let first = concat(self, &[2, 3]);
        match self.below(4) {
            0 => first,
            1 => {
                let second = concat(self, &[1, 2, 2]);
                self.node(Add, &[first, second])
            }
            2 => {
                let y = self.layer(first, 5);
                self.node(Add, &[first, y])
            }
            _ => self.node(Concat::default(), &[first, x, x]),
        }
    }

    fn squeeze_and_excitation(&mut self, x: ValueId) -> ValueId {
        let c = self.sizes(x)[0];
        let inner = self.channels();
        let mut gate = self.node(GlobalAveragePool, &[x]);
        if self.chance(0.5) {
            gate = self.conv(gate, inner, 1, [1, 1], Window::default());
            gate = self.node(Relu, &[gate]);
            gate = self.conv(gate, c, 1, [1, 1], Window::default());
        } else {
            gate = self.node(Flatten, &[gate]);
            gate = self.gemm(gate, inner);
            gate = self.node(Silu, &[gate]);
            gate = self.gemm(gate, c);
            gate = self.node(
                Reshape {
                    sizes: vec![c, 1, 1],
                },
                &[gate],
            );
        }
        gate = self.node(Sigmoid, &[gate]);
        if self.chance(0.3) {
            return self.node(Add, &[gate, x]);
        }
        self.node(Mul, &[x, gate])
    }

    /// A parameter that is added or multiplied with broadcasting.
    fn broadcast(&mut self, x: ValueId) -> ValueId {
        let [c, h, w] = self.sizes(x)[..] else {
            unreachable!()
        };
        let sizes = match self.below(5) {
            0 => vec![c, 1, 1],
            1 => vec![1, c, 1, 1],
            2 => vec![c, h, w],
            3 => vec![w],
            _ => vec![1, 1, 1],
        };
        let parameter = self.parameter("broadcast", &sizes);
        let inputs = if self.chance(0.5) {
            [x, parameter]
        } else {
            [parameter, x]
        };
        if self.chance(0.5) {
            self.node(Add, &inputs)
        } else {
            self.node(Mul, &inputs)
        }
    }

    /// Two convolutions with one weight: side by side or one after the other.
    fn shared(&mut self, x: ValueId) -> ValueId {
        let c = self.sizes(x)[0];
        if self.chance(0.5) {
            let weight = self.parameter("weight", &[c, c, 3, 3]);
            let op = Conv::new(Window::same([3, 3]));
            let y = self.node(op.clone(), &[x, weight]);
            let y = self.activation(y);
            return self.node(op, &[y, weight]);
        }
        let y = self.layer(x, c);
        let out = self.channels();
        let weight = self.parameter("weight", &[out, c, 1, 1]);
        let op = Conv::new(Window::default());
        let (a, b) = (
            self.node(op.clone(), &[x, weight]),
            self.node(op, &[y, weight]),
        );
        if self.chance(0.5) {
            self.node(Add, &[a, b])
        } else {
            self.node(Concat::default(), &[a, b])
        }
    }

    /// Channels cut into factors or merged with pixels, something done to them, and back.
    fn reshaped(&mut self, x: ValueId, pixels: usize) -> ValueId {
        let [h, w] = [self.sizes(x)[1], self.sizes(x)[2]];
        let y = self.layer(x, 6);
        match self.below(4) {
            0 => {
                let y = self.node(
                    Reshape {
                        sizes: vec![2, 3, h, w],
                    },
                    &[y],
                );
                let scale = self.parameter("scale", &[2, 1, 1, 1]);
                let y = self.node(Mul, &[y, scale]);
                self.node(
                    Reshape {
                        sizes: vec![6, h, w],
                    },
                    &[y],
                )
            }
            1 => {
                // Wider within each of two groups.
                let z = self.layer(x, 4);
                let y = self.node(
                    Reshape {
                        sizes: vec![2, 3, h, w],
                    },
                    &[y],
                );
                let z = self.node(
                    Reshape {
                        sizes: vec![2, 2, h, w],
                    },
                    &[z],
                );
                let y = self.node(Concat { axis: 2 }, &[y, z]);
                self.node(
                    Reshape {
                        sizes: vec![10, h, w],
                    },
                    &[y],
                )
            }
            2 => {
                let y = self.node(
                    Reshape {
                        sizes: vec![6 * pixels],
                    },
                    &[y],
                );
                let y = self.activation(y);
                self.node(
                    Reshape {
                        sizes: vec![6, h, w],
                    },
                    &[y],
                )
            }
            _ => {
                let y = self.node(
                    Reshape {
                        sizes: vec![6, pixels],
                    },
                    &[y],
                );
                let y = self.norm(y);
                self.node(
                    Reshape {
                        sizes: vec![6, h, w],
                    },
                    &[y],
                )
            }
        }
    }

    pub(super) fn flat_block(&mut self, x: ValueId) -> ValueId {
        let c = self.sizes(x)[0];
        let out = self.channels();
        match self.below(6) {
            0 | 1 => {
                let y = self.gemm(x, out);
                let y = if self.chance(0.5) { self.norm(y) } else { y };
                self.activation(y)
            }
            2 if self.chance(0.3) => {
                let weight = self.parameter("weight", &[c, out]);
                let y = self.node(MatMul, &[x, weight]);
                self.activation(y)
            }
            2 => {
                let y = self.gemm(x, out);
                let y = self.activation(y);
                let y = self.gemm(y, c);
                self.node(Add, &[y, x])
            }
            3 => {
                // A tied pair: its inner units cannot grow.
                let weight = self.parameter("weight", &[out, c]);
                let y = self.node(Gemm::new(true), &[x, weight]);
                let y = self.activation(y);
                self.node(Gemm::new(false), &[y, weight])
            }
            4 if self.chance(0.5) => {
                // An axis of one comes and goes.
                let y = self.gemm(x, 4);
                let y = self.node(Reshape { sizes: vec![4, 1] }, &[y]);
                let y = self.activation(y);
                let y = self.node(Reshape { sizes: vec![2, 2] }, &[y]);
                self.node(Flatten, &[y])
            }
            4 => {
                let gate = self.gemm(x, c);
                let gate = self.node(Softmax::default(), &[gate]);
                self.node(Mul, &[gate, x])
            }
            _ => {
                let y = self.gemm(x, 2);
                let y = self.node(Concat::default(), &[y, x]);
                self.activation(y)
            }
        }
    }
}
