//! Smooth activations: each a value and a slope, both functions of the input.

use crate::elementwise::{map, map_backward};
use crate::{Context, Real};

/// An activation that has no parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`, with slope 0 at 0.
    Relu,
    /// `1 / (1 + exp(−x))`
    Sigmoid,
    /// `tanh x`
    Tanh,
    /// `x · sigmoid x`, also called swish.
    Silu,
    /// `x · Φ(x)`, with the normal distribution's own `Φ`.
    Gelu,
    /// `x · Φ(x)`, with `Φ` approximated by `tanh`.
    GeluTanh,
}

impl Activation {
    /// Every activation, in the order above.
    pub const ALL: [Self; 6] = [
        Self::Relu,
        Self::Sigmoid,
        Self::Tanh,
        Self::Silu,
        Self::Gelu,
        Self::GeluTanh,
    ];

    /// `y = f(x)`, element by element.
    pub fn forward<T: Real>(self, cx: &mut Context<T>, x: &[T], y: &mut [T]) {
        // The choice is made here, outside of the loop, so that each loop is vectorised.
        match self {
            Self::Relu => map(
                cx,
                x,
                y,
                #[inline(always)]
                |x| Self::Relu.value(x),
            ),
            Self::Sigmoid => map(
                cx,
                x,
                y,
                #[inline(always)]
                |x| Self::Sigmoid.value(x),
            ),
            Self::Tanh => map(
                cx,
                x,
                y,
                #[inline(always)]
                |x| Self::Tanh.value(x),
            ),
            Self::Silu => map(
                cx,
                x,
                y,
                #[inline(always)]
                |x| Self::Silu.value(x),
            ),
            Self::Gelu => map(
                cx,
                x,
                y,
                #[inline(always)]
                |x| Self::Gelu.value(x),
            ),
            Self::GeluTanh => map(
                cx,
                x,
                y,
                #[inline(always)]
                |x| Self::GeluTanh.value(x),
            ),
        }
    }

    /// `dx = dy · f'(x)`, element by element; `x` is the input of [`Self::forward`].
    pub fn backward<T: Real>(
        self,
        cx: &mut Context<T>,
        x: &[T],
        dy: &[T],
        dx: &mut [T],
        accumulate: bool,
    ) {
        macro_rules! with {
            ($($name:ident)+) => {
                match self {
                    $(Self::$name => map_backward(cx, x, dy, dx, accumulate,
                        #[inline(always)] |x| Self::$name.derivative(x)),)+
                }
            };
        }
        with!(Relu Sigmoid Tanh Silu Gelu GeluTanh);
    }

    /// The activation of `x`.
    #[inline(always)]
    pub fn value<T: Real>(self, x: T) -> T {
        match self {
            Self::Relu => {
                if x < T::zero() {
                    T::zero()
                } else {
                    x
                }
            }
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => tanh(x),
            Self::Silu => x * sigmoid(x),
            Self::Gelu => x * normal_cdf(x),
            Self::GeluTanh => x * gelu_gate(x),
        }
    }

    /// The slope of the activation at `x`.
    #[inline(always)]
    pub fn derivative<T: Real>(self, x: T) -> T {
        let one = T::one();
        match self {
            Self::Relu => {
                if x > T::zero() {
                    one
                } else {
                    T::zero()
                }
            }
            Self::Sigmoid => {
                let s = sigmoid(x);
                s * (one - s)
            }
            Self::Tanh => {
                let t = tanh(x);
                one - t * t
            }
            Self::Silu => {
                let s = sigmoid(x);
                s + x * s * (one - s)
            }
            Self::Gelu => {
                let half = T::from_f64(0.5);
                let density = T::from_f64(INV_SQRT_2_PI) * (-half * x * x).exp_fast();
                normal_cdf(x) + x * density
            }
            Self::GeluTanh => {
                // x·g with g = σ(2u), so g + x·2u'·g·(1 − g)
                let g = gelu_gate(x);
                let slope = T::from_f64(2.0 * SQRT_2_OVER_PI)
                    * (one + T::from_f64(3.0 * GELU_CUBIC) * x * x);
                g + x * slope * g * (one - g)
            }
        }
    }
}

const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
const INV_SQRT_2_PI: f64 = 0.398_942_280_401_432_7;
const GELU_CUBIC: f64 = 0.044_715;

#[inline(always)]
fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exp_fast())
}

#[inline(always)]
fn tanh<T: Real>(x: T) -> T {
    // By the exponential where it is exact, by a series near 0 where it would cancel.
    let two = T::from_f64(2.0);
    let by_exp = T::one() - two / ((two * x).exp_fast() + T::one());
    let xx = x * x;
    let series = x
        * (T::one()
            + xx * (T::from_f64(-1.0 / 3.0)
                + xx * (T::from_f64(2.0 / 15.0)
                    + xx * (T::from_f64(-17.0 / 315.0) + xx * T::from_f64(62.0 / 2835.0)))));
    if T::NAME == "f64" {
        x.tanh()
    } else if xx < T::from_f64(0.04) {
        series
    } else {
        by_exp
    }
}

/// The normal distribution's `Φ`.
#[inline(always)]
fn normal_cdf<T: Real>(x: T) -> T {
    let half = T::from_f64(0.5);
    half * (T::one() + (x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

/// `½ (1 + tanh u)`, which is `σ(2u)`, for GELU's `u`.
#[inline(always)]
fn gelu_gate<T: Real>(x: T) -> T {
    let u = T::from_f64(SQRT_2_OVER_PI) * (x + T::from_f64(GELU_CUBIC) * x * x * x);
    sigmoid(u + u)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    /// Values at 0.7, from PyTorch in double precision.
    #[test]
    fn values_are_pytorchs() {
        let expected = [
            0.7,
            0.668_187_772_168_166,
            0.604_367_777_117_163_5,
            0.467_731_440_517_716_3,
            0.530_625_443_443_848_9,
            0.530_570_134_705_116_7,
        ];
        for (activation, y) in Activation::ALL.into_iter().zip(expected) {
            let actual: f64 = activation.value(0.7);
            assert!((actual - y).abs() < 1e-14, "{activation:?}: {actual}");
        }
    }

    #[test]
    fn slopes_are_finite_differences_and_f32_agrees() {
        let len = 301;
        let x: Vec<f64> = random(3, len).iter().map(|x| x * 6.0).collect();
        let (dy, before) = (random(4, len), random(5, len));
        for activation in Activation::ALL {
            let y: Vec<f64> = x.iter().map(|&x| activation.value(x)).collect();
            let slope: Vec<f64> = x.iter().map(|&x| activation.derivative(x)).collect();
            let dx: Vec<f64> = slope.iter().zip(&dy).map(|(s, d)| s * d).collect();
            is_gradient(&x, &dx, |x| {
                dot(
                    &dy,
                    &x.iter().map(|&x| activation.value(x)).collect::<Vec<_>>(),
                )
            });
            on_all!(|cx, T| {
                let (x, dy, mut out) = (cast::<T>(&x), cast::<T>(&dy), cast::<T>(&before));
                activation.backward(&mut cx, &x, &dy, &mut out, true);
                close(
                    &out,
                    &dx.iter()
                        .zip(&before)
                        .map(|(a, b)| a + b)
                        .collect::<Vec<_>>(),
                );
                activation.backward(&mut cx, &x, &dy, &mut out, false);
                close(&out, &dx);
                activation.forward(&mut cx, &x, &mut out);
                close(&out, &y);
            });
        }
    }

    #[test]
    fn small_and_large_arguments_keep_their_digits() {
        for x in [1e-20f32, 1e-4, 0.19, 0.21, 3.0, 50.0, 1000.0] {
            let exact = f64::from(x).tanh();
            let actual = f64::from(Activation::Tanh.value(x));
            assert!(
                (actual - exact).abs() <= 1e-6 * exact,
                "tanh({x}) = {actual}"
            );
            assert_eq!(Activation::Silu.value(-1000.0f32), -0.0);
        }
        assert!(Activation::Tanh.value(f32::NAN).is_nan());
    }
}
