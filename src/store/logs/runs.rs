//! Invocations that say nothing themselves: gathered for a moment, kept many in a row, and written out as lines for
//! whoever reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, params, params_from_iter};
use uuid::Uuid;

use crate::clock;
use crate::store::logs::lines::{Cursor, LineFilter, StoredLine};
use serin_core::lambda::log::{Run, Runs};
use serin_core::model::arn::{FunctionName, VersionId};
use serin_core::model::time::Timestamp;

/// So long they may wait for others to be written with them.
const HELD_MAX: Duration = Duration::from_millis(250);
/// So many are in one row, which is read as a whole.
const ROW_RUNS_MAX: usize = 512;
/// What one takes in a row.
const RUN_BYTES: usize = 32;
/// What is counted for one that waits.
const HELD_BYTES: u64 = RUN_BYTES as u64;

/// How much room such invocations take while they wait.
pub(super) fn bytes_of(runs: &Runs) -> u64 {
    runs.runs.len() as u64 * HELD_BYTES
}

/// Those that are yet to be written: put here by whoever has some, taken by the writer.
///
/// They do not go through its queue, for that would wake it many times a second.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Held>);

impl Waiting {
    /// Adds some; whether they are the first, for which the writer must be told.
    pub(super) fn add(&self, runs: Runs) -> bool {
        self.held().add(runs)
    }

    /// Forgets those of a function; tells how much room they took.
    pub(super) fn forget(&self, function: &str) -> u64 {
        self.held().forget(function)
    }

    /// When they are to be written at the latest, if there are any.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held().due
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Held {
        std::mem::take(&mut *self.held())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Invocations, by the stream that their lines are of.
#[derive(Default)]
pub(super) struct Held {
    by_stream: HashMap<(FunctionName, Arc<str>), (VersionId, Vec<Run>)>,
    count: usize,
    due: Option<Instant>,
}

impl Held {
    fn add(&mut self, runs: Runs) -> bool {
        let Runs { function, version, stream, runs } = runs;
        let is_first = self.due.is_none();
        if is_first {
            self.due = Some(clock::instant_now() + HELD_MAX);
        }
        self.count += runs.len();
        self.by_stream.entry((function, stream)).or_insert((version, Vec::new())).1.extend(runs);
        is_first
    }

    fn forget(&mut self, function: &str) -> u64 {
        let before = self.count;
        self.by_stream.retain(|(name, _), _| name.as_str() != function);
        self.count = self.by_stream.values().map(|(_, runs)| runs.len()).sum();
        (before - self.count) as u64 * HELD_BYTES
    }

    /// How many lines they are.
    pub(super) fn lines(&self) -> u64 {
        (self.count * Run::LINES) as u64
    }

    /// What they take.
    pub(super) fn bytes(&self) -> u64 {
        self.count as u64 * HELD_BYTES
    }

    /// Writes them; `open` gives the ids of a function and its stream, which are made if need be.
    pub(super) fn write(
        &self,
        transaction: &Transaction<'_>,
        mut open: impl FnMut(&FunctionName, VersionId, &Arc<str>, Timestamp) -> rusqlite::Result<(i64, i64)>,
    ) -> rusqlite::Result<()> {
        for ((function, stream), (version, runs)) in &self.by_stream {
            for row in runs.chunks(ROW_RUNS_MAX) {
                let first_at = row.iter().map(Run::begun_at).min().unwrap_or_default();
                let ids = open(function, *version, stream, first_at)?;
                write_row(transaction, ids, *version, (row, first_at))?;
            }
        }
        Ok(())
    }
}

fn write_row(
    transaction: &Transaction<'_>,
    (function, stream): (i64, i64),
    version: VersionId,
    (row, first_at): (&[Run], Timestamp),
) -> rusqlite::Result<()> {
    let mut packed = Vec::with_capacity(row.len() * RUN_BYTES);
    let (mut last_at, mut text_bytes) = (first_at, 0);
    let version_len = version.to_string().len();
    for run in row {
        last_at = last_at.max(run.ended_at);
        text_bytes += run.text_bytes(version_len);
        packed.extend_from_slice(run.id.as_bytes());
        packed.extend_from_slice(&run.ended_at.0.to_le_bytes());
        packed.extend_from_slice(&run.took_us.to_le_bytes());
    }
    let id = take_numbers(transaction, row.len() * Run::LINES)?;
    transaction
        .prepare_cached(
            "INSERT INTO runs (id, function, stream, first_at, last_at, packed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![id, function, stream, first_at.0, last_at.0, packed])?;
    transaction
        .prepare_cached(
            "UPDATE streams SET first_at = min(first_at, ?2), last_at = max(last_at, ?3), last_id = ?4,
                 bytes = bytes + ?5 WHERE id = ?1",
        )?
        .execute(params![stream, first_at.0, last_at.0, id, text_bytes as i64])?;
    Ok(())
}

/// Takes so many numbers of lines, as if they were written one by one; gives the last.
fn take_numbers(transaction: &Transaction<'_>, count: usize) -> rusqlite::Result<i64> {
    let count = count as i64;
    let taken = transaction
        .prepare_cached("UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'lines' RETURNING seq")?
        .query_row([count], |row| row.get(0))
        .optional()?;
    if let Some(last) = taken {
        return Ok(last);
    }
    // There was no line yet.
    transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('lines', ?1)", [count])?;
    Ok(count)
}

/// The lines of invocations that a filter lets through, as far as the first so many are among them.
///
/// `conditions` speak of `l.function` and `s`, the stream.
pub(super) fn lines(
    connection: &Connection,
    filter: &LineFilter,
    (mut conditions, mut values): (Vec<String>, Vec<Value>),
) -> rusqlite::Result<Vec<StoredLine>> {
    let mut holds = |condition: &str, value: i64| {
        values.push(value.into());
        conditions.push(format!("{condition} ?{}", values.len()));
    };
    let from = filter.after.map_or(filter.from, |after| after.at.max(filter.from));
    holds("l.last_at >=", from.0);
    holds("l.first_at <", filter.until.0);
    if let Some(before) = filter.before {
        holds("l.first_at <=", before.at.0);
    }
    if let Some(id) = filter.after_id {
        holds("l.id >", id);
    }
    let order = match (filter.after_id, filter.newest) {
        (Some(_), _) => "l.id ASC",
        (None, true) => "l.last_at DESC, l.id DESC",
        (None, false) => "l.first_at ASC, l.id ASC",
    };
    let sql = format!(
        "SELECT l.id, l.first_at, l.last_at, s.name, s.version, l.packed
         FROM runs l JOIN streams s ON s.id = l.stream WHERE {} ORDER BY {order}",
        conditions.join(" AND ")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found: Vec<StoredLine> = Vec::new();
    while let Some(row) = rows.next()? {
        let (first_at, last_at) = (Timestamp(row.get(1)?), Timestamp(row.get(2)?));
        if is_enough(&found, filter, first_at, last_at) {
            break;
        }
        let (stream, version): (String, String) = (row.get(3)?, row.get(4)?);
        let packed = row.get_ref(5)?.as_blob()?;
        add_lines(&mut found, filter, (row.get(0)?, packed), (&stream, &version));
        filter.keep_first(&mut found);
    }
    Ok(found)
}

/// Whether no row from this one on, in the order they are read, has a line that counts.
fn is_enough(found: &[StoredLine], filter: &LineFilter, first_at: Timestamp, last_at: Timestamp) -> bool {
    found.len() >= filter.limit as usize
        && match (filter.after_id, filter.newest) {
            (Some(_), _) => true,
            (None, true) => found.first().is_none_or(|line| last_at < line.cursor.at),
            (None, false) => found.last().is_none_or(|line| first_at > line.cursor.at),
        }
}

fn add_lines(
    found: &mut Vec<StoredLine>,
    filter: &LineFilter,
    (last_id, packed): (i64, &[u8]),
    (stream, version): (&str, &str),
) {
    let (runs, _) = packed.as_chunks::<RUN_BYTES>();
    let first_id = last_id - (runs.len() * Run::LINES) as i64 + 1;
    for (index, packed) in runs.iter().enumerate() {
        let run = unpacked(packed);
        for number in 0..Run::LINES {
            let id = first_id + (index * Run::LINES + number) as i64;
            let cursor = Cursor { at: run.line_at(number), id };
            if !filter.reaches(cursor) {
                continue;
            }
            let text = run.line(number, version);
            if filter.terms.iter().all(|term| text.contains(term.as_str())) {
                let (stream, version) = (stream.to_owned(), version.to_owned());
                found.push(StoredLine { cursor, stream, version, text });
            }
        }
    }
}

fn unpacked(packed: &[u8; RUN_BYTES]) -> Run {
    let number = |at: usize| std::array::from_fn(|index| packed[at + index]);
    Run {
        id: Uuid::from_bytes(std::array::from_fn(|index| packed[index])),
        ended_at: Timestamp(i64::from_le_bytes(number(16))),
        took_us: u64::from_le_bytes(number(24)),
    }
}
