//! What invocations leave behind, in a file of its own beside the store: log lines, and numbers minute by minute.
//!
//! However much is written here, no decision waits for it: it has a thread, a queue and a database to itself, and what
//! the queue cannot take is dropped and counted. A power cut may cost the last moment (synchronous=NORMAL), and a
//! broken file is set aside and begun anew. Backups leave it out.

pub mod lines;
mod minutes;
mod read;
mod runs;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::StoreError;
use serin_core::lambda::log::{LogLine, LogSink, LogSinks, Minute, Run, RunSink, Runs, Series, Tally};
use serin_core::model::time::Timestamp;

use runs::Waiting;

pub use crate::store::logs::lines::{Cursor, LineFilter, StoredLine};
pub use read::{LogReader, Stream, StreamFilter};

/// The database's name within the data directory.
const FILE: &str = "logs.db";
/// How many lines may wait to be written.
const QUEUE_LINES_MAX: usize = 16_384;
/// And how much room they may take: a disk that stalls under long lines must not cost the daemon its memory.
const QUEUE_BYTES_MAX: u64 = 16 << 20;
/// Numbers are kept so long, as CloudWatch keeps those of a minute.
const MINUTES_KEPT: Duration = Duration::from_secs(15 * 86_400);

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lines older than this go.
    pub kept: Duration,
    /// The file holds no more than this, nor any function more than an eighth of it.
    pub bytes_max: u64,
}

enum Job {
    Line(LogLine),
    /// There are invocations to be written soon.
    Waiting,
    Minute(Minute, Vec<(Series, Tally)>),
    Forget(String),
    Flush(mpsc::SyncSender<()>),
    Prune(Timestamp),
    End,
}

/// Lines and minutes on their way to disk, and back.
#[derive(Clone)]
pub struct Logs {
    /// Answers questions.
    pub reader: LogReader,
    jobs: mpsc::SyncSender<Job>,
    /// Invocations that are written before long.
    waiting: Arc<Waiting>,
    queued_bytes: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Logs {
    /// Opens the file in `dir`, making it if need be; one that is broken is kept beside the new one.
    pub fn open(dir: &Path, limits: Limits) -> Result<Logs, StoreError> {
        let path = dir.join(FILE);
        let connection = match connect(&path) {
            Err(StoreError::Sqlite { source, .. }) if is_broken(&source) => {
                let aside = set_aside(&path)?;
                tracing::warn!(kept = %aside.display(), "the log file was broken, and is begun anew");
                connect(&path)
            }
            other => other,
        };
        if let Err(why) = &connection {
            // On a disk that takes nothing, traffic and decisions matter, and lines are dropped and counted.
            tracing::warn!(error = super::in_full(why), "the log file cannot be opened; that is tried again");
        }
        let (jobs, queue) = mpsc::sync_channel(QUEUE_LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let queued_bytes = Arc::new(AtomicU64::new(0));
        let waiting = Arc::<Waiting>::default();
        let counters = (Arc::clone(&queued_bytes), Arc::clone(&dropped));
        let mut desk =
            write::WriterThread::new(&path, connection.ok(), limits, (Arc::clone(&waiting), counters));
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || desk.run(&queue))
            .map_err(StoreError::file("start the log writer for", dir))?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok(Logs { reader: LogReader::new(&path), jobs, waiting, queued_bytes, dropped, thread })
    }

    /// Where whoever runs versions puts their lines.
    pub fn sink(&self) -> LogSink {
        let entrance = self.entrance();
        Arc::new(move |line: LogLine| {
            let bytes = line.text.len() as u64;
            entrance.take(bytes, 1, |jobs| jobs.try_send(Job::Line(line)).is_ok());
        })
    }

    /// The same, and where invocations are put that say nothing themselves.
    pub fn sinks(&self) -> LogSinks {
        let (entrance, waiting) = (self.entrance(), Arc::clone(&self.waiting));
        let runs: RunSink = Arc::new(move |runs: Runs| {
            let (bytes, lines) = (runs::bytes_of(&runs), runs.runs.len() * Run::LINES);
            entrance.take(bytes, lines as u64, |jobs| {
                if waiting.add(runs) {
                    // A queue that is full has the writer look at them, too.
                    let _ = jobs.try_send(Job::Waiting);
                }
                true
            });
        });
        LogSinks { lines: self.sink(), runs }
    }

    fn entrance(&self) -> Entrance {
        let (queued_bytes, dropped) = (Arc::clone(&self.queued_bytes), Arc::clone(&self.dropped));
        Entrance { jobs: self.jobs.clone(), queued_bytes, dropped }
    }

    /// Adds to the numbers of a minute; waits while the queue is full.
    pub fn add_minute(&self, minute: Minute, tallies: Vec<(Series, Tally)>) {
        // A closed queue is that of a daemon that ends.
        let _ = self.jobs.send(Job::Minute(minute, tallies));
    }

    /// Removes everything of a function's name, for another function begins under it; waits while the queue is full.
    pub fn forget(&self, function: &str) {
        self.queued_bytes.fetch_sub(self.waiting.forget(function), Ordering::Relaxed);
        let _ = self.jobs.send(Job::Forget(function.to_owned()));
    }

    /// Removes what is older than is kept.
    pub fn prune(&self, now: Timestamp) {
        let _ = self.jobs.send(Job::Prune(now));
    }

    /// Waits until what was handed over before is written.
    pub fn flush(&self) {
        let (done, written) = mpsc::sync_channel(1);
        if self.jobs.send(Job::Flush(done)).is_ok() {
            // Fails when the writer ends meanwhile, which flushes, too.
            let _ = written.recv();
        }
    }

    /// How many lines were dropped since the process began, because more came than could be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what was handed over, and ends; what comes later is dropped.
    pub fn close(self) {
        let _ = self.jobs.send(Job::End);
        let handle = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(handle) = handle {
            let _ = handle.join();
        }
    }
}

/// The way in, which is never waited at.
struct Entrance {
    jobs: mpsc::SyncSender<Job>,
    queued_bytes: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl Entrance {
    /// Hands over something of so many bytes; where there is no room, its lines are counted.
    fn take(&self, bytes: u64, lines: u64, hand_over: impl FnOnce(&mpsc::SyncSender<Job>) -> bool) {
        let has_room = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUE_BYTES_MAX;
        if !has_room || !hand_over(&self.jobs) {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

/// Whether a file is no database, or not a sound one.
pub(super) fn is_broken(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Moves a broken database out of the way, and tells where it is kept.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let aside = beside(".broken");
    std::fs::rename(path, &aside).map_err(StoreError::file("set aside the broken", path))?;
    for ending in ["-wal", "-shm"] {
        // Not there where SQLite was ended well.
        let _ = std::fs::remove_file(beside(ending));
    }
    Ok(aside)
}

pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = StoreError::sqlite("open the logs");
    super::private::database(path)?;
    let mut connection = Connection::open(path).map_err(&failed)?;
    let setting = |name: &str, value: &str| connection.pragma_update(None, name, value).map_err(&failed);
    connection.busy_timeout(Duration::from_secs(2)).map_err(&failed)?;
    setting("journal_mode", "wal")?;
    setting("synchronous", "normal")?;
    setting("journal_size_limit", "16777216")?;
    let steps = Migrations::new(vec![
        M::up(include_str!("../../../migrations/logs_0001_initial.sql")),
        M::up(include_str!("../../../migrations/logs_0002_runs.sql")),
    ]);
    steps.to_latest(&mut connection).map_err(|source| match source {
        rusqlite_migration::Error::RusqliteError { err, .. } => StoreError::sqlite("open the logs")(err),
        source => StoreError::Migration { source },
    })?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
