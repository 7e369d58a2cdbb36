//! Folders in which images arrive, and images that are decoded wholly, whatever their size.

use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::arrange::{Arrangement, Part, parts};
use super::small::{decode_all, shaped};
use super::tree::{Entry, Tree};
use super::{SourceOptions, Survey, at_side, choose, cifar, folder, name_of, survey};
use crate::data::{DataError, Dataset, ImageShape, Opened, Splits};
use crate::hex::hex;

/// An image that lies in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    /// Its path below the folder.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) len: u64,
    /// The SHA-256 of its file, in hexadecimal.
    pub(crate) sha256: String,
    /// The name of its class.
    pub(crate) class: String,
    /// Whether it is to judge by and not to learn from.
    pub(crate) validation: bool,
    entry: Entry,
}

/// What a folder holds that was not there before.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// The images, by name.
    pub(crate) images: Vec<Newcomer>,
    /// What was passed over, for people.
    pub(crate) notes: Vec<String>,
}

impl Arrivals {
    /// Lists a folder, in which folders that are called like one of some `classes` are that class, without the files that are `known` by name, length and the time when they were written. Where the folder does not say which images are
    /// for validation, the hash of each decides, so that it never changes its side.
    pub(crate) fn look(
        path: &Path,
        options: &SourceOptions,
        classes: &[String],
        known: impl Fn(&str, u64, Option<SystemTime>) -> bool,
    ) -> Result<Arrivals, DataError> {
        options.check()?;
        let tree = Tree::open(path)?;
        let Some((arrangement, stated)) = parts(&tree, options, classes)? else {
            return Ok(Arrivals::default());
        };
        let mut images = Vec::new();
        let mut bytes = Vec::new();
        for (part, validation) in [(&arrangement.train, false), (&arrangement.validation, true)] {
            for (entry, label) in part.images.iter().zip(&part.labels) {
                if known(&entry.name, entry.len, entry.modified) {
                    continue;
                }
                match entry.read(&mut bytes) {
                    // It is still being written, or was taken away.
                    Err(DataError::Changed { .. }) => continue,
                    read => read?,
                }
                let digest = Sha256::digest(&bytes);
                let first = digest
                    .iter()
                    .take(8)
                    .fold(0, |n, b| (n << 8) | u64::from(*b));
                let drawn = (first >> 11) as f64 / (1_u64 << 53) as f64;
                images.push(Newcomer {
                    name: entry.name.clone(),
                    len: entry.len,
                    sha256: hex(digest),
                    class: arrangement.classes[*label as usize].clone(),
                    validation: match stated {
                        true => validation,
                        false => drawn < options.validation_share,
                    },
                    entry: entry.clone(),
                });
            }
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Arrivals {
            images,
            notes: arrangement.notes,
        })
    }
}

/// Decodes images that have arrived; those that are broken are left out and said. Without a shape one is chosen by their sizes.
/// `None` where all are broken or there are none.
pub(crate) fn decoded(
    name: &str,
    images: &[&Newcomer],
    classes: &[String],
    shape: Option<ImageShape>,
    options: &SourceOptions,
) -> Result<Option<(Dataset, Vec<String>)>, DataError> {
    if images.is_empty() {
        return Ok(None);
    }
    let label = |one: &&Newcomer| classes.iter().position(|class| *class == one.class);
    let part = Part {
        images: images.iter().map(|one| one.entry.clone()).collect(),
        labels: images
            .iter()
            .map(|one| label(one).unwrap_or(0) as u32)
            .collect(),
    };
    let shape = match shape {
        Some(shape) => shape,
        None => {
            let all = Arrangement {
                kind: String::new(),
                classes: classes.to_vec(),
                train: part.clone(),
                validation: Part::default(),
                notes: Vec::new(),
            };
            choose(&all, options)?.shape
        }
    };
    // A file that is still being written is broken now and another file later.
    let lenient = SourceOptions {
        broken_share: 1.0,
        ..options.clone()
    };
    match decode_all(name, part, shape, classes.to_vec(), &lenient) {
        Ok((dataset, notes)) => Ok(Some((dataset, notes))),
        Err(DataError::Empty { .. } | DataError::Changed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a folder or an archive as [`super::open`] does, with all images decoded, and at a shape if one is given: then there
/// were others before, and images of one class will do.
pub(crate) fn open_decoded(
    path: &Path,
    options: &SourceOptions,
    shape: Option<ImageShape>,
) -> Result<Opened, DataError> {
    options.check()?;
    let name = name_of(path);
    let least = if shape.is_some() { 1 } else { 2 };
    let (splits, kind, notes) = match survey(path, options, least)? {
        Survey::Idx(folder) => {
            let splits = folder::idx_folder(&folder)?;
            (splits, "IDX files".to_owned(), Vec::new())
        }
        Survey::Cifar(tree, kind) => {
            let splits = cifar::read(&tree, kind, &name)?;
            (splits, kind.name().to_owned(), tree.notes)
        }
        Survey::Images(arrangement) => {
            let shape = match shape {
                Some(shape) => shape,
                None => choose(&arrangement, options)?.shape,
            };
            let mut notes = arrangement.notes;
            let mut part = |part: Part, which: &str| {
                let (name, classes) = (format!("{name}/{which}"), arrangement.classes.clone());
                let (dataset, broken) = decode_all(&name, part, shape, classes, options)?;
                notes.extend(broken);
                Ok::<_, DataError>(dataset)
            };
            let train = part(arrangement.train, "train")?;
            let validation = part(arrangement.validation, "validation")?;
            (Splits::new(train, validation)?, arrangement.kind, notes)
        }
    };
    let splits = at_side(splits, options)?;
    let splits = match shape {
        Some(shape) => Splits::new(
            shaped(splits.train, shape)?,
            shaped(splits.validation, shape)?,
        )?,
        None => splits,
    };
    Ok(Opened {
        splits,
        kind,
        shape_reason: "as the first images".to_owned(),
        notes,
    })
}
