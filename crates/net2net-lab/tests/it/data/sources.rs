//! What folders hold: each arrangement is found, and what does not fit is named.

use std::fs;
use std::path::Path;

use net2net_lab::data::{
    DataError, Inspection, Opened, SourceOptions, contact_sheet, inspect, open,
};

use super::images::{noisy_jpeg, plain_png, write};
use super::{gzip, idx_images, idx_labels};

fn opened(folder: &Path) -> Opened {
    open(folder, &SourceOptions::default()).unwrap()
}

fn refused(folder: &Path) -> String {
    open(folder, &SourceOptions::default())
        .unwrap_err()
        .to_string()
}

/// PNGs of 8×8, each of a colour of its own.
fn images(folder: &Path, names: &[&str]) {
    for (number, name) in (0..).zip(names) {
        write(folder, name, &plain_png(8, [number, 100, 200]));
    }
}

/// The red of each image's first pixel, by which [`images`] tells them apart.
fn reds(set: &net2net_lab::data::Dataset) -> Vec<u8> {
    (0..set.len())
        .map(|index| set.image(index).unwrap()[0])
        .collect()
}

#[test]
fn train_and_validation_by_class_under_all_names_and_inside_of_another_folder() {
    for validation in ["val", "valid", "validation", "Test"] {
        let folder = tempfile::tempdir().unwrap();
        let name = |rest: &str| format!("set/data/{rest}").replace("VAL", validation);
        let names = ["train/cat/1.png", "train/dog/deep/2.png", "VAL/dog/3.png"].map(name);
        images(folder.path(), &names.each_ref().map(String::as_str));
        write(
            folder.path(),
            "set/data/train/cat/._1.png",
            b"left by a Mac",
        );
        write(folder.path(), "set/readme.txt", b"hello");
        let opened = opened(folder.path());
        assert_eq!(opened.splits.train.classes(), ["cat", "dog"]);
        assert_eq!(opened.splits.train.labels(), [0, 1]);
        assert_eq!(reds(&opened.splits.train), [0, 1]);
        assert_eq!(opened.splits.validation.labels(), [1]);
        assert_eq!(reds(&opened.splits.validation), [2]);
        assert!(
            opened
                .notes
                .iter()
                .any(|note| note.contains("1 classes have no validation"))
        );
    }
}

#[test]
fn val_is_taken_before_test_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    images(
        folder.path(),
        &[
            "train/a/1.png",
            "train/b/1.png",
            "test/a/1.png",
            "val/b/1.png",
        ],
    );
    let opened = opened(folder.path());
    assert_eq!(reds(&opened.splits.validation), [3]);
    assert!(
        opened
            .notes
            .contains(&"the folder test is not used".to_owned())
    );
}

#[test]
fn flat_validation_images_get_their_labels_from_a_file() {
    for (file, content) in [
        ("val.txt", "v1.png 1\nv2.png 0\n"),
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\nv1,dog 1 2 3 4\nv2,cat 1 2 3 4\n",
        ),
        (
            "val/val_annotations.txt",
            "v1.png\tdog\t0\t0\nv2.png\tcat\t0\t0\n",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "train/cat/1.png",
            "train/dog/1.png",
            "val/images/v1.png",
            "val/images/v2.png",
        ];
        images(folder.path(), &names);
        write(folder.path(), file, content.as_bytes());
        let opened = opened(folder.path());
        assert_eq!(opened.splits.validation.labels(), [1, 0], "{file}");
        assert!(opened.kind.contains(file), "{}", opened.kind);
    }
}

#[test]
fn labels_are_found_where_kaggle_puts_them() {
    let folder = tempfile::tempdir().unwrap();
    let below = |name: &str| format!("ILSVRC/Data/CLS-LOC/{name}");
    let names = [
        "train/cat/1.png",
        "train/dog/1.png",
        "val/v1.png",
        "test/t1.png",
    ]
    .map(below);
    images(folder.path(), &names.each_ref().map(String::as_str));
    let content = "ImageId,PredictionString\nv1,dog 1 2 3 4\n";
    write(folder.path(), "LOC_val_solution.csv", content.as_bytes());
    assert_eq!(opened(folder.path()).splits.validation.labels(), [1]);
}

#[test]
fn images_of_other_formats_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path(), &["a/1.png", "a/2.png", "b/3.png", "b/4.png"]);
    for name in ["a/5.gif", "c/6.bmp", "c/7.bmp"] {
        write(folder.path(), name, b"an image");
    }
    let note = opened(folder.path()).notes.join("\n");
    assert!(
        note.contains("3 files of other formats (.bmp, .gif) were passed over"),
        "{note}"
    );
    for name in ["b/3.png", "b/4.png"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert!(refused(folder.path()).contains("at least 2 are needed; 3 files of other formats"));
}

#[test]
fn labels_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    images(
        folder.path(),
        &[
            "train/cat/1.png",
            "train/dog/1.png",
            "val/v1.png",
            "val/v2.png",
        ],
    );
    assert!(refused(folder.path()).contains("no file of labels"));
    for (content, says) in [
        (
            "v1.png 1\n",
            "no label for 1 of 2 images, such as val/v2.png",
        ),
        ("v1.png 1\nv2.png bird\n", "line 2: \"bird\""),
        ("v1.png 1\nv2.png 2\n", "line 2: \"2\""),
    ] {
        write(folder.path(), "val.txt", content.as_bytes());
        let message = refused(folder.path());
        assert!(
            message.contains("val.txt") && message.contains(says),
            "{message}"
        );
    }
    // The development kit's numbers count the classes in another order.
    fs::remove_file(folder.path().join("val.txt")).unwrap();
    let file = "ILSVRC2012_validation_ground_truth.txt";
    write(folder.path(), file, b"1\n2\n");
    assert!(refused(folder.path()).contains("no file of labels"));
    let named = SourceOptions {
        labels: Some("none.txt".to_owned()),
        ..SourceOptions::default()
    };
    assert!(matches!(
        open(folder.path(), &named),
        Err(DataError::MissingFile { .. })
    ));
}

#[test]
fn a_class_that_training_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    images(
        folder.path(),
        &["train/a/1.png", "train/b/1.png", "val/c/1.png"],
    );
    assert!(refused(folder.path()).contains("val has a class \"c\" that train has not"));
}

#[test]
fn a_folder_of_classes_is_split_by_seed_class_by_class() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..30)
        .map(|i| format!("{}/{i:02}.png", if i < 20 { "a" } else { "b" }))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    images(folder.path(), &names);
    let with = |seed, validation_share| {
        let options = SourceOptions {
            seed,
            validation_share,
            ..SourceOptions::default()
        };
        open(folder.path(), &options).unwrap().splits
    };
    let splits = with(1, 0.2);
    assert_eq!(splits.train.histogram(), [16, 8]);
    assert_eq!(splits.validation.histogram(), [4, 2]);
    let mut all = [reds(&splits.train), reds(&splits.validation)].concat();
    all.sort_unstable();
    assert_eq!(
        all,
        (0..30).collect::<Vec<u8>>(),
        "each image is in one part"
    );
    assert_eq!(reds(&with(1, 0.2).validation), reds(&splits.validation));
    assert_ne!(reds(&with(2, 0.2).validation), reds(&splits.validation));
    assert_eq!(
        with(1, 0.001).validation.histogram(),
        [1, 1],
        "at least one"
    );
    assert_eq!(with(1, 0.999).train.histogram(), [1, 1], "nor all");
}

#[test]
fn what_is_no_data_is_refused_with_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(folder.path()).contains("holds no images"));
    assert!(refused(folder.path()).contains("train/CLASS"));
    images(folder.path(), &["1.png", "2.png"]);
    assert!(refused(folder.path()).contains("2 images but no folders of classes"));
    images(folder.path(), &["only/1.png"]);
    assert!(refused(folder.path()).contains("1 class"));
    let missing = folder.path().join("missing");
    assert!(matches!(
        open(&missing, &SourceOptions::default()),
        Err(DataError::Read { file, .. }) if file == missing
    ));
    let text = folder.path().join("text");
    fs::write(&text, "not an archive").unwrap();
    assert!(refused(&text).contains("neither a folder nor a tar archive"));
}

#[test]
fn idx_files_are_found() {
    let folder = tempfile::tempdir().unwrap();
    for (part, count) in [("train", 3), ("t10k", 2)] {
        let pixels: Vec<u8> = (0..count * 4).map(|i| i as u8).collect();
        let labels: Vec<u8> = (0..count as u8).map(|i| i % 2).collect();
        let images = gzip(&idx_images([count, 2, 2], &pixels));
        write(
            folder.path(),
            &format!("{part}-images-idx3-ubyte.gz"),
            &images,
        );
        write(
            folder.path(),
            &format!("{part}-labels-idx1-ubyte"),
            &idx_labels(count, &labels),
        );
    }
    let opened = opened(folder.path());
    assert_eq!(
        (opened.splits.train.len(), opened.kind.as_str()),
        (3, "IDX files")
    );
    let larger = SourceOptions {
        side: Some(4),
        ..SourceOptions::default()
    };
    let shape = open(folder.path(), &larger).unwrap().splits.train.shape();
    assert_eq!((shape.height, shape.width, shape.channels), (4, 4, 1));
}

#[test]
fn cifar_in_its_binary_version() {
    // Planes of red, green and blue.
    let record = |labels: &[u8], red: u8| {
        let planes = [[red; 1024], [2; 1024], [3; 1024]].concat();
        [labels, &planes].concat()
    };
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| format!("cifar-10-batches-bin/{name}");
    write(
        folder.path(),
        &inside("data_batch_1.bin"),
        &[record(&[7], 1), record(&[0], 9)].concat(),
    );
    write(folder.path(), &inside("data_batch_2.bin"), &record(&[1], 5));
    write(folder.path(), &inside("test_batch.bin"), &record(&[9], 4));
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    write(folder.path(), &inside("batches.meta.txt"), names.as_bytes());
    let splits = opened(folder.path()).splits;
    assert_eq!(splits.train.labels(), [7, 0, 1]);
    assert_eq!(splits.train.image(0).unwrap()[..6], [1, 2, 3, 1, 2, 3]);
    assert_eq!(splits.validation.classes()[9], "truck");

    write(
        folder.path(),
        &inside("test_batch.bin"),
        &record(&[9], 4)[..3000],
    );
    assert!(matches!(
        open(folder.path(), &SourceOptions::default()),
        Err(DataError::Truncated {
            found: 3000,
            expected: 3073,
            ..
        })
    ));

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train.bin", &record(&[3, 99], 1));
    write(folder.path(), "test.bin", &record(&[3, 42], 1));
    let splits = opened(folder.path()).splits;
    assert_eq!(
        (splits.train.labels(), splits.train.classes().len()),
        (&[99][..], 100)
    );
}

#[test]
fn large_images_stay_in_their_files_and_get_a_size_for_networks() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["train/a/1.jpg", "train/b/2.jpg", "val/b/3.jpg"] {
        write(folder.path(), name, &noisy_jpeg(150, 130, 3));
    }
    let splits = opened(folder.path()).splits;
    assert!(splits.train.is_in_files());
    assert_eq!(
        (splits.train.shape().height, splits.train.shape().width),
        (128, 128)
    );
    let asked = SourceOptions {
        side: Some(24),
        ..SourceOptions::default()
    };
    assert_eq!(
        open(folder.path(), &asked)
            .unwrap()
            .splits
            .train
            .shape()
            .width,
        24
    );
    for side in [0, 5_000] {
        let options = SourceOptions {
            side: Some(side),
            ..SourceOptions::default()
        };
        assert!(matches!(
            open(folder.path(), &options),
            Err(DataError::Setting { .. })
        ));
    }
}

fn inspected(folder: &Path) -> Inspection {
    inspect(folder, &SourceOptions::default(), None, &mut |_, _| {}).unwrap()
}

#[test]
fn inspection_counts_sizes_modes_broken_images_and_duplicates() {
    let folder = tempfile::tempdir().unwrap();
    images(
        folder.path(),
        &[
            "train/a/1.png",
            "train/a/2.png",
            "train/b/3.png",
            "val/a/4.png",
        ],
    );
    write(
        folder.path(),
        "train/b/again.png",
        &plain_png(8, [0, 100, 200]),
    );
    write(folder.path(), "val/b/5.png", &plain_png(8, [1, 100, 200]));
    write(folder.path(), "val/b/other.jpg", &noisy_jpeg(16, 8, 1));
    write(folder.path(), "val/b/bad.jpg", b"nothing");
    let found = inspected(folder.path());
    assert_eq!((found.train, found.validation, found.examined), (4, 4, 8));
    // Of a choice of images the counts are those of all.
    let some = inspect(
        folder.path(),
        &SourceOptions::default(),
        Some(1),
        &mut |_, _| {},
    );
    let some = some.unwrap();
    assert_eq!((some.train, some.validation, some.examined), (4, 4, 2));
    assert_eq!(some.classes, found.classes);
    let classes: Vec<_> = found
        .classes
        .iter()
        .map(|c| (c.name.as_str(), c.train))
        .collect();
    assert_eq!(classes, [("a", 2), ("b", 2)]);
    assert_eq!((found.sizes[0].images, found.different_sizes), (6, 2));
    let modes: Vec<_> = found
        .modes
        .iter()
        .map(|m| (m.mode.as_str(), m.images))
        .collect();
    assert_eq!(modes, [("PNG, RGB", 6), ("JPEG, RGB", 1)]);
    assert_eq!(found.broken[0].0, "val/b/bad.jpg");
    assert_eq!(found.duplicates.len(), 1);
    assert_eq!(found.duplicates[0].train, "train/a/2.png");
    assert_eq!(found.duplicates[0].validation, "val/b/5.png");
    assert_eq!(found.repeated, 1);
    assert_eq!(found.input, [8, 8, 3]);
    let page = contact_sheet(folder.path(), &SourceOptions::default(), &found).unwrap();
    assert_eq!(page.matches("<img ").count(), 4);
    assert!(page.contains("val/b/bad.jpg"));
    assert!(!page.contains("http"), "nothing is fetched");
}
