//! What has arrived: the next slice, the next folder, or new files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::EvolveError;
use super::home::Home;
use super::spec::{Arrival, EvolveSpec};
use super::store::{ArrivedFile, Snapshot, now};
use crate::data::{Arrivals, DataError, Dataset, ImageShape, Newcomer, decoded, open_decoded};

/// Data that are new.
pub(super) struct Arrived {
    /// What they are called.
    pub(super) name: String,
    /// When it was looked for them, in seconds since 1970: what is written later was not seen.
    pub(super) at: f64,
    /// Images to learn from.
    pub(super) train: Dataset,
    /// Images to judge by.
    pub(super) validation: Option<Dataset>,
    /// The files that they came in, where these are followed.
    pub(super) files: Vec<ArrivedFile>,
    /// What was passed over, for people.
    pub(super) notes: Vec<String>,
}

/// Whether there are data.
pub(super) enum Look {
    /// There are.
    Arrived(Box<Arrived>),
    /// Not yet: what is waited for.
    Nothing(String),
    /// There will be none.
    Over(String),
}

/// Looks for data that no snapshot has.
pub(super) fn look(home: &Home, spec: &EvolveSpec) -> Result<Look, EvolveError> {
    let at = now();
    let before = home.store.snapshots()?;
    let shape = before
        .first()
        .map(|first| ImageShape::from(first.record.shape));
    let looked = match &spec.arrival {
        Arrival::Slices { sizes, classes } => slice(spec, sizes, *classes, before.len())?,
        Arrival::Snapshots {} => snapshot(spec, before.len() + 1, shape)?,
        Arrival::Files { least } => files(home, spec, *least, &before, shape)?,
    };
    match looked {
        // More may come.
        Look::Arrived(arrived) if before.is_empty() && arrived.validation.is_none() => {
            Ok(Look::Nothing(format!(
                "waiting for images to judge by: the first data bring none; put some under `val/CLASS` in {}, or raise \
                 `validation_share` under [data.read]",
                spec.data.folder.clone().unwrap_or_default().display()
            )))
        }
        Look::Arrived(mut arrived) => {
            arrived.at = at;
            Ok(Look::Arrived(arrived))
        }
        looked => Ok(looked),
    }
}

/// A slice of a data set that is there as a whole.
fn slice(
    spec: &EvolveSpec,
    sizes: &[usize],
    classes: Option<usize>,
    number: usize,
) -> Result<Look, EvolveError> {
    let over = |of: usize| Ok(Look::Over(format!("all {of} slices have been used")));
    if classes.is_none() && number >= sizes.len() {
        return over(sizes.len());
    }
    let opened = spec.data.open(spec.seed)?;
    let (train, validation) = (opened.splits.train, opened.splits.validation);
    if train.is_in_files() {
        return Err(EvolveError::Arrival {
            folder: spec.data.folder.clone().unwrap_or_default(),
            why: "holds large images, which are not cut into slices; use `kind = \"snapshots\"` or `\"files\"`"
                .to_owned(),
        });
    }
    let name = format!("slice {}", number + 1);
    let (train, validation) = match classes {
        Some(per_slice) => {
            let all = train.classes().len();
            if number * per_slice >= all {
                return over(number);
            }
            let wanted = number * per_slice..((number + 1) * per_slice).min(all);
            let of = |data: &Dataset| of_classes(data, wanted.clone());
            (of(&train)?, of(&validation)?)
        }
        None => {
            let after = sizes[number];
            if after > train.len() {
                return Err(EvolveError::Arrival {
                    folder: spec.data.folder.clone().unwrap_or_default(),
                    why: format!(
                        "has {} training images, and slice {} is to reach {after}; lower `sizes` under [arrival]",
                        train.len(),
                        number + 1
                    ),
                });
            }
            // With one seed, a larger choice contains each smaller one.
            let chosen = |count: usize| -> Result<Vec<usize>, DataError> {
                train.balanced(count, spec.seed)
            };
            let had: BTreeSet<usize> = match number {
                0 => BTreeSet::new(),
                _ => chosen(sizes[number - 1])?.into_iter().collect(),
            };
            let new: Vec<usize> = chosen(after)?
                .into_iter()
                .filter(|index| !had.contains(index))
                .collect();
            let validation = (number == 0).then_some(validation);
            (Some(train.subset(&new)?), validation)
        }
    };
    match train {
        Some(train) => Ok(Look::Arrived(Box::new(Arrived {
            name,
            at: 0.0,
            train,
            validation,
            files: Vec::new(),
            notes: opened.notes,
        }))),
        None => over(number),
    }
}

/// The samples of some classes, which alone it then knows; `None` if there are none.
fn of_classes(
    data: &Dataset,
    wanted: std::ops::Range<usize>,
) -> Result<Option<Dataset>, DataError> {
    let inside: Vec<usize> = (0..data.len())
        .filter(|at| wanted.contains(&(data.labels()[*at] as usize)))
        .collect();
    if inside.is_empty() {
        return Ok(None);
    }
    let part = data.subset(&inside)?;
    let first = wanted.start as u32;
    let labels: Vec<u32> = part.labels().iter().map(|label| label - first).collect();
    let pixels = part.images().unwrap_or_default().to_vec();
    let classes = data.classes()[wanted].to_vec();
    Dataset::new(data.name(), data.shape(), pixels, labels, classes).map(Some)
}

/// The numbered folder that comes next.
fn snapshot(
    spec: &EvolveSpec,
    number: usize,
    shape: Option<ImageShape>,
) -> Result<Look, EvolveError> {
    let folder = data_folder(spec)?;
    let path = folder.join(number.to_string());
    if !path.is_dir() {
        return Ok(Look::Nothing(format!(
            "waiting for the folder {}",
            path.display()
        )));
    }
    if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(Look::Nothing(format!(
            "waiting for images in the folder {}, which is empty",
            path.display()
        )));
    }
    let opened = open_decoded(&path, &spec.data.read, shape)?;
    Ok(Look::Arrived(Box::new(Arrived {
        name: format!("folder {number}"),
        at: 0.0,
        train: opened.splits.train,
        validation: Some(opened.splits.validation),
        files: Vec::new(),
        notes: opened.notes,
    })))
}

/// New files in the folder.
fn files(
    home: &Home,
    spec: &EvolveSpec,
    least: usize,
    before: &[Snapshot],
    shape: Option<ImageShape>,
) -> Result<Look, EvolveError> {
    let folder = data_folder(spec)?;
    let had = home.store.files()?;
    let by_name: BTreeMap<&str, (u64, f64)> = had
        .iter()
        .map(|(file, at)| (file.name.as_str(), (file.bytes, *at)))
        .collect();
    // What was written to since is read again, since its length may be the same.
    let known = |name: &str, bytes: u64, modified: Option<SystemTime>| {
        let written = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let written = written.map_or(0.0, |since| since.as_secs_f64());
        by_name
            .get(name)
            .is_some_and(|(had, at)| *had == bytes && written < *at)
    };
    let by_hash: BTreeMap<&str, &str> = had
        .iter()
        .map(|(file, _)| (file.sha256.as_str(), file.name.as_str()))
        .collect();
    let classes = before.iter().flat_map(|one| one.record.classes.clone());
    let classes: Vec<String> = classes.collect();
    let mut found = match Arrivals::look(&folder, &spec.data.read, &classes, known) {
        // Folders that do not agree yet.
        Err(error @ DataError::Layout { .. }) => {
            return Ok(Look::Nothing(format!("waiting for other images: {error}")));
        }
        looked => looked?,
    };
    let mut seen = BTreeSet::new();
    let mut moved = 0;
    // The same image under another name is the same image.
    found.images.retain(|one| {
        let before = by_hash.get(&*one.sha256);
        moved += usize::from(before.is_some_and(|name| folder_of(name) != folder_of(&one.name)));
        before.is_none() && seen.insert(one.sha256.clone())
    });
    if moved > 0 {
        found.notes.push(format!(
            "{moved} images that are known lie in other folders now; what was learnt of them stays as it was"
        ));
    }
    let (judges, lessons): (Vec<&Newcomer>, Vec<&Newcomer>) =
        found.images.iter().partition(|one| one.validation);
    if lessons.len() < least {
        let mut waiting = format!(
            "waiting for {least} new training images in {}; there are {}",
            folder.display(),
            lessons.len()
        );
        for note in &found.notes {
            waiting += "; ";
            waiting += note;
        }
        return Ok(Look::Nothing(waiting));
    }
    let name = format!("files {}", before.len() + 1);
    let classes: Vec<String> = {
        let named: BTreeSet<&str> = found.images.iter().map(|one| one.class.as_str()).collect();
        named.into_iter().map(str::to_owned).collect()
    };
    let options = &spec.data.read;
    let Some((train, mut notes)) =
        decoded(&format!("{name}/train"), &lessons, &classes, shape, options)?
    else {
        return Ok(Look::Nothing(format!(
            "waiting for sound images in {}; those that are new are broken or still being written",
            folder.display()
        )));
    };
    let shape = Some(train.shape());
    let judged = decoded(
        &format!("{name}/validation"),
        &judges,
        &classes,
        shape,
        options,
    )?;
    let validation = judged.map(|(data, more)| {
        notes.extend(more);
        data
    });
    notes.extend(found.notes);
    if before.is_empty() && classes.len() < 2 {
        return Ok(Look::Nothing(format!(
            "waiting for a second class in {}; there is only {}",
            folder.display(),
            classes.join(", ")
        )));
    }
    Ok(Look::Arrived(Box::new(Arrived {
        name,
        at: 0.0,
        train,
        validation,
        files: found.images.iter().map(arrived).collect(),
        notes,
    })))
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn arrived(one: &Newcomer) -> ArrivedFile {
    ArrivedFile {
        sha256: one.sha256.clone(),
        name: one.name.clone(),
        bytes: one.len,
    }
}

fn data_folder(spec: &EvolveSpec) -> Result<PathBuf, EvolveError> {
    let folder = spec.data.folder.as_deref().unwrap_or(Path::new("."));
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(folder.to_owned()),
        _ => Err(EvolveError::Arrival {
            folder: folder.to_owned(),
            why: "is no folder; make it, or correct `folder` under [data] in the home's spec.toml"
                .to_owned(),
        }),
    }
}
