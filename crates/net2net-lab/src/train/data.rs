//! The images that runs share: loading them, saying which they are, and drawing some of them.

use std::fs;
use std::path::Path;

use net2net_core::io::write_atomic;
use net2net_core::weights::stream;
use rand::seq::SliceRandom;

use super::{RunError, TrainingData};
use crate::data::{DataError, Dataset};

/// Training images on which new batch normalisations measure their statistics.
const STATISTICS_IMAGES: usize = 512;
/// Validation images on which growth is proved.
const PROOF_IMAGES: usize = 64;

/// Some images as networks read them: normalised, channels-last.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// How many there are.
    pub count: usize,
    /// Their numbers.
    pub images: Vec<f32>,
    /// What they are, as evidence says it.
    pub what: String,
}

impl TrainingData {
    /// Which images these are, in a line.
    pub fn describe(&self) -> String {
        let (train, validation) = (&self.splits.train, &self.splits.validation);
        format!(
            "{}: {} training and {} validation images of {}, {} classes (SHA-256 {:.12}… and {:.12}…)",
            train.name(),
            train.len(),
            validation.len(),
            train.shape(),
            train.classes().len(),
            train.fingerprint(),
            validation.fingerprint(),
        )
    }

    /// The broken images that were come upon so far, of those that stay in their files, a sentence each.
    pub fn broken(&self) -> Vec<String> {
        let parts = [&self.splits.train, &self.splits.validation];
        let named = parts.into_iter().flat_map(|part| {
            let all = part.broken().into_iter();
            all.map(|(image, why)| format!("{}: {image} {why}", part.name()))
        });
        named.collect()
    }

    /// The training images on which new batch normalisations measure their statistics.
    pub fn statistics_images(&self, seed: u64) -> Result<Drawn, DataError> {
        let (train, purpose) = (&self.splits.train, "statistics images");
        self.draw(train, STATISTICS_IMAGES, seed, purpose)
    }

    /// The validation images on which growth is proved.
    pub fn proof_images(&self, seed: u64) -> Result<Drawn, DataError> {
        let mut drawn = self.draw(&self.splits.validation, PROOF_IMAGES, seed, "proof images")?;
        drawn.what = format!("{} validation images", drawn.count);
        Ok(drawn)
    }

    fn draw(
        &self,
        from: &Dataset,
        count: usize,
        seed: u64,
        purpose: &str,
    ) -> Result<Drawn, DataError> {
        let mut indices: Vec<usize> = (0..from.len()).collect();
        indices.shuffle(&mut stream(seed, purpose));
        indices.truncate(count);
        Ok(Drawn {
            count: indices.len(),
            images: from.batch_f32(&indices, &self.normalization)?,
            what: purpose.to_owned(),
        })
    }

    /// Notes in a file which images work began with, and refuses others when it goes on.
    ///
    /// # Errors
    /// [`RunError::OtherImages`] if the file names others.
    pub fn note(&self, path: &Path) -> Result<(), RunError> {
        let now = self.describe();
        let file = |source| RunError::File {
            path: path.to_owned(),
            source,
        };
        match fs::read_to_string(path) {
            Ok(before) if before.trim_end() == now => Ok(()),
            Ok(before) => Err(RunError::OtherImages {
                path: path.to_owned(),
                before: before.trim_end().to_owned(),
                now,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                write_atomic(path, format!("{now}\n").as_bytes()).map_err(file)
            }
            Err(source) => Err(file(source)),
        }
    }
}
