//! The embedded data set is what it says.

use net2net_lab::data::{FASHION_CLASSES, ImageShape, fashion_mini};

#[test]
fn sizes_classes_and_labels() {
    let splits = fashion_mini().unwrap();
    let (train, validation) = (&splits.train, &splits.validation);
    assert_eq!((train.len(), validation.len()), (8_000, 2_000));
    for part in [train, validation] {
        assert_eq!(
            part.shape(),
            ImageShape {
                height: 28,
                width: 28,
                channels: 1
            }
        );
        assert_eq!(part.classes(), FASHION_CLASSES);
    }
    // Counted in the files by other means.
    assert_eq!(
        train.histogram(),
        [747, 860, 809, 807, 763, 795, 807, 818, 792, 802]
    );
    assert_eq!(
        validation.histogram(),
        [200, 203, 214, 190, 219, 195, 197, 200, 194, 188]
    );
    // The first training image of Fashion-MNIST is an ankle boot, the first test image too.
    assert_eq!(train.labels()[..5], [9, 0, 0, 3, 0]);
    assert_eq!(validation.labels()[..5], [9, 2, 1, 1, 6]);
}

#[test]
fn fingerprints_are_pinned() {
    let splits = fashion_mini().unwrap();
    assert_eq!(
        splits.train.fingerprint(),
        "2ac49a75ffc0a811ad7dc26449d462501423a62a052939e5808d6480fa29d3ca"
    );
    assert_eq!(
        splits.validation.fingerprint(),
        "47ba266ed181f2184224fd0967f54ab1eed9c0dd6a11c54e63ad0c283c668c8e"
    );
}
