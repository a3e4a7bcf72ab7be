//! Threads that ask outside, so that a server that hangs holds up nobody who decides.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{CheckRequest, Settings, ask};
use crate::clock::Clock;
use serin_core::rollout::Answer;

/// So many questions are under way at once; more wait their turn.
const THREADS_MAX: usize = 32;

type Job = Box<dyn FnOnce() + Send>;

/// Whoever carries questions outside: the seam between deciding and asking.
pub trait Asker: Send {
    /// Asks, and calls `answered` with what comes back, later and on another thread; never waits.
    fn ask(
        &self,
        inquiry: CheckRequest,
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
        answered: Box<dyn FnOnce(Answer) + Send>,
    );
}

impl Asker for Pool {
    fn ask(
        &self,
        inquiry: CheckRequest,
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
        answered: Box<dyn FnOnce(Answer) + Send>,
    ) {
        self.run(move || answered(ask(&inquiry, &settings, &|| clock.now().wall)));
    }
}

/// A few threads that come when there is something to ask and go when there is not.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
}

impl Pool {
    /// Asks on another thread, soon; a job that cannot even get a thread waits for the next one that does.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(Box::new(job));
        if queue.threads >= THREADS_MAX {
            return;
        }
        let pool = self.clone();
        let thread = std::thread::Builder::new().name("outside".to_owned()).spawn(move || pool.work());
        match thread {
            Ok(_) => queue.threads += 1,
            Err(why) => tracing::error!(%why, "cannot start a thread to ask outside"),
        }
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let job = queue.jobs.pop_front();
        if job.is_none() {
            queue.threads -= 1;
        }
        job
    }
}
