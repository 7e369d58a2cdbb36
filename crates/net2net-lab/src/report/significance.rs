//! Whether a difference of two ways is more than chance: Student's paired t test over seeds.
//!
//! Both ways of a seed share data order, teacher and plan, so their difference is compared with zero
//! seed by seed. With few seeds only large and steady differences are significant; the interval says
//! how large the difference may be.

use serde::Serialize;

/// The confidence of intervals.
pub const CONFIDENCE: f64 = 0.95;

/// A paired difference over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// How many seeds have both.
    pub seeds: usize,
    /// The mean of the differences.
    pub mean: f64,
    /// Half of the interval of 95 % confidence; none from one seed.
    pub margin: Option<f64>,
    /// The two-sided p value of the paired t test; none from one seed.
    pub p: Option<f64>,
}

impl Difference {
    /// Of the first over the second of each pair; none without pairs.
    #[must_use]
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let n = pairs.len();
        if n == 0 {
            return None;
        }
        let apart: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
        let mean = apart.iter().sum::<f64>() / n as f64;
        let alone = Self {
            seeds: n,
            mean,
            margin: None,
            p: None,
        };
        if n == 1 {
            return Some(alone);
        }
        let freedom = (n - 1) as f64;
        let variance = apart.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / freedom;
        let error = (variance / n as f64).sqrt();
        let p = match (error > 0.0, mean == 0.0) {
            (true, _) => two_sided(mean / error, freedom),
            (false, true) => 1.0,
            (false, false) => 0.0,
        };
        Some(Self {
            margin: Some(error * quantile(freedom)),
            p: Some(p),
            ..alone
        })
    }
}

/// The probability of a t at least as far from zero.
fn two_sided(t: f64, freedom: f64) -> f64 {
    incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The t within which lies [`CONFIDENCE`] of the distribution, by halving.
fn quantile(freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e3);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        match two_sided(middle, freedom) > 1.0 - CONFIDENCE {
            true => low = middle,
            false => high = middle,
        }
    }
    0.5 * (low + high)
}

/// The regularised incomplete beta function, by its continued fraction (Abramowitz & Stegun 26.5.8,
/// evaluated after Lentz).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast on one side of the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let scale = a * x.ln() + b * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    let away = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction / before - 1.0).abs() < 1e-15 {
            break;
        }
    }
    scale.exp() * fraction / a
}

/// The logarithm of the gamma function above zero: Stirling's series, far enough out.
fn ln_gamma(x: f64) -> f64 {
    let mut x = x;
    let mut shift = 0.0;
    while x < 12.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn probabilities_are_those_of_tables() {
        // One and two degrees of freedom have closed forms.
        near(two_sided(1.0, 1.0), 0.5);
        near(two_sided(2.0, 2.0), 1.0 - 2.0 / 6f64.sqrt());
        for (freedom, expected) in [
            (1.0, 12.706_205),
            (2.0, 4.302_653),
            (4.0, 2.776_445),
            (30.0, 2.042_272),
        ] {
            near(quantile(freedom), expected);
        }
    }

    #[test]
    fn differences_are_paired() {
        let difference = Difference::of(&[(3.0, 1.0), (5.0, 2.0), (7.0, 3.0)]).unwrap();
        assert_eq!((difference.seeds, difference.mean), (3, 3.0));
        // t = 3 / (1 / √3) with two degrees of freedom.
        let t = 27f64.sqrt();
        near(difference.p.unwrap(), 1.0 - t / (2.0 + t * t).sqrt());
        near(difference.margin.unwrap(), 4.302_653 / 3f64.sqrt());
        assert_eq!(Difference::of(&[]), None);
        assert_eq!(Difference::of(&[(1.0, 0.5)]).unwrap().p, None);
        assert_eq!(Difference::of(&[(1.0, 1.0); 4]).unwrap().p, Some(1.0));
        assert_eq!(Difference::of(&[(2.0, 1.0); 4]).unwrap().p, Some(0.0));
    }
}
