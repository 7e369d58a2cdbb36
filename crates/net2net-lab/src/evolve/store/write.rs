//! What is noted in the store. Each method is one transaction: all of it is there, or nothing.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};
use serde_json::{Value, json};

use super::rows::{ArrivedFile, Event, NewDecision, NewVersion, Snapshot, Step};
use super::{Store, fact, now};
use crate::evolve::error::EvolveError;

/// What a step came to.
pub(in super::super) struct Settled {
    /// The step.
    pub(in super::super) step: i64,
    /// The version that it goes on from.
    pub(in super::super) parent: Option<i64>,
    /// What it made, if anything.
    pub(in super::super) version: Option<NewVersion>,
    /// What was decided, in order.
    pub(in super::super) decisions: Vec<NewDecision>,
    /// Whether what it made becomes the champion.
    pub(in super::super) promoted: bool,
    /// Whether the trunk goes on from what it made.
    pub(in super::super) goes_on: bool,
    /// What happened, for those who listen.
    pub(in super::super) event: (&'static str, Value),
}

impl Store {
    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, EvolveError> {
        let fault = self.fault();
        let transaction = self.db.transaction().map_err(&fault)?;
        let done = work(&transaction).map_err(&fault)?;
        transaction.commit().map_err(&fault)?;
        Ok(done)
    }

    /// Notes facts and that the home was made.
    pub(in super::super) fn begin_life(
        &mut self,
        facts: &[(&str, String)],
    ) -> Result<(), EvolveError> {
        self.transaction(|to| {
            // A home that was begun and not finished is begun again.
            to.execute("DELETE FROM events", params![])?;
            for name in [fact::START, fact::THREADS] {
                to.execute("DELETE FROM facts WHERE name = ?1", params![name])?;
            }
            for (name, value) in facts {
                set(to, name, value)?;
            }
            event(to, "created", &json!({}))
        })
    }

    /// Notes a snapshot, what it was made of, and the step that is to be done about it.
    pub(in super::super) fn begin_step(
        &mut self,
        snapshot: &Snapshot,
        files: &[ArrivedFile],
        normalization: &str,
        settings: &str,
    ) -> Result<Step, EvolveError> {
        let record = self.json("a snapshot", &snapshot.record)?;
        let head = self.head()?;
        let said = json!({
            "snapshot": snapshot.id,
            "name": snapshot.name,
            "train": snapshot.record.train,
            "validation": snapshot.record.validation,
            "new_classes": snapshot.record.new_classes,
        });
        self.transaction(|to| {
            to.execute(
                "INSERT INTO snapshots (id, name, at, train, validation, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    snapshot.id,
                    snapshot.name,
                    snapshot.at,
                    snapshot.train,
                    snapshot.validation,
                    record
                ],
            )?;
            for file in files {
                to.execute(
                    "INSERT OR IGNORE INTO files (sha256, name, bytes, snapshot) VALUES (?1, ?2, ?3, ?4)",
                    params![file.sha256, file.name, file.bytes as i64, snapshot.id],
                )?;
            }
            set(to, fact::NORMALIZATION, normalization)?;
            event(to, "arrived", &said)?;
            step(to, snapshot.id, head, settings)
        })
    }

    /// Notes a step about data that arrived before.
    pub(in super::super) fn begin_again(
        &mut self,
        snapshot: i64,
        settings: &str,
    ) -> Result<Step, EvolveError> {
        let head = self.head()?;
        self.transaction(|to| step(to, snapshot, head, settings))
    }

    /// Notes what a step came to; the version's number, if there is one.
    pub(in super::super) fn end_step(
        &mut self,
        done: &Settled,
    ) -> Result<Option<i64>, EvolveError> {
        let record = match &done.version {
            Some(version) => Some(self.json("a version", &version.record)?),
            None => None,
        };
        self.transaction(|to| {
            let at = now();
            let mut id = None;
            if let (Some(version), Some(record)) = (&done.version, record) {
                to.execute(
                    "INSERT INTO versions (step, parent, at, model, onnx, trunk, samples, trial, record) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                    params![
                        done.step,
                        done.parent,
                        at,
                        version.model,
                        version.onnx,
                        version.trunk,
                        version.samples,
                        version.trial,
                        record
                    ],
                )?;
                id = Some(to.last_insert_rowid());
            }
            for one in &done.decisions {
                decision(to, Some(done.step), id, one)?;
            }
            if let Some(id) = id {
                if done.goes_on {
                    set(to, fact::HEAD, &id.to_string())?;
                }
                if done.promoted {
                    set(to, fact::CHAMPION, &id.to_string())?;
                    set(to, fact::HOOK, &id.to_string())?;
                }
            }
            let (kind, data) = &done.event;
            let mut data = data.clone();
            data["step"] = json!(done.step);
            data["version"] = json!(id);
            event(to, kind, &data)?;
            to.execute(
                "UPDATE steps SET ended = ?2 WHERE id = ?1",
                params![done.step, at],
            )?;
            Ok(id)
        })
    }

    /// Makes a version the champion and the head, for a person. `drop_after` is the last snapshot that stays in use; those that
    /// the version learnt from, `used`, are in use again.
    pub(in super::super) fn roll_back(
        &mut self,
        version: i64,
        reason: &str,
        drop_after: Option<i64>,
        used: &BTreeSet<i64>,
    ) -> Result<(), EvolveError> {
        let deployed = self.champion()? == Some(version) && self.is_deployed(version)?;
        self.transaction(|to| {
            set(to, fact::CHAMPION, &version.to_string())?;
            set(to, fact::HEAD, &version.to_string())?;
            // What is deployed already is not deployed again.
            if !deployed {
                set(to, fact::HOOK, &version.to_string())?;
            }
            if let Some(last) = drop_after {
                to.execute(
                    "UPDATE snapshots SET dropped = 1 WHERE id > ?1",
                    params![last],
                )?;
            }
            for id in used {
                to.execute(
                    "UPDATE snapshots SET dropped = 0 WHERE id = ?1",
                    params![id],
                )?;
            }
            // What it would have come to belongs to another line.
            to.execute(
                "UPDATE steps SET ended = ?1 WHERE ended IS NULL",
                params![now()],
            )?;
            let what = NewDecision {
                what: "rollback",
                outcome: version.to_string(),
                reason: reason.to_owned(),
            };
            decision(to, None, Some(version), &what)?;
            let data = json!({
                "version": version,
                "reason": reason,
                "data_dropped": drop_after.is_some(),
            });
            event(to, "rolled-back", &data)
        })
    }

    /// Whether the last hook was for this version and ended well.
    fn is_deployed(&self, version: i64) -> Result<bool, EvolveError> {
        let events = self.events()?;
        let last = events.iter().rev().find(|event| event.kind == "hook");
        let well = |last: &Event| last.data["version"] == version && last.data["ended"] == "well";
        Ok(last.is_some_and(well))
    }

    /// Notes that the hook for a version has run, and how that ended.
    pub(in super::super) fn hook_ran(
        &mut self,
        version: i64,
        ended: &str,
    ) -> Result<(), EvolveError> {
        self.transaction(|to| {
            to.execute("DELETE FROM facts WHERE name = ?1", params![fact::HOOK])?;
            event(to, "hook", &json!({ "version": version, "ended": ended }))
        })
    }

    /// There is no hook to run.
    pub(in super::super) fn no_hook(&mut self) -> Result<(), EvolveError> {
        self.transaction(|to| {
            to.execute("DELETE FROM facts WHERE name = ?1", params![fact::HOOK])
                .map(|_| ())
        })
    }
}

fn step(
    to: &Transaction<'_>,
    snapshot: i64,
    head: Option<i64>,
    settings: &str,
) -> rusqlite::Result<Step> {
    let begun = now();
    to.execute(
        "INSERT INTO steps (snapshot, head, settings, begun) VALUES (?1, ?2, ?3, ?4)",
        params![snapshot, head, settings, begun],
    )?;
    Ok(Step {
        id: to.last_insert_rowid(),
        snapshot,
        head,
        settings: settings.to_owned(),
        begun,
        ended: None,
    })
}

fn set(to: &Transaction<'_>, name: &str, value: &str) -> rusqlite::Result<()> {
    to.execute(
        "INSERT INTO facts (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        params![name, value],
    )
    .map(|_| ())
}

fn decision(
    to: &Transaction<'_>,
    step: Option<i64>,
    version: Option<i64>,
    one: &NewDecision,
) -> rusqlite::Result<()> {
    to.execute(
        "INSERT INTO decisions (at, step, version, what, outcome, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![now(), step, version, one.what, one.outcome, one.reason],
    )
    .map(|_| ())
}

fn event(to: &Transaction<'_>, kind: &str, data: &Value) -> rusqlite::Result<()> {
    to.execute(
        "INSERT INTO events (at, kind, data) VALUES (?1, ?2, ?3)",
        params![now(), kind, data.to_string()],
    )
    .map(|_| ())
}
