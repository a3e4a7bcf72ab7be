//! Reading rows that may be damaged.
//!
//! A bad cell is a sentence about its row and never the end of a reading, and a page that SQLite cannot read costs the
//! rows on it: a table is read forwards up to it, and backwards from its end.

use std::collections::HashSet;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use serde::de::DeserializeOwned;

use super::StoreError;

/// The text in a column, or what is wrong with it.
pub(super) fn text(row: &Row<'_>, column: usize) -> Result<String, String> {
    optional_text(row, column)?.ok_or_else(|| format!("its {} is missing", name_of(row, column)))
}

/// The text in a column that may be empty.
pub(super) fn optional_text(row: &Row<'_>, column: usize) -> Result<Option<String>, String> {
    match value(row, column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(why) => Err(format!("its {} is not UTF-8: {why}", name_of(row, column))),
        },
        other => Err(format!("its {} is a {}", name_of(row, column), other.data_type())),
    }
}

/// The number in a column, or what is wrong with it.
pub(super) fn number(row: &Row<'_>, column: usize) -> Result<i64, String> {
    optional_number(row, column)?.ok_or_else(|| format!("its {} is missing", name_of(row, column)))
}

/// The number in a column that may be empty.
pub(super) fn optional_number(row: &Row<'_>, column: usize) -> Result<Option<i64>, String> {
    match value(row, column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(number) => Ok(Some(number)),
        other => Err(format!("its {} is a {}", name_of(row, column), other.data_type())),
    }
}

/// The bytes in a column that may be empty.
pub(super) fn optional_bytes(row: &Row<'_>, column: usize) -> Result<Option<Vec<u8>>, String> {
    match value(row, column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Ok(Some(bytes.to_vec())),
        other => Err(format!("its {} is a {}", name_of(row, column), other.data_type())),
    }
}

/// The JSON in a column.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, String> {
    serde_json::from_str(&text(row, column)?).map_err(|why| why.to_string())
}

/// The first columns as people read them, whatever is in them.
pub(super) fn shown(row: &Row<'_>, columns: usize) -> String {
    let one = |column| match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Ok(ValueRef::Real(number)) => number.to_string(),
        Ok(ValueRef::Null) | Err(_) => "?".to_owned(),
    };
    (0..columns).map(one).collect::<Vec<_>>().join(":")
}

fn value<'row>(row: &'row Row<'_>, column: usize) -> Result<ValueRef<'row>, String> {
    row.get_ref(column).map_err(|why| why.to_string())
}

fn name_of(row: &Row<'_>, column: usize) -> String {
    row.as_ref().column_name(column).map_or_else(|_| format!("column {column}"), ToOwned::to_owned)
}

/// Runs a query and hands every row to `take`.
pub(super) fn each(
    connection: &Connection,
    sql: &str,
    attempt: &'static str,
    mut take: impl FnMut(&Row<'_>),
) -> Result<(), StoreError> {
    run(connection, sql, &mut take).map_err(StoreError::sqlite(attempt))
}

fn run(connection: &Connection, sql: &str, take: &mut dyn FnMut(&Row<'_>)) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row);
    }
    Ok(())
}

/// A table as it is read whole.
pub(super) struct Scan<'a> {
    /// `SELECT … FROM …`, the columns of the key first.
    pub(super) select: &'a str,
    /// The columns of the key, which the table is stored by.
    pub(super) keys: &'a [&'a str],
    /// What its rows are, in the plural.
    pub(super) what: &'a str,
}

impl Scan<'_> {
    /// Hands every row that can be had to `take`, none twice; tells why if there may be others.
    ///
    /// Fails only where the table cannot be read at all, because the database's schema cannot.
    pub(super) fn rows(
        &self,
        connection: &Connection,
        mut take: impl FnMut(&Row<'_>),
    ) -> Result<Option<String>, StoreError> {
        let ordered = |direction: &str| {
            let order: Vec<String> = self.keys.iter().map(|key| format!("{key} {direction}")).collect();
            format!("{} ORDER BY {}", self.select, order.join(", "))
        };
        let failed = StoreError::sqlite("read the store's tables");
        match connection.prepare(&ordered("ASC")) {
            Ok(_) => {}
            // A store of an earlier schema does not have it yet; whether it should is checked apart.
            Err(why) if why.to_string().contains("no such table") => return Ok(None),
            Err(why) => return Err(failed(why)),
        }
        let mut seen = HashSet::new();
        let forwards = run(connection, &ordered("ASC"), &mut |row| {
            seen.insert(self.key(row));
            take(row);
        });
        let Err(why) = forwards else { return Ok(None) };
        // The rest is read from the other end, as far as the same or another bad page lets it.
        let _ = run(connection, &ordered("DESC"), &mut |row| {
            if seen.insert(self.key(row)) {
                take(row);
            }
        });
        Ok(Some(format!("some {} cannot be read: {why}", self.what)))
    }

    fn key(&self, row: &Row<'_>) -> Vec<u8> {
        let mut key = Vec::new();
        for column in 0..self.keys.len() {
            match row.get_ref(column) {
                Ok(ValueRef::Integer(number)) => key.extend(number.to_be_bytes()),
                Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => {
                    key.extend((bytes.len() as u64).to_be_bytes());
                    key.extend(bytes);
                }
                Ok(ValueRef::Real(_) | ValueRef::Null) | Err(_) => key.push(0),
            }
        }
        key
    }
}

#[cfg(any(test, feature = "fuzzing"))]
/// Bytes whose lines and tabs are written as `\n` and `\t`.
pub(super) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        (rest, _) = match (first, more) {
            (b'\\', [b'n', more @ ..]) => (more, bytes.push(b'\n')),
            (b'\\', [b't', more @ ..]) => (more, bytes.push(b'\t')),
            _ => (more, bytes.push(*first)),
        };
    }
    bytes
}

pub(super) fn shown_at(row: &rusqlite::Row<'_>, column: usize) -> String {
    let bytes = optional_bytes(row, column).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
