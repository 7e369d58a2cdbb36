//! How fast the loader is. A measurement, run by hand:
//! `cargo test --release -p net2net-lab --test it rate -- --ignored --nocapture`

use std::time::Instant;

use net2net_lab::data::{Augmentation, Loader, Normalization, fashion_mini};

#[test]
#[ignore = "a measurement, not a test"]
fn images_per_second() {
    let train = fashion_mini().unwrap().train;
    let normalization = Normalization::measure(&train);
    let crop_and_flip = Augmentation {
        crop_padding: 2,
        flip: true,
        cutout: 0,
    };
    for (name, augmentation) in [
        ("plain", Augmentation::default()),
        ("crop + flip", crop_and_flip),
    ] {
        let loader = Loader::new(&train, &normalization, augmentation, 128, 1, true).unwrap();
        let mut rates: Vec<f64> = (0..20)
            .map(|epoch| {
                let start = Instant::now();
                let images: usize = loader
                    .epoch(epoch)
                    .unwrap()
                    .map(|batch| batch.unwrap().size())
                    .sum();
                images as f64 / start.elapsed().as_secs_f64()
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        println!(
            "{name}: median {:.0}, best {:.0} images/s",
            rates[10], rates[19]
        );
    }
}
