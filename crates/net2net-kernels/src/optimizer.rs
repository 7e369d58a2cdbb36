//! One step of an optimizer, for one parameter. Definitions are PyTorch's.

use crate::columns::strip_sums;
use crate::lanes::vectorized;
use crate::rows::{In, Out};
use crate::{Context, Real};

/// Stochastic gradient descent. With `g' = g + weight_decay · w` and, where there is a
/// `velocity`, `v = momentum · v + g'` (all zeros before the first step), the step is
/// `w −= lr · v`, or with `nesterov` `w −= lr · (g' + momentum · v)`.
///
/// # Panics
/// If the lengths differ.
pub fn sgd<T: Real>(
    cx: &mut Context<T>,
    w: &mut [T],
    g: &[T],
    velocity: Option<&mut [T]>,
    lr: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
) {
    assert_eq!(w.len(), g.len());
    let [lr, momentum, decay] = [lr, momentum, weight_decay].map(T::from_f64);
    let Some(velocity) = velocity else {
        cx.for_rows(
            g.len(),
            1,
            (Out(w, 1), In(g, 1)),
            |_, (Out(w, _), In(g, _)), _| {
                vectorized(
                    #[inline(always)]
                    || {
                        w.iter_mut()
                            .zip(g)
                            .for_each(|(w, &g)| *w -= lr * (g + decay * *w))
                    },
                );
            },
        );
        return;
    };
    assert_eq!(w.len(), velocity.len());
    let data = (Out(w, 1), In(g, 1), Out(velocity, 1));
    cx.for_rows(
        g.len(),
        1,
        data,
        |_, (Out(w, _), In(g, _), Out(v, _)), _| {
            vectorized(
                #[inline(always)]
                || {
                    for ((w, &g), v) in w.iter_mut().zip(g).zip(v) {
                        let g = g + decay * *w;
                        *v = momentum * *v + g;
                        *w -= lr * if nesterov { g + momentum * *v } else { *v };
                    }
                },
            );
        },
    );
}

/// AdamW: Adam with decoupled weight decay. `m` and `v` are the running moments (all zeros
/// before the first step), and `step` counts from 1.
///
/// # Panics
/// If the lengths differ, or `step` is 0.
pub fn adamw<T: Real>(
    cx: &mut Context<T>,
    w: &mut [T],
    g: &[T],
    m: &mut [T],
    v: &mut [T],
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    step: u64,
) {
    assert!(w.len() == g.len() && m.len() == g.len() && v.len() == g.len());
    assert!(step > 0, "steps count from 1");
    let correction = |beta: f64| 1.0 - beta.powf(step as f64);
    let keep = T::from_f64(1.0 - lr * weight_decay);
    let rate = T::from_f64(lr / correction(beta1));
    let root = T::from_f64(1.0 / correction(beta2).sqrt());
    let [beta1, beta2, eps] = [beta1, beta2, eps].map(T::from_f64);
    let data = (Out(w, 1), In(g, 1), Out(m, 1), Out(v, 1));
    cx.for_rows(
        g.len(),
        4,
        data,
        |_, (Out(w, _), In(g, _), Out(m, _), Out(v, _)), _| {
            vectorized(
                #[inline(always)]
                || {
                    for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                        *m += (T::one() - beta1) * (g - *m);
                        *v = beta2 * *v + (T::one() - beta2) * g * g;
                        *w = *w * keep - rate * *m / (v.sqrt() * root + eps);
                    }
                },
            );
        },
    );
}

/// `Σ g²`, summed in `f64` between strips.
pub fn squared_norm<T: Real>(cx: &mut Context<T>, g: &[T]) -> f64 {
    // As rows of 32 columns, so that the sum is vectorised; the rest by itself.
    let (body, tail) = g.split_at(g.len() / 32 * 32);
    let parts = cx.for_rows(body.len() / 32, 32, In(body, 32), |_, In(body, _), _| {
        let [sums] = strip_sums(
            32,
            [body],
            [],
            #[inline(always)]
            |[g]: [T; 1], []| [g * g],
        );
        sums.iter().sum::<f64>()
    });
    let tail = tail.iter().map(|g| (*g * *g).to_f64()).sum::<f64>();
    parts.iter().sum::<f64>() + tail
}

/// `g *= factor`.
pub fn scale<T: Real>(cx: &mut Context<T>, g: &mut [T], factor: f64) {
    let factor = T::from_f64(factor);
    cx.for_rows(g.len(), 1, Out(g, 1), |_, Out(g, _), _| {
        vectorized(
            #[inline(always)]
            || g.iter_mut().for_each(|g| *g *= factor),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, on_all, random};

    const W: [f64; 2] = [1.0, -2.0];
    const GRADIENTS: [[f64; 2]; 3] = [[0.5, -0.25], [-1.0, 2.0], [0.1, 0.2]];

    /// Three steps of `torch.optim.SGD(lr=0.1, momentum=0.9, weight_decay=0.01)` in double.
    #[test]
    fn sgd_is_pytorchs() {
        for (nesterov, expected) in [
            (false, [1.038_984_749, -2.320_934_573]),
            (true, [1.072_168_458_191, -2.477_490_080_807]),
        ] {
            on_all!(|cx, T| {
                let (mut w, mut v) = (cast::<T>(&W), cast::<T>(&[0.0; 2]));
                for g in GRADIENTS {
                    sgd(
                        &mut cx,
                        &mut w,
                        &cast(&g),
                        Some(&mut v),
                        0.1,
                        0.9,
                        nesterov,
                        0.01,
                    );
                }
                close(&w, &expected);
            });
        }
    }

    #[test]
    fn sgd_without_momentum_needs_no_velocity() {
        on_all!(|cx, T| {
            let mut w = cast::<T>(&W);
            sgd(
                &mut cx,
                &mut w,
                &cast(&GRADIENTS[0]),
                None,
                0.1,
                0.0,
                false,
                0.01,
            );
            close(&w, &[1.0 - 0.1 * 0.51, -2.0 + 0.1 * 0.27]);
        });
    }

    /// Three steps of `torch.optim.AdamW(lr=0.1, betas=(0.9, 0.99), weight_decay=0.01)`.
    #[test]
    fn adamw_is_pytorchs() {
        on_all!(|cx, T| {
            let (mut w, mut m, mut v) = (cast::<T>(&W), cast::<T>(&[0.0; 2]), cast::<T>(&[0.0; 2]));
            for (step, g) in (1..).zip(GRADIENTS) {
                let g = cast(&g);
                adamw(
                    &mut cx, &mut w, &g, &mut m, &mut v, 0.1, 0.9, 0.99, 1e-8, 0.01, step,
                );
            }
            close(&w, &[0.956_239_640_750_126, -2.016_252_457_348_98]);
        });
    }

    #[test]
    fn norm_and_scale_are_those_of_the_naive_loop() {
        for len in [0, 5, 32, 70_001] {
            let g = random(1, len);
            let norm: f64 = g.iter().map(|g| g * g).sum();
            on_all!(|cx, T| {
                let mut g = cast::<T>(&g);
                assert!((squared_norm(&mut cx, &g) - norm).abs() <= 1e-5 * norm);
                scale(&mut cx, &mut g, 0.5);
                assert!((squared_norm(&mut cx, &g) - norm / 4.0).abs() <= 1e-5 * norm);
            });
        }
    }
}
