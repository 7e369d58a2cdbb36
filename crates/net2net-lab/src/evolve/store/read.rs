//! What is asked of the store.

use rusqlite::{OptionalExtension, Row, params};

use super::rows::{ArrivedFile, Decision, Event, Snapshot, Step, Version};
use super::{Store, fact};
use crate::evolve::error::EvolveError;

type Rows<T> = fn(&Row<'_>) -> rusqlite::Result<T>;

impl Store {
    pub(in super::super) fn fact(&self, name: &str) -> Result<Option<String>, EvolveError> {
        self.db
            .query_row(
                "SELECT value FROM facts WHERE name = ?1",
                params![name],
                |row| row.get(0),
            )
            .optional()
            .map_err(self.fault())
    }

    /// A version that a fact names.
    fn version_fact(&self, name: &str) -> Result<Option<i64>, EvolveError> {
        Ok(self.fact(name)?.and_then(|text| text.parse().ok()))
    }

    pub(in super::super) fn champion(&self) -> Result<Option<i64>, EvolveError> {
        self.version_fact(fact::CHAMPION)
    }

    pub(in super::super) fn head(&self) -> Result<Option<i64>, EvolveError> {
        self.version_fact(fact::HEAD)
    }

    /// The champion for which the hook has yet to run.
    pub(in super::super) fn hook(&self) -> Result<Option<i64>, EvolveError> {
        self.version_fact(fact::HOOK)
    }

    fn all<T>(&self, query: &str, of: Rows<T>) -> Result<Vec<T>, EvolveError> {
        let mut statement = self.db.prepare(query).map_err(self.fault())?;
        let rows = statement.query_map([], of).map_err(self.fault())?;
        rows.collect::<rusqlite::Result<Vec<T>>>()
            .map_err(self.fault())
    }

    pub(in super::super) fn snapshots(&self) -> Result<Vec<Snapshot>, EvolveError> {
        let rows = self.all(
            "SELECT id, name, at, train, validation, record, dropped FROM snapshots ORDER BY id",
            |row| {
                let dropped: i64 = row.get(6)?;
                let record: String = row.get(5)?;
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    record,
                    dropped != 0,
                ))
            },
        )?;
        rows.into_iter()
            .map(|(id, name, at, train, validation, record, dropped)| {
                Ok(Snapshot {
                    id,
                    name,
                    at,
                    train,
                    validation,
                    record: self.parsed(&format!("snapshot {id}"), &record)?,
                    dropped,
                })
            })
            .collect()
    }

    /// The files that arrived, each with the time when that was noted, in seconds since 1970; the latest last.
    pub(in super::super) fn files(&self) -> Result<Vec<(ArrivedFile, f64)>, EvolveError> {
        self.all(
            "SELECT files.sha256, files.name, files.bytes, snapshots.at FROM files \
             JOIN snapshots ON snapshots.id = files.snapshot ORDER BY snapshots.id, files.name",
            |row| {
                let bytes: i64 = row.get(2)?;
                let file = ArrivedFile {
                    sha256: row.get(0)?,
                    name: row.get(1)?,
                    bytes: bytes.unsigned_abs(),
                };
                Ok((file, row.get(3)?))
            },
        )
    }

    pub(in super::super) fn steps(&self) -> Result<Vec<Step>, EvolveError> {
        self.all(
            "SELECT id, snapshot, head, settings, begun, ended FROM steps ORDER BY id",
            |row| {
                Ok(Step {
                    id: row.get(0)?,
                    snapshot: row.get(1)?,
                    head: row.get(2)?,
                    settings: row.get(3)?,
                    begun: row.get(4)?,
                    ended: row.get(5)?,
                })
            },
        )
    }

    /// The step that is under way.
    pub(in super::super) fn open_step(&self) -> Result<Option<Step>, EvolveError> {
        let steps = self.steps()?;
        Ok(steps.into_iter().find(|step| step.ended.is_none()))
    }

    pub(in super::super) fn versions(&self) -> Result<Vec<Version>, EvolveError> {
        let rows = self.all(
            "SELECT id, step, parent, at, model, onnx, trunk, samples, trial, record FROM versions ORDER BY id",
            |row| {
                let keys: (i64, i64, Option<i64>, f64) =
                    (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                let hashes: (String, Option<String>, String, String) =
                    (row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?);
                let texts: (String, String) = (row.get(8)?, row.get(9)?);
                Ok((keys, hashes, texts))
            },
        )?;
        rows.into_iter()
            .map(
                |((id, step, parent, at), (model, onnx, trunk, samples), (trial, record))| {
                    Ok(Version {
                        id,
                        step,
                        parent,
                        at,
                        model,
                        onnx,
                        trunk,
                        samples,
                        trial,
                        record: self.parsed(&format!("version {id}"), &record)?,
                    })
                },
            )
            .collect()
    }

    pub(in super::super) fn version(&self, id: i64) -> Result<Version, EvolveError> {
        let all = self.versions()?;
        let there = match (all.first(), all.last()) {
            (Some(first), Some(last)) => format!("{} to {}", first.id, last.id),
            _ => "none".to_owned(),
        };
        let found = all.into_iter().find(|version| version.id == id);
        found.ok_or(EvolveError::NoVersion { version: id, there })
    }

    pub(in super::super) fn decisions(&self) -> Result<Vec<Decision>, EvolveError> {
        self.all(
            "SELECT id, at, step, version, what, outcome, reason FROM decisions ORDER BY id",
            |row| {
                Ok(Decision {
                    id: row.get(0)?,
                    at: row.get(1)?,
                    step: row.get(2)?,
                    version: row.get(3)?,
                    what: row.get(4)?,
                    outcome: row.get(5)?,
                    reason: row.get(6)?,
                })
            },
        )
    }

    pub(in super::super) fn events(&self) -> Result<Vec<Event>, EvolveError> {
        let rows = self.all("SELECT id, at, kind, data FROM events ORDER BY id", |row| {
            let data: String = row.get(3)?;
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, data))
        })?;
        rows.into_iter()
            .map(|(id, at, kind, data)| {
                Ok(Event {
                    id,
                    at,
                    kind,
                    data: self.parsed(&format!("event {id}"), &data)?,
                })
            })
            .collect()
    }
}
