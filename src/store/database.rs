//! The database file: its name, its schema, and connections to it.

use super::rows::shown_at;
use crate::store::rows::each;
use rusqlite::functions::FunctionFlags;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::{StoreError, private};

/// The objects of a schema by kind and name, as they were made.
pub(super) fn objects_of(connection: &Connection) -> Result<BTreeMap<String, String>, StoreError> {
    let mut objects = BTreeMap::new();
    let sql = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'";
    each(connection, sql, "read the schema", |row| {
        objects.insert(format!("{} {}", shown_at(row, 0), shown_at(row, 1)), shown_at(row, 2));
    })?;
    Ok(objects)
}

/// The database's name within the data directory.
pub(super) const DATABASE_FILE: &str = "serin.db";

/// Marks the file as serin's ("srn1").
pub(super) const APPLICATION_ID: i64 = 0x7372_6e31;

/// SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when a reset races a checkpoint.
pub(super) const SQLITE_VERSION_MIN: i32 = 3_051_003;

pub(super) static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| {
    Migrations::new(vec![
        M::up(include_str!("../../migrations/0001_initial.sql")),
        M::up(include_str!("../../migrations/0002_counts.sql")),
        M::up(include_str!("../../migrations/0003_event_sources.sql")),
        M::up(include_str!("../../migrations/0004_chain.sql")),
    ])
});

/// The newest schema this binary knows.
pub const SCHEMA_VERSION: i64 = 4;

pub(super) fn refuse_affected_sqlite() -> Result<(), StoreError> {
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

/// The schema as serin makes it, by kind and name of each object.
pub(super) fn made_by_serin() -> Result<std::collections::BTreeMap<String, String>, StoreError> {
    let mut fresh =
        Connection::open_in_memory().map_err(StoreError::sqlite("make a schema to compare with"))?;
    MIGRATIONS.to_latest(&mut fresh).map_err(|source| StoreError::Migration { source })?;
    crate::store::database::objects_of(&fresh)
}

/// A schema in a database that is in memory, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn migrate_in_memory(connection: &mut Connection) -> Result<(), rusqlite_migration::Error> {
    MIGRATIONS.to_latest(connection)
}

/// A file beside another one: its name with an ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
