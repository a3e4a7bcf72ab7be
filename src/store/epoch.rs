//! The epoch: which daemon the store belongs to, so that one that lost it can no longer commit.

use rusqlite::TransactionBehavior;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::chain::Chain;

/// The epoch of the last daemon that took the store over; none has where it is 0.
pub(super) fn epoch_in(connection: &Connection) -> Result<i64, StoreError> {
    let found = connection
        .query_row("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch'", [], |row| row.get(0))
        .optional()
        .map_err(StoreError::sqlite("read the store's epoch"))?;
    Ok(found.unwrap_or(0))
}

/// A store that was taken over.
pub(super) struct Taken {
    /// This daemon's epoch.
    pub(super) epoch: i64,
    /// The chain, taken up.
    pub(super) chain: Chain,
    /// What is wrong with the chain.
    pub(super) problem: Option<String>,
}

/// Raises the epoch, so that a daemon that lost the directory without noticing can no longer commit; `before` is what
/// it was when the store was read.
///
/// Only what is committed is told: an epoch in memory that is ahead of the disk would fence this very daemon.
pub(super) fn take_over(connection: &mut Connection, dir: &Path, before: i64) -> Result<Taken, StoreError> {
    let mut chain = Chain::of_directory(dir)?;
    let failed = StoreError::sqlite("take over the store");
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    if epoch_in(&transaction)? != before {
        return Err(StoreError::Fenced);
    }
    let epoch = before.saturating_add(1);
    transaction
        .execute(
            "INSERT INTO meta (key, value) VALUES ('epoch', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [epoch.to_string()],
        )
        .map_err(&failed)?;
    // Made once, by SQLite's own generator, which is seeded by the operating system.
    transaction
        .execute(
            "INSERT INTO meta (key, value) VALUES ('salt', hex(randomblob(32))) ON CONFLICT (key) DO NOTHING",
            [],
        )
        .map_err(&failed)?;
    // In the same step: a serin that kept no chain cannot write any more after it.
    let (head, trouble) = chain.take_up(&transaction)?;
    transaction.commit().map_err(&failed)?;
    chain.note(&head);
    let problem = trouble.map(|why| {
        format!("{why}; somebody else changed the store: `serin fsck` says what, and `--repair` accepts it")
    });
    Ok(Taken { epoch, chain, problem })
}
