//! Comparisons that differ in their seeds alone, and in the images that these drew, as one.

use std::collections::BTreeSet;

use super::record::Comparison;

/// Some comparisons as one of all their seeds, if they differ in nothing but these and the images that these drew, and no seed
/// is in two of them. Each comes with the address of its folder as seen from the page of all.
#[must_use]
pub fn pool(parts: &[(&Comparison, String)]) -> Option<Comparison> {
    let ((first, _), others) = parts.split_first()?;
    let spec = without_seeds(first)?;
    let same = |other: &Comparison| {
        let growths = first.growths.iter().zip(&other.growths);
        without_seeds(other).as_ref() == Some(&spec)
            && (&other.version, other.threads) == (&first.version, first.threads)
            && described(&other.data) == described(&first.data)
            && other.teacher == first.teacher
            && other.growths.len() == first.growths.len()
            && growths
                .into_iter()
                .all(|(a, b)| a.name == b.name && a.student == b.student)
    };
    if !others.iter().all(|(other, _)| same(other)) {
        return None;
    }
    let mut seeds = BTreeSet::new();
    let all = parts.iter().flat_map(|(part, _)| &part.seeds);
    if !all.into_iter().all(|seed| seeds.insert(*seed)) {
        return None;
    }
    let mut pooled = (*first).clone();
    // Where fewer images are used than there are, each comparison draws them by its first seed.
    if others.iter().any(|(other, _)| other.data != first.data) {
        pooled.data = format!(
            "{}, drawn anew for each of the comparisons",
            described(&first.data)
        );
    }
    pooled.places.clear();
    for (part, place) in parts {
        let own = part.seeds.iter().map(|seed| (*seed, place.clone()));
        pooled.places.extend(own);
    }
    for (other, _) in others {
        pooled.runs.extend(other.runs.iter().cloned());
        for (growth, more) in pooled.growths.iter_mut().zip(&other.growths) {
            growth.evidence.extend(more.evidence.iter().cloned());
        }
    }
    let mut stated: toml::Table = pooled.spec_toml.parse().ok()?;
    let numbers = seeds
        .iter()
        .map(|seed| toml::Value::Integer(seed.cast_signed()));
    stated.insert("seeds".to_owned(), toml::Value::Array(numbers.collect()));
    pooled.spec_toml = stated.to_string();
    pooled.seeds = seeds.into_iter().collect();
    let commands: Vec<&str> = parts
        .iter()
        .map(|(part, _)| part.command.as_str())
        .collect();
    pooled.command = commands.join(" && ");
    Some(pooled)
}

/// The name, number and shape of images, without the hashes of those that were drawn.
fn described(data: &str) -> &str {
    data.split_once(" (SHA-256").map_or(data, |(what, _)| what)
}

/// The spec but for its seeds and for the place where its images lie.
fn without_seeds(comparison: &Comparison) -> Option<toml::Table> {
    let mut spec: toml::Table = comparison.spec_toml.parse().ok()?;
    spec.remove("seeds");
    if let Some(toml::Value::Table(data)) = spec.get_mut("data") {
        data.remove("folder");
    }
    Some(spec)
}
