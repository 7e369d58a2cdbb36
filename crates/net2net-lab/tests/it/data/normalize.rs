//! Normalisation, and the plain way to batches.

use net2net_lab::data::{
    Augmentation, DataError, Dataset, ImageShape, Loader, Normalization, fashion_mini,
};

use super::{handmade, names};

fn mean_and_std(values: &[f32]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let variance = values
        .iter()
        .map(|&value| (f64::from(value) - mean).powi(2))
        .sum::<f64>()
        / count;
    (mean, variance.sqrt())
}

#[test]
fn the_training_set_gets_mean_0_and_std_1() {
    let train = fashion_mini().unwrap().train;
    let normalization = Normalization::measure(&train).unwrap();
    let indices: Vec<usize> = (0..train.len()).collect();
    let (mean, std) = mean_and_std(&train.batch_f32(&indices, &normalization).unwrap());
    assert!(
        mean.abs() < 1e-6 && (std - 1.0).abs() < 1e-6,
        "{mean} {std}"
    );
}

#[test]
fn channels_are_measured_apart() {
    let set = handmade(50);
    let values = set
        .batch_f32(
            &(0..50).collect::<Vec<_>>(),
            &Normalization::measure(&set).unwrap(),
        )
        .unwrap();
    for channel in 0..2 {
        let (mean, std) = mean_and_std(
            &values
                .iter()
                .copied()
                .skip(channel)
                .step_by(2)
                .collect::<Vec<_>>(),
        );
        assert!(
            mean.abs() < 1e-6 && (std - 1.0).abs() < 1e-6,
            "{mean} {std}"
        );
    }
}

#[test]
fn a_constant_channel_becomes_zero() {
    let shape = ImageShape {
        height: 1,
        width: 2,
        channels: 2,
    };
    let set = Dataset::new("set", shape, vec![51, 0, 51, 255], vec![0], names(1)).unwrap();
    let normalization = Normalization::measure(&set).unwrap();
    assert_eq!(
        normalization,
        Normalization {
            mean: vec![0.2, 0.5],
            std: vec![1.0, 0.5]
        }
    );
    assert_eq!(
        set.batch_f32(&[0], &normalization).unwrap(),
        [0.0, -1.0, 0.0, 1.0]
    );
}

#[test]
fn json_round_trip_and_unknown_fields() {
    let normalization = Normalization::measure(&handmade(5)).unwrap();
    let json = serde_json::to_string(&normalization).unwrap();
    assert_eq!(
        serde_json::from_str::<Normalization>(&json).unwrap(),
        normalization
    );
    assert!(serde_json::from_str::<Normalization>(r#"{"mean":[0],"std":[1],"eps":0}"#).is_err());
    let augmentation: Augmentation = serde_json::from_str(r#"{"flip":true}"#).unwrap();
    assert_eq!(
        augmentation,
        Augmentation {
            flip: true,
            ..Augmentation::default()
        }
    );
    assert!(serde_json::from_str::<Augmentation>(r#"{"rotate":true}"#).is_err());
}

#[test]
fn error_normalization() {
    let set = handmade(5);
    let bad = [(&[0.0][..], &[1.0][..]), (&[0.0, f32::NAN], &[1.0, 1.0])];
    let bad_std = [0.0, -1.0, f32::NAN, f32::INFINITY].map(|std| [1.0, std]);
    let bad = bad
        .into_iter()
        .chain(bad_std.iter().map(|std| (&[0.0, 0.0][..], &std[..])));
    for (mean, std) in bad {
        let normalization = Normalization {
            mean: mean.to_vec(),
            std: std.to_vec(),
        };
        for error in [
            set.batch_f32(&[0], &normalization).unwrap_err(),
            set.batches_for_eval(&normalization, 1).unwrap_err(),
            Loader::new(&set, &normalization, Augmentation::default(), 1, 0, false).unwrap_err(),
        ] {
            assert!(
                matches!(error, DataError::Normalization { .. }),
                "{error:?}"
            );
        }
    }
}

#[test]
fn batch_f32_repeats_and_orders() {
    let set = handmade(5);
    let normalization = Normalization::measure(&set).unwrap();
    let one = |index| set.batch_f32(&[index], &normalization).unwrap();
    assert_eq!(
        set.batch_f32(&[3, 1, 3], &normalization).unwrap(),
        [one(3), one(1), one(3)].concat()
    );
    assert_eq!(set.batch_f32(&[], &normalization).unwrap(), [0.0; 0]);
}

#[test]
fn evaluation_sees_each_sample_once_in_order() {
    let set = handmade(10);
    let normalization = Normalization::measure(&set).unwrap();
    let batches = set.batches_for_eval(&normalization, 4).unwrap();
    assert_eq!(batches.size_hint(), (3, Some(3)));
    let batches: Vec<_> = batches.map(Result::unwrap).collect();
    assert_eq!(
        batches.iter().map(|batch| batch.size()).collect::<Vec<_>>(),
        [4, 4, 2]
    );
    let all: Vec<usize> = batches
        .iter()
        .flat_map(|batch| batch.indices.clone())
        .collect();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    for batch in &batches {
        assert_eq!(
            batch.images,
            set.batch_f32(&batch.indices, &normalization).unwrap()
        );
        assert!(
            batch
                .indices
                .iter()
                .zip(&batch.labels)
                .all(|(&index, &label)| set.labels()[index] == label)
        );
    }
}

#[test]
fn a_batch_larger_than_the_set_is_one_batch_of_evaluation() {
    let set = handmade(10);
    let sizes: Vec<_> = set
        .batches_for_eval(&Normalization::identity(2), usize::MAX)
        .unwrap()
        .map(|batch| batch.unwrap().size())
        .collect();
    assert_eq!(sizes, [10]);
}

#[test]
fn error_batch_size_of_evaluation() {
    let set = handmade(10);
    let error = set
        .batches_for_eval(&Normalization::identity(2), 0)
        .unwrap_err();
    assert!(
        matches!(error, DataError::BatchSize { batch: 0, .. }),
        "{error:?}"
    );
}
