//! What a folder or archive of images holds, before anything is trained on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::decode::{decode, probe};
use super::keyed::{Purpose, permutation, stream};
use super::prefetch::{Prefetch, cores};
use super::source::arrange::Part;
use super::source::{self, Entry, Survey};
use super::{DataError, Dataset, Normalization, SourceOptions};

/// Images that one thread takes at a time.
const CHUNK: usize = 64;
/// Sizes that are listed by themselves.
const SIZES: usize = 12;

/// All that was found out about a data set.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// What it is called.
    pub name: String,
    /// How its images are arranged, in words.
    pub kind: String,
    /// Training images, broken ones included.
    pub train: usize,
    /// Validation images, broken ones included.
    pub validation: usize,
    /// Images that were decoded: all, unless fewer were asked for.
    pub examined: usize,
    /// The classes, in the order of their labels.
    pub classes: Vec<ClassCount>,
    /// The most frequent sizes, most frequent first.
    pub sizes: Vec<SizeCount>,
    /// How many different sizes there are.
    pub different_sizes: usize,
    /// The colour models, most frequent first.
    pub modes: Vec<ModeCount>,
    /// Broken images and why each is, by name.
    pub broken: Vec<(String, String)>,
    /// Training images that are validation images too, pixel by pixel.
    pub duplicates: Vec<Duplicate>,
    /// Training images that are there more than once, pixel by pixel; each but the first.
    pub repeated: usize,
    /// The shape that images are brought to: height, width, channels.
    pub input: [usize; 3],
    /// Why it is that.
    pub input_reason: String,
    /// Whether they are decoded once and kept in memory.
    pub in_memory: bool,
    /// The normalisation, measured on the training images.
    pub normalization: Normalization,
    /// What was passed over or looks odd.
    pub notes: Vec<String>,
}

/// A class and how many images it has, broken ones included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Its name.
    pub name: String,
    /// Training images.
    pub train: usize,
    /// Validation images.
    pub validation: usize,
}

/// A size and how many images have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Images.
    pub images: usize,
}

/// A format and colour model, and how many images have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModeCount {
    /// Such as `JPEG, RGB`.
    pub mode: String,
    /// Images.
    pub images: usize,
}

/// An image that is in both parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// Its name among the training images.
    pub train: String,
    /// Its name among the validation images.
    pub validation: String,
}

/// What is found out image by image.
#[derive(Default)]
struct Findings {
    sizes: BTreeMap<(usize, usize), usize>,
    modes: BTreeMap<String, usize>,
    broken: Vec<(String, String)>,
    /// The pixels' hash of each image, in order; `None` if it is broken.
    hashes: Vec<Option<[u8; 32]>>,
}

/// Decodes the images of a folder or archive, at most `most` of each part (a choice by a fixed seed),
/// and says what is there. `progress` hears how many images of how many are done.
///
/// # Errors
/// As [`open`](super::open), but broken images are counted and never too many, unless all are.
pub fn inspect(
    path: &Path,
    options: &SourceOptions,
    most: Option<usize>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Inspection, DataError> {
    let options = SourceOptions {
        broken_share: 1.0,
        ..options.clone()
    };
    options.check()?;
    let mut names: [Vec<String>; 2] = Default::default();
    let mut found: [Findings; 2] = Default::default();
    let mut counts = None;
    if let Survey::Images(arrangement) = source::survey(path, &options, 2)? {
        let of = |part: &Part| counted(&part.labels, arrangement.classes.len());
        counts = Some([of(&arrangement.train), of(&arrangement.validation)]);
        let parts =
            [&arrangement.train, &arrangement.validation].map(|part| some(&part.images, most));
        let total = parts.iter().map(Vec::len).sum();
        let mut done = 0;
        for ((names, found), entries) in names.iter_mut().zip(&mut found).zip(parts) {
            names.extend(entries.iter().map(|entry| entry.name.clone()));
            *found = examine(entries, &mut |images| {
                done += images;
                progress(done, total);
            })?;
        }
    }
    let opened = source::open(path, &options)?;
    let parts = [&opened.splits.train, &opened.splits.validation];
    if found.iter().all(|found| found.hashes.is_empty()) {
        for (part, (names, found)) in parts.iter().zip(names.iter_mut().zip(&mut found)) {
            *names = (0..part.len())
                .map(|index| format!("image {index}"))
                .collect();
            *found = in_memory(part);
        }
    }
    let (duplicates, repeated) = duplicates(&names, &found);
    let normalization = Normalization::measure(parts[0])?;
    let shape = parts[0].shape();
    let (sizes, different_sizes) = most_frequent_sizes(&found);
    // As they were listed: broken images are left out of sets in memory.
    let counts = counts.unwrap_or_else(|| parts.map(Dataset::histogram));
    let examined = found.iter().map(|found| found.hashes.len()).sum();
    Ok(Inspection {
        name: source::name_of(path),
        train: counts[0].iter().sum(),
        validation: counts[1].iter().sum(),
        examined,
        classes: classes(parts[0].classes(), &counts),
        sizes,
        different_sizes,
        modes: modes(&found),
        duplicates,
        repeated,
        input: [shape.height, shape.width, shape.channels],
        input_reason: opened.shape_reason,
        in_memory: !parts[0].is_in_files(),
        normalization,
        kind: opened.kind,
        notes: opened
            .notes
            .into_iter()
            .filter(|note| !note.ends_with(source::LEFT_OUT))
            .collect(),
        broken: found.into_iter().flat_map(|found| found.broken).collect(),
    })
}

/// At most `most` entries, chosen by a fixed seed, in their order.
fn some(entries: &[Entry], most: Option<usize>) -> Vec<Entry> {
    let most = most.unwrap_or(usize::MAX);
    let mut order = permutation(entries.len(), &mut stream(0, Purpose::Look, 2, 0));
    order.truncate(most);
    order.sort_unstable();
    order.into_iter().map(|at| entries[at].clone()).collect()
}

/// Decodes images on all cores.
fn examine(entries: Vec<Entry>, progress: &mut dyn FnMut(usize)) -> Result<Findings, DataError> {
    let chunks = entries.len().div_ceil(CHUNK);
    let pool = Prefetch::start(0..chunks, cores(), || {
        let entries = entries.clone();
        move |chunk: usize| -> Result<Findings, DataError> {
            let (mut found, mut bytes) = (Findings::default(), Vec::new());
            for entry in entries.iter().skip(chunk * CHUNK).take(CHUNK) {
                entry.read(&mut bytes)?;
                found.add(&entry.name, &bytes);
            }
            Ok(found)
        }
    })?;
    let mut all = Findings::default();
    for chunk in pool {
        let chunk = chunk??;
        progress(chunk.hashes.len());
        for (size, images) in chunk.sizes {
            *all.sizes.entry(size).or_default() += images;
        }
        for (mode, images) in chunk.modes {
            *all.modes.entry(mode).or_default() += images;
        }
        all.broken.extend(chunk.broken);
        all.hashes.extend(chunk.hashes);
    }
    Ok(all)
}

impl Findings {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        let decoded = probe(bytes).and_then(|header| {
            let channels = if header.gray { 1 } else { 3 };
            Ok((header, decode(bytes, channels, 1)?))
        });
        match decoded {
            Ok((header, picture)) => {
                *self.sizes.entry((header.width, header.height)).or_default() += 1;
                let mode = format!("{}, {}", header.format, header.mode);
                *self.modes.entry(mode).or_default() += 1;
                let size = (picture.width, picture.height);
                self.hashes.push(Some(hash(size, &picture.pixels)));
            }
            Err(fault) => {
                self.broken.push((name.to_owned(), fault.to_string()));
                self.hashes.push(None);
            }
        }
    }
}

fn hash((width, height): (usize, usize), pixels: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((width as u64).to_le_bytes());
    hash.update((height as u64).to_le_bytes());
    hash.update(pixels);
    hash.finalize().into()
}

/// The findings of images that are decoded already.
fn in_memory(set: &Dataset) -> Findings {
    let shape = set.shape();
    let mode = if shape.channels == 1 {
        "bytes, gray"
    } else {
        "bytes, RGB"
    };
    let size = (shape.width, shape.height);
    let hashed = |index| set.image(index).map(|image| hash(size, image));
    Findings {
        sizes: [(size, set.len())].into(),
        modes: [(mode.to_owned(), set.len())].into(),
        broken: Vec::new(),
        hashes: (0..set.len()).map(hashed).collect(),
    }
}

/// Training images that are in validation too, and how many repeat another training image.
fn duplicates(names: &[Vec<String>; 2], found: &[Findings; 2]) -> (Vec<Duplicate>, usize) {
    let validation: BTreeMap<[u8; 32], &String> = found[1]
        .hashes
        .iter()
        .zip(&names[1])
        .filter_map(|(hash, name)| Some(((*hash)?, name)))
        .collect();
    let mut seen = BTreeSet::new();
    let (mut both, mut repeated) = (Vec::new(), 0);
    for (hash, name) in found[0].hashes.iter().zip(&names[0]) {
        let Some(hash) = hash else {
            continue;
        };
        if let Some(other) = validation.get(hash) {
            both.push(Duplicate {
                train: name.clone(),
                validation: (*other).clone(),
            });
        }
        repeated += usize::from(!seen.insert(*hash));
    }
    (both, repeated)
}

/// How many labels there are of each class.
fn counted(labels: &[u32], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for label in labels {
        counts[*label as usize] += 1;
    }
    counts
}

fn classes(names: &[String], [train, validation]: &[Vec<usize>; 2]) -> Vec<ClassCount> {
    let counts = train.iter().zip(validation);
    names
        .iter()
        .zip(counts)
        .map(|(name, (train, validation))| ClassCount {
            name: name.clone(),
            train: *train,
            validation: *validation,
        })
        .collect()
}

fn most_frequent_sizes(found: &[Findings; 2]) -> (Vec<SizeCount>, usize) {
    let mut all: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (&size, images) in found.iter().flat_map(|found| &found.sizes) {
        *all.entry(size).or_default() += images;
    }
    let different = all.len();
    let mut sizes: Vec<SizeCount> = all
        .into_iter()
        .map(|((width, height), images)| SizeCount {
            width,
            height,
            images,
        })
        .collect();
    sizes.sort_by_key(|size| std::cmp::Reverse(size.images));
    sizes.truncate(SIZES);
    (sizes, different)
}

fn modes(found: &[Findings; 2]) -> Vec<ModeCount> {
    let mut all: BTreeMap<&String, usize> = BTreeMap::new();
    for (mode, images) in found.iter().flat_map(|found| &found.modes) {
        *all.entry(mode).or_default() += images;
    }
    let mut modes: Vec<ModeCount> = all
        .into_iter()
        .map(|(mode, images)| ModeCount {
            mode: mode.clone(),
            images,
        })
        .collect();
    modes.sort_by_key(|mode| std::cmp::Reverse(mode.images));
    modes
}
