//! Brings a database to the newest schema, in one transaction, after a copy of it was put beside it.

use crate::store::database::APPLICATION_ID;
use crate::store::database::MIGRATIONS;
use crate::store::database::SCHEMA_VERSION;
use crate::store::database::schema_of;
use std::path::Path;

use rusqlite::Connection;

use super::{StoreError, backup};

pub(super) fn migrate(connection: &mut Connection, dir: &Path, path: &Path) -> Result<(), StoreError> {
    let found = schema_of(connection)?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    if found > 0 {
        backup::keep_before_migration(connection, dir, SCHEMA_VERSION)?;
    }
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(StoreError::sqlite("mark the store as serin's"))?;
    MIGRATIONS.to_latest(connection).map_err(|source| match source {
        rusqlite_migration::Error::RusqliteError { err, .. } => {
            StoreError::sqlite("bring the store's schema up to date; the copy made before is beside it")(err)
        }
        source => StoreError::Migration { source },
    })
}
