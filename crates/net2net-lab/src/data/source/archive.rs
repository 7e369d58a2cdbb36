//! Tar archives, plain or compressed with gzip or xz.
//!
//! Nothing is unpacked to disk. Of a plain archive, images are read from where they lie in it; a
//! compressed one is read once, and what may be needed of it is kept in memory as it is encoded.
//! Archives are not trusted: names that lead out of the archive are refused, links are passed over,
//! and no more than [`MAX_KEPT_BYTES`] are kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::super::DataError;
use super::tree::{Entry, Place, Tree};

/// The most that is kept in memory of a compressed archive.
const MAX_KEPT_BYTES: u64 = 4 << 30;
/// The most memory that the xz decoder may ask for: the highest preset takes 65 MiB.
const XZ_MEMORY_KIB: u32 = 512 << 10;

/// Whether a name is that of an archive.
pub(super) fn is_archive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Lists an archive.
pub(super) fn read(path: &Path) -> Result<Tree, DataError> {
    let unreadable = |source| DataError::Read {
        file: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    (&mut file)
        .take(512)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut listing = Listing {
        path,
        files: BTreeMap::new(),
        kept: 0,
        links: 0,
        repeated: 0,
    };
    let damaged = |source: io::Error| DataError::Archive {
        file: path.to_owned(),
        reason: format!("is damaged or cut short ({source}); fetch it again"),
    };
    match head.as_slice() {
        [0x1f, 0x8b, ..] => listing.kept(MultiGzDecoder::new(BufReader::new(file))),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let reader = XzReader::new_mem_limit(BufReader::new(file), true, XZ_MEMORY_KIB);
            listing.kept(BufReader::new(reader))
        }
        head if head.get(257..262) == Some(b"ustar") => listing.plain(file),
        _ => {
            return Err(DataError::Unrecognized {
                folder: path.to_owned(),
                found: "is neither a folder nor a tar archive".to_owned(),
            });
        }
    }
    .map_err(|fault| match fault {
        Fault::Io(error) => damaged(error),
        Fault::Data(error) => error,
    })?;
    Ok(listing.tree())
}

/// What can go wrong while an archive is listed.
enum Fault {
    Io(io::Error),
    Data(DataError),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

/// An archive as far as it is read.
struct Listing<'a> {
    path: &'a Path,
    files: BTreeMap<String, Entry>,
    kept: u64,
    links: usize,
    repeated: usize,
}

impl Listing<'_> {
    /// Notes where the files of a plain archive lie.
    fn plain(&mut self, file: File) -> Result<(), Fault> {
        let path: Arc<Path> = self.path.into();
        let metadata = file.metadata()?;
        let (len, modified) = (metadata.len(), metadata.modified().ok());
        // Archives are made of blocks; one that is cut short at the end of a block cannot be told.
        if !len.is_multiple_of(512) {
            return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut archive = tar::Archive::new(BufReader::new(file));
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let Some(name) = self.name(&entry)? else {
                continue;
            };
            let start = entry.raw_file_position();
            if start.checked_add(entry.size()).is_none_or(|end| end > len) {
                return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.add(Entry {
                name,
                len: entry.size(),
                modified,
                place: Place::Part(Arc::clone(&path), start),
            });
        }
        Ok(())
    }

    /// Keeps what may be needed of a compressed archive.
    fn kept(&mut self, reader: impl Read) -> Result<(), Fault> {
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let Some(name) = self.name(&entry)? else {
                continue;
            };
            let mut listed = Entry {
                name,
                len: entry.size(),
                modified: None,
                place: Place::Memory(Arc::from([])),
            };
            if listed.is_other_image() {
                // For its name alone.
                self.add(listed);
                continue;
            }
            let text = ["txt", "csv", "tsv", "bin"].contains(&listed.extension().as_str());
            if !(listed.is_image() || text) {
                continue;
            }
            self.kept = self.kept.saturating_add(listed.len);
            if self.kept > MAX_KEPT_BYTES {
                return Err(Fault::Data(DataError::Archive {
                    file: self.path.to_owned(),
                    reason: format!(
                        "holds more than the {MAX_KEPT_BYTES} bytes of images that are kept in \
                         memory of a compressed archive; unpack it"
                    ),
                }));
            }
            // Memory grows with what is there, not with what the header says.
            let mut bytes = Vec::new();
            (&mut entry).take(listed.len).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != listed.len {
                return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            listed.place = Place::Memory(bytes.into());
            self.add(listed);
        }
        Ok(())
    }

    /// The name of a file; `None` for what is no file or is hidden.
    fn name<R: Read>(&mut self, entry: &tar::Entry<'_, R>) -> Result<Option<String>, Fault> {
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            self.links += 1;
        }
        if !(kind.is_file() || kind.is_contiguous()) {
            return Ok(None);
        }
        let path = entry.path()?;
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
                Component::CurDir => {}
                _ => {
                    return Err(Fault::Data(DataError::Archive {
                        file: self.path.to_owned(),
                        reason: format!(
                            "holds the name {}, which leads out of it; do not trust it",
                            path.display()
                        ),
                    }));
                }
            }
        }
        let hidden = parts.iter().any(|part| part.starts_with('.'));
        Ok((!hidden && !parts.is_empty()).then(|| parts.join("/")))
    }

    /// Of files of the same name the last counts, as when an archive is unpacked.
    fn add(&mut self, entry: Entry) {
        let before = self.files.insert(entry.name.clone(), entry);
        self.repeated += usize::from(before.is_some());
    }

    fn tree(self) -> Tree {
        let mut notes = Vec::new();
        if self.links > 0 {
            notes.push(format!(
                "{} links in the archive were passed over",
                self.links
            ));
        }
        if self.repeated > 0 {
            notes.push(format!(
                "{} files are in the archive more than once; the last of each counts",
                self.repeated
            ));
        }
        Tree {
            root: self.path.to_owned(),
            entries: self.files.into_values().collect(),
            notes,
        }
    }
}
