//! Schedules: which plan's time has come.
//!
//! A time that came while the daemon was down or the machine asleep is not made up for: nobody expects a rollout of
//! 09:00 to begin at noon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::time::Timestamp;
use crate::plan::Start;
use crate::world::notice::Notice;
use crate::world::plans::{PlanBook, ReadPlan};

/// A schedule that is noticed later than this is missed.
const LATE_MAX: Duration = Duration::from_secs(60);

/// The next time of every plan with a schedule.
#[derive(Default)]
pub struct Schedules {
    next: BTreeMap<String, (String, Timestamp)>,
    seen: Option<Timestamp>,
}

impl Schedules {
    /// Takes over the plans as they now are; a plan that did not change keeps its next time.
    pub fn follow(&mut self, book: &PlanBook, now: Timestamp) {
        let mut next = BTreeMap::new();
        for read in book.started_by(|start| matches!(start, Start::Cron(_))) {
            let name = read.pinned.name.clone();
            let kept = self.next.remove(&name).filter(|(digest, _)| *digest == read.pinned.digest);
            let time = kept.map(|(_, time)| time).or_else(|| occurrence_after(&read, now));
            if let Some(time) = time {
                next.insert(name, (read.pinned.digest.clone(), time));
            }
        }
        self.next = next;
    }

    /// The least next time.
    pub fn next(&self) -> Option<Timestamp> {
        self.next.values().map(|(_, time)| *time).min()
    }

    /// The plans whose time has come, with that time; each only once.
    ///
    /// Those that were missed are told of.
    pub fn due(
        &mut self,
        book: &PlanBook,
        now: Timestamp,
        notices: &mut Vec<Notice>,
    ) -> Vec<(Arc<ReadPlan>, Timestamp)> {
        // A wall clock that was set back would leave times lying far ahead: they are found anew.
        let was_set_back = self.seen.replace(now).is_some_and(|seen| now.plus(LATE_MAX) < seen);
        let mut due = Vec::new();
        for (name, (_, time)) in &mut self.next {
            let Some(read) = book.plan(name) else { continue };
            if was_set_back {
                *time = occurrence_after(read, now).unwrap_or(Timestamp(i64::MAX));
            }
            if *time > now {
                continue;
            }
            if now.since(*time) <= LATE_MAX {
                due.push((Arc::clone(read), *time));
            } else {
                notices.push(Notice::StartMissed { plan: name.clone(), time: *time });
            }
            *time = occurrence_after(read, now).unwrap_or(Timestamp(i64::MAX));
        }
        due
    }
}

fn occurrence_after(read: &ReadPlan, now: Timestamp) -> Option<Timestamp> {
    match &read.plan.start {
        Start::Cron(schedule) => schedule.next_after(now, &read.plan.time_zone),
        Start::Manual | Start::OnPublish | Start::After { .. } => None,
    }
}
