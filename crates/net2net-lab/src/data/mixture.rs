//! Mixtures: which samples of which packs a network learns from and is judged by.
//!
//! A mixture is a file beside its packs. It names every sample, so its hash says exactly what was seen.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DataError, Dataset, Splits, pack};

/// What a mixture's file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// What it is called in messages and reports.
    pub name: String,
    /// The classes, in the order of a network's outputs. Packs name theirs, and are matched by name.
    pub classes: Vec<String>,
    /// What is learnt from.
    pub train: Vec<Share>,
    /// What is judged by.
    pub validation: Vec<Share>,
}

/// Samples of one pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The pack, a file beside the mixture's.
    pub pack: String,
    /// Which of its samples.
    pub samples: Vec<usize>,
}

impl Mixture {
    /// Reads a mixture's file.
    ///
    /// # Errors
    /// [`DataError::Read`], and [`DataError::Pack`] if it is damaged.
    pub fn read(path: &Path) -> Result<Mixture, DataError> {
        let bytes = fs::read(path).map_err(|source| DataError::Read {
            file: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|error| DataError::Pack {
            file: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Loads the images; packs lie in `folder`.
    ///
    /// # Errors
    /// Those of reading the packs; [`DataError::Pack`] if one has a class that the mixture lacks.
    pub fn load(&self, folder: &Path) -> Result<Splits, DataError> {
        Splits::new(
            self.part("train", &self.train, folder)?,
            self.load_validation(folder)?,
        )
    }

    /// Loads what is judged by, alone.
    ///
    /// # Errors
    /// See [`Mixture::load`].
    pub fn load_validation(&self, folder: &Path) -> Result<Dataset, DataError> {
        self.part("validation", &self.validation, folder)
    }

    fn part(&self, which: &str, shares: &[Share], folder: &Path) -> Result<Dataset, DataError> {
        let mut packs = BTreeMap::new();
        for share in shares {
            if !packs.contains_key(&share.pack) {
                packs.insert(share.pack.clone(), pack::read(&folder.join(&share.pack))?);
            }
        }
        self.join(&format!("{}/{which}", self.name), shares, &packs, folder)
    }

    /// The samples of some shares, one after the other.
    fn join(
        &self,
        name: &str,
        shares: &[Share],
        packs: &BTreeMap<String, Dataset>,
        folder: &Path,
    ) -> Result<Dataset, DataError> {
        let place: HashMap<&str, u32> = self.classes.iter().map(String::as_str).zip(0..).collect();
        let (mut pixels, mut labels, mut shape) = (Vec::new(), Vec::new(), None);
        for share in shares.iter().filter(|share| !share.samples.is_empty()) {
            let Some(pack) = packs.get(&share.pack) else {
                continue;
            };
            let wrong = |reason: String| DataError::Pack {
                file: folder.join(&share.pack),
                reason,
            };
            pack.check_indices(&share.samples)?;
            if *shape.get_or_insert(pack.shape()) != pack.shape() {
                return Err(wrong(format!("its images are {}", pack.shape())));
            }
            for sample in &share.samples {
                let class = &pack.classes()[pack.labels()[*sample] as usize];
                let label = place
                    .get(class.as_str())
                    .ok_or_else(|| wrong(format!("the mixture has no class {class:?}")))?;
                labels.push(*label);
                pixels.extend_from_slice(pack.image(*sample).unwrap_or_default());
            }
        }
        let shape = shape.ok_or_else(|| DataError::Empty {
            dataset: name.to_owned(),
            what: "samples",
        })?;
        Dataset::new(name, shape, pixels, labels, self.classes.clone())
    }
}
