//! Which of two networks is better, by images that nothing was chosen by.

use net2net_core::engine::Predictor;
use net2net_core::io::Checkpoint;
use net2net_core::weights::stream;
use rand::RngExt;

use super::error::EvolveError;
use super::spec::Promotion;
use super::store::{Judgement, Scores};
use crate::data::{Dataset, Normalization};
use crate::explore::Limits;

/// Images in a batch of an evaluation.
const BATCH: usize = 100;

/// Losses that a reason names.
const NAMED: usize = 3;

/// What was decided about a challenger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It replaces the champion.
    Better(String),
    /// It does not.
    NotBetter(String),
    /// It is worse than the champion as surely as it would have had to be better.
    Worse(String),
}

/// What a challenger costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) parameters: u64,
    pub(super) flops: u64,
    pub(super) latency_ms: Option<f64>,
}

/// Whether a network classifies each image correctly.
pub(super) fn correct(
    network: &Checkpoint,
    images: &Dataset,
    normalization: &Normalization,
    threads: usize,
) -> Result<Vec<bool>, EvolveError> {
    let mut predictor = Predictor::<f32>::new(&network.graph, &network.weights, threads)?;
    let mut found = Vec::with_capacity(images.len());
    let all: Vec<usize> = (0..images.len()).collect();
    for some in all.chunks(BATCH) {
        let batch = images.batch_f32(some, normalization)?;
        let outputs = predictor.run(some.len(), &[&batch])?;
        let logits = outputs.first().map_or(&[][..], Vec::as_slice);
        let classes = (logits.len() / some.len()).max(1);
        let rows = logits.chunks_exact(classes);
        found.extend(
            rows.zip(some)
                .map(|(row, at)| largest(row) == images.labels()[*at] as usize),
        );
    }
    Ok(found)
}

fn largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = at;
        }
    }
    best
}

/// How a network did, in all and by part. `snapshots` says how many of the images, in order, each brought.
pub(super) fn scores(correct: &[bool], images: &Dataset, snapshots: &[(i64, usize)]) -> Scores {
    let share = |right: usize, of: usize| right as f64 / of.max(1) as f64;
    let mut classes = vec![(0, 0); images.classes().len()];
    for (right, label) in correct.iter().zip(images.labels()) {
        let class = &mut classes[*label as usize];
        class.0 += usize::from(*right);
        class.1 += 1;
    }
    let count = |part: &[bool]| part.iter().filter(|right| **right).count();
    let mut rest = correct;
    let mut by_snapshot = Vec::new();
    for (id, of) in snapshots {
        let (part, after) = rest.split_at((*of).min(rest.len()));
        rest = after;
        by_snapshot.push((*id, share(count(part), part.len())));
    }
    Scores {
        accuracy: share(count(correct), correct.len()),
        classes: classes
            .into_iter()
            .map(|(right, of)| (of > 0).then(|| share(right, of)))
            .collect(),
        snapshots: by_snapshot,
    }
}

/// The difference of two accuracies on the same images, and the bounds that a paired bootstrap puts below and above it:
/// each is passed by the share `1 - confidence` of resamples.
pub(super) fn bootstrap(
    challenger: &[bool],
    champion: &[bool],
    promotion: &Promotion,
    seed: u64,
) -> [f64; 3] {
    let pairs = challenger.iter().zip(champion);
    let differences: Vec<i64> = pairs.map(|(a, b)| i64::from(*a) - i64::from(*b)).collect();
    let count = differences.len().max(1);
    let mean = |sum: i64| sum as f64 / count as f64;
    let mut random = stream(seed, "paired bootstrap");
    let mut resampled: Vec<i64> = (0..promotion.resamples)
        .map(|_| {
            let drawn = (0..differences.len()).map(|_| random.random_range(0..differences.len()));
            drawn.map(|at| differences[at]).sum()
        })
        .collect();
    resampled.sort_unstable();
    let outside = ((1.0 - promotion.confidence) * promotion.resamples as f64).floor() as usize;
    let last = resampled.len().saturating_sub(1);
    let at = |place: usize| resampled.get(place.min(last)).copied().unwrap_or(0);
    [
        mean(differences.iter().sum()),
        mean(at(outside)),
        mean(at(last.saturating_sub(outside))),
    ]
}

/// Whether a challenger replaces the champion, and why. `new` are the snapshots that it alone has learnt from: the others are
/// older.
pub(super) fn verdict(
    judgement: &Judgement,
    cost: Cost,
    classes: &[String],
    promotion: &Promotion,
    limits: &Limits,
    new: &[i64],
) -> Verdict {
    if let Some(why) = limits.passed_by(cost.parameters, cost.flops, cost.latency_ms) {
        return Verdict::NotBetter(why);
    }
    let (Some(champion), Some([by, low, high])) = (&judgement.champion, judgement.difference)
    else {
        return Verdict::Better(format!(
            "there was no champion; {} on {} images",
            percent(judgement.challenger.accuracy),
            judgement.samples
        ));
    };
    let sure = 100.0 * promotion.confidence;
    if high < 0.0 {
        return Verdict::Worse(format!(
            "worse by {} on {} images, by at least {} with {sure} % confidence",
            points(-by),
            judgement.samples,
            points(-high)
        ));
    }
    if low <= 0.0 {
        return Verdict::NotBetter(format!(
            "not surely better: {} on {} images, and {sure} % confidence reaches down to {}",
            signed(by),
            judgement.samples,
            signed(low)
        ));
    }
    let mut lost = Vec::new();
    let pairs = champion.classes.iter().zip(&judgement.challenger.classes);
    for (class, (before, after)) in classes.iter().zip(pairs) {
        if let (Some(before), Some(after)) = (before, after)
            && before - after > promotion.class_loss
        {
            lost.push(loss(
                &format!("class {class}"),
                before - after,
                promotion.class_loss,
            ));
        }
    }
    let pairs = champion
        .snapshots
        .iter()
        .zip(&judgement.challenger.snapshots);
    for ((id, before), (_, after)) in pairs.filter(|((id, _), _)| !new.contains(id)) {
        if before - after > promotion.snapshot_loss {
            let what = format!("snapshot {id}");
            lost.push(loss(&what, before - after, promotion.snapshot_loss));
        }
    }
    let better = format!(
        "better by {} on {} images, by at least {} with {sure} % confidence",
        points(by),
        judgement.samples,
        points(low)
    );
    match lost.is_empty() {
        true => Verdict::Better(better),
        false => Verdict::NotBetter(format!("{better}, but {}", some(&lost))),
    }
}

/// The first of several, and how many more there are.
fn some(all: &[String]) -> String {
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>();
    match all.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{}, and {more} more", named.join(", ")),
    }
}

fn loss(what: &str, lost: f64, allowed: f64) -> String {
    format!(
        "{what} loses {} ({} allowed)",
        points(lost),
        points(allowed)
    )
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn points(share: f64) -> String {
    format!("{:.2} points", 100.0 * share)
}

fn signed(share: f64) -> String {
    format!("{:+.2} points", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promotion() -> Promotion {
        Promotion {
            resamples: 1000,
            ..Promotion::default()
        }
    }

    fn judgement(challenger: &[bool], champion: &[bool]) -> Judgement {
        let shape = crate::data::ImageShape {
            height: 1,
            width: 1,
            channels: 1,
        };
        let count = champion.len();
        let labels: Vec<u32> = (0..count).map(|i| (2 * i / count) as u32).collect();
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let images = Dataset::new("j", shape, vec![0_u8; count], labels, classes).unwrap();
        let of =
            |correct: &[bool]| scores(correct, &images, &[(1, count / 2), (2, count - count / 2)]);
        Judgement {
            samples: count,
            list: String::new(),
            challenger: of(challenger),
            champion: Some(of(champion)),
            difference: Some(bootstrap(challenger, champion, &promotion(), 7)),
        }
    }

    fn decided(judgement: &Judgement, limits: &Limits) -> Verdict {
        let cost = Cost {
            parameters: 100,
            flops: 1000,
            latency_ms: None,
        };
        let classes = ["a".to_owned(), "b".to_owned()];
        verdict(judgement, cost, &classes, &promotion(), limits, &[2])
    }

    #[test]
    fn better_worse_and_neither_are_told_apart() {
        let half: Vec<bool> = (0..400).map(|i| i % 2 == 0).collect();
        let more: Vec<bool> = (0..400).map(|i| i % 2 == 0 || i % 5 == 0).collect();
        let hardly: Vec<bool> = (0..400).map(|i| i % 2 == 0 || i == 1).collect();
        let none = Limits::default();
        assert!(matches!(
            decided(&judgement(&more, &half), &none),
            Verdict::Better(_)
        ));
        assert!(matches!(
            decided(&judgement(&half, &more), &none),
            Verdict::Worse(_)
        ));
        let Verdict::NotBetter(why) = decided(&judgement(&hardly, &half), &none) else {
            panic!("hardly better is not better");
        };
        assert!(why.contains("not surely better: +0.25 points"), "{why}");
        let small = Limits {
            parameters: Some(99),
            ..Limits::default()
        };
        let Verdict::NotBetter(why) = decided(&judgement(&more, &half), &small) else {
            panic!("beyond the limit");
        };
        assert!(why.contains("99 are the limit"), "{why}");
    }

    #[test]
    fn what_a_class_or_an_older_snapshot_loses_stands_against_a_gain() {
        // The first half loses a fifth, and the second gains more.
        let before: Vec<bool> = (0..400).map(|i| i < 200 || i % 4 == 0).collect();
        let after: Vec<bool> = (0..400).map(|i| i >= 200 || i % 5 != 0).collect();
        let Verdict::NotBetter(why) = decided(&judgement(&after, &before), &Limits::default())
        else {
            panic!("class a loses 20 points");
        };
        assert!(why.contains("class a loses 20.00 points"), "{why}");
        assert!(
            why.contains("snapshot 1 loses 20.00 points (2.00 points allowed)"),
            "{why}"
        );
    }

    #[test]
    fn the_bootstrap_follows_its_seed_and_holds_the_mean_within() {
        let a: Vec<bool> = (0..300).map(|i| i % 3 != 0).collect();
        let b: Vec<bool> = (0..300).map(|i| i % 2 == 0).collect();
        let [mean, low, high] = bootstrap(&a, &b, &promotion(), 1);
        assert_eq!([mean, low, high], bootstrap(&a, &b, &promotion(), 1));
        assert!(low < mean && mean < high);
        assert!((mean - (200.0 - 150.0) / 300.0).abs() < 1e-12);
    }
}
