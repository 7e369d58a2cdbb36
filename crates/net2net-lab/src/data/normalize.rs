//! From bytes to numbers of mean 0 and standard deviation 1, channel by channel.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::files::Scratch;
use super::keyed::{Purpose, permutation, stream};
use super::{DataError, Dataset};

/// Images in files that are measured; more change a mean by little and take time to decode.
const MEASURED: usize = 2_000;

/// What is taken from each channel and what it is divided by: a byte `p` becomes `(p / 255 − mean)
/// / std`, computed in `f32`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// The mean of each channel, of values in 0..=1.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, above 0.
    pub std: Vec<f32>,
}

impl Normalization {
    /// Measures a data set: the training part, so that nothing is learnt from the validation part.
    ///
    /// Exact but for the last rounding: the sums are of integers. A channel that is the same
    /// everywhere gets a standard deviation of 1, so that it becomes 0. Of images in files some
    /// thousands are measured, chosen by a fixed seed.
    ///
    /// # Errors
    /// None for images in memory; else those of reading them.
    pub fn measure(dataset: &Dataset) -> Result<Self, DataError> {
        let (mean, std) = histograms(dataset)?.iter().map(mean_and_std).unzip();
        Ok(Self { mean, std })
    }

    /// The normalisation that only divides by 255.
    pub fn identity(channels: usize) -> Self {
        Self {
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        }
    }

    /// What each byte becomes in each channel.
    ///
    /// # Errors
    /// [`DataError::Normalization`] unless there are `channels` finite means and finite standard
    /// deviations above 0.
    pub(super) fn table(&self, channels: usize) -> Result<PixelTable, DataError> {
        let refuse = |reason| Err(DataError::Normalization { reason });
        if self.mean.len() != channels || self.std.len() != channels {
            return refuse(format!(
                "{} means and {} standard deviations for images of {channels} channels",
                self.mean.len(),
                self.std.len()
            ));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return refuse(format!("a mean of {mean}"));
        }
        if let Some(std) = self
            .std
            .iter()
            .find(|std| !(std.is_finite() && **std > 0.0))
        {
            return refuse(format!("a standard deviation of {std}"));
        }
        let row = |(&mean, &std): (&f32, &f32)| {
            std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
        };
        Ok(PixelTable {
            channels: self.mean.iter().zip(&self.std).map(row).collect(),
        })
    }
}

/// What each of the 256 bytes becomes in each channel. Training and evaluation share it, so that
/// they agree to the bit.
#[derive(Clone)]
pub(super) struct PixelTable {
    channels: Vec<[f32; 256]>,
}

impl fmt::Debug for PixelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the values, which would drown a message.
        f.debug_struct("PixelTable")
            .field("channels", &self.channels.len())
            .finish_non_exhaustive()
    }
}

impl PixelTable {
    /// Converts whole pixels; `out` is as long as `pixels`.
    pub(super) fn convert(&self, pixels: &[u8], out: &mut [f32]) {
        // Gray: four times as fast as the general case.
        if let [gray] = self.channels.as_slice() {
            for (value, &byte) in out.iter_mut().zip(pixels) {
                *value = gray[usize::from(byte)];
            }
            return;
        }
        let channels = self.channels.len();
        for (values, bytes) in out
            .chunks_exact_mut(channels)
            .zip(pixels.chunks_exact(channels))
        {
            for ((value, &byte), channel) in values.iter_mut().zip(bytes).zip(&self.channels) {
                *value = channel[usize::from(byte)];
            }
        }
    }

    /// Fills whole pixels with what the byte 0 becomes.
    pub(super) fn blacken(&self, out: &mut [f32]) {
        for values in out.chunks_exact_mut(self.channels.len()) {
            for (value, channel) in values.iter_mut().zip(&self.channels) {
                *value = channel[0];
            }
        }
    }
}

/// How often each byte occurs in each channel.
fn histograms(dataset: &Dataset) -> Result<Vec<[u64; 256]>, DataError> {
    let channels = dataset.shape().channels;
    let mut counts = vec![[0; 256]; channels];
    let mut count = |pixels: &[u8]| {
        for pixel in pixels.chunks_exact(channels) {
            for (channel, &byte) in counts.iter_mut().zip(pixel) {
                channel[usize::from(byte)] += 1;
            }
        }
    };
    match dataset.images() {
        Some(pixels) => count(pixels),
        None => {
            let order = permutation(dataset.len(), &mut stream(0, Purpose::Look, 1, 0));
            let mut scratch = Scratch::default();
            for &index in order.iter().take(MEASURED) {
                if let Some(image) = dataset.view(index, None, &mut scratch)? {
                    count(&image);
                }
            }
        }
    }
    Ok(counts)
}

fn mean_and_std(counts: &[u64; 256]) -> (f32, f32) {
    let moment = |power| -> u128 {
        (0_u128..)
            .zip(counts)
            .map(|(byte, &count)| byte.pow(power) * u128::from(count))
            .sum()
    };
    let (count, sum, squares) = (moment(0), moment(1), moment(2));
    let scale = count.max(1) as f64 * 255.0;
    // count² · variance, an integer: exactly 0 for a constant channel and never negative.
    let spread = count * squares - sum * sum;
    let std = if spread == 0 {
        1.0
    } else {
        (spread as f64).sqrt() / scale
    };
    ((sum as f64 / scale) as f32, std as f32)
}
