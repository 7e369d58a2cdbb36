//! The data set: what its constructor refuses, and how parts of it are chosen.

use net2net_lab::data::{DataError, Dataset, ImageShape, Normalization, Splits};

use super::{handmade, names};

const SHAPE: ImageShape = ImageShape {
    height: 1,
    width: 2,
    channels: 1,
};

fn new(
    shape: ImageShape,
    images: &[u8],
    labels: &[u32],
    classes: usize,
) -> Result<Dataset, DataError> {
    Dataset::new("set", shape, images, labels, names(classes))
}

#[test]
fn error_empty() {
    let flat = |height, width, channels| ImageShape {
        height,
        width,
        channels,
    };
    for (expected, result) in [
        ("samples", new(SHAPE, &[], &[], 1)),
        ("classes", new(SHAPE, &[1, 2], &[0], 0)),
        ("rows", new(flat(0, 2, 1), &[], &[0], 1)),
        ("columns", new(flat(2, 0, 1), &[], &[0], 1)),
        ("channels", new(flat(2, 2, 0), &[], &[0], 1)),
    ] {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, DataError::Empty { dataset, what } if dataset == "set" && *what == expected),
            "{error:?}"
        );
    }
}

#[test]
fn error_pixel_count() {
    let error = new(SHAPE, &[1, 2, 3], &[0, 0], 1).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::PixelCount {
                found: 3,
                samples: 2,
                shape: SHAPE,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("1×2×1"), "{error}");
}

#[test]
fn error_pixel_count_when_the_shape_overflows() {
    let shape = ImageShape {
        height: usize::MAX,
        width: 2,
        channels: 1,
    };
    assert!(matches!(
        new(shape, &[1, 2], &[0], 1),
        Err(DataError::PixelCount { .. })
    ));
}

#[test]
fn error_label_out_of_range_names_the_set() {
    let error = new(SHAPE, &[1, 2, 3, 4], &[0, 1], 1).unwrap_err();
    assert!(
        matches!(&error, DataError::LabelOutOfRange { origin, index: 1, label: 1, classes: 1 } if origin == "set"),
        "{error:?}"
    );
}

#[test]
fn error_split_mismatch() {
    let (gray, rgb) = (new(SHAPE, &[1, 2], &[0], 1).unwrap(), handmade(3));
    let error = Splits::new(gray.clone(), rgb).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::SplitMismatch {
                what: "the shape of their images",
                ..
            }
        ),
        "{error:?}"
    );
    let error = Splits::new(gray, new(SHAPE, &[1, 2], &[0], 2).unwrap()).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::SplitMismatch {
                what: "their classes",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn subset_keeps_order_and_repeats() {
    let all = handmade(6);
    let part = all.subset(&[5, 0, 5]).unwrap();
    assert_eq!((part.len(), part.labels()), (3, [2, 0, 2].as_slice()));
    assert_eq!(
        part.images().unwrap(),
        [5, 0, 5].map(|index| all.image(index).unwrap()).concat()
    );
}

#[test]
fn error_no_such_sample() {
    let error = handmade(6).subset(&[0, 6]).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::NoSuchSample {
                index: 6,
                len: 6,
                ..
            }
        ),
        "{error:?}"
    );
    let error = handmade(6)
        .batch_f32(&[7], &Normalization::identity(2))
        .unwrap_err();
    assert!(
        matches!(
            error,
            DataError::NoSuchSample {
                index: 7,
                len: 6,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn error_empty_subset() {
    assert!(matches!(
        handmade(6).subset(&[]),
        Err(DataError::Empty {
            what: "samples",
            ..
        })
    ));
}

#[test]
fn take_gives_the_first() {
    let all = handmade(6);
    assert_eq!(all.take(2).unwrap(), all.subset(&[0, 1]).unwrap());
    assert_eq!(all.take(6).unwrap(), all);
}

#[test]
fn error_sample_count() {
    let all = handmade(6);
    for result in [
        all.take(0),
        all.take(7),
        all.take_balanced(0, 1),
        all.take_balanced(7, 1),
    ] {
        assert!(
            matches!(result, Err(DataError::SampleCount { max: 6, .. })),
            "{result:?}"
        );
    }
    for count in [0, 6] {
        assert!(matches!(
            all.split(count, 1),
            Err(DataError::SampleCount { max: 5, .. })
        ));
    }
}

#[test]
fn take_balanced_is_even_seeded_and_nested() {
    let all = handmade(90);
    let chosen = |count, seed| all.take_balanced(count, seed).unwrap();
    assert_eq!(chosen(30, 1).histogram(), [10; 3]);
    assert_eq!(chosen(31, 1).histogram(), [11, 10, 10]);
    assert_eq!(chosen(30, 1), chosen(30, 1));
    assert_ne!(chosen(30, 1), chosen(30, 2));
    assert_eq!(chosen(90, 1), all, "the order of the set is kept");
    let (small, large) = (chosen(10, 1), chosen(40, 1));
    let has = |image: &[u8]| (0..large.len()).any(|index| large.image(index) == Some(image));
    assert!((0..small.len()).all(|index| has(small.image(index).unwrap())));
}

#[test]
fn take_balanced_passes_over_a_class_that_has_run_out() {
    let labels = [0, 1, 1, 1, 1, 2, 2, 2];
    let set = new(SHAPE, &[0; 16], &labels, 4).unwrap();
    assert_eq!(set.take_balanced(6, 1).unwrap().histogram(), [1, 3, 2, 0]);
}

#[test]
fn split_puts_each_sample_into_one_part_and_keeps_the_order() {
    let all = handmade(10);
    let parts = all.split(3, 5).unwrap();
    assert_eq!((parts.train.len(), parts.validation.len()), (7, 3));
    assert_eq!(
        (parts.train.name(), parts.validation.name()),
        ("handmade/train", "handmade/validation")
    );
    let images = |set: &Dataset| -> Vec<Vec<u8>> {
        (0..set.len())
            .map(|i| set.image(i).unwrap().to_vec())
            .collect()
    };
    let place = |image: &Vec<u8>| {
        (0..all.len())
            .find(|&i| all.image(i) == Some(image))
            .unwrap()
    };
    assert!(images(&parts.train).iter().is_sorted_by_key(place));
    assert!(images(&parts.validation).iter().is_sorted_by_key(place));
    let mut joined = [images(&parts.train), images(&parts.validation)].concat();
    let mut expected = images(&all);
    joined.sort();
    expected.sort();
    assert_eq!(joined, expected);
    assert_eq!(parts, all.split(3, 5).unwrap());
    assert_ne!(parts, all.split(3, 6).unwrap());
}

#[test]
fn fingerprint_follows_shape_pixels_and_labels_and_nothing_else() {
    let base = new(SHAPE, &[1, 2, 3, 4], &[0, 1], 2).unwrap();
    let same = Dataset::new(
        "other",
        SHAPE,
        vec![1, 2, 3, 4],
        vec![0, 1],
        vec!["x".into(), "y".into()],
    )
    .unwrap();
    assert_eq!(base.fingerprint(), same.fingerprint());
    let turned = ImageShape {
        height: 2,
        width: 1,
        channels: 1,
    };
    for other in [
        new(turned, &[1, 2, 3, 4], &[0, 1], 2),
        new(SHAPE, &[1, 2, 3, 5], &[0, 1], 2),
        new(SHAPE, &[1, 2, 3, 4], &[1, 0], 2),
    ] {
        assert_ne!(base.fingerprint(), other.unwrap().fingerprint());
    }
}

#[test]
fn debug_does_not_print_the_pixels() {
    assert!(format!("{:?}", handmade(100)).len() < 200);
}
