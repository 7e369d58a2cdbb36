//! Blocks of the large families: functions of elements, reductions, and what runs along one axis.

use net2net_core::graph::ValueId;
use net2net_core::ops::{
    Abs, Add, And, Ceil, Clip, Cos, Div, Elu, Equal, Erf, Exp, Floor, GlobalMaxPool, Greater,
    GreaterOrEqual, HardSigmoid, HardSwish, Less, LessOrEqual, Log, LogSoftmax, LpNormalization,
    Max, Min, Mish, Mul, Neg, Not, Op, Or, Pow, Reciprocal, ReduceL2, ReduceMax, ReduceMean,
    ReduceMin, ReduceSum, Reshape, Round, Selu, Sigmoid, Sign, Sin, Softmax, Softplus, Softsign,
    Sqrt, Sub, Tanh, Where,
};

use super::Maker;

impl Maker {
    /// Sometimes a block of a family. Copies along an axis that is averaged, or of which the
    /// largest is taken, share that gradient evenly and not by their shares, and steps have none:
    /// so not where gradients of copies are compared.
    pub(super) fn maybe_family(&mut self, x: ValueId) -> ValueId {
        if self.still || !self.chance(0.5) {
            return x;
        }
        match self.below(6) {
            0 => self.curves(x),
            1 => self.arithmetic(x),
            2 => self.choice(x),
            3 => self.layer_norm(x),
            4 => self.along_an_axis(x),
            _ => self.gate(x),
        }
    }

    fn one_of(&mut self, ops: &[Op]) -> Op {
        ops[self.below(ops.len())].clone()
    }

    /// One number a channel, or a single one.
    fn per_channel(&mut self, x: ValueId) -> ValueId {
        let sizes = self.sizes(x);
        let mut shape = vec![1; sizes.len()];
        if self.chance(0.7) {
            shape[0] = sizes[0];
        }
        self.parameter("constant", &shape)
    }

    /// Between 1/e and e.
    fn positive(&mut self, x: ValueId) -> ValueId {
        let y = self.node(Softsign, &[x]);
        self.node(Exp, &[y])
    }

    /// Moved by random numbers, so that nothing is exactly at a step.
    fn shifted(&mut self, x: ValueId) -> ValueId {
        let shift = self.per_channel(x);
        self.node(Add, &[x, shift])
    }

    fn curves(&mut self, x: ValueId) -> ValueId {
        let smooth: [Op; 13] = [
            Elu { alpha: 0.7 }.into(),
            Selu::default().into(),
            HardSwish.into(),
            HardSigmoid {
                alpha: 0.3,
                beta: 0.4,
            }
            .into(),
            Mish.into(),
            Softplus.into(),
            Softsign.into(),
            Clip {
                min: -0.5,
                max: f64::INFINITY,
            }
            .into(),
            Neg.into(),
            Abs.into(),
            Erf.into(),
            Sin.into(),
            Cos.into(),
        ];
        let mut y = x;
        for _ in 0..2 {
            let op = self.one_of(&smooth);
            y = self.node(op, &[y]);
        }
        match self.below(4) {
            0 => {
                let y = self.positive(y);
                let op = self.one_of(&[Log.into(), Sqrt.into(), Reciprocal.into()]);
                self.node(op, &[y])
            }
            1 | 2 => {
                let y = self.shifted(x);
                let op = self.one_of(&[Floor.into(), Ceil.into(), Round.into(), Sign.into()]);
                let y = self.node(op, &[y]);
                self.node(Add, &[x, y])
            }
            _ => y,
        }
    }

    fn arithmetic(&mut self, x: ValueId) -> ValueId {
        let y = if self.chance(0.5) {
            self.per_channel(x)
        } else {
            self.node(Tanh, &[x])
        };
        match self.below(5) {
            0 => self.node(Sub, &[y, x]),
            1 => {
                let y = self.positive(y);
                self.node(Div, &[x, y])
            }
            2 => {
                let x = self.positive(x);
                self.node(Pow, &[x, y])
            }
            3 => self.node(Max, &[x, y]),
            _ => self.node(Min, &[y, x]),
        }
    }

    fn choice(&mut self, x: ValueId) -> ValueId {
        let (y, p, q) = (self.shifted(x), self.per_channel(x), self.per_channel(x));
        let comparisons = [
            Greater.into(),
            GreaterOrEqual.into(),
            Less.into(),
            LessOrEqual.into(),
            Equal.into(),
        ];
        let (a, b) = (self.one_of(&comparisons), self.one_of(&comparisons));
        let (a, b) = (self.node(a, &[y, p]), self.node(b, &[y, q]));
        let both = self.one_of(&[And.into(), Or.into()]);
        let mut chosen = self.node(both, &[a, b]);
        if self.chance(0.5) {
            chosen = self.node(Not, &[chosen]);
        }
        let other = self.node(Tanh, &[y]);
        self.node(Where, &[chosen, x, other])
    }

    /// In the parts that exporters write, or scaled by the root of the mean square alone.
    fn layer_norm(&mut self, x: ValueId) -> ValueId {
        let mean = ReduceMean {
            axes: vec![1],
            keepdims: true,
        };
        let mut apart = x;
        if self.chance(0.5) {
            let average = self.node(mean.clone(), &[x]);
            apart = self.node(Sub, &[x, average]);
        }
        let square = self.node(Mul, &[apart, apart]);
        let variance = self.node(mean, &[square]);
        let rank = self.sizes(x).len();
        let epsilon = self.parameter("epsilon", &vec![1; rank]);
        let epsilon = self.positive(epsilon);
        let sum = self.node(Add, &[variance, epsilon]);
        let deviation = self.node(Sqrt, &[sum]);
        let y = self.node(Div, &[apart, deviation]);
        let scale = self.per_channel(x);
        self.node(Mul, &[y, scale])
    }

    fn along_an_axis(&mut self, x: ValueId) -> ValueId {
        let rank = self.sizes(x).len() as i64 + 1;
        let axis = if self.chance(0.3) {
            -1
        } else {
            1 + self.below(rank as usize - 1) as i64
        };
        let p = 1 + self.below(2);
        let op = self.one_of(&[
            Softmax { axis }.into(),
            LogSoftmax { axis }.into(),
            LpNormalization { axis, p }.into(),
        ]);
        let y = self.shifted(x);
        let y = self.node(op, &[y]);
        self.node(Mul, &[x, y])
    }

    /// Scaled by what is left of the value when some axes are reduced.
    fn gate(&mut self, x: ValueId) -> ValueId {
        let sizes = self.sizes(x);
        let axes: Vec<usize> = match sizes.len() {
            1 => vec![1],
            rank if self.chance(0.3) => vec![1 + self.below(rank)],
            rank => (2..=rank).collect(),
        };
        let keepdims = self.chance(0.6);
        let ops: [Op; 5] = [
            ReduceMean {
                axes: axes.clone(),
                keepdims,
            }
            .into(),
            ReduceSum {
                axes: axes.clone(),
                keepdims,
            }
            .into(),
            ReduceMax {
                axes: axes.clone(),
                keepdims,
            }
            .into(),
            ReduceMin {
                axes: axes.clone(),
                keepdims,
            }
            .into(),
            ReduceL2 {
                axes: axes.clone(),
                keepdims,
            }
            .into(),
        ];
        let mut y = if sizes.len() > 1 && self.chance(0.15) {
            self.node(GlobalMaxPool, &[x])
        } else {
            let op = self.one_of(&ops);
            self.node(op, &[x])
        };
        if self.sizes(y).len() == 1 && sizes.len() > 1 {
            y = self.gemm(y, sizes[0]);
        }
        if self.sizes(y).len() < sizes.len() {
            let size =
                |(at, size): (usize, &usize)| if axes.contains(&(at + 1)) { 1 } else { *size };
            let sizes = sizes.iter().enumerate().map(size).collect();
            y = self.node(Reshape { sizes }, &[y]);
        }
        y = self.node(Sigmoid, &[y]);
        self.node(Mul, &[x, y])
    }
}
