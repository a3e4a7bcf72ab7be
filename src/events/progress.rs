//! How asynchronous invocations fare: how many wait, since when, and what became of the others; in memory alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lanes::Count;
use serin_core::lambda::async_event::ReportKind;
use serin_core::model::arn::FunctionName;
use serin_core::model::time::Timestamp;

/// What became of an event, or of one attempt at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The function answered.
    Delivered,
    /// The function failed, and is tried again.
    Retried,
    /// No version got it, and it is tried again.
    PutOff,
    /// It is not tried any more.
    GivenUp,
    /// What it was for was deleted.
    Discarded,
}

impl Outcome {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Retried => "retried",
            Outcome::PutOff => "put_off",
            Outcome::GivenUp => "given_up",
            Outcome::Discarded => "discarded",
        }
    }
}

/// How the events of one function fare; counts since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Events that have not ended, those under way among them.
    pub waiting: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
    /// Events that have ended, and whose destinations have not all heard yet.
    pub owed: u64,
    /// Events, or attempts, by what became of them.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Reports by their kind, and whether somebody took them.
    pub reports: BTreeMap<(ReportKind, bool), u64>,
}

/// How the events of every function fare; clones share it.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<BTreeMap<FunctionName, Course>>>);

impl Progress {
    /// How all of them fare.
    pub fn all(&self) -> BTreeMap<FunctionName, Course> {
        self.lock().clone()
    }

    pub(super) fn count(&self, function: &FunctionName, outcome: Outcome) {
        *self.lock().entry(function.clone()).or_default().outcomes.entry(outcome).or_default() += 1;
    }

    pub(super) fn told(&self, function: &FunctionName, kind: ReportKind, was_taken: bool) {
        let mut courses = self.lock();
        let reports = &mut courses.entry(function.clone()).or_default().reports;
        *reports.entry((kind, was_taken)).or_default() += 1;
    }

    /// Notes what waits, and forgets functions that are gone and for which nothing does.
    pub(super) fn set_waiting(
        &self,
        counts: impl Iterator<Item = Count>,
        is_there: impl Fn(&FunctionName) -> bool,
    ) {
        let mut courses = self.lock();
        for course in courses.values_mut() {
            (course.waiting, course.oldest, course.owed) = (0, None, 0);
        }
        for Count { function, is_owed, events, oldest } in counts {
            let course = courses.entry(function).or_default();
            if is_owed {
                course.owed = events as u64;
            } else {
                (course.waiting, course.oldest) = (events as u64, oldest);
            }
        }
        courses.retain(|function, course| course.waiting + course.owed > 0 || is_there(function));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FunctionName, Course>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
