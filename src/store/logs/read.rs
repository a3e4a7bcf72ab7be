//! Questions about log lines: by function, stream, version, time and words.

use crate::store::logs::lines::{Cursor, LineFilter, StoredLine};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::runs;
use crate::store::StoreError;
use crate::store::database::connect_for_reading;
use serin_core::model::time::Timestamp;

/// Connections kept open between questions.
const IDLE_MAX: usize = 2;

/// A stream: the lines of one run of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// The version that ran.
    pub version: String,
    /// Its first line's time.
    pub first_at: Timestamp,
    /// Its newest line's time.
    pub last_at: Timestamp,
    /// How much was ever said in it.
    pub bytes: i64,
}

/// Which streams of a function are asked for.
#[derive(Clone, Debug, Default)]
pub struct StreamFilter {
    /// The function.
    pub function: String,
    /// Only those whose names begin so.
    pub prefix: String,
    /// By the time of their newest line instead of by name.
    pub by_time: bool,
    /// The last first.
    pub descending: bool,
    /// So many are passed over.
    pub skip: u32,
    /// At most so many.
    pub limit: u32,
}

/// Answers questions about what is written.
#[derive(Clone)]
pub struct LogReader {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl LogReader {
    pub(super) fn new(path: &Path) -> LogReader {
        LogReader { path: path.to_owned(), idle: Arc::default() }
    }

    pub(super) fn ask<T>(
        &self,
        attempt: &'static str,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => connect_for_reading(&self.path)?,
        };
        let answer = question(&connection).map_err(StoreError::sqlite(attempt));
        let mut idle = idle();
        if answer.is_ok() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        answer
    }

    /// Lines in the order of their times; with `after_id`, in the order in which they came.
    pub fn lines(&self, filter: &LineFilter) -> Result<Vec<StoredLine>, StoreError> {
        let of_stream = conditions_of_stream(filter);
        let (mut conditions, mut values) = of_stream.clone();
        let mut holds = |condition: &str, value: Value| {
            values.push(value);
            conditions.push(condition.replace('?', &format!("?{}", values.len())));
        };
        holds("l.at >= ?", filter.from.0.into());
        holds("l.at < ?", filter.until.0.into());
        if let Some(id) = filter.after_id {
            holds("l.id > ?", id.into());
        }
        for (cursor, sign) in [(filter.after, ">"), (filter.before, "<")] {
            if let Some(cursor) = cursor {
                // The first half lets the index find the place; numbers are integers, and no text of anybody's.
                holds(&format!("l.at {sign}= ?"), cursor.at.0.into());
                holds(&format!("(l.at {sign} {} OR l.id {sign} ?)", cursor.at.0), cursor.id.into());
            }
        }
        for term in &filter.terms {
            holds("instr(l.text, ?) > 0", term.clone().into());
        }
        let order = match (filter.after_id, filter.newest) {
            (Some(_), _) => "l.id ASC",
            (None, true) => "l.at DESC, l.id DESC",
            (None, false) => "l.at ASC, l.id ASC",
        };
        let sql = format!(
            "SELECT l.at, l.id, s.name, s.version, l.text FROM lines l JOIN streams s ON s.id = l.stream
             WHERE {} ORDER BY {order} LIMIT {}",
            conditions.join(" AND "),
            filter.limit
        );
        self.ask("read log lines", |connection| {
            // Both as of one moment: what is written in between is in neither, and no page leaves it out.
            let moment = connection.unchecked_transaction()?;
            let mut statement = moment.prepare_cached(&sql)?;
            let mut lines: Vec<StoredLine> =
                statement.query_map(params_from_iter(values), line)?.collect::<rusqlite::Result<_>>()?;
            lines.extend(runs::lines(&moment, filter, of_stream)?);
            filter.keep_first(&mut lines);
            Ok(lines)
        })
    }

    /// The number of the line that came last; zero before the first.
    pub fn last_id(&self) -> Result<i64, StoreError> {
        self.ask("read the last log line", |connection| {
            let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'lines'";
            let last: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
            Ok(last.unwrap_or(0))
        })
    }

    /// The streams of a function.
    pub fn streams(&self, filter: &StreamFilter) -> Result<Vec<Stream>, StoreError> {
        let column = if filter.by_time { "s.last_at" } else { "s.name" };
        let way = if filter.descending { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT s.name, s.version, s.first_at, s.last_at, s.bytes FROM streams s
             WHERE s.function = (SELECT id FROM functions WHERE name = ?1) AND substr(s.name, 1, length(?2)) = ?2
             ORDER BY {column} {way}, s.id {way} LIMIT ?3 OFFSET ?4"
        );
        self.ask("list log streams", |connection| {
            let values = params![filter.function, filter.prefix, filter.limit, filter.skip];
            connection.prepare_cached(&sql)?.query_map(values, stream)?.collect()
        })
    }

    /// One stream of a function.
    pub fn stream(&self, function: &str, name: &str) -> Result<Option<Stream>, StoreError> {
        self.ask("find a log stream", |connection| {
            let sql = "SELECT name, version, first_at, last_at, bytes FROM streams
                       WHERE function = (SELECT id FROM functions WHERE name = ?1) AND name = ?2";
            connection.prepare_cached(sql)?.query_row([function, name], stream).optional()
        })
    }

    /// Every function that ever said something and still has it, in order: its name, since when, how much.
    pub fn functions(&self) -> Result<Vec<(String, Timestamp, i64)>, StoreError> {
        self.ask("list functions with logs", |connection| {
            let sql = "SELECT f.name, min(s.first_at), sum(s.bytes) FROM functions f JOIN streams s ON s.function = f.id
                       GROUP BY f.id ORDER BY f.name";
            let function = |row: &Row<'_>| Ok((row.get(0)?, Timestamp(row.get(1)?), row.get(2)?));
            connection.prepare_cached(sql)?.query_map([], function)?.collect()
        })
    }
}

/// What a filter asks of the function and the stream, `s`, of a row `l`.
fn conditions_of_stream(filter: &LineFilter) -> (Vec<String>, Vec<Value>) {
    let mut values: Vec<Value> = Vec::new();
    let mut conditions: Vec<String> = Vec::new();
    let mut holds = |condition: &str, value: String| {
        values.push(value.into());
        conditions.push(condition.replace('?', &format!("?{}", values.len())));
    };
    holds("l.function = (SELECT id FROM functions WHERE name = ?)", filter.function.clone());
    if let Some(prefix) = &filter.stream_prefix {
        holds("substr(s.name, 1, length(?)) = ?", prefix.clone());
    }
    for (column, allowed) in [("s.name", &filter.streams), ("s.version", &filter.versions)] {
        if !allowed.is_empty() {
            let list = serde_json::to_string(allowed).unwrap_or_default();
            holds(&format!("{column} IN (SELECT value FROM json_each(?))"), list);
        }
    }
    (conditions, values)
}

fn line(row: &Row<'_>) -> rusqlite::Result<StoredLine> {
    Ok(StoredLine {
        cursor: Cursor { at: Timestamp(row.get(0)?), id: row.get(1)? },
        stream: row.get(2)?,
        version: row.get(3)?,
        text: row.get(4)?,
    })
}

fn stream(row: &Row<'_>) -> rusqlite::Result<Stream> {
    Ok(Stream {
        name: row.get(0)?,
        version: row.get(1)?,
        first_at: Timestamp(row.get(2)?),
        last_at: Timestamp(row.get(3)?),
        bytes: row.get(4)?,
    })
}
