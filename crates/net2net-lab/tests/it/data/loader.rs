//! The loader: complete, repeatable, resumable, and gone when it is no longer wanted.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use net2net_lab::data::{Augmentation, DataError, Epoch, ImageShape, Loader, Normalization};

use super::handmade;

const ALL: Augmentation = Augmentation {
    resized_crop: None,
    color_jitter: None,
    crop_padding: 1,
    flip: true,
    cutout: 2,
    mixup: 0.0,
};

/// A loader of 50 samples in batches of 8.
fn loader(augmentation: Augmentation, seed: u64, shuffle: bool) -> Loader {
    let set = handmade(50);
    Loader::new(
        &set,
        &Normalization::measure(&set).unwrap(),
        augmentation,
        8,
        seed,
        shuffle,
    )
    .unwrap()
}

/// Everything that can be seen of a batch; the images as bits.
type Seen = (usize, Vec<usize>, Vec<u32>, Vec<u32>);

fn see(epoch: Epoch) -> Vec<Seen> {
    epoch
        .map(|batch| {
            let batch = batch.unwrap();
            let bits = batch.images.iter().map(|value| value.to_bits()).collect();
            (
                batch.number,
                batch.indices.clone(),
                batch.labels.clone(),
                bits,
            )
        })
        .collect()
}

fn order(epoch: Epoch) -> Vec<usize> {
    see(epoch)
        .into_iter()
        .flat_map(|(_, indices, ..)| indices)
        .collect()
}

#[test]
fn an_epoch_serves_each_sample_once_with_its_label() {
    let set = handmade(50);
    let batches = see(loader(ALL, 1, true).epoch(0).unwrap());
    assert_eq!(
        batches
            .iter()
            .map(|(number, ..)| *number)
            .collect::<Vec<_>>(),
        (0..7).collect::<Vec<_>>()
    );
    assert_eq!(
        batches
            .iter()
            .map(|(_, indices, ..)| indices.len())
            .collect::<Vec<_>>(),
        [8, 8, 8, 8, 8, 8, 2]
    );
    for (_, indices, labels, values) in &batches {
        assert!(
            indices
                .iter()
                .zip(labels)
                .all(|(&index, &label)| set.labels()[index] == label)
        );
        assert_eq!(values.len(), indices.len() * set.image_len());
    }
    let mut all = order(loader(ALL, 1, true).epoch(0).unwrap());
    all.sort_unstable();
    assert_eq!(all, (0..50).collect::<Vec<_>>());
}

#[test]
fn without_shuffle_and_augmentation_it_is_evaluation() {
    let set = handmade(50);
    let normalization = Normalization::measure(&set).unwrap();
    let epoch = loader(Augmentation::default(), 1, false).epoch(3).unwrap();
    for (batch, expected) in epoch.zip(set.batches_for_eval(&normalization, 8).unwrap()) {
        let (batch, expected) = (batch.unwrap(), expected.unwrap());
        assert_eq!(
            (&batch.images, &batch.indices),
            (&expected.images, &expected.indices)
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    assert_eq!(
        see(loader(ALL, 1, true).epoch(2).unwrap()),
        see(loader(ALL, 1, true).epoch(2).unwrap())
    );
}

#[test]
fn another_seed_or_epoch_gives_another_order_and_other_augmentation() {
    for shuffle in [true, false] {
        let base = see(loader(ALL, 1, shuffle).epoch(0).unwrap());
        assert_ne!(base, see(loader(ALL, 2, shuffle).epoch(0).unwrap()));
        assert_ne!(base, see(loader(ALL, 1, shuffle).epoch(1).unwrap()));
    }
    let order_of = |seed, epoch| order(loader(ALL, seed, true).epoch(epoch).unwrap());
    assert_ne!(order_of(1, 0), order_of(2, 0));
    assert_ne!(order_of(1, 0), order_of(1, 1));
}

#[test]
fn the_augmentation_of_a_sample_does_not_depend_on_the_order_or_the_batch() {
    let set = handmade(50);
    let images = |shuffle, batch| {
        let loader = Loader::new(
            &set,
            &Normalization::measure(&set).unwrap(),
            ALL,
            batch,
            1,
            shuffle,
        )
        .unwrap();
        let mut images = vec![Vec::new(); set.len()];
        for batch in loader.epoch(4).unwrap().map(Result::unwrap) {
            for (&index, values) in batch
                .indices
                .iter()
                .zip(batch.images.chunks_exact(set.image_len()))
            {
                images[index] = values.to_vec();
            }
        }
        images
    };
    assert_eq!(images(true, 8), images(false, 50));
}

#[test]
fn samples_of_one_epoch_are_augmented_apart() {
    // The same image again and again: what differs comes from the augmentation.
    let set = handmade(50).subset(&[0; 50]).unwrap();
    let loader = Loader::new(&set, &Normalization::identity(2), ALL, 1, 1, true).unwrap();
    let seen: BTreeSet<_> = see(loader.epoch(0).unwrap())
        .into_iter()
        .map(|(.., bits)| bits)
        .collect();
    assert!(seen.len() > 10, "{} of 50", seen.len());
}

#[test]
fn epoch_from_is_the_tail_of_the_epoch() {
    let loader = loader(ALL, 1, true);
    let whole = see(loader.epoch(5).unwrap());
    for first in 0..=whole.len() {
        assert_eq!(see(loader.epoch_from(5, first).unwrap()), whole[first..]);
    }
}

#[test]
fn error_no_such_batch() {
    let error = loader(ALL, 1, true).epoch_from(0, 8).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::NoSuchBatch {
                first: 8,
                batches: 7
            }
        ),
        "{error:?}"
    );
}

#[test]
fn drop_last_leaves_out_the_small_batch_only() {
    let (whole, dropped) = (loader(ALL, 1, true), loader(ALL, 1, true).drop_last(true));
    assert_eq!(
        (whole.batches_per_epoch(), dropped.batches_per_epoch()),
        (7, 6)
    );
    assert_eq!(
        see(dropped.epoch(0).unwrap()),
        see(whole.epoch(0).unwrap())[..6]
    );
}

#[test]
fn loaders_at_work_side_by_side_do_not_disturb_each_other() {
    let expected = see(loader(ALL, 1, true).epoch(0).unwrap());
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let loader = loader(ALL, 1, true);
                barrier.wait();
                assert_eq!(see(loader.epoch(0).unwrap()), expected);
            });
        }
    });
}

#[test]
fn batches_may_be_kept_and_their_memory_taken() {
    let loader = loader(ALL, 1, true);
    let expected = see(loader.epoch(0).unwrap());
    let kept: Vec<_> = loader.epoch(0).unwrap().map(Result::unwrap).collect();
    assert!(
        kept.iter()
            .zip(&expected)
            .all(|(batch, seen)| batch.indices == seen.1)
    );
    let taken: usize = loader
        .epoch(0)
        .unwrap()
        .map(|batch| std::mem::take(&mut batch.unwrap().images).len())
        .sum();
    assert_eq!(taken, 50 * 24);
}

#[test]
fn memory_is_used_again() {
    let set = handmade(50);
    let loader = Loader::new(&set, &Normalization::identity(2), ALL, 1, 1, true).unwrap();
    let mut epoch = loader.epoch(0).unwrap();
    // Marks the first batch by room that no other has.
    let mut first = epoch.next().unwrap().unwrap();
    first.images.reserve(10_000);
    drop(first);
    assert!(epoch.any(|batch| batch.unwrap().images.capacity() >= 10_000));
}

#[test]
fn dropping_an_epoch_early_ends_it() {
    let loader = loader(ALL, 1, true);
    for wanted in 0..7 {
        let mut epoch = loader.epoch(0).unwrap();
        let kept: Vec<_> = epoch.by_ref().take(wanted).map(Result::unwrap).collect();
        drop(epoch);
        // A batch may outlive its epoch.
        assert_eq!(kept.len(), wanted);
    }
}

#[test]
fn error_batch_size() {
    let set = handmade(5);
    for batch in [0, 6] {
        let error =
            Loader::new(&set, &Normalization::identity(2), ALL, batch, 1, true).unwrap_err();
        assert!(
            matches!(error, DataError::BatchSize { max: 5, .. }),
            "{error:?}"
        );
    }
}

#[test]
fn error_augmentation() {
    let set = handmade(5);
    let shape = ImageShape {
        height: 4,
        width: 3,
        channels: 2,
    };
    for (augmentation, expected) in [
        (
            Augmentation {
                crop_padding: 3,
                ..ALL
            },
            ("crop_padding", 3, 2),
        ),
        (
            Augmentation {
                cutout: usize::MAX,
                ..ALL
            },
            ("cutout", usize::MAX, 3),
        ),
    ] {
        let error =
            Loader::new(&set, &Normalization::identity(2), augmentation, 1, 1, true).unwrap_err();
        let DataError::Augmentation {
            field,
            found,
            max,
            shape: images,
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(((field, found, max), images), (expected, shape));
    }
}
