//! A writer without a thread, for simulations: whoever asks does the work, on a disk that does what a seed says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::{Frozen, Job, Jobs, StoreError, Writer, WriterThread};

/// What becomes of a job.
pub(crate) enum Fate {
    /// The disk takes it.
    Taken,
    /// The disk refuses it.
    Refused(StoreError),
    /// The disk stands still.
    Held,
}

/// The disk under the store.
pub(crate) trait Disk: Send + Sync {
    /// Decides about a change that comes, a rollback or another; it may end the process instead.
    fn before(&self, is_urgent: bool) -> Fate;

    /// A change is durable, and nobody was told yet; it may end the process.
    fn after(&self);

    /// Somebody waits for it for so long.
    fn pass(&self, span: Duration);
}

/// What is asked, and who does it.
pub(super) struct Here {
    desk: Mutex<WriterThread>,
    disk: Arc<dyn Disk>,
    held: Mutex<VecDeque<Job>>,
}

impl Writer {
    pub(in crate::store) fn here(desk: WriterThread, disk: Arc<dyn Disk>) -> Writer {
        if desk.connection.is_some() {
            desk.fill_reserve();
        }
        let frozen = Frozen::clone(&desk.frozen);
        let here = Here { desk: Mutex::new(desk), disk, held: Mutex::default() };
        Writer { jobs: Jobs::Here(Arc::new(here)), frozen, thread: Arc::default() }
    }
}

impl Here {
    pub(super) fn take(&self, job: Job) {
        self.held().push_back(job);
        self.work();
    }

    fn held(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let Some(job) = self.held().pop_front() else { return };
            let is_urgent = matches!(&job, Job::Commit(commit, _) if commit.urgent);
            match self.disk.before(is_urgent) {
                Fate::Held => {
                    self.held().push_front(job);
                    return;
                }
                Fate::Refused(why) => job.refuse(why),
                Fate::Taken => {
                    self.desk.lock().unwrap_or_else(PoisonError::into_inner).work_off(std::iter::once(job));
                    self.disk.after();
                }
            }
        }
    }

    pub(super) fn wait<T>(
        &self,
        answer: &mpsc::Receiver<Result<T, StoreError>>,
        patience: Duration,
    ) -> Option<Result<T, StoreError>> {
        let mut waited = false;
        loop {
            match answer.try_recv() {
                Ok(result) => return Some(result),
                Err(mpsc::TryRecvError::Disconnected) => return Some(Err(StoreError::Closed)),
                Err(mpsc::TryRecvError::Empty) if waited => return None,
                Err(mpsc::TryRecvError::Empty) => {
                    self.disk.pass(patience);
                    self.work();
                    waited = true;
                }
            }
        }
    }
}

impl Job {
    fn refuse(self, why: StoreError) {
        // Nobody may be waiting any more.
        match self {
            Job::Commit(_, answer) | Job::TryOut(answer) => _ = answer.send(Err(why)),
            Job::Prune { answer, .. } => _ = answer.send(Err(why)),
            Job::End => {}
        }
    }
}
