//! Event sources: queues of SQS whose messages are handed to functions, versions and aliases.
//!
//! One thread looks after a poller for each enabled mapping of the committed world. Pollers speak to SQS (`client`),
//! make batches (`batch`) and have them invoked by the router (`poller`), through the alias's weights and counted like
//! every invocation. How they fare is in `progress`. *Nothing here decides or stores*: what was not deleted at SQS is
//! still there after a kill, so there is nothing to keep.

mod batch;
pub mod client;
mod poller;
pub mod progress;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task;
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use crate::config::QueueConfig;
use crate::control::handle::Control;
use crate::router::handle::InvokeHandle;
use client::Sqs;
use poller::Shared;
use progress::Progress;
use serin_core::lambda::event_source::EventSource;

/// How often the mappings are compared with the pollers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many pollers may wait for messages at once, each on a thread; more of them take turns.
const WAITS_MAX: usize = 256;
/// Threads for what is short: deleting, giving back, finding queues.
const SHORT_MAX: usize = 64;

/// The pollers, and the thread that looks after them.
pub struct EventSources {
    phase: watch::Sender<Phase>,
    thread: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Polling,
    /// No message is taken any more; invocations under way end.
    Stopping,
    /// The same, and what has not ended by then is left to SQS.
    Ending(Duration),
}

impl EventSources {
    /// Starts to poll for the mappings of the world, also those that come later.
    pub fn start(
        config: &QueueConfig,
        control: Control,
        invoke: InvokeHandle,
        progress: Progress,
    ) -> io::Result<EventSources> {
        let shared = Arc::new(Shared {
            sqs: Arc::new(Sqs::new(config)),
            control,
            invoke,
            progress,
            waits: Arc::new(Semaphore::new(WAITS_MAX)),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(WAITS_MAX + SHORT_MAX)
            .thread_name("event-sources")
            .build()?;
        let (phase, phases) = watch::channel(Phase::Polling);
        let thread = std::thread::Builder::new().name("event-sources".to_owned()).spawn(move || {
            runtime.block_on(look_after(&shared, phases));
            // Does not wait for questions that nobody waits for any more.
            runtime.shutdown_background();
        })?;
        Ok(EventSources { phase, thread })
    }

    /// Takes no more messages; invocations under way go on.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Ends once what is done is deleted, within `grace` at most; an invocation that is still under way then is SQS's
    /// to give out again. Fails if the thread had panicked.
    pub fn end(self, grace: Duration) -> io::Result<()> {
        self.phase.send_replace(Phase::Ending(grace));
        self.thread.join().map_err(|_| io::Error::other("the thread of the event sources panicked"))
    }
}

/// A poller and what it was started for.
struct Running {
    source: Arc<EventSource>,
    stop: watch::Sender<bool>,
    task: task::JoinHandle<()>,
}

async fn look_after(shared: &Arc<Shared>, mut phases: watch::Receiver<Phase>) {
    let mut running: BTreeMap<Uuid, Running> = BTreeMap::new();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // Nobody left who could say so is an end, too.
            _ = phases.wait_for(|phase| !matches!(phase, Phase::Polling)) => break,
        }
        reconcile(shared, &mut running);
    }
    for poller in running.values() {
        poller.stop.send_replace(true);
    }
    let ended = async {
        for poller in running.into_values() {
            // One that panicked has ended, too.
            let _ = poller.task.await;
        }
    };
    let cut = async {
        let ending = phases.wait_for(|phase| matches!(phase, Phase::Ending(_))).await;
        let grace = match ending.as_deref() {
            Ok(Phase::Ending(grace)) => *grace,
            _ => Duration::ZERO,
        };
        drop(ending);
        sleep(grace).await;
    };
    tokio::select! {
        () = ended => {}
        () = cut => {}
    }
}

/// Stops the pollers of mappings that were changed, and starts those that lack.
fn reconcile(shared: &Arc<Shared>, running: &mut BTreeMap<Uuid, Running>) {
    let world = shared.control.world();
    running.retain(|id, poller| {
        let wanted = world.event_sources.get(id);
        if wanted.is_none_or(|wanted| !wanted.polls_as(&poller.source)) {
            poller.stop.send_replace(true);
        }
        // A changed mapping gets its new poller when the old one's invocations have ended: one limit, not two.
        !poller.task.is_finished()
    });
    for (id, source) in world.event_sources.iter().filter(|(_, source)| source.is_enabled) {
        if running.contains_key(id) {
            continue;
        }
        let (stop, stopping) = watch::channel(false);
        let source = Arc::clone(source);
        let task = tokio::spawn(poller::run(Arc::clone(shared), Arc::clone(&source), stopping));
        running.insert(*id, Running { source, stop, task });
    }
    shared.progress.keep(|id| world.event_sources.contains_key(&id));
}
