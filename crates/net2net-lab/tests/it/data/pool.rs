//! Images that are decoded each time: the same bits on any number of threads, and what happens when
//! files are broken or change.

use std::fs;
use std::path::Path;

use net2net_lab::data::{
    Augmentation, ColorJitter, DataError, Dataset, Loader, Normalization, ResizedCrop,
    SourceOptions, open,
};

use super::images::{noisy_jpeg, write};

const ALL: Augmentation = Augmentation {
    resized_crop: Some(ResizedCrop {
        min_area: 0.08,
        max_area: 1.0,
        max_ratio: 4.0 / 3.0,
    }),
    color_jitter: Some(ColorJitter {
        brightness: 0.3,
        contrast: 0.3,
        saturation: 0.3,
        hue: 0.1,
    }),
    crop_padding: 2,
    flip: true,
    cutout: 6,
    mixup: 0.2,
};

/// Forty training images of 120×100 and more, in two classes.
fn fill(folder: &Path) {
    for i in 0..40_u16 {
        let class = if i % 2 == 0 { "a" } else { "b" };
        let image = noisy_jpeg(120 + i, 100, usize::from(i));
        write(folder, &format!("train/{class}/{i:02}.jpg"), &image);
        if i < 4 {
            write(folder, &format!("val/{class}/{i:02}.jpg"), &image);
        }
    }
}

fn train(folder: &Path, broken_share: f64) -> Dataset {
    let options = SourceOptions {
        side: Some(32),
        broken_share,
        ..SourceOptions::default()
    };
    open(folder, &options).unwrap().splits.train
}

type Seen = Vec<(Vec<usize>, Vec<u32>, Vec<u32>)>;

fn seen(set: &Dataset, threads: usize, first: usize) -> Result<Seen, DataError> {
    let normalization = Normalization::identity(3);
    Loader::new(set, &normalization, ALL, 8, 5, true)?
        .threads(threads)
        .epoch_from(3, first)?
        .map(|batch| {
            let batch = batch?;
            let bits = batch.images.iter().map(|value| value.to_bits()).collect();
            Ok((batch.indices.clone(), batch.labels.clone(), bits))
        })
        .collect()
}

#[test]
fn order_and_bits_are_the_same_on_any_number_of_threads_and_from_any_batch() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let set = train(folder.path(), 0.0);
    let one = seen(&set, 1, 0).unwrap();
    assert_eq!(one.len(), 5);
    assert_eq!(one, seen(&set, 2, 0).unwrap());
    assert_eq!(one, seen(&set, 5, 0).unwrap());
    assert_eq!(one[3..], seen(&set, 2, 3).unwrap());
}

#[test]
fn crops_and_colours_differ_from_epoch_to_epoch() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let set = train(folder.path(), 0.0);
    let epoch = |epoch| {
        let loader = Loader::new(&set, &Normalization::identity(3), ALL, 40, 5, false).unwrap();
        let batch = loader.epoch(epoch).unwrap().next().unwrap().unwrap();
        batch.images.clone()
    };
    assert_eq!(epoch(0), epoch(0));
    assert_ne!(epoch(0), epoch(1));
}

#[test]
fn a_broken_image_is_replaced_named_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    write(folder.path(), "train/a/04.jpg", b"\xff\xd8\xffnothing");
    let set = train(folder.path(), 0.05);
    let one = seen(&set, 1, 0).unwrap();
    assert_eq!(one, seen(&set, 5, 0).unwrap());
    let mut indices: Vec<usize> = one.iter().flat_map(|batch| batch.0.clone()).collect();
    indices.sort_unstable();
    // The images are sorted by name, so that this one is the third, and the fourth stands in.
    assert_eq!(indices[..4], [0, 1, 3, 3]);
    let broken = set.broken();
    assert_eq!((broken.len(), broken[0].0.as_str()), (1, "train/a/04.jpg"));
    for batch in &one {
        assert!(
            batch
                .0
                .iter()
                .zip(&batch.1)
                .all(|(&i, &label)| set.labels()[i] == label)
        );
    }
}

#[test]
fn too_many_broken_images_stop_the_epoch() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    for i in [4, 8, 12] {
        write(
            folder.path(),
            &format!("train/a/{i:02}.jpg"),
            b"\xff\xd8\xff",
        );
    }
    let error = seen(&train(folder.path(), 0.05), 2, 0).unwrap_err();
    let DataError::TooManyBroken {
        broken,
        total,
        first,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*broken, *total), (3, 40));
    assert!(first.starts_with("train/a/04.jpg"), "{first}");
}

/// Three of forty are few enough; three of sixteen are not.
#[test]
fn the_share_of_broken_images_is_that_of_the_images_in_use() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    for i in [4, 8, 12] {
        let name = format!("train/a/{i:02}.jpg");
        write(folder.path(), &name, b"\xff\xd8\xff");
    }
    let set = train(folder.path(), 0.1);
    assert!(seen(&set, 2, 0).is_ok());
    let some = set.subset(&(0..16).collect::<Vec<_>>()).unwrap();
    assert!(matches!(
        seen(&some, 2, 0),
        Err(DataError::TooManyBroken { total: 16, .. })
    ));
}

#[test]
fn evaluation_leaves_broken_images_out() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    write(folder.path(), "train/a/04.jpg", b"\xff\xd8\xff");
    let set = train(folder.path(), 0.05);
    let sizes: Vec<usize> = set
        .batches_for_eval(&Normalization::measure(&set).unwrap(), 16)
        .unwrap()
        .map(|batch| batch.unwrap().size())
        .collect();
    assert_eq!(sizes, [15, 16, 8]);
}

#[test]
fn a_folder_that_changes_underneath_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let file = folder.path().join("train/b/07.jpg");
    let set = train(folder.path(), 1.0);
    let before = fs::read(&file).unwrap();
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    fs::remove_file(&file).unwrap();
    let error = seen(&set, 2, 0).unwrap_err();
    assert!(
        matches!(&error, DataError::Changed { file: named, .. } if *named == file),
        "{error}"
    );
    fs::write(&file, &before[..before.len() - 1]).unwrap();
    assert!(matches!(seen(&set, 2, 0), Err(DataError::Changed { .. })));
    fs::write(&file, [&before[..], b"x"].concat()).unwrap();
    assert!(matches!(seen(&set, 2, 0), Err(DataError::Changed { .. })));
    // Another image of the same length, and the old one put back as it was.
    fs::write(&file, &before).unwrap();
    assert!(matches!(seen(&set, 2, 0), Err(DataError::Changed { .. })));
    let open = fs::File::options().write(true).open(&file).unwrap();
    open.set_modified(written).unwrap();
    assert!(seen(&set, 2, 0).is_ok());
    // The list of files is part of what a run's data is known by.
    let fingerprint = set.fingerprint();
    assert_eq!(train(folder.path(), 1.0).fingerprint(), fingerprint);
    fs::write(&file, [&before[..], b"x"].concat()).unwrap();
    assert_ne!(train(folder.path(), 1.0).fingerprint(), fingerprint);
}

#[test]
fn large_jpegs_decoded_small_look_the_same() {
    // A gradient: decoding at a quarter of the size must not shift or scale it.
    let folder = tempfile::tempdir().unwrap();
    let (width, height) = (512_u16, 512_u16);
    let pixels: Vec<u8> = (0..512 * 512)
        .flat_map(|i| [(i % 512 / 2) as u8, (i / 512 / 2) as u8, 128])
        .collect();
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, 95)
        .encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    for name in ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"] {
        write(folder.path(), name, &bytes);
    }
    let set = train(folder.path(), 0.0);
    let image = set.batch_f32(&[0], &Normalization::identity(3)).unwrap();
    for y in 0..32 {
        for x in 0..32 {
            let at = |i: usize| (32.0 + 448.0 * (i as f32 + 0.5) / 32.0) / 2.0 / 255.0;
            let pixel = &image[(y * 32 + x) * 3..][..3];
            for (found, expected) in pixel.iter().zip([at(x), at(y), 128.0 / 255.0]) {
                assert!(
                    (found - expected).abs() < 0.015,
                    "{x} {y}: {found} {expected}"
                );
            }
        }
    }
}
