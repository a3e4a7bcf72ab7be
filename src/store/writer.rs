//! The writer thread: takes what is queued, commits it together, then answers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::change::Commit;
use super::prune::{Pruned, prune};
use super::{StoreError, apply, private};
use crate::domain::time::Timestamp;

/// Set aside on disk so that a rollback can be committed when nothing else can.
const RESERVE_FILE: &str = "reserve";
const RESERVE_BYTES: usize = 4 << 20;

type Answer<T> = mpsc::SyncSender<Result<T, StoreError>>;

enum Job {
    Commit(Box<Commit>, Answer<()>),
    Prune { before: Timestamp, replies_before: Timestamp, answer: Answer<Pruned> },
    End,
}

/// Commits changes, in order, each whole or not at all.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    frozen: Arc<AtomicBool>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, dir: &Path, epoch: i64) -> Result<Writer, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let frozen = Arc::new(AtomicBool::new(false));
        let mut desk =
            Desk { connection, epoch, reserve: dir.join(RESERVE_FILE), frozen: Arc::clone(&frozen) };
        desk.fill_reserve();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || desk.run(&queue))
            .map_err(StoreError::file("start the writer thread for", dir))?;
        Ok(Writer { jobs, frozen, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Queues a change; the answer comes once it is durable.
    pub fn commit(&self, commit: Commit) -> mpsc::Receiver<Result<(), StoreError>> {
        self.ask(|answer| Job::Commit(Box::new(commit), answer))
    }

    /// Removes what is older than what people need; see `prune`.
    pub fn prune(
        &self,
        before: Timestamp,
        replies_before: Timestamp,
    ) -> mpsc::Receiver<Result<Pruned, StoreError>> {
        self.ask(|answer| Job::Prune { before, replies_before, answer })
    }

    /// Whether a failed sync has made writing unsafe until a restart.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Whether the thread has ended, be it by a fault.
    pub fn has_ended(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> mpsc::Receiver<Result<T, StoreError>> {
        let (answer, receiver) = mpsc::sync_channel(1);
        // A closed queue drops the answer's sender, which the receiver sees as a hang-up.
        let _ = self.jobs.send(job(answer));
        receiver
    }

    /// Waits until everything queued is committed and the thread has ended; what is asked of it later is refused.
    pub fn close(self) {
        // A thread that has ended already needs no word.
        let _ = self.jobs.send(Job::End);
        let handle = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(handle) = handle {
            let _ = handle.join();
        }
    }
}

/// Waits for an answer of the writer for a while; `None` when it takes longer.
pub(crate) fn wait_for<T>(
    answer: &mpsc::Receiver<Result<T, StoreError>>,
    patience: Duration,
) -> Option<Result<T, StoreError>> {
    match answer.recv_timeout(patience) {
        Ok(result) => Some(result),
        Err(mpsc::RecvTimeoutError::Timeout) => None,
        Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(StoreError::Closed)),
    }
}

struct Desk {
    connection: Connection,
    epoch: i64,
    reserve: PathBuf,
    frozen: Arc<AtomicBool>,
}

impl Desk {
    fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        let mut ends = false;
        while !ends && let Ok(first) = queue.recv() {
            let mut group = Vec::new();
            for job in std::iter::once(first).chain(queue.try_iter()) {
                match job {
                    Job::Commit(commit, answer) => group.push((commit, answer)),
                    Job::Prune { before, replies_before, answer } => {
                        self.commit_group(std::mem::take(&mut group));
                        let _ = answer.send(prune(&mut self.connection, before, replies_before));
                    }
                    Job::End => {
                        ends = true;
                        break;
                    }
                }
            }
            self.commit_group(group);
        }
    }

    /// Commits a group in one transaction; if that fails, each change alone, so that one cannot fail another.
    fn commit_group(&mut self, group: Vec<(Box<Commit>, Answer<()>)>) {
        if group.is_empty() {
            return;
        }
        let together: Vec<&Commit> = group.iter().map(|(commit, _)| &**commit).collect();
        if group.len() > 1 && self.commit(&together).is_ok() {
            for (_, answer) in group {
                let _ = answer.send(Ok(()));
            }
            return;
        }
        for (commit, answer) in group {
            let mut result = self.commit(&[&commit]);
            if commit.urgent
                && matches!(result, Err(StoreError::Full))
                && std::fs::remove_file(&self.reserve).is_ok()
            {
                result = self.commit(&[&commit]);
            }
            let _ = answer.send(result);
        }
        self.fill_reserve();
    }

    fn commit(&mut self, commits: &[&Commit]) -> Result<(), StoreError> {
        if self.frozen.load(Ordering::Acquire) {
            return Err(StoreError::Frozen);
        }
        let result = self.transact(commits);
        if let Err(StoreError::Sqlite { source, .. }) = &result
            && source.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure)
        {
            // After a failed sync the kernel may have dropped dirty pages: what SQLite believes to be on disk may
            // not be. Only a restart, with recovery from the WAL, can tell.
            self.frozen.store(true, Ordering::Release);
        }
        result
    }

    fn transact(&mut self, commits: &[&Commit]) -> Result<(), StoreError> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(StoreError::sqlite("begin a transaction"))?;
        apply::check_epoch(&transaction, self.epoch)?;
        for commit in commits {
            apply::apply(&transaction, commit)?;
        }
        transaction.commit().map_err(StoreError::sqlite("commit a transaction"))
    }

    /// Sets the reserve aside again; without space for it there is none, and the next round tries again.
    fn fill_reserve(&self) {
        if self.reserve.metadata().is_ok_and(|meta| meta.len() == RESERVE_BYTES as u64) {
            return;
        }
        let _ = std::fs::remove_file(&self.reserve);
        let made = private::new_file(&self.reserve);
        if made.and_then(|mut file| file.write_all(&vec![0xa5; RESERVE_BYTES])).is_err() {
            let _ = std::fs::remove_file(&self.reserve);
        }
    }
}
