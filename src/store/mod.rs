//! The store: SQLite in one file, owned by one daemon.
//!
//! It holds the only SQL of the house and speaks in domain words: a `Commit` goes in whole or not at all, `Loaded` comes
//! out at boot, `Reader` answers questions. One writer thread commits in groups (WAL, synchronous=FULL): what was
//! acknowledged survives `kill -9` and a power cut. It never decides anything.

mod apply;
mod backup;
mod change;
pub mod events;
mod fsck;
mod load;
pub mod logs;
mod open;
mod owner;
mod private;
mod prune;
mod read;
mod watch;
mod writer;

use std::path::PathBuf;

pub use backup::{copy_of, restore};
pub use change::{Commit, IdempotentReply, PinnedPlan, Write};
pub use fsck::{Finding, fsck};
pub use load::{Loaded, StoredAlias, StoredRollout};
pub use open::{SCHEMA_VERSION, Store};
pub use owner::holder_of;
pub use prune::Pruned;
pub use read::{EntryFilter, Reader, RolloutFilter};
pub use writer::Writer;
pub(crate) use writer::wait_for;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process owns the directory.
    #[error("{dir} is in use by {holder}; one daemon owns a data directory at a time")]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Who holds it, as they said.
        holder: String,
    },
    /// The directory or a file in it cannot be used.
    #[error("cannot {attempt} {path}")]
    File {
        /// What was tried.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A newer serin wrote the store.
    #[error(
        "{path} has schema {found}, and this serin knows schemas up to {known}; run the newer serin, or restore a \
         backup made before the upgrade. Nothing was changed"
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest this binary knows.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("{path} is not a serin store; point --data-dir at an empty directory or at serin's own")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// SQLite itself is one with a known corruption bug.
    #[error(
        "this build runs on SQLite {0}, which can corrupt a WAL database (fixed in 3.51.3); rebuild with a newer one"
    )]
    AffectedSqlite(String),
    /// No space is left.
    #[error("the disk of the data directory is full; free some space, serin goes on by itself")]
    Full,
    /// Another daemon has taken the store over.
    #[error("another daemon has taken over this data directory; this one must not write any more")]
    Fenced,
    /// An earlier write failed in a way after which SQLite must not be trusted.
    #[error("the store stopped writing after a failed sync to disk; check the disk, then restart serin")]
    Frozen,
    /// A row was not as the decision had found it.
    #[error("{0} changed while it was being decided about")]
    Stale(String),
    /// More comes than can be kept.
    #[error("more events wait than serin keeps; send it again later")]
    Busy,
    /// The writer is gone.
    #[error("the store is closed")]
    Closed,
    /// A statement failed.
    #[error("cannot {attempt}")]
    Sqlite {
        /// What was tried.
        attempt: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// A migration failed.
    #[error("cannot bring the store's schema up to date; the backup made before is beside it")]
    Migration {
        /// Why.
        source: rusqlite_migration::Error,
    },
    /// A stored value cannot be read.
    #[error("cannot read {what} in the store: {why}")]
    Unreadable {
        /// Which value.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

impl StoreError {
    pub(crate) fn sqlite(attempt: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full,
            _ => StoreError::Sqlite { attempt, source },
        }
    }

    pub(crate) fn file(
        attempt: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::File { attempt, path, source }
    }
}
