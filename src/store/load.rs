//! What the daemon takes into memory at boot, and what it thinks of rows that do not add up.
//!
//! Every alias is compared with what the journal says it became. A row that cannot be read, or that says something else
//! than the journal, quarantines its alias: it is served on its stable version alone and changed by nobody until
//! `serin fsck --repair`. So does a live rollout that nobody could judge. Nothing here stops the boot for a bad row or
//! page: what can be read is served.

use serin_core::ports::{Loaded, StoredAlias, StoredRollout};
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::StoreError;
use super::rows::{Scan, each, json, number, optional_bytes, optional_number, optional_text, shown, text};
use super::watch;
use serin_core::journal::{Entry, Happening, fold};
use serin_core::lambda::alias::{AdditionalVersion, Alias, AliasId, Routing};
use serin_core::lambda::event_source::EventSource;
use serin_core::lambda::function::{Function, Revision, Version};
use serin_core::lambda::policy::{Policy, PolicyScope};
use serin_core::model::arn::{VersionId, VersionNumber};
use serin_core::model::time::{Timestamp, Uptime};
use serin_core::model::weight::Weight;
use serin_core::ports::PinnedPlan;
use serin_core::rollout::{Ending, RolloutId, RolloutRecord};

pub(super) fn load(connection: &Connection) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded { salt: meta(connection, "salt")?.unwrap_or_default(), ..Loaded::default() };
    quick_check(connection, &mut loaded.problems);
    load_uptime(connection, &mut loaded)?;
    loaded.functions =
        records(connection, FUNCTIONS, &mut loaded, |function: &Function| function.name.to_string())?;
    loaded.versions = records(connection, VERSIONS, &mut loaded, |version: &Version| {
        format!("{}:{}", version.function, version.number)
    })?;
    let mut problems = std::mem::take(&mut loaded.problems);
    loaded.event_sources =
        read_records(connection, EVENT_SOURCES, &mut problems, |source: &EventSource| source.id.to_string())?
            .0;
    loaded.problems = problems;
    load_aliases(connection, &mut loaded)?;
    loaded.seq = Revision(last_seq(connection).unwrap_or_else(|why| {
        // An alias's revision is an entry's number.
        let revisions = loaded.aliases.iter().map(|stored| stored.alias.revision.0);
        let last = revisions.max().unwrap_or(0);
        loaded.problems.push(format!("the journal's end cannot be read ({why}), and is taken to be {last}"));
        last
    }));
    load_policies(connection, &mut loaded)?;
    load_remembered(connection, &mut loaded)?;
    loaded.counted = watch::counted(connection, &mut loaded.problems).unwrap_or_default();
    loaded.watches = watch::watches(connection, &mut loaded.problems).unwrap_or_default();
    loaded.days = watch::days(connection, &mut loaded.problems).unwrap_or_default();
    load_rollouts(connection, &mut loaded)?;
    loaded.last_rollout = last_rollout(connection);
    Ok(loaded)
}

fn meta(connection: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    let value: Option<Option<Vec<u8>>> = connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
            Ok(optional_bytes(row, 0).unwrap_or(None))
        })
        .optional()
        .map_err(StoreError::sqlite("read the store's settings"))?;
    Ok(value.flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The uptime as it is stored: twice, because nothing else would show that a digit of it is wrong.
pub(super) fn written_uptime(uptime: Uptime) -> String {
    format!("{0}={0}", uptime.0)
}

/// Reads an uptime; where its two numbers differ, the lesser, so that no bake is shortened, and false.
pub(super) fn read_uptime(text: &str) -> (Uptime, bool) {
    let mut numbers = text.split('=').map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(one)), Some(Ok(two))) => (Uptime(one.min(two)), one == two),
        // Written by a serin that wrote it once.
        (Some(Ok(one)), None) => (Uptime(one), true),
        (Some(Ok(one)), _) | (_, Some(Ok(one))) => (Uptime(one), false),
        _ => (Uptime(0), false),
    }
}

fn load_uptime(connection: &Connection, loaded: &mut Loaded) -> Result<(), StoreError> {
    let Some(text) = meta(connection, "uptime_ms")? else { return Ok(()) };
    let (uptime, is_sound) = read_uptime(&text);
    loaded.uptime = uptime;
    if !is_sound {
        loaded
            .problems
            .push(format!("the stored uptime {text:?} is damaged, and is taken for {} ms", uptime.0));
    }
    Ok(())
}

/// The last sequence number ever used; pruning always leaves the last entry.
pub(super) fn last_seq(connection: &Connection) -> Result<u64, StoreError> {
    connection
        .query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get::<_, i64>(0))
        .map(|seq| seq as u64)
        .map_err(StoreError::sqlite("read the journal's end"))
}

fn quick_check(connection: &Connection, problems: &mut Vec<String>) {
    let mut found = Vec::new();
    let checked = each(connection, "PRAGMA quick_check(5)", "check the store's pages", |row| {
        found.push(text(row, 0).unwrap_or_else(|why| why));
    });
    if let Err(why) = checked {
        found.push(why.to_string());
    }
    if found != ["ok"] {
        problems.push(format!("the database is damaged: {}; run `serin fsck`", found.join("; ")));
    }
}

/// A table of names and JSON records.
#[derive(Clone, Copy)]
pub(super) struct Records {
    pub(super) select: &'static str,
    pub(super) keys: &'static [&'static str],
    pub(super) one: &'static str,
    pub(super) many: &'static str,
}

pub(super) const FUNCTIONS: Records = Records {
    select: "SELECT name, record FROM functions",
    keys: &["name"],
    one: "function",
    many: "functions",
};
pub(super) const VERSIONS: Records = Records {
    select: "SELECT function, number, record FROM versions",
    keys: &["function", "number"],
    one: "version",
    many: "versions",
};
pub(super) const EVENT_SOURCES: Records = Records {
    select: "SELECT id, record FROM event_sources",
    keys: &["id"],
    one: "event source mapping",
    many: "event source mappings",
};

/// Reads a table without which aliases cannot be served.
fn records<T: DeserializeOwned>(
    connection: &Connection,
    table: Records,
    loaded: &mut Loaded,
    name: impl Fn(&T) -> String,
) -> Result<Vec<T>, StoreError> {
    let (found, is_whole) = read_records(connection, table, &mut loaded.problems, name)?;
    loaded.is_damaged |= !is_whole;
    Ok(found)
}

/// Reads a table, leaving out and reporting what cannot be read; false if there was anything.
pub(super) fn read_records<T: DeserializeOwned>(
    connection: &Connection,
    table: Records,
    problems: &mut Vec<String>,
    name: impl Fn(&T) -> String,
) -> Result<(Vec<T>, bool), StoreError> {
    let mut found = Vec::new();
    let before = problems.len();
    let keys = table.keys.len();
    let scan = Scan { select: table.select, keys: table.keys, what: table.many };
    let trouble = scan.rows(connection, |row| {
        let filed = shown(row, keys);
        match json::<T>(row, keys) {
            Ok(value) if name(&value) == filed => found.push(value),
            Ok(value) => {
                let said = name(&value);
                problems.push(format!("{} {filed} cannot be read: it says that it is {said}", table.one));
            }
            Err(why) => problems.push(format!("{} {filed} cannot be read: {why}", table.one)),
        }
    })?;
    problems.extend(trouble);
    let is_whole = problems.len() == before;
    Ok((found, is_whole))
}

/// What the journal says of aliases.
#[derive(Default)]
pub(super) struct Told {
    /// What each became.
    pub(super) aliases: BTreeMap<AliasId, Alias>,
    /// Those that are gone.
    pub(super) deleted: BTreeSet<AliasId>,
    /// Those whose last entry cannot be read, by function and name as they are filed.
    pub(super) unreadable: BTreeMap<String, String>,
}

/// What the journal says each alias became.
pub(super) fn aliases_by_journal(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<Told, StoreError> {
    let mut last: BTreeMap<String, (i64, Result<Entry, String>)> = BTreeMap::new();
    let mut take = |row: &Row<'_>| {
        let seq = number(row, 0).unwrap_or(0);
        let entry = json::<Entry>(row, 1);
        let alias = format!("{}:{}", optional(row, 2), optional(row, 3));
        last.insert(alias, (seq, entry));
    };
    let quickly = "SELECT seq, entry, function, alias FROM events WHERE seq IN
                   (SELECT max(seq) FROM events WHERE tells_alias = 1 GROUP BY function, alias) ORDER BY seq";
    if let Err(why) = each(connection, quickly, "read the journal", &mut take) {
        // Without the index, which may be all that is damaged.
        problems.push(format!("the journal is read slowly, because {why}"));
        let mut rows: Vec<(i64, String, Result<Entry, String>)> = Vec::new();
        let select = "SELECT seq, entry, function, alias FROM events NOT INDEXED WHERE tells_alias = 1";
        let trouble = Scan { select, keys: &["seq"], what: "journal entries" }.rows(connection, |row| {
            let alias = format!("{}:{}", optional(row, 2), optional(row, 3));
            rows.push((number(row, 0).unwrap_or(0), alias, json(row, 1)));
        })?;
        problems.extend(trouble);
        rows.sort_by_key(|(seq, ..)| *seq);
        last.extend(rows.into_iter().map(|(seq, alias, entry)| (alias, (seq, entry))));
    }
    let mut told = Told::default();
    let mut entries = Vec::new();
    for (alias, (seq, entry)) in last {
        match entry {
            Ok(entry) if entry.seq.0 as i64 == seq => entries.push(entry),
            Ok(entry) => {
                let why = format!("journal entry {seq} says that it is entry {}", entry.seq.0);
                problems.push(why.clone());
                told.unreadable.insert(alias, why);
            }
            Err(why) => {
                let why = format!("journal entry {seq} cannot be read: {why}");
                problems.push(why.clone());
                told.unreadable.insert(alias, why);
            }
        }
    }
    entries.sort_by_key(|entry| entry.seq);
    let gone = entries.iter().filter(|entry| entry.what == Happening::AliasDeleted);
    told.deleted = gone
        .filter_map(|entry| Some(AliasId { function: entry.function.clone(), alias: entry.alias.clone()? }))
        .collect();
    told.aliases = fold(&entries);
    Ok(told)
}

fn optional(row: &Row<'_>, column: usize) -> String {
    let bytes = optional_bytes(row, column).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All aliases, as a scan reads them.
pub(super) const ALIASES: Scan<'static> = Scan {
    select: "SELECT function, name, function_version, additional_version, additional_weight, description, revision,
                    updated_at, previous_stable FROM aliases",
    keys: &["function", "name"],
    what: "aliases",
};

/// Reads an alias row; `Err` says in words what is wrong with it.
pub(super) fn alias_of(row: &Row<'_>) -> Result<StoredAlias, String> {
    let read = || {
        let version_number =
            |number: i64| u64::try_from(number).map(VersionNumber).map_err(|why| why.to_string());
        let (function, name) = (text(row, 0)?, text(row, 1)?);
        let id = AliasId {
            function: function.parse().map_err(|why| format!("its function {function:?}: {why}"))?,
            alias: name.parse().map_err(|why| format!("its name {name:?}: {why}"))?,
        };
        let function_version = match optional_number(row, 2)? {
            None => VersionId::Latest,
            Some(number) => version_number(number)?.into(),
        };
        let additional = match (optional_number(row, 3)?, optional_number(row, 4)?) {
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
            description: text(row, 5)?,
            revision: Revision(number(row, 6)? as u64),
            updated_at: Timestamp(number(row, 7)?),
        };
        let previous_stable = optional_number(row, 8)?.map(version_number).transpose()?;
        Ok(StoredAlias { alias, previous_stable, quarantine: None })
    };
    read().map_err(|why: String| format!("alias {} cannot be read: {why}", shown(row, 2)))
}

fn load_aliases(connection: &Connection, loaded: &mut Loaded) -> Result<(), StoreError> {
    let mut told = aliases_by_journal(connection, &mut loaded.problems)?;
    let (mut aliases, mut problems) = (Vec::new(), Vec::new());
    let mut is_damaged = false;
    let trouble = ALIASES.rows(connection, |row| match alias_of(row) {
        Err(why) => {
            is_damaged = true;
            problems.push(why);
        }
        Ok(mut stored) => {
            let said = told.aliases.remove(&stored.alias.id);
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
    })?;
    is_damaged |= trouble.is_some();
    problems.extend(trouble);
    for (id, alias) in told.aliases {
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
    loaded.aliases = aliases;
    loaded.deleted = told.deleted;
    loaded.problems.extend(problems);
    loaded.is_damaged |= is_damaged;
    Ok(())
}

/// All policies, as a scan reads them.
pub(super) const POLICIES: Scan<'static> = Scan {
    select: "SELECT function, scope, name, record FROM policies",
    keys: &["function", "scope", "name"],
    what: "policies",
};

/// Reads a policy row.
pub(super) fn policy_of(row: &Row<'_>) -> Result<(PolicyScope, Policy), String> {
    let read = || {
        let (function, kind, name) = (text(row, 0)?, text(row, 1)?, text(row, 2)?);
        let scope = match kind.as_str() {
            "version" => name.parse().ok().map(PolicyScope::Version),
            "alias" => name.parse().ok().map(PolicyScope::Alias),
            "function" => Some(PolicyScope::Function),
            _ => None,
        };
        let scope = scope.ok_or_else(|| format!("no policy can be of {kind} {name:?}"))?;
        let policy: Policy = json(row, 3)?;
        if policy.function.as_str() != function {
            return Err(format!("it says that it is of {}", policy.function));
        }
        Ok((scope, policy))
    };
    read().map_err(|why: String| {
        format!("the policy of {} cannot be read, and allows nothing: {why}", shown(row, 3))
    })
}

fn load_policies(connection: &Connection, loaded: &mut Loaded) -> Result<(), StoreError> {
    let trouble = POLICIES.rows(connection, |row| match policy_of(row) {
        Ok(policy) => loaded.policies.push(policy),
        Err(why) => loaded.problems.push(why),
    })?;
    loaded.problems.extend(trouble);
    Ok(())
}

/// All versions that were taken out of aliases, as a scan reads them.
pub(super) const REMEMBERED: Scan<'static> = Scan {
    select: "SELECT function, alias, version, ending FROM remembered",
    keys: &["function", "alias", "version"],
    what: "remembered versions",
};

/// Reads a row of what is remembered; what cannot be read of how it ended is taken for the worse.
pub(super) fn remembered_of(row: &Row<'_>) -> Result<(AliasId, VersionNumber, Ending), String> {
    let read = || {
        let (function, alias) = (text(row, 0)?, text(row, 1)?);
        let id = format!("{function}:{alias}").parse().map_err(|why| format!("its alias: {why}"))?;
        let version = u64::try_from(number(row, 2)?).map_err(|why| why.to_string())?;
        let ending = match text(row, 3).as_deref() {
            Ok("aborted") => Ending::Aborted,
            Ok(_) | Err(_) => Ending::RolledBack,
        };
        Ok((id, VersionNumber(version), ending))
    };
    read().map_err(|why: String| format!("what is remembered of {} cannot be read: {why}", shown(row, 3)))
}

fn load_remembered(connection: &Connection, loaded: &mut Loaded) -> Result<(), StoreError> {
    let trouble = REMEMBERED.rows(connection, |row| match remembered_of(row) {
        Ok(remembered) => loaded.remembered.push(remembered),
        Err(why) => loaded.problems.push(why),
    })?;
    loaded.problems.extend(trouble);
    Ok(())
}

const ROLLOUT_COLUMNS: &str = "r.id, r.function || ':' || r.alias, r.live, r.record, r.evidence,
                               p.digest, p.name, p.bytes, p.defaults_name, p.defaults, r.plan_digest";

/// A row of `ROLLOUT_COLUMNS`.
struct RolloutRow {
    id: String,
    alias: String,
    is_live: bool,
    rollout: Result<StoredRollout, String>,
}

fn rollout_of(row: &Row<'_>) -> RolloutRow {
    let read = || {
        let record: RolloutRecord = json(row, 3)?;
        if record.id.to_string() != shown(row, 1) {
            return Err(format!("it says that it is {}", record.id));
        }
        let evidence = optional_text(row, 4)?;
        let plan = plan_of(row, 5).map_err(|why| format!("the plan that it pinned: {why}"))?;
        Ok(StoredRollout { record, evidence, plan })
    };
    RolloutRow {
        id: shown(row, 1),
        alias: optional(row, 1),
        is_live: optional_number(row, 2).ok().flatten() != Some(0),
        rollout: read(),
    }
}

fn load_rollouts(connection: &Connection, loaded: &mut Loaded) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    let sql = format!(
        "SELECT {ROLLOUT_COLUMNS} FROM rollouts r LEFT JOIN plans p ON p.digest = r.plan_digest
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
         ORDER BY r.id"
    );
    if let Err(why) = each(connection, &sql, "read the rollouts", |row| rows.push(rollout_of(row))) {
        loaded.problems.push(format!("the rollouts are read slowly, because {why}"));
        rows.clear();
        let select = format!(
            "SELECT {ROLLOUT_COLUMNS} FROM rollouts r NOT INDEXED LEFT JOIN plans p ON p.digest = r.plan_digest"
        );
        let scan = Scan { select: &select, keys: &["r.id"], what: "rollouts" };
        let trouble = scan.rows(connection, |row| rows.push(rollout_of(row)))?;
        if let Some(why) = trouble {
            // The rollout of any alias with a canary may be among those.
            let split: Vec<AliasId> = (loaded.aliases.iter())
                .filter(|stored| stored.alias.routing.additional.is_some())
                .map(|stored| stored.alias.id.clone())
                .filter(|id| !rows.iter().any(|row| row.is_live && row.alias == id.to_string()))
                .collect();
            for id in split {
                loaded.quarantine(&id, &format!("alias {id} has a canary, and {why}"));
            }
            loaded.problems.push(why);
        }
        let newest: BTreeMap<String, String> =
            rows.iter().map(|row| (row.alias.clone(), row.id.clone())).collect();
        rows.retain(|row| row.is_live || newest.get(&row.alias) == Some(&row.id));
    }
    let mut rollouts = Vec::new();
    for row in rows {
        match row.rollout {
            Ok(stored) => rollouts.push(stored),
            Err(why) => {
                let why = format!("rollout {} of {} cannot be read: {why}", row.id, row.alias);
                if let (true, Ok(alias)) = (row.is_live, row.alias.parse()) {
                    loaded.quarantine(&alias, &why);
                }
                loaded.problems.push(why);
            }
        }
    }
    check_one_active(&rollouts, loaded);
    loaded.rollouts = rollouts;
    Ok(())
}

/// The greatest identifier of a rollout; one that cannot be read is no reason not to boot.
fn last_rollout(connection: &Connection) -> Option<RolloutId> {
    let last = connection.query_row("SELECT max(id) FROM rollouts", [], |row| Ok(optional_text(row, 0)));
    last.ok()?.ok()??.parse().ok().map(RolloutId)
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
        loaded.quarantine(&alias, &why);
        loaded.problems.push(why);
    }
}

/// Reads a pinned plan, whose bytes must be those that its digest is of.
pub(super) fn plan_of(row: &Row<'_>, first: usize) -> Result<PinnedPlan, String> {
    let Some(digest) = optional_text(row, first)? else { return Err("it is gone".to_owned()) };
    let name = text(row, first + 1)?;
    let bytes = optional_bytes(row, first + 2)?.ok_or("it has no bytes")?;
    let defaults = optional_text(row, first + 3)?.zip(optional_bytes(row, first + 4)?);
    let plan = PinnedPlan { digest, name, bytes, defaults };
    let found = digest_of(&plan);
    if found != plan.digest {
        return Err(format!("the plan {} has digest {found}, not {}", plan.name, plan.digest));
    }
    Ok(plan)
}

/// The digest of a plan whose rows are written by fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn plan_digest(bytes: &[u8], defaults: &[u8]) -> String {
    let unescaped = crate::store::rows::unescaped;
    let defaults = (!defaults.is_empty()).then(|| (String::new(), unescaped(defaults)));
    digest_of(&PinnedPlan { digest: String::new(), name: String::new(), bytes: unescaped(bytes), defaults })
}

fn digest_of(plan: &PinnedPlan) -> String {
    let mut hash = Sha256::new();
    hash.update(&plan.bytes);
    if let Some((_, defaults)) = &plan.defaults {
        // A zero byte stands between, so that no byte can move from one file to the other unnoticed.
        hash.update([0]);
        hash.update(defaults);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether an entry says what its alias became.
pub(super) fn tells_alias(entry: &Entry) -> bool {
    entry.alias_after.is_some() || entry.what == Happening::AliasDeleted
}
