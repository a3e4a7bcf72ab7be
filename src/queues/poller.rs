//! One mapping's poller: takes messages, has them invoked through the alias's weights, deletes those that are done.
//!
//! At least once, never less: a message is deleted after the function's answer and not before, so whatever ends in
//! between (a kill, a fault, a function that fails) leaves it to SQS, which gives it out again when its visibility
//! timeout is over. A place is one invocation that may be under way; messages are taken for free places alone, so that
//! none waits here while its visibility runs out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::batch::{Batch, Message, Report, batches, report};
use super::client::{MESSAGES_MAX, Queue, Sqs, SqsFault, WAIT_S_MAX};
use super::progress::{Outcome, Progress};
use crate::clock;
use crate::control::handle::Control;
use crate::router::handle::InvokeHandle;
use serin_core::lambda::event_filter::Filter;
use serin_core::lambda::event_source::EventSource;

/// How many invocations of a mapping are under way at once unless it says.
const CONCURRENCY_DEFAULT: usize = 5;
/// The wait after something is wrong, at first and at most; also that of a place whose invocation was throttled.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a deletion is tried: without it a message that is done is done again.
const DELETE_TRIES: u32 = 3;
const DELETE_PAUSE: Duration = Duration::from_millis(200);

/// What pollers share.
pub(super) struct Shared {
    pub(super) sqs: Arc<Sqs>,
    pub(super) control: Control,
    pub(super) invoke: InvokeHandle,
    pub(super) progress: Progress,
    /// Who may wait for messages at this moment: each wait holds a thread.
    pub(super) waits: Arc<Semaphore>,
}

struct Poller {
    shared: Arc<Shared>,
    source: Arc<EventSource>,
    filters: Vec<Filter>,
    /// Throttled invocations in a row.
    throttles: AtomicU32,
}

/// What an invocation came to.
enum Verdict {
    /// The function's result.
    Answered(Bytes),
    /// The function failed; how.
    Failed(String),
    /// There was no room for it.
    Throttled,
    /// The router shuts down and has not begun it.
    NotBegun,
}

/// How a turn ended.
enum Turn {
    Done,
    Stopped,
}

/// Polls until it is told to stop, then lets invocations under way end.
pub(super) async fn run(shared: Arc<Shared>, source: Arc<EventSource>, mut stop: watch::Receiver<bool>) {
    // A pattern of another version of serin that cannot be read wants nothing, and deletes nothing either.
    let filters: Result<Vec<Filter>, _> = source.filters.iter().map(|text| Filter::parse(text)).collect();
    let Ok(filters) = filters else {
        shared
            .progress
            .has_problem(source.id, "a filter pattern cannot be read; change the mapping's filters");
        stopped(&mut stop).await;
        return;
    };
    let places = Arc::new(Semaphore::new(places_max(&source)));
    let poller = Arc::new(Poller { shared, source, filters, throttles: AtomicU32::new(0) });
    let (mut queue, mut under_way, mut pause) = (None, JoinSet::new(), PAUSE_MIN);
    loop {
        while under_way.try_join_next().is_some() {}
        match poller.turn(&mut queue, &places, &mut under_way, &mut stop).await {
            Ok(Turn::Done) => pause = PAUSE_MIN,
            Ok(Turn::Stopped) => break,
            Err(problem) => {
                poller.has_problem(&problem);
                // Looked for anew: it may have been made anew.
                queue = None;
                tokio::select! {
                    () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                    () = stopped(&mut stop) => break,
                }
            }
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// How many invocations may be under way: what the mapping says, and one where order counts.
fn places_max(source: &EventSource) -> usize {
    if source.source.is_fifo() {
        return 1;
    }
    source.concurrency_max.map_or(CONCURRENCY_DEFAULT, |most| most as usize)
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could stop it being gone is the same as being stopped.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Poller {
    /// Takes messages once and begins their invocations.
    async fn turn(
        self: &Arc<Self>,
        queue: &mut Option<Queue>,
        places: &Arc<Semaphore>,
        under_way: &mut JoinSet<()>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Turn, String> {
        if *stop.borrow() {
            return Ok(Turn::Stopped);
        }
        if !self.shared.control.world().has_invoked(&self.source.function, self.source.qualifier.as_deref()) {
            return Err(format!("Function does not exist: {}", self.invoked()));
        }
        let first = tokio::select! {
            place = Arc::clone(places).acquire_owned() => place.expect("places are never closed"),
            () = stopped(stop) => return Ok(Turn::Stopped),
        };
        let mut taken = vec![first];
        let batch_size = self.source.batch_size as usize;
        let batches_max =
            if self.source.batching_window_s == 0 { MESSAGES_MAX.div_ceil(batch_size) } else { 1 };
        while taken.len() < batches_max
            && let Ok(place) = Arc::clone(places).try_acquire_owned()
        {
            taken.push(place);
        }
        let found = match queue {
            Some(found) => found.clone(),
            None => {
                let arn = self.source.source.clone();
                let found = tokio::select! {
                    found = self.ask(move |sqs| sqs.queue(&arn)) => found.map_err(|why| why.to_string())?,
                    () = stopped(stop) => return Ok(Turn::Stopped),
                };
                queue.insert(found).clone()
            }
        };
        let Some(messages) = self.gather(&found, batch_size * taken.len(), stop).await? else {
            return Ok(Turn::Stopped);
        };
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| message.is_wanted(&self.filters, &self.source.source));
        if !unwanted.is_empty() {
            self.delete(&found, &unwanted).await.map_err(|why| why.to_string())?;
            self.shared.progress.count(self.source.id, Outcome::Filtered, unwanted.len());
        }
        for batch in batches(&self.source, wanted) {
            // Messages that are too long together make more batches than places: those wait for their turn.
            let place = match taken.pop() {
                Some(place) => place,
                None => Arc::clone(places).acquire_owned().await.expect("places are never closed"),
            };
            under_way.spawn(Arc::clone(self).carry(found.clone(), batch, place, stop.clone()));
        }
        Ok(Turn::Done)
    }

    /// Takes messages: what is there, or with a batching window as many as come in its time; `None` once stopped.
    async fn gather(
        self: &Arc<Self>,
        queue: &Queue,
        messages_max: usize,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<Vec<Message>>, String> {
        let fault = |why: SqsFault| why.to_string();
        let Some(first) = self.receive(queue, messages_max, WAIT_S_MAX, stop).await else { return Ok(None) };
        let mut messages = first.map_err(fault)?;
        let window = Duration::from_secs(self.source.batching_window_s.into());
        let begun = clock::instant_now();
        while !messages.is_empty() && messages.len() < messages_max {
            let left = window.saturating_sub(clock::instant_now().saturating_duration_since(begun));
            if left.is_zero() {
                break;
            }
            match self.receive(queue, messages_max - messages.len(), left.as_secs(), stop).await {
                // The last stretch of the window is shorter than SQS can wait.
                Some(Ok(more)) if more.is_empty() && left.as_secs() == 0 => break,
                Some(Ok(more)) => messages.extend(more),
                // What is here already goes its way; the next turn meets the fault.
                Some(Err(_)) => break,
                None => {
                    self.release(queue, &messages).await;
                    return Ok(None);
                }
            }
        }
        Ok(Some(messages))
    }

    /// Takes messages once; `None` once stopped, and then what still comes is given back.
    async fn receive(
        self: &Arc<Self>,
        queue: &Queue,
        messages_max: usize,
        wait_s: u64,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<Result<Vec<Message>, SqsFault>> {
        let turn = tokio::select! {
            turn = Arc::clone(&self.shared.waits).acquire_owned() => turn.expect("waits are never closed"),
            () = stopped(stop) => return None,
        };
        let (poller, of) = (Arc::clone(self), queue.clone());
        let mut receiving = tokio::spawn(async move {
            let _turn = turn;
            poller.ask(move |sqs| sqs.receive(&of, messages_max, wait_s)).await
        });
        tokio::select! {
            received = &mut receiving => {
                Some(received.unwrap_or_else(|why| Err(SqsFault::internal(&why))))
            }
            () = stopped(stop) => {
                let (poller, of) = (Arc::clone(self), queue.clone());
                tokio::spawn(async move {
                    if let Ok(Ok(messages)) = receiving.await {
                        poller.release(&of, &messages).await;
                    }
                });
                None
            }
        }
    }

    /// Has one batch invoked, and deletes what is done.
    async fn carry(
        self: Arc<Self>,
        queue: Queue,
        batch: Batch,
        place: OwnedSemaphorePermit,
        mut stop: watch::Receiver<bool>,
    ) {
        let messages = &batch.messages;
        let (mut rest, mut problem) = (Duration::ZERO, None);
        let verdict = self.invoke(batch.event).await;
        if !matches!(verdict, Verdict::Throttled) {
            self.throttles.store(0, Ordering::Relaxed);
        }
        let (failed, outcome) = match verdict {
            Verdict::Answered(answer) if self.source.reports_item_failures => {
                match report(&answer, messages) {
                    Report::AllBut(failed) => {
                        (failed.len(), self.delete_but(&queue, messages, &failed).await)
                    }
                    Report::Nothing(why) => {
                        problem = Some(format!("Function call failed: {why}"));
                        (messages.len(), Ok(()))
                    }
                }
            }
            Verdict::Answered(_) => (0, self.delete(&queue, messages).await),
            Verdict::Failed(why) => {
                problem = Some(why);
                (messages.len(), Ok(()))
            }
            Verdict::Throttled => {
                let throttles = self.throttles.fetch_add(1, Ordering::Relaxed).min(5);
                rest = (PAUSE_MIN * 2_u32.pow(throttles)).min(PAUSE_MAX);
                self.shared.progress.count(self.source.id, Outcome::Throttled, messages.len());
                self.has_problem("Function call was throttled");
                tokio::select! {
                    () = sleep(rest) => {}
                    () = stopped(&mut stop) => {}
                }
                return;
            }
            Verdict::NotBegun => {
                self.release(&queue, messages).await;
                return;
            }
        };
        let done = messages.len() - failed;
        if let Err(why) = outcome {
            problem = Some(why.to_string());
        } else if done > 0 {
            self.shared.progress.count(self.source.id, Outcome::Processed, done);
        }
        if failed > 0 {
            self.shared.progress.count(self.source.id, Outcome::Failed, failed);
        }
        match problem {
            None => self.shared.progress.went_well(self.source.id),
            Some(problem) => {
                self.has_problem(&problem);
                // Its place rests: a queue without a visibility timeout would give the messages out at once, for ever.
                rest = PAUSE_MIN;
            }
        }
        tokio::select! {
            () = sleep(rest) => {}
            () = stopped(&mut stop) => {}
        }
        drop(place);
    }

    /// Invokes once, as serin itself.
    async fn invoke(&self, event: String) -> Verdict {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/2015-03-31/functions/{}/invocations", self.invoked()))
            .body(Bytes::from(event))
            .expect("names of functions, versions and aliases are plain");
        let Ok(response) = self.shared.invoke.invoke_as_serin(request, None).await else {
            return Verdict::NotBegun;
        };
        let (head, body) = response.into_parts();
        let said = || {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let text = ["errorMessage", "message", "Message"].iter().find_map(|key| body.get(key)?.as_str());
            text.map(|text| format!(": {text}")).unwrap_or_default()
        };
        match head.status.as_u16() {
            200 if head.headers.contains_key("x-amz-function-error") => {
                Verdict::Failed(format!("Function call failed{}", said()))
            }
            200 => Verdict::Answered(body),
            429 => Verdict::Throttled,
            status => Verdict::Failed(format!("Function could not be called, {status}{}", said())),
        }
    }

    /// The function as it is invoked: `f`, `f:7` or `f:live`.
    fn invoked(&self) -> String {
        match &self.source.qualifier {
            None => self.source.function.to_string(),
            Some(qualifier) => format!("{}:{qualifier}", self.source.function),
        }
    }

    async fn delete_but(
        &self,
        queue: &Queue,
        messages: &[Message],
        failed: &std::collections::BTreeSet<String>,
    ) -> Result<(), SqsFault> {
        let done = messages.iter().filter(|message| !failed.contains(&message.message_id));
        self.delete(queue, &done.cloned().collect::<Vec<_>>()).await
    }

    /// Deletes messages that are done.
    async fn delete(&self, queue: &Queue, messages: &[Message]) -> Result<(), SqsFault> {
        let receipts = Arc::new(receipts(messages));
        let mut tried = 0;
        loop {
            let (of, these) = (queue.clone(), Arc::clone(&receipts));
            let fault = match self.ask(move |sqs| sqs.delete(&of, &these)).await {
                Ok(0) => return Ok(()),
                Ok(failed) => SqsFault::undeleted(failed),
                Err(why) => why,
            };
            tried += 1;
            if tried == DELETE_TRIES {
                return Err(fault);
            }
            sleep(DELETE_PAUSE * tried).await;
        }
    }

    /// Gives messages back that nobody works on; where that fails, their visibility timeout does it.
    async fn release(&self, queue: &Queue, messages: &[Message]) {
        let (of, these) = (queue.clone(), receipts(messages));
        if let Err(why) = self.ask(move |sqs| sqs.release(&of, &these)).await {
            tracing::debug!(%why, queue = %self.source.source, "messages were not given back");
        }
    }

    /// Asks SQS on a thread that may wait.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Sqs) -> Result<T, SqsFault> + Send + 'static,
    ) -> Result<T, SqsFault> {
        let sqs = Arc::clone(&self.shared.sqs);
        let answer = tokio::task::spawn_blocking(move || question(&sqs)).await;
        answer.unwrap_or_else(|why| Err(SqsFault::internal(&why)))
    }

    /// Notes what is wrong, and logs it once.
    fn has_problem(&self, problem: &str) {
        if self.shared.progress.has_problem(self.source.id, problem) {
            tracing::warn!(
                mapping = %self.source.id,
                queue = %self.source.source,
                function = self.invoked(),
                "an event source mapping has a problem: {problem}"
            );
        }
    }
}

fn receipts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.receipt_handle.clone()).collect()
}
