//! Copies of the whole store: made while the daemon runs, put back while it does not.
//!
//! A copy is made in the data directory, where nobody else comes, and has no name when it is handed out: whoever wants it
//! under one writes it there with their own rights. Environments of functions are in it; keys are in no table.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::open::{DATABASE_FILE, check_schema, connect_for_reading};
use super::owner::Ownership;
use super::{Reader, StoreError, private};

/// What copies are called while they are made.
const UNFINISHED: &str = "serin.db.copying-";
static COPIES: AtomicU64 = AtomicU64::new(0);

/// Writes a consistent copy to a file that does not exist yet, and syncs it; the file is nobody else's.
pub(super) fn copy_whole(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { attempt: "write the backup to", path: to.to_owned(), source };
    let target = to.to_str().ok_or_else(|| failed(std::io::Error::other("the path is not UTF-8")))?;
    // SQLite takes a file that is there if it is empty.
    let copy = private::new_file(to).map_err(failed)?;
    // A connection that must not write may still copy: what it writes is another file.
    let _ = connection.pragma_update(None, "query_only", "off");
    connection.execute("VACUUM INTO ?1", [target]).map_err(StoreError::sqlite("copy the store"))?;
    copy.sync_all().map_err(StoreError::file("sync", to))
}

/// Copies the store of a data directory, whether or not a daemon runs on it; the copy has no name.
pub fn copy_of(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(DATABASE_FILE);
    let connection = connect_for_reading(&path)?;
    check_schema(&connection, &path)?;
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    let unfinished = dir.join(format!("{UNFINISHED}{}-{number}", std::process::id()));
    let copied = copy_whole(&connection, &unfinished)
        .and_then(|()| File::open(&unfinished).map_err(StoreError::file("open", &unfinished)));
    let removed = std::fs::remove_file(&unfinished);
    let copy = copied?;
    removed.map_err(StoreError::file("take the name from", &unfinished))?;
    Ok(copy)
}

impl Reader {
    /// Copies the whole store, without keeping the writer waiting; the copy has no name. Blocks on the disk.
    pub fn copy(&self) -> Result<File, StoreError> {
        copy_of(self.directory())
    }
}

/// Removes what copies that were cut off have left behind; one that cannot be removed is only a waste of space.
pub(super) fn remove_unfinished(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Puts a backup in the place of a data directory's store, keeping the old one beside it.
///
/// Refused while a daemon runs on the directory, and for a file that is not a sound serin store. Tells where the old
/// store is kept, if there was one.
pub fn restore(dir: &Path, from: &Path, holder: &str) -> Result<Option<PathBuf>, StoreError> {
    let copy = connect_for_reading(from)?;
    check_schema(&copy, from)?;
    let verdict: String = copy
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(StoreError::sqlite("check the backup"))?;
    if verdict != "ok" {
        return Err(StoreError::Unreadable { what: from.display().to_string(), why: verdict });
    }
    private::directory(dir)?;
    let _ownership = Ownership::take(dir, holder)?;
    let (database, fresh) = (dir.join(DATABASE_FILE), dir.join("serin.db.restoring"));
    let _ = std::fs::remove_file(&fresh);
    copy_whole(&copy, &fresh)?;
    let mut old_kept = None;
    if database.exists() {
        // Folding the WAL in first keeps the old store whole in one file.
        let old = Connection::open(&database).map_err(StoreError::sqlite("open the old store"))?;
        let _ = old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        drop(old);
        let kept = unused(dir, "serin.db.before-restore");
        std::fs::rename(&database, &kept).map_err(StoreError::file("set the old store aside as", &kept))?;
        old_kept = Some(kept);
    }
    for leftover in ["serin.db-wal", "serin.db-shm"] {
        let _ = std::fs::remove_file(dir.join(leftover));
    }
    std::fs::rename(&fresh, &database).map_err(StoreError::file("put the backup in place as", &database))?;
    Ok(old_kept)
}

/// A path that nothing has yet, so that a second restore does not cost the store that the first one kept.
fn unused(dir: &Path, name: &str) -> PathBuf {
    let plain = dir.join(name);
    let numbered = (2..).map(|number| dir.join(format!("{name}.{number}")));
    std::iter::once(plain).chain(numbered).find(|path| !path.exists()).expect("numbers do not run out")
}
