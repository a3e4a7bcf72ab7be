//! Checking a whole store against its own journal and the invariants.
//!
//! Every table is read to its end, whatever stands in it. What can be mended from the rest is `mend`'s.

use super::rows::shown_at;
use crate::store::database::objects_of;
use crate::store::findings::{Finding, Found};
use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::backup::{finish_restore, refuse_absent};
use super::chain::{self, Chain};
use super::header;
use super::load::{
    ALIASES, EVENT_SOURCES, FUNCTIONS, POLICIES, REMEMBERED, Records, Told, VERSIONS, alias_of,
    aliases_by_journal, plan_of, policy_of, read_records, read_uptime, remembered_of,
};
use super::mend::mend;
use super::owner::Ownership;
use super::rows::{Scan, each, json, number, optional_number, optional_text, shown, text};
use super::{StoreError, private};
use crate::store::cure::Cure;
use crate::store::database::{
    DATABASE_FILE, SCHEMA_VERSION, connect_for_reading, connect_for_writing, made_by_serin, schema_of,
};
use crate::store::migrate::migrate;
use serin_core::analysis::evidence::Evidence;
use serin_core::journal::Entry;
use serin_core::lambda::alias::AliasId;
use serin_core::lambda::event_source::EventSource;
use serin_core::lambda::function::{Function, Version};
use serin_core::model::actor::Actor;
use serin_core::model::time::Timestamp;
use serin_core::plan::{self, Source};
use serin_core::ports::StoredAlias;
use serin_core::rollout::RolloutRecord;

/// Checks the store of a data directory; with `repair`, mends what the rest of it says how to.
///
/// Checking works beside a running daemon. Repairing needs the directory to itself; `at` and `holder` say when and who.
pub fn fsck(dir: &Path, repair: Option<(Timestamp, &str, &Actor)>) -> Result<Vec<Finding>, StoreError> {
    private::refuse_pipes(dir)?;
    let path = dir.join(DATABASE_FILE);
    let Some((at, holder, actor)) = repair else {
        refuse_absent(&path)?;
        let connection = connect_for_reading(&path)?;
        return Ok(check_whole(&connection, dir)?.findings);
    };
    header::check(&path)?;
    let _ownership = Ownership::take(dir, holder)?;
    finish_restore(dir)?;
    refuse_absent(&path)?;
    let mut connection = connect_for_writing(&path)?;
    migrate(&mut connection, dir, &path)?;
    // Before anything of serin's own is written.
    let before = check_whole(&connection, dir)?;
    let mut failures = mend(&mut connection, dir, &before, at, actor);
    // Mending an alias may have left a rollout behind that counts on something else, and is mended, too.
    let between = check(&connection)?;
    failures.extend(mend(&mut connection, dir, &between, at, actor));
    accept_rest(&mut connection, dir)?;
    let after = check_whole(&connection, dir)?;
    let mut findings = before.findings;
    findings
        .extend(between.findings.into_iter().filter(|found| !findings.contains(found)).collect::<Vec<_>>());
    findings
        .extend(after.findings.iter().filter(|found| !findings.contains(found)).cloned().collect::<Vec<_>>());
    for finding in &mut findings {
        finding.repaired = !after.findings.iter().any(|left| left.text == finding.text);
    }
    findings.extend(failures.into_iter().map(|text| Finding { text, repaired: false }));
    Ok(findings)
}

/// What a check should tell that is not wrong: from where on the chain of the journal vouches for the store.
pub fn notes(dir: &Path) -> Result<Vec<String>, StoreError> {
    chain::notes(&connect_for_reading(&dir.join(DATABASE_FILE))?, dir)
}

/// Takes the chain up, or begins it, and accepts in it what was found and mended.
fn accept_rest(connection: &mut Connection, dir: &Path) -> Result<(), StoreError> {
    let failed = StoreError::sqlite("accept in the journal's chain what was mended");
    let mut chain = Chain::of_directory(dir)?;
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    let (mut head, _) = chain.take_up(&transaction)?;
    let unsealed = chain::check(&transaction, dir)?;
    head = chain.accept(&transaction, unsealed)?.unwrap_or(head);
    transaction.commit().map_err(&failed)?;
    chain.note(&head);
    Ok(())
}

fn check_whole(connection: &Connection, dir: &Path) -> Result<Found, StoreError> {
    let mut found = check(connection)?;
    let unsealed = chain::check(connection, dir)?;
    if !unsealed.has_gaps {
        check_numbers(connection, &mut found);
    }
    unsealed.findings.into_iter().for_each(|why| found.say(why));
    Ok(found)
}

fn check(connection: &Connection) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let is_damaged = check_pages(connection, &mut found);
    if is_damaged {
        found.cures.push(Cure::Reindex);
    }
    let references = each(connection, "PRAGMA foreign_key_check", "check the store's references", |row| {
        let (table, parent) = (shown_at(row, 0), shown_at(row, 2));
        found.say(format!("a row of {table} names a row of {parent} that is not there"));
    });
    if let Err(why) = references {
        found.say(why.to_string());
    }
    if schema_of(connection)? == SCHEMA_VERSION {
        check_schema(connection, &mut found)?;
    }
    check_settings(connection, &mut found)?;
    check_records(connection, &mut found)?;
    check_journal(connection, &mut found)?;
    let aliases = check_aliases(connection, &mut found)?;
    check_plans(connection, &mut found)?;
    check_rollouts(connection, &aliases, &mut found)?;
    check_texts(connection, &mut found)?;
    Ok(found)
}

/// Whether any page is bad.
fn check_pages(connection: &Connection, found: &mut Found) -> bool {
    let before = found.findings.len();
    let checked = each(connection, "PRAGMA integrity_check(20)", "check the store's pages", |row| {
        let verdict = text(row, 0).unwrap_or_else(|why| why);
        if verdict != "ok" {
            found.say(format!("page check: {verdict}"));
        }
    });
    if let Err(why) = checked {
        found.say(format!("page check: {why}"));
    }
    found.findings.len() > before
}

/// Tables, indexes and triggers are those that serin makes: without them any hand could write.
fn check_schema(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let (wanted, there) = (made_by_serin()?, objects_of(connection)?);
    for (name, sql) in &wanted {
        match there.get(name) {
            Some(found_sql) if found_sql == sql => {}
            Some(_) => found.say(format!("{name} is not as serin makes it: somebody changed the schema")),
            None => found.say(format!("{name} is missing: somebody changed the schema")),
        }
    }
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        found.say(format!("{name} is not serin's: somebody changed the schema"));
    }
    Ok(())
}

fn check_settings(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let scan = Scan { select: "SELECT key, value FROM meta", keys: &["key"], what: "settings" };
    let trouble = scan.rows(connection, |row| {
        let key = shown(row, 1);
        match text(row, 1) {
            Ok(value) if key == "uptime_ms" && !read_uptime(&value).1 => {
                found.curable(format!("the stored uptime {value:?} is damaged"), Cure::Uptime);
            }
            Ok(_) => {}
            Err(why) => found.say(format!("setting {key} cannot be read: {why}")),
        }
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    Ok(())
}

fn check_records(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let mut problems = Vec::new();
    read_records(connection, FUNCTIONS, &mut problems, |function: &Function| function.name.to_string())?;
    read_records(connection, VERSIONS, &mut problems, |version: &Version| {
        format!("{}:{}", version.function, version.number)
    })?;
    problems.into_iter().for_each(|why| found.say(why));
    check_event_sources(connection, EVENT_SOURCES, found)?;
    let trouble = POLICIES.rows(connection, |row| {
        if let Err(why) = policy_of(row) {
            found.curable(why, Cure::set_aside(row, "policies", POLICIES.keys));
        }
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    let trouble = REMEMBERED.rows(connection, |row| {
        if let Err(why) = remembered_of(row) {
            found.curable(why, Cure::set_aside(row, "remembered", REMEMBERED.keys));
        }
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    Ok(())
}

fn check_event_sources(connection: &Connection, table: Records, found: &mut Found) -> Result<(), StoreError> {
    let scan = Scan { select: table.select, keys: table.keys, what: table.many };
    let trouble = scan.rows(connection, |row| {
        let filed = shown(row, 1);
        let why = match json::<EventSource>(row, 1) {
            Ok(source) if source.id.to_string() == filed => return,
            Ok(source) => format!("it says that it is {}", source.id),
            Err(why) => why,
        };
        let text = format!("{} {filed} cannot be read: {why}", table.one);
        found.curable(text, Cure::set_aside(row, "event_sources", table.keys));
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    Ok(())
}

/// Every entry can be read.
fn check_journal(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let scan =
        Scan { select: "SELECT seq, entry FROM events NOT INDEXED", keys: &["seq"], what: "journal entries" };
    let trouble = scan.rows(connection, |row| {
        let seq = number(row, 0).unwrap_or(0);
        match json::<Entry>(row, 1) {
            Ok(entry) if entry.seq.0 as i64 == seq => {}
            Ok(entry) => found.say(format!("journal entry {seq} says that it is entry {}", entry.seq.0)),
            Err(why) => found.say(format!("journal entry {seq} cannot be read: {why}")),
        }
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    Ok(())
}

/// Sequence numbers have no gap, unless pruning made it.
fn check_numbers(connection: &Connection, found: &mut Found) {
    let pruned = each_count(connection, "SELECT count(*) FROM meta WHERE key = 'pruned'");
    let count = each_count(connection, "SELECT count(*) FROM events NOT INDEXED");
    let last = each_count(connection, "SELECT coalesce(max(seq), 0) FROM events NOT INDEXED");
    if pruned == 0 && count != last {
        found.say(format!("the journal has {count} entries and ends at {last}: entries are missing"));
    }
}

fn each_count(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap_or(0)
}

fn check_aliases(
    connection: &Connection,
    found: &mut Found,
) -> Result<BTreeMap<AliasId, StoredAlias>, StoreError> {
    // Entries that cannot be read have been told of already.
    let Told { aliases: mut told, unreadable, .. } = aliases_by_journal(connection, &mut Vec::new())?;
    let mut rows = BTreeMap::new();
    let trouble = ALIASES.rows(connection, |row| match alias_of(row) {
        Ok(stored) => _ = rows.insert(stored.alias.id.clone(), stored),
        Err(why) => {
            // A row that has its name is rebuilt under it; any other one is in the way.
            let is_told = told.keys().any(|id| id.to_string() == shown(row, 2));
            let cure = (!is_told).then(|| Cure::set_aside(row, "aliases", ALIASES.keys));
            found.say(why);
            found.cures.extend(cure);
        }
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    for (id, stored) in &rows {
        let said = told.remove(id);
        if said.as_ref() == Some(&stored.alias) {
            continue;
        }
        let by_journal = match (&said, unreadable.get(&id.to_string())) {
            (Some(alias), _) => format!("{} at revision {} by the journal", alias.routing, alias.revision.0),
            (None, Some(why)) => format!("unknown by the journal, because {why}"),
            (None, None) => "nothing by the journal".to_owned(),
        };
        let text = format!(
            "alias {id} is {} at revision {} in the store, and {by_journal}",
            stored.alias.routing, stored.alias.revision.0
        );
        let cure = match said {
            Some(alias) => Cure::Alias(Box::new(alias)),
            None => Cure::ToStable(id.clone()),
        };
        found.curable(text, cure);
    }
    for (id, alias) in told {
        let text = format!("alias {id} has no readable row, and is {} by the journal", alias.routing);
        found.curable(text, Cure::Alias(Box::new(alias)));
    }
    Ok(rows)
}

fn check_plans(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let select = "SELECT digest, name, bytes, defaults_name, defaults FROM plans";
    let trouble = Scan { select, keys: &["digest"], what: "pinned plans" }.rows(connection, |row| {
        if let Err(why) = plan_of(row, 0) {
            found.say(format!("the pinned plan {} cannot be read: {why}", shown_at(row, 1)));
        }
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    Ok(())
}

fn check_rollouts(
    connection: &Connection,
    aliases: &BTreeMap<AliasId, StoredAlias>,
    found: &mut Found,
) -> Result<(), StoreError> {
    let select = "SELECT r.id, r.function, r.alias, r.live, r.phase, r.record, r.evidence,
                         p.digest, p.name, p.bytes, p.defaults_name, p.defaults
                  FROM rollouts r NOT INDEXED LEFT JOIN plans p ON p.digest = r.plan_digest";
    let mut active: BTreeMap<AliasId, RolloutRecord> = BTreeMap::new();
    let trouble = Scan { select, keys: &["r.id"], what: "rollouts" }.rows(connection, |row| {
        let (id, alias) = (shown(row, 1), format!("{}:{}", shown_at(row, 1), shown_at(row, 2)));
        let is_live = optional_number(row, 3).ok().flatten() != Some(0);
        let record = match json::<RolloutRecord>(row, 5) {
            Ok(record) if record.id.to_string() == id => record,
            Ok(record) => {
                let text =
                    format!("rollout {id} of {alias} cannot be read: it says that it is {}", record.id);
                return found.curable(text, Cure::forget_rollout(row, &alias));
            }
            Err(why) => {
                let text = format!("rollout {id} of {alias} cannot be read: {why}");
                return found.curable(text, Cure::forget_rollout(row, &alias));
            }
        };
        let phase = optional_text(row, 4).ok().flatten().unwrap_or_default();
        if record.phase.name() != phase || record.phase.is_final() == is_live {
            let text = format!("rollout {id} is filed as {phase}, and says it is {}", record.phase.name());
            found.curable(text, Cure::Refile(Box::new(record.clone())));
        }
        if record.phase.is_final() {
            return;
        }
        if let Err(why) = can_be_judged(row) {
            let text = format!("rollout {id} of {alias} cannot be judged: {why}");
            return found.curable(text, Cure::end(&record, &why));
        }
        if !record.phase.is_active() {
            return;
        }
        match active.get(&record.alias) {
            Some(other) => {
                let text = format!("{} has two active rollouts, {} and {id}", other.alias, other.id);
                found.curable(text, Cure::end(&record, "another one was active"));
            }
            None => _ = active.insert(record.alias.clone(), record),
        }
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    for (id, record) in active {
        let Some(stored) = aliases.get(&id) else {
            let text = format!("rollout {} is active on {id}, which is not there", record.id);
            found.curable(text, Cure::end(&record, "its alias is not there"));
            continue;
        };
        if record.known_routing() != Some(stored.alias.routing) {
            let counted = record.known_routing().map_or("nothing".to_owned(), |routing| routing.to_string());
            let text = format!(
                "alias {id} is {}, and its rollout {} counts on {counted}",
                stored.alias.routing, record.id
            );
            found.curable(text, Cure::end(&record, "its alias is not what it counts on"));
        }
    }
    Ok(())
}

/// Whether whoever starts on this store can go on with a rollout.
fn can_be_judged(row: &rusqlite::Row<'_>) -> Result<(), String> {
    if let Some(evidence) = optional_text(row, 6)? {
        serde_json::from_str::<Evidence>(&evidence).map_err(|why| format!("its evidence: {why}"))?;
    }
    let pinned = plan_of(row, 7).map_err(|why| format!("the plan that it pinned: {why}"))?;
    let source = Source::new(format!("{}.yaml", pinned.name), pinned.bytes);
    let defaults = pinned.defaults.map(|(name, bytes)| Source::new(format!("{name}.yaml"), bytes));
    plan::load(&source, defaults.as_ref()).map(|_| ()).map_err(|faults| {
        let first = faults.first().map(ToString::to_string).unwrap_or_default();
        format!("the plan that it pinned: {first}")
    })
}

/// What is only text.
fn check_texts(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let counts = Scan {
        select: "SELECT rollout, start, blocks FROM counts",
        keys: &["rollout", "start"],
        what: "counts",
    };
    let trouble = counts.rows(connection, |row| {
        if let Err(why) = text(row, 0).and_then(|_| text(row, 2)) {
            let text = format!("the counts {} cannot be read: {why}", shown(row, 2));
            found.curable(text, Cure::set_aside(row, "counts", counts.keys));
        }
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    let replies = Scan {
        select: "SELECT key, fingerprint, reply, at FROM idempotency",
        keys: &["key"],
        what: "replies to idempotency keys",
    };
    let trouble = replies.rows(connection, |row| {
        if let Err(why) =
            text(row, 0).and_then(|_| text(row, 1)).and_then(|_| json::<serde_json::Value>(row, 2))
        {
            let text = format!("the reply to idempotency key {} cannot be read: {why}", shown(row, 1));
            found.curable(text, Cure::set_aside(row, "idempotency", replies.keys));
        }
    })?;
    trouble.into_iter().for_each(|why| found.say(why));
    Ok(())
}
