//! Functions of one element by themselves: a value and a slope, both functions of the input.
//!
//! The activations that networks spend their time in are in [`crate::activation`], in a form that
//! is vectorised. These call the functions of `std` and `libm` for each element.

use crate::elementwise::{map, map_backward};
use crate::{Context, Real};

/// A function of one element, with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `−x`
    Neg,
    /// `|x|`, with slope 0 at 0.
    Abs,
    /// `1 / x`
    Reciprocal,
    /// `√x`
    Sqrt,
    /// `exp x`
    Exp,
    /// `ln x`
    Log,
    /// The error function, `2/√π · ∫₀ˣ exp(−t²) dt`.
    Erf,
    /// `sin x`
    Sin,
    /// `cos x`
    Cos,
    /// The largest integer that is not above `x`.
    Floor,
    /// The smallest integer that is not below `x`.
    Ceil,
    /// The nearest integer; of two equally near the even one.
    Round,
    /// −1, 0 or 1.
    Sign,
    /// 1 where `x` is 0, else 0.
    Not,
    /// `x` where positive, else `alpha · (exp x − 1)`.
    Elu {
        /// What it tends to, negated.
        alpha: f64,
    },
    /// `gamma · x` where positive, else `gamma · alpha · (exp x − 1)`.
    Selu {
        /// The factor of the negative side.
        alpha: f64,
        /// The factor of both sides.
        gamma: f64,
    },
    /// `x · max(0, min(1, x/6 + 1/2))`
    HardSwish,
    /// `max(0, min(1, alpha · x + beta))`
    HardSigmoid {
        /// The slope.
        alpha: f64,
        /// The value at 0.
        beta: f64,
    },
    /// `x · tanh(softplus x)`
    Mish,
    /// `ln(1 + exp x)`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `min(max(x, min), max)`; either bound may be infinite.
    Clip {
        /// The lower bound.
        min: f64,
        /// The upper bound.
        max: f64,
    },
}

impl Unary {
    /// Whether the slope is 0 wherever there is one.
    pub fn is_flat(self) -> bool {
        matches!(
            self,
            Self::Floor | Self::Ceil | Self::Round | Self::Sign | Self::Not
        )
    }

    /// `y = f(x)`, element by element.
    pub fn forward<T: Real>(self, cx: &mut Context<T>, x: &[T], y: &mut [T]) {
        map(cx, x, y, |x| self.value(x));
    }

    /// `dx = dy · f'(x)`, element by element; `x` is the input of [`Self::forward`], and may be
    /// empty if the function [is flat](Self::is_flat).
    pub fn backward<T: Real>(
        self,
        cx: &mut Context<T>,
        x: &[T],
        dy: &[T],
        dx: &mut [T],
        accumulate: bool,
    ) {
        if !self.is_flat() {
            map_backward(cx, x, dy, dx, accumulate, |x| self.derivative(x));
        } else if !accumulate {
            dx.fill(T::zero());
        }
    }

    /// The function of `x`. NaN stays NaN, except that `Not` of it is 0.
    pub fn value<T: Real>(self, x: T) -> T {
        let (zero, one) = (T::zero(), T::one());
        let number = T::from_f64;
        match self {
            Self::Neg => -x,
            Self::Abs => x.abs(),
            Self::Reciprocal => one / x,
            Self::Sqrt => x.sqrt(),
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Erf => x.erf(),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => {
                let half = number(0.5);
                if (x - x.trunc()).abs() == half {
                    number(2.0) * (half * x).round()
                } else {
                    x.round()
                }
            }
            Self::Sign if x > zero => one,
            Self::Sign if x < zero => -one,
            Self::Sign => x,
            Self::Not => truth(x == zero),
            Self::Elu { alpha } => elu(x, number(alpha)),
            Self::Selu { alpha, gamma } => number(gamma) * elu(x, number(alpha)),
            Self::HardSwish => x * clamp(x / number(6.0) + number(0.5), zero, one),
            Self::HardSigmoid { alpha, beta } => clamp(number(alpha) * x + number(beta), zero, one),
            Self::Mish => x * softplus(x).tanh(),
            Self::Softplus => softplus(x),
            Self::Softsign => x / (one + x.abs()),
            Self::Clip { min, max } => clamp(x, number(min), number(max)),
        }
    }

    /// The slope of the function at `x`; at a corner that of one side, or 0.
    pub fn derivative<T: Real>(self, x: T) -> T {
        let (zero, one) = (T::zero(), T::one());
        let number = T::from_f64;
        match self {
            Self::Neg => -one,
            Self::Abs if x == zero => zero,
            Self::Abs => x.signum(),
            Self::Reciprocal => -one / (x * x),
            Self::Sqrt => number(0.5) / x.sqrt(),
            Self::Exp => x.exp(),
            Self::Log => one / x,
            Self::Erf => number(std::f64::consts::FRAC_2_SQRT_PI) * (-x * x).exp(),
            Self::Sin => x.cos(),
            Self::Cos => -x.sin(),
            Self::Floor | Self::Ceil | Self::Round | Self::Sign | Self::Not => zero,
            Self::Elu { alpha } => elu_slope(x, number(alpha)),
            Self::Selu { alpha, gamma } => number(gamma) * elu_slope(x, number(alpha)),
            Self::HardSwish if x <= number(-3.0) => zero,
            Self::HardSwish if x >= number(3.0) => one,
            Self::HardSwish => x / number(3.0) + number(0.5),
            Self::HardSigmoid { alpha, beta } => {
                let (y, alpha) = (number(alpha) * x + number(beta), number(alpha));
                alpha * truth(y > zero && y < one)
            }
            Self::Mish => {
                let t = softplus(x).tanh();
                t + x * (one - t * t) * sigmoid(x)
            }
            Self::Softplus => sigmoid(x),
            Self::Softsign => {
                let below = one + x.abs();
                one / (below * below)
            }
            Self::Clip { min, max } => truth(x >= number(min) && x <= number(max)),
        }
    }
}

/// 1 or 0.
#[inline(always)]
pub(crate) fn truth<T: Real>(holds: bool) -> T {
    if holds { T::one() } else { T::zero() }
}

/// The lower bound first, so that the upper one wins where they cross; NaN stays NaN.
fn clamp<T: Real>(x: T, min: T, max: T) -> T {
    let above = if x < min { min } else { x };
    if above > max { max } else { above }
}

fn elu<T: Real>(x: T, alpha: T) -> T {
    if x > T::zero() { x } else { alpha * x.exp_m1() }
}

fn elu_slope<T: Real>(x: T, alpha: T) -> T {
    if x > T::zero() {
        T::one()
    } else {
        alpha * x.exp()
    }
}

/// With an exponential that cannot overflow.
fn softplus<T: Real>(x: T) -> T {
    let rest = (-x.abs()).exp().ln_1p();
    if x > T::zero() { x + rest } else { rest }
}

fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{cast, close, dot, is_gradient, on_all, random};

    /// Each function with a value at 0.7 in double precision.
    const AT: [(Unary, f64); 22] = [
        (Unary::Neg, -0.7),
        (Unary::Abs, 0.7),
        (Unary::Reciprocal, 1.0 / 0.7),
        (Unary::Sqrt, 0.836_660_026_534_075_6),
        (Unary::Exp, 2.013_752_707_470_476_6),
        (Unary::Log, -0.356_674_943_938_732_4),
        (Unary::Erf, 0.677_801_193_837_418_5),
        (Unary::Sin, 0.644_217_687_237_691),
        (Unary::Cos, 0.764_842_187_284_488_4),
        (Unary::Floor, 0.0),
        (Unary::Ceil, 1.0),
        (Unary::Round, 1.0),
        (Unary::Sign, 1.0),
        (Unary::Not, 0.0),
        (Unary::Elu { alpha: 0.5 }, 0.7),
        (
            Unary::Selu {
                alpha: 2.0,
                gamma: 1.5,
            },
            1.05,
        ),
        (Unary::HardSwish, 0.7 * (0.7 / 6.0 + 0.5)),
        (
            Unary::HardSigmoid {
                alpha: 0.2,
                beta: 0.5,
            },
            0.64,
        ),
        (Unary::Mish, 0.561_148_377_643_851_8),
        (Unary::Softplus, 1.103_186_048_885_458),
        (Unary::Softsign, 0.7 / 1.7),
        (
            Unary::Clip {
                min: -0.2,
                max: 0.4,
            },
            0.4,
        ),
    ];

    #[test]
    fn values_are_those_of_the_definitions() {
        for (unary, y) in AT {
            let actual: f64 = unary.value(0.7);
            assert!((actual - y).abs() < 1e-14, "{unary:?}: {actual}");
        }
        let below = [
            (Unary::Elu { alpha: 0.5 }, 0.5 * (-0.7f64).exp_m1()),
            (
                Unary::Selu {
                    alpha: 2.0,
                    gamma: 1.5,
                },
                3.0 * (-0.7f64).exp_m1(),
            ),
            (Unary::Mish, -0.7 * ((-0.7f64).exp() + 1.0).ln().tanh()),
            (Unary::Softplus, ((-0.7f64).exp() + 1.0).ln()),
            (Unary::Abs, 0.7),
            (Unary::Sign, -1.0),
            (
                Unary::Clip {
                    min: -0.2,
                    max: 0.4,
                },
                -0.2,
            ),
        ];
        for (unary, y) in below {
            let actual: f64 = unary.value(-0.7);
            assert!((actual - y).abs() < 1e-14, "{unary:?}: {actual}");
        }
    }

    #[test]
    fn slopes_are_finite_differences_and_f32_agrees() {
        let len = 301;
        let (dy, before) = (random(4, len), random(5, len));
        for (unary, _) in AT {
            // Positive where there is a pole, and some of each side elsewhere.
            let positive = matches!(unary, Unary::Reciprocal | Unary::Sqrt | Unary::Log);
            let spread = |x: f64| if positive { 1.5 + x } else { 4.0 * x };
            let x: Vec<f64> = random(3, len).into_iter().map(spread).collect();
            let values = |x: &[f64]| x.iter().map(|&x| unary.value(x)).collect::<Vec<f64>>();
            let slopes = x.iter().map(|&x| unary.derivative(x));
            let dx: Vec<f64> = slopes.zip(&dy).map(|(s, d)| s * d).collect();
            let sums: Vec<f64> = dx.iter().zip(&before).map(|(a, b)| a + b).collect();
            is_gradient(&x, &dx, |x| dot(&dy, &values(x)));
            on_all!(|cx, T| {
                let (tx, dy, mut out) = (cast::<T>(&x), cast::<T>(&dy), cast::<T>(&before));
                unary.backward(&mut cx, &tx, &dy, &mut out, true);
                close(&out, &sums);
                unary.backward(&mut cx, &tx, &dy, &mut out, false);
                close(&out, &dx);
                unary.forward(&mut cx, &tx, &mut out);
                close(&out, &values(&x));
            });
        }
    }

    #[test]
    fn halves_go_to_the_even_integer() {
        let cases = [
            (0.5, 0.0),
            (1.5, 2.0),
            (2.5, 2.0),
            (-0.5, 0.0),
            (-1.5, -2.0),
            (2.4, 2.0),
        ];
        for (x, y) in cases {
            assert_eq!(Unary::Round.value::<f64>(x), y);
            assert_eq!(Unary::Round.value::<f32>(x as f32), y as f32);
        }
    }

    #[test]
    fn limits_are_kept_and_nothing_overflows() {
        assert_eq!(Unary::Softplus.value(1000.0f32), 1000.0);
        assert_eq!(Unary::Softplus.value(-1000.0f32), 0.0);
        assert_eq!(Unary::Mish.value(1000.0f32), 1000.0);
        assert_eq!(Unary::Mish.derivative(-1000.0f32), 0.0);
        assert_eq!(Unary::Elu { alpha: 1.0 }.value(-1000.0f32), -1.0);
        let crossed = Unary::Clip { min: 2.0, max: 1.0 };
        assert_eq!(crossed.value(0.0), 1.0);
        let open = Unary::Clip {
            min: f64::NEG_INFINITY,
            max: 1.0,
        };
        assert_eq!(
            (open.value(-1e30f32), open.derivative(-1e30f32)),
            (-1e30, 1.0)
        );
        assert!(open.value(f64::NAN).is_nan());
        assert_eq!(Unary::Sign.value(0.0), 0.0);
    }
}
