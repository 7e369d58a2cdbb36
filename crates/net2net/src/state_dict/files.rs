//! Safetensors files, one or many shards with an index, mapped into memory and checked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// How the names of indices end.
const INDEX: &str = ".safetensors.index.json";
/// An index of more bytes is none.
const INDEX_BYTES_MAX: u64 = 256 << 20;

/// What to say of a file that is no safetensors file. PyTorch's own files are archives or pickles.
fn not_valid(path: &Path, bytes: &[u8]) -> String {
    // A header of safetensors may begin with the length 0x80, and then goes on with a brace.
    let is_pickle = bytes.starts_with(&[0x80]) && bytes.get(8) != Some(&b'{');
    let of_torch = bytes.starts_with(b"PK\x03\x04") || is_pickle;
    let path = path.display();
    match of_torch {
        true => format!(
            "{path} is written by torch.save, which only Python can read; write its state dict as \
             safetensors: `from safetensors.torch import save_file; \
             save_file(torch.load(\"{path}\", map_location=\"cpu\"), \"model.safetensors\")` (of a \
             checkpoint that holds more, the part that is the state dict)"
        ),
        false => format!("{path} is not a valid safetensors file"),
    }
}

/// Tensors by name, in one file or in shards.
pub(super) struct Dict {
    /// As it was given, for messages.
    pub(super) path: PathBuf,
    /// In the order of their names.
    pub(super) shards: Vec<Shard>,
    /// The index, if there is one: its name and what it says.
    pub(super) index: Option<(String, Map<String, Value>)>,
    pub(super) tensors: BTreeMap<String, Entry>,
}

/// One file.
pub(super) struct Shard {
    pub(super) name: String,
    pub(super) metadata: BTreeMap<String, String>,
    map: Mmap,
}

/// A tensor, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) shard: usize,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Range<usize>,
}

impl Dict {
    /// Opens a safetensors file, a folder of shards with their index, or that index.
    pub(super) fn open(path: &Path) -> Result<Dict> {
        let index = index_of(path)?;
        let Some(index) = index else {
            return Dict::of_files(path, [(path, name_of(path))].into_iter());
        };
        let mut dict = Dict::of_files(path, std::iter::empty())?;
        let (said, places) = read_index(&index).with_context(|| index.display().to_string())?;
        let folder = index.parent().unwrap_or(Path::new(""));
        let mut names: Vec<&String> = places.values().collect();
        names.sort();
        names.dedup();
        for name in names {
            let missing = || format!("{} names the shard `{name}`", index.display());
            dict.add(&folder.join(name), name.clone())
                .with_context(missing)?;
        }
        for (tensor, shard) in &places {
            let found = dict.tensors.get(tensor);
            let found = found.map(|entry| &dict.shards[entry.shard].name);
            if found != Some(shard) {
                bail!(
                    "{} says that `{tensor}` is in {shard}, and it is not there",
                    index.display()
                );
            }
        }
        dict.index = Some((name_of(&index), said));
        Ok(dict)
    }

    /// Opens some files as one.
    pub(super) fn of_files<'a>(
        path: &Path,
        files: impl Iterator<Item = (&'a Path, String)>,
    ) -> Result<Dict> {
        let mut dict = Dict {
            path: path.to_owned(),
            shards: Vec::new(),
            index: None,
            tensors: BTreeMap::new(),
        };
        for (file, name) in files {
            dict.add(file, name)?;
        }
        Ok(dict)
    }

    /// Whether it is made of shards in a folder.
    pub(super) fn is_sharded(&self) -> bool {
        self.index.is_some()
    }

    fn add(&mut self, path: &Path, name: String) -> Result<()> {
        let map = mapped(path).with_context(|| path.display().to_string())?;
        let invalid = || not_valid(path, &map);
        let (_, header) = SafeTensors::read_metadata(&map).with_context(invalid)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let file = SafeTensors::deserialize(&map).with_context(invalid)?;
        let shard = self.shards.len();
        for (tensor, view) in file.tensors() {
            let begin = view.data().as_ptr() as usize - map.as_ptr() as usize;
            let entry = Entry {
                shard,
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: begin..begin + view.data().len(),
            };
            if let Some(other) = self.tensors.insert(tensor.clone(), entry) {
                let other = &self.shards[other.shard].name;
                bail!("`{tensor}` is both in {other} and in {name}");
            }
        }
        self.shards.push(Shard {
            name,
            metadata: metadata.into_iter().collect(),
            map,
        });
        Ok(())
    }

    /// The bytes of a tensor.
    pub(super) fn bytes(&self, entry: &Entry) -> &[u8] {
        &self.shards[entry.shard].map[entry.bytes.clone()]
    }

    /// Lets the system have the memory back in which part of a tensor was read.
    pub(super) fn release(&self, entry: &Entry, part: Range<usize>) {
        #[cfg(unix)]
        {
            let map = &self.shards[entry.shard].map;
            let advice = memmap2::UncheckedAdvice::DontNeed;
            let begin = entry.bytes.start + part.start;
            // SAFETY: the pages are those of a file that is only read, so that what is dropped comes
            // back as it was. Advice that the system does not take changes nothing.
            let _ = unsafe { map.unchecked_advise_range(advice, begin, part.len()) };
        }
        #[cfg(not(unix))]
        let _ = (entry, part);
    }
}

/// The index that a path stands for, if it does not stand for a file of tensors.
fn index_of(path: &Path) -> Result<Option<PathBuf>> {
    if name_of(path).ends_with(INDEX) {
        return Ok(Some(path.to_owned()));
    }
    if !path.is_dir() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        let entry = entry?.path();
        if name_of(&entry).ends_with(INDEX) {
            found.push(entry);
        }
    }
    found.sort();
    match &found[..] {
        [index] => Ok(Some(index.clone())),
        [] => bail!(
            "{} holds no index of shards (model{INDEX}); of a folder with a single file name that file",
            path.display()
        ),
        [a, b, ..] => bail!(
            "{} holds several indices, {} and {}; name one of them",
            path.display(),
            name_of(a),
            name_of(b)
        ),
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What an index says, and the shard of each tensor. Shards lie beside the index: a checkpoint is
/// data, and must not make a program read or write wherever its author likes.
fn read_index(path: &Path) -> Result<(Map<String, Value>, BTreeMap<String, String>)> {
    if path.metadata()?.len() > INDEX_BYTES_MAX {
        bail!("it is larger than an index can be");
    }
    let said: Map<String, Value> = serde_json::from_slice(&fs::read(path)?)
        .context("it is no index; an index is JSON with a `weight_map`")?;
    let map = said.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| anyhow!("it has no `weight_map` of tensors and their shards"))?;
    let mut places = BTreeMap::new();
    for (tensor, shard) in map {
        let shard = shard
            .as_str()
            .ok_or_else(|| anyhow!("the shard of `{tensor}` is no name"))?;
        let mut parts = Path::new(shard).components();
        let plain = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        if !plain || shard.contains(['/', '\\']) || shard.ends_with(INDEX) {
            bail!(
                "the shard `{shard}` of `{tensor}` is no file beside the index, so it is not opened"
            );
        }
        places.insert(tensor.clone(), shard.to_owned());
    }
    if places.is_empty() {
        bail!("its `weight_map` is empty");
    }
    Ok((said, places))
}

fn mapped(path: &Path) -> Result<Mmap> {
    // Before it is opened: a pipe that nobody writes to would be waited for without end.
    if !path.metadata()?.is_file() {
        bail!("it is not a file of data");
    }
    let file = File::open(path)?;
    // SAFETY: the map is only read. Another process that cuts the file short meanwhile would end
    // this one with a signal, as for any program that maps files; nothing is written through it.
    Ok(unsafe { Mmap::map(&file) }?)
}
