//! Folders of IDX files.

use std::fs;
use std::path::Path;

use net2net_lab::data::{DataError, ImageShape, idx_folder};

use super::{gzip, idx_images, idx_labels};

const NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// Writes a data set of three training images of two classes and one test image.
fn write(folder: &Path, prefix: &str, compress: bool) {
    let contents = [
        idx_images([3, 1, 2], &[1, 2, 3, 4, 5, 6]),
        idx_labels(3, &[0, 1, 0]),
        idx_images([1, 1, 2], &[7, 8]),
        idx_labels(1, &[1]),
    ];
    for (name, content) in NAMES.iter().zip(contents) {
        let (suffix, content) = if compress {
            (".gz", gzip(&content))
        } else {
            ("", content)
        };
        fs::write(folder.join(format!("{prefix}{name}{suffix}")), content).unwrap();
    }
}

#[test]
fn any_prefix_plain_or_compressed() {
    for (prefix, compress) in [
        ("", false),
        ("", true),
        ("fashion-", false),
        ("fashion-", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), prefix, compress);
        fs::write(folder.path().join("LICENSE"), "text").unwrap();
        fs::write(
            folder.path().join("._train-images-idx3-ubyte"),
            "left by a copy",
        )
        .unwrap();
        let splits = idx_folder(folder.path()).unwrap();
        assert_eq!(
            splits.train.shape(),
            ImageShape {
                height: 1,
                width: 2,
                channels: 1
            }
        );
        assert_eq!(
            (splits.train.labels(), splits.validation.labels()),
            ([0, 1, 0].as_slice(), [1].as_slice())
        );
        assert_eq!(splits.validation.images().unwrap(), [7, 8]);
        assert_eq!(splits.train.classes(), ["0", "1"]);
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(splits.train.name(), format!("{name}/train"));
    }
}

#[test]
fn the_uncompressed_file_goes_before_the_compressed_one() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "x-", true);
    write(folder.path(), "x-", false);
    fs::write(
        folder.path().join("x-train-images-idx3-ubyte.gz"),
        "not read",
    )
    .unwrap();
    idx_folder(folder.path()).unwrap();
}

#[test]
fn error_missing_file_names_each() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "", true);
        fs::remove_file(folder.path().join(format!("{name}.gz"))).unwrap();
        let error = idx_folder(folder.path()).unwrap_err();
        assert!(
            matches!(&error, DataError::MissingFile { name: found, .. } if found == name),
            "{error:?}"
        );
        assert!(
            error.to_string().contains(folder.path().to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn error_missing_file_when_the_parts_have_different_prefixes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a-", false);
    fs::rename(
        folder.path().join("a-t10k-labels-idx1-ubyte"),
        folder.path().join("b-t10k-labels-idx1-ubyte"),
    )
    .unwrap();
    let error = idx_folder(folder.path()).unwrap_err();
    assert!(
        matches!(&error, DataError::MissingFile { name, .. } if name == "a-t10k-labels-idx1-ubyte"),
        "{error:?}"
    );
}

#[test]
fn error_several_datasets() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "b-", false);
    write(folder.path(), "a-", true);
    write(folder.path(), "a-", false);
    let error = idx_folder(folder.path()).unwrap_err();
    let DataError::SeveralDatasets { candidates, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        candidates,
        ["a-train-images-idx3-ubyte", "b-train-images-idx3-ubyte"]
    );
}

#[test]
fn error_read_when_there_is_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        idx_folder(&folder.path().join("absent")),
        Err(DataError::Read { .. })
    ));
}

#[test]
fn error_label_out_of_range_when_a_test_label_was_never_trained() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "", false);
    fs::write(folder.path().join(NAMES[3]), idx_labels(1, &[2])).unwrap();
    let error = idx_folder(folder.path()).unwrap_err();
    assert!(
        matches!(&error, DataError::LabelOutOfRange { origin, label: 2, classes: 2, .. } if origin.ends_with(NAMES[3])),
        "{error:?}"
    );
}

#[test]
fn error_split_mismatch_when_the_images_differ_in_size() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "", false);
    fs::write(folder.path().join(NAMES[2]), idx_images([1, 2, 2], &[0; 4])).unwrap();
    assert!(matches!(
        idx_folder(folder.path()),
        Err(DataError::SplitMismatch { .. })
    ));
}
