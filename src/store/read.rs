//! Questions to the store: short, read-only, each on a connection of its own.

use serin_core::ports::{EntryFilter, RolloutFilter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::load::plan_of;
use super::rows::{json, number, text};
use crate::store::database::{DATABASE_FILE, connect_for_reading};
use serin_core::analysis::ledger::StoredRow;
use serin_core::journal::Entry;
use serin_core::lambda::alias::AliasId;
use serin_core::model::arn::VersionNumber;
use serin_core::model::time::{Timestamp, Uptime};
use serin_core::ports::{IdempotentReply, PinnedPlan};
use serin_core::rollout::{RolloutId, RolloutRecord};

/// Connections kept open between questions.
const IDLE_MAX: usize = 4;

/// Answers questions about what is committed.
#[derive(Clone)]
pub struct Reader {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Reader {
    /// Answers from the store of a data directory.
    pub fn of(dir: &Path) -> Reader {
        Reader::new(&dir.join(DATABASE_FILE))
    }

    pub(super) fn new(path: &Path) -> Reader {
        Reader { path: path.to_owned(), idle: Arc::default() }
    }

    /// The data directory.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn ask<T>(
        &self,
        attempt: &'static str,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let lock = || self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let kept = lock().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => connect_for_reading(&self.path)?,
        };
        let answer = question(&connection).map_err(StoreError::sqlite(attempt));
        let mut idle = lock();
        if answer.is_ok() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        answer
    }

    /// Entries of the journal, oldest first.
    pub fn entries(&self, filter: &EntryFilter) -> Result<Vec<Entry>, StoreError> {
        let order = if filter.newest { "DESC" } else { "ASC" };
        // Each kind of question has the index that serves it; a filter by OR would scan.
        let which = match (&filter.rollout, &filter.alias) {
            (Some(_), _) => "rollout = ?2",
            (None, Some(_)) => "function = ?3 AND alias = ?4",
            (None, None) => "1",
        };
        let sql =
            format!("SELECT seq, entry FROM events WHERE seq > ?1 AND {which} ORDER BY seq {order} LIMIT ?5");
        let read: Vec<Result<Entry, String>> = self.ask("read the journal", |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let (function, alias) = names(filter.alias.as_ref());
            let rollout = filter.rollout.map(|id| id.to_string());
            let values = params![filter.after as i64, rollout, function, alias, filter.limit];
            statement.query_map(values, |row| Ok(json(row, 1)))?.collect()
        })?;
        // What cannot be read is left out, and is `fsck`'s to name: the others are still history.
        let mut entries: Vec<Entry> = read.into_iter().flatten().collect();
        if filter.newest {
            entries.reverse();
        }
        Ok(entries)
    }

    /// Rollouts, newest first.
    pub fn rollouts(&self, filter: &RolloutFilter) -> Result<Vec<RolloutRecord>, StoreError> {
        let read: Vec<Result<RolloutRecord, String>> = self.ask("read the rollouts", |connection| {
            let (function, alias) = names(filter.alias.as_ref());
            let sql = "SELECT id, record FROM rollouts
                       WHERE (?1 IS NULL OR (function = ?1 AND alias = ?2)) AND (?3 IS NULL OR phase = ?3)
                         AND (?4 IS NULL OR id < ?4)
                       ORDER BY id DESC LIMIT ?5";
            let mut statement = connection.prepare_cached(sql)?;
            let before = filter.before.map(|id| id.to_string());
            let rows = statement
                .query_map(params![function, alias, filter.phase, before, filter.limit], |row| {
                    Ok(json(row, 1))
                })?;
            rows.collect()
        })?;
        Ok(read.into_iter().flatten().collect())
    }

    /// Rollouts whose id is `text` or ends with it, at most two of them.
    pub fn rollouts_named(&self, text: &str) -> Result<Vec<RolloutRecord>, StoreError> {
        let read: Vec<Result<RolloutRecord, String>> = self.ask("find a rollout", |connection| {
            let sql = "SELECT record FROM rollouts WHERE id = ?1
                       UNION ALL
                       SELECT record FROM rollouts WHERE id <> ?1 AND substr(id, -length(?1)) = ?1 LIMIT 2";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map([text], |row| Ok(json(row, 0)))?.collect()
        })?;
        Ok(read.into_iter().flatten().collect())
    }

    /// The rollout with an id.
    pub fn rollout(&self, id: RolloutId) -> Result<Option<RolloutRecord>, StoreError> {
        let read = self.ask("read a rollout", |connection| {
            let sql = "SELECT record FROM rollouts WHERE id = ?1";
            connection.prepare_cached(sql)?.query_row([id.to_string()], |row| Ok(json(row, 0))).optional()
        })?;
        let unreadable = |why| StoreError::Unreadable { what: format!("rollout {id}"), why };
        read.transpose().map_err(unreadable)
    }

    /// How often harm was sought in a version on an alias, by what the rollouts of it say that are still there.
    pub fn trials(&self, alias: &AliasId, canary: VersionNumber) -> Result<u32, StoreError> {
        self.ask("read how often a version was tried", |connection| {
            // Rollouts stored before trials were counted had one.
            let sql = "SELECT coalesce(max(coalesce(json_extract(record, '$.trials'), 1)), 0) FROM rollouts
                       WHERE function = ?1 AND alias = ?2 AND json_extract(record, '$.canary') = ?3";
            let (function, alias) = names(Some(alias));
            let number = canary.0 as i64;
            connection.prepare_cached(sql)?.query_row(params![function, alias, number], |row| row.get(0))
        })
    }

    /// The counts of a rollout, in the order in which they came.
    pub fn counts(&self, id: RolloutId) -> Result<Vec<StoredRow>, StoreError> {
        self.ask("read the counts of a rollout", |connection| {
            let sql = "SELECT start, blocks FROM counts WHERE rollout = ?1 ORDER BY start";
            let mut statement = connection.prepare_cached(sql)?;
            let row = |row: &rusqlite::Row<'_>| {
                let (start, text) = (number(row, 0), text(row, 1));
                Ok(start.and_then(|start| Ok(StoredRow { start: Uptime(start as u64), text: text? })))
            };
            let rows: rusqlite::Result<Vec<_>> = statement.query_map([id.to_string()], row)?.collect();
            Ok(rows?.into_iter().flatten().collect())
        })
    }

    /// The plan with a digest.
    pub fn plan(&self, digest: &str) -> Result<Option<PinnedPlan>, StoreError> {
        let found = self.ask("read a plan", |connection| {
            let sql = "SELECT digest, name, bytes, defaults_name, defaults FROM plans WHERE digest = ?1";
            connection.prepare_cached(sql)?.query_row([digest], |row| Ok(plan_of(row, 0))).optional()
        })?;
        let unreadable = |why| StoreError::Unreadable { what: format!("plan {digest}"), why };
        found.transpose().map_err(unreadable)
    }

    /// The reply given to an idempotency key before.
    pub fn reply(&self, key: &str) -> Result<Option<IdempotentReply>, StoreError> {
        self.ask("look up an idempotency key", |connection| {
            let sql = "SELECT fingerprint, reply, at FROM idempotency WHERE key = ?1";
            connection
                .prepare_cached(sql)?
                .query_row([key], |row| {
                    Ok(IdempotentReply {
                        key: key.to_owned(),
                        fingerprint: row.get(0)?,
                        reply: row.get(1)?,
                        at: Timestamp(row.get(2)?),
                    })
                })
                .optional()
        })
    }
}

fn names(alias: Option<&AliasId>) -> (Option<String>, Option<String>) {
    (alias.map(|id| id.function.to_string()), alias.map(|id| id.alias.to_string()))
}
