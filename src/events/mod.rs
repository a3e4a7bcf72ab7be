//! Asynchronous invocations: events that were accepted are carried out, tried again, and reported when they end.
//!
//! The router accepts an event once `store::events` has it on disk. One thread here knows which events wait (`lanes`),
//! has those whose turn has come invoked by the router (`carry`), through the alias's weights and counted like every
//! invocation, and tells queues and functions what became of them (`tell`). The rules are `domain::async_event`'s. *An
//! event leaves the disk after it has ended and everybody who is to hear of it has heard*, so a kill costs deliveries
//! that come twice and never one that does not come. Order is not promised.

mod carry;
mod lanes;
pub mod progress;
mod tell;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use crate::clock;
use crate::control::handle::Control;
use crate::domain::async_event::{back_off, back_off_max};
use crate::domain::time::Timestamp;
use crate::queues::client::Sqs;
use crate::router::handle::InvokeHandle;
use crate::store::events::{Events, StoredEvent, Waiting};
use carry::{Step, carry};
use lanes::{Lanes, Turn};
use progress::Progress;
use tell::Destinations;

/// How many events are under way at once, all in all: each is in memory.
const UNDER_WAY_MAX: usize = 250;
/// How often what waits is looked through although nothing happened, for clocks are set.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the numbers of what waits are renewed while they change.
const COUNT_EVERY: Duration = Duration::from_millis(200);
/// So many arrivals are taken at a time.
const ARRIVALS_MAX: usize = 1024;
/// Threads that read events.
const READERS: usize = 2;

/// What events are carried out with.
pub struct Parts {
    /// The committed world: what is invoked, and by which terms.
    pub control: Control,
    /// The way to the router.
    pub invoke: InvokeHandle,
    /// What waits, on disk.
    pub events: Events,
    /// Tells of what waits.
    pub waiting: mpsc::UnboundedReceiver<Waiting>,
    /// The way to queues.
    pub sqs: Sqs,
    /// How long after the first function error an event is tried again.
    pub retry_delay: Duration,
    /// Where what became of events is counted.
    pub progress: Progress,
}

/// What every event is carried out with.
struct Shared {
    control: Control,
    invoke: InvokeHandle,
    events: Events,
    destinations: Destinations,
    retry_delay: Duration,
    progress: Progress,
}

/// The thread that carries events out.
pub struct AsyncInvocations {
    phase: watch::Sender<Phase>,
    thread: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Carrying,
    /// No event is begun any more.
    Stopping,
    /// What has not ended by then stays on disk.
    Ending(Duration),
}

impl AsyncInvocations {
    /// Starts to carry out what waits and what comes.
    pub fn start(parts: Parts) -> io::Result<AsyncInvocations> {
        let Parts { control, invoke, events, waiting, sqs, retry_delay, progress } = parts;
        let destinations = Destinations::new(sqs);
        let shared = Arc::new(Shared { control, invoke, events, destinations, retry_delay, progress });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(tell::SENDS_MAX + READERS)
            .thread_name("async-invocations")
            .build()?;
        let (phase, phases) = watch::channel(Phase::Carrying);
        let thread = std::thread::Builder::new().name("async-invocations".to_owned()).spawn(move || {
            runtime.block_on(Dispatcher::new(shared).run(waiting, phases));
            // Does not wait for a queue that does not answer.
            runtime.shutdown_background();
        })?;
        Ok(AsyncInvocations { phase, thread })
    }

    /// Begins no more events; those under way go on.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Ends once those under way have ended, within `grace` at most; the others stay for the next start. Fails if the
    /// thread had panicked.
    pub fn end(self, grace: Duration) -> io::Result<()> {
        self.phase.send_replace(Phase::Ending(grace));
        self.thread.join().map_err(|_| io::Error::other("the thread of asynchronous invocations panicked"))
    }
}

struct Dispatcher {
    shared: Arc<Shared>,
    lanes: Lanes,
    under_way: JoinSet<Step>,
    turns: HashMap<Id, Turn>,
    /// The numbers that others see are older than what happened.
    is_stale: bool,
    counted_at: std::time::Instant,
}

impl Dispatcher {
    fn new(shared: Arc<Shared>) -> Dispatcher {
        let lanes = Lanes::new(back_off_max(shared.retry_delay));
        let counted_at = clock::instant_now();
        let (under_way, turns) = (JoinSet::new(), HashMap::new());
        Dispatcher { shared, lanes, under_way, turns, is_stale: false, counted_at }
    }

    async fn run(
        mut self,
        mut waiting: mpsc::UnboundedReceiver<Waiting>,
        mut phases: watch::Receiver<Phase>,
    ) {
        let mut arrived = Vec::new();
        loop {
            let now = clock::wall_now();
            self.begin_due(now).await;
            self.count();
            let is_full = self.under_way.len() >= UNDER_WAY_MAX;
            let next = if is_full { LOOK_EVERY } else { self.lanes.next_due(now).unwrap_or(LOOK_EVERY) };
            let pause = next.min(if self.is_stale { COUNT_EVERY } else { LOOK_EVERY });
            tokio::select! {
                // Nobody left who could say so is an end, too.
                _ = phases.wait_for(|phase| *phase != Phase::Carrying) => break,
                count = waiting.recv_many(&mut arrived, ARRIVALS_MAX) => {
                    if count == 0 {
                        break;
                    }
                    self.is_stale = true;
                    arrived.drain(..).for_each(|event| self.lanes.add(event));
                }
                Some(ended) = self.under_way.join_next_with_id() => {
                    self.ended(ended);
                    while let Some(ended) = self.under_way.try_join_next_with_id() {
                        self.ended(ended);
                    }
                }
                () = sleep(pause) => {}
            }
        }
        let ended = async { while self.under_way.join_next().await.is_some() {} };
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

    /// Begins what is due, as far as there are places.
    async fn begin_due(&mut self, now: Timestamp) {
        let turns = self.lanes.take_due(now, UNDER_WAY_MAX.saturating_sub(self.under_way.len()));
        if turns.is_empty() {
            return;
        }
        let numbers: Vec<i64> = turns.iter().map(|turn| turn.waiting.seq).collect();
        let reader = self.shared.events.reader.clone();
        let found = tokio::task::spawn_blocking(move || {
            // Together, unless one of them cannot be read: then it alone must wait.
            let together = reader.load(&numbers).map(|events| events.into_iter().map(Ok).collect());
            together.unwrap_or_else(|_| {
                let one = |number: &i64| reader.load(&[*number]).map(|mut events| events.pop()).transpose();
                numbers.iter().filter_map(one).collect::<Vec<_>>()
            })
        });
        let mut events: HashMap<i64, StoredEvent> = HashMap::new();
        let mut fault = None;
        for event in found.await.unwrap_or_default() {
            match event {
                Ok(event) => _ = events.insert(event.seq, event),
                Err(why) => fault = Some(why),
            }
        }
        if let Some(why) = fault {
            tracing::error!(error = %why, "an event of an asynchronous invocation cannot be read; it is tried again later");
        }
        for turn in turns {
            match events.remove(&turn.waiting.seq) {
                Some(event) => {
                    let task = carry(Arc::clone(&self.shared), turn.clone(), event);
                    let id = self.under_way.spawn(task).id();
                    self.turns.insert(id, turn);
                }
                None => self.step(&turn, self.later(&turn, now)),
            }
        }
    }

    /// Something serin itself failed at is tried again.
    fn later(&self, turn: &Turn, now: Timestamp) -> Step {
        Step::PutOff { due_at: now.plus(back_off(turn.put_off, self.shared.retry_delay)) }
    }

    fn ended(&mut self, ended: Result<(Id, Step), JoinError>) {
        let (id, step) = match ended {
            Ok((id, step)) => (id, Some(step)),
            Err(why) => (why.id(), None),
        };
        let turn = self.turns.remove(&id).expect("what is under way has its turn");
        let step = step.unwrap_or_else(|| self.later(&turn, clock::wall_now()));
        self.step(&turn, step);
    }

    fn step(&mut self, turn: &Turn, step: Step) {
        self.is_stale = true;
        self.lanes.step(turn, step);
    }

    /// Lets others see how many wait, and how long.
    fn count(&mut self) {
        let now = clock::instant_now();
        if !self.is_stale || now.saturating_duration_since(self.counted_at) < COUNT_EVERY {
            return;
        }
        (self.is_stale, self.counted_at) = (false, now);
        let world = self.shared.control.world();
        self.shared.progress.set_waiting(self.lanes.waiting(), |name| world.functions.contains_key(name));
    }
}
