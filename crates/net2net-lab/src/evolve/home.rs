//! The directory in which a model lives.

use std::fs;
use std::path::{Path, PathBuf};

use net2net_core::io::{Checkpoint, write_atomic};

use super::error::EvolveError;
use super::objects::Objects;
use super::spec::EvolveSpec;
use super::store::{Store, fact};
use crate::compare::{Claimed, SPEC_FILE, Stated, claim};
use crate::trial::open as open_network;

/// The store. Its path is the only thing that assumes one host.
const STORE_FILE: &str = "store.sqlite";
/// Networks.
pub(super) const NETWORK: &str = "safetensors";

/// A model's home. A process that changes it holds its lock; others may look at any time.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    pub(super) store: Store,
    pub(super) objects: Objects,
    _lock: Option<Claimed>,
}

impl Home {
    /// Makes a home: its settings, its store, and the network that it begins with.
    ///
    /// # Errors
    /// [`EvolveError::Taken`] if there is one already.
    pub fn create(path: &Path, spec: &EvolveSpec, threads: usize) -> Result<Home, EvolveError> {
        spec.check()?;
        fs::create_dir_all(path).map_err(EvolveError::file(path))?;
        let lock = claim(path)?;
        let settings = path.join(SPEC_FILE);
        if settings.exists() {
            return Err(EvolveError::Taken {
                path: path.to_owned(),
            });
        }
        let objects = Objects::in_folder(path.join("objects"));
        let mut facts = vec![(fact::THREADS, threads.to_string())];
        if let Some(file) = &spec.start.file {
            let network = open_network(file)?;
            facts.push((fact::START, keep(&objects, network)?));
        }
        let mut store = Store::create(&path.join(STORE_FILE))?;
        if !store.snapshots()?.is_empty() {
            return Err(EvolveError::NoSettings { path: settings });
        }
        // The settings come last: a home without them is not yet one, and is made by the same command.
        store.begin_life(&facts)?;
        let mut stated = spec.at_home_in(path);
        let name = |file: PathBuf| file.file_name().map_or(file.clone(), PathBuf::from);
        stated.start.file = stated.start.file.map(name);
        let text = stated.to_toml()?;
        write_atomic(&settings, text.as_bytes()).map_err(EvolveError::file(&settings))?;
        Ok(Home {
            path: path.to_owned(),
            store,
            objects,
            _lock: Some(lock),
        })
    }

    /// Opens a home to change it.
    ///
    /// # Errors
    /// [`EvolveError::Locked`] while another process does.
    pub fn open(path: &Path) -> Result<Home, EvolveError> {
        is_home(path)?;
        let lock = claim(path)?;
        Home::with(path, Some(lock))
    }

    /// Opens a home to look at it; whoever changes it is not disturbed.
    pub fn look(path: &Path) -> Result<Home, EvolveError> {
        is_home(path)?;
        Home::with(path, None)
    }

    fn with(path: &Path, lock: Option<Claimed>) -> Result<Home, EvolveError> {
        Ok(Home {
            path: path.to_owned(),
            store: Store::open(&path.join(STORE_FILE))?,
            objects: Objects::in_folder(path.join("objects")),
            _lock: lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings as they stand.
    pub fn spec(&self) -> Result<EvolveSpec, EvolveError> {
        let path = self.path.join(SPEC_FILE);
        EvolveSpec::from_file(&path).map_err(|source| EvolveError::Settings { path, source })
    }

    /// The settings that a step began with: data folders are relative to the home.
    pub(super) fn settings(&self, text: &str) -> Result<EvolveSpec, EvolveError> {
        let mut spec = EvolveSpec::from_toml(text)?;
        if let Some(folder) = &mut spec.data.folder {
            *folder = self.path.join(&*folder);
        }
        Ok(spec)
    }

    /// Threads of all trials where the settings do not say.
    pub(super) fn threads(&self) -> Result<usize, EvolveError> {
        let stated = self.store.fact(fact::THREADS)?;
        Ok(stated.and_then(|text| text.parse().ok()).unwrap_or(1))
    }

    /// Keeps a network, and returns its hash: that of a file without notes, so that the same numbers have the same.
    pub(super) fn keep(&self, path: &Path) -> Result<String, EvolveError> {
        keep(&self.objects, Checkpoint::read(path)?)
    }

    /// A network of a version.
    pub(super) fn network(&self, hash: &str, whose: &str) -> Result<Checkpoint, EvolveError> {
        let path = self.objects.checked(hash, NETWORK, whose)?;
        Ok(Checkpoint::read(&path)?)
    }
}

fn is_home(path: &Path) -> Result<(), EvolveError> {
    let path = path.to_owned();
    match (
        path.join(SPEC_FILE).exists(),
        path.join(STORE_FILE).exists(),
    ) {
        (true, true) => Ok(()),
        (true, false) => Err(EvolveError::NoStore {
            path: path.join(STORE_FILE),
        }),
        (false, _) => Err(EvolveError::NoHome { path }),
    }
}

fn keep(objects: &Objects, mut network: Checkpoint) -> Result<String, EvolveError> {
    network.notes.clear();
    let bytes = network
        .to_bytes()
        .map_err(|why| net2net_core::io::IoError::Format {
            path: PathBuf::from("a network"),
            why,
        })?;
    objects.put(&bytes, NETWORK)
}
