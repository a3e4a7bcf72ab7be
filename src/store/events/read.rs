//! Events as they are found again: those that wait, and those whose turn has come.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row};

use super::Waiting;
use crate::store::StoreError;
use crate::store::database::connect_for_reading;
use serin_core::lambda::async_event::{AsyncEvent, Owed};
use serin_core::model::time::Timestamp;

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number.
    pub seq: i64,
    /// The event; one that has ended has no payload any more.
    pub event: AsyncEvent,
    /// When something is to be done about it, as it was last written.
    pub due_at: Timestamp,
    /// How many attempts were function errors, as it was last written.
    pub failures: u32,
    /// What its destinations are still to be told, if it has ended.
    pub owed: Option<Owed>,
}

/// Finds events.
#[derive(Clone)]
pub struct EventReader {
    path: PathBuf,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl EventReader {
    pub(super) fn new(path: &Path) -> EventReader {
        EventReader { path: path.to_owned(), connection: Arc::default() }
    }

    /// The events with these numbers, as far as there are such; blocks on the disk.
    pub fn load(&self, numbers: &[i64]) -> Result<Vec<StoredEvent>, StoreError> {
        self.ask(|connection| load(connection, numbers))
    }

    /// The events that were accepted after the one with this number, whichever process accepted them, the oldest first;
    /// blocks on the disk.
    pub fn waiting_after(&self, number: i64) -> Result<Vec<Waiting>, StoreError> {
        self.ask(|connection| waiting_after(connection, number))
    }

    fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match connection.take() {
            Some(open) => open,
            None => connect_for_reading(&self.path)?,
        };
        let found = question(&open).map_err(StoreError::sqlite("read events"))?;
        *connection = Some(open);
        Ok(found)
    }
}

fn load(connection: &Connection, numbers: &[i64]) -> rusqlite::Result<Vec<StoredEvent>> {
    let mut find = connection.prepare_cached(
        "SELECT seq, id, function, qualifier, arn, trace, hops, accepted_at, owed, payload, due_at, failures
         FROM events WHERE seq = ?1",
    )?;
    let mut found = Vec::with_capacity(numbers.len());
    for number in numbers {
        found.extend(find.query_row([number], stored).optional()?);
    }
    Ok(found)
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    let id: String = row.get(1)?;
    let function: String = row.get(2)?;
    let trace: String = row.get(5)?;
    let owed: Option<String> = row.get(8)?;
    let payload: Vec<u8> = row.get(9)?;
    let event = AsyncEvent {
        id: id.parse().map_err(unreadable(1))?,
        function: function.parse().map_err(unreadable(2))?,
        qualifier: row.get(3)?,
        arn: row.get(4)?,
        trace: serde_json::from_str(&trace).map_err(unreadable(5))?,
        hops: row.get(6)?,
        accepted_at: Timestamp(row.get(7)?),
        payload: payload.into(),
    };
    let owed = owed.map(|text| serde_json::from_str(&text).map_err(unreadable(8))).transpose()?;
    Ok(StoredEvent { seq: row.get(0)?, event, due_at: Timestamp(row.get(10)?), failures: row.get(11)?, owed })
}

fn unreadable<E: std::error::Error + Send + Sync + 'static>(
    column: usize,
) -> impl FnOnce(E) -> rusqlite::Error {
    move |why| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(why))
}

/// Events with numbers above one, the oldest first.
fn waiting_after(connection: &Connection, number: i64) -> rusqlite::Result<Vec<Waiting>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, function, accepted_at, due_at, failures, owed IS NOT NULL FROM events WHERE seq > ?1 ORDER BY seq",
    )?;
    let rows = statement.query_map([number], |row| {
        let function: String = row.get(1)?;
        Ok(Waiting {
            seq: row.get(0)?,
            function: function.parse().map_err(unreadable(1))?,
            accepted_at: Timestamp(row.get(2)?),
            due_at: Timestamp(row.get(3)?),
            failures: row.get(4)?,
            is_owed: row.get(5)?,
        })
    })?;
    rows.collect()
}
