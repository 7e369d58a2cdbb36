//! Vectors whose width the machine decides, for the few loops that are written register by
//! register instead of left to the compiler.

use pulp::Simd;

/// A number of which an instruction set has vectors.
pub trait Vectors: Copy {
    /// As many as fill a register.
    type Vector<S: Simd>: Copy;

    /// The vectors that `numbers` is made of; what is left over at the end is left out.
    fn read<S: Simd>(numbers: &[Self]) -> &[Self::Vector<S>];

    /// The same, to write.
    fn write<S: Simd>(numbers: &mut [Self]) -> &mut [Self::Vector<S>];

    /// The first numbers; zeros in the lanes for which there are not enough.
    fn some<S: Simd>(simd: S, numbers: &[Self]) -> Self::Vector<S>;

    /// Writes as many lanes as there is room for.
    fn put<S: Simd>(simd: S, numbers: &mut [Self], x: Self::Vector<S>);

    /// `x` in every lane.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;

    /// `a + b`
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a - b`
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a · b + c`, rounded once where the machine can.
    fn fused<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;

    /// Lane by lane the pair of `x`, if it is larger than `best` or not a number, and otherwise
    /// that of `best`.
    fn larger<S: Simd>(
        simd: S,
        x: [Self::Vector<S>; 2],
        best: [Self::Vector<S>; 2],
    ) -> [Self::Vector<S>; 2];

    /// `x`, or 0 where it is less.
    fn rectified<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S>;

    /// A small whole number.
    fn whole(self) -> u16;
}

macro_rules! vectors {
    ($number:ident, $vector:ident, $read:ident, $write:ident, $some:ident, $put:ident, $splat:ident, $add:ident, $sub:ident, $fused:ident,
     $less:ident, $equal:ident, $not:ident, $or:ident, $select:ident) => {
        impl Vectors for $number {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn read<S: Simd>(numbers: &[Self]) -> &[S::$vector] {
                S::$read(numbers).0
            }

            #[inline(always)]
            fn write<S: Simd>(numbers: &mut [Self]) -> &mut [S::$vector] {
                S::$write(numbers).0
            }

            #[inline(always)]
            fn some<S: Simd>(simd: S, numbers: &[Self]) -> S::$vector {
                match S::$read(numbers).0.first() {
                    Some(whole) => *whole,
                    None => simd.$some(numbers),
                }
            }

            #[inline(always)]
            fn put<S: Simd>(simd: S, numbers: &mut [Self], x: S::$vector) {
                match S::$write(numbers).0.first_mut() {
                    Some(whole) => *whole = x,
                    None => simd.$put(numbers, x),
                }
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }

            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }

            #[inline(always)]
            fn fused<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$fused(a, b, c)
            }

            #[inline(always)]
            fn larger<S: Simd>(
                simd: S,
                x: [S::$vector; 2],
                best: [S::$vector; 2],
            ) -> [S::$vector; 2] {
                let no_number = simd.$not(simd.$equal(x[0], x[0]));
                let wins = simd.$or(simd.$less(best[0], x[0]), no_number);
                [
                    simd.$select(wins, x[0], best[0]),
                    simd.$select(wins, x[1], best[1]),
                ]
            }

            #[inline(always)]
            fn rectified<S: Simd>(simd: S, x: S::$vector) -> S::$vector {
                let zero = simd.$splat(0.0);
                simd.$select(simd.$less(x, zero), zero, x)
            }

            #[inline(always)]
            fn whole(self) -> u16 {
                self as u16
            }
        }
    };
}

vectors!(
    f32,
    f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    partial_load_f32s,
    partial_store_f32s,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_add_e_f32s,
    less_than_f32s,
    equal_f32s,
    not_m32s,
    or_m32s,
    select_f32s
);
vectors!(
    f64,
    f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    partial_load_f64s,
    partial_store_f64s,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_add_e_f64s,
    less_than_f64s,
    equal_f64s,
    not_m64s,
    or_m64s,
    select_f64s
);

/// How many numbers a vector holds.
#[inline(always)]
pub(crate) const fn lanes<T: Vectors, S: Simd>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}
