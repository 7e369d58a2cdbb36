//! Numbers as people read them, the same in the terminal, in tables and on axes.

/// What stands where there is no number.
pub const NONE: &str = "—";

/// A share as percent with one decimal: `80.5 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Mean of shares and, for several, the sample standard deviation: `80.5 ± 0.3 %`.
#[must_use]
pub fn percent_spread(shares: &[f64]) -> String {
    match shares {
        [] => NONE.to_owned(),
        [one] => percent(*one),
        many => {
            let n = many.len() as f64;
            let mean = many.iter().sum::<f64>() / n;
            let variance = many.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
            format!("{:.1} ± {:.1} %", mean * 100.0, variance.sqrt() * 100.0)
        }
    }
}

/// A speed-up with two significant digits: `0.82×`, `3.1×`, `12×`.
#[must_use]
pub fn times(ratio: f64) -> String {
    match ratio {
        r if !r.is_finite() => NONE.to_owned(),
        r if r < 0.995 => format!("{r:.2}×"),
        r if r < 9.95 => format!("{r:.1}×"),
        r => format!("{r:.0}×"),
    }
}

/// A duration in the largest fitting unit: `4.2 s`, `181 s`, `52 min`, `3.4 h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => NONE.to_owned(),
        s if s < 99.95 => format!("{s:.1} s"),
        s if s < 1_000.0 => format!("{s:.0} s"),
        s if s < 6_000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}

/// A count with an SI prefix and three significant digits: `950`, `1.20 M`, `34.1 T`.
#[must_use]
pub fn si(count: f64) -> String {
    let (scaled, prefix) = si_scale(count);
    match scaled.abs() {
        _ if prefix.is_empty() && scaled.fract() == 0.0 => format!("{scaled:.0}"),
        x if x < 9.995 => format!("{scaled:.2} {prefix}"),
        x if x < 99.95 => format!("{scaled:.1} {prefix}"),
        _ => format!("{scaled:.0} {prefix}"),
    }
    .trim_end()
    .to_owned()
}

/// A number and the SI prefix that make up a count.
#[must_use]
pub fn si_scale(count: f64) -> (f64, &'static str) {
    const PREFIXES: [(f64, &str); 6] = [
        (1e18, "E"),
        (1e15, "P"),
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
    ];
    // Half a unit in the last of three digits, so that 999 999 is a million and not 1000 thousand.
    let found = PREFIXES
        .into_iter()
        .find(|(unit, _)| count.abs() >= unit * 0.9995);
    found.map_or((count, ""), |(unit, prefix)| (count / unit, prefix))
}

/// A whole number with thin spaces between its thousands: `1 204 522`.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A difference in scientific notation: `3.1e-15`, and plain `0` for none at all.
#[must_use]
pub fn difference(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v.is_finite() => format!("{v:.1e}").replace(".0e", "e"),
        _ => "not a number".to_owned(),
    }
}

/// A noun with its number: `1 seed`, `2 seeds`.
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A list in a sentence: `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent_spread(&[]), "—");
        assert_eq!(percent_spread(&[0.805]), "80.5 %");
        assert_eq!(percent_spread(&[0.80, 0.82]), "81.0 ± 1.4 %");
        assert_eq!(
            [0.8234, 0.997, 3.13, 12.4].map(times),
            ["0.82×", "1.0×", "3.1×", "12×"]
        );
        assert_eq!(
            [4.24, 181.3, 3_100.0, 12_240.0].map(duration),
            ["4.2 s", "181 s", "52 min", "3.4 h"]
        );
        assert_eq!(
            [950.0, 999_999.0, 3.4e13].map(si),
            ["950", "1.00 M", "34.0 T"]
        );
        assert_eq!(
            [7, 1_204, 1_204_522].map(grouped),
            ["7", "1\u{202f}204", "1\u{202f}204\u{202f}522"]
        );
        assert_eq!(
            [0.0, 3.13e-15, f64::NAN].map(difference),
            ["0", "3.1e-15", "not a number"]
        );
        assert_eq!(listed(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
