//! The store: a SQLite database with a write-ahead log, in which a step is either done or not.

mod read;
mod rows;
mod write;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::EvolveError;
pub(super) use rows::{ArrivedFile, NewDecision, NewVersion};
pub use rows::{
    Decision, Event, GrowthRecord, Judgement, ProbeRecord, Scores, Snapshot, SnapshotRecord, Step,
    Version, VersionRecord,
};
pub(super) use write::Settled;

const SCHEMA: &str = include_str!("schema.sql");
/// The form of the tables; another one is not read.
const FORM: &str = "1";
/// How long one waits for another process that is writing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Facts by name.
pub(super) mod fact {
    /// The version of the tables.
    pub(in super::super) const FORM: &str = "form";
    /// The version that is the champion.
    pub(in super::super) const CHAMPION: &str = "champion";
    /// The version whose trunk goes on.
    pub(in super::super) const HEAD: &str = "head";
    /// The champion for which the hook has yet to run.
    pub(in super::super) const HOOK: &str = "hook";
    /// What images are normalised by, JSON.
    pub(in super::super) const NORMALIZATION: &str = "normalization";
    /// The file that everything began with, by its hash.
    pub(in super::super) const START: &str = "start";
    /// Threads of all trials.
    pub(in super::super) const THREADS: &str = "threads";
}

/// The store of a home.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    db: Connection,
}

impl Store {
    /// Makes the tables, unless they are there.
    pub(super) fn create(path: &Path) -> Result<Store, EvolveError> {
        let db = Connection::open(path).map_err(fault(path))?;
        let store = Store {
            path: path.to_owned(),
            db,
        };
        store.prepare()?;
        if store.has_tables()? {
            return store.checked();
        }
        let transaction = store.db.unchecked_transaction().map_err(store.fault())?;
        transaction.execute_batch(SCHEMA).map_err(store.fault())?;
        transaction
            .execute(
                "INSERT INTO facts (name, value) VALUES (?1, ?2)",
                params![fact::FORM, FORM],
            )
            .map_err(store.fault())?;
        transaction.commit().map_err(store.fault())?;
        Ok(store)
    }

    /// Opens a store that is there.
    pub(super) fn open(path: &Path) -> Result<Store, EvolveError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(fault(path))?;
        let store = Store {
            path: path.to_owned(),
            db,
        };
        store.prepare()?;
        store.checked()
    }

    /// A write-ahead log, so that readers never wait; and a commit that is there after a power cut.
    fn prepare(&self) -> Result<(), EvolveError> {
        self.db.busy_timeout(PATIENCE).map_err(self.fault())?;
        self.db
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .map_err(self.fault())
    }

    fn has_tables(&self) -> Result<bool, EvolveError> {
        let found: Option<i64> = self
            .db
            .query_row(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'facts'",
                [],
                |row| row.get(0),
            )
            .optional()
            .map_err(self.fault())?;
        Ok(found.is_some())
    }

    fn checked(self) -> Result<Store, EvolveError> {
        let found = match self.has_tables()? {
            true => self.fact(fact::FORM)?.unwrap_or_default(),
            false => "none".to_owned(),
        };
        match found == FORM {
            true => Ok(self),
            false => Err(EvolveError::Form {
                path: self.path,
                found,
                known: FORM,
            }),
        }
    }

    fn fault(&self) -> impl Fn(rusqlite::Error) -> EvolveError + use<> {
        fault(&self.path)
    }

    fn json<T: Serialize>(&self, what: &str, value: &T) -> Result<String, EvolveError> {
        serde_json::to_string(value).map_err(|source| self.row(what, source))
    }

    fn parsed<T: DeserializeOwned>(&self, what: &str, text: &str) -> Result<T, EvolveError> {
        serde_json::from_str(text).map_err(|source| self.row(what, source))
    }

    fn row(&self, what: &str, source: serde_json::Error) -> EvolveError {
        EvolveError::Row {
            path: self.path.clone(),
            what: what.to_owned(),
            source,
        }
    }
}

fn fault(path: &Path) -> impl Fn(rusqlite::Error) -> EvolveError + use<> {
    let path = path.to_owned();
    move |source| EvolveError::Store {
        path: path.clone(),
        source,
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}
