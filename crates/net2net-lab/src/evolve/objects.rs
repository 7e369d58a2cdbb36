//! Files by the SHA-256 of their bytes: they are there whole or not at all, and never change.

use std::fs;
use std::path::{Path, PathBuf};

use net2net_core::io::write_atomic;
use sha2::{Digest, Sha256};

use super::error::EvolveError;
use crate::hex::hex;

/// The folder of files by hash.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    folder: PathBuf,
}

/// The SHA-256 of bytes, in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

impl Objects {
    pub(super) fn in_folder(folder: PathBuf) -> Objects {
        Objects { folder }
    }

    /// Where the file of a hash is. Folders of two letters keep listings short.
    pub(super) fn path(&self, hash: &str, extension: &str) -> PathBuf {
        let folder = self.folder.join(hash.get(..2).unwrap_or("00"));
        folder.join(format!("{hash}.{extension}"))
    }

    /// Keeps bytes, and returns their hash. What is there already, sound, is not written again.
    pub(super) fn put(&self, bytes: &[u8], extension: &str) -> Result<String, EvolveError> {
        let hash = sha256(bytes);
        let path = self.path(&hash, extension);
        let there = fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64);
        if there && fs::read(&path).is_ok_and(|found| found == bytes) {
            return Ok(hash);
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(EvolveError::file(folder))?;
        }
        write_atomic(&path, bytes).map_err(EvolveError::file(&path))?;
        Ok(hash)
    }

    /// The bytes of a hash, if they are what they were. `whose` says what needs them.
    pub(super) fn read(
        &self,
        hash: &str,
        extension: &str,
        whose: &str,
    ) -> Result<Vec<u8>, EvolveError> {
        let path = self.path(hash, extension);
        let damaged = |what| EvolveError::Damaged {
            path: path.clone(),
            what,
            whose: whose.to_owned(),
        };
        match fs::read(&path) {
            Ok(bytes) if sha256(&bytes) == hash => Ok(bytes),
            Ok(_) => Err(damaged("damaged")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(damaged("gone")),
            Err(source) => Err(EvolveError::file(&path)(source)),
        }
    }

    /// The place of a file whose bytes are what they were.
    pub(super) fn checked(
        &self,
        hash: &str,
        extension: &str,
        whose: &str,
    ) -> Result<PathBuf, EvolveError> {
        self.read(hash, extension, whose)?;
        Ok(self.path(hash, extension))
    }
}

/// Whether a file has the bytes of a hash.
pub(super) fn is(path: &Path, hash: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| sha256(&bytes) == hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_found_and_mended_by_putting_again() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::in_folder(folder.path().to_owned());
        let hash = objects.put(b"something", "bin").unwrap();
        assert_eq!(objects.read(&hash, "bin", "it").unwrap(), b"something");
        fs::write(objects.path(&hash, "bin"), b"somewhere").unwrap();
        let error = objects.checked(&hash, "bin", "version 3").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is damaged: it belongs to version 3")
        );
        assert_eq!(objects.put(b"something", "bin").unwrap(), hash);
        assert!(objects.checked(&hash, "bin", "it").is_ok());
        fs::remove_file(objects.path(&hash, "bin")).unwrap();
        let error = objects.read(&hash, "bin", "it").unwrap_err();
        assert!(error.to_string().contains("is gone"));
    }
}
