//! The writer of events: takes what is queued, commits it together, then answers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc as channel, oneshot};

use super::{Change, FILE_BYTES_MAX, Job, Waiting, queue_bytes};
use crate::store::StoreError;
use serin_core::lambda::async_event::AsyncEvent;
use serin_core::model::time::Timestamp;

/// So many jobs go into one transaction at most.
const GROUP_MAX: usize = 1024;
/// How long after a change that could not be written it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct WriterThread {
    path: PathBuf,
    /// There is none before the file can be opened.
    connection: Option<Connection>,
    arrivals: channel::UnboundedSender<Waiting>,
    queued_bytes: Arc<AtomicU64>,
    /// Changes that could not be written yet: what was done stays done, so they must be.
    undone: Vec<(Change, oneshot::Sender<()>)>,
    /// A sync failed: what is on disk is not known, and nothing more may be written.
    is_frozen: bool,
    is_failing: bool,
}

type Accepted = (Box<AsyncEvent>, oneshot::Sender<Result<(), StoreError>>);

impl WriterThread {
    pub(super) fn new(
        path: &Path,
        connection: Option<Connection>,
        arrivals: channel::UnboundedSender<Waiting>,
        queued_bytes: Arc<AtomicU64>,
    ) -> WriterThread {
        let path = path.to_owned();
        WriterThread {
            path,
            connection,
            arrivals,
            queued_bytes,
            undone: Vec::new(),
            is_frozen: false,
            is_failing: false,
        }
    }

    pub(super) fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        loop {
            let first = if self.undone.is_empty() {
                queue.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(TRY_AGAIN)
            };
            let first = match first {
                Ok(first) => Some(first),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let (mut accepted, mut ends) = (Vec::new(), false);
            for job in first.into_iter().chain(queue.try_iter()).take(GROUP_MAX) {
                match job {
                    Job::Accept(event, answer) => accepted.push((event, answer)),
                    Job::Change(change, done) => self.undone.push((change, done)),
                    Job::End => ends = true,
                }
            }
            // Changes first: they make room.
            self.change();
            self.accept(accepted);
            if ends {
                return;
            }
        }
    }

    /// Writes changes in one transaction; if that fails, each alone, for some of them make room. What cannot be written
    /// is kept for later.
    fn change(&mut self) {
        let undone = std::mem::take(&mut self.undone);
        if undone.is_empty() {
            return;
        }
        let together: Vec<&Change> = undone.iter().map(|(change, _)| change).collect();
        match self.apply(&together) {
            Ok(()) => {
                self.is_failing = false;
                for (_, done) in undone {
                    // Whoever does not wait for it need not hear.
                    let _ = done.send(());
                }
            }
            Err(why) => {
                self.has_failed(&why);
                for (change, done) in undone {
                    match self.apply(&[&change]) {
                        Ok(()) => _ = done.send(()),
                        Err(_) => self.undone.push((change, done)),
                    }
                }
            }
        }
    }

    fn apply(&mut self, changes: &[&Change]) -> Result<(), StoreError> {
        let is_frozen = self.is_frozen;
        let arrived = transact(self.open()?, is_frozen, |transaction| {
            let mut arrived = Vec::new();
            for change in changes {
                arrived.extend(apply(transaction, change)?);
            }
            Ok(arrived)
        });
        arrived.map(|arrived| self.tell(arrived))
    }

    /// Writes accepted events in one transaction; if that fails, each alone, so that one cannot fail another.
    fn accept(&mut self, accepted: Vec<Accepted>) {
        if accepted.is_empty() {
            return;
        }
        let bytes: u64 = accepted.iter().map(|(event, _)| queue_bytes(event)).sum();
        let together: Vec<&AsyncEvent> = accepted.iter().map(|(event, _)| &**event).collect();
        match self.insert(&together) {
            Ok(arrived) => {
                self.is_failing = false;
                self.tell(arrived);
                for (_, answer) in accepted {
                    // A client that went away has its event carried out all the same.
                    let _ = answer.send(Ok(()));
                }
            }
            Err(why) => {
                self.has_failed(&why);
                for (event, answer) in accepted {
                    let inserted = self.insert(&[&event]).map(|arrived| self.tell(arrived));
                    let _ = answer.send(inserted);
                }
            }
        }
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn insert(&mut self, events: &[&AsyncEvent]) -> Result<Vec<Waiting>, StoreError> {
        self.open()?;
        if self.bytes()? > FILE_BYTES_MAX {
            return Err(StoreError::Busy);
        }
        let is_frozen = self.is_frozen;
        let written = transact(self.open()?, is_frozen, |transaction| {
            events.iter().map(|event| insert(transaction, event)).collect::<rusqlite::Result<Vec<_>>>()
        });
        if let Err(why) = &written {
            self.freeze_if_unsafe(why);
        }
        written
    }

    /// Tells whoever carries events out.
    fn tell(&self, arrived: Vec<Waiting>) {
        for event in arrived {
            // Nobody carries events out any more when serin ends; they are found at the next start.
            let _ = self.arrivals.send(event);
        }
    }

    fn has_failed(&mut self, why: &StoreError) {
        self.freeze_if_unsafe(why);
        if !self.is_failing {
            tracing::error!(error = %why, "events of asynchronous invocations cannot be written; new ones are refused");
        }
        self.is_failing = true;
    }

    fn freeze_if_unsafe(&mut self, why: &StoreError) {
        if let StoreError::Sqlite { source, .. } = why
            && source.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure)
        {
            // As in the store: after a failed sync, only a restart can tell what is on disk.
            self.is_frozen = true;
        }
    }

    fn open(&mut self) -> Result<&mut Connection, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(super::open(&self.path)?);
        }
        self.connection.as_mut().ok_or(StoreError::Closed)
    }

    /// How much of the file is in use.
    fn bytes(&self) -> Result<u64, StoreError> {
        let Some(connection) = &self.connection else { return Ok(0) };
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = || Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?);
        pages().map(|bytes: i64| bytes.max(0) as u64).map_err(StoreError::sqlite("measure the events"))
    }
}

fn transact<T>(
    connection: &mut Connection,
    is_frozen: bool,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    if is_frozen {
        return Err(StoreError::sync_failed());
    }
    let attempt = || -> rusqlite::Result<T> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    };
    attempt().map_err(StoreError::sqlite("write events"))
}

fn insert(transaction: &Transaction<'_>, event: &AsyncEvent) -> rusqlite::Result<Waiting> {
    let trace = serde_json::to_string(&event.trace).expect("pairs of strings are JSON");
    let seq = transaction
        .prepare_cached(
            "INSERT INTO events (id, function, qualifier, arn, trace, hops, accepted_at, due_at, failures, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, 0, ?8)",
        )?
        .insert(params![
            event.id.to_string(),
            event.function.as_str(),
            event.qualifier,
            event.arn,
            trace,
            event.hops,
            event.accepted_at.0,
            &*event.payload,
        ])?;
    Ok(Waiting {
        seq,
        function: event.function.clone(),
        accepted_at: event.accepted_at,
        due_at: event.accepted_at,
        failures: 0,
        is_owed: false,
    })
}

/// Applies a change, and tells which events followed from it.
fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<Vec<Waiting>> {
    match change {
        Change::Again { seq, failures, due_at: Timestamp(due_at) } => {
            transaction
                .prepare_cached("UPDATE events SET failures = ?2, due_at = ?3 WHERE seq = ?1")?
                .execute(params![seq, failures, due_at])?;
            Ok(Vec::new())
        }
        Change::Conclude { seq, follow, owed, due_at: Timestamp(due_at) } => {
            match owed {
                None => {
                    transaction.prepare_cached("DELETE FROM events WHERE seq = ?1")?.execute([seq])?;
                }
                Some(owed) => {
                    let owed = serde_json::to_string(owed).expect("reports are JSON");
                    transaction
                        .prepare_cached(
                            "UPDATE events SET owed = ?2, due_at = ?3, payload = x'' WHERE seq = ?1",
                        )?
                        .execute(params![seq, owed, due_at])?;
                }
            }
            follow.iter().map(|event| insert(transaction, event)).collect()
        }
    }
}
