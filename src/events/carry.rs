//! One event's turn: it is invoked once more, or its destinations are told, and what follows is written down.

use crate::events::lanes::Step;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, Request};

use super::Shared;
use super::lanes::Turn;
use super::progress::Outcome;
use crate::clock;
use crate::store::events::StoredEvent;
use serin_core::lambda::async_event::{
    Answer, AsyncEvent, Attempt, Conclusion, Condition, Next, Owed, Standing, Terms, after, is_expired,
    reports,
};
use serin_core::lambda::concurrency::EventInvoke;
use serin_core::model::time::Timestamp;
use serin_core::world::World;

/// An event for what cannot be read waits so long.
const PARTIAL_PAUSE: Duration = Duration::from_secs(60);

/// What an invocation came to.
enum Verdict {
    /// A version had it.
    Ran(Answer),
    /// None had.
    PutOff,
}

/// Gives an event its turn.
pub(super) async fn carry(shared: Arc<Shared>, turn: Turn, stored: StoredEvent) -> Step {
    let StoredEvent { seq, event, owed, .. } = stored;
    match owed {
        Some(owed) => shared.tell(&turn, &event, owed).await,
        None => shared.attempt(seq, &turn, &event).await,
    }
}

impl Shared {
    async fn attempt(&self, seq: i64, turn: &Turn, event: &AsyncEvent) -> Step {
        let world = self.control.world();
        let is_there = world.has_invoked(&event.function, event.qualifier.as_deref());
        if !is_there && world.is_partial {
            // What it is for may have been lost with a damaged store, and come back with a backup.
            self.progress.count(&event.function, Outcome::PutOff);
            return Step::PutOff { due_at: clock::wall_now().plus(PARTIAL_PAUSE) };
        }
        if !is_there {
            tracing::warn!(
                function = event.asked_arn(), request = %event.id,
                "an event is discarded: what it was for has been deleted"
            );
            self.progress.count(&event.function, Outcome::Discarded);
            // Nobody waits for it to be gone.
            drop(self.events.conclude(seq, Vec::new(), None, Timestamp(0)));
            return Step::Gone;
        }
        let terms = Terms::of(configured(&world, event), self.retry_delay);
        let failures = turn.waiting.failures;
        let standing = Standing { accepted_at: event.accepted_at, failures, put_off: turn.put_off };
        let at = clock::wall_now();
        let conclusion =
            |condition, at, invocations, answer| Conclusion { condition, at, invocations, answer };
        if is_expired(&standing, &terms, at) {
            return self
                .conclude(seq, event, conclusion(Condition::EventAgeExceeded, at, failures, None))
                .await;
        }
        if may_not_run(&world, event) {
            let end = conclusion(Condition::ZeroReservedConcurrency, at, failures, None);
            return self.conclude(seq, event, end).await;
        }
        let (attempt, answer) = match self.invoke(event).await {
            Verdict::Ran(answer) if answer.is_error => (Attempt::Failed, Some(answer)),
            Verdict::Ran(answer) => (Attempt::Answered, Some(answer)),
            Verdict::PutOff => (Attempt::PutOff, None),
        };
        // By the terms of now, for an invocation may take minutes.
        let terms = Terms::of(configured(&self.control.world(), event), self.retry_delay);
        let at = clock::wall_now();
        match after(attempt, &standing, &terms, at) {
            Next::Concluded(condition) => {
                self.conclude(seq, event, conclusion(condition, at, failures + 1, answer)).await
            }
            Next::Again(due_at) if attempt == Attempt::PutOff => {
                self.progress.count(&event.function, Outcome::PutOff);
                Step::PutOff { due_at }
            }
            Next::Again(due_at) => {
                self.progress.count(&event.function, Outcome::Retried);
                // Nobody waits for it: a kill before it is durable costs one attempt more.
                drop(self.events.again(seq, failures + 1, due_at));
                Step::Again { due_at }
            }
        }
    }

    /// Ends an event; what is to be told of it takes its place on disk.
    async fn conclude(&self, seq: i64, event: &AsyncEvent, end: Conclusion) -> Step {
        let world = self.control.world();
        let configuration = world.invoked(&event.function, event.qualifier.as_deref());
        let dead_letter = configuration.and_then(|configuration| configuration.dead_letter.as_deref());
        let reports = reports(event, &end, configured(&world, event), dead_letter);
        let is_success = end.condition == Condition::Success;
        self.progress.count(&event.function, if is_success { Outcome::Delivered } else { Outcome::GivenUp });
        if !is_success {
            tracing::warn!(
                function = event.asked_arn(), request = %event.id, condition = ?end.condition, told = reports.len(),
                "an event is given up"
            );
        }
        if reports.is_empty() {
            // Nobody waits for it to be gone: a kill before that is durable costs a delivery that comes twice.
            drop(self.events.conclude(seq, Vec::new(), None, Timestamp(0)));
            return Step::Gone;
        }
        let owed = Owed { since: end.at, reports };
        match self.events.conclude(seq, Vec::new(), Some(owed), end.at).await {
            Ok(()) => Step::Owed { due_at: end.at },
            Err(_) => Step::Left,
        }
    }

    /// Invokes once, as serin itself.
    async fn invoke(&self, event: &AsyncEvent) -> Verdict {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/2015-03-31/functions/{}/invocations", percent_encode(event.asked_arn())));
        for (name, value) in &event.trace {
            request = request.header(name, value);
        }
        let request =
            request.body(event.payload.clone()).expect("what was a request before can be one again");
        let Ok(response) = self.invoke.invoke_as_serin(request, Some(event.id)).await else {
            // serin ends, and what was put off is on disk as it was.
            return Verdict::PutOff;
        };
        let (head, payload) = response.into_parts();
        match head.status.as_u16() {
            200 => Verdict::Ran(answer(&head.headers, payload)),
            429 => Verdict::PutOff,
            status => {
                tracing::debug!(function = event.asked_arn(), request = %event.id, status, "an event is put off");
                Verdict::PutOff
            }
        }
    }
}

fn percent_encode(arn: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(arn, percent_encoding::NON_ALPHANUMERIC)
}

fn answer(headers: &HeaderMap, payload: Bytes) -> Answer {
    let version = headers.get("x-amz-executed-version").and_then(|version| version.to_str().ok());
    let is_error = headers.contains_key("x-amz-function-error");
    Answer { version: version.unwrap_or_default().to_owned(), is_error, payload }
}

/// The configuration of exactly what the event was sent to.
fn configured<'a>(world: &'a World, event: &AsyncEvent) -> Option<&'a EventInvoke> {
    let state = world.function(&event.function)?;
    state.function.event_invoke.get(event.qualifier.as_deref().unwrap_or("$LATEST"))
}

/// Whether nothing is reserved for a function on purpose; then AWS, too, gives its events up at once.
fn may_not_run(world: &World, event: &AsyncEvent) -> bool {
    let reserved = world.function(&event.function).and_then(|state| state.function.reserved_concurrency);
    let configuration = world.invoked(&event.function, event.qualifier.as_deref());
    reserved == Some(0) && configuration.is_some_and(|configuration| configuration.target.process().is_some())
}
