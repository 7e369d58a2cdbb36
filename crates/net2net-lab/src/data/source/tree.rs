//! The files of a folder or of an archive, by name.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::super::DataError;
use super::archive;

/// Folders within folders that are followed at most: links may go round in circles.
const MAX_DEPTH: usize = 16;
/// Formats that people have and that are not read.
const OTHER_IMAGES: [&str; 12] = [
    "avif", "bmp", "gif", "heic", "heif", "jp2", "jxl", "pgm", "pnm", "ppm", "tif", "tiff",
];

/// A file that can be read again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path below the folder or in the archive, with `/` between parts.
    pub(crate) name: String,
    /// Its bytes when it was listed.
    pub(crate) len: u64,
    /// When its file, or the archive that it lies in, was written last; unknown on some file systems.
    pub(crate) modified: Option<SystemTime>,
    pub(super) place: Place,
}

/// Where the bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file of their own.
    File(PathBuf),
    /// In an archive that is not compressed, from this byte on.
    Part(Arc<Path>, u64),
    /// In memory: an archive that is compressed is read once.
    Memory(Arc<[u8]>),
}

/// All files below a folder, or in an archive, sorted by name.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(super) root: PathBuf,
    pub(super) entries: Vec<Entry>,
    /// What was passed over, for people.
    pub(super) notes: Vec<String>,
}

impl Entry {
    /// Reads all of it into `bytes`, whose content is replaced.
    ///
    /// # Errors
    /// [`DataError::Changed`] if it is gone, shorter or longer than it was, or written to since;
    /// [`DataError::Read`] otherwise.
    pub(crate) fn read(&self, bytes: &mut Vec<u8>) -> Result<(), DataError> {
        bytes.clear();
        let (path, start) = match &self.place {
            Place::Memory(content) => {
                bytes.extend_from_slice(content);
                return Ok(());
            }
            Place::File(path) => (path.as_path(), None),
            Place::Part(archive, start) => (archive.as_ref(), Some(*start)),
        };
        let changed = |what: &str| DataError::Changed {
            file: path.to_owned(),
            what: what.to_owned(),
        };
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => changed("it is gone"),
            _ => DataError::Read {
                file: path.to_owned(),
                source,
            },
        };
        let mut file = File::open(path).map_err(failed)?;
        let now = file.metadata().and_then(|found| found.modified()).ok();
        if self.modified.is_some() && now != self.modified {
            return Err(changed("it was written to since it was listed"));
        }
        // One byte more than expected tells a file that has grown.
        let most = match start {
            Some(start) => {
                file.seek(SeekFrom::Start(start)).map_err(failed)?;
                self.len
            }
            None => self.len + 1,
        };
        bytes.reserve(usize::try_from(most).unwrap_or(0));
        file.take(most).read_to_end(bytes).map_err(failed)?;
        if bytes.len() as u64 != self.len {
            return Err(changed(&format!("{} bytes were expected", self.len)));
        }
        Ok(())
    }

    /// The last part of its name, without its extension.
    pub(super) fn stem(&self) -> &str {
        let file = self.file_name();
        file.rsplit_once('.').map_or(file, |(stem, _)| stem)
    }

    /// The last part of its name.
    pub(super) fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The extension of its name, in lower case.
    pub(super) fn extension(&self) -> String {
        let file = self.file_name();
        let extension = file.rsplit_once('.').map(|(_, extension)| extension);
        extension.unwrap_or_default().to_ascii_lowercase()
    }

    pub(super) fn is_image(&self) -> bool {
        matches!(self.extension().as_str(), "jpg" | "jpeg" | "png" | "webp")
    }

    /// Whether it is an image of a format that is not read.
    pub(super) fn is_other_image(&self) -> bool {
        OTHER_IMAGES.contains(&self.extension().as_str())
    }
}

impl Tree {
    /// Lists a folder, or an archive.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        if path.is_dir() {
            Self::folder(path)
        } else {
            archive::read(path)
        }
    }

    fn folder(root: &Path) -> Result<Self, DataError> {
        let mut tree = Tree {
            root: root.to_owned(),
            entries: Vec::new(),
            notes: Vec::new(),
        };
        tree.walk(root, "", 0)?;
        tree.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(tree)
    }

    /// Adds what lies in `folder`; names begin with `prefix`. Hidden files are passed over: copying
    /// from macOS leaves a `._name` beside each file.
    fn walk(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), DataError> {
        let read_error = |file: &Path, source| DataError::Read {
            file: file.to_owned(),
            source,
        };
        if depth > MAX_DEPTH {
            return Err(DataError::Layout {
                folder: folder.to_owned(),
                reason: format!(
                    "lies {MAX_DEPTH} folders deep; does a link lead round in a circle?"
                ),
            });
        }
        for entry in fs::read_dir(folder).map_err(|source| read_error(folder, source))? {
            let entry = entry.map_err(|source| read_error(folder, source))?;
            let file_name = entry.file_name().to_string_lossy().into_owned();
            if file_name.starts_with('.') {
                continue;
            }
            let path = entry.path();
            // Links are followed.
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.notes.push(format!(
                        "{prefix}{file_name} leads nowhere and was passed over"
                    ));
                    continue;
                }
                Err(source) => return Err(read_error(&path, source)),
            };
            let name = format!("{prefix}{file_name}");
            if metadata.is_dir() {
                self.walk(&path, &format!("{name}/"), depth + 1)?;
            } else if metadata.is_file() {
                self.entries.push(Entry {
                    name,
                    len: metadata.len(),
                    modified: metadata.modified().ok(),
                    place: Place::File(path),
                });
            }
        }
        Ok(())
    }

    /// The images.
    pub(super) fn images(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_image())
    }

    /// What is to be said of images whose formats are not read, if there are any.
    pub(super) fn others(&self) -> Option<String> {
        let others = self.entries.iter().filter(|entry| entry.is_other_image());
        let formats: Vec<String> = others.map(Entry::extension).collect();
        let named: BTreeSet<&String> = formats.iter().collect();
        let named: Vec<String> = named.iter().map(|format| format!(".{format}")).collect();
        (!formats.is_empty()).then(|| {
            format!(
                "{} files of other formats ({}) were passed over: JPEG, PNG and WebP are read",
                formats.len(),
                named.join(", ")
            )
        })
    }

    /// The text of a small file.
    pub(super) fn text(&self, entry: &Entry) -> Result<String, DataError> {
        let mut bytes = Vec::new();
        entry.read(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The name by which messages call an entry.
    pub(super) fn path(&self, entry: &Entry) -> PathBuf {
        self.root.join(&entry.name)
    }
}
