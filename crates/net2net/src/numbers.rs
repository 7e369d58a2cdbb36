//! Sizes, factors and amounts as people write them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use wildmatch::WildMatch;

/// `NAME=2x` each.
pub(crate) fn own_factors(texts: &[String]) -> BTreeMap<String, f64> {
    let pairs = texts.iter().filter_map(|text| text.rsplit_once('='));
    pairs
        .filter_map(|(name, factor)| Some((name.to_owned(), depth(factor)?)))
        .collect()
}

/// A number in a message, which may be absurd.
pub(crate) fn short(number: f64) -> String {
    match number.abs() < 1e6 {
        true => number.to_string(),
        false => format!("{number:e}"),
    }
}

/// A factor such as `2x`.
pub(crate) fn depth(text: &str) -> Option<f64> {
    text.strip_suffix('x')?.parse().ok()
}

/// `NAME=NUMBER` each; a number alone is that of all names of `unnamed`, which are those of inputs or of
/// outputs.
pub(crate) fn numbered(
    texts: &[String],
    unnamed: Option<(&[String], &str)>,
) -> Result<BTreeMap<String, usize>> {
    let mut all = BTreeMap::new();
    for text in texts {
        let (names, number) = match (text.rsplit_once('='), unnamed) {
            (Some((name, number)), _) => (vec![name.to_owned()], number),
            (None, Some(([], what))) => {
                bail!(
                    "each {what} of the model is at a node that is not understood, so none can have more"
                )
            }
            (None, Some((names, _))) => (names.to_vec(), text.as_str()),
            (None, None) => {
                bail!("`{text}` should be NAME=SIZE or NAME=2x, e.g. layer1.0.conv1=24")
            }
        };
        let number = number.parse().with_context(|| {
            format!(
                "`{number}` in `{text}` is no size; write e.g. {}=24",
                names[0]
            )
        })?;
        all.extend(names.iter().map(|name| (name.clone(), number)));
    }
    match unnamed {
        None => Ok(all),
        Some((own, what)) => known(all, own, what),
    }
}

/// The inputs or outputs that patterns name, of those of the model that may have more.
fn known(
    patterns: BTreeMap<String, usize>,
    own: &[String],
    what: &str,
) -> Result<BTreeMap<String, usize>> {
    let mut all = BTreeMap::new();
    for (pattern, number) in patterns {
        let matcher = WildMatch::new(&pattern);
        let mut found = own.iter().filter(|name| matcher.matches(name)).peekable();
        if found.peek().is_none() {
            bail!(
                "`{pattern}` is no {what} of the model that can have more: {}, but for those that are at \
                 a node that is not understood",
                match own {
                    [] => format!("it has no {what}s"),
                    own => format!("it has {}", own.join(", ")),
                }
            );
        }
        all.extend(found.map(|name| (name.clone(), number)));
    }
    Ok(all)
}

/// `2x`, `50M`, `1.5G`, `300k` or a plain number.
pub(crate) fn amount(text: &str, now: u64) -> Result<u64> {
    let wrong = || format!("`{text}` is no amount; write 2x, 300k, 50M, 1.5G or a number");
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let number: f64 = text[..split].parse().with_context(wrong)?;
    let unit = match &text[split..] {
        "" => 1.0,
        "x" => now as f64,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" | "B" => 1e9,
        _ => bail!(wrong()),
    };
    if !(number > 0.0 && number.is_finite()) {
        bail!(wrong());
    }
    Ok((number * unit).round() as u64)
}
