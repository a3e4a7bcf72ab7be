//! Opening: the right SQLite, the right schema, a backup before every migration, and sole ownership.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::load::{Loaded, load};
use super::owner::Ownership;
use super::read::Reader;
use super::writer::Writer;
use super::{StoreError, backup, private};

/// The database's name within the data directory.
pub(super) const DATABASE_FILE: &str = "serin.db";
/// Marks the file as serin's ("srn1").
const APPLICATION_ID: i64 = 0x7372_6e31;
/// SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when a reset races a checkpoint.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| {
    Migrations::new(vec![
        M::up(include_str!("../../migrations/0001_initial.sql")),
        M::up(include_str!("../../migrations/0002_counts.sql")),
        M::up(include_str!("../../migrations/0003_event_sources.sql")),
    ])
});

/// The newest schema this binary knows.
pub const SCHEMA_VERSION: i64 = 3;

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
    /// `holder` is what a second daemon is told about this one.
    pub fn open(dir: &Path, holder: &str) -> Result<(Store, Loaded), StoreError> {
        refuse_affected_sqlite()?;
        private::directory(dir)?;
        let ownership = Ownership::take(dir, holder)?;
        backup::remove_unfinished(dir);
        let path = dir.join(DATABASE_FILE);
        let mut connection = connect_for_writing(&path)?;
        migrate(&mut connection, dir, &path)?;
        let epoch = take_over(&connection)?;
        let loaded = load(&connection)?;
        let writer = Writer::start(connection, dir, epoch)?;
        Ok((Store { writer, reader: Reader::new(&path), ownership }, loaded))
    }

    /// Rewrites what a second daemon is told about this one.
    pub fn note_holder(&mut self, holder: &str) -> Result<(), StoreError> {
        self.ownership.note(holder)
    }
}

fn refuse_affected_sqlite() -> Result<(), StoreError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(StoreError::AffectedSqlite(rusqlite::version().to_owned()));
    }
    Ok(())
}

/// A connection that may write: WAL, every commit synced, references checked.
pub(super) fn connect_for_writing(path: &Path) -> Result<Connection, StoreError> {
    let failed = StoreError::sqlite("open the store");
    private::database(path)?;
    let connection = Connection::open(path).map_err(&failed)?;
    let setting = |name: &str, value: &str| connection.pragma_update(None, name, value).map_err(&failed);
    connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(&failed)?;
    setting("journal_mode", "wal")?;
    setting("synchronous", "full")?;
    setting("foreign_keys", "on")?;
    setting("journal_size_limit", "67108864")?;
    connection
        .create_scalar_function(
            "serin_writer",
            0,
            FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS,
            |_| Ok(1),
        )
        .map_err(&failed)?;
    Ok(connection)
}

/// A connection that cannot write.
pub(super) fn connect_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let failed = StoreError::sqlite("open the store for reading");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(&failed)?;
    connection.pragma_update(None, "query_only", "on").map_err(&failed)?;
    Ok(connection)
}

pub(super) fn schema_of(connection: &Connection) -> Result<i64, StoreError> {
    let failed = StoreError::sqlite("read the store's schema version");
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)
}

/// Checks that the file is serin's, and of a schema this binary knows.
pub(super) fn check_schema(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let failed = StoreError::sqlite("read the store's application id");
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(&failed)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(&failed)?;
    if application != APPLICATION_ID && tables > 0 {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let found = schema_of(connection)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    Ok(found)
}

fn migrate(connection: &mut Connection, dir: &Path, path: &Path) -> Result<(), StoreError> {
    let found = check_schema(connection, path)?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    if found > 0 {
        let copy: PathBuf = dir.join(format!("{DATABASE_FILE}.before-schema-{SCHEMA_VERSION}"));
        backup::copy_whole(connection, &copy)?;
    }
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(StoreError::sqlite("mark the store as serin's"))?;
    MIGRATIONS.to_latest(connection).map_err(|source| StoreError::Migration { source })
}

/// Raises the epoch, so that a daemon that lost the directory without noticing can no longer commit.
fn take_over(connection: &Connection) -> Result<i64, StoreError> {
    let failed = StoreError::sqlite("take over the store");
    connection
        .query_row(
            "INSERT INTO meta (key, value) VALUES ('epoch', '1')
             ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1
             RETURNING CAST(value AS INTEGER)",
            [],
            |row| row.get(0),
        )
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_are_whole() {
        MIGRATIONS.validate().unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        MIGRATIONS.to_latest(&mut connection).unwrap();
        assert_eq!(schema_of(&connection).unwrap(), SCHEMA_VERSION);
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
