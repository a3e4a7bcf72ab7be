//! What the daemon takes into memory at boot, and what it thinks of rows that do not add up.
//!
//! Every alias is compared with what the journal says it became. A row that cannot be read, or that says something else
//! than the journal, quarantines its alias: it is served on its stable version alone and changed by nobody until
//! `serin fsck --repair`. Nothing here stops the boot for one bad row.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;

use super::StoreError;
use super::change::PinnedPlan;
use super::watch;
use crate::domain::alias::{AdditionalVersion, Alias, AliasId, Routing};
use crate::domain::analysis::watch::Days;
use crate::domain::arn::{VersionId, VersionNumber};
use crate::domain::event_source::EventSource;
use crate::domain::function::{Function, Revision, Version};
use crate::domain::journal::{Entry, Happening, fold};
use crate::domain::policy::{Policy, PolicyScope};
use crate::domain::rollout::{Ending, RolloutId, RolloutRecord};
use crate::domain::time::{Timestamp, Uptime};
use crate::domain::watching::AliasWatch;
use crate::domain::weight::Weight;

/// An alias as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAlias {
    /// The alias; under quarantine, with its stable version alone.
    pub alias: Alias,
    /// What a rollback after success restores.
    pub previous_stable: Option<VersionNumber>,
    /// Why it is quarantined, if it is.
    pub quarantine: Option<String>,
}

/// A rollout as stored.
#[derive(Clone, Debug)]
pub struct StoredRollout {
    /// The rollout.
    pub record: RolloutRecord,
    /// Its evidence as JSON.
    pub evidence: Option<String>,
    /// The plan it pinned.
    pub plan: PinnedPlan,
}

/// What the daemon needs in memory.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Makes RevisionIds of this store unlike any other's.
    pub salt: String,
    /// The daemon's clock when it was last stored.
    pub uptime: Uptime,
    /// The last entry of the journal.
    pub seq: Revision,
    /// All functions.
    pub functions: Vec<Function>,
    /// All versions.
    pub versions: Vec<Version>,
    /// All aliases.
    pub aliases: Vec<StoredAlias>,
    /// All policies.
    pub policies: Vec<(PolicyScope, Policy)>,
    /// All mappings of event sources.
    pub event_sources: Vec<EventSource>,
    /// Every live rollout, and of every alias the one that began last.
    pub rollouts: Vec<StoredRollout>,
    /// The greatest identifier of a rollout.
    pub last_rollout: Option<RolloutId>,
    /// Versions that were taken out of an alias.
    pub remembered: Vec<(AliasId, VersionNumber, Ending)>,
    /// Watches after promotions.
    pub watches: Vec<(AliasId, AliasWatch)>,
    /// What aliases under plans that watch counted.
    pub days: Vec<(AliasId, Days)>,
    /// What could not be read or does not add up, in sentences.
    pub problems: Vec<String>,
}

pub(super) fn load(connection: &Connection) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded { salt: salt(connection)?, ..Loaded::default() };
    loaded.uptime = Uptime(meta(connection, "uptime_ms")?.and_then(|text| text.parse().ok()).unwrap_or(0));
    loaded.seq = Revision(last_seq(connection)?);
    quick_check(connection, &mut loaded.problems)?;
    loaded.functions =
        records(connection, "SELECT name, record FROM functions", "function", &mut loaded.problems)?;
    loaded.versions = records(
        connection,
        "SELECT function || ':' || number, record FROM versions",
        "version",
        &mut loaded.problems,
    )?;
    loaded.event_sources = records(
        connection,
        "SELECT id, record FROM event_sources",
        "event source mapping",
        &mut loaded.problems,
    )?;
    loaded.aliases = load_aliases(connection, &mut loaded.problems)?;
    loaded.policies = load_policies(connection, &mut loaded.problems)?;
    loaded.remembered = load_remembered(connection)?;
    loaded.watches = watch::watches(connection, &mut loaded.problems)?;
    loaded.days = watch::days(connection, &mut loaded.problems)?;
    loaded.rollouts = load_rollouts(connection, &mut loaded)?;
    loaded.last_rollout = last_rollout(connection)?;
    Ok(loaded)
}

/// A random value made with the store; SQLite's own generator is seeded by the operating system.
fn salt(connection: &Connection) -> Result<String, StoreError> {
    let failed = StoreError::sqlite("read the store's salt");
    connection
        .query_row(
            "INSERT INTO meta (key, value) VALUES ('salt', hex(randomblob(32)))
             ON CONFLICT (key) DO UPDATE SET value = value RETURNING value",
            [],
            |row| row.get(0),
        )
        .map_err(failed)
}

fn meta(connection: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()
        .map_err(StoreError::sqlite("read the store's settings"))
}

/// The last sequence number ever used; pruning always leaves the last entry.
pub(super) fn last_seq(connection: &Connection) -> Result<u64, StoreError> {
    connection
        .query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get::<_, i64>(0))
        .map(|seq| seq as u64)
        .map_err(StoreError::sqlite("read the journal's end"))
}

fn quick_check(connection: &Connection, problems: &mut Vec<String>) -> Result<(), StoreError> {
    let mut found = Vec::new();
    each(connection, "PRAGMA quick_check(5)", "check the store's pages", |row| {
        found.push(row.get::<_, String>(0)?);
        Ok(())
    })?;
    if found != ["ok"] {
        problems.push(format!("the database is damaged: {}; run `serin fsck`", found.join("; ")));
    }
    Ok(())
}

/// Runs a query and hands every row to `take`.
pub(super) fn each(
    connection: &Connection,
    sql: &str,
    attempt: &'static str,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let mut run = |connection: &Connection| {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            take(row)?;
        }
        Ok(())
    };
    run(connection).map_err(StoreError::sqlite(attempt))
}

/// Reads a table of names and JSON records, leaving out and reporting what cannot be read.
fn records<T: DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    what: &str,
    problems: &mut Vec<String>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    each(connection, sql, "read the store's records", |row| {
        let (name, record): (String, String) = (row.get(0)?, row.get(1)?);
        match serde_json::from_str(&record) {
            Ok(value) => found.push(value),
            Err(why) => problems.push(format!("{what} {name} cannot be read: {why}")),
        }
        Ok(())
    })?;
    Ok(found)
}

/// What the journal says each alias became.
pub(super) fn aliases_by_journal(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<BTreeMap<AliasId, Alias>, StoreError> {
    let mut last = Vec::new();
    let sql = "SELECT seq, entry FROM events WHERE seq IN
                   (SELECT max(seq) FROM events WHERE tells_alias = 1 GROUP BY function, alias) ORDER BY seq";
    each(connection, sql, "read the journal", |row| {
        let (seq, text): (i64, String) = (row.get(0)?, row.get(1)?);
        match serde_json::from_str::<Entry>(&text) {
            Ok(entry) => last.push(entry),
            Err(why) => problems.push(format!("journal entry {seq} cannot be read: {why}")),
        }
        Ok(())
    })?;
    Ok(fold(&last))
}

pub(super) const ALIAS_COLUMNS: &str =
    "function, name, function_version, additional_version, additional_weight,
     description, revision, updated_at, previous_stable";

/// Reads an alias row; `Err` says in words what is wrong with it.
pub(super) fn alias_of(row: &Row<'_>) -> rusqlite::Result<Result<StoredAlias, String>> {
    let (function, name): (String, String) = (row.get(0)?, row.get(1)?);
    let (version, additional, weight): (Option<i64>, Option<i64>, Option<i64>) =
        (row.get(2)?, row.get(3)?, row.get(4)?);
    let (description, revision, updated_at): (String, i64, i64) = (row.get(5)?, row.get(6)?, row.get(7)?);
    let previous_stable: Option<i64> = row.get(8)?;
    let read = || {
        let version_number =
            |number: i64| u64::try_from(number).map(VersionNumber).map_err(|why| why.to_string());
        let id = AliasId {
            function: function.parse().map_err(|why| format!("its function {function:?}: {why}"))?,
            alias: name.parse().map_err(|why| format!("its name {name:?}: {why}"))?,
        };
        let function_version = match version {
            None => VersionId::Latest,
            Some(number) => version_number(number)?.into(),
        };
        let additional = match (additional, weight) {
            (Some(number), Some(ppm)) => {
                let weight = u32::try_from(ppm).ok().and_then(Weight::from_ppm);
                let weight = weight.ok_or_else(|| format!("its weight of {ppm} ppm"))?;
                Some(AdditionalVersion { version: version_number(number)?, weight })
            }
            _ => None,
        };
        let alias = Alias {
            id,
            routing: Routing { function_version, additional },
            description: description.clone(),
            revision: Revision(revision as u64),
            updated_at: Timestamp(updated_at),
        };
        let previous_stable = previous_stable.map(version_number).transpose()?;
        Ok(StoredAlias { alias, previous_stable, quarantine: None })
    };
    Ok(read().map_err(|why: String| format!("alias {function}:{name} cannot be read: {why}")))
}

fn load_aliases(connection: &Connection, problems: &mut Vec<String>) -> Result<Vec<StoredAlias>, StoreError> {
    let mut told = aliases_by_journal(connection, problems)?;
    let mut aliases = Vec::new();
    let sql = format!("SELECT {ALIAS_COLUMNS} FROM aliases");
    each(connection, &sql, "read the aliases", |row| {
        match alias_of(row)? {
            Err(why) => problems.push(why),
            Ok(mut stored) => {
                let said = told.remove(&stored.alias.id);
                if said.as_ref() != Some(&stored.alias) {
                    let said = said.map_or("nothing".to_owned(), |alias| format!("{} ", alias.routing));
                    let why = format!(
                        "alias {} is {} in the store and {said} by the journal; it stays on its stable version until \
                         `serin fsck --repair`",
                        stored.alias.id, stored.alias.routing
                    );
                    stored.alias.routing = Routing::only(stored.alias.routing.function_version);
                    problems.push(why.clone());
                    stored.quarantine = Some(why);
                }
                aliases.push(stored);
            }
        }
        Ok(())
    })?;
    for (id, alias) in told {
        let why = format!(
            "alias {id} has no readable row, and is {} by the journal; it is served on its stable version until \
             `serin fsck --repair`",
            alias.routing
        );
        problems.push(why.clone());
        let routing = Routing::only(alias.routing.function_version);
        aliases.push(StoredAlias {
            alias: Alias { routing, ..alias },
            previous_stable: None,
            quarantine: Some(why),
        });
    }
    Ok(aliases)
}

fn load_policies(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<Vec<(PolicyScope, Policy)>, StoreError> {
    let mut policies = Vec::new();
    each(connection, "SELECT scope, name, record FROM policies", "read the policies", |row| {
        let (kind, name, record): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let scope = match kind.as_str() {
            "version" => name.parse().ok().map(PolicyScope::Version),
            "alias" => name.parse().ok().map(PolicyScope::Alias),
            _ => Some(PolicyScope::Function),
        };
        match (scope, serde_json::from_str::<Policy>(&record)) {
            (Some(scope), Ok(policy)) => policies.push((scope, policy)),
            (_, Err(why)) => problems.push(format!("the policy of {kind} {name:?} cannot be read: {why}")),
            (None, _) => problems.push(format!("the policy of {kind} {name:?} has no readable name")),
        }
        Ok(())
    })?;
    Ok(policies)
}

fn load_remembered(connection: &Connection) -> Result<Vec<(AliasId, VersionNumber, Ending)>, StoreError> {
    let mut remembered = Vec::new();
    let sql = "SELECT function, alias, version, ending FROM remembered";
    each(connection, sql, "read the remembered versions", |row| {
        let (function, alias, ending): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let version: i64 = row.get(2)?;
        if let (Ok(id), Ok(version)) = (format!("{function}:{alias}").parse(), u64::try_from(version)) {
            let ending = if ending == "rolledBack" { Ending::RolledBack } else { Ending::Aborted };
            remembered.push((id, VersionNumber(version), ending));
        }
        Ok(())
    })?;
    Ok(remembered)
}

fn load_rollouts(connection: &Connection, loaded: &mut Loaded) -> Result<Vec<StoredRollout>, StoreError> {
    let mut rollouts = Vec::new();
    let sql = "SELECT r.id, r.function || ':' || r.alias, r.live, r.record, r.evidence,
                      p.digest, p.name, p.bytes, p.defaults_name, p.defaults
               FROM rollouts r JOIN plans p ON p.digest = r.plan_digest
               WHERE r.live = 1 OR r.id IN (
                   -- Of each alias the one that began last by the journal, or where none began the last that was made,
                   -- if the alias was not deleted since.
                   SELECT id FROM (
                       SELECT id, function, alias, seq,
                              row_number() OVER (PARTITION BY function, alias ORDER BY begun DESC, seq DESC, id DESC) AS place
                       FROM (SELECT id, function, alias,
                                    (SELECT min(seq) FROM events WHERE rollout = b.id) AS seq,
                                    CASE WHEN json_valid(record)
                                         THEN json_type(record, '$.committed') IS 'object' ELSE 0 END AS begun
                             FROM rollouts b)) l
                   WHERE place = 1 AND NOT EXISTS (
                       SELECT 1 FROM events d
                       WHERE d.function = l.function AND d.alias = l.alias AND d.tells_alias = 1 AND d.seq > l.seq
                         AND CASE WHEN json_valid(d.entry)
                                  THEN json_extract(d.entry, '$.what.kind') = 'aliasDeleted' ELSE 0 END))
               ORDER BY r.id";
    let mut unreadable: BTreeMap<AliasId, String> = BTreeMap::new();
    each(connection, sql, "read the rollouts", |row| {
        let (id, alias, live, text): (String, String, bool, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        match serde_json::from_str::<RolloutRecord>(&text) {
            Ok(record) => {
                rollouts.push(StoredRollout { record, evidence: row.get(4)?, plan: plan_of(row, 5)? });
            }
            Err(why) => {
                let why = format!("rollout {id} of {alias} cannot be read: {why}");
                loaded.problems.push(why.clone());
                if let (true, Ok(alias)) = (live, alias.parse()) {
                    unreadable.insert(alias, why);
                }
            }
        }
        Ok(())
    })?;
    for stored in &mut loaded.aliases {
        if let Some(why) = unreadable.remove(&stored.alias.id) {
            stored.alias.routing = Routing::only(stored.alias.routing.function_version);
            stored.quarantine.get_or_insert(why);
        }
    }
    check_one_active(&rollouts, loaded);
    Ok(rollouts)
}

/// The greatest identifier of a rollout; one that cannot be read is no reason not to boot.
fn last_rollout(connection: &Connection) -> Result<Option<RolloutId>, StoreError> {
    let text: Option<String> = connection
        .query_row("SELECT max(id) FROM rollouts", [], |row| row.get(0))
        .map_err(StoreError::sqlite("read the last rollout"))?;
    Ok(text.and_then(|text| text.parse().ok()).map(RolloutId))
}

fn check_one_active(rollouts: &[StoredRollout], loaded: &mut Loaded) {
    let mut seen: BTreeSet<&AliasId> = BTreeSet::new();
    let active = rollouts.iter().filter(|rollout| rollout.record.phase.is_active());
    let twice: Vec<(AliasId, RolloutId)> = active
        .filter(|rollout| !seen.insert(&rollout.record.alias))
        .map(|rollout| (rollout.record.alias.clone(), rollout.record.id))
        .collect();
    for (alias, id) in twice {
        let why = format!("alias {alias} has a second active rollout, {id}");
        loaded.problems.push(why.clone());
        if let Some(stored) = loaded.aliases.iter_mut().find(|stored| stored.alias.id == alias) {
            stored.alias.routing = Routing::only(stored.alias.routing.function_version);
            stored.quarantine.get_or_insert(why);
        }
    }
}

pub(super) fn plan_of(row: &Row<'_>, first: usize) -> rusqlite::Result<PinnedPlan> {
    let (name, defaults): (Option<String>, Option<Vec<u8>>) = (row.get(first + 3)?, row.get(first + 4)?);
    Ok(PinnedPlan {
        digest: row.get(first)?,
        name: row.get(first + 1)?,
        bytes: row.get(first + 2)?,
        defaults: name.zip(defaults),
    })
}

/// Whether an entry says what its alias became.
pub(super) fn tells_alias(entry: &Entry) -> bool {
    entry.alias_after.is_some() || entry.what == Happening::AliasDeleted
}
