//! How mappings fare: what their last batch came to and how many messages met which end; in memory alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// What became of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The function took them, and they were deleted.
    Processed,
    /// The function failed on them; SQS gives them out again.
    Failed,
    /// There was no room for the invocation; SQS gives them out again.
    Throttled,
    /// No filter wanted them, and they were deleted.
    Filtered,
}

impl Outcome {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Processed => "processed",
            Outcome::Failed => "failed",
            Outcome::Throttled => "throttled",
            Outcome::Filtered => "filtered",
        }
    }
}

/// How one mapping fares since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// AWS's LastProcessingResult: `OK`, or `PROBLEM: ` and a sentence; `None` before the first messages.
    pub last_result: Option<String>,
    /// Messages by what became of them.
    pub messages: BTreeMap<Outcome, u64>,
}

/// How every mapping fares; clones share it.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<BTreeMap<Uuid, Course>>>);

impl Progress {
    /// How a mapping fares.
    pub fn of(&self, mapping: Uuid) -> Course {
        self.lock().get(&mapping).cloned().unwrap_or_default()
    }

    /// Notes what became of messages.
    pub(super) fn count(&self, mapping: Uuid, outcome: Outcome, messages: usize) {
        *self.lock().entry(mapping).or_default().messages.entry(outcome).or_default() += messages as u64;
    }

    /// Notes that a batch went well.
    pub(super) fn went_well(&self, mapping: Uuid) {
        self.lock().entry(mapping).or_default().last_result = Some("OK".to_owned());
    }

    /// Notes what is wrong; the answer is whether that is news.
    pub(super) fn has_problem(&self, mapping: Uuid, problem: &str) -> bool {
        let result = format!("PROBLEM: {problem}");
        let mut courses = self.lock();
        let course = courses.entry(mapping).or_default();
        let is_news = course.last_result.as_ref() != Some(&result);
        course.last_result = Some(result);
        is_news
    }

    /// Forgets mappings that are gone.
    pub(super) fn keep(&self, is_there: impl Fn(Uuid) -> bool) {
        self.lock().retain(|mapping, _| is_there(*mapping));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Course>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
