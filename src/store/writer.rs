//! The writer thread: takes what is queued, commits it together, then answers.
//!
//! It looks once a second, and before every commit, whether the files it has open are those that are there. A store that
//! could only be read when it was opened is taken over with the first change that the disk takes.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::chain::Chain;
use super::prune::{Pruned, prune};
use super::{StoreError, apply, private};
use crate::store::database::{DATABASE_FILE, beside, connect_for_writing};
use crate::store::epoch::{Taken, epoch_in, take_over};
use serin_core::model::time::Timestamp;
use serin_core::ports::Commit;

#[cfg(test)]
pub(crate) mod here;

/// Set aside on disk so that a rollback can be committed when nothing else can.
const RESERVE_FILE: &str = "reserve";
const RESERVE_BYTES: usize = 4 << 20;
/// Written and removed to learn whether there is room: what the log and its index take at first, and more.
const PROBE_FILE: &str = "probe";
const PROBE_BYTES: usize = 256 << 10;
/// A store that could not be had is tried again after so many looks.
const LOOKS_BETWEEN_TRIES: u32 = 30;
/// How often is looked whether the files are still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Answer<T> = mpsc::SyncSender<Result<T, StoreError>>;

enum Job {
    Commit(Box<Commit>, Answer<()>),
    Prune { before: Timestamp, replies_before: Timestamp, answer: Answer<Pruned> },
    TryOut(Answer<()>),
    End,
}

/// Commits changes, in order, each whole or not at all.
#[derive(Clone)]
pub struct Writer {
    jobs: Jobs,
    frozen: Frozen,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// Where jobs go.
#[derive(Clone)]
enum Jobs {
    /// To the writer's thread.
    Thread(mpsc::Sender<Job>),
    /// Nowhere: whoever asks does them.
    #[cfg(test)]
    Here(Arc<here::Here>),
}

impl Jobs {
    fn send(&self, job: Job) {
        match self {
            // A closed queue drops the answer's sender, which the receiver sees as a hang-up.
            Jobs::Thread(jobs) => _ = jobs.send(job),
            #[cfg(test)]
            Jobs::Here(here) => here.take(job),
        }
    }
}

/// Why nothing is written until a restart, once something has made that unsafe.
type Frozen = Arc<OnceLock<String>>;

impl Writer {
    pub(super) fn start(mut desk: WriterThread, dir: &Path) -> Result<Writer, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let frozen = Arc::clone(&desk.frozen);
        if desk.connection.is_some() {
            desk.fill_reserve();
        }
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || desk.run(&queue))
            .map_err(StoreError::file("start the writer thread for", dir))?;
        Ok(Writer { jobs: Jobs::Thread(jobs), frozen, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// A writer for a store that cannot be had: it refuses everything, and its thread ends once the store can be.
    pub fn without_store(dir: &Path, why: String) -> Result<Writer, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let frozen = Frozen::default();
        let _ = frozen.set(why.clone());
        let in_dir = dir.to_owned();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || refuse_until_there(&queue, &in_dir, &why))
            .map_err(StoreError::file("start the writer thread for", dir))?;
        Ok(Writer { jobs: Jobs::Thread(jobs), frozen, thread: Arc::new(Mutex::new(Some(thread))) })
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

    /// Why writing is unsafe until a restart, if it is: a sync failed, or the files are not those that are there.
    pub fn frozen(&self) -> Option<String> {
        self.frozen.get().cloned()
    }

    /// Makes sure that a change could be stored now, and that there is room for the log of another process.
    pub fn try_out(&self) -> mpsc::Receiver<Result<(), StoreError>> {
        self.ask(Job::TryOut)
    }

    /// Whether the thread has ended, be it by a fault.
    pub fn has_ended(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> mpsc::Receiver<Result<T, StoreError>> {
        let (answer, receiver) = mpsc::sync_channel(1);
        self.jobs.send(job(answer));
        receiver
    }

    /// Waits for an answer of its own for a while; `None` when it takes longer.
    pub(crate) fn wait<T>(
        &self,
        answer: &mpsc::Receiver<Result<T, StoreError>>,
        patience: Duration,
    ) -> Option<Result<T, StoreError>> {
        match &self.jobs {
            Jobs::Thread(_) => wait_for(answer, patience),
            #[cfg(test)]
            Jobs::Here(here) => here.wait(answer, patience),
        }
    }

    /// Waits until everything queued is committed and the thread has ended; what is asked of it later is refused.
    pub fn close(self) {
        // A thread that has ended already needs no word.
        self.jobs.send(Job::End);
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

/// Answers everything with why there is no store, until there is one, or it is told to end.
fn refuse_until_there(queue: &mpsc::Receiver<Job>, dir: &Path, why: &str) {
    let refusal = || StoreError::Frozen(why.to_owned());
    let (mut seen, mut looks) = (None, 0_u32);
    loop {
        // Nobody may be waiting any more.
        match queue.recv_timeout(LOOK_EVERY) {
            Ok(Job::Commit(_, answer) | Job::TryOut(answer)) => {
                let _ = answer.send(Err(refusal()));
            }
            Ok(Job::Prune { answer, .. }) => _ = answer.send(Err(refusal())),
            Ok(Job::End) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let now = changed_at(&dir.join(DATABASE_FILE));
                looks += 1;
                // Opening a large store is work; what has changed is looked at soon, and the rest now and then.
                let is_due = now != seen || looks.is_multiple_of(LOOKS_BETWEEN_TRIES);
                if is_due
                    && now.is_some()
                    && super::Store::open(dir, "a look whether the store is back").is_ok()
                {
                    return;
                }
                seen = now;
            }
        }
    }
}

fn changed_at(path: &Path) -> Option<(u64, i64, i64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

/// What the thread works with.
pub(super) struct WriterThread {
    dir: PathBuf,
    /// There is none before a store that could only be read is taken over.
    connection: Option<Connection>,
    /// There is one beside each connection.
    chain: Option<Chain>,
    /// This daemon's epoch; before it took over, that of the one before.
    epoch: i64,
    files: Option<Files>,
    frozen: Frozen,
}

impl WriterThread {
    /// For a store that was taken over.
    pub(super) fn writing(connection: Connection, dir: &Path, taken: Taken) -> WriterThread {
        let (files, chain) = (Some(Files::of(dir)), Some(taken.chain));
        WriterThread { connection: Some(connection), chain, files, ..WriterThread::waiting(dir, taken.epoch) }
    }

    /// For a store that could only be read, at an epoch.
    pub(super) fn waiting(dir: &Path, epoch: i64) -> WriterThread {
        let dir = dir.to_owned();
        WriterThread { dir, connection: None, chain: None, epoch, files: None, frozen: Frozen::default() }
    }

    fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        let mut ends = false;
        while !ends {
            let first = match queue.recv_timeout(LOOK_EVERY) {
                Ok(first) => first,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // Whoever asks next is told.
                    let _ = self.check_files();
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            ends = self.work_off(std::iter::once(first).chain(queue.try_iter()));
        }
    }

    /// Does what is queued, commits that follow one another together; tells whether that was all there ever will be.
    fn work_off(&mut self, jobs: impl Iterator<Item = Job>) -> bool {
        let mut group = Vec::new();
        for job in jobs {
            if let Job::Commit(commit, answer) = job {
                group.push((commit, answer));
                continue;
            }
            self.commit_group(std::mem::take(&mut group));
            // Nobody may be waiting any more.
            match job {
                Job::Commit(..) => {}
                Job::Prune { before, replies_before, answer } => {
                    let pruned = self
                        .ready()
                        .and_then(|(connection, chain)| prune(connection, chain, before, replies_before));
                    let _ = answer.send(pruned);
                }
                Job::TryOut(answer) => {
                    let _ = answer.send(self.try_out());
                }
                Job::End => {
                    self.leave_whole();
                    return true;
                }
            }
        }
        self.commit_group(group);
        false
    }

    /// Brings what only the log has to the database's file, which people copy once serin has stopped.
    ///
    /// SQLite does that when the last connection goes, and those of readers cannot write. Nobody is waited for: what cannot
    /// be brought over stays in the log, where the next start finds it.
    fn leave_whole(&self) {
        if let (Some(connection), None) = (&self.connection, self.frozen.get()) {
            let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
    }

    /// A connection that this daemon may write by.
    fn ready(&mut self) -> Result<(&mut Connection, &mut Chain), StoreError> {
        self.check_files()?;
        if self.connection.is_none() {
            let mut connection = connect_for_writing(&self.dir.join(DATABASE_FILE))?;
            let taken = take_over(&mut connection, &self.dir, self.epoch)?;
            self.epoch = taken.epoch;
            (self.connection, self.chain) = (Some(connection), Some(taken.chain));
            self.files = Some(Files::of(&self.dir));
        }
        self.connection.as_mut().zip(self.chain.as_mut()).ok_or(StoreError::Closed)
    }

    /// Freezes where the files that are open are not those that are there.
    fn check_files(&mut self) -> Result<(), StoreError> {
        if let Some(why) = self.frozen.get() {
            return Err(StoreError::Frozen(why.clone()));
        }
        let (Some(files), Some(connection)) = (&mut self.files, &self.connection) else { return Ok(()) };
        let Some(path) = files.displaced(&self.dir) else { return Ok(()) };
        let error = StoreError::Displaced { saved: save(connection, &self.dir, &path), path };
        tracing::error!("{error}");
        // The first reason stays.
        let _ = self.frozen.set(error.to_string());
        Err(error)
    }

    fn try_out(&mut self) -> Result<(), StoreError> {
        let transaction = self.ready()?.0.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(StoreError::sqlite("begin a transaction"))?;
        let touch = "INSERT INTO meta (key, value) VALUES ('tried', '1')
                     ON CONFLICT (key) DO UPDATE SET value = 1 - CAST(value AS INTEGER)";
        transaction.execute(touch, []).map_err(StoreError::sqlite("write to the store"))?;
        transaction.commit().map_err(StoreError::sqlite("commit a transaction"))?;
        let probe = self.dir.join(PROBE_FILE);
        let _ = std::fs::remove_file(&probe);
        let written = private::new_file(&probe)
            .and_then(|mut file| file.write_all(&vec![0; PROBE_BYTES]).and_then(|()| file.sync_all()));
        let _ = std::fs::remove_file(&probe);
        written.map_err(|why| match why.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::file("write", &probe)(why),
        })
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
                && std::fs::remove_file(self.dir.join(RESERVE_FILE)).is_ok()
            {
                result = self.commit(&[&commit]);
            }
            let _ = answer.send(result);
        }
        self.fill_reserve();
    }

    fn commit(&mut self, commits: &[&Commit]) -> Result<(), StoreError> {
        self.ready()?;
        let result = self.transact(commits);
        if let Err(StoreError::Sqlite { source, .. }) = &result
            && source.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure)
        {
            // After a failed sync the kernel may have dropped dirty pages: what SQLite believes to be on disk may
            // not be. Only a restart, with recovery from the log, can tell.
            let _ = self.frozen.set(StoreError::sync_failed().to_string());
        }
        result
    }

    fn transact(&mut self, commits: &[&Commit]) -> Result<(), StoreError> {
        let epoch = self.epoch;
        let both = self.connection.as_mut().zip(self.chain.as_mut());
        let (connection, chain) = both.ok_or(StoreError::Closed)?;
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(StoreError::sqlite("begin a transaction"))?;
        if epoch_in(&transaction)? != epoch {
            return Err(StoreError::Fenced);
        }
        let mut head = None;
        for commit in commits {
            head = apply::apply(&transaction, commit, chain)?.or(head);
        }
        transaction.commit().map_err(StoreError::sqlite("commit a transaction"))?;
        head.iter().for_each(|head| chain.note(head));
        Ok(())
    }

    /// Sets the reserve aside again; without space for it there is none, and the next round tries again.
    fn fill_reserve(&self) {
        let reserve = self.dir.join(RESERVE_FILE);
        if reserve.metadata().is_ok_and(|meta| meta.len() == RESERVE_BYTES as u64) {
            return;
        }
        let _ = std::fs::remove_file(&reserve);
        let made = private::new_file(&reserve);
        if made.and_then(|mut file| file.write_all(&vec![0xa5; RESERVE_BYTES])).is_err() {
            let _ = std::fs::remove_file(&reserve);
        }
    }
}

/// Which files on disk the paths of the store are.
struct Files {
    database: Option<(u64, u64)>,
    log: Option<(u64, u64)>,
}

impl Files {
    fn of(dir: &Path) -> Files {
        let database = dir.join(DATABASE_FILE);
        Files { log: identity(&beside(&database, "-wal")), database: identity(&database) }
    }

    /// The path that is not the file any more that it was.
    fn displaced(&mut self, dir: &Path) -> Option<PathBuf> {
        let now = Files::of(dir);
        let path = dir.join(DATABASE_FILE);
        if now.database != self.database {
            return Some(path);
        }
        // It is made with the first change.
        self.log = self.log.or(now.log);
        (now.log != self.log).then(|| beside(&path, "-wal"))
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Brings what was acknowledged to where the next start finds it, and says in words what came of it.
fn save(connection: &Connection, dir: &Path, displaced: &Path) -> String {
    if displaced != dir.join(DATABASE_FILE) {
        // The log is still open, and the database is there: what only the log has goes over.
        let moved = connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        if matches!(moved, Ok((0, in_log, moved)) if in_log == moved) {
            return "all that had been stored is in the database file".to_owned();
        }
    }
    let copy = super::backup::unused(dir, "serin.db.rescued");
    match super::backup::copy_whole(connection, &copy) {
        Ok(()) => format!(
            "all that had been stored is saved as {}, for `serin restore --from {} --data-dir {}`",
            copy.display(),
            copy.display(),
            dir.display()
        ),
        Err(why) => format!("what had been stored could not be saved elsewhere ({why})"),
    }
}
