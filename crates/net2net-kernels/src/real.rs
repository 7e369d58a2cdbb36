//! The two number types that kernels run in.

use std::fmt::{Debug, Display};
use std::iter::Sum;

use num_traits::{Float, NumAssign};

use crate::matrix::Product;
use crate::slices::Number;
use crate::vectors::Vectors;

/// A floating-point number that kernels compute in: `f32` to train, `f64` to verify.
pub trait Real:
    Float + NumAssign + Number + Product + Vectors + Default + Debug + Display + Sum + 'static
{
    /// The type's name in Rust: `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// The nearest value to `x`.
    fn from_f64(x: f64) -> Self;

    /// This value, exactly. (On a `&T`, method syntax finds `ToPrimitive::to_f64` instead, which
    /// gives an `Option`: dereference first.)
    fn to_f64(self) -> f64;

    /// The error function, `2/√π · ∫₀ˣ exp(−t²) dt`.
    fn erf(self) -> Self;

    /// `exp(self)` in straight-line code, so that a loop over it is vectorised (the one in `std`
    /// is a call per element). Within 2 ulp for `f32`; `f64` is the one in `std`. Below the
    /// smallest normal number the result is 0, and NaN stays NaN.
    fn exp_fast(self) -> Self;
}

impl Real for f32 {
    const NAME: &'static str = "f32";

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn erf(self) -> Self {
        libm::erff(self)
    }

    #[inline(always)]
    fn exp_fast(self) -> Self {
        // x = n·ln 2 + r with |r| ≤ ln 2 / 2; then exp x = 2ⁿ · exp r. Cephes' polynomial.
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to an integer
        let x = if self > 88.72 { 88.72 } else { self };
        let x = if x < -87.33 { -87.33 } else { x };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = x - n * LN2_HIGH - n * LN2_LOW;
        let mut p = 1.987_569_1e-4;
        p = p * r + 1.398_199_9e-3;
        p = p * r + 8.333_452e-3;
        p = p * r + 4.166_579_6e-2;
        p = p * r + 1.666_666_5e-1;
        p = p * r + 0.5;
        let exp_r = p * r * r + r + 1.0;
        // In two factors, because 2¹²⁸ alone is not a finite f32.
        let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        let half = exponent >> 1;
        let power = |e: i32| f32::from_bits(((e + 127) << 23) as u32);
        let y = exp_r * power(half) * power(exponent - half);
        if self < -87.33 {
            0.0
        } else if self > 88.72 {
            f32::INFINITY
        } else {
            y
        }
    }
}

impl Real for f64 {
    const NAME: &'static str = "f64";

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    fn erf(self) -> Self {
        libm::erf(self)
    }

    #[inline(always)]
    fn exp_fast(self) -> Self {
        self.exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_exp_is_within_two_ulp() {
        for i in -87_000..88_700 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(x.exp_fast()) - exact).abs() / exact;
            assert!(
                error < 2.0 * f64::from(f32::EPSILON),
                "exp({x}) is off by {error:e}"
            );
        }
    }

    #[test]
    fn fast_exp_keeps_the_limits() {
        assert_eq!(f32::NEG_INFINITY.exp_fast(), 0.0);
        assert_eq!((-100f32).exp_fast(), 0.0);
        assert_eq!(100f32.exp_fast(), f32::INFINITY);
        assert_eq!(0f32.exp_fast(), 1.0);
        assert!(f32::NAN.exp_fast().is_nan());
    }
}
