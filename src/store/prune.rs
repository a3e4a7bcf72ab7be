//! Forgetting what nobody needs any more.
//!
//! Kept whatever its age: the last entry that tells what each alias became, every live rollout with its plan and its
//! entries, and of each alias the rollout that began last.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::StoreError;
use super::chain::{self, Chain, Key};
use serin_core::model::time::Timestamp;

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Entries of the journal.
    pub entries: usize,
    /// Rollouts that ended.
    pub rollouts: usize,
    /// Plans that no rollout pins any more.
    pub plans: usize,
    /// Replies to idempotency keys.
    pub replies: usize,
}

/// At most so many rows of a kind go in one transaction, so that a commit never waits long behind it.
const BATCH: u32 = 1000;

/// Removes a batch of what is older than `before`, and of replies older than `replies_before`.
pub(super) fn prune(
    connection: &mut Connection,
    chain: &mut Chain,
    before: Timestamp,
    replies_before: Timestamp,
) -> Result<Pruned, StoreError> {
    let failed = StoreError::sqlite("prune the store");
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    let delete = |sql: &str, at: Timestamp| transaction.execute(sql, params![at.0, BATCH]).map_err(&failed);
    let mut gone = Vec::new();
    let mut names = |kind: &'static chain::Sealed, sql: &str, values: &[&dyn rusqlite::ToSql]| {
        let mut statement = transaction.prepare(sql)?;
        let names = statement.query_map(values, |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        gone.extend(names.iter().map(|name| (kind, Key::text(&[name]))));
        Ok(names.len())
    };
    let rollouts = names(
        &chain::ROLLOUTS,
        "DELETE FROM rollouts WHERE id IN (
             SELECT id FROM rollouts r WHERE live = 0 AND updated_at < ?1
                AND EXISTS (SELECT 1 FROM rollouts n
                            WHERE n.function = r.function AND n.alias = r.alias AND n.id <> r.id
                              -- Another one that began is later, or this one never began.
                              AND (n.id > r.id OR CASE WHEN json_valid(r.record)
                                   THEN json_type(r.record, '$.committed') IS NOT 'object' ELSE 0 END)
                              AND CASE WHEN json_valid(n.record)
                                       THEN json_type(n.record, '$.committed') IS 'object' ELSE 0 END)
             LIMIT ?2) RETURNING id",
        params![before.0, BATCH],
    )
    .map_err(&failed)?;
    let entries = numbers(
        &transaction,
        "DELETE FROM events WHERE seq IN (
             SELECT seq FROM events e WHERE at < ?1
                AND seq < (SELECT max(seq) FROM events)
                AND NOT (tells_alias = 1 AND seq = (SELECT max(seq) FROM events l
                         WHERE l.tells_alias = 1 AND l.function = e.function AND l.alias = e.alias))
                AND (rollout IS NULL OR rollout NOT IN (SELECT id FROM rollouts))
             LIMIT ?2) RETURNING seq",
        params![before.0, BATCH],
    )
    .map_err(&failed)?;
    let plans = names(
        &chain::PLANS,
        "DELETE FROM plans WHERE digest NOT IN (SELECT plan_digest FROM rollouts) RETURNING digest",
        &[],
    )
    .map_err(&failed)?;
    let replies = delete(
        "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE at < ?1 LIMIT ?2)",
        replies_before,
    )?;
    if !entries.is_empty() {
        transaction
            .execute("INSERT INTO meta (key, value) VALUES ('pruned', '1') ON CONFLICT (key) DO NOTHING", [])
            .map_err(&failed)?;
    }
    let head = chain.prune(&transaction, &entries, &gone, BATCH)?;
    transaction.commit().map_err(&failed)?;
    head.iter().for_each(|head| chain.note(head));
    Ok(Pruned { entries: entries.len(), rollouts, plans, replies })
}

fn numbers(
    transaction: &Transaction<'_>,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Vec<i64>> {
    transaction.prepare(sql)?.query_map(values, |row| row.get(0))?.collect()
}
