//! CIFAR-10 and CIFAR-100 in their binary version: a byte (or two) of label, then 3,072 of pixels,
//! channel by channel.

use super::super::{DataError, Dataset, ImageShape, Splits};
use super::tree::{Entry, Tree};

const SHAPE: ImageShape = ImageShape {
    height: 32,
    width: 32,
    channels: 3,
};
const PLANE: usize = 32 * 32;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cifar {
    Ten,
    Hundred,
}

impl Cifar {
    pub(super) fn name(self) -> &'static str {
        match self {
            Cifar::Ten => "CIFAR-10 (binary)",
            Cifar::Hundred => "CIFAR-100 (binary)",
        }
    }

    fn classes(self) -> usize {
        match self {
            Cifar::Ten => 10,
            Cifar::Hundred => 100,
        }
    }

    /// Bytes before the pixels: CIFAR-100 has a coarse label before the fine one.
    fn label_bytes(self) -> usize {
        match self {
            Cifar::Ten => 1,
            Cifar::Hundred => 2,
        }
    }
}

/// Tells whether a tree is one of the two.
pub(super) fn detect(tree: &Tree) -> Option<Cifar> {
    let has = |name: &str| tree.entries.iter().any(|entry| entry.file_name() == name);
    if has("data_batch_1.bin") && has("test_batch.bin") {
        Some(Cifar::Ten)
    } else if has("train.bin") && has("test.bin") {
        Some(Cifar::Hundred)
    } else {
        None
    }
}

/// Reads all of it.
pub(super) fn read(tree: &Tree, kind: Cifar, name: &str) -> Result<Splits, DataError> {
    let is_train = |entry: &Entry| match kind {
        Cifar::Ten => entry.file_name().starts_with("data_batch_") && entry.extension() == "bin",
        Cifar::Hundred => entry.file_name() == "train.bin",
    };
    let is_test = |entry: &Entry| ["test_batch.bin", "test.bin"].contains(&entry.file_name());
    let classes = class_names(tree, kind)?;
    let part = |which: &dyn Fn(&Entry) -> bool, part: &str| {
        let files: Vec<&Entry> = tree.entries.iter().filter(|entry| which(entry)).collect();
        let (images, labels) = records(tree, &files, kind)?;
        Dataset::new(
            format!("{name}/{part}"),
            SHAPE,
            images,
            labels,
            classes.clone(),
        )
    };
    Splits::new(part(&is_train, "train")?, part(&is_test, "validation")?)
}

fn class_names(tree: &Tree, kind: Cifar) -> Result<Vec<String>, DataError> {
    let file = match kind {
        Cifar::Ten => "batches.meta.txt",
        Cifar::Hundred => "fine_label_names.txt",
    };
    let count = kind.classes();
    if let Some(entry) = tree.entries.iter().find(|entry| entry.file_name() == file) {
        let text = tree.text(entry)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let names: Vec<String> = lines.map(str::to_owned).collect();
        if names.len() != count {
            return Err(DataError::Labels {
                file: tree.path(entry),
                reason: format!("names {} classes instead of {count}", names.len()),
            });
        }
        return Ok(names);
    }
    Ok((0..count).map(|class| class.to_string()).collect())
}

/// The pixels of all records, N×H×W×C, and their labels.
fn records(tree: &Tree, files: &[&Entry], kind: Cifar) -> Result<(Vec<u8>, Vec<u32>), DataError> {
    let head = kind.label_bytes();
    let record_len = head + 3 * PLANE;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let mut bytes = Vec::new();
    for entry in files {
        entry.read(&mut bytes)?;
        if bytes.len() % record_len != 0 {
            return Err(DataError::Truncated {
                file: tree.path(entry),
                found: bytes.len() as u64,
                expected: (bytes.len().div_ceil(record_len) * record_len) as u64,
            });
        }
        for record in bytes.chunks_exact(record_len) {
            let (label, planes) = record.split_at(head);
            labels.push(u32::from(label[head - 1]));
            images.extend(
                (0..PLANE).flat_map(|at| [planes[at], planes[PLANE + at], planes[2 * PLANE + at]]),
            );
        }
    }
    Ok((images, labels))
}
