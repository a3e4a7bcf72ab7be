//! Opening: the right SQLite, the right schema, a backup before every migration, and sole ownership.

use crate::store::database::{
    DATABASE_FILE, SCHEMA_VERSION, beside, connect_for_reading, connect_for_writing, refuse_affected_sqlite,
    schema_of,
};
use crate::store::epoch::{Taken, epoch_in, take_over};
use crate::store::migrate::migrate;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::header::{Checked, Header};
use super::load::load;
use super::owner::Ownership;
use super::read::Reader;
use super::writer::{Writer, WriterThread};
use super::{StoreError, backup, private};
use serin_core::ports::Loaded;

/// What an opened store must be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It must take a change at once, or it is not opened.
    Write,
    /// It is enough that it can be read: changes are refused until the disk takes them again.
    Read,
}

/// An open store: its writer, and questions to it.
pub struct Store {
    /// Commits changes.
    pub writer: Writer,
    /// Answers questions.
    pub reader: Reader,
    ownership: Ownership,
}

impl Store {
    /// Opens the store in `dir`, making both if need be, and loads what the daemon needs in memory.
    ///
    /// `holder` is what a second daemon is told about this one. Fails where nothing can be written.
    pub fn open(dir: &Path, holder: &str) -> Result<(Store, Loaded), StoreError> {
        Store::open_for(Need::Write, dir, holder)
    }

    /// The same, for a daemon that may have to do with what it can read; `Loaded` says why then.
    pub fn open_for(need: Need, dir: &Path, holder: &str) -> Result<(Store, Loaded), StoreError> {
        Store::open_with(need, dir, holder, |desk| Writer::start(desk, dir))
    }

    /// The same with a writer without a thread, on a disk that does what a simulation says.
    #[cfg(test)]
    pub(crate) fn open_simulated(
        dir: &Path,
        disk: std::sync::Arc<dyn super::Disk>,
    ) -> Result<(Store, Loaded), StoreError> {
        Store::open_with(Need::Write, dir, "a simulation", |desk| Ok(Writer::here(desk, disk)))
    }

    fn open_with(
        need: Need,
        dir: &Path,
        holder: &str,
        start: impl FnOnce(WriterThread) -> Result<Writer, StoreError>,
    ) -> Result<(Store, Loaded), StoreError> {
        refuse_affected_sqlite()?;
        private::refuse_pipes(dir)?;
        let path = dir.join(DATABASE_FILE);
        // Before the lock, whose file would be a trace in a directory that is somebody else's.
        let checked = Checked::now(&path)?;
        private::directory(dir)?;
        let ownership = Ownership::take(dir, holder)?;
        backup::remove_unfinished(dir);
        backup::finish_restore(dir)?;
        if checked.again(&path)? == Header::Absent && is_used(dir) {
            return Err(StoreError::Gone { path, dir: dir.to_owned() });
        }
        let (loaded, desk) = match open_to_write(dir, &path) {
            Ok((loaded, connection, taken)) => (loaded, WriterThread::writing(connection, dir, taken)),
            Err(why) if need == Need::Write || why.is_refusal() => return Err(why),
            Err(why) => {
                let (mut loaded, epoch) = open_to_read(&path)?;
                let trouble = format!("the store can be read and not written: {}", super::in_full(&why));
                loaded.trouble = Some(trouble);
                (loaded, WriterThread::waiting(dir, epoch))
            }
        };
        let writer = start(desk)?;
        Ok((Store { writer, reader: Reader::new(&path), ownership }, loaded))
    }

    /// Rewrites what a second daemon is told about this one.
    pub fn note_holder(&mut self, holder: &str) -> Result<(), StoreError> {
        self.ownership.note(holder)
    }
}

/// Whether serin has had a store in the directory: it leaves these beside it, and none of them before it.
pub fn is_used(dir: &Path) -> bool {
    ["reserve", "last-table", "evidence-aside"].iter().any(|name| dir.join(name).exists())
}

fn open_to_write(dir: &Path, path: &Path) -> Result<(Loaded, Connection, Taken), StoreError> {
    let mut connection = connect_for_writing(path)?;
    migrate(&mut connection, dir, path)?;
    let before = epoch_in(&connection)?;
    let taken = take_over(&mut connection, dir, before)?;
    let mut loaded = load(&connection)?;
    loaded.problems.extend(taken.problem.clone());
    Ok((loaded, connection, taken))
}

/// Reads a store that cannot be written, and tells its epoch.
///
/// The index of the log is a file that must be made and grow. Where it cannot, the index is kept in memory, with the
/// database locked meanwhile; where there is no log either, and none can be made, the file alone is the store.
fn open_to_read(path: &Path) -> Result<(Loaded, i64), StoreError> {
    let attempt = |connection: Result<Connection, StoreError>| {
        let connection = connection?;
        let found = schema_of(&connection)?;
        if found != SCHEMA_VERSION {
            let why = format!(
                "it has schema {found}, and bringing it to {SCHEMA_VERSION} needs a disk that takes it"
            );
            return Err(StoreError::Unreadable { what: path.display().to_string(), why });
        }
        let epoch = epoch_in(&connection)?;
        Ok((load(&connection)?, epoch))
    };
    let alone = || {
        let failed = StoreError::sqlite("open the store for reading");
        let connection = Connection::open(path).map_err(&failed)?;
        connection.pragma_update(None, "locking_mode", "exclusive").map_err(&failed)?;
        Ok(connection)
    };
    let without_log = || {
        if beside(path, "-wal").metadata().is_ok_and(|wal| wal.len() > 0) {
            let why = "its log cannot be read".to_owned();
            return Err(StoreError::Unreadable { what: path.display().to_string(), why });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
            .map_err(StoreError::sqlite("open the store for reading"))
    };
    let first = attempt(connect_for_reading(path));
    first.or_else(|why| attempt(alone()).or_else(|_| attempt(without_log())).map_err(|_| why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::MIGRATIONS;

    #[test]
    fn the_migrations_are_whole() {
        MIGRATIONS.validate().unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        MIGRATIONS.to_latest(&mut connection).unwrap();
        assert_eq!(schema_of(&connection).unwrap(), SCHEMA_VERSION);
    }

    /// Nothing but a power cut shows that a commit was not synced; the setting is all that can be looked at.
    #[test]
    fn every_commit_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let connection = connect_for_writing(&dir.path().join(DATABASE_FILE)).unwrap();
        let setting = |name: &str| -> String {
            connection
                .pragma_query_value(None, name, |row| row.get_ref(0).map(|value| format!("{value:?}")))
                .unwrap()
        };
        assert_eq!((&*setting("synchronous"), &*setting("foreign_keys")), ("Integer(2)", "Integer(1)"));
        assert_eq!(setting("journal_mode"), format!("Text({:?})", b"wal"));
    }

    #[test]
    fn foreign_and_newer_files_are_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE_FILE);
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(Store::open(dir.path(), "test"), Err(StoreError::Foreign { .. })));

        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), "test").unwrap());
        let path = dir.path().join(DATABASE_FILE);
        // Stays open: who closes a database last moves its log into the file, and the file is compared below.
        let newer = Connection::open(&path).unwrap();
        newer.pragma_update(None, "user_version", 99).unwrap();
        newer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused = Store::open(dir.path(), "test").err().unwrap();
        assert!(refused.to_string().contains("schema 99"), "{refused}");
        assert!(std::fs::read(&path).unwrap() == before, "the refused file was written to");
    }

    #[test]
    fn a_second_owner_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path(), "serin serve, pid 1, http://127.0.0.1:7411").unwrap();
        let refused = Store::open(dir.path(), "second").err().unwrap();
        assert!(refused.to_string().contains("pid 1, http://127.0.0.1:7411"), "{refused}");
        drop(first);
        Store::open(dir.path(), "third").unwrap();
    }
}
