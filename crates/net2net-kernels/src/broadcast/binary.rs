//! The functions of two elements, and their gradients.

use super::{Axis, combine, len, merged_axes, sum_repeated, times};
use crate::context::grown;
use crate::elementwise;
use crate::unary::truth;
use crate::{Context, Real};

/// A function of two elements. Comparisons and logic give 1 or 0, and have no slope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a − b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b`
    Div,
    /// `a` to the power of `b`; its slope along `b` is 0 where `a` is not positive.
    Pow,
    /// The larger one; where they are equal, the slope is that of `a`.
    Max,
    /// The smaller one; where they are equal, the slope is that of `a`.
    Min,
    /// `a = b`
    Equal,
    /// `a > b`
    Greater,
    /// `a ≥ b`
    GreaterOrEqual,
    /// `a < b`
    Less,
    /// `a ≤ b`
    LessOrEqual,
    /// Whether neither is 0.
    And,
    /// Whether not both are 0.
    Or,
}

impl Binary {
    /// Every function, in the order above.
    pub const ALL: [Self; 14] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Pow,
        Self::Max,
        Self::Min,
        Self::Equal,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::And,
        Self::Or,
    ];

    /// Whether the slope along both is 0 wherever there is one.
    pub fn is_flat(self) -> bool {
        use Binary::{And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or};
        matches!(
            self,
            Equal | Greater | GreaterOrEqual | Less | LessOrEqual | And | Or
        )
    }

    /// Whether the slopes depend on the operands.
    pub fn is_linear(self) -> bool {
        self.is_flat() || matches!(self, Self::Add | Self::Sub)
    }

    /// The function of two elements. `Max` and `Min` are NaN if either is.
    #[inline]
    pub fn value<T: Real>(self, a: T, b: T) -> T {
        let zero = T::zero();
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Pow => a.powf(b),
            Self::Max if a >= b || a.is_nan() => a,
            Self::Min if a <= b || a.is_nan() => a,
            Self::Max | Self::Min => b,
            Self::Equal => truth(a == b),
            Self::Greater => truth(a > b),
            Self::GreaterOrEqual => truth(a >= b),
            Self::Less => truth(a < b),
            Self::LessOrEqual => truth(a <= b),
            Self::And => truth(a != zero && b != zero),
            Self::Or => truth(a != zero || b != zero),
        }
    }

    /// The slopes along `a` and along `b`.
    #[inline]
    pub fn slopes<T: Real>(self, a: T, b: T) -> [T; 2] {
        let (zero, one) = (T::zero(), T::one());
        match self {
            Self::Add => [one, one],
            Self::Sub => [one, -one],
            Self::Mul => [b, a],
            Self::Div => [one / b, -a / (b * b)],
            // A constant to the power of 0 is flat, also where `a` is 0.
            Self::Pow if b == zero => [zero, slope_of_exponent(a, b)],
            Self::Pow => [b * a.powf(b - one), slope_of_exponent(a, b)],
            Self::Max => [truth(a >= b), truth(a < b)],
            Self::Min => [truth(a <= b), truth(a > b)],
            _ => [zero, zero],
        }
    }
}

fn slope_of_exponent<T: Real>(a: T, b: T) -> T {
    if a > T::zero() {
        a.powf(b) * a.ln()
    } else {
        T::zero()
    }
}

/// The gradient of [`super::broadcast_binary`] with respect to operand `own` (0 is `a`, 1 is `b`):
/// `dy` times the slope along it, summed over the axes along which it was repeated.
///
/// Operands are not read if the function [is linear](Binary::is_linear), and may be empty then.
///
/// # Panics
/// If shapes do not go together, or lengths do not fit them.
pub fn broadcast_binary_backward<T: Real>(
    cx: &mut Context<T>,
    op: Binary,
    own: usize,
    dy: &[T],
    operands: [&[T]; 2],
    shapes: [&[usize]; 2],
    dx: &mut [T],
    accumulate: bool,
) {
    let other = 1 - own;
    let axes = merged_axes(shapes[own], shapes[other]);
    let product = |axes: &[Axis]| axes.iter().map(|axis| axis.len).product::<usize>();
    assert_eq!(dx.len(), len(shapes[own]));
    assert_eq!(dy.len(), product(&axes));
    if op.is_flat() {
        if !accumulate {
            dx.fill(T::zero());
        }
        return;
    }
    if op == Binary::Add || (op == Binary::Sub && own == 0) {
        return sum_repeated(cx, axes, dy, dx, accumulate);
    }
    let repeated = axes.iter().any(|axis| !axis.in_a);
    if op == Binary::Mul && !repeated {
        // Seen from dy, which has all axes.
        let of_dy = all_in_a(&axes);
        return combine(cx, &of_dy, dy, operands[other], dx, accumulate, times);
    }
    let mut buffer = cx.take_filter();
    let terms = grown(&mut buffer, dy.len());
    match op {
        Binary::Sub => elementwise::map(cx, dy, terms, |dy| -dy),
        Binary::Mul => combine(
            cx,
            &all_in_a(&axes),
            dy,
            operands[other],
            terms,
            false,
            times,
        ),
        _ => {
            assert!((0..2).all(|i| operands[i].len() == len(shapes[i])));
            let (x, z) = (operands[own], operands[other]);
            combine(cx, &axes, x, z, terms, false, |x, z| {
                let (a, b) = if own == 0 { (x, z) } else { (z, x) };
                op.slopes(a, b)[own]
            });
            for (term, dy) in terms.iter_mut().zip(dy) {
                *term *= *dy;
            }
        }
    }
    sum_repeated(cx, axes, &buffer[..dy.len()], dx, accumulate);
    cx.put_filter(buffer);
}

fn all_in_a(axes: &[Axis]) -> Vec<Axis> {
    let full = |axis: &Axis| Axis {
        in_a: true,
        ..*axis
    };
    axes.iter().map(full).collect()
}
