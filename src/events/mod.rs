//! Asynchronous invocations: events that were accepted are carried out, tried again, and reported when they end.
//!
//! The router accepts an event once `store::events` has it on disk. One thread here knows which events wait (`lanes`),
//! has those whose turn has come invoked by the router (`carry`), through the alias's weights and counted like every
//! invocation, and tells queues and functions what became of them (`tell`). The rules are `serin_core::lambda::async_event`'s. *An
//! event leaves the disk after it has ended and everybody who is to hear of it has heard*, so a kill costs deliveries
//! that come twice and never one that does not come. Order is not promised.
//!
//! In an upgrade both processes accept events, and one carries them out: the one before begins no more, and puts what it
//! has under way off for as long as it may take. What it accepts from then on is found by the other on disk.

mod carry;
mod lanes;
pub mod progress;
mod tell;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use crate::clock;
use crate::control::handle::Control;
use crate::events::lanes::Step;
use crate::queues::client::Sqs;
use crate::router::handle::InvokeHandle;
use crate::store::events::{Events, StoredEvent, Waiting};
use carry::carry;
use lanes::{Lanes, Turn};
use progress::Progress;
use serin_core::lambda::async_event::{back_off, back_off_max};
use serin_core::model::time::Timestamp;
use tell::Destinations;

/// How many events are under way at once, all in all: each is in memory.
const UNDER_WAY_MAX: usize = 250;
/// How often what waits is looked through although nothing happened, for clocks are set.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the numbers of what waits are renewed while they change.
const COUNT_EVERY: Duration = Duration::from_millis(200);
/// So many arrivals are taken at a time.
const ARRIVALS_MAX: usize = 1024;
/// Nothing is put off longer than this, or than back-off takes; what is has met a clock that was set back.
const PUT_OFF_MAX: Duration = Duration::from_secs(900);
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
    /// The account of functions here; what is of another one is reported to by nobody.
    pub account: String,
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
    account: String,
    progress: Progress,
}

/// The thread that carries events out.
pub struct AsyncInvocations {
    phase: watch::Sender<Phase>,
    left: std::sync::mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Carrying,
    /// No event is begun any more.
    Stopping,
    /// The same, and what is under way is nobody else's for so long.
    Leaving(Duration),
    /// What has not ended by then stays on disk.
    Ending(Duration),
}

impl AsyncInvocations {
    /// Starts to carry out what waits and what comes.
    pub fn start(parts: Parts) -> io::Result<AsyncInvocations> {
        let Parts { control, invoke, events, waiting, sqs, retry_delay, account, progress } = parts;
        let destinations = Destinations::new(sqs);
        let shared =
            Arc::new(Shared { control, invoke, events, destinations, retry_delay, account, progress });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(tell::SENDS_MAX + READERS)
            .thread_name("async-invocations")
            .build()?;
        let (phase, phases) = watch::channel(Phase::Carrying);
        let (leave, left) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("async-invocations".to_owned()).spawn(move || {
            runtime.block_on(Dispatcher::new(shared).run(waiting, phases, leave));
            // Does not wait for a queue that does not answer.
            runtime.shutdown_background();
        })?;
        Ok(AsyncInvocations { phase, left, thread })
    }

    /// Begins no more events; those under way go on.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Begins no more events, for another process carries them out from now on; those under way go on, and that one
    /// leaves them alone for so long. Returns when it can know that.
    pub fn leave(&self, lease: Duration) {
        self.phase.send_replace(Phase::Leaving(lease));
        // Fails where the thread has ended, which leaves no event under way.
        let _ = self.left.recv();
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
    /// Events with numbers up to this are known; those above it that are, too, are in `ours`.
    known_to: i64,
    ours: HashSet<i64>,
    looked_at: Option<std::time::Instant>,
    /// The numbers that others see are older than what happened.
    is_stale: bool,
    counted_at: std::time::Instant,
}

impl Dispatcher {
    fn new(shared: Arc<Shared>) -> Dispatcher {
        let lanes = Lanes::new(back_off_max(shared.retry_delay).max(PUT_OFF_MAX));
        Dispatcher {
            shared,
            lanes,
            under_way: JoinSet::new(),
            turns: HashMap::new(),
            known_to: 0,
            ours: HashSet::new(),
            looked_at: None,
            is_stale: false,
            counted_at: clock::instant_now(),
        }
    }

    async fn run(
        mut self,
        mut waiting: mpsc::UnboundedReceiver<Waiting>,
        mut phases: watch::Receiver<Phase>,
        left: std::sync::mpsc::Sender<()>,
    ) {
        let mut arrived = Vec::new();
        loop {
            self.look().await;
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
                    let known_to = self.known_to;
                    for event in arrived.drain(..).filter(|event| event.seq > known_to) {
                        self.ours.insert(event.seq);
                        self.add(event);
                    }
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
        let lease = match *phases.borrow() {
            Phase::Leaving(lease) => Some(lease),
            Phase::Carrying | Phase::Stopping | Phase::Ending(_) => None,
        };
        if let Some(lease) = lease {
            self.put_off_all(lease).await;
            // Who waits for it has gone where this fails.
            let _ = left.send(());
        }
        drop(left);
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

    /// Reads of events that are not known yet: all at first, and later those that another process accepted.
    async fn look(&mut self) {
        let now = clock::instant_now();
        if self.looked_at.is_some_and(|looked_at| now.saturating_duration_since(looked_at) < LOOK_EVERY) {
            return;
        }
        self.looked_at = Some(now);
        let (reader, known_to) = (self.shared.events.reader.clone(), self.known_to);
        let found = match tokio::task::spawn_blocking(move || reader.waiting_after(known_to)).await {
            Ok(Ok(found)) => found,
            Ok(Err(why)) => {
                tracing::error!(error = %why, "events of asynchronous invocations cannot be read");
                return;
            }
            Err(why) => {
                tracing::error!(error = %why, "reading events of asynchronous invocations panicked");
                return;
            }
        };
        // Numbers rise in the order of commits, and what is ours was committed before: nothing below comes any more.
        let ours = std::mem::take(&mut self.ours);
        self.known_to =
            found.iter().map(|event| event.seq).chain(ours.iter().copied()).fold(known_to, i64::max);
        for event in found.into_iter().filter(|event| !ours.contains(&event.seq)) {
            self.add(event);
        }
    }

    fn add(&mut self, event: Waiting) {
        self.is_stale = true;
        self.lanes.add(event);
    }

    /// Sees to it on disk that nobody else has a turn with what is under way for so long.
    async fn put_off_all(&self, lease: Duration) {
        let due_at = clock::wall_now().plus(lease);
        let events = &self.shared.events;
        let written: Vec<_> = (self.turns.values())
            .map(|turn| events.again(turn.waiting.seq, turn.waiting.failures, due_at))
            .collect();
        for written in written {
            // A writer that has ended can be waited for no longer; then the other process delivers again.
            let _ = written.await;
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
            reader.load(&numbers).map_or_else(
                |_| numbers.iter().map(|number| reader.load(&[*number])).collect(),
                |together| vec![Ok(together)],
            )
        });
        let mut events: HashMap<i64, StoredEvent> = HashMap::new();
        let mut fault = None;
        let Ok(found) = found.await else {
            tracing::error!("reading events of asynchronous invocations panicked");
            turns.iter().for_each(|turn| self.step(turn, self.later(turn, now)));
            return;
        };
        for found in found {
            match found {
                Ok(found) => events.extend(found.into_iter().map(|event| (event.seq, event))),
                Err(why) => fault = Some(why),
            }
        }
        if let Some(why) = &fault {
            tracing::error!(error = %why, "an event of an asynchronous invocation cannot be read; it is tried again later");
        }
        for mut turn in turns {
            match events.remove(&turn.waiting.seq) {
                Some(event) if event.due_at > turn.waiting.due_at => {
                    let due_at = event.due_at;
                    self.step(&turn, Step::Later { due_at });
                }
                Some(event) => {
                    turn.waiting.failures = turn.waiting.failures.max(event.failures);
                    let task = carry(Arc::clone(&self.shared), turn.clone(), event);
                    let id = self.under_way.spawn(task).id();
                    self.turns.insert(id, turn);
                }
                None if fault.is_some() => self.step(&turn, self.later(&turn, now)),
                // Another process, which had it under way, is done with it.
                None => self.step(&turn, Step::Gone),
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
