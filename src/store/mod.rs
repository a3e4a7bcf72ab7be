//! The store: SQLite in one file, owned by one daemon.
//!
//! It holds the only SQL of the house and speaks in domain words: a `Commit` goes in whole or not at all, `Loaded` comes
//! out at boot, `Reader` answers questions. One writer thread commits in groups (WAL, synchronous=FULL): what was
//! acknowledged survives `kill -9` and a power cut. It never decides anything.

mod apply;
mod backup;
mod chain;
mod cure;
mod database;
mod epoch;
pub mod events;
mod findings;
mod fsck;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzed;
mod header;
mod load;
pub mod logs;
mod mend;
mod migrate;
mod open;
mod owner;
mod private;
mod prune;
mod read;
mod rows;
mod spill;
mod watch;
mod writer;

use std::path::PathBuf;

pub use crate::store::database::SCHEMA_VERSION;
pub use crate::store::findings::Finding;
pub use backup::{copy_of, restore};
pub use fsck::{fsck, notes};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzed::{header_of, loaded_of};
pub use open::{Need, Store, is_used};
pub use owner::{holder_of, is_held_by_the_dying};
pub use prune::Pruned;
pub use read::Reader;
pub use spill::Spill;
pub use writer::Writer;
#[cfg(test)]
pub(crate) use writer::here::{Disk, Fate};
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
    /// A pipe is where a file belongs.
    #[error("{path} is a pipe, and serin would wait for ever for what comes out of it: take it away")]
    Pipe {
        /// Where.
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
    /// Something happened after which nothing more may be written; what, in a sentence.
    #[error("{0}")]
    Frozen(String),
    /// The files that are open are not those that are there any more.
    #[error(
        "{path} was removed or replaced while serin ran, so nothing more is written; {saved}. Stop serin, look after \
         the data directory, and start it again"
    )]
    Displaced {
        /// The file.
        path: PathBuf,
        /// What became of what had been acknowledged.
        saved: String,
    },
    /// A data directory that was used before has no store.
    #[error(
        "{path} is gone or empty, although this data directory has been used: put a backup in its place with \
         `serin restore --from BACKUP --data-dir {dir}`, or name a new directory"
    )]
    Gone {
        /// The database.
        path: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
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
    /// A sync failed: what SQLite believes to be on disk may not be.
    pub(crate) fn sync_failed() -> StoreError {
        let why = "the store stopped writing after a failed sync to disk; check the disk, then restart serin";
        StoreError::Frozen(why.to_owned())
    }

    pub(crate) fn sqlite(attempt: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
        move |source| match source.sqlite_error() {
            // The index of the log is a file that grows, too, and its growth fails without saying why.
            Some(error)
                if error.code == rusqlite::ErrorCode::DiskFull
                    || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE =>
            {
                StoreError::Full
            }
            _ => StoreError::Sqlite { attempt, source },
        }
    }

    /// Whether the file is somebody else's: it is left exactly as it is.
    pub fn is_refusal(&self) -> bool {
        use StoreError::{AffectedSqlite, Fenced, Foreign, Held, NewerSchema, Pipe};
        matches!(
            self,
            AffectedSqlite(_) | Fenced | Foreign { .. } | Held { .. } | NewerSchema { .. } | Pipe { .. }
        )
    }

    pub(crate) fn file(
        attempt: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::File { attempt, path, source }
    }
}

/// An error and what caused it, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
