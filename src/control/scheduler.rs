//! The thread that decides: it sleeps to the least deadline and wakes on whatever happens.
//!
//! One turn takes everything that came in, decides it in one round, commits it in one transaction, publishes it to the
//! router, and then answers whoever asked. Memory is never ahead of disk. While a commit is under way the thread keeps
//! watching: a canary found harmful meanwhile, or one whose rollback cannot be committed, is taken out of the routing
//! table at once (the overlay), and the commit follows when it can.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::core::{Answer, Core, Outside, Round};
use super::door::{Action, Command, IdempotencyKey, Refusal, Reply, Trigger};
use super::draft::Touched;
use super::judge::{EpochTally, Judge};
use super::plans::PlanBook;
use super::publish;
use super::triggers::Schedules;
use super::world::World;
use crate::chance;
use crate::clock::Clock;
use crate::domain::actor::Actor;
use crate::domain::alias::AliasId;
use crate::domain::analysis::Counts;
use crate::domain::plan::OnFailure;
use crate::domain::rollout::RolloutId;
use crate::domain::time::{Moment, Timestamp, Uptime};
use crate::metrics::recorder::{EpochCounts, Recorder};
use crate::router::table::RoutingTable;
use crate::store::{Commit, Pruned, Reader, StoreError, Write, Writer};

/// Counters are looked at this often while they move.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The thread never sleeps longer, so that uptime is credited in full.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Uptime and evidence are stored at least this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// Old rows are removed this often.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Replies are kept for their idempotency keys at least this long.
const REPLIES_KEPT: Duration = Duration::from_secs(48 * 3600);
/// More commands than this wait for the next round.
const COMMANDS_MAX: usize = 1000;
/// What could not be committed is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A rollback that takes longer than this to commit is overlaid meanwhile.
const OVERLAY_AFTER: Duration = Duration::from_millis(500);

/// Why a command got no reply.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// It was decided against.
    #[error(transparent)]
    Refused(Refusal),
    /// It was decided, and could not be stored; nothing was changed.
    #[error("nothing was changed: {0}")]
    NotStored(Arc<StoreError>),
    /// The daemon is shutting down.
    #[error("serin is shutting down; nothing was changed")]
    Closed,
}

type Question = Box<dyn FnOnce(&Sight<'_>) + Send>;

enum Input {
    Command(Box<Command>, oneshot::Sender<Result<Reply, DoorError>>),
    Ask(Question),
    Alarm(AliasId),
    Plans(Box<PlanBook>),
    Close,
}

/// What a question to the control plane may look at.
pub struct Sight<'a> {
    /// World, evidence and deadlines.
    pub core: &'a Core,
    /// Plans, router, store.
    pub outside: &'a Outside<'a>,
    /// Now.
    pub at: Moment,
    /// Aliases whose canary is out of the routing table although that is not committed yet.
    pub overlaid: &'a BTreeSet<AliasId>,
}

/// What everybody may know of the control plane's own state.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Why commits fail, while they do.
    pub trouble: Option<String>,
    /// What did not add up at boot.
    pub problems: Vec<String>,
}

/// The way to the control plane; cheap to clone.
#[derive(Clone)]
pub struct Control {
    inbox: mpsc::Sender<Input>,
    world: Arc<ArcSwap<World>>,
    book: Arc<ArcSwap<PlanBook>>,
    health: Arc<ArcSwap<Health>>,
    turns: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
}

/// What the control plane is made of.
pub struct Parts {
    /// World and evidence as loaded.
    pub core: Core,
    /// The plans as first read.
    pub book: PlanBook,
    /// The store's writer.
    pub writer: Writer,
    /// The store's reader.
    pub reader: Reader,
    /// The router's table.
    pub table: Arc<RoutingTable>,
    /// The router's counters.
    pub recorder: Arc<Recorder>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// How long history is kept.
    pub keep_history: Duration,
    /// What did not add up at boot.
    pub problems: Vec<String>,
}

/// The inbox of a control plane that has not started; the recorder's alarm is built on it.
pub struct Inbox {
    sender: mpsc::Sender<Input>,
    receiver: mpsc::Receiver<Input>,
}

impl Inbox {
    /// An empty inbox.
    pub fn new() -> Inbox {
        let (sender, receiver) = mpsc::channel();
        Inbox { sender, receiver }
    }

    /// What the recorder calls when a canary fails.
    pub fn alarm(&self) -> Arc<dyn Fn(&AliasId) + Send + Sync> {
        let sender = self.sender.clone();
        Arc::new(move |alias| {
            let _ = sender.send(Input::Alarm(alias.clone()));
        })
    }
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox::new()
    }
}

impl Control {
    /// Publishes the committed world, makes one round of decisions on stored evidence, and goes on in a thread.
    ///
    /// When this returns, whatever time and evidence led to before the restart has been done: the data plane may open.
    pub fn start(inbox: Inbox, parts: Parts) -> std::io::Result<(Control, std::thread::JoinHandle<()>)> {
        let control = Control {
            inbox: inbox.sender,
            world: Arc::new(ArcSwap::from_pointee(parts.core.world.clone())),
            book: Arc::new(ArcSwap::from_pointee(parts.book.clone())),
            health: Arc::new(ArcSwap::from_pointee(Health {
                trouble: None,
                problems: parts.problems.clone(),
            })),
            turns: Arc::default(),
            closed: Arc::default(),
        };
        let mut scheduler = Scheduler::new(inbox.receiver, parts, &control);
        scheduler.boot();
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || scheduler.run())?;
        Ok((control, thread))
    }

    /// Asks for a change and waits until it is durable and served.
    pub async fn submit(&self, command: Command) -> Result<Reply, DoorError> {
        let (sender, receiver) = oneshot::channel();
        self.inbox.send(Input::Command(Box::new(command), sender)).map_err(|_| DoorError::Closed)?;
        receiver.await.unwrap_or(Err(DoorError::Closed))
    }

    /// Asks something of the control plane's memory; `None` when it is shutting down.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Sight<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let question: Question = Box::new(move |sight| {
            let _ = sender.send(question(sight));
        });
        self.inbox.send(Input::Ask(question)).ok()?;
        receiver.await.ok()
    }

    /// Hands over a new reading of the plans directory.
    pub fn plans_changed(&self, book: PlanBook) {
        let _ = self.inbox.send(Input::Plans(Box::new(book)));
    }

    /// Ends the thread once what came in before is done.
    pub fn close(&self) {
        let _ = self.inbox.send(Input::Close);
    }

    /// The world as last committed.
    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// The plans as last read.
    pub fn book(&self) -> Arc<PlanBook> {
        self.book.load_full()
    }

    /// How the control plane is.
    pub fn health(&self) -> Arc<Health> {
        self.health.load_full()
    }

    /// Whether the thread is closing or has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// How many turns the thread has made; it makes at least one a second while it is well.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}

type Asker = oneshot::Sender<Result<Reply, DoorError>>;

struct Scheduler {
    inbox: mpsc::Receiver<Input>,
    backlog: VecDeque<Input>,
    core: Core,
    book: Arc<PlanBook>,
    schedules: Schedules,
    writer: Writer,
    reader: Reader,
    table: Arc<RoutingTable>,
    recorder: Arc<Recorder>,
    clock: Arc<dyn Clock>,
    keep_history: Duration,
    shared: Control,
    counts: Vec<EpochCounts>,
    alarms: BTreeSet<AliasId>,
    /// Aliases to look at in the next turn, whatever the clock says.
    again: BTreeSet<AliasId>,
    overlaid: BTreeSet<AliasId>,
    looked: Uptime,
    checkpointed: Uptime,
    pruned: Uptime,
    pruning: Option<mpsc::Receiver<Result<Pruned, StoreError>>>,
    /// Rollouts whose memory is newer than their row; only confirmations and evidence ever are.
    dirty: BTreeSet<RolloutId>,
    retry_at: Option<Uptime>,
    closing: bool,
}

impl Scheduler {
    fn new(inbox: mpsc::Receiver<Input>, parts: Parts, shared: &Control) -> Scheduler {
        Scheduler {
            inbox,
            backlog: VecDeque::new(),
            core: parts.core,
            book: Arc::new(parts.book),
            schedules: Schedules::default(),
            writer: parts.writer,
            reader: parts.reader,
            table: parts.table,
            recorder: parts.recorder,
            clock: parts.clock,
            keep_history: parts.keep_history,
            shared: shared.clone(),
            counts: Vec::new(),
            alarms: BTreeSet::new(),
            again: BTreeSet::new(),
            overlaid: BTreeSet::new(),
            looked: Uptime(0),
            checkpointed: Uptime(0),
            pruned: Uptime(0),
            pruning: None,
            dirty: BTreeSet::new(),
            retry_at: None,
            closing: false,
        }
    }

    fn boot(&mut self) {
        let at = self.clock.now();
        (self.looked, self.checkpointed, self.pruned) = (at.up, at.up, at.up);
        self.table.publish(publish::whole_table(&self.core.world));
        self.schedules.follow(&self.book, at.wall);
        self.again = self.live_aliases();
        // A first turn commits what was due, a second one what the router's confirmation of the first leads to.
        self.turn(Vec::new());
        self.turn(Vec::new());
    }

    fn live_aliases(&self) -> BTreeSet<AliasId> {
        let world = &self.core.world;
        world
            .live
            .iter()
            .filter_map(|id| world.rollout(*id))
            .map(|rollout| rollout.record.alias.clone())
            .collect()
    }

    fn run(mut self) {
        while !self.closing {
            let commands = self.receive();
            self.turn(commands);
            self.shared.turns.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.closed.store(true, Ordering::Relaxed);
        self.checkpoint(self.clock.now());
    }

    /// Sleeps until something comes in or is due, and takes what came in.
    fn receive(&mut self) -> Vec<(Command, Asker)> {
        let patience = self.patience();
        if self.backlog.is_empty() && patience > Duration::ZERO {
            match self.inbox.recv_timeout(patience) {
                Ok(input) => self.backlog.push_back(input),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => self.closing = true,
            }
        }
        self.backlog.extend(self.inbox.try_iter());
        let mut commands = Vec::new();
        while let Some(input) = self.backlog.pop_front() {
            match input {
                Input::Command(command, asker) => commands.push((*command, asker)),
                Input::Ask(question) => self.answer(question),
                Input::Alarm(alias) => {
                    self.alarms.insert(alias);
                }
                Input::Plans(book) => self.take_plans(*book),
                Input::Close => self.closing = true,
            }
            if commands.len() == COMMANDS_MAX {
                break;
            }
        }
        commands
    }

    fn patience(&self) -> Duration {
        if !self.again.is_empty() || !self.alarms.is_empty() {
            return Duration::ZERO;
        }
        let at = self.clock.now();
        let (up, wall) = self.core.next_deadline();
        let schedule = self.schedules.next().filter(|time| *time < Timestamp(i64::MAX));
        let waits = [
            up.map(|up| up.since(at.up)),
            wall.map(|wall| wall.since(at.wall)),
            schedule.map(|time| time.since(at.wall)),
            self.retry_at.map(|retry| retry.since(at.up)),
            self.carries_canary().then(|| self.looked.plus(LOOK_EVERY).since(at.up)),
        ];
        waits.into_iter().flatten().min().unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
    }

    /// Whether any rollout has a canary whose counts could move.
    fn carries_canary(&self) -> bool {
        !self.core.judges.is_empty()
    }

    fn take_plans(&mut self, book: PlanBook) {
        let book = Arc::new(book.succeed(&self.book));
        for file in book.files.values().filter(|file| !file.is_sound()) {
            let known = self.book.files.get(&file.name).is_some_and(|known| known.source == file.source);
            if !known {
                let what = file.problem.clone().or_else(|| file.faults.first().map(ToString::to_string));
                tracing::warn!(plan = file.name, why = what, "a plan file is not in order");
            }
        }
        self.book = Arc::clone(&book);
        self.schedules.follow(&book, self.clock.now().wall);
        self.shared.book.store(book);
    }

    fn answer(&self, question: Question) {
        let at = self.clock.now();
        with_outside(&self.book, &self.table, &self.reader, |outside| {
            question(&Sight { core: &self.core, outside, at, overlaid: &self.overlaid });
        });
    }

    /// One turn: look, decide, commit, publish, answer.
    fn turn(&mut self, commands: Vec<(Command, Asker)>) {
        let at = self.clock.now();
        let mut settle = std::mem::take(&mut self.again);
        settle.extend(self.look(at));
        settle.extend(self.core.due_by_time(at));
        let retry = self.retry_at.take_if(|retry| *retry <= at.up).is_some();
        if retry {
            settle.extend(self.live_aliases());
        }
        let (mut commands, askers): (Vec<Command>, Vec<Option<Asker>>) =
            commands.into_iter().map(|(command, asker)| (command, Some(asker))).unzip();
        commands.extend(self.scheduled(at));
        if commands.is_empty() && settle.is_empty() {
            self.housekeep(at);
            return;
        }
        let round = with_outside(&self.book, &self.table, &self.reader, |outside| {
            self.core.round(at, &commands, &settle, outside)
        });
        let answers = self.carry_out(round, at, &settle);
        for (asker, answer) in askers.into_iter().zip(answers) {
            if let Some(asker) = asker {
                let _ = asker.send(answer);
            }
        }
        self.housekeep(at);
    }

    /// Feeds counters that moved to the evidence, and says which aliases are worth a decision.
    fn look(&mut self, at: Moment) -> BTreeSet<AliasId> {
        let mut worth = BTreeSet::new();
        let alarmed = std::mem::take(&mut self.alarms);
        if at.up.since(self.looked) >= LOOK_EVERY {
            self.looked = at.up;
            let watched: Vec<AliasId> = self.core.judges.values().map(|judge| judge.alias.clone()).collect();
            for id in watched {
                if self.recorder.moved(&id) || alarmed.contains(&id) {
                    self.observe(&id, at);
                    worth.insert(id);
                }
            }
        }
        for id in alarmed {
            if !worth.contains(&id) {
                self.observe(&id, at);
                worth.insert(id);
            }
        }
        worth
    }

    fn observe(&mut self, id: &AliasId, at: Moment) {
        // Before the counts are read, so that a failure after the reading rings again.
        self.recorder.clear_alarm(id);
        if self.overlaid.contains(id) {
            return;
        }
        self.recorder.counts(id, &mut self.counts);
        let counts = &self.counts;
        self.core.observe(id, at.up, |tallies| tallies.extend(counts.iter().map(tally)));
        let judged = counts.iter().take_while(|epoch| epoch.is_final).last();
        if let Some(last) = judged {
            self.recorder.retire(id, last.epoch);
        }
        if let Some(active) = self.core.world.alias(id).and_then(|state| state.active) {
            self.dirty.insert(active);
        }
    }

    /// The starts of plans whose time has come.
    fn scheduled(&mut self, at: Moment) -> Vec<Command> {
        let due = self.schedules.due(&self.book, at.wall);
        let command = |(plan, occurrence): (Arc<super::plans::ReadPlan>, Timestamp)| {
            let trigger = Trigger::Cron { occurrence };
            let key = format!("cron/{}/{}", plan.pinned.name, occurrence.0);
            Command {
                actor: Actor::daemon(),
                reason: Some(trigger.to_string()),
                key: Some(IdempotencyKey { fingerprint: key.clone(), key }),
                fresh: chance::new_id(at.wall),
                action: Action::Start { plan, to: None, again: false, dry_run: false, trigger },
            }
        };
        due.into_iter().map(command).collect()
    }

    /// Commits a round, makes it true, publishes it; gives the answers, or why nothing came of it.
    fn carry_out(
        &mut self,
        round: Round,
        at: Moment,
        settled: &BTreeSet<AliasId>,
    ) -> Vec<Result<Reply, DoorError>> {
        let Round { mut finished, answers, must_commit } = round;
        if must_commit {
            let commit = std::mem::take(&mut finished.commit);
            let dirty: Vec<RolloutId> = finished.rollouts.iter().copied().collect();
            if let Err(error) = self.commit(commit) {
                self.fail(&error, at);
                let error = Arc::new(error);
                return answers.into_iter().map(|answer| not_stored(answer, &error)).collect();
            }
            self.recover();
            for id in &dirty {
                self.dirty.remove(id);
            }
        } else {
            self.dirty.extend(finished.rollouts.iter().copied());
        }
        log_transitions(&self.core, &finished.world, &finished.rollouts);
        let touched = finished.touched.clone();
        with_outside(&self.book, &self.table, &self.reader, |outside| {
            self.core.absorb(finished, at, outside);
            for id in settled {
                self.core.reset_deadlines(id, at, outside);
            }
        });
        self.shared.world.store(Arc::new(self.core.world.clone()));
        if must_commit && !touched.is_empty() {
            self.table.publish(publish::edits(&self.core.world, &touched));
            let routed = touched.iter().filter_map(|touched| match touched {
                Touched::Alias(id) => Some(id.clone()),
                _ => None,
            });
            // What the router now serves may complete a step.
            let routed: Vec<AliasId> = routed.collect();
            for id in &routed {
                self.overlaid.remove(id);
            }
            self.again.extend(routed);
        }
        answers.into_iter().map(|answer| answer.map_err(DoorError::Refused)).collect()
    }

    /// Hands a change to the writer and watches over the canaries until it is durable.
    fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        let urgent = commit.urgent;
        let takes_out: Vec<AliasId> = if urgent { routed_in(&commit) } else { Vec::new() };
        let answer = self.writer.commit(commit);
        let mut waited = Duration::ZERO;
        loop {
            if let Some(result) = crate::store::wait_for(&answer, LOOK_EVERY) {
                if result.is_err() {
                    takes_out.iter().for_each(|id| self.overlay(id));
                }
                return result;
            }
            waited += LOOK_EVERY;
            if waited >= OVERLAY_AFTER {
                takes_out.iter().for_each(|id| self.overlay(id));
            }
            self.watch_over();
        }
    }

    /// While a commit is under way: answers questions, and takes out canaries found harmful.
    fn watch_over(&mut self) {
        let inputs: Vec<Input> = self.inbox.try_iter().collect();
        for input in inputs {
            match input {
                Input::Ask(question) => self.answer(question),
                Input::Alarm(alias) => {
                    self.alarms.insert(alias);
                }
                other => self.backlog.push_back(other),
            }
        }
        let at = self.clock.now();
        for id in self.look(at) {
            if self.is_harmful(&id) {
                self.overlay(&id);
            }
            self.again.insert(id);
        }
    }

    fn is_harmful(&self, id: &AliasId) -> bool {
        let active = self.core.world.alias(id).and_then(|state| state.active);
        let Some(rollout) = active.and_then(|active| self.core.world.rollout(active)) else { return false };
        let judge: Option<&Judge> = self.core.judges.get(&rollout.record.id);
        let basis = judge.and_then(Judge::verdict_basis);
        rollout.plan.on_failure == OnFailure::Rollback
            && basis.is_some_and(|(evidence, settings)| evidence.is_harmful(settings))
    }

    /// Takes a canary out of the routing table before that is committed: towards stable only.
    fn overlay(&mut self, id: &AliasId) {
        if self.overlaid.contains(id) {
            return;
        }
        if let Some(edit) = publish::overlay(&self.core.world, id) {
            tracing::error!(alias.name = %id, "the rollback cannot be stored yet; its canary gets no traffic meanwhile");
            self.table.publish(vec![edit]);
            self.overlaid.insert(id.clone());
        }
    }

    fn fail(&mut self, error: &StoreError, at: Moment) {
        let text = with_sources(error);
        if self.shared.health().trouble.as_ref() != Some(&text) {
            tracing::error!(error = text, "a change could not be stored; nothing was changed");
        }
        let problems = self.shared.health().problems.clone();
        self.shared.health.store(Arc::new(Health { trouble: Some(text), problems }));
        self.retry_at = Some(at.up.plus(RETRY_AFTER));
        if matches!(error, StoreError::Fenced) {
            self.closing = true;
        }
    }

    fn recover(&mut self) {
        if self.shared.health().trouble.is_some() {
            tracing::info!("changes can be stored again");
            let problems = self.shared.health().problems.clone();
            self.shared.health.store(Arc::new(Health { trouble: None, problems }));
        }
    }

    fn housekeep(&mut self, at: Moment) {
        if at.up.since(self.checkpointed) >= CHECKPOINT_EVERY {
            self.checkpoint(at);
        }
        if let Some(pruning) = &self.pruning
            && let Some(result) = crate::store::wait_for(pruning, Duration::ZERO)
        {
            self.pruning = None;
            match result {
                Ok(pruned) if pruned != Pruned::default() => {
                    tracing::debug!(?pruned, "old history was removed");
                    // There may be more than one batch.
                    self.pruned = Uptime(0);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = with_sources(&error), "old history could not be removed")
                }
            }
        }
        if self.pruning.is_none() && at.up.since(self.pruned) >= PRUNE_EVERY {
            self.pruned = at.up;
            let before = |kept: Duration| Timestamp(at.wall.0.saturating_sub(kept.as_millis() as i64));
            self.pruning = Some(self.writer.prune(before(self.keep_history), before(REPLIES_KEPT)));
        }
    }

    /// Stores uptime, evidence and confirmations, so that a kill costs at most the time since the last time.
    fn checkpoint(&mut self, at: Moment) {
        self.checkpointed = at.up;
        if self.core.judges.is_empty() && self.dirty.is_empty() && self.core.world.live.is_empty() {
            return;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let write = |id: &RolloutId| {
            let rollout = self.core.world.rollout(*id)?;
            let evidence = self.core.judges.get(id).map(Judge::stored);
            Some(Write::PutRollout { record: Box::new(rollout.record.clone()), evidence })
        };
        let commit =
            Commit { writes: dirty.iter().filter_map(write).collect(), uptime: at.up, ..Commit::default() };
        if let Err(error) = self.commit(commit) {
            self.dirty.extend(dirty);
            self.fail(&error, at);
        }
    }
}

fn not_stored(answer: Answer, error: &Arc<StoreError>) -> Result<Reply, DoorError> {
    match answer {
        Ok(_) => Err(DoorError::NotStored(Arc::clone(error))),
        Err(refusal) => Err(DoorError::Refused(refusal)),
    }
}

/// Gives `use_it` what the core looks at and does not own.
fn with_outside<T>(
    book: &PlanBook,
    table: &RoutingTable,
    reader: &Reader,
    use_it: impl FnOnce(&Outside<'_>) -> T,
) -> T {
    let serving = |id: &AliasId| table.serving(id).map(|(revision, _)| revision);
    let pinned = |digest: &str| reader.plan(digest).ok().flatten();
    let replied = |key: &str| reader.reply(key).map_err(|error| with_sources(&error));
    use_it(&Outside { book, serving: &serving, pinned: &pinned, replied: &replied })
}

fn tally(counts: &EpochCounts) -> EpochTally {
    let of = |counts: &crate::metrics::recorder::Counts| Counts {
        requests: counts.dispatched,
        failures: counts.failures.total(),
    };
    EpochTally {
        epoch: counts.epoch,
        routing: counts.routing,
        primary: of(&counts.primary),
        additional: of(&counts.additional),
    }
}

/// The aliases a change routes anew.
fn routed_in(commit: &Commit) -> Vec<AliasId> {
    let routed = commit.writes.iter().filter_map(|write| match write {
        Write::PutAlias { alias, .. } => Some(alias.id.clone()),
        _ => None,
    });
    routed.collect()
}

/// An error and what caused it, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// One line for every rollout that changed its phase, step or weight.
fn log_transitions(core: &Core, after: &World, changed: &BTreeSet<RolloutId>) {
    for id in changed {
        let Some(rollout) = after.rollout(*id) else { continue };
        let record = &rollout.record;
        let before: Option<&crate::domain::rollout::RolloutRecord> =
            core.world.rollout(*id).map(|old| &old.record);
        let same = before.is_some_and(|old| {
            (old.phase.name(), old.step, old.known_routing())
                == (record.phase.name(), record.step, record.known_routing())
        });
        if !same {
            tracing::info!(
                rollout.id = %id,
                alias.name = %record.alias,
                phase = record.phase.name(),
                step = record.step,
                weight = %rollout.share(),
                reason = record.reason,
                "v{} → v{} is {}", record.stable, record.canary, record.phase.name()
            );
        }
    }
}
