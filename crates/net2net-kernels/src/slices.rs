//! Stretches of stored numbers copied, converted and multiplied: what growing a parameter does.

use crate::Real;
use crate::lanes::vectorized;

/// Sums that are kept side by side.
const LANES: usize = 8;

/// A single float as files have it: little-endian bytes at any address.
pub type Word = [u8; 4];

/// A number that can be read, and computed with in another precision.
pub trait Number: Copy + Send + Sync {
    /// Its value, rounded if `T` is narrower.
    fn value<T: Real>(self) -> T;
}

impl Number for f32 {
    #[inline(always)]
    fn value<T: Real>(self) -> T {
        T::from_f64(f64::from(self))
    }
}

impl Number for f64 {
    #[inline(always)]
    fn value<T: Real>(self) -> T {
        T::from_f64(self)
    }
}

impl Number for Word {
    #[inline(always)]
    fn value<T: Real>(self) -> T {
        T::from_f64(f64::from(f32::from_le_bytes(self)))
    }
}

/// `to[i] = from[i] · f₁ · f₂ …`, rounded after each factor.
///
/// # Panics
/// If the slices differ in length.
pub fn scale<S: Number, T: Real>(from: &[S], factors: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len());
    vectorized(
        #[inline(always)]
        || {
            let pairs = to.iter_mut().zip(from);
            match *factors {
                [] => pairs.for_each(|(to, x)| *to = x.value()),
                [a] => pairs.for_each(|(to, x)| *to = x.value::<T>() * a),
                [a, b] => pairs.for_each(|(to, x)| *to = x.value::<T>() * a * b),
                _ => pairs.for_each(|(to, x)| {
                    *to = x.value();
                    factors.iter().for_each(|factor| *to *= *factor);
                }),
            }
        },
    );
}

/// Words of random bits as numbers from `-half_width` up to `half_width`.
///
/// # Panics
/// If the slices differ in length.
pub fn uniform(words: &[Word], half_width: f64, to: &mut [f64]) {
    assert_eq!(words.len(), to.len());
    vectorized(
        #[inline(always)]
        || {
            for (x, word) in to.iter_mut().zip(words) {
                let word = f64::from(u32::from_le_bytes(*word));
                *x = half_width * (word / f64::from(1u32 << 31) - 1.0);
            }
        },
    );
}

/// `to[i] = from[i] · f₁ · f₂ … · own[i]`, rounded after each factor.
///
/// # Panics
/// If the slices differ in length.
pub fn scale_each<S: Number, T: Real>(from: &[S], factors: &[T], own: &[T], to: &mut [T]) {
    assert!(from.len() == to.len() && own.len() == to.len());
    vectorized(
        #[inline(always)]
        || {
            let each = to.iter_mut().zip(from.iter().zip(own));
            match *factors {
                [] => each.for_each(|(to, (x, own))| *to = x.value::<T>() * *own),
                [a] => each.for_each(|(to, (x, own))| *to = x.value::<T>() * a * *own),
                _ => each.for_each(|(to, (x, own))| {
                    *to = x.value();
                    factors.iter().for_each(|factor| *to *= *factor);
                    *to *= *own;
                }),
            }
        },
    );
}

/// `to[i] = from[at[i]] · f₁ · f₂ … · own[i]`, rounded after each factor.
///
/// # Panics
/// If the slices but `from` differ in length, or a place is not in `from`.
pub fn gather<S: Number, T: Real>(from: &[S], at: &[u32], factors: &[T], own: &[T], to: &mut [T]) {
    assert!(at.len() == to.len() && own.len() == to.len());
    for ((to, at), own) in to.iter_mut().zip(at).zip(own) {
        *to = from[*at as usize].value();
        factors.iter().for_each(|factor| *to *= *factor);
        *to *= *own;
    }
}

/// The sum of squares, in f64.
pub fn sum_of_squares<S: Number>(x: &[S]) -> f64 {
    vectorized(
        #[inline(always)]
        || {
            let mut sums = [0.0; LANES];
            let blocks = x.chunks_exact(LANES);
            let mut last: f64 = 0.0;
            for x in blocks.remainder() {
                let x: f64 = x.value();
                last += x * x;
            }
            for block in blocks {
                for (sum, x) in sums.iter_mut().zip(block) {
                    let x: f64 = x.value();
                    *sum += x * x;
                }
            }
            sums.iter().sum::<f64>() + last
        },
    )
}

/// The sum of squares, each times a weight of its own, in f64.
///
/// # Panics
/// If the slices differ in length.
pub fn weighted_sum_of_squares<S: Number>(x: &[S], weights: &[f64]) -> f64 {
    assert_eq!(x.len(), weights.len());
    vectorized(
        #[inline(always)]
        || {
            let mut sums = [0.0; LANES];
            let blocks = x.chunks_exact(LANES).zip(weights.chunks_exact(LANES));
            for (block, weights) in blocks {
                for ((sum, x), weight) in sums.iter_mut().zip(block).zip(weights) {
                    let x: f64 = x.value();
                    *sum += x * x * weight;
                }
            }
            let whole = x.len() / LANES * LANES;
            let mut last: f64 = 0.0;
            for (x, weight) in x[whole..].iter().zip(&weights[whole..]) {
                let x: f64 = x.value();
                last += x * x * weight;
            }
            sums.iter().sum::<f64>() + last
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::random;

    /// Each element times its factors, one after the other.
    fn naive<T: Real>(from: &[f32], factors: &[T], own: Option<&[T]>) -> Vec<T> {
        let one = |(i, x): (usize, &f32)| {
            let x = factors.iter().fold(x.value::<T>(), |x, factor| x * *factor);
            own.map_or(x, |own| x * own[i])
        };
        from.iter().enumerate().map(one).collect()
    }

    fn agree<T: Real>() {
        let from: Vec<f32> = random(1, 100).iter().map(|x| *x as f32).collect();
        let words: Vec<Word> = from.iter().map(|x| x.to_le_bytes()).collect();
        let own: Vec<T> = random(2, 100).iter().map(|x| T::from_f64(*x)).collect();
        let at: Vec<u32> = (0..100).map(|i| i * 37 % 100).collect();
        let moved: Vec<f32> = at.iter().map(|i| from[*i as usize]).collect();
        for count in 0..4 {
            let factors: Vec<T> = random(3, count).iter().map(|x| T::from_f64(*x)).collect();
            let mut to = vec![T::zero(); 100];
            scale(&words, &factors, &mut to);
            assert_eq!(to, naive(&from, &factors, None));
            scale_each(&words, &factors, &own, &mut to);
            assert_eq!(to, naive(&from, &factors, Some(&own)));
            gather(&words, &at, &factors, &own, &mut to);
            assert_eq!(to, naive(&moved, &factors, Some(&own)));
        }
    }

    #[test]
    fn squares_are_summed() {
        let from: Vec<f32> = random(1, 100).iter().map(|x| *x as f32).collect();
        let words: Vec<Word> = from.iter().map(|x| x.to_le_bytes()).collect();
        let weights = random(2, 100);
        for count in [0, 5, 8, 100] {
            let square = |x: &f32| f64::from(*x).powi(2);
            let plain: f64 = from[..count].iter().map(square).sum();
            let pairs = from.iter().zip(&weights).take(count);
            let weighted: f64 = pairs.map(|(x, weight)| square(x) * weight).sum();
            assert!((sum_of_squares(&words[..count]) - plain).abs() < 1e-12);
            let found = weighted_sum_of_squares(&words[..count], &weights[..count]);
            assert!((found - weighted).abs() < 1e-12);
        }
    }

    #[test]
    fn stretches_are_rounded_after_each_factor() {
        agree::<f32>();
        agree::<f64>();
    }
}
