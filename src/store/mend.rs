//! Mending a store from what is whole in it.
//!
//! Each cure is a transaction of its own with an entry of its own where it changes an alias or a rollout; nothing that
//! was written before is written anew, but rows that the journal rebuilds. What can be read by nobody is set aside, in a
//! file, so that its bytes are not lost.

use crate::store::cure::Cure;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::StoreError;
use super::apply::{insert_entry, json, number};
use super::load::{ALIASES, alias_of, last_seq, read_uptime, written_uptime};
use crate::store::findings::Found;
use serin_core::journal::{Entry, Happening};
use serin_core::lambda::alias::{Alias, AliasId, Routing};
use serin_core::lambda::function::Revision;
use serin_core::model::actor::Actor;
use serin_core::model::time::Timestamp;
use serin_core::rollout::{Event, Phase, RolloutRecord};

/// Rows that nobody can read, a line of JSON each, their bytes in hex.
const SET_ASIDE: &str = "serin.db.set-aside";

/// When, and by whom.
struct Mender<'a> {
    dir: &'a Path,
    at: Timestamp,
    actor: &'a Actor,
}

/// Does what can be done, each cure whole or not at all; tells in sentences what could not be.
pub(super) fn mend(
    connection: &mut Connection,
    dir: &Path,
    found: &Found,
    at: Timestamp,
    actor: &Actor,
) -> Vec<String> {
    let mender = Mender { dir, at, actor };
    let mut failures = Vec::new();
    for cure in &found.cures {
        let mended = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::sqlite("begin to mend"))
            .and_then(|transaction| {
                mender.apply(&transaction, cure)?;
                transaction.commit().map_err(StoreError::sqlite("store what was mended"))
            });
        if let Err(why) = mended {
            failures.push(format!("a finding could not be mended: {}", crate::store::in_full(&why)));
        }
    }
    failures
}

impl Mender<'_> {
    fn apply(&self, transaction: &Transaction<'_>, cure: &Cure) -> Result<(), StoreError> {
        match cure {
            Cure::Alias(told) => self.put_alias(transaction, told, "rebuilt from the journal"),
            Cure::ToStable(id) => self.to_stable(transaction, id, true),
            Cure::End { record, why } => self.end(transaction, record, why),
            Cure::Refile(record) => put_rollout(transaction, record),
            Cure::SetAside { table, keys, row, alias } => {
                self.write_down(table, row)?;
                let conditions: Vec<String> = keys
                    .iter()
                    .zip(1..)
                    .map(|((name, value), index)| match value {
                        Value::Blob(_) => format!("CAST({name} AS BLOB) = ?{index}"),
                        _ => format!("{name} IS ?{index}"),
                    })
                    .collect();
                let sql = format!("DELETE FROM {table} WHERE {}", conditions.join(" AND "));
                let values = rusqlite::params_from_iter(keys.iter().map(|(_, value)| value));
                transaction.execute(&sql, values).map_err(StoreError::sqlite("set a row aside"))?;
                alias.iter().try_for_each(|id| self.to_stable(transaction, id, false))
            }
            Cure::Reindex => {
                transaction.execute_batch("REINDEX").map_err(StoreError::sqlite("make indexes anew"))
            }
            Cure::Uptime => {
                let failed = StoreError::sqlite("write the uptime anew");
                let stored: Vec<u8> = transaction
                    .query_row("SELECT CAST(value AS BLOB) FROM meta WHERE key = 'uptime_ms'", [], |row| {
                        row.get(0)
                    })
                    .map_err(&failed)?;
                let (uptime, _) = read_uptime(&String::from_utf8_lossy(&stored));
                let sql = "UPDATE meta SET value = ?1 WHERE key = 'uptime_ms'";
                transaction.execute(sql, [written_uptime(uptime)]).map_err(&failed).map(|_| ())
            }
        }
    }

    fn put_alias(&self, transaction: &Transaction<'_>, told: &Alias, how: &str) -> Result<(), StoreError> {
        let seq = Revision(last_seq(transaction)? + 1);
        let alias = Alias { revision: seq, updated_at: self.at, ..told.clone() };
        transaction
            .execute(
                "INSERT INTO aliases (function, name, function_version, additional_version, additional_weight,
                                      description, revision, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (function, name) DO UPDATE SET function_version = excluded.function_version,
                     additional_version = excluded.additional_version, additional_weight = excluded.additional_weight,
                     description = excluded.description, revision = excluded.revision, updated_at = excluded.updated_at",
                params![
                    alias.id.function.as_str(),
                    alias.id.alias.as_str(),
                    alias.routing.function_version.number().map(number),
                    alias.routing.additional.map(|additional| number(additional.version)),
                    alias.routing.additional.map(|additional| additional.weight.ppm()),
                    alias.description,
                    seq.0 as i64,
                    self.at.0,
                ],
            )
            .map_err(StoreError::sqlite("repair an alias"))?;
        let entry = Entry {
            seq,
            at: self.at,
            actor: self.actor.clone(),
            reason: Some(format!("serin fsck --repair: {how}")),
            function: alias.id.function.clone(),
            alias: Some(alias.id.alias.clone()),
            rollout: None,
            what: Happening::AliasUpdated { from: alias.routing, to: alias.routing },
            alias_after: Some(alias),
        };
        insert_entry(transaction, &entry)
    }

    /// Puts an alias to its stable version; unless it `must` have an entry, nothing is done where it is there already.
    fn to_stable(&self, transaction: &Transaction<'_>, id: &AliasId, must: bool) -> Result<(), StoreError> {
        let Some(alias) = alias_in(transaction, id)? else { return Ok(()) };
        if alias.routing.additional.is_none() && !must {
            return Ok(());
        }
        let routing = Routing::only(alias.routing.function_version);
        self.put_alias(transaction, &Alias { routing, ..alias }, "put to its stable version")
    }

    fn end(
        &self,
        transaction: &Transaction<'_>,
        record: &RolloutRecord,
        why: &str,
    ) -> Result<(), StoreError> {
        if record.phase.is_active() {
            self.to_stable(transaction, &record.alias, false)?;
        }
        let reason = format!("ended by serin fsck --repair: {why}");
        let phase = Phase::Aborted;
        let ended = RolloutRecord { phase, reason: reason.clone(), updated_at: self.at, ..record.clone() };
        put_rollout(transaction, &ended)?;
        let entry = Entry {
            seq: Revision(last_seq(transaction)? + 1),
            at: self.at,
            actor: self.actor.clone(),
            reason: Some(reason),
            function: record.alias.function.clone(),
            alias: Some(record.alias.alias.clone()),
            rollout: Some(record.id),
            what: Happening::Rollout {
                event: Event::AbortAsked,
                phase: ended.phase.name().to_owned(),
                step: record.step,
                outcome: String::new(),
            },
            alias_after: None,
        };
        insert_entry(transaction, &entry)
    }

    /// Writes a row down outside of the store, and syncs it, before it leaves the store.
    fn write_down(&self, table: &str, row: &[(String, Value)]) -> Result<(), StoreError> {
        let path = self.dir.join(SET_ASIDE);
        let shown = |value: &Value| match value {
            Value::Null => serde_json::Value::Null,
            Value::Integer(number) => (*number).into(),
            Value::Real(number) => (*number).into(),
            Value::Text(text) => text.clone().into(),
            Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        };
        let columns: serde_json::Map<_, _> =
            row.iter().map(|(name, value)| (name.clone(), shown(value))).collect();
        let line = serde_json::json!({ "at": self.at.to_string(), "table": table, "row": columns });
        let write = || {
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
            writeln!(file, "{line}")?;
            file.sync_all()
        };
        write().map_err(StoreError::file("write a row that nobody can read to", &path))
    }
}

fn alias_in(transaction: &Transaction<'_>, id: &AliasId) -> Result<Option<Alias>, StoreError> {
    let mut found = None;
    ALIASES.rows(transaction, |row| {
        if let Ok(stored) = alias_of(row)
            && stored.alias.id == *id
        {
            found = Some(stored.alias);
        }
    })?;
    Ok(found)
}

fn put_rollout(transaction: &Transaction<'_>, record: &RolloutRecord) -> Result<(), StoreError> {
    let sql = "UPDATE rollouts SET phase = ?2, live = ?3, updated_at = ?4, record = ?5 WHERE id = ?1";
    let values = params![
        record.id.to_string(),
        record.phase.name(),
        !record.phase.is_final(),
        record.updated_at.0,
        json(record),
    ];
    transaction.execute(sql, values).map_err(StoreError::sqlite("repair a rollout")).map(|_| ())
}
