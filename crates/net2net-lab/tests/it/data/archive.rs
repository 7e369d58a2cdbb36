//! Tar archives: the same data as the folder, and no trust.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lzma_rust2::{XzOptions, XzWriter};
use net2net_lab::data::{SourceOptions, Splits, open};

use super::gzip;
use super::images::{noisy_jpeg, plain_png};

/// An archive of images.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Tar(tar::Builder::new(Vec::new()))
    }

    /// Adds a file, its name as it is.
    fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
        self
    }

    fn link(mut self, name: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        self.0.append_link(&mut header, name, target).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn usual() -> Tar {
    Tar::new()
        .file("set/train/a/1.png", &plain_png(8, [1, 0, 0]))
        .file("set/train/b/1.png", &plain_png(8, [2, 0, 0]))
        .file("set/val/a/1.png", &plain_png(8, [3, 0, 0]))
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::default()).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn splits(path: &Path) -> Splits {
    open(path, &SourceOptions::default()).unwrap().splits
}

fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "x.tar", bytes);
    open(&path, &SourceOptions::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn plain_gzip_and_xz_are_the_same_whatever_they_are_called() {
    let folder = tempfile::tempdir().unwrap();
    let plain = usual().bytes();
    let forms = [plain.clone(), gzip(&plain), xz(&plain)];
    let all: Vec<Splits> = forms
        .iter()
        .map(|bytes| splits(&put(folder.path(), "set.anything", bytes)))
        .collect();
    assert_eq!(all[0].train.image(1).unwrap()[0], 2);
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
}

#[test]
fn the_only_archive_of_a_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "set.tar.xz", &xz(&usual().bytes()));
    put(folder.path(), "readme.txt", b"hello");
    put(folder.path(), "logo.png", &plain_png(8, [0; 3]));
    let opened = open(folder.path(), &SourceOptions::default()).unwrap();
    assert_eq!(opened.splits.train.len(), 2);
    assert!(
        opened.notes.iter().any(|note| note.contains("set.tar.xz")),
        "{:?}",
        opened.notes
    );
    put(folder.path(), "other.tar", &usual().bytes());
    assert!(
        open(folder.path(), &SourceOptions::default()).is_err(),
        "which of the two?"
    );
}

#[test]
fn large_images_are_read_from_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let mut archive = Tar::new();
    for name in ["train/a/1.jpg", "train/b/2.jpg", "val/b/3.jpg"] {
        archive = archive.file(name, &noisy_jpeg(140, 140, name.len()));
    }
    let bytes = archive.bytes();
    let normalization = net2net_lab::data::Normalization::identity(3);
    let images: Vec<Vec<f32>> = [bytes.clone(), gzip(&bytes)]
        .iter()
        .map(|bytes| {
            let set = splits(&put(folder.path(), "x", bytes)).train;
            assert!(set.is_in_files());
            set.batch_f32(&[0, 1], &normalization).unwrap()
        })
        .collect();
    assert_eq!(images[0], images[1]);
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../train/a/2.png", "/train/a/2.png", "train/../../2.png"] {
        let bytes = usual().file(name, &plain_png(8, [9; 3])).bytes();
        let message = refused(&bytes);
        assert!(
            message.contains(name) && message.contains("leads out"),
            "{message}"
        );
        assert!(refused(&gzip(&bytes)).contains("leads out"));
    }
}

#[test]
fn links_are_passed_over_and_the_last_of_two_counts() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = usual()
        .link("set/train/a/passwords.png", "/etc/passwd")
        .file("set/train/a/1.png", &plain_png(8, [77, 0, 0]))
        .bytes();
    let opened = open(&put(folder.path(), "x", &bytes), &SourceOptions::default()).unwrap();
    assert_eq!(opened.splits.train.len(), 2);
    assert_eq!(opened.splits.train.image(0).unwrap()[0], 77);
    let notes = opened.notes.join("\n");
    assert!(
        notes.contains("1 links") && notes.contains("1 files"),
        "{notes}"
    );
}

#[test]
fn a_damaged_archive_is_named() {
    let plain = usual().bytes();
    for bytes in [&plain[..700], &gzip(&plain)[..150], &xz(&plain)[..150]] {
        let message = refused(bytes);
        assert!(
            message.contains("x.tar: is damaged or cut short"),
            "{message}"
        );
    }
}
