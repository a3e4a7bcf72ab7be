//! Copies of the whole store: made while the daemon runs, put back while it does not.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::StoreError;
use super::open::{DATABASE_FILE, check_schema, connect_for_reading};
use super::owner::Ownership;

/// Writes a consistent copy to a file that does not exist yet, and syncs it.
pub(super) fn copy_whole(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(StoreError::File { attempt: "write the backup to", path: to.to_owned(), source });
    }
    let target = to.to_str().ok_or_else(|| StoreError::File {
        attempt: "write the backup to",
        path: to.to_owned(),
        source: std::io::Error::other("the path is not UTF-8"),
    })?;
    // A connection that must not write may still copy: what it writes is another file.
    let _ = connection.pragma_update(None, "query_only", "off");
    connection.execute("VACUUM INTO ?1", [target]).map_err(StoreError::sqlite("copy the store"))?;
    let copy = std::fs::File::open(to).map_err(StoreError::file("open", to))?;
    copy.sync_all().map_err(StoreError::file("sync", to))
}

/// Copies the store of a data directory, whether or not a daemon runs on it.
pub fn back_up(dir: &Path, to: &Path) -> Result<(), StoreError> {
    let path = dir.join(DATABASE_FILE);
    let connection = connect_for_reading(&path)?;
    check_schema(&connection, &path)?;
    copy_whole(&connection, to)
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
    std::fs::create_dir_all(dir).map_err(StoreError::file("make the data directory", dir))?;
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
