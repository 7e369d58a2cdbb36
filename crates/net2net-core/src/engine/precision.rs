//! The precisions that networks run in, and the one place where kernels are compiled for them.
//!
//! Kernels are generic, and a generic function is compiled anew in every crate that uses it. All
//! of them together take minutes, so what is heavy goes through this trait: its methods are those
//! of concrete types, and are compiled with this crate, once.

use net2net_kernels::loss::Softening;
use net2net_kernels::{Context, Real, loss, optimizer, shuffle, softmax};

use super::fused::Tail;
use super::kernel::{Kernel, Site};
use super::optimizer::OptimizerConfig;
use crate::ops::{BatchNorm, Conv, Op};

/// `f32` or `f64`.
pub trait Precision: Real {
    /// See [`crate::ops::Operator::kernel`].
    fn kernel(op: &Op, site: &Site<'_>) -> Box<dyn Kernel<Self>>;

    /// A batch normalisation with what follows it; a residual is the last input.
    fn finished_norm(norm: &BatchNorm, tail: Tail, site: &Site<'_>) -> Box<dyn Kernel<Self>>;

    /// A convolution with the batch normalisation, whose four parameters come behind its own inputs, and what
    /// follows that; see `Conv::finished_kernel`.
    fn finished_conv(
        conv: &Conv,
        norm: Option<&BatchNorm>,
        tail: Tail,
        before: Option<Tail>,
        site: &Site<'_>,
    ) -> Box<dyn Kernel<Self>>;

    /// See [`shuffle::transpose`].
    fn transpose(
        cx: &mut Context<Self>,
        source: &[Self],
        sizes: &[usize],
        order: &[usize],
        target: &mut [Self],
        accumulate: bool,
    );

    /// The mean loss, its gradient if asked for, and the number of correct samples; see
    /// [`loss::cross_entropy`].
    fn cross_entropy(
        cx: &mut Context<Self>,
        classes: usize,
        logits: &[Self],
        labels: &[u32],
        smoothing: f64,
        gradient: Option<&mut [Self]>,
    ) -> (f64, usize);

    /// The mean loss against rows of probabilities, and the number of samples that agree; see
    /// [`loss::soft_cross_entropy`].
    fn soft_cross_entropy(
        cx: &mut Context<Self>,
        classes: usize,
        logits: &[Self],
        targets: &[Self],
        softening: Softening,
        gradient: Option<loss::Gradient<'_, Self>>,
    ) -> (f64, usize);

    /// See [`loss::squared_error`].
    fn squared_error(
        cx: &mut Context<Self>,
        batch: usize,
        values: &[Self],
        targets: &[Self],
        gradient: Option<&mut [Self]>,
    ) -> f64;

    /// Softmax of rows of logits; see [`softmax::forward`].
    fn softmax(cx: &mut Context<Self>, classes: usize, logits: &[Self], into: &mut [Self]);

    /// The sum of the squares of a gradient.
    fn squared_norm(cx: &mut Context<Self>, gradient: &[Self]) -> f64;

    /// Multiplies a gradient.
    fn scale(cx: &mut Context<Self>, gradient: &mut [Self], factor: f64);

    /// Moves one parameter by its gradient; `moments` are those of the optimizer, in order.
    fn update(
        cx: &mut Context<Self>,
        config: &OptimizerConfig,
        values: &mut [Self],
        gradient: &[Self],
        moments: &mut [&mut [Self]],
        rate: Rate,
    );
}

/// How far one step goes.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The learning rate.
    pub learning_rate: f64,
    /// Whether weight decay applies to the parameter.
    pub decays: bool,
    /// The step's number, counted from one.
    pub step: u64,
}

macro_rules! precision {
    ($type:ty) => {
        impl Precision for $type {
            fn kernel(op: &Op, site: &Site<'_>) -> Box<dyn Kernel<Self>> {
                op.kernel(site)
            }

            fn finished_norm(
                norm: &BatchNorm,
                tail: Tail,
                site: &Site<'_>,
            ) -> Box<dyn Kernel<Self>> {
                norm.fused_kernel(site, tail)
            }

            fn finished_conv(
                conv: &Conv,
                norm: Option<&BatchNorm>,
                tail: Tail,
                before: Option<Tail>,
                site: &Site<'_>,
            ) -> Box<dyn Kernel<Self>> {
                conv.finished_kernel(norm, tail, before, site)
            }

            fn transpose(
                cx: &mut Context<Self>,
                source: &[Self],
                sizes: &[usize],
                order: &[usize],
                target: &mut [Self],
                accumulate: bool,
            ) {
                shuffle::transpose(cx, source, sizes, order, target, accumulate);
            }

            fn cross_entropy(
                cx: &mut Context<Self>,
                classes: usize,
                logits: &[Self],
                labels: &[u32],
                smoothing: f64,
                gradient: Option<&mut [Self]>,
            ) -> (f64, usize) {
                let n = labels.len();
                let loss = loss::cross_entropy(cx, n, classes, logits, labels, smoothing, gradient);
                (loss, loss::count_correct(classes, logits, labels))
            }

            fn soft_cross_entropy(
                cx: &mut Context<Self>,
                classes: usize,
                logits: &[Self],
                targets: &[Self],
                softening: Softening,
                gradient: Option<loss::Gradient<'_, Self>>,
            ) -> (f64, usize) {
                let loss =
                    loss::soft_cross_entropy(cx, classes, logits, targets, softening, gradient);
                (loss, loss::count_agreeing(classes, logits, targets))
            }

            fn squared_error(
                cx: &mut Context<Self>,
                batch: usize,
                values: &[Self],
                targets: &[Self],
                gradient: Option<&mut [Self]>,
            ) -> f64 {
                loss::squared_error(cx, batch, values, targets, gradient)
            }

            fn softmax(cx: &mut Context<Self>, classes: usize, logits: &[Self], into: &mut [Self]) {
                softmax::forward(cx, logits.len() / classes.max(1), classes, logits, into);
            }

            fn squared_norm(cx: &mut Context<Self>, gradient: &[Self]) -> f64 {
                optimizer::squared_norm(cx, gradient)
            }

            fn scale(cx: &mut Context<Self>, gradient: &mut [Self], factor: f64) {
                optimizer::scale(cx, gradient, factor);
            }

            fn update(
                cx: &mut Context<Self>,
                config: &OptimizerConfig,
                values: &mut [Self],
                gradient: &[Self],
                moments: &mut [&mut [Self]],
                rate: Rate,
            ) {
                let Rate {
                    learning_rate,
                    decays,
                    step,
                } = rate;
                let decay = |weight_decay: f64| if decays { weight_decay } else { 0.0 };
                match (*config, moments) {
                    (
                        OptimizerConfig::Sgd {
                            momentum,
                            nesterov,
                            weight_decay,
                        },
                        moments,
                    ) => {
                        let velocity = moments.first_mut().map(|m| &mut **m);
                        optimizer::sgd(
                            cx,
                            values,
                            gradient,
                            velocity,
                            learning_rate,
                            momentum,
                            nesterov,
                            decay(weight_decay),
                        );
                    }
                    (
                        OptimizerConfig::AdamW {
                            beta1,
                            beta2,
                            epsilon,
                            weight_decay,
                        },
                        [first, second],
                    ) => optimizer::adamw(
                        cx,
                        values,
                        gradient,
                        first,
                        second,
                        learning_rate,
                        beta1,
                        beta2,
                        epsilon,
                        decay(weight_decay),
                        step,
                    ),
                    (OptimizerConfig::AdamW { .. }, _) => {
                        debug_assert!(false, "AdamW keeps two moments");
                    }
                }
            }
        }
    };
}

precision!(f32);
precision!(f64);
