//! Checking a whole store against its own journal and the invariants, and repairing aliases from the journal.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::StoreError;
use super::apply::insert_entry;
use super::load::{ALIAS_COLUMNS, StoredAlias, alias_of, aliases_by_journal, each, last_seq};
use super::open::{DATABASE_FILE, check_schema, connect_for_reading, connect_for_writing};
use super::owner::Ownership;
use crate::domain::actor::Actor;
use crate::domain::alias::{Alias, AliasId};
use crate::domain::function::Revision;
use crate::domain::journal::{Entry, Happening};
use crate::domain::rollout::RolloutRecord;
use crate::domain::time::Timestamp;

/// One thing that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, in a sentence.
    pub text: String,
    /// Whether `--repair` mended it.
    pub repaired: bool,
}

fn finding(text: String) -> Finding {
    Finding { text, repaired: false }
}

/// Checks the store of a data directory; with `repair`, puts aliases back to what the journal says.
///
/// Checking works beside a running daemon. Repairing needs the directory to itself; `at` and `holder` say when and who.
pub fn fsck(dir: &Path, repair: Option<(Timestamp, &str, &Actor)>) -> Result<Vec<Finding>, StoreError> {
    let path = dir.join(DATABASE_FILE);
    if !path.exists() {
        return Err(StoreError::Unreadable {
            what: path.display().to_string(),
            why: "there is no such file".into(),
        });
    }
    match repair {
        None => {
            let connection = connect_for_reading(&path)?;
            check_schema(&connection, &path)?;
            let mut findings = Vec::new();
            check(&connection, &mut findings)?;
            Ok(findings)
        }
        Some((at, holder, actor)) => {
            let _ownership = Ownership::take(dir, holder)?;
            let mut connection = connect_for_writing(&path)?;
            check_schema(&connection, &path)?;
            let mut findings = Vec::new();
            let wrong = check(&connection, &mut findings)?;
            mend(&mut connection, wrong, at, actor, &mut findings)?;
            Ok(findings)
        }
    }
}

/// An alias that is not what the journal says: the row, if it can be read, and what it should be.
struct Wrong {
    id: AliasId,
    told: Option<Alias>,
    index: usize,
}

fn check(connection: &Connection, findings: &mut Vec<Finding>) -> Result<Vec<Wrong>, StoreError> {
    each(connection, "PRAGMA integrity_check(20)", "check the store's pages", |row| {
        let text: String = row.get(0)?;
        if text != "ok" {
            findings.push(finding(format!("page check: {text}")));
        }
        Ok(())
    })?;
    each(connection, "PRAGMA foreign_key_check", "check the store's references", |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        findings.push(finding(format!("a row of {table} names a row of {parent} that is not there")));
        Ok(())
    })?;
    check_sequence(connection, findings)?;
    let wrong = check_aliases(connection, findings)?;
    check_plans(connection, findings)?;
    check_rollouts(connection, findings)?;
    Ok(wrong)
}

/// Sequence numbers have no gap, unless pruning made it.
fn check_sequence(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let pruned: i64 = connection
        .query_row("SELECT count(*) FROM meta WHERE key = 'pruned'", [], |row| row.get(0))
        .map_err(StoreError::sqlite("read the store's settings"))?;
    if pruned > 0 {
        return Ok(());
    }
    let (count, last): (i64, i64) = connection
        .query_row("SELECT count(*), coalesce(max(seq), 0) FROM events", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(StoreError::sqlite("count the journal"))?;
    if count != last {
        findings.push(finding(format!(
            "the journal has {count} entries and ends at {last}: entries are missing"
        )));
    }
    Ok(())
}

fn check_aliases(connection: &Connection, findings: &mut Vec<Finding>) -> Result<Vec<Wrong>, StoreError> {
    let mut problems = Vec::new();
    let mut told = aliases_by_journal(connection, &mut problems)?;
    findings.extend(problems.into_iter().map(finding));
    let mut rows: Vec<StoredAlias> = Vec::new();
    each(connection, &format!("SELECT {ALIAS_COLUMNS} FROM aliases"), "read the aliases", |row| {
        match alias_of(row)? {
            Ok(stored) => rows.push(stored),
            Err(why) => findings.push(finding(why)),
        }
        Ok(())
    })?;
    let mut wrong = Vec::new();
    for stored in rows {
        let said = told.remove(&stored.alias.id);
        if said.as_ref() == Some(&stored.alias) {
            continue;
        }
        let by_journal = said.as_ref().map_or("nothing".to_owned(), |alias| {
            format!("{} at revision {}", alias.routing, alias.revision.0)
        });
        wrong.push(Wrong { id: stored.alias.id.clone(), told: said, index: findings.len() });
        findings.push(finding(format!(
            "alias {} is {} at revision {} in the store, and {by_journal} by the journal",
            stored.alias.id, stored.alias.routing, stored.alias.revision.0
        )));
    }
    for (id, alias) in told {
        let text = format!("alias {id} has no readable row, and is {} by the journal", alias.routing);
        wrong.push(Wrong { id, told: Some(alias), index: findings.len() });
        findings.push(finding(text));
    }
    Ok(wrong)
}

fn check_plans(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    each(connection, "SELECT digest, name, bytes, defaults FROM plans", "read the plans", |row| {
        let (digest, name, bytes): (String, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let defaults: Option<Vec<u8>> = row.get(3)?;
        let mut hash = Sha256::new();
        hash.update(&bytes);
        if let Some(defaults) = defaults {
            // A zero byte stands between, so that no byte can move from one file to the other unnoticed.
            hash.update([0]);
            hash.update(defaults);
        }
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found != digest {
            findings.push(finding(format!("the pinned plan {name} has digest {found}, not {digest}")));
        }
        Ok(())
    })
}

fn check_rollouts(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let mut active: BTreeMap<AliasId, RolloutRecord> = BTreeMap::new();
    each(connection, "SELECT id, live, phase, record FROM rollouts", "read the rollouts", |row| {
        let (id, live, phase): (String, bool, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let record = match serde_json::from_str::<RolloutRecord>(&row.get::<_, String>(3)?) {
            Ok(record) => record,
            Err(why) => {
                findings.push(finding(format!("rollout {id} cannot be read: {why}")));
                return Ok(());
            }
        };
        if record.phase.name() != phase || record.phase.is_final() == live || record.id.to_string() != id {
            findings.push(finding(format!(
                "rollout {id} is filed as {phase}, and says it is {}",
                record.phase.name()
            )));
        }
        if record.phase.is_active()
            && let Some(other) = active.insert(record.alias.clone(), record)
        {
            findings.push(finding(format!("{} has two active rollouts, {id} and {}", other.alias, other.id)));
        }
        Ok(())
    })?;
    let sql = format!("SELECT {ALIAS_COLUMNS} FROM aliases");
    each(connection, &sql, "read the aliases", |row| {
        let Ok(stored) = alias_of(row)? else { return Ok(()) };
        let Some(record) = active.remove(&stored.alias.id) else { return Ok(()) };
        if record.known_routing() != Some(stored.alias.routing) {
            let counted = record.known_routing().map_or("nothing".to_owned(), |routing| routing.to_string());
            findings.push(finding(format!(
                "alias {} is {}, and its rollout {} counts on {counted}",
                stored.alias.id, stored.alias.routing, record.id
            )));
        }
        Ok(())
    })?;
    for (alias, record) in active {
        findings.push(finding(format!("rollout {} is active on {alias}, which is not there", record.id)));
    }
    Ok(())
}

/// Puts each wrong alias to what the journal says, with an entry of its own.
fn mend(
    connection: &mut Connection,
    wrong: Vec<Wrong>,
    at: Timestamp,
    actor: &Actor,
    findings: &mut [Finding],
) -> Result<(), StoreError> {
    for Wrong { id, told, index } in wrong {
        let failed = StoreError::sqlite("repair an alias");
        let transaction = connection.transaction().map_err(&failed)?;
        let seq = Revision(last_seq(&transaction)? + 1);
        let Some(told) = told else { continue };
        let alias = Alias { revision: seq, updated_at: at, ..told };
        transaction
            .execute(
                "INSERT INTO aliases (function, name, function_version, additional_version, additional_weight,
                                      description, revision, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (function, name) DO UPDATE SET function_version = excluded.function_version,
                     additional_version = excluded.additional_version, additional_weight = excluded.additional_weight,
                     description = excluded.description, revision = excluded.revision, updated_at = excluded.updated_at",
                rusqlite::params![
                    id.function.as_str(),
                    id.alias.as_str(),
                    alias.routing.function_version.number().map(super::apply::number),
                    alias.routing.additional.map(|additional| super::apply::number(additional.version)),
                    alias.routing.additional.map(|additional| additional.weight.ppm()),
                    alias.description,
                    seq.0 as i64,
                    at.0,
                ],
            )
            .map_err(&failed)?;
        let entry = Entry {
            seq,
            at,
            actor: actor.clone(),
            reason: Some("serin fsck --repair: rebuilt from the journal".to_owned()),
            function: id.function.clone(),
            alias: Some(id.alias.clone()),
            rollout: None,
            what: Happening::AliasUpdated { from: alias.routing, to: alias.routing },
            alias_after: Some(alias),
        };
        insert_entry(&transaction, &entry)?;
        transaction.commit().map_err(&failed)?;
        findings[index].repaired = true;
    }
    Ok(())
}
