//! What fuzzers are let in to of the store: rows that anybody may have written, and files.

use crate::store::rows::unescaped;
use std::cell::RefCell;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::header;
use super::load::load;
use serin_core::ports::Loaded;

/// The tables that are loaded, and how many columns each has.
const TABLES: [(&str, usize); 9] = [
    ("meta", 2),
    ("functions", 2),
    ("versions", 3),
    ("aliases", 9),
    ("policies", 4),
    ("plans", 5),
    ("rollouts", 9),
    ("remembered", 4),
    ("events", 7),
];

thread_local! {
    static STORE: RefCell<Connection> = RefCell::new(unguarded());
}

/// A store in memory with none of the guards that keep other hands off: a page may be damaged all the same.
fn unguarded() -> Connection {
    let mut connection = Connection::open_in_memory().expect("SQLite has memory");
    crate::store::database::migrate_in_memory(&mut connection).expect("the migrations are whole");
    let triggers: Vec<String> = connection
        .prepare("SELECT 'DROP TRIGGER ' || name FROM sqlite_schema WHERE type = 'trigger'")
        .and_then(|mut found| found.query_map([], |row| row.get(0))?.collect())
        .expect("a schema");
    triggers.iter().for_each(|drop| connection.execute_batch(drop).expect("a trigger"));
    connection
        .execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
        .expect("settings of SQLite");
    connection
}

/// A column as it is given: nothing, a number, or text that need not be UTF-8.
struct Column<'a>(&'a [u8]);

impl ToSql for Column<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        if self.0.is_empty() {
            return Ok(ToSqlOutput::Owned(Value::Null));
        }
        let number = std::str::from_utf8(self.0).ok().and_then(|text| text.parse().ok());
        Ok(number.map_or(ToSqlOutput::Borrowed(ValueRef::Text(self.0)), |number| {
            ToSqlOutput::Owned(Value::Integer(number))
        }))
    }
}

/// What a boot loads from rows; those that SQLite itself does not take are left out.
pub(crate) fn loaded_of(rows: &[(&str, Vec<&[u8]>)]) -> Loaded {
    STORE.with_borrow_mut(|connection| {
        let transaction = connection.transaction().expect("nobody else has it");
        for (table, columns) in rows {
            let Some((table, count)) = TABLES.iter().find(|(name, _)| name == table) else { continue };
            let marks: Vec<String> = (1..=*count).map(|column| format!("?{column}")).collect();
            let sql = format!("INSERT OR REPLACE INTO {table} VALUES ({})", marks.join(", "));
            let mut columns: Vec<&[u8]> = columns.clone();
            columns.resize(*count, b"");
            // A plan's digest is that of its bytes, or nothing behind it would ever be reached.
            let digest = (*table == "plans").then(|| super::load::plan_digest(columns[2], columns[4]));
            if let (Some(digest), b"=") = (&digest, columns[0]) {
                columns[0] = digest.as_bytes();
            }
            let mut given: Vec<Box<dyn ToSql + '_>> = Vec::new();
            for (index, column) in columns.iter().enumerate() {
                let is_bytes = *table == "plans" && (index == 2 || index == 4);
                match is_bytes && !column.is_empty() {
                    true => given.push(Box::new(unescaped(column))),
                    false => given.push(Box::new(Column(column))),
                }
            }
            let _ = transaction
                .prepare_cached(&sql)
                .and_then(|mut insert| insert.execute(params_from_iter(given)));
        }
        let loaded = load(&transaction).expect("a store whose schema is whole is loaded, whatever is in it");
        transaction.rollback().expect("in memory");
        loaded
    })
}

/// What is said of a database's file, in words.
pub(crate) fn header_of(path: &Path) -> String {
    format!("{:?}, {:?}", header::read(path), header::check(path).map_err(|why| why.to_string()))
}
