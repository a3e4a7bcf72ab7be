//! Asynchronous invocations that are not done yet, in a file of its own beside the store.
//!
//! An event is accepted when it is on disk (WAL, synchronous=FULL): many are written together, so that a sync is shared.
//! No decision waits for it: it has a thread, a queue and a database to itself. Here it is only kept; who tries it when
//! is not known here. In an upgrade two processes have the file: both accept, and one carries out. Backups leave it out.

mod read;
mod write;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};
use tokio::sync::{mpsc as channel, oneshot};

use super::StoreError;
use serin_core::lambda::async_event::{AsyncEvent, Owed};
use serin_core::model::arn::FunctionName;
use serin_core::model::time::Timestamp;

pub use read::{EventReader, StoredEvent};

/// The database's name within the data directory.
const FILE: &str = "events.db";
/// Payloads that wait to be written; more are refused.
const QUEUE_BYTES_MAX: u64 = 128 << 20;
/// What one event takes in the queue beside its payload, about.
const EVENT_BYTES: u64 = 1024;
/// When the file holds more than this, events are refused until some are done.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// An event that waits, without what it takes to carry it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number; they rise in the order in which events were accepted.
    pub seq: i64,
    /// Its function.
    pub function: FunctionName,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When something is to be done about it.
    pub due_at: Timestamp,
    /// How many attempts were function errors.
    pub failures: u32,
    /// Whether it has ended, and only its destinations are still to be told.
    pub is_owed: bool,
}

enum Job {
    Accept(Box<AsyncEvent>, oneshot::Sender<Result<(), StoreError>>),
    Change(Change, oneshot::Sender<()>),
    End,
}

/// What becomes of an event.
pub(super) enum Change {
    /// It is tried again.
    Again { seq: i64, failures: u32, due_at: Timestamp },
    /// It has ended: these events follow from it, and the rest is owed; without a rest it goes.
    Conclude { seq: i64, follow: Vec<AsyncEvent>, owed: Option<Owed>, due_at: Timestamp },
}

/// Events on their way to disk, and back; every clone serves.
#[derive(Clone)]
pub struct Events {
    /// Finds events again.
    pub reader: EventReader,
    jobs: mpsc::Sender<Job>,
    queued_bytes: Arc<AtomicU64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// The events of an opened file.
pub struct Opened {
    /// The way to them.
    pub events: Events,
    /// Tells of those that come from here on by these means; those that were there are read.
    pub waiting: channel::UnboundedReceiver<Waiting>,
    /// What was wrong with the file, in a sentence.
    pub problem: Option<String>,
}

impl Events {
    /// Opens the file in `dir`, making it if need be; one that is broken is kept beside the new one.
    pub fn open(dir: &Path) -> Result<Opened, StoreError> {
        let path = dir.join(FILE);
        let (connection, problem) = match open(&path) {
            Err(StoreError::Sqlite { source, .. }) if super::logs::is_broken(&source) => {
                let aside = super::logs::set_aside(&path)?;
                let problem = format!(
                    "asynchronous invocations could not be read: {source}; the file is kept as {}, and those in it are not \
                     carried out",
                    aside.display()
                );
                (open(&path), Some(problem))
            }
            other => (other, None),
        };
        if let Err(why) = &connection {
            let why = super::in_full(why);
            tracing::error!(
                error = why,
                "asynchronous invocations cannot be kept, and are refused; that is tried again"
            );
        }
        let (arrivals, waiting) = channel::unbounded_channel();
        let (jobs, queue) = mpsc::channel();
        let queued_bytes = Arc::new(AtomicU64::new(0));
        let mut desk = write::WriterThread::new(&path, connection.ok(), arrivals, Arc::clone(&queued_bytes));
        let thread = std::thread::Builder::new()
            .name("event-writer".to_owned())
            .spawn(move || desk.run(&queue))
            .map_err(StoreError::file("start the writer of events for", dir))?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        let events = Events { reader: EventReader::new(&path), jobs, queued_bytes, thread };
        Ok(Opened { events, waiting, problem })
    }

    /// Keeps an event; the answer comes once it is durable, or why it is not kept.
    pub async fn accept(&self, event: AsyncEvent) -> Result<(), StoreError> {
        let bytes = queue_bytes(&event);
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) > QUEUE_BYTES_MAX {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(StoreError::Busy);
        }
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Accept(Box::new(event), answer)).map_err(|_| StoreError::Closed)?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Notes that an event failed and is tried again; the receiver hears once that is durable.
    pub fn again(&self, seq: i64, failures: u32, due_at: Timestamp) -> oneshot::Receiver<()> {
        self.change(Change::Again { seq, failures, due_at })
    }

    /// Ends an event: those that follow from it are kept in its place, and what is owed with it; with nothing owed it
    /// goes. All of it or nothing is durable, and the receiver hears when it is, however long that takes.
    pub fn conclude(
        &self,
        seq: i64,
        follow: Vec<AsyncEvent>,
        owed: Option<Owed>,
        due_at: Timestamp,
    ) -> oneshot::Receiver<()> {
        self.change(Change::Conclude { seq, follow, owed, due_at })
    }

    fn change(&self, change: Change) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        // A closed queue drops the sender, which the receiver sees.
        let _ = self.jobs.send(Job::Change(change, done));
        written
    }

    /// Writes what was handed over, as far as that can be done at once, and ends; what comes later is refused.
    pub fn close(self) {
        let _ = self.jobs.send(Job::End);
        let handle = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle {
            let _ = handle.join();
        }
    }
}

fn queue_bytes(event: &AsyncEvent) -> u64 {
    event.payload.len() as u64 + EVENT_BYTES
}

pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let failed = StoreError::sqlite("open the events");
    super::private::database(path)?;
    let mut connection = Connection::open(path).map_err(&failed)?;
    let setting = |name: &str, value: &str| connection.pragma_update(None, name, value).map_err(&failed);
    connection.busy_timeout(Duration::from_secs(2)).map_err(&failed)?;
    setting("journal_mode", "wal")?;
    setting("synchronous", "full")?;
    setting("journal_size_limit", "16777216")?;
    let steps = Migrations::new(vec![M::up(include_str!("../../../migrations/events_0001_initial.sql"))]);
    steps.to_latest(&mut connection).map_err(|source| match source {
        rusqlite_migration::Error::RusqliteError { err, .. } => failed(err),
        source => StoreError::Migration { source },
    })?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
