//! The labels of images that lie flat in one folder, as ImageNet's validation images do.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::DataError;
use super::tree::{Entry, Tree};

/// The labels of ImageNet's validation images as Kaggle has them, beside the folder `ILSVRC`.
const KAGGLE: &str = "LOC_val_solution.csv";

/// Reads a file of lines `NAME LABEL …`, parted by spaces, tabs or commas, and gives each of
/// `images` its class.
///
/// `NAME` is that of the image, with or without its folders and its extension. `LABEL` is the name of
/// a class or its number, counted from 0 in the order of the names; what follows on a line (boxes, as
/// a rule) is not looked at. A first line whose label is unknown is a heading.
pub(super) fn read(
    tree: &Tree,
    labels: &Entry,
    images: &[&Entry],
    classes: &[String],
) -> Result<Vec<u32>, DataError> {
    let file = tree.path(labels);
    let by_name = parse(&file, &tree.text(labels)?, classes)?;
    let mut without = Vec::new();
    let mut found = Vec::with_capacity(images.len());
    for image in images {
        match by_name.get(image.stem()) {
            Some(&label) => found.push(label),
            None => without.push(image.name.as_str()),
        }
    }
    if let Some(first) = without.first() {
        return Err(DataError::Labels {
            file,
            reason: format!(
                "has no label for {} of {} images, such as {first}; take the file that belongs to \
                 these images",
                without.len(),
                images.len()
            ),
        });
    }
    Ok(found)
}

/// The label of each image, by the last part of its name without the extension.
fn parse(file: &Path, text: &str, classes: &[String]) -> Result<BTreeMap<String, u32>, DataError> {
    let number: BTreeMap<&str, u32> = (0..).zip(classes).map(|(n, c)| (c.as_str(), n)).collect();
    let refuse = |line: usize, why: String| DataError::Labels {
        file: file.to_owned(),
        reason: format!("line {line}: {why}"),
    };
    let mut labels = BTreeMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let mut words = content
            .split([' ', '\t', ',', ';'])
            .map(|word| word.trim_matches('"'))
            .filter(|word| !word.is_empty());
        let Some(name) = words.next() else {
            continue;
        };
        let Some(label) = words.next() else {
            return Err(refuse(
                line,
                format!(
                    "{content:?} is not a name and a label; numbers alone do not say which image \
                         they are of"
                ),
            ));
        };
        let known = number.get(label).copied().or_else(|| {
            let label = label.parse().ok()?;
            ((label as usize) < classes.len()).then_some(label)
        });
        let Some(label) = known else {
            if line == 1 {
                continue;
            }
            return Err(refuse(
                line,
                format!(
                    "{label:?} is neither the name of one of the {} classes nor a number below that",
                    classes.len()
                ),
            ));
        };
        let file_name = name.rsplit(['/', '\\']).next().unwrap_or(name);
        let stem = file_name
            .rsplit_once('.')
            .map_or(file_name, |(stem, _)| stem);
        if let Some(before) = labels.insert(stem.to_owned(), label)
            && before != label
        {
            return Err(refuse(
                line,
                format!("{name} has another label on an earlier line"),
            ));
        }
    }
    Ok(labels)
}

/// The file of labels for the images in the folder `validation` of a tree: one that lies in it, or
/// beside it and is called after it, or Kaggle's, which lies some folders above. `ILSVRC2012_validation_ground_truth.txt` is none: its numbers
/// count the classes in another order.
pub(super) fn find<'a>(tree: &'a Tree, prefix: &str, validation: &str) -> Option<&'a Entry> {
    let folder = format!("{prefix}{validation}/");
    let candidates: Vec<&Entry> = tree
        .entries
        .iter()
        .filter(|entry| ["txt", "csv", "tsv"].contains(&entry.extension().as_str()))
        .filter(|entry| !entry.name.contains("ground_truth"))
        .collect();
    let inside = candidates
        .iter()
        .find(|entry| entry.name.starts_with(&folder));
    let beside = |entry: &&&Entry| {
        let rest = entry.name.strip_prefix(prefix).map(str::to_ascii_lowercase);
        rest.is_some_and(|rest| {
            !rest.contains('/') && rest.contains(&validation.to_ascii_lowercase())
        })
    };
    let above = |entry: &&&Entry| {
        let folder = entry.name.strip_suffix(KAGGLE);
        folder.is_some_and(|folder| prefix.starts_with(folder))
    };
    let all = candidates.iter();
    let found = inside
        .or_else(|| all.clone().find(beside))
        .or_else(|| all.clone().find(above));
    found.copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        ["cat", "dog"].map(String::from).to_vec()
    }

    #[test]
    fn names_and_numbers_headings_boxes_and_extensions_are_understood() {
        let text =
            "ImageId,PredictionString\nval_1,dog 3 4 5 6\nval/val_2.JPEG\tcat\n\nval_3.png 1\n";
        let labels = parse(Path::new("f"), text, &classes()).unwrap();
        let expected = [("val_1", 1), ("val_2", 0), ("val_3", 1)];
        assert_eq!(labels, expected.map(|(n, l)| (n.to_owned(), l)).into());
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_line() {
        for (text, says) in [
            ("a cat\nb bird\n", "line 2: \"bird\""),
            ("a cat\nb 2\n", "line 2: \"2\""),
            ("490\n361\n", "line 1: \"490\""),
            ("a cat\na dog\n", "line 2: a has another label"),
        ] {
            let error = parse(Path::new("f"), text, &classes()).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
