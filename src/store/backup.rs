//! Copies of the whole store: made while the daemon runs, put back while it does not.
//!
//! A copy is made in the data directory, where nobody else comes, and has no name when it is handed out: whoever wants it
//! under one writes it there with their own rights. Environments of functions are in it; keys are in no table.
//!
//! Whatever is written here may be cut off by a kill at any moment, and again at the next try: a copy gets its name once
//! it is whole and synced, and a restore that was cut off after that is finished by whoever opens the directory next.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::chain::HEAD_FILE;
use super::header;
use super::owner::{Ownership, own_like};
use super::{Reader, StoreError, private};
use crate::store::database::{DATABASE_FILE, beside, connect_for_reading};

/// What copies are called while they are made.
const UNFINISHED: &str = "serin.db.copying-";
static COPIES: AtomicU64 = AtomicU64::new(0);

/// A backup that is whole and is to become the store; while it is there, the store beside it is the old one.
const RESTORING: &str = "serin.db.restoring";
const KEPT: &str = "serin.db.before-restore";

/// Writes a consistent copy to a file that does not exist yet, and syncs it; what is not whole has another name.
pub(super) fn copy_whole(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    copy_for(connection, to, None)
}

fn copy_for(connection: &Connection, to: &Path, owner: Option<&Path>) -> Result<(), StoreError> {
    if to.exists() {
        return Err(exists(to));
    }
    let partial = beside(to, ".partial");
    let copied = write_copy(connection, &partial, owner).and_then(|()| give_name(&partial, to));
    if copied.is_err() {
        // A copy that is not whole is nobody's, and would be in the way of the next one.
        clear_partial(&partial);
    }
    copied
}

fn exists(to: &Path) -> StoreError {
    let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
    StoreError::File { attempt: "write the backup to", path: to.to_owned(), source }
}

fn clear_partial(partial: &Path) {
    for leftover in [partial.to_owned(), beside(partial, "-journal")] {
        let _ = std::fs::remove_file(leftover);
    }
}

fn write_copy(connection: &Connection, partial: &Path, owner: Option<&Path>) -> Result<(), StoreError> {
    let target = partial.to_str().ok_or_else(|| StoreError::File {
        attempt: "write the backup to",
        path: partial.to_owned(),
        source: std::io::Error::other("the path is not UTF-8"),
    })?;
    clear_partial(partial);
    // SQLite takes a file that is there if it is empty; this one is nobody else's.
    let copy = private::new_file(partial).map_err(StoreError::file("write the backup to", partial))?;
    // A connection that must not write may still copy: what it writes is another file.
    let _ = connection.pragma_update(None, "query_only", "off");
    connection.execute("VACUUM INTO ?1", [target]).map_err(StoreError::sqlite("copy the store"))?;
    if let Some(owner) = owner {
        own_like(owner, partial)?;
    }
    copy.sync_all().map_err(StoreError::file("sync", partial))
}

/// Renames, but over nothing.
fn give_name(from: &Path, to: &Path) -> Result<(), StoreError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Err(exists(to)),
        // Not every file system can do that in one step.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::rename(from, to).map_err(StoreError::file("give its name to", to))?;
        }
        Err(why) => return Err(StoreError::file("give its name to", to)(why.into())),
    }
    sync_directory_of(to)
}

fn sync_directory_of(path: &Path) -> Result<(), StoreError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(StoreError::file("sync", dir))
}

/// Copies the store before its schema changes, unless an earlier try has done so and changed nothing since.
pub(super) fn keep_before_migration(
    connection: &Connection,
    dir: &Path,
    schema: i64,
) -> Result<(), StoreError> {
    let name = format!("{DATABASE_FILE}.before-schema-{schema}");
    if let Some(last) = last_kept(dir, &name)
        && state_of_file(&last).is_some_and(|kept| state_of(connection) == Some(kept))
    {
        return Ok(());
    }
    copy_for(connection, &unused(dir, &name), Some(dir))
}

/// What differs between two states of one store: schema, last entry, epoch and uptime.
type State = (i64, i64, Option<String>, Option<String>);

fn state_of(connection: &Connection) -> Option<State> {
    let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0)).ok()?;
    let sql =
        "SELECT (SELECT coalesce(max(seq), 0) FROM events), (SELECT value FROM meta WHERE key = 'epoch'),
                      (SELECT value FROM meta WHERE key = 'uptime_ms')";
    connection.query_row(sql, [], |row| Ok((schema, row.get(0)?, row.get(1)?, row.get(2)?))).ok()
}

fn state_of_file(path: &Path) -> Option<State> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    state_of(&Connection::open_with_flags(path, flags).ok()?)
}

/// Copies the store of a data directory, whether or not a daemon runs on it; the copy has no name.
pub fn copy_of(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(DATABASE_FILE);
    refuse_absent(&path)?;
    let connection = connect_for_reading(&path)?;
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    let unfinished = dir.join(format!("{UNFINISHED}{}-{number}", std::process::id()));
    let copied = write_copy(&connection, &unfinished, None)
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

/// Checks that there is a store of serin's that this binary knows.
pub(super) fn refuse_absent(path: &Path) -> Result<(), StoreError> {
    if header::check(path)? == header::Header::Absent {
        let why = "there is no such file, or nothing in it".to_owned();
        return Err(StoreError::Unreadable { what: path.display().to_string(), why });
    }
    Ok(())
}

/// Puts a backup in the place of a data directory's store, keeping the old one beside it.
///
/// Refused while a daemon runs on the directory, and for a file that is not a sound serin store. The new file belongs to
/// the directory's owner. Tells where the old store is kept, if there was one.
pub fn restore(dir: &Path, from: &Path, holder: &str) -> Result<Option<PathBuf>, StoreError> {
    private::refuse_pipes(dir)?;
    refuse_absent(from)?;
    let copy = connect_for_reading(from)?;
    let verdict: String = copy
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(StoreError::sqlite("check the backup"))?;
    if verdict != "ok" {
        return Err(StoreError::Unreadable { what: from.display().to_string(), why: verdict });
    }
    private::directory(dir)?;
    let _ownership = Ownership::take(dir, holder)?;
    finish_restore(dir)?;
    copy_for(&copy, &dir.join(RESTORING), Some(dir))?;
    let database = dir.join(DATABASE_FILE);
    if database.exists()
        && let Ok(old) = Connection::open(&database)
    {
        // Folding the log in first keeps the old store whole in one file; where that fails, both files are kept.
        let _ = old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    finish_restore(dir)
}

/// Finishes a restore whose copy is whole, and clears what is left of one whose copy is not.
///
/// Each step can be done again. Tells where the old store is kept, if this call set it aside.
pub(super) fn finish_restore(dir: &Path) -> Result<Option<PathBuf>, StoreError> {
    let (ready, database) = (dir.join(RESTORING), dir.join(DATABASE_FILE));
    clear_partial(&beside(&ready, ".partial"));
    if !ready.exists() {
        return Ok(None);
    }
    let mut kept = None;
    if database.exists() {
        let aside = unused(dir, KEPT);
        std::fs::rename(&database, &aside).map_err(StoreError::file("set the old store aside as", &aside))?;
        sync_directory_of(&aside)?;
        kept = Some(aside);
    }
    let wal = beside(&database, "-wal");
    if wal.exists() {
        // It belongs to the store that was set aside last, and must never be taken for the new one's.
        let aside = beside(&last_kept(dir, KEPT).unwrap_or_else(|| dir.join(KEPT)), "-wal");
        std::fs::rename(&wal, &aside).map_err(StoreError::file("set the old log aside as", &aside))?;
    }
    let _ = std::fs::remove_file(beside(&database, "-shm"));
    // It notes the newest link of the old store: without it the chain begins anew with what is put here.
    let head = dir.join(HEAD_FILE);
    match std::fs::remove_file(&head) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::file("remove what the old store noted in", &head)(why));
        }
        _ => {}
    }
    sync_directory_of(&database)?;
    std::fs::rename(&ready, &database).map_err(StoreError::file("put the backup in place as", &database))?;
    sync_directory_of(&database)?;
    Ok(kept)
}

fn numbered(dir: &Path, name: &str) -> impl Iterator<Item = PathBuf> {
    let (plain, name, dir) = (dir.join(name), name.to_owned(), dir.to_owned());
    std::iter::once(plain).chain((2..).map(move |number| dir.join(format!("{name}.{number}"))))
}

/// A path that nothing has yet, so that a second copy does not cost the store that the first one kept.
pub(super) fn unused(dir: &Path, name: &str) -> PathBuf {
    numbered(dir, name).find(|path| !path.exists()).expect("numbers do not run out")
}

/// The last path that was `unused` before.
fn last_kept(dir: &Path, name: &str) -> Option<PathBuf> {
    numbered(dir, name).take_while(|path| path.exists()).last()
}
