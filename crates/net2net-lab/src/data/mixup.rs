//! Images that are mixed in pairs, and their labels with them (mixup: Zhang, Cisse, Dauphin,
//! Lopez-Paz, ICLR 2018).

use rand_chacha::ChaCha8Rng;

use super::keyed::unit;

/// A share drawn from the symmetric Beta distribution with the parameter `alpha`, which is in 0..=1:
/// small values leave most images nearly as they are, 1 is any share equally. Jöhnk's method (1964).
pub(super) fn share(rng: &mut ChaCha8Rng, alpha: f64) -> f32 {
    loop {
        // Powers with large exponents would both be 0.
        let [a, b] = [(); 2].map(|()| unit(rng).max(f64::MIN_POSITIVE).ln() / alpha);
        if a.exp() + b.exp() <= 1.0 {
            return (1.0 / (1.0 + (b - a).exp())) as f32;
        }
    }
}

/// Mixes each image with the next one of the batch, and the last with the first: `share` of its own.
pub(super) fn mix(images: &mut [f32], image_len: usize, share: f32) {
    let count = images.len() / image_len.max(1);
    if count < 2 {
        return;
    }
    let first = images[..image_len].to_vec();
    for at in 0..count {
        let (own, rest) = images[at * image_len..].split_at_mut(image_len);
        let next = if at + 1 < count {
            &rest[..image_len]
        } else {
            &first[..]
        };
        for (x, y) in own.iter_mut().zip(next) {
            *x = share * *x + (1.0 - share) * *y;
        }
    }
}

/// The probabilities of the classes for images that were mixed so, `[batch, classes]` row-major.
pub(super) fn mixed_labels(labels: &[u32], classes: usize, share: f32) -> Vec<f32> {
    let mut all = vec![0.0; labels.len() * classes];
    let others = labels.iter().cycle().skip(1);
    for ((row, own), other) in all.chunks_exact_mut(classes.max(1)).zip(labels).zip(others) {
        for (label, share) in [(own, share), (other, 1.0 - share)] {
            if let Some(probability) = row.get_mut(*label as usize) {
                *probability += share;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::keyed::{Purpose, stream};
    use super::*;

    #[test]
    fn shares_have_the_mean_and_the_spread_of_their_distribution() {
        for alpha in [0.05, 0.2, 1.0] {
            let mut rng = stream(1, Purpose::Mix, 0, 0);
            let all: Vec<f64> = (0..20_000)
                .map(|_| f64::from(share(&mut rng, alpha)))
                .collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
            assert!((mean - 0.5).abs() < 0.02, "{alpha}: {mean}");
            // That of Beta(a, a) is 1 / (4 (2 a + 1)).
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!(
                (variance / expected - 1.0).abs() < 0.05,
                "{alpha}: {variance}"
            );
        }
    }

    #[test]
    fn each_is_mixed_with_the_next_as_it_was() {
        let mut images = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        mix(&mut images, 2, 0.75);
        assert_eq!(images, [1.5, 2.5, 3.5, 4.5, 4.0, 5.0]);
        let labels = mixed_labels(&[0, 2, 2], 3, 0.75);
        assert_eq!(labels, [0.75, 0.0, 0.25, 0.0, 0.0, 1.0, 0.25, 0.0, 0.75]);
    }

    #[test]
    fn one_image_alone_stays() {
        let mut images = vec![1.0, 2.0];
        mix(&mut images, 2, 0.75);
        assert_eq!(images, [1.0, 2.0]);
        assert_eq!(mixed_labels(&[1], 2, 0.75), [0.0, 1.0]);
    }
}
