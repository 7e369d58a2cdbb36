//! Writing grown tensors: into one file or shards, from up to two threads, a few rows of each at a
//! time where that can be.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use net2net_core::engine::Moment;
use net2net_core::io::{StagedFile, StagedFolder, folder_of, in_parallel, sync_folder};
use net2net_core::weights::Rows;
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};

use super::files::{Dict, Entry};

/// Bytes that are copied at once.
const COPY: usize = 4 << 20;
/// Numbers of the rows that are made at once.
const BLOCK: usize = 1 << 18;
/// Where tensors begin.
const ALIGNMENT: usize = 8;

/// A tensor that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) shard: usize,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) made: Made,
}

/// Where its numbers come from.
#[derive(Clone, Debug)]
pub(super) enum Made {
    /// They are those of an old tensor.
    Same(Entry),
    /// A grown parameter.
    Weight(String),
    /// A grown moment, from the old one.
    Moment(String, Moment, Entry),
    /// Zeros.
    Zeros,
}

/// What makes numbers that are not there yet.
pub(super) trait Maker: Sync {
    /// The bytes of a tensor.
    fn bytes(&self, output: &Output) -> Result<Vec<u8>>;

    /// The same a few rows at a time, as single floats; `None` if it must be made as a whole.
    fn rows(&self, output: &Output) -> Result<Option<Rows<'_, f32>>>;
}

/// Files that are written, but not yet where they are to be.
pub(super) struct Written {
    path: PathBuf,
    folder: Option<StagedFolder>,
    /// The shards, then their index.
    files: Vec<(String, StagedFile)>,
}

impl Written {
    /// Puts all in place: the index last, so that it never names what is not there.
    pub(super) fn put(self) -> Result<()> {
        let path = self.path;
        let put = || -> io::Result<()> {
            match self.folder {
                Some(folder) => folder.put(self.files),
                None => {
                    for (_, file) in self.files {
                        file.persist(&path)?;
                    }
                    sync_folder(folder_of(&path))
                }
            }
        };
        put().with_context(|| path.display().to_string())
    }

    /// Opens what was written.
    pub(super) fn open(&self, like: &Dict) -> Result<Dict> {
        let shards = self.files.iter().take(like.shards.len());
        let shards = shards.map(|(name, file)| (file.path(), name.clone()));
        Dict::of_files(&self.path, shards)
    }
}

/// Writes tensors like those of `dict` into temporary files beside `path`.
pub(super) fn write(
    dict: &Dict,
    outputs: &BTreeMap<String, Output>,
    maker: &dyn Maker,
    path: &Path,
    threads: usize,
) -> Result<Written> {
    let failed = || path.display().to_string();
    let folder = match dict.is_sharded() {
        true => Some(StagedFolder::new(path).with_context(failed)?),
        false => None,
    };
    let place = folder.as_ref().map_or(folder_of(path), StagedFolder::place);
    let mut files = Vec::new();
    let mut shards = Vec::new();
    for (index, shard) in dict.shards.iter().enumerate() {
        let file = StagedFile::new(place).with_context(failed)?;
        let planned = Planned::new(index, &shard.metadata, outputs)?;
        file.put(0, &planned.header).with_context(failed)?;
        files.push((shard.name.clone(), file));
        shards.push(planned);
    }
    let jobs = taking_turns(&shards).map(|(shard, at, output)| jobs(shard, at, output, maker));
    in_parallel(threads, jobs.flatten(), |job, buffer| {
        let put = |at: usize, bytes: &[u8]| {
            let put = files[job.shard].1.put(at as u64, bytes);
            put.with_context(failed)
        };
        match job.work {
            Work::Copy(entry, range) => {
                put(job.at, &dict.bytes(entry)[range.clone()])?;
                dict.release(entry, range);
                Ok(())
            }
            Work::Whole(output) => {
                let bytes = maker.bytes(output)?;
                if bytes.len() != length(output)? {
                    return Err(anyhow!("{} bytes were made of {output:?}", bytes.len()));
                }
                put(job.at, &bytes)
            }
            Work::Rows(rows, range) => {
                let count = range.len() * rows.width();
                buffer.resize(count.max(buffer.len()), 0.0);
                rows.source().read(range, &mut buffer[..count]);
                put(job.at, bytemuck::cast_slice(&buffer[..count]))
            }
        }
    })?;
    if let Some((name, said)) = &dict.index {
        let text = serde_json::to_vec_pretty(&index(dict, said, outputs)?)?;
        let file = StagedFile::new(place).with_context(failed)?;
        file.put(0, &text).with_context(failed)?;
        files.push((name.clone(), file));
    }
    Ok(Written {
        path: path.to_owned(),
        folder,
        files,
    })
}

/// The bytes of a tensor in a file.
fn length(output: &Output) -> Result<usize> {
    if let Made::Same(entry) = &output.made {
        return Ok(entry.bytes.len());
    }
    let bytes = output.dtype.bitsize() / 8;
    let sizes = output.shape.iter().chain([&bytes]);
    let product = |n: usize, size: &usize| n.checked_mul(*size);
    let length = sizes.copied().try_fold(1usize, |n, size| product(n, &size));
    length.ok_or_else(|| anyhow!("a tensor of {:?} is absurdly large", output.shape))
}

/// A file that is to be written.
struct Planned<'a> {
    header: Vec<u8>,
    /// Tensors and where they begin.
    tensors: Vec<(usize, &'a Output)>,
}

impl<'a> Planned<'a> {
    fn new(
        shard: usize,
        metadata: &BTreeMap<String, String>,
        outputs: &'a BTreeMap<String, Output>,
    ) -> Result<Self> {
        let own = outputs.iter().filter(|(_, output)| output.shard == shard);
        let mut own: Vec<(&String, &Output)> = own.collect();
        // Wide types come first, so that all numbers are aligned.
        own.sort_by_key(|(_, output)| std::cmp::Reverse(output.dtype));
        let mut header = Map::new();
        if !metadata.is_empty() {
            header.insert("__metadata__".to_owned(), json!(metadata));
        }
        let mut tensors = Vec::with_capacity(own.len());
        let mut end = 0;
        for (name, output) in own {
            let begin = end;
            end += length(output)?;
            let entry = json!({
                "dtype": output.dtype, "shape": output.shape, "data_offsets": [begin, end],
            });
            header.insert(name.clone(), entry);
            tensors.push((begin, output));
        }
        let mut text = serde_json::to_vec(&header)?;
        text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.extend(text);
        for (at, _) in &mut tensors {
            *at += header.len();
        }
        Ok(Planned { header, tensors })
    }
}

/// The tensors of all files with their file and place. Two files take turns: systems let one thread
/// at a time write to a file, and two to two.
fn taking_turns<'a>(
    shards: &'a [Planned<'a>],
) -> impl Iterator<Item = (usize, usize, &'a Output)> + Send {
    let pairs = shards.chunks(2).enumerate();
    pairs.flat_map(|(pair, shards)| {
        let most = shards.iter().map(|shard| shard.tensors.len()).max();
        (0..most.unwrap_or(0)).flat_map(move |at| {
            let those = shards.iter().enumerate();
            those.filter_map(move |(i, shard)| {
                let (place, output) = shard.tensors.get(at)?;
                Some((2 * pair + i, *place, *output))
            })
        })
    })
}

/// What one thread writes at once.
struct Job<'a> {
    shard: usize,
    at: usize,
    work: Work<'a>,
}

enum Work<'a> {
    Copy(&'a Entry, Range<usize>),
    Whole(&'a Output),
    Rows(Arc<Rows<'a, f32>>, Range<usize>),
}

fn jobs<'a>(
    shard: usize,
    at: usize,
    output: &'a Output,
    maker: &'a dyn Maker,
) -> Box<dyn Iterator<Item = Result<Job<'a>>> + Send + 'a> {
    let job = move |offset: usize, work: Work<'a>| {
        let at = at + offset;
        Ok(Job { shard, at, work })
    };
    if let Made::Same(entry) = &output.made {
        let pieces = (0..entry.bytes.len()).step_by(COPY);
        return Box::new(pieces.map(move |begin| {
            let end = (begin + COPY).min(entry.bytes.len());
            job(begin, Work::Copy(entry, begin..end))
        }));
    }
    let rows = match maker.rows(output) {
        Ok(Some(rows)) if rows.shape() == output.shape => Arc::new(rows),
        Ok(_) => return Box::new(std::iter::once(job(0, Work::Whole(output)))),
        Err(error) => return Box::new(std::iter::once(Err(error))),
    };
    let count = rows.shape().first().copied().unwrap_or(1);
    let width = rows.width();
    let at_once = (BLOCK / width.max(1)).max(1);
    Box::new((0..count).step_by(at_once).map(move |first| {
        let range = first..(first + at_once).min(count);
        job(first * width * 4, Work::Rows(Arc::clone(&rows), range))
    }))
}

/// What the index says of the new files; all else that the old one says is kept.
fn index(
    dict: &Dict,
    said: &Map<String, Value>,
    outputs: &BTreeMap<String, Output>,
) -> Result<Map<String, Value>> {
    let mut said = said.clone();
    let mut places = Map::new();
    let (mut bytes, mut count) = (0, 0);
    for (name, output) in outputs {
        let shard = dict.shards[output.shard].name.clone();
        places.insert(name.clone(), shard.into());
        bytes += length(output)?;
        count += output.shape.iter().product::<usize>();
    }
    said.insert("weight_map".to_owned(), places.into());
    let metadata = said.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("total_size".to_owned(), bytes.into());
        if let Some(total) = metadata.get_mut("total_parameters") {
            *total = count.into();
        }
    }
    Ok(said)
}
