//! The log writer's thread: takes what is queued, writes it together, and keeps the file within its limits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};

use rusqlite::{Connection, Transaction, params};

use super::runs::{Held, Waiting};
use super::{Job, Limits, MINUTES_KEPT, minutes};
use crate::clock;
use crate::store::StoreError;
use serin_core::lambda::log::LogLine;
use serin_core::model::arn::{FunctionName, VersionId};
use serin_core::model::time::Timestamp;

/// So many lines go into one transaction at most.
const GROUP_MAX: usize = 4096;
/// No line is longer, as on CloudWatch; what is longer is cut.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// What a line takes beside its text: numbers, and its place in the index.
const LINE_BYTES_BESIDE: i64 = 48;
/// So many lines are removed in one go, so that new ones never wait long, nor more go than must.
const PRUNE_LINES: u32 = 500;
/// Rows of invocations are as large as many lines.
const PRUNE_RUNS: u32 = 16;
/// A function that has more than this share of the room goes first when it is full.
const SHARE: u64 = 8;
/// How nice the thread is to those that carry traffic.
const NICENESS: i32 = 10;

pub(super) struct WriterThread {
    path: PathBuf,
    /// There is none before the file can be opened.
    connection: Option<Connection>,
    limits: Limits,
    queued_bytes: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    dropped_told: u64,
    is_failing: bool,
    /// What was written since the file's size was looked at.
    unchecked_bytes: u64,
    /// Ids of streams, so that a line need not look for its own.
    streams: Streams,
    /// Invocations that are yet to be written.
    waiting: Arc<Waiting>,
}

/// Ids of functions and their streams.
type Streams = HashMap<(String, Arc<str>), (i64, i64)>;

impl WriterThread {
    pub(super) fn new(
        path: &Path,
        connection: Option<Connection>,
        limits: Limits,
        (waiting, (queued_bytes, dropped)): (Arc<Waiting>, (Arc<AtomicU64>, Arc<AtomicU64>)),
    ) -> WriterThread {
        WriterThread {
            path: path.to_owned(),
            connection,
            limits,
            queued_bytes,
            dropped,
            dropped_told: 0,
            is_failing: false,
            unchecked_bytes: 0,
            streams: HashMap::new(),
            waiting,
        }
    }

    pub(super) fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        // Linux keeps a priority for each thread; where it may not be lowered, the thread is as important as others.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        loop {
            let first = match self.next(queue) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                // Whoever had something to say is gone.
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let (mut flushed, mut pruned, mut ends) = (Vec::new(), None, false);
            let mut group = Vec::new();
            for job in first.into_iter().chain(queue.try_iter()).take(GROUP_MAX) {
                match job {
                    Job::Flush(done) => flushed.push(done),
                    Job::Prune(now) => pruned = Some(now),
                    Job::End => ends = true,
                    Job::Waiting => {}
                    job @ (Job::Line(_) | Job::Minute(..) | Job::Forget(_)) => group.push(job),
                }
            }
            // Those that wait go with what is written anyway, and else when somebody asks or their time has come.
            let is_asked = !flushed.is_empty() || pruned.is_some() || ends;
            let is_due = || self.waiting.due().is_some_and(|due| due <= clock::instant_now());
            if group.is_empty() && !is_asked && !is_due() {
                continue;
            }
            let held = self.waiting.take();
            let bytes = bytes_of(&group) + held.bytes();
            let written = self.write(&group, &held);
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            if written.is_err() {
                let lines = group.iter().filter(|job| matches!(job, Job::Line(_))).count();
                self.dropped.fetch_add(lines as u64 + held.lines(), Ordering::Relaxed);
            }
            if let Err(why) = &written
                && !self.is_failing
            {
                tracing::warn!(error = %why, lines = group.len() as u64 + held.lines(), "log lines could not be written");
            }
            self.is_failing = written.is_err();
            self.unchecked_bytes += bytes;
            if self.connection.is_some()
                && self.unchecked_bytes > self.limits.bytes_max / 16
                && let Err(why) = self.keep_bound()
            {
                tracing::warn!(error = %why, "the log file may grow beyond its bound");
            }
            self.tell_dropped();
            if let Some(now) = pruned
                && let Err(why) = self.prune(now)
            {
                tracing::warn!(error = %why, "old log lines could not be removed");
            }
            for done in flushed {
                let _ = done.send(());
            }
            if ends {
                return;
            }
        }
        let held = self.waiting.take();
        if self.write(&[], &held).is_err() {
            self.dropped.fetch_add(held.lines(), Ordering::Relaxed);
        }
    }

    /// Waits for something to do; no longer than invocations may be held.
    fn next(&self, queue: &mpsc::Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        match self.waiting.due() {
            None => queue.recv().map_err(|mpsc::RecvError| RecvTimeoutError::Disconnected),
            Some(due) => queue.recv_timeout(due.saturating_duration_since(clock::instant_now())),
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > self.dropped_told {
            tracing::warn!(
                lines = dropped - self.dropped_told,
                "log lines were dropped: more came than could be written"
            );
            self.dropped_told = dropped;
        }
    }

    fn write(&mut self, group: &[Job], held: &Held) -> rusqlite::Result<()> {
        if group.is_empty() && held.lines() == 0 {
            return Ok(());
        }
        self.open()?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let transaction = connection.transaction()?;
        let mut written = Ok(());
        for job in group {
            written = match job {
                Job::Line(line) => write_line(&transaction, &mut self.streams, line),
                Job::Minute(minute, tallies) => minutes::add(&transaction, *minute, tallies),
                Job::Forget(function) => {
                    self.streams.retain(|(name, _), _| name != function);
                    forget(&transaction, function)
                }
                Job::Waiting | Job::Flush(_) | Job::Prune(_) | Job::End => Ok(()),
            };
            if written.is_err() {
                break;
            }
        }
        let streams = &mut self.streams;
        let written = written.and_then(|()| {
            held.write(&transaction, |function, version, stream, at| {
                ids(&transaction, streams, (function, version, stream, at))
            })
        });
        let done = written.and_then(|()| transaction.commit());
        if done.is_err() {
            // Ids of streams that were not made after all.
            self.streams.clear();
        }
        done
    }

    fn open(&mut self) -> rusqlite::Result<()> {
        if self.connection.is_none() {
            self.connection = Some(super::connect(&self.path).map_err(|why| match why {
                StoreError::Sqlite { source, .. } => source,
                _ => rusqlite::Error::InvalidPath(self.path.clone()),
            })?);
        }
        Ok(())
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.connection.as_ref().map_or(Ok(0), |connection| connection.execute(sql, values))
    }

    /// Removes lines and numbers that are too old, and the oldest lines while there are too many.
    fn prune(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        let before_ms = now.0.saturating_sub(self.limits.kept.as_millis() as i64);
        self.remove(
            "DELETE FROM lines WHERE id IN (
                 SELECT id FROM (SELECT id, at FROM lines ORDER BY id LIMIT ?2) WHERE at < ?1)",
            before_ms,
        )?;
        self.remove(
            "DELETE FROM runs WHERE id IN (
                 SELECT id FROM (SELECT id, last_at FROM runs ORDER BY id LIMIT ?2) WHERE last_at < ?1)",
            before_ms,
        )?;
        self.keep_bound()?;
        let minutes_before = now.0.saturating_sub(MINUTES_KEPT.as_millis() as i64).div_euclid(60_000);
        self.remove(
            "DELETE FROM minutes WHERE (series, minute) IN (
                 SELECT series, minute FROM minutes WHERE minute < ?1 ORDER BY minute LIMIT ?2)",
            minutes_before,
        )?;
        self.execute(
            "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM minutes m WHERE m.series = series.id)",
            [],
        )?;
        let streams = self.execute(
            "DELETE FROM streams WHERE last_id < (
                 SELECT ifnull(min(id), last_id + 1) FROM (SELECT min(id) AS id FROM lines UNION ALL SELECT min(id) FROM runs))",
            [],
        )?;
        if streams > 0 {
            self.streams.clear();
        }
        Ok(())
    }

    /// Keeps every function within its share, and the file within its bound.
    ///
    /// A function that says much loses its own oldest lines and nobody else's: each has an eighth of the room. Where
    /// there are so many functions that the file is full all the same, the one that holds most loses some.
    fn keep_bound(&mut self) -> rusqlite::Result<()> {
        self.unchecked_bytes = 0;
        if self.bytes()? <= self.limits.bytes_max / SHARE {
            return Ok(());
        }
        let mut held = self.held_by_function()?;
        let share = self.limits.bytes_max / SHARE;
        for (function, held) in &mut held {
            while *held > share {
                let removed = self.remove_oldest_of(*function)?;
                if removed == 0 {
                    break;
                }
                *held = held.saturating_sub(removed);
            }
        }
        while self.bytes()? > self.limits.bytes_max {
            let Some((function, held)) = held.iter_mut().max_by_key(|(_, held)| *held) else { break };
            let removed = self.remove_oldest_of(*function)?;
            if removed == 0 {
                break;
            }
            *held = held.saturating_sub(removed);
        }
        Ok(())
    }

    /// How many bytes the lines of each function take, about.
    fn held_by_function(&self) -> rusqlite::Result<Vec<(i64, u64)>> {
        let sql = "SELECT function, sum(bytes) FROM (
                       SELECT function, octet_length(text) + ?1 AS bytes FROM lines UNION ALL
                       SELECT function, octet_length(packed) + 2 * ?1 FROM runs) GROUP BY function";
        let Some(connection) = &self.connection else { return Ok(Vec::new()) };
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement
            .query_map([LINE_BYTES_BESIDE], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64)))?;
        rows.collect()
    }

    /// Removes some of a function's oldest lines, and tells how many bytes they took, about.
    fn remove_oldest_of(&self, function: i64) -> rusqlite::Result<u64> {
        let Some(connection) = &self.connection else { return Ok(0) };
        let oldest = |sql| -> rusqlite::Result<Option<i64>> {
            connection.prepare_cached(sql)?.query_row([function], |row| row.get(0))
        };
        let line = oldest("SELECT min(at) FROM lines WHERE function = ?1")?;
        let run = oldest("SELECT min(first_at) FROM runs WHERE function = ?1")?;
        let has_older_run = run.is_some_and(|run| line.is_none_or(|line| run <= line));
        let (sql, count) = if has_older_run {
            let sql = "DELETE FROM runs WHERE id IN (
                           SELECT id FROM runs WHERE function = ?1 ORDER BY first_at, id LIMIT ?2)
                       RETURNING octet_length(packed) + 2 * ?3";
            (sql, PRUNE_RUNS)
        } else {
            let sql = "DELETE FROM lines WHERE id IN (
                           SELECT id FROM lines WHERE function = ?1 ORDER BY at, id LIMIT ?2)
                       RETURNING octet_length(text) + ?3";
            (sql, PRUNE_LINES)
        };
        let mut statement = connection.prepare_cached(sql)?;
        let removed = statement.query_map(params![function, count, LINE_BYTES_BESIDE], |row| {
            Ok(row.get::<_, i64>(0)?.max(0) as u64)
        })?;
        removed.sum()
    }

    /// Runs a removal, batch by batch, until it finds nothing more.
    fn remove(&self, sql: &str, before: i64) -> rusqlite::Result<()> {
        while self.execute(sql, params![before, PRUNE_LINES])? == PRUNE_LINES as usize {}
        Ok(())
    }

    /// How much of the file is in use.
    fn bytes(&self) -> rusqlite::Result<u64> {
        let Some(connection) = &self.connection else { return Ok(0) };
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = pragma("page_count")? - pragma("freelist_count")?;
        Ok((pages * pragma("page_size")?).max(0) as u64)
    }
}

/// Removes everything of a function's name.
fn forget(transaction: &Transaction<'_>, function: &str) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM minutes WHERE series IN (SELECT id FROM series WHERE function = ?1)",
        "DELETE FROM series WHERE function = ?1",
        "DELETE FROM lines WHERE function IN (SELECT id FROM functions WHERE name = ?1)",
        "DELETE FROM runs WHERE function IN (SELECT id FROM functions WHERE name = ?1)",
        "DELETE FROM streams WHERE function IN (SELECT id FROM functions WHERE name = ?1)",
        "DELETE FROM functions WHERE name = ?1",
    ] {
        transaction.execute(sql, [function])?;
    }
    Ok(())
}

fn bytes_of(group: &[Job]) -> u64 {
    let lines = group.iter().filter_map(|job| if let Job::Line(line) = job { Some(line) } else { None });
    lines.map(|line| line.text.len() as u64).sum()
}

/// The ids of a function and its stream, known or made.
fn ids(
    transaction: &Transaction<'_>,
    streams: &mut Streams,
    (function, version, stream, at): (&FunctionName, VersionId, &Arc<str>, Timestamp),
) -> rusqlite::Result<(i64, i64)> {
    let key = (function.to_string(), Arc::clone(stream));
    if let Some(known) = streams.get(&key) {
        return Ok(*known);
    }
    let known = open_stream(transaction, (function, version, stream, at))?;
    // A day's worth of streams is small; more than that is from days ago.
    if streams.len() > 10_000 {
        streams.clear();
    }
    streams.insert(key, known);
    Ok(known)
}

fn write_line(transaction: &Transaction<'_>, streams: &mut Streams, line: &LogLine) -> rusqlite::Result<()> {
    let (function, stream) =
        ids(transaction, streams, (&line.function, line.version, &line.stream, line.at))?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO lines (function, stream, at, text) VALUES (?1, ?2, ?3, ?4) RETURNING id",
    )?;
    let mut last = None;
    for text in line.text.lines() {
        let text = &text[..text.floor_char_boundary(LINE_BYTES_MAX)];
        last =
            Some(insert.query_row(params![function, stream, line.at.0, text], |row| row.get::<_, i64>(0))?);
    }
    let Some(last) = last else { return Ok(()) };
    transaction
        .prepare_cached(
            "UPDATE streams SET first_at = min(first_at, ?2), last_at = max(last_at, ?2), last_id = ?3,
                 bytes = bytes + ?4 WHERE id = ?1",
        )?
        .execute(params![stream, line.at.0, last, line.text.len() as i64])?;
    Ok(())
}

/// The ids of a function and its stream, which are made if need be.
fn open_stream(
    transaction: &Transaction<'_>,
    (function, version, stream, at): (&FunctionName, VersionId, &Arc<str>, Timestamp),
) -> rusqlite::Result<(i64, i64)> {
    let function: i64 = transaction.query_row(
        "INSERT INTO functions (name) VALUES (?1) ON CONFLICT (name) DO UPDATE SET name = name RETURNING id",
        [function.as_str()],
        |row| row.get(0),
    )?;
    let stream = transaction.query_row(
        "INSERT INTO streams (function, name, version, first_at, last_at, last_id, bytes) VALUES (?1, ?2, ?3, ?4, ?4, 0, 0)
         ON CONFLICT (function, name) DO UPDATE SET name = name RETURNING id",
        params![function, &**stream, version.to_string(), at.0],
        |row| row.get(0),
    )?;
    Ok((function, stream))
}
