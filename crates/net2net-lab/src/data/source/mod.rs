//! Data as people have it: one function that finds out what a path holds, and reads it.
//!
//! A folder or a tar archive is listed ([`tree`]), and its files are recognised as CIFAR ([`cifar`]),
//! as IDX, or as images in folders of classes ([`arrange`], [`labels`]). Small images are decoded
//! once and kept in memory; large ones stay in their files.

mod archive;
pub(crate) mod arrange;
mod arrivals;
mod cifar;
mod labels;
mod small;
pub(crate) mod tree;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::decode::probe;
use super::keyed::{Purpose, permutation, stream};
use super::{DataError, Dataset, ImageShape, Splits, folder};
use arrange::{Arrangement, Part, arrange};
pub(crate) use arrivals::{Arrivals, Newcomer, decoded, open_decoded};
pub(crate) use cifar::Cifar;
pub(crate) use tree::{Entry, Tree};

/// Images whose sides are at most this are decoded once and kept in memory.
const SMALL_SIDE: usize = 96;
/// The most that is kept in memory of decoded images.
const MAX_DECODED_BYTES: usize = 2 << 30;
/// Images whose headers are looked at to choose a size.
const LOOKED_AT: usize = 2_000;
/// The sides of networks' inputs for large images are multiples of this.
const SIDE_STEP: usize = 32;
/// The side that ImageNet's networks read.
const LARGEST_SIDE: usize = 224;

/// How the note on a broken image ends that is not in memory with the others.
pub(super) const LEFT_OUT: &str = "it was left out";

/// How a data set is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceOptions {
    /// The side of the square that images are brought to; by default it is chosen by their sizes.
    pub side: Option<usize>,
    /// The share of each class that is set aside where there are no validation images.
    pub validation_share: f64,
    /// The file of labels of flat validation images, by its name below the folder; by default it is
    /// looked for.
    pub labels: Option<String>,
    /// The share of images that may be broken.
    pub broken_share: f64,
    /// The seed of the split.
    pub seed: u64,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            side: None,
            validation_share: 0.2,
            labels: None,
            broken_share: 0.01,
            seed: 0,
        }
    }
}

/// A data set that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The images.
    pub splits: Splits,
    /// What was found, in words.
    pub kind: String,
    /// Why images have the shape that they have.
    pub shape_reason: String,
    /// What was passed over or looks odd.
    pub notes: Vec<String>,
}

/// What a path holds.
#[derive(Debug)]
pub(crate) enum Survey {
    /// Four IDX files in this folder.
    Idx(PathBuf),
    /// CIFAR's binary files.
    Cifar(Tree, Cifar),
    /// Images in folders.
    Images(Arrangement),
}

/// The size that images are brought to, and where they are kept.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) shape: ImageShape,
    pub(crate) in_memory: bool,
    pub(crate) reason: String,
}

/// Finds out what a folder or archive holds, and opens it.
///
/// # Errors
/// [`DataError::Unrecognized`] names what was expected; otherwise as the readers of each kind.
pub fn open(path: &Path, options: &SourceOptions) -> Result<Opened, DataError> {
    options.check()?;
    let name = name_of(path);
    match survey(path, options, 2)? {
        Survey::Idx(folder) => {
            let splits = folder::idx_folder(&folder)?;
            Ok(Opened {
                splits: at_side(splits, options)?,
                kind: "IDX files".to_owned(),
                shape_reason: "as the files say".to_owned(),
                notes: Vec::new(),
            })
        }
        Survey::Cifar(tree, kind) => {
            let splits = cifar::read(&tree, kind, &name)?;
            Ok(Opened {
                splits: at_side(splits, options)?,
                kind: kind.name().to_owned(),
                shape_reason: "as the format says".to_owned(),
                notes: tree.notes,
            })
        }
        Survey::Images(arrangement) => images(&name, arrangement, options),
    }
}

/// Finds out what a folder or archive holds; images must be of `least` classes or more.
pub(crate) fn survey(
    path: &Path,
    options: &SourceOptions,
    least: usize,
) -> Result<Survey, DataError> {
    if path.is_dir() && folder::has_idx(path)? {
        return Ok(Survey::Idx(path.to_owned()));
    }
    let mut tree = Tree::open(path)?;
    // A folder around an archive, as downloads leave it.
    let mut archives = tree
        .entries
        .iter()
        .filter(|entry| archive::is_archive(entry.file_name()));
    let classes = tree.images().any(|entry| entry.name.contains('/'));
    if let (Some(only), None, false, None) = (
        archives.next(),
        archives.next(),
        classes,
        cifar::detect(&tree),
    ) {
        let inner = tree.path(only);
        if inner.is_file() {
            let note = format!("the archive {} in the folder was read", only.name);
            tree = Tree::open(&inner)?;
            tree.notes.insert(0, note);
        }
    }
    if let Some(kind) = cifar::detect(&tree) {
        return Ok(Survey::Cifar(tree, kind));
    }
    Ok(Survey::Images(arrange(&tree, options, least)?))
}

/// What a data set is called: its folder or archive.
pub(crate) fn name_of(path: &Path) -> String {
    let full = path.canonicalize();
    let full = full.as_deref().unwrap_or(path);
    let name = full.file_name().unwrap_or(full.as_os_str());
    name.to_string_lossy().into_owned()
}

fn images(
    name: &str,
    arrangement: Arrangement,
    options: &SourceOptions,
) -> Result<Opened, DataError> {
    let chosen = choose(&arrangement, options)?;
    let mut notes = arrangement.notes;
    let mut part = |part: Part, which: &str| {
        let name = format!("{name}/{which}");
        let classes = arrangement.classes.clone();
        if chosen.in_memory {
            let (dataset, broken) = small::decode_all(&name, part, chosen.shape, classes, options)?;
            notes.extend(broken);
            Ok(dataset)
        } else {
            let share = options.broken_share;
            Dataset::in_files(name, chosen.shape, part.images, part.labels, classes, share)
        }
    };
    let train = part(arrangement.train, "train")?;
    let validation = part(arrangement.validation, "validation")?;
    Ok(Opened {
        splits: Splits::new(train, validation)?,
        kind: arrangement.kind,
        shape_reason: chosen.reason,
        notes,
    })
}

/// Looks at the headers of some images, chosen by a fixed seed, and decides on a shape.
pub(crate) fn choose(
    arrangement: &Arrangement,
    options: &SourceOptions,
) -> Result<Chosen, DataError> {
    let part = &arrangement.train;
    let order = permutation(part.images.len(), &mut stream(0, Purpose::Look, 0, 0));
    let mut sizes = Vec::new();
    let mut gray = true;
    let mut first_fault = None;
    let mut bytes = Vec::new();
    for &index in order.iter().take(LOOKED_AT) {
        let entry = &part.images[index];
        entry.read(&mut bytes)?;
        match probe(&bytes) {
            Ok(header) => {
                sizes.push((header.height, header.width));
                gray &= header.gray;
            }
            Err(fault) => {
                first_fault.get_or_insert(DataError::Image {
                    image: entry.name.clone(),
                    fault,
                });
            }
        }
    }
    let channels = if gray { 1 } else { 3 };
    let mut sides: Vec<usize> = sizes.iter().map(|&(h, w)| h.min(w)).collect();
    sides.sort_unstable();
    let (Some(&median), Some(&first)) = (sides.get(sides.len() / 2), sizes.first()) else {
        return Err(first_fault.unwrap_or(DataError::Unrecognized {
            folder: PathBuf::new(),
            found: "holds no training images".to_owned(),
        }));
    };
    let largest = sizes.iter().map(|&(h, w)| h.max(w)).max().unwrap_or(0);
    let same = sizes.iter().all(|&size| size == first);
    let small = largest <= SMALL_SIDE;
    let (height, width, reason) = match options.side {
        Some(side) => (side, side, "as asked for".to_owned()),
        None if small && same => (first.0, first.1, "all images have it".to_owned()),
        None if small => (median, median, "the median of the shorter sides".to_owned()),
        None => {
            let side = (median / SIDE_STEP * SIDE_STEP).clamp(SIDE_STEP, LARGEST_SIDE);
            let reason = format!(
                "the shorter sides have a median of {median}; networks read multiples of \
                 {SIDE_STEP} up to {LARGEST_SIDE}"
            );
            (side, side, reason)
        }
    };
    let shape = ImageShape {
        height,
        width,
        channels,
    };
    let images = part.images.len() + arrangement.validation.images.len();
    let bytes = shape.checked_len().and_then(|len| len.checked_mul(images));
    Ok(Chosen {
        shape,
        in_memory: small && bytes.is_some_and(|bytes| bytes <= MAX_DECODED_BYTES),
        reason,
    })
}

/// Images of one size at another, if that was asked for.
fn at_side(splits: Splits, options: &SourceOptions) -> Result<Splits, DataError> {
    match options.side {
        Some(side) => Splits::new(
            small::resized(&splits.train, side)?,
            small::resized(&splits.validation, side)?,
        ),
        None => Ok(splits),
    }
}

impl SourceOptions {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |field, found: String, wanted| {
            Err(DataError::Setting {
                field,
                found,
                wanted,
            })
        };
        if let Some(side) = self.side
            && !(4..=2048).contains(&side)
        {
            return refuse("side", side.to_string(), "must be in 4..=2048");
        }
        let share = self.validation_share;
        if !(share > 0.0 && share < 1.0) {
            return refuse(
                "validation_share",
                share.to_string(),
                "must be between 0 and 1",
            );
        }
        if !(0.0..=1.0).contains(&self.broken_share) {
            let found = self.broken_share.to_string();
            return refuse("broken_share", found, "must be in 0..=1");
        }
        Ok(())
    }
}
