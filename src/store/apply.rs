//! A change as SQL.

use rusqlite::{Transaction, params};
use serde::Serialize;

use super::StoreError;
use super::chain::{self, Chain, Head, Key, Touched};
use super::load::{tells_alias, written_uptime};
use super::watch;
use serin_core::journal::Entry;
use serin_core::lambda::alias::{Alias, AliasId};
use serin_core::lambda::function::Revision;
use serin_core::lambda::policy::PolicyScope;
use serin_core::model::arn::VersionNumber;
use serin_core::ports::{Commit, Write};
use serin_core::rollout::Ending;

/// Writes a change and what the chain says of it; gives the newest link if there is a new one.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    commit: &Commit,
    chain: &Chain,
) -> Result<Option<Head>, StoreError> {
    let mut touched = Touched::default();
    for write in &commit.writes {
        touch(transaction, write, &mut touched)?;
        apply_write(transaction, write)?;
    }
    for entry in &commit.entries {
        insert_entry(transaction, entry)?;
    }
    for reply in &commit.replies {
        execute(
            transaction,
            "keep a reply for its idempotency key",
            "INSERT INTO idempotency (key, fingerprint, reply, at) VALUES (?1, ?2, ?3, ?4)",
            params![reply.key, reply.fingerprint, reply.reply, reply.at.0],
        )?;
    }
    execute(
        transaction,
        "keep the daemon's uptime",
        "INSERT INTO meta (key, value) VALUES ('uptime_ms', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![written_uptime(commit.uptime)],
    )?;
    let entries: Vec<i64> = commit.entries.iter().map(|entry| entry.seq.0 as i64).collect();
    chain.append(transaction, &entries, &touched)
}

/// Notes which rows a write will have made or deleted, but for what the chain does not vouch for.
fn touch(transaction: &Transaction<'_>, write: &Write, touched: &mut Touched) -> Result<(), StoreError> {
    let of_alias = |id: &AliasId| Key::text(&[id.function.as_str(), id.alias.as_str()]);
    let watch_of = |id: &AliasId| Key::text(&[&format!("watch/{}", watch::name(id))]);
    match write {
        Write::PutFunction(function) => touched.add(&chain::FUNCTIONS, Key::text(&[function.name.as_str()])),
        Write::DeleteFunction { name, .. } => touched.add(&chain::FUNCTIONS, Key::text(&[name.as_str()])),
        Write::PutVersion(version) => {
            let key = Key::text(&[version.function.as_str()]).and(number(version.number));
            touched.add(&chain::VERSIONS, key);
        }
        Write::DeleteVersion(function, version) => {
            touched.add(&chain::VERSIONS, Key::text(&[function.as_str()]).and(number(*version)));
        }
        Write::PutAlias { alias, .. } => touched.add(&chain::ALIASES, of_alias(&alias.id)),
        Write::DeleteAlias(id) => {
            touched.add(&chain::ALIASES, of_alias(id));
            touched.add(&chain::WATCHES, watch_of(id));
            let failed = StoreError::sqlite("read an alias's past");
            let mut past = transaction
                .prepare_cached("SELECT version FROM remembered WHERE function = ?1 AND alias = ?2")
                .map_err(&failed)?;
            let versions = past.query_map(params![id.function.as_str(), id.alias.as_str()], |row| row.get(0));
            let versions = versions.and_then(Iterator::collect::<Result<Vec<i64>, _>>).map_err(&failed)?;
            for version in versions {
                touched.add(&chain::REMEMBERED, of_alias(id).and(version));
            }
        }
        Write::PutPolicy(scope, policy) => {
            let key = Key::text(&[policy.function.as_str(), scope_kind(scope), &scope.to_string()]);
            touched.add(&chain::POLICIES, key);
        }
        Write::DeletePolicy(function, scope) => {
            let key = Key::text(&[function.as_str(), scope_kind(scope), &scope.to_string()]);
            touched.add(&chain::POLICIES, key);
        }
        Write::PutEventSource(source) => {
            touched.add(&chain::EVENT_SOURCES, Key::text(&[&source.id.to_string()]));
        }
        Write::DeleteEventSource(id) => touched.add(&chain::EVENT_SOURCES, Key::text(&[&id.to_string()])),
        Write::PutPlan(plan) => touched.add(&chain::PLANS, Key::text(&[&plan.digest])),
        Write::PutRollout { record, .. } => {
            touched.add(&chain::ROLLOUTS, Key::text(&[&record.id.to_string()]));
        }
        Write::PutWatch { alias, .. } => touched.add(&chain::WATCHES, watch_of(alias)),
        Write::Remember { alias, version, .. } => {
            touched.add(&chain::REMEMBERED, of_alias(alias).and(number(*version)));
        }
        Write::PutCounts { .. } | Write::PutDay { .. } => {}
    }
    Ok(())
}

fn apply_write(transaction: &Transaction<'_>, write: &Write) -> Result<(), StoreError> {
    let run = |attempt, sql, values: &[&dyn rusqlite::ToSql]| execute(transaction, attempt, sql, values);
    match write {
        Write::PutFunction(function) => run(
            "store a function",
            "INSERT INTO functions (name, record) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET record = excluded.record",
            params![function.name.as_str(), json(function)],
        ),
        Write::DeleteFunction { name, last_version } => {
            run(
                "keep what a function counted to",
                "INSERT INTO meta (key, value) VALUES ('versions/' || ?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![name.as_str(), last_version.to_string()],
            )?;
            run("delete a function", "DELETE FROM functions WHERE name = ?1", params![name.as_str()])
        }
        Write::PutVersion(version) => run(
            "store a version",
            "INSERT INTO versions (function, number, record) VALUES (?1, ?2, ?3)",
            params![version.function.as_str(), number(version.number), json(version)],
        ),
        Write::DeleteVersion(function, version) => run(
            "delete a version",
            "DELETE FROM versions WHERE function = ?1 AND number = ?2",
            params![function.as_str(), number(*version)],
        ),
        Write::PutAlias { alias, previous_stable, expected } => {
            return put_alias(transaction, alias, *previous_stable, *expected);
        }
        Write::DeleteAlias(id) => {
            let key = params![id.function.as_str(), id.alias.as_str()];
            let prefix = watch::name(id);
            run(
                "forget an alias's watch",
                "DELETE FROM meta WHERE key = 'watch/' || ?1 OR substr(key, 1, length(?1) + 6) = 'days/' || ?1 || '/'",
                params![prefix],
            )?;
            run("forget an alias's past", "DELETE FROM remembered WHERE function = ?1 AND alias = ?2", key)?;
            run("delete an alias", "DELETE FROM aliases WHERE function = ?1 AND name = ?2", key)
        }
        Write::PutPolicy(scope, policy) => run(
            "store a policy",
            "INSERT INTO policies (function, scope, name, record) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (function, scope, name) DO UPDATE SET record = excluded.record",
            params![policy.function.as_str(), scope_kind(scope), scope.to_string(), json(policy)],
        ),
        Write::DeletePolicy(function, scope) => run(
            "delete a policy",
            "DELETE FROM policies WHERE function = ?1 AND scope = ?2 AND name = ?3",
            params![function.as_str(), scope_kind(scope), scope.to_string()],
        ),
        Write::PutEventSource(source) => run(
            "store an event source mapping",
            "INSERT INTO event_sources (id, record) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            params![source.id.to_string(), json(source)],
        ),
        Write::DeleteEventSource(id) => run(
            "delete an event source mapping",
            "DELETE FROM event_sources WHERE id = ?1",
            params![id.to_string()],
        ),
        Write::PutPlan(plan) => run(
            "pin a plan",
            "INSERT INTO plans (digest, name, bytes, defaults_name, defaults) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (digest) DO NOTHING",
            params![
                plan.digest,
                plan.name,
                plan.bytes,
                plan.defaults.as_ref().map(|(name, _)| name),
                plan.defaults.as_ref().map(|(_, bytes)| bytes),
            ],
        ),
        Write::PutRollout { record, evidence } => run(
            "store a rollout",
            "INSERT INTO rollouts (id, function, alias, phase, live, updated_at, plan_digest, record, evidence)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (id) DO UPDATE SET function = excluded.function, alias = excluded.alias,
                 phase = excluded.phase, live = excluded.live, plan_digest = excluded.plan_digest,
                 updated_at = excluded.updated_at, record = excluded.record,
                 evidence = coalesce(excluded.evidence, evidence)",
            params![
                record.id.to_string(),
                record.alias.function.as_str(),
                record.alias.alias.as_str(),
                record.phase.name(),
                !record.phase.is_final(),
                record.updated_at.0,
                record.plan_digest,
                json(record),
                evidence,
            ],
        ),
        Write::PutCounts { rollout, row } => run(
            "store counts",
            "INSERT INTO counts (rollout, start, blocks) VALUES (?1, ?2, ?3)
             ON CONFLICT (rollout, start) DO UPDATE SET blocks = excluded.blocks",
            params![rollout.to_string(), row.start.0 as i64, row.text],
        ),
        Write::PutWatch { alias, watch: None } => run(
            "forget the watch of an alias",
            "DELETE FROM meta WHERE key = 'watch/' || ?1",
            params![watch::name(alias)],
        ),
        Write::PutWatch { alias, watch: Some(watch) } => run(
            "store the watch of an alias",
            "INSERT INTO meta (key, value) VALUES ('watch/' || ?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            params![watch::name(alias), json(watch)],
        ),
        Write::PutDay { alias, day, blocks } => {
            // Days beyond those that anything is compared with make room.
            run(
                "forget old days of an alias",
                "DELETE FROM meta WHERE substr(key, 1, length(?1) + 6) = 'days/' || ?1 || '/'
                     AND CAST(substr(key, length(?1) + 7) AS INTEGER) < ?2",
                params![watch::name(alias), day - watch::DAYS_KEPT],
            )?;
            run(
                "store a day of an alias",
                "INSERT INTO meta (key, value) VALUES ('days/' || ?1 || '/' || ?2, ?3)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![watch::name(alias), day, json(blocks)],
            )
        }
        Write::Remember { alias, version, ending } => run(
            "remember a version that was taken out",
            "INSERT INTO remembered (function, alias, version, ending) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (function, alias, version) DO UPDATE SET ending = excluded.ending",
            params![alias.function.as_str(), alias.alias.as_str(), number(*version), ending_name(*ending)],
        ),
    }
    .map(|_| ())
}

fn put_alias(
    transaction: &Transaction<'_>,
    alias: &Alias,
    previous_stable: Option<VersionNumber>,
    expected: Option<Revision>,
) -> Result<(), StoreError> {
    let additional = alias.routing.additional;
    let values = params![
        alias.id.function.as_str(),
        alias.id.alias.as_str(),
        alias.routing.function_version.number().map(number),
        additional.map(|additional| number(additional.version)),
        additional.map(|additional| additional.weight.ppm()),
        alias.description,
        alias.revision.0 as i64,
        alias.updated_at.0,
        previous_stable.map(number),
        expected.map(|revision| revision.0 as i64),
    ];
    let sql = match expected {
        None => {
            "INSERT INTO aliases (function, name, function_version, additional_version, additional_weight, description,
                                  revision, updated_at, previous_stable)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE ?10 IS NULL"
        }
        Some(_) => {
            "UPDATE aliases SET function_version = ?3, additional_version = ?4, additional_weight = ?5,
                                description = ?6, revision = ?7, updated_at = ?8, previous_stable = ?9
             WHERE function = ?1 AND name = ?2 AND revision = ?10"
        }
    };
    match execute(transaction, "store an alias", sql, values)? {
        1 => Ok(()),
        _ => Err(StoreError::Stale(format!("alias {}", alias.id))),
    }
}

pub(super) fn insert_entry(transaction: &Transaction<'_>, entry: &Entry) -> Result<(), StoreError> {
    execute(
        transaction,
        "write the journal",
        "INSERT INTO events (seq, at, function, alias, rollout, tells_alias, entry) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            entry.seq.0 as i64,
            entry.at.0,
            entry.function.as_str(),
            entry.alias.as_ref().map(|alias| alias.as_str()),
            entry.rollout.map(|id| id.to_string()),
            tells_alias(entry),
            json(entry),
        ],
    )
    .map(|_| ())
}

fn execute(
    transaction: &Transaction<'_>,
    attempt: &'static str,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<usize, StoreError> {
    let failed = StoreError::sqlite(attempt);
    transaction.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(failed)
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("domain records have string keys and no failing serializers")
}

pub(super) fn number(version: VersionNumber) -> i64 {
    i64::try_from(version.0).unwrap_or(i64::MAX)
}

pub(super) fn scope_kind(scope: &PolicyScope) -> &'static str {
    match scope {
        PolicyScope::Function => "function",
        PolicyScope::Version(_) => "version",
        PolicyScope::Alias(_) => "alias",
    }
}

fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::RolledBack => "rolledBack",
        Ending::Aborted | Ending::Superseded => "aborted",
    }
}
