//! How images are arranged in folders, and so which class and which part each belongs to.

use std::collections::BTreeSet;

use super::super::DataError;
use super::super::keyed::{Purpose, shuffle, stream};
use super::SourceOptions;
use super::labels;
use super::tree::{Entry, Tree};

const TRAIN: [&str; 2] = ["train", "training"];
/// In the order in which they are taken.
const VALIDATION: [&str; 5] = ["val", "valid", "validation", "test", "testing"];

/// Images with classes, in two parts.
#[derive(Clone, Debug)]
pub(crate) struct Arrangement {
    /// What was found, in words.
    pub(crate) kind: String,
    pub(crate) classes: Vec<String>,
    pub(crate) train: Part,
    pub(crate) validation: Part,
    pub(crate) notes: Vec<String>,
}

/// The images of one part, with a label each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) images: Vec<Entry>,
    pub(crate) labels: Vec<u32>,
}

/// An image and the folders on its way, below the folder that is common to all.
struct Found<'a> {
    entry: &'a Entry,
    folders: Vec<&'a str>,
}

/// Finds out how a tree's images are arranged, which must be of so many classes at least.
pub(crate) fn arrange(
    tree: &Tree,
    options: &SourceOptions,
    least: usize,
) -> Result<Arrangement, DataError> {
    let unknown = |found: String| DataError::Unrecognized {
        folder: tree.root.clone(),
        found,
    };
    let Some((arrangement, _)) = parts(tree, options, &[])? else {
        return Err(unknown(match tree.others() {
            Some(others) => format!("holds no images that are read; {others}"),
            None => "holds no images".to_owned(),
        }));
    };
    if arrangement.classes.len() < least {
        return Err(unknown(format!(
            "holds images in {} class{}, and at least {least} are needed{}",
            arrangement.classes.len(),
            if arrangement.classes.len() == 1 {
                ""
            } else {
                "es"
            },
            tree.others()
                .map_or_else(String::new, |others| format!("; {others}"))
        )));
    }
    for (part, name) in [
        (&arrangement.train, "training"),
        (&arrangement.validation, "validation"),
    ] {
        if part.images.is_empty() {
            return Err(DataError::Layout {
                folder: tree.root.clone(),
                reason: format!("leaves no images for {name}"),
            });
        }
    }
    Ok(arrangement)
}

/// The same, of whatever is there, and whether the folders say what is for validation; `None` where there are no images. Folders
/// that are called like a class that is `known` are that class.
pub(super) fn parts(
    tree: &Tree,
    options: &SourceOptions,
    known: &[String],
) -> Result<Option<(Arrangement, bool)>, DataError> {
    let (prefix, images) = below_common_folder(tree, known);
    if images.is_empty() {
        return Ok(None);
    }
    let tops: BTreeSet<&str> = images
        .iter()
        .filter_map(|i| i.folders.first().copied())
        .collect();
    let named = |names: &[&str]| {
        names.iter().find_map(|name| {
            tops.iter()
                .find(|top| top.eq_ignore_ascii_case(name))
                .copied()
        })
    };
    let mut notes = Vec::new();
    let (mut arrangement, stated) = match named(&TRAIN) {
        Some(train) => {
            let (part, classes) =
                in_classes(tree, &images, 1, |i| i.folders.first() == Some(&train))?;
            match named(&VALIDATION) {
                Some(validation) => {
                    let used = [train, validation];
                    notes.extend(
                        tops.iter()
                            .filter(|top| !used.contains(top))
                            .map(|top| format!("the folder {top} is not used")),
                    );
                    let both = with_validation(
                        tree, options, &prefix, &images, validation, part, classes,
                    )?;
                    (both, true)
                }
                None => (
                    split(part, classes, options, &format!("{train}/CLASS, split")),
                    false,
                ),
            }
        }
        None => {
            let (part, classes) = in_classes(tree, &images, 0, |i| !i.folders.is_empty())?;
            (
                split(part, classes, options, "folders of classes, split"),
                false,
            )
        }
    };
    let loose = images
        .iter()
        .filter(|image| image.folders.is_empty())
        .count();
    if loose > 0 {
        notes.push(format!(
            "{loose} images outside of any class were passed over"
        ));
    }
    arrangement
        .notes
        .extend(tree.notes.iter().cloned().chain(tree.others()).chain(notes));
    Ok(Some((arrangement, stated)))
}

/// All images, and the folder that they have in common: archives tend to hold everything in one. A class that is `known` is no
/// such folder: that all images which are there lie in it is chance.
fn below_common_folder<'a>(tree: &'a Tree, known: &[String]) -> (String, Vec<Found<'a>>) {
    let mut images: Vec<Found<'_>> = tree
        .images()
        .map(|entry| {
            let mut folders: Vec<&str> = entry.name.split('/').collect();
            folders.pop();
            Found { entry, folders }
        })
        .collect();
    let mut prefix = String::new();
    while let Some(first) = images
        .first()
        .and_then(|image| image.folders.first().copied())
    {
        // A folder with images in it is a class.
        let common = images
            .iter()
            .all(|image| image.folders.len() > 1 && image.folders[0] == first);
        if is_part(first) || known.iter().any(|class| class == first) || !common {
            break;
        }
        prefix += first;
        prefix.push('/');
        for image in &mut images {
            image.folders.remove(0);
        }
    }
    (prefix, images)
}

fn is_part(folder: &str) -> bool {
    let mut parts = TRAIN.iter().chain(&VALIDATION);
    parts.any(|name| folder.eq_ignore_ascii_case(name))
}

/// The chosen images that lie in a class's folder, which is the one at `depth`; classes are in the
/// order of their names.
fn in_classes(
    tree: &Tree,
    images: &[Found<'_>],
    depth: usize,
    chosen: impl Fn(&Found<'_>) -> bool,
) -> Result<(Part, Vec<String>), DataError> {
    let inside: Vec<(&Found<'_>, &str)> = images
        .iter()
        .filter(|image| chosen(image))
        .filter_map(|image| image.folders.get(depth).map(|class| (image, *class)))
        .collect();
    let classes: Vec<&str> = inside
        .iter()
        .map(|(_, class)| *class)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if u32::try_from(classes.len()).is_err() || classes.is_empty() {
        return Err(DataError::Unrecognized {
            folder: tree.root.clone(),
            found: format!("holds {} images but no folders of classes", images.len()),
        });
    }
    let mut part = Part::default();
    for (image, class) in inside {
        part.images.push(image.entry.clone());
        // Found: the classes are made of these names.
        part.labels
            .push(classes.binary_search(&class).unwrap_or(0) as u32);
    }
    Ok((part, classes.into_iter().map(str::to_owned).collect()))
}

/// Adds the validation images: in folders of classes, or flat with a file of labels.
fn with_validation(
    tree: &Tree,
    options: &SourceOptions,
    prefix: &str,
    images: &[Found<'_>],
    folder: &str,
    train: Part,
    classes: Vec<String>,
) -> Result<Arrangement, DataError> {
    let inside: Vec<&Found<'_>> = images
        .iter()
        .filter(|image| image.folders.first() == Some(&folder))
        .collect();
    let class_of = |image: &Found<'_>| {
        let name = image.folders.get(1)?;
        classes.iter().position(|class| class == name)
    };
    let labels_file = match &options.labels {
        Some(name) => Some(
            tree.entries
                .iter()
                .find(|e| e.name == *name)
                .ok_or_else(|| DataError::MissingFile {
                    folder: tree.root.clone(),
                    name: name.clone(),
                })?,
        ),
        None => labels::find(tree, prefix, folder),
    };
    let mut validation = Part {
        images: inside.iter().map(|image| image.entry.clone()).collect(),
        labels: Vec::new(),
    };
    let found: Option<Vec<u32>> = inside
        .iter()
        .map(|image| class_of(image).map(|class| class as u32))
        .collect();
    let kind = match (found, labels_file) {
        (Some(labels), _) => {
            validation.labels = labels;
            format!("train/CLASS and {folder}/CLASS")
        }
        (None, Some(file)) => {
            let entries: Vec<&Entry> = validation.images.iter().collect();
            validation.labels = labels::read(tree, file, &entries, &classes)?;
            format!(
                "train/CLASS and a flat {folder} with the labels of {}",
                file.name
            )
        }
        (None, None) => {
            let stray = inside.iter().find(|image| class_of(image).is_none());
            let reason = match stray.and_then(|image| image.folders.get(1)) {
                Some(class) => format!(
                    "{folder} has a class {class:?} that train has not; make their folders agree"
                ),
                None => format!(
                    "{folder} holds images without folders of classes and there is no file of \
                     labels for them; put one there, with a line `NAME CLASS` for each image"
                ),
            };
            return Err(DataError::Layout {
                folder: tree.root.clone(),
                reason,
            });
        }
    };
    let mut notes = Vec::new();
    let seen: BTreeSet<u32> = validation.labels.iter().copied().collect();
    let missing = classes.len() - seen.len();
    if missing > 0 {
        notes.push(format!("{missing} classes have no validation images"));
    }
    Ok(Arrangement {
        kind,
        classes,
        train,
        validation,
        notes,
    })
}

/// Sets a share of each class aside for validation: at least one image of a class that has two.
fn split(all: Part, classes: Vec<String>, options: &SourceOptions, kind: &str) -> Arrangement {
    let mut aside = vec![false; all.images.len()];
    let mut by_class = vec![Vec::new(); classes.len()];
    for (at, &label) in all.labels.iter().enumerate() {
        by_class[label as usize].push(at);
    }
    for (class, members) in (0..).zip(&mut by_class) {
        let key = &mut stream(options.seed, Purpose::ClassSplit, class, 0);
        shuffle(members, key);
        let share = (members.len() as f64 * options.validation_share).round() as usize;
        let count = share
            .clamp(1, members.len().max(1))
            .min(members.len().saturating_sub(1));
        for &at in &members[..count] {
            aside[at] = true;
        }
    }
    let (mut train, mut validation) = (Part::default(), Part::default());
    for ((image, label), aside) in all.images.into_iter().zip(all.labels).zip(aside) {
        let part = if aside { &mut validation } else { &mut train };
        part.images.push(image);
        part.labels.push(label);
    }
    Arrangement {
        kind: format!(
            "{kind} by seed {} with {:.0} % of each class for validation",
            options.seed,
            100.0 * options.validation_share
        ),
        classes,
        train,
        validation,
        notes: Vec::new(),
    }
}
