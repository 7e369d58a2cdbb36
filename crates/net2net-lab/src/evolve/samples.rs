//! Which samples a step learns from, and by which it is judged.

use std::collections::BTreeSet;
use std::path::Path;

use net2net_core::weights::stream;
use rand::seq::SliceRandom;

use super::error::EvolveError;
use super::home::Home;
use super::spec::EvolveSpec;
use super::store::{Snapshot, Step, Version};
use crate::data::pack::{self, PACK_EXTENSION};
use crate::data::{Dataset, Mixture, Share};

/// What a step works with.
pub(super) struct Chosen {
    /// What trials learn from, and the images for selection.
    pub(super) mixture: Mixture,
    /// The images that judge, for each snapshot that brought some.
    pub(super) judges: Vec<(i64, Share)>,
    /// The snapshots that are new.
    pub(super) snapshots: Vec<i64>,
    /// Their samples.
    pub(super) new_samples: usize,
    /// Old ones beside them.
    pub(super) replayed: usize,
}

/// Chooses the samples of a step: all that its line has not seen, old ones beside them, and the two parts of what judges.
pub(super) fn choose(home: &Home, spec: &EvolveSpec, step: &Step) -> Result<Chosen, EvolveError> {
    let mut known = home.store.snapshots()?;
    let seen = seen_by(&home.store.versions()?, step.head);
    known.retain(|snapshot| !snapshot.dropped && snapshot.id <= step.snapshot);
    let classes = classes_of_line(home, step.head, &known)?;
    let (old, new): (Vec<&Snapshot>, Vec<&Snapshot>) = known
        .iter()
        .partition(|snapshot| seen.contains(&snapshot.id));
    let mut train: Vec<Share> = new
        .iter()
        .map(|snapshot| everything(&snapshot.train, snapshot.record.train))
        .collect();
    let new_samples = new.iter().map(|snapshot| snapshot.record.train).sum();
    let wanted = (new_samples as f64 * spec.replay).round() as usize;
    let replay = replay(home, &old, &classes, wanted, spec.seed, step.id)?;
    let replayed = replay.iter().map(|share| share.samples.len()).sum();
    train.extend(replay);
    let (mut selection, mut judges) = (Vec::new(), Vec::new());
    for snapshot in &known {
        let Some(hash) = &snapshot.validation else {
            continue;
        };
        let pack = read(home, hash, snapshot.id)?;
        let share = spec.promotion.selection_share;
        let (select, judge) = parted(&pack, hash, share, spec.seed);
        selection.push(Share {
            pack: file(hash),
            samples: select,
        });
        judges.push((
            snapshot.id,
            Share {
                pack: file(hash),
                samples: judge,
            },
        ));
    }
    // Where each class has one image, that one judges and selects.
    if selection.iter().all(|share| share.samples.is_empty()) {
        selection = judges.iter().map(|(_, share)| share.clone()).collect();
    }
    Ok(Chosen {
        mixture: Mixture {
            name: format!("step {}", step.id),
            classes,
            train,
            validation: selection,
        },
        judges,
        snapshots: new.iter().map(|snapshot| snapshot.id).collect(),
        new_samples,
        replayed,
    })
}

/// The classes of a line, in the order of its outputs: those of its head, then those that came with data that are in use.
pub(super) fn classes_of_line(
    home: &Home,
    head: Option<i64>,
    known: &[Snapshot],
) -> Result<Vec<String>, EvolveError> {
    let mut classes = match head {
        Some(head) => classes_of(home, &home.store.version(head)?)?,
        None => Vec::new(),
    };
    for class in known.iter().flat_map(|snapshot| &snapshot.record.classes) {
        if !classes.contains(class) {
            classes.push(class.clone());
        }
    }
    Ok(classes)
}

/// The classes of a version, in the order of its outputs.
pub(super) fn classes_of(home: &Home, version: &Version) -> Result<Vec<String>, EvolveError> {
    let whose = format!("version {}", version.id);
    let bytes = home.objects.read(&version.samples, "json", &whose)?;
    let list: Mixture = serde_json::from_slice(&bytes).map_err(|source| EvolveError::Json {
        path: home.objects.path(&version.samples, "json"),
        source,
    })?;
    Ok(list.classes)
}

/// The newest snapshot that is in use, if the trunk has not learnt from all of them.
pub(super) fn left(home: &Home) -> Result<Option<i64>, EvolveError> {
    let seen = seen_by(&home.store.versions()?, home.store.head()?);
    let mut known = home.store.snapshots()?;
    known.retain(|snapshot| !snapshot.dropped);
    let learnt = known.iter().all(|snapshot| seen.contains(&snapshot.id));
    Ok(known.last().filter(|_| !learnt).map(|newest| newest.id))
}

/// The same after the network that the life begins with has become a version, and nothing has gone on from it yet.
pub(super) fn left_by_adoption(home: &Home) -> Result<Option<i64>, EvolveError> {
    let Some(head) = home.store.head()? else {
        return Ok(None);
    };
    let adopted = home.store.version(head)?.trial.is_empty();
    let steps = home.store.steps()?;
    let tried = steps.iter().any(|step| step.head == Some(head));
    match adopted && !tried {
        true => left(home),
        false => Ok(None),
    }
}

/// The snapshots that a version and its ancestors learnt from.
pub(super) fn seen_by(versions: &[Version], mut head: Option<i64>) -> BTreeSet<i64> {
    let mut seen = BTreeSet::new();
    while let Some(id) = head {
        let Some(version) = versions.iter().find(|version| version.id == id) else {
            break;
        };
        seen.extend(&version.record.snapshots);
        head = version.parent;
    }
    seen
}

/// Draws old samples, as evenly over classes as these allow.
fn replay(
    home: &Home,
    old: &[&Snapshot],
    classes: &[String],
    wanted: usize,
    seed: u64,
    step: i64,
) -> Result<Vec<Share>, EvolveError> {
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let mut by_class: Vec<Vec<(usize, usize)>> = vec![Vec::new(); classes.len()];
    for (at, snapshot) in old.iter().enumerate() {
        let pack = read(home, &snapshot.train, snapshot.id)?;
        for (sample, label) in pack.labels().iter().enumerate() {
            let name = &pack.classes()[*label as usize];
            if let Some(class) = classes.iter().position(|class| class == name) {
                by_class[class].push((at, sample));
            }
        }
    }
    for (class, members) in by_class.iter_mut().enumerate() {
        members.shuffle(&mut stream(seed, &format!("replay {step} {class}")));
    }
    let mut chosen: Vec<Vec<usize>> = vec![Vec::new(); old.len()];
    let longest = by_class.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn =
        (0..longest).flat_map(|rank| by_class.iter().filter_map(move |all| all.get(rank)));
    for (at, sample) in in_turn.take(wanted) {
        chosen[*at].push(*sample);
    }
    let shares = old.iter().zip(chosen).map(|(snapshot, mut samples)| {
        samples.sort_unstable();
        Share {
            pack: file(&snapshot.train),
            samples,
        }
    });
    Ok(shares.filter(|share| !share.samples.is_empty()).collect())
}

/// Parts images for selection from those that judge, class by class; a class of one image judges.
fn parted(pack: &Dataset, hash: &str, share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); pack.classes().len()];
    for (sample, label) in pack.labels().iter().enumerate() {
        by_class[*label as usize].push(sample);
    }
    let (mut select, mut judge) = (Vec::new(), Vec::new());
    for (class, members) in by_class.iter_mut().enumerate() {
        members.shuffle(&mut stream(seed, &format!("selection {hash} {class}")));
        let count = (members.len() as f64 * share).round() as usize;
        let most = members.len().saturating_sub(1);
        let (left, right) = members.split_at(count.clamp(1, most.max(1)).min(most));
        select.extend_from_slice(left);
        judge.extend_from_slice(right);
    }
    select.sort_unstable();
    judge.sort_unstable();
    (select, judge)
}

/// The name of a pack's file beside a mixture.
fn file(hash: &str) -> String {
    format!("{hash}.{PACK_EXTENSION}")
}

fn everything(hash: &str, count: usize) -> Share {
    Share {
        pack: file(hash),
        samples: (0..count).collect(),
    }
}

fn read(home: &Home, hash: &str, snapshot: i64) -> Result<Dataset, EvolveError> {
    let whose = format!("snapshot {snapshot}");
    let path = home.objects.checked(hash, PACK_EXTENSION, &whose)?;
    Ok(pack::read(&path)?)
}

/// Lays out a mixture and its packs in a folder.
pub(super) fn lay_out(
    home: &Home,
    mixture: &Mixture,
    others: &[(i64, Share)],
    hash: &str,
    folder: &Path,
) -> Result<(), EvolveError> {
    std::fs::create_dir_all(folder).map_err(EvolveError::file(folder))?;
    let shares = mixture.train.iter().chain(&mixture.validation);
    let named: BTreeSet<&str> = shares
        .chain(others.iter().map(|(_, share)| share))
        .map(|share| share.pack.as_str())
        .collect();
    for name in named {
        let hash = name.trim_end_matches(&format!(".{PACK_EXTENSION}"));
        let from = home.objects.path(hash, PACK_EXTENSION);
        link(&from, &folder.join(name))?;
    }
    let list = home.objects.path(hash, "json");
    link(&list, &folder.join(MIXTURE_FILE))
}

/// The list of samples in a step's folder of data.
pub(super) const MIXTURE_FILE: &str = "mixture.json";

/// Another name for a file that never changes; what is there already stays.
pub(super) fn link(from: &Path, to: &Path) -> Result<(), EvolveError> {
    let size = |path: &Path| std::fs::metadata(path).map(|found| found.len()).ok();
    if size(to).is_some() && size(to) == size(from) {
        return Ok(());
    }
    Ok(crate::explore::link(from, to)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    #[test]
    fn each_class_is_parted_by_its_share_and_nothing_is_on_both_sides() {
        let shape = ImageShape {
            height: 1,
            width: 1,
            channels: 1,
        };
        let labels: Vec<u32> = (0..41).map(|i| if i == 40 { 2 } else { i % 2 }).collect();
        let classes = ["a", "b", "c"].map(String::from).to_vec();
        let pack = Dataset::new("p", shape, vec![0_u8; 41], labels, classes).unwrap();
        let (select, judge) = parted(&pack, "hash", 0.25, 3);
        assert_eq!((select.len(), judge.len()), (10, 31));
        assert!(judge.contains(&40) && select.iter().all(|at| !judge.contains(at)));
        assert_eq!(parted(&pack, "hash", 0.25, 3), (select.clone(), judge));
        assert_ne!(parted(&pack, "hash", 0.25, 4).0, select);
    }
}
