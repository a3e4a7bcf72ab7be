//! Reports of events that ended: to functions as events of their own, to queues as messages, until somebody took them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::Shared;
use super::lanes::Turn;
use crate::chance;
use crate::clock;
use crate::events::lanes::Step;
use crate::queues::client::{Queue, Sqs, SqsFault};
use serin_core::lambda::async_event::{AsyncEvent, HOPS_MAX, Owed, Report, back_off};
use serin_core::lambda::event_source::QueueArn;
use serin_core::model::arn::FunctionRef;
use serin_core::model::time::Timestamp;
use serin_core::world::World;

/// How many queues may be written to at once: each holds a thread.
pub(super) const SENDS_MAX: usize = 32;
/// How long a destination that does not take its report is tried: as long as AWS keeps an event.
const TOLD_WITHIN: Duration = Duration::from_secs(6 * 3600);

/// The way to queues, and what is known of them.
pub(super) struct Destinations {
    sqs: Arc<Sqs>,
    sends: Semaphore,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    queues: HashMap<QueueArn, Queue>,
    /// What was wrong with a destination when it was last told, so that it is logged once.
    problems: HashMap<String, String>,
}

/// What became of one report.
enum Told {
    /// It was taken.
    Yes,
    /// It is taken with the change that ends it here.
    Follows(Box<AsyncEvent>),
    /// It may be, later; why not now.
    NotYet(String),
    /// It never will be; why.
    Never(String),
}

impl Destinations {
    pub(super) fn new(sqs: Sqs) -> Destinations {
        Destinations { sqs: Arc::new(sqs), sends: Semaphore::new(SENDS_MAX), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, to: QueueArn, report: &Report) -> Result<(), SqsFault> {
        let _turn = self.sends.acquire().await.expect("turns are never closed");
        let (sqs, known, arn) = (Arc::clone(&self.sqs), self.known().queues.get(&to).cloned(), to.clone());
        let (body, attributes) = (report.body.clone(), report.attributes.clone());
        let sent = tokio::task::spawn_blocking(move || {
            let queue = known.map_or_else(|| sqs.queue(&arn), Ok)?;
            sqs.send(&queue, &body, &attributes).map(|()| queue)
        });
        match sent.await.unwrap_or_else(|why| Err(SqsFault::internal(&why))) {
            Ok(queue) => {
                self.known().queues.insert(to, queue);
                Ok(())
            }
            Err(why) => {
                // Looked for anew: it may have been made anew.
                self.known().queues.remove(&to);
                Err(why)
            }
        }
    }

    /// Notes how a destination fares; whether that is news.
    fn note(&self, to: &str, problem: Option<&str>) -> bool {
        let mut known = self.known();
        match problem {
            None => known.problems.remove(to).is_some(),
            Some(problem) => {
                known.problems.insert(to.to_owned(), problem.to_owned()).as_deref() != Some(problem)
            }
        }
    }
}

impl Shared {
    /// Tells everybody who has not heard yet, and writes down who still has not.
    pub(super) async fn tell(&self, turn: &Turn, event: &AsyncEvent, owed: Owed) -> Step {
        let Owed { since, reports } = owed;
        let is_last = clock::wall_now().since(since) >= TOLD_WITHIN;
        let total = reports.len();
        let (mut left, mut follow) = (Vec::new(), Vec::new());
        for report in reports {
            let told = match self.tell_one(event, &report).await {
                Told::NotYet(why) if is_last => Told::Never(why),
                told => told,
            };
            let (function, kind, to) = (&event.function, report.kind, &report.to);
            match told {
                Told::Yes => {
                    self.progress.told(function, kind, true);
                    self.destinations.note(to, None);
                }
                Told::Follows(event) => {
                    self.progress.told(function, kind, true);
                    follow.push(*event);
                }
                Told::NotYet(why) => {
                    if self.destinations.note(to, Some(&why)) {
                        tracing::warn!(
                            function = event.asked_arn(),
                            destination = to,
                            "a destination does not take what became of events; it is told later: {why}"
                        );
                    }
                    left.push(report);
                }
                Told::Never(why) => {
                    self.progress.told(function, kind, false);
                    tracing::error!(
                        function = event.asked_arn(), request = %event.id, destination = to,
                        "a destination is not told what became of an event: {why}"
                    );
                }
            }
        }
        let seq = turn.waiting.seq;
        let due_at = clock::wall_now().plus(back_off(turn.put_off, self.retry_delay));
        if left.is_empty() {
            return match self.events.conclude(seq, follow, None, due_at).await {
                Ok(()) => Step::Gone,
                Err(_) => Step::Left,
            };
        }
        if left.len() < total {
            let owed = Owed { since, reports: left };
            if self.events.conclude(seq, follow, Some(owed), due_at).await.is_err() {
                return Step::Left;
            }
        }
        Step::PutOff { due_at }
    }

    async fn tell_one(&self, event: &AsyncEvent, report: &Report) -> Told {
        match report.to.split(':').nth(2) {
            Some("sqs") => match report.to.parse::<QueueArn>() {
                Ok(queue) => match self.destinations.send(queue, report).await {
                    Ok(()) => Told::Yes,
                    Err(why) => Told::NotYet(why.to_string()),
                },
                Err(why) => Told::Never(why.to_string()),
            },
            Some("lambda") => follows(&self.control.world(), &self.account, event, report, clock::wall_now()),
            _ => Told::Never("serin tells Lambda functions and SQS queues of events".to_owned()),
        }
    }
}

/// The event that a report to a function is.
fn follows(world: &World, account: &str, event: &AsyncEvent, report: &Report, at: Timestamp) -> Told {
    let Ok(to) = report.to.parse::<FunctionRef>() else {
        return Told::Never("its ARN is not a function's".to_owned());
    };
    if to.account.as_deref().is_some_and(|named| named != account) {
        return Told::Never("it is a function of another account".to_owned());
    }
    if event.hops >= HOPS_MAX {
        return Told::Never(format!("it is the last of {HOPS_MAX} reports in a row, each of the one before"));
    }
    if !world.has_invoked(&to.name, to.qualifier.as_deref()) {
        return Told::NotYet("there is no such function, version or alias".to_owned());
    }
    let arn = if to.qualifier.is_some() { report.to.clone() } else { format!("{}:$LATEST", report.to) };
    Told::Follows(Box::new(AsyncEvent {
        id: chance::new_id(at),
        function: to.name,
        qualifier: to.qualifier,
        arn,
        trace: event.trace.clone(),
        hops: event.hops + 1,
        accepted_at: at,
        payload: Bytes::from(report.body.clone()),
    }))
}
