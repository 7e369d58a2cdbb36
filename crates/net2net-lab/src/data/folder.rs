//! A folder of four IDX files, as MNIST, Fashion-MNIST, KMNIST and others are handed out.

use std::fs;
use std::path::{Path, PathBuf};

use super::{DataError, Splits, idx};

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// Reads the data set in a folder: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
/// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, all four after the same prefix (any, or
/// none), each with or without `.gz`; where a file lies there both ways, the one without is read.
///
/// The classes are called `0`, `1`, … up to the highest training label. The set is called after the
/// folder.
///
/// # Errors
/// [`DataError::MissingFile`] names the file that is not there, [`DataError::SeveralDatasets`] the
/// prefixes to choose from; otherwise as [`idx::read_images`], [`idx::read_labels`], [`idx::pair`]
/// and [`Splits::new`].
pub fn idx_folder(folder: &Path) -> Result<Splits, DataError> {
    let files = file_names(folder)?;
    let prefix = prefix(folder, &files)?;
    let find = |role| find(folder, &files, &format!("{prefix}{role}"));
    // All four are looked for before the first is read: reading may take a while.
    let [train_images, train_labels] = [find(TRAIN_IMAGES)?, find(TRAIN_LABELS)?];
    let [test_images, test_labels] = [find(TEST_IMAGES)?, find(TEST_LABELS)?];

    let train_labels = idx::read_labels(&train_labels)?;
    let highest = train_labels.labels.iter().max().copied().unwrap_or(0);
    let classes: Vec<String> = (0..=highest).map(|class| class.to_string()).collect();
    let name = folder
        .file_name()
        .unwrap_or(folder.as_os_str())
        .to_string_lossy();

    let train = idx::pair(
        format!("{name}/train"),
        idx::read_images(&train_images)?,
        train_labels,
        classes.clone(),
    )?;
    let validation = idx::pair(
        format!("{name}/validation"),
        idx::read_images(&test_images)?,
        idx::read_labels(&test_labels)?,
        classes,
    )?;
    Splits::new(train, validation)
}

/// Whether a folder holds a file of training images by its name.
pub(super) fn has_idx(folder: &Path) -> Result<bool, DataError> {
    Ok(file_names(folder)?.iter().any(|name| {
        name.strip_suffix(".gz")
            .unwrap_or(name)
            .ends_with(TRAIN_IMAGES)
    }))
}

/// The names in the folder, sorted. Hidden files are passed over: copying from macOS leaves a
/// `._name` beside each file.
fn file_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let read_error = |source| DataError::Read {
        file: folder.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read_error)? {
        let name = entry.map_err(read_error)?.file_name();
        names.extend(
            name.to_str()
                .filter(|name| !name.starts_with('.'))
                .map(str::to_owned),
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// What stands before the name of the training images.
fn prefix<'a>(folder: &Path, files: &'a [String]) -> Result<&'a str, DataError> {
    let mut prefixes: Vec<&str> = files
        .iter()
        .filter_map(|name| {
            name.strip_suffix(".gz")
                .unwrap_or(name)
                .strip_suffix(TRAIN_IMAGES)
        })
        .collect();
    // A file and its compressed form stand for one prefix, but need not be neighbours in the
    // listing.
    prefixes.sort_unstable();
    prefixes.dedup();
    match prefixes.as_slice() {
        [prefix] => Ok(prefix),
        [] => Err(missing(folder, TRAIN_IMAGES)),
        several => Err(DataError::SeveralDatasets {
            folder: folder.to_owned(),
            candidates: several
                .iter()
                .map(|prefix| format!("{prefix}{TRAIN_IMAGES}"))
                .collect(),
        }),
    }
}

fn find(folder: &Path, files: &[String], name: &str) -> Result<PathBuf, DataError> {
    let compressed = format!("{name}.gz");
    [name, &compressed]
        .into_iter()
        .find(|candidate| files.iter().any(|file| file == candidate))
        .map(|found| folder.join(found))
        .ok_or_else(|| missing(folder, name))
}

fn missing(folder: &Path, name: &str) -> DataError {
    DataError::MissingFile {
        folder: folder.to_owned(),
        name: name.to_owned(),
    }
}
