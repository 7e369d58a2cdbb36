//! Cases of the large families: functions of elements, reductions, and what runs along one axis.

use net2net_core::graph::ValueId;
use net2net_core::ops::{
    Abs, Add, And, Ceil, Clip, Conv, Cos, Div, Elu, Equal, Erf, Exp, Floor, GlobalMaxPool, Greater,
    GreaterOrEqual, HardSigmoid, HardSwish, Less, LessOrEqual, Log, LogSoftmax, LpNormalization,
    Max, Min, Mish, Mul, Neg, Not, Op, Or, Pow, Reciprocal, ReduceL2, ReduceMax, ReduceMean,
    ReduceMin, ReduceSum, Relu, Round, Selu, Sign, Sin, Softmax, Softplus, Softsign, Sqrt, Sub,
    Tanh, Where, Window,
};

use super::{Build, Builder, with_parameter};

/// A case that is named after its last operator.
fn of(op: impl Into<Op>, build: impl Fn(&mut Builder, ValueId, Op) -> ValueId + 'static) -> Case {
    let op = op.into();
    (op.name(), Box::new(move |b, x| build(b, x, op.clone())))
}

type Case = (&'static str, Build);

fn curves() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let anywhere: [Op; 19] = [
        Elu { alpha: 0.7 }.into(),
        Selu::default().into(),
        HardSwish.into(),
        HardSigmoid::default().into(),
        Mish.into(),
        Softplus.into(),
        Softsign.into(),
        Clip {
            min: -0.3,
            max: 0.8,
        }
        .into(),
        Clip::default().into(),
        Neg.into(),
        Abs.into(),
        Exp.into(),
        Erf.into(),
        Sin.into(),
        Cos.into(),
        Floor.into(),
        Ceil.into(),
        Round.into(),
        Sign.into(),
    ];
    for op in anywhere {
        cases.push(of(op, |b, x, op| b.node(op, &[x])));
    }
    cases.push(of(Not, |b, x, op| {
        let x = b.node(Relu, &[x]);
        b.node(op, &[x])
    }));
    for op in [Op::from(Reciprocal), Sqrt.into(), Log.into()] {
        cases.push(of(op, |b, x, op| {
            let x = b.node(Softplus, &[x]);
            b.node(op, &[x])
        }));
    }
    cases
}

fn pairs() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for op in [Op::from(Sub), Max.into(), Min.into()] {
        cases.push((
            "a plane first",
            with_parameter(op.clone(), &[1, 4, 3], true),
        ));
        cases.push((
            "channels second",
            with_parameter(op.clone(), &[4, 1, 1], false),
        ));
        cases.push(of(op, |b, x, op| {
            let y = b.node(Tanh, &[x]);
            b.node(op, &[y, x])
        }));
    }
    for op in [Op::from(Div), Pow.into()] {
        for first in [true, false] {
            cases.push(of(op.clone(), move |b, x, op| {
                let p = b.parameter(&[4, 1, 3]);
                let (x, p) = (b.node(Softplus, &[x]), b.node(Softplus, &[p]));
                b.node(op, &if first { [x, p] } else { [p, x] })
            }));
        }
    }
    let comparisons: [Op; 5] = [
        Greater.into(),
        GreaterOrEqual.into(),
        Less.into(),
        LessOrEqual.into(),
        Equal.into(),
    ];
    for op in comparisons {
        cases.push(of(op, |b, x, op| {
            let p = b.parameter(&[4, 1, 1]);
            let chosen = b.node(op, &[x, p]);
            let y = b.node(Tanh, &[x]);
            b.node(Where, &[chosen, y, p])
        }));
    }
    for op in [Op::from(And), Or.into()] {
        cases.push(of(op, |b, x, op| {
            let (p, q) = (b.parameter(&[4, 1, 1]), b.parameter(&[3]));
            let (above, below) = (b.node(Greater, &[x, p]), b.node(Less, &[x, q]));
            let chosen = b.node(op, &[above, below]);
            b.node(Where, &[chosen, p, x])
        }));
    }
    cases.push((
        "a choice by columns",
        Box::new(|b, x| {
            let p = b.parameter(&[3]);
            let p = b.node(Sign, &[p]);
            let p = b.node(Relu, &[p]);
            let zero = b.parameter(&[1]);
            b.node(Where, &[p, zero, x])
        }),
    ));
    cases
}

fn reductions() -> Vec<Case> {
    let mut cases: Vec<Case> = vec![of(GlobalMaxPool, |b, x, op| b.node(op, &[x]))];
    for keepdims in [true, false] {
        for axes in [vec![1], vec![2, 3], vec![1, 3], vec![3], vec![1, 2]] {
            let axes = || axes.clone();
            let ops: [Op; 5] = [
                ReduceMean {
                    axes: axes(),
                    keepdims,
                }
                .into(),
                ReduceSum {
                    axes: axes(),
                    keepdims,
                }
                .into(),
                ReduceMax {
                    axes: axes(),
                    keepdims,
                }
                .into(),
                ReduceMin {
                    axes: axes(),
                    keepdims,
                }
                .into(),
                ReduceL2 {
                    axes: axes(),
                    keepdims,
                }
                .into(),
            ];
            cases.extend(ops.map(|op| of(op, |b, x, op| b.node(op, &[x]))));
        }
    }
    cases
}

fn along_an_axis() -> Vec<Case> {
    let mut ops: Vec<Op> = Vec::new();
    for axis in [1, 2, -1] {
        ops.push(Softmax { axis }.into());
        ops.push(LogSoftmax { axis }.into());
        ops.push(LpNormalization { axis, p: 1 }.into());
        ops.push(LpNormalization { axis, p: 2 }.into());
    }
    let case = |op| of(op, |b: &mut Builder, x, op| b.node(op, &[x]));
    ops.into_iter().map(case).collect()
}

fn mean(axes: &[usize]) -> ReduceMean {
    ReduceMean {
        axes: axes.to_vec(),
        keepdims: true,
    }
}

fn composites() -> Vec<Case> {
    vec![
        (
            "layer normalisation in parts",
            Box::new(|b, x| {
                let average = b.node(mean(&[1]), &[x]);
                let apart = b.node(Sub, &[x, average]);
                let square = b.node(Mul, &[apart, apart]);
                let variance = b.node(mean(&[1]), &[square]);
                let epsilon = b.parameter(&[1]);
                let epsilon = b.node(Softplus, &[epsilon]);
                let sum = b.node(Add, &[variance, epsilon]);
                let deviation = b.node(Sqrt, &[sum]);
                b.node(Div, &[apart, deviation])
            }),
        ),
        (
            "squeeze and excitation",
            Box::new(|b, x| {
                let conv = Conv::new(Window::default());
                let y = b.node(mean(&[2, 3]), &[x]);
                let (w, v) = (b.parameter(&[2, 4, 1, 1]), b.parameter(&[4, 2, 1, 1]));
                let y = b.node(conv.clone(), &[y, w]);
                let y = b.node(Relu, &[y]);
                let y = b.node(conv, &[y, v]);
                let y = b.node(HardSigmoid::default(), &[y]);
                b.node(Mul, &[x, y])
            }),
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let families = [
        curves(),
        pairs(),
        reductions(),
        along_an_axis(),
        composites(),
    ];
    families.into_iter().flatten().collect()
}
